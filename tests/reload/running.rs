//! A process whose configuration changes, and its reports about that.
#![allow(dead_code)] // each test binary uses a part of it

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::process::{write, Process};
use super::support::address::unused_address;
use super::support::client::Client;
use super::support::{eventually, DEADLINE};

pub struct Running {
    pub process: Process,
    pub folder: tempfile::TempDir,
    admin: SocketAddr,
    rest: String,
}

impl Running {
    /// Starts it with this YAML, an admin address and a listener.
    pub async fn start(rest: &str) -> Self {
        Self::start_with(rest, |_| {}).await
    }

    /// The same with more files in its folder.
    pub async fn start_with(rest: &str, prepare: impl FnOnce(&Path)) -> Self {
        Self::with("[{address}]", rest, prepare).await
    }

    /// The same with these listeners; `{address}` stands for a free port.
    pub async fn listening(listen: &str, rest: &str) -> Self {
        Self::with(listen, rest, |_| {}).await
    }

    async fn with(listen: &str, rest: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        prepare(folder.path());
        let admin = unused_address();
        let rest = format!("admin: \"{admin}\"\n{rest}");
        let process = Process::start(folder.path(), listen, &rest).await;
        let running = Self {
            process,
            folder,
            admin,
            rest,
        };
        running.metric("hedgerow_config_generation").await;
        running
    }

    /// Replaces the configuration file by a rename.
    pub fn replace(&mut self, rest: &str) {
        self.rest = format!("admin: \"{}\"\n{rest}", self.admin);
        self.listen(&[self.process.address]);
    }

    /// The same configuration with these listeners.
    pub fn listen(&self, addresses: &[SocketAddr]) {
        let list: Vec<String> = addresses.iter().map(|at| format!("\"{at}\"")).collect();
        let listen = format!("[{}]", list.join(", "));
        let new = self.folder.path().join("new.yaml");
        let Process {
            address, socket, ..
        } = &self.process;
        write(&new, *address, socket, &listen, &self.rest);
        fs::rename(new, &self.process.file).expect("the folder is ours");
    }

    /// Replaces the file with this text.
    pub fn replace_all(&self, text: &str) {
        let new = self.folder.path().join("new.yaml");
        fs::write(&new, text).expect("the folder is ours");
        fs::rename(new, &self.process.file).expect("the folder is ours");
    }

    /// `hedgerow reload`: its exit code and output.
    pub fn reload(&self) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(["reload", "-c"])
            .arg(&self.process.file)
            .output()
            .expect("it is built");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    }

    /// Its admin address.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// A value of `/metrics`.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.page("/metrics").await;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        value.parse::<f64>().expect("a number") as u64
    }

    /// Why the last change was refused; empty if it was not.
    pub async fn last_refusal(&self) -> String {
        let health: serde_json::Value =
            serde_json::from_str(&self.page("/health").await).expect("JSON");
        let said = health["config"]["last_refusal"].as_str();
        said.unwrap_or_default().to_owned()
    }

    /// Waits until more than so many changes were refused; returns the reason of the last.
    pub async fn refused_after(&self, before: u64) -> String {
        self.counts(
            "hedgerow_config_reloads_total{result=\"refused\"}",
            before + 1,
        )
        .await;
        self.last_refusal().await
    }

    /// Waits until so many changes have become active.
    pub async fn applied(&self, number: u64) {
        let name = "hedgerow_config_reloads_total{result=\"applied\"}";
        self.counts(name, number).await;
    }

    async fn counts(&self, name: &str, number: u64) {
        let start = Instant::now();
        while self.metric(name).await < number {
            let refusal = self.last_refusal().await;
            assert!(start.elapsed() < DEADLINE, "no {name} {number}: {refusal}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until the configuration with this Segment route is active.
    pub async fn generation_of(&self, path: &str) {
        let start = Instant::now();
        let request = format!("OPTIONS {path}v1/t HTTP/1.1\r\nHost: h\r\n\r\n");
        loop {
            let mut client = Client::connect(self.process.address).await;
            let answer = client.exchange(request.as_bytes()).await;
            if answer.status == 204 {
                return;
            }
            let refusal = self.last_refusal().await;
            assert!(start.elapsed() < DEADLINE, "no {path}: {refusal}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Its memory in kB.
    pub fn memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(status).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        kilobytes
            .and_then(|text| text.parse().ok())
            .expect("a number")
    }

    async fn page(&self, path: &str) -> String {
        eventually("the admin page", || {
            std::net::TcpStream::connect(self.admin).ok()
        })
        .await;
        let mut client = Client::connect(self.admin).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin);
        let answer = client.exchange(request.as_bytes()).await;
        String::from_utf8(answer.body).expect("text")
    }
}
