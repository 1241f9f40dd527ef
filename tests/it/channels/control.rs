//! Controls: what the tests of the channels see where one rule of the product is missing. A channel that no control shows is not proven.
//!
//! The release has no switch that takes a rule out. So a control writes down what would be sent without the rule: each relation as a
//! derived table (the tenant's rows, the allowed columns, the row filter and the masks as the policy spells them), closed by a weaker
//! fence or by none, and sends that to the twins themselves, as the role that pgwicket reads as. What the product refuses or guards of the
//! session is sent as the agent wrote it. The same judge that finds nothing in the product must find a difference within a few statements.

use std::collections::BTreeMap;

use super::{
    Judge, Outcome, Sessions,
    cases::{Door, Family, families, steps},
    client::Client,
    places::{PROFILES, Places},
    relations::{Relation, relations},
};

/// What a control leaves of a relation's derived table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fence {
    /// None: the planner flattens it.
    Open,
    /// `OFFSET 0`: the executor is held, the planner looks through.
    Transparent,
    /// A set operation under `OFFSET 0`: no rule is missing, so nothing may be seen.
    Opaque,
    /// As written: no relation of the policy is read.
    Untouched,
}

/// A rule of the product, by the channel that it closes.
struct Control {
    /// The channel, as in docs/security/EVALUATION.md and PROOF.md.
    channel: &'static str,
    /// What is taken out.
    rule: &'static str,
    /// Families of `cases.txt` that go through it.
    families: &'static [&'static str],
    fence: Fence,
    /// Statements within which it must be seen.
    within: usize,
}

const CONTROLS: &[Control] = &[
    Control {
        channel: "statistics",
        rule: "fences are opaque to estimation",
        families: &["statistics/like", "statistics/forms", "statistics/places", "statistics/relations"],
        fence: Fence::Transparent,
        within: 3,
    },
    Control {
        channel: "statistics of expressions",
        rule: "what an estimator may call is in the proven grammar",
        families: &["statistics/expressions"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "subqueries",
        rule: "a subquery in a condition is quiet, whatever it reads",
        families: &["subqueries/ungoverned", "subqueries/places"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "collations",
        rule: "operands have one collation",
        families: &["collations/quals", "collations/joins"],
        fence: Fence::Open,
        within: 5,
    },
    Control {
        channel: "computed columns",
        rule: "a column of a view is proven a bare one, or doubted",
        families: &["computed/views", "computed/foreign"],
        fence: Fence::Open,
        within: 5,
    },
    Control {
        channel: "stable expressions",
        rule: "a part of a condition that is not folded is proven",
        families: &["stable/clocks"],
        fence: Fence::Open,
        within: 8,
    },
    Control {
        channel: "index order",
        rule: "ORDER BY by a distance is a qual position",
        families: &["plans/order-by"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "generic plans",
        rule: "how a statement is planned does not depend on its cost",
        families: &["plans/parameters"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "cursors",
        rule: "SCROLL or NO SCROLL is always sent",
        families: &["cursors/direction"],
        fence: Fence::Open,
        within: 12,
    },
    Control {
        channel: "serializable, the agent",
        rule: "SERIALIZABLE is not passed on",
        families: &["serializable/agent"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "serializable, others",
        rule: "SERIALIZABLE is not passed on",
        families: &["serializable/writers"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "row filters and settings",
        rule: "a row filter is compiled to a form that no setting moves",
        families: &["settings/filters"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "masks and settings",
        rule: "masks take a canonical form",
        families: &["settings/masks"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "errors of row filters",
        rule: "an error of a row filter says nothing of its values",
        families: &["filters/errors"],
        fence: Fence::Open,
        within: 3,
    },
    Control {
        channel: "names",
        rule: "names of the source are taken by list",
        families: &["names/text-search"],
        fence: Fence::Untouched,
        within: 3,
    },
];

#[test]
fn each_rule_that_is_taken_out_is_missed() {
    let places = Places::start();
    let known: BTreeMap<String, Relation> = relations().into_iter().map(|relation| (relation.name.clone(), relation)).collect();
    let families = families();
    let mut wrong = Vec::new();
    eprintln!("| channel | rule taken out | seen at statement | of |\n|---|---|---|---|");
    for control in CONTROLS {
        let families: Vec<&Family> = families.iter().filter(|family| control.families.contains(&family.name.as_str())).collect();
        assert_eq!(families.len(), control.families.len(), "{}: no such family", control.channel);
        let all: usize = families.iter().map(|family| family.cases.len()).sum();
        match seen(control.fence, &places, &families, &known) {
            Some(at) if at <= control.within => eprintln!("| {} | {} | {at} | {all} |", control.channel, control.rule),
            other => wrong.push(format!("{}: seen at {other:?}, and should be within {} statements", control.channel, control.within)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same statements with nothing missing but the analysis: all relations are behind the fence that holds executor and planner.
#[test]
fn an_opaque_fence_around_everything_shows_nothing() {
    let places = Places::start();
    let known: BTreeMap<String, Relation> = relations().into_iter().map(|relation| (relation.name.clone(), relation)).collect();
    let families = families();
    let fenced = ["statistics/", "subqueries/", "collations/", "computed/views", "stable/", "plans/order-by"];
    let seen: Vec<String> = families
        .iter()
        .filter(|family| fenced.iter().any(|name| family.name.starts_with(name)))
        .filter_map(|family| seen(Fence::Opaque, &places, &[family], &known).map(|at| format!("{}: {}", family.name, family.cases[at - 1])))
        .collect();
    assert!(seen.is_empty(), "{}", seen.join("\n"));
}

/// How many statements were asked when the judge saw a difference.
fn seen(fence: Fence, places: &Places, families: &[&Family], known: &BTreeMap<String, Relation>) -> Option<usize> {
    let mut asked = 0;
    for family in families {
        let mut sessions = Sessions {
            without: Client::start(&places.sources[0], &[]),
            with: Client::start(&places.sources[1], &places.writers),
            copy: Client::start(&places.copy, &[]),
        };
        for case in &family.cases {
            let Some(text) = rewritten(case, fence, known) else { continue };
            asked += 1;
            let written = steps(case, Door::Simple, family.options.script).unwrap();
            let sent = steps(&text, Door::Simple, family.options.script).unwrap();
            let mut judge = Judge { places, family, outcome: Outcome::default(), first: false };
            judge.asked(&mut sessions, case, PROFILES[0].0, &sent, &written);
            if family.options.settings {
                judge.moved(&mut sessions, case, &sent);
            }
            if !judge.outcome.telling.is_empty() {
                return Some(asked);
            }
        }
    }
    None
}

/// The statement with each relation as the derived table that this fence makes of it; `None` for what has no such form here.
fn rewritten(case: &str, fence: Fence, known: &BTreeMap<String, Relation>) -> Option<String> {
    if fence == Fence::Untouched {
        return Some(case.to_owned());
    }
    let other = case.starts_with("update ") || case.starts_with("delete ") || case.contains("tablesample") || case.contains("from only ");
    if other {
        return None;
    }
    let words: Vec<&str> = case.split(' ').collect();
    let mut out: Vec<String> = Vec::new();
    let mut reading = false;
    for (place, word) in words.iter().enumerate() {
        let bare = word.trim_end_matches([',', ')', ';']);
        let relation = known.get(bare).filter(|_| reading);
        match relation {
            None => out.push((*word).to_owned()),
            Some(relation) => {
                let named = bare == *word && words.get(place + 1).is_some_and(|next| is_alias(next));
                let name = if named { String::new() } else { format!(" {bare}") };
                let close = match fence {
                    Fence::Open | Fence::Untouched => String::new(),
                    Fence::Transparent => " offset 0".to_owned(),
                    Fence::Opaque => format!(" union all {} offset 0", relation.arm),
                };
                out.push(format!("({}{close}){name}{}", relation.derived, &word[bare.len()..]));
            }
        }
        reading = matches!(word.trim_start_matches('('), "from" | "join");
    }
    Some(out.join(" "))
}

/// Whether a word after a relation is its alias.
fn is_alias(word: &str) -> bool {
    let word = word.trim_end_matches([',', ')']);
    let keyword =
        ["where", "join", "left", "right", "full", "cross", "on", "group", "order", "limit", "offset", "union", "except", "having", ";;"];
    !keyword.contains(&word) && !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[test]
fn a_control_reads_relations_as_derived_tables() {
    let known: BTreeMap<String, Relation> = relations().into_iter().map(|relation| (relation.name.clone(), relation)).collect();
    let text = |case: &str| rewritten(case, Fence::Transparent, &known).unwrap();
    assert_eq!(
        text("select count(*) from g a join g on true where exists (select from g)"),
        "select count(*) from (select id, x, label from base.g offset 0) a join (select id, x, label from base.g offset 0) g on true \
         where exists (select from (select id, x, label from base.g offset 0) g)"
    );
    assert_eq!(rewritten("update g set x = 1", Fence::Open, &known), None);
}
