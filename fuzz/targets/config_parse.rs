#![no_main]

#[path = "../properties/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| config::config_parse(data));
