//! A spool on NATS JetStream: its settings, and (feature `nats`) the spool itself.

mod accepted;
#[cfg(feature = "nats")]
mod spool;

use accepted::{SERVERS, STREAM};

use crate::kind::{SpoolBuild, SpoolKind, SpoolTakes};
use crate::settings::SettingForm;

#[cfg(feature = "nats")]
pub use spool::{NatsCertificate, NatsLogin, NatsServer, NatsSettings, NatsSpool};

/// `nats: {url: nats://host:port, …}`
pub(super) const KIND: SpoolKind = SpoolKind {
    key: "nats",
    takes: SpoolTakes::Section {
        required: &["url"],
        needs: &[
            ("user", "password"),
            ("password", "user"),
            ("certificate", "key"),
            ("key", "certificate"),
        ],
        excludes: &[
            ("user", "token"),
            ("password", "token"),
            ("credentials", "user"),
            ("credentials", "password"),
            ("credentials", "token"),
        ],
        settings: &[
            (
                "url",
                SettingForm::Secrets {
                    expected: SERVERS,
                    pattern: "^(nats://|tls://|env:|file:).+",
                },
            ),
            (
                "stream",
                SettingForm::Text {
                    expected: STREAM,
                    pattern: "^[A-Za-z0-9_-]{1,64}$",
                },
            ),
            (
                "user",
                SettingForm::Secret {
                    expected: "env:NAME, file:PATH or the user's name",
                },
            ),
            (
                "password",
                SettingForm::Secret {
                    expected: "env:NAME, file:PATH or the password itself",
                },
            ),
            (
                "token",
                SettingForm::Secret {
                    expected: "env:NAME, file:PATH or the token itself",
                },
            ),
            (
                "credentials",
                SettingForm::SecretFile {
                    expected: "the path of a credentials file (.creds)",
                    holds: is_credentials,
                    otherwise: "does not hold a user's JWT and its seed",
                },
            ),
            ("ca_file", SettingForm::Certificates),
            ("certificate", SettingForm::Certificates),
            ("key", SettingForm::PrivateKey),
            ("replicas", SettingForm::Number { least: 1, most: 5 }),
        ],
    },
    build: BUILD,
};

#[cfg(feature = "nats")]
const BUILD: SpoolBuild = SpoolBuild::Made(spool::NatsBackend::of);
#[cfg(not(feature = "nats"))]
const BUILD: SpoolBuild = SpoolBuild::Lacks { feature: "nats" };

/// Returns whether a text is a credentials file, as `nsc` and the hosted services write it.
fn is_credentials(text: &str) -> bool {
    const PARTS: [&str; 2] = ["BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"];
    PARTS.iter().all(|part| text.contains(part))
}
