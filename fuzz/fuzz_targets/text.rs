//! `wire::fuzz::text` on whatever libFuzzer comes up with.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::fuzz::text(data));
