//! One file for each command; here are their names, their flags and their exit codes.

mod check;
mod colour;
mod convert;
mod demo;
mod doctor;
mod file;
mod greeting;
mod health;
mod init;
mod input_texts;
mod man_pages;
mod output;
mod reload;
mod run;
mod schema;
mod snippet;
mod spool;
mod supervisor;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use hedgerow::config::{self, Config, ConfigError};
use hedgerow::logging::{self, LastLines, LimitedLog, LineWriter, OmittedLines};
use hedgerow::proxy::{fetch_libraries, FetchError};

use colour::Colour;
use output::complain;

/// Takes Segment's traffic on a site's own domain, rewrites it in flight and streams it to PostHog.
#[derive(Debug, Parser)]
#[command(name = "hedgerow", version, about, max_term_width = 100, after_help = man_pages::AFTER_HELP)]
struct Cli {
    /// The configuration: without it $HEDGEROW_CONFIG, ./hedgerow.yaml, ./conf/hedgerow.yaml or
    /// /etc/hedgerow/hedgerow.yaml.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    #[command(after_help = man_pages::RUN)]
    Run(run::RunArgs),
    /// Make the running process read its configuration again, and print the result.
    #[command(after_help = man_pages::RELOAD)]
    Reload(reload::ReloadArgs),
    /// Check a configuration: print every mistake with line and column, or else the routes.
    #[command(after_help = man_pages::CHECK)]
    Check(check::CheckArgs),
    /// Check whether events would arrive: the connection to PostHog, the disk, certificates, and
    /// with --url the site from outside. Sends an event named hedgerow_doctor.
    #[command(after_help = man_pages::DOCTOR)]
    Doctor(doctor::DoctorArgs),
    /// Ask the proxy on this machine for its health: for health checks without curl.
    #[command(after_help = man_pages::HEALTH)]
    Health(health::HealthArgs),
    /// Rewrite messages, from files or standard input, to events on standard output.
    #[command(after_help = man_pages::CONVERT)]
    Convert(convert::ConvertArgs),
    /// Show the events that wait for PostHog and the dead letters; works while the proxy runs.
    #[command(after_help = man_pages::SPOOL)]
    Spool(spool::SpoolArgs),
    #[command(after_help = man_pages::DEMO)]
    /// Run a demo on this machine: a shop, the proxy and a stand-in for PostHog.
    Demo(demo::DemoArgs),
    /// Make a complete configuration with fresh neutral paths.
    #[command(after_help = man_pages::INIT)]
    Init(init::InitArgs),
    /// Print the snippet for the pages of a configuration.
    #[command(after_help = man_pages::SNIPPET)]
    Snippet(snippet::SnippetArgs),
    /// Print the JSON Schema of the configuration, for editors that complete and check it.
    #[command(after_help = man_pages::SCHEMA)]
    Schema,
    /// Print the completions for a shell.
    #[command(after_help = man_pages::COMPLETIONS)]
    Completions(man_pages::Completions),
    /// Print the man page, or write those of all commands into a folder.
    #[command(after_help = man_pages::MAN)]
    Man(man_pages::Man),
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommandEnd {
    /// All is well.
    Well,
    /// Some of the input could not be used.
    Refused,
    /// The command cannot do its work: bad flags, a bad configuration, a taken port.
    Unable,
}

impl From<CommandEnd> for ExitCode {
    fn from(end: CommandEnd) -> Self {
        Self::from(match end {
            CommandEnd::Well => 0,
            CommandEnd::Refused => 1,
            CommandEnd::Unable => 2,
        })
    }
}

/// Runs the command that was asked for.
pub fn main() -> ExitCode {
    let Cli { config, command } = match Cli::try_parse() {
        Ok(asked) => asked,
        Err(error) => return output::help_or_mistake(&error),
    };
    let _last_lines = match &command {
        Command::Run(options) => start_log(options.log_format(), options.access()),
        _ => start_log(LogFormat::Text, Access::NotLogged),
    };
    let config = config.as_deref();
    match command {
        Command::Run(options) => run::run(config, &options),
        Command::Reload(options) => reload::reload(config, &options),
        Command::Check(options) => check::check(config, &options),
        Command::Doctor(options) => doctor::doctor(config, &options),
        Command::Health(options) => health::health(config, &options),
        Command::Convert(options) => convert::convert(config, &options),
        Command::Spool(options) => spool::spool(config, &options),
        Command::Snippet(options) => snippet::snippet(config, &options),
        Command::Demo(options) => without_config(config, "demo", || demo::demo(&options)),
        Command::Init(options) => without_config(config, "init", || init::init(&options)),
        Command::Schema => without_config(config, "schema", schema::schema),
        Command::Completions(options) => {
            without_config(config, "completions", || man_pages::completions(&options))
        }
        Command::Man(options) => without_config(config, "man", || man_pages::man(&options)),
    }
    .into()
}

/// Runs a command that reads no configuration. A configuration that is named anyway is an error.
fn without_config(
    config: Option<&Path>,
    command: &str,
    run: impl FnOnce() -> CommandEnd,
) -> CommandEnd {
    match (config, command) {
        (None, _) => run(),
        (Some(_), "init") => {
            complain!(
                "hedgerow: `init` reads no configuration; --output FILE says where to write one"
            );
            CommandEnd::Unable
        }
        (Some(_), _) => {
            complain!("hedgerow: `{command}` reads no configuration: omit -c");
            CommandEnd::Unable
        }
    }
}

/// Writes the log to standard error, by `RUST_LOG` if it is set.
///
/// The framework's own lines contain heads of requests and answers, with cookies and keys, so they
/// are omitted unless `RUST_LOG` names `pingora` itself. The lines have a rate limit by kind and
/// are written by a separate thread; the returned guard waits for the last of them.
fn start_log(format: LogFormat, access: Access) -> Option<LogEnd> {
    const FILTER: &str = "RUST_LOG";
    let default = env_logger::Env::default().default_filter_or("warn,hedgerow=info");
    let mut builder = env_logger::Builder::from_env(default);
    let asked = std::env::var(FILTER).is_ok_and(|filter| filter.contains("pingora"));
    if !asked {
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
    let bounded = Arc::new(LimitedLog::new(logger, "hedgerow::cli"));
    // It is set once, here.
    if log::set_boxed_logger(Box::new(Arc::clone(&bounded))).is_ok() {
        log::set_max_level(most);
        logging::log_panics();
    }
    let teller = Arc::downgrade(&bounded);
    let telling = std::thread::Builder::new().name("log-bound".to_owned());
    // If the system starts no thread, the next line of the kind reports it.
    let _ = telling.spawn(move || {
        while let Some(bounded) = teller.upgrade() {
            bounded.log_omitted(OmittedLines::Over);
            drop(bounded);
            std::thread::sleep(TELLING);
        }
    });
    Some(LogEnd {
        bounded,
        _last: last?,
    })
}

/// How often this process looks for left-out lines that were not reported yet.
const TELLING: Duration = Duration::from_secs(2);

/// Reports left-out lines and waits for the last lines when it is dropped.
struct LogEnd {
    bounded: Arc<LimitedLog<env_logger::Logger>>,
    _last: LastLines,
}

impl Drop for LogEnd {
    fn drop(&mut self) {
        self.bounded.log_omitted(OmittedLines::All);
    }
}

/// The time of day, whatever it is set to: `Utc::now` panics before 1970, and in the line about a panic
/// that would end the process.
fn now() -> chrono::DateTime<chrono::Utc> {
    std::time::SystemTime::now().into()
}

/// A line for people.
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

/// One JSON object: the common fields, and the fields of this line.
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
    // Taking them in cannot fail.
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

/// Whether there is a line for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Logged,
    NotLogged,
}

/// The format of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: time, level, target, message.
    Json,
}

/// Whether a command needs the keys that a configuration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyLookup {
    Needed,
    /// Missing ones are replaced by placeholders.
    Spared,
}

/// Loads a configuration. Mistakes and warnings go to standard error.
fn load(path: &Path, keys: KeyLookup) -> Result<Config, CommandEnd> {
    let name = path.display().to_string();
    let (config, warnings) = or_print_problems(
        path,
        match keys {
            KeyLookup::Needed => Config::load(path),
            KeyLookup::Spared => Config::load_without_secrets(path),
        },
    )?;
    print_lines(&config::render_warnings(&warnings, &name));
    Ok(config)
}

/// Prints the mistakes.
fn or_print_problems<T>(path: &Path, loaded: Result<T, ConfigError>) -> Result<T, CommandEnd> {
    let name = path.display().to_string();
    match loaded {
        Ok(loaded) => Ok(loaded),
        Err(ConfigError::Invalid { problems, .. }) => {
            print_lines(&config::render_problems(&problems, &name));
            Err(CommandEnd::Unable)
        }
        Err(error) => {
            complain!("hedgerow: {error}");
            Err(CommandEnd::Unable)
        }
    }
}

/// Writes lines to standard error.
fn print_lines(lines: &str) {
    if !lines.is_empty() {
        complain!("{}", lines.trim_end());
    }
}

/// How long a start waits for downloads.
const FETCH: Duration = Duration::from_secs(5);

/// Fetches archives that are not stored yet.
fn fetch(config: &Config) -> Result<(), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        // If the system lacks something, the start of the server reports it.
        return Ok(());
    };
    let fetching = async { tokio::time::timeout(FETCH, fetch_libraries(config)).await };
    let fetched = runtime.block_on(fetching);
    fetched.unwrap_or(Err(FetchError::Late))
}
