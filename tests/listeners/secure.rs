//! Certificates by name, and changed while clients come and go.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use super::running::Running;
use super::say;
use super::support::proxy::{yaml, PostHog};
use super::support::recorder::refused_port;
use super::support::tls::Certificates;

/// Certificates that are changed while clients come: `HEDGEROW_RELOADS=100,20000` makes it more.
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
    let secure = refused_port().await;
    let one = Certificates::new(&["one.example", "*.wild.example"]);
    put(&one, at, "one");
    put(&Certificates::new(&["two.example"]), at, "two");
    let first = fs::read_to_string(one.file("ca.pem")).unwrap();
    let listen = format!(
        "[{{address}}, {{address: \"{secure}\", tls: {}}}]",
        tls(at, &["one", "two"])
    );
    let running = Running::listening(&listen, &yaml(&posthog.url())).await;

    // Made ahead: what clients trust must not change while they look at it.
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
        // Its authority is not among those.
        ("two.example", &["--http2"], Err(())),
    ] {
        let said = curl(host, port, &authorities, flags);
        let found = said.as_deref().map_err(|_| ());
        assert_eq!(found, expected, "{host} {flags:?}: {said:?}");
    }

    let over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let clients = ["--http1.1", "--http2", "--http1.1", "--http2"].map(|version| {
        let (over, count) = (Arc::clone(&over), Arc::clone(&count));
        let authorities = authorities.clone();
        tokio::task::spawn_blocking(move || {
            let mut failures = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let said = curl("one.example", port, &authorities, &[version]);
                count.fetch_add(1, Ordering::SeqCst);
                if !said.as_ref().is_ok_and(|said| said.starts_with("200 ")) {
                    failures.push(format!("{version}: {said:?}"));
                }
            }
            failures
        })
    });
    for (number, certificates) in next.iter().enumerate() {
        put(certificates, at, "one");
        running.applied(number as u64 + 1).await;
        // From now on it is this one and no other.
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
