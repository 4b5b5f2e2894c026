//! The findings about ordered certificates, from the files in their folder.

use std::path::Path;

use chrono::{DateTime, SecondsFormat};

use super::finding::Finding;

/// The observed facts about one certificate. Times are in seconds since 1970.
#[derive(Debug, Clone)]
pub struct CertificateFacts<'a> {
    /// The names that the configuration requires.
    pub domains: &'a [String],
    /// The URL of the authority's directory.
    pub directory: &'a str,
    /// The folder that stores it.
    pub storage: &'a Path,
    /// Why Hedgerow cannot write to the folder. `None` if it can.
    pub unwritable: Option<String>,
    /// The start and the end of its validity. `None` if there is no certificate.
    pub life: Option<(i64, i64)>,
    /// Whether the certificate has all of the names.
    pub complete: bool,
    /// The number of failed orders since the last successful one.
    pub failures: u32,
    /// Why the last order failed.
    pub error: Option<&'a str>,
    /// The earliest time of the next order.
    pub next: u64,
    /// The time of the check.
    pub now: u64,
}

/// Checks whether the certificate exists, how long it is valid, and whether the last order failed.
pub fn certificate(facts: &CertificateFacts<'_>) -> Vec<Finding> {
    const DAY: i64 = 24 * 3600;
    const LOOK: &str =
        "each name must resolve to this machine, and port 80 must lead to a listener without `tls` (http-01), \
         or port 443 to this listener (tls-alpn-01): docs/certificates.md. `hedgerow reload` tries again at once";
    let about = format!("acme {}", facts.domains.join(", "));
    let mut findings = Vec::new();
    if let Some(reason) = &facts.unwritable {
        let observation = format!("{} cannot be written: {reason}", facts.storage.display());
        let advice = "set a folder in which Hedgerow's user can write: without it no \
                      certificate is ordered";
        findings.push(Finding::bad(about.clone(), observation, advice));
    }
    let failed = (facts.failures > 0).then(|| {
        let times = match facts.failures {
            1 => "the last order has failed".to_owned(),
            many => format!("the last {many} orders have failed"),
        };
        let next = match facts.next > facts.now {
            true => format!("; the next attempt is {}", date(facts.next)),
            false => String::new(),
        };
        format!(
            "{times}: {}{next}",
            facts.error.unwrap_or("no reason is known")
        )
    });
    let now = i64::try_from(facts.now).unwrap_or(i64::MAX);
    findings.push(match (facts.life, failed) {
        (None, Some(failed)) => Finding::bad(about, format!("no certificate; {failed}"), LOOK),
        (None, None) => Finding::note(
            about,
            format!(
                "no certificate yet; Hedgerow has not ordered one from {}",
                facts.directory
            ),
            "`hedgerow run` orders it",
        ),
        (Some((begins, _)), _) if now < begins => Finding::bad(
            about,
            "its certificate is not valid yet",
            "check this machine's clock",
        ),
        (Some((_, ends)), failed) if ends <= now => {
            let failed = failed.map_or(String::new(), |failed| format!("; {failed}"));
            let observation = format!("expired {} days ago{failed}", (now - ends) / DAY);
            Finding::bad(about, observation, LOOK)
        }
        (Some((_, ends)), Some(failed)) => {
            let observation = format!("expires in {} days; {failed}", (ends - now) / DAY);
            match ends - now < 14 * DAY {
                true => Finding::bad(about, observation, LOOK),
                false => Finding::note(about, observation, LOOK),
            }
        }
        (Some(_), None) if !facts.complete => Finding::note(
            about,
            "the existing certificate is not for all of these names",
            "`hedgerow run` or `hedgerow reload` orders another",
        ),
        (Some((_, ends)), None) => {
            let observation = format!("expires in {} days", (ends - now) / DAY);
            Finding::ok(about, observation)
        }
    });
    findings
}

fn date(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    let date = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    date.map_or_else(String::new, |date| {
        format!("at {}", date.to_rfc3339_opts(SecondsFormat::Secs, true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::CheckStatus::{self, Failed, Note, Passed};

    #[test]
    fn a_certificate_is_judged_by_its_expiry_and_failed_orders() {
        const DAY: i64 = 24 * 3600;
        let (now, domains) = (
            1_800_000_000,
            ["a.example".to_owned(), "b.example".to_owned()],
        );
        let ends_in = |days: i64| Some((now - 30 * DAY, now + days * DAY));
        type Case = (
            &'static str,
            Option<(i64, i64)>,
            bool,
            u32,
            CheckStatus,
            &'static str,
        );
        let cases: [Case; 9] = [
            ("fine", ends_in(60), true, 0, Passed, "expires in 60 days"),
            ("none yet", None, false, 0, Note, "has not ordered one"),
            (
                "none",
                None,
                false,
                2,
                Failed,
                "the last 2 orders have failed: no DNS; the next attempt is at",
            ),
            ("ended", ends_in(-2), true, 0, Failed, "expired 2 days ago"),
            (
                "ended",
                ends_in(-2),
                true,
                1,
                Failed,
                "expired 2 days ago; the last order has failed: no DNS",
            ),
            (
                "late",
                ends_in(20),
                true,
                1,
                Note,
                "expires in 20 days; the last order has failed",
            ),
            ("soon", ends_in(3), true, 9, Failed, "expires in 3 days"),
            ("other names", ends_in(60), false, 0, Note, "not for all"),
            (
                "clock",
                Some((now + DAY, now + 2 * DAY)),
                true,
                0,
                Failed,
                "not valid yet",
            ),
        ];
        for (what, life, complete, failures, health, observation) in cases {
            let facts = CertificateFacts {
                domains: &domains,
                directory: "https://ca.example/directory",
                storage: Path::new("/var/lib/hedgerow/acme"),
                unwritable: None,
                life,
                complete,
                failures,
                error: (failures > 0).then_some("no DNS"),
                next: now as u64 + 60,
                now: now as u64,
            };
            let found = certificate(&facts);
            assert_eq!(found.len(), 1, "{what}");
            assert_eq!(found[0].status, health, "{what}: {found:?}");
            assert!(
                found[0].observation.contains(observation),
                "{what}: {found:?}"
            );
            assert_eq!(found[0].about, "acme a.example, b.example");
            let unwritable = Some("Permission denied".to_owned());
            let found = certificate(&CertificateFacts {
                unwritable,
                ..facts
            });
            assert_eq!((found.len(), found[0].status), (2, Failed), "{what}");
        }
    }
}
