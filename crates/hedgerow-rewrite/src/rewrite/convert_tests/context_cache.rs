//! Tests that no event changes because the properties from a context are written once and then copied
//! from event to event.

use std::net::IpAddr;

use super::*;
use crate::rewrite::mapping::{ContextTraits, DeviceTypes};

/// The properties of callers. Some have the same keys as properties from the context.
const CALLERS: [&str; 24] = [
    "{}",
    r#"{"a":1}"#,
    r#"{"$os":"BeOS"}"#,
    r#"{"$os":null,"$host":7}"#,
    r#"{"utm_source":"own"}"#,
    r#"{"utm_campaign":"own"}"#,
    r#"{"utm_name":"own"}"#,
    r#"{"utm_other":"own"}"#,
    r#"{"segment_page":"own"}"#,
    r#"{"segment_library_name":"own"}"#,
    r#"{"url":"https://own.test/x?gclid=own"}"#,
    r#"{"url":""}"#,
    r#"{"$current_url":"https://own.test/y"}"#,
    r#"{"browser":"Own"}"#,
    r#"{"$browser":"Own"}"#,
    r#"{"$referrer":"https://google.com/?q=own"}"#,
    r#"{"$ip":"192.0.2.1"}"#,
    r#"{"$ip":null}"#,
    r#"{"title":"Own","path":"/own","referrer":"https://own.test/"}"#,
    r#"{"viewport_width":7}"#,
    r#"{"$set":{"a":1},"$groups":{"company":"c"}}"#,
    r#"{"$lib":"own","distinct_id":"own"}"#,
    "null",
    r#"[1,"two"]"#,
];

const CONTEXTS: [&str; 12] = [
    "",
    "{}",
    "null",
    r#"["x"]"#,
    r#"{"ip":"198.51.100.7","direct":true}"#,
    r#"{"campaign":{"name":"n","source":null,"campaign":"c","other":"o"},"library":{"name":"analytics.js"}}"#,
    r#"{"campaign":"abc","page":{"url":"https://a.test/?utm_source=url&utm_name=url"}}"#,
    r#"{"library" : {"name":"analytics.js","version":"1"},"page" :{"url": "https://a.test/p?gclid=g","referrer":"","title":"T"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36","locale":"en-US"}"#,
    r#"{"os":{"name":""},"device":{"type":"ios","id":"d-1"},"library":{"name":"analytics-ios"},"traits":{"t":1}}"#,
    r#"{"os":{"name":"undefined"},"userAgent":"undefined","page":{"path":null}}"#,
    r#"{"screen":{"width":800,"height":600,"density":2},"app":{"name":"A","version":"1","build":2},"network":{"wifi":true}}"#,
    r#"{"groupId":"g","library_name":"own","sessionId":1795435200000,"userAgentData":{"platform":"Linux"}}"#,
];

fn mappings() -> [Mapping; 3] {
    [
        Mapping::reference(),
        Mapping::default(),
        Mapping {
            device_type: DeviceTypes::PostHog,
            context_traits: ContextTraits::Always,
            ..Mapping::default()
        },
    ]
}

fn fresh(mapping: &Mapping) -> Arc<Rewriter> {
    Arc::new(Rewriter::new(mapping.clone(), Bounds::default()))
}

fn recipient(constants: &[(String, String)]) -> Arc<Recipient> {
    Arc::new(Recipient {
        properties: constants.to_vec(),
        ..Recipient::default()
    })
}

fn events(rewriter: &Arc<Rewriter>, recipient: &Arc<Recipient>, body: &str) -> Vec<Json> {
    let client = "203.0.113.7".parse().ok();
    let (events, refused) = events_of(rewriter, recipient, (client, body)).unwrap();
    assert_eq!(refused, Vec::<String>::new());
    events
}

fn events_of(
    rewriter: &Arc<Rewriter>,
    recipient: &Arc<Recipient>,
    (client, body): (Option<IpAddr>, &str),
) -> Option<(Vec<Json>, Vec<String>)> {
    let mut rewrite = rewriter
        .begin(Arrival {
            client_ip: client,
            ..arrival(Call::Batch, Some("2026-11-23T12:00:00Z"))
        })
        .address_to(Arc::clone(recipient));
    rewrite.push(body.as_bytes()).unwrap();
    rewrite.end();
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    let mut seen = SeenKeys::default();
    while rewrite.pull(&mut batch, usize::MAX, &mut seen).ok()? != Pulled::Done {}
    let value = strict(&batch.close()).unwrap_or_else(|error| panic!("{error}: {body}"));
    Some((value["batch"].as_array().unwrap().clone(), seen.0))
}

fn message(kind: &str, number: usize, properties: &str, context: &str) -> String {
    let context = match context {
        "" => String::new(),
        context => format!(r#""context":{context},"#),
    };
    format!(
        r#"{{"type":"{kind}","event":"E","userId":"u","anonymousId":"a-{number}","groupId":"g","previousId":"p","messageId":"m-{number}","name":"n-{number}",{context}"properties":{properties}}}"#
    )
}

/// Returns the constants of a project. Some have the same keys as properties from the context.
fn constants() -> [(String, String); 6] {
    [
        ("$host", "\"constant\""),
        ("$os", "\"constant\""),
        ("utm_source", "\"constant\""),
        ("segment_ip", "\"constant\""),
        ("segment_library", "\"constant\""),
        ("team", "7"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

#[test]
fn an_event_is_the_same_whichever_came_before_it_with_the_same_context() {
    let constants = constants();
    let batchs = ["", r#","context":{"page":{"title":"B"},"timezone":"UTC"}"#];
    let mut wrong = Vec::new();
    for (mapping, constants) in mappings()
        .iter()
        .flat_map(|mapping| [&[][..], &constants[..]].map(|constants| (mapping, constants)))
    {
        let recipient = recipient(constants);
        for (context, batchs) in CONTEXTS
            .iter()
            .flat_map(|context| batchs.map(|batchs| (context, batchs)))
        {
            let mut messages = Vec::new();
            for kind in ["track", "page", "screen", "identify", "group"] {
                for callers in [&CALLERS[..1], &CALLERS[..], &CALLERS[..2]].concat() {
                    // The third of the same messages is the first whose properties are copied.
                    for _ in 0..3 {
                        let number = messages.len();
                        messages.push(message(kind, number, callers, context));
                    }
                }
            }
            let body = |messages: &[String]| {
                let messages = messages.join(",");
                format!(r#"{{"batch":[{messages}],"sentAt":"2026-11-23T12:00:00Z"{batchs}}}"#)
            };
            let together = events(&fresh(mapping), &recipient, &body(&messages));
            assert_eq!(together.len(), messages.len());
            // Every third message is also converted alone, and must give the same event.
            for (number, expected) in together.iter().enumerate().filter(|(at, _)| at % 3 == 2) {
                let message = &messages[number];
                let alone = body(std::slice::from_ref(message));
                let alone = events(&fresh(mapping), &recipient, &alone);
                if alone != std::slice::from_ref(expected) {
                    wrong.push(format!("{message}\n  {expected}\n  {}", alone[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Bodies after which the next request of their client finds no context, or another one.
const OTHERS: [&str; 4] = [
    r#"{"type":"track","event":"E","userId":"u","context":{"page":{"title":"Cut"}},"properties":"#,
    r#"{"type":"track","event":"E","userId":"u","messageId":"m","context":{"a":1,"a":2}}"#,
    r#"{"type":"track","event":"E","userId":"u","messageId":"m","context":{"page":{"title":"\ud800"}}}"#,
    r#"{"batch":[1,{"type":"track","event":"E","userId":"u","messageId":"m"}]}"#,
];

#[test]
fn an_event_is_the_same_whichever_requests_of_its_client_came_before() {
    let recipients = [recipient(&[]), recipient(&constants())];
    let first: IpAddr = "203.0.113.7".parse().unwrap();
    let mut others = (0_u32..).map(|number| IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
    let same_place = |other: &IpAddr| ClientContexts::slot(*other) == ClientContexts::slot(first);
    let clients = [Some(first), Some(first), others.find(same_place), None];
    let batchs = ["", r#","context":{"page":{"title":"B"},"timezone":"UTC"}"#];
    // Pseudo-random numbers that are the same in each run.
    let mut state = 7_u64;
    let mut below = |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % end
    };
    let mut wrong = Vec::new();
    for mapping in &mappings() {
        let rewriter = fresh(mapping);
        for round in 0..1500 {
            // Uses few contexts at a time, so that the same context often follows itself.
            let context = CONTEXTS[(below(3) + round / 100) % CONTEXTS.len()];
            let callers = CALLERS[below(3) * below(CALLERS.len() / 2)];
            let kind = ["track", "page", "screen", "identify", "group", "alias"][below(6)];
            let one = message(kind, round, callers, context);
            let body = match below(10) {
                0 => OTHERS[below(OTHERS.len())].to_owned(),
                1 => format!(r#"{{"batch":[{one},{one}]{}}}"#, batchs[below(2)]),
                2 => format!(r#"{{"batch":[{one}]{}}}"#, batchs[below(2)]),
                _ => one,
            };
            let recipient = &recipients[usize::from(below(3) == 0)];
            let client = clients[below(clients.len())];
            let after = events_of(&rewriter, recipient, (client, &body));
            let alone = events_of(&fresh(mapping), recipient, (client, &body));
            if after != alone {
                wrong.push(format!("{body}\n  {after:?}\n  {alone:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_context_of_a_client_is_taken_up_by_its_next_request_alone() {
    let rewriter = fresh(&Mapping::default());
    let recipient = recipient(&[]);
    let body = message("track", 1, "{}", CONTEXTS[7]);
    let client = Some("203.0.113.7".parse().unwrap());
    for (client, is_known) in [(client, true), (None, false), (client, true)] {
        events_of(&rewriter, &recipient, (client, &body)).unwrap();
        let slot = client.map(ClientContexts::slot);
        let known = rewriter.spare.take(slot).1;
        assert_eq!(known.is_some(), is_known, "{client:?}");
    }
}

#[test]
fn a_large_context_is_not_kept_for_the_next_request() {
    let rewriter = fresh(&Mapping::default());
    let recipient = recipient(&[]);
    let address: IpAddr = "203.0.113.7".parse().unwrap();
    let slot = ClientContexts::slot(address);
    for (length, is_kept) in [(1_000, true), (13_000, false)] {
        let context = format!(r#"{{"locale":"{}"}}"#, "x".repeat(length));
        let body = message("track", 1, "{}", &context);
        events_of(&rewriter, &recipient, (Some(address), &body)).unwrap();
        let (_, known) = rewriter.spare.take(Some(slot));
        assert_eq!(known.is_some(), is_kept, "{length} bytes");
    }
}

/// Groups of earlier events, of the same sender or another project, do not change how groups are written.
#[test]
fn groups_that_came_before_change_nothing_of_an_event() {
    let groups = [
        r#"{"company":"acme"}"#,
        r#"{"company":" acme "}"#,
        r#"{"company":42.0}"#,
        r#"{"company":null,"team":"x"}"#,
        r#"{"com\"pany":"acme"}"#,
        r#"{"company":{"id":1}}"#,
        "{}",
        "null",
        r#"" acme ""#,
        r#"["company"]"#,
    ];
    let order = (0..groups.len()).flat_map(|first| {
        let second = (first * 3 + 1) % groups.len();
        [first, first, second, first, second]
    });
    let messages: Vec<String> = order
        .enumerate()
        .map(|(number, at)| {
            let kind = ["track", "page", "identify", "group"][number % 7 % 4];
            let properties = format!(r#"{{"$groups":{}}}"#, groups[at]);
            message(kind, number, &properties, "")
        })
        .collect();
    let batch = |messages: &[String]| format!(r#"{{"batch":[{}]}}"#, messages.join(","));
    let mut wrong = Vec::new();
    for mapping in mappings() {
        let rewriter = fresh(&mapping);
        let projects = [recipient(&[]), recipient(&constants())];
        for (number, message) in messages.iter().enumerate() {
            let project = &projects[number / 3 % 2];
            let body = batch(std::slice::from_ref(message));
            let alone = events(&fresh(&mapping), project, &body);
            let behind_others = events(&rewriter, project, &body);
            if alone != behind_others {
                wrong.push(format!("{message}: {alone:?}, {behind_others:?}"));
            }
        }
        let alone: Vec<Json> = messages
            .iter()
            .flat_map(|message| {
                let body = batch(std::slice::from_ref(message));
                events(&fresh(&mapping), &projects[0], &body)
            })
            .collect();
        let together = events(&rewriter, &projects[0], &batch(&messages));
        if alone != together {
            wrong.push(format!("together: {together:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
