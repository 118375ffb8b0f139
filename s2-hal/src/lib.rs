//! Hardware abstraction of the SpiNNaker2 neuromorphic chip, in the style of embedded-hal 1.0.
//!
//! The traits say what a program on a processing element (PE) may ask of the chip: send and receive
//! packets ([`packet`]), load the router ([`router`]), move memory ([`dma`]), read the time
//! ([`timer`]), take exponentials and logarithms ([`math`]), draw random numbers ([`rng`]) and talk
//! over a serial line ([`serial`]). Programs are written against these traits only, so that they run
//! unchanged on the host model of the chip (`mock`, with the feature of that name) and on a PE, by the
//! drivers in [`pe`].
//!
//! Each family of traits has one `ErrorType` and an `Error` whose `kind()` is one of a small set, so
//! that generic code can tell errors apart on any device. Every trait is also implemented for `&mut T`.
//! Operations that could wait return `nb::Result` instead.
//!
//! # Features
//! - `mock`: the host model of the chip, and doubles of a PE's registers for tests of drivers; needs
//!   `std`. Without it the crate is `no_std` and does not allocate.
//! - `provisional`: drivers may use encodings of registers that are inferred, or placeholders
//!   (`s2_pac::provisional`): packets to all QuadPEs, DMA over the network, UARTs, feed-through interrupts.
//!
//! # Where facts are known from
//! Much of SpiNNaker2 is not public. Where this crate states a fact about the chip, a tag says how it
//! is known:
//!
//! | Tag | Meaning |
//! |---|---|
//! | H | read in a public header or source file |
//! | J | the same, for the prototype chip (Jib1, two QuadPEs); probable for the production chip |
//! | N | read in public programs for the production chip |
//! | S | secondary: a public survey that quotes the chip's paper or the vendor's portal |
//! | I | inferred; published nowhere |
#![cfg_attr(not(any(feature = "mock", test)), no_std)]

pub mod dma;
pub mod math;
#[cfg(feature = "mock")]
pub mod mock;
pub mod packet;
pub mod pe;
pub mod rng;
pub mod router;
pub mod serial;
pub mod timer;
pub use s2_pac::map as topology;
