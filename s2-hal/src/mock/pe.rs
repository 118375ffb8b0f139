//! What a program sees of its PE.

use super::DmaError;
use super::chip::Machine;
use super::engine::Job;
use super::memory::Memories;
use super::registers::{Periphery, Surroundings};
use super::{number, timing};
use crate::dma::{self, Address, Direction, Place};
use crate::math::{ExpLog, I1F31, I17F15, SoftwareExpLog};
use crate::packet::{self, Fanout, Packet, PacketReceiver, PacketSender};
use crate::rng::TryRng;
use crate::router::{self, Entry, Router, TableError};
use crate::timer::{DelayNs, Ticks};
use crate::topology::{self, Destination, PeId};

/// Error of a packet operation on the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketError {
    /// Packets reached a full ring and were dropped.
    Overrun,
    /// A destination that the chip does not have, or without any PE.
    NoSuchDestination(Destination),
}

impl std::fmt::Display for PacketError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Overrun => f.write_str("the receive ring was full and packets were dropped"),
            Self::NoSuchDestination(Destination { x, y, pes }) => write!(
                f,
                "no destination QuadPE ({x},{y}) with PEs {pes:#06b} on the chip"
            ),
        }
    }
}

impl std::error::Error for PacketError {}

impl packet::Error for PacketError {
    fn kind(&self) -> packet::ErrorKind {
        match self {
            Self::Overrun => packet::ErrorKind::Overrun,
            Self::NoSuchDestination(_) => packet::ErrorKind::NoSuchDestination,
        }
    }
}

/// A PE, for the time of one poll: packets, DMA, router, time, exponentials and random numbers.
///
/// Its time runs ahead of the chip's while the program works: every operation costs some cycles, and
/// waiting costs as many as it takes.
pub struct Pe<'c> {
    number: usize,
    time: u64,
    /// Whether the program counts its time itself.
    exact: bool,
    alarm: Option<u64>,
    machine: &'c mut Machine,
    memories: &'c mut Memories,
}

impl<'c> Pe<'c> {
    #[inline]
    pub(super) fn new(number: usize, machine: &'c mut Machine, memories: &'c mut Memories) -> Self {
        Self {
            number,
            time: machine.now,
            exact: false,
            alarm: None,
            machine,
            memories,
        }
    }

    /// When the poll ends.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        if self.exact {
            self.time.max(self.machine.now + 1)
        } else {
            self.time + timing::POLL
        }
    }

    /// When the program wants to be polled again at the latest, should it be idle.
    #[inline]
    pub(super) fn alarm(&self) -> Option<u64> {
        self.alarm
    }

    /// Which PE it is.
    pub fn id(&self) -> PeId {
        super::pe(self.number)
    }

    /// Lets time pass until `time`. For programs that count their time themselves, such as an
    /// emulator's: a poll that calls this costs no time of its own.
    pub fn advance_to(&mut self, time: u64) {
        self.time = self.time.max(time);
        self.exact = true;
    }

    /// Asks for a poll at `time`, in cycles of the chip, should nothing else wake the program before.
    /// Counts for this poll; of several times the first one.
    pub fn wake_at(&mut self, time: u64) {
        self.alarm = Some(self.alarm.map_or(time, |alarm| alarm.min(time)));
    }

    /// Takes the oldest packet that has arrived, at no cost in time. For models of the hardware that
    /// puts it into a ring ([`Registers::receive`](super::registers::Registers::receive)).
    pub fn take_arrival(&mut self) -> Option<Packet> {
        let state = &mut self.machine.pes[self.number];
        let packet = state.ring.take()?;
        state.counters.received += 1;
        Some(packet)
    }

    /// Hands so many packets to the transmitter. Returns when the first of them has left it.
    #[inline]
    fn transmit(&mut self, packets: u64) -> nb::Result<u64, PacketError> {
        let cycles = self.machine.transmit_cycles;
        let state = &mut self.machine.pes[self.number];
        let start = state.transmitter_free.max(self.time);
        if start - self.time >= self.machine.transmit_full {
            state.send_refused = true;
            state.counters.send_refused += 1;
            return Err(nb::Error::WouldBlock);
        }
        state.transmitter_free = start + packets * cycles;
        state.counters.sent += packets;
        Ok(start + cycles)
    }

    /// Sends a packet to the PEs of all QuadPEs of a list.
    #[inline(never)]
    fn send_to_all(&mut self, list: &[Destination], packet: Packet) -> nb::Result<(), PacketError> {
        if let Some(&wrong) = list.iter().find(|to| !to.exists()) {
            return Err(nb::Error::Other(PacketError::NoSuchDestination(wrong)));
        }
        let mut free = self.transmit(list.len() as u64)?;
        for &to in list {
            self.send_to(to, packet, free);
            free += self.machine.transmit_cycles;
        }
        Ok(())
    }

    /// Lets a packet leave at `time` for the PEs of one QuadPE.
    #[inline]
    fn send_to(&mut self, to: Destination, packet: Packet, time: u64) {
        let here = self.id();
        let hops = topology::hops((here.x, here.y), (to.x, to.y));
        self.machine.count_hops(hops);
        for pe in (0..4).filter(|pe| to.pes >> pe & 1 == 1) {
            let (x, y) = (to.x, to.y);
            if let Some(number) = number(PeId { x, y, pe }) {
                self.machine.send_direct(hops, number, packet, time);
            }
        }
    }

    /// Lets the time of a load from another memory pass, or of a store to it.
    fn reach(&mut self, memory: Address) {
        let here = self.id();
        self.time += 2 * timing::way((here.x, here.y), memory);
    }
}

/// The chip as the registers of this PE see it.
impl Surroundings for Pe<'_> {
    fn now(&self) -> u64 {
        self.time
    }

    fn send(&mut self, to: Destination, packet: Packet) -> u64 {
        let cycles = self.machine.transmit_cycles;
        let state = &mut self.machine.pes[self.number];
        let free = state.transmitter_free.max(self.time) + cycles;
        state.transmitter_free = free;
        state.counters.sent += 1;
        self.send_to(to, packet, free);
        free
    }

    fn load(&mut self, address: Address) -> Option<u32> {
        self.reach(address);
        let mut word = [0; 4];
        self.memories.read(address, &mut word).ok()?;
        Some(u32::from_le_bytes(word))
    }

    fn store(&mut self, address: Address, value: u32) -> Option<()> {
        self.reach(address);
        self.memories.write(address, &value.to_le_bytes()).ok()
    }

    fn periphery(&mut self) -> &mut Periphery {
        &mut self.machine.periphery
    }
}

impl std::fmt::Debug for Pe<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pe")
            .field("id", &self.id())
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

impl packet::ErrorType for Pe<'_> {
    type Error = PacketError;
}

impl PacketSender for Pe<'_> {
    #[inline]
    fn try_send(&mut self, to: Fanout<'_>, packet: Packet) -> nb::Result<(), PacketError> {
        self.time += timing::SEND;
        match to {
            Fanout::Router => {
                let free = self.transmit(1)?;
                self.machine.send_to_router(self.number, packet, free);
                Ok(())
            }
            Fanout::Direct(list) => self.send_to_all(list, packet),
        }
    }
}

impl PacketReceiver for Pe<'_> {
    #[inline(always)]
    fn try_receive(&mut self) -> nb::Result<Packet, PacketError> {
        self.time += timing::RECEIVE;
        let state = &mut self.machine.pes[self.number];
        if state.overrun {
            state.overrun = false;
            state.counters.overruns += 1;
            return Err(nb::Error::Other(PacketError::Overrun));
        }
        let packet = state.ring.take().ok_or(nb::Error::WouldBlock)?;
        state.counters.received += 1;
        Ok(packet)
    }
}

impl dma::ErrorType for Pe<'_> {
    type Error = DmaError;
}

// SAFETY: local memory is touched only in `poll`, by `Job::advance`, which stays inside the given
// bytes and only reads them for `Direction::Write`. A job exists from a successful `start` until
// `poll` or `abort` drops it, and every way out of `poll` but `WouldBlock` drops it; `wait` polls. The end is
// reported after all bytes have moved. The job lives in the chip, so that moving a `Pe` does not
// disturb it.
unsafe impl dma::Channel for Pe<'_> {
    unsafe fn start(
        &mut self,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
    ) -> Result<(), DmaError> {
        let id = self.id();
        self.time += timing::SEND;
        let state = &mut self.machine.pes[self.number];
        if state.job.is_some() {
            return Err(DmaError::Busy);
        }
        dma::check(local.addr(), remote, length).map_err(DmaError::Refused)?;
        if matches!(remote.place(), Some(Place::Sram { pe, .. }) if pe == id) {
            return Err(DmaError::OwnMemory);
        }
        let fails = self
            .machine
            .faults
            .transfer(self.number, &mut self.machine.rng);
        state.counters.transfers += 1;
        // SAFETY: the caller keeps the contract of `start` until the job is dropped, which is when it
        // is no longer in flight.
        let job = unsafe { Job::new(id, self.time, direction, local, remote, length, fails) };
        state.job = Some(job);
        Ok(())
    }

    fn poll(&mut self) -> nb::Result<(), DmaError> {
        self.time += timing::DMA_POLL;
        let state = &mut self.machine.pes[self.number];
        // Taken out, so that it is gone should anything panic.
        let Some(mut job) = state.job.take() else {
            return Ok(());
        };
        let (moved, result) = job.advance(self.time, self.memories);
        state.counters.transfer_bytes += moved as u64;
        match result {
            Ok(true) => Ok(()),
            Ok(false) => {
                state.job = Some(job);
                Err(nb::Error::WouldBlock)
            }
            Err(error) => {
                state.counters.transfer_errors += 1;
                Err(nb::Error::Other(error))
            }
        }
    }

    /// As many polls as it takes, all but the last of which would find that the job is not done.
    fn wait(&mut self) -> Result<(), DmaError> {
        if let Some(job) = &self.machine.pes[self.number].job {
            let polls = job
                .outcome_at()
                .saturating_sub(self.time)
                .div_ceil(timing::DMA_POLL);
            self.time += polls.saturating_sub(1) * timing::DMA_POLL;
        }
        nb::block!(dma::Channel::poll(self))
    }

    fn abort(&mut self) {
        self.time += timing::SEND;
        self.machine.pes[self.number].job = None;
    }
}

impl router::ErrorType for Pe<'_> {
    type Error = TableError;
}

impl Router for Pe<'_> {
    fn load(&mut self, table: &[Entry]) -> Result<(), TableError> {
        self.time += timing::SEND * table.len() as u64;
        self.machine.load_router(table)
    }
}

impl Ticks for Pe<'_> {
    fn now(&mut self) -> u64 {
        self.time += timing::READ_REGISTER;
        self.time
    }

    fn frequency(&self) -> u32 {
        timing::FREQUENCY
    }
}

impl DelayNs for Pe<'_> {
    fn delay_ns(&mut self, ns: u32) {
        let cycles = u64::from(ns) * u64::from(timing::FREQUENCY);
        self.time += cycles.div_ceil(1_000_000_000);
    }
}

impl ExpLog for Pe<'_> {
    fn exp(&mut self, x: I17F15) -> I17F15 {
        self.time += timing::READ_REGISTER;
        SoftwareExpLog.exp(x)
    }

    fn exp_fraction(&mut self, x: I17F15) -> I1F31 {
        self.time += timing::READ_REGISTER;
        SoftwareExpLog.exp_fraction(x)
    }

    fn ln(&mut self, x: I17F15) -> I17F15 {
        self.time += timing::READ_REGISTER;
        SoftwareExpLog.ln(x)
    }
}

/// The PE's generator, seeded as start-up code does it.
impl TryRng for Pe<'_> {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.time += timing::READ_REGISTER;
        self.machine.pes[self.number].kiss.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.time += 2 * timing::READ_REGISTER;
        self.machine.pes[self.number].kiss.try_next_u64()
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        self.time += timing::READ_REGISTER * dst.len().div_ceil(4) as u64;
        self.machine.pes[self.number].kiss.try_fill_bytes(dst)
    }
}
