//! Finds the events that PostHog rejects. A rejected batch is halved until a rejected event is alone, and
//! the other events are sent in their order. Streaming and the replay use the same code.

/// If PostHog rejects this many events for good, without accepting one in between, the cause is assumed
/// not to be in the events.
pub const REFUSED_IN_ROW: u32 = 20;

/// The parts of a batch that are not sent yet. The earliest part is the last in the list.
#[derive(Debug)]
pub struct Halving<T>(Vec<Vec<T>>);

/// The result of [`Halving::refused`].
#[derive(Debug, PartialEq, Eq)]
pub enum RefusedPart<T> {
    /// The part has several events. [`Halving::next_part`] returns its halves next.
    OneOfSeveral,
    /// The part is a single event, which is the rejected one.
    Culprit(T),
}

impl<T> Halving<T> {
    /// Creates the list of parts for a batch of which nothing has been sent.
    pub fn new(batch: Vec<T>) -> Self {
        Self(vec![batch])
    }

    /// Returns the part to send next, or `None` when all parts have been sent.
    pub fn next_part(&mut self) -> Option<Vec<T>> {
        self.0.pop().filter(|part| !part.is_empty())
    }

    /// Records that PostHog rejected for good the part that [`next_part`](Self::next_part) returned last.
    pub fn refused(&mut self, mut part: Vec<T>) -> RefusedPart<T> {
        let later = part.split_off(part.len().div_ceil(2));
        if later.is_empty() {
            if let Some(event) = part.pop() {
                return RefusedPart::Culprit(event);
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

    /// Returns the accepted events, the rejected ones and the number of requests, if the `bad` events are
    /// rejected.
    fn sent(events: usize, bad: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let mut halving = Halving::new((0..events).collect());
        let (mut accepted, mut refused, mut requests) = (Vec::new(), Vec::new(), 0);
        while let Some(part) = halving.next_part() {
            requests += 1;
            if !part.iter().any(|event| bad.contains(event)) {
                accepted.extend(part);
            } else if let RefusedPart::Culprit(event) = halving.refused(part) {
                refused.push(event);
            }
        }
        (accepted, refused, requests)
    }

    #[test]
    fn exactly_the_culprits_are_found_and_the_others_keep_their_order() {
        for events in 0..12_usize {
            for set in 0..1_usize << events {
                let bad: Vec<usize> = (0..events).filter(|event| set >> event & 1 == 1).collect();
                let good: Vec<usize> = (0..events).filter(|event| set >> event & 1 == 0).collect();
                let (accepted, refused, requests) = sent(events, &bad);
                assert_eq!((accepted, refused), (good, bad), "{events} {set:b}");
                assert!(
                    requests <= 2 * events.max(1),
                    "{events} {set:b}: {requests}"
                );
            }
        }
        let (_, refused, requests) = sent(1000, &[617]);
        assert_eq!(refused, [617]);
        assert!(requests <= 21, "{requests}");
    }
}
