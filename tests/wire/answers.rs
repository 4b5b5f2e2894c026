//! A proxy's other duties under HTTP: answers of a server that may not be passed on as they are,
//! headers about the connection, and headers that name the sender.

use super::support::address::dead_url;
use super::support::client::Client;
use super::support::proxy::Proxy;
use super::support::recorder::{response, Act, Recorder};
use super::{routes, RunningServer};

/// A server's answer, and the head that its client gets: without date and connection, in lower
/// case, with interim answers before it.
const ANSWERS: &[(&str, &str, &str, &str)] = &[
    (
        "early hints",
        "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\nConnection: x-own\r\nX-Own: 1\r\n\
         Transfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 103 early hints|link: <a>|http/1.1 200 ok|content-length: 2",
        "http/1.1 200 ok|content-length: 2",
    ),
    (
        "another word of a server's",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 102 processing|http/1.1 200 ok|content-length: 2",
        "http/1.1 200 ok|content-length: 2",
    ),
    (
        "a length where there is no body",
        "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody",
        "http/1.1 204 no content",
        "http/1.1 204 no content",
    ),
    (
        "chunks where there is no body",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "http/1.1 204 no content",
        "http/1.1 204 no content",
    ),
    (
        "the length of a page that has not changed",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 400\r\n\r\n",
        "http/1.1 304 not modified|content-length: 400",
        "http/1.1 304 not modified|content-length: 400",
    ),
    (
        "an older version",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 200 ok|content-length: 2",
        "http/1.1 200 ok|content-length: 2",
    ),
    (
        "two equal lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 200 ok|content-length: 2",
        "http/1.1 200 ok|content-length: 2",
    ),
    (
        "two equal lengths in a line",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "http/1.1 200 ok|content-length: 2",
        "http/1.1 200 ok|content-length: 2",
    ),
    (
        "a coding that was not asked for",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "http/1.1 502 bad gateway",
        "http/1.1 502 bad gateway",
    ),
    (
        "a coding that is none, and no length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        "http/1.1 200 ok|transfer-encoding: chunked",
        "http/1.1 200 ok",
    ),
    (
        "another protocol that the server could speak",
        "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2,h2c\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 200 ok|content-length: 2",
        "http/1.1 200 ok|content-length: 2",
    ),
    (
        "another protocol that the server wants",
        "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nok",
        "http/1.1 426 upgrade required|upgrade: x|content-length: 2",
        "http/1.1 426 upgrade required|upgrade: x|content-length: 2",
    ),
    (
        "trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n\
         X-Sum: 1\r\n\r\n",
        "http/1.1 200 ok|transfer-encoding: chunked",
        "http/1.1 200 ok",
    ),
];

/// Heads without the parts that differ each time, and without the page of a refusal.
fn plain(head: &str) -> String {
    let lines = head.lines().map(str::to_ascii_lowercase);
    let refused = head.contains(" 502 ");
    let kept = lines.enumerate().filter(|(number, line)| {
        let varies = ["date:", "connection:"];
        let is_page = *number > 0 && refused;
        !line.is_empty() && !is_page && !varies.iter().any(|name| line.starts_with(name))
    });
    kept.map(|(_, line)| line).collect::<Vec<_>>().join("|")
}

/// All answers to one request, up to the final one.
async fn answers(client: &mut Client, request: &str) -> String {
    client.send(request.as_bytes()).await;
    let mut heads = Vec::new();
    while let Some(answer) = client.next().await {
        heads.push(plain(&answer.head));
        if answer.status >= 200 {
            break;
        }
    }
    heads.join("|")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_answers_is_sent_on_as_http_has_it() {
    let server = Recorder::that(|request| {
        let path = request.head.split(' ').nth(1).expect("a target");
        let number = path.rsplit('/').next().and_then(|last| last.parse().ok());
        match number.and_then(|number: usize| ANSWERS.get(number)) {
            // The server has sent too much, so its connection closes.
            Some((_, answer, ..)) => Act::AnswerAndClose(answer.as_bytes().to_vec()),
            None => Act::Answer(response("200 OK", "", "next")),
        }
    })
    .await;
    let proxy = Proxy::start(&routes(&dead_url(), &server.url(), &server.url())).await;
    let mut wrong = Vec::new();
    for (number, (name, _, new, old)) in ANSWERS.iter().enumerate() {
        let mut client = Client::connect(proxy.address).await;
        let request = format!("GET /public/{number} HTTP/1.1\r\nHost: a\r\n\r\n");
        let got = answers(&mut client, &request).await;
        if got != *new {
            wrong.push(format!("{name}: {got}, not {new}"));
        }
        if !new.contains(" 502 ") {
            let next = client
                .exchange(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
                .await;
            if next.body != b"next" {
                wrong.push(format!("behind {name}: {next:?}"));
            }
        }
        let mut client = Client::connect(proxy.address).await;
        let request = format!("GET /public/{number} HTTP/1.0\r\nHost: a\r\n\r\n");
        let got = answers(&mut client, &request).await;
        if got != *old {
            wrong.push(format!("{name}, over HTTP/1.0: {got}, not {old}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_wants_another_protocol_says_so_of_its_connection() {
    let server = Recorder::that(|_| {
        let head = "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: x\r\n\
                    Content-Length: 2\r\n\r\nno";
        Act::Answer(head.as_bytes().to_vec())
    })
    .await;
    let proxy = Proxy::start(&routes(&dead_url(), &server.url(), &server.url())).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..2 {
        let answer = client.exchange(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer.header("connection"), "keep-alive, upgrade");
        assert_eq!(answer.header("upgrade"), "x");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interim_answers_without_an_end_are_ended() {
    for status in ["100 Continue", "102 Processing", "103 Early Hints"] {
        let flood = format!("HTTP/1.1 {status}\r\nLink: <a>\r\n\r\n").repeat(10_000);
        let server = Recorder::that(move |_| Act::AnswerAndClose(flood.clone().into_bytes())).await;
        let proxy = Proxy::start(&routes(&dead_url(), &server.url(), &server.url())).await;
        let mut client = Client::connect(proxy.address).await;
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut interim = 0;
        let last = loop {
            match client.next().await {
                Some(answer) if answer.status < 200 => interim += 1,
                last => break last,
            }
        };
        let last = last.map(|answer| answer.status);
        assert!(
            last == Some(502) && interim < 100,
            "{interim}, then {last:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_taken_at_its_word_about_its_connection() {
    let house = RunningServer::open().await;
    let mut wrong = Vec::new();
    for path in ["/hr/v1/track", "/ph/e/", "/public/x", "/shelf"] {
        for words in [
            "Connection: x-own\r\nX-Own: 1\r\nConnection: close\r\n",
            "Connection: keep-alive, Close\r\n",
            "Connection: ,close ,\r\n",
        ] {
            let mut client = Client::connect(house.proxy.address).await;
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{words}\r\n");
            let answer = client.exchange(request.as_bytes()).await;
            if answer.header("connection") != "close" || !client.ends().await {
                wrong.push(format!("{words:?} at {path}: {answer:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for sent in house.public.seen() {
        assert!(
            !sent.head.to_ascii_lowercase().contains("x-own"),
            "{}",
            sent.head
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_client_is_not_told_to_continue() {
    let house = RunningServer::open().await;
    for path in ["/public/x", "/ph/e/", "/hr/v1/track"] {
        let mut client = Client::connect(house.proxy.address).await;
        let body = "{\"userId\":\"u\",\"event\":\"E\"}";
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        client.send(format!("{head}{body}").as_bytes()).await;
        let first = client.next().await.expect("an answer");
        assert!(first.status >= 200, "{path}: {first:?}");
    }
    for sent in house.public.seen() {
        assert!(
            !sent.head.to_ascii_lowercase().contains("expect"),
            "{}",
            sent.head
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_as_a_whole_says_what_it_can() {
    let house = RunningServer::open().await;
    let mut client = Client::connect(house.proxy.address).await;
    for target in ["*", "http://a"] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.exchange(request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.header("allow").contains("GET"), "{target}");
        assert_eq!(answer.header("content-length"), "0", "{target}");
    }
    assert_eq!(house.reached(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_another_routes_once_it_is_decoded_is_refused() {
    let house = RunningServer::open().await;
    let mut wrong = Vec::new();
    for path in [
        "/%70ublic/x",
        "/public%2fx",
        "//public/x",
        "/%2Fpublic/x",
        "/%70%75blic",
        "/%70h/e/",
        "//ph/e/",
        "/h%72/v1/track",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let status = house.status(request.as_bytes()).await;
        if status != 400 {
            wrong.push(format!("{path}: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(house.reached(), 0);
    for path in ["/public/%61//b", "/%61bout//us", "/caf%C3%A9"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(house.status(request.as_bytes()).await, 200, "{path}");
    }
}

/// Names of headers in which a client may make claims; none reaches a site from an untrusted
/// client.
const CLAIMS: &[&str] = &[
    "X-Forwarded-Host",
    "X_Forwarded_Host",
    "x-FORWARDED-host",
    "X__Forwarded__Host",
    "_X-Forwarded-Host_",
    "X.Forwarded.Host",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Prefix",
    "X-Forwarded-Ssl",
    "Forwarded",
    "HTTP-Forwarded",
    "HTTP_X_FORWARDED_FOR",
    "X-Forward-For",
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Originating-IP",
    "X-ClientIP",
    "X-RealIP",
    "True-Client-IP",
    "X-True-Client-IP",
    "Fastly-Client-IP",
    "Fastly-Client",
    "X-Azure-ClientIP",
    "X-Azure-SocketIP",
    "X-Envoy-External-Address",
    "X-Envoy-Original-Path",
    "CF-Connecting-IPv6",
    "CF-Access-Jwt-Assertion",
    "CloudFront-Viewer-Country",
    "X-Amzn-Oidc-Identity",
    "X-Goog-Authenticated-User-Email",
    "X-MS-CLIENT-PRINCIPAL",
    "Client-Cert",
    "X-Client-Verify",
    "X-SSL-Client-Verify",
    "X-Tls-Client-Cert",
    "X-Auth-Request-Email",
    "Remote-Email",
    "X-Webauth-User",
    "X-Middleware-Subrequest",
    "X-Sendfile-Type",
    "X-Accel-Mapping",
    "X-Script-Name",
    "Proxy",
    "Proxy-Host",
    "HTTPS",
    "X-Proto",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_of_a_stranger_reaches_a_site_however_its_name_is_written() {
    let house = RunningServer::open().await;
    let claims = CLAIMS.iter().map(|name| format!("{name}: forged\r\n"));
    let claims: String = claims.collect();
    // A proxy would remove what a client names here, also its own headers, so the request is
    // refused.
    let named = "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host\r\n";
    let named = format!("GET /public/x HTTP/1.1\r\nHost: a\r\n{named}\r\n");
    assert_eq!(house.status(named.as_bytes()).await, 400);
    for request in [
        format!("GET /public/x HTTP/1.1\r\nHost: a\r\nX-Api-Key: mine\r\n{claims}\r\n"),
        format!(
            "GET /public/x HTTP/1.1\r\nHost: a\r\nX-Api-Key: mine\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n{claims}\r\n"
        ),
    ] {
        assert_eq!(house.status(request.as_bytes()).await, 200, "{request}");
    }
    let seen = house.public.requests(2).await;
    assert_eq!(seen.len(), 2);
    for sent in seen {
        assert!(!sent.head.contains("forged"), "{}", sent.head);
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a"),
            ("host", "a"),
            ("x-api-key", "mine"),
        ] {
            assert_eq!(sent.header(name).as_deref(), Some(value), "{}", sent.head);
        }
    }
}
