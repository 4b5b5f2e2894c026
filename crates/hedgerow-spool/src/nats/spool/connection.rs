//! The connection to the servers, on a separate thread: it outlives the runtimes that use it, and
//! can be opened without one.

use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::Context;
use async_nats::{Client, Event};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::denials::Denials;
use super::{remote, NatsSettings, ANSWER};
use crate::error::SpoolError;

/// The state of the connection, and access to it.
pub(super) struct NatsConnection {
    pub(super) client: Client,
    pub(super) context: Context,
    /// The runtime of the connection's own thread.
    pub(super) runtime: Handle,
    presence: Arc<ServerPresence>,
}

/// Ends the connection's thread with the last handle.
pub(super) struct ThreadGuard {
    _thread: oneshot::Sender<()>,
}

/// Whether the servers are connected.
struct ServerPresence {
    away_since: Mutex<Option<Instant>>,
    trouble: Mutex<Option<String>>,
    denials: Denials,
}

impl NatsConnection {
    /// Starts to connect, and retries until it is dropped.
    pub(super) fn open(settings: &NatsSettings) -> Result<(Self, ThreadGuard), SpoolError> {
        let servers = settings.servers()?;
        let options = settings.options()?;
        let presence = Arc::new(ServerPresence {
            away_since: Mutex::new(Some(Instant::now())),
            trouble: Mutex::default(),
            denials: Denials::default(),
        });
        let events = Arc::clone(&presence);
        let (ready, opened) = mpsc::channel();
        let (ending, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                let runtime = match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = ready.send(Err(remote("start its runtime", error)));
                        return;
                    }
                };
                runtime.block_on(async {
                    let options = options.event_callback(move |event| {
                        events.note(&event);
                        std::future::ready(())
                    });
                    let connected = options.connect(servers).await;
                    let connected = connected.map_err(|error| remote("connect", error));
                    let _ = ready.send(connected.map(|client| {
                        let context = ContextBuilder::new()
                            .timeout(ANSWER)
                            .backpressure_on_inflight(true)
                            .build(client.clone());
                        (client, context, Handle::current())
                    }));
                    let _ = ended.await;
                });
                // Not a blocking shutdown: a name look-up may hang.
                runtime.shutdown_background();
            })
            .map_err(|error| remote("start its thread", error))?;
        let (client, context, runtime) = opened.recv().map_err(|_| SpoolError::Closed)??;
        let connection = Self {
            client,
            context,
            runtime,
            presence,
        };
        Ok((connection, ThreadGuard { _thread: ending }))
    }

    /// An error while no server is connected: nothing is worth a try.
    pub(super) fn present(&self) -> Result<(), SpoolError> {
        if self.client.connection_state() == State::Connected {
            return Ok(());
        }
        let trouble = self.presence.trouble.lock();
        let trouble = trouble.unwrap_or_else(PoisonError::into_inner).clone();
        Err(SpoolError::Away(
            trouble.unwrap_or_else(|| "not connected yet".to_owned()),
        ))
    }

    /// Waits for a server, at most for `patience`.
    pub(super) async fn wait(&self, patience: Duration) -> Result<(), SpoolError> {
        let until = Instant::now() + patience;
        loop {
            match self.present() {
                Err(_) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// The operations that the servers forbid.
    pub(super) fn denials(&self) -> &Denials {
        &self.presence.denials
    }

    /// How long no server has been connected.
    pub(super) fn away(&self) -> Duration {
        let since = self.presence.away_since.lock();
        let since = *since.unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl ServerPresence {
    fn note(&self, event: &Event) {
        let away_since = || {
            self.away_since
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        match event {
            Event::Connected => {
                self.denials.forget();
                *away_since() = None;
            }
            Event::Disconnected | Event::Closed => {
                away_since().get_or_insert_with(Instant::now);
            }
            Event::ServerError(error) => {
                let words = error.to_string();
                self.denials.note(&words);
                self.trouble(words);
            }
            Event::ClientError(error) => self.trouble(error.to_string()),
            _ => {}
        }
    }

    fn trouble(&self, what: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = Some(what);
    }
}
