//! What a context gives is written once and copied from event to event: nothing may change by it.

use super::*;
use crate::rewrite::{ContextTraits, DeviceTypes};

/// What a caller gives, some of it in the way of what the context gives.
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

fn rewriters() -> Vec<Arc<Rewriter>> {
    let mappings = [
        Mapping::reference(),
        Mapping::default(),
        Mapping {
            device_type: DeviceTypes::PostHog,
            context_traits: ContextTraits::Always,
            ..Mapping::default()
        },
    ];
    let rewriter = |mapping| Arc::new(Rewriter::new(mapping, Bounds::default()));
    mappings.map(rewriter).into()
}

fn events(rewriter: &Arc<Rewriter>, constants: &[(String, String)], body: &str) -> Vec<Json> {
    let mut rewrite = rewriter.begin(arrival(Call::Batch, Some("2026-11-23T12:00:00Z")));
    rewrite.address_to(Arc::new(Recipient {
        properties: constants.to_vec(),
        ..Recipient::default()
    }));
    rewrite.push(body.as_bytes()).unwrap();
    rewrite.end();
    let envelope = Envelope::new(&ApiKey::new("phc_test").unwrap());
    let mut batch = Batch::open(&envelope);
    let mut seen = SeenKeys::default();
    while rewrite.pull(&mut batch, usize::MAX, &mut seen).unwrap() != Pulled::Done {}
    assert_eq!(seen.0, Vec::<String>::new());
    let value = strict(&batch.close()).unwrap_or_else(|error| panic!("{error}: {body}"));
    value["batch"].as_array().unwrap().clone()
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

#[test]
fn an_event_is_the_same_whichever_came_before_it_with_the_same_context() {
    let constants = [
        ("$host", "\"constant\""),
        ("$os", "\"constant\""),
        ("utm_source", "\"constant\""),
        ("segment_ip", "\"constant\""),
        ("team", "7"),
    ];
    let constants = constants.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let batchs = ["", r#","context":{"page":{"title":"B"},"timezone":"UTC"}"#];
    let mut wrong = Vec::new();
    for (rewriter, constants) in rewriters()
        .iter()
        .flat_map(|rewriter| [&[][..], &constants[..]].map(|constants| (rewriter, constants)))
    {
        for (context, batchs) in CONTEXTS
            .iter()
            .flat_map(|context| batchs.map(|batchs| (context, batchs)))
        {
            let mut messages = Vec::new();
            for kind in ["track", "page", "screen", "identify", "group"] {
                for callers in [&CALLERS[..1], &CALLERS[..], &CALLERS[..2]].concat() {
                    // The third of a kind is the first that is copied.
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
            let together = events(rewriter, constants, &body(&messages));
            assert_eq!(together.len(), messages.len());
            // Those of one number alone are compared with the same ones among all.
            for (number, expected) in together.iter().enumerate().filter(|(at, _)| at % 3 == 2) {
                let message = &messages[number];
                let alone = events(rewriter, constants, &body(std::slice::from_ref(message)));
                if alone != std::slice::from_ref(expected) {
                    wrong.push(format!("{message}\n  {expected}\n  {}", alone[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
