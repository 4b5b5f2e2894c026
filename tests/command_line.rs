//! The commands as a user meets them: what they print where, and how they end.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn hedgerow(arguments: &[&str], input: &str) -> Ended {
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
    Ended {
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
fn convert_gives_one_event_a_line_in_order_and_says_what_it_refused() {
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
    // No arrival was given, so the time is the message's own.
    assert_eq!(events[0]["timestamp"], "2026-11-23T10:00:00+02:00");
    assert_eq!(ended.code, Some(1));
    for said in [
        "line 3, message 1: refused: missing_distinct_id",
        "line 3, message 2: left out: self_alias",
        "line 4: refused: not_an_object",
        "line 5, message 0: refused: missing_type",
    ] {
        assert!(
            ended.err.contains(said),
            "{said:?} is not in\n{}",
            ended.err
        );
    }
}

#[test]
fn convert_takes_what_a_request_would_bring_from_its_flags() {
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

/// Two sites on one prefix, each with a project of its own.
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
fn a_nonce_stands_in_the_tag_also_as_a_templates_own_word() {
    let folder = tempfile::tempdir().unwrap();
    let file = two_sites(folder.path());
    for nonce in ["aGk=", "{{ nonce }}", "<%= nonce %>", "{$nonce}"] {
        let ended = hedgerow(&["snippet", "-c", &file, "--nonce", nonce], "");
        assert_eq!(ended.code, Some(0), "{nonce}: {}", ended.err);
        let tag = format!("<script nonce=\"{nonce}\">\n");
        assert!(ended.out.starts_with(&tag), "{nonce}: {}", ended.out);
    }
    for nonce in ["", "\"><img>", "a\nb"] {
        let ended = hedgerow(&["snippet", "-c", &file, "--nonce", nonce], "");
        assert_eq!(ended.code, Some(2), "{nonce:?}: {}", ended.out);
        assert!(ended.out.is_empty(), "{nonce:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hedgerow.yaml");
    let yaml = "projects: {shop: {host: us, api_key: phc_aaaaaaaaaaaa}}\n\
                routes: [{path: /hr/, segment: {project: shop}}]\n";
    std::fs::write(&file, yaml).unwrap();
    let file = file.to_str().unwrap();
    let commands: [&[&str]; 3] = [
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
