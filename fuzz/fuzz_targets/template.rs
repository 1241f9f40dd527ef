//! libFuzzer over two texts of one shape, decided as one; the body is shared with the tests.
#![no_main]
#![allow(dead_code, reason = "each target is one of the shared ones")]

#[path = "../../tests/it/fuzz/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _fate = targets::template::run(bytes);
});
