//! The silicon: drivers over the registers of a PE.
//!
//! [`Peripherals`] hands out the blocks of registers, once; drivers take them and offer the traits of
//! this crate and of embedded-hal. [`Pe`] bundles what a program of the training needs. Drivers are
//! generic over the [`Bus`], so that they run on a PC against doubles
//! (`mock::bus`, `mock::registers`); on a PE it is [`Mmio`], the default.
//!
//! | driver | over | traits | evidence |
//! |---|---|---|---|
//! | [`Sender`] | transmit slot | [`PacketSender`] | N; without `provisional`, QuadPE (1,1) only |
//! | [`Receiver`] | receive ring | [`PacketReceiver`] | J, N; the end of the ring I ([`ring_end`](s2_pac::comms::ring_end)) |
//! | [`WindowCopy`] | windows on other memories | [`dma::Channel`] | J |
//! | `NocCopy` | network DMA | [`dma::Channel`] | placeholder: feature `provisional` |
//! | [`Delay`], [`Clock`], [`Ticker`] | timer | [`DelayNs`](crate::timer::DelayNs), [`Ticks`] | J, N |
//! | [`ExpLogUnit`] | exponential unit | [`ExpLog`] | J |
//! | [`Generator`] | random numbers | [`TryRng`](crate::rng::TryRng) | J |
//! | [`Pins`](gpio::Pins) | pins of the prototype | [`digital`](embedded_hal::digital) | J, by names |
//! | `Uart` | serial line of the prototype | embedded-io, embedded-hal-nb | feature `provisional` |
//! | `FeedThrough` | interrupt masks | – | feature `provisional` |
//! | `Cores` | control of processors | – | placeholder: feature `provisional` |
//!
//! There is no driver of the router, pulse width, true random numbers, locks, power or clocks: their
//! encodings are not public.

#[cfg(feature = "provisional")]
pub mod cores;
mod exp_log;
pub mod gpio;
#[cfg(feature = "provisional")]
pub mod interrupt;
#[cfg(feature = "provisional")]
mod noc_dma;
mod packet;
mod ring;
mod rng;
mod timer;
#[cfg(feature = "provisional")]
pub mod uart;
mod window;

pub use exp_log::{ExpLogUnit, IterationsError, MOST_ITERATIONS, Operand, Outcome, PipelineFull};
#[cfg(feature = "provisional")]
pub use noc_dma::NocCopy;
pub use packet::{PacketError, Sender};
pub use ring::{Receiver, RingSizeError};
pub use rng::Generator;
pub use timer::{Clock, Delay, REFERENCE_CLOCK, Ticker};
pub use window::{Window, WindowCopy};

use s2_pac::bus::{Bus, Mmio};
use s2_pac::comms::{Global, NocDma, Receive, Ring, Transmit};
use s2_pac::jibmgmt::JibManagement;
use s2_pac::map;
use s2_pac::nmu::{self, Kiss, TrueRandom, TrueRandomConfig};
use s2_pac::timer::Timer;
use s2_pac::uart::Uart;

use crate::dma::{self, Address, Direction, JobError, Place};
use crate::math::{ExpLog, I1F31, I17F15, SoftwareExpLog};
use crate::packet::{Fanout, Packet, PacketReceiver, PacketSender};
use crate::timer::Ticks;
use crate::topology::PeId;

/// The blocks of registers that a PE reaches, each for one owner.
///
/// UARTs and management registers are shared by all PEs of a chip: their owner is one of this PE's
/// drivers, but not the only one on the chip.
#[derive(Debug)]
#[non_exhaustive]
pub struct Peripherals<B = Mmio> {
    /// Transmitter of packets: [`Sender`].
    pub transmit: Transmit<B>,
    /// Receiver of packets that no ring takes.
    pub receive: Receive<B>,
    /// Identification, and settings of the communications controller.
    pub global: Global<B>,
    /// First receive ring: [`Receiver`].
    pub ring_0: Ring<B>,
    /// Second receive ring.
    pub ring_1: Ring<B>,
    /// DMA over the network: `NocCopy`.
    pub noc_dma: NocDma<B>,
    /// First timer: [`Delay`], [`Clock`] or [`Ticker`].
    pub timer_1: Timer<B>,
    /// Second timer.
    pub timer_2: Timer<B>,
    /// Exponential and logarithm: [`ExpLogUnit`].
    pub exp_log: nmu::ExpLog<B>,
    /// First random number generator: [`Generator`].
    pub kiss32_0: Kiss<B>,
    /// Second random number generator.
    pub kiss32_1: Kiss<B>,
    /// Third random number generator, the documented one.
    pub kiss64: Kiss<B>,
    /// Settings of the true random bus.
    pub true_random_config: TrueRandomConfig<B>,
    /// Values of the true random bus.
    pub true_random: TrueRandom<B>,
    /// First UART.
    pub uart_0: Uart<B>,
    /// Second UART.
    pub uart_1: Uart<B>,
    /// Management registers: [`gpio::Pins`].
    pub management: JibManagement<B>,
    /// The windows on other memories: [`WindowCopy`].
    pub window: Window<B>,
    /// Masks of feed-through interrupts.
    #[cfg(feature = "provisional")]
    pub feed_through: interrupt::FeedThrough<B>,
    /// Control of the processors of all PEs.
    #[cfg(feature = "provisional")]
    pub cores: cores::Cores<B>,
}

#[cfg(target_os = "none")]
impl Peripherals {
    /// The registers of the PE that this code runs on; `None` after the first call.
    pub fn take() -> Option<Self> {
        use core::sync::atomic::{AtomicBool, Ordering};
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: only the first call comes here.
        Some(unsafe { Self::steal() })
    }

    /// The registers, whoever else has them.
    ///
    /// # Safety
    /// No block is used that someone else uses, or that was handed out by [`take`](Self::take).
    pub unsafe fn steal() -> Self {
        // SAFETY: the crate is built for a PE, and the caller keeps blocks from being used twice. Each
        // clone goes to another block.
        Self::with_bus(unsafe { Mmio::new() })
    }
}

impl<B: Bus + Clone> Peripherals<B> {
    /// The blocks over a bus whose clones reach the same registers: a double, or [`Mmio`].
    pub fn with_bus(bus: B) -> Self {
        // SAFETY: each block is at its address and made once. That nobody else works on the registers
        // is, with `Mmio`, the promise of whoever made the bus; with a double it does not matter.
        unsafe {
            Self {
                transmit: Transmit::at(bus.clone(), map::COMMS_TRANSMIT),
                receive: Receive::at(bus.clone(), map::COMMS_RECEIVE),
                global: Global::at(bus.clone(), map::COMMS_GLOBAL),
                ring_0: Ring::at(bus.clone(), map::COMMS_RING_0),
                ring_1: Ring::at(bus.clone(), map::COMMS_RING_1),
                noc_dma: NocDma::at(bus.clone(), map::COMMS_NOC_DMA),
                timer_1: Timer::at(bus.clone(), map::TIMER_1),
                timer_2: Timer::at(bus.clone(), map::TIMER_2),
                exp_log: nmu::ExpLog::at(bus.clone(), map::EXP_LOG),
                kiss32_0: Kiss::at(bus.clone(), map::KISS32_0),
                kiss32_1: Kiss::at(bus.clone(), map::KISS32_1),
                kiss64: Kiss::at(bus.clone(), map::KISS64),
                true_random_config: TrueRandomConfig::at(bus.clone(), map::TRUE_RANDOM_CONFIG),
                true_random: TrueRandom::at(bus.clone(), map::TRUE_RANDOM),
                uart_0: Uart::at(bus.clone(), map::UART_0),
                uart_1: Uart::at(bus.clone(), map::UART_1),
                management: JibManagement::at(bus.clone(), map::JIB_MANAGEMENT),
                #[cfg(feature = "provisional")]
                feed_through: interrupt::FeedThrough::new(bus.clone()),
                #[cfg(feature = "provisional")]
                cores: cores::Cores::new(bus.clone()),
                window: Window::new(bus),
            }
        }
    }
}

impl<B: Bus> Peripherals<B> {
    /// Which PE this is, by its own register; `None` if that names a PE that the chip does not have.
    pub fn pe(&mut self) -> Option<PeId> {
        PeId::from_noc_id(self.global.id().read().pe())
    }

    /// On which chip it is.
    pub fn chip(&mut self) -> u16 {
        self.global.id().read().chip()
    }
}

/// Checks a job of PE `own` by the rules of the chip; it may not be about the PE's own memory.
fn check(own: PeId, local: *mut u8, remote: Address, length: usize) -> Result<(), JobError> {
    dma::check(local.addr(), remote, length).map_err(JobError::Refused)?;
    match remote.place() {
        Some(Place::Sram { pe, .. }) if pe == own => Err(JobError::OwnMemory),
        _ => Ok(()),
    }
}

/// What a program of the training needs of a PE: packets, DMA, exponentials, time.
///
/// Exponentials are those of [`SoftwareExpLog`], not of the PE's unit: the unit's last bits are not
/// public, and the results of a training must be the same bits everywhere.
///
/// Before a packet is sent, the places of packets that were received are given back to the ring: what
/// a program sends may allow others to send more.
#[derive(Debug)]
pub struct Pe<B: Bus = Mmio, C = WindowCopy<B>> {
    /// Sends packets.
    pub sender: Sender<B>,
    /// Receives packets.
    pub receiver: Receiver<B>,
    /// Copies memory.
    pub channel: C,
    /// Tells the time.
    pub clock: Clock<B>,
}

impl<B: Bus, C> crate::packet::ErrorType for Pe<B, C> {
    type Error = PacketError;
}

impl<B: Bus, C> PacketSender for Pe<B, C> {
    fn try_send(&mut self, to: Fanout<'_>, packet: Packet) -> nb::Result<(), PacketError> {
        self.receiver.commit();
        self.sender.try_send(to, packet)
    }
}

impl<B: Bus, C> PacketReceiver for Pe<B, C> {
    #[inline]
    fn try_receive(&mut self) -> nb::Result<Packet, PacketError> {
        self.receiver.try_receive()
    }
}

impl<B: Bus, C: dma::ErrorType> dma::ErrorType for Pe<B, C> {
    type Error = C::Error;
}

// SAFETY: every call is forwarded, so the promises are those of `C`; moving a `Pe` moves a `C`.
unsafe impl<B: Bus, C: dma::Channel> dma::Channel for Pe<B, C> {
    unsafe fn start(
        &mut self,
        direction: Direction,
        local: *mut u8,
        remote: Address,
        length: usize,
    ) -> Result<(), C::Error> {
        // SAFETY: the caller keeps the contract of `start`, which is the same one.
        unsafe { self.channel.start(direction, local, remote, length) }
    }

    fn poll(&mut self) -> nb::Result<(), C::Error> {
        self.channel.poll()
    }

    fn wait(&mut self) -> Result<(), C::Error> {
        self.channel.wait()
    }

    fn abort(&mut self) {
        self.channel.abort();
    }
}

impl<B: Bus, C> ExpLog for Pe<B, C> {
    fn exp(&mut self, x: I17F15) -> I17F15 {
        SoftwareExpLog.exp(x)
    }

    fn exp_fraction(&mut self, x: I17F15) -> I1F31 {
        SoftwareExpLog.exp_fraction(x)
    }

    fn ln(&mut self, x: I17F15) -> I17F15 {
        SoftwareExpLog.ln(x)
    }
}

impl<B: Bus, C> Ticks for Pe<B, C> {
    fn now(&mut self) -> u64 {
        self.clock.now()
    }

    fn frequency(&self) -> u32 {
        self.clock.frequency()
    }
}
