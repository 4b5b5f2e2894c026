//! First-party files: analytics.js and its settings, posthog-js under neutral paths, and what goes
//! on a page for them.
//!
//! Pure, with one exception: [`Library::load`] reads the npm package's folder once, at start.
//! Nothing here opens a connection, reads a clock or names Pingora. Source of the facts: adblock 4
//! to 9, segment-tracking 1.6 and 3, posthog-ingestion 6 and 7.

mod layout;
mod library;
pub mod names;
mod settings;

pub use layout::{Layout, LayoutError, SiteFile};
pub use library::{Asset, CachePolicy, Library, LibraryError, Served};
pub use settings::{
    merge_account, DeviceMode, KeyForm, PageProtocol, RequestHost, RequestHostError, Settings,
};
