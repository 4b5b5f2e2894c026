//! The connections to other hosts. Hosts that are verified with the same authorities share a pool.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{digest, SHA256};

use crate::posthog::{Host, Scheme};

use crate::proxy::build_error::{check_authorities, BuildError, NO_AUTHORITIES};
use crate::proxy::outbound::client::ConnectionPool;

/// The path of a file of authorities, and the hash of its content. Without a path: the machine's own
/// authorities, which a process reads once.
type Authorities = (Option<PathBuf>, Vec<u8>);

/// The pools of connections, by the authorities that verify their hosts.
#[derive(Default)]
pub(crate) struct ConnectionPools {
    /// The pools that the new configuration uses.
    current: HashMap<Authorities, Arc<ConnectionPool>>,
    /// The pools of the configuration before it.
    previous: HashMap<Authorities, Arc<ConnectionPool>>,
}

impl ConnectionPools {
    /// Creates the pools of the next configuration. Pools with the same authorities are reused; the others
    /// are closed when the last request that uses them has ended.
    pub(crate) fn after(previous: &Self) -> Self {
        Self {
            current: HashMap::new(),
            previous: previous.current.clone(),
        }
    }

    /// Drops the pools that the new configuration does not use.
    pub(crate) fn settled(mut self) -> Self {
        self.previous = HashMap::new();
        self
    }

    /// Returns the pool for a host: the same one for all hosts with the same authorities.
    ///
    /// # Errors
    ///
    /// If there are no authorities to verify the host with, or they cannot be read.
    pub(crate) fn of(
        &mut self,
        host: &Host,
        authorities: Option<&Path>,
    ) -> Result<Arc<ConnectionPool>, BuildError> {
        let file = match host.scheme() {
            Scheme::Http => Some(PathBuf::from(NO_AUTHORITIES)),
            Scheme::Https => authorities.map(Path::to_owned),
        };
        // A file that cannot be read is reported below.
        let content = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let hash = content.map_or_else(Vec::new, |content| {
            digest(&SHA256, &content).as_ref().to_vec()
        });
        let key = (file, hash);
        let known = self.current.get(&key).or_else(|| self.previous.get(&key));
        let connections = match known {
            Some(connections) => Arc::clone(connections),
            None => {
                // The framework panics if the authorities cannot be used, so they are checked first.
                check_authorities(key.0.as_deref(), &host.to_string())?;
                Arc::new(ConnectionPool::new(key.0.as_deref()))
            }
        };
        self.current.insert(key, Arc::clone(&connections));
        Ok(connections)
    }
}
