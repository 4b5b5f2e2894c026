//! The command line. Each command has its own file; this one lists the commands and runs the chosen one.

mod check;
mod colour;
mod command_end;
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
mod process_log;
mod reload;
mod run;
mod schema;
mod snippet;
mod spool;
mod supervisor;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use command_end::CommandEnd;
use output::complain;
use process_log::{start_log, Access, LogFormat};

/// Receives Segment's calls on a site's own domain, rewrites them in flight and streams them to PostHog.
#[derive(Debug, Parser)]
#[command(name = "hedgerow", version, about, max_term_width = 100, after_help = man_pages::AFTER_HELP)]
struct Cli {
    /// The configuration file. The default is $HEDGEROW_CONFIG, or else the first of ./hedgerow.yaml,
    /// ./conf/hedgerow.yaml and /etc/hedgerow/hedgerow.yaml that exists.
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve requests.
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
    /// Ask the Hedgerow on this machine for its health: for health checks without curl.
    #[command(after_help = man_pages::HEALTH)]
    Health(health::HealthArgs),
    /// Rewrite messages from files or standard input into events on standard output.
    #[command(after_help = man_pages::CONVERT)]
    Convert(convert::ConvertArgs),
    /// Show the events that wait for PostHog, and the dead letters; Hedgerow may run meanwhile.
    #[command(after_help = man_pages::SPOOL)]
    Spool(spool::SpoolArgs),
    #[command(after_help = man_pages::DEMO)]
    /// Run a demo on this machine: a shop, Hedgerow and a stand-in for PostHog.
    Demo(demo::DemoArgs),
    /// Write a complete configuration with new neutral paths.
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
    /// Print the man page, or write the man pages of all commands into a folder.
    #[command(after_help = man_pages::MAN)]
    Man(man_pages::Man),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let Cli { config, command } = match Cli::try_parse() {
        Ok(cli) => cli,
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
            let program = Cli::command();
            without_config(config, "completions", || {
                man_pages::completions(program, &options)
            })
        }
        Command::Man(options) => {
            without_config(config, "man", || man_pages::man(Cli::command(), &options))
        }
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
