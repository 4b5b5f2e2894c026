//! Clients that misuse streams and windows.

use std::time::Duration;

use hedgerow::Hedgerow;

use super::full_server::{FullServer, HTTP2_TRANSPORTS};
use super::support::client::Client;
use super::support::frames::{block, fields, frame, Frames, Outcome};
use super::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS};
use super::support::proxy::{config, Proxy, Speaks};
use super::support::recorder::{response, Act, Recorder};
use super::support::{batch, eventually};

const REFUSED_STREAM: u32 = 7;
/// More than all buffers between a site and a client that does not read.
const PAGE: usize = 16 << 20;

fn request(method: &str, path: &str, flags: u8, stream: u32) -> Vec<u8> {
    let list = fields(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", path),
    ]);
    frame(HEADERS, END_HEADERS | flags, stream, &block(&list))
}

fn window(size: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &size.to_be_bytes()].concat())
}

async fn large_site() -> Recorder {
    let page = "x".repeat(PAGE);
    Recorder::that(move |_| Act::Answer(response("200 OK", "", &page))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let site = large_site().await;
    let yaml = format!("routes:\n  - {{path: /, origin: \"{}\"}}\n", site.url());
    let hedgerow = Hedgerow::builder(config(&yaml)).unread_timeout(Duration::from_secs(4));
    let proxy = Proxy::of(hedgerow.build().unwrap(), Speaks::Both).await;
    // A window that never opens, a window that opens for a while, and a connection that the client
    // does not read.
    let mut frames = Frames::plain(proxy.address).await;
    frames.send(&window(0)).await;
    frames.send(&request("GET", "/a", END_STREAM, 1)).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    let (bytes, reset) = frames.body(1).await;
    assert!(bytes == 0 && reset.is_some(), "{bytes} bytes, {reset:?}");
    let mut frames = Frames::plain(proxy.address).await;
    frames.send(&request("GET", "/b", END_STREAM, 1)).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    let (bytes, reset) = frames.body(1).await;
    assert!(
        bytes == 65_535 && reset.is_some(),
        "{bytes} bytes, {reset:?}"
    );
    // The connection works as before.
    frames.send(&request("HEAD", "/c", END_STREAM, 3)).await;
    assert_eq!(frames.outcome(3).await, Outcome::Status(200));
    let mut client = Client::connect(proxy.address).await;
    client.send(b"GET /d HTTP/1.1\r\nHost: a\r\n\r\n").await;
    site.requests(4).await;
    // Longer than the limit, so that Hedgerow has dropped the rest of the answer.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let got = client.rest().await.len();
    assert!(got < PAGE, "{got} bytes");
    // A client that reads slowly, longer than the limit in all, gets all of it.
    let mut client = Client::connect(proxy.address).await;
    client
        .send(b"GET /e HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let mut got = 0;
    for _ in 0..4 {
        got += client.raw(PAGE / 4).await.len();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
    }
    got += client.rest().await.len();
    assert!(got > PAGE, "{got} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_windows_that_never_open_hold_little_and_stop_no_other_client() {
    let server = FullServer::with_upstreams(Recorder::start().await, large_site().await, "").await;
    let mut ordinary = server.ordinary().await;
    ordinary.served().await.expect("before");
    let before = server.running.memory();
    let mut held = Vec::new();
    for transport in HTTP2_TRANSPORTS {
        let mut frames = server.frames(transport).await;
        frames.send(&window(0)).await;
        for number in 0..50 {
            frames
                .send(&request("GET", "/page", END_STREAM, 1 + 2 * number))
                .await;
        }
        let mut begun = 0;
        while begun < 50 {
            let frame = frames.next().await.expect("the connection stays");
            begun += usize::from(frame.kind == HEADERS);
        }
        held.push(frames);
    }
    ordinary
        .served()
        .await
        .expect("beside windows that are shut");
    // The site has sixteen megabytes for each of a hundred streams.
    let after = server.running.memory();
    assert!(
        after < before + 128 * 1024,
        "{before} kB before, {after} kB now"
    );
    let descriptors = server.descriptors();
    drop(held);
    eventually("the sites' connections end with their clients", || {
        (server.descriptors() + 90 < descriptors).then_some(())
    })
    .await;
    ordinary.served().await.expect("after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_above_the_limit_are_refused_alone() {
    let server = FullServer::open().await;
    for transport in HTTP2_TRANSPORTS {
        let mut frames = server.frames(transport).await;
        let mut limit = None;
        while limit.is_none() {
            let greeting = frames.next().await.expect("settings");
            assert_eq!(greeting.kind, SETTINGS);
            let mut settings = greeting.payload.chunks(6);
            let most = settings
                .find(|setting| setting[..2] == [0, 3])
                .expect("a limit");
            limit = Some(u32::from_be_bytes(
                most[2..].try_into().expect("four bytes"),
            ));
        }
        let limit = limit.expect("it was said");
        assert!(limit <= 250, "{limit} streams");
        for number in 0..=limit {
            frames
                .send(&request("POST", "/hr/v1/track", 0, 1 + 2 * number))
                .await;
        }
        let above = 1 + 2 * limit;
        assert_eq!(
            frames.outcome(above).await,
            Outcome::Reset(REFUSED_STREAM),
            "{transport:?}"
        );
        // The streams within the limit continue.
        let event = b"{\"userId\":\"u\",\"event\":\"E\"}";
        frames.send(&frame(DATA, END_STREAM, 1, event)).await;
        assert_eq!(
            frames.outcome(1).await,
            Outcome::Status(200),
            "{transport:?}"
        );
        frames
            .send(&request("GET", "/page", END_STREAM, above + 2))
            .await;
        assert_eq!(
            frames.outcome(above + 2).await,
            Outcome::Status(200),
            "{transport:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_reset_is_never_taken_for_a_whole_one() {
    let server = FullServer::open().await;
    let mut ordinary = server.ordinary().await;
    let body = batch(60, 1_000);
    let piece = &body.as_bytes()[..16_000];
    for transport in HTTP2_TRANSPORTS {
        for path in ["/hr/v1/b", "/ph/e/", "/shelf"] {
            let mut frames = server.frames(transport).await;
            let (posthog, site) = (server.posthog.seen().len(), server.site.seen().len());
            frames.send(&request("POST", path, 0, 1)).await;
            frames.send(&frame(DATA, 0, 1, piece)).await;
            frames.send(&frame(DATA, 0, 1, piece)).await;
            frames.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await;
            // The connection serves the next request.
            frames.send(&request("GET", "/page", END_STREAM, 3)).await;
            assert_eq!(frames.outcome(3).await, Outcome::Status(200), "{path}");
            ordinary.served().await.expect("beside it");
            let all = [
                server.posthog.seen().split_off(posthog),
                server.site.seen().split_off(site),
            ];
            let whole = all
                .concat()
                .into_iter()
                .filter(|seen| seen.complete && seen.body.len() > 10_000);
            assert_eq!(whole.count(), 0, "{path} over {transport:?}");
        }
    }
}
