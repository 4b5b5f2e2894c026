//! A stand-in for PostHog that costs as little as possible: it reads a request and says yes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const YES: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n\
{\"status\":\"Ok\"}";

pub async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let mut bytes = vec![0; 256 * 1024];
    let mut held = 0;
    loop {
        let Some(end) = ends(&bytes[..held]) else {
            if held == bytes.len() {
                bytes.resize(held * 2, 0);
            }
            match stream.read(&mut bytes[held..]).await {
                Ok(read) if read > 0 => held += read,
                _ => return,
            }
            continue;
        };
        bytes.copy_within(end..held, 0);
        held -= end;
        if stream.write_all(YES).await.is_err() {
            return;
        }
    }
}

/// Where the first request ends, if all of it is here.
fn ends(bytes: &[u8]) -> Option<usize> {
    // A head is never longer, and a body need not be looked through again and again.
    let near = &bytes[..bytes.len().min(16 * 1024)];
    let head = near.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head])
        .ok()?
        .to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let end = b"\r\n0\r\n\r\n";
        return bytes.ends_with(end).then_some(bytes.len());
    }
    let length = text.split("content-length: ").nth(1)?;
    let length: usize = length.split("\r\n").next()?.parse().ok()?;
    (bytes.len() >= head + length).then_some(head + length)
}
