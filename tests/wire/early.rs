//! Answers that come before the end of the body, and clients that then stop sending.

use bytes::Bytes;

use super::full_server::{FullServer, HTTP2_TRANSPORTS};
use super::support::client::Client;
use super::support::frames::{block, fields, frame, Frames, Outcome};
use super::support::frames::{ACK, DATA, END_HEADERS, HEADERS, SETTINGS, WINDOW_UPDATE};
use super::support::recorder::{response, Act, Recorder};
use super::support::{batch, h2};

/// Where a body is sent.
const PATHS: [&str; 3] = ["/hr/v1/b", "/ph/s/", "/shelf"];

/// A stand-in for PostHog or a site that refuses large bodies before it has read them.
async fn refusing() -> Recorder {
    Recorder::early(|request| {
        let large = request
            .header("content-length")
            .is_none_or(|length| length.len() > 5);
        let no = response("503 Service Unavailable", "", "no");
        large.then_some(Act::AnswerAndClose(no))
    })
    .await
}

fn head(path: &str) -> Vec<u8> {
    let list = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop.example.com"),
        (":path", path),
        ("content-type", "application/json"),
    ]);
    frame(HEADERS, END_HEADERS, 1, &block(&list))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_in_mid_upload_gets_the_answer_that_came_early() {
    let server = FullServer::with_upstreams(refusing().await, refusing().await, "").await;
    // More than Hedgerow holds before the first byte leaves, and long before the end.
    let body = batch(3_000, 1_000);
    let mut wrong = Vec::new();
    for path in PATHS {
        for transport in HTTP2_TRANSPORTS {
            let mut frames = server.frames(transport).await;
            frames.send(&head(path)).await;
            let mut upload = Upload::new(&body.as_bytes()[..2_000_000]);
            let outcome = upload.send(&mut frames).await;
            if outcome != Outcome::Status(503) {
                wrong.push(format!("{path} over {transport:?}: {outcome:?}"));
            }
        }
        let mut client = Client::connect(server.plain()).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(head.as_bytes()).await;
        client.send(&body.as_bytes()[..2_000_000]).await;
        let answer = client.next().await.map(|answer| answer.status);
        if answer != Some(503) {
            wrong.push(format!("{path} over HTTP/1.1: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A body that is sent as fast as the peer takes it and never ends.
struct Upload<'a> {
    rest: &'a [u8],
    stream: usize,
    connection: usize,
}

impl<'a> Upload<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            stream: 65_535,
            connection: 65_535,
        }
    }

    async fn send(&mut self, frames: &mut Frames) -> Outcome {
        loop {
            while !self.rest.is_empty() && self.stream.min(self.connection) > 0 {
                let room = self
                    .stream
                    .min(self.connection)
                    .min(16_384)
                    .min(self.rest.len());
                let (piece, rest) = self.rest.split_at(room);
                frames.send(&frame(DATA, 0, 1, piece)).await;
                self.rest = rest;
                self.stream -= room;
                self.connection -= room;
            }
            match frames.event(1).await {
                Ok(outcome) => return outcome,
                Err(frame) if frame.kind == SETTINGS && frame.flags & ACK == 0 => {
                    for setting in frame.payload.chunks(6) {
                        if setting[..2] == [0, 4] {
                            let size = u32::from_be_bytes(setting[2..].try_into().expect("four"));
                            self.stream = self.stream + size as usize - 65_535;
                        }
                    }
                }
                Err(frame) if frame.kind == WINDOW_UPDATE => {
                    let more = u32::from_be_bytes(frame.payload[..4].try_into().expect("four"));
                    match frame.stream {
                        0 => self.connection += more as usize,
                        _ => self.stream += more as usize,
                    }
                }
                Err(_) => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_http2_client_reads_the_early_answer_and_goes_on() {
    let server = FullServer::with_upstreams(refusing().await, refusing().await, "").await;
    let body = batch(3_000, 1_000);
    for path in PATHS {
        let mut client = h2::Client::connect(server.h2c()).await;
        let (answer, mut sending) = client.post(path, &[]).await;
        let mut rest = Bytes::copy_from_slice(&body.as_bytes()[..2_000_000]);
        let answer = h2::answer(answer);
        tokio::pin!(answer);
        // The client stops at the answer, as clients do.
        let status = loop {
            if rest.is_empty() {
                break answer.await.status;
            }
            let piece = rest.split_to(rest.len().min(16_384));
            tokio::select! {
                answer = &mut answer => break answer.status,
                () = h2::send(&mut sending, &piece, false) => {}
            }
        };
        assert_eq!(status, 503, "{path}");
        let small = client
            .exchange(
                "/hr/v1/track",
                &[],
                &[b"{\"userId\":\"u\",\"event\":\"E\"}"],
            )
            .await;
        assert_eq!(small.status, 200, "{path}: the connection goes on");
    }
}
