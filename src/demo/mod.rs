//! The demo: a stand-in for PostHog and a small shop. They show the whole path of an event on one machine,
//! without a network, an account or a key.
//!
//! [`capture`] answers as PostHog's capture service does and stores the events in memory. The tests
//! use it as their PostHog. It is not PostHog: it has no persons, no sessions, no queries, and
//! stores nothing on disk. Its rules come from PostHog's source (posthog-ingestion) and were never
//! compared with the real service.
//!
//! [`shop`] is the page that sends events, with the real analytics.js if its files are available.
//! [`live`] records each original message and its event.
//!
//! Nothing here opens a socket: the stand-in and the shop each implement [`Handler`](http::Handler), which
//! works on plain values.

use std::sync::Arc;

use capture::{Capture, CaptureClock, InjectedFault, StoreCapacity};
use live::{Live, Recording, Visibility};
use shop::Shop;

pub mod capture;
mod options;
pub mod shop;

pub use crate::admin::live;
pub use crate::handler as http;
pub use options::{DemoOptions, REFUSED_EVENT};

/// The project key of the demo's configuration. The stand-in accepts any well-formed key.
pub const API_KEY: &str = "phc_demo";

/// The parts of the demo. The caller serves [`capture`](Self::capture) as PostHog's host and
/// [`shop`](Self::shop) as the site's origin. Hedgerow writes to [`live`](Self::live), the ring buffer of
/// its live view.
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
    /// Creates a demo with the system's clock. If the options name a folder, this reads the files of
    /// analytics.js from it; [`Shop::library`] returns whether they were found.
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
