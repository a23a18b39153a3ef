//! Requests that ask for another protocol.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Request, Version};

/// Whether a request asks to leave HTTP: an upgrade, a CONNECT (RFC 9110, sections 7.8 and 9.3.6), or an extended CONNECT
/// (RFC 8441).
pub(crate) fn is_asked_for<B>(request: &Request<B>) -> bool {
    if *request.method() == Method::CONNECT {
        return true;
    }
    if request.version() >= Version::HTTP_2 {
        return false;
    }
    let headers = request.headers();
    // `h2c` is offered by clients that are content without: it is ignored, and the request served (RFC 9113, section 3.1).
    lists(headers, CONNECTION, |it| it.eq_ignore_ascii_case("upgrade"))
        && lists(headers, UPGRADE, |it| !it.eq_ignore_ascii_case("h2c"))
}

/// Whether one of the names that a header lists is such a one.
fn lists(headers: &HeaderMap, header: HeaderName, is: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(header);
    let names = values.iter().filter_map(|value| value.to_str().ok());
    names
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|name| !name.is_empty() && is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_told_from_what_looks_like_one() {
        let asks = |connection: &str, upgrade: &str| {
            let request = Request::builder()
                .header(CONNECTION, connection)
                .header(UPGRADE, upgrade)
                .body(())
                .unwrap();
            is_asked_for(&request)
        };

        assert!(asks("upgrade", "websocket"));
        assert!(asks("keep-alive, Upgrade", "websocket"));
        assert!(asks("Upgrade", "h2c, websocket"));
        assert!(!asks("Upgrade, HTTP2-Settings", "h2c"));
        assert!(!asks("keep-alive", "websocket"));
        assert!(!asks("upgrade", ""));
    }
}
