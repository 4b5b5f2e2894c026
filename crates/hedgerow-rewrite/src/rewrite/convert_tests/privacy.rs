//! Tests of which data about a visitor may leave, with whole messages.

use super::bodies::{bodies, recordings};
use super::*;
use crate::rewrite::privacy::{
    IpMask, PathPattern, Privacy, Pseudonym, Secret, Signal, Signals, Treatment,
};

const RECEIVED: &str = "2026-11-23T12:00:00Z";

pub(super) fn paths(texts: &[&str]) -> Vec<PathPattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn mapping(mode: Mode, privacy: Privacy) -> Mapping {
    Mapping {
        mode,
        privacy,
        ..Mapping::default()
    }
}

pub(super) fn outcome(mapping: &Mapping, call: Call, signals: Signals, body: &[u8]) -> TestOutcome {
    let rewriter = Rewriter::new(mapping.clone(), Bounds::default());
    let arrival = Arrival {
        signals,
        ..arrival(call, Some(RECEIVED))
    };
    rewrite_as(rewriter, arrival, &[body]).unwrap()
}

fn properties(privacy: Privacy, body: &str) -> Json {
    let mapping = mapping(Mode::Enriched, privacy);
    let outcome = outcome(&mapping, Call::Batch, Signals::default(), body.as_bytes());
    assert_eq!(outcome.reports, Vec::<String>::new(), "{body}");
    outcome.events[0]["properties"].clone()
}

#[test]
fn without_addresses_every_event_disables_the_location() {
    let privacy = || Privacy {
        ip: IpMask::All,
        ..Privacy::default()
    };
    for mode in [Mode::Reference, Mode::Enriched] {
        for (name, call, body) in bodies() {
            let events = outcome(&mapping(mode, privacy()), call, Signals::default(), &body).events;
            for event in events {
                let properties = &event["properties"];
                assert_eq!(properties["$ip"], "0.0.0.0", "{name}");
                assert_eq!(properties["$geoip_disable"], true, "{name}");
                for address in ["203.0.113.", "198.51.100.9", "198.51.100.10"] {
                    assert!(!event.to_string().contains(address), "{name}: {event}");
                }
            }
        }
    }
    let own = r#"{"type":"track","event":"E","userId":"u","properties":{"$ip":3405803783,"$geoip_disable":false}}"#;
    let properties = properties(privacy(), own);
    assert_eq!(
        (&properties["$ip"], &properties["$geoip_disable"]),
        (&json!("0.0.0.0"), &json!(true))
    );
}

#[test]
fn a_secret_keys_the_hashes_and_properties_that_posthog_needs_stay() {
    let secret = Secret::new(b"sixteen bytes and more").unwrap();
    let privacy = Privacy {
        hash: paths(&["**"]),
        drop: paths(&["distinct_id", "$lib", "$anon_distinct_id"]),
        secret: Some(secret),
        ..Privacy::default()
    };
    let body = r#"{"type":"identify","userId":"u","anonymousId":"a","traits":{"email":"ada@example.com"},"messageId":"m"}"#;
    let properties = properties(privacy, body);
    assert_eq!(properties["distinct_id"], "u");
    assert_eq!(properties["$anon_distinct_id"], "a");
    assert_eq!(properties["$lib"], "Segment");
    let hashed = properties["$set"]["email"].as_str().unwrap();
    assert!(
        hashed.starts_with("hmac-sha256:") && hashed.len() == 12 + 64,
        "{hashed}"
    );
}

const GPC: Signals = Signals {
    global_privacy_control: Signal::Given,
    do_not_track: Signal::Absent,
};

const DNT: Signals = Signals {
    global_privacy_control: Signal::Absent,
    do_not_track: Signal::Given,
};

const BOTH: Signals = Signals {
    global_privacy_control: Signal::Given,
    do_not_track: Signal::Given,
};

/// Returns what happens to one message: `sent`, `anonymous`, or the reason why it is left out.
fn result_of(privacy: &Privacy, signals: Signals, body: &str) -> String {
    let mapping = mapping(Mode::Enriched, privacy.clone());
    let outcome = outcome(&mapping, Call::Batch, signals, body.as_bytes());
    match outcome.events.first() {
        Some(event) if event["properties"]["distinct_id"] == "u" => "sent".to_owned(),
        Some(event) => {
            assert_eq!(event["properties"]["$process_person_profile"], false);
            "anonymous".to_owned()
        }
        None => outcome.reports.join(" "),
    }
}

#[test]
fn signals_and_consent_are_obeyed_and_the_strictest_counts() {
    use Treatment::{Anonymise, Drop, Send};
    let track = |consent: &str| {
        format!(
            r#"{{"type":"track","event":"E","userId":"u","messageId":"m","context":{{"x":1{consent}}}}}"#
        )
    };
    let none = track("");
    let preferences =
        |given: &str| track(&format!(r#","consent":{{"categoryPreferences":{given}}}"#));
    let privacy = |gpc, dnt, consent: &[(&str, Treatment)]| Privacy {
        global_privacy_control: gpc,
        do_not_track: dnt,
        consent: consent
            .iter()
            .map(|(name, without)| ((*name).to_owned(), *without))
            .collect(),
        ..Privacy::default()
    };
    let two = [("Analytics", Drop), ("Ad\"s", Anonymise)];
    let rows = [
        (privacy(Send, Send, &[]), BOTH, none.clone(), "sent"),
        (
            privacy(Drop, Anonymise, &[]),
            Signals::default(),
            none.clone(),
            "sent",
        ),
        (
            privacy(Drop, Anonymise, &[]),
            GPC,
            none.clone(),
            "0 global_privacy_control",
        ),
        (
            privacy(Drop, Anonymise, &[]),
            DNT,
            none.clone(),
            "anonymous",
        ),
        (
            privacy(Anonymise, Drop, &[]),
            BOTH,
            none.clone(),
            "0 do_not_track",
        ),
        (
            privacy(Drop, Drop, &[]),
            BOTH,
            none.clone(),
            "0 global_privacy_control",
        ),
        (
            privacy(Anonymise, Send, &two),
            GPC,
            preferences("{}"),
            "0 consent",
        ),
        // If `consent` is absent or null, nothing is enforced. If it is empty or unreadable, there is
        // no consent.
        (privacy(Send, Send, &two), GPC, none.clone(), "sent"),
        (
            privacy(Send, Send, &two),
            GPC,
            track(r#","consent":null"#),
            "sent",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            track(r#","consent":{}"#),
            "0 consent",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            track(r#","consent":true"#),
            "0 consent",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            preferences("null"),
            "0 consent",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            preferences(r#"["Analytics"]"#),
            "0 consent",
        ),
        // There is consent only if all categories are `true`.
        (
            privacy(Send, Send, &two),
            GPC,
            preferences(r#"{"Analytics":true,"Ad\"s":true}"#),
            "sent",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            preferences(r#"{"Analytics":true,"Ad\u0022s":false}"#),
            "anonymous",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            preferences(r#"{"Analytics":true}"#),
            "anonymous",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            preferences(r#"{"Analytics":"true","Ad\"s":true}"#),
            "0 consent",
        ),
        (
            privacy(Send, Send, &two),
            GPC,
            preferences(r#"{"analytics":true,"Ad\"s":true}"#),
            "0 consent",
        ),
        (
            privacy(Send, Send, &[("Any", Send)]),
            GPC,
            preferences("{}"),
            "sent",
        ),
    ];
    let mut wrong = Vec::new();
    for (privacy, signals, body, expected) in rows {
        let found = result_of(&privacy, signals, &body);
        if found != expected {
            wrong.push(format!(
                "{privacy:?} {signals:?} {body}: {found}, not {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn consent_of_a_batchs_context_counts_for_its_messages() {
    let privacy = Privacy {
        consent: vec![("Analytics".to_owned(), Treatment::Drop)],
        ..Privacy::default()
    };
    let body = r#"{"context":{"consent":{"categoryPreferences":{"Analytics":false}}},"batch":[
        {"type":"track","event":"E","userId":"u"},
        {"type":"track","event":"E","userId":"u","context":{"consent":{"categoryPreferences":{"Analytics":true}}}}]}"#;
    let mapping = mapping(Mode::Enriched, privacy);
    let outcome = outcome(&mapping, Call::Batch, Signals::default(), body.as_bytes());
    assert_eq!(outcome.reports, ["0 consent"]);
    assert_eq!(outcome.events.len(), 1);
}

fn anonymising(pseudonym: Pseudonym) -> Privacy {
    Privacy {
        global_privacy_control: Treatment::Anonymise,
        secret: Some(Secret::new(&[1; 32]).unwrap()),
        pseudonym,
        ..Privacy::default()
    }
}

#[test]
fn an_anonymised_event_shows_what_happened_but_not_to_whom() {
    let body = r#"{"type":"track","event":"Order Completed","messageId":"m-1","userId":"user-77","anonymousId":"anon-88",
        "timestamp":"2026-11-23T11:59:00.000Z","properties":{"total":9.50,"$set":{"email":"ada@example.com"},"$set_once":{"a":1},
        "$session_id":"0193-99","$window_id":"w","$device_id":"d","$groups":{"company":"c-1"},"$user_id":"user-77",
        "$process_person_profile":true,"$current_url":"https://a.test/?gclid=G7&utm_source=x"},
        "context":{"ip":"198.51.100.7","groupId":"c-1","traits":{"email":"ada@example.com"},"userAgent":"Mozilla/5.0 Chrome/126.0.0.0 Safari/537.36",
        "page":{"url":"https://a.test/?gclid=G7","title":"T"},"device":{"id":"device-66","advertisingId":"ad-55"},"sessionId":1795467712970,
        "library":{"name":"analytics.js","version":"1"},"locale":"en","custom":{"who":"ada"}}}"#;
    let mapping = mapping(Mode::Enriched, anonymising(Pseudonym::Event));
    let outcome = outcome(&mapping, Call::Batch, GPC, body.as_bytes());
    let event = &outcome.events[0];
    let properties = event["properties"].as_object().unwrap();
    let mut keys: Vec<&str> = properties.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "$browser",
        "$browser_language",
        "$browser_language_prefix",
        "$browser_version",
        "$current_url",
        "$device_type",
        "$geoip_disable",
        "$host",
        "$ip",
        "$lib",
        "$lib_version",
        "$locale",
        "$pathname",
        "$process_person_profile",
        "distinct_id",
        "gclid",
        "segment_ip",
        "segment_library",
        "segment_library_name",
        "segment_library_version",
        "segment_locale",
        "segment_page",
        "title",
        "total",
        "utm_source",
    ];
    assert_eq!(keys, expected, "{event}");
    assert_eq!(event["event"], "Order Completed");
    assert_eq!(event["timestamp"], "2026-11-23T11:59:00.000Z");
    assert_eq!(properties["$ip"], "0.0.0.0");
    assert_eq!(properties["$process_person_profile"], false);
    assert_eq!(
        properties["$current_url"],
        "https://a.test/?gclid=<masked>&utm_source=x"
    );
    assert!(properties["distinct_id"]
        .as_str()
        .unwrap()
        .starts_with("anonymous:"));
    let text = event.to_string();
    for trace in [
        "user-77",
        "anon-88",
        "ada",
        "198.51",
        "203.0.113",
        "c-1",
        "device-66",
        "ad-55",
        "G7",
        "0193-99",
    ] {
        assert!(!text.contains(trace), "{trace}: {text}");
    }
}

#[test]
fn no_recorded_request_gives_its_visitor_away() {
    let (mut events, mut id_count) = (0, 0);
    for mode in [Mode::Reference, Mode::Enriched] {
        for (name, call, body) in recordings() {
            let plain = outcome(&mapping(mode, Privacy::default()), call, GPC, &body).events;
            let ids: Vec<String> = plain
                .iter()
                .flat_map(|event| {
                    let properties = &event["properties"];
                    [
                        "distinct_id",
                        "$anon_distinct_id",
                        "$device_id",
                        "$ip",
                        "$session_id",
                    ]
                    .map(|key| properties[key].as_str().unwrap_or_default().to_owned())
                })
                .filter(|id| id.len() > 3)
                .collect();
            id_count += ids.len();
            for pseudonym in [Pseudonym::Event, Pseudonym::Day] {
                let mapping = mapping(mode, anonymising(pseudonym));
                for event in outcome(&mapping, call, GPC, &body).events {
                    events += 1;
                    let mut event = event;
                    let properties = event["properties"].as_object_mut().unwrap();
                    assert_eq!(properties["$ip"], "0.0.0.0", "{name}");
                    // A site's own properties are left out of the check, because they may hold anything.
                    properties.retain(|key, _| key.starts_with(['$', 's']) || key == "distinct_id");
                    let text = event.to_string();
                    for id in &ids {
                        assert!(!text.contains(id.as_str()), "{name}: {id} in {text}");
                    }
                }
            }
        }
    }
    assert!(events > 100 && id_count > 100, "{events} {id_count}");
}

#[test]
fn messages_that_only_identify_a_person_are_left_out_of_an_anonymous_visit() {
    for message in [
        r#""type":"identify","userId":"u","traits":{"email":"e"}"#,
        r#""type":"identify","anonymousId":"a","traits":{"email":"e"}"#,
        r#""type":"group","userId":"u","groupId":"g""#,
        r#""type":"alias","userId":"u","previousId":"p""#,
        r#""type":"track","event":"$identify","userId":"u""#,
        r#""type":"track","event":"$set","userId":"u""#,
    ] {
        let found = result_of(
            &anonymising(Pseudonym::Event),
            GPC,
            &format!("{{{message}}}"),
        );
        assert_eq!(found, "0 anonymous", "{message}");
    }
}

#[test]
fn a_pseudonym_lasts_for_an_event_or_for_a_day() {
    let id = |pseudonym, message_id: &str, timestamp: &str| {
        let body = format!(
            r#"{{"type":"track","event":"E","anonymousId":"a","messageId":"{message_id}","timestamp":"{timestamp}"}}"#
        );
        let mapping = mapping(Mode::Enriched, anonymising(pseudonym));
        let events = outcome(&mapping, Call::Batch, GPC, body.as_bytes()).events;
        events[0]["properties"]["distinct_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (morning, evening) = ("2026-11-23T01:00:00Z", "2026-11-23T23:00:00Z");
    let tomorrow = "2026-11-24T01:00:00Z";
    use Pseudonym::{Day, Event};
    assert_eq!(id(Event, "m-1", morning), id(Event, "m-1", tomorrow));
    assert_ne!(id(Event, "m-1", morning), id(Event, "m-2", morning));
    assert_eq!(id(Day, "m-1", morning), id(Day, "m-2", evening));
    assert_ne!(id(Day, "m-1", morning), id(Day, "m-1", tomorrow));
}

#[test]
fn a_header_never_shows_more_than_the_events() {
    let client = "203.0.113.77".parse().unwrap();
    let consent = |without| Privacy {
        consent: vec![("Analytics".to_owned(), without)],
        ..Privacy::default()
    };
    let masked = |ip| Privacy {
        ip,
        ..Privacy::default()
    };
    for (privacy, signals, expected) in [
        (Privacy::default(), GPC, "203.0.113.77"),
        (masked(IpMask::LastOctet), GPC, "203.0.113.0"),
        (masked(IpMask::All), GPC, "0.0.0.0"),
        (anonymising(Pseudonym::Event), GPC, "0.0.0.0"),
        (anonymising(Pseudonym::Event), DNT, "203.0.113.77"),
        (consent(Treatment::Send), GPC, "203.0.113.77"),
        (consent(Treatment::Anonymise), GPC, "0.0.0.0"),
    ] {
        let forwarded = privacy.forwarded(client, signals).to_string();
        assert_eq!(forwarded, expected, "{privacy:?} {signals:?}");
    }
}

#[test]
fn hashes_cannot_make_an_event_larger_than_it_may_be() {
    let privacy = Privacy {
        hash: paths(&["**"]),
        ..Privacy::default()
    };
    let bounds = Bounds {
        event: 100_000,
        ..Bounds::default()
    };
    let body = format!(
        r#"{{"type":"track","event":"E","userId":"u","properties":{{"a":[{}1]}}}}"#,
        "1,".repeat(20_000)
    );
    let rewriter = Rewriter::new(mapping(Mode::Enriched, privacy), bounds);
    let outcome = rewrite_as(rewriter, arrival(Call::Batch, None), &[body.as_bytes()]).unwrap();
    assert_eq!(outcome.reports, ["0 too_large"]);
}
