#![no_main]
//! `oat_operator::hub::fuzzing::token_service` on what libFuzzer finds.

libfuzzer_sys::fuzz_target!(|data: &[u8]| oat_operator::hub::fuzzing::token_service(data));
