//! Whether a server could start with a configuration, found out without listening, without opening
//! the spool, and while another process may be serving with it.

use std::net::{SocketAddr, TcpListener};

use crate::config::{Config, Spool, SpoolPlace};
use crate::delivery::{inspect_folder, SpoolError};

use crate::proxy::life::server::secure_origin;
use crate::proxy::listen::tls;
use crate::proxy::site::Site;
use crate::proxy::{check_authorities, BuildError, Hedgerow, ServerError};

/// What would become of a start.
#[derive(Debug, Default)]
pub struct Startable {
    /// Why it would fail; empty if it would not.
    pub refusals: Vec<ServerError>,
    /// What would be amiss all the same.
    pub warnings: Vec<String>,
}

/// Builds what [`Server::new`](crate::proxy::Server::new) builds, and lets it go. Reads the files that the
/// configuration names, and opens no connection.
pub fn check_server(mut config: Config) -> Startable {
    let mut found = Startable::default();
    if let Some(spool) = config.delivery.spool.take() {
        look(&spool, &mut found);
    }
    let addresses = config.listen.iter().map(|listener| listener.address);
    for address in addresses.chain(config.admin) {
        if let Err(source) = is_ours(address) {
            let refusal = ServerError::Listen { address, source };
            found.refusals.push(refusal);
        }
    }
    let pairs = config
        .listen
        .iter()
        .flat_map(|listener| listener.certificates());
    found
        .refusals
        .extend(pairs.filter_map(|tls| tls::acceptor(std::iter::once(tls)).err()));
    let authorities = secure_origin(&config).map(|origin| check_authorities(None, &origin));
    if let Some(Err(error)) = authorities {
        found.refusals.push(error.into());
    }
    let built = Hedgerow::new(config).and_then(Site::new);
    if let Err(error) = built {
        let error = ServerError::from(error);
        let told = |other: &ServerError| other.to_string() == error.to_string();
        if !found.refusals.iter().any(told) {
            found.refusals.push(error);
        }
    }
    found
}

/// A spool of a newer version keeps the process from starting; one that cannot be written now does
/// not, and its events get 503.
fn look(spool: &Spool, found: &mut Startable) {
    match &spool.place {
        SpoolPlace::Folder(folder) => match inspect_folder(folder) {
            Ok(_) => {}
            Err(error @ SpoolError::Format { .. }) => {
                found.refusals.push(BuildError::from(error).into());
            }
            Err(error) => found.warnings.push(error.to_string()),
        },
        #[cfg(feature = "nats")]
        SpoolPlace::Nats(nats) => {
            let server = nats.servers.first().map(ToString::to_string);
            let authorities = nats.ca_file.as_deref();
            let checked =
                authorities.map(|file| check_authorities(Some(file), &server.unwrap_or_default()));
            if let Some(Err(error)) = checked {
                found.refusals.push(error.into());
            }
        }
        #[cfg(not(feature = "nats"))]
        SpoolPlace::Nats(_) => {
            let error = SpoolError::NotBuiltIn("nats");
            found.refusals.push(BuildError::from(error).into());
        }
    }
}

/// Whether this machine has the address. The port may be taken: by the process that serves now.
fn is_ours(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind((address.ip(), 0)).map(drop)
}
