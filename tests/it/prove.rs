//! `pgwicket prove` as an operator runs it: on a source that is as it should be, and on ones that are not.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, sync::LazyLock};

use serde_json::Value;

use crate::support::{Cluster, Database, PASSWORD, repository, run, support_policy};

/// A small support desk: the probes scan it many times.
static DESK: LazyLock<Database> = LazyLock::new(|| {
    // Roles belong to the cluster: the shared desk's script must be through with the reader before this one alters it.
    drop(Cluster::desk());
    let desk = Cluster::fresh("prove");
    let script = repository("scripts/demo-data.sql");
    run(desk.psql().args(["-q", "-v", "tickets=400", "-v", &format!("reader_password={PASSWORD}"), "-f"]).arg(script)).ok();
    desk.sql(&format!(
        "create role prove_scratch createdb createrole login password '{PASSWORD}';
         create role prove_super superuser login password '{PASSWORD}';
         create role prove_writer createrole bypassrls login password '{PASSWORD}';
         grant pg_read_all_data to prove_writer;
         grant insert, update (subject) on tickets to prove_writer;
         grant create on schema public to prove_writer;
         create function definer() returns int language sql security definer as 'select 1';
         revoke execute on function definer() from public;
         grant execute on function definer() to prove_writer"
    ));
    desk
});

/// What a run ended with and wrote.
struct Proof {
    code: Option<i32>,
    text: String,
    json: Value,
    sarif: Value,
}

impl Proof {
    /// `(check, severity)` of every finding.
    fn findings(&self) -> BTreeSet<(&str, &str)> {
        let all = self.json["findings"].as_array().unwrap().iter();
        all.map(|finding| (finding["check"].as_str().unwrap(), finding["severity"].as_str().unwrap())).collect()
    }

    /// What the findings of a check say.
    fn says(&self, check: &str) -> String {
        let all = self.json["findings"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
        let said: Vec<String> =
            all.map(|finding| format!("{}: {}", finding["subject"].as_str().unwrap(), finding["what"].as_str().unwrap())).collect();
        said.join("\n")
    }

    fn not_run(&self) -> BTreeSet<&str> {
        self.json["not_run"].as_array().unwrap().iter().map(|missing| missing["check"].as_str().unwrap()).collect()
    }
}

fn prove(reader: &str, policy: &str, flags: &[&str]) -> Proof {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::create_dir(file("policies")).unwrap();
    fs::write(file("policies/policy.yaml"), policy).unwrap();
    let output = run(command(reader)
        .arg("--policies")
        .arg(file("policies"))
        .arg("--json")
        .arg(file("report.json"))
        .arg("--sarif")
        .arg(file("report.sarif"))
        .args(flags));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_else(|_| panic!("no report\n{}{}", output.stdout, output.stderr));
        serde_json::from_str(&text).unwrap()
    };
    Proof { code: output.code, json: read(file("report.json")), sarif: read(file("report.sarif")), text: output.stdout }
}

fn command(reader: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgwicket"));
    command.envs(["SUPPORT_AGENT_PASSWORD", "GLOBEX_AGENT_PASSWORD", "MASK_KEY"].map(|name| (name, PASSWORD)));
    command.env("APP_POSTGRES_URL", DESK.login(reader).url());
    command.env("SCRATCH_URL", DESK.login("prove_scratch").url()).arg("prove");
    command
}

#[test]
fn the_demo_holds_and_every_check_was_run() {
    let flags = ["--agent", "support_agent", "--statements", "40", "--seed", "7", "--scratch-url", "env:SCRATCH_URL"];
    let proof = prove("pgwicket_reader", &support_policy(), &flags);
    assert_eq!(proof.code, Some(0), "{}", proof.text);
    assert_eq!((&proof.json["version"], &proof.json["ok"], &proof.json["seed"]), (&1.into(), &true.into(), &7.into()));
    assert!(proof.findings().iter().all(|(_, severity)| *severity == "note"), "{}", proof.text);
    assert_eq!(proof.not_run(), BTreeSet::new());
    let held = |check: &str| -> u64 {
        let checks = proof.json["checks"].as_array().unwrap().iter().filter(|tally| tally["check"] == check);
        checks.map(|tally| tally["held"].as_u64().unwrap()).sum()
    };
    for (check, least) in [
        ("credential/role", 5),
        ("credential/write", 4),
        ("policy/tenancy", 8),
        ("isolation/rows", 12),
        ("isolation/foreign-keys", 40),
        ("isolation/hidden-columns", 300),
        ("isolation/masks", 10),
        ("isolation/planner", 35),
        ("isolation/statements", 40),
        ("isolation/side-effects", 140),
        ("isolation/catalogs", 100),
        ("isolation/bytes", 500),
        ("isolation/noninterference", 80),
    ] {
        assert!(held(check) >= least, "{check} held {} times, {least} expected\n{}", held(check), proof.text);
    }
    assert!(proof.text.contains("0 errors, 0 warnings"), "{}", proof.text);
    let left = "select count(*) from pg_database where datname like 'pgwicket_prove%'";
    assert_eq!(DESK.sql(left).trim(), "0");
    assert_eq!(DESK.sql("select count(*) from pg_roles where rolname like 'pgwicket_prove%'").trim(), "0");
}

#[test]
fn a_credential_that_could_do_more_is_found_out() {
    let proof = prove("prove_writer", &support_policy(), &["--statements", "0"]);
    assert_eq!(proof.code, Some(1), "{}", proof.text);
    for finding in [
        ("credential/role", "error"),
        ("credential/role", "warning"),
        ("credential/write", "error"),
        ("credential/create", "error"),
        ("credential/functions", "warning"),
    ] {
        assert!(proof.findings().contains(&finding), "{finding:?}\n{}", proof.text);
    }
    let role = proof.says("credential/role");
    assert!(
        ["bypasses row-level security", "can create roles", "member of pg_read_all_data"].iter().all(|what| role.contains(what)),
        "{role}"
    );
    let write = proof.says("credential/write");
    assert!(write.contains("INSERT, UPDATE on public.tickets"), "{write}");
    assert!(proof.says("credential/functions").contains("public.definer()"), "{}", proof.text);
    // pgwicket does not serve with it, and the report says that nothing was probed.
    assert!(proof.not_run().contains("isolation/rows"), "{}", proof.text);
    assert!(proof.text.contains("not run: isolation/rows"), "{}", proof.text);

    let proof = prove("prove_super", &support_policy(), &["--statements", "0"]);
    assert_eq!(proof.code, Some(1));
    assert!(proof.says("credential/role").contains("is a superuser"), "{}", proof.text);
}

#[test]
fn a_policy_that_names_the_wrong_tenant_is_pointed_out() {
    let documents = "from: public.documents\n        description: \"policies, guides and answers to quote from\"\n        ";
    let customers = "from: public.customers\n        description: \"who opens tickets and places orders\"\n        ";
    let tenant = "tenant_column: tenant_id";
    let policy = support_policy();
    assert!(policy.contains(&format!("{documents}{tenant}")) && policy.contains(&format!("{customers}{tenant}")));
    let policy = policy
        .replace(&format!("{documents}{tenant}"), &format!("{documents}single_tenant: true"))
        .replace(&format!("{customers}{tenant}"), &format!("{customers}tenant_column: plan"));
    let proof = prove("pgwicket_reader", &policy, &["--agent", "globex_agent", "--statements", "5", "--seed", "1"]);
    let tenancy = proof.says("policy/tenancy");
    assert!(tenancy.contains("documents: `single_tenant: true`, but the table has a column tenant_id"), "{tenancy}");
    assert!(tenancy.contains("customers: `tenant_column: plan`, but the table has a column tenant_id"), "{tenancy}");
    assert!(tenancy.contains("customers: no row has plan = 'globex'"), "{tenancy}");
    // What the policy says holds; that it says the wrong thing is for a person.
    assert_eq!(proof.code, Some(0), "{}", proof.text);
    assert_eq!(proof.not_run(), BTreeSet::from(["isolation/noninterference"]));
    let results = proof.sarif["runs"][0]["results"].as_array().unwrap();
    let placed = results.iter().find(|result| result["ruleId"] == "policy/tenancy").unwrap();
    let place = &placed["locations"][0]["physicalLocation"];
    assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("/policies/policy.yaml"), "{place}");
    assert!(place["region"]["startLine"].as_u64().unwrap() > 1, "{place}");
    assert_eq!(proof.sarif["version"], "2.1.0");
}

#[test]
fn a_wrong_command_line_is_two() {
    assert_eq!(
        run(command("pgwicket_reader").args(["--policies", "policies/support.yaml", "--scratch-url", "postgresql://x"])).code,
        Some(2)
    );
    let policy = repository("policies/support.yaml");
    let unknown = run(command("pgwicket_reader").arg("--policies").arg(policy).args(["--agent", "nobody"]));
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("the policy has no agent nobody"), "{}", unknown.stderr);
}
