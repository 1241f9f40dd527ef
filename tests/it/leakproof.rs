//! What `leakproof.tsv` argues for, put to PostgreSQL: no value at the edge of its type may raise an error.

use crate::support::{Cluster, run};

/// Values at the edges of a type, as SQL literals, and what they are cast to.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("int2", "int2", &["-32768", "0", "32767"]),
    ("int4", "int4", &["-2147483648", "-1", "0", "2147483647"]),
    ("int8", "int8", &["-9223372036854775808", "0", "9223372036854775807"]),
    ("float8", "float8", &["NaN", "Infinity", "-Infinity", "-1.7976931348623157e308", "5e-324", "-0"]),
    ("numeric", "numeric", &["NaN", "Infinity", "-Infinity", "0", "1e131000", "-1e-16000", "9999999999999999999999.5"]),
    ("text", "text", &["", "x", "(((", "\\", "%", "ß\u{10ffff}İŉΐ", "-1", "\u{1}\u{7f}", "a\\%b_c"]),
    ("varchar", "varchar", &["", "x", "\\", "ßİ"]),
    ("date", "date", &["-infinity", "infinity", "4713-01-01 BC", "5874897-12-31", "294277-01-01", "2024-03-31"]),
    ("timestamp", "timestamp", &["-infinity", "infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "2024-03-31 02:30:00"]),
    ("timestamptz", "timestamptz", &["-infinity", "infinity", "4713-01-02 00:00:00+00 BC", "294276-12-30 23:59:59.999999+00"]),
    ("anyenum", "ticket_status", &["new", "closed"]),
    (
        "jsonb",
        "jsonb",
        &["null", "1e1000", "\"\"", "{}", "[]", "[[[[{\"x\": null}]]]]", "{\"\": \"\\u0001\", \"x\": {\"x\": [1, \"\\\\\"]}}"],
    ),
    ("int4[]", "int4[]", &["{}", "{NULL}", "{{1,2},{3,NULL}}", "[-5:-4]={7,8}"]),
    ("int8[]", "int8[]", &["{}", "{NULL}", "{{1,2},{3,NULL}}"]),
    ("text[]", "text[]", &["{}", "{NULL}", "{x,0,-1,99999999999999999999}", "{{a,b},{c,NULL}}", "{\"\"}"]),
    ("varchar[]", "varchar[]", &["{}", "{NULL,x}"]),
    ("uuid[]", "uuid[]", &["{}", "{NULL,00000000-0000-0000-0000-000000000000}"]),
];

/// LIKE patterns that do not end in a lone escape.
const PATTERNS: &[&str] = &["", "%", "_", "%\\\\", "\\%x", "%%%_%", "\\a", "ß%"];

#[test]
fn no_edge_value_raises_an_error() {
    let list = include_str!("../../src/sql/allow/data/leakproof.tsv");
    let lines: Vec<_> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() > 100);
    let mut script = String::from("set timezone = 'Pacific/Apia';\n");
    for line in lines {
        let [kind, name, types, _] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let types: Vec<_> = types.split(',').collect();
        let statement = match (kind, types.as_slice()) {
            ("operator", [left, right]) => over(name, &edges(left), &edges(right)),
            ("pattern", [left, _]) => over(name, &edges(left), &values(PATTERNS, "text")),
            ("function", [only]) => format!("select count({name}(l)) from ({}) v(l);\n", edges(only)),
            _ => panic!("{line}"),
        };
        script.push_str(&statement);
    }
    run(Cluster::desk().psql().args(["-q", "-v", "ON_ERROR_STOP=1", "-c", &script])).ok();
}

#[test]
fn what_was_left_out_does_raise_one() {
    for (operator, left, right) in [("+", "int4", "int4"), ("=", "float8", "numeric"), ("~", "text", "text"), ("%", "int4", "int4")] {
        let output = run(Cluster::desk().psql().args(["-c", &over(operator, &edges(left), &edges(right))]));
        assert!(output.stderr.contains("ERROR"), "{operator}: {output:?}");
    }
}

fn over(operator: &str, left: &str, right: &str) -> String {
    format!("select count(l operator(pg_catalog.{operator}) r) from ({left}) v(l), ({right}) w(r);\n")
}

fn edges(name: &str) -> String {
    let (_, cast, literals) = EDGES.iter().find(|(known, ..)| *known == name).unwrap_or_else(|| panic!("no edges of {name}"));
    values(literals, cast)
}

fn values(literals: &[&str], cast: &str) -> String {
    let rows: Vec<_> = literals.iter().map(|literal| format!("('{literal}'::{cast})")).collect();
    format!("values {}", rows.join(", "))
}
