//! Several processes share a spool, each with its replay: order, the end of an outage, and a
//! cluster that loses a server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_trait::async_trait;
use hedgerow::delivery::{
    BatchRoute, BreakerSettings, Delivery, Encoding, NatsSpool, OutgoingBatch, Replay,
    ReplaySettings, Store, Upstream, Verdict,
};
use hedgerow::posthog::{ApiKey, Envelope};

use super::server::Server;
use super::support::DEADLINE;
use super::{append, event, events, settings, until};

/// A PostHog that accepts everything after a moment and records overlapping batches.
#[derive(Default)]
pub struct Upstreams {
    arrived: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    pub down: AtomicBool,
    /// The event that it rejects for good.
    pub poison: Mutex<Option<String>>,
}

#[async_trait]
impl Upstream for Upstreams {
    fn envelope(&self, _project: &str) -> Option<Envelope> {
        Some(Envelope::new(&ApiKey::new("phc_a").unwrap()))
    }

    async fn deliver(&self, _project: &str, batch: OutgoingBatch) -> Verdict {
        let now = self.under_way.fetch_add(1, Ordering::AcqRel) + 1;
        // A request that is abandoned ends here too.
        let _under_way = RequestGuard(&self.under_way);
        self.most.fetch_max(now, Ordering::AcqRel);
        tokio::time::sleep(Duration::from_millis(3)).await;
        if self.down.load(Ordering::Relaxed) {
            return Verdict::of_status(503, "", None);
        }
        let value: serde_json::Value = serde_json::from_slice(&batch.body).unwrap();
        let ids = value["batch"].as_array().unwrap().iter();
        let ids: Vec<String> = ids
            .map(|event| event["uuid"].as_str().unwrap().to_owned())
            .collect();
        let poison = self.poison.lock().unwrap();
        if ids.iter().any(|id| poison.as_ref() == Some(id)) {
            return Verdict::of_status(400, "poisoned", None);
        }
        self.arrived.lock().unwrap().extend(ids);
        Verdict::Accepted
    }
}

impl Upstreams {
    /// The events without PostHog's duplicates: the first arrival of each.
    pub fn once(&self) -> Vec<String> {
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
                if project.admit().await == BatchRoute::Stream {
                    // As the sender does with a live batch.
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
                // About 2,000 events a second in all: a replay catches up only with clients that
                // are slower.
                tokio::time::sleep(Duration::from_millis(5)).await;
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
        let arrived = upstream.arrived.lock().unwrap().len();
        println!("{number} sent, {streamed} of them streamed; {arrived} have arrived by now");
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

pub struct Proxy {
    pub delivery: Arc<Delivery>,
    pub spool: NatsSpool,
    pub replay: Replay,
}

impl Proxy {
    pub async fn start<U: Upstream>(url: &str, upstream: &Arc<U>) -> Self {
        let spool = NatsSpool::open(settings(url)).unwrap();
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
            // A client that sends its requests to both proxies in turn.
            for number in 0..60 {
                let event = event(&format!("c{client}-{number}"));
                projects[number % 2].keep(vec![event]).await.unwrap();
            }
        });
    }
    // The draining proxy leaves in the middle; the other continues.
    until("it has begun", || async { upstream.once().len() > 100 }).await;
    one.replay.stop().await;
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    until("all arrive", || async { upstream.once().len() >= 600 }).await;
    in_order_and_once(&upstream.once(), 10, 60);
    assert_eq!(
        upstream.most.load(Ordering::Acquire),
        1,
        "never two requests at once"
    );
    // Both count down the waiting events.
    for spool in [&one.spool, &two.spool] {
        until("nothing waits", || async {
            spool.gauges().of("shop").events() == 0
        })
        .await;
    }
    two.replay.stop().await;
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
    let spool = NatsSpool::open(settings(&url)).unwrap();
    append(&spool, &["warm-0".to_owned()]).await;
    let client = async_nats::connect(servers[0].url()).await.unwrap();
    let mut stream = jetstream::new(client).get_stream("SPOOL").await.unwrap();
    let info = stream.info().await.unwrap();
    assert_eq!(info.config.num_replicas, 3);
    // The worst case: the stream's leader.
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
                // A client repeats its request until it is acknowledged. A refusal comes at once, and the
                // servers need some time to choose a leader.
                let deadline = Instant::now() + DEADLINE;
                while let Err(error) = project.keep(events(&ids)).await {
                    refused += 1;
                    assert!(Instant::now() < deadline, "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
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

/// A PostHog that never finishes its first answer and accepts the other requests.
#[derive(Default)]
struct SlowPostHog {
    begun: AtomicUsize,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

struct RequestGuard<'a>(&'a AtomicUsize);

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl Upstream for SlowPostHog {
    fn envelope(&self, _project: &str) -> Option<Envelope> {
        Some(Envelope::new(&ApiKey::new("phc_a").unwrap()))
    }

    async fn deliver(&self, _project: &str, _parcel: OutgoingBatch) -> Verdict {
        let now = self.under_way.fetch_add(1, Ordering::AcqRel) + 1;
        let _under_way = RequestGuard(&self.under_way);
        self.most.fetch_max(now, Ordering::AcqRel);
        if self.begun.fetch_add(1, Ordering::AcqRel) == 0 {
            std::future::pending::<()>().await;
        }
        Verdict::Accepted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlasts_the_lead_is_abandoned_before_another_proxy_drains() {
    let Some(server) = Server::single() else {
        return;
    };
    let upstream = Arc::new(SlowPostHog::default());
    let proxies = [
        Proxy::start(&server.url(), &upstream).await,
        Proxy::start(&server.url(), &upstream).await,
    ];
    append(&proxies[0].spool, &["a".to_owned()]).await;
    until("the first request", || async {
        upstream.begun.load(Ordering::Acquire) > 0
    })
    .await;
    until("another one", || async {
        upstream.begun.load(Ordering::Acquire) > 1
    })
    .await;
    assert_eq!(upstream.most.load(Ordering::Acquire), 1, "two drained");
    for proxy in proxies {
        proxy.replay.stop().await;
    }
}
