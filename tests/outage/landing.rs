//! An event gets the same location with its client's request as later from the spool, together with
//! other clients' events.

use std::io::Read;
use std::path::Path;

use serde_json::{json, Value};

use super::support::client::{post, Client};
use super::support::eventually;
use super::support::proxy::{yaml, Proxy};
use super::support::recorder::{response, Act, Recorder, OK};

const FROM: &str = "X-Forwarded-For: 203.0.113.77\r\n";

/// How an event reaches PostHog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventRoute {
    Streamed,
    Spooled,
    AfterAnOutage,
}

/// The location that PostHog gives an event (posthog-ingestion 2.2, 2.3), and its other properties.
#[derive(Debug, PartialEq, Eq)]
struct Landing {
    address: Option<String>,
    properties: Value,
}

fn is_truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && *value != json!("") && *value != json!(0)
}

fn configured(posthog: &str, folder: &Path, way: EventRoute, more: &str) -> String {
    let yaml = yaml(posthog);
    let spool = format!("{{path: \"{}\"}}", folder.join("spool").display());
    let yaml = match way {
        EventRoute::Streamed => yaml,
        EventRoute::Spooled => {
            yaml.replace("spool: \"off\"", &format!("mode: spool, spool: {spool}"))
        }
        EventRoute::AfterAnOutage => yaml.replace("\"off\"", &spool),
    };
    format!("{yaml}trusted_proxies: [127.0.0.1]\n{more}\n")
}

/// The location of this message's event.
async fn landing(way: EventRoute, more: &str, headers: &str, message: &str) -> Landing {
    let folder = tempfile::tempdir().unwrap();
    let posthog = Recorder::that(
        move |request| match (way, request.nth, request.connection) {
            (EventRoute::AfterAnOutage, 0, 0) => Act::Answer(response("503 Later", "", "")),
            _ => Act::Answer(OK.to_vec()),
        },
    )
    .await;
    let proxy = Proxy::start(&configured(&posthog.url(), folder.path(), way, more)).await;
    let mut client = Client::connect(proxy.address).await;
    let request = post("/hr/t", &format!("{FROM}{headers}"), message.as_bytes());
    let answer = client.exchange(&request).await;
    assert_eq!(answer.status, 200, "{way:?}: {answer:?}");
    let wanted = if way == EventRoute::AfterAnOutage {
        2
    } else {
        1
    };
    let taken = eventually("the batch that is taken", || {
        posthog.seen().into_iter().nth(wanted - 1)
    })
    .await;
    let mut body = Vec::new();
    if taken.body.starts_with(&[0x1f, 0x8b]) {
        let mut plain = flate2::read::GzDecoder::new(taken.body.as_slice());
        plain.read_to_end(&mut body).unwrap();
    } else {
        body.clone_from(&taken.body);
    }
    let batch: Value = serde_json::from_slice(&body).unwrap();
    let mut properties = batch["batch"][0]["properties"].clone();
    let own = properties.as_object_mut().unwrap().remove("$ip");
    let own = own
        .filter(is_truthy)
        .map(|ip| ip.as_str().unwrap().to_owned());
    let address = match is_truthy(&properties["$geoip_disable"]) {
        true => None,
        false => own
            .or(taken.header("x-forwarded-for"))
            .or(Some("Hedgerow's".to_owned())),
    };
    Landing {
        address,
        properties,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_lands_in_one_place_whether_it_was_streamed_or_spooled() {
    let context = |context: &str| {
        format!(r#"{{"event":"A","userId":"u","messageId":"m","context":{context}}}"#)
    };
    let no_library = context("{}");
    let masked = "privacy: {ip: last_octet}";
    let rows = [
        (
            "no library",
            "",
            "",
            no_library.clone(),
            Some("203.0.113.77"),
        ),
        (
            "an address that is null",
            "",
            "",
            context(r#"{"ip":null}"#),
            Some("203.0.113.77"),
        ),
        (
            "an address of its own",
            "",
            "",
            context(r#"{"ip":"198.51.100.1"}"#),
            Some("198.51.100.1"),
        ),
        (
            "a browser",
            "",
            "",
            context(r#"{"library":{"name":"analytics.js"}}"#),
            Some("203.0.113.77"),
        ),
        (
            "a server",
            "",
            "",
            context(r#"{"library":{"name":"analytics-node"}}"#),
            None,
        ),
        (
            "a server in the reference mode",
            "mapping: {mode: reference}",
            "",
            context(r#"{"library":{"name":"analytics-node"}}"#),
            Some("203.0.113.77"),
        ),
        (
            "an unknown library in the reference mode",
            "mapping: {mode: reference}",
            "",
            context(r#"{"library":{"name":"a library"},"ip":""}"#),
            Some("203.0.113.77"),
        ),
        (
            "a mask",
            masked,
            "",
            no_library.clone(),
            Some("203.0.113.0"),
        ),
        (
            "no address",
            "privacy: {ip: all}",
            "",
            no_library.clone(),
            None,
        ),
        (
            "no address, by the browser's wish",
            "privacy: {global_privacy_control: anonymise}",
            "Sec-GPC: 1\r\n",
            no_library.clone(),
            None,
        ),
        (
            "consent that any message may withhold",
            "privacy: {consent: {ads: anonymise}}",
            "",
            no_library.clone(),
            Some("0.0.0.0"),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, more, headers, message, expected) in rows {
        let streamed = landing(EventRoute::Streamed, more, headers, &message).await;
        if streamed.address.as_deref() != expected {
            wrong.push(format!("{name}: {streamed:?}"));
        }
        for way in [EventRoute::Spooled, EventRoute::AfterAnOutage] {
            let kept = landing(way, more, headers, &message).await;
            if kept != streamed {
                wrong.push(format!("{name}: {way:?}: {kept:?}, streamed {streamed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
