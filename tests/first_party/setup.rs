//! The real binary with a configuration from `hedgerow init`, between a site and the stand-in for
//! PostHog, all on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use hedgerow::demo::capture::{Capture, StoreCapacity};
use hedgerow::demo::http::Handler;
use hedgerow::proxy::serve;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::installed::{PostHogJs, Prerequisite, Version};
use super::pages::{Site, NONCE};
use super::relay::{Line, Relay};
use super::stand_in::StandIn;
use super::started::{listens, run};

pub const API_KEY: &str = "phc_first_party_test";
/// Long enough for every machine: only a missing event exceeds it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where Hedgerow is, seen from the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyLocation {
    SameHost,
    Subdomain,
    OtherSite,
}

/// Whether the page gets its write key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Sent,
    LeftOut,
}

/// How the snippet gets into the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    InThePage,
    Injected,
    /// Segment's own snippet, as older installations have it: it loads the script from Segment's
    /// path.
    Old,
}

/// The HTML of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libraries {
    Both,
    AnalyticsJs,
    PostHogJs,
}

/// How the page connects to the site.
#[derive(Debug, Clone, Copy)]
pub enum PageProtocol<'f> {
    Plainly,
    /// Over TLS with this certificate and its key.
    Tls {
        certificate: &'f Path,
        key: &'f Path,
    },
}

/// The parts of the setup.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'f> {
    pub place: ProxyLocation,
    pub key: Key,
    pub tag: Tag,
    pub version: Version,
    pub posthog_js: PostHogJs,
    pub libraries: Libraries,
    /// The page's own script, right after the snippet.
    pub early: &'f str,
    pub speaks: PageProtocol<'f>,
}

/// The newest versions of both libraries, on the page's own host.
pub const USUAL: Plan<'static> = Plan {
    place: ProxyLocation::SameHost,
    key: Key::Sent,
    tag: Tag::InThePage,
    version: Version::Newest,
    posthog_js: PostHogJs::Newest,
    libraries: Libraries::Both,
    early: "",
    speaks: PageProtocol::Plainly,
};

pub struct Setup {
    pub stand_in: Arc<StandIn>,
    pub pages: Arc<Site>,
    pub yaml: PathBuf,
    /// Hedgerow's address, for the pages and for their requests.
    pub address: SocketAddr,
    to_posthog: Relay,
    /// Killed when dropped.
    _process: Child,
    folder: tempfile::TempDir,
    serving: JoinHandle<()>,
    site: JoinHandle<()>,
}

impl Setup {
    pub async fn open(plan: Plan<'_>) -> Self {
        let stand_in = stand_in(plan.posthog_js);
        let (posthog, serving) = start(Arc::clone(&stand_in) as _).await;
        let to_posthog = Relay::start(posthog).await;
        let pages = Arc::new(Site::default());
        let (origin, site) = start(Arc::clone(&pages) as _).await;
        let folder = tempfile::tempdir().unwrap();
        let text = configuration(plan, to_posthog.address, origin).await;
        let (process, address) = listening(folder.path(), &text, plan.speaks).await;
        let yaml = folder.path().join("hedgerow.yaml");
        let home = match plan.place {
            ProxyLocation::SameHost => None,
            ProxyLocation::Subdomain => Some(format!("http://t.shop.test:{}", address.port())),
            ProxyLocation::OtherSite => Some(format!("http://other.test:{}", address.port())),
        };
        let mut flags = vec!["snippet", "-c", yaml.to_str().unwrap(), "--nonce", NONCE];
        if let Some(home) = &home {
            flags.extend(["--home", home]);
        }
        match plan.libraries {
            Libraries::Both => {}
            Libraries::AnalyticsJs => flags.extend(["--libraries", "analytics"]),
            Libraries::PostHogJs => flags.extend(["--libraries", "posthog"]),
        }
        let snippet = hedgerow(&flags).await;
        flags.push("--csp");
        let policy = hedgerow(&flags).await;
        let snippet = match plan.tag {
            Tag::InThePage => {
                let early = plan.early;
                format!("{snippet}<script nonce=\"{NONCE}\">{early}</script>")
            }
            Tag::Injected => String::new(),
            Tag::Old => old_tag(&text, plan.early),
        };
        pages.page.set((snippet, policy)).unwrap();
        Self {
            stand_in,
            pages,
            yaml,
            address,
            to_posthog,
            _process: process,
            folder,
            serving,
            site,
        }
    }

    /// Waits until this holds for the received events.
    pub async fn until(&self, what: &str, holds: impl Fn(&StandIn) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.stand_in) {
            if Instant::now() > deadline {
                let events = self.stand_in.capture.events();
                let came: Vec<&str> = events.iter().map(|event| event.raw.as_str()).collect();
                panic!("waited in vain: {what}; came: {came:#?}\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The snippet without its tag.
    pub async fn script(&self) -> String {
        let tag = hedgerow(&["snippet", "-c", self.yaml.to_str().unwrap()]).await;
        let script = tag.trim().strip_prefix("<script>").unwrap();
        script.strip_suffix("</script>").unwrap().to_owned()
    }

    /// PostHog goes away, and its open connections end.
    pub fn take_posthog_away(&self) {
        self.to_posthog.set(Line::Refuses);
    }

    pub fn posthog_comes_back(&self) {
        self.to_posthog.set(Line::Passes);
    }

    pub fn log(&self) -> String {
        log(self.folder.path())
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.serving.abort();
        self.site.abort();
    }
}

/// The prefix of the Segment route that `init` wrote.
pub fn prefix(yaml: &str) -> String {
    let start = yaml.find("# Segment's calls").unwrap();
    let path = yaml[start..].split("path: ").nth(1).unwrap();
    path.split_whitespace().next().unwrap().to_owned()
}

/// As little of Segment's snippet as its library needs, and the page's own script.
fn old_tag(yaml: &str, early: &str) -> String {
    let key = yaml.split("write_keys: [").nth(1).unwrap();
    let key = key.split(']').next().unwrap();
    format!(
        "<script nonce=\"{NONCE}\">
         const analytics = window.analytics = []
         for (const call of ['page', 'track', 'identify', 'reset', 'on']) {{
           analytics[call] = (...given) => {{ analytics.push([call, ...given]) }}
         }}
         analytics._writeKey = '{key}'
         const script = document.createElement('script')
         script.async = true
         script.src = '{prefix}analytics.js/v1/{key}/analytics.min.js'
         document.head.append(script)
         analytics.page()
         {early}
         </script>",
        prefix = prefix(yaml),
    )
}

/// The output of `hedgerow init`, changed as the plan says; its address stays.
async fn configuration(plan: Plan<'_>, posthog: SocketAddr, origin: SocketAddr) -> String {
    let library = Prerequisite::AnalyticsJs(plan.version)
        .path()
        .join("dist/umd");
    let mut text = hedgerow(&[
        "init",
        "--host",
        &format!("http://{posthog}"),
        "--origin",
        &format!("http://{origin}"),
        "--analytics-js",
        library.to_str().unwrap(),
    ])
    .await;
    if plan.key == Key::LeftOut {
        let start = text.find("write_keys: [").unwrap();
        let end = text[start..].find(']').unwrap() + start;
        text.replace_range(start..=end, "write_keys: any");
        text = replaced(&text, "{key: sent}", "{key: left_out}");
    }
    if plan.tag != Tag::Injected {
        // The page already has the snippet.
        let inject = format!("inject: {}", prefix(&text));
        text = replaced(&text, &inject, "");
    }
    text
}

/// Starts the binary and waits until it listens.
async fn listening(folder: &Path, text: &str, speaks: PageProtocol<'_>) -> (Child, SocketAddr) {
    let any = "127.0.0.1:0";
    let listen = match speaks {
        PageProtocol::Plainly => any.to_owned(),
        PageProtocol::Tls { certificate, key } => {
            let (certificate, key) = (certificate.display(), key.display());
            format!("{{address: \"{any}\", tls: {{certificate: {certificate}, key: {key}}}}}")
        }
    };
    let yaml = folder.join("hedgerow.yaml");
    std::fs::write(&yaml, replaced(text, "0.0.0.0:8080", &listen)).unwrap();
    let log = folder.join("log");
    let variables = [
        ("RUST_LOG", "info,hedgerow=debug"),
        ("POSTHOG_API_KEY", API_KEY),
    ];
    let mut process = run(&yaml, &log, &variables);
    let address = listens(&mut process, &log).await;
    (process, address)
}

fn log(folder: &Path) -> String {
    let bytes = std::fs::read(folder.join("log")).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in\n{text}");
    text.replace(from, to)
}

async fn hedgerow(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .env("POSTHOG_API_KEY", API_KEY)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A stand-in for PostHog with this version of its library.
pub fn stand_in(posthog_js: PostHogJs) -> Arc<StandIn> {
    Arc::new(StandIn {
        capture: Arc::new(Capture::new(Arc::new(Utc::now), StoreCapacity::UNBOUNDED)),
        scripts: Prerequisite::PostHogJs(posthog_js).path().join("dist"),
        recordings: Default::default(),
        seen: Default::default(),
    })
}

pub async fn start(handler: Arc<dyn Handler>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, handler)))
}
