//! Records whether a server is connected and, if none is, why.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Event, Server, ServerAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::denials::Denials;
use super::trouble::{Outlook, ServerTrouble, Troubles, NO_NATS};

/// How long a server may be silent before the proxy asks which protocol it speaks. A NATS server speaks
/// first, and the client library waits for its greeting as long as for a lost connection.
const SILENCE: Duration = Duration::from_millis(300);

/// How long the proxy waits for a connection to such a server, and for its reply.
const REPLY: Duration = Duration::from_secs(1);

/// How often the proxy asks silent servers while none is connected.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// Whether a server is connected, and the errors of the servers that are not.
pub(super) struct ServerPresence {
    /// The servers of the settings, as host and port.
    servers: Vec<String>,
    pub(super) denials: Denials,
    state: Mutex<PresenceState>,
}

struct PresenceState {
    away_since: Option<Instant>,
    /// The last error of the client library.
    last_error: Option<String>,
    /// The last error of each server since a server was last connected.
    errors: BTreeMap<String, ServerTrouble>,
    /// The servers that speak another protocol, and the first line that each sent.
    strangers: BTreeMap<String, String>,
}

/// Returns a server's host and port.
fn name(address: &ServerAddr) -> String {
    format!("{}:{}", address.host(), address.port())
}

impl ServerPresence {
    pub(super) fn new(servers: &[ServerAddr]) -> Self {
        Self {
            servers: servers.iter().map(name).collect(),
            denials: Denials::default(),
            state: Mutex::new(PresenceState {
                away_since: Some(Instant::now()),
                last_error: None,
                errors: BTreeMap::new(),
                strangers: BTreeMap::new(),
            }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, PresenceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long no server has been connected.
    pub(super) fn away(&self) -> Duration {
        let since = self.state().away_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.denials.forget();
                let mut state = self.state();
                state.away_since = None;
                state.errors.clear();
                state.strangers.clear();
            }
            Event::Disconnected | Event::Closed => {
                self.state().away_since.get_or_insert_with(Instant::now);
            }
            Event::ServerError(error) => {
                let text = error.to_string();
                self.denials.note(&text);
                self.state().last_error = Some(text);
            }
            Event::ClientError(error) => self.state().last_error = Some(error.to_string()),
            _ => {}
        }
    }

    /// Records each server's last error before the next attempt to connect. The client library's events
    /// do not name the server.
    pub(super) fn note_attempts(&self, servers: &[Server]) {
        let mut state = self.state();
        for server in servers {
            let name = name(&server.addr);
            if let Some(error) = &server.last_error {
                let trouble = ServerTrouble::of(name.clone(), error);
                state.errors.insert(name, trouble);
            }
        }
    }

    /// Returns why no server is connected, as text.
    pub(super) fn reason(&self) -> String {
        let (errors, _) = self.troubles();
        if let Some(errors) = errors {
            return errors.to_string();
        }
        let last_error = self.state().last_error.clone();
        last_error.unwrap_or_else(|| "not connected yet".to_owned())
    }

    /// Returns whether waiting for a server may help.
    pub(super) fn outlook(&self) -> Outlook {
        match self.troubles() {
            (Some(errors), AllServers::Failed) => errors.outlook(),
            _ => Outlook::Passing,
        }
    }

    fn troubles(&self) -> (Option<Troubles>, AllServers) {
        let state = self.state();
        if state.away_since.is_none() {
            return (None, AllServers::NotTried);
        }
        let mut errors = state.errors.clone();
        for (server, line) in &state.strangers {
            let stranger = ServerTrouble {
                server: server.clone(),
                text: format!("{NO_NATS} ({line})"),
                outlook: Outlook::Lasting,
            };
            errors.insert(server.clone(), stranger);
        }
        let all = match self
            .servers
            .iter()
            .all(|server| errors.contains_key(server))
        {
            true => AllServers::Failed,
            false => AllServers::NotTried,
        };
        (Troubles::of_all(errors.into_values().collect()), all)
    }

    /// While no server is connected, asks the servers of the settings which protocol they speak, and
    /// records those that do not speak NATS. Never returns.
    pub(super) async fn ask_strangers(&self) {
        let mut last_asked: Option<Instant> = None;
        loop {
            tokio::time::sleep(SILENCE).await;
            let is_due = last_asked.is_none_or(|last_asked| last_asked.elapsed() >= ASK_AGAIN);
            if self.away() < SILENCE || !is_due || self.outlook() == Outlook::Lasting {
                continue;
            }
            for server in &self.servers {
                let found = stranger(server).await;
                let mut state = self.state();
                match found {
                    Some(line) if state.away_since.is_some() => {
                        state.strangers.insert(server.clone(), line);
                    }
                    _ => {
                        state.strangers.remove(server);
                    }
                }
            }
            last_asked = Some(Instant::now());
        }
    }
}

/// Whether every server of the settings has failed since a server was last connected.
enum AllServers {
    Failed,
    NotTried,
}

/// Returns the first line that a server sends if it does not speak NATS, or `None` if it speaks NATS or
/// sends nothing.
async fn stranger(server: &str) -> Option<String> {
    let mut stream = timeout(REPLY, TcpStream::connect(server))
        .await
        .ok()?
        .ok()?;
    let mut answer = [0; 512];
    let length = match timeout(SILENCE, stream.read(&mut answer)).await {
        Ok(read) => read.ok()?,
        Err(_) => {
            // NATS servers understand this line. HTTP servers and others answer it with an error.
            stream.write_all(b"PING\r\n\r\n").await.ok()?;
            timeout(REPLY, stream.read(&mut answer)).await.ok()?.ok()?
        }
    };
    let answer = answer.get(..length).filter(|answer| !answer.is_empty())?;
    if answer.starts_with(b"INFO ") || answer.starts_with(b"-ERR") || answer.starts_with(b"PONG") {
        return None;
    }
    let line = answer.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = String::from_utf8_lossy(line);
    let line: String = line
        .chars()
        .filter(|one| !one.is_control())
        .take(80)
        .collect();
    Some(format!("'{line}'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Starts a server that sends `first` at once, and `reply` to everything it receives.
    async fn server(first: &'static str, reply: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(first.as_bytes()).await.unwrap();
            let mut bytes = [0; 64];
            while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_server_of_another_protocol_is_known_by_its_words() {
        for (first, reply, is_stranger) in [
            ("INFO {}\r\n", "PONG\r\n", false),
            ("", "INFO {}\r\n", false),
            ("", "", false),
            ("", "HTTP/1.1 400 Bad Request\r\n\r\n", true),
            ("", "+PONG\r\n", true),
            ("SSH-2.0-x\r\n", "", true),
        ] {
            let found = stranger(&server(first, reply).await).await;
            assert_eq!(
                found.is_some(),
                is_stranger,
                "{first:?} {reply:?}: {found:?}"
            );
        }
        assert_eq!(stranger("127.0.0.1:1").await, None);
    }
}
