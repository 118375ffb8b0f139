//! Runs reference vectors on the fixed-point backends and judges the result.
//!
//! A vector becomes an experiment with the vector's weights, one minibatch of all its samples, and
//! the true divisors of the backward pass (no floor). What comes out is held against what the
//! vector expects by [`compare`](fn@crate::reference::compare).
//!
//! In the scheme `grid` the spikes are to be the same, step for step. In `exact` they lie at ticks, so
//! they may be late, but no further from those of the `f64` reference with the same ticks than
//! [`of_ticks`] says: what a tick does to a membrane that grazes the threshold is no fault of the
//! fixed-point formats, and a steep spike that is late is.
//!
//! Two exceptions are sound, and the report says so where it makes one.
//!
//! - A spike may be missing or extra where a membrane passes the threshold, or stays below it, by less
//!   than [`resolution`], and everything behind it differs. In `exact`, every neuron with such a spike
//!   must besides have decided rightly to within [`RESOLUTION`], given what it has received and when
//!   it has spiked before ([`fault`](exact::fault)).
//! - In `exact`, a gradient may differ that ticks alone may change
//!   ([`tick_effect`](crate::reference::Sensitivity::tick_effect)), if the `f64` reference with the
//!   same ticks is outside the tolerance, too, or if they may change it by so much.
//!
//! Both only for a vector that the simulator in continuous time reproduces, whose membranes and slopes
//! these rules rest on. Then the reference decides: if it is outside the tolerance itself, the result
//! is held against the reference; else the reference is held against the vector.

use std::fmt;

use eventprop_core::neuron::MAX_SPIKES_PER_STEP;
use serde::Serialize;

use crate::backend::{
    self, Backend, EncodedSample, EncodedSets, GRADIENT_FRACTION_BITS, InputEvent, LayerWeights,
    Setup, WEIGHT_FRACTION_BITS, WEIGHT_LIMIT,
};
use crate::error::{Error, Result};
use crate::experiment::{
    BackendKind, Experiment, InitialWeights, Scheme, SilentLabel, SilentOutputs,
};
use crate::reference::compare::{Mismatch, TICK_EFFECT};
use crate::reference::{
    self, Comparison, RunOptions, RunResult, Sensitivity, Spike, Tolerance, compare, continuous,
    exact, grid,
};
use crate::time;
use crate::training::to_raw_weight;
use crate::vector::{self, Vector};

/// What runs the vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A fixed-point backend.
    Backend(BackendKind),
    /// The reference in `f64`.
    Reference,
}

impl Engine {
    /// All names.
    pub const NAMES: &'static [&'static str] = &["direct", "mock", "reference"];

    /// The engine of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "direct" => Some(Self::Backend(BackendKind::Direct)),
            "mock" => Some(Self::Backend(BackendKind::Mock)),
            "emulated" => Some(Self::Backend(BackendKind::Emulated)),
            "reference" => Some(Self::Reference),
            _ => None,
        }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backend(kind) => kind.name(),
            Self::Reference => "reference",
        }
    }

    /// Runs a vector.
    ///
    /// # Errors
    /// A vector that the fixed-point formats cannot hold, or a fault of the backend.
    pub fn run(self, vector: &Vector, options: &RunOptions) -> Result<RunResult> {
        match self {
            Self::Backend(kind) => run_on_backend(vector, kind, options),
            Self::Reference => Ok(reference::run_vector(vector, options)),
        }
    }

    fn run_and_count(
        self,
        vector: &Vector,
        options: &RunOptions,
    ) -> Result<(RunResult, Option<Counts>)> {
        Ok(match self {
            Self::Backend(kind) => {
                let (result, counts) = count_on_backend(vector, kind, options)?;
                (result, Some(counts))
            }
            Self::Reference => (self.run(vector, options)?, None),
        })
    }
}

/// What a backend has counted while it trained on the samples of a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Samples whose label's output stayed silent.
    pub silent_labels: u64,
    /// Values that were cut to their format's limits.
    pub saturations: u64,
    /// Spikes beyond the limit of one neuron in one step, which were left out.
    pub suppressed_spikes: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "silent labels: {}, saturations: {}, suppressed spikes: {}",
            self.silent_labels, self.saturations, self.suppressed_spikes
        )
    }
}

/// What became of one vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Name of what ran it.
    pub engine: &'static str,
    /// How it differs from what the vector expects.
    pub comparison: Comparison,
    /// What the backend has counted; absent for the reference, which counts nothing.
    pub counts: Option<Counts>,
    /// The comparison that counts, by the `f64` reference, where a rounding decided a spike.
    pub judged_by_reference: Option<Judgement>,
    /// What lies outside the tolerance, one line each; empty if the vector passed.
    pub violations: Vec<String>,
}

/// A comparison with the `f64` reference instead of that of a result with a vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Whether the reference, with the same ticks, is outside the tolerance, too. The comparison is
    /// then that of the result with the reference; else of the reference with the vector.
    pub by_ticks: bool,
    /// The comparison.
    pub comparison: Comparison,
}

/// How far the times of spikes may be from those of the `f64` reference in the scheme `exact`, where
/// both have the same ticks: four ticks, or four ticks over the slope of the spike where that is more.
///
/// A spike that one of them has a tick later moves a membrane by its weight times a tick over the
/// membrane's time constant; over the slope, that is a tick per unit of weight.
pub fn of_ticks(tolerance: &Tolerance, options: &RunOptions) -> Tolerance {
    let ticks_ms = 4.0 * options.tick_ms();
    Tolerance {
        spike_time_ms: ticks_ms,
        graze_ms: ticks_ms,
        ..*tolerance
    }
}

/// Runs a vector and judges the result.
///
/// `resolution`: the distance of a membrane from the threshold up to which a differing spike is put
/// down to rounding.
///
/// # Errors
/// As [`Engine::run`].
pub fn verify(
    vector: &Vector,
    engine: Engine,
    options: &RunOptions,
    tolerance: &Tolerance,
    resolution: f64,
) -> Result<Report> {
    let (result, counts) = engine.run_and_count(vector, options)?;
    let comparison = compare(vector, &result);
    let mut violations = comparison.violations(tolerance);
    let mut judged_by_reference = None;
    if engine != Engine::Reference {
        let model = reference::run_vector(vector, options);
        let against_model = compare(&reference::expecting(vector, &model), &result);
        let of_ticks = of_ticks(tolerance, options);
        let late = match vector.scheme {
            vector::Scheme::Exact => against_model.time_violations(&of_ticks),
            vector::Scheme::Grid => Vec::new(),
        };
        let by_model = late.iter().map(|late| format!("by the f64 model, {late}"));
        violations.extend(by_model);
        if !violations.is_empty() {
            let of_model = compare(vector, &model);
            let of_model_violations = of_model.violations(tolerance);
            let by_ticks = !of_model_violations.is_empty();
            let most_by_ticks = by_ticks_at_most(vector, options);
            // The tolerances that come from the simulator say something only of vectors that it knows.
            let reproduced =
                vector.scheme == vector::Scheme::Grid || continuous::reproduces(vector);
            let excused = if comparison.mismatches.is_empty() {
                // If all is right but the gradient, or the reference is off, too.
                most_by_ticks.is_some_and(|most| {
                    let wide = Tolerance {
                        cosine: 0.0,
                        relative_error: most,
                        ..*tolerance
                    };
                    by_ticks || (late.is_empty() && comparison.violations(&wide).is_empty())
                })
            } else {
                rounding_decides(vector, &comparison, &result, options, resolution)
            };
            if excused && reproduced {
                let (comparison, remaining) = if by_ticks {
                    let of_ticks = Tolerance {
                        relative_error: (of_ticks.relative_error).max(most_by_ticks.unwrap_or(0.0)),
                        ..of_ticks
                    };
                    let mut remaining = against_model.violations(&of_ticks);
                    // A rounding of the formats may come on top, of which the ticks know nothing.
                    if !against_model.mismatches.is_empty()
                        && rounding_decides(vector, &against_model, &result, options, resolution)
                    {
                        remaining.clear();
                    }
                    (against_model, remaining)
                } else {
                    (of_model, of_model_violations)
                };
                violations = remaining;
                judged_by_reference = Some(Judgement {
                    by_ticks,
                    comparison,
                });
            }
        }
    }
    Ok(Report {
        engine: engine.name(),
        comparison,
        counts,
        judged_by_reference,
        violations,
    })
}

/// The largest relative error of a gradient that is put down to ticks.
const MOST_BY_TICKS: f64 = 0.25;

/// The relative error of a vector's gradient that may be put down to ticks, if any: twice what a tick
/// may change, since the reference may have a decisive spike a tick late, and a rounding of the formats
/// may add a tick.
fn by_ticks_at_most(vector: &Vector, options: &RunOptions) -> Option<f64> {
    if vector.scheme == vector::Scheme::Grid {
        return None;
    }
    let effect = Sensitivity::of(vector).tick_effect(options.tick_ms());
    (effect > TICK_EFFECT).then_some(MOST_BY_TICKS.min(2.0 * effect))
}

/// Whether the missing and extra spikes of a result can be put down to rounding.
fn rounding_decides(
    vector: &Vector,
    comparison: &Comparison,
    result: &RunResult,
    options: &RunOptions,
    resolution: f64,
) -> bool {
    let first = comparison.first_mismatches();
    if !first.iter().all(|mismatch| mismatch.margin <= resolution) {
        return false;
    }
    if vector.scheme == vector::Scheme::Grid {
        return true;
    }
    let network = vector.network();
    let clock = reference::exact_clock(vector, options);
    let events = |spikes: &[Spike]| spikes.iter().map(|spike| clock.event(spike)).collect();
    comparison.mismatches.iter().all(|mismatch| {
        let &Mismatch {
            sample,
            layer,
            neuron,
            ..
        } = mismatch;
        let arrivals: Vec<exact::Event> = match layer {
            0 => events(&vector.samples[sample].input_spikes),
            _ => events(&result.spikes[sample][layer - 1]),
        };
        let own: Vec<exact::Event> = events(&result.spikes[sample][layer]);
        exact::fault(&network, &clock, (layer, neuron), &arrivals, &own) <= RESOLUTION
    })
}

/// Runs a vector on a fixed-point backend: the mean over its samples.
///
/// # Errors
/// A vector that the formats cannot hold, or a fault of the backend.
pub fn run_on_backend(
    vector: &Vector,
    kind: BackendKind,
    options: &RunOptions,
) -> Result<RunResult> {
    count_on_backend(vector, kind, options).map(|(result, _)| result)
}

fn count_on_backend(
    vector: &Vector,
    kind: BackendKind,
    options: &RunOptions,
) -> Result<(RunResult, Counts)> {
    let clock = Clock::of(vector, options);
    let experiment = experiment(vector, kind, &clock, options)?;
    let samples = vector
        .samples
        .iter()
        .map(|sample| {
            let label = u8::try_from(sample.label)
                .map_err(|_| Error::new("labels above 255 are not possible"))?;
            let events = sample.input_spikes.iter().map(|spike| clock.event(spike));
            let mut events = events.collect::<Result<Vec<_>>>()?;
            events.sort_unstable();
            Ok(EncodedSample { label, events })
        })
        .collect::<Result<Vec<_>>>()?;
    let weights = vector
        .weights
        .iter()
        .map(|layer| raw_weights(layer))
        .collect::<Result<Vec<_>>>()?;

    let mut backend = build(experiment, vector, &samples)?;
    backend.set_weights(&weights)?;
    let mut result = RunResult {
        spikes: Vec::new(),
        first_spikes: Vec::new(),
        mean_loss: None,
        gradient: Vec::new(),
    };
    for sample in &samples {
        let record = backend.record(sample)?;
        let layers = record.layers.iter().skip(1).map(|layer| {
            let spikes = layer.iter().map(|spike| Spike {
                neuron: usize::from(spike.neuron),
                time_ms: clock.time_ms(spike.step, spike.offset),
            });
            spikes.collect()
        });
        result.spikes.push(layers.collect());
        let ticks_to_ms = |ticks: u32| f64::from(ticks) / clock.ticks() * clock.step_ms;
        let first = record
            .first_spikes
            .iter()
            .map(|first| first.map(ticks_to_ms));
        result.first_spikes.push(first.collect());
    }

    let order: Vec<u32> = (0..samples.len() as u32).collect();
    let before = backend.counters()?;
    let tally = backend.train(&order, samples.len())?;
    let after = backend.counters()?;
    let counts = Counts {
        silent_labels: tally.silent_label,
        saturations: after.saturations - before.saturations,
        suppressed_spikes: after.suppressed_spikes - before.suppressed_spikes,
    };
    result.mean_loss = tally.mean_loss();
    let scale =
        vector.tau_syn_ms / f64::from(1_u32 << GRADIENT_FRACTION_BITS) / samples.len() as f64;
    for layer in backend.gradients()? {
        let by_post = (0..layer.neurons).map(|post| {
            let column = layer.values.iter().skip(post).step_by(layer.neurons);
            column.map(|&raw| raw as f64 * scale).collect()
        });
        result.gradient.push(by_post.collect());
    }
    Ok((result, counts))
}

/// The backend for a vector. The reference knows no limit of the spikes of a neuron in one step, so the
/// limit is the largest with which the network fits the backend.
fn build(
    mut experiment: Experiment,
    vector: &Vector,
    samples: &[EncodedSample],
) -> Result<Box<dyn Backend>> {
    loop {
        let built = backend::build(Setup {
            experiment: experiment.clone(),
            dims: vector.dims.clone(),
            sets: EncodedSets {
                train: samples.to_vec(),
                ..EncodedSets::default()
            },
        });
        let limit = &mut experiment.network.spikes_per_step;
        if built.is_ok() || *limit == 1 {
            return built;
        }
        *limit -= 1;
    }
}

/// The steps and ticks that a vector is run in.
struct Clock {
    step_ms: f64,
    tick_bits: u32,
    steps: usize,
    exact: Option<exact::Clock>,
}

impl Clock {
    fn of(vector: &Vector, options: &RunOptions) -> Self {
        match (vector.step_ms, vector.steps) {
            (Some(step_ms), Some(steps)) => Self {
                step_ms,
                tick_bits: 0,
                steps,
                exact: None,
            },
            _ => {
                let clock = reference::exact_clock(vector, options);
                Self {
                    step_ms: clock.step_ms,
                    tick_bits: clock.tick_bits,
                    steps: clock.steps,
                    exact: Some(clock),
                }
            }
        }
    }

    fn ticks(&self) -> f64 {
        f64::from(1_u32 << self.tick_bits)
    }

    fn time_ms(&self, step: u16, offset: u16) -> f64 {
        (f64::from(step) + f64::from(offset) / self.ticks()) * self.step_ms
    }

    fn event(&self, spike: &Spike) -> Result<InputEvent> {
        let (step, offset) = match &self.exact {
            Some(clock) => {
                let event = clock.event(spike);
                (event.step, event.offset)
            }
            None => {
                let clock = grid::Clock {
                    step_ms: self.step_ms,
                    steps: self.steps,
                };
                (clock.step(spike.time_ms), 0)
            }
        };
        let narrow = |value: usize| {
            u16::try_from(value).map_err(|_| {
                Error::new(format!(
                    "an input spike at {} ms is too late",
                    spike.time_ms
                ))
            })
        };
        Ok(InputEvent {
            step: narrow(step)?,
            offset: narrow(offset)?,
            channel: narrow(spike.neuron)?,
        })
    }
}

/// The experiment that a vector stands for.
fn experiment(
    vector: &Vector,
    kind: BackendKind,
    clock: &Clock,
    options: &RunOptions,
) -> Result<Experiment> {
    if vector.threshold != 1.0 {
        return Err(Error::new(format!(
            "the threshold is {}; the backends run with 1",
            vector.threshold
        ))
        .hint("divide weights and threshold by the threshold"));
    }
    let [_, hidden @ .., _] = vector.dims.as_slice() else {
        return Err(Error::new("a network needs inputs and outputs"));
    };
    let scheme = match vector.scheme {
        vector::Scheme::Exact => Scheme::Exact,
        vector::Scheme::Grid => Scheme::Grid,
    };
    let mut experiment = Experiment::default_for(scheme);
    let network = &mut experiment.network;
    network.hidden = hidden.to_vec();
    network.tau_membrane_ms = vector.tau_mem_ms;
    network.tau_synapse_ms = vector.tau_syn_ms;
    network.step_ms = clock.step_ms;
    network.steps = u32::try_from(clock.steps).unwrap_or(u32::MAX);
    network.tick_bits = clock.tick_bits;
    // The largest that the backends know; `build` looks whether it fits.
    network.spikes_per_step = MAX_SPIKES_PER_STEP as u32;
    network.slope_floor = options.slack_floor.unwrap_or(0.0);
    // Replaced by the vector's weights.
    network.initial_weights = vec![
        InitialWeights {
            mean: 0.0,
            std: 0.0
        };
        hidden.len() + 1
    ];
    experiment.encoding.first_ms = 0.0;
    experiment.encoding.last_ms = 0.0;
    let loss = &mut experiment.loss;
    loss.tau0_ms = vector.loss.tau0_ms;
    loss.tau1_ms = vector.loss.tau1_ms;
    loss.alpha = vector.loss.alpha;
    let end_ms = time::multiple_ms(clock.steps as f64, clock.step_ms);
    loss.silent_outputs = match vector.loss.silent_output_time_ms {
        None => SilentOutputs::Excluded,
        Some(time_ms) if time::steps(time_ms, clock.step_ms) == clock.steps as f64 => {
            SilentOutputs::AtEnd
        }
        Some(time_ms) => {
            return Err(Error::new(format!(
                "silent outputs count as {time_ms} ms; the backends know only the sample's end, \
                 {end_ms} ms"
            )));
        }
    };
    loss.silent_label = match vector.loss.silent_label {
        reference::SilentLabel::Skip => SilentLabel::Skip,
        reference::SilentLabel::Send => SilentLabel::Send,
    };
    experiment.training.batch = vector.samples.len();
    experiment.training.epochs = 1;
    experiment.backend.kind = kind;
    // One replica suffices for a handful of samples.
    experiment.backend.replicas = 1;
    experiment.backend.threads = Some(1);
    experiment.check()?;
    Ok(experiment)
}

fn raw_weights(layer: &[Vec<f64>]) -> Result<LayerWeights> {
    let neurons = layer.len();
    let inputs = layer.first().map_or(0, Vec::len);
    let mut values = vec![0; inputs * neurons];
    for (post, row) in layer.iter().enumerate() {
        for (pre, &weight) in row.iter().enumerate() {
            if weight.abs() > WEIGHT_LIMIT {
                return Err(Error::new(format!(
                    "a weight is {weight}; the format holds -{WEIGHT_LIMIT} to {WEIGHT_LIMIT}"
                )));
            }
            values[pre * neurons + post] = to_raw_weight(weight);
        }
    }
    Ok(LayerWeights {
        inputs,
        neurons,
        values,
    })
}

/// Distance from the threshold that the rounding of a membrane can bridge: a few units of its last
/// place, since a membrane is the sum of several rounded values.
pub const RESOLUTION: f64 = 4.0 / (1_u32 << WEIGHT_FRACTION_BITS) as f64;

/// Distance from the threshold, in the scheme `exact`, that the rounding of times can bridge, too. The
/// neuron's own reset, or an arrival of weight 1, a tick of 1/256 ms later changes a membrane by a
/// tick over the time constant, by 2e-4 where that is 20 ms; this is what a few of them do.
pub const TICK_RESOLUTION: f64 = 5e-4;

/// The distance from the threshold up to which a differing spike is put down to rounding.
pub const fn resolution(scheme: vector::Scheme) -> f64 {
    match scheme {
        vector::Scheme::Grid => RESOLUTION,
        vector::Scheme::Exact => TICK_RESOLUTION,
    }
}
