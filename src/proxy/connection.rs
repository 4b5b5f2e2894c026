//! One connection of a client: its requests over HTTP/1.x one after the other, and hardly any
//! memory while it waits for the next.
//!
//! The framework waits for a request inside everything that a request may need. Here its first
//! bytes are read on the stack, and the framework begins with them.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use bytes::BytesMut;
use pingora::apps::{HttpPersistentSettings, HttpServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use pingora::time::timeout;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;

/// What is read at once while nothing is known of a request: most of them whole. No more than the
/// framework would read, which loses what it has read beyond a body.
const FIRST: usize = 4 * 1024;

/// When a connection ends between two requests.
pub(super) struct Ends {
    /// After so many seconds without one.
    pub(super) idle: u64,
    /// When this turns true.
    pub(super) closing: watch::Receiver<bool>,
    /// The framework's word for leaving: the answer to a request that is under way is the last.
    pub(super) leaving: ShutdownWatch,
}

/// Serves HTTP/1.x until one of the two sides has enough.
pub(super) async fn serve<A>(mut stream: Stream, app: &Arc<A>, mut ends: Ends)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut settings: Option<HttpPersistentSettings> = None;
    while let Some(begun) = request(&mut stream, &mut ends).await {
        let mut session = ServerSession::new_http1(stream);
        match settings {
            Some(settings) => settings.apply_to_session(&mut session),
            None => {
                session.set_keepalive(Some(ends.idle));
                let limit = app.server_options();
                let limit = limit.and_then(|options| options.keepalive_request_limit);
                session.set_keepalive_reuses_remaining(limit);
            }
        }
        if *ends.leaving.borrow() {
            session.set_keepalive(None);
        }
        session.set_pipelined_prefix(begun);
        let Some(reused) = app.process_new_http(session, &ends.leaving).await else {
            return;
        };
        (stream, settings) = reused.consume();
    }
}

/// The first bytes of the next request; nothing when there is none.
async fn request(stream: &mut Stream, ends: &mut Ends) -> Option<BytesMut> {
    let idle = Duration::from_secs(ends.idle);
    let came = tokio::select! {
        biased; // what has come already is served
        came = timeout(idle, first_bytes(stream)) => came,
        _ = ends.closing.wait_for(|closing| *closing) => return None,
    };
    match came {
        Ok(Ok(bytes)) if !bytes.is_empty() => Some(bytes),
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            log::debug!("a client's connection broke between two requests: {error}");
            None
        }
        Err(_) => {
            log::debug!("a client's connection was idle");
            None
        }
    }
}

async fn first_bytes(stream: &mut Stream) -> io::Result<BytesMut> {
    std::future::poll_fn(|context| {
        let mut bytes = [MaybeUninit::uninit(); FIRST];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
        Ok(BytesMut::from(buffer.filled())).into()
    })
    .await
}
