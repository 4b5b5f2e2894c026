//! The real analytics.js in headless Chromium.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::Utc;
use serde_json::{json, Value};

use super::chromium::{is_here, Browser, Report, TURN};
use super::events::{check, expected, Copies, Expected, Library};
use super::installed::Version;
use super::origin::Origin;
use super::setup::{Setup, WRITE_KEY};

/// Where the page is, seen from Hedgerow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    /// Behind Hedgerow, on the same host: the browser sends no preflight, and sends the site's
    /// cookies.
    SameOrigin,
    /// On another host.
    CrossOrigin,
}

/// Whether the settings give the library its write key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ApiKey {
    Given,
    /// Without a key, the library sends no `Authorization` (segment-tracking 1.6).
    LeftOut,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Standard,
    StandardKeepalive,
    /// The library sends the batch when the last call is in it.
    Batching,
    /// The library sends the batch after a time, whatever it contains.
    BatchingByTime,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scenario {
    /// The visitor stays on the page.
    Stay,
    /// The visitor makes one more call and leaves.
    Leave,
}

struct Case {
    page: Page,
    api_key: ApiKey,
    strategy: Strategy,
    scenario: Scenario,
    version: Version,
}

const PLAIN: Case = Case {
    page: Page::CrossOrigin,
    api_key: ApiKey::Given,
    strategy: Strategy::Standard,
    scenario: Scenario::Stay,
    version: Version::Newest,
};

fn settings(case: &Case, hedgerow: SocketAddr) -> Value {
    let strategy = match case.strategy {
        Strategy::Standard => json!({"strategy": "standard"}),
        Strategy::StandardKeepalive => {
            json!({"strategy": "standard", "config": {"keepalive": true}})
        }
        Strategy::Batching => {
            let size = match case.scenario {
                Scenario::Stay => 6,
                // The visitor leaves before the batch is full.
                Scenario::Leave => 10,
            };
            json!({"strategy": "batching", "config": {"size": size, "timeout": 600_000}})
        }
        Strategy::BatchingByTime => {
            json!({"strategy": "batching", "config": {"size": 10, "timeout": 500}})
        }
    };
    let mut integration = json!({
        "apiHost": format!("{hedgerow}/hr/v1"),
        "protocol": "http",
        "deliveryStrategy": strategy,
    });
    if case.api_key == ApiKey::Given {
        integration["apiKey"] = WRITE_KEY.into();
    }
    json!({"integrations": {"Segment.io": integration}, "metrics": {"sampleRate": 0}})
}

/// The calls in `tests/clients/pages/calls.js`; the visitor is anonymous until the last.
fn six_calls_of_a_visitor(page: &str) -> Vec<Expected> {
    let visitor = "visitor-7";
    vec![
        expected(
            "$pageview",
            visitor,
            json!({
                "section": "api",
                "name": "Docs",
                "title": "Six calls",
                "$current_url": page,
                "$pathname": "/",
            }),
        ),
        expected(
            "Order Completed",
            visitor,
            json!({"order_id": "o-1", "total": 24.5, "note": "Grüße ☃", "$current_url": page}),
        ),
        expected(
            "$screen",
            visitor,
            json!({"$screen_name": "Basket", "items": 3}),
        ),
        expected(
            "$groupidentify",
            visitor,
            json!({"$group_key": "acme", "$group_set": {"name": "Acme", "seats": 12}}),
        ),
        expected("$create_alias", "user-7", json!({"alias": visitor})),
        expected(
            "$identify",
            "user-7",
            json!({
                "$anon_distinct_id": visitor,
                "$set": {"email": "ada@example.test", "plan": "pro"},
            }),
        ),
    ]
}

async fn visit(test: &str, case: Case) {
    if !is_here(test, case.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup =
        Setup::open(|hedgerow| Arc::new(Origin::new(case.version, settings(&case, hedgerow))))
            .await;
    let page = match case.page {
        Page::SameOrigin => format!("http://{}/", setup.hedgerow),
        Page::CrossOrigin => format!("http://localhost:{}/", setup.site.port()),
    };
    let mut expected_events = six_calls_of_a_visitor(&page);
    let (scenario, copies) = match case.scenario {
        Scenario::Stay => ("stay", Copies::None),
        Scenario::Leave => ("leave", Copies::SameUuid),
    };
    if case.scenario == Scenario::Leave {
        let left = json!({"where": "next.html", "$current_url": page});
        expected_events.push(expected("Left", "user-7", left));
    }
    let begun = Utc::now();
    let mut browser = Browser::open(&page, scenario);
    browser.done().await;
    setup.events_come(expected_events.len()).await;
    let report = browser.close().await;
    let library = Library::Browser {
        version: case.version.number(),
    };
    check(&setup, &expected_events, &library, &copies, begun);
    check_requests(&case, &setup, &report);
}

/// Checks that the browser sent what the case is about.
fn check_requests(case: &Case, setup: &Setup, report: &Report) {
    assert!(report.errors.is_empty(), "{report:#?}");
    let ours = format!("http://{}/hr/v1/", setup.hedgerow);
    let local = [
        format!("http://{}/", setup.hedgerow),
        format!("http://localhost:{}/", setup.site.port()),
        "data:".to_owned(),
    ];
    let foreign = report
        .requests
        .iter()
        .find(|sent| !local.iter().any(|start| sent.url.starts_with(start)));
    assert!(foreign.is_none(), "asked for elsewhere: {foreign:?}");
    let tracking: Vec<_> = report
        .requests
        .iter()
        .filter(|sent| sent.url.starts_with(&ours))
        .collect();
    let posts: Vec<_> = tracking
        .iter()
        .filter(|sent| sent.method == "POST")
        .collect();
    let preflights = tracking
        .iter()
        .filter(|sent| sent.method == "OPTIONS")
        .count();
    if case.scenario == Scenario::Leave {
        // A closed page does not get the answers to its last requests.
        return;
    }
    let authorized = matches!(case.version, Version::Newest) && case.api_key == ApiKey::Given;
    let preflighted = authorized && case.page == Page::CrossOrigin;
    let requests = match case.strategy {
        Strategy::Batching => 1,
        // The number of calls in the batch at that time depends on the machine.
        Strategy::BatchingByTime => posts.len().clamp(1, 6),
        Strategy::Standard | Strategy::StandardKeepalive => 6,
    };
    assert_eq!(posts.len(), requests, "{report:#?}");
    assert_eq!(
        preflights,
        if preflighted { requests } else { 0 },
        "{report:#?}"
    );
    for post in posts {
        assert_eq!(post.authorized, authorized, "{post:?}");
        assert_eq!(post.status, Some(200), "{post:?}");
    }
}

macro_rules! visits {
    ($($(#[$note:meta])* $name:ident: $case:expr;)*) => {$(
        $(#[$note])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
        async fn $name() {
            visit(stringify!($name), $case).await;
        }
    )*};
}

visits! {
    same_origin_events_come_once_and_leave_their_cookies_behind: Case {
        page: Page::SameOrigin, ..PLAIN
    };
    same_origin_batches_come_once: Case {
        page: Page::SameOrigin, strategy: Strategy::Batching, ..PLAIN
    };
    cross_origin_events_pass_their_preflights: PLAIN;
    cross_origin_events_without_an_api_key_need_no_preflight: Case {
        api_key: ApiKey::LeftOut, ..PLAIN
    };
    cross_origin_batches_pass_their_preflight: Case {
        strategy: Strategy::Batching, ..PLAIN
    };
    cross_origin_batches_that_are_timed_pass_their_preflights: Case {
        strategy: Strategy::BatchingByTime, ..PLAIN
    };
    version_1_83_sends_simple_requests_across_origins: Case {
        version: Version::V1_83, ..PLAIN
    };
    the_last_event_before_leaving_comes: Case {
        scenario: Scenario::Leave, ..PLAIN
    };
    the_last_event_before_leaving_comes_from_the_same_origin: Case {
        page: Page::SameOrigin, scenario: Scenario::Leave, ..PLAIN
    };
    the_last_event_before_leaving_comes_with_keepalive: Case {
        strategy: Strategy::StandardKeepalive, scenario: Scenario::Leave, ..PLAIN
    };
    the_last_event_of_version_1_83_before_leaving_comes: Case {
        version: Version::V1_83, scenario: Scenario::Leave, ..PLAIN
    };
    // 1.83.0 sends batches over https whatever `protocol` says, so this test has none.
    the_last_batch_before_leaving_comes: Case {
        strategy: Strategy::Batching, scenario: Scenario::Leave, ..PLAIN
    };
    the_last_batch_before_leaving_comes_from_the_same_origin: Case {
        page: Page::SameOrigin, strategy: Strategy::Batching, scenario: Scenario::Leave, ..PLAIN
    };
}
