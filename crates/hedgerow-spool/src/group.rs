//! The queue of one project's requests, which leave in groups, and the rule that chooses a group.
//!
//! A group leaves when its oldest request has waited for the linger, when it is full, when it has a large
//! request, which would gain nothing from company, or when it has many requests and no other arrives.
//!
//! Several groups may be in flight, so that one slow answer delays no other group. But a request with an
//! event of a person waits while other events of that person are in flight, and later requests of the same
//! persons wait after it. So the events of a person reach PostHog in the order in which they arrived. This
//! also holds if `$identify` or an alias joins two ids: such an event belongs to both.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ahash::RandomState;
use hedgerow_rewrite::posthog::{Address, BatchFacts};

/// Persons, by the hashes of their ids. Each look at the queue may put thousands of them into a set, which takes
/// several times as long with the standard hasher.
type PersonSet = HashSet<u64, RandomState>;

/// A request of this many bytes waits for no others: its own events already share the fixed cost of a
/// request to PostHog.
const LARGE: usize = 64 << 10;

/// A group of this many requests leaves at the next pause. It has nearly nothing to gain any more: the cost
/// of a request to PostHog is already divided by this number.
const MANY: usize = 32;

/// The part of the linger without a further request that is a pause.
const PAUSE: u32 = 10;

/// The limits for the wait of requests and for the size and number of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBounds {
    /// The longest time that the oldest request waits for others, if no other rule delays it.
    pub linger: Duration,
    /// The size in bytes at which a group is full. A group of a single request may be larger.
    pub bytes: usize,
    /// The largest number of groups in flight.
    pub under_way: usize,
}

/// The facts that the rule needs about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// The size of the request in bytes.
    pub bytes: usize,
    /// The persons of its events, and whether an event depends on the client's address.
    pub facts: BatchFacts,
    /// The client's address, if PostHog may see it.
    pub client: Option<IpAddr>,
}

/// Requests that leave together.
#[derive(Debug)]
pub struct Group<T> {
    /// The requests in the order in which they arrived.
    pub requests: Vec<T>,
    /// The client's address that PostHog gets, if any. All events of the group that depend on the address
    /// are from this client.
    pub client: Option<IpAddr>,
    people: Vec<u64>,
}

/// The waiting requests of one project.
#[derive(Debug)]
pub struct Queue<T> {
    bounds: GroupBounds,
    waiting: VecDeque<WaitingRequest<T>>,
    /// The persons with events in flight, each with the number of groups. Only a withdrawn group shares a
    /// person with another one.
    people_under_way: HashMap<u64, usize, RandomState>,
    under_way: usize,
    /// The bytes that arrived since the last call of `next_group`.
    new_bytes: usize,
    /// Whether a large request has arrived since then.
    new_large: bool,
    /// The number of requests that could not join a group then.
    held_back: usize,
}

#[derive(Debug)]
struct WaitingRequest<T> {
    request: T,
    info: RequestInfo,
    arrived: Instant,
}

/// A group whose requests are still being chosen.
#[derive(Default)]
struct GroupDraft {
    places: Vec<usize>,
    /// The number of requests that cannot join the group.
    held_back: usize,
    bytes: usize,
    people: PersonSet,
    sent_address: SentAddress,
}

/// When the chosen group leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GroupLeaves {
    Now,
    Later,
}

/// The client address that PostHog gets.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum SentAddress {
    /// No event depends on it.
    #[default]
    Any,
    Exactly(Option<IpAddr>),
}

impl SentAddress {
    /// Returns the value that fits this request as well, or `None` if no value fits both.
    fn and(self, info: &RequestInfo) -> Option<Self> {
        match (self, info.facts.address) {
            (sent_address, Address::InTheEvent) => Some(sent_address),
            (Self::Any, Address::OfTheRequest) => Some(Self::Exactly(info.client)),
            (Self::Exactly(client), Address::OfTheRequest) => {
                (client == info.client).then_some(self)
            }
        }
    }
}

impl<T> Queue<T> {
    /// Creates an empty queue.
    pub fn new(bounds: GroupBounds) -> Self {
        Self {
            bounds,
            waiting: VecDeque::new(),
            people_under_way: HashMap::default(),
            under_way: 0,
            new_bytes: 0,
            new_large: false,
            held_back: 0,
        }
    }

    /// Appends a request to the queue.
    pub fn push(&mut self, request: T, info: RequestInfo, now: Instant) {
        self.new_bytes = self.new_bytes.saturating_add(info.bytes);
        self.new_large |= info.bytes >= LARGE;
        // A thread may read the clock before another one and push after it. The searches below need times
        // in order.
        let newest = self.waiting.back();
        let arrived = newest.map_or(now, |newest| newest.arrived.max(now));
        self.waiting.push_back(WaitingRequest {
            request,
            info,
            arrived,
        });
    }

    /// Returns whether a group may leave when a request arrives: because of what has arrived, or because
    /// there is no linger.
    pub fn may_leave_early(&self) -> bool {
        self.new_large || self.new_bytes >= self.bounds.bytes || self.bounds.linger.is_zero()
    }

    /// Returns when [`next_group`](Self::next_group) has to be called because of the time: when the next
    /// request has waited for the linger. Requests that have waited that long already, and that a group in
    /// flight delays, do not count.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let due = |waiting: &WaitingRequest<T>| waiting.arrived + self.bounds.linger;
        let at = self.waiting.partition_point(|waiting| due(waiting) <= now);
        self.waiting.get(at).map(due)
    }

    /// Returns when [`next_group`](Self::next_group) has to be called because many requests wait, if no other
    /// arrives until then. A pause that has begun already, and in which no group could leave, does not count.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        // Each look at the queue goes through all waiting requests. So there is no look at each pause
        // only because many of them cannot leave.
        let many = self.waiting.len() >= self.held_back + MANY;
        self.next_pause().filter(|pause| many && *pause > now)
    }

    /// Returns when a pause begins if no other request arrives until then.
    fn next_pause(&self) -> Option<Instant> {
        let newest = self.waiting.back()?;
        Some(newest.arrived + self.bounds.linger / PAUSE)
    }

    /// Returns the next group that may leave now. Call this when requests are due, in a
    /// [`pause`](Self::pause), when a group may leave early, and when a group has finished. Each time, call it again until it returns `None`.
    pub fn next_group(&mut self, now: Instant) -> Option<Group<T>> {
        self.new_bytes = 0;
        self.new_large = false;
        if self.under_way >= self.bounds.under_way {
            return None;
        }
        let (draft, leaves) = self.choose(now);
        self.held_back = draft.held_back;
        if leaves == GroupLeaves::Later {
            return None;
        }
        let GroupDraft {
            people,
            sent_address,
            ..
        } = draft;
        let requests = self.take(&draft.places);
        let client = match sent_address {
            SentAddress::Any => None,
            SentAddress::Exactly(client) => client,
        };
        Some(self.group(requests, client, people))
    }

    /// Records these persons as in flight.
    fn group(&mut self, requests: Vec<T>, client: Option<IpAddr>, people: PersonSet) -> Group<T> {
        self.under_way += 1;
        for person in &people {
            *self.people_under_way.entry(*person).or_default() += 1;
        }
        Group {
            requests,
            client,
            people: people.into_iter().collect(),
        }
    }

    /// Returns the next group, and whether it may leave.
    fn choose(&self, now: Instant) -> (GroupDraft, GroupLeaves) {
        let mut draft = GroupDraft::default();
        let mut due = false;
        let mut full = false;
        // The persons of earlier requests that stay in the queue.
        let mut blocked: PersonSet = PersonSet::default();
        for (place, waiting) in self.waiting.iter().enumerate() {
            let RequestInfo { bytes, facts, .. } = &waiting.info;
            let people = &facts.people;
            let is_free = |person: &u64| self.is_free(person, &blocked);
            let sent_address = draft.sent_address.and(&waiting.info);
            let (true, Some(sent_address)) = (people.iter().all(is_free), sent_address) else {
                blocked.extend(people);
                draft.held_back += 1;
                continue;
            };
            if !draft.places.is_empty() && draft.bytes + bytes > self.bounds.bytes {
                full = true;
                break;
            }
            due |= *bytes >= LARGE || waiting.arrived + self.bounds.linger <= now;
            draft.sent_address = sent_address;
            draft.bytes += bytes;
            draft.people.extend(people);
            draft.places.push(place);
            full = draft.bytes >= self.bounds.bytes;
            if full {
                break;
            }
        }
        let pause = self.next_pause();
        let paused = draft.places.len() >= MANY && pause.is_some_and(|pause| pause <= now);
        match !draft.places.is_empty() && (due || full || paused) {
            true => (draft, GroupLeaves::Now),
            false => (draft, GroupLeaves::Later),
        }
    }

    /// Removes the requests at these positions, which are in ascending order, and returns them.
    fn take(&mut self, places: &[usize]) -> Vec<T> {
        if places.last().is_some_and(|last| last + 1 == places.len()) {
            // The usual case: the positions are the first ones, without a gap.
            let first = self.waiting.drain(..places.len());
            return first.map(|waiting| waiting.request).collect();
        }
        let mut taken = Vec::with_capacity(places.len());
        let mut places = places.iter().copied().peekable();
        let mut rest = VecDeque::with_capacity(self.waiting.len());
        for (place, waiting) in self.waiting.drain(..).enumerate() {
            if places.next_if_eq(&place).is_some() {
                taken.push(waiting.request);
            } else {
                rest.push_back(waiting);
            }
        }
        self.waiting = rest;
        taken
    }

    /// Records that a group was delivered or has failed. Requests that wait for its persons may leave now.
    pub fn finish(&mut self, finished: Finished) {
        self.under_way = self.under_way.saturating_sub(1);
        for person in finished.0 {
            if let Entry::Occupied(mut groups) = self.people_under_way.entry(person) {
                *groups.get_mut() -= 1;
                if *groups.get() == 0 {
                    groups.remove();
                }
            }
        }
    }

    /// Returns when the oldest request arrived that has not waited for `timeout` yet, if there is one.
    pub fn oldest(&self, timeout: Duration, now: Instant) -> Option<Instant> {
        let waiting = self.waiting.get(self.late(timeout, now))?;
        Some(waiting.arrived)
    }

    /// Removes the requests that have waited for `timeout` and have not left, and returns them in their
    /// order as a group. It is not for PostHog. Later requests of its persons wait until it is finished, so
    /// that they do not overtake events that are being stored.
    pub fn withdraw(&mut self, timeout: Duration, now: Instant) -> Option<Group<T>> {
        self.withdrawn((0..self.late(timeout, now)).collect())
    }

    /// Does the same as [`withdraw`](Self::withdraw), but leaves requests that wait for events of their
    /// persons in flight. Those events may have to be stored too, and then come first.
    pub fn withdraw_free(&mut self, timeout: Duration, now: Instant) -> Option<Group<T>> {
        let late = self.waiting.iter().take(self.late(timeout, now));
        let mut blocked = PersonSet::default();
        let mut places = Vec::new();
        for (place, waiting) in late.enumerate() {
            let people = &waiting.info.facts.people;
            if people.iter().all(|person| self.is_free(person, &blocked)) {
                places.push(place);
            } else {
                blocked.extend(people);
            }
        }
        self.withdrawn(places)
    }

    /// Returns the number of requests that have waited for `timeout`. They are the first ones.
    fn late(&self, timeout: Duration, now: Instant) -> usize {
        let has_waited = |waiting: &WaitingRequest<T>| waiting.arrived + timeout <= now;
        self.waiting.partition_point(has_waited)
    }

    /// Takes out the requests at these positions as a group, if there are any.
    fn withdrawn(&mut self, places: Vec<usize>) -> Option<Group<T>> {
        if places.is_empty() {
            return None;
        }
        let waiting = places.iter().filter_map(|place| self.waiting.get(*place));
        let people = waiting.flat_map(|waiting| waiting.info.facts.people.iter().copied());
        let people = people.collect();
        let requests = self.take(&places);
        Some(self.group(requests, None, people))
    }

    /// Whether a person has no events in flight and is not among those whose requests stay in the queue.
    fn is_free(&self, person: &u64, blocked: &PersonSet) -> bool {
        !self.people_under_way.contains_key(person) && !blocked.contains(person)
    }

    /// Returns the number of waiting requests.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The persons of a group that has left. Only [`Group::part`] creates it, so only a group that has left can
/// be finished.
#[derive(Debug)]
pub struct Finished(Vec<u64>);

impl<T> Group<T> {
    /// Returns the requests, and the argument for [`Queue::finish`] when they are delivered or have failed.
    pub fn part(self) -> (Vec<T>, Finished) {
        (self.requests, Finished(self.people))
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
