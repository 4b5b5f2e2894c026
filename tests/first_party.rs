//! The real analytics.js and the real posthog-js in headless Chromium, and in Firefox with the real
//! uBlock Origin. The real binary serves the pages with the output of `hedgerow init` and `hedgerow
//! snippet`.
//!
//! `make test` installs the libraries and the browsers. Without them these tests print that they
//! were skipped; with `HEDGEROW_CLIENTS=required` they fail.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "first_party/absences.rs"]
mod absences;
#[path = "support/address.rs"]
mod address;
#[path = "first_party/check.rs"]
mod check;
#[path = "first_party/early.rs"]
mod early;
#[path = "first_party/frameworks.rs"]
mod frameworks;
#[path = "first_party/installations.rs"]
mod installations;
#[path = "real_clients/installed.rs"]
mod installed;
#[path = "first_party/line.rs"]
mod line;
#[path = "first_party/page_sessions.rs"]
mod page_sessions;
#[path = "first_party/pages.rs"]
mod pages;
#[path = "first_party/quick_start.rs"]
mod quick_start;
#[path = "outage/relay.rs"]
mod relay;
#[path = "real_clients/script.rs"]
mod script;
#[path = "first_party/setup.rs"]
mod setup;
#[path = "first_party/stand_in.rs"]
mod stand_in;
#[path = "support/started.rs"]
mod started;
#[path = "support/tls.rs"]
mod tls;
#[path = "first_party/ublock.rs"]
mod ublock;
#[path = "first_party/unanswered.rs"]
mod unanswered;
#[path = "first_party/vendors.rs"]
mod vendors;
#[path = "first_party/visitor.rs"]
mod visitor;
#[path = "first_party/visits.rs"]
mod visits;
