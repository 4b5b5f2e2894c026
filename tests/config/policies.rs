use super::mistakes::{check, none, Row};
use super::shipped::shipped;
use super::{read, with, SHORTEST};
use hedgerow::rewrite::privacy::{ClickIds, IpMask, Privacy, Treatment};
use hedgerow::rewrite::rules::RuleAction;

#[test]
fn privacy_rules_and_constants_are_read_and_shown() {
    let (file, (default, _)) = (shipped("privacy.yaml"), read(SHORTEST).unwrap());
    let privacy = &file.mapping.privacy;
    assert_eq!(default.mapping.privacy, Privacy::default());
    assert_eq!(default.mapping.rules, []);
    assert_eq!(privacy.drop.len(), 4);
    assert_eq!(privacy.drop[1].to_string(), "**.card_number");
    assert_eq!(privacy.ip, IpMask::LastOctet);
    assert_eq!(privacy.click_ids, ClickIds::Mask);
    assert_eq!(privacy.global_privacy_control, Treatment::Anonymise);
    assert_eq!(privacy.do_not_track, Treatment::Send);
    let advertising = ("Advertising".to_owned(), Treatment::Anonymise);
    assert_eq!(privacy.consent[1], advertising);
    assert!(privacy.secret.is_some());
    assert_eq!(file.mapping.rules.len(), 3);
    let renamed = RuleAction::Rename("Product Added".to_owned());
    assert_eq!(file.mapping.rules[2].action, renamed);
    let properties = &file.projects[0].properties;
    let environment = ("environment".to_owned(), "\"production\"".to_owned());
    assert_eq!(*properties, [environment]);

    let table = hedgerow::config::render_table(&file);
    let mut missing = Vec::new();
    for line in [
        "privacy: drop password, **.card_number, segment_traits, $set.phone",
        "privacy: hash $set.email (HMAC-SHA-256 with the secret)",
        "privacy: addresses without their last octet",
        "privacy: click ids masked",
        "privacy: requests with Sec-GPC: 1 are anonymised",
        "privacy: messages without consent to Analytics are left out",
        "privacy: messages without consent to Advertising are anonymised",
        "rule 1: \"Debug: Checkout\" keep",
        "rule 3: \"Item Added\" rename to \"Product Added\"",
        "properties of shop: environment = \"production\"",
    ] {
        if !table.contains(&format!("  {line}\n")) {
            missing.push(line);
        }
    }
    assert!(missing.is_empty(), "{missing:?} in\n{table}");
    let table = hedgerow::config::render_table(&default);
    assert!(table.contains("privacy: off"), "{table}");
}

#[test]
fn each_mistake_in_privacy_and_rules_has_its_place() {
    // Each piece follows the five lines of the smallest file.
    let rows: &[Row] = &[
        (
            "privacy: {drop: [a..b, email, distinct_id, $ip, [x]]}",
            &[
                (6, 18, "privacy.drop[0]", "may be empty"),
                (6, 31, "privacy.drop[2]", "PostHog needs this property"),
                (6, 44, "privacy.drop[3]", "set `ip` to mask it"),
                (6, 49, "privacy.drop[4]", "expected a path such as"),
            ],
        ),
        (
            "privacy: {ip: off, click_ids: hide, do_not_track: anonymize}",
            &[
                (6, 15, "privacy.ip", "expected keep or last_octet or all"),
                (6, 31, "privacy.click_ids", "expected keep or mask"),
                (6, 51, "privacy.do_not_track", "did you mean anonymise?"),
            ],
        ),
        (
            "privacy: {secret: env:EMPTY}",
            &[(
                6,
                19,
                "privacy.secret",
                "the variable: a secret needs at least 16 bytes",
            )],
        ),
        (
            "privacy: {pseudonym: day}",
            &[(6, 22, "privacy.pseudonym", "needs `secret`")],
        ),
        (
            "privacy: {consent: [Analytics]}",
            &[(6, 20, "privacy.consent", "a mapping from consent categories")],
        ),
        (
            "privacy: {consent: {Analytics: no}}",
            &[(
                6,
                32,
                "privacy.consent.Analytics",
                "expected send or anonymise or drop",
            )],
        ),
        ("rules: {event: x}", &[(6, 8, "rules", "a list of rules")]),
        (
            "rules: [{event: x}, {action: drop}, {event: x, action: keep, rename: y}]",
            &[
                (6, 9, "rules[0]", "`action` or `rename`"),
                (6, 21, "rules[1]", "`event` is missing"),
                (6, 37, "rules[2]", "not both"),
            ],
        ),
        (
            "rules: [{event: x, rename: $identify}, {event: '', action: drop}, {event: y, rename: ' '}]",
            &[
                (6, 28, "rules[0].rename", "would change persons"),
                (6, 48, "rules[1].event", "may be empty"),
                (6, 86, "rules[2].rename", "contains only blanks"),
            ],
        ),
        (
            "rules: [{event: 'a*', rename: b}, {event: 'a*', action: drop}, {event: 'a*', rename: c}, {event: '*', action: keep}, {event: x, action: drop}]",
            &[
                (6, 64, "rules[2]", "rule 1 matches all"),
                (6, 118, "rules[4]", "rule 4 matches all"),
            ],
        ),
    ];
    let mut mismatches = Vec::new();
    for (more, expected) in rows {
        mismatches.extend(check(&with(more), expected));
    }
    let properties = "properties: {$a: 1, distinct_id: x, a\"b: 1, good: [1], 1st: a}";
    let text = SHORTEST.replace(
        "api_key: env:KEY",
        &format!("api_key: env:KEY, {properties}"),
    );
    mismatches.extend(check(
        &text,
        &[
            (2, 51, "projects.shop.properties.$a", "begins with a letter"),
            (
                2,
                58,
                "projects.shop.properties.distinct_id",
                "none of distinct_id",
            ),
            (2, 74, "projects.shop.properties.a\"b", "no quotes"),
            (2, 88, "projects.shop.properties.good", "a single value"),
            (
                2,
                93,
                "projects.shop.properties.1st",
                "begins with a letter",
            ),
        ],
    ));
    none(mismatches);
}
