//! The modules that use Pingora types: the call for a host proxy, the client of PostHog, and the site
//! proxy of the `hedgerow` binary.
//!
//! A Segment request ends in the host's `request_filter`: its body is read and rewritten there,
//! sent to PostHog over the framework's connectors, and answered. It does not pass through the
//! proxying phases, so their pitfalls do not apply.

#[cfg(feature = "acme")]
mod acme;
#[cfg(all(feature = "server", not(feature = "acme")))]
#[path = "acme/off.rs"]
mod acme;
mod active_config;
mod build;
mod build_error;
#[cfg(feature = "server")]
mod certificate;
mod client;
mod compile;
mod first_party;
mod handler_app;
#[cfg(feature = "server")]
mod heap;
mod hedgerow;
mod intake;
#[cfg(feature = "server")]
mod lifecycle;
mod limits;
#[cfg(feature = "server")]
mod listen;
mod long_lived_state;
mod operator;
mod outbound;
mod random;
mod relay;
mod reloads;
mod reply;
mod request;
mod request_records;
mod routes;
mod sending;
#[cfg(feature = "server")]
mod server_error;
#[cfg(feature = "server")]
mod site;
mod spool;
mod state;
mod telemetry;

pub use crate::admin::ForwardCounts;
pub use build::Builder;
pub use build_error::BuildError;
pub use first_party::library::{check_libraries, fetch_libraries, FetchError};
pub use handler_app::HandlerApp;
pub use hedgerow::Hedgerow;
#[cfg(feature = "server")]
pub use server_items::*;
pub use telemetry::watcher::{Counts, Observer};

/// The items of the server, which a host proxy's build does not have.
#[cfg(feature = "server")]
mod server_items {
    pub use crate::proxy::lifecycle::descriptors::allow_descriptors;
    pub use crate::proxy::lifecycle::reload::{ConfigFile, ReloadError};
    pub use crate::proxy::lifecycle::server::Server;
    pub use crate::proxy::lifecycle::signals::{outlive_signals, ProcessSignals};
    pub use crate::proxy::lifecycle::start_check::{check_server, StartCheck};
    pub use crate::proxy::lifecycle::upgrade::ask_to_reload;
    pub use crate::proxy::listen::accepted::{accepted, serve};
    pub use crate::proxy::listen::coalescing::CoalescingStream;
    pub use crate::proxy::operator::doctor::{examine, unknown_keys, TEST_EVENT};
    pub use crate::proxy::operator::running::{compare_with_running, Running, RunningError};
    pub use crate::proxy::server_error::ServerError;
    pub use crate::proxy::site::origin::Balancer;
    pub use crate::proxy::site::{Site, SiteContext};
}

#[cfg(test)]
mod size_tests;
