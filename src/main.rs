//! The command line: `hedgerow run`, `reload`, `check`, `doctor`, `health`, `convert`, `spool`, `demo`,
//! `init`, `snippet`, `schema`, `completions` and `man`.

mod cli;

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
