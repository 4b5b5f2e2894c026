//! PostHog refuses events, is away, silent or slow, and processes end: no other client's events
//! suffer, and a 200 still means that the events are safe.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;

use super::binary::{self, send, Binary};
use super::support::address::{dead_url, unused_address};
use super::support::client::{post, Client};
use super::support::proxy::{PostHog, Proxy};
use super::support::recorder::{Act, Recorder};
use super::support::running::{get, until};
use super::support::{eventually, DEADLINE};
use super::{all_at_once, call, grouping, grouping_and_spooling};

fn calls(count: usize) -> Vec<String> {
    let call = |number: usize| call(&format!("p-{number}"), &format!("m-{number}"));
    (0..count).map(call).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_spool_one_refused_event_holds_back_no_other_clients_events() {
    let posthog = PostHog::start().await;
    posthog
        .capture
        .set_fault(InjectedFault::Poison("Poison".into()));
    let proxy = Proxy::start(&grouping(&posthog.url(), "linger: 200ms, ")).await;
    let refused = || proxy.hedgerow.counts().refused.values().sum::<u64>();
    for culprits in [vec![13], vec![0], vec![39], vec![1, 2, 30]] {
        let (stored, told) = (posthog.capture.stored(), refused());
        let mut bodies = calls(40);
        for culprit in &culprits {
            bodies[*culprit] = bodies[*culprit].replace("Order", "Poison");
        }
        let answers = all_at_once(&proxy, bodies).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        let mut again = 0;
        for (number, status) in statuses.iter().enumerate() {
            match status {
                200 => {}
                // This event came alone, so nothing shows yet that it is to blame.
                503 if culprits.contains(&number) => again += 1,
                _ => panic!("{culprits:?} {number}: {statuses:?}"),
            }
        }
        let stored = posthog.capture.stored() - stored;
        assert_eq!(stored, 40 - culprits.len() as u64, "{culprits:?}");
        // Only the event's own client gets an error.
        let told = refused() - told;
        assert_eq!(told + again, culprits.len() as u64, "{culprits:?}");
    }
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn if_everything_is_rejected_not_every_request_is_tried() {
    // PostHog answers when all requests have come. On a busy machine they come slowly, and would
    // leave in many small groups.
    let have_come = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&have_come);
    let posthog = Recorder::that(move |_| {
        let start = Instant::now();
        // Other connections continue meanwhile.
        tokio::task::block_in_place(|| {
            while !answers.load(Ordering::SeqCst) && start.elapsed() < DEADLINE {
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let head = "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno";
        Act::Answer(head.as_bytes().to_vec())
    })
    .await;
    let yaml = grouping(&posthog.url(), "linger: 1s, ").replace("timeout: 5s", "timeout: 60s");
    let proxy = Proxy::start(&yaml).await;
    let (told, ()) = tokio::join!(all_at_once(&proxy, calls(300)), async {
        eventually("all have come", || {
            (proxy.hedgerow.counts().events >= 300).then_some(())
        })
        .await;
        have_come.store(true, Ordering::SeqCst);
    });
    for answer in told {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    let asked = posthog.seen().len();
    assert!(asked < 100, "{asked} requests for nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_spool_only_the_rejected_event_becomes_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    posthog
        .capture
        .set_fault(InjectedFault::Poison("Poison".into()));
    let yaml = grouping_and_spooling(&posthog.url(), folder.path());
    let file = folder.path().join("hedgerow.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let proxy = Proxy::start(&yaml).await;
    let mut bodies = calls(40);
    bodies[17] = bodies[17].replace("Order", "Poison");
    for answer in all_at_once(&proxy, bodies).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let events = posthog.events(39).await;
    assert!(events.iter().all(|event| event.distinct_id != "p-17"));
    let listed = eventually("a dead letter and nothing that waits", || {
        let (listed, _) = binary::spool(&file, &["ls"]);
        (listed.contains("dead 1\tshop") && !listed.contains("waiting")).then_some(listed)
    })
    .await;
    assert!(listed.contains("\tPoison\t"), "{listed}");
    assert_eq!(posthog.capture.stored(), 39);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_posthog_is_away_events_are_stored_or_clients_get_503() {
    let nothing = dead_url();
    let proxy = Proxy::start(&grouping(&nothing, "")).await;
    for answer in all_at_once(&proxy, calls(20)).await {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    }
    assert_eq!(proxy.hedgerow.counts().held, 0);

    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let status = StatusCode::SERVICE_UNAVAILABLE;
    posthog
        .capture
        .set_fault(InjectedFault::Status(status, Some(1)));
    let yaml = grouping_and_spooling(&posthog.url(), folder.path());
    let proxy = Proxy::start(&yaml).await;
    for round in 0..3 {
        let bodies =
            (0..20).map(|number| call(&format!("p-{number}"), &format!("m-{round}-{number}")));
        for answer in all_at_once(&proxy, bodies.collect()).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    assert_eq!(posthog.capture.stored(), 0);
    posthog.capture.set_fault(InjectedFault::None);
    let events = posthog.events(60).await;
    let uuids: BTreeSet<_> = events.iter().map(|event| event.uuid).collect();
    assert_eq!((events.len(), uuids.len()), (60, 60));
    // Each person's events arrive in the order in which they came.
    for person in 0..20 {
        let of_the_person = events
            .iter()
            .filter(|event| event.distinct_id == format!("p-{person}"));
        let times: Vec<_> = of_the_person.map(|event| event.timestamp).collect();
        assert_eq!(times.len(), 3);
        assert!(times.is_sorted(), "p-{person}: {times:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_silent_posthog_no_request_waits_longer_than_the_timeout_for_its_turn() {
    let posthog = Recorder::that(|_| Act::Silence).await;
    let yaml = grouping(&posthog.url(), "").replace("timeout: 5s", "timeout: 1s");
    let proxy = Proxy::start(&yaml).await;
    let start = Instant::now();
    // All requests have one person, so each waits for the one before.
    let bodies = (0..6).map(|number| call("p", &format!("m-{number}")));
    let clients: Vec<_> = bodies
        .map(|body| {
            let address = proxy.address;
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let request = post("/hr/v1/track", "", body.as_bytes());
                client.exchange(&request).await.status
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), 503);
    }
    // Waiting, connecting, writing and answering each have one second.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_requests_count_against_the_memory_limit() {
    let posthog = Recorder::that(|_| Act::Silence).await;
    let yaml = grouping(&posthog.url(), "").replace("timeout: 5s", "timeout: 2s")
        + "limits: {body: 100kB, window: 100kB, memory: 300kB}\n";
    let proxy = Proxy::start(&yaml).await;
    let padding = "x".repeat(20_000);
    let bodies = (0..60).map(|number| {
        format!(
            "{{\"event\":\"Order\",\"userId\":\"p\",\"messageId\":\"m-{number}\",\"properties\":{{\"pad\":\"{padding}\"}}}}"
        )
    });
    let sending = all_at_once(&proxy, bodies.collect());
    let watching = async {
        let mut most = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1_500) {
            most = most.max(proxy.hedgerow.counts().held);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        most
    };
    let (answers, most) = tokio::join!(sending, watching);
    for answer in &answers {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert!(proxy.hedgerow.counts().busy >= 60);
    assert!((40_000..=300_000).contains(&most), "{most} bytes");
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_survive_kill_minus_9() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let status = StatusCode::SERVICE_UNAVAILABLE;
    posthog
        .capture
        .set_fault(InjectedFault::Status(status, Some(1)));
    let yaml = grouping_and_spooling(&posthog.url(), folder.path());
    let mut binary = Binary::new(folder.path(), &yaml, "").await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let sending: Vec<_> = (0..20)
            .map(|number| {
                let id = format!("{round}-{number}");
                tokio::spawn(send(binary.address, call(&id, &id), id))
            })
            .collect();
        if round == 1 {
            // In the middle of the request.
            tokio::time::sleep(Duration::from_millis(4)).await;
            binary.kill();
        }
        for sent in sending {
            let (id, status) = sent.await.unwrap();
            if status == Some(200) {
                acknowledged.insert(id);
            }
        }
        binary.kill();
        binary.start().await;
    }
    assert!(acknowledged.len() >= 40, "{acknowledged:?}");
    posthog.capture.set_fault(InjectedFault::None);
    let arrived = eventually("all that was acknowledged", || {
        let events = posthog.capture.events();
        let arrived: BTreeSet<_> = events
            .iter()
            .map(|event| event.distinct_id.clone())
            .collect();
        acknowledged.is_subset(&arrived).then_some(events)
    })
    .await;
    let uuids: BTreeSet<_> = arrived.iter().map(|event| event.uuid).collect();
    assert_eq!(uuids.len(), arrived.len());
    assert_eq!(binary.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_process_answers_waiting_requests() {
    // On a busy machine the requests may arrive so slowly that some leave before the stop; then the
    // test tries again.
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let posthog = PostHog::start().await;
        let admin = unused_address();
        let yaml = format!(
            "admin: \"{admin}\"\n{}",
            grouping(&posthog.url(), "linger: 1s, ")
        );
        let mut binary = Binary::new(folder.path(), &yaml, "").await;
        let sending: Vec<_> = (0..20)
            .map(|number| {
                let id = format!("p-{number}");
                tokio::spawn(send(binary.address, call(&id, &id), id))
            })
            .collect();
        until("they have arrived", || async {
            let listens = tokio::net::TcpStream::connect(admin).await;
            listens.map_err(|error| error.to_string())?;
            let metrics = String::from_utf8(get(admin, "/metrics").await.body).unwrap();
            let name = "hedgerow_messages_total{outcome=\"converted\",reason=\"ok\"} ";
            let count = metrics.lines().find_map(|line| line.strip_prefix(name));
            match count {
                Some("20") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let waited = posthog.capture.stored() == 0;
        assert_eq!(binary.terminate().await, Some(0));
        for sent in sending {
            let (id, status) = sent.await.unwrap();
            assert_eq!(status, Some(200), "{id}");
        }
        assert_eq!(posthog.capture.stored(), 20);
        if waited {
            return;
        }
    }
    panic!("they never wait for others");
}
