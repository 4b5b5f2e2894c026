//! `listen`, `health` and `trusted_proxies`: their values, and how they are read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::acme::{self, AcmeConfig};
use super::pem::{pem, PemContent};
use super::reader::{ConfigReader, Field, Section};
use super::shape::{KeyType, SectionSchema, ADDRESS as ADDRESS_FORM, NETWORK, PLAIN};
use super::tree::NodeKind;
use crate::site::PathPrefix;

const ADDRESS: &str = "an address and a port such as 127.0.0.1:8080 (IPv6 in quotes: \"[::1]:80\")";

/// An entry of `listen` that is a section instead of an address.
pub(super) const LISTENER: SectionSchema = SectionSchema {
    name: "listen",
    label: "an entry of `listen`",
    at: "listen[0]",
    required: &["address"],
    excludes: &[("h2c", "tls"), ("redirect", "tls")],
    keys: &[
        ("address", ADDRESS_FORM),
        ("tls", KeyType::OneOrMore(&KeyType::Section("tls"))),
        ("health", KeyType::Pattern("^/.")),
        (
            "proxy_protocol",
            KeyType::AnyOf(&[
                KeyType::OneOrMore(&NETWORK),
                KeyType::ListOf(&NETWORK, 0, 0),
                KeyType::Nothing,
            ]),
        ),
        ("h2c", KeyType::Read),
        ("redirect", KeyType::Pattern("^https(:[0-9]{1,5})?$")),
    ],
    ..PLAIN
};

/// `tls` of a listener.
pub(super) const TLS: SectionSchema = SectionSchema {
    name: "tls",
    label: "`tls` of a listener",
    at: "listen[0].tls",
    one_of: &[&["certificate", "acme"]],
    needs: &[("certificate", "key"), ("key", "certificate")],
    keys: &[
        ("certificate", KeyType::Text),
        ("key", KeyType::Text),
        ("acme", KeyType::Section("acme")),
    ],
    ..PLAIN
};

/// An address on which Hedgerow accepts requests, and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address and port; port 0 takes any free port.
    pub address: SocketAddr,
    /// The first certificate of a TLS listener. Clients that send no host name, or an unknown one, get it.
    pub tls: Option<Certificate>,
    /// The other certificates, each for the names in it.
    pub more_certificates: Vec<Certificate>,
    /// The networks of the load balancers that send the client's address in the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// Whether the listener also accepts HTTP/2 without TLS.
    pub h2c: H2c,
    /// The target of the redirect for site requests without TLS; `None` for no redirect.
    pub redirect: Option<Redirect>,
    /// The path of the listener's health check, if it has one.
    pub health: Option<PathPrefix>,
}

impl Listener {
    /// Returns a listener without TLS and without options.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            more_certificates: Vec::new(),
            proxy_protocol: Vec::new(),
            h2c: H2c::Off,
            redirect: None,
            health: None,
        }
    }

    /// Returns the listener of a file without `listen`.
    pub(super) fn of_this_machine() -> Self {
        Self::plain(DEFAULT_LISTENER)
    }

    /// Returns all certificates, in the order of the file.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.tls.iter().chain(&self.more_certificates)
    }

    /// Returns the certificates from existing files.
    pub fn certificate_files(&self) -> impl Iterator<Item = &TlsFiles> {
        self.certificates().filter_map(|one| match one {
            Certificate::Files(tls) => Some(tls),
            Certificate::Acme(_) => None,
        })
    }

    /// Returns the certificates that this process orders.
    pub fn ordered_certificates(&self) -> impl Iterator<Item = &AcmeConfig> {
        self.certificates().filter_map(|one| match one {
            Certificate::Files(_) => None,
            Certificate::Acme(acme) => Some(acme),
        })
    }
}

/// Where a certificate of a listener comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// It is in existing files.
    Files(TlsFiles),
    /// This process orders and renews it.
    Acme(AcmeConfig),
}

/// Whether a listener accepts HTTP/2 without TLS, with prior knowledge (RFC 9113, 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum H2c {
    /// It accepts HTTP/2 in addition to HTTP/1.
    On,
    /// It accepts only HTTP/1.
    #[default]
    Off,
}

/// The target of a redirect: the `https` address of the same host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The port of the `https` address.
    pub port: u16,
}

/// The files of a listener's certificate. They were readable when the configuration was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The address of the listener of a file without `listen`.
const DEFAULT_LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Reads `listen`. Without it there is one listener on loopback.
pub(super) fn listen(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    let Some(field) = top.get("listen") else {
        return vec![Listener::of_this_machine()];
    };
    let entries = field.each();
    if entries.is_empty() {
        reader.expected(field, "at least one address");
    }
    let hosts = acme::hosts(top);
    for entry in entries {
        let Some(listener) = listener(reader, &entry, &hosts) else {
            continue;
        };
        let taken = |other: &&Listener| overlap(other.address, listener.address);
        if let Some(other) = listeners.iter().find(taken) {
            let other = other.address;
            let message = if other == listener.address {
                "the list already has this address".to_owned()
            } else {
                format!(
                    "{other} already accepts connections to this address, or this one would accept its \
                     connections"
                )
            };
            reader.wrong(&entry, message);
            continue;
        }
        listeners.push(listener);
    }
    listeners
}

/// Returns whether two addresses conflict, so that only one can be listened on. 0.0.0.0 takes every IPv4
/// address, and [::] takes every IPv6 and IPv4 address.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| {
        wide == narrow || (wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4()))
    };
    // Port 0 takes a different free port each time.
    let same_port = one.port() == other.port() && one.port() != 0;
    // An IPv4 address may be written in IPv6 form.
    let (one, other) = (one.ip().to_canonical(), other.ip().to_canonical());
    same_port && (covers(one, other) || covers(other, one))
}

fn listener(
    reader: &mut ConfigReader<'_>,
    entry: &Field<'_>,
    hosts: &[String],
) -> Option<Listener> {
    if !matches!(entry.node.kind, NodeKind::Mapping(_)) {
        return Some(Listener::plain(address(reader, entry)?));
    }
    let section = reader.section(entry, &LISTENER)?;
    let address = section
        .require(reader, "address")
        .cloned()
        .and_then(|field| address(reader, &field));
    let secured = section.get("tls").cloned();
    let certificates = match &secured {
        Some(field) => certificates(reader, field, hosts),
        None => Some(Vec::new()),
    };
    let networks = section.get("proxy_protocol").cloned();
    let proxy_protocol = networks.map(|field| networks_of(reader, &field));
    let mut h2c = H2c::Off;
    if let Some(choice) = reader.choice(&section, "h2c", &[("on", H2c::On), ("off", H2c::Off)]) {
        h2c = choice;
    }
    let redirect = match section.get("redirect").cloned() {
        Some(field) => Some(redirect(reader, &field)?),
        None => None,
    };
    for (key, _) in LISTENER.excludes {
        let field = section.get(key).filter(|field| !field.is_off());
        if let (Some(_), Some(field)) = (&secured, field) {
            reader.wrong_key(field, "works only on listeners without `tls`");
        }
    }
    let health = match section.get("health") {
        Some(field) => Some(health_path(reader, &field.clone())?),
        None => None,
    };
    let mut certificates = certificates?.into_iter();
    Some(Listener {
        address: address?,
        tls: certificates.next(),
        more_certificates: certificates.collect(),
        proxy_protocol: proxy_protocol.unwrap_or_default(),
        h2c,
        redirect,
        health,
    })
}

fn health_path(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<PathPrefix> {
    let text = reader.text(field, "a path such as /healthz")?;
    if text == "/" {
        reader.wrong(field, "expected a separate path such as /healthz");
        return None;
    }
    match PathPrefix::new(text) {
        Ok(path) => Some(path),
        Err(message) => {
            reader.wrong(field, message);
            None
        }
    }
}

/// Reads `https` or `https:PORT`.
fn redirect(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Redirect> {
    const EXPECTED: &str = "https, or https: and a port";
    let text = reader.text(field, EXPECTED)?;
    let port = match text.strip_prefix("https") {
        Some("") => Some(443),
        Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        None => None,
    };
    match port.filter(|port| *port > 0) {
        Some(port) => Some(Redirect { port }),
        None => {
            reader.wrong(field, format!("expected {EXPECTED}"));
            None
        }
    }
}

/// Reads one certificate or a list of several.
fn certificates(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    hosts: &[String],
) -> Option<Vec<Certificate>> {
    if !matches!(field.node.kind, NodeKind::List(_)) {
        return Some(vec![tls(reader, field, hosts)?]);
    }
    let entries = field.each();
    if entries.is_empty() {
        reader.expected(field, "at least one certificate");
        return None;
    }
    let read: Vec<_> = entries
        .iter()
        .map(|entry| tls(reader, entry, hosts))
        .collect();
    read.into_iter().collect()
}

fn tls(reader: &mut ConfigReader<'_>, field: &Field<'_>, hosts: &[String]) -> Option<Certificate> {
    let section = reader.section(field, &TLS)?;
    if let Some(field) = section.get("acme") {
        let acme = acme::read(reader, field, hosts);
        let files = ["certificate", "key"];
        if let Some(field) = files.iter().find_map(|key| section.get(key)) {
            let message = "a certificate comes from files or from `acme`, not from both; `tls` \
                may be a list of several";
            reader.wrong_key(field, message);
            return None;
        }
        return Some(Certificate::Acme(acme?));
    }
    if section.get("certificate").is_none() && section.get("key").is_none() {
        reader.incomplete(&section, "needs `certificate` and `key`, or `acme`");
        return None;
    }
    let certificate = section.require(reader, "certificate").cloned();
    let certificate = certificate.and_then(|field| pem(reader, &field, PemContent::Certificate));
    let key = section.require(reader, "key").cloned();
    let key = key.and_then(|field| pem(reader, &field, PemContent::PrivateKey));
    Some(Certificate::Files(TlsFiles {
        certificate: certificate?.0,
        key: key?.0,
    }))
}

pub(super) fn address(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<SocketAddr> {
    let text = reader.text(field, ADDRESS)?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            reader.wrong(field, format!("expected {ADDRESS}"));
            None
        }
    }
}

/// Reads the address that serves only health; `None` if it is off.
pub(super) fn health(
    reader: &mut ConfigReader<'_>,
    top: &Section<'_>,
    listen: &[Listener],
    admin: Option<SocketAddr>,
) -> Option<SocketAddr> {
    let field = top.get("health")?;
    if field.is_off() {
        return None;
    }
    let address = address(reader, field)?;
    let others = listen.iter().map(|listener| (listener.address, "listen"));
    let mut others = others.chain(admin.map(|admin| (admin, "admin")));
    if let Some((other, name)) = others.find(|(other, _)| overlap(*other, address)) {
        reader.wrong(
            field,
            format!("{other} of `{name}` already has this address"),
        );
        return None;
    }
    Some(address)
}

/// Reads the networks and single addresses whose `X-Forwarded-For` is trusted.
pub(super) fn trusted_proxies(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> Vec<IpNet> {
    match top.get("trusted_proxies") {
        Some(field) => networks_of(reader, field),
        None => Vec::new(),
    }
}

fn networks_of(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Vec<IpNet> {
    const EXPECTED: &str = "a network such as 10.0.0.0/8, or an address";
    let mut networks = Vec::new();
    for entry in field.each() {
        let Some(text) = reader.text(&entry, EXPECTED) else {
            continue;
        };
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => {
                if network.prefix_len() == 0 {
                    reader.warn(
                        &entry,
                        "this trusts all clients: any client can forge any address",
                    );
                }
                networks.push(network.trunc());
            }
            Err(_) => reader.wrong(&entry, format!("expected {EXPECTED}")),
        }
    }
    networks
}

/// Returns whether a connection to this host and port would arrive at one of our own listeners.
pub(super) fn is_ours(listen: &[Listener], name: &str, port: u16) -> bool {
    let address: Option<IpAddr> = match name {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        name => name.parse().ok(),
    };
    listen.iter().any(|listener| {
        let ours = listener.address.ip();
        listener.address.port() == port
            && port != 0
            && address.is_some_and(|ip| ip == ours || (ours.is_unspecified() && ip.is_loopback()))
    })
}
