//! The text to paste for each kind of page: the tag or a module, with a comment that names the file.

use super::html::tag;
use super::modules::{installs, module, next_module};
use super::page::Page;

/// The technology of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Plain HTML, or a program that generates it.
    Html,
    /// A bundler, for pages that the browser loads one by one.
    Npm,
    /// Next.js, with the app router or the pages router.
    Next,
    /// Nuxt 3 or 4.
    Nuxt,
    /// Vue with or without its router.
    Vue,
    /// SvelteKit.
    Svelte,
    /// A tag in Google Tag Manager.
    Gtm,
    /// A WordPress plug-in in one file.
    WordPress,
}

/// Returns the text to paste for a kind of page. A comment in it names the place, except for plain
/// HTML, whose tag belongs in the head.
pub fn snippet_for(page: &Page, kind: PageKind) -> String {
    match kind {
        PageKind::Html => tag(page, None),
        PageKind::Npm => npm(page),
        PageKind::Next => next(page),
        PageKind::Nuxt => nuxt(page),
        PageKind::Vue => vue(page),
        PageKind::Svelte => svelte(page),
        PageKind::Gtm => gtm(page),
        PageKind::WordPress => wordpress(page),
    }
}

/// Returns a module that reports the page itself.
fn npm(page: &Page) -> String {
    format!(
        "// Save this as src/analytics.ts, and import it once where the page's own script begins:
//   import './analytics'
// It needs: {}
{}
reportPage()
",
        installs(page),
        module(page, "")
    )
}

fn next(page: &Page) -> String {
    format!(
        "'use client'

// Save this as app/analytics.tsx. In app/layout.tsx, as the first child of <body>:
//   import {{ Analytics }} from './analytics'
//   <Analytics />
// With the pages router, save it as analytics.tsx beside the folder pages, and put <Analytics /> beside
// <Component /> in pages/_app.tsx.
// It needs: {}
{}",
        installs(page),
        next_module(page)
    )
}

fn nuxt(page: &Page) -> String {
    let provided = match (&page.analytics, &page.posthog) {
        (Some(_), Some(_)) => "analytics, posthog",
        (Some(_), None) => "analytics",
        _ => "posthog",
    };
    format!(
        "// Save this as plugins/analytics.client.ts; in Nuxt 4 as app/plugins/analytics.client.ts. Nuxt finds
// it there by itself; in components, useNuxtApp() has what it provides with a $ in front.
// It needs: {}
{}
export default defineNuxtPlugin(() => {{
  reportPage()
  useRouter().afterEach(() => reportPage())
  return {{ provide: {{ {provided} }} }}
}})
",
        installs(page),
        module(page, "import { defineNuxtPlugin, useRouter } from '#imports'\n"),
    )
}

fn vue(page: &Page) -> String {
    format!(
        "// Save this as src/analytics.ts. In src/main.ts:
//   import {{ reportPage }} from './analytics'
//   reportPage()
//   router.afterEach(() => reportPage())     // with vue-router
// It needs: {}
{}",
        installs(page),
        module(page, "")
    )
}

fn svelte(page: &Page) -> String {
    format!(
        "// Save this as src/lib/analytics.ts. In the script of src/routes/+layout.svelte:
//   import {{ afterNavigate }} from '$app/navigation'
//   import {{ reportPage }} from '$lib/analytics'
//   afterNavigate(() => reportPage())
// It needs: {}
{}",
        installs(page),
        module(page, "")
    )
}

fn gtm(page: &Page) -> String {
    format!(
        "<!-- Google Tag Manager: Tags, New, Custom HTML; paste this; trigger: Initialization - All Pages.
     Blockers keep Tag Manager itself from loading, and this with it: a tag in the page's own head
     reaches more visitors. -->
{}",
        tag(page, None)
    )
}

fn wordpress(page: &Page) -> String {
    format!(
        "<?php
/*
 * Plugin Name: First-party events
 * Save this as wp-content/mu-plugins/first-party-events.php, and make the folder mu-plugins if there is
 * none. WordPress runs what lies there by itself.
 */
add_action('wp_head', function () {{
    echo <<<'PAGE'
{}PAGE;
}}, 1);
",
        tag(page, None)
    )
}
