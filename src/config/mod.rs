//! Reads one YAML file into checked values.
//!
//! [`Config::parse`] reads the whole file and reports every mistake at once, each with its position.
//! The result is compiled: names are resolved, keys are read, and every value is valid. This module does
//! not use Pingora. Besides the text it reads only the environment variables and files that the text
//! names, through a [`SecretSource`].
//!
//! Relative paths in a file are relative to the folder of that file.

mod acme;
mod acme_checks;
mod admin;
mod delivery;
mod difference;
mod json_schema;
mod library;
mod limits;
mod listeners;
mod load;
mod mapping;
mod marks;
mod model;
mod origin_route;
mod outline;
mod page;
mod pem;
mod posthog_route;
mod privacy;
mod problem;
mod projects;
mod reader;
mod references;
mod render;
mod route_table;
mod routes;
mod rules;
mod schema;
mod secret;
mod segment_route;
mod server;
mod sessions;
mod shape;
mod site_host;
mod source;
mod spelling;
mod spool;
mod tree;
mod units;

pub use hedgerow_spool::{DeliveryMode, SpoolPlace};

pub use acme::{AcmeConfig, Challenge, ExternalAccount};
pub use delivery::DeliveryConfig;
pub use difference::{differences, differences_of, render_differences, Activation, Difference};
pub use json_schema::json_schema;
pub use library::{KeptArchive, LibraryFiles, LibrarySource, PreviousLibrary};
pub use limits::{BodyRate, RequestLimits};
pub use listeners::*;
pub use load::FILE_LIMIT;
pub use marks::FileMarks;
pub use model::Config;
pub use origin_route::{ServerHealthCheck, SiteOrigin};
pub use outline::outline_of;
pub use page::{page_paths, Libraries, PageError, PageHost, Reach};
pub use pem::CaFile;
pub use posthog_route::PostHogPassThrough;
pub use problem::{ConfigError, Problem, Problems, SourcePosition, Warning};
pub use projects::{Project, UpstreamHttp};
pub use render::{render_problems, render_table, render_warnings};
pub use route_table::RouteTable;
pub use routes::{Action, Route};
pub use secret::{Environment, SecretSource, WithoutSecrets};
pub use segment_route::{Forward, SegmentFiles};
pub use server::{ServerConfig, Watching};
pub use sessions::{CookieSessions, SessionMode};
pub use site_host::SiteHost;
pub use spool::SpoolConfig;
