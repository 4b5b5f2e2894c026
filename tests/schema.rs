//! The JSON Schema of the configuration, checked by a validator and a YAML reader that share no
//! code with Hedgerow.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::Path;
use std::process::Command;

use hedgerow::config::{json_schema, Config, WithoutSecrets};
use jsonschema::Validator;
use serde_json::{json, Value};

fn validator() -> Validator {
    jsonschema::draft202012::new(&json_schema()).expect("a schema")
}

fn value(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// The validator's errors for a file.
fn faults(validator: &Validator, yaml: &str) -> Vec<String> {
    let value = value(yaml);
    let errors = validator.iter_errors(&value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn file(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_command_prints_a_schema_of_the_draft_that_it_names() {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("schema")
        .output()
        .expect("it runs");
    assert!(output.status.success());
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(printed, json_schema());
    assert_eq!(
        printed["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    jsonschema::meta::validate(&printed).expect("a valid schema");
    // An editor can show a text for each key.
    let host = &printed["$defs"]["projects"]["properties"]["host"];
    assert!(
        host["description"]
            .as_str()
            .expect("text")
            .contains("Default: "),
        "{host}"
    );
}

#[test]
fn every_shipped_file_and_every_block_of_the_documents_is_valid() {
    let validator = validator();
    // A block that shows one section is a part of a file.
    let mut part = json_schema();
    part.as_object_mut().expect("a section").remove("required");
    let part = jsonschema::draft202012::new(&part).expect("a schema");
    let mut looked_at = 0;
    let mut wrong = Vec::new();
    let mut look = |name: String, yaml: &str| {
        looked_at += 1;
        let is_whole = yaml.lines().any(|line| line.starts_with("routes:"));
        let judge = if is_whole { &validator } else { &part };
        let faults = faults(judge, yaml);
        if !faults.is_empty() {
            wrong.push(format!("{name}: {faults:#?}\n{yaml}"));
        }
    };
    for entry in std::fs::read_dir(folder("conf")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "yaml") {
            look(path.display().to_string(), &file(&path));
        }
    }
    for name in ["README.md", "docs", "docs/behind"] {
        let path = folder(name);
        let files = match path.is_dir() {
            false => vec![path],
            true => {
                let entries = std::fs::read_dir(&path).expect("the folder");
                entries
                    .map(|entry| entry.expect("an entry").path())
                    .collect()
            }
        };
        for path in files
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "md"))
        {
            for block in file(path).split("```yaml\n").skip(1) {
                let yaml = block.split("```").next().expect("its end");
                look(path.display().to_string(), yaml);
            }
        }
    }
    let made = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["init", "--host", "eu"])
        .env("POSTHOG_API_KEY", "phc_test")
        .output()
        .expect("it runs");
    look(
        "init".to_owned(),
        &String::from_utf8(made.stdout).expect("text"),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(looked_at >= 25, "{looked_at}");
}

/// A file with one place for changes.
const FILE: &str = "listen: [\"127.0.0.1:8080\"]
admin: \"off\"
trusted_proxies: [10.0.0.0/8, \"::1\"]
projects:
  shop: {host: us, api_key: phc_test, http: 2, properties: {a: 1.10}}
routes:
  - {path: /hr/, segment: {project: shop, write_keys: [a, b]}}
  - {path: /pr/, segment: {write_keys: {k: shop}}}
  - {path: /ph/, posthog: shop}
  - {path: /, origin: {servers: \"http://127.0.0.1:3000\", keepalive: \"off\"}}
mapping: {mode: enriched, sessions: page}
privacy: {ip: last_octet, consent: {Ads: drop}}
rules: [{event: \"Debug: *\", action: drop}]
limits: {body: 10MiB, connections: 100}
delivery: {timeout: 3s, spool: {path: spool, max_age: 7d}}
server: {threads: 2}
";

#[test]
fn the_schema_agrees_with_the_reader() {
    let validator = validator();
    let both = |yaml: &str| {
        let read = Config::parse(yaml, &WithoutSecrets::new("."));
        (faults(&validator, yaml).is_empty(), read.is_ok())
    };
    assert_eq!(both(FILE), (true, true), "{:?}", faults(&validator, FILE));
    let mut wrong = Vec::new();
    for (from, to, is_right) in [
        // Correct, in another form.
        ("listen: [\"127.0.0.1:8080\"]", "listen: \"[::1]:80\"", true),
        ("timeout: 3s", "timeout: 500ms", true),
        ("connections: 100", "connections: \"100\"", true),
        ("body: 10MiB", "body: 10485760", true),
        ("http: 2", "http: auto", true),
        ("api_key: phc_test", "api_key: env:KEY", true),
        (
            "segment: {project: shop, write_keys: [a, b]}",
            "segment: {project: shop}",
            true,
        ),
        (
            "rules: [{event: \"Debug: *\", action: drop}]",
            "rules: []",
            true,
        ),
        (
            "rules: [{event: \"Debug: *\", action: drop}]",
            "rules:",
            true,
        ),
        ("spool: {path: spool, max_age: 7d}", "spool: \"off\"", true),
        // Unknown keys in every kind of section.
        ("admin:", "admn:", false),
        (
            "admin: \"off\"",
            "admin: {address: \"[::1]:9090\", live: on, token: 0123456789abcdef}",
            true,
        ),
        ("admin: \"off\"", "admin: {live: on}", false),
        (
            "admin: \"off\"",
            "admin: {address: \"[::1]:9090\", live: maybe}",
            false,
        ),
        (
            "admin: \"off\"",
            "admin: {address: \"[::1]:9090\", tokn: a}",
            false,
        ),
        ("host: us", "host: us, hots: us", false),
        ("path: /hr/", "path: /hr/, pat: /x/", false),
        (
            "segment: {project: shop, write_keys: [a, b]}",
            "segment: {project: shop, keys: [a]}",
            false,
        ),
        ("mode: enriched", "mode: enriched, mod: 1", false),
        ("ip: last_octet", "ip: last_octet, drp: []", false),
        ("event: \"Debug: *\"", "event: \"Debug: *\", evnt: a", false),
        ("body: 10MiB", "body: 10MiB, bdy: 1", false),
        ("timeout: 3s", "timeout: 3s, time: 3s", false),
        ("path: spool", "path: spool, pth: a", false),
        ("threads: 2", "threads: 2, thread: 2", false),
        // Words that no key accepts.
        ("mode: enriched", "mode: enriching", false),
        ("sessions: page", "sessions: pages", false),
        ("ip: last_octet", "ip: first_octet", false),
        ("Ads: drop", "Ads: dropped", false),
        ("action: drop", "action: remove", false),
        ("http: 2", "http: 3", false),
        ("admin: \"off\"", "admin: \"of\"", false),
        // Values of another type.
        ("timeout: 3s", "timeout: 3", false),
        ("timeout: 3s", "timeout: three", false),
        ("max_age: 7d", "max_age: 7 days", false),
        ("body: 10MiB", "body: 10M", false),
        ("body: 10MiB", "body: []", false),
        ("threads: 2", "threads: two", false),
        ("threads: 2", "threads: 0", false),
        ("connections: 100", "connections: 7", false),
        ("connections: 100", "connections: 1000001", false),
        ("listen: [\"127.0.0.1:8080\"]", "listen: []", false),
        (
            "listen: [\"127.0.0.1:8080\"]",
            "listen: [\"localhost\"]",
            false,
        ),
        ("path: /hr/", "path: hr", false),
        ("host: us", "host: asia", false),
        ("10.0.0.0/8", "everywhere", false),
        ("projects:\n", "projects: []\nx:\n", false),
        (
            "servers: \"http://127.0.0.1:3000\"",
            "servers: \"127.0.0.1:3000\"",
            false,
        ),
        ("servers: \"http://127.0.0.1:3000\"", "servers: []", false),
        ("consent: {Ads: drop}", "consent: [drop]", false),
        ("write_keys: [a, b]", "write_keys: some", false),
        ("write_keys: [a, b]", "write_keys: []", false),
        // Missing keys, and keys that exclude each other.
        ("host: us, ", "", false),
        (", api_key: phc_test", "", false),
        ("path: /hr/, ", "", false),
        (", segment: {project: shop, write_keys: [a, b]}", "", false),
        (
            "posthog: shop",
            "posthog: shop, origin: \"http://127.0.0.1:1\"",
            false,
        ),
        (
            "segment: {project: shop, write_keys: [a, b]}",
            "segment: {write_keys: [a, b]}",
            false,
        ),
        ("event: \"Debug: *\", ", "", false),
        (", action: drop", "", false),
        ("action: drop", "action: drop, rename: b", false),
        ("path: spool, ", "", false),
        (
            "path: spool, ",
            "path: spool, nats: {url: \"nats://a:4222\"}, ",
            false,
        ),
        (
            "path: spool",
            "nats: {url: \"nats://a:4222\", user: u}",
            false,
        ),
        (
            "path: spool",
            "nats: {url: \"nats://a:4222\", user: u, password: p, token: t}",
            false,
        ),
        ("path: spool", "nats: {url: \"http://a:4222\"}", false),
        (
            "path: spool",
            "nats: {url: \"nats://a:4222\", replicas: 6}",
            false,
        ),
        ("sessions: page", "sessions: {}", false),
    ] {
        assert!(FILE.contains(from), "{from}");
        let yaml = FILE.replacen(from, to, 1);
        let (by_schema, by_reader) = both(&yaml);
        if (by_schema, by_reader) != (is_right, is_right) {
            wrong.push(format!(
                "{from} -> {to}: the schema {by_schema}, the reader {by_reader}; {:?}",
                faults(&validator, &yaml)
            ));
        }
    }
    // YAML 1.1 readers take a bare `off` for false.
    assert!(validator.is_valid(&json!({
        "admin": false,
        "routes": [{"path": "/", "origin": "http://127.0.0.1:1"}],
    })));
    assert!(!validator.is_valid(&json!({})));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
