//! The four programs that train a network on the chip, as state machines over the HAL's traits.
//!
//! A *replica* of the network is one [`input`] PE, one or more PEs per neuron [`layer`], and one
//! [`loss`] PE; one [`optimizer`] serves all replicas. Each program is polled: it takes the packets
//! that have arrived and works, until nothing more can be done or a bound is reached, and returns. It
//! holds no memory of its own beside a small struct; its arrays live in the PE's memory, which every
//! call borrows.
//!
//! # Steps are data flow
//!
//! A sender ends each *stretch* of steps, of which only the last may have events, with a marker. It says
//! how many steps these are and how many events were sent, with a checksum over them. A layer sends a
//! stretch when one of its neurons has spiked, at the end of the sample, and when it has as many steps
//! as a marker can count; errors are answers, one stretch for each step in which the receiver had
//! events. So the packets follow from the spikes, and nothing is sent for quiet steps.
//!
//! A receiver works on the steps up to which the markers of all its sources and all announced events are
//! there. Neither latency nor the order of delivery can therefore change a result; a lost packet
//! leaves the receiver waiting for a named event, a doubled one is recognised by its index and
//! ignored, an altered one is found by the checksum. A sender runs at most a *window* of stretches ahead
//! of what its receivers have acknowledged, which bounds the packets under way: see
//! [`ring_words`].

use core::fmt;

use bytemuck::{Pod, Zeroable};
use s2_hal::dma;
use s2_hal::math::ExpLog;
use s2_hal::packet::{self, PacketReceiver, PacketSender};

use crate::event::{Message, Source, Target};
use crate::log::{Event, EventLog, LogFull, LoggedStep};
use crate::numeric::{Statistics, scramble};
use crate::optimizer::{Stretch, Update};
use crate::state::Neurons;
use crate::tables::Dynamics;
use crate::vector::{Native, Vectors};

use stream::Port;

pub mod input;
pub mod layer;
pub mod loss;
pub mod memory;
pub mod optimizer;
pub mod stream;
pub mod wire;
pub mod words;

/// What a program needs of its PE.
pub trait Platform: PacketSender + PacketReceiver + dma::Channel + ExpLog {}

impl<T: PacketSender + PacketReceiver + dma::Channel + ExpLog> Platform for T {}

/// The inner loops, so that a host can run them with the vector instructions that it finds.
///
/// Every implementation must give the same bits; the methods given here are the reference.
pub trait Kernels {
    /// [`crate::neuron::forward_step`].
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    fn forward_step(
        &self,
        dynamics: &Dynamics<'_>,
        weights: &[i32],
        arrivals: &[Event],
        neurons: &mut Neurons<'_>,
        log: &mut EventLog<'_>,
        statistics: &mut Statistics,
    ) -> Result<(), LogFull> {
        With(Native::default()).forward_step(dynamics, weights, arrivals, neurons, log, statistics)
    }

    /// [`crate::adjoint::backward_step`].
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
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
        With(Native::default()).backward_step(
            dynamics, weights, gradient, arrivals, own, neurons, error_sums, statistics,
        );
    }

    /// [`Update::apply`].
    #[inline(always)]
    fn update(&self, update: &Update, stretch: Stretch<'_>, statistics: &mut Statistics) {
        update.apply(stretch, statistics);
    }
}

/// The kernels as the compiler builds them for the target at hand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Kernels for Portable {}

/// The kernels with these vector instructions, compiled into their caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct With<V>(pub V);

impl<V: Vectors> Kernels for With<V> {
    #[inline(always)]
    fn forward_step(
        &self,
        dynamics: &Dynamics<'_>,
        weights: &[i32],
        arrivals: &[Event],
        neurons: &mut Neurons<'_>,
        log: &mut EventLog<'_>,
        statistics: &mut Statistics,
    ) -> Result<(), LogFull> {
        crate::neuron::forward_step(
            self.0, dynamics, weights, arrivals, neurons, log, statistics,
        )
    }

    #[inline(always)]
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
        crate::adjoint::backward_step(
            self.0, dynamics, weights, gradient, arrivals, own, neurons, error_sums, statistics,
        );
    }
}

/// Times that a program looks for packets and work in one poll at most.
const ROUNDS_PER_POLL: usize = 64;

/// What a call of `poll` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more to do: poll again.
    Worked,
    /// Nothing more can be done before another packet arrives.
    Idle,
    /// The run is complete.
    Done,
}

/// Why a program stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The receive ring overflowed: packets are lost.
    RingOverrun,
    /// A packet that no program sends, or whose payload was altered.
    UnknownPacket {
        /// Its key.
        key: u32,
    },
    /// A packet from a PE that is no neighbour, or of a kind that this program does not take.
    UnexpectedPacket {
        /// Its key.
        key: u32,
    },
    /// A packet of a stretch beyond the window: its position was altered, or acknowledgements were.
    BeyondWindow {
        /// Who sent it.
        source: Source,
        /// Position that is expected next.
        expected: u32,
        /// How far ahead of that the packet is.
        ahead: i32,
    },
    /// An event number beyond what its sender may emit in a step.
    IndexOutOfRange {
        /// Who sent it.
        source: Source,
        /// The number.
        index: u16,
        /// Events allowed.
        limit: u16,
    },
    /// Two different packets claim the same place in a stretch.
    Conflict {
        /// Who sent them.
        source: Source,
        /// Position of the stretch.
        position: u32,
    },
    /// The packets of a stretch are not those that its sender sent.
    Checksum {
        /// Who sent them.
        source: Source,
        /// Position of the stretch.
        position: u32,
    },
    /// More events arrived than the stretch's marker announces.
    TooManyEvents {
        /// Who sent them.
        source: Source,
        /// Position of the stretch.
        position: u32,
        /// Announced by the marker.
        announced: u16,
        /// Arrived.
        arrived: u16,
    },
    /// A marker ends a stretch behind the last step of the sample.
    BeyondSample {
        /// Who sent it.
        source: Source,
        /// Position of the stretch.
        position: u32,
        /// Steps of the sample up to its end.
        end: usize,
    },
    /// An event names a neuron or a time that does not exist.
    EventOutOfRange {
        /// Who sent it.
        source: Source,
        /// Its neuron.
        neuron: u16,
        /// Its offset in ticks.
        offset: u16,
    },
    /// The memory for a sample's spikes is full.
    SpikesExceedMemory {
        /// Spikes that fit.
        capacity: usize,
        /// Step in which it ran full.
        step: usize,
    },
    /// The memory for a sample's arriving spikes is full.
    ArrivalsExceedMemory {
        /// Arrivals that fit.
        capacity: usize,
        /// Step in which it ran full.
        step: usize,
    },
    /// A sample in memory is not what it should be.
    BadSample {
        /// Its place in the data set.
        sample: u32,
    },
    /// A copy between memories failed.
    Dma(dma::ErrorKind),
    /// A packet could not be sent.
    Send(packet::ErrorKind),
    /// The PE's memory is smaller than the program's layout.
    MemoryTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        available: usize,
    },
    /// A number of the configuration is outside its range.
    Configuration(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RingOverrun => write!(f, "the receive ring overflowed and packets were lost"),
            Self::UnknownPacket { key } => {
                write!(
                    f,
                    "packet with key {key:#010x} is of no known kind, or its payload was altered"
                )
            }
            Self::UnexpectedPacket { key } => {
                write!(
                    f,
                    "packet with key {key:#010x} is not meant for this program"
                )
            }
            Self::BeyondWindow {
                source,
                expected,
                ahead,
            } => write!(
                f,
                "packet from source {source} is {ahead} positions ahead of {expected}, beyond the window"
            ),
            Self::IndexOutOfRange {
                source,
                index,
                limit,
            } => write!(
                f,
                "event number {index} from source {source}, which may send {limit} in a step"
            ),
            Self::Conflict { source, position } => write!(
                f,
                "two different packets from source {source} claim one place at position {position}"
            ),
            Self::Checksum { source, position } => write!(
                f,
                "checksum of position {position} from source {source} is wrong: a packet was altered"
            ),
            Self::TooManyEvents {
                source,
                position,
                announced,
                arrived,
            } => write!(
                f,
                "marker of position {position} from source {source} announces {announced} events, {arrived} arrived"
            ),
            Self::BeyondSample {
                source,
                position,
                end,
            } => write!(
                f,
                "marker of position {position} from source {source} ends at {end} steps, behind the last one of the sample"
            ),
            Self::EventOutOfRange {
                source,
                neuron,
                offset,
            } => write!(
                f,
                "event from source {source} names neuron {neuron} at tick {offset}, which do not exist"
            ),
            Self::SpikesExceedMemory { capacity, step } => write!(
                f,
                "more than {capacity} spikes in one sample (full in step {step}), for which the PE has no memory: split the layer over more PEs (backend.layer_pes), or let neurons spike less (network.spikes_per_step, network.initial_weights)"
            ),
            Self::ArrivalsExceedMemory { capacity, step } => write!(
                f,
                "more than {capacity} arriving spikes in one sample (full in step {step}), for which the PE has no memory: let neurons of the layer above spike less (network.spikes_per_step, network.initial_weights)"
            ),
            Self::BadSample { sample } => write!(f, "sample {sample} in memory is damaged"),
            Self::Dma(kind) => write!(f, "DMA failed: {kind:?}"),
            Self::Send(kind) => write!(f, "a packet could not be sent: {kind:?}"),
            Self::MemoryTooSmall { needed, available } => {
                write!(
                    f,
                    "the program needs {needed} bytes of memory, the PE has {available}"
                )
            }
            Self::Configuration(what) => write!(f, "configuration: {what}"),
        }
    }
}

impl Fault {
    /// The other PE that the fault speaks of, if any.
    #[must_use]
    pub const fn source(&self) -> Option<Source> {
        match *self {
            Self::BeyondWindow { source, .. }
            | Self::IndexOutOfRange { source, .. }
            | Self::Conflict { source, .. }
            | Self::Checksum { source, .. }
            | Self::TooManyEvents { source, .. }
            | Self::BeyondSample { source, .. }
            | Self::EventOutOfRange { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl core::error::Error for Fault {}

/// What a program waits for, to be told when nothing moves any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Nothing: it has work to do, or none left.
    Nothing,
    /// The marker that ends a step.
    Marker {
        /// From whom.
        source: Source,
        /// Position of the stretch.
        position: u32,
        /// Events of that step that have arrived.
        arrived: u16,
    },
    /// Events that a marker has announced.
    Events {
        /// From whom.
        source: Source,
        /// Position of the stretch.
        position: u32,
        /// Announced.
        announced: u16,
        /// Arrived.
        arrived: u16,
    },
    /// An acknowledgement, before another step may be sent.
    Acknowledgement {
        /// From whom.
        source: Source,
        /// Position that it has acknowledged so far.
        acknowledged: u32,
        /// Position that waits to be sent.
        position: u32,
    },
    /// The gradients of a minibatch.
    Gradients {
        /// The first PE that has not reported.
        source: Source,
        /// Number of the minibatch.
        minibatch: u32,
    },
    /// New weights.
    Weights {
        /// Number of the minibatch that is over.
        minibatch: u32,
    },
}

impl Waiting {
    /// The other PE that is waited for, if any.
    #[must_use]
    pub const fn source(&self) -> Option<Source> {
        match *self {
            Self::Marker { source, .. }
            | Self::Events { source, .. }
            | Self::Acknowledgement { source, .. }
            | Self::Gradients { source, .. } => Some(source),
            Self::Nothing | Self::Weights { .. } => None,
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => write!(f, "nothing"),
            Self::Marker {
                source,
                position,
                arrived,
            } => write!(
                f,
                "the marker of position {position} from source {source} (events of it that have arrived: {arrived})"
            ),
            Self::Events {
                source,
                position,
                announced,
                arrived,
            } => write!(
                f,
                "events of position {position} from source {source}: the marker says {announced}, {arrived} arrived"
            ),
            Self::Acknowledgement {
                source,
                acknowledged,
                position,
            } => write!(
                f,
                "source {source} to acknowledge, which has consumed {acknowledged} positions, before sending position {position}"
            ),
            Self::Gradients { source, minibatch } => {
                write!(f, "source {source} to finish minibatch {minibatch}")
            }
            Self::Weights { minibatch } => {
                write!(f, "new weights after minibatch {minibatch}")
            }
        }
    }
}

/// One of the on-chip programs, as whoever runs it sees it: firmware, or the host's model of the chip.
pub trait Program: Sized {
    /// What it is told when it is loaded.
    type Config: Copy;

    /// Its name.
    const NAME: &'static str;

    /// Checks a configuration, which may have come over a wire.
    ///
    /// # Errors
    /// [`Fault::Configuration`] for a number outside its range.
    fn check(config: &Self::Config) -> Result<(), Fault>;

    /// A program that can do nothing before it is configured: all bits zero, so that it takes no memory for
    /// constants.
    const EMPTY: Self;

    /// Takes a configuration that was [checked](Self::check), once. (One that was not may make the
    /// program panic later.)
    ///
    /// A PE makes its program so, in the memory that it stays in: its stack has no room for one.
    fn configure(&mut self, config: Self::Config);

    /// A program with a configuration.
    ///
    /// # Errors
    /// As for [`check`](Self::check).
    fn new(config: Self::Config) -> Result<Self, Fault> {
        Self::check(&config)?;
        let mut program = Self::EMPTY;
        program.configure(config);
        Ok(program)
    }

    /// Bytes of the memory that [`start`](Self::start) and [`poll`](Self::poll) are given at least.
    fn memory_bytes(config: &Self::Config) -> usize;

    /// Words of receive ring that its neighbours can fill.
    fn ring_words(config: &Self::Config) -> usize;

    /// Starts a run.
    ///
    /// # Errors
    /// [`Fault::MemoryTooSmall`], [`Fault::Configuration`].
    fn start(&mut self, run: Run, memory: &mut [u64]) -> Result<(), Fault>;

    /// Works on.
    ///
    /// # Errors
    /// A [`Fault`]; the program is not to be polled again then.
    fn poll<P: Platform>(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut [u64],
        pe: &mut P,
    ) -> Result<Progress, Fault>;

    /// What it waits for.
    fn waiting(&self) -> Waiting;

    /// What it is at.
    fn phase(&self) -> Phase;

    /// Where it is: steps of the sample at hand that are done in the direction at work, or, for the
    /// optimiser, minibatches done. For records of faults.
    fn step(&self) -> u32;
}

/// What a program is at, for profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Phase {
    /// No run, or nothing to do before something arrives.
    Idle = 0,
    /// The forward pass of a sample.
    Forward = 1,
    /// The backward pass of a sample.
    Backward = 2,
    /// The hand-over of gradients and weights, or their update.
    Update = 3,
}

impl Phase {
    /// All phases, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Forward, Self::Backward, Self::Update];
}

/// A check of a configuration: `what` should be, and is not, unless `fits`.
fn require(fits: bool, what: &'static str) -> Result<(), Fault> {
    if fits {
        Ok(())
    } else {
        Err(Fault::Configuration(what))
    }
}

/// Most steps of a sample: what an event of a sample in memory can say.
const MAX_STEPS: usize = 2047;

/// Most replicas: no chip has more PEs.
const MAX_REPLICAS: u32 = 152;

/// Checks which replica a program belongs to.
fn check_replica(replica: u32, replicas: u32) -> Result<(), Fault> {
    require(
        replicas <= MAX_REPLICAS && replica < replicas,
        "a replica is one of at most 152",
    )
}

/// Checks what the configurations of a replica's programs have in common.
fn check_steps(steps: usize, tick_bits: u32, window: usize) -> Result<(), Fault> {
    require(
        (1..=MAX_STEPS).contains(&steps),
        "a sample has 1 to 2047 steps",
    )?;
    require(tick_bits <= 8, "a step has at most 256 ticks")?;
    require(
        (1..=stream::MAX_WINDOW).contains(&window),
        "the window must be 1 to 4 stretches of steps",
    )
}

/// What a run is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forward, backward, and an update of the weights after each minibatch.
    Train,
    /// Forward only.
    Evaluate,
}

/// One run: the programs work through a list of samples and are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What to do.
    pub mode: Mode,
    /// Samples in all.
    pub samples: u32,
    /// Samples per minibatch; the last one may be smaller.
    pub batch: u32,
    /// Chip address of the list of sample numbers, `u32` each, in the order of training.
    pub order: dma::Address,
    /// Chip address of the data set: sample n stands at `n * stride`.
    pub data: dma::Address,
    /// Bytes from one sample to the next, a multiple of 16.
    pub stride: u32,
    /// Chip address of the results: 16 bytes for each entry of `order` ([`loss::SampleResult`]).
    pub results: dma::Address,
}

impl Run {
    /// Nothing to do.
    const NONE: Self = Self {
        mode: Mode::Train,
        samples: 0,
        batch: 0,
        order: dma::Address(0),
        data: dma::Address(0),
        stride: 0,
        results: dma::Address(0),
    };
}

/// Which samples of a run belong to one replica: of each minibatch, every `replicas`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    replica: u32,
    replicas: u32,
    samples: u32,
    batch: u32,
}

impl Share {
    /// Nothing.
    pub(crate) const NONE: Self = Self {
        replica: 0,
        replicas: 0,
        samples: 0,
        batch: 0,
    };

    pub(crate) fn new(replica: u32, replicas: u32, run: &Run) -> Self {
        // Minibatches matter to training only.
        let batch = if run.mode == Mode::Train {
            run.batch
        } else {
            run.samples
        };
        Self {
            replica,
            replicas,
            samples: run.samples,
            batch: batch.max(1),
        }
    }

    pub(crate) fn minibatches(&self) -> u32 {
        self.samples.div_ceil(self.batch)
    }

    /// First sample of a minibatch, as an index into the run's order.
    pub(crate) fn first(&self, minibatch: u32) -> Option<u32> {
        self.within(minibatch, minibatch * self.batch + self.replica)
    }

    /// Next sample of a minibatch behind `sample`.
    pub(crate) fn next(&self, minibatch: u32, sample: u32) -> Option<u32> {
        self.within(minibatch, sample + self.replicas)
    }

    fn within(&self, minibatch: u32, sample: u32) -> Option<u32> {
        let end = ((minibatch + 1) * self.batch).min(self.samples);
        (sample < end).then_some(sample)
    }
}

/// The hand-over between a replica's program and the optimiser at the end of each minibatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    /// Minibatches since the program was loaded.
    updates: u32,
    released: bool,
}

impl HandOver {
    pub(crate) const NEW: Self = Self {
        updates: 0,
        released: false,
    };

    /// Tells the optimiser that the gradient is complete; `false` when the transmitter is busy.
    pub(crate) fn report(
        &self,
        pe: &mut impl PacketSender,
        port: &Port,
        status: &mut Status,
    ) -> Result<bool, Fault> {
        let message = Message::Ready {
            minibatch: self.updates.wrapping_add(1) as u16,
        };
        let sent = port.send(pe, Target::Optimizer, message)?;
        status.packets[2] += u64::from(sent);
        Ok(sent)
    }

    /// Takes the optimiser's release; `None` for one of a minibatch that cannot be. Repetitions are
    /// counted.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn release(&mut self, minibatch: u16, status: &mut Status) -> Option<()> {
        let next = minibatch == self.updates.wrapping_add(1) as u16;
        if next && !self.released {
            self.released = true;
        } else if next || minibatch == self.updates as u16 {
            status.ignored_packets += 1;
        } else {
            return None;
        }
        Some(())
    }

    /// Whether the new weights are in place; says so once per minibatch.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn take_release(&mut self) -> bool {
        let released = core::mem::take(&mut self.released);
        self.updates = self.updates.wrapping_add(released.into());
        released
    }

    /// What a program waits for between its report and the release.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting::Weights {
            minibatch: self.updates,
        }
    }
}

/// What a program counts, at the start of its memory, for the host to read after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Status {
    /// Values that left their format ([`Statistics::saturations`]).
    pub saturations: u64,
    /// Spikes left out ([`Statistics::suppressed_spikes`]).
    pub suppressed_spikes: u64,
    /// Spikes emitted.
    pub spikes: u64,
    /// Sum of [`spike_hash`] over all spikes emitted, wrapping.
    pub spike_digest: u64,
    /// Packets sent: spikes, errors, and all others.
    pub packets: [u64; 3],
    /// Packets that came twice or too late, and were ignored.
    pub ignored_packets: u64,
    /// Smallest slope at a spike ([`Statistics::smallest_slope`]).
    pub smallest_slope: i32,
    /// Always zero.
    pub reserved: [u32; 3],
}

impl Status {
    /// All bits zero.
    pub(crate) const EMPTY: Self = Self {
        smallest_slope: 0,
        ..Self::NEW
    };

    /// Nothing counted.
    pub const NEW: Self = Self {
        saturations: 0,
        suppressed_spikes: 0,
        spikes: 0,
        spike_digest: 0,
        packets: [0; 3],
        ignored_packets: 0,
        smallest_slope: i32::MAX,
        reserved: [0; 3],
    };

    #[cfg_attr(not(target_arch = "arm"), inline)]
    pub(crate) fn count(&mut self, statistics: &Statistics) {
        self.saturations += statistics.saturations;
        self.suppressed_spikes += statistics.suppressed_spikes;
        self.smallest_slope = self.smallest_slope.min(statistics.smallest_slope);
    }
}

/// A spike's share of a digest over many: sums of it do not depend on the order of the spikes.
///
/// `sample` is the index into the order of the run, `layer` counts from 0 for the input, `ticks` is
/// the time since the start of the sample.
#[cfg_attr(not(target_arch = "arm"), inline)]
#[must_use]
pub fn spike_hash(sample: u32, layer: u32, neuron: u32, ticks: u32) -> u64 {
    let place = layer << 28 ^ neuron << 16 ^ ticks;
    scramble(sample.wrapping_mul(0x9E37_79B1) ^ place).into()
}

/// Words of receive ring that the streams into a PE can fill at most: each of `sources` may have
/// `window` stretches under way, all of them together at most `events_per_step` events (of
/// `packets_per_event` packets) and a marker each per stretch, and every packet takes two words.
/// Acknowledgements and the like come on top.
#[must_use]
pub fn ring_words(
    window: usize,
    events_per_step: usize,
    packets_per_event: usize,
    sources: usize,
) -> usize {
    2 * window * (events_per_step * packets_per_event + sources)
}

/// Reads a stretch of another memory.
pub(crate) fn read<P: Platform, T: Pod>(
    pe: &mut P,
    from: dma::Address,
    into: &mut [T],
) -> Result<(), Fault> {
    use dma::Error as _;
    dma::copy::read(pe, from, into).map_err(|error| Fault::Dma(error.kind()))
}

/// Writes a stretch of another memory.
pub(crate) fn write<P: Platform, T: Pod>(
    pe: &mut P,
    from: &[T],
    to: dma::Address,
) -> Result<(), Fault> {
    use dma::Error as _;
    dma::copy::write(pe, from, to).map_err(|error| Fault::Dma(error.kind()))
}

/// `address` + `bytes`; a sum beyond the address space is a region error.
pub(crate) fn offset(address: dma::Address, bytes: usize) -> Result<dma::Address, Fault> {
    u32::try_from(bytes)
        .ok()
        .and_then(|bytes| address.checked_add(bytes))
        .ok_or(Fault::Dma(dma::ErrorKind::Region))
}

/// Number of the sample that stands at `index` of a run's order. `block` is a buffer of four numbers,
/// the least that DMA moves.
pub(crate) fn sample_number<P: Platform>(
    pe: &mut P,
    run: &Run,
    index: u32,
    block: &mut [u32],
) -> Result<u32, Fault> {
    let first = index & !3;
    read(pe, offset(run.order, first as usize * 4)?, block)?;
    Ok(block[(index - first) as usize])
}

/// Address of a sample.
pub(crate) fn sample_address(run: &Run, sample: u32) -> Result<dma::Address, Fault> {
    let at = sample
        .checked_mul(run.stride)
        .ok_or(Fault::BadSample { sample })?;
    offset(run.data, at as usize)
}
