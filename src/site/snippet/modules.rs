//! Modules for pages that bundle the libraries themselves.

use super::super::page_sessions::PageSessions;
use super::super::settings::KeyForm;
use super::super::unanswered;
use super::literal::literal;
use super::options::{options, HandOver, Types};
use super::page::{AnalyticsPart, Page, PostHogPart, ProxyAddress};

/// Returns the module in TypeScript. It imports `@segment/analytics-next` and `posthog-js` from the
/// site's own bundle, and exports `reportPage`, which starts them.
///
/// The module contains the settings, so events wait for no other request, and no write key appears
/// in an address.
pub(super) fn module(page: &Page, more_imports: &str) -> String {
    format!(
        "{more_imports}{imports}
{start}{helpers}{report}",
        imports = imports(page),
        start = start(page),
        helpers = helpers(page),
        report = report_page(page),
    )
}

/// Returns the function that routers call for each route. It reports a path only if the last reported
/// path was another one.
fn report_page(page: &Page) -> String {
    format!(
        "
let reported = ''

export function reportPage(): void {{
  if (location.pathname === reported) return
  reported = location.pathname
  {}
}}
",
        page_report(page)
    )
}

/// Returns the module for Next.js: a component that reports a page when the route changes. It runs
/// only in the browser.
pub(super) fn next_module(page: &Page) -> String {
    format!(
        "import {{ useEffect }} from 'react'
import {{ usePathname }} from 'next/navigation'
{imports}
{start}{helpers}
export function Analytics() {{
  const pathname = usePathname()
  useEffect(() => {{
    {report}
  }}, [pathname])
  return null
}}
",
        imports = imports(page),
        start = start(page),
        helpers = helpers(page),
        report = page_report(page),
    )
}

/// Returns the command that installs the packages that the module imports.
pub(super) fn installs(page: &Page) -> String {
    let mut text = "npm install".to_owned();
    if page.analytics.is_some() {
        text.push_str(" @segment/analytics-next");
    }
    if page.posthog.is_some() {
        text.push_str(" posthog-js");
    }
    text
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

/// Returns the functions that count failures and keep the visitor's session. For a bundled library no
/// loader of Hedgerow's does this.
fn helpers(page: &Page) -> String {
    let mut text = format!("\n{}", unanswered::in_a_module());
    let module = page.analytics.as_ref().map(|part| part.sessions);
    if let Some((functions, _)) = module.and_then(PageSessions::in_a_module) {
        text.push_str(&format!("\n{functions}"));
    }
    text
}

/// Returns the statement that reports a page.
pub(super) fn page_report(page: &Page) -> &'static str {
    match (&page.analytics, &page.posthog) {
        (Some(_), _) => "start().then(() => analytics.page())",
        // If posthog-js is the only library, it reports pages itself.
        _ => "start()",
    }
}

/// Returns the function that starts the libraries once. With both libraries its promise resolves when
/// both know the visitor, or after three seconds.
fn start(page: &Page) -> String {
    let mut text = String::new();
    if page.analytics.is_some() {
        text.push_str("export const analytics = new AnalyticsBrowser()\n");
    }
    text.push_str("let started: Promise<void> | undefined\n\nfunction start(): Promise<void> {\n  if (started) return started\n");
    if let Some(analytics) = &page.analytics {
        if let Some((_, listener)) = analytics.sessions.in_a_module() {
            text.push_str(&format!("  {listener}\n"));
        }
        text.push_str(&load_analytics(page, analytics));
    }
    if let Some(posthog) = &page.posthog {
        let place = page.home.place(&format!("{}/", posthog.prefix));
        text.push_str(&format!("  watchAnswers({place})\n"));
    }
    match (&page.analytics, &page.posthog) {
        (Some(_), Some(posthog)) => {
            let hand_over = HandOver {
                // The types of the two packages are not compatible.
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
    text
}

fn load_analytics(page: &Page, analytics: &AnalyticsPart) -> String {
    let host = page.home.place(&analytics.layout.calls_path());
    let protocol = match &page.home {
        ProxyAddress::SameHost => "location.protocol.slice(0, -1) as 'http' | 'https'".to_owned(),
        ProxyAddress::OtherHost(origin) => literal(
            origin
                .split_once("://")
                .map_or("https", |(scheme, _)| scheme),
        ),
    };
    let api_key = match analytics.key_form {
        KeyForm::Sent => format!("apiKey: {}, ", literal(&analytics.write_key)),
        KeyForm::LeftOut => String::new(),
    };
    format!(
        "  const apiHost = {host}
  const protocol = {protocol}
  watchAnswers(apiHost + '/')
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
