//! A page's calls before posthog-js has loaded, with each tested version of posthog-js.

use std::collections::BTreeSet;
use std::sync::Arc;

use hedgerow::demo::capture::StoredEvent;
use serde_json::{json, Value};

use super::installed::{all_here, PostHogJs, Prerequisite, Version};
use super::setup::{Libraries, Plan, Setup, USUAL};
use super::visitor::{Visitor, POSTHOG, TURN};
use super::visits::page;

const VERSIONS: [PostHogJs; 3] = [PostHogJs::V1_418, PostHogJs::V1_442, PostHogJs::Newest];

fn is_here(test: &str, posthog_js: PostHogJs) -> bool {
    let needed = [
        Prerequisite::Node,
        Prerequisite::Playwright,
        Prerequisite::Chromium,
        Prerequisite::PostHogJs(posthog_js),
        Prerequisite::AnalyticsJs(Version::Newest),
    ];
    all_here(test, &needed)
}

/// The different events with this name.
fn of<'e>(events: &'e [Arc<StoredEvent>], name: &str) -> Vec<&'e Arc<StoredEvent>> {
    let same = events.iter().filter(|event| event.event == name);
    let mut seen = BTreeSet::new();
    same.filter(|event| seen.insert(event.uuid)).collect()
}

/// Calls of every kind: events, properties of events and of the person, questions, and functions
/// that the page stores and calls later.
const CALLS: &str = "
    window.kept = [posthog.capture, posthog.people.set, posthog.captureTraceFeedback];
    posthog.capture('early', { n: 1 });
    posthog.register({ origin: 'early' });
    posthog.people.set({ plan: 'gold' });
    posthog.onFeatureFlags(function () { window.flags = true });
    posthog.push(['capture', 'pushed']);
    window.said = [posthog.isFeatureEnabled('beta'), posthog.getFeatureFlag('beta'),
        posthog.get_distinct_id(), posthog.capture('asked'), posthog.people.set_once({ first: 1 })]
        .map(function (one) { return one === undefined });
    window.titles = [String(posthog), posthog.toString(1), String(posthog.people)];
";

async fn calls(test: &str, libraries: Libraries, posthog_js: PostHogJs) {
    if !is_here(test, posthog_js) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(Plan {
        libraries,
        posthog_js,
        early: CALLS,
        ..USUAL
    })
    .await;
    let mut visitor = Visitor::with_chromium().await;
    visitor.open(&page(&setup)).await;
    visitor.until(POSTHOG).await;
    visitor.until("window.flags").await;
    visitor
        .run("void (window.kept[0]('later'), window.kept[1]({ later: true }), window.kept[2]('id', 'good'))")
        .await;
    let names = ["early", "pushed", "asked", "later", "$pageview"];
    let came = |events: &[Arc<StoredEvent>]| names.iter().all(|name| !of(events, name).is_empty());
    setup
        .until("what was called early", |stand_in| {
            came(&stand_in.capture.events())
        })
        .await;
    let said = visitor.run("window.said").await;
    let titles = visitor.run("window.titles").await;
    let report = visitor.leave().await;
    let mut wrong = report.errors;
    if said != json!([true, true, true, true, true]) {
        wrong.push(format!("a call that waits is answered: {said}"));
    }
    if titles != json!(["posthog (stub)", "posthog", "posthog.people (stub)"]) {
        wrong.push(format!("titles: {titles}"));
    }
    let events = setup.stand_in.capture.events();
    for name in names {
        let count = of(&events, name).len();
        if count != 1 {
            wrong.push(format!("{name} came {count} times"));
        }
    }
    let early = of(&events, "early")[0];
    let property = |name: &str| early.properties.get(name).cloned().unwrap_or_default();
    if property("n") != 1 || property("origin") != "early" {
        wrong.push(format!("the early event: {}", early.raw));
    }
    let person = |key: &str, of: &str| {
        let bodies = events.iter().map(|event| serde_json::from_str(&event.raw));
        let bodies = bodies.map(|body: Result<Value, _>| body.unwrap());
        let sets = bodies.map(|body| (body[of][key].clone(), body["properties"][of][key].clone()));
        sets.into_iter()
            .any(|(outside, inside)| !outside.is_null() || !inside.is_null())
    };
    for (key, of) in [("plan", "$set"), ("first", "$set_once"), ("later", "$set")] {
        if !person(key, of) {
            wrong.push(format!("{of} lacks {key}"));
        }
    }
    let visitors: BTreeSet<&str> = events.iter().map(|one| one.distinct_id.as_str()).collect();
    let sessions: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| event.properties.get("$session_id")?.as_str())
        .collect();
    if visitors.len() != 1 || sessions.len() != 1 {
        wrong.push(format!("one visit is several: {visitors:?}, {sessions:?}"));
    }
    assert_eq!(wrong, [""; 0], "{libraries:?}, {posthog_js:?}");
}

/// A visitor opts out before posthog-js has loaded.
async fn opts_out(test: &str, libraries: Libraries, posthog_js: PostHogJs) {
    if !is_here(test, posthog_js) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(Plan {
        libraries,
        posthog_js,
        early: "posthog.capture('before'); posthog.opt_out_capturing(); posthog.capture('never')",
        ..USUAL
    })
    .await;
    let mut visitor = Visitor::with_chromium().await;
    visitor.open(&page(&setup)).await;
    visitor.until(POSTHOG).await;
    visitor
        .until("window.posthog.has_opted_out_capturing()")
        .await;
    visitor
        .run("void window.posthog.capture('never either')")
        .await;
    visitor.click("#buy").await;
    visitor
        .run("void (window.posthog.opt_in_capturing(), window.posthog.capture('again'))")
        .await;
    setup
        .until("what is said after a yes", |stand_in| {
            !of(&stand_in.capture.events(), "again").is_empty()
        })
        .await;
    let report = visitor.leave().await;
    let events = setup.stand_in.capture.events();
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    let kept_back = ["before", "never", "never either", "$autocapture"];
    let through: Vec<_> = kept_back
        .iter()
        .filter(|one| names.contains(*one))
        .collect();
    assert!(
        through.is_empty(),
        "{libraries:?}, {posthog_js:?}: {names:?}"
    );
    assert_eq!(report.errors, [""; 0]);
}

macro_rules! with_each_version {
    ($($what:ident $name:ident: $libraries:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for posthog_js in VERSIONS {
                $what(stringify!($name), Libraries::$libraries, posthog_js).await;
            }
        }
    )*};
}

with_each_version! {
    calls early_calls_of_posthog_js_arrive: PostHogJs;
    calls early_calls_arrive_with_both_libraries: Both;
    opts_out an_early_no_holds_for_posthog_js: PostHogJs;
    opts_out an_early_no_holds_with_both_libraries: Both;
}

/// The page calls `init` in addition to the snippet: for the same project, and for another one
/// under a name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_may_start_the_same_project_once_more_and_another_one_by_name() {
    let test = "a_page_may_start_the_same_project_once_more_and_another_one_by_name";
    for posthog_js in VERSIONS {
        if !is_here(test, posthog_js) {
            return;
        }
        let _turn = TURN.lock().await;
        let setup = Setup::open(Plan {
            libraries: Libraries::PostHogJs,
            posthog_js,
            early: "
                posthog.init('phc_first_party_test', { api_host: '/elsewhere' });
                var second = posthog.init('phc_second', { api_host: '/elsewhere', autocapture: false }, 'second');
                window.same = second === posthog.second && String(second) === 'posthog.second (stub)';
                posthog.second.capture('of the second');
                posthog.capture('of the first')",
            ..USUAL
        })
        .await;
        let mut visitor = Visitor::with_chromium().await;
        visitor.open(&page(&setup)).await;
        visitor.until(POSTHOG).await;
        assert_eq!(visitor.run("window.same").await, true);
        setup
            .until("the first one's event", |stand_in| {
                !of(&stand_in.capture.events(), "of the first").is_empty()
            })
            .await;
        visitor
            .until("window.posthog.second.config.token === 'phc_second'")
            .await;
        let host = visitor.run("window.posthog.config.api_host").await;
        assert_ne!(host, "/elsewhere", "{posthog_js:?}");
        let events = setup.stand_in.capture.events();
        assert!(of(&events, "of the second").is_empty(), "{posthog_js:?}");
        visitor.leave().await;
    }
}

/// Every method for which the vendor's own loader of each version queues calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_takes_every_call_that_the_vendors_own_takes() {
    let test = "the_queue_takes_every_call_that_the_vendors_own_takes";
    if !VERSIONS.iter().all(|version| is_here(test, *version)) {
        return;
    }
    let mut methods = BTreeSet::new();
    for version in VERSIONS {
        let file = Prerequisite::PostHogJs(version)
            .path()
            .join("dist/loader.js");
        // 1.418 has none of these methods.
        let Ok(text) = std::fs::read_to_string(file) else {
            continue;
        };
        let list = text
            .split('"')
            .find(|one| one.contains("capture ") && one.contains(" people.set "));
        methods.extend(list.unwrap().split(' ').map(str::to_owned));
    }
    methods.extend(DOCUMENTED.split_whitespace().map(str::to_owned));
    assert!(methods.len() >= 75, "{methods:?}");
    let _turn = TURN.lock().await;
    let setup = Setup::open(USUAL).await;
    let mut visitor = Visitor::with_chromium().await;
    // The page has only the snippet.
    visitor.open(&format!("{}plain", page(&setup))).await;
    let names = serde_json::to_string(&methods).unwrap();
    let snippet = setup.script().await;
    let missing = run_alone(
        &mut visitor,
        "",
        &snippet,
        &format!(
            "{names}.filter((name) => {{
                const path = name.split('.');
                const owner = path.length > 1 ? window.posthog[path[0]] : window.posthog;
                return typeof owner[path.pop()] !== 'function';
            }})"
        ),
    )
    .await;
    assert_eq!(missing, Value::Array(Vec::new()));
    // The page's own posthog-js stays unchanged, and the page view still arrives.
    visitor.open(&format!("{}plain", page(&setup))).await;
    let before = "window.posthog = { __loaded: true }";
    let after = "[Object.keys(window.posthog), window.analytics.map((call) => call[0])]";
    let left = run_alone(&mut visitor, before, &snippet, after).await;
    assert_eq!(left, json!([["__loaded"], ["page"]]));
    visitor.leave().await;
}

/// Runs the snippet in a page where nothing can load, and then a question.
async fn run_alone(visitor: &mut Visitor, before: &str, snippet: &str, asked: &str) -> Value {
    visitor
        .run(&format!(
            "(() => {{
                Document.prototype.createElement = () => ({{}});
                Node.prototype.appendChild = () => null;
                window.fetch = () => new Promise(() => {{}});
                {before};
                {snippet};
                return {asked};
            }})()"
        ))
        .await
}

/// The methods of the snippet in PostHog's documentation, from before its loader.
const DOCUMENTED: &str = "capture identify alias people.set people.set_once set_config register \
    register_once unregister opt_out_capturing has_opted_out_capturing opt_in_capturing reset \
    isFeatureEnabled onFeatureFlags getFeatureFlag getFeatureFlagPayload reloadFeatureFlags group \
    updateEarlyAccessFeatureEnrollment getEarlyAccessFeatures getActiveMatchingSurveys getSurveys \
    getNextSurveyStep onSessionId";
