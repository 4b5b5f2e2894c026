//! The demo and its shop in a browser, with the real analytics.js and without.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use hedgerow::demo::{Demo, DemoOptions};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::chromium::{is_here, Browser, Report, TURN};
use super::events::{check, expected, Copies, Library};
use super::installed::{Prerequisite, Version};
use super::page::Page;
use super::setup::{Setup, PATIENCE, WRITE_KEY};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_demo_shops_buttons_send_their_events() {
    if !is_here("the demo shop", Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let demo = Demo::new(&DemoOptions {
        analytics_js: Some(Prerequisite::AnalyticsJs(Version::Newest).path()),
        write_key: WRITE_KEY.to_owned(),
        ..DemoOptions::default()
    });
    let shop = Arc::clone(&demo.shop);
    let setup = Setup::open(|_| shop).await;
    let begun = Utc::now();
    let mut browser = Browser::open(&format!("http://{}/", setup.hedgerow), "shop");
    browser.done().await;
    setup.events_come(9).await;
    let report = browser.close().await;
    assert!(report.errors.is_empty(), "{report:#?}");

    let events = setup.capture.events();
    let first = events.iter().find(|event| event.event == "$pageview");
    // The library generates this id, so the test does not compare it.
    let visitor: &'static str = first
        .map(|event| event.distinct_id.clone().leak() as &'static str)
        .expect("the first page comes");
    let hawthorn = json!({
        "product_id": "HW-60", "name": "Hawthorn", "price": 1.25, "quantity": 1, "currency": "GBP",
    });
    let club = json!({"name": "Fernhill Garden Club", "members": 12});
    let all = [
        expected("$pageview", visitor, json!({"name": "Shop"})),
        expected("Product Added", visitor, hawthorn.clone()),
        expected(
            "Order Completed",
            visitor,
            json!({"total": 1.25, "currency": "GBP", "products": [hawthorn]}),
        ),
        expected("Catalogue Requested", visitor, json!({"format": "paper"})),
        expected("$pageview", visitor, json!({"name": "Hedging guide"})),
        expected("$screen", visitor, json!({"$screen_name": "Basket"})),
        expected(
            "$groupidentify",
            visitor,
            json!({"$group_key": "garden-club-7", "$group_set": club}),
        ),
        expected("$create_alias", "account-2077", json!({"alias": visitor})),
        expected(
            "$identify",
            "customer-1041",
            json!({"$anon_distinct_id": visitor}),
        ),
    ];
    let library = Library::Browser {
        version: Version::Newest.number(),
    };
    check(&setup, &all, &library, &Copies::None, begun);
}

/// The page's list after `browser.mjs` has pressed its buttons, newest first.
const SHOWN: [&str; 9] = [
    "identify → $identify",
    "alias → $create_alias",
    "group → $groupidentify",
    "screen · Basket → $screen",
    "page · Hedging guide → $pageview",
    "track · Catalogue Requested → Catalogue Requested",
    "track · Order Completed → Order Completed",
    "track · Product Added → Product Added",
    "page · Shop → $pageview",
];

/// Waits until the demo listens: it prints its addresses a moment earlier.
async fn listening(url: &str) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < deadline, "nothing listens on {address}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A running `hedgerow demo` and its output.
struct Running {
    process: Child,
    url: String,
    terminal: JoinHandle<String>,
}

/// Starts `hedgerow demo` with this folder of analytics.js.
async fn run(analytics_js: &Path) -> Running {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["demo", "--port", "0", "--analytics-js"])
        .arg(analytics_js)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    let url = loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("the demo starts").unwrap();
        let line = line.unwrap_or_else(|| panic!("the demo ended: {printed}"));
        printed.push_str(&line);
        if let Some((_, url)) = line.split_once("The shop, behind Hedgerow:") {
            break url.trim().to_owned();
        }
    };
    // Reads all the time, because a full pipe would block the demo.
    let terminal = tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            printed.push_str(&line);
            printed.push('\n');
        }
        printed
    });
    listening(&url).await;
    Running {
        process: demo,
        url,
        terminal,
    }
}

/// Runs the demo, presses the buttons, and checks that the page and the terminal show every event.
async fn demo(analytics_js: &Path) -> Report {
    let Running {
        process: mut demo,
        url,
        terminal,
    } = run(analytics_js).await;
    let mut browser = Browser::open(&url, "watch");
    browser.done().await;
    let report = browser.close().await;
    demo.kill().await.unwrap();
    let terminal = terminal.await.unwrap();
    assert!(report.errors.is_empty(), "{report:#?}");
    assert_eq!(report.shown, SHOWN, "{report:#?}");
    for event in [
        "Product Added",
        "$create_alias",
        "customer-1041",
        "as it left",
    ] {
        assert!(terminal.contains(event), "no {event} in: {terminal}");
    }
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_demo_shows_each_event_as_it_came_and_as_it_left() {
    if !is_here("the demo", Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let report = demo(&Prerequisite::AnalyticsJs(Version::Newest).path()).await;
    assert_eq!(report.note, None, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_demo_without_analytics_js_says_so_and_shows_the_same() {
    if !is_here("the demo without analytics.js", Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let empty = tempfile::tempdir().unwrap();
    let report = demo(empty.path()).await;
    let note = report.note.unwrap_or_default();
    assert!(note.contains("analytics.js is not in use"), "{note}");
}

/// The demo's counts: sent, at PostHog, in the spool, refused, lost.
const TALLY: &str = "['sent', 'has', 'kept', 'refused', 'lost'].map((id) => \
    Number(document.getElementById(id).textContent)).join(' ')";

/// Whether the newest event is visible without scrolling, with enough of it to recognise it.
const IN_VIEW: &str = "(() => { const entry = document.querySelector('#list article'); \
    const { top } = entry.getBoundingClientRect(); return top > 0 && top + 80 < innerHeight; })()";

async fn told(page: &mut Page, numbers: &str) {
    page.until(&format!("{TALLY} === '{numbers}'")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn in_the_demo_posthog_goes_away_and_comes_back_and_nothing_is_lost() {
    if !is_here("the demo's switch", Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let running = run(&Prerequisite::AnalyticsJs(Version::Newest).path()).await;
    let mut page = Page::open(&running.url).await;
    told(&mut page, "1 1 0 0 0").await;

    // After every button its outcome is visible at once, on a phone too.
    for (width, button, number) in [
        (1280, "[data-product=\"DR-40\"] [data-add]", 2),
        (1280, "[data-call=\"track\"]", 3),
        (390, "[data-product=\"HW-60\"] [data-add]", 4),
        (390, "[data-call=\"screen\"]", 5),
    ] {
        page.width(width).await;
        page.click(button).await;
        told(&mut page, &format!("{number} {number} 0 0 0")).await;
        page.until("document.querySelector('#list article .side .added')")
            .await;
        assert_eq!(page.value(IN_VIEW).await, true, "{width} {button}");
    }
    for mark in ["renamed", "added", "used"] {
        let marked = format!("document.querySelector('#list .line.{mark} .why')");
        page.until(&marked).await;
    }
    page.width(1280).await;
    page.click("[data-product=\"HZ-80\"] [data-add]").await;
    told(&mut page, "6 6 0 0 0").await;
    page.pictures("demo").await;

    // An event that Hedgerow refuses, and one that PostHog rejects: each shows its reason.
    page.click("[data-bad=\"nameless\"]").await;
    told(&mut page, "7 6 0 1 0").await;
    page.until("document.querySelector('#list .reason')?.textContent.includes('missing_event')")
        .await;
    page.click("[data-bad=\"refused\"]").await;
    told(&mut page, "8 6 0 2 0").await;
    page.until("document.querySelector('#list').textContent.includes('PostHog’s answer: 400')")
        .await;
    page.pictures("demo-refused").await;

    // PostHog is away: the spool fills, and the page gets 200. PostHog is back: the spool drains.
    page.click("#switch").await;
    page.until("document.querySelector('#switch').ariaChecked === 'false'")
        .await;
    for (button, kept) in [("track", 1), ("page", 2), ("group", 3)] {
        page.click(&format!("[data-call=\"{button}\"]")).await;
        told(&mut page, &format!("{} 6 {kept} 2 0", 8 + kept)).await;
    }
    page.until(
        "document.querySelector('#story').textContent.startsWith('PostHog is away. 3 events wait')",
    )
    .await;
    page.pictures("demo-away").await;
    page.click("#switch").await;
    told(&mut page, "11 9 0 2 0").await;
    page.until("document.querySelector('#story').textContent.includes('all 3 events that waited have arrived. Nothing was lost.')").await;
    page.pictures("demo-back").await;

    // Checks the rules of a blocker's list for both addresses.
    let verdicts = "[...document.querySelectorAll('#verdicts tr')].map((row) => row.textContent)";
    let verdicts = page.value(verdicts).await;
    let said = |place: usize| verdicts[place].as_str().unwrap().to_owned();
    assert!(said(0).contains("stopped by ||segment.io^"), "{verdicts}");
    assert!(said(1).contains("passes"), "{verdicts}");
    page.close().await;
}
