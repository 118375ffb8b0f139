//! The network in this process, on any number of threads: no packets, the same bits.

use std::ops::Range;

use eventprop_core::log::{Event, EventLog, LogFull};
use eventprop_core::loss::{Outcome, SILENT};
use eventprop_core::network::{self, Layer};
use eventprop_core::numeric::Statistics;
use eventprop_core::optimizer::{Progress, Stretch, Update};
use eventprop_core::program::layer::spikes_per_step;
use eventprop_core::program::{Portable, spike_hash};
use eventprop_core::state::{Activity, Neurons, scratch_len};
use eventprop_core::tables::Dynamics;
use rayon::prelude::*;
use s2_hal::math::SoftwareExpLog;

use super::model::loss_to_f64;
use super::model::{Model, TallyBuilder, Vectorised, add_statistics, check_sample, core_event};
use super::{
    Backend, Counters, EncodedSample, EncodedSets, LayerGradient, LayerWeights, OptimizerState,
    Setup, Spike, SpikeRecord, Split, Tally,
};
use crate::error::{Error, Result};

/// The backend of that name.
pub struct Direct {
    model: Model,
    sets: EncodedSets,
    weights: Vec<LayerWeights>,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    gradients: Vec<LayerGradient>,
    progress: Progress,
    workers: Vec<Worker>,
    threads: Option<rayon::ThreadPool>,
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
        let pool = (threads > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
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
            threads: pool,
            vectorised: Vectorised::default(),
            counters: Counters::default(),
            sets: setup.sets,
            model,
        })
    }

    /// Runs samples on all workers, and returns what became of each, in their order. `first` is the
    /// index of the first of them within the run.
    fn run(
        &mut self,
        samples: &[&EncodedSample],
        first: usize,
        train: bool,
    ) -> Result<Vec<Outcome>> {
        let share = samples.len().div_ceil(self.workers.len()).max(1);
        let job = Job {
            model: &self.model,
            weights: &self
                .weights
                .iter()
                .map(|l| l.values.as_slice())
                .collect::<Vec<_>>(),
            vectorised: self.vectorised,
            train,
        };
        let work = |(worker, (number, samples)): (&mut Worker, (usize, &[&EncodedSample]))| {
            worker.run(&job, samples, first + number * share)
        };
        let mut outcomes = Vec::with_capacity(samples.len());
        let shares: Vec<_> = match &self.threads {
            Some(pool) => pool.install(|| {
                let shares = samples.par_chunks(share).enumerate();
                self.workers.par_iter_mut().zip(shares).map(work).collect()
            }),
            None => self
                .workers
                .iter_mut()
                .zip(samples.chunks(share).enumerate())
                .map(work)
                .collect(),
        };
        for share in shares {
            outcomes.extend(share.map_err(|LogFull| Error::new("a layer's spike memory is full"))?);
        }
        Ok(outcomes)
    }

    /// Adds what the workers have counted to the backend's counters; returns spikes per layer.
    fn collect_counts(&mut self) -> Vec<u64> {
        let mut spikes = vec![0; self.model.dims.len()];
        for worker in &mut self.workers {
            add_statistics(&mut self.counters, &std::mem::take(&mut worker.statistics));
            let digest = std::mem::take(&mut worker.spike_digest);
            self.counters.spike_digest = self.counters.spike_digest.wrapping_add(digest);
            for (sum, count) in spikes.iter_mut().zip(&mut worker.spikes) {
                *sum += std::mem::take(count);
            }
        }
        spikes
    }

    /// Sums the gradients of all workers and updates the weights.
    fn update(&mut self, samples: u32) {
        let update = Update::begin(&self.model.settings, &mut self.progress, samples);
        let remedy = self.model.settings.silent_neurons;
        let mut statistics = Statistics::NEW;
        for layer in 0..self.model.layers() {
            let gradient = &mut self.gradients[layer].values;
            gradient.fill(0);
            for worker in &mut self.workers {
                for (sum, part) in gradient.iter_mut().zip(&worker.layers[layer].gradient) {
                    *sum += part;
                }
                worker.layers[layer].gradient.fill(0);
            }
            let output = layer + 1 == self.model.layers();
            let bumps: Vec<i32> = (0..self.weights[layer].neurons)
                .map(|neuron| {
                    let sum = |count: fn(&Worker, usize, usize) -> u32| {
                        self.workers
                            .iter()
                            .map(|worker| count(worker, layer, neuron))
                            .sum()
                    };
                    if output {
                        remedy.for_output(sum(|w, _, neuron| w.silent_labels[neuron]), samples)
                    } else {
                        remedy.for_hidden(sum(|w, l, neuron| w.layers[l].spike_counts[neuron]))
                    }
                })
                .collect();
            update.apply(
                Stretch {
                    layer: layer as u8,
                    first_neuron: 0,
                    neurons: bumps.len(),
                    position: 0,
                    weights: &mut self.weights[layer].values,
                    gradients: gradient,
                    first: &mut self.first[layer],
                    second: &mut self.second[layer],
                    bumps: &bumps,
                },
                &mut statistics,
            );
        }
        add_statistics(&mut self.counters, &statistics);
    }
}

/// What all workers share over a run.
struct Job<'a> {
    model: &'a Model,
    weights: &'a [&'a [i32]],
    vectorised: Vectorised,
    train: bool,
}

/// Memory of one thread.
struct Worker {
    layers: Vec<LayerMemory>,
    input: LogMemory,
    sums: Vec<i64>,
    first: Vec<u32>,
    silent_labels: Vec<u32>,
    spikes: Vec<u64>,
    spike_digest: u64,
    statistics: Statistics,
}

struct LayerMemory {
    membrane: Vec<i32>,
    current: Vec<i32>,
    scratch: Vec<u16>,
    log: LogMemory,
    gradient: Vec<i64>,
    spike_counts: Vec<u32>,
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

impl Worker {
    fn new(model: &Model) -> Self {
        let limit = spikes_per_step(model.scheme, model.spikes_per_step);
        let widest = model.dims[1..].iter().max().copied().unwrap_or(0);
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
                        spike_counts: vec![0; neurons],
                    }
                })
                .collect(),
            input: LogMemory::new(0, model.steps),
            sums: vec![0; widest * limit],
            first: vec![SILENT; model.dims[model.layers()]],
            silent_labels: vec![0; model.dims[model.layers()]],
            spikes: vec![0; model.dims.len()],
            spike_digest: 0,
            statistics: Statistics::NEW,
        }
    }

    /// Forgets what the remedy for silent neurons counts over a minibatch.
    fn begin_minibatch(&mut self) {
        self.silent_labels.fill(0);
        for layer in &mut self.layers {
            layer.spike_counts.fill(0);
        }
    }

    fn run(
        &mut self,
        job: &Job<'_>,
        samples: &[&EncodedSample],
        first: usize,
    ) -> std::result::Result<Vec<Outcome>, LogFull> {
        samples
            .iter()
            .enumerate()
            .map(|(n, sample)| self.sample(job, sample, (first + n) as u32))
            .collect()
    }

    fn sample(
        &mut self,
        job: &Job<'_>,
        sample: &EncodedSample,
        index: u32,
    ) -> std::result::Result<Outcome, LogFull> {
        let Self {
            layers,
            input,
            sums,
            first,
            ..
        } = self;
        let model = job.model;
        input.reserve(sample.events.len());
        let input = &mut input.log();
        let mut events = sample.events.iter().peekable();
        for step in 0..model.steps {
            while let Some(event) = events.next_if(|event| usize::from(event.step) == step) {
                input.push(core_event(event), 0)?;
            }
            input.end_step()?;
        }
        let (mut layers, mut spike_counts): (Vec<_>, Vec<_>) = layers
            .iter_mut()
            .map(|memory| {
                let layer = Layer {
                    neurons: Neurons {
                        membrane: &mut memory.membrane,
                        current: &mut memory.current,
                        scratch: &mut memory.scratch,
                        activity: Activity::UNKNOWN,
                    },
                    log: memory.log.log(),
                    gradient: &mut memory.gradient,
                };
                (layer, &mut memory.spike_counts)
            })
            .unzip();
        let dynamics = model.dynamics();
        let statistics = &mut self.statistics;
        let kernels = &job.vectorised;
        kernels.0.dispatch(ForwardPass {
            dynamics: &dynamics,
            weights: job.weights,
            input,
            layers: &mut layers,
            statistics,
        })?;

        let logs = std::iter::once(&*input).chain(layers.iter().map(|layer| &layer.log));
        for (number, log) in logs.enumerate() {
            self.spikes[number] += log.len() as u64;
            for step in 0..model.steps {
                for event in log.events(step) {
                    let ticks = ((step as u32) << model.tick_bits) + u32::from(event.offset);
                    let hash = spike_hash(index, number as u32, event.neuron.into(), ticks);
                    self.spike_digest = self.spike_digest.wrapping_add(hash);
                }
            }
            if let Some(layer) = number.checked_sub(1).filter(|_| job.train) {
                for event in log.all() {
                    spike_counts[layer][usize::from(event.neuron)] += 1;
                }
            }
        }

        let output = &mut layers.last_mut().expect("a network has layers").log;
        let places = first_spikes(output, model, first);
        let mut errors = vec![0; first.len()];
        let outcome = model.loss.evaluate(
            &mut SoftwareExpLog,
            first,
            sample.label.into(),
            &mut errors,
            &mut statistics.saturations,
        );
        if job.train {
            self.silent_labels[usize::from(sample.label)] += u32::from(outcome.label_silent);
            output.errors_mut().fill(0);
            for (place, error) in places.iter().zip(errors) {
                if let Some(place) = *place {
                    output.errors_mut()[place] = error;
                }
            }
            kernels.0.dispatch(BackwardPass {
                dynamics: &dynamics,
                weights: job.weights,
                input,
                layers: &mut layers,
                sums,
                statistics,
            });
        }
        Ok(outcome)
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

impl pulp::WithSimd for ForwardPass<'_, '_> {
    type Output = std::result::Result<(), LogFull>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
        let Self {
            dynamics,
            weights,
            input,
            layers,
            statistics,
        } = self;
        network::forward(&Portable, dynamics, weights, input, layers, statistics)
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

impl pulp::WithSimd for BackwardPass<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            dynamics,
            weights,
            input,
            layers,
            sums,
            statistics,
        } = self;
        network::backward(
            &Portable, dynamics, weights, input, layers, sums, statistics,
        );
    }
}

/// Sets `first` to the time of the first spike of each output in ticks, and returns its place in
/// the log.
fn first_spikes(log: &EventLog<'_>, model: &Model, first: &mut [u32]) -> Vec<Option<usize>> {
    let mut places = vec![None; first.len()];
    first.fill(SILENT);
    for step in 0..model.steps {
        let start = log.range(step).start;
        for (n, event) in log.events(step).iter().enumerate() {
            let output = usize::from(event.neuron);
            if places[output].is_none() {
                places[output] = Some(start + n);
                first[output] = ((step as u32) << model.tick_bits) + u32::from(event.offset);
            }
        }
    }
    places
}

impl Backend for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn train(&mut self, order: &[u32], batch: usize) -> Result<Tally> {
        let mut tally = TallyBuilder::default();
        let sets = std::mem::take(&mut self.sets);
        let result = order
            .chunks(batch.max(1))
            .enumerate()
            .try_for_each(|(number, minibatch)| {
                let samples: Vec<_> = minibatch.iter().map(|&n| &sets.train[n as usize]).collect();
                self.workers.iter_mut().for_each(Worker::begin_minibatch);
                let outcomes = self.run(&samples, number * batch, true)?;
                outcomes.iter().for_each(|outcome| tally.add(outcome));
                self.update(minibatch.len() as u32);
                Ok(())
            });
        self.sets = sets;
        let spikes = self.collect_counts();
        result.map(|()| tally.finish(spikes))
    }

    fn evaluate(&mut self, split: Split, samples: Range<usize>) -> Result<Tally> {
        let sets = std::mem::take(&mut self.sets);
        let samples: Vec<_> = sets.split(split)[samples].iter().collect();
        let outcomes = self.run(&samples, 0, false);
        self.sets = sets;
        let spikes = self.collect_counts();
        let mut tally = TallyBuilder::default();
        outcomes?.iter().for_each(|outcome| tally.add(outcome));
        Ok(tally.finish(spikes))
    }

    fn record(&mut self, sample: &EncodedSample) -> Result<SpikeRecord> {
        check_sample(&self.model, sample)?;
        let outcome = self.run(&[sample], 0, false)?[0];
        let worker = &mut self.workers[0];
        let layers = worker.record(&self.model, sample);
        let first_spikes = worker
            .first
            .iter()
            .map(|&t| (t != SILENT).then_some(t))
            .collect();
        self.collect_counts();
        Ok(SpikeRecord {
            layers,
            first_spikes,
            loss: outcome.loss.map(loss_to_f64),
        })
    }

    fn predict(&mut self, samples: &[EncodedSample]) -> Result<Vec<Option<u8>>> {
        samples
            .iter()
            .try_for_each(|sample| check_sample(&self.model, sample))?;
        let outcomes = self.run(&samples.iter().collect::<Vec<_>>(), 0, false)?;
        self.collect_counts();
        Ok(outcomes
            .iter()
            .map(|outcome| outcome.prediction.map(|p| p as u8))
            .collect())
    }

    fn weights(&mut self) -> Result<Vec<LayerWeights>> {
        Ok(self.weights.clone())
    }

    fn set_weights(&mut self, weights: &[LayerWeights]) -> Result<()> {
        self.model.check_weights(weights)?;
        self.weights = weights.to_vec();
        Ok(())
    }

    fn gradients(&mut self) -> Result<Vec<LayerGradient>> {
        Ok(self.gradients.clone())
    }

    fn optimizer_state(&mut self) -> Result<OptimizerState> {
        Ok(OptimizerState {
            step: self.progress.steps.into(),
            first: self.first.clone(),
            second: self.second.clone(),
            learning_rate: self.progress.learning_rate,
            beta1_power: self.progress.beta1_power,
            beta2_power: self.progress.beta2_power,
        })
    }

    fn set_optimizer_state(&mut self, state: &OptimizerState) -> Result<()> {
        let fits = |moments: &[Vec<f32>]| {
            moments.len() == self.first.len()
                && moments
                    .iter()
                    .zip(&self.first)
                    .all(|(a, b)| a.len() == b.len())
        };
        if !fits(&state.first) || !(fits(&state.second) || state.second.is_empty()) {
            return Err(Error::new("the optimiser's moments do not fit the network"));
        }
        self.first.clone_from(&state.first);
        if !state.second.is_empty() {
            self.second.clone_from(&state.second);
        }
        self.progress = Progress {
            steps: u32::try_from(state.step)
                .map_err(|_| Error::new("more than 2^32 minibatches were trained"))?,
            learning_rate: state.learning_rate,
            beta1_power: state.beta1_power,
            beta2_power: state.beta2_power,
        };
        Ok(())
    }

    fn set_learning_rate(&mut self, rate: f32) -> Result<()> {
        self.progress.learning_rate = rate;
        Ok(())
    }

    fn counters(&mut self) -> Result<Counters> {
        Ok(self.counters)
    }
}
