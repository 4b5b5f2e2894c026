//! A session over HTTP/2 whose request body has to arrive in time. The framework's own session waits for
//! the next piece of a body as long as its connection lives. Over HTTP/1.1 it limits this time, which
//! [`set_read_timeout`](Session::set_read_timeout) sets, and this session does the same. It passes
//! everything else to the framework's session.
//!
//! One feature works only with the framework's own type: while the framework writes a body to a server
//! that speaks HTTP/2, it notices when the client resets its stream. With this session, such a write ends
//! only when the server's timeout is over.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::v2::server::HttpSession;
use pingora::protocols::http::HttpTask;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::Digest;
use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;

/// The framework's default limit for the next piece of a body over HTTP/1.1.
const SILENCE: Duration = Duration::from_secs(60);

/// The type of messages besides request and answer, which HTTP/2 does not have.
type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// An HTTP/2 session of the framework, with a time limit for each piece of the request body.
pub(super) struct Http2Session {
    framed: HttpSession,
    read_timeout: Option<Duration>,
}

impl Http2Session {
    pub(super) fn new(framed: HttpSession) -> Self {
        Self {
            framed,
            read_timeout: Some(SILENCE),
        }
    }
}

#[async_trait]
impl Session for Http2Session {
    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let Some(time) = self.read_timeout else {
            return self.framed.read_body_bytes().await;
        };
        match timeout(time, self.framed.read_body_bytes()).await {
            Ok(read) => read,
            Err(_) => {
                let why = format!("reading body, timeout: {time:?}");
                Error::e_explain(ErrorType::ReadTimedout, why)
            }
        }
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.framed.is_body_done() {
            return self.framed.read_body_or_idle(no_body_expected).await;
        }
        self.read_body_bytes().await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn req_header(&self) -> &RequestHeader {
        self.framed.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.framed.req_header_mut()
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.framed.drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.framed.write_response_header(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.framed.write_response_header_ref(head, end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.framed.write_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.framed.write_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.framed.response_duplex_vec(tasks).await
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.framed.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.framed.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.framed.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.framed.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.framed.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.framed.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.framed.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.framed.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.framed.finish()
    }

    fn is_body_empty(&mut self) -> bool {
        self.framed.is_body_empty()
    }

    fn body_bytes_sent(&self) -> usize {
        self.framed.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.framed.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.framed.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.framed.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.framed.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.framed.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.framed.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.framed.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.framed.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.framed.get_retry_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Messages) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
