//! Formats of every quantity, and the arithmetic that all kernels share.
//!
//! | quantity | storage | fraction bits | unit | range | rounding and overflow |
//! |---|---|---|---|---|---|
//! | membrane V, synaptic current I, slope c | `i32` | 20 | threshold = 1 | ±512 | each step one exact sum, rounded once; saturates, counted |
//! | weight w | `i32` | 20, or fewer where the experiment asks | threshold = 1 | ±32 | written by the optimiser, to nearest or stochastically; saturates, counted |
//! | adjoints λV, λI, jump J, error | `i32` | 18 | 1/ms | ±128 | as the membrane |
//! | error sum Σ w (λV − λI) | `i64` | 38 | 1/ms | exact | [`MAX_NEURONS`] terms of at most 2^51 fit; jumps within the step and shares of other PEs are added saturating; rounded once to an error |
//! | gradient sum Σ −λI | `i64` | 18 | 1/ms | exact | at least 2^38 terms of at most 2^25 fit |
//! | decay − 1, coupling | `i32` | 32 | none | −0.5 to 0.5 | rounded to nearest when the table is made |
//! | time of an event | `u32` | – | ticks | 0 to steps · Q | exact |
//! | probability | `u32` | 31 | none | 0 to 1 | to nearest |
//! | loss | `i64` | 15 | none | 0 to 2^30 | format of the chip's exponential unit (s16.15); exact sum, in 128 bits on the host |
//! | exp(t/tau1) | `i64` | 15 | none | 1 to e^20 | of two factors beyond e^11, rounded once |
//! | alpha, alpha/tau1 | `u32` | 32 | none, 1/ms | 0 to 1, 0 to 0.5 | to nearest |
//! | optimiser's moments, learning rate | `f32` | – | | | IEEE single, one rounding per operation, nothing contracted |
//!
//! "To nearest" is `floor(x + 1/2)`: one addition before the shift, on every machine.
//!
//! Sums over events, samples, replicas or processing elements are exact integers, so their order
//! cannot change a bit. Products of a state or weight with a coefficient carry 52 fraction bits
//! (50 for adjoints) in an `i64` and are rounded once, after the last term.
//!
//! Arithmetic of the inner loops is written with `wrapping_*`, since the checks of the ordinary
//! operators would keep the compiler from using vector instructions there. The comment beside each
//! such loop says why no wrap can happen.

/// Fraction bits of membrane, current, weight and slope.
pub const STATE_FRACTION: u32 = 20;
/// The threshold, and the unit of membrane, current and weight.
pub const ONE: i32 = 1 << STATE_FRACTION;
/// Largest magnitude of membrane and current (512.0).
pub const STATE_LIMIT: i32 = 1 << 29;
/// Largest magnitude of a weight (32.0).
pub const WEIGHT_LIMIT: i32 = 1 << 25;
/// Fraction bits of adjoints and errors.
pub const ADJOINT_FRACTION: u32 = 18;
/// Largest magnitude of adjoints and errors (128.0 per ms).
pub const ADJOINT_LIMIT: i32 = 1 << 25;
/// Fraction bits of an error sum: weight times adjoint.
pub const ERROR_SUM_FRACTION: u32 = STATE_FRACTION + ADJOINT_FRACTION;
/// Fraction bits of a probability.
pub const PROBABILITY_FRACTION: u32 = 31;
/// Fraction bits of a loss.
pub const LOSS_FRACTION: u32 = 15;
/// Largest number of neurons in a layer: bounds error sums, and is what a packet can name.
pub const MAX_NEURONS: usize = 4095;
/// Half of a unit in the last place, for products that carry 32 more fraction bits than the result.
pub const HALF: i64 = 1 << 31;
/// Arrivals whose products may be added to one `i64` before their whole part is to be taken out.
///
/// A product of a weight (at most 2^25) with a coefficient (at most 2^31) is at most 2^56; 32 of them
/// and the products of the state (at most 2^29 · 2^31 each) stay below 2^62.
pub(crate) const ARRIVALS_PER_FOLD: usize = 32;

/// What a layer counts while it computes: nothing saturates or is left out unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Values that left the range of their format and were set to its limit.
    pub saturations: u64,
    /// Spikes beyond the allowed number per neuron and step that were not emitted.
    pub suppressed_spikes: u64,
    /// Smallest slope c = I − V at any spike so far (F20): how close a division came to zero.
    pub smallest_slope: i32,
}

impl Statistics {
    /// Nothing counted yet.
    pub const NEW: Self = Self {
        saturations: 0,
        suppressed_spikes: 0,
        smallest_slope: i32::MAX,
    };

    /// Adds what another layer, sample or processing element has counted.
    pub fn merge(&mut self, other: &Self) {
        self.saturations += other.saturations;
        self.suppressed_spikes += other.suppressed_spikes;
        self.smallest_slope = self.smallest_slope.min(other.smallest_slope);
    }
}

impl Default for Statistics {
    fn default() -> Self {
        Self::NEW
    }
}

/// A number in which every bit depends on every bit of `x`; none comes twice (the last stage of
/// MurmurHash3).
#[inline]
pub(crate) const fn scramble(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

/// `value` limited to ±`limit`; counts when that changed it.
#[inline(always)]
pub(crate) fn saturate(value: i64, limit: i32, count: &mut u64) -> i32 {
    let limit = i64::from(limit);
    // Nearly always it is within: one comparison, from 0 to twice the limit.
    if value.wrapping_add(limit).cast_unsigned() <= 2 * limit.cast_unsigned() {
        return value as i32;
    }
    *count += 1;
    value.clamp(-limit, limit) as i32
}

/// As [`saturate`], for a value that fits 32 bits, and a limit below 2^30.
#[inline(always)]
pub(crate) fn saturate_short(value: i32, limit: i32, count: &mut u64) -> i32 {
    // As there.
    if value.wrapping_add(limit).cast_unsigned() <= 2 * limit.cast_unsigned() {
        return value;
    }
    *count += 1;
    value.clamp(-limit, limit)
}

/// `value · coefficient`, rounded to the format of `value`: the high word of a product plus one half
/// (one `smmulr` on a Cortex-M4).
#[inline(always)]
pub(crate) fn scale(value: i32, coefficient: i32) -> i32 {
    // At most 2^62 + 2^31.
    (i64::from(value)
        .wrapping_mul(coefficient.into())
        .wrapping_add(HALF)
        >> 32) as i32
}

/// `value · (1 + decay)`, rounded: what is left of `value`, with `decay` = factor − 1.
#[inline(always)]
pub(crate) fn decay(value: i32, decay: i32) -> i32 {
    // A coefficient is at least -2^31, so the result lies between the value and half of it.
    value.wrapping_add(scale(value, decay))
}

/// An error sum (F38) as an error (F18), to nearest; saturates, counted.
#[inline]
#[must_use]
pub fn round_error(sum: i64, saturations: &mut u64) -> i32 {
    // The quotient is added up from its parts so that a sum near the end of the range cannot wrap.
    let rounded = (sum >> STATE_FRACTION) + ((sum >> (STATE_FRACTION - 1)) & 1);
    saturate(rounded, ADJOINT_LIMIT, saturations)
}

/// `numerator / slope` for a jump of the adjoint: F18 divided by F20 gives F18.
///
/// Multiplies by a reciprocal of 31 bits (one 32-bit division and one Newton step), since a 64-bit
/// division is a slow library routine on a Cortex-M4. The relative error is below 2^-28, far under
/// half a unit in the last place for quotients below 2^27; ties and their neighbours may round
/// either way, the same on every machine.
///
/// # Panics
/// In debug builds, if `slope` is not positive or `numerator` reaches 2^29.
#[inline]
pub(crate) fn divide_by_slope(numerator: i32, slope: i32, saturations: &mut u64) -> i32 {
    debug_assert!(slope > 0 && numerator.abs() < 1 << 29);
    let shift = slope.leading_zeros();
    let mantissa = (slope as u32) << shift; // 2^31 ..= 2^32 - 1
    // 2^48 / mantissa with 16 good bits; the Newton step doubles them.
    let estimate = i64::from(u32::MAX / (mantissa >> 16));
    // The estimate is at most 2^17, so mantissa times estimate is at most 2^49; the residue is at most
    // 2^33.
    let residue = (1i64 << 48).wrapping_sub(i64::from(mantissa).wrapping_mul(estimate));
    // 2^63 / mantissa, at most 2^32.
    let reciprocal = (estimate << 15).wrapping_add(estimate.wrapping_mul(residue) >> 33);
    // numerator · 2^20 / slope = numerator · reciprocal / 2^(43 - shift); shift is 12 to 41, and
    // the product at most 2^61.
    let shift = 43u32.wrapping_sub(shift);
    let half = 1i64 << shift.wrapping_sub(1);
    let quotient = i64::from(numerator)
        .wrapping_mul(reciprocal)
        .wrapping_add(half)
        >> shift;
    saturate(quotient, ADJOINT_LIMIT, saturations)
}

/// A real number as a weight (F20): to nearest, saturating at ±32.
///
/// Not a number becomes zero.
#[must_use]
pub fn weight_from_f64(value: f64) -> i32 {
    let limit = f64::from(WEIGHT_LIMIT);
    libm::floor(value * f64::from(ONE) + 0.5).clamp(-limit, limit) as i32
}

/// A weight, membrane or current (F20) as a real number.
#[must_use]
pub fn state_to_f64(value: i32) -> f64 {
    f64::from(value) / f64::from(ONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The quotient is within one unit of the true one, over the whole range of both operands.
        #[test]
        fn division_is_accurate(numerator in -(1i32 << 28)..(1i32 << 28), slope in 1i32..=STATE_LIMIT) {
            let mut saturations = 0;
            let got = i64::from(divide_by_slope(numerator, slope, &mut saturations));
            let exact = i128::from(numerator) << 20;
            let limit = i128::from(ADJOINT_LIMIT);
            let want = exact.div_euclid(i128::from(slope)).clamp(-limit, limit) as i64;
            prop_assert!((got - want).abs() <= 1, "{numerator} / {slope}: {got}, not {want}");
        }

        #[test]
        fn errors_round_to_nearest(sum in any::<i64>()) {
            let mut saturations = 0;
            let got = round_error(sum, &mut saturations);
            let exact = (i128::from(sum) + (1 << 19)) >> 20;
            let limit = i128::from(ADJOINT_LIMIT);
            prop_assert_eq!(i128::from(got), exact.clamp(-limit, limit));
            prop_assert_eq!(saturations != 0, exact.abs() > limit);
        }
    }
}
