//! Which data about a visitor may leave the proxy: the settings of `privacy:`, and how the signals of a
//! request apply to them.

use std::fmt;
use std::net::IpAddr;

use ring::hmac;
use thiserror::Error;

use super::outcome::Omission;

pub use super::enrich::privacy::{IpMask, NamePattern, PathPattern, PatternError};

/// The properties that `drop` and `hash` do not change. Without them PostHog would refuse the event or
/// take it for another one.
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
    /// The properties that are removed, as paths in the event's properties.
    pub drop: Vec<PathPattern>,
    /// The properties whose values are replaced by a hash, as paths in the event's properties.
    pub hash: Vec<PathPattern>,
    /// The key of hashes and pseudonyms.
    pub secret: Option<Secret>,
    /// How much of the client's address is sent.
    pub ip: IpMask,
    /// Whether advertisers' click ids are sent.
    pub click_ids: ClickIds,
    /// What happens to the messages of a request with `Sec-GPC: 1`.
    pub global_privacy_control: Treatment,
    /// What happens to the messages of a request with `DNT: 1`.
    pub do_not_track: Treatment,
    /// Segment's consent categories, and what happens to a message without consent to each.
    pub consent: Vec<(String, Treatment)>,
    /// Which distinct id an anonymised event gets.
    pub pseudonym: Pseudonym,
}

/// What happens to a message. The variants are in order of strictness; the strictest one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// It becomes an event as usual.
    #[default]
    Send,
    /// The event states what happened, but not to which person.
    Anonymise,
    /// It is left out.
    Drop,
}

/// Whether advertisers' click ids (`gclid`, `fbclid` …) are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClickIds {
    /// They are sent.
    #[default]
    Keep,
    /// `<masked>` replaces them, in their own properties and in URLs, as in posthog-js.
    Mask,
}

/// Which distinct id an anonymised event gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pseudonym {
    /// A new id for each event: nothing connects two events.
    #[default]
    Event,
    /// An id for each visitor and day (UTC), so that visitors can be counted. It is keyed with the secret:
    /// a reader without the secret can neither identify the visitor nor link two days.
    Day,
}

/// The shortest secret, in bytes.
pub const SECRET_BYTES: usize = 16;

/// The key of hashes and pseudonyms. Its `Debug` output is redacted.
#[derive(Clone)]
pub struct Secret {
    bytes: Vec<u8>,
    pub(super) key: hmac::Key,
}

/// The error for a secret that is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a secret needs at least {SECRET_BYTES} bytes")]
pub struct ShortSecret;

impl Secret {
    /// Creates a secret from its bytes.
    ///
    /// # Errors
    ///
    /// If `bytes` has fewer than [`SECRET_BYTES`] bytes.
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
    /// The request does not carry the signal.
    #[default]
    Absent,
    /// The request carries the signal.
    Given,
}

impl Signal {
    /// Reads the value of the header `Sec-GPC` or `DNT`: only `1` is the signal.
    pub fn from_header(value: Option<&str>) -> Self {
        match value.map(str::trim) {
            Some("1") => Self::Given,
            _ => Self::Absent,
        }
    }
}

/// The signals against tracking that a visitor's browser sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    /// `Sec-GPC: 1`.
    pub global_privacy_control: Signal,
    /// `DNT: 1`.
    pub do_not_track: Signal,
}

impl Privacy {
    /// Returns whether the signals of a request have any effect, so that they must be read.
    pub fn heeds_signals(&self) -> bool {
        self.global_privacy_control != Treatment::Send || self.do_not_track != Treatment::Send
    }

    /// Returns how the messages of a request are treated because of its signals, and why.
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

    /// Returns how a request is treated because of its signals.
    pub fn treatment(&self, signals: Signals) -> Treatment {
        self.of_request(signals).treatment
    }

    /// Returns the client's address as a header of a batch with the messages of this request may contain
    /// it. The address is fully masked if the signals, or a message's missing consent to any category,
    /// can make a message anonymous or drop it.
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
    /// The reason to report if the message is left out.
    pub(super) reason: Omission,
}

impl Decision {
    /// Adopts another treatment if it is stricter.
    pub(super) fn tighten(&mut self, treatment: Treatment, reason: Omission) {
        if treatment > self.treatment {
            *self = Self { treatment, reason };
        }
    }
}
