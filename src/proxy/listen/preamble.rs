//! The bytes before the first request of a plain connection: the preface of HTTP/2, or none.

use std::io;

use pingora::protocols::l4::stream::Stream as L4Stream;
use tokio::io::AsyncReadExt;

/// The first bytes of an HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a plain connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// Determines how a connection begins. The bytes that were read for it are put back.
///
/// # Errors
///
/// When it ends before the protocol is known.
pub(crate) async fn begins(stream: &mut L4Stream) -> io::Result<Speaks> {
    let mut read = Vec::with_capacity(PREFACE.len());
    let begins = loop {
        if read == PREFACE {
            break Speaks::Http2;
        }
        if !PREFACE.starts_with(&read) {
            break Speaks::Http1;
        }
        let mut piece = [0; PREFACE.len()];
        let room = piece.get_mut(read.len()..).unwrap_or_default();
        let came = stream.read(room).await?;
        read.extend_from_slice(room.get(..came).unwrap_or_default());
        if came == 0 {
            break Speaks::Http1;
        }
    };
    stream.rewind(&read);
    Ok(begins)
}
