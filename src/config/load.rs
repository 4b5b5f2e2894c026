//! Reads the text of a file into a checked configuration, and reports all mistakes at once.

use std::path::Path;
use std::sync::Arc;

use super::delivery::DeliveryConfig;
use super::library::LibraryFiles;
use super::marks::FileMarks;
use super::model::Config;
use super::outline::{only_problem, outline_of};
use super::problem::{ConfigError, Problems, SourcePosition, Warning};
use super::reader::{ConfigReader, Field, Section};
use super::routes::{Action, Route};
use super::schema::{sections, FILE};
use super::secret::{read_bounded, Environment, SecretSource, WithoutSecrets};
use super::sessions::SessionMode;
use super::source::SourceText;
use super::tree::{self, Node};
use super::{
    acme_checks, admin, delivery, limits, listeners, mapping, privacy, projects, routes, rules,
    server,
};
use crate::rewrite::{EventUuidForm, Mapping};

/// The largest configuration file, in bytes.
pub const FILE_LIMIT: usize = 1 << 20;

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    ///
    /// Returns every mistake in the text, in the order of lines. A text that is not YAML, or is larger than
    /// 1 MiB, is one mistake.
    pub fn parse(text: &str, secrets: &dyn SecretSource) -> Result<(Self, Vec<Warning>), Problems> {
        let start = SourcePosition { line: 1, column: 1 };
        if text.len() > FILE_LIMIT {
            let message = format!("larger than {FILE_LIMIT} bytes");
            return Err(only_problem("", start, message));
        }
        let root = match tree::read(text) {
            Ok(root) => root,
            Err(broken) => return Err(only_problem(text, broken.position, broken.message)),
        };
        let mut mistakes = Vec::new();
        let source = SourceText::new(text, &root, sections(), &mut mistakes);
        let mut reader = ConfigReader::new(secrets, sections(), mistakes);
        let config = compile(&mut reader, &whole(&root));
        match config {
            Some(config) if reader.mistakes.is_empty() => {
                Ok((config, source.problems(reader.warnings).list))
            }
            _ => Err(source.problems(reader.mistakes)),
        }
    }

    /// Reads a file, the process's environment and the files it names.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::Unreadable`] if the file itself cannot be read, and [`ConfigError::Invalid`]
    /// if it has mistakes.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        Self::load_with(path, |folder| Environment::new(folder))
    }

    /// Does the same as [`load`](Self::load), and also returns the marks of every file that belongs to the
    /// configuration. A mark that differs later shows a change. A file with mistakes has marks too.
    #[doc(hidden)]
    pub fn load_marked(path: &Path) -> (Result<(Self, Vec<Warning>), ConfigError>, FileMarks) {
        let mut marks = FileMarks::of([path.to_owned()]);
        let mut source = None;
        let loaded = Self::load_with(path, |folder| {
            source.insert(Environment::new(folder)).clone()
        });
        if let Some(source) = source {
            marks.join(source.marks());
        }
        if let Ok((config, _)) = &loaded {
            for route in &config.routes {
                if let Action::Segment { files, .. } = &route.action {
                    let library = files.library.iter();
                    marks.join(FileMarks::of(library.flat_map(LibraryFiles::paths)));
                }
            }
        }
        (loaded, marks)
    }

    /// Does the same as [`load`](Self::load), but secrets may be missing ([`WithoutSecrets`]). The result
    /// can be inspected, but not used to reach PostHog.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`load`](Self::load).
    pub fn load_without_secrets(path: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        Self::load_with(path, |folder| WithoutSecrets::new(folder))
    }

    fn load_with<S: SecretSource>(
        path: &Path,
        secrets: impl FnOnce(&Path) -> S,
    ) -> Result<(Self, Vec<Warning>), ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let invalid = |problems| ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        };
        let bytes = read_bounded(path, FILE_LIMIT as u64).map_err(unreadable)?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return Err(invalid(not_text(&error))),
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let (mut config, warnings) = Self::parse(&text, &secrets(folder)).map_err(invalid)?;
        config.file = Some(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
        config.outline = outline_of(&text).ok().map(Arc::new);
        Ok((config, warnings))
    }
}

/// Returns the file as one value.
pub(super) fn whole(root: &Node) -> Field<'_> {
    Field {
        node: root,
        key_span: root.span,
        path: String::new(),
    }
}

/// Reads the sections of a file, and checks that they fit each other.
pub(super) fn compile(reader: &mut ConfigReader<'_>, file: &Field<'_>) -> Option<Config> {
    let top = reader.section(file, &FILE)?;
    let listen = listeners::listen(reader, &top);
    acme_checks::check(reader, &top, &listen);
    let (admin, live) = admin::read(reader, &top, &listen).unzip();
    let health = listeners::health(reader, &top, &listen, admin);
    let trusted_proxies = listeners::trusted_proxies(reader, &top);
    let (delivery, spool) = delivery::read(reader, &top);
    let mut declared = projects::read(reader, &top, &listen, (delivery.mode, spool));
    let routes = routes::read(reader, &top, &mut declared, &listen);
    let (mapping, sessions) = mapping::read(reader, &top);
    warn_about_two_ids(reader, &top, &routes, mapping.event_uuid);
    warn_about_pages_without_a_library(reader, &top, &routes, &sessions);
    let mapping = Mapping {
        privacy: privacy::read(reader, &top),
        rules: rules::read(reader, &top),
        ..mapping
    };
    let (limits, bounds) = limits::read(reader, &top);
    warn_about_large_events(reader, &top, &delivery, bounds.event);
    let server = server::read(reader, &top);
    Some(Config {
        file: None,
        outline: None,
        listen,
        admin,
        live: live.unwrap_or_default(),
        health,
        trusted_proxies,
        projects: declared.compiled(),
        routes,
        mapping,
        sessions,
        bounds,
        limits,
        delivery,
        server,
    })
}

/// Warns if pages cannot keep sessions, because they need the code in the library's loader.
fn warn_about_pages_without_a_library(
    reader: &mut ConfigReader<'_>,
    top: &Section<'_>,
    routes: &[Route],
    sessions: &SessionMode,
) {
    let served = routes.iter().any(|route| match &route.action {
        Action::Segment { files, .. } => files.library.is_some(),
        _ => false,
    });
    if let (false, SessionMode::Page, Some(field)) = (served, sessions, top.get("mapping")) {
        reader.warn(
            field,
            "`sessions: page` has no effect: it needs a route with a `library`",
        );
    }
}

/// Warns if the spool may not accept events of the allowed size.
fn warn_about_large_events(
    reader: &mut ConfigReader<'_>,
    top: &Section<'_>,
    delivery: &DeliveryConfig,
    event: usize,
) {
    let Some(spool) = &delivery.spool else { return };
    let warning = spool.place.backend().warning_of_large_events(event);
    if let (Some(warning), Some(field)) = (warning, top.get("limits")) {
        reader.warn(field, warning);
    }
}

/// Warns if PostHog would count events twice. It recognises an event that a Segment account also sends only
/// by its id.
fn warn_about_two_ids(
    reader: &mut ConfigReader<'_>,
    top: &Section<'_>,
    routes: &[Route],
    event_uuid: EventUuidForm,
) {
    let forwards = routes.iter().any(|route| match &route.action {
        Action::Segment { files, .. } => files.forward.is_some(),
        _ => false,
    });
    if let (true, EventUuidForm::V7, Some(field)) = (forwards, event_uuid, top.get("mapping")) {
        reader.warn(
            field,
            "with `event_uuid: v7` and `forward`, PostHog counts each event twice if the Segment \
             account sends it there too: `v5` gives the same id as the account",
        );
    }
}

/// Returns the mistake of a file that is not UTF-8, at the position of the first invalid byte.
fn not_text(error: &std::string::FromUtf8Error) -> Problems {
    let valid = error.utf8_error().valid_up_to();
    let text = error.as_bytes().get(..valid).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let position = SourcePosition { line, column };
    only_problem(&text, position, "not UTF-8 text".to_owned())
}
