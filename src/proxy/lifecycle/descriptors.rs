//! Allows enough file descriptors for the connections that the configuration allows.

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

/// The number of descriptors for everything except client connections: connections to PostHog,
/// files.
const OTHERS: u64 = 512;

/// Raises the limit on descriptors as far as this process may, and logs if it is too low for this many
/// client connections. It never lowers the limit.
pub fn allow_descriptors(connections: usize) {
    let wanted = connections as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit {
        current: Some(allowed),
        maximum,
    };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => allowed,
        Err(_) => current.unwrap_or_default(),
    };
    if allowed < wanted {
        log::warn!(
            "{allowed} descriptors are allowed, which is too few for {connections} connections \
             (`limits.connections`); raise LimitNOFILE or `ulimit -n` to {wanted}"
        );
    }
}
