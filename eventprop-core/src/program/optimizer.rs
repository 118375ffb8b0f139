//! The optimiser program: gathers the gradients of all replicas, updates the weights, sends them back.

use bytemuck::{Pod, Zeroable};
use s2_hal::dma::Address;
use s2_hal::packet::{Error as _, Fanout};
use s2_hal::topology::Destination;

use super::memory::{Cut, Plan, Region, check};
use super::stream::{open, receive};
use super::{
    Fault, Kernels, Mode, Platform, Program, Progress, Run, Status, Waiting, check_replica, offset,
    read, require, write,
};
use crate::event::{Direction, Envelope, Message, Source, Target, pack};
use crate::numeric::{Fits, MAX_NEURONS, STATE_FRACTION, Statistics};
use crate::optimizer::{self, Settings, Stretch, Update};

/// Most parts (PEs per replica that hold weights).
pub const MAX_PARTS: usize = 32;
/// Most QuadPEs that a release goes to.
pub const MAX_DESTINATIONS: usize = 38;
/// Weights that are updated at a time.
pub const CHUNK: usize = 256;

/// A stretch of the weights: those of one PE of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of the weight layer, from 0.
    pub layer: u8,
    /// Neurons of the layer above.
    pub inputs: u16,
    /// First neuron of the PE within its layer.
    pub first_neuron: u16,
    /// Neurons of the PE.
    pub neurons: u16,
    /// Whether the layer is the output.
    pub output: bool,
}

impl Part {
    const NONE: Self = Self {
        layer: 0,
        inputs: 0,
        first_neuron: 0,
        neurons: 0,
        output: false,
    };

    /// Number of weights.
    #[must_use]
    pub fn weights(&self) -> usize {
        usize::from(self.inputs) * usize::from(self.neurons)
    }

    /// Number of weights with the padding that DMA asks for.
    #[must_use]
    pub fn padded(&self) -> usize {
        self.weights().next_multiple_of(4)
    }
}

/// How releases reach all PEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Through the router.
    Router,
    /// To a list of destinations, of which the first so many count.
    Direct([Destination; MAX_DESTINATIONS], u8),
}

/// What the optimiser's PE is told when it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of this PE.
    pub source: Source,
    /// Replicas.
    pub replicas: u32,
    /// The PEs of a replica that hold weights.
    pub parts: [Part; MAX_PARTS],
    /// How many of `parts` count.
    pub parts_len: usize,
    /// Output neurons.
    pub outputs: usize,
    /// The PEs that report the end of a minibatch, a bit for each number.
    pub reporting: [u32; 8],
    /// How releases are sent.
    pub release: Release,
    /// Method and constants.
    pub settings: Settings,
}

/// The optimiser's progress, which the host reads, and writes before a run.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ProgressBlock {
    /// [`optimizer::Progress::steps`].
    pub steps: u32,
    /// [`optimizer::Progress::learning_rate`].
    pub learning_rate: f32,
    /// [`optimizer::Progress::beta1_power`].
    pub beta1_power: f32,
    /// [`optimizer::Progress::beta2_power`].
    pub beta2_power: f32,
}

/// Where a part of a replica lives, written by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Home {
    /// Chip address of the weights.
    pub weights: u32,
    /// Chip address of the gradient.
    pub gradient: u32,
    /// Chip address of the spike counts.
    pub spike_counts: u32,
    /// Chip address of the replica's silent-label counts.
    pub silent_labels: u32,
}

/// Where the optimiser's PE keeps what.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// What it counts.
    pub status: Region<Status>,
    /// Learning rate and powers.
    pub progress: Region<ProgressBlock>,
    /// `[replica][part]`.
    pub homes: Region<Home>,
    /// Weights of all parts, one after another, each padded.
    pub weights: Region<i32>,
    /// First moments, in the same order.
    pub first: Region<f32>,
    /// Second moments, in the same order.
    pub second: Region<f32>,
    bumps: Region<i32>,
    counts: Region<u32>,
    gradient: Region<i64>,
    sum: Region<i64>,
    /// Bytes of all.
    pub bytes: usize,
}

impl Layout {
    const EMPTY: Self = Self {
        status: Region::EMPTY,
        progress: Region::EMPTY,
        homes: Region::EMPTY,
        weights: Region::EMPTY,
        first: Region::EMPTY,
        second: Region::EMPTY,
        bumps: Region::EMPTY,
        counts: Region::EMPTY,
        gradient: Region::EMPTY,
        sum: Region::EMPTY,
        bytes: 0,
    };
}

impl Config {
    const EMPTY: Self = Self {
        source: 0,
        replicas: 0,
        parts: [Part::NONE; MAX_PARTS],
        parts_len: 0,
        outputs: 0,
        reporting: [0; 8],
        release: Release::Router,
        settings: Settings::NONE,
    };

    fn check(&self) -> Result<(), Fault> {
        check_replica(0, self.replicas)?;
        require(
            (1..=MAX_PARTS).contains(&self.parts_len),
            "a replica has 1 to 32 PEs with weights",
        )?;
        require(
            self.parts().iter().all(|part| {
                usize::from(part.inputs) <= MAX_NEURONS + 1
                    && usize::from(part.neurons) <= MAX_NEURONS
            }),
            "a layer has at most 4095 neurons and 4096 inputs",
        )?;
        require(
            (1..=MAX_NEURONS).contains(&self.outputs),
            "a network has 1 to 4095 outputs",
        )?;
        require(
            u32::from(self.settings.rounding.dropped_bits) <= STATE_FRACTION,
            "a weight has 20 fraction bits",
        )?;
        require(
            !matches!(self.release, Release::Direct(_, n) if usize::from(n) > MAX_DESTINATIONS),
            "a chip has 38 QuadPEs",
        )
    }

    /// The parts of a replica.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts[..self.parts_len]
    }

    /// Words of receive ring that the replicas can fill.
    #[must_use]
    pub fn ring_words(&self) -> usize {
        2 * self
            .reporting
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum::<usize>()
    }

    /// Places the program's memory.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let weights = self.parts().iter().map(Part::padded).sum();
        let widest = self
            .parts()
            .iter()
            .map(|part| usize::from(part.neurons))
            .max()
            .unwrap_or(0);
        let counts = widest.max(self.outputs).next_multiple_of(4);
        let mut plan = Plan::new();
        let mut layout = Layout {
            status: plan.region(1),
            progress: plan.region(1),
            homes: plan.region(self.replicas as usize * self.parts_len),
            weights: plan.region(weights),
            first: plan.region(weights),
            second: plan.region(weights),
            bumps: plan.region(widest),
            counts: plan.region(counts),
            gradient: plan.region(CHUNK),
            sum: plan.region(CHUNK),
            bytes: 0,
        };
        layout.bytes = plan.bytes();
        layout
    }
}

struct Memory<'m> {
    status: &'m mut [Status],
    progress: &'m mut [ProgressBlock],
    homes: &'m [Home],
    weights: &'m mut [i32],
    first: &'m mut [f32],
    second: &'m mut [f32],
    bumps: &'m mut [i32],
    counts: &'m mut [u32],
    gradient: &'m mut [i64],
    sum: &'m mut [i64],
}

impl<'m> Memory<'m> {
    fn new(layout: &Layout, memory: &'m mut [u64]) -> Self {
        let mut cut = Cut::new(memory);
        Self {
            status: cut.take(layout.status),
            progress: cut.take(layout.progress),
            homes: cut.take(layout.homes),
            weights: cut.take(layout.weights),
            first: cut.take(layout.first),
            second: cut.take(layout.second),
            bumps: cut.take(layout.bumps),
            counts: cut.take(layout.counts),
            gradient: cut.take(layout.gradient),
            sum: cut.take(layout.sum),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Done,
    /// Waits for the gradients of a minibatch.
    Collect,
    /// Works through the weights: which part, where it starts among all, and how far it is.
    Update {
        update: Update,
        part: usize,
        start: usize,
        position: usize,
    },
    /// Sends the release.
    Release,
}

/// The optimiser program.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: Config,
    layout: Layout,
    phase: Phase,
    samples: u32,
    batch: u32,
    minibatch: u32,
    updates: u32,
    reported: [u32; 8],
    status: Status,
}

impl Program for Optimizer {
    type Config = Config;

    const NAME: &'static str = "optimizer";

    fn check(config: &Config) -> Result<(), Fault> {
        config.check()
    }

    const EMPTY: Self = Self {
        config: Config::EMPTY,
        layout: Layout::EMPTY,
        phase: Phase::Done,
        samples: 0,
        batch: 0,
        minibatch: 0,
        updates: 0,
        reported: [0; 8],
        status: Status::EMPTY,
    };

    fn configure(&mut self, config: Config) {
        self.status = Status::NEW;
        self.config = config;
        self.layout = config.layout();
    }

    fn memory_bytes(config: &Config) -> usize {
        config.layout().bytes
    }

    fn ring_words(config: &Config) -> usize {
        config.ring_words()
    }

    fn start(&mut self, run: Run, memory: &mut [u64]) -> Result<(), Fault> {
        check(memory, self.layout.bytes)?;
        (self.samples, self.batch, self.minibatch) = (run.samples, run.batch.max(1), 0);
        self.phase = if run.mode == Mode::Train && run.samples > 0 {
            Phase::Collect
        } else {
            Memory::new(&self.layout, memory).status[0] = self.status;
            Phase::Done
        };
        Ok(())
    }

    fn poll<P: Platform>(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut [u64],
        pe: &mut P,
    ) -> Result<Progress, Fault> {
        let mut memory = Memory::new(&self.layout, memory);
        let mut worked = false;
        while let Some(packet) = receive(pe)? {
            self.accept(open(packet)?)
                .ok_or(Fault::UnexpectedPacket { key: packet.key })?;
            worked = true;
        }
        match self.phase {
            Phase::Done => return Ok(Progress::Done),
            Phase::Collect => {
                if self.reported != self.config.reporting {
                    return Ok(if worked {
                        Progress::Worked
                    } else {
                        Progress::Idle
                    });
                }
                self.reported = [0; 8];
                let samples = self.batch.min(self.samples - self.minibatch * self.batch);
                let block = &mut memory.progress[0];
                let mut progress = optimizer::Progress {
                    steps: block.steps,
                    learning_rate: block.learning_rate,
                    beta1_power: block.beta1_power,
                    beta2_power: block.beta2_power,
                };
                let update = Update::begin(&self.config.settings, &mut progress, samples);
                block.steps = progress.steps;
                block.beta1_power = progress.beta1_power;
                block.beta2_power = progress.beta2_power;
                self.phase = Phase::Update {
                    update,
                    part: 0,
                    start: 0,
                    position: 0,
                };
            }
            Phase::Update {
                update,
                part,
                start,
                position,
            } => {
                self.update(kernels, &mut memory, pe, &update, part, start, position)?;
            }
            Phase::Release => self.release(&mut memory, pe)?,
        }
        Ok(Progress::Worked)
    }

    fn waiting(&self) -> Waiting {
        let Phase::Collect = self.phase else {
            return Waiting::Nothing;
        };
        let missing = (0..=u8::MAX).find(|&source| {
            let (word, bit) = (usize::from(source) / 32, 1 << (source % 32));
            self.config.reporting[word] & !self.reported[word] & bit != 0
        });
        missing.map_or(Waiting::Nothing, |source| Waiting::Gradients {
            source,
            minibatch: self.updates.wrapping_add(1),
        })
    }

    fn phase(&self) -> super::Phase {
        match self.phase {
            Phase::Done => super::Phase::Idle,
            _ => super::Phase::Update,
        }
    }

    fn step(&self) -> u32 {
        self.minibatch
    }
}

impl Optimizer {
    /// Where the program keeps what.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn accept(&mut self, envelope: Envelope) -> Option<()> {
        let Message::Ready { minibatch } = envelope.message else {
            return None;
        };
        let (word, bit) = (
            usize::from(envelope.source) / 32,
            1 << (envelope.source % 32),
        );
        if self.config.reporting[word] & bit == 0 {
            return None;
        }
        if minibatch == self.updates.wrapping_add(1) as u16 && self.reported[word] & bit == 0 {
            self.reported[word] |= bit;
        } else if minibatch == self.updates.wrapping_add(1) as u16
            || minibatch == self.updates as u16
        {
            self.status.ignored_packets += 1;
        } else {
            return None;
        }
        Some(())
    }

    /// Updates one chunk of one part.
    #[allow(clippy::too_many_arguments)]
    fn update<P: Platform>(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut Memory<'_>,
        pe: &mut P,
        update: &Update,
        number: usize,
        start: usize,
        position: usize,
    ) -> Result<(), Fault> {
        let part = self.config.parts[number];
        let parts = self.config.parts_len;
        let homes = |replica: usize| memory.homes[replica * parts + number];
        let replicas = self.config.replicas as usize;
        // Samples are dealt out from the first replica on (`Share`): the others have had none, and have gradients
        // and counts of zero.
        let trained = replicas.min(self.samples_of_minibatch() as usize);
        let neurons = usize::from(part.neurons);
        if position == 0 {
            self.find_bumps(&part, pe, trained, homes, memory.counts, memory.bumps)?;
        }
        let padded = CHUNK.min(part.padded() - position);
        let used = padded.min(part.weights() - position);
        let sum = &mut memory.sum[..padded];
        sum.fill(0);
        for replica in 0..trained {
            let from = offset(
                Address(homes(replica).gradient),
                position * size_of::<i64>(),
            )?;
            let gradient = &mut memory.gradient[..padded];
            read(pe, from, gradient)?;
            // A padded part is a multiple of four weights. A gradient sum has room for the terms of 2^38 arrivals.
            let (sums, gradients) = (sum.as_chunks_mut().0, gradient.as_chunks().0);
            for ([a, b, c, d], [e, f, g, h]) in sums.iter_mut().zip(gradients) {
                *a = a.plus(*e);
                *b = b.plus(*f);
                *c = c.plus(*g);
                *d = d.plus(*h);
            }
        }
        let at = start + position..start + position + used;
        let mut statistics = Statistics::NEW;
        kernels.update(
            update,
            Stretch {
                layer: part.layer,
                first_neuron: part.first_neuron,
                neurons,
                position,
                weights: &mut memory.weights[at.clone()],
                gradients: &sum[..used],
                first: &mut memory.first[at.clone()],
                second: &mut memory.second[at],
                bumps: &memory.bumps[..neurons],
            },
            &mut statistics,
        );
        self.status.count(&statistics);
        let weights = &memory.weights[start + position..][..padded];
        for replica in 0..replicas {
            let to = offset(Address(homes(replica).weights), position * size_of::<i32>())?;
            write(pe, weights, to)?;
        }
        let (number, start, position) = if position + padded < part.padded() {
            (number, start, position + padded)
        } else {
            (number + 1, start + part.padded(), 0)
        };
        self.phase = if number == parts {
            Phase::Release
        } else {
            Phase::Update {
                update: *update,
                part: number,
                start,
                position,
            }
        };
        Ok(())
    }

    /// Samples of the minibatch at hand.
    fn samples_of_minibatch(&self) -> u32 {
        self.batch.min(self.samples - self.minibatch * self.batch)
    }

    /// What each neuron of a part is given for its silence.
    fn find_bumps<P: Platform>(
        &self,
        part: &Part,
        pe: &mut P,
        replicas: usize,
        homes: impl Fn(usize) -> Home,
        counts: &mut [u32],
        bumps: &mut [i32],
    ) -> Result<(), Fault> {
        let remedy = self.config.settings.silent_neurons;
        let neurons = usize::from(part.neurons);
        let bumps = &mut bumps[..neurons];
        bumps.fill(0);
        let (needed, first, counted) = if part.output {
            (
                remedy.label_bump != 0,
                usize::from(part.first_neuron),
                self.config.outputs,
            )
        } else {
            (remedy.hidden_bump != 0, 0, neurons)
        };
        if !needed {
            return Ok(());
        }
        let counts = &mut counts[..counted.next_multiple_of(4)];
        for replica in 0..replicas {
            let home = homes(replica);
            let from = if part.output {
                home.silent_labels
            } else {
                home.spike_counts
            };
            read(pe, Address(from), counts)?;
            for (sum, &count) in bumps.iter_mut().zip(&counts[first..]) {
                *sum += count.cast_signed();
            }
        }
        let samples = self.samples_of_minibatch();
        for bump in bumps {
            let count = bump.cast_unsigned();
            *bump = if part.output {
                remedy.for_output(count, samples)
            } else {
                remedy.for_hidden(count)
            };
        }
        Ok(())
    }

    fn release<P: Platform>(&mut self, memory: &mut Memory<'_>, pe: &mut P) -> Result<(), Fault> {
        let packet = pack(Envelope {
            direction: Direction::Downstream,
            source: self.config.source,
            target: Target::All,
            message: Message::Release {
                minibatch: self.updates.wrapping_add(1) as u16,
            },
        });
        let sent = match &self.config.release {
            Release::Router => pe.try_send(Fanout::Router, packet),
            Release::Direct(list, len) => {
                pe.try_send(Fanout::Direct(&list[..usize::from(*len)]), packet)
            }
        };
        match sent {
            Err(nb::Error::WouldBlock) => return Ok(()),
            Err(nb::Error::Other(error)) => return Err(Fault::Send(error.kind())),
            Ok(()) => self.status.packets[2] += 1,
        }
        self.updates = self.updates.wrapping_add(1);
        self.minibatch += 1;
        memory.status[0] = self.status;
        self.phase = if self.minibatch * self.batch >= self.samples {
            Phase::Done
        } else {
            Phase::Collect
        };
        Ok(())
    }
}
