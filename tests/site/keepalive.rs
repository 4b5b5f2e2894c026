//! Servers of a site that soon close idle connections: no order may get lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::client::Client;
use super::support::proxy::Proxy;
use super::support::DEADLINE;
use super::{get, with_site};

const NO_POSTHOG: &str = "http://127.0.0.1:9";

/// A server that closes a connection this idle time after an answer, and sends `header` with each answer.
struct ShortKeepAlive {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    orders: Arc<AtomicUsize>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for ShortKeepAlive {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ShortKeepAlive {
    async fn start(idle: Duration, header: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, orders) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counted = (Arc::clone(&connections), Arc::clone(&orders));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.0.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, idle, header, Arc::clone(&counted.1)));
            }
        });
        Self {
            address,
            connections,
            orders,
            accepting,
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    idle: Duration,
    header: &'static str,
    orders: Arc<AtomicUsize>,
) {
    let mut bytes = Vec::new();
    let mut answered = false;
    loop {
        let whole = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).to_lowercase();
            let end = text.find("\r\n\r\n")? + 4;
            let length = text.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            let length: usize = length.unwrap_or(0);
            (bytes.len() >= end + length).then_some(end + length)
        };
        let Some(end) = whole(&bytes) else {
            // No idle connection: a request may come in pieces, and on a busy machine its first one late.
            let idle = match answered && bytes.is_empty() {
                true => idle,
                false => DEADLINE,
            };
            match tokio::time::timeout(idle, stream.read_buf(&mut bytes)).await {
                Ok(Ok(1..)) => continue,
                _ => return,
            }
        };
        if bytes.starts_with(b"POST") {
            orders.fetch_add(1, Ordering::SeqCst);
        }
        bytes.drain(..end);
        let answer = format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\n\r\nok");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        answered = true;
    }
}

fn order(size: usize) -> Vec<u8> {
    let body = "x".repeat(size);
    format!(
        "POST /order HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: {size}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends orders with pauses close to the server's idle time, with pages between them. Returns how
/// many got no 200, and the server's counts.
async fn rush(server: &ShortKeepAlive, origin: &str, apart: Duration, orders: usize) -> usize {
    let proxy = Proxy::start(&with_site(NO_POSTHOG, origin)).await;
    let mut client = Client::connect(proxy.address).await;
    let mut failed = 0;
    for number in 0..orders {
        let page = client.exchange(&get("/", "")).await;
        assert_eq!(page.status, 200, "{page:?}");
        // Shortly before and after the server closes.
        tokio::time::sleep(apart + Duration::from_micros(number as u64 * 200 % 4_000)).await;
        let answer = client.exchange(&order(3)).await;
        failed += usize::from(answer.status != 200);
        if answer.status != 200 {
            client = Client::connect(proxy.address).await;
        }
    }
    println!(
        "{origin}: {orders} orders, {failed} failed, {} arrived over {} connections",
        server.orders.load(Ordering::SeqCst),
        server.connections.load(Ordering::SeqCst)
    );
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_fails_at_a_server_that_closes_idle_connections_soon() {
    let idle = Duration::from_millis(20);
    let apart = Duration::from_millis(18);
    for header in [
        "",
        "Keep-Alive: timeout=0\r\n",
        "Connection: keep-alive\r\n",
    ] {
        let server = ShortKeepAlive::start(idle, header).await;
        let origin = format!("\"http://{}\"", server.address);
        assert_eq!(rush(&server, &origin, apart, 120).await, 0, "{header}");
        assert_eq!(server.orders.load(Ordering::SeqCst), 120, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_announces_its_idle_time_gets_posts_over_kept_connections() {
    for header in [
        "Keep-Alive: timeout=1\r\n",
        "keep-alive: Timeout=1, max=50\r\n",
    ] {
        let server = ShortKeepAlive::start(Duration::from_secs(1), header).await;
        let origin = format!("{{servers: \"http://{}\"}}", server.address);
        // At once: they share a connection, after the page whose answer had the header.
        assert_eq!(rush(&server, &origin, Duration::ZERO, 30).await, 0);
        assert!(server.connections.load(Ordering::SeqCst) <= 3, "{header}");
        // At the moment when the server closes.
        assert_eq!(
            rush(&server, &origin, Duration::from_millis(998), 4).await,
            0
        );
        assert_eq!(server.orders.load(Ordering::SeqCst), 34);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_idle_time_of_a_servers_connections_is_what_the_configuration_says() {
    // Orders use kept connections too, because the operator guarantees it.
    let server = ShortKeepAlive::start(Duration::from_secs(60), "").await;
    let origin = format!("{{servers: \"http://{}\", keepalive: 50s}}", server.address);
    assert_eq!(rush(&server, &origin, Duration::ZERO, 20).await, 0);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let server = ShortKeepAlive::start(Duration::from_secs(60), "").await;
    let origin = format!("{{servers: \"http://{}\", keepalive: off}}", server.address);
    assert_eq!(rush(&server, &origin, Duration::ZERO, 10).await, 0);
    assert_eq!(server.connections.load(Ordering::SeqCst), 20);
    let server = ShortKeepAlive::start(Duration::from_secs(60), "").await;
    let origin = format!(
        "{{servers: \"http://{}\", keepalive: 20ms}}",
        server.address
    );
    assert_eq!(
        rush(&server, &origin, Duration::from_millis(60), 10).await,
        0
    );
    assert!(server.connections.load(Ordering::SeqCst) >= 10);
}
