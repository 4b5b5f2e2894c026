//! The directives that the snippet needs in a page's Content-Security-Policy.

use super::page::{Page, ProxyAddress};

/// Returns the directives that the snippet needs, one per line. If a page's policy already has such a
/// directive, these sources are added to it.
///
/// The inline script needs a nonce, or has to be in a separate file. Replay compresses in a worker
/// that is created from a blob, and surveys add inline styles.
pub fn content_security_policy(page: &Page) -> String {
    let home = match &page.home {
        ProxyAddress::SameHost => "'self'",
        ProxyAddress::OtherHost(origin) => origin.trim_end_matches('/'),
    };
    let mut lines = vec![
        format!("script-src {home} 'nonce-RANDOM'"),
        format!("connect-src {home}"),
    ];
    if page.posthog.is_some() {
        lines.push("worker-src 'self' blob:".to_owned());
        lines.push("style-src 'self' 'unsafe-inline'".to_owned());
    }
    lines.join(";\n") + "\n"
}
