//! What the training loop asks of whatever executes the network, and the data that passes between.
//!
//! A backend holds the encoded data sets, the weights and the optimiser's state. The training loop
//! ([`crate::training`]) decides which samples are trained in which order, with which learning
//! rate, and when to validate. Given the same calls, every backend must answer with the same bits,
//! whatever its number of threads, replicas or processing elements.
//!
//! # Shapes and formats
//!
//! Weights in memory are `[pre][post]`: a row per presynaptic neuron, raw `i32` with 20 fraction
//! bits. Gradients are `[pre][post]`, raw `i64` with 18 fraction bits, summed over the samples of a
//! minibatch; `dL/dw` of the sum is the synaptic time constant in milliseconds times the value.

#[cfg(target_arch = "x86_64")]
mod avx2;
pub mod board;
pub mod chip;
pub mod direct;
#[cfg(feature = "emulated")]
pub mod emulated;
pub mod mock;
pub mod model;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::experiment::{BackendKind, Experiment};

/// Fraction bits of a weight's raw value.
pub const WEIGHT_FRACTION_BITS: u32 = 20;
/// Fraction bits of a gradient's raw value.
pub const GRADIENT_FRACTION_BITS: u32 = 18;
/// Largest magnitude of a weight; weights saturate there.
pub const WEIGHT_LIMIT: f64 = 32.0;

/// One spike of an input channel.
///
/// Its time is `(step + offset / 2^tick_bits) * step_ms`. The offset is always 0 in the `grid`
/// scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputEvent {
    /// Step in which the spike arrives, from 0.
    pub step: u16,
    /// Ticks since the step's start, `0..=2^tick_bits`.
    pub offset: u16,
    /// Input channel.
    pub channel: u16,
}

/// One sample as spikes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedSample {
    /// Class of the sample: the index of the output neuron that should spike first.
    pub label: u8,
    /// Input spikes, sorted by step, offset and channel.
    pub events: Vec<InputEvent>,
}

/// The three parts of a data set, as spikes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedSets {
    /// Samples that weights are trained on.
    pub train: Vec<EncodedSample>,
    /// Samples that the best epoch is chosen by.
    pub validation: Vec<EncodedSample>,
    /// Samples that the result is reported on.
    pub test: Vec<EncodedSample>,
}

impl EncodedSets {
    /// The samples of one part.
    pub fn split(&self, split: Split) -> &[EncodedSample] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Samples that weights are trained on.
    Train,
    /// Samples that the best epoch is chosen by.
    Validation,
    /// Samples that the result is reported on.
    Test,
}

/// What a backend is built from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The experiment, already checked.
    pub experiment: Experiment,
    /// Neurons per layer: input channels, hidden layers, outputs. At least two entries.
    pub dims: Vec<usize>,
    /// The encoded samples; every channel is below `dims[0]`, every label below the last entry.
    pub sets: EncodedSets,
}

/// Counts over a number of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Samples seen.
    pub samples: u64,
    /// Samples whose label's output alone spiked first.
    pub correct: u64,
    /// As [`correct`](Self::correct), but a label's output that shares the first tick counts too.
    pub correct_ties: u64,
    /// Samples whose label's output stayed silent.
    pub silent_label: u64,
    /// Sum of the losses of all samples. Its bits do not depend on the number of threads or replicas: a
    /// backend adds whole numbers.
    pub loss: f64,
    /// Spikes per layer: input, hidden layers, output.
    pub spikes: Vec<u64>,
}

impl Tally {
    /// Adds the counts of further samples.
    pub fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.correct += other.correct;
        self.correct_ties += other.correct_ties;
        self.silent_label += other.silent_label;
        self.loss += other.loss;
        if self.spikes.len() < other.spikes.len() {
            self.spikes.resize(other.spikes.len(), 0);
        }
        for (sum, spikes) in self.spikes.iter_mut().zip(&other.spikes) {
            *sum += spikes;
        }
    }

    /// Fraction of correct samples, ties counting as wrong; 0 without samples.
    pub fn accuracy(&self) -> f64 {
        fraction(self.correct, self.samples)
    }

    /// Fraction of correct samples, ties counting as correct; 0 without samples.
    pub fn accuracy_ties_correct(&self) -> f64 {
        fraction(self.correct_ties, self.samples)
    }

    /// Fraction of samples whose label's output stayed silent; 0 without samples.
    pub fn silent_label_fraction(&self) -> f64 {
        fraction(self.silent_label, self.samples)
    }

    /// Mean loss over all samples, `None` without samples.
    pub fn mean_loss(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.loss / self.samples as f64)
    }

    /// Mean number of spikes per sample, by layer.
    pub fn spikes_per_sample(&self) -> Vec<f64> {
        let samples = self.samples.max(1) as f64;
        self.spikes.iter().map(|&n| n as f64 / samples).collect()
    }
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Packets sent, by what they are for. All zero where there are no packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Spikes on their way forward.
    pub forward: u64,
    /// Errors on their way back.
    pub backward: u64,
    /// Step markers, acknowledgements and everything else.
    pub control: u64,
}

/// What a backend has counted since it was built.
///
/// All but the packets have the same bits on every backend after the same calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Values that were cut to their format's limits.
    pub saturations: u64,
    /// Spikes beyond the limit of one neuron in one step, which were left out.
    pub suppressed_spikes: u64,
    /// Smallest difference of current and threshold at a spike, the divisor of the backward pass;
    /// `None` before the first spike.
    pub min_threshold_slack: Option<f64>,
    /// Packets sent.
    pub packets: Packets,
    /// Digest of every spike of every sample: a wrapping sum of one hash per spike, so that it does
    /// not depend on the order in which samples were worked on. Samples are numbered within a call of
    /// the backend, so runs that are cut into calls differently have other digests.
    pub spike_digest: u64,
}

impl Counters {
    /// Joins the counts of two stretches of one run.
    pub fn add(&mut self, other: &Self) {
        self.saturations += other.saturations;
        self.suppressed_spikes += other.suppressed_spikes;
        self.min_threshold_slack = match (self.min_threshold_slack, other.min_threshold_slack) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.packets.forward += other.packets.forward;
        self.packets.backward += other.packets.backward;
        self.packets.control += other.packets.control;
        self.spike_digest = self.spike_digest.wrapping_add(other.spike_digest);
    }
}

/// The weights between two layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerWeights {
    /// Presynaptic neurons: rows.
    pub inputs: usize,
    /// Postsynaptic neurons: columns.
    pub neurons: usize,
    /// Raw values, 20 fraction bits, `[pre][post]`.
    pub values: Vec<i32>,
}

/// The gradient of the weights between two layers, summed over a minibatch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerGradient {
    /// Presynaptic neurons: rows.
    pub inputs: usize,
    /// Postsynaptic neurons: columns.
    pub neurons: usize,
    /// Raw values, 18 fraction bits, `[pre][post]`; times the synaptic time constant in
    /// milliseconds they are `dL/dw` of the summed loss.
    pub values: Vec<i64>,
}

/// Everything that the optimiser carries from one minibatch to the next, beside the weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OptimizerState {
    /// Minibatches trained so far.
    pub step: u64,
    /// First moments (Adam) or velocities (SGD) per weight layer, `[pre][post]`.
    pub first: Vec<Vec<f32>>,
    /// Second moments (Adam) per weight layer, `[pre][post]`; empty for SGD.
    pub second: Vec<Vec<f32>>,
    /// Learning rate of the next minibatch.
    pub learning_rate: f32,
    /// `beta1` to the power of `step`.
    pub beta1_power: f32,
    /// `beta2` to the power of `step`.
    pub beta2_power: f32,
}

/// One spike of a neuron, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spike {
    /// Step, from 0.
    pub step: u16,
    /// Ticks since the step's start.
    pub offset: u16,
    /// Neuron within its layer, or input channel.
    pub neuron: u16,
}

/// The forward pass of one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpikeRecord {
    /// Spikes per layer (input, hidden layers, output), sorted by step, offset and neuron.
    pub layers: Vec<Vec<Spike>>,
    /// First spike of each output neuron in ticks since the sample's start; `None`: silent.
    pub first_spikes: Vec<Option<u32>>,
    /// Loss.
    pub loss: f64,
}

/// Something that executes the network: in this process, on a model of the chip, on a chip.
pub trait Backend {
    /// Name as in the experiment file, for instance `"direct"`.
    fn name(&self) -> &'static str;

    /// Trains on the samples `order` of the training set, `batch` at a time, with a weight update
    /// after each minibatch (the last one may be smaller).
    ///
    /// # Errors
    /// A fault of the execution; the weights are then not to be used.
    fn train(&mut self, order: &[u32], batch: usize) -> Result<Tally>;

    /// Runs the samples of the given range forward and counts; changes no weight.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn evaluate(&mut self, split: Split, samples: Range<usize>) -> Result<Tally>;

    /// Runs one sample forward and records all spikes.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn record(&mut self, sample: &EncodedSample) -> Result<SpikeRecord>;

    /// Predicts the class of each sample: the output that spikes first, the lowest index among
    /// those that share the first tick, `None` where no output spikes.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn predict(&mut self, samples: &[EncodedSample]) -> Result<Vec<Option<u8>>>;

    /// The weights, one entry per pair of neighbouring layers.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn weights(&mut self) -> Result<Vec<LayerWeights>>;

    /// Replaces the weights.
    ///
    /// # Errors
    /// Shapes that are not the network's.
    fn set_weights(&mut self, weights: &[LayerWeights]) -> Result<()>;

    /// The summed gradients of the last minibatch; zeros before the first one.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn gradients(&mut self) -> Result<Vec<LayerGradient>>;

    /// The optimiser's state.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn optimizer_state(&mut self) -> Result<OptimizerState>;

    /// Replaces the optimiser's state.
    ///
    /// # Errors
    /// Shapes that are not the network's.
    fn set_optimizer_state(&mut self, state: &OptimizerState) -> Result<()>;

    /// Sets the learning rate of the following minibatches.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn set_learning_rate(&mut self, rate: f32) -> Result<()>;

    /// What was counted since the backend was built.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    fn counters(&mut self) -> Result<Counters>;
}

/// Builds the backend that the experiment names.
///
/// # Errors
/// What does not fit the backend, with the numbers.
pub fn build(setup: Setup) -> Result<Box<dyn Backend>> {
    Ok(match setup.experiment.backend.kind {
        BackendKind::Direct => Box::new(direct::Direct::new(setup)?),
        BackendKind::Mock => Box::new(mock::Mock::new(setup)?),
        #[cfg(feature = "emulated")]
        BackendKind::Emulated => Box::new(emulated::Emulated::new(setup)?),
        #[cfg(not(feature = "emulated"))]
        BackendKind::Emulated => return Err(no_emulator("train").at("backend.kind")),
        BackendKind::Board => Box::new(board::Board::new(
            &setup,
            Box::new(crate::link::Unobserved),
        )?),
    })
}

/// What a build without the emulator answers; `command` is the one that was asked for.
#[cfg(not(feature = "emulated"))]
pub(crate) fn no_emulator(command: &str) -> crate::error::Error {
    crate::error::Error::new("this build of the command has no emulator").hint(format!(
        "cargo run --release --features emulated -- {command} ... (needs cmake and libclang)"
    ))
}
