//! The commands as a user meets them: what they print, to which stream, and their exit codes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "command_line/first_hour.rs"]
mod first_hour;
#[path = "command_line/start_check.rs"]
mod start_check;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

struct CommandOutput {
    code: Option<i32>,
    out: String,
    err: String,
}

fn hedgerow(arguments: &[&str], input: &str) -> CommandOutput {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    CommandOutput {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn convert_prints_one_event_a_line_in_order_and_reports_refusals() {
    let input = concat!(
        r#"{"type":"track","event":"One","userId":42,"messageId":"m1","timestamp":"2026-11-23T10:00:00+02:00"}"#,
        "\n\n",
        r#"{"batch":[{"type":"page","anonymousId":"a"},{"type":"track","event":"no id"},{"type":"alias","userId":"u","previousId":"u"}]}"#,
        "\n",
        "not json\n",
        r#"{"event":"no type","userId":"u"}"#,
    );
    let ended = hedgerow(&["convert"], input);
    let events = lines(&ended.out);
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["One", "$pageview"], "{}", ended.err);
    assert_eq!(events[0]["properties"]["distinct_id"], "42");
    // The command got no arrival time, so the event has the message's own.
    assert_eq!(events[0]["timestamp"], "2026-11-23T10:00:00+02:00");
    assert_eq!(ended.code, Some(1));
    for said in [
        "line 3, message 2: refused: missing_distinct_id",
        "line 3, message 3: left out: self_alias",
        "line 4: refused: not_an_object",
        "line 5, message 1: refused: missing_type",
    ] {
        assert!(
            ended.err.contains(said),
            "{said:?} is not in\n{}",
            ended.err
        );
    }
}

#[test]
fn convert_reads_the_facts_of_a_request_from_its_flags() {
    let input = r#"{"event":"A","userId":"u","timestamp":"2026-11-23T10:00:00Z","sentAt":"2026-11-23T10:00:05Z","context":{"library":{"name":"analytics.js"}}}"#;
    let flags = [
        "convert",
        "--type",
        "track",
        "--client-ip",
        "203.0.113.9",
        "--received-at",
        "2026-11-23T11:00:05.250Z",
    ];
    let ended = hedgerow(&flags, input);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let event = &lines(&ended.out)[0];
    assert_eq!(event["timestamp"], "2026-11-23T11:00:00.250Z");
    assert_eq!(event["properties"]["$ip"], "203.0.113.9");
    let bad = hedgerow(&["convert", "--received-at", "yesterday"], "");
    assert_eq!(bad.code, Some(2), "{}", bad.err);
}

#[test]
fn convert_gives_the_same_for_the_same_input() {
    let input = "{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\"}\n".repeat(2);
    let (first, second) = (
        hedgerow(&["convert"], &input),
        hedgerow(&["convert"], &input),
    );
    assert_eq!(first.out, second.out);
    let events = lines(&first.out);
    assert_ne!(
        events[0]["uuid"], events[1]["uuid"],
        "two heartbeats are two events"
    );
}

#[test]
fn convert_chooses_the_project_by_the_messages_key_as_run_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.yaml");
    let project = |name: &str| {
        format!("  {name}: {{host: us, api_key: phc_{name}, properties: {{project: {name}}}}}\n")
    };
    let projects = format!("projects:\n{}{}", project("shop"), project("blog"));
    let mapped =
        "routes:\n  - path: /hr/\n    segment: {write_keys: {wk_shop: shop, wk_blog: blog}}\n";
    let and_any = format!("{mapped}  - path: /all/\n    segment: {{project: shop}}\n");
    let message = |more: &str| {
        format!(r#"{{"type":"track","event":"A","userId":"u","messageId":"m"{more}}}"#)
    };
    let item = message("");
    let rows = [
        (message(r#","writeKey":"wk_blog""#), "blog"),
        (message(r#","writeKey":"wk_shop""#), "shop"),
        (
            format!(r#"{{"batch":[{item}],"writeKey":"wk_blog"}}"#),
            "blog",
        ),
        (
            format!(r#"{{"writeKey":"wk_blog","batch":[{item}]}}"#),
            "blog",
        ),
        (
            format!(r#"{{"batch":[{}]}}"#, message(r#","writeKey":"wk_blog""#)),
            "blog",
        ),
        // A nested key does not count; a key in a header does.
        (message(r#","properties":{"writeKey":"wk_blog"}"#), "shop"),
        (item.clone(), "shop"),
        (message(r#","writeKey":"""#), "shop"),
        (message(r#","writeKey":null"#), "shop"),
    ];
    let input: Vec<&str> = rows.iter().map(|(line, _)| line.as_str()).collect();
    let unknown = message(r#","writeKey":"wk_other""#);
    for (routes, others) in [(mapped, None), (and_any.as_str(), Some("shop"))] {
        std::fs::write(&file, format!("{projects}{routes}")).unwrap();
        let name = file.to_str().unwrap();
        let ended = hedgerow(&["convert", "-c", name], &input.join("\n"));
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let events = lines(&ended.out);
        for ((line, project), event) in rows.iter().zip(&events) {
            assert_eq!(event["properties"]["project"], *project, "{line}");
        }
        assert_eq!(events.len(), rows.len());
        let ended = hedgerow(&["convert", "-c", name], &format!("{unknown}\n{item}"));
        let events = lines(&ended.out);
        match others {
            None => {
                assert_eq!((ended.code, events.len()), (Some(1), 1), "{}", ended.err);
                assert!(ended.err.contains("line 1: refused: unknown_write_key"));
                assert!(!ended.err.contains("wk_other"), "{}", ended.err);
            }
            Some(project) => assert_eq!(events[0]["properties"]["project"], project),
        }
        let flags = ["convert", "-c", name, "--project", "shop"];
        let ended = hedgerow(&flags, &format!("{unknown}\n{}", rows[0].0));
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        for event in lines(&ended.out) {
            assert_eq!(event["properties"]["project"], "shop");
        }
    }
}

#[test]
fn a_type_is_for_single_messages_and_for_those_of_a_batch_that_name_none() {
    let input = concat!(
        r#"{"name":"Home","userId":"u"}"#,
        "\n",
        r#"{"batch":[{"userId":"u"},{"type":"track","event":"A","userId":"u"}]}"#,
    );
    let ended = hedgerow(&["convert", "--type", "page"], input);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let events = lines(&ended.out);
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["$pageview", "$pageview", "A"]);
}

#[test]
fn check_and_run_warn_about_a_host_without_ingestion() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    let name = file.to_str().unwrap();
    for (host, instead) in [
        ("https://us.posthog.com", "write `us`"),
        ("https://eu.posthog.com", "write `eu`"),
        ("https://app.posthog.com", "write `us` or `eu`"),
        ("https://us-assets.i.posthog.com", "write `us`"),
        (
            "https://ph.example.com/batch/",
            "write `https://ph.example.com`",
        ),
    ] {
        let yaml = format!(
            "listen: 127.0.0.1:0\nprojects:\n  shop: {{host: \"{host}\", api_key: phc_a}}\n\
             routes:\n  - path: /hr/\n    segment: {{project: shop}}\n"
        );
        std::fs::write(&file, yaml).unwrap();
        let ended = hedgerow(&["check", "-c", name], "");
        assert_eq!(ended.code, Some(0), "{host}: {}", ended.err);
        let said = format!("{name}:3:10: warning: projects.shop.host: ");
        assert!(
            ended.err.contains(&said) && ended.err.contains(instead),
            "{host}: {}",
            ended.err
        );
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["run", "-c", name])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let until_it_listens: Vec<String> = said
        .map(|line| line.unwrap())
        .take_while(|line| !line.contains("listening on"))
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let found = until_it_listens
        .iter()
        .filter(|line| line.contains("WARN") && line.contains("write `https://ph.example.com`"));
    assert_eq!(found.count(), 1, "{until_it_listens:?}");
}

#[test]
fn check_lists_five_mistakes_with_line_and_column_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    let yaml = "listen: nowhere\nprojects:\n  shop: {host: mars, api_key: phc_a, colour: red}\nroutes:\n  - path: hr\n    segment: {project: shopp}\n";
    std::fs::write(&file, yaml).unwrap();
    let name = file.to_str().unwrap();
    let ended = hedgerow(&["check", "-c", name], "");
    assert_eq!(ended.code, Some(2));
    for place in [":1:9:", ":3:16:", ":3:38:", ":5:11:", ":6:24:"] {
        let said = format!("{name}{place}");
        assert!(ended.err.contains(&said), "{said} is not in\n{}", ended.err);
    }
    let run = hedgerow(&["run", "-c", name], "");
    assert_eq!(run.code, Some(2), "a bad file is never served");
}

#[test]
fn check_prints_the_routes_of_a_good_file_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("good.yaml");
    let yaml = "projects:\n  shop: {host: eu, api_key: phc_secret_word}\nroutes:\n  - path: /hr/\n    segment: {project: shop, write_keys: [wk_secret_word]}\n";
    std::fs::write(&file, yaml).unwrap();
    let ended = hedgerow(&["check", "-c", file.to_str().unwrap()], "");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("/hr/") && ended.out.contains("https://eu.i.posthog.com"));
    assert!(!format!("{}{}", ended.out, ended.err).contains("secret_word"));
}

/// Two sites with the same prefix and a project each.
fn two_sites(folder: &std::path::Path) -> String {
    let mut yaml = String::from(
        "projects:\n  a: {host: eu, api_key: phc_aaaaaaaaaaaa}\n  b: {host: eu, api_key: phc_bbbbbbbbbbbb}\nroutes:\n",
    );
    for site in ["a", "b"] {
        yaml.push_str(&format!(
            "  - {{host: {site}.example.com, path: /k3/ph/, posthog: {site}}}\n  \
             - {{host: {site}.example.com, path: /k3/, segment: {{project: {site}, write_keys: [key{site}, other{site}], \
             library: {{folder: umd, script: fq7dk2, settings: sz4mwp, chunks: ch8tvn, calls: qn5rzd}}}}}}\n"
        ));
    }
    let file = folder.join("two.yaml");
    std::fs::write(&file, yaml).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_snippet_is_for_the_site_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = two_sites(folder.path());
    for (site, other) in [("a", "b"), ("b", "a")] {
        let domain = format!("{site}.example.com");
        let ended = hedgerow(&["snippet", "-c", &file, "--domain", &domain], "");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let (key, wrong) = (format!("\"key{site}\""), format!("key{other}"));
        assert!(ended.out.contains(&key), "{site}: {}", ended.out);
        assert!(!ended.out.contains(&wrong), "{site}: {}", ended.out);
        let project = format!("phc_{}", site.repeat(12));
        assert!(ended.out.contains(&project), "{site}: {}", ended.out);
    }
    let ended = hedgerow(&["snippet", "-c", &file, "--domain", "c.example.com"], "");
    assert_eq!(ended.code, Some(2), "{}", ended.out);
}

#[test]
fn a_snippet_asks_for_a_trusted_proxy_only_where_it_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.yaml");
    for (trusted, expected) in [
        ("", Some("Put its address into `trusted_proxies`")),
        (
            "trusted_proxies: [10.0.0.0/8]\n",
            Some("Its address has to be among `trusted_proxies`"),
        ),
        ("trusted_proxies: [127.0.0.1]\n", None),
        ("trusted_proxies: ['::1']\n", None),
        ("trusted_proxies: [127.0.0.0/8]\n", None),
    ] {
        let yaml = format!(
            "projects:\n  a: {{host: eu, api_key: phc_aaaaaaaaaaaa}}\nroutes:\n  \
             - {{path: /k3/ph/, posthog: a}}\n{trusted}"
        );
        std::fs::write(&file, yaml).unwrap();
        let ended = hedgerow(&["snippet", "-c", file.to_str().unwrap()], "");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        match expected {
            Some(words) => assert!(ended.err.contains(words), "{trusted}: {}", ended.err),
            None => assert!(!ended.err.contains("trusted_proxies"), "{}", ended.err),
        }
        assert!(ended.err.contains("use an `origin` route"), "{}", ended.err);
    }
}

#[test]
fn a_snippet_whose_settings_would_be_missing_is_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = two_sites(folder.path());
    for (key, expected) in [
        ("keya", Some(0)),
        ("othera", Some(0)),
        ("keyb", Some(2)),
        ("", Some(2)),
    ] {
        let ended = hedgerow(&["snippet", "-c", &file, "--write-key", key], "");
        assert_eq!(ended.code, expected, "{key:?}: {}{}", ended.out, ended.err);
        assert_eq!(ended.out.is_empty(), expected != Some(0), "{key:?}");
    }
}

#[test]
fn a_nonce_or_a_templates_placeholder_is_in_the_tag() {
    let folder = tempfile::tempdir().unwrap();
    let file = two_sites(folder.path());
    for nonce in ["aGk=", "{{ nonce }}", "<%= nonce %>", "{$nonce}"] {
        let ended = hedgerow(&["snippet", "-c", &file, "--nonce", nonce], "");
        assert_eq!(ended.code, Some(0), "{nonce}: {}", ended.err);
        let tag = format!("<script nonce=\"{nonce}\">\n");
        assert!(ended.out.starts_with(&tag), "{nonce}: {}", ended.out);
    }
    let ended = hedgerow(
        &["snippet", "-c", &file, "--for", "gtm", "--nonce", "aGk="],
        "",
    );
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(2), ""),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("--nonce"), "{}", ended.err);
    for nonce in ["", "\"><img>", "a\nb"] {
        let ended = hedgerow(&["snippet", "-c", &file, "--nonce", nonce], "");
        assert_eq!(ended.code, Some(2), "{nonce:?}: {}", ended.out);
        assert!(ended.out.is_empty(), "{nonce:?}");
    }
}

#[test]
fn a_closed_pipe_is_not_a_failure_and_a_full_disk_fails_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hedgerow.yaml");
    let yaml = "projects: {shop: {host: us, api_key: phc_aaaaaaaaaaaa}}\n\
                routes: [{path: /hr/, segment: {project: shop}}]\n";
    std::fs::write(&file, yaml).unwrap();
    let file = file.to_str().unwrap();
    let commands: [&[&str]; 16] = [
        &["--help"],
        &["-h"],
        &["help"],
        &["help", "run"],
        &["--version"],
        &["run", "--help"],
        &["check", "--help"],
        &["spool", "--help"],
        &["convert", "--help"],
        &["demo", "-h"],
        &["schema"],
        &["completions", "bash"],
        &["man"],
        &["init"],
        &["check", "-c", file],
        &["check", "-c", "/nowhere"],
    ];
    let mut wrong = Vec::new();
    for arguments in commands {
        for sink in ["closed", "full"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
            command.args(arguments).stdin(Stdio::null());
            if sink == "full" {
                let full = || {
                    std::fs::File::options()
                        .write(true)
                        .open("/dev/full")
                        .unwrap()
                };
                command.stdout(full()).stderr(full());
            } else {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            let mut child = command.spawn().unwrap();
            drop(child.stdout.take());
            let code = child.wait().unwrap().code();
            let unable = sink == "full" || arguments.contains(&"/nowhere");
            if code != Some(if unable { 2 } else { 0 }) {
                wrong.push(format!("{arguments:?} into what is {sink}: {code:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
