//! A line within this process, with faults to order: for tests of whatever is at its ends.
//!
//! What is sent reaches the peer at once, and what it answers waits to be received. Nothing takes time: when
//! nothing waits, [`Transport::receive`] says at once that nothing came before the deadline.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::{Error, Transport};

/// The other end of the line: takes bytes and returns what it sends.
pub type Peer = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host.
    ToPeer,
    /// To the host.
    ToHost,
}

/// What happens to the bytes that are sent at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A bit becomes the other one; counted from the first byte's lowest.
    Flip {
        /// The bit.
        bit: usize,
    },
    /// Only so many bytes arrive.
    Truncate {
        /// Bytes.
        bytes: usize,
    },
    /// They arrive twice.
    Duplicate,
    /// They arrive behind those that are sent next.
    Delay,
    /// So many other bytes arrive before them.
    Garbage {
        /// Bytes.
        bytes: usize,
    },
    /// The port vanishes when so many bytes have passed. It is there again at once when it is opened anew.
    Vanish {
        /// Bytes.
        bytes: usize,
    },
}

/// When a fault happens.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which way.
    pub direction: Direction,
    /// How many times something was sent that way before.
    pub after: u64,
    /// What happens.
    pub fault: Fault,
}

/// What goes wrong on a line.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// At certain places.
    pub rules: Vec<Rule>,
    /// At random: of so many frames, one is hit by each kind of fault but [`Fault::Vanish`]; 0: none is.
    pub one_in: u32,
    /// Seed of what is random.
    pub seed: u64,
}

/// What was sent over a line, before anything went wrong.
#[derive(Debug, Default)]
pub struct Traffic {
    lengths: [RefCell<Vec<usize>>; 2],
}

impl Traffic {
    /// How often something was sent that way.
    #[must_use]
    pub fn frames(&self, direction: Direction) -> u64 {
        self.lengths[direction as usize].borrow().len() as u64
    }

    /// Bytes that were sent that way.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> usize {
        self.lengths[direction as usize].borrow().iter().sum()
    }

    /// Bytes that were sent at a time, `after` so many times; 0 if that was not.
    #[must_use]
    pub fn length(&self, direction: Direction, after: u64) -> usize {
        let lengths = self.lengths[direction as usize].borrow();
        lengths.get(after as usize).copied().unwrap_or(0)
    }
}

/// The host's end of the line.
pub struct Memory {
    peer: Peer,
    faults: Faults,
    random: ChaCha8Rng,
    traffic: Rc<Traffic>,
    /// What arrives later, by direction.
    delayed: [Vec<u8>; 2],
    arrived: VecDeque<u8>,
    vanished: bool,
    stays_away: bool,
}

impl Memory {
    /// A line to `peer`.
    #[must_use]
    pub fn new(peer: Peer, faults: Faults) -> Self {
        Self {
            peer,
            random: ChaCha8Rng::seed_from_u64(faults.seed),
            faults,
            traffic: Rc::default(),
            delayed: Default::default(),
            arrived: VecDeque::new(),
            vanished: false,
            stays_away: false,
        }
    }

    /// What goes over the line, now and later.
    #[must_use]
    pub fn traffic(&self) -> Rc<Traffic> {
        Rc::clone(&self.traffic)
    }

    /// Lets the port be gone for good when it vanishes.
    pub fn stay_away(&mut self) {
        self.stays_away = true;
    }

    fn vanish(&self) -> Error {
        Error::Vanished {
            port: self.name().to_owned(),
        }
    }

    /// What arrives of bytes that are sent.
    fn carry(&mut self, direction: Direction, bytes: &[u8]) -> Vec<u8> {
        let before = self.traffic.frames(direction);
        let lengths = &self.traffic.lengths[direction as usize];
        lengths.borrow_mut().push(bytes.len());
        let mut arriving = bytes.to_vec();
        let mut delayed = Vec::new();
        let rules = self.faults.rules.iter();
        let hit = rules.filter(|rule| rule.direction == direction && rule.after == before);
        let mut faults: Vec<_> = hit.map(|rule| rule.fault).collect();
        let mut below = |limit: usize| self.random.next_u64() as usize % limit.max(1);
        if self.faults.one_in > 0 && !bytes.is_empty() {
            let candidates = [
                Fault::Flip {
                    bit: below(8 * bytes.len()),
                },
                Fault::Truncate {
                    bytes: below(bytes.len()),
                },
                Fault::Duplicate,
                Fault::Delay,
                Fault::Garbage { bytes: below(40) },
            ];
            let hit = candidates
                .into_iter()
                .filter(|_| below(self.faults.one_in as usize) == 0);
            faults.extend(hit);
        }
        for fault in faults {
            match fault {
                Fault::Flip { bit } => {
                    if let Some(byte) = arriving.get_mut(bit / 8) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
                Fault::Truncate { bytes } => arriving.truncate(bytes),
                Fault::Duplicate => arriving.extend_from_within(..),
                Fault::Delay => delayed.append(&mut arriving),
                Fault::Garbage { bytes } => {
                    arriving.splice(0..0, (0..bytes).map(|_| below(256) as u8));
                }
                Fault::Vanish { bytes } => {
                    arriving.truncate(bytes);
                    self.vanished = true;
                }
            }
        }
        arriving.append(&mut self.delayed[direction as usize]);
        self.delayed[direction as usize] = delayed;
        arriving
    }
}

impl Transport for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        if self.vanished {
            return Err(self.vanish());
        }
        let arriving = self.carry(Direction::ToPeer, frame);
        let answer = (self.peer)(&arriving);
        if !answer.is_empty() && !self.vanished {
            let arriving = self.carry(Direction::ToHost, &answer);
            self.arrived.extend(arriving);
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8], _deadline: Instant) -> Result<usize, Error> {
        if self.arrived.is_empty() && self.vanished {
            return Err(self.vanish());
        }
        let bytes = into.len().min(self.arrived.len());
        for (to, byte) in into.iter_mut().zip(self.arrived.drain(..bytes)) {
            *to = byte;
        }
        Ok(bytes)
    }

    fn reopen(&mut self) -> Result<(), Error> {
        if self.stays_away {
            return Err(self.vanish());
        }
        self.vanished = false;
        self.arrived.clear();
        Ok(())
    }
}
