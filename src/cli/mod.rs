//! One file for each command; here are their names, their flags and their exit codes.

mod check;
mod convert;
mod demo;
mod greeting;
mod init;
mod output;
mod run;
mod snippet;
mod spool;
mod supervisor;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hedgerow::config::{self, Config, ConfigError, Warning};
use hedgerow::logging::{Bounded, LastLines, LineWriter};
use hedgerow::proxy::{fetch_libraries, FetchError};

use output::complain;

/// Takes Segment's traffic on a site's own domain, rewrites it in flight and streams it to PostHog.
#[derive(Debug, Parser)]
#[command(name = "hedgerow", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run(run::Options),
    /// Look a configuration over: every mistake with line and column, or else the routes.
    Check(File),
    /// Rewrite messages from standard input, one JSON text a line, to events on standard output.
    Convert(convert::Options),
    /// Look at what waits for PostHog and at what it refused for good; works while the proxy runs.
    Spool(spool::Options),
    /// Show the whole way of an event on this machine: a shop, the proxy, a stand-in for PostHog.
    Demo(demo::Options),
    /// Print a complete configuration with fresh neutral paths.
    Init(init::Options),
    /// Print what goes on a page for a configuration.
    Snippet(snippet::Options),
}

#[derive(Debug, Args)]
struct File {
    /// The configuration.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "conf/hedgerow.yaml",
        global = true
    )]
    config: PathBuf,
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All is well.
    Well,
    /// Some of the input could not be used.
    Refused,
    /// The command cannot do its work: bad flags, a bad configuration, a taken port.
    Unable,
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        Self::from(match end {
            End::Well => 0,
            End::Refused => 1,
            End::Unable => 2,
        })
    }
}

/// Runs the command that was asked for.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    let _last_lines = match &command {
        Command::Run(options) => start_log(options.log_format()),
        _ => start_log(LogFormat::Text),
    };
    match command {
        Command::Run(options) => run::run(&options),
        Command::Check(file) => check::check(&file.config),
        Command::Convert(options) => convert::convert(&options),
        Command::Spool(options) => spool::spool(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Init(options) => init::init(&options),
        Command::Snippet(options) => snippet::snippet(&options),
    }
    .into()
}

/// Writes the log to standard error, by `RUST_LOG` if it is set.
///
/// The framework's own lines hold heads of requests and answers, with cookies and keys, so they are
/// left out unless `RUST_LOG` names `pingora` itself. The lines are bounded by kind and written from
/// a thread of their own; what comes back waits for the last of them.
fn start_log(format: LogFormat) -> Option<LastLines> {
    const FILTER: &str = "RUST_LOG";
    let default = env_logger::Env::default().default_filter_or("warn,hedgerow=info");
    let mut builder = env_logger::Builder::from_env(default);
    let asked = std::env::var(FILTER).is_ok_and(|filter| filter.contains("pingora"));
    if !asked {
        builder.filter_module("pingora", log::LevelFilter::Off);
    }
    if format == LogFormat::Json {
        builder.format(|out, record| {
            let line = serde_json::json!({
                "time": out.timestamp_millis().to_string(),
                "level": record.level().as_str().to_lowercase(),
                "target": record.target(),
                "message": record.args().to_string(),
            });
            writeln!(out, "{line}")
        });
    }
    let started = LineWriter::start(std::io::stderr());
    let last = started.ok().map(|(writer, last)| {
        builder.target(env_logger::Target::Pipe(Box::new(writer)));
        last
    });
    let logger = builder.build();
    let most = logger.filter();
    // It is set once, here.
    if log::set_boxed_logger(Box::new(Bounded::new(logger, "hedgerow::cli"))).is_ok() {
        log::set_max_level(most);
    }
    last
}

/// How the lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: time, level, target, message.
    Json,
}

/// Loads a configuration. What is wrong with it, or only worth a word, goes to standard error.
fn load(path: &std::path::Path) -> Result<Config, End> {
    let name = path.display().to_string();
    let (config, warnings) = load_with_warnings(path)?;
    remark(&config::render_warnings(&warnings, &name));
    Ok(config)
}

/// The same, for a command that has something of its own to do with what is worth a word.
fn load_with_warnings(path: &std::path::Path) -> Result<(Config, Vec<Warning>), End> {
    let name = path.display().to_string();
    match Config::load(path) {
        Ok(loaded) => Ok(loaded),
        Err(ConfigError::Invalid { problems, .. }) => {
            remark(&config::render_problems(&problems, &name));
            Err(End::Unable)
        }
        Err(error) => {
            complain!("hedgerow: {error}");
            Err(End::Unable)
        }
    }
}

/// Writes lines to standard error.
fn remark(lines: &str) {
    if !lines.is_empty() {
        complain!("{}", lines.trim_end());
    }
}

/// How long a start waits for what it has to fetch.
const FETCH: Duration = Duration::from_secs(5);

/// Fetches what is to be kept and is not there yet.
fn fetch(config: &Config) -> Result<(), FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        // Whatever the system lacks, it will say so when the server starts.
        return Ok(());
    };
    let fetching = async { tokio::time::timeout(FETCH, fetch_libraries(config)).await };
    let fetched = runtime.block_on(fetching);
    fetched.unwrap_or(Err(FetchError::Late))
}
