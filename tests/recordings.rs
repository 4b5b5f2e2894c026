//! Requests recorded from real SDKs (segment-tracking, section 9), each sent as recorded: every
//! message arrives at PostHog once and correctly mapped, the SDK gets an answer that it
//! understands, and nothing else arrives.
//!
//! The expected events are derived from the documents (mapping 1.1 to 1.8 and 1.11), not from
//! Hedgerow's output.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "recordings/framing.rs"]
mod framing;

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use chrono::{DateTime, Utc};
use hedgerow::demo::capture::StoredEvent;
use serde_json::{json, Value};
use support::client::{chunk, Answer, Client};
use support::proxy::{PostHog, Proxy};
use support::{eventually, gzip, h2};

/// The client's address as the trusted proxy names it, and the address that the client itself
/// claims.
const CLIENT: &str = "203.0.113.7";
const FORWARDED: &str = "198.51.100.99, 203.0.113.7";

/// The only headers that a request to PostHog may have; none is the visitor's.
const UPSTREAM_HEADERS: [&str; 9] = [
    "accept",
    "accept-encoding",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    "x-forwarded-for",
];

struct Recording {
    name: String,
    method: String,
    /// The path below `/hr`, without the prefix of the recorded site.
    path: String,
    headers: Vec<(String, String)>,
    /// The body as on the wire, without chunks.
    body: Vec<u8>,
    expected: Value,
}

impl Recording {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn events(&self) -> &[Value] {
        self.expected["events"].as_array().unwrap()
    }

    /// The body, decompressed.
    fn plain(&self) -> Vec<u8> {
        if self.header("content-encoding").is_none() {
            return self.body.clone();
        }
        let mut plain = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(self.body.as_slice());
        decoder.read_to_end(&mut plain).unwrap();
        plain
    }

    /// The recorded headers that stay in every form of the request.
    fn own_headers(&self) -> impl Iterator<Item = &(String, String)> {
        self.headers.iter().filter(|(name, _)| {
            !matches!(
                name.to_ascii_lowercase().as_str(),
                "host" | "content-length" | "content-encoding" | "transfer-encoding" | "connection"
            )
        })
    }

    /// The request line and headers of an HTTP/1.1 request whose body has this framing.
    fn head(&self, framing: &str) -> Vec<u8> {
        let mut head = format!("{} /hr{} HTTP/1.1\r\n", self.method, self.path);
        head.push_str("Host: shop.example.com\r\n");
        for (name, value) in self.own_headers() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("{framing}X-Forwarded-For: {FORWARDED}\r\n\r\n"));
        head.into_bytes()
    }

    /// The request as recorded, except its host and prefix.
    fn as_recorded(&self) -> Vec<u8> {
        let mut framing = String::new();
        for name in ["Content-Encoding", "Content-Length", "Transfer-Encoding"] {
            if let Some(value) = self.header(name) {
                framing.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let mut request = self.head(&framing);
        if self.header("transfer-encoding").is_some() {
            let (front, rest) = self.body.split_at(self.body.len() / 2);
            for part in [front, rest, b""] {
                request.extend_from_slice(&chunk(part));
            }
        } else {
            request.extend_from_slice(&self.body);
        }
        request
    }

    /// Other ways in which an SDK or a proxy could have sent the same body.
    fn variations(&self) -> Vec<(&'static str, Vec<u8>)> {
        let plain = self.plain();
        let packed = gzip(&plain);
        let sized = |coding: &str, body: &[u8]| {
            let framing = format!("{coding}Content-Length: {}\r\n", body.len());
            [self.head(&framing), body.to_vec()].concat()
        };
        let chunked = |coding: &str, body: &[u8]| {
            let mut request = self.head(&format!("{coding}Transfer-Encoding: chunked\r\n"));
            let mut rest = body;
            for size in [1, 2, 3, 5, 7].into_iter().cycle() {
                let (part, after) = rest.split_at(rest.len().min(size));
                request.extend_from_slice(&chunk(part));
                rest = after;
                if part.is_empty() {
                    return request;
                }
            }
            unreachable!()
        };
        const GZIP: &str = "Content-Encoding: gzip\r\n";
        vec![
            ("plain", sized("", &plain)),
            ("gzip", sized(GZIP, &packed)),
            ("gzip that no header tells of", sized("", &packed)),
            ("tiny chunks", chunked("", &plain)),
            ("gzip in tiny chunks", chunked(GZIP, &packed)),
        ]
    }
}

fn recordings() -> Vec<Recording> {
    let data = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"));
    let read = |folder: &str, name: &str| -> Value {
        let text = std::fs::read_to_string(data.join(folder).join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let files = std::fs::read_dir(data.join("recordings")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let recording = |name: String| {
        let recorded = read("recordings", &name);
        let path = recorded["path"].as_str().unwrap();
        let body = match recorded.get("body_base64") {
            Some(coded) => base64::engine::general_purpose::STANDARD
                .decode(coded.as_str().unwrap())
                .unwrap(),
            None => recorded["body"].as_str().unwrap().as_bytes().to_vec(),
        };
        Recording {
            method: recorded["method"].as_str().unwrap().to_owned(),
            path: path
                .strip_prefix("/e/")
                .map_or(path.to_owned(), |rest| format!("/{rest}")),
            headers: recorded["headers"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect(),
            body,
            expected: read("expected", &name),
            name,
        }
    };
    names.into_iter().map(recording).collect()
}

/// The differences from the expected values, in words.
#[derive(Default)]
struct Mismatches(Vec<String>);

impl Mismatches {
    fn check(&mut self, right: bool, told: impl FnOnce() -> String) {
        if !right {
            self.0.push(told());
        }
    }

    fn none(self) {
        let told = self.0.join("\n");
        assert!(self.0.is_empty(), "{} mismatches:\n{told}", self.0.len());
    }
}

struct RecordingSetup {
    posthog: PostHog,
    proxy: Proxy,
    wrong: Mismatches,
    stored: u64,
}

impl RecordingSetup {
    async fn start() -> Self {
        let posthog = PostHog::start().await;
        let yaml = format!(
            "trusted_proxies: [127.0.0.0/8]\n\
             projects:\n  shop: {{host: \"{}\", api_key: phc_recordings}}\n\
             mapping: {{mode: reference}}\n\
             routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any}}\n\
             delivery: {{spool: \"off\"}}\n",
            posthog.url()
        );
        Self {
            proxy: Proxy::start_h2c(&yaml).await,
            posthog,
            wrong: Mismatches::default(),
            stored: 0,
        }
    }

    /// What PostHog got between these two moments.
    async fn arrived(
        &mut self,
        named: &str,
        recording: &Recording,
        sent: DateTime<Utc>,
    ) -> Vec<Arc<StoredEvent>> {
        let answered = Utc::now();
        let first = self.stored;
        self.stored += recording.events().len() as u64;
        let (stored, capture) = (self.stored, &self.posthog.capture);
        eventually(named, || (capture.stored() >= stored).then_some(())).await;
        let events = capture.since(first);
        self.check_events(named, recording, &events, (sent, answered));
        events
    }

    fn check_events(
        &mut self,
        named: &str,
        recording: &Recording,
        events: &[Arc<StoredEvent>],
        (sent, answered): (DateTime<Utc>, DateTime<Utc>),
    ) {
        let wrong = &mut self.wrong;
        let expected = recording.events();
        wrong.check(events.len() == expected.len(), || {
            format!("{named}: {} events, not {}", events.len(), expected.len())
        });
        let mut arrivals = Vec::new();
        for (event, expected) in events.iter().zip(expected) {
            let got = json!({
                "uuid": event.uuid.to_string(),
                "event": event.event,
                "distinct_id": event.distinct_id,
                "properties": event.properties,
            });
            for key in ["event", "distinct_id", "properties"] {
                wrong.check(got[key] == expected[key], || {
                    format!(
                        "{named}: {key}\n  got  {}\n  want {}",
                        got[key], expected[key]
                    )
                });
            }
            // An id of the client's gives one uuid; without an id, any uuid of version 5.
            let uuid = got["uuid"].as_str().unwrap();
            wrong.check(
                expected["uuid"] == *uuid || expected["uuid"].is_null() && &uuid[14..15] == "5",
                || format!("{named}: uuid {uuid}, not {}", expected["uuid"]),
            );
            let timestamp = event.timestamp_sent.as_deref().unwrap_or_default();
            match expected["timestamp"]["before_arrival_us"].as_i64() {
                None => wrong.check(expected["timestamp"] == timestamp, || {
                    format!("{named}: {timestamp}, not {}", expected["timestamp"])
                }),
                // Written in whole milliseconds, rounded down, as the arrival is.
                Some(before) => match DateTime::parse_from_rfc3339(timestamp) {
                    Ok(written) => {
                        let before = before.div_euclid(1000) + i64::from(before % 1000 != 0);
                        arrivals.push(written.timestamp_millis() + before);
                    }
                    Err(error) => wrong.check(false, || format!("{named}: {timestamp}: {error}")),
                },
            }
            check_request(wrong, named, event);
        }
        arrivals.dedup();
        let between = sent.timestamp_millis()..=answered.timestamp_millis();
        wrong.check(
            arrivals.len() <= 1 && arrivals.iter().all(|arrival| between.contains(arrival)),
            || format!("{named}: arrival {arrivals:?}, not once and within {between:?}"),
        );
    }

    /// Ends with all mismatches, and checks that nothing else arrived.
    fn end(mut self) {
        let capture = &self.posthog.capture;
        let (stored, expected) = (capture.stored(), self.stored);
        let refusals = capture.refusals();
        self.wrong.check(stored == expected, || {
            format!("{stored} events in all, not {expected}")
        });
        self.wrong
            .check(refusals.is_empty(), || format!("{refusals:?}"));
        self.wrong.none();
    }
}

fn check_request(wrong: &mut Mismatches, named: &str, event: &StoredEvent) {
    let request = &event.request;
    wrong.check(
        event.token == "phc_recordings"
            && request.method == "POST"
            && request.path == "/batch/"
            && request.query.is_none()
            && request.sent_at.is_none(),
        || format!("{named}: {request:?}"),
    );
    let forwarded: Vec<&http::HeaderValue> =
        request.headers.get_all("x-forwarded-for").iter().collect();
    wrong.check(forwarded == [CLIENT], || {
        format!("{named}: X-Forwarded-For {forwarded:?}")
    });
    for name in request.headers.keys() {
        wrong.check(UPSTREAM_HEADERS.contains(&name.as_str()), || {
            format!("{named}: {name} has no business at PostHog")
        });
    }
}

fn check_answer(wrong: &mut Mismatches, named: &str, recording: &Recording, answer: &Answer) {
    let kind = recording.expected["answer"].as_str().unwrap();
    let tell = || format!("{named}: {kind}, but {answer:?}");
    let lists = |name: &str, wanted: &str| {
        let list = answer.header(name).to_ascii_lowercase();
        list.split(',').any(|entry| entry.trim() == wanted)
    };
    match kind {
        "success" => wrong.check(
            answer.status == 200
                && answer.header("content-type") == "application/json"
                && serde_json::from_slice::<Value>(&answer.body)
                    .is_ok_and(|body| body["success"] == true),
            tell,
        ),
        "pixel" => wrong.check(
            answer.status == 200
                && answer.header("content-type") == "image/gif"
                && lists("cache-control", "no-store")
                && answer.body.starts_with(b"GIF89a"),
            tell,
        ),
        "preflight" => {
            let requested = recording.header("access-control-request-headers").unwrap();
            wrong.check(
                matches!(answer.status, 200 | 204)
                    && lists("access-control-allow-methods", "post")
                    && answer
                        .header("access-control-max-age")
                        .parse::<u32>()
                        .unwrap_or(0)
                        >= 600
                    && requested
                        .split(',')
                        .all(|name| lists("access-control-allow-headers", name)),
                tell,
            );
        }
        // Whether the site answers is checked by the site's own tests; here it must not redirect or
        // fail.
        "file" => wrong.check(matches!(answer.status, 200 | 404), tell),
        other => panic!("{named}: {other}"),
    }
    if let Some(origin) = recording.header("origin") {
        wrong.check(
            answer.header("access-control-allow-origin") == origin && lists("vary", "origin"),
            tell,
        );
    }
    for name in ["set-cookie", "location"] {
        wrong.check(answer.header(name).is_empty(), tell);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_request_arrives_as_the_documents_say() {
    let recordings = recordings();
    assert_eq!(recordings.len(), 62);
    let mut bench = RecordingSetup::start().await;
    for recording in &recordings {
        let mut client = Client::connect(bench.proxy.address).await;
        let sent = Utc::now();
        let answer = client.exchange(&recording.as_recorded()).await;
        check_answer(&mut bench.wrong, &recording.name, recording, &answer);
        bench.arrived(&recording.name, recording, sent).await;
    }
    assert_eq!(bench.stored, 114);
    bench.end();
}
