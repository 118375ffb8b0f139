//! A chip of words in a table, for tests of the server.

use std::collections::{BTreeMap, BTreeSet};

use bsp::board::{Board, SPINNAKER2};
use bsp::protocol::{Chip, Processor, regions};
use s2_hal::topology::PeId;

/// The PE of the monitor.
pub const MONITOR: PeId = PeId { x: 7, y: 6, pe: 3 };

/// Memory without limits; what is done to processors is counted.
#[derive(Debug, Default)]
pub struct Table {
    pub words: BTreeMap<u32, u32>,
    pub running: BTreeSet<PeId>,
    pub releases: usize,
    pub signals: usize,
    /// Stores to addresses that only an unlocked board allows.
    pub outside: usize,
}

impl Chip for Table {
    fn board(&self) -> Board {
        SPINNAKER2
    }

    fn number(&self) -> u16 {
        0
    }

    fn monitor(&self) -> PeId {
        MONITOR
    }

    fn load(&mut self, address: u32) -> Option<u32> {
        assert_eq!(address % 4, 0);
        Some(self.words.get(&address).copied().unwrap_or(0))
    }

    fn store(&mut self, address: u32, word: u32) -> Option<()> {
        assert_eq!(address % 4, 0);
        self.outside += usize::from(!regions::is_writable(&SPINNAKER2, MONITOR, address, 4));
        self.words.insert(address, word);
        Some(())
    }

    fn processor(&mut self, pe: PeId) -> Processor {
        if self.running.contains(&pe) {
            Processor::Running
        } else {
            Processor::Held
        }
    }

    fn hold(&mut self, pe: PeId) {
        assert!(pe.exists() && pe != MONITOR);
        self.running.remove(&pe);
    }

    fn release(&mut self, pe: PeId) {
        assert!(pe.exists() && pe != MONITOR);
        assert!(self.running.insert(pe), "only what is held is released");
        self.releases += 1;
    }

    fn signal(&mut self) {
        self.signals += 1;
    }
}
