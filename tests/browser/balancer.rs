//! What stands between the browser and the replicas.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes each connection on to the replica that is in rotation when it comes.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    replica: watch::Sender<SocketAddr>,
}

impl Balancer {
    pub(crate) async fn start(replica: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (replica, in_rotation) = watch::channel(replica);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass_on(client, *in_rotation.borrow()));
            }
        });
        Balancer { address, replica }
    }

    pub(crate) fn route_to(&self, replica: SocketAddr) {
        self.replica.send_replace(replica);
    }
}

async fn pass_on(mut client: TcpStream, replica: SocketAddr) {
    let Ok(mut replica) = TcpStream::connect(replica).await else {
        return;
    };
    // Ends with an error when either side does.
    let _ = copy_bidirectional(&mut client, &mut replica).await;
}
