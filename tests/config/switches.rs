use super::{read, with};

/// Helm, Ansible and other tools read YAML 1.1 and write `on` as `true` and `off` as `false`.
#[test]
fn a_switch_is_taken_as_yaml_1_1_writes_it() {
    let mut wrong = Vec::new();
    for (key, words) in [
        ("admin: {word}", &["off"][..]),
        (
            "admin: {address: '127.0.0.1:9090', live: {word}}",
            &["on", "off"],
        ),
        ("health: {word}", &["off"]),
        (
            "listen: {address: '127.0.0.1:81', h2c: {word}}",
            &["on", "off"],
        ),
        ("mapping: {bookkeeping: {word}}", &["on", "off"]),
        ("mapping: {sessions: {word}}", &["off"]),
        ("mapping: {sessions: {word}, mode: reference}", &["off"]),
        ("limits: {requests_per_client: {word}}", &["off"]),
        ("limits: {requests_per_key: {word}}", &["off"]),
        ("limits: {body_rate: {word}}", &["off"]),
        ("delivery: {spool: {word}}", &["off"]),
        ("server: {watch: {word}}", &["on", "off"]),
        ("server: {upgrade_socket: {word}}", &["off"]),
        (
            "  - {path: /, origin: {servers: 'http://a', health: {word}}}",
            &["off"],
        ),
        (
            "  - {path: /, origin: {servers: 'http://a', keepalive: {word}}}",
            &["off"],
        ),
    ] {
        for word in words {
            let of = |word: &str| {
                let text = key.replace("{word}", word);
                read(&with(&text)).map_err(|problems| problems.to_string())
            };
            let boolean = if *word == "on" { "true" } else { "false" };
            let (said, meant) = (of(boolean), of(word));
            if meant.is_err() || format!("{said:?}") != format!("{meant:?}") {
                wrong.push(format!("{key} {boolean}: {said:?}, not {meant:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
