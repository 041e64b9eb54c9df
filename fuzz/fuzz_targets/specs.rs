#![no_main]
//! `oat_operator::fuzzing::specs` on what libFuzzer finds.

libfuzzer_sys::fuzz_target!(|data: &[u8]| oat_operator::fuzzing::specs(data));
