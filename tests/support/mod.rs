//! The harness of the socket tests: Hedgerow in front of all kinds of upstreams, on loopback with
//! free ports.
//!
//! Each test binary uses a part of it.
#![allow(dead_code)]

pub mod address;
pub mod client;
pub mod disk;
pub mod faketime;
pub mod frames;
pub mod h2;
pub mod log;
pub mod proxy;
pub mod recorder;
pub mod running;
pub mod tls;
pub mod tunnel;

use std::time::{Duration, Instant};

/// How long a test waits for something, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Prints a line also if the test succeeds: the counts are a result.
pub fn say(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    // The test runner captures the print macros, but not the handle.
    let _ = writeln!(std::io::stdout().lock(), "ledger: {line}");
}

/// Waits until `done` returns something. It may need many steps, so it has more time than each of them.
pub async fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE * 3, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same for a future.
pub async fn within<T>(what: &str, future: impl std::future::Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// A track message of about this many bytes.
pub fn track(id: &str, bytes: usize) -> String {
    let filler = "x".repeat(bytes.saturating_sub(140));
    format!(
        "{{\"type\":\"track\",\"event\":\"Filled\",\"userId\":\"u-{id}\",\"messageId\":\"m-{id}\",\
         \"timestamp\":\"2026-11-23T10:00:00.000Z\",\"properties\":{{\"filler\":\"{filler}\"}}}}"
    )
}

/// A batch of so many track messages of about this many bytes each.
pub fn batch(messages: usize, bytes: usize) -> String {
    let items: Vec<String> = (0..messages)
        .map(|number| track(&number.to_string(), bytes))
        .collect();
    format!("{{\"batch\":[{}]}}", items.join(","))
}

/// The body compressed as SDKs do it.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}
