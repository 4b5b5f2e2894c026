//! Writes the same properties as PostHog's own Segment destination, value for value (mapping, section 1).

use super::super::explain::ValueOrigin;
use super::super::json::{name, Entry, Marks, Name, Names, Output, Shape, Value};
use super::super::mapping::{DeviceTypes, Noise};
use super::super::message::{named, ContextObject};
use super::super::spread::{write_spread, UnknownKeys};
use super::super::usable;
use super::address::write_address;
use super::campaign::CampaignPass;
use super::piece::write_piece;
use super::presence::ContextValue;
use super::{MovedValues, Prefix, Prefixed, Properties};
use crate::segment::Kind;

/// A path of the context that has a property of its own: the literal key, which takes precedence over
/// the path, the path, and the property.
type Path = (
    (&'static str, Name),
    Option<(ContextObject, Name)>,
    ContextValue,
);

/// A path with its literal key.
macro_rules! path {
    ($literal:literal, $target:ident) => {
        (($literal, name!($literal)), None, ContextValue::$target)
    };
    ($literal:literal, $inner:ident, $key:literal, $target:ident) => {
        (
            ($literal, name!($literal)),
            Some((ContextObject::$inner, name!($key))),
            ContextValue::$target,
        )
    };
}

/// The paths that have a property of their own (mapping 1.3, point 3).
const MAPPED: [Path; 8] = [
    path!("ip", Ip),
    path!("page.url", Page, "url", CurrentUrl),
    path!("page.path", Page, "path", Pathname),
    path!("os.name", Os, "name", Os),
    path!("page.referrer", Page, "referrer", Referrer),
    path!("screen.width", Screen, "width", ScreenWidth),
    path!("screen.height", Screen, "height", ScreenHeight),
    path!("device.type", Device, "type", DeviceType),
];

/// The literal keys of [`MAPPED`].
const LITERALS: Names = Names::of(&[
    "ip",
    "page.url",
    "page.path",
    "os.name",
    "page.referrer",
    "screen.width",
    "screen.height",
    "device.type",
]);

/// Whether the context has any of [`LITERALS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Literals {
    None,
    Some,
}

/// The property for a time that cannot be read, as the sender wrote it.
const ORIGINAL_TIMESTAMP: Name = name!("segment_original_timestamp");

/// The caller's properties that are left out, moved or written differently under some condition.
const MOVED: Names = Names::of(MOVED_NAMES);
static IS_MOVED: Marks = Marks::of(MOVED_NAMES);
const MOVED_NAMES: &[&str] = &[
    "distinct_id",
    "$lib",
    "url",
    "$current_url",
    "utm_campaign",
    "$browser",
    "$groups",
    "$ip",
    "$screen_name",
    "$set",
    "$anon_distinct_id",
    "$process_person_profile",
    "alias",
    "$group_key",
];

/// posthog-js's bookkeeping properties. All but one begin with a dollar sign, as do those that begin
/// with `$sdk_debug_`.
const NOISE: Names = Names::of(&[
    "token",
    "$configured_session_timeout_ms",
    "$initialization_time",
    "$config_defaults",
    "$insert_id",
    "$time",
]);
const TOKEN: Name = name!("token");

const DISTINCT_ID: Name = name!("distinct_id");
const LIB: Name = name!("$lib");
const URL: Name = name!("url");
const CURRENT_URL: Name = name!("$current_url");
const UTM_CAMPAIGN: Name = name!("utm_campaign");
const BROWSER: Name = name!("$browser");
const GROUPS: Name = name!("$groups");
const IP: Name = name!("$ip");
const SCREEN_NAME: Name = name!("$screen_name");
const SET: Name = name!("$set");
const ANON_DISTINCT_ID: Name = name!("$anon_distinct_id");
const PROFILE: Name = name!("$process_person_profile");

impl<'t> Properties<'_, '_, '_, 't> {
    /// Writes the caller's properties. Copies the text between two that are left out as one run.
    pub(super) fn write_callers(&mut self) {
        if self.are_callers_unchanged() {
            let ends = (self.entries.first(), self.entries.last());
            if let (Some(first), Some(last)) = ends {
                self.write_run(Some((first.key.start() - 1, last.value.span.end())));
            }
        } else {
            self.write_callers_one_by_one();
        }
        let properties = self.source.message.properties.value;
        if let (Some(value), false) = (properties, self.takes_no_properties()) {
            if value.shape != Shape::Object {
                self.spread(b"", &UnknownKeys::none(), self.source.text, value);
            }
        }
        if self.callers.intersects(&MovedValues::NAMES) {
            self.write_moved();
        }
    }

    #[inline(never)]
    fn write_moved(&mut self) {
        self.copy(
            name!("$current_url"),
            self.moved.url,
            ValueOrigin::Fixed("properties.url"),
        );
        self.copy(
            name!("utm_campaign"),
            self.moved.utm_name,
            ValueOrigin::Fixed("properties.utm_name"),
        );
        self.copy(
            name!("$browser"),
            self.moved.browser,
            ValueOrigin::Fixed("properties.browser"),
        );
    }

    /// Whether the names alone show that none of the caller's properties is left out or written
    /// differently.
    #[inline(always)]
    fn are_callers_unchanged(&self) -> bool {
        if self.strips_noise() || self.trace.is_some() {
            return false;
        }
        if !self.callers.intersects(&MOVED) {
            return true;
        }
        // The enriched mode also checks some of the values.
        let is_left_out = |name: Name| self.callers.has(name) && self.is_replaced_by_name(name);
        !self.is_enriched()
            && !is_left_out(DISTINCT_ID)
            && !is_left_out(LIB)
            && !is_left_out(URL)
            && !is_left_out(CURRENT_URL)
            && !is_left_out(UTM_CAMPAIGN)
            && !is_left_out(BROWSER)
            && !is_left_out(GROUPS)
            && !is_left_out(IP)
            && !is_left_out(SCREEN_NAME)
            && !is_left_out(SET)
            && !is_left_out(ANON_DISTINCT_ID)
    }

    #[inline(never)]
    fn write_callers_one_by_one(&mut self) {
        let text = self.source.text;
        let mut run: Option<(usize, usize)> = None;
        let (noise, traced) = (self.strips_noise(), self.trace.is_some());
        for entry in self.entries {
            // `entry.key` excludes the quotes: the opening quote is one byte before it.
            let first = text.get(entry.key.start()).copied();
            let may_be_noise = noise && (first == Some(b'$') || entry.name == TOKEN);
            if !IS_MOVED.has(entry.name) && !may_be_noise && !traced {
                let start = run.map_or(entry.key.start() - 1, |(start, _)| start);
                run = Some((start, entry.value.span.end()));
                continue;
            }
            let key = entry.key.of(text);
            if self.is_replaced(entry) {
                self.write_run(run.take());
                continue;
            }
            if let Some(id) = self.respelled(entry) {
                self.write_run(run.take());
                self.write_respelled(key, &id);
                continue;
            }
            let start = run.map_or(entry.key.start() - 1, |(start, _)| start);
            run = Some((start, entry.value.span.end()));
            if let Some(trace) = &mut self.trace {
                trace.note(b"", key, ValueOrigin::Under("properties", key));
            }
        }
        self.write_run(run);
    }

    fn takes_no_properties(&self) -> bool {
        !self.plan.kind.has_properties()
    }

    fn write_run(&mut self, run: Option<(usize, usize)>) {
        if let Some((start, end)) = run {
            self.out.push(b',');
            let entries = self.source.text.get(start..end).unwrap_or_default();
            self.out.extend_from_slice(entries);
        }
    }

    /// Whether one of the caller's keys is replaced (mapping 1.4, 1.5 and 1.6) or is not sent.
    fn is_replaced(&self, entry: &Entry) -> bool {
        match entry.name {
            name if self.is_replaced_by_name(name) => true,
            // PostHog drops an event that changes persons if it carries this (posthog-ingestion 4.4).
            PROFILE => {
                self.is_enriched() && self.changes_persons && entry.value.shape == Shape::False
            }
            name if NOISE.has(name) => self.strips_noise(),
            _ => {
                let key = entry.key.of(self.source.text);
                key.starts_with(b"$sdk_debug_") && self.strips_noise()
            }
        }
    }

    /// The part of [`is_replaced`](Self::is_replaced) that needs only the key's name.
    #[inline(always)]
    fn is_replaced_by_name(&self, name: Name) -> bool {
        match name {
            DISTINCT_ID | LIB => true,
            URL | CURRENT_URL => self.moved.url.is_some(),
            UTM_CAMPAIGN => self.moved.utm_name.is_some(),
            BROWSER => self.moved.browser.is_some(),
            GROUPS => self.group.is_some() || self.replaced.groups,
            IP => self.replaced.ip,
            SCREEN_NAME => self.plan.kind == Kind::Screen,
            SET => self.plan.kind == Kind::Identify || self.replaced.set,
            ANON_DISTINCT_ID => !self.plan.anon_distinct_id.is_absent(),
            _ => false,
        }
    }

    fn strips_noise(&self) -> bool {
        self.is_enriched() && self.inputs.mapping.posthog_js.noise == Noise::Strip
    }

    /// Writes the properties of the call itself (mapping 1.6).
    pub(super) fn write_calls_own(&mut self) {
        let text = self.source.text;
        let message = self.source.message;
        match self.plan.kind {
            Kind::Track | Kind::Page => {}
            Kind::Screen => self.copy(
                name!("$screen_name"),
                message.name(),
                ValueOrigin::Fixed("name"),
            ),
            Kind::Identify => {
                let start = self.out.at();
                self.write_set();
                self.add_meta_ids(start);
                if !self.plan.anon_distinct_id.is_absent() {
                    self.key(
                        name!("$anon_distinct_id"),
                        ValueOrigin::Fixed("anonymousId"),
                    );
                    write_piece(self.out, self.plan.anon_distinct_id, text);
                }
            }
            Kind::Group => self.write_group(),
            Kind::Alias => {
                if !self.plan.alias.is_absent() {
                    self.key(name!("alias"), ValueOrigin::Fixed(self.plan.alias_from));
                    write_piece(self.out, self.plan.alias, text);
                }
            }
        }
    }

    /// Returns the caller's keys that begin with the prefix of a value of the context.
    pub(super) fn unknown_keys(
        &self,
        prefix: &Prefix,
        value: Value,
        entries: &[Entry],
    ) -> UnknownKeys<'t> {
        if self.prefixed == Prefixed::None {
            return UnknownKeys::none();
        }
        let lookups = match value.shape {
            Shape::Object => entries.len(),
            // A value that is spread has at most as many parts as bytes.
            _ => value.span.end() - value.span.start(),
        };
        UnknownKeys::with_prefix(prefix.text, self.entries, self.source.text, lookups)
    }

    /// Writes the spread of a value that is not an object, except for keys that the caller gives.
    pub(super) fn spread(
        &mut self,
        prefix: &[u8],
        unknown_keys: &UnknownKeys<'_>,
        text: &[u8],
        value: Value,
    ) {
        let before = self.out.at();
        write_spread(self.out, (prefix, unknown_keys), text, value);
        if let Some(trace) = &mut self.trace {
            let written = self.out.since(before);
            trace.note_all(
                written,
                ValueOrigin::Fixed("a part of a value that is not an object"),
            );
        }
    }

    pub(super) fn write_mapped(&mut self) {
        let context_text = self.source.context_text;
        let literals = self.literals();
        for path in &MAPPED {
            let ((literal, _), _, target) = *path;
            let Some(value) = self.mapped_value(path, literals) else {
                continue;
            };
            if self.is_enriched() && self.is_unusable(target, value) {
                self.mapped.note_skipped(target);
                continue;
            }
            let property = target.property();
            if !self.caller_has(property) {
                self.note(target);
                self.key(property, ValueOrigin::Under("context", literal.as_bytes()));
                self.out.span(context_text, value.span);
            }
        }
        if let Some(ip) = self.settled.ip {
            let mut written = None;
            for key in [name!("$ip"), name!("segment_ip")] {
                if self.caller_has(key) {
                    continue;
                }
                self.key(key, ValueOrigin::Fixed("the address of the connection"));
                let start = self.out.at();
                match written {
                    Some((start, end)) => self.out.again(start..end),
                    None => {
                        self.out.push(b'"');
                        write_address(self.out, ip);
                        self.out.push(b'"');
                        written = Some((start, self.out.at()));
                    }
                }
            }
            self.note(ContextValue::Ip);
        }
    }

    /// Returns the context's value at a path, unless another value replaces it.
    #[inline(always)]
    fn mapped_value(
        &self,
        ((_, literal), path, target): &Path,
        literals: Literals,
    ) -> Option<Value> {
        let context = self.source.context;
        let literal = match literals {
            Literals::None => None,
            Literals::Some => context.named(*literal),
        };
        let value =
            literal.or_else(|| path.and_then(|(inner, key)| named(context.inner(inner), key)));
        value.filter(|_| !self.is_overridden(*target))
    }

    fn literals(&self) -> Literals {
        match self.source.context.names().intersects(&LITERALS) {
            true => Literals::Some,
            false => Literals::None,
        }
    }

    /// Whether a value of the context is empty, so that the enriched mode uses another source.
    fn is_unusable(&self, target: ContextValue, value: Value) -> bool {
        let text = self.source.context_text;
        match target {
            ContextValue::Pathname | ContextValue::Os | ContextValue::DeviceType => {
                !usable::is_text(value, text)
            }
            _ => usable::is_undefined_text(value, text),
        }
    }

    /// Writes the skipped values of the context that nothing has replaced, as the reference does. Omits a
    /// placeholder text such as `undefined`.
    pub(super) fn write_left_over(&mut self) {
        if let (Some(_), Some(campaign)) = (&self.campaign_left, self.campaign()) {
            self.write_campaign_values(campaign, CampaignPass::Left);
        }
        if !self.mapped.has_left() {
            return;
        }
        let text = self.source.context_text;
        for path in &MAPPED {
            let ((literal, _), _, target) = *path;
            let property = target.property();
            if !self.mapped.is_left(target) || self.caller_has(property) {
                continue;
            }
            let value = self.mapped_value(path, self.literals());
            if let Some(value) = value.filter(|value| !usable::is_undefined_text(*value, text)) {
                self.note(target);
                self.key(property, ValueOrigin::Under("context", literal.as_bytes()));
                self.out.span(text, value.span);
            }
        }
    }

    pub(super) fn note(&mut self, target: ContextValue) {
        self.mapped.note(target);
        self.taken.add(target.property());
    }

    /// Whether another value replaces the context's value.
    fn is_overridden(&self, target: ContextValue) -> bool {
        match target {
            ContextValue::Ip => self.settled.ip.is_some(),
            ContextValue::CurrentUrl => self.moved.url.is_some(),
            ContextValue::DeviceType => {
                self.is_enriched() && self.inputs.mapping.device_type == DeviceTypes::PostHog
            }
            _ => false,
        }
    }

    pub(super) fn write_unusable_time(&mut self) {
        let Some(time) = self.plan.unusable_time else {
            return;
        };
        let context = self.source.context;
        let taken = context.named(name!("original_timestamp")).is_some();
        // Drop an array or object instead of a time, because it could have any size.
        let scalar = !matches!(time.shape, Shape::Array | Shape::Object);
        if scalar && !taken && !self.caller_has(ORIGINAL_TIMESTAMP) {
            self.copy(
                ORIGINAL_TIMESTAMP,
                Some(time),
                ValueOrigin::Fixed("timestamp, which cannot be read"),
            );
        }
    }
}
