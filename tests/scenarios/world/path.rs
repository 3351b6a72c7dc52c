//! The way from the operator to the API server, whose length can be changed: what takes microseconds on one machine can
//! be made to take a second, so that a test can step in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Passes bytes on. Dropping it cuts all connections.
pub(crate) struct Path {
    address: SocketAddr,
    delay: Arc<AtomicU64>,
    _connections: JoinSet<()>,
}

impl Path {
    /// A path to the server of this URL, without any delay yet.
    pub(crate) async fn to(server: &str) -> Result<Self> {
        let target = server.strip_prefix("https://").with_context(|| format!("{server} is no https URL"))?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let delay = Arc::new(AtomicU64::new(0));
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, target, Arc::clone(&delay)));
        Ok(Self { address, delay, _connections: connections })
    }

    /// The URL to use in place of the server's.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From now on, everything that is sent to the server arrives so much later. What the sender still had on the way
    /// when it died does not arrive at all. Answers are not delayed.
    pub(crate) fn takes(&self, delay: Duration) {
        self.delay.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, target: String, delay: Arc<AtomicU64>) {
    // They end with this task, which is dropped with the path.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (target, delay) = (target.clone(), Arc::clone(&delay));
        connections.spawn(async move {
            // A server that is not there is a connection that ends at once.
            let Ok(server) = TcpStream::connect(target).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            tokio::select! {
                () = pass_on(from_client, to_server, &delay) => {}
                _ = copy(&mut from_server, &mut to_client) => {}
            }
        });
    }
}

/// Returns when either side is gone; what is on the way then is lost.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: &AtomicU64) {
    let (sender, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let arrives = Instant::now() + Duration::from_millis(delay.load(Ordering::Relaxed));
            let _ = sender.send((arrives, buffer[..length].to_vec()));
        }
    };
    let writing = async {
        while let Some((arrives, bytes)) = on_the_way.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
