//! What commands write: a pipe that is closed, or a disk that is full, is no reason to panic.

use std::io::{self, Write};

use super::End;

/// Writes a line to standard error. Where it cannot be written, nobody can be told.
macro_rules! complain {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($words)*);
    }};
}

pub(super) use complain;

/// Writes a command's result to standard output. A reader that has seen enough is no failure.
pub(super) fn print(text: &str) -> End {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => End::Well,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => End::Well,
        Err(error) => {
            complain!("hedgerow: standard output: {error}");
            End::Unable
        }
    }
}
