//! Checks that all mapping subjects map alike: before the measurements, calls of every kind go
//! through each of them.

use std::io::{Read, Write};
use std::net::TcpStream;

use hedgerow::segment::{Call, Kind as CallKind};
use serde_json::Value;

use crate::process::Process;
use crate::sink::Sink;
use crate::subjects::Kind;
use crate::support;
use crate::verify::{self, Carries, Verdict};

/// The differences between a subject and this crate, one line each.
pub fn look(kind: Kind, process: &Process, sink: &Sink) -> Vec<String> {
    if kind.carries() == Carries::Bytes {
        return Vec::new();
    }
    let mut mistakes = Vec::new();
    for case in support::cases() {
        let path = match case.call {
            Call::Batch => "/hr/v1/batch",
            Call::One(CallKind::Page) => "/hr/v1/page",
            Call::One(CallKind::Identify) => "/hr/v1/identify",
            _ => "/hr/v1/track",
        };
        let mut expected = verify::rewritten(kind.carries(), case.call, case.body.as_bytes());
        ask(process, path, &case.body);
        let mut verdict = Verdict::default();
        let mut arrived = Vec::new();
        for body in sink.take() {
            arrived.extend(verify::batch_of(&mut verdict, &body));
        }
        mistakes.append(&mut verdict.mistakes);
        // Equal messages have the same uuid; the order of different messages does not matter here.
        for events in [&mut expected, &mut arrived] {
            events.sort_by_key(|event| event["uuid"].to_string());
        }
        if expected.len() != arrived.len() {
            let (expected, arrived) = (expected.len(), arrived.len());
            mistakes.push(format!(
                "{}: {arrived} events instead of {expected}",
                case.name
            ));
        }
        for (expected, arrived) in expected.iter_mut().zip(&mut arrived) {
            // Leaves out the times that depend on when each of the two read the clock.
            let times = [&*expected, &*arrived].map(time);
            if times[0].abs_diff(times[1]) > 10_000 {
                mistakes.push(format!("{}: {times:?}", case.name));
            }
            for event in [&mut *expected, &mut *arrived] {
                event["timestamp"].take();
            }
            if expected != arrived {
                mistakes.push(format!("{}: {arrived}\nexpected: {expected}", case.name));
            }
        }
    }
    let name = process.name;
    let mistakes = mistakes.into_iter().take(20);
    mistakes
        .map(|mistake| format!("{name}: {mistake}"))
        .collect()
}

/// Milliseconds since 1970.
fn time(event: &Value) -> i64 {
    let text = event["timestamp"].as_str().unwrap_or_default();
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.map_or(0, |time| time.timestamp_millis())
}

fn ask(process: &Process, path: &str, body: &str) {
    let mut stream = TcpStream::connect(process.address).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "{}: {answer}",
        process.name
    );
}
