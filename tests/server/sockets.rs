//! What is set on the sockets that a server accepts.

use std::io;
use std::time::Duration;

use lameduck::server::{Accept, ConnectionGroup, TcpKeepalive};
use lameduck::{Plan, Server, ShutdownHandle};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::*;

/// What a connection's socket says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    nodelay: bool,
    /// Seconds to the first probe and between two, and how many may be lost.
    keepalive: Option<(u64, u64, u32)>,
}

fn look(stream: &TcpStream) -> io::Result<Socket> {
    let socket = SockRef::from(stream);
    let seconds = |time: Duration| time.as_secs();
    let keepalive = match socket.keepalive()? {
        true => Some((
            seconds(socket.tcp_keepalive_time()?),
            seconds(socket.tcp_keepalive_interval()?),
            socket.tcp_keepalive_retries()?,
        )),
        false => None,
    };
    Ok(Socket {
        nodelay: socket.tcp_nodelay()?,
        keepalive,
    })
}

/// The socket of a connection that `server` accepts.
async fn accepted<L>(server: Server, listener: L, handle: &ShutdownHandle) -> Socket
where
    L: Accept<Io = TcpStream> + Address,
{
    let address = listener.address();
    let (looked, mut sockets) = mpsc::unbounded_channel();
    let look = move |stream: TcpStream| {
        looked.send(look(&stream).unwrap()).unwrap();
        async move { Ok(stream) }
    };
    server.handshake(look).serve(listener, hello());
    ready(handle).await;
    let response = Client::connect(address).await.get("/").await;

    assert_eq!(response.status, 200);
    soon(sockets.recv()).await.unwrap()
}

trait Address {
    fn address(&self) -> std::net::SocketAddr;
}

impl Address for tokio::net::TcpListener {
    fn address(&self) -> std::net::SocketAddr {
        self.local_addr().unwrap()
    }
}

impl Address for Paced {
    fn address(&self) -> std::net::SocketAddr {
        self.0.address()
    }
}

const PLAIN: Socket = Socket {
    nodelay: true,
    keepalive: None,
};

#[tokio::test(start_paused = true)]
async fn connections_have_nodelay_and_no_keepalive_by_default() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();

    let socket = accepted(Server::new(&handle), listener, &handle).await;

    assert_eq!(socket, PLAIN);
}

#[tokio::test(start_paused = true)]
async fn nodelay_is_off_where_the_server_says_so_also_if_the_listener_has_it() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    // Linux hands it on to what is accepted.
    SockRef::from(&listener).set_tcp_nodelay(true).unwrap();

    let server = Server::new(&handle).tcp_nodelay(false);
    let socket = accepted(server, listener, &handle).await;

    assert!(!socket.nodelay);
}

#[tokio::test(start_paused = true)]
async fn keepalive_is_set_in_full() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();

    let keepalive = TcpKeepalive::after(seconds(60)).interval(seconds(10));
    let server = Server::new(&handle).tcp_keepalive(keepalive.retries(3));
    let socket = accepted(server, listener, &handle).await;

    assert_eq!(socket.keepalive, Some((60, 10, 3)));
}

#[tokio::test(start_paused = true)]
async fn keepalive_of_a_duration_leaves_the_rest_to_the_system() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();

    let server = Server::new(&handle).tcp_keepalive(seconds(60));
    let socket = accepted(server, listener, &handle).await;

    assert_eq!(socket.keepalive.map(|(after, ..)| after), Some(60));
}

#[tokio::test(start_paused = true)]
async fn options_reach_a_listener_around_another_and_a_shared_one() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();

    let server = Server::new(&handle).shared().tcp_keepalive(seconds(60));
    let socket = accepted(server, Paced(listener), &handle).await;

    assert!(socket.nodelay);
    assert_eq!(socket.keepalive.map(|(after, ..)| after), Some(60));
}

// What is in the queue when the listener closes is accepted another way.
#[tokio::test(start_paused = true)]
async fn options_reach_what_is_accepted_when_the_listener_closes() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
    let address = listener.address();
    let _client = Client::connect(address).await;
    let group = ConnectionGroup::new(&handle).tcp_keepalive(seconds(60));
    handle.shutdown("test");

    let mut accepting = group.accept(listener);
    let (stream, _) = soon(accepting.next()).await.unwrap();

    let socket = look(&stream).unwrap();
    assert!(socket.nodelay);
    assert_eq!(socket.keepalive.map(|(after, ..)| after), Some(60));
    assert!(soon(accepting.next()).await.is_none());
    drop((group, accepting, stream, shutdown));
}

#[tokio::test(start_paused = true)]
async fn options_reach_what_an_accept_loop_of_ones_own_accepts() {
    let (_shutdown, handle) = coordinator(Plan::immediate());
    for nodelay in [true, false] {
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let _client = Client::connect(listener.address()).await;
        let group = ConnectionGroup::new(&handle).tcp_nodelay(nodelay);

        let (stream, _) = soon(group.accept(listener).next()).await.unwrap();

        assert_eq!(look(&stream).unwrap().nodelay, nodelay);
    }
}

#[tokio::test(start_paused = true)]
async fn listeners_of_a_cloned_server_have_its_settings_and_limits_of_their_own() {
    let (shutdown, handle) = coordinator(Plan::immediate());
    let server = Server::new(&handle)
        .tcp_nodelay(false)
        .max_connections(1)
        .request_extension(|_: &_, _: &std::net::SocketAddr| "a peer");
    let (looked, mut sockets) = mpsc::unbounded_channel();
    let server = server.handshake(move |stream: TcpStream| {
        looked.send(look(&stream).unwrap()).unwrap();
        async move { Ok(stream) }
    });

    let mut clients = Vec::new();
    for server in [server.clone(), server] {
        let listener = lameduck::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::connect(listener.address()).await;
        server.serve(listener, hello());
        assert_eq!(client.get("/").await.status, 200);
        clients.push(client);
    }

    for _ in &clients {
        assert!(!soon(sockets.recv()).await.unwrap().nodelay);
    }
    assert_eq!(handle.connections(), 2);
    let report = soon(begin(shutdown)).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.connections.closed, 2);
}
