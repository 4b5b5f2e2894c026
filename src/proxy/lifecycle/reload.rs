//! Loads another configuration while requests are served. It is read, checked and built while the
//! active one serves, and replaces it as a whole, or is refused as a whole.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use hedgerow_spool::run_blocking;

use crate::config::{Config, ConfigError, FileMarks, Warning, Watching};

use crate::proxy::first_party::library::{fetch_libraries, FetchError};
use crate::proxy::hedgerow::Hedgerow;
use crate::proxy::lifecycle::descriptors::allow_descriptors;
use crate::proxy::lifecycle::upgrade::UpgradeServer;
use crate::proxy::listen::listener_set::{ListenerSet, Plans};
use crate::proxy::reloads::keep_fixed;
use crate::proxy::server_error::ServerError;
use crate::proxy::site::{Site, SiteState};

/// How often files are checked. A change is applied when the next check finds no further change:
/// the writer of a file, or of a certificate and its key, has finished then.
const LOOK: Duration = Duration::from_secs(1);
/// The time limit for fetching the libraries that are not stored yet.
const FETCH: Duration = Duration::from_secs(15);
/// The most mistakes of a file that are listed.
const MISTAKES: usize = 5;

/// Why a configuration did not become active.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file cannot be read, or holds mistakes.
    #[error("{}", mistakes(.0))]
    Config(#[from] ConfigError),
    /// Hedgerow cannot be built with it.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// analytics.js could not be fetched.
    #[error("analytics.js: {0}")]
    Library(#[from] FetchError),
    /// There is no file to read the configuration from.
    #[error("this process was not started from a configuration file")]
    NoFile,
    /// The server is shutting down.
    #[error("this process is shutting down")]
    Leaving,
    /// The system has no resources for the reload.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// The first mistakes of a file in one line.
fn mistakes(error: &ConfigError) -> String {
    let ConfigError::Invalid { path, problems } = error else {
        return error.to_string();
    };
    let shown = problems.iter().take(MISTAKES);
    let shown: Vec<String> = shown
        .map(|problem| format!("{}:{problem}", path.display()))
        .collect();
    let text = shown.join("; ");
    match problems.count() - shown.len() {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

/// A configuration file, and the state of it and of the files that it names when they were read.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    marks: FileMarks,
}

impl ConfigFile {
    /// Reads the file, the files that it names, and their state.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`].
    pub fn load(path: &Path) -> Result<(Self, Config, Vec<Warning>), ConfigError> {
        let (loaded, marks) = Config::load_marked(path);
        let (config, warnings) = loaded?;
        let path = path.to_owned();
        Ok((Self { path, marks }, config, warnings))
    }
}

/// The reason for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReloadCause {
    Signal,
    File,
    Command,
}

impl fmt::Display for ReloadCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::File => "a file has changed",
            Self::Command => "`hedgerow reload`",
        })
    }
}

/// One `hedgerow reload`, which waits for its answer.
type ReloadRequest = oneshot::Sender<Result<String, ReloadError>>;

/// Requests reloads from the process's own reloader.
#[derive(Clone)]
pub(crate) struct ReloadHandle(mpsc::Sender<ReloadRequest>);

impl ReloadHandle {
    /// Requests a reload, and returns the output of `hedgerow reload`: that the configuration is
    /// active, or why it is not.
    pub(crate) async fn reload(&self) -> Result<String, ReloadError> {
        let (sender, receiver) = oneshot::channel();
        let sent = self.0.send(sender).await;
        sent.map_err(|_| ReloadError::Leaving)?;
        receiver.await.unwrap_or(Err(ReloadError::Leaving))
    }
}

/// Activates changed configurations.
pub(crate) struct Reloader {
    pub(crate) hedgerow: Hedgerow,
    pub(crate) site: Site,
    pub(crate) listener_set: Arc<ListenerSet>,
    pub(crate) upgrade_server: Option<Arc<UpgradeServer>>,
    file: StdMutex<Option<ConfigFile>>,
    requests: StdMutex<Option<mpsc::Receiver<ReloadRequest>>>,
}

impl Reloader {
    /// Creates a reloader, and the handle that requests reloads from it.
    pub(crate) fn new(
        hedgerow: Hedgerow,
        site: Site,
        listener_set: Arc<ListenerSet>,
        upgrade_server: Option<Arc<UpgradeServer>>,
    ) -> (Self, ReloadHandle) {
        let (sender, requests) = mpsc::channel(4);
        let reloader = Self {
            hedgerow,
            site,
            listener_set,
            upgrade_server,
            file: StdMutex::default(),
            requests: StdMutex::new(Some(requests)),
        };
        (reloader, ReloadHandle(sender))
    }

    /// Sets the file that is read at each reload.
    pub(crate) fn follow(&self, file: ConfigFile) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    /// Reads the file again and activates it, or returns why it did not.
    async fn reload(
        &self,
        cause: ReloadCause,
        file: Option<&mut ConfigFile>,
    ) -> Result<String, ReloadError> {
        let outcome = self.try_reload(file).await;
        let reloads = &self.hedgerow.shared.long_lived.reloads;
        match outcome {
            Ok(kept) => {
                let generation = reloads.apply();
                log::info!("{cause}: the configuration was reloaded (generation {generation})");
                let mut report = format!("generation {generation}");
                if !kept.is_empty() {
                    let kept = kept.join(", ");
                    let note = "changed too, but needs a new process (`hedgerow run --upgrade`)";
                    log::warn!("{kept} {note}");
                    report.push_str(&format!("; {kept} {note}"));
                }
                Ok(report)
            }
            Err(error) => {
                log::error!("{cause}: the configuration stays unchanged: {error}");
                reloads.refuse(error.to_string());
                Err(error)
            }
        }
    }

    async fn try_reload(
        &self,
        file: Option<&mut ConfigFile>,
    ) -> Result<Vec<&'static str>, ReloadError> {
        let file = file.ok_or(ReloadError::NoFile)?;
        let path = file.path.clone();
        let (loaded, marks) = run_blocking(move || Config::load_marked(&path)).await?;
        file.marks = marks;
        let (mut config, warnings) = loaded?;
        let kept = keep_fixed(&mut config, &self.hedgerow.config());
        let fetching = timeout(FETCH, fetch_libraries(&config)).await;
        fetching.unwrap_or(Err(FetchError::Late))?;
        let (site, listener_set) = (self.site.clone(), Arc::clone(&self.listener_set));
        // Compressing a library takes about a second.
        let prepared = run_blocking(move || prepare(&site, &listener_set, config));
        let (site_state, plans) = prepared.await??;
        if self.hedgerow.is_leaving() {
            return Err(ReloadError::Leaving);
        }
        self.listener_set.activate(plans)?;
        self.site.activate(site_state);
        self.site.watch_health();
        self.hedgerow
            .shared
            .long_lived
            .acme
            .activate(&self.hedgerow.config());
        allow_descriptors(self.hedgerow.config().limits.connections);
        if let Some(upgrade_server) = &self.upgrade_server {
            upgrade_server.offer(self.listener_set.sockets()?);
        }
        for warning in warnings {
            log::warn!("{}:{warning}", file.path.display());
        }
        Ok(kept)
    }

    /// Serves all requests for a reload, one after the other.
    async fn run(&self) {
        let guard = self.requests.lock();
        let Some(mut requests) = guard.unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (mut hangup, mut seen) = (Hangup::new(), None);
        loop {
            let watching = self.hedgerow.config().server.watch == Watching::On;
            let (cause, request) = tokio::select! {
                () = hangup.recv() => (ReloadCause::Signal, None),
                Some(request) = requests.recv() => (ReloadCause::Command, Some(request)),
                () = tokio::time::sleep(LOOK), if watching && file.is_some() => {
                    match changed(file.as_ref(), &mut seen).await {
                        true => (ReloadCause::File, None),
                        false => continue,
                    }
                }
            };
            seen = None;
            let outcome = self.reload(cause, file.as_mut()).await;
            if let Some(request) = request {
                // The client of the request may have hung up.
                let _ = request.send(outcome);
            }
        }
    }
}

fn prepare(
    site: &Site,
    listener_set: &ListenerSet,
    config: Config,
) -> Result<(Arc<SiteState>, Plans), ServerError> {
    let plans = listener_set.plan_reload(&config)?;
    let site_state = site.prepare(config).map_err(ServerError::from)?;
    Ok((site_state, plans))
}

/// Whether a file has changed since it was read, and has the same state as at the last check.
async fn changed(file: Option<&ConfigFile>, seen: &mut Option<FileMarks>) -> bool {
    let Some(file) = file else { return false };
    let known = file.marks.clone();
    let Ok(now) = run_blocking(move || known.again()).await else {
        return false;
    };
    if now == file.marks {
        *seen = None;
        return false;
    }
    let settled = seen.as_ref() == Some(&now);
    *seen = Some(now);
    settled
}

/// `SIGHUP`, which would end the process by default.
struct Hangup(Option<tokio::signal::unix::Signal>);

impl Hangup {
    fn new() -> Self {
        let signals = signal(SignalKind::hangup());
        Self(
            signals
                .map_err(|error| {
                    log::warn!(
                        "SIGHUP cannot be handled and would end this process: \
                    {error}"
                    )
                })
                .ok(),
        )
    }

    async fn recv(&mut self) {
        let signal_received = match &mut self.0 {
            Some(signals) => signals.recv().await,
            None => None,
        };
        if signal_received.is_none() {
            std::future::pending().await
        }
    }
}

/// The reloader as a service of the framework.
pub(crate) struct ReloadService(pub(crate) Arc<Reloader>);

#[async_trait]
impl BackgroundService for ReloadService {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        self.0.site.watch_health();
        let acme = &self.0.hedgerow.shared.long_lived.acme;
        acme.begin(&Handle::current());
        tokio::select! {
            () = self.0.run() => {}
            _ = shutdown.wait_for(|over| *over) => {}
        }
        acme.end();
    }
}
