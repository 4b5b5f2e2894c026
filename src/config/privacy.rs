//! `privacy`: which data about a visitor may be sent.

use super::reader::{ConfigReader, Field, Section};
use super::references;
use super::shape::{KeyType, SectionSchema, PLAIN, SECRET};
use super::tree::NodeKind;
use crate::rewrite::privacy::{
    ClickIds, IpMask, PathPattern, Privacy, Pseudonym, Secret, Treatment, PROTECTED, SECRET_BYTES,
};

/// `privacy`.
pub(super) const PRIVACY: SectionSchema = SectionSchema {
    name: "privacy",
    label: "`privacy`",
    at: "privacy",
    keys: &[
        (
            "drop",
            KeyType::AnyOf(&[
                KeyType::Text,
                KeyType::ListOf(&KeyType::Text, 0, 128),
                KeyType::Nothing,
            ]),
        ),
        (
            "hash",
            KeyType::AnyOf(&[
                KeyType::Text,
                KeyType::ListOf(&KeyType::Text, 0, 128),
                KeyType::Nothing,
            ]),
        ),
        ("secret", SECRET),
        ("ip", KeyType::Read),
        ("click_ids", KeyType::Read),
        ("global_privacy_control", KeyType::Read),
        ("do_not_track", KeyType::Read),
        (
            "consent",
            KeyType::AnyOf(&[
                KeyType::MapOf(&KeyType::ReadAt("privacy.consent.Everything"), 64),
                KeyType::Nothing,
            ]),
        ),
        ("pseudonym", KeyType::Read),
    ],
    ..PLAIN
};

/// The largest number of paths in `drop`, and in `hash`. Each path is compared with each property.
const PATHS: usize = 128;

/// The largest number of consent categories.
const CATEGORIES: usize = 64;

/// Reads `privacy`.
pub(super) fn read(reader: &mut ConfigReader<'_>, top: &Section<'_>) -> Privacy {
    let Some(section) = reader.optional_section(top, "privacy", &PRIVACY) else {
        return Privacy::default();
    };
    let signal = [
        ("ignore", Treatment::Send),
        ("anonymise", Treatment::Anonymise),
        ("drop", Treatment::Drop),
    ];
    let mut words = Words {
        reader,
        section: &section,
    };
    let privacy = Privacy {
        ip: words.choose(
            "ip",
            &[
                ("keep", IpMask::Off),
                ("last_octet", IpMask::LastOctet),
                ("all", IpMask::All),
            ],
        ),
        click_ids: words.choose(
            "click_ids",
            &[("keep", ClickIds::Keep), ("mask", ClickIds::Mask)],
        ),
        global_privacy_control: words.choose("global_privacy_control", &signal),
        do_not_track: words.choose("do_not_track", &signal),
        pseudonym: words.choose(
            "pseudonym",
            &[("event", Pseudonym::Event), ("day", Pseudonym::Day)],
        ),
        drop: paths(reader, &section, "drop"),
        hash: paths(reader, &section, "hash"),
        secret: secret_of(reader, &section),
        consent: consent(reader, &section),
    };
    check(reader, &section, &privacy);
    privacy
}

/// Runs the checks that need the whole section.
fn check(reader: &mut ConfigReader<'_>, section: &Section<'_>, privacy: &Privacy) {
    if section.get("secret").is_some() {
        return;
    }
    if let (Some(field), Pseudonym::Day) = (section.get("pseudonym"), privacy.pseudonym) {
        reader.wrong(
            field,
            "a pseudonym for each day needs `secret`: without it anyone could compute the \
             person's pseudonym",
        );
    }
    if let (Some(field), false) = (section.get("hash"), privacy.hash.is_empty()) {
        reader.warn(
            field,
            "without `secret`, a reader who guesses a value can check the guess against its hash",
        );
    }
}

/// Reads keys whose values are words.
struct Words<'c, 'r, 's> {
    reader: &'c mut ConfigReader<'r>,
    section: &'c Section<'s>,
}

impl Words<'_, '_, '_> {
    fn choose<T: Copy + Default>(&mut self, key: &str, words: &[(&str, T)]) -> T {
        let chosen = self.reader.choice(self.section, key, words);
        chosen.unwrap_or_default()
    }
}

fn paths(reader: &mut ConfigReader<'_>, section: &Section<'_>, key: &str) -> Vec<PathPattern> {
    const EXPECTED: &str = "a path such as email, $set.phone or segment_traits.*";
    let Some(list) = section.get(key) else {
        return Vec::new();
    };
    let fields = list.each();
    if fields.len() > PATHS {
        reader.wrong(list, format!("expected at most {PATHS} paths"));
        return Vec::new();
    }
    let mut paths = Vec::new();
    for field in fields {
        let Some(text) = reader.text(&field, EXPECTED) else {
            continue;
        };
        match text.parse() {
            Err(error) => reader.wrong(&field, format!("expected {EXPECTED}: {error}")),
            Ok(_) if text == "$ip" => reader.wrong(
                &field,
                "PostHog adds an address that is missing; set `ip` to mask it",
            ),
            Ok(_) if PROTECTED.contains(&text) => {
                reader.wrong(&field, "PostHog needs this property unchanged");
            }
            Ok(path) => paths.push(path),
        }
    }
    paths
}

fn secret_of(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Option<Secret> {
    let field = section.get("secret")?;
    let expected = format!("env:NAME, file:PATH or at least {SECRET_BYTES} bytes");
    let (value, origin) = references::named(reader, field, &expected)?;
    match Secret::new(value.trim().as_bytes()) {
        Ok(secret) => Some(secret),
        Err(error) => {
            reader.wrong(field, format!("{origin}{error}"));
            None
        }
    }
}

fn consent(reader: &mut ConfigReader<'_>, section: &Section<'_>) -> Vec<(String, Treatment)> {
    const WORDS: [(&str, Treatment); 3] = [
        ("send", Treatment::Send),
        ("anonymise", Treatment::Anonymise),
        ("drop", Treatment::Drop),
    ];
    let Some(field) = section.get("consent").filter(|field| !field.is_nothing()) else {
        return Vec::new();
    };
    if !matches!(field.node.kind, NodeKind::Mapping(_)) {
        reader.expected(
            field,
            "a mapping from consent categories to send, anonymise or drop",
        );
        return Vec::new();
    }
    if field.entries().len() > CATEGORIES {
        reader.wrong(field, format!("expected at most {CATEGORIES} categories"));
        return Vec::new();
    }
    let mut categories = Vec::new();
    for entry in field.entries() {
        let below = field.entry(entry);
        if entry.key.is_empty() {
            reader.wrong_key(&below, "expected the name of a category");
        }
        reader.refuse_reference_in_key(&below, &entry.key);
        if let Some(treatment) = word(reader, &below, &WORDS) {
            categories.push((entry.key.clone(), treatment));
        }
    }
    categories
}

fn word<T: Copy>(
    reader: &mut ConfigReader<'_>,
    field: &Field<'_>,
    words: &[(&str, T)],
) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    reader.expect_words(field, &names);
    let text = reader.text(field, &names.join(" or "))?;
    let found = words.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        reader.wrong(field, format!("expected {}", names.join(" or ")));
    }
    found.map(|(_, value)| *value)
}

/// Returns the lines of `hedgerow check` about `privacy`, one for each active switch. They contain no
/// secret.
pub(super) fn lines(privacy: &Privacy) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |text: String| lines.push(format!("privacy: {text}"));
    let listed = |paths: &[PathPattern]| {
        let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
        paths.join(", ")
    };
    if !privacy.drop.is_empty() {
        line(format!("drop {}", listed(&privacy.drop)));
    }
    if !privacy.hash.is_empty() {
        let how = match privacy.secret {
            Some(_) => "HMAC-SHA-256 with the secret",
            None => "SHA-256 without a secret",
        };
        line(format!("hash {} ({how})", listed(&privacy.hash)));
    }
    match privacy.ip {
        IpMask::Off => {}
        IpMask::LastOctet => line("addresses without their last octet".to_owned()),
        IpMask::All => line("no addresses".to_owned()),
    }
    if privacy.click_ids == ClickIds::Mask {
        line("click ids masked".to_owned());
    }
    for (signal, treatment) in [
        ("Sec-GPC: 1", privacy.global_privacy_control),
        ("DNT: 1", privacy.do_not_track),
    ] {
        if treatment != Treatment::Send {
            line(format!("requests with {signal} are {}", done(treatment)));
        }
    }
    for (category, treatment) in &privacy.consent {
        line(format!(
            "messages without consent to {category} are {}",
            done(*treatment)
        ));
    }
    if privacy.pseudonym == Pseudonym::Day {
        line("a pseudonym for each visitor and day".to_owned());
    }
    if lines.is_empty() {
        lines.push("privacy: off".to_owned());
    }
    lines
}

fn done(treatment: Treatment) -> &'static str {
    match treatment {
        Treatment::Send => "sent",
        Treatment::Anonymise => "anonymised",
        Treatment::Drop => "left out",
    }
}
