//! How much of a corpus of statements pgwicket takes, and why not the rest.
//!
//!     cargo bench --bench corpus -- --path statements.jsonl [--family llm] [--examples 3]
//!
//! A line of the corpus is `{"source": "family/file", "sql": "one statement"}`. For each read a policy is
//! synthesised that exposes every relation it names; then it is governed twice, with the allow-lists of
//! functions, operators and types aside, and with them. Ends with failure when a family is under its target.

mod synthesis;
mod tally;

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use pgwicket::sql::{ParseError, Statement, classify_tree, parse};
use serde::Deserialize;
use synthesis::Synthesis;
use tally::{Tally, Verdict};

/// Counts what of a corpus is accepted, and lists why the rest is refused.
#[derive(Debug, Parser)]
struct Arguments {
    /// The corpus: JSON lines with `source` and `sql`.
    #[arg(long)]
    path: PathBuf,
    /// Only the sources whose name starts with this.
    #[arg(long, default_value = "")]
    family: String,
    /// Statements shown for each reason.
    #[arg(long, default_value_t = 0)]
    examples: usize,
    /// Given by `cargo bench`; means nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A line of the corpus.
#[derive(Debug, Deserialize)]
struct Line {
    source: String,
    sql: String,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let corpus = File::open(&arguments.path).with_context(|| format!("cannot open {}", arguments.path.display()))?;
    let mut tally = Tally::default();
    for (number, line) in BufReader::new(corpus).lines().enumerate() {
        let line: Line = serde_json::from_str(&line?).with_context(|| format!("line {}", number + 1))?;
        if line.source.starts_with(&arguments.family) {
            let family = family(&line.source);
            tally.add(family, &line.sql, judge(&line.sql));
        }
    }
    tally.print(arguments.examples);
    Ok(if tally.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `regress/join.sql` is of the family `regress`, `llm_bird` of its own.
fn family(source: &str) -> &str {
    source.split('/').next().unwrap_or(source)
}

/// What becomes of one statement of the corpus.
fn judge(sql: &str) -> Verdict {
    let tree = match parse(sql) {
        Ok(Some(tree)) => tree,
        Ok(None) => return Verdict::NotARead,
        // What PostgreSQL itself does not parse is not ours to take; what only our bounds refuse is.
        Err(ParseError::Syntax { .. } | ParseError::Multiple) => return Verdict::NotSql,
        Err(error @ (ParseError::TooLong { .. } | ParseError::TooManyTokens | ParseError::TooComplex)) => {
            return Verdict::refused(&error.to_string());
        }
    };
    if classify_tree(Some(&tree)) != Statement::Read {
        return Verdict::NotARead;
    }
    let synthesis = Synthesis::of(&tree);
    if synthesis.names_the_catalog {
        return Verdict::Catalog;
    }
    Verdict::Governed { structure: synthesis.govern(sql, false), lists: synthesis.govern(sql, true), relations: synthesis.relations }
}
