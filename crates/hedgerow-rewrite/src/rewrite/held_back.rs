//! Stores reports about messages until it is certain where they are in the body.

use std::ops::Range;

use super::outcome::{MessageOutcome, NoEvent, Notice, Watch};
use crate::posthog::Batch;

/// A report that is stored.
#[derive(Debug)]
enum Told {
    Message {
        index: usize,
        /// The position of the message in the body.
        position: Range<usize>,
        outcome: HeldOutcome,
    },
    SixthGroupType(String),
    Other(Notice<'static>),
}

/// The outcome of a message.
#[derive(Debug)]
pub(super) enum HeldOutcome {
    /// An event, at this position in the batch.
    Event(Range<usize>),
    NoEvent(NoEvent),
}

/// The reports that are waiting, in order.
#[derive(Debug, Default)]
pub(super) struct HeldBack(Vec<Told>);

impl HeldBack {
    pub(super) fn message(&mut self, index: usize, position: Range<usize>, outcome: HeldOutcome) {
        self.0.push(Told::Message {
            index,
            position,
            outcome,
        });
    }

    pub(super) fn notice(&mut self, notice: Notice<'_>) {
        self.0.push(match notice {
            Notice::SixthGroupType { group_type } => Told::SixthGroupType(group_type.to_owned()),
            Notice::UnreadableTime => Told::Other(Notice::UnreadableTime),
            Notice::UnreadableSentAt => Told::Other(Notice::UnreadableSentAt),
            Notice::LateSentAt => Told::Other(Notice::LateSentAt),
            Notice::FutureTime => Told::Other(Notice::FutureTime),
            Notice::GroupWithoutId => Told::Other(Notice::GroupWithoutId),
            Notice::AliasWithoutPreviousId => Told::Other(Notice::AliasWithoutPreviousId),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends all reports to `watch`. `body` returns the bytes of a message.
    pub(super) fn report<'b>(
        &mut self,
        batch: &Batch,
        body: impl Fn(Range<usize>) -> &'b [u8],
        watch: &mut dyn Watch,
    ) {
        for report in &self.0 {
            match report {
                Told::Message {
                    index,
                    position,
                    outcome,
                } => {
                    let outcome = match outcome {
                        HeldOutcome::Event(event) => {
                            MessageOutcome::Event(batch.bytes(event.clone()))
                        }
                        HeldOutcome::NoEvent(no_event) => no_event.outcome(),
                    };
                    watch.message(*index, body(position.clone()), outcome);
                }
                Told::SixthGroupType(group_type) => {
                    watch.notice(Notice::SixthGroupType { group_type });
                }
                Told::Other(notice) => watch.notice(*notice),
            }
        }
        self.0.clear();
    }

    /// Deletes all reports. The memory of many of them is freed, so that it does not make the workspace too
    /// large to be kept.
    pub(super) fn clear(&mut self) {
        const KEPT: usize = 512;
        match self.0.capacity() {
            ..=KEPT => self.0.clear(),
            _ => self.0 = Vec::new(),
        }
    }

    /// The memory that the list of reports holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.0.capacity() * size_of::<Told>()
    }

    /// Deletes the reports, except those that are made only once in the life of the process.
    pub(super) fn forget(&mut self) {
        self.0
            .retain(|report| matches!(report, Told::SixthGroupType(_)));
    }
}
