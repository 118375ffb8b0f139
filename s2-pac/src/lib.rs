//! SpiNNaker2's registers, as far as they are public.
//!
//! One module for each block of the chip: [`comms`] (packets, receive rings, network DMA), [`timer`].
//! [`map`] says where things are. The crate owns nothing and keeps no state: a block is a base address
//! and a [`Bus`](bus::Bus), and a method for each register gives a [`Register`](register::Register) that
//! can be read or written as its kind allows. No reference to device memory exists at any time.
//!
//! # Where facts are known from
//! Every register says how it is known, by the tags of [`Evidence`](register::Evidence). Most of them
//! are those of the prototype chip Jib1 (tag J): the product's are probably the same, which nobody
//! has published. Encodings that are inferred are in the module `provisional`, behind the feature of that
//! name, and nowhere else.
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
pub mod map;
#[cfg(feature = "provisional")]
pub mod provisional;
pub mod register;
pub mod timer;
