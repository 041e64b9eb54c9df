#![no_main]
//! `oat_operator::fuzzing::older_status` on what libFuzzer finds.

libfuzzer_sys::fuzz_target!(|data: &[u8]| oat_operator::fuzzing::older_status(data));
