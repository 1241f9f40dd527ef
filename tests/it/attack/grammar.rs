//! Statements derived from `select.grammar`, from a seed.

use std::{collections::HashMap, sync::LazyLock};

use crate::generator::Random;

/// A rule's alternatives, as words.
type Rules = HashMap<&'static str, Vec<Vec<&'static str>>>;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let mut rules: Rules = HashMap::new();
    let mut name = "";
    for line in include_str!("select.grammar").lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(alternative) = line.strip_prefix("  ") {
            let (times, words) =
                alternative.split_once("* ").filter(|(times, _)| times.parse::<usize>().is_ok()).unwrap_or(("1", alternative));
            let words: Vec<&str> = words.split_whitespace().collect();
            let rule = rules.entry(name).or_default();
            rule.extend(std::iter::repeat_n(words, times.parse().unwrap()));
        } else {
            name = line.strip_suffix(" =").unwrap();
        }
    }
    rules
});

/// A column in scope: how it is written, and its kind.
type Column = (&'static str, Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Text,
    Texts,
    Json,
    Time,
    Bool,
    Other,
}

use Kind::{Bool, Int, Json, Other, Text, Texts, Time};

/// Relations of `tests/it/generator/policy.yaml`.
const RELATIONS: &[(&str, &[Column])] = &[
    (
        "t",
        &[
            ("id", Int),
            ("amount", Int),
            ("price", Other),
            ("subject", Text),
            ("meta", Json),
            ("tags", Texts),
            ("at", Time),
            ("status", Other),
            ("c_id", Int),
            ("twice", Int),
            ("ca", Text),
            ("cp", Text),
        ],
    ),
    ("c", &[("id", Int), ("name", Text), ("score", Other), ("n", Int), ("flag", Bool), ("uid", Other)]),
    ("m", &[("id", Int), ("t_id", Int), ("day", Time), ("nums", Other), ("code", Text)]),
    ("v", &[("id", Int), ("number", Int), ("share", Int), ("label", Text)]),
    ("g", &[("id", Int), ("x", Int), ("label", Text)]),
];

/// Names that no agent has: the real ones, the catalogs.
const HIDDEN: &[&str] =
    &["base.t", "pg_class", "pg_catalog.pg_authid", "information_schema.tables", "\"base\".\"c\"", "T", "\"T\"", "pg_stats"];

/// The statement of a seed.
pub(super) fn derived(random: &mut Random) -> String {
    let depth = *random.pick(&[4, 6, 8, 10]);
    let mut derivation = Derivation { random, scopes: vec![Vec::new()], ctes: Vec::new(), names: 0, words: Vec::new(), depth };
    derivation.rule("statement", 0);
    derivation.words.join(" ")
}

struct Derivation<'a> {
    random: &'a mut Random,
    /// What may be named, innermost last: alias, relation.
    scopes: Vec<Vec<(String, usize)>>,
    ctes: Vec<String>,
    names: usize,
    words: Vec<String>,
    depth: usize,
}

impl Derivation<'_> {
    fn rule(&mut self, name: &str, depth: usize) {
        let alternatives = &RULES[name];
        let deep = depth > self.depth || self.words.len() > 400;
        let words = if deep { &alternatives[0] } else { self.random.pick(alternatives) };
        let scoped = matches!(name, "core" | "query_one");
        if scoped {
            self.scopes.push(Vec::new());
        }
        // What stands after FROM is chosen first: the rest may name it.
        let from = words.iter().position(|word| *word == "from_clause");
        let mut chosen = None;
        if let Some(at) = from {
            let before = std::mem::take(&mut self.words);
            self.word(words[at], deep, depth);
            chosen = Some(std::mem::replace(&mut self.words, before));
        }
        for (at, word) in words.iter().enumerate() {
            match chosen.take_if(|_| Some(at) == from) {
                Some(text) => self.words.extend(text),
                None => self.word(word, deep, depth),
            }
        }
        if scoped {
            self.scopes.pop();
        }
    }

    fn word(&mut self, word: &str, deep: bool, depth: usize) {
        let name = match word.strip_suffix('?') {
            Some(name) if RULES.contains_key(name) => {
                if deep || !self.random.chance(40) {
                    return;
                }
                name
            }
            _ => word,
        };
        if RULES.contains_key(name) {
            return self.rule(name, depth + 1);
        }
        let text = name
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'))
            .filter(|special| !special.is_empty())
            .map_or_else(|| name.to_owned(), |special| self.special(special));
        self.words.push(text);
    }

    fn special(&mut self, name: &str) -> String {
        match name {
            "relation" => {
                let number = self.random.below(RELATIONS.len());
                let relation = RELATIONS[number].0;
                self.bring(relation.to_owned(), number);
                relation.to_owned()
            }
            "renamed" => {
                let renamed = self.new_name();
                if let Some(last) = self.scopes.last_mut().and_then(|scope| scope.last_mut()) {
                    last.0.clone_from(&renamed);
                }
                renamed
            }
            "new" => self.new_name(),
            "cte" => {
                let name = if self.random.chance(15) { "c".to_owned() } else { self.new_name() };
                self.ctes.push(name.clone());
                name
            }
            "ctename" if !self.ctes.is_empty() => self.random.pick(&self.ctes).clone(),
            "hidden" if self.random.chance(25) => (*self.random.pick(HIDDEN)).to_owned(),
            "ctename" | "hidden" => self.special("relation"),
            "alias" => self.visible().map_or_else(|| "t".to_owned(), |(alias, _)| alias),
            "column" => self.column(None),
            "int" => self.column(Some(Int)),
            "text" => self.column(Some(Text)),
            "texts" => self.column(Some(Texts)),
            "json" => self.column(Some(Json)),
            "time" => self.column(Some(Time)),
            "bool" => self.column(Some(Bool)),
            "number" => (*self.random.pick(&["0", "1", "2", "3", "5", "7", "10", "20", "1000", "7777", "2147483647"])).to_owned(),
            "string" => (*self.random.pick(&["''", "'1'", "'x'", "'12'", "'('", "'%'", "'acme'", "'open'", "'2024-01-05'"])).to_owned(),
            other => panic!("select.grammar has no <{other}>"),
        }
    }

    fn bring(&mut self, alias: String, relation: usize) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push((alias, relation));
        }
    }

    fn new_name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    /// Mostly of the query itself, sometimes of one around it.
    fn visible(&mut self) -> Option<(String, usize)> {
        let levels: Vec<usize> = (0..self.scopes.len()).rev().filter(|level| !self.scopes[*level].is_empty()).collect();
        let level = *levels.get(usize::from(levels.len() > 1 && self.random.chance(15)))?;
        let scope = self.scopes[level].clone();
        Some(self.random.pick(&scope).clone())
    }

    fn column(&mut self, wanted: Option<Kind>) -> String {
        let fallback = match wanted {
            None | Some(Int) => "1",
            Some(Text | Other) => "'a'",
            Some(Texts) => "'{1}'::text[]",
            Some(Json) => "'{}'::jsonb",
            Some(Time) => "date '2024-01-01'",
            Some(Bool) => "true",
        };
        for _ in 0..4 {
            let Some((alias, relation)) = self.visible() else { break };
            let columns: Vec<&Column> =
                RELATIONS[relation].1.iter().filter(|(_, kind)| wanted.is_none_or(|wanted| wanted == *kind)).collect();
            if !columns.is_empty() {
                return format!("{alias}.{}", self.random.pick(&columns).0);
            }
        }
        fallback.to_owned()
    }
}
