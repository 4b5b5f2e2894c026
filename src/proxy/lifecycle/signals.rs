//! Catches the signals that stop the process, from its first moment on: a signal during the start would
//! otherwise end the process in the middle of its work.

use std::io;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::BackgroundService;
use tokio::runtime::Builder;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::Mutex;

/// The caught signals, which the server reads once it runs.
#[derive(Debug)]
pub struct ProcessSignals {
    receiver: Mutex<UnboundedReceiver<ShutdownSignal>>,
}

impl ProcessSignals {
    /// Catches `SIGTERM`, `SIGINT` and `SIGQUIT` from now on, and lets the process survive the
    /// signals that tools send to every service ([`outlive_signals`]). Call it first, and once.
    ///
    /// # Errors
    ///
    /// When the system does not let the process catch signals, or cannot start a thread for them.
    pub fn catch() -> io::Result<Self> {
        outlive_signals()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let streams = runtime.block_on(async {
            let streams = [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::quit())?,
            ];
            Ok::<_, io::Error>(streams)
        })?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || runtime.block_on(forward(streams, sender)))?;
        Ok(Self {
            receiver: Mutex::new(receiver),
        })
    }

    /// Returns whether a signal to stop has arrived since the last call.
    pub fn stopped(&mut self) -> bool {
        self.receiver.get_mut().try_recv().is_ok()
    }
}

async fn forward(
    [mut term, mut int, mut quit]: [Signal; 3],
    sender: UnboundedSender<ShutdownSignal>,
) {
    loop {
        let shutdown_signal = tokio::select! {
            _ = term.recv() => ShutdownSignal::GracefulTerminate,
            _ = int.recv() => ShutdownSignal::FastShutdown,
            _ = quit.recv() => ShutdownSignal::GracefulUpgrade,
        };
        if sender.send(shutdown_signal).is_err() {
            return;
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for ProcessSignals {
    async fn recv(&self) -> ShutdownSignal {
        match self.receiver.lock().await.recv().await {
            Some(shutdown_signal) => shutdown_signal,
            // The thread lives until this is dropped.
            None => std::future::pending().await,
        }
    }
}

/// Signals that end a process by default, although their senders do not intend that: some tools send them
/// to every service to reopen its logs, or to look at it; those of timers are sent by mistake. The reloader
/// handles `SIGHUP`.
pub(crate) struct IgnoredSignals;

impl IgnoredSignals {
    const SIGNALS: [(SignalKind, &'static str); 6] = [
        (SignalKind::user_defined1(), "SIGUSR1"),
        (SignalKind::user_defined2(), "SIGUSR2"),
        (SignalKind::alarm(), "SIGALRM"),
        (SignalKind::io(), "SIGIO"),
        (
            SignalKind::from_raw(rustix::process::Signal::VTALARM.as_raw()),
            "SIGVTALRM",
        ),
        (
            SignalKind::from_raw(rustix::process::Signal::PROF.as_raw()),
            "SIGPROF",
        ),
    ];

    async fn answer(kind: SignalKind, name: &'static str) {
        let mut signals = match signal(kind) {
            Ok(signals) => signals,
            Err(error) => {
                return log::warn!(
                    "{name} cannot be handled and would end this process: \
                {error}"
                )
            }
        };
        while signals.recv().await.is_some() {
            log::warn!("Hedgerow ignores {name}. SIGHUP makes it read its configuration again");
        }
    }
}

/// Keeps the process running when it gets a signal that does not mean its end (`SIGHUP`, `SIGUSR1`,
/// `SIGUSR2`, `SIGALRM`, `SIGIO`, `SIGVTALRM`, `SIGPROF`). This holds from now on and not only when the
/// server runs, because a script that has just started the process may send one at once. Call it first.
///
/// # Errors
///
/// When the system does not let the process catch signals.
pub fn outlive_signals() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // A handler stays for the life of the process, whether or not this stream does.
    let ignored = IgnoredSignals::SIGNALS.into_iter().map(|(kind, _)| kind);
    let mut all = ignored.chain([SignalKind::hangup()]);
    runtime.block_on(async { all.try_for_each(|kind| signal(kind).map(drop)) })
}

#[async_trait]
impl BackgroundService for IgnoredSignals {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let answers = Self::SIGNALS.map(|(kind, name)| Self::answer(kind, name));
        let [usr1, usr2, alarm, io, virtual_alarm, profile] = answers;
        let answers = async { tokio::join!(usr1, usr2, alarm, io, virtual_alarm, profile) };
        tokio::select! {
            _ = answers => {}
            _ = shutdown.wait_for(|over| *over) => {}
        }
    }
}
