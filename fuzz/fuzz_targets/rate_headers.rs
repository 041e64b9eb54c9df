#![no_main]
//! `oat_operator::hub::fuzzing::rate_headers` on what libFuzzer finds.

libfuzzer_sys::fuzz_target!(|data: &[u8]| oat_operator::hub::fuzzing::rate_headers(data));
