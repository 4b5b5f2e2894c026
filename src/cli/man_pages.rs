//! The help after the flags, the shell completions and the man pages.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::command_end::CommandEnd;
use super::output::{complain, print};

macro_rules! environment {
    () => {
        "Environment:
  HEDGEROW_CONFIG  the configuration file, if neither -c nor FILE is given
  RUST_LOG         the level of the log, such as hedgerow=debug (default: warn,hedgerow=info)
"
    };
}

/// The help of the program after its flags.
pub(super) const AFTER_HELP: &str = concat!(
    "Examples:
  hedgerow init --host eu --output hedgerow.yaml
  POSTHOG_API_KEY=phc_... hedgerow run
  hedgerow check hedgerow.yaml

",
    environment!(),
    "  and the variables to which the configuration refers with env:NAME

Exit codes:
  0  the command has succeeded
  1  the command has found a problem; `hedgerow COMMAND --help` says which
  2  the command cannot do its work: a flag or the configuration has a mistake, a port is in use"
);

/// The help of `run` after its flags.
pub(super) const RUN: &str = concat!(
    "Examples:
  POSTHOG_API_KEY=phc_... hedgerow run hedgerow.yaml
  hedgerow run --upgrade -c hedgerow.yaml

",
    environment!(),
    "  NOTIFY_SOCKET    set by systemd: on this socket, Hedgerow reports that it is ready

Exit codes:
  0  Hedgerow was stopped
  2  Hedgerow cannot start"
);

/// The help of `reload` after its flags.
pub(super) const RELOAD: &str = concat!(
    "Example:
  hedgerow reload hedgerow.yaml

The command connects to the running process at `server.upgrade_socket`. If the configuration has no
such socket, send SIGHUP to the process. The process also reads a changed file by itself, unless
`server.watch` is off.

",
    environment!(),
    "
Exit codes:
  0  the new configuration is active
  1  the process refuses the new configuration, and continues with the old one
  2  no process answers, or the file has mistakes"
);

/// The help of `schema` after its flags.
pub(super) const SCHEMA: &str = "Example:
  hedgerow schema > hedgerow.schema.json

If your editor uses a YAML language server, write this as the first line of hedgerow.yaml:
  # yaml-language-server: $schema=hedgerow.schema.json";

/// The help of `check` after its flags.
pub(super) const CHECK: &str = concat!(
    "Examples:
  hedgerow check hedgerow.yaml
  hedgerow check --no-secrets conf/hedgerow.yaml
  hedgerow check --online hedgerow.yaml
  hedgerow check --against hedgerow.yaml new.yaml
  hedgerow check --against http://127.0.0.1:9090 hedgerow.yaml

",
    environment!(),
    "
Exit codes:
  0  `run` would start with this configuration
  1  with --online: something is broken
  2  `run` would not start"
);

/// The help of `doctor` after its flags.
pub(super) const DOCTOR: &str = concat!(
    "Examples:
  hedgerow doctor hedgerow.yaml
  hedgerow doctor --url https://shop.example.com

",
    environment!(),
    "
Exit codes:
  0  nothing is broken
  1  something is broken; its line says what to do
  2  the configuration cannot be read, or has mistakes"
);

/// The help of `health` after its flags.
pub(super) const HEALTH: &str = concat!(
    "Examples:
  hedgerow health
  hedgerow health --ready -c /etc/hedgerow/hedgerow.yaml

The command asks the address of `health`; if the configuration has none, that of `admin`; if it has
neither, a listener with a `health` path. It does not need the projects' keys.

",
    environment!(),
    "
Exit codes:
  0  Hedgerow serves; with --ready: it is ready for requests
  1  Hedgerow does not serve, or does not answer within three seconds
  2  the configuration cannot be read, has mistakes, or has no health address"
);

/// The help of `convert` after its flags.
pub(super) const CONVERT: &str = "Examples:
  hedgerow convert --explain < messages.jsonl
  hedgerow convert --type track export.json.gz archive/*.json
  echo '{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\"}' | hedgerow convert

The input is JSON, plain or gzip: messages and batches, each on one line or over several lines, or
arrays of them. Without -c, the command reads no configuration.

Exit codes:
  0  every message became an event, or was left out on purpose
  1  a message was refused; standard error says which and why
  2  the input or the configuration cannot be read";

/// The help of `spool` after its flags.
pub(super) const SPOOL: &str = concat!(
    "Examples:
  hedgerow spool ls
  hedgerow spool ls --json | jq '.dead[].number'
  hedgerow spool show 7
  hedgerow spool retry --all

",
    environment!(),
    "
The command does not need the projects' keys.

Exit codes:
  0  the command has succeeded
  2  the spool or the dead letter does not exist or cannot be used"
);

/// The help of `demo` after its flags.
pub(super) const DEMO: &str = "Example:
  hedgerow demo --port 8090

Exit codes:
  0  the demo was stopped
  2  the demo cannot start";

/// The help of `init` after its flags.
pub(super) const INIT: &str = "Examples:
  hedgerow init --host eu --output hedgerow.yaml
      the web server of the site passes one path on to Hedgerow; `hedgerow snippet` prints the
      lines for nginx
  hedgerow init --origin http://127.0.0.1:3000 --output hedgerow.yaml
      Hedgerow is in front of the site, and adds the snippet to the pages
  hedgerow init --home https://t.example.com --output hedgerow.yaml
      Hedgerow has its own host

Exit codes:
  0  the configuration was written
  2  a flag has a mistake, or the file cannot be written; an existing file stays unchanged";

/// The help of `snippet` after its flags.
pub(super) const SNIPPET: &str = concat!(
    "Examples:
  hedgerow snippet > head.html
  hedgerow snippet --for next -c hedgerow.yaml
  hedgerow snippet --csp

",
    environment!(),
    "
Exit codes:
  0  the snippet is on standard output, and the remaining steps are on standard error
  2  this configuration has no snippet"
);

/// The help of `completions` after its flags.
pub(super) const COMPLETIONS: &str = "Examples:
  hedgerow completions bash > /etc/bash_completion.d/hedgerow
  hedgerow completions fish > ~/.config/fish/completions/hedgerow.fish

Exit codes:
  0  the completions are on standard output
  2  the shell is not supported, or standard output cannot be written";

/// The help of `man` after its flags.
pub(super) const MAN: &str = "Examples:
  hedgerow man | man -l -
  hedgerow man --output /usr/local/share/man/man1

Exit codes:
  0  the man pages were written
  2  the man pages cannot be written";

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the program's completions for the shell.
pub(super) fn completions(mut program: Command, options: &Completions) -> CommandEnd {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut program, "hedgerow", &mut text);
    print(&String::from_utf8_lossy(&text))
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write hedgerow.1 and a page for each command into this folder instead.
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints the program's man page, or writes the pages of all commands into a folder.
pub(super) fn man(program: Command, options: &Man) -> CommandEnd {
    let done = match &options.output {
        Some(folder) => {
            std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(program, folder))
        }
        None => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(program).render(&mut page) {
                Ok(()) => return print(&String::from_utf8_lossy(&page)),
                Err(error) => Err(error),
            }
        }
    };
    match (done, &options.output) {
        (Ok(()), _) => CommandEnd::Well,
        (Err(error), Some(folder)) => {
            complain!("hedgerow: {}: {error}", folder.display());
            CommandEnd::Unable
        }
        (Err(error), None) => {
            complain!("hedgerow: the man page: {error}");
            CommandEnd::Unable
        }
    }
}
