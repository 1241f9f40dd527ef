//! Settlement: an approval by a rule of the policy, within what the rule allows a day.

/// What a rule has settled for an agent since midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    /// Proposals.
    pub count: u64,
    /// Rows.
    pub rows: u64,
    /// The rule's own sum. Unit: ten-thousandths.
    pub sum: i64,
}

/// A rule settles a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The rule.
    pub rule: Box<str>,
    /// What it adds to the rule's sum. Unit: ten-thousandths.
    pub amount: i64,
}

/// Decides whether a proposal is settled. The store asks inside the transaction that stores the proposal, so that a
/// limit a day holds over all proxies.
pub trait Settle: Send + Sync {
    /// The rules whose counters the decision needs.
    fn rules(&self) -> Vec<Box<str>>;

    /// The decision; `counters` are in the order of [`Self::rules`].
    fn settle(&self, counters: &[Counter]) -> Option<Settlement>;
}
