//! What the tests stand on: servers of their own on free ports, programs, files that outlive a failure.

mod cases;
mod cluster;
pub(crate) mod governed;
mod guardian;
mod login;
mod pgwicket;
mod process;
mod program;
mod servers;
mod wire;
mod worker;

pub(crate) use cases::{Statement, statements};
pub(crate) use cluster::{Cluster, Database};
pub(crate) use guardian::remove_at_end;
pub(crate) use login::{Login, Raw, block_on};
pub(crate) use pgwicket::{Pgwicket, support_policy};
pub(crate) use program::{repository, run};
pub(crate) use wire::{Message, Wire};
pub(crate) use worker::Worker;

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

/// The agent of `policies/support.yaml` that most tests are.
pub(crate) const AGENT: &str = "support_agent";

/// Its password, and that of every role the tests make.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A TCP port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Makes a certificate for localhost in a directory; the flags of `serve` that take it.
pub(crate) fn certificate(directory: &std::path::Path) -> [String; 4] {
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let path = |path: PathBuf| path.into_os_string().into_string().unwrap();
    ["--tls-cert".to_owned(), path(certificate), "--tls-key".to_owned(), path(key)]
}

/// A number given to the tests by the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap_or_else(|error| panic!("{variable}={value}: {error}")))
}

/// A number no other caller in this process gets.
fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Where a failed test's logs are kept: `target/it-logs/<test>`.
fn failure_logs() -> PathBuf {
    let test = std::thread::current().name().unwrap_or("main").replace("::", ".");
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("it-logs").join(test);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
