//! EventProp in `f64`, written as plainly as its equations.
//!
//! This is the readable specification that the fixed-point implementation is judged by: no
//! tables that are shared with it, no tricks for speed. It exists in the two discretisations that
//! the project trains with:
//!
//! - [`exact`]: exact integration over a step, spikes at ticks within the step;
//! - [`grid`]: exponential Euler steps, spikes at steps.
//!
//! Both are judged by [`continuous`], the same equations without steps.
//!
//! [`loss`] is the loss of both, and [`compare()`] holds a result, of these or of any other
//! implementation, against what a [reference vector](crate::vector) expects.
//!
//! # The model
//!
//! Every neuron has a membrane `V` and a synaptic current `I`. Between events,
//! `tau_mem V' = -V + I` and `tau_syn I' = -I`. A spike of a presynaptic neuron adds its weight to
//! `I`. Where `V` rises above the threshold, the neuron spikes and `V` is reset. Everything is
//! zero at the start.
//!
//! The gradient comes from the adjoints `lambda_V` and `lambda_I`, which run backwards in time
//! from zero: `tau_mem lambda_V' = -lambda_V` and `tau_syn lambda_I' = -lambda_I + lambda_V`, the
//! dash being the derivative in reversed time. At the neuron's own spike at `t`, `lambda_V` jumps
//! by
//!
//! ```text
//! ( threshold * lambda_V + error ) / ( I - threshold ),
//! error = dL/dt + sum over the postsynaptic neurons of weight * ( lambda_V - lambda_I )
//! ```
//!
//! with the postsynaptic adjoints taken when the spike arrives. The gradient of a weight is
//! `-tau_syn` times the sum, over the spikes of its presynaptic neuron, of the postsynaptic
//! `lambda_I` when they arrive.
//!
//! # Shapes and units
//!
//! Weights and gradients are `[layer][postsynaptic][presynaptic]`; layer 0 is fed by the inputs.
//! Times are in milliseconds, adjoints, errors and gradients per millisecond and per unit of
//! weight.

pub mod compare;
pub mod continuous;
pub mod exact;
pub mod grid;
pub mod loss;
pub mod sensitivity;

pub use compare::{Comparison, Tolerance, compare};
pub use loss::{SilentLabel, TimeToFirstSpike};
pub use sensitivity::Sensitivity;

use crate::time::steps;
use crate::vector::{Scheme, Vector};

/// Weights or gradients, `[layer][postsynaptic][presynaptic]`.
pub type Weights = Vec<Vec<Vec<f64>>>;

/// Simulated time that is added behind the last known spike of a vector in continuous time, in
/// milliseconds.
const MARGIN_MS: f64 = 20.0;

/// A spike of one neuron, or of one input channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spike {
    /// The neuron's index within its layer.
    pub neuron: usize,
    /// Time of the spike in milliseconds.
    pub time_ms: f64,
}

/// What a network is shown, and the answer that it should give.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The output neuron that should spike first.
    pub label: usize,
    /// Spikes of the input channels, in any order.
    pub input_spikes: Vec<Spike>,
}

/// Constants of every neuron of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neuron {
    /// Time constant of the membrane in milliseconds.
    pub tau_mem_ms: f64,
    /// Time constant of the synaptic current in milliseconds; it may equal the membrane's.
    pub tau_syn_ms: f64,
    /// Threshold of the membrane, in the unit of the weights.
    pub threshold: f64,
}

/// A network of fully connected layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Constants of the neurons.
    pub neuron: Neuron,
    /// Weights `[layer][post][pre]`; the rows of a layer are of one length, the number of neurons
    /// in the layer before it.
    pub weights: Weights,
}

/// What becomes of the gradients of several samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// They are added.
    Sum,
    /// They are added and divided by the number of samples.
    Mean,
}

/// What a run of a network yields, whichever implementation made it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// Spikes `[sample][layer]` of every layer behind the inputs, in any order.
    pub spikes: Vec<Vec<Vec<Spike>>>,
    /// First spike in milliseconds, `[sample][output]`; `None` if the output was silent.
    pub first_spikes: Vec<Vec<Option<f64>>>,
    /// Mean loss over all samples; `None` if there are none, or if it is not known.
    pub mean_loss: Option<f64>,
    /// Gradient of the loss `[layer][post][pre]`.
    pub gradient: Weights,
}

/// How [`run_vector`] treats what a vector leaves open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunOptions {
    /// Length of a step in milliseconds for a vector in continuous time. (A `grid` vector says it
    /// itself.)
    pub step_ms: f64,
    /// Base-two logarithm of the number of ticks per step for a vector in continuous time.
    pub tick_bits: u32,
    /// Smallest divisor of the adjoint's jump, `None` for the true one: see
    /// [`exact::backward`] and [`grid::backward`].
    pub slack_floor: Option<f64>,
}

impl RunOptions {
    /// Length of a tick in milliseconds for a vector in continuous time.
    pub fn tick_ms(&self) -> f64 {
        self.step_ms / f64::from(1_u32 << self.tick_bits)
    }
}

impl Default for RunOptions {
    /// Steps of 1 ms with 256 ticks each, true divisors.
    fn default() -> Self {
        Self {
            step_ms: 1.0,
            tick_bits: 8,
            slack_floor: None,
        }
    }
}

/// Runs all samples of a vector in the vector's scheme and returns the mean of their losses and
/// gradients.
///
/// A vector in continuous time is run for as many steps as cover its input and expected spikes
/// and 20 ms more; its input spikes are moved to the nearest tick.
pub fn run_vector(vector: &Vector, options: &RunOptions) -> RunResult {
    let network = vector.network();
    let samples = vector.inputs();
    match (vector.scheme, vector.step_ms, vector.steps) {
        (Scheme::Grid, Some(step_ms), Some(steps)) => grid::run(
            &network,
            &grid::Clock { step_ms, steps },
            &vector.loss,
            &samples,
            options.slack_floor,
            Reduction::Mean,
        ),
        _ => exact::run(
            &network,
            &exact_clock(vector, options),
            &vector.loss,
            &samples,
            options.slack_floor,
            Reduction::Mean,
        ),
    }
}

/// The steps in which [`run_vector`] runs a vector in continuous time.
///
/// Any other implementation that is to be compared with the vector does well to use the same.
pub fn exact_clock(vector: &Vector, options: &RunOptions) -> exact::Clock {
    exact::Clock {
        step_ms: options.step_ms,
        tick_bits: options.tick_bits,
        steps: steps(vector.last_spike_ms() + MARGIN_MS, options.step_ms).ceil() as usize,
    }
}

/// A vector that expects a result in the place of what it expects itself.
///
/// # Panics
///
/// If the result is not of the vector's shape.
pub fn expecting(vector: &Vector, result: &RunResult) -> Vector {
    let mut other = vector.clone();
    assert_eq!(result.spikes.len(), other.samples.len(), "samples");
    let found = result.spikes.iter().zip(&result.first_spikes);
    for (sample, (spikes, first_spikes)) in other.samples.iter_mut().zip(found) {
        sample.expected_spikes.clone_from(spikes);
        sample.expected_first_spikes.clone_from(first_spikes);
    }
    other.expected_mean_loss = result.mean_loss;
    other.expected_gradient.clone_from(&result.gradient);
    other
}

/// First spike of each of `neurons` neurons in milliseconds.
pub fn first_spikes(spikes: &[Spike], neurons: usize) -> Vec<Option<f64>> {
    let mut first = vec![None; neurons];
    for spike in spikes {
        let first = &mut first[spike.neuron];
        *first = Some(first.map_or(spike.time_ms, |time: f64| time.min(spike.time_ms)));
    }
    first
}

/// Weights of the same shape that are all zero.
fn zeros_like(weights: &[Vec<Vec<f64>>]) -> Weights {
    weights
        .iter()
        .map(|layer| layer.iter().map(|row| vec![0.0; row.len()]).collect())
        .collect()
}

/// Number of neurons in front of a layer of weights.
fn presynaptic(layer: &[Vec<f64>]) -> usize {
    layer.first().map_or(0, Vec::len)
}

/// Collects the results of single samples.
struct Collector {
    result: RunResult,
    losses: Vec<f64>,
}

impl Collector {
    fn new(network: &Network) -> Self {
        Self {
            result: RunResult {
                spikes: Vec::new(),
                first_spikes: Vec::new(),
                mean_loss: None,
                gradient: zeros_like(&network.weights),
            },
            losses: Vec::new(),
        }
    }

    fn add(
        &mut self,
        spikes: Vec<Vec<Spike>>,
        first_spikes: Vec<Option<f64>>,
        loss: f64,
        gradient: &[Vec<Vec<f64>>],
    ) {
        self.result.spikes.push(spikes);
        self.result.first_spikes.push(first_spikes);
        self.losses.push(loss);
        let sums = self.result.gradient.iter_mut().flatten().flatten();
        for (sum, term) in sums.zip(gradient.iter().flatten().flatten()) {
            *sum += term;
        }
    }

    fn finish(mut self, reduction: Reduction) -> RunResult {
        let samples = self.result.spikes.len();
        if reduction == Reduction::Mean && samples > 0 {
            for sum in self.result.gradient.iter_mut().flatten().flatten() {
                *sum /= samples as f64;
            }
        }
        if !self.losses.is_empty() {
            self.result.mean_loss =
                Some(self.losses.iter().sum::<f64>() / self.losses.len() as f64);
        }
        self.result
    }
}
