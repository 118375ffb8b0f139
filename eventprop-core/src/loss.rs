//! Time-to-first-spike loss: a cross-entropy over the outputs' first spikes.
//!
//! With t_k the first spike of output k and p = softmax(-t/tau0) over the outputs that spiked:
//! `L = -ln p_label + alpha (exp(t_label/tau1) - 1)`,
//! `dL/dt_k = ([k = label] - p_k)/tau0 + [k = label] alpha/tau1 exp(t_label/tau1)`.
//!
//! Every sample has a loss. A label that is silent counts as spiking when the sample ends, at T, whether or
//! not silent outputs are in the softmax; section 5 of `docs/mathematics.md` lists the cases.

use fixed::types::I17F15;
use s2_hal::math::ExpLog;

use crate::numeric::{
    ADJOINT_FRACTION, ADJOINT_LIMIT, LOSS_FRACTION, PROBABILITY_FRACTION, saturate,
};

/// First-spike time of an output that did not spike.
pub const SILENT: u32 = u32::MAX;

/// Fraction bits of the rates that turn ticks into an exponent.
const RATE_FRACTION: u32 = 32;
/// Fraction bits of alpha and of alpha/tau1.
const LATE_FRACTION: u32 = 32;
/// Largest exponent that one call of the exponential unit is given, in its format: it ends at e^11.09.
const UNIT_LIMIT: i64 = 11 << LOSS_FRACTION;
/// Largest T/tau1: the exponential is the product of two.
pub const LATEST: f64 = 20.0;

/// Constants of the loss, in fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToFirstSpike {
    pub(crate) softmax_rate: u64,
    pub(crate) late_rate: u64,
    pub(crate) inverse_tau0: i32,
    pub(crate) alpha: u32,
    pub(crate) late_slope: u32,
    pub(crate) end: u32,
    pub(crate) unheard_from: u32,
    pub(crate) silent_at_end: bool,
    pub(crate) send_for_silent_label: bool,
}

impl TimeToFirstSpike {
    /// No loss.
    pub(crate) const NONE: Self = Self {
        softmax_rate: 0,
        late_rate: 0,
        inverse_tau0: 0,
        alpha: 0,
        late_slope: 0,
        end: 0,
        unheard_from: 0,
        silent_at_end: false,
        send_for_silent_label: false,
    };
}

/// What the loss makes of silence, and of spikes at the very end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// Silent outputs count in the softmax as spiking when the sample ends. Otherwise they are left out.
    pub outputs_at_end: bool,
    /// The other outputs are sent their errors for a sample whose label's output is silent (they are
    /// pushed to silence then, too). Otherwise such a sample sends none.
    pub send_for_label: bool,
    /// A first spike in the last tick gets no error: in the scheme `grid`, where it never arrives.
    pub last_tick_unheard: bool,
}

/// A constant of the loss is out of its range; the variants name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossError {
    /// tau0 must be a finite number of at least 1/128 ms, and of at least 1/255 tick.
    Tau0,
    /// tau1 must be a positive finite number of at least 1/255 tick, and a [`LATEST`]th of the sample.
    Tau1,
    /// alpha must be 0 to 1, and alpha/tau1 below 0.5 per ms.
    Alpha,
}

/// What a sample came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The loss, with [`LOSS_FRACTION`] fraction bits; below 2^46.
    pub loss: i64,
    /// Output of the earliest spike; the lowest index among equals. `None` when all are silent.
    pub prediction: Option<u16>,
    /// The label's output spiked before all others.
    pub correct: bool,
    /// The label's output spiked no later than any other.
    pub correct_with_ties: bool,
    /// The label's output did not spike.
    pub label_silent: bool,
}

impl TimeToFirstSpike {
    /// Takes the constants in ms, `tick_ms` being the length of a tick and `end` that of a sample in ticks.
    ///
    /// # Errors
    /// See [`LossError`].
    pub fn new(
        tau0_ms: f64,
        tau1_ms: f64,
        alpha: f64,
        tick_ms: f64,
        end: u32,
        silence: Silence,
    ) -> Result<Self, LossError> {
        let rate = |tau: f64| {
            let rate = tick_ms / tau;
            (rate.is_finite() && rate > 0.0 && rate < 255.0)
                .then(|| round(rate, RATE_FRACTION) as u64)
        };
        let softmax_rate = rate(tau0_ms)
            .filter(|_| tau0_ms >= 1.0 / 128.0)
            .ok_or(LossError::Tau0)?;
        let late_rate = rate(tau1_ms)
            // What passes the check of an experiment may be above by a rounding.
            .filter(|_| f64::from(end) * (tick_ms / tau1_ms) <= LATEST * (1.0 + 1e-9))
            .ok_or(LossError::Tau1)?;
        let slope = alpha / tau1_ms;
        if !((0.0..=1.0).contains(&alpha) && (0.0..0.5).contains(&slope)) {
            return Err(LossError::Alpha);
        }
        Ok(Self {
            softmax_rate,
            late_rate,
            inverse_tau0: round(1.0 / tau0_ms, ADJOINT_FRACTION) as i32,
            // The format ends one unit in the last place below 1.
            alpha: round(alpha, LATE_FRACTION).min(u32::MAX.into()) as u32,
            late_slope: round(slope, LATE_FRACTION) as u32,
            end,
            unheard_from: if silence.last_tick_unheard {
                end.saturating_sub(1)
            } else {
                SILENT
            },
            silent_at_end: silence.outputs_at_end,
            send_for_silent_label: silence.send_for_label,
        })
    }

    /// Computes the loss of a sample from the first spike of every output (ticks, [`SILENT`] for
    /// none), and sets `errors[k]` to dL/dt_k (F18, 1/ms): zero for outputs that get none.
    ///
    /// Returns what the sample came to; `saturations` counts errors that left their format.
    ///
    /// # Panics
    /// If `first` and `errors` differ in length, or `label` is no output.
    pub fn evaluate(
        &self,
        exponential: &mut impl ExpLog,
        first: &[u32],
        label: usize,
        errors: &mut [i32],
        saturations: &mut u64,
    ) -> Outcome {
        assert!(first.len() == errors.len() && label < first.len());
        let earliest = first.iter().copied().min().unwrap_or(SILENT);
        let label_silent = first[label] == SILENT;
        let at_earliest = first.iter().filter(|&&t| t == earliest).count();
        let correct_with_ties = !label_silent && first[label] == earliest;
        let send = !label_silent || self.send_for_silent_label;
        // Without errors the loss must not depend on the spikes: all outputs count as at the end then.
        let constant = !self.silent_at_end && (!send || earliest == SILENT);
        // The time that an output counts as in the softmax, or None where it is left out.
        let time = |t: u32| match t {
            _ if constant => Some(self.end),
            SILENT => self.silent_at_end.then_some(self.end),
            _ => Some(t),
        };
        let label_time = time(first[label]).unwrap_or(self.end);
        let times = || first.iter().filter_map(|&t| time(t));
        let reference = times().min().unwrap_or(self.end);

        let mut weight = |t: u32| {
            let x = exponent(t - reference, self.softmax_rate);
            let x = I17F15::from_bits(x.min(i32::MAX.into()) as i32);
            exponential.exp_fraction(-x).to_bits().max(0) as u64
        };
        let sum: u64 = times().map(&mut weight).sum();
        errors.fill(0);
        if send {
            let heard = |&(k, _): &(usize, &mut i32)| first[k] < self.unheard_from;
            for (k, error) in errors.iter_mut().enumerate().filter(heard) {
                // A weight is at most 2^31, so the shifted one fits; the sum is at least one weight.
                let p = ((weight(first[k]) << PROBABILITY_FRACTION) + sum / 2) / sum;
                let one = u64::from(k == label) << PROBABILITY_FRACTION;
                let difference = one as i64 - p as i64;
                let product = difference * i64::from(self.inverse_tau0);
                let rounded = (product + (1 << (PROBABILITY_FRACTION - 1))) >> PROBABILITY_FRACTION;
                *error = rounded as i32; // at most 128.0
            }
        }
        let late = self.late(exponential, label_time);
        if first[label] < self.unheard_from {
            let slope = scaled(
                self.late_slope,
                late,
                LATE_FRACTION + LOSS_FRACTION - ADJOINT_FRACTION,
            );
            errors[label] = saturate(i64::from(errors[label]) + slope, ADJOINT_LIMIT, saturations);
        }
        let x = exponent(label_time.saturating_sub(reference), self.softmax_rate);
        let sum = I17F15::from_bits((sum >> (PROBABILITY_FRACTION - LOSS_FRACTION)) as i32);
        let entropy = x + i64::from(exponential.ln(sum).to_bits());
        let delay = scaled(self.alpha, late - (1 << LOSS_FRACTION), LATE_FRACTION);
        Outcome {
            loss: entropy + delay,
            prediction: (earliest != SILENT)
                .then(|| first.iter().position(|&t| t == earliest).unwrap_or(0) as u16),
            correct: correct_with_ties && at_earliest == 1,
            correct_with_ties,
            label_silent,
        }
    }

    /// exp(t/tau1) with the loss's fraction bits; below 2^45, as t/tau1 is at most [`LATEST`].
    fn late(&self, exponential: &mut impl ExpLog, t: u32) -> i64 {
        let mut exp = |x: i64| i64::from(exponential.exp(I17F15::from_bits(x as i32)).to_bits());
        let x = exponent(t, self.late_rate).min(2 * UNIT_LIMIT);
        if x <= UNIT_LIMIT {
            return exp(x);
        }
        // The exponents add up to x to the last bit, and both factors have 22 significant bits or more.
        let half = x / 2;
        (exp(half) * exp(x - half) + (1 << (LOSS_FRACTION - 1))) >> LOSS_FRACTION
    }
}

/// `ticks · rate` with the fraction bits of the exponential unit, rounded down. The product is below 2^59:
/// a sample has less than 2^19 ticks, a rate is below 2^40.
fn exponent(ticks: u32, rate: u64) -> i64 {
    ((u64::from(ticks) * rate) >> (RATE_FRACTION - LOSS_FRACTION)) as i64
}

/// `factor · value / 2^shift`, to nearest, for `shift` from 1 to 32 and values below 2^45: the product may take
/// 77 bits.
fn scaled(factor: u32, value: i64, shift: u32) -> i64 {
    let low = value.cast_unsigned() & ((1 << shift) - 1);
    // At most (2^32 - 1)^2 + 2^31.
    let low = (u64::from(factor) * low + (1 << (shift - 1))) >> shift;
    i64::from(factor) * (value >> shift) + low.cast_signed()
}

fn round(x: f64, fraction: u32) -> i64 {
    libm::floor(libm::scalbn(x, fraction as i32) + 0.5) as i64
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use proptest::prelude::*;
    use s2_hal::math::SoftwareExpLog;

    use super::*;

    const TICK_MS: f64 = 1.0 / 256.0;

    #[derive(Clone, Debug)]
    struct Case {
        tau0: f64,
        tau1: f64,
        alpha: f64,
        end: u32,
        silence: Silence,
        first: Vec<u32>,
        label: usize,
    }

    impl Case {
        fn loss(&self) -> TimeToFirstSpike {
            let Self {
                tau0,
                tau1,
                alpha,
                end,
                silence,
                ..
            } = *self;
            TimeToFirstSpike::new(tau0, tau1, alpha, TICK_MS, end, silence).unwrap()
        }

        /// The loss, the errors in 1/ms, and how many of them were cut.
        fn evaluate(&self) -> (f64, Vec<f64>, u64) {
            let (mut errors, mut saturations) = (vec![7; self.first.len()], 0);
            let outcome = self.loss().evaluate(
                &mut SoftwareExpLog,
                &self.first,
                self.label,
                &mut errors,
                &mut saturations,
            );
            assert_eq!(outcome.label_silent, self.first[self.label] == SILENT);
            let unit = f64::from(1 << ADJOINT_FRACTION);
            let errors = errors.iter().map(|&error| f64::from(error) / unit);
            (outcome.loss as f64 / 32768.0, errors.collect(), saturations)
        }

        /// The same by the formulas of `docs/mathematics.md`.
        fn formula(&self) -> (f64, Vec<f64>) {
            let end = f64::from(self.end) * TICK_MS;
            let silent = |t: u32| t == SILENT;
            let ms = |t: u32| {
                if silent(t) {
                    end
                } else {
                    f64::from(t) * TICK_MS
                }
            };
            let late = |t: f64| self.alpha * (t / self.tau1).exp();
            let weight = |t: u32| ((end - ms(t)) / self.tau0).exp();
            let Self {
                ref first,
                label,
                silence,
                ..
            } = *self;
            let none = first.iter().all(|&t| silent(t));
            let constant = silent(first[label])
                && !silence.outputs_at_end
                && (none || !silence.send_for_label);
            let counts = |&&t: &&u32| silence.outputs_at_end || !silent(t);
            let sum: f64 = first.iter().filter(counts).map(|&t| weight(t)).sum();
            let entropy = if constant {
                (first.len() as f64).ln()
            } else {
                sum.ln() - weight(first[label]).ln()
            };
            let send = !silent(first[label]) || silence.send_for_label;
            let errors = first.iter().enumerate().map(|(k, &t)| {
                let one = f64::from(u8::from(k == label));
                if silent(t) || !send || (silence.last_tick_unheard && t + 1 == self.end) {
                    return 0.0;
                }
                (one - weight(t) / sum) / self.tau0 + one * late(ms(t)) / self.tau1
            });
            (
                entropy + late(ms(first[label])) - self.alpha,
                errors.collect(),
            )
        }
    }

    prop_compose! {
        fn silence()(
            outputs_at_end: bool,
            send_for_label: bool,
            last_tick_unheard: bool,
        ) -> Silence {
            Silence { outputs_at_end, send_for_label, last_tick_unheard }
        }
    }

    prop_compose! {
        fn case()(
            tau0 in 0.5..4.0,
            end in 2_560_u32..30_000,
            end_by_tau1 in 0.1..LATEST,
            alpha in 0.0..0.01,
            silence in silence(),
            outputs in 1_usize..8,
        )(
            // Ticks before the end; one in four is silent.
            first in proptest::collection::vec(
                (0_u8..4, 1_u32..2000).prop_map(move |(n, before)| {
                    if n == 0 { SILENT } else { end - before }
                }),
                outputs,
            ),
            label in 0..outputs,
            tau0 in Just(tau0),
            end in Just(end),
            tau1 in Just(f64::from(end) * TICK_MS / end_by_tau1),
            alpha in Just(alpha),
            silence in Just(silence),
        ) -> Case {
            Case { tau0, tau1, alpha, end, silence, first, label }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn loss_and_errors_follow_their_formulas(case in case()) {
            let (loss, errors, saturations) = case.evaluate();
            let (expected_loss, expected_errors) = case.formula();
            // Exponents are rounded down to 2^-15, alpha and alpha/tau1 to 2^-33.
            let unit = 1.0 / 32768.0;
            let exponential = (f64::from(case.end) * TICK_MS / case.tau1).exp();
            let late = case.alpha * exponential;
            let constant = exponential / 8e9;
            prop_assert!(
                (loss - expected_loss).abs() < (4.0 + 2.0 * late) * unit + constant,
                "{loss}, {expected_loss}"
            );
            let mut cut = 0;
            for (error, expected) in errors.iter().zip(&expected_errors) {
                let bound =
                    (2.0 / case.tau0 + 2.0 * late / case.tau1 + 1.0) * unit + constant;
                let limited = expected.clamp(-128.0, 128.0);
                prop_assert!((error - limited).abs() < bound, "{errors:?}, {expected_errors:?}");
                cut += u64::from(*expected > 128.0 + bound);
            }
            prop_assert!(saturations >= cut && saturations <= 1);
        }

        /// By differences of the fixed-point loss itself, which decide that loss and errors belong together.
        #[test]
        fn errors_are_the_derivative_of_the_loss(case in case(), output in 0_usize..8) {
            let output = output % case.first.len();
            let silence = case.silence;
            let silent_label = case.first[case.label] == SILENT;
            // A label that counts as at the end, and an end that is not heard, leave errors out on purpose.
            let left_out = (silent_label && silence.outputs_at_end && !silence.send_for_label)
                || (silence.last_tick_unheard && case.first[output] == case.end - 1);
            const BY: u32 = 24;
            prop_assume!(!left_out && (BY..case.end - BY).contains(&case.first[output]));
            let (_, errors, saturations) = case.evaluate();
            let moved = |by: i32| {
                let mut case = case.clone();
                case.first[output] = case.first[output].strict_add_signed(by);
                case.evaluate().0
            };
            let difference = (moved(BY as i32) - moved(-(BY as i32))) / (2.0 * f64::from(BY) * TICK_MS);
            if silent_label && !silence.send_for_label {
                prop_assert_eq!((difference, errors[output]), (0.0, 0.0));
            }
            // The third derivative is at most 1/tau0^3 or so, or what the exponential has.
            let step = f64::from(BY) * TICK_MS;
            let late = case.alpha / case.tau1
                * ((f64::from(case.first[output]) * TICK_MS + step) / case.tau1).exp();
            let constant = (f64::from(case.end) * TICK_MS / case.tau1).exp() / 4e9;
            let bound = step * step * (0.1 / case.tau0.powi(3) + late / case.tau1.powi(2))
                + (4.0 + 4.0 * late) / 32768.0 / step
                + constant;
            prop_assert!(
                saturations > 0 || (difference - errors[output]).abs() < bound,
                "{difference}, {}, {bound}", errors[output]
            );
        }
    }

    /// A label that was left out of the loss, and divided by in the gradient, would make these differ.
    #[test]
    fn every_sample_has_a_loss() {
        let case = Case {
            tau0: 0.5,
            tau1: 6.4,
            alpha: 0.003,
            end: 40 * 256,
            silence: Silence::default(),
            first: vec![SILENT, 7000, SILENT],
            label: 0,
        };
        let late = 0.003 * ((40.0_f64 / 6.4).exp() - 1.0);
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-3, "{found}");
        let (loss, errors, _) = case.evaluate();
        near(loss, 3_f64.ln() + late);
        assert_eq!(errors, [0.0; 3]);

        let silence = Silence {
            send_for_label: true,
            ..Silence::default()
        };
        let sent = Case {
            silence,
            ..case.clone()
        };
        let (loss, errors, _) = sent.evaluate();
        // T/tau0 + ln exp(-t/tau0).
        near(loss, 80.0 - 7000.0 / 256.0 / 0.5 + late);
        assert_eq!(errors, [0.0, -2.0, 0.0]);

        let none = Case {
            first: vec![SILENT; 3],
            ..sent
        };
        let (loss, errors, _) = none.evaluate();
        near(loss, 3_f64.ln() + late);
        assert_eq!(errors, [0.0; 3]);
    }

    #[test]
    fn the_exponential_goes_on_beyond_the_unit() {
        let case = |ms: u32, alpha| Case {
            tau0: 0.5,
            tau1: 6.4,
            alpha,
            end: 128 << 8,
            silence: Silence::default(),
            first: vec![ms << 8],
            label: 0,
        };
        let mut last = 0;
        for t in 0..=128 << 8 {
            let value = case(1, 0.5).loss().late(&mut SoftwareExpLog, t);
            let expected = (f64::from(t) * TICK_MS / 6.4).exp() * 32768.0;
            let bound = 0.51 + 4e-5 * expected;
            assert!(
                (value as f64 - expected).abs() < bound,
                "at {t}: {value}, {expected}"
            );
            assert!(value >= last, "at {t}");
            last = value;
        }
        // 0.003/6.4 exp(79/6.4) is below 128, 0.003/6.4 exp(81/6.4) above.
        let (loss, errors, saturations) = case(79, 0.003).evaluate();
        let expected = 0.003 * (79.0_f64 / 6.4).exp();
        assert!((loss / (expected - 0.003) - 1.0).abs() < 4e-5, "{loss}");
        assert!(
            (errors[0] / (expected / 6.4) - 1.0).abs() < 4e-5,
            "{errors:?}"
        );
        assert_eq!(saturations, 0);
        let (loss, errors, saturations) = case(81, 0.003).evaluate();
        assert!(loss > 900.0);
        assert_eq!((&errors[..], saturations), (&[128.0][..], 1));
    }

    #[test]
    fn a_spike_that_is_not_heard_gets_no_error() {
        let case = |last_tick_unheard| Case {
            tau0: 1.5,
            tau1: 100.0,
            alpha: 0.01,
            end: 27,
            silence: Silence {
                outputs_at_end: true,
                send_for_label: false,
                last_tick_unheard,
            },
            first: vec![25, 26, SILENT],
            label: 1,
        };
        let (loss, errors, _) = case(true).evaluate();
        let (heard_loss, heard_errors, _) = case(false).evaluate();
        assert_eq!((loss, errors[0]), (heard_loss, heard_errors[0]));
        assert!(errors[1] == 0.0 && heard_errors[1] > 0.0);
    }

    #[test]
    fn constants_out_of_range_are_refused() {
        let new = |tau0, tau1, alpha| {
            TimeToFirstSpike::new(tau0, tau1, alpha, 1.0, 100, Silence::default()).map(|_| ())
        };
        assert_eq!(new(0.5, 5.0, 0.003), Ok(()));
        assert_eq!(new(0.5, 4.99, 0.003), Err(LossError::Tau1));
        assert_eq!(new(0.5, f64::NAN, 0.003), Err(LossError::Tau1));
        assert_eq!(new(0.007, 5.0, 0.003), Err(LossError::Tau0));
        assert_eq!(new(0.5, 5.0, 1.0), Ok(()));
        assert_eq!(new(0.5, 5.0, 1.01), Err(LossError::Alpha));
    }
}
