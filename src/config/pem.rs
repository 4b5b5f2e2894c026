//! The certificates and keys that a configuration names, as PEM files.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{from_buf, Error, SectionKind};

use super::reader::{ConfigReader, Field};

/// The certificates of a private certificate authority.
#[derive(Clone, PartialEq, Eq)]
pub struct CaFile {
    /// The path from which it was read.
    pub path: PathBuf,
    /// The certificates, as PEM.
    pub pem: Vec<u8>,
}

impl fmt::Debug for CaFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("CaFile").field(&self.path).finish()
    }
}

/// The required content of a PEM file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PemContent {
    /// A certificate, or several.
    Certificate,
    /// A private key of any form.
    PrivateKey,
}

impl PemContent {
    fn is(self, kind: SectionKind) -> bool {
        use SectionKind::{Certificate, EcPrivateKey, PrivateKey, RsaPrivateKey};
        match self {
            Self::Certificate => kind == Certificate,
            Self::PrivateKey => matches!(kind, PrivateKey | RsaPrivateKey | EcPrivateKey),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::PrivateKey => "private key",
        }
    }
}

/// Reads the path of a PEM file and the file itself, and checks that each of its blocks can be decoded.
pub(super) fn pem(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    content: PemContent,
) -> Option<(PathBuf, Vec<u8>)> {
    let text = reader.text(field, "the path of a PEM file")?;
    // If someone pastes a key instead of its path, it must not appear in a log.
    if text.is_empty() || text.len() > 1024 || text.contains('\n') {
        reader.wrong(field, "expected the path of a PEM file");
        return None;
    }
    let path = reader.secrets.resolve(Path::new(text));
    let bytes = match reader.secrets.file(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            reader.wrong(field, format!("cannot read {}: {error}", path.display()));
            return None;
        }
    };
    match check(&bytes, content) {
        Ok(()) => Some((path, bytes)),
        Err(reason) => {
            reader.wrong(field, format!("{} {reason}", path.display()));
            None
        }
    }
}

/// Checks a PEM file. The error states why the file cannot be used, without any of its content.
fn check(bytes: &[u8], content: PemContent) -> Result<(), String> {
    let mut rest = bytes;
    let mut holds = false;
    loop {
        let from = bytes.len() - rest.len();
        match from_buf(&mut rest) {
            Ok(Some((kind, _))) => holds |= content.is(kind),
            Ok(None) if holds => return Ok(()),
            Ok(None) => return Err(format!("contains no PEM {}", content.words())),
            Err(error) => {
                let what = match error {
                    Error::MissingSectionEnd { .. } => "has no end",
                    Error::Base64Decode(_) => "is not base64",
                    _ => "cannot be read",
                };
                let line = line_of_block(bytes, from);
                return Err(format!("has a PEM block in line {line} that {what}"));
            }
        }
    }
}

/// Returns the line of the first block that begins at or after this byte, counted from 1.
fn line_of_block(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let begin = memchr::memmem::find(rest, b"-----BEGIN").unwrap_or_default();
    let before = bytes.get(..from + begin).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_cannot_be_decoded_is_named_by_its_line() {
        let good = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        let damaged = "-----BEGIN CERTIFICATE-----\nAA*A\n-----END CERTIFICATE-----\n";
        let open = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let certificate = |text: &str| check(text.as_bytes(), PemContent::Certificate);
        let refused = |reason: &str| Err(reason.to_owned());
        for (text, expected) in [
            (good.to_owned(), Ok(())),
            (format!("words\n{good}\nwords\n{key}{good}"), Ok(())),
            (String::new(), refused("contains no PEM certificate")),
            (key.to_owned(), refused("contains no PEM certificate")),
            (
                format!("{good}words\n{damaged}{good}"),
                refused("has a PEM block in line 5 that is not base64"),
            ),
            (
                format!("{good}{open}"),
                refused("has a PEM block in line 4 that has no end"),
            ),
        ] {
            assert_eq!(certificate(&text), expected, "{text}");
        }
        assert_eq!(check(key.as_bytes(), PemContent::PrivateKey), Ok(()));
    }
}
