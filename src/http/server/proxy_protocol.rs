//! The PROXY protocol, versions 1 and 2: a proxy that passes bytes on says whose they are.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{FindClient, Server};

impl<X, H> Server<X, H> {
    /// Reads a header of the [PROXY protocol], version 1 or 2, at the beginning of each connection from a proxy.
    ///
    /// `is_proxy` is given the listener's peer and returns whether that is such a proxy. If it returns `true`, the connection has to
    /// begin with a header; without one it is closed, and the error is logged with `debug`. If it returns `false`, no header is read:
    /// the peer is the client. A header can name any address, so only proxies should be able to send one.
    ///
    /// The peer that [`request_extension`](Server::request_extension) is given is then a [`Proxied`]. The report names the client.
    ///
    /// ```no_run
    /// # use std::net::SocketAddr;
    /// # use axum::Router;
    /// # use axum::extract::ConnectInfo;
    /// # use lameduck::{Server, ShutdownHandle};
    /// # use tokio::net::TcpListener;
    /// use lameduck::server::Proxied;
    ///
    /// # fn example(listener: TcpListener, app: Router, handle: ShutdownHandle) {
    /// Server::new(&handle)
    ///     .proxy_protocol(|peer: &SocketAddr| peer.ip().is_loopback())
    ///     .request_extension(|_, peer: &Proxied<SocketAddr>| ConnectInfo(peer.client()))
    ///     .serve(listener, app);
    /// # }
    /// ```
    ///
    /// The header is read in the connection's own task, before the [`handshake`](Server::handshake). Both together are bounded by
    /// [`Timeouts::handshake`](crate::server::Timeouts::handshake). No byte behind the header is read, so the handshake gets the IO
    /// as it is. A header of version 2 takes four reads or fewer, one of version 1 up to a read for each byte.
    ///
    /// Optional fields of version 2 (TLVs) are skipped; its checksum is not verified.
    ///
    /// [PROXY protocol]: https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
    pub fn proxy_protocol<F, P>(self, is_proxy: F) -> Server<X, H, ProxyProtocolFn<F>>
    where
        F: Fn(&P) -> bool + Clone + Send + Sync + 'static,
    {
        self.change(|extension, handshake, ()| (extension, handshake, ProxyProtocolFn(is_proxy)))
    }
}

/// What [`Server::proxy_protocol`] was given.
#[derive(Clone)]
pub struct ProxyProtocolFn<F>(F);

impl<F, P> FindClient<P> for ProxyProtocolFn<F>
where
    F: Fn(&P) -> bool + Clone + Send + Sync + 'static,
    P: Send + Sync + 'static,
{
    type Peer = Proxied<P>;

    async fn find<I>(&self, io: &mut I, peer: P) -> io::Result<Proxied<P>>
    where
        I: AsyncRead + Unpin + Send,
    {
        let addresses = match (self.0)(&peer) {
            true => read(io).await?,
            false => None,
        };
        Ok(Proxied {
            peer,
            source: addresses.as_ref().map(|it| it.source),
            destination: addresses.map(|it| it.destination),
        })
    }

    fn client(peer: &Proxied<P>) -> Option<SocketAddr> {
        peer.source
    }
}

impl<F> fmt::Debug for ProxyProtocolFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyProtocolFn").finish_non_exhaustive()
    }
}

/// The peer of a connection that a proxy may have passed on: see [`Server::proxy_protocol`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Proxied<P> {
    /// The peer that the listener gave: the proxy, or a client that came without one.
    pub peer: P,
    /// The client, as the proxy's header names it. `None` if there was no header or it names nobody (UNKNOWN, LOCAL, a Unix
    /// socket): a proxy's own health check, for example.
    pub source: Option<SocketAddr>,
    /// The address that the client connected to, as the header names it. `None` when `source` is.
    pub destination: Option<SocketAddr>,
}

impl Proxied<SocketAddr> {
    /// The client's address: the header's source, or the listener's peer if there is none.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.source.unwrap_or(self.peer)
    }
}

/// "PROXY UNKNOWN\r\n": no header is shorter.
const SHORTEST: usize = 15;
/// No header of version 1 is longer.
const LONGEST_V1: usize = 107;
const BEGIN_V1: &[u8] = b"PROXY ";
const END_V1: &[u8] = b"\r\n";
const BEGIN_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The command behind that: version 2, from the proxy itself.
const LOCAL: u8 = 0x20;
/// Version 2, for a client.
const PROXY: u8 = 0x21;

/// Reads a header and not a byte more: what follows belongs to the handshake or to HTTP.
async fn read<I: AsyncRead + Unpin + Send>(io: &mut I) -> io::Result<Option<ProxiedAddress>> {
    let mut header = Vec::with_capacity(LONGEST_V1);
    while header.len() < SHORTEST {
        read_more(io, &mut header, SHORTEST).await?;
        if !is_begin(&header, BEGIN_V1) && !is_begin(&header, BEGIN_V2) {
            return Err(invalid(
                "a connection begins without a PROXY protocol header",
            ));
        }
    }
    if header.starts_with(BEGIN_V1) {
        read_v1(io, &mut header).await?;
    } else {
        read_v2(io, &mut header).await?;
        // By the specification (2.2) its addresses are not looked at, even if they are malformed.
        if header[BEGIN_V2.len()] == LOCAL {
            return Ok(None);
        }
    }
    parse(&header)
}

/// Whether `bytes` may be the begin of what begins with `begin`.
fn is_begin(bytes: &[u8], begin: &[u8]) -> bool {
    bytes.iter().zip(begin).all(|(left, right)| left == right)
}

async fn read_v1<I>(io: &mut I, header: &mut Vec<u8>) -> io::Result<()>
where
    I: AsyncRead + Unpin + Send,
{
    while !header.ends_with(END_V1) {
        if header.len() == LONGEST_V1 {
            return Err(invalid("a PROXY protocol header is too long"));
        }
        let next = header.len() + 1;
        read_more(io, header, next).await?;
    }
    Ok(())
}

async fn read_v2<I>(io: &mut I, header: &mut Vec<u8>) -> io::Result<()>
where
    I: AsyncRead + Unpin + Send,
{
    /// The signature, the command, the address family, and the length of the rest.
    const HEAD: usize = BEGIN_V2.len() + 4;
    while header.len() < HEAD {
        read_more(io, header, HEAD).await?;
    }
    if !matches!(header[BEGIN_V2.len()], LOCAL | PROXY) {
        return Err(invalid(
            "a PROXY protocol header has an unknown version or command",
        ));
    }
    let rest = u16::from_be_bytes([header[HEAD - 2], header[HEAD - 1]]);
    let end = HEAD + usize::from(rest);
    while header.len() < end {
        read_more(io, header, end).await?;
    }
    Ok(())
}

/// Reads once, up to `end` bytes in all.
async fn read_more<I>(io: &mut I, header: &mut Vec<u8>, end: usize) -> io::Result<()>
where
    I: AsyncRead + Unpin + Send,
{
    let left = (end - header.len()) as u64;
    match io.take(left).read_buf(header).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// The addresses in a header that is whole.
fn parse(header: &[u8]) -> io::Result<Option<ProxiedAddress>> {
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, length)) if length == header.len() => Ok(parsed.proxied_address().cloned()),
        _ => Err(invalid("a PROXY protocol header is malformed")),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
