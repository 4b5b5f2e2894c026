//! The needs of a page's Content-Security-Policy.

use super::page::{Page, ProxyAddress};

/// The directives that the snippet needs, one a line. Directives that a page has already get these
/// sources in addition.
///
/// The inline script needs a nonce (or a separate file). Replay compresses in a worker created from
/// a blob; surveys add inline styles.
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
