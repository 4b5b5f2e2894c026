//! Bodies that do not come to their end: on every kind of route that takes one, and over both HTTP versions,
//! one that never begins, one that stops, and one of which a byte comes now and then.

use std::time::Duration;

use super::connections::begun;
use super::full_server::{FullServer, HTTP2_TRANSPORTS, ROUTES};
use super::support::client::Client;
use super::support::frames::{frame, Frames, Outcome, DATA, END_STREAM};
use super::support::recorder::Recorder;
use super::support::DEADLINE;

/// A least speed that each of these misses, and that a client on this machine passes many times over.
const LIMITS: &str = "limits: {body_rate: 1000B, body_grace: 1s}\n";

/// How a body is late.
#[derive(Debug, Clone, Copy)]
enum Late {
    NeverBegins,
    Stops,
    Drips,
}

const LATE: [Late; 3] = [Late::NeverBegins, Late::Stops, Late::Drips];

impl Late {
    /// What comes of it at once, with the head.
    fn first(self) -> &'static [u8] {
        match self {
            Self::NeverBegins => b"",
            Self::Stops | Self::Drips => b"{\"userId\":\"u\",",
        }
    }
}

/// What becomes of such a request over HTTP/2.
async fn over_http2(frames: &mut Frames, path: &str, late: Late) -> Outcome {
    frames.send(&begun(1, path)).await;
    let first = late.first();
    if !first.is_empty() {
        frames.send(&frame(DATA, 0, 1, first)).await;
    }
    let Late::Drips = late else {
        return frames.outcome(1).await;
    };
    for _ in 0..DEADLINE.as_millis() / 100 {
        // A wait that is cut short loses no byte: what has been read is kept.
        let soon = tokio::time::timeout(Duration::from_millis(100), frames.outcome(1));
        if let Ok(outcome) = soon.await {
            return outcome;
        }
        frames.send(&frame(DATA, 0, 1, b" ")).await;
    }
    panic!("{path}: it drips on")
}

/// The same over HTTP/1.1.
async fn over_http1(client: &mut Client, path: &str, late: Late) -> Option<u16> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    client.send(head.as_bytes()).await;
    client.send(late.first()).await;
    let Late::Drips = late else {
        return client.next().await.map(|answer| answer.status);
    };
    for _ in 0..DEADLINE.as_millis() / 100 {
        let soon = tokio::time::timeout(Duration::from_millis(100), client.next());
        if let Ok(answer) = soon.await {
            return answer.map(|answer| answer.status);
        }
        client.send(b" ").await;
    }
    panic!("{path}: it drips on")
}

/// What is wrong with the answers to a body that is late in this way.
async fn trouble(server: &FullServer, path: &str, late: Late) -> Vec<String> {
    // SDKs repeat 503; 408 Chromium itself repeats at once, so only a site's own clients get it.
    let wanted = if path == "/shelf" { 408 } else { 503 };
    let mut wrong = Vec::new();
    let mut client = Client::connect(server.plain()).await;
    let status = over_http1(&mut client, path, late).await;
    if status != Some(wanted) {
        wrong.push(format!("{late:?} at {path} over HTTP/1.1: {status:?}"));
    }
    for transport in HTTP2_TRANSPORTS {
        let mut frames = server.frames(transport).await;
        let outcome = over_http2(&mut frames, path, late).await;
        if outcome != Outcome::Status(wanted) {
            wrong.push(format!(
                "{late:?} at {path} over {transport:?}: {outcome:?}"
            ));
        }
        // The connection is none the worse.
        frames.send(&begun(3, "/shelf")).await;
        frames.send(&frame(DATA, END_STREAM, 3, b"x")).await;
        let outcome = frames.outcome(3).await;
        if outcome != Outcome::Status(200) {
            wrong.push(format!(
                "behind {late:?} at {path} over {transport:?}: {outcome:?}"
            ));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_has_the_same_time_on_every_route_over_both_versions() {
    let server = FullServer::with_posthog(Recorder::start().await, LIMITS).await;
    let mut ordinary = server.ordinary().await;
    let paths = ROUTES.into_iter().filter(|(_, method)| *method == "POST");
    let cases = paths.flat_map(|(path, _)| LATE.map(|late| Box::pin(trouble(&server, path, late))));
    let mut wrong = futures_util::future::join_all(cases).await.concat();
    wrong.extend(ordinary.served().await.err());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
