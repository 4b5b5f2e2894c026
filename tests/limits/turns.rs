//! A large body does not occupy a thread while other requests wait.

use super::support::client::{chunk, post, Client};
use super::support::proxy::yaml;
use super::support::track;
use super::{forgetful, run, ALONE};

/// Sends this request to a process with one thread, and returns how many other requests were
/// answered before it.
async fn answered_beside(request: Vec<u8>) -> usize {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!("server: {{threads: 1}}\n{}", yaml(&forgetful().await));
    let (_binary, address) = run(folder.path(), &yaml).await;
    let body = track("beside", 100);
    let ordinary = post("/hr/t", "", body.as_bytes());
    let mut client = Client::connect(address).await;
    assert_eq!(client.exchange(&ordinary).await.status, 200);
    let mut large = Client::connect(address).await;
    let large = tokio::spawn(async move { large.exchange(&request).await.status });
    let mut answered = 0;
    while !large.is_finished() {
        assert_eq!(client.exchange(&ordinary).await.status, 200);
        answered += 1;
    }
    assert_eq!(large.await.unwrap(), 200);
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_answered_while_a_body_of_80_000_messages_is_rewritten() {
    let message = r#"{"type":"track","event":"E","userId":"u"}"#;
    let body = format!("{{\"batch\":[{}]}}", [message; 80_000].join(","));
    let answered = answered_beside(post("/hr/b", "", body.as_bytes())).await;
    // About fifty pieces of 64 KiB.
    assert!(answered > 50, "{answered} requests of others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_answered_while_a_body_comes_in_chunks_of_a_byte() {
    let mut request =
        b"POST /hr/t HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let body = format!("{}{}", " ".repeat(60_000), track("chunks", 100));
    for byte in body.bytes() {
        request.extend_from_slice(&chunk(&[byte]));
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answered = answered_beside(request).await;
    assert!(answered > 20, "{answered} requests of others");
}
