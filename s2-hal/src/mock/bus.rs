//! A strict double of the bus: plays an expected sequence of register accesses, for tests of one driver.
//!
//! A [`Script`] stands in for the chip's registers. Reads and writes must come in exactly the order in
//! which they were written down, at exactly these addresses and, for writes, with exactly these values;
//! anything else panics with what was expected and what came, by the names of the registers. What a
//! driver does *not* do is checked by the same rule.
//!
//! A script is a handle: its clones, given to several drivers, play the same sequence.
//!
//! # Examples
//! ```
//! use s2_hal::mock::bus::Script;
//! use s2_pac::timer::{Timer, TimerControl};
//! use s2_pac::{bus::Bus, map};
//!
//! fn start(mut timer: Timer<impl Bus>, ticks: u32) {
//!     timer.load().write(ticks);
//!     timer.control().write(TimerControl::PERIODIC);
//! }
//!
//! let script = Script::new()
//!     .writes(map::TIMER_1, 1000)
//!     .writes(map::TIMER_1 + 8, 0xe2);
//! // SAFETY: a script is no hardware.
//! start(unsafe { Timer::at(script.clone(), map::TIMER_1) }, 1000);
//! script.done();
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use s2_pac::bus::Bus;

use super::registers::name;

/// The double. See the [module](self).
///
/// Dropping the last handle of a script with steps left panics, as [`done`](Script::done) does.
#[derive(Clone, Debug, Default)]
pub struct Script(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    /// Steps that were played.
    played: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Read { address: u32, value: u32 },
    Write { address: u32, value: u32 },
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Read { address, .. } => write!(f, "a read of {}", name(address)),
            Self::Write { address, value } => {
                write!(f, "a write of {value:#x} to {}", name(address))
            }
        }
    }
}

impl Script {
    /// An empty script.
    pub fn new() -> Self {
        Self::default()
    }

    fn step(self, step: Step) -> Self {
        self.0.borrow_mut().steps.push_back(step);
        self
    }

    /// Expects a read at `address`, and answers `value`.
    #[must_use]
    pub fn reads(self, address: u32, value: u32) -> Self {
        self.step(Step::Read { address, value })
    }

    /// Expects that `value` is written to `address`.
    #[must_use]
    pub fn writes(self, address: u32, value: u32) -> Self {
        self.step(Step::Write { address, value })
    }

    /// Ends the test, or a part of it: more steps may follow.
    ///
    /// # Panics
    /// If steps are left.
    pub fn done(&self) {
        self.0.borrow().check_done();
    }

    /// Takes the next step.
    fn next(&mut self, came: &dyn fmt::Debug) -> (usize, Step) {
        let mut state = self.0.borrow_mut();
        let number = state.played;
        let Some(step) = state.steps.pop_front() else {
            panic!("the script ended after {number} steps, then {came:?} came")
        };
        state.played += 1;
        (number, step)
    }
}

impl State {
    fn check_done(&self) {
        assert!(
            self.steps.is_empty(),
            "{} steps of the script were not played; number {} is {:?}",
            self.steps.len(),
            self.played,
            self.steps.front(),
        );
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_done();
        }
    }
}

impl Bus for Script {
    fn read(&mut self, address: u32) -> u32 {
        if std::thread::panicking() {
            // A driver that is dropped on the way: the first deviation is the one to report.
            return 0;
        }
        let came = Step::Read { address, value: 0 };
        match self.next(&came) {
            (
                _,
                Step::Read {
                    address: expected,
                    value,
                },
            ) if expected == address => value,
            (number, expected) => {
                panic!("step {number} of the script: expected {expected:?}, but {came:?} came")
            }
        }
    }

    fn write(&mut self, address: u32, value: u32) {
        if std::thread::panicking() {
            return;
        }
        let came = Step::Write { address, value };
        let (number, expected) = self.next(&came);
        assert!(
            expected == came,
            "step {number} of the script: expected {expected:?}, but {came:?} came",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2_pac::map;

    fn message(test: impl FnOnce() + std::panic::UnwindSafe) -> String {
        *std::panic::catch_unwind(test)
            .expect_err("the script was followed")
            .downcast()
            .unwrap()
    }

    #[test]
    fn deviations_are_named() {
        let text = message(|| {
            let mut script = Script::new().writes(map::TIMER_2 + 8, 0xe2);
            script.write(map::TIMER_2 + 8, 0xe3);
        });
        assert_eq!(
            text,
            "step 0 of the script: expected a write of 0xe2 to 0xe1000028 (CTL of TIMER_2), \
             but a write of 0xe3 to 0xe1000028 (CTL of TIMER_2) came"
        );

        let text = message(|| {
            let mut script = Script::new().reads(map::COMMS + 0x7c, 0);
            script.read(map::COMMS + 0x54);
        });
        assert_eq!(
            text,
            "step 0 of the script: expected a read of 0xe200007c (TCTL of COMMS_TRANSMIT), \
             but a read of 0xe2000054 (TKR[2] of COMMS_TRANSMIT) came"
        );

        let text = message(|| {
            let mut script = Script::new();
            script.write(0x1234, 0);
        });
        assert!(text.contains("ended after 0 steps") && text.contains("0x00001234 (no register)"));

        let text = message(|| drop(Script::new().reads(map::TIMER_1, 0)));
        assert!(text.contains("1 steps of the script were not played"));
    }
}
