//! Sending packets directly to QuadPEs.

use s2_pac::bus::{Bus, Mmio};
use s2_pac::comms::{Transmit, TransmitControl, TransmitStatus};

use crate::packet::{self, ErrorKind, Fanout, Packet, PacketSender};
use crate::topology::Destination;

/// Error of a packet operation on a PE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Packets reached a full ring and were dropped.
    Overrun,
    /// A destination that the chip does not have, or without any PE.
    NoSuchDestination(Destination),
    /// A destination whose encoding is inferred: it takes the feature `provisional`.
    NotPublic(Destination),
    /// How a packet is addressed to the router is not public: send it directly.
    RouterNotPublic,
    /// The transmitter did not get ready between two destinations of a list.
    Stuck {
        /// Destinations that the packet was sent to.
        sent: usize,
    },
}

impl core::fmt::Display for PacketError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Overrun => f.write_str("the receive ring was full and packets were dropped"),
            Self::NoSuchDestination(Destination { x, y, pes }) => write!(
                f,
                "no destination QuadPE ({x},{y}) with PEs {pes:#06b} on the chip"
            ),
            Self::NotPublic(Destination { x, y, .. }) => write!(
                f,
                "only QuadPE (1,1) has a public encoding; for ({x},{y}) enable the feature `provisional`"
            ),
            Self::RouterNotPublic => f.write_str(
                "the encoding of packets to the router is not public; send to a list of QuadPEs",
            ),
            Self::Stuck { sent } => write!(
                f,
                "the transmitter is stuck: the packet went to {sent} destinations of its list only"
            ),
        }
    }
}

impl core::error::Error for PacketError {}

impl packet::Error for PacketError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Overrun => ErrorKind::Overrun,
            Self::NoSuchDestination(_) => ErrorKind::NoSuchDestination,
            Self::NotPublic(_) | Self::RouterNotPublic | Self::Stuck { .. } => ErrorKind::Other,
        }
    }
}

/// Times that the transmitter is asked whether it is ready before it counts as stuck. A packet takes
/// it a few cycles, the network passes or drops every packet.
const PATIENCE: usize = 100_000;

/// The slot in use. Public product code uses the first one too.
const SLOT: usize = 0;

/// Sends packets to lists of QuadPEs.
///
/// The procedure is that of public product code (tag N): write the destination, tell the transmitter,
/// wait until it is ready, write the key. A payload word is written before the key (tag J); that this
/// alone makes a packet carry it is inferred from programs of the prototype.
///
/// # Lists
/// `WouldBlock` means that nothing was sent. A list that has been begun is finished within the call,
/// which waits a few cycles for each destination behind the first one. (To remember how far it came
/// would be no better: nobody calls again after the last packet.) Should the transmitter not get ready
/// in that time, the call fails with [`PacketError::Stuck`].
#[derive(Debug)]
pub struct Sender<B = Mmio> {
    transmit: Transmit<B>,
    /// The destination that a list last began with, known to be good, and its control.
    last: Option<(Destination, TransmitControl)>,
}

impl<B: Bus> Sender<B> {
    /// A sender that works on the transmitter.
    pub const fn new(transmit: Transmit<B>) -> Self {
        Self {
            transmit,
            last: None,
        }
    }

    /// Chooses a destination. The control is written again even if it is the same: whether a slot keeps
    /// it is not public.
    fn choose(&mut self, control: TransmitControl) {
        self.transmit.control(SLOT).write(control);
        self.transmit
            .status()
            .write(TransmitStatus::CONTROL_CHANGED);
    }

    fn is_ready(&mut self) -> bool {
        self.transmit.status().read().ready()
    }

    fn send(&mut self, packet: Packet) {
        if let Some(payload) = packet.payload {
            self.transmit.payload_0(SLOT).write(payload);
        }
        self.transmit.key(SLOT).write(packet.key);
    }
}

/// The control for a destination.
fn control(to: Destination) -> Result<TransmitControl, PacketError> {
    if !to.exists() {
        return Err(PacketError::NoSuchDestination(to));
    }
    #[cfg(feature = "provisional")]
    return Ok(s2_pac::provisional::to_quad_pe(to.x, to.y, to.pes));
    #[cfg(not(feature = "provisional"))]
    if (to.x, to.y) == (1, 1) {
        Ok(TransmitControl::QUAD_PE_1_1.to_pes(to.pes))
    } else {
        Err(PacketError::NotPublic(to))
    }
}

impl<B> packet::ErrorType for Sender<B> {
    type Error = PacketError;
}

impl<B: Bus> PacketSender for Sender<B> {
    fn try_send(&mut self, to: Fanout<'_>, packet: Packet) -> nb::Result<(), PacketError> {
        let Fanout::Direct(list) = to else {
            return Err(nb::Error::Other(PacketError::RouterNotPublic));
        };
        let Some((&first, rest)) = list.split_first() else {
            return Ok(());
        };
        // All are known to be good before the first one is sent.
        let first = match self.last {
            Some((last, control)) if last == first => control,
            _ => {
                let control = control(first)?;
                self.last = Some((first, control));
                control
            }
        };
        for &to in rest {
            control(to)?;
        }
        self.choose(first);
        if !self.is_ready() {
            return Err(nb::Error::WouldBlock);
        }
        self.send(packet);
        for (sent, &to) in (1..).zip(rest) {
            self.choose(control(to)?);
            if !(0..PATIENCE).any(|_| self.is_ready()) {
                return Err(nb::Error::Other(PacketError::Stuck { sent }));
            }
            self.send(packet);
        }
        Ok(())
    }
}
