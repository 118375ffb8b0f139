//! The end of a program that cannot go on: a record that the host can read, and sleep.

use core::panic::PanicInfo;
use core::ptr::with_exposed_provenance;

use eventprop_core::program::Waiting;

use super::Live;
use crate::layout;
use crate::record::{Cause, Exception, Record};

/// Sleeps for ever, whatever happens.
pub fn halt() -> ! {
    cortex_m::interrupt::disable();
    // Registers for the 45 interrupts of the product chip. What is pending would end every sleep at once.
    // SAFETY: disabling interrupts in their controller calls no handler.
    unsafe {
        for register in &(&(*cortex_m::peripheral::NVIC::PTR).icer)[..2] {
            register.write(u32::MAX);
        }
    }
    loop {
        cortex_m::asm::wfi();
    }
}

/// Appends a number to the text of a record. (Formatting by the core library would take more code than
/// all programs have.)
fn write_number(record: &mut Record, number: u32) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    record.write_text(&digits[at..]);
}

/// Records the message, if it is a plain text, and the place.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    Live::new().update(|record| {
        record.stack_used = super::stack::used();
        record.stop(Cause::Panic);
        if let Some(message) = info.message().as_str() {
            record.write_text(message.as_bytes());
            record.write_text(b", ");
        }
        if let Some(location) = info.location() {
            record.write_text(location.file().as_bytes());
            record.write_text(b":");
            write_number(record, location.line());
        }
    });
    halt()
}

/// Bytes of the stack that faults are handled on: the program's own may be used up.
const STACK_BYTES: usize = 1024;

#[repr(C, align(8))]
struct FaultStack(core::cell::UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the fault handler uses it, as its stack.
unsafe impl Sync for FaultStack {}

static FAULT_STACK: FaultStack = FaultStack(core::cell::UnsafeCell::new([0; STACK_BYTES]));

// Every fault ends in `HardFault`: the others are not enabled. The stack pointer at that time goes to
// the handler as its argument, since the processor has stored there what the program was doing.
core::arch::global_asm!(
    ".section .HardFault, \"ax\", %progbits",
    ".global HardFault",
    ".type HardFault, %function",
    ".thumb_func",
    "HardFault:",
    "mrs r0, msp",
    "ldr r1, ={stack} + {bytes}",
    "msr msp, r1",
    "b {handler}",
    ".pool",
    ".size HardFault, . - HardFault",
    stack = sym FAULT_STACK,
    bytes = const STACK_BYTES,
    handler = sym handle,
);

/// Records what the processor knows about a fault.
extern "C" fn handle(stack: u32) -> ! {
    /// Configurable fault status; addresses of memory-management and bus faults (ARMv7-M, B3.2).
    const CFSR: usize = 0xe000_ed28;
    const MMFAR: usize = 0xe000_ed34;
    const BFAR: usize = 0xe000_ed38;
    /// The address register holds the address.
    const MMARVALID: u32 = 1 << 7;
    const BFARVALID: u32 = 1 << 15;
    /// The processor could not store what the program was doing.
    const STACKING_FAILED: u32 = 1 << 4 | 1 << 12;
    /// Where in what it has stored the address of the instruction is.
    const PC: u32 = 24;

    // SAFETY: these are registers of the processor, and reading them changes nothing.
    let read = |address| unsafe { with_exposed_provenance::<u32>(address).read_volatile() };
    let status = read(CFSR);
    let address = match status {
        _ if status & MMARVALID != 0 => Some(read(MMFAR)),
        _ if status & BFARVALID != 0 => Some(read(BFAR)),
        _ => None,
    };
    let on_stack = (layout::STATICS.start..layout::STACK.end - PC).contains(&stack);
    let pc = (status & STACKING_FAILED == 0 && on_stack && stack.is_multiple_of(4))
        .then(|| read((stack + PC) as usize));
    let exception = Exception {
        status,
        address,
        pc,
        stack,
    };
    Live::new().stop(Cause::Exception(exception), Waiting::Nothing);
    halt()
}
