//! The number of instructions that prepare the events of a batch for the spool, counted by
//! Valgrind: with the positions that the rewriting has noted, and without them.
//!
//! `cargo bench -p hedgerow-spool --bench taking` prints them. Each case runs twice with different
//! counts of rounds; the difference excludes the work that is done once.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../../../benches/valgrind/mod.rs"]
mod valgrind;

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use hedgerow_rewrite::posthog::BatchOutline;
use hedgerow_rewrite::{ApiKey, Arrival, Batch, Bounds, Call, Envelope, Mapping, Rewriter};
use hedgerow_spool::SpooledEvent;

/// Set for the counted runs: way, events and rounds.
const RUN: &str = "HEDGEROW_BENCH_RUN";

fn main() {
    if let Ok(run) = std::env::var(RUN) {
        let parts: Vec<&str> = run.split(' ').collect();
        return rounds(
            parts[0],
            parts[1].parse().unwrap(),
            parts[2].parse().unwrap(),
        );
    }
    println!("instructions an event, for the spool");
    for events in [1, 20, 300] {
        let [noted, parsed] = ["noted", "parsed"].map(|way| instructions(way, events));
        println!("batch of {events:>3}: {noted:>6} noted, {parsed:>6} parsed");
    }
}

/// A page's track call with its context, once for each event.
fn batch(events: usize) -> (Bytes, Option<BatchOutline>) {
    let message = |number: usize| {
        format!(
            r#"{{"type":"track","event":"Product Added","messageId":"ajs-next-{number}","anonymousId":"0198c0de-0000-7000-8000-000000000001","userId":"u-{number}","timestamp":"2026-11-23T20:44:51.383Z","sentAt":"2026-11-23T20:44:51.390Z","properties":{{"product_id":"507f1f77bcf86cd799439011","sku":"G-32","category":"Games","name":"Monopoly: 3rd Edition","brand":"Hasbro","variant":"200 pieces","price":18.99,"quantity":1,"coupon":"MAYDEALS","position":3,"currency":"USD","value":18.99}},"context":{{"locale":"en-GB","timezone":"Europe/Berlin","userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36","page":{{"path":"/products/monopoly","referrer":"https://www.example.org/search?q=games","search":"?utm_source=news&utm_campaign=autumn","title":"Monopoly: 3rd Edition","url":"https://shop.example.com/products/monopoly?utm_source=news&utm_campaign=autumn"}},"library":{{"name":"analytics.js","version":"npm:next-1.84.3"}},"campaign":{{"source":"news","name":"autumn"}}}}}}"#
        )
    };
    let messages: Vec<String> = (0..events).map(message).collect();
    let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
    let mut rewrite = rewriter
        .begin(Arrival {
            client_ip: Some("203.0.113.7".parse().unwrap()),
            ..Arrival::new(Call::Batch)
        })
        .address_to(Arc::default());
    let body = format!("{{\"batch\":[{}]}}", messages.join(","));
    rewrite.push(body.as_bytes()).unwrap();
    rewrite.end();
    let envelope = Envelope::new(&ApiKey::new("phc_example").unwrap());
    let mut batch = Batch::open(&envelope).outlined();
    rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
    let outline = batch.take_outline();
    (batch.close().into(), outline)
}

fn rounds(way: &str, events: usize, rounds: u32) {
    let (batch, outline) = batch(events);
    let outline = outline.filter(|_| way == "noted");
    for _ in 0..rounds {
        let batch = black_box(&batch);
        let taken = SpooledEvent::of_written(batch, outline.as_ref(), SystemTime::UNIX_EPOCH);
        assert_eq!(black_box(taken.unwrap()).len(), events);
    }
}

fn instructions(way: &str, events: usize) -> u64 {
    let (few, many) = (10, 110);
    let count = |rounds: u32| valgrind::instructions(&[(RUN, format!("{way} {events} {rounds}"))]);
    (count(many) - count(few)) / u64::from(many - few) / events as u64
}
