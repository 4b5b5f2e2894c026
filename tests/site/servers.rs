//! The servers of a site: which one gets a request, how often, and what changes in the request and
//! its answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::Arc;

use hedgerow::proxy::Server;
use hedgerow::Hedgerow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::address::unused_address;
use super::support::client::{chunk, find, post, Client};
use super::support::proxy::{config, Proxy};
use super::support::recorder::{response, Act, Recorder};
use super::support::{eventually, h2, log, within};
use super::{get, site, with_site, TestSignal};

const NO_POSTHOG: &str = "http://127.0.0.1:9";

/// A site that reports itself healthy until the test changes that, and answers everything else.
async fn moody(name: &'static str, well: Arc<AtomicBool>) -> Recorder {
    Recorder::that(move |request| {
        let asked = request.head.starts_with("GET /well ");
        match asked && !well.load(Ordering::SeqCst) {
            true => Act::Answer(response("500 Not well", "", "")),
            false => Act::Answer(response("200 OK", "", name)),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_well_gets_no_requests_until_it_is() {
    let well = Arc::new(AtomicBool::new(true));
    let steady = moody("steady", Arc::new(AtomicBool::new(true))).await;
    let moody = moody("moody", Arc::clone(&well)).await;
    let origin = format!(
        "{{servers: [\"{}\", \"{}\"], health: {{path: /well, every: 1s}}}}",
        steady.url(),
        moody.url()
    );
    let yaml = with_site(NO_POSTHOG, &origin);
    let yaml = format!("listen: [\"127.0.0.1:0\"]\nserver: {{threads: 1, grace: 1s}}\n{yaml}");
    let server = Server::new(Hedgerow::new(config(&yaml)).unwrap()).unwrap();
    let address = server.addresses()[0];
    let (stop, told) = mpsc::channel();
    let running = std::thread::spawn(move || server.run_until(Box::new(TestSignal(told.into()))));
    eventually("it listens", || std::net::TcpStream::connect(address).ok()).await;
    // The servers that answer ten requests in a row.
    let ten = || async {
        let mut answers = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let mut client = Client::connect(address).await;
            let answer = client.exchange(&get("/", "")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            answers.insert(String::from_utf8(answer.body).unwrap());
        }
        answers.into_iter().collect::<Vec<_>>().join(" and ")
    };
    let until = |expected: &'static str| async move {
        within(expected, async {
            while ten().await != expected {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    until("moody and steady").await;
    well.store(false, Ordering::SeqCst);
    until("steady").await;
    well.store(true, Ordering::SeqCst);
    until("moody and steady").await;
    let asked = moody.seen();
    let check = asked
        .iter()
        .find(|asked| asked.head.starts_with("GET /well "));
    assert_eq!(check.unwrap().header("host").as_deref(), Some("127.0.0.1"));
    stop.send(()).unwrap();
    eventually("it has ended", || running.is_finished().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_placed_once_whatever_its_server_does() {
    let closing = Recorder::that(|_| Act::Close).await;
    let other = site("taken").await;
    let sites = format!("[\"{}\", \"{}\"]", closing.url(), other.url());
    let proxy = Proxy::start(&with_site(NO_POSTHOG, &sites)).await;
    let mut statuses = Vec::new();
    for number in 0..6 {
        let mut client = Client::connect(proxy.address).await;
        let order = format!("order {number}");
        let answer = client.exchange(&post("/order", "", order.as_bytes())).await;
        statuses.push(answer.status);
    }
    let mut seen: Vec<Vec<u8>> = closing.seen().into_iter().map(|sent| sent.body).collect();
    seen.extend(other.seen().into_iter().map(|sent| sent.body));
    seen.sort();
    let expected: Vec<Vec<u8>> = (0..6)
        .map(|number| format!("order {number}").into())
        .collect();
    assert_eq!(seen, expected, "each of them once");
    statuses.sort();
    assert_eq!(statuses, [200, 200, 200, 502, 502, 502]);
    // Hedgerow has sent nothing to the unreachable server, so another server gets the order.
    let gone = unused_address();
    let sites = format!("[\"http://{gone}\", \"{}\"]", other.url());
    let proxy = Proxy::start(&with_site(NO_POSTHOG, &sites)).await;
    for _ in 0..4 {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&post("/order", "", b"again")).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(other.seen().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_on_both_sides() {
    let site = site("hello").await;
    let proxy = Proxy::start(&with_site(NO_POSTHOG, &site.url())).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..5 {
        assert_eq!(client.exchange(&get("/", "")).await.body, b"hello");
        let posted = client.exchange(&post("/form", "", b"a=1")).await;
        assert_eq!(posted.status, 200);
    }
    assert_eq!(site.seen().len(), 10);
    assert_eq!(site.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http2_gets_the_site_as_well() {
    let site = Recorder::that(|request| {
        let headers = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: keep-alive, X-Hop\r\n\
            X-Hop: 1\r\n";
        Act::Answer(response("200 OK", headers, &request.head))
    })
    .await;
    let proxy = Proxy::start_h2c(&with_site(NO_POSTHOG, &site.url())).await;
    let mut client = h2::Client::connect(proxy.address).await;
    // A browser sends its cookies one by one (RFC 9113, 8.2.3); in HTTP/1.1 they are one line.
    let headers = [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")];
    let (answer, complete) = client.get("/a%20b?q=1", &headers).await;
    assert!(complete && answer.status == 200, "{answer:?}");
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert!(!answer.headers.contains_key("x-hop"), "{answer:?}");
    assert!(!answer.headers.contains_key("connection"), "{answer:?}");
    let sent = site.requests(1).await.remove(0);
    assert!(
        sent.head.starts_with("GET /a%20b?q=1 HTTP/1.1\r\n"),
        "{}",
        sent.head
    );
    assert_eq!(sent.header("host").as_deref(), Some("shop.example.com"));
    let cookies: Vec<&str> = sent
        .head
        .lines()
        .filter(|line| line.to_ascii_lowercase().starts_with("cookie:"))
        .collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert_eq!(sent.header("cookie").as_deref(), Some("a=1; b=2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_bodies_stream_and_neither_waits_for_its_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        let mut until = async |stream: &mut tokio::net::TcpStream, wanted: &[u8]| {
            let mut piece = [0; 4096];
            while find(&seen, wanted).is_none() {
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0, "it ended before {wanted:?}");
                seen.extend_from_slice(&piece[..read]);
            }
        };
        // The answer begins while the request is still being sent, and they alternate.
        until(&mut stream, b"first question").await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(&chunk(b"first answer")).await.unwrap();
        until(&mut stream, b"second question").await;
        stream.write_all(&chunk(b"second answer")).await.unwrap();
        until(&mut stream, b"\r\n0\r\n\r\n").await;
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    });
    let proxy = Proxy::start(&with_site(NO_POSTHOG, &format!("http://{address}"))).await;
    let mut client = Client::connect(proxy.address).await;
    client
        .send(
            b"POST /talk HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    client.send(&chunk(b"first question")).await;
    let mut seen = Vec::new();
    let mut hear = async |client: &mut Client, wanted: &[u8]| {
        while find(&seen, wanted).is_none() {
            seen.extend(client.raw(1).await);
        }
    };
    hear(&mut client, b"first answer").await;
    client.send(&chunk(b"second question")).await;
    hear(&mut client, b"second answer").await;
    client.send(b"0\r\n\r\n").await;
    hear(&mut client, b"\r\n0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_body_keep_the_connection_in_step() {
    let site = Recorder::that(|request| {
        let headers = "ETag: \"a\"\r\n";
        match request.head.split(' ').nth(1).unwrap() {
            "/304" => Act::Answer(b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec()),
            "/204" => Act::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            _ if request.head.starts_with("HEAD") => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{headers}\r\n");
                Act::Answer(head.into_bytes())
            }
            "/404" => Act::Answer(response("404 Not Found", headers, "no such shelf")),
            _ => Act::Answer(response("200 OK", headers, "hello")),
        }
    })
    .await;
    let proxy = Proxy::start(&with_site(NO_POSTHOG, &site.url())).await;
    let mut client = Client::connect(proxy.address).await;
    for _ in 0..2 {
        client
            .send(b"HEAD / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
            .await;
        let head = client.answer_to_head().await;
        assert_eq!(
            (head.status, head.header("content-length").as_str()),
            (200, "5")
        );
        for (path, status, body) in [
            ("/304", 304, ""),
            ("/204", 204, ""),
            ("/404", 404, "no such shelf"),
            ("/", 200, "hello"),
        ] {
            let answer = client.exchange(&get(path, "")).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(String::from_utf8(answer.body).unwrap(), body, "{path}");
        }
    }
    assert_eq!(site.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_host_goes_on_with_one() {
    let site = super::site("well").await;
    let yaml = with_site(NO_POSTHOG, &site.url());
    let yaml = yaml.replace("  - host: shop.example.com\n    path: /\n", "  - path: /\n");
    let proxy = Proxy::start(&yaml).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(b"OPTIONS / HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = site.requests(1).await[0].clone();
    let own = site.url().replace("http://", "");
    assert_eq!(sent.header("host"), Some(own), "{}", sent.head);
    let mut client = Client::connect(proxy.address).await;
    let answer = client
        .exchange(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = site.requests(2).await[1].clone();
    assert_eq!(
        sent.header("host").as_deref(),
        Some("a.test"),
        "{}",
        sent.head
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_gets_no_chunks() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    let site = Recorder::that(|_| Act::Answer(CHUNKED.as_bytes().to_vec())).await;
    let proxy = Proxy::start(&with_site(NO_POSTHOG, &site.url())).await;
    for connection in ["close", "keep-alive"] {
        let mut stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let request =
            format!("GET / HTTP/1.0\r\nHost: shop.example.com\r\nConnection: {connection}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        within("the answer's end", stream.read_to_end(&mut seen))
            .await
            .unwrap();
        let seen = String::from_utf8(seen).unwrap();
        let (head, body) = seen.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "abcdef", "{seen}");
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("transfer-encoding"), "{seen}");
        assert!(head.contains("connection: close"), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovered_server_is_logged_with_the_number_of_failed_requests() {
    log::keep();
    let address = unused_address();
    let yaml = format!("routes: [{{path: /mended/, origin: \"http://{address}\"}}]\n");
    let proxy = Proxy::start(&yaml).await;
    let request = b"GET /mended/ HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
    for _ in 0..3 {
        let mut client = Client::connect(proxy.address).await;
        assert_eq!(client.exchange(request).await.status, 502);
    }
    let server = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    for _ in 0..2 {
        let mut client = Client::connect(proxy.address).await;
        assert_eq!(client.exchange(request).await.status, 200);
    }
    let said = eventually("its end is told", || {
        let lines = log::lines("route /mended/: the site's server answers again, after ");
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("; 3 requests failed in that time"),
        "{said:?}"
    );
}
