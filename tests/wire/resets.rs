//! Streams that the server itself has to reset because its client breaks a rule in each: as many as may be, while
//! each has begun work behind the server.

use super::connections::{begun, update};
use super::full_server::{FullServer, HTTP2_TRANSPORTS};
use super::support::frames::{block, fields, frame, Frames};
use super::support::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY};

/// More than a connection is to survive.
const STREAMS: u32 = 6_000;

/// A stream that is to be reset.
type BrokenStream = fn(u32) -> Vec<u8>;

fn request(stream: u32, name: &str, value: &str, flags: u8) -> Vec<u8> {
    let list = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", "/shelf"),
        (name, value),
    ]);
    frame(HEADERS, END_HEADERS | flags, stream, &block(&list))
}

const KINDS: [(&str, BrokenStream); 7] = [
    ("an update of nothing", |stream| {
        [begun(stream, "/shelf"), update(stream, 0)].concat()
    }),
    ("an update that overflows", |stream| {
        [begun(stream, "/shelf"), update(stream, 0x7fff_ffff)].concat()
    }),
    ("a stream that depends on itself", |stream| {
        let on_itself = [&stream.to_be_bytes()[..], &[1]].concat();
        [
            begun(stream, "/shelf"),
            frame(PRIORITY, 0, stream, &on_itself),
        ]
        .concat()
    }),
    ("DATA behind the end", |stream| {
        let end = frame(DATA, END_STREAM, stream, b"x");
        [begun(stream, "/shelf"), end.repeat(2)].concat()
    }),
    ("more than its length", |stream| {
        let data = frame(DATA, 0, stream, b"too long");
        [request(stream, "content-length", "5", 0), data].concat()
    }),
    ("a field of a connection", |stream| {
        request(stream, "connection", "close", END_STREAM)
    }),
    ("another host", |stream| {
        request(stream, "host", "b.example", END_STREAM)
    }),
];

/// Opens such streams until the connection ends; one that stays fails the test by its time.
async fn until_it_ends(frames: &mut Frames, kind: BrokenStream) {
    for many in (0..STREAMS).collect::<Vec<_>>().chunks(50) {
        let bytes: Vec<u8> = many
            .iter()
            .flat_map(|number| kind(1 + 2 * number))
            .collect();
        if !frames.send_all(&bytes).await {
            return;
        }
    }
    while frames.next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_makes_the_server_reset_its_streams_loses_its_connection() {
    let server = FullServer::open().await;
    let mut ordinary = server.ordinary().await;
    ordinary.served().await.expect("before");
    let memory = server.running.memory();
    let mut wrong = Vec::new();
    for transport in HTTP2_TRANSPORTS {
        for (name, kind) in KINDS {
            let mut frames = server.frames(transport).await;
            until_it_ends(&mut frames, kind).await;
            if let Err(trouble) = ordinary.served().await {
                wrong.push(format!("beside {name} over {transport:?}: {trouble}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let after = server.running.memory();
    assert!(
        after < memory + 64 * 1024,
        "{memory} kB before, {after} kB now"
    );
}
