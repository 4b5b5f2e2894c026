//! Requests that a client sends before it has read the answer to the one before (RFC 9112, 9.3.2).

use super::full_server::FullServer;
use super::support::client::{chunk, post, Client};
use super::support::recorder::{response, Act, Recorder};
use super::support::track;

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").into_bytes()
}

fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let (one, two) = body.split_at(body.len() / 2);
    [
        head.as_bytes(),
        &chunk(one),
        &chunk(two),
        b"0\r\nX-Trailer: t\r\n\r\n",
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_sends_ahead_is_answered_in_its_turn_on_every_kind_of_route() {
    // The site's answer names its request, so that an answer out of order shows.
    let site = Recorder::that(|request| {
        let path = request.head.split(' ').nth(1).unwrap_or_default();
        Act::Answer(response(
            "200 OK",
            "",
            &format!("{path} {}", request.body.len()),
        ))
    })
    .await;
    let server = FullServer::with_upstreams(Recorder::start().await, site, "").await;
    let mut wrong = Vec::new();
    // Bodies that come with their head, and bodies that come later.
    for size in [0, 300, 5_000, 70_000] {
        let event = track(&size.to_string(), 200.max(size));
        let body = event.as_bytes();
        let requests: Vec<(&str, Vec<u8>)> = vec![
            ("a page", get("/one")),
            ("an event", post("/hr/v1/track", "", body)),
            (
                "a page's form",
                post("/two", "", &body[..size.min(body.len())]),
            ),
            ("an event in chunks", chunked("/hr/v1/track", body)),
            ("the script", get("/hr/fq7dk2.js")),
            ("a form in chunks", chunked("/three", body)),
            ("posthog-js", post("/ph/e/", "", b"{}")),
            ("a missing file", get("/hr/nothing")),
            ("posthog-js in chunks", chunked("/ph/e/", body)),
            ("the last page", get("/four")),
        ];
        let expected = [200, 200, 200, 200, 200, 200, 200, 404, 200, 200];
        let whole: Vec<u8> = requests
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        for (how, pieces) in [
            ("at once", whole.len()),
            ("in pieces", 1_371),
            ("by bytes", 61),
        ] {
            let mut client = Client::connect(server.plain()).await;
            for piece in whole.chunks(pieces) {
                client.send(piece).await;
            }
            for ((name, _), status) in requests.iter().zip(expected) {
                let case = format!("{name}, {size} bytes, {how}");
                let Some(answer) = client.next().await else {
                    wrong.push(format!("{case}: no answer"));
                    break;
                };
                let kept = answer.header("connection") == "keep-alive";
                if (answer.status, kept) != (status, true) {
                    wrong.push(format!("{case}: {answer:?}"));
                }
                let body = String::from_utf8_lossy(&answer.body);
                let wanted = match *name {
                    "a page" => Some("/one 0".to_owned()),
                    "a page's form" => Some(format!("/two {}", size.min(event.len()))),
                    "a form in chunks" => Some(format!("/three {}", event.len())),
                    "the last page" => Some("/four 0".to_owned()),
                    _ => None,
                };
                if wanted.is_some_and(|wanted| wanted != body) {
                    wrong.push(format!("{case}: {body}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_ends_its_connection_says_so() {
    let server = FullServer::open().await;
    let broken =
        b"POST /hr/v1/track HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n";
    let refused = b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n";
    let closing = b"GET /shelf HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for first in [&broken[..], refused, closing] {
        let mut client = Client::connect(server.plain()).await;
        client.send(&[first, &get("/shelf")].concat()).await;
        let answer = client.next().await.expect("an answer");
        assert_eq!(answer.header("connection"), "close", "{answer:?}");
        assert!(client.ends().await, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_behind_its_request_is_answered_and_half_a_request_is_not_served() {
    let server = FullServer::open().await;
    let event = track("half", 300);
    for first in [get("/shelf"), post("/hr/v1/track", "", event.as_bytes())] {
        let mut client = Client::connect(server.plain()).await;
        client.send(&first).await;
        client.send(b"GET /never HTTP/1.1\r\nHo").await;
        assert_eq!(client.next().await.map(|answer| answer.status), Some(200));
        client.half_close().await;
        let status = client.next().await.map(|answer| answer.status);
        assert!(matches!(status, None | Some(400)), "{status:?}");
    }
    let paths: Vec<String> = server
        .site
        .seen()
        .into_iter()
        .map(|seen| seen.head)
        .collect();
    assert!(
        !paths.iter().any(|head| head.contains("/never")),
        "{paths:?}"
    );
}
