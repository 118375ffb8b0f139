//! What the test programs share: output by semihosting, and how they end.
#![no_std]

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

pub mod training;

// Its table of interrupts is part of every program.
use s2_pac as _;

/// Semihosting calls.
pub mod call {
    /// Writes the zero-terminated string at the argument.
    pub const WRITE0: u32 = 0x04;
    /// Writes the character at the argument.
    pub const WRITEC: u32 = 0x03;
    /// Ends the program.
    pub const EXIT: u32 = 0x18;
    /// Ends the program with a code.
    pub const EXIT_EXTENDED: u32 = 0x20;
    /// Hundredths of a second since the start.
    pub const CLOCK: u32 = 0x10;
    /// "The program has ended by itself."
    pub const APPLICATION_EXIT: u32 = 0x20026;
}

/// Makes a semihosting call.
pub fn semihosting(call: u32, argument: u32) -> u32 {
    let answer;
    // SAFETY: the debugger, or emulator, reads what the argument points to and changes r0 alone.
    unsafe { asm!("bkpt 0xab", inlateout("r0") call => answer, in("r1") argument) };
    answer
}

/// Writes text to the console.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            semihosting(call::WRITEC, (&raw const byte).addr() as u32);
        }
        Ok(())
    }
}

/// Prints a line.
#[macro_export]
macro_rules! println {
    ($($part:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::Console, $($part)*);
    }};
}

/// Ends the program with `code`.
pub fn exit(code: u32) -> ! {
    let block = [call::APPLICATION_EXIT, code];
    semihosting(call::EXIT_EXTENDED, block.as_ptr().addr() as u32);
    unreachable!("the emulator has ended the program")
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    exit(101)
}
