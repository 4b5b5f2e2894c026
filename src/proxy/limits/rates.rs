//! How many requests a second one client and one write key may make.
//!
//! Counts are estimates in a table of fixed size: two clients count as one only if all four of their
//! hashes collide (pingora 6). So among very many clients one may be limited before it reaches its limit,
//! and none exceeds its limit.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use pingora_limits::rate::Rate;

use crate::config::Config;
use crate::segment::WriteKey;

use crate::proxy::client::is_trusted;
use crate::proxy::limits::connection_limits::network;

/// The interval in which requests are counted. A client that waits a second, as the 429 asks, starts with
/// a new count.
const INTERVAL: Duration = Duration::from_secs(1);
/// `Retry-After` of a 429, in seconds.
pub(crate) const RETRY_AFTER: u32 = 1;

/// The requests of the current interval.
#[derive(Default)]
pub(crate) struct Rates {
    by_client: OnceLock<Rate>,
    by_key: OnceLock<Rate>,
}

/// Whether a request is within its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateDecision {
    Within,
    TooFast,
}

impl Rates {
    /// Counts a request of this client. The requests of `trusted_proxies` are those of many clients, and
    /// have no limit.
    pub(crate) fn of_client(&self, config: &Config, client: Option<IpAddr>) -> RateDecision {
        let (Some(limit), Some(client)) = (config.limits.requests_per_client, client) else {
            return RateDecision::Within;
        };
        if is_trusted(client.to_canonical(), &config.trusted_proxies) {
            return RateDecision::Within;
        }
        count(&self.by_client, &network(client), limit)
    }

    /// Counts a request with this write key.
    pub(crate) fn of_key(&self, config: &Config, key: &WriteKey) -> RateDecision {
        let Some(limit) = config.limits.requests_per_key else {
            return RateDecision::Within;
        };
        count(&self.by_key, &key.expose(), limit)
    }
}

fn count<T: std::hash::Hash>(rate: &OnceLock<Rate>, of: &T, limit: usize) -> RateDecision {
    let rate = rate.get_or_init(|| Rate::new(INTERVAL));
    let now = usize::try_from(rate.observe(of, 1)).unwrap_or_default();
    match now > limit {
        true => RateDecision::TooFast,
        false => RateDecision::Within,
    }
}
