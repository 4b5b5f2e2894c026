use std::path::Path;

use super::mistakes::{check, none, Row};
use super::{read, with, SHORTEST};
use hedgerow::config::{AcmeConfig, Challenge, Config};

/// The certificates that a file orders.
fn ordered(config: &Config) -> Vec<AcmeConfig> {
    let listeners = config.listen.iter();
    let ordered = listeners.flat_map(|listener| listener.ordered_certificates());
    ordered.cloned().collect()
}

fn one(text: &str) -> AcmeConfig {
    let (config, _) = read(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    let mut ordered = ordered(&config);
    assert_eq!(ordered.len(), 1, "{text}");
    ordered.remove(0)
}

#[test]
#[cfg(feature = "acme")]
fn a_certificate_is_ordered_with_its_settings() {
    let acme = one(&with(
        "listen: [0.0.0.0:80, {address: 0.0.0.0:443, tls: {acme: {domains: [Shop.example., www.shop.example], \
         email: ops@shop.example, directory: \"https://ca.example:8443/dir\", storage: acme, \
         challenge: [http-01, tls-alpn-01], ca_file: ca.pem, \
         external_account: {key_id: kid, hmac_key: aGVkZ2Vyb3c}}}}]",
    ));
    assert_eq!(acme.domains, ["shop.example", "www.shop.example"]);
    assert_eq!(acme.name(), "shop.example");
    assert_eq!(acme.email.as_deref(), Some("ops@shop.example"));
    assert_eq!(acme.directory, "https://ca.example:8443/dir");
    assert_eq!(acme.storage, Path::new("/folder/acme"));
    assert_eq!(acme.challenges, [Challenge::Http01, Challenge::TlsAlpn01]);
    assert_eq!(acme.ca_file.unwrap().path, Path::new("/folder/ca.pem"));
    let account = acme.external_account.unwrap();
    assert_eq!(
        (account.key_id.as_str(), &account.hmac_key[..]),
        ("kid", &b"hedgerow"[..])
    );
    assert!(!format!("{account:?}").contains("104"), "{account:?}");
    // The defaults: Let's Encrypt, both challenges, the hosts of the routes.
    let routes = SHORTEST.replace(
        "path: /hr/",
        "path: /hr/\n    host: T.example\n    home: https://events.example",
    );
    let acme = one(&format!(
        "listen: [0.0.0.0:80, {{address: 0.0.0.0:443, tls: {{acme: {{storage: /acme}}}}}}]\n{routes}"
    ));
    assert_eq!(acme.domains, ["t.example", "events.example"]);
    assert_eq!(
        acme.directory,
        "https://acme-v02.api.letsencrypt.org/directory"
    );
    assert_eq!(acme.challenges, [Challenge::TlsAlpn01, Challenge::Http01]);
    assert_eq!(acme.storage, Path::new("/acme"));
    assert!(acme.email.is_none() && acme.ca_file.is_none() && acme.external_account.is_none());
    let staging = one(&with(
        "listen: [0.0.0.0:80, {address: 0.0.0.0:443, tls: {acme: {domains: a.example, storage: s, \
         directory: letsencrypt-staging}}}]",
    ));
    assert!(staging.directory.contains("staging"));
    // Next to a certificate from files, and the same certificate on two listeners.
    let (config, warnings) = read(&with(
        "listen: [0.0.0.0:80, {address: 0.0.0.0:443, tls: [{certificate: c.pem, key: k.pem}, &a {acme: \
         {domains: a.example, storage: s}}]}, {address: \"10.0.0.1:444\", tls: *a}]",
    ))
    .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let both = ordered(&config);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], both[1]);
    assert_eq!(config.listen[1].certificate_files().count(), 1);
}

#[test]
#[cfg(feature = "acme")]
fn an_unreachable_challenge_port_is_a_warning() {
    let acme = "acme: {domains: a.example, storage: s";
    for (listen, words) in [
        (format!("[0.0.0.0:80, {{address: 0.0.0.0:443, tls: {{{acme}}}}}}}]"), None),
        (format!("{{address: 0.0.0.0:443, tls: {{{acme}}}}}}}"), None),
        (
            format!("[0.0.0.0:80, {{address: 0.0.0.0:8443, tls: {{{acme}}}}}}}]"),
            None,
        ),
        (
            format!("[0.0.0.0:8080, {{address: 0.0.0.0:8443, tls: {{{acme}}}}}}}]"),
            Some("port 80 (http-01"),
        ),
        (
            format!("[0.0.0.0:8080, {{address: 0.0.0.0:443, tls: {{{acme}, challenge: http-01}}}}}}]"),
            Some("http-01 on port 80"),
        ),
        (
            format!("[0.0.0.0:80, {{address: 0.0.0.0:8443, tls: {{{acme}, challenge: tls-alpn-01}}}}}}]"),
            Some("tls-alpn-01 on port 443"),
        ),
    ] {
        let (_, warnings) = read(&with(&format!("listen: {listen}"))).unwrap();
        let said: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        match words {
            None => assert!(said.is_empty(), "{listen}: {said:?}"),
            Some(words) => {
                assert_eq!(said.len(), 1, "{listen}: {said:?}");
                assert!(said[0].contains(words), "{listen}: {said:?}");
                assert!(warnings[0].path.ends_with("tls.acme"), "{listen}");
            }
        }
    }
}

#[test]
#[cfg(feature = "acme")]
fn every_mistake_in_acme_settings_has_its_place() {
    const ACME: &str = "listen.tls.acme";
    let rows: &[Row] = &[
        (
            "listen: {address: 0.0.0.0:443, tls: {}}",
            &[(6, 37, "listen.tls", "needs `certificate` and `key`, or `acme`")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {}}}",
            &[
                (6, 44, ACME, "`domains` is missing, and no route has a `host`"),
                (6, 44, ACME, "`storage` is missing"),
            ],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {certificate: c.pem, key: k.pem, acme: {domains: a.example, storage: s}}}",
            &[(6, 38, "listen.tls.certificate", "not from both")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: [\"*.a.example\"]}}}",
            &[(6, 67, "listen.tls.acme.domains[0]", "cannot verify a wildcard")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: []}}}",
            &[(6, 66, "listen.tls.acme.domains", "at least one host name")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: [a.example, A.example., 10.0.0.1]}}}",
            &[
                (6, 78, "listen.tls.acme.domains[1]", "the list already has this name"),
                (6, 90, "listen.tls.acme.domains[2]", "an address"),
            ],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: a.example, email: ops}}}",
            &[(6, 84, "listen.tls.acme.email", "expected an address such as")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: a.example, directory: \"http://ca/\"}}}",
            &[(6, 88, "listen.tls.acme.directory", "begins with https://")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: a.example, directory: letsencript}}}",
            &[(6, 88, "listen.tls.acme.directory", "did you mean letsencrypt?")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: a.example, challenge: dns-01}}}",
            &[(6, 88, "listen.tls.acme.challenge", "dns-01 is not supported")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: a.example, challenge: [http-01, http01]}}}",
            &[(6, 98, "listen.tls.acme.challenge[1]", "did you mean http-01?")],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: \"\", domains: a.example, ca_file: missing.pem}}}",
            &[
                (6, 54, "listen.tls.acme.storage", "the path of a folder"),
                (6, 87, "listen.tls.acme.ca_file", "cannot read /folder/missing.pem"),
            ],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domains: a.example, external_account: {hmac_key: \"!\"}}}}",
            &[
                (6, 95, "listen.tls.acme.external_account", "`key_id` is missing"),
                (6, 106, "listen.tls.acme.external_account.hmac_key", "in base64url"),
            ],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: {acme: {storage: s, domain: a.example}}}",
            &[
                (6, 44, ACME, "`domains` is missing"),
                (6, 57, "listen.tls.acme.domain", "did you mean domains?"),
            ],
        ),
        (
            "listen: {address: 0.0.0.0:443, tls: [{acme: {storage: s, domains: a.example}}, {acme: {storage: s, domains: [a.example, b.example]}}]}",
            &[(6, 81, "listen.tls[1].acme", "stores another certificate of a.example")],
        ),
    ];
    let mut mismatches = Vec::new();
    for (text, expected) in rows {
        mismatches.extend(check(&with(text), expected));
    }
    none(mismatches);
}

#[test]
#[cfg(not(feature = "acme"))]
fn a_build_without_acme_reports_it_at_its_place() {
    let rows: &[Row] = &[(
        "listen: {address: 0.0.0.0:443, tls: {acme: {domains: a.example, storage: s}}}",
        &[(6, 38, "listen.tls.acme", "without the cargo feature acme")],
    )];
    let mut mismatches = Vec::new();
    for (text, expected) in rows {
        mismatches.extend(check(&with(text), expected));
    }
    none(mismatches);
}
