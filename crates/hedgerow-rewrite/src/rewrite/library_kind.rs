//! Where a library runs.

/// Where a library runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LibraryKind {
    /// In a visitor's browser.
    Browser,
    /// On a visitor's phone, or another device of theirs.
    Mobile,
    /// On a machine of the sender's.
    Server,
    /// The message does not say.
    Unknown,
}

impl LibraryKind {
    /// Whether the client's address is the user's.
    pub(super) fn runs_on_a_device(self) -> bool {
        matches!(self, Self::Browser | Self::Mobile)
    }
}
