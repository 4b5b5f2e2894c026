//! The properties of a configuration that must hold for any bytes.

use std::env::VarError;
use std::io;
use std::path::{Path, PathBuf};

use hedgerow::config::SecretSource;

/// A configuration never panics, and each mistake is in an existing line.
pub fn config_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(problems) = hedgerow::Config::parse(text, &NoSecrets) {
        // A line ends with LF, CR LF or CR (YAML 1.2, 5.4).
        let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
        assert!(problems.count() > 0, "neither read nor refused");
        for problem in problems.iter() {
            let position = problem.position;
            assert!(
                (1..=lines + 1).contains(&position.line) && position.column > 0,
                "{position:?} of {lines} lines: {}",
                problem.message
            );
        }
        let _ = hedgerow::config::render_problems(&problems, "fuzz.yaml");
    }
}

/// No variables and no files, so that a fuzzer's text cannot make it read this machine's.
struct NoSecrets;

impl SecretSource for NoSecrets {
    fn variable(&self, _: &str) -> Result<String, VarError> {
        Err(VarError::NotPresent)
    }

    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}
