//! Sends batches to PostHog, streamed or in groups, and forwards requests to a Segment account.

pub(crate) mod account;
pub(crate) mod group;
mod group_batch;
pub(crate) mod stream;
pub(crate) mod upload_error;
