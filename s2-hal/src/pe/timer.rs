//! The timers of a PE: waiting, reading the time, and a regular tick.
//!
//! All three count the timers' reference clock, whose frequency they are told: 1 MHz by a second-hand
//! source (tag S), [`REFERENCE_CLOCK`]. They use no bits of the timers but those that public code uses
//! (tags J and N).

use core::convert::Infallible;
use core::num::NonZeroU32;

use s2_pac::bus::{Bus, Mmio};
use s2_pac::timer::{Timer, TimerControl};

use crate::timer::{DelayNs, Ticks};

/// Hertz of the timers' reference clock (tag S).
pub const REFERENCE_CLOCK: u32 = 1_000_000;

/// Counts 32 bits down, from the load value and then, round after round, from the largest one.
fn running() -> TimerControl {
    TimerControl::default().with_wide(true).with_enable(true)
}

/// Starts a timer anew, whatever it did before.
fn start<B: Bus>(timer: &mut Timer<B>, load: u32, control: TimerControl) {
    timer.control().write(TimerControl::default());
    timer.load().write(load);
    timer.clear().write(u32::MAX);
    timer.control().write(control);
}

/// A timer that waits.
#[derive(Debug)]
pub struct Delay<B = Mmio> {
    timer: Timer<B>,
    frequency: u32,
}

impl<B: Bus> Delay<B> {
    /// Waits by a timer on a clock of `frequency` Hertz.
    pub const fn new(timer: Timer<B>, frequency: u32) -> Self {
        Self { timer, frequency }
    }
}

impl<B: Bus> DelayNs for Delay<B> {
    /// Waits at least so long, by one to two ticks of the clock more.
    fn delay_ns(&mut self, ns: u32) {
        // At most 2^32 ns of a clock below 2^32 Hz: fits. The first tick may be a short one.
        let ticks = (u64::from(ns) * u64::from(self.frequency)).div_ceil(1_000_000_000) + 1;
        let mut left = ticks;
        while left > 0 {
            let part = u32::try_from(left).unwrap_or(u32::MAX);
            start(&mut self.timer, part, running());
            while !self.timer.raw_interrupt().read().pending() {}
            self.timer.control().write(TimerControl::default());
            left -= u64::from(part);
        }
    }
}

/// A timer that counts for ever: the time since it was started.
#[derive(Debug)]
pub struct Clock<B = Mmio> {
    timer: Timer<B>,
    frequency: u32,
    /// Times that the count has reached zero.
    rounds: u64,
    /// The time given last.
    last: u64,
}

impl<B: Bus> Clock<B> {
    /// Starts a timer on a clock of `frequency` Hertz.
    pub fn new(mut timer: Timer<B>, frequency: u32) -> Self {
        start(&mut timer, u32::MAX, running());
        Self {
            timer,
            frequency,
            rounds: 0,
            last: 0,
        }
    }

    /// Counts a zero that has passed.
    fn passed(&mut self) -> bool {
        let passed = self.timer.raw_interrupt().read().pending();
        if passed {
            self.timer.clear().write(u32::MAX);
            self.rounds += 1;
        }
        passed
    }
}

impl<B: Bus> Ticks for Clock<B> {
    /// The time must be read at least once in 2^32 ticks, which are 71 minutes at 1 MHz.
    fn now(&mut self) -> u64 {
        self.passed();
        let mut count = self.timer.value().read();
        if self.passed() {
            // The count may be one of before.
            count = self.timer.value().read();
        }
        // A round begins with the count of zero. Should hardware show it before the zero counts as
        // passed, the time stands still for that tick.
        let now = self.rounds << 32 | u64::from(count.wrapping_neg());
        self.last = self.last.max(now);
        self.last
    }

    fn frequency(&self) -> u32 {
        self.frequency
    }
}

/// A timer that ticks: the rhythm of a program, and its deadlines.
///
/// Each tick raises the timer's interrupt, which wakes a processor that sleeps. Dropping the ticker
/// stops it.
#[derive(Debug)]
pub struct Ticker<B: Bus = Mmio> {
    timer: Timer<B>,
}

impl<B: Bus> Ticker<B> {
    /// Ticks every `period` ticks of the reference clock, for the first time a period from now.
    pub fn new(mut timer: Timer<B>, period: NonZeroU32) -> Self {
        start(&mut timer, period.get(), TimerControl::PERIODIC);
        Self { timer }
    }

    /// Takes a tick: `WouldBlock` until it has come.
    ///
    /// # Errors
    /// None but `WouldBlock`.
    pub fn wait(&mut self) -> nb::Result<(), Infallible> {
        if !self.missed() {
            return Err(nb::Error::WouldBlock);
        }
        self.timer.clear().write(u32::MAX);
        Ok(())
    }

    /// Whether a tick has come that was not taken: asked at the end of the work for a tick, it tells that
    /// the work took too long. How many ticks have come, the timer does not tell.
    pub fn missed(&mut self) -> bool {
        self.timer.raw_interrupt().read().pending()
    }
}

impl<B: Bus> Drop for Ticker<B> {
    fn drop(&mut self) {
        self.timer.control().write(TimerControl::default());
        self.timer.clear().write(u32::MAX);
    }
}
