//! What is planted, and where each of it may be seen.

/// A cookie of the site's session.
pub const COOKIE: &str = "leak-cookie-7f3a91";
/// The site's own credentials, in `Authorization`.
pub const CREDENTIALS: &str = "leak-credentials-91c2e4";
/// A write key that the route knows. Its last four characters may be said.
pub const WRITE_KEY: &str = "leak-write-key-03fd6bWXYZ";
/// One that it does not know.
pub const UNKNOWN_KEY: &str = "leak-unknown-key-8e11aaVUTS";
pub const PROJECT_KEY: &str = "phc_leakproject5b20c7d8";
/// The key of the Segment account behind the route.
pub const ACCOUNT_KEY: &str = "leak-account-key-44d0";
pub const SESSION_SECRET: &str = "leak-session-secret-0123456789abcdef";
/// Who the messages are about.
pub const PERSON: &str = "leak-person-2c77@example.com";
pub const ADDRESS: &str = "203.0.113.77";
/// In the query of a request.
pub const QUERY: &str = "leak-query-55aa0b";
/// In a form that is posted to the site.
pub const FORM: &str = "leak-form-6d2f90";
/// In answers of servers behind us.
pub const UPSTREAM_COOKIE: &str = "leak-upstream-22bb17";

/// Where something can leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// What PostHog, the site and the Segment account get.
    PostHog,
    Site,
    Segment,
    /// An answer that Hedgerow makes itself.
    Answer,
    /// An answer that is passed on; upstreams repeat what they were sent.
    Passed,
    Log,
    Metrics,
    Health,
    Live,
    /// `check` and `doctor`.
    Command,
    SpoolList,
    DeadLetter,
    /// The spool's files.
    Disk,
}

/// Something that left.
pub struct Output {
    sink: Sink,
    bytes: Vec<u8>,
}

impl Output {
    pub fn new(sink: Sink, bytes: Vec<u8>) -> Self {
        Self { sink, bytes }
    }
}

/// Each secret and where it may be: with `true`, where it has to be, or the test drives nothing.
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
            // What PostHog answered, which may repeat the event.
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
    // Whatever follows it: only whole groups of three bytes.
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

/// What was seen where it must not be.
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

/// What was not seen where it has to be.
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
