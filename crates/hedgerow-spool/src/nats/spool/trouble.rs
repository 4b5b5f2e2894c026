//! Explains why the proxy could not connect to a server, and whether waiting may help.

use std::fmt;

/// Whether an error may pass by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// The error may pass by itself: a server starts, or the cluster changes its leader.
    Passing,
    /// Only an operator can fix the error. It does not help a client to wait.
    Lasting,
}

/// The last error of a server, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerTrouble {
    /// The server's host and port.
    pub(super) server: String,
    pub(super) text: String,
    pub(super) outlook: Outlook,
}

impl fmt::Display for ServerTrouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.server, self.text)
    }
}

/// The prefix that the client library puts before every network error.
const NETWORK: &str = "IO error: ";

/// How rustls's errors begin for a bad certificate, and for a server that does not speak TLS.
const TLS: [&str; 6] = [
    "invalid peer certificate",
    "received fatal alert",
    "received corrupt message",
    "received unexpected message",
    "peer is incompatible",
    "peer sent no certificates",
];

/// Texts in a server's error for a client that it will also reject later.
const REJECTIONS: [&str; 5] = [
    "authentication revoked",
    "authentication expired",
    "tls required",
    "invalid client protocol",
    "no responders requires headers",
];

/// The most characters of an error's own text that [`ServerTrouble`] repeats.
const LONGEST: usize = 200;

impl ServerTrouble {
    /// Explains an error message of the client library.
    pub(super) fn of(server: String, error: &str) -> Self {
        let (about, error, outlook) = judge(error);
        let error: String = error.chars().filter(|one| !one.is_control()).collect();
        let end = error.char_indices().map(|(at, _)| at).nth(LONGEST);
        let error = end.and_then(|end| error.get(..end)).unwrap_or(&error);
        let text = match about {
            Some(about) => format!("{about} ({error})"),
            None => error.to_owned(),
        };
        Self {
            server,
            text,
            outlook,
        }
    }
}

/// Returns a summary of the error if it is known, the error's own text, and whether it may pass by itself.
fn judge(error: &str) -> (Option<&'static str>, &str, Outlook) {
    const LOGIN: &str = "the server refuses the login";
    for start in ["authorization violation", "failed signing nonce"] {
        if error.starts_with(start) {
            return (Some(LOGIN), start, Outlook::Lasting);
        }
    }
    if let Some(tls) = error.strip_prefix("TLS error: ") {
        return (Some("TLS cannot be used"), tls, Outlook::Lasting);
    }
    let Some(network) = error.strip_prefix(NETWORK) else {
        return (None, error, Outlook::Passing);
    };
    let is_greeting = network.starts_with("expected INFO") && !network.ends_with("got nothing");
    if is_greeting {
        return (Some(NO_NATS), network, Outlook::Lasting);
    }
    if let Some(answer) = network.strip_prefix("invalid server operation: ") {
        return (Some(NO_NATS), answer, Outlook::Lasting);
    }
    if TLS.iter().any(|start| network.starts_with(start)) {
        return (Some("TLS fails"), network, Outlook::Lasting);
    }
    let lower = network.to_ascii_lowercase();
    let network = network.strip_prefix("nats: ").unwrap_or(network);
    match REJECTIONS.iter().any(|text| lower.contains(text)) {
        true => (Some(LOGIN), network, Outlook::Lasting),
        false => (None, network, Outlook::Passing),
    }
}

/// The summary for a server that speaks another protocol.
pub(super) const NO_NATS: &str = "this is no NATS server";

/// The last errors of one or more servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Troubles(Vec<ServerTrouble>);

impl Troubles {
    /// Returns `None` if the list is empty.
    pub(super) fn of_all(troubles: Vec<ServerTrouble>) -> Option<Self> {
        (!troubles.is_empty()).then_some(Self(troubles))
    }

    /// Returns whether waiting may help: one server whose error may pass is enough.
    pub(super) fn outlook(&self) -> Outlook {
        let lasting = |trouble: &ServerTrouble| trouble.outlook == Outlook::Lasting;
        match self.0.iter().all(lasting) {
            true => Outlook::Lasting,
            false => Outlook::Passing,
        }
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, trouble) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(formatter, "{separator}{trouble}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_wait_mends_is_lasting() {
        for (error, lasting) in [
            (
                "authorization violation: nats: authorization violation",
                true,
            ),
            ("failed signing nonce", true),
            ("TLS error: no certificates", true),
            (
                "IO error: invalid server operation: 'SSH-2.0-OpenSSH_9.2'",
                true,
            ),
            ("IO error: expected INFO, got Pong", true),
            ("IO error: invalid peer certificate: UnknownIssuer", true),
            ("IO error: received fatal alert: CertificateRequired", true),
            (
                "IO error: received corrupt message of type InvalidContentType",
                true,
            ),
            ("IO error: nats: User Authentication Expired", true),
            ("IO error: nats: Secure Connection - TLS Required", true),
            ("IO error: nats: maximum connections exceeded", false),
            ("IO error: nats: Authentication Timeout", false),
            ("IO error: expected INFO, got nothing", false),
            ("IO error: Connection refused (os error 111)", false),
            ("IO error: tls handshake eof", false),
            ("DNS error: failed to lookup address information", false),
            ("timed out", false),
        ] {
            let expected = if lasting {
                Outlook::Lasting
            } else {
                Outlook::Passing
            };
            let trouble = ServerTrouble::of("one:4222".to_owned(), error);
            assert_eq!(trouble.outlook, expected, "{error}");
        }
    }

    #[test]
    fn one_server_that_may_be_back_is_worth_a_wait_and_each_is_named() {
        let wrong = ServerTrouble::of("one:4222".to_owned(), "authorization violation: no");
        let away = ServerTrouble::of("two:4222".to_owned(), "IO error: Connection refused");
        let both = Troubles::of_all(vec![wrong.clone(), away]).unwrap();
        assert_eq!(both.outlook(), Outlook::Passing);
        assert_eq!(
            both.to_string(),
            "one:4222: the server refuses the login (authorization violation); \
             two:4222: Connection refused"
        );
        let all = Troubles::of_all(vec![wrong]).unwrap();
        assert_eq!(all.outlook(), Outlook::Lasting);
        assert!(Troubles::of_all(Vec::new()).is_none());
    }

    #[test]
    fn the_words_of_a_stranger_are_short_and_move_no_cursor() {
        let error = format!(
            "IO error: invalid server operation: '\u{1b}[2J{}'",
            "\u{e4}".repeat(900)
        );
        let trouble = ServerTrouble::of("one:22".to_owned(), &error);
        assert!(
            trouble.text.len() < 500 && !trouble.text.contains('\u{1b}'),
            "{trouble}"
        );
    }
}
