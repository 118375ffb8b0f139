//! The result of a run in numbers.

use serde::Serialize;

use super::arrays;
use crate::backend::Packets;
use crate::training::{Outcome, Plan};

/// What `summary.json` and `--json` hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Version of the program.
    pub version: &'static str,
    /// `exact` or `grid`.
    pub scheme: &'static str,
    /// Name of the backend.
    pub backend: String,
    /// Neurons per layer: input channels, hidden layers, outputs.
    pub dims: Vec<usize>,
    /// Seed of initial weights and order of samples.
    pub seed: u64,
    /// Epochs trained and validated.
    pub epochs: usize,
    /// Minibatches trained.
    pub minibatches: u64,
    /// Samples per minibatch.
    pub batch: usize,
    /// Epoch that the selected weights are from; null before the first one ended.
    pub selected_epoch: Option<u32>,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// Copies of the network that shared a minibatch.
    pub replicas: u32,
    /// Threads.
    pub threads: usize,
    /// Accuracy of the selected weights on the training samples, ties wrong.
    pub train_accuracy: f64,
    /// Accuracy of the selected weights on the validation samples, ties wrong.
    pub validation_accuracy: f64,
    /// Accuracy of the selected weights on the test samples, ties wrong.
    pub test_accuracy: f64,
    /// Accuracy of the selected weights on the test samples, ties correct.
    pub test_accuracy_ties_correct: f64,
    /// Mean loss on all test samples, a silent label counting as spiking at the end; null without samples.
    pub test_loss: Option<f64>,
    /// Fraction of test samples whose label's output stayed silent.
    pub silent_label_fraction: f64,
    /// Fraction of training samples whose label's output stayed silent, with the selected weights.
    pub train_silent_label_fraction: f64,
    /// Fraction of validation samples whose label's output stayed silent, with the selected weights.
    pub validation_silent_label_fraction: f64,
    /// Mean spikes per test sample, by layer: input, hidden layers, output.
    pub spikes_per_sample: Vec<f64>,
    /// Training samples per second, without validation.
    pub train_samples_per_second: f64,
    /// Seconds of the whole run.
    pub wall_seconds: f64,
    /// SHA-256 of the selected raw weights.
    pub weights_sha256: String,
    /// SHA-256 of the raw gradients of the last minibatch.
    pub gradients_sha256: String,
    /// Digest of every spike while training and validating.
    pub spike_digest: String,
    /// Values cut to their format's limits.
    pub saturations: u64,
    /// Spikes left out because a neuron may not emit more in one step.
    pub suppressed_spikes: u64,
    /// Packets sent.
    pub packets: Packets,
    /// Smallest current minus threshold at a spike; null without spikes.
    pub min_threshold_slack: Option<f64>,
}

impl Summary {
    /// Collects the numbers of a run.
    pub fn new(plan: &Plan, outcome: &Outcome, backend: &str) -> Self {
        let experiment = &plan.experiment;
        let state = &outcome.state;
        let counters = &state.counters;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            scheme: experiment.network.scheme.name(),
            backend: backend.to_owned(),
            dims: plan.dims.clone(),
            seed: experiment.seed,
            epochs: state.history.len(),
            minibatches: state.minibatches,
            batch: experiment.training.batch,
            selected_epoch: outcome.epoch,
            interrupted: outcome.interrupted,
            replicas: experiment.backend.replicas,
            threads: experiment.backend.thread_count(),
            train_accuracy: outcome.train.accuracy(),
            validation_accuracy: outcome.validation.accuracy(),
            test_accuracy: outcome.test.accuracy(),
            test_accuracy_ties_correct: outcome.test.accuracy_ties_correct(),
            test_loss: outcome.test.mean_loss(),
            silent_label_fraction: outcome.test.silent_label_fraction(),
            train_silent_label_fraction: outcome.train.silent_label_fraction(),
            validation_silent_label_fraction: outcome.validation.silent_label_fraction(),
            spikes_per_sample: outcome.test.spikes_per_sample(),
            train_samples_per_second: if state.train_seconds > 0.0 {
                state.samples as f64 / state.train_seconds
            } else {
                0.0
            },
            wall_seconds: state.wall_seconds,
            weights_sha256: arrays::weights_sha256(&outcome.weights),
            gradients_sha256: arrays::gradients_sha256(&state.gradients),
            spike_digest: format!("{:016x}", counters.spike_digest),
            saturations: counters.saturations,
            suppressed_spikes: counters.suppressed_spikes,
            packets: counters.packets,
            min_threshold_slack: counters.min_threshold_slack,
        }
    }

    /// As a JSON object on several lines.
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("plain numbers and texts are JSON");
        text.push('\n');
        text
    }
}
