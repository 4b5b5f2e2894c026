//! Pages of a site that are packed to harm: unpacked, changed and packed again they are work for this process.

use std::io::Write;

use super::support::client::{post, Client};
use super::support::proxy::{yaml, Proxy};
use super::support::recorder::{response, Act, Recorder};
use super::support::track;

/// So many bytes of a page that is nothing but blanks, packed.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer
        .write_all(b"<!doctype html><html><head></head><body>")
        .expect("memory takes it");
    for _ in 0..bytes >> 16 {
        packer.write_all(&[b' '; 1 << 16]).expect("memory takes it");
    }
    packer.finish().expect("memory takes it")
}

/// It used to be unpacked to its end, and no other request of its thread was served meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_inflates_without_end_goes_on_as_it_is_and_delays_no_other_request() {
    let packed = bomb(64 << 20);
    let (size, page) = (packed.len(), packed.clone());
    let site = Recorder::that(move |request| {
        if !request.head.starts_with("GET /bomb ") {
            return Act::Answer(response("200 OK", "", "page"));
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\
             Content-Length: {size}\r\n\r\n"
        );
        Act::AnswerAndClose([head.as_bytes(), &packed].concat())
    })
    .await;
    let posthog = Recorder::start().await;
    let origin = format!(
        "  - {{path: /, origin: {{servers: \"{}\", inject: /ph/}}}}\ndelivery:",
        site.url()
    );
    let routes = format!("  - {{path: /ph/, posthog: shop}}\n{origin}");
    // The servers behind share this process, which is busy with the pages.
    let yaml = yaml(&posthog.url()).replace("delivery:", &routes);
    let proxy = Proxy::start(&yaml.replace(" timeout: 5s", " timeout: 60s")).await;
    let mut attackers = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(proxy.address).await;
        client
            .send(b"GET /bomb HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\n\r\n")
            .await;
        attackers.push(client);
    }
    let mut ordinary = Client::connect(proxy.address).await;
    for number in 0..20 {
        let event = track(&number.to_string(), 200);
        let call = post("/hr/v1/track", "", event.as_bytes());
        assert_eq!(ordinary.exchange(&call).await.status, 200);
        let page = b"GET /page HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n";
        assert_eq!(ordinary.exchange(page).await.body, b"page");
    }
    for mut client in attackers {
        let answer = client.answer().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), "gzip");
        assert!(answer.body == page, "{} of {size} bytes", answer.body.len());
    }
}
