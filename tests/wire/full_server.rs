//! The real binary with a listener of each kind and a route of each kind.

use std::net::SocketAddr;
use std::path::Path;

use super::package::files;
use super::running::Running;
use super::support::address::unused_address;
use super::support::client::{post, Client};
use super::support::frames::Frames;
use super::support::recorder::{response, Act, Recorder};
use super::support::tls::Certificates;
use super::support::{h2, track};

/// A path on each of the four kinds of routes, and the method that a client uses there.
pub const ROUTES: [(&str, &str); 4] = [
    ("/hr/v1/track", "POST"),
    ("/ph/e/", "POST"),
    ("/hr/fq7dk2.js", "GET"),
    ("/shelf", "POST"),
];

/// Both ways to HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2Transport {
    H2c,
    Tls,
}

pub const HTTP2_TRANSPORTS: [Http2Transport; 2] = [Http2Transport::H2c, Http2Transport::Tls];

/// The running server and its upstreams.
pub struct FullServer {
    pub running: Running,
    /// A stand-in for PostHog that accepts everything.
    pub posthog: Recorder,
    pub site: Recorder,
    h2c: SocketAddr,
    secure: SocketAddr,
    certificates: Certificates,
    _library: tempfile::TempDir,
}

impl FullServer {
    pub async fn open() -> Self {
        Self::with_posthog(Recorder::start().await, "").await
    }

    /// In front of this PostHog, with more YAML at the end.
    pub async fn with_posthog(posthog: Recorder, more: &str) -> Self {
        let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
        Self::with_upstreams(posthog, site, more).await
    }

    pub async fn with_upstreams(posthog: Recorder, site: Recorder, more: &str) -> Self {
        let certificates = Certificates::new(&["localhost"]);
        let (h2c, secure) = (unused_address(), unused_address());
        let library = tempfile::tempdir().expect("a folder");
        write_library(library.path());
        let listen = format!(
            "[{{address}}, {{address: \"{h2c}\", h2c: on}}, \
             {{address: \"{secure}\", tls: {{certificate: \"{}\", key: \"{}\"}}}}]",
            certificates.file("certificate.pem").display(),
            certificates.file("key.pem").display(),
        );
        let rest = format!(
            "projects:\n  shop: {{host: \"{}\", api_key: phc_test}}\n\
             routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any, \
             library: {{folder: \"{}\", script: fq7dk2, settings: sz4mwp, chunks: ch8tvn, calls: qn5rzd}}}}\n\
             \x20 - path: /ph/\n    posthog: shop\n  - path: /\n    origin: \"{}\"\n\
             delivery: {{connect_timeout: 2s, timeout: 20s, spool: \"off\"}}\n{more}",
            posthog.url(),
            library.path().display(),
            site.url(),
        );
        let running = Running::listening(&listen, &rest).await;
        Self {
            running,
            posthog,
            site,
            h2c,
            secure,
            certificates,
            _library: library,
        }
    }

    /// The listener that speaks only HTTP/1.1.
    pub fn plain(&self) -> SocketAddr {
        self.running.process.address
    }

    pub fn h2c(&self) -> SocketAddr {
        self.h2c
    }

    pub async fn frames(&self, transport: Http2Transport) -> Frames {
        match transport {
            Http2Transport::H2c => Frames::plain(self.h2c).await,
            Http2Transport::Tls => Frames::secure(self.secure, &self.certificates).await,
        }
    }

    pub async fn ordinary(&self) -> Ordinary {
        Ordinary {
            one: Client::connect(self.plain()).await,
            two: h2::Client::connect(self.h2c).await,
            served: 0,
        }
    }

    /// What reached the upstreams.
    pub fn reached(&self) -> usize {
        self.posthog.seen().len() + self.site.seen().len()
    }

    /// The number of descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.running.process.id());
        std::fs::read_dir(folder).expect("it runs").count()
    }
}

/// Writes a folder with the package of analytics.js.
pub fn write_library(folder: &Path) {
    for (name, text) in files("two()") {
        std::fs::write(folder.join(name), text).expect("the folder is ours");
    }
}

/// Well-behaved clients that reuse their connections.
pub struct Ordinary {
    one: Client,
    two: h2::Client,
    served: usize,
}

impl Ordinary {
    /// Each client sends an event; returns what failed.
    pub async fn served(&mut self) -> Result<(), String> {
        self.served += 1;
        let event = track(&format!("ordinary-{}", self.served), 200);
        let call = post("/hr/v1/track", "", event.as_bytes());
        let one = self.one.exchange(&call).await;
        let frames = [event.as_bytes()];
        let two = self.two.exchange("/hr/v1/track", &[], &frames).await;
        match (one.status, two.status) {
            (200, 200) => Ok(()),
            other => Err(format!("ordinary clients got {other:?}")),
        }
    }
}
