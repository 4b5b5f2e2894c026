//! Exchanges that broke off.

use super::answer::NotHttp;
use crate::proxy::outbound::verdict::Trouble;

/// An exchange that broke off.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) how: How,
    why: String,
}

/// How an exchange broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing could be read or written in time.
    Late,
    /// What came was no HTTP.
    NotHttp,
    /// The connection was closed.
    Closed,
}

impl Broken {
    pub(super) fn new(how: How, why: impl Into<String>) -> Self {
        Self {
            how,
            why: why.into(),
        }
    }

    pub(crate) fn trouble(&self) -> Trouble {
        match self.how {
            How::Late => Trouble::Timeout,
            How::NotHttp | How::Closed => Trouble::Closed,
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.why)
    }
}

impl From<NotHttp> for Broken {
    fn from(_: NotHttp) -> Self {
        Self::new(How::NotHttp, "no answer in HTTP")
    }
}
