//! What a client has acknowledged.
//!
//! What has been written to a socket may still be in the kernel, and a reset destroys it there. Only the kernel knows, and
//! Linux tells it of the process's own connections without a privilege (sock_diag(7)): one question and one answer over a
//! netlink socket, by the connection's two ends. So it can be asked whatever the application sees of the socket: TLS, say.

use std::net::SocketAddr;

/// How many bytes of ours a TCP connection's client has not acknowledged, the end of our side counted as one. `None` where that
/// cannot be known: another system, a sandbox without netlink, a connection that is gone.
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged(ends: [SocketAddr; 2]) -> Option<u32> {
    linux::ask(ends).ok().flatten()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged(_: [SocketAddr; 2]) -> Option<u32> {
    None
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::io::{self, Read, Write};
    use std::net::{IpAddr, SocketAddr};

    use socket2::{Domain, Protocol, Socket, Type};

    // linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
    const AF_NETLINK: i32 = 16;
    const NETLINK_SOCK_DIAG: i32 = 4;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    const IPPROTO_TCP: u8 = 6;
    const ANY: u32 = u32::MAX;

    /// `struct nlmsghdr`.
    const HEADER: usize = 16;
    /// `struct inet_diag_req_v2`.
    const REQUEST: usize = 56;
    /// Where `idiag_state` lies in `struct inet_diag_msg`, behind the header.
    const STATE: usize = HEADER + 1;
    const TCP_LISTEN: u8 = 10;
    /// Where `idiag_wqueue` lies in `struct inet_diag_msg`, behind the header.
    const WRITE_QUEUE: usize = HEADER + 4 + 48 + 8;

    thread_local! {
        /// To make one costs as much as to ask. Only a thread that has closed connections in a shutdown has one.
        static NETLINK: Cell<Option<Socket>> = const { Cell::new(None) };
    }

    pub(super) fn ask(ends: [SocketAddr; 2]) -> io::Result<Option<u32>> {
        let mut netlink = match NETLINK.take() {
            Some(netlink) => netlink,
            None => {
                let protocol = Protocol::from(NETLINK_SOCK_DIAG);
                Socket::new(
                    Domain::from(AF_NETLINK),
                    Type::RAW.nonblocking(),
                    Some(protocol),
                )?
            }
        };
        netlink.write_all(&question(ends))?;
        // The kernel has answered when the question has been sent.
        let mut answer = [0; 512];
        let length = netlink.read(&mut answer)?;
        // Not after an error: an answer that comes late would be taken for the next one.
        NETLINK.set(Some(netlink));
        Ok(write_queue(&answer[..length]))
    }

    /// The question for one connection (`local`, `peer`).
    fn question([local, peer]: [SocketAddr; 2]) -> Vec<u8> {
        let family = match (local.ip(), peer.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) => AF_INET,
            _ => AF_INET6,
        };
        let mut question = Vec::with_capacity(HEADER + REQUEST);
        question.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
        question.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        question.extend(NLM_F_REQUEST.to_ne_bytes());
        // Without a sequence number and a port: each question is answered before the next.
        question.extend([0; 8]);
        question.extend([family, IPPROTO_TCP, 0, 0]);
        // In whatever state it is.
        question.extend(ANY.to_ne_bytes());
        question.extend(local.port().to_be_bytes());
        question.extend(peer.port().to_be_bytes());
        question.extend(address(local, family));
        question.extend(address(peer, family));
        // On whatever interface; without a cookie.
        question.extend(0_u32.to_ne_bytes());
        question.extend(ANY.to_ne_bytes());
        question.extend(ANY.to_ne_bytes());
        question
    }

    fn address(end: SocketAddr, family: u8) -> [u8; 16] {
        match end.ip() {
            IpAddr::V4(address) if family == AF_INET => {
                let [a, b, c, d] = address.octets();
                [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        }
    }

    /// What the answer says, unless it is an error. Of a connection that is gone the kernel tells its listener instead, whose
    /// queue is another thing.
    fn write_queue(answer: &[u8]) -> Option<u32> {
        let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
        let state = *answer.get(STATE)?;
        let bytes = answer.get(WRITE_QUEUE..WRITE_QUEUE + 4)?.try_into().ok()?;
        let is_connection = kind == SOCK_DIAG_BY_FAMILY && state != TCP_LISTEN;
        is_connection.then(|| u32::from_ne_bytes(bytes))
    }

    #[cfg(test)]
    mod tests {
        use std::net::{Shutdown, TcpListener, TcpStream};
        use std::time::{Duration, Instant};

        use super::*;

        fn pair(address: &str) -> Option<(TcpStream, TcpStream, [SocketAddr; 2])> {
            let listener = TcpListener::bind(address).ok()?;
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let ends = [server.local_addr().unwrap(), peer];
            Some((client, server, ends))
        }

        #[test]
        fn kernel_says_what_the_client_has_not_acknowledged() {
            for address in ["127.0.0.1:0", "[::]:0"] {
                let Some((mut client, mut server, ends)) = pair(address) else {
                    continue;
                };
                server.set_nonblocking(true).unwrap();
                let mut written = 0_usize;
                while let Ok(more) = server.write(&[7; 4096]) {
                    written += more;
                }
                let full = ask(ends).unwrap().unwrap() as usize;
                assert!((1..=written).contains(&full), "{full} of {written}");

                server.shutdown(Shutdown::Write).unwrap();
                let mut read = Vec::new();
                client.read_to_end(&mut read).unwrap();
                assert_eq!(read.len(), written);
                let deadline = Instant::now() + Duration::from_secs(20);
                while ask(ends).unwrap() != Some(0) {
                    assert!(Instant::now() < deadline, "it is acknowledged");
                    std::thread::yield_now();
                }

                drop((client, server));
            }
        }

        #[test]
        fn nothing_is_known_of_a_connection_that_is_none() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let local = listener.local_addr().unwrap();
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));

            // It listens, and no such connection is there.
            assert_eq!(ask([local, peer]).unwrap(), None);
            drop(listener);
            assert_eq!(ask([local, peer]).unwrap(), None);
        }
    }
}
