//! Values that `privacy:` removes leave neither to PostHog nor to the log nor through the command
//! line, which treats a message as the proxy does.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use support::client::{post, Client};
use support::proxy::{yaml, Proxy};
use support::recorder::Recorder;

/// A browser's message. A trusted proxy on this machine names the browser's address.
const TRACK: &str = r#"{"event":"Order Completed","userId":"u-1","anonymousId":"anon-1","messageId":"m-1",
"properties":{"email":"ada@example.com","total":1.50},"context":{"library":{"name":"analytics.js"}}}"#;

const FROM: &str = "X-Forwarded-For: 203.0.113.77\r\n";

fn configured(posthog: &str, more: &str) -> String {
    format!("{}trusted_proxies: [127.0.0.1]\n{more}\n", yaml(posthog))
}

/// What PostHog gets for one message: the header with the address, and the event.
async fn arrived(more: &str, headers: &str) -> (Option<String>, Json) {
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&configured(&posthog.url(), more)).await;
    let mut client = Client::connect(proxy.address).await;
    let headers = format!("{FROM}{headers}");
    let answer = client
        .exchange(&post("/hr/t", &headers, TRACK.as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let request = posthog.requests(1).await.remove(0);
    (
        request.header("x-forwarded-for"),
        request.json()["batch"][0].clone(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_is_masked_in_the_event_and_in_the_header_alike() {
    for (more, headers, expected) in [
        ("", "Sec-GPC: 1\r\nDNT: 1\r\n", "203.0.113.77"),
        ("privacy: {ip: last_octet}", "", "203.0.113.0"),
        ("privacy: {ip: all}", "", "0.0.0.0"),
        (
            "privacy: {do_not_track: anonymise}",
            "DNT: 1\r\n",
            "0.0.0.0",
        ),
        (
            "privacy: {do_not_track: anonymise}",
            "DNT: 0\r\n",
            "203.0.113.77",
        ),
    ] {
        let (header, event) = arrived(more, headers).await;
        assert_eq!(header.as_deref(), Some(expected), "{more} {headers}");
        assert_eq!(event["properties"]["$ip"], expected, "{more} {headers}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_browser_with_a_signal_are_dropped_with_200() {
    let posthog = Recorder::start().await;
    let more = "privacy: {global_privacy_control: drop, do_not_track: anonymise}";
    let proxy = Proxy::start(&configured(&posthog.url(), more)).await;
    let mut client = Client::connect(proxy.address).await;
    for headers in ["Sec-GPC: 1\r\n", "DNT: 1\r\n", ""] {
        let answer = client
            .exchange(&post("/hr/t", headers, TRACK.as_bytes()))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["success"], true);
    }
    let mut ids = Vec::new();
    for request in posthog.requests(2).await {
        ids.extend(request.ids());
    }
    assert!(ids[0].starts_with("anonymous:"), "{ids:?}");
    assert_eq!(ids[1..], ["u-1"]);
    let counts = proxy.hedgerow.counts();
    assert_eq!((counts.events, counts.left_out), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projects_constants_and_a_sites_rules_reach_the_wire() {
    let rules = "rules: [{event: Order Completed, rename: Bought}]";
    let posthog = Recorder::start().await;
    let yaml = configured(&posthog.url(), rules);
    let yaml = yaml.replace("api_key:", "properties: {release: 1.10}, api_key:");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(&post("/hr/t", "", TRACK.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = posthog.requests(1).await[0].json()["batch"][0].clone();
    assert_eq!(event["event"], "Bought");
    assert_eq!(event["properties"]["release"], "1.10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sixth_type_of_groups_is_logged_once_and_not_by_its_name() {
    support::log::keep();
    let posthog = Recorder::start().await;
    let proxy = Proxy::start(&configured(&posthog.url(), "")).await;
    let mut client = Client::connect(proxy.address).await;
    for number in 0..9 {
        let body = format!(
            r#"{{"event":"E","userId":"u","properties":{{"$groups":{{"kind-{number}":"g"}}}}}}"#
        );
        let answer = client.exchange(&post("/hr/t", "", body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let lines = support::log::lines("sixth_group_type");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("WARN") && lines[0].contains("project shop"),
        "{lines:?}"
    );
    assert_eq!(support::log::lines("kind-"), Vec::<String>::new());
}

struct Converted {
    code: Option<i32>,
    lines: Vec<Json>,
    said: String,
}

/// `hedgerow convert` with this configuration and these flags.
fn convert(more: &str, flags: &[&str], input: &str) -> Converted {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hedgerow.yaml");
    std::fs::write(&path, configured("us", more)).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args([
            "convert",
            "-c",
            path.to_str().unwrap(),
            "--client-ip",
            "203.0.113.77",
        ])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Converted {
        code: output.status.code(),
        lines: text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        said: String::from_utf8(output.stderr).unwrap(),
    }
}

fn one_line(text: &str) -> String {
    format!("{}\n", text.replace('\n', ""))
}

#[test]
fn convert_shows_what_the_switches_do_to_a_message() {
    let privacy = "privacy: {drop: [email], ip: last_octet, global_privacy_control: anonymise, do_not_track: drop}";
    let message = one_line(TRACK);
    let track = ["--type", "track"];
    let plain = convert(privacy, &track, &message);
    assert_eq!(plain.code, Some(0), "{}", plain.said);
    let properties = &plain.lines[0]["properties"];
    assert_eq!(properties["distinct_id"], "u-1");
    assert_eq!(properties["$ip"], "203.0.113.0");
    assert_eq!(properties.get("email"), None);
    assert_eq!(plain.lines[0].get("explain"), None);

    let anonymous = convert(privacy, &["--type", "track", "--gpc"], &message);
    let properties = &anonymous.lines[0]["properties"];
    let id = properties["distinct_id"].as_str().unwrap();
    assert!(id.starts_with("anonymous:"), "{id}");
    assert_eq!(properties["$ip"], "0.0.0.0");
    assert_eq!(properties["$process_person_profile"], false);

    let dropped = convert(privacy, &["--type", "track", "--gpc", "--dnt"], &message);
    assert_eq!((dropped.code, dropped.lines.len()), (Some(0), 0));
    assert!(
        dropped.said.contains("left out: do_not_track"),
        "{}",
        dropped.said
    );
}

#[test]
fn convert_explains_each_event_of_a_batch_on_its_own_line() {
    let batch = r#"{"batch":[{"type":"track","event":"A","userId":"u-1","properties":{"a":1}},
        {"type":"alias","userId":"u","previousId":"u"},
        {"type":"identify","userId":"u-2","traits":{"b":2}},{"type":"track","event":"","userId":"u"},
        {"type":"page","anonymousId":"a-3","context":{"page":{"title":"T"}}}]}"#;
    let plain = convert("", &[], &one_line(batch));
    let explained = convert("", &["--explain"], &one_line(batch));
    assert_eq!((plain.code, explained.code), (Some(1), Some(1)));
    assert_eq!(
        (plain.lines.len(), explained.lines.len()),
        (3, 3),
        "{}",
        explained.said
    );
    assert_eq!(plain.said, explained.said);
    assert!(
        plain
            .said
            .contains("line 1, message 2: left out: self_alias"),
        "{}",
        plain.said
    );
    assert!(
        plain
            .said
            .contains("line 1, message 4: refused: missing_event"),
        "{}",
        plain.said
    );
    for (plain, explained) in plain.lines.iter().zip(&explained.lines) {
        let mut without = explained.clone();
        without.as_object_mut().unwrap().remove("explain");
        assert_eq!(*plain, without);
        let keys = |value: &Json| {
            let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(keys(&explained["properties"]), keys(&explained["explain"]));
    }
    let origin = |line: usize, property: &str| explained.lines[line]["explain"][property].clone();
    assert_eq!(origin(0, "a"), "properties.a");
    assert_eq!(origin(0, "distinct_id"), "userId");
    assert_eq!(origin(1, "$set"), "traits");
    assert_eq!(origin(2, "distinct_id"), "anonymousId");
    assert_eq!(origin(2, "title"), "context.page.title");
}

#[test]
fn convert_names_the_sixth_group_type() {
    let lines: String = (0..7)
        .map(|number| {
            format!(
                "{{\"type\":\"track\",\"event\":\"E\",\"userId\":\"u\",\
                 \"properties\":{{\"$groups\":{{\"kind-{number}\":1}}}}}}\n"
            )
        })
        .collect();
    let converted = convert("", &[], &lines);
    assert_eq!((converted.code, converted.lines.len()), (Some(0), 7));
    assert_eq!(
        converted.said.matches("notice").count(),
        1,
        "{}",
        converted.said
    );
    assert!(
        converted.said.contains("line 6: notice: sixth_group_type")
            && converted.said.contains("\"kind-5\""),
        "{}",
        converted.said
    );
}
