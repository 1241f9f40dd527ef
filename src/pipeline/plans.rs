//! The plan cache of a lane: a statement text seen before under the same policy, agent and search path is
//! neither parsed nor governed again.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, Hash as _, Hasher as _},
    rc::Rc,
};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::plan::Plan;
use crate::{
    sql::catalog::Oid,
    types::{AgentName, PolicyEpoch},
};

/// Plans at most.
const ENTRIES: usize = 4096;
/// Memory of plans at most, by their own estimate. Unit: bytes.
const BYTES: usize = 32 << 20;
/// Scopes at most; past it all are numbered anew.
const SCOPES: usize = 4096;

/// Everything besides text and declared types that a plan depends on, as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope(u64);

/// The plans of a lane, bounded; a clock hand drops those not used since it last passed.
#[derive(Debug)]
pub struct Plans {
    hasher: DefaultHashBuilder,
    table: HashTable<usize>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    scopes: HashMap<(AgentName, PolicyEpoch, Box<[Box<str>]>), Scope>,
    last_scope: u64,
}

#[derive(Debug)]
struct Slot {
    scope: Scope,
    hash: u64,
    used: Cell<bool>,
    plan: Option<Rc<Plan>>,
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            scopes: HashMap::new(),
            last_scope: 0,
        }
    }
}

impl Plans {
    /// The scope of an agent under a policy with a search path. A session asks again only when one of them changes.
    pub fn scope(&mut self, agent: &AgentName, epoch: PolicyEpoch, search_path: &[Box<str>]) -> Scope {
        if self.scopes.len() >= SCOPES {
            self.scopes.clear();
        }
        let last = &mut self.last_scope;
        *self.scopes.entry((agent.clone(), epoch, search_path.into())).or_insert_with(|| {
            *last += 1;
            Scope(*last)
        })
    }

    /// The plan of a text, if it is held.
    pub fn find(&self, scope: Scope, text: &str, declared_types: &[Oid]) -> Option<Rc<Plan>> {
        let slot = self.table.find(self.hash(scope, text, declared_types), |slot| self.is(*slot, scope, text, declared_types))?;
        let slot = self.slots.get(*slot)?;
        slot.used.set(true);
        slot.plan.clone()
    }

    /// Keeps a plan.
    pub fn insert(&mut self, scope: Scope, plan: &Rc<Plan>) {
        let size = plan.size();
        if size > BYTES / 16 || self.find(scope, plan.text(), plan.declared_types()).is_some() {
            return;
        }
        while self.table.len() >= ENTRIES || self.bytes + size > BYTES {
            self.drop_one();
        }
        let hash = self.hash(scope, plan.text(), plan.declared_types());
        let slot = Slot { scope, hash, used: Cell::new(false), plan: Some(Rc::clone(plan)) };
        let index = if let Some(index) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(index) {
                *place = slot;
            }
            index
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        };
        self.bytes += size;
        let slots = &self.slots;
        self.table.insert_unique(hash, index, |index| slots.get(*index).map_or(0, |slot| slot.hash));
    }

    /// Forgets a plan whose source no longer agrees with its description.
    pub fn forget(&mut self, plan: &Rc<Plan>) {
        let same = |slot: &Slot| slot.plan.as_ref().is_some_and(|held| Rc::ptr_eq(held, plan));
        if let Some(index) = self.slots.iter().position(same) {
            self.remove(index);
        }
    }

    /// How many plans are held.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    fn hash(&self, scope: Scope, text: &str, declared_types: &[Oid]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        scope.hash(&mut hasher);
        declared_types.hash(&mut hasher);
        text.hash(&mut hasher);
        hasher.finish()
    }

    fn is(&self, slot: usize, scope: Scope, text: &str, declared_types: &[Oid]) -> bool {
        self.slots.get(slot).is_some_and(|slot| {
            slot.scope == scope && slot.plan.as_ref().is_some_and(|plan| plan.text() == text && plan.declared_types() == declared_types)
        })
    }

    fn drop_one(&mut self) {
        for _ in 0..=2 * self.slots.len() {
            let index = self.hand;
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            let Some(slot) = self.slots.get(index) else { continue };
            if slot.plan.is_some() && !slot.used.replace(false) {
                return self.remove(index);
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(plan) = slot.plan.take() else { return };
        let hash = slot.hash;
        self.bytes = self.bytes.saturating_sub(plan.size());
        if let Ok(entry) = self.table.find_entry(hash, |held| *held == index) {
            entry.remove();
        }
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pipeline::plan::Action, sql::Statement};

    fn plan(text: &str) -> Rc<Plan> {
        Rc::new(Plan::new(text, &[], Action::Local(Statement::Empty)))
    }

    #[test]
    fn a_plan_is_found_by_text_types_and_scope_only() {
        let mut plans = Plans::default();
        let agent: AgentName = "a".parse().unwrap();
        let one = plans.scope(&agent, PolicyEpoch(1), &["s".into()]);
        let two = plans.scope(&agent, PolicyEpoch(2), &["s".into()]);
        assert_eq!(one, plans.scope(&agent, PolicyEpoch(1), &["s".into()]));
        plans.insert(one, &plan("select 1"));
        assert!(plans.find(one, "select 1", &[]).is_some());
        assert!(plans.find(two, "select 1", &[]).is_none());
        assert!(plans.find(one, "select 1", &[23]).is_none());
        assert!(plans.find(one, "select 2", &[]).is_none());
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut plans = Plans::default();
        let scope = plans.scope(&"a".parse().unwrap(), PolicyEpoch(1), &[]);
        plans.insert(scope, &plan("hot"));
        for i in 0..3 * ENTRIES {
            plans.insert(scope, &plan(&format!("select {i}")));
            assert!(plans.find(scope, "hot", &[]).is_some());
        }
        assert_eq!(plans.len(), ENTRIES);
        let hot = plans.find(scope, "hot", &[]).unwrap();
        plans.forget(&hot);
        assert!(plans.find(scope, "hot", &[]).is_none());
        assert_eq!(plans.len(), ENTRIES - 1);
    }
}
