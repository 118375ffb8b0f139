//! Random numbers as the chip makes them.
//!
//! Programs ask for [`rand_core::Rng`]. [`Kiss64`] is a software model of the generator in every PE;
//! it serves as the generator itself where there is no hardware.

use rand_core::utils;
pub use rand_core::{Rng, SeedableRng, TryRng};

/// Marsaglia's KISS64 generator as the chip's hardware runs it: 32 bits per call from a linear
/// congruential generator `x`, a xorshift `y` and a multiply-with-carry `z`, `c`.
///
/// Evidence: multipliers, shifts and seeds are read in a public header of the prototype chip (tag J)
/// and were not compared with silicon. The multiplier of `x` differs from the published algorithm and
/// is even, so that `x` becomes a constant after 32 calls; from then on `y` and `z` alone carry the
/// randomness. The model keeps that, to be faithful.
///
/// Not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kiss64 {
    c: u32,
    x: u32,
    y: u32,
    z: u32,
}

const SEED_X: u32 = 143_185_431;
const SEED_Y: u32 = 987_654_321;
const SEED_Z: u32 = 1_762_089;
const SEED_C: u32 = 6_543_217;

impl Kiss64 {
    /// The generator as start-up code seeds it on PE `pe_id` (see
    /// [`PeId::noc_id`](crate::topology::PeId::noc_id)) of chip `chip`: each seed times
    /// `chip + pe_id + 1`, modulo 2^32.
    pub const fn for_pe(chip: u16, pe_id: u8) -> Self {
        let factor = chip as u32 + pe_id as u32 + 1;
        Self {
            c: SEED_C.wrapping_mul(factor),
            x: SEED_X.wrapping_mul(factor),
            y: SEED_Y.wrapping_mul(factor),
            z: SEED_Z.wrapping_mul(factor),
        }
    }

    /// The generator in a state, as [`words`](Self::words) gives it, whatever it is. See
    /// [`SeedableRng`] for seeds that are checked.
    pub const fn from_words([c, x, y, z]: [u32; 4]) -> Self {
        Self { c, x, y, z }
    }

    /// The state, in the order of the hardware's seed registers: `c`, `x`, `y`, `z`.
    pub const fn words(&self) -> [u32; 4] {
        [self.c, self.x, self.y, self.z]
    }

    /// The next 32 bits.
    #[inline]
    pub const fn next(&mut self) -> u32 {
        self.x = self.x.wrapping_mul(304_042_114).wrapping_add(1_234_567);
        self.y ^= self.y << 5;
        self.y ^= self.y >> 7;
        self.y ^= self.y << 22;
        // At most (2^32 - 1)^2 + 2^32 - 1, which fits.
        let t = 4_294_584_393 * self.z as u64 + self.c as u64;
        self.c = (t >> 32) as u32;
        self.z = t as u32;
        self.x.wrapping_add(self.y).wrapping_add(self.z)
    }
}

impl SeedableRng for Kiss64 {
    /// The hardware's seed registers in their order `c`, `x`, `y`, `z`, little-endian.
    type Seed = [u8; 16];

    /// Two states would repeat themselves at once: `y` = 0, and `z` = `c` = 0. Their places are taken
    /// by the hardware's own seeds.
    fn from_seed(seed: Self::Seed) -> Self {
        let word = |i: usize| {
            u32::from_le_bytes([
                seed[4 * i],
                seed[4 * i + 1],
                seed[4 * i + 2],
                seed[4 * i + 3],
            ])
        };
        let (c, x, y, z) = (word(0), word(1), word(2), word(3));
        let (c, z) = if (c, z) == (0, 0) {
            (SEED_C, SEED_Z)
        } else {
            (c, z)
        };
        let y = if y == 0 { SEED_Y } else { y };
        Self { c, x, y, z }
    }
}

impl TryRng for Kiss64 {
    type Error = core::convert::Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.next())
    }

    /// Two calls, low word first.
    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        utils::next_u64_via_u32(self)
    }

    /// Little-endian words; a last partial word takes a whole call.
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        utils::fill_bytes_via_next_word(dst, || self.try_next_u32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_recurrences() {
        // Worked out apart from the code above, in arbitrary-precision integers.
        let mut pe_0 = Kiss64::for_pe(0, 0);
        let first: Vec<u32> = (0..4).map(|_| pe_0.next()).collect();
        assert_eq!(
            first,
            [111_680_707, 3_441_266_933, 1_291_305_779, 1_214_739_441]
        );
        let mut pe_36 = Kiss64::for_pe(0, 36);
        let first: Vec<u32> = (0..4).map(|_| pe_36.next()).collect();
        assert_eq!(
            first,
            [3_073_394_346, 1_214_747_752, 2_241_011_393, 2_070_324_508]
        );
    }

    #[test]
    fn x_becomes_a_constant() {
        let mut kiss = Kiss64::for_pe(3, 100);
        for _ in 0..32 {
            kiss.next();
        }
        let x = kiss.x;
        kiss.next();
        assert_eq!(kiss.x, x);
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn seeds_that_would_repeat_themselves_are_replaced() {
        let mut kiss = Kiss64::from_seed([0; 16]);
        assert_ne!(kiss.y, 0);
        let numbers: std::collections::HashSet<_> = (0..1000).map(|_| kiss.next()).collect();
        assert!(numbers.len() > 990);
        let mut bytes = [0; 7];
        let mut words = kiss.clone();
        kiss.fill_bytes(&mut bytes);
        assert_eq!(bytes[..4], words.next_u32().to_le_bytes());
        assert_eq!(bytes[4..], words.next_u32().to_le_bytes()[..3]);
    }
}
