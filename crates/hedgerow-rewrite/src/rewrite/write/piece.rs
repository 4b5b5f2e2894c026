//! Writes the values of an event that come from the message or replace one of its values.

use super::super::event_plan::Piece;
use super::super::json::{write_string, EventWriter};

/// Writes a value; an absent one writes nothing.
#[inline(always)]
pub(super) fn write_piece(out: &mut EventWriter<'_>, piece: Piece<'_>, text: &[u8]) {
    match piece {
        Piece::Raw(value) => out.span(text, value.span),
        _ => write_other_piece(out, piece, text),
    }
}

#[inline(never)]
fn write_other_piece(out: &mut EventWriter<'_>, piece: Piece<'_>, text: &[u8]) {
    match piece {
        Piece::Absent => {}
        Piece::Raw(value) => out.span(text, value.span),
        Piece::Digits(value) => out.quoted(value.of(text)),
        Piece::Name(name) => out.quoted(name.as_bytes()),
        Piece::Spelled(id) => write_string(out, id),
    }
}
