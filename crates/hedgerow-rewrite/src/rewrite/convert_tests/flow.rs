//! Tests of the flow of bodies: cuts, windows, limits, write keys.

use super::*;

#[test]
fn each_permanently_invalid_body_has_its_own_error() {
    for (body, expected) in [
        ("", RewriteError::Empty),
        (" \n", RewriteError::Empty),
        ("[]", RewriteError::NotAnObject),
        ("nope", RewriteError::NotAnObject),
        ("{\"batch\":{}}", RewriteError::BatchNotAnArray),
        ("{\"batch\":[1,]}", RewriteError::InvalidJson),
        ("{\"batch\":[{\"type\":}]}", RewriteError::InvalidJson),
        ("{\"batch\":[]", RewriteError::InvalidJson),
        ("{\"batch\":[]}x", RewriteError::InvalidJson),
        ("{\"batch\":[{}{}]}", RewriteError::InvalidJson),
        ("{\"type\":\"track\",}", RewriteError::InvalidJson),
        ("{\"type\":\"track\"", RewriteError::InvalidJson),
    ] {
        let got = rewrite(Call::Batch, None, body.as_bytes()).map(|outcome| outcome.events);
        assert_eq!(got, Err(expected), "{body}");
    }
    let single = rewrite(Call::One(Kind::Track), None, b"{} {}").map(|outcome| outcome.events);
    assert_eq!(single, Err(RewriteError::InvalidJson));
    assert!(rewrite(Call::Batch, None, b"{\"batch\":[]}")
        .unwrap()
        .events
        .is_empty());
}

pub(super) const MIXED: &str = r#" {"writeKey" : "wk","sentAt":"2026-11-23T10:00:05.000Z","context":{"library":{"name":"analytics-go","version":"3"},"device":{"type":"phone","name":"A"}},
 "integrations":{"All":true}, "batch" : [ {"type":"track","event":"é \" \\ \u00e9","userId":"u1","messageId":"m1","timestamp":"2026-11-23T10:00:00Z","properties":{"a":[1,2,{"b":"]}"}],"url":"https://x/"}} ,
 {"type":"identify","userId":"u2","anonymousId":"a2","messageId":"m2","traits":{"n":NaN,"x":1,"x":2}},{"type":"track","event":"x"},
 {"type":"screen","name":"Main","anonymousId":"a","messageId":"m3","context":{"device":{"name":"B"}}} ] , "other":{"x":[1]} } "#;

#[test]
fn every_cut_and_every_window_gives_what_the_whole_body_gives() {
    let received = Some("2026-11-23T11:00:06.000Z");
    let whole = rewrite(Call::Batch, received, MIXED.as_bytes()).unwrap();
    assert_eq!(whole.events.len(), 3);
    assert_eq!(whole.reports, ["2 missing_distinct_id"]);
    assert_eq!(whole.events[0]["timestamp"], "2026-11-23T11:00:01.000Z");
    assert_eq!(
        whole.events[2]["properties"]["segment_device"],
        json!({"type": "phone", "name": "B"})
    );
    for window in [1, 64, 400, 1 << 20] {
        let bounds = Bounds {
            window,
            ..Bounds::default()
        };
        for cut in 0..=MIXED.len() {
            let (a, b) = MIXED.as_bytes().split_at(cut);
            let outcome = rewrite_with(bounds, arrival(Call::Batch, received), &[a, b]).unwrap();
            assert_eq!(
                outcome.events, whole.events,
                "window {window}, cut at {cut}"
            );
            assert_eq!(
                outcome.reports, whole.reports,
                "window {window}, cut at {cut}"
            );
        }
        let bytes: Vec<&[u8]> = MIXED.as_bytes().chunks(1).collect();
        let outcome = rewrite_with(bounds, arrival(Call::Batch, received), &bytes).unwrap();
        assert_eq!(
            outcome.events, whole.events,
            "window {window}, byte by byte"
        );
    }
}

#[test]
fn keys_after_the_batch_count_within_the_window_and_are_rejected_beyond_it() {
    for late in [
        r#""context":{"library":{"name":"analytics-java"}}"#,
        r#""integrations":{"All":false}"#,
    ] {
        let body = format!(
            r#"{{"batch":[{{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":"2026-11-23T10:00:00Z"}}],{late}}}"#
        );
        let received = Some("2026-11-23T10:00:06Z");
        let held = rewrite(Call::Batch, received, body.as_bytes()).unwrap();
        assert_eq!(held.events.len() + held.reports.len(), 1, "{late}");
        let bounds = Bounds {
            window: 16,
            ..Bounds::default()
        };
        let streamed = rewrite_with(bounds, arrival(Call::Batch, received), &[body.as_bytes()]);
        assert_eq!(
            streamed.map(|outcome| outcome.events),
            Err(RewriteError::LateBatchKey)
        );
    }
}

#[test]
fn a_body_that_is_known_to_fit_is_held_to_its_end_and_another_streams_an_eighth_earlier() {
    let bounds = Bounds {
        window: 800,
        ..Bounds::default()
    };
    let rewriter = Arc::new(Rewriter::new(Mapping::default(), bounds));
    for (announced, held) in [
        (AnnouncedLength::Unknown, 700),
        (AnnouncedLength::OfBody(801), 700),
        (AnnouncedLength::OfBody(800), 800),
        (AnnouncedLength::OfBody(0), 800),
        // It may be larger when it is inflated.
        (AnnouncedLength::OfCoding(800), 700),
    ] {
        let mut rewrite = rewriter.begin(Arrival {
            length: announced,
            ..Arrival::new(Call::Batch)
        });
        let body = format!("{{\"batch\":[{}", " ".repeat(2_000));
        let first = (1..body.len())
            .find(|length| rewrite.push(&body.as_bytes()[length - 1..*length]) == Ok(Flow::Open));
        assert_eq!(first, Some(held + 1), "{announced:?}");
    }
}

#[test]
fn a_sent_at_or_write_key_past_the_window_loses_no_event() {
    let message = r#"{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":"2026-11-23T10:00:00.000Z"}"#;
    let sent_at = r#""sentAt":"2026-11-23T10:00:05.000Z""#;
    let long = format!(r#""sentAt":"{}""#, "x".repeat(40_000));
    let received = Some("2026-11-23T10:00:06Z");
    let late = "notice late_sent_at";
    for (before, behind, time, notices) in [
        ("", sent_at, "2026-11-23T10:00:00.000Z", vec![late]),
        ("", &*long, "2026-11-23T10:00:00.000Z", vec![late]),
        (
            "",
            r#""sentAt":17,"x":1"#,
            "2026-11-23T10:00:00.000Z",
            vec![late],
        ),
        ("", r#""writeKey":"wk""#, "2026-11-23T10:00:00.000Z", vec![]),
        // A `sentAt` that arrives before `batch` counts even if a late one follows.
        (sent_at, sent_at, "2026-11-23T10:00:01.000Z", vec![late]),
    ] {
        let comma = if before.is_empty() { "" } else { "," };
        let body = format!(r#"{{{before}{comma}"batch":[{message},{message}],{behind}}}"#);
        let bounds = Bounds {
            window: 16,
            ..Bounds::default()
        };
        let whole = rewrite_with(bounds, arrival(Call::Batch, received), &[body.as_bytes()]);
        let whole = whole.unwrap();
        let times: Vec<_> = whole
            .events
            .iter()
            .map(|event| &event["timestamp"])
            .collect();
        assert_eq!(times, [time, time], "{behind:.40}");
        assert_eq!(whole.reports, notices, "{behind:.40}");
        for cut in (0..body.len()).filter(|cut| *cut < 400 || cut % 997 == 0) {
            let (first, second) = body.as_bytes().split_at(cut);
            let outcome = rewrite_with(bounds, arrival(Call::Batch, received), &[first, second]);
            let outcome = outcome.unwrap();
            assert_eq!(outcome.events, whole.events, "{behind:.40}, cut at {cut}");
            assert_eq!(outcome.reports, whole.reports, "{behind:.40}, cut at {cut}");
        }
    }
}

#[test]
fn a_message_too_large_to_hold_is_skipped_in_a_stream_without_being_held() {
    let bounds = Bounds {
        window: 1000,
        event: 4000,
    };
    let rewriter = Arc::new(Rewriter::new(Mapping::reference(), bounds));
    let mut rewrite = rewriter
        .begin(Arrival::new(Call::Batch))
        .address_to(Arc::default());
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    let mut seen = SeenKeys::default();
    let big = format!(
        r#"{{"type":"track","userId":"u","event":"{}"}},"#,
        "y".repeat(100_000)
    );
    let body = format!(r#"{{"batch":[{big}{{"type":"track","event":"Small","userId":"u"}}]}}"#);
    let mut most = 0;
    for chunk in body.as_bytes().chunks(500) {
        if rewrite.push(chunk).unwrap() == Flow::Open {
            assert_eq!(
                rewrite.pull(&mut batch, usize::MAX, &mut seen),
                Ok(Pulled::Starved)
            );
        }
        most = most.max(rewrite.held());
    }
    rewrite.end();
    assert_eq!(
        rewrite.pull(&mut batch, usize::MAX, &mut seen),
        Ok(Pulled::Done)
    );
    assert_eq!(
        (batch.events(), seen.0),
        (1, vec!["0 too_large".to_owned()])
    );
    assert!(most < 20_000, "{most}");
}

#[test]
fn a_batch_level_context_cannot_be_multiplied_without_end() {
    let context = format!(r#"{{"x":"{}"}}"#, "c".repeat(60_000));
    for (item, expected) in [
        (
            r#"{"type":"track","event":"A","userId":"u"}"#,
            RewriteError::TooLarge,
        ),
        // These messages are refused, so they are not written, but the contexts are merged before that.
        (r#"{"context":{}}"#, RewriteError::TooManyRefused),
    ] {
        let items = vec![item; 10_000].join(",");
        let body = format!(r#"{{"context":{context},"batch":[{items}]}}"#);
        let rewriter = Arc::new(Rewriter::new(Mapping::reference(), Bounds::default()));
        let mut rewrite = rewriter
            .begin(Arrival::new(Call::Batch))
            .address_to(Arc::default());
        rewrite.push(body.as_bytes()).unwrap();
        rewrite.end();
        let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
        let last = loop {
            let mut batch = Batch::open(&envelope);
            match rewrite.pull(&mut batch, 1 << 20, &mut ()) {
                Ok(Pulled::Full) => {}
                other => break other,
            }
        };
        assert_eq!(last, Err(expected), "{item}");
    }
}

#[test]
fn a_body_with_too_many_refused_messages_is_rejected() {
    for (messages, refused, expected) in [
        (500, "1", Ok(())),
        (501, "1", Err(RewriteError::TooManyRefused)),
        (200_000, "1", Err(RewriteError::TooManyRefused)),
        (
            501,
            r#"{"type":"track"}"#,
            Err(RewriteError::TooManyRefused),
        ),
        (
            501,
            r#"{"type":"alias","userId":"u","previousId":"u"}"#,
            Ok(()),
        ),
    ] {
        for window in [16, 1 << 20] {
            let items = vec![refused; messages].join(",");
            let good = r#"{"type":"track","event":"A","userId":"u","messageId":"m"}"#;
            let body = format!(r#"{{"batch":[{good},{items}]}}"#);
            let bounds = Bounds {
                window,
                ..Bounds::default()
            };
            let outcome = rewrite_with(bounds, arrival(Call::Batch, None), &[body.as_bytes()]);
            let outcome = outcome.map(|outcome| assert_eq!(outcome.events.len(), 1));
            assert_eq!(outcome, expected, "{messages} {refused} {window}");
        }
    }
}

/// The indexes of the messages that were shown, in their order.
#[derive(Default)]
struct ShownMessages(Vec<usize>);

impl Watch for ShownMessages {
    fn message(&mut self, index: usize, _: &[u8], _: MessageOutcome<'_>) {
        self.0.push(index);
    }
}

#[test]
fn a_guess_that_proves_wrong_after_several_steps_leaves_nothing_behind() {
    let item = format!(
        r#"{{"type":"track","event":"A","userId":"u","messageId":"m","x":"{}"}}"#,
        "x".repeat(5_000)
    );
    let items = vec![item; 60].join(",");
    let events = |body: String| {
        let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
        let mut rewrite = rewriter
            .begin(Arrival::new(Call::Batch))
            .address_to(Arc::default());
        rewrite.push(body.as_bytes()).unwrap();
        rewrite.end();
        let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
        let (mut pauses, mut watch) = (0, ShownMessages::default());
        while rewrite.pull(&mut batch, usize::MAX, &mut watch).unwrap() == Pulled::Paused {
            pauses += 1;
        }
        (batch.close(), pauses, watch.0)
    };
    let (plain, pauses, seen) = events(format!(r#"{{"batch":[{items}]}}"#));
    assert!(pauses > 2, "{pauses}");
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    // The last bracket is assumed to end the messages, but here it is after their end.
    let misleading = [
        format!(r#"{{"batch":[{items}],"writeKey":"]"}}"#),
        format!(r#"{{"batch":[{items}],"other":[1,2]}}"#),
    ];
    for body in misleading {
        let (events, _, seen) = events(body);
        assert_eq!(seen, (0..60).collect::<Vec<_>>());
        assert_eq!(
            String::from_utf8_lossy(&events),
            String::from_utf8_lossy(&plain)
        );
    }
}

#[test]
fn a_large_body_lets_others_have_their_turn() {
    let message = r#"{"type":"track","event":"A","userId":"u","messageId":"m"}"#;
    let long = format!(
        r#"{{"type":"track","event":"A","userId":"u","messageId":"m","x":"{}"}}"#,
        "x".repeat(100_000)
    );
    for (item, items, expected) in [(message, 10_500, 10), (long.as_str(), 60, 59)] {
        for window in [16, 64 << 20] {
            let body = format!(r#"{{"batch":[{}]}}"#, vec![item; items].join(","));
            let bounds = Bounds {
                window,
                ..Bounds::default()
            };
            let rewriter = Arc::new(Rewriter::new(Mapping::reference(), bounds));
            let mut rewrite = rewriter
                .begin(Arrival::new(Call::Batch))
                .address_to(Arc::default());
            rewrite.push(body.as_bytes()).unwrap();
            rewrite.end();
            let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
            let mut pauses = 0;
            while rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap() == Pulled::Paused {
                pauses += 1;
            }
            assert_eq!(pauses, expected, "{items} items, window {window}");
            assert_eq!(batch.events(), items);
        }
    }
}

/// The result of a held body must not depend on the guess of where its batch ends.
#[test]
fn keys_after_the_batch_count_for_every_way_to_find_its_end() {
    let message = |id: &str| {
        format!(
            r#"{{"type":"track","event":"A","userId":"u","messageId":"{id}","context":{{"x":1}},"properties":{{"a":[1,[2]]}}}}"#
        )
    };
    let (a, b) = (message("a"), message("b"));
    let batch = format!(r#""batch":[{a},{b}]"#);
    let other = r#""other":[{"x":[]},"]",1]"#;
    let context = r#""context":{"locale":"nl","list":[1,2]}"#;
    let switch = r#""integrations":{"PostHog":false}"#;
    for (parts, events, locale) in [
        (vec![batch.as_str()], 2, None),
        (vec![&batch, context], 2, Some("nl")),
        (vec![&batch, context, other], 2, Some("nl")),
        (vec![&batch, other, context], 2, Some("nl")),
        (vec![&batch, switch, other], 0, None),
        (vec![other, &batch], 2, None),
        (
            vec![r#""batch":[{"type":"track"}]"#, context, &batch],
            2,
            Some("nl"),
        ),
        (
            vec![r#""context":{"locale":"de"}"#, &batch, context, other],
            2,
            Some("nl"),
        ),
        (vec![&batch, r#""batch":[]"#], 0, None),
        (vec![&batch, context, r#""s":"]}]""#], 2, Some("nl")),
        (vec![r#""batch":[]"#, other], 0, None),
    ] {
        for space in ["", " ", "\n"] {
            let body = format!(
                "{{{space}{}{space}}}",
                parts.join(&format!("{space},{space}"))
            );
            let whole = rewrite_with(
                Bounds::default(),
                arrival(Call::Batch, Some("2026-11-23T10:00:06Z")),
                &[body.as_bytes()],
            );
            let whole = whole.unwrap_or_else(|error| panic!("{error}: {body}"));
            assert_eq!(whole.events.len(), events, "{body}");
            for event in &whole.events {
                let found = event["properties"]["segment_locale"].as_str();
                assert_eq!(found, locale, "{body}");
            }
            let messages = whole.reports.len() + whole.events.len();
            assert!(
                messages <= 2,
                "told once of each message: {:?} {body}",
                whole.reports
            );
        }
    }
    for broken in [
        format!(r#"{{"batch":[{a},{b}"#),
        format!(r#"{{"batch":[{a},{b}}}]}}"#),
        format!(r#"{{"batch":[{a} {b}]}}"#),
        format!(r#"{{"batch":[{a},{b}],}}"#),
        format!(r#"{{"batch":[{a},{b}],"x":[}}"#),
        format!(r#"{{"batch":[{a},{b}]"x":[]}}"#),
        format!(r#"{{"batch":[{a},{b},],"x":[]}}"#),
    ] {
        let outcome = rewrite_with(
            Bounds::default(),
            arrival(Call::Batch, None),
            &[broken.as_bytes()],
        );
        assert_eq!(
            outcome.map(|_| ()),
            Err(RewriteError::InvalidJson),
            "{broken}"
        );
    }
}

#[test]
fn refused_messages_cannot_keep_a_worker_busy_with_the_batchs_values() {
    let keys: Vec<String> = (0..5000).map(|n| format!("\"k{n}\":1")).collect();
    let wide = keys.join(",");
    for (name, item) in [
        ("context", r#"{"type":"track"}"#),
        ("context", r#"{"type":"track","context":{"a":1}}"#),
        ("integrations", "{}"),
    ] {
        let items = vec![item; 20_000].join(",");
        let body = format!(r#"{{"{name}":{{{wide}}},"batch":[{items}]}}"#);
        let mut seen = SeenKeys::default();
        let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
        let mut rewrite = rewriter
            .begin(Arrival::new(Call::Batch))
            .address_to(Arc::default());
        rewrite.push(body.as_bytes()).unwrap();
        rewrite.end();
        let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
        let pulled = rewrite.pull(&mut batch, usize::MAX, &mut seen);
        let refused = [RewriteError::TooLarge, RewriteError::TooManyRefused];
        assert!(
            pulled.is_err_and(|error| refused.contains(&error)),
            "{name} {item}: {pulled:?}"
        );
        assert!(seen.0.len() < 1_000, "{name} {item}: {}", seen.0.len());
    }
}

#[test]
fn a_large_context_of_a_single_message_is_not_a_batch_level_context() {
    let text = "c".repeat(100_000);
    let body = format!(
        r#"{{"type":"track","event":"A","userId":"u","messageId":"m","context":{{"x":"{text}"}}}}"#
    );
    let event = one(&body);
    assert_eq!(event["properties"]["segment_x"], text);
}
