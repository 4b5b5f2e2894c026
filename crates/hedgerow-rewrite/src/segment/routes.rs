//! Recognises which of Segment's calls a request makes (segment-tracking 1.1).

use std::borrow::Cow;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal $letter:literal $about:ident,)*) => {
        /// The calls of Segment's tracking API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds. Code that has to name every call uses this list.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Returns the kind that a path names: `track` or `t`.
            pub fn of_path(name: &str) -> Option<Self> {
                match name {
                    $($name | $letter => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Returns the kind that a message's `type` names: `track`.
            pub fn of_type(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Returns the name that a message's `type` has for this kind.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            fn about(self) -> CallSubject {
                match self {
                    $(Self::$kind => CallSubject::$about,)*
                }
            }
        }
    };
}

/// The subject of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CallSubject {
    /// Something that happened, with properties.
    Event,
    /// Who a person is. The call may have properties as well.
    Person,
    /// Which ids and groups belong together. The message's `properties` are not the event's.
    Ids,
}

// Each kind's name, its letter in a path, and its subject.
kinds! {
    /// Something a user did.
    Track = "track" "t" Event,
    /// A page seen in a browser.
    Page = "page" "p" Event,
    /// A screen seen in an app.
    Screen = "screen" "s" Event,
    /// Who a user is.
    Identify = "identify" "i" Person,
    /// Which group a user belongs to.
    Group = "group" "g" Ids,
    /// Two ids of one user.
    Alias = "alias" "a" Ids,
}

impl Kind {
    /// Returns whether the call reports something that happened, and not only who a person is. Only such an
    /// event can be renamed, and only such an event can be without a person profile.
    pub fn is_event_call(self) -> bool {
        self.about() == CallSubject::Event
    }

    /// Returns whether the message's `properties` are those of the event.
    pub fn has_properties(self) -> bool {
        self.about() != CallSubject::Ids
    }

    /// Returns all names as a list for a sentence: `track, page and alias`.
    pub fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

/// The content of a POST or a PUT to a tracking route, as its path states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// One message whose kind the path names. If the body is a batch instead, its messages are of that kind
    /// unless their `type` states another.
    One(Kind),
    /// A batch, or a single message if the body is one: React Native posts to the bare prefix.
    Batch,
}

/// The meaning of a request below a Segment route's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recognised {
    /// Messages to rewrite.
    Ingest(Call),
    /// The SDKs' own telemetry (`/v1/m`), which is dropped.
    Telemetry,
    /// A pixel: the message is in the query, and the answer is a GIF.
    Pixel(Kind),
    /// A pixel requested with `HEAD`, which delivers no event.
    PixelHead,
    /// A CORS preflight or any other `OPTIONS`.
    Preflight,
    /// A known path that does not allow the method. The value lists the methods that it allows.
    MethodNotAllowed(&'static str),
    /// A path that is not one of Segment's.
    Unknown,
}

/// Returns the path with each run of slashes replaced by one slash. Clients send `//v1/b` when they append
/// `/v1/b` to a host that ends in a slash.
pub fn single_slashes(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut single = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !single.ends_with('/') {
            single.push(character);
        }
    }
    Cow::Owned(single)
}

/// Recognises a request by its method and by its path below the route's prefix. `tail` may begin with a
/// slash, contains no query, and has no repeated slashes ([`single_slashes`]).
///
/// These are accepted because SDKs and their users send them: a missing `/v1`, a trailing slash, `PUT`
/// instead of `POST`, and `batch/b` or `import/b`, which React Native requests if its proxy setting ends
/// in `/batch`.
pub fn recognise(method: &str, tail: &str) -> Recognised {
    let tail = tail.trim_matches('/');
    let tail = match tail.strip_prefix("v1") {
        Some("") => "",
        Some(rest) => rest.strip_prefix('/').unwrap_or(tail),
        None => tail,
    };
    let Some(known) = known_path(tail) else {
        return Recognised::Unknown;
    };
    match (method, known) {
        ("OPTIONS", _) => Recognised::Preflight,
        ("POST" | "PUT", KnownPath::Call(call)) => Recognised::Ingest(call),
        ("POST" | "PUT", KnownPath::Telemetry) => Recognised::Telemetry,
        ("GET", KnownPath::Pixel(kind)) => Recognised::Pixel(kind),
        ("HEAD", KnownPath::Pixel(_)) => Recognised::PixelHead,
        (_, KnownPath::Pixel(_)) => Recognised::MethodNotAllowed("GET, HEAD, OPTIONS"),
        _ => Recognised::MethodNotAllowed("POST, PUT, OPTIONS"),
    }
}

#[derive(Clone, Copy)]
enum KnownPath {
    Call(Call),
    Telemetry,
    Pixel(Kind),
}

fn known_path(tail: &str) -> Option<KnownPath> {
    if let Some(name) = tail.strip_prefix("pixel/") {
        // Segment documents no single letters for pixels, but accepting them costs nothing.
        return Kind::of_path(name).map(KnownPath::Pixel);
    }
    match tail {
        "" | "b" | "batch" | "import" | "batch/b" | "import/b" | "b/b" => {
            Some(KnownPath::Call(Call::Batch))
        }
        "m" => Some(KnownPath::Telemetry),
        name => Kind::of_path(name).map(|kind| KnownPath::Call(Call::One(kind))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_served_with_and_without_v1_and_trailing_slash() {
        let one = |kind| Recognised::Ingest(Call::One(kind));
        let batch = Recognised::Ingest(Call::Batch);
        let rows = [
            ("track", one(Kind::Track)),
            ("t", one(Kind::Track)),
            ("page", one(Kind::Page)),
            ("p", one(Kind::Page)),
            ("identify", one(Kind::Identify)),
            ("i", one(Kind::Identify)),
            ("group", one(Kind::Group)),
            ("g", one(Kind::Group)),
            ("alias", one(Kind::Alias)),
            ("a", one(Kind::Alias)),
            ("screen", one(Kind::Screen)),
            ("s", one(Kind::Screen)),
            ("batch", batch),
            ("b", batch),
            ("import", batch),
            ("", batch),
            ("m", Recognised::Telemetry),
        ];
        for (name, expected) in rows {
            for before in ["", "/", "v1/", "/v1/"] {
                for after in ["", "/"] {
                    let tail = format!("{before}{name}{after}");
                    for method in ["POST", "PUT"] {
                        assert_eq!(recognise(method, &tail), expected, "{method} {tail:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn slashes_count_once() {
        for (path, single) in [
            ("", ""),
            ("v1/b", "v1/b"),
            ("v1//b", "v1/b"),
            ("//v1///b//", "/v1/b/"),
            ("é//x", "é/x"),
        ] {
            assert_eq!(single_slashes(path), single, "{path:?}");
        }
    }

    #[test]
    fn paths_that_are_not_segments_are_not_recognised() {
        for tail in [
            "v2/t",
            "v1x",
            "favicon.ico",
            "v1/v1/t",
            "tracks",
            "pixel",
            "pixel/x",
            "v1/x",
        ] {
            assert_eq!(recognise("POST", tail), Recognised::Unknown, "{tail:?}");
        }
    }

    #[test]
    fn methods_decide_between_message_pixel_and_preflight() {
        assert_eq!(
            recognise("GET", "v1/pixel/track"),
            Recognised::Pixel(Kind::Track)
        );
        assert_eq!(recognise("HEAD", "v1/pixel/page"), Recognised::PixelHead);
        assert_eq!(recognise("OPTIONS", "v1/t"), Recognised::Preflight);
        assert_eq!(
            recognise("PUT", "v1/pixel/track"),
            Recognised::MethodNotAllowed("GET, HEAD, OPTIONS")
        );
        assert_eq!(
            recognise("GET", "v1/t"),
            Recognised::MethodNotAllowed("POST, PUT, OPTIONS")
        );
    }
}
