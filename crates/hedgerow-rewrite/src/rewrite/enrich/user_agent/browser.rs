//! Determines the browser and its version.

use super::scan::{after, digits, is_space, UserAgentText};

/// The condition of a rule.
enum RuleCondition {
    /// The text contains one of these.
    One(&'static [&'static str]),
    /// The text contains all of these.
    All(&'static [&'static str]),
    /// A condition that needs more than a search for words.
    Other(fn(&UserAgentText<'_>) -> bool),
}

/// The rules; the first one that holds wins. The order matters, because the user agents of many
/// browsers also contain the words of later rules.
const RULES: &[(RuleCondition, &str)] = &[
    (RuleCondition::All(&[" OPR/", "Mini"]), "Opera Mini"),
    (RuleCondition::One(&[" OPR/"]), "Opera"),
    (
        RuleCondition::Other(|text| text.is_blackberry()),
        "BlackBerry",
    ),
    (
        RuleCondition::One(&["IEMobile", "WPDesktop"]),
        "Internet Explorer Mobile",
    ),
    (RuleCondition::One(&["OculusBrowser"]), "Oculus Browser"),
    (RuleCondition::One(&["SamsungBrowser"]), "Samsung Internet"),
    (RuleCondition::One(&["Edge", "Edg/"]), "Microsoft Edge"),
    (RuleCondition::One(&["Vivaldi/"]), "Vivaldi"),
    (RuleCondition::One(&["YaBrowser/"]), "Yandex"),
    (RuleCondition::One(&["Whale/"]), "Whale"),
    (RuleCondition::One(&["DuckDuckGo/", "Ddg/"]), "DuckDuckGo"),
    (RuleCondition::One(&["Claude/"]), "Claude"),
    (RuleCondition::One(&["Codex/"]), "Codex"),
    (RuleCondition::One(&["ChatGPT/"]), "ChatGPT"),
    (RuleCondition::One(&["FBIOS"]), "Facebook Mobile"),
    (RuleCondition::One(&["UCWEB", "UCBrowser"]), "UC Browser"),
    (RuleCondition::One(&["CriOS"]), "Chrome iOS"),
    (RuleCondition::One(&["CrMo", "Chrome"]), "Chrome"),
    (RuleCondition::All(&["Android", "Safari"]), "Android Mobile"),
    (RuleCondition::One(&["FxiOS"]), "Firefox iOS"),
    (
        RuleCondition::Other(|text| text.has_folded("konqueror")),
        "Konqueror",
    ),
    (RuleCondition::One(&["Brave/"]), "Brave"),
    (
        RuleCondition::Other(|text| is_safari(text) && text.has("Mobile")),
        "Mobile Safari",
    ),
    (RuleCondition::Other(is_safari), "Safari"),
    (RuleCondition::One(&["PaleMoon/"]), "Pale Moon"),
    (RuleCondition::One(&["Waterfox/"]), "Waterfox"),
    (RuleCondition::One(&["Firefox"]), "Firefox"),
    (
        RuleCondition::One(&["MSIE", "Trident/"]),
        "Internet Explorer",
    ),
    (RuleCondition::One(&["Gecko"]), "Firefox"),
];

/// Returns the browser's name.
pub(super) fn name(text: &UserAgentText<'_>) -> Option<&'static str> {
    RULES
        .iter()
        .find(|(when, _)| match when {
            RuleCondition::One(marks) => marks.iter().any(|mark| text.has(mark)),
            RuleCondition::All(marks) => marks.iter().all(|mark| text.has(mark)),
            RuleCondition::Other(holds) => holds(text),
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
