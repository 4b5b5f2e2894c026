//! The query parameters of v0 (posthog-ingestion 1.5).

use chrono::{DateTime, Datelike, Utc};

use super::refusal::CaptureRefusal;
use crate::handler::pairs;

/// The parsed query.
#[derive(Debug, Default)]
pub(super) struct CaptureQuery {
    pub(super) data: Option<String>,
    pub(super) compression: Option<Compression>,
    pub(super) sent_at: Option<DateTime<Utc>>,
    pub(super) success: Success,
}

/// The form of a success answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Success {
    /// 200 with a body.
    #[default]
    Body,
    /// `beacon=1`: 204 without one.
    Nothing,
}

/// A compression hint that capture knows (posthog-ingestion 1.4, step 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Lz64,
    Base64,
}

impl Compression {
    /// Parses a hint of a query or a form. An unknown hint counts as no hint.
    pub(super) fn from_hint(hint: &str) -> Option<Self> {
        match hint.to_ascii_lowercase().as_str() {
            "gzip" | "gzip-js" => Some(Self::Gzip),
            "lz64" | "lz-string" => Some(Self::Lz64),
            "base64" | "b64" => Some(Self::Base64),
            _ => None,
        }
    }

    /// Parses a `Content-Encoding`. Upper case letters do not match.
    pub(super) fn from_content_encoding(value: &str) -> Option<Self> {
        if value.chars().any(|c| c.is_ascii_uppercase()) {
            return None;
        }
        Self::from_hint(value)
    }
}

impl CaptureQuery {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, CaptureRefusal> {
        let mut data = SingleField::default();
        let mut compression = SingleField::default();
        let mut sent_at = SingleField::default();
        let mut beacon = SingleField::default();
        for (name, value) in pairs(text.unwrap_or_default()) {
            match name.as_str() {
                "data" => data.set("data", value)?,
                "compression" => compression.set("compression", value)?,
                "_" | "sent_at" => sent_at.set("sent_at", value)?,
                "beacon" => beacon.set("beacon", value)?,
                _ => {}
            }
        }
        Ok(Self {
            data: data.0.filter(|data| !data.is_empty()),
            compression: compression.0.as_deref().and_then(Compression::from_hint),
            sent_at: match sent_at.0 {
                Some(text) => {
                    let millis = text.parse::<i64>();
                    let millis =
                        millis.map_err(|_| CaptureRefusal::Query("invalid digit in sent_at"))?;
                    // The skew cannot be computed from a clock that is at 1970.
                    DateTime::from_timestamp_millis(millis).filter(|time| time.year() > 2020)
                }
                None => None,
            },
            success: match beacon.0.map(|text| text.parse::<i32>()) {
                Some(Ok(1)) => Success::Nothing,
                Some(Err(_)) => return Err(CaptureRefusal::Query("invalid digit in beacon")),
                Some(Ok(_)) | None => Success::Body,
            },
        })
    }
}

/// A field that may appear once; a second one is an error, as in serde.
#[derive(Default)]
struct SingleField(Option<String>);

impl SingleField {
    fn set(&mut self, name: &'static str, value: String) -> Result<(), CaptureRefusal> {
        match self.0.replace(value) {
            None => Ok(()),
            Some(_) => Err(CaptureRefusal::Query(match name {
                "data" => "duplicate field `data`",
                "compression" => "duplicate field `compression`",
                "beacon" => "duplicate field `beacon`",
                _ => "duplicate field `sent_at`",
            })),
        }
    }
}
