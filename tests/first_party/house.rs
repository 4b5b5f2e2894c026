//! The real binary with a configuration from `hedgerow init`, between a site and the stand-in for
//! PostHog, all on loopback.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use hedgerow::demo::capture::{Capacity, Capture};
use hedgerow::demo::http::Handler;
use hedgerow::proxy::serve;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::installed::{clients, Needed, Version};
use super::pages::{Site, NONCE};
use super::stand_in::StandIn;

pub const API_KEY: &str = "phc_first_party_test";
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where Hedgerow is, seen from the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
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
}

pub struct House {
    pub stand_in: Arc<StandIn>,
    pub yaml: PathBuf,
    pub address: SocketAddr,
    posthog: SocketAddr,
    process: Child,
    folder: tempfile::TempDir,
    serving: Option<JoinHandle<()>>,
    site: JoinHandle<()>,
}

impl House {
    pub async fn open(place: Where, key: Key, tag: Tag, version: Version) -> Self {
        let stand_in = Arc::new(StandIn {
            capture: Arc::new(Capture::new(Arc::new(Utc::now), Capacity::UNBOUNDED)),
            scripts: clients().join("node_modules/posthog-js/dist"),
            recordings: Default::default(),
            seen: Default::default(),
        });
        let (posthog, serving) = start(Arc::clone(&stand_in) as _).await;
        let pages = Arc::new(Site::default());
        let (origin, site) = start(Arc::clone(&pages) as _).await;
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let library = Needed::AnalyticsJs(version).path().join("dist/umd");
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
        text = replaced(&text, "0.0.0.0:8080", &address.to_string());
        if key == Key::LeftOut {
            let start = text.find("write_keys: [").unwrap();
            let end = text[start..].find(']').unwrap() + start;
            text.replace_range(start..=end, "write_keys: any");
            text = replaced(&text, "{key: sent}", "{key: left_out}");
        }
        if tag == Tag::Injected {
            let prefix = prefix(&text);
            let from = format!("origin: \"http://{origin}\"");
            let to = format!("origin: {{servers: \"http://{origin}\", inject: {prefix}}}");
            text = replaced(&text, &from, &to);
        }
        let yaml = folder.path().join("hedgerow.yaml");
        std::fs::write(&yaml, text).unwrap();
        let file = yaml.to_str().unwrap();
        let home = match place {
            Where::SameHost => None,
            Where::Subdomain => Some(format!("http://t.shop.test:{}", address.port())),
            Where::OtherSite => Some(format!("http://other.test:{}", address.port())),
        };
        let mut flags = vec!["snippet", "-c", file, "--nonce", NONCE];
        if let Some(home) = &home {
            flags.extend(["--home", home]);
        }
        let snippet = hedgerow(&flags).await;
        flags.push("--csp");
        let policy = hedgerow(&flags).await;
        let snippet = match tag {
            Tag::InThePage => snippet,
            Tag::Injected => String::new(),
        };
        pages.page.set((snippet, policy)).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(["run", "-c", file])
            .env("RUST_LOG", "info,hedgerow=debug")
            .env("POSTHOG_API_KEY", API_KEY)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut house = Self {
            stand_in,
            yaml,
            address,
            posthog,
            process,
            folder,
            serving: Some(serving),
            site,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = house.process.try_wait().unwrap() {
                panic!("hedgerow ended with {status}:\n{}", house.log());
            }
            assert!(Instant::now() < deadline, "not listening:\n{}", house.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        house
    }

    /// PostHog goes away.
    pub fn posthog_leaves(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }

    pub async fn posthog_comes_back(&mut self) {
        let listener = TcpListener::bind(self.posthog).await.unwrap();
        let handler: Arc<dyn Handler> = Arc::clone(&self.stand_in) as _;
        self.serving = Some(tokio::spawn(serve(listener, handler)));
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The most memory that Hedgerow has held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.process.id().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib = line.split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.posthog_leaves();
        self.site.abort();
    }
}

/// The prefix of the Segment route that `init` has made.
pub fn prefix(yaml: &str) -> String {
    let start = yaml.find("# Segment's calls").unwrap();
    let path = yaml[start..].split("path: ").nth(1).unwrap();
    path.split_whitespace().next().unwrap().to_owned()
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

async fn start(handler: Arc<dyn Handler>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(serve(listener, handler)))
}
