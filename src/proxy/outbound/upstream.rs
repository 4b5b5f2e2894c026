//! The addresses of an upstream, which are resolved in the background, and how to connect to it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use pingora::protocols::l4::ext::TcpKeepalive;
use pingora::upstreams::peer::HttpPeer;

use crate::config::UpstreamHttp;
use crate::posthog::{Host, Scheme};

use crate::proxy::outbound::keepalive::{KeepAlive, Pooling, Repeat};

/// The age from which known addresses are looked up again if no connection to any of them succeeds.
const DOUBTFUL: Duration = Duration::from_secs(5);
/// How long the answer of a name server is used before a new one is fetched in the background.
const FRESH: Duration = Duration::from_secs(30);
/// If the last lookup is older than this, for example after an idle night, a request waits for a new one.
const STALE: Duration = Duration::from_secs(300);
/// A name that could not be resolved is not looked up again within this time.
const PAUSE: Duration = Duration::from_secs(1);
/// An address that refused a connection is avoided for this time while there are others.
const AVOID: Duration = Duration::from_secs(30);
/// How long a connection stays idle in a pool: less than the 60 seconds after which common load balancers
/// close an idle connection.
pub(crate) const IDLE: Duration = Duration::from_secs(40);

/// The bit that marks the group key of a connection that no other request may use.
const ALONE: u64 = 1 << 63;

/// How long the upstreams of proxied requests may take to answer. The framework counts the time in which
/// the client is still uploading too (pingora 2.4), so this must be as long as the slowest upload.
pub(crate) const SITE_TIMEOUT: Duration = Duration::from_secs(300);

/// The timeouts of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// For TCP and TLS together.
    pub(crate) connect: Duration,
    /// For each read and each write.
    pub(crate) exchange: Duration,
}

/// A host to which requests are sent.
#[derive(Debug)]
pub(crate) struct UpstreamHost {
    host: Host,
    http: UpstreamHttp,
    timeouts: Timeouts,
    names: HostNames,
    next: AtomicUsize,
    keepalive: KeepAlive,
}

#[derive(Debug)]
enum HostNames {
    Literal(Arc<Addresses>),
    Resolved(Arc<Resolver>),
}

/// The addresses of a host, and until when each is avoided because a connection to it failed.
#[derive(Debug)]
pub(crate) struct Addresses {
    list: Vec<ResolvedAddress>,
    since: Instant,
    fresh_for: Duration,
}

#[derive(Debug)]
struct ResolvedAddress {
    socket: SocketAddr,
    /// The end of the time in which this address is avoided, in milliseconds after `Addresses::since`.
    avoid_until: AtomicU64,
}

/// Why a name has no known address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// The name has no address, or the name server gave no answer in time.
    NoAddress,
    /// The system starts no thread, and every lookup needs one.
    NoThread,
}

impl UpstreamHost {
    pub(crate) fn new(host: &Host, http: UpstreamHttp, timeouts: Timeouts) -> Self {
        let names = match host.address() {
            Some(address) => HostNames::Literal(Arc::new(Addresses::new(
                vec![SocketAddr::new(address, host.port())],
                FRESH,
            ))),
            None => HostNames::Resolved(Arc::new(Resolver::new(host))),
        };
        Self {
            host: host.clone(),
            http,
            timeouts,
            names,
            next: AtomicUsize::new(0),
            keepalive: KeepAlive::fixed(IDLE),
        }
    }

    /// Replaces the rule for idle connections.
    pub(crate) fn with_keepalive(self, keepalive: KeepAlive) -> Self {
        Self { keepalive, ..self }
    }

    /// Returns the number of lookups of the host's name that returned addresses, and the number of those
    /// that returned none.
    pub(crate) fn lookups(&self) -> (u64, u64) {
        match &self.names {
            HostNames::Literal(_) => (0, 0),
            HostNames::Resolved(resolver) => (
                resolver.resolved.load(Ordering::Relaxed),
                resolver.unresolved.load(Ordering::Relaxed),
            ),
        }
    }

    /// Returns the rule for idle connections.
    pub(crate) fn keepalive(&self) -> &KeepAlive {
        &self.keepalive
    }

    /// Returns the target of connections: scheme, name and port. Two upstreams with the same target may
    /// share connections.
    pub(crate) fn identity(&self) -> String {
        let scheme = match self.host.scheme() {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://{}", self.host.authority())
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Returns the current addresses. Waits only if none are known or if they are very old. A lookup takes
    /// no longer than the connect timeout.
    pub(crate) async fn addresses(&self) -> Result<Arc<Addresses>, Unresolved> {
        match &self.names {
            HostNames::Literal(addresses) => Ok(Arc::clone(addresses)),
            HostNames::Resolved(resolver) => resolver.addresses(self.timeouts.connect).await,
        }
    }

    /// Returns the next address in turn that is not in `tried` and has not failed recently. If all of them
    /// have failed recently, returns the next one in turn. Returns `None` if all were tried.
    pub(crate) fn pick(&self, addresses: &Addresses, tried: &[SocketAddr]) -> Option<SocketAddr> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = addresses.list.split_at(turn % addresses.list.len().max(1));
        let mut left = after
            .iter()
            .chain(before)
            .filter(|address| !tried.contains(&address.socket));
        let now = addresses.since.elapsed().as_millis() as u64;
        let first = left.clone().next()?;
        Some(
            left.find(|address| address.avoid_until.load(Ordering::Relaxed) <= now)
                .unwrap_or(first)
                .socket,
        )
    }

    /// Returns how to connect to one of the addresses: name and verification, timeouts, HTTP version.
    pub(crate) fn peer(&self, address: SocketAddr) -> HttpPeer {
        let tls = self.host.scheme() == Scheme::Https;
        // The server name is the host's and never empty: an empty one turns verification off
        // (pingora 4.2). A literal address is verified as an address.
        let mut peer = HttpPeer::new(address, tls, self.host.name().to_owned());
        let options = &mut peer.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.read_timeout = Some(self.timeouts.exchange);
        options.write_timeout = Some(self.timeouts.exchange);
        options.idle_timeout = Some(IDLE);
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            count: 3,
            user_timeout: Duration::ZERO,
        });
        match self.http {
            // Without TLS there is no negotiation, so HTTP/2 has to be configured.
            UpstreamHttp::Auto if tls => options.set_http_version(2, 1),
            UpstreamHttp::Auto | UpstreamHttp::Http1 => options.set_http_version(1, 1),
            UpstreamHttp::Http2 => options.set_http_version(2, 2),
        }
        // With the default of one stream, each request would need its own connection.
        options.max_h2_streams = 100;
        // The ping finds a dead connection before the next batch needs it.
        options.h2_ping_interval = Some(Duration::from_secs(15));
        peer
    }

    /// Returns how to connect for one request. It uses a pooled connection only if that is safe.
    pub(crate) fn peer_for(&self, address: SocketAddr, repeat: Repeat) -> HttpPeer {
        let mut peer = self.peer(address);
        // The framework does not share connections between groups, so a request under a new idle time does
        // not use a connection that was pooled under an older one.
        match self.keepalive.pooling(repeat) {
            Pooling::Shared(idle) => {
                peer.options.idle_timeout = Some(idle);
                peer.group_key = idle.as_millis() as u64;
            }
            Pooling::Alone => {
                peer.options.idle_timeout = Some(Duration::ZERO);
                peer.group_key = ALONE | crate::proxy::random::random_bits() as u64;
            }
        }
        peer
    }
}

impl Addresses {
    fn new(sockets: Vec<SocketAddr>, fresh_for: Duration) -> Self {
        let list = sockets
            .into_iter()
            .map(|socket| ResolvedAddress {
                socket,
                avoid_until: AtomicU64::new(0),
            })
            .collect();
        Self {
            list,
            since: Instant::now(),
            fresh_for,
        }
    }

    /// Returns every known address.
    pub(crate) fn all(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.list.iter().map(|address| address.socket)
    }

    /// Returns whether connections to all of them failed recently. The name may then have other addresses
    /// by now.
    fn has_no_reachable_address(&self) -> bool {
        let now = self.since.elapsed().as_millis() as u64;
        let avoided = |address: &ResolvedAddress| address.avoid_until.load(Ordering::Relaxed) > now;
        self.list.iter().all(avoided)
    }

    /// Records that a connection to this address failed, so that it is avoided for some time.
    pub(crate) fn avoid(&self, socket: SocketAddr) {
        let until = (self.since.elapsed() + AVOID).as_millis() as u64;
        for address in self.list.iter().filter(|address| address.socket == socket) {
            address.avoid_until.store(until, Ordering::Relaxed);
        }
    }
}

/// Looks up a name and stores the last good answer.
///
/// No separate task has to be started and stopped with the host proxy: the first request after the answer
/// has become too old starts the next lookup, and uses the old answer.
#[derive(Debug)]
struct Resolver {
    name: String,
    port: u16,
    known: ArcSwapOption<Addresses>,
    refreshing: AtomicBool,
    /// When the last lookup failed, and why. Locked while a request waits for a lookup.
    last_failure: tokio::sync::Mutex<Option<(Instant, Unresolved)>>,
    resolved: AtomicU64,
    unresolved: AtomicU64,
}

impl Resolver {
    fn new(host: &Host) -> Self {
        Self {
            name: host.name().to_owned(),
            port: host.port(),
            known: ArcSwapOption::empty(),
            refreshing: AtomicBool::new(false),
            last_failure: tokio::sync::Mutex::new(None),
            resolved: AtomicU64::new(0),
            unresolved: AtomicU64::new(0),
        }
    }

    async fn addresses(self: &Arc<Self>, timeout: Duration) -> Result<Arc<Addresses>, Unresolved> {
        if let Some(known) = self.known.load_full() {
            let age = known.since.elapsed();
            if age < known.fresh_for && !(age > DOUBTFUL && known.has_no_reachable_address()) {
                return Ok(known);
            }
            if age < STALE {
                self.refresh_in_background(timeout);
                return Ok(known);
            }
        }
        // Boxed, because the name is nearly always known.
        Box::pin(self.wait(timeout)).await
    }

    fn refresh_in_background(self: &Arc<Self>, timeout: Duration) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let resolver = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(unresolved) = resolver.look_up(timeout).await {
                log::warn!(
                    "the name {} cannot be resolved at the moment{}; its last known addresses stay \
                     in use",
                    resolver.name,
                    match unresolved {
                        Unresolved::NoAddress => "",
                        Unresolved::NoThread => ", because the system starts no more threads",
                    }
                );
                // The old addresses are stored as a new answer, so that the next lookup starts only when
                // that one has become too old.
                if let Some(known) = resolver.known.load_full() {
                    let sockets = known.list.iter().map(|address| address.socket).collect();
                    resolver
                        .known
                        .store(Some(Arc::new(Addresses::new(sockets, fresh_for()))));
                }
            }
            resolver.refreshing.store(false, Ordering::Release);
        });
    }

    /// Waits for a lookup. Only one runs at a time; requests that arrive meanwhile share its result.
    async fn wait(&self, timeout: Duration) -> Result<Arc<Addresses>, Unresolved> {
        let mut failure = self.last_failure.lock().await;
        let known = self.known.load_full();
        if let Some(known) = &known {
            if known.since.elapsed() < STALE {
                return Ok(Arc::clone(known));
            }
        }
        if let Some((_, unresolved)) = failure.filter(|(at, _)| at.elapsed() < PAUSE) {
            return known.ok_or(unresolved);
        }
        match self.look_up(timeout).await {
            Ok(addresses) => {
                *failure = None;
                Ok(addresses)
            }
            Err(unresolved) => {
                *failure = Some((Instant::now(), unresolved));
                known.ok_or(unresolved)
            }
        }
    }

    async fn look_up(&self, timeout: Duration) -> Result<Arc<Addresses>, Unresolved> {
        let (name, port) = (self.name.clone(), self.port);
        let lookup = hedgerow_spool::run_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs();
            found.map_or_else(|_| Vec::new(), Iterator::collect)
        });
        let sockets: Result<Vec<SocketAddr>, Unresolved> =
            match tokio::time::timeout(timeout, lookup).await {
                Ok(Ok(sockets)) if !sockets.is_empty() => Ok(sockets),
                Ok(Err(_)) => Err(Unresolved::NoThread),
                Ok(Ok(_)) | Err(_) => Err(Unresolved::NoAddress),
            };
        let sockets = sockets.inspect_err(|_| {
            self.unresolved.fetch_add(1, Ordering::Relaxed);
        })?;
        self.resolved.fetch_add(1, Ordering::Relaxed);
        let addresses = Arc::new(Addresses::new(sockets, fresh_for()));
        self.known.store(Some(Arc::clone(&addresses)));
        Ok(addresses)
    }
}

/// Returns `FRESH` plus a random time of up to 8.2 seconds, so that many processes do not look up at the
/// same moment.
fn fresh_for() -> Duration {
    let jitter = crate::proxy::random::random_bits() % 8192;
    FRESH + Duration::from_millis(jitter as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(host: &str) -> UpstreamHost {
        let timeouts = Timeouts {
            connect: Duration::from_secs(2),
            exchange: Duration::from_secs(5),
        };
        UpstreamHost::new(&host.parse().unwrap(), UpstreamHttp::Auto, timeouts)
    }

    fn addresses(list: &[&str]) -> Addresses {
        Addresses::new(
            list.iter().map(|text| text.parse().unwrap()).collect(),
            FRESH,
        )
    }

    #[test]
    fn addresses_take_turns_and_failed_ones_wait() {
        let upstream = upstream("https://ph.example.com");
        let known = addresses(&["192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"]);
        let turn = |tried: &[SocketAddr]| upstream.pick(&known, tried).map(|at| at.to_string());
        let first_round: Vec<_> = (0..3).filter_map(|_| turn(&[])).collect();
        assert_eq!(
            first_round,
            ["192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"]
        );
        known.avoid("192.0.2.1:443".parse().unwrap());
        for _ in 0..6 {
            assert_ne!(turn(&[]).as_deref(), Some("192.0.2.1:443"));
        }
        let tried = [
            "192.0.2.2:443".parse().unwrap(),
            "192.0.2.3:443".parse().unwrap(),
        ];
        assert_eq!(turn(&tried).as_deref(), Some("192.0.2.1:443"));
        let all: Vec<SocketAddr> = known.list.iter().map(|address| address.socket).collect();
        assert_eq!(turn(&all), None);
    }

    #[test]
    fn a_peer_has_a_server_name_and_every_timeout() {
        for (host, name) in [
            ("us", "us.i.posthog.com"),
            ("https://192.0.2.1:8443", "192.0.2.1"),
            ("https://[2001:db8::1]", "2001:db8::1"),
        ] {
            let peer = upstream(host).peer("192.0.2.1:443".parse().unwrap());
            assert_eq!(peer.sni, name);
            assert!(peer.is_tls());
            assert!(peer.options.verify_cert && peer.options.verify_hostname);
            for timeout in [
                peer.options.connection_timeout,
                peer.options.total_connection_timeout,
                peer.options.read_timeout,
                peer.options.write_timeout,
                peer.options.idle_timeout,
            ] {
                assert!(
                    timeout.is_some_and(|timeout| timeout > Duration::ZERO),
                    "{host}"
                );
            }
        }
    }

    #[tokio::test]
    async fn names_are_resolved_and_unknown_ones_are_reported() {
        let local = upstream("http://localhost:8000");
        let known = local.addresses().await.unwrap();
        assert!(known
            .list
            .iter()
            .all(|address| address.socket.ip().is_loopback()));
        // Every resolver refuses a label over 63 bytes without a request over the network.
        let long = upstream(&format!("http://{}.invalid", "a".repeat(64)));
        assert_eq!(long.addresses().await.err(), Some(Unresolved::NoAddress));
        assert_eq!(long.addresses().await.err(), Some(Unresolved::NoAddress));
    }

    #[tokio::test]
    async fn the_last_good_addresses_stay_when_the_name_server_is_away() {
        let long = upstream(&format!("http://{}.invalid", "a".repeat(64)));
        let HostNames::Resolved(resolver) = &long.names else {
            panic!("a name was taken for an address");
        };
        let aged = Addresses::new(vec!["192.0.2.9:80".parse().unwrap()], Duration::ZERO);
        resolver.known.store(Some(Arc::new(aged)));
        for _ in 0..3 {
            let known = long.addresses().await.unwrap();
            assert_eq!(known.list[0].socket.to_string(), "192.0.2.9:80");
            tokio::task::yield_now().await;
        }
    }
}
