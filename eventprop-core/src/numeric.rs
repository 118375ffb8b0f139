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
//! # Why nothing wraps
//!
//! Firmware is built without the compiler's overflow checks, and the inner loops are written without them
//! everywhere (`Fits`, `wrapping_*`), since they would keep the compiler from using vector instructions.
//! This is every operation there, with the largest operands that a legal experiment can bring about: weights
//! at ±32, states and adjoints at their limits, a step of ln 2 times the shorter time constant, time constants
//! 10^6 apart, eight spikes of a neuron in a step, [`MAX_NEURONS`] neurons. What is written with `Fits` is
//! checked in builds for debugging, so every test is a test of it; `bounds.rs` holds those at the ends of the
//! ranges.
//!
//! | operation | largest operands | result | fits, since |
//! |---|---|---|---|
//! | coefficient over ticks, `es − 1`, `em − 1` ([`fill`](crate::tables::fill)) | a step of ln 2 · τ | −2^31 + 1 | −0.5 is taken for one unit more, so that `−coefficient` fits, too |
//! | coupling over ticks, `kf`, `kb` | ratio r = 10^6 of τ | below 2^31 | kb rises up to ln 2 · τs, where it is r/(r − 1) (2^(−1/r) − 1/2) < 1/2 |
//! | coefficient over steps, `es − 1` (31 fraction bits) | a decay that is complete | −2^31 | is never negated |
//! | coupling over steps | ratio r = 10^6 of τ | below 2^31 − 2^14 | at most r^(−1/(r−1)); roundings of 32 composed runs are some 100 units |
//! | `value · coefficient + 1/2` (`scale`) | 2^31 · 2^31 + 2^31 | `i64` | below 2^63 |
//! | `value · (1 + decay)` (`decay()`) | 2^31, decay −1/2 to 0 | `i32` | lies between the value and half of it |
//! | driven and driving variable over a time | V or I 2^29, doubled for runs | `i64`: 2 · 2^30 · 2^31 = 2^62 | factors and coupling add up to no more than 1, so the results are no larger than the larger value, and a few units for composed runs |
//! | sum of a step with arrivals | state as above, 32 · 2^25 · 2^31 = 2^61 | `i64` | below 2^63; folded after `ARRIVALS_PER_FOLD` arrivals |
//! | state and arrivals, whole parts, one arrival | 2^29 + 2^25 + 2^30 | `i32` | below 2^31 |
//! | the same, any number of arrivals | 2^29 + 14 · 4096 · 2^25 | `i64` | below 2^63; saturates to ±2^29 |
//! | state between two arrivals of a step ([`neuron`](crate::neuron)) | V and I of 2^29 + 2^30 | `i64`: 2 · 3 · 2^29 · 2^31 | below 2^63; a current of 2^29 and 32 weights is within, more saturate, counted |
//! | look back ([`Peak`](crate::tables::Peak)) | V of 2^29, I less 32 weights, factors of 2.4 · 2^29 and 1.4 · 2^29 | `i64` | below 2^62; of more arrivals only where the difference fits 32 bits |
//! | current on the grid, up to 32 arrivals | 2^29 + 32 · 2^25 | `i32` | 3 · 2^29 |
//! | `V − I` on the grid | 2^29 + 2^29 | `i32` | 2^30 |
//! | slope at a spike, `I − 1`, `I − V` | 2^29 + 2^20 | `i32` | saturates to ±2^29; divided by when at least 1 unit |
//! | numerator of a jump | λV, error and 7 later jumps of 2^25 | `i32` | 9 · 2^25 < 2^29 |
//! | `numerator · reciprocal` (`divide_by_slope`) | 2^29 · 2^32 + 2^40 | `i64` | below 2^62 |
//! | adjoint and jump | 2^25 + 2^25 | `i32` | 2^26; saturates to ±2^25 |
//! | error sum Σ w (λV − λI) without jumps | 4095 · 2^25 · 2^26 | `i64` | 2^63 − 2^51 |
//! | error sum with jumps, shares of PEs | each at most 2^63 | `i64` | added saturating; what comes near is rounded to ±128 in any case |
//! | gradient of a weight: samples · spikes of its source · (1 + 8 jumps) | 2^16 · 2^16 · 9 · 2^25 | `i64` | below 2^61 |
//! | step of a weight | any `f32`, also infinite or not a number | `i32` | the conversion saturates, and so does the difference |
//! | weight and bump | 2^25 + 2^23 | `i32` | limited to ±2^25 |
//! | rounded weight | 2^25 + 2^20 | `i32` | the limit is on every grid |
//! | ticks since the start of a sample | 2047 · 256 | `u32` | below 2^20 |
//! | exponent of the loss: ticks · rate | 2^19 · 255 · 2^32 | `u64` | below 2^59 |
//! | shifted weight of the softmax | 2^31 · 2^31 + 4095 · 2^30 | `u64` | below 2^63 |
//! | `α (exp − 1)`, `α/τ1 · exp` | 2^32 · 2^45, in two parts | `i64` | each part is below 2^63 and shifted by up to 32 bits before they are added |
//! | spikes of a neuron in a minibatch | 65,535 · 2047 · 8 | `u32` | below 2^30 |
//! | minibatches | – | `u32` | a run has no more than 2^32 |

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

/// Arithmetic of the inner loops, of which the table above says that its results fit: checked in builds for
/// debugging, and without a check elsewhere.
pub(crate) trait Fits: Copy {
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
    /// `self − other`.
    fn less(self, other: Self) -> Self;
}

macro_rules! fits {
    ($($integer:ty),+) => {$(
        impl Fits for $integer {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                debug_assert!(self.checked_add(other).is_some(), "{self} + {other}");
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn less(self, other: Self) -> Self {
                debug_assert!(self.checked_sub(other).is_some(), "{self} - {other}");
                self.wrapping_sub(other)
            }
        }
    )+};
}

fits!(i32, i64);

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
    (i64::from(value).wrapping_mul(coefficient.into()).plus(HALF) >> 32) as i32
}

/// `value · (1 + decay)`, rounded: what is left of `value`, with `decay` = factor − 1.
#[inline(always)]
pub(crate) fn decay(value: i32, decay: i32) -> i32 {
    // A coefficient is at least -2^31, so the result lies between the value and half of it.
    value.plus(scale(value, decay))
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
    let residue = (1i64 << 48).less(i64::from(mantissa).wrapping_mul(estimate));
    // 2^63 / mantissa, at most 2^32.
    let reciprocal = (estimate << 15).plus(estimate.wrapping_mul(residue) >> 33);
    // numerator · 2^20 / slope = numerator · reciprocal / 2^(43 - shift); shift is 12 to 41, and
    // the product at most 2^61.
    let shift = 43u32.wrapping_sub(shift);
    let half = 1i64 << shift.wrapping_sub(1);
    let quotient = i64::from(numerator).wrapping_mul(reciprocal).plus(half) >> shift;
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
