//! Determines which library sent a message, and so on whose machine the library ran.

use super::json::{name, unescape};
use super::message::{find, named, Context, ContextObject};
use super::usable;

pub(super) use super::library_kind::LibraryKind;

/// What the name of a library shows about where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LibraryFamily {
    /// Always on the same kind of machine.
    In(LibraryKind),
    /// On phones or on servers. On a phone the library describes the device.
    PhoneOrServer,
    /// A C# library: on servers, or in games and apps.
    DotNet,
    /// In browsers or in Node; `context.library.env` states in which.
    BrowserOrNode,
}

/// The names, in lower case, of the libraries that do not run only on servers. The libraries of
/// RudderStack and Jitsu use the same protocol.
const NAMES: &[(&str, LibraryFamily)] = &[
    ("analytics.js", LibraryFamily::In(LibraryKind::Browser)),
    ("amp", LibraryFamily::In(LibraryKind::Browser)),
    (
        "rudderlabs javascript sdk",
        LibraryFamily::In(LibraryKind::Browser),
    ),
    (
        "@rudderstack/analytics-js",
        LibraryFamily::In(LibraryKind::Browser),
    ),
    ("rudder-sdk-js", LibraryFamily::In(LibraryKind::Browser)),
    ("rudder-js", LibraryFamily::In(LibraryKind::Browser)),
    ("@jitsu/js", LibraryFamily::BrowserOrNode),
    ("@jitsu/jitsu-react", LibraryFamily::BrowserOrNode),
    ("jitsu-js", LibraryFamily::BrowserOrNode),
    ("analytics-kotlin", LibraryFamily::PhoneOrServer),
    ("analytics-swift", LibraryFamily::PhoneOrServer),
    (
        "com.rudderstack.sdk.kotlin.core",
        LibraryFamily::PhoneOrServer,
    ),
    ("analytics-csharp", LibraryFamily::DotNet),
    ("analytics.net", LibraryFamily::DotNet),
    ("analytics.xamarin", LibraryFamily::DotNet),
    ("analytics-xamarin", LibraryFamily::In(LibraryKind::Mobile)),
    ("analytics-ios", LibraryFamily::In(LibraryKind::Mobile)),
    ("analytics-android", LibraryFamily::In(LibraryKind::Mobile)),
    (
        "analytics-react-native",
        LibraryFamily::In(LibraryKind::Mobile),
    ),
    (
        "@segment/analytics-react-native",
        LibraryFamily::In(LibraryKind::Mobile),
    ),
    ("analytics-flutter", LibraryFamily::In(LibraryKind::Mobile)),
    ("analytics_flutter", LibraryFamily::In(LibraryKind::Mobile)),
    ("analytics-roku", LibraryFamily::In(LibraryKind::Mobile)),
    ("rudder-ios-library", LibraryFamily::In(LibraryKind::Mobile)),
    (
        "rudder-unity-library",
        LibraryFamily::In(LibraryKind::Mobile),
    ),
    (
        "com.rudderstack.android.sdk.core",
        LibraryFamily::In(LibraryKind::Mobile),
    ),
    (
        "com.rudderlabs.android.sdk.core",
        LibraryFamily::In(LibraryKind::Mobile),
    ),
    (
        "com.rudderstack.sdk.kotlin.android",
        LibraryFamily::In(LibraryKind::Mobile),
    ),
];

impl LibraryFamily {
    /// Returns the family of a library by its name, in any case. An unknown library is assumed to run on a
    /// server, whose address is not the user's.
    fn named(name: &str) -> Self {
        let known = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map_or(Self::In(LibraryKind::Server), |(_, family)| *family)
    }
}

impl LibraryKind {
    /// Returns the kind by `context.library.name`. For a library that runs on several kinds of machine,
    /// other fields of the context decide.
    pub(super) fn of(context: &Context, text: &[u8]) -> Self {
        context.library_once(|| Self::determine(context, text))
    }

    fn determine(context: &Context, text: &[u8]) -> Self {
        let name = named(context.inner(ContextObject::Library), name!("name"));
        // A shortcut: most messages are from this library.
        if name.is_some_and(|name| name.of(text) == b"\"analytics.js\"") {
            return Self::Browser;
        }
        let Some(name) = name.and_then(|name| usable::text(name, text)) else {
            return Self::Unknown;
        };
        match LibraryFamily::named(usable::trimmed(&name)) {
            LibraryFamily::In(library) => library,
            LibraryFamily::PhoneOrServer if describes_device(context, text) => Self::Mobile,
            LibraryFamily::DotNet if is_app(context, text) => Self::Mobile,
            LibraryFamily::PhoneOrServer | LibraryFamily::DotNet => Self::Server,
            LibraryFamily::BrowserOrNode => {
                let env = find(context.inner(ContextObject::Library), text, "env");
                match env.is_some_and(|env| env.is_string() && is_one_of(env.of(text), &["node"])) {
                    true => Self::Server,
                    false => Self::Browser,
                }
            }
        }
    }
}

/// Returns whether the context describes a visitor's device. On Linux analytics-swift runs on servers,
/// and sends a device of the type `Linux` with `unknown` in its other fields.
fn describes_device(context: &Context, text: &[u8]) -> bool {
    let device = context.inner(ContextObject::Device);
    let kind = named(device, name!("type"));
    let is_linux =
        kind.is_some_and(|kind| kind.is_string() && is_one_of(kind.of(text), &["linux"]));
    !is_linux
        && device
            .iter()
            .any(|entry| usable::is_word(entry.value, text))
}

/// Returns whether a C# library runs in a game or an app: the operating system or the framework shows it.
fn is_app(context: &Context, text: &[u8]) -> bool {
    let systems = [
        named(context.inner(ContextObject::Device), name!("type")),
        named(context.inner(ContextObject::Os), name!("name")),
    ];
    let on_phone = systems.into_iter().flatten().any(|system| {
        system.is_string() && is_one_of(system.of(text), &["ios", "ipados", "android"])
    });
    let platform = context.get(text, "platform");
    on_phone
        || platform.is_some_and(|platform| {
            platform.is_string() && is_one_of(platform.of(text), &["unity", "xamarin"])
        })
}

/// Returns whether a string is one of `names`, in any case and with white space around it ignored.
fn is_one_of(string: &[u8], names: &[&str]) -> bool {
    let text = unescape(string);
    names
        .iter()
        .any(|name| text.trim().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::super::json::Scratch;
    use super::*;

    fn library(context: &str) -> LibraryKind {
        let mut scanned = Context::default();
        scanned
            .scan_text(context.as_bytes(), &mut Scratch::default())
            .unwrap();
        LibraryKind::of(&scanned, context.as_bytes())
    }

    #[test]
    fn the_name_of_a_library_in_any_case_shows_where_it_runs() {
        for (name, expected) in [
            ("analytics.js", LibraryKind::Browser),
            ("Analytics.JS", LibraryKind::Browser),
            ("AMP", LibraryKind::Browser),
            ("RudderLabs JavaScript SDK", LibraryKind::Browser),
            ("RUDDERLABS JAVASCRIPT SDK", LibraryKind::Browser),
            ("@rudderstack/analytics-js", LibraryKind::Browser),
            ("rudder-js", LibraryKind::Browser),
            ("@jitsu/js", LibraryKind::Browser),
            ("jitsu-js", LibraryKind::Browser),
            ("Analytics-iOS", LibraryKind::Mobile),
            ("analytics-android", LibraryKind::Mobile),
            ("@segment/analytics-react-native", LibraryKind::Mobile),
            ("analytics_flutter", LibraryKind::Mobile),
            ("rudder-ios-library", LibraryKind::Mobile),
            ("com.rudderstack.android.sdk.core", LibraryKind::Mobile),
            ("com.rudderstack.sdk.kotlin.android", LibraryKind::Mobile),
            ("com.rudderstack.sdk.kotlin.core", LibraryKind::Server),
            ("@rudderstack/rudder-sdk-node", LibraryKind::Server),
            ("analytics-node", LibraryKind::Server),
            ("analytics-kotlin", LibraryKind::Server),
            ("Analytics-Swift", LibraryKind::Server),
            ("Analytics-CSharp", LibraryKind::Server),
            ("Analytics.NET", LibraryKind::Server),
            ("curl", LibraryKind::Server),
            ("", LibraryKind::Unknown),
            ("undefined", LibraryKind::Unknown),
        ] {
            let context = format!(r#"{{"library":{{"name":"{name}"}}}}"#);
            assert_eq!(library(&context), expected, "{name}");
        }
        for context in ["{}", "null", r#"{"library":"analytics.js"}"#, "[]"] {
            assert_eq!(library(context), LibraryKind::Unknown, "{context}");
        }
    }

    #[test]
    fn device_and_platform_show_where_a_library_runs() {
        for (context, expected) in [
            (
                r#""name":"analytics-kotlin"},"device":{"id":"d","type":"android"}"#,
                LibraryKind::Mobile,
            ),
            (
                r#""name":"ANALYTICS-SWIFT"},"device":{"model":"iPhone17,1"}"#,
                LibraryKind::Mobile,
            ),
            (
                r#""name":"analytics-kotlin"},"device":null"#,
                LibraryKind::Server,
            ),
            (
                r#""name":"analytics-kotlin"},"device":{}"#,
                LibraryKind::Server,
            ),
            (
                r#""name":"analytics-kotlin"},"device":[]"#,
                LibraryKind::Server,
            ),
            (
                r#""name":"analytics-kotlin"},"device":"phone""#,
                LibraryKind::Server,
            ),
            (
                r#""name":"analytics-kotlin"},"device":{"id":"","type":"undefined","model":null}"#,
                LibraryKind::Server,
            ),
            (
                r#""name":"analytics-swift"},"device":{"manufacturer":"unknown","type":"Linux","model":"unknown"}"#,
                LibraryKind::Server,
            ),
            (
                r#""name":"Analytics-CSharp"},"device":{"type":"iOS"}"#,
                LibraryKind::Mobile,
            ),
            (
                r#""name":"analytics.net"},"device":{"type":"ANDROID"}"#,
                LibraryKind::Mobile,
            ),
            (
                r#""name":"Analytics.Xamarin"},"device":{"type":"android"}"#,
                LibraryKind::Mobile,
            ),
            (
                r#""name":"Analytics-CSharp"},"platform":"Unity""#,
                LibraryKind::Mobile,
            ),
            (
                r#""name":"Analytics.Xamarin"},"platform":"xamarin""#,
                LibraryKind::Mobile,
            ),
            (
                r#""name":"Analytics-CSharp"},"platform":".NET","os":{"name":"Unix - 5.15"}"#,
                LibraryKind::Server,
            ),
            (
                r#""name":"Analytics-CSharp"},"device":{"type":"server"}"#,
                LibraryKind::Server,
            ),
            (
                r#""name":"analytics-node"},"device":{"type":"ios"}"#,
                LibraryKind::Server,
            ),
            (r#""name":"@jitsu/js","env":"node"}"#, LibraryKind::Server),
            (
                r#""name":"@jitsu/js","env":"browser"}"#,
                LibraryKind::Browser,
            ),
        ] {
            let context = format!(r#"{{"library":{{{context}}}"#);
            assert_eq!(library(&context), expected, "{context}");
        }
    }
}
