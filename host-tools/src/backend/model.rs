//! What all backends make of an experiment: the constants of `eventprop-core`.

use eventprop_core::adjoint;
use eventprop_core::log::{Event, EventLog, LogFull, LoggedStep};
use eventprop_core::loss::{LossError, Outcome, TimeToFirstSpike};
use eventprop_core::neuron;
use eventprop_core::numeric::{self, LOSS_FRACTION, STATE_FRACTION, Statistics};
use eventprop_core::optimizer::{Method, Rounding, Settings, SilentNeurons};
use eventprop_core::program::Kernels;
use eventprop_core::state::Neurons;
use eventprop_core::tables::{self, Coefficients, Dynamics, Peak, TableError, Tables};

use super::{Counters, EncodedSample, InputEvent, LayerWeights, Setup, Tally};
use crate::error::{Error, Result};
use crate::experiment::{OptimizerKind, Scheme, SilentLabel, SilentOutputs, WeightRounding};
use crate::training::rounding_seed;

/// The network's constants in fixed point, the same for every backend.
#[derive(Clone, Debug)]
pub struct Model {
    /// Neurons per layer: input channels, hidden layers, outputs.
    pub dims: Vec<usize>,
    /// The discretisation.
    pub scheme: tables::Scheme,
    /// Coefficients over ticks.
    pub ticks: Vec<Coefficients>,
    /// Coefficients over steps; none on the time grid.
    pub runs: Vec<Coefficients>,
    /// Bounds of the membrane; none on the time grid.
    pub peaks: Vec<Peak>,
    /// Steps of a sample.
    pub steps: usize,
    /// Binary logarithm of the ticks per step.
    pub tick_bits: u32,
    /// Most spikes of a neuron in one step.
    pub spikes_per_step: usize,
    /// Least divisor at a spike (F20).
    pub slope_floor: i32,
    /// The loss.
    pub loss: TimeToFirstSpike,
    /// The optimiser.
    pub settings: Settings,
    /// Learning rate of the first minibatch.
    pub learning_rate: f32,
}

impl Model {
    /// Takes the constants of an experiment.
    ///
    /// # Errors
    /// Numbers that the fixed-point formats cannot hold, with the key of the experiment file.
    pub fn new(setup: &Setup) -> Result<Self> {
        let experiment = &setup.experiment;
        let network = &experiment.network;
        let (scheme, tick_bits) = match network.scheme {
            Scheme::Exact => (tables::Scheme::Exact, network.tick_bits),
            Scheme::Grid => (tables::Scheme::Grid, 0),
        };
        let (step_ms, tau_membrane_ms, tau_synapse_ms) = (
            network.step_ms,
            network.tau_membrane_ms,
            network.tau_synapse_ms,
        );
        let mut ticks = vec![Coefficients::default(); (1 << tick_bits) + 1];
        tables::fill(&mut ticks, step_ms, tau_membrane_ms, tau_synapse_ms)
            .map_err(|error| match error {
                TableError::StepTooLong(longest) => Error::new(format!(
                    "a step of {} ms is too long for these time constants",
                    network.step_ms
                ))
                .hint(format!("at most {longest:.3} ms")),
                error => Error::new(format!("impossible time constants: {error:?}")),
            })
            .map_err(|error| error.at("network.step_ms"))?;
        let (mut runs, mut peaks) = (Vec::new(), Vec::new());
        if scheme == tables::Scheme::Exact {
            let entries = tables::run_entries(network.steps as usize);
            runs.resize(entries, Coefficients::default());
            tables::fill_runs(&mut runs, step_ms, tau_membrane_ms, tau_synapse_ms);
            peaks.extend(tables::peaks(step_ms, tau_membrane_ms, tau_synapse_ms));
        }

        let loss = &experiment.loss;
        let steps = network.steps as usize;
        let end = u32::try_from(steps << tick_bits).expect("steps are limited");
        let loss = TimeToFirstSpike::new(
            loss.tau0_ms,
            loss.tau1_ms,
            loss.alpha,
            network.step_ms / f64::from(1u32 << tick_bits),
            (loss.silent_outputs == SilentOutputs::AtEnd).then_some(end),
            loss.silent_label == SilentLabel::Send,
        )
        .map_err(|error| match error {
            LossError::Tau0 => {
                Error::new("must be at least 1/128 ms and at least 1/255 of a tick in fixed point")
                    .at("loss.tau0_ms")
            }
            LossError::Tau1 => {
                Error::new("must be positive and at least 1/255 of a tick in fixed point")
                    .at("loss.tau1_ms")
            }
            LossError::Alpha => {
                Error::new("must lie in 0 to 1, and alpha/tau1_ms below 0.5 per ms")
                    .at("loss.alpha")
            }
        })?;

        let optimizer = &experiment.optimizer;
        let method = match optimizer.kind {
            OptimizerKind::Adam => Method::Adam {
                beta1: optimizer.beta1 as f32,
                beta2: optimizer.beta2 as f32,
                epsilon: optimizer.epsilon as f32,
            },
            OptimizerKind::Sgd => Method::Sgd {
                momentum: optimizer.momentum as f32,
            },
        };
        let bumps = &experiment.silent_neurons;
        Ok(Self {
            dims: setup.dims.clone(),
            scheme,
            ticks,
            runs,
            peaks,
            steps,
            tick_bits,
            spikes_per_step: network.spikes_per_step as usize,
            slope_floor: numeric::weight_from_f64(network.slope_floor),
            loss,
            settings: Settings {
                method,
                weight_decay: optimizer.weight_decay as f32,
                tau_synapse_ms: network.tau_synapse_ms as f32,
                silent_neurons: SilentNeurons {
                    label_bump: numeric::weight_from_f64(bumps.label_bump),
                    hidden_bump: numeric::weight_from_f64(bumps.hidden_bump),
                },
                rounding: Rounding {
                    dropped_bits: (STATE_FRACTION - optimizer.weight_fraction_bits) as u8,
                    stochastic_seed: (optimizer.weight_rounding == WeightRounding::Stochastic)
                        .then(|| rounding_seed(experiment.seed)),
                },
            },
            learning_rate: optimizer.learning_rate as f32,
        })
    }

    /// The tables of time.
    #[must_use]
    pub fn tables(&self) -> Tables<'_> {
        Tables {
            ticks: &self.ticks,
            runs: &self.runs,
            peaks: &self.peaks,
        }
    }

    /// Time and threshold for the kernels.
    ///
    /// # Panics
    /// Never for an experiment that passed its check.
    #[must_use]
    pub fn dynamics(&self) -> Dynamics<'_> {
        Dynamics::new(
            self.scheme,
            self.tables(),
            self.spikes_per_step,
            self.slope_floor,
        )
        .expect("checked with the experiment")
    }

    /// Number of weight layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.dims.len() - 1
    }

    /// Inputs and neurons of weight layer `layer`.
    #[must_use]
    pub fn shape(&self, layer: usize) -> (usize, usize) {
        (self.dims[layer], self.dims[layer + 1])
    }

    /// Weights of zero.
    #[must_use]
    pub fn no_weights(&self) -> Vec<LayerWeights> {
        (0..self.layers())
            .map(|layer| {
                let (inputs, neurons) = self.shape(layer);
                LayerWeights {
                    inputs,
                    neurons,
                    values: vec![0; inputs * neurons],
                }
            })
            .collect()
    }

    /// Checks that weights have the network's shapes and are within their format.
    ///
    /// # Errors
    /// Another shape, or a weight beyond ±32.
    pub fn check_weights(&self, weights: &[LayerWeights]) -> Result<()> {
        let shapes: Vec<_> = weights
            .iter()
            .map(|layer| (layer.inputs, layer.neurons))
            .collect();
        let wanted: Vec<_> = (0..self.layers()).map(|layer| self.shape(layer)).collect();
        if shapes != wanted
            || weights
                .iter()
                .any(|l| l.values.len() != l.inputs * l.neurons)
        {
            return Err(Error::new(format!(
                "weights of shapes {shapes:?} (inputs, neurons) do not fit a network of {wanted:?}"
            )));
        }
        let limit = numeric::WEIGHT_LIMIT;
        if weights
            .iter()
            .flat_map(|l| &l.values)
            .any(|w| !(-limit..=limit).contains(w))
        {
            return Err(Error::new(
                "a weight is beyond the format's limits of -32 and 32",
            ));
        }
        Ok(())
    }
}

/// An input event for `eventprop-core`.
#[must_use]
pub fn core_event(event: &InputEvent) -> Event {
    Event {
        neuron: event.channel,
        offset: event.offset,
    }
}

/// Adds up what became of samples, in their order.
#[derive(Clone, Debug, Default)]
pub struct TallyBuilder {
    tally: Tally,
    loss: i64,
}

impl TallyBuilder {
    /// Adds one sample.
    pub fn add(&mut self, outcome: &Outcome) {
        self.tally.samples += 1;
        self.tally.correct += u64::from(outcome.correct);
        self.tally.correct_ties += u64::from(outcome.correct_with_ties);
        self.tally.silent_label += u64::from(outcome.label_silent);
        if let Some(loss) = outcome.loss {
            self.tally.loss_samples += 1;
            self.loss += loss;
        }
    }

    /// The sums, with the spikes per layer.
    #[must_use]
    pub fn finish(self, spikes: Vec<u64>) -> Tally {
        Tally {
            loss: loss_to_f64(self.loss),
            spikes,
            ..self.tally
        }
    }
}

/// A loss, or a sum of losses, as a real number.
#[must_use]
pub fn loss_to_f64(loss: i64) -> f64 {
    loss as f64 / f64::from(1u32 << LOSS_FRACTION)
}

/// Adds counts of the kernels to those of a backend.
pub fn add_statistics(counters: &mut Counters, statistics: &Statistics) {
    let slack = (statistics.smallest_slope != i32::MAX)
        .then(|| numeric::state_to_f64(statistics.smallest_slope));
    counters.add(&Counters {
        saturations: statistics.saturations,
        suppressed_spikes: statistics.suppressed_spikes,
        min_threshold_slack: slack,
        ..Counters::default()
    });
}

/// The kernels, built for the best vector instructions of the machine at hand.
///
/// The same source compiled several times; one is chosen when the program starts. All arithmetic is
/// on integers, so the bits are the same.
#[derive(Clone, Copy, Debug)]
pub struct Vectorised(pub pulp::Arch);

impl Default for Vectorised {
    fn default() -> Self {
        Self(pulp::Arch::new())
    }
}

impl Kernels for Vectorised {
    fn forward_step(
        &self,
        dynamics: &Dynamics<'_>,
        weights: &[i32],
        arrivals: &[Event],
        neurons: &mut Neurons<'_>,
        log: &mut EventLog<'_>,
        statistics: &mut Statistics,
    ) -> std::result::Result<(), LogFull> {
        self.0.dispatch(Forward(
            dynamics, weights, arrivals, neurons, log, statistics,
        ))
    }

    fn backward_step(
        &self,
        dynamics: &Dynamics<'_>,
        weights: &[i32],
        gradient: &mut [i64],
        arrivals: &[Event],
        own: LoggedStep<'_>,
        neurons: &mut Neurons<'_>,
        error_sums: Option<&mut [i64]>,
        statistics: &mut Statistics,
    ) {
        self.0.dispatch(Backward(
            dynamics, weights, gradient, arrivals, own, neurons, error_sums, statistics,
        ));
    }
}

/// Arguments of a forward step. (A closure would not do: its body is not always inlined into the
/// function that has the vector instructions enabled.)
struct Forward<'a, 't, 'n, 'l>(
    &'a Dynamics<'t>,
    &'a [i32],
    &'a [Event],
    &'a mut Neurons<'n>,
    &'a mut EventLog<'l>,
    &'a mut Statistics,
);

impl pulp::WithSimd for Forward<'_, '_, '_, '_> {
    type Output = std::result::Result<(), LogFull>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
        let Self(dynamics, weights, arrivals, neurons, log, statistics) = self;
        neuron::forward_step(dynamics, weights, arrivals, neurons, log, statistics)
    }
}

/// Arguments of a backward step.
struct Backward<'a, 't, 'n>(
    &'a Dynamics<'t>,
    &'a [i32],
    &'a mut [i64],
    &'a [Event],
    LoggedStep<'a>,
    &'a mut Neurons<'n>,
    Option<&'a mut [i64]>,
    &'a mut Statistics,
);

impl pulp::WithSimd for Backward<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self(dynamics, weights, gradient, arrivals, own, neurons, sums, statistics) = self;
        adjoint::backward_step(
            dynamics, weights, gradient, arrivals, own, neurons, sums, statistics,
        );
    }
}

/// Whether every event of a sample fits the network; a sample from elsewhere may not.
///
/// # Errors
/// The first event that does not, or a label that is no output.
pub fn check_sample(model: &Model, sample: &EncodedSample) -> Result<()> {
    let outputs = model.dims[model.layers()];
    if usize::from(sample.label) >= outputs {
        return Err(Error::new(format!(
            "label {} of a network of {outputs} outputs",
            sample.label
        )));
    }
    let fits = |event: &InputEvent| {
        usize::from(event.step) < model.steps
            && u32::from(event.offset) <= 1 << model.tick_bits
            && usize::from(event.channel) < model.dims[0]
    };
    match sample.events.iter().find(|event| !fits(event)) {
        Some(event) => Err(Error::new(format!(
            "{event:?} is outside {} steps of {} ticks and {} channels",
            model.steps,
            1 << model.tick_bits,
            model.dims[0]
        ))),
        None if !sample.events.is_sorted() => {
            Err(Error::new("input events are not in order of time"))
        }
        None => Ok(()),
    }
}
