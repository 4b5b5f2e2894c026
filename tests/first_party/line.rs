//! The line between the visitor and Hedgerow; some paths can fail on it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use tokio::io::{copy_bidirectional, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to requests for these paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFate {
    Passes,
    /// A server between them answers 503.
    Fails,
    /// The connection ends without an answer.
    Cut,
    /// A web server that has no rule for the path answers 404.
    NotThere,
    /// A web server answers every path with the site's first page.
    APage,
}

pub struct Line {
    pub address: SocketAddr,
    /// The number of requests that did not pass.
    pub held_up: Arc<AtomicUsize>,
    way: watch::Sender<PathFate>,
    accepting: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Line {
    /// A line to this address. Paths with these ends fail while the line is set to fail.
    pub async fn to(address: SocketAddr, ends: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let (way, watching) = watch::channel(PathFate::Passes);
        let held_up = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&held_up);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (ends, watching, count) = (ends.clone(), watching.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    // A closed connection of the browser does not end the test.
                    let _ = carry(socket, address, &ends, &watching, &count).await;
                });
            }
        });
        Self {
            address: own,
            held_up,
            way,
            accepting,
        }
    }

    pub fn set(&self, way: PathFate) {
        self.way.send_replace(way);
    }
}

/// One request for each connection, so that the line sees every path.
async fn carry(
    mut socket: TcpStream,
    to: SocketAddr,
    ends: &[String],
    way: &watch::Receiver<PathFate>,
    held_up: &AtomicUsize,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let target = text.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let now = *way.borrow();
    if now != PathFate::Passes && ends.iter().any(|end| path.ends_with(end)) {
        held_up.fetch_add(1, Ordering::SeqCst);
        let (status, kind) = match now {
            PathFate::Fails => ("503 Service Unavailable", "text/plain"),
            PathFate::NotThere => ("404 Not Found", "text/html"),
            PathFate::APage => ("200 OK", "text/html"),
            PathFate::Cut | PathFate::Passes => return socket.shutdown().await,
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: 4\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n<p>x"
        );
        socket.write_all(answer.as_bytes()).await?;
        return socket.shutdown().await;
    }
    let kept = text
        .split("\r\n")
        .filter(|line| !line.to_lowercase().starts_with("connection:"));
    let mut request = kept.collect::<Vec<_>>().join("\r\n").into_bytes();
    request.extend_from_slice(b"\r\nConnection: close");
    request.extend_from_slice(&bytes[head..]);
    let mut onward = TcpStream::connect(to).await?;
    onward.write_all(&request).await?;
    copy_bidirectional(&mut socket, &mut onward).await?;
    Ok(())
}
