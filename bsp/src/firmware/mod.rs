//! What runs on a PE: start-up, the start-up heap, the end of a program that cannot go on, and the loop
//! that runs one of the on-chip programs.
//!
//! A firmware crate needs no more than this:
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! #[bsp::entry]
//! fn main() -> ! {
//!     let start = bsp::firmware::start(bsp::specification::Image::Other);
//!     // start.peripherals: the registers of this PE
//!     bsp::firmware::halt()
//! }
//! ```
//! `docs/firmware.md` of the repository is a guide to it.

mod fault;
pub mod heap;
mod live;
#[cfg(feature = "provisional")]
mod monitor;
mod program;
mod stack;
mod start;

pub use fault::halt;
pub use live::Live;
#[cfg(feature = "provisional")]
pub use monitor::monitor;
pub use program::run;
pub use stack::used as stack_used;
pub use start::{Start, start};

/// Sleeps until an interrupt that is enabled in the interrupt controller becomes pending, whether or not
/// interrupts are masked.
pub fn sleep() {
    cortex_m::asm::dsb();
    cortex_m::asm::wfi();
}
