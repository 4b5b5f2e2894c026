//! Hides parts of the original text of a message if the configuration has a setting under `privacy`: only
//! parts that were sent to PostHog are shown. A value is shown only if it is `null` or the event contains
//! the same value. A key is shown only if Segment's libraries write it or the event contains it too.

use std::collections::HashSet;

use serde_json::{Map, Value};

/// The text that replaces a hidden value.
const HIDDEN: &str = "(hidden: privacy)";

/// Keys that Segment's own libraries write. They cannot contain data about a visitor.
const OWN: &[&str] = &[
    "type",
    "event",
    "name",
    "category",
    "userId",
    "anonymousId",
    "previousId",
    "groupId",
    "messageId",
    "timestamp",
    "originalTimestamp",
    "sentAt",
    "receivedAt",
    "writeKey",
    "channel",
    "version",
    "integrations",
    "properties",
    "traits",
    "context",
    "_metadata",
    "library",
    "page",
    "path",
    "referrer",
    "search",
    "title",
    "url",
    "userAgent",
    "userAgentData",
    "ip",
    "locale",
    "timezone",
    "campaign",
    "app",
    "device",
    "os",
    "network",
    "screen",
    "location",
    "email",
];

/// Returns the message as JSON text with the hidden parts replaced. A message that is not a JSON object is
/// hidden completely.
pub(super) fn redacted(original: &[u8], event: Option<&[u8]>) -> String {
    let mut event_texts = EventTexts::default();
    let event = event.and_then(|event| serde_json::from_slice(event).ok());
    event_texts.take(&event.unwrap_or_default());
    let shown = match serde_json::from_slice(original) {
        Ok(original @ Value::Object(_)) => event_texts.redacted_message(&original),
        _ => Value::String(HIDDEN.to_owned()),
    };
    shown.to_string()
}

/// The keys and values of the event.
#[derive(Default)]
struct EventTexts {
    names: HashSet<String>,
    values: HashSet<String>,
}

impl EventTexts {
    fn take(&mut self, value: &Value) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    self.names.insert(name.clone());
                    self.take(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.take(item)),
            leaf => {
                self.values.insert(leaf.to_string());
            }
        }
    }

    fn redacted_message(&self, original: &Value) -> Value {
        match original {
            Value::Object(object) => {
                let mut shown = Map::new();
                let mut hidden = 0;
                for (name, value) in object {
                    if self.names.contains(name) || OWN.contains(&name.as_str()) {
                        shown.insert(name.clone(), self.redacted_message(value));
                    } else {
                        hidden += 1;
                    }
                }
                if hidden > 0 {
                    let names = Value::String(format!("{hidden} names"));
                    shown.insert(HIDDEN.to_owned(), names);
                }
                Value::Object(shown)
            }
            Value::Array(items) => items
                .iter()
                .map(|item| self.redacted_message(item))
                .collect(),
            Value::Null => Value::Null,
            leaf if self.values.contains(&leaf.to_string()) => leaf.clone(),
            _ => Value::String(HIDDEN.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_sent_parts_of_a_message_are_visible() {
        let original =
            br#"{"type":"track","event":"Bought","userId":"ada","context":{"ip":"203.0.113.77",
            "traits":{"email":"ada@example.com"},"page":{"url":"https://x.test/?token=s"}},
            "properties":{"total":5,"card":"4111","ada@example.com":true,"list":["a","secret"]}}"#;
        let event =
            br#"{"event":"Bought","properties":{"total":5,"list":["a"],"distinct_id":"p-77",
            "$ip":"203.0.113.0","$current_url":"https://x.test/"}}"#;
        let shown = redacted(original, Some(event));
        for hidden in ["203.0.113.77", "ada", "4111", "token", "secret", "card"] {
            assert!(!shown.contains(hidden), "{hidden} in {shown}");
        }
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["event"], "Bought");
        assert_eq!(shown["properties"]["total"], 5);
        assert_eq!(shown["properties"]["list"], json!(["a", HIDDEN]));
        assert_eq!(shown["properties"][HIDDEN], "2 names");
        assert_eq!(shown["context"]["ip"], HIDDEN);
    }

    #[test]
    fn of_a_message_that_did_not_leave_nothing_can_be_seen() {
        for original in [
            &b"{\"event\":\"ada@example.com\",\"x\":{\"4111\":5}}"[..],
            b"\"4111\"",
            b"4111 {",
        ] {
            let shown = redacted(original, None);
            assert!(!shown.contains("ada") && !shown.contains("4111"), "{shown}");
        }
    }
}
