//! Hashes that replace values, and anonymous ids that replace people's ids.

use ring::digest::{digest, SHA256};
use ring::hmac;

use crate::posthog::ProjectId;
use crate::rewrite::arrival::Recipient;
use crate::rewrite::enrich::uuid7::hexadecimal;
use crate::rewrite::mapping::Mapping;
use crate::rewrite::message_source::MessageSource;
use crate::rewrite::normalise::Settled;
use crate::rewrite::privacy::{Privacy, Pseudonym, Secret};
use crate::rewrite::time::Timestamp;

/// The prefix of every anonymous id. PostHog refuses to merge the id `anonymous`, but accepts an id
/// with this prefix (posthog-ingestion 3.3).
const ANONYMOUS_PREFIX: &str = "anonymous:";

/// The purpose of a keyed hash. It is part of the hashed text, so that the hash of a property never
/// equals the pseudonym of a person.
const OF_VALUE: &[u8] = b"hedgerow value\0";
const OF_VISITOR: &[u8] = b"hedgerow visitor\0";

/// The length of the hash in an anonymous id, in bytes: enough to distinguish the visitors of one day.
const VISITOR_BYTES: usize = 16;

/// The values from which a pseudonym is built.
#[derive(Debug, Clone, Copy)]
struct PseudonymSource<'a> {
    /// The id of the visitor's device or account.
    visitor: Option<&'a str>,
    /// When the event happened.
    moment: Option<Timestamp>,
    /// The project. A visitor has a different pseudonym in each project.
    project: &'a ProjectId,
    /// The message's id, which a retry repeats.
    message_id: &'a str,
}

impl Settled<'_> {
    /// Returns the distinct id of an anonymised event.
    pub(in crate::rewrite) fn anonymised_id(
        &self,
        source: MessageSource<'_>,
        mapping: &Mapping,
        recipient: &Recipient,
        moment: Option<Timestamp>,
    ) -> String {
        let visitor = self.visitor(source.utf8);
        let visitor = visitor.or_else(|| self.user(source.utf8));
        mapping.privacy.anonymised_id(PseudonymSource {
            visitor: visitor.as_deref(),
            moment,
            project: &recipient.project,
            message_id: &self.message_id,
        })
    }
}

impl Privacy {
    /// Returns the distinct id of an anonymised event, which is the same for every retry of a message.
    fn anonymised_id(&self, source: PseudonymSource<'_>) -> String {
        let mut id = String::with_capacity(ANONYMOUS_PREFIX.len() + 64);
        id.push_str(ANONYMOUS_PREFIX);
        match (self.pseudonym, &self.secret, source.visitor, source.moment) {
            (Pseudonym::Day, Some(secret), Some(visitor), Some(moment)) => {
                const DAY: i64 = 24 * 60 * 60 * 1000;
                let day = moment.millis().div_euclid(DAY).to_be_bytes();
                let project = [source.project.as_bytes(), b"\0"].concat();
                let tag = secret.tag(&[OF_VISITOR, &day, &project, visitor.as_bytes()]);
                let tag = tag.as_ref();
                write_hex(&mut id, tag.get(..VISITOR_BYTES).unwrap_or(tag));
            }
            _ => {
                let hash = digest(&SHA256, source.message_id.as_bytes());
                let hash = hash.as_ref();
                write_hex(&mut id, hash.get(..VISITOR_BYTES).unwrap_or(hash));
            }
        }
        id
    }

    /// Writes the hash that replaces a value, as a JSON string.
    pub(super) fn write_hash(&self, out: &mut Vec<u8>, value: &[u8]) {
        match &self.secret {
            Some(secret) => {
                out.extend_from_slice(b"\"hmac-sha256:");
                let tag = secret.tag(&[OF_VALUE, value]);
                each_digits(tag.as_ref(), |digits| out.extend_from_slice(digits));
            }
            None => {
                out.extend_from_slice(b"\"sha256:");
                let hash = digest(&SHA256, value);
                each_digits(hash.as_ref(), |digits| out.extend_from_slice(digits));
            }
        }
        out.push(b'"');
    }
}

impl Secret {
    fn tag(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }
}

/// Appends the hexadecimal digits of a hash.
fn write_hex(out: &mut String, hash: &[u8]) {
    // The digits are ASCII.
    each_digits(hash, |digits| {
        out.push_str(std::str::from_utf8(digits).unwrap_or_default());
    });
}

/// Passes the hexadecimal digits of a hash in parts.
fn each_digits(hash: &[u8], mut take: impl FnMut(&[u8])) {
    let (parts, rest) = hash.as_chunks();
    debug_assert!(rest.is_empty(), "a hash has whole parts of sixteen bytes");
    for digits in parts.iter().flat_map(|part| hexadecimal(*part)) {
        take(&digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posthog::ApiKey;

    fn project(name: &str) -> ProjectId {
        ProjectId::of(&ApiKey::new(name).unwrap())
    }

    const HOUR: i64 = 60 * 60 * 1000;

    fn anonymised_id(privacy: &Privacy, visitor: &str, hour: i64, message_id: &str) -> String {
        privacy.anonymised_id(PseudonymSource {
            visitor: Some(visitor),
            moment: Some(Timestamp::from_millis(hour * HOUR)),
            project: &project("shop"),
            message_id,
        })
    }

    fn daily(secret: &[u8]) -> Privacy {
        Privacy {
            secret: Some(Secret::new(secret).unwrap()),
            pseudonym: Pseudonym::Day,
            ..Privacy::default()
        }
    }

    #[test]
    fn an_anonymised_id_for_each_event_depends_only_on_the_message() {
        let privacy = Privacy::default();
        let first = anonymised_id(&privacy, "ada", 1, "m-1");
        assert_eq!(first, anonymised_id(&privacy, "bob", 99, "m-1"));
        assert_ne!(first, anonymised_id(&privacy, "ada", 1, "m-2"));
        assert!(first.starts_with("anonymous:") && !first.contains("ada"));
    }

    #[test]
    fn an_anonymised_id_for_each_day_is_one_for_a_day_and_needs_the_secret() {
        let privacy = daily(&[7; SECRET]);
        let today = anonymised_id(&privacy, "ada", 0, "m-1");
        assert_eq!(today, anonymised_id(&privacy, "ada", 23, "m-2"));
        for other in [
            anonymised_id(&privacy, "ada", 24, "m-1"),
            anonymised_id(&privacy, "ada", -1, "m-1"),
            anonymised_id(&privacy, "bob", 0, "m-1"),
            anonymised_id(&daily(&[8; SECRET]), "ada", 0, "m-1"),
            privacy.anonymised_id(PseudonymSource {
                visitor: Some("ada"),
                moment: Some(Timestamp::from_millis(0)),
                project: &project("blog"),
                message_id: "m-1",
            }),
        ] {
            assert_ne!(today, other);
        }
    }

    const SECRET: usize = crate::rewrite::privacy::SECRET_BYTES;

    #[test]
    fn a_hash_is_the_standards_without_a_secret_and_keyed_with_one() {
        let hashed = |privacy: Privacy| {
            let mut out = Vec::new();
            privacy.write_hash(&mut out, b"abc");
            serde_json::from_slice::<String>(&out).unwrap()
        };
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hashed(Privacy::default()),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let keyed = hashed(daily(&[7; SECRET]));
        assert!(keyed.starts_with("hmac-sha256:"), "{keyed}");
        assert_eq!(keyed.len(), "hmac-sha256:".len() + 64);
        assert_ne!(keyed, hashed(daily(&[8; SECRET])));
        assert_eq!(
            Secret::new(&[7; SECRET - 1]),
            Err(crate::rewrite::privacy::ShortSecret)
        );
        assert!(!format!("{:?}", daily(b"secret-secret-secret")).contains("secret-"));
    }
}
