//! Limits how long heads may take over HTTP/2: the framework waits for the rest of a head as long as its
//! connection lives. This module reads only the lengths, types and flags of the frames (RFC 9113, 4.1).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{sleep, Sleep};

use crate::proxy::limits::connection_limits::{ConnectionLimits, SlowStep};

/// The length of the preface, the first bytes of a connection (RFC 9113, 3.4).
const PREFACE: u32 = 24;
/// The length of a frame's head, in bytes.
const FRAME: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Measures the time of the heads that arrive over one connection.
#[derive(Debug)]
pub(super) struct Http2Heads {
    frame_position: FramePosition,
    /// The timer of the current head. The head has taken too long when it ends.
    timer: Option<Pin<Box<Sleep>>>,
    time: Duration,
    connection_limits: Option<Arc<ConnectionLimits>>,
}

/// The part that the next byte belongs to, and whether a head has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FramePosition {
    next: FramePart,
    head: HeadState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FramePart {
    /// The connection preface, of which this many bytes are missing.
    Preface(u32),
    /// A frame's head, of which this many bytes have arrived.
    Frame([u8; FRAME], usize),
    /// A frame's content, of which this many bytes are missing, and the state of the head after it.
    Content(u32, HeadState),
}

/// Whether the head of a request has begun and not ended. The preface and the first frame together count
/// as a head too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeadState {
    Begun,
    Over,
}

impl Http2Heads {
    /// Returns the state for a connection that has just begun.
    pub(super) fn new(time: Duration, connection_limits: Option<Arc<ConnectionLimits>>) -> Self {
        Self {
            frame_position: FramePosition::START,
            timer: Some(Box::pin(sleep(time))),
            time,
            connection_limits,
        }
    }

    /// Records the bytes that have arrived now. Wakes the task of `context` when the time of the current
    /// head is over, so that this is called again.
    ///
    /// # Errors
    ///
    /// When the time of the current head is over.
    pub(super) fn note(&mut self, arrived: &[u8], context: &mut Context<'_>) -> io::Result<()> {
        if self.frame_position.pass(arrived) == PassedHeads::SomeHead {
            self.timer = None;
        }
        if !self.frame_position.is_within_a_head() {
            self.timer = None;
            return Ok(());
        }
        let time = self.time;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(time)));
        if timer.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        if let Some(connection_limits) = &self.connection_limits {
            connection_limits.too_slow(SlowStep::Head);
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// Whether a head ended within some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassedHeads {
    NoHead,
    SomeHead,
}

impl FramePosition {
    const START: Self = Self {
        next: FramePart::Preface(PREFACE),
        head: HeadState::Begun,
    };

    /// Returns whether a head has begun and not ended. An incomplete head of a frame counts as well,
    /// because the frame may begin the head of a request.
    fn is_within_a_head(self) -> bool {
        self.head == HeadState::Begun || matches!(self.next, FramePart::Frame(_, 1..))
    }

    fn pass(&mut self, mut bytes: &[u8]) -> PassedHeads {
        let mut passed = PassedHeads::NoHead;
        loop {
            if let FramePart::Content(0, head) = self.next {
                if (self.head, head) == (HeadState::Begun, HeadState::Over) {
                    passed = PassedHeads::SomeHead;
                }
                self.head = head;
                self.next = FramePart::Frame([0; FRAME], 0);
            }
            let Some((first, rest)) = bytes.split_first() else {
                return passed;
            };
            match &mut self.next {
                FramePart::Preface(left) | FramePart::Content(left, _) => {
                    let taken = bytes
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= u32::try_from(taken).unwrap_or(*left);
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if self.next == FramePart::Preface(0) {
                        self.next = FramePart::Frame([0; FRAME], 0);
                    }
                }
                FramePart::Frame(frame, known) => {
                    if let Some(byte) = frame.get_mut(*known) {
                        *byte = *first;
                    }
                    *known += 1;
                    bytes = rest;
                    if *known == FRAME {
                        let frame = *frame;
                        self.begin(frame);
                    }
                }
            }
        }
    }

    /// Begins the content of a frame.
    fn begin(&mut self, frame: [u8; FRAME]) {
        let [high, middle, low, kind, flags, ..] = frame;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let after = match kind {
            HEADERS | CONTINUATION if flags & END_HEADERS == 0 => HeadState::Begun,
            _ => HeadState::Over,
        };
        if matches!(kind, HEADERS | CONTINUATION) {
            self.head = HeadState::Begun;
        }
        self.next = FramePart::Content(length, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len() as u8;
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], content].concat()
    }

    #[test]
    fn a_head_is_under_way_from_its_first_byte_to_the_last_of_its_last_frame() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let pieces = [
            (preface, true),
            (frame(4, 0, b"settin"), false),
            (frame(6, 0, b"pingping"), false),
            (frame(HEADERS, END_HEADERS, b"whole"), false),
            (frame(0, 0, &[7; 200]), false),
            (frame(0, 0, b""), false),
            (frame(HEADERS, 0, b"half"), true),
            (frame(CONTINUATION, 0, b""), true),
            (frame(CONTINUATION, END_HEADERS, b"half"), false),
            (frame(HEADERS, 1, b""), true),
            (frame(CONTINUATION, END_HEADERS, b""), false),
        ];
        for step in 1..40 {
            let mut frame_position = FramePosition::START;
            for (bytes, within) in &pieces {
                for piece in bytes.chunks(step) {
                    frame_position.pass(piece);
                }
                assert_eq!(
                    frame_position.is_within_a_head(),
                    *within,
                    "{bytes:?} by {step}"
                );
            }
            // The same bytes, and the first byte of another frame.
            let mut frame_position = FramePosition::START;
            let all = pieces.iter().flat_map(|(bytes, _)| bytes.clone());
            let all: Vec<u8> = all.chain([0]).collect();
            for piece in all.chunks(step) {
                frame_position.pass(piece);
            }
            assert!(frame_position.is_within_a_head(), "by {step}");
        }
    }

    #[test]
    fn a_head_that_has_ended_takes_no_time_from_the_next() {
        let mut frame_position = FramePosition::START;
        frame_position.pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert_eq!(
            frame_position.pass(&frame(4, 0, b"")),
            PassedHeads::SomeHead
        );
        assert_eq!(
            frame_position.pass(&frame(HEADERS, 0, b"x")),
            PassedHeads::NoHead
        );
        let mut both = frame(CONTINUATION, END_HEADERS, b"y");
        both.extend(frame(HEADERS, 0, b"z"));
        assert_eq!(frame_position.pass(&both), PassedHeads::SomeHead);
        assert!(frame_position.is_within_a_head());
    }
}
