//! The page writes a message on the console when its requests get no answer.

use std::time::{Duration, Instant};

use super::line::{Line, PathFate};
use super::setup::{Libraries, Plan, Setup, PATIENCE, USUAL};
use super::visitor::{Visitor, ANALYTICS, POSTHOG, TURN};
use super::visits::{is_here, OLDER};

/// A request that fails, and how.
struct FailureCase {
    ends: Vec<String>,
    way: PathFate,
    /// The path that fails, and the path that the message names.
    said: (String, &'static str),
    calls: Calls,
}

/// Whether a library runs, and gets calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    OfAnalyticsJs,
    OfPostHogJs,
    Waiting,
}

fn failures(setup: &Setup) -> Vec<FailureCase> {
    let [settings, posthog_js] = super::installations::settings_and_posthog_js(&setup.yaml);
    let script = super::installations::script(&setup.yaml);
    let calls = super::installations::calls(&setup.yaml);
    let one = |path: &str, way, said| FailureCase {
        ends: vec![path.to_owned()],
        way,
        said: (path.to_owned(), said),
        calls: Calls::Waiting,
    };
    let call = |way, said| FailureCase {
        ends: vec![format!("{calls}/p"), format!("{calls}/t")],
        way,
        said: (calls.clone(), said),
        calls: Calls::OfAnalyticsJs,
    };
    let (posthog, ends) = super::installations::posthog_calls(&setup.yaml);
    let posthogs_own = FailureCase {
        ends,
        way: PathFate::NotThere,
        said: (posthog, "with status 404"),
        calls: Calls::OfPostHogJs,
    };
    vec![
        posthogs_own,
        one(&settings, PathFate::NotThere, "with status 404"),
        one(&settings, PathFate::Fails, "with status 503"),
        one(&settings, PathFate::Cut, "without an answer"),
        one(
            &settings,
            PathFate::APage,
            "with something else for an answer",
        ),
        one(
            &script,
            PathFate::NotThere,
            "without a script for an answer",
        ),
        one(&script, PathFate::Cut, "without a script for an answer"),
        one(
            &posthog_js,
            PathFate::Fails,
            "without a script for an answer",
        ),
        call(PathFate::NotThere, "with status 404"),
        call(PathFate::Fails, "with status 503"),
        call(PathFate::Cut, "without an answer"),
        call(PathFate::APage, "with a web page for an answer"),
    ]
}

async fn each_is_said_once(test: &str, plan: Plan<'_>) {
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(plan).await;
    let mut visitor = Visitor::with_chromium().await;
    let mut lines = Vec::new();
    // Each case has its own line, so that each page has its own storage.
    for (tab, failing) in failures(&setup).into_iter().enumerate() {
        let line = Line::to(setup.address, failing.ends.clone()).await;
        line.set(failing.way);
        visitor.tab(tab).await;
        let page = format!("http://shop.test:{}", line.address.port());
        visitor.open(&format!("{page}/")).await;
        match failing.calls {
            Calls::Waiting => {}
            Calls::OfAnalyticsJs => {
                visitor.until(ANALYTICS).await;
                let calls = "for (var i = 0; i < 4; i++) window.analytics.track('Said ' + i)";
                let calls = format!("(function () {{ {calls} }})()");
                visitor.run(&calls).await;
            }
            Calls::OfPostHogJs => {
                visitor.until(POSTHOG).await;
                // The library sends several calls at once.
                let calls = "void setInterval(() => window.posthog.capture('said'), 500)";
                visitor.run(calls).await;
            }
        }
        lines.push((line, page, failing));
    }
    // A page without a failure.
    let well = Line::to(setup.address, Vec::new()).await;
    visitor.tab(lines.len()).await;
    let page = format!("http://shop.test:{}/", well.address.port());
    visitor.open_with_both(&page).await;
    let deadline = Instant::now() + PATIENCE;
    let said_of = |errors: &[String], page: &str| {
        let mine = errors
            .iter()
            .filter(|said| said.contains("do not get through"));
        let mine = mine.filter(|said| said.contains(&format!("{page}/")));
        mine.cloned().collect::<Vec<_>>()
    };
    let errors = loop {
        let errors = visitor.seen().await.errors;
        let all = lines
            .iter()
            .all(|(_, page, _)| !said_of(&errors, page).is_empty());
        if all || Instant::now() > deadline {
            break errors;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // Waits until each has failed several times: the message appears once.
    for (line, ..) in &lines {
        while line.held_up.load(std::sync::atomic::Ordering::SeqCst) < 4
            && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let report = visitor.leave().await;
    let mut wrong = Vec::new();
    for (_, page, failing) in &lines {
        let (path, why) = &failing.said;
        let said = said_of(&report.errors, page);
        let right = |said: &String| {
            said.starts_with("warning: Events do not get through: three requests were in vain")
                && said.contains(&format!("the last one {why}, to {page}{path}"))
        };
        if said.len() != 1 || !said.iter().all(right) {
            wrong.push(format!("{page}{path}, {why}: {said:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{errors:#?}", wrong.join("\n"));
    let of_well = report.errors.iter().filter(|said| said.contains(&page));
    assert_eq!(of_well.count(), 0, "{:#?}", report.errors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_reports_once_which_address_does_not_answer() {
    let test = "a_page_reports_once_which_address_does_not_answer";
    each_is_said_once(test, USUAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_version_1_83_reports_once_which_address_does_not_answer() {
    let test = "a_page_with_version_1_83_reports_once_which_address_does_not_answer";
    each_is_said_once(test, OLDER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_only_posthog_js_reports_that_it_does_not_load() {
    let test = "a_page_with_only_posthog_js_reports_that_it_does_not_load";
    let plan = Plan {
        libraries: Libraries::PostHogJs,
        ..USUAL
    };
    if !is_here(test, plan.version) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(plan).await;
    let [_, posthog_js] = super::installations::settings_and_posthog_js(&setup.yaml);
    let line = Line::to(setup.address, vec![posthog_js.clone()]).await;
    line.set(PathFate::NotThere);
    let mut visitor = Visitor::with_chromium().await;
    let page = format!("http://shop.test:{}", line.address.port());
    visitor.open(&format!("{page}/")).await;
    let deadline = Instant::now() + PATIENCE;
    let said = format!("the last one without a script for an answer, to {page}{posthog_js} .");
    loop {
        let errors = visitor.seen().await.errors;
        if errors.iter().any(|error| error.contains(&said)) {
            break;
        }
        assert!(Instant::now() < deadline, "{said}\n{errors:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    visitor.leave().await;
}
