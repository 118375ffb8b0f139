//! What a run of a reference vector differs in from what the vector expects.

use serde::Serialize;

use super::grid::Margins;
use super::{RunOptions, RunResult, Sensitivity, Spike, continuous};
use crate::vector::{Scheme, Vector};

/// Two spikes of a neuron in continuous time that are further apart than this, in milliseconds,
/// are not taken for the same spike.
const SAME_SPIKE_MS: f64 = 2.0;

/// How a result differs from what a vector expects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the vector.
    pub vector: String,
    /// Spikes of every layer behind the inputs.
    pub layers: Vec<LayerComparison>,
    /// Outputs of all samples that spiked in one of the two and were silent in the other.
    pub silent_mismatches: usize,
    /// Largest difference of a first spike's time in milliseconds; 0 if there is none in both.
    pub largest_first_spike_error_ms: f64,
    /// The expected mean loss, if it is known.
    pub expected_loss: Option<f64>,
    /// The result's mean loss less the expected one; `None` if either is absent.
    pub loss_error: Option<f64>,
    /// The gradient of every layer.
    pub gradients: Vec<GradientComparison>,
    /// Every missing and extra spike, by sample, time and layer.
    pub mismatches: Vec<Mismatch>,
    /// The smallest distance that any membrane of the vector keeps from the threshold in any step,
    /// by the `f64` reference; only in the scheme `grid`. See [`Margins`].
    pub smallest_margin: Option<f64>,
    /// The time of every spike that is in both.
    #[serde(skip)]
    pub times: Vec<TimeError>,
}

/// How the spikes of a layer differ, over all samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerComparison {
    /// Number of spikes that the vector expects.
    pub expected: usize,
    /// Expected spikes that the result does not have.
    pub missing: usize,
    /// Spikes of the result that are not expected.
    pub extra: usize,
    /// Largest difference between the times of the others in milliseconds.
    pub largest_time_error_ms: f64,
}

/// How the gradient of a layer differs, taken as one long vector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GradientComparison {
    /// Cosine of the angle between the gradients; 1 if both are zero, 0 if one is.
    pub cosine: f64,
    /// Length of the difference over the length of the expected gradient; infinite if only the
    /// latter is zero.
    pub relative_error: f64,
}

/// How the time of a spike differs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeError {
    /// Index of the sample.
    pub sample: usize,
    /// Index of the layer, 0 being the first behind the inputs.
    pub layer: usize,
    /// The spike that the vector expects.
    pub expected: Spike,
    /// The result's time less the expected one, in milliseconds.
    pub error_ms: f64,
    /// The slope `c = I - threshold` of the spike in continuous time; only in the scheme `exact`.
    pub slope: Option<f64>,
}

/// A missing or an extra spike.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mismatch {
    /// Index of the sample.
    pub sample: usize,
    /// Index of the layer, 0 being the first behind the inputs.
    pub layer: usize,
    /// Index of the neuron in its layer.
    pub neuron: usize,
    /// Time of the spike in milliseconds.
    pub time_ms: f64,
    /// Whether the spike is missing or extra.
    pub kind: MismatchKind,
    /// How far the membrane is from the threshold. In the scheme `grid`: in that step, by the
    /// `f64` reference. In `exact`, in continuous time: how far it peaks above the threshold where
    /// a spike is missing ([`Sensitivity::overshoot`]), or stays below it where one is extra
    /// ([`Sensitivity::shortfall`]).
    pub margin: f64,
}

/// The two ways in which a spike can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MismatchKind {
    /// The vector expects it, the result does not have it.
    Missing,
    /// The result has it, the vector does not expect it.
    Extra,
}

/// A tick of the default resolution in milliseconds: 256 ticks per step of 1 ms.
const TICK_MS: f64 = 1.0 / 256.0;

/// By so many ticks, over its slope, a spike may be off where it grazes the threshold: the spikes
/// that arrive at it are late by a tick or more, too, each by its weight.
const GRAZE_TICKS: f64 = 8.0;

/// Up to this [effect of ticks](Sensitivity::tick_effect) on the gradient, a vector is judged by the
/// narrower tolerance.
pub const TICK_EFFECT: f64 = 0.005;

/// How large a difference may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerance {
    /// Largest difference of a spike's time in milliseconds. No spike may be missing or extra.
    pub spike_time_ms: f64,
    /// Where this over the slope `c` of the spike is larger, that is allowed instead: a membrane
    /// that is off by this over the membrane's time constant spikes so much earlier or later.
    pub graze_ms: f64,
    /// Largest difference of the mean loss, times the expected loss where that is above 1.
    pub loss: f64,
    /// Smallest cosine of a layer's gradient.
    pub cosine: f64,
    /// Largest relative error of a layer's gradient.
    pub relative_error: f64,
}

impl Tolerance {
    /// What a sound implementation keeps to. In the scheme `grid` the spikes are the same; in
    /// `exact`, which vectors describe in continuous time, they differ by the steps and ticks.
    pub fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Grid => Self {
                spike_time_ms: 0.0,
                graze_ms: 0.0,
                loss: 1e-3,
                cosine: 0.999,
                relative_error: 0.005,
            },
            Scheme::Exact => Self {
                spike_time_ms: 0.1,
                graze_ms: GRAZE_TICKS * TICK_MS,
                loss: 0.02,
                cosine: 0.9999,
                relative_error: 0.01,
            },
        }
    }

    /// As [`of`](Self::of), for a vector whose gradient ticks alone may change by more than
    /// [`TICK_EFFECT`].
    pub fn of_sensitive(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Grid => Self::of(scheme),
            Scheme::Exact => Self {
                cosine: 0.999,
                relative_error: 0.05,
                ..Self::of(scheme)
            },
        }
    }

    /// The tolerance for a vector that is run with these options: [`of_sensitive`] if ticks may
    /// change its gradient by more than [`TICK_EFFECT`] (and it is what [`continuous`] makes of it),
    /// else [`of`](Self::of).
    ///
    /// [`of_sensitive`]: Self::of_sensitive
    pub fn of_vector(vector: &Vector, options: &RunOptions) -> Self {
        match vector.scheme {
            Scheme::Exact
                if Sensitivity::of(vector).tick_effect(options.tick_ms()) > TICK_EFFECT
                    && continuous::reproduces(vector) =>
            {
                Self::of_sensitive(vector.scheme)
            }
            scheme => Self::of(scheme),
        }
    }

    /// Largest difference of the time of a spike with that slope in milliseconds.
    pub fn time_ms(&self, slope: Option<f64>) -> f64 {
        let graze_ms = slope.map_or(0.0, |slope| self.graze_ms / slope);
        self.spike_time_ms.max(graze_ms)
    }
}

impl Comparison {
    /// What lies outside a tolerance, one line each; empty if nothing does.
    pub fn violations(&self, tolerance: &Tolerance) -> Vec<String> {
        let mut violations = Vec::new();
        // Negated comparisons would be shorter, but a difference that is not a number must fail.
        let exceeds = |value: f64, limit: f64| value.is_nan() || value > limit;
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.missing + layer.extra > 0 {
                violations.push(format!(
                    "layer {index}: {} of {} spikes missing, {} extra",
                    layer.missing, layer.expected, layer.extra
                ));
            }
        }
        violations.extend(self.time_violations(tolerance));
        if self.silent_mismatches > 0 {
            violations.push(format!(
                "{} outputs are silent on one side only",
                self.silent_mismatches
            ));
        }
        let largest = tolerance.loss * self.expected_loss.map_or(1.0, |loss| loss.abs().max(1.0));
        if let Some(error) = self.loss_error
            && exceeds(error.abs(), largest)
        {
            violations.push(format!("the loss is {error} off, more than {largest}"));
        }
        for (index, gradient) in self.gradients.iter().enumerate() {
            if exceeds(-gradient.cosine, -tolerance.cosine) {
                violations.push(format!(
                    "layer {index}: the gradient's cosine is {}, less than {}",
                    gradient.cosine, tolerance.cosine
                ));
            }
            if exceeds(gradient.relative_error, tolerance.relative_error) {
                violations.push(format!(
                    "layer {index}: the gradient's relative error is {}, more than {}",
                    gradient.relative_error, tolerance.relative_error
                ));
            }
        }
        violations
    }

    /// The worst of each layer's spikes whose times lie outside a tolerance, one line each.
    pub fn time_violations(&self, tolerance: &Tolerance) -> Vec<String> {
        let excess = |time: &TimeError| {
            let limit_ms = tolerance.time_ms(time.slope);
            match time.error_ms.abs() - limit_ms {
                excess if excess.is_nan() => f64::INFINITY,
                excess => excess,
            }
        };
        let mut violations = Vec::new();
        for layer in 0..self.layers.len() {
            let times = self.times.iter().filter(|time| time.layer == layer);
            let late: Vec<_> = times.filter(|time| excess(time) > 0.0).collect();
            let worst = late.iter().max_by(|a, b| excess(a).total_cmp(&excess(b)));
            if let Some(worst) = worst {
                let slope = worst.slope.map_or(String::new(), |slope| {
                    format!(" where its slope is {slope:.2e}")
                });
                violations.push(format!(
                    "layer {layer}: {} spikes are too early or too late; that of neuron {} at {} ms \
                     in sample {} is {} ms off, more than {} ms{slope}",
                    late.len(),
                    worst.expected.neuron,
                    worst.expected.time_ms,
                    worst.sample,
                    worst.error_ms,
                    tolerance.time_ms(worst.slope),
                ));
            }
        }
        violations
    }

    /// The mismatches that no other mismatch can have caused: those at the earliest time of each
    /// sample.
    ///
    /// Their margin tells whether a difference of rounding explains them.
    pub fn first_mismatches(&self) -> Vec<Mismatch> {
        let mut first: Vec<Mismatch> = Vec::new();
        for mismatch in &self.mismatches {
            match first.last() {
                Some(last) if last.sample == mismatch.sample && last.time_ms < mismatch.time_ms => {
                }
                _ => first.push(*mismatch),
            }
        }
        first
    }
}

/// Holds a result, of whichever implementation, against what a vector expects.
///
/// The result's gradient and loss are the means over the samples. Spikes of a neuron are paired
/// in the order of time, such that the paired ones lie close to each other; in the scheme `grid`
/// only spikes of the same step are paired.
///
/// # Panics
///
/// If the result is not of the vector's shape: number of samples, layers, neurons.
pub fn compare(vector: &Vector, result: &RunResult) -> Comparison {
    assert_eq!(result.spikes.len(), vector.samples.len(), "samples");
    assert_eq!(result.first_spikes.len(), vector.samples.len(), "samples");
    let furthest_ms = match vector.step_ms {
        Some(step_ms) => step_ms / 2.0,
        None => SAME_SPIKE_MS,
    };

    let neurons = &vector.dims[1..];
    let mut layers = vec![
        LayerComparison {
            expected: 0,
            missing: 0,
            extra: 0,
            largest_time_error_ms: 0.0,
        };
        neurons.len()
    ];
    let mut silent_mismatches = 0;
    let mut largest_first_spike_error_ms = 0.0;
    let (mut mismatches, mut times) = (Vec::new(), Vec::new());
    let sensitivity = (vector.scheme == Scheme::Exact).then(|| Sensitivity::of(vector));
    for (sample, expected) in vector.samples.iter().enumerate() {
        assert_eq!(result.spikes[sample].len(), neurons.len(), "layers");
        for (layer, comparison) in layers.iter_mut().enumerate() {
            let expected = times_by_neuron(&expected.expected_spikes[layer], neurons[layer]);
            let found = times_by_neuron(&result.spikes[sample][layer], neurons[layer]);
            for (neuron, (expected, found)) in expected.iter().zip(&found).enumerate() {
                comparison.expected += expected.len();
                let mut mismatch = |time_ms, kind| {
                    mismatches.push(Mismatch {
                        sample,
                        layer,
                        neuron,
                        time_ms,
                        kind,
                        margin: 0.0,
                    });
                };
                for pair in pair_up(expected, found, furthest_ms) {
                    match pair {
                        Pair::Both(expected, found) => {
                            let error_ms = found - expected;
                            let largest = larger(comparison.largest_time_error_ms, error_ms);
                            comparison.largest_time_error_ms = largest;
                            let expected = Spike {
                                neuron,
                                time_ms: expected,
                            };
                            times.push(TimeError {
                                sample,
                                layer,
                                expected,
                                error_ms,
                                slope: sensitivity
                                    .as_ref()
                                    .and_then(|of| of.slope(sample, layer, &expected)),
                            });
                        }
                        Pair::Missing(time_ms) => {
                            comparison.missing += 1;
                            mismatch(time_ms, MismatchKind::Missing);
                        }
                        Pair::Extra(time_ms) => {
                            comparison.extra += 1;
                            mismatch(time_ms, MismatchKind::Extra);
                        }
                    }
                }
            }
        }

        let (expected, found) = (
            &expected.expected_first_spikes,
            &result.first_spikes[sample],
        );
        assert_eq!(found.len(), expected.len(), "outputs");
        for pair in expected.iter().zip(found) {
            match pair {
                (Some(expected), Some(found)) => {
                    largest_first_spike_error_ms =
                        larger(largest_first_spike_error_ms, found - expected);
                }
                (None, None) => {}
                _ => silent_mismatches += 1,
            }
        }
    }

    mismatches.sort_by(|a, b| {
        (a.sample.cmp(&b.sample))
            .then_with(|| a.time_ms.total_cmp(&b.time_ms))
            .then_with(|| (a.layer, a.neuron).cmp(&(b.layer, b.neuron)))
    });
    let margins = Margins::of(vector);
    for mismatch in &mut mismatches {
        let spike = Spike {
            neuron: mismatch.neuron,
            time_ms: mismatch.time_ms,
        };
        let Mismatch { sample, layer, .. } = *mismatch;
        mismatch.margin = match (&sensitivity, mismatch.kind) {
            (Some(sensitivity), MismatchKind::Missing) => {
                let overshoot = sensitivity.overshoot(sample, layer, &spike);
                // The vector has a spike that continuous time has not: that is not rounding.
                overshoot.unwrap_or(f64::INFINITY)
            }
            (Some(sensitivity), MismatchKind::Extra) => {
                sensitivity.shortfall(sample, layer, &spike)
            }
            // Nor is a spike outside the run.
            (None, _) => margins
                .as_ref()
                .and_then(|margins| margins.at(sample, layer, &spike))
                .unwrap_or(f64::INFINITY),
        };
    }

    Comparison {
        vector: vector.name.clone(),
        layers,
        silent_mismatches,
        largest_first_spike_error_ms,
        expected_loss: vector.expected_mean_loss,
        loss_error: Option::zip(result.mean_loss, vector.expected_mean_loss)
            .map(|(found, expected)| found - expected),
        gradients: compare_gradients(vector, result),
        mismatches,
        smallest_margin: margins.map(|margins| margins.smallest()),
        times,
    }
}

fn compare_gradients(vector: &Vector, result: &RunResult) -> Vec<GradientComparison> {
    let expected = &vector.expected_gradient;
    assert_eq!(result.gradient.len(), expected.len(), "layers of weights");
    let layers = expected.iter().zip(&result.gradient);
    layers
        .map(|(expected, found)| {
            assert_eq!(found.len(), expected.len(), "postsynaptic neurons");
            let (mut product, mut expected_2, mut found_2, mut difference_2) = (0.0, 0.0, 0.0, 0.0);
            for (expected, found) in expected.iter().zip(found) {
                assert_eq!(found.len(), expected.len(), "presynaptic neurons");
                for (e, f) in expected.iter().zip(found) {
                    product += e * f;
                    expected_2 += e * e;
                    found_2 += f * f;
                    difference_2 += (f - e) * (f - e);
                }
            }
            if expected_2 == 0.0 && found_2 == 0.0 {
                return GradientComparison {
                    cosine: 1.0,
                    relative_error: 0.0,
                };
            }
            let lengths: f64 = expected_2.sqrt() * found_2.sqrt();
            GradientComparison {
                cosine: if lengths == 0.0 {
                    0.0
                } else {
                    product / lengths
                },
                relative_error: (difference_2 / expected_2).sqrt(),
            }
        })
        .collect()
}

/// The larger of two magnitudes; not a number if either is not.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() { b } else { a.abs().max(b.abs()) }
}

fn times_by_neuron(spikes: &[Spike], neurons: usize) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); neurons];
    for spike in spikes {
        times[spike.neuron].push(spike.time_ms);
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    times
}

/// What the alignment of two spike trains makes of a spike.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pair {
    Both(f64, f64),
    Missing(f64),
    Extra(f64),
}

/// Aligns two sorted lists of times such that the sum of the distances of pairs, and of half of
/// `furthest` for every time without a partner, is smallest. No pair is then further apart than
/// `furthest`.
fn pair_up(expected: &[f64], found: &[f64], furthest: f64) -> Vec<Pair> {
    let single = furthest / 2.0;
    let columns = found.len() + 1;
    // cost[e * columns + f]: the cheapest alignment of what lies behind the first e expected and
    // the first f found times.
    let mut cost = vec![0.0; (expected.len() + 1) * columns];
    let at = |e: usize, f: usize| e * columns + f;
    let distance = |e: usize, f: usize| (found[f] - expected[e]).abs();
    for e in (0..=expected.len()).rev() {
        for f in (0..=found.len()).rev() {
            cost[at(e, f)] = match (e < expected.len(), f < found.len()) {
                (false, false) => 0.0,
                (true, false) => cost[at(e + 1, f)] + single,
                (false, true) => cost[at(e, f + 1)] + single,
                (true, true) => (cost[at(e + 1, f + 1)] + distance(e, f))
                    .min(cost[at(e + 1, f)] + single)
                    .min(cost[at(e, f + 1)] + single),
            };
        }
    }

    let mut pairs = Vec::new();
    let (mut e, mut f) = (0, 0);
    while e < expected.len() || f < found.len() {
        let here = cost[at(e, f)];
        if e < expected.len() && f < found.len() && here == cost[at(e + 1, f + 1)] + distance(e, f)
        {
            pairs.push(Pair::Both(expected[e], found[f]));
            e += 1;
            f += 1;
        } else if e < expected.len() && (f == found.len() || here == cost[at(e + 1, f)] + single) {
            pairs.push(Pair::Missing(expected[e]));
            e += 1;
        } else {
            pairs.push(Pair::Extra(found[f]));
            f += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::Pair::{Both, Extra, Missing};
    use super::*;

    #[test]
    fn spikes_are_paired_with_their_closest() {
        // One is lost in the middle, one added at the end.
        assert_eq!(
            pair_up(&[1.0, 2.0, 3.0], &[1.1, 2.9, 9.0], 2.0),
            [Both(1.0, 1.1), Missing(2.0), Both(3.0, 2.9), Extra(9.0)]
        );
        assert_eq!(pair_up(&[1.0], &[4.0], 2.0), [Missing(1.0), Extra(4.0)]);
        assert_eq!(pair_up(&[], &[4.0], 2.0), [Extra(4.0)]);
        assert_eq!(pair_up(&[4.0], &[], 2.0), [Missing(4.0)]);
    }

    #[test]
    fn a_difference_that_is_no_number_is_a_violation() {
        let comparison = Comparison {
            vector: "v".to_owned(),
            layers: vec![LayerComparison {
                expected: 1,
                missing: 0,
                extra: 0,
                largest_time_error_ms: f64::NAN,
            }],
            silent_mismatches: 0,
            largest_first_spike_error_ms: 0.0,
            expected_loss: Some(1.0),
            loss_error: Some(f64::NAN),
            gradients: vec![GradientComparison {
                cosine: f64::NAN,
                relative_error: f64::NAN,
            }],
            mismatches: Vec::new(),
            smallest_margin: None,
            times: vec![TimeError {
                sample: 0,
                layer: 0,
                expected: Spike {
                    neuron: 0,
                    time_ms: 1.0,
                },
                error_ms: f64::NAN,
                slope: Some(1.0),
            }],
        };
        assert_eq!(
            comparison.violations(&Tolerance::of(Scheme::Exact)).len(),
            4
        );
    }
}
