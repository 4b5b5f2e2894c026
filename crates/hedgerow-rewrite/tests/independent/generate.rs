//! Requests that a sender could send, mostly unusual ones.

use serde_json::Value;

use super::choices::Choices;
use super::node::{object, Node, Text};
use super::oracle::{agents, Mode, Request, Settings, Switch};
use super::values::{id, integrations, text, time, traits, value};

/// The arrival: 2026-11-23T21:00:00.000Z.
pub const ARRIVAL: i64 = 1_795_467_600_000;

const KINDS: [&str; 6] = ["track", "page", "screen", "identify", "group", "alias"];

/// A request and the text of its body.
pub fn request(choices: &mut Choices<'_>) -> (Request, String) {
    let settings = settings(choices);
    let call = match choices.below(3) {
        0 => None,
        _ => Some(choices.of(&KINDS)),
    };
    let body = body(choices, call);
    let mut text = String::new();
    if choices.once_in(16) {
        text.push('\u{feff}');
    }
    body.write(&mut text);
    let request = Request {
        settings,
        call,
        body: body.value(),
        received_at: ARRIVAL,
        client_ip: [203, 0, 113, 7].into(),
        cookies: cookies(choices),
        api_key: "phc_test".to_owned(),
    };
    (request, text)
}

fn cookies(choices: &mut Choices<'_>) -> String {
    const SESSION: &str = "01a20a36-d208-7075-aab3-93b3a0a68891";
    let mut header = String::new();
    for _ in 0..choices.below(4) {
        let posthog_js = |last: i64, start: i64| {
            let stored = format!(r#"{{"$sesid":[{last},"{SESSION}",{start}],"x":1}}"#);
            let encoded = stored.replace('"', "%22").replace(',', "%2C");
            format!("ph_phc_test_posthog={encoded}")
        };
        let cookie = match choices.below(12) {
            0 => "a=b".to_owned(),
            1 => "_fbp=fb.1.1700000000000.123456".to_owned(),
            2 => "_fbc=fb.1.1700000000000.f".to_owned(),
            3 => "_fbc=fb.1.1700000000000.other-click_1.AQ".to_owned(),
            4 => "_fbp=fb.x.1.2".to_owned(),
            5 => "ajs_group_id=acme".to_owned(),
            6 => "ajs_group_id=%22acme%20ltd%22".to_owned(),
            7 => "ajs_group_id=null".to_owned(),
            8 => posthog_js(ARRIVAL - 60_000, ARRIVAL - 3_600_000),
            9 => posthog_js(ARRIVAL - 7_200_000, ARRIVAL - 7_300_000),
            10 => posthog_js(ARRIVAL - 60_000, ARRIVAL - 90_000_000),
            _ => "ph_phc_test_posthog=%zz".to_owned(),
        };
        header.push_str(choices.of(&["; ", ";", " ; "]));
        header.push_str(&cookie);
    }
    header
}

fn switch(choices: &mut Choices<'_>) -> Switch {
    match choices.once_in(8) {
        true => Switch::On,
        false => Switch::Off,
    }
}

pub fn settings(choices: &mut Choices<'_>) -> Settings {
    let mode = match choices.below(3) {
        0 => Mode::Reference,
        _ => Mode::Enriched,
    };
    // Most switches exist only in the enriched mode.
    let mut of_enriched = || match mode {
        Mode::Reference => Switch::Off,
        Mode::Enriched => switch(choices),
    };
    let (identified_only, drops_same_anonymous_id) = (of_enriched(), of_enriched());
    let (context_traits_always, bookkeeping) = (of_enriched(), of_enriched());
    Settings {
        mode,
        identified_only,
        drops_same_anonymous_id,
        context_traits_always,
        bookkeeping,
        ignores_integrations: switch(choices),
        group_type: choices.of(&["segment_group", "company"]).to_string(),
        group_type_from_traits: switch(choices),
    }
}

fn body(choices: &mut Choices<'_>, call: Option<&'static str>) -> Node {
    // One spelling in each request: of several, the first counts, and maps have no order.
    let all = choices.of(&["All", "all", "A-ll", "ALL"]);
    if choices.below(3) > 0 {
        return Node::Object(message(choices, call, all));
    }
    let mut entries = Vec::new();
    let mut items = Vec::new();
    for _ in 0..choices.below(4) {
        items.push(match choices.below(12) {
            0 => value(choices, 1),
            _ => Node::Object(message(choices, None, all)),
        });
    }
    if choices.once_in(3) {
        entries.push(("context", context(choices)));
    }
    if choices.once_in(4) {
        entries.push(("integrations", integrations(choices, all)));
    }
    if choices.once_in(3) {
        entries.push(("sentAt", time(choices)));
    }
    let at = choices.below(entries.len() + 1);
    entries.insert(at, ("batch", Node::Array(items)));
    let entries = entries.into_iter();
    Node::Object(
        entries
            .map(|(key, node)| (Text::plain(key), node))
            .collect(),
    )
}

fn message(choices: &mut Choices<'_>, call: Option<&'static str>, all: &str) -> Vec<(Text, Node)> {
    let mut entries: Vec<(&str, Node)> = Vec::new();
    let kind = match call {
        Some(kind) => kind,
        None => {
            let kind = choices.of(&KINDS);
            match choices.below(24) {
                0 => {}
                1 => entries.push(("type", value(choices, 1))),
                _ => entries.push(("type", kind.into())),
            }
            kind
        }
    };
    for _ in 0..choices.below(10) {
        let entry = match choices.below(17) {
            0 | 1 => ("userId", id(choices)),
            2 | 3 => ("anonymousId", id(choices)),
            4 => ("messageId", text(choices)),
            5 => ("timestamp", time(choices)),
            6 => ("sentAt", time(choices)),
            7 => ("originalTimestamp", time(choices)),
            8 => ("receivedAt", time(choices)),
            9 => ("event", text(choices)),
            10 => ("name", text(choices)),
            11 => ("category", text(choices)),
            12 => ("traits", traits(choices)),
            13 => ("integrations", integrations(choices, all)),
            14 => ("properties", properties(choices)),
            _ => ("context", context(choices)),
        };
        entries.push(entry);
    }
    match kind {
        "group" => entries.push(("groupId", id(choices))),
        "alias" if choices.below(4) > 0 => entries.push(("previousId", id(choices))),
        "track" if choices.below(8) > 0 => entries.push(("event", "Done".into())),
        _ => {}
    }
    if choices.below(8) > 0 {
        entries.push(("userId", "u".into()));
    }
    if choices.below(8) > 0 {
        entries.push(("messageId", "m".into()));
    }
    let turn = choices.below(entries.len() + 1);
    entries.rotate_left(turn);
    let written = entries.into_iter().map(|(key, node)| {
        let key = match choices.once_in(24) {
            true => Text::escaped(key),
            false => Text::plain(key),
        };
        (key, node)
    });
    written.collect()
}

const URLS: [&str; 22] = [
    "https://shop.example/a?gclid=1&utm_source=mail",
    "https://shop.example:8443/a/b",
    "http://shop.example:80",
    "HTTPS://Shop.Example/ä?utm_medium=a+b%20c&utm_medium=second",
    "https://münchen.example/ä",
    "https://shop.example/?utm_source=&utm_term",
    "https://shop.example/?x=1?gclid=2#utm_id=5",
    "https://shop.example/?fbclid=%zz+%41",
    "https://shop.example/??gclid=3&_kx=a=b",
    "https://www.google.com/search?q=hedge+row",
    "https://search.yahoo.com/?p=hedge&q=no",
    "http://www.bing.com/?q=",
    "https://duckduckgo.com/?q=x",
    "https://user:pass@shop.example/../a/./b/%2e%2e/c",
    "/relative?gclid=4",
    "shop.example",
    "android-app://com.example/",
    "",
    " ",
    "undefined",
    "about:blank",
    "https://[2001:db8::1]:444/x?li_fat_id=7",
];

fn url(choices: &mut Choices<'_>) -> Node {
    match choices.below(12) {
        0 => value(choices, 1),
        1 => Node::Text(Text::escaped(choices.of(&URLS))),
        _ => choices.of(&URLS).into(),
    }
}

fn properties(choices: &mut Choices<'_>) -> Node {
    if choices.once_in(10) {
        return match choices.below(3) {
            0 => value(choices, 2),
            1 => "hé😀".into(),
            _ => Node::Array(vec![Node::Number("1"), "b".into(), Node::Null]),
        };
    }
    let mut entries = Vec::new();
    for _ in 0..choices.below(8) {
        let (key, value) = match choices.below(23) {
            0 => ("url", url(choices)),
            1 => ("referrer", url(choices)),
            2 => ("path", text(choices)),
            3 => ("title", text(choices)),
            4 => ("utm_name", text(choices)),
            5 => ("browser", text(choices)),
            6 => ("$ip", address(choices)),
            7 => ("$groups", groups(choices)),
            8 => ("$set", traits(choices)),
            9 => ("$anon_distinct_id", id(choices)),
            10 => ("distinct_id", text(choices)),
            11 => ("$lib", text(choices)),
            12 => ("$process_person_profile", Node::Bool(choices.below(2) == 0)),
            13 => ("$cookieless_mode", value(choices, 0)),
            14 => ("$current_url", url(choices)),
            15 => ("viewport_width", value(choices, 0)),
            16 => ("$screen_name", text(choices)),
            17 => ("alias", id(choices)),
            18 => ("segment_ip", text(choices)),
            19 => (choices.of(&["$browser", "$os"]), text(choices)),
            20 => ("utm_source", text(choices)),
            21 => ("$pathname", text(choices)),
            _ => ("total", value(choices, 2)),
        };
        let key = match choices.once_in(24) {
            true => Text::escaped(key),
            false => Text::plain(key),
        };
        entries.push((key, value));
    }
    Node::Object(entries)
}

fn address(choices: &mut Choices<'_>) -> Node {
    match choices.below(6) {
        0 => value(choices, 0),
        1 => Node::Null,
        _ => choices
            .of(&["198.51.100.9", "", "undefined", "2001:db8::7", "unknown"])
            .into(),
    }
}

fn groups(choices: &mut Choices<'_>) -> Node {
    match choices.below(6) {
        0 => value(choices, 1),
        1 => object([("segment_group", id(choices)), ("company", id(choices))]),
        _ => object([("company", id(choices))]),
    }
}

fn context(choices: &mut Choices<'_>) -> Node {
    if choices.once_in(16) {
        return match choices.below(3) {
            0 => value(choices, 2),
            1 => "ab".into(),
            _ => Node::Array(vec!["x".into()]),
        };
    }
    let mut entries = Vec::new();
    for _ in 0..choices.below(8) {
        let (key, value) = match choices.below(20) {
            0 => ("ip", address(choices)),
            1 | 2 => ("page", page(choices)),
            3 => ("campaign", campaign(choices)),
            4 | 5 => ("library", library(choices)),
            6 => ("userAgent", agent(choices)),
            7 => ("os", inner(choices, &["name", "version", "build"])),
            8 => (
                "device",
                inner(choices, &["id", "type", "model", "manufacturer", "name"]),
            ),
            9 => (
                "app",
                inner(choices, &["name", "version", "build", "namespace"]),
            ),
            10 => (
                "network",
                inner(choices, &["wifi", "cellular", "bluetooth", "carrier"]),
            ),
            11 => (
                "screen",
                inner(choices, &["width", "height", "density", "innerWidth"]),
            ),
            12 => (
                "locale",
                choices.of(&["de-DE", "en", "", "undefined"]).into(),
            ),
            13 => ("timezone", text(choices)),
            14 => ("groupId", id(choices)),
            15 => ("traits", traits(choices)),
            16 => ("sessionId", session(choices)),
            17 => ("direct", Node::Bool(choices.below(2) == 0)),
            // Keys with a dot in them.
            18 => match choices.below(2) {
                0 => ("page.url", url(choices)),
                _ => ("os.name", text(choices)),
            },
            _ => ("extra", value(choices, 2)),
        };
        entries.push((Text::plain(key), value));
    }
    Node::Object(entries)
}

fn page(choices: &mut Choices<'_>) -> Node {
    let mut entries = Vec::new();
    for _ in 0..choices.below(5) {
        let (key, value) = match choices.below(6) {
            0 => ("path", text(choices)),
            1 => ("referrer", url(choices)),
            2 => ("title", text(choices)),
            3 => (
                "search",
                choices
                    .of(&["?utm_medium=ad&gclid=g", "?fbclid=f", "", "?"])
                    .into(),
            ),
            _ => ("url", url(choices)),
        };
        entries.push((Text::plain(key), value));
    }
    Node::Object(entries)
}

fn campaign(choices: &mut Choices<'_>) -> Node {
    match choices.below(8) {
        0 => value(choices, 1),
        1 => "ab".into(),
        _ => inner(
            choices,
            &["name", "source", "medium", "term", "content", "id"],
        ),
    }
}

fn library(choices: &mut Choices<'_>) -> Node {
    let names = [
        "analytics.js",
        "Analytics.JS",
        "analytics-ios",
        "analytics-node",
        "analytics-kotlin",
        "Analytics-CSharp",
        "",
        "undefined",
        "analytics-swift",
        "unknown-thing",
    ];
    let name = match choices.once_in(12) {
        true => value(choices, 0),
        false => choices.of(&names).into(),
    };
    match choices.below(3) {
        0 => object([("name", name), ("version", text(choices))]),
        _ => object([("name", name)]),
    }
}

/// A user agent with a known result of posthog-js.
fn agent(choices: &mut Choices<'_>) -> Node {
    match choices.below(8) {
        0 => text(choices),
        _ => {
            let known = agents();
            known[choices.below(known.len())].0.as_str().into()
        }
    }
}

fn inner(choices: &mut Choices<'_>, keys: &[&str]) -> Node {
    let words = ["iOS", "17.1", "x", "", "undefined", "android", "Linux"];
    let entries = (0..choices.below(5)).map(|_| {
        let key = choices.of(keys);
        let value = match choices.below(4) {
            0 => value(choices, 1),
            _ => choices.of(&words).into(),
        };
        (Text::plain(key), value)
    });
    Node::Object(entries.collect())
}

pub fn session(choices: &mut Choices<'_>) -> Node {
    match choices.below(6) {
        0 => value(choices, 0),
        1 => "01a20a36-d208-7075-aab3-93b3a0a68891".into(),
        2 => Node::Number("1700000000000"),
        3 => Node::Number("-1"),
        _ => Node::Number("1795464000000"),
    }
}

/// Whether the order of keys matters somewhere, which a map does not keep: of `name` and `campaign`
/// in a campaign the later one counts, of several spellings of `All` the first.
fn depends_on_order(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(depends_on_order),
        Value::Object(entries) => {
            let is_all = |key: &&String| {
                let letters: String = key.chars().filter(char::is_ascii_alphabetic).collect();
                letters.eq_ignore_ascii_case("all")
            };
            entries.contains_key("name") && entries.contains_key("campaign")
                || entries.keys().filter(is_all).count() > 1
                || entries.values().any(depends_on_order)
        }
        _ => false,
    }
}

/// A body that a fuzzer has written itself; `None` if it is no JSON.
pub fn raw(data: &[u8]) -> Option<(Request, String)> {
    let (choice, text) = data.split_at_checked(2)?;
    let text = std::str::from_utf8(text).ok()?;
    let body: Value = serde_json::from_str(text).ok()?;
    if depends_on_order(&body) {
        return None;
    }
    let mode = match choice[0] & 1 {
        0 => Mode::Reference,
        _ => Mode::Enriched,
    };
    let bit = |at: u8| match choice[0] >> at & 1 {
        0 => Switch::Off,
        _ => Switch::On,
    };
    let of_enriched = |at| match mode {
        Mode::Reference => Switch::Off,
        Mode::Enriched => bit(at),
    };
    let request = Request {
        settings: Settings {
            mode,
            ignores_integrations: bit(1),
            group_type: ["segment_group", "company"][usize::from(choice[0] >> 7)].to_owned(),
            group_type_from_traits: bit(2),
            identified_only: of_enriched(3),
            drops_same_anonymous_id: of_enriched(4),
            context_traits_always: of_enriched(5),
            bookkeeping: of_enriched(6),
        },
        call: KINDS.get(usize::from(choice[1]) % 8).copied(),
        body,
        received_at: ARRIVAL,
        client_ip: [203, 0, 113, 7].into(),
        cookies: String::new(),
        api_key: "phc_test".to_owned(),
    };
    Some((request, text.to_owned()))
}
