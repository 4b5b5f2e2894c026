//! The troubles, one after the other.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use chrono::Datelike;
use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;
use tokio::net::TcpStream;

use super::cells::{has_value, holds, Row};
use super::support::address::unused_address;
use super::support::disk::SmallDisk;
use super::support::faketime;
use super::support::recorder::{Act, Recorder};
use super::support::running::{call, get, Running, StandIn};
use super::support::{track, DEADLINE};

type Play = fn() -> Pin<Box<dyn Future<Output = Option<Trouble>>>>;

/// By the name in the table; `None` where this machine lacks something for it.
pub const TROUBLES: &[(&str, Play)] = &[
    ("PostHog is away", || Box::pin(away())),
    ("PostHog is slow", || Box::pin(slow())),
    ("PostHog says 401", || {
        Box::pin(status(StatusCode::UNAUTHORIZED))
    }),
    ("PostHog says 429", || {
        Box::pin(status(StatusCode::TOO_MANY_REQUESTS))
    }),
    ("PostHog refuses one event", || Box::pin(poison())),
    ("The disk is full", || Box::pin(disk_full())),
    ("NATS is away", || Box::pin(nats_away())),
    ("A wrong write key", || Box::pin(wrong_write_key())),
    ("The certificate has expired", || {
        Box::pin(certificate_ended())
    }),
    ("A certificate cannot be ordered", || {
        Box::pin(no_certificate())
    }),
    ("The clock is set", || Box::pin(clock_set())),
    ("One client too many", || Box::pin(one_client_too_many())),
    ("A reload with a mistake", || {
        Box::pin(reload_with_a_mistake())
    }),
];

/// A trouble under way.
pub struct Trouble {
    running: Running,
    admin: SocketAddr,
    /// What has to live as long as the trouble.
    _kept: Vec<Box<dyn std::any::Any>>,
}

impl Trouble {
    pub fn log(&self) -> String {
        self.running.log()
    }

    /// The parts of the row that do not match by the deadline.
    pub async fn waits_for(&self, row: &Row) -> Vec<String> {
        let start = Instant::now();
        loop {
            let missing = self.missing(row).await;
            if missing.is_empty() || start.elapsed() > DEADLINE / 2 {
                return missing;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn missing(&self, row: &Row) -> Vec<String> {
        let mut missing = Vec::new();
        let log = self.running.log();
        for said in &row.log {
            if !log.lines().any(|line| holds(line, said)) {
                missing.push(format!("the log: {said}"));
            }
        }
        let metrics = text(self.admin, "/metrics").await;
        for said in &row.metrics {
            if !has_value(&metrics, said) {
                let name = said.split(['{', ' ']).next().unwrap_or_default();
                let there = metrics.lines().filter(|line| line.starts_with(name));
                missing.push(format!("{said}, but {:?}", there.collect::<Vec<_>>()));
            }
        }
        for said in &row.health {
            let (path, word) = said.split_once(": ").expect("a path and a word");
            let health = text(self.admin, path).await;
            if !holds(&health, word) {
                missing.push(format!("{said}, but {health}"));
            }
        }
        let live = get(self.admin, "/live?after=0").await.json();
        let entries = live["entries"].as_array().expect("a list");
        let strip = text(self.admin, "/live/state").await;
        for said in &row.live {
            let of_a_row = entries.iter().any(|entry| entry.to_string().contains(said));
            if !of_a_row && !holds(&strip, said) {
                missing.push(format!(
                    "the live view: {said}, but {entries:?} and {strip}"
                ));
            }
        }
        missing
    }
}

async fn text(address: SocketAddr, path: &str) -> String {
    String::from_utf8_lossy(&get(address, path).await.body).into_owned()
}

/// An installation with a spool, as `init` makes one, in parts that a trouble can change.
struct Plan {
    folder: tempfile::TempDir,
    site: SocketAddr,
    admin: SocketAddr,
    host: String,
    listen: String,
    spool: String,
    more: String,
    variables: Vec<(&'static str, String)>,
}

impl Plan {
    async fn new(host: String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (site, admin) = (unused_address(), unused_address());
        Self {
            spool: format!("{{path: {:?}}}", folder.path().join("spool")),
            folder,
            site,
            admin,
            host,
            listen: format!("\"{site}\""),
            more: String::new(),
            variables: Vec::new(),
        }
    }

    /// Starts it with the live view open.
    async fn start(self, mut kept: Vec<Box<dyn std::any::Any>>) -> (SocketAddr, Trouble) {
        let yaml = format!(
            "listen: [{}]\nadmin: \"{}\"\n\
             projects: {{shop: {{host: \"{}\", api_key: phc_test}}}}\n\
             routes: [{{path: /hr/, segment: {{project: shop, write_keys: [wk_right]}}}}]\n\
             delivery: {{connect_timeout: 2s, timeout: 1s, spool: {}}}\n{}",
            self.listen, self.admin, self.host, self.spool, self.more
        );
        let folder = self.folder.path();
        let running = Running::start_with(folder, &yaml, &[], &self.variables, self.admin).await;
        text(self.admin, "/live?after=0").await;
        kept.push(Box::new(self.folder));
        let trouble = Trouble {
            running,
            admin: self.admin,
            _kept: kept,
        };
        (self.site, trouble)
    }
}

/// Sends an event with this key; returns the status of the answer.
async fn send(site: SocketAddr, id: &str, key: &str) -> u16 {
    let key = format!("{{\"writeKey\":\"{key}\",");
    let body = track(id, 300).replacen('{', &key, 1);
    call(site, "/hr/v1/t", "", &body).await.status
}

/// Sends events until Hedgerow takes PostHog for down.
async fn send_some(site: SocketAddr) {
    for id in ["1", "2", "3", "4"] {
        assert_eq!(send(site, id, "wk_right").await, 200, "it is kept");
    }
}

async fn away() -> Option<Trouble> {
    let mut posthog = StandIn::start().await;
    let (site, trouble) = Plan::new(posthog.url()).await.start(Vec::new()).await;
    posthog.stop();
    send_some(site).await;
    Some(trouble)
}

async fn slow() -> Option<Trouble> {
    let posthog = Recorder::that(|_| Act::Silence).await;
    let plan = Plan::new(posthog.url()).await;
    let (site, trouble) = plan.start(vec![Box::new(posthog)]).await;
    send_some(site).await;
    Some(trouble)
}

async fn status(status: StatusCode) -> Option<Trouble> {
    let posthog = StandIn::start().await;
    posthog
        .capture
        .set_fault(InjectedFault::Status(status, None));
    let plan = Plan::new(posthog.url()).await;
    let (site, trouble) = plan.start(vec![Box::new(posthog)]).await;
    send_some(site).await;
    Some(trouble)
}

async fn poison() -> Option<Trouble> {
    let posthog = StandIn::start().await;
    posthog
        .capture
        .set_fault(InjectedFault::Poison("Filled".to_owned()));
    let plan = Plan::new(posthog.url()).await;
    let (site, trouble) = plan.start(vec![Box::new(posthog)]).await;
    assert_eq!(send(site, "1", "wk_right").await, 200, "it is kept");
    Some(trouble)
}

async fn disk_full() -> Option<Trouble> {
    use std::io::Write;
    let disk = SmallDisk::mount("8m")?;
    let mut posthog = StandIn::start().await;
    let mut plan = Plan::new(posthog.url()).await;
    plan.spool = format!("{{path: {:?}}}", disk.at.join("spool"));
    let mut other = std::fs::File::create(disk.at.join("other")).expect("ours");
    let (site, trouble) = plan.start(vec![Box::new(disk)]).await;
    assert_eq!(send(site, "1", "wk_right").await, 200);
    // Another program's file fills the disk while PostHog is away.
    while other.write_all(&[0; 512]).is_ok() {}
    posthog.stop();
    let start = Instant::now();
    let mut id = 0;
    while send(site, &format!("f-{id}"), "wk_right").await == 200 {
        id += 1;
        assert!(start.elapsed() < DEADLINE, "it takes all of them");
    }
    Some(trouble)
}

#[cfg(feature = "nats")]
async fn nats_away() -> Option<Trouble> {
    let mut posthog = StandIn::start().await;
    let mut plan = Plan::new(posthog.url()).await;
    plan.spool = format!("{{nats: {{url: \"nats://{}\"}}}}", unused_address());
    let (site, trouble) = plan.start(Vec::new()).await;
    posthog.stop();
    assert_eq!(send(site, "1", "wk_right").await, 503);
    Some(trouble)
}

#[cfg(not(feature = "nats"))]
async fn nats_away() -> Option<Trouble> {
    None
}

async fn wrong_write_key() -> Option<Trouble> {
    let posthog = StandIn::start().await;
    let plan = Plan::new(posthog.url()).await;
    let (site, trouble) = plan.start(vec![Box::new(posthog)]).await;
    assert_eq!(send(site, "1", "wk_wrong_abcd").await, 401);
    Some(trouble)
}

async fn certificate_ended() -> Option<Trouble> {
    let posthog = StandIn::start().await;
    let mut plan = Plan::new(posthog.url()).await;
    let end = chrono::Utc::now() - chrono::Duration::days(2);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned()];
    let mut parameters = rcgen::CertificateParams::new(names).expect("a name");
    // At the start of that day, a little more than two days ago.
    parameters.not_after = rcgen::date_time_ymd(end.year(), end.month() as u8, end.day() as u8);
    let certificate = parameters.self_signed(&key).expect("it is signed");
    let file = |name: &str| -> PathBuf { plan.folder.path().join(name) };
    std::fs::write(file("certificate.pem"), certificate.pem()).expect("ours");
    std::fs::write(file("key.pem"), key.serialize_pem()).expect("ours");
    plan.listen = format!(
        "{{address: \"{}\", tls: {{certificate: certificate.pem, key: key.pem}}}}",
        plan.site
    );
    let (_, trouble) = plan.start(vec![Box::new(posthog)]).await;
    Some(trouble)
}

/// The authority does not exist.
#[cfg(feature = "acme")]
async fn no_certificate() -> Option<Trouble> {
    let posthog = StandIn::start().await;
    let mut plan = Plan::new(posthog.url()).await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned()];
    let parameters = rcgen::CertificateParams::new(names).expect("a name");
    let certificate = parameters.self_signed(&key).expect("it is signed");
    std::fs::write(plan.folder.path().join("ca.pem"), certificate.pem()).expect("ours");
    plan.listen = format!(
        "{{address: \"{}\", tls: {{acme: {{domains: localhost, storage: acme, ca_file: ca.pem, \
         directory: \"https://{}/directory\"}}}}}}",
        plan.site,
        unused_address()
    );
    let (_, trouble) = plan.start(vec![Box::new(posthog)]).await;
    Some(trouble)
}

#[cfg(not(feature = "acme"))]
async fn no_certificate() -> Option<Trouble> {
    None
}

async fn clock_set() -> Option<Trouble> {
    let library = faketime::library()?;
    let posthog = StandIn::start().await;
    let mut plan = Plan::new(posthog.url()).await;
    let time = plan.folder.path().join("time");
    std::fs::write(&time, "+0").expect("ours");
    plan.variables = vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", time.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let (site, trouble) = plan.start(vec![Box::new(posthog)]).await;
    assert_eq!(send(site, "1", "wk_right").await, 200);
    std::fs::write(&time, "+7200").expect("ours");
    Some(trouble)
}

async fn one_client_too_many() -> Option<Trouble> {
    let posthog = StandIn::start().await;
    let mut plan = Plan::new(posthog.url()).await;
    plan.more = "limits: {connections_per_client: 2}\n".to_owned();
    let (site, trouble) = plan.start(vec![Box::new(posthog)]).await;
    let mut connections: Vec<Box<dyn std::any::Any>> = Vec::new();
    for _ in 0..3 {
        let connection = TcpStream::connect(site).await.expect("it listens");
        connections.push(Box::new(connection));
    }
    let mut trouble = trouble;
    trouble._kept.extend(connections);
    Some(trouble)
}

async fn reload_with_a_mistake() -> Option<Trouble> {
    let posthog = StandIn::start().await;
    let plan = Plan::new(posthog.url()).await;
    let (site, trouble) = plan.start(vec![Box::new(posthog)]).await;
    let file = &trouble.running.file;
    let good = std::fs::read_to_string(file).expect("ours");
    let bad = good.replace("project: shop", "project: gone");
    assert_ne!(bad, good);
    std::fs::write(file, bad).expect("ours");
    assert_eq!(send(site, "1", "wk_right").await, 200);
    Some(trouble)
}
