//! Tests of the names that a certificate can have.

use super::*;

#[test]
fn a_domain_is_a_host_name_that_can_be_proven() {
    for (text, expected) in [
        ("shop.example.com", "shop.example.com"),
        (" Shop.Example.COM. ", "shop.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a1-b.example", "a1-b.example"),
        ("intranet", "intranet"),
    ] {
        assert_eq!(domain(text).as_deref(), Ok(expected), "{text}");
    }
    let long = format!("{}.example", "a".repeat(64));
    for (text, expected) in [
        ("*.example.com", "wildcard"),
        ("https://shop.example", "without scheme"),
        ("shop.example/a", "without scheme"),
        ("shop.example:443", "without a port"),
        ("203.0.113.9", "an address"),
        ("2001:db8::1", "an address"),
        ("[2001:db8::1]", "an address"),
        ("under_score.example", "expected a host name"),
        ("-a.example", "expected a host name"),
        ("a..example", "expected a host name"),
        (&long, "expected a host name"),
        ("", "expected a host name"),
        ("a b.example", "expected a host name"),
    ] {
        let error = domain(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
