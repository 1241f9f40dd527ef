//! Lookups keep their index: EXPLAIN of the governed text, run by the test's own superuser on the real tables.

use pgwicket::govern::AppendedValue;

use crate::support::{AGENT, Cluster, governed};

/// Statement, the index it must use, whether it has to be fenced.
const LOOKUPS: &[(&str, &str, bool)] = &[
    ("select * from tickets where id = 42", "tickets_pkey", false),
    ("select * from tickets where id in (1, 2, 3)", "tickets_pkey", false),
    ("select * from tickets t where 42 = t.id and t.subject is not null", "tickets_pkey", false),
    ("select subject from tickets where public_id = 'c4ca4238-a0b9-2382-0dcc-509a6f75849b'", "tickets_public_id_idx", false),
    (
        "select count(*) from orders where placed_on between date '2024-03-01' and date '2024-03-02'",
        "orders_tenant_id_placed_on_idx",
        false,
    ),
    (
        "select * from tickets where created_at >= timestamptz '2024-02-20 00:00:00+00' order by created_at limit 5",
        "tickets_tenant_id_created_at_idx",
        false,
    ),
    ("select t.id, c.name from tickets t join customers c on c.id = t.customer_id where t.id = 42", "customers_pkey", false),
    ("select o.id from orders o join tickets t on t.id = o.ticket_id where t.id = 11", "tickets_pkey", false),
    ("select (select name from customers c where c.id = t.customer_id) from tickets t where t.id = 42", "customers_pkey", false),
    // A predicate that could leak: the fence holds a copy of the lookup.
    ("select * from tickets where id = 42 and 'x' ~ secret", "tickets_pkey", true),
    ("select * from tickets where id = 42 and amount / 2 > 10", "tickets_pkey", true),
    ("select * from tickets where id = any(array[1, 2]) and subject like '%' || secret", "tickets_pkey", true),
    ("select count(*) from orders where customer_id = 11 and 1 / quantity >= 0", "orders_customer_id_idx", true),
];

#[test]
fn governed_lookups_use_their_index() {
    let desk = Cluster::desk();
    let policy = governed::policy(&desk);
    let wrong: Vec<String> = LOOKUPS
        .iter()
        .filter_map(|(statement, index, fenced)| {
            let governed = governed::governed(&policy, AGENT, statement).unwrap_or_else(|refusal| panic!("{statement}: {refusal:?}"));
            let arguments: Vec<&str> = governed.appended().iter().map(|appended| argument(&appended.value)).collect();
            let explain = format!("prepare governed as {}; explain execute governed ({})", governed.text(), arguments.join(", "));
            let plan = desk.sql(&explain);
            let right = plan.contains(index) && governed.fenced() == *fenced;
            (!right).then(|| format!("{statement}\n{}\nfenced: {}\n{plan}", governed.text(), governed.fenced()))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} lookups\n\n{}", wrong.len(), LOOKUPS.len(), wrong.join("\n"));
}

fn argument(appended: &AppendedValue) -> &'static str {
    match appended {
        AppendedValue::Tenant => "'acme'",
        AppendedValue::MaskKey(_) => "'key'",
        AppendedValue::Constant(value) => panic!("no decision on a whole text lifts {value}"),
        AppendedValue::Session(value) => panic!("no statement here asks for {value:?}"),
    }
}
