//! A slow answer delays only its own persons, and each person's events keep their order.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hedgerow::proxy::Site;
use hedgerow::Hedgerow;

use super::support::client::{post, Client};
use super::support::proxy::{config, Proxy, Speaks};
use super::support::recorder::{response, Act, Recorded, Recorder, OK};
use super::support::{eventually, DEADLINE};
use super::{all_at_once, call, grouping, grouping_and_spooling};

/// Whether a request has an event of the person whom PostHog answers late.
fn is_slow(request: &Recorded) -> bool {
    request.ids().iter().any(|id| id == "slow")
}

/// Waits until the test sets this. Other connections continue meanwhile.
fn wait_until(set: &AtomicBool) {
    let start = Instant::now();
    tokio::task::block_in_place(|| {
        while !set.load(Ordering::SeqCst) {
            assert!(start.elapsed() < DEADLINE, "the test has ended");
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}

/// Sends a body and does not wait for the answer.
async fn begin(proxy: &Proxy, body: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client
        .send(&post("/hr/v1/track", "", body.as_bytes()))
        .await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_answer_does_not_stop_the_others_and_persons_keep_their_order() {
    // PostHog answers this person's requests only when the test says so.
    let free = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&free);
    let has_slow = Arc::new(AtomicBool::new(false));
    let arrived = Arc::clone(&has_slow);
    let posthog = Recorder::that(move |request| {
        let slow = is_slow(request);
        arrived.fetch_or(slow, Ordering::SeqCst);
        if slow {
            wait_until(&answers);
        }
        Act::Answer(OK.to_vec())
    })
    .await;
    let yaml = grouping(&posthog.url(), "").replace("timeout: 5s", "timeout: 60s");
    let proxy = Proxy::start(&yaml).await;
    let mut first = begin(&proxy, &call("slow", "m-1")).await;
    let counted = |events: u64| {
        let proxy = &proxy;
        eventually("it is there", move || {
            (proxy.hedgerow.counts().events >= events).then_some(())
        })
    };
    // From now on, requests find a group under way or wait for one.
    eventually("the first is under way", || {
        has_slow.load(Ordering::SeqCst).then_some(())
    })
    .await;
    // The same person again, and a person whom an identify call joins with the first.
    let mut second = begin(&proxy, &call("slow", "m-2")).await;
    let identify = r#"{"type":"identify","anonymousId":"slow","userId":"known","messageId":"m-3"}"#;
    let mut client = Client::connect(proxy.address).await;
    client
        .send(&post("/hr/v1/identify", "", identify.as_bytes()))
        .await;
    counted(3).await;
    // An event is counted a moment before its request waits.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut fourth = begin(&proxy, &call("known", "m-4")).await;
    // Meanwhile other persons' requests come and go.
    for number in 0..20 {
        let mut other = Client::connect(proxy.address).await;
        let body = call(&format!("quick-{number}"), &format!("q-{number}"));
        let answer = other
            .exchange(&post("/hr/v1/track", "", body.as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let seen = posthog.seen();
    assert_eq!(seen.len(), 20, "only what is not of the slow one");
    free.store(true, Ordering::SeqCst);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(fourth.answer().await.status, 200);
    let later: Vec<_> = posthog.seen().into_iter().skip(20).collect();
    let events: Vec<_> = later.iter().map(names).collect();
    assert_eq!(events[0], ["Order of slow"], "the first alone: {events:?}");
    let events = events.concat();
    let place = |name: &str| events.iter().position(|event| event == name);
    assert_eq!(events.len(), 4, "{events:?}");
    let (joined, known) = (place("$identify of known"), place("Order of known"));
    assert!(joined.is_some() && joined < known, "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reload_lets_no_event_overtake_an_earlier_one_of_its_person() {
    // PostHog answers this person's requests only when the test says so.
    let free = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&free);
    let posthog = Recorder::that(move |request| {
        if is_slow(request) {
            wait_until(&answers);
        }
        Act::Answer(OK.to_vec())
    })
    .await;
    let yaml = grouping(&posthog.url(), "").replace("timeout: 5s", "timeout: 60s");
    let hedgerow = Hedgerow::new(config(&yaml)).unwrap();
    let site = Site::new(hedgerow.clone()).unwrap();
    let proxy = Proxy::around(hedgerow, site.clone(), Speaks::Http1).await;
    let mut first = begin(&proxy, &call("slow", "m-1")).await;
    let connections = Arc::clone(&posthog.connections);
    let connected = || (connections.load(Ordering::SeqCst) > 0).then_some(());
    eventually("the first is under way", connected).await;
    let more = format!("{yaml}limits: {{event: 100kB}}\n");
    site.reload(config(&more)).unwrap();
    let mut second = begin(&proxy, &call("slow", "m-2")).await;
    let there = || (proxy.hedgerow.counts().events >= 2).then_some(());
    eventually("the second is there", there).await;
    // Those behind it leave.
    for number in 0..20 {
        let body = call(&format!("quick-{number}"), &format!("q-{number}"));
        let mut other = begin(&proxy, &body).await;
        assert_eq!(other.answer().await.status, 200);
    }
    let requests = connections.load(Ordering::SeqCst);
    free.store(true, Ordering::SeqCst);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.answer().await.status, 200);
    assert_eq!(requests, 2, "the second waits for the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_waits_long_is_not_stored_before_earlier_ones_of_its_person() {
    let folder = tempfile::tempdir().unwrap();
    let requests = AtomicUsize::new(0);
    let posthog = Recorder::that(move |_| {
        if requests.fetch_add(1, Ordering::SeqCst) > 0 {
            return Act::Answer(OK.to_vec());
        }
        // The head and the body of this rejection together take longer than the timeout.
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(700)));
        Act::Answer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n".to_vec())
    })
    .await;
    let yaml = grouping_and_spooling(&posthog.url(), folder.path());
    let proxy = Proxy::start(&yaml.replace("timeout: 5s", "timeout: 1s")).await;
    let named =
        |number: usize| call("p", &format!("m-{number}")).replace("Order", &number.to_string());
    let mut clients = vec![begin(&proxy, &named(0)).await];
    eventually("the first is under way", || {
        (posthog.connections.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    for number in 1..4 {
        clients.push(begin(&proxy, &named(number)).await);
        let there = || (proxy.hedgerow.counts().events > number as u64).then_some(());
        eventually("it is there", there).await;
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    let delivered = || {
        let later = posthog.seen().into_iter().skip(1).map(inflated);
        let events: Vec<_> = later.flat_map(|request| names(&request)).collect();
        (events.len() == 4).then_some(events)
    };
    let events = eventually("all are delivered", delivered).await;
    assert_eq!(events, ["0 of p", "1 of p", "2 of p", "3 of p"]);
}

/// The request with its body as JSON: the replay compresses bodies.
fn inflated(mut request: Recorded) -> Recorded {
    let mut body = Vec::new();
    let read = flate2::read::GzDecoder::new(request.body.as_slice()).read_to_end(&mut body);
    if read.is_ok() {
        request.body = body;
    }
    request
}

/// The events of a request, each with its person.
fn names(request: &Recorded) -> Vec<String> {
    let json = request.json();
    let events = json["batch"].as_array().unwrap().iter();
    let name = |event: &serde_json::Value| {
        let person = event["properties"]["distinct_id"].as_str().unwrap();
        format!("{} of {person}", event["event"].as_str().unwrap())
    };
    events.map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_person_has_events_in_two_requests_at_once() {
    const PEOPLE: usize = 12;
    const REQUESTS: usize = 240;
    let busy = Arc::new(Mutex::new(Vec::<String>::new()));
    let most = Arc::new(AtomicUsize::new(0));
    let (theirs, under_way) = (Arc::clone(&busy), Arc::new(AtomicUsize::new(0)));
    let peak = Arc::clone(&most);
    let posthog = Recorder::that(move |request| {
        let ids = request.ids();
        {
            let mut busy = theirs.lock().unwrap();
            let twice: Vec<_> = ids.iter().filter(|id| busy.contains(id)).collect();
            if !twice.is_empty() {
                return Act::Answer(response("418 Two at once", "", &format!("{twice:?}")));
            }
            busy.extend(ids.iter().cloned());
        }
        peak.fetch_max(
            under_way.fetch_add(1, Ordering::SeqCst) + 1,
            Ordering::SeqCst,
        );
        // PostHog answers slowly, and other connections continue meanwhile.
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(15)));
        under_way.fetch_sub(1, Ordering::SeqCst);
        theirs.lock().unwrap().retain(|id| !ids.contains(id));
        Act::Answer(OK.to_vec())
    })
    .await;
    let yaml = grouping(&posthog.url(), "linger: 1ms, group_size: 700, ");
    let proxy = Proxy::start(&yaml).await;
    let bodies = (0..REQUESTS).map(|number| {
        let person = format!("p-{}", number * 7 % PEOPLE);
        call(&person, &format!("m-{number}"))
    });
    for answer in all_at_once(&proxy, bodies.collect()).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let requests = posthog.seen();
    let arrived: usize = requests.iter().map(|request| request.ids().len()).sum();
    assert_eq!(arrived, REQUESTS);
    assert!(busy.lock().unwrap().is_empty());
    let most = most.load(Ordering::SeqCst);
    assert!(most > 1, "{most} at once: the others waited too");
}
