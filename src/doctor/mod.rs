//! The findings of `hedgerow doctor`: each checked part, the observation, and the advice.
//!
//! This code is pure: `proxy::operator::doctor` observes the system and passes the observations in.

pub mod acme;
mod finding;
mod machine;
mod outside;
mod project;

pub use finding::{milliseconds, render, CheckStatus, Finding};
pub use machine::{certificate, clock, files, space};
pub use outside::{address, cache, cached, is_inner, path, preflight, OutsideAnswer};
pub use project::{key, project, Installation, KeyKnown};

/// The `User-Agent` of the requests that `hedgerow doctor` sends. With it, Hedgerow recognises that a
/// refused request is not from a client.
pub const USER_AGENT: &str = concat!("hedgerow-doctor/", env!("CARGO_PKG_VERSION"));

/// Whether `hedgerow doctor`, of any version, sent a request with this `User-Agent`.
pub fn is_own_request(user_agent: Option<&[u8]>) -> bool {
    user_agent.is_some_and(|name| name.starts_with(b"hedgerow-doctor/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posthog::Host;

    fn answer(status: u16) -> OutsideAnswer<'static> {
        OutsideAnswer {
            status,
            location: None,
            cached: None,
            body: "",
            allows: None,
        }
    }

    #[test]
    fn each_judgement_has_its_bounds() {
        use CheckStatus::*;
        let host = |text: &str| text.parse::<Host>().unwrap();
        let key = |key| project("p", key, &host("us"))[0].status;
        let region = |text| project("p", "phc_a", &host(text))[1].status;
        let of_body = |status, body| {
            path(
                "u",
                &OutsideAnswer {
                    body,
                    ..answer(status)
                },
            )
            .status
        };
        let day = 24 * 3600;
        for (what, health, expected) in [
            ("key", key("phc_a"), Passed),
            ("no key", key("abc"), Note),
            ("region", region("eu"), Passed),
            ("app", region("https://eu.posthog.com"), Failed),
            ("same time", clock(1).status, Passed),
            ("ahead", clock(3).status, Note),
            ("behind", clock(-3).status, Note),
            ("far behind", clock(-30).status, Failed),
            ("expired", certificate("f", 0, day).status, Failed),
            ("not yet", certificate("f", day, -1).status, Failed),
            ("soon", certificate("f", 14 * day, day).status, Note),
            ("later", certificate("f", 15 * day, day).status, Passed),
            ("room", space("f", 1 << 30, 1 << 30).status, Passed),
            ("less room", space("f", 1 << 29, 1 << 30).status, Note),
            ("no room", space("f", 1 << 20, 1 << 30).status, Failed),
            ("files", files(Some(4096)).status, Passed),
            ("few files", files(Some(1024)).status, Note),
            ("no limit", files(None).status, Passed),
            (
                "ours",
                of_body(400, "{\"success\":false,\"code\":\"x\"}"),
                Passed,
            ),
            ("a page", of_body(200, "<html>"), Failed),
            ("nothing", of_body(404, ""), Failed),
            ("redirect", of_body(301, ""), Failed),
            ("no preflight", preflight("u", &answer(204)).status, Failed),
            ("no OPTIONS", preflight("u", &answer(405)).status, Failed),
            (
                "preflight",
                preflight(
                    "u",
                    &OutsideAnswer {
                        allows: Some("*"),
                        ..answer(204)
                    },
                )
                .status,
                Passed,
            ),
            ("fresh", cache(&[answer(200)]).status, Passed),
            (
                "cache",
                cache(&[OutsideAnswer {
                    cached: Some("Age: 3".to_owned()),
                    ..answer(200)
                }])
                .status,
                Failed,
            ),
            ("address", address(Some("203.0.113.9")).status, Passed),
            ("inner", address(Some("10.0.0.3")).status, Note),
            ("unknown", address(None).status, Note),
        ] {
            assert_eq!(health, expected, "{what}");
        }
        let with = |name: &'static str, value: &'static str| {
            cached(move |requested| (requested == name).then(|| value.to_owned()))
        };
        assert_eq!(with("age", "0"), None);
        assert_eq!(with("age", "7").unwrap(), "Age: 7");
        assert_eq!(with("x-cache", "MISS from a"), None);
        assert!(with("cf-cache-status", "HIT").is_some());
    }

    #[test]
    fn internal_addresses_are_distinguished_from_visitors() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.1.1", true),
            ("169.254.0.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("203.0.113.9", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_inner(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn each_line_names_the_problem_and_the_solution() {
        let text = render(&[
            Finding::ok("a", "b"),
            Finding::note("c", "d\x1b[2J", "e"),
            Finding::bad("f", "g", "h"),
        ]);
        let expected =
            "ok    a: b\nnote  c: d [2J\n      -> e\nBAD   f: g\n      -> h\nproblems: 1\n";
        assert_eq!(text, expected);
    }
}
