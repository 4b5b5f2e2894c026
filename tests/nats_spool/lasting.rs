//! What no wait mends: the client is answered at once, the reason is said in words, and the spool works
//! as soon as an operator has mended it.

use std::time::Duration;

use async_nats::jetstream::stream::{Config as StreamConfig, DiscardPolicy, RetentionPolicy};
use hedgerow::delivery::{Availability, NatsLogin, NatsSettings, NatsSpool, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::binaries::sharing;
use super::binary::{self, Binary};
use super::limits::{context, server};
use super::server::Server;
use super::support::proxy::PostHog;
use super::support::track;
use super::{append, event, ids, names, settings, take, until};

/// An append is tried for ten seconds where that may help.
const LESS_THAN_A_WAIT: Duration = Duration::from_secs(9);

fn login(name: &str, password: &str) -> Option<NatsLogin> {
    let (name, password) = (name.to_owned(), password.to_owned());
    Some(NatsLogin::User { name, password })
}

/// Refuses the first event without the wait, with these words; so does health.
async fn is_said_at_once(settings: NatsSettings, words: &str) -> Result<(), String> {
    let what = format!("{settings:?}");
    let spool = NatsSpool::open(settings).map_err(|error| format!("{what}: {error}"))?;
    let first = tokio::time::timeout(LESS_THAN_A_WAIT, spool.append("shop", vec![event("e")]));
    let first = first
        .await
        .map_err(|_| format!("{what}: it is waited for"))?;
    let said = first.map_or_else(|error| error.to_string(), |()| "it is taken".to_owned());
    if !said.contains(words) {
        return Err(format!("{what}: {said}"));
    }
    until("its state says so", || async {
        spool.availability() == Availability::Unavailable
            && spool.trouble().is_some_and(|said| said.contains(words))
    })
    .await;
    Ok(())
}

/// A server that answers each line with this, or says it first.
async fn stranger(first: &'static str, reply: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut said = [0; 512];
                let _ = stream.write_all(first.as_bytes()).await;
                while stream.read(&mut said).await.is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(reply.as_bytes()).await;
                }
            });
        }
    });
    format!("nats://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_or_a_server_that_is_wrong_is_said_at_once() {
    let Some(server) = Server::with_user("hedge", "row") else {
        return;
    };
    // It listens.
    let right = NatsSettings {
        login: login("hedge", "row"),
        ..settings(&server.url())
    };
    append(&NatsSpool::open(right).unwrap(), &names(0..1)).await;
    let with = |login| NatsSettings {
        login,
        ..settings(&server.url())
    };
    let http = stranger("", "HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let ssh = stranger("SSH-2.0-OpenSSH_9.2p1\r\n", "").await;
    let mut wrong = Vec::new();
    for (settings, words) in [
        (with(login("hedge", "wrong")), "refuses the login"),
        (with(login("nobody", "row")), "refuses the login"),
        (
            with(Some(NatsLogin::Token("t".to_owned()))),
            "refuses the login",
        ),
        (with(None), "refuses the login"),
        (
            settings(&server.url().replace("nats:", "tls:")),
            "TLS fails",
        ),
        (settings(&http), "no NATS server ('HTTP/1.1 400"),
        (settings(&ssh), "no NATS server ('SSH-2.0"),
        (settings(&format!("{http},{ssh}")), "no NATS server"),
    ] {
        wrong.extend(is_said_at_once(settings, words).await.err());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_accounts_that_cannot_hold_the_streams_are_said_at_once() {
    let Some(mut without) = Server::prepare(&[]) else {
        return;
    };
    without.without_jetstream();
    without.start();
    let accounts = "accounts {A {jetstream: enabled, users: [{user: a, password: b}]}, \
                    B {users: [{user: c, password: d}]}}\n";
    let (of_accounts, _folder) = server(accounts).unwrap();
    let single = Server::single().unwrap();
    let of_b = NatsSettings {
        login: login("c", "d"),
        ..settings(&of_accounts.url())
    };
    let three = NatsSettings {
        replicas: Some(3),
        ..settings(&single.url())
    };
    context(&without).await;
    context(&single).await;
    let of_a = NatsSettings {
        login: login("a", "b"),
        ..settings(&of_accounts.url())
    };
    append(&NatsSpool::open(of_a).unwrap(), &names(0..1)).await;
    let mut wrong = Vec::new();
    for (settings, words) in [
        (
            settings(&without.url()),
            "JetStream is not enabled on the server",
        ),
        (of_b, "JetStream not enabled for account"),
        (three, "replicas > 1 not supported"),
    ] {
        wrong.extend(is_said_at_once(settings, words).await.err());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_would_lose_what_they_acknowledge_are_not_used() {
    let Some(server) = Server::single() else {
        return;
    };
    let context = context(&server).await;
    let queue = |name: &str| StreamConfig {
        name: name.to_owned(),
        subjects: vec![format!("{name}.events.*")],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        ..StreamConfig::default()
    };
    let memory = StreamConfig {
        storage: async_nats::jetstream::stream::StorageType::Memory,
        ..queue("MEMORY")
    };
    let last = StreamConfig {
        max_messages_per_subject: 1,
        ..queue("LAST")
    };
    let old = StreamConfig {
        discard: DiscardPolicy::Old,
        max_messages: 10,
        ..queue("OLD")
    };
    // Another stream takes the events; ours cannot be made beside it.
    let foreign = StreamConfig {
        name: "OTHER".to_owned(),
        ..queue("FOREIGN")
    };
    let interest = StreamConfig {
        name: "INTEREST_DEAD".to_owned(),
        subjects: vec!["INTEREST.dead.*".to_owned()],
        retention: RetentionPolicy::Interest,
        ..StreamConfig::default()
    };
    let dead = StreamConfig {
        storage: async_nats::jetstream::stream::StorageType::Memory,
        retention: RetentionPolicy::Limits,
        name: "FORGOTTEN_DEAD".to_owned(),
        subjects: vec!["FORGOTTEN.dead.*".to_owned()],
        ..StreamConfig::default()
    };
    let mut wrong = Vec::new();
    for (config, stream, words) in [
        (dead, "FORGOTTEN", "in memory"),
        (memory, "MEMORY", "in memory"),
        (last, "LAST", "max_msgs_per_subject"),
        (old, "OLD", "discard: old"),
        (foreign, "FOREIGN", "subjects overlap"),
        (interest, "INTEREST", "retention: interest"),
    ] {
        context.create_stream(config).await.unwrap();
        let settings = NatsSettings {
            stream: stream.to_owned(),
            ..settings(&server.url())
        };
        wrong.extend(is_said_at_once(settings, words).await.err());
    }
    // Doctor finds the same without making a stream.
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (more, words) in [
        ("stream: MEMORY", "in memory"),
        (
            "stream: FOREIGN",
            "the stream OTHER has the subjects FOREIGN.events.*",
        ),
        ("stream: INTEREST", "retention: interest"),
        ("stream: NEW, replicas: 3", "the server is in no cluster"),
        ("stream: NEW", "the first proxy creates the streams"),
    ] {
        let nats = format!("{{url: \"{}\", {more}}}", server.url());
        let file = folder.path().join("doctor.yaml");
        std::fs::write(&file, sharing(&posthog.url(), &nats)).unwrap();
        let said = doctor(&file);
        if !said.contains(words) {
            wrong.push(format!("doctor, {more}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What `hedgerow doctor` says.
fn doctor(file: &std::path::Path) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    let output = command.arg("doctor").arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_login_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = (folder.path().join("nats.conf"), folder.path().join("store"));
    let users = |password: &str| {
        format!(
            "jetstream {{store_dir: \"{}\"}}\n\
             authorization {{users: [{{user: h, password: {password}}}]}}\n",
            store.display()
        )
    };
    std::fs::write(&file, users("old")).unwrap();
    let Some(server) = Server::of_file(&file) else {
        return;
    };
    let spool = NatsSpool::open(NatsSettings {
        login: login("h", "new"),
        ..settings(&server.url())
    })
    .unwrap();
    until("the login is refused", || async {
        spool.trouble().is_some_and(|said| said.contains("login"))
    })
    .await;
    std::fs::write(&file, users("new")).unwrap();
    server.signal("-HUP");
    append(&spool, &names(0..1)).await;
    assert_eq!(ids(&take(&spool, 1).await), names(0..1));
    until("nothing is wrong", || async { spool.trouble().is_none() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_operators_of_a_wrong_password_are_told_at_once() {
    let Some(server) = Server::with_user("hedge", "row") else {
        return;
    };
    let posthog = PostHog::start().await;
    posthog
        .capture
        .set_fault(hedgerow::demo::capture::InjectedFault::Status(
            http::StatusCode::SERVICE_UNAVAILABLE,
            Some(1),
        ));
    let folder = tempfile::tempdir().unwrap();
    let nats = format!(
        "{{url: \"{}\", user: hedge, password: wrong}}",
        server.url()
    );
    let yaml = sharing(&posthog.url(), &nats);
    let mut binary = Binary::new(folder.path(), &yaml, "").await;
    let body = track("first", 100);
    let answer = tokio::time::timeout(LESS_THAN_A_WAIT, binary::exchange(binary.address, &body));
    let answer = answer
        .await
        .expect("it is not waited for")
        .expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: "), "{answer}");
    let said = doctor(&binary.file);
    assert!(said.contains("the server refuses the login"), "{said}");
    assert_eq!(binary.terminate().await, Some(0));
}
