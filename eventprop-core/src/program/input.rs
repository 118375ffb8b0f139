//! The input program: injects the spikes of its replica's samples.

use super::memory::{ALIGNMENT, Cut, Plan, Region, check};
use super::stream::{Neighbours, Outbox, Outgoing, Port, Sent, open, receive};
use super::{
    Fault, Kernels, Platform, Program, Progress, ROUNDS_PER_POLL, Run, Share, Status, Waiting,
    check_replica, check_steps, read, require, sample_address, sample_number, spike_hash,
};
use crate::event::{
    Content, Direction, Envelope, MAX_EVENTS_PER_STEP, MAX_STRETCH, Message, Source, Target,
};
use crate::log::Event;
use crate::numeric::MAX_NEURONS;

/// Most bytes of a sample: no PE has more memory.
const MAX_SAMPLE_BYTES: usize = 128 * 1024;

/// What an input PE is told when it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Number of this PE.
    pub source: Source,
    /// PEs of the first neuron layer.
    pub downstream: Neighbours,
    /// Which replica this is.
    pub replica: u32,
    /// Replicas in all.
    pub replicas: u32,
    /// Steps of a sample.
    pub steps: usize,
    /// Binary logarithm of the ticks per step.
    pub tick_bits: u32,
    /// Input channels.
    pub channels: u16,
    /// Most events in one step of any sample.
    pub events_per_step: usize,
    /// Most bytes of a sample ([`Run::stride`]).
    pub sample_bytes: usize,
    /// Stretches of steps that may be under way.
    pub window: usize,
}

/// Where an input PE keeps what.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// What it counts.
    pub status: Region<Status>,
    /// A stretch of the run's order.
    pub order: Region<u32>,
    /// The sample at hand.
    pub sample: Region<u32>,
    /// Bytes of all.
    pub bytes: usize,
}

impl Layout {
    const EMPTY: Self = Self {
        status: Region::EMPTY,
        order: Region::EMPTY,
        sample: Region::EMPTY,
        bytes: 0,
    };
}

impl Config {
    const EMPTY: Self = Self {
        source: 0,
        downstream: Neighbours::NONE,
        replica: 0,
        replicas: 0,
        steps: 0,
        tick_bits: 0,
        channels: 0,
        events_per_step: 0,
        sample_bytes: 0,
        window: 0,
    };

    fn check(&self) -> Result<(), Fault> {
        check_replica(self.replica, self.replicas)?;
        check_steps(self.steps, self.tick_bits, self.window)?;
        self.downstream.check()?;
        require(
            (1..=MAX_NEURONS + 1).contains(&usize::from(self.channels)),
            "an input has 1 to 4096 channels",
        )?;
        require(
            self.events_per_step <= MAX_EVENTS_PER_STEP,
            "a PE may emit 4096 events in a step",
        )?;
        require(
            self.sample_bytes <= MAX_SAMPLE_BYTES && self.sample_bytes.is_multiple_of(ALIGNMENT),
            "a sample takes at most 128 kB, a multiple of 16 bytes",
        )
    }

    /// Places the program's memory.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let mut plan = Plan::new();
        let mut layout = Layout {
            status: plan.region(1),
            order: plan.region(4),
            sample: plan.region(self.sample_bytes / size_of::<u32>()),
            bytes: 0,
        };
        layout.bytes = plan.bytes();
        layout
    }
}

/// A sample in memory: a head and its events, one word each, in order of time.
pub mod sample {
    use super::Event;

    /// Words before the events.
    pub const HEAD_WORDS: usize = 1;

    /// The head: number of events and label.
    #[must_use]
    pub fn head(events: u16, label: u16) -> u32 {
        u32::from(label) << 16 | u32::from(events)
    }

    /// Number of events and label of a head.
    #[must_use]
    pub fn parse_head(word: u32) -> (u16, u16) {
        (word as u16, (word >> 16) as u16)
    }

    /// An event: step (11 bits), channel (12 bits), offset (9 bits).
    #[must_use]
    pub fn event(step: u16, event: Event) -> u32 {
        u32::from(step) << 21 | u32::from(event.neuron) << 9 | u32::from(event.offset)
    }

    /// Step and event of a word.
    #[must_use]
    pub fn parse_event(word: u32) -> (u16, Event) {
        let event = Event {
            neuron: (word >> 9 & 0xFFF) as u16,
            offset: (word & 0x1FF) as u16,
        };
        ((word >> 21) as u16, event)
    }

    /// Bytes from one sample to the next, for samples of at most `events` events.
    #[must_use]
    pub const fn stride(events: usize) -> usize {
        ((HEAD_WORDS + events) * 4).next_multiple_of(16)
    }
}

/// The input program.
#[derive(Clone, Debug)]
pub struct Input {
    config: Config,
    layout: Layout,
    outbox: Outbox,
    run: Option<(Run, Share)>,
    minibatch: u32,
    /// Index into the run's order.
    sample: u32,
    loaded: bool,
    /// Steps of the sample that were sent, and their events.
    step: usize,
    sent: usize,
    /// Steps of the stretch at hand, and events of the last of them.
    stretch: usize,
    events: usize,
    status: Status,
}

impl Program for Input {
    type Config = Config;

    const NAME: &'static str = "input";

    fn check(config: &Config) -> Result<(), Fault> {
        config.check()
    }

    const EMPTY: Self = Self {
        config: Config::EMPTY,
        layout: Layout::EMPTY,
        outbox: Outbox::EMPTY,
        run: None,
        minibatch: 0,
        sample: 0,
        loaded: false,
        step: 0,
        sent: 0,
        stretch: 0,
        events: 0,
        status: Status::EMPTY,
    };

    fn configure(&mut self, config: Config) {
        self.status = Status::NEW;
        self.config = config;
        self.layout = config.layout();
        let port = Port::new(config.source, Direction::Downstream, config.downstream);
        self.outbox.configure(port, config.window);
    }

    fn memory_bytes(config: &Config) -> usize {
        config.layout().bytes
    }

    fn ring_words(config: &Config) -> usize {
        2 * config.window * config.downstream.len()
    }

    fn start(&mut self, run: Run, memory: &mut [u64]) -> Result<(), Fault> {
        check(memory, self.layout.bytes)?;
        if run.stride as usize > self.config.sample_bytes {
            return Err(Fault::Configuration(
                "samples are longer than the input PE's buffer",
            ));
        }
        let share = Share::new(self.config.replica, self.config.replicas, &run);
        self.run = Some((run, share));
        self.minibatch = 0;
        self.begin(share.first(0));
        Ok(())
    }

    fn poll<P: Platform>(
        &mut self,
        _: &impl Kernels,
        memory: &mut [u64],
        pe: &mut P,
    ) -> Result<Progress, Fault> {
        let mut cut = Cut::new(memory);
        let status = cut.take(self.layout.status);
        let order = cut.take(self.layout.order);
        let words = cut.take(self.layout.sample);
        for _ in 0..ROUNDS_PER_POLL {
            while let Some(packet) = receive(pe)? {
                self.accept(open(packet)?)
                    .unwrap_or(Err(Fault::UnexpectedPacket { key: packet.key }))?;
            }
            let Some((run, share)) = self.run else {
                status[0] = self.status;
                return Ok(Progress::Done);
            };
            if !self.loaded {
                let number = sample_number(pe, &run, self.sample, order)?;
                let bad = Fault::BadSample { sample: number };
                let used = run.stride as usize / size_of::<u32>();
                read(pe, sample_address(&run, number)?, &mut words[..used])?;
                self.check_sample(&words[..used]).ok_or(bad)?;
                self.loaded = true;
                self.find_stretch(words);
            }
            match self.send_stretch(words, pe)? {
                Sent::All if self.step == self.config.steps => {
                    self.begin(share.next(self.minibatch, self.sample));
                }
                Sent::All => self.find_stretch(words),
                Sent::Busy => {}
                Sent::Blocked => return Ok(Progress::Idle),
            }
        }
        Ok(Progress::Worked)
    }

    fn waiting(&self) -> Waiting {
        if self.run.is_none() {
            Waiting::Nothing
        } else {
            self.outbox.waiting(Target::All)
        }
    }

    fn phase(&self) -> super::Phase {
        if self.run.is_some() {
            super::Phase::Forward
        } else {
            super::Phase::Idle
        }
    }

    fn step(&self) -> u32 {
        self.step as u32
    }
}

impl Input {
    /// Turns to a sample, or to the next minibatch that has one.
    fn begin(&mut self, mut sample: Option<u32>) {
        let Some((_, share)) = self.run else { return };
        while sample.is_none() {
            self.minibatch += 1;
            if self.minibatch >= share.minibatches() {
                self.run = None;
                return;
            }
            sample = share.first(self.minibatch);
        }
        self.sample = sample.unwrap_or(0);
        self.loaded = false;
        self.step = 0;
        self.sent = 0;
    }

    /// Takes an acknowledgement; `None` for anything else.
    fn accept(&mut self, envelope: Envelope) -> Option<Result<(), Fault>> {
        let Message::Acknowledge { position } = envelope.message else {
            return None;
        };
        let n = self.config.downstream.position(envelope.source)?;
        Some(self.outbox.acknowledged(n, position, &mut self.status))
    }

    /// Sends the stretch at hand.
    fn send_stretch<P: Platform>(&mut self, words: &[u32], pe: &mut P) -> Result<Sent, Fault> {
        let events = &words[sample::HEAD_WORDS + self.sent..][..self.events];
        let message = |position: u32, n: usize| Message::Spike {
            position: position as u16,
            index: n as u16,
            event: sample::parse_event(events[n]).1,
        };
        let stretch = Outgoing {
            target: Target::All,
            steps: self.stretch,
            events: events.len(),
            content: Content::Spikes,
        };
        let status = &mut self.status;
        let sent = (self.outbox).send(pe, &stretch, message, status)?;
        if sent == Sent::All {
            for &word in events {
                let (step, event) = sample::parse_event(word);
                let ticks = (u32::from(step) << self.config.tick_bits) + u32::from(event.offset);
                let hash = spike_hash(self.sample, 0, event.neuron.into(), ticks);
                self.status.spike_digest = self.status.spike_digest.wrapping_add(hash);
            }
            self.status.spikes += events.len() as u64;
            self.sent += events.len();
            self.step += self.stretch;
        }
        Ok(sent)
    }

    /// Finds the next stretch: up to the next step with events, the last one of the sample, or as far as
    /// a marker reaches.
    fn find_stretch(&mut self, words: &[u32]) {
        let (events, _) = sample::parse_head(words[0]);
        let rest = &words[sample::HEAD_WORDS + self.sent..sample::HEAD_WORDS + usize::from(events)];
        let step_of = |word| usize::from(sample::parse_event(word).0);
        let mut until = self.config.steps.min(self.step + MAX_STRETCH);
        if let Some(&next) = rest.first() {
            until = until.min(step_of(next) + 1);
        }
        self.stretch = until - self.step;
        self.events = (rest.iter())
            .take_while(|&&word| step_of(word) == until - 1)
            .count();
    }

    /// Checks a sample: events within memory, in order of steps, of existing channels and ticks.
    fn check_sample(&self, words: &[u32]) -> Option<()> {
        let (events, _) = sample::parse_head(*words.first()?);
        let events = words.get(sample::HEAD_WORDS..sample::HEAD_WORDS + usize::from(events))?;
        let (mut before, mut in_step) = (0, 0);
        for &word in events {
            let (step, event) = sample::parse_event(word);
            in_step = if step == before { in_step + 1 } else { 1 };
            let fits = step >= before
                && usize::from(step) < self.config.steps
                && event.neuron < self.config.channels
                && u32::from(event.offset) <= 1 << self.config.tick_bits
                && in_step <= self.config.events_per_step;
            if !fits {
                return None;
            }
            before = step;
        }
        Some(())
    }
}
