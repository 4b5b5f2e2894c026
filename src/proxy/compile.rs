//! From a checked configuration to an active one; a reload keeps everything that stays the same.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::admin::{Requests, Takes};
use crate::config::{Action, Config, Forward, Project, RouteTable, SegmentFiles, SessionMode};
use crate::rewrite::enrich::edge_session::SECRET_BYTES;
use crate::rewrite::Rewriter;
use crate::segment::WriteKeys;

#[cfg(feature = "server")]
use crate::proxy::acme::Acme;
use crate::proxy::first_party::files::Files;
use crate::proxy::first_party::posthog::PostHogProxy;
use crate::proxy::intake::account::{SegmentAccount, SegmentAccounts};
use crate::proxy::intake::group::Gathering;
use crate::proxy::limits::budget::Budget;
use crate::proxy::limits::connection_limits::ConnectionLimits;
use crate::proxy::limits::log_limit::LogLimit;
use crate::proxy::limits::rates::Rates;
use crate::proxy::operator::admin::AdminPages;
use crate::proxy::operator::process;
use crate::proxy::operator::watcher::{EventCounters, Observer};
use crate::proxy::outbound::pools::Pools;
use crate::proxy::outbound::refused_events::WholeBatchProjects;
use crate::proxy::outbound::sender::Destination;
use crate::proxy::outbound::upstream::Timeouts;
use crate::proxy::reloads::Reloads;
use crate::proxy::routes::{CompiledRoute, Outlet, RouteAction, Routes, SegmentRoute};
use crate::proxy::serving::Serving;
use crate::proxy::spool::backlog::Backlog;
use crate::proxy::{BuildError, Clock, Destinations, Hedgerow, HedgerowShared};

/// State that outlives a configuration: the spool, counters, and clients' reservations.
pub(crate) struct LongLivedState {
    /// The ACME certificates of Hedgerow's own listeners.
    #[cfg(feature = "server")]
    pub(crate) acme: Arc<Acme>,
    pub(crate) backlog: Option<Arc<Backlog>>,
    pub(crate) counters: EventCounters,
    pub(crate) budget: Arc<Budget>,
    pub(crate) connection_limits: Arc<ConnectionLimits>,
    pub(crate) cautions: WholeBatchProjects,
    pub(crate) log_limit: Arc<LogLimit>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) idle_seconds: u64,
    pub(crate) unread: Duration,
    pub(crate) clock: Clock,
    /// Whether the surrounding server shuts down: connections end with their next answer.
    pub(crate) leaving: Arc<AtomicBool>,
    pub(crate) accounts: Arc<SegmentAccounts>,
    pub(crate) rates: Rates,
    pub(crate) reloads: Reloads,
    pub(crate) admin: AdminPages,
    /// The secret for sessions if the configuration has none.
    pub(crate) is_placeholder: OnceLock<[u8; SECRET_BYTES]>,
}

impl LongLivedState {
    /// The first configuration of a process. Opens the spool.
    pub(crate) fn build(mut self, config: Config) -> Result<Hedgerow, BuildError> {
        let mut pools = Pools::default();
        let destinations = Arc::new(destinations(&config, None, &mut pools)?);
        if let Some(spool) = &config.delivery.spool {
            let backlog = Backlog::open(
                spool,
                &config.delivery,
                config.bounds.event,
                Arc::clone(&self.clock),
                Arc::clone(&destinations),
                Arc::clone(&self.log_limit),
            );
            self.backlog = Some(Arc::new(backlog?));
        }
        let lasting = Arc::new(self);
        let serving = lasting.serving(config, destinations, pools, None)?;
        let shared = Arc::new(HedgerowShared {
            current: ArcSwap::from_pointee(serving),
            lasting,
        });
        shared.lasting.admin.tell_of(Arc::downgrade(&shared));
        shared.settle();
        Ok(Hedgerow { shared })
    }

    /// An active configuration with these destinations.
    fn serving(
        self: &Arc<Self>,
        config: Config,
        destinations: Arc<Destinations>,
        mut pools: Pools,
        before: Option<&Serving>,
    ) -> Result<Serving, BuildError> {
        let routes = self.routes(&config, &destinations, &mut pools, before)?;
        let taken = config.routes.iter().map(|route| {
            let takes = match route.action {
                Action::Segment { .. } => Takes::Calls,
                Action::PostHog(_) | Action::Origin(_) => Takes::Other,
            };
            (route.name(), takes)
        });
        let requests = match before {
            None => Requests::new(taken),
            Some(before) => Requests::after(&before.requests, taken),
        };
        Ok(Serving {
            rewriter: Arc::new(self.rewriter(&config, before)?),
            routes,
            destinations,
            requests,
            certificates: process::certificates(&config),
            admin: self.admin.of(&config, &self.clock),
            pools: pools.settled(),
            lasting: Arc::clone(self),
            begun: AtomicBool::new(false),
            config: Arc::new(config),
        })
    }

    /// The compiled routes.
    fn routes(
        &self,
        config: &Config,
        destinations: &Destinations,
        pools: &mut Pools,
        before: Option<&Serving>,
    ) -> Result<Routes, BuildError> {
        let timeouts = timeouts(config);
        let outlets: HashMap<&str, Arc<Outlet>> = destinations
            .iter()
            .map(|(name, destination)| (name.as_str(), self.outlet(config, destination)))
            .collect();
        let named = before.map(|before| before.routes.by_name());
        let mut list = Vec::with_capacity(config.routes.len());
        for (number, route) in config.routes.iter().enumerate() {
            let name = route.name();
            let does = match &route.action {
                Action::Origin(_) => RouteAction::Origin,
                Action::PostHog(said) => {
                    let project = &said.project;
                    let file = project.ca_file.as_ref().map(|file| file.path.as_path());
                    let connections = pools.of(&project.host, file)?;
                    let known = before.and_then(|before| {
                        let known = before.routes.iter().filter_map(|route| match &route.does {
                            RouteAction::PostHog(known) => Some(known),
                            RouteAction::Segment(_) | RouteAction::Origin => None,
                        });
                        let mut known = known;
                        known.find(|known| known.is_as_good(&route.path, said, timeouts))
                    });
                    RouteAction::PostHog(match known {
                        Some(known) => Arc::clone(known),
                        None => {
                            Arc::new(PostHogProxy::new(&route.path, said, connections, timeouts))
                        }
                    })
                }
                Action::Segment { write_keys, files } => {
                    let known = named.as_ref().and_then(|named| named.get(name.as_str()));
                    let known = known.and_then(|known| match &known.does {
                        RouteAction::Segment(known) => Some(&known.files),
                        RouteAction::PostHog(_) | RouteAction::Origin => None,
                    });
                    RouteAction::Segment(Box::new(SegmentRoute {
                        keys: keys(write_keys, &outlets)?,
                        files: self.files(config, files, known, pools)?,
                    }))
                }
            };
            list.push(CompiledRoute { name, number, does });
        }
        Ok(Routes::new(RouteTable::new(&config.routes), list))
    }

    /// Where the events of a project go.
    fn outlet(&self, config: &Config, destination: &Arc<Destination>) -> Arc<Outlet> {
        let spool = || self.backlog.as_ref().map(|spool| spool.of(destination));
        let log_limit = &self.log_limit;
        Arc::new(Outlet {
            destination: Arc::clone(destination),
            gathering: Gathering::of(&config.delivery, destination, spool(), log_limit),
            spool: spool(),
        })
    }

    fn files(
        &self,
        config: &Config,
        said: &SegmentFiles,
        known: Option<&Files>,
        pools: &mut Pools,
    ) -> Result<Files, BuildError> {
        let connect = config.delivery.connect_timeout;
        let account = match &said.forward {
            None => None,
            Some(forward) => {
                let known = known.and_then(|known| known.account.as_ref());
                Some(self.account(forward, known, pools, connect)?)
            }
        };
        Files::new(said, account, config.page_sessions(), connect, known)
    }

    fn account(
        &self,
        forward: &Forward,
        known: Option<&Arc<SegmentAccount>>,
        pools: &mut Pools,
        connect: Duration,
    ) -> Result<Arc<SegmentAccount>, BuildError> {
        let hosts = [pools.of(&forward.api, None)?, pools.of(&forward.cdn, None)?];
        let known = known.filter(|known| known.is_as_good(forward, connect));
        Ok(known.map_or_else(
            || {
                let (accounts, log_limit) =
                    (Arc::clone(&self.accounts), Arc::clone(&self.log_limit));
                Arc::new(SegmentAccount::new(
                    forward, hosts, connect, accounts, log_limit,
                ))
            },
            Arc::clone,
        ))
    }

    /// The rewriting that a configuration asks for.
    fn rewriter(&self, config: &Config, before: Option<&Serving>) -> Result<Rewriter, BuildError> {
        let mut rewriter = Rewriter::new(config.mapping.clone(), config.bounds).remembering();
        if let Some(before) = before {
            rewriter = rewriter.with_memory_of(&before.rewriter);
        }
        let SessionMode::Cookie(sessions) = &config.sessions else {
            return Ok(rewriter);
        };
        if sessions.lacks_secret() && self.is_placeholder.get().is_none() {
            let mut is_placeholder = [0; SECRET_BYTES];
            getrandom::fill(&mut is_placeholder)
                .map_err(|error| BuildError::Sessions(error.to_string()))?;
            // If two threads set it at the same time, the first value stays.
            let _ = self.is_placeholder.set(is_placeholder);
        }
        let is_placeholder = self.is_placeholder.get().copied().unwrap_or_default();
        let keeper = sessions.keeper(&is_placeholder);
        let keeper = keeper.map_err(|error| BuildError::Sessions(error.to_string()))?;
        Ok(rewriter.with_sessions(keeper))
    }
}

/// Every project that events can go to.
fn destinations(
    config: &Config,
    before: Option<&Serving>,
    pools: &mut Pools,
) -> Result<Destinations, BuildError> {
    let timeouts = timeouts(config);
    let mut destinations = HashMap::new();
    for project in &config.projects {
        let authorities = project.ca_file.as_ref().map(|file| file.path.as_path());
        let connections = pools.of(&project.host, authorities)?;
        let known = before.and_then(|before| before.destinations.get(&project.name));
        let destination = match known {
            Some(known) if known.is_as_good(project, timeouts, &connections) => Arc::clone(known),
            known => {
                let known = known.map(AsRef::as_ref);
                Arc::new(Destination::new(project, connections, timeouts, known)?)
            }
        };
        destinations.insert(project.name.clone(), destination);
    }
    Ok(destinations)
}

/// The keys of a route, each with the outlet of its project.
fn keys(
    said: &WriteKeys<Arc<Project>>,
    outlets: &HashMap<&str, Arc<Outlet>>,
) -> Result<WriteKeys<Arc<Outlet>>, BuildError> {
    let outlet = |project: &Arc<Project>| {
        let outlet = outlets.get(project.name.as_str());
        outlet.cloned().ok_or_else(|| BuildError::NoProject {
            project: project.name.clone(),
        })
    };
    Ok(match said {
        WriteKeys::Any(project) => WriteKeys::Any(outlet(project)?),
        WriteKeys::Listed(keys) => WriteKeys::Listed(
            keys.iter()
                .map(|(key, project)| Ok((key.clone(), outlet(project)?)))
                .collect::<Result<_, BuildError>>()?,
        ),
    })
}

impl HedgerowShared {
    /// Prepares another configuration while the active one serves. Reads files.
    pub(crate) fn prepare(&self, config: Config) -> Result<Arc<Serving>, BuildError> {
        let before = self.current.load_full();
        let mut pools = Pools::after(&before.pools);
        let destinations = destinations(&config, Some(&before), &mut pools)?;
        let (lasting, destinations) = (&self.lasting, Arc::new(destinations));
        let serving = lasting.serving(config, destinations, pools, Some(&before));
        serving.map(Arc::new)
    }

    /// Replaces the active configuration.
    pub(crate) fn adopt(&self, next: Arc<Serving>) {
        self.current.store(next);
        self.settle();
    }

    /// Applies the active configuration to the state that outlives it.
    fn settle(&self) {
        let (serving, lasting) = (self.current.load(), &self.lasting);
        let config = &serving.config;
        lasting.budget.set_limit(config.limits.memory);
        lasting
            .connection_limits
            .bound(&config.limits, &config.trusted_proxies);
        lasting.admin.settle(config);
        if let Some(backlog) = &lasting.backlog {
            backlog.serve(Arc::clone(&serving.destinations));
            if let Some(live) = serving.admin.as_ref().and_then(|admin| admin.live()) {
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
