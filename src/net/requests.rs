//! The requests in flight on one connection, as the report names them.

#[cfg(not(feature = "hyper"))]
use std::fmt;
use std::num::NonZero;

use tokio::time::Instant;

use super::terms::RequestNames;
use crate::in_flight::Generation;
use crate::plain;

/// Where a request is kept: the first is 1.
pub(crate) type Place = NonZero<u32>;

/// The requests in flight on one connection: one on HTTP/1, many on HTTP/2.
#[derive(Default)]
pub(crate) struct Requests {
    first: Option<Named>,
    more: Vec<Option<Named>>,
    /// How the body of the latest one is framed, if it is HTTP/1's.
    pub(crate) latest: Framing,
}

/// How a request's body is framed (RFC 9112, section 6.3), as hyper has read it from the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    Empty,
    Length(u64),
    Chunked,
}

impl Framing {
    /// Whether there is a body.
    #[inline]
    pub(crate) const fn is_some(self) -> bool {
        !matches!(self, Framing::Empty)
    }
}

/// What a connection asks of a request's head.
pub(crate) trait Head {
    fn framing(&self) -> Framing;

    /// What the report calls it.
    fn label(&self, names: RequestNames) -> Label;
}

#[cfg(feature = "hyper")]
pub(crate) use http_label::Label;

/// Without HTTP nothing makes a request.
#[cfg(not(feature = "hyper"))]
pub(crate) enum Label {}

#[cfg(not(feature = "hyper"))]
impl Label {
    fn is_grpc_call(&self) -> bool {
        match *self {}
    }
}

#[cfg(not(feature = "hyper"))]
impl fmt::Display for Label {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// One of them.
pub(crate) struct Named {
    label: Label,
    pub(crate) generation: Generation,
    pub(crate) since: Instant,
    /// Drain does not wait for it.
    pub(crate) lasts: bool,
}

impl Named {
    #[inline]
    pub(crate) fn new(request: &impl Head, generation: Generation, names: RequestNames) -> Self {
        Named {
            generation,
            since: Instant::now(),
            lasts: false,
            label: request.label(names),
        }
    }

    /// Method and path, without the query: tokens live there. Both are the client's, so they are cut and made plain.
    pub(crate) fn name(&self) -> String {
        plain::name(format_args!("{}", self.label))
    }

    /// Whether it has the form of a gRPC call, if it came over HTTP/2.
    pub(crate) fn is_grpc_call(&self) -> bool {
        self.label.is_grpc_call()
    }
}

impl Requests {
    /// Returns the place from which to remove it.
    #[inline]
    pub(crate) fn add(&mut self, request: Named) -> Place {
        let (place, slot) = match self.first {
            None => (Place::MIN, &mut self.first),
            Some(_) => self.free(),
        };
        *slot = Some(request);
        place
    }

    #[cold]
    fn free(&mut self) -> (Place, &mut Option<Named>) {
        let free = self.more.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.more.push(None);
            self.more.len() - 1
        });
        let place = Place::MIN.saturating_add(index as u32 + 1);
        (place, &mut self.more[index])
    }

    #[inline]
    pub(crate) fn remove(&mut self, place: Place) -> Option<Named> {
        self.at(place)?.take()
    }

    pub(crate) fn name(&mut self, place: Place) -> Option<String> {
        self.at(place)?.as_ref().map(Named::name)
    }

    pub(crate) fn lasts(&mut self, place: Place) {
        if let Some(Some(request)) = self.at(place) {
            request.lasts = true;
        }
    }

    #[inline]
    fn at(&mut self, place: Place) -> Option<&mut Option<Named>> {
        match place {
            Place::MIN => Some(&mut self.first),
            place => self.more.get_mut(place.get() as usize - 2),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Named> {
        self.first.iter().chain(self.more.iter().flatten())
    }
}

/// The requests of HTTP.
#[cfg(feature = "hyper")]
mod http_label {
    use std::fmt;

    use http::uri::PathAndQuery;
    use http::{Method, Request};
    use http_body::Body;

    use super::{Framing, Head, RequestNames};

    /// Method and path, without the query: tokens live there.
    pub(crate) struct Label {
        method: Method,
        /// Not the whole URI: that is twice as large, and copied with each request.
        path: Option<PathAndQuery>,
    }

    impl Label {
        /// gRPC posts to `/{package.}Service/Method`. Told from that alone, when the report is made: looking for the
        /// content type would cost each request.
        pub(super) fn is_grpc_call(&self) -> bool {
            let is_name = |name: &str| {
                let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                name.starts_with(|first: char| first.is_ascii_uppercase())
                    && name.bytes().all(is_part)
            };
            let path = self.path.as_ref().map_or("", PathAndQuery::path);
            let parts = path.strip_prefix('/').and_then(|it| it.split_once('/'));
            self.method == Method::POST
                && parts.is_some_and(|(service, method)| {
                    service.rsplit('.').next().is_some_and(is_name) && is_name(method)
                })
        }
    }

    impl fmt::Display for Label {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match &self.path {
                Some(path) => write!(f, "{} {}", self.method, path.path()),
                None => self.method.fmt(f),
            }
        }
    }

    #[cold]
    fn framing_of_some(body: &impl Body) -> Framing {
        let length = body.size_hint().exact();
        length.map_or(Framing::Chunked, Framing::Length)
    }

    impl<B: Body> Head for Request<B> {
        #[inline]
        fn framing(&self) -> Framing {
            match self.body().is_end_stream() {
                true => Framing::Empty,
                false => framing_of_some(self.body()),
            }
        }

        #[inline]
        fn label(&self, names: RequestNames) -> Label {
            let path = match names {
                RequestNames::MethodAndPath => self.uri().path_and_query().cloned(),
                RequestNames::Method | RequestNames::Off => None,
            };
            Label {
                method: self.method().clone(),
                path,
            }
        }
    }
}

#[cfg(all(test, feature = "hyper"))]
mod tests {
    use http::{Request, Uri, Version};

    use super::*;
    use crate::cases;

    #[test]
    fn calls_of_grpc_are_told_from_other_requests() {
        let is_call = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri);
            let request = request.body(String::new()).unwrap();
            Named::new(&request, Generation::Early, RequestNames::MethodAndPath).is_grpc_call()
        };

        assert!(is_call("POST", "/rooms.v1.Rooms/Listen"));
        assert!(is_call("POST", "http://test/Greeter/SayHello"));
        assert!(!is_call("GET", "/rooms.Rooms/Listen"));
        assert!(!is_call("POST", "/orders/17"));
        assert!(!is_call("POST", "/rooms.Rooms/Listen/Again"));
        assert!(!is_call("POST", "/"));
    }

    #[test]
    fn name_is_method_and_path_whatever_the_query() {
        let targets = "/[a-z?#%{}\"\u{80}-\u{ff}]{0,20}";
        cases::check(1_000, targets, |target| {
            let Ok(uri) = target.parse::<Uri>() else {
                return;
            };
            let request = Request::builder().version(Version::HTTP_11).uri(uri);
            let request = request.body(String::new()).unwrap();
            let name = |names| Named::new(&request, Generation::Early, names).name();

            let path = target.split(['?', '#']).next().unwrap();
            let path = path.replace(|it| !plain::is_plain(it), "\u{fffd}");
            assert_eq!(name(RequestNames::MethodAndPath), format!("GET {path}"));
            assert_eq!(name(RequestNames::Method), "GET");
        });
    }
}
