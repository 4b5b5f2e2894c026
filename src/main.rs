//! The command line: `hedgerow run`, `check`, `convert`, `spool`, `demo`, `init` and `snippet`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
