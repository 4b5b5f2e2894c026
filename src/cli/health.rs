//! `hedgerow health`: requests the health of a running proxy on this machine, for images without `curl`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use hedgerow::config::Config;

use super::command_end::CommandEnd;
use super::file;
use super::output::{complain, print};

/// The time limit for the connection, and for each read and write.
const PATIENCE: Duration = Duration::from_secs(3);
/// The maximum number of bytes of an answer; every answer of the proxy is smaller.
const ANSWER: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// The configuration, as with -c.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Ask whether a load balancer should send requests, not only whether the process serves.
    #[arg(long)]
    ready: bool,
}

/// The address and the path of a health check.
#[derive(Debug, PartialEq, Eq)]
struct HealthAddress {
    address: SocketAddr,
    path: String,
}

/// Requests the health, and prints the answer.
pub(super) fn health(config: Option<&Path>, options: &HealthArgs) -> CommandEnd {
    // Warnings are not repeated at every check.
    let loaded = file::find(config, options.file.as_deref())
        .and_then(|path| file::or_print_problems(&path, Config::load_without_secrets(&path)));
    let (config, _) = match loaded {
        Ok(loaded) => loaded,
        Err(end) => return end,
    };
    let Some(health_address) = health_address(&config, options.ready) else {
        complain!(
            "hedgerow: this configuration has no health address: set `health` or `admin`, or \
             `health` of a listener without TLS"
        );
        return CommandEnd::Unable;
    };
    match ask_health(&health_address) {
        Ok((200, answer)) => print(&format!("{answer}\n")),
        Ok((status, answer)) => {
            complain!(
                "hedgerow: {status} from {}: {answer}",
                health_address.address
            );
            CommandEnd::Refused
        }
        Err(error) => {
            complain!(
                "hedgerow: no answer from {}: {error}",
                health_address.address
            );
            CommandEnd::Refused
        }
    }
}

/// Returns the address of `health`, otherwise that of `admin`, otherwise that of the first listener without
/// TLS that has a `health` path.
fn health_address(config: &Config, ready: bool) -> Option<HealthAddress> {
    if let Some(address) = config.health.or(config.admin) {
        let path = if ready { "/readyz" } else { "/healthz" };
        return Some(HealthAddress {
            address: loopback_of(address),
            path: path.to_owned(),
        });
    }
    config.listen.iter().find_map(|listener| {
        let path = listener.health.as_ref()?.to_string();
        let path = path.trim_end_matches('/');
        let check = if ready { "ready" } else { "live" };
        listener.tls.is_none().then(|| HealthAddress {
            address: loopback_of(listener.address),
            path: format!("{path}/{check}"),
        })
    })
}

/// Returns a listening address as one to which a client can connect: an unspecified address becomes the
/// loopback address.
fn loopback_of(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Sends the request, and returns the status and the first line of the body.
fn ask_health(health_address: &HealthAddress) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&health_address.address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The request is written in one piece; formatting directly to the socket would split it.
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        health_address.path, health_address.address
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the answer is not HTTP"))?;
    Ok((status, body.lines().next().unwrap_or_default().to_owned()))
}
