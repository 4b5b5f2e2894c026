//! Hedgerow: Segment traffic in, PostHog events out, one call in any Pingora proxy.
//!
//! - [`Hedgerow`] is that call: `hedgerow.intercept(session).await?` in a `request_filter`.
//! - [`Config`] is the YAML that it is built from.
//! - [`Observer`] sees each message, and its outcome.
//! - The crate [`hedgerow_rewrite`] is what happens to a body, pure and without a proxy around it.
//!
//! A configuration, and the proxy of the `hedgerow` binary around it:
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
//!     eprintln!("{}: {}", warning.place.line, warning.message);
//! }
//! Server::new(Hedgerow::new(config)?)?.run();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In a proxy of your own, `Hedgerow` alone is enough; its page shows the call. What happens to
//! each message, and why, is written down in the documents beside the source: `docs/mapping.md`
//! and `docs/repairs.md`.

// A host proxy's build leaves the server out, and so has no use for some of what the server asks of the other
// rooms. The whole build finds what is dead.
#![cfg_attr(not(feature = "server"), allow(dead_code))]

// What is public is what this page shows. The modules are open to the binary, the tests and the
// benchmarks, which are crates of their own; they change without notice.

// The admin pages: `Hedgerow::admin` gives them whole.
#[doc(hidden)]
pub mod admin;
// What a configuration holds, field by field: for the binary, which prints and checks it.
#[doc(hidden)]
pub mod config;
// The stand-in for PostHog, for `hedgerow demo` and the tests.
#[cfg(feature = "demo")]
#[doc(hidden)]
pub mod demo;
// What `hedgerow doctor` says.
#[doc(hidden)]
pub mod doctor;
// The log of the binary; a host has its own.
#[doc(hidden)]
pub mod logging;
mod masked;
// The inside of the rewriting and the spool, under the names that the binary and the tests use.
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
pub mod plain;
// What names the framework: the items that are public are shown below.
#[doc(hidden)]
pub mod proxy;
// First-party files, for `hedgerow init` and `hedgerow snippet`.
#[doc(hidden)]
pub mod site;

pub use admin::{Admin, Health, Unready};
pub use config::{
    Config, ConfigError, Environment, Place, Problem, Problems, SecretSource, Warning,
    WithoutSecrets,
};
pub use hedgerow_rewrite::{Fault, MessageOutcome, Omission, Rewriter};
pub use hedgerow_spool::SpoolError;
pub use plain::Handler;
pub use proxy::{
    fetch_libraries, BuildError, Builder, Counts, FetchError, ForwardCounts, Hedgerow, Observer,
    Plain,
};
#[cfg(feature = "server")]
pub use proxy::{Server, ServerError};
pub use site::{LibraryError, Sha256};

/// The code in the documents is compiled with the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/plugin.md")]
    struct Plugin;
}
