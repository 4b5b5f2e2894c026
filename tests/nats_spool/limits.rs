//! What accounts, operators and servers do to the streams: an acknowledged event that cannot be
//! delivered is always reported, and an event that is too large is refused at once and alone.

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{Config as StreamConfig, DiscardPolicy, RetentionPolicy};
use async_nats::jetstream::{self, consumer};
use hedgerow::delivery::{
    Availability, Draining, NatsSettings, NatsSpool, PeekLimit, Rest, SpoolError, Store,
};
use http::StatusCode;

use super::binaries::sharing;
use super::binary::{self, send, Binary};
use super::server::Server;
use super::sharing::{Proxy, Upstreams};
use super::support::proxy::PostHog;
use super::support::track;
use super::{append, event, events, ids, lead, names, settings, until, EVERYTHING};

/// A server with these lines in its configuration.
pub fn server(configuration: &str) -> Option<(Server, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut server = Server::prepare(&["-c".to_owned(), file.display().to_string()])?;
    server.start();
    Some((server, folder))
}

/// A server whose only account has these limits.
fn account(limits: &str) -> Option<(Server, tempfile::TempDir)> {
    server(&format!(
        "accounts {{A {{jetstream {{{limits}}}, users: [{{user: a, password: b}}]}}}}\n\
         no_auth_user: a\n"
    ))
}

/// The streams as an operator sees them.
pub async fn context(server: &Server) -> jetstream::Context {
    // The server may not listen yet.
    let patient = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let client = patient.connect(server.url()).await.unwrap();
    until("a connection", || async {
        client.connection_state() == async_nats::connection::State::Connected
    })
    .await;
    jetstream::new(client)
}

async fn arrive(upstream: &Upstreams, ids: &[String]) {
    until("all arrive", || async {
        upstream.once().len() >= ids.len()
    })
    .await;
    assert_eq!(upstream.once(), ids);
}

fn draining(proxy: &Proxy) -> Draining {
    let status = proxy.delivery.status();
    let shop = status.iter().find(|status| status.project == "shop");
    shop.map_or(Draining::Normal, |shop| shop.draining.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_unacknowledged_messages_delays_nothing() {
    let of_the_account = account("max_ack_pending: 7, max_mem: 64MB, max_file: 8GB");
    let of_the_server = server("jetstream {limits {max_ack_pending: 7, max_request_batch: 3}}\n");
    for (server, _folder) in [of_the_account, of_the_server].into_iter().flatten() {
        let spool = NatsSpool::open(settings(&server.url())).unwrap();
        let all = names(0..60);
        for one in all.chunks(1) {
            append(&spool, one).await;
        }
        lead(&spool).await;
        // Some events, and not the answer that nothing else waits.
        let mut taken = Vec::new();
        while taken.len() < 20 {
            let few = spool.peek("shop", EVERYTHING).await.unwrap();
            assert_eq!(few.rest, Rest::More);
            assert!((1..=7).contains(&few.events.len()), "{}", few.events.len());
            taken.extend(ids(&few.events));
            let positions = few.events.iter().map(|held| held.position).collect();
            spool.acknowledge("shop", positions).await;
        }
        assert_eq!(taken, all[..taken.len()]);
        assert_eq!(spool.gauges().of("shop").events(), 60 - taken.len() as u64);
        spool.resign().await;
        let upstream = Arc::new(Upstreams::default());
        let proxy = Proxy::start(&server.url(), &upstream).await;
        arrive(&upstream, &all[taken.len()..]).await;
        until("nothing waits", || async {
            proxy.spool.gauges().of("shop").events() == 0
        })
        .await;
        proxy.replay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_requires_bounds_gets_them() {
    let limits = "max_bytes_required: true, disk_max_stream_bytes: 4MB, max_file: 64MB";
    let Some((server, _folder)) = account(limits) else {
        return;
    };
    let upstream = Arc::new(Upstreams::default());
    let proxy = Proxy::start(&server.url(), &upstream).await;
    append(&proxy.spool, &names(0..5)).await;
    arrive(&upstream, &names(0..5)).await;
    proxy.replay.stop().await;
    let context = context(&server).await;
    for name in ["SPOOL", "SPOOL_DEAD", "SPOOL_LEAD"] {
        let stream = context.get_stream(name).await.unwrap();
        let bytes = stream.cached_info().config.max_bytes;
        assert!((1..=4 << 20).contains(&bytes), "{name}: {bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_consumer_is_reported_and_delivery_continues_after_it() {
    let Some(server) = Server::single() else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).unwrap();
    append(&spool, &names(0..3)).await;
    let context = context(&server).await;
    let stream = context.get_stream("SPOOL").await.unwrap();
    let own = consumer::pull::Config {
        durable_name: Some("operator".to_owned()),
        ..Default::default()
    };
    stream.create_consumer(own).await.unwrap();
    let upstream = Arc::new(Upstreams::default());
    let proxy = Proxy::start(&server.url(), &upstream).await;
    until("it is known", || async {
        matches!(draining(&proxy), Draining::Blocked { .. })
    })
    .await;
    let Draining::Blocked { reason, .. } = draining(&proxy) else {
        panic!("it went on by itself");
    };
    assert!(reason.contains("consumer"), "{reason}");
    assert!(upstream.once().is_empty());
    stream.delete_consumer("operator").await.unwrap();
    arrive(&upstream, &names(0..3)).await;
    until("nothing is in the way", || async {
        draining(&proxy) == Draining::Normal
    })
    .await;
    proxy.replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deleted_stream_is_created_again() {
    let Some(server) = Server::single() else {
        return;
    };
    let upstream = Arc::new(Upstreams::default());
    let proxy = Proxy::start(&server.url(), &upstream).await;
    let context = context(&server).await;
    let mut sent = 0;
    for name in ["SPOOL_LEAD", "SPOOL", "SPOOL_DEAD", "SPOOL_LEAD", "SPOOL"] {
        append(&proxy.spool, &names(sent..sent + 3)).await;
        sent += 3;
        arrive(&upstream, &names(0..sent)).await;
        until("it is empty", || async {
            proxy.spool.gauges().of("shop").events() == 0
        })
        .await;
        context.delete_stream(name).await.unwrap();
        append(&proxy.spool, &names(sent..sent + 3)).await;
        sent += 3;
        arrive(&upstream, &names(0..sent)).await;
        until(name, || async { context.get_stream(name).await.is_ok() }).await;
    }
    proxy.replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_delays_nothing_when_the_dead_letters_stream_is_deleted() {
    let Some(server) = Server::single() else {
        return;
    };
    let upstream = Arc::new(Upstreams::default());
    *upstream.poison.lock().unwrap() = Some("n1".to_owned());
    upstream.down.store(true, Ordering::Relaxed);
    let proxy = Proxy::start(&server.url(), &upstream).await;
    append(&proxy.spool, &names(0..4)).await;
    let context = context(&server).await;
    context.delete_stream("SPOOL_DEAD").await.unwrap();
    upstream.down.store(false, Ordering::Relaxed);
    let left: Vec<String> = ["n0", "n2", "n3"].map(str::to_owned).to_vec();
    arrive(&upstream, &left).await;
    let dead = context.get_stream("SPOOL_DEAD").await.unwrap();
    let letter = dead
        .get_last_raw_message_by_subject("SPOOL.dead.shop")
        .await;
    assert!(String::from_utf8_lossy(&letter.unwrap().payload).contains("\"n1\""));
    proxy.replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_event_above_max_payload_is_refused_and_at_once() {
    let Some((server, _folder)) = server("max_payload: 16384\n") else {
        return;
    };
    let upstream = Arc::new(Upstreams::default());
    let spool = NatsSettings {
        largest_event: Some(900_000),
        ..settings(&server.url())
    };
    let proxy = Proxy::start(&server.url(), &upstream).await;
    let spool = NatsSpool::open(spool).unwrap();
    append(&spool, &names(0..1)).await;
    let large = |id: &str, bytes: usize| {
        let small = event(id).body().len();
        let text = String::from_utf8(event(id).body().to_vec()).unwrap();
        let text = text.replace(
            "\"p\":\"",
            &format!("\"p\":\"{}", "y".repeat(bytes - small)),
        );
        hedgerow::delivery::SpooledEvent::new(text.into(), std::time::SystemTime::now()).unwrap()
    };
    let start = Instant::now();
    for (bytes, is_taken) in [
        (14_000, true),
        (14_334, true),
        (14_335, false),
        (16_384, false),
        (90_000, false),
    ] {
        let id = format!("large-{bytes}");
        let sent = vec![
            event(&format!("before-{bytes}")),
            large(&id, bytes),
            event(&format!("behind-{bytes}")),
        ];
        assert_eq!(sent[1].body().len(), bytes);
        let kept = spool.append("shop", sent).await;
        match kept {
            Ok(()) => assert!(is_taken, "{bytes}"),
            Err(SpoolError::TooLarge {
                events: 1,
                of: 3,
                largest: 14_334,
            }) => {
                assert!(!is_taken, "{bytes}");
            }
            Err(other) => panic!("{bytes}: {other}"),
        }
    }
    let alone = spool.append("shop", vec![large("alone", 20_000)]).await;
    assert!(
        matches!(
            alone,
            Err(SpoolError::TooLarge {
                events: 1,
                of: 1,
                ..
            })
        ),
        "{alone:?}"
    );
    // An event that is tried again would be tried for ten seconds, each of the four.
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    let mut expected = vec!["n0".to_owned()];
    for bytes in [14_000, 14_334, 14_335, 16_384, 90_000] {
        expected.push(format!("before-{bytes}"));
        if bytes <= 14_334 {
            expected.push(format!("large-{bytes}"));
        }
        expected.push(format!("behind-{bytes}"));
    }
    arrive(&upstream, &expected).await;
    proxy.replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_refuses_at_once() {
    let Some(server) = Server::single() else {
        return;
    };
    let small = NatsSettings {
        max_size: 20_000,
        ..settings(&server.url())
    };
    let spool = NatsSpool::open(small).unwrap();
    append(&spool, &names(0..1)).await;
    let start = Instant::now();
    let mut refused = 0;
    for number in 1..60 {
        let ids = names(number * 20..number * 20 + 20);
        refused += usize::from(spool.append("shop", events(&ids)).await.is_err());
    }
    assert!(refused > 30, "{refused}");
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
    // The stored events can still be taken.
    lead(&spool).await;
    let few = PeekLimit {
        events: 5,
        bytes: usize::MAX,
    };
    assert_eq!(spool.peek("shop", few).await.unwrap().events.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_large_event_get_their_answer_at_once_and_others_are_served() {
    let Some((server, folder)) = server("max_payload: 16384\n") else {
        return;
    };
    let posthog = PostHog::start().await;
    let away =
        hedgerow::demo::capture::InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, Some(1));
    posthog.capture.set_fault(away);
    let nats = format!("{{url: \"{}\"}}", server.url());
    let yaml = sharing(&posthog.url(), &nats);
    let mut binary = Binary::new(folder.path(), &yaml, "").await;
    until("it keeps", || async {
        send(binary.address, track("first", 200), String::new())
            .await
            .1
            == Some(200)
    })
    .await;
    // In mode `stream` PostHog may be back by then.
    let (_, status) = send(binary.address, track("large", 30_000), String::new()).await;
    assert_eq!(status, Some(503));
    let (_, status) = send(binary.address, track("second", 200), String::new()).await;
    assert_eq!(status, Some(200));
    posthog
        .capture
        .set_fault(hedgerow::demo::capture::InjectedFault::None);
    let events = posthog.events(2).await;
    let ids: Vec<_> = events.iter().map(|event| &event.distinct_id).collect();
    assert_eq!(ids, ["u-first", "u-second"]);
    assert_eq!(binary.terminate().await, Some(0));
    // In mode `spool` there is no other way.
    let folder = tempfile::tempdir().unwrap();
    let yaml = yaml.replace("delivery: {connect", "delivery: {mode: spool, connect");
    let mut binary = Binary::new(folder.path(), &yaml, "").await;
    until("it keeps", || async {
        send(binary.address, track("third", 200), String::new())
            .await
            .1
            == Some(200)
    })
    .await;
    let answer = binary::exchange(binary.address, &track("large", 30_000)).await;
    let answer = answer.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(posthog.events(3).await[2].distinct_id, "u-third");
    assert_eq!(binary.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_asks_the_servers_how_large_an_event_they_take() {
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (bound, event, expected) in [
        ("max_payload: 16384\n", "900kB", Some(14_334)),
        ("max_payload: 16384\n", "14334", None),
        ("", "900kB", None),
        // More than the servers' default: `check` warns of it, and this file asks for it.
        ("max_payload: 8388608\n", "4MiB", None),
    ] {
        let Some((server, _folder)) = server(bound) else {
            return;
        };
        let nats = format!("{{url: \"{}\"}}", server.url());
        let yaml = format!(
            "{}limits: {{event: {event}}}\n",
            sharing(&posthog.url(), &nats)
        );
        let file = folder.path().join("doctor.yaml");
        std::fs::write(&file, yaml).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .arg("doctor")
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find(|line| line.contains("size of an event"));
        let line = line.unwrap_or_else(|| panic!("{bound} {event}: {said}"));
        match expected {
            Some(most) => assert!(
                line.starts_with("BAD") && line.contains(&format!("NATS accepts {most}")),
                "{line}"
            ),
            None => assert!(line.starts_with("ok"), "{line}"),
        }
    }
}

/// Existing streams that could lose acknowledged events, or that accept none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_may_lose_events_is_not_used() {
    type Change = fn(&mut StreamConfig);
    let changes: [(&str, Change); 4] = [
        ("not a work queue", |config| {
            config.retention = RetentionPolicy::Interest;
        }),
        ("drops its oldest", |config| {
            config.discard = DiscardPolicy::Old;
            config.max_messages = 2;
        }),
        ("acknowledges nothing", |config| config.no_ack = true),
        ("does not have the subjects", |config| {
            config.subjects = vec!["other".to_owned()];
        }),
    ];
    for (reason, change) in changes {
        let Some(server) = Server::single() else {
            return;
        };
        let mut config = StreamConfig {
            name: "SPOOL".to_owned(),
            subjects: vec!["SPOOL.events.*".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            ..StreamConfig::default()
        };
        change(&mut config);
        let context = context(&server).await;
        context.create_stream(config).await.unwrap();
        let spool = NatsSpool::open(settings(&server.url())).unwrap();
        let error = spool.append("shop", vec![event("e")]).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        assert_eq!(spool.availability(), Availability::Unavailable, "{reason}");
    }
}
