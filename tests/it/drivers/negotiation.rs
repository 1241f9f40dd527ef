//! libpq 18 connects as it may be asked to.

use super::python;
use crate::support::{Cluster, Pgwicket, certificate, support_policy};

/// PostgreSQL has direct TLS from 17 and protocol 3.2 from 18 on; pgwicket offers both before any source.
#[test]
fn libpq_negotiates_direct_tls_and_protocol_3_2() {
    let directory = tempfile::tempdir().unwrap();
    let flags = certificate(directory.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &support_policy(), &flags);
    let said = python(&pgwicket.login(), &["libpq_negotiation.py"]);
    let (client, said) = said.split_once('\n').unwrap();
    assert_eq!(
        said,
        "usual 30000 TLS canceled True\n\
         direct 30000 TLS canceled True\n\
         latest 30002 TLS canceled True\n\
         latest direct 30002 TLS canceled True\n\
         oldest 30000 plain canceled True\n"
    );
    assert!(client.ends_with("libpq 18"), "{client}");
}
