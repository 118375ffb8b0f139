//! An emulator of SpiNNaker2's processing elements: it executes their firmware, as it is.
//!
//! A [`Machine`] is a chip whose PEs each execute an ELF file ([`Image`]) on an emulated Cortex-M4F. The
//! chip around them, with network, router, memories, faults and time, is the host model of
//! [`s2_hal::mock`]; registers behave as [`s2_hal::mock::registers`] says, with the assumptions written
//! there. Instructions are executed by [unicorn](https://www.unicorn-engine.org); what that leaves out
//! is here: interrupt controller, exceptions, system timer, memory protection, semihosting.
//!
//! A [`Board`] is a chip on which only the monitor runs, with a host at its serial line.
//!
//! The same images, settings and seed give the same run, instruction for instruction, on every computer.
//! Time is the number of instructions executed and of cycles slept: there is no other clock.
//!
//! # Faults
//! Whatever no correct program does ends the run with a [`Fault`] that names PE, program, place and cause: an
//! access to an address without a known register or memory, memory protection, stack overflow, an
//! undefined instruction, an endless loop, and more ([`Cause`]). On the chip, most of these would be
//! exceptions; [`Options::deliver_faults`] gives them to the program's handlers instead.
//!
//! # Cycles
//! Counts of cycles are estimates, and named so: from a table of instruction timings that ARM publishes
//! for the Cortex-M4, with memory that answers at once. The table is at the head of `src/code.rs`. Nothing
//! was measured on a chip.
//!
//! # What is not modelled
//! Alignment faults but for exclusive accesses (unicorn performs the others), traps of division by zero,
//! execution without privileges, debug and trace units but for the cycle counter, lazy stacking of
//! floating-point state (it is stacked at once), and whatever is not public of the chip.
//!
//! # Licence
//! Unicorn is under the GNU General Public License, version 2, and so is this crate. No other crate of
//! the workspace is built with it, unless the feature `emulated` of host-tools asks for it.
//!
//! # Examples
//! ```no_run
//! use std::path::Path;
//! use std::rc::Rc;
//!
//! use s2_emu::{Image, Machine, Options};
//! use s2_hal::mock::Config;
//! use s2_hal::topology::PeId;
//!
//! let image = Rc::new(Image::open(Path::new("firmware.elf"))?);
//! let mut machine = Machine::new(Config::default());
//! let pe = PeId::new(1, 1, 0).ok_or("no such PE")?;
//! machine.load(pe, image, Options::default())?;
//! machine.run()?;
//! for function in machine.processor(pe).ok_or("not loaded")?.functions() {
//!     println!("{:>12} {}", function.instructions, function.name);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod board;
mod code;
mod cpu;
mod exceptions;
mod fault;
mod gdb;
mod image;
mod machine;
mod processor;
mod profile;
mod semihosting;
mod system;
mod trace;
mod uart;

pub use board::Board;
pub use fault::{Access, Cause, Fault};
pub use image::{Image, ImageError, Symbols};
pub use machine::{LoadError, Machine, PeReport, RunError, Waiting};
pub use processor::{Count, Options, Processor, State};
pub use profile::FunctionCount;
pub use trace::TraceOptions;
