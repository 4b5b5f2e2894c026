//! Tests of the person and the source of an event: values that are placeholders, and libraries that run
//! both on phones and on servers.

use super::*;
use crate::rewrite::mapping::ContextTraits;

pub(super) const NOW: &str = "2026-11-23T21:00:00Z";

pub(super) fn run(mapping: &Mapping, message: &Json) -> TestOutcome {
    let rewriter = Rewriter::new(mapping.clone(), Bounds::default());
    let body = message.to_string();
    rewrite_as(
        rewriter,
        arrival(Call::Batch, Some(NOW)),
        &[body.as_bytes()],
    )
    .unwrap()
}

pub(super) fn event_of(mapping: &Mapping, message: &Json) -> Json {
    let outcome = run(mapping, message);
    assert_eq!(outcome.reports, Vec::<String>::new(), "{message}");
    outcome.events[0].clone()
}

pub(super) fn properties_of(message: &Json) -> Json {
    event_of(&Mapping::default(), message)["properties"].clone()
}

/// Returns a track call with these fields.
pub(super) fn track(fields: Json) -> Json {
    with(
        json!({"type": "track", "event": "A", "userId": "u"}),
        fields,
    )
}

pub(super) fn with(mut message: Json, fields: Json) -> Json {
    for (key, value) in fields.as_object().unwrap() {
        message[key] = value.clone();
    }
    message
}

/// Returns the values that carry no information where a string is expected.
pub(super) fn nothings() -> Vec<Json> {
    let texts = [
        "",
        " ",
        "\t\n",
        "undefined",
        "Undefined",
        " undefined ",
        "null",
        "NULL",
        "None",
        "nil",
        "NaN",
        "(null)",
        "[object Object]",
    ];
    let mut nothings: Vec<Json> = texts.into_iter().map(Json::from).collect();
    nothings.extend([json!(null), json!(false), json!([]), json!({})]);
    nothings
}

pub(super) fn collect(wrong: &mut Vec<String>, what: &str, got: &Json, expected: &Json) {
    if got != expected {
        wrong.push(format!("{what}: {got}, not {expected}"));
    }
}

#[test]
fn a_servers_event_without_a_usable_address_is_not_placed() {
    let mut wrong = Vec::new();
    let mut ips = nothings();
    ips.extend([
        json!(0),
        json!(true),
        json!("unknown"),
        json!("203.0.113.9:80"),
        json!("127.0.0.1"),
        json!("192.168.1.4"),
        json!("::1"),
    ]);
    for ip in &ips {
        for name in ["analytics_elixir", "analytics-node", "analytics-kotlin"] {
            let library = json!({"name": name});
            for message in [
                track(json!({"context": {"ip": ip, "library": library}})),
                track(json!({"properties": {"$ip": ip}, "context": {"library": library}})),
                track(
                    json!({"properties": {"$ip": ip}, "context": {"ip": ip, "library": library}}),
                ),
            ] {
                let disabled = &properties_of(&message)["$geoip_disable"];
                collect(&mut wrong, &message.to_string(), disabled, &json!(true));
            }
        }
    }
    let library = json!({"name": "analytics-node"});
    for (fields, ip) in [
        (
            json!({"context": {"ip": "198.51.100.9", "library": library}}),
            "198.51.100.9",
        ),
        (
            json!({"context": {"ip": "2001:db8::9", "library": library}}),
            "2001:db8::9",
        ),
        (
            json!({"properties": {"$ip": null}, "context": {"ip": "198.51.100.9", "library": library}}),
            "198.51.100.9",
        ),
        (
            json!({"properties": {"$ip": "198.51.100.8"}, "context": {"ip": null, "library": library}}),
            "198.51.100.8",
        ),
        (
            json!({"context": {"ip": null, "direct": true, "library": library}}),
            "203.0.113.7",
        ),
    ] {
        let properties = properties_of(&track(fields.clone()));
        collect(
            &mut wrong,
            &fields.to_string(),
            &properties["$ip"],
            &json!(ip),
        );
        collect(
            &mut wrong,
            &fields.to_string(),
            &properties["$geoip_disable"],
            &Json::Null,
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_visitors_address_is_filled_in_for_one_that_is_none() {
    let mut wrong = Vec::new();
    for ip in nothings().into_iter().chain([json!(0), json!(7)]) {
        for context in [
            json!({"library": {"name": "analytics.js"}}),
            json!({"library": {"name": "analytics-swift"}, "device": {"type": "ios"}}),
        ] {
            let in_context = with(context.clone(), json!({"ip": ip}));
            for message in [
                track(json!({"context": in_context})),
                track(json!({"context": context, "properties": {"$ip": ip}})),
            ] {
                let properties = properties_of(&message);
                for key in ["$ip", "segment_ip"] {
                    let what = format!("{key} of {message}");
                    collect(&mut wrong, &what, &properties[key], &json!("203.0.113.7"));
                }
            }
        }
    }
    // A value that a site writes there to hide the real address is kept.
    for ip in ["0.0.0.0", "198.51.100.9", "redacted", "203.0.113.xxx"] {
        let message = track(json!({"context": {"ip": ip, "library": {"name": "analytics.js"}}}));
        collect(&mut wrong, ip, &properties_of(&message)["$ip"], &json!(ip));
        let message = track(
            json!({"properties": {"$ip": ip}, "context": {"library": {"name": "analytics.js"}}}),
        );
        collect(&mut wrong, ip, &properties_of(&message)["$ip"], &json!(ip));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_says_nothing_adds_no_property() {
    let mut wrong = Vec::new();
    for nothing in nothings() {
        let properties = properties_of(&json!({
            "type": "page", "anonymousId": "a", "name": nothing, "category": nothing,
            "context": {
                "library": {"name": "analytics-kotlin", "version": nothing},
                "app": {"name": nothing, "version": nothing, "build": nothing, "namespace": nothing},
                "device": {"id": nothing, "manufacturer": nothing, "model": nothing, "name": nothing},
                "network": {"carrier": nothing},
                "os": {"version": nothing},
                "screen": {"density": nothing, "innerWidth": nothing, "innerHeight": nothing},
                "page": {"title": nothing},
                "locale": nothing, "timezone": nothing, "userAgent": nothing,
            },
        }));
        for key in [
            "name",
            "category",
            "title",
            "$lib_version",
            "segment_library_version",
            "$app_name",
            "$app_version",
            "$app_build",
            "$app_namespace",
            "$device_id",
            "$device_manufacturer",
            "$device_model",
            "$device_name",
            "$network_carrier",
            "$os_version",
            "$screen_density",
            "$viewport_width",
            "$viewport_height",
            "$locale",
            "$timezone",
            "$raw_user_agent",
            "$browser_language",
        ] {
            collect(
                &mut wrong,
                &format!("{key} of {nothing}"),
                &properties[key],
                &Json::Null,
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_says_nothing_does_not_hide_what_is_known_otherwise() {
    const AGENT: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";
    let mut wrong = Vec::new();
    for nothing in nothings() {
        // RudderStack's browser library sends an operating system without a name.
        let properties = properties_of(&json!({
            "type": "track", "event": "A", "anonymousId": "a",
            "properties": {"url": "https://shop.example/cart"},
            "context": {
                "os": {"name": nothing, "version": nothing},
                "device": {"id": nothing, "type": nothing, "model": nothing},
                "page": {"path": nothing},
                "library": {"name": "RudderLabs JavaScript SDK"},
                "userAgent": AGENT,
            },
        }));
        for (key, expected) in [
            ("$os", "Mac OS X"),
            ("$os_version", "10.15.7"),
            ("$device_type", "Desktop"),
            ("$pathname", "/cart"),
            ("$device_id", "a"),
            ("$ip", "203.0.113.7"),
        ] {
            let what = format!("{key} with {nothing}");
            collect(&mut wrong, &what, &properties[key], &json!(expected));
        }
    }
    for nothing in nothings()
        .into_iter()
        .filter(|nothing| nothing.is_string())
        .chain([json!(null)])
    {
        let campaign = json!({"source": nothing, "name": nothing, "medium": "mail", "id": null});
        let page = json!({"url": "https://shop.example/?utm_source=x&utm_campaign=y&utm_medium=z"});
        let message = track(json!({"context": {"campaign": campaign, "page": page}}));
        let properties = properties_of(&message);
        for (key, expected) in [
            ("utm_source", json!("x")),
            ("utm_campaign", json!("y")),
            ("utm_medium", json!("mail")),
            ("utm_id", json!(null)),
        ] {
            let what = format!("{key} with {nothing}");
            collect(&mut wrong, &what, &properties[key], &expected);
        }
        assert!(properties.get("utm_id").is_some());
    }
    // If nothing else is known, the value is the same as in the reference, and `undefined` counts as
    // missing.
    let os = |name: Json| properties_of(&track(json!({"context": {"os": {"name": name}}})));
    assert_eq!(os(json!(null)).get("$os"), Some(&Json::Null));
    assert_eq!(os(json!("")).get("$os"), Some(&json!("")));
    assert_eq!(os(json!("undefined")).get("$os"), None);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_device_that_everybody_has_is_none() {
    for id in [
        "00000000-0000-0000-0000-000000000000",
        "000000000000000",
        "unknown",
    ] {
        let message = track(json!({"context": {"device": {"id": id, "type": "ios"}}}));
        assert_eq!(properties_of(&message).get("$device_id"), None, "{id}");
    }
    let message = track(json!({"context": {"device": {"id": " d-1 "}}}));
    assert_eq!(properties_of(&message)["$device_id"], "d-1");
}

#[test]
fn traits_that_are_no_object_set_nothing_and_hide_nothing() {
    let pro = json!({"plan": "pro"});
    for traits in [
        json!([]),
        json!(["a"]),
        json!(""),
        json!("x"),
        json!(7),
        json!(true),
    ] {
        let identify = json!({"type": "identify", "userId": "u", "traits": traits});
        assert_eq!(properties_of(&identify).get("$set"), None, "{traits}");
        let both = with(identify, json!({"context": {"traits": pro}}));
        assert_eq!(properties_of(&both)["$set"], pro, "{traits}");
        let group = json!({"type": "group", "userId": "u", "groupId": "g", "traits": traits});
        assert_eq!(properties_of(&group).get("$group_set"), None, "{traits}");
        let none = json!({"type": "identify", "userId": "u", "context": {"traits": traits}});
        assert_eq!(properties_of(&none).get("$set"), None, "{traits}");
        let mapping = Mapping {
            context_traits: ContextTraits::Always,
            ..Mapping::default()
        };
        let track = track(json!({"properties": {"$set": traits}, "context": {"traits": pro}}));
        assert_eq!(
            event_of(&mapping, &track)["properties"]["$set"],
            pro,
            "{traits}"
        );
    }
    for traits in [json!(null), json!({})] {
        let both = json!({"type": "identify", "userId": "u", "traits": traits, "context": {"traits": pro}});
        assert_eq!(properties_of(&both)["$set"], pro, "{traits}");
    }
}

#[test]
fn a_message_id_that_says_nothing_is_as_if_it_were_missing() {
    for id in nothings() {
        let uuid = |id: &Json| {
            let message = track(json!({"messageId": id}));
            event_of(&Mapping::default(), &message)["uuid"].clone()
        };
        // Two purchases at the same moment are two events: their positions in the body distinguish them.
        let purchase = track(json!({"messageId": id, "timestamp": NOW}));
        let body = json!({"batch": [purchase, purchase]});
        let outcome = run(&Mapping::default(), &body);
        assert_ne!(outcome.events[0]["uuid"], outcome.events[1]["uuid"], "{id}");
        assert_ne!(uuid(&id), "b7995791-6db7-5099-9c72-a2fcbb71aed7", "{id}");
        assert_ne!(uuid(&id), uuid(&json!("m")), "{id}");
    }
    // The reference hashes any text, even an empty one.
    let message = track(json!({"messageId": ""}));
    assert_eq!(
        event_of(&Mapping::reference(), &message)["uuid"],
        "b7995791-6db7-5099-9c72-a2fcbb71aed7"
    );
}

#[test]
fn an_alias_without_a_usable_previous_id_takes_the_visitors() {
    // PostHog treats `NULL` as a real id.
    let previous = nothings().into_iter().filter(|id| id != "NULL");
    for previous in previous {
        let alias =
            json!({"type": "alias", "userId": "u", "anonymousId": "a", "previousId": previous});
        assert_eq!(properties_of(&alias)["alias"], "a", "{previous}");
        let alone = json!({"type": "alias", "userId": "u", "previousId": previous});
        let outcome = run(&Mapping::default(), &alone);
        match previous.is_string() || previous.is_null() {
            true => {
                let properties = &outcome.events[0]["properties"];
                assert_eq!(properties.get("alias"), None, "{previous}");
                assert_eq!(outcome.reports, ["notice alias_without_previous_id"]);
            }
            false => assert_eq!(outcome.reports, ["0 previous_id_not_text"], "{previous}"),
        }
    }
}

#[test]
fn a_phone_is_told_from_a_server_by_its_device_in_both_modes() {
    let phone = json!("203.0.113.7");
    let mut wrong = Vec::new();
    for (context, ip) in [
        (json!({"library": {"name": "analytics-kotlin"}}), Json::Null),
        (json!({"library": {"name": "Analytics-Swift"}}), Json::Null),
        (
            json!({"library": {"name": "analytics-kotlin"}, "device": {}}),
            Json::Null,
        ),
        (
            json!({"library": {"name": "analytics-kotlin"}, "device": {"type": "android"}}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "analytics-swift"}, "device": {"id": "d"}}),
            phone.clone(),
        ),
        (json!({"library": {"name": "Analytics-CSharp"}}), Json::Null),
        (
            json!({"library": {"name": "Analytics-CSharp"}, "device": {"type": "iOS"}}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "Analytics.NET"}, "device": {"type": "Android"}}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "analytics.xamarin"}, "device": {"type": "ANDROID"}}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "Analytics-CSharp"}, "platform": "Unity"}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "Analytics-CSharp"}, "platform": ".NET"}),
            Json::Null,
        ),
        (
            json!({"library": {"name": "RudderLabs JavaScript SDK"}}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "@jitsu/js", "env": "browser"}}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "@jitsu/js", "env": "node"}}),
            Json::Null,
        ),
        (json!({"library": {"name": "ANALYTICS.JS"}}), phone.clone()),
        (
            json!({"library": {"name": "analytics-kotlin"}, "direct": true}),
            phone.clone(),
        ),
        (
            json!({"library": {"name": "analytics-go"}, "direct": true}),
            phone,
        ),
    ] {
        let message = track(json!({"context": context}));
        for mapping in [Mapping::reference(), Mapping::default()] {
            let properties = event_of(&mapping, &message)["properties"].clone();
            let what = format!("{context} in {:?}", mapping.mode);
            collect(&mut wrong, &what, &properties["$ip"], &ip);
            if mapping.mode == Mode::Enriched {
                let disabled = if ip.is_null() {
                    json!(true)
                } else {
                    Json::Null
                };
                collect(&mut wrong, &what, &properties["$geoip_disable"], &disabled);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
