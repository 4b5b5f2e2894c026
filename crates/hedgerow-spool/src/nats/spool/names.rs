//! Encodes a project's name as one token, for the names of subjects and consumers.

/// Returns a project's name as one token of a subject. Every byte except ASCII letters, digits, `-` and
/// `_` becomes `=` and two hex digits, because dots and wildcards have a meaning in a subject.
pub(super) fn token(project: &str) -> String {
    let mut token = String::with_capacity(project.len());
    for byte in project.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02X}"));
        }
    }
    token
}

/// Returns the project's name of a token, or `None` for an invalid token.
pub(super) fn project(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut parts = token.split('=');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (byte, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(byte, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_project_name_survives_as_one_token() {
        for name in ["shop", "my.shop", "a b*c>d", "läden=1", "", "="] {
            let token = token(name);
            assert!(
                token
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte)),
                "{token}"
            );
            assert_eq!(project(&token).as_deref(), Some(name), "{token}");
        }
        assert_eq!(project("a=4"), None);
        assert_eq!(project("a=zz"), None);
    }
}
