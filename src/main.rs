//! The command line: `hedgerow run`, `check`, `doctor`, `convert`, `spool`, `demo`, `init`, `snippet`,
//! `completions` and `man`.

mod cli;

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
