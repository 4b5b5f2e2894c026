//! Segment's real libraries make their six calls through the real binary, and the tests check each
//! event that reaches the stand-in for PostHog.
//!
//! `make test` installs the libraries and a browser. Without them these tests print that they were
//! skipped; with `HEDGEROW_CLIENTS=required` they fail.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "real_clients/browser.rs"]
mod browser;
#[path = "real_clients/chromium.rs"]
mod chromium;
#[path = "real_clients/events.rs"]
mod events;
#[path = "real_clients/installed.rs"]
mod installed;
#[path = "real_clients/live_view.rs"]
mod live_view;
#[path = "real_clients/live_view_flood.rs"]
mod live_view_flood;
#[path = "real_clients/origin.rs"]
mod origin;
#[path = "real_clients/page.rs"]
mod page;
#[path = "real_clients/script.rs"]
mod script;
#[path = "real_clients/servers.rs"]
mod servers;
#[path = "real_clients/setup.rs"]
mod setup;
#[path = "real_clients/shop.rs"]
mod shop;
#[path = "support/started.rs"]
mod started;
mod support;
#[path = "real_clients/visits.rs"]
mod visits;
