//! A line between the proxy and PostHog that the test can cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Passes,
    /// Ends every connection at once.
    Refuses,
    /// Ends every connection in the middle of a request.
    Cuts,
    /// Accepts connections and transfers nothing.
    Hangs,
    /// Delays every byte, in both directions.
    Crawls,
    /// Resets every connection in the middle of a request.
    Resets,
}

pub struct Relay {
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    accepting: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relay {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (line, watching) = watch::channel(Line::Passes);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(carry(socket, to, watching.clone()));
            }
        });
        Self {
            address,
            line,
            accepting,
        }
    }

    /// Changes the line and breaks its open connections.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// How long a piece of at most this many bytes takes on the slow line.
const CRAWL: (Duration, usize) = (Duration::from_millis(150), 4096);
/// How much of a request passes before the line cuts it.
const CUT: u64 = 300;

/// One direction of the slow line.
async fn crawl(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut piece = vec![0; CRAWL.1];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(CRAWL.0).await;
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// Passes on the beginning of a request.
async fn begin(socket: &mut TcpStream, to: SocketAddr) {
    if let Ok(mut onward) = TcpStream::connect(to).await {
        let _ = tokio::io::copy(&mut socket.take(CUT), &mut onward).await;
    }
}

async fn carry(mut socket: TcpStream, to: SocketAddr, mut line: watch::Receiver<Line>) {
    let now = *line.borrow_and_update();
    let carrying = async {
        match now {
            Line::Passes => {
                if let Ok(mut onward) = TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut onward).await;
                }
            }
            Line::Refuses => {}
            Line::Cuts => begin(&mut socket, to).await,
            Line::Resets => {
                begin(&mut socket, to).await;
                let _ = socket.set_zero_linger();
            }
            Line::Crawls => {
                if let Ok(onward) = TcpStream::connect(to).await {
                    let (from_client, to_client) = socket.split();
                    let (from_server, to_server) = onward.into_split();
                    let forth = async {
                        crawl(from_client, to_server).await;
                        std::future::pending().await
                    };
                    tokio::select! {
                        () = forth => {}
                        () = crawl(from_server, to_client) => {}
                    }
                }
            }
            Line::Hangs => std::future::pending().await,
        }
    };
    tokio::select! {
        () = carrying => {}
        _ = line.changed() => {}
    }
}
