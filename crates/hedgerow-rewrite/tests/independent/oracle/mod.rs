//! A second implementation of the mapping on `serde_json::Value`: slow, simple, and written only
//! from docs/mapping.md, docs/fields.md, docs/repairs.md and docs/protocols. If the two differ, the
//! documents decide.

mod cookies;
mod enriched;
mod groups;
pub mod ids;
mod javascript;
mod normalise;
mod reference;
mod session;
pub mod time;
mod web;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value};

pub use web::agents;

pub type Object = Map<String, Value>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Reference,
    Enriched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    Off,
    On,
}

/// The switches of `mapping:` that this implementation knows; the first value of each is the
/// default.
#[derive(Debug, Clone)]
pub struct Settings {
    pub mode: Mode,
    /// `integrations: ignore`.
    pub ignores_integrations: Switch,
    pub group_type: String,
    /// `group_type_from: traits`.
    pub group_type_from_traits: Switch,
    /// `person_profiles: identified_only`.
    pub identified_only: Switch,
    /// `same_anonymous_id: drop`.
    pub drops_same_anonymous_id: Switch,
    /// `context_traits: always`.
    pub context_traits_always: Switch,
    pub bookkeeping: Switch,
}

/// The parts of a request that matter here.
#[derive(Debug, Clone)]
pub struct Request {
    pub settings: Settings,
    /// The call in the path; `None` for a batch.
    pub call: Option<&'static str>,
    pub body: Value,
    /// In milliseconds.
    pub received_at: i64,
    pub client_ip: IpAddr,
    pub cookies: String,
    /// The project's key.
    pub api_key: String,
}

/// What happens to a message.
#[derive(Debug, Clone)]
pub enum MessageOutcome {
    /// It is sent.
    Event(Expected),
    /// It is refused or dropped, for one of these reasons.
    Stays(BTreeSet<&'static str>),
}

/// An event, with gaps where this implementation has no rule.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    pub event: Object,
    pub properties: Object,
    /// Properties that may exist or not, with any value.
    pub wild: BTreeSet<&'static str>,
    /// `$session_id` is a UUID of version 7 of this moment, in milliseconds.
    pub session_of: Option<i64>,
    /// `timestamp` is not compared.
    pub any_time: bool,
    /// `uuid` is not compared: the message had no id.
    pub any_uuid: bool,
}

impl Expected {
    /// Adds a property unless the caller has given it.
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        if !self.properties.contains_key(name) {
            self.properties.insert(name.to_owned(), value.into());
        }
    }
}

/// What happens to each message of a body, or why the body is refused.
pub fn convert(request: &Request) -> Result<Vec<MessageOutcome>, &'static str> {
    let messages = normalise::split(request)?;
    let fates: Vec<MessageOutcome> = messages
        .iter()
        .map(|message| fate(request, message))
        .collect();
    const MOST_REFUSED: usize = 500;
    let refused = fates.iter().filter(|fate| match fate {
        MessageOutcome::Stays(reasons) => reasons.iter().all(|reason| !OMISSIONS.contains(reason)),
        MessageOutcome::Event(_) => false,
    });
    match refused.count() > MOST_REFUSED {
        true => Err("too_many_refused"),
        false => Ok(fates),
    }
}

const OMISSIONS: [&str; 2] = ["integrations", "self_alias"];

fn fate(request: &Request, message: &Result<normalise::Message, &'static str>) -> MessageOutcome {
    // Any of several reasons may be named; a message of an unknown type may be held back as well.
    let message = match message {
        Ok(message) => message,
        Err(reason @ "not_an_object") => return MessageOutcome::Stays(BTreeSet::from([*reason])),
        Err(reason) => return MessageOutcome::Stays(BTreeSet::from([*reason, "integrations"])),
    };
    let mut reasons = BTreeSet::new();
    if request.settings.ignores_integrations == Switch::Off && message.is_kept_back() {
        reasons.insert("integrations");
    }
    let mapped = reference::map(request, message);
    let finished = mapped.and_then(|mut expected| {
        if request.settings.mode == Mode::Enriched {
            enriched::add(request, message, &mut expected);
        }
        let cookieless = expected.properties.get("$cookieless_mode");
        match cookieless.is_some_and(|value| !value.is_boolean()) {
            true => Err(BTreeSet::from(["cookieless_not_boolean"])),
            false => Ok(expected),
        }
    });
    match finished {
        Ok(expected) if reasons.is_empty() => MessageOutcome::Event(expected),
        Ok(_) => MessageOutcome::Stays(reasons),
        Err(others) => {
            reasons.extend(others);
            MessageOutcome::Stays(reasons)
        }
    }
}
