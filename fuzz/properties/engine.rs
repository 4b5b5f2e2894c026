//! The properties of bodies that must hold for any bytes: the entries of fuzz targets, and of an
//! ordinary test that runs them over seeds.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use hedgerow_rewrite::posthog::{ApiKey, Batch, Envelope};
use hedgerow_rewrite::rewrite::{
    Arrival, Bounds, Flow, Mapping, MessageOutcome, Notice, Pulled, Rewrite, RewriteError,
    Rewriter, Timestamp, Watch, WrittenKey,
};
use hedgerow_rewrite::segment::{Call, Kind};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The result of a body: the whole batch, the outcome of each message, and the notices.
type Outcome = Result<(Vec<u8>, Vec<String>), RewriteError>;

const WINDOW: usize = 1 << 20;

/// A body never panics, and every result is a batch that capture accepts.
pub fn convert_whole(data: &[u8]) {
    for mode in [Mode::Reference, Mode::Enriched] {
        for call in [Call::Batch, Call::One(kind(data))] {
            if let Ok((batch, fates)) = run(mode, call, WINDOW, &[data]) {
                judge(&batch, &fates);
            }
        }
    }
}

/// The same bytes give the same events for every split and every window. The first bytes select
/// both.
pub fn convert_split(data: &[u8]) {
    let Some((choice, body)) = data.split_at_checked(4) else {
        return;
    };
    let number = |at: usize| usize::from(choice.get(at).copied().unwrap_or_default());
    // The rewriting searches a byte order mark in the held part, so the window is never smaller.
    let window = 3 + number(0) * number(0);
    let (first, second) = (number(1) * number(2) % (body.len() + 1), number(3));
    let (front, rest) = body.split_at(first);
    let mut chunks = vec![front];
    chunks.extend(rest.chunks(second.max(1)));
    let mode = Mode::Enriched;
    for call in [Call::Batch, Call::One(kind(body))] {
        let whole = run(mode, call, WINDOW, &[body]);
        let cut = run(mode, call, WINDOW, &chunks);
        assert_eq!(told(&cut), told(&whole), "cut, but held");
        let streamed = run(mode, call, window, &chunks);
        match (&whole, &streamed) {
            // Keys for all messages came after them, or a value was larger than a tiny window.
            (Ok(_), Err(RewriteError::LateBatchKey | RewriteError::TooLarge)) => {}
            (Err(_), Err(_)) => {}
            // If messages have left already, a later `sentAt` is not read.
            (Err(RewriteError::InvalidJson), Ok(streamed))
                if streamed.1.iter().any(|said| said == LATE_SENT_AT) => {}
            // It moves the times of all messages, and came after them.
            (Ok(whole), Ok(streamed)) if streamed.1.iter().any(|said| said == LATE_SENT_AT) => {
                assert_eq!(timeless(streamed), timeless(whole), "window {window}");
            }
            _ => assert_eq!(told(&streamed), told(&whole), "window {window}"),
        }
    }
}

fn kind(data: &[u8]) -> Kind {
    let place = data.len() % Kind::ALL.len();
    Kind::ALL.get(place).copied().unwrap_or(Kind::Track)
}

const LATE_SENT_AT: &str = "notice late_sent_at";

#[derive(Default)]
struct Fates {
    messages: usize,
    said: Vec<String>,
}

impl Watch for Fates {
    fn message(&mut self, index: usize, _: &[u8], fate: MessageOutcome<'_>) {
        assert_eq!(index, self.messages, "messages come in order");
        self.messages += 1;
        self.said.push(match fate {
            MessageOutcome::Event(_) => "event".to_owned(),
            other => format!("{other:?}"),
        });
    }

    fn notice(&mut self, notice: Notice<'_>) {
        // A rewriter counts the group types of all its requests.
        if notice.code() != "sixth_group_type" {
            self.said.push(format!("notice {}", notice.code()));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    Reference,
    Enriched,
}

/// The rewriter of a mode and a window, made once, as a proxy does.
fn rewriter(mode: Mode, window: usize) -> Arc<Rewriter> {
    thread_local! {
        static MADE: RefCell<HashMap<(Mode, usize), Arc<Rewriter>>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        let make = || {
            let mapping = match mode {
                Mode::Reference => Mapping::reference(),
                Mode::Enriched => Mapping::default(),
            };
            let bounds = Bounds {
                window,
                ..Bounds::default()
            };
            Arc::new(Rewriter::new(mapping, bounds))
        };
        Arc::clone(made.entry((mode, window)).or_insert_with(make))
    })
}

fn run(mode: Mode, call: Call, window: usize, chunks: &[&[u8]]) -> Outcome {
    let rewriter = rewriter(mode, window);
    let mut body = rewriter.begin(Arrival {
        received_at: Some(Timestamp::from_millis(1_795_500_000_000)),
        client_ip: Some([203, 0, 113, 7].into()),
        user_agent: Some("Mozilla/5.0".to_owned()),
        ..Arrival::new(call)
    });
    let api_key = match ApiKey::new("phc_fuzz") {
        Ok(api_key) => api_key,
        Err(error) => panic!("{error}"),
    };
    let mut batch = Batch::open(&Envelope::new(&api_key));
    let mut fates = Fates::default();
    let mut chunks = chunks.iter();
    let mut rewrite = match mode {
        Mode::Reference => body.address_to(Arc::default()),
        // As a proxy does whose routes depend on the write key.
        Mode::Enriched => loop {
            match chunks.next() {
                Some(chunk) => {
                    let flow = body.push(chunk)?;
                    if flow == Flow::Open && body.write_key()? != WrittenKey::NotYetKnown {
                        break body.address_to(Arc::default());
                    }
                }
                None => {
                    body.end();
                    let key = body.write_key()?;
                    assert_ne!(key, WrittenKey::NotYetKnown, "the body has ended");
                    break body.address_to(Arc::default());
                }
            }
        },
    };
    pull(&mut rewrite, &mut batch, &mut fates)?;
    for chunk in chunks {
        if rewrite.push(chunk)? == Flow::Open {
            let pulled = pull(&mut rewrite, &mut batch, &mut fates)?;
            assert_eq!(pulled, Pulled::Starved, "the body has not ended");
        }
    }
    rewrite.end();
    let pulled = pull(&mut rewrite, &mut batch, &mut fates)?;
    assert_eq!(pulled, Pulled::Done, "the body has ended");
    Ok((batch.close(), fates.said))
}

fn pull(
    rewrite: &mut Rewrite<'_>,
    batch: &mut Batch,
    fates: &mut Fates,
) -> Result<Pulled, RewriteError> {
    loop {
        match rewrite.pull(batch, usize::MAX, fates)? {
            Pulled::Paused => {}
            pulled => return Ok(pulled),
        }
    }
}

/// An outcome as readable text, for a failure.
fn told(outcome: &Outcome) -> Result<(String, &[String]), RewriteError> {
    match outcome {
        Ok((batch, fates)) => Ok((String::from_utf8_lossy(batch).into_owned(), fates)),
        Err(error) => Err(*error),
    }
}

/// The result without its times, and without the fields that depend on them.
fn timeless((batch, fates): &(Vec<u8>, Vec<String>)) -> (Vec<Value>, Vec<&String>) {
    let batch: Value = serde_json::from_slice(batch).unwrap_or_default();
    let events = batch.get("batch").and_then(Value::as_array).cloned();
    let mut events = events.unwrap_or_default();
    for event in &mut events {
        if let Some(event) = event.as_object_mut() {
            event.remove("timestamp");
            if let Some(Value::Object(properties)) = event.get_mut("properties") {
                properties.remove("segment_original_timestamp");
                properties.remove("$session_id");
            }
        }
    }
    let fates = fates.iter().filter(|said| !said.starts_with("notice "));
    (events, fates.collect())
}

/// Capture's requirements for a batch (posthog-ingestion 1.6 and 1.7).
fn judge(batch: &[u8], fates: &[String]) {
    let shown = String::from_utf8_lossy(batch);
    let mut deserializer = serde_json::Deserializer::from_slice(batch);
    if let Err(error) = Unique.deserialize(&mut deserializer) {
        panic!("{error}: {shown}");
    }
    let value: Value = match serde_json::from_slice(batch) {
        Ok(value) => value,
        Err(error) => panic!("{error}: {shown}"),
    };
    let events = value.get("batch").and_then(Value::as_array);
    let events = events.map(Vec::as_slice).unwrap_or_default();
    let written = fates.iter().filter(|fate| *fate == "event").count();
    assert!(events.len() >= written, "{written} events: {shown}");
    for event in events {
        let field = |name: &str| event.get(name).and_then(Value::as_str);
        assert!(
            field("event").is_some_and(|name| !name.is_empty()),
            "{event}"
        );
        assert!(
            field("uuid").is_some_and(|uuid| uuid.len() == 36),
            "{event}"
        );
        let timestamp = event.get("timestamp");
        assert!(
            timestamp.is_none_or(|time| time.is_string() || time.is_null()),
            "{event}"
        );
        let properties = event.get("properties");
        assert!(properties.is_some_and(Value::is_object), "{event}");
        let property = |name: &str| properties.and_then(|all| all.get(name));
        let id = event.get("distinct_id").or_else(|| property("distinct_id"));
        assert!(
            id.is_some_and(|id| match id {
                Value::Null => false,
                Value::String(text) => !text.trim().is_empty(),
                _ => true,
            }),
            "{event}"
        );
        assert!(
            property("$cookieless_mode").is_none_or(Value::is_boolean),
            "{event}"
        );
    }
}

/// JSON without repeated keys.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();
    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Unique)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Unique)?;
            if let Some(key) = keys.replace(key) {
                return Err(de::Error::custom(format!("key {key:?} stands there twice")));
            }
        }
        Ok(())
    }
}
