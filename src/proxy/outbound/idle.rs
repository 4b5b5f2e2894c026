//! Connections that wait for their next request.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::proxy::outbound::upstream::IDLE;

use super::http1::Http1;

/// The interval at which connections that were idle for too long or were closed are removed.
const SWEEP: Duration = Duration::from_secs(5);

/// The idle HTTP/1.1 connections of one connector.
#[derive(Debug)]
pub(crate) struct Idle {
    waiting: Mutex<IdleConnections>,
    /// The maximum number of idle connections. Above it, the one that was idle longest is closed.
    room: usize,
}

#[derive(Debug, Default)]
struct IdleConnections {
    /// In the order in which they became idle.
    connections: VecDeque<IdleConnection>,
    /// Whether a task runs that removes old connections.
    swept: bool,
}

#[derive(Debug)]
struct IdleConnection {
    /// The target: scheme, name and port.
    target: Arc<str>,
    address: SocketAddr,
    session: Box<Http1>,
    since: Instant,
}

impl Idle {
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            room,
        })
    }

    /// Takes the connection that became idle last. Skips connections that are too old or that the peer has
    /// closed.
    pub(crate) fn take(&self, target: &Arc<str>, address: SocketAddr) -> Option<Box<Http1>> {
        loop {
            let mut connection = {
                let connections = &mut self.lock().connections;
                let position = connections
                    .iter()
                    .rposition(|idle| idle.address == address && idle.target == *target)?;
                connections.remove(position)?
            };
            if connection.since.elapsed() < IDLE && !connection.session.is_stale() {
                return Some(connection.session);
            }
        }
    }

    /// Stores a connection whose answer has been read.
    pub(crate) fn put(
        self: &Arc<Self>,
        target: &Arc<str>,
        address: SocketAddr,
        mut session: Box<Http1>,
    ) {
        session.free_buffer();
        let mut waiting = self.lock();
        waiting.connections.push_back(IdleConnection {
            target: Arc::clone(target),
            address,
            session,
            since: Instant::now(),
        });
        let surplus = match waiting.connections.len() > self.room {
            true => waiting.connections.pop_front(),
            false => None,
        };
        let was_swept = std::mem::replace(&mut waiting.swept, true);
        drop(waiting);
        // The lock is released first, because closing a connection takes time.
        drop(surplus);
        if !was_swept {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdleConnections> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that were idle for too long or that the peer has closed. Ends when no connection is
/// left.
async fn sweep(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(idle) = idle.upgrade() else {
            return;
        };
        let mut stale = Vec::new();
        {
            let mut waiting = idle.lock();
            let mut stay = VecDeque::with_capacity(waiting.connections.len());
            for mut connection in waiting.connections.drain(..) {
                if connection.since.elapsed() < IDLE && !connection.session.is_stale() {
                    stay.push_back(connection);
                } else {
                    stale.push(connection);
                }
            }
            waiting.connections = stay;
            waiting.swept = !waiting.connections.is_empty();
            if !waiting.swept {
                return;
            }
        }
        drop(stale);
    }
}
