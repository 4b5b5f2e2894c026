//! The one form of an id, wherever it stands: a person's `userId`, `anonymousId` and `previousId`,
//! and a group's. An id that is spelled in two ways is two persons or groups to PostHog.

use std::borrow::Cow;

use super::enrich::ids::{is_plainly_usable, number_as_text, usable};
use super::json::{inner, is_blank, is_truthy, Shape, Value};
use super::mapping::Mode;

/// An id of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Id {
    value: Option<Value>,
    /// As PostHog shall get it, where that is not as it stands in the message.
    spelled: Option<String>,
}

impl Id {
    /// An id that names a person, in the form in which PostHog gets it.
    ///
    /// Blank ones name no person, because capture refuses them. In the enriched mode neither do
    /// those that PostHog refuses to merge (posthog-ingestion 3.3), nor anything but text and
    /// numbers.
    pub(super) fn of(value: Option<Value>, text: &[u8], mode: Mode) -> Self {
        Self::read(value, text, mode, |value| value.decode(text))
    }

    /// The same in a text that is known to be UTF-8.
    pub(super) fn of_utf8(value: Option<Value>, text: &str, mode: Mode) -> Self {
        Self::read(value, text.as_bytes(), mode, |value| value.decode_str(text))
    }

    #[inline(always)]
    fn read<'t>(
        value: Option<Value>,
        text: &'t [u8],
        mode: Mode,
        read: impl FnOnce(Value) -> Cow<'t, str>,
    ) -> Self {
        let Some(value) = value.filter(|value| !is_blank(*value, text)) else {
            return Self::default();
        };
        if mode == Mode::Reference {
            return Self::as_written(Some(value), text);
        }
        if value.shape == Shape::Plain && is_plainly_usable(inner(value.of(text))) {
            return Self {
                value: Some(value),
                spelled: None,
            };
        }
        let said = match value.shape {
            Shape::Plain | Shape::Escaped => read(value),
            Shape::Number => number(value, text),
            _ => return Self::default(),
        };
        match usable(&said) {
            None => Self::default(),
            Some(id) => {
                // A number in another form is not in the message, whatever it is now.
                let is_made = value.shape == Shape::Number && matches!(said, Cow::Owned(_));
                let spelled = (is_made || id != said).then(|| id.into_owned());
                Self {
                    value: Some(value),
                    spelled,
                }
            }
        }
    }

    /// An id as the reference takes it: whatever stands there, with numbers as JavaScript prints
    /// them.
    pub(super) fn as_written(value: Option<Value>, text: &[u8]) -> Self {
        let number = value.filter(|value| value.shape == Shape::Number);
        let spelled = number.and_then(|value| respelled_number(value, text));
        Self { value, spelled }
    }

    /// The value that stands in the message.
    pub(super) fn value(&self) -> Option<Value> {
        self.value
    }

    /// How it is spelled, if not as it stands.
    pub(super) fn spelled(&self) -> Option<&str> {
        self.spelled.as_deref()
    }

    /// Itself, if JavaScript takes it for true.
    pub(super) fn if_truthy(&self, text: &[u8]) -> Option<&Self> {
        self.value
            .is_some_and(|value| is_truthy(value, text))
            .then_some(self)
    }

    /// What it says as a text, if it is one that is true.
    pub(super) fn text<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let value = self.if_truthy(text.as_bytes())?.value?;
        if let Some(spelled) = &self.spelled {
            return Some(Cow::Owned(spelled.clone()));
        }
        match value.shape {
            Shape::Plain | Shape::Escaped => Some(value.decode_str(text)),
            Shape::Number => Some(String::from_utf8_lossy(value.of(text.as_bytes()))),
            _ => None,
        }
    }
}

fn number(value: Value, text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value.of(text)) {
        Ok(number) => number_as_text(number),
        Err(_) => String::from_utf8_lossy(value.of(text)),
    }
}

fn respelled_number(value: Value, text: &[u8]) -> Option<String> {
    match number(value, text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(spelled) => Some(spelled),
    }
}
