//! One decision for every text of a shape: filled with another text's values, it is what deciding on that text gives.

use std::fmt::Debug;

use pgwicket::{
    govern::{AppendedValue, GovernedStatement, Template},
    sql::Shape,
};

use super::statement::decide;

/// Values that mean something to the grammar, to the kernel, to an input function or to the planner.
const STRINGS: [&str; 20] = [
    "",
    "a",
    "now",
    " Today ",
    "{now,x}",
    "acme",
    "globex",
    "2024-01-01",
    "04:05",
    "%",
    "a%",
    "simple",
    "C",
    "UTC",
    "1",
    "{1,2}",
    "[1,2)",
    "1 day",
    "(1,now)",
    "é",
];
const NUMBERS: [&str; 9] = ["0", "1", "2", "3", "7", "42", "100", "65536", "999999999"];

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has no template, or the other text does not fit it.
    None,
    /// The template was filled.
    Filled,
    /// With parameters in place of the values.
    Lifted,
}

/// `bytes`: a text, a zero byte, and what its literals are replaced by.
pub(crate) fn run(bytes: &[u8]) -> Fate {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    let choices = bytes.get(end + 1..).filter(|choices| !choices.is_empty()).unwrap_or(bytes);
    let mut shape = Shape::default();
    if !shape.read(&text) {
        return Fate::None;
    }
    let Some(template) = decide(&text).and_then(|statement| Template::of(&statement, &text, &shape)) else { return Fate::None };
    let other = replaced(&text, &shape, choices);
    let mut its = Shape::default();
    assert!(its.read(&other) && its.key == shape.key, "{text}\n{other}: another shape");
    let Some(filled) = template.fill(&other, &its.slots) else { return Fate::None };
    let Some(decided) = decide(&other) else { panic!("{other}\nis refused, and the template of\n{text}\ngives\n{}", filled.text()) };
    let same = |what: &str, one: &dyn Debug, two: &dyn Debug| {
        let (one, two) = (format!("{one:?}"), format!("{two:?}"));
        assert_eq!(one, two, "{what} of\n{other}\nby the template of\n{text}");
    };
    same("the text", &written(&filled, &decided), &decided.text());
    same("relations", &filled.relations(), &decided.relations());
    same("the source", &filled.source(), &decided.source());
    same("limits", &(filled.limit(), filled.evidence()), &(decided.limit(), decided.evidence()));
    same("the fence", &filled.fenced(), &decided.fenced());
    same("the fingerprint", &filled.fingerprint(), &decided.fingerprint());
    same("rules", &filled.rules(), &decided.rules());
    same("the policy", &(filled.epoch(), filled.policy_digest()), &(decided.epoch(), decided.policy_digest()));
    same("parameters", &filled.client_parameters(), &decided.client_parameters());
    let appended = decided.appended();
    same("what is appended", &filled.appended().get(..appended.len()), &Some(appended));
    assert!(filled.reads_clock() || !decided.reads_clock(), "{other}\nreads the clock, by the template of\n{text}\nit does not");
    let (sent, own) = (filled.text(), decided.text());
    let characters: Vec<char> = sent.chars().collect();
    for at in (1..characters.len()).step_by(7).filter(|at| characters[at - 1] != '$' && !characters[at - 1].is_ascii_digit()) {
        let there = filled.position_in(&decided, at + 1);
        let there = there.unwrap_or_else(|| panic!("{} of {sent} is nowhere in {own}", at + 1));
        assert!(filled.is_lifted() || there == at + 1, "{} of {sent} is {there}", at + 1);
    }
    if filled.is_lifted() { Fate::Lifted } else { Fate::Filled }
}

/// The text with other values in its slots, one byte of choice each.
fn replaced(text: &str, shape: &Shape, choices: &[u8]) -> String {
    let mut choices = choices.iter().copied().cycle();
    let (mut other, mut copied) = (String::new(), 0);
    for slot in &shape.slots {
        let is = &text[slot.clone()];
        other.push_str(&text[copied..slot.start]);
        let choice = usize::from(choices.next().unwrap_or(0));
        let kept = choice >= 192;
        match (kept, is.starts_with('\'')) {
            (true, _) => other.push_str(is),
            (false, true) => other.extend(["'", STRINGS[choice % STRINGS.len()], "'"]),
            (false, false) => other.push_str(NUMBERS[choice % NUMBERS.len()]),
        }
        copied = slot.end;
    }
    other + &text[copied..]
}

/// What is sent, with the values of what was lifted out of it in their places.
fn written(filled: &GovernedStatement, decided: &GovernedStatement) -> String {
    let first = filled.client_parameters() + decided.appended().len() + 1;
    let mut values = filled.appended().iter().skip(decided.appended().len());
    let lifted = values.clone().count();
    let mut text = filled.text().to_owned();
    for number in (first..first + lifted).rev() {
        let Some(AppendedValue::Constant(value)) = values.next_back().map(|appended| &appended.value) else { panic!("{filled:?}") };
        let (before, after) = text.split_once(&format!("${number}")).unwrap_or_else(|| panic!("no ${number} in {text}"));
        text = format!("{before}{value}{after}");
    }
    text
}
