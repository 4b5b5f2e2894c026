//! `acme` of a listener's `tls`: a certificate that is ordered and renewed here.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use base64::Engine;

use super::listeners::{Certificate, Listener};
use super::model::CaFile;
use super::pem::{pem, PemContent};
use super::reader::{did_you_mean, ConfigReader, Field, Section};
use super::tree::NodeKind;
use super::{schema, secret};

/// Let's Encrypt's directory, where browsers trust the certificates.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Its directory for trials: generous limits, and certificates that no browser trusts.
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
/// The most names of a certificate; Let's Encrypt takes as many.
const DOMAINS: usize = 100;
/// Where authorities ask for HTTP-01 (RFC 8555, 8.3) and for TLS-ALPN-01 (RFC 8737, 3).
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

const DOMAIN: &str = "a host name such as shop.example.com";
const DIRECTORY: &str = "letsencrypt, letsencrypt-staging or a URL that begins with https://";

/// A certificate that is ordered from an authority by ACME (RFC 8555), and renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The names that it is for, lower case, each once; at least one. The first names its file.
    pub domains: Vec<String>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// The folder that keeps the account's key and the certificates, and that processes share.
    pub storage: PathBuf,
    /// How the names are proven, in the order in which this is tried; at least one.
    pub challenges: Vec<Challenge>,
    /// The authority that the directory's own certificate is checked against, instead of the public
    /// ones.
    pub ca_file: Option<CaFile>,
    /// The account at the authority that the one of ACME belongs to.
    pub external_account: Option<ExternalAccount>,
}

impl AcmeConfig {
    /// The name that its file has.
    pub fn name(&self) -> &str {
        self.domains.first().map_or("", String::as_str)
    }
}

/// How an authority is shown that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// By a file that it fetches over plain HTTP, on port 80.
    Http01,
    /// By a certificate that it is shown on port 443.
    TlsAlpn01,
}

impl Challenge {
    const ALL: [Self; 2] = [Self::TlsAlpn01, Self::Http01];

    /// Its name in the YAML and in ACME.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// An account that was made with the authority beforehand (RFC 8555, 7.3.4). Its key is shown by no
/// `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its name.
    pub key_id: String,
    /// The key that signs for it.
    pub hmac_key: Vec<u8>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_id = &self.key_id;
        formatter
            .debug_tuple("ExternalAccount")
            .field(key_id)
            .finish()
    }
}

/// Reads the section. Without `domains` the certificate is for the hosts of the routes.
pub(super) fn read(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    hosts: &[String],
) -> Option<AcmeConfig> {
    let section = reader.section(field, &schema::ACME)?;
    let domains = match section.get("domains") {
        Some(field) => domains(reader, field),
        None if hosts.is_empty() => {
            reader.lacking(
                &section,
                "`domains` is missing, and no route has a `host` to order a certificate for",
            );
            None
        }
        None => bounded(reader, field, hosts.to_vec()),
    };
    let email = match section.get("email") {
        Some(field) => Some(email(reader, field)?),
        None => None,
    };
    let directory = match section.get("directory") {
        Some(field) => directory(reader, field),
        None => Some(LETS_ENCRYPT.to_owned()),
    };
    let storage = section.require(reader, "storage").cloned();
    let storage = storage.and_then(|field| folder(reader, &field));
    let challenges = match section.get("challenge") {
        Some(field) => challenges(reader, field),
        None => Some(Challenge::ALL.to_vec()),
    };
    let ca_file = match section.get("ca_file") {
        Some(field) => {
            let (path, pem) = pem(reader, &field.clone(), PemContent::Certificate)?;
            Some(CaFile { path, pem })
        }
        None => None,
    };
    let external_account = match section.get("external_account").cloned() {
        Some(field) => Some(external_account(reader, &field)?),
        None => None,
    };
    if cfg!(not(feature = "acme")) {
        reader.wrong_key(
            field,
            "this build cannot order certificates: it was built without the cargo feature acme",
        );
        return None;
    }
    Some(AcmeConfig {
        domains: domains?,
        email,
        directory: directory?,
        storage: storage?,
        challenges: challenges?,
        ca_file,
        external_account,
    })
}

fn domains(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    let entries = field.each();
    if entries.is_empty() {
        reader.expected(field, "at least one host name");
        return None;
    }
    let mut known = Vec::new();
    let mut all_well = true;
    for entry in &entries {
        let text = reader.text(entry, DOMAIN);
        match text.map(domain) {
            Some(Ok(domain)) if known.contains(&domain) => {
                reader.wrong(entry, "the list already has this name");
                all_well = false;
            }
            Some(Ok(domain)) => known.push(domain),
            Some(Err(message)) => {
                reader.wrong(entry, message);
                all_well = false;
            }
            None => all_well = false,
        }
    }
    bounded(reader, field, known).filter(|_| all_well)
}

fn bounded(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    domains: Vec<String>,
) -> Option<Vec<String>> {
    if domains.len() > DOMAINS {
        let message = format!(
            "{} names: a certificate has at most {DOMAINS} names; give `tls` a list of several \
             `acme`",
            domains.len()
        );
        reader.wrong(field, message);
        return None;
    }
    Some(domains)
}

/// A name in the form of a certificate: lower case, other letters than ASCII's in Punycode.
fn domain(text: &str) -> Result<String, String> {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.contains('*') {
        return Err(
            "neither http-01 nor tls-alpn-01 proves a wildcard: name each host, or give \
             `certificate` and `key`"
                .to_owned(),
        );
    }
    if text.contains("://") || text.contains('/') {
        return Err("expected only a host name, without scheme and path".to_owned());
    }
    let expected = || format!("expected {DOMAIN}");
    let name = match url::Host::parse(text) {
        Ok(url::Host::Domain(name)) => name,
        Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => {
            return Err(
                "this is an address: Hedgerow orders certificates only for host \
                names"
                    .to_owned(),
            );
        }
        Err(_) if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            return Err(
                "this is an address: Hedgerow orders certificates only for host \
                names"
                    .to_owned(),
            );
        }
        Err(_) if text.contains(':') => {
            return Err("expected only a host name, without a port".to_owned());
        }
        Err(_) => return Err(expected()),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match name.len() <= 253 && name.split('.').all(is_label) {
        true => Ok(name),
        false => Err(expected()),
    }
}

fn email(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<String> {
    const EXPECTED: &str = "an address such as ops@example.com";
    let text = reader.text(field, EXPECTED)?.trim();
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    let parts = text.split_once('@');
    let is_address = parts.is_some_and(|(user, host)| !user.is_empty() && domain(host).is_ok());
    if !is_address || text.contains([' ', ',', '?', ';', '<']) {
        reader.wrong(field, format!("expected {EXPECTED}"));
        return None;
    }
    Some(text.to_owned())
}

fn directory(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<String> {
    let text = reader.text(field, DIRECTORY)?.trim();
    match text {
        "letsencrypt" => return Some(LETS_ENCRYPT.to_owned()),
        "letsencrypt-staging" => return Some(LETS_ENCRYPT_STAGING.to_owned()),
        _ => {}
    }
    let url = url::Url::parse(text).ok();
    let url = url.filter(|url| url.scheme() == "https" && url.host().is_some());
    match url {
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            reader.wrong(field, "Hedgerow never sends the name or password in it");
            None
        }
        Some(url) => Some(url.into()),
        None => {
            let hint = did_you_mean(text, ["letsencrypt", "letsencrypt-staging"]);
            reader.wrong(field, format!("expected {DIRECTORY}{hint}"));
            None
        }
    }
}

fn folder(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<PathBuf> {
    const EXPECTED: &str = "the path of a folder";
    let text = reader.text(field, EXPECTED)?;
    if text.trim().is_empty() {
        reader.wrong(field, format!("expected {EXPECTED}"));
        return None;
    }
    Some(reader.secrets.resolve(Path::new(text)))
}

fn challenges(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Vec<Challenge>> {
    let names = Challenge::ALL.map(Challenge::name);
    let entries = field.each();
    if entries.is_empty() {
        reader.expected(field, "at least one of http-01 and tls-alpn-01");
        return None;
    }
    let mut chosen = Vec::new();
    let mut all_well = true;
    for entry in &entries {
        let text = reader.text(entry, "http-01 or tls-alpn-01");
        let Some(text) = text else {
            all_well = false;
            continue;
        };
        let found = Challenge::ALL.into_iter().find(|one| one.name() == text);
        match found {
            Some(one) if chosen.contains(&one) => {
                reader.wrong(entry, "the list already has this challenge");
                all_well = false;
            }
            Some(one) => chosen.push(one),
            None => {
                let message = match text {
                    "dns-01" => "dns-01 is not supported; expected http-01 or tls-alpn-01".into(),
                    _ => {
                        let hint = did_you_mean(text, names);
                        format!("expected http-01 or tls-alpn-01{hint}")
                    }
                };
                reader.wrong(entry, message);
                all_well = false;
            }
        }
    }
    all_well.then_some(chosen)
}

fn external_account(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<ExternalAccount> {
    let section = reader.section(field, &schema::EXTERNAL_ACCOUNT)?;
    let key_id = section.require(reader, "key_id").cloned();
    let key_id = key_id.and_then(|field| {
        let (text, origin) = secret::named(
            reader,
            &field,
            "the name that the authority has given \
            you",
        )?;
        let text = text.trim().to_owned();
        if text.is_empty() {
            reader.wrong(&field, format!("{origin}is empty"));
            return None;
        }
        Some(text)
    });
    let hmac_key = section.require(reader, "hmac_key").cloned();
    let hmac_key = hmac_key.and_then(|field| {
        const EXPECTED: &str = "the key that the authority has given you, in base64url";
        let (text, origin) = secret::named(reader, &field, EXPECTED)?;
        let text = text.trim();
        let key = URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text));
        match key {
            Ok(key) if !key.is_empty() => Some(key),
            _ => {
                reader.wrong(&field, format!("{origin}expected {EXPECTED}"));
                None
            }
        }
    });
    Some(ExternalAccount {
        key_id: key_id?,
        hmac_key: hmac_key?,
    })
}

/// The hosts that the routes of a file name, for certificates without names. Their mistakes are
/// reported where the routes are read.
pub(super) fn hosts(top: &Section<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    let routes = top.get("routes").map(Field::each).unwrap_or_default();
    for route in &routes {
        let host = below(route, "host");
        let host = host.and_then(|field| domain(field.text()?).ok());
        let home = below(route, "home");
        let home = home.and_then(|field| {
            let url = url::Url::parse(field.text()?).ok()?;
            domain(url.host_str().filter(|_| url.scheme() == "https")?).ok()
        });
        for name in [host, home].into_iter().flatten() {
            if !hosts.contains(&name) {
                hosts.push(name);
            }
        }
    }
    hosts
}

fn below<'n>(field: &Field<'n>, key: &str) -> Option<Field<'n>> {
    let mut entries = field.entries().iter();
    let entry = entries.find(|entry| entry.key == key)?;
    Some(field.entry(entry))
}

/// The checks that need every listener.
pub(super) fn check(reader: &mut ConfigReader<'_>, top: &Section<'_>, listen: &[Listener]) {
    let mut files: Vec<(Field<'_>, &AcmeConfig)> = Vec::new();
    let listens = top.get("listen").map(Field::each).unwrap_or_default();
    let plain = listen
        .iter()
        .any(|listener| listener.tls.is_none() && listener.address.port() == HTTP);
    let mut warned = false;
    // An entry with a mistake is not a listener, and these checks follow when it is corrected.
    if listens.len() != listen.len() {
        return;
    }
    for (entry, listener) in listens.iter().zip(listen) {
        let certificates = match below(entry, "tls") {
            Some(field) if matches!(field.node.kind, NodeKind::List(_)) => field.each(),
            Some(field) => vec![field],
            None => continue,
        };
        for (field, certificate) in certificates.iter().zip(listener.certificates()) {
            let (Certificate::Acme(acme), Some(field)) = (certificate, below(field, "acme")) else {
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
                        "{} (line {}) keeps another certificate of {} in the same `storage`: give \
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_a_host_name_that_can_be_proven() {
        for (text, expected) in [
            ("shop.example.com", "shop.example.com"),
            (" Shop.Example.COM. ", "shop.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("a1-b.example", "a1-b.example"),
            ("intranet", "intranet"),
        ] {
            assert_eq!(domain(text).as_deref(), Ok(expected), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for (text, expected) in [
            ("*.example.com", "wildcard"),
            ("https://shop.example", "without scheme"),
            ("shop.example/a", "without scheme"),
            ("shop.example:443", "without a port"),
            ("203.0.113.9", "an address"),
            ("2001:db8::1", "an address"),
            ("[2001:db8::1]", "an address"),
            ("under_score.example", "expected a host name"),
            ("-a.example", "expected a host name"),
            ("a..example", "expected a host name"),
            (&long, "expected a host name"),
            ("", "expected a host name"),
            ("a b.example", "expected a host name"),
        ] {
            let error = domain(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
