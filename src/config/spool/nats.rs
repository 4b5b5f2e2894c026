//! `nats`: a spool on NATS JetStream.

use std::path::Path;

use hedgerow_spool::{
    NatsCertificate, NatsLogin, NatsPlace, NatsServer, NatsTransport, SpoolPlace,
};

use crate::config::pem::{pem, PemContent};
use crate::config::reader::{ConfigReader, Field, Section};
use crate::config::secret::WithoutSecrets;
use crate::config::{schema, secret};

pub(super) fn read(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<SpoolPlace> {
    place(reader, field).map(SpoolPlace::Nats)
}

fn place(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<NatsPlace> {
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
        if without_tls(&servers) {
            reader.wrong(&field, "has no effect for servers without tls://");
        }
        Some(pem(reader, &field, PemContent::Certificate)?.0)
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

/// The client certificate, if there is one; `None` if it has a mistake.
fn client_certificate(
    reader: &mut ConfigReader<'_>,
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
    if without_tls(servers) {
        reader.wrong(&certificate, "has no effect for servers without tls://");
    }
    let certificate = pem(reader, &certificate, PemContent::Certificate);
    let key = pem(reader, &key, PemContent::PrivateKey);
    Some(Some(NatsCertificate {
        certificate: certificate?.0,
        key: key?.0,
    }))
}

/// Reads a credentials file, as `nsc` and the hosted services write it.
fn credentials(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<NatsLogin> {
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
        Ok(Ok(held)) if WithoutSecrets::is_placeholder(&held) => {
            return Some(NatsLogin::Credentials(held));
        }
        Ok(_) => format!("{} does not hold a user's JWT and its seed", path.display()),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    };
    reader.wrong(field, message);
    None
}

/// A stream's name is the first token of its subjects too, so dots and wildcards are out.
fn stream(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<String> {
    const EXPECTED: &str = "a name of 1 to 64 letters, digits, - or _";
    let text = reader.text(field, EXPECTED)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        reader.wrong(field, format!("expected {EXPECTED}"));
        return None;
    }
    Some(text.to_owned())
}

fn login(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<NatsLogin> {
    if let Some(field) = section.get("credentials") {
        let others = ["user", "password", "token"];
        if let Some(other) = others.iter().find_map(|key| section.get(key)) {
            reader.wrong_key(other, "the `credentials` already are a login");
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
    reader: &mut ConfigReader<'_>,
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
    let (scheme, rest) = text.split_once("://")?;
    let decoded = |text: &str| {
        let bytes = percent_encoding::percent_decode_str(text);
        bytes.decode_utf8().ok().map(|text| text.into_owned())
    };
    let Some((login, address)) = rest.rsplit_once('@') else {
        return Some((text.parse().ok()?, None));
    };
    // These characters end the server part of a URL.
    if login.contains(['/', '?', '#']) {
        return None;
    }
    let login = match login.split_once(':') {
        Some((name, password)) => NatsLogin::User {
            name: decoded(name)?,
            password: decoded(password)?,
        },
        None => NatsLogin::Token(decoded(login)?),
    };
    let server = format!("{scheme}://{address}").parse().ok()?;
    Some((server, Some(login)))
}

/// Whether certificates mean nothing to these servers.
fn without_tls(servers: &[NatsServer]) -> bool {
    let mut servers = servers.iter();
    servers.all(|server| server.transport() == NatsTransport::Plain)
}
