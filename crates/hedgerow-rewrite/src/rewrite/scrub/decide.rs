//! Decides how a message is treated, by the request's signals and the message's consent.

use crate::rewrite::json::{unescape, Scratch, Shape, Value};
use crate::rewrite::message::MessagePart;
use crate::rewrite::message_source::MessageSource;
use crate::rewrite::outcome::Omission;
use crate::rewrite::privacy::{Decision, Privacy, Signals, Treatment};

impl Privacy {
    /// Returns how a message is treated, by the signals of its request and by its consent.
    pub(in crate::rewrite) fn of_message(
        &self,
        signals: Signals,
        source: MessageSource<'_>,
    ) -> Decision {
        let mut decision = self.of_request(signals);
        if !self.consent.is_empty() && decision.treatment != Treatment::Drop {
            decision.tighten(self.without_consent(source), Omission::Consent);
        }
        decision
    }

    /// Returns the strictest treatment of the categories to which the visitor has not consented. Without
    /// `context.consent` no category counts; with an empty one all do (segment-tracking 4.5). A consent
    /// that cannot be read is no consent.
    fn without_consent(&self, source: MessageSource<'_>) -> Treatment {
        let text = source.context_text;
        let consent = source.context.get(text, "consent");
        let Some(consent) = consent.filter(|consent| consent.shape != Shape::Null) else {
            return Treatment::Send;
        };
        let consent_text = consent.of(text);
        let consent = entries(consent_text);
        let preferences = consent.get(consent_text, "categoryPreferences");
        let preferences_text = preferences.map_or(&b""[..], |value| value.of(consent_text));
        let preferences = entries(preferences_text);
        let given = |category: &str| {
            let mut entries = preferences.entries.iter();
            entries.any(|entry| {
                entry.value.shape == Shape::True
                    && decoded_key(entry.key.of(preferences_text)) == category
            })
        };
        self.consent
            .iter()
            .filter(|(category, _)| !given(category))
            .map(|(_, without)| *without)
            .max()
            .unwrap_or_default()
    }
}

/// Returns the entries of a value's text, or none if the value is not an object.
fn entries(text: &[u8]) -> MessagePart {
    let mut part = MessagePart::default();
    match part.scan_text(text, &mut Scratch::default()) {
        Ok(_) => part,
        Err(_) => MessagePart::default(),
    }
}

/// Returns a key with its escapes decoded.
pub(super) fn decoded_key(key: &[u8]) -> std::borrow::Cow<'_, str> {
    if key.contains(&b'\\') {
        return unescape(&[b"\"", key, b"\""].concat()).into_owned().into();
    }
    String::from_utf8_lossy(key)
}

/// Returns whether a value is a string or a number, which can be hashed or masked.
pub(super) fn has_content(value: Value) -> bool {
    value.is_string() || value.shape == Shape::Number
}
