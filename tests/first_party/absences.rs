//! A visit while a part of the setup is away, and its recovery.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::line::{Line, PathFate};
use super::setup::{Plan, Setup, PATIENCE, USUAL};
use super::visitor::{Visitor, ANALYTICS, POSTHOG, TURN};
use super::visits::{is_here, page, OLDER};

/// A setup, and the line between it and its visitors. On the line, analytics.js's settings and
/// posthog-js itself can fail.
async fn behind_a_line(plan: Plan<'_>) -> (Setup, Line, String) {
    let setup = Setup::open(plan).await;
    let ends = super::installations::settings_and_posthog_js(&setup.yaml);
    let line = Line::to(setup.address, ends.to_vec()).await;
    let page = format!("http://shop.test:{}/", line.address.port());
    (setup, line, page)
}

/// The number of different events with this name.
fn count(setup: &Setup, name: &str) -> usize {
    let events = setup.stand_in.capture.events();
    let same = events.iter().filter(|event| event.event == name);
    let ids: std::collections::BTreeSet<_> = same.map(|event| event.uuid).collect();
    ids.len()
}

async fn all_come(setup: &Setup, names: &[&str]) {
    let what = names.join(", ");
    let came = || names.iter().all(|name| count(setup, name) > 0);
    setup.until(&what, |_| came()).await;
}

/// Calls both libraries in the page, loaded or not.
async fn both_say(visitor: &mut Visitor, track: &str, capture: &str) {
    let calls = format!("window.analytics.track('{track}'), window.posthog.capture('{capture}')");
    visitor.run(&format!("void ({calls})")).await;
}

async fn kept_settings(test: &str, plan: Plan<'_>) {
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let (setup, line, page) = behind_a_line(plan).await;
    let mut visitor = Visitor::with_chromium().await;
    visitor.open_with_both(&page).await;
    both_say(&mut visitor, "Before", "before").await;
    all_come(&setup, &["Before", "before"]).await;
    for (away, track, capture) in [
        (PathFate::Fails, "While it fails", "while it fails"),
        (PathFate::Cut, "While it is cut", "while it is cut"),
    ] {
        line.set(away);
        visitor.open(&format!("{page}plain")).await;
        visitor.open_with_both(&page).await;
        both_say(&mut visitor, track, capture).await;
        all_come(&setup, &[track, capture]).await;
    }
    assert_eq!(line.held_up.load(Ordering::SeqCst), 0, "they were not kept");
    let report = visitor.leave().await;
    assert_eq!(report.errors, [""; 0]);
}

/// A new visitor comes while the settings and posthog-js are away, and stays until they are back.
async fn come_back(test: &str, plan: Plan<'_>, away: PathFate) {
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let (setup, line, page) = behind_a_line(plan).await;
    line.set(away);
    let mut visitor = Visitor::with_chromium().await;
    visitor.open(&page).await;
    both_say(&mut visitor, "Waited", "waited").await;
    // The page has asked for both without success, more than once.
    setup
        .until("the page asks again", |_| {
            line.held_up.load(Ordering::SeqCst) >= 4
        })
        .await;
    for library in [ANALYTICS, POSTHOG] {
        assert_ne!(visitor.run(library).await, true, "{library}");
    }
    line.set(PathFate::Passes);
    // The page is not loaded again: its calls wait in it.
    visitor.until(ANALYTICS).await;
    visitor.until(POSTHOG).await;
    all_come(&setup, &["$pageview", "Waited", "waited"]).await;
    visitor.open(&format!("{page}plain")).await;
    visitor.open_with_both(&page).await;
    both_say(&mut visitor, "Back", "back").await;
    all_come(&setup, &["Back", "back"]).await;
    visitor.leave().await;
    for (name, times) in [
        ("Waited", 1),
        ("waited", 1),
        ("Back", 1),
        ("back", 1),
        ("$pageview", 2),
    ] {
        assert_eq!(count(&setup, name), times, "{name}");
    }
    let events = setup.stand_in.capture.events();
    let visitors = events.iter().map(|event| &event.distinct_id);
    let visitors: std::collections::BTreeSet<_> = visitors.collect();
    assert_eq!(visitors.len(), 1, "one visitor is several: {visitors:?}");
}

/// PostHog goes away and comes back during the visit of a new visitor.
async fn posthog_away(test: &str, plan: Plan<'_>) {
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(plan).await;
    let page = page(&setup);
    // An earlier visitor, so that Hedgerow has a good copy of every file.
    let mut first = Visitor::with_chromium().await;
    first.open_with_both(&page).await;
    both_say(&mut first, "Before", "before").await;
    all_come(&setup, &["Before", "before"]).await;
    first.leave().await;

    setup.take_posthog_away();
    let mut visitor = Visitor::with_chromium().await;
    visitor.open(&format!("{page}plain")).await;
    assert_eq!(visitor.run("document.title").await, "The shop");
    visitor.open_with_both(&page).await;
    both_say(&mut visitor, "While away", "while away").await;
    // The answer is 200, so the event is on the disk.
    let calls = super::installations::calls(&setup.yaml);
    let track = format!("{calls}/t");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = visitor.seen().await;
        let mut tracked = seen
            .requests
            .iter()
            .filter(|sent| sent.url.ends_with(&track));
        if tracked.any(|sent| sent.status == Some(200)) {
            break;
        }
        let log = setup.log();
        assert!(Instant::now() < deadline, "{:#?}\n{log}", seen.requests);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&setup, "While away"), 0, "PostHog was not away");

    setup.posthog_comes_back();
    all_come(&setup, &["While away", "while away"]).await;
    both_say(&mut visitor, "Afterwards", "afterwards").await;
    all_come(&setup, &["Afterwards", "afterwards"]).await;
    visitor.leave().await;
    for name in ["Before", "before", "While away", "Afterwards", "afterwards"] {
        assert_eq!(count(&setup, name), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_settings_were_kept_does_without_them() {
    let test = "a_page_whose_settings_were_kept_does_without_them";
    kept_settings(test, USUAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_version_1_83_whose_settings_were_kept_does_without_them() {
    let test = "a_page_with_version_1_83_whose_settings_were_kept_does_without_them";
    kept_settings(test, OLDER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_on_the_page_for_settings_that_fail() {
    let test = "calls_wait_on_the_page_for_settings_that_fail";
    come_back(test, USUAL, PathFate::Fails).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_on_the_page_for_settings_whose_connections_are_cut() {
    let test = "calls_wait_on_the_page_for_settings_whose_connections_are_cut";
    come_back(test, OLDER, PathFate::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_posthog_takes_nothing_from_the_page_and_loses_no_event() {
    let test = "an_outage_of_posthog_takes_nothing_from_the_page_and_loses_no_event";
    posthog_away(test, USUAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_posthog_loses_no_event_of_version_1_83() {
    let test = "an_outage_of_posthog_loses_no_event_of_version_1_83";
    posthog_away(test, OLDER).await;
}
