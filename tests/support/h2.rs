//! HTTP/2 without TLS, frame by frame: an upstream that records its requests, and a client.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::within;

/// One stream as it arrived.
#[derive(Debug, Clone)]
pub struct Stream {
    pub method: Method,
    pub path: String,
    pub authority: Option<String>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The payload of each DATA frame, the last one included.
    pub frames: Vec<usize>,
    /// Whether the body was complete, and not reset.
    pub complete: bool,
}

/// An upstream with prior knowledge of HTTP/2 that accepts everything.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Stream>>>,
    pub connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Upstream {
    pub async fn start() -> Self {
        Self::that_answers(200, usize::MAX).await
    }

    /// Answers with this status. After this many streams on a connection it closes the connection.
    pub async fn that_answers(status: u16, streams: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (record, count) = (Arc::clone(&seen), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, Arc::clone(&record), status, streams));
            }
        });
        Self {
            address,
            seen,
            connections,
            accepting,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Stream> {
        self.seen.lock().expect("no test has failed").clone()
    }

    pub async fn streams(&self, count: usize) -> Vec<Stream> {
        super::eventually(&format!("{count} streams"), || {
            let seen = self.seen();
            (seen.len() >= count).then_some(seen)
        })
        .await
    }
}

async fn serve(socket: TcpStream, record: Arc<Mutex<Vec<Stream>>>, status: u16, streams: usize) {
    // Without this, each answer waits for the other side's acknowledgement.
    socket.set_nodelay(true).expect("a TCP socket");
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    let mut taken = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        taken += 1;
        if taken > streams {
            // Without an answer, like a server that was stopped.
            return;
        }
        let record = Arc::clone(&record);
        tokio::spawn(async move {
            let (head, body) = request.into_parts();
            let (body, frames, complete) = read(body).await;
            let stream = Stream {
                method: head.method,
                path: head.uri.path().to_owned(),
                authority: head.uri.authority().map(ToString::to_string),
                headers: head.headers,
                body,
                frames,
                complete,
            };
            record.lock().expect("no test has failed").push(stream);
            if !complete {
                return;
            }
            let response = Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(())
                .expect("it is valid");
            if let Ok(mut send) = respond.send_response(response, false) {
                let _ = send.send_data(Bytes::from_static(b"{\"status\":\"Ok\"}"), true);
            }
        });
    }
}

async fn read(mut body: RecvStream) -> (Vec<u8>, Vec<usize>, bool) {
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                let _ = body.flow_control().release_capacity(data.len());
                frames.push(data.len());
                bytes.extend_from_slice(&data);
            }
            Err(_) => return (bytes, frames, false),
        }
    }
    (bytes, frames, true)
}

/// A client with prior knowledge of HTTP/2.
pub struct Client {
    send: SendRequest<Bytes>,
    driving: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// One response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("a TCP socket");
        let (send, connection) = h2::client::handshake(socket).await.expect("a handshake");
        let driving = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send, driving }
    }

    /// Begins a POST; the caller sends the body.
    pub async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("http://shop.example.com{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("it is valid");
        let mut send = within("a stream", self.send.clone().ready())
            .await
            .expect("it is open");
        send.send_request(request, false).expect("it is open")
    }

    /// A POST with these DATA frames; the last one ends the stream.
    pub async fn exchange(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        frames: &[&[u8]],
    ) -> Answer {
        let (response, mut body) = self.post(path, headers).await;
        for (number, frame) in frames.iter().enumerate() {
            let last = number + 1 == frames.len();
            send(&mut body, frame, last).await;
        }
        answer(response).await
    }
}

impl Client {
    /// A GET, its answer, and whether the answer was complete.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> (Answer, bool) {
        let mut request = Request::builder().uri(format!("http://shop.example.com{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("it is valid");
        let mut send = within("a stream", self.send.clone().ready())
            .await
            .expect("it is open");
        let (response, _) = send.send_request(request, true).expect("it is open");
        let (head, body) = within("an answer", response)
            .await
            .expect("a response")
            .into_parts();
        let (body, _, complete) = within("its body", read(body)).await;
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        };
        (answer, complete)
    }
}

/// Sends a piece of a body as fast as the peer takes it.
pub async fn send(body: &mut SendStream<Bytes>, bytes: &[u8], last: bool) {
    let mut rest = Bytes::copy_from_slice(bytes);
    while !rest.is_empty() {
        body.reserve_capacity(rest.len());
        let room = within(
            "room to send",
            std::future::poll_fn(|cx| body.poll_capacity(cx)),
        )
        .await;
        let Some(Ok(room)) = room else {
            return;
        };
        let piece = rest.split_to(room.min(rest.len()));
        if body.send_data(piece, false).is_err() {
            return;
        }
    }
    if last {
        // An empty frame ends the body, as several clients do it.
        let _ = body.send_data(Bytes::new(), true);
    }
}

/// Waits for the whole response.
pub async fn answer(response: h2::client::ResponseFuture) -> Answer {
    let (head, body) = within("an answer", response)
        .await
        .expect("a response")
        .into_parts();
    let (body, _, _) = within("its body", read(body)).await;
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    }
}

/// The answer to a request without a body, over its own connection.
pub async fn ask(address: SocketAddr, request: Request<()>) -> Answer {
    let mut client = Client::connect(address).await;
    let (response, _) = client.send.send_request(request, true).expect("it is open");
    answer(response).await
}

/// A connection with a POST, and its answer; `None` if there was none.
pub async fn served(address: SocketAddr, path: &str, body: &[u8]) -> Option<(Client, u16)> {
    let socket = TcpStream::connect(address).await.ok()?;
    socket.set_nodelay(true).ok()?;
    let (sender, connection) = h2::client::handshake(socket).await.ok()?;
    let driving = tokio::spawn(async move {
        let _ = connection.await;
    });
    let client = Client {
        send: sender,
        driving,
    };
    let request = Request::builder().method("POST");
    let request = request.uri(format!("http://shop.example.com{path}"));
    let mut sender = client.send.clone().ready().await.ok()?;
    let (response, mut stream) = sender.send_request(request.body(()).ok()?, false).ok()?;
    send(&mut stream, body, true).await;
    let status = response.await.ok()?.status().as_u16();
    Some((client, status))
}
