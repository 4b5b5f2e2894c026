use std::collections::BTreeSet;
use std::env::VarError;
use std::io;
use std::path::{Path, PathBuf};

use hedgerow::config::{Config, SecretSource};

use super::{code, file, rows};

const CONFIGURATION: &str = "docs/configuration.md";

/// Has a value for every variable and every file.
struct AllSecrets;

impl SecretSource for AllSecrets {
    fn variable(&self, _: &str) -> Result<String, VarError> {
        Ok("phc_docs_and_long_enough_for_a_secret".to_owned())
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
          -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        Ok(match path.extension() {
            Some(end) if end == "pem" => pem.to_vec(),
            _ => b"phc_docs\n".to_vec(),
        })
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// The YAML blocks of a document.
fn blocks(document: &str) -> Vec<String> {
    let pieces = document.split("```yaml\n").skip(1);
    pieces
        .map(|piece| piece.split("```").next().unwrap().to_owned())
        .collect()
}

fn read(yaml: &str) -> Config {
    read_with(yaml, "")
}

/// With the warning that the document shows, or none.
fn read_with(yaml: &str, meant: &str) -> Config {
    match Config::parse(yaml, &AllSecrets) {
        Ok((config, mut warnings)) => {
            warnings.retain(|warning| meant.is_empty() || !warning.message.contains(meant));
            assert!(warnings.is_empty(), "{yaml}\n{warnings:?}");
            config
        }
        Err(problems) => panic!("{yaml}\n{problems}"),
    }
}

#[test]
fn every_example_is_a_configuration_without_mistakes() {
    let mut read_blocks = 0;
    let behind = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/behind");
    let recipes = std::fs::read_dir(behind).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        format!("docs/behind/{}", name.to_str().unwrap())
    });
    let documents = [
        "README.md",
        CONFIGURATION,
        "docs/installation.md",
        "docs/moving.md",
        "docs/operations.md",
        "docs/plugin.md",
    ];
    for name in documents.map(str::to_owned).into_iter().chain(recipes) {
        for block in blocks(&file(&name)) {
            // tests/config/spool.rs checks a build without NATS.
            if cfg!(feature = "nats") || !block.contains("nats:") {
                // Two platforms do not publish their proxies' addresses.
                let everyone = ["docs/behind/vercel.md", "docs/behind/netlify.md"];
                match everyone.contains(&name.as_str()) {
                    true => read_with(&block, "this trusts all clients"),
                    false => read(&block),
                };
            }
            read_blocks += 1;
        }
    }
    assert!(read_blocks >= 15, "{read_blocks}");
}

#[test]
fn the_defaults_that_are_written_out_are_the_defaults() {
    let blocks = blocks(&file(CONFIGURATION));
    assert_eq!(read(&blocks[0]), read(&blocks[1]));
    assert_eq!(blocks[0].lines().count(), 5, "{}", blocks[0]);
}

/// The keys of a section, taken from the mistakes about those that a file lacks.
fn keys(yaml: &str) -> BTreeSet<String> {
    let Err(problems) = Config::parse(yaml, &AllSecrets) else {
        panic!("{yaml}");
    };
    let expected = problems
        .iter()
        .find_map(|problem| problem.message.strip_prefix("unknown key; expected "));
    let expected = expected.unwrap_or_else(|| panic!("{yaml}\n{problems}"));
    let words = expected.split(", ").flat_map(|part| part.split(" or "));
    words.map(str::to_owned).collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let document = file(CONFIGURATION);
    for (heading, yaml) in [
        ("The top level", "QQQQQQQQQ: 1"),
        ("admin", "admin: {QQQQQQQQQ: 1}"),
        ("listen", "listen: [{QQQQQQQQQ: 1}]"),
        ("tls", "listen: [{tls: {QQQQQQQQQ: 1}}]"),
        ("projects", "projects: {shop: {QQQQQQQQQ: 1}}"),
        (
            "delivery of a project",
            "projects: {shop: {delivery: {QQQQQQQQQ: 1}}}",
        ),
        ("routes", "routes: [{QQQQQQQQQ: 1}]"),
        ("segment", "routes: [{segment: {QQQQQQQQQ: 1}}]"),
        (
            "library",
            "routes: [{path: /a/, segment: {project: other, library: {QQQQQQQQQ: 1}}}]",
        ),
        (
            "settings",
            "routes: [{path: /a/, segment: {project: other, settings: {QQQQQQQQQ: 1}}}]",
        ),
        (
            "forward",
            "routes: [{path: /a/, segment: {project: other, forward: {QQQQQQQQQ: 1}}}]",
        ),
        ("posthog", "routes: [{path: /a/, posthog: {QQQQQQQQQ: 1}}]"),
        ("origin", "routes: [{path: /a/, origin: {QQQQQQQQQ: 1}}]"),
        (
            "health",
            "routes: [{path: /a/, origin: {health: {QQQQQQQQQ: 1}}}]",
        ),
        ("mapping", "mapping: {QQQQQQQQQ: 1}"),
        ("posthog_js", "mapping: {posthog_js: {QQQQQQQQQ: 1}}"),
        ("sessions", "mapping: {sessions: {QQQQQQQQQ: 1}}"),
        ("cookie", "mapping: {sessions: {cookie: {QQQQQQQQQ: 1}}}"),
        ("privacy", "privacy: {QQQQQQQQQ: 1}"),
        ("rules", "rules: [{QQQQQQQQQ: 1}]"),
        ("limits", "limits: {QQQQQQQQQ: 1}"),
        ("delivery", "delivery: {QQQQQQQQQ: 1}"),
        ("spool", "delivery: {spool: {QQQQQQQQQ: 1}}"),
        ("nats", "delivery: {spool: {nats: {QQQQQQQQQ: 1}}}"),
        ("server", "server: {QQQQQQQQQ: 1}"),
    ] {
        // Without these two, the reader would stop before the end of the file.
        let mut yaml = yaml.to_owned();
        for part in [
            "projects: {other: {host: us, api_key: phc_docs}}",
            "routes: [{path: /hr/, segment: {project: other}}]",
        ] {
            if !yaml.starts_with(part.split(':').next().unwrap()) {
                yaml.push_str(&format!("\n{part}"));
            }
        }
        let documented: BTreeSet<String> = rows(&document, Some(heading))
            .iter()
            .map(|row| code(&row[0]).unwrap().to_owned())
            .collect();
        assert_eq!(documented, keys(&yaml), "{heading}");
    }
}
