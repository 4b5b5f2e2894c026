//! On what kind of machine a library runs.

/// On what kind of machine a library runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LibraryKind {
    /// In a visitor's browser.
    Browser,
    /// On a visitor's phone or other device.
    Mobile,
    /// On a server of the sender.
    Server,
    /// Unknown: the message does not name its library.
    Unknown,
}

impl LibraryKind {
    /// Returns whether the client's address is the user's address.
    pub(super) fn runs_on_a_device(self) -> bool {
        matches!(self, Self::Browser | Self::Mobile)
    }
}
