//! What one event costs in the rewriting: time, throughput and allocations.
//!
//! `cargo bench --bench rewrite`. The bodies are requests recorded from real SDKs; the copy of the
//! same bytes stands beside them as the floor.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use hedgerow::posthog::{ApiKey, Batch, Envelope};
use hedgerow::rewrite::{Arrival, Bounds, Mapping, Pulled, Rewriter, Timestamp};
use hedgerow::segment::{Call, Kind};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn recorded(name: &str) -> String {
    let path = format!(
        "{}/tests/data/recordings/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["body"].as_str().unwrap().to_owned()
}

struct Case {
    name: &'static str,
    call: Call,
    body: String,
    events: usize,
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({} B)", self.name, self.body.len())
    }
}

fn cases() -> Vec<Case> {
    let track = recorded("web-std-xorigin-03-track-set-groups");
    let batch = format!(
        r#"{{"batch":[{}],"sentAt":"2026-11-23T21:01:34.498Z"}}"#,
        vec![track.as_str(); 300].join(",")
    );
    let one = |name, kind, body| Case {
        name,
        call: Call::One(kind),
        body,
        events: 1,
    };
    vec![
        one("track", Kind::Track, track),
        one("page", Kind::Page, recorded("web-std-xorigin-02-page-utm")),
        one(
            "identify",
            Kind::Identify,
            recorded("web-std-xorigin-05-identify-user"),
        ),
        Case {
            name: "batch of 300",
            call: Call::Batch,
            body: batch,
            events: 300,
        },
    ]
}

/// The whole way of one body: pushed, split, normalised, mapped, checked, written.
#[divan::bench(args = cases())]
fn reference(bencher: Bencher<'_, '_>, case: &Case) {
    let bounds = Bounds::default();
    let rewriter = Arc::new(Rewriter::new(Mapping::reference(), bounds));
    let envelope = Envelope::new(&ApiKey::new("phc_bench").unwrap());
    bencher
        .counter(BytesCount::of_str(&case.body))
        .counter(ItemsCount::new(case.events))
        .bench(|| {
            let mut rewrite = rewriter.begin(Arrival {
                received_at: Some(Timestamp::from_millis(1_795_467_694_600)),
                client_ip: Some(std::net::Ipv4Addr::new(203, 0, 113, 7).into()),
                ..Arrival::new(case.call)
            });
            rewrite.push(case.body.as_bytes()).unwrap();
            rewrite.end();
            let mut batch = Batch::open(&envelope);
            let pulled = rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
            assert_eq!((pulled, batch.events()), (Pulled::Done, case.events));
            batch.close()
        });
}

/// The floor: the bytes copied once.
#[divan::bench(args = cases())]
fn copy(bencher: Bencher<'_, '_>, case: &Case) {
    bencher
        .counter(BytesCount::of_str(&case.body))
        .counter(ItemsCount::new(case.events))
        .bench(|| divan::black_box(case.body.as_bytes()).to_vec());
}
