//! What this version of PostgreSQL reads, where versions and parsers are known to read otherwise: numbers, strings, names, comments,
//! white space, operators, keywords. pgwicket parses by the grammar of one version; what it accepts must mean the same to the server.
//!
//! `scripts/test` asks PostgreSQL 15, `scripts/versions` the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{AGENT, Cluster, Message, Pgwicket, Wire};

/// What stands in for white space between any two tokens.
const SPACES: &[&str] = &[
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\x0c",
    "\x0b",
    "\x0b\n",
    "\u{a0}",
    "\u{85}",
    "\u{2003}",
    "\u{2028}",
    "\u{feff}",
    "\u{200b}",
    "/**/",
    "/* /* */ */",
    "/* -- */",
    "/*\n*/",
    "/*'*/",
    "/*$$*/",
    "/***/",
    "/*/**/*/",
    "/*/*/",
    "--\n",
    "--\r",
    "--'\n",
    "-- /*\n",
    "--\x0b\n",
    "--\x0c",
    "--\u{85}",
    "--\u{2028}",
    "\\",
    ";",
];

/// Constants: how they may be written, each once as a value and once after another token.
const CONSTANTS: &[&str] = &[
    // Numbers: forms that PostgreSQL 16 brought, and trailing junk that 15 takes for an alias.
    "007",
    "1.",
    ".5",
    "1e3",
    "1E+3",
    "1e-3",
    "1.e3",
    ".5e1",
    "1e",
    "1e+",
    "1.5.5",
    "1..2",
    "0x1F",
    "0X1f",
    "0o17",
    "0O17",
    "0b101",
    "0B101",
    "0x",
    "0o8",
    "0b2",
    "0xG",
    "00x1",
    "1_000",
    "1__000",
    "_1",
    "1_",
    "0x_1F",
    "0x1_F",
    "1_000.5_5",
    "1._5",
    "1_e3",
    "1e1_0",
    "1e_3",
    "0_1",
    "123abc",
    "1a",
    "1.5a",
    "0x1Fg",
    "1eabc",
    "2147483647",
    "2147483648",
    "-2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "0xFFFFFFFFFFFFFFFF",
    "0x7FFFFFFF",
    "0x80000000",
    "99999999999999999999999999999999999999999",
    "1e400",
    "1e-400",
    "- 1",
    "+1",
    "--1",
    "-+1",
    "- -1",
    "NaN",
    "'NaN'::float8",
    "'infinity'::numeric",
    "1::int2",
    "-32768::int2",
    "(-32768)::int2",
    "0x10::text",
    "'0x10'::int",
    "'1_000'::int",
    "' 1 '::int",
    "'0b1'::int8",
    "'0o7'::int2",
    "'1_0'::numeric",
    "'0x1'::numeric",
    "'1e3'::int",
    "float8 '1.5'",
    "int '0x1F'",
    "int4 '1_0'",
    // Strings.
    "'a'",
    "'a''b'",
    "'a\\b'",
    "'a\\'",
    "E'a\\'b'",
    "E'a\\\\'",
    "e'\\x41\\101\\u0041\\U00000041'",
    "E'\\b\\f\\n\\r\\t\\v\\q'",
    "E'\\x'",
    "E'\\0'",
    "E'\\400'",
    "E'\\xC3\\xA9'",
    "E'\\xC3'",
    "E'\\u0000'",
    "E'\\uD83D\\uDE00'",
    "E'\\uD83D'",
    "E'\\u12'",
    "E'\\U00110000'",
    "U&'\\0061\\+000061'",
    "u&'\\\\'",
    "U&'d!0061' UESCAPE '!'",
    "U&'d!0061' uescape '!' || 'x'",
    "U&'\\D83D\\DE00'",
    "U&'\\D83D'",
    "U&'\\00'",
    "U&'\\0000'",
    "U& '\\0061'",
    "U&'a' UESCAPE '+'",
    "U&'a' UESCAPE ''''",
    "U&'a' UESCAPE 'ab'",
    "N'a'",
    "n'a'",
    "N 'a'",
    "'a' 'b'",
    "'a'\n'b'",
    "'a'\r'b'",
    "'a'\x0b'b'",
    "'a'\x0b\n'b'",
    "'a' -- c\n'b'",
    "'a' /* c */ 'b'",
    "'a' /* c */\n'b'",
    "'a'\n--c\n'b'",
    "E'a'\n'\\x41'",
    "'a'\nE'b'",
    "'a'\n\n'b'\n'c'",
    "'a'\u{a0}\n'b'",
    "U&'\\0061'\n'\\0062'",
    "$$a$$",
    "$$a$b$$",
    "$x$a$$b$x$",
    "$x$a$X$b$x$",
    "$x1_$a$x1_$",
    "$1$a$1$",
    "$\u{e9}$a$\u{e9}$",
    "$x $a$x $",
    "$$\\n$$",
    "$$'$$",
    "$a$$a$",
    "$a$$$a$",
    "x$$a$$",
    "1$$a$$",
    "B'101'",
    "b'1 0'",
    "B'2'",
    "X'1F'",
    "x'1g'",
    "X''",
    "B'1'\n'0'",
    "x'1'\n'F'",
    "''",
    "E''",
    "'\u{301}'",
    "'\u{1F600}'",
    "'\u{202e}a'",
    "'a'::text::text",
    "'a'::\"text\"",
    "text 'a'",
    "\"text\" 'a'",
    "varchar(1) 'ab'",
    "interval '1 day'",
    "interval '1' day",
    "interval(0) '1.5 s'",
    "interval '1:2' minute to second",
    "date '2024-02-29'",
    "time with time zone '1:2+3'",
    "'2024-1-2'::date",
    "'epoch'::timestamp",
    "timestamp 'now' is not null",
    "json '{\"a\":1}'",
    "'{1,2}'::int[]",
    "array[1,2]",
    "array[[1],[2]]",
    "'[0:1]={1,2}'::int[]",
    "row(1,'a')",
    "(1,'a')",
    "true",
    "'t'::bool",
    "null",
    "null::int",
    // Operators: where a name ends, and what binds first.
    "1-1",
    "1 - -1",
    "1--1\n",
    "1+-1",
    "2*-3",
    "2*+3",
    "1/-1",
    "1<-1",
    "1>-1",
    "1=-1",
    "1<>-1",
    "1!=-1",
    "1<=-1",
    "1>=-1",
    "@-1",
    "@ -1",
    "~-1",
    "1@-1",
    "1#-1",
    "5%-3",
    "2^-1",
    "2^3^2",
    "-2^2",
    "(-2)^2",
    "-2::text",
    "- 2 ^ 2",
    "-5%3",
    "5%3*2",
    "7/2*2",
    "1+2*3",
    "1||'a'",
    "1||2+3",
    "'a'||1+2",
    "1+2||'a'",
    "1=1=true",
    "1<2=true",
    "1<2<3",
    "not 1=2",
    "not true=false",
    "not not true",
    "1=1 is true",
    "1=2 is null",
    "1 is null=false",
    "null is null is true",
    "'a' like 'a' is true",
    "'a' like 'a'||'%'",
    "'a' not like 'b'",
    "not 'a' like 'b'",
    "2 between 1 and 3",
    "2 between 1 and 3 and true",
    "2 between 1 and 1+2",
    "not 2 between 3 and 4",
    "2 between symmetric 3 and 1",
    "1 in (1)",
    "1 in (1,2) = true",
    "not 1 in (2)",
    "1+1 in (2)",
    "1 = any('{1}')",
    "1 = any(array[1])",
    "1 < all(array[2,3])",
    "'a' in ('a') is true",
    "1 is distinct from 2",
    "1 is not distinct from 1 and true",
    "1 is distinct from 2 = true",
    "true and false or true",
    "true or true and false",
    "false = false or true",
    "1 operator(pg_catalog.+) 2",
    "1 operator(pg_catalog.+) 2 * 3",
    "1 + 2 operator(pg_catalog.*) 3",
    "operator(pg_catalog.-) 1",
    "- 1 is null",
    "1 <= 2 is true",
    "1 ! = 2",
    "1 < > 2",
    "1 = > 2",
    "1 <> 2",
    "1 =< 2",
    "1 == 2",
    "1 ** 2",
    "|/4",
    "||/27",
    "2!",
    "!!2",
    "'a'~'a'",
    "'a' !~ 'b'",
    "'a'~~'a'",
    "'a'!~~*'B'",
    "1::int4::text",
    "1 ::int4",
    "1: :int4",
    "cast(1 as text)",
    "'x'::text collate \"C\" < 'y'",
    "'a' < 'b' collate \"C\"",
    "'{1,2}'::int[] [1]",
    "('{1,2}'::int[])[1:]",
    "array[1,2][1]",
    "(array[1,2])[1]",
    "'{\"a\":1}'::jsonb->'a'",
    "'{\"a\":1}'::jsonb ->> 'a' || 'b'",
    "'{\"a\":1}'::jsonb->'a'='1'",
    "'{\"a\":1}'::jsonb ? 'a'",
    "'{\"a\":1}'::jsonb @> '{}' is true",
    "timestamp '2024-01-01' at time zone 'UTC' at time zone 'UTC'",
    "timestamp '2024-01-01' at local",
    "case when 1=1 then 2 end+1",
    "case 1 when 1 then 2 else 3 end*2",
    "coalesce(null,1)+1",
    "nullif(1,1) is null",
    "greatest(1,2)-1",
    "extract(year from date '2024-01-01')",
    "position('a' in 'ba')",
    "substring('abc' from 2 for 1)",
    "substring('abc' similar 'a#\"b#\"c' escape '#')",
    "trim(both 'x' from 'xax')",
    "trim('x' from 'xax')",
    "overlay('abc' placing 'x' from 2)",
    "normalize('a\u{301}', nfc)",
    "'a' is normalized",
    "'1' is json",
    "'{}' is json object",
    "json_array(1,2)",
    "json_object('a':1)",
    "json_object('a' value 1)",
    "json('1')",
    "json_scalar(1)",
    "json_serialize('1')",
    "json_query('{}','$')",
    "json_value('{\"a\":1}','$.a')",
    "json_exists('{}','$')",
    "xmlserialize(content '<a/>' as text)",
    "(date '2024-01-01', date '2024-01-03') overlaps (date '2024-01-02', date '2024-01-04')",
    "(1,2)=(1,2)",
    "(1,2)<(1,3)",
    "row(1)=row(1)",
    "1 is true",
    "1 isnull",
    "1 notnull",
    "1 is not null isnull",
    "current_date is null",
    "current_user",
    "system_user",
    "session_user",
    "user is null",
    "localtimestamp(0) is null",
    "any_value(1)",
    "(select 1)",
    "exists(select)",
    "array(select 1)",
];

/// Names of the column `amount` of `tickets`, and of what is none.
const NAMES: &[&str] = &[
    "amount",
    "AMOUNT",
    "aMoUnT",
    "\"amount\"",
    "\"AMOUNT\"",
    "U&\"amount\"",
    "U&\"\\0061mount\"",
    "u&\"!0061mount\" uescape '!'",
    "U&\"\\+000061mount\"",
    "U& \"amount\"",
    "\"am\"\"ount\"",
    "amount ",
    "\u{ff41}mount",
    "amo\u{75}nt",
    "amount\u{200b}",
    "amount\u{a0}",
    "am\u{301}ount",
    "AMO\u{dc}NT",
    "amount$",
    "amount_",
    "_amount",
    "$amount",
    "amount.amount",
    "tickets.amount",
    "TICKETS.Amount",
    "\"tickets\".\"amount\"",
    "tickets . amount",
    "tickets./**/amount",
    "tickets.\namount",
    "external_support.tickets.amount",
    "external_support . tickets . amount",
    "tickets.tickets.amount",
    "(tickets).amount",
    "(tickets.*).amount",
    "tickets.*",
    "(tickets).*",
    "amount amount",
    "amount as amount",
    "amount \"amount\"",
    "amount as \"a\"\"b\"",
    "amount as 'a'",
    "amount as U&\"\\0061\"",
    "amount[1]",
    "amount as aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// What may be said with a word; of each a keyword is tried as the word.
const PLACES: &[&str] = &[
    "select id as {} from tickets order by id limit 1",
    "select id {} from tickets order by id limit 1",
    "select {}.id from tickets {} order by 1 limit 1",
    "select {}.id from tickets as {} order by 1 limit 1",
    "select {} from (select 7 as \"{}\") q",
    "select q.{} from (select 7 as \"{}\") q",
    "with {} as (select 7) select * from {}",
    "select * from (select 7) q({})",
    "select {}(1)",
    "select 1::{}",
    "select {} '1'",
    "select {}",
    "select id from tickets where {} is null",
    "select id from tickets order by {} limit 1",
];

/// What differs between two sessions.
const OF_THE_MOMENT: &[&str] = &["current_catalog", "current_time", "current_timestamp", "localtime", "localtimestamp"];

/// A session through pgwicket, and one on a copy that holds what the agent may see.
struct Both {
    through: Wire,
    copy: Wire,
    seen: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Both {
    /// One statement: the same answer, or none through pgwicket.
    fn ask(&mut self, text: &str) {
        let [through, copy] = [&mut self.through, &mut self.copy].map(|wire| outcome(&wire.simple(text).unwrap()));
        let kind = match (&through, &copy) {
            (Ok(through), Ok(copy)) if through == copy => "alike",
            (Err(_), Err(_)) => "refused by both",
            (Err(_), Ok(_)) => "refused by pgwicket alone",
            // White space at the end is not sent; a vertical tab is none before PostgreSQL 17.
            (Ok(_), Err(_)) if text.trim_end_matches('\n').ends_with('\x0b') => "ends in white space of another version",
            (Ok(_), _) => {
                self.wrong.push(format!("{text:?}\n  through pgwicket {through:?}\n  directly {copy:?}"));
                "read otherwise"
            }
        };
        *self.seen.entry(kind).or_default() += 1;
    }
}

#[test]
fn what_is_accepted_is_read_as_the_server_reads_it() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let copy = Cluster::tenant_copy().login(AGENT);
    let mut both = Both { through: pgwicket.login().wire().unwrap(), copy: copy.wire().unwrap(), seen: BTreeMap::new(), wrong: Vec::new() };
    for constant in CONSTANTS {
        for text in [
            format!("select {constant}"),
            format!("select {constant} as a, 2 as b"),
            format!("select id, {constant} from tickets where id < 5 order by id"),
        ] {
            both.ask(&text);
        }
    }
    for name in NAMES {
        both.ask(&format!("select {name} from tickets order by id limit 2"));
        both.ask(&format!("select id from tickets where {name} is not null order by id limit 2"));
    }
    for space in SPACES {
        let tokens = [
            "select", "id", ",", "amount", "as", "a", "from", "tickets", "t", "where", "amount", ">", "-", "1", "and", "subject", "<>",
            "'x'", "order", "by", "id", "limit", "2",
        ];
        for at in 0..=tokens.len() {
            let (before, after) = tokens.split_at(at);
            both.ask(&format!("{}{space}{}", before.join(" "), after.join(" ")));
        }
        both.ask(&tokens.join(space));
    }
    for word in keywords(&Cluster::desk()) {
        for place in PLACES.iter().filter(|place| !(place.starts_with("select {}") && OF_THE_MOMENT.contains(&&*word))) {
            both.ask(&place.replace("{}", &word));
        }
    }
    eprintln!("PostgreSQL {}: {:?}", Cluster::shared().version(), both.seen);
    assert!(both.wrong.is_empty(), "{}", both.wrong.join("\n"));
    let count = |kind: &str| both.seen.get(kind).copied().unwrap_or_default();
    assert!(count("alike") > 3_000 && count("refused by pgwicket alone") * 20 < count("alike"), "{:?}", both.seen);
}

/// The server's keywords, and those of the parser's grammar.
fn keywords(source: &crate::support::Database) -> BTreeSet<String> {
    let mut words: BTreeSet<String> = source.sql("select word from pg_get_keywords()").lines().map(str::to_owned).collect();
    words.extend(NEWER.iter().map(|word| (*word).to_owned()));
    words
}

/// Keywords that came with PostgreSQL 16, 17 and 18.
const NEWER: &[&str] = &[
    "absent",
    "format",
    "indent",
    "json",
    "json_array",
    "json_arrayagg",
    "json_object",
    "json_objectagg",
    "keys",
    "scalar",
    "system_user",
    "conditional",
    "empty",
    "error",
    "json_exists",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "merge_action",
    "nested",
    "omit",
    "path",
    "plan",
    "quotes",
    "source",
    "string",
    "target",
    "unconditional",
    "enforced",
    "objects",
    "period",
    "virtual",
];

/// Column names and rows, or the SQLSTATE.
fn outcome(messages: &[Message]) -> Result<Vec<Vec<u8>>, String> {
    if let Some(error) = messages.iter().find(|message| message.tag == b'E') {
        return Err(error.field('C').unwrap_or_default());
    }
    let told = messages.iter().filter_map(|message| match message.tag {
        b'T' => Some(names(&message.body)),
        b'D' => Some(message.body.clone()),
        _ => None,
    });
    Ok(told.collect())
}

/// Of a RowDescription: the names, without the numbers of tables and types.
fn names(body: &[u8]) -> Vec<u8> {
    let mut names = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.extend(&rest[..=end]);
        rest = &rest[end + 19..];
    }
    names
}
