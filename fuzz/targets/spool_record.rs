#![no_main]

mod site;
use site::edge;

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::spool_record(data));
