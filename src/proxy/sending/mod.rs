//! Batches and requests on their way out: alone, together with others, or to a Segment account.

pub(crate) mod account;
pub(crate) mod group;
pub(crate) mod stream;
pub(crate) mod upload_error;
