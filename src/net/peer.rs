//! Who is on the other side, as the report names it.

use std::any::Any;
use std::fmt::{self, Debug};
use std::net::SocketAddr;

use crate::panic;
use crate::plain;

/// What a listener gave with a connection.
///
/// An address is kept in place, because nearly all are. Anything else is put on the heap: if it were the tail of what the
/// connection's parts share, every look at that would have to ask where it begins.
pub(crate) enum Peer {
    Address(SocketAddr),
    Other {
        peer: Box<dyn Debug + Send + Sync>,
        /// Whether anything of its type runs when it is dropped.
        drops: bool,
    },
}

/// The name of a peer that cannot be printed.
const UNPRINTABLE: &str = "a peer that panicked when it was printed";

impl Peer {
    pub(crate) fn new<A: Debug + Send + Sync + 'static>(peer: A) -> Self {
        match (&peer as &dyn Any).downcast_ref() {
            Some(address) => Peer::Address(*address),
            None => Peer::Other {
                peer: Box::new(peer),
                drops: std::mem::needs_drop::<A>(),
            },
        }
    }
}

/// Its type is an application's, and whoever has the connection last drops it: the coordinator, maybe.
impl Drop for Peer {
    fn drop(&mut self) {
        if let Peer::Other { peer, drops: true } = self {
            let peer = std::mem::replace(peer, Box::new(()));
            panic::drop_contained("a connection's peer", peer);
        }
    }
}

impl Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => address.fmt(f),
            // It may come from outside: a header of the PROXY protocol, a path in the file system.
            Peer::Other { peer, .. } => {
                let name = panic::call(|| plain::name(format_args!("{peer:?}")));
                f.write_str(name.as_deref().unwrap_or(UNPRINTABLE))
            }
        }
    }
}
