use super::{read, with};
use hedgerow::config::{render_table, SessionMode};
use hedgerow::rewrite::Repeats;
use hedgerow::site::PageSessions;

fn sessions(mapping: &str) -> (SessionMode, Vec<String>) {
    let (config, warnings) = read(&with(&format!("mapping: {mapping}"))).unwrap();
    let warnings = warnings.iter().map(ToString::to_string).collect();
    (config.sessions, warnings)
}

/// The mistakes of a `mapping`.
fn wrong(mapping: &str) -> String {
    let problems = read(&with(&format!("mapping: {mapping}"))).unwrap_err();
    problems.to_string()
}

#[test]
fn sessions_are_off_until_asked_for() {
    for mapping in ["{}", "{sessions: off}", "{sessions: }"] {
        assert_eq!(
            sessions(mapping),
            (SessionMode::Off, Vec::new()),
            "{mapping}"
        );
    }
}

#[test]
fn sessions_of_pages_need_the_enriched_mode() {
    for (mapping, expected) in [
        ("{sessions: page}", PageSessions::Kept),
        ("{sessions: page, mode: reference}", PageSessions::Off),
        ("{sessions: cookie}", PageSessions::Off),
        ("{}", PageSessions::Off),
    ] {
        let (config, _) = read(&with(&format!("mapping: {mapping}"))).unwrap();
        assert_eq!(config.page_sessions(), expected, "{mapping}");
    }
    let (config, warnings) = read(&with("mapping: {sessions: page}")).unwrap();
    assert_eq!(config.sessions, SessionMode::Page);
    let table = render_table(&config);
    assert!(table.contains("sessions: stored by pages"), "{table}");
    let warned: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(
        warned[0].contains("it needs a route with a `library`"),
        "{warned:?}"
    );
    assert!(wrong("{sessions: {page: {}}}").contains("page"));
}

#[test]
fn a_cookie_has_a_name_a_domain_and_secrets() {
    let (kept, warnings) = sessions(
        "{sessions: {cookie: {name: visit, domain: example.com, secret: [env:SESSIONS, \
         0123456789abcdef0123456789abcdef]}}}",
    );
    assert_eq!(warnings, Vec::<String>::new());
    let SessionMode::Cookie(cookie) = kept else {
        panic!("{kept:?}");
    };
    assert_eq!(cookie.cookie().to_string(), "visit for example.com");
    assert!(!cookie.lacks_secret());
    assert!(cookie.keeper(&[]).is_ok());
}

#[test]
fn a_cookie_without_a_secret_works_and_is_warned_of() {
    for mapping in [
        "{sessions: cookie}",
        "{sessions: {cookie: }}",
        "{sessions: {cookie: {name: edge_visit}}}",
    ] {
        let (kept, warnings) = sessions(mapping);
        let SessionMode::Cookie(cookie) = kept else {
            panic!("{mapping}: {kept:?}");
        };
        assert_eq!(cookie.cookie().to_string(), "edge_visit", "{mapping}");
        assert!(cookie.lacks_secret());
        assert!(warnings[0].contains("without a secret"), "{warnings:?}");
        assert!(cookie.keeper(&[1; 31]).is_err());
        assert!(cookie.keeper(&[1; 32]).is_ok());
    }
}

#[test]
fn an_invalid_session_setting_is_a_mistake() {
    for (mapping, expected) in [
        ("{sessions: on}", "expected off, page, cookie or {cookie:"),
        ("{sessions: {cookies: {}}}", "did you mean cookie?"),
        (
            "{sessions: {cookie: {name: a b, domain: example.com}}}",
            "mapping.sessions.cookie.name: a cookie's name",
        ),
        (
            "{sessions: {cookie: {name: a, domain: a..b}}}",
            "mapping.sessions.cookie.domain: a cookie's domain",
        ),
        (
            "{sessions: {cookie: {name: __Host-a, domain: example.com}}}",
            "mapping.sessions.cookie.domain: browsers refuse",
        ),
        ("{sessions: {cookie: {secret: short}}}", "at least 32 bytes"),
        (
            "{sessions: {cookie: {secret: env:KEY}}}",
            "the variable: a secret for sessions needs at least 32 bytes",
        ),
        (
            "{sessions: {cookie: {secret: env:UNSET}}}",
            "UNSET is not set",
        ),
        (
            "{sessions: {cookie: {secret: file:missing}}}",
            "cannot read",
        ),
        (
            "{sessions: {cookie: {secret: []}}}",
            "expected 1 to 8 secrets",
        ),
        (
            "{sessions: {cookie: {name: 'a b'}}}",
            "a cookie's name may contain",
        ),
        (
            "{sessions: {cookie: {domain: 'a;b'}}}",
            "a cookie's domain may contain",
        ),
        ("{repeats: drop}", "expected send or suppress"),
    ] {
        let said = wrong(mapping);
        assert!(said.contains(expected), "{mapping}: {said}");
    }
}

#[test]
fn check_shows_how_sessions_and_repeats_are_treated() {
    let (config, _) = read(&with(
        "mapping: {repeats: suppress, sessions: {cookie: {secret: env:SESSIONS}}}",
    ))
    .unwrap();
    assert_eq!(config.mapping.repeats, Repeats::Suppress);
    let table = render_table(&config);
    let line = "sessions: kept in the cookie edge_visit; repeats suppressed";
    assert!(table.contains(line), "{table}");
}

#[test]
fn enriched_only_switches_are_warned_about_in_the_reference_mode() {
    let (_, warnings) = sessions(
        "{mode: reference, repeats: suppress, sessions: {cookie: {secret: env:SESSIONS}}}",
    );
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("has no effect"), "{warnings:?}");
    let (_, none) = sessions("{mode: reference, repeats: send, sessions: off}");
    assert_eq!(none, Vec::<String>::new());
}
