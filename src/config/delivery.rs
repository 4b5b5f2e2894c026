//! `delivery`, its `spool`, and what a project says of its own.

use std::path::Path;
use std::time::Duration;

use hedgerow_spool::{DeliveryMode, NatsCertificate, NatsLogin, NatsPlace, NatsServer, SpoolPlace};

use super::listeners::pem;
use super::model::{Delivery, Spool};
use super::reader::{Field, Reader, Section};
use super::secret::WithoutSecrets;
use super::{schema, secret};
use crate::posthog::BATCH_LIMIT;

const MODES: [(&str, DeliveryMode); 3] = [
    ("stream", DeliveryMode::Stream),
    ("group", DeliveryMode::Group),
    ("spool", DeliveryMode::Spool),
];

/// Whether a file has a spool, be it one with mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpoolNamed {
    Yes,
    No,
}

/// Reads `delivery`.
pub(super) fn read(reader: &mut Reader<'_>, top: &Section<'_>) -> (Delivery, SpoolNamed) {
    let mut delivery = Delivery::default();
    let Some(section) = reader.optional_section(top, "delivery", &schema::DELIVERY) else {
        return (delivery, SpoolNamed::No);
    };
    let range = Duration::from_millis(1)..=Duration::from_secs(600);
    if let Some(timeout) = reader.duration(&section, "connect_timeout", range.clone()) {
        delivery.connect_timeout = timeout;
    }
    if let Some(timeout) = reader.duration(&section, "timeout", range) {
        delivery.timeout = timeout;
    }
    delivery.spool = section.get("spool").and_then(|field| spool(reader, field));
    let named = match section.get("spool") {
        Some(field) if field.text() != Some("off") => SpoolNamed::Yes,
        _ => SpoolNamed::No,
    };
    if let Some(mode) = mode(reader, &section, named) {
        delivery.mode = mode;
    }
    let moment = Duration::ZERO..=Duration::from_secs(1);
    if let Some(linger) = reader.duration(&section, "linger", moment) {
        delivery.linger = linger;
    }
    if let Some(size) = reader.size(&section, "group_size", 1..=BATCH_LIMIT as u64) {
        delivery.group_size = size as usize;
    }
    (delivery, named)
}

/// Reads the `delivery` of a project: its own mode, if it has one.
pub(super) fn of_project(
    reader: &mut Reader<'_>,
    project: &Section<'_>,
    named: SpoolNamed,
) -> Option<DeliveryMode> {
    let section = reader.optional_section(project, "delivery", &schema::PROJECT_DELIVERY)?;
    mode(reader, &section, named)
}

fn mode(reader: &mut Reader<'_>, section: &Section<'_>, named: SpoolNamed) -> Option<DeliveryMode> {
    let mode = reader.choice(section, "mode", &MODES)?;
    if let (DeliveryMode::Spool, SpoolNamed::No, Some(field)) = (mode, named, section.get("mode")) {
        reader.wrong(field, "needs a `spool` in `delivery`");
    }
    Some(mode)
}

fn spool(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Spool> {
    const DAY: Duration = Duration::from_secs(86_400);
    match field.text() {
        Some("off") => return None,
        Some(_) => {
            reader.wrong(
                field,
                "expected off, {path, max_size, max_age} or {nats, max_size, max_age}",
            );
            return None;
        }
        None => {}
    }
    let section = reader.section(field, &schema::SPOOL)?;
    let place = place(reader, &section);
    let max_size = reader.size(&section, "max_size", 1 << 20..=1 << 50);
    let max_age = reader.duration(&section, "max_age", Duration::from_secs(1)..=DAY * 366);
    Some(Spool {
        place: place?,
        max_size: max_size.unwrap_or(1 << 30),
        max_age: max_age.unwrap_or(DAY * 7),
    })
}

fn place(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<SpoolPlace> {
    match (section.get("path").cloned(), section.get("nats").cloned()) {
        (None, None) => {
            reader.lacking(section, "needs `path` or `nats`");
            None
        }
        (Some(field), None) => {
            let text = reader.text(&field, "the path of a folder")?;
            if text.is_empty() {
                reader.wrong(&field, "expected the path of a folder");
                return None;
            }
            if cfg!(not(feature = "sqlite")) {
                reader.wrong_key(
                    &field,
                    "this build keeps no spool in a folder: it was made without the cargo feature sqlite",
                );
                return None;
            }
            Some(SpoolPlace::Folder(reader.secrets.resolve(Path::new(text))))
        }
        (path, Some(field)) => {
            let nats = nats(reader, &field);
            if path.is_some() {
                reader.wrong_key(&field, "a spool has a `path` or is on `nats`, not both");
                return None;
            }
            if cfg!(not(feature = "nats")) {
                reader.wrong_key(
                    &field,
                    "this build has no NATS: it was made without the cargo feature nats",
                );
                return None;
            }
            nats.map(SpoolPlace::Nats)
        }
    }
}

fn nats(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<NatsPlace> {
    let section = reader.section(field, &schema::NATS)?;
    let url = section.require(reader, "url").cloned();
    let found = url.and_then(|field| servers(reader, &field));
    let stream = match section.get("stream").cloned() {
        None => Some("HEDGEROW".to_owned()),
        Some(field) => stream(reader, &field),
    };
    let replicas = reader.number(&section, "replicas", 1..=5);
    let given = login(reader, &section);
    let (servers, in_url) = found?;
    let logins = ["user", "token", "credentials"];
    let beside = logins.iter().find_map(|key| section.get(key));
    if let (Some(_), Some(field)) = (&in_url, beside) {
        reader.wrong_key(field, "the `url` has a login as well");
    }
    let ca_file = section.get("ca_file").cloned().and_then(|field| {
        if servers.iter().all(|server| server.scheme != "tls") {
            reader.wrong(&field, "means nothing for servers without tls://");
        }
        Some(pem(reader, &field, "CERTIFICATE")?.0)
    });
    let certificate = client_certificate(reader, &section, &servers)?;
    Some(NatsPlace {
        servers,
        stream: stream?,
        login: given.or(in_url),
        ca_file,
        certificate,
        replicas,
    })
}

/// What is there, if anything: nothing at all where it has a mistake.
fn client_certificate(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    servers: &[NatsServer],
) -> Option<Option<NatsCertificate>> {
    let fields = ["certificate", "key"].map(|key| section.get(key).cloned());
    let (certificate, key) = match fields {
        [None, None] => return Some(None),
        [Some(certificate), Some(key)] => (certificate, key),
        [Some(field), None] => {
            reader.wrong_key(&field, "needs a `key`");
            return None;
        }
        [None, Some(field)] => {
            reader.wrong_key(&field, "needs a `certificate`");
            return None;
        }
    };
    if servers.iter().all(|server| server.scheme != "tls") {
        reader.wrong(&certificate, "means nothing for servers without tls://");
    }
    let certificate = pem(reader, &certificate, "CERTIFICATE");
    let key = pem(reader, &key, "PRIVATE KEY");
    Some(Some(NatsCertificate {
        certificate: certificate?.0,
        key: key?.0,
    }))
}

/// Reads a credentials file, as `nsc` and the hosted services write it.
fn credentials(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<NatsLogin> {
    const EXPECTED: &str = "the path of a credentials file (.creds)";
    const PARTS: [&str; 2] = ["BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"];
    let text = reader.text(field, EXPECTED)?;
    // A file that is pasted in place of its path must not get into a log.
    if text.is_empty() || text.len() > 1024 || text.contains('\n') {
        reader.wrong(field, format!("expected {EXPECTED}"));
        return None;
    }
    let path = reader.secrets.resolve(Path::new(text));
    let read = reader.secrets.secret_file(&path);
    let message = match read.map(String::from_utf8) {
        Ok(Ok(held)) if PARTS.iter().all(|part| held.contains(part)) => {
            return Some(NatsLogin::Credentials(held));
        }
        Ok(Ok(held)) if WithoutSecrets::made_up(&held) => {
            return Some(NatsLogin::Credentials(held));
        }
        Ok(_) => format!("{} holds no JWT of a user with its seed", path.display()),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    };
    reader.wrong(field, message);
    None
}

/// A stream's name is the first token of its subjects too, so dots and wildcards are out.
fn stream(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<String> {
    const EXPECTED: &str = "a name of 1 to 64 letters, digits, - or _";
    let text = reader.text(field, EXPECTED)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        reader.wrong(field, format!("expected {EXPECTED}"));
        return None;
    }
    Some(text.to_owned())
}

fn login(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<NatsLogin> {
    if let Some(field) = section.get("credentials") {
        let others = ["user", "password", "token"];
        if let Some(other) = others.iter().find_map(|key| section.get(key)) {
            reader.wrong_key(other, "the `credentials` are a login already");
            return None;
        }
        return credentials(reader, field);
    }
    let mut secret = |key: &str, expected: &str| -> Option<String> {
        let field = section.get(key)?;
        let (value, origin) = secret::named(reader, field, expected)?;
        let value = value.trim();
        if value.is_empty() {
            reader.wrong(field, format!("{origin}it is empty"));
            return None;
        }
        Some(value.to_owned())
    };
    let user = secret("user", "env:NAME, file:PATH or the user's name");
    let password = secret("password", "env:NAME, file:PATH or the password itself");
    let token = secret("token", "env:NAME, file:PATH or the token itself");
    let [has_user, has_password, has_token] =
        ["user", "password", "token"].map(|key| section.get(key));
    match (has_user, has_password, has_token) {
        (None, None, _) => Some(NatsLogin::Token(token?)),
        (_, _, Some(field)) => {
            reader.wrong_key(field, "a login is `user` and `password`, or `token`");
            None
        }
        (Some(field), None, None) => {
            reader.wrong_key(field, "needs a `password`");
            None
        }
        (None, Some(field), None) => {
            reader.wrong_key(field, "needs a `user`");
            None
        }
        (Some(_), Some(_), None) => Some(NatsLogin::User {
            name: user?,
            password: password?,
        }),
    }
}

/// Reads the servers, and the login that their URLs may hold.
fn servers(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
) -> Option<(Vec<NatsServer>, Option<NatsLogin>)> {
    const EXPECTED: &str = "nats://host:port or tls://host:port, or several of them";
    let mut servers = Vec::new();
    let mut login: Option<NatsLogin> = None;
    let fields = field.each();
    if fields.is_empty() {
        reader.expected(field, EXPECTED);
        return None;
    }
    let before = reader.mistakes.len();
    for field in fields {
        let Some((text, origin)) = secret::named(reader, &field, EXPECTED) else {
            continue;
        };
        for text in text.split(',') {
            let Some((server, with)) = server(text.trim()) else {
                reader.wrong(&field, format!("{origin}expected {EXPECTED}"));
                break;
            };
            servers.push(server);
            match (&login, with) {
                (_, None) => {}
                (Some(one), Some(other)) if *one != other => {
                    reader.wrong(&field, format!("{origin}two different logins"));
                    break;
                }
                (_, with) => login = with,
            }
        }
    }
    (reader.mistakes.len() == before).then_some((servers, login))
}

fn server(text: &str) -> Option<(NatsServer, Option<NatsLogin>)> {
    let uri: http::Uri = text.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "nats" => "nats",
        "tls" => "tls",
        _ => return None,
    };
    let authority = uri.authority()?;
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8().ok().map(|text| text.into_owned())
    };
    let login = match authority.as_str().rsplit_once('@') {
        None => None,
        Some((login, _)) => Some(match login.split_once(':') {
            Some((name, password)) => NatsLogin::User {
                name: decoded(name)?,
                password: decoded(password)?,
            },
            None => NatsLogin::Token(decoded(login)?),
        }),
    };
    let host = authority.host();
    if host.is_empty() || !uri.path().trim_matches('/').is_empty() || uri.query().is_some() {
        return None;
    }
    let address = authority.as_str().rsplit('@').next()?;
    let port = match address.strip_prefix(host)? {
        "" => 4222,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let server = NatsServer {
        scheme,
        host: host.to_owned(),
        port,
    };
    Some((server, login))
}
