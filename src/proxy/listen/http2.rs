//! Serves HTTP/2 connections of clients, which can be closed to make room while no request is in flight.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::http::ServerSession;
use pingora::protocols::IO;
use pingora::server::ShutdownWatch;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::proxy::limits::connection_limits::ConnectionLimits;
use crate::proxy::listen::coalescing::CoalescingStream;
use crate::proxy::listen::connection::Lifetime;
use crate::proxy::listen::http2_session::Http2Session;
use crate::proxy::listen::http_clock::{http_clock, HttpClock};

/// How long a client has to notice that its idle connection ends: a request that it has sent meanwhile is
/// answered.
const CLOSE_NOTICE: Duration = Duration::from_secs(1);

/// Serves one connection, and counts the requests in flight on it.
struct OneConnection<A> {
    app: Arc<A>,
    requests: watch::Sender<usize>,
}

/// The guard of a request in flight; dropping it counts the request as ended.
struct RequestGuard<'a>(&'a watch::Sender<usize>);

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|number| *number -= 1);
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for OneConnection<A> {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.requests.send_modify(|number| *number += 1);
        let _guard = RequestGuard(&self.requests);
        let session = match session {
            // The framework writes the head of every answer, with a date.
            ServerSession::H2(mut framed) if http_clock() == HttpClock::BeforeDates => {
                framed.shutdown();
                return None;
            }
            ServerSession::H2(framed) => {
                ServerSession::new_custom(Box::new(Http2Session::new(framed)))
            }
            other => other,
        };
        self.app.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.app.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.app.server_options()
    }
}

/// Serves a connection until the client closes it, it has been idle for too long, or others need its
/// place.
pub(super) async fn serve<A, S>(
    stream: Box<CoalescingStream<S>>,
    app: Arc<A>,
    mut lifetime: Lifetime,
) where
    A: HttpServerApp + Send + Sync + 'static,
    S: IO + 'static,
{
    let requests = watch::Sender::new(0);
    let mut in_flight = requests.subscribe();
    let connection = Arc::new(OneConnection { app, requests });
    let (sender, receiver) = watch::channel(false);
    let limits = lifetime.connection_limits.clone();
    let end = async {
        tokio::select! {
            () = shutdown_begins(&mut lifetime.leaving) => {
                sender.send_replace(true);
                pending().await
            }
            () = asked_to_close(limits.as_deref(), &mut in_flight) => {}
        }
        let _leaving = limits.as_deref().map(ConnectionLimits::start_leaving);
        sender.send_replace(true);
        loop {
            idle(&mut in_flight).await;
            if timeout(CLOSE_NOTICE, busy(&mut in_flight)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = connection.process_new(stream, &receiver) => {}
        () = end => log::debug!("an idle connection was closed to accept a new one"),
    }
}

/// Returns when others need the place of a connection on which no request is in flight.
async fn asked_to_close(limits: Option<&ConnectionLimits>, in_flight: &mut watch::Receiver<usize>) {
    let Some(limits) = limits else {
        return pending().await;
    };
    loop {
        idle(in_flight).await;
        tokio::select! {
            biased;
            () = busy(in_flight) => {}
            () = limits.asked_to_close() => return,
        }
    }
}

/// Returns when the process shuts down.
async fn shutdown_begins(leaving: &mut ShutdownWatch) {
    let _ = leaving.wait_for(|leaving| *leaving).await;
}

// The sender lives until the connection ends, so neither of these can fail.

async fn idle(in_flight: &mut watch::Receiver<usize>) {
    let _ = in_flight.wait_for(|number| *number == 0).await;
}

async fn busy(in_flight: &mut watch::Receiver<usize>) {
    let _ = in_flight.wait_for(|number| *number > 0).await;
}
