//! The chip and its scheduler.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::counters::{Counters, PeCounters};
use super::engine::Job;
use super::fault::{FaultPlan, Faults, PacketFault};
use super::memory::Memories;
use super::pe::Pe;
use super::registers::Periphery;
use super::ring::{Flight, Ring};
use super::router::{Route, Table};
use super::{Program, Progress, number, pe, timing};
use crate::dma::Address;
use crate::packet::Packet;
use crate::rng::{Kiss64, SeedableRng};
use crate::router::{self, Entry, ErrorType, Router, TableError};
use crate::topology::{self, PES, PeId};

/// Settings of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Seed of everything random: the order in which PEs are polled and packets arrive, and faults.
    pub seed: u64,
    /// Words of each receive ring. See also [`Chip::set_ring_words`].
    pub ring_words: usize,
    /// A late packet takes up to this many cycles longer than its way, at random.
    pub jitter_cycles: u32,
    /// One packet in so many is late, at random; 1 (or 0): every one.
    pub late_one_in: u32,
    /// Cycles that the transmitter takes for a packet. Above 10, a program that sends several packets
    /// at once finds it busy.
    pub transmit_cycles: u32,
    /// Cycles after which [`Chip::run`] gives up.
    pub time_limit: u64,
    /// What goes wrong.
    pub faults: FaultPlan,
}

impl Default for Config {
    /// Seed 0, rings of 512 words (as production programs have them), up to 100 cycles of jitter for every
    /// packet, 5 cycles to transmit, a minute of the chip's time per run, no faults.
    fn default() -> Self {
        Self {
            seed: 0,
            ring_words: 512,
            jitter_cycles: 100,
            late_one_in: 1,
            transmit_cycles: 5,
            time_limit: 60 * u64::from(timing::FREQUENCY),
            faults: FaultPlan::default(),
        }
    }
}

/// A run that ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunReport {
    /// Cycles from start to end, at [`FREQUENCY`](super::FREQUENCY) per second.
    pub cycles: u64,
    /// Polls of all programs.
    pub polls: u64,
}

/// Why a run ended without all programs being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError<F> {
    /// A program failed.
    Fault {
        /// Its PE.
        pe: PeId,
        /// What it said.
        fault: F,
    },
    /// No program makes progress and nothing is under way that could wake one.
    Stalled {
        /// PEs whose programs are not done.
        waiting: Vec<PeId>,
    },
    /// The time limit has passed.
    TimeLimit {
        /// The limit in cycles.
        cycles: u64,
        /// PEs whose programs are not done.
        waiting: Vec<PeId>,
    },
    /// A program was to run on a PE that does not exist.
    NoSuchPe {
        /// The PE.
        pe: PeId,
    },
    /// Two programs were to run on one PE.
    PeTakenTwice {
        /// The PE.
        pe: PeId,
    },
}

impl<F: std::fmt::Display> std::fmt::Display for RunError<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn list(f: &mut std::fmt::Formatter<'_>, waiting: &[PeId]) -> std::fmt::Result {
            for (place, pe) in waiting.iter().enumerate() {
                let comma = if place == 0 { ":" } else { "," };
                write!(f, "{comma} {pe}")?;
            }
            Ok(())
        }
        match self {
            Self::Fault { pe, fault } => write!(f, "{pe}: {fault}"),
            Self::Stalled { waiting } => {
                write!(f, "stalled, {} PEs wait for something", waiting.len())?;
                list(f, waiting)
            }
            Self::TimeLimit { cycles, waiting } => {
                let pes = waiting.len();
                write!(f, "{pes} PEs are not done after {cycles} cycles")?;
                list(f, waiting)
            }
            Self::NoSuchPe { pe } => write!(f, "the chip has no {pe}"),
            Self::PeTakenTwice { pe } => write!(f, "two programs for {pe}"),
        }
    }
}

impl<F: std::fmt::Debug + std::fmt::Display> std::error::Error for RunError<F> {}

/// Bytes that the host wanted are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError {
    /// First address.
    pub address: Address,
    /// Length in bytes.
    pub length: usize,
}

impl std::fmt::Display for AccessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no {} bytes of memory at {}", self.length, self.address)
    }
}

impl std::error::Error for AccessError {}

/// The chip.
///
/// Equal settings, memories, programs and calls give equal results, to the bit and to the cycle.
pub struct Chip {
    pub(super) machine: Machine,
    pub(super) memories: Memories,
}

/// Everything but the memories.
pub(super) struct Machine {
    pub(super) now: u64,
    pub(super) rng: Kiss64,
    pub(super) table: Table,
    pub(super) pes: Vec<PeState>,
    pub(super) faults: Faults,
    pub(super) transmit_cycles: u64,
    /// Cycles that a transmitter is busy ahead of when it takes no more packets.
    pub(super) transmit_full: u64,
    pub(super) periphery: Periphery,
    /// When PEs are to be polled. One that was roused earlier since then is in it for nothing.
    wakes: BinaryHeap<Reverse<Wake>>,
    jitter_cycles: u32,
    late_one_in: u32,
    time_limit: u64,
    counters: Counters,
    /// From each PE.
    to_router: Vec<ToRouter>,
}

/// The way from a PE to the router.
struct ToRouter {
    cycles: u64,
    hops: u32,
    /// Key of the last packet that took it, and its route if there is one: mostly the next one is alike.
    key: Option<u32>,
    route: Option<Route>,
    /// Packets of this route that the counters do not hold yet.
    packets: u64,
}

impl ToRouter {
    /// Adds the packets that are not counted yet.
    fn count(&self, counters: &mut Counters) {
        counters.hops += self.packets * u64::from(self.hops);
        match &self.route {
            None => counters.router_misses += self.packets,
            Some(route) => {
                counters.hops += self.packets * u64::from(route.hops);
                counters.router_hits += self.packets;
                counters.left_chip += self.packets * u64::from(route.links);
            }
        }
    }
}

pub(super) struct PeState {
    pub(super) ring: Ring,
    /// Packets were dropped and the program was not told yet.
    pub(super) overrun: bool,
    pub(super) job: Option<Job>,
    pub(super) transmitter_free: u64,
    /// The transmitter refused a packet and was not free at a poll since.
    pub(super) send_refused: bool,
    pub(super) kiss: Kiss64,
    pub(super) counters: PeCounters,
    activity: Activity,
    /// The program has finished in this run.
    done: bool,
    /// Until then the program is at work.
    busy_until: u64,
}

/// When which PE is to be polled, as one number: they are compared a lot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wake(u64);

impl Wake {
    /// The last time that there is: after seven years.
    const END: u64 = u64::MAX >> u8::BITS;

    #[inline]
    fn new(time: u64, pe: usize) -> Self {
        Self(time << u8::BITS | pe as u64)
    }

    #[inline]
    fn time(self) -> u64 {
        self.0 >> u8::BITS
    }

    #[inline]
    fn pe(self) -> usize {
        usize::from(self.0 as u8)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Activity {
    /// No program, a finished one, or one that hangs.
    Off,
    Asleep,
    /// To be polled at that time.
    Awake(u64),
}

impl Chip {
    /// A chip with empty memories, rings and router.
    pub fn new(config: Config) -> Self {
        let pes = (0..PES)
            .map(|number| PeState {
                ring: Ring::new(config.ring_words),
                overrun: false,
                job: None,
                transmitter_free: 0,
                send_refused: false,
                kiss: Kiss64::for_pe(0, pe(number).noc_id()),
                counters: PeCounters::default(),
                activity: Activity::Off,
                done: false,
                busy_until: 0,
            })
            .collect();
        let to_router = (0..PES)
            .map(|number| {
                let pe = pe(number);
                let hops = topology::hops_to_router((pe.x, pe.y));
                ToRouter {
                    cycles: u64::from(hops) * timing::HOP + timing::ROUTER,
                    hops,
                    key: None,
                    route: None,
                    packets: 0,
                }
            })
            .collect();
        Self {
            machine: Machine {
                now: 0,
                rng: Kiss64::seed_from_u64(config.seed),
                table: Table::new(&[]),
                pes,
                faults: Faults::new(&config.faults, number),
                transmit_cycles: config.transmit_cycles.into(),
                transmit_full: timing::TRANSMIT_SLOTS * u64::from(config.transmit_cycles.max(1)),
                periphery: Periphery::default(),
                wakes: BinaryHeap::new(),
                jitter_cycles: config.jitter_cycles,
                late_one_in: config.late_one_in.max(1),
                time_limit: config.time_limit,
                counters: Counters::default(),
                to_router,
            },
            memories: Memories::new(),
        }
    }

    /// Runs each program on its PE until all are done.
    ///
    /// Packets that are under way at the end, and those in rings, stay for the next run.
    ///
    /// # Errors
    /// See [`RunError`]. The programs can then be asked what they were waiting for.
    ///
    /// # Panics
    /// If a program does. The SRAM of its PE is lost: later uses of it panic too.
    pub fn run<P: Program>(
        &mut self,
        programs: &mut [(PeId, P)],
    ) -> Result<RunReport, RunError<P::Fault>> {
        let machine = &mut self.machine;
        // What an earlier run left behind.
        for state in &mut machine.pes {
            state.activity = Activity::Off;
            state.done = false;
        }
        machine.wakes.clear();
        let mut program_of = [None; PES];
        for (place, &(pe, _)) in programs.iter().enumerate() {
            let number = number(pe).ok_or(RunError::NoSuchPe { pe })?;
            if program_of[number].replace(place).is_some() {
                return Err(RunError::PeTakenTwice { pe });
            }
        }
        let start = machine.end();
        for (number, place) in program_of.iter().enumerate() {
            if place.is_some() {
                let delay = machine.random_below(machine.jitter_cycles);
                machine.wake(number, start + 1 + delay);
                if let Some(arrival) = machine.pes[number].ring.next_arrival() {
                    machine.rouse(number, arrival);
                }
            }
        }
        let result = self.schedule(programs, &program_of, start);
        for number in 0..PES {
            self.machine.arrive(number);
        }
        result
    }

    /// Polls programs, each when it is due, until all are done.
    fn schedule<P: Program>(
        &mut self,
        programs: &mut [(PeId, P)],
        program_of: &[Option<usize>; PES],
        start: u64,
    ) -> Result<RunReport, RunError<P::Fault>> {
        let mut running = programs.len();
        let mut polls = 0;
        let mut due = Vec::new();
        let waiting = |machine: &Machine| {
            (0..PES)
                .filter(|&number| program_of[number].is_some() && !machine.pes[number].done)
                .map(pe)
                .collect()
        };
        while running > 0 {
            let machine = &mut self.machine;
            let Some(&Reverse(first)) = machine.wakes.peek() else {
                // Whatever is under way arrives before that is certain.
                let arrivals = machine.pes.iter().filter_map(|pe| pe.ring.last_arrival());
                machine.now = arrivals.fold(machine.now, u64::max);
                return Err(RunError::Stalled {
                    waiting: waiting(machine),
                });
            };
            let now = first.time();
            // Packets of an earlier run may arrive before the start of this one.
            if now.saturating_sub(start) > machine.time_limit {
                // So that a run that goes on from here comes to what is later.
                machine.now = machine.now.max(start.saturating_add(machine.time_limit));
                return Err(RunError::TimeLimit {
                    cycles: machine.time_limit,
                    waiting: waiting(machine),
                });
            }
            machine.now = now;
            due.clear();
            while let Some(&Reverse(wake)) = machine.wakes.peek()
                && wake.time() == now
            {
                machine.wakes.pop();
                due.push(wake.pe());
            }
            machine.shuffle(&mut due);
            for &number in &due {
                let machine = &mut self.machine;
                // The PE may have been roused earlier, or be due twice.
                if machine.pes[number].activity != Activity::Awake(now) {
                    continue;
                }
                let Some(place) = program_of[number] else {
                    continue;
                };
                if machine.faults.hangs(number) {
                    machine.pes[number].activity = Activity::Off;
                    continue;
                }
                polls += 1;
                let (id, program) = &mut programs[place];
                match self.poll(number, program) {
                    Ok(Progress::Done) => running -= 1,
                    Ok(Progress::Worked | Progress::Idle) => {}
                    Err(fault) => return Err(RunError::Fault { pe: *id, fault }),
                }
            }
        }
        Ok(RunReport {
            cycles: self.machine.end() - start,
            polls,
        })
    }

    /// Polls a program once and decides when it is polled next.
    fn poll<P: Program>(&mut self, number: usize, program: &mut P) -> Result<Progress, P::Fault> {
        self.machine.arrive(number);
        let mut memory = self.memories.take(number);
        let mut pe = Pe::new(number, &mut self.machine, &mut self.memories);
        let result = program.poll(bytemuck::cast_slice_mut(&mut memory), &mut pe);
        let (end, alarm) = (pe.end(), pe.alarm());
        self.memories.put(number, memory);

        let machine = &mut self.machine;
        let state = &mut machine.pes[number];
        state.busy_until = end;
        state.send_refused &= state.transmitter_free > machine.now;
        state.counters.polls += 1;
        match result {
            Ok(Progress::Worked) => machine.wake(number, end),
            Ok(Progress::Idle) => {
                state.counters.idle_polls += 1;
                state.activity = Activity::Asleep;
                let mut at = alarm.unwrap_or(u64::MAX);
                if let Some(arrival) = state.ring.next_arrival() {
                    at = at.min(arrival + timing::WAKE);
                }
                if state.send_refused {
                    at = at.min(state.transmitter_free);
                }
                if let Some(job) = &state.job {
                    at = at.min(job.end());
                }
                if at < u64::MAX {
                    machine.wake(number, at.max(end));
                }
            }
            Ok(Progress::Done) => {
                state.activity = Activity::Off;
                state.done = true;
            }
            Err(_) => state.activity = Activity::Off,
        }
        while let Some(number) = machine.periphery.take_stirred() {
            machine.rouse(number, end);
        }
        result
    }

    /// Copies from the chip to the host, as a debugger or the host link does: any address and length
    /// inside one memory, without the rules of DMA, at no cost in time.
    ///
    /// # Errors
    /// If the bytes do not all lie in the SRAM of one PE or in DRAM.
    pub fn read(&self, address: Address, into: &mut [u8]) -> Result<(), AccessError> {
        let length = into.len();
        self.memories
            .read(address, into)
            .map_err(|_| AccessError { address, length })
    }

    /// Copies from the host to the chip; see [`Chip::read`].
    ///
    /// # Errors
    /// If the bytes do not all lie in the SRAM of one PE or in DRAM. Nothing is written then.
    pub fn write(&mut self, address: Address, from: &[u8]) -> Result<(), AccessError> {
        let length = from.len();
        self.memories
            .write(address, from)
            .map_err(|_| AccessError { address, length })
    }

    /// The SRAM of a PE, 16-byte aligned.
    ///
    /// # Panics
    /// If the chip has no such PE.
    pub fn sram(&mut self, pe: PeId) -> &mut [u64] {
        bytemuck::cast_slice_mut(self.memories.sram(existing(pe)))
    }

    /// What the PEs share beside the memories: UARTs, pins, feed-through interrupts. Only programs that
    /// work on [registers](super::registers) see it.
    pub fn periphery(&mut self) -> &mut Periphery {
        &mut self.machine.periphery
    }

    /// Sets the length of one PE's receive ring. Packets that wait in it stay.
    ///
    /// # Panics
    /// If the chip has no such PE.
    pub fn set_ring_words(&mut self, pe: PeId, words: usize) {
        self.machine.pes[existing(pe)].ring.set_capacity(words);
    }

    /// Replaces the plan of faults; what rules have counted so far is forgotten.
    pub fn set_faults(&mut self, plan: &FaultPlan) {
        self.machine.faults = Faults::new(plan, number);
    }

    /// What was counted on the chip so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.machine.counters;
        for way in &self.machine.to_router {
            way.count(&mut counters);
        }
        for state in &self.machine.pes {
            counters.add(&state.counters);
        }
        counters
    }

    /// What was counted on one PE so far.
    ///
    /// # Panics
    /// If the chip has no such PE.
    pub fn pe_counters(&self, pe: PeId) -> PeCounters {
        self.machine.pes[existing(pe)].counters
    }

    /// Packets on the network, and packets that wait in rings.
    pub fn packets_waiting(&self) -> (usize, usize) {
        let rings = self.machine.pes.iter().map(|state| state.ring.waiting());
        rings.fold((0, 0), |(network, waiting), ring| {
            (network + ring.0, waiting + ring.1)
        })
    }

    /// Cycles since the chip was made.
    pub fn now(&self) -> u64 {
        self.machine.now
    }
}

impl std::fmt::Debug for Chip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chip")
            .field("now", &self.now())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl ErrorType for Chip {
    type Error = TableError;
}

impl Router for Chip {
    fn load(&mut self, table: &[Entry]) -> Result<(), TableError> {
        self.machine.load_router(table)
    }
}

fn existing(pe: PeId) -> usize {
    number(pe).unwrap_or_else(|| panic!("the chip has no {pe}"))
}

impl Machine {
    /// When the work that was done so far ends.
    fn end(&self) -> u64 {
        let busy = self.pes.iter().map(|state| state.busy_until);
        busy.fold(self.now, u64::max)
    }

    pub(super) fn load_router(&mut self, table: &[Entry]) -> Result<(), TableError> {
        router::check(table, router::CAPACITY)?;
        self.table = Table::new(table);
        for way in &mut self.to_router {
            way.count(&mut self.counters);
            (way.key, way.packets) = (None, 0);
        }
        Ok(())
    }

    /// Sends a packet to the router at `time`.
    #[inline]
    pub(super) fn send_to_router(&mut self, from: usize, packet: Packet, time: u64) {
        let way = &mut self.to_router[from];
        let key = self.table.relevant(packet.key);
        if way.key != Some(key) {
            way.count(&mut self.counters);
            (way.key, way.packets) = (Some(key), 0);
            way.route = self.table.look_up(key);
        }
        way.packets += 1;
        let Some(route) = &way.route else {
            return;
        };
        let flight = Flight::new(packet, time + way.cycles);
        for target in route.targets() {
            let target = self.table.target(target);
            self.launch(target.pe.into(), flight.later(target.latency.into()));
        }
    }

    /// Sends a packet directly to a PE at `time`.
    pub(super) fn send_direct(&mut self, hops: u32, to: usize, packet: Packet, time: u64) {
        self.launch(
            to,
            Flight::new(packet, time + 1 + u64::from(hops) * timing::HOP),
        );
    }

    /// Counts the hops of a packet.
    pub(super) fn count_hops(&mut self, hops: u32) {
        self.counters.hops += u64::from(hops);
    }

    /// Lets a packet arrive at a PE at its time, or a while later.
    #[inline]
    fn launch(&mut self, to: usize, flight: Flight) {
        let flight = flight.later(self.delay());
        if self.faults.spare_packets() {
            self.send(to, flight);
        } else {
            self.launch_with_faults(to, flight);
        }
    }

    #[cold]
    #[inline(never)]
    fn launch_with_faults(&mut self, to: usize, flight: Flight) {
        let mut packet = flight.packet();
        match (
            self.faults.packet(to, packet.key, &mut self.rng),
            &mut packet.payload,
        ) {
            (Some(PacketFault::Lose), _) => {
                self.counters.lost += 1;
                return;
            }
            (Some(PacketFault::Duplicate { later }), _) => {
                self.counters.duplicated += 1;
                self.send(to, flight.later(later.into()));
            }
            (Some(PacketFault::Corrupt { bits }), Some(payload)) => {
                self.counters.corrupted += 1;
                *payload ^= bits.unwrap_or_else(|| 1 << (self.rng.next() >> 27));
            }
            (Some(PacketFault::Corrupt { .. }) | None, _) => {}
        }
        self.send(to, Flight::new(packet, flight.time()));
    }

    /// Lets a packet arrive at a PE at its time.
    #[inline]
    fn send(&mut self, to: usize, flight: Flight) {
        // For one that comes before it, the PE was roused already.
        if self.pes[to].ring.send(flight) {
            self.rouse(to, flight.time());
        }
    }

    /// Puts the packets into a PE's ring that have reached it.
    #[inline]
    fn arrive(&mut self, number: usize) {
        let state = &mut self.pes[number];
        state.overrun |= state.ring.arrive(self.now, &mut state.counters);
    }

    /// Lets a PE's program be polled soon after `time`, for there are news for it.
    #[inline(never)]
    fn rouse(&mut self, number: usize, time: u64) {
        let state = &self.pes[number];
        let wakes = match state.activity {
            Activity::Off => false,
            Activity::Asleep => true,
            // It waits for the transmitter, for its DMA engine or for a time, which may take longer.
            Activity::Awake(at) => at > time + timing::WAKE && at > state.busy_until,
        };
        if wakes {
            let at = (time + timing::WAKE).max(state.busy_until);
            self.wake(number, at);
        }
    }

    /// Lets a PE's program be polled at `time`.
    #[inline]
    fn wake(&mut self, number: usize, time: u64) {
        let time = time.min(Wake::END);
        self.pes[number].activity = Activity::Awake(time);
        self.wakes.push(Reverse(Wake::new(time, number)));
    }

    /// What a packet takes longer than its way.
    #[inline]
    fn delay(&mut self) -> u64 {
        let random = u64::from(self.rng.next()) * u64::from(self.late_one_in);
        // One time in so many, nothing is carried: what stands below is a random number of 32 bits then.
        match random >> 32 {
            0 => (random * (u64::from(self.jitter_cycles) + 1)) >> 32,
            _ => 0,
        }
    }

    /// A random number from 0 to `limit`.
    #[inline]
    fn random_below(&mut self, limit: u32) -> u64 {
        (u64::from(self.rng.next()) * (u64::from(limit) + 1)) >> 32
    }

    #[inline]
    fn shuffle(&mut self, pes: &mut [usize]) {
        for last in (1..pes.len()).rev() {
            let other = self.random_below(last as u32) as usize;
            pes.swap(last, other);
        }
    }
}
