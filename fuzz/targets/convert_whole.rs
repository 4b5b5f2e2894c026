#![no_main]

#[path = "../properties/engine.rs"]
#[allow(dead_code)]
mod engine;

libfuzzer_sys::fuzz_target!(|data: &[u8]| engine::convert_whole(data));
