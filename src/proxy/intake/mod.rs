//! A Segment request: its body, what happens to it, and its answer.

pub(crate) mod access;
pub(crate) mod account;
pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod group;
pub(crate) mod intercept;
pub(crate) mod keys;
pub(crate) mod long_work;
pub(crate) mod refusals;

pub(crate) mod stream;
pub(crate) mod upload;
pub(crate) mod upload_error;
mod upload_target;
pub(crate) mod visitor;
pub(crate) mod work_slice;
