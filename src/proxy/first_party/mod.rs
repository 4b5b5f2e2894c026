//! Serves posthog-js with its files and settings, and the files of analytics.js.

pub(crate) mod files;
pub(crate) mod library;
pub(crate) mod posthog;
