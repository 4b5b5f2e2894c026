//! `sessions: page`, which `hedgerow init` writes: the pages keep the sessions.

use std::collections::BTreeSet;
use std::sync::Arc;

use hedgerow::demo::capture::StoredEvent;
use hedgerow::rewrite::enrich::uuid7::Uuid7;
use serde_json::{json, Value};

use super::installed::{all_here, Prerequisite, Version};
use super::setup::{Libraries, Plan, Setup, Tag, USUAL};
use super::visitor::{Visitor, ANALYTICS, TURN};
use super::visits::{self, page};

const MINUTE: i64 = 60 * 1000;
const HOUR: i64 = 60 * MINUTE;

const ALONE: Plan<'static> = Plan {
    libraries: Libraries::AnalyticsJs,
    ..USUAL
};

fn is_here(test: &str) -> bool {
    let needed = [
        Prerequisite::Node,
        Prerequisite::Playwright,
        Prerequisite::Chromium,
        Prerequisite::AnalyticsJs(Version::Newest),
        Prerequisite::AnalyticsJs(Version::V1_83),
    ];
    all_here(test, &needed)
}

/// The values about the visit in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Visit {
    session: String,
    window: String,
    visitor: String,
}

impl Visit {
    fn of(event: &StoredEvent) -> Self {
        let named = |name: &str| {
            let id = event.properties.get(name).and_then(Value::as_str);
            let id = id.unwrap_or_else(|| panic!("no {name}: {}", event.raw));
            assert!(Uuid7::parse(id).is_some(), "{name}: {}", event.raw);
            id.to_owned()
        };
        Self {
            session: named("$session_id"),
            window: named("$window_id"),
            visitor: event.distinct_id.clone(),
        }
    }
}

/// The events with this name, as soon as there are so many.
async fn come(setup: &Setup, name: &str, count: usize) -> Vec<Arc<StoredEvent>> {
    let of = |events: Vec<Arc<StoredEvent>>| -> Vec<Arc<StoredEvent>> {
        let same = events.into_iter().filter(|event| event.event == name);
        same.collect()
    };
    setup
        .until(name, |stand_in| {
            of(stand_in.capture.events()).len() >= count
        })
        .await;
    of(setup.stand_in.capture.events())
}

async fn comes(setup: &Setup, name: &str) -> Visit {
    Visit::of(&come(setup, name, 1).await[0])
}

/// Calls `track` and waits for the event.
async fn track(setup: &Setup, visitor: &mut Visitor, name: &str) -> Visit {
    visitor
        .run(&format!("void window.analytics.track('{name}')"))
        .await;
    comes(setup, name).await
}

async fn open(visitor: &mut Visitor, setup: &Setup) {
    visitor.open(&page(setup)).await;
    visitor.until(ANALYTICS).await;
}

/// What the page and the site have stored in the browser, by place. Scripts cannot see the site's
/// own cookie.
async fn stored(visitor: &mut Visitor) -> Value {
    visitor
        .run(
            "[Object.keys(localStorage), Object.keys(sessionStorage),
                document.cookie.split('; ').map((pair) => pair.split('=')[0]).filter(Boolean)]
                .map((names) => names.sort())",
        )
        .await
}

async fn two_tabs(test: &str, plan: Plan<'_>) {
    if !is_here(test) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(plan).await;
    let mut visitor = Visitor::with_chromium().await;
    open(&mut visitor, &setup).await;
    let landing = comes(&setup, "$pageview").await;
    let first = track(&setup, &mut visitor, "In the first tab").await;
    visitor.tab(1).await;
    open(&mut visitor, &setup).await;
    let second = track(&setup, &mut visitor, "In the second tab").await;
    // Another page in the same tab, then the first tab.
    open(&mut visitor, &setup).await;
    let reloaded = track(&setup, &mut visitor, "On its next page").await;
    visitor.tab(0).await;
    let back = track(&setup, &mut visitor, "In the first tab again").await;
    // A tab that a page opens begins with a copy of its storage.
    visitor
        .run("void window.open(location.href, '_blank')")
        .await;
    let views = come(&setup, "$pageview", 4).await;
    let copied = Visit::of(views.last().unwrap());
    let everything = stored(&mut visitor).await;
    let report = visitor.leave().await;
    assert_eq!(report.errors, [""; 0]);
    let all = [&landing, &first, &second, &reloaded, &back, &copied];
    let sessions: BTreeSet<&str> = all.iter().map(|one| one.session.as_str()).collect();
    assert_eq!(sessions.len(), 1, "{all:#?}");
    assert_eq!(landing, first);
    assert_eq!(first, back);
    assert_eq!(second, reloaded);
    let windows: BTreeSet<&str> = all.iter().map(|one| one.window.as_str()).collect();
    assert_eq!(windows.len(), 3, "{all:#?}");
    assert_ne!(first.window, second.window);
    assert_eq!(everything[2], json!(["ajs_anonymous_id"]), "{everything}");
    assert!(
        everything[0].to_string().contains("edge_page"),
        "{everything}"
    );
    assert_eq!(everything[1], json!(["edge_page"]), "{everything}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visit_over_two_tabs_is_one_session_with_two_windows() {
    two_tabs(
        "a_visit_over_two_tabs_is_one_session_with_two_windows",
        ALONE,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_1_83_keeps_a_session_over_two_tabs() {
    let plan = Plan {
        version: Version::V1_83,
        ..ALONE
    };
    two_tabs("version_1_83_keeps_a_session_over_two_tabs", plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_an_old_snippet_gains_sessions_untouched() {
    let plan = Plan {
        tag: Tag::Old,
        ..ALONE
    };
    two_tabs("a_page_with_an_old_snippet_gains_sessions_untouched", plan).await;
}

/// The visitor's clock runs through the whole visit, over at least one midnight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_after_an_idle_half_hour_and_after_a_day() {
    if !is_here("a_session_ends_after_an_idle_half_hour_and_after_a_day") {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(ALONE).await;
    let mut visitor = Visitor::with_a_clock().await;
    open(&mut visitor, &setup).await;
    let first = comes(&setup, "$pageview").await;
    visitor.clock(29 * MINUTE).await;
    let active = track(&setup, &mut visitor, "After 29 minutes").await;
    visitor.clock(60 * MINUTE).await;
    let idle = track(&setup, &mut visitor, "After 31 more").await;
    assert_eq!(first, active);
    assert_ne!(active.session, idle.session);
    assert_ne!(active.window, idle.window);
    assert_eq!(active.visitor, idle.visitor);
    let mut ahead = HOUR;
    let mut visits = Vec::new();
    while ahead < 26 * HOUR {
        ahead += 25 * MINUTE;
        visitor.clock(ahead).await;
        let name = format!("After {} minutes", ahead / MINUTE);
        visits.push((ahead, track(&setup, &mut visitor, &name).await));
    }
    for (ahead, visit) in &visits {
        let same = visit.session == idle.session;
        assert_eq!(
            same,
            *ahead <= 25 * HOUR,
            "after {} minutes",
            ahead / MINUTE
        );
    }
    let sessions: BTreeSet<&str> = visits.iter().map(|(_, one)| one.session.as_str()).collect();
    assert_eq!(sessions.len(), 2);
    assert_eq!(visitor.leave().await.errors, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_begins_another_session_and_takes_nothing_from_the_one_before() {
    if !is_here("a_logout_begins_another_session_and_takes_nothing_from_the_one_before") {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(ALONE).await;
    let mut visitor = Visitor::with_chromium().await;
    open(&mut visitor, &setup).await;
    let before = comes(&setup, "$pageview").await;
    visitor
        .run(
            "void (window.analytics.track('Last'), window.analytics.reset(),
                window.analytics.track('First'))",
        )
        .await;
    let (last, first) = (comes(&setup, "Last").await, comes(&setup, "First").await);
    assert_eq!(before, last);
    assert_ne!(last.visitor, first.visitor);
    assert_ne!(last.session, first.session);
    assert_ne!(last.window, first.window);
    // The login of another person does not continue it either.
    visitor.run("void window.analytics.identify('u1')").await;
    let identified = comes(&setup, "$identify").await;
    assert_eq!(identified.session, first.session, "the same visitor");
    open(&mut visitor, &setup).await;
    let next = track(&setup, &mut visitor, "On the next page").await;
    assert_eq!((next.session, next.window), (first.session, first.window));
    assert_eq!(visitor.leave().await.errors, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_by_an_hour_costs_no_event_its_session() {
    if !is_here("a_clock_that_is_wrong_by_an_hour_costs_no_event_its_session") {
        return;
    }
    let _turn = TURN.lock().await;
    for wrong in [HOUR, -HOUR] {
        let setup = Setup::open(ALONE).await;
        let mut visitor = Visitor::with_a_clock().await;
        visitor.clock(wrong).await;
        open(&mut visitor, &setup).await;
        let landing = comes(&setup, "$pageview").await;
        assert_eq!(
            track(&setup, &mut visitor, "Soon").await,
            landing,
            "{wrong}"
        );
        visitor.clock(wrong + 20 * MINUTE).await;
        assert_eq!(
            track(&setup, &mut visitor, "Later").await,
            landing,
            "{wrong}"
        );
        // The clock is corrected while the page is open.
        visitor.clock(0).await;
        let right = track(&setup, &mut visitor, "Put right").await;
        assert_ne!(right.session, landing.session);
        assert_eq!(track(&setup, &mut visitor, "Then").await, right, "{wrong}");
        assert_eq!(visitor.leave().await.errors, [""; 0]);
    }
}

/// Where analytics.js with these options stores its anonymous id, and the page its session; `None`
/// if it sends nothing.
const KEPT: [(&str, Option<[&[&str]; 3]>); 6] = [
    ("{disableClientPersistence: true}", Some([&[], &[], &[]])),
    (
        "{user: {persist: false}, group: {persist: false}}",
        Some([&[], &[], &[]]),
    ),
    ("{storage: {stores: ['memory']}}", Some([&[], &[], &[]])),
    (
        "{storage: {stores: ['cookie', 'memory']}}",
        Some([&[], &[], &["ajs_anonymous_id", "edge_page"]]),
    ),
    (
        "{storage: {stores: ['localStorage']}}",
        Some([&["ajs_anonymous_id", "edge_page"], &["edge_page"], &[]]),
    ),
    ("{disable: true}", None),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_if_analytics_js_stores_nothing() {
    if !is_here("nothing_is_stored_if_analytics_js_stores_nothing") {
        return;
    }
    let _turn = TURN.lock().await;
    for (options, places) in KEPT {
        let early = format!("window.analytics._loadOptions = {options}");
        let setup = Setup::open(Plan {
            early: &early,
            ..ALONE
        })
        .await;
        let mut visitor = Visitor::with_chromium().await;
        visitor.open(&page(&setup)).await;
        let Some(places) = places else {
            visitor.until("!Array.isArray(window.analytics)").await;
            let everything = stored(&mut visitor).await;
            assert_eq!(everything, json!([[], [], []]), "{options}");
            visitor.leave().await;
            continue;
        };
        visitor.until(ANALYTICS).await;
        let landing = comes(&setup, "$pageview").await;
        assert_eq!(
            track(&setup, &mut visitor, "Next").await,
            landing,
            "{options}"
        );
        let everything = stored(&mut visitor).await;
        let ours = |names: &Value| -> Vec<String> {
            let names = names.as_array().unwrap().iter();
            let names = names.map(|name| name.as_str().unwrap().to_owned());
            // The other values that analytics.js stores do not matter.
            names
                .filter(|name| name == "ajs_anonymous_id" || name == "edge_page")
                .collect()
        };
        for (place, expected) in places.iter().enumerate() {
            assert_eq!(
                ours(&everything[place]),
                *expected,
                "{options}: {everything}"
            );
        }
        assert_eq!(visitor.leave().await.errors, [""; 0]);
    }
}

/// A browser that refuses all storage: it throws when a script accesses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_without_storage_sends_its_events_all_the_same() {
    if !is_here("a_browser_without_storage_sends_its_events_all_the_same") {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(Plan {
        early: "
            for (const name of ['localStorage', 'sessionStorage']) {
                Object.defineProperty(window, name, { get() { throw new DOMException('no') } })
            }
            Object.defineProperty(document, 'cookie', { get() { return '' }, set() {} })
            delete window.crypto
            Object.defineProperty(window, 'crypto', { value: undefined })",
        ..ALONE
    })
    .await;
    let mut visitor = Visitor::with_chromium().await;
    open(&mut visitor, &setup).await;
    let landing = comes(&setup, "$pageview").await;
    assert_eq!(track(&setup, &mut visitor, "Next").await, landing);
    let report = visitor.leave().await;
    let thrown = report.errors.iter().filter(|one| one.starts_with("page:"));
    assert_eq!(thrown.count(), 0, "{:?}", report.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ids_of_posthog_js_on_the_page_win() {
    let test = "the_ids_of_posthog_js_on_the_page_win";
    if !visits::is_here(test, Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(USUAL).await;
    let mut visitor = Visitor::with_chromium().await;
    visitor.open_with_both(&page(&setup)).await;
    let landing = comes(&setup, "$pageview").await;
    let tracked = track(&setup, &mut visitor, "Tracked").await;
    visitor
        .run("void (window.analytics.group('g1'), window.posthog.capture('captured'))")
        .await;
    let group = comes(&setup, "$groupidentify").await;
    let captured = comes(&setup, "captured").await;
    let session = visitor.run("window.posthog.get_session_id()").await;
    let kept = visitor
        .run("JSON.parse(localStorage.getItem('edge_page'))[0]")
        .await;
    assert_eq!(session, captured.session.as_str());
    // For pages of a site without posthog-js.
    assert_eq!(session, kept);
    for (name, visit) in [("page", &landing), ("track", &tracked), ("group", &group)] {
        assert_eq!(visit.session, captured.session, "{name}");
        assert_eq!(visit.window, captured.window, "{name}");
    }
    assert_eq!(visitor.leave().await.errors, [""; 0]);
}

/// A posthog-js that the site has installed and that knows nothing of analytics.js.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sites_own_posthog_js_ids_are_used_until_its_visitor_opts_out() {
    let test = "the_sites_own_posthog_js_ids_are_used_until_its_visitor_opts_out";
    if !is_here(test) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(ALONE).await;
    let mut visitor = Visitor::with_chromium().await;
    open(&mut visitor, &setup).await;
    let own = comes(&setup, "$pageview").await;
    let (session, window) = visitor_ids();
    visitor
        .run(&format!(
            "void (window.posthog = {{
                __loaded: true,
                no: false,
                has_opted_out_capturing() {{ return this.no }},
                sessionManager: {{ checkAndGetSessionAndWindowId: () => (
                    {{ sessionId: '{session}', windowId: '{window}' }}) }},
            }})"
        ))
        .await;
    let theirs = track(&setup, &mut visitor, "With posthog-js").await;
    assert_eq!((theirs.session, theirs.window), (session, window));
    visitor
        .run("void (window.posthog.no = true, window.analytics.reset())")
        .await;
    let after = track(&setup, &mut visitor, "Without").await;
    assert_ne!(after.session, own.session);
    visitor
        .run("void (window.posthog = { __loaded: true })")
        .await;
    assert_eq!(
        track(&setup, &mut visitor, "With a broken one").await,
        after
    );
    // The page's own values stay unchanged.
    visitor
        .run("void window.analytics.track('Its own', {}, { context: { sessionId: 'mine' } })")
        .await;
    let own = &come(&setup, "Its own", 1).await[0];
    assert_eq!(own.properties["segment_sessionId"], "mine");
    assert!(!own.properties.contains_key("$window_id"), "{}", own.raw);
    assert_eq!(visitor.leave().await.errors, [""; 0]);
}

/// Two new ids of version 7.
fn visitor_ids() -> (String, String) {
    let now = chrono::Utc::now().timestamp_millis();
    let (high, low) = (now >> 16, now & 0xffff);
    let id = |last: u8| format!("{high:08x}-{low:04x}-7abc-8def-0000000000{last:02x}");
    (id(1), id(2))
}
