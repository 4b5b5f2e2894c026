//! Without a spool, an event that PostHog rejects delays no other event, and is reported.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use hedgerow::admin::Admin;
use serde_json::Value;

use super::support::client::{post, Client};
use super::support::log;
use super::support::proxy::{yaml, Proxy};
use super::support::recorder::{response, Act, Recorded, Recorder, OK};

/// A message that the stand-in below rejects if `bad`.
fn message(number: usize, bad: bool) -> String {
    let event = if bad { "Bad" } else { "Good" };
    format!(
        r#"{{"type":"track","event":"{event}","userId":"u-{number}","messageId":"m-{number}","properties":{{"filler":"{}"}}}}"#,
        "x".repeat(200)
    )
}

fn batch(events: usize, bad: &[usize]) -> String {
    let items: Vec<String> = (0..events)
        .map(|number| message(number, bad.contains(&number)))
        .collect();
    format!("{{\"batch\":[{}]}}", items.join(","))
}

fn is_refused(request: &Recorded) -> bool {
    request.body.windows(5).any(|window| window == b"\"Bad\"")
}

/// A stand-in for PostHog that rejects each batch with a bad event.
async fn strict() -> Recorder {
    Recorder::that(|request| match is_refused(request) {
        true => Act::Answer(response("400 Bad Request", "", "invalid event \"Bad\"")),
        false => Act::Answer(OK.to_vec()),
    })
    .await
}

/// The persons whose events it accepted, in order.
fn taken(posthog: &Recorder) -> Vec<String> {
    let seen = posthog.seen();
    let taken = seen.iter().filter(|request| !is_refused(request));
    taken.flat_map(Recorded::ids).collect()
}

fn named(posthog: &str, name: &str) -> String {
    yaml(posthog).replace("shop", name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_good_events_arrive_in_order_and_the_culprits_are_reported() {
    log::keep();
    let all_but_one: Vec<usize> = (0..60).filter(|number| *number != 59).collect();
    for (number, (events, bad)) in [
        (2, &[0][..]),
        (2, &[1]),
        (3, &[1]),
        (40, &[17]),
        (40, &[0, 1, 2, 20, 39]),
        (300, &[150]),
        // More refusals in a row than the replay would accept if PostHog had accepted nothing else.
        (60, &all_but_one[30..]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("culprits-{number}");
        let posthog = strict().await;
        let yaml = named(&posthog.url(), &name) + "admin: 127.0.0.1:0\n";
        let proxy = Proxy::start(&yaml).await;
        let mut client = Client::connect(proxy.address).await;
        let body = batch(events, bad);
        let answer = client.exchange(&post("/hr/b", "", body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let good: Vec<String> = (0..events)
            .filter(|number| !bad.contains(number))
            .map(|number| format!("u-{number}"))
            .collect();
        assert_eq!(taken(&posthog), good, "{name}");
        let counts = proxy.hedgerow.counts();
        assert_eq!(
            counts.refused.get("refused_by_posthog"),
            Some(&(bad.len() as u64)),
            "{name}: {counts:?}"
        );
        let requests = posthog.seen().len();
        assert!(requests <= 20 * bad.len() + 1, "{name}: {requests}");
        let said = log::lines(&format!(
            "project {name}: PostHog refuses an event for good"
        ));
        assert_eq!(said.len(), 1, "{name}: {said:?}");
        assert!(said[0].contains("400: invalid event"), "{said:?}");
        let admin = proxy.hedgerow.admin().expect("it is on");
        let news = live(&admin);
        let entries = news["entries"].as_array().unwrap();
        assert_eq!(entries.len(), bad.len(), "{name}: {news}");
        assert!(
            entries[0]["name"] == "Bad" && entries[0]["fate"] == "refused",
            "{news}"
        );
        // The next batch is good.
        let next = message(999, false);
        let answer = client.exchange(&post("/hr/t", "", next.as_bytes())).await;
        assert_eq!(answer.status, 200, "{name}");
    }
}

/// The live view's entries.
fn live(admin: &Arc<Admin>) -> Value {
    serde_json::from_str(&asked(admin, "/live")).unwrap()
}

/// The answer of the admin address at this path.
pub fn asked(admin: &Arc<Admin>, path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path, None),
    };
    use hedgerow::demo::http::{Handler, Request};
    let mut headers = http::HeaderMap::new();
    headers.insert("host", "127.0.0.1".parse().unwrap());
    let request = Request {
        method: http::Method::GET,
        path: path.to_owned(),
        query,
        headers,
        body: Default::default(),
        peer: None,
    };
    String::from_utf8(admin.handle(&request).body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_dropped_while_posthog_accepts_none() {
    // PostHog refuses every batch, so the events are not to blame.
    for events in [1, 2, 200] {
        let posthog = strict().await;
        let proxy = Proxy::start(&yaml(&posthog.url())).await;
        let mut client = Client::connect(proxy.address).await;
        let all: Vec<usize> = (0..events).collect();
        let body = batch(events, &all);
        let answer = client.exchange(&post("/hr/b", "", body.as_bytes())).await;
        assert_eq!(answer.status, 503, "{events}: {answer:?}");
        assert!(proxy.hedgerow.counts().refused.is_empty(), "{events}");
        let requests = posthog.seen().len();
        assert!(requests <= 60, "{events}: {requests}");
    }
    // PostHog fails in the middle: the client sends everything again, and PostHog removes the
    // duplicates.
    let asked = AtomicUsize::new(0);
    let posthog = Recorder::that(move |request| {
        let nth = asked.fetch_add(1, Ordering::SeqCst);
        match (is_refused(request), nth) {
            (_, 3) => Act::Answer(response("503 Later", "Retry-After: 7\r\n", "")),
            (true, _) => Act::Answer(response("400 Bad Request", "", "no")),
            (false, _) => Act::Answer(OK.to_vec()),
        }
    })
    .await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let body = batch(16, &[9]);
    let answer = client.exchange(&post("/hr/b", "", body.as_bytes())).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), "7");
    let answer = client.exchange(&post("/hr/b", "", body.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let counts = proxy.hedgerow.counts();
    assert_eq!(counts.refused.get("refused_by_posthog"), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_streamed_and_was_refused_arrives_when_it_comes_again() {
    let posthog = strict().await;
    let yaml = yaml(&posthog.url()) + "limits: {window: 4KiB}\n";
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let body = batch(400, &[333]);
    let answer = client.exchange(&post("/hr/b", "", body.as_bytes())).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let answer = client.exchange(&post("/hr/b", "", body.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(taken(&posthog).len(), 399);
    let counts = proxy.hedgerow.counts();
    assert_eq!(counts.refused.get("refused_by_posthog"), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_too_large_for_posthog_is_sent_in_parts() {
    let posthog = Recorder::that(|request| match request.body.len() > 20_000 {
        true => Act::Answer(response("413 Payload Too Large", "", "")),
        false => Act::Answer(OK.to_vec()),
    })
    .await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/b", "", batch(200, &[]).as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(proxy.hedgerow.counts().refused.is_empty());
    let seen = posthog.seen();
    let small = seen.iter().filter(|request| request.body.len() <= 20_000);
    assert_eq!(small.flat_map(Recorded::ids).count(), 200);
}
