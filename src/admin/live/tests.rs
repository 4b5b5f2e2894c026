use std::sync::atomic::AtomicI64;

use super::*;
use crate::rewrite::Omission;

/// Creates a ring and its clock, in milliseconds since 1970.
fn timed(entries: usize, visibility: Visibility, recording: Recording) -> (Live, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(1_795_166_130_250));
    let at = Arc::clone(&now);
    let clock: UtcClock =
        Arc::new(move || DateTime::from_timestamp_millis(at.load(Ordering::Relaxed)).unwrap());
    (
        Live::with_capacity(clock, visibility, recording, entries),
        now,
    )
}

fn live(entries: usize) -> Live {
    timed(entries, Visibility::Shown, Recording::Always).0
}

const OF: MessageOrigin<'_> = MessageOrigin {
    project: "shop",
    route: "/hr/",
    call: "track",
};

fn add(live: &Live, original: &[u8], outcome: MessageOutcome<'_>) -> Option<u64> {
    live.message(OF, original, outcome, None)
}

fn event(digit: u8) -> String {
    let digit = char::from(digit);
    format!("{{\"uuid\":\"01234567-89ab-cdef-0123-456789abcde{digit}\",\"event\":\"a\"}}")
}

fn updates(live: &Live, after: u64) -> Value {
    serde_json::from_str(&live.json_after(after, None)).unwrap()
}

fn rows(live: &Live, after: u64) -> Vec<Value> {
    updates(live, after)["entries"].as_array().unwrap().clone()
}

fn detail(live: &Live, number: u64) -> Value {
    let answer = live.detail(Some(&format!("number={number}")));
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

#[test]
fn the_newest_entries_are_kept_and_a_page_knows_how_many_it_missed() {
    let live = live(3);
    for number in 1..=5 {
        add(
            &live,
            format!("{{\"n\":{number}}}").as_bytes(),
            MessageOutcome::Event(b"{}"),
        );
    }
    let numbers = |after| -> Vec<u64> {
        let rows = rows(&live, after);
        rows.iter()
            .map(|row| row["number"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(numbers(0), [3, 4, 5]);
    assert_eq!(numbers(4), [5]);
    assert_eq!(numbers(5), [0u64; 0]);
    // A page whose version is above the last one gets all entries.
    assert_eq!(numbers(99), [3, 4, 5]);
    assert_eq!(updates(&live, 0)["recorded"], 5);
    assert_eq!(detail(&live, 5)["came"], "{\n  \"n\": 5\n}");
    assert_eq!(detail(&live, 2), Value::Null);
    assert_eq!(live.detail(Some("number=6")).status, StatusCode::NOT_FOUND);
}

#[test]
fn no_more_bytes_are_kept_than_there_is_room_for() {
    let live = live(100_000);
    let original = vec![b'7'; entry::SIDE_LIMIT];
    for _ in 0..2000 {
        add(&live, &original, MessageOutcome::Event(b"{}"));
    }
    let kept = rows(&live, 0).len();
    assert!((300..BYTES / entry::SIDE_LIMIT).contains(&kept), "{kept}");
}

#[test]
fn a_row_shows_message_and_event_and_its_detail_both_sides_with_the_reason() {
    let live = live(10);
    let original = br#"{"type":"page","name":"Shop","anonymousId":"a-1","price":1.50}"#;
    let event = br#"{"uuid":"01234567-89ab-cdef-0123-456789abcdef","event":"$pageview",
        "properties":{"distinct_id":"a-1"}}"#;
    let of = MessageOrigin {
        call: "batch",
        ..OF
    };
    live.message(
        of,
        original,
        MessageOutcome::Event(event),
        Some(b"{\"distinct_id\":\"anonymousId\"}"),
    );
    add(
        &live,
        b"{\"type\":\"alias\"}",
        MessageOutcome::LeftOut(Omission::SelfAlias),
    );
    add(
        &live,
        b"\xff",
        MessageOutcome::Refused(Fault::MissingDistinctId),
    );
    let rows = rows(&live, 0);
    let first = &rows[0];
    for (key, expected) in [
        ("project", "shop"),
        ("route", "/hr/"),
        ("call", "page"),
        ("asked", "batch"),
        ("name", "Shop"),
        ("becomes", "$pageview"),
        ("person", "a-1"),
        ("fate", "event"),
        ("outcome", "under_way"),
        ("at", "2026-11-20T09:15:30.250Z"),
    ] {
        assert_eq!(first[key], expected, "{key}");
    }
    assert!(first.get("came").is_none(), "{first}");
    let results: Vec<_> = rows
        .iter()
        .map(|row| (row["fate"].as_str().unwrap(), row["code"].as_str()))
        .collect();
    let expected = [
        ("event", None),
        ("left_out", Some("self_alias")),
        ("refused", Some("missing_distinct_id")),
    ];
    assert_eq!(results, expected);
    let detail_of = |number| detail(&live, number);
    assert_eq!(detail_of(1)["explain"]["distinct_id"], "anonymousId");
    assert!(detail_of(1)["came"]
        .as_str()
        .unwrap()
        .contains("\"price\": 1.50"));
    assert_eq!(detail_of(2)["left"], "it is an alias of an id to itself");
    assert_eq!(detail_of(3)["left"], Fault::MissingDistinctId.to_string());
    let advice = &detail_of(3)["advice"];
    assert_eq!(advice["document"], "docs/repairs.md");
    assert_eq!(
        advice["says"],
        "neither `userId` nor `anonymousId` is usable"
    );
}

#[test]
fn the_final_outcome_of_an_event_is_sent_again_with_its_time() {
    let (live, now) = timed(10, Visibility::Shown, Recording::Always);
    let numbers: Vec<u64> = (b'0'..b'6')
        .filter_map(|digit| add(&live, b"{}", MessageOutcome::Event(event(digit).as_bytes())))
        .collect();
    let outcomes = |after| -> Vec<(u64, String)> {
        let outcome = |row: &Value| row["outcome"].as_str().unwrap().to_owned();
        rows(&live, after)
            .iter()
            .map(|row| (row["number"].as_u64().unwrap(), outcome(row)))
            .collect()
    };
    assert!(outcomes(0)
        .iter()
        .all(|(_, outcome)| outcome == "under_way"));
    now.fetch_add(12, Ordering::Relaxed);
    live.settle(&numbers[..2], &FinalOutcome::Delivered);
    live.settle(&numbers[2..4], &FinalOutcome::InSpool);
    live.settle(&numbers[4..5], &FinalOutcome::DroppedWith("invalid_json"));
    let expected = |number: u64, outcome: &str| (number, outcome.to_owned());
    let (delivered, spool) = ("delivered", "in_spool");
    assert_eq!(
        outcomes(6),
        [
            expected(1, delivered),
            expected(2, delivered),
            expected(3, spool),
            expected(4, spool),
            expected(5, "dropped_here"),
        ]
    );
    assert_eq!(rows(&live, 6)[0]["took"], 12);
    assert_eq!(rows(&live, 6)[4]["code"], "invalid_json");
    let refusal = Refusal {
        status: 400,
        reason: "no".to_owned(),
    };
    // The event is found although the spool has changed it, and the later outcome of its batch does not
    // replace its own. An event of another project with the same uuid is a different event.
    let changed = event(b'3').replace("\"a\"", "\"a\",\"$ip\":\"192.0.2.1\"");
    assert!(!live.settle_event("other", changed.as_bytes(), FinalOutcome::Delivered));
    live.refused_by_posthog("shop", changed.as_bytes(), &refusal);
    live.delivered_from_spool("shop", [event(b'2').as_bytes()].into_iter());
    live.settle(&numbers, &FinalOutcome::SentAgain("503".to_owned()));
    live.refused_by_posthog("shop", event(b'9').as_bytes(), &refusal);
    let refused = "refused_by_posthog";
    assert_eq!(
        outcomes(11),
        [
            expected(4, refused),
            expected(3, delivered),
            expected(6, "sent_again"),
            expected(7, refused)
        ]
    );
    let all = rows(&live, 0);
    let answered = |answer: &str| all.iter().filter(|row| row["answer"] == answer).count();
    assert_eq!(
        (answered("400: no"), answered("503"), answered("200")),
        (2, 1, 3)
    );
}

#[test]
fn events_are_recorded_only_while_the_view_is_open_and_refusals_always() {
    let (live, now) = timed(10, Visibility::Shown, Recording::WhileWatched);
    let unseen = |live: &Live| updates(live, 0)["unseen"].as_u64().unwrap();
    add(
        &live,
        b"{}",
        MessageOutcome::Event(b"{\"event\":\"unseen\"}"),
    );
    add(
        &live,
        b"{}",
        MessageOutcome::Refused(Fault::MissingDistinctId),
    );
    assert_eq!((rows(&live, 0).len(), unseen(&live)), (1, 1));
    live.updates(None);
    add(
        &live,
        b"{\"n\":1}",
        MessageOutcome::Event(b"{\"event\":\"seen\"}"),
    );
    now.fetch_add((WATCHED + 1) * 1000, Ordering::Relaxed);
    add(
        &live,
        b"{}",
        MessageOutcome::Event(b"{\"event\":\"unseen\"}"),
    );
    assert_eq!((rows(&live, 0).len(), unseen(&live)), (2, 2));
    assert_eq!(rows(&live, 0)[1]["becomes"], "seen");
}

#[test]
fn with_privacy_configured_nothing_is_shown_that_did_not_leave() {
    let (live, _) = timed(10, Visibility::Redacted, Recording::Always);
    let original =
        br#"{"type":"track","event":"E","userId":"ada","context":{"ip":"203.0.113.77"}}"#;
    add(
        &live,
        original,
        MessageOutcome::Refused(Fault::MissingDistinctId),
    );
    let event = br#"{"event":"E","properties":{"distinct_id":"p-7","$ip":"203.0.113.0"}}"#;
    add(&live, original, MessageOutcome::Event(event));
    let shown = format!(
        "{}{}{}",
        live.json_after(0, None),
        detail(&live, 1),
        detail(&live, 2)
    );
    assert!(
        !shown.contains("ada") && !shown.contains("203.0.113.77"),
        "{shown}"
    );
    assert!(shown.contains("203.0.113.0"), "{shown}");
    assert_eq!(rows(&live, 0)[1]["person"], "p-7");
}

#[test]
fn a_huge_message_is_cut_and_its_row_is_complete() {
    let live = live(2);
    add(
        &live,
        &vec![b'['; entry::SIDE_LIMIT + 9],
        MessageOutcome::Event(b"{}"),
    );
    let original = detail(&live, 1)["came"].as_str().unwrap().to_owned();
    assert!(original.ends_with("… 9 more bytes"));
    // A deep text of 32 KiB must not become many megabytes of indentation.
    assert!(original.len() < 100 * entry::SIDE_LIMIT);
    let large = format!(
        "{{\"event\":\"E\",\"x\":\"{}\"}}",
        "x".repeat(entry::SIDE_LIMIT)
    );
    add(
        &live,
        large.as_bytes(),
        MessageOutcome::Refused(Fault::TooLarge),
    );
    assert_eq!(rows(&live, 1)[0]["name"], "E");
}

#[test]
fn a_search_looks_into_both_sides() {
    let live = live(3);
    add(
        &live,
        b"{\"plan\":\"Club\"}",
        MessageOutcome::Event(b"{\"event\":\"a\"}"),
    );
    add(
        &live,
        b"{}",
        MessageOutcome::Event(b"{\"properties\":{\"$set\":{\"plan\":\"club\"}}}"),
    );
    add(
        &live,
        b"{\"plan\":\"none\"}",
        MessageOutcome::LeftOut(Omission::Rule),
    );
    let answer = live.updates(Some("after=0&find=CLUB"));
    let updates: Value = serde_json::from_slice(&answer.body).unwrap();
    let rows = updates["entries"].as_array().unwrap().iter();
    let found: Vec<_> = rows.map(|row| row["found"].as_bool().unwrap()).collect();
    assert_eq!(found, [true, true, false]);
}
