//! One pass over a written event that removes from its properties what must not leave Hedgerow,
//! whether the sender or Hedgerow put it there. The pass scans and copies the text and builds no tree.
//! It copies the text between two removed parts as one run.
//!
//! All of this is off by default and then costs nothing: an event is scanned a second time only
//! if something may have to be removed from it.

mod decide;
mod edit;
mod names;
mod pseudonym;

use std::borrow::Cow;
use std::net::IpAddr;

use decide::has_content;
use edit::{Edit, Entries};
use names::{IDENTITY, OPEN_CONTEXT};

use crate::posthog::EventParts;
use crate::rewrite::enrich::privacy::{
    is_click_id, mask_click_ids, Indexes, PatternMatcher, MASKED,
};
use crate::rewrite::explain::{Trace, ValueOrigin};
use crate::rewrite::json::{
    inner, unescape, write_string, Malformed, Scanner, Scratch, Shape, Value,
};
use crate::rewrite::outcome::Fault;
use crate::rewrite::privacy::{ClickIds, IpMask, Privacy, PROTECTED};
use crate::segment::Kind;

/// Whether an event keeps its subject: the person to whom it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Subject {
    Kept,
    /// The event is anonymised.
    Removed,
}

impl Privacy {
    /// Whether there is anything to do for an event that keeps its subject.
    pub(in crate::rewrite) fn scrubs(&self) -> bool {
        !self.drop.is_empty()
            || !self.hash.is_empty()
            || self.ip != IpMask::Off
            || self.click_ids != ClickIds::Keep
    }
}

/// The pass over one event.
pub(in crate::rewrite) struct Scrub<'p> {
    privacy: &'p Privacy,
    patterns: &'p PatternMatcher,
    subject: Subject,
    ip: IpMask,
    click_ids: ClickIds,
    kind: Kind,
    trace: Option<&'p mut Trace>,
    /// The largest allowed event, in bytes. An event can grow, because hashes are longer than most values.
    limit: usize,
    /// The state of the patterns: one row for each level of nesting.
    rows: Vec<u64>,
    /// The positions in the copy where the `distinct_id` begins and ends.
    distinct_id: (usize, usize),
}

/// The surroundings of a value that decide what happens to it.
#[derive(Debug, Clone, Copy)]
struct ScrubPosition {
    /// The offset in `rows` of the patterns' row for this value.
    from: usize,
    /// Whether a pattern can still match inside the value.
    watched: bool,
    /// Whether the value or a value that contains it is hashed.
    hashed: bool,
}

impl<'p> Scrub<'p> {
    pub(in crate::rewrite) fn new(
        (privacy, patterns): (&'p Privacy, &'p PatternMatcher),
        subject: Subject,
        (kind, limit): (Kind, usize),
        trace: Option<&'p mut Trace>,
    ) -> Self {
        let is_removed = subject == Subject::Removed;
        Self {
            privacy,
            patterns,
            subject,
            ip: if is_removed { IpMask::All } else { privacy.ip },
            click_ids: match is_removed {
                true => ClickIds::Mask,
                false => privacy.click_ids,
            },
            kind,
            trace,
            limit,
            rows: Vec::new(),
            distinct_id: (0, 0),
        }
    }

    /// Copies a written event to `out` without what must not leave, and returns the positions of its
    /// parts in the copy. An event that this pass cannot scan must not be sent at all.
    pub(in crate::rewrite) fn run(
        self,
        (event, parts): (&[u8], EventParts),
        out: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<EventParts, Fault> {
        out.clear();
        let limit = self.limit;
        let copied = self.copy(Edit::new(event, out), scratch);
        let (from, to) = copied.map_err(|_| match out.len() > limit {
            true => Fault::TooLarge,
            false => Fault::TooDeep,
        })?;
        // Nothing before the properties has changed. `location` does not change either: an address
        // is masked, never removed.
        Ok(EventParts {
            length: out.len() as u32,
            distinct_id: (from as u32, to as u32),
            ..parts
        })
    }

    fn copy(
        mut self,
        mut edit: Edit<'_, '_>,
        scratch: &mut Scratch,
    ) -> Result<(usize, usize), Malformed> {
        let mut scanner = Scanner::new(edit.text, scratch);
        scanner.object(|scanner, key| {
            if key.of(edit.text) != b"properties" {
                return scanner.value().map(drop);
            }
            self.properties(scanner, &mut edit)
        })?;
        edit.finish();
        Ok(self.distinct_id)
    }

    fn properties(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        edit: &mut Edit<'_, '_>,
    ) -> Result<(), Malformed> {
        self.patterns.begin(&mut self.rows);
        let position = ScrubPosition {
            from: 0,
            watched: !self.rows.is_empty(),
            hashed: false,
        };
        let mut has_ip = false;
        let mut entries = Entries::default();
        scanner.peek();
        let begin = scanner.position() + 1;
        scanner.object(|scanner, key| {
            let raw = key.of(edit.text);
            let start = key.start() - 1;
            entries.begin(edit, start);
            let name = decoded_key(raw);
            if self.is_forced(&name) || self.is_identity(&name) {
                self.forget(raw);
                scanner.value()?;
                entries.cut(edit, start..scanner.position());
                return Ok(());
            }
            if self.is_protected(&name) {
                let value = scanner.value()?;
                if *name == *b"distinct_id" {
                    let (from, to) = (value.span.start(), value.span.end());
                    self.distinct_id = (edit.at(from), edit.at(to));
                }
                entries.keep(scanner.position());
                return Ok(());
            }
            let (inner, drops) = self.enter(position, &name);
            has_ip |= *name == *b"$ip";
            if drops && *name != *b"$ip" {
                self.rows.truncate(inner.from);
                self.forget(raw);
                scanner.value()?;
                entries.cut(edit, start..scanner.position());
                return Ok(());
            }
            scanner.peek();
            let from = scanner.position();
            let to = self.trace.is_some().then(|| edit.flush(from));
            let result = match self.address_mask(&name, drops, inner) {
                Some(mask) => scanner
                    .value()
                    .map(|value| write_address(edit, mask, value)),
                None => self.value(scanner, edit, (inner, &name)),
            };
            self.rows.truncate(inner.from);
            result?;
            entries.keep(scanner.position());
            if let (Some(trace), Some(to)) = (&mut self.trace, to) {
                edit.flush(scanner.position());
                let before = edit.text.get(from..scanner.position());
                if differ(before.unwrap_or_default(), edit.since(to)) {
                    trace.amend(raw, ", then changed by privacy");
                }
            }
            Ok(())
        })?;
        self.force(has_ip, (&mut entries, begin), edit);
        Ok(())
    }

    /// Adds the properties that an event without an address, or without a subject, must have.
    fn force(
        &mut self,
        has_ip: bool,
        (entries, begin): (&mut Entries, usize),
        edit: &mut Edit<'_, '_>,
    ) {
        let mut force = |key: &'static str, value: &str, origin: &'static str| {
            entries.add(edit, begin, (key, value));
            if let Some(trace) = &mut self.trace {
                trace.note(b"", key.as_bytes(), ValueOrigin::Fixed(origin));
            }
        };
        if self.ip == IpMask::All {
            if !has_ip {
                force("$ip", "\"0.0.0.0\"", "privacy: no address leaves");
            }
            force("$geoip_disable", "true", "privacy: no address leaves");
        }
        if self.subject == Subject::Removed {
            let origin = "privacy: the visitor stays anonymous";
            force("$process_person_profile", "false", origin);
        }
    }

    fn is_forced(&self, name: &[u8]) -> bool {
        match name {
            b"$geoip_disable" => self.ip == IpMask::All,
            b"$process_person_profile" => self.subject == Subject::Removed,
            _ => false,
        }
    }

    fn is_identity(&self, name: &[u8]) -> bool {
        if self.subject == Subject::Kept {
            return false;
        }
        let among =
            |names: &[&str], name: &[u8]| names.iter().any(|known| known.as_bytes() == name);
        match name.strip_prefix(b"segment_") {
            Some(b"ip") => false,
            Some(key) => !among(OPEN_CONTEXT, key),
            None => among(IDENTITY, name),
        }
    }

    /// Whether no pattern applies to the property with this name.
    fn is_protected(&self, name: &[u8]) -> bool {
        match name {
            b"alias" => self.kind == Kind::Alias,
            // Every protected name begins with one of these bytes.
            [b'$' | b'd', ..] => PROTECTED.iter().any(|known| known.as_bytes() == name),
            _ => false,
        }
    }

    /// Returns how to mask a property that is the client's address, or none if the property is not
    /// an address or stays unchanged. An address cannot be dropped, because PostHog fills in a missing
    /// one (posthog-ingestion 2.2).
    fn address_mask(&self, name: &[u8], drops: bool, position: ScrubPosition) -> Option<IpMask> {
        match name {
            b"$ip" if drops || position.hashed => Some(IpMask::All),
            b"$ip" | b"segment_ip" => Some(self.ip).filter(|mask| *mask != IpMask::Off),
            _ => None,
        }
    }

    /// Follows the patterns one name further down. Returns the surroundings of the value with this
    /// name, and whether the value is dropped.
    #[inline(always)]
    fn enter(&mut self, position: ScrubPosition, name: &[u8]) -> (ScrubPosition, bool) {
        let from = self.rows.len();
        let mut inner = ScrubPosition {
            from,
            watched: false,
            hashed: position.hashed,
        };
        if !position.watched {
            return (inner, false);
        }
        let reached = self.patterns.follow(&mut self.rows, position.from, name);
        inner.watched = reached.goes_on;
        inner.hashed |= reached.hashes;
        (inner, reached.drops)
    }

    /// Writes a value. The recursion is as deep as the event's nesting, which has been checked.
    fn value(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        edit: &mut Edit<'_, '_>,
        (position, name): (ScrubPosition, &[u8]),
    ) -> Result<(), Malformed> {
        let looks_within = position.watched
            || position.hashed
            || self.ip != IpMask::Off
            || self.click_ids == ClickIds::Mask;
        match scanner.peek() {
            Some(b'{') if looks_within => self.object(scanner, edit, position),
            Some(b'[') if looks_within => self.array(scanner, edit, position),
            _ => {
                let value = scanner.value()?;
                self.scalar(value, edit, (position, name));
                // Only a replaced value can be longer than before.
                match edit.at(value.span.end()) > self.limit {
                    true => {
                        edit.flush(value.span.end());
                        Err(Malformed::TooDeep)
                    }
                    false => Ok(()),
                }
            }
        }
    }

    fn object(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        edit: &mut Edit<'_, '_>,
        position: ScrubPosition,
    ) -> Result<(), Malformed> {
        let mut entries = Entries::default();
        scanner.object(|scanner, key| {
            let start = key.start() - 1;
            entries.begin(edit, start);
            let name = decoded_key(key.of(edit.text));
            let (inner, drops) = self.enter(position, &name);
            let result = match drops {
                true => scanner.value().map(drop),
                false => self.value(scanner, edit, (inner, &name)),
            };
            self.rows.truncate(inner.from);
            result?;
            match drops {
                true => entries.cut(edit, start..scanner.position()),
                false => entries.keep(scanner.position()),
            }
            Ok(())
        })
    }

    /// Writes an array. In a path, the name of an element is its index.
    fn array(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        edit: &mut Edit<'_, '_>,
        position: ScrubPosition,
    ) -> Result<(), Malformed> {
        let mut entries = Entries::default();
        let base = self.rows.len();
        let same_for_all = match position.watched && self.patterns.indexes() == Indexes::Different {
            true => None,
            false => Some(self.enter(position, b"0")),
        };
        scanner.expect(b'[')?;
        let mut index = 0_usize;
        while scanner.peek() != Some(b']') {
            if index > 0 {
                scanner.expect(b',')?;
                scanner.peek();
            }
            let start = scanner.position();
            entries.begin(edit, start);
            let (inner, drops) = match same_for_all {
                Some(entered) => entered,
                None => {
                    self.rows.truncate(base);
                    self.enter(position, index.to_string().as_bytes())
                }
            };
            match drops {
                true => {
                    scanner.value()?;
                    entries.cut(edit, start..scanner.position());
                }
                false => {
                    self.value(scanner, edit, (inner, b""))?;
                    entries.keep(scanner.position());
                }
            }
            index += 1;
        }
        self.rows.truncate(base);
        scanner.expect(b']')
    }

    #[inline(always)]
    fn scalar(
        &self,
        value: Value,
        edit: &mut Edit<'_, '_>,
        (position, name): (ScrubPosition, &[u8]),
    ) {
        if !has_content(value) && !position.hashed {
            return;
        }
        let raw = value.of(edit.text);
        let is_empty = raw == b"\"\"" || raw == b"null";
        if is_empty {
            return;
        }
        if position.hashed {
            // The text of the event is UTF-8.
            return edit.replace(value, |out| match value.shape {
                Shape::Escaped => self.privacy.write_hash(out, unescape(raw).as_bytes()),
                Shape::Plain => self.privacy.write_hash(out, inner(raw)),
                _ => self.privacy.write_hash(out, raw),
            });
        }
        if self.click_ids == ClickIds::Mask {
            if std::str::from_utf8(name).is_ok_and(is_click_id) {
                return edit.replace(value, |out| write_string(out, MASKED));
            }
            // A URL's query begins with a question mark, which may be written as an escape.
            if value.is_string() && memchr::memchr2(b'?', b'\\', raw).is_some() {
                if let Cow::Owned(masked) = mask_click_ids(&unescape(raw)) {
                    return edit.replace(value, |out| write_string(out, &masked));
                }
            }
        }
        if self.ip != IpMask::Off && name == b"ip" && value.is_string() {
            let text = unescape(raw);
            if text.trim().parse::<IpAddr>().is_ok() {
                edit.replace(value, |out| write_string(out, &self.ip.apply(&text)));
            }
        }
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some(trace) = &mut self.trace {
            trace.forget(key);
        }
    }
}

/// Whether two JSON texts differ in more than their spaces. Used only for `--explain`.
fn differ(before: &[u8], after: &[u8]) -> bool {
    let read = |text| serde_json::from_slice::<serde_json::Value>(text).ok();
    before != after && read(before) != read(after)
}

/// Returns the text of a key, with its escapes decoded.
#[inline(always)]
fn decoded_key(key: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr(b'\\', key) {
        None => Cow::Borrowed(key),
        Some(_) => Cow::Owned(decide::decoded_key(key).into_owned().into_bytes()),
    }
}

/// Writes an address from the event's own properties, masked. PostHog treats an empty address as
/// missing and uses the header's address instead, which is masked as well.
fn write_address(edit: &mut Edit<'_, '_>, mask: IpMask, value: Value) {
    let raw = value.of(edit.text);
    let text = match mask {
        IpMask::Off => return,
        IpMask::LastOctet if matches!(raw, b"null" | b"\"\"") => return,
        IpMask::LastOctet if value.is_string() => unescape(raw),
        IpMask::All | IpMask::LastOctet => Cow::Borrowed(""),
    };
    edit.replace(value, |out| write_string(out, &mask.apply(&text)));
}
