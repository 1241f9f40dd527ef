//! The plan cache of a lane: a statement seen before under the same policy, agent and search path is neither
//! parsed nor governed again. Nor is one that differs from it in the values of its literals only.

use std::{
    hash::{BuildHasher as _, Hash as _, Hasher as _},
    rc::Rc,
};

use hashbrown::{DefaultHashBuilder, HashMap};

use super::{
    clock::Clock,
    plan::{Plan, SharedDescription},
};
use crate::{
    govern::Template,
    sql::catalog::Oid,
    types::{AgentName, PolicyEpoch},
};

/// Plans at most.
const ENTRIES: usize = 4096;
/// Memory of plans at most, by their own estimate. Unit: bytes.
const BYTES: usize = 32 << 20;
/// Templates at most.
const TEMPLATES: usize = 2048;
/// Memory of templates at most, by their texts' length. Unit: bytes.
const TEMPLATE_BYTES: usize = 16 << 20;
/// Scopes at most; past it all are numbered anew.
const SCOPES: usize = 4096;

/// Everything besides text and declared types that a plan depends on, as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Scope(u64);

/// What a scope stands for.
type Seen = (AgentName, PolicyEpoch, Box<[Box<str>]>, Box<str>);

/// The plans and templates of a lane, bounded.
#[derive(Debug)]
pub(super) struct Plans {
    hasher: DefaultHashBuilder,
    held: Clock<(Scope, Rc<Plan>)>,
    templates: Clock<Shaped>,
    scopes: HashMap<Seen, Scope>,
    last_scope: u64,
}

/// What is known of a shape.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// Nothing yet.
    Nothing,
    /// Its texts are decided one by one.
    Single,
    /// One decision is for every text of it.
    Template(Rc<Template>, SharedDescription),
}

#[derive(Debug)]
struct Shaped {
    scope: Scope,
    shape: Box<str>,
    declared_types: Box<[Oid]>,
    known: Known,
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            held: Clock::new(ENTRIES, BYTES),
            templates: Clock::new(TEMPLATES, TEMPLATE_BYTES),
            scopes: HashMap::new(),
            last_scope: 0,
        }
    }
}

impl Plans {
    /// The scope of an agent under a policy, with a search path, in a database. A session asks again only when one of them changes.
    pub(super) fn scope(&mut self, agent: &AgentName, epoch: PolicyEpoch, search_path: &[Box<str>], database: &str) -> Scope {
        if self.scopes.len() >= SCOPES {
            self.scopes.clear();
        }
        let last = &mut self.last_scope;
        *self.scopes.entry((agent.clone(), epoch, search_path.into(), database.into())).or_insert_with(|| {
            *last += 1;
            Scope(*last)
        })
    }

    /// The plan of a text, if it is held.
    pub(super) fn find(&self, scope: Scope, text: &str, declared_types: &[Oid]) -> Option<Rc<Plan>> {
        let is = |held: &(Scope, Rc<Plan>)| held.0 == scope && held.1.text() == text && held.1.declared_types() == declared_types;
        self.held.find(self.hash(scope, text, declared_types), is).map(|(_, plan)| Rc::clone(plan))
    }

    /// Keeps a plan.
    pub(super) fn insert(&mut self, scope: Scope, plan: &Rc<Plan>) {
        let hash = self.hash(scope, plan.text(), plan.declared_types());
        self.held.insert(hash, plan.size(), (scope, Rc::clone(plan)));
    }

    /// Forgets a plan whose source no longer agrees with its description.
    pub(super) fn forget(&mut self, plan: &Rc<Plan>) {
        self.held.forget(|(_, held)| Rc::ptr_eq(held, plan));
        let description = plan.shared_description();
        self.templates.forget(|held| matches!(&held.known, Known::Template(_, of) if Rc::ptr_eq(of, &description)));
    }

    /// What is known of a shape.
    pub(super) fn shape(&self, scope: Scope, shape: &str, declared_types: &[Oid]) -> Known {
        let is = |held: &Shaped| held.scope == scope && *held.shape == *shape && *held.declared_types == *declared_types;
        self.templates.find(self.hash(scope, shape, declared_types), is).map_or(Known::Nothing, |held| held.known.clone())
    }

    /// Keeps what is known of a shape.
    pub(super) fn insert_template(
        &mut self,
        scope: Scope,
        shape: &str,
        declared_types: &[Oid],
        template: Option<Template>,
        description: SharedDescription,
    ) {
        let hash = self.hash(scope, shape, declared_types);
        // The governed text and what it names, several times over.
        let size = 8 * shape.len() + 1024;
        let known = template.map_or(Known::Single, |template| Known::Template(Rc::new(template), description));
        self.templates.insert(hash, size, Shaped { scope, shape: shape.into(), declared_types: declared_types.into(), known });
    }

    /// How many plans are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    fn hash(&self, scope: Scope, text: &str, declared_types: &[Oid]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        scope.hash(&mut hasher);
        declared_types.hash(&mut hasher);
        text.hash(&mut hasher);
        hasher.finish()
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
        let one = plans.scope(&agent, PolicyEpoch(1), &["s".into()], "d");
        let two = plans.scope(&agent, PolicyEpoch(2), &["s".into()], "d");
        assert_eq!(one, plans.scope(&agent, PolicyEpoch(1), &["s".into()], "d"));
        plans.insert(one, &plan("select 1"));
        assert!(plans.find(one, "select 1", &[]).is_some());
        assert!(plans.find(two, "select 1", &[]).is_none());
        assert!(plans.find(one, "select 1", &[23]).is_none());
        assert!(plans.find(one, "select 2", &[]).is_none());
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut plans = Plans::default();
        let scope = plans.scope(&"a".parse().unwrap(), PolicyEpoch(1), &[], "d");
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
