//! Carries one body from Segment's bytes to batches at PostHog.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::admin::live::FinalOutcome;
use crate::delivery::{Encoding, Received};
use crate::posthog::{Batch, BATCH_LIMIT};
use crate::rewrite::enrich::edge_session::Transport;
use crate::rewrite::{Arrival, Explanations, Fault, Flow, Pulled};
use crate::segment::{KeyFrom, WriteKey};

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::intake::keys::RequestKeys;
use crate::proxy::intake::long_work::{LongWorkPermit, LONG};
use crate::proxy::intake::upload_mode::{LeftParts, UploadMode};
use crate::proxy::intake::upload_state::{CompleteBatch, UploadState, UploadTarget};
use crate::proxy::intake::work_slice::WorkSlice;
use crate::proxy::limits::budget::Reservation;
use crate::proxy::limits::rates::RateDecision;
use crate::proxy::long_lived_state::LongLivedState;
use crate::proxy::outbound::refused_events::{deliver_good_events, RefusedEvent};
use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::verdict::{is_about_events, BatchVerdict, Fallback};
use crate::proxy::outbound::PIECE;
use crate::proxy::routes::ProjectSink;
use crate::proxy::sending::group::GroupedRequest;
use crate::proxy::sending::stream::Outgoing;
use crate::proxy::sending::upload_error::UploadError;
use crate::proxy::spool::backlog::AcceptedBy;
use crate::proxy::telemetry::watcher::Watcher;

/// The size of the batches into which a large body is split when only whole batches leave, in
/// bytes.
const WHOLE_BATCH: usize = 1 << 20;

/// The room for the last event of a batch beyond the batch's size, in bytes. Nearly all events fit.
const EVENT: usize = 16 << 10;

/// One body that is being transferred. [`push`](Self::push) takes its bytes; [`flow`](Self::flow)
/// and [`finish`](Self::finish) send its batches.
pub(crate) struct Upload<'a> {
    active: &'a ActiveConfig,
    keys: RequestKeys<'a>,
    /// When the request arrived, and the client's address as PostHog may see it.
    arrived: Received,
    state: UploadState<'a>,
    watcher: Watcher<'a>,
    reservation: Reservation,
    flow: Flow,
    key_from: KeyFrom,
    /// Whether a part of the body has left as a batch of its own.
    parts: LeftParts,
    /// The time that the rewriting has taken so far.
    rewriting: Duration,
    slice: WorkSlice,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        active: &'a ActiveConfig,
        keys: RequestKeys<'a>,
        arrived: Received,
        arrival: Arrival,
    ) -> Self {
        let long_lived = &active.long_lived;
        let live = active.admin.as_ref().and_then(|admin| admin.live());
        let explanations = match live.is_some_and(|live| live.is_watched()) {
            true => Explanations::On,
            false => Explanations::Off,
        };
        let body = active.rewriter.begin(Arrival {
            explanations,
            ..arrival
        });
        Self {
            active,
            arrived,
            state: UploadState::Unaddressed(body),
            watcher: Watcher {
                counters: &long_lived.counters,
                log_limit: &long_lived.log_limit,
                observer: long_lived.observer.as_ref(),
                live,
                route: active.requests.route(keys.routed.route),
                call: keys.routed.asked.word(),
                explanations: Vec::new(),
                project: "?",
                seen: 0,
                fault: None,
                open: Vec::new(),
            },
            keys,
            reservation: long_lived.budget.reserve(),
            flow: Flow::Held,
            key_from: KeyFrom::Nowhere,
            parts: LeftParts::None,
            rewriting: Duration::ZERO,
            slice: WorkSlice::default(),
        }
    }

    /// Takes the next bytes of the inflated body.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), UploadError> {
        if self.flow == Flow::Open {
            // Only inflation calls this twice without `flow` in between.
            while self.pull(usize::MAX)? == Pulled::Paused {}
        }
        // This copies the bytes, and is not worth a look at the clock.
        self.flow = self.state.push(piece)?;
        self.resize_reservation()
    }

    /// Sends the events that are ready while the body is still coming.
    pub(crate) async fn flow(&mut self) -> Result<(), UploadError> {
        self.slice.piece();
        self.slice.yield_if_long().await;
        if self.flow == Flow::Held {
            return Ok(());
        }
        loop {
            let mode = self.upload_mode()?;
            let limit = match mode {
                UploadMode::NotYet => break,
                UploadMode::InBatches => WHOLE_BATCH,
                UploadMode::InPieces => PIECE,
            };
            if let Some(target) = self.state.target().filter(|target| !target.has_events()) {
                // The body is longer than the window, so most likely it needs all of this room.
                target.batch.expect(limit + EVENT);
            }
            let pulled = self.pull_with_yields(limit).await?;
            // If a body leaves in batches, everything that has been held so far is the first batch.
            let is_first = matches!(mode, UploadMode::InBatches)
                && self.parts == LeftParts::None
                && pulled == Pulled::Starved
                && self
                    .state
                    .target()
                    .is_some_and(|target| target.has_events());
            if pulled != Pulled::Full && !is_first {
                break;
            }
            self.parts = LeftParts::Some;
            // Boxed: few bodies leave in parts.
            match mode {
                UploadMode::InPieces => Box::pin(self.write_piece()).await?,
                _ => Box::pin(self.close_batch()).await?,
            }
        }
        self.resize_reservation()
    }

    /// Returns how the events of an unfinished body leave. A streamed batch can neither be stored
    /// nor split, so with a spool, and for some time after a refusal, only whole batches leave.
    fn upload_mode(&mut self) -> Result<UploadMode, UploadError> {
        let whole_batch_projects = &self.active.long_lived.whole_batch_projects;
        self.address()?;
        let Some(target) = self.state.target() else {
            return Ok(UploadMode::NotYet);
        };
        let ProjectSink {
            destination, spool, ..
        } = target.sink;
        let streams = target.outgoing.is_some();
        let careful = || whole_batch_projects.applies_to(&destination.project().name);
        Ok(match spool.is_some() || (!streams && careful()) {
            true => UploadMode::InBatches,
            false => UploadMode::InPieces,
        })
    }

    /// Ends the body and waits until PostHog has all of it.
    pub(crate) async fn finish(&mut self) -> Result<(), UploadError> {
        self.state.end();
        loop {
            let target = self.state.target();
            let streaming = target.is_some_and(|target| target.outgoing.is_some());
            let limit = if streaming { PIECE } else { BATCH_LIMIT };
            let pulled = match streaming {
                true => self.pull_with_yields(limit).await?,
                false => self.pull_long(limit).await?,
            };
            if matches!(pulled, Pulled::Starved | Pulled::Done) {
                break;
            }
            self.resize_reservation()?;
            match pulled {
                Pulled::Full if streaming => Box::pin(self.write_piece()).await?,
                Pulled::Full => Box::pin(self.close_batch()).await?,
                Pulled::Paused | Pulled::Starved | Pulled::Done => {}
            }
        }
        let Some(last) = self.state.end_pulling() else {
            return Ok(());
        };
        // The body holds no memory any more.
        self.reservation.resize(last.batch.held())?;
        self.send(last).await
    }

    /// Aborts a batch that is being sent, because of this error, so that PostHog stores nothing of
    /// it.
    pub(crate) async fn abort(&mut self, error: UploadError) {
        self.watcher.settle(&error.outcome());
        let target = self.state.target();
        if let Some(outgoing) = target.and_then(|target| target.outgoing.take()) {
            outgoing.abort().await;
        }
    }

    /// Returns the value of the `Set-Cookie` header that continues the visitor's session, if it has
    /// one.
    pub(crate) fn set_cookie(&self, transport: Transport) -> Option<String> {
        self.state.set_cookie(transport)
    }

    /// Records how long the rewriting of this body took, once it has ended.
    pub(crate) fn record_time(&self) {
        self.active
            .long_lived
            .counters
            .rewriting()
            .observe(self.rewriting);
    }

    /// Returns where the key that decided on the project was found.
    pub(crate) fn key_from(&self) -> KeyFrom {
        self.key_from
    }

    /// Returns the write key that the request came with, if the request stopped because of it.
    pub(crate) fn key_of_refusal(&mut self, error: UploadError) -> Option<WriteKey> {
        let body = self.state.unaddressed();
        self.keys.of_refusal(error, self.key_from, body)
    }

    /// Whether the only message of the request was refused for its size.
    pub(crate) fn only_message_too_large(&self) -> bool {
        self.watcher.seen == 1 && self.watcher.fault == Some(Fault::TooLarge)
    }

    fn resize_reservation(&mut self) -> Result<(), UploadError> {
        let target = self.state.target();
        let batch = target.map_or(0, |target| target.batch.held());
        self.reservation.resize(self.state.held() + batch)?;
        Ok(())
    }

    /// Pulls events into the batch until something else has to be done; other requests run between
    /// the steps.
    async fn pull_with_yields(&mut self, limit: usize) -> Result<Pulled, UploadError> {
        loop {
            match self.pull(limit)? {
                Pulled::Paused => self.slice.end().await,
                pulled => {
                    // The write may succeed at once, without any wait.
                    self.slice.yield_if_long().await;
                    return Ok(pulled);
                }
            }
        }
    }

    /// Does the same for a body that has arrived completely. A single message may take some
    /// milliseconds, which no step interrupts. A body that streams is rewritten piece by piece, and
    /// stays on its thread with that thread's memory.
    async fn pull_long(&mut self, limit: usize) -> Result<Pulled, UploadError> {
        let permit = (self.state.held() > LONG)
            .then(LongWorkPermit::take)
            .flatten();
        match permit {
            None => self.pull_with_yields(limit).await,
            Some(permit) => permit.work(|| loop {
                match self.pull(limit) {
                    Ok(Pulled::Paused) => {}
                    pulled => return pulled,
                }
            }),
        }
    }

    fn pull(&mut self, limit: usize) -> Result<Pulled, UploadError> {
        self.address()?;
        let Some(target) = self.state.target() else {
            return Ok(Pulled::Starved);
        };
        let began = Instant::now();
        let pulled = target
            .rewrite
            .pull(&mut target.batch, limit, &mut self.watcher);
        let time = began.elapsed();
        self.rewriting += time;
        self.slice.add_work(time);
        Ok(pulled?)
    }

    /// Decides where the events go, unless it is decided or the key that decides may still arrive.
    fn address(&mut self) -> Result<(), UploadError> {
        if let Some(body) = self.state.unaddressed() {
            let config = &self.active.config;
            let Some(chosen) = self.keys.choose(&config.limits, body)? else {
                return Ok(());
            };
            self.key_from = chosen.key_from;
            let rates = &self.active.long_lived.rates;
            let too_fast = |key| rates.of_key(config, &key) == RateDecision::TooFast;
            if chosen.limited.is_some_and(too_fast) {
                return Err(UploadError::KeyRate);
            }
            self.watcher.project = &chosen.sink.destination.project().name;
            self.state.address_to(chosen.sink);
        }
        Ok(())
    }

    /// Sends the events of the batch over a request that stays open until the batch is large.
    async fn write_piece(&mut self) -> Result<(), UploadError> {
        let Some(target) = self.state.target() else {
            return Ok(());
        };
        let destination = &*target.sink.destination;
        let outgoing = match &mut target.outgoing {
            Some(outgoing) => outgoing,
            none => {
                // A streamed batch is not joined with those of other requests.
                target.batch.take_facts();
                let opened = Outgoing::open(destination, self.arrived.from).await;
                none.insert(Box::new(opened.map_err(UploadError::Verdict)?))
            }
        };
        if let Err(verdict) = outgoing.write(target.batch.take()).await {
            return Err(refused_early(&self.active.long_lived, destination, verdict));
        }
        if target.batch.size() >= BATCH_LIMIT {
            return self.close_batch().await;
        }
        Ok(())
    }

    /// Waits for PostHog's refusal of a batch that streams, while the client sends nothing. Waits
    /// forever if nothing has left. Dropping this future loses nothing.
    pub(super) async fn refused(&mut self) -> UploadError {
        let Some(target) = self.state.target() else {
            return std::future::pending().await;
        };
        let Some(outgoing) = &mut target.outgoing else {
            return std::future::pending().await;
        };
        // Boxed: few bodies stream.
        let verdict = Box::pin(outgoing.refused()).await;
        let destination = &target.sink.destination;
        refused_early(&self.active.long_lived, destination, verdict)
    }

    /// Ends the batch, waits until its events are safe, and begins another one.
    async fn close_batch(&mut self) -> Result<(), UploadError> {
        match self.state.target().map(UploadTarget::next_batch) {
            Some(complete) => self.send(complete).await,
            None => Ok(()),
        }
    }

    /// Sends a batch and waits until its events are safe; an empty one is not sent.
    async fn send(&mut self, complete: CompleteBatch<'a>) -> Result<(), UploadError> {
        let CompleteBatch {
            sink,
            mut batch,
            outgoing,
        } = complete;
        if let Some(outgoing) = outgoing {
            // Boxed: few bodies stream.
            return Box::pin(self.end(sink, outgoing, batch)).await;
        }
        if batch.events() == 0 {
            return Ok(());
        }
        let (facts, outline) = (batch.take_facts(), batch.take_outline());
        let body = batch.close();
        let (accepted_by, refused_events) = match (&sink.grouper, facts, &sink.spool) {
            (Some(grouper), Some(facts), _) => {
                let request = GroupedRequest {
                    reservation: self.reservation.split_off(body.len()),
                    batch: body,
                    outline,
                    facts,
                    arrived: self.arrived,
                };
                grouper.deliver(request).await?
            }
            (_, _, Some(spool)) => {
                let accepted_by = spool
                    .deliver(Bytes::from(body), outline, self.arrived)
                    .await?;
                (accepted_by, Vec::new())
            }
            (_, _, None) => self.stream(sink, &Bytes::from(body)).await?,
        };
        for RefusedEvent { event, refusal } in refused_events {
            self.watcher.rejected_event(&event, &refusal);
        }
        self.settled(accepted_by);
        Ok(())
    }

    /// Sends a whole batch to PostHog when there is no spool that could store it.
    async fn stream(
        &mut self,
        sink: &ProjectSink,
        body: &Bytes,
    ) -> Result<(AcceptedBy, Vec<RefusedEvent>), UploadError> {
        let (destination, client) = (&sink.destination, self.arrived.from);
        let answer = destination.deliver(body, Encoding::Identity, client).await;
        let mut verdict = answer.verdict;
        destination.note(verdict);
        if is_about_events(verdict) {
            // Boxed: PostHog refuses few batches.
            let halving = Box::pin(deliver_good_events(destination, body, client, verdict));
            match halving.await {
                Ok(refused_events) => return Ok((AcceptedBy::PostHog, refused_events)),
                Err(final_verdict) => verdict = final_verdict,
            }
        }
        let log_limit = &self.active.long_lived.log_limit;
        verdict.report(destination.project(), log_limit, Fallback::ClientRetries);
        match verdict {
            BatchVerdict::Accepted => Ok((AcceptedBy::PostHog, Vec::new())),
            verdict => Err(UploadError::Verdict(verdict)),
        }
    }

    /// Ends a batch that was streamed while it was being built.
    async fn end(
        &mut self,
        sink: &ProjectSink,
        outgoing: Box<Outgoing<'_>>,
        batch: Batch,
    ) -> Result<(), UploadError> {
        let (destination, long_lived) = (&sink.destination, &self.active.long_lived);
        let verdict = outgoing.finish(batch.close()).await;
        if is_about_events(verdict) {
            long_lived
                .whole_batch_projects
                .begin(&destination.project().name);
        }
        destination.note(verdict);
        verdict.report(
            destination.project(),
            &long_lived.log_limit,
            Fallback::ClientRetries,
        );
        match verdict {
            BatchVerdict::Accepted => {
                self.settled(AcceptedBy::PostHog);
                Ok(())
            }
            verdict => Err(UploadError::Verdict(verdict)),
        }
    }

    fn settled(&mut self, accepted_by: AcceptedBy) {
        self.watcher.settle(outcome_of(accepted_by));
        self.state.confirm();
    }
}

/// Reports PostHog's answer to an unfinished batch, and returns the error that ends the request.
fn refused_early(
    long_lived: &LongLivedState,
    destination: &Destination,
    verdict: BatchVerdict,
) -> UploadError {
    let project = destination.project();
    if is_about_events(verdict) {
        long_lived.whole_batch_projects.begin(&project.name);
    }
    verdict.report(project, &long_lived.log_limit, Fallback::ClientRetries);
    UploadError::Verdict(verdict)
}

/// Returns where the events of a batch are, for the live view.
fn outcome_of(accepted_by: AcceptedBy) -> &'static FinalOutcome {
    match accepted_by {
        AcceptedBy::PostHog => &FinalOutcome::Delivered,
        AcceptedBy::Spool => &FinalOutcome::InSpool,
    }
}
