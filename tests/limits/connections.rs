//! Idle connections cost little, end after a time, and keep no other client out.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use hedgerow::proxy::Server;
use hedgerow::Hedgerow;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::ALPN;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::support::client::{post, Client};
use super::support::proxy::{config, yaml, PostHog};
use super::support::tls::Certificates;
use super::support::{eventually, h2, track, within, DEADLINE};

/// A server with its own threads, which ends with the test.
struct Running {
    address: SocketAddr,
    hedgerow: Hedgerow,
    stop: std::sync::Arc<Notify>,
}

struct TestSignal(std::sync::Arc<Notify>);

#[async_trait]
impl ShutdownSignalWatch for TestSignal {
    async fn recv(&self) -> ShutdownSignal {
        self.0.notified().await;
        ShutdownSignal::FastShutdown
    }
}

impl Running {
    fn new(yaml: &str, head: Duration) -> Self {
        let hedgerow = Hedgerow::builder(config(yaml)).head_timeout(head);
        let hedgerow = hedgerow.build().unwrap();
        let server = Server::new(hedgerow.clone()).unwrap();
        let address = server.addresses()[0];
        let stop = std::sync::Arc::new(Notify::new());
        let told = Box::new(TestSignal(std::sync::Arc::clone(&stop)));
        std::thread::spawn(move || server.run_until(told));
        Self {
            address,
            hedgerow,
            stop,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

/// A server on a free port, with more configuration.
fn listening(host: &str, more: &str) -> String {
    format!("listen: 127.0.0.1:0\n{}{more}", yaml(host))
}

/// A connection from this loopback address.
async fn from(client: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{client}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the peer has closed the connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(
        within("its end", stream.read(&mut byte)).await,
        Ok(0) | Err(_)
    )
}

async fn asks(stream: &mut TcpStream, id: &str) -> bool {
    let sent = post("/hr/v1/t", "", track(id, 200).as_bytes());
    if stream.write_all(&sent).await.is_err() {
        return false;
    }
    let mut answer = [0; 12];
    let read = within("an answer", stream.read_exact(&mut answer)).await;
    read.is_ok() && &answer[9..12] == b"200"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_drips_ends_whatever_it_is_and_a_slow_one_is_served() {
    let _alone = super::ALONE.lock().await;
    let posthog = PostHog::start().await;
    let running = Running::new(&listening(&posthog.url(), ""), Duration::from_millis(400));
    let head = b"POST /hr/v1/t HTTP/1.1\r\nHost: shop.example.com\r\nX-Filler: ";
    let beginnings: [&[u8]; 6] = [
        b"P",
        head,
        b"GET / HTTP/1.1\r\n",
        b"\r\n\r\n",
        b"\n\nG",
        b"\r",
    ];
    for beginning in beginnings {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        // A single byte from time to time does not extend the time limit, although no read is late.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let (mut read, mut write) = stream.into_split();
        let drips = tokio::spawn(async move {
            let drip = if beginning == b"\r\n\r\n" {
                b"\n"
            } else {
                b"x"
            };
            while write.write_all(drip).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut answer = Vec::new();
        let what = format!("the end of {:?}", String::from_utf8_lossy(beginning));
        // The connection may end or be reset: a client that continues to send cannot choose.
        let _ = within(&what, read.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with("HTTP/1.1 408 Request Timeout\r\n")
                && answer.contains("\r\nConnection: close\r\n"),
            "{:?}: {answer:?}",
            String::from_utf8_lossy(beginning)
        );
        drips.abort();
    }
    let counts = running.hedgerow.state().connections;
    assert_eq!(counts.slow_heads, beginnings.len() as u64, "{counts:?}");
    // Empty lines after header fields do not end the head.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in ["\r", "\n\nG", "ET / HTTP/1.1"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut answer = Vec::new();
    let _ = within("its end", stream.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{answer:?}");
    // A head that is slow, but not too slow on any machine.
    let running = Running::new(&listening(&posthog.url(), ""), DEADLINE);
    let whole = post("/hr/v1/t", "", track("1", 200).as_bytes());
    for cut in [1, 5, 30, 80] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (first, rest) = whole.split_at(cut);
        stream.write_all(first).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        stream.write_all(rest).await.unwrap();
        let mut answer = [0; 12];
        within("an answer", stream.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(&answer[9..12], b"200", "cut at {cut}");
    }
    // Two requests in one write, after a head in two pieces.
    let mut stream = Client::connect(running.address).await;
    let (first, rest) = whole.split_at(20);
    stream.send(first).await;
    stream.send(rest).await;
    assert_eq!(stream.answer().await.status, 200);
    assert_eq!(stream.exchange(&whole).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_connection_that_does_not_begin_ends() {
    let _alone = super::ALONE.lock().await;
    let posthog = PostHog::start().await;
    let certificates = Certificates::new(&["localhost"]);
    let text = format!(
        "listen: {{address: \"127.0.0.1:0\", tls: {{certificate: {:?}, key: {:?}}}}}\n{}",
        certificates.file("certificate.pem"),
        certificates.file("key.pem"),
        yaml(&posthog.url())
    );
    let running = Running::new(&text, Duration::from_millis(400));
    for begin in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut options = ConnectorOptions::new(1);
        options.ca_file = certificates.file("ca.pem").to_str().map(str::to_owned);
        let mut peer = HttpPeer::new(running.address, true, "localhost".to_owned());
        peer.options.set_http_version(2, 2);
        let connector = TransportConnector::new(Some(options));
        let mut stream = connector.new_stream(&peer).await.unwrap();
        assert_eq!(stream.selected_alpn_proto(), Some(ALPN::H2));
        stream.write_all(begin).await.unwrap();
        stream.flush().await.unwrap();
        let mut all = Vec::new();
        // The connection ends, whatever the server sends first.
        let _ = within("the end of HTTP/2", stream.read_to_end(&mut all)).await;
    }
    let counts = running.hedgerow.state().connections;
    assert_eq!(counts.slow_heads, 2, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_make_room_and_one_address_cannot_take_all_places() {
    let _alone = super::ALONE.lock().await;
    let posthog = PostHog::start().await;
    let limits = "limits: {connections: 40, connections_per_client: 30}\n";
    let running = Running::new(&listening(&posthog.url(), limits), Duration::from_secs(30));
    let open = || running.hedgerow.state().connections;
    // One client opens as many connections as it may, and more.
    let mut greedy = Vec::new();
    for _ in 0..30 {
        greedy.push(from("127.0.0.2", running.address).await);
    }
    eventually("they are open", || (open().open == 30).then_some(())).await;
    for _ in 0..5 {
        let mut more = from("127.0.0.2", running.address).await;
        assert!(is_closed(&mut more).await);
    }
    assert_eq!(open().refused_for_one_client, 5);
    // Other clients always get in: the server closes the oldest idle connections.
    let mut others = Vec::new();
    for number in 0..60 {
        let mut other = from("127.0.0.3", running.address).await;
        if asks(&mut other, &number.to_string()).await {
            others.push(other);
        }
        // One client has its own limit.
        if others.len() == 25 {
            others.clear();
            eventually("they are gone", || (open().open <= 40).then_some(())).await;
        }
    }
    let counts = open();
    assert!(counts.closed_for_room > 0, "{counts:?}");
    assert!(counts.open <= 40, "{counts:?}");
    assert_eq!(posthog.events(60).await.len(), 60, "{counts:?}");
    assert!(is_closed(&mut greedy[0]).await, "the oldest idle one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_http_2_make_room_and_one_with_a_request_under_way_stays() {
    let _alone = super::ALONE.lock().await;
    let posthog = PostHog::start().await;
    let limits = "limits: {connections: 40, connections_per_client: 40}\n";
    let yaml = listening(&posthog.url(), limits).replace(
        "listen: 127.0.0.1:0",
        "listen: {address: \"127.0.0.1:0\", h2c: on}",
    );
    let running = Running::new(&yaml, Duration::from_secs(30));
    let open = || running.hedgerow.state().connections;
    // The oldest connection has sent half a request.
    let mut first = h2::Client::connect(running.address).await;
    let event = track("first", 200);
    let (begin, rest) = event.as_bytes().split_at(20);
    let (answer, mut body) = first.post("/hr/v1/track", &[]).await;
    h2::send(&mut body, begin, false).await;
    let mut idle = Vec::new();
    for number in 0..30 {
        let mut client = h2::Client::connect(running.address).await;
        let event = track(&format!("idle-{number}"), 200);
        let frames = [event.as_bytes()];
        let told = client.exchange("/hr/v1/track", &[], &frames).await;
        assert_eq!(told.status, 200);
        idle.push(client);
    }
    // Many clients come and stay. A client that comes before there is room tries again.
    for number in 0..60 {
        let id = format!("later-{number}");
        let asked = eventually_served(running.address, &id);
        idle.push(within("a place", asked).await);
        let counts = open();
        assert!(counts.open <= 41, "{counts:?}");
    }
    h2::send(&mut body, rest, true).await;
    let told = within("the answer to the first", answer).await;
    assert_eq!(told.expect("it is answered").status(), 200);
    let counts = open();
    assert!(counts.closed_for_room >= 50, "{counts:?}");
    assert_eq!(posthog.events(91).await.len(), 91, "{counts:?}");
}

/// A connection over which one event has been accepted.
async fn eventually_served(address: SocketAddr, id: &str) -> h2::Client {
    loop {
        let event = track(id, 200);
        match h2::served(address, "/hr/v1/track", event.as_bytes()).await {
            Some((client, 200)) => return client,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
