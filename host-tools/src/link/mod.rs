//! The host's side of the host link: a board behind a serial port or a UDP port.
//!
//! | module | what it does |
//! |---|---|
//! | [`client`] | asks the board: retries, windows, transfers that go on after a loss |
//! | [`serial`] | a serial port, or a pseudo-terminal |
//! | [`udp`] | a UDP port |
//! | [`memory`] | no line at all: a peer in this process, and faults to order |
//! | [`double`] | a board that is nothing but memory |
//! | [`error`] | what can go wrong, and what to do about it |
//!
//! Messages and frames are [`bsp::protocol`]'s; `docs/host-link.md` of the repository describes every byte.

pub mod client;
pub mod double;
pub mod error;
pub mod memory;
pub mod serial;
pub mod udp;

use std::fmt;
use std::time::{Duration, Instant};

pub use client::{Client, Observer, Unobserved};
pub use error::{Error, ErrorKind};

/// What carries frames between host and board.
///
/// It may lose, double, reorder, shorten and alter what it carries; [`Client`] copes with that.
pub trait Transport {
    /// The port's name, for messages.
    fn name(&self) -> &str;

    /// Sends a whole frame. That it comes to nothing is no error.
    ///
    /// # Errors
    /// [`Error::Vanished`] if the port is no longer there, until [`reopen`](Self::reopen) succeeds; others if
    /// it cannot be used.
    fn send(&mut self, frame: &[u8]) -> Result<(), Error>;

    /// Waits for bytes and returns how many came, at most `into.len()`; 0 if none did before the deadline.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    fn receive(&mut self, into: &mut [u8], deadline: Instant) -> Result<usize, Error>;

    /// Opens the port again after it has vanished.
    ///
    /// # Errors
    /// Why it cannot be opened.
    fn reopen(&mut self) -> Result<(), Error>;

    /// How long so many bytes take on the line.
    fn line_time(&self, _bytes: usize) -> Duration {
        Duration::ZERO
    }
}

/// Where a board is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A serial port or pseudo-terminal.
    Serial {
        /// Its name, for instance `/dev/ttyACM0`.
        path: String,
        /// Bits per second.
        baud: u32,
    },
    /// A UDP port.
    Udp {
        /// Host and port, for instance `127.0.0.1:17893`.
        address: String,
    },
}

impl Port {
    /// Takes `udp:HOST:PORT`, or else the name of a serial port with its bits per second.
    #[must_use]
    pub fn new(text: &str, baud: u32) -> Self {
        match text.strip_prefix("udp:") {
            Some(address) => Self::Udp {
                address: address.to_owned(),
            },
            None => Self::Serial {
                path: text.to_owned(),
                baud,
            },
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// What is wrong with the port.
    pub fn open(&self) -> Result<Box<dyn Transport>, Error> {
        Ok(match self {
            Self::Serial { path, baud } => Box::new(serial::Serial::open(path, *baud)?),
            Self::Udp { address } => Box::new(udp::Udp::open(address)?),
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, .. } => f.write_str(path),
            Self::Udp { address } => write!(f, "udp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests;
