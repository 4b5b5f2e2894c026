//! The sent bodies: three sizes, each with so many messages in a body.
//!
//! The bodies of a size differ only in their ids, and in their pages if every event comes from
//! another page. These have fixed places, so that the load generator needs almost no time for them.

use crate::support;

/// The length of a message's id, as analytics.js makes it.
const MESSAGE_ID: usize = 60;
/// The length of an anonymous id.
const PERSON: usize = 36;
/// The number of persons.
const PEOPLE: u64 = 1_000;
/// The length of a write key.
const KEY: usize = 18;
/// The length of the part of a page's path that differs between pages.
const PATH: usize = 8;
/// The length of a page's title.
const TITLE: usize = 10;

/// The pages from which events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// All events have the same page, and so the same context.
    Same,
    /// The address, the path and the title of the page differ between events.
    Another,
}

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
    /// The positions of the path in each event's page: in the path itself and in the address.
    paths: Vec<usize>,
    /// The positions of the pages' titles, in order.
    titles: Vec<usize>,
    key: usize,
}

impl Template {
    pub fn new(size: Size, pages: Pages) -> Self {
        let cases = support::cases();
        let mut message: serde_json::Value = serde_json::from_str(&cases[0].body).unwrap();
        let fields = message.as_object_mut().unwrap();
        fields.remove("_metadata");
        let sent_at = fields.remove("sentAt").unwrap();
        fields.remove("writeKey");
        fields.insert("messageId".into(), "m".repeat(MESSAGE_ID).into());
        fields.insert("anonymousId".into(), "p".repeat(PERSON).into());
        if pages == Pages::Another {
            leave_places_for_pages(&mut fields["context"]["page"]);
        }
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
            paths: places("v", PATH),
            titles: places("t", TITLE),
            key: places("k", KEY)[0],
            bytes: text.into_bytes(),
        };
        assert_eq!(template.message_ids.len(), size.events());
        assert_eq!(template.people.len(), size.events());
        let different = match pages {
            Pages::Same => 0,
            Pages::Another => size.events(),
        };
        assert_eq!(template.paths.len(), 2 * different);
        assert_eq!(template.titles.len(), different);
        template
    }

    /// The pages of its events.
    pub fn pages(&self) -> Pages {
        if self.titles.is_empty() {
            Pages::Same
        } else {
            Pages::Another
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// One connection's body, which gets new ids for each request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes what differs between requests into a body: its events, from this number on, and its key.
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
        for (places, number) in self.paths.chunks(2).zip(first..) {
            let path = page_path(number);
            for at in places {
                put(body, *at, &path);
            }
        }
        for (at, number) in self.titles.iter().zip(first..) {
            put(body, *at, &page_title(number));
        }
        put(body, self.key, &write_key(key));
    }

    /// The number of the first event in a body that arrived unchanged.
    pub fn first_of(&self, body: &[u8]) -> Option<u64> {
        let at = *self.message_ids.first()?;
        number_of(body.get(at..at + MESSAGE_ID)?)
    }
}

/// Makes room for another path and title in the recorded page, which stays as long as it was: the
/// identifier of a click is shorter instead.
fn leave_places_for_pages(page: &mut serde_json::Value) {
    let recorded = page.to_string();
    let path = "v".repeat(PATH);
    for (field, from, to) in [
        ("path", "/", format!("/{path}")),
        ("url", ".test/?", format!(".test/{path}?")),
        ("url", "synthetic-gclid", "gclid-1".to_owned()),
        ("search", "synthetic-gclid", "gclid-1".to_owned()),
        ("title", "Acme Store", "t".repeat(TITLE)),
    ] {
        let text = page[field].as_str().unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from} in {field}");
        page[field] = text.replace(from, &to).into();
    }
    assert_eq!(page.to_string().len(), recorded.len());
}

/// The path of an event's page, without the slash.
pub fn page_path(number: u64) -> String {
    format!("p{:07}", number % 10_000_000)
}

pub fn page_title(number: u64) -> String {
    format!("Page {:05}", number % 100_000)
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
