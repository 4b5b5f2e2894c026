use super::*;

const NOW: i64 = 1_763_892_000_000;
const MINUTE: i64 = 60 * 1000;
const VISITOR: &str = "7b4d0a4e-9d1a-4c0e-8f6c-5a1f6b1f7c11";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const OTHER: &[u8] = b"another secret that is long enough";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn edge() -> EdgeSessions {
    EdgeSessions::new([SECRET]).unwrap()
}

/// Sends one request with `cookie` to one proxy, and returns the session and the cookie to set.
fn visit(edge: &EdgeSessions, cookie: Option<&str>, visitor: &str, now: i64) -> Renewal {
    let session = cookie.and_then(|cookie| edge.read(cookie, visitor, at(now)));
    edge.renew(session, visitor, at(now)).unwrap()
}

#[test]
fn a_session_goes_on_while_there_is_activity_every_30_minutes() {
    let edge = edge();
    let first = visit(&edge, None, VISITOR, NOW);
    let mut cookie = first.cookie.unwrap().value;
    for step in 1..10 {
        let renewal = visit(&edge, Some(&cookie), VISITOR, NOW + step * 30 * MINUTE);
        assert_eq!(renewal.session.id, first.session.id, "{step}");
        cookie = renewal.cookie.unwrap().value;
    }
    let late = NOW + 9 * 30 * MINUTE + 30 * MINUTE + 1;
    let next = visit(&edge, Some(&cookie), VISITOR, late);
    assert_ne!(next.session.id, first.session.id);
    assert!(next.session.id.covers(at(late)));
}

#[test]
fn a_session_ends_after_24_hours_whatever_the_visitor_does() {
    let edge = edge();
    let first = visit(&edge, None, VISITOR, NOW).session;
    let mut cookie = visit(&edge, None, VISITOR, NOW).cookie.unwrap();
    let mut sessions = vec![first.id];
    for step in 1..=(50 * 6) {
        let now = NOW + step * 10 * MINUTE;
        let renewal = visit(&edge, Some(&cookie.value), VISITOR, now);
        assert!(renewal.session.id.covers(at(now)), "PostHog's own rule");
        if sessions.last() != Some(&renewal.session.id) {
            let begun = sessions.len() as i64 * 1430 * MINUTE;
            assert!(
                step * 10 * MINUTE >= begun - 10 * MINUTE,
                "{step}: too early"
            );
            sessions.push(renewal.session.id);
        }
        let kept = i64::from(renewal.cookie.as_ref().unwrap().max_age) * 1000;
        let end = renewal.session.id.time().millis() + SESSION_LIMIT;
        assert!(kept <= IDLE_LIMIT && now + kept <= end);
        cookie = renewal.cookie.unwrap();
    }
    assert_eq!(sessions.len(), 3, "50 hours of activity");
}

#[test]
fn parallel_first_requests_at_several_proxies_are_one_session() {
    let proxies = [edge(), edge(), edge()];
    let mut forks = 0;
    for visit_number in 0..2000 {
        let visitor = format!("visitor-{visit_number}");
        let ids: Vec<_> = (0..6i64)
            .map(|request| {
                let proxy = &proxies[request as usize % proxies.len()];
                visit(proxy, None, &visitor, NOW + request * 40).session.id
            })
            .collect();
        forks += i64::from(ids.iter().any(|id| *id != ids[0]));
    }
    // 200 ms of half an hour is one in 9,000. The assertion checks only the order of magnitude.
    assert!(forks <= 5, "{forks} of 2,000 visits were torn apart");
}

#[test]
fn requests_that_overlap_at_the_end_of_a_session_begin_the_same_next_one() {
    let proxies = [edge(), edge()];
    let cookie = visit(&proxies[0], None, VISITOR, NOW).cookie.unwrap().value;
    // Well inside one of the visitor's half-hours, so that none of the requests falls into another
    // one.
    let border = proxies[0]
        .begin(VISITOR, at(NOW + 60 * MINUTE))
        .unwrap()
        .time()
        .millis();
    let later = border + 10 * MINUTE;
    let first = visit(&proxies[0], Some(&cookie), VISITOR, later).session.id;
    let second = visit(&proxies[1], Some(&cookie), VISITOR, later + 90)
        .session
        .id;
    let third = visit(&proxies[1], None, VISITOR, later + 120).session.id;
    assert_eq!([first, second, third], [first; 3]);
}

#[test]
fn tabs_share_the_session_in_whatever_order_their_answers_come() {
    let edge = edge();
    let first = visit(&edge, None, VISITOR, NOW);
    let cookie = first.cookie.unwrap().value;
    let tabs: Vec<_> = (0..4)
        .map(|tab| visit(&edge, Some(&cookie), VISITOR, NOW + 29 * MINUTE + tab * 100))
        .collect();
    for answer in &tabs {
        assert_eq!(answer.session.id, first.session.id);
        // The session continues, whichever answer arrived last.
        let cookie = &answer.cookie.as_ref().unwrap().value;
        let next = visit(&edge, Some(cookie), VISITOR, NOW + 58 * MINUTE);
        assert_eq!(next.session.id, first.session.id);
    }
}

#[test]
fn two_visits_of_one_visitor_never_share_an_id() {
    let edge = edge();
    for minutes in 0..120 {
        let begin = NOW + minutes * MINUTE;
        let first = visit(&edge, None, VISITOR, begin);
        let again = begin + IDLE_LIMIT + 1;
        let second = visit(
            &edge,
            first.cookie.as_ref().map(|set| &*set.value),
            VISITOR,
            again,
        );
        assert_ne!(first.session.id, second.session.id, "{minutes}");
    }
}

#[test]
fn an_id_is_a_uuidv7_that_covers_events_made_just_before_they_arrive() {
    let edge = edge();
    for step in 0..2000 {
        let now = NOW + step * 7_919;
        let id = visit(&edge, None, VISITOR, now).session.id;
        assert_eq!(Uuid7::parse(&id.to_string()), Some(id));
        assert!(id.covers(at(now)) && id.covers(at(now - SKEW)));
        assert!(now - id.time().millis() <= IDLE_LIMIT + SKEW);
    }
}

#[test]
fn a_fresh_cookie_is_not_set_again() {
    let edge = edge();
    let cookie = visit(&edge, None, VISITOR, NOW).cookie.unwrap();
    assert_eq!(cookie.value.len(), 74);
    assert_eq!(cookie.max_age, 1800);
    assert!(
        visit(&edge, Some(&cookie.value), VISITOR, NOW + RENEWAL - 1)
            .cookie
            .is_none()
    );
    assert!(visit(&edge, Some(&cookie.value), VISITOR, NOW + RENEWAL)
        .cookie
        .is_some());
    // A proxy whose clock is slow neither ends the session nor sets its last activity back.
    let behind = visit(&edge, Some(&cookie.value), VISITOR, NOW - 30_000);
    assert_eq!(behind.session.last_activity, at(NOW));
    assert!(behind.cookie.is_none());
}

#[test]
fn a_session_can_neither_be_made_up_nor_used_by_another_visitor() {
    let edge = edge();
    let cookie = visit(&edge, None, VISITOR, NOW).cookie.unwrap().value;
    assert!(edge.read(&cookie, VISITOR, at(NOW)).is_some());
    assert_eq!(edge.read(&cookie, "another visitor", at(NOW)), None);
    assert_eq!(edge.read(&cookie, "", at(NOW)), None);
    let other = EdgeSessions::new([OTHER]).unwrap();
    assert_eq!(other.read(&cookie, VISITOR, at(NOW)), None);
    assert_ne!(other.begin(VISITOR, at(NOW)), edge.begin(VISITOR, at(NOW)));
    let bytes = URL_SAFE_NO_PAD.decode(&cookie).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let forged = URL_SAFE_NO_PAD.encode(forged);
        assert_eq!(edge.read(&forged, VISITOR, at(NOW)), None, "bit {bit}");
    }
    for length in 0..cookie.len() {
        assert_eq!(
            edge.read(&cookie[..length], VISITOR, at(NOW)),
            None,
            "{length}"
        );
    }
    for broken in [
        format!("{cookie}A"),
        format!("{cookie}=="),
        "A".repeat(10_000),
        "é".into(),
    ] {
        assert_eq!(edge.read(&broken, VISITOR, at(NOW)), None);
    }
}

#[test]
fn a_replaced_secret_ends_no_session() {
    let before = edge();
    let after = EdgeSessions::new([OTHER, SECRET]).unwrap();
    let first = visit(&before, None, VISITOR, NOW);
    let cookie = first.cookie.unwrap().value;
    let next = visit(&after, Some(&cookie), VISITOR, NOW + MINUTE);
    assert_eq!(next.session.id, first.session.id);
    // The new secret now signs the cookie.
    let renewed = next.cookie.unwrap().value;
    let only_new = EdgeSessions::new([OTHER]).unwrap();
    assert!(only_new.read(&renewed, VISITOR, at(NOW + MINUTE)).is_some());
}

#[test]
fn weak_secrets_are_refused_and_none_is_shown() {
    let refused = |secrets: &[&[u8]]| EdgeSessions::new(secrets.iter().copied()).err();
    assert_eq!(refused(&[]), Some(EdgeSessionError::NoSecret));
    assert_eq!(refused(&[b"short"]), Some(EdgeSessionError::ShortSecret));
    assert_eq!(refused(&[SECRET, b""]), Some(EdgeSessionError::ShortSecret));
    assert_eq!(format!("{:?}", edge()), "EdgeSessions(redacted)");
}

#[test]
fn the_cookie_is_first_party_out_of_scripts_reach_and_secure_over_tls() {
    let set = CookieValue {
        value: "abc".into(),
        max_age: 1800,
    };
    let own = SessionCookie::new("hr_s", None).unwrap();
    assert_eq!(
        own.header(&set, Transport::Tls),
        "hr_s=abc; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax; Secure"
    );
    let shared = SessionCookie::new("hr_s", Some("example.test")).unwrap();
    assert_eq!(
        shared.header(&set, Transport::Plain),
        "hr_s=abc; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax; Domain=example.test"
    );
    assert_eq!(own.find("a=b; hr_s=abc; hr_s=later"), Some("abc"));
    let long = "x".repeat(129);
    for name in ["", "a b", "a=b", "a;b", "é", "a\r\nb", &long] {
        let refused = SessionCookie::new(name, None);
        assert_eq!(refused, Err(EdgeSessionError::CookieName), "{name:?}");
    }
    let label = format!("{}.example", "x".repeat(64));
    let name = format!("{}example", "x.".repeat(128));
    for domain in [
        "", ".", "a b", "a;b", "a\nb", "a..b", "a.", "..a", &label, &name,
    ] {
        let refused = SessionCookie::new("s", Some(domain));
        assert_eq!(refused, Err(EdgeSessionError::CookieDomain), "{domain:?}");
    }
    assert!(SessionCookie::new("s", Some(".example.com")).is_ok());
    assert!(SessionCookie::new("__Host-s", None).is_ok());
    let refused = SessionCookie::new("__host-s", Some("example.com"));
    assert_eq!(refused, Err(EdgeSessionError::HostCookieDomain));
}

#[test]
fn times_out_of_range_break_nothing() {
    let edge = edge();
    for now in [i64::MIN, -1, 0, 1 << 48, i64::MAX] {
        assert_eq!(edge.renew(None, VISITOR, at(now)), None, "{now}");
    }
    let cookie = visit(&edge, None, VISITOR, NOW).cookie.unwrap().value;
    for now in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(edge.read(&cookie, VISITOR, at(now)), None, "{now}");
    }
}
