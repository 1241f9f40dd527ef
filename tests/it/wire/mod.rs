//! Wire scripts: what a client sends, message by message, and every message that comes back.
//!
//! Each script of `tests/wire` is played to PostgreSQL, over a copy that holds the tenant's rows only, and then through
//! pgwicket. The expectations in the script are what both answer; where they differ on purpose the script says so.
//! With `PGWICKET_REWRITE=1` the expectations are written anew from what the servers answer, for review by `git diff`.

mod connecting;
mod held;
mod isolation;
mod limits;
mod render;
mod script;
mod sequences;

use std::fs;

use crate::support::{AGENT, Cluster, Pgwicket, repository};
pub(crate) use render::line;
pub(crate) use script::{Script, encoded};

#[test]
fn every_script_is_answered_as_postgresql_answers_it() {
    let postgresql = Cluster::tenant_copy().login(AGENT);
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let login = pgwicket.login();
    let rewrite = std::env::var_os("PGWICKET_REWRITE").is_some();
    let only = std::env::var("PGWICKET_SCRIPT").unwrap_or_default();
    let mut files: Vec<_> = fs::read_dir(repository("tests/wire")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pgt") && path.to_string_lossy().contains(&only));
    files.sort();
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let script = Script::parse(&text);
        cases += script.cases.len();
        let answered = script.play(&postgresql, &login);
        if rewrite {
            fs::write(&file, script.written(&answered)).unwrap();
        } else {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            wrong.extend(script.differences(&answered).into_iter().map(|difference| format!("{name}: {difference}")));
        }
    }
    assert!(cases > 0, "no case");
    assert!(!pgwicket.log().contains("panicked"), "{}", pgwicket.log());
    assert!(wrong.is_empty(), "{} of {cases} cases are answered otherwise\n\n{}", wrong.len(), wrong.join("\n\n"));
}
