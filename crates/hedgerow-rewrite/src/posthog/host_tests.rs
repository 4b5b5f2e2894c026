use super::*;

#[test]
fn hosts_are_read_and_printed() {
    for (text, authority, port, printed) in [
        ("us", "us.i.posthog.com", 443, "https://us.i.posthog.com"),
        ("eu", "eu.i.posthog.com", 443, "https://eu.i.posthog.com"),
        (
            "http://127.0.0.1:8000",
            "127.0.0.1:8000",
            8000,
            "http://127.0.0.1:8000",
        ),
        (
            "https://PH.example.com/",
            "ph.example.com",
            443,
            "https://ph.example.com",
        ),
        (
            "http://ph.example.com/sub/",
            "ph.example.com",
            80,
            "http://ph.example.com/sub",
        ),
        ("http://[::1]:81", "[::1]:81", 81, "http://[::1]:81"),
    ] {
        let host: Host = text.parse().unwrap();
        assert_eq!(host.authority(), authority, "{text}");
        assert_eq!(host.port(), port, "{text}");
        assert_eq!(host.to_string(), printed, "{text}");
    }
}

#[test]
fn an_address_is_known_as_one_however_the_host_was_made() {
    for (text, address) in [
        ("http://127.0.0.1:8000", Some("127.0.0.1")),
        ("https://[2001:DB8::1]", Some("2001:db8::1")),
        ("https://ph.example.com", None),
        ("us", None),
    ] {
        let host: Host = text.parse().unwrap();
        let address = address.map(|address| address.parse().unwrap());
        assert_eq!(host.address(), address, "{text}");
        let again = Host::new(host.scheme(), host.name(), host.port());
        assert_eq!(again.unwrap().address(), address, "{text}");
        if let Some(address) = address {
            let at = Host::at(host.scheme(), SocketAddr::new(address, host.port()));
            assert_eq!(at, host, "{text}");
        }
    }
    assert_eq!(Host::new(Scheme::Http, "a", 0), Err(HostError::Port));
    assert_eq!(Host::new(Scheme::Http, "a:1", 1), Err(HostError::Name));
    assert_eq!(Host::new(Scheme::Http, "", 1), Err(HostError::Name));
}

#[test]
fn each_cloud_is_the_others_other_one() {
    for (text, other) in [
        ("us", Some("eu")),
        ("https://EU.i.posthog.com/", Some("us")),
        ("https://us.i.posthog.com/base", None),
        ("http://us.i.posthog.com", None),
        ("https://ph.example.com", None),
    ] {
        let host: Host = text.parse().unwrap();
        let expected = other.map(|word| (word, word.parse().unwrap()));
        assert_eq!(host.other_cloud(), expected, "{text}");
    }
}

#[test]
fn a_host_that_cannot_be_reached_by_name_is_refused() {
    for (text, expected) in [
        ("posthog.example.com", HostError::Scheme),
        ("ftp://a", HostError::Scheme),
        ("https://", HostError::Name),
        ("https://:443", HostError::Name),
        ("https://a b", HostError::Name),
        ("https://a:0", HostError::Port),
        ("https://a:70000", HostError::Port),
        ("https://u@a", HostError::Extra),
        ("https://a?x=1", HostError::Extra),
    ] {
        assert_eq!(text.parse::<Host>(), Err(expected), "{text}");
    }
}

#[test]
fn a_host_without_ingestion_is_recognised_with_the_correct_host() {
    for (text, instead) in [
        ("us", None),
        ("eu", None),
        ("https://us.i.posthog.com", None),
        ("https://EU.i.posthog.com/", None),
        ("https://us-proxy-direct.i.posthog.com", None),
        ("https://ph.example.com", None),
        ("https://ph.example.com/sub", None),
        ("https://ph.example.com/share", None),
        ("https://batch.example.com/", None),
        ("https://posthog.company.example", None),
        ("http://myposthog.com", None),
        ("https://us.posthog.com", Some("`us`")),
        ("https://US.PostHog.com/project/1", Some("`us`")),
        ("http://eu.posthog.com:80/", Some("`eu`")),
        ("https://app.posthog.com", Some("`us` or `eu`")),
        ("https://posthog.com", Some("`us` or `eu`")),
        ("https://us-assets.i.posthog.com", Some("`us`")),
        ("https://eu-assets.i.posthog.com/static/", Some("`eu`")),
        ("http://us.i.posthog.com", Some("`us`")),
        ("https://eu.i.posthog.com:8443", Some("`eu`")),
        ("https://us.i.posthog.com/batch/", Some("`us`")),
        ("https://eu.i.posthog.com/anything", Some("`eu`")),
        (
            "https://ph.example.com/batch/",
            Some("`https://ph.example.com`"),
        ),
        (
            "https://ph.example.com/Capture",
            Some("`https://ph.example.com`"),
        ),
        (
            "https://ph.example.com/i/v0/e/",
            Some("`https://ph.example.com`"),
        ),
        (
            "http://ph.example.com:8000/ph/e",
            Some("`http://ph.example.com:8000/ph`"),
        ),
        (
            "https://ph.example.com/decide",
            Some("`https://ph.example.com`"),
        ),
        (
            "https://ph.example.com/static",
            Some("`https://ph.example.com`"),
        ),
    ] {
        let host: Host = text.parse().unwrap();
        let got = host.misdirection().map(|wrong| wrong.instead);
        assert_eq!(got.as_deref(), instead, "{text}");
    }
    let host: Host = "https://us.posthog.com".parse().unwrap();
    assert_eq!(
        host.misdirection().unwrap().to_string(),
        "us.posthog.com has PostHog's app, which accepts no events: write `us`"
    );
}

#[test]
fn assets_have_their_own_host_in_the_clouds_only() {
    let assets = |text: &str| text.parse::<Host>().unwrap().assets().authority();
    assert_eq!(assets("us"), "us-assets.i.posthog.com");
    assert_eq!(
        assets("https://eu.i.posthog.com"),
        "eu-assets.i.posthog.com"
    );
    assert_eq!(assets("https://ph.example.com"), "ph.example.com");
}
