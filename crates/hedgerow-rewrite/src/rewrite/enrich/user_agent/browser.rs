//! Determines the browser and its version.

use super::scan::{after, digits, is_space, UserAgentText};

/// The condition of a rule.
enum When {
    /// The text contains one of these.
    One(&'static [&'static str]),
    /// The text contains all of these.
    All(&'static [&'static str]),
    /// A condition that needs more than a search for words.
    Other(fn(&UserAgentText<'_>) -> bool),
}

/// The rules; the first one that holds wins. The order matters, because the user agents of many
/// browsers also contain the words of later rules.
const RULES: &[(When, &str)] = &[
    (When::All(&[" OPR/", "Mini"]), "Opera Mini"),
    (When::One(&[" OPR/"]), "Opera"),
    (When::Other(|text| text.is_blackberry()), "BlackBerry"),
    (
        When::One(&["IEMobile", "WPDesktop"]),
        "Internet Explorer Mobile",
    ),
    (When::One(&["OculusBrowser"]), "Oculus Browser"),
    (When::One(&["SamsungBrowser"]), "Samsung Internet"),
    (When::One(&["Edge", "Edg/"]), "Microsoft Edge"),
    (When::One(&["Vivaldi/"]), "Vivaldi"),
    (When::One(&["YaBrowser/"]), "Yandex"),
    (When::One(&["Whale/"]), "Whale"),
    (When::One(&["DuckDuckGo/", "Ddg/"]), "DuckDuckGo"),
    (When::One(&["Claude/"]), "Claude"),
    (When::One(&["Codex/"]), "Codex"),
    (When::One(&["ChatGPT/"]), "ChatGPT"),
    (When::One(&["FBIOS"]), "Facebook Mobile"),
    (When::One(&["UCWEB", "UCBrowser"]), "UC Browser"),
    (When::One(&["CriOS"]), "Chrome iOS"),
    (When::One(&["CrMo", "Chrome"]), "Chrome"),
    (When::All(&["Android", "Safari"]), "Android Mobile"),
    (When::One(&["FxiOS"]), "Firefox iOS"),
    (
        When::Other(|text| text.has_folded("konqueror")),
        "Konqueror",
    ),
    (When::One(&["Brave/"]), "Brave"),
    (
        When::Other(|text| is_safari(text) && text.has("Mobile")),
        "Mobile Safari",
    ),
    (When::Other(is_safari), "Safari"),
    (When::One(&["PaleMoon/"]), "Pale Moon"),
    (When::One(&["Waterfox/"]), "Waterfox"),
    (When::One(&["Firefox"]), "Firefox"),
    (When::One(&["MSIE", "Trident/"]), "Internet Explorer"),
    (When::One(&["Gecko"]), "Firefox"),
];

/// Returns the browser's name.
pub(super) fn name(text: &UserAgentText<'_>) -> Option<&'static str> {
    RULES
        .iter()
        .find(|(when, _)| match when {
            When::One(marks) => marks.iter().any(|mark| text.has(mark)),
            When::All(marks) => marks.iter().all(|mark| text.has(mark)),
            When::Other(holds) => holds(text),
        })
        .map(|(_, name)| *name)
}

/// Returns whether the browser is Safari, or a web view of an app on Apple's systems, whose user
/// agent contains neither `Safari` nor the name of another browser. posthog-js recognizes web views
/// by `navigator.vendor`, which is Apple's in every WebKit and Google's in every Chromium, old
/// Android included.
fn is_safari(text: &UserAgentText<'_>) -> bool {
    !text.has("Chrome") && !text.has("Android") && (text.has("Safari") || text.has("AppleWebKit"))
}

/// Returns the texts that precede the version of a browser; none for a browser without a version.
fn marks(browser: &str) -> &'static [&'static str] {
    match browser {
        "Internet Explorer Mobile" => &["rv:"],
        "Microsoft Edge" => &["Edge/", "Edg/"],
        "Chrome" => &["Chrome/", "CrMo/"],
        "Chrome iOS" => &["CriOS/"],
        "UC Browser" => &["UCBrowser/", "UCWEB/"],
        "Safari" | "Mobile Safari" => &["Version/"],
        "Opera" => &["Opera/", "OPR/"],
        "Firefox" => &["Firefox/"],
        "Firefox iOS" => &["FxiOS/"],
        "BlackBerry" => &["BlackBerry "],
        "Samsung Internet" => &["SamsungBrowser/"],
        "Oculus Browser" => &["OculusBrowser/"],
        "Vivaldi" => &["Vivaldi/"],
        "Yandex" => &["YaBrowser/"],
        "Whale" => &["Whale/"],
        "Brave" => &["Brave/"],
        "Claude" | "Codex" | "ChatGPT" => &["Claude/", "Codex/", "ChatGPT/"],
        "DuckDuckGo" => &["DuckDuckGo/", "Ddg/"],
        "Pale Moon" => &["PaleMoon/"],
        "Waterfox" => &["Waterfox/"],
        "Internet Explorer" => &["rv:", "MSIE "],
        _ => &[],
    }
}

/// Returns the browser's major and minor version as the text of a JSON number: `17.4`, and `120`
/// for `120.0`.
pub(super) fn version(text: &UserAgentText<'_>, browser: &str) -> Option<String> {
    let found = match browser {
        "Konqueror" => after(&text.folded, "konqueror")
            .find_map(|rest| major_and_minor(rest.strip_prefix([':', '/']).unwrap_or(rest))),
        "Android Mobile" => after(&text.folded, "android")
            .find_map(|rest| major_and_minor(rest.strip_prefix(is_space)?)),
        "BlackBerry" => {
            first(text.plain, marks(browser)).or_else(|| first(text.plain, &["Version/"]))
        }
        _ => first(text.plain, marks(browser)),
    };
    number(found?)
}

/// Returns the first version in the text that directly follows one of the marks.
fn first<'a>(text: &'a str, marks: &'static [&'static str]) -> Option<&'a str> {
    marks
        .iter()
        .filter_map(|mark| {
            after(text, mark).find_map(|rest| Some((rest.len(), major_and_minor(rest)?)))
        })
        // The leftmost one has the most text after it.
        .max_by_key(|(rest, _)| *rest)
        .map(|(_, version)| version)
}

/// Returns the one or two numbers at the beginning of a text.
fn major_and_minor(text: &str) -> Option<&str> {
    let (_, rest) = digits(text)?;
    let rest = match rest.strip_prefix('.').and_then(digits) {
        Some((_, rest)) => rest,
        None => rest,
    };
    text.get(..text.len() - rest.len())
}

/// Returns the text of a JSON number of equal value. Returns `None` if a double cannot hold the
/// value; posthog-js's number then becomes null.
fn number(text: &str) -> Option<String> {
    let value: f64 = text.parse().ok()?;
    value.is_finite().then(|| value.to_string())
}
