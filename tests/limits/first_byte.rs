//! A large body leaves while it arrives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use super::support::client::{chunk, Client};
use super::support::proxy::{yaml, Proxy};
use super::support::recorder::Recorder;
use super::support::{batch, eventually};

/// How much of a body may have arrived before its first byte leaves for PostHog, in bytes.
const INPUT: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
enum Framing {
    Chunked,
    Length,
}

/// Whether the first byte has left when a client has sent so much of a body and waits.
async fn leaves(framing: Framing, spool: &str, mapping: &str) {
    let begun = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&begun);
    let posthog = Recorder::early(move |_| {
        note.store(true, Ordering::SeqCst);
        None
    })
    .await;
    let yaml = yaml(&posthog.url()).replace("spool: \"off\"", &format!("spool: {spool}"));
    let proxy = Proxy::start(&format!("{yaml}mapping: {{mode: {mapping}}}\n")).await;
    let body = batch(2_000, 1_000).into_bytes();
    let head = match framing {
        Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
        Framing::Length => format!("Content-Length: {}", body.len()),
    };
    let framed = |piece: &[u8]| match framing {
        Framing::Chunked => chunk(piece),
        Framing::Length => piece.to_vec(),
    };
    let mut client = Client::connect(proxy.address).await;
    let head = format!("POST /hr/v1/b HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n");
    client.send(head.as_bytes()).await;
    let (first, rest) = body.split_at(INPUT);
    for piece in first.chunks(8 << 10) {
        client.send(&framed(piece)).await;
    }
    let what = format!("the first byte of a body ({framing:?}, spool {spool}, {mapping})");
    eventually(&what, || begun.load(Ordering::SeqCst).then_some(())).await;
    client.send(&framed(rest)).await;
    if let Framing::Chunked = framing {
        client.send(b"0\r\n\r\n").await;
    }
    assert_eq!(client.answer().await.status, 200, "{what}");
    let arrived: usize = posthog.seen().iter().map(|batch| batch.ids().len()).sum();
    assert_eq!(arrived, 2_000, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_byte_of_a_large_body_leaves_before_a_mebibyte_of_it_has_come() {
    for mapping in ["reference", "enriched"] {
        for framing in [Framing::Chunked, Framing::Length] {
            let folder = tempfile::tempdir().unwrap();
            let spool = format!("{{path: \"{}\"}}", folder.path().join("spool").display());
            leaves(framing, &spool, mapping).await;
            leaves(framing, "\"off\"", mapping).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_known_to_fit_into_the_window_leaves_whole() {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut body = batch(1_000, 1_000).into_bytes();
    body.resize(1 << 20, b' ');
    let head = format!(
        "POST /hr/v1/b HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = Client::connect(proxy.address).await;
    client.send(&[head.as_bytes(), &body].concat()).await;
    assert_eq!(client.answer().await.status, 200);
    let sent = &posthog.requests(1).await[0];
    assert!(sent.header("content-length").is_some());
    assert_eq!(sent.ids().len(), 1_000);
}
