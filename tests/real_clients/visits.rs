//! A visitor with two tabs logs in, joins a group, pauses and logs out. PostHog gets what its web
//! analytics needs, although analytics.js sends none of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hedgerow::demo::capture::StoredEvent;
use hedgerow::Hedgerow;
use serde_json::{json, Value};
use tokio::net::TcpListener;

use super::chromium::{is_here, TURN};
use super::installed::{Prerequisite, Version};
use super::origin::Origin;
use super::script::{Script, WhenDropped};
use super::support::proxy::{config, PostHog, Proxy, Speaks};

/// The tabs of one browser, controlled through `tests/clients/tabs.mjs`.
struct Tabs {
    script: Script,
}

impl Tabs {
    fn open() -> Self {
        let argument = json!({"chromium": Prerequisite::Chromium.path()});
        let script = Script::start("tabs.mjs", &argument, WhenDropped::Killed);
        Self { script }
    }

    async fn tell(&mut self, order: Value) -> Value {
        self.script.tell(&order).await
    }

    async fn go(&mut self, tab: usize, url: &str) {
        self.tell(json!({"tab": tab, "open": url})).await;
    }

    async fn run(&mut self, tab: usize, script: &str) -> Value {
        self.tell(json!({"tab": tab, "run": script})).await
    }
}

/// A visitor, and the stand-in with the visitor's events.
struct Visit {
    tabs: Tabs,
    posthog: PostHog,
    seen: usize,
}

impl Visit {
    /// Calls analytics.js in a tab and returns the one event that arrives.
    async fn call(&mut self, tab: usize, call: &str) -> Arc<StoredEvent> {
        self.tabs
            .run(tab, &format!("window.analytics.{call}"))
            .await;
        self.seen += 1;
        let events = self.posthog.events(self.seen as u64).await;
        assert_eq!(events.len(), self.seen, "{call}");
        Arc::clone(events.last().unwrap())
    }
}

fn property<'e>(event: &'e StoredEvent, key: &str) -> &'e Value {
    event.properties.get(key).unwrap_or(&Value::Null)
}

/// The session of an event, checked against PostHog's rules (posthog-ingestion 4.6).
fn session(event: &StoredEvent) -> String {
    let session = property(event, "$session_id").as_str().unwrap_or_default();
    let digits: String = session.split('-').collect();
    assert_eq!(digits.len(), 32, "{}", event.raw);
    assert_eq!(&digits[12..13], "7", "{session}");
    let begun = i64::from_str_radix(&digits[..12], 16).unwrap();
    let age = event.timestamp.timestamp_millis() - begun;
    assert!((0..=24 * 60 * 60 * 1000).contains(&age), "{}", event.raw);
    session.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_identities_and_groups_are_what_web_analytics_needs() {
    let test = "sessions_identities_and_groups_are_what_web_analytics_needs";
    if !is_here(test, Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let minutes = Arc::new(AtomicU64::new(0));
    let posthog = PostHog::start().await;
    let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let yaml = format!(
        "projects:\n  shop: {{host: \"{}\", api_key: phc_visit}}\n\
         routes:\n\
         \x20 - {{path: /hr/, segment: {{project: shop, write_keys: any}}}}\n\
         \x20 - {{path: /, origin: \"http://{}\"}}\n\
         mapping:\n\
         \x20 group_type: company\n\
         \x20 sessions: {{cookie: {{secret: a secret of at least thirty-two bytes}}}}\n",
        posthog.url(),
        site.local_addr().unwrap(),
    );
    let clock = {
        let minutes = Arc::clone(&minutes);
        move || SystemTime::now() + Duration::from_secs(60 * minutes.load(Ordering::SeqCst))
    };
    let hedgerow = Hedgerow::builder(config(&yaml)).clock(Arc::new(clock));
    let proxy = Proxy::of(hedgerow.build().unwrap(), Speaks::Http1).await;
    let settings = json!({
        "integrations": {"Segment.io": {
            "apiHost": format!("{}/hr/v1", proxy.address),
            "protocol": "http",
            "apiKey": "wk_visit",
        }},
        "metrics": {"sampleRate": 0},
    });
    let origin = Arc::new(Origin::new(Version::Newest, settings));
    let serving = tokio::spawn(hedgerow::proxy::serve(site, origin));

    let page = format!("http://{}/next.html", proxy.address);
    let mut visit = Visit {
        tabs: Tabs::open(),
        posthog,
        seen: 0,
    };
    visit.tabs.go(0, &page).await;
    visit.tabs.go(1, &page).await;
    let anonymous = visit
        .tabs
        .run(0, "window.analytics.user().anonymousId()")
        .await;

    // Two tabs share one session of one visitor.
    let viewed = visit.call(0, "page()").await;
    let in_other_tab = visit.call(1, "page()").await;
    for event in [&viewed, &in_other_tab] {
        assert_eq!(event.event, "$pageview");
        assert_eq!(event.distinct_id, anonymous, "{}", event.raw);
        assert_eq!(property(event, "$is_identified"), false);
        assert_eq!(property(event, "$device_id"), &anonymous);
        assert_eq!(property(event, "$pathname"), "/next.html");
        assert_eq!(property(event, "$host"), &proxy.address.to_string());
        assert_eq!(property(event, "$groups"), &Value::Null);
        assert_eq!(property(event, "$browser"), "Chrome");
    }
    let first = session(&viewed);

    // The login joins the user with the visitor's earlier events, in every tab.
    let identified = visit.call(0, "identify('user-1', {plan: 'pro'})").await;
    assert_eq!(identified.event, "$identify");
    assert_eq!(identified.distinct_id, "user-1");
    assert_eq!(property(&identified, "$anon_distinct_id"), &anonymous);
    assert_eq!(property(&identified, "$set"), &json!({"plan": "pro"}));
    let after_login = visit.call(1, "track('Looked')").await;
    assert_eq!(after_login.distinct_id, "user-1");
    assert_eq!(property(&after_login, "$is_identified"), true);

    // The following events have the group, in both tabs.
    let grouped = visit.call(1, "group('acme', {seats: 12})").await;
    assert_eq!(grouped.event, "$groupidentify");
    assert_eq!(property(&grouped, "$group_type"), "company");
    assert_eq!(property(&grouped, "$group_key"), "acme");
    let of_group = visit.call(0, "track('Bought')").await;
    let own = visit
        .call(0, "track('Bought', {$groups: {team: 'red'}})")
        .await;
    assert_eq!(property(&of_group, "$groups"), &json!({"company": "acme"}));
    let both = json!({"company": "acme", "team": "red"});
    assert_eq!(property(&own, "$groups"), &both);
    for event in [
        &in_other_tab,
        &identified,
        &after_login,
        &grouped,
        &of_group,
        &own,
    ] {
        assert_eq!(session(event), first, "{}", event.raw);
    }

    // 20 minutes are a pause; 31 minutes end the session.
    minutes.fetch_add(20, Ordering::SeqCst);
    let paused = visit.call(1, "track('Back')").await;
    assert_eq!(session(&paused), first);
    minutes.fetch_add(31, Ordering::SeqCst);
    let returned = visit.call(0, "page()").await;
    let second = session(&returned);
    assert_ne!(second, first);
    let looked = visit.call(1, "track('Looked again')").await;
    assert_eq!(session(&looked), second);
    assert_eq!(returned.distinct_id, "user-1");
    assert_eq!(property(&returned, "$groups"), &json!({"company": "acme"}));

    // After a logout there is a new visitor, with a new session and without a group.
    visit.tabs.run(0, "window.analytics.reset()").await;
    let stranger = visit.call(0, "page()").await;
    let next = visit
        .tabs
        .run(0, "window.analytics.user().anonymousId()")
        .await;
    assert_ne!(next, anonymous);
    assert_eq!(stranger.distinct_id, next, "{}", stranger.raw);
    assert_eq!(property(&stranger, "$is_identified"), false);
    assert_eq!(property(&stranger, "$groups"), &Value::Null);
    assert!(![first, second].contains(&session(&stranger)));

    // No event merges the two persons, and they share no session.
    let merges = visit.posthog.capture.events();
    let merged: BTreeSet<_> = merges
        .iter()
        .filter_map(|event| property(event, "$anon_distinct_id").as_str())
        .collect();
    assert_eq!(merged, BTreeSet::from([anonymous.as_str().unwrap()]));
    // A script on the page cannot read the session's cookie.
    let readable = visit.tabs.run(0, "document.cookie").await;
    assert!(
        !readable.as_str().unwrap().contains("edge_visit"),
        "{readable}"
    );
    serving.abort();
}
