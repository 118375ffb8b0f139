//! A UDP port: one frame per datagram.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use super::{Error, Transport};

/// Pause before a port is listened to again that nobody had open.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// A UDP port of a board; datagrams of others are not received.
pub struct Udp {
    name: String,
    socket: UdpSocket,
}

impl Udp {
    /// Takes `HOST:PORT`.
    ///
    /// # Errors
    /// [`Error::Port`] if there is no such host, or no way to it.
    pub fn open(address: &str) -> Result<Self, Error> {
        let name = format!("udp:{address}");
        let failed = |error: io::Error| Error::Port {
            port: name.clone(),
            reason: error.to_string(),
        };
        let board = address
            .to_socket_addrs()
            .map_err(failed)?
            .next()
            .ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
        let any: SocketAddr = match board {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)
            .and_then(|socket| socket.connect(board).map(|()| socket))
            .map_err(failed)?;
        Ok(Self { name, socket })
    }

    /// Nobody listening is the same as nobody answering; it may change.
    fn failed(&self, error: &io::Error) -> Result<(), Error> {
        use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
        match error.kind() {
            ConnectionRefused | Interrupted | TimedOut | WouldBlock => Ok(()),
            _ => Err(Error::Port {
                port: self.name.clone(),
                reason: error.to_string(),
            }),
        }
    }
}

impl Transport for Udp {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        match self.socket.send(frame) {
            Ok(_) => Ok(()),
            Err(error) => self.failed(&error),
        }
    }

    fn receive(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(0);
            }
            let result = self
                .socket
                .set_read_timeout(Some(left))
                .and_then(|()| self.socket.recv(into));
            match result {
                Ok(0) => {}
                Ok(bytes) => return Ok(bytes),
                Err(error) => {
                    self.failed(&error)?;
                    if error.kind() == io::ErrorKind::ConnectionRefused {
                        std::thread::sleep(left.min(REFUSED_PAUSE));
                    }
                }
            }
        }
    }

    fn reopen(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
