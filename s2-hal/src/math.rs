//! Exponential and logarithm in the chip's fixed-point formats.
//!
//! The exp/log unit of a PE takes and gives s16.15 ([`I17F15`]: 32 bits, 15 of them fraction) and
//! s0.31 ([`I1F31`]: 32 bits, 31 of them fraction). [`SoftwareExpLog`] is the software form.
//!
//! # Why fixed point
//! Measured by this module's tests, over every s16.15 argument whose result is neither zero nor
//! saturated:
//!
//! | | `exp` to s16.15 | `exp_fraction` to s0.31 |
//! |---|---|---|
//! | [`SoftwareExpLog`], largest error | 0.500 ulp | 0.500 ulp |
//! | micromath 2.1 (`f32`), largest error | 1.6 million ulp | 2.6 million ulp |
//! | micromath 2.1, largest relative error | 2.4e-3 | 2.4e-3 |
//!
//! An ulp is one unit in the last place of the result's format; half of one is the least that rounding
//! allows. `ln` is within 0.50002 ulp over all its 2^31 arguments. micromath's bits are the same on
//! every target too, but its error would show in a loss and in its gradient, while the chip's own unit
//! is within 1 to 2 ulp.

pub use fixed::types::{I1F31, I17F15};

/// Takes exponentials and logarithms.
///
/// Results are within 2 ulp of the result's format of the exact value and monotonic; the chip's unit
/// promises 1 to 2 ulp (tag S). Two implementations may therefore differ in the last bit. Where the
/// same bits are needed everywhere, use [`SoftwareExpLog`] everywhere.
pub trait ExpLog {
    /// `e^x`. Saturates at the largest value (`x` above 11.09); 0 where the result rounds to it.
    fn exp(&mut self, x: I17F15) -> I17F15;

    /// `e^x` as a pure fraction, for `x <= 0`. The largest fraction, `1 - 2^-31`, for `x >= 0`.
    fn exp_fraction(&mut self, x: I17F15) -> I1F31;

    /// The natural logarithm of `x`, for `x > 0`. The smallest value, -65536, for `x <= 0`.
    fn ln(&mut self, x: I17F15) -> I17F15;
}

impl<T: ExpLog + ?Sized> ExpLog for &mut T {
    fn exp(&mut self, x: I17F15) -> I17F15 {
        T::exp(self, x)
    }

    fn exp_fraction(&mut self, x: I17F15) -> I1F31 {
        T::exp_fraction(self, x)
    }

    fn ln(&mut self, x: I17F15) -> I17F15 {
        T::ln(self, x)
    }
}

/// [`ExpLog`] in integer arithmetic: the same bits on every target, monotonic, and within
/// 0.501 ulp of the exact value: almost always the nearest number of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftwareExpLog;

impl ExpLog for SoftwareExpLog {
    fn exp(&mut self, x: I17F15) -> I17F15 {
        I17F15::from_bits(exp_bits::<15>(x.to_bits()))
    }

    fn exp_fraction(&mut self, x: I17F15) -> I1F31 {
        I1F31::from_bits(exp_bits::<31>(x.to_bits()))
    }

    fn ln(&mut self, x: I17F15) -> I17F15 {
        I17F15::from_bits(ln_bits(x.to_bits()))
    }
}

/// `exp(j / 32)` with 62 fraction bits, for j = 0 to 22.
const EXP_OF_32NDS: [u64; 23] = [
    0x4000_0000_0000_0000,
    0x4208_1580_449f_b264,
    0x4420_ad5d_f4d3_b5f5,
    0x464a_4dc1_d383_35a2,
    0x4885_8116_dbd7_33e7,
    0x4ad2_d62c_dcb1_e540,
    0x4d32_e05c_2d60_d4b5,
    0x4fa6_37aa_8477_2ea9,
    0x522d_78f0_fa06_199e,
    0x54c9_4603_3eb3_ddb3,
    0x577a_45d8_117f_d4ed,
    0x5a41_24b2_fe50_cb3f,
    0x5d1e_944f_6fbd_a989,
    0x6013_4c0d_1ed5_172f,
    0x6320_091d_ec00_3f71,
    0x6645_8eb5_2c77_304e,
    0x6984_a638_781a_6f26,
    0x6cde_1f72_03e5_7a8c,
    0x7052_d0c4_9591_1911,
    0x73e3_9761_1d62_a2e0,
    0x7791_577e_038f_0173,
    0x7b5c_fc90_3705_07e2,
    0x7f47_7986_0be3_2275,
];

/// ln 2 with 58 fraction bits.
const LN_2: i64 = 0x02c5_c85f_df47_3de7;

/// 1 / ln 2 with 32 fraction bits.
const RECIPROCAL_LN_2: i64 = 0x1_7154_7653;

/// The upper half of the product, by 32-bit steps: targets with 32-bit registers have no 128-bit
/// multiplication.
const fn multiply_high(a: u64, b: u64) -> u64 {
    const LOW: u64 = 0xffff_ffff;
    let (a1, a0) = (a >> 32, a & LOW);
    let (b1, b0) = (b >> 32, b & LOW);
    let middle = a1 * b0 + ((a0 * b0) >> 32);
    let carry = a0 * b1 + (middle & LOW);
    a1 * b1 + (middle >> 32) + (carry >> 32)
}

/// `e^x` for `x` with 15 fraction bits, rounded to nearest and saturated, with `FRACTION` fraction
/// bits.
const fn exp_bits<const FRACTION: i64>(x: i32) -> i32 {
    // Beyond these, both formats are saturated or 0: e^12 > 2^16 and e^-23 < 2^-33.
    if x >= 12 << 15 {
        return i32::MAX;
    }
    if x <= -(23 << 15) {
        return 0;
    }
    // x = k ln 2 + r with 0 <= r < ln 2. The products are below 2^54 and 2^63, the error of the second
    // is below 2^-53.
    let mut k = (x as i64 * RECIPROCAL_LN_2) >> 47;
    let mut r = ((x as i64) << 43) - k * LN_2;
    if r < 0 {
        // The estimate of k, just below the true quotient, can only have met an x just above a
        // multiple of ln 2 from the other side.
        k -= 1;
        r += LN_2;
    } else if r >= LN_2 {
        k += 1;
        r -= LN_2;
    }
    // r = j / 32 + s with 0 <= s < 1/32. s gets 64 fraction bits.
    let j = r >> 53;
    let s = ((r & ((1 << 53) - 1)) as u64) << 6;
    // e^s - 1 = s + s^2/2! + ... + s^7/7!, with 63 fraction bits.
    const ONE: u64 = 1 << 63;
    const COEFFICIENTS: [u64; 6] = [ONE / 720, ONE / 120, ONE / 24, ONE / 6, ONE / 2, ONE];
    let mut series = ONE / 5040;
    let mut term = 0;
    while term < COEFFICIENTS.len() {
        series = COEFFICIENTS[term] + multiply_high(series, s);
        term += 1;
    }
    let series = multiply_high(series, s);
    // e^r in [1, 2) with 62 fraction bits: table + table * (e^s - 1).
    let table = EXP_OF_32NDS[j as usize];
    let e = table + 2 * multiply_high(table, series);
    // e^x = e * 2^k, rounded into place.
    let shift = 62 - FRACTION - k;
    if shift > 63 {
        return 0;
    }
    if shift < 31 {
        return i32::MAX;
    }
    let rounded = (e + (1 << (shift - 1))) >> shift;
    if rounded > i32::MAX as u64 {
        i32::MAX
    } else {
        rounded as i32
    }
}

/// `ln x` for `x` with 15 fraction bits, rounded to nearest, with 15 fraction bits.
const fn ln_bits(x: i32) -> i32 {
    if x <= 0 {
        return i32::MIN;
    }
    // x = 2^k * m with sqrt(1/2) < m < sqrt(2), m with 31 fraction bits.
    const SQRT_2: u64 = 0xb504_f334;
    let mut k = 16 - x.leading_zeros() as i64;
    let mut m = (x as u64) << x.leading_zeros();
    if m > SQRT_2 {
        m /= 2;
        k += 1;
    }
    // ln m = 2 artanh(t) with t = (m - 1) / (m + 1), |t| < 0.172, t with 32 fraction bits.
    let one = 1_i64 << 31;
    let t = ((m as i64 - one) << 32) / (m as i64 + one);
    // artanh(t) = t (1 + t^2/3 + t^4/5 + ...), cut after t^13, with 32 fraction bits.
    let square = (t * t) >> 32;
    let mut series = 0;
    let mut n = 13;
    while n >= 1 {
        series = ((series * square) >> 32) + (1 << 32) / n;
        n -= 2;
    }
    // Both terms with 40 fraction bits.
    let ln_m = (t * series) >> 23;
    const LN_2_40: i64 = 0xb1_7217_f7d2;
    ((k * LN_2_40 + ln_m + (1 << 24)) >> 25) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments whose result is neither 0 nor saturated in either format, and some beyond.
    const RANGE: core::ops::Range<i32> = -(24 << 15)..13 << 15;

    #[derive(Default, Debug)]
    struct Errors {
        ulp: f64,
        relative: f64,
    }

    /// Largest errors of `f` against the exact exponential, over arguments up to `end` whose exact
    /// result lies in the format.
    fn errors_of_exp(fraction: i32, end: i32, f: impl Fn(i32) -> f64) -> Errors {
        let scale = libm::exp2(f64::from(fraction));
        let mut errors = Errors::default();
        for bits in RANGE.start..end {
            let exact = libm::exp(f64::from(bits) / 32768.0) * scale;
            if exact >= 0.5 && exact <= f64::from(i32::MAX) {
                let error = (f(bits) - exact).abs();
                errors.ulp = errors.ulp.max(error);
                errors.relative = errors.relative.max(error / exact);
            }
        }
        errors
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn exp_is_within_0_501_ulp_everywhere() {
        let exp = errors_of_exp(15, RANGE.end, |x| f64::from(exp_bits::<15>(x)));
        let fraction = errors_of_exp(31, 1, |x| f64::from(exp_bits::<31>(x)));
        println!("exp {exp:?}\nexp_fraction {fraction:?}");
        assert!(exp.ulp < 0.501, "{exp:?}");
        assert!(fraction.ulp < 0.501, "{fraction:?}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn exp_is_monotonic_and_saturates() {
        fn ascending(f: impl Fn(i32) -> i32) {
            let mut last = 0;
            for bits in RANGE {
                let value = f(bits);
                assert!(value >= last, "at {bits}");
                last = value;
            }
            assert_eq!((f(i32::MIN), f(i32::MAX)), (0, i32::MAX));
        }
        ascending(exp_bits::<15>);
        ascending(exp_bits::<31>);
        let mut soft = SoftwareExpLog;
        assert_eq!(soft.exp(I17F15::ZERO), I17F15::ONE);
        assert_eq!(soft.exp_fraction(I17F15::ZERO), I1F31::MAX);
        assert_eq!(
            soft.exp_fraction(I17F15::from_bits(-1)).to_bits(),
            2_147_418_113
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn ln_is_within_0_501_ulp() {
        // All small arguments, and 32 thousand spread over every octave of the others.
        let small = 1..1_i32 << 20;
        let large = (20..31).flat_map(|octave| {
            (1_i32 << octave..=i32::MAX >> (30 - octave)).step_by(1 << (octave - 15))
        });
        let mut worst = 0_f64;
        for bits in small.chain(large) {
            let exact = libm::log(f64::from(bits) / 32768.0) * 32768.0;
            worst = worst.max((f64::from(ln_bits(bits)) - exact).abs());
        }
        println!("ln {worst}");
        assert!(worst < 0.501, "{worst}");
        let mut soft = SoftwareExpLog;
        assert_eq!(soft.ln(I17F15::ZERO), I17F15::MIN);
        assert_eq!(soft.ln(I17F15::MIN), I17F15::MIN);
        assert_eq!(soft.ln(I17F15::ONE), I17F15::ZERO);
    }

    /// Every argument of `ln`: about two minutes in release.
    #[test]
    #[ignore = "slow: 2^31 arguments"]
    fn ln_is_within_0_501_ulp_everywhere_and_monotonic() {
        let (mut worst, mut last) = (0_f64, i32::MIN);
        for bits in 1..=i32::MAX {
            let value = ln_bits(bits);
            assert!(value >= last, "at {bits}");
            last = value;
            let exact = libm::log(f64::from(bits) / 32768.0) * 32768.0;
            worst = worst.max((f64::from(value) - exact).abs());
        }
        println!("ln {worst}");
        assert!(worst < 0.501, "{worst}");
    }

    /// The figures of the module documentation.
    #[test]
    #[cfg_attr(miri, ignore = "slow, and safe code")]
    fn micromath_is_a_million_ulp_off() {
        use micromath::F32Ext;
        let micro =
            |scale: f64| move |bits: i32| f64::from(F32Ext::exp(bits as f32 / 32768.0)) * scale;
        let exp = errors_of_exp(15, RANGE.end, micro(32768.0));
        let fraction = errors_of_exp(31, 1, micro(2147483648.0));
        println!("exp {exp:?}\nexp_fraction {fraction:?}");
        assert!(exp.ulp > 1e6 && fraction.ulp > 1e6);
    }
}
