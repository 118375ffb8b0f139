//! The host model of the chip: deterministic, seeded, with faults to order.
//!
//! [`Chip`] holds the memories, the router, the network and the receive rings of 152 PEs at their
//! places. A [`Program`] is what runs on a PE; [`Chip::run`] runs a set of them until all are done,
//! and can be called again, with the same programs or others: memories and rings stay as they are.
//!
//! # What is modelled
//! - **Time** counts cycles of the 300 MHz network clock. A packet takes 5 cycles a hop (published),
//!   and a random while more ([`Config::jitter_cycles`]), every one or some of them
//!   ([`Config::late_one_in`]), so that packets overtake each other.
//!   The rest of the timing is plausible, not published. It decides in which order things happen,
//!   and the seed permutes that order; a correct program's results do not depend on either.
//! - **Packets** are routed by the first matching entry of the router, or go directly to a list of
//!   QuadPEs. A packet that reaches a full ring is dropped and counted, and the PE's program is told
//!   once. A packet with payload takes two words of the ring (published), one without takes one
//!   (inferred).
//! - **Memory**: 128 kB of SRAM per PE, which is handed to the PE's program while that is polled, and
//!   2 GB of DRAM. What was never touched takes no host memory and reads as zero.
//! - **DMA** is checked by the chip's rules and moves its bytes little by little, each time it is
//!   polled. A job that waits for its end in one go moves time on, and sees other memories as they
//!   are at that moment: a program must not rely on memory that another one still works on.
//!   A PE's own SRAM cannot be reached through the chip while its program is polled.
//! - **Sleep**: a program that makes no progress is not polled again before a packet reaches its ring,
//!   or the transmitter that refused a packet is free, or a DMA job ends, or the time comes that it
//!   asked for ([`Pe::wake_at`]).
//! - **Hardware**: a program may be a model of a PE's hardware below the traits, such as an emulator. It
//!   gives the PE's [`registers`] the chip around them ([`registers::Surroundings`]) and counts its time
//!   itself ([`Pe::advance_to`]).
//! - **Faults** are described in [`fault`], counters in [`Counters`] and [`PeCounters`].
//!
//! [`script`] is the other kind of double: it plays a strict sequence of operations, for tests of one
//! program. Drivers, which work on registers, have the same two kinds of double: [`registers`] behaves,
//! [`bus`] plays a strict sequence of accesses. [`serial`] is a line with two ends.
//!
//! # Examples
//! One PE sends its number to another:
//! ```
//! use s2_hal::mock::{Chip, Config, Pe, Program, Progress};
//! use s2_hal::packet::{Fanout, Packet, PacketReceiver, PacketSender};
//! use s2_hal::topology::PeId;
//!
//! struct Hello { to: Option<PeId>, heard: Option<u32> }
//!
//! impl Program for Hello {
//!     type Fault = s2_hal::mock::PacketError;
//!
//!     fn poll(&mut self, _: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, Self::Fault> {
//!         if let Some(to) = self.to {
//!             let packet = Packet { key: 7, payload: Some(pe.id().noc_id().into()) };
//!             return match pe.try_send(Fanout::Direct(&[to.destination()]), packet) {
//!                 Ok(()) => Ok(Progress::Done),
//!                 Err(nb::Error::WouldBlock) => Ok(Progress::Idle),
//!                 Err(nb::Error::Other(fault)) => Err(fault),
//!             };
//!         }
//!         match pe.try_receive() {
//!             Ok(packet) => {
//!                 self.heard = packet.payload;
//!                 Ok(Progress::Done)
//!             }
//!             Err(nb::Error::WouldBlock) => Ok(Progress::Idle),
//!             Err(nb::Error::Other(fault)) => Err(fault),
//!         }
//!     }
//! }
//!
//! let (here, there) = (PeId::new(1, 1, 0).unwrap(), PeId::new(7, 6, 3).unwrap());
//! let mut programs = [
//!     (here, Hello { to: Some(there), heard: None }),
//!     (there, Hello { to: None, heard: None }),
//! ];
//! let mut chip = Chip::new(Config::default());
//! chip.run(&mut programs)?;
//! assert_eq!(programs[1].1.heard, Some(here.noc_id().into()));
//! # Ok::<(), s2_hal::mock::RunError<s2_hal::mock::PacketError>>(())
//! ```

pub mod bus;
mod chip;
mod counters;
mod engine;
pub mod fault;
mod memory;
mod pe;
pub mod registers;
mod ring;
mod router;
pub mod script;
pub mod serial;
mod timing;

pub use crate::dma::JobError as DmaError;
pub use chip::{AccessError, Chip, Config, RunError, RunReport};
pub use counters::{Counters, PeCounters};
pub use pe::{PacketError, Pe};
pub use timing::FREQUENCY;

use crate::topology::PeId;

/// How far a poll of a program came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It did something and wants to be polled again.
    Worked,
    /// It has nothing to do before something arrives.
    Idle,
    /// It is finished and must not be polled again in this run.
    Done,
}

/// A program of a PE, as the model runs it.
pub trait Program {
    /// What ends a run.
    type Fault;

    /// Does a bounded piece of work. `memory` is the PE's SRAM, 16-byte aligned; `pe` is everything
    /// else that the PE can reach.
    ///
    /// # Errors
    /// A fault, which ends the run with [`RunError::Fault`].
    fn poll(&mut self, memory: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, Self::Fault>;
}

impl<P: Program + ?Sized> Program for &mut P {
    type Fault = P::Fault;

    fn poll(&mut self, memory: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, Self::Fault> {
        P::poll(self, memory, pe)
    }
}

impl<P: Program + ?Sized> Program for Box<P> {
    type Fault = P::Fault;

    fn poll(&mut self, memory: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, Self::Fault> {
        P::poll(self, memory, pe)
    }
}

/// A program made of a function. See [`from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct FromFn<F>(F);

/// A program that calls `poll`, which stands for [`Program::poll`]. For tests and small examples.
pub const fn from_fn<F, E>(poll: F) -> FromFn<F>
where
    F: FnMut(&mut [u64], &mut Pe<'_>) -> Result<Progress, E>,
{
    FromFn(poll)
}

impl<F, E> Program for FromFn<F>
where
    F: FnMut(&mut [u64], &mut Pe<'_>) -> Result<Progress, E>,
{
    type Fault = E;

    fn poll(&mut self, memory: &mut [u64], pe: &mut Pe<'_>) -> Result<Progress, E> {
        (self.0)(memory, pe)
    }
}

/// Number of a PE, 0 to 151, in the order of core ids.
fn number(pe: PeId) -> Option<usize> {
    pe.core().map(|core| usize::from(core) - 1)
}

/// The PE with a number.
fn pe(number: usize) -> PeId {
    u8::try_from(number + 1)
        .ok()
        .and_then(PeId::from_core)
        .unwrap_or_else(|| unreachable!("PEs are numbered from 0 to 151"))
}
