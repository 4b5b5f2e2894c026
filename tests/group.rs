//! `mode: group`: requests of a project leave together, and no client's events suffer. Real
//! sockets, and the real binary where a process has to end.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

// More of this module is used by the tests of outages.
#[allow(dead_code)]
#[path = "outage/binary.rs"]
mod binary;
#[path = "group/order.rs"]
mod order;
mod support;
#[path = "group/trouble.rs"]
mod trouble;

use std::path::Path;
use std::time::Duration;

use support::client::{post, Answer, Client};
use support::proxy::{yaml, Proxy};
use support::recorder::{Recorded, Recorder};

/// A configuration in this mode with this host and these further lines in `delivery`.
fn grouping(host: &str, more: &str) -> String {
    yaml(host).replace(
        "spool: \"off\"",
        &format!("mode: group, {more}spool: \"off\""),
    )
}

/// The same with a spool in this folder.
fn grouping_and_spooling(host: &str, folder: &Path) -> String {
    let spool = format!("{{path: \"{}\"}}", folder.join("spool").display());
    grouping(host, "").replace("\"off\"", &spool)
}

/// A track call of this person.
fn call(person: &str, id: &str) -> String {
    format!("{{\"event\":\"Order\",\"userId\":\"{person}\",\"messageId\":\"{id}\"}}")
}

/// Sends these bodies at once, each over its own connection, and returns the answers.
async fn all_at_once(proxy: &Proxy, bodies: Vec<String>) -> Vec<Answer> {
    let address = proxy.address;
    let clients = bodies.into_iter().map(|body| {
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let request = post("/hr/v1/track", "", body.as_bytes());
            client.exchange(&request).await
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut answers = Vec::new();
    for client in clients {
        answers.push(client.await.unwrap());
    }
    answers
}

/// The ids of the messages, in the order in which their events arrived.
fn uuids(requests: &[Recorded]) -> Vec<String> {
    let mut all = Vec::new();
    for request in requests {
        let json = request.json();
        for event in json["batch"].as_array().unwrap() {
            all.push(event["uuid"].as_str().unwrap().to_owned());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_connections_become_a_twentieth_of_the_requests() {
    const CONNECTIONS: usize = 64;
    const EACH: usize = 20;
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&grouping(&posthog.url(), "linger: 1s, ")).await;
    let address = proxy.address;
    let clients = (0..CONNECTIONS).map(|person| {
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            for number in 0..EACH {
                let body = call(&format!("p-{person}"), &format!("m-{person}-{number}"));
                let answer = client
                    .exchange(&post("/hr/v1/track", "", body.as_bytes()))
                    .await;
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(answer.json()["success"], true);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let requests = posthog.seen();
    let mut arrived = uuids(&requests);
    assert_eq!(arrived.len(), CONNECTIONS * EACH);
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), CONNECTIONS * EACH, "each once");
    let most = CONNECTIONS * EACH / 20;
    let sizes: Vec<_> = requests.iter().map(|one| one.ids().len()).collect();
    assert!(
        requests.len() <= most,
        "{} requests: {sizes:?}",
        sizes.len()
    );
    // Each group is one batch of the project.
    for request in &requests {
        assert_eq!(request.json()["api_key"], "phc_test");
        assert_eq!(request.header("transfer-encoding"), None);
    }
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_keeps_its_limit_and_full_groups_do_not_linger() {
    let posthog = Recorder::start().await;
    let yaml = grouping(&posthog.url(), "linger: 1s, group_size: 4kB, ");
    let proxy = Proxy::start(&yaml).await;
    let padding = "x".repeat(1_500);
    let bodies = (0..40).map(|number| {
        format!(
            "{{\"event\":\"Order\",\"userId\":\"p-{number}\",\"properties\":{{\"pad\":\"{padding}\"}}}}"
        )
    });
    let answers = all_at_once(&proxy, bodies.collect()).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let requests = posthog.seen();
    let sizes: Vec<_> = requests.iter().map(|one| one.ids().len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 40, "{sizes:?}");
    for request in &requests {
        assert!(request.body.len() <= 4_000, "{}", request.body.len());
    }
    // Two requests fill a group. On a busy machine, one may wait for its second longer than the linger.
    assert!(
        sizes.iter().filter(|size| **size == 2).count() >= 15,
        "{sizes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_leave_apart_and_each_in_its_own_mode() {
    let posthog = Recorder::start().await;
    let host = posthog.url();
    let yaml = format!(
        "projects:\n\
         \x20 one: {{host: \"{host}\", api_key: phc_one, delivery: {{mode: group}}}}\n\
         \x20 two: {{host: \"{host}\", api_key: phc_two, delivery: {{mode: group}}}}\n\
         \x20 three: {{host: \"{host}\", api_key: phc_three}}\n\
         routes:\n  - path: /hr/\n    segment:\n      write_keys: {{wk_one: one, wk_two: two, wk_three: three}}\n\
         delivery: {{linger: 1s, spool: \"off\"}}\n"
    );
    let proxy = Proxy::start(&yaml).await;
    let bodies = (0..30).map(|number| {
        let key = ["one", "two", "three"][number % 3];
        format!("{{\"event\":\"Order\",\"userId\":\"{key}-{number}\",\"writeKey\":\"wk_{key}\"}}")
    });
    for answer in all_at_once(&proxy, bodies.collect()).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut counts = std::collections::BTreeMap::<String, Vec<usize>>::new();
    for request in posthog.seen() {
        let json = request.json();
        let key = json["api_key"].as_str().unwrap();
        let ids = request.ids();
        let of_the_key = |id: &String| id.starts_with(key.trim_start_matches("phc_"));
        assert!(ids.iter().all(of_the_key), "{key}: {ids:?}");
        counts.entry(key.to_owned()).or_default().push(ids.len());
    }
    assert_eq!(counts["phc_three"].len(), 10, "{counts:?}");
    for key in ["phc_one", "phc_two"] {
        assert_eq!(counts[key].iter().sum::<usize>(), 10, "{counts:?}");
        assert!(counts[key].len() <= 5, "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posthog_gets_a_clients_address_only_with_that_clients_events() {
    let posthog = Recorder::start().await;
    let yaml = grouping(&posthog.url(), "linger: 1s, ")
        + "trusted_proxies: [127.0.0.1]\nmapping: {mode: reference}\n";
    let proxy = Proxy::start(&yaml).await;
    let address = proxy.address;
    // Events of a server have no address, so PostHog takes that of the request; browsers' events
    // have one.
    let clients = (0..12).map(|number| {
        tokio::spawn(async move {
            let library = ["analytics.js", "analytics-node"][number % 2];
            let from = format!("203.0.113.{}", number % 4);
            let body = format!(
                "{{\"event\":\"Order\",\"userId\":\"{from} {library}\",\"messageId\":\"m-{number}\",\
                 \"context\":{{\"library\":{{\"name\":\"{library}\"}}}}}}"
            );
            let mut client = Client::connect(address).await;
            let from = format!("X-Forwarded-For: {from}\r\n");
            client
                .exchange(&post("/hr/v1/track", &from, body.as_bytes()))
                .await
                .status
        })
    });
    for client in clients.collect::<Vec<_>>() {
        assert_eq!(client.await.unwrap(), 200);
    }
    let requests = posthog.seen();
    assert_eq!(uuids(&requests).len(), 12);
    assert!(requests.len() < 12, "{} requests", requests.len());
    for request in &requests {
        let told = request.header("x-forwarded-for");
        let json = request.json();
        for event in json["batch"].as_array().unwrap() {
            let properties = &event["properties"];
            let id = properties["distinct_id"].as_str().unwrap();
            let (from, library) = id.split_once(' ').unwrap();
            if library == "analytics.js" {
                assert_eq!(properties["$ip"], from, "{event}");
            } else {
                assert_eq!(properties.get("$ip"), None, "{event}");
                assert_eq!(told.as_deref(), Some(from), "{event}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_request_waits_for_the_linger_and_not_for_others() {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&grouping(&posthog.url(), "linger: 20ms, ")).await;
    let mut client = Client::connect(proxy.address).await;
    for number in 0..3 {
        let body = call("p", &format!("m-{number}"));
        let request = post("/hr/v1/track", "", body.as_bytes());
        let sent = std::time::Instant::now();
        let answer = client.exchange(&request).await;
        assert_eq!(answer.status, 200);
        assert!(sent.elapsed() >= Duration::from_millis(20));
    }
    assert_eq!(posthog.seen().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_linger_no_request_waits_for_the_timeout() {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&grouping(&posthog.url(), "linger: 0s, ")).await;
    let bodies = (0..20).map(|number| call(&format!("p-{}", number % 5), &format!("m-{number}")));
    for answer in all_at_once(&proxy, bodies.collect()).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let arrived: usize = posthog.seen().iter().map(|seen| seen.ids().len()).sum();
    assert_eq!(arrived, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_leave_before_the_linger_if_no_other_comes() {
    const LINGER: Duration = Duration::from_secs(1);
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&grouping(&posthog.url(), "linger: 1s, ")).await;
    // On a busy machine a round may take longer. Without the rule, none could take less.
    for round in 0..30 {
        let bodies =
            (0..40).map(|person| call(&format!("p-{person}"), &format!("{round}-{person}")));
        let sent = std::time::Instant::now();
        let answers = all_at_once(&proxy, bodies.collect()).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        if sent.elapsed() < LINGER {
            return;
        }
    }
    panic!("in no round were all requests answered before the linger");
}
