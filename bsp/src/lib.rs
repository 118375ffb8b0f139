//! A board with SpiNNaker2 on it: memory of a PE, what host and firmware write there, start-up.
//!
//! The portable part is shared by both ends, so that no offset exists twice: [`layout`] (where
//! everything is in a PE's SRAM), [`specification`] (what a program is told once), [`command`] (what it
//! is told for each run), [`record`] (what it tells the host), [`board`] (what boards differ in), and [`protocol`]
//! (how a host reaches all this over a serial line or a network).
//!
//! With the feature `firmware`, and when built for a PE, the module `firmware` is what runs there:
//! start-up, heap, fault handlers, and the loop around the programs of `eventprop-core`. The images are in
//! `src/bin`, examples for writing others in `examples`; `docs/firmware.md` of the repository is a guide.
#![cfg_attr(not(test), no_std)]

pub mod board;
pub mod command;
#[cfg(all(feature = "firmware", target_os = "none"))]
pub mod firmware;
pub mod layout;
pub mod protocol;
pub mod record;
pub mod specification;

#[cfg(all(feature = "firmware", target_os = "none"))]
pub use cortex_m_rt::entry;

/// The whole of a firmware image: on a PE it runs `$run`, a function that does not return.
///
/// On a PC, where images are built along with everything else but do not run, it says so.
#[macro_export]
macro_rules! image {
    ($run:expr) => {
        #[cfg(target_os = "none")]
        #[$crate::entry]
        fn main() -> ! {
            $run
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            eprintln!(
                "{} is firmware: build it with --target thumbv7em-none-eabihf",
                env!("CARGO_BIN_NAME")
            );
            std::process::exit(1);
        }
    };
}
