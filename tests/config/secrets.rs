use super::{read, with, FILE, SHORTEST, VARIABLE};
use hedgerow::config::{render_problems, render_table, render_warnings};

/// Everything that the program prints for a file.
fn said(text: &str) -> String {
    match read(text) {
        Ok((config, warnings)) => format!(
            "{config:?} {config:#?} {warnings:?} {} {}",
            render_table(&config),
            render_warnings(&warnings, "x.yaml"),
        ),
        Err(problems) => format!(
            "{problems:?} {problems} {}",
            render_problems(&problems, "x.yaml"),
        ),
    }
}

#[test]
fn no_key_is_ever_shown() {
    let project = |key: &str| SHORTEST.replace("api_key: env:KEY", key);
    let keys = |keys: &str| SHORTEST.replace("{project: shop}", keys);
    let files = [
        // No mistake, but warnings.
        SHORTEST.to_owned(),
        project("api_key: file:key"),
        project("api_key: SECRET"),
        project("api_key: phc_SECRET"),
        keys("{project: shop, write_keys: [SECRET]}"),
        keys("{write_keys: {SECRET: shop}}"),
        // The mistake is in the line of the secret.
        project("api_key: SECRET, hots: us"),
        project("api_key: phc_SECRET, host: us"),
        project("api_key: phx_SECRET"),
        project("api_key: 'SECRET é'"),
        project("api_key: \"SECRET\\nSECRET\""),
        project("api_key: $SECRET"),
        project("api_key: env:phc_SECRET"),
        project("api_key: {SECRET: SECRET}"),
        project("api_key: [SECRET, {a: SECRET}]"),
        project("api_key: env:PERSONAL"),
        project("api_key: env:KEY, http: phc_SECRET"),
        project("apikey: SECRET"),
        project("Api-Key: SECRET"),
        project("api_kye: SECRET"),
        project("project_key: SECRET"),
        keys("{project: shop, write_keys: SECRET}"),
        keys("{project: shop, write_keys: [SECRET, SECRET]}"),
        keys("{project: shop, write_keys: [SECRET, [SECRET]]}"),
        keys("{project: shop, write_keys: [SECRET], x: 1}"),
        keys("{project: shop, writeKeys: [SECRET]}"),
        keys("{project: shop, write_key: {SECRET: SECRET}}"),
        keys("{write_keys: {SECRET: none}}"),
        keys("{write_keys: {shop: SECRET}}"),
        keys("{write_keys: {SECRET: shop, SECRET: shop}}"),
        keys("{write_keys: {SECRET: [shop]}}"),
        keys("{write_keys: {SECRET: &a SECRET, b: *a}}"),
        keys("\n      write_keys:\n        SECRET: shop\n        SECRET: shop"),
        keys("\n      write_keys:\n        - SECRET\n        - SECRET"),
        // Text that is not YAML.
        project("api_key: 'SECRET"),
        project("api_key: SECRET: a"),
        project("api_key: SECRET}}"),
        project("host: phc_SECRET: a"),
        keys("{write_keys: {SECRET: shop: SECRET}}"),
        keys("\n      write_keys:\n        SECRET: shop: b"),
        keys("\n      write_keys:\n        - SECRET\n        -SECRET\n        x: SECRET"),
        keys("\n      write_keys: [SECRET,\n        SECRET\n        SECRET: b: c"),
        // A session secret: too short, in a list, in the wrong place.
        with("mapping: {sessions: {cookie: {secret: SECRET-long-enough-to-be-one-of-them}}}"),
        with("mapping: {sessions: {cookie: {secret: SECRET}}}"),
        with("mapping: {sessions: {cookie: {secret: [env:UNSET, SECRET]}}}"),
        with("mapping: {sessions: {cookie: {secrets: [SECRET]}}}"),
        with("mapping: {sessions: {cookie: {sekret: SECRET, name: x}}}"),
        with("mapping: {sessions: {secret: SECRET}}"),
        with("mapping: {sessions: {cookie: {secret: {a: SECRET}}}}"),
        with("mapping: {sessions: {cookie: {secret: SECRET: b}}}"),
        with("privacy: {secret: SECRET-SECRET}"),
        with("privacy: {secret: SECRET}"),
        with("privacy: {secret: SECRET, ip: none}"),
        with("privacy: {secret: env:KEY, hash: [a]}"),
        with("privacy: {secrets: SECRET}"),
        // A login: correct, in the wrong place, in a URL.
        with("delivery: {spool: {nats: {url: \"nats://a\", user: u, password: SECRET}}}"),
        with("delivery: {spool: {nats: {url: \"nats://a\", token: SECRET}}}"),
        with("delivery: {spool: {nats: {url: \"nats://u:SECRET@a\"}}}"),
        with("delivery: {spool: {nats: {url: \"nats://SECRET@a\"}}}"),
        with("delivery: {spool: {nats: {url: \"nats://u:SECRET@a/x\"}}}"),
        with("delivery: {spool: {nats: {url: [\"nats://u:SECRET@a\", \"nats://v:SECRET@a\"]}}}"),
        with("delivery: {spool: {nats: {url: \"nats://u:SECRET@a\", passwd: SECRET}}}"),
        with("delivery: {spool: {nats: {url: \"nats://a\", password: SECRET}}}"),
        with("delivery: {spool: {nats: {url: \"nats://a\", token: SECRET, user: u}}}"),
        with("delivery: {spool: {nats: {ulr: \"nats://u:SECRET@a\"}}}"),
        with("delivery: {spool: {nats: {url: \"nats://u:SECRET@a\": b}}}"),
        with("delivery: {spool: {nats: {password: SECRET: b}}}"),
        // The key of an ACME account, correct and wrong.
        with("listen: {address: 0.0.0.0:1, tls: {acme: {domains: a.b, storage: s, external_account: {key_id: k, hmac_key: SECRET}}, x: 1}}"),
        with("listen: {address: 0.0.0.0:1, tls: {acme: {domains: a.b, storage: s, external_account: {hmac_key: SECRET}}}}"),
        with("listen: {address: 0.0.0.0:1, tls: {acme: {domains: a.b, storage: s, external_account: {key_id: k, hmac: SECRET}}}}"),
        with("listen: {address: 0.0.0.0:1, tls: {acme: {domains: a.b, storage: s, external_account: {key_id: k, hmac_key: \"SECRET !\"}}}}"),
        // A private key instead of its path.
        with(
            "listen: {address: 0.0.0.0:1, tls: {certificate: c.pem, key: \"-----BEGIN\\nSECRET\"}}",
        ),
    ];
    let mut shown = 0;
    for file in files {
        let file = file.replace("SECRET", "s3cr3tVALUE");
        let said = said(&file);
        assert!(said.len() > 40, "{said}");
        for secret in ["s3cr3tVALUE", VARIABLE, FILE, "personalSecret"] {
            if said.contains(secret) {
                eprintln!("{secret} is shown for\n{file}\n{said}\n");
                shown += 1;
            }
        }
    }
    assert_eq!(shown, 0);
}

#[test]
fn the_line_of_a_mistake_stays_readable_with_a_masked_key() {
    let text = SHORTEST.replace("host: us, api_key: env:KEY", "host: usa, api_key: s3cr3t");
    let rendered = render_problems(&read(&text).unwrap_err(), "x.yaml");
    let expected = "
     2 |   shop: {host: usa, api_key: ******}
       |                ^^^
";
    assert!(rendered.contains(expected), "{rendered}");
}

#[test]
fn text_that_steers_a_terminal_is_not_passed_on() {
    let said = self::said(&with("\"\\e[31mred\": 1\n\"a\\rb\": 1\n"));
    let said = said + &self::said(&with("a: \u{9b}31m\nb: \u{1b}[0m\n"));
    assert!(said.contains("[31mred") && said.contains("31m\n"), "{said}");
    let steering = |character: char| character.is_control() && character != '\n';
    assert!(!said.contains(steering), "{said:?}");
}
