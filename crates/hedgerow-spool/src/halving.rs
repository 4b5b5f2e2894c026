//! Finds the event that PostHog rejects: a rejected batch is halved until the rejected event is
//! alone, and the others are sent in their order. Streaming and the replay use the same code.

/// The number of events rejected for good, without an accepted one between them, from which on the
/// cause is assumed not to be in the events.
pub const REFUSED_IN_ROW: u32 = 20;

/// The parts of a batch that are still to be sent, the earliest last.
#[derive(Debug)]
pub struct Halving<T>(Vec<Vec<T>>);

/// The result of a rejection of a part.
#[derive(Debug, PartialEq, Eq)]
pub enum RefusedPart<T> {
    /// One of several is to blame: its halves come next.
    OneOfSeveral,
    /// This one is to blame.
    Culprit(T),
}

impl<T> Halving<T> {
    /// A batch of which no part has been sent yet.
    pub fn new(batch: Vec<T>) -> Self {
        Self(vec![batch])
    }

    /// The part to send next; none when all have been sent.
    pub fn next_part(&mut self) -> Option<Vec<T>> {
        self.0.pop().filter(|part| !part.is_empty())
    }

    /// Notes that PostHog rejects this part, the last one taken, for good.
    pub fn refused(&mut self, mut part: Vec<T>) -> RefusedPart<T> {
        let later = part.split_off(part.len().div_ceil(2));
        if later.is_empty() {
            if let Some(culprit) = part.pop() {
                return RefusedPart::Culprit(culprit);
            }
        }
        self.0.push(later);
        self.0.push(part);
        RefusedPart::OneOfSeveral
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The accepted events, the rejected ones and the number of requests, if these events are bad.
    fn sent(events: usize, bad: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let mut halving = Halving::new((0..events).collect());
        let (mut accepted, mut culprits, mut requests) = (Vec::new(), Vec::new(), 0);
        while let Some(part) = halving.next_part() {
            requests += 1;
            if !part.iter().any(|event| bad.contains(event)) {
                accepted.extend(part);
            } else if let RefusedPart::Culprit(culprit) = halving.refused(part) {
                culprits.push(culprit);
            }
        }
        (accepted, culprits, requests)
    }

    #[test]
    fn exactly_the_culprits_are_found_and_the_others_keep_their_order() {
        for events in 0..12_usize {
            for set in 0..1_usize << events {
                let bad: Vec<usize> = (0..events).filter(|event| set >> event & 1 == 1).collect();
                let good: Vec<usize> = (0..events).filter(|event| set >> event & 1 == 0).collect();
                let (accepted, culprits, requests) = sent(events, &bad);
                assert_eq!((accepted, culprits), (good, bad), "{events} {set:b}");
                assert!(
                    requests <= 2 * events.max(1),
                    "{events} {set:b}: {requests}"
                );
            }
        }
        let (_, culprits, requests) = sent(1000, &[617]);
        assert_eq!(culprits, [617]);
        assert!(requests <= 21, "{requests}");
    }
}
