//! analytics.js of a route: read at the start, or fetched once if it is not stored yet.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use crate::config::{
    Action, Config, FileMarks, KeptArchive, LibraryFiles, LibrarySource, PreviousLibrary,
};
use crate::site::{Layout, Library, LibraryError, PageSessions, Sha256, LARGEST_ARCHIVE};

use crate::proxy::build_error::BuildError;
use crate::proxy::outbound::fetch::FetchHost;
use crate::proxy::outbound::pools::ConnectionPools;
use crate::proxy::outbound::upstream::Timeouts;
use crate::proxy::random::random_bits;

/// The time limit for fetching an archive.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The shortest time from the start of one fetch to the start of the next.
const PAUSE: Duration = Duration::from_secs(30);

/// Why an archive could not be fetched and stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There are no certificate authorities to verify the archive's host with.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The host gave no answer, or an incomplete one.
    #[error("{url} could not be fetched")]
    Unreachable {
        /// The archive's address.
        url: String,
    },
    /// The archive did not arrive in time.
    #[error("analytics.js did not arrive in time")]
    Late,
    /// The host's answer is not the archive.
    #[error("{url} could not be fetched: it answered {status}")]
    Status {
        /// The archive's address.
        url: String,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The archive does not have the hash in the configuration. It is not stored.
    #[error("{url} is not the expected file: {source}")]
    Wrong {
        /// The archive's address.
        url: String,
        /// The expected hash and the one that was found.
        source: LibraryError,
    },
    /// The archive cannot be written.
    #[error("cannot store {path}: {source}")]
    Keep {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Downloads the analytics.js archives that routes serve and that are not stored yet. Uses no
/// network if all of them exist.
///
/// # Errors
///
/// The first archive that could not be downloaded, or that has another hash.
pub async fn fetch_libraries(config: &Config) -> Result<(), FetchError> {
    for (library, _) in libraries(config) {
        fetch(library, config.delivery.connect_timeout).await?;
    }
    Ok(())
}

/// Checks that the analytics.js libraries of the routes can be loaded. Archives that are not
/// fetched yet are skipped.
///
/// # Errors
///
/// The first library that cannot be served.
pub fn check_libraries(config: &Config) -> Result<(), BuildError> {
    for (library, layout) in libraries(config) {
        load(library, layout, config.page_sessions())?;
    }
    Ok(())
}

fn libraries(config: &Config) -> impl Iterator<Item = (&LibraryFiles, &Layout)> {
    let routes = config.routes.iter();
    routes.filter_map(|route| match &route.action {
        Action::Segment { files, .. } => Some((files.library.as_ref()?, &files.layout)),
        _ => None,
    })
}

/// Makes sure that the current archive is stored.
async fn fetch(library: &LibraryFiles, connect: Duration) -> Result<(), FetchError> {
    let LibrarySource::Url(host, kept) = &library.current else {
        return Ok(());
    };
    if is_kept(kept) {
        return Ok(());
    }
    let url = host.to_string();
    let timeouts = Timeouts {
        connect,
        exchange: TIMEOUT,
    };
    // Separate connections: this may be the only request, on a runtime that ends with it.
    let connections = ConnectionPools::default().of(host, None)?;
    let source = FetchHost::new(host, connections, timeouts);
    let (headers, none) = (HeaderMap::new(), Bytes::new());
    let fetched = source.fetch("GET", "", &headers, none, LARGEST_ARCHIVE);
    let Ok(fetched) = fetched.await else {
        return Err(FetchError::Unreachable { url });
    };
    if fetched.status() != StatusCode::OK {
        let status = fetched.status();
        return Err(FetchError::Status { url, status });
    }
    let found = Sha256::of(fetched.body());
    if found != kept.sha256 {
        let expected = kept.sha256;
        let source = LibraryError::Hash { expected, found };
        return Err(FetchError::Wrong { url, source });
    }
    store(kept, fetched.body()).map_err(|source| FetchError::Keep {
        path: kept.file(),
        source,
    })?;
    log::info!("{url} was fetched and stored in {}", kept.file().display());
    Ok(())
}

/// Whether the right file exists. A damaged one is downloaded again.
fn is_kept(kept: &KeptArchive) -> bool {
    std::fs::read(kept.file()).is_ok_and(|bytes| Sha256::of(&bytes) == kept.sha256)
}

/// Writes the file as a whole or not at all.
fn store(kept: &KeptArchive, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(&kept.folder)?;
    let file = kept.file();
    // Several routes and processes may write it at once.
    let part_file = file.with_extension(format!("{:x}.part", random_bits()));
    let written = std::fs::File::create(&part_file).and_then(|mut part| {
        part.write_all(bytes)?;
        part.sync_all()
    });
    let done = written.and_then(|()| std::fs::rename(&part_file, &file));
    if done.is_err() {
        // Nothing more can be done about a file that cannot even be removed.
        let _ = std::fs::remove_file(&part_file);
    }
    done
}

/// Loads the current library with the chunks of previous ones. Returns `None` while the archive
/// still has to be fetched.
fn load(
    library: &LibraryFiles,
    layout: &Layout,
    sessions: PageSessions,
) -> Result<Option<Library>, BuildError> {
    let failed = |at: PathBuf| move |source| BuildError::Library { folder: at, source };
    let mut loaded = match &library.current {
        LibrarySource::Folder(folder) => {
            Library::load(folder, layout, sessions).map_err(failed(folder.clone()))?
        }
        LibrarySource::Url(_, kept) => {
            if !is_kept(kept) {
                return Ok(None);
            }
            let read = Library::load_archive(&kept.file(), &kept.sha256, layout, sessions);
            match read.map_err(failed(kept.file()))? {
                Some(loaded) => loaded,
                None => return Ok(None),
            }
        }
    };
    // Only the chunks of previous versions are served.
    for previous in &library.previous {
        let before = match previous {
            PreviousLibrary::Folder(folder) => {
                let read = Library::load(folder, layout, PageSessions::Off);
                Some(read.map_err(failed(folder.clone()))?)
            }
            PreviousLibrary::Kept(kept) => {
                let off = PageSessions::Off;
                let read = Library::load_archive(&kept.file(), &kept.sha256, layout, off);
                let read = read.map_err(failed(kept.file()))?;
                if read.is_none() {
                    log::warn!(
                        "{} does not exist: pages that were loaded before the upgrade cannot load \
                         their chunks",
                        kept.file().display()
                    );
                }
                read
            }
        };
        if let Some(before) = before {
            loaded.add_chunks_of(&before);
        }
    }
    Ok(Some(loaded))
}

/// The library of one route.
pub(crate) struct ServedLibrary {
    files: LibraryFiles,
    layout: Layout,
    sessions: PageSessions,
    connect: Duration,
    loaded: ArcSwapOption<Library>,
    /// The state of the files when they were read.
    marks: FileMarks,
    /// When the last fetch began.
    begun: Mutex<Option<Instant>>,
}

impl ServedLibrary {
    /// Loads the library, unless it has to be fetched first.
    ///
    /// # Errors
    ///
    /// When the stored files cannot be served.
    pub(crate) fn new(
        files: &LibraryFiles,
        layout: &Layout,
        sessions: PageSessions,
        connect: Duration,
        marks: FileMarks,
    ) -> Result<Self, BuildError> {
        let loaded = load(files, layout, sessions)?;
        Ok(Self {
            files: files.clone(),
            layout: layout.clone(),
            sessions,
            connect,
            loaded: ArcSwapOption::from(loaded.map(Arc::new)),
            marks,
            begun: Mutex::new(None),
        })
    }

    /// The current state of its files.
    pub(crate) fn marks(files: &LibraryFiles) -> FileMarks {
        FileMarks::of(files.paths())
    }

    /// Whether it was built from the current state of these files.
    pub(crate) fn is_of(
        &self,
        files: &LibraryFiles,
        layout: &Layout,
        sessions: PageSessions,
        marks: &FileMarks,
    ) -> bool {
        self.files == *files
            && self.layout == *layout
            && self.sessions == sessions
            && self.marks == *marks
            && self.loaded.load().is_some()
    }

    /// Returns the library. While it is not stored, this function starts to fetch it in the
    /// background, at most twice a minute, and returns `None` without waiting.
    pub(crate) fn get(self: &Arc<Self>) -> Option<Arc<Library>> {
        if let Some(library) = self.loaded.load_full() {
            return Some(library);
        }
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if begun.is_some_and(|at| at.elapsed() < PAUSE) {
            return None;
        }
        *begun = Some(Instant::now());
        drop(begun);
        let script = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = fetch(&script.files, script.connect).await {
                log::error!("analytics.js: {error}");
                return;
            }
            // Rewriting and compressing take about a second.
            let loading = Arc::clone(&script);
            let loaded = hedgerow_spool::run_blocking(move || {
                load(&loading.files, &loading.layout, loading.sessions)
            });
            match loaded.await {
                Ok(Ok(loaded)) => script.loaded.store(loaded.map(Arc::new)),
                Ok(Err(error)) => log::error!("{error}"),
                Err(error) => log::error!("analytics.js could not be loaded: {error}"),
            }
        });
        None
    }
}
