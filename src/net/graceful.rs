//! What a connection makes of being asked to close.

use std::pin::Pin;

use sealed::Token;

/// A connection that can be asked to close. Sealed: implemented for the connections of hyper and hyper-util.
///
/// | connection | asked at its moment | when Close has begun and it has lingered |
/// |---|---|---|
/// | `http1` | the layer says `Connection: close` | closes when idle |
/// | `http2` | GOAWAY | – |
/// | hyper-util's `auto` | as hyper-util sees fit: HTTP/1 closes when idle | – |
pub trait GracefulConnection: Future {
    /// Its moment in the spread has come.
    #[doc(hidden)]
    fn ask(self: Pin<&mut Self>, _: Token);

    /// Close has begun, and it has lingered.
    #[doc(hidden)]
    fn end(self: Pin<&mut Self>, _: Token);
}

pub(crate) mod sealed {
    /// Nobody else can name it, so nobody else can call, or implement, what takes it.
    #[derive(Debug)]
    pub struct Token;
}
