use hedgerow::config::Action;

use super::mistakes::{check, none, Row};
use super::{read, SHORTEST};

/// A file with this route.
fn file(segment: &str) -> String {
    format!(
        "projects: {{shop: {{host: us, api_key: phc_x}}}}\nroutes:\n  - path: /a/\n    segment:\n      \
         project: shop\n{segment}"
    )
}

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NAMES: &str =
    "        script: aaa1\n        settings: bbb2\n        chunks: ccc3\n        calls: ddd4\n";

#[test]
fn a_library_has_one_source_and_its_own_keys() {
    let rows: &[Row] = &[
        (
            "",
            &[(
                7,
                9,
                "routes[0].segment.library",
                "one of `folder` and `url` is missing",
            )],
        ),
        (
            "        folder: umd\n        url: https://x.test/a.tgz\n",
            &[(8, 9, "routes[0].segment.library.url", "exclude each other")],
        ),
        (
            "        folder: umd\n        sha256: x\n        keep: kept\n",
            &[
                (
                    8,
                    9,
                    "routes[0].segment.library.sha256",
                    "has no effect without `url`",
                ),
                (
                    9,
                    9,
                    "routes[0].segment.library.keep",
                    "has no effect without `url`",
                ),
            ],
        ),
        (
            "        url: https://x.test\n        sha256: x\n        keep: kept\n",
            &[
                (7, 14, "routes[0].segment.library.url", "as one file"),
                (
                    8,
                    17,
                    "routes[0].segment.library.sha256",
                    "64 hexadecimal digits",
                ),
            ],
        ),
        (
            "        folder: umd\n        previous: [old, \
             0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef]\n",
            &[(
                8,
                25,
                "routes[0].segment.library.previous[1]",
                "an archive needs `keep`",
            )],
        ),
    ];
    let mut mismatches = Vec::new();
    for (library, expected) in rows {
        let text = file(&format!("      library:\n{library}{NAMES}"));
        mismatches.extend(check(&text, expected));
    }
    let text = file(&format!(
        "      library:\n        url: https://x.test/a.tgz\n        sha256: {HASH}\n        \
         keep: kept\n        previous: [{HASH}, old]\n{NAMES}"
    ));
    mismatches.extend(check(&text, &[]));
    none(mismatches);
}

#[test]
fn an_account_recognises_the_key_of_its_events() {
    let rows: &[Row] = &[
        (
            "      settings: {key: left_out}\n      forward: true\n",
            &[(
                7,
                16,
                "routes[0].segment.forward",
                "`forward` needs `write_key`",
            )],
        ),
        (
            "      write_keys: [one]\n      forward: {write_key: two}\n",
            &[(
                7,
                16,
                "routes[0].segment.forward",
                "`write_keys` does not list its `write_key`",
            )],
        ),
        (
            "      write_keys: [one]\n      forward: {write_key: one}\n",
            &[],
        ),
        (
            "      settings: {key: left_out}\n      forward: {write_key: one}\n",
            &[],
        ),
        (
            "      forward: {write_key: \"\"}\n",
            &[(
                6,
                28,
                "routes[0].segment.forward.write_key",
                "1 to 256 bytes",
            )],
        ),
    ];
    let mut mismatches = Vec::new();
    for (segment, expected) in rows {
        mismatches.extend(check(&file(segment), expected));
    }
    none(mismatches);
    let text = file(&format!(
        "      library:\n        folder: umd\n{NAMES}      forward: true\n"
    ));
    let (_, warnings) = read(&text).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("set `write_key`"));
}

#[test]
fn the_snippet_for_a_sites_pages_has_a_route_that_they_reach() {
    const ROUTE: &str = "projects: {shop: {host: us, api_key: phc_x}}\nroutes:\n";
    let rows: &[Row] = &[
        (
            "  - {path: /a/, posthog: shop}\n  - {path: /, origin: {servers: http://x.test, inject: /b/}}\n",
            &[(4, 56, "routes[1].origin.inject", "no `segment` route with `library`")],
        ),
        (
            "  - {path: /a/, segment: {project: shop}}\n  - {path: /, origin: {servers: http://x.test, inject: /a/}}\n",
            &[(4, 56, "routes[1].origin.inject", "no `segment` route with `library`")],
        ),
        (
            "  - {host: a.test, path: /a/, posthog: shop}\n  - {host: b.test, path: /, origin: {servers: http://x.test, inject: /a/}}\n",
            &[(4, 70, "routes[1].origin.inject", "for another host")],
        ),
        (
            "  - {path: /a/, posthog: shop}\n  - {host: b.test, path: /, origin: {servers: http://x.test, inject: /a}}\n",
            &[],
        ),
        (
            // Whether such a route exists shows only after its own mistake is corrected.
            "  - {path: /a/, posthog: sho}\n  - {path: /, origin: {servers: http://x.test, inject: /a/}}\n",
            &[(3, 26, "routes[0].posthog", "")],
        ),
    ];
    let mut mismatches = Vec::new();
    for (routes, expected) in rows {
        mismatches.extend(check(&format!("{ROUTE}{routes}"), expected));
    }
    none(mismatches);
}

#[test]
fn two_ids_for_one_event_are_worth_a_word() {
    for (forward, form, expected) in [("true", "v7", 1), ("true", "v5", 0), ("false", "v7", 0)] {
        let text = file(&format!(
            "      forward: {forward}\nmapping: {{event_uuid: {form}}}\n"
        ));
        let (_, warnings) = read(&text).unwrap();
        assert_eq!(warnings.len(), expected, "{forward} {form}: {warnings:?}");
    }
}

#[test]
fn how_long_connections_to_a_site_are_kept_is_a_time_or_off() {
    let with = |said: &str| {
        format!("{SHORTEST}  - {{path: /, origin: {{servers: http://x.test{said}}}}}\n")
    };
    let millis = std::time::Duration::from_millis;
    for (said, expected) in [
        ("", None),
        (", keepalive: off", Some(millis(0))),
        (", keepalive: 1ms", Some(millis(1))),
        (", keepalive: 75s", Some(millis(75_000))),
        (", keepalive: 1h", Some(millis(3_600_000))),
    ] {
        let (config, warnings) = read(&with(said)).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let Action::Origin(origin) = &config.routes[1].action else {
            panic!("{said}: it is an origin");
        };
        assert_eq!(origin.keepalive, expected, "{said}");
    }
    const PATH: &str = "routes[1].origin.keepalive";
    let rows: &[Row] = &[
        (", keepalive: 0s", &[(6, 59, PATH, "")]),
        (", keepalive: 2h", &[(6, 59, PATH, "")]),
        (
            ", keepalive: soon",
            &[(6, 59, PATH, "a whole number with its unit")],
        ),
    ];
    let mut mismatches = Vec::new();
    for (said, expected) in rows {
        mismatches.extend(check(&with(said), expected));
    }
    none(mismatches);
}
