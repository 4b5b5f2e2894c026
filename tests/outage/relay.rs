//! A line between the proxy and PostHog that can be cut.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Passes,
    /// Every connection ends at once.
    Refuses,
    /// Every connection ends in the middle of a request.
    Cuts,
    /// Connections open and nothing comes.
    Hangs,
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

    /// Changes the line. What is under way on it breaks.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
            Line::Cuts => {
                let _ = socket.read(&mut [0; 100]).await;
            }
            Line::Hangs => std::future::pending().await,
        }
    };
    tokio::select! {
        () = carrying => {}
        _ = line.changed() => {}
    }
}
