//! Feed-through interrupts: lines that reach all PEs of a chip, to start and stop them together.
//!
//! Public product code enables them by a mask for each PE (tag N): line 0 starts a run, line 1 resets
//! the state. Where the mask of a PE lies is **inferred** ([`s2_pac::provisional`]); so this module is
//! there with the feature `provisional` only.

use s2_pac::bus::{Bus, Mmio};
use s2_pac::provisional::quad_pe_registers;
use s2_pac::qpe::QuadPe;

use crate::topology::PeId;

/// A feed-through line, and the interrupt that it raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Line {
    /// `FT_INT_0`: starts a run in product code.
    Start = 0,
    /// `FT_INT_1`: resets the state in product code.
    Reset = 1,
    /// `FT_INT_2`.
    Second = 2,
    /// `FT_INT_3`.
    Third = 3,
}

/// The chip has no such PE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPe(
    /// The PE.
    pub PeId,
);

impl core::fmt::Display for NoSuchPe {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the chip has no {}", self.0)
    }
}

impl core::error::Error for NoSuchPe {}

/// The masks of feed-through interrupts of all PEs.
#[derive(Debug)]
pub struct FeedThrough<B = Mmio> {
    bus: B,
}

impl<B: Bus> FeedThrough<B> {
    pub(super) const fn new(bus: B) -> Self {
        Self { bus }
    }

    /// Enables these lines for PE `pe`, and no others.
    ///
    /// # Errors
    /// If the chip has no such PE.
    pub fn enable(&mut self, pe: PeId, lines: &[Line]) -> Result<(), NoSuchPe> {
        if !pe.exists() {
            return Err(NoSuchPe(pe));
        }
        let mask = lines.iter().fold(0, |mask, &line| mask | 1 << line as u8);
        // SAFETY: the register file of the QuadPE is there, by the inference that this module is behind.
        // The mask of one PE is in a word of its own, which nobody else is given.
        let mut registers = unsafe { QuadPe::at(&mut self.bus, quad_pe_registers(pe.x, pe.y)) };
        registers.feed_through(pe.pe.into()).write(mask);
        Ok(())
    }
}
