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
