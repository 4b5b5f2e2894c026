//! Only tests: see `tests/addresses.rs`.
