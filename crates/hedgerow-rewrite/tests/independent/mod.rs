//! Compares the code under test with an independent implementation, for fuzz targets and for
//! ordinary tests.

pub mod choices;
mod generate;
mod node;
pub mod oracle;
mod values;

use std::sync::Arc;

use hedgerow_rewrite::rewrite::{
    Arrival, Bookkeeping, Bounds, ContextTraits, GroupTypeFrom, Integrations, Mapping,
    MessageOutcome, PersonProfiles, Pulled, Recipient, Rewriter, SameAnonymousId, Timestamp, Watch,
};
use hedgerow_rewrite::{ApiKey, Batch, Call, Envelope, Kind, ProjectId};
use serde_json::Value;

use choices::Choices;
use oracle::{Expected, Request, Settings, Switch};

/// The difference for a request generated from these bytes, if there is one.
pub fn generated(data: &[u8]) -> Option<String> {
    let (request, text) = generate::request(&mut Choices::new(data));
    difference(&request, &text)
}

/// The same for the body in these bytes; the first two bytes select how it is sent.
pub fn raw(data: &[u8]) -> Option<String> {
    let (request, text) = generate::raw(data)?;
    difference(&request, &text)
}

/// The difference with everything that explains it, if there is one.
fn difference(request: &Request, text: &str) -> Option<String> {
    let expected = oracle::convert(request);
    let got = convert(request, text);
    let wrong = match (&expected, &got) {
        (Err(expected), Err(got)) if expected == got => None,
        (Ok(expected), Ok(got)) if expected.len() == got.len() => {
            let mut pairs = expected.iter().zip(got).enumerate();
            pairs.find_map(|(at, (expected, got))| {
                let wrong = fate_differs(expected, got)?;
                Some(format!("message {at}: {wrong}"))
            })
        }
        _ => Some(format!("{got:?}, expected {expected:?}")),
    };
    wrong.map(|wrong| format!("{wrong}\n{text}\n{:?} {:?}", request.call, request.settings))
}

/// The outcome of a message.
#[derive(Debug)]
enum Got {
    Event(Value),
    Stays(String),
}

fn fate_differs(expected: &oracle::MessageOutcome, got: &Got) -> Option<String> {
    match (expected, got) {
        (oracle::MessageOutcome::Stays(reasons), Got::Stays(reason))
            if reasons.contains(reason.as_str()) =>
        {
            None
        }
        (oracle::MessageOutcome::Event(expected), Got::Event(got)) => event_differs(expected, got),
        _ => Some(format!("{got:?}, expected {expected:?}")),
    }
}

fn event_differs(expected: &Expected, got: &Value) -> Option<String> {
    let mut got = got.as_object()?.clone();
    let Some(Value::Object(mut properties)) = got.remove("properties") else {
        return Some("no properties".to_owned());
    };
    if expected.any_time {
        got.remove("timestamp");
    }
    if expected.any_uuid {
        let uuid = got.remove("uuid");
        if uuid.and_then(|uuid| Some(uuid.as_str()?.len())) != Some(36) {
            return Some("no uuid".to_owned());
        }
    }
    if let Some(start) = expected.session_of {
        let session = properties.remove("$session_id");
        let hex = session.as_ref().and_then(Value::as_str).unwrap_or_default();
        let hex = hex.replace('-', "");
        if !hex.starts_with(&format!("{start:012x}7")) {
            return Some(format!("$session_id {session:?}, expected one of {start}"));
        }
    }
    let mut wanted = expected.properties.clone();
    for wild in &expected.wild {
        properties.remove(*wild);
        wanted.remove(*wild);
    }
    objects_differ("", &expected.event, &got).or_else(|| objects_differ("$", &wanted, &properties))
}

fn objects_differ(above: &str, expected: &oracle::Object, got: &oracle::Object) -> Option<String> {
    let keys = expected.keys().chain(got.keys());
    let wrong = keys.filter(|key| match (expected.get(*key), got.get(*key)) {
        (Some(expected), Some(got)) => !same(expected, got),
        _ => true,
    });
    let wrong: Vec<String> = wrong
        .map(|key| {
            let shown = |value: Option<&Value>| value.map_or("–".to_owned(), Value::to_string);
            let (expected, got) = (shown(expected.get(key)), shown(got.get(key)));
            format!("{above} {key}: {got}, expected {expected}")
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("\n"))
}

/// Compares numbers by value, and keys in any order.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let entries = a.iter();
            let mut equal = entries.map(|(key, a)| b.get(key).is_some_and(|b| same(a, b)));
            a.len() == b.len() && equal.all(|equal| equal)
        }
        _ => left == right,
    }
}

#[derive(Default)]
struct Fates(Vec<Option<String>>);

impl Watch for Fates {
    fn message(&mut self, index: usize, _: &[u8], fate: MessageOutcome<'_>) {
        assert_eq!(index, self.0.len(), "messages come in order");
        self.0.push(match fate {
            MessageOutcome::Event(_) => None,
            MessageOutcome::LeftOut(omission) => Some(omission.code().to_owned()),
            MessageOutcome::Refused(fault) => Some(fault.code().to_owned()),
        });
    }
}

/// The code under test.
fn convert(request: &Request, text: &str) -> Result<Vec<Got>, &'static str> {
    let rewriter = Arc::new(Rewriter::new(mapping(&request.settings), Bounds::default()));
    let call = match request.call.and_then(Kind::of_path) {
        Some(kind) => Call::One(kind),
        None => Call::Batch,
    };
    let mut rewrite = rewriter
        .begin(Arrival {
            received_at: Some(Timestamp::from_millis(request.received_at)),
            client_ip: Some(request.client_ip),
            cookies: Some(request.cookies.clone()),
            ..Arrival::new(call)
        })
        .address_to(Arc::new(Recipient {
            project: ProjectId::of(&ApiKey::new(&request.api_key).unwrap()),
            ..Recipient::default()
        }));
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    let mut fates = Fates::default();
    let mut run = || {
        rewrite.push(text.as_bytes())?;
        rewrite.end();
        while rewrite.pull(&mut batch, usize::MAX, &mut fates)? != Pulled::Done {}
        Ok(())
    };
    if let Err(error) = run() {
        let error: hedgerow_rewrite::RewriteError = error;
        return Err(error.code());
    }
    let text = batch.close();
    let value: Value = match serde_json::from_slice(&text) {
        Ok(value) => value,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&text)),
    };
    let mut events = value["batch"]
        .as_array()
        .cloned()
        .unwrap_or_default()
        .into_iter();
    let fates = fates.0.into_iter();
    Ok(fates
        .map(|stays| match stays {
            Some(reason) => Got::Stays(reason),
            None => Got::Event(events.next().unwrap_or_default()),
        })
        .collect())
}

fn mapping(settings: &Settings) -> Mapping {
    let on = |switch| switch == Switch::On;
    let mut mapping = match settings.mode {
        oracle::Mode::Reference => Mapping::reference(),
        oracle::Mode::Enriched => Mapping::default(),
    };
    mapping.group_type = settings.group_type.clone();
    if on(settings.ignores_integrations) {
        mapping.integrations = Integrations::Ignore;
    }
    if on(settings.group_type_from_traits) {
        mapping.group_type_from = GroupTypeFrom::Traits;
    }
    if on(settings.identified_only) {
        mapping.person_profiles = PersonProfiles::IdentifiedOnly;
    }
    if on(settings.drops_same_anonymous_id) {
        mapping.same_anonymous_id = SameAnonymousId::Drop;
    }
    if on(settings.context_traits_always) {
        mapping.context_traits = ContextTraits::Always;
    }
    if on(settings.bookkeeping) {
        mapping.bookkeeping = Bookkeeping::On;
    }
    mapping
}
