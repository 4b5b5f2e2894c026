//! The ids that Meta's pixel stores in cookies. posthog-js 1.449 sends them as person properties,
//! so that a conversion can be sent to Meta later.

use percent_encoding::percent_decode_str;

use super::session::cookie;

/// The ids in the pixel's cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaIds {
    /// `_fbc`, the last click on an advertisement.
    click: Option<String>,
    /// `_fbp`, the browser.
    browser: Option<String>,
}

impl MetaIds {
    /// Reads the ids from a `Cookie` header. Ignores values that do not have the form of an id, and
    /// returns `None` if no id is left.
    pub fn in_cookies(header: &str) -> Option<Self> {
        // Few visitors have these cookies.
        if !header.contains("_fb") {
            return None;
        }
        let value = |name| {
            let text = percent_decode_str(cookie(header, name)?).decode_utf8();
            text.ok().map(|text| text.into_owned())
        };
        let found = Self {
            click: value("_fbc").filter(|text| click_of(text).is_some()),
            browser: value("_fbp").filter(|text| is_browser(text)),
        };
        (found.click.is_some() || found.browser.is_some()).then_some(found)
    }

    /// Returns `$fbc`. Returns `None` if the page's URL contains a newer click (`fbclid`) than the
    /// cookie: the pixel has not stored that click yet.
    pub fn click(&self, fbclid: Option<&str>) -> Option<&str> {
        let click = self.click.as_deref()?;
        match fbclid.filter(|fbclid| is_word(fbclid) && fbclid.len() <= 400) {
            Some(newer) if click_of(click) != Some(newer) => None,
            _ => Some(click),
        }
    }

    /// Returns `$fbp`.
    pub fn browser(&self) -> Option<&str> {
        self.browser.as_deref()
    }
}

/// Returns the click in `fb.<subdomain index>.<time>.<click>[.<appendix>]`.
fn click_of(text: &str) -> Option<&str> {
    let mut parts = text.split('.');
    let head = parts.next() == Some("fb") && parts.next().is_some_and(is_number);
    let head = head && parts.next().is_some_and(is_number);
    let click = parts.next().filter(|click| head && is_word(click))?;
    let appendix = parts.next().is_none_or(is_word);
    (appendix && parts.next().is_none()).then_some(click)
}

/// Returns whether a text is `fb.<subdomain index>.<time>.<random number>`.
fn is_browser(text: &str) -> bool {
    let is_click = click_of(text).is_some_and(is_number);
    is_click && text.split('.').count() == 4
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_meta_ids_are_accepted() {
        let read = |header: &str| {
            MetaIds::in_cookies(header).map(|ids| {
                let owned = |text: Option<&str>| text.map(str::to_owned);
                (owned(ids.click(None)), owned(ids.browser()))
            })
        };
        let some = |click: &str, browser: &str| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Some((text(click), text(browser)))
        };
        for (header, expected) in [
            (
                "a=1; _fbp=fb.1.1700000000000.123",
                some("", "fb.1.1700000000000.123"),
            ),
            (
                "_fbc=fb.1.1700000000000.IwAR_a-b; _fbp=fb.2.1.2",
                some("fb.1.1700000000000.IwAR_a-b", "fb.2.1.2"),
            ),
            ("_fbc=fb.1.1.IwAR.AQYB", some("fb.1.1.IwAR.AQYB", "")),
            ("_fbc=fb%2E1%2E1%2EIwAR", some("fb.1.1.IwAR", "")),
            ("_fbp=fb.1.1.2.3", None),
            ("_fbp=fb.1.1.abc", None),
            ("_fbp=fb.1..2", None),
            ("_fbp=", None),
            ("_fbc=fb.1.1.", None),
            ("_fbc=fb.1.1.a b", None),
            ("_fbc=fb.1.1.a.b.c", None),
            ("_fbc=xfb.1.1.a; _fbp=1", None),
            ("my_fbc=fb.1.1.a", None),
            ("", None),
        ] {
            assert_eq!(read(header), expected, "{header}");
        }
    }

    #[test]
    fn a_newer_click_in_the_url_beats_the_cookies() {
        let ids = MetaIds::in_cookies("_fbc=fb.1.1.old; _fbp=fb.1.1.2").unwrap();
        assert_eq!(ids.click(Some("new")), None);
        assert_eq!(ids.click(Some("old")), Some("fb.1.1.old"));
        for no_click in ["", "<masked>", "a b"] {
            assert_eq!(ids.click(Some(no_click)), Some("fb.1.1.old"), "{no_click}");
        }
        assert_eq!(ids.browser(), Some("fb.1.1.2"));
    }
}
