//! The values of a batch's envelope that apply to all its messages.

use super::super::body::Heading;
use super::super::json::{repair, Cleanliness, RepairBuffers, Scratch, Shape};
use super::super::merge::MergeTree;
use super::super::message::{Context, MessagePart};
use super::super::moment::{has_content, moment};
use super::super::normalise::SentAt;
use super::super::outcome::RewriteError;
use super::super::time::Reading;
use super::super::time::Timestamp;

/// The values of the envelope, scanned once for use with every message of the batch.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct BatchDefaults {
    pub(super) context_text: String,
    pub(super) context: Context,
    pub(super) context_tree: MergeTree,
    pub(super) integrations_text: Vec<u8>,
    pub(super) integrations: MessagePart,
    pub(super) sent_at: Option<Timestamp>,
    /// Whether the envelope has a `sentAt` that cannot be read.
    pub(in crate::rewrite) sent_at_state: SentAt,
}

/// The largest size of a value of the envelope, in bytes. Larger values are refused, because they would
/// be copied into every event of the batch.
const HEADING_LIMIT: usize = 64 * 1024;

impl BatchDefaults {
    pub(in crate::rewrite) fn new(
        heading: &Heading,
        scratch: &mut Scratch,
    ) -> Result<Self, RewriteError> {
        let mut shared = Self::default();
        if let Some(text) = &heading.context {
            let utf8 = String::from_utf8(clean_text(text, scratch)?);
            // A clean text is UTF-8.
            shared.context_text = utf8.map_err(|_| RewriteError::InvalidJson)?;
            let text = shared.context_text.as_bytes();
            shared.context.scan_text(text, scratch)?;
            shared.context_tree.read(text, scratch)?;
        }
        if let Some(text) = &heading.integrations {
            shared.integrations_text = clean_text(text, scratch)?;
            shared
                .integrations
                .scan_text(&shared.integrations_text, scratch)?;
        }
        if let Some(text) = &heading.sent_at {
            let mut part = MessagePart::default();
            let text = clean_text(text, scratch)?;
            part.scan_text(&text, scratch)?;
            let value = part.value.filter(|value| has_content(*value, &text));
            shared.sent_at = value
                .and_then(|value| moment(value, &text))
                .map(Reading::timestamp);
            if value.is_some() && shared.sent_at.is_none() {
                shared.sent_at_state = SentAt::Unreadable;
            }
        }
        Ok(shared)
    }

    /// The number of bytes that have to be read again for every message of the batch.
    pub(in crate::rewrite) fn weight(&self) -> usize {
        self.context_text.len() + self.integrations_text.len()
    }

    pub(super) fn has_context(&self) -> bool {
        self.context
            .value
            .is_some_and(|value| value.shape == Shape::Object)
    }
}

/// Returns the clean text of one value; repairs it if necessary.
fn clean_text(text: &[u8], scratch: &mut Scratch) -> Result<Vec<u8>, RewriteError> {
    if text.len() > HEADING_LIMIT {
        return Err(RewriteError::TooLarge);
    }
    let mut part = MessagePart::default();
    let valid = std::str::from_utf8(text).is_ok();
    if part.scan_text(text, scratch)? == Cleanliness::Clean && valid {
        return Ok(text.to_vec());
    }
    let mut repaired = Vec::with_capacity(text.len());
    let lossy = String::from_utf8_lossy(text);
    repair(&lossy, &mut repaired, &mut RepairBuffers::default())?;
    Ok(repaired)
}
