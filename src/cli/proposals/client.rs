//! The control API from the outside.

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use ureq::{
    Agent, Body,
    http::{Response, Uri},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::super::visible::visible;
use crate::config::{self, Process};

/// Longest that an answer may take.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The largest answer. Unit: bytes.
const LARGEST: u64 = 256 << 20;

/// Where the control API is, and how it is asked.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The control API
    #[arg(long, global = true, env = "PGWICKET_URL", default_value = "http://127.0.0.1:6433")]
    url: String,
    /// API key; better in the environment, since a command line is not secret
    #[arg(long, global = true, value_name = "KEY", env = "PGWICKET_API_KEY", hide_env_values = true, default_value = "")]
    api_key: String,
    /// PEM file of the roots to trust instead of the system's
    #[arg(long, global = true, value_name = "FILE", env = "PGWICKET_CA_CERT")]
    ca_cert: Option<PathBuf>,
    /// Send the API key over plain HTTP to another machine
    #[arg(long, global = true)]
    allow_plaintext: bool,
    /// Answer in JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    message: String,
    request_id: String,
}

impl Server {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<T> {
        let agent = self.agent()?;
        let mut request = agent.get(self.address(path)).header("authorization", format!("Bearer {}", self.api_key));
        for (name, value) in query.iter().filter_map(|(name, value)| Some((*name, (*value)?))) {
            request = request.query(name, value);
        }
        read(request.call().with_context(|| self.unreachable())?)
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        let request = self.agent()?.post(self.address(path)).header("authorization", format!("Bearer {}", self.api_key));
        read(request.send_json(body).with_context(|| self.unreachable())?)
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    fn unreachable(&self) -> String {
        format!("cannot ask {}", self.url)
    }

    fn agent(&self) -> anyhow::Result<Agent> {
        if self.api_key.is_empty() {
            bail!("no API key: set PGWICKET_API_KEY; `pgwicket keys create` makes one");
        }
        let uri: Uri = self.url.parse().with_context(|| format!("--url {} is not a URL", self.url))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let own = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if uri.scheme_str() != Some("https") && !own && !self.allow_plaintext {
            bail!("the API key would go to {host} over plain HTTP; use https://, or --allow-plaintext");
        }
        let roots = match &self.ca_cert {
            None => RootCerts::PlatformVerifier,
            Some(file) => RootCerts::Specific(Arc::new(certificates(file)?)),
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).max_redirects(0).tls_config(tls);
        Ok(config.build().into())
    }
}

fn certificates(file: &std::path::Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let pem = config::bytes(&Process, file)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item.with_context(|| format!("{} is not PEM", file.display()))? {
            PemItem::Certificate(certificate) => found.push(certificate),
            PemItem::PrivateKey(_) => {}
            _ => bail!("{} holds something other than certificates", file.display()),
        }
    }
    if found.is_empty() {
        bail!("{} holds no certificate", file.display());
    }
    Ok(found)
}

/// The answer, or the refusal in its own words.
fn read<T: DeserializeOwned>(mut response: Response<Body>) -> anyhow::Result<T> {
    let status = response.status();
    let text = response.body_mut().with_config().limit(LARGEST).read_to_string().context("the answer cannot be read")?;
    if status.is_success() {
        return serde_json::from_str(&text).context("the answer is not what this pgwicket expects: are both of one version?");
    }
    match serde_json::from_str::<Refusal>(&text) {
        Ok(refusal) => bail!("{} ({}, request {})", visible(&refusal.message), visible(&refusal.error), visible(&refusal.request_id)),
        Err(_not_ours) => bail!("the server answered {status}, and not in our form: is --url a control API?"),
    }
}
