//! A board that is nothing but memory: the double for tests of the host's side.
//!
//! Its server is the one of real boards ([`bsp::protocol::Server`]). Processors are started and stopped, and
//! execute nothing.

use std::collections::BTreeMap;

use bsp::board::{Board, SPINNAKER2};
use bsp::protocol::{Chip, Processor, Server};
use s2_hal::topology::PeId;

/// A server, and the memory behind it.
#[derive(Default)]
pub struct Double {
    server: Server,
    /// The memory.
    pub chip: Memory,
}

/// Memory, and what happened to it and to the processors.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Words that were written, by address; others are 0.
    pub words: BTreeMap<u32, u32>,
    /// Whether the processor of a PE runs, by its number; others are held.
    pub running: BTreeMap<u8, bool>,
    /// Words written.
    pub stores: u32,
    /// Processors started.
    pub starts: u32,
    /// Feed-through lines raised.
    pub signals: u32,
}

impl Double {
    /// Takes bytes and returns what the board answers.
    pub fn exchange(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        loop {
            let taken = self.server.receive(bytes, &mut self.chip);
            bytes = &bytes[taken..];
            // The answer, and a record that has changed.
            for _ in 0..2 {
                let output = self.server.output();
                answers.extend_from_slice(output);
                let sent = output.len();
                self.server.sent(sent);
                self.server.watch(&mut self.chip);
            }
            if bytes.is_empty() {
                return answers;
            }
        }
    }

    /// Restarts the server, which then knows nothing of connections and transfers; the memory stays.
    pub fn restart(&mut self) {
        self.server = Server::new();
    }
}

impl Chip for Memory {
    fn board(&self) -> Board {
        SPINNAKER2
    }

    fn number(&self) -> u16 {
        7
    }

    fn monitor(&self) -> PeId {
        PeId::from_core(152).expect("it is the last one")
    }

    fn load(&mut self, address: u32) -> Option<u32> {
        Some(self.words.get(&address).copied().unwrap_or(0))
    }

    fn store(&mut self, address: u32, word: u32) -> Option<()> {
        self.stores += 1;
        self.words.insert(address, word);
        Some(())
    }

    fn processor(&mut self, pe: PeId) -> Processor {
        match self.running.get(&pe.noc_id()) {
            Some(true) => Processor::Running,
            _ => Processor::Held,
        }
    }

    fn hold(&mut self, pe: PeId) {
        self.running.insert(pe.noc_id(), false);
    }

    fn release(&mut self, pe: PeId) {
        self.starts += 1;
        self.running.insert(pe.noc_id(), true);
    }

    fn signal(&mut self) {
        self.signals += 1;
    }
}
