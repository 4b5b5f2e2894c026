//! One pass over a written event that takes out of its properties what must not leave, be it
//! the sender's or ours. The text is scanned and copied, never built into a tree.

use std::borrow::Cow;
use std::net::IpAddr;

use super::decide::{is_said, says};
use super::names::{IDENTITY, OPEN_CONTEXT, PROTECTED};
use super::{ClickIds, IpMask, Privacy};
use crate::posthog::EventParts;
use crate::rewrite::enrich::privacy::{
    is_click_id, mask_click_ids, Hit, PathPattern, PatternProgress, MASKED,
};
use crate::rewrite::explain::{Trace, ValueOrigin};
use crate::rewrite::json::{unescape, write_string, Malformed, Scanner, Scratch, Value};
use crate::rewrite::Fault;
use crate::segment::Kind;

/// Whether an event keeps who it happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) enum Subject {
    Kept,
    /// It is anonymised.
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
    subject: Subject,
    ip: IpMask,
    click_ids: ClickIds,
    kind: Kind,
    trace: Option<&'p mut Trace>,
    /// The largest event: hashes are longer than what they stand for.
    limit: usize,
    /// How far each pattern has come, level by level: those of `drop`, then those of `hash`.
    progress: Vec<PatternProgress>,
    /// Where the `distinct_id` stands now.
    distinct_id: (usize, usize),
}

/// What stands around a value.
#[derive(Debug, Clone, Copy)]
struct ScrubPosition {
    /// Where the patterns' progress begins that counts for it.
    from: usize,
    /// Whether a pattern may still mean something in it.
    watched: bool,
    /// Whether it is within something that is hashed.
    hashed: bool,
}

impl<'p> Scrub<'p> {
    pub(in crate::rewrite) fn new(
        privacy: &'p Privacy,
        subject: Subject,
        (kind, limit): (Kind, usize),
        trace: Option<&'p mut Trace>,
    ) -> Self {
        let is_removed = subject == Subject::Removed;
        Self {
            privacy,
            subject,
            ip: if is_removed { IpMask::All } else { privacy.ip },
            click_ids: match is_removed {
                true => ClickIds::Mask,
                false => privacy.click_ids,
            },
            kind,
            trace,
            limit,
            progress: Vec::new(),
            distinct_id: (0, 0),
        }
    }

    /// Writes `event`, an event as it is written, without what must not leave, and says where its
    /// parts stand then. One that cannot be looked through must not leave at all.
    pub(in crate::rewrite) fn run(
        self,
        (event, parts): (&[u8], EventParts),
        out: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<EventParts, Fault> {
        out.clear();
        let limit = self.limit;
        let copied = self.copy(event, out, scratch);
        let (from, to) = copied.map_err(|_| match out.len() > limit {
            true => Fault::TooLarge,
            false => Fault::TooDeep,
        })?;
        // What stands before the properties stays, and a location that is settled stays so: an
        // address is masked, never taken away.
        Ok(EventParts {
            length: out.len() as u32,
            distinct_id: (from as u32, to as u32),
            ..parts
        })
    }

    fn copy(
        mut self,
        event: &[u8],
        out: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(usize, usize), Malformed> {
        let mut scanner = Scanner::new(event, scratch);
        let mut copied = 0;
        scanner.object(|scanner, key| {
            if key.of(event) != b"properties" {
                return scanner.value().map(drop);
            }
            scanner.peek();
            out.extend_from_slice(event.get(..scanner.position()).unwrap_or_default());
            self.properties(scanner, event, out)?;
            copied = scanner.position();
            Ok(())
        })?;
        out.extend_from_slice(event.get(copied..).unwrap_or_default());
        Ok(self.distinct_id)
    }

    fn patterns(&self) -> impl Iterator<Item = &'p PathPattern> {
        let privacy = self.privacy;
        privacy.drop.iter().chain(&privacy.hash)
    }

    fn properties(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        event: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let begin: Vec<PatternProgress> = self.patterns().map(PathPattern::begin).collect();
        self.progress = begin;
        let place = ScrubPosition {
            from: 0,
            watched: !self.progress.is_empty(),
            hashed: false,
        };
        let mut has_ip = false;
        let mut comma = Comma::default();
        out.push(b'{');
        scanner.object(|scanner, key| {
            let raw = key.of(event);
            let name = says(raw);
            if self.is_forced(&name) || self.is_identity(&name) {
                self.forget(raw);
                return scanner.value().map(drop);
            }
            let is_protected =
                PROTECTED.contains(&name.as_ref()) || name == "alias" && self.kind == Kind::Alias;
            if is_protected {
                comma.key(out, raw);
                let from = out.len();
                out.extend_from_slice(scanner.value()?.of(event));
                if name == "distinct_id" {
                    self.distinct_id = (from, out.len());
                }
                return Ok(());
            }
            let (inner, drops) = self.enter(place, &name);
            has_ip |= name == "$ip";
            if drops && name != "$ip" {
                self.progress.truncate(inner.from);
                self.forget(raw);
                return scanner.value().map(drop);
            }
            comma.key(out, raw);
            scanner.peek();
            let (from, to) = (scanner.position(), out.len());
            let result = match self.address_mask(&name, drops, inner) {
                Some(mask) => scanner
                    .value()
                    .map(|value| write_address(out, mask, value, event)),
                None => self.value(scanner, event, (inner, &name), out),
            };
            self.progress.truncate(inner.from);
            result?;
            if let Some(trace) = &mut self.trace {
                let was = event.get(from..scanner.position()).unwrap_or_default();
                if differ(was, out.get(to..).unwrap_or_default()) {
                    trace.amend(raw, ", then changed by privacy");
                }
            }
            Ok(())
        })?;
        self.force(has_ip, &mut comma, out);
        out.push(b'}');
        Ok(())
    }

    /// The values that an event without an address, or without a subject, has to have.
    fn force(&mut self, has_ip: bool, comma: &mut Comma, out: &mut Vec<u8>) {
        let mut force = |key: &'static str, value: &str, origin: &'static str| {
            comma.key(out, key.as_bytes());
            out.extend_from_slice(value.as_bytes());
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

    fn is_forced(&self, name: &str) -> bool {
        match name {
            "$geoip_disable" => self.ip == IpMask::All,
            "$process_person_profile" => self.subject == Subject::Removed,
            _ => false,
        }
    }

    fn is_identity(&self, name: &str) -> bool {
        if self.subject == Subject::Kept {
            return false;
        }
        match name.strip_prefix("segment_") {
            Some("ip") => false,
            Some(key) => !OPEN_CONTEXT.contains(&key),
            None => IDENTITY.contains(&name),
        }
    }

    /// How a property that is the client's address is masked; none if it is none or stays. PostHog
    /// would fill in an address that is missing (posthog-ingestion 2.2), so it cannot be dropped.
    fn address_mask(&self, name: &str, drops: bool, place: ScrubPosition) -> Option<IpMask> {
        match name {
            "$ip" if drops || place.hashed => Some(IpMask::All),
            "$ip" | "segment_ip" => Some(self.ip).filter(|mask| *mask != IpMask::Off),
            _ => None,
        }
    }

    /// One name further down: what the patterns say of the value there, and whether it goes.
    fn enter(&mut self, place: ScrubPosition, name: &str) -> (ScrubPosition, bool) {
        let from = self.progress.len();
        let mut inner = ScrubPosition {
            from,
            watched: false,
            hashed: place.hashed,
        };
        if !place.watched {
            return (inner, false);
        }
        let drops = self.privacy.drop.len();
        for (index, pattern) in self.patterns().enumerate() {
            let Some(before) = self.progress.get(place.from + index) else {
                continue;
            };
            let after = pattern.follow(*before, name);
            match pattern.hit(after) {
                Hit::Here if index < drops => return (inner, true),
                Hit::Here => inner.hashed = true,
                Hit::Within => inner.watched = true,
                Hit::No => {}
            }
            self.progress.push(after);
        }
        (inner, false)
    }

    /// Writes a value. The recursion goes as deep as the event nests, which has been checked.
    fn value(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        event: &[u8],
        (place, name): (ScrubPosition, &str),
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        if out.len() > self.limit {
            return Err(Malformed::TooDeep);
        }
        let looks_within = place.watched
            || place.hashed
            || self.ip != IpMask::Off
            || self.click_ids == ClickIds::Mask;
        match scanner.peek() {
            Some(b'{') if looks_within => self.object(scanner, event, place, out),
            Some(b'[') if looks_within => self.array(scanner, event, place, out),
            _ => {
                let value = scanner.value()?;
                self.scalar(value, event, (place, name), out);
                Ok(())
            }
        }
    }

    fn object(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        event: &[u8],
        place: ScrubPosition,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut comma = Comma::default();
        out.push(b'{');
        scanner.object(|scanner, key| {
            let raw = key.of(event);
            let name = says(raw);
            let (inner, drops) = self.enter(place, &name);
            let result = if drops {
                scanner.value().map(drop)
            } else {
                comma.key(out, raw);
                self.value(scanner, event, (inner, &name), out)
            };
            self.progress.truncate(inner.from);
            result
        })?;
        out.push(b'}');
        Ok(())
    }

    /// An element's name in a path is its index.
    fn array(
        &mut self,
        scanner: &mut Scanner<'_, '_>,
        event: &[u8],
        place: ScrubPosition,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut comma = Comma::default();
        out.push(b'[');
        scanner.expect(b'[')?;
        let mut index = 0_usize;
        while scanner.peek() != Some(b']') {
            if index > 0 {
                scanner.expect(b',')?;
            }
            let name = match place.watched {
                true => Cow::Owned(index.to_string()),
                false => Cow::Borrowed(""),
            };
            let (inner, drops) = self.enter(place, &name);
            let result = if drops {
                scanner.value().map(drop)
            } else {
                comma.next(out);
                self.value(scanner, event, (inner, ""), out)
            };
            self.progress.truncate(inner.from);
            result?;
            index += 1;
        }
        scanner.expect(b']')?;
        out.push(b']');
        Ok(())
    }

    fn scalar(
        &self,
        value: Value,
        event: &[u8],
        (place, name): (ScrubPosition, &str),
        out: &mut Vec<u8>,
    ) {
        let raw = value.of(event);
        let is_empty = raw == b"\"\"" || raw == b"null";
        if place.hashed && !is_empty {
            let said = match value.is_string() {
                true => unescape(raw),
                false => String::from_utf8_lossy(raw),
            };
            return write_string(out, &self.privacy.hashed(&said));
        }
        if self.click_ids == ClickIds::Mask && !is_empty && is_said(value) {
            if is_click_id(name) {
                return write_string(out, MASKED);
            }
            // Only these can make a question mark.
            if value.is_string() && raw.iter().any(|byte| matches!(byte, b'?' | b'\\')) {
                if let Cow::Owned(masked) = mask_click_ids(&unescape(raw)) {
                    return write_string(out, &masked);
                }
            }
        }
        if self.ip != IpMask::Off && name == "ip" && value.is_string() {
            let said = unescape(raw);
            if said.trim().parse::<IpAddr>().is_ok() {
                return write_string(out, &self.ip.apply(&said));
            }
        }
        out.extend_from_slice(raw);
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some(trace) = &mut self.trace {
            trace.forget(key);
        }
    }
}

/// Whether two JSON texts differ in more than their spaces. Only asked for `--explain`.
fn differ(was: &[u8], is: &[u8]) -> bool {
    let read = |text| serde_json::from_slice::<serde_json::Value>(text).ok();
    was != is && read(was) != read(is)
}

/// An address of the event's own. PostHog takes an empty one for a missing one and fills it in
/// from the header, which is masked as well.
fn write_address(out: &mut Vec<u8>, mask: IpMask, value: Value, event: &[u8]) {
    let raw = value.of(event);
    match mask {
        IpMask::Off => out.extend_from_slice(raw),
        IpMask::All => write_string(out, &mask.apply("")),
        IpMask::LastOctet if matches!(raw, b"null" | b"\"\"") => out.extend_from_slice(raw),
        IpMask::LastOctet if value.is_string() => write_string(out, &mask.apply(&unescape(raw))),
        IpMask::LastOctet => write_string(out, &mask.apply("")),
    }
}

/// Commas between entries.
#[derive(Debug, Default)]
struct Comma {
    wanted: PathHit,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum PathHit {
    #[default]
    No,
    Yes,
}

impl Comma {
    fn next(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.wanted, PathHit::Yes) == PathHit::Yes {
            out.push(b',');
        }
    }

    /// A key, which is JSON text already.
    fn key(&mut self, out: &mut Vec<u8>, key: &[u8]) {
        self.next(out);
        out.push(b'"');
        out.extend_from_slice(key);
        out.extend_from_slice(b"\":");
    }
}
