//! HTTP/2 connections that break the rules of RFC 9113 or misuse them: floods, windows that never
//! open, too many streams. Tests the answer to each, and that memory, descriptors and ordinary
//! clients do not suffer.

use super::broken_frames::{rows, COMPRESSION_ERROR};
use super::full_server::{FullServer, HTTP2_TRANSPORTS};
use super::support::client::Client;
use super::support::eventually;
use super::support::frames::{block, fields, frame, Frames, Outcome};
use super::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE,
};

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

pub fn head(path: &str) -> Vec<u8> {
    block(&fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", path),
    ]))
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &head(path))
}

/// A request whose body follows later.
pub fn begun(stream: u32, path: &str) -> Vec<u8> {
    let list = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", path),
    ]);
    frame(HEADERS, END_HEADERS, stream, &block(&list))
}

pub fn setting(name: u8, value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    frame(SETTINGS, 0, 0, &[&[0, name], &bytes[..]].concat())
}

pub fn update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_broken_frame_gets_the_error_that_the_rfc_names() {
    let server = FullServer::open().await;
    let mut ordinary = server.ordinary().await;
    let mut wrong = Vec::new();
    for transport in HTTP2_TRANSPORTS {
        for (name, sent, wanted) in rows() {
            let mut frames = server.frames(transport).await;
            frames.send(&sent.concat()).await;
            let outcome = frames.outcome(1).await;
            if !wanted.contains(&outcome) {
                wrong.push(format!(
                    "{name} over {transport:?}: {outcome:?}, not {wanted:?}"
                ));
            }
        }
        if let Err(trouble) = ordinary.served().await {
            wrong.push(format!("over {transport:?}: {trouble}"));
        }
    }
    // Bytes that are no connection preface, on a listener with HTTP/2.
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nno settings at all"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/1.1\r\n\r\n",
    ] {
        let mut client = Client::connect(server.h2c()).await;
        client.send(bytes).await;
        client.half_close().await;
        let said = client.rest().await;
        let text = String::from_utf8_lossy(&said);
        if text.contains(" 200 ") {
            wrong.push(format!("{:?}: {text}", String::from_utf8_lossy(bytes)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Sends this repeatedly and reads nothing; returns how the connection ended, if it did.
async fn flood(frames: &mut Frames, piece: &[u8], times: usize) -> bool {
    for _ in 0..times {
        if !frames.send_all(piece).await {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_cost_neither_memory_nor_ordinary_clients_anything() {
    let server = FullServer::open().await;
    let mut ordinary = server.ordinary().await;
    ordinary.served().await.expect("before");
    let (memory, descriptors) = (server.running.memory(), server.descriptors());
    let mut wrong = Vec::new();
    for transport in HTTP2_TRANSPORTS {
        // Endless heads: one that no frame ends, and one that is too long.
        let mut frames = server.frames(transport).await;
        let field = block(&fields(&[("a", &"x".repeat(4_000))]));
        frames
            .send(&frame(HEADERS, END_STREAM, 1, &head("/shelf")))
            .await;
        flood(&mut frames, &frame(CONTINUATION, 0, 1, &field), 10_000).await;
        let outcome = frames.outcome(1).await;
        if !matches!(
            outcome,
            Outcome::GoAway(ENHANCE_YOUR_CALM | COMPRESSION_ERROR | PROTOCOL_ERROR)
                | Outcome::Closed
                | Outcome::Status(431)
        ) {
            wrong.push(format!("an endless head over {transport:?}: {outcome:?}"));
        }
        let mut frames = server.frames(transport).await;
        frames
            .send(&frame(HEADERS, END_STREAM, 1, &head("/shelf")))
            .await;
        flood(&mut frames, &frame(CONTINUATION, 0, 1, b""), 100_000).await;
        let outcome = frames.outcome(1).await;
        if !matches!(
            outcome,
            Outcome::GoAway(ENHANCE_YOUR_CALM | COMPRESSION_ERROR | PROTOCOL_ERROR)
                | Outcome::Closed
        ) {
            wrong.push(format!(
                "empty continuations over {transport:?}: {outcome:?}"
            ));
        }
        let mut frames = server.frames(transport).await;
        let field = block(&fields(&[("a", &"x".repeat(16_000))]));
        let long = [
            frame(HEADERS, END_STREAM, 1, &head("/shelf")),
            frame(CONTINUATION, 0, 1, &field).repeat(4),
            frame(CONTINUATION, END_HEADERS, 1, &field),
        ];
        frames.send(&long.concat()).await;
        let outcome = frames.outcome(1).await;
        if outcome != Outcome::Status(431) {
            wrong.push(format!(
                "a list of 80 kB over {transport:?}: {outcome:?}, not 431"
            ));
        }
        // Small input with a large effect: a long field in the table, used many times.
        let mut frames = server.frames(transport).await;
        let mut bomb = head("/shelf");
        bomb.extend([0x40, 1, b'a', 127, 0x81, 0x1e]);
        bomb.extend(b"x".repeat(4_000));
        bomb.extend(b"\xbe".repeat(12_000));
        frames
            .send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb))
            .await;
        let outcome = frames.outcome(1).await;
        let calm = Outcome::GoAway(ENHANCE_YOUR_CALM);
        if outcome != Outcome::Status(431) && outcome != calm {
            wrong.push(format!(
                "48 MB out of 16 kB over {transport:?}: {outcome:?}, not 431"
            ));
        }
        // Streams that are opened and reset at once.
        let mut frames = server.frames(transport).await;
        let mut stream = 1;
        let mut gone = false;
        while stream < 20_000 && !gone {
            let pair = [
                get(stream, "/shelf"),
                frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
            ];
            gone = flood(&mut frames, &pair.concat(), 1).await;
            stream += 2;
        }
        let outcome = frames.outcome(stream).await;
        if !matches!(
            outcome,
            Outcome::GoAway(ENHANCE_YOUR_CALM) | Outcome::Closed
        ) {
            wrong.push(format!("rapid resets over {transport:?}: {outcome:?}"));
        }
        // Frames that need an answer, from a client that reads nothing.
        let ping = frame(PING, 0, 0, &[7; 8]).repeat(100);
        let settings = setting(4, 65_535).repeat(100);
        let empty = [begun(1, "/hr/v1/track"), frame(DATA, 0, 1, b"").repeat(100)].concat();
        let priorities = frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 9]).repeat(100);
        let tiny = update(0, 1).repeat(100);
        for (name, first, piece) in [
            ("pings", Vec::new(), ping),
            ("settings", Vec::new(), settings),
            ("empty DATA", empty, frame(DATA, 0, 1, b"").repeat(100)),
            ("priorities", Vec::new(), priorities),
            ("updates of one byte", Vec::new(), tiny),
        ] {
            let mut frames = server.frames(transport).await;
            frames.send(&first).await;
            let flooding = tokio::time::timeout(
                std::time::Duration::from_secs(3),
                flood(&mut frames, &piece, 2_000),
            );
            // The server may close the connection, take everything, or stop reading; it may never
            // store it.
            let ended = flooding.await;
            if let Err(trouble) = ordinary.served().await {
                wrong.push(format!(
                    "beside {name} over {transport:?} ({ended:?}): {trouble}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let after = server.running.memory();
    assert!(
        after < memory + 64 * 1024,
        "{memory} kB before, {after} kB now"
    );
    eventually("the connections end with their clients", || {
        // Some requests to the site may wait for the next one.
        (server.descriptors() < descriptors + 40).then_some(())
    })
    .await;
    ordinary.served().await.expect("after");
}
