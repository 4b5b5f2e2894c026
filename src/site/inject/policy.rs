//! Decides whether a page's Content-Security-Policy allows an inline script (CSP3, 6.6 and 6.7).

use http::header::{self, HeaderMap};

/// The inline scripts that the page's policies allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InlineScript {
    /// An inline script runs without a nonce.
    Allowed,
    /// An inline script needs this nonce.
    WithNonce(String),
    /// The policies forbid every inline script that Hedgerow could write.
    Forbidden,
}

/// Reads every policy in an answer's headers. The script runs only if each policy allows it.
pub fn inline_script(headers: &HeaderMap) -> InlineScript {
    let policies: Vec<&str> = headers
        .get_all(header::CONTENT_SECURITY_POLICY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    let mut candidates: Option<Vec<&str>> = None;
    for policy in policies {
        let Some(sources) = script_sources(policy) else {
            continue;
        };
        match rule(&sources) {
            InlineRule::Allowed => {}
            InlineRule::Forbidden => return InlineScript::Forbidden,
            InlineRule::Nonces(nonces) => {
                let common = match candidates {
                    None => nonces,
                    Some(before) => before
                        .into_iter()
                        .filter(|nonce| nonces.contains(nonce))
                        .collect(),
                };
                candidates = Some(common);
            }
        }
    }
    match candidates {
        None => InlineScript::Allowed,
        Some(nonces) => nonces.first().map_or(InlineScript::Forbidden, |nonce| {
            InlineScript::WithNonce((*nonce).to_owned())
        }),
    }
}

enum InlineRule<'a> {
    Allowed,
    Nonces(Vec<&'a str>),
    Forbidden,
}

fn rule<'a>(sources: &[&'a str]) -> InlineRule<'a> {
    let is = |source: &str, keyword: &str| source.eq_ignore_ascii_case(keyword);
    let nonces: Vec<&str> = sources
        .iter()
        .filter_map(|source| {
            let start = source.get(..7)?;
            let nonce = source.get(7..)?.strip_suffix('\'')?;
            start.eq_ignore_ascii_case("'nonce-").then_some(nonce)
        })
        .filter(|nonce| is_base64(nonce))
        .collect();
    if !nonces.is_empty() {
        return InlineRule::Nonces(nonces);
    }
    // With these sources browsers ignore 'unsafe-inline' (CSP3, 6.7.3.2).
    let stricter = sources.iter().any(|source| {
        is(source, "'strict-dynamic'")
            || ["'sha256-", "'sha384-", "'sha512-"].iter().any(|hash| {
                source
                    .get(..hash.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(hash))
            })
    });
    if !stricter && sources.iter().any(|source| is(source, "'unsafe-inline'")) {
        InlineRule::Allowed
    } else {
        InlineRule::Forbidden
    }
}

/// Returns the sources that the policy lists for script elements, from its most specific
/// directive. If that directive appears twice, the first one counts. Returns `None` if the policy
/// does not restrict scripts.
fn script_sources(policy: &str) -> Option<Vec<&str>> {
    ["script-src-elem", "script-src", "default-src"]
        .iter()
        .find_map(|wanted| {
            policy.split(';').find_map(|directive| {
                let mut words = directive.split_ascii_whitespace();
                words
                    .next()?
                    .eq_ignore_ascii_case(wanted)
                    .then(|| words.collect())
            })
        })
}

/// Returns whether the text can be a nonce: Base64 in either alphabet (CSP 3, `base64-value`).
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    !digits.is_empty() && text.len() - digits.len() <= 2 && digits.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn inline_script_of(policies: &[&'static str]) -> InlineScript {
        let mut headers = HeaderMap::new();
        for policy in policies {
            headers.append(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(policy),
            );
        }
        inline_script(&headers)
    }

    #[test]
    fn a_nonce_is_used_where_every_policy_has_it_and_a_closed_policy_stays_closed() {
        let nonce = |text: &str| InlineScript::WithNonce(text.to_owned());
        let rows: &[(&[&'static str], InlineScript)] = &[
            (&[], InlineScript::Allowed),
            (&["img-src 'self'"], InlineScript::Allowed),
            (&["default-src 'self'"], InlineScript::Forbidden),
            (&["script-src 'none'"], InlineScript::Forbidden),
            (&["script-src"], InlineScript::Forbidden),
            (
                &["script-src 'self' 'unsafe-inline'"],
                InlineScript::Allowed,
            ),
            (
                &["script-src 'unsafe-inline' 'strict-dynamic'"],
                InlineScript::Forbidden,
            ),
            (
                &["script-src 'unsafe-inline' 'sha256-abc='"],
                InlineScript::Forbidden,
            ),
            (&["script-src 'self' 'nonce-aGk='"], nonce("aGk=")),
            (&["Script-Src 'NONCE-aGk='; img-src x"], nonce("aGk=")),
            (&["script-src 'unsafe-inline' 'nonce-aGk='"], nonce("aGk=")),
            (&["default-src 'none'; script-src 'nonce-a'"], nonce("a")),
            (
                &["script-src 'self'; script-src-elem 'nonce-b'"],
                nonce("b"),
            ),
            (&["script-src 'nonce-a'; script-src 'none'"], nonce("a")),
            // A nonce with invalid syntax is no nonce for a browser either.
            (&["script-src 'nonce-a&b'"], InlineScript::Forbidden),
            (
                &["script-src 'unsafe-inline' 'nonce-{{n}}'"],
                InlineScript::Allowed,
            ),
            (
                &["script-src 'nonce-a' 'nonce-b'", "script-src 'nonce-b'"],
                nonce("b"),
            ),
            (
                &["script-src 'nonce-a', script-src 'nonce-b'"],
                InlineScript::Forbidden,
            ),
            (
                &["script-src 'nonce-a'", "default-src 'self'"],
                InlineScript::Forbidden,
            ),
            (&["script-src 'nonce-a'", "img-src 'self'"], nonce("a")),
            (&["script-src 'nonce-'"], InlineScript::Forbidden),
        ];
        for (policies, expected) in rows {
            assert_eq!(inline_script_of(policies), *expected, "{policies:?}");
        }
    }
}
