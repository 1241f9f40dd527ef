//! The decision entry: who asked for what, and what was decided, before anything is forwarded.

use sha2::{Digest as _, Sha256};

use super::field::{Tag, put, put_integer, put_option, put_parts};
use crate::types::{Digest, PolicyEpoch, Principal, RunId, SourceName, TenantId};

/// What is known of a statement when it has been decided on. Everything is borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The session, unique enough to group its statements.
    pub session: &'a str,
    /// `application_name` of the session; empty when not set.
    pub application_name: &'a str,
    /// `traceparent` from a sqlcommenter comment.
    pub traceparent: Option<&'a str>,
    /// The source it is for, when one is known.
    pub source: Option<&'a SourceName>,
    /// Alias names of the governed relations.
    pub relations: &'a [Box<str>],
    /// What the client sent, as it came (a refused text may not be UTF-8).
    pub client_text: &'a [u8],
    /// The fingerprint of that text; empty when it could not be parsed.
    pub fingerprint: &'a str,
    /// The client's own bind parameters.
    pub parameters: BoundParameters<'a>,
    /// What is sent to the source.
    pub governed_text: Option<&'a str>,
    /// The policy in force.
    pub policy_epoch: PolicyEpoch,
    /// Its digest.
    pub policy_digest: Digest,
    /// Who answers. Ignored for a refusal.
    pub route: Route,
}

/// Who answers a statement that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The source.
    Source,
    /// pgwicket itself: a session setting, `pgwicket.relations`.
    Local,
}

/// A refusal as the client reads it.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// SQLSTATE.
    pub sqlstate: &'a str,
    /// Message text, with its detail and hint if the caller joins them.
    pub message: &'a str,
}

/// Bind parameters as the Bind message has them; `default()` is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct BoundParameters<'a> {
    /// Declared or inferred types; missing ones count as 0 (unknown).
    pub types: &'a [u32],
    /// Format codes by Bind's rule: none is text for all, one is for all, else one each.
    pub formats: &'a [i16],
    /// The wire form, without the leading count: per parameter a 4-byte length (-1 is NULL) and the bytes.
    pub values: &'a [u8],
    /// Keep the count and a digest only.
    pub redact: bool,
}

/// Verdict numbers of the format.
pub(super) const FORWARDED: u8 = 1;
pub(super) const REFUSED: u8 = 2;
pub(super) const LOCAL: u8 = 3;

impl Decision<'_> {
    /// Fields that stay the same for a session.
    pub(super) fn put_session(&self, out: &mut Vec<u8>) {
        put(out, Tag::Agent, self.principal.agent.as_str().as_bytes());
        put_option(out, Tag::Tenant, self.principal.tenant.as_ref().map(TenantId::as_str));
        put_option(out, Tag::Run, self.principal.run.as_ref().map(RunId::as_str));
        put_option(out, Tag::Subject, self.principal.subject.as_deref());
        for (name, value) in &self.principal.attributes {
            put(out, Tag::Attribute, format!("{name}={value}").as_bytes());
        }
        put(out, Tag::Session, self.session.as_bytes());
        put(out, Tag::ApplicationName, self.application_name.as_bytes());
    }

    /// Fields that stay the same for a statement text under one policy.
    pub(super) fn put_statement(&self, out: &mut Vec<u8>) {
        put_option(out, Tag::Source, self.source.map(SourceName::as_str));
        for relation in self.relations {
            put(out, Tag::Relation, relation.as_bytes());
        }
        put(out, Tag::ClientText, self.client_text);
        put(out, Tag::Fingerprint, self.fingerprint.as_bytes());
        put_option(out, Tag::GovernedText, self.governed_text);
        put_integer(out, Tag::PolicyEpoch, self.policy_epoch.0);
        put(out, Tag::PolicyDigest, &self.policy_digest.0);
    }

    /// Fields of this one run of it.
    pub(super) fn put_run(&self, refused: Option<&Refused<'_>>, out: &mut Vec<u8>) {
        put_option(out, Tag::TraceParent, self.traceparent);
        let verdict = match (refused, self.route) {
            (Some(_), _) => REFUSED,
            (None, Route::Source) => FORWARDED,
            (None, Route::Local) => LOCAL,
        };
        put(out, Tag::Verdict, &[verdict]);
        if let Some(refused) = refused {
            put(out, Tag::SqlState, refused.sqlstate.as_bytes());
            put(out, Tag::Message, refused.message.as_bytes());
        }
        self.parameters.put(out);
    }
}

impl BoundParameters<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut rest = self.values;
        let mut count = 0u32;
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let index = count as usize;
            let type_oid = self.types.get(index).copied().unwrap_or(0).to_be_bytes();
            let format = self.format(index).to_be_bytes();
            rest = if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
                let (value, after) = after.split_at_checked(length).unwrap_or((after, &[]));
                put_parts(out, Tag::Parameter, &[&type_oid, &format, &[0], value]);
                after
            } else {
                put_parts(out, Tag::Parameter, &[&type_oid, &format, &[1]]);
                after
            };
            count += 1;
        }
        if self.redact && count > 0 {
            let digest = Sha256::digest(out.get(start..).unwrap_or_default());
            out.truncate(start);
            put_parts(out, Tag::ParametersRedacted, &[&count.to_be_bytes(), &digest]);
        }
    }

    fn format(&self, index: usize) -> i16 {
        match self.formats {
            [] => 0,
            [all] => *all,
            each => each.get(index).copied().unwrap_or(0),
        }
    }
}
