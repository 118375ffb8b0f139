//! The network in this process, on any number of threads: no packets, the same bits.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use eventprop_core::log::{Event, EventLog, LogFull};
use eventprop_core::loss::{Outcome, SILENT};
use eventprop_core::network::{self, Layer};
use eventprop_core::numeric::Statistics;
use eventprop_core::optimizer::{Progress, Stretch, Update};
use eventprop_core::program::layer::spikes_per_step;
use eventprop_core::program::{Kernels, With, spike_hash};
use eventprop_core::state::{Activity, Neurons, scratch_len};
use eventprop_core::tables::Dynamics;
use eventprop_core::vector::Vectors;
use rayon::{ThreadPool, ThreadPoolBuilder};
use s2_hal::math::SoftwareExpLog;

use super::model::loss_to_f64;
use super::model::{
    Model, TallyBuilder, Vectorised, Work, add_statistics, check_sample, core_event,
};
use super::{
    Backend, Counters, EncodedSample, EncodedSets, LayerGradient, LayerWeights, OptimizerState,
    Setup, Spike, SpikeRecord, Split, Tally,
};
use crate::error::{Error, Result};

/// The backend of that name.
pub struct Direct {
    sets: EncodedSets,
    network: Network,
}

/// Everything but the samples.
struct Network {
    model: Model,
    weights: Vec<LayerWeights>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    gradients: Vec<LayerGradient>,
    progress: Progress,
    workers: Vec<Worker>,
    /// The threads beside the caller's; none for one worker.
    helpers: Option<ThreadPool>,
    vectorised: Vectorised,
    counters: Counters,
}

impl Direct {
    /// Makes a network with weights of zero.
    ///
    /// # Errors
    /// Numbers that the fixed-point formats cannot hold; threads that cannot be started.
    pub fn new(setup: Setup) -> Result<Self> {
        let model = Model::new(&setup)?;
        let threads = setup.experiment.backend.thread_count();
        let pool = ThreadPoolBuilder::new().num_threads(threads - 1);
        let helpers = (threads > 1)
            .then(|| pool.build())
            .transpose()
            .map_err(|error| Error::new(format!("cannot start {threads} threads: {error}")))?;
        let weights = model.no_weights();
        let zeros = || {
            weights
                .iter()
                .map(|layer| vec![0.0; layer.values.len()])
                .collect()
        };
        Ok(Self {
            sets: setup.sets,
            network: Network {
                gradients: weights
                    .iter()
                    .map(|layer| LayerGradient {
                        inputs: layer.inputs,
                        neurons: layer.neurons,
                        values: vec![0; layer.values.len()],
                    })
                    .collect(),
                first: zeros(),
                second: zeros(),
                weights,
                progress: Progress::new(model.learning_rate),
                workers: (0..threads).map(|_| Worker::new(&model)).collect(),
                helpers,
                vectorised: Vectorised::default(),
                counters: Counters::default(),
                model,
            },
        })
    }
}

impl Network {
    /// Trains on one minibatch.
    fn train(&mut self, samples: &[&EncodedSample], first: usize) -> Result<Vec<Outcome>> {
        let outcomes = self.run(samples, first, true)?;
        self.update(samples.len() as u32);
        Ok(outcomes)
    }

    /// Runs samples on all workers, and returns what became of each, in their order. `first` is the
    /// index of the first of them within the run.
    fn run(
        &mut self,
        samples: &[&EncodedSample],
        first: usize,
        train: bool,
    ) -> Result<Vec<Outcome>> {
        let job = Job {
            model: &self.model,
            dynamics: &self.model.dynamics(),
            weights: &self
                .weights
                .iter()
                .map(|l| l.values.as_slice())
                .collect::<Vec<_>>(),
            vectorised: self.vectorised,
            train,
            samples,
            first,
            next: AtomicUsize::new(0),
        };
        let workers = workers_for(samples.len(), self.workers.len());
        let workers = self.workers[workers].iter_mut();
        let mut shares: Vec<_> = workers.map(|worker| (worker, Ok(Vec::new()))).collect();
        on_threads(self.helpers.as_ref(), &mut shares, |(worker, share)| {
            *share = worker.run(&job)
        });
        let mut outcomes = Vec::with_capacity(samples.len());
        for (_, share) in shares {
            outcomes.extend(share.map_err(|LogFull| Error::new("a layer's spike memory is full"))?);
        }
        outcomes.sort_unstable_by_key(|&(n, _)| n);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Adds what the workers have counted to the backend's counters; returns spikes per layer.
    fn collect_counts(&mut self) -> Vec<u64> {
        let mut spikes = vec![0; self.model.dims.len()];
        for Worker { counts, .. } in &mut self.workers {
            add_statistics(&mut self.counters, &std::mem::take(&mut counts.statistics));
            let digest = std::mem::take(&mut counts.spike_digest);
            self.counters.spike_digest = self.counters.spike_digest.wrapping_add(digest);
            for (sum, count) in spikes.iter_mut().zip(&mut counts.spikes) {
                *sum += std::mem::take(count);
            }
        }
        spikes
    }

    /// Sums the gradients of all workers and updates the weights.
    fn update(&mut self, samples: u32) {
        let update = Update::begin(&self.model.settings, &mut self.progress, samples);
        let remedy = self.model.settings.silent_neurons;
        let workers = &self.workers[workers_for(samples as usize, self.workers.len())];
        let vectorised = self.vectorised;
        for layer in 0..self.model.layers() {
            let output = layer + 1 == self.model.layers();
            let neurons = self.weights[layer].neurons;
            let bumps: Vec<i32> = (0..neurons)
                .map(|neuron| {
                    let sum = |count: &dyn Fn(&Counts) -> u32| {
                        workers.iter().map(|worker| count(&worker.counts)).sum()
                    };
                    if output {
                        remedy.for_output(sum(&|counts| counts.silent_labels[neuron]), samples)
                    } else {
                        remedy.for_hidden(sum(&|counts| counts.spikes_of[layer][neuron]))
                    }
                })
                .collect();
            let pieces = self.weights[layer]
                .values
                .chunks_mut(PIECE)
                .zip(self.gradients[layer].values.chunks_mut(PIECE))
                .zip(self.first[layer].chunks_mut(PIECE))
                .zip(self.second[layer].chunks_mut(PIECE))
                .enumerate();
            let threads = pieces.len().min(self.workers.len());
            let pieces = Mutex::new(pieces);
            let next = || pieces.lock().expect("no thread has panicked").next();
            let mut statistics = vec![Statistics::NEW; threads];
            on_threads(self.helpers.as_ref(), &mut statistics, |statistics| {
                while let Some((number, (((weights, gradients), first), second))) = next() {
                    let position = number * PIECE;
                    let parts = workers.iter().map(|worker| &worker.layers[layer].gradient);
                    sum_into(gradients, parts.map(|gradient| &gradient[position..]));
                    vectorised.update(
                        &update,
                        Stretch {
                            layer: layer as u8,
                            first_neuron: 0,
                            neurons,
                            position,
                            weights,
                            gradients,
                            first,
                            second,
                            bumps: &bumps,
                        },
                        statistics,
                    );
                }
            });
            for statistics in &statistics {
                add_statistics(&mut self.counters, statistics);
            }
        }
    }
}

/// Calls `work` for each of `items` on a thread of its own, for the first on the caller's.
fn on_threads<T: Send>(
    helpers: Option<&ThreadPool>,
    items: &mut [T],
    work: impl Fn(&mut T) + Sync,
) {
    /// How often the caller looks whether the helpers have ended, some 50 microseconds, before it sleeps:
    /// to be woken would take longer than most of them do.
    const ROUNDS: usize = 2000;
    let (Some(helpers), [first, others @ ..]) = (helpers, &mut *items) else {
        return items.iter_mut().for_each(work);
    };
    if others.is_empty() {
        return work(first);
    }
    let running = AtomicUsize::new(others.len());
    helpers.in_place_scope(|scope| {
        for item in others {
            scope.spawn(|_| {
                work(item);
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        work(first);
        for _ in 0..ROUNDS {
            if running.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::hint::spin_loop();
        }
    });
}

/// Weights that are updated at a time: enough that another thread is worth its waking.
const PIECE: usize = 4096;

/// Sets `sum` to the sum of the beginnings of `parts`.
fn sum_into<'a>(sum: &mut [i64], mut parts: impl Iterator<Item = &'a [i64]>) {
    let len = sum.len();
    match parts.next() {
        Some(part) => sum.copy_from_slice(&part[..len]),
        None => sum.fill(0),
    }
    for part in parts {
        for (sum, part) in sum.iter_mut().zip(part) {
            // A gradient sum has room for the terms of 2^38 arrivals.
            *sum = sum.wrapping_add(*part);
        }
    }
}

/// The workers that work on so many samples.
fn workers_for(samples: usize, workers: usize) -> Range<usize> {
    0..samples.min(workers)
}

/// What all workers share over a number of samples.
struct Job<'a> {
    model: &'a Model,
    dynamics: &'a Dynamics<'a>,
    weights: &'a [&'a [i32]],
    vectorised: Vectorised,
    train: bool,
    samples: &'a [&'a EncodedSample],
    /// Index of the first sample within the run.
    first: usize,
    /// The next sample that nobody works on. Sums are exact, so it does not matter who takes it.
    next: AtomicUsize,
}

/// Memory of one thread.
struct Worker {
    layers: Vec<LayerMemory>,
    input: LogMemory,
    sums: Vec<i64>,
    outputs: Outputs,
    counts: Counts,
}

struct LayerMemory {
    membrane: Vec<i32>,
    current: Vec<i32>,
    scratch: Vec<i32>,
    log: LogMemory,
    gradient: Vec<i64>,
}

/// Of each output: the time of its first spike in ticks, the spike's place in the log, and the error.
struct Outputs {
    first: Vec<u32>,
    places: Vec<usize>,
    errors: Vec<i32>,
}

/// What a worker counts.
struct Counts {
    /// Over a minibatch, by output: samples of which it was the label and silent.
    silent_labels: Vec<u32>,
    /// Over a minibatch: spikes of each neuron, by layer.
    spikes_of: Vec<Vec<u32>>,
    /// Spikes per layer, from the input on.
    spikes: Vec<u64>,
    spike_digest: u64,
    /// Start of the step of each spike of a layer, and one number more.
    starts: Vec<u32>,
    statistics: Statistics,
}

struct LogMemory {
    events: Vec<Event>,
    slopes: Vec<i32>,
    errors: Vec<i32>,
    ends: Vec<u32>,
}

impl LogMemory {
    fn new(capacity: usize, steps: usize) -> Self {
        Self {
            events: vec![Event::default(); capacity],
            slopes: vec![0; capacity],
            errors: vec![0; capacity],
            ends: vec![0; steps],
        }
    }

    fn log(&mut self) -> EventLog<'_> {
        EventLog::new(
            &mut self.events,
            &mut self.slopes,
            &mut self.errors,
            &mut self.ends,
        )
    }

    /// Grows to hold at least `capacity` events.
    fn reserve(&mut self, capacity: usize) {
        if self.events.len() < capacity {
            *self = Self::new(capacity, self.ends.len());
        }
    }
}

impl Outputs {
    /// Finds the first spike of each output; `starts` are those of the steps of its log.
    fn find(&mut self, log: &EventLog<'_>, starts: &[u32]) {
        self.first.fill(SILENT);
        for (place, (event, start)) in log.all().iter().zip(starts).enumerate() {
            let output = usize::from(event.neuron);
            if self.first[output] == SILENT {
                self.first[output] = start + u32::from(event.offset);
                self.places[output] = place;
            }
        }
    }

    /// Gives each first spike its error, and all others none.
    fn assign(&self, log: &mut EventLog<'_>) {
        let errors = log.errors_mut();
        errors.fill(0);
        for ((&first, &place), &error) in self.first.iter().zip(&self.places).zip(&self.errors) {
            if first != SILENT {
                errors[place] = error;
            }
        }
    }
}

impl Counts {
    /// Counts the spikes of one layer, from 0 for the input; `index` is the sample's within the run. Leaves in
    /// `starts` those of the steps.
    fn add(&mut self, layer: usize, log: &EventLog<'_>, index: u32, job: &Job<'_>) {
        self.spikes[layer] += log.len() as u64;
        if self.starts.len() <= log.len() {
            self.starts.resize(log.len() + 1, 0);
        }
        log.starts(1 << job.model.tick_bits, &mut self.starts);
        let digest = job.vectorised.run(Digest {
            events: log.all(),
            starts: &self.starts,
            sample: index,
            layer: layer as u32,
        });
        self.spike_digest = self.spike_digest.wrapping_add(digest);
        if let Some(layer) = layer.checked_sub(1).filter(|_| job.train) {
            let spikes_of = &mut self.spikes_of[layer];
            for event in log.all() {
                spikes_of[usize::from(event.neuron)] += 1;
            }
        }
    }
}

/// The sum of the hashes of a layer's spikes.
struct Digest<'a> {
    events: &'a [Event],
    /// Start of the step of each.
    starts: &'a [u32],
    sample: u32,
    layer: u32,
}

impl Work for Digest<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self, _: impl Vectors) -> u64 {
        let spikes = self.events.iter().zip(self.starts);
        spikes.fold(0u64, |digest, (event, start)| {
            let ticks = start.wrapping_add(event.offset.into());
            let hash = spike_hash(self.sample, self.layer, event.neuron.into(), ticks);
            digest.wrapping_add(hash)
        })
    }
}

impl Worker {
    fn new(model: &Model) -> Self {
        let limit = spikes_per_step(model.scheme, model.spikes_per_step);
        let widest = model.dims[1..].iter().max().copied().unwrap_or(0);
        let outputs = model.dims[model.layers()];
        Self {
            layers: (0..model.layers())
                .map(|layer| {
                    let (inputs, neurons) = model.shape(layer);
                    LayerMemory {
                        membrane: vec![0; neurons],
                        current: vec![0; neurons],
                        scratch: vec![0; scratch_len(neurons)],
                        log: LogMemory::new(neurons * limit * model.steps, model.steps),
                        gradient: vec![0; inputs * neurons],
                    }
                })
                .collect(),
            input: LogMemory::new(0, model.steps),
            sums: vec![0; widest * limit],
            outputs: Outputs {
                first: vec![SILENT; outputs],
                places: vec![0; outputs],
                errors: vec![0; outputs],
            },
            counts: Counts {
                silent_labels: vec![0; outputs],
                spikes_of: model.dims[1..].iter().map(|&n| vec![0; n]).collect(),
                spikes: vec![0; model.dims.len()],
                spike_digest: 0,
                starts: Vec::new(),
                statistics: Statistics::NEW,
            },
        }
    }

    /// Works on samples as long as there are any; returns which they were, and what became of them.
    fn run(&mut self, job: &Job<'_>) -> std::result::Result<Vec<(usize, Outcome)>, LogFull> {
        if job.train {
            self.begin_minibatch();
        }
        let samples = job.samples.iter();
        let most = samples.map(|sample| sample.events.len()).max().unwrap_or(0);
        self.input.reserve(most);
        let input = &mut self.input.log();
        let layers = &mut self
            .layers
            .iter_mut()
            .map(|memory| Layer {
                neurons: Neurons {
                    membrane: &mut memory.membrane,
                    current: &mut memory.current,
                    scratch: &mut memory.scratch,
                    activity: Activity::ASLEEP,
                },
                log: memory.log.log(),
                gradient: &mut memory.gradient,
            })
            .collect::<Vec<_>>();
        let mut outcomes = Vec::new();
        loop {
            let n = job.next.fetch_add(1, Ordering::Relaxed);
            let Some(sample) = job.samples.get(n) else {
                return Ok(outcomes);
            };
            fill(input, sample, job.model.steps)?;
            let (outputs, counts) = (&mut self.outputs, &mut self.counts);
            job.vectorised.run(ForwardPass {
                dynamics: job.dynamics,
                weights: job.weights,
                input,
                layers,
                statistics: &mut counts.statistics,
            })?;
            let logs = std::iter::once(&*input).chain(layers.iter().map(|layer| &layer.log));
            for (layer, log) in logs.enumerate() {
                counts.add(layer, log, (job.first + n) as u32, job);
            }
            let output = &mut layers.last_mut().expect("a network has layers").log;
            outputs.find(output, &counts.starts);
            let outcome = job.model.loss.evaluate(
                &mut SoftwareExpLog,
                &outputs.first,
                sample.label.into(),
                &mut outputs.errors,
                &mut counts.statistics.saturations,
            );
            if job.train {
                counts.silent_labels[usize::from(sample.label)] += u32::from(outcome.label_silent);
                outputs.assign(output);
                job.vectorised.run(BackwardPass {
                    dynamics: job.dynamics,
                    weights: job.weights,
                    input,
                    layers,
                    sums: &mut self.sums,
                    statistics: &mut counts.statistics,
                });
            }
            outcomes.push((n, outcome));
        }
    }

    /// Forgets gradients, and what the remedy for silent neurons counts.
    fn begin_minibatch(&mut self) {
        self.counts.silent_labels.fill(0);
        self.counts.spikes_of.iter_mut().for_each(|n| n.fill(0));
        for layer in &mut self.layers {
            layer.gradient.fill(0);
        }
    }

    /// The spikes of the last sample, by layer.
    fn record(&mut self, model: &Model, sample: &EncodedSample) -> Vec<Vec<Spike>> {
        let input = sample.events.iter().map(|event| Spike {
            step: event.step,
            offset: event.offset,
            neuron: event.channel,
        });
        let mut layers = vec![input.collect::<Vec<_>>()];
        for layer in &mut self.layers {
            let LogMemory {
                events,
                slopes,
                errors,
                ends,
            } = &mut layer.log;
            let log = EventLog::resume(events, slopes, errors, ends, model.steps);
            let mut spikes: Vec<_> = (0..model.steps)
                .flat_map(|step| log.events(step).iter().map(move |event| (step, *event)))
                .map(|(step, event)| Spike {
                    step: step as u16,
                    offset: event.offset,
                    neuron: event.neuron,
                })
                .collect();
            spikes.sort_unstable();
            layers.push(spikes);
        }
        layers
    }
}

/// A sample's forward pass, to be built for the best vector instructions of the machine at hand.
/// (A closure would not do: its body is not always inlined into the function that has them enabled.)
struct ForwardPass<'a, 'l> {
    dynamics: &'a Dynamics<'a>,
    weights: &'a [&'a [i32]],
    input: &'a EventLog<'l>,
    layers: &'a mut [Layer<'l>],
    statistics: &'a mut Statistics,
}

impl Work for ForwardPass<'_, '_> {
    type Output = std::result::Result<(), LogFull>;

    #[inline(always)]
    fn run(self, vectors: impl Vectors) -> Self::Output {
        let Self {
            dynamics,
            weights,
            input,
            layers,
            statistics,
        } = self;
        network::forward(&With(vectors), dynamics, weights, input, layers, statistics)
    }
}

/// A sample's backward pass.
struct BackwardPass<'a, 'l> {
    dynamics: &'a Dynamics<'a>,
    weights: &'a [&'a [i32]],
    input: &'a EventLog<'l>,
    layers: &'a mut [Layer<'l>],
    sums: &'a mut [i64],
    statistics: &'a mut Statistics,
}

impl Work for BackwardPass<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run(self, vectors: impl Vectors) {
        let Self {
            dynamics,
            weights,
            input,
            layers,
            sums,
            statistics,
        } = self;
        network::backward(
            &With(vectors),
            dynamics,
            weights,
            input,
            layers,
            sums,
            statistics,
        );
    }
}

/// Writes a sample's spikes to the log of the input.
fn fill(
    log: &mut EventLog<'_>,
    sample: &EncodedSample,
    steps: usize,
) -> std::result::Result<(), LogFull> {
    let events = sample.events.iter();
    log.refill(
        events.map(|event| (event.step.into(), core_event(event))),
        steps,
    )
}

impl Backend for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn train(&mut self, order: &[u32], batch: usize) -> Result<Tally> {
        let batch = batch.max(1);
        let (sets, network) = (&self.sets, &mut self.network);
        let mut tally = TallyBuilder::default();
        let result = order
            .chunks(batch)
            .enumerate()
            .try_for_each(|(number, minibatch)| {
                let samples: Vec<_> = minibatch.iter().map(|&n| &sets.train[n as usize]).collect();
                let outcomes = network.train(&samples, number * batch)?;
                outcomes.iter().for_each(|outcome| tally.add(outcome));
                Ok(())
            });
        let spikes = self.network.collect_counts();
        result.map(|()| tally.finish(spikes))
    }

    fn evaluate(&mut self, split: Split, samples: Range<usize>) -> Result<Tally> {
        let samples: Vec<_> = self.sets.split(split)[samples].iter().collect();
        let outcomes = self.network.run(&samples, 0, false);
        let spikes = self.network.collect_counts();
        let mut tally = TallyBuilder::default();
        outcomes?.iter().for_each(|outcome| tally.add(outcome));
        Ok(tally.finish(spikes))
    }

    fn record(&mut self, sample: &EncodedSample) -> Result<SpikeRecord> {
        check_sample(&self.network.model, sample)?;
        let network = &mut self.network;
        let outcome = network.run(&[sample], 0, false)?[0];
        let worker = &mut network.workers[0];
        let layers = worker.record(&network.model, sample);
        let first = worker.outputs.first.iter();
        let first_spikes = first.map(|&t| (t != SILENT).then_some(t)).collect();
        network.collect_counts();
        Ok(SpikeRecord {
            layers,
            first_spikes,
            loss: loss_to_f64(outcome.loss.into()),
        })
    }

    fn predict(&mut self, samples: &[EncodedSample]) -> Result<Vec<Option<u8>>> {
        let network = &mut self.network;
        samples
            .iter()
            .try_for_each(|sample| check_sample(&network.model, sample))?;
        let samples: Vec<_> = samples.iter().collect();
        let outcomes = network.run(&samples, 0, false);
        network.collect_counts();
        Ok(outcomes?
            .iter()
            .map(|outcome| outcome.prediction.map(|p| p as u8))
            .collect())
    }

    fn weights(&mut self) -> Result<Vec<LayerWeights>> {
        Ok(self.network.weights.clone())
    }

    fn set_weights(&mut self, weights: &[LayerWeights]) -> Result<()> {
        self.network.model.check_weights(weights)?;
        self.network.weights = weights.to_vec();
        Ok(())
    }

    fn gradients(&mut self) -> Result<Vec<LayerGradient>> {
        Ok(self.network.gradients.clone())
    }

    fn optimizer_state(&mut self) -> Result<OptimizerState> {
        Ok(OptimizerState {
            step: self.network.progress.steps.into(),
            first: self.network.first.clone(),
            second: self.network.second.clone(),
            learning_rate: self.network.progress.learning_rate,
            beta1_power: self.network.progress.beta1_power,
            beta2_power: self.network.progress.beta2_power,
        })
    }

    fn set_optimizer_state(&mut self, state: &OptimizerState) -> Result<()> {
        let fits = |moments: &[Vec<f32>]| {
            moments.len() == self.network.first.len()
                && moments
                    .iter()
                    .zip(&self.network.first)
                    .all(|(a, b)| a.len() == b.len())
        };
        if !fits(&state.first) || !(fits(&state.second) || state.second.is_empty()) {
            return Err(Error::new("the optimiser's moments do not fit the network"));
        }
        self.network.first.clone_from(&state.first);
        if !state.second.is_empty() {
            self.network.second.clone_from(&state.second);
        }
        self.network.progress = Progress {
            steps: u32::try_from(state.step)
                .map_err(|_| Error::new("more than 2^32 minibatches were trained"))?,
            learning_rate: state.learning_rate,
            beta1_power: state.beta1_power,
            beta2_power: state.beta2_power,
        };
        Ok(())
    }

    fn set_learning_rate(&mut self, rate: f32) -> Result<()> {
        self.network.progress.learning_rate = rate;
        Ok(())
    }

    fn counters(&mut self) -> Result<Counters> {
        Ok(self.network.counters)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::model::instruction_sets;
    use super::*;
    use crate::experiment::{Experiment, Scheme};
    use crate::training::{Plan, State};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever the vector instructions, training gives the bits that it gives without any, in layers that
        /// fill vectors and in others.
        #[test]
        fn every_instruction_set_gives_the_same_bits(
            seed in 0u64..1000,
            hidden in proptest::collection::vec(1usize..40, 1..3),
            scheme in prop_oneof![Just(Scheme::Exact), Just(Scheme::Grid)],
        ) {
            let mut experiment = Experiment::default_for(scheme);
            experiment.seed = seed;
            experiment.network.hidden = hidden;
            experiment.dataset.train_size = 40;
            experiment.dataset.validation_size = 1;
            experiment.dataset.test_size = 1;
            experiment.backend.threads = Some(1);
            let plan = Plan::new(experiment).unwrap();
            let order: Vec<u32> = (0..40).collect();
            let train = |set| {
                let mut direct = Direct::new(plan.setup()).unwrap();
                direct.network.vectorised = Vectorised(set);
                direct.set_weights(&State::new(&plan).weights).unwrap();
                let tally = direct.train(&order, 20).unwrap();
                let Network { weights, gradients, counters, .. } = direct.network;
                (weights, gradients, counters, tally)
            };
            let sets = instruction_sets();
            let reference = train(sets[0]);
            for &set in &sets[1..] {
                prop_assert!(train(set) == reference, "{set:?}");
            }
        }
    }
}
