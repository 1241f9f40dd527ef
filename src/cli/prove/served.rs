//! A pgwicket of the run's own: a child process on a free port of this host, its state in a temporary directory.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::{config, types::Secret};

/// How often a child that does not listen yet is asked again, and how many times.
const PAUSE: Duration = Duration::from_millis(20);
const ATTEMPTS: u32 = 3000;

/// A running `pgwicket serve`. Dropped, it is killed, and its journal and store are gone.
#[derive(Debug)]
pub(super) struct Served {
    child: Child,
    directory: TempDir,
    /// Where agents connect.
    pub(super) port: u16,
}

impl Served {
    /// Serves a policy; `variables` take the place of the environment's.
    pub(super) async fn start(policies: &Path, variables: &BTreeMap<String, Secret>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("pgwicket-prove-").tempdir().context("cannot make a temporary directory")?;
        let (port, control) = (free_port()?, free_port()?);
        let log = File::create(directory.path().join("log")).context("cannot write into the temporary directory")?;
        let program = std::env::current_exe().context("cannot find this program itself")?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--policies").arg(policies);
        command.arg("--journal").arg(directory.path().join("journal")).arg("--store").arg(directory.path().join("state.db"));
        command.arg("--listen").arg(format!("127.0.0.1:{port}")).arg("--control-listen").arg(format!("127.0.0.1:{control}"));
        command.args(["--lanes", "1", "--drain-timeout", "1", "--log", "warn"]);
        // The store of a real deployment is not the place for the proposals that probes make.
        command.env_remove("PGWICKET_DATABASE_URL");
        command.envs(variables.iter().map(|(name, value)| (name, value.expose())));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().context("cannot start pgwicket")?;
        let mut served = Self { child, directory, port };
        served.wait().await?;
        Ok(served)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        for _ in 0..ATTEMPTS {
            if self.child.try_wait().context("cannot look at the pgwicket that was started")?.is_some() {
                let log = config::text(&config::Process, &self.directory.path().join("log")).unwrap_or_default();
                bail!("pgwicket serve ended: {}", log.trim().lines().last().unwrap_or("without a word"));
            }
            if answers(self.port).await.is_ok() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        bail!("pgwicket serve does not listen after a minute")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether somebody speaks the wire there: an SSLRequest has an answer of one byte. A socket listens before the sources are looked at.
async fn answers(port: u16) -> io::Result<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
    stream.read_u8().await
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on this host")?;
    Ok(listener.local_addr()?.port())
}
