//! Every path of a request, with secrets in all its parts.

use super::secrets::{
    Sink, ADDRESS, COOKIE, CREDENTIALS, FORM, PERSON, PROJECT_KEY, QUERY, UNKNOWN_KEY, WRITE_KEY,
};
use super::support::tls::{exchange_with, AlpnOffer};
use super::{AnswerMode, LeakSetup};

/// A debug build panics at the message with this id, and the panic's text has the whole message.
pub const PANICS: &str = "m-panics";

/// What a browser on the site sends with each request.
fn browser() -> String {
    format!(
        "Cookie: sid={COOKIE}; ajs_anonymous_id={COOKIE}\r\nX-Forwarded-For: {ADDRESS}\r\n\
         Referer: https://shop.example.com/?q={QUERY}\r\n"
    )
}

fn request(method: &str, target: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: {}\r\n{}{headers}\r\n{body}",
        body.len(),
        browser(),
    )
    .into_bytes()
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn basic(key: &str) -> String {
    format!("Authorization: Basic {}\r\n", base64(&format!("{key}:")))
}

fn message(kind: &str, id: &str, key: &str) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"event\":\"Signed Up\",\"userId\":\"{PERSON}\",\"groupId\":\"{PERSON}\",\
         \"messageId\":\"{id}\",\"writeKey\":\"{key}\",\"traits\":{{\"email\":\"{PERSON}\"}},\
         \"properties\":{{\"email\":\"{PERSON}\"}}}}"
    )
}

/// The requests with their names. Hedgerow answers all of them itself.
fn calls(round: &str) -> Vec<(&'static str, Vec<u8>)> {
    let known = message("identify", &format!("m1-{round}"), WRITE_KEY);
    let track = message("track", &format!("m2-{round}"), WRITE_KEY);
    let target = format!("/hr/v1/t?q={QUERY}");
    let batch = |items: &str| format!("{{\"batch\":[{items}],\"writeKey\":\"{WRITE_KEY}\"}}");
    let nameless = track.replace("\"Signed Up\"", "\"\"");
    let endless = "[".repeat(2_000);
    let chunks = format!(
        "POST {target} HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\nzz{PERSON}\r\n{known}",
        browser()
    );
    let long = track.replace(
        "\"properties\":{",
        &format!("\"properties\":{{\"long\":\"{}\",", "x".repeat(60_000)),
    );
    vec![
        ("identify", request("POST", "/hr/v1/i", "", &known)),
        ("track", request("POST", &target, &basic(WRITE_KEY), &track)),
        ("batch", request("POST", "/hr/v1/b", "", &batch(&format!("{known},{track}")))),
        ("a refused message", request("POST", "/hr/v1/b", "", &batch(&format!("{nameless},{track}")))),
        ("an event too large", request("POST", "/hr/v1/b", "", &batch(&format!("{long},{known}")))),
        ("an unknown key", request("POST", &target, "", &message("track", "m3", UNKNOWN_KEY))),
        ("another unknown key", request("POST", &target, &basic(UNKNOWN_KEY), "{}")),
        ("no message", request("POST", "/hr/v1/t", &basic(WRITE_KEY), &format!("{PERSON} no json"))),
        ("broken JSON", request("POST", "/hr/v1/t", &basic(WRITE_KEY), &known[..known.len() - 1])),
        ("deep JSON", request("POST", "/hr/v1/t", &basic(WRITE_KEY), &format!("{{\"{PERSON}\":{endless}"))),
        ("no gzip", request("POST", "/hr/v1/t", "Content-Encoding: gzip\r\n", &known)),
        ("too large", request("POST", "/hr/v1/b", "", &batch(&vec![known.as_str(); 900].join(",")))),
        ("no chunk", chunks.into_bytes()),
        ("no such call", request("POST", &format!("/hr/v1/{PERSON}"), &basic(WRITE_KEY), &known)),
        ("no such method", request("DELETE", &target, &basic(WRITE_KEY), &known)),
        ("a preflight", request("OPTIONS", &target, "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n", "")),
        ("a pixel", request("GET", &format!("/hr/v1/pixel/track?writeKey={WRITE_KEY}&userId=leak-person-2c77%40example.com&event=E"), "", "")),
        ("settings", request("GET", &format!("/hr/v1/projects/{UNKNOWN_KEY}/settings"), "", "")),
    ]
}

/// Heads that are refused before the search for a route, or that never end.
fn heads() -> Vec<Vec<u8>> {
    let head = |line: &str, more: &str| {
        format!("{line}\r\nHost: h\r\n{}{more}\r\n\r\n", browser()).into_bytes()
    };
    vec![
        head(&format!("GET /a/../b?q={QUERY} HTTP/1.1"), "X: y"),
        head("GET / HTTP/1.1", &format!("no colon {COOKIE}")),
        head("GET / HTTP/1.1", &format!("Host: {COOKIE}")),
        head("GET / HTTP/1.1", &format!("Content-Length: {COOKIE}")),
        head("GET / HTTP/1.1", &format!("Transfer-Encoding: {COOKIE}")),
        head(
            "TRACE / HTTP/1.1",
            &format!("Authorization: Bearer {CREDENTIALS}"),
        ),
        head(&format!("GET /{COOKIE} HTTP/9.9"), "X: y"),
        head(&format!("GET {COOKIE} HTTP/1.1"), "X: y"),
        head(&format!("CONNECT {COOKIE}:443 HTTP/1.1"), "X: y"),
        format!("{COOKIE}\r\n\r\n").into_bytes(),
        head("GET / HTTP/1.1", &format!("X: {}\u{1}", COOKIE)),
        head(
            "GET / HTTP/1.1",
            &format!("X: {COOKIE}{}", "x".repeat(1 << 20)),
        ),
    ]
}

/// Requests of posthog-js and of pages; valid answers reach the client.
async fn pass(world: &mut LeakSetup, sink: Sink) {
    let credentials = format!("Authorization: Bearer {CREDENTIALS}\r\n");
    let event = format!("{{\"api_key\":\"{PROJECT_KEY}\",\"batch\":[{{\"event\":\"{PERSON}\"}}]}}");
    for bytes in [
        request(
            "POST",
            &format!("/ph/e/?token={PROJECT_KEY}&q={QUERY}"),
            &credentials,
            &event,
        ),
        request(
            "GET",
            &format!("/ph/array/{PROJECT_KEY}/config?q={QUERY}"),
            &credentials,
            "",
        ),
        request(
            "GET",
            &format!("/ph/static/array.js?q={QUERY}"),
            &credentials,
            "",
        ),
        request("POST", &format!("/account?q={QUERY}"), &credentials, FORM),
        request("GET", &format!("/page?q={QUERY}"), &credentials, ""),
        request(
            "GET",
            "/socket",
            &format!("{credentials}Connection: Upgrade\r\nUpgrade: websocket\r\n"),
            "",
        ),
    ] {
        world.send(sink, &bytes).await;
    }
    // The client hangs up in the middle.
    let mut client = super::Client::connect(world.address).await;
    let whole = request("POST", &format!("/account?q={QUERY}"), &credentials, FORM);
    client.send(&whole[..whole.len() - 4]).await;
    client.half_close().await;
    while client.next().await.is_some() {}
}

async fn call(world: &mut LeakSetup, round: &str, wanted: &[u16]) {
    let mut wrong = Vec::new();
    for (what, bytes) in calls(round) {
        let status = world
            .send(Sink::Answer, &bytes)
            .await
            .map(|answer| answer.status);
        if status.is_none_or(|status| !wanted.contains(&status)) {
            wrong.push(format!("{round}: {what}: {status:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), world.log());
}

/// The code panics at this request. The client gets no text, and the log only the place.
async fn panic(world: &mut LeakSetup) {
    if cfg!(not(debug_assertions)) {
        println!("SKIPPED: only a debug build can be made to panic");
        return;
    }
    let known = message("identify", PANICS, WRITE_KEY);
    let bytes = request(
        "POST",
        &format!("/hr/v1/i?q={QUERY}"),
        &basic(WRITE_KEY),
        &known,
    );
    assert!(world.send(Sink::Answer, &bytes).await.is_none());
    super::eventually("the panic in the log", || {
        let log = world.log();
        log.contains("a panic at src/cli/run.rs").then_some(())
    })
    .await;
}

/// A call and a page over TLS and HTTP/2.
async fn secure(world: &mut LeakSetup) {
    for (path, body) in [
        (
            "/hr/v1/i".to_owned(),
            message("identify", "m-h2", WRITE_KEY),
        ),
        (format!("/page?q={QUERY}"), FORM.to_owned()),
        (format!("/a/../b?q={QUERY}"), FORM.to_owned()),
    ] {
        // A browser sends a page's password with every request to its host, calls included.
        let password = base64(&format!("{CREDENTIALS}:password"));
        let headers = [
            ("cookie", format!("sid={COOKIE}")),
            ("authorization", format!("Basic {password}")),
            ("x-forwarded-for", ADDRESS.to_owned()),
        ];
        let (secure, certificates) = (world.secure, &world.certificates);
        exchange_with(
            secure,
            certificates,
            AlpnOffer::Both,
            &path,
            &headers,
            &body,
        )
        .await;
    }
}

pub async fn drive(world: &mut LeakSetup) {
    // While the live view is open, it records messages.
    world.admin("/live?after=0", Sink::Live).await;
    let answered = [200, 204, 400, 401, 404, 405, 413, 415, 503];
    call(world, "well", &answered).await;
    secure(world).await;
    panic(world).await;
    for bytes in heads() {
        world.send(Sink::Answer, &bytes).await;
    }
    pass(world, Sink::Passed).await;
    for (mood, round, passed) in [
        (AnswerMode::Away, "away", Sink::Passed),
        (AnswerMode::Babbles, "babbles", Sink::Answer),
        (AnswerMode::HangsUp, "hangs up", Sink::Answer),
    ] {
        for upstream in [&world.posthog, &world.site, &world.segment] {
            upstream.now(mood);
        }
        call(world, round, &answered).await;
        pass(world, passed).await;
        world.live().await;
        world.admin("/health", Sink::Health).await;
        world.run(&["spool", "ls"], Sink::SpoolList);
    }
    // PostHog rejects the waiting events, which become dead letters.
    world.posthog.now(AnswerMode::Refuses);
    world.site.now(AnswerMode::Refuses);
    world.segment.now(AnswerMode::Refuses);
    world.dead_letter().await;
    call(world, "refused", &answered).await;
    pass(world, Sink::Passed).await;
    world.run(&["spool", "ls"], Sink::SpoolList);
    world.run(&["spool", "ls", "--json"], Sink::SpoolList);
    for upstream in [&world.posthog, &world.site, &world.segment] {
        upstream.now(AnswerMode::Well);
    }
    call(world, "again", &answered).await;
    world.live().await;
    for path in ["/", "/live.js", "/live/state"] {
        world.admin(path, Sink::Live).await;
    }
    for path in ["/health", "/healthz", "/readyz", "/nothing"] {
        world.admin(path, Sink::Health).await;
    }
    world.admin("/metrics", Sink::Metrics).await;
    world.run(&["check"], Sink::Command);
    world.run(&["doctor"], Sink::Command);
}
