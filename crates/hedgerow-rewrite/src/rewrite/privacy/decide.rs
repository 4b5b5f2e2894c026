//! Who the settings count for: the request's signals and each message's consent.

use super::{Decision, Privacy, Signal, Signals, Treatment};
use crate::rewrite::json::{unescape, Scratch, Shape, Value};
use crate::rewrite::message::MessagePart;
use crate::rewrite::normalise::MessageSource;
use crate::rewrite::Omission;

impl Privacy {
    /// What the signals of a request make of its messages.
    pub(in crate::rewrite) fn of_request(&self, signals: Signals) -> Decision {
        let mut decision = Decision {
            treatment: Treatment::Send,
            reason: Omission::GlobalPrivacyControl,
        };
        for (signal, treatment, reason) in [
            (
                signals.global_privacy_control,
                self.global_privacy_control,
                Omission::GlobalPrivacyControl,
            ),
            (
                signals.do_not_track,
                self.do_not_track,
                Omission::DoNotTrack,
            ),
        ] {
            if signal == Signal::Given {
                decision.tighten(treatment, reason);
            }
        }
        decision
    }

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
                entry.value.shape == Shape::True && says(entry.key.of(preferences_text)) == category
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

impl Decision {
    fn tighten(&mut self, treatment: Treatment, reason: Omission) {
        if treatment > self.treatment {
            *self = Self { treatment, reason };
        }
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
pub(super) fn says(key: &[u8]) -> std::borrow::Cow<'_, str> {
    if key.contains(&b'\\') {
        return unescape(&[b"\"", key, b"\""].concat()).into_owned().into();
    }
    String::from_utf8_lossy(key)
}

/// Whether a value is a string or number, so that there is something to hash or mask in it.
pub(super) fn has_content(value: Value) -> bool {
    value.is_string() || value.shape == Shape::Number
}
