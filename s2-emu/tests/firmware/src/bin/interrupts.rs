//! Interrupts while the program computes: floating-point state, priorities, tail-chaining, masks, sleep.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{NVIC, SCB};
use cortex_m_rt::{entry, exception};
use firmware::{exit, println};
use s2_pac::bus::Mmio;
use s2_pac::interrupt;
use s2_pac::irq::Interrupt;
use s2_pac::map;
use s2_pac::timer::{Timer, TimerControl};

/// An interrupt that only software raises here.
const SOFTWARE_INTERRUPT: Interrupt = Interrupt::REGFILE_INT_8;

/// What the program is about, for the host.
#[unsafe(no_mangle)]
static PHASE: AtomicU32 = AtomicU32::new(0);

static TIMER_1: AtomicU32 = AtomicU32::new(0);
static TIMER_2: AtomicU32 = AtomicU32::new(0);
static TICKS: AtomicU32 = AtomicU32::new(0);
static SOFTWARE: AtomicU32 = AtomicU32::new(0);
static NESTED: AtomicU32 = AtomicU32::new(0);
static SERVICES: AtomicU32 = AtomicU32::new(0);
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// The order in which handlers were entered.
struct Log(UnsafeCell<([u8; 8], usize)>);
// SAFETY: written by handlers of one priority, which do not interrupt each other, and read later.
unsafe impl Sync for Log {}
static LOG: Log = Log(UnsafeCell::new(([0; 8], 0)));

fn timer(base: u32) -> Timer<Mmio> {
    // SAFETY: this program runs on a PE, and its parts use a timer's registers one at a time.
    unsafe { Timer::at(Mmio::new(), base) }
}

fn note(name: u8) {
    // SAFETY: see `Log`.
    let (names, count) = unsafe { &mut *LOG.0.get() };
    if *count < names.len() {
        names[*count] = name;
        *count += 1;
    }
}

/// What the compiler puts into floating-point registers, to be spoiled by whoever does not save them.
#[inline(never)]
fn compute(seed: f32, rounds: u32) -> f32 {
    let (mut a, mut b, mut c) = (seed, seed * 0.5, seed * 0.25);
    for _ in 0..black_box(rounds) {
        (a, b, c) = (b * 0.75 + 0.125, c * 0.5 + a * 0.25, a * 0.5 - b * 0.125);
    }
    a + b + c
}

#[entry]
fn main() -> ! {
    let mut peripherals = cortex_m::Peripherals::take().expect("nobody has taken them");
    let expected = compute(1.0, 5000).to_bits();

    // SAFETY: the handlers below are made for it.
    unsafe {
        peripherals.NVIC.set_priority(Interrupt::TIMER_INT1, 0x80);
        peripherals.NVIC.set_priority(Interrupt::TIMER_INT2, 0x40);
        peripherals.NVIC.set_priority(SOFTWARE_INTERRUPT, 0xc0);
        for interrupt in [
            Interrupt::TIMER_INT1,
            Interrupt::TIMER_INT2,
            SOFTWARE_INTERRUPT,
        ] {
            NVIC::unmask(interrupt);
        }
    }
    assert_eq!(NVIC::get_priority(Interrupt::TIMER_INT2), 0x40);
    for (base, load) in [(map::TIMER_1, 7), (map::TIMER_2, 11)] {
        timer(base).load().write(load);
        timer(base).control().write(TimerControl::PERIODIC);
    }
    peripherals.SYST.set_clock_source(SystClkSource::Core);
    peripherals.SYST.set_reload(4999);
    peripherals.SYST.clear_current();
    peripherals.SYST.enable_counter();
    peripherals.SYST.enable_interrupt();

    PHASE.store(1, Ordering::Relaxed);
    for round in 0..20 {
        assert_eq!(compute(1.0, 5000).to_bits(), expected, "round {round}");
    }
    assert!(TIMER_1.load(Ordering::Relaxed) > 50);
    assert!(TIMER_2.load(Ordering::Relaxed) > 30);
    assert!(TICKS.load(Ordering::Relaxed) > 20);
    assert!(
        NESTED.load(Ordering::Relaxed) > 0,
        "handlers were interrupted"
    );

    PHASE.store(2, Ordering::Relaxed);
    // A supervisor call, and one exception behind the other.
    // SAFETY: the processor keeps the registers.
    unsafe { core::arch::asm!("svc 0") };
    assert_eq!(SERVICES.load(Ordering::Relaxed), 1);

    // Masked, interrupts wait, and the processor wakes for them all the same.
    cortex_m::interrupt::disable();
    let before = TIMER_1.load(Ordering::Relaxed);
    cortex_m::asm::wfi();
    cortex_m::asm::wfi();
    assert_eq!(TIMER_1.load(Ordering::Relaxed), before);
    // SAFETY: nothing depends on the mask.
    unsafe { cortex_m::interrupt::enable() };

    // Above the base priority only.
    peripherals.SYST.disable_interrupt();
    timer(map::TIMER_2).control().write(TimerControl::default());
    // SAFETY: nothing depends on the base priority.
    unsafe { cortex_m::register::basepri::write(0x80) };
    let before = TIMER_1.load(Ordering::Relaxed);
    compute(1.0, 5000);
    assert_eq!(TIMER_1.load(Ordering::Relaxed), before);
    // SAFETY: as above.
    unsafe { cortex_m::register::basepri::write(0) };
    compute(1.0, 10);
    assert!(TIMER_1.load(Ordering::Relaxed) > before);
    timer(map::TIMER_1).control().write(TimerControl::default());
    timer(map::TIMER_1).clear().write(1);
    NVIC::unpend(Interrupt::TIMER_INT1);

    // What was pending while masked comes by priority, then by number.
    cortex_m::interrupt::disable();
    // SAFETY: see `Log`.
    unsafe { (*LOG.0.get()).1 = 0 };
    NVIC::pend(SOFTWARE_INTERRUPT);
    NVIC::pend(Interrupt::TIMER_INT1);
    SCB::set_pendsv();
    NVIC::pend(Interrupt::TIMER_INT2);
    // SAFETY: nothing depends on the mask.
    unsafe { cortex_m::interrupt::enable() };
    cortex_m::asm::isb();
    // SAFETY: see `Log`.
    let (order, _) = unsafe { *LOG.0.get() };
    assert_eq!(&order[..4], b"p21s");
    assert_eq!(SOFTWARE.load(Ordering::Relaxed), 1);

    PHASE.store(3, Ordering::Relaxed);
    // Sleep until the timer has struck ten times.
    let start = TIMER_1.load(Ordering::Relaxed);
    timer(map::TIMER_1).load().write(1000);
    timer(map::TIMER_1).control().write(TimerControl::PERIODIC);
    while TIMER_1.load(Ordering::Relaxed) < start + 10 {
        cortex_m::asm::wfi();
    }
    timer(map::TIMER_1).control().write(TimerControl::default());
    // The handlers have been events; the first wait takes them. Then it takes one that is remembered.
    cortex_m::asm::wfe();
    cortex_m::asm::sev();
    cortex_m::asm::wfe();
    println!("done");
    exit(0)
}

#[interrupt]
fn TIMER_INT1() {
    timer(map::TIMER_1).clear().write(u32::MAX);
    DEPTH.fetch_add(1, Ordering::Relaxed);
    black_box(compute(3.0, 40));
    DEPTH.fetch_sub(1, Ordering::Relaxed);
    TIMER_1.fetch_add(1, Ordering::Relaxed);
    note(b'1');
}

#[interrupt]
fn TIMER_INT2() {
    timer(map::TIMER_2).clear().write(u32::MAX);
    if DEPTH.load(Ordering::Relaxed) > 0 {
        NESTED.fetch_add(1, Ordering::Relaxed);
    }
    black_box(compute(5.0, 40));
    TIMER_2.fetch_add(1, Ordering::Relaxed);
    note(b'2');
}

#[interrupt]
fn REGFILE_INT_8() {
    SOFTWARE.fetch_add(1, Ordering::Relaxed);
    note(b's');
}

#[exception]
fn SysTick() {
    black_box(compute(7.0, 10));
    TICKS.fetch_add(1, Ordering::Relaxed);
}

#[exception]
fn SVCall() {
    SERVICES.fetch_add(1, Ordering::Relaxed);
}

#[exception]
fn PendSV() {
    note(b'p');
}
