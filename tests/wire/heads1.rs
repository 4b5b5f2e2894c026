//! HTTP/1.1 requests that break RFC 9112, on each kind of route of the real binary.

use std::net::SocketAddr;

use super::full_server::{FullServer, ROUTES};
use super::support::client::Client;
use super::support::track;

/// The allowed outcomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedResult {
    /// Refused with one of these, and the connection ends.
    Refused(&'static [u16]),
    /// Served once; the bytes after it are not taken for a request.
    ServedAlone,
    /// Served, and the connection stays open.
    Served,
}

const BAD: ExpectedResult = ExpectedResult::Refused(&[400]);
const LARGE: ExpectedResult = ExpectedResult::Refused(&[400, 414, 431]);
const CODING: ExpectedResult = ExpectedResult::Refused(&[400, 501]);
const METHOD: ExpectedResult = ExpectedResult::Refused(&[400, 405]);
const VERSION: ExpectedResult = ExpectedResult::Refused(&[400, 505]);

/// A request that must never be served: it is in a body, or follows a refused head.
pub const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";

/// A request's name, its allowed outcomes, and its bytes.
pub type Case = (&'static str, ExpectedResult, String);

/// All requests for one path.
pub fn cases(method: &str, path: &str) -> Vec<Case> {
    let event = track("wire", 200);
    let length = event.len();
    let host = "Host: shop.example.com\r\n";
    let line = format!("{method} {path} HTTP/1.1\r\n");
    let head = |fields: &str| format!("{line}{host}{fields}\r\n");
    let chunks = format!("{length:x}\r\n{event}\r\n0\r\n\r\n");
    let mut cases = vec![
        ("nothing is wrong", ExpectedResult::Served, head("")),
        (
            "empty lines before it",
            ExpectedResult::Served,
            format!("\r\n\r\n{}", head("")),
        ),
        ("a folded field", BAD, head("X-A: 1\r\n 2\r\n")),
        (
            "a fold before the first field",
            BAD,
            format!("{line} X-A: 1\r\n{host}\r\n"),
        ),
        ("a blank before a colon", BAD, head("X-A : 1\r\n")),
        ("a tab before a colon", BAD, head("X-A\t: 1\r\n")),
        ("a field without a colon", BAD, head("X-A\r\n")),
        ("a field without a name", BAD, head(": 1\r\n")),
        ("a name with a blank", BAD, head("X A: 1\r\n")),
        ("a name with a line break", BAD, head("X\rA: 1\r\n")),
        ("NUL in a name", BAD, head("X\0A: 1\r\n")),
        ("NUL in a value", BAD, head("X-A: 1\0\r\n")),
        ("CR in a value", BAD, head("X-A: 1\r2\r\n")),
        (
            "NUL in the line",
            BAD,
            format!("{method} {path}\0 HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "CR in the line",
            BAD,
            format!("{method} {path}\rx HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a blank before the method",
            BAD,
            format!(" {line}{host}\r\n"),
        ),
        (
            "a blank in the target",
            BAD,
            format!("{method} {path} x HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "two blanks behind the target",
            BAD,
            format!("{method} {path}  HTTP/1.1\r\n{host}\r\n"),
        ),
        ("no target", BAD, format!("{method} HTTP/1.1\r\n{host}\r\n")),
        ("no version", BAD, format!("{method} {path}\r\n{host}\r\n")),
        (
            "version 0.9",
            VERSION,
            format!("{method} {path} HTTP/0.9\r\n{host}\r\n"),
        ),
        (
            "version 1.2",
            VERSION,
            format!("{method} {path} HTTP/1.2\r\n{host}\r\n"),
        ),
        (
            "version 2.0",
            VERSION,
            format!("{method} {path} HTTP/2.0\r\n{host}\r\n"),
        ),
        (
            "version 1.10",
            VERSION,
            format!("{method} {path} HTTP/1.10\r\n{host}\r\n"),
        ),
        (
            "a version in small letters",
            VERSION,
            format!("{method} {path} http/1.1\r\n{host}\r\n"),
        ),
        (
            "a method with a brace",
            BAD,
            format!("G{{T {path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a target without a slash",
            BAD,
            format!("{method} shelf HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a target of another kind",
            BAD,
            format!("{method} ftp://shop.example.com{path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a target with a user",
            BAD,
            format!("{method} http://u@shop.example.com{path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "another host in the target",
            BAD,
            format!("{method} http://b.example{path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a fragment",
            BAD,
            format!("{method} {path}#x HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "CONNECT",
            METHOD,
            format!("CONNECT shop.example.com:443 HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "the same host in the target, otherwise written",
            ExpectedResult::Served,
            format!("{method} HTTP://Shop.example.com:80{path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "the same host with its port in the field",
            ExpectedResult::Served,
            format!(
                "{method} http://shop.example.com{path} HTTP/1.1\r\nhost:SHOP.example.com:80\r\n\r\n"
            ),
        ),
        (
            "another port in the target",
            BAD,
            format!("{method} http://shop.example.com:81{path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "the port of another scheme",
            BAD,
            format!("{method} http://shop.example.com:443{path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "trace in small letters",
            METHOD,
            format!("trace {path} HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "a host with a port that is none",
            BAD,
            format!("{line}Host: shop.example.com:65536\r\n\r\n"),
        ),
        (
            "TRACE",
            METHOD,
            format!("TRACE {path} HTTP/1.1\r\n{host}\r\n"),
        ),
        ("a host twice, the same", BAD, head(host)),
        (
            "a host with a user",
            BAD,
            format!("{line}Host: u@shop.example.com\r\n\r\n"),
        ),
        (
            "a host with a tab",
            BAD,
            format!("{line}Host: shop.example.com\tb\r\n\r\n"),
        ),
        (
            "a host with a fragment",
            BAD,
            format!("{line}Host: shop.example.com#\r\n\r\n"),
        ),
        (
            "a host with a question",
            BAD,
            format!("{line}Host: shop.example.com?x\r\n\r\n"),
        ),
        (
            "a host with two ports",
            BAD,
            format!("{line}Host: shop.example.com:80:81\r\n\r\n"),
        ),
        (
            "a long line",
            LARGE,
            format!(
                "{method} {path}?{} HTTP/1.1\r\n{host}\r\n",
                "x".repeat(1_100_000)
            ),
        ),
        (
            "a long field",
            LARGE,
            head(&format!("X-A: {}\r\n", "x".repeat(1_100_000))),
        ),
        (
            "a thousand fields",
            LARGE,
            head(&"X-A: 1\r\n".repeat(1_000)),
        ),
    ];
    if method == "GET" {
        return cases;
    }
    let fixed = |fields: &str| format!("{}{event}", head(fields));
    let chunked = |fields: &str, body: &str| format!("{}{body}", head(fields));
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    cases.extend([
        (
            "a body",
            ExpectedResult::Served,
            fixed(&format!("Content-Length: {length}\r\n")),
        ),
        (
            "a body in chunks",
            ExpectedResult::Served,
            chunked(CHUNKED, &chunks),
        ),
        (
            "a length with a sign",
            BAD,
            fixed(&format!("Content-Length: +{length}\r\n")),
        ),
        ("a negative length", BAD, fixed("Content-Length: -1\r\n")),
        ("a length in hex", BAD, fixed("Content-Length: 0x10\r\n")),
        (
            "a length with a blank",
            BAD,
            fixed("Content-Length: 1 0\r\n"),
        ),
        ("an empty length", BAD, fixed("Content-Length:\r\n")),
        (
            "a length that overflows",
            BAD,
            fixed("Content-Length: 99999999999999999999\r\n"),
        ),
        (
            "two lengths in a line",
            BAD,
            fixed(&format!("Content-Length: {length}, 5\r\n")),
        ),
        (
            "two lengths",
            BAD,
            fixed(&format!(
                "Content-Length: {length}\r\nContent-Length: 5\r\n"
            )),
        ),
        (
            "a blank behind the coding's name",
            BAD,
            chunked("Transfer-Encoding : chunked\r\n", &chunks),
        ),
        (
            "a coding that is none",
            CODING,
            chunked("Transfer-Encoding: xchunked\r\n", &chunks),
        ),
        (
            "chunked twice in a line",
            CODING,
            chunked("Transfer-Encoding: chunked, chunked\r\n", &chunks),
        ),
        (
            "chunked twice",
            CODING,
            chunked(&CHUNKED.repeat(2), &chunks),
        ),
        (
            "gzip in chunks",
            CODING,
            chunked("Transfer-Encoding: gzip, chunked\r\n", &chunks),
        ),
        (
            "chunks in gzip",
            CODING,
            chunked("Transfer-Encoding: chunked, gzip\r\n", &chunks),
        ),
        (
            "identity",
            CODING,
            chunked("Transfer-Encoding: identity\r\n", &chunks),
        ),
        (
            "a quoted coding",
            CODING,
            chunked("Transfer-Encoding: \"chunked\"\r\n", &chunks),
        ),
        (
            "a vertical tab in the coding",
            CODING,
            chunked("Transfer-Encoding: \x0bchunked\r\n", &chunks),
        ),
        (
            "chunks in HTTP/1.0",
            BAD,
            format!("{method} {path} HTTP/1.0\r\n{host}{CHUNKED}\r\n{chunks}"),
        ),
        (
            "length and chunks",
            ExpectedResult::ServedAlone,
            chunked(&format!("Content-Length: 5\r\n{CHUNKED}"), &chunks),
        ),
        (
            "chunks and length",
            ExpectedResult::ServedAlone,
            chunked(&format!("{CHUNKED}Content-Length: 5\r\n"), &chunks),
        ),
    ]);
    cases
}

/// What becomes of a request that is sent before the one before it has been answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentAhead {
    Answered,
    /// The framework alone may drop it, with its connection.
    MayBeDropped,
}

/// What is wrong with the answers to such a request; `reached` counts what reached the servers behind.
pub async fn trouble(
    address: SocketAddr,
    path: &str,
    (name, want, request): &Case,
    ahead: SentAhead,
    reached: &(dyn Fn() -> usize + Sync),
) -> Option<String> {
    let before = reached();
    let mut client = Client::connect(address).await;
    client.send(request.as_bytes()).await;
    client.send(HIDDEN.as_bytes()).await;
    let first = client.next().await.map(|answer| answer.status);
    let second = client.next().await.map(|answer| answer.status);
    let fits = match want {
        ExpectedResult::Refused(statuses) => {
            second.is_none()
                && first.is_some_and(|status| statuses.contains(&status))
                && reached() == before
        }
        // A page instead of an event is refused for what it is.
        ExpectedResult::ServedAlone => first.is_some_and(|status| status < 500) && second.is_none(),
        ExpectedResult::Served => {
            let dropped = ahead == SentAhead::MayBeDropped && second.is_none();
            first.is_some_and(|status| status < 500) && (second == Some(200) || dropped)
        }
    };
    (!fits).then(|| {
        let reached = reached() - before;
        format!("{name} at {path}: {first:?}, then {second:?}, {reached} reached; not {want:?}")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_malformed_http1_request_gets_the_answer_that_the_rfc_names_on_every_kind_of_route() {
    let server = FullServer::open().await;
    let mut ordinary = server.ordinary().await;
    let mut wrong = Vec::new();
    for (path, method) in ROUTES {
        for case in cases(method, path) {
            let reached = || server.reached();
            let found = trouble(server.plain(), path, &case, SentAhead::Answered, &reached);
            wrong.extend(found.await);
        }
        if let Err(trouble) = ordinary.served().await {
            wrong.push(format!("beside {path}: {trouble}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Bodies of an event with malformed chunks.
pub fn broken_chunks() -> Vec<(&'static str, String)> {
    let event = "{\"userId\":\"u\",\"event\":\"E\"}";
    let size = format!("{:x}", event.len());
    vec![
        ("no size", format!("\r\n{event}\r\n0\r\n\r\n")),
        ("letters", format!("zz\r\n{event}\r\n0\r\n\r\n")),
        ("a sign", format!("+{size}\r\n{event}\r\n0\r\n\r\n")),
        ("a negative size", format!("-1\r\n{event}\r\n0\r\n\r\n")),
        ("0x", format!("0x{size}\r\n{event}\r\n0\r\n\r\n")),
        (
            "a size that overflows",
            format!("fffffffffffffffff\r\n{event}\r\n0\r\n\r\n"),
        ),
        (
            "a size of 2^64 and more",
            format!("100000000000000{size}\r\n{event}\r\n0\r\n\r\n"),
        ),
        (
            "a blank in the size",
            format!("1 {size}\r\n{event}\r\n0\r\n\r\n"),
        ),
        (
            "data longer than its size",
            format!("5\r\n{event}\r\n0\r\n\r\n"),
        ),
        (
            "data that does not end",
            format!("{size}\r\n{event}0\r\n\r\n"),
        ),
        ("a line feed alone", format!("{size}\n{event}\r\n0\r\n\r\n")),
        (
            "an extension with a line feed",
            format!("{size};\n{event}\r\n0\r\n\r\n"),
        ),
        (
            "a trailer with a line feed",
            format!("{size}\r\n{event}\r\n0\r\na: b\n\r\n"),
        ),
        ("an underscore", format!("{size}_\r\n{event}\r\n0\r\n\r\n")),
    ]
}

/// What is wrong with the answer to such a body: it is to be 400, and the connection to end.
pub async fn chunk_trouble(
    address: SocketAddr,
    path: &str,
    (name, chunks): &(&'static str, String),
) -> Option<String> {
    let mut client = Client::connect(address).await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client
        .send(format!("{head}{chunks}{HIDDEN}").as_bytes())
        .await;
    let first = client.next().await.map(|answer| answer.status);
    let second = client.next().await.map(|answer| answer.status);
    let fits = matches!((first, second), (Some(400), None));
    (!fits).then(|| format!("{name} at {path}: {first:?}, then {second:?}"))
}

/// Bodies with malformed chunks: never taken for whole, and no bytes after them become a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_chunks_end_their_connection_on_every_kind_of_route() {
    let server = FullServer::open().await;
    let mut ordinary = server.ordinary().await;
    let mut wrong = Vec::new();
    for (path, _) in ROUTES.into_iter().filter(|(_, method)| *method == "POST") {
        for row in broken_chunks() {
            wrong.extend(chunk_trouble(server.plain(), path, &row).await);
        }
        if let Err(trouble) = ordinary.served().await {
            wrong.push(format!("beside {path}: {trouble}"));
        }
    }
    let all = [server.posthog.seen(), server.site.seen()].concat();
    if all.iter().any(|seen| seen.head.contains("/hidden")) {
        wrong.push("what stood behind a body was taken for a request".to_owned());
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
