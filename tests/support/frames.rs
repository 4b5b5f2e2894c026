//! HTTP/2 frames of which the test writes every byte, also invalid ones, and the answers to them.

use std::net::SocketAddr;

use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tls::Certificates;
use super::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Names and values of a header list, as written.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A header list of texts.
pub fn fields(list: &[(&str, &str)]) -> Fields {
    let bytes = |text: &str| text.as_bytes().to_vec();
    list.iter()
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect()
}

/// A header block in which every field is a literal without indexing (RFC 7541, 6.2.3).
pub fn block(fields: &Fields) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn text(block: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        short if short < 127 => block.push(u8::try_from(short).expect("it is short")),
        long => {
            block.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).expect("it is small") | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).expect("it is small"));
        }
    }
    block.extend_from_slice(bytes);
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("it is short")
        .to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The outcome of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Status(u16),
    /// `RST_STREAM` with this code.
    Reset(u32),
    /// `GOAWAY` with this error code.
    GoAway(u32),
    /// The connection ended without a frame.
    Closed,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One connection.
pub struct Frames {
    stream: Box<dyn Duplex>,
    buffer: Vec<u8>,
}

/// A received frame.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        let bytes = self.payload[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(bytes)
    }
}

impl Frames {
    /// Without TLS, with prior knowledge.
    pub async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self::greeting(Box::new(stream)).await
    }

    /// Over TLS, with ALPN.
    pub async fn secure(address: SocketAddr, certificates: &Certificates) -> Self {
        let mut options = ConnectorOptions::new(1);
        options.ca_file = certificates.file("ca.pem").to_str().map(str::to_owned);
        let connector = TransportConnector::new(Some(options));
        let mut peer = HttpPeer::new(address, true, "localhost".to_owned());
        peer.options.alpn = ALPN::H2;
        let stream = connector.new_stream(&peer).await.expect("a handshake");
        assert_eq!(stream.selected_alpn_proto(), Some(ALPN::H2));
        Self::greeting(Box::new(stream)).await
    }

    async fn greeting(stream: Box<dyn Duplex>) -> Self {
        let mut frames = Self {
            stream,
            buffer: Vec::new(),
        };
        // The server's header table stays empty, so that each answer can be decoded alone.
        let no_table = [0, 1, 0, 0, 0, 0];
        let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &no_table)].concat();
        frames.send(&greeting).await;
        frames
    }

    /// Writes. A peer that has hung up is no failure here; the answer shows it.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = within("a write", async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await;
    }

    /// Writes until the peer hangs up; returns whether the peer took everything.
    pub async fn send_all(&mut self, bytes: &[u8]) -> bool {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within("a write", written).await.is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame or the end", self.read_frame()).await
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        self.fill(9).await?;
        let length = u32::from_be_bytes([0, self.buffer[0], self.buffer[1], self.buffer[2]]);
        let length = length as usize;
        self.fill(9 + length).await?;
        let head: Vec<u8> = self.buffer.drain(..9).collect();
        let stream = u32::from_be_bytes(head[5..9].try_into().expect("four bytes"));
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: stream & 0x7fff_ffff,
            payload: self.buffer.drain(..length).collect(),
        })
    }

    async fn fill(&mut self, length: usize) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        while self.buffer.len() < length {
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.buffer.extend_from_slice(&piece[..read]),
            }
        }
        Some(())
    }

    /// The outcome of this stream: the status of its answer, without interim ones, or how it ended.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            if let Ok(outcome) = self.event(stream).await {
                return outcome;
            }
        }
    }

    /// The outcome of this stream, or another frame. Acknowledges settings.
    pub async fn event(&mut self, stream: u32) -> Result<Outcome, Frame> {
        let Some(frame) = self.next().await else {
            return Ok(Outcome::Closed);
        };
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                self.send(&self::frame(SETTINGS, ACK, 0, &[])).await;
            }
            HEADERS if frame.stream == stream && status(&frame) >= 200 => {
                return Ok(Outcome::Status(status(&frame)));
            }
            RST_STREAM if frame.stream == stream => return Ok(Outcome::Reset(frame.number(0))),
            GOAWAY if frame.number(4) != 0 => return Ok(Outcome::GoAway(frame.number(4))),
            _ => {}
        }
        Err(frame)
    }

    /// Reads to the end of this stream: the bytes of its body, and the code if it was reset.
    pub async fn body(&mut self, stream: u32) -> (usize, Option<u32>) {
        let mut bytes = 0;
        loop {
            let frame = self.next().await.expect("the stream goes on");
            match frame.kind {
                DATA if frame.stream == stream => {
                    bytes += frame.payload.len();
                    if frame.flags & END_STREAM != 0 {
                        return (bytes, None);
                    }
                }
                RST_STREAM if frame.stream == stream => return (bytes, Some(frame.number(0))),
                _ => {}
            }
        }
    }

    /// Whether the connection ends, whatever comes before.
    pub async fn ends(&mut self) -> bool {
        while self.next().await.is_some() {}
        true
    }
}

/// The status at the start of a header block: an index of the static table, or a literal.
fn status(frame: &Frame) -> u16 {
    const IN_TABLE: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut block = &frame.payload[..];
    // The block repeats the table size.
    while block[0] & 0xe0 == 0x20 {
        block = &block[1..];
    }
    let first = block[0];
    if first & 0x80 != 0 {
        return IN_TABLE[usize::from(first & 0x7f) - 8];
    }
    let length = usize::from(block[1] & 0x7f);
    let value = &block[2..2 + length];
    let digits = match block[1] & 0x80 {
        0 => String::from_utf8(value.to_vec()).expect("digits"),
        _ => huffman(value),
    };
    digits.parse().expect("a status")
}

/// Digits in the Huffman code (RFC 7541, appendix B).
fn huffman(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let (mut text, mut at) = (String::new(), 0);
    let number = |from: usize, length: usize| {
        let bits = bits.get(from..from + length)?;
        Some(bits.iter().fold(0_u8, |sum, bit| sum << 1 | bit))
    };
    while let Some(short) = number(at, 5) {
        match (short, number(at, 6)) {
            (0..=2, _) => {
                text.push(char::from(b'0' + short));
                at += 5;
            }
            (_, Some(long @ 0b011_001..=0b011_111)) => {
                text.push(char::from(b'3' + long - 0b011_001));
                at += 6;
            }
            _ => break,
        }
    }
    text
}
