//! The clients: so many connections, on each one request after the other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends so many requests and waits for their answers, all of which must be 200.
pub async fn run(address: SocketAddr, path: &str, body: &str, requests: usize, connections: usize) {
    let request: Arc<[u8]> = format!(
        "POST {path} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: text/plain\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/142.0.0.0 Safari/537.36\r\nOrigin: https://shop.example.com\r\n\
         Accept: */*\r\nAccept-Language: en-GB,en;q=0.9\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into();
    let left = Arc::new(AtomicUsize::new(requests));
    let clients: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(client(address, Arc::clone(&request), Arc::clone(&left))))
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

async fn client(address: SocketAddr, request: Arc<[u8]>, left: Arc<AtomicUsize>) {
    let mut connection = None;
    let mut bytes = vec![0; 64 * 1024];
    let take = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                stream
            }
        };
        stream.write_all(&request).await.unwrap();
        let mut held = 0;
        let head = loop {
            let read = stream.read(&mut bytes[held..]).await.unwrap();
            assert!(read > 0, "closed without an answer");
            held += read;
            let head = bytes[..held]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            let Some(head) = head else { continue };
            let text = std::str::from_utf8(&bytes[..head + 2])
                .unwrap()
                .to_lowercase();
            let length = text.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if held >= head + 4 + length {
                break text;
            }
        };
        assert!(head.starts_with("http/1.1 200"), "{head}");
        if !head.contains("connection: close") {
            connection = Some(stream);
        }
    }
}
