//! The options of the demo.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The options of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoOptions {
    /// The folder of the npm package `@segment/analytics-next`, or its `dist/umd`.
    pub analytics_js: Option<PathBuf>,
    /// The path prefix of Hedgerow's Segment route on the shop's host.
    pub prefix: String,
    /// The Segment write key that the page uses.
    pub write_key: String,
    /// The address of Hedgerow's own live view, for a link on the page.
    pub live_view: Option<SocketAddr>,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            analytics_js: None,
            prefix: "/hr/".to_owned(),
            write_key: "demo-shop".to_owned(),
            live_view: None,
        }
    }
}

/// The name of an event that the stand-in always rejects, as PostHog rejects an event that breaks its
/// rules.
pub const REFUSED_EVENT: &str = "Unwelcome Event";
