//! Request bodies for the site.

use crate::support::client::{chunk, post, Client};
use crate::support::h2;
use crate::support::proxy::Proxy;
use crate::{site, with_site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_ends_with_an_empty_frame_ends_once() {
    let site = site("taken").await;
    let proxy = Proxy::start_h2c(&with_site("http://127.0.0.1:9", &site.url())).await;
    let mut client = h2::Client::connect(proxy.address).await;
    for number in 0..3 {
        // Without a length; an empty frame ends the body.
        let answer = client.exchange("/upload", &[], &[b"one ", b"two"]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sent = site.requests(number + 1).await[number].clone();
        assert_eq!(sent.body, b"one two");
        assert_eq!(sent.header("host").as_deref(), Some("shop.example.com"));
    }
    // The server would read a second end as the head of another request.
    let seen = site.seen();
    assert!(
        seen.iter()
            .all(|sent| sent.head.starts_with("POST /upload ")),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|sent| sent.nth > 0),
        "the connection was used again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_every_framing_arrive_at_the_site_whole() {
    let site = site("taken").await;
    let proxy = Proxy::start(&with_site("http://127.0.0.1:9", &site.url())).await;
    let large = vec![b'x'; 300_000];
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(&post("/upload", "", &large)).await;
    assert_eq!(answer.status, 200);
    client
        .send(b"POST /upload HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for piece in large.chunks(70_000) {
        client.send(&chunk(piece)).await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    let answer = client.exchange(&post("/upload", "", b"")).await;
    assert_eq!(answer.status, 200);
    let seen = site.requests(3).await;
    let lengths: Vec<usize> = seen.iter().map(|sent| sent.body.len()).collect();
    assert_eq!(lengths, [300_000, 300_000, 0]);
}
