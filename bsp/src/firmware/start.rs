//! From reset to the first line of a program.
//!
//! `cortex-m-rt` paints the stack, clears `.bss`, turns the floating-point unit on and calls `main`. It
//! copies no `.data`: whoever loads an image writes every segment where it belongs.

use s2_hal::pe::{Generator, Peripherals};
use s2_hal::topology::PeId;

use super::{Live, heap, stack};
use crate::record::Record;
use crate::specification::Image;

/// What a program finds when it starts.
#[non_exhaustive]
pub struct Start {
    /// The PE that it runs on.
    pub pe: PeId,
    /// The chip that the PE is on.
    pub chip: u16,
    /// The PE's registers.
    pub peripherals: Peripherals,
    /// The registers of the processor itself.
    pub core: cortex_m::Peripherals,
}

/// Prepares the PE, as public start-up code does (tag J): buffered writes, the KISS64 generator seeded for
/// this PE. Besides: the guard of the stack, the start-up heap, and the PE's record.
///
/// # Panics
/// When called twice, or if the PE's own register names a PE that the chip does not have.
#[must_use]
pub fn start(image: Image) -> Start {
    let mut peripherals = Peripherals::take().expect("start is called once");
    let mut core = cortex_m::Peripherals::take().expect("start is called once");
    let id = peripherals.global.id().read();
    let number = u32::from(id.chip()) << 16 | u32::from(id.pe());
    Live::new().write(&Record::starting(image, number));
    stack::guard(&mut core.MPU);
    // SAFETY: `Peripherals::take` was successful, so this is the first call.
    unsafe { heap::init() };
    let pe = PeId::from_noc_id(id.pe()).expect("the chip has this PE");
    let control = peripherals.global.control();
    control.modify(|control| control.with_buffered_write(true));
    // SAFETY: nobody uses the generator yet, and this driver ends with the statement.
    let kiss64 = unsafe { Peripherals::steal() }.kiss64;
    let _seeded = Generator::for_pe(kiss64, id.chip(), pe);
    Start {
        pe,
        chip: id.chip(),
        peripherals,
        core,
    }
}
