//! What `check` prints about mistakes beside a key, or in a key.

use std::process::{Command, Stdio};

use super::BINARY;

/// Keys in the file itself, each with its mistake.
const KEYS: [&str; 5] = [
    "phc_leakliteral77aa21",
    "phx_leakpersonal31bb0c",
    "leak-literal-write-key-5501",
    "leak-literal-secret-0011223344556677",
    "leak-literal-password-9d",
];

#[test]
fn no_mistake_in_a_configuration_shows_a_key_next_to_it() {
    let [key, personal, write_key, secret, password] = KEYS;
    let routes = "routes: [{path: /hr/, segment: {project: shop}}]\n";
    let projects = format!("projects: {{shop: {{host: us, api_key: {key}}}}}\n");
    let cases = [
        // The mistake is in the same line, in the same value, or in the type of the value.
        format!("projects: {{shop: {{host: nowhere else, api_key: {key}}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: {key}, typo: 1}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: {key}, api_key: {key}}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: [{key}]}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: {{{key}: 1}}}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: {personal}}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: \"{key} {key}\"}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: \"{key}ä\"}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: \"env:{key}\"}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: \"${{{key}}}\"}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: \"{key}}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: {key}\n{routes}"),
        format!("projects: {{shop: {{host: us, api_key: !secret {key}}}}}\n{routes}"),
        format!("projects: {{shop: {{host: us, {key}}}}}\n{routes}"),
        format!("projects:\n\tshop: {{host: us, api_key: {key}}}\n{routes}"),
        format!("{projects}routes: [{{path: hr, segment: {{write_keys: [{write_key}, {write_key}]}}}}]\n"),
        format!("{projects}routes: [{{path: /hr/, segment: {{write_keys: {{{write_key}: missing}}}}}}]\n"),
        format!("{projects}routes: [{{path: /hr/, segment: {{project: shop, write_keys: {write_key}}}}}]\n"),
        format!("{projects}routes: [{{path: /hr/, segment: {{project: shop, forward: {{write_key: [{write_key}]}}}}}}]\n"),
        format!("{projects}{routes}privacy: {{secret: {secret}, typo: 1}}\n"),
        format!("{projects}{routes}privacy: {{secret: [{secret}]}}\n"),
        format!("{projects}{routes}mapping: {{sessions: {{cookie: {{secret: [{secret}, short]}}}}}}\n"),
        format!("{projects}{routes}mapping: {{sessions: {{cookie: {{secret: {{{secret}: 1}}}}}}}}\n"),
        format!("{projects}{routes}delivery: {{spool: {{nats: {{url: \"nats://u:{password}@h:1\", user: x}}}}}}\n"),
        format!("{projects}{routes}delivery: {{spool: {{nats: {{url: \"x://u:{password}@h\"}}}}}}\n"),
        format!("{projects}routes: [{{path: /, origin: \"http://u:{password}@h:1\"}}]\n"),
        format!("projects: {{shop: {{host: \"https://u:{password}@h\", api_key: {key}}}}}\n{routes}"),
        // The same file without a mistake.
        format!("{projects}{routes}"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hedgerow.yaml");
    let mut wrong = Vec::new();
    for case in &cases {
        std::fs::write(&file, case).unwrap();
        let output = Command::new(BINARY)
            .args(["check", "-c"])
            .arg(&file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for secret in KEYS.iter().filter(|secret| said.contains(*secret)) {
            wrong.push(format!("{secret} of\n{case}\nis in\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n---\n"));
}
