//! The log of a process, on standard error.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use hedgerow::logging::{self, LastLines, LimitedLog, LineWriter, OmittedLines};

use super::colour::Colour;

/// Starts the log on standard error. `RUST_LOG` sets its levels.
///
/// Pingora's own lines contain the headers of requests and responses, with cookies and keys, so they
/// are omitted unless `RUST_LOG` names `pingora`. Each kind of line has a rate limit. A separate thread
/// writes the lines; the returned guard waits for the last of them.
pub(super) fn start_log(format: LogFormat, access: Access) -> Option<LogEnd> {
    const FILTER: &str = "RUST_LOG";
    let default = env_logger::Env::default().default_filter_or("warn,hedgerow=info");
    let mut builder = env_logger::Builder::from_env(default);
    let wants_pingora = std::env::var(FILTER).is_ok_and(|filter| filter.contains("pingora"));
    if !wants_pingora {
        builder.filter_module("pingora", log::LevelFilter::Off);
    }
    if access == Access::Logged {
        builder.filter_module(logging::ACCESS, log::LevelFilter::Debug);
    }
    match format {
        LogFormat::Json => builder.format(json_line),
        LogFormat::Text => {
            let colour = Colour::of_the_log();
            builder.format(move |out, record| text_line(out, record, colour))
        }
    };
    let started = LineWriter::start(std::io::stderr());
    let last = started.ok().map(|(writer, last)| {
        builder.target(env_logger::Target::Pipe(Box::new(writer)));
        last
    });
    let logger = builder.build();
    let most = logger.filter();
    let limited_log = Arc::new(LimitedLog::new(logger, "hedgerow::cli"));
    // Only this function sets the logger.
    if log::set_boxed_logger(Box::new(Arc::clone(&limited_log))).is_ok() {
        log::set_max_level(most);
        logging::log_panics();
    }
    let weak_log = Arc::downgrade(&limited_log);
    let thread = std::thread::Builder::new().name("log-bound".to_owned());
    // If the thread cannot start, the next line of the same kind reports the omitted lines.
    let _ = thread.spawn(move || {
        while let Some(limited_log) = weak_log.upgrade() {
            limited_log.log_omitted(OmittedLines::Over);
            drop(limited_log);
            std::thread::sleep(REPORT_INTERVAL);
        }
    });
    Some(LogEnd {
        limited_log,
        _last: last?,
    })
}

/// The interval at which the process looks for omitted lines that it has not reported yet.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// Reports the omitted lines and waits for the last lines when it is dropped.
pub(super) struct LogEnd {
    limited_log: Arc<LimitedLog<env_logger::Logger>>,
    _last: LastLines,
}

impl Drop for LogEnd {
    fn drop(&mut self) {
        self.limited_log.log_omitted(OmittedLines::All);
    }
}

/// Writes a log line for people.
fn text_line(
    out: &mut env_logger::fmt::Formatter,
    record: &log::Record<'_>,
    colour: Colour,
) -> std::io::Result<()> {
    let time = now().format("%Y-%m-%dT%H:%M:%SZ");
    let head = colour.head(time, record.level(), record.target());
    // Text after a line break belongs to the same line of the log.
    let message = record.args().to_string().replace('\n', "\n    ");
    writeln!(out, "{head} {message}")
}

/// Writes a log line as one JSON object, with the common fields and those of this record.
fn json_line(
    out: &mut env_logger::fmt::Formatter,
    record: &log::Record<'_>,
) -> std::io::Result<()> {
    let mut line = serde_json::Map::new();
    let level = record.level().as_str().to_lowercase();
    let time = now().format("%Y-%m-%dT%H:%M:%S%.3fZ");
    line.insert("time".to_owned(), time.to_string().into());
    line.insert("level".to_owned(), level.into());
    line.insert("target".to_owned(), record.target().into());
    line.insert("message".to_owned(), record.args().to_string().into());
    let mut fields = JsonFields(line);
    // `visit_pair` never returns an error.
    let _ = record.key_values().visit(&mut fields);
    writeln!(out, "{}", serde_json::Value::Object(fields.0))
}

struct JsonFields(serde_json::Map<String, serde_json::Value>);

impl<'k> log::kv::VisitSource<'k> for JsonFields {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'k>,
        value: log::kv::Value<'k>,
    ) -> Result<(), log::kv::Error> {
        let value = match (value.to_u64(), value.to_f64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => value.to_string().into(),
        };
        self.0.insert(key.to_string(), value);
        Ok(())
    }
}

/// Whether the log has a line for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Logged,
    NotLogged,
}

/// The format of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: time, level, target, message.
    Json,
}

/// Returns the current time, even if the clock is before 1970. `Utc::now` panics then, and a second panic
/// while the log reports a first one would end the process.
pub(super) fn now() -> chrono::DateTime<chrono::Utc> {
    std::time::SystemTime::now().into()
}
