//! What all backends make of an experiment: the constants of `eventprop-core`.

use eventprop_core::adjoint;
use eventprop_core::log::{Event, EventLog, LogFull, LoggedStep};
use eventprop_core::loss::{Outcome, TimeToFirstSpike};
use eventprop_core::neuron;
use eventprop_core::numeric::{self, LOSS_FRACTION, STATE_FRACTION, Statistics};
use eventprop_core::optimizer::{Method, Rounding, Settings, SilentNeurons, Stretch, Update};
use eventprop_core::program::Kernels;
use eventprop_core::state::Neurons;
use eventprop_core::tables::{self, Coefficients, Dynamics, Peak, Tables};
use eventprop_core::vector::{Arrays, Vectors};

#[cfg(target_arch = "x86_64")]
use super::avx2::Avx2;
use super::{Counters, EncodedSample, InputEvent, LayerWeights, Setup, Tally};
use crate::error::{Error, Result};
use crate::experiment::{OptimizerKind, Scheme, WeightRounding};
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
            // Said better by the experiment's check.
            .map_err(|error| Error::new(format!("impossible time constants: {error:?}")))
            .map_err(|error| error.at("network.step_ms"))?;
        let (mut runs, mut peaks) = (Vec::new(), Vec::new());
        if scheme == tables::Scheme::Exact {
            let entries = tables::run_entries(network.steps as usize);
            runs.resize(entries, Coefficients::default());
            tables::fill_runs(&mut runs, step_ms, tau_membrane_ms, tau_synapse_ms);
            peaks.extend(tables::peaks(step_ms, tau_membrane_ms, tau_synapse_ms));
        }

        // Said better by the experiment's check.
        let loss = experiment
            .fixed_point_loss()
            .map_err(|error| Error::new(format!("impossible loss: {error:?}")).at("loss"))?;

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
            steps: network.steps as usize,
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
    /// In 128 bits, which no number of samples fills.
    loss: i128,
}

impl TallyBuilder {
    /// Adds one sample.
    pub fn add(&mut self, outcome: &Outcome) {
        self.tally.samples += 1;
        self.tally.correct += u64::from(outcome.correct);
        self.tally.correct_ties += u64::from(outcome.correct_with_ties);
        self.tally.silent_label += u64::from(outcome.label_silent);
        self.loss += i128::from(outcome.loss);
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
pub fn loss_to_f64(loss: i128) -> f64 {
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
/// The same source compiled several times; one is chosen when the program starts. The arithmetic of both
/// passes is on integers, so the bits are the same.
#[derive(Clone, Copy, Debug)]
pub struct Vectorised(pub pulp::Arch);

impl Default for Vectorised {
    fn default() -> Self {
        Self(pulp::Arch::new())
    }
}

/// Work that is built for every kind of vector instructions. (A closure would not do: its body is not always
/// inlined into the function that has them enabled.)
pub trait Work {
    /// What it comes to.
    type Output;

    /// Does it.
    fn run(self, vectors: impl Vectors) -> Self::Output;
}

/// Work, and the vector instructions for it.
struct With<V, W>(V, W);

impl<V: Vectors, W: Work> pulp::WithSimd for With<V, W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> W::Output {
        self.1.run(self.0)
    }
}

impl Vectorised {
    /// Does work with the vector instructions.
    #[inline(always)]
    pub fn run<W: Work>(self, work: W) -> W::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V4(simd) => pulp::Simd::vectorize(simd, With(Avx2(*simd), work)),
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V3(simd) => pulp::Simd::vectorize(simd, With(Avx2(simd), work)),
            other => other.dispatch(With(Arrays, work)),
        }
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
        self.run(Forward(
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
        self.run(Backward(
            dynamics, weights, gradient, arrivals, own, neurons, error_sums, statistics,
        ));
    }

    /// Each operation on floating-point numbers is rounded by itself as IEEE 754 defines it, in vectors as
    /// elsewhere, so the bits are the same here, too.
    fn update(&self, update: &Update, stretch: Stretch<'_>, statistics: &mut Statistics) {
        self.run(Descent(update, stretch, statistics));
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

impl Work for Forward<'_, '_, '_, '_> {
    type Output = std::result::Result<(), LogFull>;

    #[inline(always)]
    fn run(self, vectors: impl Vectors) -> Self::Output {
        let Self(dynamics, weights, arrivals, neurons, log, statistics) = self;
        neuron::forward_step(
            vectors, dynamics, weights, arrivals, neurons, log, statistics,
        )
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

impl Work for Backward<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self, vectors: impl Vectors) {
        let Self(dynamics, weights, gradient, arrivals, own, neurons, sums, statistics) = self;
        adjoint::backward_step(
            vectors, dynamics, weights, gradient, arrivals, own, neurons, sums, statistics,
        );
    }
}

/// Arguments of an update.
struct Descent<'a>(&'a Update, Stretch<'a>, &'a mut Statistics);

impl Work for Descent<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, _: impl Vectors) {
        let Self(update, stretch, statistics) = self;
        update.apply_with(stretch, f32::sqrt, statistics);
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

/// Every instruction set that this machine has, from using none of its vectors on.
#[cfg(test)]
pub(super) fn instruction_sets() -> Vec<pulp::Arch> {
    let mut sets = vec![pulp::Arch::Scalar, pulp::Arch::new()];
    #[cfg(target_arch = "x86_64")]
    sets.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
    sets
}

#[cfg(test)]
mod tests {
    use eventprop_core::numeric::{ADJOINT_FRACTION, WEIGHT_LIMIT};
    use eventprop_core::optimizer::Progress;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A weight with all that belongs to it.
    #[derive(Clone, Debug, PartialEq)]
    struct Weight {
        weight: i32,
        gradient: i64,
        first: f32,
        second: f32,
    }

    /// Where a stretch of weights lies, and what its neurons are given.
    #[derive(Clone, Debug)]
    struct Place {
        layer: u8,
        first_neuron: u16,
        position: usize,
        /// One of each neuron, or none at all.
        bumps: Vec<i32>,
        neurons: usize,
    }

    /// What a minibatch of `samples` samples does to one weight, the `n`th of its stretch; returns how
    /// often it saturated.
    fn update_one(
        settings: &Settings,
        progress: &Progress,
        samples: u32,
        place: &Place,
        n: usize,
        w: &mut Weight,
    ) -> u64 {
        let weight = w.weight as f32 / 1_048_576.0;
        let scale = settings.tau_synapse_ms / ((1 << ADJOINT_FRACTION) as f32 * samples as f32);
        let g = w.gradient as f32 * scale + weight * settings.weight_decay;
        let step = match settings.method {
            Method::Adam {
                beta1,
                beta2,
                epsilon,
            } => {
                let [power1, power2] = [progress.beta1_power * beta1, progress.beta2_power * beta2];
                w.first = w.first * beta1 + g * (1.0 - beta1);
                w.second = w.second * beta2 + g * g * (1.0 - beta2);
                let root = libm::sqrtf(w.second) * (1.0 / libm::sqrtf(1.0 - power2));
                progress.learning_rate / (1.0 - power1) * w.first / (root + epsilon)
            }
            Method::Sgd { momentum } => {
                w.first = w.first * momentum + g;
                progress.learning_rate * w.first
            }
        };
        let step = step * 1_048_576.0;
        let step = (step + if step < 0.0 { -0.5 } else { 0.5 }) as i64;
        let limit = i64::from(WEIGHT_LIMIT);
        let moved = i64::from(w.weight) - step.clamp(-4 * limit, 4 * limit);
        let (row, neuron) = (
            (place.position + n) / place.neurons,
            (place.position + n) % place.neurons,
        );
        let bump = place.bumps.get(neuron).copied().unwrap_or(0);
        let bumped = moved.clamp(-limit, limit) + i64::from(bump);
        let saturations = [moved, bumped].iter().filter(|w| w.abs() > limit).count();
        let grid = 1 << settings.rounding.dropped_bits;
        let up = match settings.rounding.stochastic_seed {
            Some(seed) => {
                let minibatch = murmur(murmur(progress.steps + 1) ^ seed);
                let neuron = u32::from(place.first_neuron) + neuron as u32;
                let number = u32::from(place.layer) << 24 ^ (row as u32) << 12 ^ neuron;
                i64::from(murmur(number ^ minibatch)) % grid
            }
            None => grid / 2,
        };
        w.weight = ((bumped.clamp(-limit, limit) + up).div_euclid(grid) * grid) as i32;
        saturations as u64
    }

    /// The last stage of MurmurHash3.
    fn murmur(mut x: u32) -> u32 {
        for (shift, factor) in [(16, 0x85EB_CA6B), (13, 0xC2B2_AE35)] {
            x = (x ^ x >> shift).wrapping_mul(factor);
        }
        x ^ x >> 16
    }

    fn settings() -> impl Strategy<Value = Settings> {
        let decay = || prop_oneof![Just(0.0f32), 0.0f32..0.9999];
        let adam = (decay(), decay(), prop_oneof![Just(1e-8f32), 0.0f32..0.1]);
        let method = prop_oneof![
            3 => adam.prop_map(|(beta1, beta2, epsilon)| Method::Adam { beta1, beta2, epsilon }),
            1 => decay().prop_map(|momentum| Method::Sgd { momentum }),
        ];
        let rounding = (
            prop_oneof![Just(0u8), 0..=STATE_FRACTION as u8],
            any::<Option<u32>>(),
        );
        (method, 0.0f32..0.1, 0.5f32..50.0, rounding).prop_map(
            |(method, weight_decay, tau_synapse_ms, (dropped_bits, stochastic_seed))| Settings {
                method,
                weight_decay,
                tau_synapse_ms,
                silent_neurons: SilentNeurons::default(),
                rounding: Rounding {
                    dropped_bits,
                    stochastic_seed,
                },
            },
        )
    }

    fn weight() -> impl Strategy<Value = Weight> {
        let gradient = prop_oneof![
            Just(0),
            -100_000i64..100_000,
            any::<i32>().prop_map(i64::from),
            any::<i64>(),
        ];
        let limits = prop_oneof![4 => -WEIGHT_LIMIT..=WEIGHT_LIMIT, 1 => Just(WEIGHT_LIMIT)];
        (limits, gradient, -2.0f32..2.0, 0.0f32..2.0).prop_map(
            |(weight, gradient, first, second)| Weight {
                weight,
                gradient,
                first,
                second,
            },
        )
    }

    fn place() -> impl Strategy<Value = Place> {
        (1..40usize).prop_flat_map(|neurons| {
            let bump = prop_oneof![3 => Just(0), 1 => -(1 << 21)..1 << 21];
            let bumps = prop_oneof![Just(Vec::new()), vec(bump, neurons)];
            (0..4u8, 0..4000u16, 0..400usize, bumps).prop_map(
                move |(layer, first_neuron, position, bumps)| Place {
                    layer,
                    first_neuron,
                    position,
                    bumps,
                    neurons,
                },
            )
        })
    }

    proptest! {
        /// With every instruction set the same bits as weight by weight.
        #[test]
        fn vectors_update_like_a_plain_loop(
            settings in settings(),
            weights in vec(weight(), 0..200),
            place in place(),
            samples in 1..100u32,
            progress in (0..1000u32, 0.0f32..1.0, 0.0f32..1.0, 0.0f32..1.0).prop_map(
                |(steps, learning_rate, beta1_power, beta2_power)| Progress {
                    steps,
                    learning_rate,
                    beta1_power,
                    beta2_power,
                },
            ),
        ) {
            let mut want = weights.clone();
            let saturations: u64 = want
                .iter_mut()
                .enumerate()
                .map(|(n, w)| update_one(&settings, &progress, samples, &place, n, w))
                .sum();
            for set in instruction_sets() {
                let update = Update::begin(&settings, &mut progress.clone(), samples);
                let mut statistics = Statistics::NEW;
                let mut raw: Vec<_> = weights.iter().map(|w| w.weight).collect();
                let mut first: Vec<_> = weights.iter().map(|w| w.first).collect();
                let mut second: Vec<_> = weights.iter().map(|w| w.second).collect();
                let gradients: Vec<_> = weights.iter().map(|w| w.gradient).collect();
                Vectorised(set).update(
                    &update,
                    Stretch {
                        layer: place.layer,
                        first_neuron: place.first_neuron,
                        neurons: place.neurons,
                        position: place.position,
                        weights: &mut raw,
                        gradients: &gradients,
                        first: &mut first,
                        second: &mut second,
                        bumps: &place.bumps,
                    },
                    &mut statistics,
                );
                for (n, want) in want.iter().enumerate() {
                    let got = (raw[n], first[n].to_bits(), second[n].to_bits());
                    let want = (want.weight, want.first.to_bits(), want.second.to_bits());
                    prop_assert_eq!(got, want, "weight {} with {:?}", n, set);
                }
                prop_assert_eq!(statistics.saturations, saturations);
            }
        }
    }
}
