//! The real binary as users run it, with its log in a file, and a stand-in for PostHog that can
//! stop and start at the same address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use chrono::Utc;
use hedgerow::demo::capture::{Capture, StoreCapacity};
use hedgerow::demo::http::Handler;
use hedgerow::proxy::serve;
use tokio::net::{TcpListener, TcpStream};

use super::address::unused_address;
use super::client::{post, Answer, Client};
use super::DEADLINE;

/// A process that ends with the test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `hedgerow run`.
pub struct Running {
    pub file: PathBuf,
    log: PathBuf,
    process: Ended,
}

impl Running {
    /// Starts it with this file and these flags, and waits until it answers at `address`.
    pub async fn start(folder: &Path, yaml: &str, flags: &[&str], address: SocketAddr) -> Self {
        Self::start_with(folder, yaml, flags, &[], address).await
    }

    /// The same with these environment variables.
    pub async fn start_with(
        folder: &Path,
        yaml: &str,
        flags: &[&str],
        variables: &[(&str, String)],
        address: SocketAddr,
    ) -> Self {
        let (file, log) = (folder.join("hedgerow.yaml"), folder.join("log"));
        std::fs::write(&file, yaml).expect("the folder is ours");
        let out = std::fs::File::create(&log).expect("the folder is ours");
        let process = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .arg("run")
            .arg("-c")
            .arg(&file)
            .args(flags)
            .env_remove("RUST_LOG")
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(out)
            .spawn()
            .expect("the binary");
        let mut running = Self {
            file,
            log,
            process: Ended(process),
        };
        let start = std::time::Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = running.process.0.try_wait().expect("our own process");
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", running.log());
            assert!(start.elapsed() < DEADLINE, "{}", running.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        running
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is there")
    }

    /// `hedgerow spool` with its configuration.
    pub fn spool(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .arg("spool")
            .args(arguments)
            .arg("-c")
            .arg(&self.file)
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A GET over a separate connection.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut client = Client::connect(address).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // Boxed: a client's buffers are too large for the stack of a test with many of them.
    Box::pin(client.exchange(request.as_bytes())).await
}

/// A call over a separate connection.
pub async fn call(address: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    let headers = format!("Connection: close\r\n{headers}");
    let mut client = Client::connect(address).await;
    client
        .exchange(&post(path, &headers, body.as_bytes()))
        .await
}

/// Waits until `done` returns something. It may need many steps, so it has more time than each of them.
pub async fn until<T, F>(what: &str, mut done: impl FnMut() -> F) -> T
where
    F: std::future::Future<Output = Result<T, String>>,
{
    let start = std::time::Instant::now();
    loop {
        match Box::pin(done()).await {
            Ok(value) => return value,
            Err(instead) => assert!(
                start.elapsed() < DEADLINE * 3,
                "waited in vain: {what}; {instead}"
            ),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The stand-in for PostHog in its own runtime, whose end closes all its connections.
pub struct StandIn {
    pub address: SocketAddr,
    pub capture: Arc<Capture>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl StandIn {
    pub async fn start() -> Self {
        let capture = Arc::new(Capture::new(Arc::new(Utc::now), StoreCapacity::UNBOUNDED));
        // While it is stopped, the kernel gives its port to no other socket.
        let (address, runtime) = serving(unused_address(), &capture);
        Self {
            address,
            capture,
            runtime: Some(runtime),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it: nothing listens at its address any more.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it again with its stored events.
    pub fn resume(&mut self) {
        let (_, runtime) = serving(self.address, &self.capture);
        self.runtime = Some(runtime);
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serving(address: SocketAddr, capture: &Arc<Capture>) -> (SocketAddr, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = {
        let _entered = runtime.enter();
        let listener = bound(address);
        listener.set_nonblocking(true).expect("a socket");
        TcpListener::from_std(listener).expect("a socket")
    };
    let address = listener.local_addr().expect("it is bound");
    let handler: Arc<dyn Handler> = Arc::clone(capture) as _;
    runtime.spawn(serve(listener, handler));
    (address, runtime)
}

/// The standard library allows an address again at once if only old connections use it.
fn bound(address: SocketAddr) -> std::net::TcpListener {
    let start = std::time::Instant::now();
    loop {
        match std::net::TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{address}: {error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
