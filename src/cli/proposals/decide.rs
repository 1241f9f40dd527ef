//! `approve`, `reject`, `cancel`: shown first, then signed or sent.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use ed25519_dalek::{Signer as _, SigningKey, pkcs8::DecodePrivateKey as _};
use serde_json::{Value, json};

use super::{client::Server, now, path, print};
use crate::{
    config::{self, Process},
    control::{DecisionAnswer, ProposalAnswer},
    proposal::{Content, Decision, approval_message},
    types::{Digest, ReviewerName},
};

#[derive(Debug, Args)]
pub(super) struct Decide {
    /// `prop_…`
    id: String,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
    /// Sign with this Ed25519 private key (PKCS#8 PEM)
    #[arg(long, value_name = "FILE", env = "PGWICKET_REVIEWER_KEY")]
    key: Option<PathBuf>,
    /// Whose key it is, when the API key is not that reviewer's
    #[arg(long, value_name = "NAME", requires = "key")]
    reviewer: Option<ReviewerName>,
    /// Decide only if the content has this digest: what was looked at before
    #[arg(long, value_name = "SHA256")]
    digest: Option<Digest>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// `prop_…`
    id: String,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
}

impl Decide {
    pub(super) fn run(self, server: &Server, decision: Decision) -> anyhow::Result<ExitCode> {
        let signing = self.key.as_deref().map(signing_key).transpose()?;
        let answer: ProposalAnswer = server.get(&path(&self.id), &[])?;
        let content = checked(&answer, &self.id)?;
        let digest = content.digest();
        if self.digest.is_some_and(|expected| expected != digest) {
            bail!("the content's digest is {digest}, not the one that was given: look at it again");
        }
        if !self.yes {
            super::super::note(&print::proposal(&answer.proposal, now(), print::colours_of(io::stderr().is_terminal()))?);
            if !confirmed(decision, &self.id)? {
                super::super::note("nothing was decided\n");
                return Ok(ExitCode::FAILURE);
            }
        }
        let signature = signing.map(|key| {
            let message = approval_message(content.proposal().id, digest, decision);
            STANDARD.encode(key.sign(message.as_bytes()).to_bytes())
        });
        let body = json!({
            "digest": digest.to_string(), "reason": self.reason, "signature": signature,
            "reviewer": self.reviewer.as_ref().map(ReviewerName::as_str),
        });
        finish(server, &format!("{}/{}", path(&self.id), decision.word()), &body)
    }
}

impl Cancel {
    pub(super) fn run(self, server: &Server) -> anyhow::Result<ExitCode> {
        finish(server, &format!("{}/cancel", path(&self.id)), &json!({ "reason": self.reason }))
    }
}

/// The content, if it is that of the proposal that was asked for.
pub(super) fn checked(answer: &ProposalAnswer, id: &str) -> anyhow::Result<Content> {
    let content = Content::read(&answer.proposal.content)?;
    if content.proposal().id.to_string() != id {
        bail!("the server answered with another proposal: {}", content.proposal().id);
    }
    if content.digest().to_string() != answer.proposal.summary.digest {
        bail!("the server's digest is not that of the content it sent");
    }
    Ok(content)
}

fn finish(server: &Server, path: &str, body: &Value) -> anyhow::Result<ExitCode> {
    if server.json() {
        super::super::print(&format!("{:#}\n", server.post::<Value>(path, body)?));
    } else {
        let answer: DecisionAnswer = server.post(path, body)?;
        super::super::print(&print::outcome(&answer.proposal));
    }
    Ok(ExitCode::SUCCESS)
}

fn signing_key(file: &Path) -> anyhow::Result<SigningKey> {
    let pem = config::text(&Process, file)?;
    SigningKey::from_pkcs8_pem(pem.trim()).ok().with_context(|| format!("{} is not an Ed25519 private key (PKCS#8 PEM)", file.display()))
}

fn confirmed(decision: Decision, id: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("nobody to ask: say --yes to {} without being asked", decision.word());
    }
    super::super::note(&format!("{} {id}? [y/N] ", decision.word()));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
