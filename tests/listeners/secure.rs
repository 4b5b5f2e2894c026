//! Certificates by name, changed while clients connect and leave.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use super::running::Running;
use super::say;
use super::support::address::unused_address;
use super::support::proxy::{yaml, PostHog};
use super::support::tls::Certificates;

/// The number of reloads with new certificates while clients connect; `HEDGEROW_RELOADS=100,20000`
/// sets more.
fn changes() -> usize {
    match std::env::var("HEDGEROW_RELOADS") {
        Ok(_) => 20,
        Err(_) => 4,
    }
}

/// One request by curl over a new connection: its status and HTTP version.
fn curl(host: &str, port: u16, authorities: &Path, flags: &[&str]) -> Result<String, String> {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "60", "-o", "/dev/null"])
        .args([
            "-w",
            "%{http_code} %{http_version}",
            "-d",
            "{\"userId\":\"u\",\"event\":\"E\"}",
        ])
        .args([
            "--noproxy",
            "*",
            "--resolve",
            &format!("{host}:{port}:127.0.0.1"),
        ])
        .arg("--cacert")
        .arg(authorities)
        .args(flags)
        .arg(format!("https://{host}:{port}/hr/v1/track"))
        .stdin(Stdio::null())
        .output()
        .expect("there is a curl");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The requests of one `h2load` run over so many connections.
const RUN: (usize, usize) = (1_000, 10);

/// Whether this machine has `h2load` (Debian's nghttp2-client).
fn has_h2load() -> bool {
    let found = Command::new("h2load").arg("--version").output().is_ok();
    let required = std::env::var("HEDGEROW_CLIENTS").is_ok_and(|value| value == "required");
    assert!(found || !required, "h2load is required and not installed");
    if !found {
        println!("*** SKIPPED, certificates changed without h2load: install nghttp2-client ***");
    }
    found
}

/// One run: how many requests got 200, and the output if some did not.
fn h2load(host: &str, port: u16, event: &Path, flags: &[&str]) -> Result<usize, String> {
    let (requests, connections) = RUN;
    let output = Command::new("h2load")
        .args(["-n", &requests.to_string(), "-c", &connections.to_string()])
        .args(flags)
        .arg("-d")
        .arg(event)
        .arg(format!("--connect-to=127.0.0.1:{port}"))
        .arg(format!("https://{host}:{port}/hr/v1/track"))
        .stdin(Stdio::null())
        .output()
        .expect("there is an h2load");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
    match said.contains(&all) && said.contains(&format!("status codes: {requests} 2xx")) {
        true => Ok(requests),
        false => Err(said),
    }
}

fn put(from: &Certificates, folder: &Path, name: &str) {
    for (file, kind) in [("certificate.pem", "pem"), ("key.pem", "key")] {
        let new = folder.join("new");
        fs::copy(from.file(file), &new).unwrap();
        fs::rename(&new, folder.join(format!("{name}.{kind}"))).unwrap();
    }
}

fn tls(folder: &Path, names: &[&str]) -> String {
    let pair = |name: &&str| {
        let at = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
        format!("{{certificate: \"{}\", key: \"{}\"}}", at("pem"), at("key"))
    };
    let pairs: Vec<String> = names.iter().map(pair).collect();
    format!("[{}]", pairs.join(", "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn certificates_by_name_change_under_load_and_no_request_fails() {
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let secure = unused_address();
    let one = Certificates::new(&["one.example", "*.wild.example"]);
    put(&one, at, "one");
    put(&Certificates::new(&["two.example"]), at, "two");
    let first = fs::read_to_string(one.file("ca.pem")).unwrap();
    let listen = format!(
        "[{{address}}, {{address: \"{secure}\", tls: {}}}]",
        tls(at, &["one", "two"])
    );
    let running = Running::listening(&listen, &yaml(&posthog.url())).await;

    // Made in advance, so that the clients' trusted authorities do not change during the test.
    let next: Vec<_> = (0..changes())
        .map(|_| Certificates::new(&["one.example", "*.wild.example"]))
        .collect();
    let mut trusted = first.clone();
    for certificates in &next {
        trusted.push_str(&fs::read_to_string(certificates.file("ca.pem")).unwrap());
    }
    let authorities = at.join("authorities.pem");
    fs::write(&authorities, &trusted).unwrap();
    let port = secure.port();
    for (host, flags, expected) in [
        (
            "one.example",
            &["--http1.1", "--tls-max", "1.2"][..],
            Ok("200 1.1"),
        ),
        ("one.example", &["--http2", "--tls-max", "1.2"], Ok("200 2")),
        ("a.wild.example", &["--http2", "--tlsv1.3"], Ok("200 2")),
        // The client does not trust its authority.
        ("two.example", &["--http2"], Err(())),
    ] {
        let said = curl(host, port, &authorities, flags);
        let found = said.as_deref().map_err(|_| ());
        assert_eq!(found, expected, "{host} {flags:?}: {said:?}");
    }

    let over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let event = at.join("event.json");
    fs::write(&event, "{\"userId\":\"u\",\"event\":\"E\"}").unwrap();
    // Each curl request opens a connection; those of h2load stay open while the certificates
    // change.
    let by_curl = |version: &'static str| {
        let authorities = authorities.clone();
        let client = move || -> Result<usize, String> {
            let said = curl("one.example", port, &authorities, &[version])?;
            said.starts_with("200 ").then_some(1).ok_or(said)
        };
        (version, Box::new(client) as Box<dyn Fn() -> _ + Send>)
    };
    let by_h2load = |name: &'static str, flags: &'static [&str]| {
        let event = event.clone();
        let client = move || h2load("one.example", port, &event, flags);
        (name, Box::new(client) as Box<dyn Fn() -> _ + Send>)
    };
    let mut clients = vec![by_curl("--http1.1"), by_curl("--http2")];
    if has_h2load() {
        clients.push(by_h2load("h2load", &["-m", "5"]));
        clients.push(by_h2load("h2load --h1", &["--h1"]));
    }
    let clients: Vec<_> = clients
        .into_iter()
        .map(|(name, client)| {
            let (over, count) = (Arc::clone(&over), Arc::clone(&count));
            tokio::task::spawn_blocking(move || {
                let mut failures = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    match client() {
                        Ok(requests) => {
                            count.fetch_add(requests, Ordering::SeqCst);
                        }
                        Err(said) => failures.push(format!("{name}: {said}")),
                    }
                }
                failures
            })
        })
        .collect();
    for (number, certificates) in next.iter().enumerate() {
        put(certificates, at, "one");
        running.applied(number as u64 + 1).await;
        // From now on, clients get only this certificate.
        let only = certificates.file("ca.pem");
        let said = curl("one.example", port, &only, &["--http2"]);
        assert_eq!(said.as_deref(), Ok("200 2"), "change {number}");
    }
    over.store(true, Ordering::SeqCst);
    let mut failures = Vec::new();
    for client in clients {
        failures.extend(client.await.unwrap());
    }
    let count = count.load(Ordering::SeqCst);
    let changes = changes();
    say(format_args!(
        "{changes} certificates under load: {count} requests, {} failed",
        failures.len()
    ));
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(count > changes, "{count}");
}
