//! Hardware abstraction of the SpiNNaker2 neuromorphic chip, in the style of embedded-hal 1.0.
//!
//! The traits say what a program on a processing element (PE) may ask of the chip: send and receive
//! packets ([`packet`]), load the router ([`router`]), move memory ([`dma`]), read the time
//! ([`timer`]), take exponentials and logarithms ([`math`]), draw random numbers ([`rng`]) and talk
//! over a serial line ([`serial`]). Programs are written against these traits only, so that they run
//! unchanged on the host model of the chip (`mock`, with the feature of that name) and on a PE.
#![cfg_attr(not(any(feature = "mock", test)), no_std)]

pub mod dma;
pub mod math;
#[cfg(feature = "mock")]
pub mod mock;
pub mod packet;
pub mod rng;
pub mod router;
pub mod serial;
pub mod timer;
pub mod topology;
