//! A request to an upstream, for both versions of HTTP.

use http::header;
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::{BError, Error, ErrorType};

/// The part that many requests have in common, serialized once.
#[derive(Debug)]
pub(crate) struct Template {
    header: RequestHeader,
    /// The same header as HTTP/1.1 text, without the empty line at its end.
    lines: Vec<u8>,
}

/// One request: a template, and the header fields of this request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UpstreamRequest<'a> {
    pub(crate) template: &'a Template,
    /// The names and values, which are written after those of the template.
    pub(crate) fields: &'a [(&'static str, &'a str)],
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is no body.
    Nothing,
    Bytes(usize),
    /// The body is still being built.
    Unknown,
}

impl Template {
    /// Creates a template from a header.
    ///
    /// # Errors
    ///
    /// If the request cannot be written, for example because its path contains a space or a line break.
    pub(crate) fn new(header: RequestHeader) -> Result<Self, BError> {
        let mut lines = http_req_header_to_wire(&header)
            .map(Vec::from)
            .filter(|lines| lines.ends_with(b"\r\n\r\n"))
            .ok_or_else(|| {
                Error::explain(
                    ErrorType::InvalidHTTPHeader,
                    "a line of a request cannot hold this",
                )
            })?;
        lines.truncate(lines.len() - 2);
        Ok(Self { header, lines })
    }
}

impl UpstreamRequest<'_> {
    /// Appends the request's head for HTTP/1.1 to `to`.
    pub(crate) fn write(&self, length: Length, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.template.lines);
        for (name, value) in self.fields {
            for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                to.extend_from_slice(part);
            }
        }
        match length {
            Length::Nothing => {}
            Length::Bytes(bytes) => {
                to.extend_from_slice(b"Content-Length: ");
                to.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
                to.extend_from_slice(b"\r\n");
            }
            Length::Unknown => to.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        to.extend_from_slice(b"\r\n");
    }

    /// Returns the request's header for HTTP/2, which frames a body of unknown length itself.
    pub(crate) fn header(&self, length: Length) -> Result<Box<RequestHeader>, BError> {
        let mut header = Box::new(self.template.header.clone());
        for (name, value) in self.fields {
            header.append_header(*name, *value)?;
        }
        if let Length::Bytes(bytes) = length {
            header.insert_header(header::CONTENT_LENGTH, bytes)?;
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(path: &str) -> Result<Template, BError> {
        let mut header = RequestHeader::build("POST", path.as_bytes(), None)?;
        header.append_header("Host", "ph.example.com")?;
        header.append_header("Accept", "application/json")?;
        Template::new(header)
    }

    #[test]
    fn both_versions_say_the_same() {
        let template = template("/batch/?a=b").unwrap();
        let request = UpstreamRequest {
            template: &template,
            fields: &[("X-Forwarded-For", "2001:db8::1")],
        };
        for (length, line) in [
            (Length::Nothing, ""),
            (Length::Bytes(17), "Content-Length: 17\r\n"),
            (Length::Unknown, "Transfer-Encoding: chunked\r\n"),
        ] {
            let mut lines = Vec::new();
            request.write(length, &mut lines);
            let expected = format!(
                "POST /batch/?a=b HTTP/1.1\r\nHost: ph.example.com\r\nAccept: application/json\r\n\
                 X-Forwarded-For: 2001:db8::1\r\n{line}\r\n"
            );
            assert_eq!(String::from_utf8(lines).unwrap(), expected);
            let header = request.header(length).unwrap();
            assert_eq!(
                header.headers.get("x-forwarded-for").unwrap(),
                "2001:db8::1"
            );
            assert_eq!(
                header.headers.contains_key("content-length"),
                matches!(length, Length::Bytes(_))
            );
            assert!(!header.headers.contains_key("transfer-encoding"));
        }
    }

    #[test]
    fn a_path_that_would_end_the_line_is_refused() {
        for path in ["/a b", "/a\r\nX: y", "/a\0"] {
            assert!(template(path).is_err(), "{path:?}");
        }
    }
}
