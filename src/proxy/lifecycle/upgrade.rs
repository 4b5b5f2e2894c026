//! Hands the listening sockets from an old process to a new one, over a Unix socket that only their user
//! can open.
//!
//! The framework has its own hand-over (pingora 2.5). With it, the old process shuts down even if the new
//! one fails, it waits five seconds, and any user may open the socket. Here the old process stops when
//! the new one has reported that it is ready, and otherwise keeps serving.
//!
//! The new process connects. The old process sends `hedgerow 1`, a line for each address and an empty
//! line, with the sockets in the same order. The new process sends `ready`. The old process sends `go`;
//! from then on the new process accepts connections. `hedgerow reload` sends `reload` instead of `ready`,
//! and gets one answer.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream as AsyncStream};
use tokio::time::timeout;

const GREETING: &str = "hedgerow 1\n";
const READY: &[u8] = b"ready\n";
const GO: &[u8] = b"go\n";
/// The request for a reload. It is sent instead of `ready`, and has the same length.
const RELOAD: [u8; READY.len()] = *b"reload";
/// The maximum length of the answer to `reload`, in bytes.
const ANSWER: u64 = 1 << 20;

/// The request of another process.
enum HandOverRequest {
    Sockets,
    Reload,
}

/// How long each side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The number of sockets that fit into one message (`SCM_MAX_FD` of Linux is 253).
const MOST: usize = 250;

/// The maximum length of the list of addresses, in bytes: the longest address has 58.
const LIST: usize = 64 * (MOST + 2);

/// The old process's side: it gives the sockets to the process that asks.
pub(crate) struct UpgradeServer {
    path: PathBuf,
    /// The socket's name until it is published.
    new: PathBuf,
    /// The device and inode of the socket, while this process has to remove it. A successor may replace
    /// it by its own socket at any moment.
    file: Mutex<Option<(u64, u64)>>,
    listener: Mutex<Option<std::os::unix::net::UnixListener>>,
    sockets: Mutex<Vec<(SocketAddr, OwnedFd)>>,
}

/// Asks the process that listens at this `server.upgrade_socket` to read its configuration again.
/// Returns its answer: that the configuration is active, or why not.
///
/// # Errors
///
/// When there is no such process, or it does not answer in time.
pub fn ask_to_reload(path: &Path) -> io::Result<Result<String, String>> {
    // The other process sends its sockets first. They are closed here, because a reload needs none.
    let UpgradeClient {
        mut stream,
        sockets,
    } = UpgradeClient::ask(path)?;
    drop(sockets);
    stream.write_all(&RELOAD)?;
    let mut answer = String::new();
    (&stream).take(ANSWER).read_to_string(&mut answer)?;
    match answer.split_once(": ") {
        Some(("ok", answer)) => Ok(Ok(answer.to_owned())),
        Some(("refused", why)) => Ok(Err(why.to_owned())),
        _ => Err(io::Error::other("the other process cannot reload")),
    }
}

/// The new process's side, with the sockets that it got.
pub(crate) struct UpgradeClient {
    stream: UnixStream,
    sockets: HashMap<SocketAddr, OwnedFd>,
}

impl UpgradeServer {
    /// Creates the socket that will be at `path`. Its folder is created if it is missing, and others must
    /// not be able to write in it.
    pub(crate) fn open(path: &Path, sockets: Vec<(SocketAddr, OwnedFd)>) -> io::Result<Self> {
        if sockets.len() > MOST {
            return Err(io::Error::other(format!(
                "at most {MOST} listening sockets can be handed over"
            )));
        }
        private_folder(path)?;
        refuse_other(path)?;
        let new = unpublished(path, std::process::id());
        remove(&new)?;
        let listener = std::os::unix::net::UnixListener::bind(&new)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(Some(identity(&new)?)),
            new,
            listener: Mutex::new(Some(listener)),
            sockets: Mutex::new(sockets),
        })
    }

    /// Moves the socket to its place, and replaces the socket of a predecessor.
    pub(crate) fn publish(&self) -> io::Result<()> {
        fs::rename(&self.new, &self.path)
    }

    /// Returns when a successor has the sockets and is ready. Calls `before` before the successor begins
    /// to serve, and `undo` if the hand-over fails.
    ///
    /// A process that requests a reload instead gets the answer of `reload`.
    pub(crate) async fn successor_is_ready<R: Future<Output = String>>(
        &self,
        before: impl Fn(),
        undo: impl Fn(),
        reload: impl Fn() -> R,
    ) {
        let listener = lock(&self.listener).take();
        let listener = listener.map(UnixListener::from_std);
        let Some(Ok(listener)) = listener else {
            return std::future::pending().await;
        };
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    log::warn!("`server.upgrade_socket` cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            match timeout(TIMEOUT, self.hand_over(stream, &before, &reload)).await {
                Ok(Ok(HandOverRequest::Sockets)) => return,
                Ok(Ok(HandOverRequest::Reload)) => continue,
                Ok(Err(error)) => log::error!(
                    "the sockets were not handed over, and this process continues to serve: {error}"
                ),
                Err(_) => log::error!(
                    "the new process did not report in time that it is ready, and this process continues \
                     to serve"
                ),
            }
            undo();
        }
    }

    async fn hand_over<R: Future<Output = String>>(
        &self,
        mut stream: AsyncStream,
        before: &impl Fn(),
        reload: &impl Fn() -> R,
    ) -> io::Result<HandOverRequest> {
        check_peer(stream.as_fd())?;
        let sockets: Vec<(SocketAddr, OwnedFd)> = {
            let sockets = lock(&self.sockets);
            let copies = sockets
                .iter()
                .map(|(address, socket)| Ok((*address, socket.try_clone()?)));
            copies.collect::<io::Result<_>>()?
        };
        let mut list = GREETING.to_owned();
        for (address, _) in &sockets {
            list.push_str(&format!("{address}\n"));
        }
        list.push('\n');
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            send(stream.as_fd(), list.as_bytes(), &sockets)
        })?;
        stream
            .write_all(list.as_bytes().get(sent..).unwrap_or_default())
            .await?;
        drop(sockets);
        let mut answer = [0; READY.len()];
        stream.read_exact(&mut answer).await?;
        if answer == RELOAD {
            stream.write_all(reload().await.as_bytes()).await?;
            return Ok(HandOverRequest::Reload);
        }
        if answer != READY {
            return Err(io::Error::other("the new process is not Hedgerow"));
        }
        before();
        stream.write_all(GO).await?;
        *lock(&self.file) = None;
        Ok(HandOverRequest::Sockets)
    }

    /// Offers these sockets from now on.
    pub(crate) fn offer(&self, sockets: Vec<(SocketAddr, OwnedFd)>) {
        *lock(&self.sockets) = sockets;
    }

    /// Drops the duplicates of the listening sockets, so that these close with their listeners, and
    /// removes the Unix socket.
    pub(crate) fn close(&self) {
        lock(&self.sockets).clear();
        let Some(file) = lock(&self.file).take() else {
            return;
        };
        if let Err(error) = remove(&self.new).and_then(|()| self.withdraw(file)) {
            log::debug!("{} could not be removed: {error}", self.path.display());
        }
    }

    /// Removes this process's socket from its place. A process that was started at the same moment may
    /// put its own socket there between the check and the removal. So the file is first moved to a name
    /// that only this process uses, and moved back if it belongs to another process.
    fn withdraw(&self, file: (u64, u64)) -> io::Result<()> {
        if !identity(&self.path).is_ok_and(|current| current == file) {
            return Ok(());
        }
        fs::rename(&self.path, &self.new)?;
        if identity(&self.new)? == file {
            return fs::remove_file(&self.new);
        }
        match fs::hard_link(&self.new, &self.path) {
            // A newer process has put its socket there.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => fs::remove_file(&self.new),
        }
    }
}

impl Drop for UpgradeServer {
    fn drop(&mut self) {
        self.close();
    }
}

impl UpgradeClient {
    /// Asks the running process for its listening sockets.
    pub(crate) fn ask(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        check_peer(stream.as_fd())?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let (text, sockets) = receive(&stream)?;
        let list = text
            .strip_prefix(GREETING)
            .ok_or_else(|| io::Error::other("the other process is not Hedgerow"))?;
        let addresses: Result<Vec<SocketAddr>, _> = list
            .lines()
            .take_while(|line| !line.is_empty())
            .map(str::parse)
            .collect();
        let addresses = addresses.map_err(io::Error::other)?;
        if addresses.len() != sockets.len() {
            return Err(io::Error::other("some sockets did not arrive"));
        }
        Ok(Self {
            stream,
            sockets: addresses.into_iter().zip(sockets).collect(),
        })
    }

    /// Removes and returns the predecessor's socket for an address, if it had one.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<OwnedFd> {
        self.sockets.remove(&address)
    }

    /// Reports that this process can serve. When this returns `Ok`, the predecessor appends the events
    /// that it still gets to the spool, and shuts down.
    pub(crate) fn ready(mut self) -> io::Result<()> {
        // Closes the sockets that no listener has taken: no process would accept their connections.
        self.sockets.clear();
        self.stream.write_all(READY)?;
        let mut answer = [0; GO.len()];
        self.stream.read_exact(&mut answer)?;
        if answer == GO {
            Ok(())
        } else {
            Err(io::Error::other("the other process does not stop"))
        }
    }
}

fn send(to: BorrowedFd<'_>, text: &[u8], sockets: &[(SocketAddr, OwnedFd)]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, fd)| fd.as_fd()).collect();
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("too many sockets"));
    }
    let flags = SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(
        to,
        &[IoSlice::new(text)],
        &mut ancillary,
        flags,
    )?)
}

/// Reads the list to the empty line that ends it, and the sockets that are sent with it.
fn receive(from: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let (mut text, mut sockets) = (Vec::new(), Vec::new());
    while !text.ends_with(b"\n\n") {
        if text.len() > LIST {
            return Err(io::Error::other("the other process is not Hedgerow"));
        }
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let read = rustix::net::recvmsg(
            from,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?
        .bytes;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(given) = message {
                sockets.extend(given);
            }
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(bytes.get(..read).unwrap_or_default());
    }
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok((text, sockets))
}

/// Checks that the other process belongs to this user or to root.
fn check_peer(socket: BorrowedFd<'_>) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?.uid;
    if peer == rustix::process::geteuid() || peer.is_root() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the other process belongs to another user",
    ))
}

/// The largest process ID on Linux.
const LAST_PROCESS: u32 = 1 << 22;

/// Checks whether [`UpgradeServer::open`] could create its socket at `path`, and creates nothing.
///
/// # Errors
///
/// The error that it would return, as far as that is known beforehand.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    let found = folder.ancestors().find_map(|folder| {
        let named = !folder.as_os_str().is_empty();
        let folder = if named { folder } else { Path::new(".") };
        match fs::metadata(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            result => Some(result.map(|metadata| (folder, metadata))),
        }
    });
    if let Some((nearest, metadata)) = found.transpose()? {
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if nearest == folder {
            refuse_shared(folder, &metadata)?;
        }
    }
    refuse_other(path)?;
    // The system limits the length of a socket's path, and the longest process ID must fit.
    let name = unpublished(path, LAST_PROCESS);
    std::os::unix::net::SocketAddr::from_pathname(name).map(drop)
}

/// The socket's name until it is published.
fn unpublished(path: &Path, process: u32) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{process}"));
    PathBuf::from(new)
}

fn refuse_other(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(io::Error::other("this path exists and is not a socket"))
        }
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates the folder of a path, for this user only.
fn private_folder(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    refuse_shared(folder, &fs::metadata(folder)?)
}

/// Returns an error for a folder in which others can write: they could replace the socket.
fn refuse_shared(folder: &Path, metadata: &fs::Metadata) -> io::Result<()> {
    let ours = metadata.uid() == rustix::process::geteuid().as_raw() || metadata.uid() == 0;
    if ours && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("other users can write in the folder {}", folder.display()),
    ))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_process_removes_its_own_socket_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let first = UpgradeServer::open(&path, Vec::new()).unwrap();
        first.publish().unwrap();
        let second = UpgradeServer::open(&path, Vec::new()).unwrap();
        second.publish().unwrap();
        let file = identity(&path).unwrap();
        first.close();
        assert_eq!(identity(&path).unwrap(), file);
        second.close();
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_process_that_has_handed_over_leaves_the_place_to_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let old = UpgradeServer::open(&path, Vec::new()).unwrap();
        old.publish().unwrap();
        let asks = {
            let path = path.clone();
            std::thread::spawn(move || UpgradeClient::ask(&path).and_then(UpgradeClient::ready))
        };
        old.successor_is_ready(|| {}, || {}, || async { String::new() })
            .await;
        asks.join().unwrap().unwrap();
        let place = identity(&path).unwrap();
        // The successor may publish its own socket at any moment from now on; in this test it has not
        // done so yet.
        old.close();
        assert_eq!(identity(&path).unwrap(), place);
    }
}
