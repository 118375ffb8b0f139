//! The registers of a PE as a device that behaves.
//!
//! [`Registers`] is what a PE finds at its register addresses and through its windows on the chip:
//! transmit slots, receive rings, timers, the exponential unit, random numbers, other memories.
//! [`Periphery`] is what all PEs of a chip share: register files of the QuadPEs, UARTs, pins. What
//! lies beyond (network, memories, time) comes through the trait [`Surroundings`]. Two users exist: an
//! emulator, which runs machine code on these registers, and [`Bench`], a bus for tests of drivers.
//!
//! The model is strict: an access whose effect is not public, or that no correct driver makes, is an
//! [`UnknownAccess`], never ignored.
//!
//! # Assumptions
//! The registers' addresses and names are those that `s2-pac` describes, with the evidence given
//! there. How they behave is public only in part. The model adds, without evidence:
//!
//! - **Transmitter**: writing a key sends the payload word written since the last key of that slot,
//!   if there was one. A change of a slot's control counts once the status was written. A key while
//!   the transmitter is busy, or behind a change that was not told, is an error.
//! - **Rings**: a ring works while its settings and its control are not zero. It takes packets with
//!   payload and keeps one word free, so that full and empty differ. A moved read pointer counts once
//!   the settings were written again, which also ends an overrun's interrupt. The first ring that
//!   works takes all; packets that no ring takes go to the receiver, one at a time.
//! - **Write pointer**: may be written only while bit 2 of the controller's settings is set.
//! - **Timers**: those of an SP804, on a reference clock of [`REFERENCE_CLOCK`].
//! - **Exponential unit**: the bits of [`SoftwareExpLog`](crate::math::SoftwareExpLog). Results come in
//!   the order of the operands; each is read at the register that took its operand. A fifth operand
//!   and a read of an empty pipeline are errors.
//! - **Random numbers**: generator 2 is [`Kiss64`](crate::rng::Kiss64) and its seed registers show its
//!   state. The recurrence of generators 0 and 1 is not public: the same one stands in, as it does for
//!   the true random bus. A number as float is the number divided by 2^32.
//! - **DMA over the network** (feature `provisional`): by this project's placeholder encoding. The bytes
//!   move at the command; the end shows after a time.
//! - **UARTs** work byte by byte: reading takes a byte, a byte is sent if the lowest bit of `valid` is
//!   written, and that field reads back while the writer is busy, which is for ten times the clock
//!   divider's cycles.
//! - **Register files of the QuadPEs** lie in the order of PE numbers. Two kinds of registers are in the model: the
//!   masks of feed-through interrupts (a line reaches the PEs that have set its bit), and, with the feature
//!   `provisional`, the control of processors by this project's placeholder encoding, which those who execute
//!   programs go by ([`Periphery::is_held`]).
//! - **Interrupts** are levels. A feed-through line that is raised for a moment only, by hand
//!   ([`Periphery::pulse`]) or by a change of its source, is seen once.

mod bench;
mod comms;
mod nmu;
mod periphery;
#[cfg(test)]
mod tests;
mod timer;

use std::fmt;

use s2_pac::comms::{Global, GlobalControl, Id};
use s2_pac::irq::Interrupt;
use s2_pac::map::{
    self, COMMS_GLOBAL, COMMS_NOC_DMA, COMMS_RECEIVE, COMMS_RING_0, COMMS_RING_1, COMMS_TRANSMIT,
    TIMER_1, TIMER_2,
};
use s2_pac::register::{BlockInfo, Value};

pub use bench::Bench;
pub use periphery::Periphery;
pub use timer::REFERENCE_CLOCK;

use crate::dma::{Address, Place};
use crate::packet::Packet;
use crate::topology::{Destination, PeId};

/// Offset of a register in its block, by its name in the public source.
const fn offset(block: &BlockInfo, name: &str) -> u32 {
    let mut index = 0;
    while index < block.registers.len() {
        let register = &block.registers[index];
        if same(register.name.as_bytes(), name.as_bytes()) {
            return register.offset;
        }
        index += 1;
    }
    panic!("the block has no register of that name")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// An address with the name of its register, for messages.
pub fn name(address: u32) -> impl fmt::Display + fmt::Debug {
    let known = s2_pac::BLOCKS.iter().find_map(|block| {
        block.instances.iter().find_map(|&(instance, base)| {
            let offset = address.checked_sub(base)?;
            let register = block.registers.iter().find(|register| {
                offset >= register.offset
                    && (offset - register.offset).is_multiple_of(register.stride)
                    && (offset - register.offset) / register.stride < register.count
            })?;
            let index = (offset - register.offset) / register.stride;
            let register = match (register.count, register.name.split_once("%s")) {
                (1, _) => register.name.to_owned(),
                (_, Some((before, after))) => format!("{before}{index}{after}"),
                (_, None) => format!("{}[{index}]", register.name),
            };
            Some(format!("{register} of {instance}"))
        })
    });
    let known = known.unwrap_or_else(|| match Address(address).place() {
        Some(_) => Address(address).to_string(),
        None => "no register".to_owned(),
    });
    // Not quoted in `Debug` output either.
    fmt::from_fn(move |f| write!(f, "{address:#010x} ({known})"))
}

/// An access whose effect is not public, or that no correct driver makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAccess {
    /// Where.
    pub address: u32,
    /// Whether it was a write.
    pub write: bool,
}

impl fmt::Display for UnknownAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} has no known effect at this point",
            if self.write {
                "a write to"
            } else {
                "a read of"
            },
            name(self.address),
        )
    }
}

impl std::error::Error for UnknownAccess {}

/// The SRAM of a PE.
pub trait Sram {
    /// The word at byte `offset`, a multiple of 4 below [`SRAM_BYTES`](map::SRAM_BYTES).
    fn load(&self, offset: u32) -> u32;

    /// Changes that word.
    fn store(&mut self, offset: u32, value: u32);
}

/// All words of the SRAM.
impl Sram for [u32] {
    fn load(&self, offset: u32) -> u32 {
        self[offset as usize / 4]
    }

    fn store(&mut self, offset: u32, value: u32) {
        self[offset as usize / 4] = value;
    }
}

/// What a PE's registers reach of the rest of the chip.
pub trait Surroundings {
    /// Time in cycles of [`FREQUENCY`](super::FREQUENCY). Never goes back.
    fn now(&self) -> u64;

    /// Hands a packet to the network, now. Returns when the transmitter is free again.
    fn send(&mut self, to: Destination, packet: Packet) -> u64;

    /// Reads the word at `address`, a multiple of 4, in the SRAM of another PE or in DRAM; `None` if it
    /// cannot be reached.
    fn load(&mut self, address: Address) -> Option<u32>;

    /// Writes that word.
    fn store(&mut self, address: Address, value: u32) -> Option<()>;

    /// What the PEs of the chip share.
    fn periphery(&mut self) -> &mut Periphery;
}

/// The registers of one PE. See the [module](self).
#[derive(Debug)]
pub struct Registers {
    id: PeId,
    chip: u16,
    global_control: u32,
    transmit: comms::Transmit,
    receive: comms::Receive,
    rings: [comms::Ring; 2],
    #[cfg(feature = "provisional")]
    noc_dma: comms::NocDma,
    timers: [timer::Timer; 2],
    nmu: nmu::Nmu,
}

const RING_BYTES: u32 = COMMS_RING_1 - COMMS_RING_0;
const TIMER_BYTES: u32 = TIMER_2 - TIMER_1;
#[cfg(feature = "provisional")]
const NOC_DMA_END: u32 = COMMS_NOC_DMA + 0x80;
const TIMERS_END: u32 = TIMER_2 + TIMER_BYTES;
const NMU_END: u32 = map::EXP_LOG + 0x20;

const ID: u32 = COMMS_GLOBAL + offset(&Global::INFO, "ID");
const GLOBAL_CONTROL: u32 = COMMS_GLOBAL + offset(&Global::INFO, "GCTL");

impl Registers {
    /// The registers of PE `id` on chip `chip` after reset.
    pub fn new(id: PeId, chip: u16) -> Self {
        Self {
            id,
            chip,
            global_control: 0,
            transmit: comms::Transmit::default(),
            receive: comms::Receive::default(),
            rings: Default::default(),
            #[cfg(feature = "provisional")]
            noc_dma: comms::NocDma::default(),
            timers: Default::default(),
            nmu: nmu::Nmu::new(id, chip),
        }
    }

    /// Whose registers these are.
    pub const fn id(&self) -> PeId {
        self.id
    }

    /// Reads the word at `address`.
    ///
    /// # Errors
    /// If that has no known effect at this point; nothing was changed then.
    pub fn read<S: Sram + ?Sized, A: Surroundings + ?Sized>(
        &mut self,
        address: u32,
        sram: &mut S,
        around: &mut A,
    ) -> Result<u32, UnknownAccess> {
        let now = around.now();
        let value = match address {
            _ if !address.is_multiple_of(4) => None,
            COMMS_TRANSMIT..COMMS_RECEIVE => self.transmit.read(address - COMMS_TRANSMIT, now),
            COMMS_RECEIVE..COMMS_GLOBAL => self.receive.read(address - COMMS_RECEIVE),
            ID => Some(
                Id::default()
                    .with_pe(self.id.noc_id())
                    .with_chip(self.chip)
                    .into_bits(),
            ),
            GLOBAL_CONTROL => Some(self.global_control),
            COMMS_RING_0..COMMS_NOC_DMA => {
                let offset = address - COMMS_RING_0;
                self.rings[(offset / RING_BYTES) as usize].read(offset % RING_BYTES)
            }
            #[cfg(feature = "provisional")]
            COMMS_NOC_DMA..NOC_DMA_END => self.noc_dma.read(address - COMMS_NOC_DMA, now),
            TIMER_1..TIMERS_END => {
                let offset = address - TIMER_1;
                self.timers[(offset / TIMER_BYTES) as usize].read(offset % TIMER_BYTES, now)
            }
            map::KISS32_0..NMU_END => self.nmu.read(address),
            map::QUAD_PE_REGISTERS.. => around.periphery().read(address, now),
            _ => match Address(address).place() {
                Some(Place::Sram { pe, offset }) if pe == self.id => Some(sram.load(offset)),
                Some(_) => around.load(Address(address)),
                None => None,
            },
        };
        value.ok_or(UnknownAccess {
            address,
            write: false,
        })
    }

    /// Writes the word at `address`.
    ///
    /// # Errors
    /// If that has no known effect at this point; nothing was changed then.
    pub fn write<S: Sram + ?Sized, A: Surroundings + ?Sized>(
        &mut self,
        address: u32,
        value: u32,
        sram: &mut S,
        around: &mut A,
    ) -> Result<(), UnknownAccess> {
        let now = around.now();
        let done = match address {
            _ if !address.is_multiple_of(4) => None,
            COMMS_TRANSMIT..COMMS_RECEIVE => {
                self.transmit.write(address - COMMS_TRANSMIT, value, around)
            }
            COMMS_RECEIVE..COMMS_GLOBAL => self.receive.write(address - COMMS_RECEIVE, value),
            GLOBAL_CONTROL => {
                self.global_control = value;
                Some(())
            }
            COMMS_RING_0..COMMS_NOC_DMA => {
                let offset = address - COMMS_RING_0;
                let opened = GlobalControl::from_bits(self.global_control).ring_write();
                self.rings[(offset / RING_BYTES) as usize].write(offset % RING_BYTES, value, opened)
            }
            #[cfg(feature = "provisional")]
            COMMS_NOC_DMA..NOC_DMA_END => {
                self.noc_dma
                    .write(address - COMMS_NOC_DMA, value, self.id, sram, around)
            }
            TIMER_1..TIMERS_END => {
                let offset = address - TIMER_1;
                self.timers[(offset / TIMER_BYTES) as usize].write(offset % TIMER_BYTES, value, now)
            }
            map::KISS32_0..NMU_END => self.nmu.write(address, value),
            map::QUAD_PE_REGISTERS.. => around.periphery().write(address, value, now),
            _ => match Address(address).place() {
                Some(Place::Sram { pe, offset }) if pe == self.id => {
                    sram.store(offset, value);
                    Some(())
                }
                Some(_) => around.store(Address(address), value),
                None => None,
            },
        };
        done.ok_or(UnknownAccess {
            address,
            write: true,
        })
    }

    /// Lets a packet arrive. Returns whether it was taken; if not, it was dropped and counted.
    pub fn receive<S: Sram + ?Sized>(&mut self, packet: Packet, sram: &mut S) -> bool {
        match packet.payload {
            Some(payload) if self.rings.iter().any(comms::Ring::works) => self
                .rings
                .iter_mut()
                .find(|ring| ring.works())
                .is_some_and(|ring| ring.receive(payload, packet.key, sram)),
            _ => self.receive.receive(packet),
        }
    }

    /// Interrupt lines that are raised: bit n stands for interrupt n. The call takes the pulses of
    /// feed-through lines, so that each of them shows once.
    pub fn interrupts<A: Surroundings + ?Sized>(&mut self, around: &mut A) -> u64 {
        let now = around.now();
        let mut lines = 0;
        let mut raise = |interrupt: Interrupt, raised: bool| {
            lines |= u64::from(raised) << interrupt as u32;
        };
        let timers = self.timers.each_mut().map(|timer| timer.interrupt(now));
        raise(Interrupt::TIMER_INT1, timers[0]);
        raise(Interrupt::TIMER_INT2, timers[1]);
        raise(Interrupt::TIMER_INTC, timers[0] || timers[1]);
        raise(Interrupt::COMMS_TX_EMPTY, self.transmit.is_ready(now));
        raise(Interrupt::COMMS_RX_NOT_EMPTY, self.receive.waits());
        raise(Interrupt::COMMS_RX_NOT_EMPTY_MC, self.receive.waits());
        raise(Interrupt::COMMS_RX_OVERRUN, self.receive.overrun());
        let [first, second] = &self.rings;
        raise(Interrupt::COMMS_DMA_0_NOT_EMPTY, first.words() > 0);
        raise(Interrupt::COMMS_DMA_0_FULL, first.is_full());
        raise(Interrupt::COMMS_DMA_0_LIMIT, first.limit_reached());
        raise(Interrupt::COMMS_DMA_0_OVERRUN, first.overrun());
        raise(Interrupt::COMMS_DMA_NOT_EMPTY, second.words() > 0);
        raise(Interrupt::COMMS_DMA_FULL, second.is_full());
        raise(Interrupt::COMMS_DMA_LIMIT, second.limit_reached());
        raise(Interrupt::COMMS_DMA_1_OVERRUN, second.overrun());
        #[cfg(feature = "provisional")]
        {
            let (read, write) = self.noc_dma.ended(now);
            raise(Interrupt::COMMS_DMA_READ, read);
            raise(Interrupt::COMMS_DMA_WRITE, write);
        }
        let feed_through = around.periphery().feed_through(self.id, now);
        lines | u64::from(feed_through) << Interrupt::FT_INT_0 as u32
    }

    /// When the next interrupt comes by time alone: of a timer, the end of a DMA job, or a UART that is ready.
    /// `None` if none will.
    pub fn next_event<A: Surroundings + ?Sized>(&mut self, around: &mut A) -> Option<u64> {
        let now = around.now();
        let timers = self.timers.iter_mut().filter_map(|timer| timer.next(now));
        #[cfg(feature = "provisional")]
        let timers = timers.chain(self.noc_dma.end(now));
        timers
            .chain(around.periphery().next_event(self.id, now))
            .min()
    }
}
