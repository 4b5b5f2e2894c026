//! Whose an event is, for requests that leave together: the events of one person keep their order,
//! and no event gets the address of another's client.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

use super::message::Message;
use super::normalise::{Settled, Source};
use super::plan::{Piece, Plan};
use crate::posthog::{Address, EventBearing};

/// Events that join two ids, and the property that names the second one; a track call may have
/// either name, too (posthog-ingestion 4.3).
const JOINING: [(&str, &str); 3] = [
    ("$identify", "$anon_distinct_id"),
    ("$create_alias", "alias"),
    ("$merge_dangerously", "alias"),
];

/// What is known of an event that is written as its plan says.
pub(super) fn bearing(plan: &Plan<'_>, settled: &Settled<'_>, source: Source<'_>) -> EventBearing {
    let Source { text, message, .. } = source;
    // Without an address of the connection, or with one that the sender names as well, PostHog
    // may look at the request's.
    let own_address = settled.ip.is_some() && message.properties.get(text, "$ip").is_none();
    EventBearing {
        person: piece(plan.distinct_id, text),
        joined: joined(plan, message, text),
        address: if own_address {
            Address::InTheEvent
        } else {
            Address::OfTheRequest
        },
    }
}

fn joined(plan: &Plan<'_>, message: &Message, text: &[u8]) -> Option<u64> {
    let planned = [plan.anon_distinct_id, plan.alias].into_iter();
    if let Some(second) = planned.into_iter().find(|second| *second != Piece::Absent) {
        return Some(piece(second, text));
    }
    let event = plan.event.says(text)?;
    let (_, property) = JOINING.iter().find(|(joining, _)| *joining == event)?;
    let value = message.properties.get(text, property)?;
    Some(piece(Piece::Raw(value), text))
}

/// Equal for ids that are the same text once they are read.
fn piece(id: Piece<'_>, text: &[u8]) -> u64 {
    let said = id.says(text).unwrap_or_else(|| match id {
        Piece::Raw(value) => String::from_utf8_lossy(value.of(text)),
        _ => Cow::Borrowed(""),
    });
    let mut hash = DefaultHasher::new();
    hash.write(said.as_bytes());
    hash.finish()
}
