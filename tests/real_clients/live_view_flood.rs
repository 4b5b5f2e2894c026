//! The live view at 1,000 events a second.

use std::time::Duration;

use serde_json::{json, Value};

use super::chromium::TURN;
use super::live_view::{is_here, rows_are, shows, track, Watched};
use super::page::Page;
use super::support::client::{post, Client};

/// The page's counts: its rows, the missing rows for each reason, and all messages.
const COUNTED: &str = "(() => { \
    const number = (text) => Number(text.replaceAll(',', '')); \
    const text = document.querySelector('#counts').textContent; \
    const rows = number(text.match(/([\\d,]+) rows?/)[1]); \
    const recorded = number(text.match(/([\\d,]+) recorded/)[1]); \
    const missing = [...document.querySelectorAll('#counts b')].map((one) => number(one.textContent)); \
    return [rows + missing.reduce((sum, one) => sum + one, 0), recorded]; })()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_events_a_second_leave_the_live_view_usable_and_its_counts_right() {
    if !is_here("the live view under load") {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Watched::start(|_| String::new()).await;
    let mut page = Page::open(&setup.view).await;
    page.until(&shows("#link", "recording")).await;

    // 50 events every 50 ms, until the test has used the page and the page has dropped old rows.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let address = setup.proxy.address;
    let flood = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let mut sent = 0u64;
        while !*stopped.borrow() {
            ticks.tick().await;
            let events: Vec<Value> = (sent..sent + 50)
                .map(|number| track(&format!("Event {}", number % 7), &format!("p-{number}")))
                .collect();
            let body = json!({"writeKey": "wk_shop_1234", "batch": events}).to_string();
            let answer = client
                .exchange(&post("/shop/v1/batch", "", body.as_bytes()))
                .await;
            assert_eq!(answer.status, 200);
            sent += 50;
        }
        sent
    });
    page.until(&rows_are(100)).await;
    // A click opens the clicked row, although the list moves; then the list stops.
    page.value("window.pressed = document.querySelector('#rows tr:nth-child(40) .c-person').textContent; document.querySelector('#rows tr:nth-child(40)').click()").await;
    page.until("document.querySelector('.detail dl')?.textContent.includes(window.pressed)")
        .await;
    let first = page
        .value("document.querySelector('#rows tr').dataset.number")
        .await;
    page.until("/[1-9],\\d{3} new/.test(document.querySelector('#news').textContent)")
        .await;
    assert_eq!(
        page.value("document.querySelector('#rows tr').dataset.number")
            .await,
        first
    );
    page.pictures("live-flood").await;
    // The page handles a click, and the list continues.
    page.click("#news").await;
    page.until(&format!(
        "Number(document.querySelector('#rows tr').dataset.number) > {} + 1000",
        first.as_str().unwrap()
    ))
    .await;
    // The page handles typing too.
    page.fill("#filters input[name=find]", "event 3").await;
    page.until("[...document.querySelectorAll('#rows .c-event')].length > 50 && [...document.querySelectorAll('#rows .c-event')].every((cell) => cell.textContent === 'Event 3')").await;
    page.fill("#filters input[name=find]", "").await;
    page.until(&shows("#counts", "older ones left the page"))
        .await;
    stop.send(true).unwrap();
    let sent = flood.await.unwrap();

    page.until(&format!("{COUNTED}[1] === {sent}")).await;
    assert_eq!(page.value(COUNTED).await, json!([sent, sent]));
    assert!(page.value(&rows_are(100)).await == true);
    setup.posthog.events(sent).await;
    page.close().await;
}
