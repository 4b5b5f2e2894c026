//! `acme` of a listener's `tls`: a certificate that this process orders and renews.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use base64::Engine;

use super::pem::{pem, CaFile, PemContent};
use super::reader::{did_you_mean, ConfigReader, Field, Section};
use super::references;
use super::shape::{KeyType, SectionSchema, PLAIN, SECRET};

/// Let's Encrypt's directory. Browsers trust its certificates.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt's directory for trials. It has generous limits, and no browser trusts its certificates.
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
/// The largest number of names in a certificate. Let's Encrypt has the same limit.
const DOMAINS: usize = 100;

const DOMAIN: &str = "a host name such as shop.example.com";
const DIRECTORY: &str = "letsencrypt, letsencrypt-staging or a URL that begins with https://";

/// The form of a name that can be proven over HTTP or TLS: no wildcard, port or path.
const DOMAIN_FORM: KeyType = KeyType::Pattern(r"^[^*:/\s]+$");

/// `acme` of `tls`.
pub(super) const ACME: SectionSchema = SectionSchema {
    name: "acme",
    label: "`acme` of `tls`",
    at: "listen[0].tls.acme",
    required: &["storage"],
    keys: &[
        ("domains", KeyType::OneOrMore(&DOMAIN_FORM)),
        ("email", KeyType::Pattern("^[^@ ]+@[^@ ]+$")),
        (
            "directory",
            KeyType::Pattern("^(letsencrypt|letsencrypt-staging|https://.+)$"),
        ),
        ("storage", KeyType::Text),
        (
            "challenge",
            KeyType::OneOrMore(&KeyType::Words(&["tls-alpn-01", "http-01"])),
        ),
        ("ca_file", KeyType::Text),
        ("external_account", KeyType::Section("external_account")),
    ],
    ..PLAIN
};

/// The `external_account` of `acme`.
pub(super) const EXTERNAL_ACCOUNT: SectionSchema = SectionSchema {
    name: "external_account",
    label: "`external_account` of `acme`",
    at: "listen[0].tls.acme.external_account",
    required: &["key_id", "hmac_key"],
    keys: &[("key_id", SECRET), ("hmac_key", SECRET)],
    ..PLAIN
};

/// A certificate that the process orders from an authority by ACME (RFC 8555), and renews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// The names in the certificate, in lower case, each once; at least one. Its file has the first name.
    pub domains: Vec<String>,
    /// The mail address at which the authority may contact the operator.
    pub email: Option<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// The folder that stores the account's key and the certificates. Processes may share it.
    pub storage: PathBuf,
    /// The challenges that prove the names, in the order in which they are tried; at least one.
    pub challenges: Vec<Challenge>,
    /// The authority that must have signed the directory's own certificate, instead of the public ones.
    pub ca_file: Option<CaFile>,
    /// The existing account at the authority to which the ACME account is bound.
    pub external_account: Option<ExternalAccount>,
}

impl AcmeConfig {
    /// Returns the name of the certificate's file, which is the first domain.
    pub fn name(&self) -> &str {
        self.domains.first().map_or("", String::as_str)
    }
}

/// The way to prove to an authority that a name belongs to this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// The authority fetches a file over plain HTTP, on port 80.
    Http01,
    /// The authority connects to port 443, and gets a certificate that contains the proof.
    TlsAlpn01,
}

impl Challenge {
    const ALL: [Self; 2] = [Self::TlsAlpn01, Self::Http01];

    /// Returns the challenge's name in the YAML and in ACME.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// An account that already exists at the authority (RFC 8555, 7.3.4). `Debug` does not show its key.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The name of the account.
    pub key_id: String,
    /// The key that signs for the account.
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

/// Reads `acme`. Without `domains` the certificate is for the hosts of the routes.
pub(super) fn read(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    hosts: &[String],
) -> Option<AcmeConfig> {
    let section = reader.section(field, &ACME)?;
    let domains = match section.get("domains") {
        Some(field) => domains(reader, field),
        None if hosts.is_empty() => {
            reader.incomplete(
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

/// Returns a name in the form of a certificate: in lower case, with Punycode for letters outside ASCII.
fn domain(text: &str) -> Result<String, String> {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.contains('*') {
        return Err(
            "http-01 and tls-alpn-01 cannot verify a wildcard: list each host, or set `certificate` and `key`"
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
    let section = reader.section(field, &EXTERNAL_ACCOUNT)?;
    let key_id = section.require(reader, "key_id").cloned();
    let key_id = key_id.and_then(|field| {
        let (text, origin) = references::named(
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
        let (text, origin) = references::named(reader, &field, EXPECTED)?;
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

/// Returns the hosts of the file's routes, for certificates without `domains`. Mistakes in these hosts are
/// reported when the routes are read.
pub(super) fn hosts(top: &Section<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    let routes = top.get("routes").map(Field::each).unwrap_or_default();
    for route in &routes {
        let host = route.below("host");
        let host = host.and_then(|field| domain(field.text()?).ok());
        let home = route.below("home");
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

#[cfg(test)]
#[path = "acme_tests.rs"]
mod tests;
