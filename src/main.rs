//! The command line: `hedgerow run`, `check`, `convert`, `spool` and `demo`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
