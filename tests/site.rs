//! The site around Hedgerow: routes to its origin, and a host proxy with Hedgerow inside.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "site/account.rs"]
mod account;
#[path = "site/answers.rs"]
mod answers;
#[path = "../examples/existing_proxy.rs"]
mod existing_proxy;
#[path = "site/keepalive.rs"]
mod keepalive;
#[path = "site/library.rs"]
mod library;
#[path = "support/package.rs"]
mod package;
#[path = "site/pages.rs"]
mod pages;
#[path = "site/servers.rs"]
mod servers;
mod support;
#[path = "site/uploads.rs"]
mod uploads;

use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use existing_proxy::Shop;
use hedgerow::proxy::Server;
use hedgerow::Hedgerow;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use support::address::{dead_url, unused_address};
use support::client::{chunk, post, Client};
use support::proxy::{config, yaml, PostHog, Proxy, Speaks};
use support::recorder::{response, Act, Recorder};
use support::tls::{AlpnOffer, Certificates};
use support::{eventually, track};

/// Segment's calls go to PostHog, and all requests of one host to the site.
fn with_site(posthog: &str, sites: &str) -> String {
    yaml(posthog).replace(
        "delivery:",
        &format!("  - host: shop.example.com\n    path: /\n    origin: {sites}\ndelivery:"),
    )
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n{headers}\r\n").into_bytes()
}

/// A site whose answers name its own address and software.
async fn site(body: &'static str) -> Recorder {
    Recorder::that(move |_| {
        let headers = "Server: Shop/1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: s=1\r\n";
        Act::Answer(response("200 OK", headers, body))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_proxy_keeps_its_own_ways_and_gains_hedgerow() {
    let (posthog, site) = (PostHog::start().await, site("the shop").await);
    let hedgerow = Hedgerow::new(config(&yaml(&posthog.url()))).unwrap();
    let shop = Shop {
        site: site.address,
        requests: AtomicU64::new(7),
        hedgerow: hedgerow.clone(),
    };
    let proxy = Proxy::around(hedgerow, shop, Speaks::Http1).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(&get("/shelf?q=1", "Cookie: s=1\r\n")).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"the shop"[..])
    );
    assert_eq!(answer.header("server"), "");
    let sent = site.requests(1).await.remove(0);
    assert!(
        sent.head.starts_with("GET /shelf?q=1 HTTP/1.1\r\n"),
        "{}",
        sent.head
    );
    assert_eq!(sent.header("x-ticket").as_deref(), Some("7"));
    assert_eq!(sent.header("cookie").as_deref(), Some("s=1"));
    let answer = client
        .exchange(&post("/hr/t", "", track("1", 200).as_bytes()))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(posthog.events(1).await.len(), 1);
    let answer = client.exchange(&get("/health", "")).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"well\n"[..])
    );
    assert_eq!(site.seen().len(), 1, "events do not reach the site");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_site_gets_its_requests_as_they_were_and_who_sent_them() {
    let site = site("hello").await;
    let yaml = with_site("http://127.0.0.1:9", &site.url());
    let trusting = format!("trusted_proxies: [127.0.0.1/32]\n{yaml}");
    let claims = "Cookie: s=1\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 203.0.113.7\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: cdn.example.com\r\nX-Real-IP: 203.0.113.8\r\n\
        X-Forwarded-Port: 444\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Ssl: on\r\n\
        X-Forwarded-Scheme: https\r\nX-Forwarded-Server: evil\r\n\
        Forwarded: for=203.0.113.9\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n";
    let rows = [
        (yaml, "127.0.0.1", "http", "shop.example.com", None),
        (
            trusting,
            "203.0.113.7, 127.0.0.1",
            "https",
            "cdn.example.com",
            Some("203.0.113.8"),
        ),
    ];
    for (number, (yaml, forwarded, scheme, host, real)) in rows.into_iter().enumerate() {
        let proxy = Proxy::start(&yaml).await;
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&get("/a%20b?q=%C3%BC", claims)).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, &b"hello"[..])
        );
        assert_eq!(answer.header("server"), "Shop/1");
        assert_eq!(answer.header("set-cookie"), "s=1");
        assert_eq!(answer.header("keep-alive"), "");
        let sent = site.requests(number + 1).await[number].clone();
        assert!(
            sent.head.starts_with("GET /a%20b?q=%C3%BC HTTP/1.1\r\n"),
            "{}",
            sent.head
        );
        for (name, expected) in [
            ("host", Some("shop.example.com")),
            ("cookie", Some("s=1")),
            ("authorization", Some("Bearer x")),
            ("x-forwarded-for", Some(forwarded)),
            ("x-forwarded-proto", Some(scheme)),
            ("x-forwarded-host", Some(host)),
            ("x-real-ip", real),
            ("x-forwarded-port", real.map(|_| "444")),
            ("x-forwarded-prefix", real.map(|_| "/evil")),
            ("x-forwarded-ssl", real.map(|_| "on")),
            ("x-forwarded-scheme", real.map(|_| "https")),
            ("x-forwarded-server", real.map(|_| "evil")),
            ("x-hop", None),
            ("te", None),
            ("via", None),
        ] {
            assert_eq!(
                sent.header(name).as_deref(),
                expected,
                "{name}: {}",
                sent.head
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_site_is_asked_for_a_path_also_where_the_client_named_the_whole_address() {
    let site = site("hello").await;
    let proxy = Proxy::start(&with_site("http://127.0.0.1:9", &site.url())).await;
    let mut wrong = Vec::new();
    for (number, (target, expected)) in [
        ("http://shop.example.com/a?b=c", "GET /a?b=c HTTP/1.1\r\n"),
        ("http://shop.example.com", "GET / HTTP/1.1\r\n"),
        ("//a//b", "GET //a//b HTTP/1.1\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&get(target, "")).await;
        let sent = site.requests(number + 1).await[number].clone();
        if answer.status != 200 || !sent.head.starts_with(expected) {
            wrong.push(format!("{target}: {} {}", answer.status, sent.head));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_for_a_host_that_only_a_header_names_are_not_kept_for_others() {
    let site = site("hello").await;
    let yaml = with_site("http://127.0.0.1:9", &site.url());
    let yaml = format!("trusted_proxies: [127.0.0.1/32]\n{yaml}");
    let proxy = Proxy::start(&yaml).await;
    let mut wrong = Vec::new();
    for (headers, host, scheme, keeps) in [
        ("", "shop.example.com/", "http", "public"),
        (
            "X-Forwarded-Proto: HTTPS\r\n",
            "shop.example.com/",
            "https",
            "public",
        ),
        // The browser's own value is the first of several, as for the cookie.
        (
            "X-Forwarded-Proto: https, http\r\n",
            "shop.example.com/",
            "https",
            "private",
        ),
        (
            "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n",
            "shop.example.com/",
            "http",
            "private",
        ),
        (
            "X-Forwarded-Host: Shop.example.com\r\n",
            "shop.example.com/",
            "http",
            "public",
        ),
        (
            "X-Forwarded-Host: evil.example\r\n",
            "evil.example/",
            "http",
            "private",
        ),
    ] {
        let mut client = Client::connect(proxy.address).await;
        let asked = get("//hr/v1//projects/KEY/settings", headers);
        let answer = client.exchange(&asked).await;
        let settings: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let segment = &settings["integrations"]["Segment.io"];
        let api_host = segment["apiHost"].as_str().unwrap_or_default();
        let right = api_host.starts_with(host)
            && segment["protocol"] == scheme
            && answer.header("cache-control").starts_with(keeps);
        if !right {
            wrong.push(format!("{headers:?}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_route_gets_a_plain_404_that_names_no_product() {
    let site = site("hello").await;
    let proxy = Proxy::start(&with_site("http://127.0.0.1:9", &site.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (404, &b"404 Not Found\n"[..])
    );
    let text = answer.head.to_ascii_lowercase();
    assert!(
        !text.contains("pingora") && !text.contains("hedgerow"),
        "{text}"
    );
    // A host and a path of the site, which is away.
    let yaml = with_site("http://127.0.0.1:9", &dead_url());
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(&get("/", "")).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (502, &b"502 Bad Gateway\n"[..])
    );
    let text = answer.head.to_ascii_lowercase();
    assert!(
        !text.contains("pingora") && !text.contains("hedgerow"),
        "{text}"
    );
    assert!(site.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_servers_of_a_site_take_turns_and_one_that_is_away_is_passed_over() {
    let (one, two) = (site("one").await, site("two").await);
    let gone = unused_address();
    let sites = format!("[\"{}\", \"http://{gone}\", \"{}\"]", one.url(), two.url());
    let proxy = Proxy::start(&with_site("http://127.0.0.1:9", &sites)).await;
    for _ in 0..9 {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&get("/", "")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(one.seen().len() >= 2 && two.seen().len() >= 2);
    assert_eq!(one.seen().len() + two.seen().len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_connection_to_the_site_is_tried_again_for_what_may_be_repeated() {
    let site = Recorder::early(|request| match request.nth {
        0 => None,
        _ => Some(Act::Close),
    })
    .await;
    let orders = || {
        let seen = site.seen();
        let orders = seen.iter().filter(|sent| sent.head.starts_with("POST"));
        orders.count()
    };
    let order = post("/order", "", b"one");
    // The operator declares that the site keeps connections, but the site does not.
    let sites = format!("{{servers: \"{}\", keepalive: 30s}}", site.url());
    let proxy = Proxy::start(&with_site("http://127.0.0.1:9", &sites)).await;
    // With one client, the connection to the site is back in the pool before the next request.
    let mut client = Client::connect(proxy.address).await;
    assert_eq!(client.exchange(&get("/1", "")).await.status, 200);
    // Hedgerow must not place an order twice: only its sender can find out what happened.
    assert_eq!(client.exchange(&order).await.status, 502);
    assert_eq!(orders(), 1);
    // After that, orders get new connections, and pages are requested again.
    let mut client = Client::connect(proxy.address).await;
    for placed in 2..5 {
        assert_eq!(client.exchange(&get("/2", "")).await.status, 200);
        assert_eq!(client.exchange(&order).await.status, 200);
        assert_eq!(orders(), placed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_passes_in_both_directions() {
    let site = web_socket_site().await;
    let proxy = Proxy::start(&with_site("http://127.0.0.1:9", &site)).await;
    let mut client = Client::connect(proxy.address).await;
    client
        .send(&get(
            "/live",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ))
        .await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer.status, 101, "{answer:?}");
    for word in [&b"ping"[..], b"pong"] {
        client.send(word).await;
        assert_eq!(client.raw(word.len()).await, word);
    }
}

/// A server that upgrades the connection and echoes.
async fn web_socket_site() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let mut piece = [0; 1024];
                while support::client::find(&bytes, b"\r\n\r\n").is_none() {
                    match stream.read(&mut piece).await {
                        Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                // The framework ends a web socket at once if the answer overtakes the end of the
                // request's empty body. That takes an answer within microseconds, or a busy machine.
                tokio::time::sleep(Duration::from_millis(500)).await;
                let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                let _ = stream.write_all(answer).await;
                while let Ok(read) = stream.read(&mut piece).await {
                    if read == 0 || stream.write_all(&piece[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}")
}

/// A signal from a test.
struct TestSignal(std::sync::Mutex<mpsc::Receiver<()>>);

#[async_trait]
impl ShutdownSignalWatch for TestSignal {
    async fn recv(&self) -> ShutdownSignal {
        loop {
            if self.0.lock().unwrap().try_recv().is_ok() {
                return ShutdownSignal::GracefulTerminate;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_completes_the_request_in_flight() {
    let slow = Recorder::that(|_| {
        // Longer than it takes to stop listening, shorter than the grace period.
        std::thread::sleep(Duration::from_millis(500));
        Act::Answer(support::recorder::OK.to_vec())
    })
    .await;
    let yaml = format!(
        "listen: [\"127.0.0.1:0\"]\nserver: {{threads: 1, grace: 60s}}\n{}",
        yaml(&slow.url())
    );
    let server = Server::new(Hedgerow::new(config(&yaml)).unwrap()).unwrap();
    let address = server.addresses()[0];
    let (stop, told) = mpsc::channel();
    let running = std::thread::spawn(move || server.run_until(Box::new(TestSignal(told.into()))));
    eventually("it listens", || std::net::TcpStream::connect(address).ok()).await;
    let mut client = Client::connect(address).await;
    client
        .send(&post("/hr/t", "", track("1", 200).as_bytes()))
        .await;
    eventually("the request is under way", || {
        (slow.connections.load(std::sync::atomic::Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    stop.send(()).unwrap();
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(address).err()
    })
    .await;
    eventually("it has ended", || running.is_finished().then_some(())).await;
    running.join().unwrap();
    assert_eq!(slow.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_with_tls_serves_both_http_versions() {
    let posthog = PostHog::start().await;
    let certificates = Certificates::new(&["localhost"]);
    let yaml = format!(
        "listen:\n  - address: \"127.0.0.1:0\"\n    tls: {{certificate: \"{}\", key: \"{}\"}}\n\
         mapping: {{sessions: cookie}}\nserver: {{threads: 1, grace: 1s}}\n{}",
        certificates.file("certificate.pem").display(),
        certificates.file("key.pem").display(),
        yaml(&posthog.url())
    );
    let server = Server::new(Hedgerow::new(config(&yaml)).unwrap()).unwrap();
    let address = server.addresses()[0];
    let (stop, told) = mpsc::channel();
    let running = std::thread::spawn(move || server.run_until(Box::new(TestSignal(told.into()))));
    eventually("it listens", || std::net::TcpStream::connect(address).ok()).await;
    for offers in [AlpnOffer::Http1, AlpnOffer::Both] {
        let body =
            r#"{"event":"A","anonymousId":"a","context":{"library":{"name":"analytics.js"}}}"#;
        let (head, version) =
            support::tls::exchange(address, &certificates, offers, "/hr/t", body).await;
        assert_eq!(head.status.as_u16(), 200);
        let cookie = head.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.ends_with("; Secure"), "{cookie}");
        assert_eq!(version == http::Version::HTTP_2, offers == AlpnOffer::Both);
    }
    assert_eq!(posthog.events(2).await.len(), 2);
    stop.send(()).unwrap();
    eventually("it has ended", || running.is_finished().then_some(())).await;

    let other = Certificates::new(&["localhost"]);
    let yaml = yaml.replace(
        &certificates.file("key.pem").display().to_string(),
        &other.file("key.pem").display().to_string(),
    );
    let error = Server::new(Hedgerow::new(config(&yaml)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}
