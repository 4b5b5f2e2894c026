//! A validating scanner: in one pass it finds the position of each value of a message, and checks
//! whether the text can be copied unchanged.
//!
//! Text that is almost JSON (`NaN`, lone surrogates, a repeated key …) is not refused but marked
//! [unclean](Cleanliness::Unclean); `repair` then writes a clean copy, which is scanned again. So
//! readers of entries can rely on this: no key is repeated, keys have no needless escapes, and
//! capture's parser accepts all strings and numbers.

mod container;
mod cursor;
mod entries;
mod expected_keys;
mod flat_search;
mod forms;
mod key;
mod key_recorder;
mod key_tracker;
mod memory;
mod number;
mod object_kind;
mod objects;
mod plain_key;
mod plain_string;
mod scalars;
mod values;

pub(in crate::rewrite) use cursor::{Cleanliness, Scanner};
pub(in crate::rewrite) use entries::EntryReceiver;
pub(in crate::rewrite) use flat_search::{find_flat_key, FlatSearch};
pub(in crate::rewrite) use key::Key;
pub(in crate::rewrite) use memory::Scratch;
pub(super) use number::{fits_a_double, hex4};
pub(in crate::rewrite) use object_kind::ObjectKind;

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
