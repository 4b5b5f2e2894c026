//! From a checked configuration to one at work; after a reload with all that stays the same.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::admin::{Requests, Takes};
use crate::config::{Action, Config, Forward, RouteTable, Sessions};
use crate::rewrite::enrich::edge_session::SECRET_BYTES;
use crate::rewrite::Rewriter;

use crate::proxy::acme::Acme;
use crate::proxy::first_party::files::Files;
use crate::proxy::first_party::posthog::Passed;
use crate::proxy::intake::account::{Account, Accounts};
use crate::proxy::intake::group::Gathering;
use crate::proxy::life::process;
use crate::proxy::life::reload::Reloads;
use crate::proxy::limits::budget::Budget;
use crate::proxy::limits::connection_limits::ConnectionLimits;
use crate::proxy::limits::rates::Rates;
use crate::proxy::operator::admin::AdminPages;
use crate::proxy::operator::log_limit::LogLimit;
use crate::proxy::operator::watcher::{Counters, Observer};
use crate::proxy::outbound::culprits::Cautions;
use crate::proxy::outbound::pools::Pools;
use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::upstream::Timeouts;
use crate::proxy::spool::backlog::Backlog;
use crate::proxy::{BuildError, Clock, Destinations, Hedgerow, Inner, Shared};

/// What outlives a configuration: the spool, counters, and what clients have taken.
pub(crate) struct Lasting {
    /// Certificates that are ordered, where the listeners are ours.
    pub(crate) acme: Arc<Acme>,
    pub(crate) backlog: Option<Arc<Backlog>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) cautions: Arc<Cautions>,
    pub(crate) log_limit: Arc<LogLimit>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) idle_seconds: u64,
    pub(crate) unread: Duration,
    pub(crate) clock: Clock,
    pub(crate) leaving: Arc<AtomicBool>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) reloads: Arc<Reloads>,
    pub(crate) admin: AdminPages,
    /// The secret of sessions for which the configuration has none.
    pub(crate) made_up: OnceLock<[u8; SECRET_BYTES]>,
}

/// What can fail of a configuration.
struct Parts {
    destinations: Arc<Destinations>,
    files: HashMap<usize, Files>,
    passed: HashMap<usize, Arc<Passed>>,
    rewriter: Arc<Rewriter>,
    pools: Pools,
}

impl Lasting {
    /// The first configuration of a process. Opens the spool.
    pub(crate) fn build(mut self, config: Config) -> Result<Hedgerow, BuildError> {
        let parts = self.parts(&config, None)?;
        if let Some(spool) = &config.delivery.spool {
            let backlog = Backlog::open(
                spool,
                &config.delivery,
                config.bounds.event,
                Arc::clone(&self.clock),
                Arc::clone(&parts.destinations),
                Arc::clone(&self.log_limit),
            );
            self.backlog = Some(Arc::new(backlog?));
        }
        let inner = self.compiled(config, parts, None);
        let shared = Arc::new(Shared {
            current: ArcSwap::from_pointee(inner),
            lasting: self,
        });
        shared.lasting.admin.tell_of(Arc::downgrade(&shared));
        shared.settle();
        Ok(Hedgerow { shared })
    }

    fn parts(&self, config: &Config, before: Option<&Inner>) -> Result<Parts, BuildError> {
        let timeouts = timeouts(config);
        let mut pools = before.map_or_else(Pools::default, |before| Pools::after(&before.pools));
        let mut destinations = HashMap::new();
        for project in &config.projects {
            let authorities = project.ca_file.as_ref().map(|file| file.path.as_path());
            let connections = pools.of(&project.host, authorities)?;
            let known = before.and_then(|before| before.destinations.get(&project.name));
            let destination = match known {
                Some(known) if known.is_as_good(project, timeouts, &connections) => {
                    Arc::clone(known)
                }
                known => {
                    let known = known.map(AsRef::as_ref);
                    Arc::new(Destination::new(project, connections, timeouts, known)?)
                }
            };
            destinations.insert(project.name.clone(), destination);
        }
        let (mut files, mut passed) = (HashMap::new(), HashMap::new());
        for (number, route) in config.routes.iter().enumerate() {
            let said = match &route.action {
                Action::Segment { files, .. } => files,
                Action::PostHog(said) => {
                    let project = &said.project;
                    let file = project.ca_file.as_ref().map(|file| file.path.as_path());
                    let connections = pools.of(&project.host, file)?;
                    let known = before.and_then(|before| {
                        let mut known = before.passed.values();
                        known.find(|known| known.is_as_good(&route.path, said, timeouts))
                    });
                    let passing = match known {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(Passed::new(&route.path, said, connections, timeouts)),
                    };
                    passed.insert(number, passing);
                    continue;
                }
                Action::Origin(_) => continue,
            };
            let known = before.and_then(|before| {
                let mut routes = before.config.routes.iter();
                let place = routes.position(|known| known.name() == route.name())?;
                before.files.get(&place)
            });
            let account = match &said.forward {
                None => None,
                Some(forward) => {
                    let known = known.and_then(|known| known.account.as_ref());
                    Some(self.account(forward, known, &mut pools, timeouts.connect)?)
                }
            };
            let sessions = config.page_sessions();
            let new = Files::new(said, account, sessions, timeouts.connect, known)?;
            files.insert(number, new);
        }
        Ok(Parts {
            destinations: Arc::new(destinations),
            files,
            passed,
            rewriter: Arc::new(self.rewriter(config, before)?),
            pools: pools.settled(),
        })
    }

    fn account(
        &self,
        forward: &Forward,
        known: Option<&Arc<Account>>,
        pools: &mut Pools,
        connect: Duration,
    ) -> Result<Arc<Account>, BuildError> {
        let hosts = [pools.of(&forward.api, None)?, pools.of(&forward.cdn, None)?];
        let known = known.filter(|known| known.is_as_good(forward, connect));
        Ok(known.map_or_else(
            || {
                let (accounts, log_limit) =
                    (Arc::clone(&self.accounts), Arc::clone(&self.log_limit));
                Arc::new(Account::new(forward, hosts, connect, accounts, log_limit))
            },
            Arc::clone,
        ))
    }

    /// The rewriting that a configuration asks for.
    fn rewriter(&self, config: &Config, before: Option<&Inner>) -> Result<Rewriter, BuildError> {
        let mut rewriter = Rewriter::new(config.mapping.clone(), config.bounds).remembering();
        if let Some(before) = before {
            rewriter = rewriter.with_memory_of(&before.rewriter);
        }
        let Sessions::Cookie(sessions) = &config.sessions else {
            return Ok(rewriter);
        };
        if sessions.lacks_secret() && self.made_up.get().is_none() {
            let mut made_up = [0; SECRET_BYTES];
            getrandom::fill(&mut made_up)
                .map_err(|error| BuildError::Sessions(error.to_string()))?;
            // Of two at once the first stands.
            let _ = self.made_up.set(made_up);
        }
        let made_up = self.made_up.get().copied().unwrap_or_default();
        let keeper = sessions.keeper(&made_up);
        let keeper = keeper.map_err(|error| BuildError::Sessions(error.to_string()))?;
        Ok(rewriter.with_sessions(keeper))
    }

    fn compiled(&self, config: Config, parts: Parts, before: Option<&Inner>) -> Inner {
        let Parts {
            destinations,
            files,
            passed,
            rewriter,
            pools,
        } = parts;
        let routes = config.routes.iter().map(|route| {
            let takes = match route.action {
                Action::Segment { .. } => Takes::Calls,
                Action::PostHog(_) | Action::Origin(_) => Takes::Other,
            };
            (route.name(), takes)
        });
        let requests = match before {
            None => Requests::new(routes),
            Some(before) => Requests::after(&before.requests, routes),
        };
        let backlog = self.backlog.as_ref();
        Inner {
            acme: Arc::clone(&self.acme),
            admin: self.admin.of(&config, &self.clock),
            requests,
            certificates: process::certificates(&config),
            files,
            passed,
            rewriter,
            budget: Arc::clone(&self.budget),
            gathering: Gathering::of(&config, &destinations, backlog, &self.log_limit),
            destinations,
            counters: Arc::clone(&self.counters),
            connection_limits: Arc::clone(&self.connection_limits),
            cautions: Arc::clone(&self.cautions),
            log_limit: Arc::clone(&self.log_limit),
            backlog: backlog.cloned(),
            observer: self.observer.clone(),
            idle_seconds: self.idle_seconds,
            unread: self.unread,
            clock: Arc::clone(&self.clock),
            leaving: Arc::clone(&self.leaving),
            accounts: Arc::clone(&self.accounts),
            rates: Arc::clone(&self.rates),
            reloads: Arc::clone(&self.reloads),
            pools,
            route_table: RouteTable::new(&config.routes),
            config: Arc::new(config),
        }
    }
}

impl Shared {
    /// Another configuration, made ready beside the one that is at work. Reads files.
    pub(crate) fn prepare(&self, config: Config) -> Result<Arc<Inner>, BuildError> {
        let before = self.current.load_full();
        let parts = self.lasting.parts(&config, Some(&before))?;
        Ok(Arc::new(self.lasting.compiled(
            config,
            parts,
            Some(&before),
        )))
    }

    /// Puts it in the place of the other.
    pub(crate) fn adopt(&self, next: Arc<Inner>) {
        self.current.store(next);
        self.settle();
    }

    /// What outlives configurations does as the one of the moment says.
    fn settle(&self) {
        let (inner, lasting) = (self.current.load(), &self.lasting);
        let config = &inner.config;
        lasting.budget.set_limit(config.limits.memory);
        lasting
            .connection_limits
            .bound(&config.limits, &config.trusted_proxies);
        lasting.admin.settle(config);
        if let Some(backlog) = &lasting.backlog {
            backlog.serve(Arc::clone(&inner.destinations));
            if let Some(live) = inner.admin.as_ref().and_then(|admin| admin.live()) {
                backlog.show_to(Arc::clone(live));
            }
        }
    }
}

fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        connect: config.delivery.connect_timeout,
        exchange: config.delivery.timeout,
    }
}
