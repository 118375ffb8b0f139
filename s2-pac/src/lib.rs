//! SpiNNaker2's registers, as far as they are public.
//!
//! The crate owns nothing and keeps no state: a block is a base address and a [`Bus`](bus::Bus), and a
//! method for each register gives a [`Register`](register::Register) that can be read or written as its
//! kind allows. No reference to device memory exists at any time.
//!
//! | module | blocks | evidence |
//! |---|---|---|
//! | [`comms`] | packets, receive rings, network DMA | J, partly used in product code (N) |
//! | [`timer`] | two timers | J, partly used in product code (N); two fields I, as in the SP804 |
//! | [`nmu`] | exponential and logarithm, random numbers | J |
//! | [`mla`] | machine-learning accelerator | J; encodings not public |
//! | [`uart`] | two serial lines | J; prototype only |
//! | [`qpe`] | register file of a QuadPE; general-purpose interrupts | J; names and offsets, no bits |
//! | [`jibcore`], [`jibmgmt`] | the prototype's periphery | J; prototype only, few bits |
//! | [`irq`] | interrupts | J; 36 of the product's 45 |
//! | [`map`] | addresses, PEs, core ids | addresses J, places of PEs H |
//! | `provisional` | encodings that are inferred; behind the feature of that name | I |
//!
//! # Where facts are known from
//! Every register says how it is known, by the tags of [`Evidence`](register::Evidence). Most of them
//! are those of the prototype chip Jib1 (tag J): the product's are probably the same, which nobody
//! has published.
//!
//! [`BLOCKS`] and [`irq::INTERRUPTS`] describe all of it to programs. The file `svd/spinnaker2.svd` of
//! this crate is the same in CMSIS-SVD, for debuggers and other tools.
//!
//! # Features
//! - `provisional`: the module of that name. Off by default.
//! - `rt`: interrupt handlers by `cortex-m-rt`, see [`irq`]. Off by default.
//!
//! # Examples
//! On a PE one reads a timer so:
//! ```no_run
//! use s2_pac::{bus::Mmio, map, timer::Timer};
//!
//! // SAFETY: this code runs on a PE, and nobody else uses its first timer.
//! let mut timer = unsafe { Timer::at(Mmio::new(), map::TIMER_1) };
//! let ticks_left = timer.value().read();
//! ```
#![cfg_attr(not(test), no_std)]

pub mod bus;
pub mod comms;
pub mod irq;
pub mod jibcore;
pub mod jibmgmt;
pub mod map;
pub mod mla;
pub mod nmu;
#[cfg(feature = "provisional")]
pub mod provisional;
pub mod qpe;
pub mod register;
pub mod timer;
pub mod uart;

pub use irq::{Interrupt, NVIC_PRIO_BITS};

// The attribute looks for the interrupt's name in an `interrupt` in scope.
#[cfg(all(feature = "rt", target_os = "none"))]
pub use {cortex_m_rt::interrupt, irq::Interrupt as interrupt};

/// Descriptions of all blocks of registers.
pub const BLOCKS: &[register::BlockInfo] = &[
    nmu::Kiss::INFO,
    nmu::TrueRandomConfig::INFO,
    nmu::TrueRandom::INFO,
    nmu::ExpLog::INFO,
    timer::Timer::INFO,
    comms::Transmit::INFO,
    comms::Receive::INFO,
    comms::Global::INFO,
    comms::Ring::INFO,
    comms::NocDma::INFO,
    mla::MlAccelerator::INFO,
    qpe::QuadPe::INFO,
    qpe::GeneralInterrupts::INFO,
    jibmgmt::JibManagement::INFO,
    uart::Uart::INFO,
    jibcore::JibCore::INFO,
];
