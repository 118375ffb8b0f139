//! Exponential Euler steps, with spikes at steps.
//!
//! With `a = exp(-step / tau_syn)` and `b = exp(-step / tau_mem)`, and everything zero in step 0,
//! a layer with the weights `W` runs forward over `T` steps as
//!
//! ```text
//! i = 1 .. T-1:   I = a I + W s[i-1]
//!                 V = b V + (1 - b) I
//!                 spike if V > threshold: slack = I - V, then V = 0
//! ```
//!
//! where `s[i]` are the spikes that arrive from the layer before: a spike of step `i` acts in
//! step `i + 1`. Backwards, from zero and from the errors of the layer's own spikes,
//!
//! ```text
//! i = T-2 .. 0:   error of a spike in s[i] = W^T (lambda_V - lambda_I)          (values of i+1)
//!                 lambda_I = a lambda_I + (1 - a) lambda_V                      (both of i+1)
//!                 lambda_V = b lambda_V (of i+1)
//!                            + ( threshold * lambda_V (of i+1) + error ) / slack   if spiked at i+1
//!                 gradient of W -= tau_syn * lambda_I (of i) for every spike in s[i]
//! ```
//!
//! This is the discretisation of the off-chip twin of the training on SpiNNaker2, step for step.
//! It is not the derivative of the discrete forward pass, but the continuous adjoint integrated
//! in the same steps. A spike in the last step arrives nowhere and gets no error, not even from the loss.

use super::{
    Collector, Network, Reduction, RunResult, Sample, Spike, TimeToFirstSpike, Weights,
    first_spikes, presynaptic,
};
use crate::vector::{Scheme, Vector};

/// The steps of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    /// Length of a step in milliseconds.
    pub step_ms: f64,
    /// Number of steps, step 0 included, in which nothing can spike.
    pub steps: usize,
}

impl Clock {
    /// End of a sample in milliseconds.
    pub fn end_ms(&self) -> f64 {
        self.steps as f64 * self.step_ms
    }

    /// The step that is nearest to a time.
    pub fn step(&self, time_ms: f64) -> usize {
        (time_ms / self.step_ms).round() as usize
    }
}

/// A spike in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Index of the neuron or input channel within its layer.
    pub neuron: usize,
    /// The step.
    pub step: usize,
}

/// A spike of a neuron, with what its adjoint needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// The spike.
    pub event: Event,
    /// `I - V` at the spike, `V` being the membrane before its reset.
    pub slack: f64,
}

/// What one layer did in one sample.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerRun {
    /// The spikes by step, then by neuron.
    pub crossings: Vec<Crossing>,
    /// The membrane before a reset, `[step][neuron]`; zero in step 0.
    pub membrane: Vec<Vec<f64>>,
}

/// Decay over one step: of the current, and of the membrane.
fn decay(network: &Network, clock: &Clock) -> (f64, f64) {
    let neuron = &network.neuron;
    (
        (-clock.step_ms / neuron.tau_syn_ms).exp(),
        (-clock.step_ms / neuron.tau_mem_ms).exp(),
    )
}

/// Runs one sample forward and returns what every layer did.
///
/// Inputs in the last step or behind it have no effect.
///
/// # Panics
///
/// If an input is of a channel that the network does not have.
pub fn forward(network: &Network, clock: &Clock, inputs: &[Event]) -> Vec<LayerRun> {
    let (a, b) = decay(network, clock);
    let mut arrivals = inputs.to_vec();
    let mut layers = Vec::new();
    for weights in &network.weights {
        let mut current = vec![0.0; weights.len()];
        let mut potential = vec![0.0; weights.len()];
        let mut membrane = vec![potential.clone(); clock.steps.min(1)];
        let mut crossings = Vec::new();
        for step in 1..clock.steps {
            for neuron in 0..weights.len() {
                current[neuron] *= a;
                for arrival in arrivals.iter().filter(|arrival| arrival.step == step - 1) {
                    current[neuron] += weights[neuron][arrival.neuron];
                }
                potential[neuron] = b * potential[neuron] + (1.0 - b) * current[neuron];
            }
            membrane.push(potential.clone());
            for neuron in 0..weights.len() {
                if potential[neuron] > network.neuron.threshold {
                    crossings.push(Crossing {
                        event: Event { neuron, step },
                        slack: current[neuron] - potential[neuron],
                    });
                    potential[neuron] = 0.0;
                }
            }
        }
        arrivals = events(&crossings);
        layers.push(LayerRun {
            crossings,
            membrane,
        });
    }
    layers
}

/// Runs one sample backward and returns its gradient `[layer][post][pre]`.
///
/// `layers` is what [`forward`] returned for the same `inputs`, and `output_errors` the
/// derivative of the loss by the time of each spike of the last layer, in the same order, per
/// millisecond.
///
/// `slack_floor` is the smallest value that a spike's slack is taken as when the adjoint is
/// divided by it; `None` takes it as it is.
///
/// # Panics
///
/// If `output_errors` has another length than the last layer has spikes, or `layers` and `inputs`
/// do not fit the network.
pub fn backward(
    network: &Network,
    clock: &Clock,
    inputs: &[Event],
    layers: &[LayerRun],
    output_errors: &[f64],
    slack_floor: Option<f64>,
) -> Weights {
    let (a, b) = decay(network, clock);
    let mut gradient = Vec::new();
    let mut errors = output_errors.to_vec();
    for (layer, weights) in network.weights.iter().enumerate().rev() {
        let arrivals = match layer {
            0 => inputs.to_vec(),
            _ => events(&layers[layer - 1].crossings),
        };
        let crossings = &layers[layer].crossings;
        assert_eq!(crossings.len(), errors.len(), "every spike has one error");

        let mut layer_gradient = vec![vec![0.0; presynaptic(weights)]; weights.len()];
        let mut arrival_errors = vec![0.0; arrivals.len()];
        // The adjoints of step i+1, then of step i.
        let mut lambda_v = vec![0.0; weights.len()];
        let mut lambda_i = vec![0.0; weights.len()];
        for i in (0..clock.steps.saturating_sub(1)).rev() {
            let arriving = |event: &Event| event.step == i;
            for (arrival, error) in arrivals.iter().zip(&mut arrival_errors) {
                if arriving(arrival) {
                    for (neuron, row) in weights.iter().enumerate() {
                        *error += row[arrival.neuron] * (lambda_v[neuron] - lambda_i[neuron]);
                    }
                }
            }

            let mut jump = vec![0.0; weights.len()];
            for (crossing, error) in crossings.iter().zip(&errors) {
                let Event { neuron, step } = crossing.event;
                if step == i + 1 {
                    let slack =
                        slack_floor.map_or(crossing.slack, |floor| crossing.slack.max(floor));
                    jump[neuron] = (network.neuron.threshold * lambda_v[neuron] + error) / slack;
                }
            }
            for neuron in 0..weights.len() {
                lambda_i[neuron] = a * lambda_i[neuron] + (1.0 - a) * lambda_v[neuron];
                lambda_v[neuron] = b * lambda_v[neuron] + jump[neuron];
            }

            for arrival in arrivals.iter().filter(|arrival| arriving(arrival)) {
                for (row, lambda_i) in layer_gradient.iter_mut().zip(&lambda_i) {
                    row[arrival.neuron] -= network.neuron.tau_syn_ms * lambda_i;
                }
            }
        }
        gradient.push(layer_gradient);
        errors = arrival_errors;
    }
    gradient.reverse();
    gradient
}

/// Runs all samples, forward and backward.
///
/// Input spikes are moved to the nearest step. The loss only knows the first spike of each
/// output. `slack_floor` is that of [`backward`].
///
/// # Panics
///
/// If a sample has a channel or label that the network does not have.
pub fn run(
    network: &Network,
    clock: &Clock,
    loss: &TimeToFirstSpike,
    samples: &[Sample],
    slack_floor: Option<f64>,
    reduction: Reduction,
) -> RunResult {
    let outputs = network.weights.last().map_or(0, Vec::len);
    let mut collector = Collector::new(network);
    for sample in samples {
        let inputs = inputs(clock, &sample.input_spikes);
        let layers = forward(network, clock, &inputs);
        let spikes: Vec<Vec<Spike>> = layers.iter().map(|layer| times(layer, clock)).collect();
        let output_spikes = spikes.last().map_or(&[][..], Vec::as_slice);
        let first = first_spikes(output_spikes, outputs);
        let evaluation = loss.evaluate(&first, sample.label, clock.end_ms());

        let mut pending = evaluation.errors;
        let crossings = layers.last().map_or(&[][..], |layer| &layer.crossings);
        let output_errors: Vec<f64> = crossings
            .iter()
            .map(
                |crossing| match std::mem::take(&mut pending[crossing.event.neuron]) {
                    // What is emitted in the last step never arrives.
                    _ if crossing.event.step + 1 == clock.steps => 0.0,
                    error => error,
                },
            )
            .collect();
        let gradient = backward(
            network,
            clock,
            &inputs,
            &layers,
            &output_errors,
            slack_floor,
        );
        collector.add(spikes, first, evaluation.loss, &gradient);
    }
    collector.finish(reduction)
}

/// How close the membranes of a vector's run come to the threshold.
///
/// An implementation with rounding errors can only be expected to give the same spikes where the
/// margin `|V - threshold|`, `V` being the membrane before a reset, is larger than those errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Margins {
    /// `[sample][layer][step][neuron]`.
    margins: Vec<Vec<Vec<Vec<f64>>>>,
    step_ms: f64,
}

impl Margins {
    /// Runs all samples of a vector; `None` if its scheme is not `grid`.
    pub fn of(vector: &Vector) -> Option<Self> {
        let (Scheme::Grid, Some(step_ms), Some(steps)) =
            (vector.scheme, vector.step_ms, vector.steps)
        else {
            return None;
        };
        let network = vector.network();
        let clock = Clock { step_ms, steps };
        let margins = vector
            .samples
            .iter()
            .map(|sample| {
                let layers = forward(&network, &clock, &inputs(&clock, &sample.input_spikes));
                let margin = |v: f64| (v - vector.threshold).abs();
                layers
                    .into_iter()
                    .map(|layer| {
                        let step = |step: Vec<f64>| step.into_iter().map(margin).collect();
                        layer.membrane.into_iter().map(step).collect()
                    })
                    .collect()
            })
            .collect();
        Some(Self { margins, step_ms })
    }

    /// The smallest margin of all neurons in all steps; infinity if there are none.
    pub fn smallest(&self) -> f64 {
        let all = self.margins.iter().flatten().flatten().flatten();
        all.copied().fold(f64::INFINITY, f64::min)
    }

    /// The margin of one neuron in the step at `time_ms`; `None` outside the run.
    pub fn at(&self, sample: usize, layer: usize, spike: &Spike) -> Option<f64> {
        let step = Clock {
            step_ms: self.step_ms,
            steps: 0,
        }
        .step(spike.time_ms);
        (self.margins.get(sample)?.get(layer)?.get(step)?)
            .get(spike.neuron)
            .copied()
    }
}

fn inputs(clock: &Clock, spikes: &[Spike]) -> Vec<Event> {
    spikes
        .iter()
        .map(|spike| Event {
            neuron: spike.neuron,
            step: clock.step(spike.time_ms),
        })
        .collect()
}

fn events(crossings: &[Crossing]) -> Vec<Event> {
    crossings.iter().map(|crossing| crossing.event).collect()
}

fn times(layer: &LayerRun, clock: &Clock) -> Vec<Spike> {
    layer
        .crossings
        .iter()
        .map(|crossing| Spike {
            neuron: crossing.event.neuron,
            time_ms: crossing.event.step as f64 * clock.step_ms,
        })
        .collect()
}
