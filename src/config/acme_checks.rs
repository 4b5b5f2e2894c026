//! Checks that the ordered certificates fit each other and the listeners.

use super::acme::{AcmeConfig, Challenge};
use super::listeners::{Certificate, Listener};
use super::reader::{ConfigReader, Field, Section};
use super::tree::NodeKind;

/// The ports on which authorities request HTTP-01 (RFC 8555, 8.3) and TLS-ALPN-01 (RFC 8737, 3).
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Runs the checks that need every listener.
pub(super) fn check(reader: &mut ConfigReader<'_>, top: &Section<'_>, listen: &[Listener]) {
    let mut files: Vec<(Field<'_>, &AcmeConfig)> = Vec::new();
    let entries = top.get("listen").map(Field::each).unwrap_or_default();
    let plain = listen
        .iter()
        .any(|listener| listener.tls.is_none() && listener.address.port() == HTTP);
    let mut warned = false;
    // An entry with a mistake gives no listener. These checks run once the mistake is corrected.
    if entries.len() != listen.len() {
        return;
    }
    for (entry, listener) in entries.iter().zip(listen) {
        let certificates = match entry.below("tls") {
            Some(field) if matches!(field.node.kind, NodeKind::List(_)) => field.each(),
            Some(field) => vec![field],
            None => continue,
        };
        for (field, certificate) in certificates.iter().zip(listener.certificates()) {
            let (Certificate::Acme(acme), Some(field)) = (certificate, field.below("acme")) else {
                continue;
            };
            let same_file = |(_, other): &&(Field<'_>, &AcmeConfig)| {
                other.name() == acme.name()
                    && other.storage == acme.storage
                    && other.directory == acme.directory
            };
            match files.iter().find(same_file) {
                Some((_, other)) if *other == acme => continue,
                Some((other, _)) => {
                    let message = format!(
                        "{} (line {}) stores another certificate of {} in the same `storage`: give \
                         both the same settings, or another first name",
                        other.path,
                        other.node.span.start.line,
                        acme.name()
                    );
                    reader.wrong_key(&field, message);
                    continue;
                }
                None => {}
            }
            let (http, alpn) = (Challenge::Http01, Challenge::TlsAlpn01);
            let secure = listener.address.port() == HTTPS;
            let words = match acme.challenges.as_slice() {
                [only] if *only == http && !plain => Some(
                    "authorities request http-01 on port 80, but no listener without `tls` has \
                     that port: this works only if it is forwarded to such a listener",
                ),
                [only] if *only == alpn && !secure => Some(
                    "authorities request tls-alpn-01 on port 443: this works only if that port is \
                     forwarded to this listener",
                ),
                [_, _] if !plain && !secure => Some(
                    "authorities request port 80 (http-01, on a listener without `tls`) or port \
                     443 (tls-alpn-01): this works only if one of them is forwarded to Hedgerow",
                ),
                _ => None,
            };
            if let (Some(words), false) = (words, warned) {
                reader.warn(&field, words);
                warned = true;
            }
            files.push((field, acme));
        }
    }
}
