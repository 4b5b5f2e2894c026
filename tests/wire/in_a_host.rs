//! The same tables against a proxy that is not ours, with the one call in its `request_filter`: on the routes of
//! the file each request gets what it gets from the binary, and nothing of it reaches PostHog or the site.

#[allow(dead_code)]
#[path = "../../examples/existing_proxy.rs"]
mod existing_proxy;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;

use existing_proxy::Shop;
use hedgerow::Hedgerow;
use pingora::protocols::ALPN;

use super::full_server::{write_library, Http2Transport, HTTP2_TRANSPORTS, ROUTES};
use super::support::client::{post, Client};
use super::support::frames::{Frames, Outcome};
use super::support::proxy::{app, config, Proxy, Speaks};
use super::support::recorder::{response, Act, Recorder};
use super::support::tls::{AlpnOffer, Certificates, Secure};
use super::support::tunnel::Tunnel;
use super::support::{h2, track};
use super::{broken_frames, heads, heads1, DOTS, HEADS};

/// A shop's own proxy with its site, and PostHog.
struct Host {
    /// Where it speaks HTTP/1.1 alone: where the framework speaks both without TLS, it waits for the 24 bytes of
    /// HTTP/2's greeting, and some of these requests are shorter.
    one: SocketAddr,
    /// Where it speaks HTTP/2.
    two: SocketAddr,
    posthog: Recorder,
    site: Recorder,
    /// What ends with the test.
    _running: Vec<Box<dyn Any + Send + Sync>>,
}

impl Host {
    /// The same proxy with listeners without TLS or with it. The clients get addresses without TLS in both cases.
    async fn open(transport: Http2Transport) -> Self {
        let posthog = Recorder::start().await;
        let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
        let library = tempfile::tempdir().expect("a folder");
        write_library(library.path());
        let yaml = format!(
            "projects:\n  shop: {{host: \"{}\", api_key: phc_test}}\n\
             routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any, \
             library: {{folder: \"{}\", script: fq7dk2, settings: sz4mwp, chunks: ch8tvn, calls: qn5rzd}}}}\n\
             \x20 - path: /ph/\n    posthog: shop\n\
             delivery: {{connect_timeout: 2s, timeout: 20s, spool: \"off\"}}\n",
            posthog.url(),
            library.path().display(),
        );
        let hedgerow = Hedgerow::in_a_host(config(&yaml)).expect("the call serves it all");
        let shop = || Shop {
            site: site.address,
            requests: AtomicU64::new(0),
            hedgerow: hedgerow.clone(),
        };
        let mut running: Vec<Box<dyn Any + Send + Sync>> = vec![Box::new(library)];
        let (one, two) = match transport {
            Http2Transport::H2c => {
                let one = Proxy::around(hedgerow.clone(), shop(), Speaks::Http1).await;
                let two = Proxy::around(hedgerow.clone(), shop(), Speaks::Both).await;
                let addresses = (one.address, two.address);
                running.extend([Box::new(one) as _, Box::new(two) as _]);
                addresses
            }
            Http2Transport::Tls => {
                let certificates = Certificates::new(&["localhost"]);
                let server = app(shop(), Speaks::Http1);
                let secure = Secure::start(server, &certificates, AlpnOffer::Both).await;
                let to = secure.address;
                let one = Tunnel::to(to, &certificates, ALPN::H1).await;
                let two = Tunnel::to(to, &certificates, ALPN::H2).await;
                let addresses = (one.address, two.address);
                running.extend([Box::new(one) as _, Box::new(two) as _]);
                running.extend([Box::new(secure) as _, Box::new(certificates) as _]);
                addresses
            }
        };
        Self {
            one,
            two,
            posthog,
            site,
            _running: running,
        }
    }

    fn reached(&self) -> usize {
        self.posthog.seen().len() + self.site.seen().len()
    }

    /// The status of the answer to a request of HTTP/1.1; none if the connection ends without one.
    async fn status(&self, request: &str) -> Option<u16> {
        let mut client = Client::connect(self.one).await;
        client.send(request.as_bytes()).await;
        client.next().await.map(|answer| answer.status)
    }
}

/// What the framework decides before the call sees it. It writes a blank and a CR in a target as `%20` and `%0D`,
/// cuts a fragment off, and takes a chunk without a size for the last one, so that what goes on is read in one way
/// only; it refuses a host that differs from that of the target in its letters.
const OF_THE_FRAMEWORK: [&str; 7] = [
    "CR in the line",
    "a blank in the target",
    "two blanks behind the target",
    "a fragment",
    "the same host in the target, otherwise written",
    "the same host with its port in the field",
    "no size",
];

/// The framework closes the connection before it has read all of this frame, so the system may reset the connection
/// and discard the answer.
const CLOSED_UNREAD: &str = "a frame that is too large";

/// Rows whose path is none of ours.
const ELSEWHERE: [&str; 3] = [":path *", "a :path of dots", "an encoded :path of dots"];

/// Ours among the kinds of routes: the site is the host's own affair.
fn ours() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.into_iter().filter(|(path, _)| *path != "/shelf")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_holds_in_a_proxy_that_is_not_ours() {
    every_table_holds(Http2Transport::H2c).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_holds_in_a_proxy_that_is_not_ours_over_tls() {
    every_table_holds(Http2Transport::Tls).await;
}

async fn every_table_holds(transport: Http2Transport) {
    let host = Host::open(transport).await;
    let mut one = Client::connect(host.one).await;
    let mut two = h2::Client::connect(host.two).await;
    let mut wrong = Vec::new();
    let reached = || host.reached();
    for (path, method) in ours() {
        let cases = heads1::cases(method, path).into_iter();
        for case in cases.filter(|(name, ..)| !OF_THE_FRAMEWORK.contains(name)) {
            let ahead = heads1::SentAhead::MayBeDropped;
            let found = heads1::trouble(host.one, path, &case, ahead, &reached);
            wrong.extend(found.await);
        }
        // Those for another path are the host's.
        let cases = heads::cases(method, path).into_iter();
        for case in cases.filter(|case| !ELSEWHERE.contains(&case.name)) {
            let mut frames = Frames::plain(host.two).await;
            let found = heads::trouble(&mut frames, path, method, &case, &reached).await;
            wrong.extend(found.map(|found| format!("over HTTP/2: {found}")));
        }
        for (expected, name, head) in HEADS {
            let status = host.status(&head.replace("{}", path)).await;
            if status != Some(*expected) {
                wrong.push(format!("{name} at {path}: {status:?}, not {expected}"));
            }
        }
        if method == "POST" {
            let rows = heads1::broken_chunks().into_iter();
            for row in rows.filter(|(name, _)| !OF_THE_FRAMEWORK.contains(name)) {
                wrong.extend(heads1::chunk_trouble(host.one, path, &row).await);
            }
        }
        let event = track("ordinary", 200);
        let call = post("/hr/v1/track", "", event.as_bytes());
        let first = one.exchange(&call).await.status;
        let second = two.exchange("/hr/v1/track", &[], &[event.as_bytes()]).await;
        if (first, second.status) != (200, 200) {
            wrong.push(format!(
                "ordinary clients beside {path}: {first}, {}",
                second.status
            ));
        }
    }
    for (name, sent, wanted) in broken_frames::rows() {
        let mut frames = Frames::plain(host.two).await;
        frames.send(&sent.concat()).await;
        let outcome = frames.outcome(1).await;
        let closed = name == CLOSED_UNREAD && outcome == Outcome::Closed;
        if !closed && !wanted.contains(&outcome) {
            wrong.push(format!("{name}: {outcome:?}, not {wanted:?}"));
        }
    }
    wrong.extend(heads::smuggled(&[&host.posthog, &host.site]));
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What the framework lets through is one request, and nothing behind it is another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_framework_mends_itself_is_one_request_in_a_proxy_that_is_not_ours() {
    for transport in HTTP2_TRANSPORTS {
        what_the_framework_mends_is_one_request(transport).await;
    }
}

async fn what_the_framework_mends_is_one_request(transport: Http2Transport) {
    let host = Host::open(transport).await;
    let mut wrong = Vec::new();
    for (path, method) in ours() {
        let cases = heads1::cases(method, path).into_iter();
        let heads = cases.map(|(name, _, request)| (name, request));
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunks = heads1::broken_chunks().into_iter();
        let chunks = chunks.map(|(name, chunks)| (name, format!("{head}{chunks}")));
        let rows = heads.chain(chunks);
        for (name, request) in rows.filter(|(name, _)| OF_THE_FRAMEWORK.contains(name)) {
            let before = host.reached();
            let mut client = Client::connect(host.one).await;
            client
                .send(format!("{request}{}", heads1::HIDDEN).as_bytes())
                .await;
            let first = client.next().await.map(|answer| answer.status);
            client.half_close().await;
            client.rest().await;
            let reached = host.reached() - before;
            if first.is_none_or(|status| status >= 500) || reached > 2 {
                wrong.push(format!("{name} at {path}: {first:?}, {reached} reached"));
            }
        }
    }
    let heads = host.posthog.seen().into_iter().map(|seen| seen.head);
    let odd = |head: &String| head.contains('#') || head.contains("hidden");
    wrong.extend(heads.filter(odd));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A path that is ours for one reader and the host's for another goes to neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_two_servers_read_differently_is_neither_taken_nor_passed_on() {
    for transport in HTTP2_TRANSPORTS {
        a_doubtful_path_is_neither_taken_nor_passed_on(transport).await;
    }
}

async fn a_doubtful_path_is_neither_taken_nor_passed_on(transport: Http2Transport) {
    let host = Host::open(transport).await;
    let mut wrong = Vec::new();
    let dots = ["/ph", "/hr"].into_iter().flat_map(|prefix| {
        DOTS.iter()
            .map(move |dots| format!("{prefix}{dots}"))
            .collect::<Vec<_>>()
    });
    let doubtful = [
        "/hr%2Fv1/track",
        "/hr%2fv1%2ftrack",
        "/%68r/v1/track",
        "/h%72/v1/track",
        "//ph/e/",
        "/ph%2Fe/",
        "/%70h/e/",
        "/p%68/flags/?v=2",
        "/%68%72/fq7dk2.js",
    ];
    for path in dots.chain(doubtful.map(str::to_owned)) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
        let status = host.status(&request).await;
        if status != Some(400) {
            wrong.push(format!("{path}: {status:?}"));
        }
        let mut client = h2::Client::connect(host.two).await;
        // What the client's library does not even send, it cannot be answered.
        if !path.contains('\\') {
            let (answer, _) = client.get(&path, &[]).await;
            if answer.status != 400 {
                wrong.push(format!("{path} over HTTP/2: {}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(host.reached(), 0);
    // What no reader takes for one of ours is the host's, however it is written.
    for path in ["/hrx/v1/track", "/a%2Fb", "/x//y", "/%2e%2e/x"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
        assert_eq!(host.status(&request).await, Some(200), "{path}");
    }
}
