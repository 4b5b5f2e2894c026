//! What docs/moving.md gives to paste does what it says.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::file;

/// The blocks of this language in the document.
fn blocks(language: &str) -> Vec<String> {
    let document = file("docs/moving.md");
    let fence = format!("```{language}\n");
    let pieces = document.split(&fence).skip(1);
    pieces
        .map(|piece| piece.split("```").next().unwrap().to_owned())
        .collect()
}

/// What `hedgerow convert` makes of these lines with this file.
fn converted(yaml: &str, messages: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hedgerow.yaml"), yaml).unwrap();
    std::fs::write(folder.path().join("messages"), messages).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["convert", "-c", "hedgerow.yaml", "messages"])
        .current_dir(folder.path())
        .env("POSTHOG_API_KEY", "phc_moving")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn several_sources_are_distinguished_in_one_project() {
    let yaml = &blocks("yaml")[0];
    let keys = [
        ("wk_of_the_web_site", "web"),
        ("wk_of_the_backend", "server"),
        ("wk_of_the_app", "ios"),
    ];
    let message = |key: &str, more: &str| {
        format!(
            "{{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\",\"writeKey\":\"{key}\"{more}}}\n"
        )
    };
    let messages: String = keys.iter().map(|(key, _)| message(key, "")).collect();
    let own = message("wk_of_the_app", ",\"properties\":{\"source\":\"its own\"}");
    let events = converted(yaml, &(messages + &own));
    let sources: Vec<&Value> = events
        .iter()
        .map(|event| &event["properties"]["source"])
        .collect();
    assert_eq!(sources, ["web", "server", "ios", "its own"]);
}

#[test]
fn the_message_of_the_guide_has_the_documented_uuid() {
    let line = blocks("sh")
        .into_iter()
        .find(|block| block.starts_with("echo"))
        .unwrap();
    let message = line.split('\'').nth(1).unwrap();
    let yaml = &blocks("yaml")[1];
    let keyed = message.replace("{\"type\"", "{\"writeKey\":\"wk_of_the_web_site\",\"type\"");
    let events = converted(yaml, &keyed);
    let uuid = events[0]["uuid"].as_str().unwrap();
    assert!(
        file("docs/moving.md").contains(&format!("the uuid `{uuid}`")),
        "{uuid}"
    );
}
