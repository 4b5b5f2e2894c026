//! The entity tags of changed pages: the server's tag followed by the snippet's version. The tag
//! changes when either changes; a visitor who has the current page still gets a 304.

use http::header::HeaderValue;

/// Returns the tag of a page with the snippet of this version; `None` if the server's tag is invalid.
/// The tag is weak, because the bytes are not the server's.
pub fn marked(etag: &HeaderValue, mark: &str) -> Option<HeaderValue> {
    let etag = etag.to_str().ok()?;
    let inner = etag.strip_prefix("W/").unwrap_or(etag);
    let inner = inner.strip_prefix('"')?.strip_suffix('"')?;
    HeaderValue::from_str(&format!("W/\"{inner}-{mark}\"")).ok()
}

/// Returns `If-None-Match` for the server, with the server's own tags. Tags with another version's
/// mark, or without one, are left out, so that the visitor gets the page with the current snippet.
/// Returns `None` if no tag is left.
pub fn unmarked(if_none_match: &HeaderValue, mark: &str) -> Option<HeaderValue> {
    let tail = format!("-{mark}\"");
    let tags: Vec<String> = if_none_match
        .to_str()
        .ok()?
        .split(',')
        .filter_map(|tag| {
            let inner = tag
                .trim()
                .strip_prefix("W/\"")?
                .strip_suffix(tail.as_str())?;
            // It is no longer known whether the server's own tag was weak. Servers compare weakly here
            // (RFC 9110, 13.1.2), so both forms are sent.
            Some(format!("W/\"{inner}\", \"{inner}\""))
        })
        .collect();
    if tags.is_empty() {
        return None;
    }
    HeaderValue::from_str(&tags.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> HeaderValue {
        HeaderValue::from_str(text).unwrap()
    }

    #[test]
    fn a_tag_goes_out_with_the_snippets_version_and_comes_back_without_it() {
        for tag in ["\"abc\"", "W/\"abc\"", "\"\"", "\"a-b-m7\""] {
            let out = marked(&value(tag), "m7").unwrap();
            let back = unmarked(&out, "m7").unwrap();
            let plain = tag.trim_start_matches("W/");
            assert_eq!(back, format!("W/{plain}, {plain}").as_str(), "{tag}");
        }
        assert_eq!(marked(&value("abc"), "m7"), None);
    }

    #[test]
    fn a_tag_of_another_snippet_or_without_a_mark_is_not_sent() {
        for tags in ["W/\"abc-m6\"", "\"abc\"", "*", "", "W/\"abc-m7"] {
            assert_eq!(unmarked(&value(tags), "m7"), None, "{tags}");
        }
        let some = unmarked(&value("\"x\", W/\"abc-m7\""), "m7").unwrap();
        assert_eq!(some, "W/\"abc\", \"abc\"");
    }
}
