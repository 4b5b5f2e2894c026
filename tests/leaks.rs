//! Secrets go only where they must. The test puts cookies, credentials, keys and personal data into
//! requests, answers and the configuration of the real binary, uses every path, and searches all
//! output for them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "leaks/configuration.rs"]
mod configuration;
#[path = "leaks/paths.rs"]
mod paths;
#[path = "leaks/secrets.rs"]
mod secrets;
mod support;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Arc;

use secrets::{Output, Sink};
use support::address::unused_address;
use support::client::{Answer, Client};
use support::recorder::{Act, Recorder, OK};
use support::{eventually, DEADLINE};

const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow");

/// How an upstream answers.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum AnswerMode {
    Well,
    /// With 503, a cookie, and a page that repeats the request.
    Away,
    /// With 400 and a text that repeats the request.
    Refuses,
    /// With bytes that are no HTTP answer, and a cookie in them.
    Babbles,
    HangsUp,
}

/// An upstream whose answers the test can change.
struct Upstream {
    recorder: Recorder,
    mood: Arc<AtomicU8>,
}

impl Upstream {
    async fn start() -> Self {
        let mood = Arc::new(AtomicU8::new(AnswerMode::Well as u8));
        let now = Arc::clone(&mood);
        let recorder = Recorder::that(move |request| {
            let mood = now.load(Ordering::SeqCst);
            // The replay compresses its batches.
            let body = inflated(&request.body).unwrap_or_else(|| request.body.clone());
            let echo = format!("{}{}", String::from_utf8_lossy(&body), request.head);
            let page = |status: &str, body: &str| {
                let cookie = format!("Set-Cookie: up={}\r\n", secrets::UPSTREAM_COOKIE);
                let length = body.len();
                format!("HTTP/1.1 {status}\r\n{cookie}Content-Length: {length}\r\n\r\n{body}")
            };
            match mood {
                _ if mood == AnswerMode::Away as u8 => Act::Answer(page("503 Away", &echo).into_bytes()),
                _ if mood == AnswerMode::Refuses as u8 => {
                    Act::Answer(page("400 Bad Request", &echo).into_bytes())
                }
                _ if mood == AnswerMode::Babbles as u8 => Act::AnswerAndClose(
                    format!(
                        "HTTP/1.1 200 OK\r\nSet-Cookie: up={0}\r\nno colon {0} {echo}\r\n\u{1}\r\n\r\n",
                        secrets::UPSTREAM_COOKIE
                    )
                    .into_bytes(),
                ),
                _ if mood == AnswerMode::HangsUp as u8 => Act::Close,
                _ => Act::Answer(OK.to_vec()),
            }
        })
        .await;
        Self { recorder, mood }
    }

    fn now(&self, mood: AnswerMode) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        self.recorder.url()
    }

    /// Everything that the upstream received.
    fn got(&self) -> Vec<u8> {
        let requests = self.recorder.seen().into_iter();
        requests
            .flat_map(|request| [request.head.into_bytes(), request.body].concat())
            .collect()
    }
}

fn inflated(body: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body)
        .read_to_end(&mut plain)
        .ok()?;
    Some(plain)
}

/// The binary, its upstreams, and everything that the binary has printed.
struct LeakSetup {
    process: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    secure: SocketAddr,
    admin: SocketAddr,
    certificates: support::tls::Certificates,
    posthog: Upstream,
    site: Upstream,
    segment: Upstream,
    outs: Vec<Output>,
}

impl Drop for LeakSetup {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl LeakSetup {
    /// Starts the binary with this log filter; `None` is the default.
    async fn start(filter: Option<&str>) -> Self {
        let (posthog, site, segment) = (
            Upstream::start().await,
            Upstream::start().await,
            Upstream::start().await,
        );
        let folder = tempfile::tempdir().unwrap();
        let certificates = support::tls::Certificates::new(&["localhost"]);
        let (address, secure, admin) = (unused_address(), unused_address(), unused_address());
        let yaml = format!(
            "listen:\n  - \"{address}\"\n  - {{address: \"{secure}\", tls: {{certificate: \"{}\", key: \"{}\"}}}}\n\
             admin: \"{admin}\"\n\
             trusted_proxies: [127.0.0.1]\n\
             projects:\n  shop: {{host: \"{}\", api_key: env:LEAKS_KEY}}\n\
             routes:\n\
             \x20 - path: /hr/\n    segment: {{project: shop, write_keys: [env:LEAKS_WRITE_KEY, \"file:account.key\"], \
             forward: {{api: \"{}\", write_key: \"file:account.key\"}}}}\n\
             \x20 - path: /ph/\n    posthog: shop\n\
             \x20 - path: /\n    origin: \"{}\"\n\
             mapping: {{sessions: {{cookie: {{secret: env:LEAKS_SECRET}}}}}}\n\
             limits: {{body: 200kB, event: 50kB}}\n\
             delivery: {{connect_timeout: 2s, timeout: 5s, spool: {{path: spool/}}}}\n\
             server: {{grace: 1s}}\n",
            certificates.file("certificate.pem").display(),
            certificates.file("key.pem").display(),
            posthog.url(),
            segment.url(),
            site.url(),
        );
        std::fs::write(folder.path().join("hedgerow.yaml"), yaml).unwrap();
        std::fs::write(folder.path().join("account.key"), secrets::ACCOUNT_KEY).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Self::command(folder.path());
        command.args(["run"]).stderr(log).stdout(Stdio::null());
        if let Some(filter) = filter {
            command.env("RUST_LOG", filter);
        }
        let mut world = Self {
            process: command.spawn().unwrap(),
            folder,
            address,
            secure,
            admin,
            certificates,
            posthog,
            site,
            segment,
            outs: Vec::new(),
        };
        world.listens().await;
        world
    }

    async fn listens(&mut self) {
        for address in [self.address, self.secure, self.admin] {
            let start = std::time::Instant::now();
            while tokio::net::TcpStream::connect(address).await.is_err() {
                let ended = self.process.try_wait().unwrap();
                assert!(
                    ended.is_none() && start.elapsed() < DEADLINE,
                    "{}",
                    self.log()
                );
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }

    /// The binary, with secrets in its configuration.
    fn command(folder: &Path) -> Command {
        let mut command = Command::new(BINARY);
        command
            .arg("-c")
            .arg(folder.join("hedgerow.yaml"))
            .env("LEAKS_KEY", secrets::PROJECT_KEY)
            .env("LEAKS_WRITE_KEY", secrets::WRITE_KEY)
            .env("LEAKS_SECRET", secrets::SESSION_SECRET)
            .env("HEDGEROW_PANIC_AT", paths::PANICS)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Sends these bytes and stores the answer.
    async fn send(&mut self, sink: Sink, bytes: &[u8]) -> Option<Answer> {
        let mut client = Client::connect(self.address).await;
        client.send(bytes).await;
        let answer = client.next().await;
        if let Some(answer) = &answer {
            let said = [answer.head.as_bytes(), &answer.body].concat();
            self.outs.push(Output::new(sink, said));
        }
        answer
    }

    /// The answer of the admin address at this path.
    async fn admin(&mut self, path: &str, sink: Sink) -> String {
        let mut client = Client::connect(self.admin).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin);
        let answer = client.exchange(request.as_bytes()).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        self.outs.push(Output::new(sink, said.clone().into_bytes()));
        said
    }

    /// The live view: the rows, and both sides of each message.
    async fn live(&mut self) {
        let rows = self.admin("/live?after=0", Sink::Live).await;
        let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
        for row in rows["entries"].as_array().unwrap() {
            let path = format!("/live/message?number={}", row["number"]);
            self.admin(&path, Sink::Live).await;
        }
    }

    /// The output of another command with the same configuration.
    fn run(&mut self, arguments: &[&str], sink: Sink) -> String {
        let output = Self::command(self.folder.path()).args(arguments).output();
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&said).into_owned();
        self.outs.push(Output::new(sink, said));
        text
    }

    /// Waits until an event has become a dead letter.
    async fn dead_letter(&mut self) {
        let start = std::time::Instant::now();
        while !self
            .run(&["spool", "show", "1"], Sink::DeadLetter)
            .contains("\"event\"")
        {
            assert!(
                start.elapsed() < DEADLINE,
                "no dead letter:\n{}",
                self.log()
            );
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Stops the process, collects the rest of its output, and searches everything for secrets.
    async fn judge(mut self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        let process = &mut self.process;
        eventually("its end", || process.try_wait().unwrap()).await;
        let log = self.log();
        self.outs
            .push(Output::new(Sink::Log, log.clone().into_bytes()));
        for file in files(&self.folder.path().join("spool")) {
            self.outs
                .push(Output::new(Sink::Disk, std::fs::read(file).unwrap()));
        }
        self.outs
            .push(Output::new(Sink::PostHog, self.posthog.got()));
        self.outs.push(Output::new(Sink::Site, self.site.got()));
        self.outs
            .push(Output::new(Sink::Segment, self.segment.got()));
        let leaks = secrets::leaks(&self.outs);
        assert!(leaks.is_empty(), "\n{}", leaks.join("\n"));
        let missing = secrets::missing(&self.outs);
        assert!(
            missing.is_empty(),
            "did not get there:\n{}\n{log}",
            missing.join("\n")
        );
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

async fn drive(filter: Option<&str>) {
    let mut world = LeakSetup::start(filter).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.process.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(
        core[4..6],
        ["0", "0"],
        "a crash would write its memory to disk"
    );
    paths::drive(&mut world).await;
    world.judge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaves_at_the_default_level_of_the_log() {
    drive(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaves_when_our_own_lines_are_debugged() {
    drive(Some("hedgerow=debug")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaves_when_everything_is_traced() {
    drive(Some("trace")).await;
}
