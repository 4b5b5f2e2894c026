//! Determines the app whose built-in browser shows a page (`$webview_app`), as posthog-js 1.449
//! does.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

/// The expression that recognizes an app, the app's name, and the expression that finds its version
/// if the first one may not.
type AppRule = (&'static str, &'static str, Option<&'static str>);

/// posthog-js's regular expressions; the first one that matches wins. They ignore the case of ASCII
/// letters only, and `\b` and `\d` match only ASCII, as in JavaScript.
const RULES: &[AppRule] = &[
    (
        r"(?i-u:\bInstagram(?:[ /](\d+(?:\.\d+)*))?\b)",
        "Instagram",
        None,
    ),
    (r"(?i-u:\bBarcelona[ /](\d+(?:\.\d+)*)?)", "Threads", None),
    (
        r"(?i-u:\b(?:MessengerForiOS|(?:FBAN|FB_IAB)/Orca-Android)\b)",
        "Messenger",
        FACEBOOK,
    ),
    (r"(?i-u:\bFBAN/EMA\b)", "Facebook Lite", FACEBOOK),
    (
        r"(?i-u:\b(?:FBIOS|(?:FBAN|FB_IAB)/(?:FB4A|FBIOS))\b)",
        "Facebook",
        FACEBOOK,
    ),
    (
        r"(?i-u:\bLinkedInApp(?:\]?/(\d+(?:\.\d+)*))?\b)",
        "LinkedIn",
        None,
    ),
    (
        r"(?i-u:\bTwitter(?:Android| for (?:iPhone|iPad|Android))(?:/(\d+(?:\.\d+)*))?\b)",
        "Twitter",
        None,
    ),
    (
        // posthog-js looks ahead for `\b` or `_`. Here the match includes the `_`, which changes
        // nothing.
        r"(?i-u:\b(?:musical_ly|trill)(?:[_/](\d+\.\d+(?:\.\d+)*))?(?:\b|_))",
        "TikTok",
        Some(r"(?i-u:\bapp_version/(\d+(?:\.\d+)*))"),
    ),
    (
        r"(?i-u:\b(?:MicroMessenger|WeChat)/(\d+(?:\.\d+)*)?)",
        "WeChat",
        None,
    ),
    (r"(?i-u:\bLine/(\d+(?:\.\d+)*)?)", "Line", None),
    (r"(?i-u:\bGSA/(\d+(?:\.\d+)*)?)", "Google", None),
    (
        r"(?i-u:\[Pinterest/(?:iOS|Android)\b|\bPinterest(?: for (?:Android(?: Tablet)?|iOS))?/(\d+(?:\.\d+)*))",
        "Pinterest",
        None,
    ),
    (
        r"(?i-u:\b(?:WA4A|WAiOS)/(\d+(?:\.\d+)*)?)",
        "WhatsApp",
        None,
    ),
    (r"(?i-u:\bSnapchat[ /](\d+(?:\.\d+)*)?)", "Snapchat", None),
    (
        r"(?i-u:\bBing(?:Web|Sapphire)/(\d+(?:\.\d+)*)?)",
        "Bing",
        None,
    ),
    (
        r"(?i-u:\bNAVER\(inapp; search;)",
        "Naver",
        Some(r"(?i-u:\bNAVER\(inapp; search;)[^;)]*(?-u:; (\d+(?:\.\d+)*))"),
    ),
    (
        r"(?i-u:\bKAKAOTALK[ /](\d+\.\d+(?:\.\d+)*)?)",
        "KakaoTalk",
        None,
    ),
];

const FACEBOOK: Option<&str> = Some(r"(?i-u:\bFBAV/(\d+(?:\.\d+)*))");

struct Rules {
    /// All rules at once: most browsers match none of them.
    any: RegexSet,
    each: Vec<AppMatcher>,
}

struct AppMatcher {
    mark: Regex,
    name: &'static str,
    version: Option<Regex>,
}

static COMPILED: LazyLock<Option<Rules>> = LazyLock::new(|| compile().ok());

fn compile() -> Result<Rules, regex::Error> {
    let any = RegexSet::new(RULES.iter().map(|(mark, _, _)| mark))?;
    let each = RULES.iter().map(|(mark, name, version)| {
        Ok(AppMatcher {
            mark: Regex::new(mark)?,
            name,
            version: version.map(Regex::new).transpose()?,
        })
    });
    let each = each.collect::<Result<_, regex::Error>>()?;
    Ok(Rules { any, each })
}

/// Returns the app's name, and its version if the user agent contains it.
pub(super) fn app(user_agent: &str) -> Option<(&'static str, Option<String>)> {
    let rules = COMPILED.as_ref()?;
    let matching = rules.any.matches(user_agent);
    let rule = rules.each.get(matching.iter().next()?)?;
    let own = |expression: &Regex| {
        let captures = expression.captures(user_agent)?;
        Some(captures.get(1).map(|version| version.as_str().to_owned()))
    };
    // A version at a place of its own is preferred to the one after the mark.
    let elsewhere = rule.version.as_ref().and_then(own);
    let version = elsewhere.or_else(|| own(&rule.mark)).flatten();
    Some((rule.name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_is_one() {
        assert!(compile().is_ok(), "{:?}", compile().err());
    }

    #[test]
    fn a_version_ends_where_posthog_js_ends_it() {
        for (text, expected) in [
            ("Instagram 10.3x", Some(("Instagram", Some("10")))),
            ("Instagram 10.3 ", Some(("Instagram", Some("10.3")))),
            ("INSTAGRAM", Some(("Instagram", None))),
            ("xInstagram 1", None),
            ("Instagramme", None),
            ("ınstagram 1", None),
            (
                "musical_ly_2022 app_version/30.1.2",
                Some(("TikTok", Some("30.1.2"))),
            ),
            ("trill_300.1_x", Some(("TikTok", Some("300.1")))),
            (
                "[FBAN/FBIOS;FBAV/400.0.0.1;]",
                Some(("Facebook", Some("400.0.0.1"))),
            ),
            (
                "NAVER(inapp; search; 1000; 12.9.1)",
                Some(("Naver", Some("12.9.1"))),
            ),
            ("NAVER(inapp; search;é; 3)", Some(("Naver", Some("3")))),
            ("Line/", Some(("Line", None))),
            ("Airline/2", None),
        ] {
            let found = app(text);
            let found = found
                .as_ref()
                .map(|(name, version)| (*name, version.as_deref()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
