//! Multicast packets: sending and receiving.

use crate::topology::Destination;

/// A multicast packet: a 32-bit key and up to one 32-bit payload word.
///
/// The chip's packets may carry up to 128 bits of payload (tag S); one word is what the public format
/// of the receive ring covers (two words a packet, payload first, then key; tag J).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Routing key.
    pub key: u32,
    /// Payload word, if the packet has one.
    pub payload: Option<u32>,
}

/// Where a packet goes.
///
/// Both ways are known of production programs: a list of direct packets needs nothing of the router,
/// a routed packet is sent once whatever the number of its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fanout<'a> {
    /// To the chip's router, which looks the key up and copies the packet to every target.
    Router,
    /// To each QuadPE of a list, one packet per entry, without the router.
    Direct(&'a [Destination]),
}

/// What went wrong with a packet, in general terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The receive ring was full and packets were dropped.
    Overrun,
    /// A destination does not exist on this chip.
    NoSuchDestination,
    /// Any other error.
    Other,
}

/// An error of a packet operation.
pub trait Error: core::fmt::Debug {
    /// The general kind of this error.
    fn kind(&self) -> ErrorKind;
}

impl Error for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

impl Error for core::convert::Infallible {
    fn kind(&self) -> ErrorKind {
        match *self {}
    }
}

/// The error type of the packet traits of one device.
pub trait ErrorType {
    /// Error of every packet operation.
    type Error: Error;
}

impl<T: ErrorType + ?Sized> ErrorType for &mut T {
    type Error = T::Error;
}

/// Sends packets.
pub trait PacketSender: ErrorType {
    /// Hands `packet` to the network. Never waits: `WouldBlock` says that the transmitter is busy and
    /// nothing was sent to any destination; the call is repeated with the same arguments later.
    ///
    /// # Errors
    /// `Other(e)` when the packet can never be sent this way, for instance to a destination that the
    /// chip does not have.
    fn try_send(&mut self, to: Fanout<'_>, packet: Packet) -> nb::Result<(), Self::Error>;
}

impl<T: PacketSender + ?Sized> PacketSender for &mut T {
    fn try_send(&mut self, to: Fanout<'_>, packet: Packet) -> nb::Result<(), Self::Error> {
        T::try_send(self, to, packet)
    }
}

/// Receives packets.
pub trait PacketReceiver: ErrorType {
    /// Takes the oldest packet of the receive ring. `WouldBlock` when the ring is empty.
    ///
    /// # Errors
    /// `Other(e)` with kind [`ErrorKind::Overrun`] once for every time that the hardware dropped
    /// packets since the last call; the packets that did arrive remain readable by later calls.
    fn try_receive(&mut self) -> nb::Result<Packet, Self::Error>;
}

impl<T: PacketReceiver + ?Sized> PacketReceiver for &mut T {
    fn try_receive(&mut self) -> nb::Result<Packet, Self::Error> {
        T::try_receive(self)
    }
}
