//! Determines the protocol of a plain connection from its first bytes: HTTP/2 begins with a preface.

use std::io;
use std::time::Duration;

use pingora::protocols::l4::stream::Stream as L4Stream;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// The first bytes of an HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a plain connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DetectedProtocol {
    Http1,
    Http2,
}

/// Why the protocol of a connection is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoProtocol {
    /// The client sent nothing in time, or the connection broke.
    Nothing,
    /// The client has begun, but the rest of its first bytes did not arrive in time.
    Slow,
}

/// Determines the protocol of a connection. The bytes that were read for it are put back. `idle` is how
/// long the client may send nothing, `within` how long the rest of the first bytes may take.
///
/// # Errors
///
/// When the connection breaks, or its time is over, before the protocol is known.
pub(crate) async fn detect_protocol(
    stream: &mut L4Stream,
    idle: Duration,
    within: Duration,
) -> Result<DetectedProtocol, NoProtocol> {
    let mut read = Vec::with_capacity(PREFACE.len());
    let nothing = |_| NoProtocol::Nothing;
    let first = timeout(idle, read_more(stream, &mut read)).await;
    let first = first.map_err(|_| NoProtocol::Nothing)?.map_err(nothing)?;
    let protocol = match protocol_of(&read, first) {
        Some(protocol) => protocol,
        None => {
            let rest = async {
                loop {
                    let arrived = read_more(stream, &mut read).await?;
                    if let Some(protocol) = protocol_of(&read, arrived) {
                        return Ok::<_, io::Error>(protocol);
                    }
                }
            };
            let rest = timeout(within, rest).await;
            rest.map_err(|_| NoProtocol::Slow)?.map_err(nothing)?
        }
    };
    stream.rewind(&read);
    Ok(protocol)
}

/// Returns the protocol that these first bytes show, the last `arrived` of which have just arrived; `None`
/// while both are possible.
fn protocol_of(read: &[u8], arrived: usize) -> Option<DetectedProtocol> {
    if read == PREFACE {
        return Some(DetectedProtocol::Http2);
    }
    let both = PREFACE.starts_with(read) && arrived > 0;
    (!both).then_some(DetectedProtocol::Http1)
}

/// Reads more bytes, in total no more than the preface has, and returns their number.
async fn read_more(stream: &mut L4Stream, read: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; PREFACE.len()];
    let room = piece.get_mut(read.len()..).unwrap_or_default();
    let arrived = stream.read(room).await?;
    read.extend_from_slice(room.get(..arrived).unwrap_or_default());
    Ok(arrived)
}
