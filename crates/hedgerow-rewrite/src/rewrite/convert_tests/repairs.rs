//! Tests of single messages: repairs, refusals, the gate of `integrations`, the address.

use super::*;

#[test]
fn messages_that_capture_would_reject_are_repaired_as_documented() {
    let event =
        one(r#"{"type":"track","event":"A","userId":12345678901234567890123,"messageId":"m"}"#);
    assert_eq!(
        event["properties"]["distinct_id"],
        "12345678901234567890123"
    );
    let event =
        one(r#"{"type":"track","event":"A","userId":"  ","anonymousId":"a","messageId":"m"}"#);
    assert_eq!(event["properties"]["distinct_id"], "a");
    let event =
        one(r#"{"type":"identify","userId":"u","anonymousId":77,"traits":{},"messageId":"m"}"#);
    assert_eq!(event["properties"]["$anon_distinct_id"], "77");
    let event = one(r#"{"type":"identify","userId":"u","anonymousId":{},"messageId":"m"}"#);
    assert_eq!(event["properties"].get("$anon_distinct_id"), None);
    let event = one(r#"{"type":"alias","userId":"u","previousId":9,"messageId":"m"}"#);
    assert_eq!(event["properties"]["alias"], "9");
    let event = one(r#"{"type":"page","event":"","userId":"u","messageId":"m"}"#);
    assert_eq!(event["event"], "$pageview");
    let event = one(
        r#"{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":1795166130250}"#,
    );
    assert_eq!(event["timestamp"], "2026-11-20T09:15:30.250Z");
    assert_eq!(event["properties"].get("segment_original_timestamp"), None);
    let event = one("{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\",\"messageId\":\"m\",\"properties\":{\"a\":NaN,\"b\":\"x\\ud83d\",\"a\":[-Infinity,1e999],\"c\":\"\u{1}\"}}");
    assert_eq!(event["properties"]["a"], json!([null, null]));
    assert_eq!(event["properties"]["b"], "x\u{fffd}");
    assert_eq!(event["properties"]["c"], "\u{1}");
}

#[test]
fn one_refused_message_never_takes_the_rest_with_it() {
    let deep = format!("{}{}", "[".repeat(124), "]".repeat(124));
    let fits = format!("{}{}", "[".repeat(123), "]".repeat(123));
    let items = [
        "1".to_owned(),
        "null".into(),
        "[{}]".into(),
        "{}".into(),
        r#"{"type":"delete","userId":"u"}"#.into(),
        r#"{"type":7,"userId":"u"}"#.into(),
        r#"{"type":"track","event":"A"}"#.into(),
        r#"{"type":"track","userId":"u"}"#.into(),
        r#"{"type":"track","event":["A"],"userId":"u"}"#.into(),
        r#"{"type":"alias","userId":"u","previousId":{}}"#.into(),
        r#"{"type":"alias","userId":"7","previousId":7}"#.into(),
        r#"{"type":"track","event":"A","userId":"u","properties":{"$cookieless_mode":"yes"}}"#
            .into(),
        format!(r#"{{"type":"track","event":"A","userId":"u","properties":{{"d":{deep}}}}}"#),
        format!(
            r#"{{"type":"track","event":"A","userId":"u","properties":{{"d":{}}}}}"#,
            "[".repeat(5000) + &"]".repeat(5000)
        ),
        format!(
            r#"{{"type":"track","event":"A","userId":"u","properties":{{"d":"{}"}}}}"#,
            "x".repeat(950_000)
        ),
        r#"{"type":"track","event":"A","userId":"u","integrations":{"All":false}}"#.into(),
        format!(r#"{{"type":"track","event":"Fits","userId":"u","properties":{{"d":{fits}}}}}"#),
        r#"{"type":"track","event":"Last","userId":"u"}"#.into(),
    ];
    let body = format!("{{\"batch\":[{}]}}", items.join(","));
    let outcome = rewrite(Call::Batch, None, body.as_bytes()).unwrap();
    assert_eq!(
        outcome.reports,
        [
            "0 not_an_object",
            "1 not_an_object",
            "2 not_an_object",
            "3 missing_type",
            "4 unknown_type",
            "5 unknown_type",
            "6 missing_distinct_id",
            "7 missing_event",
            "8 event_not_text",
            "9 previous_id_not_text",
            "10 self_alias",
            "11 cookieless_not_boolean",
            "12 too_deep",
            "13 too_deep",
            "14 too_large",
            "15 integrations",
        ]
    );
    let names: Vec<&Json> = outcome.events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["Fits", "Last"]);
    assert_eq!(Omission::SelfAlias.code(), "self_alias");
}

#[test]
fn the_clients_address_is_filled_in_for_devices_only() {
    let ip = |context: &str| {
        let event = one(&format!(
            r#"{{"type":"track","event":"A","userId":"u","messageId":"m","context":{context}}}"#
        ));
        (
            event["properties"]["$ip"].clone(),
            event["properties"]["segment_ip"].clone(),
        )
    };
    let both = |value: Json| (value.clone(), value);
    assert_eq!(
        ip(r#"{"library":{"name":"analytics.js"}}"#),
        both(json!("203.0.113.7"))
    );
    assert_eq!(
        ip(r#"{"library":{"name":"analytics-kotlin"},"device":{"id":"d"},"ip":""}"#),
        both(json!("203.0.113.7"))
    );
    assert_eq!(
        ip(r#"{"library":{"name":"analytics-kotlin"}}"#),
        both(Json::Null)
    );
    assert_eq!(
        ip(r#"{"library":{"name":"analytics.js"},"ip":"0.0.0.0"}"#),
        both(json!("0.0.0.0"))
    );
    assert_eq!(
        ip(r#"{"library":{"name":"analytics-node"}}"#),
        both(Json::Null)
    );
    assert_eq!(ip("{}"), both(Json::Null));
    assert_eq!(ip(r#"{"direct":true}"#), both(json!("203.0.113.7")));
}

#[test]
fn integrations_are_read_like_segments_own_reader() {
    for (integrations, passes) in [
        ("{}", true),
        ("null", true),
        (r#"{"All":false}"#, false),
        (r#"{"All":false,"PostHog":true}"#, true),
        (r#"{"All":false,"PostHog":{"x":1}}"#, true),
        (r#"{"PostHog":false}"#, false),
        (r#"{"All":true,"PostHog":false}"#, false),
        (r#"{"posthog":false}"#, true),
        // These are the results of segmentio-facade 3.2, which was run with the same values.
        (r#"{"all":false}"#, false),
        (r#"{"ALL":false}"#, false),
        (r#"{" all ":false}"#, false),
        (r#"{"a_l-l":false}"#, false),
        (r#"{"\u0041ll":false}"#, false),
        (r#"{"all.":false}"#, true),
        (r#"{"alls":false}"#, true),
        (r#"{"all":"false"}"#, true),
        (r#"{"all":null}"#, true),
        (r#"{"All":true,"all":false}"#, true),
        (r#"{"all":false,"All":true}"#, false),
        (r#"{"all":false,"PostHog":true}"#, true),
        (r#"{"all":false,"posthog":true}"#, false),
        (r#"{"all":false,"Segment.io":true}"#, false),
        (r#"{"all":true,"PostHog":false}"#, false),
        (r#"{"Segment.io":false}"#, true),
    ] {
        let own =
            format!(r#"{{"type":"track","event":"A","userId":"u","integrations":{integrations}}}"#);
        let batch = format!(
            r#"{{"batch":[{{"type":"track","event":"A","userId":"u"}}],"integrations":{integrations}}}"#
        );
        for body in [own, batch] {
            let outcome = rewrite(Call::Batch, None, body.as_bytes()).unwrap();
            assert_eq!(outcome.events.len() == 1, passes, "{body}");
        }
        let body = r#"{"batch":[{"type":"track","event":"A","userId":"u","integrations":{"PostHog":true}}],"integrations":{"All":false}}"#;
        assert_eq!(
            rewrite(Call::Batch, None, body.as_bytes())
                .unwrap()
                .events
                .len(),
            1
        );
    }
}

#[test]
fn values_that_are_only_passed_on_keep_their_bytes() {
    let body = br#"{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"n":1.50,"e":1E5,"big":123456789012345678901234567890,"s":"\u00e9\/"}}"#;
    let rewriter = Arc::new(Rewriter::new(Mapping::reference(), Bounds::default()));
    let mut rewrite = rewriter
        .begin(Arrival::new(Call::Batch))
        .address_to(Arc::default());
    rewrite.push(body).unwrap();
    rewrite.end();
    let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
    rewrite.pull(&mut batch, 1 << 20, &mut ()).unwrap();
    let text = String::from_utf8(batch.close()).unwrap();
    let kept = r#""n":1.50,"e":1E5,"big":123456789012345678901234567890,"s":"\u00e9\/""#;
    assert!(text.contains(kept), "{text}");
}

#[test]
fn values_that_are_not_objects_spread_as_in_javascript() {
    let event = one(
        r#"{"type":"track","event":"A","userId":"u","messageId":"m","properties":"hé😀","context":["x",{"y":1}]}"#,
    );
    let properties = &event["properties"];
    assert_eq!(properties["0"], "h");
    assert_eq!(properties["1"], "é");
    assert_eq!(properties["2"], "\u{fffd}");
    assert_eq!(properties["3"], "\u{fffd}");
    assert_eq!(properties["segment_1"], json!({"y": 1}));
    let event = one(
        r#"{"type":"track","event":"A","userId":"u","messageId":"m","properties":7,"context":{"campaign":["a"],"groupId":"g"}}"#,
    );
    assert_eq!(event["properties"]["utm_0"], "a");
    assert_eq!(event["properties"].get("segment_campaign"), None);
    assert_eq!(
        event["properties"]["$groups"],
        json!({"segment_group": "g"})
    );
}

#[test]
fn the_callers_keys_replace_spread_ones() {
    let event = one(
        r#"{"type":"track","event":"A","userId":"u","messageId":"m","properties":{"segment_1":"mine"},"context":["x","y","z"]}"#,
    );
    assert_eq!(event["properties"]["segment_0"], "x");
    assert_eq!(event["properties"]["segment_1"], "mine");
    assert_eq!(event["properties"]["segment_2"], "z");
    let event = one(
        r#"{"type":"page","userId":"u","messageId":"m","properties":{"utm_0":"mine"},"context":{"campaign":"ab"}}"#,
    );
    assert_eq!(event["properties"]["utm_0"], "mine");
    assert_eq!(event["properties"]["utm_1"], "b");
}

#[test]
fn a_key_given_twice_keeps_its_first_place_and_its_last_value_as_in_javascript() {
    // The position decides which of the two keys that become `utm_campaign` is the later one.
    let event = one(
        r#"{"type":"page","userId":"u","messageId":"m","context":{"campaign":{"campaign":1,"name":2,"campaign":3}}}"#,
    );
    assert_eq!(event["properties"]["utm_campaign"], 2);
    let event = one(
        r#"{"type":"page","userId":"u","messageId":"m","context":{"campaign":{"name":1,"campaign":2,"name":3}}}"#,
    );
    assert_eq!(event["properties"]["utm_campaign"], 2);
}

#[test]
fn a_long_text_in_place_of_an_object_is_refused_before_it_is_spread() {
    for value in [
        format!("\"{}\"", "x".repeat(400_000)),
        format!("\"{}\"", "\\n".repeat(500_000)),
        format!("[1{}]", ",1".repeat(500_000)),
    ] {
        for name in ["properties", "context"] {
            let body = format!(
                r#"{{"batch":[{{"type":"track","event":"A","userId":"u","{name}":{value}}}]}}"#
            );
            let rewriter = Arc::new(Rewriter::new(Mapping::default(), Bounds::default()));
            let mut rewrite = rewriter
                .begin(Arrival::new(Call::Batch))
                .address_to(Arc::default());
            rewrite.push(body.as_bytes()).unwrap();
            rewrite.end();
            let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
            let mut seen = SeenKeys::default();
            assert_eq!(
                rewrite.pull(&mut batch, usize::MAX, &mut seen),
                Ok(Pulled::Done)
            );
            assert_eq!(seen.0, ["0 too_large"]);
            assert!(batch.close().capacity() < 10_000);
        }
    }
}
