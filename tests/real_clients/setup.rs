//! The real binary between a site and the stand-in for PostHog, all on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use hedgerow::demo::capture::{Capture, StoreCapacity};
use hedgerow::demo::http::Handler;
use hedgerow::proxy::serve;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::started::{self, listens};

/// The project key in every event.
pub const API_KEY: &str = "phc_real_clients";
/// The key of every client. It must not appear in the log.
pub const WRITE_KEY: &str = "wk_real_clients";

/// Longer than any client needs on a busy machine, so that only a missing event exceeds it.
pub const PATIENCE: Duration = Duration::from_secs(150);

pub struct Setup {
    pub capture: Arc<Capture>,
    pub posthog: SocketAddr,
    pub hedgerow: SocketAddr,
    /// The site's address without Hedgerow.
    pub site: SocketAddr,
    /// Killed when dropped.
    _process: Child,
    folder: tempfile::TempDir,
    served: Vec<JoinHandle<()>>,
}

impl Setup {
    /// Hedgerow at `/hr/`, for any key or none, with this site behind it. The site starts when
    /// Hedgerow's address is known.
    pub async fn open(site: impl FnOnce(SocketAddr) -> Arc<dyn Handler>) -> Self {
        let capture = Arc::new(Capture::new(Arc::new(Utc::now), StoreCapacity::UNBOUNDED));
        let mut served = Vec::new();
        let posthog = start(&mut served, Arc::clone(&capture) as Arc<dyn Handler>).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut process = run(folder.path(), posthog, origin);
        let hedgerow = listens(&mut process, &folder.path().join("log")).await;
        served.push(tokio::spawn(serve(listener, site(hedgerow))));
        Self {
            capture,
            posthog,
            hedgerow,
            site: origin,
            _process: process,
            folder,
            served,
        }
    }

    /// A setup without a site, for clients that are no browsers.
    pub async fn without_site() -> Self {
        Self::open(|_| Arc::new(NoSite)).await
    }

    /// Everything that Hedgerow has printed.
    pub fn log(&self) -> String {
        log(self.folder.path())
    }

    /// Waits until this many different events have arrived, at most [`PATIENCE`].
    pub async fn events_come(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.different() < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn different(&self) -> usize {
        let events = self.capture.events();
        let uuids: std::collections::HashSet<_> = events.iter().map(|event| event.uuid).collect();
        uuids.len()
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        for task in &self.served {
            task.abort();
        }
    }
}

async fn start(served: &mut Vec<JoinHandle<()>>, handler: Arc<dyn Handler>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    served.push(tokio::spawn(serve(listener, handler)));
    address
}

fn log(folder: &Path) -> String {
    let bytes = std::fs::read(folder.join("log")).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn run(folder: &Path, posthog: SocketAddr, origin: SocketAddr) -> Child {
    let file = folder.join("hedgerow.yaml");
    let config = format!(
        "listen: [\"127.0.0.1:0\"]\n\
         admin: off\n\
         projects:\n  stand_in: {{host: \"http://{posthog}\", api_key: {API_KEY}}}\n\
         routes:\n\
         \x20 - {{path: /hr/, segment: {{project: stand_in, write_keys: any}}}}\n\
         \x20 - {{path: /, origin: \"http://{origin}\"}}\n"
    );
    std::fs::write(&file, config).unwrap();
    // At debug level the framework would log the whole bodies of pages.
    started::run(
        &file,
        &folder.join("log"),
        &[("RUST_LOG", "info,hedgerow=debug")],
    )
}

struct NoSite;

impl Handler for NoSite {
    fn handle(&self, _: &hedgerow::demo::http::Request) -> hedgerow::demo::http::Response {
        hedgerow::demo::http::Response::empty(http::StatusCode::NOT_FOUND)
    }
}
