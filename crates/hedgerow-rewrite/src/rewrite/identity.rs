//! Gives every id a single form: a person's `userId`, `anonymousId` and `previousId`, and the id of a
//! group. To PostHog, an id that is spelled in two ways is two persons or two groups.

use std::borrow::Cow;

use super::enrich::ids::{is_plainly_usable, number_as_text, usable};
use super::json::{inner, is_blank, is_truthy, Shape, Value};
use super::mapping::Mode;

/// An id of a message.
#[derive(Debug, Clone, Default)]
pub(super) struct Id {
    value: Option<Value>,
    /// The form that PostHog receives, if it differs from the message.
    spelled: Option<String>,
}

impl Id {
    /// Reads the id of a person, in the form that PostHog receives.
    ///
    /// A blank id is no id, because capture refuses it. In the enriched mode, an id that PostHog refuses
    /// to merge (posthog-ingestion 3.3) and a value that is neither text nor a number are no ids either.
    pub(super) fn of(value: Option<Value>, text: &[u8], mode: Mode) -> Self {
        Self::read(value, text, mode, |value| value.decode(text))
    }

    /// Does the same as [`of`](Self::of) for a text that is known to be UTF-8.
    #[inline(always)]
    pub(super) fn of_utf8(value: Option<Value>, text: &str, mode: Mode) -> Self {
        let mut id = Self::default();
        id.read_utf8(value, text, mode);
        id
    }

    /// Does the same for an id that is still empty.
    #[inline(always)]
    pub(super) fn read_utf8(&mut self, value: Option<Value>, text: &str, mode: Mode) {
        let (Some(value), bytes) = (value, text.as_bytes()) else {
            return;
        };
        if is_blank(value, bytes) {
            return;
        }
        if mode == Mode::Reference {
            self.value = Some(value);
            if value.shape == Shape::Number {
                self.spelled = respelled_number(value.of(bytes));
            }
        } else if value.shape == Shape::Plain && is_plainly_usable(inner(value.of(bytes))) {
            self.value = Some(value);
        } else {
            *self = Self::checked(value, bytes, |value| value.decode_str(text));
        }
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
        Self::checked(value, text, read)
    }

    /// Reads an id of the enriched mode that may not be usable or may have another form.
    #[inline(never)]
    fn checked<'t>(value: Value, text: &'t [u8], read: impl FnOnce(Value) -> Cow<'t, str>) -> Self {
        let id_text = match value.shape {
            Shape::Plain | Shape::Escaped => read(value),
            Shape::Number => number(value.of(text)),
            _ => return Self::default(),
        };
        match usable(&id_text) {
            None => Self::default(),
            Some(id) => {
                // The new form of a number is not in the message, even if `usable` left it unchanged.
                let is_made = value.shape == Shape::Number && matches!(id_text, Cow::Owned(_));
                let spelled = (is_made || id != id_text).then(|| id.into_owned());
                Self {
                    value: Some(value),
                    spelled,
                }
            }
        }
    }

    /// Reads an id as the reference does: any value counts, and numbers are written as JavaScript prints
    /// them.
    #[inline]
    pub(super) fn as_written(value: Option<Value>, text: &[u8]) -> Self {
        let number = value.filter(|value| value.shape == Shape::Number);
        let spelled = number.and_then(|value| respelled_number(value.of(text)));
        Self { value, spelled }
    }

    /// Returns the value in the message.
    pub(super) fn value(&self) -> Option<Value> {
        self.value
    }

    /// Returns the form that PostHog receives, if it differs from the message.
    pub(super) fn spelled(&self) -> Option<&str> {
        self.spelled.as_deref()
    }

    /// Returns the id, if JavaScript regards it as true.
    pub(super) fn if_truthy(&self, text: &[u8]) -> Option<&Self> {
        self.value
            .is_some_and(|value| is_truthy(value, text))
            .then_some(self)
    }

    /// Returns the id as decoded text, if it is a string or number that JavaScript regards as true.
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

fn number(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(number) => number_as_text(number),
        Err(_) => String::from_utf8_lossy(text),
    }
}

#[inline(never)]
fn respelled_number(text: &[u8]) -> Option<String> {
    match number(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(spelled) => Some(spelled),
    }
}
