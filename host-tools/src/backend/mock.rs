//! The four on-chip programs on the host model of the chip.

use std::ops::Range;

use eventprop_core::log::{Event, EventLog};
use eventprop_core::loss::{Outcome, SILENT};
use eventprop_core::numeric::Statistics;
use eventprop_core::program::input::{Input, sample};
use eventprop_core::program::layer::Layer;
use eventprop_core::program::loss::{FirstSpike, Loss, SampleResult};
use eventprop_core::program::memory::Region;
use eventprop_core::program::optimizer::{Home, Optimizer, ProgressBlock};
use eventprop_core::program::{Fault, Mode, Program as _, Progress, Run, Status, Waiting};
use eventprop_core::tables::Coefficients;
use s2_hal::dma::Address;
use s2_hal::mock::fault::FaultPlan;
use s2_hal::mock::{self, Chip, RunError};
use s2_hal::router::Router as _;
use s2_hal::topology::PeId;

use super::model::{
    Model, TallyBuilder, Vectorised, add_statistics, check_sample, core_event, loss_to_f64,
};
use super::{
    Backend, Counters, EncodedSample, LayerGradient, LayerWeights, OptimizerState, Packets, Setup,
    Spike, SpikeRecord, Split, Tally,
};
use crate::error::{Error, Result};
use crate::mapping::{self, DATA_BYTES, DATA_OFFSET, Mapping, Placement, Role, SampleLimits};

/// Samples that [`Backend::predict`] gives to the chip at a time.
const SCRATCH_SAMPLES: usize = 1024;
/// Where data starts in DRAM: behind the reserved window.
const DRAM_START: usize = 0x1000;
/// Where it must end: DMA may not cross into the second half.
const DRAM_END: usize = s2_hal::dma::DRAM_HALF as usize;

/// The backend of that name.
pub struct Mock {
    model: Model,
    mapping: Mapping,
    chip: Chip,
    programs: Vec<(PeId, OnChip)>,
    memory: Dram,
    /// Samples of each split.
    lengths: [usize; 3],
    /// A fault has left the chip in no defined state.
    failed: bool,
    /// What the chip had counted when a run was not to count.
    spikes: Vec<u64>,
}

/// Where things are in the chip's DRAM.
struct Dram {
    splits: [usize; 3],
    scratch: usize,
    order: usize,
    results: usize,
    stride: usize,
}

/// A program of `eventprop-core` as the model of the chip runs it.
struct OnChip {
    program: AnyProgram,
    kernels: Vectorised,
}

enum AnyProgram {
    Input(Box<Input>),
    Layer(Box<Layer>),
    Loss(Box<Loss>),
    Optimizer(Box<Optimizer>),
}

impl OnChip {
    fn new(program: &mapping::Program) -> std::result::Result<Self, Fault> {
        Ok(Self {
            program: match *program {
                mapping::Program::Input(config) => AnyProgram::Input(Input::new(config)?.into()),
                mapping::Program::Layer(config) => AnyProgram::Layer(Layer::new(config)?.into()),
                mapping::Program::Loss(config) => AnyProgram::Loss(Loss::new(config)?.into()),
                mapping::Program::Optimizer(config) => {
                    AnyProgram::Optimizer(Optimizer::new(config)?.into())
                }
            },
            kernels: Vectorised::default(),
        })
    }

    fn start(&mut self, run: Run, memory: &mut [u64]) -> std::result::Result<(), Fault> {
        match &mut self.program {
            AnyProgram::Input(program) => program.start(run, memory),
            AnyProgram::Layer(program) => program.start(run, memory),
            AnyProgram::Loss(program) => program.start(run, memory),
            AnyProgram::Optimizer(program) => program.start(run, memory),
        }
    }

    fn waiting(&self) -> Waiting {
        match &self.program {
            AnyProgram::Input(program) => program.waiting(),
            AnyProgram::Layer(program) => program.waiting(),
            AnyProgram::Loss(program) => program.waiting(),
            AnyProgram::Optimizer(program) => program.waiting(),
        }
    }
}

/// The part of a PE's SRAM that is its program's.
fn data(sram: &mut [u64]) -> &mut [u64] {
    let start = DATA_OFFSET / size_of::<u64>();
    &mut sram[start..start + DATA_BYTES / size_of::<u64>()]
}

impl mock::Program for OnChip {
    type Fault = Fault;

    fn poll(
        &mut self,
        memory: &mut [u64],
        pe: &mut mock::Pe<'_>,
    ) -> std::result::Result<mock::Progress, Fault> {
        let memory = data(memory);
        let progress = match &mut self.program {
            AnyProgram::Input(program) => program.poll(&self.kernels, memory, pe)?,
            AnyProgram::Layer(program) => program.poll(&self.kernels, memory, pe)?,
            AnyProgram::Loss(program) => program.poll(&self.kernels, memory, pe)?,
            AnyProgram::Optimizer(program) => program.poll(&self.kernels, memory, pe)?,
        };
        Ok(match progress {
            Progress::Worked => mock::Progress::Worked,
            Progress::Idle => mock::Progress::Idle,
            Progress::Done => mock::Progress::Done,
        })
    }
}

impl Mock {
    /// Places the network on a model of the chip, with weights of zero.
    ///
    /// # Errors
    /// What does not fit the chip, with the numbers.
    pub fn new(setup: Setup) -> Result<Self> {
        Self::with_faults(setup, FaultPlan::default())
    }

    /// As [`new`](Self::new), on a chip where things go wrong.
    ///
    /// # Errors
    /// As there.
    pub fn with_faults(setup: Setup, faults: FaultPlan) -> Result<Self> {
        let model = Model::new(&setup)?;
        let splits = [&setup.sets.train, &setup.sets.validation, &setup.sets.test];
        let limits = limits(splits.iter().flat_map(|split| split.iter()));
        let settings = &setup.experiment.backend;
        let mapping = Mapping::new(&model, settings, limits)?;
        let mut chip = Chip::new(mock::Config {
            seed: settings.delivery_seed,
            // A run ends when all programs are done or stand still; time alone is no reason.
            time_limit: u64::MAX / 2,
            faults,
            ..mock::Config::default()
        });
        chip.load(&mapping.entries).map_err(|error| {
            Error::new(format!(
                "the router refused its {} entries: {error}",
                mapping.entries.len()
            ))
        })?;

        let lengths = splits.map(Vec::len);
        let memory = Dram::new(lengths, limits)?;
        let mut programs = Vec::new();
        for Placement { pe, role, program } in &mapping.placements {
            chip.set_ring_words(*pe, program.ring_words());
            let on_chip = OnChip::new(program)
                .map_err(|fault| Error::new(format!("{pe}, {role}: {fault}")))?;
            programs.push((*pe, on_chip));
        }
        let dims = model.dims.len();
        let mut this = Self {
            model,
            mapping,
            chip,
            programs,
            memory,
            lengths,
            failed: false,
            spikes: vec![0; dims],
        };
        for (split, at) in splits.iter().zip(this.memory.splits) {
            this.write_samples(at, split.iter())?;
        }
        this.load_constants()?;
        let weights = this.model.no_weights();
        this.set_weights(&weights)?;
        Ok(this)
    }

    /// What runs where.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The chip, for a look at its counters.
    #[must_use]
    pub fn chip(&self) -> &Chip {
        &self.chip
    }

    /// Writes tables, the optimiser's directory and its first learning rate.
    fn load_constants(&mut self) -> Result<()> {
        let (mapping, chip) = (&self.mapping, &mut self.chip);
        for placement in &mapping.placements {
            if let mapping::Program::Layer(config) = placement.program {
                write::<Coefficients>(
                    chip,
                    placement.pe,
                    config.layout().table,
                    &self.model.table,
                )?;
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

    /// Writes samples one after another from a place in DRAM on.
    fn write_samples<'s>(
        &mut self,
        at: usize,
        samples: impl Iterator<Item = &'s EncodedSample>,
    ) -> Result<()> {
        let words = self.memory.stride / size_of::<u32>();
        let mut block = vec![0u32; words];
        for (n, sample) in samples.enumerate() {
            block.fill(0);
            block[0] = sample::head(sample.events.len() as u16, sample.label.into());
            for (to, event) in block[sample::HEAD_WORDS..].iter_mut().zip(&sample.events) {
                *to = sample::event(event.step, core_event(event));
            }
            self.write_dram(at + n * self.memory.stride, &block)?;
        }
        Ok(())
    }

    fn write_dram(&mut self, at: usize, words: &[u32]) -> Result<()> {
        self.chip
            .write(dram(at), bytemuck::cast_slice(words))
            .map_err(|error| Error::new(error.to_string()))
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
        for (pe, program) in &mut self.programs {
            program
                .start(run, self::data(self.chip.sram(*pe)))
                .map_err(|fault| Error::new(format!("{pe}: {fault}")))?;
        }
        if let Err(error) = self.chip.run(&mut self.programs) {
            self.failed = true;
            return Err(self.explain(error));
        }
        let mut results = vec![
            SampleResult {
                loss: 0,
                prediction: 0,
                label: 0,
                flags: 0
            };
            order.len()
        ];
        self.chip
            .read(
                dram(self.memory.results),
                bytemuck::cast_slice_mut(&mut results),
            )
            .map_err(|error| Error::new(error.to_string()))?;
        Ok(results.iter().map(outcome).collect())
    }

    /// Says which PE stopped, what it does, and what it or its neighbours wait for.
    fn explain(&self, error: RunError<Fault>) -> Error {
        let role = |pe: PeId| self.mapping.describe(pe.noc_id());
        let named = |source: Option<u8>| {
            source.map_or(String::new(), |n| {
                format!(" (source {n} is {})", self.mapping.describe(n))
            })
        };
        match error {
            RunError::Fault { pe, fault } => {
                Error::new(format!("{fault}{}", named(fault.source()))).at(role(pe))
            }
            RunError::Stalled { waiting } | RunError::TimeLimit { waiting, .. } => {
                let programs = self.programs.iter().filter(|(pe, _)| waiting.contains(pe));
                let mut causes: Vec<_> = programs
                    .map(|(pe, program)| {
                        let counters = self.chip.pe_counters(*pe);
                        let ignored = counters.delivered - counters.received;
                        let what = program.waiting();
                        let text = if ignored > 0 || what == Waiting::Nothing {
                            format!(
                                "{} does not respond, {ignored} packets wait for it",
                                role(*pe)
                            )
                        } else {
                            format!("{} waits for {what}{}", role(*pe), named(what.source()))
                        };
                        // What stands first is nearest to the cause: the others wait for it.
                        let rank = match what {
                            _ if ignored > 0 => 0,
                            Waiting::Nothing => 0,
                            Waiting::Events { .. } => 1,
                            Waiting::Marker { arrived: 1.., .. } => 2,
                            Waiting::Marker { .. } => 3,
                            Waiting::Acknowledgement { .. } => 4,
                            Waiting::Gradients { .. } => 5,
                            _ => 6,
                        };
                        (rank, text)
                    })
                    .collect();
                causes.sort_by_key(|&(rank, _)| rank);
                let more = causes.len().saturating_sub(8);
                causes.truncate(8);
                let texts: Vec<_> = causes.into_iter().map(|(_, text)| text).collect();
                let mut message = format!("no packet moves any more: {}", texts.join("; "));
                if more > 0 {
                    message += &format!("; and {more} more");
                }
                Error::new(message).at("chip")
            }
            other => Error::new(other.to_string()).at("chip"),
        }
    }

    /// Adds what programs have counted: spikes per layer since the last call.
    fn take_spikes(&mut self) -> Result<Vec<u64>> {
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
        Ok(read(&self.chip, placement.pe, region)?[0])
    }

    /// Runs samples that stand in the scratch part of DRAM.
    fn run_scratch(&mut self, samples: &[EncodedSample]) -> Result<Vec<Outcome>> {
        for sample in samples {
            check_sample(&self.model, sample)?;
            let most = self.memory.stride / size_of::<u32>() - sample::HEAD_WORDS;
            if sample.events.len() > most {
                return Err(Error::new(format!(
                    "a sample of {} events; the chip was set up for at most {most}",
                    sample.events.len()
                )));
            }
        }
        let mut outcomes = Vec::with_capacity(samples.len());
        for chunk in samples.chunks(SCRATCH_SAMPLES) {
            self.write_samples(self.memory.scratch, chunk.iter())?;
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
        let values = read(&self.chip, pe, region)?;
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
            .at("dataset"));
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
        loss: flag(SampleResult::HAS_LOSS).then_some(result.loss),
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

fn read<T: bytemuck::Pod>(chip: &Chip, pe: PeId, region: Region<T>) -> Result<Vec<T>> {
    let mut values = vec![T::zeroed(); region.len];
    chip.read(address(pe, region)?, bytemuck::cast_slice_mut(&mut values))
        .map_err(|error| Error::new(error.to_string()))?;
    Ok(values)
}

fn write<T: bytemuck::Pod>(
    chip: &mut Chip,
    pe: PeId,
    region: Region<T>,
    values: &[T],
) -> Result<()> {
    assert!(values.len() <= region.len);
    chip.write(address(pe, region)?, bytemuck::cast_slice(values))
        .map_err(|error| Error::new(error.to_string()))
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

impl Backend for Mock {
    fn name(&self) -> &'static str {
        "mock"
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
            let mut events = read::<Event>(&self.chip, pe, layout.events)?;
            let mut ends = read(&self.chip, pe, layout.ends)?;
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
        let first = read::<FirstSpike>(&self.chip, loss.0, loss.1)?;
        Ok(SpikeRecord {
            layers,
            first_spikes: first
                .iter()
                .map(|first| (first.ticks != SILENT).then_some(first.ticks))
                .collect(),
            loss: outcome.loss.map(loss_to_f64),
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
        write(&mut self.chip, pe, config.layout().weights, &values)?;
        for replica in 0..self.mapping.replicas {
            let mut at = 0;
            let homes = (1..=self.model.layers())
                .flat_map(|layer| self.mapping.layer(replica, layer))
                .zip(&parts);
            for (placement, &padded) in homes {
                let layout = layer_config(placement).layout();
                write(
                    &mut self.chip,
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
                    let part = read(&self.chip, placement.pe, config.layout().gradient)?;
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
        let progress = read(&self.chip, pe, layout.progress)?[0];
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
        write(&mut self.chip, pe, layout.first, &first)?;
        if let Some(second) = second {
            write(&mut self.chip, pe, layout.second, &second)?;
        }
        let progress = ProgressBlock {
            steps: u32::try_from(state.step)
                .map_err(|_| Error::new("more than 2^32 minibatches were trained"))?,
            learning_rate: state.learning_rate,
            beta1_power: state.beta1_power,
            beta2_power: state.beta2_power,
        };
        write(&mut self.chip, pe, layout.progress, &[progress])
    }

    fn set_learning_rate(&mut self, rate: f32) -> Result<()> {
        let (pe, config) = optimizer(&self.mapping);
        let region = config.layout().progress;
        let progress = read(&self.chip, pe, region)?[0];
        let progress = ProgressBlock {
            learning_rate: rate,
            ..progress
        };
        write(&mut self.chip, pe, region, &[progress])
    }

    fn counters(&mut self) -> Result<Counters> {
        let mut counters = Counters::default();
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
