use super::{read, with};
use hedgerow::config::{render_problems, SourcePosition};

/// Line, column and path of a mistake, and a part of its message.
pub type Expected = (usize, usize, &'static str, &'static str);

/// A piece of a file, and the mistakes in it.
pub type Row = (&'static str, &'static [Expected]);

/// Describes how the found mistakes differ from the expected ones.
pub fn check(text: &str, expected: &[Expected]) -> Vec<String> {
    let found: Vec<_> = match read(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().cloned().collect(),
    };
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(problem, expected)| {
            let (line, column, path, message) = *expected;
            problem.position == SourcePosition { line, column }
                && problem.path == path
                && problem.message.contains(message)
        });
    if same {
        return Vec::new();
    }
    let found: Vec<_> = found.iter().map(ToString::to_string).collect();
    vec![format!(
        "{text}\n  expected {expected:?}\n  found {found:#?}"
    )]
}

#[track_caller]
pub fn none(mismatches: Vec<String>) {
    for mismatch in &mismatches {
        eprintln!("{mismatch}\n");
    }
    assert!(mismatches.is_empty(), "{} mismatches", mismatches.len());
}

#[test]
fn five_mistakes_are_five_in_the_order_of_lines() {
    let text = "\
listn: 127.0.0.1:8080
projects:
  shop:
    host: posthog.example.com
    api_key: env:UNSET
routes:
  - path: hr
    segment: {project: shop}
limits: {body: ten}
";
    none(check(
        text,
        &[
            (1, 1, "listn", "did you mean listen?"),
            (4, 11, "projects.shop.host", "expected us, eu or a URL"),
            (
                5,
                14,
                "projects.shop.api_key",
                "the environment variable UNSET is not set",
            ),
            (7, 11, "routes[0].path", "begins with /"),
            (9, 16, "limits.body", "expected a size such as"),
        ],
    ));
    let problems = read(text).unwrap_err();
    assert_eq!(problems.count(), 5);
    let rendered = render_problems(&problems, "conf/x.yaml");
    let expected = "\
conf/x.yaml:7:11: routes[0].path: expected a path that begins with /
     7 |   - path: hr
       |           ^^
";
    assert!(rendered.contains(expected), "{rendered}");
    assert!(
        rendered.ends_with("5 mistakes in conf/x.yaml\n"),
        "{rendered}"
    );
}

#[test]
fn each_kind_of_mistake_has_its_place() {
    // Each piece follows the five lines of the smallest file.
    let rows: &[Row] = &[
        (
            "limits: {}\nlimits: {}",
            &[(7, 1, "limits", "appears twice; the first is in line 6")],
        ),
        (
            "window: 1MiB",
            &[(6, 1, "window", "it belongs to `limits`")],
        ),
        (
            "listen: 8080",
            &[(6, 9, "listen", "expected an address and a port")],
        ),
        ("listen: []", &[(6, 9, "listen", "at least one address")]),
        (
            "listen: [127.0.0.1:1, 127.0.0.1:1]",
            &[(6, 23, "listen[1]", "the list already has this address")],
        ),
        (
            "listen: [0.0.0.0:1, '[::]:1']",
            &[(6, 21, "listen[1]", "0.0.0.0:1 already accepts connections")],
        ),
        (
            "listen: ['[::]:1', 127.0.0.1:1]",
            &[(6, 20, "listen[1]", "[::]:1 already accepts connections")],
        ),
        (
            "limits: {body: env:BODY}",
            &[(6, 16, "limits.body", "env: and file: are not possible here")],
        ),
        (
            "mapping: {group_type: ' '}",
            &[(6, 23, "mapping.group_type", "contains only blanks")],
        ),
        (
            "delivery: {spool: {path: \"\\t \"}}",
            &[(6, 26, "delivery.spool.path", "contains only blanks")],
        ),
        (
            "listen: {address: 127.0.0.1:1, tls: {certificate: ' ', key: k.pem}}",
            &[(6, 51, "listen.tls.certificate", "contains only blanks")],
        ),
        (
            "listen: {address: 127.0.0.1:1, tls: {certificate: missing.pem}}",
            &[
                (6, 37, "listen.tls", "`key` is missing"),
                (
                    6,
                    51,
                    "listen.tls.certificate",
                    "cannot read /folder/missing.pem",
                ),
            ],
        ),
        (
            "listen: {address: 127.0.0.1:1, tls: {certificate: a.txt, key: k.pem}}",
            &[(
                6,
                51,
                "listen.tls.certificate",
                "contains no PEM certificate",
            )],
        ),
        (
            "trusted_proxies: [10.0.0.0/33]",
            &[(6, 19, "trusted_proxies[0]", "a network such as")],
        ),
        (
            "listen: {address: 127.0.0.1:1, health: /}",
            &[(6, 40, "listen.health", "a separate path")],
        ),
        (
            "listen: {address: 127.0.0.1:1, health: up}",
            &[(6, 40, "listen.health", "begins with /")],
        ),
        (
            "listen: 127.0.0.1:1\nhealth: 127.0.0.1:1",
            &[(7, 9, "health", "of `listen` already has this address")],
        ),
        (
            "admin: 127.0.0.1:2\nhealth: 127.0.0.1:2",
            &[(7, 9, "health", "of `admin` already has this address")],
        ),
        (
            "limits: [1]",
            &[(
                6,
                9,
                "limits",
                "expected a mapping of body, window, event, memory, connections, \
                 connections_per_client, requests_per_client, requests_per_key, head_timeout, \
                 body_rate or body_grace",
            )],
        ),
        (
            "limits: {body_rate: fast, body_grace: 0s, head_timeout: 1h}",
            &[
                (6, 21, "limits.body_rate", "a size such as"),
                (6, 39, "limits.body_grace", "from 1s to 5m"),
                (6, 57, "limits.head_timeout", "from 1s to 5m"),
            ],
        ),
        (
            "limits: {body_rate: off, body_grace: 9s}",
            &[(6, 38, "limits.body_grace", "`body_rate` is off")],
        ),
        (
            "limits: {requests_per_client: 0}",
            &[(6, 31, "limits.requests_per_client", "from 1 to 1000000")],
        ),
        (
            "listen: {address: \"127.0.0.1:1\", redirect: http}",
            &[(6, 44, "listen.redirect", "expected https, or https:")],
        ),
        (
            "listen: {address: \"127.0.0.1:1\", h2c: yes}",
            &[(6, 39, "listen.h2c", "on or off")],
        ),
        (
            "listen: {address: \"127.0.0.1:1\", proxy_protocol: all}",
            &[(6, 50, "listen.proxy_protocol", "expected a network")],
        ),
        (
            "server: {watch: sometimes}",
            &[(6, 17, "server.watch", "on or off")],
        ),
        (
            "limits: {connections: 0}",
            &[(6, 23, "limits.connections", "from 8 to 1000000")],
        ),
        (
            "limits: {connections: 100, connections_per_client: 101}",
            &[(
                6,
                52,
                "limits.connections_per_client",
                "larger than `connections`",
            )],
        ),
        (
            "limits: {event: 0}",
            &[(6, 17, "limits.event", "from 1B to 1GiB")],
        ),
        (
            "limits: {event: [1]}",
            &[(6, 17, "limits.event", "found a list")],
        ),
        (
            "limits: {event: }",
            &[(6, 15, "limits.event", "found nothing")],
        ),
        (
            "limits: {window: 2MiB, body: 1MiB}",
            &[(6, 18, "limits.window", "larger than `body`")],
        ),
        (
            "limits: {memory: 1kB}",
            &[(6, 18, "limits.memory", "smaller than `window`")],
        ),
        (
            "delivery: {timeout: 15}",
            &[(6, 21, "delivery.timeout", "with its unit")],
        ),
        (
            "delivery: {timeout: 0s}",
            &[(6, 21, "delivery.timeout", "from 1ms to 10m")],
        ),
        (
            "server: {threads: 0}",
            &[(6, 19, "server.threads", "from 1 to 1024")],
        ),
        (
            "server: {threads: two}",
            &[(6, 19, "server.threads", "a whole number")],
        ),
        (
            "mapping: {integrations: respct}",
            &[(6, 25, "mapping.integrations", "did you mean respect?")],
        ),
        ("a: b: c", &[(6, 5, "", "not valid YAML")]),
        (
            "limits: {body: \"1",
            &[(6, 16, "", "this quote is never closed")],
        ),
        (
            "limits: {body: 1",
            &[(6, 9, "", "this `{` is never closed")],
        ),
        ("\tlimits: 1", &[(6, 2, "", "a tab cannot indent")]),
        ("limits: *x", &[(6, 9, "", "no anchor above has the name")]),
        ("limits: !x {}", &[(6, 12, "", "tags")]),
        ("---\na: b", &[(6, 1, "", "a second document")]),
    ];
    none(
        rows.iter()
            .flat_map(|(more, expected)| check(&with(more), expected))
            .collect(),
    );
}

#[test]
fn a_file_without_routes_is_a_mistake_whatever_else_it_holds() {
    none(check("", &[(1, 1, "", "expected a mapping")]));
    none(check("{}", &[(1, 1, "", "`routes` is missing")]));
    none(check("- a", &[(1, 1, "", "expected a mapping")]));
}

#[test]
fn keys_that_belong_together_are_required_together() {
    let rows: &[Row] = &[
        (
            "admin: 127.0.0.1:8080\nlisten: 127.0.0.1:8080",
            &[(6, 8, "admin", "already has this address")],
        ),
        ("admin: on", &[(6, 8, "admin", "expected an address")]),
        (
            "admin: {live: on}",
            &[(6, 8, "admin", "`address` is missing")],
        ),
        (
            "admin: {address: \"0.0.0.0:9090\", live: on}",
            &[(6, 18, "admin.address", "set a `token`")],
        ),
        (
            "admin: {address: 127.0.0.1:9090, live: maybe}",
            &[(6, 40, "admin.live", "expected on or off")],
        ),
        (
            "admin: {address: 127.0.0.1:9090, token: short}",
            &[(6, 41, "admin.token", "at least 16")],
        ),
        (
            "admin: {address: 127.0.0.1:8080, live: off}",
            &[(6, 18, "admin.address", "already has this address")],
        ),
        (
            "delivery: {mode: spool}",
            &[(6, 18, "delivery.mode", "needs a `spool`")],
        ),
        (
            "delivery: {mode: spool, spool: off}",
            &[(6, 18, "delivery.mode", "needs a `spool`")],
        ),
    ];
    none(
        rows.iter()
            .flat_map(|(more, expected)| check(&with(more), expected))
            .collect(),
    );
    for text in [
        "admin: off",
        "admin: \"off\"",
        "admin: 127.0.0.1:9090",
        "admin: \"[::1]:9090\"",
        "admin: {address: 127.0.0.1:9090, live: off}",
        "admin: {address: \"0.0.0.0:9090\", live: off}",
        "admin: {address: \"0.0.0.0:9090\", live: on, token: 0123456789abcdef}",
        "delivery: {spool: off}",
        "mapping: {mode: reference}",
    ] {
        assert!(read(&with(text)).is_ok(), "{text}");
    }
}

#[test]
fn many_mistakes_are_all_counted() {
    let more: String = (0..150)
        .map(|number| format!("sink{number}: 1\n"))
        .collect();
    let problems = read(&with(&more)).unwrap_err();
    assert_eq!(problems.count(), 150);
    assert_eq!(problems.iter().len(), 100);
    assert!(render_problems(&problems, "x").contains("and 50 more\n"));
}

#[test]
fn a_file_that_is_missing_or_not_text_is_named() {
    use hedgerow::config::{Config, ConfigError};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    assert!(matches!(
        Config::load(&path),
        Err(ConfigError::Unreadable { .. })
    ));
    std::fs::write(&path, b"a: 1\nb: \xff").unwrap();
    let Err(ConfigError::Invalid { problems, .. }) = Config::load(&path) else {
        panic!("expected mistakes");
    };
    let problem = problems.iter().next().unwrap();
    assert_eq!(problem.to_string(), "2:4: not UTF-8 text");
}
