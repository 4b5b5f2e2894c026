#![no_main]

mod site;
use site::edge;

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::html(data));
