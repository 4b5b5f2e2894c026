//! Requests of one project that wait to leave together, and the rule for which of them may.
//!
//! A group leaves when its oldest request has waited for the linger, or when it is full. Several
//! groups may be in flight, so that one slow answer delays no other. But an event of a person with
//! events in flight waits until those have arrived, and so do later events of the same persons. So
//! the events of a person reach PostHog in the order in which they came, also if `$identify` or an
//! alias joins two ids: such an event belongs to both.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hedgerow_rewrite::posthog::{Address, BatchFacts};

/// How long requests wait for others, and how many go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBounds {
    /// How long the oldest waits at most, if nothing else keeps it.
    pub linger: Duration,
    /// The size of a group in bytes: from it on it is full. A single request may be larger.
    pub bytes: usize,
    /// Groups under way at once.
    pub under_way: usize,
}

/// The facts that the rule needs about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// Its size in bytes.
    pub bytes: usize,
    /// Its events.
    pub bearing: BatchFacts,
    /// The address of its client that PostHog may see.
    pub client: Option<IpAddr>,
}

/// Requests that leave together.
#[derive(Debug)]
pub struct Group<T> {
    /// The requests in the order in which they came.
    pub requests: Vec<T>,
    /// The client's address for PostHog, if it gets one. All events that depend on it come from
    /// this client.
    pub client: Option<IpAddr>,
    people: Vec<u64>,
}

/// The requests of one project.
#[derive(Debug)]
pub struct Queue<T> {
    bounds: GroupBounds,
    waiting: VecDeque<WaitingRequest<T>>,
    /// Whose events are under way. No two groups share a person.
    people_under_way: HashSet<u64>,
    under_way: usize,
    /// Bytes that came since it was looked last who may leave.
    new_bytes: usize,
}

#[derive(Debug)]
struct WaitingRequest<T> {
    request: T,
    info: RequestInfo,
    came: Instant,
}

/// A group while it is chosen.
#[derive(Default)]
struct GroupDraft {
    places: Vec<usize>,
    bytes: usize,
    people: HashSet<u64>,
    told: ToldAddress,
}

/// The client address that PostHog gets.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum ToldAddress {
    /// No event depends on it.
    #[default]
    Any,
    Exactly(Option<IpAddr>),
}

impl ToldAddress {
    /// The value that also fits this request; `None` if no value fits both.
    fn and(self, info: &RequestInfo) -> Option<Self> {
        match (self, info.bearing.address) {
            (told, Address::InTheEvent) => Some(told),
            (Self::Any, Address::OfTheRequest) => Some(Self::Exactly(info.client)),
            (Self::Exactly(told), Address::OfTheRequest) => (told == info.client).then_some(self),
        }
    }
}

impl<T> Queue<T> {
    /// An empty one.
    pub fn new(bounds: GroupBounds) -> Self {
        Self {
            bounds,
            waiting: VecDeque::new(),
            people_under_way: HashSet::new(),
            under_way: 0,
            new_bytes: 0,
        }
    }

    /// Puts a request behind the others.
    pub fn push(&mut self, request: T, info: RequestInfo, now: Instant) {
        self.new_bytes = self.new_bytes.saturating_add(info.bytes);
        self.waiting.push_back(WaitingRequest {
            request,
            info,
            came: now,
        });
    }

    /// Whether so much has come that a group may be full before anyone has waited long enough.
    pub fn may_be_full(&self) -> bool {
        self.new_bytes >= self.bounds.bytes
    }

    /// When [`next_group`](Self::next_group) is to be asked for the sake of time: the moment at which the
    /// next request has waited long enough. Those that wait for others to arrive do not count.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let due = |waiting: &WaitingRequest<T>| waiting.came + self.bounds.linger;
        let at = self.waiting.partition_point(|waiting| due(waiting) <= now);
        self.waiting.get(at).map(due)
    }

    /// The next group, if one may leave now. To be asked again until there is none; when requests
    /// are due, when one may be full, and when one has arrived.
    pub fn next_group(&mut self, now: Instant) -> Option<Group<T>> {
        self.new_bytes = 0;
        if self.under_way >= self.bounds.under_way {
            return None;
        }
        let choice = self.choose(now)?;
        let GroupDraft { people, told, .. } = choice;
        let requests = self.take(&choice.places);
        self.under_way += 1;
        self.people_under_way.extend(&people);
        Some(Group {
            requests,
            client: match told {
                ToldAddress::Any => None,
                ToldAddress::Exactly(client) => client,
            },
            people: people.into_iter().collect(),
        })
    }

    fn choose(&self, now: Instant) -> Option<GroupDraft> {
        let mut choice = GroupDraft::default();
        let mut due = false;
        let mut full = false;
        // The persons whose events are further ahead and stay.
        let mut blocked: HashSet<u64> = HashSet::new();
        for (place, waiting) in self.waiting.iter().enumerate() {
            let RequestInfo { bytes, bearing, .. } = &waiting.info;
            let people = &bearing.people;
            let is_free =
                |person: &u64| !self.people_under_way.contains(person) && !blocked.contains(person);
            let told = choice.told.and(&waiting.info);
            let (true, Some(told)) = (people.iter().all(is_free), told) else {
                blocked.extend(people);
                continue;
            };
            if !choice.places.is_empty() && choice.bytes + bytes > self.bounds.bytes {
                full = true;
                break;
            }
            due |= waiting.came + self.bounds.linger <= now;
            choice.told = told;
            choice.bytes += bytes;
            choice.people.extend(people);
            choice.places.push(place);
            full = choice.bytes >= self.bounds.bytes;
            if full {
                break;
            }
        }
        let leaves = !choice.places.is_empty() && (due || full);
        leaves.then_some(choice)
    }

    /// Takes out the requests at these places, which ascend.
    fn take(&mut self, places: &[usize]) -> Vec<T> {
        if places.last().is_some_and(|last| last + 1 == places.len()) {
            // The usual case: none of the first stays.
            let first = self.waiting.drain(..places.len());
            return first.map(|waiting| waiting.request).collect();
        }
        let mut taken = Vec::with_capacity(places.len());
        let mut places = places.iter().copied().peekable();
        let mut left = VecDeque::with_capacity(self.waiting.len());
        for (place, waiting) in self.waiting.drain(..).enumerate() {
            if places.next_if_eq(&place).is_some() {
                taken.push(waiting.request);
            } else {
                left.push_back(waiting);
            }
        }
        self.waiting = left;
        taken
    }

    /// A group has arrived, or will not: what waits for its persons may leave.
    pub fn finish(&mut self, finished: Finished) {
        self.under_way = self.under_way.saturating_sub(1);
        for person in &finished.0 {
            self.people_under_way.remove(person);
        }
    }

    /// When the oldest waiting request came; `None` if none waits.
    pub fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.came)
    }

    /// Removes, in their order, the requests that have waited for `patience` and have not left yet.
    pub fn withdraw(&mut self, patience: Duration, now: Instant) -> Vec<T> {
        let has_waited = |waiting: &WaitingRequest<T>| waiting.came + patience <= now;
        let count = self.waiting.partition_point(has_waited);
        let withdrawn = self.waiting.drain(..count);
        withdrawn.map(|waiting| waiting.request).collect()
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The persons of a group that has ended; only what left can finish.
#[derive(Debug)]
pub struct Finished(Vec<u64>);

impl<T> Group<T> {
    /// The requests, and the argument for [`Queue::finish`] when they have ended.
    pub fn part(self) -> (Vec<T>, Finished) {
        (self.requests, Finished(self.people))
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
