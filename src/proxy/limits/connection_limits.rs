//! The limits of connections: how many clients may have in all and from one address (so that one client
//! cannot take the places of the others), how much memory they may hold together, and how long the head
//! of a request may take.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;

use crate::admin::ConnectionCounts;
use crate::config::RequestLimits;

use crate::proxy::client::is_trusted;
use crate::proxy::limits::log_limit::LogLimit;

/// The connections of all clients.
pub(crate) struct ConnectionLimits {
    bounds: ArcSwap<ConnectionBounds>,
    open: AtomicUsize,
    /// The bytes that all open connections hold.
    held: AtomicUsize,
    open_per_client: Mutex<HashMap<IpAddr, usize>>,
    /// Wakes the connection that has waited longest for its next request, which then closes.
    room: Notify,
    /// The number of connections that are closing to make room, but are still open.
    leaving: AtomicUsize,
    full: AtomicU64,
    one_too_many: AtomicU64,
    closed: AtomicU64,
    slow_heads: AtomicU64,
    slow_handshakes: AtomicU64,
    log_limit: Arc<LogLimit>,
}

impl std::fmt::Debug for ConnectionLimits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ConnectionLimits")
            .finish_non_exhaustive()
    }
}

/// The limits: how many connections, and how long a head may take.
struct ConnectionBounds {
    connections: usize,
    /// The bytes that all connections may hold together.
    memory: usize,
    per_client: usize,
    /// The trusted proxies, whose connections carry the requests of many clients.
    trusted: Vec<IpNet>,
    /// How long the head of a request may take.
    head: Duration,
}

impl ConnectionBounds {
    fn new(limits: &RequestLimits, trusted: &[IpNet]) -> Self {
        Self {
            connections: limits.connections,
            memory: limits.memory.max(LEAST_MEMORY),
            per_client: limits.connections_per_client,
            trusted: trusted.to_vec(),
            head: limits.head_timeout,
        }
    }
}

/// The memory that connections may hold however small `limits.memory` is, in bytes.
const LEAST_MEMORY: usize = 4 << 20;

/// The protocol of a client's connection, as far as it is known. The memory of a connection depends
/// on it, also while it is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientProtocol {
    Http1,
    /// HTTP/2 without TLS, or a protocol that is not known yet.
    Http2,
    Http1OverTls,
    /// HTTP/2 over TLS, or a protocol that is not known before the handshake has ended.
    Http2OverTls,
}

impl ClientProtocol {
    /// Returns the memory that such a connection holds while it waits, in bytes: the measured value
    /// (`scripts/idle`: 4, 28, 16 and 41 kB; docs/hostile.md) and at least a sixth more, because bursts
    /// leave some shared memory behind.
    const fn memory(self) -> usize {
        match self {
            Self::Http1 => 8 << 10,
            Self::Http2 => 32 << 10,
            Self::Http1OverTls => 20 << 10,
            Self::Http2OverTls => 48 << 10,
        }
    }
}

/// The permit of one connection; its place is free again when this is dropped.
pub(crate) struct ConnectionPermit {
    connection_limits: Arc<ConnectionLimits>,
    client: Option<IpAddr>,
    protocol: ClientProtocol,
}

impl ConnectionPermit {
    /// Records the protocol that the client uses.
    pub(crate) fn set_protocol(&mut self, protocol: ClientProtocol) {
        let held = &self.connection_limits.held;
        held.fetch_add(protocol.memory(), Ordering::AcqRel);
        held.fetch_sub(self.protocol.memory(), Ordering::AcqRel);
        self.protocol = protocol;
    }
}

/// The step for which a client took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlowStep {
    /// The head of a request, or the first bytes of HTTP/2.
    Head,
    /// The TLS handshake.
    Handshake,
}

/// Why a connection gets no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoPermit {
    Full,
    NoMemory,
    OneTooMany,
}

impl SlowStep {
    fn kind(self) -> &'static str {
        match self {
            Self::Head => "slow_head",
            Self::Handshake => "slow_handshake",
        }
    }
}

impl ConnectionLimits {
    pub(crate) fn new(limits: &RequestLimits, trusted: &[IpNet], log_limit: Arc<LogLimit>) -> Self {
        Self {
            bounds: ArcSwap::from_pointee(ConnectionBounds::new(limits, trusted)),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            open_per_client: Mutex::default(),
            room: Notify::new(),
            leaving: AtomicUsize::new(0),
            full: AtomicU64::new(0),
            one_too_many: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            slow_heads: AtomicU64::new(0),
            slow_handshakes: AtomicU64::new(0),
            log_limit,
        }
    }

    /// Changes the limits. Open connections stay.
    pub(crate) fn bound(&self, limits: &RequestLimits, trusted: &[IpNet]) {
        self.bounds
            .store(Arc::new(ConnectionBounds::new(limits, trusted)));
    }

    /// Returns a permit for a connection from this address, or `None` if a limit is reached.
    ///
    /// Above seven eighths of a limit, each new connection closes the connection that has been idle
    /// longest. So the limit is reached only if all connections are busy.
    pub(crate) fn enter(
        self: &Arc<Self>,
        peer: IpAddr,
        protocol: ClientProtocol,
    ) -> Option<ConnectionPermit> {
        let bounds = self.bounds.load();
        match self.try_enter(peer, protocol, &bounds) {
            Ok(permit) => Some(permit),
            Err(refused) => {
                let open = self.open.load(Ordering::Relaxed);
                let (counter, kind, key, open) = match refused {
                    NoPermit::Full => (&self.full, "full", "connections", bounds.connections),
                    NoPermit::NoMemory => (&self.full, "no_memory", "memory", open),
                    NoPermit::OneTooMany => (
                        &self.one_too_many,
                        "one_too_many",
                        "connections_per_client",
                        bounds.per_client,
                    ),
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if let Some(more) = self.log_limit.pass("connections", kind) {
                    log::warn!(
                        "a connection was refused: {open} are open, which is the limit \
                         `limits.{key}`{more}"
                    );
                }
                None
            }
        }
    }

    fn try_enter(
        self: &Arc<Self>,
        peer: IpAddr,
        protocol: ClientProtocol,
        bounds: &ConnectionBounds,
    ) -> Result<ConnectionPermit, NoPermit> {
        let client =
            Some(network(peer)).filter(|_| !is_trusted(peer.to_canonical(), &bounds.trusted));
        if let Some(client) = client {
            let mut open_per_client = self
                .open_per_client
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let count = open_per_client.entry(client).or_default();
            if *count >= bounds.per_client {
                return Err(NoPermit::OneTooMany);
            }
            *count += 1;
        }
        // From here on, dropping the permit releases its place, also when this function returns an error.
        let permit = ConnectionPermit {
            connection_limits: Arc::clone(self),
            client,
            protocol,
        };
        let open = self.open.fetch_add(1, Ordering::AcqRel) + 1;
        let held = self.held.fetch_add(protocol.memory(), Ordering::AcqRel) + protocol.memory();
        // Connections that are about to end count as free, each with the memory of an average
        // connection.
        let leaving = self.leaving.load(Ordering::Acquire).min(open);
        let (stay, kept) = (open - leaving, held - held / open * leaving);
        if stay > bounds.connections - bounds.connections / 8
            || kept > bounds.memory - bounds.memory / 8
        {
            self.make_room();
        }
        if open > bounds.connections {
            return Err(NoPermit::Full);
        }
        match held > bounds.memory {
            true => Err(NoPermit::NoMemory),
            false => Ok(permit),
        }
    }

    /// How long the head of a request may take.
    pub(crate) fn head(&self) -> Duration {
        self.bounds.load().head
    }

    /// Records that a connection ends because its client was too slow.
    pub(crate) fn too_slow(&self, step: SlowStep) {
        let (counter, reason) = match step {
            SlowStep::Head => (
                &self.slow_heads,
                "the head of its request did not arrive within `limits.head_timeout`",
            ),
            SlowStep::Handshake => (
                &self.slow_handshakes,
                "its TLS handshake took longer than a \
                minute",
            ),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.log_limit.pass("connections", step.kind()) {
            log::warn!("Hedgerow closed a client's connection: {reason}{more}");
        }
    }

    /// Closes the connection that has been idle longest.
    pub(crate) fn make_room(&self) {
        self.room.notify_one();
    }

    /// Waits until the calling connection has to close. A connection calls it while it waits for its next
    /// request.
    pub(crate) async fn asked_to_close(&self) {
        self.room.notified().await;
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks a connection that has to close and takes a while to do so. Until the returned guard is
    /// dropped, no other connection is closed in its stead.
    pub(crate) fn start_leaving(&self) -> LeavingConnection<'_> {
        self.leaving.fetch_add(1, Ordering::AcqRel);
        LeavingConnection(self)
    }

    pub(crate) fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: self.open.load(Ordering::Relaxed) as u64,
            limit: self.bounds.load().connections as u64,
            held: self.held.load(Ordering::Relaxed) as u64,
            held_limit: self.bounds.load().memory as u64,
            refused_full: self.full.load(Ordering::Relaxed),
            refused_for_one_client: self.one_too_many.load(Ordering::Relaxed),
            closed_for_room: self.closed.load(Ordering::Relaxed),
            slow_heads: self.slow_heads.load(Ordering::Relaxed),
            slow_handshakes: self.slow_handshakes.load(Ordering::Relaxed),
        }
    }
}

/// The guard of a connection that is closing to make room.
pub(crate) struct LeavingConnection<'l>(&'l ConnectionLimits);

impl Drop for LeavingConnection<'_> {
    fn drop(&mut self) {
        self.0.leaving.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connection_limits.open.fetch_sub(1, Ordering::AcqRel);
        let memory = self.protocol.memory();
        self.connection_limits
            .held
            .fetch_sub(memory, Ordering::AcqRel);
        let Some(client) = self.client else { return };
        let open_per_client = self.connection_limits.open_per_client.lock();
        let mut open_per_client = open_per_client.unwrap_or_else(PoisonError::into_inner);
        let left = open_per_client.get_mut(&client).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            open_per_client.remove(&client);
        }
    }
}

/// Returns the unit that counts as one client: an IPv4 address, or the first 64 bits of an IPv6 address,
/// because one customer of a network has at least a /64.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection_limits(
        limit: usize,
        per_client: usize,
        trusted: &[&str],
    ) -> Arc<ConnectionLimits> {
        let limits = RequestLimits {
            connections: limit,
            connections_per_client: per_client,
            ..RequestLimits::default()
        };
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        Arc::new(ConnectionLimits::new(&limits, &trusted, Arc::default()))
    }

    fn enter(connection_limits: &Arc<ConnectionLimits>, peer: IpAddr) -> Option<ConnectionPermit> {
        connection_limits.enter(peer, ClientProtocol::Http1)
    }

    #[tokio::test]
    async fn while_some_are_about_to_end_no_others_are_sent_away_in_their_stead() {
        let limits = connection_limits(16, 100, &[]);
        let peer = IpAddr::from([192, 0, 2, 1]);
        let mut permits: Vec<_> = (0..14).map(|_| enter(&limits, peer)).collect();
        let mut leaving = Vec::new();
        for _ in 0..100 {
            permits.extend([enter(&limits, peer)].into_iter().filter(Option::is_some));
            let sent = tokio::time::timeout(Duration::ZERO, limits.asked_to_close()).await;
            leaving.extend(sent.ok().map(|()| limits.start_leaving()));
        }
        assert_eq!(permits.len(), 16);
        // Two connections were opened above seven eighths of the limit, and one was refused.
        assert_eq!(leaving.len(), 3);
        permits.truncate(13);
        leaving.clear();
        permits.push(enter(&limits, peer));
        let sent = tokio::time::timeout(Duration::ZERO, limits.asked_to_close()).await;
        assert!(sent.is_err(), "there is room");
    }

    #[test]
    fn one_client_cannot_take_the_places_of_the_others() {
        let connection_limits = connection_limits(100, 3, &["10.0.0.0/8"]);
        for (address, also, others) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ] {
            let [address, also, others] = [address, also, others].map(|text| text.parse().unwrap());
            let permits: Vec<_> = (0..3)
                .map(|_| enter(&connection_limits, address).unwrap())
                .collect();
            assert!(
                enter(&connection_limits, address).is_none()
                    && enter(&connection_limits, also).is_none()
            );
            assert!(enter(&connection_limits, others).is_some());
            drop(permits);
            assert!(enter(&connection_limits, address).is_some());
        }
        let proxy = "10.1.2.3".parse().unwrap();
        let many: Vec<_> = (0..50)
            .map(|_| enter(&connection_limits, proxy).unwrap())
            .collect();
        assert_eq!(connection_limits.counts().open, 50);
        drop(many);
        let counts = connection_limits.counts();
        assert_eq!((counts.open, counts.refused_for_one_client), (0, 4));
        assert!(connection_limits.open_per_client.lock().unwrap().is_empty());
    }

    #[test]
    fn no_more_connections_are_open_than_the_limit() {
        let connection_limits = connection_limits(10, 100, &[]);
        let address = "192.0.2.1".parse().unwrap();
        let mut permits: Vec<_> = (0..10)
            .map(|_| enter(&connection_limits, address).unwrap())
            .collect();
        assert!(enter(&connection_limits, address).is_none());
        assert_eq!(connection_limits.counts().open, 10);
        permits.pop();
        assert!(enter(&connection_limits, address).is_some());
        assert_eq!(connection_limits.counts().refused_full, 1);
    }

    #[test]
    fn connections_hold_no_more_together_than_memory_allows() {
        let limits = RequestLimits {
            memory: 16 << 20,
            ..RequestLimits::default()
        };
        let connection_limits = Arc::new(ConnectionLimits::new(&limits, &[], Arc::default()));
        let address = "192.0.2.1".parse().unwrap();
        for (protocol, limit) in [
            (ClientProtocol::Http1, 2_048),
            (ClientProtocol::Http2, 512),
            (ClientProtocol::Http1OverTls, 819),
            (ClientProtocol::Http2OverTls, 341),
        ] {
            let enter = || connection_limits.enter(address, protocol);
            let mut permits: Vec<ConnectionPermit> =
                std::iter::from_fn(enter).take(3_000).collect();
            assert_eq!(permits.len(), limit, "{protocol:?}");
            // A handshake that ends in HTTP/1 leaves memory for others.
            if let Some(permit) = permits.last_mut() {
                permit.set_protocol(ClientProtocol::Http1);
            }
            let has_room = connection_limits
                .enter(address, ClientProtocol::Http1)
                .is_some();
            assert_eq!(has_room, protocol != ClientProtocol::Http1, "{protocol:?}");
        }
        assert_eq!(connection_limits.held.load(Ordering::Relaxed), 0);
    }
}
