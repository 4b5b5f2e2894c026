//! A spool on NATS as a backend.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::place::{NatsLogin, NatsPlace};
use super::settings::NatsSettings;
use super::store::NatsSpool;
use crate::backend::{
    Backend, Examination, OpenedSpool, SpoolHealth, SpoolLimits, SpoolTrouble, Terms,
};
use crate::command::{CommandError, ListFormat, SpoolCommand};
use crate::error::SpoolError;

/// The largest event, in bytes, that a NATS server accepts by default: its `max_payload` is 1 MiB,
/// including the headers, for which 4 KiB are left here. The real limit is known after connecting.
const TAKEN: usize = (1 << 20) - (4 << 10);

/// How long a starting process waits until the servers report the waiting events. This is longer than
/// the client needs to restore a lost connection.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// A spool on NATS.
pub(crate) struct NatsBackend(pub(super) NatsPlace);

impl NatsBackend {
    fn settings(&self, limits: SpoolLimits) -> NatsSettings {
        NatsSettings::of(&self.0, limits)
    }
}

impl Backend for NatsBackend {
    fn describe(&self) -> String {
        let servers: Vec<_> = self.0.servers.iter().map(ToString::to_string).collect();
        format!("{} on {}", self.0.stream, servers.join(", "))
    }

    fn open(&self, terms: Terms) -> Result<OpenedSpool, SpoolError> {
        let settings = NatsSettings {
            lead: NatsSettings::lead_for(terms.longest_delivery),
            largest_event: Some(terms.largest_event),
            ..self.settings(terms.limits)
        };
        Ok(OpenedSpool {
            store: Arc::new(NatsSpool::open_and_wait(settings, FIRST_LOOK, terms.clock)?),
            folder: None,
        })
    }

    fn check(&self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn run(
        &self,
        limits: SpoolLimits,
        command: &SpoolCommand,
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        command.run_on_nats(&self.settings(limits), out)
    }

    fn examine(&self, limits: SpoolLimits, largest_event: usize) -> Vec<Examination> {
        let about = "spool on NATS".to_owned();
        let listed = self.run(
            limits,
            &SpoolCommand::Ls(ListFormat::default()),
            &mut Vec::new(),
        );
        let settings = self.settings(limits);
        let known =
            |error: &CommandError| matches!(error, CommandError::Spool(SpoolError::NoStream(_)));
        let listed = match &listed {
            Err(error) if !known(error) => listed,
            _ => settings
                .ask_streams()
                .map_err(CommandError::from)
                .and(listed),
        };
        let state = match listed {
            Ok(()) => "answers, and has its streams",
            Err(CommandError::Spool(SpoolError::NoStream(_))) => {
                "answers; the first proxy creates the streams"
            }
            Err(error) => {
                let found = SpoolHealth::Bad(SpoolTrouble {
                    what: error.to_string(),
                    advice:
                        "check `delivery.spool.nats`: its URL, its login, and that JetStream is on",
                });
                return vec![Examination { about, found }];
            }
        };
        let size = match settings.ask_largest_event() {
            Ok(Some(limit)) if limit < largest_event => SpoolHealth::Bad(SpoolTrouble {
                what: format!("`limits.event` is {largest_event} bytes, and NATS accepts {limit}"),
                advice:
                    "raise the servers' `max_payload` (or the stream's largest message), or lower \
                     `limits.event`: the spool refuses larger events",
            }),
            Ok(limit) => {
                let limit = limit.map_or("any size".to_owned(), |limit| {
                    format!("up to {limit} bytes")
                });
                SpoolHealth::Well(format!(
                    "NATS accepts {limit}, `limits.event` is {largest_event}"
                ))
            }
            Err(error) => SpoolHealth::Unknown(SpoolTrouble {
                what: format!("could not be determined: {error}"),
                advice: "run it again when NATS answers",
            }),
        };
        vec![
            Examination {
                about,
                found: SpoolHealth::Well(state.to_owned()),
            },
            Examination {
                about: "spool on NATS, size of an event".to_owned(),
                found: size,
            },
        ]
    }

    fn secrets(&self) -> Vec<&str> {
        match &self.0.login {
            None => Vec::new(),
            Some(NatsLogin::Token(text) | NatsLogin::Credentials(text)) => vec![text],
            Some(NatsLogin::User { name, password }) => vec![name, password],
        }
    }

    fn authorities(&self) -> Option<(&Path, String)> {
        let server = self.0.servers.first().map(ToString::to_string);
        let file = self.0.ca_file.as_deref()?;
        Some((file, server.unwrap_or_default()))
    }

    fn warning_of_large_events(&self, largest: usize) -> Option<Cow<'static, str>> {
        (largest > TAKEN).then_some(Cow::Borrowed(
            "`event` is above the 1 MiB that NATS servers accept by default: unless their \
             `max_payload` is larger, the spool refuses such events; `hedgerow doctor` asks the servers",
        ))
    }
}
