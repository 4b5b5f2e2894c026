//! Modules for pages that bundle the libraries themselves.

use super::super::page_sessions::PageSessions;
use super::super::settings::KeyForm;
use super::{literal, options, AnalyticsPart, HandOver, Home, Page, PostHogPart, Types};

/// A module for npm, in TypeScript: `@segment/analytics-next` and `posthog-js` from the site's own
/// bundle. It reports the first page itself.
///
/// The settings stand in the module, so that nothing has to be asked for before events can go, and
/// no write key appears in an address.
pub fn npm(page: &Page) -> String {
    let call = page_call(page).map_or(String::new(), |call| {
        format!("\nstart().then(() => {call})\n")
    });
    format!("{}\n{}{}{call}", imports(page), start(page), sessions(page))
}

/// A file for Next.js with the app router, `app/analytics.tsx`: put `<Analytics />` into the root
/// layout. It runs in the browser only and reports a page for every route.
pub fn next_js(page: &Page) -> String {
    let call = page_call(page).unwrap_or("undefined");
    format!(
        "'use client'

import {{ useEffect }} from 'react'
import {{ usePathname }} from 'next/navigation'
{imports}
{start}{sessions}
export function Analytics() {{
  const pathname = usePathname()
  useEffect(() => {{
    start().then(() => {call})
  }}, [pathname])
  return null
}}
",
        imports = imports(page),
        start = start(page),
        sessions = sessions(page),
    )
}

fn imports(page: &Page) -> String {
    let mut text = String::new();
    if page.analytics.is_some() {
        text.push_str("import { AnalyticsBrowser } from '@segment/analytics-next'\n");
    }
    if page.posthog.is_some() {
        text.push_str("import posthog from 'posthog-js' // 1.416.0 or later\n");
    }
    text
}

/// What keeps the visitor's session; a bundled library has no loader of ours that does.
fn sessions(page: &Page) -> String {
    let module = page.analytics.as_ref().map(|part| part.sessions);
    match module.and_then(PageSessions::in_a_module) {
        Some((functions, _)) => format!("\n{functions}"),
        None => String::new(),
    }
}

/// The call that reports a page.
fn page_call(page: &Page) -> Option<&'static str> {
    match (&page.analytics, &page.posthog) {
        (Some(_), _) => Some("analytics.page()"),
        // posthog-js alone sees pages by itself.
        _ => None,
    }
}

/// The function that starts everything once. Its promise is there when both libraries know the
/// visitor, after three seconds at the latest.
fn start(page: &Page) -> String {
    let mut text = String::new();
    if page.analytics.is_some() {
        text.push_str("export const analytics = new AnalyticsBrowser()\n");
    }
    text.push_str("let started: Promise<void> | undefined\n\nfunction start(): Promise<void> {\n  if (started) return started\n");
    if let Some(analytics) = &page.analytics {
        if let Some((_, listens)) = analytics.sessions.in_a_module() {
            text.push_str(&format!("  {listens}\n"));
        }
        text.push_str(&load_analytics(page, analytics));
    }
    match (&page.analytics, &page.posthog) {
        (Some(_), Some(posthog)) => {
            let hand_over = HandOver {
                // The types of the two packages do not know each other.
                analytics: "analytics as any",
                anonymous_id: "analytics.instance?.user().anonymousId()",
                loaded: "() => resolve()",
            };
            text.push_str(&format!(
                "  started = new Promise((resolve) => {{
    analytics.ready(() => {{
      posthog.init({key}, {options})
    }})
    setTimeout(resolve, 3000)
  }})
",
                key = literal(&posthog.api_key),
                options = options(page, posthog, Some(hand_over), Types::TypeScript, "      "),
            ));
        }
        (_, posthog) => {
            if let Some(posthog) = posthog {
                text.push_str(&init_posthog(page, posthog));
            }
            text.push_str("  started = Promise.resolve()\n");
        }
    }
    text.push_str("  return started\n}\n");
    if page.analytics.is_none() {
        text.push_str("\nstart()\n");
    }
    text
}

fn load_analytics(page: &Page, analytics: &AnalyticsPart) -> String {
    let calls = analytics.layout.calls_path();
    let (host, protocol) = match &page.home {
        Home::SameHost => (
            format!("location.host + {}", literal(&calls)),
            "location.protocol.slice(0, -1) as 'http' | 'https'".to_owned(),
        ),
        Home::OtherHost(origin) => {
            let (scheme, host) = origin.split_once("://").unwrap_or(("https", origin));
            let host = host.trim_end_matches('/');
            (literal(&format!("{host}{calls}")), literal(scheme))
        }
    };
    let api_key = match analytics.key_form {
        KeyForm::Sent => format!("apiKey: {}, ", literal(&analytics.write_key)),
        KeyForm::LeftOut => String::new(),
    };
    format!(
        "  const apiHost = {host}
  const protocol = {protocol}
  analytics.load({{
    writeKey: {key},
    cdnURL: {cdn},
    cdnSettings: {{
      integrations: {{ 'Segment.io': {{ {api_key}apiHost, protocol }} }},
      metrics: {{ sampleRate: 0, host: apiHost, protocol }},
    }},
  }})
",
        key = literal(&analytics.write_key),
        cdn = literal(&format!(
            "{}{}",
            page.home.origin(),
            analytics.layout.prefix()
        )),
    )
}

fn init_posthog(page: &Page, posthog: &PostHogPart) -> String {
    format!(
        "  posthog.init({}, {})\n",
        literal(&posthog.api_key),
        options(page, posthog, None, Types::TypeScript, "  ")
    )
}
