//! A binary that chooses its own port, and is waited for.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::Child;

/// More than any machine needs, so that only what never comes is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where this process listens, by what it says in its log, once it answers there. A port
/// that the test had chosen could belong to another process by then, and be taken for the process's own.
pub async fn listens(process: &mut Child, log: &Path) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).expect("the log is there");
        let status = process.try_wait().expect("our own process");
        assert!(status.is_none(), "it ended with {status:?}:\n{text}");
        if let Some(address) = said(&text) {
            if TcpStream::connect(address).await.is_ok() {
                return address;
            }
        }
        assert!(Instant::now() < deadline, "it does not listen:\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn said(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening on ")?;
    // The end of the line, or the rest of it is still to come.
    let (address, _) = rest.split_once('\n')?;
    address.trim().parse().ok()
}
