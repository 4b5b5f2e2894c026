//! Builds an active configuration from a checked one. A reload keeps every part that has not
//! changed.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::{Requests, RoutePurpose};
use crate::config::{Action, Config, Forward, Project, RouteTable, SegmentFiles, SessionMode};
use crate::rewrite::enrich::edge_session::SECRET_BYTES;
use crate::rewrite::Rewriter;
use crate::segment::WriteKeys;

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::build_error::BuildError;
use crate::proxy::first_party::files::Files;
use crate::proxy::first_party::posthog::PostHogProxy;
use crate::proxy::long_lived_state::LongLivedState;
use crate::proxy::outbound::pools::ConnectionPools;
use crate::proxy::outbound::sender::{Destination, Destinations};
use crate::proxy::outbound::upstream::Timeouts;
use crate::proxy::routes::{
    CompiledRoute, ProjectSink, ProjectSinks, RouteAction, Routes, SegmentRoute,
};
use crate::proxy::sending::account::SegmentAccount;
use crate::proxy::sending::group::RequestGrouper;
use crate::proxy::telemetry::process;

impl LongLivedState {
    /// Builds an active configuration with these destinations. `before` is the one that it
    /// replaces.
    pub(super) fn active(
        self: &Arc<Self>,
        config: Config,
        destinations: Arc<Destinations>,
        mut pools: ConnectionPools,
        before: Option<&ActiveConfig>,
    ) -> Result<ActiveConfig, BuildError> {
        let sinks = self.sinks(&config, &destinations, before);
        let routes = self.routes(&config, &sinks, &mut pools, before)?;
        let route_purposes = config.routes.iter().map(|route| {
            let purpose = match route.action {
                Action::Segment { .. } => RoutePurpose::Calls,
                Action::PostHog(_) | Action::Origin(_) => RoutePurpose::Other,
            };
            (route.name(), purpose)
        });
        let requests = match before {
            None => Requests::new(route_purposes),
            Some(before) => Requests::after(&before.requests, route_purposes),
        };
        Ok(ActiveConfig {
            rewriter: Arc::new(self.rewriter(&config, before)?),
            routes,
            destinations,
            sinks,
            requests,
            certificates: process::certificates(&config),
            admin: self.admin.of(&config, &self.clock),
            pools: pools.settled(),
            long_lived: Arc::clone(self),
            begun: AtomicBool::new(false),
            config: Arc::new(config),
        })
    }

    /// Compiles the routes. Parts of `before` that would be the same are reused.
    fn routes(
        &self,
        config: &Config,
        sinks: &ProjectSinks,
        pools: &mut ConnectionPools,
        before: Option<&ActiveConfig>,
    ) -> Result<Routes, BuildError> {
        let timeouts = timeouts(config);
        let named = before.map(|before| before.routes.by_name());
        let mut list = Vec::with_capacity(config.routes.len());
        for (number, route) in config.routes.iter().enumerate() {
            let name = route.name();
            let action = match &route.action {
                Action::Origin(_) => RouteAction::Origin,
                Action::PostHog(posthog) => {
                    let project = &posthog.project;
                    let file = project.ca_file.as_ref().map(|file| file.path.as_path());
                    let connections = pools.of(&project.host, file)?;
                    let known = before.and_then(|before| {
                        let known = before
                            .routes
                            .iter()
                            .filter_map(|route| match &route.action {
                                RouteAction::PostHog(known) => Some(known),
                                RouteAction::Segment(_) | RouteAction::Origin => None,
                            });
                        let mut known = known;
                        known.find(|known| known.behaves_the_same(&route.path, posthog, timeouts))
                    });
                    RouteAction::PostHog(match known {
                        Some(known) => Arc::clone(known),
                        None => Arc::new(PostHogProxy::new(
                            &route.path,
                            posthog,
                            connections,
                            timeouts,
                        )),
                    })
                }
                Action::Segment { write_keys, files } => {
                    let known = named.as_ref().and_then(|named| named.get(name.as_str()));
                    let known = known.and_then(|known| match &known.action {
                        RouteAction::Segment(known) => Some(&known.files),
                        RouteAction::PostHog(_) | RouteAction::Origin => None,
                    });
                    RouteAction::Segment(Box::new(SegmentRoute {
                        keys: keys(write_keys, sinks)?,
                        files: self.files(config, files, known, pools)?,
                    }))
                }
            };
            list.push(CompiledRoute {
                name,
                number,
                action,
            });
        }
        Ok(Routes::new(RouteTable::new(&config.routes), list))
    }

    /// Returns the sinks of all projects. Those of `before` that would be the same are reused: the queue of a
    /// grouper knows which persons have events in flight.
    fn sinks(
        &self,
        config: &Config,
        destinations: &Destinations,
        before: Option<&ActiveConfig>,
    ) -> ProjectSinks {
        let sink = |(name, destination): (&String, &Arc<Destination>)| {
            let known = before.and_then(|before| before.sinks.get(name));
            let known = known.filter(|known| known.behaves_the_same(&config.delivery, destination));
            let sink = known.map_or_else(|| self.sink(config, destination), Arc::clone);
            (name.clone(), sink)
        };
        destinations.iter().map(sink).collect()
    }

    /// Returns a new sink for the events of a project.
    fn sink(&self, config: &Config, destination: &Arc<Destination>) -> Arc<ProjectSink> {
        let spool = || self.backlog.as_ref().map(|spool| spool.of(destination));
        let log_limit = &self.log_limit;
        Arc::new(ProjectSink {
            destination: Arc::clone(destination),
            grouper: RequestGrouper::of(&config.delivery, destination, spool(), log_limit),
            spool: spool(),
        })
    }

    fn files(
        &self,
        config: &Config,
        settings: &SegmentFiles,
        known: Option<&Files>,
        pools: &mut ConnectionPools,
    ) -> Result<Files, BuildError> {
        let connect = config.delivery.connect_timeout;
        let account = match &settings.forward {
            None => None,
            Some(forward) => {
                let known = known.and_then(|known| known.account.as_ref());
                Some(self.account(forward, known, pools, connect)?)
            }
        };
        Files::new(settings, account, config.page_sessions(), connect, known)
    }

    fn account(
        &self,
        forward: &Forward,
        known: Option<&Arc<SegmentAccount>>,
        pools: &mut ConnectionPools,
        connect: Duration,
    ) -> Result<Arc<SegmentAccount>, BuildError> {
        let hosts = [pools.of(&forward.api, None)?, pools.of(&forward.cdn, None)?];
        let known = known.filter(|known| known.behaves_the_same(forward, connect));
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

    /// Builds the rewriter of a configuration. It shares the memory of the one before it.
    fn rewriter(
        &self,
        config: &Config,
        before: Option<&ActiveConfig>,
    ) -> Result<Rewriter, BuildError> {
        let mut rewriter = Rewriter::new(config.mapping.clone(), config.bounds).remembering();
        if let Some(before) = before {
            rewriter = rewriter.with_memory_of(&before.rewriter);
        }
        let SessionMode::Cookie(sessions) = &config.sessions else {
            return Ok(rewriter);
        };
        if sessions.lacks_secret() && self.generated_secret.get().is_none() {
            let mut generated_secret = [0; SECRET_BYTES];
            getrandom::fill(&mut generated_secret)
                .map_err(|error| BuildError::Sessions(error.to_string()))?;
            // If two threads set it at the same time, the first value stays.
            let _ = self.generated_secret.set(generated_secret);
        }
        let generated_secret = self.generated_secret.get().copied().unwrap_or_default();
        let keeper = sessions.keeper(&generated_secret);
        let keeper = keeper.map_err(|error| BuildError::Sessions(error.to_string()))?;
        Ok(rewriter.with_sessions(keeper))
    }
}

/// Builds the destination of every project, or reuses that of `before`.
pub(super) fn destinations(
    config: &Config,
    before: Option<&ActiveConfig>,
    pools: &mut ConnectionPools,
) -> Result<Destinations, BuildError> {
    let timeouts = timeouts(config);
    let mut destinations = HashMap::new();
    for project in &config.projects {
        let authorities = project.ca_file.as_ref().map(|file| file.path.as_path());
        let connections = pools.of(&project.host, authorities)?;
        let known = before.and_then(|before| before.destinations.get(&project.name));
        let destination = match known {
            Some(known) if known.behaves_the_same(project, timeouts, &connections) => {
                Arc::clone(known)
            }
            known => {
                let known = known.map(AsRef::as_ref);
                Arc::new(Destination::new(project, connections, timeouts, known)?)
            }
        };
        destinations.insert(project.name.clone(), destination);
    }
    Ok(destinations)
}

/// Returns the write keys of a route, each with the sink of its project.
fn keys(
    write_keys: &WriteKeys<Arc<Project>>,
    sinks: &ProjectSinks,
) -> Result<WriteKeys<Arc<ProjectSink>>, BuildError> {
    let sink = |project: &Arc<Project>| {
        let sink = sinks.get(project.name.as_str());
        sink.cloned().ok_or_else(|| BuildError::NoProject {
            project: project.name.clone(),
        })
    };
    Ok(match write_keys {
        WriteKeys::Any(project) => WriteKeys::Any(sink(project)?),
        WriteKeys::Listed(keys) => WriteKeys::Listed(
            keys.iter()
                .map(|(key, project)| Ok((key.clone(), sink(project)?)))
                .collect::<Result<_, BuildError>>()?,
        ),
    })
}

fn timeouts(config: &Config) -> Timeouts {
    Timeouts {
        connect: config.delivery.connect_timeout,
        exchange: config.delivery.timeout,
    }
}
