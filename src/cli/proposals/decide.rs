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
    proposal::{Content, Decision, decision_message},
    types::{Deployment, Digest, ReviewerName},
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
    /// How long an approval counts, in minutes, at most what the policy says
    #[arg(long, value_name = "MINUTES")]
    valid_for: Option<u32>,
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
    /// Sign with this Ed25519 private key (PKCS#8 PEM)
    #[arg(long, value_name = "FILE", env = "PGWICKET_REVIEWER_KEY")]
    key: Option<PathBuf>,
    /// Whose key it is, when the API key is not that reviewer's
    #[arg(long, value_name = "NAME", requires = "key")]
    reviewer: Option<ReviewerName>,
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
        let until = (decision == Decision::Approve).then(|| end(&answer, self.valid_for)).flatten();
        let signature = signing.map(|key| sign(&key, &answer, &content, decision, until)).transpose()?;
        let body = json!({
            "digest": digest.to_string(), "reason": self.reason, "signature": signature, "until": until,
            "reviewer": self.reviewer.as_ref().map(ReviewerName::as_str),
        });
        finish(server, &format!("{}/{}", path(&self.id), decision.word()), &body)
    }
}

impl Cancel {
    pub(super) fn run(self, server: &Server) -> anyhow::Result<ExitCode> {
        let signature = match self.key.as_deref().map(signing_key).transpose()? {
            Some(key) => {
                let answer: ProposalAnswer = server.get(&path(&self.id), &[])?;
                Some(sign(&key, &answer, &checked(&answer, &self.id)?, Decision::Cancel, None)?)
            }
            None => None,
        };
        let reviewer = self.reviewer.as_ref().map(ReviewerName::as_str);
        let body = json!({ "reason": self.reason, "signature": signature, "reviewer": reviewer });
        finish(server, &format!("{}/cancel", path(&self.id)), &body)
    }
}

/// When an approval that is made now ends.
fn end(answer: &ProposalAnswer, minutes: Option<u32>) -> Option<i64> {
    let latest = answer.proposal.needs.as_ref()?.until;
    Some(minutes.map_or(latest, |minutes| latest.min(now() + i64::from(minutes) * 60_000)))
}

/// A signature over a decision in the deployment that the server says it is, which has to be the content's.
fn sign(key: &SigningKey, answer: &ProposalAnswer, content: &Content, decision: Decision, until: Option<i64>) -> anyhow::Result<String> {
    let proposal = content.proposal();
    let here: Option<Deployment> = answer.proposal.needs.as_ref().and_then(|needs| needs.deployment.parse().ok());
    let deployment = match (&proposal.deployment, here) {
        (Some(own), Some(here)) if *own != here => bail!("it was proposed in deployment {own}, and the server is {here}"),
        (Some(own), _) => own.clone(),
        (None, Some(here)) => here,
        (None, None) => bail!("nobody may decide on it: {}", answer.proposal.not_approvable.as_deref().unwrap_or("no rule is for it")),
    };
    let message = decision_message(&deployment, proposal.id, content.digest(), decision, until);
    Ok(STANDARD.encode(key.sign(message.as_bytes()).to_bytes()))
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
