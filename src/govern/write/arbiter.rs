//! Which unique index a conflict target means, as PostgreSQL infers it (plancat.c, `infer_arbiter_indexes`), over what the agent sees: the
//! tenant column of a key is filled in, and an index over hidden columns is none that a target can mean.

use pg_query::{
    Node, NodeEnum,
    protobuf::{IndexElem, InferClause, SortByDir, SortByNulls},
};

use super::{
    Context,
    form::{Forms, Implied, implied},
    formula::{Formula, NoFormula},
    unread,
};
use crate::{
    govern::{Refusal, RefusalCode, kernel::identifier},
    policy::ExposedColumn,
    sql::{
        self, allow,
        catalog::FIRST_NORMAL_OID,
        rules::{IndexKind, IndexPart, TableRules, UniqueIndex},
    },
};

/// `bpchar` in `pg_type`.
const BPCHAR: u32 = 1042;

/// A unique index that says which row is in the way.
#[derive(Debug)]
pub(super) struct Arbiter {
    parts: Vec<Part>,
    predicate: Option<Formula>,
    nulls_equal: bool,
    pub(super) deferrable: bool,
    pub(super) excludes: bool,
}

#[derive(Debug)]
struct Part {
    value: Value,
    operator: String,
}

#[derive(Debug)]
enum Value {
    Column(Box<str>),
    Formula(Formula),
}

/// An element of a conflict target.
struct Element {
    value: Value,
    /// One form of the expression.
    form: Option<String>,
    class: Option<String>,
    collation: Option<String>,
}

/// What keeps an index from being an arbiter.
enum Not {
    /// It is over what the agent does not see.
    Hidden,
    /// Whether two rows are in each other's way cannot be computed.
    Unread,
}

impl From<NoFormula> for Not {
    fn from(why: NoFormula) -> Self {
        match why {
            NoFormula::Hidden => Self::Hidden,
            NoFormula::Unread => Self::Unread,
        }
    }
}

impl Arbiter {
    /// Whether its expressions were computed of every row: of one outside the predicate they may fail.
    pub(super) fn is_of_all(&self) -> bool {
        self.predicate.is_none() || self.parts.iter().all(|part| matches!(part.value, Value::Column(_)))
    }

    /// The condition, over values of the source's own types, that a row is in the way of the new row `c`: another new one, or the row of the
    /// table `r`, alone in its scope, where the source finds it by the index.
    pub(super) fn over(&self, other: Option<&str>) -> String {
        let column = |row: &str, name: &str| format!("{row}.{}", identifier(name));
        let of = |row: &str, formula: &Formula| formula.over(|name| column(row, name));
        let there = |formula: &Formula| other.map_or_else(|| formula.text.clone(), |row| of(row, formula));
        let mut conditions: Vec<String> = self.predicate.iter().flat_map(|predicate| [there(predicate), of("c", predicate)]).collect();
        conditions.extend(self.parts.iter().map(|part| {
            let (there, new) = match &part.value {
                Value::Column(name) => (column(other.unwrap_or("r"), name), column("c", name)),
                Value::Formula(formula) => (there(formula), of("c", formula)),
            };
            let nulls = if self.nulls_equal { format!(" OR {there} IS NULL AND {new} IS NULL") } else { String::new() };
            format!("({there} {} {new}{nulls})", part.operator)
        }));
        if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") }
    }
}

impl Context<'_> {
    /// The arbiters of a conflict clause; without a target every unique index that the agent can see.
    pub(super) fn arbiters(&self, infer: Option<&InferClause>, updates: bool, rules: &TableRules) -> Result<Vec<Arbiter>, Refusal> {
        let Some(infer) = infer else {
            let mut arbiters = Vec::new();
            for index in &rules.indexes {
                match self.arbiter(index) {
                    Ok(arbiter) => arbiters.push(arbiter),
                    Err(Not::Hidden) => {}
                    Err(Not::Unread) => return Err(uncomputed()),
                }
            }
            return Ok(arbiters);
        };
        if !infer.conname.is_empty() {
            return self.named(&infer.conname, updates, rules).map(|arbiter| vec![arbiter]);
        }
        let elements = infer.index_elems.iter().map(|element| self.element(element)).collect::<Result<Vec<_>, _>>()?;
        let condition = infer.where_clause.as_deref().map(|node| self.condition(node)).transpose()?;
        let forms = |text: &dyn Fn(&str) -> bool, tree: &sql::Tree| Forms { relation: self.name, is_text: text }.conjuncts(tree);
        let is_text = |name: &str| self.is_text(name);
        let given = condition.as_ref().map(|tree| forms(&is_text, tree)).unwrap_or_default();
        let (mut arbiters, mut doubt) = (Vec::new(), None);
        for index in rules.indexes.iter().filter(|index| index.kind != IndexKind::Exclusion) {
            if !self.is_meant(index, &elements) {
                continue;
            }
            let holds = match index.predicate.as_deref().map(|text| self.formula(text)) {
                None => Implied::Yes,
                Some(Ok(predicate)) => implied(&forms(&is_text, &predicate.tree), &given),
                Some(Err(NoFormula::Hidden)) => Implied::No,
                Some(Err(NoFormula::Unread)) if given.is_empty() => Implied::No,
                Some(Err(NoFormula::Unread)) => Implied::Doubt,
            };
            match (holds, self.arbiter(index)) {
                (Implied::No, _) | (Implied::Yes, Err(Not::Hidden)) => {}
                (Implied::Yes, Ok(arbiter)) => arbiters.push(arbiter),
                (Implied::Yes, Err(Not::Unread)) => doubt = Some(uncomputed()),
                (Implied::Doubt, _) => doubt = doubt.or_else(|| Some(unproven())),
            }
        }
        match (arbiters.is_empty(), doubt) {
            (_, Some(doubt)) => Err(doubt),
            (true, None) => Err(Refusal::new(
                RefusalCode::InvalidColumnReference,
                "there is no unique or exclusion constraint matching the ON CONFLICT specification",
            )
            .hint("name exactly the columns of a primary key or unique constraint")),
            (false, None) => Ok(arbiters),
        }
    }

    /// `ON CONSTRAINT`, by the name that the virtual catalog shows or would show.
    fn named(&self, name: &str, updates: bool, rules: &TableRules) -> Result<Arbiter, Refusal> {
        let shown = rules.indexes.iter().filter(|index| index.kind != IndexKind::Index).find_map(|index| {
            let arbiter = self.arbiter(index);
            (!matches!(arbiter, Err(Not::Hidden)) && self.constraint_name(index) == name).then_some((index, arbiter))
        });
        let Some((index, arbiter)) = shown else {
            let message = format!("constraint \"{name}\" for table \"{}\" does not exist", self.relation.name);
            return Err(Refusal::new(RefusalCode::UndefinedObject, message).hint("name the columns: ON CONFLICT (id) …"));
        };
        if index.kind == IndexKind::Exclusion && updates {
            let message = "ON CONFLICT DO UPDATE not supported with exclusion constraints";
            return Err(Refusal::new(RefusalCode::WrongObjectType, message));
        }
        arbiter.map_err(|_unread| uncomputed())
    }

    /// The name of a constraint as PostgreSQL would make it of alias names.
    fn constraint_name(&self, index: &UniqueIndex) -> String {
        let suffix = match index.kind {
            IndexKind::PrimaryKey => return format!("{}_pkey", self.relation.name),
            IndexKind::Exclusion => "excl",
            IndexKind::Unique | IndexKind::Index => "key",
        };
        let columns = index.parts.iter().map(|part| part.column.as_deref().unwrap_or("expr"));
        let seen: Vec<&str> = columns.filter(|column| self.relation.columns.iter().any(|known| *known.name == **column)).collect();
        format!("{}_{}_{suffix}", self.relation.name, seen.join("_"))
    }

    /// An element of a target, its names looked up.
    fn element(&self, node: &Node) -> Result<Element, Refusal> {
        let Some(NodeEnum::IndexElem(element)) = &node.node else { return Err(unread("a conflict target")) };
        let plain = matches!(SortByDir::try_from(element.ordering), Ok(SortByDir::SortbyDefault | SortByDir::Undefined));
        let nulls = matches!(SortByNulls::try_from(element.nulls_ordering), Ok(SortByNulls::SortbyNullsDefault | SortByNulls::Undefined));
        if !plain || !nulls {
            let what = if plain { "NULLS FIRST/LAST" } else { "ASC/DESC" };
            return Err(Refusal::new(RefusalCode::InvalidColumnReference, format!("{what} is not allowed in ON CONFLICT clause")));
        }
        let (value, form) = self.element_value(element)?;
        let last = |names: &[Node]| match names.last().and_then(|name| name.node.as_ref()) {
            Some(NodeEnum::String(name)) => Some(name.sval.clone()),
            _ => None,
        };
        Ok(Element { value, form, class: last(&element.opclass), collation: last(&element.collation) })
    }

    fn element_value(&self, element: &IndexElem) -> Result<(Value, Option<String>), Refusal> {
        let Some(expression) = &element.expr else {
            let column = self.column(&element.name)?;
            if column.mask.is_some() {
                let message = format!("column \"{}\" is masked and cannot say which row is there already", column.name);
                return Err(Refusal::new(RefusalCode::Denied, message));
            }
            return Ok((Value::Column(column.name.clone()), None));
        };
        let tree = sql::tree(expression).ok_or_else(|| unread("a conflict target"))?;
        self.names_in(&tree)?;
        let is_text = |name: &str| self.is_text(name);
        let forms = Forms { relation: self.name, is_text: &is_text };
        // `((id))` is the column.
        if let Some(name) = forms.of(&tree).strip_prefix("column(").and_then(|rest| rest.strip_suffix(')')) {
            return Ok((Value::Column(self.column(name)?.name.clone()), None));
        }
        let form = forms.of(&tree);
        Ok((Value::Formula(Formula::of_target(tree)), Some(form)))
    }

    /// The WHERE of a target, its names looked up.
    fn condition(&self, node: &Node) -> Result<sql::Tree, Refusal> {
        let tree = sql::tree(node).ok_or_else(|| unread("a conflict target"))?;
        self.names_in(&tree)?;
        Ok(tree)
    }

    /// 42703 for a column that is not there.
    fn names_in(&self, tree: &sql::Tree) -> Result<(), Refusal> {
        let mut missing = Ok(());
        tree.each(&mut |node| {
            if node.kind == "ColumnRef"
                && missing.is_ok()
                && let Ok([.., name]) = node.names("fields").as_deref()
            {
                missing = self.column(name).map(drop);
            }
        });
        missing
    }

    /// Whether a target names exactly what the index is over, the tenant column aside.
    fn is_meant(&self, index: &UniqueIndex, elements: &[Element]) -> bool {
        let is_text = |name: &str| self.is_text(name);
        let forms = Forms { relation: self.name, is_text: &is_text };
        let over = |part: &IndexPart, element: &Element| match (&part.column, &part.expression, &element.value) {
            (Some(column), _, Value::Column(name)) => **name == **column,
            (None, Some(text), Value::Formula(_)) => {
                self.formula(text).is_ok_and(|formula| element.form.as_deref() == Some(&*forms.of(&formula.tree)))
            }
            (_, _, _) => false,
        };
        let agrees = |part: &IndexPart, element: &Element| {
            let class = element.class.as_deref().is_none_or(|class| class == part.class);
            class && element.collation.as_deref().is_none_or(|collation| collation == part.collation_name)
        };
        let all_parts = index.parts.iter().all(|part| {
            let filled = part.column.as_deref().is_some_and(|column| self.is_tenant(column));
            filled || elements.iter().any(|element| over(part, element))
        });
        let all_elements = elements.iter().all(|element| index.parts.iter().any(|part| over(part, element) && agrees(part, element)));
        all_parts && all_elements && !elements.is_empty()
    }

    /// The index as an arbiter.
    fn arbiter(&self, index: &UniqueIndex) -> Result<Arbiter, Not> {
        let parts = index.parts.iter().filter(|part| part.column.as_deref().is_none_or(|column| !self.is_tenant(column)));
        let parts = parts.map(|part| self.part(part)).collect::<Result<Vec<_>, _>>()?;
        let predicate = index.predicate.as_deref().map(|text| self.formula(text)).transpose()?;
        Ok(Arbiter {
            parts,
            predicate,
            nulls_equal: index.nulls_equal,
            deferrable: index.deferrable,
            excludes: index.kind == IndexKind::Exclusion,
        })
    }

    fn part(&self, part: &IndexPart) -> Result<Part, Not> {
        let value = match (&part.column, &part.expression) {
            (Some(name), _) => {
                let column = self.relation.columns.iter().find(|column| *column.name == **name && column.mask.is_none());
                let column = column.ok_or(Not::Hidden)?;
                self.comparable(column, part)?;
                Value::Column(column.name.clone())
            }
            (None, Some(text)) => Value::Formula(self.formula(text)?),
            (None, None) => return Err(Not::Unread),
        };
        // The operator of a type of the source's own stands for equality of the values' texts.
        let own = matches!(&value, Value::Column(name) if self.column(name).is_ok_and(|column| self.is_text_form(column)));
        let known = part.built_in && allow::operator(&part.operator) || part.operator == "=";
        if part.operator.is_empty() || !known || (own && part.operator != "=") || !part.deterministic {
            return Err(Not::Unread);
        }
        Ok(Part { value, operator: part.operator.clone() })
    }

    /// Whether values of the column are compared here as the index compares them.
    fn comparable(&self, column: &ExposedColumn, part: &IndexPart) -> Result<(), Not> {
        let own = column.base_type_oid >= FIRST_NORMAL_OID && self.extension_of(column).is_none();
        let kind = self.source.catalog.types.get(&column.base_type_oid).map(|known| known.kind);
        if (own && kind != Some('e')) || !column.deterministic_collation || (!part.built_in && !own && self.extension_of(column).is_none())
        {
            return Err(Not::Unread);
        }
        Ok(())
    }

    /// Whether values of the column travel as their text, since their type is the source's own.
    pub(super) fn is_text_form(&self, column: &ExposedColumn) -> bool {
        column.base_type_oid >= FIRST_NORMAL_OID && self.extension_of(column).is_none()
    }

    fn is_text(&self, name: &str) -> bool {
        let column = self.relation.columns.iter().find(|column| *column.name == *name);
        column.is_some_and(|column| matches!(column.base_type_oid, 25 | 1043 | BPCHAR))
    }

    /// The row that is there, or the new row, in an expression over it.
    pub(super) fn side(&self, row: &str, name: &str) -> String {
        let value = format!("{row}.{}", identifier(name));
        match self.column(name) {
            Ok(column) if column.base_type_oid == BPCHAR => format!("CAST({value} AS pg_catalog.bpchar)"),
            Ok(column) if self.is_text_form(column) => format!("CAST({value} AS pg_catalog.text)"),
            Ok(_) | Err(_) => value,
        }
    }

    fn value(&self, part: &Part, row: &str) -> String {
        match &part.value {
            Value::Column(name) => self.side(row, name),
            Value::Formula(formula) => formula.over(|name| self.side(row, name)),
        }
    }

    /// The condition that the row `there` is in the way of the row `new`.
    pub(super) fn in_the_way(&self, arbiter: &Arbiter, there: &str, new: &str) -> String {
        let mut parts: Vec<String> = Vec::new();
        if let Some(predicate) = &arbiter.predicate {
            parts.extend([there, new].map(|row| predicate.over(|name| self.side(row, name))));
        }
        parts.extend(arbiter.parts.iter().map(|part| {
            let (there, new) = (self.value(part, there), self.value(part, new));
            if arbiter.nulls_equal { format!("{there} IS NOT DISTINCT FROM {new}") } else { format!("{there} {} {new}", part.operator) }
        }));
        if parts.is_empty() { "TRUE".to_owned() } else { parts.join(" AND ") }
    }

    /// A number that new rows share which are in each other's way: that of the first; NULL for a row that is in no other's.
    pub(super) fn first_alike(&self, arbiter: &Arbiter, new: &str, order: &str) -> String {
        let values: Vec<String> = arbiter.parts.iter().map(|part| self.value(part, new)).collect();
        let mut conditions: Vec<String> = arbiter.predicate.iter().map(|predicate| predicate.over(|name| self.side(new, name))).collect();
        if !arbiter.nulls_equal {
            conditions.extend(values.iter().map(|value| format!("{value} IS NOT NULL")));
        }
        let mut by = values;
        by.extend(arbiter.predicate.iter().map(|predicate| format!("({}) IS TRUE", predicate.over(|name| self.side(new, name)))));
        if !conditions.is_empty() {
            by.push(format!("({}) IS TRUE", conditions.join(" AND ")));
        }
        let over = if by.is_empty() { String::new() } else { format!("PARTITION BY {}", by.join(", ")) };
        let first = format!("pg_catalog.min({new}.{order}) OVER ({over})");
        if conditions.is_empty() { first } else { format!("CASE WHEN {} THEN {first} END", conditions.join(" AND ")) }
    }

    /// The indexes whose rows the agent can see to be in each other's way.
    pub(super) fn seen(&self, rules: &TableRules) -> Vec<Arbiter> {
        rules.indexes.iter().filter_map(|index| self.arbiter(index).ok()).collect()
    }

    /// The columns that decide, those of expressions and of the predicate among them.
    pub(super) fn deciding(arbiter: &Arbiter) -> impl Iterator<Item = &Box<str>> {
        let parts = arbiter.parts.iter().flat_map(|part| match &part.value {
            Value::Column(name) => std::slice::from_ref(name),
            Value::Formula(formula) => &formula.columns,
        });
        parts.chain(arbiter.predicate.iter().flat_map(|predicate| &predicate.columns))
    }
}

fn uncomputed() -> Refusal {
    Refusal::unsupported("a conflict over what only the source can compute")
        .hint("propose an INSERT, or an UPDATE of the row that is there")
}

fn unproven() -> Refusal {
    Refusal::unsupported("a conflict target whose WHERE is not seen to imply that of the index")
        .hint("write the WHERE of the partial index word for word")
}
