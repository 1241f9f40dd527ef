//! What is fuzzed: functions of bytes that panic when a promise is broken. `fuzz/` gives them to libFuzzer, `tests/it/fuzz`
//! replays the corpus and mutates it with the stable toolchain.

pub(crate) mod journal;
pub(crate) mod policy;
pub(crate) mod sent;
pub(crate) mod statement;
pub(crate) mod template;
pub(crate) mod wire;
