//! Pulls events message by message, in steps; other work can run between two steps.

use std::ops::Range;

use super::super::arrival::Recipient;
use super::super::body::NextPart;
use super::super::convert::{BatchDefaults, Conversion, Grouping, RequestContext, TextEnd};
use super::super::explain::Trace;
use super::super::held_back::HeldOutcome;
use super::super::normalise::{Naming, SentAt};
use super::super::outcome::{Fault, MessageOutcome, NoEvent, Notice, RewriteError, Watch};
use super::workspace::{Found, Heads, Workspace};
use super::Pulled;
use crate::posthog::{Batch, Keep};
use crate::segment::Call;

/// The largest output of one request, in bytes, is this number plus `GROWTH_PER_BYTE` for each byte of
/// its body. Without a limit, a small body whose batch-level values are read and copied for very many
/// messages could keep a worker busy. The smallest messages grow fourfold.
const GROWTH_FREE: usize = 32 << 20;
const GROWTH_PER_BYTE: usize = 8;

/// The most messages of one pull. Together with `STEP_BYTES` it ensures that no body keeps a worker
/// busy for much longer than a millisecond.
const STEP_MESSAGES: usize = 1000;
const STEP_BYTES: usize = 64 << 10;

/// The most refused messages of one body. More are not an honest mistake, and each costs more work than
/// its bytes suggest.
const MOST_REFUSED: usize = 500;

/// How events are made, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Job<'j> {
    pub(super) conversion: &'j Conversion,
    pub(super) recipient: &'j Recipient,
}

/// How a step ended.
enum PullEnd {
    Pulled(Pulled),
    /// The written events must be discarded.
    Misjudged,
}

impl Workspace {
    /// See [`Rewrite::pull`](super::Rewrite::pull).
    pub(super) fn pull(
        &mut self,
        job: Job<'_>,
        batch: &mut Batch,
        limit: usize,
        watch: &mut dyn Watch,
    ) -> Result<Pulled, RewriteError> {
        if !self.body.is_open() {
            return Ok(Pulled::Starved);
        }
        loop {
            let pulled = self.step(job, batch, limit, watch);
            if let (Ok(PullEnd::Pulled(Pulled::Paused)), true) =
                (&pulled, self.may_stay_provisional())
            {
                return Ok(Pulled::Paused);
            }
            let misjudged = match &pulled {
                Ok(PullEnd::Misjudged) => true,
                Ok(PullEnd::Pulled(_)) => self.body.settle().is_some(),
                Err(_) if self.body.is_provisional() => {
                    self.body.restart();
                    true
                }
                Err(_) => false,
            };
            if misjudged {
                self.restart(job, batch);
                continue;
            }
            self.request.noted.clear();
            if !self.held_back.is_empty() {
                let body = &self.body;
                self.held_back
                    .report(batch, |position| body.bytes(position), watch);
            }
            match pulled? {
                PullEnd::Pulled(pulled) => return Ok(pulled),
                PullEnd::Misjudged => {}
            }
        }
    }

    /// Whether the guess about where the array `batch` ends may stay unchecked for another step. A check
    /// costs a pass over the rest of the body, and a wrong guess costs all the work so far. Few bodies
    /// exceed the limits below.
    fn may_stay_provisional(&self) -> bool {
        /// The most messages that stay unchecked, because their outcomes are stored until the check.
        /// `BYTES` limits the bytes of these messages.
        const MESSAGES: usize = 1000;
        const BYTES: usize = 512 << 10;
        self.body.is_provisional() && self.index < MESSAGES && self.body.taken() < BYTES
    }

    /// Discards all output so far and resets the state, so that the body is read again.
    fn restart(&mut self, job: Job<'_>, batch: &mut Batch) {
        if let Some(mark) = self.mark.take() {
            batch.rewind(mark);
        }
        self.converter.forget();
        self.pending = None;
        self.request.trace = self.request.trace.take().map(|_| Trace::default());
        self.held_back.forget();
        self.request.sessions.forget();
        self.request.unconfirmed.clear();
        for tag in self.request.noted.drain(..) {
            if let Some(repeats) = &job.conversion.repeats {
                repeats.forget(tag);
            }
        }
        self.shared = Heads::Unread;
        self.refused = 0;
        self.index = 0;
        self.output_size = 0;
    }

    fn step(
        &mut self,
        job: Job<'_>,
        batch: &mut Batch,
        limit: usize,
        watch: &mut dyn Watch,
    ) -> Result<PullEnd, RewriteError> {
        let (mut messages, mut bytes) = (0, 0);
        loop {
            if batch.held() >= limit && batch.events() > 0 {
                return Ok(PullEnd::Pulled(Pulled::Full));
            }
            if self.output_size > GROWTH_FREE + self.pushed.saturating_mul(GROWTH_PER_BYTE) {
                return Err(RewriteError::TooLarge);
            }
            if self.refused > MOST_REFUSED {
                return Err(RewriteError::TooManyRefused);
            }
            match self.find()? {
                Found::Next(NextPart::Done) => {
                    if self.body.take_late_sent_at() {
                        watch.notice(Notice::LateSentAt);
                    }
                    return Ok(PullEnd::Pulled(Pulled::Done));
                }
                Found::Next(NextPart::TooLarge) => {
                    watch.message(self.index, b"", MessageOutcome::Refused(Fault::TooLarge));
                    self.refused += 1;
                    self.index += 1;
                }
                Found::Next(NextPart::Misjudged) => return Ok(PullEnd::Misjudged),
                Found::Next(_) => return Ok(PullEnd::Pulled(Pulled::Starved)),
                found @ Found::Message(..) if messages >= STEP_MESSAGES || bytes >= STEP_BYTES => {
                    self.pending = Some(found);
                    return Ok(PullEnd::Pulled(Pulled::Paused));
                }
                Found::Message(range, text_end) => {
                    // Only a provisional body restarts.
                    if self.index == 0 && self.body.is_provisional() {
                        self.mark = Some(batch.mark());
                    }
                    let length = self.message(job, (range, text_end), (batch, limit), watch)?;
                    self.body.consumed(length);
                    messages += 1;
                    bytes += length;
                }
            }
        }
    }

    /// Reads the values of the envelope, before the first message.
    #[inline(never)]
    fn read_envelope(&mut self, watch: &mut dyn Watch) -> Result<(), RewriteError> {
        let heading = self.body.heading();
        let shared = BatchDefaults::new(heading, &mut self.converter.scratch)?;
        if shared.sent_at_state == SentAt::Unreadable {
            match self.body.is_provisional() {
                true => self.held_back.notice(Notice::UnreadableSentAt),
                false => watch.notice(Notice::UnreadableSentAt),
            }
        }
        self.shared = Heads::Read(Box::new(shared));
        Ok(())
    }

    fn message(
        &mut self,
        job: Job<'_>,
        (range, text_end): (Range<usize>, TextEnd),
        (batch, limit): (&mut Batch, usize),
        watch: &mut dyn Watch,
    ) -> Result<usize, RewriteError> {
        if matches!(self.shared, Heads::Unread) {
            match self.body.heading().is_silent() {
                true => self.shared = Heads::Silent,
                false => self.read_envelope(watch)?,
            }
        }
        let shared = match &self.shared {
            Heads::Read(shared) => Some(&**shared),
            Heads::Unread | Heads::Silent => None,
        };
        let weight = shared.map_or(0, BatchDefaults::weight);
        let text = self.body.bytes(range.clone());
        if let Some(trace) = &mut self.request.trace {
            *trace = Trace::default();
        }
        let converter = &mut self.converter;
        let scan_result = converter.scanned(text, text_end)?;
        let length = scan_result.length;
        let behind = text.len().saturating_sub(length);
        let text = text.get(..length).unwrap_or_default();
        let mut request = RequestContext {
            conversion: job.conversion,
            naming: match (self.request.arrival.call, self.body.is_batch()) {
                (Call::One(kind), false) => Naming::ByPath(kind),
                (Call::One(kind), true) => Naming::ByMessage(Some(kind)),
                (Call::Batch, _) => Naming::ByMessage(None),
            },
            recipient: job.recipient,
            room: limit.saturating_sub(batch.held()),
            shared,
            state: &mut self.request,
            sixth_group_type: None,
            grouping: if batch.gathers() {
                Grouping::Yes(None)
            } else {
                Grouping::No
            },
            parts: None,
        };
        let index = self.index;
        let output_size = &mut self.output_size;
        let refused = &mut self.refused;
        let held_back = &mut self.held_back;
        let provisional = self.body.is_provisional();
        let result = batch.append(|out| {
            let before = out.len();
            *output_size += weight;
            let converted =
                converter.convert(&mut request, (text, scan_result), (index, behind), out);
            let mut report = |notice: Notice<'_>| match provisional {
                true => held_back.notice(notice),
                false => watch.notice(notice),
            };
            if let Some(group_type) = &request.sixth_group_type {
                report(Notice::SixthGroupType { group_type });
            }
            for notice in &request.state.notices {
                report(*notice);
            }
            request.state.notices.clear();
            let no_event = match converted {
                Ok(no_event) => no_event,
                Err(error) => return (Keep::Nothing, Err(error)),
            };
            if let Some(NoEvent::Refused(_)) = no_event {
                *refused += 1;
            }
            let keep = match no_event {
                None => {
                    *output_size += (out.len() - before).saturating_sub(weight);
                    Keep::Event
                }
                Some(_) => Keep::Nothing,
            };
            if let (None, Some(trace)) = (no_event, &request.state.trace) {
                let mut explanation = Vec::new();
                trace.write(&mut explanation);
                watch.explained(index, &explanation);
            }
            if provisional {
                let outcome = match no_event {
                    None => HeldOutcome::Event(before..out.len()),
                    Some(no_event) => HeldOutcome::NoEvent(no_event),
                };
                held_back.message(index, range.start..range.start + length, outcome);
            } else {
                let outcome = match no_event {
                    None => MessageOutcome::Event(out.get(before..).unwrap_or_default()),
                    Some(no_event) => no_event.outcome(),
                };
                watch.message(index, text, outcome);
            }
            (keep, Ok(()))
        });
        if let Grouping::Yes(Some(event)) = request.grouping {
            batch.add_facts(event);
        }
        if let Some((parts, behind)) = request.parts {
            batch.outline(parts, behind);
        }
        self.index += 1;
        result.map(|()| length)
    }
}
