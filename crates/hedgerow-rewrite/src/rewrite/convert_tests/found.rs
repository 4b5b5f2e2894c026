//! Regression tests for the faults that the independent implementation in `tests/independent` and the
//! fuzzers have found.

use super::*;

/// Returns the properties of the event that a message of the user `u` gives in the enriched mode.
fn properties(cookies: Option<&str>, mapping: Mapping, part: Json) -> Json {
    let mut message = json!({"type": "track", "event": "E", "userId": "u", "messageId": "m"});
    let fields = message.as_object_mut().unwrap();
    fields.extend(part.as_object().unwrap().clone());
    let arrival = Arrival {
        cookies: cookies.map(str::to_owned),
        ..arrival(Call::Batch, Some("2026-11-23T12:00:00Z"))
    };
    let rewriter = Rewriter::new(mapping, Bounds::default());
    let outcome = rewrite_as(rewriter, arrival, &[message.to_string().as_bytes()]).unwrap();
    outcome.events[0]["properties"].clone()
}

fn enriched(part: Json) -> Json {
    properties(None, Mapping::default(), part)
}

#[test]
fn invalid_ids_are_removed_from_the_callers_groups_and_merges() {
    for unusable in [json!(null), json!(true), json!([]), json!({}), json!(" ")] {
        let groups = json!({"company": unusable, "team": "t"});
        let event = enriched(json!({"properties": {"$groups": groups}}));
        assert_eq!(event["$groups"], json!({"team": "t"}), "{unusable}");
        let own = json!({"$anon_distinct_id": unusable});
        let event = enriched(json!({"type": "identify", "properties": own}));
        assert_eq!(event.get("$anon_distinct_id"), None, "{unusable}");
    }
}

#[test]
fn a_callers_group_without_an_id_does_not_hide_the_contexts_group() {
    for unusable in [json!(null), json!("undefined"), json!([])] {
        let groups = json!({"segment_group": unusable});
        let event =
            enriched(json!({"properties": {"$groups": groups}, "context": {"groupId": "g"}}));
        assert_eq!(
            event["$groups"],
            json!({"segment_group": "g"}),
            "{unusable}"
        );
    }
}

#[test]
fn a_trait_that_names_the_groups_type_is_taken_out_however_it_is_spelled() {
    let mapping = Mapping {
        group_type_from: super::super::super::GroupTypeFrom::Traits,
        ..Mapping::default()
    };
    let rewriter = Rewriter::new(mapping, Bounds::default());
    let body = br#"{"type":"group","userId":"u","groupId":"g","traits":{"group\u0054ype":"team","seats":4}}"#;
    let arrival = arrival(Call::Batch, None);
    let outcome = rewrite_as(rewriter, arrival, &[body]).unwrap();
    let event = &outcome.events[0]["properties"];
    assert_eq!(event["$group_type"], "team");
    assert_eq!(event["$group_set"], json!({"seats": 4}));
}

#[test]
fn an_undefined_referrer_of_the_context_does_not_hide_the_pages_own() {
    let event = enriched(json!({
        "type": "page",
        "properties": {"referrer": "https://duckduckgo.com/"},
        "context": {"page": {"referrer": "undefined"}},
    }));
    assert_eq!(event["$referrer"], "https://duckduckgo.com/");
    assert_eq!(event["$referring_domain"], "duckduckgo.com");
}

#[test]
fn a_caller_who_wants_a_profile_gets_metas_ids_into_it() {
    let cookies = Some("_fbp=fb.1.1700000000000.123456");
    for (wanted, ids) in [
        (json!(true), json!({"$fbp": "fb.1.1700000000000.123456"})),
        (json!(false), json!(null)),
    ] {
        let event = properties(
            cookies,
            Mapping::default(),
            json!({
                "properties": {"$process_person_profile": wanted},
                "context": {"library": {"name": "analytics.js"}},
            }),
        );
        assert_eq!(event["$set"], ids, "{wanted}");
    }
}

#[test]
fn a_version_of_the_user_agent_appears_only_with_its_own_name() {
    let chrome =
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/120.0.0.0 Safari/537.36";
    for (own, absent) in [
        ("browser", "$browser_version"),
        ("$browser", "$browser_version"),
        ("$os", "$os_version"),
    ] {
        let event =
            enriched(json!({"properties": {own: "Lynx"}, "context": {"userAgent": chrome}}));
        assert_eq!(event.get(absent), None, "{own}");
        assert_eq!(event["$device_type"], "Desktop", "{own}");
    }
}

#[test]
fn a_batch_that_is_not_json_is_rejected_even_if_another_one_replaces_it() {
    let good = r#""batch":[{"type":"track","event":"E","userId":"u","messageId":"m"}]"#;
    for (before, is_json) in [
        ("[]", true),
        ("[1,{}]", true),
        (r#"[{"a":"b":"c"}]"#, false),
        (
            r#"[{"type":"track","event":"E","userId":"u"},"a":"b"}"#,
            false,
        ),
    ] {
        let body = format!(r#"{{"batch":{before},{good}}}"#);
        let rewriter = Rewriter::new(Mapping::default(), Bounds::default());
        let outcome = rewrite_as(rewriter, arrival(Call::Batch, None), &[body.as_bytes()]);
        assert_eq!(outcome.is_ok(), is_json, "{body}");
    }
}
