//! What the fuzz targets hold against any bytes, on seeds and their broken variants, so that every
//! build checks it without a fuzzer.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::path::Path;

use serde_json::Value;

/// The same numbers each time: xorshift.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

fn texts(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect()
}

/// The bodies of the recordings and the messages of the reference's vectors.
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

/// What a broken line, a broken sender or a hostile one makes of a text.
fn broken(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    const PIECES: [&[u8]; 24] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b",",
        b":",
        b"null",
        b"NaN",
        b"1e999",
        b"\\ud83d",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\"a\":1,",
        b"\"context\":{\"campaign\":\"x\"},",
        b"\0",
        b"\"batch\":[",
        b"[[[[[[[[[[[[[[[[[[[[",
        b"\"properties\":[1,2],",
        b"-",
        b"\n",
        b"\"segment_0\":7,",
        b"\"sentAt\":\"2026-11-23T10:00:00Z\",",
    ];
    let mut text = seed.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(text.len() + 1);
        let end = (at + numbers.below(12)).min(text.len());
        match numbers.below(5) {
            0 => text.truncate(at),
            1 => drop(text.drain(at..end)),
            2 => {
                let copy = text[at..end].to_vec();
                let to = numbers.below(text.len() + 1);
                text.splice(to..to, copy);
            }
            3 if at < text.len() => text[at] = numbers.below(256) as u8,
            _ => drop(text.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied())),
        }
    }
    text
}

#[test]
fn whatever_comes_capture_gets_a_batch_that_it_takes() {
    let mut numbers = Numbers(0x5eed);
    for body in bodies() {
        properties::convert_whole(&body);
        for _ in 0..12 {
            properties::convert_whole(&broken(&body, &mut numbers));
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
            properties::convert_split(&[&choice[..], &body].concat());
        }
    }
}

#[test]
fn whatever_a_configuration_says_its_mistakes_have_a_place() {
    let mut numbers = Numbers(0xbeef);
    for text in texts("conf") {
        properties::config_parse(text.as_bytes());
        for _ in 0..200 {
            properties::config_parse(&broken(text.as_bytes(), &mut numbers));
        }
    }
}
