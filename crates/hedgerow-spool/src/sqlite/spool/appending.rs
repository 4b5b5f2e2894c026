//! The thread stores events here. It puts appends that arrive together into few transactions.

use std::collections::HashSet;
use std::time::Duration;

use super::transactions::{pack, Append, AppendPart};
use super::worker::{AppendRoom, Worker};
use crate::error::SpoolError;
use crate::store::Counters;

/// How long the thread refuses appends without a try after a failed write. Without this pause it would
/// write to a full disk a thousand times a second.
const PAUSE: Duration = Duration::from_millis(500);

impl Worker {
    pub(super) fn append(&mut self, appends: Vec<Append>) {
        if appends.is_empty() {
            return;
        }
        let mut results = vec![Ok(()); appends.len()];
        for pack in pack(&appends) {
            let result = match &self.failed {
                Some((at, error)) if at.elapsed() < PAUSE => Err(error.clone()),
                _ => self.append_pack(&appends, &pack, &mut results),
            };
            match result {
                Ok(()) => {
                    if self.failed.take().is_some() && self.room == AppendRoom::Available {
                        self.log_recovery();
                    }
                }
                Err(error) => {
                    if self.failed.is_none() {
                        log::error!("the spool accepts no events at the moment: {error}");
                    }
                    if self
                        .failed
                        .as_ref()
                        .is_none_or(|(at, _)| at.elapsed() >= PAUSE)
                    {
                        self.failed(&error);
                    }
                    for part in &pack {
                        if let Some(result) = results.get_mut(part.append) {
                            *result = Err(error.clone());
                        }
                    }
                }
            }
        }
        self.measure(
            &appends
                .iter()
                .map(|append| append.project.as_str().into())
                .collect(),
        );
        self.shared.gauges.announce();
        for (append, result) in appends.into_iter().zip(results) {
            if result.is_err() {
                let events = append.events.len() as u64;
                Counters::add(&self.shared.counters.refused, events);
                if let Some(outage) = &mut self.outage {
                    outage.refused += events;
                }
            }
            // Sending fails if the client has left; its events are stored anyway.
            let _ = append.reply.send(result);
        }
    }

    /// Appends the events of one transaction. `results` gets an error for each append that is refused
    /// for lack of space.
    fn append_pack(
        &mut self,
        appends: &[Append],
        pack: &[AppendPart],
        results: &mut [Result<(), SpoolError>],
    ) -> Result<(), SpoolError> {
        self.open()?;
        // Without the reserve, a disk that fills up now could never be emptied again.
        self.reserve.keep()?;
        self.checkpoint()?;
        let now = self.clock.now();
        let max_size = self.settings.max_size;
        let low_water = max_size / 100 * u64::from(self.settings.low_water_percent);
        let (dedup_keys, mut room) = (&self.dedup_keys, self.room);
        let mut new_keys = HashSet::new();
        let (mut appended, mut deduplicated) = (0, 0);
        let database = self.database.as_mut().ok_or(SpoolError::Closed)?;
        database.write(|writing| {
            for part in pack {
                let (Some(append), Some(result)) =
                    (appends.get(part.append), results.get_mut(part.append))
                else {
                    continue;
                };
                let events = append.events.get(part.events.clone()).unwrap_or_default();
                let used = writing.used()?;
                let bytes: usize = events.iter().map(|event| event.body().len()).sum();
                // Pages are never completely full, so the estimate adds an eighth.
                let wanted = used + (bytes + bytes / 8) as u64;
                if room == AppendRoom::Full && used <= low_water {
                    room = AppendRoom::Available;
                }
                if room == AppendRoom::Full || wanted > max_size {
                    room = AppendRoom::Full;
                    *result = Err(SpoolError::Full { used, max_size });
                    continue;
                }
                let mut new = Vec::with_capacity(events.len());
                for event in events {
                    let dedup_key = project_key(&append.project, event.dedup_key());
                    if dedup_keys.contains(&dedup_key) || !new_keys.insert(dedup_key) {
                        deduplicated += 1;
                    } else {
                        new.push(event);
                    }
                }
                appended += new.len() as u64;
                writing.append(&append.project, new, now)?;
            }
            Ok(())
        })?;
        self.logged = database.logged()?;
        if room != self.room {
            match room {
                AppendRoom::Full => {
                    log::error!(
                        "the spool is full: it refuses events until {low_water} of {max_size} \
                         bytes are in use"
                    );
                    self.begin_outage();
                }
                AppendRoom::Available => self.log_recovery(),
            }
            self.room = room;
        }
        if self.dedup_keys.len() < self.settings.recognised {
            self.dedup_keys.extend(new_keys);
        }
        Counters::add(&self.shared.counters.appended, appended);
        Counters::add(&self.shared.counters.deduplicated, deduplicated);
        Counters::add(&self.shared.counters.commits, 1);
        Ok(())
    }
}

/// Combines an event's deduplication key with its project: the same event in two projects counts as two
/// events.
pub(super) fn project_key(project: &str, dedup_key: u128) -> u128 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(project);
    dedup_key ^ (u128::from(hash) << 64 | u128::from(hash))
}
