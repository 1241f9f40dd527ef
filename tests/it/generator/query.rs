//! Queries: FROM and its joins, SELECT in its forms, set operations, CTEs.

use super::{
    Column, Cte, Generator, Query,
    columns::{Domain, RELATIONS, Ty},
};

/// Samples of everything. The role with row-level security has views, which PostgreSQL does not sample; `v` is one at the source.
pub(crate) const SAMPLES: [&str; 2] = [" tablesample bernoulli (100)", " tablesample system (100) repeatable (3)"];

const PLAIN: &[Ty] = &[Ty::Int, Ty::Int, Ty::Text, Ty::Numeric, Ty::Date, Ty::Timestamp, Ty::Bool, Ty::Json, Ty::Uuid, Ty::Texts, Ty::Enum];

impl Generator {
    /// A query with columns of these types, or of its own choice; `outer` are the columns it may be correlated with.
    pub(super) fn query(&mut self, want: Option<&[Ty]>, outer: &[Column], depth: usize) -> Query {
        self.size += 1;
        if depth < 3 && self.size < 8 {
            match self.structure.below(100) {
                0..10 => return self.set_operation(want, outer, depth),
                10..15 if want.is_none() => return self.with_query(outer, depth),
                _ => {}
            }
        }
        match (want, self.structure.below(100)) {
            (None, 0..20) => self.grouped(outer, depth),
            (None, 20..30) => self.windowed(outer, depth),
            (None, 30..34) => self.distinct_on(outer, depth),
            (None, 34..38) => self.set_returning(outer, depth),
            (None, 38..42) => self.whole_rows(outer, depth),
            (_, 42..45) => self.values(want, outer),
            _ => self.plain(want, outer, depth),
        }
    }

    fn plain(&mut self, want: Option<&[Ty]>, outer: &[Column], depth: usize) -> Query {
        let (from, inner) = self.from(outer, depth);
        let scope: Vec<Column> = inner.iter().chain(outer).cloned().collect();
        let condition = self.filter(&scope, depth);
        let mut columns = Vec::new();
        let mut texts = Vec::new();
        if let Some(want) = want {
            for ty in want {
                texts.push(self.of_type(*ty, &inner));
                columns.push((*ty, Domain::Any));
            }
        } else {
            for _ in 0..=self.structure.below(3) {
                if self.structure.chance(40) && !inner.is_empty() {
                    let column = self.structure.pick(&inner).clone();
                    texts.push(column.text);
                    columns.push((column.ty, column.domain));
                } else if self.structure.chance(8) && depth < 3 && self.size < 7 {
                    let ty = *self.structure.pick(&[Ty::Int, Ty::Text]);
                    texts.push(self.scalar(ty, &scope, depth + 1));
                    columns.push((ty, Domain::Any));
                } else {
                    let correlated = self.structure.chance(15);
                    let (text, ty) = self.expression(if correlated { &scope } else { &inner });
                    texts.push(text);
                    columns.push((ty, Domain::Any));
                }
            }
        }
        let distinct = if self.structure.chance(12) { "distinct " } else { "" };
        let query = Query { text: format!("select {distinct}{} from {from}{condition}", texts.join(", ")), columns };
        if depth > 0 && self.structure.chance(12) {
            return Query { text: self.ordered(&query, 70), columns: query.columns };
        }
        query
    }

    fn grouped(&mut self, outer: &[Column], depth: usize) -> Query {
        let (from, inner) = self.from(outer, depth);
        let scope: Vec<Column> = inner.iter().chain(outer).cloned().collect();
        let condition = self.filter(&scope, depth);
        let (key, ty) = self.expression(&inner);
        let (second, second_ty) = self.expression(&inner);
        let (by, two) = match self.structure.below(8) {
            0 => (format!("rollup ({key}, {second})"), true),
            1 => (format!("cube ({key}, {second})"), true),
            2 => (format!("grouping sets (({key}), ({second}), ())"), true),
            3 => (format!("{key}, {second}"), true),
            _ => (key.clone(), false),
        };
        let (aggregate, aggregate_ty) = self.aggregate(&inner);
        let having = match self.structure.below(6) {
            0 => format!(" having count(*) > {}", self.number()),
            1 => format!(" having {key} >= {}", self.constant(ty)),
            2 => format!(" having {aggregate} is not null and {key} is not null"),
            3 => format!(" having {key} in ({}, {}) or max({key}::text) > '1'", self.constant(ty), self.constant(ty)),
            _ => String::new(),
        };
        let mut texts = vec![key];
        let mut columns = vec![(ty, Domain::Any)];
        if two {
            texts.push(second);
            columns.push((second_ty, Domain::Any));
        }
        texts.push(aggregate);
        columns.push((aggregate_ty, Domain::Any));
        Query { text: format!("select {} from {from}{condition} group by {by}{having}", texts.join(", ")), columns }
    }

    /// An aggregate whose result does not depend on the order of its rows.
    fn aggregate(&mut self, inner: &[Column]) -> (String, Ty) {
        let filter = if self.structure.chance(25) { format!(" filter (where {})", self.predicate(inner, 4)) } else { String::new() };
        let distinct = if self.structure.chance(15) { "distinct " } else { "" };
        match self.structure.below(9) {
            0 => (format!("count(*){filter}"), Ty::Int),
            1 => (format!("count({distinct}{}){filter}", self.expression(inner).0), Ty::Int),
            2 => (format!("sum({distinct}{}){filter}", self.of_type(Ty::Int, inner)), Ty::Int),
            3 => (format!("max({}){filter}", self.of_type(Ty::Numeric, inner)), Ty::Numeric),
            4 => (format!("min({}){filter}", self.of_type(Ty::Text, inner)), Ty::Text),
            5 => (format!("bool_and({}){filter}", self.predicate(inner, 4)), Ty::Bool),
            6 => {
                let value = self.of_type(Ty::Text, inner);
                (format!("string_agg({value}, ',' order by {value}){filter}"), Ty::Text)
            }
            7 => {
                let value = self.of_type(Ty::Int, inner);
                (format!("array_agg({value} order by {value}){filter}"), Ty::Ints)
            }
            _ => (format!("percentile_disc(0.5) within group (order by {}){filter}", self.of_type(Ty::Int, inner)), Ty::Int),
        }
    }

    /// Window functions whose multiset of results is the same under every order of ties.
    fn windowed(&mut self, outer: &[Column], depth: usize) -> Query {
        let (from, inner) = self.from(outer, depth);
        let scope: Vec<Column> = inner.iter().chain(outer).cloned().collect();
        let condition = self.filter(&scope, depth);
        let by = self.of_type(Ty::Int, &inner);
        let part = if self.structure.chance(50) { format!("partition by {} ", self.expression(&inner).0) } else { String::new() };
        let (frame, call) = match self.structure.below(8) {
            0 => ("", "row_number()".to_owned()),
            1 => ("", "rank()".to_owned()),
            2 => ("", "dense_rank()".to_owned()),
            3 => ("", format!("lag({by}, 1)")),
            4 => (" rows between 1 preceding and current row", format!("sum({by})")),
            5 => (" range between 2 preceding and 1 following", format!("max({by})")),
            6 => (" groups between current row and unbounded following exclude current row", "count(*)".to_owned()),
            _ => ("", format!("first_value({by})")),
        };
        let text = if self.structure.chance(20) {
            format!("select {call} over w from {from}{condition} window w as ({part}order by {by}{frame})")
        } else {
            format!("select {call} over ({part}order by {by}{frame}) from {from}{condition}")
        };
        Query { text, columns: vec![(Ty::Int, Domain::Any)] }
    }

    fn distinct_on(&mut self, outer: &[Column], depth: usize) -> Query {
        let (from, inner) = self.from(outer, depth);
        let scope: Vec<Column> = inner.iter().chain(outer).cloned().collect();
        let condition = self.filter(&scope, depth);
        let (key, ty) = self.expression(&inner);
        let (value, second) = self.expression(&inner);
        let alias = self.name('d');
        let text = format!(
            "select {alias}.* from (select distinct on ({key}) {key}, {value} from {from}{condition} order by {key}, {value}) {alias}"
        );
        Query { text, columns: vec![(ty, Domain::Any), (second, Domain::Any)] }
    }

    fn set_returning(&mut self, outer: &[Column], depth: usize) -> Query {
        let (from, inner) = self.from(outer, depth);
        let scope: Vec<Column> = inner.iter().chain(outer).cloned().collect();
        let condition = self.filter(&scope, depth);
        let (call, ty) = match self.structure.below(4) {
            0 => (format!("unnest({})", self.of_type(Ty::Texts, &inner)), Ty::Text),
            1 => (format!("unnest({})", self.of_type(Ty::Ints, &inner)), Ty::Int),
            2 => (format!("generate_series(1, least({}, 3))", self.of_type(Ty::Int, &inner)), Ty::Int),
            _ => (format!("regexp_split_to_table('a1b', {})", self.of_type(Ty::Text, &inner)), Ty::Text),
        };
        let (value, second) = self.expression(&inner);
        Query { text: format!("select {call}, {value} from {from}{condition}"), columns: vec![(ty, Domain::Any), (second, Domain::Any)] }
    }

    /// Whole rows of a relation, in the forms that name no column.
    fn whole_rows(&mut self, outer: &[Column], depth: usize) -> Query {
        let (relation, columns) = *self.structure.pick(RELATIONS);
        let alias = self.name('w');
        let inner = columns_of(&alias, columns);
        let scope: Vec<Column> = inner.iter().chain(outer).cloned().collect();
        let condition = self.filter(&scope, depth);
        let all = || columns.iter().map(|(_, ty, domain)| (*ty, *domain)).collect();
        let from = format!("{relation} {alias}{condition}");
        match self.structure.below(5) {
            0 => Query { text: format!("select * from {from}"), columns: all() },
            1 => Query { text: format!("select {alias}.* from {from}"), columns: all() },
            2 => Query { text: format!("select to_jsonb({alias}) from {from}"), columns: vec![(Ty::Json, Domain::Any)] },
            3 => Query { text: format!("select {alias}::text from {from}"), columns: vec![(Ty::Text, Domain::Any)] },
            _ => Query {
                text: format!("select count({alias}), ({alias} is not null)::text from {from} group by {alias}"),
                columns: vec![(Ty::Int, Domain::Any), (Ty::Text, Domain::Any)],
            },
        }
    }

    fn values(&mut self, want: Option<&[Ty]>, outer: &[Column]) -> Query {
        let own = [*self.structure.pick(&[Ty::Int, Ty::Text])];
        let types = want.unwrap_or(&own).to_vec();
        let mut rows = Vec::new();
        for _ in 0..=self.structure.below(3) {
            let mut row = Vec::new();
            for ty in &types {
                row.push(if self.structure.chance(40) { self.of_type(*ty, outer) } else { self.constant(*ty) });
            }
            rows.push(format!("({})", row.join(", ")));
        }
        Query { text: format!("values {}", rows.join(", ")), columns: types.into_iter().map(|ty| (ty, Domain::Any)).collect() }
    }

    fn set_operation(&mut self, want: Option<&[Ty]>, outer: &[Column], depth: usize) -> Query {
        let own: Vec<Ty> = (0..=self.structure.below(2)).map(|_| *self.structure.pick(PLAIN)).collect();
        let types = want.unwrap_or(&own);
        let operator = *self.structure.pick(&["union", "union all", "union all", "except", "intersect", "intersect all", "except all"]);
        let (one, two) = (self.query(Some(types), outer, depth + 1), self.query(Some(types), outer, depth + 1));
        Query { text: format!("({}) {operator} ({})", one.text, two.text), columns: types.iter().map(|ty| (*ty, Domain::Any)).collect() }
    }

    pub(super) fn with_query(&mut self, outer: &[Column], depth: usize) -> Query {
        let before = self.ctes.len();
        let mut texts = Vec::new();
        let mut recursive = "";
        for _ in 0..=self.structure.below(2) {
            let name = self.name('k');
            if self.structure.chance(15) {
                recursive = "recursive ";
                texts.push(self.recursive(&name, depth));
                self.ctes.push(Cte { name, columns: vec![("x".to_owned(), Ty::Int, Domain::Any)] });
                continue;
            }
            let correlated = self.structure.chance(50);
            let body = self.query(None, if correlated { outer } else { &[] }, depth + 1);
            let columns: Vec<_> = body.columns.iter().enumerate().map(|(at, (ty, domain))| (format!("x{at}"), *ty, *domain)).collect();
            let names: Vec<&str> = columns.iter().map(|(name, ..)| name.as_str()).collect();
            let materialized = *self.structure.pick(&["", "", "materialized ", "not materialized "]);
            texts.push(format!("{name}({}) as {materialized}({})", names.join(", "), body.text));
            self.ctes.push(Cte { name, columns });
        }
        let main = self.query(None, outer, depth + 1);
        self.ctes.truncate(before);
        Query { text: format!("with {recursive}{} {}", texts.join(", "), main.text), columns: main.columns }
    }

    fn recursive(&mut self, name: &str, depth: usize) -> String {
        let (from, inner) = self.from(&[], depth + 1);
        let condition = self.filter(&inner, depth + 2);
        let start = self.of_type(Ty::Int, &inner);
        let (join, joined) = self.relation();
        let step = Column { text: format!("{name}.x"), ty: Ty::Int, domain: Domain::Any };
        let scope: Vec<Column> = joined.iter().cloned().chain([step]).collect();
        let more = self.predicate(&scope, 3);
        let id = &joined[0].text;
        format!(
            "{name}(x) as (select ({start})::bigint from {from}{condition} union select {name}.x + 1 from {name} join {join} on {id} = {name}.x \
             where {name}.x between 0 and 9 and {more})"
        )
    }

    /// FROM: one to three items, joined.
    pub(super) fn from(&mut self, outer: &[Column], depth: usize) -> (String, Vec<Column>) {
        let (mut text, mut columns) = self.item(outer, &[], depth);
        let joins = if depth < 2 { *self.structure.pick(&[0, 0, 1, 1, 2]) } else { *self.structure.pick(&[0, 0, 0, 1]) };
        for _ in 0..joins {
            let lateral = self.structure.chance(20);
            let (item, added) = self.item(outer, if lateral { &columns } else { &[] }, depth);
            let (left, right) = (columns.clone(), added.clone());
            columns.extend(added);
            let kinds: &[&str] = if lateral {
                &["join", "left join", "cross join"]
            } else if depth < 2 && self.structure.chance(25) {
                &["cross join", ",", "natural join", "using"]
            } else {
                &["join", "join", "left join", "left join", "right join", "full join"]
            };
            let kind = *self.structure.pick(kinds);
            text = match kind {
                "cross join" => format!("{text} cross join {item}"),
                "," => format!("{text}, {item}"),
                "natural join" | "using" if joins == 1 && has_id(&left) && has_id(&right) => {
                    if kind == "using" {
                        format!("{text} join {item} using (id)")
                    } else {
                        format!("{text} natural join {item}")
                    }
                }
                "natural join" | "using" => format!("{text} join {item} on {}", self.joined(&left, &right)),
                "full join" => format!("{text} full join {item} on {}", self.joined(&left, &right)),
                kind if self.structure.chance(45) => {
                    let equal = self.joined(&left, &right);
                    format!("{text} {kind} {item} on {equal} and {}", self.predicate(&columns, 2))
                }
                kind if self.structure.chance(10) => format!("{text} {kind} {item} on {}", self.predicate(&columns, 2)),
                kind => format!("{text} {kind} {item} on {}", self.joined(&left, &right)),
            };
        }
        (text, columns)
    }

    fn joined(&mut self, left: &[Column], right: &[Column]) -> String {
        let of =
            |columns: &[Column]| columns.iter().filter(|column| column.ty == Ty::Int).map(|column| column.text.clone()).collect::<Vec<_>>();
        let (one, two) = (of(left), of(right));
        if one.is_empty() || two.is_empty() {
            let (value, ty) = self.expression(left);
            return format!("{value} = {}", self.of_type(ty, right));
        }
        format!("{} = {}", self.structure.pick(&one), self.structure.pick(&two))
    }

    fn relation(&mut self) -> (String, Vec<Column>) {
        let (relation, columns) = RELATIONS[*self.structure.pick(&[0, 0, 1, 2, 3, 0, 4])];
        let alias = self.name('t');
        let qualified = *self.structure.pick(&["", "", "s."]);
        let sample = if relation != "v" && self.structure.chance(8) { *self.structure.pick(&SAMPLES) } else { "" };
        (format!("{qualified}{relation} {alias}{sample}"), columns_of(&alias, columns))
    }

    /// One item of FROM; `lateral` are the columns to its left that it may name.
    fn item(&mut self, outer: &[Column], lateral: &[Column], depth: usize) -> (String, Vec<Column>) {
        let choice = self.structure.below(100);
        if !lateral.is_empty() && choice < 60 {
            let alias = self.name('l');
            let value = self.expression(lateral);
            let limit = *self.structure.pick(&["", "", " limit 1", " offset 0"]);
            return (format!("lateral (select {}{limit}) {alias}(x)", value.0), one(&alias, value.1));
        }
        match choice {
            0..25 if depth < 3 && self.size < 7 => {
                let alias = self.name('q');
                let scope: Vec<Column> = lateral.iter().chain(outer).cloned().collect();
                let query = self.query(None, &scope, depth + 1);
                let names: Vec<String> = (0..query.columns.len()).map(|at| format!("x{at}")).collect();
                let columns = query.columns.iter().zip(&names).map(|((ty, domain), name)| Column {
                    text: format!("{alias}.{name}"),
                    ty: *ty,
                    domain: *domain,
                });
                let word = if lateral.is_empty() { "" } else { "lateral " };
                (format!("{word}({}) {alias}({})", query.text, names.join(", ")), columns.collect())
            }
            25..38 if !self.ctes.is_empty() => {
                let cte = self.structure.pick(&self.ctes).clone();
                let alias = self.name('e');
                let column =
                    |(name, ty, domain): &(String, Ty, Domain)| Column { text: format!("{alias}.{name}"), ty: *ty, domain: *domain };
                (format!("{} {alias}", cte.name), cte.columns.iter().map(column).collect())
            }
            38..44 => self.function(outer, lateral),
            _ => self.relation(),
        }
    }

    /// A function or VALUES in FROM.
    fn function(&mut self, outer: &[Column], lateral: &[Column]) -> (String, Vec<Column>) {
        let alias = self.name('f');
        let scope: Vec<Column> = lateral.iter().chain(outer).cloned().collect();
        let (text, ty) = match self.structure.below(6) {
            0 => (format!("generate_series(1, {})", self.number()), Ty::Int),
            1 => (format!("unnest({})", self.of_type(Ty::Texts, &scope)), Ty::Text),
            2 => (format!("unnest({})", self.of_type(Ty::Ints, &scope)), Ty::Int),
            3 => (format!("string_to_table({}, '1')", self.of_type(Ty::Text, &scope)), Ty::Text),
            4 => (format!("jsonb_array_elements_text('[1, {}]')", self.number()), Ty::Text),
            _ => (format!("(values ({}), ({}))", self.constant(Ty::Int), self.constant(Ty::Int)), Ty::Int),
        };
        (format!("{text} {alias}(x)"), one(&alias, ty))
    }
}

fn one(alias: &str, ty: Ty) -> Vec<Column> {
    vec![Column { text: format!("{alias}.x"), ty, domain: Domain::Any }]
}

fn columns_of(alias: &str, columns: &[(&str, Ty, Domain)]) -> Vec<Column> {
    columns.iter().map(|(name, ty, domain)| Column { text: format!("{alias}.{name}"), ty: *ty, domain: *domain }).collect()
}

fn has_id(columns: &[Column]) -> bool {
    columns.iter().filter(|column| column.text.split_once('.').is_some_and(|(_, name)| name == "id")).count() == 1
}
