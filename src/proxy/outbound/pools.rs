//! The connections to hosts outside, shared by those that are verified with the same authorities.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest::{digest, SHA256};

use crate::posthog::{Host, Scheme};

use crate::proxy::build_error::{check_authorities, BuildError, NO_AUTHORITIES};
use crate::proxy::outbound::client::ConnectionPool;

/// A file of authorities and the hash of its content; without a file the machine's own authorities,
/// which a process reads once.
type Authorities = (Option<PathBuf>, Vec<u8>);

/// Connections by the authorities that their hosts are verified with.
#[derive(Default)]
pub(crate) struct ConnectionPools {
    now: HashMap<Authorities, Arc<ConnectionPool>>,
    before: HashMap<Authorities, Arc<ConnectionPool>>,
}

impl ConnectionPools {
    /// The connections of the next configuration: those with the same authorities stay, and the
    /// others close when the last request that uses them has ended.
    pub(crate) fn after(before: &Self) -> Self {
        Self {
            now: HashMap::new(),
            before: before.now.clone(),
        }
    }

    /// Drops connections that no configuration uses any more.
    pub(crate) fn settled(mut self) -> Self {
        self.before = HashMap::new();
        self
    }

    /// The same connections for all hosts with the same authorities.
    ///
    /// # Errors
    ///
    /// When there are no authorities to verify the host with.
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
        let held = file.as_ref().and_then(|file| std::fs::read(file).ok());
        let mark = held.map_or_else(Vec::new, |held| digest(&SHA256, &held).as_ref().to_vec());
        let key = (file, mark);
        let known = self.now.get(&key).or_else(|| self.before.get(&key));
        let connections = match known {
            Some(connections) => Arc::clone(connections),
            None => {
                // The framework panics on what this checks first.
                check_authorities(key.0.as_deref(), &host.to_string())?;
                Arc::new(ConnectionPool::new(key.0.as_deref()))
            }
        };
        self.now.insert(key, Arc::clone(&connections));
        Ok(connections)
    }
}
