//! What other processes of the same user see of a proxy and of a worker: nothing that is secret. And a worker that is another user.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pgwicket::{
    proposal::{Approval, Decider, Decision, Status},
    store::{Location, Store},
};

use crate::support::{Cluster, Login, PASSWORD, Wire, free_port, support_policy};

/// `nobody`: who is not root, and owns nothing.
const NOBODY: u32 = 65_534;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// As somebody who is not root, where this is root: root reads everything.
fn as_nobody(command: &mut Command) -> &mut Command {
    if fs::metadata("/proc/self").unwrap().uid() == 0 { command.uid(NOBODY).gid(NOBODY) } else { command }
}

#[test]
fn the_environment_and_memory_of_proxy_and_worker_are_their_own() {
    let directory = tempfile::Builder::new().prefix("pgwicket-host-").tempdir_in("/tmp").unwrap();
    let program = directory.path().join("pgwicket");
    // The build's own directory may be closed to others.
    fs::copy(env!("CARGO_BIN_EXE_pgwicket"), &program).unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    fs::write(directory.path().join("policies/policy.yaml"), support_policy()).unwrap();
    run_as_owner(directory.path());
    let policies = directory.path().join("policies").display().to_string();
    let state = directory.path().join("state.db").display().to_string();
    let journal = directory.path().join("journal").display().to_string();
    let url = "postgresql://writer:SECRET-OF-THE-HOST@127.0.0.1:9/none";
    let ports = ["--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0"];
    let worker = ["worker", "--sources", "app_postgres=env:WRITE_URL", "--policies", &policies];
    let proxy = ["serve", "--policies", &policies, "--journal", &journal, "--no-catalog"];
    for (arguments, more) in [(&worker[..], &[][..]), (&proxy[..], &ports[..])] {
        let mut command = Command::new(&program);
        command.args(arguments).args(more).current_dir(directory.path()).stderr(Stdio::null()).stdout(Stdio::null());
        command.env_clear().env("WRITE_URL", url).env("APP_POSTGRES_URL", url.replace("writer", "reader")).env("PGWICKET_STORE", &state);
        command.env("MASK_KEY", "0123456789abcdef0123456789abcdef").env("SUPPORT_AGENT_PASSWORD", "x").env("BILLING_AGENT_PASSWORD", "x");
        let mut process = Killed(as_nobody(&mut command).spawn().unwrap());
        let id = process.0.id();
        let seen = |file: &str| as_nobody(Command::new("cat").arg(format!("/proc/{id}/{file}"))).output().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while seen("environ").status.success() {
            assert!(Instant::now() < deadline, "{} shows its environment to its user", arguments[0]);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(process.0.try_wait().unwrap().is_none(), "{} has ended", arguments[0]);
        assert!(!seen("mem").status.success() && !seen("maps").status.success(), "memory");
        let limits = String::from_utf8(seen("limits").stdout).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{limits}");
    }
    // The control: what does not do so shows it.
    let mut command = Command::new("sleep");
    let shown = Killed(as_nobody(command.arg("60").env("WRITE_URL", url)).spawn().unwrap());
    let environ = as_nobody(Command::new("cat").arg(format!("/proc/{}/environ", shown.0.id()))).output().unwrap();
    assert!(String::from_utf8_lossy(&environ.stdout).contains("SECRET-OF-THE-HOST"));
}

/// The directory, and all in it, is that of who the processes run as.
fn run_as_owner(directory: &std::path::Path) {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let chown = Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(directory).status().unwrap();
    assert!(chown.success());
}

/// Who the worker is, and the group that it shares the store with: numbers suffice, no account is needed.
const WORKER: u32 = 64_201;
const STORE_GROUP: u32 = 64_202;

const SHARED: &str = r#"
sources: { app_postgres: { kind: postgres, url: "env:APP_POSTGRES_URL", ssl: disable } }
schemas:
  desk:
    source: app_postgres
    relations: { tickets: { from: public.tickets, tenant_column: tenant_id, columns: [id, subject], writes: { update: [subject] } } }
agents: { support_agent: { auth: { scram: "env:SUPPORT_AGENT_PASSWORD" }, tenant: acme, schemas: [desk] } }
reviewers: { sam: {} }
approvals: { rules: [{ relations: ["desk.*"], reviewers: [sam] }] }
"#;

/// As docs/OPERATIONS.md says: a SQLite store of the proxy's user, 0660 in a directory of a group, and a worker that is another user of
/// that group. Where tests do not run as root, all are one user, and what is looked at is what gives the group its way: the modes of
/// SQLite's files.
#[test]
fn a_worker_of_another_user_shares_a_sqlite_store_by_its_group() {
    let database = Cluster::empty("shared_reader");
    let writer = format!("writer_of_{}", database.name);
    database.sql(&format!("create role shared_reader login password '{PASSWORD}'; create role {writer} login password '{PASSWORD}'"));
    database.sql(
        "create table tickets (id bigint primary key, tenant_id text not null, subject text); insert into tickets values (1, 'acme', 'a')",
    );
    database.sql(&format!("grant select on tickets to shared_reader; grant select, update on tickets to {writer}"));
    database.sql(&pgwicket::source::migration(pgwicket::source::RECEIPTS_SCHEMA, Some(&writer)));
    let directory = tempfile::Builder::new().prefix("pgwicket-host-").tempdir_in("/tmp").unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::copy(env!("CARGO_BIN_EXE_pgwicket"), path("pgwicket")).unwrap();
    for (name, mode) in [("policies", 0o755), ("own", 0o700), ("store", 0o2770)] {
        fs::create_dir(path(name)).unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(path("policies/policy.yaml"), SHARED).unwrap();
    fs::write(path("write-url"), database.login(&writer).url()).unwrap();
    let file = path("store/state.db");
    fs::write(&file, "").unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let own = |owner: String, paths: &[std::path::PathBuf]| {
        assert!(!is_root || Command::new("chown").arg(owner).args(paths).status().unwrap().success());
    };
    own(format!("{NOBODY}:{NOBODY}"), &[path("own")]);
    own(format!("{NOBODY}:{STORE_GROUP}"), &[path("store"), file.clone()]);
    own(format!("{WORKER}:{STORE_GROUP}"), &[path("write-url")]);
    for (name, mode) in [("", 0o711), ("store", 0o2770), ("store/state.db", 0o660), ("write-url", 0o600)] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let as_user = |command: &mut Command, user: u32| {
        command.env_clear().env("APP_POSTGRES_URL", database.source_url()).env("PGWICKET_STORE", &file);
        command.env("SUPPORT_AGENT_PASSWORD", PASSWORD).stdout(Stdio::null()).stderr(Stdio::null());
        if is_root {
            command.uid(user).gid(STORE_GROUP);
        }
        Killed(command.spawn().unwrap())
    };
    let (port, control) = (free_port(), free_port());
    let mut serve = Command::new(path("pgwicket"));
    serve.args(["serve", "--no-catalog", "--journal", "journal", "--policies"]).arg(path("policies"));
    serve.args(["--listen", &format!("127.0.0.1:{port}"), "--control-listen", &format!("127.0.0.1:{control}")]);
    let _proxy = as_user(serve.current_dir(path("own")), NOBODY);
    let deadline = Instant::now() + Duration::from_secs(30);
    let login = Login { port, user: "support_agent".to_owned(), database: "support".to_owned() };
    let mut wire: Option<Wire> = None;
    while wire.is_none() {
        assert!(Instant::now() < deadline, "no login");
        std::thread::sleep(Duration::from_millis(50));
        wire = login.wire().ok();
    }
    let mut wire = wire.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(Store::open(&Location::Sqlite(file.clone()))).unwrap();
    let mut worker = Command::new(path("pgwicket"));
    let source = format!("app_postgres=file:{}", path("write-url").display());
    worker.args(["worker", "--poll", "20", "--sources", &source, "--policies"]).arg(path("policies"));
    let _worker = as_user(worker.current_dir("/"), WORKER);
    // Twice: what the one leaves behind, the other goes on with.
    for subject in ["one", "two"] {
        let answer = wire.simple(&format!("update tickets set subject = '{subject}' where id = 1")).unwrap();
        let error = answer.iter().find(|message| message.tag == b'E').unwrap();
        let detail: serde_json::Value =
            serde_json::from_str(&error.field('D').unwrap_or_else(|| panic!("{:?}", error.field('M')))).unwrap();
        let id = detail["proposal_id"].as_str().unwrap().parse().unwrap();
        let digest = runtime.block_on(store.proposal(id)).unwrap().unwrap().content.digest();
        let decider = Decider::ApiKey { reviewer: "sam".parse().unwrap(), key: "key_1".into() };
        let at = crate::worker::now();
        let approval = Approval { decision: Decision::Approve, decider, digest, reason: None, at, until: None, revoked: false };
        runtime.block_on(store.decide(id, approval, 1, at)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let record = runtime.block_on(store.proposal(id)).unwrap().unwrap();
            if record.status == Status::Applied {
                break;
            }
            let open = matches!(record.status, Status::Approved | Status::Applying);
            assert!(open && Instant::now() < deadline, "{}: {:?}", record.status, record.result);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(database.sql("select subject from tickets").trim(), subject);
    }
    for suffix in ["", "-wal", "-shm"] {
        let found = fs::metadata(path(&format!("store/state.db{suffix}"))).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o660, "{suffix}");
        assert!(!is_root || found.gid() == STORE_GROUP, "{suffix}: group {}", found.gid());
    }
    // The proxy's user does not read the credential, and nobody else the store.
    if is_root {
        let reads =
            |file: &str, user: u32, group: u32| Command::new("cat").arg(path(file)).uid(user).gid(group).output().unwrap().status.success();
        assert!(!reads("write-url", NOBODY, STORE_GROUP) && reads("write-url", WORKER, STORE_GROUP));
        assert!(!reads("store/state.db", WORKER, WORKER) && reads("store/state.db", WORKER, STORE_GROUP), "without the group");
    }
}
