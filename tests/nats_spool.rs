//! The spool on NATS JetStream, against real servers: one, and three in a cluster of which one is
//! killed. Without the program `nats-server` (Debian package of this name) every test here is
//! skipped, and says so.
#![cfg(feature = "nats")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream;
use async_trait::async_trait;
use bytes::Bytes;
use hedgerow::delivery::{
    BreakerSettings, Delivery, Encoding, Held, Lead, NatsSettings, NatsSpool, Parcel, Portion,
    Refusal, Replay, ReplaySettings, Rest, Route, SpooledEvent, Store, Upstream, Verdict,
};
use hedgerow::posthog::{ApiKey, Envelope};

const EVERYTHING: Portion = Portion {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server that this test has started, with its files.
struct Server {
    process: Option<Child>,
    arguments: Vec<String>,
    port: u16,
    _folder: Arc<tempfile::TempDir>,
}

impl Server {
    fn prepare(extra: &[String]) -> Option<Self> {
        let installed = Command::new("nats-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok();
        if !installed {
            println!("SKIPPED: nats-server is not installed (apt-get install nats-server)");
            return None;
        }
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let port = free_port();
        let store: PathBuf = folder.path().join("store");
        let mut arguments: Vec<String> = [
            "-a",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-js",
            "-sd",
            store.to_str().unwrap(),
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend_from_slice(extra);
        Some(Self {
            process: None,
            arguments,
            port,
            _folder: folder,
        })
    }

    fn single() -> Option<Self> {
        let mut server = Self::prepare(&[])?;
        server.start();
        Some(server)
    }

    /// Three servers that know each other.
    fn cluster() -> Option<Vec<Self>> {
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let urls: Vec<String> = routes
            .iter()
            .map(|port| format!("nats-route://127.0.0.1:{port}"))
            .collect();
        let mut servers = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let extra = [
                "--server_name",
                &format!("n{number}"),
                "--cluster_name",
                "hedge",
                "--cluster",
                &format!("nats://127.0.0.1:{route}"),
                "--routes",
                &urls.join(","),
            ]
            .map(str::to_owned);
            servers.push(Self::prepare(&extra)?);
        }
        servers.iter_mut().for_each(Self::start);
        Some(servers)
    }

    fn start(&mut self) {
        let process = Command::new("nats-server")
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn settings(url: &str) -> NatsSettings {
    NatsSettings {
        lead: Duration::from_secs(4),
        ..NatsSettings::new(url, "SPOOL")
    }
}

fn event(id: &str) -> SpooledEvent {
    let text = format!(
        r#"{{"uuid":"{id}","event":"e","distinct_id":"d","timestamp":"2026-11-23T10:00:00Z","properties":{{"p":"{}"}}}}"#,
        "x".repeat(200)
    );
    SpooledEvent::new(Bytes::from(text), SystemTime::now()).unwrap()
}

fn events(ids: &[String]) -> Vec<SpooledEvent> {
    ids.iter().map(|id| event(id)).collect()
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("n{number}")).collect()
}

fn ids(held: &[Held]) -> Vec<String> {
    held.iter()
        .map(|held| {
            let value: serde_json::Value = serde_json::from_slice(&held.body).unwrap();
            value["uuid"].as_str().unwrap().to_owned()
        })
        .collect()
}

async fn until<F: std::future::Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Appends as soon as the servers take it.
async fn append(spool: &NatsSpool, ids: &[String]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = spool.append("shop", events(ids)).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

async fn lead(spool: &NatsSpool) {
    until("the lead", || async {
        matches!(spool.lead("shop").await, Lead::Ours(_))
    })
    .await;
}

/// Everything that waits, once as much as expected is there.
async fn take(spool: &NatsSpool, least: usize) -> Vec<Held> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        lead(spool).await;
        match spool.take("shop", EVERYTHING).await {
            Ok(taken) if taken.events.len() >= least => {
                assert_eq!(taken.rest, Rest::Nothing);
                return taken.events;
            }
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_of_the_server_in_order_and_once() {
    let Some(mut server) = Server::single() else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).await.unwrap();
    let all = names(0..400);
    for some in all.chunks(20) {
        append(&spool, some).await;
    }
    // A client that sends again, because it has not seen the answer.
    append(&spool, &all[380..400]).await;
    assert_eq!(spool.gauges().of("shop").events(), 400);
    server.kill();
    let refused = spool.append("shop", events(&names(900..901))).await;
    println!("without a server: {}", refused.unwrap_err());
    server.start();
    let again = NatsSpool::open(settings(&server.url())).await.unwrap();
    let held = take(&again, 400).await;
    assert_eq!(ids(&held), all);
    // The same come again until they are settled.
    assert_eq!(ids(&take(&again, 400).await), all);
    let positions = held[..390].iter().map(|held| held.position).collect();
    again.settle("shop", positions).await;
    assert_eq!(ids(&take(&again, 10).await), all[390..]);
    // Another look from outside: the stream holds what is left and no more.
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut stream = jetstream::new(client).get_stream("SPOOL").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
    assert_eq!(stream.cached_info().config.num_replicas, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_is_no_reason_not_to_start() {
    let Some(mut server) = Server::prepare(&[]) else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).await.unwrap();
    let refused = spool.append("shop", vec![event("a")]).await;
    println!("without a server: {}", refused.unwrap_err());
    server.start();
    append(&spool, &names(0..1)).await;
    assert_eq!(ids(&take(&spool, 1).await), names(0..1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_refuses_and_takes_again_when_emptied() {
    let Some(server) = Server::single() else {
        return;
    };
    let small = NatsSettings {
        max_size: 60_000,
        ..settings(&server.url())
    };
    let spool = NatsSpool::open(small).await.unwrap();
    append(&spool, &names(0..1)).await;
    let mut number = 1;
    let error = loop {
        match spool
            .append("shop", events(&names(number..number + 20)))
            .await
        {
            Ok(()) => number += 20,
            Err(error) => break error,
        }
    };
    println!("full after {number} events: {error}");
    assert!(number > 100);
    let held = take(&spool, number).await;
    assert_eq!(ids(&held), names(0..number));
    let positions = held[..number / 2]
        .iter()
        .map(|held| held.position)
        .collect();
    spool.settle("shop", positions).await;
    append(&spool, &names(5_000..5_001)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_becomes_a_dead_letter_in_a_stream_of_its_own() {
    let Some(server) = Server::single() else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).await.unwrap();
    append(&spool, &names(0..3)).await;
    let held = take(&spool, 3).await;
    let refusal = Refusal {
        status: 400,
        reason: "no \u{e4}\n".to_owned(),
    };
    spool.bury("shop", held[1].position, refusal).await.unwrap();
    assert_eq!(ids(&take(&spool, 2).await), ["n0", "n2"]);
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = jetstream::new(client)
        .get_stream("SPOOL_DEAD")
        .await
        .unwrap();
    let letter = stream
        .get_last_raw_message_by_subject("SPOOL.dead.shop")
        .await
        .unwrap();
    assert_eq!(letter.payload, held[1].body);
    assert_eq!(
        letter.headers.get("Hedgerow-Status").unwrap().as_str(),
        "400"
    );
}

/// PostHog as a script: takes everything after a moment, and notes what overlaps.
#[derive(Default)]
struct Upstreams {
    arrived: Mutex<Vec<String>>,
    under_way: Mutex<(usize, usize)>,
    down: AtomicBool,
}

#[async_trait]
impl Upstream for Upstreams {
    fn envelope(&self, _project: &str) -> Option<Envelope> {
        Some(Envelope::new(&ApiKey::new("phc_a").unwrap()))
    }

    async fn deliver(&self, _project: &str, parcel: Parcel) -> Verdict {
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
        if self.down.load(Ordering::Relaxed) {
            self.under_way.lock().unwrap().0 -= 1;
            return Verdict::of_status(503, "", None);
        }
        let value: serde_json::Value = serde_json::from_slice(&parcel.body).unwrap();
        let ids = value["batch"].as_array().unwrap().iter();
        let ids = ids.map(|event| event["uuid"].as_str().unwrap().to_owned());
        self.arrived.lock().unwrap().extend(ids);
        self.under_way.lock().unwrap().0 -= 1;
        Verdict::Accepted
    }
}

impl Upstreams {
    /// What arrived, after PostHog's own dedup: the first of each.
    fn once(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let arrived = self.arrived.lock().unwrap();
        arrived
            .iter()
            .filter(|id| seen.insert(*id))
            .cloned()
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_every_proxy_streams_again_although_traffic_never_pauses() {
    let Some(server) = Server::single() else {
        return;
    };
    let upstream = Arc::new(Upstreams::default());
    upstream.down.store(true, Ordering::Relaxed);
    let proxies = [
        Proxy::start(&server.url(), &upstream).await,
        Proxy::start(&server.url(), &upstream).await,
        Proxy::start(&server.url(), &upstream).await,
    ];
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..12 {
        let project = proxies[client % 3].delivery.project("shop");
        let upstream = Arc::clone(&upstream);
        clients.spawn(async move {
            let (mut number, mut streamed) = (0, 0);
            let deadline = Instant::now() + Duration::from_secs(90);
            while streamed < 30 && Instant::now() < deadline {
                let id = format!("c{client}-{number}");
                number += 1;
                if project.admit().await == Route::Stream {
                    // What the sender does with a live batch.
                    if !upstream.down.load(Ordering::Relaxed) {
                        upstream.arrived.lock().unwrap().push(id);
                        project.report(&Verdict::Accepted);
                        streamed += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                    project.report(&Verdict::of_status(503, "", None));
                }
                project.keep(vec![event(&id)]).await.unwrap();
                if number == 50 {
                    upstream.down.store(false, Ordering::Relaxed);
                }
            }
            (number, streamed)
        });
    }
    let mut sent = 0;
    while let Some(done) = clients.join_next().await {
        let (number, streamed) = done.unwrap();
        println!("{number} sent, {streamed} of them streamed");
        assert_eq!(streamed, 30, "it never streamed again");
        sent += number;
    }
    until("all arrive", || async { upstream.once().len() >= sent }).await;
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for id in upstream.once() {
        let (client, number) = id.split_once('-').unwrap();
        let number: i64 = number.parse().unwrap();
        let before = newest.insert(client.to_owned(), number).unwrap_or(-1);
        assert_eq!(number, before + 1, "{id} is out of order");
    }
    for proxy in proxies {
        proxy.replay.stop().await;
    }
}

struct Proxy {
    delivery: Arc<Delivery>,
    spool: NatsSpool,
    replay: Replay,
}

impl Proxy {
    async fn start(url: &str, upstream: &Arc<Upstreams>) -> Self {
        let spool = NatsSpool::open(settings(url)).await.unwrap();
        let delivery = Arc::new(Delivery::new(
            Arc::new(spool.clone()),
            BreakerSettings::default(),
            Duration::from_secs(1),
        ));
        let replay = Replay::start(
            Arc::clone(&delivery),
            Arc::clone(upstream) as _,
            ReplaySettings {
                batch_events: 50,
                encoding: Encoding::Identity,
                longest_delivery: Duration::from_secs(1),
                ..ReplaySettings::default()
            },
        );
        Self {
            delivery,
            spool,
            replay,
        }
    }
}

fn in_order_and_once(arrived: &[String], clients: usize, each: usize) {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for id in arrived {
        let (client, number) = id.split_once('-').unwrap();
        let number: i64 = number.parse().unwrap();
        let before = newest.insert(client, number).unwrap_or(-1);
        assert_eq!(number, before + 1, "{id} is out of order");
    }
    assert_eq!(arrived.len(), clients * each);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_share_a_spool_and_keep_everyones_order() {
    let Some(server) = Server::single() else {
        return;
    };
    let upstream = Arc::new(Upstreams::default());
    let one = Proxy::start(&server.url(), &upstream).await;
    let two = Proxy::start(&server.url(), &upstream).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..10 {
        let projects = [one.delivery.project("shop"), two.delivery.project("shop")];
        clients.spawn(async move {
            // A client whose requests go to one proxy and the other in turn.
            for number in 0..60 {
                let event = event(&format!("c{client}-{number}"));
                projects[number % 2].keep(vec![event]).await.unwrap();
            }
        });
    }
    // The one that drains leaves in the middle; the other goes on.
    until("it has begun", || async { upstream.once().len() > 100 }).await;
    one.replay.stop().await;
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    until("all arrive", || async { upstream.once().len() >= 600 }).await;
    in_order_and_once(&upstream.once(), 10, 60);
    assert_eq!(
        upstream.under_way.lock().unwrap().1,
        1,
        "never two requests at once"
    );
    // And the count of what waits comes down in both.
    for spool in [&one.spool, &two.spool] {
        until("nothing waits", || async {
            spool.gauges().of("shop").events() == 0
        })
        .await;
    }
    two.replay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_of_a_proxy_that_died_passes_on_with_what_it_had_taken() {
    let Some(server) = Server::single() else {
        return;
    };
    let dying = NatsSpool::open(settings(&server.url())).await.unwrap();
    append(&dying, &names(0..50)).await;
    let held = take(&dying, 50).await;
    assert_eq!(held.len(), 50);
    let heir = NatsSpool::open(settings(&server.url())).await.unwrap();
    assert_eq!(heir.lead("shop").await, Lead::Theirs);
    drop(dying);
    append(&heir, &names(50..60)).await;
    // First what the other had taken, although it never gave it back.
    assert_eq!(ids(&take(&heir, 60).await), names(0..60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_loses_nothing_when_a_server_is_killed() {
    let Some(mut servers) = Server::cluster() else {
        return;
    };
    let url = servers
        .iter()
        .map(Server::url)
        .collect::<Vec<_>>()
        .join(",");
    let upstream = Arc::new(Upstreams::default());
    let spool = NatsSpool::open(settings(&url)).await.unwrap();
    append(&spool, &["warm-0".to_owned()]).await;
    let client = async_nats::connect(servers[0].url()).await.unwrap();
    let mut stream = jetstream::new(client).get_stream("SPOOL").await.unwrap();
    let info = stream.info().await.unwrap();
    assert_eq!(info.config.num_replicas, 3);
    // The worst one: the leader of the stream.
    let leader = info.cluster.as_ref().unwrap().leader.clone().unwrap();
    let victim: usize = leader.trim_start_matches('n').parse().unwrap();
    let proxy = Proxy::start(&url, &upstream).await;
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20 {
        let project = proxy.delivery.project("shop");
        let acknowledged = Arc::clone(&acknowledged);
        clients.spawn(async move {
            let mut refused = 0;
            for number in 0..50 {
                let ids = vec![
                    format!("c{client}-{}", number * 2),
                    format!("c{client}-{}", number * 2 + 1),
                ];
                // A client sends the same again until it is told that it is safe.
                while let Err(error) = project.keep(events(&ids)).await {
                    refused += 1;
                    assert!(refused < 100, "{error}");
                }
                acknowledged.lock().unwrap().extend(ids);
            }
            refused
        });
    }
    until("some are in", || async {
        acknowledged.lock().unwrap().len() > 300
    })
    .await;
    servers[victim].kill();
    println!(
        "the leader {leader} killed after {}",
        acknowledged.lock().unwrap().len()
    );
    let mut refused = 0;
    while let Some(done) = clients.join_next().await {
        refused += done.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    until("all arrive", || async {
        upstream.once().len() > acknowledged.len()
    })
    .await;
    proxy.replay.stop().await;
    let arrived: Vec<String> = upstream
        .once()
        .into_iter()
        .filter(|id| id != "warm-0")
        .collect();
    let raw = upstream.arrived.lock().unwrap().len() - 1;
    let lost = acknowledged
        .iter()
        .filter(|id| !arrived.contains(id))
        .count();
    println!(
        "{} acknowledged, {refused} appends refused and sent again, {} arrived, {} of them twice, \
         {lost} lost",
        acknowledged.len(),
        arrived.len(),
        raw - arrived.len()
    );
    assert_eq!(lost, 0);
    in_order_and_once(&arrived, 20, 100);
}
