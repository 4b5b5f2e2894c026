//! Client hints (`context.userAgentData`, segment-tracking 4.4), which correct the user agent's
//! values.
//!
//! Browsers have frozen parts of the user agent: every Windows is 10, every Mac is 10.15.7, every
//! Android is 10 and has no model, and a tablet that requests desktop pages reports a Linux
//! computer. The hints contain the real values. posthog-js reads them for the device type, and
//! reads `navigator.brave` for Brave. The other corrections here go beyond posthog-js, but use its
//! names.

use super::parse::UserAgent;

/// The fields of `context.userAgentData` that are used, and the screen.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientHints<'a> {
    /// `platform`: `Android`, `macOS`, `Windows`, …
    pub platform: Option<&'a str>,
    /// `platformVersion`; browsers send it only to sites that request it.
    pub platform_version: Option<&'a str>,
    /// `model`; browsers send it only to sites that request it, and it is empty on computers.
    pub model: Option<&'a str>,
    /// `mobile`.
    pub mobile: Option<Mobile>,
    /// `context.screen`, if the site sends it.
    pub screen: Option<Screen>,
    /// The browser that `brands` reveals; [`see_brand`](Self::see_brand) records it.
    pub brand: Brand,
}

/// Whether the brands reveal a browser that the user agent does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Brand {
    /// They do not: the user agent's browser is right.
    #[default]
    AsInUserAgent,
    /// They reveal Brave, whose user agent looks like Chrome's.
    Brave,
}

/// Whether a browser requests pages made for phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mobile {
    /// It does.
    Yes,
    /// It does not: a computer or a tablet.
    No,
}

/// The size of a screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Screen {
    /// Width in CSS pixels.
    pub width: f64,
    /// Height in CSS pixels.
    pub height: f64,
    /// Device pixels per CSS pixel (`density`).
    pub density: Option<f64>,
}

/// A user agent's values, corrected by the hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refined<'a> {
    /// `$browser`.
    pub browser: Option<&'static str>,
    /// `$browser_version`, the text of a JSON number.
    pub browser_version: Option<&'a str>,
    /// `$os`.
    pub os: Option<&'static str>,
    /// `$os_version`.
    pub os_version: Option<&'a str>,
    /// `$device`.
    pub device: Option<&'static str>,
    /// `$device_type`.
    pub device_type: Option<&'static str>,
    /// `$device_model`.
    pub device_model: Option<&'a str>,
}

impl<'a> ClientHints<'a> {
    /// Records one entry of `brands` or `fullVersionList`.
    pub fn see_brand(&mut self, brand: &str) {
        // posthog-js detects Brave by `navigator.brave`.
        if brand == "Brave" {
            self.brand = Brand::Brave;
        }
    }

    /// Returns the system's name as posthog-js writes it.
    fn os(&self) -> Option<&'static str> {
        match self.platform? {
            "Android" => Some("Android"),
            "Chrome OS" | "Chromium OS" => Some("Chrome OS"),
            "iOS" => Some("iOS"),
            "Linux" => Some("Linux"),
            "macOS" => Some("Mac OS X"),
            "Windows" => Some("Windows"),
            _ => None,
        }
    }
}

impl UserAgent {
    /// Returns the values, corrected by the hints. Allocates nothing.
    ///
    /// - The browser is Brave if a brand is; its version is then unknown, as in posthog-js.
    /// - The system is taken from the hints if the user agent names none, or only Linux.
    /// - The system's version is taken from the hints if the user agent has none or a frozen one.
    /// - The device type is tablet or phone if the user agent names no device and the hints name
    ///   Android.
    pub fn refined<'a>(&'a self, hints: &ClientHints<'a>) -> Refined<'a> {
        let os = match (self.os, hints.os()) {
            (None | Some("Linux"), Some(hinted)) => Some(hinted),
            (own, _) => own,
        };
        let mut refined = Refined {
            browser: self.browser,
            browser_version: self.browser_version.as_deref(),
            os,
            os_version: self.os_version.as_deref(),
            device: self.device,
            device_type: self.device_type,
            device_model: hints.model.filter(|model| !model.is_empty()),
        };
        if hints.brand == Brand::Brave && self.browser != Some("Brave") {
            refined.browser = Some("Brave");
            refined.browser_version = None;
        }
        // Hints of another system than the user agent's do not apply to its version.
        if os.is_some() && os == hints.os() {
            refined.os_version = os_version(os, refined.os_version, hints.platform_version);
        }
        if self.device.is_none() && hints.platform == Some("Android") {
            refined.device_type = hints.android_type().or(refined.device_type);
        }
        refined
    }
}

impl ClientHints<'_> {
    /// Returns whether an Android is a phone or a tablet: by the screen's short side, as posthog-js
    /// does; without a screen by `mobile`, which Chrome sets to false only on tablets.
    fn android_type(&self) -> Option<&'static str> {
        let by_screen = self.screen.map(|screen| {
            let density = screen.density.filter(|density| *density > 0.0);
            screen.width.min(screen.height) / density.unwrap_or(1.0) >= 600.0
        });
        let is_tablet = by_screen.or(self.mobile.map(|mobile| mobile == Mobile::No))?;
        Some(if is_tablet { "Tablet" } else { "Mobile" })
    }
}

/// Returns the better version: the user agent's own or the hints'.
fn os_version<'a>(
    os: Option<&str>,
    own: Option<&'a str>,
    hinted: Option<&'a str>,
) -> Option<&'a str> {
    let Some(hinted) = hinted.filter(|version| !version.is_empty()) else {
        return own;
    };
    match (os, own) {
        // Windows has its own numbers in the hints: 13 and later are sold as Windows 11.
        (Some("Windows"), own) => match hinted
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
        {
            Some(13u32..) => Some("11"),
            Some(1..) => Some("10"),
            _ => own,
        },
        (Some("Mac OS X"), None | Some("10.15.7")) => Some(hinted),
        (Some("Mac OS X"), own) => own,
        // Linux has no version in any of PostHog's values.
        (Some("Linux"), own) => own,
        (_, None) => Some(hinted),
        (_, own) => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/152.0.0.0 Safari/537.36";
    const MAC: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/152.0.0.0 Safari/537.36";
    const ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/152.0.0.0 Mobile Safari/537.36";
    const LINUX: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/152.0.0.0 Safari/537.36";
    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.6 Mobile/15E148 Safari/604.1";

    fn hints<'a>(platform: &'a str, version: &'a str) -> ClientHints<'a> {
        ClientHints {
            platform: Some(platform),
            platform_version: Some(version),
            ..ClientHints::default()
        }
    }

    #[test]
    fn without_hints_nothing_changes() {
        for text in [WINDOWS, MAC, ANDROID, LINUX, IPHONE, ""] {
            let parsed = UserAgent::parse(text);
            let refined = parsed.refined(&ClientHints::default());
            assert_eq!(refined.browser, parsed.browser);
            assert_eq!(refined.browser_version, parsed.browser_version.as_deref());
            assert_eq!(refined.os, parsed.os);
            assert_eq!(refined.os_version, parsed.os_version.as_deref());
            assert_eq!(refined.device, parsed.device);
            assert_eq!(refined.device_type, parsed.device_type);
            assert_eq!(refined.device_model, None);
        }
    }

    #[test]
    fn frozen_system_versions_come_from_the_hints() {
        let cases = [
            (WINDOWS, "Windows", "15.0.0", "Windows", Some("11")),
            (WINDOWS, "Windows", "10.0.0", "Windows", Some("10")),
            (WINDOWS, "Windows", "0.3.0", "Windows", Some("10")),
            (WINDOWS, "Windows", "", "Windows", Some("10")),
            (WINDOWS, "Windows", "x", "Windows", Some("10")),
            (MAC, "macOS", "15.1.0", "Mac OS X", Some("15.1.0")),
            (ANDROID, "Android", "16.0.0", "Android", Some("16.0.0")),
            (LINUX, "Linux", "6.5.0", "Linux", None),
            // Hints of another system do not change this one's version.
            (IPHONE, "Windows", "15.0.0", "iOS", Some("18.7.0")),
            (WINDOWS, "Android", "15.0.0", "Windows", Some("10")),
            (LINUX, "Plan 9", "4", "Linux", None),
            (
                "x",
                "Chromium OS",
                "16093.0.0",
                "Chrome OS",
                Some("16093.0.0"),
            ),
        ];
        for (text, platform, version, os, os_version) in cases {
            let parsed = UserAgent::parse(text);
            let refined = parsed.refined(&hints(platform, version));
            assert_eq!(
                (refined.os, refined.os_version),
                (Some(os), os_version),
                "{platform} {version} {text}"
            );
        }
    }

    #[test]
    fn an_android_that_asks_for_desktop_pages_is_still_a_tablet_or_a_phone() {
        let parsed = UserAgent::parse(LINUX);
        let mut hints = hints("Android", "16.0.0");
        assert_eq!(parsed.refined(&hints).device_type, Some("Desktop"));
        hints.mobile = Some(Mobile::No);
        assert_eq!(parsed.refined(&hints).device_type, Some("Tablet"));
        assert_eq!(parsed.refined(&hints).os, Some("Android"));
        hints.mobile = Some(Mobile::Yes);
        assert_eq!(parsed.refined(&hints).device_type, Some("Mobile"));
        // The screen decides if it is known, as in posthog-js.
        for (width, height, density, kind) in [
            (1280.0, 800.0, None, "Tablet"),
            (412.0, 915.0, Some(0.0), "Mobile"),
            (1280.0, 800.0, Some(2.0), "Mobile"),
        ] {
            hints.screen = Some(Screen {
                width,
                height,
                density,
            });
            assert_eq!(parsed.refined(&hints).device_type, Some(kind));
        }
        // If the user agent names its device, the hints do not change the type.
        let phone = UserAgent::parse(ANDROID);
        assert_eq!(phone.refined(&hints).device_type, Some("Mobile"));
    }

    #[test]
    fn brave_shows_in_its_brands_only() {
        let parsed = UserAgent::parse(LINUX);
        let mut hints = ClientHints::default();
        for brand in ["Not;A=Brand", "Chromium", "Brave"] {
            assert_eq!(parsed.refined(&hints).browser, Some("Chrome"));
            hints.see_brand(brand);
        }
        let refined = parsed.refined(&hints);
        assert_eq!(
            (refined.browser, refined.browser_version),
            (Some("Brave"), None)
        );
    }

    #[test]
    fn the_model_is_used_if_there_is_one() {
        let parsed = UserAgent::parse(ANDROID);
        for (model, expected) in [("Pixel 9", Some("Pixel 9")), ("", None)] {
            let hints = ClientHints {
                model: Some(model),
                ..ClientHints::default()
            };
            assert_eq!(parsed.refined(&hints).device_model, expected);
        }
    }
}
