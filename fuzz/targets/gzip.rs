#![no_main]

#[path = "../properties/parts.rs"]
#[allow(dead_code)]
mod parts;

libfuzzer_sys::fuzz_target!(|data: &[u8]| parts::gzip(data));
