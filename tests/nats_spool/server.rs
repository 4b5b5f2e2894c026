//! NATS servers that the tests start, alone or in a cluster, and kill.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::support::address::unused_address;

/// The program; `None` if it is not installed, with a message that the test is skipped.
fn installed() -> Option<&'static str> {
    let answers = |program: &&str| {
        let mut asking = Command::new(program);
        asking
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok()
    };
    // Debian's folder is not in every user's path.
    let found = ["nats-server", "/usr/sbin/nats-server"]
        .into_iter()
        .find(answers);
    if found.is_none() {
        let required = std::env::var("HEDGEROW_CLIENTS").is_ok_and(|value| value == "required");
        assert!(!required, "nats-server is required and not installed");
        println!("SKIPPED: nats-server is not installed (apt-get install nats-server)");
    }
    found
}

/// A server that this test has started, with its files.
pub struct Server {
    program: &'static str,
    process: Option<Child>,
    arguments: Vec<String>,
    port: u16,
    _folder: Arc<tempfile::TempDir>,
}

impl Server {
    pub fn prepare(extra: &[String]) -> Option<Self> {
        let program = installed()?;
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let port = unused_address().port();
        let store: PathBuf = folder.path().join("store");
        let mut arguments: Vec<String> = [
            "-a",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-js",
            "-sd",
            store.to_str().unwrap(),
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend_from_slice(extra);
        Some(Self {
            program,
            process: None,
            arguments,
            port,
            _folder: folder,
        })
    }

    /// A server whose configuration except the address is in this file, so that it can reload the
    /// file.
    #[allow(dead_code)]
    pub fn of_file(file: &std::path::Path) -> Option<Self> {
        let mut server = Self::prepare(&["-c".to_owned(), file.display().to_string()])?;
        drop(server.arguments.drain(4..7));
        server.start();
        Some(server)
    }

    /// Keeps nothing.
    #[allow(dead_code)]
    pub fn without_jetstream(&mut self) {
        drop(self.arguments.drain(4..7));
    }

    pub fn single() -> Option<Self> {
        let mut server = Self::prepare(&[])?;
        server.start();
        Some(server)
    }

    /// A server that asks for a login.
    pub fn with_user(name: &str, password: &str) -> Option<Self> {
        let extra = ["--user", name, "--pass", password].map(str::to_owned);
        let mut server = Self::prepare(&extra)?;
        server.start();
        Some(server)
    }

    /// A cluster of three servers.
    pub fn cluster() -> Option<Vec<Self>> {
        let routes: Vec<u16> = (0..3).map(|_| unused_address().port()).collect();
        let urls: Vec<String> = routes
            .iter()
            .map(|port| format!("nats-route://127.0.0.1:{port}"))
            .collect();
        let mut servers = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let extra = [
                "--server_name",
                &format!("n{number}"),
                "--cluster_name",
                "hedge",
                "--cluster",
                &format!("nats://127.0.0.1:{route}"),
                "--routes",
                &urls.join(","),
            ]
            .map(str::to_owned);
            servers.push(Self::prepare(&extra)?);
        }
        servers.iter_mut().for_each(Self::start);
        Some(servers)
    }

    pub fn start(&mut self) {
        let process = Command::new(self.program)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Sends a signal.
    #[allow(dead_code)]
    pub fn signal(&self, name: &str) {
        let Some(process) = &self.process else { return };
        let pid = process.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.unwrap().success(), "{name}");
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
