//! The mistakes in projects and routes.

use super::mistakes::{check, none, Row};
use super::SHORTEST;

#[test]
fn each_kind_of_mistake_in_a_project_has_its_place() {
    // Each piece is in the braces of `shop`, line 2, from column 9.
    let rows: &[Row] = &[
        (
            "host: us",
            &[(2, 9, "projects.shop", "`api_key` is missing")],
        ),
        (
            "api_key: env:KEY",
            &[(2, 9, "projects.shop", "`host` is missing")],
        ),
        (
            "host: us, api_key: env:EMPTY",
            &[(2, 29, "projects.shop.api_key", "is empty")],
        ),
        (
            "host: us, api_key: env:PERSONAL",
            &[(2, 29, "projects.shop.api_key", "personal API key")],
        ),
        (
            "host: us, api_key: phx_abc",
            &[(2, 29, "projects.shop.api_key", "personal API key")],
        ),
        (
            "host: us, api_key: 'env:'",
            &[(2, 29, "projects.shop.api_key", "after env:")],
        ),
        (
            "host: us, api_key: $KEY",
            &[(2, 29, "projects.shop.api_key", "env:NAME")],
        ),
        (
            "host: us, api_key: file:missing",
            &[(
                2,
                29,
                "projects.shop.api_key",
                "cannot read /folder/missing",
            )],
        ),
        (
            "host: us, api_key: [a]",
            &[(2, 29, "projects.shop.api_key", "found a list")],
        ),
        (
            "host: uss, api_key: env:KEY",
            &[(2, 16, "projects.shop.host", "did you mean us?")],
        ),
        (
            "host: '', api_key: env:KEY",
            &[(2, 16, "projects.shop.host", "expected us, eu or")],
        ),
        (
            "host: 'https://', api_key: env:KEY",
            &[(2, 16, "projects.shop.host", "a host name")],
        ),
        (
            "host: 'http://127.0.0.1:8080', api_key: env:KEY",
            &[(
                2,
                16,
                "projects.shop.host",
                "one of Hedgerow's own listeners",
            )],
        ),
        (
            "host: us, api_key: env:KEY, http: 3",
            &[(2, 44, "projects.shop.http", "expected auto or 1 or 2")],
        ),
        (
            "host: 'http://a', api_key: env:KEY, ca_file: a.pem",
            &[(
                2,
                55,
                "projects.shop.ca_file",
                "has no effect for a host with http://",
            )],
        ),
    ];
    none(
        rows.iter()
            .flat_map(|(project, expected)| {
                let text = SHORTEST.replace("host: us, api_key: env:KEY", project);
                check(&text, expected)
            })
            .collect(),
    );
}

#[test]
fn each_kind_of_mistake_in_routes_has_its_place() {
    // Each piece follows the line `routes:`, the third.
    let rows: &[Row] = &[
        ("", &[(3, 7, "routes", "found nothing")]),
        ("  {}", &[(4, 3, "routes", "a list of at least one route")]),
        (
            "  - path: /",
            &[(
                4,
                5,
                "routes[0]",
                "one of `segment`, `posthog` and `origin`",
            )],
        ),
        (
            "  - segment: {project: shop}",
            &[(4, 5, "routes[0]", "`path` is missing")],
        ),
        (
            "  - {path: /, segment: {project: shop}, origin: http://a}",
            &[(4, 41, "routes[0].origin", "one action")],
        ),
        (
            "  - {path: /, segment: {project: shpo}}",
            &[(4, 34, "routes[0].segment.project", "did you mean shop?")],
        ),
        (
            "  - {path: /, segment: {}}",
            &[(4, 24, "routes[0].segment", "`project` is missing")],
        ),
        (
            "  - {path: /, segment: {project: shop, write_keys: []}}",
            &[(4, 52, "routes[0].segment.write_keys", "the list is empty")],
        ),
        (
            "  - {path: /, segment: {project: shop, write_keys: all}}",
            &[(
                4,
                52,
                "routes[0].segment.write_keys",
                "expected any, a list",
            )],
        ),
        (
            "  - {path: /, segment: {project: shop, write_keys: ['env:UNSET']}}",
            &[(4, 53, "routes[0].segment.write_keys[0]", "UNSET is not set")],
        ),
        (
            "  - {path: /, segment: {write_keys: {'env:KEY': shop}}}",
            &[(
                4,
                38,
                "routes[0].segment.write_keys[0]",
                "a key of a mapping literally",
            )],
        ),
        (
            "  - {path: /, segment: {project: shop, write_keys: [a, a]}}",
            &[(4, 56, "routes[0].segment.write_keys[1]", "already")],
        ),
        (
            "  - {path: /, segment: {write_keys: {a: shop, b: none, a: shop}}}",
            &[
                (
                    4,
                    50,
                    "routes[0].segment.write_keys[1]",
                    "no project of this name",
                ),
                (4, 56, "routes[0].segment.write_keys[2]", "appears twice"),
            ],
        ),
        (
            "  - {path: /, host: '', origin: http://a}",
            &[(4, 21, "routes[0].host", "a host name")],
        ),
        (
            "  - {path: /, origin: 'https://'}",
            &[(4, 23, "routes[0].origin", "expected a URL")],
        ),
        (
            "  - {path: /, origin: us}",
            &[(4, 23, "routes[0].origin", "without a path")],
        ),
        (
            "  - {path: /, origin: []}",
            &[(4, 23, "routes[0].origin", "or a list of them")],
        ),
        (
            "  - {path: /, origin: http://a/b}",
            &[(4, 23, "routes[0].origin", "without a path")],
        ),
        (
            "  - {path: /, origin: http://localhost:8080}",
            &[(4, 23, "routes[0].origin", "one of Hedgerow's own listeners")],
        ),
    ];
    let head = SHORTEST.split_inclusive('\n').take(3).collect::<String>();
    none(
        rows.iter()
            .flat_map(|(routes, expected)| check(&format!("{head}{routes}\n"), expected))
            .collect(),
    );
}
