//! Random writes over the tables of `schema.sql`, from a seed, with values so few that they meet each other.

use crate::generator::Random;

/// A column: its name, the values it is given, and whether an UPDATE may assign it.
type Column = (&'static str, &'static [&'static str], bool);

struct Table {
    name: &'static str,
    columns: &'static [Column],
    /// Conflict targets, good and bad.
    targets: &'static [&'static str],
    /// Columns of its key.
    key: &'static str,
    conditions: &'static [&'static str],
}

const IDS: &[&str] = &["1", "2", "3", "4", "60", "61", "62"];
const NUMBERS: &[&str] = &["1", "2", "5", "50", "null", "default", "7 + 1", "-500", "'9'"];

const TABLES: &[Table] = &[
    Table {
        name: "uniq",
        key: "id",
        columns: &[
            ("id", IDS, false),
            ("n", NUMBERS, true),
            ("code", &["'a'", "'b'", "'q'", "'r'", "null", "default", "lower('A')"], true),
            ("active", &["true", "false", "null", "default"], true),
            ("email", &["'m1'", "'m2'", "'m60'", "null", "'m' || 3"], true),
            ("note", &["'n1'", "'N2'", "'Qq'", "'qQ'", "null"], true),
            ("kind", &["'a'", "'b'", "'c'", "default", "'x'"], true),
            ("pad", &["'p1'", "'p9  '", "null", "'too long'"], true),
        ],
        targets: &[
            "",
            "",
            "(id)",
            "(id)",
            "(id)",
            "(code)",
            "(code)",
            "(active)",
            "(id, code)",
            "(email)",
            "(email) where active",
            "(email) where active and kind <> 'c'",
            "(email) where kind <> 'c' and active and n > 0",
            "(lower(note))",
            "(note)",
            "on constraint uniq_pkey",
            "on constraint uniq_code_key",
            "on constraint uniq_email",
        ],
        conditions: &[
            "id = 2",
            "id in (1, 2, 3)",
            "code = 'b'",
            "active",
            "n > 4",
            "kind = 'a'",
            "email is not null and id < 5",
            "pad = 'p2'",
            "false",
        ],
    },
    Table {
        name: "slugs",
        key: "slug",
        columns: &[
            ("slug", &["'s1'", "'s2'", "'s3'", "'s60'", "'s61'"], false),
            ("cat_id", &["1", "2", "null", "1001", "77"], true),
            ("val", &["1", "2", "3", "default", "null"], true),
            ("id", &["default", "default", "5"], true),
            ("up", &["default", "default", "'S9'"], true),
        ],
        targets: &[
            "",
            "(tenant_id, slug)",
            "(tenant_id, slug)",
            "(slug, tenant_id)",
            "(up, val)",
            "(val, up)",
            "(up)",
            "(val)",
            "on constraint slugs_pkey",
        ],
        conditions: &["slug = 's2'", "slug in ('s1', 's2')", "val < 3", "cat_id = 2", "up = 'S3'"],
    },
    Table {
        name: "acct",
        key: "id",
        columns: &[
            ("id", IDS, false),
            ("tag", &["'t1'", "'t2'", "'t60'", "'t61'", "'t' || 62"], true),
            ("nd", &["null", "2", "3", "60", "61"], true),
            ("val", &["1.005", "2", "default", "99999"], true),
            ("arr", &["'{1,2}'", "array[3, 4]", "null", "'{x}'"], true),
            ("jb", &["'{\"a\": 1}'", "null", "'7'"], true),
        ],
        targets: &["", "(id)", "(tag)", "(tag)", "(nd)", "(id, tag)", "on constraint acct_pkey"],
        conditions: &["id = 2", "id in (1, 2, 3)", "tag = 't3'", "nd is null", "val > 3", "jb is not null and id = 4"],
    },
    Table {
        name: "def",
        key: "id",
        columns: &[("id", IDS, false), ("d", &["1", "2", "60", "61", "null"], true), ("val", NUMBERS, true)],
        targets: &["", "(id)", "(d)", "(val)", "on constraint def_pkey", "on constraint def_d_key"],
        conditions: &["id = 2", "d in (1, 2)", "val > 2"],
    },
    Table {
        name: "book",
        key: "id",
        columns: &[
            ("id", IDS, false),
            ("during", &["'[11,12)'", "'[22,70)'", "'[300,310)'", "'[305,320)'", "'empty'", "null", "int4range(400, 410)"], true),
            ("val", NUMBERS, true),
        ],
        targets: &["", "(id)", "(during)", "on constraint book_pkey", "on constraint book_during_excl"],
        conditions: &["id = 2", "during && int4range(10, 31)", "val > 2"],
    },
    Table {
        name: "items",
        key: "id",
        columns: &[
            ("id", &["1", "2", "60", "61"], false),
            ("price", &["5", "999", "1000", "null", "price_or_1"], true),
            ("secret", &["'x'", "'y'", "null", "default"], true),
            ("name", &["'n'", "null", "'long'"], true),
        ],
        targets: &[],
        conditions: &["id = 2", "id in (1, 2, 3)", "price > 500", "true"],
    },
    Table {
        name: "cat",
        key: "id",
        columns: &[("id", &["1", "4", "5", "60", "61"], false), ("name", &["'x'", "null", "'cat 1'"], true)],
        targets: &["", "(id)", "(name)", "on constraint cat_pkey"],
        conditions: &["id = 5", "id in (1, 5)", "name = 'cat 2'"],
    },
];

/// Values that are an error in some column: few of them, so that most statements have one error or none.
const BAD: [&str; 9] = ["null", "-500", "'x'", "'too long'", "99999", "'{x}'", "1001", "77", "'S9'"];

/// The table and the text of a seed.
pub(super) fn statement(seed: u64) -> (&'static str, String) {
    let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let table = random.pick(TABLES);
    let text = match random.below(10) {
        0 | 1 => insert(&mut random, table),
        2..=5 if !table.targets.is_empty() => upsert(&mut random, table),
        6 | 7 => update(&mut random, table),
        8 => delete(&mut random, table),
        _ => merge(&mut random, table),
    };
    (table.name, text)
}

/// A value that a row gives: what reads a column of it is of updates only.
fn given<'a>(random: &mut Random, column: &'a Column) -> &'a str {
    let mut value = *random.pick(column.1);
    if BAD.contains(&value) && random.chance(70) {
        value = column.1[0];
    }
    if value == "price_or_1" { "1" } else { value }
}

/// The columns that a row gives: the key nearly always, and some others in any order.
fn columns(random: &mut Random, table: &Table) -> Vec<&'static Column> {
    let mut chosen: Vec<&Column> =
        table.columns.iter().filter(|column| if column.0 == table.key { random.chance(97) } else { random.chance(45) }).collect();
    if table.name == "acct" && !chosen.iter().any(|column| column.0 == "id") {
        chosen.push(&table.columns[0]);
    }
    if chosen.len() > 1 && random.chance(20) {
        chosen.reverse();
    }
    // The generator's tables live as long as the program.
    let all: Vec<&'static Column> = TABLES.iter().find(|known| known.name == table.name).unwrap().columns.iter().collect();
    chosen.iter().map(|column| *all.iter().find(|known| known.0 == column.0).unwrap()).collect()
}

fn insert(random: &mut Random, table: &Table) -> String {
    let mut columns = columns(random, table);
    if random.chance(3) && !columns.is_empty() {
        columns.push(columns[0]);
    }
    let names = columns.iter().map(|column| column.0).collect::<Vec<_>>().join(", ");
    if columns.is_empty() {
        return format!("insert into {} default values", table.name);
    }
    let overriding = *random.pick(&["", "", "", "", "", " overriding system value", " overriding user value"]);
    let rows = rows(random, &columns, 3);
    if random.chance(15) && !rows.contains("default") {
        let numbered: Vec<String> = (1..=columns.len()).map(|number| format!("c{number}")).collect();
        let list = numbered.join(", ");
        return format!("insert into {} ({names}){overriding} select {list} from (values {rows}) v ({list})", table.name);
    }
    format!("insert into {} ({names}){overriding} values {rows}", table.name)
}

fn rows(random: &mut Random, columns: &[&'static Column], most: usize) -> String {
    let count = random.below(most) + 1;
    let rows = (0..count).map(|_| {
        let values: Vec<&str> = columns.iter().map(|column| given(random, column)).collect();
        format!("({})", values.join(", "))
    });
    rows.collect::<Vec<_>>().join(", ")
}

fn upsert(random: &mut Random, table: &Table) -> String {
    let columns = columns(random, table);
    if columns.is_empty() {
        return insert(random, table);
    }
    let names = columns.iter().map(|column| column.0).collect::<Vec<_>>().join(", ");
    let rows = rows(random, &columns, 4);
    let target = *random.pick(table.targets);
    let action = if random.chance(45) || target.is_empty() {
        "nothing".to_owned()
    } else {
        let condition = match random.below(5) {
            0 => format!(" where {}.{} is not null", table.name, random.pick(table.columns).0),
            1 => {
                let column = random.pick(table.columns).0;
                format!(" where excluded.{column} is distinct from {}.{column}", table.name)
            }
            _ => String::new(),
        };
        format!("update set {}{condition}", assignments(random, table, Some("excluded")))
    };
    format!("insert into {} ({names}) values {rows} on conflict {target} do {action}", table.name)
}

/// Assignments, from constants, from other columns of the row, and from another row.
fn assignments(random: &mut Random, table: &Table, other: Option<&str>) -> String {
    let assignable: Vec<&Column> = table.columns.iter().filter(|column| column.2).collect();
    let mut chosen: Vec<&Column> = assignable.iter().copied().filter(|_| random.chance(40)).collect();
    if chosen.is_empty() {
        chosen.push(*random.pick(assignable.as_slice()));
    }
    let each = chosen.into_iter().map(|column| {
        let (name, values, _) = column;
        let value = match (other, random.below(4)) {
            (Some(other), 0 | 1) => format!("{other}.{name}"),
            (_, 2) => format!("{}.{name}", table.name),
            _ => random.pick(values).replace("price_or_1", "coalesce(items.price, 1)"),
        };
        format!("{name} = {value}")
    });
    each.collect::<Vec<_>>().join(", ")
}

fn update(random: &mut Random, table: &Table) -> String {
    let only = if random.chance(10) { "only " } else { "" };
    let (mut set, condition) = (assignments(random, table, None), random.pick(table.conditions));
    if table.name == "acct" && random.chance(40) {
        let whole = |column: &str| set.split(", ").any(|one| one.starts_with(column));
        set = if !whole("arr") {
            format!("{set}, arr[{}] = {}", random.pick(&["1", "2", "3", "5", "'1'"]), random.pick(&["7", "acct.arr[2]", "null", "acct.id"]))
        } else if !whole("jb") {
            format!("{set}, jb['{}'] = {}", random.pick(&["k", "l"]), random.pick(&["'8'", "null", "acct.jb", "to_jsonb(acct.val)"]))
        } else {
            set
        };
    }
    match random.below(4) {
        0 => {
            let keys: Vec<&str> = table.columns[0].1.iter().take(3).copied().collect();
            let key = table.key;
            let list = keys.iter().map(|key| format!("({key})")).collect::<Vec<_>>().join(", ");
            format!("update {only}{} set {set} from (values {list}) v (k) where v.k = {}.{key}", table.name, table.name)
        }
        _ => format!("update {only}{} set {set} where {condition}", table.name),
    }
}

fn delete(random: &mut Random, table: &Table) -> String {
    let condition = random.pick(table.conditions);
    let using = if random.chance(20) {
        format!(" using (values (1), (2)) v (k) where ({condition}) and v.k < 3")
    } else {
        format!(" where {condition}")
    };
    format!("delete from {}{using}", table.name)
}

fn merge(random: &mut Random, table: &Table) -> String {
    let keys = table.columns.iter().find(|column| column.0 == table.key).unwrap();
    let count = random.below(3) + 1;
    let rows: Vec<String> = (0..count).map(|_| format!("({}, {})", given(random, keys), random.pick(&["1", "2", "50"]))).collect();
    let mut clauses = Vec::new();
    for _ in 0..=random.below(3) {
        let condition = if random.chance(40) { format!(" and v.x {} 2", random.pick(&["<", ">", "="])) } else { String::new() };
        clauses.push(match random.below(5) {
            0 => format!("when matched{condition} then delete"),
            1 | 2 => format!("when matched{condition} then update set {}", assignments(random, table, None)),
            3 => format!("when {}matched{condition} then do nothing", random.pick(&["", "not "])),
            _ => {
                let others: Vec<&Column> = table.columns.iter().filter(|column| column.0 != table.key && random.chance(40)).collect();
                let names: Vec<&str> = [table.key].into_iter().chain(others.iter().map(|column| column.0)).collect();
                let values: Vec<&str> = ["v.k"].into_iter().chain(others.iter().map(|column| given(random, column))).collect();
                format!("when not matched{condition} then insert ({}) values ({})", names.join(", "), values.join(", "))
            }
        });
    }
    let returning = if random.chance(3) { format!(" returning {}.{}", table.name, table.key) } else { String::new() };
    format!(
        "merge into {name} using (values {}) v (k, x) on v.k = {name}.{} {}{returning}",
        rows.join(", "),
        table.key,
        clauses.join(" "),
        name = table.name
    )
}
