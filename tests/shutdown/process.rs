//! A series of processes of the real binary: each is stopped, or hands over to the next.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

use super::support::address::unused_address;
use super::support::eventually;

/// How a process is started: wrapper commands (each replaces itself with its command) and
/// environment variables.
#[derive(Default, Clone)]
pub struct ProcessEnvironment {
    pub wrapper: Vec<String>,
    pub variables: Vec<(&'static str, String)>,
    /// Reads what the process says; else it goes to the test's own standard error.
    pub log: Option<LogReader>,
}

pub type LogReader = Arc<dyn Fn(ChildStderr) + Send + Sync>;

pub struct Process {
    pub address: SocketAddr,
    pub file: PathBuf,
    pub socket: PathBuf,
    around: ProcessEnvironment,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts the binary. `listen` and `rest` are YAML, in which `{address}` stands for a free
    /// address.
    pub async fn start(folder: &Path, listen: &str, rest: &str) -> Self {
        Self::start_in(ProcessEnvironment::default(), folder, listen, rest).await
    }

    /// The same in this environment, which later processes of the series share.
    pub async fn start_in(
        around: ProcessEnvironment,
        folder: &Path,
        listen: &str,
        rest: &str,
    ) -> Self {
        let address = unused_address();
        let file = folder.join("hedgerow.yaml");
        let socket = folder.join("run").join("upgrade.sock");
        write(&file, address, &socket, listen, rest);
        let before = identity(&socket);
        let process = Self {
            child: run(&around, &file, &[]),
            around,
            address,
            file,
            socket,
        };
        process.serving(before).await;
        process
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// Its exit code, as soon as it has ended.
    pub async fn end(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = eventually("its end", || child.try_wait().expect("our child")).await;
        status.code()
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Starts it again after its end.
    pub async fn start_again(&mut self) {
        let before = identity(&self.socket);
        self.child = run(&self.around, &self.file, &[]);
        self.serving(before).await;
    }

    /// Starts a successor, and waits until the old process has ended with success.
    pub async fn hand_over(&mut self) {
        let before = identity(&self.socket);
        let successor = run(&self.around, &self.file, &["--upgrade"]);
        let mut old = std::mem::replace(&mut self.child, successor);
        let new = &mut self.child;
        let status = eventually("the old one's end", || {
            let ended = new.try_wait().expect("our child");
            assert!(ended.is_none(), "the new one has ended: {ended:?}");
            old.try_wait().expect("our child")
        })
        .await;
        assert_eq!(status.code(), Some(0));
        self.serving(before).await;
    }

    /// Waits until it serves, handles signals and offers its sockets; it accepts connections a moment
    /// earlier. `before` is the file that a process before it may have left.
    async fn serving(&self, before: Option<u64>) {
        let status = format!("/proc/{}/status", self.child.id());
        eventually("it catches signals", || {
            let status = std::fs::read_to_string(&status).expect("it runs");
            let caught = status.split("SigCgt:").nth(1)?.split_whitespace().next()?;
            let caught = u64::from_str_radix(caught, 16).expect("a number");
            // SIGINT, SIGQUIT and SIGTERM: 2, 3 and 15.
            let wanted = 1 << 1 | 1 << 2 | 1 << 14;
            (caught & wanted == wanted).then_some(())
        })
        .await;
        eventually("it listens", || {
            std::net::TcpStream::connect(self.address).ok()
        })
        .await;
        eventually("it offers its sockets", || {
            identity(&self.socket).filter(|now| Some(*now) != before)
        })
        .await;
    }
}

/// The number of this file, which another one in its place does not have.
fn identity(file: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(file.metadata().ok()?.ino())
}

/// Writes a configuration for such a process.
pub fn write(file: &Path, address: SocketAddr, socket: &Path, listen: &str, rest: &str) {
    let yaml = format!(
        "listen: {}\n{rest}server: {{grace: 120s, upgrade_socket: \"{}\"}}\n",
        listen.replace("{address}", &format!("\"{address}\"")),
        socket.display()
    );
    std::fs::write(file, yaml).expect("the folder is ours");
}

fn run(around: &ProcessEnvironment, file: &Path, more: &[&str]) -> Child {
    let mut command = command_in(around, file, more);
    // Through the test's own output, because a failing process names its reason there.
    command.stderr(match around.log {
        Some(_) => Stdio::piped(),
        None => Stdio::inherit(),
    });
    let mut child = command.spawn().expect("it is built");
    if let (Some(read), Some(said)) = (&around.log, child.stderr.take()) {
        read(said);
    }
    child
}

/// `hedgerow run` with these flags.
pub fn command(file: &Path, more: &[&str]) -> Command {
    command_in(&ProcessEnvironment::default(), file, more)
}

fn command_in(around: &ProcessEnvironment, file: &Path, more: &[&str]) -> Command {
    let mut words = around.wrapper.iter().map(String::as_str);
    let program = env!("CARGO_BIN_EXE_hedgerow");
    let mut command = Command::new(words.next().unwrap_or(program));
    if !around.wrapper.is_empty() {
        command.args(words).arg(program);
    }
    command
        .arg("run")
        .args(more)
        .arg("-c")
        .arg(file)
        .env("RUST_LOG", "warn")
        .envs(around.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}
