//! How many connections clients may have: in all, and from one address, so that one client cannot
//! take the places of the others; and how long one may take to begin.

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
    here: AtomicUsize,
    of_one: Mutex<HashMap<IpAddr, usize>>,
    /// Wakes the connection that has waited longest for its next request: it ends.
    room: Notify,
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
    most: usize,
    most_of_one: usize,
    /// Proxies, whose connections come from many clients.
    trusted: Vec<IpNet>,
    /// How long the head of a request may take.
    head: Duration,
}

impl ConnectionBounds {
    fn new(limits: &RequestLimits, trusted: &[IpNet]) -> Self {
        Self {
            most: limits.connections,
            most_of_one: limits.connections_per_client,
            trusted: trusted.to_vec(),
            head: limits.head_timeout,
        }
    }
}

/// The permit of one connection; its place is free again when this is dropped.
pub(crate) struct ConnectionPermit {
    connection_limits: Arc<ConnectionLimits>,
    client: Option<IpAddr>,
}

/// What a client took too long for before its first request was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    /// The head of a request, or the first bytes of HTTP/2.
    Head,
    /// The handshake of TLS.
    Handshake,
}

/// Why a connection gets no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoPermit {
    Full,
    OneTooMany,
}

impl Slow {
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
            here: AtomicUsize::new(0),
            of_one: Mutex::default(),
            room: Notify::new(),
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

    /// A permit for a connection from this address; none if there are too many.
    ///
    /// Above seven eighths of the limit, each new connection closes the one that has been idle longest,
    /// so that the limit is reached only if all of them are busy.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionPermit> {
        let bounds = self.bounds.load();
        match self.try_enter(peer, &bounds) {
            Ok(place) => Some(place),
            Err(refused) => {
                let (counter, kind, key, bound) = match refused {
                    NoPermit::Full => (&self.full, "full", "connections", bounds.most),
                    NoPermit::OneTooMany => (
                        &self.one_too_many,
                        "one_too_many",
                        "connections_per_client",
                        bounds.most_of_one,
                    ),
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if let Some(more) = self.log_limit.pass("connections", kind) {
                    log::warn!(
                        "a connection was refused: {bound} are open, and `limits.{key}` is the \
                         bound{more}"
                    );
                }
                None
            }
        }
    }

    fn try_enter(
        self: &Arc<Self>,
        peer: IpAddr,
        bounds: &ConnectionBounds,
    ) -> Result<ConnectionPermit, NoPermit> {
        let client =
            Some(network(peer)).filter(|_| !is_trusted(peer.to_canonical(), &bounds.trusted));
        if let Some(client) = client {
            let mut of_one = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
            let count = of_one.entry(client).or_default();
            if *count >= bounds.most_of_one {
                return Err(NoPermit::OneTooMany);
            }
            *count += 1;
        }
        // From here on the permit counts, and gives its place back when it is dropped.
        let place = ConnectionPermit {
            connection_limits: Arc::clone(self),
            client,
        };
        let here = self.here.fetch_add(1, Ordering::AcqRel) + 1;
        if here > bounds.most - bounds.most / 8 {
            self.make_room();
        }
        match here > bounds.most {
            true => Err(NoPermit::Full),
            false => Ok(place),
        }
    }

    /// How long the head of a request may take.
    pub(crate) fn head(&self) -> Duration {
        self.bounds.load().head
    }

    /// Notes a client whose connection ends because it was too slow.
    pub(crate) fn too_slow(&self, slow: Slow) {
        let (counter, words) = match slow {
            Slow::Head => (
                &self.slow_heads,
                "the head of its request did not come within `limits.head_timeout`",
            ),
            Slow::Handshake => (&self.slow_handshakes, "its TLS handshake took a minute"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.log_limit.pass("connections", slow.kind()) {
            log::warn!("a client's connection was ended: {words}{more}");
        }
    }

    /// Closes the connection that has been idle longest.
    pub(crate) fn make_room(&self) {
        self.room.notify_one();
    }

    /// For a connection that waits for its next request: returns when it has to close.
    pub(crate) async fn sent_away(&self) {
        self.room.notified().await;
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: self.here.load(Ordering::Relaxed) as u64,
            limit: self.bounds.load().most as u64,
            refused_full: self.full.load(Ordering::Relaxed),
            refused_for_one_client: self.one_too_many.load(Ordering::Relaxed),
            closed_for_room: self.closed.load(Ordering::Relaxed),
            slow_heads: self.slow_heads.load(Ordering::Relaxed),
            slow_handshakes: self.slow_handshakes.load(Ordering::Relaxed),
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connection_limits.here.fetch_sub(1, Ordering::AcqRel);
        let Some(client) = self.client else { return };
        let of_one = self.connection_limits.of_one.lock();
        let mut of_one = of_one.unwrap_or_else(PoisonError::into_inner);
        let left = of_one.get_mut(&client).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            of_one.remove(&client);
        }
    }
}

/// What counts as one client: an IPv4 address, or the 64 bits that one customer of a network has of
/// an IPv6 address at least.
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

    fn connection_limits(most: usize, of_one: usize, trusted: &[&str]) -> Arc<ConnectionLimits> {
        let limits = RequestLimits {
            connections: most,
            connections_per_client: of_one,
            ..RequestLimits::default()
        };
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        Arc::new(ConnectionLimits::new(&limits, &trusted, Arc::default()))
    }

    #[test]
    fn one_client_cannot_take_the_places_of_the_others() {
        let connection_limits = connection_limits(100, 3, &["10.0.0.0/8"]);
        for (address, also, others) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ] {
            let [address, also, others] = [address, also, others].map(|text| text.parse().unwrap());
            let places: Vec<_> = (0..3)
                .map(|_| connection_limits.enter(address).unwrap())
                .collect();
            assert!(
                connection_limits.enter(address).is_none()
                    && connection_limits.enter(also).is_none()
            );
            assert!(connection_limits.enter(others).is_some());
            drop(places);
            assert!(connection_limits.enter(address).is_some());
        }
        let proxy = "10.1.2.3".parse().unwrap();
        let many: Vec<_> = (0..50)
            .map(|_| connection_limits.enter(proxy).unwrap())
            .collect();
        assert_eq!(connection_limits.counts().open, 50);
        drop(many);
        let counts = connection_limits.counts();
        assert_eq!((counts.open, counts.refused_for_one_client), (0, 4));
        assert!(connection_limits.of_one.lock().unwrap().is_empty());
    }

    #[test]
    fn no_more_connections_are_open_than_the_bound_says() {
        let connection_limits = connection_limits(10, 100, &[]);
        let address = "192.0.2.1".parse().unwrap();
        let mut places: Vec<_> = (0..10)
            .map(|_| connection_limits.enter(address).unwrap())
            .collect();
        assert!(connection_limits.enter(address).is_none());
        assert_eq!(connection_limits.counts().open, 10);
        places.pop();
        assert!(connection_limits.enter(address).is_some());
        assert_eq!(connection_limits.counts().refused_full, 1);
    }
}
