//! Hedgerow: Segment traffic in, PostHog events out, one call in any Pingora proxy.
//!
//! - [`Hedgerow`] is that call: `hedgerow.intercept(session).await?` in a `request_filter`.
//! - [`rewrite`] is what it does to a body, pure and without a proxy around it.
//! - [`config`] is the YAML that both are built from.
//!
//! A configuration, and the proxy of the `hedgerow` binary around it:
//!
//! ```no_run
//! use hedgerow::config::{parse, Environment};
//! use hedgerow::proxy::Server;
//! use hedgerow::Hedgerow;
//!
//! let yaml = "
//! projects:
//!   shop: {host: us, api_key: env:POSTHOG_API_KEY}
//! routes:
//!   - path: /hr/
//!     segment: {project: shop}
//! ";
//! // Relative paths in the text start at the folder that is named here.
//! let (config, warnings) = parse(yaml, &Environment::new("."))?;
//! for warning in &warnings {
//!     eprintln!("{}: {}", warning.place.line, warning.message);
//! }
//! Server::new(Hedgerow::new(config)?)?.run();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In a proxy of your own, `Hedgerow` alone is enough; its page shows the call. What becomes of
//! each message, and why, is written down in the documents beside the source: `docs/mapping.md`
//! and `docs/repairs.md`.

pub mod admin;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
pub mod logging;
mod masked;
pub mod plain;
pub mod proxy;
pub mod site;

pub use hedgerow_rewrite::{posthog, rewrite, segment};
pub use hedgerow_spool as delivery;

pub use config::Config;
pub use proxy::Hedgerow;
pub use rewrite::Rewriter;

/// The code in the documents is compiled with the tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/plugin.md")]
    struct Plugin;
}
