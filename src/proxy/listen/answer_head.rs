//! Corrects heads of answers that the framework writes wrongly and has no hook for.

/// The mark in the answers that the framework writes by itself, to heads that it cannot read.
const MARK: &[u8] = b"\r\nServer: Pingora\r\n";
/// The maximum length of such an answer, in bytes.
const ERROR: usize = 512;

/// Returns the bytes without the mark, if they are exactly one of the framework's own answers. There is
/// no hook for these, because they are written before there is a request that could be passed on.
fn without_mark(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > ERROR || !bytes.starts_with(b"HTTP/1.") || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let position = memchr::memmem::find(bytes, MARK)?;
    let empty = memchr::memmem::find(bytes, b"\r\nContent-Length: 0\r\n").is_some();
    let (before, rest) = bytes.split_at_checked(position)?;
    let after = rest.get(MARK.len() - 2..)?;
    empty.then(|| [before, after].concat())
}

/// The beginning of an answer that requires another protocol, whatever its reason phrase is.
const UPGRADE_REQUIRED: &[u8] = b"HTTP/1.1 426 ";

/// Returns the corrected head, if the framework wrote this one wrongly.
pub(super) fn corrected(bytes: &[u8]) -> Option<Vec<u8>> {
    without_mark(bytes).or_else(|| with_upgrade(bytes))
}

/// Adds `upgrade` to the `Connection` field of a head that names the required protocol in its `Upgrade`
/// field (RFC 9110, 7.8), because the framework overwrites that field.
fn with_upgrade(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(UPGRADE_REQUIRED) || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let is = |line: &[u8], name: &[u8]| {
        let start = line.split_at_checked(name.len());
        start.is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(name) && rest.first() == Some(&b':')
        })
    };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    lines.by_ref().find(|line| is(line, b"upgrade"))?;
    let mut position = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        position += line.len();
        if is(line, b"connection") {
            let (before, after) = bytes.split_at_checked(position.checked_sub(b"\r\n".len())?)?;
            return Some([before, b", upgrade", after].concat());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_frameworks_own_loses_its_mark() {
        let own = b"HTTP/1.1 400 Bad Request\r\nServer: Pingora\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\n\
            Content-Length: 0\r\nConnection: close\r\n\r\n";
        let left = without_mark(own).unwrap();
        let left = String::from_utf8(left).unwrap();
        assert!(left.starts_with("HTTP/1.1 400 Bad Request\r\nDate: "));
        assert!(left.ends_with("close\r\n\r\n"));
        for other in [
            &b"HTTP/1.1 200 OK\r\nServer: Pingora\r\nContent-Length: 2\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nServer: Pingora\r\nContent-Length: 0\r\n\r\nbody",
            b"a body with \r\nServer: Pingora\r\nContent-Length: 0\r\n\r\n",
            b"",
        ] {
            assert!(without_mark(other).is_none());
        }
    }

    #[test]
    fn an_answer_that_wants_another_protocol_says_so_of_its_connection() {
        let head = b"HTTP/1.1 426 Upgrade Required\r\nconnection: keep-alive\r\nUpgrade: x\r\n\r\n";
        let corrected = String::from_utf8(corrected(head).unwrap()).unwrap();
        assert!(corrected.contains("\r\nconnection: keep-alive, upgrade\r\nUpgrade: x\r\n"));
        for other in [
            &b"HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 426 No\r\nConnection: close\r\nUpgrade: x\r\n\r\nbody",
        ] {
            assert!(with_upgrade(other).is_none());
        }
    }
}
