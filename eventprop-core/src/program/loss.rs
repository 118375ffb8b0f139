//! The loss program: first spikes, the loss, and the errors that start the backward pass.

use bytemuck::{Pod, Zeroable};
use s2_hal::packet::Packet;

use super::memory::{Cut, Plan, Region, check};
use super::stream::{Inbox, Known, Neighbours, Outbox, Outgoing, Port, Sent, open, receive};
use super::{
    Fault, HandOver, Kernels, Mode, Platform, Program, Progress, ROUNDS_PER_POLL, Run, Share,
    Status, Waiting, check_replica, check_steps, input, offset, read, require, sample_address,
    sample_number, write,
};
use crate::event::{
    Content, Direction, ErrorPart, MAX_EVENTS_PER_STEP, MAX_NEIGHBOURS, Message, Source, Target,
    Word, sender,
};
use crate::log::Event;
use crate::loss::{SILENT, TimeToFirstSpike};
use crate::numeric::MAX_NEURONS;

/// What a loss PE is told when it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of this PE.
    pub source: Source,
    /// PEs of the output layer.
    pub upstream: Neighbours,
    /// Most events that each of them may send in one step.
    pub upstream_events: [u16; MAX_NEIGHBOURS],
    /// Which replica this is.
    pub replica: u32,
    /// Replicas in all.
    pub replicas: u32,
    /// Steps of a sample.
    pub steps: usize,
    /// Binary logarithm of the ticks per step.
    pub tick_bits: u32,
    /// Output neurons.
    pub outputs: usize,
    /// The loss.
    pub loss: TimeToFirstSpike,
    /// Stretches of steps that may be under way.
    pub window: usize,
}

/// What became of one sample: 16 bytes in the host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SampleResult {
    /// The loss ([`crate::numeric::LOSS_FRACTION`] fraction bits).
    pub loss: i64,
    /// Output of the earliest spike, or [`Self::NONE`].
    pub prediction: u16,
    /// The label.
    pub label: u16,
    /// Which of the flags below hold.
    pub flags: u32,
}

impl SampleResult {
    /// The label's output alone spiked first.
    pub const CORRECT: u32 = 1;
    /// No output spiked before the label's.
    pub const CORRECT_WITH_TIES: u32 = 2;
    /// The label's output did not spike.
    pub const LABEL_SILENT: u32 = 4;
    /// No output spiked.
    pub const NONE: u16 = u16::MAX;
}

/// The first spike of an output: when, and which event it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FirstSpike {
    /// Ticks since the start of the sample, or [`SILENT`].
    pub ticks: u32,
    step: u16,
    index: u16,
    source: u32,
    error: i32,
}

/// Where a loss PE keeps what.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// What it counts.
    pub status: Region<Status>,
    /// Samples of the minibatch whose label was output k, and k silent; read by the optimiser.
    pub silent_labels: Region<u32>,
    /// First spike of every output.
    pub first: Region<FirstSpike>,
    times: Region<u32>,
    errors: Region<i32>,
    /// Bit n of each step: source n had events in it, which are to be answered.
    answers: Region<u16>,
    order: Region<u32>,
    head: Region<u32>,
    inbox: Region<u32>,
    /// Bytes of all.
    pub bytes: usize,
}

impl Layout {
    const EMPTY: Self = Self {
        status: Region::EMPTY,
        silent_labels: Region::EMPTY,
        first: Region::EMPTY,
        times: Region::EMPTY,
        errors: Region::EMPTY,
        answers: Region::EMPTY,
        order: Region::EMPTY,
        head: Region::EMPTY,
        inbox: Region::EMPTY,
        bytes: 0,
    };
}

impl Config {
    const EMPTY: Self = Self {
        source: 0,
        upstream: Neighbours::NONE,
        upstream_events: [0; MAX_NEIGHBOURS],
        replica: 0,
        replicas: 0,
        steps: 0,
        tick_bits: 0,
        outputs: 0,
        loss: TimeToFirstSpike::NONE,
        window: 0,
    };

    fn check(&self) -> Result<(), Fault> {
        check_replica(self.replica, self.replicas)?;
        check_steps(self.steps, self.tick_bits, self.window)?;
        self.upstream.check()?;
        require(
            (1..=MAX_NEURONS).contains(&self.outputs),
            "a network has 1 to 4095 outputs",
        )?;
        require(
            (self.upstream_events().iter())
                .all(|&events| usize::from(events) <= MAX_EVENTS_PER_STEP),
            "a PE may emit 4096 events in a step",
        )
    }

    fn upstream_events(&self) -> &[u16] {
        &self.upstream_events[..self.upstream.len()]
    }

    /// Words of receive ring that its neighbours can fill.
    #[must_use]
    pub fn ring_words(&self) -> usize {
        let arriving = self.upstream_events().iter().map(|&n| usize::from(n)).sum();
        super::ring_words(self.window, arriving, 1, self.upstream.len())
            // Acknowledgements, and the optimiser's release.
            + 2 * (self.window * self.upstream.len() + 1)
    }

    /// Places the program's memory.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let inbox = Inbox::memory(self.upstream_events(), Content::Spikes, self.window);
        let mut plan = Plan::new();
        let mut layout = Layout {
            status: plan.region(1),
            silent_labels: plan.region(self.outputs.next_multiple_of(4)),
            first: plan.region(self.outputs),
            times: plan.region(self.outputs),
            errors: plan.region(self.outputs),
            answers: plan.region(self.steps),
            order: plan.region(4),
            head: plan.region(4),
            inbox: plan.region(inbox),
            bytes: 0,
        };
        layout.bytes = plan.bytes();
        layout
    }
}

struct Memory<'m> {
    status: &'m mut [Status],
    silent_labels: &'m mut [u32],
    first: &'m mut [FirstSpike],
    times: &'m mut [u32],
    errors: &'m mut [i32],
    answers: &'m mut [u16],
    order: &'m mut [u32],
    head: &'m mut [u32],
    inbox: &'m mut [u32],
}

impl<'m> Memory<'m> {
    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn new(layout: &Layout, memory: &'m mut [u64]) -> Self {
        let mut cut = Cut::new(memory);
        Self {
            status: cut.take(layout.status),
            silent_labels: cut.take(layout.silent_labels),
            first: cut.take(layout.first),
            times: cut.take(layout.times),
            errors: cut.take(layout.errors),
            answers: cut.take(layout.answers),
            order: cut.take(layout.order),
            head: cut.take(layout.head),
            inbox: cut.take(layout.inbox),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Done,
    Forward,
    Backward,
    Ready,
    Released,
}

/// The loss program.
#[derive(Clone, Debug)]
pub struct Loss {
    config: Config,
    layout: Layout,
    inbox: Inbox,
    outbox: Outbox,
    run: Run,
    share: Share,
    phase: Phase,
    minibatch: u32,
    hand_over: HandOver,
    sample: u32,
    /// Steps done, forward or backward.
    step: usize,
    /// Backward: the neighbour that is answered next.
    target: u8,
    /// The memory of the inbox is in use, and no longer what was there before.
    started: bool,
    status: Status,
}

impl Program for Loss {
    type Config = Config;

    const NAME: &'static str = "loss";

    fn check(config: &Config) -> Result<(), Fault> {
        config.check()
    }

    const EMPTY: Self = Self {
        config: Config::EMPTY,
        layout: Layout::EMPTY,
        inbox: Inbox::EMPTY,
        outbox: Outbox::EMPTY,
        run: Run::NONE,
        share: Share::NONE,
        phase: Phase::Done,
        minibatch: 0,
        hand_over: HandOver::NEW,
        sample: 0,
        step: 0,
        target: 0,
        started: false,
        status: Status::EMPTY,
    };

    fn configure(&mut self, config: Config) {
        self.status = Status::NEW;
        self.config = config;
        self.layout = config.layout();
        self.inbox.configure(
            config.upstream.sources(),
            config.upstream_events(),
            Content::Spikes,
            config.window,
        );
        let port = Port::new(config.source, Direction::Upstream, config.upstream);
        self.outbox.configure(port, config.window);
    }

    fn memory_bytes(config: &Config) -> usize {
        config.layout().bytes
    }

    fn ring_words(config: &Config) -> usize {
        config.ring_words()
    }

    fn start(&mut self, run: Run, memory: &mut [u64]) -> Result<(), Fault> {
        check(memory, self.layout.bytes)?;
        self.run = run;
        self.share = Share::new(self.config.replica, self.config.replicas, &run);
        self.minibatch = 0;
        let mut memory = Memory::new(&self.layout, memory);
        if !core::mem::replace(&mut self.started, true) {
            memory.inbox.fill(0);
        }
        self.begin_minibatch(&mut memory);
        Ok(())
    }

    fn poll<P: Platform>(
        &mut self,
        _: &impl Kernels,
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
                Phase::Forward => self.forward(&mut memory, pe)?,
                Phase::Backward => self.backward(&mut memory, pe)?,
                Phase::Ready => {
                    if self
                        .hand_over
                        .report(pe, &self.outbox.port, &mut self.status)?
                    {
                        self.phase = Phase::Released;
                    }
                    true
                }
                Phase::Released => {
                    let released = self.hand_over.take_release();
                    if released {
                        self.minibatch += 1;
                        self.begin_minibatch(&mut memory);
                    }
                    released
                }
            };
            // A busy transmitter asks for another round.
            let told = (self.inbox).acknowledge(pe, &self.outbox.port, worked, &mut self.status)?;
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
            Phase::Forward => self.inbox.waiting(),
            Phase::Backward => self.outbox.waiting(Target::One(self.target)),
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
        self.step as u32
    }
}

impl Loss {
    fn begin_minibatch(&mut self, memory: &mut Memory<'_>) {
        if self.minibatch >= self.share.minibatches() {
            self.finish(memory);
            return;
        }
        memory.silent_labels.fill(0);
        self.begin_sample(self.share.first(self.minibatch), memory);
    }

    fn begin_sample(&mut self, sample: Option<u32>, memory: &mut Memory<'_>) {
        match (sample, self.run.mode) {
            (Some(sample), _) => {
                self.sample = sample;
                self.step = 0;
                self.inbox.restart();
                memory.answers.fill(0);
                memory.first.fill(FirstSpike {
                    ticks: SILENT,
                    ..FirstSpike::zeroed()
                });
                self.phase = Phase::Forward;
            }
            (None, Mode::Train) => {
                memory.status[0] = self.status;
                self.phase = Phase::Ready;
            }
            (None, Mode::Evaluate) => self.finish(memory),
        }
    }

    fn finish(&mut self, memory: &mut Memory<'_>) {
        memory.status[0] = self.status;
        self.phase = Phase::Done;
    }

    #[cfg_attr(not(target_arch = "arm"), inline)]
    fn accept(&mut self, memory: &mut Memory<'_>, packet: Packet) -> Result<(), Fault> {
        let unexpected = Fault::UnexpectedPacket { key: packet.key };
        let status = &mut self.status;
        let (_, source) = sender(packet);
        let from = self.config.upstream.position(source);
        if let Some(word) = Word::of(packet) {
            let from = from.ok_or(unexpected)?;
            return (self.inbox).word(memory.inbox, from, packet, &word, status);
        }
        match (open(packet)?.message, from) {
            (Message::Release { minibatch }, _) => {
                self.hand_over.release(minibatch, status).ok_or(unexpected)
            }
            (
                Message::Marker {
                    position,
                    steps,
                    count,
                    checksum,
                },
                Some(from),
            ) => (self.inbox).marker(from, position, (steps, count, checksum), status),
            (Message::Acknowledge { position }, Some(from)) => {
                self.outbox.acknowledged(from, position, status)
            }
            _ => Err(unexpected),
        }
    }

    fn forward<P: Platform>(&mut self, memory: &mut Memory<'_>, pe: &mut P) -> Result<bool, Fault> {
        if self.step < self.config.steps {
            let Known::Steps(known) = self.inbox.known(self.config.steps)? else {
                return Ok(false);
            };
            let step = known - 1;
            let events = self.inbox.events(memory.inbox, known);
            for (n, (source, words)) in events.enumerate() {
                memory.answers[step] |= u16::from(!words.is_empty()) << n;
                for (index, &word) in words.iter().enumerate() {
                    let Event { neuron, offset } = Word::event(word);
                    let first = memory.first.get_mut(usize::from(neuron)).ok_or(
                        Fault::EventOutOfRange {
                            source,
                            neuron,
                            offset,
                        },
                    )?;
                    // Events of a neuron come in order of time.
                    if first.ticks == SILENT {
                        *first = FirstSpike {
                            ticks: ((step as u32) << self.config.tick_bits) + u32::from(offset),
                            step: step as u16,
                            index: index as u16,
                            source: n as u32,
                            error: 0,
                        };
                    }
                }
            }
            self.inbox.consume(memory.inbox, known);
            self.step = known;
            return Ok(true);
        }
        self.evaluate(memory, pe)?;
        if self.run.mode == Mode::Train {
            self.step = 0;
            self.phase = Phase::Backward;
        } else {
            self.begin_sample(self.share.next(self.minibatch, self.sample), memory);
        }
        Ok(true)
    }

    fn evaluate<P: Platform>(&mut self, memory: &mut Memory<'_>, pe: &mut P) -> Result<(), Fault> {
        let sample = sample_number(pe, &self.run, self.sample, memory.order)?;
        read(pe, sample_address(&self.run, sample)?, memory.head)?;
        let (_, label) = input::sample::parse_head(memory.head[0]);
        if usize::from(label) >= self.config.outputs {
            return Err(Fault::BadSample { sample });
        }
        for (time, first) in memory.times.iter_mut().zip(&*memory.first) {
            *time = first.ticks;
        }
        let outcome = self.config.loss.evaluate(
            pe,
            memory.times,
            label.into(),
            memory.errors,
            &mut self.status.saturations,
        );
        for (first, &error) in memory.first.iter_mut().zip(&*memory.errors) {
            first.error = error;
        }
        memory.silent_labels[usize::from(label)] += u32::from(outcome.label_silent);
        let flag = |holds: bool, bit: u32| if holds { bit } else { 0 };
        let result = SampleResult {
            loss: outcome.loss,
            prediction: outcome.prediction.unwrap_or(SampleResult::NONE),
            label,
            flags: flag(outcome.correct, SampleResult::CORRECT)
                | flag(outcome.correct_with_ties, SampleResult::CORRECT_WITH_TIES)
                | flag(outcome.label_silent, SampleResult::LABEL_SILENT),
        };
        memory.head.copy_from_slice(bytemuck::cast_slice(&[result]));
        let to = offset(
            self.run.results,
            self.sample as usize * size_of::<SampleResult>(),
        )?;
        write(pe, memory.head, to)
    }

    fn backward<P: Platform>(
        &mut self,
        memory: &mut Memory<'_>,
        pe: &mut P,
    ) -> Result<bool, Fault> {
        let first = &*memory.first;
        while self.step < self.config.steps {
            let step = self.config.steps - 1 - self.step;
            let answers = u32::from(memory.answers[step]) >> self.target;
            if answers == 0 {
                self.step += 1;
                self.target = 0;
                continue;
            }
            self.target += answers.trailing_zeros() as u8;
            let source = u32::from(self.target);
            let errors = first.iter().filter(|first| {
                let spiked = first.ticks != SILENT && first.error != 0;
                spiked && usize::from(first.step) == step && first.source == source
            });
            let stretch = Outgoing {
                target: Target::One(self.target),
                steps: 1,
                events: errors.clone().count(),
                content: Content::Errors,
            };
            let message = |position: u32, packet: usize| {
                let Some(first) = errors.clone().nth(packet) else {
                    unreachable!("counted before")
                };
                Message::Error {
                    position: position as u16,
                    index: first.index,
                    part: ErrorPart::Whole,
                    word: first.error.cast_unsigned(),
                }
            };
            let status = &mut self.status;
            match (self.outbox).send(pe, &stretch, message, status)? {
                Sent::All => self.target += 1,
                Sent::Busy => return Ok(true),
                Sent::Blocked => return Ok(false),
            }
        }
        self.begin_sample(self.share.next(self.minibatch, self.sample), memory);
        Ok(true)
    }
}
