//! First-party files: analytics.js and its settings, posthog-js under neutral paths, and the
//! snippet for pages.
//!
//! Nothing here opens a connection, reads a clock or uses Pingora. Only [`Library::load`] and
//! [`Library::load_archive`] read files: they read the npm package once, at start. The facts are
//! from adblock 4 to 9, segment-tracking 1.6 and 3, and posthog-ingestion 6 and 7.

pub mod cache;
pub mod forward;
pub mod forwarding_headers;
pub mod hand_over;
pub mod head;
pub mod init;
pub mod inject;
mod layout;
mod library;
pub mod names;
mod page_sessions;
mod path_names;
mod path_prefix;
mod posthog_headers;
mod posthog_location;
mod posthog_routes;
mod settings;
pub mod snippet;
pub mod trace;
mod unanswered;

pub use layout::{Layout, LayoutError, SiteFile};
pub use library::{
    Asset, CachePolicy, Library, LibraryError, Sha256, Sha256Error, LARGEST_ARCHIVE,
};
pub use page_sessions::PageSessions;
pub use path_names::{PathNames, PathNamesError};
pub use path_prefix::PathPrefix;
pub use posthog_headers::{keeps_request_header, keeps_response_header};
pub use posthog_location::HostPrefix;
pub use posthog_routes::{
    method_rule, posthog_route, Authorization, Caching, MethodRule, PostHogRoute, TargetHost,
};
pub use settings::{
    merge_account, DeviceMode, KeyForm, PageProtocol, RequestHost, RequestHostError, Settings,
};
