//! What visitors do, and which events arrive.

use std::path::Path;

use serde_json::{json, Value};

use super::check::{all_comes, check, Addresses};
use super::installed::{all_here, PostHogJs, Prerequisite, Version};
use super::setup::{Key, Plan, ProxyLocation, Setup, Tag, USUAL};
use super::visitor::{send_and_leave, stay, Report, Visitor, ANALYTICS, TURN};

pub fn is_here(test: &str, version: Version) -> bool {
    let needed = [
        Prerequisite::Node,
        Prerequisite::Playwright,
        Prerequisite::Chromium,
        Prerequisite::PostHogJs(PostHogJs::Newest),
        Prerequisite::AnalyticsJs(version),
    ];
    all_here(test, &needed)
}

pub fn page(setup: &Setup) -> String {
    format!("http://shop.test:{}/", setup.address.port())
}

async fn whole(test: &str, plan: Plan<'_>) {
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(plan).await;
    let mut visitor = Visitor::with_chromium().await;
    let page = page(&setup);
    visitor.open_with_both(&page).await;
    let stay = stay(&mut visitor).await;
    all_comes(&setup, &stay).await;
    let report = visitor.leave().await;
    let port = setup.address.port();
    let own = match plan.place {
        ProxyLocation::SameHost => page.clone(),
        ProxyLocation::Subdomain => format!("http://t.shop.test:{port}/"),
        ProxyLocation::OtherSite => format!("http://other.test:{port}/"),
    };
    check(&setup, &stay, &report, &Addresses { page, own });
    check_preflights(plan, &setup, &report);
    let newest = plan.posthog_js == PostHogJs::Newest;
    if plan.place == ProxyLocation::SameHost && plan.tag == Tag::InThePage && newest {
        write_addresses(&setup, &report);
    }
}

/// Browsers send a preflight for Segment's calls where they must, and nowhere else.
fn check_preflights(plan: Plan<'_>, setup: &Setup, report: &Report) {
    let calls = super::installations::calls(&setup.yaml);
    let of = |method: &str| {
        let sent = report.requests.iter().filter(|sent| sent.method == method);
        sent.filter(|sent| sent.url.contains(&calls)).count()
    };
    assert!(of("POST") >= 4, "{:#?}", report.requests);
    // 1.83.0 sends no `Authorization` (segment-tracking 1.6).
    let authorized = plan.key == Key::Sent && matches!(plan.version, Version::Newest);
    let asked = plan.place != ProxyLocation::SameHost && authorized;
    assert_eq!(of("OPTIONS") > 0, asked, "{:#?}", report.requests);
}

/// Writes every address that the libraries requested, for the tests against blockers' lists.
fn write_addresses(setup: &Setup, report: &Report) {
    let page = page(setup);
    let below = report.requests.iter().filter_map(|sent| {
        let path = sent.url.strip_prefix(&page)?;
        (!path.is_empty() && path != "plain").then(|| json!({"kind": sent.kind, "path": path}))
    });
    let list: Vec<Value> = below.collect();
    assert!(list.len() > 5, "{list:?}");
    let all = super::installations::of(&setup.yaml, &list);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let file = folder.join("first-party-addresses.json");
    std::fs::write(file, serde_json::to_vec(&all).unwrap()).unwrap();
}

macro_rules! whole_visits {
    ($($name:ident: $plan:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            whole(stringify!($name), $plan).await;
        }
    )*};
}

pub const OLDER: Plan<'static> = Plan {
    version: Version::V1_83,
    ..USUAL
};

whole_visits! {
    both_libraries_work_on_the_pages_own_host: USUAL;
    version_1_83_works_on_the_pages_own_host: OLDER;
    both_libraries_work_with_posthog_js_1_418: Plan { posthog_js: PostHogJs::V1_418, ..USUAL };
    both_libraries_work_with_posthog_js_1_442: Plan { posthog_js: PostHogJs::V1_442, ..USUAL };
    the_snippet_is_put_into_a_sites_own_pages: Plan { tag: Tag::Injected, ..USUAL };
    both_libraries_work_from_a_subdomain_with_a_preflight: Plan {
        place: ProxyLocation::Subdomain, ..USUAL
    };
    both_libraries_work_from_a_subdomain_without_a_preflight: Plan {
        place: ProxyLocation::Subdomain, key: Key::LeftOut, ..USUAL
    };
    version_1_83_needs_no_preflight_from_a_subdomain: Plan {
        place: ProxyLocation::Subdomain, ..OLDER
    };
    both_libraries_work_from_another_site_with_a_preflight: Plan {
        place: ProxyLocation::OtherSite, ..USUAL
    };
    both_libraries_work_from_another_site_without_a_preflight: Plan {
        place: ProxyLocation::OtherSite, key: Key::LeftOut, ..USUAL
    };
    version_1_83_needs_no_preflight_from_another_site: Plan {
        place: ProxyLocation::OtherSite, ..OLDER
    };
    version_1_83_without_a_key_works_from_another_site: Plan {
        place: ProxyLocation::OtherSite, key: Key::LeftOut, ..OLDER
    };
}

/// The number of events with this name.
fn count(setup: &Setup, name: &str) -> usize {
    let events = setup.stand_in.capture.events();
    events.iter().filter(|event| event.event == name).count()
}

async fn leaves(test: &str, plan: Plan<'_>) {
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(plan).await;
    let mut visitor = Visitor::with_chromium().await;
    let page = page(&setup);
    visitor.open_with_both(&page).await;
    send_and_leave(&mut visitor).await;
    let names = ["Left", "left directly"];
    let came = || names.iter().all(|name| count(&setup, name) > 0);
    setup.until("the last calls", |_| came()).await;
    let report = visitor.leave().await;
    assert_eq!(report.errors, [""; 0]);
    // A page that closes sends again what has no answer yet; the id stays the same.
    let events = setup.stand_in.capture.events();
    for name in names {
        let same = events.iter().filter(|event| event.event == name);
        let ids: std::collections::BTreeSet<_> = same.map(|event| event.uuid).collect();
        assert_eq!(ids.len(), 1, "{name}: {events:#?}");
    }
}

async fn comes_back(test: &str, plan: Plan<'_>) {
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(plan).await;
    let mut visitor = Visitor::with_chromium().await;
    let page = page(&setup);
    visitor.open_with_both(&page).await;
    visitor.run("void window.analytics.track('Went')").await;
    visitor.open(&format!("{page}plain")).await;
    visitor.back().await;
    // Only a page from the back-forward cache says so; a new page would say no.
    visitor.until("window.fromCache === true").await;
    visitor.until(ANALYTICS).await;
    visitor
        .run("void (window.analytics.track('Came back'), window.posthog.capture('came back directly'))")
        .await;
    let names = ["Went", "Came back", "came back directly"];
    let came = || names.iter().all(|name| count(&setup, name) > 0);
    setup
        .until("what was sent before and after", |_| came())
        .await;
    let report = visitor.leave().await;
    assert_eq!(report.errors, [""; 0]);
    assert_eq!(count(&setup, "Came back"), 1);
    assert_eq!(count(&setup, "came back directly"), 1);
}

macro_rules! going_and_coming {
    ($($way:ident $name:ident: $plan:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $way(stringify!($name), $plan).await;
        }
    )*};
}

going_and_coming! {
    leaves the_last_calls_of_a_page_that_is_left_arrive: USUAL;
    leaves the_last_calls_of_a_page_with_version_1_83_arrive: OLDER;
    leaves the_last_calls_arrive_on_another_site_with_a_preflight: Plan {
        place: ProxyLocation::OtherSite, ..USUAL
    };
    leaves the_last_calls_arrive_on_another_site_without_a_preflight: Plan {
        place: ProxyLocation::OtherSite, key: Key::LeftOut, ..USUAL
    };
    leaves the_last_calls_of_version_1_83_arrive_on_a_subdomain: Plan {
        place: ProxyLocation::Subdomain, ..OLDER
    };
    comes_back a_page_from_the_back_forward_cache_goes_on_sending: USUAL;
    comes_back a_kept_page_with_version_1_83_goes_on_sending: OLDER;
    comes_back a_kept_page_goes_on_sending_to_another_site: Plan {
        place: ProxyLocation::OtherSite, ..USUAL
    };
}
