//! Causes each failure of docs/first-hour.md that Hedgerow reports itself, with the real binary on
//! loopback. The log must have the document's words.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The text about a failure in the document's first table.
fn said_of(failure: &str) -> String {
    let path = format!("{}/docs/first-hour.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let start = format!("| {failure} | `");
    let row = text.split(&start).nth(1);
    let row = row.unwrap_or_else(|| panic!("no row: {failure}"));
    row.split('`').next().unwrap().to_owned()
}

/// A log line as the document writes it, without Markdown around names.
fn plain(log: &str) -> String {
    log.replace('`', "")
}

struct ReplayedSession {
    folder: tempfile::TempDir,
    address: SocketAddr,
    prefix: String,
    process: Option<Child>,
}

impl Drop for ReplayedSession {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl ReplayedSession {
    /// A file as `init` writes it for this host, without the library and with changes.
    fn with(host: &str, change: impl Fn(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = support::address::unused_address();
        let listen = address.to_string();
        let made = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args(["init", "--without-posthog-js", "--host", host])
            .args(["--listen", &listen, "--write-key", "wk_first"])
            .output()
            .unwrap();
        let yaml = String::from_utf8(made.stdout).unwrap();
        let prefix = yaml.split("path: ").nth(1).unwrap();
        let prefix = prefix.split_whitespace().next().unwrap().to_owned();
        std::fs::write(folder.path().join("hedgerow.yaml"), change(yaml)).unwrap();
        Self {
            folder,
            address,
            prefix,
            process: None,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_remove("HEDGEROW_CONFIG")
            .env("POSTHOG_API_KEY", "phc_first_hour")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.path().join("log")).unwrap());
        command
    }

    fn log(&self) -> String {
        plain(&std::fs::read_to_string(self.path().join("log")).unwrap())
    }

    /// Starts the binary and sends one event with this key.
    fn runs(&mut self, key: &str) {
        self.process = Some(self.command(&["run"]).spawn().unwrap());
        let deadline = Instant::now() + support::DEADLINE;
        let mut stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(_) => assert!(Instant::now() < deadline, "{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let body = format!("{{\"userId\":\"u\",\"event\":\"Hello\",\"writeKey\":\"{key}\"}}");
        write!(
            stream,
            "POST {}v1/track HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 198.51.100.7\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.prefix,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let status = if key == "wk_first" { "200" } else { "401" };
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}\n{}",
            self.log()
        );
    }

    /// Waits for the words in this failure's row.
    fn says(&self, failure: &str) {
        let said = said_of(failure);
        let deadline = Instant::now() + support::DEADLINE;
        while !self.log().contains(&said) {
            assert!(
                Instant::now() < deadline,
                "{failure}: {said}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `run` ends by itself with these words.
    fn ends(&self, failure: &str, mut command: Command) {
        let status = command.status().unwrap();
        assert_eq!(status.code(), Some(2), "{failure}\n{}", self.log());
        let said = said_of(failure);
        assert!(
            self.log().contains(&said),
            "{failure}: {said}\n{}",
            self.log()
        );
    }
}

/// The route serves no scripts; the test only sends events.
fn without_library(yaml: String) -> String {
    let start = yaml.find("      library:\n").unwrap();
    let end = yaml.find("      # sent: events carry").unwrap();
    format!("{}{}", &yaml[..start], &yaml[end..])
}

/// A peer that answers every connection with this text and reads nothing.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while !request.ends_with(b"}") {
                    match stream.read(&mut piece) {
                        Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

const REFUSED: &str =
    "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 2\r\n\r\n{}";
const PAGE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";

#[test]
fn problems_that_prevent_a_start_are_reported_at_once() {
    let played = ReplayedSession::with("us", |yaml| yaml);
    let mut command = played.command(&["run"]);
    command.env_remove("POSTHOG_API_KEY");
    played.ends("`POSTHOG_API_KEY` is not set", command);
    played.ends("analytics.js is not there", played.command(&["run"]));
    let played = ReplayedSession::with("us", without_library);
    let _taken = TcpListener::bind(played.address).unwrap();
    played.ends("the port is taken", played.command(&["run"]));
}

#[test]
fn wrong_answers_from_posthogs_address_are_reported_with_the_first_event() {
    for (failure, answer) in [
        ("PostHog refuses the key", REFUSED),
        ("another web server answers at PostHog's address", PAGE),
    ] {
        let host = format!("http://{}", answering(answer));
        let mut played = ReplayedSession::with(&host, without_library);
        played.runs("wk_first");
        played.says(failure);
    }
}

#[test]
fn a_missing_connection_to_posthog_is_reported_with_the_first_event() {
    // The system accepts connections into the queue, and no program takes them out.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (silent.local_addr().unwrap(), silent);
    // The queue is full, so the system neither accepts nor refuses a connection.
    let dropping = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&dropping, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&dropping, 0).unwrap();
    let dropping = TcpListener::from(dropping);
    let full = dropping.local_addr().unwrap();
    let patience = Duration::from_millis(300);
    let waiting: Vec<_> = (0..8)
        .map(|_| TcpStream::connect_timeout(&full, patience))
        .collect();
    assert!(waiting.iter().any(Result::is_err), "its queue is not full");
    for (failure, host) in [
        (
            "`host` is misspelt",
            "http://no-such-name.invalid".to_owned(),
        ),
        (
            "connections to PostHog are refused",
            support::address::dead_url(),
        ),
        (
            "connections to PostHog are dropped silently",
            format!("http://{full}"),
        ),
        (
            "PostHog's address accepts connections and never answers",
            format!("http://{}", silent.0),
        ),
    ] {
        let mut played = ReplayedSession::with(&host, |yaml| {
            without_library(yaml).replace("timeout: 15s", "timeout: 2s")
        });
        played.runs("wk_first");
        played.says(failure);
    }
}

/// An expired certificate for localhost, and its key.
fn expired(folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut parameters = rcgen::CertificateParams::new(names).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let signed = parameters.self_signed(&key).unwrap();
    std::fs::write(folder.join("old.pem"), signed.pem()).unwrap();
    std::fs::write(folder.join("old.key"), key.serialize_pem()).unwrap();
}

#[test]
fn an_expired_certificate_is_reported_on_both_sides() {
    // A Hedgerow with this certificate stands in for PostHog.
    let mut theirs = ReplayedSession::with("us", without_library);
    expired(theirs.path());
    let listen = theirs.address.to_string();
    let yaml = std::fs::read_to_string(theirs.path().join("hedgerow.yaml")).unwrap();
    let secure = format!("{{address: {listen}, tls: {{certificate: old.pem, key: old.key}}}}");
    let yaml = yaml.replace(&format!("- {listen}"), &format!("- {secure}"));
    std::fs::write(theirs.path().join("hedgerow.yaml"), yaml).unwrap();
    let looked = theirs.command(&["doctor"]).stdout(Stdio::piped()).output();
    let found = String::from_utf8(looked.unwrap().stdout).unwrap();
    let said = said_of("Hedgerow's own certificate has expired");
    let mut bad = found.lines().filter(|line| line.starts_with("BAD"));
    let of_it = |line: &str| line.contains("certificate old.pem") && line.contains(&said);
    assert!(bad.any(of_it), "{found}");
    theirs.process = Some(theirs.command(&["run"]).spawn().unwrap());
    let ca = theirs.path().join("old.pem").display().to_string();
    let mut ours = ReplayedSession::with(
        &format!("https://localhost:{}", theirs.address.port()),
        |yaml| {
            let key = "api_key: env:POSTHOG_API_KEY";
            without_library(yaml).replace(key, &format!("{key}\n    ca_file: '{ca}'"))
        },
    );
    ours.runs("wk_first");
    ours.says("PostHog's certificate has expired, or its authority is not trusted");
}

#[test]
fn an_unknown_key_and_an_untrusted_proxy_are_reported() {
    let host = format!("http://{}", answering(REFUSED));
    let mut played = ReplayedSession::with(&host, |yaml| {
        without_library(yaml).replace("[127.0.0.1, \"::1\"]", "[]")
    });
    played.runs("wk_of_another_source");
    played.says("an SDK sends another write key");
    played.says("a proxy in front is not in `trusted_proxies`");
}

#[test]
fn the_words_for_the_page_are_those_of_the_page() {
    let read = |path: &str| {
        let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let document = read("docs/first-hour.md");
    let (_, section) = document
        .split_once("\n## The page's console reports it\n")
        .unwrap();
    let spoken = read("src/site/unanswered.js") + &read("src/site/snippet/html.rs");
    let mut looked = 0;
    for words in section.split('`').skip(1).step_by(2) {
        let Some((_, words)) = words.split_once("the last one ") else {
            continue;
        };
        // The document has a number in the place of the status.
        let words = words.trim_end_matches(", to");
        let words = words.trim_end_matches(|one: char| one.is_ascii_digit());
        assert!(spoken.contains(words.trim()), "{words}");
        looked += 1;
    }
    assert!(looked >= 6, "{looked}");
}
