//! The neuron layer program: forward, backward, and the gradient of its weights.

use s2_hal::packet::{Packet, PacketSender};

use super::memory::{Cut, Plan, Region, check};
use super::stream::{Inbox, Known, Neighbours, Outbox, Outgoing, Port, Sent, open, receive};
use super::{
    Fault, HandOver, Kernels, Mode, Platform, Program, Progress, ROUNDS_PER_POLL, Run, Share,
    Status, Waiting, check_replica, check_steps, require, spike_hash,
};
use crate::event::{
    Content, Direction, Envelope, ErrorPart, MAX_EVENTS_PER_STEP, MAX_NEIGHBOURS, MAX_STRETCH,
    Message, Source, Target, Word, sender,
};
use crate::log::{Event, EventLog};
use crate::numeric::{MAX_NEURONS, Statistics, round_error};
use crate::state::{Activity, Neurons, scratch_len};
use crate::tables::{Coefficients, Dynamics, PEAKS, Peak, Scheme, Tables, run_entries};

/// Most spikes that memory may be asked for.
const MAX_LOGGED: usize = 1 << 16;

/// What a layer's PE is told when it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of this PE.
    pub source: Source,
    /// PEs of the layer above, in the order of their neurons, or the input PE.
    pub upstream: Neighbours,
    /// Most events that each of them may send in one step.
    pub upstream_events: [u16; MAX_NEIGHBOURS],
    /// PEs of the layer below, or the loss PE.
    pub downstream: Neighbours,
    /// Which replica this is.
    pub replica: u32,
    /// Replicas in all.
    pub replicas: u32,
    /// The discretisation.
    pub scheme: Scheme,
    /// Steps of a sample.
    pub steps: usize,
    /// Binary logarithm of the ticks per step.
    pub tick_bits: u32,
    /// Most spikes of one neuron in one step.
    pub spikes_per_step: usize,
    /// Least divisor at a spike (F20).
    pub slope_floor: i32,
    /// Which layer this is: 1 for the first behind the input.
    pub layer: u8,
    /// Neurons (or channels) of the whole layer above.
    pub inputs: usize,
    /// First neuron of this PE within the layer.
    pub first_neuron: usize,
    /// Neurons of this PE.
    pub neurons: usize,
    /// Whether the layer above is one of neurons, which wants errors.
    pub upstream_has_neurons: bool,
    /// Whether this layer is split over several PEs, which then send shares of errors.
    pub split: bool,
    /// Whether the layer below is split.
    pub downstream_split: bool,
    /// Most spikes of this PE's neurons in one sample.
    pub spike_capacity: usize,
    /// Most arriving spikes in one sample.
    pub arrival_capacity: usize,
    /// Stretches of steps that may be under way.
    pub window: usize,
}

/// Where a layer's PE keeps what.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// What it counts.
    pub status: Region<Status>,
    forward: Region<u32>,
    backward: Region<u32>,
    /// Coefficients over ticks ([`crate::tables::fill`]), written by the host.
    pub ticks: Region<Coefficients>,
    /// Coefficients over steps ([`crate::tables::fill_runs`]), written by the host.
    pub runs: Region<Coefficients>,
    /// Bounds of the membrane ([`crate::tables::peaks`]), written by the host.
    pub peaks: Region<Peak>,
    /// Weights `[pre][post]`, F20, written by the host and by the optimiser.
    pub weights: Region<i32>,
    /// Gradient sum of the minibatch `[pre][post]`, F18, read by the optimiser.
    pub gradient: Region<i64>,
    /// Spikes of each neuron in the minibatch, read by the optimiser.
    pub spike_counts: Region<u32>,
    /// V or λV.
    pub membrane: Region<i32>,
    /// I or λI.
    pub current: Region<i32>,
    /// [`Neurons::scratch`].
    pub scratch: Region<i32>,
    /// Spikes of the sample, in order of time.
    pub events: Region<Event>,
    /// Slope at each spike (F20).
    pub slopes: Region<i32>,
    /// Error, then jump, of each spike (F18).
    pub errors: Region<i32>,
    /// Number of spikes up to the end of each step.
    pub ends: Region<u32>,
    /// Arrived spikes of the sample, in order of steps and sources.
    pub arrivals: Region<Event>,
    /// Number of arrived spikes up to each source of each step.
    pub arrival_ends: Region<u32>,
    /// Error sums of one step (F38).
    pub sums: Region<i64>,
    /// Bytes of all.
    pub bytes: usize,
}

impl Layout {
    const EMPTY: Self = Self {
        status: Region::EMPTY,
        forward: Region::EMPTY,
        backward: Region::EMPTY,
        ticks: Region::EMPTY,
        runs: Region::EMPTY,
        peaks: Region::EMPTY,
        weights: Region::EMPTY,
        gradient: Region::EMPTY,
        spike_counts: Region::EMPTY,
        membrane: Region::EMPTY,
        current: Region::EMPTY,
        scratch: Region::EMPTY,
        events: Region::EMPTY,
        slopes: Region::EMPTY,
        errors: Region::EMPTY,
        ends: Region::EMPTY,
        arrivals: Region::EMPTY,
        arrival_ends: Region::EMPTY,
        sums: Region::EMPTY,
        bytes: 0,
    };
}

impl Config {
    const EMPTY: Self = Self {
        source: 0,
        upstream: Neighbours::NONE,
        upstream_events: [0; MAX_NEIGHBOURS],
        downstream: Neighbours::NONE,
        replica: 0,
        replicas: 0,
        scheme: Scheme::Exact,
        steps: 0,
        tick_bits: 0,
        spikes_per_step: 0,
        slope_floor: 0,
        layer: 0,
        inputs: 0,
        first_neuron: 0,
        neurons: 0,
        upstream_has_neurons: false,
        split: false,
        downstream_split: false,
        spike_capacity: 0,
        arrival_capacity: 0,
        window: 0,
    };

    fn check(&self) -> Result<(), Fault> {
        check_replica(self.replica, self.replicas)?;
        check_steps(self.steps, self.tick_bits, self.window)?;
        self.upstream.check()?;
        self.downstream.check()?;
        require(
            (1..=MAX_NEURONS).contains(&self.neurons)
                && self.first_neuron <= MAX_NEURONS - self.neurons,
            "a layer has 1 to 4095 neurons",
        )?;
        require(
            (1..=MAX_NEURONS + 1).contains(&self.inputs),
            "a layer has 1 to 4096 inputs",
        )?;
        require(
            self.spikes_per_step <= MAX_EVENTS_PER_STEP
                && self.events_per_step() <= MAX_EVENTS_PER_STEP
                && (self.upstream_events().iter())
                    .all(|&events| usize::from(events) <= MAX_EVENTS_PER_STEP),
            "a PE may emit 4096 events in a step",
        )?;
        require(
            self.spike_capacity <= MAX_LOGGED && self.arrival_capacity <= MAX_LOGGED,
            "a PE keeps at most 65536 spikes of a sample",
        )
    }

    /// Most events of this PE in one step.
    #[must_use]
    pub fn events_per_step(&self) -> usize {
        self.neurons * spikes_per_step(self.scheme, self.spikes_per_step)
    }

    /// What the layer below answers.
    fn errors_in(&self) -> Content {
        errors(self.downstream_split)
    }

    fn upstream_events(&self) -> &[u16] {
        &self.upstream_events[..self.upstream.len()]
    }

    /// Most events that arrive in one step.
    fn arriving(&self) -> usize {
        self.upstream_events().iter().map(|&n| usize::from(n)).sum()
    }

    /// Words of receive ring that its neighbours can fill.
    #[must_use]
    pub fn ring_words(&self) -> usize {
        let arriving = self.arriving();
        let sources = self.upstream.len() + self.downstream.len();
        super::ring_words(self.window, arriving, 1, self.upstream.len())
            + super::ring_words(
                self.window,
                self.events_per_step() * self.downstream.len(),
                self.errors_in().lanes(),
                self.downstream.len(),
            )
            // Acknowledgements, and the optimiser's release.
            + 2 * (self.window * sources + 1)
    }

    /// Places the program's memory.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let ticks = 1usize << self.tick_bits;
        let (runs, peaks, scratch) = match self.scheme {
            Scheme::Exact => (run_entries(self.steps), PEAKS, scratch_len(self.neurons)),
            Scheme::Grid => (0, 0, 0),
        };
        let weights = (self.inputs * self.neurons).next_multiple_of(4);
        let arriving = self.arriving();
        let forward = Inbox::memory(self.upstream_events(), Content::Spikes, self.window);
        let errors = [self.events_per_step() as u16; MAX_NEIGHBOURS];
        let backward = Inbox::memory(
            &errors[..self.downstream.len()],
            self.errors_in(),
            self.window,
        );
        let mut plan = Plan::new();
        let mut layout = Layout {
            status: plan.region(1),
            forward: plan.region(forward),
            backward: plan.region(backward),
            ticks: plan.region(ticks + 1),
            runs: plan.region(runs),
            peaks: plan.region(peaks),
            weights: plan.region(weights),
            gradient: plan.region(weights),
            spike_counts: plan.region(self.neurons.next_multiple_of(4)),
            membrane: plan.region(self.neurons),
            current: plan.region(self.neurons),
            scratch: plan.region(scratch),
            events: plan.region(self.spike_capacity),
            slopes: plan.region(self.spike_capacity),
            errors: plan.region(self.spike_capacity),
            ends: plan.region(self.steps),
            arrivals: plan.region(self.arrival_capacity),
            arrival_ends: plan.region(self.steps * self.upstream.len()),
            sums: plan.region(if self.upstream_has_neurons {
                arriving
            } else {
                0
            }),
            bytes: 0,
        };
        layout.bytes = plan.bytes();
        layout
    }
}

/// What the errors are that a layer sends, split over several PEs or not.
fn errors(split: bool) -> Content {
    if split {
        Content::Shares
    } else {
        Content::Errors
    }
}

/// Most spikes of a neuron in one step: one on the time grid.
#[must_use]
pub fn spikes_per_step(scheme: Scheme, limit: usize) -> usize {
    match scheme {
        Scheme::Exact => limit,
        Scheme::Grid => 1,
    }
}

/// What a program of a layer has in its memory.
struct Memory<'m> {
    status: &'m mut [Status],
    forward: &'m mut [u32],
    backward: &'m mut [u32],
    rest: Rest<'m>,
}

/// The arrays behind the inboxes, which are divided when they are needed: often a program wakes for
/// packets alone.
struct Rest<'m> {
    cut: Cut<'m>,
    arrays: Option<Arrays<'m>>,
}

struct Arrays<'m> {
    tables: Tables<'m>,
    weights: &'m [i32],
    gradient: &'m mut [i64],
    spike_counts: &'m mut [u32],
    neurons: Neurons<'m>,
    log: EventLog<'m>,
    arrivals: &'m mut [Event],
    arrival_ends: &'m mut [u32],
    sums: &'m mut [i64],
}

impl<'m> Memory<'m> {
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn new(layout: &Layout, memory: &'m mut [u64]) -> Self {
        let mut cut = Cut::new(memory);
        Self {
            status: cut.take(layout.status),
            forward: cut.take(layout.forward),
            backward: cut.take(layout.backward),
            rest: Rest { cut, arrays: None },
        }
    }
}

impl<'m> Rest<'m> {
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn divide(&mut self, layout: &Layout) -> &mut Arrays<'m> {
        let cut = &mut self.cut;
        (self.arrays).get_or_insert_with(|| Arrays::new(layout, core::mem::take(cut)))
    }
}

impl<'m> Arrays<'m> {
    #[inline(always)]
    fn new(layout: &Layout, mut cut: Cut<'m>) -> Self {
        Self {
            tables: Tables {
                ticks: cut.take(layout.ticks),
                runs: cut.take(layout.runs),
                peaks: cut.take(layout.peaks),
            },
            weights: cut.take(layout.weights),
            gradient: cut.take(layout.gradient),
            spike_counts: cut.take(layout.spike_counts),
            neurons: Neurons {
                membrane: cut.take(layout.membrane),
                current: cut.take(layout.current),
                scratch: cut.take(layout.scratch),
                // What the program knows of them comes with each use.
                activity: Activity::ASLEEP,
            },
            log: EventLog::new(
                cut.take(layout.events),
                cut.take(layout.slopes),
                cut.take(layout.errors),
                cut.take(layout.ends),
            ),
            arrivals: cut.take(layout.arrivals),
            arrival_ends: cut.take(layout.arrival_ends),
            sums: cut.take(layout.sums),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Done,
    Forward,
    Backward,
    /// Tells the optimiser that the gradient is complete.
    Ready,
    /// Waits for new weights.
    Released,
}

/// The neuron layer program.
#[derive(Clone, Debug)]
// What is used most stands first: short instructions reach no further.
#[repr(C)]
pub struct Layer {
    share: Share,
    mode: Mode,
    phase: Phase,
    /// Minibatch of the run.
    minibatch: u32,
    hand_over: HandOver,
    /// Index into the run's order.
    sample: u32,
    /// Forward: steps computed, and those that were sent downstream.
    step: usize,
    sent: usize,
    /// Steps consumed from upstream, and events in them.
    consumed: usize,
    arrived: usize,
    /// Backward: steps done, with the delay of the scheme before the last one.
    back: usize,
    /// The step that is next has own events, whose errors have not arrived.
    lacks_errors: bool,
    /// A stretch, or the answers to a step, are being sent; backward, to which neighbour.
    sending: bool,
    target: u8,
    /// The memory of the inboxes is in use, and no longer what was there before.
    started: bool,
    activity: Activity,
    status: Status,
    config: Config,
    layout: Layout,
    forward_in: Inbox,
    forward_out: Outbox,
    backward_in: Inbox,
    backward_out: Outbox,
}

impl Program for Layer {
    type Config = Config;

    const NAME: &'static str = "layer";

    fn check(config: &Config) -> Result<(), Fault> {
        config.check()
    }

    const EMPTY: Self = Self {
        config: Config::EMPTY,
        layout: Layout::EMPTY,
        forward_in: Inbox::EMPTY,
        forward_out: Outbox::EMPTY,
        backward_in: Inbox::EMPTY,
        backward_out: Outbox::EMPTY,
        share: Share::NONE,
        mode: Mode::Train,
        phase: Phase::Done,
        minibatch: 0,
        hand_over: HandOver::NEW,
        sample: 0,
        step: 0,
        sent: 0,
        consumed: 0,
        arrived: 0,
        back: 0,
        lacks_errors: false,
        sending: false,
        target: 0,
        started: false,
        activity: Activity::ASLEEP,
        status: Status::EMPTY,
    };

    fn configure(&mut self, config: Config) {
        self.status = Status::NEW;
        let errors = [config.events_per_step() as u16; MAX_NEIGHBOURS];
        self.config = config;
        self.layout = config.layout();
        self.forward_in.configure(
            config.upstream.sources(),
            config.upstream_events(),
            Content::Spikes,
            config.window,
        );
        let down = Port::new(config.source, Direction::Downstream, config.downstream);
        self.forward_out.configure(down, config.window);
        self.backward_in.configure(
            config.downstream.sources(),
            &errors[..config.downstream.len()],
            config.errors_in(),
            config.window,
        );
        let up = Port::new(config.source, Direction::Upstream, config.upstream);
        self.backward_out.configure(up, config.window);
        // What is in the memory is not known.
        self.activity = Activity::ASLEEP;
    }

    fn memory_bytes(config: &Config) -> usize {
        config.layout().bytes
    }

    fn ring_words(config: &Config) -> usize {
        config.ring_words()
    }

    fn start(&mut self, run: Run, memory: &mut [u64]) -> Result<(), Fault> {
        check(memory, self.layout.bytes)?;
        let mut memory = Memory::new(&self.layout, memory);
        if !core::mem::replace(&mut self.started, true) {
            memory.forward.fill(0);
            memory.backward.fill(0);
        }
        let arrays = memory.rest.divide(&self.layout);
        self.dynamics(arrays.tables)?;
        self.share = Share::new(self.config.replica, self.config.replicas, &run);
        self.mode = run.mode;
        self.minibatch = 0;
        self.begin_minibatch(&mut memory);
        Ok(())
    }

    fn poll<P: Platform>(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut [u64],
        pe: &mut P,
    ) -> Result<Progress, Fault> {
        let mut memory = Memory::new(&self.layout, memory);
        let phase = self.phase;
        for _ in 0..ROUNDS_PER_POLL {
            while let Some(packet) = receive(pe)? {
                self.accept(&mut memory, packet)?;
            }
            let worked = match phase {
                Phase::Done => return Ok(Progress::Done),
                Phase::Forward => self.forward(kernels, &mut memory, pe)?,
                Phase::Backward => self.backward(kernels, &mut memory, pe)?,
                Phase::Ready => self.ready(pe)?,
                Phase::Released => self.take_release(&mut memory),
            };
            let status = &mut self.status;
            // A busy transmitter asks for another round.
            let told = self
                .forward_in
                .acknowledge(pe, &self.backward_out.port, worked, status)?
                & self
                    .backward_in
                    .acknowledge(pe, &self.forward_out.port, worked, status)?;
            if !worked && told {
                return Ok(Progress::Idle);
            }
            if self.phase != phase {
                break;
            }
        }
        Ok(Progress::Worked)
    }

    fn waiting(&self) -> Waiting {
        match self.phase {
            Phase::Done | Phase::Ready => Waiting::Nothing,
            Phase::Forward if self.sending => self.forward_out.waiting(Target::All),
            Phase::Forward => self.forward_in.waiting(),
            Phase::Backward if self.sending => self.backward_out.waiting(Target::One(self.target)),
            Phase::Backward => self.backward_in.waiting(),
            Phase::Released => self.hand_over.waiting(),
        }
    }

    fn phase(&self) -> super::Phase {
        match self.phase {
            Phase::Done => super::Phase::Idle,
            Phase::Forward => super::Phase::Forward,
            Phase::Backward => super::Phase::Backward,
            Phase::Ready | Phase::Released => super::Phase::Update,
        }
    }

    fn step(&self) -> u32 {
        if self.phase == Phase::Forward {
            self.step as u32
        } else {
            self.back.saturating_sub(self.config.scheme.delay()) as u32
        }
    }
}

impl Layer {
    /// Where the program keeps what.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn dynamics<'t>(&self, tables: Tables<'t>) -> Result<Dynamics<'t>, Fault> {
        let Config {
            scheme,
            spikes_per_step,
            slope_floor,
            ..
        } = self.config;
        Dynamics::new(scheme, tables, spikes_per_step, slope_floor).ok_or(Fault::Configuration(
            "ticks, spikes per step or slope floor out of range",
        ))
    }

    fn begin_minibatch(&mut self, memory: &mut Memory<'_>) {
        if self.minibatch >= self.share.minibatches() {
            self.finish(memory, Phase::Done);
            return;
        }
        if self.mode == Mode::Train {
            let arrays = memory.rest.divide(&self.layout);
            arrays.gradient.fill(0);
            arrays.spike_counts.fill(0);
        }
        self.begin_sample(self.share.first(self.minibatch), memory);
    }

    fn begin_sample(&mut self, sample: Option<u32>, memory: &mut Memory<'_>) {
        match (sample, self.mode) {
            (Some(sample), _) => {
                self.sample = sample;
                (self.step, self.sent, self.consumed, self.arrived) = (0, 0, 0, 0);
                self.forward_in.restart();
                self.silence(memory);
                self.phase = Phase::Forward;
            }
            (None, Mode::Train) => self.finish(memory, Phase::Ready),
            (None, Mode::Evaluate) => self.finish(memory, Phase::Done),
        }
    }

    /// Ends a minibatch, or the run: shows what was counted.
    fn finish(&mut self, memory: &mut Memory<'_>, phase: Phase) {
        memory.status[0] = self.status;
        self.phase = phase;
    }

    fn silence(&mut self, memory: &mut Memory<'_>) {
        let neurons = &mut memory.rest.divide(&self.layout).neurons;
        neurons.activity = self.activity;
        neurons.silence();
        self.activity = neurons.activity;
    }

    /// Sorts a packet into the inbox that it belongs to: nearly all are words of events.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn accept(&mut self, memory: &mut Memory<'_>, packet: Packet) -> Result<(), Fault> {
        let (direction, source) = sender(packet);
        let (neighbours, inbox, memory) = match direction {
            Direction::Downstream => (
                &self.config.upstream,
                &mut self.forward_in,
                &mut *memory.forward,
            ),
            Direction::Upstream => (
                &self.config.downstream,
                &mut self.backward_in,
                &mut *memory.backward,
            ),
        };
        match (neighbours.position(source), Word::of(packet)) {
            (Some(from), Some(word)) => inbox.word(memory, from, packet, &word, &mut self.status),
            _ => self.other(packet),
        }
    }

    /// Takes any other packet than a word from a neighbour.
    #[inline(never)]
    fn other(&mut self, packet: Packet) -> Result<(), Fault> {
        let Envelope {
            direction,
            source,
            message,
            ..
        } = open(packet)?;
        let unexpected = Fault::UnexpectedPacket { key: packet.key };
        let status = &mut self.status;
        if let Message::Release { minibatch } = message {
            return self.hand_over.release(minibatch, status).ok_or(unexpected);
        }
        let (neighbours, inbox, outbox, sends) = match direction {
            Direction::Downstream => (
                &self.config.upstream,
                &mut self.forward_in,
                &mut self.backward_out,
                self.config.upstream_has_neurons,
            ),
            Direction::Upstream => (
                &self.config.downstream,
                &mut self.backward_in,
                &mut self.forward_out,
                true,
            ),
        };
        let from = neighbours.position(source).ok_or(unexpected)?;
        match message {
            Message::Marker {
                position,
                steps,
                count,
                checksum,
            } => inbox.marker(from, position, (steps, count, checksum), status),
            Message::Acknowledge { position } if sends => {
                outbox.acknowledged(from, position, status)
            }
            _ => Err(unexpected),
        }
    }

    fn forward<P: Platform>(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut Memory<'_>,
        pe: &mut P,
    ) -> Result<bool, Fault> {
        let steps = self.config.steps;
        let mut worked = false;
        if self.consumed < steps
            && let Known::Steps(known) = self.forward_in.known(steps)?
        {
            self.take_arrivals(memory, known)?;
            worked = true;
        }
        let known = steps.min(self.consumed + self.config.scheme.delay());
        if !self.sending && self.step < known {
            self.compute_forward(kernels, memory, known)?;
            worked = true;
        }
        if self.sending {
            worked |= self.send_spikes(memory, pe)?;
        }
        if self.sent == steps && self.consumed == steps {
            match self.mode {
                Mode::Train => {
                    self.silence(memory);
                    self.back = 0;
                    self.backward_in.restart();
                    self.phase = Phase::Backward;
                }
                Mode::Evaluate => {
                    self.begin_sample(self.share.next(self.minibatch, self.sample), memory);
                }
            }
            worked = true;
        }
        Ok(worked)
    }

    /// Moves the steps up to `known` from the inbox to the sample's arrivals.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn take_arrivals(&mut self, memory: &mut Memory<'_>, known: usize) -> Result<(), Fault> {
        let ticks = 1u16 << self.config.tick_bits;
        let arrays = memory.rest.divide(&self.layout);
        let sources = self.config.upstream.len();
        let ends = &mut arrays.arrival_ends[self.consumed * sources..known * sources];
        let (quiet, ends) = ends.split_at_mut(ends.len() - sources);
        quiet.fill(self.arrived as u32);
        let events = self.forward_in.events(memory.forward, known);
        for ((source, words), end) in events.zip(ends) {
            for &word in words {
                let event = Word::event(word);
                let Event { neuron, offset } = event;
                if usize::from(neuron) >= self.config.inputs || offset > ticks {
                    return Err(Fault::EventOutOfRange {
                        source,
                        neuron,
                        offset,
                    });
                }
                let capacity = arrays.arrivals.len();
                let step = known - 1;
                *arrays
                    .arrivals
                    .get_mut(self.arrived)
                    .ok_or(Fault::ArrivalsExceedMemory { capacity, step })? = event;
                self.arrived += 1;
            }
            *end = self.arrived as u32;
        }
        self.forward_in.consume(memory.forward, known);
        self.consumed = known;
        Ok(())
    }

    /// Computes steps until one has spikes or has to be sent for another reason, or the `known` ones
    /// end.
    #[inline(never)]
    fn compute_forward(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut Memory<'_>,
        known: usize,
    ) -> Result<(), Fault> {
        let arrays = memory.rest.divide(&self.layout);
        let dynamics = self.dynamics(arrays.tables)?;
        let delay = self.config.scheme.delay();
        let sources = self.config.upstream.len();
        let (neurons, log) = (&mut arrays.neurons, &mut arrays.log);
        neurons.activity = self.activity;
        log.set_steps(self.step);
        let mut statistics = Statistics::NEW;
        let before = log.len();
        let until = known.min(self.sent + MAX_STRETCH);
        while self.step < until && log.len() == before {
            let arrivals = match self.step.checked_sub(delay) {
                Some(emitted) => {
                    &arrays.arrivals[arrivals_of(arrays.arrival_ends, sources, emitted)]
                }
                None => &[],
            };
            let step = if arrivals.is_empty() && neurons.rest(&dynamics) {
                Ok(())
            } else {
                kernels.forward_step(
                    &dynamics,
                    &arrays.weights[..self.config.inputs * self.config.neurons],
                    arrivals,
                    neurons,
                    log,
                    &mut statistics,
                )
            };
            if step.and_then(|()| log.end_step()).is_err() {
                return Err(Fault::SpikesExceedMemory {
                    capacity: self.config.spike_capacity,
                    step: self.step,
                });
            }
            self.step += 1;
        }
        self.activity = neurons.activity;
        self.status.count(&statistics);
        let events = &log.all()[before..];
        let start = (self.step as u32 - 1) << self.config.tick_bits;
        for event in events {
            arrays.spike_counts[usize::from(event.neuron)] += 1;
            let neuron = self.config.first_neuron as u32 + u32::from(event.neuron);
            let ticks = start + u32::from(event.offset);
            let hash = spike_hash(self.sample, self.config.layer.into(), neuron, ticks);
            self.status.spike_digest = self.status.spike_digest.wrapping_add(hash);
        }
        self.status.spikes += events.len() as u64;
        self.sending = !events.is_empty()
            || self.step == self.config.steps
            || self.step == self.sent + MAX_STRETCH;
        Ok(())
    }

    /// Sends the steps that were computed since the last ones; `false` when that has to wait for an
    /// acknowledgement.
    fn send_spikes<P: Platform>(
        &mut self,
        memory: &mut Memory<'_>,
        pe: &mut P,
    ) -> Result<bool, Fault> {
        let log = &mut memory.rest.divide(&self.layout).log;
        log.set_steps(self.step);
        let events = Events::Spikes {
            events: log.events(self.step - 1),
            first: self.config.first_neuron as u16,
        };
        let steps = self.step - self.sent;
        let (outbox, status) = (&mut self.forward_out, &mut self.status);
        let sent = events.send(pe, outbox, Target::All, steps, status)?;
        if sent == Sent::All {
            self.sending = false;
            self.sent = self.step;
        }
        Ok(sent != Sent::Blocked)
    }

    fn backward<P: Platform>(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut Memory<'_>,
        pe: &mut P,
    ) -> Result<bool, Fault> {
        let steps = self.config.steps;
        if self.lacks_errors && matches!(self.backward_in.known(steps)?, Known::Not(_)) {
            return Ok(false);
        }
        let mut worked = false;
        if !self.sending {
            worked = self.compute_backward(kernels, memory)?;
        }
        if self.sending {
            worked |= self.send_errors(memory, pe)?;
        }
        if !self.sending && self.back == steps + self.config.scheme.delay() {
            self.begin_sample(self.share.next(self.minibatch, self.sample), memory);
            worked = true;
        }
        Ok(worked)
    }

    /// Computes steps until one has arrivals to be answered; `false` when the errors of the first one have
    /// not arrived.
    ///
    /// What arrived in a step was emitted `delay` steps before. So the last steps of the sample have arrivals
    /// that were never computed, and are answered without any error.
    #[inline(never)]
    fn compute_backward(
        &mut self,
        kernels: &impl Kernels,
        memory: &mut Memory<'_>,
    ) -> Result<bool, Fault> {
        let arrays = memory.rest.divide(&self.layout);
        let dynamics = self.dynamics(arrays.tables)?;
        let steps = self.config.steps;
        let answers = self.config.upstream_has_neurons;
        let sources = self.config.upstream.len();
        let weights = self.config.inputs * self.config.neurons;
        let mut statistics = Statistics::NEW;
        let (neurons, log) = (&mut arrays.neurons, &mut arrays.log);
        neurons.activity = self.activity;
        log.set_steps(steps);
        let before = self.back;
        self.lacks_errors = false;
        while !self.sending && self.back < steps + self.config.scheme.delay() {
            let arrivals = match (steps - 1).checked_sub(self.back) {
                Some(emitted) => {
                    &arrays.arrivals[arrivals_of(arrays.arrival_ends, sources, emitted)]
                }
                None => &[],
            };
            let step = steps + self.config.scheme.delay() - 1 - self.back;
            let spiked = step < steps && !log.range(step).is_empty();
            // Nothing happens in an empty step, but on the grid.
            let empty = self.config.scheme == Scheme::Exact && !spiked && arrivals.is_empty();
            if step < steps && !empty {
                let own = log.step_mut(step);
                if spiked {
                    let Known::Steps(known) = self.backward_in.known(steps)? else {
                        self.lacks_errors = true;
                        break;
                    };
                    self.take_errors(memory.backward, own.errors, &mut statistics);
                    self.backward_in.consume(memory.backward, known);
                }
                let sums = &mut arrays.sums[..if answers { arrivals.len() } else { 0 }];
                kernels.backward_step(
                    &dynamics,
                    &arrays.weights[..weights],
                    &mut arrays.gradient[..weights],
                    arrivals,
                    own,
                    neurons,
                    answers.then_some(&mut *sums),
                    &mut statistics,
                );
                if !self.config.split {
                    for sum in sums {
                        *sum = round_error(*sum, &mut statistics.saturations).into();
                    }
                }
            }
            self.back += 1;
            self.sending = answers && !arrivals.is_empty();
        }
        self.activity = neurons.activity;
        self.status.count(&statistics);
        Ok(self.back > before)
    }

    /// Takes the errors of a step's own events from the inbox.
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn take_errors(&self, memory: &[u32], errors: &mut [i32], statistics: &mut Statistics) {
        let events = errors.len();
        let words = |n| self.backward_in.answers(memory, n, events);
        if !self.config.downstream_split {
            errors.copy_from_slice(bytemuck::cast_slice(words(0)));
            return;
        }
        for (index, error) in errors.iter_mut().enumerate() {
            let share = |n| {
                let [high, low] = words(n).as_chunks().0[index];
                (u64::from(high) << 32 | u64::from(low)).cast_signed()
            };
            let shares = (0..self.config.downstream.len()).map(share);
            let sum = shares.fold(0i64, i64::saturating_add);
            *error = round_error(sum, &mut statistics.saturations);
        }
    }

    /// Answers the arrivals of the last computed step; `false` when that has to wait for an
    /// acknowledgement.
    fn send_errors<P: Platform>(
        &mut self,
        memory: &mut Memory<'_>,
        pe: &mut P,
    ) -> Result<bool, Fault> {
        let sources = self.config.upstream.len();
        let first = (self.config.steps - self.back) * sources;
        let computed = self.back > self.config.scheme.delay();
        let arrays = memory.rest.divide(&self.layout);
        let start = span(arrays.arrival_ends, first, first).start;
        while usize::from(self.target) < sources {
            let at = first + usize::from(self.target);
            let span = span(arrays.arrival_ends, at, at);
            if !span.is_empty() {
                let sums = match computed {
                    true => &arrays.sums[span.start - start..span.end - start],
                    false => &[],
                };
                let content = errors(self.config.split);
                let events = Events::Errors { sums, content };
                let target = Target::One(self.target);
                let (outbox, status) = (&mut self.backward_out, &mut self.status);
                match events.send(pe, outbox, target, 1, status)? {
                    Sent::All => {}
                    Sent::Busy => return Ok(true),
                    Sent::Blocked => return Ok(false),
                }
            }
            self.target += 1;
        }
        (self.sending, self.target) = (false, 0);
        Ok(true)
    }

    fn ready<P: Platform>(&mut self, pe: &mut P) -> Result<bool, Fault> {
        if self
            .hand_over
            .report(pe, &self.forward_out.port, &mut self.status)?
        {
            self.phase = Phase::Released;
        }
        Ok(true)
    }

    fn take_release(&mut self, memory: &mut Memory<'_>) -> bool {
        let released = self.hand_over.take_release();
        if released {
            self.minibatch += 1;
            self.begin_minibatch(memory);
        }
        released
    }
}

/// What a layer sends for a step.
enum Events<'a> {
    /// Spikes of its neurons, of which the first has this number in the whole layer.
    Spikes { events: &'a [Event], first: u16 },
    /// Error sums of arrivals: rounded, or shares of them.
    Errors { sums: &'a [i64], content: Content },
}

impl Events<'_> {
    /// Sends them. (One function for both directions: most of it is the same, and code memory is short.)
    #[inline(never)]
    fn send(
        &self,
        pe: &mut impl PacketSender,
        outbox: &mut Outbox,
        target: Target,
        steps: usize,
        status: &mut Status,
    ) -> Result<Sent, Fault> {
        let (events, content) = match *self {
            Self::Spikes { events, .. } => (events.len(), Content::Spikes),
            Self::Errors { sums, content } => (sums.len(), content),
        };
        let stretch = Outgoing {
            target,
            steps,
            events,
            content,
        };
        let message = |position: u32, packet: usize| match *self {
            Self::Spikes { events, first } => {
                let Event { neuron, offset } = events[packet];
                Message::Spike {
                    position: position as u16,
                    index: packet as u16,
                    event: Event {
                        neuron: first + neuron,
                        offset,
                    },
                }
            }
            Self::Errors { sums, content } => {
                let index = packet / content.lanes();
                let sum = sums[index];
                let (part, word) = match (content, packet % 2) {
                    (Content::Shares, 0) => (ErrorPart::High, (sum >> 32) as u32),
                    (Content::Shares, _) => (ErrorPart::Low, sum as u32),
                    _ => (ErrorPart::Whole, sum as u32),
                };
                Message::Error {
                    position: position as u16,
                    index: index as u16,
                    part,
                    word,
                }
            }
        };
        outbox.send(pe, &stretch, message, status)
    }
}

/// Indices of the arrivals of a step.
#[cfg_attr(not(target_arch = "arm"), inline)]
fn arrivals_of(ends: &[u32], sources: usize, step: usize) -> core::ops::Range<usize> {
    span(ends, step * sources, (step + 1) * sources - 1)
}

/// Indices of what stretches from the end before `first` to that of `last`.
#[cfg_attr(not(target_arch = "arm"), inline)]
fn span(ends: &[u32], first: usize, last: usize) -> core::ops::Range<usize> {
    let start = first
        .checked_sub(1)
        .map_or(0, |before| ends[before] as usize);
    start..ends[last] as usize
}
