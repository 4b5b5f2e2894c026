//! A Segment account in addition to PostHog: which requests it gets; and no client waits for it.

use super::support::address::dead_url;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog, Proxy};
use super::support::recorder::{response, Act, Recorder};
use super::support::{eventually, gzip, log, track};

/// The calls with one write key go to PostHog and to this account.
fn forwarding(posthog: &str, segment: &str, more: &str) -> String {
    yaml(posthog).replace(
        "write_keys: any}",
        &format!("write_keys: any, forward: {{api: \"{segment}\", cdn: \"{segment}\"{more}}}}}"),
    )
}

async fn segment() -> Recorder {
    Recorder::that(|_| Act::Answer(response("200 OK", "", "{\"success\":true}"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_request_reaches_the_account_as_it_came() {
    let (posthog, segment) = (PostHog::start().await, segment().await);
    let proxy = Proxy::start(&forwarding(&posthog.url(), &segment.url(), "")).await;
    let message = track("1", 300).replace("m-1", "ajs-f8ca1e4de5024d9430b3928bd8ac6b96");
    let plain = format!("{{\"batch\":[{message}],\"sentAt\":null}}");
    let body = gzip(plain.as_bytes());
    let headers = "Content-Type: application/json; charset=x\r\nContent-Encoding: gzip\r\n\
        Authorization: Basic a2V5Og==\r\nUser-Agent: analytics-x/1\r\nX-Retry-Count: 2\r\n\
        Cookie: session=1\r\nX-Forwarded-For: 203.0.113.7\r\nReferer: https://shop.example.com/\r\n";
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(&post("/hr/v1/b?writeKey=key", headers, &body))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = segment.requests(1).await.remove(0);
    assert!(
        sent.head
            .starts_with("POST /v1/batch?writeKey=key HTTP/1.1\r\n"),
        "{}",
        sent.head
    );
    assert_eq!(sent.body, body, "not a byte is changed");
    for (name, expected) in [
        ("host", Some(segment.address.to_string().as_str())),
        ("content-type", Some("application/json; charset=x")),
        ("content-encoding", Some("gzip")),
        ("authorization", Some("Basic a2V5Og==")),
        ("user-agent", Some("analytics-x/1")),
        ("x-retry-count", Some("2")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("cookie", None),
        ("referer", None),
    ] {
        assert_eq!(sent.header(name).as_deref(), expected, "{name}");
    }
    // The account's PostHog destination would send this event with the same id, so PostHog keeps
    // one of them.
    let event = posthog.events(1).await.remove(0);
    // A pair from mapping 1.2.
    let uuid = "2e1e762e-c318-5c5b-a96e-955e840a3cf2";
    assert_eq!(event.uuid.to_string(), uuid);
    eventually("it is counted", || {
        (proxy.hedgerow.forward_counts().delivered == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_body_a_single_call_and_a_pixel_go_on_too() {
    let (posthog, segment) = (PostHog::start().await, segment().await);
    let yaml = forwarding(&posthog.url(), &segment.url(), "") + "limits: {window: 4KiB}\n";
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let large = super::support::batch(40, 3000);
    assert_eq!(
        client
            .exchange(&post("/hr/v1/batch", "", large.as_bytes()))
            .await
            .status,
        200
    );
    let sent = segment.requests(1).await.remove(0);
    assert!(sent.body == large.as_bytes(), "{} bytes", sent.body.len());
    let one = track("one", 200);
    assert_eq!(
        client
            .exchange(&post("/hr/t", "", one.as_bytes()))
            .await
            .status,
        200
    );
    let sent = segment.requests(2).await.remove(1);
    assert!(
        sent.head.starts_with("POST /v1/track HTTP"),
        "{}",
        sent.head
    );
    let data = "eyJldmVudCI6IkEiLCJhbm9ueW1vdXNJZCI6ImEifQ==";
    let request = super::get(&format!("/hr/v1/pixel/track?data={data}"), "");
    assert_eq!(client.exchange(&request).await.status, 200);
    let sent = segment.requests(3).await.remove(2);
    let line = format!("GET /v1/pixel/track?data={data} HTTP");
    assert!(sent.head.starts_with(&line), "{}", sent.head);
    // Hedgerow does not forward preflights, telemetry and refused requests.
    client
        .exchange(&post("/hr/m", "", b"{\"series\":[]}"))
        .await;
    client.exchange(&post("/hr/t", "", b"{broken")).await;
    let preflight = "OPTIONS /hr/t HTTP/1.1\r\nHost: a\r\nOrigin: https://a.test\r\n\r\n";
    client.exchange(preflight.as_bytes()).await;
    client
        .exchange(&post("/hr/t", "", track("last", 200).as_bytes()))
        .await;
    let seen = segment.requests(4).await;
    assert!(String::from_utf8_lossy(&seen[3].body).contains("m-last"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_slow_dead_or_broken_neither_slows_nor_fails_posthog() {
    log::keep();
    let silent = Recorder::early(|_| Some(Act::Silence)).await;
    let closing = Recorder::early(|_| Some(Act::Close)).await;
    let broken = Recorder::that(|_| Act::Answer(response("500 No", "", ""))).await;
    let dead = dead_url();
    for account in [silent.url(), closing.url(), broken.url(), dead] {
        let posthog = PostHog::start().await;
        let proxy = Proxy::start(&forwarding(&posthog.url(), &account, "")).await;
        // Five attempts of ten seconds take longer than this test.
        for number in 0..20 {
            let mut client = Client::connect(proxy.address).await;
            let body = track(&number.to_string(), 200);
            let answer = client.exchange(&post("/hr/t", "", body.as_bytes())).await;
            assert_eq!(answer.status, 200, "{account}: {answer:?}");
        }
        posthog.events(20).await;
        assert_eq!(proxy.hedgerow.forward_counts().delivered, 0, "{account}");
    }
    // An account that fails for a while gets the request later; one that refuses it does not.
    let recovering = Recorder::that(|request| match request.nth {
        0 => Act::Answer(response("503 Later", "Retry-After: 0\r\n", "")),
        _ => Act::Answer(response("200 OK", "", "{}")),
    })
    .await;
    let refusing = Recorder::that(|_| Act::Answer(response("400 Bad", "", ""))).await;
    let posthog = PostHog::start().await;
    for (account, delivered, refused, tries) in [(&recovering, 1, 0, 2), (&refusing, 0, 1, 1)] {
        let proxy = Proxy::start(&forwarding(&posthog.url(), &account.url(), "")).await;
        let mut client = Client::connect(proxy.address).await;
        client
            .exchange(&post("/hr/t", "", track("x", 200).as_bytes()))
            .await;
        eventually("it is counted", || {
            let counts = proxy.hedgerow.forward_counts();
            ((counts.delivered, counts.refused) == (delivered, refused)).then_some(())
        })
        .await;
        assert_eq!(account.seen().len(), tries);
    }
    let said = log::lines("a request was not forwarded to the Segment account: Segment refused it");
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_of_the_account_are_fetched_merged_and_kept() {
    let settings = r#"{"integrations":{"Segment.io":{"apiKey":"key","apiHost":"api.segment.io/v1"},
        "Other":{"id":1}},"plan":{"track":{"A":{"enabled":false}}},"metrics":{"sampleRate":0.1}}"#;
    let cdn = Recorder::that(move |request| match request.head.split(' ').nth(1) {
        Some("/v1/projects/key/settings") => Act::Answer(response("200 OK", "", settings)),
        _ => Act::Answer(response("404 Not Found", "", "")),
    })
    .await;
    let proxy = Proxy::start(&forwarding("http://127.0.0.1:9", &cdn.url(), "")).await;
    let mut client = Client::connect(proxy.address).await;
    let first = client
        .exchange(&super::get("/hr/v1/projects/key/settings", ""))
        .await;
    let value = first.json();
    let segment = &value["integrations"]["Segment.io"];
    assert_eq!(segment["apiHost"], "shop.example.com/hr/v1", "{value}");
    assert_eq!(value["plan"]["track"]["A"]["enabled"], false);
    assert_eq!(value["integrations"]["Other"], serde_json::Value::Null);
    assert_eq!(value["metrics"]["sampleRate"], 0);
    let again = client
        .exchange(&super::get("/hr/v1/projects/key/settings", ""))
        .await;
    assert_eq!(
        (again.body, cdn.seen().len()),
        (first.body, 1),
        "it is kept"
    );
    // Without the account, a page still gets working settings.
    for cdn in [cdn.url(), dead_url()] {
        let proxy = Proxy::start(&forwarding("http://127.0.0.1:9", &cdn, "")).await;
        let mut client = Client::connect(proxy.address).await;
        let answer = client
            .exchange(&super::get("/hr/v1/projects/other/settings", ""))
            .await;
        assert_eq!(answer.status, 200);
        let segment = &answer.json()["integrations"]["Segment.io"];
        assert_eq!(segment["apiHost"], "shop.example.com/hr/v1", "{segment}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_without_a_key_reaches_the_account_under_the_accounts_own() {
    let (posthog, segment) = (PostHog::start().await, segment().await);
    let yaml = forwarding(&posthog.url(), &segment.url(), ", write_key: real").replace(
        "write_keys: any,",
        "write_keys: any, settings: {key: left_out},",
    );
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let settings = client
        .exchange(&super::get("/hr/v1/projects/alias/settings", ""))
        .await;
    assert!(!String::from_utf8_lossy(&settings.body).contains("real"));
    let asked = segment.requests(1).await.remove(0);
    assert!(
        asked.head.starts_with("GET /v1/projects/real/settings "),
        "{}",
        asked.head
    );
    let with_key = track("2", 200).replace("{\"type\"", "{\"writeKey\":\"other\",\"type\"");
    // A nested key in a message is not the message's key; the batch's key is.
    let nested = track("5", 200).replace("{\"filler\"", "{\"writeKey\":\"x\",\"filler\"");
    let text = track("6", 200).replace("Filled", "\\\"writeKey\\\": no");
    let of_batch = format!("{{\"batch\":[{}],\"writeKey\":\"other\"}}", track("7", 200));
    let of_first = format!("{{\"batch\":[{with_key}]}}").replace("m-2", "m-8");
    let in_context = format!(
        "{{\"context\":{{\"writeKey\":\"x\"}},\"batch\":[{}]}}",
        track("9", 200)
    );
    let basic = "Authorization: Basic b3RoZXI6\r\n";
    for (number, (path, headers, body, expected)) in [
        ("/hr/t", "", track("1", 200), Some("Basic cmVhbDo=")),
        ("/hr/t", "", with_key, None),
        ("/hr/t", basic, track("3", 200), Some("Basic b3RoZXI6")),
        ("/hr/t?writeKey=other", "", track("4", 200), None),
        ("/hr/t", "", nested, Some("Basic cmVhbDo=")),
        ("/hr/t", "", text, Some("Basic cmVhbDo=")),
        ("/hr/b", "", of_batch, None),
        ("/hr/b", "", of_first, None),
        ("/hr/b", "", in_context, Some("Basic cmVhbDo=")),
        (
            "/hr/t?xwriteKey=no",
            "",
            track("10", 200),
            Some("Basic cmVhbDo="),
        ),
        (
            "/hr/t",
            "Authorization: Bearer t\r\n",
            track("11", 200),
            Some("Bearer t"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = client.exchange(&post(path, headers, body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{path} {body}");
        let sent = segment.requests(number + 2).await.remove(number + 1);
        assert_eq!(sent.body, body.as_bytes());
        assert_eq!(
            sent.header("authorization").as_deref(),
            expected,
            "{path} {headers}"
        );
    }
    // If pages send a key, it is the account's.
    let yaml = yaml.replace("settings: {key: left_out},", "");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let settings = client
        .exchange(&super::get("/hr/v1/projects/alias/settings", ""))
        .await;
    assert_eq!(
        settings.json()["integrations"]["Segment.io"]["apiKey"],
        "real"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privacy_holds_for_the_account_and_for_posthog_js_as_well() {
    let (posthog, segment) = (Recorder::start().await, segment().await);
    let yaml = forwarding(&posthog.url(), &segment.url(), "").replace(
        "delivery:",
        "  - {path: /ph/, posthog: shop}\nprivacy: {ip: last_octet, global_privacy_control: drop}\n\
         trusted_proxies: [127.0.0.1]\ndelivery:",
    );
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let from = "X-Forwarded-For: 203.0.113.77\r\n";
    client
        .exchange(&post("/hr/t", from, track("1", 200).as_bytes()))
        .await;
    let sent = segment.requests(1).await.remove(0);
    assert_eq!(
        sent.header("x-forwarded-for").as_deref(),
        Some("203.0.113.0")
    );
    let asks = format!("{from}Sec-GPC: 1\r\n");
    client
        .exchange(&post("/hr/t", &asks, track("2", 200).as_bytes()))
        .await;
    assert_eq!(proxy.hedgerow.forward_counts().withheld, 1);
    for (headers, expected) in [(from, "203.0.113.0"), (asks.as_str(), "0.0.0.0")] {
        for path in ["/ph/e/", "/ph/flags/", "/ph/static/array.js"] {
            let request = match path {
                "/ph/static/array.js" => super::get(path, headers),
                path => post(path, headers, b"{}"),
            };
            let before = posthog.seen().len();
            client.exchange(&request).await;
            let sent = posthog.requests(before + 1).await.remove(before);
            let shown = sent.header("x-forwarded-for");
            assert_eq!(shown.as_deref(), Some(expected), "{path} {headers}");
        }
    }
    assert_eq!(segment.seen().len(), 1);
}
