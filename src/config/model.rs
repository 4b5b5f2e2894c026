//! The compiled configuration. All values are valid, shared and never changed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hedgerow_spool::DeliveryMode;
use ipnet::IpNet;

use super::delivery::DeliveryConfig;
use super::limits::RequestLimits;
use super::listeners::Listener;
use super::projects::{Project, UpstreamHttp};
use super::routes::{Action, Route};
use super::server::ServerConfig;
use super::sessions::SessionMode;
use crate::admin::outline::Outline;
use crate::admin::LiveView;
use crate::posthog::ApiKey;
use crate::rewrite::{Bounds, Mapping};

/// One configuration, checked and compiled. `docs/configuration.md` describes it key by key.
///
/// It never changes: a reload creates another one, and a request keeps the configuration with which
/// it began.
///
/// ```
/// use hedgerow::{Config, Environment};
///
/// let yaml = "
/// projects:
///   shop: {host: us, api_key: phc_of_the_shop}
/// routes:
///   - path: /hr/
///     segmnt: {project: shop}
/// ";
/// let problems = Config::parse(yaml, &Environment::new(".")).unwrap_err();
/// for problem in &problems {
///     println!("{}:{}: {}", problem.position.line, problem.path, problem.message);
/// }
/// assert!(problems.to_string().contains("did you mean segment?"), "{problems}");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file from which it was read, if any.
    #[doc(hidden)]
    pub file: Option<PathBuf>,
    /// The active values of that file, key by key.
    pub outline: Option<Arc<Outline>>,
    /// The listeners that accept requests; at least one.
    #[doc(hidden)]
    pub listen: Vec<Listener>,
    /// The address that serves health, metrics and the live view; `None` if off.
    #[doc(hidden)]
    pub admin: Option<SocketAddr>,
    /// Whether `admin` serves the live view, and to which clients.
    #[doc(hidden)]
    pub live: LiveView,
    /// The address that serves only health; `None` if off.
    #[doc(hidden)]
    pub health: Option<SocketAddr>,
    /// The networks whose `X-Forwarded-For` is trusted.
    #[doc(hidden)]
    pub trusted_proxies: Vec<IpNet>,
    /// The projects in the order of the file.
    #[doc(hidden)]
    pub projects: Vec<Arc<Project>>,
    /// The routes in the order of the file: the first matching route handles the request.
    #[doc(hidden)]
    pub routes: Vec<Route>,
    /// How messages are mapped.
    #[doc(hidden)]
    pub mapping: Mapping,
    /// Whether and how sessions are kept.
    #[doc(hidden)]
    pub sessions: SessionMode,
    /// The limits of the rewriting, for one request.
    #[doc(hidden)]
    pub bounds: Bounds,
    /// The limits on bodies, connections and clients.
    #[doc(hidden)]
    pub limits: RequestLimits,
    /// How long PostHog may take, and what happens when it takes longer.
    #[doc(hidden)]
    pub delivery: DeliveryConfig,
    /// The settings of the process.
    #[doc(hidden)]
    pub server: ServerConfig,
}

impl Config {
    /// Returns the addresses and ports of `listen`, in the order of the file. A file without `listen` has
    /// the address 127.0.0.1:8080. A proxy that embeds Hedgerow need not listen there.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listen.iter().map(|listener| listener.address)
    }
}

#[doc(hidden)]
impl Config {
    /// Returns the route of a request, and its path after the route's prefix and slash. It tries each route
    /// in turn; use [`RouteTable`](super::RouteTable) for frequent look-ups.
    ///
    /// `host` is the request's authority, with or without a port; `path` is its path as it was
    /// sent, without the query.
    ///
    /// On `segment` routes several slashes in a row count as one. Other routes get their paths as they were
    /// sent.
    pub fn route<'p>(&self, host: Option<&str>, path: &'p str) -> Option<(&Route, &'p str)> {
        self.routes.iter().find_map(|route| {
            let host_matches = match &route.host {
                Some(wanted) => host.is_some_and(|host| wanted.matches(host)),
                None => true,
            };
            let tail = match route.action {
                Action::Segment { .. } => route.path.lenient_tail(path),
                Action::PostHog(_) | Action::Origin(_) => route.path.tail(path),
            };
            Some((route, tail.filter(|_| host_matches)?))
        })
    }

    /// Returns the project with this name.
    pub fn project(&self, name: &str) -> Option<&Arc<Project>> {
        self.projects.iter().find(|project| project.name == name)
    }

    /// Returns the defaults with one project called `default`, whose key is a placeholder. That is enough
    /// to rewrite events, which do not contain the key. No route leads to this project.
    pub fn default_for_convert() -> Self {
        let project = "us".parse().ok().zip(ApiKey::new("phc_placeholder").ok());
        let projects = project.map(|(host, api_key)| {
            Arc::new(Project {
                name: "default".to_owned(),
                host,
                api_key,
                ca_file: None,
                http: UpstreamHttp::Auto,
                properties: Vec::new(),
                mode: DeliveryMode::Stream,
            })
        });
        Self {
            listen: vec![Listener::of_this_machine()],
            file: None,
            outline: None,
            admin: None,
            live: LiveView::Off,
            health: None,
            trusted_proxies: Vec::new(),
            projects: projects.into_iter().collect(),
            routes: Vec::new(),
            mapping: Mapping::default(),
            sessions: SessionMode::default(),
            bounds: Bounds::default(),
            limits: RequestLimits::default(),
            delivery: DeliveryConfig::default(),
            server: ServerConfig::default(),
        }
    }
}
