//! Types: a row's and a parameter's OIDs mean in the catalog what they mean at the source.

use super::{Canary, error, rows};
use crate::support::{Message, Wire};

/// Of each column of a reply's RowDescription: name, table, attribute number, type.
fn columns(reply: &[Message]) -> Vec<(String, u32, i16, u32)> {
    let body = &reply.iter().find(|message| message.tag == b'T').unwrap().body;
    let mut rest = &body[2..];
    (0..u16::from_be_bytes([body[0], body[1]]))
        .map(|_| {
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let fields = &rest[end + 1..];
            let number = |at: usize| u32::from_be_bytes(fields[at..at + 4].try_into().unwrap());
            rest = &fields[18..];
            (name, number(0), i16::from_be_bytes([fields[4], fields[5]]), number(6))
        })
        .collect()
}

fn one(wire: &mut Wire, text: &str) -> String {
    let reply = wire.simple(text).unwrap();
    assert_eq!(error(&reply), None, "{text}");
    rows(&reply).into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_row_speaks_of_types_and_columns_as_the_catalog_does() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    let reply = wire.simple("select id, state, states, price, t from tickets t where id = 1").unwrap();
    let described = columns(&reply);
    let mut seen = Vec::new();
    for (name, table, number, of) in described {
        let column =
            one(&mut wire, &format!("select {table}::regclass, attname from pg_attribute where attrelid = {table} and attnum = {number}"));
        seen.push(format!("{name}: {column} {}", one(&mut wire, &format!("select format_type({of}, -1)"))));
    }
    // A domain's values are its base type's, as PostgreSQL has it. A whole row is of no type here.
    assert_eq!(
        seen,
        [
            "id: tickets id bigint",
            "state: tickets state ticket_state",
            "states: tickets states ticket_state[]",
            "price: tickets price numeric",
            "t:  record"
        ]
    );
    let reply = wire.simple("select home from customers").unwrap();
    let (_, _, _, place) = columns(&reply)[0];
    assert_eq!(one(&mut wire, &format!("select format_type({place}, -1)")), "place");
    assert_eq!(
        one(
            &mut wire,
            &format!(
                "select attname, format_type(atttypid, atttypmod) from pg_attribute join pg_type t on attrelid = typrelid where t.oid = {place}"
            )
        ),
        "street text; zip character varying(10); kind ticket_state"
    );
    assert_eq!(rows(&reply), [[Some("(\"Main St\",12345,open)".to_owned())]]);
}

#[test]
fn a_parameter_may_be_declared_with_an_enum() {
    let canary = Canary::start();
    let mut wire = canary.wire();
    let state: u32 = one(&mut wire, "select 'ticket_state'::regtype::oid").parse().unwrap();
    let mut parse = b"\0select count(*) from tickets where state = $1\0\0\x01".to_vec();
    parse.extend(state.to_be_bytes());
    wire.send(b'P', &parse).unwrap();
    wire.send(b'D', b"S\0").unwrap();
    // In binary, a label is its text.
    wire.send(b'B', b"\0\0\0\x01\0\x01\0\x01\0\0\0\x06closed\0\0").unwrap();
    wire.send(b'E', b"\0\0\0\0\0").unwrap();
    wire.send(b'S', b"").unwrap();
    let reply = wire.until_ready().unwrap();
    assert_eq!(error(&reply), None);
    assert_eq!(rows(&reply), [[Some("1".to_owned())]]);
    let described = reply.iter().find(|message| message.tag == b't').unwrap();
    assert_eq!(described.body[2..6], state.to_be_bytes());
    let wrong = wire.simple("select count(*) from tickets where state = 'nonsense'").unwrap();
    canary.check("", &wrong);
    assert_eq!(error(&wrong).as_deref(), Some("22P02 invalid input value for enum ticket_state: \"nonsense\""));
    // A cast gives a parameter its type, under the names that the catalog shows.
    let asked = "select count(*) from tickets where state = $1::ticket_state and state = any(cast($2 as \"public\".\"ticket_state\"[])) and $3::text is null";
    wire.send(b'P', format!("\0{asked}\0\0\0").as_bytes()).unwrap();
    wire.send(b'D', b"S\0").unwrap();
    wire.send(b'B', b"\0\0\0\0\0\x03\0\0\0\x06closed\0\0\0\x0d{open,closed}\xff\xff\xff\xff\0\0").unwrap();
    wire.send(b'E', b"\0\0\0\0\0").unwrap();
    wire.send(b'B', b"\0\0\0\0\0\x03\0\0\0\x09closed\xc3\xa9.\0\0\0\x0d{open,closed}\xff\xff\xff\xff\0\0").unwrap();
    wire.send(b'S', b"").unwrap();
    let reply = wire.until_ready().unwrap();
    canary.check(asked, &reply);
    assert_eq!(rows(&reply), [[Some("1".to_owned())]]);
    let states: u32 = one(&mut wire, "select 'ticket_state[]'::regtype::oid").parse().unwrap();
    let described = reply.iter().find(|message| message.tag == b't').unwrap();
    assert_eq!(described.body[2..], [state, states, 25].map(u32::to_be_bytes).concat());
    assert_eq!(error(&reply).as_deref(), Some("22P02 invalid input value for enum ticket_state: \"closed\u{e9}.\""));
    for (text, told) in [
        ("'x'::ticket_state", "22P02 invalid input value for enum ticket_state: \"x\""),
        ("'x'::public.ticket_state[]", "22P02 malformed array literal: \"x\""),
        ("'{x}'::public.ticket_state[]", "22P02 invalid input value for enum ticket_state: \"x\""),
        ("'x'::text::ticket_state", "22P02 invalid input value for enum ticket_state: \"x\""),
        ("'open'::ticket_state = 1", "42883 operator does not exist: ticket_state = integer"),
        ("'open'::ticket_state::int", "42846 cannot cast type ticket_state to integer"),
        ("1::ticket_state[]", "42846 cannot cast type integer to ticket_state[]"),
        ("array['open'::ticket_state, 1]", "42804 ARRAY types ticket_state and integer cannot be matched"),
        // What a client guesses comes back as it was sent: it is not told that the source calls something so.
        ("'canary_schema.ticket_state'::ticket_state", "22P02 invalid input value for enum ticket_state: \"canary_schema.ticket_state\""),
        ("'canary_schema.canary_unused'::int", "22P02 invalid input syntax for type integer: \"canary_schema.canary_unused\""),
        ("(select \"canary_schema.ticket_state\" from tickets)", "42703 column \"canary_schema.ticket_state\" does not exist"),
        ("(select canary_schema.ticket_state from tickets canary_schema)", "42703 column canary_schema.ticket_state does not exist"),
        ("'canary_label'::canary_unused", "42704 type \"canary_unused\" is not available: it is not a built-in type on the reviewed list"),
        (
            "'canary_label'::canary_nowhere",
            "42704 type \"canary_nowhere\" is not available: it is not a built-in type on the reviewed list",
        ),
        ("'1'::public.amount", "42704 type \"amount\" is not available"),
        ("'1'::public.nowhere", "42704 type \"nowhere\" is not available"),
    ] {
        let reply = wire.simple(&format!("select {text}")).unwrap();
        if !text.contains("canary") {
            canary.check(text, &reply);
        }
        assert_eq!(error(&reply).as_deref(), Some(told), "{text}");
    }
    // A domain's checks would run at Bind, and speak of the source.
    let amount: u32 = one(&mut wire, "select 'amount'::regtype::oid").parse().unwrap();
    let mut parse = b"\0select $1\0\0\x01".to_vec();
    parse.extend(amount.to_be_bytes());
    wire.send(b'P', &parse).unwrap();
    wire.send(b'S', b"").unwrap();
    assert_eq!(error(&wire.until_ready().unwrap()), Some(format!("42704 a parameter cannot be declared with type {amount}")));
}
