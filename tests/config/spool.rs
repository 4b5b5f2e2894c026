use super::mistakes::{check, none, Row};
use super::{read, with, SHORTEST};

/// A spool on NATS with pieces that are mistakes and pieces that are not.
#[test]
fn a_spool_has_one_place_and_one_login() {
    let rows: &[Row] = &[
        (
            "delivery: {spool: {max_age: 1d}}",
            &[(6, 19, "delivery.spool", "needs `path` or `nats`")],
        ),
        (
            "delivery: {spool: on}",
            &[(6, 19, "delivery.spool", "expected off, {path")],
        ),
    ];
    none(
        rows.iter()
            .flat_map(|(more, expected)| check(&with(more), expected))
            .collect(),
    );
}

#[cfg(not(feature = "nats"))]
#[test]
fn a_build_without_nats_reports_it_at_its_place() {
    none(check(
        &with("delivery: {spool: {nats: {url: \"nats://a\"}}}"),
        &[(
            6,
            20,
            "delivery.spool.nats",
            "without the cargo feature nats",
        )],
    ));
}

#[cfg(feature = "nats")]
#[test]
fn every_mistake_in_a_spool_on_nats_has_its_place() {
    const URL: &str = "delivery.spool.nats.url";
    let rows: &[Row] = &[
        (
            "delivery: {spool: {path: x, nats: {url: \"nats://a\"}}}",
            &[(6, 29, "delivery.spool.nats", "not both")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", credentials: gone.creds}}}",
            &[(
                6,
                57,
                "delivery.spool.nats.credentials",
                "does not hold a user's JWT",
            )],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", token: t, credentials: gone.creds}}}",
            &[
                (
                    6,
                    44,
                    "delivery.spool.nats.token",
                    "already contain a login",
                ),
                (
                    6,
                    67,
                    "delivery.spool.nats.credentials",
                    "does not hold a user's JWT",
                ),
            ],
        ),
        (
            "delivery: {spool: {nats: {url: \"tls://a\", certificate: gone.pem}}}",
            &[(6, 43, "delivery.spool.nats.certificate", "needs a `key`")],
        ),
        (
            "delivery: {spool: {nats: {url: \"tls://a\", certificate: gone.pem, key: gone.key}}}",
            &[(
                6,
                71,
                "delivery.spool.nats.key",
                "contains no PEM private key",
            )],
        ),
        (
            "delivery: {spool: {nats: {}}}",
            &[(6, 26, "delivery.spool.nats", "`url` is missing")],
        ),
        (
            "delivery: {spool: {nats: {url: \"http://a\"}}}",
            &[(6, 32, URL, "expected nats://host:port or tls://host:port")],
        ),
        (
            "delivery: {spool: {nats: {url: []}}}",
            &[(6, 32, URL, "expected nats://host:port")],
        ),
        (
            "delivery: {spool: {nats: {url: [\"nats://a\", nats]}}}",
            &[(
                6,
                45,
                "delivery.spool.nats.url[1]",
                "expected nats://host:port",
            )],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a:99999\"}}}",
            &[(6, 32, URL, "expected nats://host:port")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a/b\"}}}",
            &[(6, 32, URL, "expected nats://host:port")],
        ),
        (
            "delivery: {spool: {nats: {url: env:UNSET}}}",
            &[(6, 32, URL, "UNSET is not set")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://u:p@a,nats://v:p@a\"}}}",
            &[(6, 32, URL, "all servers need the same login")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://u:p@a\", user: u, password: p}}}",
            &[(
                6,
                48,
                "delivery.spool.nats.user",
                "`url` already contains a login: remove one of the two",
            )],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", user: u}}}",
            &[(6, 44, "delivery.spool.nats.user", "needs a `password`")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", password: u}}}",
            &[(6, 44, "delivery.spool.nats.password", "needs a `user`")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", user: u, password: env:EMPTY}}}",
            &[(
                6,
                63,
                "delivery.spool.nats.password",
                "the variable: it is empty",
            )],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", user: u, token: t}}}",
            &[(
                6,
                53,
                "delivery.spool.nats.token",
                "a login is either `user`",
            )],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", stream: a.b}}}",
            &[(6, 52, "delivery.spool.nats.stream", "letters, digits")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", replicas: 6}}}",
            &[(6, 54, "delivery.spool.nats.replicas", "from 1 to 5")],
        ),
        (
            "delivery: {spool: {nats: {url: \"nats://a\", ca_file: ca.pem}}}",
            &[(6, 53, "delivery.spool.nats.ca_file", "without tls://")],
        ),
        (
            "delivery: {spool: {nats: {url: \"tls://a\", ca_file: missing.pem}}}",
            &[(6, 52, "delivery.spool.nats.ca_file", "missing.pem")],
        ),
        (
            "delivery: {spool: {nats: {urls: \"nats://a\"}}}",
            &[
                (6, 26, "delivery.spool.nats", "`url` is missing"),
                (6, 27, "delivery.spool.nats.urls", "did you mean url?"),
            ],
        ),
    ];
    none(
        rows.iter()
            .flat_map(|(more, expected)| check(&with(more), expected))
            .collect(),
    );
}

#[cfg(feature = "nats")]
#[test]
fn a_spool_on_nats_has_its_settings() {
    use hedgerow::config::render_table;
    let nats = |more: &str| {
        let text = with(&format!("delivery: {{spool: {{nats: {more}}}}}"));
        let (config, warnings) = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(warnings.is_empty(), "{warnings:?}");
        let table = render_table(&config);
        (config.delivery.spool.expect("it is on").place, table)
    };
    let (least, table) = nats("{url: \"nats://one\"}");
    assert!(least.backend().secrets().is_empty());
    assert!(
        table.contains("spool HEDGEROW on nats://one:4222 up to 1GiB and 7d"),
        "{table}"
    );
    for url in [
        "[\"tls://one\", \"nats://two:4223\"]",
        "\"tls://one, nats://two:4223/\"",
    ] {
        let (several, table) = nats(&format!(
            "{{url: {url}, stream: EVENTS, user: hedge, password: env:KEY, replicas: 1, ca_file: ca.pem}}"
        ));
        let backend = several.backend();
        assert_eq!(
            backend.describe(),
            "EVENTS on tls://one:4222, nats://two:4223"
        );
        assert_eq!(backend.secrets(), ["hedge", super::VARIABLE]);
        let (file, server) = backend.authorities().expect("it names one");
        assert!(file.ends_with("ca.pem") && server == "tls://one:4222");
        assert!(!table.contains("hedge,") && !table.contains(super::VARIABLE));
        assert_ne!(several, least);
    }
    let (in_url, table) = nats("{url: [\"nats://u:p%40ss@one\", \"nats://u:p%40ss@[::1]:5\"]}");
    assert_eq!(in_url.backend().secrets(), ["u", "p@ss"]);
    assert!(in_url.backend().describe().ends_with("nats://[::1]:5"));
    assert!(!table.contains("ss@"), "{table}");
    let (token, _) = nats("{url: \"nats://one\", token: file:token}");
    assert_eq!(token.backend().secrets(), [super::FILE]);
}

#[test]
fn a_project_has_the_mode_that_it_names_or_that_of_all() {
    use hedgerow::config::render_table;
    use hedgerow::delivery::DeliveryMode;
    let file = |own: &str, all: &str| {
        SHORTEST.replace("api_key: env:KEY", &format!("api_key: env:KEY{own}"))
            + &format!("\ndelivery: {all}\n")
    };
    let spool = "delivery: {mode: spool}";
    for (own, all, mode) in [
        ("", "{spool: {path: s}}", DeliveryMode::Stream),
        ("", "{mode: spool, spool: {path: s}}", DeliveryMode::Spool),
        (spool, "{spool: {path: s}}", DeliveryMode::Spool),
        (
            "delivery: {mode: stream}",
            "{mode: spool, spool: {path: s}}",
            DeliveryMode::Stream,
        ),
        (
            "delivery: {}",
            "{mode: spool, spool: {path: s}}",
            DeliveryMode::Spool,
        ),
        ("delivery: {mode: stream}", "{}", DeliveryMode::Stream),
        // `mode: group` works with a spool and without one.
        ("delivery: {mode: group}", "{}", DeliveryMode::Group),
        ("", "{mode: group}", DeliveryMode::Group),
        ("", "{mode: group, spool: {path: s}}", DeliveryMode::Group),
        (
            "delivery: {mode: stream}",
            "{mode: group, linger: 0s, group_size: 4MiB}",
            DeliveryMode::Stream,
        ),
    ] {
        let own = if own.is_empty() {
            String::new()
        } else {
            format!(", {own}")
        };
        let (config, _) = read(&file(&own, all)).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.project("shop").unwrap().mode, mode, "{own} {all}");
        let says = render_table(&config).contains("delivery of shop: acknowledged when");
        assert_eq!(says, mode != config.delivery.mode, "{own} {all}");
        let together = render_table(&config).contains("requests in groups of 5ms or 1MiB");
        assert_eq!(together, mode == DeliveryMode::Group, "{own} {all}");
    }
    let path = "projects.shop.delivery.mode";
    let column = SHORTEST.lines().nth(1).unwrap().find("env:KEY").unwrap() + 1;
    for (own, message) in [
        (spool, "needs a `spool` in `delivery`"),
        ("delivery: {mode: spol}", "did you mean spool?"),
        ("delivery: {mode: groop}", "did you mean group?"),
    ] {
        let text = file(&format!(", {own}"), "{spool: off}");
        let at = column + "env:KEY, delivery: {mode: ".len();
        none(check(&text, &[(2, at, path, message)]));
    }
}

#[cfg(feature = "nats")]
#[test]
fn a_limit_above_the_nats_default_is_a_warning() {
    const NATS: &str = "{nats: {url: \"nats://a\"}}";
    for (event, spool, expected) in [
        ("1MiB", NATS, 1),
        ("900KiB", NATS, 0),
        ("1MiB", "{path: x}", 0),
        ("1MiB", "off", 0),
    ] {
        let text = with(&format!(
            "delivery: {{spool: {spool}}}\nlimits: {{event: {event}}}\n"
        ));
        let (_, warnings) = read(&text).unwrap();
        assert_eq!(warnings.len(), expected, "{event} {spool}: {warnings:?}");
        if let Some(warning) = warnings.first() {
            assert!(warning.message.contains("max_payload"), "{warning:?}");
            assert_eq!(warning.position.line, 7, "{warning:?}");
        }
    }
}
