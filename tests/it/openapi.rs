//! Schemathesis over `/openapi.json` and a real server: whatever is asked, each answer has a status, a content type and a body that
//! the description has, and nothing is a server error.

use std::process::Command;

use crate::support::{Cluster, Pgwicket, repository, run, support_policy};

#[test]
fn every_answer_is_one_that_the_description_has() {
    let policy = support_policy().replacen("    kind: postgres\n", "    kind: postgres\n    worker: external\n", 1);
    let pgwicket = Pgwicket::start_with_policy_and_flags(&Cluster::desk(), &policy, &["--control-rate-limit", "100000"]);
    let mut made = pgwicket.command();
    made.args(["keys", "create", "--name", "all", "--reviewer", "rosa", "--source", "app_postgres", "--store"]).arg(pgwicket.store());
    made.args(["--scope", "proposals:read,proposals:approve,worker,sources:admin,evidence:read"]);
    let key = run(&mut made).ok();
    let mut schemathesis = Command::new(repository(".venv/bin/schemathesis"));
    schemathesis.current_dir(pgwicket.store().parent().unwrap());
    schemathesis.args(["run", &format!("http://127.0.0.1:{}/openapi.json", pgwicket.control_port())]);
    schemathesis.args([
        "-H",
        &format!("authorization: Bearer {}", key.trim()),
        "--max-time",
        "30",
        "--no-color",
        "--generation-deterministic",
    ]);
    let checks =
        "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";
    schemathesis.args(["--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-examples", "60"]);
    let output = schemathesis.output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
}
