//! What may leave of a visitor: the settings of `privacy:`, and what a request's signals make of them.

use std::fmt;
use std::net::IpAddr;

use ring::hmac;
use thiserror::Error;

use super::outcome::Omission;

pub use super::enrich::privacy::{IpMask, NamePattern, PathPattern, PatternError};

/// Without these PostHog would refuse an event or take it for another one; `drop` and `hash` do
/// not reach them.
pub const PROTECTED: &[&str] = &[
    "distinct_id",
    "$anon_distinct_id",
    "$lib",
    "$process_person_profile",
    "$geoip_disable",
    "$group_type",
    "$group_key",
];

/// The settings of `privacy:`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Privacy {
    /// Properties that are taken out, as paths in the event's properties.
    pub drop: Vec<PathPattern>,
    /// Properties whose values are replaced by a hash, likewise.
    pub hash: Vec<PathPattern>,
    /// What hashes and pseudonyms are keyed with.
    pub secret: Option<Secret>,
    /// How much of the client's address leaves.
    pub ip: IpMask,
    /// Whether advertisers' ids of single clicks leave.
    pub click_ids: ClickIds,
    /// What happens to messages of a request with `Sec-GPC: 1`.
    pub global_privacy_control: Treatment,
    /// What happens to messages of a request with `DNT: 1`.
    pub do_not_track: Treatment,
    /// Segment's consent categories, and what happens to a message without consent to each.
    pub consent: Vec<(String, Treatment)>,
    /// Whom an anonymised event is filed under.
    pub pseudonym: Pseudonym,
}

/// What happens to a message. The later ones are the stricter ones, and the strictest counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// It becomes an event as ever.
    #[default]
    Send,
    /// The event says what happened, and not to which person.
    Anonymise,
    /// It is left out.
    Drop,
}

/// Whether advertisers' ids of single clicks (`gclid`, `fbclid` …) leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClickIds {
    /// They do.
    #[default]
    Keep,
    /// `<masked>` stands for them, in properties of their own and in URLs, as in posthog-js.
    Mask,
}

/// Whom an anonymised event is filed under.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pseudonym {
    /// An id for each event: nothing connects two of them.
    #[default]
    Event,
    /// An id for each visitor and day (UTC), so that visitors can be counted. Needs the
    /// secret: without it, it cannot be told who it was, nor two days connected.
    Day,
}

/// The shortest secret, in bytes.
pub const SECRET_BYTES: usize = 16;

/// What hashes and pseudonyms are keyed with. It is never shown.
#[derive(Clone)]
pub struct Secret {
    bytes: Vec<u8>,
    pub(super) key: hmac::Key,
}

/// A secret that can be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a secret has at least {SECRET_BYTES} bytes")]
pub struct ShortSecret;

impl Secret {
    /// Takes a secret.
    ///
    /// # Errors
    ///
    /// When it has fewer than [`SECRET_BYTES`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, ShortSecret> {
        if bytes.len() < SECRET_BYTES {
            return Err(ShortSecret);
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            key: hmac::Key::new(hmac::HMAC_SHA256, bytes),
        })
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(redacted)")
    }
}

/// Whether a request carries a signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signal {
    /// It does not.
    #[default]
    Absent,
    /// It does.
    Given,
}

impl Signal {
    /// By the value of the header `Sec-GPC` or `DNT`: only `1` is the signal.
    pub fn from_header(value: Option<&str>) -> Self {
        match value.map(str::trim) {
            Some("1") => Self::Given,
            _ => Self::Absent,
        }
    }
}

/// What a visitor's browser says about being tracked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// `Sec-GPC: 1`.
    pub global_privacy_control: Signal,
    /// `DNT: 1`.
    pub do_not_track: Signal,
}

impl Privacy {
    /// Whether signals of a request change anything, so that they have to be read.
    pub fn heeds_signals(&self) -> bool {
        self.global_privacy_control != Treatment::Send || self.do_not_track != Treatment::Send
    }

    /// What the signals of a request make of its messages.
    pub(super) fn of_request(&self, signals: Signals) -> Decision {
        let mut decision = Decision {
            treatment: Treatment::Send,
            reason: Omission::GlobalPrivacyControl,
        };
        for (signal, treatment, reason) in [
            (
                signals.global_privacy_control,
                self.global_privacy_control,
                Omission::GlobalPrivacyControl,
            ),
            (
                signals.do_not_track,
                self.do_not_track,
                Omission::DoNotTrack,
            ),
        ] {
            if signal == Signal::Given {
                decision.tighten(treatment, reason);
            }
        }
        decision
    }

    /// What the signals of a request make of it as a whole.
    pub fn treatment(&self, signals: Signals) -> Treatment {
        self.of_request(signals).treatment
    }

    /// The client's address as it may stand in a header of a batch with the messages of a request.
    /// Where consent, which stands in each message, can make one of them anonymous, it belongs to no person.
    pub fn forwarded(&self, client: IpAddr, signals: Signals) -> IpAddr {
        let by_consent = self.consent.iter().map(|(_, without)| *without);
        let strictest = by_consent.max().unwrap_or_default();
        let is_sent =
            strictest == Treatment::Send && self.of_request(signals).treatment == Treatment::Send;
        let mask = if is_sent { self.ip } else { IpMask::All };
        mask.apply_to(client)
    }
}

/// What happens to a message, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) treatment: Treatment,
    /// What it is called if the message is left out.
    pub(super) reason: Omission,
}

impl Decision {
    /// Takes another treatment if it is stricter.
    pub(super) fn tighten(&mut self, treatment: Treatment, reason: Omission) {
        if treatment > self.treatment {
            *self = Self { treatment, reason };
        }
    }
}
