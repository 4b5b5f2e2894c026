//! Descriptors for the connections that the configuration allows.

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

/// Descriptors for anything but clients' connections: connections to PostHog, files.
const OTHERS: u64 = 512;

/// Raises the bound on descriptors as far as this process may, and says when it is not enough for
/// so many connections of clients. It is never lowered.
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
