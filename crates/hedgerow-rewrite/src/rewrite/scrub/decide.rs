//! What a message's consent makes of it, beside the request's signals.

use crate::rewrite::json::{unescape, Scratch, Shape, Value};
use crate::rewrite::message::MessagePart;
use crate::rewrite::message_source::MessageSource;
use crate::rewrite::outcome::Omission;
use crate::rewrite::privacy::{Decision, Privacy, Signals, Treatment};

impl Privacy {
    /// What the signals of a request and a message's consent make of the message.
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

    /// The strictest treatment of the categories that the visitor has not consented to. Without
    /// `context.consent` none of them counts, with an empty one all do (segment-tracking 4.5).
    /// What cannot be read is no consent.
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

/// The entries of a text that has been scanned as a part of a message; none if it is no object.
fn entries(text: &[u8]) -> MessagePart {
    let mut part = MessagePart::default();
    match part.scan_text(text, &mut Scratch::default()) {
        Ok(_) => part,
        Err(_) => MessagePart::default(),
    }
}

/// What a key says.
pub(super) fn decoded_key(key: &[u8]) -> std::borrow::Cow<'_, str> {
    if key.contains(&b'\\') {
        return unescape(&[b"\"", key, b"\""].concat()).into_owned().into();
    }
    String::from_utf8_lossy(key)
}

/// Whether a value is a string or number, so that there is something to hash or mask in it.
pub(super) fn has_content(value: Value) -> bool {
    value.is_string() || value.shape == Shape::Number
}
