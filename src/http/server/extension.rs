//! What the requests of a connection are given: an extension, made once for each connection.

use std::fmt;
use std::marker::PhantomData;

use http::Extensions;

/// Puts something into a request's extensions. Closed: nothing, or what
/// [`Server::request_extension`](crate::Server::request_extension) was given.
pub trait RequestExtension<I, P>: Clone + Send + Sync + 'static {
    /// What is made for one connection.
    #[doc(hidden)]
    type Made: Insert;

    #[doc(hidden)]
    fn make(&self, io: &I, peer: &P) -> Self::Made;
}

/// The same, for one connection.
#[allow(
    unreachable_pub,
    reason = "Rust 1.85 does not see that it is reached through the other"
)]
pub trait Insert: Send + Sync + 'static {
    #[doc(hidden)]
    fn insert(&self, extensions: &mut Extensions);
}

impl<I, P> RequestExtension<I, P> for () {
    type Made = ();

    fn make(&self, _: &I, _: &P) {}
}

impl Insert for () {
    #[inline]
    fn insert(&self, _: &mut Extensions) {}
}

/// Both, in order: of two extensions of one type the later stays.
impl<I, P, X, Y> RequestExtension<I, P> for (X, Y)
where
    X: RequestExtension<I, P>,
    Y: RequestExtension<I, P>,
{
    type Made = (X::Made, Y::Made);

    fn make(&self, io: &I, peer: &P) -> Self::Made {
        (self.0.make(io, peer), self.1.make(io, peer))
    }
}

impl<X: Insert, Y: Insert> Insert for (X, Y) {
    #[inline]
    fn insert(&self, extensions: &mut Extensions) {
        self.0.insert(extensions);
        self.1.insert(extensions);
    }
}

/// What [`Server::request_extension`](crate::Server::request_extension) was given.
pub struct ConnectionExtension<F, T> {
    make: F,
    made: PhantomData<fn() -> T>,
}

impl<F, T> ConnectionExtension<F, T> {
    pub(super) const fn new(make: F) -> Self {
        ConnectionExtension {
            make,
            made: PhantomData,
        }
    }
}

impl<F: Clone, T> Clone for ConnectionExtension<F, T> {
    fn clone(&self) -> Self {
        ConnectionExtension::new(self.make.clone())
    }
}

impl<F, I, P, T> RequestExtension<I, P> for ConnectionExtension<F, T>
where
    F: Fn(&I, &P) -> T + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Made = Extension<T>;

    fn make(&self, io: &I, peer: &P) -> Extension<T> {
        Extension((self.make)(io, peer))
    }
}

impl<F, T> fmt::Debug for ConnectionExtension<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionExtension")
            .finish_non_exhaustive()
    }
}

/// What each request of a connection gets a clone of.
pub struct Extension<T>(T);

impl<T: Clone + Send + Sync + 'static> Insert for Extension<T> {
    fn insert(&self, extensions: &mut Extensions) {
        extensions.insert(self.0.clone());
    }
}

impl<T> fmt::Debug for Extension<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extension").finish_non_exhaustive()
    }
}
