//! The recipes of docs/behind: real web servers in front of the real binary, and stand-ins for the
//! platforms that cannot be installed. A missing server skips its test with a message; with
//! `HEDGEROW_CLIENTS=required` the test fails instead.
#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "real_clients/installed.rs"]
mod installed;
#[path = "behind/platforms.rs"]
mod platforms;
#[path = "real_clients/script.rs"]
mod script;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::address::unused_address;
use support::proxy::PostHog;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

/// The block of a recipe in this language.
fn block(recipe: &str, language: &str) -> String {
    let path = format!("{}/docs/behind/{recipe}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let start = format!("```{language}\n");
    let rest = text.split(&start).nth(1).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

/// The path of the program. Debian installs some in folders that only root searches.
fn server(name: &str) -> Option<String> {
    let found = [name.to_owned(), format!("/usr/sbin/{name}")];
    let found = found.into_iter().find(|program| {
        let mut asking = std::process::Command::new(program);
        let asking = asking.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
        asking.status().is_ok()
    });
    if found.is_none() {
        let required = std::env::var("HEDGEROW_CLIENTS").is_ok_and(|value| value == "required");
        assert!(!required, "{name} is required and not installed");
        println!("SKIPPED: {name} is not installed (apt-get install {name})");
    }
    found
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in\n{text}");
    text.replace(from, to)
}

fn start(program: &str, arguments: &[&str], folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("POSTHOG_API_KEY", "phc_behind")
        // Caddy stores its files in this folder.
        .env("HOME", folder)
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn until_it_listens(address: SocketAddr) {
    let deadline = tokio::time::Instant::now() + support::DEADLINE;
    while TcpStream::connect(address).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "{address}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Hedgerow with the configuration of the recipe and this stand-in for PostHog.
async fn hedgerow(recipe: &str, posthog: &PostHog, folder: &Path) -> (Child, SocketAddr) {
    let address = unused_address();
    let yaml = block(recipe, "yaml");
    // The recipe's TLS settings and server addresses are those of another machine.
    let (listen, rest) = yaml.split_once('\n').unwrap();
    assert!(listen.starts_with("listen: "), "{yaml}");
    let (trusted, rest) = rest.split_once("projects:").unwrap();
    assert!(trusted.starts_with("trusted_proxies: "), "{yaml}");
    let yaml = format!("listen: {address}\ntrusted_proxies: [127.0.0.1]\nprojects:{rest}");
    let yaml = replaced(&yaml, "host: us", &format!("host: '{}'", posthog.url()));
    std::fs::write(folder.join("hedgerow.yaml"), yaml).unwrap();
    let child = start(env!("CARGO_BIN_EXE_hedgerow"), &["run"], folder);
    until_it_listens(address).await;
    (child, address)
}

/// A visitor's connection. Its address is not one of the proxy.
async fn visitor(front: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    socket.connect(front).await.unwrap()
}

/// One request on a connection that stays open; returns the head and the body of the answer.
async fn exchange(stream: &mut TcpStream, head: &str, body: &[u8]) -> (String, String) {
    let head = format!(
        "{head} HTTP/1.1\r\nHost: shop.example.com\r\nOrigin: https://shop.example.com\r\n\
         X-Forwarded-For: 198.51.100.7\r\nAccess-Control-Request-Method: POST\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // An early answer may end the sending of the body.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = tokio::time::timeout(support::DEADLINE, stream.read(&mut piece));
        let read = read.await.expect("an answer").unwrap();
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(read > 0, "{text}");
            continue;
        };
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length = length.map(|rest| rest.lines().next().unwrap().parse::<usize>().unwrap());
        let whole = match length {
            Some(length) => body.len() >= length,
            None if lower.contains("chunked") => body.ends_with("0\r\n\r\n"),
            None => true,
        };
        if whole || read == 0 {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// What every web server must pass on.
async fn holds(front: SocketAddr, posthog: &PostHog) {
    let mut stream = visitor(front).await;
    // All requests use one connection.
    let (head, _) = exchange(&mut stream, "OPTIONS /hr/v1/t", b"").await;
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    let allowed = "access-control-allow-origin: https://shop.example.com";
    assert!(head.to_lowercase().contains(allowed), "{head}");
    let message =
        br#"{"event":"Behind","userId":"u-1","context":{"library":{"name":"analytics.js"}}}"#;
    for _ in 0..2 {
        let (head, body) = exchange(&mut stream, "POST /hr/v1/t", message).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
        assert!(body.contains("{\"success\":true}"), "{body}");
    }
    for event in posthog.events(2).await {
        let event: serde_json::Value = serde_json::from_str(&event.raw).unwrap();
        let address = &event["properties"]["$ip"];
        assert_eq!(
            address, "127.0.0.2",
            "the visitor's, not a claim and not the proxy's"
        );
    }
    // The settings tell analytics.js to send its calls to the page's own host.
    let (head, settings) = exchange(&mut stream, "GET /hr/v1/projects/any/settings", b"").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        settings.contains("\"apiHost\":\"shop.example.com/hr"),
        "{settings}"
    );
    // A recording with a body of this size passes every limit of the server in front.
    let recording = vec![b'x'; 20 << 20];
    let (head, _) = exchange(&mut stream, "POST /hr/ph/s/", &recording).await;
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(status != 413 && status < 500, "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_a_path_on_as_documented() {
    let Some(nginx) = server("nginx") else {
        return;
    };
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_served, address) = hedgerow("nginx", &posthog, folder.path()).await;
    let front = unused_address();
    let server = block("nginx", "nginx");
    let server = replaced(&server, "listen 443 ssl;", &format!("listen {front};"));
    let server = replaced(&server, "127.0.0.1:8080", &address.to_string());
    let server: String = server
        .lines()
        .filter(|line| !line.contains("ssl_certificate"))
        .map(|line| format!("{line}\n"))
        .collect();
    let place = folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
        .concat();
    let whole = format!(
        // Without workers, killing the process ends the whole server.
        "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{temporary}{server}}}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), whole).unwrap();
    let file = folder.path().join("nginx.conf");
    let arguments = ["-e", "stderr", "-c", file.to_str().unwrap()];
    let _front = start(&nginx, &arguments, folder.path());
    until_it_listens(front).await;
    holds(front, &posthog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_passes_a_path_on_as_documented() {
    let Some(haproxy) = server("haproxy") else {
        return;
    };
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_served, address) = hedgerow("haproxy", &posthog, folder.path()).await;
    let front = unused_address();
    let whole = block("haproxy", "haproxy");
    let secure = "bind :443 ssl crt /etc/ssl/shop.pem";
    let whole = replaced(&whole, secure, &format!("bind {front}"));
    let whole = replaced(&whole, "127.0.0.1:8080", &address.to_string());
    std::fs::write(folder.path().join("haproxy.cfg"), whole).unwrap();
    let _front = start(&haproxy, &["-db", "-f", "haproxy.cfg"], folder.path());
    until_it_listens(front).await;
    holds(front, &posthog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_passes_a_path_on_as_documented() {
    let Some(caddy) = server("caddy") else {
        return;
    };
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_served, address) = hedgerow("caddy", &posthog, folder.path()).await;
    let front = unused_address();
    let whole = block("caddy", "caddyfile");
    let plainly = format!(
        "http://shop.example.com:{} {{\n    bind 127.0.0.1",
        front.port()
    );
    let whole = replaced(&whole, "shop.example.com {", &plainly);
    let whole = replaced(&whole, "127.0.0.1:8080", &address.to_string());
    let whole = format!("{{\n    admin off\n}}\n{whole}");
    std::fs::write(folder.path().join("Caddyfile"), whole).unwrap();
    let arguments = ["run", "--config", "Caddyfile", "--adapter", "caddyfile"];
    let _front = start(&caddy, &arguments, folder.path());
    until_it_listens(front).await;
    holds(front, &posthog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_proxy_in_front_is_reported_once() {
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (mut served, address) = hedgerow("nginx", &posthog, folder.path()).await;
    let message = br#"{"event":"Behind","userId":"u-1"}"#;
    // The configuration trusts 127.0.0.1 and not 127.0.0.2.
    let mut trusted = TcpStream::connect(address).await.unwrap();
    exchange(&mut trusted, "POST /hr/v1/t", message).await;
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(!log().contains("X-Forwarded-For"), "{}", log());
    for _ in 0..3 {
        let mut stream = visitor(address).await;
        exchange(&mut stream, "POST /hr/v1/t", message).await;
    }
    let said = "X-Forwarded-For comes from 127.0.0.2, which is not in `trusted_proxies`";
    // Hedgerow writes its log a moment later.
    support::eventually("it is reported", || log().contains(said).then_some(())).await;
    served.kill().await.unwrap();
    let log = log();
    assert_eq!(log.matches(said).count(), 1, "{log}");
}
