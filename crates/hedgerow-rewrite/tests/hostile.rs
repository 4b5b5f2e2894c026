//! The properties that the fuzz targets check for bodies and their parts, on seeds and broken
//! variants of them, so that every build checks them without a fuzzer.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../../../fuzz/properties/broken.rs"]
mod broken;
#[path = "../../../fuzz/properties/engine.rs"]
mod engine;
#[path = "../../../fuzz/properties/parts.rs"]
mod parts;

use std::io::Write;
use std::path::Path;

use broken::{broken, texts, whole_and_broken, Numbers};
use serde_json::Value;

/// The bodies of the recordings, and the messages of the reference's vectors.
fn bodies() -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for text in texts("tests/data/recordings") {
        let recording: Value = serde_json::from_str(&text).unwrap();
        if let Some(body) = recording.get("body").and_then(Value::as_str) {
            bodies.push(body.as_bytes().to_vec());
        }
    }
    for text in texts("tests/data/reference") {
        let vector: Value = serde_json::from_str(&text).unwrap();
        bodies.push(match vector["segment_raw"].as_str() {
            Some(raw) => raw.as_bytes().to_vec(),
            None => vector["segment"].to_string().into_bytes(),
        });
    }
    bodies.retain(|body| !body.is_empty());
    bodies
}

#[test]
fn whatever_comes_capture_gets_a_batch_that_it_takes() {
    let mut numbers = Numbers(0x5eed);
    for body in bodies() {
        engine::convert_whole(&body);
        for _ in 0..12 {
            engine::convert_whole(&broken(&body, &mut numbers));
        }
    }
}

#[test]
fn wherever_a_body_is_cut_and_however_little_is_held_the_events_are_the_same() {
    let mut numbers = Numbers(0xcafe);
    for body in bodies() {
        for round in 0..12 {
            let choice = [(); 4].map(|()| numbers.below(256) as u8);
            let body = match round {
                0..=3 => body.clone(),
                _ => broken(&body, &mut numbers),
            };
            engine::convert_split(&[&choice[..], &body].concat());
        }
    }
}

#[test]
fn a_sent_at_behind_messages_that_have_left_is_passed_over_unread() {
    let message = r#"{"type":"track","event":"E","userId":"u","messageId":"m"}"#;
    let body = format!("{{\"batch\":[{message},{message}],\"sentAt\":\u{1b}2026}}");
    engine::convert_split(&[&[4, 0, 0, 9], body.as_bytes()].concat());
}

/// Each with two bytes in front that select how it is sent.
fn sent(bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let ways = [[0_u8, 1], [1, 7], [1, 255]].into_iter();
    let of_way = |way: [u8; 2]| bodies.iter().map(move |body| [&way[..], body].concat());
    ways.flat_map(of_way).collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_body_inflates_to_the_same_however_it_is_cut() {
    let mut bodies: Vec<Vec<u8>> = bodies().iter().take(20).map(|body| gzip(body)).collect();
    bodies.push([gzip(b"{"), gzip(b""), gzip(b"}")].concat());
    bodies.push([gzip(b"{}"), vec![0; 9]].concat());
    bodies.push(gzip(&[b' '; 100_000]));
    bodies.push(b"\x1f\x8b".to_vec());
    bodies.push(b"{\"a\":1}".to_vec());
    whole_and_broken(&sent(&bodies), 30, parts::gzip);
}

#[test]
fn a_pixels_query_becomes_a_message_or_none() {
    let seeds = [
        "userId=u%201&event=Email+Opened&properties.subject=A%20B&properties.c.id=7&x",
        "data=eyJldmVudCI6IkEifQ&writeKey=k",
        "a=1&a.b=2&a.b.c.d.e.f.g.h.i.j=3&=&&.=.&..=",
        "data=%%%&data=ey+-_/=",
        "%ff=%c3%28&a%2eb=1",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    whole_and_broken(&seeds, 200, parts::pixel);
}

#[test]
fn cookies_give_no_more_than_their_content() {
    let seeds = [
        "ajs_group_id=%22acme%22; _fbc=fb.1.1700000000000.AbC-_1.AQ; _fbp=fb.1.1700000000000.123",
        "ph_phc_test_posthog=%7B%22%24sesid%22%3A%5B1795467500000%2C%2201a20a36-d208-7075-aab3-93b3a0a68891%22%2C1795467400000%5D%7D",
        "edge_visit=AAAA.BBBB.CCCC; edge_visit=; a; =b; ;; _fbp=fb.1.2.3.4.5",
        "ajs_group_id=%zz; ajs_group_id=null",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    whole_and_broken(&seeds, 100, parts::cookies);
}

#[test]
fn every_time_that_is_read_can_be_read_again() {
    let times = texts_of("tests/data/times.tsv", |line| {
        match serde_json::from_str(line.split('\t').nth(1).unwrap_or_default()) {
            Ok(Value::String(text)) => text,
            Ok(other) => other.to_string(),
            Err(_) => line.to_owned(),
        }
    });
    whole_and_broken(&times, 2, parts::times);
}

#[test]
fn urls_are_read_as_the_standard_has_them() {
    let urls = texts_of("tests/data/urls.jsonl", |line| {
        let row: Value = serde_json::from_str(line).unwrap();
        row[0].as_str().unwrap().to_owned()
    });
    whole_and_broken(&urls, 20, parts::urls);
}

/// The values in one line of a file.
fn texts_of(file: &str, seed: impl Fn(&str) -> String) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(file);
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| seed(line).into_bytes()).collect()
}
