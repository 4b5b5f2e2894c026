//! Checks whether a server could start with a configuration. The check does not listen and does not open
//! the spool, and another process may be serving with the same configuration meanwhile.

use std::net::{SocketAddr, TcpListener};

use crate::config::{Config, SpoolConfig};

use crate::proxy::acme;
use crate::proxy::build_error::{check_authorities, BuildError};
use crate::proxy::hedgerow::Hedgerow;
use crate::proxy::lifecycle::server::secure_origin;
use crate::proxy::lifecycle::upgrade;
use crate::proxy::listen::tls;
use crate::proxy::server_error::ServerError;
use crate::proxy::site::Site;

/// How a start would end.
#[derive(Debug, Default)]
pub struct StartCheck {
    /// The reasons why the start would fail; empty if it would succeed.
    pub refusals: Vec<ServerError>,
    /// Problems that do not prevent a start.
    pub warnings: Vec<String>,
}

/// Builds what [`Server::new`](crate::proxy::Server::new) builds, and drops it. Reads the files that the
/// configuration names, and opens no connection.
pub fn check_server(mut config: Config) -> StartCheck {
    let mut found = StartCheck::default();
    if let Some(spool) = config.delivery.spool.take() {
        check_spool(&spool, &mut found);
    }
    let addresses = config.listen.iter().map(|listener| listener.address);
    for address in addresses.chain(config.admin).chain(config.health) {
        if let Err(source) = is_ours(address) {
            let refusal = ServerError::Listen { address, source };
            found.refusals.push(refusal);
        }
    }
    if let Some(path) = &config.server.upgrade_socket {
        if let Err(source) = upgrade::check(path) {
            found.refusals.push(ServerError::UpgradeSocket {
                path: path.clone(),
                source,
            });
        }
    }
    let listeners = || config.listen.iter();
    let pairs = listeners().flat_map(|listener| listener.certificate_files());
    found
        .refusals
        .extend(pairs.filter_map(|tls| tls::check(tls).err()));
    for settings in listeners().flat_map(|listener| listener.ordered_certificates()) {
        let authorities = settings.ca_file.as_ref().map(|file| file.path.as_path());
        if let Err(error) = check_authorities(authorities, &settings.directory) {
            found.refusals.push(error.into());
        }
        // A stored certificate is served anyway.
        if let Some(reason) = acme::unwritable(&settings.storage) {
            let (name, storage) = (settings.name(), settings.storage.display());
            found.warnings.push(format!(
                "tls.acme: the certificate for {name} cannot be stored in {storage} ({reason}), \
                 so Hedgerow orders none"
            ));
        }
    }
    let authorities = secure_origin(&config).map(|origin| check_authorities(None, &origin));
    if let Some(Err(error)) = authorities {
        found.refusals.push(error.into());
    }
    let built = Hedgerow::new(config).and_then(Site::new);
    if let Err(error) = built {
        let error = ServerError::from(error);
        let is_same = |other: &ServerError| other.to_string() == error.to_string();
        if !found.refusals.iter().any(is_same) {
            found.refusals.push(error);
        }
    }
    found
}

/// A spool of a newer version prevents a start. A spool that cannot be written now does not; its
/// events get 503.
fn check_spool(spool: &SpoolConfig, found: &mut StartCheck) {
    let backend = spool.place.backend();
    match backend.check() {
        Ok(()) => {}
        Err(error) if error.prevents_start() => {
            found.refusals.push(BuildError::from(error).into());
        }
        Err(error) => found.warnings.push(error.to_string()),
    }
    if let Some((file, server)) = backend.authorities() {
        if let Err(error) = check_authorities(Some(file), &server) {
            found.refusals.push(error.into());
        }
    }
}

/// Checks whether this machine has the address. The port is not checked: the process that serves now may
/// use it.
fn is_ours(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind((address.ip(), 0)).map(drop)
}
