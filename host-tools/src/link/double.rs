//! A board within this process: the double for tests of the host's side.
//!
//! Its server is the one of real boards ([`bsp::protocol::Server`]). What is behind it is any [`Chip`], or nothing
//! but [`Memory`], where processors are started and stopped and execute nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bsp::board::{Board, SPINNAKER2};
use bsp::protocol::{Chip, Processor, Server};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use s2_hal::topology::PeId;

/// A server, and the chip behind it.
#[derive(Default)]
pub struct Double<C = Memory> {
    server: Server,
    /// The chip.
    pub chip: C,
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

impl<C: Chip> Double<C> {
    /// A board with this chip.
    pub fn new(chip: C) -> Self {
        Self {
            server: Server::new(),
            chip,
        }
    }

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

/// A [`Double`] on a UDP port of this computer, which answers until this is dropped.
pub struct Served {
    port: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Starts a board with the chip that `chip` makes. One of `lose_one_in` datagrams is lost, in both directions; 0
    /// loses none.
    ///
    /// # Errors
    /// If no UDP port can be had.
    pub fn start<C: Chip>(
        chip: impl FnOnce() -> C + Send + 'static,
        lose_one_in: u32,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // How long a drop of this may take.
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let port = format!("udp:{}", socket.local_addr()?);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || {
            let mut board = Double::new(chip());
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let mut is_lost = || lose_one_in > 0 && random.next_u32() % lose_one_in == 0;
            let mut bytes = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, host)) = socket.recv_from(&mut bytes)
                    && !is_lost()
                {
                    let answer = board.exchange(&bytes[..length]);
                    if !is_lost() {
                        // A host that has gone asks no more.
                        let _ = socket.send_to(&answer, host);
                    }
                }
            }
        };
        Ok(Self {
            port,
            stop,
            thread: Some(std::thread::spawn(serve)),
        })
    }

    /// Where it is: `udp:127.0.0.1:PORT`.
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its message is on the standard error already, and the host has got no answer.
            let _ = thread.join();
        }
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
