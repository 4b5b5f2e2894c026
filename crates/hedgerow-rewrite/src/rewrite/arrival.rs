//! What a caller hands in with a request: what is known of it, whom its events are for, and what it may take.

use std::net::IpAddr;

use super::privacy::Signals;
use super::time::Timestamp;
use crate::posthog::ProjectId;
use crate::segment::Call;

/// Bounds on what one request may take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How much of a body is held before it streams. One that is longer, or whose length is not known,
    /// streams an eighth earlier: what comes with the last read then fits as well.
    pub window: usize,
    /// The largest event, measured as capture's queue does (posthog-ingestion 5.1).
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

/// What is known of a request besides its body.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The call that the path names.
    pub call: Call,
    /// When the request arrived. Without it no time is corrected.
    pub received_at: Option<Timestamp>,
    /// The client's address, for browser and mobile libraries that do not know their own.
    pub client_ip: Option<IpAddr>,
    /// The request's user agent, only for pixels: their senders run no script.
    pub user_agent: Option<String>,
    /// The request's `Cookie` header, in which a session may stand.
    pub cookies: Option<String>,
    /// What the request says about being tracked.
    pub signals: Signals,
    /// Random bits, for messages that carry neither an id nor a time of their own.
    pub nonce: u128,
}

impl Arrival {
    /// A request of which only its call is known.
    pub fn new(call: Call) -> Self {
        Self {
            call,
            received_at: None,
            client_ip: None,
            user_agent: None,
            cookies: None,
            signals: Signals::default(),
            nonce: 0,
        }
    }
}

/// Whom the events of a request are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The project.
    pub project: ProjectId,
    /// Properties that every event of the project gets, at most 63: names that need no escape in
    /// JSON, and values as JSON text.
    pub properties: Vec<(String, String)>,
}
