use super::*;

const LINGER: Duration = Duration::from_millis(5);

fn queue(bytes: usize, under_way: usize) -> Queue<&'static str> {
    Queue::new(GroupBounds {
        linger: LINGER,
        bytes,
        under_way,
    })
}

fn of(people: &[u64], bytes: usize) -> RequestInfo {
    RequestInfo {
        bytes,
        facts: BatchFacts {
            people: people.to_vec(),
            address: Address::InTheEvent,
        },
        client: None,
    }
}

fn from(client: Option<&str>, person: u64) -> RequestInfo {
    let mut info = of(&[person], 1);
    info.facts.address = Address::OfTheRequest;
    info.client = client.map(|client| client.parse().unwrap());
    info
}

#[test]
fn requests_leave_together_once_the_oldest_has_lingered() {
    let start = Instant::now();
    let mut queue = queue(1_000, 8);
    assert_eq!(queue.due(start), None);
    queue.push("a", of(&[1], 10), start);
    queue.push("b", of(&[2], 10), start + LINGER / 2);
    queue.push("c", of(&[1], 10), start + LINGER / 2);
    assert_eq!(queue.due(start), Some(start + LINGER));
    assert!(queue.next_group(start + LINGER / 2).is_none());
    let group = queue.next_group(start + LINGER).unwrap();
    assert_eq!(group.requests, ["a", "b", "c"]);
    assert!(queue.next_group(start + LINGER * 9).is_none());
    assert!(queue.is_empty());
}

#[test]
fn without_a_linger_a_request_leaves_when_it_arrives() {
    let start = Instant::now();
    let mut queue = Queue::new(GroupBounds {
        linger: Duration::ZERO,
        bytes: 1_000,
        under_way: 8,
    });
    queue.push("a", of(&[1], 10), start);
    assert!(queue.may_leave_early());
    assert_eq!(queue.next_group(start).unwrap().requests, ["a"]);
    // This one waits for the first, and no timer has to be set for it.
    queue.push("b", of(&[1], 10), start);
    assert!(queue.may_leave_early());
    assert!(queue.next_group(start).is_none());
    assert_eq!(queue.due(start), None);
}

#[test]
fn a_request_whose_thread_read_the_clock_first_and_pushed_last_hides_no_other() {
    let start = Instant::now();
    let moment = Duration::from_micros(1);
    let mut queue = queue(1_000, 8);
    queue.push("a", from(Some("192.0.2.1"), 1), start + 2 * moment);
    queue.push("b", from(Some("192.0.2.2"), 2), start + moment);
    // The second one cannot leave with the first, which is not due yet.
    let now = start + moment + LINGER;
    assert!(queue.next_group(now).is_none());
    let due = queue.due(now).expect("a timer for the first");
    assert_eq!(queue.next_group(due).unwrap().requests, ["a"]);
    assert_eq!(queue.next_group(due).unwrap().requests, ["b"]);
}

#[test]
fn a_full_group_leaves_at_once_and_never_holds_more_than_it_may() {
    let start = Instant::now();
    let mut queue = queue(100, 8);
    for (request, bytes) in [("a", 40), ("b", 40)] {
        queue.push(request, of(&[1], bytes), start);
        assert!(!queue.may_leave_early());
    }
    queue.push("c", of(&[2], 40), start);
    assert!(queue.may_leave_early());
    let group = queue.next_group(start).unwrap();
    assert_eq!(group.requests, ["a", "b"]);
    assert!(queue.next_group(start).is_none(), "the rest has to linger");
    // A request that is larger than a group leaves alone, after the earlier ones.
    queue.push("d", of(&[3], 500), start);
    assert_eq!(queue.next_group(start).unwrap().requests, ["c"]);
    assert_eq!(queue.next_group(start).unwrap().requests, ["d"]);
}

#[test]
fn many_requests_leave_at_the_first_pause_and_few_do_not() {
    let pause = LINGER / PAUSE;
    let moment = Duration::from_micros(1);
    let start = Instant::now();
    let mut queue = queue(1_000_000, 8);
    let mut newest = start;
    for person in 1..MANY as u64 {
        newest += moment;
        queue.push("one", of(&[person], 10), newest);
    }
    assert_eq!(queue.pause(newest), None);
    assert!(queue.next_group(newest + pause).is_none(), "one is missing");
    newest += 2 * pause;
    queue.push("last", of(&[0], 10), newest);
    assert_eq!(queue.pause(newest), Some(newest + pause));
    assert!(queue.next_group(newest + pause - moment).is_none());
    // Another request defers the pause.
    newest += pause / 2;
    queue.push("late", of(&[0], 10), newest);
    assert!(queue.next_group(newest + pause / 2).is_none());
    assert_eq!(queue.pause(newest), Some(newest + pause));
    let group = queue.next_group(newest + pause).unwrap();
    assert_eq!(group.requests.len(), MANY + 1);
    assert_eq!(queue.pause(newest + pause), None);
}

#[test]
fn a_pause_sends_no_group_of_few_because_others_wait_for_their_persons() {
    let pause = LINGER / PAUSE;
    let start = Instant::now();
    let mut queue = queue(1_000_000, 8);
    queue.push("first", of(&[1], 10), start);
    let first = queue.next_group(start + LINGER).unwrap();
    let now = start + LINGER;
    for _ in 0..MANY {
        queue.push("same person", of(&[1], 10), now);
    }
    queue.push("other", of(&[2], 10), now);
    assert_eq!(queue.pause(now), Some(now + pause));
    assert!(queue.next_group(now + pause).is_none());
    assert_eq!(queue.pause(now + pause), None, "the pause has begun");
    for person in 3..1 + MANY as u64 {
        queue.push("more", of(&[person], 10), now + pause);
        assert_eq!(queue.pause(now + pause), None, "most cannot leave");
    }
    queue.push("enough", of(&[0], 10), now + pause);
    assert_eq!(queue.pause(now + pause), Some(now + 2 * pause));
    let others = queue.next_group(now + 2 * pause).unwrap();
    assert_eq!(others.requests.len(), MANY);
    let (_, finished) = first.part();
    queue.finish(finished);
    let group = queue.next_group(now + 2 * pause).unwrap();
    assert_eq!(group.requests.len(), MANY);
}

#[test]
fn a_large_request_waits_for_its_persons_and_for_no_company() {
    let start = Instant::now();
    let mut queue = queue(10 * LARGE, 8);
    queue.push("a", of(&[1], 10), start);
    assert!(!queue.may_leave_early());
    queue.push("b", of(&[2], LARGE), start);
    assert!(queue.may_leave_early());
    // The earlier request leaves with it, so the order of arrival holds.
    let first = queue.next_group(start).unwrap();
    assert_eq!(first.requests, ["a", "b"]);
    assert!(!queue.may_leave_early());
    queue.push("c", of(&[2], LARGE), start);
    queue.push("d", of(&[3], 10), start);
    assert!(queue.may_leave_early());
    assert!(queue.next_group(start).is_none(), "its person is in flight");
    let (_, finished) = first.part();
    queue.finish(finished);
    assert_eq!(queue.next_group(start).unwrap().requests, ["c", "d"]);
}

#[test]
fn a_slow_answer_delays_only_its_own_persons() {
    let start = Instant::now();
    let mut queue = queue(1_000, 8);
    queue.push("a", of(&[1], 10), start);
    let slow = queue.next_group(start + LINGER).unwrap();
    queue.push("b", of(&[1], 10), start);
    queue.push("c", of(&[2], 10), start);
    // It joins 3 with 1, so it waits for 1, and the later request of 3 waits for it.
    queue.push("d", of(&[1, 3], 10), start);
    queue.push("e", of(&[3], 10), start);
    queue.push("f", of(&[4], 10), start);
    let second = queue.next_group(start + LINGER).unwrap();
    assert_eq!(second.requests, ["c", "f"]);
    assert!(queue.next_group(start + LINGER).is_none());
    assert_eq!(queue.due(start + LINGER), None, "they wait for no time");
    let (_, finished) = second.part();
    queue.finish(finished);
    assert!(queue.next_group(start + LINGER).is_none());
    let (_, finished) = slow.part();
    queue.finish(finished);
    let group = queue.next_group(start + LINGER).unwrap();
    assert_eq!(group.requests, ["b", "d", "e"]);
}

#[test]
fn no_more_groups_are_under_way_than_may_be() {
    let start = Instant::now();
    let mut queue = queue(1_000, 2);
    let leave = |queue: &mut Queue<_>, request, person| {
        queue.push(request, of(&[person], 10), start);
        queue.next_group(start + LINGER)
    };
    let first = leave(&mut queue, "a", 1).unwrap();
    let _second = leave(&mut queue, "b", 2).unwrap();
    assert!(leave(&mut queue, "c", 3).is_none());
    assert!(leave(&mut queue, "d", 4).is_none());
    let (_, finished) = first.part();
    queue.finish(finished);
    assert_eq!(
        queue.next_group(start + LINGER).unwrap().requests,
        ["c", "d"]
    );
}

#[test]
fn a_group_carries_only_the_address_of_its_own_client() {
    let start = Instant::now();
    let mut queue = queue(1_000, 8);
    queue.push("a", of(&[1], 1), start);
    queue.push("b", from(Some("203.0.113.7"), 2), start);
    queue.push("c", from(Some("203.0.113.8"), 3), start);
    queue.push("d", from(None, 4), start);
    queue.push("e", of(&[5], 1), start);
    queue.push("f", from(Some("203.0.113.7"), 6), start);
    // It leaves after c, because it is of the same person.
    queue.push("g", of(&[3], 1), start);
    let now = start + LINGER;
    let groups: Vec<_> = std::iter::from_fn(|| queue.next_group(now))
        .map(|group| {
            (
                group.requests,
                group.client.map(|client| client.to_string()),
            )
        })
        .collect();
    assert_eq!(
        groups,
        [
            (vec!["a", "b", "e", "f"], Some("203.0.113.7".to_owned())),
            (vec!["c", "g"], Some("203.0.113.8".to_owned())),
            (vec!["d"], None),
        ]
    );
}

#[test]
fn those_that_have_waited_too_long_are_withdrawn_and_no_others() {
    let start = Instant::now();
    let timeout = LINGER * 10;
    let mut queue = queue(1_000, 8);
    assert_eq!(queue.oldest(timeout, start), None);
    queue.push("a", of(&[1], 10), start);
    let first = queue.next_group(start + LINGER).unwrap();
    queue.push("b", of(&[1], 10), start);
    queue.push("c", of(&[1], 10), start + LINGER);
    queue.push("d", of(&[1], 10), start + LINGER * 2);
    assert_eq!(queue.oldest(timeout, start), Some(start));
    let mut withdraw = |lingers| queue.withdraw(timeout, start + timeout + LINGER * lingers);
    let withdrawn = withdraw(1).unwrap();
    assert_eq!(withdrawn.requests, ["b", "c"]);
    assert!(withdraw(1).is_none());
    let next = start + LINGER * 2;
    assert_eq!(queue.oldest(timeout, next), Some(next));
    // The person's next request leaves when the sent and the withdrawn ones are finished.
    let late = start + timeout * 9;
    for group in [first, withdrawn] {
        assert!(queue.next_group(late).is_none());
        let (_, finished) = group.part();
        queue.finish(finished);
    }
    assert_eq!(queue.next_group(late).unwrap().requests, ["d"]);
    assert!(queue.withdraw(timeout, late).is_none());
    assert_eq!((queue.oldest(timeout, late), queue.len()), (None, 0));
}

#[test]
fn those_that_can_be_stored_are_withdrawn_without_those_that_wait_for_their_persons() {
    let start = Instant::now();
    let timeout = LINGER * 10;
    let mut queue = queue(1_000, 2);
    queue.push("a", of(&[1], 10), start);
    queue.push("large", of(&[9], 1_000), start);
    let mut under_way = vec![queue.next_group(start + LINGER).unwrap()];
    under_way.push(queue.next_group(start + LINGER).unwrap());
    // As many groups as may be are in flight.
    for (request, people) in [("b", &[2][..]), ("c", &[1, 3]), ("d", &[3]), ("e", &[4])] {
        queue.push(request, of(people, 10), start + LINGER);
    }
    let late = start + LINGER + timeout;
    queue.push("f", of(&[2], 10), late);
    assert_eq!(
        queue.oldest(timeout, late),
        Some(late),
        "no timer for the others"
    );
    let withdrawn = queue.withdraw_free(timeout, late).unwrap();
    assert_eq!(withdrawn.requests, ["b", "e"]);
    assert!(queue.withdraw_free(timeout, late).is_none());
    under_way.push(withdrawn);
    for group in under_way {
        let (_, finished) = group.part();
        queue.finish(finished);
    }
    assert_eq!(
        queue.next_group(late + LINGER).unwrap().requests,
        ["c", "d", "f"]
    );
}

/// For any requests and any delay of the answers: each request leaves once, the requests of a person leave
/// in their order, and none leaves while an earlier one of the same person is in flight.
#[test]
fn every_persons_order_holds_whatever_happens() {
    let mut random = 7u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..200 {
        let start = Instant::now();
        let mut queue: Queue<(u64, Vec<u64>)> = Queue::new(GroupBounds {
            linger: LINGER,
            bytes: 50,
            under_way: 3,
        });
        let mut now = start;
        let mut under_way: Vec<Group<(u64, Vec<u64>)>> = Vec::new();
        let mut last = [0u64; 6];
        let (mut left, mut pushed) = (0, 0);
        while left < 200 {
            match next(4) {
                0 if !under_way.is_empty() => {
                    let group = under_way.swap_remove(next(under_way.len() as u64) as usize);
                    let (_, finished) = group.part();
                    queue.finish(finished);
                }
                1 => now += LINGER / 2,
                _ if pushed < 200 => {
                    pushed += 1;
                    let people: Vec<u64> = (0..=next(2)).map(|_| next(6)).collect();
                    let info = of(&people, 1 + next(30) as usize);
                    queue.push((pushed, people), info, now);
                }
                _ => now += LINGER,
            }
            while let Some(group) = queue.next_group(now) {
                for (id, people) in &group.requests {
                    left += 1;
                    for person in people {
                        let busy = under_way
                            .iter()
                            .flat_map(|group| &group.requests)
                            .any(|(_, people)| people.contains(person));
                        assert!(!busy, "{person} has events under way");
                        let last = &mut last[*person as usize];
                        assert!(*last <= *id, "{person}: {id} behind {last}");
                        *last = *id;
                    }
                }
                under_way.push(group);
                assert!(under_way.len() <= 3);
            }
        }
        assert_eq!((left, queue.len()), (200, 0));
    }
}
