//! The three kinds of listeners: for clients, for the operator, and only for health.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora::proxy::HttpProxy;

use crate::config::Config;
use crate::handler::{Handler, Request, Response};

use crate::proxy::acme::CertificateManager;
use crate::proxy::handler_app::HandlerApp;
use crate::proxy::hedgerow::Hedgerow;
use crate::proxy::listen::accept_loop::ListenerOptions;
use crate::proxy::listen::direct::DirectIntake;
use crate::proxy::listen::drain::Drain;
use crate::proxy::listen::listener_group::{BoundSocket, ListenerGroup, ListenerPlan};
use crate::proxy::listen::tls;
use crate::proxy::server_error::ServerError;
use crate::proxy::site::Site;

/// The number of attempts to listen on an address, because another listener of this process may still be
/// closing there.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// All listeners of a server.
pub(crate) struct ListenerSet {
    pub(crate) site: Arc<ListenerGroup<HttpProxy<Site>>>,
    pub(crate) admin: Arc<ListenerGroup<HandlerApp>>,
    pub(crate) health: Arc<ListenerGroup<HandlerApp>>,
    acme: Arc<CertificateManager>,
}

/// The planned listeners.
pub(crate) struct Plans {
    site: ListenerPlan,
    admin: ListenerPlan,
    health: ListenerPlan,
}

impl ListenerSet {
    /// Returns a set of groups that have no listeners yet.
    pub(crate) fn new(app: HttpProxy<Site>, hedgerow: &Hedgerow, drain: &Arc<Drain>) -> Self {
        let long_lived = &hedgerow.shared.long_lived;
        let idle = long_lived.idle_seconds;
        let plain = |handler| {
            let group = ListenerGroup::new(HandlerApp::new(handler), Arc::clone(drain), idle);
            Arc::new(group)
        };
        let limits = Arc::clone(&long_lived.connection_limits);
        let direct = DirectIntake::new(hedgerow.clone());
        Self {
            site: Arc::new(
                ListenerGroup::new(app, Arc::clone(drain), idle)
                    .bounded(limits)
                    .directly(direct),
            ),
            admin: plain(Arc::new(AdminHandler(hedgerow.clone()))),
            health: plain(hedgerow.health()),
            acme: Arc::clone(&long_lived.acme),
        }
    }

    /// Prepares the listeners of a configuration.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on, or a certificate cannot be used. Nothing has changed
    /// then.
    pub(crate) fn plan(
        &self,
        config: &Config,
        mut open: impl FnMut(SocketAddr) -> io::Result<BoundSocket>,
    ) -> Result<Plans, ServerError> {
        let listeners = config.listen.iter().map(|listener| {
            let secured = listener.tls.is_some();
            let acceptor = secured.then(|| tls::acceptor(listener.certificates(), &self.acme));
            let options = ListenerOptions {
                listener: listener.clone(),
                tls: acceptor.transpose()?.map(Arc::new),
            };
            Ok((listener.address, options))
        });
        let listeners = listeners.collect::<Result<Vec<_>, ServerError>>()?;
        let without_tls = |address: Option<SocketAddr>| {
            let listeners = address.map(|address| (address, ListenerOptions::plain(address)));
            listeners.into_iter().collect()
        };
        Ok(Plans {
            site: self.site.plan(listeners, &mut open)?,
            admin: self.admin.plan(without_tls(config.admin), &mut open)?,
            health: self.health.plan(without_tls(config.health), &mut open)?,
        })
    }

    /// Does the same as `plan` while the server serves, and tries again if an address is in use.
    ///
    /// # Errors
    ///
    /// Those of [`plan`](Self::plan).
    pub(crate) fn plan_reload(&self, config: &Config) -> Result<Plans, ServerError> {
        self.plan(config, |address| {
            let mut tried = 0;
            loop {
                tried += 1;
                match BoundSocket::open(address) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && tried < TRIES => {
                        std::thread::sleep(PAUSE);
                    }
                    outcome => return outcome,
                }
            }
        })
    }

    /// Opens, keeps and closes listeners.
    ///
    /// # Errors
    ///
    /// When the system has no descriptor left.
    pub(crate) fn activate(&self, plans: Plans) -> io::Result<()> {
        self.site.activate(plans.site)?;
        self.admin.activate(plans.admin)?;
        self.health.activate(plans.health)
    }

    /// Returns a duplicate of every socket, for a successor.
    pub(crate) fn sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let mut sockets = self.site.sockets()?;
        sockets.extend(self.admin.sockets()?);
        sockets.extend(self.health.sockets()?);
        Ok(sockets)
    }
}

/// Serves the admin pages, while the configuration has them.
struct AdminHandler(Hedgerow);

impl Handler for AdminHandler {
    fn handle(&self, request: &Request) -> Response {
        match self.0.admin() {
            Some(admin) => admin.handle(request),
            None => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}
