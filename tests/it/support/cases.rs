//! Cases as data: `.sql` files of named statements.

/// One statement under a `-- name:` line.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// The statements of a file's text.
pub(crate) fn statements(text: &str) -> Vec<Statement> {
    let cases = text.split("\n-- name: ").skip(1).map(|case| case.split_once('\n').unwrap());
    cases.map(|(name, text)| Statement { name: name.trim().to_owned(), text: text.trim().trim_end_matches(';').to_owned() }).collect()
}
