//! One spool: which events it stores, in which order, and for which project.

use std::time::Duration;

use async_nats::jetstream;
use hedgerow::delivery::{Lead, NatsSettings, NatsSpool, Refusal, Store};

use super::server::Server;
use super::{append, event, events, ids, names, settings, take, until};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_survive_kill_9_of_the_server_in_order_and_once() {
    let Some(mut server) = Server::single() else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).unwrap();
    let all = names(0..400);
    for some in all.chunks(20) {
        append(&spool, some).await;
    }
    // A client sends again, because it has not seen the answer.
    append(&spool, &all[380..400]).await;
    assert_eq!(spool.gauges().of("shop").events(), 400);
    server.kill();
    let refused = spool.append("shop", events(&names(900..901))).await;
    println!("without a server: {}", refused.unwrap_err());
    server.start();
    let again = NatsSpool::open(settings(&server.url())).unwrap();
    let held = take(&again, 400).await;
    assert_eq!(ids(&held), all);
    // The same events come again until they are settled.
    assert_eq!(ids(&take(&again, 400).await), all);
    let positions = held[..390].iter().map(|held| held.position).collect();
    again.acknowledge("shop", positions).await;
    assert_eq!(ids(&take(&again, 10).await), all[390..]);
    // The stream, read from outside, holds only the remaining events.
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut stream = jetstream::new(client).get_stream("SPOOL").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
    assert_eq!(stream.cached_info().config.num_replicas, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_starts_without_its_nats_server() {
    let Some(mut server) = Server::prepare(&[]) else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).unwrap();
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
    let spool = NatsSpool::open(small).unwrap();
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
    spool.acknowledge("shop", positions).await;
    append(&spool, &names(5_000..5_001)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_event_becomes_a_dead_letter_in_its_own_stream() {
    let Some(server) = Server::single() else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).unwrap();
    append(&spool, &names(0..3)).await;
    let held = take(&spool, 3).await;
    let refusal = Refusal {
        status: 400,
        reason: "no \u{e4}\n".to_owned(),
    };
    spool
        .dead_letter("shop", held[1].position, refusal)
        .await
        .unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_of_a_killed_proxy_passes_on_with_its_taken_events() {
    let Some(server) = Server::single() else {
        return;
    };
    let dying = NatsSpool::open(settings(&server.url())).unwrap();
    append(&dying, &names(0..50)).await;
    let held = take(&dying, 50).await;
    assert_eq!(held.len(), 50);
    let heir = NatsSpool::open(settings(&server.url())).unwrap();
    until("it is told that another one leads", || async {
        match heir.lead("shop").await {
            Ok(Lead::Ours(_)) => panic!("two lead"),
            Ok(Lead::Theirs) => true,
            Err(_) => false,
        }
    })
    .await;
    drop(dying);
    append(&heir, &names(50..60)).await;
    // First the events that the other process had taken and never gave back.
    assert_eq!(ids(&take(&heir, 60).await), names(0..60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_too_short_for_a_proxys_deliveries_is_made_longer() {
    let Some(server) = Server::single() else {
        return;
    };
    let short = NatsSpool::open(settings(&server.url())).unwrap();
    append(&short, &names(0..1)).await;
    let long = NatsSettings {
        lead: Duration::from_secs(30),
        ..settings(&server.url())
    };
    let long = NatsSpool::open(long).unwrap();
    assert_eq!(ids(&take(&long, 1).await), names(0..1));
    let Lead::Ours(left) = long.lead("shop").await.unwrap() else {
        panic!("it has just led");
    };
    assert!(left > Duration::from_secs(20), "{left:?}");
    // A process with a shorter lead does not change it.
    let again = NatsSpool::open(settings(&server.url())).unwrap();
    append(&again, &names(1..2)).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = jetstream::new(client).get_stream("SPOOL_LEAD").await;
    let kept = stream.unwrap().cached_info().config.max_age;
    assert_eq!(kept, Duration::from_secs(30));
}
