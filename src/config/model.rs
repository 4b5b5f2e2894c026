//! The compiled configuration: values that cannot be bad, shared and never changed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_spool::{DeliveryMode, SpoolLimits, SpoolPlace};
use ipnet::IpNet;

use super::first_party::{PostHogPassThrough, SegmentFiles, SiteOrigin};
use super::listeners::Listener;
use super::sessions::SessionMode;
use super::site_host::SiteHost;
use crate::admin::outline::Outline;
use crate::admin::LiveView;
use crate::posthog::{ApiKey, Host, ProjectId};
use crate::rewrite::{Bounds, Mapping, Recipient};
use crate::segment::WriteKeys;
use crate::site::snippet::ProxyAddress;
use crate::site::PathPrefix;

/// One configuration, checked and compiled: what `docs/configuration.md` describes key by key.
///
/// It never changes: a reload creates another one, and a request holds the one that it began with.
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
///     println!("{}:{}: {}", problem.place.line, problem.path, problem.message);
/// }
/// assert!(problems.to_string().contains("did you mean segment?"), "{problems}");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it was read from, if it was one.
    #[doc(hidden)]
    pub file: Option<PathBuf>,
    /// The active values of that file, key by key.
    pub outline: Option<Arc<Outline>>,
    /// Where requests come in; at least one.
    #[doc(hidden)]
    pub listen: Vec<Listener>,
    /// Where health, metrics and the live view are served; none when turned off.
    #[doc(hidden)]
    pub admin: Option<SocketAddr>,
    /// Whether the live view is among them, and for which clients.
    #[doc(hidden)]
    pub live: LiveView,
    /// The address that serves only health; `None` if off.
    #[doc(hidden)]
    pub health: Option<SocketAddr>,
    /// Whose `X-Forwarded-For` is believed.
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
    /// Who keeps sessions.
    #[doc(hidden)]
    pub sessions: SessionMode,
    /// Bounds on what one request may take, for the rewriting.
    #[doc(hidden)]
    pub bounds: Bounds,
    /// Bounds on bodies, one by one and together.
    #[doc(hidden)]
    pub limits: RequestLimits,
    /// How long PostHog may take, and what happens when it takes longer.
    #[doc(hidden)]
    pub delivery: DeliveryConfig,
    /// The process.
    #[doc(hidden)]
    pub server: ServerConfig,
}

/// One PostHog project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The name the file gives it.
    pub name: String,
    /// Where it lives.
    pub host: Host,
    /// Its project key.
    pub api_key: ApiKey,
    /// The authority its host's certificate is checked against, instead of the public ones.
    pub ca_file: Option<CaFile>,
    /// The HTTP version for its host.
    pub http: UpstreamHttp,
    /// Properties that each of its events gets: names, and values as JSON text.
    pub properties: Vec<(String, String)>,
    /// When clients get their 200: its own mode, or that of `delivery`.
    pub mode: DeliveryMode,
}

impl Project {
    /// The recipient of its events, for the rewriting.
    pub fn recipient(&self) -> Recipient {
        Recipient {
            project: ProjectId::of(&self.api_key),
            properties: self.properties.clone(),
        }
    }
}

/// A certificate authority of your own.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFile {
    /// Where it was read.
    pub path: PathBuf,
    /// Its certificates, PEM.
    pub pem: Vec<u8>,
}

impl fmt::Debug for CaFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("CaFile").field(&self.path).finish()
    }
}

/// The HTTP version for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamHttp {
    /// The host's choice (ALPN) over TLS, HTTP/1.1 over plain connections.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; over plain connections with prior knowledge (RFC 9113, 3.3).
    Http2,
}

/// Which requests, and what happens to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host of the request; without one, every host.
    pub host: Option<SiteHost>,
    /// How its path begins.
    pub path: PathPrefix,
    /// Where pages on other hosts reach it; none where it is a path of the page's own host.
    pub home: Option<ProxyAddress>,
    /// Its action.
    pub action: Action,
}

impl Route {
    /// Its name in logs and metrics: its host, if it has one, and its path.
    pub fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("{host}{}", self.path),
            None => self.path.to_string(),
        }
    }
}

/// The action of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Segment's calls, rewritten for the project of the write key.
    Segment {
        /// The keys it takes.
        write_keys: WriteKeys<Arc<Project>>,
        /// analytics.js, its settings, and what happens to a real Segment account.
        files: Box<SegmentFiles>,
    },
    /// posthog-js, passed through to a project's host.
    PostHog(PostHogPassThrough),
    /// The site itself.
    Origin(SiteOrigin),
}

/// Bounds on bodies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// The largest body, inflated; a larger one gets 413.
    pub body: usize,
    /// All bodies held at once; past it a request gets 503.
    pub memory: usize,
    /// All connections of clients that are open at once.
    pub connections: usize,
    /// Those of one address (of one /64 with IPv6) that is not in `trusted_proxies`.
    pub connections_per_client: usize,
    /// Requests a second of one address (of one /64 with IPv6) that is not in `trusted_proxies`;
    /// without a number as many as come.
    pub requests_per_client: Option<usize>,
    /// Requests a second with one write key; without a number as many as come.
    pub requests_per_key: Option<usize>,
    /// How long the head of a request may take, from its first byte to its last.
    pub head_timeout: Duration,
    /// The minimum rate of a body; no minimum if it is `None`.
    pub body_rate: Option<BodyRate>,
}

/// The least speed of a body: in each stretch of `grace`, this many bytes a second on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRate {
    /// Bytes a second; at least one.
    pub bytes: u64,
    /// How long a body is not measured.
    pub grace: Duration,
}

impl Default for BodyRate {
    fn default() -> Self {
        Self {
            bytes: 250,
            grace: Duration::from_secs(30),
        }
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            body: 10 << 20,
            memory: 256 << 20,
            connections: 10_000,
            connections_per_client: 2_500,
            requests_per_client: None,
            requests_per_key: None,
            head_timeout: Duration::from_secs(30),
            body_rate: Some(BodyRate::default()),
        }
    }
}

/// How long PostHog may take, and what happens when it takes longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// For the answer to a batch.
    pub timeout: Duration,
    /// When clients get their 200, unless their project has its own mode.
    pub mode: DeliveryMode,
    /// In the mode `group`, how long a request waits for others.
    pub linger: Duration,
    /// In the mode `group`, the size in bytes from which on requests wait for no others.
    pub group_size: usize,
    /// Where batches wait for PostHog to come back; none when turned off.
    pub spool: Option<SpoolConfig>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(15),
            mode: DeliveryMode::Stream,
            linger: Duration::from_millis(5),
            group_size: 1 << 20,
            spool: None,
        }
    }
}

/// Where batches wait for PostHog to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// On this machine's disk, or shared.
    pub place: SpoolPlace,
    /// The most it holds, in bytes.
    pub max_size: u64,
    /// The longest a batch waits.
    pub max_age: Duration,
}

impl SpoolConfig {
    /// Its bounds.
    pub fn limits(&self) -> SpoolLimits {
        SpoolLimits {
            max_size: self.max_size,
            max_age: self.max_age,
        }
    }
}

/// The process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Threads that serve requests.
    pub threads: usize,
    /// How long requests in flight may continue after the process is stopped.
    pub grace: Duration,
    /// The socket on which a successor asks for the listening sockets; `None` if off.
    pub upgrade_socket: Option<PathBuf>,
    /// Whether files that change are read again without being asked.
    pub watch: Watching,
}

/// Whether files that change are read again without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watching {
    /// They are.
    #[default]
    On,
    /// Only when asked.
    Off,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            threads: 2,
            grace: Duration::from_secs(5),
            upgrade_socket: None,
            watch: Watching::On,
        }
    }
}

impl Config {
    /// Addresses and ports of `listen`, in the order of the file; at least one, which is
    /// 127.0.0.1:8080 if the file names none. A host proxy need not listen there.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listen.iter().map(|listener| listener.address)
    }
}

#[doc(hidden)]
impl Config {
    /// The route of a request, and its path after the route's prefix and slash. It tries each route
    /// in turn; use [`RouteTable`](super::RouteTable) for frequent look-ups.
    ///
    /// `host` is the request's authority, with or without a port; `path` is its path as it was
    /// sent, without the query.
    ///
    /// On `segment` routes slashes that follow each other count once; what else there is gets its
    /// paths as they were sent.
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

    /// The project of this name.
    pub fn project(&self, name: &str) -> Option<&Arc<Project>> {
        self.projects.iter().find(|project| project.name == name)
    }

    /// The defaults and one project called `default`, whose key is a placeholder: enough to rewrite
    /// events, which do not contain the key. No route leads to it.
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
