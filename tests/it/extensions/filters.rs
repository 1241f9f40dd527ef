//! Row filters and masks over columns of extension types: the same rows and values as PostgreSQL gives, whoever asks and under whatever
//! settings, or an error of the policy that says what is not certain.

use std::{fs, process::Command};

use super::{answer, copy, policy, reference, source};
use crate::support::{Database, Pgwicket};

/// Conditions on `people`: those that a policy may have.
const FILTERS: [&str; 33] = [
    "place <@ 'Top.Science'",
    "place @> 'Top.Science'",
    "not place <@ 'Top.Science'",
    "place = 'Top'",
    "place <> 'Top'",
    "place <> 'Top'::ltree",
    "place < 'Top.Hobbies'",
    "place in ('Top', 'Top.Hobbies')",
    "place between 'Top' and 'Top.Science'",
    "place is distinct from 'Top'",
    "place ~ '*.Science.*'",
    "place ~ '*.astronomy@'",
    "place ~ '*.Astronomy'::lquery",
    "place ? array['*.Hobbies', 'Top']::lquery[]",
    "place @ 'Science & !Astronomy'",
    "place || 'x' = 'Top.x'",
    "place = any (places)",
    "nlevel(place) = 2",
    "subpath(place, 0, 1) = 'Top'",
    "place::text like 'Top.S%'",
    "coalesce(place, 'x') <> 'Top'",
    "case place when 'Top' then false else true end",
    "traits -> 'color' = 'red'",
    "traits -> 'color' <> all (array['Red', 'red'])",
    "(traits -> 'Size') is null",
    "traits ? 'Size' and defined(traits, 'Size')",
    "traits ?| array['Size', 'x'] and id < 30",
    "traits @> 'color=>red'",
    "traits @> 'color=>red'::hstore",
    "exist(traits, 'Size') = defined(traits, 'Size')",
    "defined(traits, 'Size') is not true",
    "(traits -> 'n')::int > 20",
    "traits::text like '%BLUE%'",
];

/// Those that it may not have, since something else than the row would decide, or it is not certain what they mean.
const REFUSED: [&str; 7] = [
    "note % 'fox'",
    "similarity(note, 'fox') > 0.3",
    "place operator(pg_catalog.=) 'Top'",
    "skeys(traits) = 'x'",
    "place = note",
    "traits -> place = 'x'",
    "hstore(note, note) = traits",
];

fn filtered(filter: &str) -> String {
    policy("").replacen(
        "columns: [id, email,",
        &format!("where: \"{}\"\n        columns: [id, email,", filter.replace('\\', "\\\\").replace('"', "\\\"")),
        1,
    )
}

fn check(source: &Database, policy: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("policy.yaml"), policy).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_pgwicket"));
    check.env("APP_POSTGRES_URL", source.login("pgwicket_reader").url()).env("SUPPORT_AGENT_PASSWORD", "a password of some length");
    check.args(["policy", "check", "--live", "--policies"]).arg(directory.path());
    let output = check.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// One relation a filter, so that one server is asked for all of them.
#[test]
fn a_row_filter_by_an_extensions_operators_lets_through_what_it_lets_through_on_postgresql() {
    let (source, copy) = (source("Ext 1"), copy("Ext 1", "true"));
    let head = policy("");
    let (before, rest) = head.split_once("      marks:").unwrap();
    let agents = rest.find("agents:").map(|at| &rest[at..]).unwrap();
    let relation = |(number, filter): (usize, &&str)| {
        format!(
            "      f{number}: {{ from: public.people, tenant_column: tenant_id, columns: [id, place, traits, updated_at], where: \"{filter}\" }}\n"
        )
    };
    let relations: String = FILTERS.iter().enumerate().map(relation).collect();
    let pgwicket = Pgwicket::start_with(&source, &format!("{before}{relations}{agents}"));
    let (mut direct, mut through) = (reference(&copy, "Ext 1"), pgwicket.login().wire().unwrap());
    through
        .simple("set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set extra_float_digits = -15; set search_path = pgwicket")
        .unwrap();
    let all = answer(&mut direct, "select id from people").unwrap().len();
    let mut wrong = Vec::new();
    for (number, filter) in FILTERS.iter().enumerate() {
        let expected = answer(&mut direct, &format!("select id, place, traits from people where {filter} order by id"));
        let count = expected.as_ref().map(Vec::len).unwrap();
        assert!(count > 0 && count < all, "{filter} lets {count} of {all} through");
        for text in [
            "select id, place, traits from external_support.f# order by id",
            "select id, place, traits from external_support.f# where place <@ 'Top' or place is null or true order by id",
        ] {
            let seen = answer(&mut through, &text.replace('#', &number.to_string()));
            if seen != expected {
                wrong.push(format!("{filter}: {text}: {:?} for {count} rows", seen.map(|rows| rows.len())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_row_filter_whose_meaning_is_not_certain_is_refused() {
    let source = source("Ext 1");
    for filter in REFUSED {
        let (fits, said) = check(&source, &filtered(filter));
        assert!(!fits && said.contains("`where`"), "{filter}: {said}");
    }
    assert!(check(&source, &filtered("place <@ 'Top'")).0);
    // Not used: nothing of it may be in a filter.
    source.sql("create function \"Ext 1\".lower(\"Ext 1\".citext) returns text language sql immutable as 'select null::text'");
    for filter in ["place <@ 'Top'", "traits ? 'Size'", "nlevel(place) = 1", "traits -> 'color' = 'Red'"] {
        let (fits, said) = check(&source, &filtered(filter));
        assert!(!fits && said.contains("`where`"), "{filter}: {said}");
    }
}

/// A mask gives the same under all settings, and is of the text that PostgreSQL writes.
#[test]
fn masks_of_columns_of_extension_types_are_masks_of_their_text() {
    let source = source("Ext 1");
    let policy = "mask_key: \"env:SUPPORT_AGENT_PASSWORD\"
sources:
  app_postgres: { kind: postgres, url: \"env:APP_POSTGRES_URL\", ssl: disable }
schemas:
  external_support:
    source: app_postgres
    relations:
      people:
        from: public.people
        tenant_column: tenant_id
        columns: [id, email, work, place, traits, mails]
        masks: { email: { last: 4 }, place: hash, traits: hash, work: hash, mails: null }
agents:
  support_agent: { auth: { scram: \"env:SUPPORT_AGENT_PASSWORD\" }, tenant: acme, schemas: [external_support] }
";
    let (fits, said) = check(&source, policy);
    assert!(fits, "{said}");
    let pgwicket = Pgwicket::start_with(&source, policy);
    let mut wire = pgwicket.login().wire().unwrap();
    let text = "select id, email, place, traits, work, mails from people order by id";
    let plain = answer(&mut wire, text).unwrap();
    let shown: String = plain.iter().map(|row| String::from_utf8_lossy(row).into_owned()).collect();
    assert!(plain.len() > 30 && !shown.contains("Top") && !shown.contains("Red") && !shown.contains("Office"), "{shown}");
    wire.simple("set datestyle = 'German'; set extra_float_digits = -15; set timezone = 'Asia/Tokyo'; set bytea_output = 'escape'")
        .unwrap();
    assert_eq!(answer(&mut wire, text).unwrap(), plain);
    // Equal values have equal hashes, others have others.
    let groups = |column: &str| {
        answer(&mut pgwicket.login().wire().unwrap(), &format!("select count(*) from people group by {column}::text order by 1")).unwrap()
    };
    let copy = copy("Ext 1", "true");
    let direct = answer(&mut reference(&copy, "Ext 1"), "select count(*) from people group by place::text order by 1").unwrap();
    assert_eq!(groups("place"), direct);
}
