//! How many connections clients may have: in all, and from one address, so that one client cannot
//! take the places of the others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use tokio::sync::Notify;

use crate::admin::ConnectionCounts;
use crate::config::Limits;

use super::client::is_trusted;
use super::gate::Gate;

/// Everybody's connections.
pub(super) struct Crowd {
    most: usize,
    most_of_one: usize,
    /// Whose connections are many clients'.
    trusted: Vec<IpNet>,
    here: AtomicUsize,
    of_one: Mutex<HashMap<IpAddr, usize>>,
    /// Wakes the connection that has waited longest for its next request: it ends.
    room: Notify,
    full: AtomicU64,
    one_too_many: AtomicU64,
    closed: AtomicU64,
    gate: Arc<Gate>,
}

/// One connection among the others; its place is free again when this goes.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    client: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Full,
    OneTooMany,
}

impl Crowd {
    pub(super) fn new(limits: &Limits, trusted: &[IpNet], gate: Arc<Gate>) -> Self {
        Self {
            most: limits.connections,
            most_of_one: limits.connections_per_client,
            trusted: trusted.to_vec(),
            here: AtomicUsize::new(0),
            of_one: Mutex::default(),
            room: Notify::new(),
            full: AtomicU64::new(0),
            one_too_many: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            gate,
        }
    }

    /// A place for a connection from this address; none when there are too many.
    ///
    /// From seven eighths of the bound on, each new one sends away the one that has been idle
    /// longest: so the bound itself is met only where all of them are busy.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        match self.try_enter(peer) {
            Ok(place) => Some(place),
            Err(refused) => {
                let (counter, kind, key, bound) = match refused {
                    Refused::Full => (&self.full, "full", "connections", self.most),
                    Refused::OneTooMany => (
                        &self.one_too_many,
                        "one_too_many",
                        "connections_per_client",
                        self.most_of_one,
                    ),
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if let Some(more) = self.gate.pass("connections", kind) {
                    log::warn!(
                        "a connection was refused: {bound} are open, and `limits.{key}` is the \
                         bound{more}"
                    );
                }
                None
            }
        }
    }

    fn try_enter(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Refused> {
        let client =
            Some(network(peer)).filter(|_| !is_trusted(peer.to_canonical(), &self.trusted));
        if let Some(client) = client {
            let mut of_one = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
            let count = of_one.entry(client).or_default();
            if *count >= self.most_of_one {
                return Err(Refused::OneTooMany);
            }
            *count += 1;
        }
        // Counted from here on, whatever comes.
        let place = Place {
            crowd: Arc::clone(self),
            client,
        };
        let here = self.here.fetch_add(1, Ordering::AcqRel) + 1;
        if here > self.most - self.most / 8 {
            self.make_room();
        }
        match here > self.most {
            true => Err(Refused::Full),
            false => Ok(place),
        }
    }

    /// Sends the connection away that has been idle longest.
    pub(super) fn make_room(&self) {
        self.room.notify_one();
    }

    /// For a connection that waits for its next request: returns when it is to go.
    pub(super) async fn sent_away(&self) {
        self.room.notified().await;
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: self.here.load(Ordering::Relaxed) as u64,
            limit: self.most as u64,
            refused_full: self.full.load(Ordering::Relaxed),
            refused_for_one_client: self.one_too_many.load(Ordering::Relaxed),
            closed_for_room: self.closed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.here.fetch_sub(1, Ordering::AcqRel);
        let Some(client) = self.client else { return };
        let of_one = self.crowd.of_one.lock();
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
fn network(peer: IpAddr) -> IpAddr {
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

    fn crowd(most: usize, of_one: usize, trusted: &[&str]) -> Arc<Crowd> {
        let limits = Limits {
            connections: most,
            connections_per_client: of_one,
            ..Limits::default()
        };
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        Arc::new(Crowd::new(&limits, &trusted, Arc::default()))
    }

    #[test]
    fn one_client_cannot_take_the_places_of_the_others() {
        let crowd = crowd(100, 3, &["10.0.0.0/8"]);
        for (address, also, others) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ] {
            let [address, also, others] = [address, also, others].map(|text| text.parse().unwrap());
            let places: Vec<_> = (0..3).map(|_| crowd.enter(address).unwrap()).collect();
            assert!(crowd.enter(address).is_none() && crowd.enter(also).is_none());
            assert!(crowd.enter(others).is_some());
            drop(places);
            assert!(crowd.enter(address).is_some());
        }
        let proxy = "10.1.2.3".parse().unwrap();
        let many: Vec<_> = (0..50).map(|_| crowd.enter(proxy).unwrap()).collect();
        assert_eq!(crowd.counts().open, 50);
        drop(many);
        let counts = crowd.counts();
        assert_eq!((counts.open, counts.refused_for_one_client), (0, 4));
        assert!(crowd.of_one.lock().unwrap().is_empty());
    }

    #[test]
    fn no_more_connections_are_open_than_the_bound_says() {
        let crowd = crowd(10, 100, &[]);
        let address = "192.0.2.1".parse().unwrap();
        let mut places: Vec<_> = (0..10).map(|_| crowd.enter(address).unwrap()).collect();
        assert!(crowd.enter(address).is_none());
        assert_eq!(crowd.counts().open, 10);
        places.pop();
        assert!(crowd.enter(address).is_some());
        assert_eq!(crowd.counts().refused_full, 1);
    }
}
