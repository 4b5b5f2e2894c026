//! What waits grows old by the time that passes, never by a server's clock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, RetentionPolicy, Stream,
};
use async_nats::jetstream::Context;
use hedgerow::delivery::{NatsLogin, NatsSettings, NatsSpool, Refusal, Store};

use super::limits::{context, server};
use super::server::Server;
use super::{append, event, events, ids, lead, names, settings, take, until, EVERYTHING};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn kept_for(url: &str, max_age: Duration) -> NatsSpool {
    NatsSpool::open(NatsSettings {
        max_age,
        ..settings(url)
    })
    .unwrap()
}

/// The streams as versions made them that left the age to the servers.
async fn make_old_streams(context: &Context) {
    let waiting = StreamConfig {
        name: "SPOOL".to_owned(),
        subjects: vec!["SPOOL.events.*".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_bytes: 1 << 20,
        max_age: WEEK,
        ..StreamConfig::default()
    };
    let dead = StreamConfig {
        name: "SPOOL_DEAD".to_owned(),
        subjects: vec!["SPOOL.dead.*".to_owned()],
        max_bytes: 1 << 20,
        max_age: WEEK,
        ..StreamConfig::default()
    };
    for stream in [waiting, dead] {
        context.create_stream(stream).await.unwrap();
    }
}

async fn stream(context: &Context, name: &str) -> Stream {
    context.get_stream(name).await.unwrap()
}

async fn limits_of(context: &Context) -> [Duration; 2] {
    [
        stream(context, "SPOOL").await.cached_info().config.max_age,
        stream(context, "SPOOL_DEAD")
            .await
            .cached_info()
            .config
            .max_age,
    ]
}

async fn messages(context: &Context) -> [u64; 2] {
    [
        stream(context, "SPOOL").await.cached_info().state.messages,
        stream(context, "SPOOL_DEAD")
            .await
            .cached_info()
            .state
            .messages,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_drops_events_by_its_servers_clock_and_older_streams_stop_doing_so() {
    let Some(server) = Server::single() else {
        return;
    };
    let context = context(&server).await;
    let spool = kept_for(&server.url(), WEEK);
    append(&spool, &names(0..1)).await;
    assert_eq!(limits_of(&context).await, [Duration::ZERO; 2]);
    drop(spool);
    for name in ["SPOOL", "SPOOL_DEAD"] {
        context.delete_stream(name).await.unwrap();
    }
    make_old_streams(&context).await;
    let waits = async_nats::jetstream::message::PublishMessage::build()
        .payload(format!("[{}]", String::from_utf8_lossy(event("n0").body())).into());
    let sent = context.send_publish("SPOOL.events.shop", waits).await;
    sent.unwrap().await.unwrap();
    let spool = kept_for(&server.url(), WEEK);
    append(&spool, &names(1..2)).await;
    until("the limits are gone", || async {
        limits_of(&context).await == [Duration::ZERO; 2]
    })
    .await;
    let waiting = stream(&context, "SPOOL").await;
    assert_eq!(waiting.cached_info().config.max_bytes, 1 << 20);
    assert_eq!(ids(&take(&spool, 2).await), names(0..2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_max_age_is_dropped_and_counted_also_of_projects_that_are_gone() {
    let Some(server) = Server::single() else {
        return;
    };
    let context = context(&server).await;
    let before = kept_for(&server.url(), WEEK);
    append(&before, &names(0..3)).await;
    append(&before, &names(3..5)).await;
    before.append("gone", events(&names(5..6))).await.unwrap();
    let refused = take(&before, 5).await[0].position;
    let refusal = Refusal {
        status: 400,
        reason: "no".to_owned(),
    };
    before.dead_letter("shop", refused, refusal).await.unwrap();
    before.resign().await;
    drop(before);
    let spool = kept_for(&server.url(), Duration::from_secs(2));
    // This process has taken them when they become too old.
    until("nothing is left to deliver", || async {
        lead(&spool).await;
        let taken = spool.peek("shop", EVERYTHING).await;
        taken.is_ok_and(|taken| taken.events.is_empty())
    })
    .await;
    until("all are gone", || async {
        messages(&context).await == [0, 0]
    })
    .await;
    // The message of three still has all of them: the one that was refused is in it.
    until("they are counted", || async {
        spool.counters().expired.load(Ordering::Relaxed) == 7
    })
    .await;
    until("nothing waits", || async {
        let gauges = spool.gauges();
        gauges.of("shop").events() + gauges.of("gone").events() == 0
            && gauges.of("shop").dead_letters() == 0
    })
    .await;
    // The stream goes on behind the gap.
    drop(spool);
    let after = kept_for(&server.url(), WEEK);
    append(&after, &names(7..9)).await;
    assert_eq!(ids(&take(&after, 2).await), names(7..9));
}

/// The record that the proxies share.
async fn record(context: &Context) -> Option<(u64, u64)> {
    let ages = context.get_stream("SPOOL_AGE").await.ok()?;
    let message = ages.get_last_raw_message_by_subject("SPOOL.age").await;
    let said: serde_json::Value = serde_json::from_slice(&message.ok()?.payload).unwrap();
    Some((said["beginning"].as_u64()?, said["age"].as_u64()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_proxy_goes_on_with_the_age_of_what_waits() {
    let Some(server) = Server::single() else {
        return;
    };
    let context = context(&server).await;
    let first = kept_for(&server.url(), Duration::from_secs(1_000));
    append(&first, &names(0..1)).await;
    let aged = |most: u64| {
        let context = &context;
        async move { record(context).await.is_some_and(|(_, age)| age > most) }
    };
    until("it has aged", || aged(0)).await;
    drop(first);
    let (beginning, left) = record(&context).await.unwrap();
    let second = kept_for(&server.url(), Duration::from_secs(1_000));
    append(&second, &names(1..2)).await;
    until("it goes on", || aged(left + 2_000)).await;
    assert_eq!(record(&context).await.unwrap().0, beginning);
    // One message, however often it is written.
    let ages = stream(&context, "SPOOL_AGE").await;
    assert_eq!(ages.cached_info().state.messages, 1);
}

/// A login that may neither change a stream nor write the record.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_for_ages_events_are_kept_and_delivered() {
    let rights = "authorization {users: [{user: o, password: p}, {user: h, password: p, permissions: \
                  {publish: {allow: \">\", deny: [\"$JS.API.STREAM.UPDATE.>\", \"SPOOL.age\"]}}}]}\n";
    let Some((server, _folder)) = server(rights) else {
        return;
    };
    let operator = async_nats::ConnectOptions::with_user_and_password("o".into(), "p".into());
    let operator = operator.retry_on_initial_connect();
    let operator = operator.connect(server.url()).await.unwrap();
    until("it listens", || async {
        operator.connection_state() == async_nats::connection::State::Connected
    })
    .await;
    let context = async_nats::jetstream::new(operator);
    make_old_streams(&context).await;
    let (name, password) = ("h".to_owned(), "p".to_owned());
    let spool = NatsSpool::open(NatsSettings {
        login: Some(NatsLogin::User { name, password }),
        ..settings(&server.url())
    })
    .unwrap();
    append(&spool, &names(0..2)).await;
    assert_eq!(ids(&take(&spool, 2).await), names(0..2));
    assert_eq!(limits_of(&context).await, [WEEK; 2]);
    until("nothing is wrong with it", || async {
        spool.trouble().is_none()
    })
    .await;
}
