//! Ports that stay ours while a server behind them is stopped and started again.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A port on 127.0.0.1 that no other program gets as long as this value lives.
///
/// It is bound, but not listened on, with `SO_REUSEPORT`: a server of the same user that sets that option too can
/// listen on the port, stop, and come back to it.
#[derive(Debug)]
pub struct ReservedPort {
    port: u16,
    _socket: Socket,
}

impl ReservedPort {
    /// Reserves a free port.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        let port = socket
            .local_addr()?
            .as_socket_ipv4()
            .map(|address| address.port())
            .ok_or_else(|| io::Error::other("an IPv4 socket has no IPv4 address"))?;
        Ok(Self { port, _socket: socket })
    }

    /// The number of the port.
    pub fn number(&self) -> u16 {
        self.port
    }
}

/// A port on 127.0.0.1 that was free a moment ago, for servers that cannot share a [`ReservedPort`].
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
