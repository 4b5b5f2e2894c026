//! The real binary with its spool on NATS: servers that start late, a login, and `hedgerow spool`.

use std::time::Duration;

use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;

use super::binary::{self, send, Binary};
use super::process::Process;
use super::relay::{Line, Relay};
use super::server::Server;
use super::support::address::unused_address;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog};
use super::support::running::{get, until};
use super::support::tls::Certificates;
use super::support::{eventually, track};

/// A configuration with this host and a spool in this stream of these servers. The timeouts are
/// short, because a lead lasts as long as a delivery may take.
pub fn sharing(host: &str, nats: &str) -> String {
    let spool = format!("{{nats: {nats}}}");
    yaml(host)
        .replace("\"off\"", &spool)
        .replace("connect_timeout: 2s", "connect_timeout: 1s")
        .replace("timeout: 5s", "timeout: 3s")
}

fn unavailable() -> InjectedFault {
    InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, Some(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_whose_spool_is_away_streams_refuses_what_it_cannot_keep_and_recovers() {
    let Some(mut server) = Server::prepare(&[]) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let relay = Relay::start(posthog.address).await;
    let nats = format!("{{url: \"{}\"}}", server.url());
    let mut binary = Binary::new(folder.path(), &sharing(&relay.url(), &nats), "").await;
    // NATS has not started yet; PostHog works, so events stream.
    let (_, status) = send(binary.address, track("live-1", 100), String::new()).await;
    assert_eq!(status, Some(200));
    posthog.events(1).await;
    let (said, code) = binary::spool(&binary.file, &["ls"]);
    assert_eq!((said.as_str(), code), ("", Some(2)));
    // Neither is there: clients get 503 with a time to retry.
    relay.set(Line::Refuses);
    let answer = binary::exchange(binary.address, &track("early", 100)).await;
    let answer = answer.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    // NATS starts: events that PostHog cannot take go into the spool, without a restart.
    server.start();
    until_kept(&binary, "kept-1").await;
    // NATS stops. Its stored events must arrive first, so clients get 503. NATS comes back, and
    // everything arrives.
    server.kill();
    relay.set(Line::Passes);
    let (_, status) = send(binary.address, track("behind", 100), String::new()).await;
    assert_eq!(status, Some(503));
    server.start();
    posthog.events(2).await;
    eventually("an empty spool", || {
        let (said, _) = binary::spool(&binary.file, &["ls"]);
        said.contains("the spool is empty").then_some(())
    })
    .await;
    until_kept(&binary, "live-2").await;
    let events = posthog.events(3).await;
    let ids: Vec<_> = events.iter().map(|event| &event.distinct_id).collect();
    assert_eq!(ids, ["u-live-1", "u-kept-1", "u-live-2"]);
    assert_eq!(binary.terminate().await, Some(0));
}

/// Sends until the answer is 200, as a client does.
async fn until_kept(binary: &Binary, id: &str) {
    let start = std::time::Instant::now();
    while send(binary.address, track(id, 100), String::new()).await.1 != Some(200) {
        assert!(start.elapsed() < super::support::DEADLINE, "{id}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_has_its_own_mode() {
    let Some(mut server) = Server::prepare(&[]) else {
        return;
    };
    let posthog = PostHog::start().await;
    let nats = format!("{{url: \"{}\"}}", server.url());
    let yaml = sharing(&posthog.url(), &nats);
    let mode = |own: &str, all: &str| {
        let own = format!("api_key: phc_test, delivery: {{mode: {own}}}");
        yaml.replace("api_key: phc_test", &own).replace(
            "delivery: {connect",
            &format!("delivery: {{mode: {all}, connect"),
        )
    };
    // PostHog works and NATS does not: in mode `stream` clients get 200, in mode `spool` they do
    // not.
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut streams = Binary::new(folders[0].path(), &mode("stream", "spool"), "").await;
    let mut spools = Binary::new(folders[1].path(), &mode("spool", "stream"), "").await;
    let (_, status) = send(streams.address, track("1", 100), String::new()).await;
    assert_eq!(status, Some(200));
    let (_, status) = send(spools.address, track("2", 100), String::new()).await;
    assert_eq!(status, Some(503));
    assert_eq!(posthog.events(1).await[0].distinct_id, "u-1");
    server.start();
    until_kept(&spools, "3").await;
    assert_eq!(posthog.events(2).await[1].distinct_id, "u-3");
    assert_eq!(streams.terminate().await, Some(0));
    assert_eq!(spools.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_needs_no_more_rights_than_the_documents_say_also_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let certificates = Certificates::new(&["localhost"]);
    let certificate = |name: &str| certificates.file(name).display().to_string();
    let rights = r#"{publish: ["HEDGEROW.>", "$JS.API.>", "$JS.ACK.>"], subscribe: ["HEDGEROW.>", "_INBOX.>"]}"#;
    let configuration = format!(
        "tls {{cert_file: \"{}\", key_file: \"{}\"}}\n\
         authorization {{users: [{{user: hedge, password: s3cr3t, permissions: {rights}}}]}}\n",
        certificate("certificate.pem"),
        certificate("key.pem"),
    );
    std::fs::write(path("nats.conf"), configuration).unwrap();
    let Some(mut server) = Server::prepare(&["-c".to_owned(), path("nats.conf")]) else {
        return;
    };
    server.start();
    let url = server.url();
    let url = url.replace("nats://127.0.0.1", "tls://hedge:s3cr3t@localhost");
    let posthog = PostHog::start().await;
    posthog.capture.set_fault(unavailable());
    let nats = format!("{{url: \"{url}\", ca_file: \"{}\"}}", certificate("ca.pem"));
    let mut binary = Binary::new(folder.path(), &sharing(&posthog.url(), &nats), "").await;
    until_kept(&binary, "1").await;
    let (said, _) = binary::spool(&binary.file, &["ls"]);
    assert!(said.contains("waiting\tshop\t"), "{said}");
    posthog
        .capture
        .set_fault(InjectedFault::Poison("Filled".into()));
    let dead = || {
        binary::spool(&binary.file, &["ls"])
            .0
            .contains("dead 1\t")
            .then_some(())
    };
    eventually("a dead letter", dead).await;
    posthog.capture.set_fault(InjectedFault::None);
    assert_eq!(binary::spool(&binary.file, &["retry", "1"]).1, Some(0));
    assert_eq!(posthog.events(1).await[0].distinct_id, "u-1");
    let empty = || {
        let (said, _) = binary::spool(&binary.file, &["ls"]);
        said.contains("the spool is empty").then_some(())
    };
    eventually("an empty spool", empty).await;
    assert_eq!(binary.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_on_nats_are_shown_sent_again_and_dropped_while_proxies_run() {
    let Some(server) = Server::with_user("hedge", "s3cr3t") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    std::fs::write(folder.path().join("password"), "s3cr3t\n").unwrap();
    let nats = format!(
        "{{url: \"{}\", stream: SHARED, user: hedge, password: \"file:password\"}}",
        server.url()
    );
    let admin = unused_address();
    let yaml = format!("admin: \"{admin}\"\n{}", sharing(&posthog.url(), &nats));
    let mut binary = Binary::new(folder.path(), &yaml, "").await;
    let spool = |arguments: &[&str]| binary::spool(&binary.file, arguments);
    posthog.capture.set_fault(unavailable());
    until_kept(&binary, "waits").await;
    let (said, _) = spool(&["ls"]);
    assert!(
        said.contains("waiting\tshop\t1 messages\t-\toldest 2"),
        "{said}"
    );
    posthog
        .capture
        .set_fault(InjectedFault::Poison("Filled".into()));
    for id in ["a", "b"] {
        until_kept(&binary, id).await;
    }
    let dead = |number: usize| {
        let spool = &spool;
        move || {
            let (said, _) = spool(&["ls"]);
            let letters = said.lines().filter(|line| line.starts_with("dead "));
            (letters.count() == number && !said.contains("waiting")).then_some(said)
        }
    };
    let said = eventually("three dead letters", dead(3)).await;
    assert!(said.contains("dead 1\tshop\t"), "{said}");
    assert!(said.contains("\t400 "), "{said}");
    until("the metrics have them", || async {
        let text = get(admin, "/metrics").await.body;
        let text = String::from_utf8(text).unwrap();
        let limit = format!("\nhedgerow_spool_size_limit_bytes {}\n", 1 << 30);
        let all = [
            "\nhedgerow_spool_dead_letters{project=\"shop\"} 3\n",
            &limit,
        ];
        match all.iter().all(|line| text.contains(line)) {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    let (shown, code) = spool(&["show", "1"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("\"u-waits\""), "{shown}");
    // A number that does not exist changes nothing.
    for arguments in [["show", "77"], ["retry", "77"], ["drop", "0"]] {
        assert_eq!(spool(&arguments).1, Some(2), "{arguments:?}");
    }
    assert_eq!(spool(&["drop", "1", "77"]).1, Some(2));
    eventually("still three", dead(3)).await;
    assert_eq!(spool(&["drop", "2"]), ("1 dropped\n".to_owned(), Some(0)));
    eventually("two", dead(2)).await;
    // PostHog rejects it again, and it becomes a dead letter with a new number.
    assert_eq!(spool(&["retry", "1"]).0, "1 back in the queue\n");
    let said = eventually("two again", || {
        dead(2)().filter(|said| said.contains("dead 4\t"))
    })
    .await;
    assert!(!said.contains("dead 1\t"), "{said}");
    posthog.capture.set_fault(InjectedFault::None);
    assert_eq!(spool(&["retry", "--all"]).0, "2 back in the queue\n");
    let events = posthog.events(2).await;
    let mut ids: Vec<_> = events.iter().map(|event| &event.distinct_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["u-b", "u-waits"]);
    eventually("an empty spool", || {
        let (said, _) = spool(&["ls"]);
        said.contains("the spool is empty").then_some(())
    })
    .await;
    // A wrong password must not block; the error names it without showing it.
    let wrong = folder.path().join("wrong.yaml");
    let text = std::fs::read_to_string(&binary.file).unwrap();
    std::fs::write(&wrong, text.replace("\"file:password\"", "wr0ng")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["spool", "ls", "-c"])
        .arg(&wrong)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("authorization violation"), "{said}");
    assert!(!said.contains("wr0ng"), "{said}");
    assert_eq!(binary.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_from_a_predecessor_to_its_successor_does_not_overtake_itself() {
    let Some(mut server) = Server::prepare(&[]) else {
        return;
    };
    server.start();
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let nats = format!("{{url: \"{}\"}}", server.url());
    let rest = sharing(&posthog.url(), &nats);
    let mut process = Process::start(folder.path(), "{address}", &rest).await;
    let address = process.address;
    let mut sent = Vec::new();
    for _ in 0..3 {
        let visitor = async {
            let mut client = Client::connect(address).await;
            let mut last = false;
            // The old process closes the connection with one more answer; the next request goes to
            // its successor.
            while !last {
                let id = sent.len().to_string();
                let request = post("/hr/v1/t", "", track(&id, 100).as_bytes());
                client.send(&request).await;
                // A visitor that is late finds its connection closed, and asks again below.
                let Some(answer) = client.next().await else {
                    break;
                };
                assert_eq!(answer.status, 200, "{answer:?}");
                sent.push(format!("u-{id}"));
                last = answer.header("connection") == "close";
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut client = Client::connect(address).await;
            let id = sent.len().to_string();
            let request = post("/hr/v1/t", "", track(&id, 100).as_bytes());
            assert_eq!(client.exchange(&request).await.status, 200);
            sent.push(format!("u-{id}"));
        };
        tokio::join!(process.hand_over(), visitor);
        let events = posthog.events(sent.len() as u64).await;
        let ids: Vec<_> = events.iter().map(|event| &event.distinct_id).collect();
        assert_eq!(ids, sent.iter().collect::<Vec<_>>());
    }
}

/// A credentials file, and the part of the server's configuration with its user.
fn operator(folder: &std::path::Path) -> (String, String) {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use base64::Engine;
    let signed = |issuer: &nkeys::KeyPair, subject: &nkeys::KeyPair, claims: serde_json::Value| {
        let head = BASE64.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
        let body = serde_json::json!({
            "jti": subject.public_key(), "iat": 1_700_000_000, "name": "test",
            "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
        });
        let text = format!("{head}.{}", BASE64.encode(body.to_string()));
        let signature = issuer.sign(text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64.encode(signature))
    };
    let (operator, system) = (
        nkeys::KeyPair::new_operator(),
        nkeys::KeyPair::new_account(),
    );
    let (account, user) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_user());
    let limits = |storage: i64| {
        serde_json::json!({"type": "account", "version": 2, "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": storage, "disk_storage": storage, "streams": storage,
            "consumer": storage,
        }})
    };
    let own = serde_json::json!({"type": "operator", "version": 2});
    let of_user = serde_json::json!({
        "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {},
    });
    let configuration = format!(
        "operator: {}\nresolver: MEMORY\nsystem_account: {}\nresolver_preload: {{\n  {}: {}\n  {}: {}\n}}\n",
        signed(&operator, &operator, own),
        system.public_key(),
        system.public_key(),
        signed(&operator, &system, limits(0)),
        account.public_key(),
        signed(&operator, &account, limits(-1)),
    );
    let credentials = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        signed(&account, &user, of_user),
        user.seed().unwrap(),
    );
    std::fs::write(folder.join("user.creds"), credentials).unwrap();
    (configuration, "credentials: user.creds".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credentials_file_and_a_client_certificate_are_logins() {
    let certificates = Certificates::new(&["localhost"]);
    let pem = |name: &str| certificates.file(name).display().to_string();
    let asking = format!(
        "tls {{cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true}}\n",
        pem("certificate.pem"),
        pem("key.pem"),
        pem("ca.pem"),
    );
    let shown = format!(
        "ca_file: \"{}\", certificate: \"{}\", key: \"{}\"",
        pem("ca.pem"),
        pem("certificate.pem"),
        pem("key.pem")
    );
    for by_certificate in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (configuration, login) = match by_certificate {
            true => (asking.clone(), shown.clone()),
            false => operator(folder.path()),
        };
        let path = folder.path().join("nats.conf");
        std::fs::write(&path, configuration).unwrap();
        let extra = ["-c".to_owned(), path.display().to_string()];
        let Some(mut server) = Server::prepare(&extra) else {
            return;
        };
        server.start();
        let url = match by_certificate {
            true => server.url().replace("nats://127.0.0.1", "tls://localhost"),
            false => server.url(),
        };
        let posthog = PostHog::start().await;
        posthog.capture.set_fault(unavailable());
        let nats = format!("{{url: \"{url}\", {login}}}");
        let mut binary = Binary::new(folder.path(), &sharing(&posthog.url(), &nats), "").await;
        until_kept(&binary, "1").await;
        posthog.capture.set_fault(InjectedFault::None);
        assert_eq!(posthog.events(1).await[0].distinct_id, "u-1");
        assert_eq!(binary.terminate().await, Some(0), "{login}");
    }
}
