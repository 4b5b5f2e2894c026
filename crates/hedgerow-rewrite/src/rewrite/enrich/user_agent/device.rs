//! Determines the device and its type.

use super::scan::{after, is_line_end, is_space, UserAgentText};

/// Marks, in lower case, of tablets whose user agents contain `Mobile` nevertheless.
const TABLETS: &[&str] = &[
    "9138b",
    "tb782b",
    "nexus 9",
    "nexus 7",
    "pixel c",
    "huaweisht",
    "btv",
    "noble nook",
    "smart ultra 6",
];

/// Marks, in lower case, of phones whose user agents do not contain `Mobile`.
const PHONES: &[&str] = &[
    "huaweimed-al00",
    "tah-",
    "apa",
    "sm-g92",
    "i980",
    "zte",
    "u304aa",
];

/// Returns the device's name, or `None` for an ordinary computer.
pub(super) fn name(text: &UserAgentText<'_>) -> Option<&'static str> {
    let found = if is_console(text, "nintendo ") {
        "Nintendo"
    } else if is_console(text, "playstation ") {
        "PlayStation"
    } else if text.has_folded("xbox") {
        "Xbox"
    } else if text.has_folded("ouya") {
        "Ouya"
    } else if text.has_one_folded(&["windows phone", "wpdesktop"]) {
        "Windows Phone"
    } else if text.has("iPad") {
        "iPad"
    } else if text.has("iPod") {
        "iPod Touch"
    } else if text.has("iPhone") {
        "iPhone"
    } else if is_watch(text) {
        "Apple Watch"
    } else if text.is_blackberry() {
        "BlackBerry"
    } else if is_kobo(text) {
        "Kobo"
    } else if text.has_folded("nokia") {
        "Nokia"
    } else if is_kindle(text) {
        "Kindle Fire"
    } else if text.has_one_folded(&["android", "zte"]) {
        if is_tablet(text) && !is_phone(text) {
            "Android Tablet"
        } else {
            "Android"
        }
    } else if text.has_one_folded(&["pda", "mobile"]) {
        "Generic mobile"
    } else if text.has_folded("tablet") && !text.has_folded("tablet pc") {
        "Generic tablet"
    } else {
        return None;
    };
    Some(found)
}

/// Returns the type of a device of this name.
pub(super) fn kind(device: Option<&str>) -> &'static str {
    match device {
        None => "Desktop",
        Some("iPad" | "Android Tablet" | "Kobo" | "Kindle Fire" | "Generic tablet") => "Tablet",
        Some("Nintendo" | "Xbox" | "PlayStation" | "Ouya") => "Console",
        Some("Apple Watch") => "Wearable",
        Some(_) => "Mobile",
    }
}

/// Returns whether the text contains the maker's name with a model's name after it.
fn is_console(text: &UserAgentText<'_>, mark: &str) -> bool {
    after(&text.folded, mark)
        .any(|rest| rest.starts_with(|next: char| next == '_' || next.is_ascii_alphanumeric()))
}

/// Returns whether the text has a part such as `Watch4,3/5.3`, `watch OS,5.3` or `WatchOS/5.3`.
fn is_watch(text: &UserAgentText<'_>) -> bool {
    let version = |rest: &str| rest.starts_with(|next: char| next == '.' || next.is_ascii_digit());
    after(&text.folded, "watch").any(|rest| {
        let system = rest
            .strip_prefix(' ')
            .unwrap_or(rest)
            .strip_prefix("os")
            .and_then(|rest| rest.strip_prefix([',', '/']));
        let model = rest
            .strip_prefix(|next: char| next.is_ascii_digit())
            .and_then(|rest| rest.strip_prefix(','))
            .and_then(|rest| rest.strip_prefix(|next: char| next.is_ascii_digit()))
            .and_then(|rest| rest.strip_prefix('/'));
        system.is_some_and(version) || model.is_some_and(version)
    })
}

fn is_kobo(text: &UserAgentText<'_>) -> bool {
    after(&text.folded, "kobo").any(|rest| {
        rest.strip_prefix(is_space)
            .is_some_and(|rest| rest.starts_with("ereader") || rest.starts_with("touch"))
    })
}

/// Returns whether the text contains one of Amazon's model codes: `KFxxWI` or `AEOxx`, or another
/// `KF…` if the Silk browser follows.
fn is_kindle(text: &UserAgentText<'_>) -> bool {
    let ends = |rest: &str| rest.starts_with(" bui") || rest.starts_with(')');
    let tail = |rest: &str, letters: std::ops::RangeInclusive<u8>| {
        rest.bytes()
            .take(2)
            .filter(|byte| letters.contains(byte))
            .count()
            == 2
    };
    let with_wifi = after(&text.folded, "kf").any(|rest| {
        tail(rest, b'a'..=b'z')
            && rest
                .get(2..)
                .and_then(|rest| rest.strip_prefix("wi"))
                .is_some_and(ends)
    });
    let with_screen = after(&text.folded, "aeo")
        .any(|rest| tail(rest, b'c'..=b'r') && rest.get(2..).is_some_and(ends));
    with_wifi || with_screen || is_silk(&text.folded)
}

/// Returns whether a Kindle's code is followed by the Silk browser on the same line.
fn is_silk(folded: &str) -> bool {
    let mut rest = folded;
    while let Some(code) = after(rest, "kf").next() {
        let letters = code.bytes().take_while(u8::is_ascii_lowercase).count();
        // Every code that begins within these letters also ends with them, so the search continues
        // after them.
        rest = code.get(letters..).unwrap_or_default();
        let behind = rest
            .strip_prefix(" bui")
            .or_else(|| rest.strip_prefix(')'))
            .filter(|_| letters > 0);
        if let Some(behind) = behind {
            let end = behind.find(is_line_end).unwrap_or(behind.len());
            let line = behind.get(..end).unwrap_or_default();
            // At least one character must be between the code and the browser.
            if line.rfind("silk/").is_some_and(|at| at > 0) {
                return true;
            }
            // The browser cannot follow a later code on this line either.
            rest = behind.get(end..).unwrap_or_default();
        }
    }
    false
}

fn is_tablet(text: &UserAgentText<'_>) -> bool {
    !text.has("Mobile") || text.has_one_folded(TABLETS)
}

/// Returns whether an Android device that looks like a tablet is a phone.
fn is_phone(text: &UserAgentText<'_>) -> bool {
    let is_pixel = after(&text.folded, "pixel")
        .any(|rest| rest.starts_with(|next: char| next.is_ascii_digit() || "axl ".contains(next)));
    (is_pixel && !text.has_folded("pixel c"))
        || text.has_one_folded(PHONES)
        || (text.has_folded("lmy47v") && !text.has_folded("qtaqz3"))
}
