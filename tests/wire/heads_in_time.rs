//! Heads that never end, over both HTTP versions: the whole head has one time limit.

use super::connections::get;
use super::full_server::{FullServer, Http2Transport, HTTP2_TRANSPORTS};
use super::support::client::Client;
use super::support::frames::{block, fields, frame};
use super::support::frames::{CONTINUATION, END_STREAM, HEADERS, PING};
use super::support::recorder::Recorder;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Much longer than these time limits, and shorter than the default limit of a minute.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_end_takes_no_longer_than_its_time_over_both_versions() {
    let posthog = Recorder::start().await;
    let server = FullServer::with_posthog(posthog, "limits: {head_timeout: 1s}\n").await;
    let mut ordinary = server.ordinary().await;
    let mut wrong = Vec::new();
    // Before the protocol is known, and where only one is possible.
    for (name, bytes) in [
        ("a letter", &PREFACE[..1]),
        ("half a greeting", &PREFACE[..10]),
        ("all but a byte of a greeting", &PREFACE[..23]),
        ("a greeting alone", PREFACE),
        ("half a head", b"GET /shelf HTTP/1.1\r\nHost: a"),
    ] {
        let mut client = Client::connect(server.h2c()).await;
        client.send(bytes).await;
        if tokio::time::timeout(PATIENCE, client.rest()).await.is_err() {
            wrong.push(format!("{name} stays"));
        }
    }
    let head = get(1, "/shelf");
    let begun = frame(HEADERS, END_STREAM, 1, &head[9..]);
    let field = block(&fields(&[("a", "b")]));
    for transport in HTTP2_TRANSPORTS {
        for (name, bytes) in [
            ("a byte of a frame", head[..1].to_vec()),
            ("half the head of a frame", head[..5].to_vec()),
            ("half a frame", head[..12].to_vec()),
            ("a head without its end", begun.clone()),
            (
                "half a continuation",
                [&begun[..], &frame(CONTINUATION, 0, 1, &field)[..10]].concat(),
            ),
        ] {
            let mut frames = server.frames(transport).await;
            frames.send(&bytes).await;
            if tokio::time::timeout(PATIENCE, frames.ends()).await != Ok(true) {
                wrong.push(format!("{name} over {transport:?} stays"));
            }
        }
    }
    // A head that comes byte by byte has the same limit; complete frames between do not extend it.
    let mut frames = server.frames(Http2Transport::H2c).await;
    let pings = frame(PING, 0, 0, &[7; 8]);
    let start = std::time::Instant::now();
    while start.elapsed() < std::time::Duration::from_secs(2) {
        frames.send(&pings).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    frames.send(&get(1, "/shelf")).await;
    let outcome = frames.outcome(1).await;
    if outcome != super::support::frames::Outcome::Status(200) {
        wrong.push(format!("behind two seconds of pings: {outcome:?}"));
    }
    if let Err(trouble) = ordinary.served().await {
        wrong.push(trouble);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
