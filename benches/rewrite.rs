//! The cost of one event in the rewriting: time, throughput and allocations.
//!
//! `cargo bench --bench rewrite`. The bodies are requests recorded from real SDKs. Copying the same
//! bytes once is the lower bound.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

mod support;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use support::{cases, Case, Way, Work};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// As PostHog's own Segment destination maps.
#[divan::bench(args = cases())]
fn reference(bencher: Bencher<'_, '_>, case: &Case) {
    whole_way(bencher, Way::Reference, case);
}

/// With the properties that PostHog's own libraries would add, and with the table of repeats.
#[divan::bench(args = cases())]
fn enriched(bencher: Bencher<'_, '_>, case: &Case) {
    whole_way(bencher, Way::Enriched, case);
}

/// With sessions in the edge's own cookie as well.
#[divan::bench(args = cases())]
fn sessions(bencher: Bencher<'_, '_>, case: &Case) {
    whole_way(bencher, Way::Sessions, case);
}

fn whole_way(bencher: Bencher<'_, '_>, way: Way, case: &Case) {
    let work = Work::new(way, case);
    bencher
        .counter(BytesCount::of_str(&case.body))
        .counter(ItemsCount::new(case.events))
        .bench(|| work.run(case));
}

/// The lower bound: copies the bytes once.
#[divan::bench(args = cases())]
fn copy(bencher: Bencher<'_, '_>, case: &Case) {
    bencher
        .counter(BytesCount::of_str(&case.body))
        .counter(ItemsCount::new(case.events))
        .bench(|| divan::black_box(case.body.as_bytes()).to_vec());
}
