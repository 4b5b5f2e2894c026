//! The sent bodies: three sizes, each with so many messages in a body.
//!
//! The bodies of a size differ only in their ids, which have fixed places, so that the load
//! generator needs almost no time for them.

use crate::support;

/// The length of a message's id, as analytics.js makes it.
const MESSAGE_ID: usize = 60;
/// The length of an anonymous id.
const PERSON: usize = 36;
/// The number of persons.
const PEOPLE: u64 = 1_000;
/// The length of a write key.
const KEY: usize = 18;

/// One size of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    One,
    Twenty,
    ThreeHundred,
}

impl Size {
    pub const ALL: [Self; 3] = [Self::One, Self::Twenty, Self::ThreeHundred];

    pub fn events(self) -> usize {
        match self {
            Self::One => 1,
            Self::Twenty => 20,
            Self::ThreeHundred => 300,
        }
    }

    /// Requests a second of the open loop.
    pub fn rate(self) -> f64 {
        match self {
            Self::One => 2_000.0,
            Self::Twenty => 400.0,
            Self::ThreeHundred => 40.0,
        }
    }

    pub fn connections(self) -> usize {
        match self {
            Self::One => 64,
            Self::Twenty => 32,
            Self::ThreeHundred => 16,
        }
    }

    /// The Segment call below the route.
    pub fn call(self) -> &'static str {
        match self {
            Self::One => "v1/t",
            Self::Twenty | Self::ThreeHundred => "v1/b",
        }
    }
}

/// A body with places for ids.
#[derive(Debug, Clone)]
pub struct Template {
    pub size: Size,
    bytes: Vec<u8>,
    /// The positions of the message ids, in order.
    message_ids: Vec<usize>,
    /// The positions of the anonymous ids, in order.
    people: Vec<usize>,
    key: usize,
}

impl Template {
    pub fn new(size: Size) -> Self {
        let cases = support::cases();
        let mut message: serde_json::Value = serde_json::from_str(&cases[0].body).unwrap();
        let fields = message.as_object_mut().unwrap();
        fields.remove("_metadata");
        let sent_at = fields.remove("sentAt").unwrap();
        fields.remove("writeKey");
        fields.insert("messageId".into(), "m".repeat(MESSAGE_ID).into());
        fields.insert("anonymousId".into(), "p".repeat(PERSON).into());
        let key = "k".repeat(KEY);
        let text = match size {
            Size::One => {
                fields.insert("writeKey".into(), key.into());
                fields.insert("sentAt".into(), sent_at);
                message.to_string()
            }
            Size::Twenty | Size::ThreeHundred => {
                let message = message.to_string();
                let messages = vec![message.as_str(); size.events()].join(",");
                format!(r#"{{"writeKey":"{key}","sentAt":{sent_at},"batch":[{messages}]}}"#)
            }
        };
        let places = |sign: &str, length: usize| -> Vec<usize> {
            let run = sign.repeat(length);
            let places = text.match_indices(&run);
            places.map(|(at, _)| at).collect()
        };
        let template = Self {
            size,
            message_ids: places("m", MESSAGE_ID),
            people: places("p", PERSON),
            key: places("k", KEY)[0],
            bytes: text.into_bytes(),
        };
        assert_eq!(template.message_ids.len(), size.events());
        assert_eq!(template.people.len(), size.events());
        template
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// One connection's body, which gets new ids for each request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the ids of a request into a body: its events, from this number on, and its key.
    pub fn fill(&self, body: &mut [u8], first: u64, key: usize) {
        let put = |body: &mut [u8], at: usize, text: &str| {
            body[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        for (at, number) in self.message_ids.iter().zip(first..) {
            put(body, *at, &message_id(number));
        }
        for (at, number) in self.people.iter().zip(first..) {
            put(body, *at, &person(number));
        }
        put(body, self.key, &write_key(key));
    }

    /// The number of the first event in a body that arrived unchanged.
    pub fn first_of(&self, body: &[u8]) -> Option<u64> {
        let at = *self.message_ids.first()?;
        number_of(body.get(at..at + MESSAGE_ID)?)
    }
}

pub fn message_id(number: u64) -> String {
    format!("ajs-next-1795466691383-2017cd12-7594-4d69-849c-{number:013}")
}

pub fn person(number: u64) -> String {
    format!("e1962017-cd12-4594-bd69-{:012}", number % PEOPLE)
}

pub fn write_key(number: usize) -> String {
    format!("wk_compare_{number:07}")
}

fn number_of(message_id: &[u8]) -> Option<u64> {
    let digits = message_id.get(MESSAGE_ID - 13..)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
