//! Tests that the enriched mode adds properties to the reference's events and removes none.

use super::bodies::recordings;
use super::superset::{allow_exceptions, is_superset};
use super::vectors::vectors;
use super::*;
use crate::rewrite::enrich::edge_session::{EdgeSessions, SessionCookie};
use crate::rewrite::mapping::{
    Bookkeeping, ContextTraits, DeviceTypes, EventUuidForm, GroupTypeFrom, Noise, PersonProfiles,
    PostHogJs, SameAnonymousId, SecondIdentify,
};
use crate::rewrite::session::SessionKeeper;

fn events(mapping: &Mapping, call: Call, received_at: Option<&str>, body: &[u8]) -> Vec<Json> {
    let rewriter = Rewriter::new(mapping.clone(), Bounds::default());
    rewrite_as(rewriter, arrival(call, received_at), &[body])
        .unwrap()
        .events
}

fn event_with(mapping: &Mapping, body: &str) -> Json {
    let received = Some("2026-11-23T12:00:00Z");
    events(mapping, Call::Batch, received, body.as_bytes()).remove(0)
}

fn properties(body: &str) -> Json {
    event_with(&Mapping::default(), body)["properties"].clone()
}

#[test]
fn the_enriched_mode_changes_no_reference_value_on_any_vector_or_recording() {
    let mut bodies: Vec<(String, Call, Vec<u8>)> = vectors()
        .into_iter()
        .map(|vector| (vector.name, Call::Batch, vector.message.into_bytes()))
        .collect();
    bodies.extend(recordings());
    assert!(bodies.len() > 150, "{}", bodies.len());
    // An unusable id counts as missing (docs/fields.md). All bodies keep everything else.
    let excepted: Vec<(Json, &String)> = bodies
        .iter()
        .filter(|(name, ..)| ["alias-previousid-null", "track-messageid-empty"].contains(&&**name))
        .map(|(name, _, body)| (serde_json::from_slice(body).unwrap(), name))
        .collect();
    assert_eq!(excepted.len(), 2);
    let mut wrong = Vec::new();
    for received in [None, Some("2026-11-23T22:00:00Z")] {
        for (name, call, body) in &bodies {
            let less = events(&Mapping::reference(), *call, received, body);
            let more = events(&Mapping::default(), *call, received, body);
            assert_eq!(less.len(), more.len(), "{name}");
            for (more, mut less) in more.iter().zip(less) {
                if let Some((message, _)) = excepted.iter().find(|(_, excepted)| *excepted == name)
                {
                    allow_exceptions(message, &mut less);
                }
                if !is_superset(more, &less) {
                    wrong.push(format!("{name}:\n  less {less}\n  more {more}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

const BROWSER: &str = r#"{"type":"page","messageId":"m","anonymousId":"anon-1","userId":null,"name":"Home","timestamp":"2026-11-23T12:00:00Z",
 "properties":{"path":"/a","url":"https://Shop.example.com:8443/a?utm_source=x&gclid=G1","referrer":"https://www.google.com/search?q=shoes","title":"T"},
 "context":{"page":{"url":"https://Shop.example.com:8443/a?utm_source=x&gclid=G1","referrer":"https://www.google.com/search?q=shoes","title":"Shop","search":"?utm_source=x&gclid=G1"},
 "locale":"en-US","timezone":"Europe/Berlin","library":{"name":"analytics.js","version":"next-1.84.3"},
 "userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"}}"#;

#[test]
fn a_browsers_page_gets_what_web_analytics_needs() {
    let properties = properties(BROWSER);
    for (key, expected) in [
        ("$host", json!("shop.example.com:8443")),
        ("$pathname", json!("/a")),
        ("$referring_domain", json!("www.google.com")),
        ("$search_engine", json!("google")),
        ("ph_keyword", json!("shoes")),
        ("utm_source", json!("x")),
        ("gclid", json!("G1")),
        ("title", json!("T")),
        ("name", json!("Home")),
        ("$browser", json!("Chrome")),
        ("$browser_version", json!(126)),
        ("$os", json!("Mac OS X")),
        ("$os_version", json!("10.15.7")),
        ("$device_type", json!("Desktop")),
        ("$browser_language", json!("en-US")),
        ("$browser_language_prefix", json!("en")),
        ("$locale", json!("en-US")),
        ("$timezone", json!("Europe/Berlin")),
        ("$device_id", json!("anon-1")),
        ("$lib", json!("Segment")),
        ("$lib_version", json!("next-1.84.3")),
        ("segment_library_name", json!("analytics.js")),
        ("$is_identified", json!(false)),
    ] {
        assert!(
            same(&properties[key], &expected),
            "{key}: {}",
            properties[key]
        );
    }
    assert!(properties.get("$process_person_profile").is_none());
    assert!(properties.get("$geoip_disable").is_none());
}

#[test]
fn a_visit_without_a_referrer_is_direct() {
    let properties = properties(
        r#"{"type":"page","anonymousId":"a","context":{"page":{"url":"https://a.example/","referrer":""}}}"#,
    );
    assert_eq!(properties["$referrer"], "");
    assert_eq!(properties["$referring_domain"], "$direct");
}

#[test]
fn a_phones_fields_become_those_of_posthogs_mobile_libraries() {
    let properties = properties(
        r#"{"type":"track","event":"A","userId":"u","context":{"app":{"name":"Shop","version":"2.1","build":"40","namespace":"com.shop"},
        "device":{"id":"D","manufacturer":"Apple","model":"iPhone14,2","name":"Kim's","type":"ios"},"network":{"wifi":true,"cellular":false,"carrier":"X","bluetooth":null},
        "os":{"name":"iOS","version":"17.4"},"screen":{"width":390,"height":844,"density":3},"library":{"name":"analytics-swift","version":"1"}}}"#,
    );
    for (key, expected) in [
        ("$app_name", json!("Shop")),
        ("$app_version", json!("2.1")),
        ("$app_build", json!("40")),
        ("$app_namespace", json!("com.shop")),
        ("$device_id", json!("D")),
        ("$device_manufacturer", json!("Apple")),
        ("$device_model", json!("iPhone14,2")),
        ("$device_name", json!("Kim's")),
        ("$device_type", json!("ios")),
        ("$network_wifi", json!(true)),
        ("$network_cellular", json!(false)),
        ("$network_carrier", json!("X")),
        ("$os", json!("iOS")),
        ("$os_version", json!("17.4")),
        ("$screen_density", json!(3)),
        ("$ip", json!("203.0.113.7")),
    ] {
        assert!(
            same(&properties[key], &expected),
            "{key}: {}",
            properties[key]
        );
    }
    assert!(properties.get("$network_bluetooth").is_none());
    let mapping = Mapping {
        device_type: DeviceTypes::PostHog,
        ..Mapping::default()
    };
    let body = r#"{"type":"track","event":"A","userId":"u","context":{"device":{"type":"android","model":"X"},"screen":{"width":1600,"height":2560,"density":2}}}"#;
    assert_eq!(
        event_with(&mapping, body)["properties"]["$device_type"],
        "Tablet"
    );
}

#[test]
fn a_servers_event_does_not_move_its_person_to_the_data_centre() {
    let server = r#"{"type":"track","event":"A","userId":"u","context":{"library":{"name":"analytics-node","version":"3"}}}"#;
    assert_eq!(properties(server)["$geoip_disable"], true);
    let located = r#"{"type":"track","event":"A","userId":"u","context":{"ip":"1.2.3.4","library":{"name":"analytics-node"}}}"#;
    assert!(properties(located).get("$geoip_disable").is_none());
}

#[test]
fn the_callers_properties_are_never_replaced() {
    let properties = properties(
        r#"{"type":"track","event":"A","userId":"u","properties":{"$browser":"Mine","$host":"h","$session_id":"s","title":7,"$os":null,"utm_source":"me","$is_identified":"x"},
        "context":{"page":{"url":"https://a.example/?utm_source=x","title":"T"},"userAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"}}"#,
    );
    for (key, expected) in [
        ("$browser", json!("Mine")),
        ("$host", json!("h")),
        ("$session_id", json!("s")),
        ("title", json!(7)),
        ("$os", Json::Null),
        ("utm_source", json!("me")),
        ("$is_identified", json!("x")),
    ] {
        assert_eq!(properties[key], expected, "{key}");
    }
}

#[test]
fn placeholder_ids_count_as_missing() {
    for id in [
        "\"undefined\"",
        "\"[object Object]\"",
        "\"'null'\"",
        "true",
        "{}",
        "\" \"",
    ] {
        let body =
            format!(r#"{{"type":"identify","userId":{id},"anonymousId":"a","traits":{{}}}}"#);
        let event = event_with(&Mapping::default(), &body);
        assert_eq!(event["event"], "$set", "{id}");
        assert_eq!(event["properties"]["distinct_id"], "a", "{id}");
    }
    let body = r#"{"type":"identify","userId":" u1 ","anonymousId":"undefined","traits":{}}"#;
    let event = event_with(&Mapping::default(), body);
    assert_eq!(event["properties"]["distinct_id"], "u1");
    assert!(event["properties"].get("$anon_distinct_id").is_none());
    let long = "x".repeat(300);
    let body = format!(r#"{{"type":"track","event":"A","userId":"{long}"}}"#);
    let event = event_with(&Mapping::default(), &body);
    let id = event["properties"]["distinct_id"].as_str().unwrap();
    assert!(id.starts_with("sha256:") && id.len() < 200, "{id}");
}

#[test]
fn an_alias_without_a_previous_id_means_the_visitor() {
    let body = r#"{"type":"alias","userId":"u","anonymousId":"a"}"#;
    assert_eq!(
        event_with(&Mapping::default(), body)["properties"]["alias"],
        "a"
    );
    let same = r#"{"type":"alias","userId":"u","anonymousId":"u"}"#;
    assert!(event_with(&Mapping::default(), same)["properties"]
        .get("alias")
        .is_none());
}

#[test]
fn profiles_are_created_as_the_setting_says() {
    let anonymous = r#"{"type":"track","event":"A","anonymousId":"a"}"#;
    let setting = r#"{"type":"track","event":"A","anonymousId":"a","properties":{"$set":{"x":1}}}"#;
    let known = r#"{"type":"track","event":"A","userId":"u"}"#;
    let identify = r#"{"type":"identify","userId":"u","anonymousId":"a","properties":{"$process_person_profile":false}}"#;
    let mapping = |person_profiles| Mapping {
        person_profiles,
        ..Mapping::default()
    };
    let profile = |mapping: &Mapping, body| {
        event_with(mapping, body)["properties"]
            .get("$process_person_profile")
            .cloned()
    };
    let identified = mapping(PersonProfiles::IdentifiedOnly);
    assert_eq!(profile(&identified, anonymous), Some(json!(false)));
    assert_eq!(profile(&identified, setting), None);
    assert_eq!(profile(&identified, known), None);
    assert_eq!(profile(&identified, identify), None);
    let never = mapping(PersonProfiles::Never);
    assert_eq!(profile(&never, known), Some(json!(false)));
    assert!(events(&never, Call::Batch, None, identify.as_bytes()).is_empty());
}

#[test]
fn traits_of_the_context_replace_missing_ones() {
    let body = r#"{"type":"identify","userId":"u","context":{"traits":{"plan":"pro"}}}"#;
    assert_eq!(properties(body)["$set"], json!({"plan": "pro"}));
    let track = r#"{"type":"track","event":"A","userId":"u","context":{"traits":{"plan":"pro"}}}"#;
    assert!(properties(track).get("$set").is_none());
    let mapping = Mapping {
        context_traits: ContextTraits::Always,
        ..Mapping::default()
    };
    assert_eq!(
        event_with(&mapping, track)["properties"]["$set"],
        json!({"plan": "pro"})
    );
}

#[test]
fn groups_are_merged_and_filed_under_the_right_type() {
    let track = r#"{"type":"track","event":"A","userId":"u","properties":{"$groups":{"team":"t1"}},"context":{"groupId":"g1"}}"#;
    assert_eq!(
        properties(track)["$groups"],
        json!({"segment_group": "g1", "team": "t1"})
    );
    let group = r#"{"type":"group","userId":"u","groupId":"g1","traits":{"groupType":"company","name":"Acme"}}"#;
    let plain = properties(group);
    assert_eq!(plain["$group_type"], "segment_group");
    assert_eq!(plain["$groups"], json!({"segment_group": "g1"}));
    let mapping = Mapping {
        group_type: "organization".into(),
        group_type_from: GroupTypeFrom::Traits,
        ..Mapping::default()
    };
    let typed = event_with(&mapping, group)["properties"].clone();
    assert_eq!(typed["$group_type"], "company");
    assert_eq!(typed["$groups"], json!({"company": "g1"}));
    assert_eq!(typed["$group_set"], json!({"name": "Acme"}));
    let other = event_with(&mapping, track)["properties"]["$groups"].clone();
    assert_eq!(other, json!({"organization": "g1", "team": "t1"}));
}

#[test]
fn switches_that_change_the_reference_are_off_until_asked_for() {
    let same_ids = r#"{"type":"identify","userId":"u","anonymousId":"u","traits":{}}"#;
    assert_eq!(properties(same_ids)["$anon_distinct_id"], "u");
    let mapping = Mapping {
        same_anonymous_id: SameAnonymousId::Drop,
        bookkeeping: Bookkeeping::On,
        posthog_js: PostHogJs {
            identify: SecondIdentify::Set,
            noise: Noise::Strip,
        },
        ..Mapping::default()
    };
    let dropped = event_with(&mapping, same_ids);
    assert!(dropped["properties"].get("$anon_distinct_id").is_none());
    let identify = r#"{"type":"identify","messageId":"m9","userId":"u","anonymousId":"a","sentAt":"2026-11-23T12:00:00Z","traits":{"x":1},"properties":{"$lib":"web","token":"phc_x","$sdk_debug_a":1,"$session_id":"s"}}"#;
    let kept = event_with(&Mapping::default(), identify);
    assert_eq!(kept["event"], "$identify");
    assert_eq!(kept["properties"]["token"], "phc_x");
    let set = event_with(&mapping, identify);
    assert_eq!(set["event"], "$set");
    assert!(set["properties"].get("token").is_none());
    assert!(set["properties"].get("$sdk_debug_a").is_none());
    assert_eq!(set["properties"]["segment_message_id"], "m9");
    assert_eq!(set["properties"]["segment_sent_at"], "2026-11-23T12:00:00Z");
}

#[test]
fn uuids_of_version_7_are_the_same_for_every_try_of_a_message() {
    let mapping = Mapping {
        event_uuid: EventUuidForm::V7,
        ..Mapping::default()
    };
    let first = r#"{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":"2026-11-23T11:00:00.123Z","sentAt":"2026-11-23T11:00:01Z"}"#;
    let again = r#"{"type":"track","event":"A","userId":"u","messageId":"m","timestamp":"2026-11-23T11:00:00.123Z","sentAt":"2026-11-23T11:00:31Z"}"#;
    let received =
        |at, body: &str| events(&mapping, Call::Batch, Some(at), body.as_bytes()).remove(0);
    let one = received("2026-11-23T11:00:01.020Z", first);
    let two = received("2026-11-23T11:00:31.055Z", again);
    assert_eq!(one["uuid"], two["uuid"]);
    assert_eq!(one["uuid"].as_str().unwrap().as_bytes()[14], b'7');
}

#[test]
fn the_session_and_the_window_that_a_page_keeps_are_the_events() {
    const SESSION: &str = "01a1f909-ee20-7abc-8def-000000000001";
    const WINDOW: &str = "01a1f909-ee21-7abc-8def-000000000002";
    let sent = |kind: &str, context: &str| {
        let body = format!(
            r#"{{"type":"{kind}","event":"A","messageId":"m","anonymousId":"a","userId":"u","groupId":"g","previousId":"p","timestamp":"2026-11-20T13:00:00Z","context":{{"library":{{"name":"analytics.js"}},{context}}}}}"#
        );
        let mut list = events(
            &Mapping::default(),
            Call::Batch,
            Some("2026-11-20T13:00:01Z"),
            body.as_bytes(),
        );
        let properties = list.remove(0)["properties"].take();
        (
            properties["$session_id"].clone(),
            properties["$window_id"].clone(),
        )
    };
    let both = format!(r#""sessionId":"{SESSION}","windowId":"{WINDOW}""#);
    for kind in Kind::ALL.iter().map(|kind| kind.name()) {
        assert_eq!(sent(kind, &both), (json!(SESSION), json!(WINDOW)), "{kind}");
    }
    for (context, expected) in [
        (
            format!(r#""sessionId":"{SESSION}""#),
            json!([SESSION, null]),
        ),
        (format!(r#""windowId":"{WINDOW}""#), json!([null, null])),
        (
            format!(r#""sessionId":"{SESSION}","windowId":"w-1""#),
            json!([SESSION, null]),
        ),
        (
            format!(r#""sessionId":"x","windowId":"{WINDOW}""#),
            json!([null, null]),
        ),
    ] {
        let (session, window) = sent("page", &context);
        assert_eq!(json!([session, window]), expected, "{context}");
    }
}

pub(super) fn keeper() -> SessionKeeper {
    SessionKeeper {
        sessions: EdgeSessions::new([&[7_u8; 32][..]]).unwrap(),
        cookie: SessionCookie::new("s", None).unwrap(),
    }
}

#[test]
fn the_edge_keeps_a_session_in_its_cookie_and_other_sources_come_first() {
    let page = |id: &str| {
        format!(
            r#"{{"type":"page","messageId":"{id}","anonymousId":"a","timestamp":"2026-11-23T12:00:00Z","context":{{"library":{{"name":"analytics.js"}}}}}}"#
        )
    };
    let run = |cookies: Option<String>, body: &str| {
        let rewriter = Rewriter::new(Mapping::default(), Bounds::default()).with_sessions(keeper());
        let mut rewrite = rewriter
            .begin(Arrival {
                cookies,
                ..arrival(Call::Batch, Some("2026-11-23T12:00:01Z"))
            })
            .address_to(Arc::new(Recipient {
                project: ProjectId::of(&ApiKey::new("phc_test").unwrap()),
                ..Recipient::default()
            }));
        rewrite.push(body.as_bytes()).unwrap();
        rewrite.end();
        let mut batch = Batch::open(&Envelope::new(&ApiKey::new("phc_test").unwrap()));
        rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
        let sent: Json = serde_json::from_slice(&batch.close()).unwrap();
        let transport = crate::rewrite::enrich::edge_session::Transport::Plain;
        let session = sent["batch"][0]["properties"]["$session_id"].clone();
        (session, rewrite.finish().set_cookie(transport))
    };
    let (session, cookie) = run(None, &page("m1"));
    let id = session.as_str().unwrap().to_owned();
    assert_eq!(id.as_bytes()[14], b'7');
    let cookie = cookie.unwrap();
    let value = cookie.split(';').next().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let (again, _) = run(Some(format!("x=y; {value}")), &page("m2"));
    assert_eq!(again, id.as_str());
    let posthog = "%7B%22%24sesid%22%3A%5B1795435190000%2C%220196f0a1-1111-7abc-8def-000000000001%22%2C1795435190000%5D%7D";
    let (other, none) = run(
        Some(format!("ph_phc_test_posthog={posthog}; {value}")),
        &page("m3"),
    );
    // The session in posthog-js's cookie is ignored, because the time in its id is long past.
    assert_eq!(other, id.as_str());
    assert!(none.is_none());
    let server = r#"{"type":"track","event":"A","anonymousId":"a","context":{"library":{"name":"analytics-node"}}}"#;
    assert_eq!(run(None, server), (Json::Null, None));
}
