//! Expressions and literals.

use super::{
    Column, Generator,
    columns::{Ty, computed},
};

impl Generator {
    /// A small positive integer as a literal.
    pub(super) fn number(&mut self) -> String {
        (self.literals.below(9) + 1).to_string()
    }

    /// A constant of a type: a literal, in the extended protocol now and then a parameter.
    pub(super) fn constant(&mut self, ty: Ty) -> String {
        let literals = &mut self.literals;
        let (value, oid): (&&str, u32) = match ty {
            Ty::Int => (literals.pick(&["5", "42", "7777", "3", "100", "9", "1", "2147483647", "0", "2"]), 23),
            Ty::Numeric => (literals.pick(&["3.5", "7.25", "0.5", "4.5", "100.5"]), 1700),
            Ty::Float => (literals.pick(&["1.5", "2.5", "0.25", "10.5"]), 701),
            Ty::Text => (literals.pick(&["4", "12", "x", "7", "(((", "1002", ""]), 25),
            Ty::Json => (literals.pick(&["{\"k\": 3}", "5", "[1, 2]", "{}"]), 3802),
            Ty::Texts => (literals.pick(&["{1,2}", "{2,2}", "{}"]), 1009),
            Ty::Ints => (literals.pick(&["{1,3}", "{4}", "{}"]), 1007),
            Ty::Timestamp => (literals.pick(&["2024-01-15", "2024-02-01 12:00+00", "infinity"]), 1184),
            Ty::Date => (literals.pick(&["2024-01-15", "2024-03-10", "infinity"]), 1082),
            Ty::Enum => (literals.pick(&["open", "closed", "lost"]), 0),
            Ty::Uuid => (literals.pick(&["c4ca4238-a0b9-2382-0dcc-509a6f75849b", "c81e728d-9d4c-2f63-6f06-7f89cc14862c"]), 2950),
            Ty::Bool => (literals.pick(&["true", "false"]), 16),
        };
        if self.parameters.is_some() && self.structure.chance(30) {
            return self.parameter((*value).to_owned(), oid, ty);
        }
        match ty {
            Ty::Int | Ty::Numeric | Ty::Bool => (*value).to_owned(),
            Ty::Float => format!("{value}::float8"),
            Ty::Json => format!("'{value}'::jsonb"),
            Ty::Texts => format!("'{value}'::text[]"),
            Ty::Ints => format!("'{value}'::int[]"),
            Ty::Timestamp => format!("timestamptz '{value}'"),
            Ty::Date => format!("date '{value}'"),
            Ty::Uuid => format!("'{value}'::uuid"),
            Ty::Enum if self.structure.chance(30) => format!("'{value}'::st"),
            Ty::Text | Ty::Enum => format!("'{value}'"),
        }
    }

    fn parameter(&mut self, value: String, oid: u32, ty: Ty) -> String {
        let declared = if self.structure.chance(50) { oid } else { 0 };
        let cast = self.structure.chance(30);
        let parameters = self.parameters.as_mut().unwrap();
        parameters.push((declared, value));
        let number = parameters.len();
        let name = match ty {
            Ty::Int => "int",
            Ty::Numeric => "numeric",
            Ty::Float => "float8",
            Ty::Text => "text",
            Ty::Enum => "st",
            Ty::Json => "jsonb",
            Ty::Texts => "text[]",
            Ty::Ints => "int[]",
            Ty::Timestamp => "timestamptz",
            Ty::Date => "date",
            Ty::Uuid => "uuid",
            Ty::Bool => "bool",
        };
        if cast { format!("${number}::{name}") } else { format!("${number}") }
    }

    /// An expression over a column of the scope.
    pub(super) fn expression(&mut self, scope: &[Column]) -> (String, Ty) {
        if scope.is_empty() {
            let ty = *self.structure.pick(&[Ty::Int, Ty::Text]);
            return (self.constant(ty), ty);
        }
        let column = self.structure.pick(scope).clone();
        let templates = computed(column.domain);
        if templates.is_empty() || !self.structure.chance(self.computed) {
            return (column.text, column.ty);
        }
        let (template, ty) = *self.structure.pick(templates);
        let mut text = self.filled(template, ty, &column.text);
        if self.structure.chance(15) {
            text = self.wrapped(&text, ty, scope);
        }
        (text, ty)
    }

    /// An expression of this type; a constant when nothing in scope has it.
    pub(super) fn of_type(&mut self, ty: Ty, scope: &[Column]) -> String {
        let mut candidates: Vec<(&str, &Column)> = Vec::new();
        for column in scope {
            if column.ty == ty {
                candidates.extend([("{}", column); 3]);
            }
            if column.ty == ty && self.computed < 50 {
                candidates.extend([("{}", column); 20]);
            }
            candidates.extend(computed(column.domain).iter().filter(|(_, of)| *of == ty).map(|(template, _)| (*template, column)));
        }
        if candidates.is_empty() {
            return self.constant(ty);
        }
        let (template, column) = *self.structure.pick(&candidates);
        let column = column.text.clone();
        self.filled(template, ty, &column)
    }

    fn filled(&mut self, template: &str, ty: Ty, column: &str) -> String {
        let mut text = template.replace("{{", "\u{1}").replace("}}", "\u{2}").replace("{}", column);
        while text.contains("<i>") {
            text = text.replacen("<i>", &self.number(), 1);
        }
        let text = text.replace('\u{1}', "{").replace('\u{2}', "}");
        if ty == Ty::Bool && template != "{}" { format!("({text})") } else { text }
    }

    /// The same value inside CASE, COALESCE and the like.
    fn wrapped(&mut self, text: &str, ty: Ty, scope: &[Column]) -> String {
        match self.structure.below(6) {
            0 => format!("coalesce({text}, {})", self.constant(ty)),
            1 => format!("nullif({text}, {})", self.constant(ty)),
            2 => format!("case when {text} is not null then {text} else {} end", self.constant(ty)),
            3 => {
                let column = self.structure.pick(scope).text.clone();
                format!("case when {column} is not null then {text} end")
            }
            4 => format!("(select {text})"),
            _ if matches!(ty, Ty::Int | Ty::Numeric | Ty::Float | Ty::Text | Ty::Date) => {
                format!("greatest({text}, {})", self.constant(ty))
            }
            _ => format!("({text})"),
        }
    }
}
