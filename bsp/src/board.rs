//! What boards differ in.

use s2_hal::topology::{PeId, jib1};

/// A board, or rather the chip on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name.
    pub name: &'static str,
    /// Ticks per second of the timer reference clock.
    pub timer_frequency: u32,
    /// Whether the UARTs, the pins and the pulse-width modulators are where public headers of the
    /// prototype have them.
    pub has_jib1_periphery: bool,
}

/// The prototype chip Jib1: 8 PEs in two QuadPEs, of which one stands at column 1, row 1. Addresses
/// of its registers are public (tag J).
pub const JIB1: Board = Board {
    name: "jib1",
    timer_frequency: 1_000_000,
    has_jib1_periphery: true,
};

/// A board with the product chip: 152 PEs in 38 QuadPEs. That its registers are where Jib1 has them is
/// probable, not known; those of its periphery differ.
pub const SPINNAKER2: Board = Board {
    name: "spinnaker2",
    timer_frequency: 1_000_000,
    has_jib1_periphery: false,
};

/// All boards.
pub const BOARDS: [Board; 2] = [JIB1, SPINNAKER2];

impl Board {
    /// Whether the chip has this PE, as far as is known: of Jib1's QuadPEs one place is public.
    #[must_use]
    pub fn has(&self, pe: PeId) -> bool {
        if self.has_jib1_periphery {
            pe.pe < 4 && (pe.x, pe.y) == jib1::KNOWN_QUAD_PE
        } else {
            pe.exists()
        }
    }
}

/// The board that firmware is built for: [`JIB1`] with the feature `jib1`, otherwise [`SPINNAKER2`].
pub const BOARD: Board = if cfg!(feature = "jib1") {
    JIB1
} else {
    SPINNAKER2
};
