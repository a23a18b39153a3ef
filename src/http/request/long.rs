//! Which responses turn out to last.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response};

use super::ending::{Ending, Fate, How};
use crate::http::current::Current;
use crate::long_lived::Moment;
use crate::shared::Shared;

/// Marks a response that lasts: put it into the response's extensions, or let a [`LongLivedLayer`](crate::layer::LongLivedLayer) do it.
///
/// From then on the request keeps Close waiting, not Drain, and to be cut at Close's deadline does not spoil the report.
/// `text/event-stream` needs no mark: it is recognized, and ended as [`EventStreams`](crate::EventStreams) says. A mark
/// takes precedence over that. An upgrade (`101`) needs none either: it is a connection of its own, and counted as one.
///
/// ```
/// use axum::body::Body;
/// use axum::response::{Extension, IntoResponse};
/// use lameduck::LongLived;
///
/// /// A download that may take longer than Drain has.
/// async fn download() -> impl IntoResponse {
///     (Extension(LongLived::new()), Body::empty())
/// }
///
/// /// Lines of JSON: any number of them is whole, so it may be ended between two.
/// async fn changes() -> impl IntoResponse {
///     (Extension(LongLived::new().end_at_moment()), Body::empty())
/// }
/// ```
///
/// With tonic it goes into `tonic::Response::extensions_mut`, or into a layer around the service
/// (`tonic::service::LayerExt::named_layer` keeps its name). A call whose client streams has no response for long: a layer, or
/// a handler that asks for its [`Moment`](crate::Moment), says at its beginning that it lasts. A call that streams and is not
/// marked is a request like any other: it holds Drain, and if Close's deadline cuts it the exit code is 3. Nothing on the wire
/// says whether it would have ended by itself. The report says so when that happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongLived {
    ended: bool,
}

impl LongLived {
    /// It is counted, and its handler is told by its [`Moment`](crate::Moment), if it asks. Nobody else ends it.
    #[must_use]
    pub const fn new() -> Self {
        LongLived { ended: false }
    }

    /// Its body is ended at its moment, between two frames: for what is whole wherever it ends. What its handler has made and
    /// the client has not taken yet is dropped.
    ///
    /// - `application/grpc`: with the trailers `grpc-status: 14` (UNAVAILABLE) and `grpc-retry-pushback-ms`. A call that
    ///   begins after its moment has them in place of a response, and clients with a retry policy try it again elsewhere
    ///   (gRFC A6: a call is committed once the response's headers have come). A call that was open is the application's to
    ///   begin again.
    /// - `text/event-stream`: as [`EventStreams`](crate::EventStreams) says.
    /// - Anything else: the body is over. For its client that looks as if it were whole.
    ///
    /// A response with a `Content-Length` cannot be ended; it stays as it is.
    #[must_use]
    pub const fn end_at_moment(mut self) -> Self {
        self.ended = true;
        self
    }
}

/// How the body of a response that lasts ends. `waited_for` is whether Close waits for it, and a shutdown ends it.
#[cold]
pub(crate) fn fate<B>(
    response: &mut Response<B>,
    sized: bool,
    current: Current,
    waited_for: bool,
) -> Fate {
    let moment = match waited_for {
        true => current.moment(),
        false => current.moment().and_then(Moment::of_age),
    };
    let Some(moment) = moment else {
        return Fate::Whole;
    };
    match how(response, sized, moment.shared()) {
        How::NotByUs => Fate::Whole,
        how => Ending::new(moment, how).begin(response.headers_mut()),
    }
}

/// Whether a response lasts; `sized` says whether its body knows its size. What a normal one pays for being asked is an empty
/// set of extensions.
#[inline]
pub(crate) fn lasts<B>(response: &Response<B>, sized: bool) -> bool {
    if response.extensions().get::<LongLived>().is_some() {
        return true;
    }
    !sized && response.status().is_success() && is_event_stream(response.headers())
}

/// How a response that lasts is ended.
fn how<B>(response: &Response<B>, sized: bool, shared: &Shared) -> How {
    let headers = response.headers();
    let events = is_event_stream(headers);
    let ended = match response.extensions().get::<LongLived>() {
        Some(mark) => mark.ended,
        None => shared.event_streams().are_ended(),
    };
    if !ended || sized {
        return How::NotByUs;
    }
    if is_grpc(headers) {
        return How::Grpc;
    }
    // What has been compressed is no text to which one could be added.
    match events && !headers.contains_key(CONTENT_ENCODING) {
        true => How::Events,
        false => How::Plain,
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    is_media_type(headers, b"text/event-stream", b"; \t")
}

/// gRPC over HTTP/2 itself: grpc-web has its trailers in the body.
fn is_grpc(headers: &HeaderMap) -> bool {
    is_media_type(headers, b"application/grpc", b"+; \t")
}

/// Whether it is this media type, alone or followed by one of `after`.
fn is_media_type(headers: &HeaderMap, name: &[u8], after: &[u8]) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let value = value.as_bytes();
    let Some((head, rest)) = value.split_at_checked(name.len()) else {
        return false;
    };
    head.eq_ignore_ascii_case(name) && rest.first().is_none_or(|byte| after.contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn media_types_are_told_apart() {
        let is = |check: fn(&HeaderMap) -> bool, value: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            check(&headers)
        };

        assert!(is(is_event_stream, "text/event-stream"));
        assert!(is(is_event_stream, "Text/Event-Stream; charset=utf-8"));
        assert!(!is(is_event_stream, "text/event-streams"));
        assert!(!is(is_event_stream, "text/event"));
        assert!(is(is_grpc, "application/grpc"));
        assert!(is(is_grpc, "application/grpc+proto"));
        assert!(!is(is_grpc, "application/grpc-web+proto"));
    }
}
