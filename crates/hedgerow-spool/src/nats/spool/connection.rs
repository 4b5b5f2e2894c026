//! The connection to the servers. It runs on a separate thread, so it outlives the runtimes that use it,
//! and a caller without a runtime can open it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::Context;
use async_nats::Client;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::denials::Denials;
use super::faults::{self, remote, NoJetStream};
use super::limits::ANSWER;
use super::presence::ServerPresence;
use super::settings::NatsSettings;
use super::trouble::Outlook;
use crate::error::SpoolError;

/// The connection, and what is known about its state.
pub(super) struct NatsConnection {
    pub(super) client: Client,
    pub(super) context: Context,
    /// The runtime of the connection's own thread.
    pub(super) runtime: Handle,
    presence: Arc<ServerPresence>,
    /// Whether the log has already reported that a stream keeps its age limit.
    is_max_age_logged: AtomicBool,
}

/// Ends the connection's thread when it is dropped.
pub(super) struct ThreadGuard {
    _thread: oneshot::Sender<()>,
}

impl NatsConnection {
    /// Starts to connect to the servers. The client retries until the guard is dropped.
    pub(super) fn open(settings: &NatsSettings) -> Result<(Self, ThreadGuard), SpoolError> {
        let servers = settings.servers()?;
        let options = settings.options()?;
        let presence = Arc::new(ServerPresence::new(&servers));
        let [events, attempts, silent] = [(); 3].map(|()| Arc::clone(&presence));
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
                    let options = options
                        .event_callback(move |event| {
                            events.note(&event);
                            std::future::ready(())
                        })
                        // This callback only records the errors. The library chooses the server.
                        .reconnect_to_server_callback(move |servers, _| {
                            attempts.note_attempts(&servers);
                            std::future::ready(None)
                        });
                    tokio::spawn(async move { silent.ask_strangers().await });
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
                // A blocking shutdown could hang, because a DNS look-up may hang.
                runtime.shutdown_background();
            })
            .map_err(|error| remote("start its thread", error))?;
        let (client, context, runtime) = opened.recv().map_err(|_| SpoolError::Closed)??;
        let connection = Self {
            client,
            context,
            runtime,
            presence,
            is_max_age_logged: AtomicBool::new(false),
        };
        Ok((connection, ThreadGuard { _thread: ending }))
    }

    /// Returns an error while no server is connected. Then it is useless to try an operation.
    pub(super) fn present(&self) -> Result<(), SpoolError> {
        if self.client.connection_state() == State::Connected {
            return Ok(());
        }
        Err(SpoolError::Away(self.presence.reason()))
    }

    /// Returns whether waiting for a server may help while none is connected.
    pub(super) fn outlook(&self) -> Outlook {
        match self.client.connection_state() {
            State::Connected => Outlook::Passing,
            _ => self.presence.outlook(),
        }
    }

    /// Returns [`NoJetStream`] if this is the cause of the error, else the error itself.
    pub(super) fn explain(&self, error: SpoolError) -> SpoolError {
        let has_jetstream = self.client.server_info().jetstream;
        match error {
            SpoolError::Remote { doing, .. } if !has_jetstream && faults::is_unheard(&error) => {
                remote(doing, NoJetStream)
            }
            error => error,
        }
    }

    /// Waits until a server is connected, at most for `timeout`, and only while waiting may help.
    pub(super) async fn wait(&self, timeout: Duration) -> Result<(), SpoolError> {
        let until = Instant::now() + timeout;
        loop {
            match self.present() {
                Err(_) if Instant::now() < until && self.outlook() == Outlook::Passing => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// Removes the age limit of a stream that an older version of Hedgerow has created. The servers apply
    /// the limit by their own clock, which someone can set. If the login may not change the stream, the
    /// spool uses it as it is.
    pub(super) async fn remove_max_age(&self, stream: &Stream) {
        let mut config = stream.cached_info().config.clone();
        if config.max_age.is_zero() {
            return;
        }
        let seconds = std::mem::take(&mut config.max_age).as_secs();
        match self.context.update_stream(&config).await {
            Ok(_) => log::info!(
                "Hedgerow has removed the max_age ({seconds} s) of the stream {}, which follows the \
                 servers' clock: Hedgerow itself drops events that are too old, by elapsed time",
                config.name
            ),
            Err(error) if !self.is_max_age_logged.swap(true, Ordering::Relaxed) => log::warn!(
                "the max_age ({seconds} s) of the stream {} could not be removed: the stream drops \
                 events if the clock of a server is set forward: {error}",
                config.name
            ),
            Err(error) => log::debug!("{}: {error}", config.name),
        }
    }

    /// Returns the servers' denials of operations.
    pub(super) fn denials(&self) -> &Denials {
        &self.presence.denials
    }

    /// Returns how long no server has been connected.
    pub(super) fn away(&self) -> Duration {
        self.presence.away()
    }
}
