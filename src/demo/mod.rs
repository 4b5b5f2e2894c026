//! The demo: a stand-in for PostHog, so that the whole way of an event can be
//! seen on one machine, without a network, an account or a key.
//!
//! [`capture`] answers as PostHog's capture service does and remembers what it took. The tests
//! use it as their PostHog. It is no PostHog: behind capture's rules there are no persons, no
//! sessions, no queries, and nothing is kept on disk. Its rules are written from PostHog's source
//! (posthog-ingestion) and were never run against the real service.
//!
//! Nothing here listens: it is a [`Handler`](http::Handler) on plain values.

pub mod capture;
pub mod http;
