//! The loss: cross-entropy over the times of the outputs' first spikes.

/// What is sent back for a sample whose label neuron did not spike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SilentLabel {
    /// Nothing. The label neuron cannot learn from an error, and errors that only delay the
    /// others would make them silent too.
    Skip,
    /// The errors of the outputs that did spike.
    Send,
}

/// Cross-entropy over the times of first spikes.
///
/// With the first spike `t_k` of output `k` and the softmax `p` of `-t/tau0`,
///
/// ```text
/// L       = -log p_label + alpha * ( exp(t_label / tau1) - 1 )
/// dL/dt_k = ( [k = label] - p_k ) / tau0 + [k = label] * alpha / tau1 * exp(t_label / tau1)
/// ```
///
/// A label that is silent counts as spiking at the end of the sample. If silent outputs are left out of the
/// softmax, it is left out of the sum behind `p_label`; and if nothing is sent back then, or nothing spiked,
/// the loss is what it is when all outputs spike at the end, a constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeToFirstSpike {
    /// Scale of the softmax in milliseconds.
    pub tau0_ms: f64,
    /// Scale of the second term in milliseconds, which asks for an early spike of the label.
    pub tau1_ms: f64,
    /// Weight of the second term.
    pub alpha: f64,
    /// The time that a silent output counts as, in milliseconds; `None` leaves it out of the
    /// softmax.
    pub silent_output_time_ms: Option<f64>,
    /// What is sent back if the label's output is silent.
    pub silent_label: SilentLabel,
}

/// Loss of a sample, and its derivatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The loss.
    pub loss: f64,
    /// Derivative by the first spike of each output, per millisecond; zero if the output was
    /// silent or if nothing is sent back.
    pub errors: Vec<f64>,
}

impl TimeToFirstSpike {
    /// Evaluates the loss of one sample that ends at `end_ms` from the first spike of every output, both
    /// in milliseconds.
    ///
    /// # Panics
    ///
    /// If `label` is not the index of an output.
    pub fn evaluate(&self, first_spikes: &[Option<f64>], label: usize, end_ms: f64) -> Evaluation {
        let silent = first_spikes[label].is_none();
        let skip = silent && self.silent_label == SilentLabel::Skip;
        let all_silent = first_spikes.iter().all(Option::is_none);
        let constant = self.silent_output_time_ms.is_none() && (skip || all_silent);
        let times: Vec<Option<f64>> = first_spikes
            .iter()
            .map(|time| match constant {
                true => Some(end_ms),
                false => time.or(self.silent_output_time_ms),
            })
            .collect();

        // The largest exponent is subtracted: the sum is then at least 1 and cannot overflow.
        let earliest = times
            .iter()
            .flatten()
            .copied()
            .fold(f64::INFINITY, f64::min);
        let exponential =
            |time: &Option<f64>| time.map_or(0.0, |time| ((earliest - time) / self.tau0_ms).exp());
        let sum: f64 = times.iter().map(exponential).sum();
        let late = |time: f64| self.alpha * (time / self.tau1_ms).exp();

        let time = times[label].unwrap_or(end_ms);
        let log_p = (earliest - time) / self.tau0_ms - sum.ln();
        let loss = -log_p + late(time) - self.alpha;

        let errors = first_spikes
            .iter()
            .enumerate()
            .map(|(output, first_spike)| match first_spike {
                Some(time) if !skip => {
                    let p = exponential(&Some(*time)) / sum;
                    if output == label {
                        (1.0 - p) / self.tau0_ms + late(*time) / self.tau1_ms
                    } else {
                        -p / self.tau0_ms
                    }
                }
                // A neuron that did not spike has no spike time to be changed.
                _ => 0.0,
            })
            .collect();
        Evaluation { loss, errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSS: TimeToFirstSpike = TimeToFirstSpike {
        tau0_ms: 0.5,
        tau1_ms: 6.4,
        alpha: 0.003,
        silent_output_time_ms: None,
        silent_label: SilentLabel::Skip,
    };

    const END_MS: f64 = 20.0;

    #[test]
    fn errors_are_the_derivatives_of_the_loss() {
        for silent_output_time_ms in [None, Some(13.0)] {
            let loss = TimeToFirstSpike {
                silent_output_time_ms,
                ..LOSS
            };
            let times = [Some(12.1), Some(11.8), None, Some(12.4)];
            let evaluation = loss.evaluate(&times, 0, END_MS);
            for output in [0, 1, 3] {
                let moved = |by: f64| {
                    let mut times = times;
                    times[output] = times[output].map(|time| time + by);
                    loss.evaluate(&times, 0, END_MS).loss
                };
                let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((difference - evaluation.errors[output]).abs() < 1e-8);
            }
            assert_eq!(evaluation.errors[2], 0.0);
        }
    }

    #[test]
    fn a_silent_label_sends_only_what_is_asked_for() {
        let times = [None, Some(11.8), Some(12.4)];
        let late = 0.003 * ((END_MS / 6.4).exp() - 1.0);
        let skipped = LOSS.evaluate(&times, 0, END_MS);
        assert!((skipped.loss - (3_f64.ln() + late)).abs() < 1e-12);
        assert_eq!(skipped.errors, [0.0; 3]);

        let sent = TimeToFirstSpike {
            silent_label: SilentLabel::Send,
            ..LOSS
        };
        let evaluation = sent.evaluate(&times, 0, END_MS);
        let p = 1.0 / (1.0 + (-0.6_f64 / 0.5).exp());
        let expected = (END_MS - 11.8) / 0.5 + (1.0 + (-0.6_f64 / 0.5).exp()).ln() + late;
        assert!((evaluation.loss - expected).abs() < 1e-12);
        for (error, expected) in evaluation
            .errors
            .iter()
            .zip([0.0, -p / 0.5, -(1.0 - p) / 0.5])
        {
            assert!((error - expected).abs() < 1e-12, "{:?}", evaluation.errors);
        }

        let counted = TimeToFirstSpike {
            silent_output_time_ms: Some(END_MS),
            ..sent
        };
        let evaluation = counted.evaluate(&times, 0, END_MS);
        // The label is in the sum, too.
        assert!(evaluation.loss > expected);
        assert_eq!(evaluation.errors[0], 0.0);
        assert!(evaluation.errors[1] < -1.0 && evaluation.errors[2] < -0.1);
    }

    #[test]
    fn times_far_apart_and_silence_give_finite_numbers() {
        let evaluation = LOSS.evaluate(&[Some(0.0), Some(1000.0)], 0, 1000.0);
        assert!(evaluation.loss.abs() < 1e-12);
        let silence = LOSS.evaluate(&[None, None], 1, 0.0);
        assert!((silence.loss - 2_f64.ln()).abs() < 1e-12);
        assert_eq!(silence.errors, [0.0, 0.0]);
    }
}
