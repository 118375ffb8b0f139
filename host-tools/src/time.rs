//! Times in milliseconds as numbers of steps: the one rule for what is a whole multiple of a step.
//!
//! Neither 0.3 nor 2.7 is a number of the machine, and 2.7 / 0.3 comes out above 9. So a quotient
//! that lies within [`TOLERANCE`] of a whole number, relative to it, is that number.
//!
//! # Examples
//!
//! ```
//! use host_tools::time::steps;
//!
//! assert!(2.7 / 0.3 > 9.0 && 28.8 > 96.0 * 0.3);
//! assert_eq!(steps(2.7, 0.3), 9.0);
//! assert_eq!(steps(28.8, 0.3), 96.0);
//! assert_ne!(steps(28.801, 0.3), 96.0);
//! ```

/// How far a quotient of times may be from a whole number, relative to it: far more than the roundings of
/// times and step bring about, and far less than a tick.
pub const TOLERANCE: f64 = 1e-9;

/// A time in steps: a whole number where the time is that multiple of the step, but for roundings.
pub fn steps(time_ms: f64, step_ms: f64) -> f64 {
    let quotient = time_ms / step_ms;
    let whole = quotient.round();
    if (quotient - whole).abs() <= TOLERANCE * whole.abs() {
        whole
    } else {
        quotient
    }
}

/// A multiple of a step in milliseconds, as a person would write it: 28.8, not 28.799999999999997. It is the
/// same number of [`steps`].
pub fn multiple_ms(steps: f64, step_ms: f64) -> f64 {
    let exact = steps * step_ms;
    let short: f64 = format!("{exact:.11e}").parse().unwrap_or(exact);
    if self::steps(short, step_ms) == steps {
        short
    } else {
        exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of a step that a binary number holds only nearly, and some that it holds.
    const STEPS_MS: [f64; 7] = [0.1, 0.3, 0.7, 1.0 / 3.0, 1.0, 0.25, 3.4657];

    /// Every multiple is taken, however it was written: as the product, as the sum of as many steps, or with
    /// few decimals.
    #[test]
    fn multiples_are_whole_numbers_of_steps() {
        for step_ms in STEPS_MS {
            let mut sum = 0.0;
            for count in 0..=2047 {
                let want = f64::from(count);
                let product = want * step_ms;
                let written: f64 = format!("{product:.11e}").parse().unwrap();
                for time_ms in [product, sum, written, multiple_ms(want, step_ms)] {
                    assert_eq!(steps(time_ms, step_ms), want, "{time_ms} / {step_ms}");
                }
                sum += step_ms;
            }
        }
    }

    /// What lies off by a thousandth of a tick is no multiple.
    #[test]
    fn other_times_stay_where_they_are() {
        for step_ms in STEPS_MS {
            for count in 1..=2047 {
                let off = f64::from(count) + 1.0 / 256_000.0;
                assert_eq!(steps(off * step_ms, step_ms), off * step_ms / step_ms);
            }
        }
    }

    #[test]
    fn limits_read_well() {
        assert_eq!(multiple_ms(96.0, 0.3), 28.8);
        assert_eq!(multiple_ms(40.0, 1.0), 40.0);
        assert_eq!(multiple_ms(0.0, 0.3), 0.0);
        assert_eq!(multiple_ms(96.0, 1.0 / 3.0), 32.0);
    }
}
