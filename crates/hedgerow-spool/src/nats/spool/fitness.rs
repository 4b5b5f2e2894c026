//! Checks whether a stream that an operator has created keeps the messages that it has acknowledged.

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use thiserror::Error;

/// The purpose of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The stream holds waiting events. It may drop none of them before it is delivered.
    Waiting,
    /// The stream holds dead letters. It may drop the oldest.
    DeadLetters,
    /// The stream holds leads or ages. A proxy can write them again.
    Rest,
}

/// Why a stream cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the stream {stream} {reason}")]
pub(super) struct Unfit {
    stream: String,
    reason: String,
}

impl Unfit {
    /// The error for a stream that cannot be created because another stream, `stream`, takes its subjects.
    pub(super) fn takes_subject(stream: String, subject: &str) -> Self {
        let reason = format!("has the subjects {subject}, which the spool needs");
        Self { stream, reason }
    }

    /// The error for a stream with `replicas` on a single server, which cannot hold copies.
    pub(super) fn without_cluster(stream: String) -> Self {
        let reason = "cannot have `replicas`: the server is in no cluster".to_owned();
        Self { stream, reason }
    }
}

/// Checks whether a stream accepts this subject and keeps its messages.
pub(super) fn check(config: &Config, subject: &str, purpose: Purpose) -> Result<(), Unfit> {
    let unfit = |reason: String| {
        Err(Unfit {
            stream: config.name.clone(),
            reason,
        })
    };
    if config.sealed {
        return unfit("is sealed".to_owned());
    }
    if config.no_ack {
        return unfit("acknowledges nothing (no_ack)".to_owned());
    }
    if !config.subjects.iter().any(|own| covers(own, subject)) {
        return unfit(format!("does not have the subjects {subject}"));
    }
    if purpose == Purpose::Rest {
        return Ok(());
    }
    if config.storage == StorageType::Memory {
        return unfit(
            "is in memory (storage): a restart of its servers loses its events".to_owned(),
        );
    }
    if purpose == Purpose::DeadLetters {
        return match config.retention {
            RetentionPolicy::Interest => {
                unfit("keeps no messages (retention: interest)".to_owned())
            }
            _ => Ok(()),
        };
    }
    if config.retention != RetentionPolicy::WorkQueue {
        return unfit(
            "is not a work queue (retention): it may drop messages that were not \
             delivered"
                .to_owned(),
        );
    }
    // At this limit the stream drops a subject's oldest messages, even with `discard: new`.
    if config.max_messages_per_subject > 0 && !config.discard_new_per_subject {
        return unfit(
            "drops a project's oldest messages (max_msgs_per_subject without \
             discard_new_per_subject)"
                .to_owned(),
        );
    }
    let bounds = [config.max_bytes, config.max_messages];
    if config.discard == DiscardPolicy::Old && bounds.iter().any(|bound| *bound > 0) {
        return unfit("drops its oldest messages when it is full (discard: old)".to_owned());
    }
    Ok(())
}

/// Returns whether the subject `own` matches everything that the subject `subject` matches.
fn covers(own: &str, subject: &str) -> bool {
    let mut wanted = subject.split('.');
    for token in own.split('.') {
        match (token, wanted.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Config {
        Config {
            name: "H".to_owned(),
            subjects: vec!["H.events.*".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            max_bytes: 1000,
            ..Config::default()
        }
    }

    #[test]
    fn a_stream_that_may_drop_messages_is_not_used_for_waiting_events() {
        let unfit = [
            Config {
                retention: RetentionPolicy::Interest,
                ..queue()
            },
            Config {
                retention: RetentionPolicy::Limits,
                ..queue()
            },
            Config {
                discard: DiscardPolicy::Old,
                ..queue()
            },
            Config {
                no_ack: true,
                ..queue()
            },
            Config {
                storage: StorageType::Memory,
                ..queue()
            },
            Config {
                max_messages_per_subject: 1000,
                ..queue()
            },
            Config {
                sealed: true,
                ..queue()
            },
            Config {
                subjects: vec!["other".to_owned(), "H.events.shop".to_owned()],
                ..queue()
            },
        ];
        for config in unfit {
            let found = check(&config, "H.events.*", Purpose::Waiting);
            assert!(found.is_err(), "{config:?}");
        }
        for config in [
            queue(),
            Config {
                discard: DiscardPolicy::Old,
                max_bytes: -1,
                ..queue()
            },
            Config {
                subjects: vec!["H.>".to_owned()],
                ..queue()
            },
            Config {
                max_messages_per_subject: 1000,
                discard_new_per_subject: true,
                ..queue()
            },
        ] {
            assert_eq!(check(&config, "H.events.*", Purpose::Waiting), Ok(()));
        }
    }

    #[test]
    fn a_subject_covers_its_matches() {
        for (own, subject, expected) in [
            ("H.events.*", "H.events.*", true),
            ("H.*.*", "H.events.*", true),
            (">", "H.events.*", true),
            ("H.events.a", "H.events.*", false),
            ("H.events", "H.events.*", false),
            ("H.events.*.*", "H.events.*", false),
        ] {
            assert_eq!(covers(own, subject), expected, "{own}");
        }
    }
}
