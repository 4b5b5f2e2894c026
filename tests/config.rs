//! Reading a configuration file reports every mistake at once and at its place, shows no secret,
//! and gives the file's values.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "config/certificates.rs"]
mod certificates;
#[path = "config/first_party.rs"]
mod first_party;
#[path = "config/hostile.rs"]
mod hostile;
#[path = "config/mistakes.rs"]
mod mistakes;
#[path = "config/mistakes_in_routes.rs"]
mod mistakes_in_routes;
#[path = "config/policies.rs"]
mod policies;
#[path = "config/routing.rs"]
mod routing;
#[path = "config/secrets.rs"]
mod secrets;
#[path = "config/sessions.rs"]
mod sessions;
#[path = "config/shipped.rs"]
mod shipped;
#[path = "config/spool.rs"]
mod spool;
#[path = "config/switches.rs"]
mod switches;

use std::env::VarError;
use std::io;
use std::path::{Path, PathBuf};

use hedgerow::config::{Config, Problems, SecretSource, Warning};

/// Answers for every variable and every file, except for some special names.
pub struct Answers;

pub const VARIABLE: &str = "phc_fromTheEnvironment";
pub const FILE: &str = "phc_fromTheFile";

impl SecretSource for Answers {
    fn variable(&self, name: &str) -> Result<String, VarError> {
        match name {
            "UNSET" => Err(VarError::NotPresent),
            "EMPTY" => Ok(String::new()),
            "SESSIONS" => Ok("a secret of at least thirty-two bytes".to_owned()),
            "PERSONAL" => Ok("phx_personalSecret".to_owned()),
            _ => Ok(VARIABLE.to_owned()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let name = path.to_string_lossy();
        if name.contains("missing") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(match name.ends_with(".pem") {
            true => b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
          -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
                .to_vec(),
            false => format!("{FILE}\n").into_bytes(),
        })
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        Path::new("/folder").join(path)
    }
}

pub fn read(text: &str) -> Result<(Config, Vec<Warning>), Problems> {
    Config::parse(text, &Answers)
}

/// The smallest file that works: one project, one route.
pub const SHORTEST: &str = "\
projects:
  shop: {host: us, api_key: env:KEY}
routes:
  - path: /hr/
    segment: {project: shop}
";

/// The smallest file with more behind it.
pub fn with(more: &str) -> String {
    format!("{SHORTEST}{more}")
}
