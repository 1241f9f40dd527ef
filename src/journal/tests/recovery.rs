//! Reopening after every way a process can stop.

use std::fs;

use super::*;

#[test]
fn a_lane_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let mut last = None;
    for round in 0..5 {
        let mut lane = open(directory.path());
        for _ in 0..3 {
            let id = fixture.run(&mut lane, "SELECT 1", &[ticket_row(round)], FULL);
            assert!(last < Some(id));
            last = Some(id);
        }
        fixture.refuse(&mut lane, "UPDATE t SET a = 1");
    }
    let text = fs::read(directory.path().join("lane-0000/head")).unwrap();
    assert_eq!(text, b"00000000000000000061\n");
}
