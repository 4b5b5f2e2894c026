//! Hedgerow: Segment traffic in, PostHog events out, one call in any Pingora proxy.
//!
//! - [`Hedgerow`] is that call: `hedgerow.intercept(session).await?` in a `request_filter`.
//! - [`Config`] is the YAML that it is built from.
//! - [`Observer`] sees each message and its outcome.
//! - The crate [`hedgerow_rewrite`] rewrites the bodies. It is pure and needs no proxy.
//!
//! This example builds a configuration and runs the proxy of the `hedgerow` binary with it:
//!
//! ```no_run
//! use hedgerow::{Config, Environment, Hedgerow, Server};
//!
//! let yaml = "
//! projects:
//!   shop: {host: us, api_key: env:POSTHOG_API_KEY}
//! routes:
//!   - path: /hr/
//!     segment: {project: shop}
//! ";
//! // Relative paths in the text start at the folder that is named here.
//! let (config, warnings) = Config::parse(yaml, &Environment::new("."))?;
//! for warning in &warnings {
//!     eprintln!("{}: {}", warning.position.line, warning.message);
//! }
//! Server::new(Hedgerow::new(config)?)?.run();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In your own proxy, you need only `Hedgerow`; its page shows the call. In the repository,
//! `docs/mapping.md` and `docs/repairs.md` explain what happens to each message, and why.

// A host proxy's build omits the server, so it does not use some functions that only the server
// calls. The build with all features finds dead code.
#![cfg_attr(not(feature = "server"), allow(dead_code))]

// The public interface is the items on this page. The modules are `pub` only for the binary, the tests and
// the benchmarks, which are separate crates. They change without notice.

// The admin pages. `Hedgerow::admin` returns all of them.
#[doc(hidden)]
pub mod admin;
// The check of the machine's clock, for the binary.
#[doc(hidden)]
pub mod clock;
// The fields of a configuration, for the binary, which prints and checks them.
#[doc(hidden)]
pub mod config;
// The stand-in for PostHog, for `hedgerow demo` and the tests.
#[cfg(feature = "demo")]
#[doc(hidden)]
pub mod demo;
// The findings of `hedgerow doctor`.
#[doc(hidden)]
pub mod doctor;
// The log of the binary. A host proxy has its own log.
#[doc(hidden)]
pub mod logging;
mod masked;
// The internals of the rewriting and the spool, under the names that the binary and the tests use.
#[doc(hidden)]
pub mod delivery;
#[doc(hidden)]
pub mod posthog;
#[doc(hidden)]
pub mod rewrite;
#[doc(hidden)]
pub mod segment;
// Requests and answers of the admin pages and the demo, as values.
#[doc(hidden)]
pub mod handler;
// The code that depends on Pingora. Its public items are re-exported below.
#[doc(hidden)]
pub mod proxy;
// First-party files, for `hedgerow init` and `hedgerow snippet`.
#[doc(hidden)]
pub mod site;

pub use admin::{Admin, Health, Unready};
pub use config::{
    Config, ConfigError, Environment, Problem, Problems, SecretSource, SourcePosition, Warning,
    WithoutSecrets,
};
pub use handler::Handler;
pub use hedgerow_rewrite::{Fault, MessageOutcome, Omission, Rewriter};
pub use hedgerow_spool::SpoolError;
pub use proxy::{
    fetch_libraries, BuildError, Builder, Counts, FetchError, ForwardCounts, HandlerApp, Hedgerow,
    Observer,
};
#[cfg(feature = "server")]
pub use proxy::{Server, ServerError};
pub use site::{LibraryError, Sha256};

/// Compiles the code in the documents as tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/plugin.md")]
    struct Plugin;
}
