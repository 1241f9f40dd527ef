//! The support desk itself: if it does not hold what the other tests take for granted, they prove nothing.

use crate::support::{Cluster, run};

#[test]
fn the_planner_leaks_through_a_plain_derived_table() {
    let leak =
        "select count(*) from (select id, amount, secret from tickets where tenant_id = 'acme') t where amount = 7777 and 'x' ~ secret";
    let output = run(Cluster::desk().psql().args(["-c", leak]));
    assert!(output.stderr.contains("invalid regular expression: parentheses () not balanced"), "{output:?}");
}

#[test]
fn both_references_hold_the_same_rows() {
    let rows = "select md5(string_agg(t::text, '|' order by id)) from tickets t union all select md5(string_agg(c::text, '|' order by id)) from customers c \
                union all select md5(string_agg(o::text, '|' order by id)) from orders o union all select md5(string_agg(d::text, '|' order by id)) from documents d";
    let [first, second] = [Cluster::row_level_security(), Cluster::tenant_copy()]
        .map(|reference| run(reference.login("support_agent").psql().args(["-A", "-t", "-c", rows])).ok());
    assert_eq!(first, second);
    assert_eq!(first.lines().count(), 4);
}

#[test]
fn the_reader_can_read_and_nothing_else() {
    let reader = Cluster::desk().login("pgwicket_reader");
    assert_eq!(run(reader.psql().args(["-A", "-t", "-c", "select count(distinct tenant_id) from tickets"])).ok(), "3\n");
    for write in ["update tickets set amount = 0", "create table mine (id int)", "delete from orders"] {
        let output = run(reader.psql().args(["-c", write]));
        assert!(output.stderr.contains("permission denied"), "{write}: {output:?}");
    }
}
