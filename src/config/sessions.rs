//! `mapping.sessions`: where visitors' sessions are stored, either in a cookie that Hedgerow sets or in
//! the pages.

use std::fmt;

use super::reader::{ConfigReader, Field, Section};
use super::references;
use super::shape::{KeyType, SectionSchema, PLAIN, SECRET};
use crate::rewrite::enrich::edge_session::{EdgeSessionError, EdgeSessions, SessionCookie};
use crate::rewrite::SessionKeeper;

/// `sessions` of `mapping`.
pub(super) const SESSIONS: SectionSchema = SectionSchema {
    name: "sessions",
    label: "`sessions` of `mapping`",
    at: "mapping.sessions",
    required: &["cookie"],
    keys: &[("cookie", KeyType::Optional("cookie"))],
    ..PLAIN
};

/// `cookie` of `sessions`.
pub(super) const SESSION_COOKIE: SectionSchema = SectionSchema {
    name: "cookie",
    label: "`cookie` of `sessions`",
    at: "mapping.sessions.cookie",
    keys: &[
        ("name", KeyType::Pattern("^[A-Za-z0-9_.-]+$")),
        ("domain", KeyType::Pattern("^[A-Za-z0-9.-]+$")),
        (
            "secret",
            KeyType::AnyOf(&[SECRET, KeyType::ListOf(&SECRET, 1, 8)]),
        ),
    ],
    ..PLAIN
};

/// The default name of the cookie. It does not reveal the purpose of the cookie, and the site is unlikely
/// to use it.
const NAME: &str = "edge_visit";

/// The most secrets in a list. Replacing a secret needs fewer.
const SECRETS: usize = 8;

/// Where visitors' sessions are stored (mapping 5.3, point 5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SessionMode {
    /// Hedgerow creates no sessions. It still uses a session that a client sends.
    #[default]
    Off,
    /// In a first-party cookie.
    Cookie(CookieSessions),
    /// In the pages: the code that Hedgerow serves stores them beside analytics.js's anonymous id.
    Page,
}

/// The cookie, and the secret that authenticates it.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSessions {
    cookie: SessionCookie,
    /// The first secret signs new cookies; a cookie signed with any of them is accepted. If the list is
    /// empty, the process generates a secret.
    secrets: Vec<Vec<u8>>,
}

impl CookieSessions {
    /// Whether the process has to generate a secret.
    pub fn lacks_secret(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The cookie's name and domain.
    pub fn cookie(&self) -> &SessionCookie {
        &self.cookie
    }

    /// Returns the settings of the sessions. If the file has no secret, `generated_secret` is the secret.
    ///
    /// # Errors
    ///
    /// Returns an error if the file has no secret and `generated_secret` is too short.
    pub fn keeper(&self, generated_secret: &[u8]) -> Result<SessionKeeper, EdgeSessionError> {
        let given = self.secrets.iter().map(Vec::as_slice);
        let sessions = match self.lacks_secret() {
            true => EdgeSessions::new([generated_secret]),
            false => EdgeSessions::new(given),
        }?;
        Ok(SessionKeeper {
            sessions,
            cookie: self.cookie.clone(),
        })
    }
}

impl fmt::Debug for CookieSessions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CookieSessions")
            .field("cookie", &self.cookie)
            .field("secrets", &self.secrets.len())
            .finish()
    }
}

/// Reads `mapping.sessions`.
pub(super) fn read(reader: &mut ConfigReader<'_>, mapping: &Section<'_>) -> SessionMode {
    const EXPECTED: &str = "off, page, cookie or {cookie: {name, domain, secret}}";
    let Some(field) = mapping.get("sessions").filter(|field| !field.is_nothing()) else {
        return SessionMode::Off;
    };
    if field.is_off() {
        return SessionMode::Off;
    }
    let read = match field.text() {
        Some("page") => return SessionMode::Page,
        Some("cookie") => cookie(reader, SessionCookie::new(NAME, None), Vec::new(), field),
        Some(_) => {
            reader.wrong(field, format!("expected {EXPECTED}"));
            return SessionMode::Off;
        }
        None => {
            let section = reader.section(field, &SESSIONS);
            let cookie_field =
                section.and_then(|section| section.require(reader, "cookie").cloned());
            cookie_field.and_then(|field| settings(reader, &field))
        }
    };
    let Some(sessions) = read else {
        return SessionMode::Off;
    };
    if sessions.lacks_secret() {
        reader.warn(
            field,
            "without a secret, sessions end when the process ends, and no other process accepts them; set one with {cookie: {secret: env:NAME}}",
        );
    }
    SessionMode::Cookie(sessions)
}

fn settings(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<CookieSessions> {
    if field.is_nothing() {
        return cookie(reader, SessionCookie::new(NAME, None), Vec::new(), field);
    }
    let section = reader.section(field, &SESSION_COOKIE)?;
    let mut word = |key: &str, expected: &str| {
        let field = section.get(key)?;
        reader.text(field, expected)
    };
    let name = word("name", "the name of a cookie").unwrap_or(NAME);
    let domain = word("domain", "a domain such as example.com");
    let secrets = match section.get("secret").cloned() {
        Some(field) => secrets(reader, &field)?,
        None => Vec::new(),
    };
    let session_cookie = SessionCookie::new(name, domain);
    let key = match session_cookie {
        Err(EdgeSessionError::CookieName) => "name",
        _ => "domain",
    };
    let key_field = section.get(key).unwrap_or(field).clone();
    cookie(reader, session_cookie, secrets, &key_field)
}

fn cookie(
    reader: &mut ConfigReader<'_>,
    session_cookie: Result<SessionCookie, EdgeSessionError>,
    secrets: Vec<Vec<u8>>,
    field: &Field<'_>,
) -> Option<CookieSessions> {
    match session_cookie {
        Ok(cookie) => Some(CookieSessions { cookie, secrets }),
        Err(error) => {
            reader.wrong(field, error.to_string());
            None
        }
    }
}

/// Reads one secret or a list: the first one signs new cookies, and cookies signed with the others are
/// still accepted.
fn secrets(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<Vec<Vec<u8>>> {
    let fields = field.each();
    if fields.is_empty() || fields.len() > SECRETS {
        reader.wrong(field, format!("expected 1 to {SECRETS} secrets"));
        return None;
    }
    let mut secrets = Vec::new();
    for field in &fields {
        let (value, origin) =
            references::named(reader, field, "env:NAME, file:PATH or the secret itself")?;
        let secret = value.trim().as_bytes();
        if let Err(error) = EdgeSessions::new([secret]) {
            reader.wrong(field, format!("{origin}{error}"));
            return None;
        }
        secrets.push(secret.to_vec());
    }
    Some(secrets)
}
