//! The four on-chip programs on a chip, whatever executes them: what the host does is the same for the
//! model, for emulated PEs and for a board.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bsp::record::{Cause, Record};
use bsp::specification::Image;
use eventprop_core::log::{Event, EventLog};
use eventprop_core::loss::{Outcome, SILENT};
use eventprop_core::numeric::Statistics;
use eventprop_core::program::input::sample;
use eventprop_core::program::loss::{FirstSpike, SampleResult};
use eventprop_core::program::memory::Region;
use eventprop_core::program::optimizer::{Home, ProgressBlock};
use eventprop_core::program::{Mode, Run, Status, Waiting};
use eventprop_core::tables::Scheme;
use s2_hal::dma::Address;
use s2_hal::topology::PeId;

use super::model::{Model, TallyBuilder, add_statistics, check_sample, core_event, loss_to_f64};
use super::{
    Backend, Counters, EncodedSample, LayerGradient, LayerWeights, OptimizerState, Packets, Setup,
    Spike, SpikeRecord, Split, Tally,
};
use crate::error::{Error, Result};
use crate::mapping::{self, DATA_OFFSET, Mapping, Placement, Role, SampleLimits};

/// Samples that [`Backend::predict`] gives to the chip at a time.
const SCRATCH_SAMPLES: usize = 1024;
/// Where data starts in DRAM: behind the reserved window, and what the backend `board` notes behind that.
const DRAM_START: usize = 0x1000;
/// Bytes of samples that are put together before they are written.
const PIECE_BYTES: usize = 1 << 24;
/// Where it must end: DMA may not cross into the second half.
const DRAM_END: usize = s2_hal::dma::DRAM_HALF as usize;

/// A chip with the programs of a mapping on it.
pub trait Executor {
    /// Name of the backend.
    fn name(&self) -> &'static str;

    /// Copies from the chip.
    ///
    /// # Errors
    /// If the bytes do not all lie in one memory of the chip, or cannot be had.
    fn read(&self, address: Address, into: &mut [u8]) -> Result<()>;

    /// Copies to the chip.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn write(&mut self, address: Address, from: &[u8]) -> Result<()>;

    /// Loads the programs, unless that is done, and lets them get ready. The samples stand in DRAM.
    ///
    /// # Errors
    /// Which PE does not get ready, and why.
    fn launch(&mut self, _mapping: &Mapping) -> Result<()> {
        Ok(())
    }

    /// Lets all programs do a run.
    ///
    /// # Errors
    /// Which PE stopped, or waits, and why. The chip is in no defined state then.
    fn run(&mut self, mapping: &Mapping, run: Run) -> Result<()>;
}

/// How far from the cause of a standstill a program is that waits: the others wait for the one with the
/// least rank.
pub(super) fn rank(waiting: &Waiting) -> usize {
    match waiting {
        Waiting::Nothing => 0,
        Waiting::Events { .. } => 1,
        Waiting::Marker { arrived: 1.., .. } => 2,
        Waiting::Marker { .. } => 3,
        Waiting::Acknowledgement { .. } => 4,
        Waiting::Gradients { .. } => 5,
        _ => 6,
    }
}

/// What stopped the programs whose records these are, if any has stopped: the eight that are nearest to the
/// cause. Of programs that stop, those that only waited too long come last, and wait for those before them.
pub(super) fn causes<'p>(
    mapping: &Mapping,
    records: impl Iterator<Item = (&'p Placement, Record)>,
) -> Option<Error> {
    let stopped =
        records.filter(|(_, record)| record.status().is_some_and(bsp::record::Status::is_stopped));
    let mut causes: Vec<_> = stopped
        .map(|(placement, record)| {
            let waiting = match record.cause() {
                Some(Cause::TimeOut(waiting)) => Some(waiting),
                _ => None,
            };
            let source = waiting.and_then(|waiting| waiting.source());
            let named = source.map_or(String::new(), |n| {
                format!(" (source {n} is {})", mapping.describe(n))
            });
            let text = format!("{record}, {}{named}", placement.role);
            (waiting.map(|waiting| rank(&waiting)), text)
        })
        .collect();
    causes.sort_by_key(|&(rank, _)| rank);
    let texts: Vec<_> = causes.into_iter().take(8).map(|(_, text)| text).collect();
    (!texts.is_empty()).then(|| Error::new(texts.join("; ")).at("chip"))
}

/// The file of a firmware image.
pub(super) fn image_file(folder: &Path, image: Image) -> PathBuf {
    folder.join(image.name())
}

/// What to do about an image that cannot be used.
pub(super) const IMAGE_HINT: &str = "build the images with `cargo run --release -- firmware`, or name their folder in backend.firmware";

/// A backend that has a chip execute the programs.
pub struct OnChip<E> {
    model: Model,
    mapping: Mapping,
    pub(super) executor: E,
    memory: Dram,
    /// Of the samples that the programs take.
    limits: SampleLimits,
    /// Samples of each split.
    lengths: [usize; 3],
    /// A fault has left the chip in no defined state.
    failed: bool,
    /// What the chip had counted when a run was not to count.
    spikes: Vec<u64>,
    /// A run has ended, so the programs have written what they count.
    counted: bool,
}

/// Where things are in the chip's DRAM.
struct Dram {
    splits: [usize; 3],
    scratch: usize,
    order: usize,
    results: usize,
    stride: usize,
}

impl<E: Executor> OnChip<E> {
    /// Places the network on a chip, with weights of zero.
    ///
    /// # Errors
    /// What does not fit the chip, with the numbers.
    pub(super) fn with_executor(
        setup: &Setup,
        executor: impl FnOnce(&Mapping) -> Result<E>,
    ) -> Result<Self> {
        let mut this = Self::on_loaded(setup, executor)?;
        let sets = &setup.sets;
        this.write_samples(
            this.memory.splits,
            [&sets.train[..], &sets.validation, &sets.test],
        )?;
        this.executor.launch(&this.mapping)?;
        this.load_constants()?;
        let weights = this.model.no_weights();
        this.set_weights(&weights)?;
        Ok(this)
    }

    /// As [`with_executor`](Self::with_executor), for a chip that holds all of it already.
    ///
    /// # Errors
    /// As there.
    pub(super) fn on_loaded(
        setup: &Setup,
        executor: impl FnOnce(&Mapping) -> Result<E>,
    ) -> Result<Self> {
        let model = Model::new(setup)?;
        let splits = [&setup.sets.train, &setup.sets.validation, &setup.sets.test];
        let of_data = limits(splits.iter().flat_map(|split| split.iter()));
        let settings = &setup.experiment.backend;
        // Samples that nobody has seen yet may have a spike of every channel in one step. Where there is no
        // room for that, those of the data sets are run at least.
        let of_any = of_data.or_all_at_once(model.dims[0]);
        let (mapping, limits) = match Mapping::new(&model, settings, of_any) {
            Ok(mapping) => (mapping, of_any),
            Err(_) => (Mapping::new(&model, settings, of_data)?, of_data),
        };
        let lengths = splits.map(Vec::len);
        let memory = Dram::new(lengths, limits)?;
        let executor = executor(&mapping)?;
        let dims = model.dims.len();
        Ok(Self {
            model,
            mapping,
            executor,
            memory,
            limits,
            lengths,
            failed: false,
            spikes: vec![0; dims],
            counted: false,
        })
    }

    /// What runs where.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Writes tables, the optimiser's directory and its first learning rate.
    fn load_constants(&mut self) -> Result<()> {
        let (mapping, chip) = (&self.mapping, &mut self.executor);
        for placement in &mapping.placements {
            if let mapping::Program::Layer(config) = placement.program {
                let (pe, layout, model) = (placement.pe, config.layout(), &self.model);
                write(chip, pe, layout.ticks, &model.ticks)?;
                if config.scheme == Scheme::Exact {
                    write(chip, pe, layout.runs, &model.runs)?;
                    write(chip, pe, layout.peaks, &model.peaks)?;
                }
            }
        }
        let (pe, config) = optimizer(mapping);
        let mut homes = Vec::new();
        for replica in 0..mapping.replicas {
            let silent_labels = mapping
                .placements
                .iter()
                .find_map(|placement| match (placement.role, placement.program) {
                    (Role::Loss { replica: r }, mapping::Program::Loss(config)) if r == replica => {
                        Some(address(placement.pe, config.layout().silent_labels))
                    }
                    _ => None,
                })
                .expect("every replica has a loss PE")?;
            for layer in 1..=self.model.layers() {
                for placement in mapping.layer(replica, layer) {
                    let layout = layer_config(placement).layout();
                    homes.push(Home {
                        weights: address(placement.pe, layout.weights)?.0,
                        gradient: address(placement.pe, layout.gradient)?.0,
                        spike_counts: address(placement.pe, layout.spike_counts)?.0,
                        silent_labels: silent_labels.0,
                    });
                }
            }
        }
        let layout = config.layout();
        write(chip, pe, layout.homes, &homes)?;
        let progress = ProgressBlock {
            steps: 0,
            learning_rate: self.model.learning_rate,
            beta1_power: 1.0,
            beta2_power: 1.0,
        };
        write(chip, pe, layout.progress, &[progress])
    }

    /// Writes samples one after another, each slice from its place in DRAM on.
    fn write_samples<const N: usize>(
        &mut self,
        places: [usize; N],
        samples: [&[EncodedSample]; N],
    ) -> Result<()> {
        let stride = self.memory.stride;
        for (place, samples) in places.into_iter().zip(samples) {
            let most = (PIECE_BYTES / stride).max(1);
            for (n, samples) in samples.chunks(most).enumerate() {
                let mut words = vec![0u32; samples.len() * stride / size_of::<u32>()];
                let blocks = words.chunks_mut(stride / size_of::<u32>());
                for (block, sample) in blocks.zip(samples) {
                    block[0] = sample::head(sample.events.len() as u16, sample.label.into());
                    let events = &mut block[sample::HEAD_WORDS..];
                    for (to, event) in events.iter_mut().zip(&sample.events) {
                        *to = sample::event(event.step, core_event(event));
                    }
                }
                self.write_dram(place + n * most * stride, &words)?;
            }
        }
        Ok(())
    }

    fn write_dram(&mut self, at: usize, words: &[u32]) -> Result<()> {
        self.executor.write(dram(at), bytemuck::cast_slice(words))
    }

    /// Runs samples (their numbers within the data at `data`) and returns what became of each.
    fn run(
        &mut self,
        mode: Mode,
        order: &[u32],
        batch: usize,
        data: usize,
    ) -> Result<Vec<Outcome>> {
        if self.failed {
            return Err(Error::new(
                "the chip stopped in a fault before and must be loaded anew",
            ));
        }
        if order.is_empty() {
            return Ok(Vec::new());
        }
        let mut padded = order.to_vec();
        padded.resize(order.len().next_multiple_of(4), 0);
        self.write_dram(self.memory.order, &padded)?;
        let run = Run {
            mode,
            samples: order.len() as u32,
            batch: batch as u32,
            order: dram(self.memory.order),
            data: dram(data),
            stride: self.memory.stride as u32,
            results: dram(self.memory.results),
        };
        if let Err(error) = self.executor.run(&self.mapping, run) {
            self.failed = true;
            return Err(error);
        }
        self.counted = true;
        let mut results = vec![
            SampleResult {
                loss: 0,
                prediction: 0,
                label: 0,
                flags: 0
            };
            order.len()
        ];
        self.executor.read(
            dram(self.memory.results),
            bytemuck::cast_slice_mut(&mut results),
        )?;
        Ok(results.iter().map(outcome).collect())
    }

    /// Adds what programs have counted: spikes per layer since the last call.
    pub(super) fn take_spikes(&mut self) -> Result<Vec<u64>> {
        let mut now = vec![0; self.model.dims.len()];
        for placement in &self.mapping.placements {
            let layer = match placement.role {
                Role::Input { .. } => 0,
                Role::Layer { layer, .. } => layer,
                Role::Loss { .. } | Role::Optimizer => continue,
            };
            now[layer] += self.status(placement)?.spikes;
        }
        let new = now
            .iter()
            .zip(&self.spikes)
            .map(|(now, before)| now - before)
            .collect();
        self.spikes = now;
        Ok(new)
    }

    fn status(&self, placement: &Placement) -> Result<Status> {
        let region = match &placement.program {
            mapping::Program::Input(config) => config.layout().status,
            mapping::Program::Layer(config) => config.layout().status,
            mapping::Program::Loss(config) => config.layout().status,
            mapping::Program::Optimizer(config) => config.layout().status,
        };
        Ok(read(&self.executor, placement.pe, region)?[0])
    }

    /// Runs samples that stand in the scratch part of DRAM.
    fn run_scratch(&mut self, samples: &[EncodedSample]) -> Result<Vec<Outcome>> {
        for sample in samples {
            check_sample(&self.model, sample)?;
            let SampleLimits {
                events,
                events_per_step,
            } = limits(std::iter::once(sample));
            let most = self.limits;
            if events > most.events || events_per_step > most.events_per_step {
                return Err(Error::new(format!(
                    "a sample of {events} events, up to {events_per_step} of them in one step; the chip \
                     was set up for samples of at most {} and {}, which are all that the data sets hold",
                    most.events, most.events_per_step
                ))
                .hint(
                    "more takes more memory for what arrives: use fewer features or hidden neurons, \
                     or more of backend.layer_pes",
                ));
            }
        }
        let mut outcomes = Vec::with_capacity(samples.len());
        for chunk in samples.chunks(SCRATCH_SAMPLES) {
            self.write_samples([self.memory.scratch], [chunk])?;
            let order: Vec<_> = (0..chunk.len() as u32).collect();
            let chunk = self.run(Mode::Evaluate, &order, order.len(), self.memory.scratch)?;
            outcomes.extend(chunk);
        }
        Ok(outcomes)
    }

    /// Calls `part` for the PEs of the first replica that hold weights: layer, configuration, PE.
    fn parts(&self) -> impl Iterator<Item = (usize, eventprop_core::program::layer::Config, PeId)> {
        (1..=self.model.layers()).flat_map(move |layer| {
            self.mapping
                .layer(0, layer)
                .map(move |placement| (layer - 1, *layer_config(placement), placement.pe))
        })
    }

    /// Gathers values that the optimiser holds, part by part, to `[pre][post]` per layer.
    fn gather<T: bytemuck::Pod + Default>(&self, region: Region<T>) -> Result<Vec<Vec<T>>> {
        let (pe, config) = optimizer(&self.mapping);
        let values = read(&self.executor, pe, region)?;
        let mut layers: Vec<Vec<T>> = (0..self.model.layers())
            .map(|layer| {
                let (inputs, neurons) = self.model.shape(layer);
                vec![T::default(); inputs * neurons]
            })
            .collect();
        let mut at = 0;
        for ((layer, part, _), padded) in
            self.parts().zip(config.parts().iter().map(|p| p.padded()))
        {
            let width = self.model.shape(layer).1;
            for (input, row) in values[at..]
                .chunks(part.neurons)
                .take(part.inputs)
                .enumerate()
            {
                let to = input * width + part.first_neuron;
                layers[layer][to..to + part.neurons].copy_from_slice(row);
            }
            at += padded;
        }
        Ok(layers)
    }

    /// The inverse of [`gather`](Self::gather): values in the optimiser's order.
    fn scatter<T: bytemuck::Pod + Default>(&self, layers: &[Vec<T>]) -> Vec<T> {
        let (_, config) = optimizer(&self.mapping);
        let mut values = Vec::new();
        for ((layer, part, _), padded) in
            self.parts().zip(config.parts().iter().map(|p| p.padded()))
        {
            let width = self.model.shape(layer).1;
            let start = values.len();
            for row in layers[layer].chunks(width) {
                values.extend_from_slice(&row[part.first_neuron..][..part.neurons]);
            }
            values.resize(start + padded, T::default());
        }
        values
    }
}

impl Dram {
    fn new(lengths: [usize; 3], limits: SampleLimits) -> Result<Self> {
        let stride = sample::stride(limits.events);
        let longest = lengths.into_iter().max().unwrap_or(0).max(SCRATCH_SAMPLES);
        let mut end = DRAM_START;
        let mut take = |bytes: usize| {
            let at = end;
            end += bytes.next_multiple_of(16);
            at
        };
        let this = Self {
            splits: lengths.map(|samples| take(samples * stride)),
            scratch: take(SCRATCH_SAMPLES * stride),
            order: take(longest * size_of::<u32>()),
            results: take(longest * size_of::<SampleResult>()),
            stride,
        };
        if end > DRAM_END {
            return Err(Error::new(format!(
                "{} samples of up to {} events take {end} bytes; half of the chip's DRAM is {DRAM_END}",
                lengths.iter().sum::<usize>(),
                limits.events
            ))
            .at("dataset")
            .hint(format!(
                "some {} samples fit in all; `backend.kind = \"direct\"` has no such limit",
                (DRAM_END - DRAM_START) / (stride + 32) / 1000 * 1000
            )));
        }
        Ok(this)
    }
}

/// The most events of any sample, and of any step of one.
fn limits<'s>(samples: impl Iterator<Item = &'s EncodedSample>) -> SampleLimits {
    let mut limits = SampleLimits {
        events: 1,
        events_per_step: 1,
    };
    for sample in samples {
        limits.events = limits.events.max(sample.events.len());
        for step in sample.events.chunk_by(|a, b| a.step == b.step) {
            limits.events_per_step = limits.events_per_step.max(step.len());
        }
    }
    limits
}

fn outcome(result: &SampleResult) -> Outcome {
    let flag = |bit| result.flags & bit != 0;
    Outcome {
        loss: result.loss,
        prediction: (result.prediction != SampleResult::NONE).then_some(result.prediction),
        correct: flag(SampleResult::CORRECT),
        correct_with_ties: flag(SampleResult::CORRECT_WITH_TIES),
        label_silent: flag(SampleResult::LABEL_SILENT),
    }
}

fn dram(at: usize) -> Address {
    u32::try_from(at)
        .ok()
        .and_then(Address::dram)
        .expect("checked to be within the first half")
}

/// Chip address of a region of a PE's data memory.
fn address<T>(pe: PeId, region: Region<T>) -> Result<Address> {
    u32::try_from(DATA_OFFSET + region.offset)
        .ok()
        .and_then(|offset| Address::pe_sram(pe, offset))
        .ok_or_else(|| Error::new(format!("{pe} has no memory at offset {}", region.offset)))
}

fn read<T: bytemuck::Pod>(chip: &impl Executor, pe: PeId, region: Region<T>) -> Result<Vec<T>> {
    let mut values = vec![T::zeroed(); region.len];
    chip.read(address(pe, region)?, bytemuck::cast_slice_mut(&mut values))?;
    Ok(values)
}

fn write<T: bytemuck::Pod>(
    chip: &mut impl Executor,
    pe: PeId,
    region: Region<T>,
    values: &[T],
) -> Result<()> {
    assert!(values.len() <= region.len);
    chip.write(address(pe, region)?, bytemuck::cast_slice(values))
}

fn optimizer(mapping: &Mapping) -> (PeId, &eventprop_core::program::optimizer::Config) {
    match mapping.placements.last() {
        Some(Placement {
            pe,
            program: mapping::Program::Optimizer(config),
            ..
        }) => (*pe, config),
        _ => unreachable!("the optimiser is placed last"),
    }
}

fn layer_config(placement: &Placement) -> &eventprop_core::program::layer::Config {
    match &placement.program {
        mapping::Program::Layer(config) => config,
        _ => unreachable!("the role says that it is a layer"),
    }
}

impl<E: Executor> Backend for OnChip<E> {
    fn name(&self) -> &'static str {
        self.executor.name()
    }

    fn train(&mut self, order: &[u32], batch: usize) -> Result<Tally> {
        let outcomes = self.run(Mode::Train, order, batch, self.memory.splits[0])?;
        let mut tally = TallyBuilder::default();
        outcomes.iter().for_each(|outcome| tally.add(outcome));
        Ok(tally.finish(self.take_spikes()?))
    }

    fn evaluate(&mut self, split: Split, samples: Range<usize>) -> Result<Tally> {
        let split = match split {
            Split::Train => 0,
            Split::Validation => 1,
            Split::Test => 2,
        };
        assert!(samples.end <= self.lengths[split], "samples of the split");
        let order: Vec<_> = samples.map(|n| n as u32).collect();
        let outcomes = self.run(
            Mode::Evaluate,
            &order,
            order.len(),
            self.memory.splits[split],
        )?;
        let mut tally = TallyBuilder::default();
        outcomes.iter().for_each(|outcome| tally.add(outcome));
        Ok(tally.finish(self.take_spikes()?))
    }

    fn record(&mut self, sample: &EncodedSample) -> Result<SpikeRecord> {
        let outcome = self.run_scratch(std::slice::from_ref(sample))?[0];
        self.take_spikes()?;
        let input = sample.events.iter().map(|event| Spike {
            step: event.step,
            offset: event.offset,
            neuron: event.channel,
        });
        let mut layers = vec![Vec::new(); self.model.dims.len()];
        layers[0] = input.collect();
        for (layer, config, pe) in self.parts() {
            let layout = config.layout();
            let mut ends = read(&self.executor, pe, layout.ends)?;
            // The others are what memory happens to hold.
            let spikes = ends.last().map_or(0, |&end: &u32| end as usize);
            let mut events = read::<Event>(&self.executor, pe, layout.events.front(spikes))?;
            let (mut slopes, mut errors) = (vec![0; events.len()], vec![0; events.len()]);
            let steps = self.model.steps;
            let log = EventLog::resume(&mut events, &mut slopes, &mut errors, &mut ends, steps);
            for step in 0..steps {
                layers[layer + 1].extend(log.events(step).iter().map(|event| Spike {
                    step: step as u16,
                    offset: event.offset,
                    neuron: event.neuron + config.first_neuron as u16,
                }));
            }
        }
        layers.iter_mut().for_each(|layer| layer.sort_unstable());
        let loss = self
            .mapping
            .placements
            .iter()
            .find_map(|placement| match (placement.role, placement.program) {
                (Role::Loss { replica: 0 }, mapping::Program::Loss(config)) => {
                    Some((placement.pe, config.layout().first))
                }
                _ => None,
            })
            .expect("every replica has a loss PE");
        let first = read::<FirstSpike>(&self.executor, loss.0, loss.1)?;
        Ok(SpikeRecord {
            layers,
            first_spikes: first
                .iter()
                .map(|first| (first.ticks != SILENT).then_some(first.ticks))
                .collect(),
            loss: loss_to_f64(outcome.loss.into()),
        })
    }

    fn predict(&mut self, samples: &[EncodedSample]) -> Result<Vec<Option<u8>>> {
        let outcomes = self.run_scratch(samples)?;
        self.take_spikes()?;
        Ok(outcomes
            .iter()
            .map(|outcome| outcome.prediction.map(|p| p as u8))
            .collect())
    }

    fn weights(&mut self) -> Result<Vec<LayerWeights>> {
        let (_, config) = optimizer(&self.mapping);
        let layers = self.gather(config.layout().weights)?;
        Ok(layers
            .into_iter()
            .enumerate()
            .map(|(layer, values)| {
                let (inputs, neurons) = self.model.shape(layer);
                LayerWeights {
                    inputs,
                    neurons,
                    values,
                }
            })
            .collect())
    }

    fn set_weights(&mut self, weights: &[LayerWeights]) -> Result<()> {
        self.model.check_weights(weights)?;
        let layers: Vec<_> = weights.iter().map(|layer| layer.values.clone()).collect();
        let values = self.scatter(&layers);
        let (pe, config) = optimizer(&self.mapping);
        let parts: Vec<_> = config.parts().iter().map(|part| part.padded()).collect();
        write(&mut self.executor, pe, config.layout().weights, &values)?;
        for replica in 0..self.mapping.replicas {
            let mut at = 0;
            let homes = (1..=self.model.layers())
                .flat_map(|layer| self.mapping.layer(replica, layer))
                .zip(&parts);
            for (placement, &padded) in homes {
                let layout = layer_config(placement).layout();
                write(
                    &mut self.executor,
                    placement.pe,
                    layout.weights,
                    &values[at..at + padded],
                )?;
                at += padded;
            }
        }
        Ok(())
    }

    fn gradients(&mut self) -> Result<Vec<LayerGradient>> {
        let mut layers: Vec<_> = (0..self.model.layers())
            .map(|layer| {
                let (inputs, neurons) = self.model.shape(layer);
                LayerGradient {
                    inputs,
                    neurons,
                    values: vec![0; inputs * neurons],
                }
            })
            .collect();
        for replica in 0..self.mapping.replicas {
            for layer in 1..=self.model.layers() {
                let to = &mut layers[layer - 1];
                for placement in self.mapping.layer(replica, layer) {
                    let config = layer_config(placement);
                    let part = read(&self.executor, placement.pe, config.layout().gradient)?;
                    let rows = part.chunks(config.neurons).take(config.inputs);
                    for (row, all) in rows.zip(to.values.chunks_mut(to.neurons)) {
                        for (sum, g) in all[config.first_neuron..].iter_mut().zip(row) {
                            *sum += g;
                        }
                    }
                }
            }
        }
        Ok(layers)
    }

    fn optimizer_state(&mut self) -> Result<OptimizerState> {
        let (pe, config) = optimizer(&self.mapping);
        let layout = config.layout();
        let progress = read(&self.executor, pe, layout.progress)?[0];
        Ok(OptimizerState {
            step: progress.steps.into(),
            first: self.gather(layout.first)?,
            second: self.gather(layout.second)?,
            learning_rate: progress.learning_rate,
            beta1_power: progress.beta1_power,
            beta2_power: progress.beta2_power,
        })
    }

    fn set_optimizer_state(&mut self, state: &OptimizerState) -> Result<()> {
        let fits = |moments: &[Vec<f32>]| {
            moments.len() == self.model.layers()
                && moments.iter().enumerate().all(|(layer, moments)| {
                    let (inputs, neurons) = self.model.shape(layer);
                    moments.len() == inputs * neurons
                })
        };
        if !fits(&state.first) || !(fits(&state.second) || state.second.is_empty()) {
            return Err(Error::new("the optimiser's moments do not fit the network"));
        }
        let first = self.scatter(&state.first);
        let second = if state.second.is_empty() {
            None
        } else {
            Some(self.scatter(&state.second))
        };
        let (pe, config) = optimizer(&self.mapping);
        let layout = config.layout();
        write(&mut self.executor, pe, layout.first, &first)?;
        if let Some(second) = second {
            write(&mut self.executor, pe, layout.second, &second)?;
        }
        let progress = ProgressBlock {
            steps: u32::try_from(state.step)
                .map_err(|_| Error::new("more than 2^32 minibatches were trained"))?,
            learning_rate: state.learning_rate,
            beta1_power: state.beta1_power,
            beta2_power: state.beta2_power,
        };
        write(&mut self.executor, pe, layout.progress, &[progress])
    }

    fn set_learning_rate(&mut self, rate: f32) -> Result<()> {
        let (pe, config) = optimizer(&self.mapping);
        let region = config.layout().progress;
        let progress = read(&self.executor, pe, region)?[0];
        let progress = ProgressBlock {
            learning_rate: rate,
            ..progress
        };
        write(&mut self.executor, pe, region, &[progress])
    }

    fn counters(&mut self) -> Result<Counters> {
        let mut counters = Counters::default();
        if !self.counted {
            return Ok(counters);
        }
        for placement in &self.mapping.placements {
            let status = self.status(placement)?;
            add_statistics(
                &mut counters,
                &Statistics {
                    saturations: status.saturations,
                    suppressed_spikes: status.suppressed_spikes,
                    smallest_slope: status.smallest_slope,
                },
            );
            let [forward, backward, control] = status.packets;
            counters.add(&Counters {
                packets: Packets {
                    forward,
                    backward,
                    control,
                },
                spike_digest: status.spike_digest,
                ..Counters::default()
            });
        }
        Ok(counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_exceed_dram_are_refused_with_the_numbers() {
        let limits = SampleLimits {
            events: 5,
            events_per_step: 2,
        };
        let memory = Dram::new([5000, 1000, 1000], limits).unwrap();
        // What is loaded as one piece must not have gaps that belong to something else.
        assert_eq!(memory.splits[1] - memory.splits[0], 5000 * memory.stride);
        let error = Dram::new([20_000_000, 10_000_000, 1], limits)
            .err()
            .unwrap();
        let text = error.to_string();
        let expected = "dataset: 30000001 samples of up to 5 events take ";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains(
                "half of the chip's DRAM is 1073741824\n  hint: some 16777000 samples fit"
            ),
            "{text}"
        );
    }
}
