//! Does what no program should. The host chooses what, by a word that the start-up code leaves alone.
#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::scb::Exception;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use firmware::{exit, println};

/// What to do.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".uninit.drill")]
static DRILL: AtomicU32 = AtomicU32::new(0);

/// Faults that were handled.
static HANDLED: AtomicU32 = AtomicU32::new(0);

const GUARD: u32 = 0x1_0000;

#[entry]
fn main() -> ! {
    match DRILL.load(Ordering::Relaxed) {
        1 => wild_read(0xc000_0004 as *const u32),
        2 => unknown_register(0xe200_0abc as *mut u32),
        3 => wild_jump(0x0004_0001),
        4 => {
            guard();
            overflow(1);
        }
        5 => {
            overflow(1);
        }
        6 => endless_loop(),
        7 => undefined(),
        8 => floats_without_unit(),
        // SAFETY: a breakpoint changes nothing.
        9 => unsafe { asm!("bkpt 3") },
        10 => half_register(0xe100_0000 as *mut u16),
        11 => handled(),
        12 => sleep_for_ever(),
        13 => panic!("drill {}", 13),
        14 => wild_jump(main_without_thumb()),
        15 => unaligned(),
        16 => lost_stack(),
        _ => println!("no such drill"),
    }
    exit(HANDLED.load(Ordering::Relaxed))
}

#[inline(never)]
fn wild_read(pointer: *const u32) {
    // SAFETY: not at all.
    black_box(unsafe { read_volatile(pointer) });
}

#[inline(never)]
fn unknown_register(pointer: *mut u32) {
    // SAFETY: not at all.
    unsafe { write_volatile(pointer, 5) };
}

#[inline(never)]
fn half_register(pointer: *mut u16) {
    // SAFETY: not at all.
    unsafe { write_volatile(pointer, 5) };
}

#[inline(never)]
fn wild_jump(address: u32) {
    // SAFETY: not at all.
    unsafe { asm!("bx {}", in(reg) address) };
}

fn main_without_thumb() -> u32 {
    (wild_read as *const () as u32) & !1
}

#[inline(never)]
fn unaligned() {
    // SAFETY: not at all.
    unsafe { asm!("ldrex {1}, [{0}]", in(reg) 0x8002, out(reg) _) };
}

/// An exception with a stack pointer that leads nowhere.
fn lost_stack() {
    // SAFETY: not at all.
    unsafe { asm!("mov sp, {0}", "svc 0", in(reg) 0xa000_0000_u32, options(noreturn)) };
}

/// A region without access, of 256 bytes in the middle of the memory.
fn guard() {
    // SAFETY: nobody else uses the unit.
    let mpu = unsafe { &*cortex_m::peripheral::MPU::PTR };
    // SAFETY: the program expects what this forbids.
    unsafe {
        mpu.rbar.write(GUARD | 0x10);
        mpu.rasr.write(7 << 1 | 1);
        mpu.ctrl.write(5);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn overflow(depth: u32) -> u32 {
    let frame = black_box([depth; 16]);
    frame[3] + overflow(frame[5] + 1)
}

#[inline(never)]
fn endless_loop() {
    while black_box(true) {}
}

#[inline(never)]
fn undefined() {
    // SAFETY: not at all.
    unsafe { asm!("udf 1") };
}

#[inline(never)]
fn floats_without_unit() {
    // SAFETY: the program expects what this forbids.
    unsafe { (*cortex_m::peripheral::SCB::PTR).cpacr.write(0) };
    black_box(black_box(1.5_f32) * black_box(2.5_f32));
}

/// A fault with a handler of its own, from which the program goes on.
fn handled() {
    // SAFETY: nobody else uses the system control block.
    let mut peripherals = unsafe { cortex_m::Peripherals::steal() };
    peripherals.SCB.enable(Exception::MemoryManagement);
    guard();
    // SAFETY: the write is forbidden, and skipped by the handler.
    unsafe { write_volatile((GUARD + 8) as *mut u32, 1) };
    let place = peripherals.SCB.mmfar.read();
    assert_eq!(place, GUARD + 8);
    // Beside it, in the same page, memory works as ever.
    // SAFETY: nobody uses this memory.
    unsafe {
        write_volatile((GUARD + 0x100) as *mut u32, 0x1234_5678);
        write_volatile((GUARD + 0x102) as *mut u8, 0xab);
        assert_eq!(read_volatile((GUARD + 0x100) as *const u32), 0x12ab_5678);
        assert_eq!(read_volatile((GUARD + 0x102) as *const u16), 0x12ab);
    }
}

#[inline(never)]
fn sleep_for_ever() {
    cortex_m::asm::wfi();
}

/// Skips the instruction, a `str` of 16 or 32 bits.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    println!("exception {number}");
}

core::arch::global_asm!(
    ".global MemoryManagement",
    ".type MemoryManagement, %function",
    ".thumb_func",
    "MemoryManagement:",
    "mov r0, sp",
    "b {}",
    sym memory_fault,
);

/// Skips the instruction that was stopped. `frame` is what the processor has stacked.
unsafe extern "C" fn memory_fault(frame: *mut u32) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the frame has eight words, and the seventh is the address of an instruction.
    unsafe {
        let pc = frame.add(6);
        let wide = read_volatile(*pc as *const u16) >> 11 >= 0b11101;
        *pc += if wide { 4 } else { 2 };
    }
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    println!("hard fault at {:#x}", frame.pc());
    exit(99)
}
