//! SQL laid out for reading. Every token stays as it is; only the white space between them changes.

use pg_query::protobuf::ScanToken;

/// Clauses that begin a line of their own.
const CLAUSES: &[&str] = &[
    "select",
    "from",
    "where",
    "group",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "fetch",
    "union",
    "intersect",
    "except",
    "join",
    "left",
    "right",
    "full",
    "inner",
    "cross",
    "natural",
    "values",
    "and",
    "or",
];
/// A join's words after its first.
const JOIN_TAIL: &[&str] = &["left", "right", "full", "inner", "cross", "natural", "outer"];
/// Lists are wrapped at this column.
const WIDTH: usize = 100;

/// Lays out one statement; text that does not scan stays as it is.
pub(super) fn pretty(sql: &str) -> String {
    // A text without tokens must not be scanned: the binding reads a null pointer.
    let Ok(tokens) = pg_query::scan_tokens(&format!("{sql}\n;")) else { return sql.to_owned() };
    let mut layout = Layout { out: String::new(), open: Vec::new(), previous: String::new(), gap: false, last_end: 0 };
    let next_words: Vec<String> = tokens.iter().map(|token| word(sql, token).to_lowercase()).collect();
    for (index, token) in tokens.iter().enumerate().take(tokens.len().saturating_sub(1)) {
        let text = word(sql, token);
        let start = usize::try_from(token.start).unwrap_or(0);
        layout.gap = start > layout.last_end;
        layout.last_end = usize::try_from(token.end).unwrap_or(0);
        layout.put(text, next_words.get(index + 1).map_or("", String::as_str));
    }
    layout.out
}

fn word<'a>(sql: &'a str, token: &ScanToken) -> &'a str {
    let range = usize::try_from(token.start).unwrap_or(0)..usize::try_from(token.end).unwrap_or(0);
    sql.get(range).unwrap_or_default()
}

struct Layout {
    out: String,
    /// For each open parenthesis, whether a query is inside.
    open: Vec<bool>,
    previous: String,
    /// Whether the text had white space before this token.
    gap: bool,
    last_end: usize,
}

impl Layout {
    fn put(&mut self, text: &str, next: &str) {
        let lower = text.to_lowercase();
        let in_query = self.open.last().copied().unwrap_or(true);
        match text {
            ")" => {
                if self.open.pop() == Some(true) {
                    self.line();
                }
                self.out.push(')');
            }
            _ if in_query && self.begins_line(&lower) => {
                self.line();
                self.out.push_str(text);
            }
            _ => {
                self.space(text);
                self.out.push_str(text);
            }
        }
        if text == "(" {
            let query = matches!(next, "select" | "with" | "values");
            self.open.push(query);
            if query {
                self.line();
            }
        }
        self.previous = lower;
    }

    fn begins_line(&self, word: &str) -> bool {
        let first = self.out.is_empty() || self.out.ends_with([' ', '\n']);
        let tail = matches!(word, "join" | "outer") && JOIN_TAIL.contains(&self.previous.as_str());
        let between = word == "and" && self.out.rsplit('\n').next().is_some_and(|line| line.to_lowercase().contains(" between "));
        !first && CLAUSES.contains(&word) && !tail && !between && !matches!(self.previous.as_str(), "distinct" | ".")
    }

    fn space(&mut self, text: &str) {
        let column = self.out.len() - self.out.rfind('\n').map_or(0, |at| at + 1);
        if self.out.ends_with([' ', '\n']) || self.out.is_empty() {
            return;
        }
        if self.previous == "," && column + text.len() > WIDTH {
            self.line();
            self.out.push_str("  ");
        } else if self.gap {
            self.out.push(' ');
        }
    }

    fn line(&mut self) {
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
        self.out.push_str(&"  ".repeat(self.open.iter().filter(|query| **query).count()));
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_governed_statement_is_laid_out_without_touching_a_token() {
        let sql = "select id, lower('a  b') from (select id, subject from public.tickets where tenant_id = $1 and x between 1 and 2 offset 0) t left join u using (id) where id in (1, 2)";
        assert_snapshot!(pretty(sql), @r"
        select id, lower('a  b')
        from (
          select id, subject
          from public.tickets
          where tenant_id = $1
          and x between 1 and 2
          offset 0
        ) t
        left join u using (id)
        where id in (1, 2)
        ");
        let squeezed = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(squeezed(&pretty(sql)), squeezed(sql));
        assert_eq!(pretty(""), "");
        assert_eq!(pretty("select 'a"), "select 'a");
    }
}
