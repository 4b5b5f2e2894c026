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

    fn seen(status: u16) -> OutsideAnswer<'static> {
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
        let key = |key| project("p", key, &host("us"))[0].health;
        let region = |text| project("p", "phc_a", &host(text))[1].health;
        let of_body = |status, body| {
            path(
                "u",
                &OutsideAnswer {
                    body,
                    ..seen(status)
                },
            )
            .health
        };
        let day = 24 * 3600;
        for (what, health, expected) in [
            ("key", key("phc_a"), Well),
            ("no key", key("abc"), Odd),
            ("region", region("eu"), Well),
            ("app", region("https://eu.posthog.com"), Bad),
            ("same time", clock(1).health, Well),
            ("ahead", clock(3).health, Odd),
            ("behind", clock(-3).health, Odd),
            ("far behind", clock(-30).health, Bad),
            ("expired", certificate("f", 0, day).health, Bad),
            ("not yet", certificate("f", day, -1).health, Bad),
            ("soon", certificate("f", 14 * day, day).health, Odd),
            ("later", certificate("f", 15 * day, day).health, Well),
            ("room", space("f", 1 << 30, 1 << 30).health, Well),
            ("less room", space("f", 1 << 29, 1 << 30).health, Odd),
            ("no room", space("f", 1 << 20, 1 << 30).health, Bad),
            ("files", files(Some(4096)).health, Well),
            ("few files", files(Some(1024)).health, Odd),
            ("no limit", files(None).health, Well),
            (
                "ours",
                of_body(400, "{\"success\":false,\"code\":\"x\"}"),
                Well,
            ),
            ("a page", of_body(200, "<html>"), Bad),
            ("nothing", of_body(404, ""), Bad),
            ("redirect", of_body(301, ""), Bad),
            ("no preflight", preflight("u", &seen(204)).health, Bad),
            ("no OPTIONS", preflight("u", &seen(405)).health, Bad),
            (
                "preflight",
                preflight(
                    "u",
                    &OutsideAnswer {
                        allows: Some("*"),
                        ..seen(204)
                    },
                )
                .health,
                Well,
            ),
            ("fresh", cache(&[seen(200)]).health, Well),
            (
                "cache",
                cache(&[OutsideAnswer {
                    cached: Some("Age: 3".to_owned()),
                    ..seen(200)
                }])
                .health,
                Bad,
            ),
            ("address", address(Some("203.0.113.9")).health, Well),
            ("inner", address(Some("10.0.0.3")).health, Odd),
            ("unknown", address(None).health, Odd),
        ] {
            assert_eq!(health, expected, "{what}");
        }
        let with = |name: &'static str, value: &'static str| {
            cached(move |asked| (asked == name).then(|| value.to_owned()))
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
            Finding::odd("c", "d\x1b[2J", "e"),
            Finding::bad("f", "g", "h"),
        ]);
        let expected =
            "ok    a: b\nnote  c: d [2J\n      -> e\nBAD   f: g\n      -> h\nproblems: 1\n";
        assert_eq!(text, expected);
    }
}
