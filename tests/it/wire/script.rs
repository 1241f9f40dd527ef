//! The format of `tests/wire/*.pgt`.
//!
//! ```text
//! # A comment
//! case what it shows                     a session of its own, logged in
//! case what it shows, unconnected        a connection that has said nothing: `start` sends a startup packet
//! > Query "select 1; select 2"           sends a message; several lines go out together
//! until ReadyForQuery                    reads up to the first message of that name, the end, or an error of severity FATAL
//! < CommandComplete SELECT 1             what both servers answer
//! <1 …                                   what PostgreSQL alone answers
//! <2 …                                   what pgwicket alone answers, and why in a comment
//! ```
//!
//! Messages: `Query TEXT`, `Parse NAME TEXT OID*`, `Bind PORTAL STATEMENT FORMAT* / VALUE* / FORMAT*`, `Describe S|P NAME`,
//! `Execute PORTAL ROWS`, `Close S|P NAME`, `Flush`, `Sync`, `CopyFail TEXT`, `CopyDone`, `Raw TAG PART*`, `Start PART*`, `Bytes PART*`;
//! parts are `"text\0"`, `i16:1`, `i32:1`. A value is quoted, or `null`. `{n*TEXT}` inside a text repeats it.

use super::render;
use crate::support::{Login, Message, Wire};

/// A script file.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    /// What stands before the first case.
    head: Vec<&'a str>,
    pub(super) cases: Vec<Case<'a>>,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    title: &'a str,
    steps: Vec<Step<'a>>,
}

#[derive(Debug)]
enum Step<'a> {
    Comment(&'a str),
    Send(&'a str),
    Until(&'a str, Vec<&'a str>),
}

/// What both servers answered to one `until`.
pub(crate) struct Answered {
    postgresql: Vec<String>,
    pgwicket: Vec<String>,
}

impl<'a> Script<'a> {
    /// Reads a file.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut script = Self { head: Vec::new(), cases: Vec::new() };
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("case ") {
                script.cases.push(Case { title, steps: Vec::new() });
                continue;
            }
            let Some(case) = script.cases.last_mut() else {
                script.head.push(line);
                continue;
            };
            if let Some(message) = line.strip_prefix("> ") {
                case.steps.push(Step::Send(message));
            } else if let Some(name) = line.strip_prefix("until ") {
                case.steps.push(Step::Until(name, Vec::new()));
            } else if line.starts_with('<') {
                let Some(Step::Until(_, expected)) = case.steps.last_mut() else { panic!("expected of nothing: {line}") };
                expected.push(line);
            } else {
                assert!(line.is_empty() || line.starts_with('#'), "not a line of a script: {line}");
                case.steps.push(Step::Comment(line));
            }
        }
        script
    }

    /// Plays every case to both; the answers to each `until`, in order.
    pub(crate) fn play(&self, postgresql: &Login, pgwicket: &Login) -> Vec<Vec<Answered>> {
        let both = |case: &Case<'_>| {
            let (first, second) = (case.play(postgresql), case.play(pgwicket));
            first.into_iter().zip(second).map(|(postgresql, pgwicket)| Answered { postgresql, pgwicket }).collect()
        };
        self.cases.iter().map(both).collect()
    }

    /// What is not as the script says.
    pub(super) fn differences(&self, answered: &[Vec<Answered>]) -> Vec<String> {
        let mut differences = Vec::new();
        for (case, answers) in self.cases.iter().zip(answered) {
            for ((_, expected), answer) in case.untils().zip(answers) {
                for (server, mark, seen) in [("PostgreSQL", "<1 ", &answer.postgresql), ("pgwicket", "<2 ", &answer.pgwicket)] {
                    let wanted = expected.iter().filter_map(|line| line.strip_prefix("< ").or_else(|| line.strip_prefix(mark)));
                    if !wanted.clone().eq(seen.iter().map(String::as_str)) {
                        let wanted: Vec<&str> = wanted.collect();
                        differences.push(format!(
                            "case {}: {server} answers\n  {}\ninstead of\n  {}",
                            case.title,
                            seen.join("\n  "),
                            wanted.join("\n  ")
                        ));
                    }
                }
            }
        }
        differences
    }

    /// Where the two did not answer the same: each case up to there.
    pub(crate) fn disagreements(&self, answered: &[Vec<Answered>]) -> Vec<String> {
        let mut found = Vec::new();
        for (case, answers) in self.cases.iter().zip(answered) {
            let Some(at) = answers.iter().position(|answer| answer.postgresql != answer.pgwicket) else { continue };
            let Answered { postgresql, pgwicket } = &answers[at];
            let mut untils = 0;
            let sent = case.steps.iter().take_while(|step| {
                untils += usize::from(matches!(step, Step::Until(..)));
                untils <= at
            });
            let sent: Vec<&str> = sent.filter_map(|step| if let Step::Send(message) = step { Some(*message) } else { None }).collect();
            found.push(format!(
                "case {}\n> {}\nPostgreSQL\n  {}\npgwicket\n  {}",
                case.title,
                sent.join("\n> "),
                postgresql.join("\n  "),
                pgwicket.join("\n  ")
            ));
        }
        found
    }

    /// The file with what was answered in place of what it expects.
    pub(super) fn written(&self, answered: &[Vec<Answered>]) -> String {
        let mut lines: Vec<String> = self.head.iter().map(|line| (*line).to_owned()).collect();
        for (case, answers) in self.cases.iter().zip(answered) {
            let mut answers = answers.iter();
            lines.push(format!("case {}", case.title));
            for step in &case.steps {
                match step {
                    Step::Comment(line) => lines.push((*line).to_owned()),
                    Step::Send(message) => lines.push(format!("> {message}")),
                    Step::Until(name, _) => {
                        lines.push(format!("until {name}"));
                        lines.extend(answers.next().map_or_else(Vec::new, Answered::lines));
                    }
                }
            }
        }
        lines.join("\n") + "\n"
    }
}

impl Answered {
    /// The answers as a script has them.
    fn lines(&self) -> Vec<String> {
        if self.postgresql == self.pgwicket {
            return self.pgwicket.iter().map(|line| format!("< {line}")).collect();
        }
        let same = self.postgresql.iter().zip(&self.pgwicket).take_while(|(one, other)| one == other).count();
        let mut lines: Vec<String> = self.pgwicket[..same].iter().map(|line| format!("< {line}")).collect();
        lines.extend(self.postgresql[same..].iter().map(|line| format!("<1 {line}")));
        lines.extend(self.pgwicket[same..].iter().map(|line| format!("<2 {line}")));
        lines
    }
}

impl<'a> Case<'a> {
    fn untils(&self) -> impl Iterator<Item = (&'a str, &Vec<&'a str>)> {
        self.steps.iter().filter_map(|step| if let Step::Until(name, expected) = step { Some((*name, expected)) } else { None })
    }

    fn play(&self, login: &Login) -> Vec<Vec<String>> {
        let unconnected = self.title.ends_with(", unconnected");
        let mut wire = if unconnected { Wire::open(login.port) } else { login.wire() }.unwrap();
        let (mut answers, mut sent) = (Vec::new(), Vec::new());
        for step in &self.steps {
            match step {
                Step::Comment(_) => {}
                Step::Send(message) => sent.extend(encoded(message, login)),
                Step::Until(name, _) => {
                    // A server that has closed already is an answer, read next.
                    drop(wire.send_raw(&std::mem::take(&mut sent)));
                    answers.push(answer(&mut wire, name));
                }
            }
        }
        answers
    }
}

fn answer(wire: &mut Wire, until: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if until == "byte" {
        let byte = wire.receive_byte();
        return vec![byte.map_or_else(|_| "closed".to_owned(), |byte| format!("byte {}", char::from(byte)))];
    }
    loop {
        let message: Message = match wire.receive() {
            Ok(message) => message,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                lines.push("nothing more".to_owned());
                return lines;
            }
            Err(_) => {
                lines.push("closed".to_owned());
                return lines;
            }
        };
        let Some(line) = render::line(&message) else { continue };
        let last = line == until || line.strip_prefix(until).is_some_and(|rest| rest.starts_with([' ', ',']));
        lines.push(line);
        if last {
            return lines;
        }
    }
}

/// The bytes of a message.
pub(crate) fn encoded(text: &str, login: &Login) -> Vec<u8> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let words = words(&rest.replace("{user}", &login.user).replace("{database}", &login.database));
    let (tag, body) = match name {
        "Query" => (b'Q', string(&words[0])),
        "Parse" => {
            let mut body = [string(&words[0]), string(&words[1])].concat();
            body.extend(count(words.len() - 2));
            body.extend(words[2..].iter().flat_map(|oid| oid.parse::<u32>().unwrap().to_be_bytes()));
            (b'P', body)
        }
        "Bind" => (b'B', bind(&words)),
        "Describe" => (b'D', [words[0].clone().into_bytes(), string(&words[1])].concat()),
        "Close" => (b'C', [words[0].clone().into_bytes(), string(&words[1])].concat()),
        "Execute" => (b'E', [string(&words[0]), words[1].parse::<i32>().unwrap().to_be_bytes().to_vec()].concat()),
        "Flush" => (b'H', Vec::new()),
        "Sync" => (b'S', Vec::new()),
        "Terminate" => (b'X', Vec::new()),
        "CopyDone" => (b'c', Vec::new()),
        "CopyFail" => (b'f', string(&words[0])),
        "Raw" => (words[0].as_bytes()[0], parts(&words[1..])),
        "Bytes" => return parts(&words),
        "Start" => {
            let body = parts(&words);
            return [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat();
        }
        other => panic!("no message {other}"),
    };
    [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), &body].concat()
}

/// `PORTAL STATEMENT FORMAT* / VALUE* / FORMAT*`
fn bind(words: &[String]) -> Vec<u8> {
    let mut body = [string(&words[0]), string(&words[1])].concat();
    let lists: Vec<&[String]> = words[2..].split(|word| word == "/").collect();
    let [formats, values, results] = lists[..] else { panic!("three lists, with / between") };
    let codes = |list: &[String]| {
        let mut bytes = count(list.len()).to_vec();
        bytes.extend(list.iter().flat_map(|code| code.parse::<i16>().unwrap().to_be_bytes()));
        bytes
    };
    body.extend(codes(formats));
    body.extend(count(values.len()));
    for value in values {
        if value == "null" {
            body.extend((-1_i32).to_be_bytes());
        } else {
            let value = value.strip_prefix('=').unwrap();
            body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(value.bytes());
        }
    }
    body.extend(codes(results));
    body
}

/// Words, quoted ones without their quotes; a quoted value of a Bind is written `="…"`.
fn words(text: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let (prefix, quoted) = match rest.strip_prefix("=\"") {
            Some(quoted) => ("=", Some(quoted)),
            None => ("", rest.strip_prefix('"')),
        };
        let (word, after) = match quoted.map(|quoted| quoted.split_once('"').unwrap()) {
            Some((word, after)) => (format!("{prefix}{}", repeated(&unescaped(word))), after),
            None => rest.split_once(' ').map_or_else(|| (rest.to_owned(), ""), |(word, after)| (word.to_owned(), after)),
        };
        found.push(word);
        rest = after.trim_start();
    }
    found
}

fn unescaped(text: &str) -> String {
    text.replace("\\0", "\0").replace("\\n", "\n").replace("\\q", "\"").replace("\\t", "\t")
}

/// `{3*ab}` is `ababab`.
fn repeated(text: &str) -> String {
    let Some((before, rest)) = text.split_once('{') else { return text.to_owned() };
    let Some((number, rest)) = rest.split_once('*').filter(|(number, _)| number.parse::<usize>().is_ok()) else {
        return format!("{before}{{{}", repeated(rest));
    };
    let (what, after) = rest.split_once('}').unwrap();
    format!("{before}{}{}", what.repeat(number.parse().unwrap()), repeated(after))
}

fn parts(words: &[String]) -> Vec<u8> {
    let part = |word: &String| match word.split_once(':') {
        Some(("i16", number)) => number.parse::<i16>().unwrap().to_be_bytes().to_vec(),
        Some(("i32", number)) => number.parse::<i32>().unwrap().to_be_bytes().to_vec(),
        _ => word.clone().into_bytes(),
    };
    words.iter().flat_map(part).collect()
}

fn string(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn count(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_be_bytes()
}
