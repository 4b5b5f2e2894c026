//! The demo: a stand-in for PostHog and a small shop, to show the whole path of an event on one
//! machine, without a network, an account or a key.
//!
//! [`capture`] answers as PostHog's capture service does and stores the events in memory. The tests
//! use it as their PostHog. It is not PostHog: it has no persons, no sessions, no queries, and
//! stores nothing on disk. Its rules come from PostHog's source (posthog-ingestion) and were never
//! compared with the real service.
//!
//! [`shop`] is the page that sends events, with the real analytics.js where it is at hand.
//! [`live`] remembers each original message and its event.
//!
//! Nothing here listens: both are a [`Handler`](http::Handler) on plain values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use capture::{Capture, CaptureClock, InjectedFault, StoreCapacity};
use live::{Live, Recording, Visibility};
use shop::Shop;

pub mod capture;
pub mod shop;

pub use crate::admin::live;
pub use crate::handler as http;

/// The project key of the demo's configuration. The stand-in accepts any well-formed key.
pub const API_KEY: &str = "phc_demo";

/// The options of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoOptions {
    /// The folder of the npm package `@segment/analytics-next`, or its `dist/umd`.
    pub analytics_js: Option<PathBuf>,
    /// The path prefix of Hedgerow's Segment route on the shop's host.
    pub prefix: String,
    /// The Segment write key that the page uses.
    pub write_key: String,
    /// Where Hedgerow's own live view is served, for a link on the page.
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

/// The name of an event that the stand-in rejects for good, as PostHog rejects one that breaks its
/// rules.
pub const REFUSED_EVENT: &str = "Unwelcome Event";

/// The parts of the demo, to be served and fed: [`capture`](Self::capture) is PostHog's host,
/// [`shop`](Self::shop) the site's origin, and [`live`](Self::live) the ring of Hedgerow's live view.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The stand-in for PostHog.
    pub capture: Arc<Capture>,
    /// The site.
    pub shop: Arc<Shop>,
    /// The records that the site shows.
    pub live: Arc<Live>,
}

impl Demo {
    /// A demo on the system's clock. Reads the files of analytics.js, if a folder is given; ask
    /// [`Shop::library`] whether they were found.
    pub fn new(options: &DemoOptions) -> Self {
        let clock: CaptureClock = Arc::new(|| std::time::SystemTime::now().into());
        let live = Live::new(Arc::clone(&clock), Visibility::Shown, Recording::Always);
        let live = Arc::new(live);
        let capture = Arc::new(Capture::new(clock, StoreCapacity::default()));
        capture.set_fault(InjectedFault::Poison(REFUSED_EVENT.to_owned()));
        Self {
            shop: Arc::new(Shop::new(Arc::clone(&live), Arc::clone(&capture), options)),
            capture,
            live,
        }
    }
}
