//! The values of the parameters that pgwicket appends to a client's own.

use crate::govern::{Appended, AppendedValue, SessionValue};

/// Appended parameters of most statements, kept on the stack.
const FEW: usize = 8;

/// Where the values come from. All of it is trusted: the proof of who connected, and the virtual session.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) agent: &'a str,
    pub(super) database: &'a str,
    pub(super) schema: Option<&'a str>,
    pub(super) process_id: &'a str,
    pub(super) version: &'a str,
    pub(super) setting: &'a dyn Fn(&str) -> Option<&'a str>,
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
            AppendedValue::Tenant => self.tenant,
            AppendedValue::MaskKey(key) => Some(key.expose()),
            AppendedValue::Constant(value) => Some(&**value),
            AppendedValue::Session(value) => match value {
                SessionValue::User => Some(self.agent),
                SessionValue::Database => Some(self.database),
                SessionValue::Schema => self.schema,
                SessionValue::BackendPid => Some(self.process_id),
                SessionValue::Version => Some(self.version),
                SessionValue::Setting(name) => (self.setting)(name),
            },
        };
        text.map(str::as_bytes)
    }
}
