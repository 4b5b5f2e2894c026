//! A binary that chooses its own port.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Longer than any machine needs, so that only a failure exceeds it.
const PATIENCE: Duration = Duration::from_secs(120);

/// `hedgerow run` with this configuration and these variables; its output goes into the log.
pub fn run(file: &Path, log: &Path, variables: &[(&str, &str)]) -> Child {
    let log = File::create(log).expect("the folder is ours");
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["run", "-c"])
        .arg(file)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("it is open"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the binary")
}

/// The address of this process, from its log, as soon as it answers there. If the test chose the
/// port, another process could have taken it meanwhile, and would answer instead.
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
    // The line may not be complete yet.
    let (address, _) = rest.split_once('\n')?;
    address.trim().parse().ok()
}
