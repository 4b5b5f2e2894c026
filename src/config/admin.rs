//! `admin`: an address, or a section with more settings.

use std::net::SocketAddr;

use super::listeners::{address, overlap, Listener};
use super::reader::{ConfigReader, Field, Section};
use super::references;
use super::shape::{KeyType, SectionSchema, ADDRESS, PLAIN, SECRET};
use super::tree::NodeKind;
use crate::admin::{AccessToken, LiveView};

/// `admin` as a section instead of an address.
pub(super) const ADMIN: SectionSchema = SectionSchema {
    name: "admin",
    label: "`admin`",
    at: "admin",
    required: &["address"],
    keys: &[
        ("address", ADDRESS),
        ("live", KeyType::Read),
        ("token", SECRET),
    ],
    ..PLAIN
};

/// Whether the configuration requests the live view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LiveViewWanted {
    /// The file has `live: on`.
    Yes,
    /// The file has no `live`: the view is on if it is allowed.
    WherePossible,
    /// The file has `live: off`.
    No,
}

/// Reads the address of the admin listener and its live view; `None` if it is off.
pub(super) fn read(
    reader: &mut ConfigReader<'_>,
    top: &Section<'_>,
    listen: &[Listener],
) -> Option<(SocketAddr, LiveView)> {
    let field = top.get("admin")?.clone();
    if field.is_off() {
        return None;
    }
    let (at, wanted, token) = match field.node.kind {
        NodeKind::Mapping(_) => section(reader, &field)?,
        _ => (field.clone(), LiveViewWanted::WherePossible, None),
    };
    let address = address(reader, &at)?;
    let taken = |listener: &&Listener| overlap(listener.address, address);
    if let Some(listener) = listen.iter().find(taken) {
        let listener = listener.address;
        let message = format!("{listener} of `listen` already has this address");
        reader.wrong(&at, message);
        return None;
    }
    let view = match (wanted, token) {
        (LiveViewWanted::No, _) => LiveView::Off,
        (_, Some(token)) => LiveView::Token(token),
        (_, None) if address.ip().is_loopback() => LiveView::Open,
        (LiveViewWanted::Yes, None) => {
            reader.wrong(
                &at,
                "other machines can reach this address, and the live view shows data of visitors: set a `token`, or `live: off`",
            );
            return None;
        }
        (LiveViewWanted::WherePossible, None) => {
            reader.warn(
                &at,
                "the live view is off, because other machines can reach this address and it has \
                 no token; `admin: {address: …, token: env:NAME}` turns it on, `live: off` removes this warning",
            );
            LiveView::Off
        }
    };
    Some((address, view))
}

fn section<'t>(
    reader: &mut ConfigReader<'_>,
    field: &Field<'t>,
) -> Option<(Field<'t>, LiveViewWanted, Option<AccessToken>)> {
    let section = reader.section(field, &ADMIN)?;
    let address = section.require(reader, "address").cloned();
    let choices = [("on", LiveViewWanted::Yes), ("off", LiveViewWanted::No)];
    let wanted = match section.get("live") {
        None => LiveViewWanted::WherePossible,
        Some(_) => reader.choice(&section, "live", &choices)?,
    };
    let token = match section.get("token").cloned() {
        None => None,
        Some(field) => Some(token(reader, &field)?),
    };
    Some((address?, wanted, token))
}

fn token(reader: &mut ConfigReader<'_>, field: &Field<'_>) -> Option<AccessToken> {
    const EXPECTED: &str = "env:NAME, file:PATH or the token itself";
    let (text, origin) = references::named(reader, field, EXPECTED)?;
    match AccessToken::new(text.trim()) {
        Ok(token) => Some(token),
        Err(message) => {
            reader.wrong(field, format!("{origin}{message}"));
            None
        }
    }
}
