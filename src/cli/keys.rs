//! `pgwicket keys`: API keys of the control API, and key pairs that sign decisions.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, spki::der::pem::LineEnding},
};
use serde_json::{Value, json};

use super::{store::StoreLocation, visible::visible};
use crate::{
    config,
    control::{Scope, key_hash, key_secret},
    proposal::{Decision, Status},
    store::{ApiKey, Decided, NewKey, Store, StoreError},
    types::{ReviewerName, SourceName},
};

/// API keys of the control API, and key pairs that sign decisions
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make an API key; its secret is printed once, on stdout
    Create(Create),
    /// List API keys, revoked ones too
    List(List),
    /// End an API key, by its id
    Revoke(Revoke),
    /// Make an Ed25519 key pair for a reviewer: FILE and FILE.pub
    Generate(Generate),
}

#[derive(Debug, Args)]
struct Create {
    /// What it is for, e.g. the program or person that gets it
    #[arg(long)]
    name: String,
    /// What it may do: proposals:read, proposals:approve, worker, sources:admin, evidence:read; more than once for more
    /// [default with --reviewer: proposals:read, proposals:approve]
    #[arg(long, value_name = "SCOPE", required_unless_present = "reviewer", value_delimiter = ',')]
    scope: Vec<Scope>,
    /// Source of the policy that a worker's key is for; more than once for more
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    source: Vec<SourceName>,
    /// Reviewer of the policy whose decisions it carries
    #[arg(long, value_name = "NAME")]
    reviewer: Option<ReviewerName>,
    #[command(flatten)]
    store: StoreLocation,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    store: StoreLocation,
    /// Answer in JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// `key_…`
    id: String,
    /// Put what it approved, and no worker has begun to apply, back to wait for a decision
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    store: StoreLocation,
}

#[derive(Debug, Args)]
struct Generate {
    /// Where the private key goes (PKCS#8 PEM, for its owner only); the public one goes to FILE.pub
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Keys {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            KeysCommand::Create(command) => command.run(),
            KeysCommand::List(command) => command.run(),
            KeysCommand::Revoke(command) => command.run(),
            KeysCommand::Generate(command) => command.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<ExitCode> {
        if self.name.is_empty() || self.name.len() > 200 {
            bail!("--name must have 1 to 200 bytes");
        }
        let scopes = if self.scope.is_empty() { vec![Scope::ProposalsRead, Scope::ProposalsApprove] } else { self.scope };
        if scopes.contains(&Scope::Worker) == self.source.is_empty() {
            bail!("a key with the scope worker names the sources it is for, and no other key does: --source NAME");
        }
        let secret = key_secret(rand::random());
        let new = NewKey {
            name: self.name.into(),
            scopes: scopes.into_iter().map(|scope| scope.word().into()).collect(),
            reviewer: self.reviewer,
            sources: self.source,
            secret_hash: key_hash(secret.expose()),
        };
        let key = with_store(self.store, async |store| store.create_key(&new, now()).await)?;
        if self.json {
            let mut view = view(&key);
            if let Some(fields) = view.as_object_mut() {
                fields.insert("secret".to_owned(), secret.expose().into());
            }
            super::print(&format!("{view:#}\n"));
        } else {
            super::note(&format!("{} made, may {}; this is its secret, shown only now:\n", key.id, key.scopes.join(", ")));
            super::print(&format!("{}\n", secret.expose()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let keys = with_store(self.store, async |store| store.keys().await)?;
        if self.json {
            super::print(&format!("{:#}\n", Value::from(keys.iter().map(view).collect::<Vec<_>>())));
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(["id", "name", "scopes", "reviewer", "sources", "made", "revoked"]);
        for key in &keys {
            table.add_row([
                key.id.to_string(),
                visible(&key.name),
                visible(&key.scopes.join(" ")),
                key.reviewer.as_ref().map(|reviewer| visible(reviewer.as_str())).unwrap_or_default(),
                visible(&key.sources.iter().map(SourceName::as_str).collect::<Vec<_>>().join(" ")),
                moment(key.created_at),
                key.revoked_at.map(moment).unwrap_or_default(),
            ]);
        }
        super::print(&format!("{table}\n"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (id, undo) = (self.id, self.undo);
        let revoked = with_store(self.store, async |store| {
            let Some(key) = store.revoke_key(&id, now()).await? else { return Ok(None) };
            let mut lines = Vec::new();
            for decided in store.decisions_of_key(&key.id).await? {
                let approves = decided.decision == Decision::Approve;
                let reason = format!("API key {} was revoked", key.id);
                let undone = undo && approves && store.reopen(decided.proposal, &reason, now()).await?;
                lines.push(decision(&decided, undone));
            }
            Ok(Some((key, lines)))
        })?;
        let Some((key, lines)) = revoked else { bail!("there is no key {id}") };
        super::print(&format!("{} revoked\n{}", key.id, lines.concat()));
        if !undo && !lines.is_empty() {
            super::note(&format!(
                "no worker applies what this key approved; `pgwicket keys revoke {} --undo` lets others decide on it\n",
                key.id
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A decision of a key that is revoked.
fn decision(decided: &Decided, undone: bool) -> String {
    let became = match (undone, decided.decision, decided.status) {
        (true, ..) => "waits for a decision again",
        (false, Decision::Approve, Status::Pending) => "counts for nothing",
        (false, Decision::Approve, Status::Approved) => "is refused by the worker",
        (false, Decision::Approve, Status::Applying) => "a worker has begun to apply it",
        (false, ..) => "stays as it is",
    };
    format!("{}  {}  {}  {became}\n", decided.proposal, decided.decision.word(), decided.status)
}

impl Generate {
    fn run(self) -> anyhow::Result<ExitCode> {
        let key = SigningKey::from_bytes(&rand::random());
        let private = key.to_pkcs8_pem(LineEnding::LF).context("cannot write the private key as PEM")?;
        let public = key.verifying_key().to_public_key_pem(LineEnding::LF).context("cannot write the public key as PEM")?;
        let mut public_file = self.file.clone().into_os_string();
        public_file.push(".pub");
        config::save_secret(&self.file, &private)?;
        config::save_secret(&PathBuf::from(&public_file), &public)?;
        let literal = STANDARD.encode(key.verifying_key().to_bytes());
        super::note(&format!(
            "private key in {}, public key in {}; in the policy:\n",
            self.file.display(),
            PathBuf::from(public_file).display()
        ));
        super::print(&format!("key: \"ed25519:{literal}\"\n"));
        Ok(ExitCode::SUCCESS)
    }
}

fn with_store<T>(location: StoreLocation, call: impl AsyncFnOnce(Store) -> Result<T, StoreError>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let answered = runtime.block_on(async { call(Store::open(&location.location()).await?).await });
    Ok(answered?)
}

fn view(key: &ApiKey) -> Value {
    json!({
        "id": *key.id, "name": *key.name, "scopes": key.scopes.iter().map(|scope| &**scope).collect::<Vec<_>>(),
        "reviewer": key.reviewer.as_ref().map(ReviewerName::as_str),
        "sources": key.sources.iter().map(SourceName::as_str).collect::<Vec<_>>(),
        "created_at": moment(key.created_at), "revoked_at": key.revoked_at.map(moment),
    })
}

fn moment(unix_milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_milliseconds).map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
