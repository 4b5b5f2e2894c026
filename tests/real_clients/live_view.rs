//! The live view in a browser: each outcome, filters, pause, keyboard, and its token.

use std::net::SocketAddr;
use std::sync::Arc;

use hedgerow::demo::capture::InjectedFault;
use hedgerow::demo::http::Handler;
use hedgerow::proxy::serve;
use http::StatusCode;
use serde_json::{json, Value};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::chromium::TURN;
use super::installed::{all_here, Prerequisite};
use super::page::Page;
use super::support::client::{post, Client};
use super::support::proxy::{PostHog, Proxy};

pub(super) fn is_here(test: &str) -> bool {
    all_here(
        test,
        &[
            Prerequisite::Node,
            Prerequisite::Playwright,
            Prerequisite::Chromium,
        ],
    )
}

/// A proxy with the live view, in front of a stand-in for PostHog.
pub(super) struct Watched {
    pub(super) posthog: PostHog,
    pub(super) proxy: Proxy,
    pub(super) view: String,
    serving: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Watched {
    pub(super) async fn start(more: impl FnOnce(&std::path::Path) -> String) -> Self {
        Self::with_admin("127.0.0.1:0", more).await
    }

    async fn with_admin(admin: &str, more: impl FnOnce(&std::path::Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let posthog = PostHog::start().await;
        let proxy = Proxy::start(&format!(
            "admin: {admin}\n\
             projects: {{shop: {{host: \"{host}\", api_key: phc_shop}}, blog: {{host: \"{host}\", api_key: phc_blog}}}}\n\
             routes:\n\
             \x20 - {{path: /shop/, segment: {{project: shop, write_keys: [wk_shop_1234]}}}}\n\
             \x20 - {{path: /blog/, segment: {{project: blog}}}}\n\
             limits: {{body: 1MB}}\n{}",
            more(folder.path()),
            host = posthog.url(),
        ))
        .await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let view = format!("http://{}/", listener.local_addr().unwrap());
        let admin: Arc<dyn Handler> = proxy.hedgerow.admin().expect("it is on");
        Self {
            posthog,
            proxy,
            view,
            serving: tokio::spawn(serve(listener, admin)),
            _folder: folder,
        }
    }

    /// Sends a body to a path and returns the status of the answer.
    async fn send(&self, path: &str, body: &Value) -> u16 {
        send(self.proxy.address, path, &body.to_string()).await
    }
}

async fn send(address: SocketAddr, path: &str, body: &str) -> u16 {
    let mut client = Client::connect(address).await;
    client
        .exchange(&post(path, "", body.as_bytes()))
        .await
        .status
}

pub(super) fn track(event: &str, person: &str) -> Value {
    json!({
        "type": "track", "event": event, "userId": person, "writeKey": "wk_shop_1234",
        "properties": {"total": 1.5, "plan": format!("plan of {person}")},
        "context": {"page": {"url": "https://shop.example.com/?utm_source=news", "path": "/"}},
        "sentAt": "2026-11-26T12:00:00Z",
    })
}

/// The visible rows: event, call, project, route, person, outcome, answer without its time.
const ROWS: &str = "[...document.querySelectorAll('#rows tr')].map((row) => \
    ['event', 'call', 'project', 'route', 'person', 'outcome', 'answer'].map((name) => \
    row.querySelector(`.c-${name}`).textContent.split(' · ')[0]).join(' | '))";

pub(super) fn rows_are(count: usize) -> String {
    format!("document.querySelectorAll('#rows tr').length === {count}")
}

pub(super) fn shows(selector: &str, text: &str) -> String {
    let text = json!(text);
    format!("document.querySelector('{selector}')?.textContent.includes({text})")
}

/// Opens the row of this event.
fn row_of(event: &str) -> String {
    format!("#rows tr:has(.c-event:text-is(\"{event}\"))")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_view_shows_each_outcome_as_a_row_and_explains_it() {
    if !is_here("the live view") {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Watched::start(|_| String::new()).await;
    let mut page = Page::open(&setup.view).await;
    page.until(&shows("#link", "recording")).await;

    let alone = json!({"batch": [track("Bought", "ada")]});
    assert_eq!(setup.send("/shop/v1/batch", &alone).await, 200);
    setup
        .posthog
        .capture
        .set_fault(InjectedFault::Poison("Bad".to_owned()));
    let mixed = json!({"writeKey": "wk_shop_1234", "batch": [
        track("Good", "ben"), track("Bad", "cleo"), {"type": "track", "userId": "dan"},
        {"type": "alias", "userId": "eve", "previousId": "eve"},
    ]});
    assert_eq!(setup.send("/shop/v1/batch", &mixed).await, 200);
    setup
        .posthog
        .capture
        .set_fault(InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None));
    assert_eq!(
        setup.send("/blog/v1/track", &track("Again", "fay")).await,
        503
    );
    let address = setup.proxy.address;
    let mut wrong_key = track("Wrong", "gus");
    wrong_key["writeKey"] = "wk_wrong_abcd".into();
    assert_eq!(setup.send("/shop/v1/track", &wrong_key).await, 401);
    assert_eq!(send(address, "/shop/v1/t", "hello").await, 401);
    assert_eq!(send(address, "/blog/v1/t", "hello").await, 400);
    assert_eq!(send(address, "/blog/v1/nothing", "{}").await, 404);
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(1_100_000));
    assert_eq!(send(address, "/blog/v1/i", &large).await, 413);
    let mut client = Client::connect(address).await;
    let delete = b"DELETE /blog/v1/t HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
    assert_eq!(client.exchange(delete).await.status, 405);

    page.until(&rows_are(12)).await;
    page.until("!document.querySelector('.under_way')").await;
    let expected = [
        "DELETE /blog/v1/t | unknown |  | /blog/ |  | dropped here | 405 method_not_allowed",
        "POST /blog/v1/i | identify |  | /blog/ |  | dropped here | 413 too_large",
        "POST /blog/v1/nothing | unknown |  | /blog/ |  | dropped here | 404 unknown_path",
        "POST /blog/v1/t | track |  | /blog/ |  | dropped here | 400 invalid_json",
        "POST /shop/v1/t | track |  | /shop/ |  | dropped here | 401 unknown_write_key",
        "POST /shop/v1/track | track |  | /shop/ |  | dropped here | 401 unknown_write_key",
        "Again | track | blog | /blog/ | fay | client retries | 503",
        "alias | alias | shop | /shop/ | eve | dropped here | self_alias",
        "track | track | shop | /shop/ | dan | dropped here | missing_event",
        "Bad | track | shop | /shop/ | cleo | refused by PostHog | 400",
        "Good | track | shop | /shop/ | ben | delivered | 200",
        "Bought | track | shop | /shop/ | ada | delivered | 200",
    ];
    assert_eq!(page.value(ROWS).await, json!(expected));
    page.pictures("live-outcomes").await;

    // A message that became an event: both sides, each change with its reason, and the command that
    // repeats it.
    page.click(&row_of("Bought")).await;
    page.until(&shows(".detail h2", "Bought")).await;
    for (selector, text) in [
        (".detail .outcome", "PostHog has it."),
        (".detail .side:not(.came)", "context.page.url"),
        (".detail .side:not(.came)", "the query of $current_url"),
        (".detail .legend", "added"),
        (
            ".again .side",
            "hedgerow convert -c hedgerow.yaml --explain --project shop",
        ),
    ] {
        page.until(&shows(selector, text)).await;
    }
    let marked = "[...document.querySelectorAll('.detail .side:not(.came) .line.added .key')].map((key) => key.textContent)";
    let added = page.value(marked).await;
    assert!(
        added.as_array().unwrap().contains(&json!("\"utm_source\"")),
        "{added}"
    );
    let used = "[...document.querySelectorAll('.detail .came .line.used .key')].map((key) => key.textContent)";
    assert_eq!(
        page.value(used).await,
        json!(["\"sentAt\"", "\"type\"", "\"writeKey\""])
    );
    let command = page
        .value("document.querySelector('.again .side').textContent")
        .await;
    repeats(command.as_str().unwrap()).await;
    page.pictures("live-detail").await;

    // A message that became no event: a link to the document with the reason.
    for (event, says) in [
        ("track", "a track call without an event name"),
        ("alias", "an alias of an id to itself merges nothing"),
        ("Bad", "PostHog rejected the event for good"),
        ("Again", "the SDK keeps them and retries"),
        ("POST /shop/v1/track", "add it to write_keys"),
        ("POST /blog/v1/i", "larger than limits.body"),
    ] {
        page.click(&row_of(event)).await;
        page.until(&shows(".detail blockquote", says)).await;
        page.until(&shows(".detail blockquote", "docs/repairs.md"))
            .await;
    }
    // Of a write key, the page shows only the end.
    page.click(&row_of("POST /shop/v1/track")).await;
    page.until(&shows(".detail .came", "…abcd")).await;
    let all = page.value("document.body.textContent").await;
    assert!(!all.as_str().unwrap().contains("wk_wrong"), "{all}");
    page.pictures("live-refused").await;
    page.close().await;
}

/// Runs the command from the page; it must make the same event.
async fn repeats(command: &str) {
    let hedgerow = std::path::Path::new(env!("CARGO_BIN_EXE_hedgerow"));
    let path = format!("{}:/usr/bin:/bin", hedgerow.parent().unwrap().display());
    let folder = tempfile::tempdir().unwrap();
    let config = "projects: {shop: {host: us, api_key: phc_shop}}\n\
                  routes: [{path: /shop/, segment: {project: shop}}]\n";
    std::fs::write(folder.path().join("hedgerow.yaml"), config).unwrap();
    let output = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .current_dir(folder.path())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(event["event"], "Bought", "{event}");
    assert_eq!(event["explain"]["utm_source"], "the query of $current_url");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_view_is_filtered_searched_paused_and_used_by_keyboard() {
    if !is_here("the live view's filters") {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Watched::start(|folder| {
        format!(
            "delivery: {{spool: {{path: {:?}}}}}\n",
            folder.join("spool")
        )
    })
    .await;
    let mut page = Page::open(&setup.view).await;
    page.until(&shows("#link", "recording")).await;
    for (path, event, person) in [
        ("/shop/v1/track", "Bought", "ada"),
        ("/blog/v1/track", "Read", "ben"),
        ("/blog/v1/page", "Home", "ada"),
    ] {
        assert_eq!(setup.send(path, &track(event, person)).await, 200);
    }
    assert_eq!(
        send(setup.proxy.address, "/blog/v1/nothing", "{}").await,
        404
    );
    setup
        .posthog
        .capture
        .set_fault(InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None));
    for event in ["Kept 1", "Kept 2", "Kept 3", "Kept 4"] {
        assert_eq!(
            setup.send("/shop/v1/track", &track(event, "cleo")).await,
            200
        );
    }
    page.until(&rows_are(8)).await;

    // While PostHog is away, the page says so, and the rows say where their events are.
    page.until("document.querySelectorAll('.in_spool').length === 4")
        .await;
    for text in [
        "PostHog away",
        "4 events in the spool",
        "is in trouble (503)",
        "failing for",
    ] {
        page.until(&shows("#projects", text)).await;
    }
    page.until(&shows("#refused", "1 404 unknown_path")).await;
    page.pictures("live-away").await;

    // Filters, one by one and together.
    page.click("#more summary").await;
    for (chosen, shown) in [
        (&[("project", "blog")][..], 2),
        (&[("project", "blog"), ("call", "page")], 1),
        (&[("call", "track")], 6),
        (&[("outcome", "in_spool")], 4),
        (&[("outcome", "in_spool"), ("project", "blog")], 0),
    ] {
        for (field, value) in chosen {
            let field = format!("#filters select[name={field}]");
            page.choose(&field, value).await;
        }
        page.until(&rows_are(shown)).await;
        page.click("#filters [type=reset]").await;
        page.until(&rows_are(8)).await;
    }
    for (field, text, shown) in [
        ("name", "kept", 4),
        ("person", "ada", 2),
        ("name", "home", 1),
    ] {
        let field = format!("#filters input[name={field}]");
        page.fill(&field, text).await;
        page.until(&rows_are(shown)).await;
        page.fill(&field, "").await;
    }
    // The server searches bodies; the page itself searches the names in its rows.
    for (text, shown) in [
        ("plan of ben", 1),
        ("utm_source", 7),
        ("unknown_path", 1),
        ("zzz", 0),
    ] {
        page.fill("#filters input[name=find]", text).await;
        page.until(&rows_are(shown)).await;
        page.until(&shows("#counts", &format!("{shown} of 8 rows here")))
            .await;
    }
    page.fill("#filters input[name=find]", "").await;
    page.until(&rows_are(8)).await;

    // While paused, the list stays and counts new messages; visible rows still get their outcome.
    page.press("Escape").await;
    page.value("document.activeElement.blur()").await;
    page.press("p").await;
    page.until("document.querySelector('#pause').ariaPressed === 'true'")
        .await;
    setup.posthog.capture.set_fault(InjectedFault::None);
    assert_eq!(
        setup.send("/shop/v1/track", &track("Late", "dan")).await,
        200
    );
    page.until(&shows("#news", "1 new")).await;
    page.until("!document.querySelector('.in_spool')").await;
    assert_eq!(page.value(&rows_are(8)).await, true);
    page.click("#news").await;
    page.until(&rows_are(9)).await;
    page.until(&shows("#projects", "PostHog well")).await;
    page.until(&shows("#projects", "ago: is in trouble (503)"))
        .await;

    // With the keyboard alone: search, list, detail, back.
    page.press("/").await;
    assert_eq!(page.value("document.activeElement.name").await, "find");
    page.press("Escape").await;
    let stops = "document.querySelectorAll('#rows tr[tabindex=\"0\"]').length";
    assert_eq!(page.value(stops).await, 1);
    page.value("document.querySelector('#rows tr[tabindex=\"0\"]').focus()")
        .await;
    page.press("ArrowDown").await;
    page.press("Enter").await;
    page.until(&shows(".detail h2", "Kept 4")).await;
    page.press("ArrowDown").await;
    page.until(&shows(".detail h2", "Kept 3")).await;
    page.press("Escape").await;
    page.until("document.querySelector('.detail').hidden").await;
    let focused = "document.activeElement.querySelector('.c-event').textContent";
    assert_eq!(page.value(focused).await, "Kept 3");

    // On a phone a message covers the list, and can be closed.
    page.width(390).await;
    page.click(&row_of("Read")).await;
    page.until(&shows(".detail h2", "Read")).await;
    page.click(".detail .close").await;
    page.until("document.querySelector('.detail').hidden").await;
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_view_with_a_token_asks_for_it_once() {
    if !is_here("the live view's token") {
        return;
    }
    let _turn = TURN.lock().await;
    let admin = "{address: \"127.0.0.1:0\", token: 0123456789abcdef}";
    let setup = Watched::with_admin(admin, |_| String::new()).await;
    let mut page = Page::open(&setup.view).await;
    page.pictures("live-token").await;
    page.fill("input[name=token]", "0123456789abcdeX").await;
    page.click("form button").await;
    page.until(&shows("[role=alert]", "That is not the token."))
        .await;
    page.fill("input[name=token]", "0123456789abcdef").await;
    page.press("Enter").await;
    page.until(&shows("#link", "recording")).await;
    page.go(&setup.view).await;
    page.until(&shows("#link", "recording")).await;
    assert_eq!(
        setup.send("/shop/v1/track", &track("Bought", "ada")).await,
        200
    );
    page.until(&rows_are(1)).await;
    // A script cannot read the cookie that opens the page.
    assert_eq!(page.value("document.cookie").await, "");
    page.close_after("status of 401").await;
}
