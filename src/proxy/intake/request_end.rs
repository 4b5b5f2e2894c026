//! How a request on a Segment route ended, before its answer is written.

use http::header::{self, HeaderName, HeaderValue};

use crate::admin::RequestOutcome;
use crate::proxy::intake::refusals::outcome_of_refusal;
use crate::proxy::intake::upload::Upload;
use crate::proxy::sending::upload_error::UploadError;
use crate::rewrite::enrich::edge_session::Transport;
use crate::segment::{Reply, RequestRefusal, WriteKey};

/// How a request ended.
pub(super) struct RequestEnd {
    /// The answer; `None` if the client is gone.
    pub(super) reply: Option<Reply>,
    pub(super) answered: RequestOutcome,
    pub(super) set_cookie: Option<SetCookie>,
    /// The write key of a request that was refused for it.
    pub(super) key: Option<WriteKey>,
}

impl RequestEnd {
    pub(super) fn ok(reply: Reply) -> Self {
        Self {
            reply: Some(reply),
            answered: RequestOutcome::Well,
            set_cookie: None,
            key: None,
        }
    }

    pub(super) fn refused(refusal: RequestRefusal) -> Self {
        Self {
            answered: outcome_of_refusal(refusal),
            ..Self::ok(Reply::Refused(refusal))
        }
    }

    pub(super) fn stopped(error: UploadError) -> Self {
        Self {
            reply: error.reply(),
            answered: error.request_outcome(),
            set_cookie: None,
            key: None,
        }
    }
}

/// A `Set-Cookie` header.
type SetCookie = (HeaderName, HeaderValue);

/// Returns the cookie that continues the visitor's session, if it has to be set.
pub(super) fn set_cookie(upload: &Upload<'_>, transport: Transport) -> Option<SetCookie> {
    let value = HeaderValue::try_from(upload.set_cookie(transport)?).ok()?;
    Some((header::SET_COOKIE, value))
}
