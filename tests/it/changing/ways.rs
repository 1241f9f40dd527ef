//! Every way to ask for something, as messages of one session up to a ReadyForQuery each.

use crate::{
    support::{Login, Wire},
    wire::{encoded, line},
};

/// What a session says in one way, one batch of messages after the other.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// `{}` is the statement.
    batches: &'static [&'static str],
    /// What it says before the source changes.
    before: &'static [&'static str],
}

impl Way {
    /// The messages to say now.
    pub(super) fn batches(&self, text: &str) -> Vec<String> {
        self.batches.iter().map(|batch| batch.replace("{}", text)).collect()
    }

    /// The messages to say while the source is as it was.
    pub(super) fn before(&self, text: &str) -> Vec<String> {
        self.before.iter().map(|batch| batch.replace("{}", text)).collect()
    }
}

const fn now(name: &'static str, batches: &'static [&'static str]) -> Way {
    Way { name, batches, before: &[] }
}

const fn kept(name: &'static str, before: &'static [&'static str], batches: &'static [&'static str]) -> Way {
    Way { name, batches, before }
}

/// The ways that a text can be said in.
pub(super) const WAYS: [Way; 22] = [
    now("simple", &["Query \"{}\""]),
    now("simple, twice", &["Query \"{}\"", "Query \"{}\""]),
    now("several in a message", &["Query \"{}; {}\""]),
    now("simple, first in a block", &["Query \"begin\"", "Query \"{}\"", "Query \"commit\""]),
    now("simple, later in a block", &["Query \"begin; select 1\"", "Query \"{}\"", "Query \"{}\"", "Query \"commit\""]),
    now("unnamed, all at once", &["Parse \"\" \"{}\"\nBind \"\" \"\" / / 1\nDescribe P \"\"\nExecute \"\" 0\nSync"]),
    now("unnamed, nothing described", &["Parse \"\" \"{}\"\nBind \"\" \"\" / /\nExecute \"\" 0\nSync"]),
    now("unnamed, the statement described", &["Parse \"\" \"{}\"\nDescribe S \"\"\nBind \"\" \"\" / / 1\nExecute \"\" 0\nSync"]),
    now(
        "unnamed, described first",
        &["Parse \"\" \"{}\"\nDescribe S \"\"\nSync", "Bind \"\" \"\" / / 1\nDescribe P \"\"\nExecute \"\" 0\nSync"],
    ),
    now("unnamed, parsed first", &["Parse \"\" \"{}\"\nSync", "Bind \"\" \"\" / / 1\nDescribe P \"\"\nExecute \"\" 0\nSync"]),
    now(
        "unnamed, one after the other",
        &[
            "Parse \"\" \"{}\"\nBind \"\" \"\" / / 1\nDescribe P \"\"\nExecute \"\" 0\nParse \"\" \"{}\"\nBind \"\" \"\" / / 1\nExecute \"\" 1\nSync",
        ],
    ),
    now(
        "unnamed, in a block",
        &[
            "Query \"begin; select 1\"",
            "Parse \"\" \"{}\"\nDescribe S \"\"\nBind \"\" \"\" / / 1\nExecute \"\" 0\nSync",
            "Parse \"\" \"{}\"\nBind \"\" \"\" / / 1\nDescribe P \"\"\nExecute \"\" 0\nSync",
            "Query \"commit\"",
        ],
    ),
    now(
        "named",
        &[
            "Parse \"n\" \"{}\"\nDescribe S \"n\"\nSync",
            "Bind \"\" \"n\" / / 1\nExecute \"\" 0\nSync",
            "Bind \"\" \"n\" / / 1\nDescribe P \"\"\nExecute \"\" 0\nClose S \"n\"\nSync",
        ],
    ),
    now(
        "named, in a block",
        &[
            "Query \"begin\"",
            "Parse \"n\" \"{}\"\nDescribe S \"n\"\nSync",
            "Bind \"\" \"n\" / / 1\nExecute \"\" 0\nClose S \"n\"\nSync",
            "Query \"commit\"",
        ],
    ),
    now("prepared", &["Query \"prepare p as {}\"", "Query \"execute p\"", "Query \"execute p\"", "Query \"deallocate p\""]),
    now("copied", &["Query \"copy ({}) to stdout\""]),
    now(
        "by a cursor",
        &["Query \"begin; declare c cursor for {}\"", "Query \"fetch 1 from c\"", "Query \"fetch all from c\"", "Query \"commit\""],
    ),
    now("by a cursor that is held", &["Query \"declare c cursor with hold for {}\"", "Query \"fetch all from c\"", "Query \"close c\""]),
    kept("kept, unnamed", &["Parse \"\" \"{}\"\nBind \"\" \"\" / /\nExecute \"\" 0\nSync"], &["Query \"{}\""]),
    kept(
        "kept, named and described",
        &["Parse \"k\" \"{}\"\nDescribe S \"k\"\nSync"],
        &["Bind \"\" \"k\" / / 1\nExecute \"\" 0\nSync", "Close S \"k\"\nSync"],
    ),
    kept(
        "kept, named and run",
        &["Parse \"k\" \"{}\"\nBind \"\" \"k\" / /\nExecute \"\" 0\nSync"],
        &["Query \"begin\"", "Bind \"\" \"k\" / / 1\nDescribe P \"\"\nExecute \"\" 0\nSync", "Query \"rollback\"", "Close S \"k\"\nSync"],
    ),
    kept("kept, prepared", &["Query \"prepare k as {}\"", "Query \"execute k\""], &["Query \"execute k\"", "Query \"deallocate k\""]),
];

/// What a server says to these messages, up to ReadyForQuery; of an error its code, unless `whole`.
pub(super) fn said(wire: &mut Wire, messages: &str, whole: bool) -> Vec<String> {
    let nobody = Login { port: 0, user: String::new(), database: String::new() };
    let bytes: Vec<u8> = messages.lines().flat_map(|message| encoded(message, &nobody)).collect();
    wire.send_raw(&bytes).unwrap();
    let messages = wire.until_ready().unwrap();
    let told = messages.iter().filter(|message| !matches!(message.tag, b'N' | b'S')).filter_map(|message| match message.tag {
        b'E' if !whole => Some(format!("ErrorResponse {}", message.field('C').unwrap())),
        b'E' => Some(format!("ErrorResponse {:?}", message.strings())),
        _ => line(message),
    });
    told.collect()
}
