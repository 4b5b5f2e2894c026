//! The findings of `hedgerow doctor`: each checked part, the observation, and the advice.
//!
//! This code is pure: `proxy::operator::doctor` observes the system and passes the observations in.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use crate::posthog::Host;

pub mod acme;
mod key;

pub use key::{key, Installation, KeyKnown};

/// The `User-Agent` of the requests that `hedgerow doctor` sends. With it, Hedgerow recognises that a
/// refused request is not from a client.
pub const USER_AGENT: &str = concat!("hedgerow-doctor/", env!("CARGO_PKG_VERSION"));

/// Whether `hedgerow doctor`, of any version, sent a request with this `User-Agent`.
pub fn is_own_request(user_agent: Option<&[u8]>) -> bool {
    user_agent.is_some_and(|name| name.starts_with(b"hedgerow-doctor/"))
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckStatus {
    /// The checked part is as it should be.
    Well,
    /// It works, but is probably not intended, or the check was not possible.
    Odd,
    /// Events are lost or late because of it.
    Bad,
}

/// The result of one check, as `hedgerow doctor` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The result.
    pub health: CheckStatus,
    /// The checked part, such as `project shop, name`.
    pub about: String,
    /// The observation.
    pub said: String,
    /// What the user should do.
    pub advice: Option<String>,
}

impl Finding {
    /// Creates a finding without a problem.
    pub fn ok(about: impl Into<String>, said: impl Into<String>) -> Self {
        Self {
            health: CheckStatus::Well,
            about: about.into(),
            said: said.into(),
            advice: None,
        }
    }

    /// Creates a finding that works, but comes with advice.
    pub fn odd(
        about: impl Into<String>,
        said: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            health: CheckStatus::Odd,
            advice: Some(advice.into()),
            ..Self::ok(about, said)
        }
    }

    /// Creates a finding about something that does not work.
    pub fn bad(
        about: impl Into<String>,
        said: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            health: CheckStatus::Bad,
            ..Self::odd(about, said, advice)
        }
    }
}

/// Formats the findings as lines. The last line has the number of problems.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.health {
            CheckStatus::Well => "ok   ",
            CheckStatus::Odd => "note ",
            CheckStatus::Bad => "BAD  ",
        };
        // A text from outside must not control the terminal.
        let _ = writeln!(
            text,
            "{mark} {}: {}",
            printable(&finding.about),
            printable(&finding.said)
        );
        if let Some(advice) = &finding.advice {
            let _ = writeln!(text, "      -> {}", printable(advice));
        }
    }
    let count = |health| {
        let these = findings.iter().filter(|finding| finding.health == health);
        these.count()
    };
    let _ = match (count(CheckStatus::Bad), count(CheckStatus::Odd)) {
        (0, 0) => writeln!(text, "all is well"),
        (0, odd) => writeln!(text, "nothing is broken; notes: {odd}"),
        (bad, _) => writeln!(text, "problems: {bad}"),
    };
    text
}

fn printable(text: &str) -> String {
    let shown = |sign: char| if sign.is_control() { ' ' } else { sign };
    text.chars().map(shown).collect()
}

/// Checks a project's key and host, as far as this needs no request.
pub fn project(name: &str, api_key: &str, host: &Host) -> Vec<Finding> {
    let about = format!("project {name}, key");
    let key = match api_key.starts_with("phc_") {
        true => Finding::ok(about, "has the form of a project key"),
        false => Finding::odd(
            about,
            "does not begin with phc_, as PostHog's project keys do",
            "copy the project API key from PostHog: Settings, Project",
        ),
    };
    let about = format!("project {name}, host");
    let region = match host.misdirection() {
        Some(misdirection) => Finding::bad(
            about,
            misdirection.to_string(),
            "a key works only in its own region: PostHog's address bar shows us or eu",
        ),
        None => Finding::ok(about, host.to_string()),
    };
    vec![key, region]
}

/// Checks this machine's clock. `ahead` is how far it is ahead of PostHog's, in seconds.
pub fn clock(ahead: i64) -> Finding {
    const ABOUT: &str = "clock";
    let off = ahead.unsigned_abs();
    let said = match ahead {
        // `Date` has a resolution of one second, and the answer needs some time to arrive.
        -2..=2 => return Finding::ok(ABOUT, "agrees with PostHog's"),
        3.. => format!("{off} seconds ahead of PostHog's"),
        _ => format!("{off} seconds behind PostHog's"),
    };
    let advice = "set it by NTP, because Hedgerow corrects the times of all events by it";
    match off {
        0..30 => Finding::odd(ABOUT, said, advice),
        _ => Finding::bad(ABOUT, said, advice),
    }
}

/// Checks a certificate. `left` is the time until it expires, and `since` the time since it became valid,
/// both in seconds.
pub fn certificate(file: &str, left: i64, since: i64) -> Finding {
    const DAY: i64 = 24 * 3600;
    let about = format!("certificate {file}");
    if since < 0 {
        let advice = "check this machine's clock, or use another certificate";
        return Finding::bad(about, "is not valid yet", advice);
    }
    let advice = "renew it: the process reads the new file by itself, or after `hedgerow reload`";
    match left {
        ..=0 => Finding::bad(about, format!("expired {} days ago", -left / DAY), advice),
        1..=1_209_600 => Finding::odd(about, format!("expires in {} days", left / DAY), advice),
        _ => Finding::ok(about, format!("expires in {} days", left / DAY)),
    }
}

/// Checks the disk of a spool. `free` is the free space of the disk, and `max_size` the limit of the spool,
/// both in bytes.
pub fn space(folder: &str, free: u64, max_size: u64) -> Finding {
    let about = format!("spool {folder}, disk");
    let mebibytes = |bytes: u64| bytes >> 20;
    let said = format!(
        "{} MiB are free, and `max_size` is {} MiB",
        mebibytes(free),
        mebibytes(max_size)
    );
    let advice = "free some space, or lower `delivery.spool.max_size`: on a full disk clients get \
        503";
    match free {
        _ if free >= max_size => Finding::ok(about, said),
        _ if mebibytes(free) < 64 => Finding::bad(about, said, advice),
        _ => Finding::odd(about, said, advice),
    }
}

/// Checks how many files the process may open. `None` means that there is no limit.
pub fn files(limit: Option<u64>) -> Finding {
    const ABOUT: &str = "open files";
    match limit {
        None => Finding::ok(ABOUT, "no limit"),
        Some(limit) if limit >= 4096 => Finding::ok(ABOUT, format!("up to {limit}")),
        Some(limit) => Finding::odd(
            ABOUT,
            format!("up to {limit}"),
            "each connection needs one: raise it (ulimit -n, LimitNOFILE of systemd) to 65536",
        ),
    }
}

/// The facts about an answer to a request through the public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideAnswer<'a> {
    /// Its status.
    pub status: u16,
    /// `Location`.
    pub location: Option<&'a str>,
    /// The header that shows that a cache gave the answer, as `cached` returns it.
    pub cached: Option<String>,
    /// The beginning of its body.
    pub body: &'a str,
    /// `Access-Control-Allow-Origin`.
    pub allows: Option<&'a str>,
}

/// Checks that the path reaches Hedgerow. The request has an invalid body, which Hedgerow refuses with its
/// own answer.
pub fn path(url: &str, seen: &OutsideAnswer<'_>) -> Finding {
    const ABOUT: &str = "from outside, path";
    let status = seen.status;
    if let Some(found) = redirect(ABOUT, url, seen) {
        return found;
    }
    // Hedgerow answers this to a body that is not JSON (docs/operations.md).
    if status == 400 && seen.body.contains("\"code\"") {
        return Finding::ok(ABOUT, format!("{url} reaches Hedgerow"));
    }
    if status == 401 {
        return Finding::bad(
            ABOUT,
            format!("{url} answered 401: it does not accept the write key of this file"),
            "another Hedgerow serves this path, or this one runs with another file, or the path \
             needs a log-in",
        );
    }
    Finding::bad(
        ABOUT,
        format!("{url} answered {status}, and this answer is not from Hedgerow"),
        "the web server does not pass the path on: `hedgerow snippet` prints the lines for it; \
         the path must stay unchanged and go to the port of `listen`",
    )
}

/// Checks that the answer to a preflight allows an origin.
pub fn preflight(url: &str, seen: &OutsideAnswer<'_>) -> Finding {
    const ABOUT: &str = "from outside, OPTIONS";
    if let Some(found) = redirect(ABOUT, url, seen) {
        return found;
    }
    match (seen.status, seen.allows) {
        (200..=299, Some(_)) => Finding::ok(ABOUT, "a preflight reaches Hedgerow"),
        (status, _) => Finding::bad(
            ABOUT,
            format!("the answer to a preflight is {status}, which allows no request"),
            "the server in front must pass OPTIONS on and keep the Access-Control-* headers; \
             otherwise pages on other hosts send nothing",
        ),
    }
}

/// Checks that no cache gave any of these answers to the same call.
pub fn cache(answers: &[OutsideAnswer<'_>]) -> Finding {
    const ABOUT: &str = "from outside, cache";
    let cached = answers.iter().find_map(|seen| seen.cached.as_ref());
    match cached {
        None => Finding::ok(ABOUT, "no cache answers calls"),
        Some(header) => Finding::bad(
            ABOUT,
            format!("a cache answered a call ({header})"),
            "turn caching off for this path: every call must reach Hedgerow",
        ),
    }
}

/// Checks the client address that Hedgerow saw. `None` means that it could not be determined.
pub fn address(seen: Option<&str>) -> Finding {
    const ABOUT: &str = "from outside, address";
    let Some(text) = seen else {
        return Finding::odd(
            ABOUT,
            "could not be determined",
            "with `admin: 127.0.0.1:9090`, doctor can read it on the machine that serves",
        );
    };
    match text.parse().is_ok_and(is_inner) {
        false => Finding::ok(ABOUT, format!("this request came from {text}")),
        true => Finding::odd(
            ABOUT,
            format!("this request came from {text}, an internal address"),
            "if this is your proxy, PostHog gets its address for every visitor: list it in `trusted_proxies`, and \
             configure it to send X-Forwarded-For",
        ),
    }
}

/// Whether an address belongs to this machine or an internal network. Proxies have such addresses, but
/// visitors of a public site do not (RFC 1918, 3927, 4193, 6598).
pub fn is_inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let shared = first == 100 && (64..128).contains(&second);
            address.is_private() || address.is_loopback() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

fn redirect(about: &str, url: &str, seen: &OutsideAnswer<'_>) -> Option<Finding> {
    let to = seen.location.unwrap_or("nowhere");
    (300..=399).contains(&seen.status).then(|| {
        Finding::bad(
            about,
            format!("{url} is redirected ({}) to {to}", seen.status),
            "use the URL that it leads to, without a redirect for this path: libraries do not \
             follow a redirect with a body",
        )
    })
}

/// Returns the header that shows that a cache gave the answer.
pub fn cached(header: impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(age) = header("age").filter(|age| age.trim() != "0") {
        return Some(format!("Age: {age}"));
    }
    let names = [
        "cf-cache-status",
        "x-cache",
        "x-cache-status",
        "x-vercel-cache",
    ];
    names.iter().find_map(|name| {
        let value = header(name)?;
        let hit = value.to_ascii_lowercase().contains("hit");
        hit.then(|| format!("{name}: {value}"))
    })
}

/// Formats a duration in milliseconds.
pub fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u16) -> OutsideAnswer<'static> {
        OutsideAnswer {
            status,
            location: None,
            cached: None,
            body: "",
            allows: None,
        }
    }

    #[test]
    fn each_judgement_has_its_bounds() {
        use CheckStatus::*;
        let host = |text: &str| text.parse::<Host>().unwrap();
        let key = |key| project("p", key, &host("us"))[0].health;
        let region = |text| project("p", "phc_a", &host(text))[1].health;
        let of_body = |status, body| {
            path(
                "u",
                &OutsideAnswer {
                    body,
                    ..seen(status)
                },
            )
            .health
        };
        let day = 24 * 3600;
        for (what, health, expected) in [
            ("key", key("phc_a"), Well),
            ("no key", key("abc"), Odd),
            ("region", region("eu"), Well),
            ("app", region("https://eu.posthog.com"), Bad),
            ("same time", clock(1).health, Well),
            ("ahead", clock(3).health, Odd),
            ("behind", clock(-3).health, Odd),
            ("far behind", clock(-30).health, Bad),
            ("expired", certificate("f", 0, day).health, Bad),
            ("not yet", certificate("f", day, -1).health, Bad),
            ("soon", certificate("f", 14 * day, day).health, Odd),
            ("later", certificate("f", 15 * day, day).health, Well),
            ("room", space("f", 1 << 30, 1 << 30).health, Well),
            ("less room", space("f", 1 << 29, 1 << 30).health, Odd),
            ("no room", space("f", 1 << 20, 1 << 30).health, Bad),
            ("files", files(Some(4096)).health, Well),
            ("few files", files(Some(1024)).health, Odd),
            ("no limit", files(None).health, Well),
            (
                "ours",
                of_body(400, "{\"success\":false,\"code\":\"x\"}"),
                Well,
            ),
            ("a page", of_body(200, "<html>"), Bad),
            ("nothing", of_body(404, ""), Bad),
            ("redirect", of_body(301, ""), Bad),
            ("no preflight", preflight("u", &seen(204)).health, Bad),
            ("no OPTIONS", preflight("u", &seen(405)).health, Bad),
            (
                "preflight",
                preflight(
                    "u",
                    &OutsideAnswer {
                        allows: Some("*"),
                        ..seen(204)
                    },
                )
                .health,
                Well,
            ),
            ("fresh", cache(&[seen(200)]).health, Well),
            (
                "cache",
                cache(&[OutsideAnswer {
                    cached: Some("Age: 3".to_owned()),
                    ..seen(200)
                }])
                .health,
                Bad,
            ),
            ("address", address(Some("203.0.113.9")).health, Well),
            ("inner", address(Some("10.0.0.3")).health, Odd),
            ("unknown", address(None).health, Odd),
        ] {
            assert_eq!(health, expected, "{what}");
        }
        let with = |name: &'static str, value: &'static str| {
            cached(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(with("age", "0"), None);
        assert_eq!(with("age", "7").unwrap(), "Age: 7");
        assert_eq!(with("x-cache", "MISS from a"), None);
        assert!(with("cf-cache-status", "HIT").is_some());
    }

    #[test]
    fn internal_addresses_are_distinguished_from_visitors() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.1.1", true),
            ("169.254.0.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("203.0.113.9", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_inner(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn each_line_names_the_problem_and_the_solution() {
        let text = render(&[
            Finding::ok("a", "b"),
            Finding::odd("c", "d\x1b[2J", "e"),
            Finding::bad("f", "g", "h"),
        ]);
        let expected =
            "ok    a: b\nnote  c: d [2J\n      -> e\nBAD   f: g\n      -> h\nproblems: 1\n";
        assert_eq!(text, expected);
    }
}
