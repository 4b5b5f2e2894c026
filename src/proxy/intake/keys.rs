//! The write keys of a request, and which of them decides where its events go.

use std::sync::Arc;

use crate::config::RequestLimits;
use crate::rewrite::{Body, WrittenKey};
use crate::segment::{KeyFrom, WriteKey, WriteKeys};

use crate::proxy::request_records::RoutedRequest;
use crate::proxy::routes::ProjectSink;
use crate::proxy::sending::upload_error::UploadError;

/// The write keys of a request. The key in the header counts first, then the key in the body, then
/// the key in the query (segment-tracking 1.3). The key in the body is read when it is needed.
pub(crate) struct RequestKeys<'a> {
    pub(crate) route: &'a WriteKeys<Arc<ProjectSink>>,
    pub(crate) header: Option<WriteKey>,
    pub(crate) query: Option<WriteKey>,
    pub(crate) search: KeySearch,
    /// The request that they belong to.
    pub(crate) routed: RoutedRequest,
}

/// When the search for the request's key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeySearch {
    /// When a project is chosen. A route may choose one without a key.
    ForTheProject,
    /// When the key is found or known to be missing: a Segment account needs it too.
    ForTheAccount,
}

/// Where the events of a request go, and why.
pub(crate) struct KeyChoice<'a> {
    pub(crate) sink: &'a ProjectSink,
    /// Where the key that decided was found.
    pub(crate) key_from: KeyFrom,
    /// The key whose requests are counted, if there is a limit.
    pub(crate) limited: Option<WriteKey>,
}

impl<'a> RequestKeys<'a> {
    /// Returns the project of the first key that the route knows; `None` while that key may still
    /// arrive.
    ///
    /// A key that the route does not know does not end the search: browsers add the credentials of
    /// a password-protected page to same-origin requests by themselves.
    ///
    /// # Errors
    ///
    /// When the route has no project for the keys, or the body cannot be read.
    pub(crate) fn choose(
        &self,
        limits: &RequestLimits,
        body: &mut Body<'_>,
    ) -> Result<Option<KeyChoice<'a>>, UploadError> {
        let route = self.route;
        let of = |key: &Option<WriteKey>| key.as_ref().and_then(|key| route.target(Some(key)));
        let mut found = of(&self.header).map(|sink| (sink, KeyFrom::Header));
        let limited = limits.requests_per_key.is_some();
        let wants_key =
            limited || self.search == KeySearch::ForTheAccount || route.depends_on_key();
        let mut named = self.header.clone().filter(|_| found.is_some());
        if found.is_none() && wants_key {
            let in_body = match body.write_key()? {
                WrittenKey::NotYetKnown => return Ok(None),
                WrittenKey::Named(key) => WriteKey::new(&key),
                WrittenKey::Missing => None,
            };
            let query = || Some((of(&self.query)?, KeyFrom::Query));
            found = of(&in_body)
                .map(|sink| (sink, KeyFrom::Body))
                .or_else(query);
            named = match &found {
                Some((_, KeyFrom::Body)) => in_body,
                Some(_) => self.query.clone(),
                None => None,
            };
        }
        let (sink, key_from) = found
            .or_else(|| Some((route.target(None)?, KeyFrom::Nowhere)))
            .ok_or(UploadError::UnknownWriteKey)?;
        Ok(Some(KeyChoice {
            sink,
            key_from,
            limited: named.filter(|_| limited),
        }))
    }

    /// Returns the write key of a request that stopped because of it: the route does not know the
    /// key, or too many requests have it. `key_from` is where the key that decided was found. `body` is
    /// the body, which has no recipient then.
    pub(crate) fn of_refusal(
        &self,
        error: UploadError,
        key_from: KeyFrom,
        body: Option<&mut Body<'_>>,
    ) -> Option<WriteKey> {
        let key_from = match error {
            UploadError::UnknownWriteKey if self.header.is_some() => KeyFrom::Header,
            UploadError::UnknownWriteKey => KeyFrom::Body,
            UploadError::KeyRate => key_from,
            _ => return None,
        };
        match key_from {
            KeyFrom::Header => return self.header.clone(),
            KeyFrom::Query => return self.query.clone(),
            KeyFrom::Body | KeyFrom::Nowhere => {}
        }
        match body.map(Body::write_key) {
            Some(Ok(WrittenKey::Named(key))) => WriteKey::new(&key),
            _ => self.query.clone(),
        }
    }
}
