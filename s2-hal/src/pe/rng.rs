//! The random number generators of a PE.

use core::convert::Infallible;

use rand_core::utils;
use s2_pac::bus::{Bus, Mmio};
use s2_pac::nmu::Kiss;

use crate::rng::{Kiss64, TryRng};
use crate::topology::PeId;

/// A generator. The third one of a PE is a KISS64, whose numbers are those of
/// [`rng::Kiss64`](crate::rng::Kiss64) from the same seeds, as far as the public recurrences (tag J) are
/// the hardware's. Those of the first two, KISS32, are not public, nor is the meaning of their seeds.
///
/// Not for secrets.
#[derive(Debug)]
pub struct Generator<B = Mmio> {
    registers: Kiss<B>,
}

impl<B: Bus> Generator<B> {
    /// A generator with seeds. The last one of its five seed registers keeps its value, as in public
    /// start-up code.
    ///
    /// For a KISS64 the seeds are `c`, `x`, `y` and `z`. It repeats itself at once if `y` is zero, or
    /// `c` and `z` both are.
    pub fn with_seeds(mut registers: Kiss<B>, seeds: [u32; 4]) -> Self {
        for (index, seed) in seeds.into_iter().enumerate() {
            registers.seed(index).write(seed);
        }
        Self { registers }
    }

    /// A KISS64 with the seeds that public start-up code gives it on PE `pe` of chip `chip` (tag J).
    pub fn for_pe(kiss64: Kiss<B>, chip: u16, pe: PeId) -> Self {
        Self::with_seeds(kiss64, Kiss64::for_pe(chip, pe.noc_id()).words())
    }
}

impl<B: Bus> TryRng for Generator<B> {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.registers.value().take())
    }

    /// Two numbers, low word first.
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_u64_via_u32(self)
    }

    /// Little-endian words; a last partial word takes a whole number.
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        utils::fill_bytes_via_next_word(dst, || self.try_next_u32())
    }
}
