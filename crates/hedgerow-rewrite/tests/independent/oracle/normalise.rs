//! What Segment's servers do before a destination gets a message (mapping 1.11).

use serde_json::Value;

use super::javascript::{says, truthy};
use super::time::{self, Time};
use super::{ids, Mode, Object, Request};

/// A message as a Segment destination would get it.
pub struct Message {
    pub kind: &'static str,
    pub fields: Object,
    /// The context that counts for it, of its own and the batch's.
    pub context: Option<Value>,
    integrations: Option<Value>,
    pub uuid: Option<String>,
    pub message_id: Option<String>,
    pub time: Time,
    pub library: Library,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Browser,
    Phone,
    Server,
    Unknown,
}

const KINDS: [&str; 6] = ["track", "page", "screen", "identify", "group", "alias"];

/// The messages of a body, or why an element is none.
pub fn split(request: &Request) -> Result<Vec<Result<Message, &'static str>>, &'static str> {
    let Value::Object(body) = &request.body else {
        // On the path of one call, the body is the message.
        return match request.call {
            Some(_) => Ok(vec![Err("not_an_object")]),
            None => Err("not_an_object"),
        };
    };
    let Some(batch) = body.get("batch") else {
        let kind = match request.call {
            Some(kind) => Ok(kind),
            None => kind_of(body, None),
        };
        return Ok(vec![kind.map(|kind| settle(request, kind, body, None))]);
    };
    let Value::Array(items) = batch else {
        return match request.call {
            None => Err("batch_not_an_array"),
            Some(kind) => Ok(vec![Ok(settle(request, kind, body, None))]),
        };
    };
    Ok(items
        .iter()
        .map(|item| {
            let fields = item.as_object().ok_or("not_an_object")?;
            let kind = kind_of(fields, request.call)?;
            Ok(settle(request, kind, fields, Some(body)))
        })
        .collect())
}

fn kind_of(fields: &Object, by_path: Option<&'static str>) -> Result<&'static str, &'static str> {
    match (fields.get("type"), by_path) {
        (None, Some(kind)) => Ok(kind),
        (None, None) => Err("missing_type"),
        (Some(named), _) => KINDS
            .into_iter()
            .find(|kind| named.as_str() == Some(kind))
            .ok_or("unknown_type"),
    }
}

fn settle(
    request: &Request,
    kind: &'static str,
    fields: &Object,
    batch: Option<&Object>,
) -> Message {
    let of_batch = |key: &str| batch.and_then(|batch| batch.get(key));
    let both = |key: &str| {
        let batch = of_batch(key).filter(|value| value.is_object());
        let own = fields
            .get(key)
            .filter(|own| own.is_object() || batch.is_none());
        merged(batch, own)
    };
    let mut context = both("context");
    let library = library(context.as_ref());
    fill_in_address(request, library, &mut context);
    let message_id = match fields.get("messageId") {
        Some(Value::String(id)) => match request.settings.mode {
            Mode::Reference => Some(id.clone()),
            Mode::Enriched => says(fields.get("messageId")).map(str::to_owned),
        },
        _ => None,
    };
    Message {
        kind,
        context,
        integrations: both("integrations"),
        uuid: message_id.as_deref().map(ids::uuid),
        message_id,
        time: time::of(fields, of_batch("sentAt"), request.received_at),
        library,
        fields: fields.clone(),
    }
}

/// The message's own values replace the batch's, key by key, also in nested objects.
fn merged(batch: Option<&Value>, own: Option<&Value>) -> Option<Value> {
    match (batch, own) {
        (Some(Value::Object(batch)), Some(Value::Object(own))) => {
            let mut all = batch.clone();
            for (key, value) in own {
                let under = all.get(key).cloned();
                if let Some(value) = merged(under.as_ref(), Some(value)) {
                    all.insert(key.clone(), value);
                }
            }
            Some(Value::Object(all))
        }
        (batch, own) => own.or(batch).cloned(),
    }
}

/// Where the library that sent a message runs (docs/repairs.md, "What else Segment would have
/// added").
fn library(context: Option<&Value>) -> Library {
    let at = |path: &str| context.and_then(|context| context.pointer(path));
    let is = |path: &str, names: &[&str]| {
        let said = at(path).and_then(Value::as_str).unwrap_or_default();
        let said = said.trim().to_ascii_lowercase();
        names.contains(&said.as_str())
    };
    if says(at("/library/name")).is_none() {
        return Library::Unknown;
    }
    if is(
        "/library/name",
        &["analytics.js", "amp", "rudderlabs javascript sdk"],
    ) {
        return Library::Browser;
    }
    let phones = [
        "analytics-ios",
        "analytics-android",
        "analytics-react-native",
    ];
    if is("/library/name", &phones) {
        return Library::Phone;
    }
    let on_phone = if is("/library/name", &["analytics-kotlin", "analytics-swift"]) {
        let device = at("/device").and_then(Value::as_object);
        let mut described = device.into_iter().flat_map(|device| device.values());
        !is("/device/type", &["linux"])
            && described.any(|value| value.is_number() || says(Some(value)).is_some())
    } else if is(
        "/library/name",
        &["analytics-csharp", "analytics.net", "analytics.xamarin"],
    ) {
        is("/device/type", &["ios", "android", "ipados"])
            || is("/os/name", &["ios", "android", "ipados"])
            || is("/platform", &["unity", "xamarin"])
    } else {
        false
    };
    match on_phone {
        true => Library::Phone,
        false => Library::Server,
    }
}

/// The client's address, if the library runs on the visitor's device and the context has no
/// address; with `context.direct: true` wherever the library runs.
fn fill_in_address(request: &Request, library: Library, context: &mut Option<Value>) {
    let is_direct = context.as_ref().and_then(|context| context.get("direct"));
    let is_on_device = matches!(library, Library::Browser | Library::Phone);
    if !is_on_device && is_direct != Some(&Value::Bool(true)) {
        return;
    }
    if let Some(Value::Object(context)) = context {
        let has_address = match request.settings.mode {
            Mode::Reference => truthy(context.get("ip")),
            Mode::Enriched => says(context.get("ip")).is_some(),
        };
        if !has_address {
            context.insert("ip".to_owned(), request.client_ip.to_string().into());
        }
    }
}

impl Message {
    /// Whether `integrations` keep the message from PostHog (segment-tracking 4.5).
    pub fn is_kept_back(&self) -> bool {
        let Some(Value::Object(integrations)) = &self.integrations else {
            return false;
        };
        match integrations.get("PostHog") {
            Some(Value::Bool(truth)) => return !truth,
            Some(_) => return false,
            None => {}
        }
        let all = integrations.iter().find(|(key, _)| {
            let letters = key
                .chars()
                .filter(|sign| sign.is_alphanumeric() || *sign == '.');
            letters.collect::<String>().eq_ignore_ascii_case("all")
        });
        all.is_some_and(|(_, value)| *value == Value::Bool(false))
    }

    pub fn field(&self, key: &str) -> Option<&Value> {
        self.fields.get(key)
    }

    /// A value of the context; a key with a dot in it counts before the path (mapping 1.3).
    pub fn in_context(&self, path: &str) -> Option<&Value> {
        let context = self.context.as_ref()?.as_object()?;
        if let Some(literal) = context.get(path) {
            return Some(literal);
        }
        let (outer, inner) = path.split_once('.')?;
        context.get(outer)?.as_object()?.get(inner)
    }

    /// A value one or two levels down in the context.
    pub fn context_at(&self, path: &str) -> Option<&Value> {
        let context = self.context.as_ref()?;
        let mut at = context;
        for key in path.split('.') {
            at = at.as_object()?.get(key)?;
        }
        Some(at)
    }

    pub fn has_context(&self) -> bool {
        truthy(self.context.as_ref())
    }
}
