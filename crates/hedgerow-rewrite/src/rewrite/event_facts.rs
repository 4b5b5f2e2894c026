//! Finds out to which person each event belongs, so that the events of several requests can leave in
//! one batch: the events of one person keep their order, and no event gets the address of another
//! person's client.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

use super::event_plan::{EventPlan, Piece};
use super::json::name;
use super::message::Message;
use super::message_source::MessageSource;
use super::normalise::Settled;
use crate::posthog::{Address, EventFacts};

/// Events that join two ids, each with the property that holds the second id. A track call may also
/// have one of these event names (posthog-ingestion 4.3).
const JOINING: [(&str, &str); 3] = [
    ("$identify", "$anon_distinct_id"),
    ("$create_alias", "alias"),
    ("$merge_dangerously", "alias"),
];

/// Returns the facts about the event that is written from `plan`.
pub(super) fn event_facts(
    plan: &EventPlan<'_>,
    settled: &Settled<'_>,
    source: MessageSource<'_>,
) -> EventFacts {
    let MessageSource { text, message, .. } = source;
    // PostHog may use the request's address if the connection's address is not known, or if the
    // sender sets `$ip`.
    let own_address = settled.ip.is_some() && message.properties.named(name!("$ip")).is_none();
    EventFacts {
        person: id_hash(plan.distinct_id, text),
        joined: joined(plan, message, text),
        address: if own_address {
            Address::InTheEvent
        } else {
            Address::OfTheRequest
        },
    }
}

fn joined(plan: &EventPlan<'_>, message: &Message, text: &[u8]) -> Option<u64> {
    let planned = [plan.anon_distinct_id, plan.alias].into_iter();
    if let Some(second) = planned.into_iter().find(|second| !second.is_absent()) {
        return Some(id_hash(second, text));
    }
    let event = plain(plan.event, text);
    if event.is_some_and(|event| !event.starts_with(b"$")) {
        // The usual case.
        return None;
    }
    let event = plan.event.text(text)?;
    let (_, property) = JOINING.iter().find(|(joining, _)| *joining == event)?;
    let value = message.properties.get(text, property)?;
    Some(id_hash(Piece::Raw(value), text))
}

/// Returns the hash of an id's decoded text, so that it is equal for two spellings of one id.
fn id_hash(id: Piece<'_>, text: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    match plain(id, text) {
        Some(id_text) => hash.write(id_text),
        None => {
            let id_text = id.text(text).unwrap_or_else(|| match id {
                Piece::Raw(value) => String::from_utf8_lossy(value.of(text)),
                _ => Cow::Borrowed(""),
            });
            hash.write(id_text.as_bytes());
        }
    }
    hash.finish()
}

/// Returns the text of a string of the message that has no escapes.
fn plain<'t>(piece: Piece<'_>, text: &'t [u8]) -> Option<&'t [u8]> {
    let Piece::Raw(value) = piece else {
        return None;
    };
    let unquoted = value.of(text).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    memchr::memchr(b'\\', unquoted)
        .is_none()
        .then_some(unquoted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::posthog::{ApiKey, Batch, BatchFacts, Envelope};
    use crate::rewrite::{Arrival, Bounds, Mapping, Mode, Pulled, Rewriter};
    use crate::segment::Call;

    /// Returns the facts about `messages`, which arrived from the address `from`.
    fn of(messages: &str, mode: Mode, from: Option<&str>) -> BatchFacts {
        let mapping = Mapping {
            mode,
            ..Mapping::default()
        };
        let rewriter = Arc::new(Rewriter::new(mapping, Bounds::default()));
        let mut rewrite = rewriter
            .begin(Arrival {
                client_ip: from.map(|from| from.parse().unwrap()),
                ..Arrival::new(Call::Batch)
            })
            .address_to(Arc::default());
        rewrite
            .push(format!("{{\"batch\":[{messages}]}}").as_bytes())
            .unwrap();
        rewrite.end();
        let envelope = Envelope::new(&ApiKey::new("phc_a").unwrap());
        let mut batch = Batch::open_to_gather(&envelope);
        let pulled = rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
        assert_eq!(pulled, Pulled::Done);
        batch.take_facts().unwrap()
    }

    fn people(messages: &str, mode: Mode) -> BTreeSet<u64> {
        of(messages, mode, None).people.into_iter().collect()
    }

    fn track(person: &str) -> String {
        format!("{{\"type\":\"track\",\"event\":\"E\",\"userId\":{person}}}")
    }

    #[test]
    fn an_event_is_of_its_person_and_of_the_one_that_it_joins() {
        let one = |person: &str| *people(&track(person), Mode::Reference).first().unwrap();
        let (ada, bob) = (one("\"ada\""), one("\"bob\""));
        assert_ne!(ada, bob);
        for mode in [Mode::Reference, Mode::Enriched] {
            for (message, expected) in [
                (track("\"ada\""), vec![ada]),
                (track(r#""\u0061da""#), vec![ada]),
                (
                    r#"{"type":"page","userId":null,"anonymousId":"ada"}"#.to_owned(),
                    vec![ada],
                ),
                (
                    r#"{"type":"identify","userId":"ada","anonymousId":"bob"}"#.to_owned(),
                    vec![ada, bob],
                ),
                (
                    r#"{"type":"alias","userId":"ada","previousId":"bob"}"#.to_owned(),
                    vec![ada, bob],
                ),
                (
                    r#"{"type":"track","event":"$identify","userId":"ada","properties":{"$anon_distinct_id":"bob"}}"#.to_owned(),
                    vec![ada, bob],
                ),
                (
                    r#"{"type":"track","event":"$merge_dangerously","userId":"ada","properties":{"alias":"bob"}}"#.to_owned(),
                    vec![ada, bob],
                ),
                (
                    r#"{"type":"track","event":"E","userId":"ada","properties":{"alias":"bob"}}"#.to_owned(),
                    vec![ada],
                ),
                (
                    [track("\"ada\""), track("\"bob\""), track("\"ada\"")].join(","),
                    vec![ada, bob],
                ),
                // A message that yields no event belongs to no person.
                (r#"{"type":"track","userId":"bob"}"#.to_owned(), vec![]),
            ] {
                assert_eq!(
                    people(&message, mode),
                    expected.into_iter().collect(),
                    "{mode:?} {message}"
                );
            }
        }
        assert_eq!(one("42"), one("\"42\""), "PostHog makes a text of a number");
    }

    #[test]
    fn only_an_event_with_the_connections_address_needs_none_of_the_request() {
        let web = r#""context":{"library":{"name":"analytics.js"}}"#;
        for (message, from, address) in [
            (web.to_owned(), Some("203.0.113.7"), Address::InTheEvent),
            (web.to_owned(), None, Address::OfTheRequest),
            (
                r#""context":{"library":{"name":"analytics-node"}}"#.to_owned(),
                Some("203.0.113.7"),
                Address::OfTheRequest,
            ),
            (
                format!("{web},\"properties\":{{\"$ip\":null}}"),
                Some("203.0.113.7"),
                Address::OfTheRequest,
            ),
        ] {
            let message =
                format!("{{\"type\":\"track\",\"event\":\"E\",\"userId\":\"u\",{message}}}");
            let facts = of(&message, Mode::Reference, from);
            assert_eq!(facts.address, address, "{message}");
        }
    }
}
