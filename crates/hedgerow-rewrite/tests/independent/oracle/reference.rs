//! PostHog's own Segment destination (mapping, section 1), repairs included (docs/repairs.md).

use std::collections::BTreeSet;

use serde_json::{json, Value};

use super::javascript::{is_placeholder, spread, truthy};
use super::normalise::Message;
use super::{groups, ids, Expected, Mode, Object, Request, Switch};

type Reasons = BTreeSet<&'static str>;

/// The person of an event.
pub struct Who {
    /// The `userId`, if it is an id.
    pub user: Option<Value>,
    pub anonymous: Option<Value>,
}

impl Who {
    pub fn of(request: &Request, message: &Message) -> Self {
        let id = |key: &str| match request.settings.mode {
            Mode::Reference => ids::reference(message.field(key)),
            Mode::Enriched => ids::enriched(message.field(key)).map(Value::from),
        };
        let user = match request.settings.mode {
            Mode::Reference if !truthy(message.field("userId")) => None,
            _ => id("userId"),
        };
        let anonymous = id("anonymousId").filter(|id| !id.is_null());
        Self { user, anonymous }
    }

    pub fn distinct_id(&self) -> Option<&Value> {
        self.user.as_ref().or(self.anonymous.as_ref())
    }
}

pub fn map(request: &Request, message: &Message) -> Result<Expected, Reasons> {
    let who = Who::of(request, message);
    let mut reasons = Reasons::new();
    if who.distinct_id().is_none() {
        reasons.insert("missing_distinct_id");
    }
    let mut properties = of_context(request, message);
    properties.extend(of_call(request, message, &who, &mut reasons));
    properties.insert("$lib".to_owned(), "Segment".into());
    if let Some(id) = who.distinct_id() {
        properties.insert("distinct_id".to_owned(), id.clone());
    }
    if let Some(unusable) = &message.time.unusable {
        properties
            .entry("segment_original_timestamp")
            .or_insert(unusable.clone());
    }
    let name = name(message, &who, &mut reasons);
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let mut event = Object::from_iter([("event".to_owned(), name)]);
    if let Some(uuid) = &message.uuid {
        event.insert("uuid".to_owned(), uuid.clone().into());
    }
    if let Some(time) = &message.time.written {
        event.insert("timestamp".to_owned(), time.clone());
    }
    // This implementation does not know whether a time in another form can be read, and so not
    // whether it is kept.
    let is_unknown = message.time.written.is_none();
    let wild = is_unknown.then_some("segment_original_timestamp");
    Ok(Expected {
        event,
        properties,
        wild: wild.into_iter().collect(),
        any_time: is_unknown,
        any_uuid: message.uuid.is_none(),
        ..Expected::default()
    })
}

/// Mapping 1.3.
fn of_context(request: &Request, message: &Message) -> Object {
    let mut properties = Object::new();
    if !message.has_context() {
        return properties;
    }
    let context = spread(message.context.as_ref());
    // In the enriched mode, a context text that stands for a missing value makes no property
    // (docs/fields.md).
    let says_nothing = |value: &Value| {
        request.settings.mode == Mode::Enriched && value.as_str().is_some_and(is_placeholder)
    };
    if let Some(group) = groups::of_context(request, message) {
        properties.insert("$groups".to_owned(), group);
    }
    let campaign = context.get("campaign").filter(|it| truthy(Some(it)));
    for (key, value) in spread(campaign) {
        let name = match key.as_str() {
            "name" => "utm_campaign".to_owned(),
            other => format!("utm_{other}"),
        };
        if !(campaign.is_some_and(Value::is_object) && says_nothing(&value)) {
            properties.insert(name, value);
        }
    }
    for (path, name) in [
        ("ip", "$ip"),
        ("page.url", "$current_url"),
        ("page.path", "$pathname"),
        ("os.name", "$os"),
        ("page.referrer", "$referrer"),
        ("screen.width", "$screen_width"),
        ("screen.height", "$screen_height"),
        ("device.type", "$device_type"),
    ] {
        if let Some(value) = message
            .in_context(path)
            .filter(|value| !says_nothing(value))
        {
            properties.insert(name.to_owned(), value.clone());
        }
    }
    for (key, value) in &context {
        if !(key == "campaign" && campaign.is_some()) {
            properties.insert(format!("segment_{key}"), value.clone());
        }
    }
    properties
}

/// The call's properties (mapping 1.4 and 1.6), without those from the context.
fn of_call(request: &Request, message: &Message, who: &Who, reasons: &mut Reasons) -> Object {
    let set = |properties: &mut Object, key: &str, value: Option<&Value>| match value {
        Some(value) => drop(properties.insert(key.to_owned(), value.clone())),
        None => drop(properties.remove(key)),
    };
    let mut properties = match message.kind {
        "group" | "alias" => Object::new(),
        _ => spread(message.field("properties")),
    };
    let url = properties.get("url").cloned();
    if truthy(url.as_ref()) {
        set(&mut properties, "$current_url", url.as_ref());
        properties.remove("url");
    }
    for (from, to) in [("utm_name", "utm_campaign"), ("browser", "$browser")] {
        let value = properties.get(from).cloned();
        if truthy(value.as_ref()) {
            set(&mut properties, to, value.as_ref());
        }
    }
    match message.kind {
        "screen" => set(&mut properties, "$screen_name", message.field("name")),
        "identify" => {
            set(&mut properties, "$set", message.field("traits"));
            let can_be_merged = ids::can_be_merged(message.field("anonymousId"));
            let anonymous = who.anonymous.as_ref().filter(|_| can_be_merged);
            if let (Some(_), Some(id)) = (&who.user, anonymous) {
                properties.insert("$anon_distinct_id".to_owned(), id.clone());
            }
        }
        "group" => {
            let (group_type, traits) = groups::of_call(request, message);
            properties.insert("$geoip_disable".to_owned(), true.into());
            properties.insert("$group_type".to_owned(), group_type.into());
            set(&mut properties, "$group_key", message.field("groupId"));
            set(&mut properties, "$group_set", traits.as_ref());
        }
        "alias" => alias(request, message, who, &mut properties, reasons),
        _ => {}
    }
    if let Some(group) = groups::of_context(request, message) {
        properties.insert("$groups".to_owned(), group);
    }
    for gone in ["distinct_id", "$lib"] {
        properties.remove(gone);
    }
    properties
}

fn alias(
    request: &Request,
    message: &Message,
    who: &Who,
    properties: &mut Object,
    reasons: &mut Reasons,
) {
    let previous = message.field("previousId");
    let may_be_one = matches!(
        previous,
        None | Some(Value::Null | Value::String(_) | Value::Number(_))
    );
    let alias = match request.settings.mode {
        Mode::Reference => match previous {
            Some(Value::Number(_)) => ids::reference(previous),
            other => other.cloned(),
        },
        Mode::Enriched => {
            let named = ids::enriched(previous).map(Value::from);
            // An alias without `previousId` uses the anonymousId.
            let anonymous = who.anonymous.clone();
            named
                .or_else(|| anonymous.filter(|id| who.user.as_ref().is_some_and(|user| user != id)))
        }
    };
    let is_settled = request.settings.mode == Mode::Enriched && alias.is_some();
    if !may_be_one && !is_settled {
        reasons.insert("previous_id_not_text");
    }
    if alias.is_some() && alias.as_ref() == who.distinct_id() {
        reasons.insert("self_alias");
    }
    if let Some(alias) = alias {
        properties.insert("alias".to_owned(), alias);
    }
}

/// Mapping 1.6.
fn name(message: &Message, who: &Who, reasons: &mut Reasons) -> Value {
    let own = message.field("event");
    match message.kind {
        "track" => match own {
            None | Some(Value::Null) => drop(reasons.insert("missing_event")),
            Some(Value::String(name)) if name.is_empty() => {
                reasons.insert("missing_event");
            }
            Some(Value::String(_)) => return own.cloned().unwrap_or_default(),
            Some(_) => drop(reasons.insert("event_not_text")),
        },
        "page" => match own {
            Some(Value::String(name)) if !name.is_empty() => return json!(name),
            _ => return json!("$pageview"),
        },
        "screen" => return json!("$screen"),
        "identify" if who.user.is_some() => return json!("$identify"),
        "identify" => return json!("$set"),
        "group" => return json!("$groupidentify"),
        _ => return json!("$create_alias"),
    }
    Value::Null
}

/// Whether a switch is on.
pub fn on(switch: Switch) -> bool {
    switch == Switch::On
}
