//! Tests that times and sessions are right even if the sender's clock is wrong.

use proptest::prelude::*;

use super::*;
use crate::rewrite::enrich::edge_session::{EdgeSessions, SessionCookie, Transport};
use crate::rewrite::session::SessionKeeper;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;
/// 2026-11-20T10:00:00Z
const NOW: i64 = 1_795_168_800_000;

/// The source of a visitor's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    SessionId,
    Amplitude,
    ReadyId,
    PosthogJs,
    Edge,
    EverythingAtOnce,
}

const ALL: [From; 6] = [
    From::SessionId,
    From::Amplitude,
    From::ReadyId,
    From::PosthogJs,
    From::Edge,
    From::EverythingAtOnce,
];

/// Whether the batches have a `sentAt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BatchClock {
    SentAt,
    Nothing,
}

/// One request: the time at which it is sent, and the ages of its messages at that time, in milliseconds.
#[derive(Debug, Clone)]
struct SentRequest {
    at: i64,
    ages: Vec<i64>,
    /// The session began this long before the first message, and was last active `idle` before the
    /// request was sent; in milliseconds.
    began: i64,
    idle: i64,
}

fn iso(millis: i64) -> String {
    Timestamp::from_millis(millis).to_string()
}

/// Returns a UUID of version 7 with this time.
fn uuid(millis: i64) -> String {
    let hex = format!("{millis:012x}");
    format!("{}-{}-7abc-8abc-0123456789ab", &hex[..8], &hex[8..])
}

/// Returns the time and the session of each event of a visit whose clock is `ahead` milliseconds ahead.
fn visit(
    (from, batch_clock): (From, BatchClock),
    requests: &[SentRequest],
    ahead: i64,
) -> Vec<(String, Option<String>)> {
    let mapping = Mapping::default();
    let mut rewriter = Rewriter::new(mapping, Bounds::default());
    if matches!(from, From::Edge | From::EverythingAtOnce) {
        rewriter = rewriter.with_sessions(SessionKeeper {
            sessions: EdgeSessions::new([&b"0123456789abcdef0123456789abcdef"[..]]).unwrap(),
            cookie: SessionCookie::new("edge_visit", None).unwrap(),
        });
    }
    let rewriter = Arc::new(rewriter);
    let mut edge_cookie: Option<String> = None;
    let mut timings = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let first = request.at - request.ages.iter().copied().max().unwrap();
        let began = first - request.began + ahead;
        let active = request.at - request.idle + ahead;
        let has = |wanted| from == wanted || from == From::EverythingAtOnce;
        let mut more = json!({"context": {"library": {"name": "analytics.js"}}});
        if has(From::SessionId) {
            more["context"]["sessionId"] = json!(began);
        }
        if has(From::ReadyId) {
            more["context"]["sessionId"] = json!(uuid(began));
        }
        if has(From::Amplitude) {
            more["integrations"]["Actions Amplitude"]["session_id"] = json!(began);
        }
        let messages = request.ages.iter().enumerate().map(|(index, age)| {
            let mut message = more.clone();
            message["type"] = json!("page");
            message["anonymousId"] = json!("a-1");
            message["messageId"] = json!(format!("{number}-{index}"));
            message["timestamp"] = json!(iso(request.at - age + ahead));
            message
        });
        let messages: Vec<Json> = messages.collect();
        let mut body = json!({"batch": messages});
        if batch_clock == BatchClock::SentAt {
            body["sentAt"] = json!(iso(request.at + ahead));
        }
        let body = body.to_string();
        let mut cookies: Vec<String> = edge_cookie.iter().cloned().collect();
        if has(From::PosthogJs) {
            let stored = json!({"$sesid": [active, uuid(began), began]}).to_string();
            let stored: String = stored.bytes().map(|byte| format!("%{byte:02X}")).collect();
            cookies.push(format!("ph_phc_test_posthog={stored}"));
        }
        let arrival = Arrival {
            // The request travels for 40 ms.
            received_at: Some(Timestamp::from_millis(request.at + 40)),
            cookies: Some(cookies.join("; ")),
            ..Arrival::new(Call::Batch)
        };
        let mut rewrite = rewriter.begin(arrival).address_to(Arc::new(Recipient {
            project: ProjectId::of(&ApiKey::new("phc_test").unwrap()),
            ..Recipient::default()
        }));
        let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
        rewrite.push(body.as_bytes()).unwrap();
        rewrite.end();
        assert_eq!(
            rewrite.pull(&mut batch, usize::MAX, &mut ()),
            Ok(Pulled::Done)
        );
        if let Some(set) = rewrite.finish().set_cookie(Transport::Tls) {
            edge_cookie = Some(set.split(';').next().unwrap().to_owned());
        }
        for event in strict(&batch.close()).unwrap()["batch"].as_array().unwrap() {
            let session = event["properties"]["$session_id"].as_str();
            timings.push((
                event["timestamp"].as_str().unwrap().to_owned(),
                session.map(str::to_owned),
            ));
        }
    }
    timings
}

/// Numbers the sessions in the order in which they first appear, so that two visits with the same
/// grouping are equal.
fn grouping(events: &[(String, Option<String>)]) -> Vec<Option<usize>> {
    let mut known: Vec<&String> = Vec::new();
    let mut numbers = Vec::new();
    for (_, session) in events {
        numbers.push(session.as_ref().map(|session| {
            let place = known.iter().position(|known| *known == session);
            place.unwrap_or_else(|| {
                known.push(session);
                known.len() - 1
            })
        }));
    }
    numbers
}

fn requests() -> impl Strategy<Value = Vec<SentRequest>> {
    let pause = prop_oneof![0..10 * SECOND, 0..40 * MINUTE, 0..30 * 60 * MINUTE];
    let age = prop_oneof![Just(0), 0..5 * SECOND, 0..3 * 60 * MINUTE];
    let began = prop_oneof![Just(0), -2 * MINUTE..2 * MINUTE, 0..26 * 60 * MINUTE];
    let idle = prop_oneof![Just(0), 0..45 * MINUTE];
    let one = (pause, prop::collection::vec(age, 1..4), began, idle);
    prop::collection::vec(one, 1..5).prop_map(|parts| {
        let mut at = NOW;
        let mut requests = Vec::new();
        for (pause, ages, began, idle) in parts {
            at += pause;
            requests.push(SentRequest {
                at,
                ages,
                began,
                idle,
            });
        }
        requests
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_clock_that_is_wrong_by_up_to_a_day_changes_neither_session_nor_time_nor_order(
        requests in requests(),
        ahead in prop_oneof![-DAY..=DAY, -MINUTE..=MINUTE, Just(DAY), Just(-DAY)],
    ) {
        for from in ALL {
            let right = visit((from, BatchClock::SentAt), &requests, 0);
            let wrong = visit((from, BatchClock::SentAt), &requests, ahead);
            let times = |events: &[(String, Option<String>)]| {
                events.iter().map(|(time, _)| time.clone()).collect::<Vec<_>>()
            };
            prop_assert_eq!(times(&right), times(&wrong), "{:?}", from);
            prop_assert_eq!(grouping(&right), grouping(&wrong), "{:?}", from);
            if from == From::Edge {
                // These sessions are not the client's, so even their ids are the same.
                prop_assert_eq!(right, wrong);
            } else if from != From::EverythingAtOnce {
                // Without `sentAt` no time can be corrected, but the client still knows its session.
                let right = visit((from, BatchClock::Nothing), &requests, 0);
                let wrong = visit((from, BatchClock::Nothing), &requests, ahead);
                prop_assert_eq!(grouping(&right), grouping(&wrong), "{:?}", from);
                let order = |events: &[(String, Option<String>)]| {
                    let times = times(events);
                    let mut order: Vec<_> = (0..times.len()).collect();
                    order.sort_by(|one, other| times[*one].cmp(&times[*other]));
                    order
                };
                prop_assert_eq!(order(&right), order(&wrong), "{:?}", from);
            }
        }
    }
}

/// Returns the event of one page view that arrives at 10:00:05, in the enriched mode.
fn page(message: &str) -> Json {
    let rewriter = Rewriter::new(Mapping::default(), Bounds::default());
    let arrival = arrival(Call::Batch, Some("2026-11-20T10:00:05Z"));
    let outcome = rewrite_as(rewriter, arrival, &[message.as_bytes()]).unwrap();
    assert_eq!(outcome.reports, Vec::<String>::new(), "{message}");
    outcome.events.into_iter().next().unwrap()
}

#[test]
fn a_landing_page_view_has_its_session_however_far_the_clock_is_ahead() {
    let start = 1_795_168_919_930_i64;
    for minutes in [0, -2, 1, 30, -30, 600, -600, 1437, -1439] {
        let shift = minutes * MINUTE;
        let message = json!({
            "type": "page", "messageId": "s", "anonymousId": "a-1",
            "timestamp": iso(start + 5000 + shift), "sentAt": iso(start + 5010 + shift),
            "context": {"library": {"name": "analytics.js"}, "sessionId": start + shift},
        });
        let event = page(&message.to_string());
        let session = event["properties"]["$session_id"].as_str().unwrap();
        let named = format!("{:012x}", start + shift);
        assert!(session.replace('-', "").starts_with(&named), "{session}");
        assert_eq!(event["timestamp"], "2026-11-20T10:00:04.990Z");
    }
}

#[test]
fn a_session_too_far_from_its_event_is_left_out() {
    let start = NOW;
    for (days, is_kept) in [(2, true), (-2, true), (4, false), (-4, false), (400, false)] {
        let shift = days * DAY;
        let message = json!({
            "type": "page", "messageId": "s", "anonymousId": "a-1",
            "timestamp": iso(start + 5000 + shift), "sentAt": iso(start + 5010 + shift),
            "context": {"library": {"name": "analytics.js"}, "sessionId": start + shift},
        });
        let event = page(&message.to_string());
        let session = &event["properties"]["$session_id"];
        assert_eq!(session.is_string(), is_kept, "{days} days: {session}");
    }
}

#[test]
fn a_time_that_segment_has_corrected_is_held_against_the_original_one() {
    // The client's clock is two hours ahead; Segment has corrected `timestamp`.
    let ahead = 120 * MINUTE;
    let message = json!({
        "type": "page", "messageId": "s", "anonymousId": "a-1",
        "timestamp": iso(NOW), "originalTimestamp": iso(NOW + ahead),
        "sentAt": iso(NOW + ahead + 10), "receivedAt": iso(NOW + 10),
        "context": {"library": {"name": "analytics.js"}, "sessionId": NOW + ahead - 20},
    });
    let event = page(&message.to_string());
    assert!(event["properties"]["$session_id"].is_string(), "{event}");
    assert_eq!(event["timestamp"], iso(NOW));
}

#[test]
fn an_unreadable_time_is_counted_and_kept_and_a_blank_one_is_missing() {
    let time = "notice unreadable_time";
    let sent = "notice unreadable_sent_at";
    let arrival_time = "2026-11-23T12:00:00.000Z";
    let sent_time = "2026-11-23T11:00:00Z";
    for (times, top, expected, kept, notices) in [
        (
            r#""timestamp":"soon""#,
            "",
            arrival_time,
            json!("soon"),
            vec![time],
        ),
        (r#""timestamp":17"#, "", arrival_time, json!(17), vec![time]),
        (
            r#""timestamp":false"#,
            "",
            arrival_time,
            json!(false),
            vec![time],
        ),
        (
            r#""timestamp":{"a":1}"#,
            "",
            arrival_time,
            Json::Null,
            vec![time],
        ),
        (
            r#""timestamp":"2023-02-30""#,
            "",
            arrival_time,
            json!("2023-02-30"),
            vec![time],
        ),
        (r#""timestamp":null"#, "", arrival_time, Json::Null, vec![]),
        (r#""timestamp":"""#, "", arrival_time, Json::Null, vec![]),
        (r#""timestamp":" \t""#, "", arrival_time, Json::Null, vec![]),
        (
            r#""timestamp":"","originalTimestamp":"2026-11-23T11:00:00Z""#,
            "",
            sent_time,
            Json::Null,
            vec![],
        ),
        (
            r#""timestamp":"2026-11-23T11:00:00Z","sentAt":"soon""#,
            "",
            sent_time,
            Json::Null,
            vec![sent],
        ),
        (
            r#""timestamp":"2026-11-23T11:00:00Z","sentAt":"""#,
            "",
            sent_time,
            Json::Null,
            vec![],
        ),
        (
            r#""timestamp":"2026-11-23T11:00:00Z""#,
            r#","sentAt":"soon""#,
            sent_time,
            Json::Null,
            vec![sent],
        ),
        (
            r#""timestamp":"2026-11-23T11:00:00Z""#,
            r#","sentAt":null"#,
            sent_time,
            Json::Null,
            vec![],
        ),
        // By the sender's clock, the message was sent ten minutes after it was made. Both times are
        // numbers.
        (
            r#""timestamp":1795429800"#,
            r#","sentAt":1795430400000"#,
            "2026-11-23T11:50:00.000Z",
            Json::Null,
            vec![],
        ),
    ] {
        let body = format!(
            r#"{{"batch":[{{"type":"track","event":"A","userId":"u","messageId":"m",{times}}}]{top}}}"#
        );
        let received = Some("2026-11-23T12:00:00Z");
        let outcome = rewrite(Call::Batch, received, body.as_bytes()).unwrap();
        assert_eq!(outcome.reports, notices, "{body}");
        let event = &outcome.events[0];
        assert_eq!(event["timestamp"], expected, "{body}");
        assert_eq!(
            event["properties"]["segment_original_timestamp"], kept,
            "{body}"
        );
    }
}

#[test]
fn a_time_that_posthog_replaces_is_counted_and_leaves_as_it_came() {
    let future = ["notice future_time"];
    let timestamp_entry = |time: &str| format!(r#""timestamp":"{time}""#);
    for (time, sent_at, expects_notice) in [
        // The limit is exact to the millisecond: 23 hours after the arrival.
        ("2026-11-24T11:00:00.000Z", "", false),
        ("2026-11-24T11:00:00.001Z", "", true),
        ("2126-11-23T12:00:00.000Z", "", true),
        ("1926-11-23T12:00:00.000Z", "", false),
        ("2126-11-23T12:00:00.000Z", "2026-11-23T12:00:00.000Z", true),
    ] {
        let sent_at = match sent_at {
            "" => String::new(),
            sent_at => format!(r#","sentAt":"{sent_at}""#),
        };
        let times = timestamp_entry(time);
        let body = format!(
            r#"{{"type":"track","event":"A","userId":"u","messageId":"m",{times}{sent_at}}}"#
        );
        let outcome = rewrite(Call::Batch, Some("2026-11-23T12:00:00Z"), body.as_bytes()).unwrap();
        let expected = if expects_notice { &future[..] } else { &[] };
        assert_eq!(outcome.reports, expected, "{body}");
        assert_eq!(outcome.events[0]["timestamp"], time, "{body}");
    }
    // If the sender's clock itself is ahead, the time is corrected and there is no notice.
    let body = r#"{"type":"track","event":"A","userId":"u","messageId":"m",
        "timestamp":"2126-11-23T11:59:59.000Z","sentAt":"2126-11-23T12:00:00.000Z"}"#;
    let outcome = rewrite(Call::Batch, Some("2026-11-23T12:00:00Z"), body.as_bytes()).unwrap();
    assert_eq!(outcome.reports, [""; 0]);
    assert_eq!(outcome.events[0]["timestamp"], "2026-11-23T11:59:59.000Z");
}

#[test]
fn a_group_and_an_alias_call_that_change_nothing_are_sent_and_counted() {
    let group = Some("notice group_without_id");
    let alias = Some("notice alias_without_previous_id");
    for (message, notice) in [
        (json!({"type": "group"}), group),
        (json!({"type": "group", "groupId": null}), group),
        (json!({"type": "group", "groupId": ""}), group),
        (json!({"type": "group", "groupId": "g"}), None),
        (json!({"type": "group", "groupId": 5}), None),
        (json!({"type": "alias"}), alias),
        (json!({"type": "alias", "previousId": null}), alias),
        (json!({"type": "alias", "previousId": ""}), alias),
        (json!({"type": "alias", "previousId": "p"}), None),
        (json!({"type": "alias", "previousId": 7}), None),
        (json!({"type": "track", "event": "A"}), None),
    ] {
        let mut message = message;
        message["userId"] = json!("u");
        message["messageId"] = json!("m");
        let body = message.to_string();
        for mapping in [Mapping::reference(), Mapping::default()] {
            let rewriter = Rewriter::new(mapping, Bounds::default());
            let arrival = arrival(Call::Batch, None);
            let outcome = rewrite_as(rewriter, arrival, &[body.as_bytes()]).unwrap();
            let left: Vec<&str> = notice.into_iter().collect();
            assert_eq!(outcome.reports, left, "{body}");
            assert_eq!(outcome.events.len(), 1, "{body}");
        }
    }
}

#[test]
fn a_number_leaves_as_a_text_even_where_nothing_is_corrected() {
    for (time, expected) in [
        ("1700000000", json!("2023-11-14T22:13:20.000Z")),
        ("1700000000123", json!("2023-11-14T22:13:20.123Z")),
        ("17", Json::Null),
    ] {
        let body = format!(r#"{{"type":"track","event":"A","userId":"u","timestamp":{time}}}"#);
        let outcome = rewrite(Call::Batch, None, body.as_bytes()).unwrap();
        assert_eq!(outcome.events[0]["timestamp"], expected, "{body}");
    }
}
