//! The logins a policy makes: for every user name a verifier, for the real ones a principal.

use std::{fmt, sync::Arc};

use hashbrown::HashMap;

use super::{
    Claimed, InvalidVerifier, Proof, Verifier, certificate,
    verifier::{Form, hmac_sha256},
};
use crate::{
    policy::{Agent, AgentAuth, PolicySet, TokenMethod, TokenRules},
    types::{AgentName, Principal},
};

/// 32 random bytes, from which salts and the verifiers of unknown users are derived. The same over restarts and over the proxies
/// that share a store: a user whose salt changes where another's does not would be told from it.
#[derive(Clone)]
pub struct LoginSecret([u8; 32]);

/// Every login of one policy. Replaced as a whole when a policy takes effect.
#[derive(Debug)]
pub struct Logins {
    secret: LoginSecret,
    by_name: HashMap<AgentName, Login>,
    /// Iterations and salt lengths of those who have a password: an unknown user's are some of these.
    forms: Vec<Form>,
}

#[derive(Debug)]
struct Login {
    auth: AgentAuth,
    /// Of those who have a password.
    verifier: Option<Arc<Verifier>>,
    agent: Arc<Agent>,
}

/// How a user has to prove itself.
#[derive(Debug, Clone)]
pub enum Method {
    /// By SCRAM; also every user that there is not.
    Scram,
    /// By a token, handed over so.
    Token(Arc<TokenRules>, TokenMethod),
    /// By its client certificate.
    Certificate,
}

/// An agent whose secret cannot serve as a login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The password is empty.
    #[error("agent {0}: the password is empty")]
    EmptyPassword(AgentName),
    /// The stored verifier cannot be read.
    #[error("agent {agent}: the secret of its login is {reason}")]
    InvalidVerifier {
        /// Whose.
        agent: AgentName,
        /// Why not.
        reason: InvalidVerifier,
    },
}

impl LoginSecret {
    /// Wraps random bytes that the caller keeps.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    fn derive(&self, purpose: &[u8], user: &str) -> [u8; 32] {
        hmac_sha256(&self.0, &[purpose, user.as_bytes()])
    }

    /// As [`Self::salt`], which it begins with, of any length.
    fn long_salt(&self, user: &str, length: usize) -> Vec<u8> {
        let more = (0_u8..=u8::MAX).flat_map(|block| self.derive(&[b"salt:".as_slice(), &[block]].concat(), user));
        self.salt(user).into_iter().chain(more).take(length).collect()
    }

    /// The salt of a user, the same whether the user exists or not.
    fn salt(&self, user: &str) -> [u8; 16] {
        let [salt @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.derive(b"salt:", user);
        salt
    }
}

impl fmt::Debug for LoginSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginSecret(****)")
    }
}

impl Logins {
    /// No logins: every proof is wrong.
    pub fn none(secret: LoginSecret) -> Self {
        Self { secret, by_name: HashMap::new(), forms: Vec::new() }
    }

    /// The logins of a policy, or every agent that has none. A verifier is derived (a few milliseconds each)
    /// only where `self`, the logins in force, has none for the same secret.
    pub fn renew(&self, policy: &PolicySet) -> Result<Self, Vec<LoginError>> {
        let mut by_name = HashMap::with_capacity(policy.agents.len());
        let mut errors = Vec::new();
        for (name, agent) in &policy.agents {
            let known = self.by_name.get(name).filter(|login| same_secret(&login.auth, &agent.auth));
            match known.map_or_else(|| self.verifier(agent), |login| Ok(login.verifier.clone())) {
                Ok(verifier) => {
                    by_name.insert(name.clone(), Login { auth: agent.auth.clone(), verifier, agent: Arc::clone(agent) });
                }
                Err(error) => errors.push(error),
            }
        }
        let mut forms: Vec<Form> = by_name.values().filter_map(|login| login.verifier.as_deref()).map(Verifier::form).collect();
        forms.sort_unstable();
        if errors.is_empty() { Ok(Self { secret: self.secret.clone(), by_name, forms }) } else { Err(errors) }
    }

    /// The verifier to challenge this user with, and whether it is that of an agent.
    pub fn verifier_of(&self, user: &str) -> (Arc<Verifier>, bool) {
        // The mock is made for every user, so that both kinds take the same time.
        let form = self.form(user);
        let salt = self.secret.long_salt(user, form.salt);
        let mock = Verifier::mock(form.iterations, &salt, self.secret.derive(b"stored:", user), self.secret.derive(b"server:", user));
        match self.login(user).and_then(|login| login.verifier.as_ref()) {
            Some(verifier) => (Arc::clone(verifier), true),
            None => (Arc::new(mock), false),
        }
    }

    /// How this user has to prove itself. Which agents have tokens or certificates can be told from this, as from
    /// PostgreSQL's `pg_hba.conf`; whether an agent with a password exists cannot.
    pub fn method_of(&self, user: &str) -> Method {
        match self.login(user).map(|login| &login.auth) {
            Some(AgentAuth::Token(rules, method)) => Method::Token(Arc::clone(rules), *method),
            Some(AgentAuth::Certificate(_)) => Method::Certificate,
            Some(AgentAuth::ScramPassword(_) | AgentAuth::ScramVerifier(_)) | None => Method::Scram,
        }
    }

    /// Who an agent is, once its proof was checked; with the connections it may hold.
    pub fn principal(&self, user: &str, _checked: &Proof) -> Option<(Principal, usize)> {
        let login = self.login(user).filter(|login| login.verifier.is_some())?;
        Some(login.whoever())
    }

    /// Who an agent is by its token.
    pub fn principal_of_token(&self, user: &str, claimed: Claimed) -> Option<(Principal, usize)> {
        let login = self.login(user).filter(|login| matches!(login.auth, AgentAuth::Token(..)))?;
        let (mut principal, connections) = login.whoever();
        principal.tenant = claimed.tenant.or(principal.tenant);
        principal.run = claimed.run;
        principal.subject = Some(claimed.subject);
        principal.attributes = claimed.attributes;
        Some((principal, connections))
    }

    /// Who an agent is by the certificate (DER) that TLS has checked.
    pub fn principal_of_certificate(&self, user: &str, certificate: &[u8]) -> Option<(Principal, usize)> {
        let login = self.login(user)?;
        match &login.auth {
            AgentAuth::Certificate(name) if certificate::carries(certificate, name) => Some(login.whoever()),
            AgentAuth::Certificate(_) | AgentAuth::ScramPassword(_) | AgentAuth::ScramVerifier(_) | AgentAuth::Token(..) => None,
        }
    }

    /// How the verifier of a user looks that there is not: like one of those that there are, always the same one for a name.
    fn form(&self, user: &str) -> Form {
        let [first, second, ..] = self.secret.derive(b"form:", user);
        let place = usize::from(u16::from_be_bytes([first, second])).checked_rem(self.forms.len());
        place.and_then(|place| self.forms.get(place)).copied().unwrap_or_default()
    }

    fn login(&self, user: &str) -> Option<&Login> {
        self.by_name.get(&user.parse::<AgentName>().ok()?)
    }

    fn verifier(&self, agent: &Agent) -> Result<Option<Arc<Verifier>>, LoginError> {
        let verifier = match &agent.auth {
            AgentAuth::ScramPassword(password) if password.expose().is_empty() => {
                return Err(LoginError::EmptyPassword(agent.name.clone()));
            }
            AgentAuth::ScramPassword(password) => Verifier::derive(password.expose(), &self.secret.salt(agent.name.as_str())),
            AgentAuth::ScramVerifier(stored) => {
                stored.expose().parse().map_err(|reason| LoginError::InvalidVerifier { agent: agent.name.clone(), reason })?
            }
            AgentAuth::Token(..) | AgentAuth::Certificate(_) => return Ok(None),
        };
        Ok(Some(Arc::new(verifier)))
    }
}

impl Login {
    /// Without what a token adds.
    fn whoever(&self) -> (Principal, usize) {
        let agent = &self.agent;
        let principal =
            Principal { agent: agent.name.clone(), tenant: agent.tenant.clone(), run: None, subject: None, attributes: Vec::new() };
        (principal, agent.max_connections)
    }
}

fn same_secret(one: &AgentAuth, other: &AgentAuth) -> bool {
    match (one, other) {
        (AgentAuth::ScramPassword(one), AgentAuth::ScramPassword(other))
        | (AgentAuth::ScramVerifier(one), AgentAuth::ScramVerifier(other)) => one == other,
        (AgentAuth::ScramPassword(_) | AgentAuth::ScramVerifier(_) | AgentAuth::Token(..) | AgentAuth::Certificate(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        policy::{Durability, Limits},
        types::{Digest, PolicyEpoch, Secret},
    };

    fn policy(agents: &[(&str, AgentAuth)]) -> PolicySet {
        let agent = |(name, auth): &(&str, AgentAuth)| {
            let name: AgentName = name.parse().unwrap();
            let agent = Agent {
                visible: Arc::default(),
                name: name.clone(),
                auth: auth.clone(),
                tenant: None,
                session_token: None,
                schemas: Vec::new(),
                functions: Vec::new(),
                allow_explain: false,
                statement_timeout: Duration::from_secs(1),
                max_connections: 3,
                limits: Limits::default(),
                durability: Durability::Group,
                evidence_parameters: true,
            };
            (name, Arc::new(agent))
        };
        PolicySet { agents: agents.iter().map(agent).collect(), ..PolicySet::empty(PolicyEpoch(1), Digest([0; 32])) }
    }

    fn password(text: &str) -> AgentAuth {
        AgentAuth::ScramPassword(Secret::new(text))
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one() {
        let none = Logins::none(LoginSecret::new([7; 32]));
        let logins = none.renew(&policy(&[("ada", password("pencil"))])).unwrap();
        let (known, genuine) = logins.verifier_of("ada");
        let (before, unknown) = none.verifier_of("ada");
        assert!(genuine && !unknown);
        assert_eq!((known.salt(), known.iterations()), (before.salt(), before.iterations()), "not even a reload tells them apart");
        assert_eq!(logins.verifier_of("bob").0.salt(), logins.verifier_of("bob").0.salt(), "the mock is stable");
        assert_ne!(logins.verifier_of("bob").0.salt(), logins.verifier_of("eve").0.salt());
        assert!(!logins.verifier_of("\0\u{7}").1, "not even a name");
    }

    /// A stored verifier has the iterations and the salt that its maker chose: users that there are not look the same way.
    #[test]
    fn an_unknown_user_has_the_form_that_known_ones_have() {
        let stored = "SCRAM-SHA-256$15000:AAECAwQFBgcICQoLDA0ODxAREhMUFRYX$kZ5VbZrMdzzRLzFm0oZQYFz6G0A7VTKJpmSyqN+NZTo=:Wmm6Nnc0V7eUK0C1zRGIjrKvkKUFgIcJ1NYCBhPLbG0=";
        let stored = AgentAuth::ScramVerifier(Secret::new(stored));
        let logins = Logins::none(LoginSecret::new([7; 32])).renew(&policy(&[("ada", stored)])).unwrap();
        let (ada, bob) = (logins.verifier_of("ada").0, logins.verifier_of("bob").0);
        assert_eq!((ada.iterations(), ada.salt().len()), (15_000, 32));
        assert_eq!((bob.iterations(), bob.salt().len()), (15_000, 32));
        // Another process with the same secret says the same.
        let again = Logins::none(LoginSecret::new([7; 32]));
        let again = again.renew(&policy(&[("ada", password("pencil"))])).unwrap();
        let first = Logins::none(LoginSecret::new([7; 32])).renew(&policy(&[("ada", password("pencil"))])).unwrap();
        assert_eq!(again.verifier_of("eve").0.salt(), first.verifier_of("eve").0.salt());
    }

    #[test]
    fn a_reload_keeps_what_did_not_change() {
        let none = Logins::none(LoginSecret::new([7; 32]));
        let first = none.renew(&policy(&[("ada", password("pencil")), ("bob", password("pen"))])).unwrap();
        let second = first.renew(&policy(&[("ada", password("pencil")), ("bob", password("new"))])).unwrap();
        assert!(Arc::ptr_eq(&first.verifier_of("ada").0, &second.verifier_of("ada").0));
        assert!(!Arc::ptr_eq(&first.verifier_of("bob").0, &second.verifier_of("bob").0));
    }

    #[test]
    fn every_unusable_secret_is_named() {
        let none = Logins::none(LoginSecret::new([7; 32]));
        let bad = policy(&[("ada", password("")), ("bob", AgentAuth::ScramVerifier(Secret::new("hunter2")))]);
        let errors = none.renew(&bad).unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(!format!("{errors:?} {}", errors[1]).contains("hunter2"));
    }
}
