//! Firefox with the real uBlock Origin and the lists in its package: the vendors' own installation
//! is blocked, and the same libraries through Hedgerow are not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow::proxy::serve;
use serde_json::{json, Value};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::check::{all_comes, check, Addresses};
use super::installed::{all_here, PostHogJs, Prerequisite, Version};
use super::setup::{PageProtocol, Plan, Setup, PATIENCE, USUAL};
use super::tls::Certificates;
use super::vendors::{Vendors, KNOWN, NAMES, SITE};
use super::visitor::{send_and_leave, stay, Visitor, TURN};

/// A host of the kind that rules for shops are written for.
const SHOP: &str = "www.example-shop.com";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Blocker {
    UBlock,
    None,
}

fn is_here(test: &str, version: Version) -> bool {
    let needed = [
        Prerequisite::Node,
        Prerequisite::Puppeteer,
        Prerequisite::Firefox,
        Prerequisite::UBlock,
        Prerequisite::PostHogJs(PostHogJs::Newest),
        Prerequisite::AnalyticsJs(version),
    ];
    all_here(test, &needed)
}

/// A setup behind TLS, together with the vendors' hosts.
struct VendorSetup {
    setup: Setup,
    vendors: Arc<Vendors>,
    at: SocketAddr,
    certificates: Certificates,
    serving: JoinHandle<()>,
}

impl Drop for VendorSetup {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl VendorSetup {
    async fn open(version: Version) -> Self {
        let mut names = NAMES.to_vec();
        names.push(SHOP);
        let certificates = Certificates::new(&names);
        let (certificate, key) = (
            certificates.file("certificate.pem"),
            certificates.file("key.pem"),
        );
        let speaks = PageProtocol::Tls {
            certificate: &certificate,
            key: &key,
        };
        let setup = Setup::open(Plan {
            speaks,
            version,
            ..USUAL
        })
        .await;
        let vendors = Arc::new(Vendors::new(Arc::clone(&setup.stand_in)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Arc::clone(&vendors) as _));
        Self {
            setup,
            vendors,
            at,
            certificates,
            serving,
        }
    }

    /// A visitor, whose blocker runs and is recognised.
    async fn visitor(&self, blocker: Blocker) -> Visitor {
        let extension = match blocker {
            Blocker::UBlock => json!(Prerequisite::UBlock.path()),
            Blocker::None => Value::Null,
        };
        let mut visitor = Visitor::with(json!({
            "browser": "firefox",
            "executable": Prerequisite::Firefox.path(),
            "extension": extension,
            "certificate": self.certificates.file("certificate.pem"),
            "key": self.certificates.file("key.pem"),
            "hosts": {SHOP: self.setup.address.port()},
            "vendors": {"names": NAMES, "port": self.at.port()},
        }))
        .await;
        // The lists are read while the browser is up already.
        visitor.open(&format!("https://{SITE}/none")).await;
        let passing = format!(
            "Promise.all({}.map((url) => fetch(url, {{mode: 'no-cors', cache: 'no-store'}})
                .then(() => url, () => null))).then((all) => all.filter((url) => url))",
            json!(KNOWN)
        );
        match blocker {
            Blocker::UBlock => {
                let none = format!("{passing}.then((all) => all.length === 0)");
                visitor.until(&none).await;
            }
            // The same addresses answer, so it is the blocker that makes the difference.
            Blocker::None => assert_eq!(visitor.run(&passing).await, json!(KNOWN)),
        }
        let harmless = "fetch('/cart.js').then((answer) => answer.status)";
        assert_eq!(visitor.run(harmless).await, 200);
        // Some of it went by before uBlock had read its lists.
        self.vendors.asked.lock().unwrap().clear();
        self.setup.stand_in.seen.lock().unwrap().clear();
        visitor
    }
}

/// The vendors' own installation; the outcome of its two scripts.
async fn as_the_vendors_say(visitor: &mut Visitor) -> Value {
    visitor.open(&format!("https://{SITE}/")).await;
    visitor
        .until("Object.keys(window.fate).length === 2 && window.fate")
        .await
}

/// Waits until everything that the visitor has asked for is answered, but for so much at first: a
/// request that is blocked never is.
async fn all_answered(visitor: &mut Visitor, first: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = visitor.seen().await;
        let later = seen.requests.iter().skip(first);
        let silent: Vec<_> = later.filter(|sent| sent.status.is_none()).collect();
        if silent.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "without an answer: {silent:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_blocker_the_vendors_own_installation_brings_its_events() {
    let test = "without_a_blocker_the_vendors_own_installation_brings_its_events";
    if !is_here(test, Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let street = VendorSetup::open(Version::Newest).await;
    let mut visitor = street.visitor(Blocker::None).await;
    let fate = as_the_vendors_say(&mut visitor).await;
    assert_eq!(fate, json!({"analytics": "came", "posthog": "came"}));
    let vendors = &street.vendors;
    street
        .setup
        .until("the events at the vendors' hosts", |stand_in| {
            let segment = vendors.segments_events();
            let events = stand_in.capture.events();
            segment.iter().any(|name| name == "page")
                && segment.iter().any(|name| name == "Bought")
                && events.iter().any(|event| event.event == "direct")
        })
        .await;
    visitor.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ublock_takes_the_vendors_own_installation_and_leaves_this_one_whole() {
    let test = "ublock_takes_the_vendors_own_installation_and_leaves_this_one_whole";
    for version in [Version::Newest, Version::V1_83] {
        if !is_here(test, version) {
            return;
        }
        let _turn = TURN.lock().await;
        let street = VendorSetup::open(version).await;
        let mut visitor = street.visitor(Blocker::UBlock).await;

        // The control: were these events to come, uBlock would prove nothing below.
        let fate = as_the_vendors_say(&mut visitor).await;
        assert_eq!(fate, json!({"analytics": "blocked", "posthog": "blocked"}));
        let asked = street.vendors.asked.lock().unwrap().clone();
        assert!(asked.is_empty(), "came in spite of uBlock: {asked:?}");
        let events = street.setup.stand_in.capture.events();
        assert!(events.is_empty(), "came in spite of uBlock: {events:?}");
        let seen = street.setup.stand_in.seen.lock().unwrap().clone();
        assert!(seen.is_empty(), "came in spite of uBlock: {seen:?}");
        let before = visitor.seen().await.requests.len();

        let page = format!("https://{SHOP}/");
        visitor.open_with_both(&page).await;
        let stay = stay(&mut visitor).await;
        all_comes(&street.setup, &stay).await;
        all_answered(&mut visitor, before).await;
        send_and_leave(&mut visitor).await;
        street
            .setup
            .until("the last calls", |stand_in| {
                let events = stand_in.capture.events();
                let came = |name| events.iter().any(|event| event.event == name);
                came("Left") && came("left directly")
            })
            .await;
        let mut report = visitor.leave().await;
        report.requests.drain(..before);
        let asked = street.vendors.asked.lock().unwrap().clone();
        assert!(asked.is_empty(), "{asked:?}");
        // The other requests belong to Mozilla and uBlock, and fail.
        report.asked.retain(|url| url.contains(SHOP));
        // So posthog-js finds out how far up a cookie may be set.
        report.errors.retain(|error| !error.contains("dmn_chk_"));
        let own = page.clone();
        check(&street.setup, &stay, &report, &Addresses { page, own });
    }
}
