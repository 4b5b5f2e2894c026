//! Determines the operating system and its version.

use super::scan::{after, dotted, is_line_end, lines, version, UserAgentText};

/// A system and its version, which is empty if it is unknown.
type OsVersion = (&'static str, String);

/// The rules for the systems; the first one that returns a system wins.
const RULES: &[fn(&UserAgentText<'_>) -> Option<OsVersion>] = &[
    xbox,
    |text| plain(text.has_folded("nintendo"), "Nintendo"),
    |text| plain(text.has_folded("playstation"), "PlayStation"),
    |text| plain(text.is_blackberry(), "BlackBerry"),
    windows,
    ios,
    watch_os,
    android,
    mac,
    |text| plain(text.has("CrOS"), "Chrome OS"),
    |text| plain(text.has_one_folded(&["linux", "debian"]), "Linux"),
];

/// Returns the system's name and version.
pub(super) fn name_and_version(text: &UserAgentText<'_>) -> (Option<&'static str>, Option<String>) {
    match RULES.iter().find_map(|rule| rule(text)) {
        Some((name, version)) => (Some(name), Some(version).filter(|text| !text.is_empty())),
        None => (None, None),
    }
}

/// Returns a system without a version if `holds` is true.
fn plain(holds: bool, name: &'static str) -> Option<OsVersion> {
    holds.then(|| (name, String::new()))
}

/// Finds an Xbox in `Xbox; Xbox One)`: the model is the version. For any other mention of an Xbox,
/// the rule for Windows decides.
fn xbox(text: &UserAgentText<'_>) -> Option<OsVersion> {
    const MARK: &str = "xbox; xbox ";
    after(&text.folded, MARK).find_map(|rest| {
        let end =
            rest.find(|character| matches!(character, ')' | ';') || is_line_end(character))?;
        if rest
            .get(end..)
            .is_some_and(|rest| rest.starts_with(is_line_end))
        {
            return None;
        }
        // The model keeps its capitals, so it is read from the same position of the plain text.
        let begin = text.plain.len() - rest.len();
        let model = text.plain.get(begin..begin + end)?;
        Some(("Xbox", model.to_owned()))
    })
}

fn windows(text: &UserAgentText<'_>) -> Option<OsVersion> {
    if !text.has_folded("windows") {
        return None;
    }
    if text.has("Phone") || text.has("WPDesktop") {
        return plain(true, "Windows Phone");
    }
    let is_ie_mobile = after(text.plain, "IEMobile")
        .any(|rest| !rest.starts_with(|next: char| next == '_' || next.is_ascii_alphanumeric()));
    if text.has("Mobile") && !is_ie_mobile {
        return plain(true, "Windows Mobile");
    }
    let version = after(&text.folded, "windows nt ").find_map(|rest| {
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        rest.get(..length).filter(|version| !version.is_empty())
    });
    let name = match version {
        None => "",
        Some(_) if text.has_folded("arm") => "RT",
        Some(version) => windows_version(version),
    };
    Some(("Windows", name.to_owned()))
}

/// Returns the name under which a version of Windows NT was sold.
fn windows_version(version: &str) -> &'static str {
    match version {
        "5.0" => "2000",
        "5.1" | "5.2" => "XP",
        "6.0" => "Vista",
        "6.1" => "7",
        "6.2" => "8",
        "6.3" => "8.1",
        "6.4" | "10.0" => "10",
        _ => "",
    }
}

/// Finds an iPhone, or an iPad or iPod whose system has a version (`… OS 18_7 like Mac OS X`).
fn ios(text: &UserAgentText<'_>) -> Option<OsVersion> {
    lines(text.plain).find_map(|line| {
        let device = ["iPhone", "iPad", "iPod"]
            .iter()
            .filter_map(|mark| Some(line.find(mark)? + mark.len()))
            .min()?;
        let found = line
            .get(device..)
            .and_then(|rest| after(rest, "OS ").find_map(|rest| version(rest, &['_'], &['_'])));
        match found {
            Some(version) => Some(("iOS", version)),
            None => plain(line.contains("iPhone"), "iOS"),
        }
    })
}

/// Finds a watch in `Watch4,3/5.3.8` or `watch OS,5.3,`.
fn watch_os(text: &UserAgentText<'_>) -> Option<OsVersion> {
    lines(&text.folded).find_map(|line| {
        let watch = after(line, "watch").next()?;
        let model = watch
            .rmatch_indices('/')
            .find_map(|(at, _)| dotted(watch.get(at + 1..)?, 3));
        let found = model.or_else(|| {
            after(line, "watch os,").find_map(|rest| {
                let version = dotted(rest, 2)?;
                rest.get(version.len()..)?
                    .starts_with(',')
                    .then_some(version)
            })
        })?;
        Some(("watchOS", found.to_owned()))
    })
}

/// Finds Android. Only the first mention counts, and a version without a minor part is ignored.
fn android(text: &UserAgentText<'_>) -> Option<OsVersion> {
    let rest = after(&text.folded, "android").next()?;
    let version = rest
        .strip_prefix(' ')
        .and_then(|rest| version(rest, &['.'], &['.']));
    Some(("Android", version.unwrap_or_default()))
}

fn mac(text: &UserAgentText<'_>) -> Option<OsVersion> {
    let parts = &['_', '.'];
    let version = after(&text.folded, "mac os x ").find_map(|rest| version(rest, parts, parts));
    match version {
        Some(version) => Some(("Mac OS X", version)),
        None => plain(text.has_folded("mac"), "Mac OS X"),
    }
}
