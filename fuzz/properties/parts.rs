//! The properties of parts of a request that must hold for any bytes. Each is compared with another
//! parser of the same bytes if there is one.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Timelike};
use flate2::read::MultiGzDecoder;
use hedgerow_rewrite::posthog::{ApiKey, Batch, Envelope};
use hedgerow_rewrite::rewrite::enrich::edge_session::{EdgeSessions, SessionCookie};
use hedgerow_rewrite::rewrite::enrich::ids::{group_in_cookie, usable};
use hedgerow_rewrite::rewrite::enrich::meta_ids::MetaIds;
use hedgerow_rewrite::rewrite::enrich::session::{cookie, posthog_js_session};
use hedgerow_rewrite::rewrite::enrich::url::{referring_domain, search_keyword};
use hedgerow_rewrite::rewrite::enrich::url::{Query, SearchEngine, Url};
use hedgerow_rewrite::rewrite::{Arrival, Bounds, Mapping, Pulled, Rewriter, Timestamp};
use hedgerow_rewrite::segment::{message_from_query, BodyError, Call, Decoder, Kind};
use serde_json::{json, Value};

/// How far a body may inflate here.
const LIMIT: usize = 1 << 20;

/// A body inflates to the same bytes for every split, never to more than the limit, and to the
/// result of `flate2`'s reader for several members.
pub fn gzip(data: &[u8]) {
    let Some((choice, body)) = data.split_at_checked(2) else {
        return;
    };
    let encoding = [None, Some("gzip")][usize::from(choice[0] & 1)];
    let whole = decoded(encoding, &mut std::iter::once(body));
    let mut pieces = body.chunks(usize::from(choice[1]).max(1));
    let cut = decoded(encoding, &mut pieces);
    assert_eq!(cut, whole, "cut into pieces of {}", choice[1]);
    let mut other = Vec::new();
    let read = MultiGzDecoder::new(body).take(LIMIT as u64 + 1);
    let is_whole = { read }.read_to_end(&mut other).is_ok() && other.len() <= LIMIT;
    if let (true, true, Ok(whole)) = (body.starts_with(&[0x1f, 0x8b]), is_whole, &whole) {
        assert_eq!(*whole, other, "another reader");
    }
}

fn decoded(
    encoding: Option<&str>,
    chunks: &mut dyn Iterator<Item = &[u8]>,
) -> Result<Vec<u8>, BodyError> {
    let mut out = Vec::new();
    let mut decoder = Decoder::new(encoding, LIMIT)?;
    let mut sink = |piece: &[u8]| {
        out.extend_from_slice(piece);
        Ok::<(), BodyError>(())
    };
    for chunk in chunks {
        decoder.decode(chunk, &mut sink)?;
    }
    decoder.finish(&mut sink)?;
    assert!(out.len() <= LIMIT, "more than the limit");
    Ok(out)
}

/// A pixel's query gives no message, or a message not much larger than the query; without `data`,
/// an object of texts and objects.
pub fn pixel(data: &[u8]) {
    let query = String::from_utf8_lossy(data);
    let Some(message) = message_from_query(&query) else {
        return;
    };
    // An escape for each byte, and the brackets of eight levels.
    assert!(message.len() <= 12 * query.len() + 64, "{query}");
    let names = query.split('&').map(|pair| pair.split('=').next());
    let has_data = names.flatten().any(|name| name.contains(['d', '%']));
    if !has_data {
        let value: Value = serde_json::from_slice(&message).expect("JSON");
        assert!(value.is_object(), "{query}");
    }
    let _ = event(Call::One(Kind::Track), &message, None);
}

/// A cookie header gives only values that are in it; an unsigned value is never a session.
pub fn cookies(data: &[u8]) {
    let header = String::from_utf8_lossy(data);
    for name in [
        "ajs_group_id",
        "_fbc",
        "_fbp",
        "ph_phc_test_posthog",
        "edge_visit",
    ] {
        let by_hand = header.split(';').find_map(|pair| {
            let (found, value) = pair.split_once('=')?;
            (found.trim() == name).then(|| value.trim())
        });
        assert_eq!(cookie(&header, name), by_hand, "{name}");
    }
    if let Some(group) = group_in_cookie(&header) {
        assert_eq!(usable(&group).as_deref(), Some(group.as_str()));
    }
    let _ = MetaIds::in_cookies(&header);
    if let Some(value) = cookie(&header, "ph_phc_test_posthog") {
        let _ = posthog_js_session(value);
    }
    static KEPT: OnceLock<(EdgeSessions, SessionCookie)> = OnceLock::new();
    let (sessions, kept) = KEPT.get_or_init(|| {
        let secrets = [&b"thirty-two bytes of a secret key."[..]];
        let cookie = SessionCookie::new("edge_visit", None).expect("a name");
        (EdgeSessions::new(secrets).expect("a secret"), cookie)
    });
    if let Some(value) = kept.find(&header) {
        let now = Timestamp::from_millis(1_795_467_600_000);
        assert!(sessions.read(value, "visitor", now).is_none(), "{header}");
    }
    let message =
        json!({"event": "E", "userId": "u", "context": {"library": {"name": "analytics.js"}}});
    let message = message.to_string();
    let _ = event(Call::One(Kind::Track), message.as_bytes(), Some(&header));
}

/// A time that is read as RFC 3339 is the moment that `chrono` reads, and the time of an event is
/// always readable.
pub fn times(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(time) = Timestamp::parse_rfc3339(&text) {
        if let Ok(other) = DateTime::parse_from_rfc3339(&text) {
            // chrono puts a leap second after the 59th.
            if other.nanosecond() < 1_000_000_000 {
                assert_eq!(time.millis(), other.timestamp_millis(), "{text}");
            }
        } else {
            let is_odd = ["24:00", ":60", "-00:00", ","]
                .iter()
                .any(|odd| text.contains(odd));
            assert!(is_odd, "chrono does not read {text}");
        }
    }
    let number: Option<Value> = serde_json::from_str(&text).ok().filter(Value::is_number);
    for time in [Some(json!(text)), number].into_iter().flatten() {
        for sent_at in [json!(null), json!("2026-11-23T20:30:00Z"), time.clone()] {
            let message =
                json!({"event": "E", "userId": "u", "timestamp": time, "sentAt": sent_at});
            let event = event(Call::One(Kind::Track), message.to_string().as_bytes(), None);
            let event = event.expect("an event");
            let written = event["timestamp"].as_str().expect("a time");
            assert!(
                Timestamp::parse_rfc3339(written).is_some(),
                "{text} became {written}"
            );
        }
    }
}

/// The parts of a URL match those of the `url` crate, and no referrer or query causes a panic.
pub fn urls(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let ours = Url::parse(&text);
    let other = url::Url::parse(&text).ok();
    let other = other.filter(|url| matches!(url.scheme(), "http" | "https"));
    let other = other.map(|url| {
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        (host, url.path().to_owned())
    });
    let ours = ours.map(|url| (url.host().to_owned(), url.pathname().to_owned()));
    // posthog-js leaves `^` in a path as written; the standard encodes it.
    let plain = |(host, path): (String, String)| (host, path.replace("%5E", "^"));
    // Names longer than DNS allows are not read.
    if ours.is_some() || text.len() <= 253 {
        assert_eq!(ours.map(plain), other.map(plain), "{text}");
    }
    let _ = referring_domain(&text);
    if let Some(engine) = SearchEngine::of(&text) {
        let _ = search_keyword(engine, &text);
    }
    let query = Query::of(&text);
    let mut found = 0;
    for parameter in query.campaign() {
        found += parameter.value.len();
    }
    assert!(found <= 3 * text.len(), "{text}");
}

/// The event for a body.
fn event(call: Call, body: &[u8], cookies: Option<&str>) -> Option<Value> {
    static REWRITER: OnceLock<Arc<Rewriter>> = OnceLock::new();
    let rewriter =
        REWRITER.get_or_init(|| Arc::new(Rewriter::new(Mapping::default(), Bounds::default())));
    let mut rewrite = rewriter
        .begin(Arrival {
            received_at: Some(Timestamp::from_millis(1_795_467_600_000)),
            cookies: cookies.map(str::to_owned),
            ..Arrival::new(call)
        })
        .address_to(Arc::default());
    rewrite.push(body).ok()?;
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_fuzz").ok()?));
    while rewrite.pull(&mut batch, usize::MAX, &mut ()).ok()? != Pulled::Done {}
    let batch: Value = serde_json::from_slice(&batch.close()).expect("JSON leaves");
    batch["batch"].get(0).cloned()
}
