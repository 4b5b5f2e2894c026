//! Reads the configuration of a running process from its admin address.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::Value;
use thiserror::Error;

use crate::admin::outline::{Outline, SealedOutline};
use crate::admin::AccessToken;
use crate::config::{differences_of, Difference};
use crate::posthog::Host;
use crate::proxy::build_error::BuildError;
use crate::proxy::outbound::pools::ConnectionPools;
use crate::proxy::outbound::upstream::Timeouts;

use super::doctor::probe::Probe;

/// How long the other process may take to answer.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    exchange: Duration::from_secs(10),
};

/// The differences between another configuration and that of a running process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// The differences.
    pub differences: Vec<Difference>,
    /// The number of the active configuration.
    pub generation: u64,
    /// When its last change was refused, in seconds since 1970, and why; `None` if that change became
    /// active.
    pub last_refusal: Option<(i64, String)>,
}

/// Why a running process did not show its configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunningError {
    /// There are no authorities with which its certificate could be verified.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The system has no random bits.
    #[error("the system provides no random numbers: {0}")]
    Random(String),
    /// The process did not answer.
    #[error("no answer ({0}): is `admin` of the running process at this address?")]
    NoAnswer(&'static str),
    /// The process requires the token of its `admin`.
    #[error(
        "the running process needs the token of its `admin`, but this file has none or another \
         one; give it with --token env:NAME"
    )]
    Token,
    /// The process refuses, and gives the reason.
    #[error("it answers {status}: {says}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// The first line of its answer.
        says: String,
    },
    /// The answer is not that of this version of Hedgerow.
    #[error("the answer is not from this version of Hedgerow")]
    SomethingElse,
}

/// Asks the process whose `admin` is at `url` which changes this configuration would make.
///
/// # Errors
///
/// When the process does not answer, or refuses to show its configuration.
pub async fn compare_with_running(
    url: &Host,
    token: Option<&AccessToken>,
    outline: &Outline,
) -> Result<Running, RunningError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| RunningError::Random(error.to_string()))?;
    let salt = HEXLOWER.encode(&bits);
    let probe = Probe::new(url, ConnectionPools::default().of(url, None)?, TIMEOUTS);
    let bearer = token.map(AccessToken::bearer);
    let fields = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()));
    let fields: Vec<_> = fields.collect();
    let path = format!("/config?salt={salt}");
    let result = probe.ask("GET", &path, &fields, Bytes::new()).await;
    let answer = result.map_err(|reason| RunningError::NoAnswer(reason.advice().0))?;
    match answer.head.status.as_u16() {
        200 => {}
        401 => return Err(RunningError::Token),
        status => {
            let says = answer.body.lines().next().unwrap_or_default();
            let says = says.chars().take(200).collect();
            return Err(RunningError::Refused { status, says });
        }
    }
    let value: Value =
        serde_json::from_str(&answer.body).map_err(|_| RunningError::SomethingElse)?;
    let running = value.get("values").and_then(SealedOutline::from_json);
    let generation = value.get("generation").and_then(Value::as_u64);
    let (running, generation) = running.zip(generation).ok_or(RunningError::SomethingElse)?;
    let last_refusal = value.get("last_refusal").and_then(|refusal| {
        let at = refusal.get("at")?.as_i64()?;
        Some((at, refusal.get("says")?.as_str()?.to_owned()))
    });
    Ok(Running {
        differences: differences_of(running, outline.sealed(salt.as_bytes())),
        generation,
        last_refusal,
    })
}
