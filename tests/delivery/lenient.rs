//! Clients' mistakes in paths, methods and encodings that Hedgerow understands anyway.

use super::support::client::{post, Client};
use super::support::gzip;
use super::support::proxy::{yaml, PostHog, Proxy};
use super::support::recorder::{response, Act, Recorder};

fn track(number: usize) -> String {
    format!(r#"{{"type":"track","event":"A","userId":"u-{number}","messageId":"m-{number}"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slashes_count_once_for_calls_preflights_and_pixels_and_stay_for_the_site() {
    let posthog = PostHog::start().await;
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "the site"))).await;
    let origin = format!("  - {{path: /, origin: \"{}\"}}\ndelivery:", site.url());
    let yaml = yaml(&posthog.url()).replace("delivery:", &origin);
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let mut sent = 0;
    for path in [
        "/hr/v1//b",
        "//hr/v1/batch",
        "/hr//v1/b",
        "///hr///v1///import//",
        "/hr//",
        "/hr/v1//",
        "//hr",
        "/hr/v1//t",
        "/hr//track",
    ] {
        let body = format!("{{\"batch\":[{}]}}", track(sent));
        let answer = client.exchange(&post(path, "", body.as_bytes())).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        sent += 1;
        assert_eq!(posthog.events(sent as u64).await.len(), sent, "{path}");
        let request = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: h\r\nOrigin: https://a.test\r\n\
             Access-Control-Request-Method: PUT\r\n\r\n"
        );
        let answer = client.exchange(request.as_bytes()).await;
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.split(", ").any(|one| one == "PUT"), "{methods}");
        assert!(methods.split(", ").any(|one| one == "POST"), "{methods}");
    }
    let request =
        "GET //hr//v1//pixel//track?userId=u&event=A&messageId=p HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = client.exchange(request.as_bytes()).await;
    assert_eq!(answer.header("content-type"), "image/gif");
    posthog.events(sent as u64 + 1).await;
    assert_eq!(site.seen().len(), 0);
    for path in ["//a//b/", "/x//hr/v1/b", "/hrx//", "/h//r/v1/b"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = client.exchange(request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let seen = site.seen().pop().unwrap();
        assert!(
            seen.head.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{}",
            seen.head
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_is_taken_like_post_and_a_batch_on_any_call() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let mut sent = 0;
    for path in [
        "track", "page", "identify", "screen", "group", "alias", "t", "b", "import",
    ] {
        let body = format!("{{\"batch\":[{},{}]}}", track(sent), track(sent + 1));
        let request = post(&format!("/hr/v1/{path}"), "", body.as_bytes());
        let request = String::from_utf8(request)
            .unwrap()
            .replacen("POST", "PUT", 1);
        let answer = client.exchange(request.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        sent += 2;
        let events = posthog.events(sent as u64).await;
        assert_eq!(events.len(), sent, "{path}");
        assert!(events.iter().all(|event| event.event == "A"), "{path}");
    }
    for (path, body) in [
        ("/hr/v1/t", track(sent)),
        ("/hr/v1/m", "{\"series\":[]}".to_owned()),
    ] {
        let request = String::from_utf8(post(path, "", body.as_bytes())).unwrap();
        let answer = client
            .exchange(request.replacen("POST", "PUT", 1).as_bytes())
            .await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    assert_eq!(posthog.events(sent as u64 + 1).await.len(), sent + 1);
    let answer = client
        .exchange(b"DELETE /hr/v1/t HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status, answer.header("allow").as_str()),
        (405, "POST, PUT, OPTIONS")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_valid_encoding_the_first_bytes_decide() {
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let mut sent = 0;
    for encoding in [
        "utf-8",
        "UTF8",
        "none",
        "binary",
        "",
        "identity, gzip",
        "gzip\r\nContent-Encoding: utf-8",
    ] {
        for packed in [false, true] {
            let plain = track(sent).into_bytes();
            let body = if packed { gzip(&plain) } else { plain };
            let header = format!("Content-Encoding: {encoding}\r\n");
            let answer = client.exchange(&post("/hr/v1/t", &header, &body)).await;
            assert_eq!(answer.status, 200, "{encoding:?} {packed}: {answer:?}");
            sent += 1;
            assert_eq!(
                posthog.events(sent as u64).await.len(),
                sent,
                "{encoding:?}"
            );
        }
    }
    for encoding in ["br", "deflate", "gzip, zstd"] {
        let header = format!("Content-Encoding: {encoding}\r\n");
        let answer = client
            .exchange(&post("/hr/t", &header, track(99).as_bytes()))
            .await;
        assert_eq!(answer.status, 400, "{encoding}: {answer:?}");
        assert_eq!(answer.json()["code"], "unknown_encoding", "{encoding}");
    }
}
