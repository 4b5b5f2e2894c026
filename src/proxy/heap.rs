//! Puts a large future on the heap without a copy of its whole size.

use std::future::Future;
use std::pin::Pin;

/// Allocates memory for the future, and then calls `make`, so that the optimised build can write the future
/// there directly.
///
/// `Box::pin` builds a future on the stack first. If the allocation failed, it would have to be dropped
/// there, so the compiler copies all of its bytes to the heap, most of which are not initialised yet. A
/// request's future has several kilobytes, and a few hundred bytes of them are its arguments.
#[inline(always)]
pub(crate) fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let memory = Box::new_uninit();
    Box::into_pin(Box::write(memory, make()))
}
