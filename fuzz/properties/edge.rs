//! The properties of heads, PROXY protocol headers, pages and the spool's records that must hold
//! for any bytes.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hedgerow_spool::{events_of, SpooledEvent};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use serde_json::Value;

use super::balancer::proxied;
use super::forwarding_headers::{forged, PeerTrust, Underscores};
use super::head::{has_dot_segment, split_target, RequestHead};
use super::scan::Injector;

/// An accepted head names one host that every server reads alike, and a path without parts that a
/// server resolves. No header in which an untrusted client makes claims reaches a site, in any
/// spelling.
pub fn heads(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    for line in lines.take(50) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for (version, authority) in [
        (Version::HTTP_11, None),
        (Version::HTTP_2, Some("a.example")),
    ] {
        let head = RequestHead {
            method: &Method::GET,
            target,
            authority,
            version,
            headers: &headers,
        };
        if head.check().is_ok() {
            judge(target, &headers);
        }
    }
    let mut left = headers.clone();
    for name in forged(&headers, Underscores::Drop, PeerTrust::Untrusted) {
        left.remove(name);
    }
    for name in left.keys().map(HeaderName::as_str) {
        let read_as = name.replace('_', "-");
        let is_claim = [
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-real-ip",
            "forwarded",
        ];
        assert!(
            !name.contains('_') && !is_claim.contains(&read_as.as_str()),
            "{name}"
        );
    }
}

fn judge(target: &[u8], headers: &HeaderMap) {
    let (_, path) = split_target(target).expect("a target that passes");
    let end = path
        .iter()
        .position(|byte| *byte == b'?')
        .unwrap_or(path.len());
    // As an upstream could resolve it, with two rounds of decoding at most.
    let mut path = path[..end].to_vec();
    for _ in 0..2 {
        for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
            let name = segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default();
            assert!(
                !matches!(name, b"." | b".."),
                "{:?}",
                String::from_utf8_lossy(target)
            );
        }
        path = percent_encoding::percent_decode(&path).collect();
    }
    assert!(!has_dot_segment(target.get(..end).unwrap_or_default()) || target[0] != b'/');
    if let Some(host) = headers.get("host") {
        let host = host.as_bytes();
        assert!(
            !host.iter().any(|byte| b" ,/?#@\\\t".contains(byte)),
            "{host:?}"
        );
    }
}

/// A load balancer's header is read exactly to its end, in whatever pieces it comes.
pub fn proxy_header(data: &[u8]) {
    thread_local! {
        static RUNTIME: Option<tokio::runtime::Runtime> =
            tokio::runtime::Builder::new_current_thread().build().ok();
    }
    RUNTIME.with(|runtime| {
        runtime
            .as_ref()
            .map(|runtime| runtime.block_on(read_header(data)))
    });
}

async fn read_header(data: &[u8]) {
    let mut whole = data;
    let first = proxied(&mut whole).await.ok();
    let taken = data.len() - whole.len();
    assert!(taken <= 16 + 4096, "{taken} bytes");
    if let Some(source) = first {
        // Following bytes change nothing, and fewer bytes are not enough.
        let mut alone = &data[..taken];
        assert_eq!(proxied(&mut alone).await.ok(), Some(source));
        let mut short = &data[..taken - 1];
        assert!(proxied(&mut short).await.is_err());
    }
}

/// A page gets the snippet once or not at all, wherever it is cut, and loses nothing.
pub fn html(data: &[u8]) {
    let Some((choice, page)) = data.split_at_checked(1) else {
        return;
    };
    const SNIPPET: &[u8] = b"<script>SNIPPET</script>";
    let injected = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut injector = Injector::new(Bytes::from_static(SNIPPET));
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&injector.feed(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&injector.finish());
        out
    };
    let whole = injected(&mut std::iter::once(page));
    let cut = injected(&mut page.chunks(usize::from(choice[0]).max(1)));
    assert_eq!(
        String::from_utf8_lossy(&cut),
        String::from_utf8_lossy(&whole),
        "cut into pieces of {}",
        choice[0]
    );
    if whole != page {
        let at = (0..=page.len()).find(|at| {
            whole[*at..].starts_with(SNIPPET) && {
                whole[..*at] == page[..*at] && whole[at + SNIPPET.len()..] == page[*at..]
            }
        });
        assert!(at.is_some(), "{}", String::from_utf8_lossy(&whole));
    }
}

/// The fields that the spool writes.
#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Fields {
    timestamp: Option<serde::de::IgnoredAny>,
    properties: Option<serde::de::IgnoredAny>,
}

/// An event that the spool accepts is JSON with the same content, plus the fields that capture
/// would have added, and does not change when it is read again.
pub fn spool_record(data: &[u8]) {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_467_600_000);
    let body = Bytes::copy_from_slice(data);
    let Ok(event) = SpooledEvent::new(body, at) else {
        return;
    };
    let before: Option<Value> = serde_json::from_slice(data).ok();
    let after: Option<Value> = serde_json::from_slice(event.body()).ok();
    if let (Some(Value::Object(before)), Some(Value::Object(after))) = (&before, &after) {
        for (key, value) in before {
            if key != "timestamp" && key != "properties" {
                assert_eq!(after.get(key), Some(value), "{key}");
            }
        }
    } else {
        // A value that serde_json rejects (a number beyond a double) is kept byte for byte.
        assert!(event.body().len() >= data.len());
    }
    // Capture rejects an event with a repeated field: only an event that came with one leaves with
    // one.
    let says_once = |body: &[u8]| serde_json::from_slice::<Fields>(body).is_ok();
    assert_eq!(says_once(event.body()), says_once(data), "a field twice");
    let again = SpooledEvent::new(event.body().clone(), at + Duration::from_secs(9));
    let again = again.expect("what was taken is taken again");
    assert_eq!(again.body(), event.body(), "stamped twice");
    // Without a uuid, only events with equal bytes are equal, and the spool may have added a time.
    let has_uuid = before
        .as_ref()
        .and_then(|before| before.get("uuid")?.as_str());
    if has_uuid.is_some_and(|uuid| !uuid.is_empty()) {
        assert_eq!(again.dedup_key(), event.dedup_key());
    }
    let batch = [&b"{\"api_key\":\"k\",\"batch\":["[..], event.body(), b"]}"].concat();
    let events = events_of(&Bytes::from(batch)).expect("a batch of it");
    assert_eq!(events.len(), 1);
}
