//! Time-to-first-spike loss: a cross-entropy over the outputs' first spikes.
//!
//! With t_k the first spike of output k and p = softmax(-t/tau0) over the outputs that spiked:
//! `L = -ln p_label + alpha (exp(t_label/tau1) - 1)`,
//! `dL/dt_k = ([k = label] - p_k)/tau0 + [k = label] alpha/tau1 exp(t_label/tau1)`.

use fixed::types::I17F15;
use s2_hal::math::ExpLog;

use crate::numeric::{
    ADJOINT_FRACTION, ADJOINT_LIMIT, LOSS_FRACTION, PROBABILITY_FRACTION, saturate,
};

/// First-spike time of an output that did not spike.
pub const SILENT: u32 = u32::MAX;

/// Fraction bits of the rates that turn ticks into an exponent.
const RATE_FRACTION: u32 = 28;
/// Fraction bits of alpha and of alpha/tau1.
const LATE_FRACTION: u32 = 32;

/// Constants of the loss, in fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToFirstSpike {
    pub(crate) softmax_rate: u64,
    pub(crate) late_rate: u64,
    pub(crate) inverse_tau0: i32,
    pub(crate) alpha: u32,
    pub(crate) late_slope: u32,
    pub(crate) silent_time: Option<u32>,
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
        silent_time: None,
        send_for_silent_label: false,
    };
}

/// A constant of the loss is out of its range; the variants name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossError {
    /// tau0 must be a finite number of at least 1/128 ms, and of at least 1/255 tick.
    Tau0,
    /// tau1 must be a positive finite number of at least 1/255 tick.
    Tau1,
    /// alpha must be 0 to 1, and alpha/tau1 below 0.5 per ms.
    Alpha,
}

/// What a sample came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The loss, with [`LOSS_FRACTION`] fraction bits; `None` where the label's output is silent and
    /// silent outputs are excluded.
    pub loss: Option<i64>,
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
    /// Takes the constants in ms, `tick_ms` being the length of a tick.
    ///
    /// `silent_time`: the time in ticks that a silent output counts as in the softmax; `None` leaves
    /// it out. `send_for_silent_label`: whether the other outputs are sent their errors for a sample
    /// whose label output is silent (they are pushed to silence then, too).
    ///
    /// # Errors
    /// See [`LossError`].
    pub fn new(
        tau0_ms: f64,
        tau1_ms: f64,
        alpha: f64,
        tick_ms: f64,
        silent_time: Option<u32>,
        send_for_silent_label: bool,
    ) -> Result<Self, LossError> {
        let rate = |tau: f64| {
            let rate = tick_ms / tau;
            (rate.is_finite() && rate > 0.0 && rate < 255.0)
                .then(|| round(rate, RATE_FRACTION) as u64)
        };
        let softmax_rate = rate(tau0_ms)
            .filter(|_| tau0_ms >= 1.0 / 128.0)
            .ok_or(LossError::Tau0)?;
        let late_rate = rate(tau1_ms).ok_or(LossError::Tau1)?;
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
            silent_time,
            send_for_silent_label,
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
        let mut outcome = Outcome {
            loss: None,
            prediction: (earliest != SILENT)
                .then(|| first.iter().position(|&t| t == earliest).unwrap_or(0) as u16),
            correct: correct_with_ties && at_earliest == 1,
            correct_with_ties,
            label_silent,
        };
        errors.fill(0);
        // The time that output k counts as, or None where it is left out.
        let time = |k: usize| {
            if first[k] == SILENT {
                self.silent_time
            } else {
                Some(first[k])
            }
        };
        let Some(label_time) = time(label) else {
            return outcome;
        };
        let reference = (0..first.len()).filter_map(time).min().unwrap_or(0);

        let mut weight = |t: u32| {
            let x = exponent(t - reference, self.softmax_rate);
            exponential.exp_fraction(-x).to_bits().max(0) as u64
        };
        let sum: u64 = (0..first.len()).filter_map(time).map(&mut weight).sum();
        if !label_silent || self.send_for_silent_label {
            for (k, error) in errors
                .iter_mut()
                .enumerate()
                .filter(|&(k, _)| first[k] != SILENT)
            {
                // A weight is at most 2^31, so the shifted one fits; the sum is at least one weight.
                let p = ((weight(first[k]) << PROBABILITY_FRACTION) + sum / 2) / sum;
                let one = u64::from(k == label) << PROBABILITY_FRACTION;
                let difference = one as i64 - p as i64;
                let product = difference * i64::from(self.inverse_tau0);
                let rounded = (product + (1 << (PROBABILITY_FRACTION - 1))) >> PROBABILITY_FRACTION;
                *error = rounded as i32; // at most 128.0
            }
        }
        let late = exponential
            .exp(exponent(label_time, self.late_rate))
            .to_bits();
        if !label_silent {
            const SHIFT: u32 = LATE_FRACTION + LOSS_FRACTION - ADJOINT_FRACTION;
            let late = (i64::from(self.late_slope) * i64::from(late) + (1 << (SHIFT - 1))) >> SHIFT;
            errors[label] = saturate(i64::from(errors[label]) + late, ADJOINT_LIMIT, saturations);
        }
        let x = exponent(label_time - reference, self.softmax_rate);
        let sum = I17F15::from_bits((sum >> (PROBABILITY_FRACTION - LOSS_FRACTION)) as i32);
        let entropy = i64::from(x.to_bits()) + i64::from(exponential.ln(sum).to_bits());
        let delay = (i64::from(self.alpha) * i64::from(late - (1 << LOSS_FRACTION))
            + (1 << (LATE_FRACTION - 1)))
            >> LATE_FRACTION;
        outcome.loss = Some(entropy + delay);
        outcome
    }
}

/// `ticks · rate` in the format of the exponential unit, saturating.
fn exponent(ticks: u32, rate: u64) -> I17F15 {
    let bits = (u64::from(ticks) * rate) >> (RATE_FRACTION - 15);
    I17F15::from_bits(bits.min(i32::MAX as u64) as i32)
}

fn round(x: f64, fraction: u32) -> i64 {
    libm::floor(libm::scalbn(x, fraction as i32) + 0.5) as i64
}
