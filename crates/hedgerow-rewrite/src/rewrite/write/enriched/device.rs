//! Writes the properties of the browser, system, device, app and network (mapping 5.2).

use std::borrow::Cow;

use super::super::super::enrich::ids::usable_device;
use super::super::super::enrich::user_agent::{
    self, Brand, ClientHints, Mobile, Screen, UserAgent,
};
use super::super::super::explain::ValueOrigin;
use super::super::super::identity::Id;
use super::super::super::json::{name, Names, Scanner, Scratch, Shape, Value};
use super::super::super::library::LibraryKind;
use super::super::super::mapping::{DeviceTypes, Mode};
use super::super::super::message::{find, ContextObject};
use super::super::super::usable;
use super::super::presence::ContextValue;
use super::{Escapes, Properties};

const USER_AGENT: ValueOrigin<'static> =
    ValueOrigin::Fixed("context.userAgent, parsed as posthog-js does");

/// The parts of a context that describe a device or an app.
const OF_A_DEVICE: Names = Names::of(&["device", "app", "network", "screen"]);

/// A key as text, and its name in the table of known names.
macro_rules! key_and_name {
    ($key:literal) => {
        ($key, name!($key))
    };
}

impl<'t> Properties<'_, '_, '_, 't> {
    pub(super) fn write_device(&mut self) {
        self.write_device_type();
        let os_version = self.inner(ContextObject::Os, name!("version"));
        self.add_context(
            name!("$os_version"),
            os_version,
            ValueOrigin::Fixed("context.os.version"),
        );
        let has_os_version =
            os_version.is_some_and(|version| usable::is_word(version, self.source.context_text));
        self.write_user_agent(has_os_version);
        if self.source.context.names().intersects(&OF_A_DEVICE) {
            self.write_parts_of_device();
        }
        for ((key, name), property) in [
            (key_and_name!("locale"), name!("$locale")),
            (key_and_name!("timezone"), name!("$timezone")),
        ] {
            let value = self.source.context.named(name);
            self.add_text(
                property,
                value,
                ValueOrigin::Under("context", key.as_bytes()),
            );
        }
    }

    /// Writes the values that apps send about their device, network and themselves.
    fn write_parts_of_device(&mut self) {
        for (inner, (key, name), property) in [
            (
                ContextObject::Device,
                key_and_name!("manufacturer"),
                name!("$device_manufacturer"),
            ),
            (
                ContextObject::Device,
                key_and_name!("name"),
                name!("$device_name"),
            ),
            (
                ContextObject::App,
                key_and_name!("name"),
                name!("$app_name"),
            ),
            (
                ContextObject::App,
                key_and_name!("namespace"),
                name!("$app_namespace"),
            ),
            (
                ContextObject::Network,
                key_and_name!("carrier"),
                name!("$network_carrier"),
            ),
        ] {
            self.add_text(property, self.inner(inner, name), origin_of(inner, key));
        }
        for ((key, name), property) in [
            (key_and_name!("version"), name!("$app_version")),
            (key_and_name!("build"), name!("$app_build")),
        ] {
            let value = self.inner(ContextObject::App, name);
            self.add_context(property, value, origin_of(ContextObject::App, key));
        }
        let density = self.inner(ContextObject::Screen, name!("density"));
        let density = density.filter(|density| self.number(*density).is_some_and(|n| n > 0.0));
        self.add_context(
            name!("$screen_density"),
            density,
            origin_of(ContextObject::Screen, "density"),
        );
        for ((key, name), property) in [
            (key_and_name!("wifi"), name!("$network_wifi")),
            (key_and_name!("cellular"), name!("$network_cellular")),
            (key_and_name!("bluetooth"), name!("$network_bluetooth")),
        ] {
            let switch = self.inner(ContextObject::Network, name);
            self.add_switch(property, switch, origin_of(ContextObject::Network, key));
        }
    }

    pub(super) fn write_device_id(&mut self) {
        let context_utf8 = self.source.context_utf8;
        let id = self.inner(ContextObject::Device, name!("id"));
        let id = Id::of_utf8(id, context_utf8, Mode::Enriched);
        let id = id.text(context_utf8);
        if let Some(id) = id.as_deref().and_then(usable_device) {
            return self.add_any(
                name!("$device_id"),
                &id,
                ValueOrigin::Fixed("context.device.id"),
            );
        }
        if self.library == LibraryKind::Browser {
            if let Some(anonymous_id) = self.settled.visitor(self.source.utf8) {
                let escapes = Escapes::of(&anonymous_id);
                self.add(
                    name!("$device_id"),
                    &anonymous_id,
                    escapes,
                    ValueOrigin::Fixed("anonymousId"),
                );
            }
        }
    }

    fn write_user_agent(&mut self, has_os_version: bool) {
        let text = self.source.context_text;
        let model = self.inner(ContextObject::Device, name!("model"));
        let model = model.filter(|model| usable::is_text(*model, text));
        let user_agent_text = self.user_agent_text();
        let escapes = user_agent_text.as_ref().map_or(Escapes::None, Escapes::of);
        let user_agent_text = user_agent_text.as_deref();
        let Some(user_agent) = user_agent_text.filter(|text| self.is_of_a_visitor(text)) else {
            self.add_context(
                name!("$device_model"),
                model,
                ValueOrigin::Fixed("context.device.model"),
            );
            return self.add_raw_user_agent(user_agent_text, escapes);
        };
        let parsed = self.inputs.user_agents.parse(user_agent);
        let platform = self.inner_text(ContextObject::UserAgentData, name!("platform"));
        let platform_version =
            self.inner_text(ContextObject::UserAgentData, name!("platformVersion"));
        let hinted_model = self.inner_text(ContextObject::UserAgentData, name!("model"));
        let mut hints = ClientHints {
            platform: platform.as_deref(),
            platform_version: platform_version.as_deref(),
            model: hinted_model.as_deref(),
            mobile: self.mobile(),
            screen: self.screen(),
            brand: Brand::default(),
        };
        self.see_brands(&mut hints);
        self.add_context(
            name!("$device_model"),
            model,
            ValueOrigin::Fixed("context.device.model"),
        );
        self.add_parsed(&parsed, &hints, has_os_version, model.is_some());
        if let Some(app) = parsed.webview_app {
            self.add(name!("$webview_app"), app, Escapes::None, USER_AGENT);
        }
        if let Some(version) = &parsed.webview_app_version {
            self.add_any(name!("$webview_app_version"), version, USER_AGENT);
        }
        self.add_raw_user_agent(user_agent_text, escapes);
    }

    /// Adds the raw user agent, also if it is a server's own: PostHog recognises bots by it.
    fn add_raw_user_agent(&mut self, user_agent: Option<&str>, escapes: Escapes) {
        if let Some(user_agent) = user_agent {
            let raw = user_agent::raw(user_agent);
            self.add(
                name!("$raw_user_agent"),
                &raw,
                escapes,
                ValueOrigin::Fixed("context.userAgent"),
            );
        }
    }

    fn add_parsed(
        &mut self,
        parsed: &UserAgent,
        hints: &ClientHints<'_>,
        has_os_version: bool,
        has_model: bool,
    ) {
        let known = parsed.refined(hints);
        // The system that the SDK or the caller names takes precedence over the user agent's.
        let sdk_knows_os = self.mapped.has(ContextValue::Os) || self.caller_has(name!("$os"));
        let names_browser = self.moved.browser.is_some() || self.caller_has(name!("$browser"));
        if let Some(browser) = known.browser {
            self.add(name!("$browser"), browser, Escapes::None, USER_AGENT);
        }
        // The user agent's version would be wrong if the named browser is another one.
        if let (Some(version), false) = (known.browser_version, names_browser) {
            self.add_json(name!("$browser_version"), version, USER_AGENT);
        }
        if let (Some(os), false) = (known.os, sdk_knows_os) {
            self.add(name!("$os"), os, Escapes::None, USER_AGENT);
        }
        if let (Some(version), false, false) = (known.os_version, sdk_knows_os, has_os_version) {
            self.add_any(name!("$os_version"), version, USER_AGENT);
        }
        if let Some(device) = known.device {
            self.add(name!("$device"), device, Escapes::None, USER_AGENT);
        }
        if let (Some(kind), false) = (known.device_type, self.overrides_device_type()) {
            self.add(name!("$device_type"), kind, Escapes::None, USER_AGENT);
        }
        if let (Some(model), false) = (known.device_model, has_model) {
            self.add_any(
                name!("$device_model"),
                model,
                ValueOrigin::Fixed("context.userAgentData.model"),
            );
        }
    }

    fn user_agent_text(&self) -> Option<Cow<'t, str>> {
        let own = self.context_text_of(name!("userAgent"));
        own.or_else(|| self.settled.user_agent.map(|text| text.to_owned().into()))
    }

    /// Whether a user agent belongs to a browser or a phone. A server's own reveals nothing about users.
    fn is_of_a_visitor(&self, user_agent: &str) -> bool {
        self.library != LibraryKind::Server || user_agent.starts_with("Mozilla/")
    }

    fn mobile(&self) -> Option<Mobile> {
        match self
            .inner(ContextObject::UserAgentData, name!("mobile"))?
            .shape
        {
            Shape::True => Some(Mobile::Yes),
            Shape::False => Some(Mobile::No),
            _ => None,
        }
    }

    fn screen(&self) -> Option<Screen> {
        Some(Screen {
            width: self.number(self.inner(ContextObject::Screen, name!("width"))?)?,
            height: self.number(self.inner(ContextObject::Screen, name!("height"))?)?,
            density: self
                .inner(ContextObject::Screen, name!("density"))
                .and_then(|density| self.number(density)),
        })
    }

    fn number(&self, value: Value) -> Option<f64> {
        if value.shape != Shape::Number {
            return None;
        }
        std::str::from_utf8(value.of(self.source.context_text))
            .ok()?
            .parse()
            .ok()
    }

    /// Reads the brands. Only Brave's adds anything to the user agent.
    fn see_brands(&self, hints: &mut ClientHints<'_>) {
        let Some(brands) = self.inner(ContextObject::UserAgentData, name!("brands")) else {
            return;
        };
        let text = brands.of(self.source.context_text);
        let names_brave = |at: usize| {
            text.get(at..)
                .is_some_and(|rest| rest.starts_with(b"Brave\""))
        };
        if brands.shape != Shape::Array || !memchr::memchr_iter(b'B', text).any(names_brave) {
            return;
        }
        let mut scratch = Scratch::default();
        let mut scanner = Scanner::new(text, &mut scratch);
        let mut before = scanner.expect(b'[');
        let mut entries = Vec::new();
        while before.is_ok() && scanner.peek() != Some(b']') {
            entries.clear();
            if scanner.value_with_entries(&mut entries).is_err() {
                return;
            }
            if let Some(brand) = find(&entries, text, "brand").filter(|brand| brand.is_string()) {
                hints.see_brand(&brand.decode(text));
            }
            before = scanner.expect(b',');
        }
    }

    fn overrides_device_type(&self) -> bool {
        self.inputs.mapping.device_type == DeviceTypes::PostHog
            && self
                .inner_text(ContextObject::Device, name!("type"))
                .is_some()
    }

    /// Writes `$device_type` in PostHog's words, if the mapping selects them instead of Segment's.
    fn write_device_type(&mut self) {
        if !self.overrides_device_type() {
            return;
        }
        let Some(device_type) = self.inner_text(ContextObject::Device, name!("type")) else {
            return;
        };
        let model = self
            .inner_text(ContextObject::Device, name!("model"))
            .unwrap_or_default();
        // A phone's shorter side is below this many points. posthog-js uses the same limit.
        const TABLET: f64 = 600.0;
        let tablet = model.starts_with("iPad")
            || self.screen().is_some_and(|screen| {
                screen.width.min(screen.height) / screen.density.unwrap_or(1.0).max(1.0) >= TABLET
            });
        let kind = match device_type.to_ascii_lowercase().as_str() {
            "ios" | "android" if tablet => "Tablet",
            "ios" | "android" => "Mobile",
            _ => &device_type,
        };
        self.add_any(
            name!("$device_type"),
            kind,
            ValueOrigin::Fixed("context.device, in PostHog's words"),
        );
    }
}

fn origin_of(inner: ContextObject, key: &str) -> ValueOrigin<'_> {
    ValueOrigin::Under(inner.path(), key.as_bytes())
}
