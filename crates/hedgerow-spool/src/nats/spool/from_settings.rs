//! Builds a spool on NATS from its settings in the configuration.

use std::sync::Arc;

use super::backend::NatsBackend;
use super::place::{NatsCertificate, NatsLogin, NatsPlace, NatsServer, NatsTransport};
use crate::backend::Backend;
use crate::nats::accepted::{SERVERS, STREAM};
use crate::settings::{SettingMistake, SpoolSettings};

impl NatsBackend {
    /// Builds a spool from these settings.
    ///
    /// # Errors
    /// The mistakes in the settings.
    pub(crate) fn of(settings: &SpoolSettings) -> Result<Arc<dyn Backend>, Vec<SettingMistake>> {
        let mut mistakes = Vec::new();
        match place(settings, &mut mistakes) {
            Some(place) if mistakes.is_empty() => Ok(Arc::new(Self(place))),
            _ => Err(mistakes),
        }
    }
}

/// Reads the place of the spool, and adds each mistake to `mistakes`. Returns `None` if the servers cannot
/// be read.
fn place(settings: &SpoolSettings, mistakes: &mut Vec<SettingMistake>) -> Option<NatsPlace> {
    let found = settings
        .texts("url")
        .and_then(|urls| servers(urls, mistakes));
    let stream = match settings.text("stream") {
        None => "HEDGEROW",
        Some(stream) => {
            check_stream(stream, mistakes);
            stream
        }
    };
    let login = login(settings, mistakes);
    let (servers, in_url) = found?;
    let other_login = ["user", "token", "credentials"]
        .into_iter()
        .find(|key| settings.has(key));
    if let (Some(_), Some(key)) = (&in_url, other_login) {
        mistakes.push(SettingMistake::of_key(
            key,
            "`url` already contains a login: remove one of the two",
        ));
    }
    if without_tls(&servers) {
        for key in ["ca_file", "certificate"] {
            if settings.path(key).is_some() {
                let message = "has no effect for servers without tls://";
                mistakes.push(SettingMistake::of_value(key, 0, message));
            }
        }
    }
    for (key, other) in [("certificate", "key"), ("key", "certificate")] {
        if settings.has(key) && !settings.has(other) {
            mistakes.push(SettingMistake::of_key(key, format!("needs a `{other}`")));
        }
    }
    let pair = settings.path("certificate").zip(settings.path("key"));
    Some(NatsPlace {
        servers,
        stream: stream.to_owned(),
        login: login.or(in_url),
        ca_file: settings.path("ca_file").map(ToOwned::to_owned),
        certificate: pair.map(|(certificate, key)| NatsCertificate {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }),
        replicas: settings.number("replicas"),
    })
}

/// Checks a stream's name. The name is also the first token of the stream's subjects, so it must not
/// contain dots or wildcards.
fn check_stream(stream: &str, mistakes: &mut Vec<SettingMistake>) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if stream.is_empty() || stream.len() > 64 || !stream.bytes().all(plain) {
        let message = format!("expected {STREAM}");
        mistakes.push(SettingMistake::of_value("stream", 0, message));
    }
}

fn login(settings: &SpoolSettings, mistakes: &mut Vec<SettingMistake>) -> Option<NatsLogin> {
    let [user, password, token] = ["user", "password", "token"].map(|key| settings.has(key));
    let mistaken = match (settings.has("credentials"), user, password, token) {
        (true, false, false, false) => {
            let text = settings.text("credentials")?;
            return Some(NatsLogin::Credentials(text.to_owned()));
        }
        (false, false, false, _) => {
            return Some(NatsLogin::Token(settings.text("token")?.to_owned()));
        }
        (false, true, true, false) => {
            return Some(NatsLogin::User {
                name: settings.text("user")?.to_owned(),
                password: settings.text("password")?.to_owned(),
            });
        }
        (true, ..) => {
            let other = ["user", "password", "token"]
                .into_iter()
                .find(|key| settings.has(key))?;
            SettingMistake::of_key(
                other,
                "`credentials` already contain a login: remove one of the two",
            )
        }
        (false, _, _, true) => SettingMistake::of_key(
            "token",
            "a login is either `user` and `password`, or `token`",
        ),
        (false, true, false, false) => SettingMistake::of_key("user", "needs a `password`"),
        (false, false, true, false) => SettingMistake::of_key("password", "needs a `user`"),
    };
    mistakes.push(mistaken);
    None
}

/// Returns the servers, and the login if their URLs contain one.
fn servers(
    urls: &[String],
    mistakes: &mut Vec<SettingMistake>,
) -> Option<(Vec<NatsServer>, Option<NatsLogin>)> {
    let mut servers = Vec::new();
    let mut login: Option<NatsLogin> = None;
    let before = mistakes.len();
    for (index, text) in urls.iter().enumerate() {
        let mut wrong = |message: String| {
            mistakes.push(SettingMistake::of_value("url", index, message));
        };
        for text in text.split(',') {
            let Some((server, server_login)) = server(text.trim()) else {
                wrong(format!("expected {SERVERS}"));
                break;
            };
            servers.push(server);
            match (&login, server_login) {
                (_, None) => {}
                (Some(one), Some(other)) if *one != other => {
                    wrong("all servers need the same login".to_owned());
                    break;
                }
                (_, server_login) => login = server_login,
            }
        }
    }
    (mistakes.len() == before).then_some((servers, login))
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
    // These characters end the part of a URL that names the server.
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

/// Returns whether all servers use plain connections, so that certificates have no effect.
fn without_tls(servers: &[NatsServer]) -> bool {
    let mut servers = servers.iter();
    servers.all(|server| server.transport() == NatsTransport::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SettingValue;

    fn given(url: &str, texts: &[(&'static str, &str)]) -> SpoolSettings {
        let mut given = SpoolSettings::default();
        given.set("url", SettingValue::Texts(vec![url.to_owned()]));
        for (key, text) in texts {
            given.set(key, SettingValue::Text((*text).to_owned()));
        }
        given
    }

    #[test]
    fn a_spool_on_nats_is_what_its_settings_say() {
        let found = |given: SpoolSettings| place(&given, &mut Vec::new()).unwrap();
        let user = |name: &str, password: &str| {
            Some(NatsLogin::User {
                name: name.to_owned(),
                password: password.to_owned(),
            })
        };
        let least = found(given("nats://one", &[]));
        assert_eq!(least.stream, "HEDGEROW");
        assert_eq!((least.login, least.replicas), (None, None));
        let mut settings = given(
            "tls://one, nats://two:4223/",
            &[("stream", "EVENTS"), ("user", "u"), ("password", "p")],
        );
        settings.set("replicas", SettingValue::Number(1));
        settings.set("ca_file", SettingValue::Path("ca.pem".into()));
        let all = found(settings);
        let servers: Vec<_> = all.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["tls://one:4222", "nats://two:4223"]);
        assert_eq!(all.stream, "EVENTS");
        assert_eq!((all.login, all.replicas), (user("u", "p"), Some(1)));
        assert_eq!(all.ca_file, Some("ca.pem".into()));
        let in_url = found(given("nats://u:p%40ss@one, nats://u:p%40ss@[::1]:5", &[]));
        assert_eq!(in_url.login, user("u", "p@ss"));
        assert_eq!(in_url.servers[1].to_string(), "nats://[::1]:5");
        let token = found(given("nats://one", &[("token", "t")]));
        assert_eq!(token.login, Some(NatsLogin::Token("t".to_owned())));
    }

    #[test]
    fn a_setting_that_is_mistaken_already_brings_no_second_mistake() {
        for key in ["url", "stream", "token", "credentials", "replicas"] {
            let mut settings = given("nats://one", &[]);
            settings.set(key, SettingValue::Mistaken);
            let mut mistakes = Vec::new();
            place(&settings, &mut mistakes);
            assert_eq!(mistakes, [], "{key}");
        }
    }
}
