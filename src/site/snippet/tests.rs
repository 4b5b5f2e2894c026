//! Tests of the generated texts. The browser tests check that browsers and libraries run them
//! correctly.

use super::super::layout::Layout;
use super::super::names::{derive, forbidden_word};
use super::super::page_sessions::PageSessions;
use super::super::path_names::PathNames;
use super::super::settings::KeyForm;
use super::*;

const KEY: &str = "phc_abcdefghijklmnop";

fn page(analytics: bool, posthog: bool, home: ProxyAddress) -> Page {
    Page {
        home,
        analytics: analytics.then(|| AnalyticsPart {
            layout: Layout::new("/k3v9x2mn/", "fq7dk2", "sz4mwp", "ch8tvn", "qn5rzd").unwrap(),
            write_key: "wk5t8d2z".to_owned(),
            key_form: KeyForm::Sent,
            sessions: PageSessions::Kept,
        }),
        posthog: posthog.then(|| PostHogPart {
            prefix: "/k3v9x2mn/bz7kq4".to_owned(),
            api_key: KEY.to_owned(),
            ui_host: "https://us.posthog.com".to_owned(),
            names: Some(PathNames::new("k3v9x2mnq7", KEY).unwrap()),
        }),
    }
}

/// Every kind but plain HTML.
const EVERYWHERE_ELSE: [PageKind; 7] = [
    PageKind::Npm,
    PageKind::Next,
    PageKind::Nuxt,
    PageKind::Vue,
    PageKind::Svelte,
    PageKind::Gtm,
    PageKind::WordPress,
];

/// The kinds whose pages bundle the libraries.
const MODULES: [PageKind; 5] = [
    PageKind::Npm,
    PageKind::Next,
    PageKind::Nuxt,
    PageKind::Vue,
    PageKind::Svelte,
];

fn npm(page: &Page) -> String {
    snippet_for(page, PageKind::Npm)
}

fn all_texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for home in [
        ProxyAddress::SameHost,
        ProxyAddress::OtherHost("https://t.shop.example/".to_owned()),
    ] {
        for (analytics, posthog) in [(true, false), (false, true), (true, true)] {
            let page = page(analytics, posthog, home.clone());
            let name = format!("{analytics} {posthog} {home:?}");
            texts.push((format!("html {name}"), tag(&page, None)));
            for kind in EVERYWHERE_ELSE {
                texts.push((format!("{kind:?} {name}"), snippet_for(&page, kind)));
            }
        }
    }
    texts
}

#[test]
fn no_text_names_a_vendors_host_except_posthogs_app_and_all_paths_are_neutral() {
    for (name, text) in all_texts() {
        for host in ["segment.com", "segment.io", "i.posthog.com", "cdnjs"] {
            assert!(!text.contains(host), "{name}: {host}");
        }
        let ui = text.matches("posthog.com").count();
        assert_eq!(ui, usize::from(text.contains("ui_host")), "{name}");
        for address in text
            .split(['"', '\''])
            .filter(|part| part.contains("/k3v9x2mn"))
        {
            assert_eq!(forbidden_word(address), None, "{name}: {address}");
        }
    }
}

#[test]
fn each_text_has_the_code_of_its_own_libraries_only() {
    let both = tag(&page(true, true, ProxyAddress::SameHost), None);
    for needed in [
        "analytics._writeKey = \"wk5t8d2z\"",
        "analytics._cdn = \"/k3v9x2mn\"",
        "load(\"/k3v9x2mn/fq7dk2.js\", function () { startAgain(",
        "fetch(\"/k3v9x2mn/sz4mwp/wk5t8d2z\")",
        "segment: window.analytics",
        "api_host: \"/k3v9x2mn/bz7kq4\"",
        "ui_host: \"https://us.posthog.com\"",
        "capture_pageview: false",
        "rewriteRequestPath",
    ] {
        assert!(both.contains(needed), "{needed} is missing in {both}");
    }
    let script = format!(
        "/k3v9x2mn/bz7kq4/{}/{}.js",
        derive("k3v9x2mnq7", "static"),
        derive("k3v9x2mnq7", "array")
    );
    assert!(both.contains(&script), "{script} is missing in {both}");
    assert!(!both.contains("disable_beacon"));
    let analytics = tag(&page(true, false, ProxyAddress::SameHost), None);
    assert!(!analytics.contains("posthog"), "{analytics}");
    let posthog = tag(&page(false, true, ProxyAddress::SameHost), None);
    assert!(!posthog.contains("window.analytics"), "{posthog}");
    assert!(!posthog.contains("capture_pageview"));
    let other = tag(
        &page(
            true,
            true,
            ProxyAddress::OtherHost("https://t.shop.example".to_owned()),
        ),
        None,
    );
    for needed in [
        "analytics._cdn = \"https://t.shop.example/k3v9x2mn\"",
        "api_host: \"https://t.shop.example/k3v9x2mn/bz7kq4\"",
        "disable_beacon: true",
    ] {
        assert!(other.contains(needed), "{needed} is missing in {other}");
    }
}

#[test]
fn the_tag_carries_a_nonce_only_if_it_is_one() {
    let page = page(true, true, ProxyAddress::SameHost);
    assert!(tag(&page, Some("aGVsbG8=")).starts_with("<script nonce=\"aGVsbG8=\">\n"));
    for bad in ["", "a\"b", "a b", "a>b"] {
        assert!(tag(&page, Some(bad)).starts_with("<script>\n"), "{bad:?}");
    }
}

#[test]
fn nothing_in_a_key_can_end_the_script_or_a_literal() {
    let mut page = page(true, false, ProxyAddress::SameHost);
    if let Some(analytics) = &mut page.analytics {
        analytics.write_key = "\"</script><!--\\\u{2028}é😀".to_owned();
    }
    let text = tag(&page, None);
    assert_eq!(text.matches("</script").count(), 1, "{text}");
    assert!(!text.contains("<!--"));
    assert!(
        text.contains("\"\\\"\\u003c/script>\\u003c!--\\\\\\u2028\\u00e9\\ud83d\\ude00\""),
        "{text}"
    );
}

#[test]
fn modules_keep_the_settings_inside_and_name_the_home_host_at_run_time() {
    let same = npm(&page(true, true, ProxyAddress::SameHost));
    assert!(
        same.contains("const apiHost = location.host + \"/k3v9x2mn/qn5rzd\""),
        "{same}"
    );
    assert!(same.contains("metrics: { sampleRate: 0, host: apiHost, protocol }"));
    assert!(same.contains("segment: analytics as any"));
    let other = npm(&page(
        true,
        true,
        ProxyAddress::OtherHost("https://t.shop.example".to_owned()),
    ));
    assert!(
        other.contains("const apiHost = \"t.shop.example/k3v9x2mn/qn5rzd\""),
        "{other}"
    );
    assert!(other.contains("apiKey: \"wk5t8d2z\", apiHost, protocol"));
    let mut keyless = page(true, false, ProxyAddress::SameHost);
    if let Some(analytics) = &mut keyless.analytics {
        analytics.key_form = KeyForm::LeftOut;
    }
    assert!(
        npm(&keyless).contains("{ 'Segment.io': { apiHost, protocol } }"),
        "{}",
        npm(&keyless)
    );
    for kind in MODULES {
        let module = snippet_for(&page(true, true, ProxyAddress::SameHost), kind);
        let instances = module.matches("new AnalyticsBrowser()").count();
        assert_eq!(instances, 1, "{kind:?}: {module}");
        assert!(
            module.contains("npm install @segment/analytics-next posthog-js\n"),
            "{module}"
        );
        for place in [
            "watchAnswers(apiHost + '/')",
            "watchAnswers(location.host + \"/k3v9x2mn/bz7kq4/\")",
        ] {
            assert!(module.contains(place), "{kind:?}: {module}");
        }
    }
    let next = snippet_for(&page(true, true, ProxyAddress::SameHost), PageKind::Next);
    assert!(next.starts_with("'use client'"));
}

#[test]
fn a_module_keeps_sessions_itself_and_a_tag_leaves_it_to_the_loader() {
    let mut page = page(true, true, ProxyAddress::SameHost);
    for text in MODULES.map(|kind| snippet_for(&page, kind)) {
        assert_eq!(text.matches("function edgeSession(").count(), 1, "{text}");
        let listener = text.find("analytics.on('dispatch_start'").unwrap();
        assert!(listener < text.find("analytics.load(").unwrap(), "{text}");
    }
    assert!(!tag(&page, None).contains("edge"));
    if let Some(analytics) = &mut page.analytics {
        analytics.sessions = PageSessions::Off;
    }
    for text in MODULES.map(|kind| snippet_for(&page, kind)) {
        assert!(
            !text.contains("edge") && !text.contains("analytics.on("),
            "{text}"
        );
    }
}

#[test]
fn the_policy_names_the_host_and_the_needs_of_replay() {
    let text = content_security_policy(&page(true, true, ProxyAddress::SameHost));
    assert_eq!(
        text,
        "script-src 'self' 'nonce-RANDOM';\nconnect-src 'self';\nworker-src 'self' blob:;\nstyle-src 'self' 'unsafe-inline'\n"
    );
    let text = content_security_policy(&page(
        true,
        false,
        ProxyAddress::OtherHost("https://t.x".to_owned()),
    ));
    assert_eq!(
        text,
        "script-src https://t.x 'nonce-RANDOM';\nconnect-src https://t.x\n"
    );
}

#[test]
fn the_app_of_a_project_is_known_for_the_clouds_and_the_same_host_elsewhere() {
    for (host, expected) in [
        ("us", "https://us.posthog.com"),
        ("eu", "https://eu.posthog.com"),
        ("https://eu.i.posthog.com", "https://eu.posthog.com"),
        ("https://ph.example.com/", "https://ph.example.com"),
    ] {
        assert_eq!(PostHogPart::ui_host_of(host), expected);
    }
}

#[test]
fn a_page_reports_once_which_address_does_not_answer() {
    let both = tag(&page(true, true, ProxyAddress::SameHost), None);
    for needed in [
        "fails(url, url, why)",
        "watchAnswers(location.host + \"/k3v9x2mn/bz7kq4/\")",
    ] {
        assert_eq!(both.matches(needed).count(), 1, "{needed}: {both}");
    }
    let home = ProxyAddress::OtherHost("https://t.shop.example:8443/".to_owned());
    let other = tag(&page(false, true, home), None);
    let place = "watchAnswers(\"t.shop.example:8443/k3v9x2mn/bz7kq4/\")";
    assert!(other.contains(place), "{other}");
    // The loader of analytics.js counts its own calls.
    let alone = tag(&page(true, false, ProxyAddress::SameHost), None);
    assert_eq!(alone.matches("watchAnswers(").count(), 1, "{alone}");
}

#[test]
fn the_tag_has_no_text_that_tag_manager_or_wordpress_interpret() {
    for posthog in [true, false] {
        let page = page(true, posthog, ProxyAddress::SameHost);
        let manager = snippet_for(&page, PageKind::Gtm);
        // Tag Manager reads `{{name}}` as its own variable, and accepts only the oldest JavaScript.
        for wrong in ["{{", "}}", "=>", "const ", "let ", "`"] {
            assert!(!manager.contains(wrong), "{wrong}: {manager}");
        }
        let plug_in = snippet_for(&page, PageKind::WordPress);
        assert!(
            plug_in.starts_with("<?php\n/*\n * Plugin Name: "),
            "{plug_in}"
        );
        assert!(plug_in.contains(&tag(&page, None)), "{plug_in}");
        let mark = |line: &&str| line.trim_start().starts_with("PAGE");
        assert_eq!(plug_in.lines().filter(mark).count(), 1, "{plug_in}");
    }
}
