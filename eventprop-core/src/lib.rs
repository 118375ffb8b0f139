//! EventProp in fixed point: training of spiking neural networks by event-based backpropagation,
//! without the standard library, without allocation and without unsafe code.
//!
//! The crate is written once and runs on a SpiNNaker2 PE, on emulated hardware, on the host model of
//! the chip and in one process, with the same bits everywhere:
//!
//! - [`numeric`] holds the formats of every quantity and the rules of rounding;
//! - [`tables`] the decay coefficients of both discretisations;
//! - [`neuron`] (forward) and [`adjoint`] (backward) the kernels of one layer and one time step;
//! - [`loss`], [`optimizer`] and [`encoding`] what stands at both ends of a network;
//! - [`network`] runs whole networks in one process;
//! - [`event`] says what a packet means, and [`program`] holds the four on-chip programs, generic over
//!   the traits of `s2-hal`.
//!
//! The mathematics, with its sources, stands in `docs/mathematics.md` of the repository.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod adjoint;
#[cfg(test)]
mod bounds;
pub mod encoding;
pub mod event;
pub mod log;
pub mod loss;
pub mod network;
pub mod neuron;
pub mod numeric;
pub mod optimizer;
pub mod program;
pub mod state;
pub mod tables;
pub mod vector;
