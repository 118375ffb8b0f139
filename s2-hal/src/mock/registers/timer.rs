//! A timer of a PE, an SP804's.

use s2_pac::register::Value;
use s2_pac::timer::{Prescale, Timer as Block, TimerControl, TimerInterrupt};

use super::offset;
use crate::mock::FREQUENCY;

/// Ticks per second of the timers' reference clock. (1 MHz, tag S.)
pub const REFERENCE_CLOCK: u32 = 1_000_000;

const CYCLES: u64 = (FREQUENCY / REFERENCE_CLOCK) as u64;

const LOAD: u32 = offset(&Block::INFO, "LOAD");
const VALUE: u32 = offset(&Block::INFO, "VALUE");
const CONTROL: u32 = offset(&Block::INFO, "CTL");
const CLEAR: u32 = offset(&Block::INFO, "INT_CLR");
const RAW: u32 = offset(&Block::INFO, "RAW_INT");
const MASKED: u32 = offset(&Block::INFO, "MASK_INT");
const BACKGROUND: u32 = offset(&Block::INFO, "BG_LOAD");

#[derive(Debug)]
pub(super) struct Timer {
    control: TimerControl,
    load: u32,
    /// The count at cycle `since`.
    count: u32,
    since: u64,
    raw: bool,
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            control: TimerControl::default(),
            load: 0,
            count: u32::MAX,
            since: 0,
            raw: false,
        }
    }
}

impl Timer {
    /// Cycles per count.
    fn divider(&self) -> u64 {
        match self.control.prescale() {
            Some(Prescale::By16) => 16 * CYCLES,
            Some(Prescale::By256) => 256 * CYCLES,
            _ => CYCLES,
        }
    }

    /// Counts until a free-running counter is back where it was.
    fn modulus(&self) -> u64 {
        1 << if self.control.wide() { 32 } else { 16 }
    }

    /// Counts from one zero to the next.
    fn period(&self) -> u64 {
        if self.control.periodic() {
            u64::from(self.load.max(1))
        } else {
            self.modulus()
        }
    }

    /// Counts until the next zero; `None` when the timer stands still.
    fn left(&self) -> Option<u64> {
        let count = u64::from(self.count) % self.modulus();
        match (count, self.control.one_shot()) {
            _ if !self.control.enable() => None,
            (0, true) => None,
            (0, false) => Some(self.period()),
            (count, _) => Some(count),
        }
    }

    /// Brings the count up to date.
    fn advance(&mut self, now: u64) {
        let divider = self.divider();
        let ticks = now.saturating_sub(self.since) / divider;
        let Some(left) = self.left() else {
            self.since = now;
            return;
        };
        self.since += ticks * divider;
        let count = if ticks < left {
            left - ticks
        } else {
            self.raw = true;
            let beyond = ticks - left;
            if self.control.one_shot() {
                0
            } else {
                self.period() - beyond % self.period()
            }
        };
        // A free-running counter that has just reached zero shows it.
        self.count = (count % self.modulus()) as u32;
    }

    pub(super) fn read(&mut self, offset: u32, now: u64) -> Option<u32> {
        self.advance(now);
        let interrupt = |pending| TimerInterrupt::default().with_pending(pending).into_bits();
        Some(match offset {
            LOAD | BACKGROUND => self.load,
            VALUE => self.count,
            CONTROL => self.control.into_bits(),
            RAW => interrupt(self.raw),
            MASKED => interrupt(self.raw && self.control.interrupt()),
            _ => return None,
        })
    }

    pub(super) fn write(&mut self, offset: u32, value: u32, now: u64) -> Option<()> {
        self.advance(now);
        match offset {
            LOAD => {
                self.load = value;
                self.count = value;
                self.since = now;
            }
            CONTROL => self.control = TimerControl::from_bits(value),
            CLEAR => self.raw = false,
            BACKGROUND => self.load = value,
            _ => return None,
        }
        Some(())
    }

    pub(super) fn interrupt(&mut self, now: u64) -> bool {
        self.advance(now);
        self.raw && self.control.interrupt()
    }

    /// When the interrupt is raised next.
    pub(super) fn next(&mut self, now: u64) -> Option<u64> {
        self.advance(now);
        if self.raw || !self.control.interrupt() {
            return None;
        }
        Some(self.since + self.left()? * self.divider())
    }
}
