//! INSERT: its rows, each value as the column's type. DEFAULT stays what it is: the source knows it when it is applied.

use pg_query::{
    Node, NodeEnum,
    protobuf::{InsertStmt, OverridingKind, SelectStmt},
};

use super::{
    Action, Context, Draft, Layout,
    assigned::{Assigned, MOST_COMPUTED, TYPE_ONLY, fill_type},
    draft::{fill_cast, is_default, skeleton, with},
    literal::Literal,
    unread,
};
use crate::{
    govern::{Refusal, RefusalCode, kernel::identifier},
    proposal::Operation,
    sql::rules::Fill,
};

/// `OVERRIDING … VALUE`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overriding {
    /// Not written.
    Nothing,
    /// What is given for identity columns is dropped.
    User,
    /// What is given for identity columns is taken.
    System,
}

impl Overriding {
    /// As the grammar has it.
    pub(super) fn of(kind: i32) -> Self {
        match OverridingKind::try_from(kind) {
            Ok(OverridingKind::OverridingUserValue) => Self::User,
            Ok(OverridingKind::OverridingSystemValue) => Self::System,
            Ok(OverridingKind::OverridingNotSet | OverridingKind::Undefined) | Err(_) => Self::Nothing,
        }
    }
}

/// 428C9 for a value of a generated column.
pub(super) fn generated(column: &str) -> Refusal {
    Refusal::new(RefusalCode::Generated, format!("column \"{column}\" can only be updated to DEFAULT"))
        .detail(format!("Column \"{column}\" is a generated column."))
        .hint("leave the column out, or write DEFAULT")
}

/// 428C9 for a value of an identity column that the source numbers.
pub(super) fn identity(column: &str) -> Refusal {
    Refusal::new(RefusalCode::Generated, format!("column \"{column}\" can only be updated to DEFAULT"))
        .detail(format!("Column \"{column}\" is an identity column defined as GENERATED ALWAYS."))
        .hint("leave the column out, or write DEFAULT")
}

fn default() -> Node {
    super::draft::node(NodeEnum::SetToDefault(Box::default()))
}

/// The rows of an INSERT: an output for each column, then, where rows differ in what is DEFAULT, the row's pattern.
pub(super) struct NewRows {
    pub(super) select: SelectStmt,
    pub(super) columns: Vec<Box<str>>,
    /// Which columns are DEFAULT, for each kind of row.
    pub(super) patterns: Vec<Vec<bool>>,
    /// The client's `*` is among the outputs: there must be this many.
    pub(super) width: Option<usize>,
    /// Of which columns' values the outputs after these have the types, in their order.
    pub(super) typed: Vec<Box<str>>,
    /// What a select list gives as it is written.
    pub(super) literals: Vec<Literal>,
}

impl NewRows {
    /// Outputs before those that have only types.
    pub(super) fn values(&self) -> usize {
        self.columns.len() + usize::from(self.patterns.len() > 1)
    }
}

/// The draft of an INSERT.
pub(super) fn draft(context: Context<'_>, insert: InsertStmt) -> Result<Draft, Refusal> {
    let rows = new_rows(context, insert)?;
    let outputs: Vec<Option<usize>> = (0..rows.columns.len()).map(Some).collect();
    let actions = rows.patterns.iter().map(|pattern| context.new_row(&rows.columns, pattern, &outputs)).collect::<Result<_, _>>()?;
    let layout = Layout {
        choice: (rows.patterns.len() > 1).then_some(rows.columns.len()),
        actions,
        tenant: context.given_tenant(&rows.columns),
        width: rows.width,
        assigned: (rows.values()..)
            .zip(&rows.typed)
            .map(|(output, column)| Assigned { output, column: column.clone(), of: None })
            .collect(),
        literals: rows.literals,
        ..Layout::default()
    };
    Ok(Draft { select: rows.select, layout })
}

/// The rows of an INSERT, whatever becomes of them.
pub(super) fn new_rows(context: Context<'_>, insert: InsertStmt) -> Result<NewRows, Refusal> {
    let overriding = Overriding::of(insert.r#override);
    context.may_insert()?;
    let mut rows = match insert.select_stmt.and_then(|node| node.node) {
        None => NewRows {
            select: skeleton("SELECT 1")?,
            columns: Vec::new(),
            patterns: vec![Vec::new()],
            width: None,
            typed: Vec::new(),
            literals: Vec::new(),
        },
        Some(NodeEnum::SelectStmt(select))
            if !select.values_lists.is_empty() && select.sort_clause.is_empty() && select.limit_count.is_none() =>
        {
            if select.with_clause.is_some() {
                return Err(Refusal::unsupported("WITH before VALUES").hint("put WITH before INSERT"));
            }
            values(context, insert.cols, select.values_lists, overriding)?
        }
        Some(NodeEnum::SelectStmt(select)) => query(context, insert.cols, *select, overriding)?,
        Some(_) => return Err(unread("the rows of an INSERT")),
    };
    with(&mut rows.select, insert.with_clause);
    Ok(rows)
}

fn values(context: Context<'_>, columns: Vec<Node>, lists: Vec<Node>, overriding: Overriding) -> Result<NewRows, Refusal> {
    if lists.len() as u64 > context.writes.max_rows {
        return Err(super::rows::too_many(context.writes.max_rows));
    }
    let mut rows = Vec::new();
    for list in lists {
        let Some(NodeEnum::List(list)) = list.node else { return Err(unread("a row of VALUES")) };
        rows.push(list.items);
    }
    let count = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != count) {
        return Err(Refusal::new(RefusalCode::Syntax, "VALUES lists must all be the same length"));
    }
    let columns = context.insert_columns(columns, count)?;
    for (place, _) in columns.iter().enumerate().filter(|(_, column)| context.is_overridden(column, overriding)) {
        rows.iter_mut().filter_map(|row| row.get_mut(place)).for_each(|value| *value = default());
    }
    let mut patterns: Vec<Vec<bool>> = Vec::new();
    let mut texts = Vec::new();
    let casts = columns.iter().map(|column| context.open_place(context.column(column)?)).collect::<Result<Vec<_>, _>>()?.join(", ");
    for row in &rows {
        let pattern: Vec<bool> = row.iter().map(is_default).collect();
        let number = patterns.iter().position(|known| *known == pattern).unwrap_or_else(|| {
            patterns.push(pattern);
            patterns.len() - 1
        });
        texts.push((number, &casts));
    }
    for (column, given) in columns.iter().enumerate() {
        if patterns.iter().any(|pattern| pattern.get(column) == Some(&false)) {
            context.insertable(given, overriding)?;
        }
    }
    let several = patterns.len() > 1;
    let computed = computed(context, &columns, &rows)?;
    // Each computed value has an output for its type alone: values of one column may be of several types.
    let texts = texts.into_iter().enumerate().map(|(row, (number, casts))| {
        let number = if several { format!(", {number}") } else { String::new() };
        let types = computed.iter().map(|(at, ..)| if *at == row { format!(", {TYPE_ONLY}") } else { ", NULL".to_owned() });
        format!("({casts}{number}{})", types.collect::<String>())
    });
    let mut select = skeleton(&format!("VALUES {}", texts.collect::<Vec<_>>().join(", ")))?;
    let first = columns.len() + usize::from(several);
    for (number, (list, row)) in select.values_lists.iter_mut().zip(rows).enumerate() {
        let Some(NodeEnum::List(list)) = &mut list.node else { return Err(unread("a row of VALUES")) };
        for (output, (_, column)) in computed.iter().enumerate().filter(|(_, (at, _))| *at == number) {
            let value = row.get(*column).cloned().ok_or_else(|| unread("a value"))?;
            fill_type(list.items.get_mut(first + output), value)?;
        }
        for (place, value) in list.items.iter_mut().zip(row).filter(|(_, value)| !is_default(value)) {
            fill_cast(Some(place), value)?;
        }
    }
    let typed = computed.iter().filter_map(|(_, column)| columns.get(*column).cloned()).collect();
    Ok(NewRows { select, columns, patterns, width: None, typed, literals: Vec::new() })
}

/// Row and column of each value whose type the source has to say.
fn computed(context: Context<'_>, columns: &[Box<str>], rows: &[Vec<Node>]) -> Result<Vec<(usize, usize)>, Refusal> {
    let mut computed = Vec::new();
    for (row, values) in rows.iter().enumerate() {
        for (place, (column, value)) in columns.iter().zip(values).enumerate() {
            if context.is_computed(column, value)? {
                computed.push((row, place));
            }
        }
    }
    if computed.len() > MOST_COMPUTED {
        let message = format!("more than {MOST_COMPUTED} computed values in one VALUES list");
        return Err(
            Refusal::new(RefusalCode::TooComplex, message).hint("send fewer rows in one statement, or plain constants and parameters")
        );
    }
    Ok(computed)
}

fn query(context: Context<'_>, columns: Vec<Node>, mut query: SelectStmt, overriding: Overriding) -> Result<NewRows, Refusal> {
    let target = |node: &Node| match &node.node {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref().and_then(|value| value.node.clone()),
        _ => None,
    };
    // The first SELECT of a UNION says how many columns there are.
    let mut first = &query;
    while let Some(left) = first.larg.as_deref() {
        first = left;
    }
    let star = |node: &NodeEnum| matches!(node, NodeEnum::ColumnRef(column) if column.fields.iter().any(is_star));
    let stars = first.target_list.iter().filter_map(target).any(|node| star(&node));
    let count = match first.values_lists.first().and_then(|list| list.node.as_ref()) {
        Some(NodeEnum::List(list)) => list.items.len(),
        _ => first.target_list.len(),
    };
    if stars && columns.is_empty() {
        return Err(Refusal::unsupported("INSERT of * without column names").hint("name the columns: INSERT INTO t (a, b) SELECT …"));
    }
    let columns = if stars { context.insert_columns(columns.clone(), columns.len())? } else { context.insert_columns(columns, count)? };
    let pattern: Vec<bool> = columns.iter().map(|column| context.is_overridden(column, overriding)).collect();
    let given = columns.iter().zip(&pattern).filter(|(_, overridden)| !**overridden);
    given.map(|(column, _)| column).try_for_each(|column| context.insertable(column, overriding))?;
    let names = columns.iter().map(|column| identifier(column)).collect::<Vec<_>>().join(", ");
    let mut outputs = Vec::new();
    for column in &columns {
        let place = context.cast(context.column(column)?)?;
        outputs.push(format!("CAST(\"excluded\".{} AS {place})", identifier(column)));
    }
    // What is open in the select list takes the column's type, and needs no check.
    let (typed, literals) = if stars { (columns.clone(), Vec::new()) } else { typed(context, &columns, &mut query)? };
    for column in &typed {
        outputs.push(format!("CASE WHEN FALSE THEN \"excluded\".{} END", identifier(column)));
    }
    let (width, all) = if stars { (Some(3 * columns.len()), ", \"excluded\".*") } else { (None, "") };
    let mut select = skeleton(&format!("SELECT {}{all} FROM (SELECT) AS \"excluded\" ({names})", outputs.join(", ")))?;
    match select.from_clause.first_mut().and_then(|node| node.node.as_mut()) {
        Some(NodeEnum::RangeSubselect(subselect)) => {
            subselect.subquery = Some(Box::new(super::draft::node(NodeEnum::SelectStmt(Box::new(query)))));
        }
        _ => return Err(unread("the rows of an INSERT")),
    }
    Ok(NewRows { select, patterns: vec![pattern], columns, width, typed, literals })
}

/// A parameter or string alone in the select list takes the column's type, as PostgreSQL has it. The columns of all other values.
fn typed(context: Context<'_>, columns: &[Box<str>], query: &mut SelectStmt) -> Result<(Vec<Box<str>>, Vec<Literal>), Refusal> {
    let (mut computed, mut literals) = (Vec::new(), Vec::new());
    if query.target_list.is_empty() {
        return Ok((columns.to_vec(), literals)); // UNION and its kin, VALUES: they have types of their own
    }
    for (target, column) in query.target_list.iter_mut().zip(columns) {
        let Some(NodeEnum::ResTarget(target)) = &mut target.node else { return Err(unread("a select list")) };
        let Some(value) = target.val.as_deref_mut() else { return Err(unread("a select list")) };
        literals.extend(context.literal(column, value)?);
        if context.is_computed(column, value)? {
            computed.push(column.clone());
        } else if matches!(value.node, Some(NodeEnum::ParamRef(_) | NodeEnum::AConst(_))) {
            let mut cast = Context::expression(&context.open_place(context.column(column)?)?)?;
            fill_cast(Some(&mut cast), std::mem::take(value))?;
            *value = cast;
        }
    }
    Ok((computed, literals))
}

fn is_star(field: &Node) -> bool {
    matches!(field.node, Some(NodeEnum::AStar(_)))
}

impl Context<'_> {
    /// Whether OVERRIDING USER VALUE makes what is given for the column its default.
    pub(super) fn is_overridden(&self, column: &str, overriding: Overriding) -> bool {
        let fill = self.rules.and_then(|rules| rules.column(column)).map(|rule| rule.fill);
        overriding == Overriding::User && matches!(fill, Some(Fill::IdentityAlways | Fill::IdentityByDefault))
    }

    fn may_insert(&self) -> Result<(), Refusal> {
        if self.writes.insert.is_empty() {
            let message = format!("the policy does not let rows be inserted into {}.{}", self.relation.schema, self.relation.name);
            return Err(Refusal::new(RefusalCode::ReadOnly, message).hint("ask for `insert` in its `writes`"));
        }
        Ok(())
    }

    /// The columns of `count` values: as named, or the first ones as the agent sees them.
    pub(super) fn insert_columns(&self, named: Vec<Node>, count: usize) -> Result<Vec<Box<str>>, Refusal> {
        let mut columns: Vec<Box<str>> = Vec::new();
        for name in named {
            let Some(NodeEnum::ResTarget(target)) = name.node else { return Err(unread("a column of an INSERT")) };
            if !target.indirection.is_empty() {
                return Err(super::part::not_here(&target.name));
            }
            if columns.iter().any(|column| **column == *target.name) {
                let message = format!("column \"{}\" specified more than once", target.name);
                return Err(Refusal::new(RefusalCode::DuplicateColumn, message));
            }
            columns.push(self.column(&target.name)?.name.clone());
        }
        if columns.is_empty() {
            columns = self.relation.columns.iter().take(count).map(|column| column.name.clone()).collect();
        }
        match columns.len().cmp(&count) {
            std::cmp::Ordering::Equal => Ok(columns),
            std::cmp::Ordering::Less => Err(Refusal::new(RefusalCode::Syntax, "INSERT has more expressions than target columns")),
            std::cmp::Ordering::Greater => Err(Refusal::new(RefusalCode::Syntax, "INSERT has more target columns than expressions")),
        }
    }

    /// A value may be given for the column. The tenant's own value may, too: that it is, the row itself says.
    pub(super) fn insertable(&self, column: &str, overriding: Overriding) -> Result<(), Refusal> {
        let fill = self.rules.and_then(|rules| rules.column(column)).map(|rule| rule.fill);
        let always = match fill {
            Some(Fill::Generated) => Some(generated(column)),
            Some(Fill::IdentityAlways) if overriding != Overriding::System => {
                Some(identity(column).hint("leave the column out; use OVERRIDING SYSTEM VALUE to override"))
            }
            Some(Fill::IdentityAlways | Fill::IdentityByDefault | Fill::Default) | None => None,
        };
        if let Some(refusal) = always {
            let message = format!("cannot insert a non-DEFAULT value into column \"{column}\"");
            return Err(Refusal { message, ..refusal });
        }
        if self.writes.insert.iter().any(|known| **known == *column) || self.is_tenant(column) {
            return Ok(());
        }
        let message = format!("the policy does not let column \"{column}\" of {}.{} be given", self.relation.schema, self.relation.name);
        Err(Refusal::new(RefusalCode::Denied, message).hint(format!("an INSERT may give {}", self.writes.insert.join(", "))))
    }

    /// Which of the given columns is the tenant's.
    pub(super) fn given_tenant(&self, columns: &[Box<str>]) -> Option<usize> {
        columns.iter().position(|column| self.is_tenant(column))
    }

    /// A new row: the values at `outputs`, DEFAULT where the pattern says so. The tenant column is not among them: it is
    /// the principal's.
    pub(super) fn new_row(&self, columns: &[Box<str>], pattern: &[bool], outputs: &[Option<usize>]) -> Result<Action, Refusal> {
        let mut after = Vec::new();
        for ((column, default), output) in columns.iter().zip(pattern).zip(outputs) {
            if !self.is_tenant(column) {
                after.push(self.place(column, if *default { None } else { *output })?);
            }
        }
        let is_key = |column: &str| self.relation.primary_key.iter().any(|key| **key == *column);
        let key = after.iter().filter(|place| is_key(&place.column) && place.output.is_some()).cloned().collect();
        Ok(Action { operation: Operation::Insert, key, before: Vec::new(), conflict: None, after })
    }
}
