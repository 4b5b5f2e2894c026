//! The cases of the table.

use hedgerow_rewrite::rewrite::privacy::{ClickIds, Privacy};
use hedgerow_rewrite::{Call, Kind, Mapping};

use super::cases::*;
use super::outside::outside;

/// The ordinary body for the comparison.
pub fn ordinary() -> Case {
    single(4_000)
}

pub fn all() -> Vec<Case> {
    let mut cases = vec![
        ordinary(),
        body("an ordinary batch of 300", Call::Batch, ordinary_batch(300)),
    ];
    messages(&mut cases);
    objects(&mut cases);
    texts(&mut cases);
    contexts(&mut cases);
    outside(&mut cases);
    cases
}

fn messages(cases: &mut Vec<Case>) {
    let numbers = |text: &str| batch(5_242_000, |_| text.to_owned());
    cases.push(body(
        "5,242,000 times `1` in a batch",
        Call::Batch,
        numbers("1"),
    ));
    cases.push(body(
        "`{}` in a batch",
        Call::Batch,
        batch(400_000, |_| "{}".to_owned()),
    ));
    let excluded = r#"{"type":"track","event":"E","userId":"u","integrations":{"All":false}}"#;
    cases.push(body(
        "messages whose integrations exclude PostHog",
        Call::Batch,
        batch(60_000, |_| excluded.to_owned()),
    ));
    let small =
        |n: usize| format!(r#"{{"type":"track","event":"E","userId":"u","messageId":"{n}"}}"#);
    cases.push(body(
        "the smallest messages that Hedgerow accepts",
        Call::Batch,
        batch(80_000, small),
    ));
    let none = |_| r#"{"type":"track","event":"E","userId":"u"}"#.to_owned();
    cases.push(body(
        "the same without a messageId",
        Call::Batch,
        batch(80_000, none),
    ));
    let context = list(1_500, |n| format!(r#""k{n}":{{"a":"{n}"}}"#));
    let wide = batch(40_000, |_| {
        r#"{"type":"track","event":"E","userId":"u"}"#.to_owned()
    });
    let wide = format!(r#"{{"context":{{{context}}},{}"#, &wide[1..]);
    cases.push(body(
        "a context of the batch of 30 kB, small messages",
        Call::Batch,
        wide,
    ));
    let merged = batch(40_000, |_| {
        r#"{"type":"track","event":"E","userId":"u","context":{"k7":{"b":1}}}"#.to_owned()
    });
    let merged = format!(r#"{{"context":{{{context}}},{}"#, &merged[1..]);
    cases.push(body(
        "the same, merged with a context of each message",
        Call::Batch,
        merged,
    ));
    cases.push(body("brackets alone", Call::Batch, "[".repeat(5 << 20)));
    cases.push(body(
        "a batch in a batch in a batch",
        Call::Batch,
        r#"{"batch":["#.repeat(500_000),
    ));
    let spaces = format!(r#"{{"batch":[{}1]}}"#, " ".repeat(5 << 20));
    cases.push(body("white space", Call::Batch, spaces));
}

fn objects(cases: &mut Vec<Case>) {
    let tiny = list(60_000, |n| format!(r#""k{n}":1"#));
    cases.push(body("60,000 properties of a message", TRACK, track(&tiny)));
    cases.push(body(
        "100,000 times the same key",
        TRACK,
        track(&list(100_000, |_| r#""a":1"#.to_owned())),
    ));
    cases.push(body(
        "50,000 pairs of keys",
        TRACK,
        track(&list(100_000, |n| format!(r#""{}":1"#, n % 50_000))),
    ));
    let escaped = list(40_000, |n| format!(r#""\u006b{n}":1"#));
    cases.push(body("40,000 keys with escapes", TRACK, track(&escaped)));
    let same = list(40_000, |n| format!(r#""{:08}":1"#, n));
    cases.push(body("40,000 keys of one length", TRACK, track(&same)));
    let segment = list(30_000, |n| format!(r#""segment_{n}":1"#));
    let both = format!(
        r#""properties":{{{segment}}},"context":{{{}}}"#,
        list(30_000, |n| format!(r#""{n}":1"#))
    );
    cases.push(body(
        "30,000 properties that hide the context's",
        TRACK,
        beside(&both),
    ));
    cases.push(body(
        "60,000 properties and a NaN",
        TRACK,
        track(&format!("{tiny},\"n\":NaN")),
    ));
    cases.push(body(
        "50,000 objects and a NaN",
        TRACK,
        track(&format!(
            r#""n":NaN,"a":[{}]"#,
            list(50_000, |_| r#"{"a":{}}"#.to_owned())
        )),
    ));
    let deep = format!("{}1{}", r#"{"a":"#.repeat(110), "}".repeat(110));
    cases.push(body(
        "nested 110 deep, many times",
        TRACK,
        track(&list(500, |n| format!(r#""k{n}":{deep}"#))),
    ));
    let too_deep = format!(r#""k":{}{}"#, "[".repeat(400_000), "]".repeat(400_000));
    cases.push(body("nested 400,000 deep", TRACK, track(&too_deep)));
    let items = list(200_000, |_| "1".to_owned());
    cases.push(body(
        "properties that are an array of 200,000",
        TRACK,
        beside(&format!(r#""properties":[{items}]"#)),
    ));
    let text = "x".repeat(400_000);
    cases.push(body(
        "properties that are a text of 400,000",
        TRACK,
        beside(&format!(r#""properties":"{text}""#)),
    ));
    cases.push(body(
        "a context that is a text of 400,000",
        TRACK,
        beside(&format!(r#""context":"{text}""#)),
    ));
    cases.push(body(
        "a campaign that is an array of 100,000",
        TRACK,
        beside(&format!(
            r#""context":{{"campaign":[{}]}}"#,
            list(100_000, |_| "1".to_owned())
        )),
    ));
    let groups = list(40_000, |n| format!(r#""g{n}":"{n}""#));
    cases.push(body(
        "40,000 groups",
        TRACK,
        track(&format!(r#""$groups":{{{groups}}}"#)),
    ));
    let traits = list(60_000, |n| format!(r#""t{n}":1"#));
    cases.push(body(
        "60,000 traits of an identify call",
        Call::One(Kind::Identify),
        beside(&format!(r#""traits":{{{traits}}}"#)),
    ));
    cases.push(body(
        "60,000 traits of a group call",
        Call::One(Kind::Group),
        beside(&format!(r#""groupId":"g","traits":{{{traits}}}"#)),
    ));
}

fn texts(cases: &mut Vec<Case>) {
    let long = "k".repeat(400_000);
    cases.push(body(
        "a key of 400,000",
        TRACK,
        track(&format!(r#""{long}":1"#)),
    ));
    cases.push(body(
        "a text of 400,000 `\\u00e9`",
        TRACK,
        track(&format!(r#""a":"{}""#, "\\u00e9".repeat(100_000))),
    ));
    cases.push(body(
        "100,000 halves of surrogate pairs",
        TRACK,
        track(&format!(r#""a":"{}""#, "\\ud83d".repeat(100_000))),
    ));
    cases.push(body("bytes that are no UTF-8", TRACK, {
        let mut text = track(r#""a":"@""#).into_bytes();
        let at = text.iter().position(|byte| *byte == b'@').unwrap();
        text.splice(at..=at, std::iter::repeat_n(0xff, 250_000));
        text
    }));
    cases.push(body(
        "raw control characters",
        TRACK,
        track(&format!("\"a\":\"{}\"", "\u{1}".repeat(130_000))),
    ));
    cases.push(body(
        "100,000 times NaN",
        TRACK,
        track(&format!(r#""a":[{}]"#, list(100_000, |_| "NaN".to_owned()))),
    ));
    cases.push(body(
        "100,000 times 1e999",
        TRACK,
        track(&format!(
            r#""a":[{}]"#,
            list(100_000, |_| "1e999".to_owned())
        )),
    ));
    let nan = batch(20_000, |n| {
        format!(
            r#"{{"type":"track","event":"E","userId":"u","messageId":"{n}","properties":{{"a":NaN}}}}"#
        )
    });
    cases.push(body("a NaN in each message", Call::Batch, nan));
    let digits = "7".repeat(400_000);
    cases.push(body(
        "a number of 400,000 digits",
        TRACK,
        track(&format!(r#""a":{digits}"#)),
    ));
    cases.push(body(
        "40,000 doubles of 17 digits",
        TRACK,
        track(&format!(
            r#""a":[{}]"#,
            list(40_000, |n| format!("0.1234567890{n:07}"))
        )),
    ));
    cases.push(body(
        "a userId of 400,000 digits with a point",
        TRACK,
        format!(r#"{{"event":"E","userId":{digits}.5}}"#),
    ));
    cases.push(body(
        "a userId of 400,000",
        TRACK,
        format!(r#"{{"event":"E","userId":"{long}"}}"#),
    ));
    cases.push(body(
        "a messageId of 400,000",
        TRACK,
        format!(r#"{{"event":"E","userId":"u","messageId":"{long}"}}"#),
    ));
    cases.push(body(
        "an event name of 400,000",
        TRACK,
        format!(r#"{{"event":"{long}","userId":"u"}}"#),
    ));
    cases.push(body(
        "a timestamp of 400,000",
        TRACK,
        beside(&format!(r#""timestamp":"{}""#, "2023-".repeat(80_000))),
    ));
    let times = batch(10_000, |n| {
        format!(
            r#"{{"type":"track","event":"E","userId":"u","messageId":"{n}","timestamp":"Tuesday, 14-Nov-23 22:13:20 GMT"}}"#
        )
    });
    cases.push(body("times in words", Call::Batch, times));
}

fn contexts(cases: &mut Vec<Case>) {
    let context = |inside: &str| {
        beside(&format!(
            r#""context":{{"library":{{"name":"analytics.js"}},{inside}}}"#
        ))
    };
    let page = |url: &str| context(&format!(r#""page":{{"url":"{url}"}}"#));
    cases.push(body(
        "60,000 keys of the context",
        TRACK,
        context(&list(60_000, |n| format!(r#""k{n}":1"#))),
    ));
    cases.push(body(
        "a URL with 60,000 parameters",
        TRACK,
        page(&format!("https://shop.example/?{}", "a=b&".repeat(60_000))),
    ));
    cases.push(body(
        "a URL with 30,000 campaigns",
        TRACK,
        page(&format!(
            "https://shop.example/?{}",
            "utm_source=&".repeat(30_000)
        )),
    ));
    cases.push(body(
        "a URL with 100,000 escapes",
        TRACK,
        page(&format!(
            "https://shop.example/?utm_source={}",
            "%C3".repeat(100_000)
        )),
    ));
    cases.push(body(
        "a URL with a path of 100,000 dots",
        TRACK,
        page(&format!("https://shop.example/{}", "../a/".repeat(60_000))),
    ));
    cases.push(body(
        "a URL with an international host of 100,000",
        TRACK,
        page(&format!("https://{}.example/", "ü".repeat(100_000))),
    ));
    cases.push(body(
        "a URL with 60,000 labels",
        TRACK,
        page(&format!("https://{}/", "ä.".repeat(60_000))),
    ));
    cases.push(body(
        "a referrer of 300,000",
        TRACK,
        context(&format!(
            r#""page":{{"referrer":"https://{}google"}}"#,
            "google.".repeat(40_000)
        )),
    ));
    let agent = |text: &str| context(&format!(r#""userAgent":"{text}""#));
    cases.push(body(
        "a user agent of 400,000",
        TRACK,
        agent(&format!("Mozilla/5.0 {}", "Chrome/1.2 ".repeat(36_000))),
    ));
    cases.push(body(
        "a user agent of 400,000 spaces",
        TRACK,
        agent(&" ".repeat(400_000)),
    ));
    cases.push(body(
        "a user agent of 400,000 digits",
        TRACK,
        agent(&format!("Version/{}", "1.".repeat(200_000))),
    ));
    let agents = batch(5_000, |n| {
        format!(
            r#"{{"type":"track","event":"E","userId":"u","messageId":"{n}","context":{{"library":{{"name":"analytics.js"}},"userAgent":"Mozilla/5.0 (Linux; Android {n}; Pixel {n}) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/{n}.0 Mobile Safari/537.36"}}}}"#
        )
    });
    cases.push(body(
        "another user agent in each message",
        Call::Batch,
        agents,
    ));
    cases.push(body(
        "20,000 brands of a browser",
        TRACK,
        context(&format!(
            r#""userAgent":"Mozilla/5.0 Chrome/1","userAgentData":{{"brands":[{}]}}"#,
            list(20_000, |n| format!(r#"{{"brand":"b{n}","version":"1"}}"#))
        )),
    ));
    let session = r#""integrations":{"Actions Amplitude":{"session_id":1795464000000}},"#;
    let sessions = batch(20_000, |n| {
        format!(r#"{{"type":"track","event":"E","messageId":"{n}",{session}"anonymousId":"a{n}"}}"#)
    });
    cases.push(body(
        "another session in each message",
        Call::Batch,
        sessions,
    ));
    let mapping = Mapping {
        privacy: Privacy {
            drop: [
                "password",
                "**.card_number",
                "segment_traits",
                "*.*.secret*",
            ]
            .map(|path| path.parse().unwrap())
            .to_vec(),
            hash: vec!["**.*mail*".parse().unwrap()],
            click_ids: ClickIds::Mask,
            ..Privacy::default()
        },
        ..Mapping::default()
    };
    let private =
        |name: &str, text: String| with(name, (TRACK, None), mapping.clone(), text.into());
    cases.push(with(
        "privacy: an ordinary batch of 300",
        (Call::Batch, None),
        mapping.clone(),
        ordinary_batch(300).into(),
    ));
    cases.push(private(
        "privacy: 60,000 properties",
        track(&list(60_000, |n| format!(r#""k{n}":1"#))),
    ));
    cases.push(private(
        "privacy: 20,000 that are hashed",
        track(&list(20_000, |n| format!(r#""mail{n}":"x""#))),
    ));
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    cases.push(private(
        "privacy: nested 100 deep, many times",
        track(&list(500, |n| format!(r#""k{n}":{deep}"#))),
    ));
    cases.push(private(
        "privacy: an array of 200,000",
        track(&format!(r#""a":[{}]"#, list(200_000, |_| "1".to_owned()))),
    ));
    cases.push(private(
        "privacy: 40,000 that are dropped",
        track(&list(40_000, |n| {
            format!(r#""k{n}":{{"a":{{"secret":1}}}}"#)
        })),
    ));
    let many = Mapping {
        privacy: Privacy {
            drop: (0..60)
                .map(|n| format!("**.secret_{n}").parse().unwrap())
                .collect(),
            ..Privacy::default()
        },
        ..Mapping::default()
    };
    cases.push(with(
        "privacy: 60 patterns, 60,000 properties",
        (TRACK, None),
        many,
        track(&list(60_000, |n| format!(r#""k{n}":1"#))).into(),
    ));
    cases.push(private(
        "privacy: a URL with 60,000 click ids",
        track(&format!(
            r#""url":"https://a.example/?{}""#,
            "gclid=1&".repeat(40_000)
        )),
    ));
}
