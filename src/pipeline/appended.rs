//! The values of the parameters that pgwicket appends to a client's own.

use super::{
    local::shown,
    own::Own,
    session::{Derived, Evidence, Who},
    settings::{self, Settings},
    transaction::Transaction,
};
use crate::{
    govern::{Appended, AppendedValue, SessionValue},
    sql::catalog::Oid,
    types::TenantId,
};

/// Appended parameters of most statements, kept on the stack.
const FEW: usize = 8;

/// `bpchar` in `pg_type`.
const BPCHAR: Oid = 1042;

/// Where the values come from. All of it is trusted: the proof of who connected, and the virtual session.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) who: &'a Who,
    pub(super) settings: &'a Settings,
    pub(super) derived: &'a Derived,
    pub(super) evidence: &'a Evidence,
    pub(super) transaction: &'a Transaction,
    pub(super) own: &'a Own,
}

impl<'a> Values<'a> {
    /// Hands the values of `appended`, in order, to `use_them`.
    pub(super) fn with<R>(&self, appended: &'a [Appended], use_them: impl FnOnce(&[Option<&'a [u8]>]) -> R) -> R {
        let mut few = [None; FEW];
        if let Some(places) = few.get_mut(..appended.len()) {
            for (place, parameter) in places.iter_mut().zip(appended) {
                *place = self.of(parameter);
            }
            return use_them(places);
        }
        use_them(&appended.iter().map(|parameter| self.of(parameter)).collect::<Vec<_>>())
    }

    fn of(&self, parameter: &'a Appended) -> Option<&'a [u8]> {
        let text = match &parameter.value {
            // `char(n)` would take a tenant with trailing blanks for another: it is nobody's.
            AppendedValue::Tenant => {
                let tenant = self.who.principal.tenant.as_ref().map(TenantId::as_str);
                tenant.filter(|tenant| parameter.type_oid != BPCHAR || !tenant.ends_with(' '))
            }
            AppendedValue::MaskKey(key) => Some(key.expose()),
            AppendedValue::Constant(value) => Some(&**value),
            AppendedValue::Session(value) => match value {
                SessionValue::User => Some(self.who.principal.agent.as_str()),
                SessionValue::Database => Some(&*self.who.database),
                SessionValue::Schema => self.derived.search_path.first().map(AsRef::as_ref),
                SessionValue::BackendPid => Some(&*self.who.process_id),
                SessionValue::Version => Some(&*self.who.version),
                // Refused before, unless it may be missing.
                SessionValue::Setting { name, .. } | SessionValue::Config { name, .. } => {
                    let name = match settings::definition(name) {
                        Ok(definition) => definition.name,
                        Err(_) => self.settings.own_name(name)?,
                    };
                    shown(name, self.settings, self.derived, self.evidence, self.transaction)
                }
                SessionValue::Proposals => Some(self.own.proposals()),
                SessionValue::ProposalChanges => Some(self.own.changes()),
            },
        };
        text.map(str::as_bytes)
    }
}
