//! The real binary as a process that the test can kill and start again on the same port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::address::unused_address;
use super::support::client::post;
use super::support::{eventually, DEADLINE};

pub struct Binary {
    pub address: SocketAddr,
    pub file: PathBuf,
    limits: String,
    child: Child,
}

impl Drop for Binary {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Binary {
    /// Starts the binary with this configuration; `limits` are shell commands that run before it.
    pub async fn new(folder: &Path, yaml: &str, limits: &str) -> Self {
        let address = unused_address();
        let file = folder.join("hedgerow.yaml");
        let yaml = format!("listen: [\"{address}\"]\n{yaml}server: {{grace: 20s}}\n");
        std::fs::write(&file, yaml).expect("the folder is ours");
        let child = spawn(&file, limits);
        let binary = Self {
            address,
            file,
            limits: limits.to_owned(),
            child,
        };
        binary.listening().await;
        binary
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after its end.
    pub async fn start(&mut self) {
        self.child = spawn(&self.file, &self.limits);
        self.listening().await;
    }

    /// Stops it with SIGTERM; returns its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("there is a kill").success());
        let child = &mut self.child;
        let status = eventually("its end", || child.try_wait().expect("our child")).await;
        status.code()
    }

    async fn listening(&self) {
        let start = std::time::Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            assert!(start.elapsed() < DEADLINE, "it does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn spawn(file: &Path, limits: &str) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{limits} exec \"$0\" run -c \"$1\""))
        .arg(env!("CARGO_BIN_EXE_hedgerow"))
        .arg(file)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell")
}

/// Sends one message over its own connection; returns the whole answer, or an empty one.
pub async fn exchange(address: SocketAddr, body: &str) -> Option<String> {
    let path = if body.starts_with("{\"batch\"") {
        "/hr/v1/b"
    } else {
        "/hr/v1/t"
    };
    let talk = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = post(path, "Connection: close\r\n", body.as_bytes());
        stream.write_all(&request).await.ok()?;
        let mut answer = Vec::new();
        // Bytes before a reset count as well.
        let _ = stream.read_to_end(&mut answer).await;
        (answer.len() > 12).then(|| String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(DEADLINE, talk).await.ok().flatten()
}

/// The same, with only the status; it also returns `id`, to tell requests apart.
pub async fn send(address: SocketAddr, body: String, id: String) -> (String, Option<u16>) {
    let answer = exchange(address, &body).await;
    let status = answer.and_then(|answer| answer.get(9..12)?.parse().ok());
    (id, status)
}

/// `hedgerow spool` with this configuration: its output and its exit code.
pub fn spool(file: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("spool")
        .args(arguments)
        .arg("-c")
        .arg(file)
        .output()
        .expect("it runs");
    (
        String::from_utf8(output.stdout).expect("it is text"),
        output.status.code(),
    )
}
