//! The operator's tools: admin pages, `doctor`, and the comparison with a running process.

pub(crate) mod admin;
#[cfg(feature = "server")]
pub(crate) mod doctor;
#[cfg(feature = "server")]
pub(crate) mod running;
