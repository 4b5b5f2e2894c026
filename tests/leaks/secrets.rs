//! The secrets, and where each of them may appear.

/// A cookie of the site's session.
pub const COOKIE: &str = "leak-cookie-7f3a91";
/// The site's own credentials, in `Authorization`.
pub const CREDENTIALS: &str = "leak-credentials-91c2e4";
/// A write key of the route. Its last four characters may appear.
pub const WRITE_KEY: &str = "leak-write-key-03fd6bWXYZ";
/// A write key that the route does not know.
pub const UNKNOWN_KEY: &str = "leak-unknown-key-8e11aaVUTS";
pub const PROJECT_KEY: &str = "phc_leakproject5b20c7d8";
/// The key of the Segment account behind the route.
pub const ACCOUNT_KEY: &str = "leak-account-key-44d0";
pub const SESSION_SECRET: &str = "leak-session-secret-0123456789abcdef";
/// The persons of the messages.
pub const PERSON: &str = "leak-person-2c77@example.com";
pub const ADDRESS: &str = "203.0.113.77";
/// In the query of a request.
pub const QUERY: &str = "leak-query-55aa0b";
/// In a form for the site.
pub const FORM: &str = "leak-form-6d2f90";
/// In the answers of upstreams.
pub const UPSTREAM_COOKIE: &str = "leak-upstream-22bb17";

/// Where data can leave the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// Requests to PostHog, the site and the Segment account.
    PostHog,
    Site,
    Segment,
    /// An answer of Hedgerow's own.
    Answer,
    /// An upstream's answer; upstreams repeat the request.
    Passed,
    Log,
    Metrics,
    Health,
    Live,
    /// The output of `check` and `doctor`.
    Command,
    SpoolList,
    DeadLetter,
    /// The spool's files.
    Disk,
}

/// Data that left the process.
pub struct Output {
    sink: Sink,
    bytes: Vec<u8>,
}

impl Output {
    pub fn new(sink: Sink, bytes: Vec<u8>) -> Self {
        Self { sink, bytes }
    }
}

/// Each secret with the places where it may appear. With `true` it must appear there, which shows
/// that the test used that path.
const MAY: [(&str, &[(Sink, bool)]); 12] = [
    (COOKIE, &[(Sink::Site, true), (Sink::Passed, false)]),
    (CREDENTIALS, &[(Sink::Site, true), (Sink::Passed, false)]),
    (WRITE_KEY, &[(Sink::Segment, true)]),
    (UNKNOWN_KEY, &[]),
    (PROJECT_KEY, &[(Sink::PostHog, true), (Sink::Passed, false)]),
    (ACCOUNT_KEY, &[]),
    (SESSION_SECRET, &[]),
    (
        PERSON,
        &[
            (Sink::PostHog, true),
            (Sink::Segment, true),
            (Sink::Live, true),
            (Sink::DeadLetter, true),
            // PostHog's answer, which may repeat the event.
            (Sink::SpoolList, false),
            (Sink::Disk, true),
            (Sink::Passed, false),
        ],
    ),
    (
        ADDRESS,
        &[
            (Sink::PostHog, true),
            (Sink::Segment, true),
            (Sink::Site, true),
            (Sink::Live, false),
            (Sink::DeadLetter, false),
            (Sink::SpoolList, false),
            (Sink::Disk, false),
            (Sink::Passed, false),
        ],
    ),
    (
        QUERY,
        &[
            (Sink::PostHog, true),
            (Sink::Site, true),
            (Sink::Segment, false),
            (Sink::Passed, false),
        ],
    ),
    (FORM, &[(Sink::Site, true), (Sink::Passed, false)]),
    (UPSTREAM_COOKIE, &[(Sink::Passed, false)]),
];

/// The forms in which a secret may be written.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    use base64::engine::general_purpose::STANDARD;
    use base64::Engine;
    // Only whole groups of three bytes, so that later bytes do not matter.
    let basic = STANDARD.encode(&secret.as_bytes()[..secret.len() / 3 * 3]);
    let encoded = secret.replace('@', "%40");
    [secret.to_owned(), encoded, basic]
        .map(String::into_bytes)
        .to_vec()
}

fn holds(bytes: &[u8], secret: &str) -> Option<usize> {
    let forms = forms(secret);
    let mut places = forms.iter().filter_map(|form| {
        let mut windows = bytes.windows(form.len());
        windows.position(|window| window == form.as_slice())
    });
    places.next()
}

/// The secrets that appeared where they must not.
pub fn leaks(outs: &[Output]) -> Vec<String> {
    let mut leaks = Vec::new();
    for (secret, may) in MAY {
        for out in outs {
            if may.iter().any(|(sink, _)| *sink == out.sink) {
                continue;
            }
            if let Some(place) = holds(&out.bytes, secret) {
                let from = place.saturating_sub(200);
                let to = (place + 120).min(out.bytes.len());
                let text = String::from_utf8_lossy(&out.bytes[from..to]).replace('\n', "\n    ");
                leaks.push(format!("{secret} in {:?}:\n    {text}", out.sink));
            }
        }
    }
    leaks.sort();
    leaks.dedup();
    leaks
}

/// The secrets that did not appear where they must.
pub fn missing(outs: &[Output]) -> Vec<String> {
    let mut missing = Vec::new();
    for (secret, may) in MAY {
        for (sink, _) in may.iter().filter(|(_, must)| *must) {
            let there = outs.iter().filter(|out| out.sink == *sink);
            if !there
                .into_iter()
                .any(|out| holds(&out.bytes, secret).is_some())
            {
                missing.push(format!("{secret} in {sink:?}"));
            }
        }
    }
    missing
}
