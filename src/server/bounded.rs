//! A listener whose connections are bounded in number and in time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Two probes, a few Prometheus servers and a person, many times over. Further connections wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// A page is made in milliseconds; this is for a slow network.
const LIFETIME: Duration = Duration::from_secs(10);

/// Accepts at most [`CONNECTIONS`] at a time, each for at most [`LIFETIME`].
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; without a permit there is nothing to accept.
        let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else { std::future::pending().await };
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Connection { stream, end: Box::pin(sleep(LIFETIME)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection. Reading and writing fail once its time is over.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    /// Given back when the connection is dropped.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// The stream, while there is time.
    fn in_time(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(context)?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_until_one_is_over() {
        let mut bounded = Bounded::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = bounded.local_addr().unwrap();
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = TcpStream::connect(address).await.unwrap();
            held.push((client, bounded.accept().await));
        }
        let _one_more = TcpStream::connect(address).await.unwrap();
        assert!(timeout(Duration::from_millis(50), bounded.accept()).await.is_err());
        held.pop();
        assert!(timeout(Duration::from_secs(5), bounded.accept()).await.is_ok());
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_its_request_is_cut_off() {
        let mut bounded = Bounded::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let mut client = TcpStream::connect(bounded.local_addr().unwrap()).await.unwrap();
        client.write_all(b"GET /hea").await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        let mut request = [0; 8];
        connection.read_exact(&mut request).await.unwrap();

        tokio::time::pause();
        let error = connection.read(&mut request).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
