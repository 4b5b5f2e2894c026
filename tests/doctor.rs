//! `hedgerow doctor` names what prevents events from arriving and the remedy, for every kind of
//! broken peer. It reports nothing if everything works.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::address::unused_address;
use support::proxy::PostHog;
use tokio::process::{Child, Command};

async fn doctor(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("HEDGEROW_CONFIG")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), format!("{said}{wrong}"))
}

fn write(folder: &Path, listen: &str, host: &str, more: &str) {
    let yaml = format!(
        "{listen}projects: {{p: {{host: '{host}', api_key: phc_doctor{more}}}}}\n\
         routes: [{{path: /hr/, segment: {{project: p, write_keys: [wk_doctor]}}}}]\n\
         delivery: {{connect_timeout: 2s, timeout: 20s, spool: {{path: spool/, max_size: 1MiB}}}}\n"
    );
    std::fs::write(folder.join("hedgerow.yaml"), yaml).unwrap();
}

/// A peer that answers every request with these bytes.
fn answering(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while let Ok(read) = stream.read(&mut piece) {
                    request.extend_from_slice(&piece[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        if read == 0 {
                            return;
                        }
                        continue;
                    };
                    let head = head.to_lowercase();
                    let length = head.split("content-length: ").nth(1);
                    let length = length.map_or(0, |rest| {
                        rest.lines().next().unwrap().trim().parse().unwrap()
                    });
                    if body.len() >= length || read == 0 {
                        break;
                    }
                }
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{fields}\r\n{body}"
    )
}

const PLAIN: &str = "listen: 127.0.0.1:0\n";

#[tokio::test(flavor = "multi_thread")]
async fn with_a_working_setup_doctor_reports_nothing_broken() {
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), PLAIN, &posthog.url(), "");
    for arguments in [&["doctor"][..], &["check", "--online", "hedgerow.yaml"]] {
        let (code, said) = doctor(folder.path(), arguments).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("BAD"), "{said}");
        for about in [
            "start",
            "spool",
            "key",
            "TCP",
            "event: accepted (200)",
            "open files",
        ] {
            assert!(said.contains(about), "{about} is not in\n{said}");
        }
        assert!(!said.contains("phc_doctor"), "{said}");
    }
    let events = posthog.events(2).await;
    assert!(events
        .iter()
        .all(|event| event.distinct_id == "hedgerow-doctor"));
    assert!(
        !folder.path().join("spool").exists(),
        "a look makes nothing"
    );
}

/// Capture accepts every key. Only the endpoint for a project's configuration distinguishes real
/// keys.
#[tokio::test(flavor = "multi_thread")]
async fn whether_posthog_has_a_project_with_the_key_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let json = "content-type: application/json\r\n";
    let known = format!(
        "http://{}",
        answering(answer("200 OK", json, "{\"token\":\"\"}"))
    );
    let posthog = PostHog::start().await;
    for (host, line) in [
        (known, "ok    project p, key: PostHog has a project with it"),
        (
            posthog.url(),
            "note  project p, key: this PostHog has no project with it",
        ),
    ] {
        write(folder.path(), PLAIN, &host, "");
        let (code, said) = doctor(folder.path(), &["doctor"]).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(line), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_peer_is_named_with_the_solution() {
    let folder = tempfile::tempdir().unwrap();
    let page = "content-type: text/html\r\n";
    let closed = unused_address();
    let ahead = "content-type: application/json\r\ndate: Tue, 01 Jan 2019 00:00:00 GMT\r\n";
    let rows = [
        (format!("http://{closed}"), "p, TCP", "refused", "firewall"),
        (
            "http://no-such-name.invalid".to_owned(),
            "p, DNS",
            "no address",
            "spelling",
        ),
        (
            format!("http://{}", answering(answer("401 Unauthorized", "", "no"))),
            "p, event",
            "answered 401",
            "api_key",
        ),
        (
            format!(
                "http://{}",
                answering(answer("200 OK", page, "<html>Log in</html>"))
            ),
            "p, event",
            "answered 200",
            "web page",
        ),
        (
            format!(
                "http://{}",
                answering(answer(
                    "301 Moved Permanently",
                    "location: https://elsewhere.example/batch/\r\n",
                    ""
                ))
            ),
            "p, event",
            "to https://elsewhere.example/batch/",
            "https if it redirects",
        ),
        (
            format!("http://{}", answering(answer("503 Busy", "", ""))),
            "p, event",
            "answered 503",
            "status page",
        ),
        (
            format!("http://{}", answering(String::new())),
            "p, event",
            "no answer (closed)",
            "closed the connection",
        ),
        (
            format!("http://{}", answering(answer("200 OK", ahead, "{}"))),
            "clock",
            "ahead",
            "NTP",
        ),
    ];
    let mut wrong = Vec::new();
    for (host, about, what, todo) in rows {
        write(folder.path(), PLAIN, &host, "");
        let (code, said) = doctor(folder.path(), &["doctor"]).await;
        let line = said
            .lines()
            .find(|line| line.starts_with("BAD") && line.contains(about));
        let named = line.is_some_and(|line| line.contains(what));
        if code != Some(1) || !named || !said.contains(todo) {
            wrong.push(format!("{host} ({what}): {code:?}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A self-signed certificate for localhost and its key, valid until this year.
fn certificate(folder: &Path, name: &str, until: i32) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut parameters = rcgen::CertificateParams::new(names).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    let signed = parameters.self_signed(&key).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), signed.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// The real binary in this folder, whose log goes to `run.log`.
fn run(folder: &Path, file: &str) -> Child {
    let log = std::fs::File::create(folder.join("run.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["run", file])
        .current_dir(folder)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn until_it_listens(address: SocketAddr) {
    let deadline = tokio::time::Instant::now() + support::DEADLINE;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "{address}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_seen_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(folder, "old", 2002);
    let address = unused_address();
    let listen = format!(
        "listen: [{{address: '{address}', tls: {{certificate: old.pem, key: old.key}}}}]\n"
    );
    // A server that uses the certificate, in the place of PostHog.
    write(folder, &listen, "http://127.0.0.1:1", "");
    std::fs::rename(folder.join("hedgerow.yaml"), folder.join("served.yaml")).unwrap();
    let _served = run(folder, "served.yaml");
    until_it_listens(address).await;
    let url = format!("https://localhost:{}", address.port());
    write(folder, PLAIN, &url, ", ca_file: old.pem");
    let (code, said) = doctor(folder, &["doctor"]).await;
    assert_eq!(code, Some(1), "{said}");
    let line = said.lines().find(|line| line.starts_with("BAD"));
    assert!(line.unwrap().contains("p, TLS"), "{said}");
    assert!(said.contains("valid today"), "{said}");
    let (code, said) = doctor(folder, &["doctor", "served.yaml"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("BAD   certificate old.pem: expired"),
        "{said}"
    );
    assert!(said.contains("renew it"), "{said}");
    // The key of another certificate.
    certificate(folder, "other", 2102);
    std::fs::copy(folder.join("other.key"), folder.join("old.key")).unwrap();
    let (code, said) = doctor(folder, &["doctor", "served.yaml"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("BAD   start: the certificate"), "{said}");
    assert!(said.contains("must be the key of"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_from_outside_is_followed_to_this_hedgerow() {
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (address, admin) = (unused_address(), unused_address());
    let listen = format!("listen: '{address}'\nadmin: '{admin}'\n");
    write(folder, &listen, &posthog.url(), "");
    let _served = run(folder, "hedgerow.yaml");
    until_it_listens(admin).await;
    let url = format!("http://{address}");
    let (code, said) = doctor(folder, &["doctor", "--url", &url]).await;
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "path: http://",
        "cache: no cache answers calls",
        "OPTIONS: a preflight reaches Hedgerow",
        "address: this request came from 127.0.0.1",
    ] {
        assert!(
            said.contains(&format!("from outside, {line}")),
            "{line} is not in\n{said}"
        );
    }
    // The event that tests the project, and the event sent to the URL.
    posthog.events(2).await;
    // The way is tried with a call that is refused; that is no trouble of a client's.
    let log = std::fs::read_to_string(folder.join("run.log")).unwrap();
    assert!(log.contains("listening on"), "{log}");
    assert!(!log.contains("WARN") && !log.contains("refused"), "{log}");
    let ours = "{\"success\":false,\"code\":\"not_json\"}";
    let closed = unused_address();
    let rows = [
        (format!("http://{closed}"), "from outside: ", "firewall"),
        (
            format!("http://{}", answering(answer("404 Not Found", "", "no"))),
            "path: ",
            "hedgerow snippet",
        ),
        (
            format!("http://{}", answering(answer("200 OK", "", "<html>"))),
            "path: ",
            "hedgerow snippet",
        ),
        (
            format!(
                "http://{}",
                answering(answer(
                    "308 Permanent",
                    "location: https://a.example/\r\n",
                    ""
                ))
            ),
            "is redirected (308) to https://a.example/",
            "without a redirect",
        ),
        (
            format!(
                "http://{}",
                answering(answer("400 Bad", "age: 12\r\n", ours))
            ),
            "cache: a cache answered a call (Age: 12)",
            "turn caching off",
        ),
        (
            format!("http://{}", answering(answer("400 Bad", "", ours))),
            "OPTIONS: the answer to a preflight is 400",
            "pass OPTIONS",
        ),
    ];
    let mut wrong = Vec::new();
    for (url, what, todo) in rows {
        let (code, said) = doctor(folder, &["doctor", "--url", &url]).await;
        let bad = said.lines().filter(|line| line.starts_with("BAD"));
        let named = bad.clone().any(|line| line.contains(what));
        if code != Some(1) || !named || !said.contains(todo) {
            wrong.push(format!("{url} ({what}): {code:?}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (code, said) = doctor(folder, &["doctor", "--url", "shop.example.com"]).await;
    assert_eq!(code, Some(2), "{said}");
}
