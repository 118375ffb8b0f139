//! A board: a chip on which only the monitor runs, and a host at its serial line.

use std::rc::Rc;

use s2_hal::mock::{Config, FREQUENCY};
use s2_hal::topology::{self, PeId};

use crate::fault::Fault;
use crate::image::Image;
use crate::machine::{LoadError, Machine, RunError};
use crate::processor::{Options, State};

/// Cycles of the chip from one look at the line to the next: half a millisecond.
const STEP: u64 = FREQUENCY as u64 / 2000;

/// The UART that the host is at.
const UART: usize = 0;

/// An emulated board. Its monitor runs; all other PEs are held, with empty memories, until the host writes programs
/// there and starts them. The host is whoever calls [`send`](Self::send) and [`receive`](Self::receive).
///
/// Nothing runs but in [`step`](Self::step), so that a board behaves the same each time that it is sent the same.
///
/// # Examples
/// ```no_run
/// use std::path::Path;
///
/// use bsp::protocol::frame::{self, MAX_FRAME};
/// use bsp::protocol::{HelloRequest, Request};
/// use s2_emu::{Board, Image};
/// use s2_hal::topology::PeId;
///
/// let monitor = Image::open(Path::new("target/thumbv7em-none-eabihf/firmware/monitor"))?;
/// let mut board = Board::new(monitor, PeId::new(7, 6, 3).ok_or("no such PE")?, 0)?;
/// let mut buffer = [0; MAX_FRAME];
/// let hello = frame::encode(1, &Request::Hello(HelloRequest::THIS), &mut buffer);
/// board.send(hello.ok_or("it fits")?);
/// let mut answer = Vec::new();
/// while answer.is_empty() {
///     board.step()?;
///     answer = board.receive();
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Board {
    machine: Machine,
    monitor: PeId,
    faults: Vec<Fault>,
}

impl Board {
    /// A board whose monitor runs on PE `monitor`. `seed` is that of the order in which packets arrive and PEs run.
    /// Bytes on the serial line take no time.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn new(image: Image, monitor: PeId, seed: u64) -> Result<Self, LoadError> {
        let mut machine = Machine::new(Config {
            seed,
            time_limit: STEP,
            ..Config::default()
        });
        machine.load(monitor, Rc::new(image), Self::options())?;
        let periphery = machine.chip_mut().periphery();
        periphery.pace_uart(UART, false);
        for pe in topology::pes().filter(|&pe| pe != monitor) {
            periphery.set_held(pe, true);
        }
        Ok(Self {
            machine,
            monitor,
            faults: Vec::new(),
        })
    }

    /// As on a chip, faults go to the programs' handlers.
    fn options() -> Options {
        Options {
            deliver_faults: true,
            ..Options::default()
        }
    }

    /// Sends bytes to the board.
    pub fn send(&mut self, bytes: &[u8]) {
        self.machine
            .chip_mut()
            .periphery()
            .send_to_uart(UART, bytes);
    }

    /// Takes the bytes that the board has sent.
    pub fn receive(&mut self) -> Vec<u8> {
        self.machine.chip_mut().periphery().take_from_uart(UART)
    }

    /// Lets the chip work for half a millisecond of its time.
    ///
    /// # Errors
    /// If the monitor has failed. Of any other program it is noted, see [`take_faults`](Self::take_faults), and the
    /// rest goes on.
    pub fn step(&mut self) -> Result<(), Box<Fault>> {
        for pe in topology::pes() {
            let held = self.machine.chip_mut().periphery().is_held(pe);
            if !held && self.machine.processor(pe).is_none() {
                // What it executes, the host has written.
                let name = Image::unknown("program");
                let occupied = self.machine.occupy(pe, Rc::new(name), Self::options());
                debug_assert!(occupied.is_ok(), "the monitor has its engine, too");
            }
        }
        match self.machine.run() {
            Err(RunError::Fault(fault)) if fault.pe == self.monitor => Err(fault),
            Err(RunError::Fault(fault)) => {
                self.faults.push(*fault);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether all PEs sleep or are held, so that nothing happens before the next tick, unless the host sends
    /// something.
    pub fn is_idle(&self) -> bool {
        let mut processors = self.machine.processors();
        !processors.any(|processor| processor.state() == State::Running)
    }

    /// Takes what programs were stopped of: what no handler of theirs could deal with.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// The chip with its PEs.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }
}
