//! Keeping new connections from a listener that is about to close.
//!
//! A connection that the kernel completes between the last look into the queue and the close is reset. Emptying the queue
//! once more only makes that moment shorter, so first the listener is told to let nobody in.

use std::io;
use std::net::Shutdown;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, UnixListener};

/// Drops what would begin a connection (SYN without ACK), and passes everything else: a handshake that has begun goes on.
/// The client sends its SYN again a second later and is refused then.
///
/// A classic BPF program (Linux, Documentation/networking/filter.rst). It needs no privilege, and sees the segment from the
/// TCP header on, whose flags are its fourteenth byte (RFC 9293, section 3.1). Connections that are accepted from then on
/// inherit it; a SYN on an established connection is an error that it drops.
///
/// It stays on the socket for as long as anybody holds that: see [`lift`].
pub(crate) fn tcp(listener: &TcpListener) {
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    // Loads a byte; masks it; compares it; returns how much of the segment to keep.
    const LOAD: u16 = 0x30;
    const AND: u16 = 0x54;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let program = [
        SockFilter::new(LOAD, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    tell(SockRef::from(listener).attach_filter(&program));
}

/// Takes the filter away: for a listener that somebody else may hold, and accept from when we have closed it.
///
/// A SYN that comes between this and the close can be answered, and its connection reset. So a listener that is known to be
/// ours alone keeps the filter to its end.
pub(crate) fn lift(listener: &std::net::TcpListener) {
    tell(SockRef::from(listener).detach_filter());
}

/// A Unix listener that is shut down for reading refuses whoever connects, and still gives what is in its queue. This cannot
/// be taken back, so it is for a listener that is known to be ours alone.
pub(crate) fn unix(listener: &UnixListener) {
    tell(SockRef::from(listener).shutdown(Shutdown::Read));
}

fn tell(done: io::Result<()>) {
    if let Err(error) = done {
        tracing::debug!(target: "lameduck", %error, "cannot keep new connections from a listener that closes");
    }
}
