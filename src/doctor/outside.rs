//! The findings about the path from outside, from the answers to requests through the public address.

use std::net::IpAddr;

use super::finding::Finding;

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
pub fn path(url: &str, answer: &OutsideAnswer<'_>) -> Finding {
    const ABOUT: &str = "from outside, path";
    let status = answer.status;
    if let Some(found) = redirect(ABOUT, url, answer) {
        return found;
    }
    // Hedgerow answers this to a body that is not JSON (docs/operations.md).
    if status == 400 && answer.body.contains("\"code\"") {
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
pub fn preflight(url: &str, answer: &OutsideAnswer<'_>) -> Finding {
    const ABOUT: &str = "from outside, OPTIONS";
    if let Some(found) = redirect(ABOUT, url, answer) {
        return found;
    }
    match (answer.status, answer.allows) {
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
    let cached = answers.iter().find_map(|answer| answer.cached.as_ref());
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
pub fn address(client_address: Option<&str>) -> Finding {
    const ABOUT: &str = "from outside, address";
    let Some(text) = client_address else {
        return Finding::note(
            ABOUT,
            "could not be determined",
            "with `admin: 127.0.0.1:9090`, doctor can read it on the machine that serves",
        );
    };
    match text.parse().is_ok_and(is_inner) {
        false => Finding::ok(ABOUT, format!("this request came from {text}")),
        true => Finding::note(
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

fn redirect(about: &str, url: &str, answer: &OutsideAnswer<'_>) -> Option<Finding> {
    let to = answer.location.unwrap_or("nowhere");
    (300..=399).contains(&answer.status).then(|| {
        Finding::bad(
            about,
            format!("{url} is redirected ({}) to {to}", answer.status),
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
