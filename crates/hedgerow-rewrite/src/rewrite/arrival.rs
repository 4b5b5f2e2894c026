//! The input that a caller gives with a request: the facts about it, the project of its events, and its
//! limits.

use std::net::IpAddr;

use super::privacy::Signals;
use super::time::Timestamp;
use crate::posthog::ProjectId;
use crate::segment::Call;

/// The limits for one request, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The number of bytes of a body that are held before it streams. A body that is longer, or of
    /// unknown length, streams an eighth earlier, so that the bytes of the last read still fit.
    pub window: usize,
    /// The largest size of an event, measured as capture's queue measures it (posthog-ingestion 5.1).
    pub event: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            window: 1 << 20,
            event: crate::posthog::DEFAULT_EVENT_LIMIT,
        }
    }
}

/// The length that a sender announces for its body, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AnnouncedLength {
    /// The sender announces no length.
    #[default]
    Unknown,
    /// The length of the body itself. A body that fits into the [window](Bounds::window) is then held to
    /// its end.
    OfBody(usize),
    /// The length of the encoded (for example, compressed) body.
    OfCoding(usize),
}

impl AnnouncedLength {
    /// Returns the number of bytes that the sender will send, if it is known.
    pub fn sent(self) -> Option<usize> {
        match self {
            Self::Unknown => None,
            Self::OfBody(length) | Self::OfCoding(length) => Some(length),
        }
    }
}

/// Whether the origin of each property is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Explanations {
    /// It is not.
    #[default]
    Off,
    /// It is passed to [`Watch::explained`](super::Watch::explained).
    On,
}

/// What is known about a request before the first byte of its body.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The call that the path names.
    pub call: Call,
    /// The length that the body will have.
    pub length: AnnouncedLength,
    /// The time at which the request arrived. Without it no event's time is corrected.
    pub received_at: Option<Timestamp>,
    /// The client's address, for browser and mobile libraries that do not know their own.
    pub client_ip: Option<IpAddr>,
    /// The request's user agent, used only for pixels: their senders run no script that could report it.
    pub user_agent: Option<String>,
    /// The request's `Cookie` header, which may hold a session.
    pub cookies: Option<String>,
    /// The signals about tracking that the request carries.
    pub signals: Signals,
    /// Random bits, for messages that have neither their own id nor their own time.
    pub nonce: u128,
    /// Whether the origin of each property is reported.
    pub explanations: Explanations,
}

impl Arrival {
    /// Creates an arrival of which only the call is known.
    pub fn new(call: Call) -> Self {
        Self {
            call,
            length: AnnouncedLength::Unknown,
            received_at: None,
            client_ip: None,
            user_agent: None,
            cookies: None,
            signals: Signals::default(),
            nonce: 0,
            explanations: Explanations::Off,
        }
    }
}

/// The project that receives the events of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The project.
    pub project: ProjectId,
    /// The properties that every event of the project gets, at most 63. The names need no escape in
    /// JSON; the values are JSON text.
    pub properties: Vec<(String, String)>,
}
