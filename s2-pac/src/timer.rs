//! The two timers of a PE, with the registers of an ARM SP804.

use crate::register::{block, fields, values};

block! {
    /// A down-counter on the timer reference clock.
    ///
    /// That clock is 1 MHz by a second-hand source; product code calls the load value "cycles of the
    /// timer reference clock" and takes 1000 for a millisecond.
    Timer {
        /// Value to count down from; writing it restarts the count.
        [J "qpe-types.h; used in product code (N)"]
        load = 0x00, "LOAD": u32, ReadWrite;
        /// The count.
        [J "qpe-types.h (COUNT); called VALUE in product code (N)"]
        value = 0x04, "VALUE": u32, ReadPure;
        /// Control.
        [J "qpe-types.h (CONTROL); called CTL in product code (N)"]
        control = 0x08, "CTL": TimerControl, ReadWrite;
        /// Writing anything clears the interrupt.
        [J "qpe-types.h; used in product code (N)"]
        clear = 0x0c, "INT_CLR": u32, Write;
        /// Whether the count has passed zero since the last clear.
        [J "qpe-types.h; product code reads it to find missed deadlines (N)"]
        raw_interrupt = 0x10, "RAW_INT": TimerInterrupt, ReadPure;
        /// The same, if the interrupt is enabled.
        [J "qpe-types.h"]
        masked_interrupt = 0x14, "MASK_INT": TimerInterrupt, ReadPure;
        /// Value for the next period; does not restart the count.
        [J "qpe-types.h"]
        background_load = 0x18, "BG_LOAD": u32, ReadWrite;
    }
    instances TIMER_1, TIMER_2
}

fields! {
    /// Control of a timer. The bits in use ([`TimerControl::PERIODIC`]) are read in public code; their
    /// names, and the other bits, are those of the SP804.
    TimerControl {
        /// Stops at zero.
        [I] 0..=0 one_shot / with_one_shot: bool;
        /// Counts 32 bits, not 16.
        [J] 1..=1 wide / with_wide: bool;
        /// Divides the clock.
        [I] 2..=3 prescale / with_prescale: Prescale;
        /// Raises an interrupt at zero.
        [J] 5..=5 interrupt / with_interrupt: bool;
        /// Starts again at zero from the load value, not from the largest one.
        [J] 6..=6 periodic / with_periodic: bool;
        /// Counts.
        [J] 7..=7 enable / with_enable: bool;
    }
}

impl TimerControl {
    /// Enabled, periodic, with interrupt, 32 bits: the value that public code writes (tags J and N).
    pub const PERIODIC: Self = Self(0xe2);
}

values! {
    /// How far a timer divides its clock (SP804).
    Prescale {
        /// Not at all.
        By1 = 0,
        /// By 16.
        By16 = 1,
        /// By 256.
        By256 = 2,
    }
}

fields! {
    /// Whether a timer asks for attention.
    TimerInterrupt {
        /// It does.
        [J] 0..=0 pending / with_pending: bool;
    }
}
