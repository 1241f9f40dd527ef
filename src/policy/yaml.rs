//! YAML text → a tree that knows where everything stands. Built from `saphyr-parser`'s events, because
//! ready-made trees drop what a policy must report: duplicate keys, and the place of keys.
//! Bounded: depth, nodes (aliases count what they expand to). Tags and merge keys are refused.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::problem::{Place, Problems};

/// How deep mappings and lists may nest.
const DEEPEST: usize = 32;
/// How many values one file may hold, alias expansions counted.
const MOST_NODES: usize = 100_000;
/// How long one file may be.
const LONGEST: usize = 4 << 20;

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Text, and whether it was written without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Entries in order; keys are scalars.
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// A plain `null`, `~` or nothing at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    fn size(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Mapping(entries) => 1 + entries.iter().map(|(key, value)| key.size() + value.size()).sum::<usize>(),
        }
    }

    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Mapping(entries) => 1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
        }
    }
}

/// The one document of a file; `None` when the file is empty or not YAML (which is then noted).
pub(super) fn parse(file: &Arc<str>, text: &str, problems: &mut Problems) -> Option<Node> {
    let whole = Place { file: Arc::clone(file), line: 0, column: 0 };
    if text.len() > LONGEST {
        problems.error(&whole, format!("the file is longer than {} MiB", LONGEST >> 20)).hint("split it");
        return None;
    }
    let mut builder = Builder { file, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut parser = Parser::new_from_str(text);
    while let Some(step) = parser.next_event() {
        let (event, span) = match step {
            Ok(step) => step,
            Err(error) => {
                let at = builder.place(*error.marker());
                problems.error(&at, format!("not valid YAML: {}", error.info()));
                return None;
            }
        };
        let at = builder.place(span.start);
        if let Err(stop) = builder.take(event, at.clone(), problems) {
            problems.error(&at, stop.message).hint(stop.hint);
            return None;
        }
    }
    builder.root
}

/// Why reading stops.
struct Stop {
    message: &'static str,
    hint: &'static str,
}

struct Open {
    anchor: usize,
    at: Place,
    holder: Holder,
}

enum Holder {
    List(Vec<Node>),
    Mapping { entries: Vec<(Node, Node)>, key: Option<Node> },
}

struct Builder<'a> {
    file: &'a Arc<str>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn place(&self, marker: Marker) -> Place {
        Place { file: Arc::clone(self.file), line: marker.line(), column: marker.col() + 1 }
    }

    fn take(&mut self, event: Event<'_>, at: Place, problems: &mut Problems) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Stop { message: "a second YAML document in one file", hint: "put it into its own file, or remove the `---`" })
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some())?;
                let plain = style == ScalarStyle::Plain;
                self.finish(anchor, Node { at, value: Value::Scalar { text: Cow::into_owned(text), plain } }, problems)
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.is_some())?;
                self.open(Open { anchor, at, holder: Holder::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.is_some())?;
                self.open(Open { anchor, at, holder: Holder::Mapping { entries: Vec::new(), key: None } })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(problems),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or(Stop {
                    message: "an alias inside the value it names",
                    hint: "an alias may only repeat a value that is complete",
                })?;
                if self.open.len() + node.depth() > DEEPEST {
                    return Err(TOO_DEEP);
                }
                self.nodes += node.size();
                self.finish(0, node, problems)
            }
        }
    }

    fn open(&mut self, open: Open) -> Result<(), Stop> {
        if self.open.len() >= DEEPEST {
            return Err(TOO_DEEP);
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, problems: &mut Problems) -> Result<(), Stop> {
        let Some(Open { anchor, at, holder }) = self.open.pop() else { return Ok(()) };
        let value = match holder {
            Holder::List(items) => Value::List(items),
            Holder::Mapping { entries, .. } => Value::Mapping(entries),
        };
        self.finish(anchor, Node { at, value }, problems)
    }

    /// A value is complete: remember its anchor, hand it to what holds it.
    fn finish(&mut self, anchor: usize, node: Node, problems: &mut Problems) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(Stop { message: "more than 100000 values in one file (what aliases repeat is counted)", hint: "split the file" });
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.holder) {
            None => self.root = Some(node),
            Some(Holder::List(items)) => items.push(node),
            Some(Holder::Mapping { entries, key }) => match key.take() {
                None => *key = Some(check_key(node)?),
                Some(key) => add_entry(entries, key, node, problems),
            },
        }
        Ok(())
    }
}

const TOO_DEEP: Stop = Stop { message: "nested too deeply", hint: "a policy never nests deeper than 32 levels" };

fn refuse_tag(tagged: bool) -> Result<(), Stop> {
    if tagged {
        return Err(Stop { message: "YAML tags (`!…`) are not read", hint: "write the value without the tag" });
    }
    Ok(())
}

fn check_key(key: Node) -> Result<Node, Stop> {
    match &key.value {
        Value::Scalar { text, plain: true } if text == "<<" => Err(Stop {
            message: "merge keys (`<<`) are not read",
            hint: "write the fields out; an alias (`*name`) may repeat a whole value",
        }),
        Value::Scalar { .. } => Ok(key),
        Value::List(_) | Value::Mapping(_) => Err(Stop { message: "a key must be a single value", hint: "write `name: value`" }),
    }
}

fn add_entry(entries: &mut Vec<(Node, Node)>, key: Node, value: Node, problems: &mut Problems) {
    let name = key.text();
    match entries.iter().find(|(earlier, _)| earlier.text() == name) {
        Some((earlier, _)) => {
            problems.error(&key.at, format!("duplicate key `{name}`, first given at {}", earlier.at)).hint("keep one of the two");
        }
        None => entries.push((key, value)),
    }
}

impl Node {
    /// The text of a scalar; empty for anything else.
    pub(super) fn text(&self) -> &str {
        match &self.value {
            Value::Scalar { text, .. } => text,
            Value::List(_) | Value::Mapping(_) => "",
        }
    }
}
