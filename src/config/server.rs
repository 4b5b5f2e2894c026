//! `server`: the settings of the process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::{ConfigReader, Section};
use super::shape::{KeyType, SectionSchema, PLAIN};

/// `server`.
pub(super) const SERVER: SectionSchema = SectionSchema {
    name: "server",
    label: "`server`",
    at: "server",
    keys: &[
        ("threads", KeyType::Read),
        ("grace", KeyType::Read),
        (
            "upgrade_socket",
            KeyType::AnyOf(&[KeyType::Text, KeyType::Off, KeyType::Nothing]),
        ),
        ("watch", KeyType::Read),
    ],
    ..PLAIN
};

/// The settings of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The number of threads that serve requests.
    pub threads: usize,
    /// How long the requests in flight may continue after the process is told to stop.
    pub grace: Duration,
    /// The socket through which a successor process gets the listening sockets. `None` if off.
    pub upgrade_socket: Option<PathBuf>,
    /// Whether the process reads changed files again without a request to reload.
    pub watch: Watching,
}

/// Whether the process reads changed files again without a request to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watching {
    /// The process reads them again when they change.
    #[default]
    On,
    /// The process reads them again only on request.
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

/// Reads `server`.
pub(super) fn read(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> ServerConfig {
    let mut server = ServerConfig::default();
    let Some(section) = reader.optional_section(top, "server", &SERVER) else {
        return server;
    };
    if let Some(threads) = reader.number(&section, "threads", 1..=1024) {
        server.threads = threads;
    }
    let range = Duration::ZERO..=Duration::from_secs(3600);
    if let Some(grace) = reader.duration(&section, "grace", range) {
        server.grace = grace;
    }
    let words = [("on", Watching::On), ("off", Watching::Off)];
    if let Some(watch) = reader.choice(&section, "watch", &words) {
        server.watch = watch;
    }
    let socket = section.get("upgrade_socket").cloned();
    let socket = socket.filter(|field| !field.is_nothing() && !field.is_off());
    server.upgrade_socket = socket.and_then(|field| {
        let text = reader.text(&field, "off or the path of a socket")?;
        if text.is_empty() {
            reader.wrong(&field, "expected off or the path of a socket");
            return None;
        }
        Some(reader.secrets.resolve(Path::new(text)))
    });
    server
}
