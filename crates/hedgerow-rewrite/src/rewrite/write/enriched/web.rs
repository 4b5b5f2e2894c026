//! Writes the properties of the page, its referrer, and the campaign that brought the visitor
//! (mapping 5.1).

use std::borrow::Cow;

use super::super::super::enrich::url::{
    referring_domain, search_keyword, Query, SearchEngine, Url,
};
use super::super::super::explain::ValueOrigin;
use super::super::super::json::{name, Shape, Value};
use super::super::super::library::LibraryKind;
use super::super::super::message::ContextObject;
use super::super::super::usable;
use super::{Escapes, Properties};
use crate::segment::Kind;

impl<'t> Properties<'_, '_, '_, 't> {
    /// Writes the name and category of a page or screen call.
    pub(in crate::rewrite::write) fn write_name(&mut self) {
        let message = self.source.message;
        if self.is_enriched() && matches!(self.plan.kind, Kind::Page | Kind::Screen) {
            self.add_own(name!("name"), message.name(), ValueOrigin::Fixed("name"));
            self.add_own(
                name!("category"),
                message.category(),
                ValueOrigin::Fixed("category"),
            );
        }
    }

    pub(super) fn write_page(&mut self) {
        if !self.plan.kind.has_properties() {
            return;
        }
        let current_url = self.current_url();
        let of_url = current_url.as_ref().map_or(Escapes::None, Escapes::of);
        let referrer = self.referrer();
        let page_title = self.inner(ContextObject::Page, name!("title"));
        self.add_text(
            name!("title"),
            page_title,
            ValueOrigin::Fixed("context.page.title"),
        );
        if let Some(url) = current_url.as_deref().and_then(Url::parse) {
            self.add(
                name!("$host"),
                url.host(),
                of_url,
                ValueOrigin::Fixed("the host of $current_url"),
            );
            if self.plan.kind == Kind::Page {
                let path = self.callers(name!("path"));
                self.add_own(
                    name!("$pathname"),
                    path.filter(|path| path.is_string()),
                    ValueOrigin::Fixed("properties.path"),
                );
            }
            self.add_after_pathname(url.pathname(), of_url);
        }
        if let Some(referrer) = referrer.as_deref() {
            if let Some(domain) = referring_domain(referrer) {
                self.add_any(
                    name!("$referring_domain"),
                    &domain,
                    ValueOrigin::Fixed("the host of $referrer"),
                );
            }
            if let Some(engine) = SearchEngine::of(referrer) {
                self.add_any(
                    name!("$search_engine"),
                    engine.name(),
                    ValueOrigin::Fixed("the host of $referrer"),
                );
                if let Some(keyword) = search_keyword(engine, referrer) {
                    self.add_any(
                        name!("ph_keyword"),
                        &keyword,
                        ValueOrigin::Fixed("the query of $referrer"),
                    );
                }
            }
        }
        self.write_url_parameters(current_url.as_deref(), of_url);
        self.write_viewport();
        if self.library == LibraryKind::Browser {
            if let Some(locale) = self.context_text_of(name!("locale")) {
                let escapes = Escapes::of(&locale);
                self.add(
                    name!("$browser_language"),
                    &locale,
                    escapes,
                    ValueOrigin::Fixed("context.locale"),
                );
                let prefix = locale.split('-').next().unwrap_or_default();
                self.add(
                    name!("$browser_language_prefix"),
                    prefix,
                    escapes,
                    ValueOrigin::Fixed("context.locale"),
                );
            }
        }
    }

    /// Adds `$pathname` from the URL, unless a page call's own path has just been written.
    fn add_after_pathname(&mut self, pathname: &str, escapes: Escapes) {
        let own = self.plan.kind == Kind::Page
            && self
                .callers(name!("path"))
                .is_some_and(|path| usable::is_text(path, self.source.text));
        if !own {
            self.add(
                name!("$pathname"),
                pathname,
                escapes,
                ValueOrigin::Fixed("the path of $current_url"),
            );
        }
    }

    /// Returns the URL that the event has as `$current_url`.
    pub(super) fn current_url(&self) -> Option<Cow<'t, str>> {
        let utf8: &'t str = self.source.utf8;
        let own = |value: Value| value.is_string().then(|| value.decode_str(utf8));
        if let Some(url) = self.moved.url {
            return own(url);
        }
        if let Some(url) = self.callers(name!("$current_url")) {
            return own(url);
        }
        let context_utf8: &'t str = self.source.context_utf8;
        let literal = self.source.context.named(name!("page.url"));
        let url = literal.or_else(|| self.inner(ContextObject::Page, name!("url")))?;
        url.is_string().then(|| url.decode_str(context_utf8))
    }

    /// Returns the URL that the event has as `$referrer`. Adds a page call's own referrer if there is
    /// no other.
    fn referrer(&mut self) -> Option<Cow<'t, str>> {
        let utf8: &'t str = self.source.utf8;
        if let Some(referrer) = self.callers(name!("$referrer")) {
            return referrer.is_string().then(|| referrer.decode_str(utf8));
        }
        let context_utf8: &'t str = self.source.context_utf8;
        let literal = self.source.context.named(name!("page.referrer"));
        let of_page = literal.or_else(|| self.inner(ContextObject::Page, name!("referrer")));
        let of_page = of_page.filter(|it| !usable::is_undefined_text(*it, context_utf8.as_bytes()));
        if let Some(referrer) = of_page {
            return referrer
                .is_string()
                .then(|| referrer.decode_str(context_utf8));
        }
        if self.plan.kind != Kind::Page {
            return None;
        }
        let referrer = self
            .callers(name!("referrer"))
            .filter(|referrer| referrer.is_string())?;
        self.add_own(
            name!("$referrer"),
            Some(referrer),
            ValueOrigin::Fixed("properties.referrer"),
        );
        Some(referrer.decode_str(utf8))
    }

    /// Writes the campaign parameters and click ids of the URL, or else of the page's search.
    fn write_url_parameters(&mut self, current_url: Option<&str>, mut escapes: Escapes) {
        let search;
        let mut query = Query::of(current_url.unwrap_or_default());
        let mut origin = ValueOrigin::Fixed("the query of $current_url");
        if query.is_empty() {
            search = self.inner_text(ContextObject::Page, name!("search"));
            query = Query::of(search.as_deref().unwrap_or_default());
            escapes = search.as_ref().map_or(Escapes::None, Escapes::of);
            origin = ValueOrigin::Fixed("context.page.search");
        }
        for parameter in query.campaign() {
            // A decoded value may contain any character.
            let escapes = escapes.max(Escapes::of(&parameter.value));
            self.add(parameter.property, &parameter.value, escapes, origin);
        }
    }

    fn write_viewport(&mut self) {
        for (key, inner, own) in [
            (
                name!("$viewport_width"),
                name!("innerWidth"),
                name!("viewport_width"),
            ),
            (
                name!("$viewport_height"),
                name!("innerHeight"),
                name!("viewport_height"),
            ),
        ] {
            let given = self.callers(own).filter(|value| is_number(*value));
            let screen = self
                .inner(ContextObject::Screen, inner)
                .filter(|value| is_number(*value));
            match screen {
                Some(screen) => {
                    self.add_context(key, Some(screen), ValueOrigin::Fixed("context.screen"))
                }
                None => self.add_own(
                    key,
                    given,
                    ValueOrigin::Under("properties", own.text().as_bytes()),
                ),
            }
        }
    }
}

fn is_number(value: Value) -> bool {
    value.shape == Shape::Number
}
