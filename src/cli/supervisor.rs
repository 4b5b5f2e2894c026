//! Notifies the supervisor of the process, by the protocol of systemd's `sd_notify(3)`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Reports that this process serves and is the main process, because after an upgrade the supervisor
/// did not start it. Does nothing without a supervisor.
pub(super) fn notify_ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let message = format!("READY=1\nMAINPID={}\n", std::process::id());
    let sent = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    }
    .and_then(|address| UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address));
    if let Err(error) = sent {
        log::warn!(
            "the supervisor (NOTIFY_SOCKET) could not be notified that this process is \
             ready: {error}"
        );
    }
}
