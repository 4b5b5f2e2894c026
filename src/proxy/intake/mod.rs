//! Handles a Segment request, from its header to its answer.

pub(crate) mod intercept;
pub(crate) mod keys;
pub(crate) mod long_work;
pub(crate) mod refusals;
mod request_end;
pub(crate) mod upload;
mod upload_mode;
mod upload_state;
pub(crate) mod work_slice;
