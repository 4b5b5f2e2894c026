#![no_main]

#[path = "../../crates/hedgerow-rewrite/tests/independent/mod.rs"]
#[allow(dead_code)]
mod independent;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(difference) = independent::raw(data) {
        panic!("{difference}");
    }
});
