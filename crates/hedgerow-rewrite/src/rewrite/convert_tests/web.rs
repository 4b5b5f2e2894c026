//! Tests of the properties that posthog-js would send about a page and its visitor, derived from the
//! messages of Segment's libraries.

use super::*;
use crate::rewrite::mapping::PersonProfiles;
use crate::rewrite::privacy::{ClickIds, Privacy, Signals, Treatment};
use crate::segment::Kind;

fn converted(mapping: &Mapping, cookies: Option<&str>, body: &Json) -> Json {
    let rewriter = Rewriter::new(mapping.clone(), Bounds::default());
    let arrival = Arrival {
        cookies: cookies.map(str::to_owned),
        ..arrival(Call::Batch, Some("2026-11-23T12:00:00Z"))
    };
    let body = body.to_string();
    let outcome = rewrite_as(rewriter, arrival, &[body.as_bytes()]).unwrap();
    outcome.events[0]["properties"].clone()
}

fn page(context: Json) -> Json {
    json!({"type": "page", "messageId": "m", "userId": "u", "context": context})
}

#[test]
fn every_user_agent_leaves_and_only_a_visitors_is_read() {
    let long = "x".repeat(1500);
    let cut = format!("{}...", "x".repeat(997));
    let chrome =
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                  Chrome/152.0.0.0 Safari/537.36";
    for (library, user_agent, raw, browser) in [
        ("analytics-node", "GPTBot/1.0", "GPTBot/1.0", None),
        (
            "analytics-python",
            "python-requests/2.31",
            "python-requests/2.31",
            None,
        ),
        ("analytics-ruby", long.as_str(), cut.as_str(), None),
        ("analytics-node", chrome, chrome, Some("Chrome")),
        ("analytics.js", "GPTBot/1.0", "GPTBot/1.0", None),
        ("analytics-ios", "GPTBot/1.0", "GPTBot/1.0", None),
        ("", "GPTBot/1.0", "GPTBot/1.0", None),
    ] {
        for kind in Kind::ALL.iter().map(|kind| kind.name()) {
            let context = json!({"userAgent": user_agent, "library": {"name": library}});
            let mut message = page(context);
            message["type"] = kind.into();
            message["event"] = "E".into();
            message["groupId"] = "g".into();
            message["previousId"] = "p".into();
            let properties = converted(&Mapping::default(), None, &message);
            assert_eq!(properties["$raw_user_agent"], raw, "{kind} by {library:?}");
            assert_eq!(
                properties["$browser"].as_str(),
                browser,
                "{kind} by {library:?}"
            );
        }
    }
    for nothing in [json!(""), json!(null), json!(7), json!([]), json!({})] {
        let context = json!({"userAgent": nothing, "library": {"name": "analytics-node"}});
        let properties = converted(&Mapping::default(), None, &page(context));
        assert_eq!(properties.get("$raw_user_agent"), None, "{properties}");
    }
    let own = json!({"type": "track", "event": "E", "messageId": "m", "userId": "u",
        "properties": {"$raw_user_agent": "mine"}, "context": {"userAgent": "GPTBot/1.0"}});
    assert_eq!(
        converted(&Mapping::default(), None, &own)["$raw_user_agent"],
        "mine"
    );
}

#[test]
fn an_apps_built_in_browser_is_named() {
    let user_agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 \
                      (KHTML, like Gecko) Mobile/15E148 Instagram 312.0.1.19.124 (iPhone15,2)";
    let context = json!({"userAgent": user_agent, "library": {"name": "analytics.js"}});
    let properties = converted(&Mapping::default(), None, &page(context));
    assert_eq!(properties["$webview_app"], "Instagram");
    assert_eq!(properties["$webview_app_version"], "312.0.1.19.124");
}

#[test]
fn a_page_has_its_host_and_path_however_its_url_is_written() {
    for (url, host, pathname) in [
        ("https://münchen.example/x", "xn--mnchen-3ya.example", "/x"),
        (
            "https://MÜNCHEN.example/ä b",
            "xn--mnchen-3ya.example",
            "/%C3%A4%20b",
        ),
        (
            "https://пример.рф:8443/путь?x=1",
            "xn--e1afmkfd.xn--p1ai:8443",
            "/%D0%BF%D1%83%D1%82%D1%8C",
        ),
        ("HTTPS://Shop.Example:443/A/../B", "shop.example", "/B"),
        ("https://ada:secret@shop.example/a", "shop.example", "/a"),
        ("http://[2001:DB8::0:1]:80/", "[2001:db8::1]", "/"),
        ("https:\\\\shop.example\\a\\b", "shop.example", "/a/b"),
        (" https://shop.example/a\tb\n", "shop.example", "/ab"),
        ("http://127.1:3000", "127.0.0.1:3000", "/"),
    ] {
        let context = json!({"page": {"url": url}, "library": {"name": "analytics.js"}});
        let properties = converted(&Mapping::default(), None, &page(context));
        assert_eq!(properties["$host"], host, "{url:?}");
        assert_eq!(properties["$pathname"], pathname, "{url:?}");
        assert_eq!(properties["$current_url"], url);
    }
    for url in [
        "shop.example/x",
        "//shop.example/x",
        "/x",
        "https://",
        "ftp://a/x",
        "https://a b/",
    ] {
        let context = json!({"page": {"url": url}});
        let properties = converted(&Mapping::default(), None, &page(context));
        assert_eq!(properties.get("$host"), None, "{url:?}");
        assert_eq!(properties.get("$pathname"), None, "{url:?}");
    }
    let context =
        json!({"page": {"url": "https://a.example/", "referrer": "https://müller.example/"}});
    let properties = converted(&Mapping::default(), None, &page(context));
    assert_eq!(properties["$referring_domain"], "xn--mller-kva.example");
}

const META: &str = "a=1; _fbc=fb.1.1700000000000.IwAR0; _fbp=fb.1.1700000000000.1234567890";

fn message(kind: &str, more: Json) -> Json {
    let mut message = json!({"type": kind, "event": "E", "messageId": "m", "anonymousId": "a",
        "context": {"library": {"name": "analytics.js"}}});
    let object = message.as_object_mut().unwrap();
    object.extend(more.as_object().unwrap().clone());
    message
}

#[test]
fn metas_cookies_become_properties_of_the_person() {
    let both = json!({"$fbc": "fb.1.1700000000000.IwAR0", "$fbp": "fb.1.1700000000000.1234567890"});
    let with = |more: Json| {
        let mut set = both.clone();
        set.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        set
    };
    let browser = json!({"name": "analytics.js"});
    let at = |url: &str| json!({"context": {"library": browser, "page": {"url": url}}});
    let only_browser = json!({"$fbp": "fb.1.1700000000000.1234567890"});
    let own = json!({"$set": {"plan": "pro"}});
    for (kind, more, expected) in [
        ("track", json!({}), both.clone()),
        ("page", json!({}), both.clone()),
        ("screen", json!({}), both.clone()),
        ("identify", json!({"userId": "u"}), both.clone()),
        ("identify", json!({"traits": {}}), both.clone()),
        (
            "identify",
            json!({"traits": { "plan": "pro" }}),
            with(json!({"plan": "pro"})),
        ),
        (
            "identify",
            json!({"traits": {"$fbc": "mine"}}),
            with(json!({"$fbc": "mine"})),
        ),
        ("group", json!({"groupId": "g"}), Json::Null),
        (
            "alias",
            json!({"userId": "u", "previousId": "p"}),
            Json::Null,
        ),
        ("page", at("https://a.example/?fbclid=IwAR0"), both.clone()),
        ("page", at("https://a.example/?fbclid=newer"), only_browser),
        (
            "track",
            json!({ "properties": own.clone() }),
            own["$set"].clone(),
        ),
        (
            "track",
            json!({"properties": {"$process_person_profile": false}}),
            Json::Null,
        ),
        (
            "track",
            json!({"context": {"library": {"name": "analytics-node"}}}),
            Json::Null,
        ),
        ("track", json!({"context": {}}), Json::Null),
    ] {
        let message = message(kind, more);
        let properties = converted(&Mapping::default(), Some(META), &message);
        let set = properties.get("$set").cloned().unwrap_or_default();
        assert_eq!(set, expected, "{message}");
        for name in ["$fbc", "$fbp"] {
            assert_eq!(properties.get(name), None, "{message}");
        }
    }
}

#[test]
fn metas_cookies_are_not_sent_if_click_ids_or_profiles_are_off() {
    let mut masked = Mapping::default();
    masked.privacy.click_ids = ClickIds::Mask;
    let profiles = |person_profiles| Mapping {
        person_profiles,
        ..Mapping::default()
    };
    let never = profiles(PersonProfiles::Never);
    let identified = profiles(PersonProfiles::IdentifiedOnly);
    for mapping in [masked, never, identified, Mapping::reference()] {
        let properties = converted(&mapping, Some(META), &message("page", json!({})));
        assert!(!properties.to_string().contains("fb.1."), "{properties}");
    }
    let anonymous = Mapping {
        privacy: Privacy {
            global_privacy_control: Treatment::Anonymise,
            ..Privacy::default()
        },
        ..Mapping::default()
    };
    let arrival = Arrival {
        cookies: Some(META.to_owned()),
        signals: Signals {
            global_privacy_control: crate::rewrite::privacy::Signal::Given,
            ..Signals::default()
        },
        ..arrival(Call::Batch, Some("2026-11-23T12:00:00Z"))
    };
    let body = message("page", json!({})).to_string();
    let rewriter = Rewriter::new(anonymous, Bounds::default());
    let outcome = rewrite_as(rewriter, arrival, &[body.as_bytes()]).unwrap();
    assert!(!outcome.events[0].to_string().contains("fb.1."));
}
