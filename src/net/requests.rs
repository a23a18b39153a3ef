//! The requests in flight on one connection, as the report names them.

use std::num::NonZero;

use http::uri::PathAndQuery;
use http::{Method, Request};
use http_body::Body;
use tokio::time::Instant;

use super::terms::RequestNames;
use crate::drain::Generation;
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
    #[inline]
    pub(crate) fn of(body: &impl Body) -> Self {
        match body.is_end_stream() {
            true => Framing::Empty,
            false => Framing::of_some(body),
        }
    }

    #[cold]
    fn of_some(body: &impl Body) -> Self {
        body.size_hint()
            .exact()
            .map_or(Framing::Chunked, Framing::Length)
    }
}

/// One of them.
pub(crate) struct Named {
    method: Method,
    /// Not the whole URI: that is twice as large, and copied with each request.
    path: Option<PathAndQuery>,
    pub(crate) generation: Generation,
    pub(crate) since: Instant,
    /// Drain does not wait for it.
    pub(crate) lasts: bool,
}

impl Named {
    #[inline]
    pub(crate) fn new<B>(
        request: &Request<B>,
        generation: Generation,
        names: RequestNames,
    ) -> Self {
        let path = match names {
            RequestNames::MethodAndPath => request.uri().path_and_query().cloned(),
            RequestNames::Method | RequestNames::Off => None,
        };
        Named {
            method: request.method().clone(),
            path,
            generation,
            since: Instant::now(),
            lasts: false,
        }
    }

    /// Method and path, without the query: tokens live there. Both are the client's, so they are cut and made plain.
    pub(crate) fn name(&self) -> String {
        match &self.path {
            Some(path) => plain::name(format_args!("{} {}", self.method, path.path())),
            None => plain::name(format_args!("{}", self.method)),
        }
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

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;
    use crate::cases;
    use http::Uri;

    #[test]
    fn name_is_method_and_path_whatever_the_query() {
        let targets = "/[a-z?#%{}\"\u{80}-\u{ff}]{0,20}";
        cases::check(1_000, targets, |target| {
            let Ok(uri) = target.parse::<Uri>() else {
                return;
            };
            let request = Request::builder().version(Version::HTTP_11).uri(uri);
            let request = request.body(()).unwrap();
            let name = |names| Named::new(&request, Generation::Early, names).name();

            let path = target.split(['?', '#']).next().unwrap();
            let path = path.replace(|it| !plain::is_plain(it), "\u{fffd}");
            assert_eq!(name(RequestNames::MethodAndPath), format!("GET {path}"));
            assert_eq!(name(RequestNames::Method), "GET");
        });
    }
}
