//! Entering and leaving exceptions, which unicorn leaves to its user.
//!
//! As the ARMv7-M architecture has it: eight words go to the stack, and behind them the floating-point
//! registers if the program uses them; the link register gets a value that leads back. State of the
//! floating-point unit is saved at once, not when it is first needed ("lazily"), which no program can
//! tell apart. Back-to-back exceptions unstack and stack again, which is not visible either.

use s2_pac::irq::INTERRUPTS;
use unicorn_engine::RegisterARM as R;

use crate::cpu::Cpu;
use crate::fault::{Access, Cause};
use crate::system::exception::INTERRUPT;

/// Words of a frame.
const BASIC: u32 = 8;
/// Words of a frame with floating-point registers.
const EXTENDED: u32 = 26;

/// Bit of the control register: the program uses floating point.
const USES_FLOATS: u32 = 1 << 2;
/// Bit of the control register: the program has a stack of its own.
const PROCESS_STACK: u32 = 1 << 1;

/// Bit of a saved status: the frame was moved by four bytes, to a multiple of eight.
const MOVED: u32 = 1 << 9;

const BASIC_REGISTERS: [R; 6] = [R::R0, R::R1, R::R2, R::R3, R::R12, R::LR];
const FLOATS: [R; 16] = [
    R::S0,
    R::S1,
    R::S2,
    R::S3,
    R::S4,
    R::S5,
    R::S6,
    R::S7,
    R::S8,
    R::S9,
    R::S10,
    R::S11,
    R::S12,
    R::S13,
    R::S14,
    R::S15,
];

/// Enters exception `number`.
pub(crate) fn enter(cpu: &mut Cpu, number: u8) -> Result<(), Cause> {
    let floats = cpu.register(R::CONTROL) & USES_FLOATS != 0;
    let own_stack = cpu.register(R::CONTROL) & PROCESS_STACK != 0;
    let nested = cpu.register(R::IPSR) & 0x1ff != 0;
    let stack = cpu.register(R::SP);
    let words = if floats { EXTENDED } else { BASIC };
    let moved = stack & 4 != 0;
    let frame = (stack & !7).wrapping_sub(4 * words);

    let mut status = cpu.register(R::XPSR) & !MOVED;
    if moved {
        status |= MOVED;
    }
    let back = cpu.pc();
    let mut saved: Vec<u32> = BASIC_REGISTERS
        .map(|register| cpu.register(register))
        .into();
    saved.extend([back, status]);
    if floats {
        saved.extend(FLOATS.map(|register| cpu.register(register)));
        saved.extend([cpu.register(R::FPSCR), 0]);
    }
    for (place, word) in (0..).zip(saved) {
        let address = frame.wrapping_add(4 * place);
        if let Err(region) = cpu.core().system.protection(address, true) {
            return Err(Cause::Protected {
                access: Access::Write,
                address,
                region,
                stack: true,
            });
        }
        if !cpu.poke(address, &word.to_le_bytes()) {
            return Err(no_frame(address));
        }
    }
    cpu.set_register(R::SP, frame);

    let mut link = match (nested, own_stack) {
        (true, _) => 0xffff_fff1,
        (false, false) => 0xffff_fff9,
        (false, true) => 0xffff_fffd,
    };
    if floats {
        link &= !0x10;
    }
    let vector = cpu
        .core()
        .system
        .vectors
        .wrapping_add(4 * u32::from(number));
    let Some(handler) = cpu.peek_word(vector) else {
        return Err(Cause::NoMemory {
            what: "vector",
            address: vector,
        });
    };
    // From here on, the stack pointer is the main one. Flags and conditional execution start anew.
    cpu.set_register(R::XPSR_NZCVQG, u32::from(number) | 1 << 24);
    let control = cpu.register(R::CONTROL) & !USES_FLOATS;
    cpu.set_register(R::CONTROL, control);
    cpu.set_register(R::LR, link);
    cpu.set_register(R::PC, handler | 1);
    cpu.mode_has_changed();
    cpu.core_mut().system.enter(number);
    let core = cpu.core_mut();
    let now = core.now();
    if let Some(trace) = &core.trace {
        trace.exception(now, back, "enter", &name(number));
    }
    if let Some(tree) = &mut core.call_tree {
        tree.interrupt(back);
    }
    if handler & 1 == 0 {
        return Err(Cause::NoThumb);
    }
    Ok(())
}

/// Leaves the exception that is being handled, by a jump to `value`.
pub(crate) fn leave(cpu: &mut Cpu, value: u32) -> Result<(), Cause> {
    let bad = Err(Cause::BadReturn { value });
    let number = (cpu.register(R::IPSR) & 0x1ff) as u8;
    let to_handler = match value & 0xf {
        0x1 => true,
        0x9 | 0xd => false,
        _ => return bad,
    };
    if number == 0 || !cpu.core_mut().system.leave(number) {
        return bad;
    }
    if to_handler != cpu.core().system.in_handler() {
        return bad;
    }
    // A handler that masked all faults has come to its end.
    cpu.set_register(R::FAULTMASK, 0);
    let own_stack = value & 0xf == 0xd;
    let frame = cpu.register(if own_stack { R::PSP } else { R::MSP });
    let floats = value & 0x10 == 0;
    let words = if floats { EXTENDED } else { BASIC };
    let mut saved = [0; EXTENDED as usize];
    for (place, word) in (0..).zip(&mut saved[..words as usize]) {
        let address = frame.wrapping_add(4 * place);
        *word = match cpu.peek_word(address) {
            Some(word) => word,
            None => {
                return Err(no_frame(address));
            }
        };
    }
    let status = saved[7];
    // Flags, conditional execution, and the exception that goes on; with it the mode.
    cpu.set_register(R::XPSR_NZCVQG, status & !MOVED | 1 << 24);
    if (status & 0x1ff != 0) != to_handler {
        return bad;
    }
    let mut control = cpu.register(R::CONTROL) & !(USES_FLOATS | PROCESS_STACK);
    if own_stack {
        control |= PROCESS_STACK;
    }
    if floats {
        control |= USES_FLOATS;
    }
    cpu.set_register(R::CONTROL, control);
    let stack = frame.wrapping_add(4 * words);
    let moved = if status & MOVED != 0 { 4 } else { 0 };
    cpu.set_register(R::SP, stack.wrapping_add(moved));
    for (register, word) in BASIC_REGISTERS.into_iter().zip(saved) {
        cpu.set_register(register, word);
    }
    if floats {
        for (register, word) in FLOATS.into_iter().zip(&saved[8..]) {
            cpu.set_register(register, *word);
        }
        cpu.set_register(R::FPSCR, saved[24]);
    }
    cpu.set_register(R::PC, saved[6] | 1);
    cpu.mode_has_changed();
    let core = cpu.core_mut();
    let now = core.now();
    if let Some(trace) = &core.trace {
        trace.exception(now, saved[6], "leave", &name(number));
    }
    if let Some(tree) = &mut core.call_tree {
        tree.go_on(saved[6] & !1);
    }
    Ok(())
}

fn no_frame(address: u32) -> Cause {
    Cause::NoMemory {
        what: "stack frame",
        address,
    }
}

/// Name of an exception, for messages.
fn name(number: u8) -> String {
    match number {
        2 => "NonMaskableInt".to_owned(),
        3 => "HardFault".to_owned(),
        4 => "MemManage".to_owned(),
        5 => "BusFault".to_owned(),
        6 => "UsageFault".to_owned(),
        11 => "SVCall".to_owned(),
        14 => "PendSV".to_owned(),
        15 => "SysTick".to_owned(),
        _ => {
            let interrupt = number.saturating_sub(INTERRUPT);
            match INTERRUPTS.get(usize::from(interrupt)) {
                Some(info) => info.name.to_owned(),
                None => format!("interrupt {interrupt}"),
            }
        }
    }
}
