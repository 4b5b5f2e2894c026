//! Modules for pages that bundle the libraries themselves.

use super::{literal, options, AnalyticsPart, Home, Page, PostHogPart, Types};

/// A module for npm: `@segment/analytics-next` and `posthog-js` from the site's own bundle.
///
/// The settings stand in the module, so that nothing has to be asked for before events can go, and
/// no write key appears in an address.
pub fn npm(page: &Page) -> String {
    let mut text = String::new();
    if page.analytics.is_some() {
        text.push_str("import { AnalyticsBrowser } from '@segment/analytics-next'\n");
    }
    if page.posthog.is_some() {
        text.push_str("import posthog from 'posthog-js' // 1.416.0 or later\n");
    }
    text.push('\n');
    text.push_str(&body(page, ""));
    text
}

/// A file for Next.js with the app router, `app/analytics.tsx`: put `<Analytics />` into the root
/// layout. It runs in the browser only and reports a page for every route.
pub fn next_js(page: &Page) -> String {
    let mut text = String::from(
        "'use client'\n\nimport { useEffect } from 'react'\nimport { usePathname } from 'next/navigation'\n",
    );
    if page.analytics.is_some() {
        text.push_str("import { AnalyticsBrowser } from '@segment/analytics-next'\n");
    }
    if page.posthog.is_some() {
        text.push_str("import posthog from 'posthog-js' // 1.416.0 or later\n");
    }
    text.push('\n');
    if page.analytics.is_some() {
        text.push_str("export const analytics = new AnalyticsBrowser()\n");
    }
    text.push_str(
        "let started = false\n\nfunction start() {\n  if (started) return\n  started = true\n",
    );
    let calls = body(page, "  ").replace("  export const analytics = new AnalyticsBrowser()\n", "");
    text.push_str(&calls);
    let seen = match (&page.analytics, &page.posthog) {
        (Some(_), _) => "    analytics.page()\n",
        (None, Some(_)) => "    posthog.capture('$pageview')\n",
        (None, None) => "",
    };
    text.push_str(&format!(
        "}}\n\nexport function Analytics() {{\n  const pathname = usePathname()\n  useEffect(() => {{\n    \
         start()\n{seen}  }}, [pathname])\n  return null\n}}\n"
    ));
    text
}

fn body(page: &Page, indent: &str) -> String {
    let mut text = String::new();
    if let Some(analytics) = &page.analytics {
        text.push_str(&load_analytics(page, analytics, indent));
    }
    if let Some(posthog) = &page.posthog {
        text.push_str(&init_posthog(page, posthog, indent));
    }
    text
}

fn load_analytics(page: &Page, analytics: &AnalyticsPart, indent: &str) -> String {
    let origin = page.home.origin();
    let (host, protocol) = match &page.home {
        Home::SameHost => (
            format!(
                "location.host + {}",
                literal(&analytics.layout.calls_path())
            ),
            "location.protocol.slice(0, -1) as 'http' | 'https'".to_owned(),
        ),
        Home::OtherHost(origin) => {
            let (scheme, host) = origin.split_once("://").unwrap_or(("https", origin));
            let host = host.trim_end_matches('/');
            (
                literal(&format!("{host}{}", analytics.layout.calls_path())),
                literal(scheme),
            )
        }
    };
    let lines = [
        "export const analytics = new AnalyticsBrowser()".to_owned(),
        format!("const apiHost = {host}"),
        format!("const protocol = {protocol}"),
        "analytics.load({".to_owned(),
        format!("  writeKey: {},", literal(&analytics.write_key)),
        format!(
            "  cdnURL: {},",
            literal(&format!("{origin}{}", analytics.layout.prefix()))
        ),
        "  cdnSettings: {".to_owned(),
        format!(
            "    integrations: {{ 'Segment.io': {{ apiKey: {}, apiHost, protocol }} }},",
            literal(&analytics.write_key)
        ),
        "    metrics: { sampleRate: 0, host: apiHost },".to_owned(),
        "  },".to_owned(),
        "})".to_owned(),
    ];
    lines
        .iter()
        .map(|line| format!("{indent}{line}\n"))
        .collect()
}

fn init_posthog(page: &Page, posthog: &PostHogPart, indent: &str) -> String {
    // The package declares the type for the object on `window`; the one from npm has the same calls.
    let segment = page.analytics.as_ref().map(|_| "analytics as any");
    format!(
        "{indent}posthog.init({}, {})\n",
        literal(&posthog.api_key),
        options(page, posthog, segment, None, Types::TypeScript, indent)
    )
}
