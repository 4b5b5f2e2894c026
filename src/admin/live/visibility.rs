//! Whether the pages may show the original text of a message.

/// Whether the original text of a message may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// The text may be shown.
    Shown,
    /// Only the parts that were sent to PostHog may be shown: the configuration removes the other parts,
    /// because no page may show them.
    Redacted,
}
