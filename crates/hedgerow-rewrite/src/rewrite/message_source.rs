//! One message as the steps of the rewriting receive it.

use super::message::{Context, Message};

/// A message and its effective context: its own, the batch's, or both merged.
#[derive(Clone, Copy)]
pub(super) struct MessageSource<'t> {
    pub(super) text: &'t [u8],
    pub(super) message: &'t Message,
    pub(super) context_text: &'t [u8],
    pub(super) context: &'t Context,
    /// `text` and `context_text` as `str`.
    pub(super) utf8: &'t str,
    pub(super) context_utf8: &'t str,
}
