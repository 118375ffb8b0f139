//! A chip with emulated PEs.

use std::fmt;
use std::rc::Rc;

use bsp::layout;
use bsp::record::Record;
use bsp::specification;
use s2_hal::dma::Address;
use s2_hal::mock::{self, Chip, Config, PeCounters, RunReport};
use s2_hal::topology::PeId;

use crate::fault::Fault;
use crate::image::Image;
use crate::processor::{Count, Options, Processor, State};

/// A chip whose PEs execute firmware. See [the crate](crate).
pub struct Machine {
    chip: Chip,
    processors: Vec<(PeId, Processor)>,
}

/// Why firmware could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The chip has no such PE.
    NoSuchPe {
        /// The PE.
        pe: PeId,
    },
    /// The engine that executes instructions could not be made.
    Engine {
        /// What it said.
        error: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPe { pe } => write!(f, "the chip has no {pe}"),
            Self::Engine { error } => {
                write!(f, "the engine that executes instructions: {error}")
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// A PE that has not finished, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The PE.
    pub pe: PeId,
    /// The program's name.
    pub program: String,
    /// What it is doing.
    pub state: State,
    /// Address of its next instruction, with the function.
    pub place: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pe,
            program,
            state,
            place,
        } = self;
        let state = match state {
            State::Sleeping => "sleeps",
            State::Held => "is held",
            _ => "is",
        };
        write!(f, "{pe} {program} {state} at {place}")
    }
}

/// Why a run ended without all programs having finished.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// A program failed.
    Fault(Box<Fault>),
    /// All programs sleep and nothing is under way that could wake one.
    Standstill {
        /// Those that have not finished.
        waiting: Vec<Waiting>,
    },
    /// The time limit of the chip's settings has passed.
    TimeLimit {
        /// The limit in cycles.
        cycles: u64,
        /// Those that have not finished.
        waiting: Vec<Waiting>,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = match self {
            Self::Fault(fault) => return fault.fmt(f),
            Self::Standstill { waiting } => {
                f.write_str("standstill, nothing is under way that could wake a PE")?;
                waiting
            }
            Self::TimeLimit { cycles, waiting } => {
                write!(f, "not finished after {cycles} cycles")?;
                waiting
            }
        };
        for (place, one) in waiting.iter().enumerate() {
            f.write_str(if place == 0 { ": " } else { "; " })?;
            one.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for RunError {}

/// What one PE did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeReport {
    /// The PE.
    pub pe: PeId,
    /// The program's name.
    pub program: String,
    /// What it executed.
    pub count: Count,
    /// Most bytes of stack that it used.
    pub stack_used: u32,
    /// Packets that it sent and received, and more. What its receive ring dropped is in the ring's own
    /// registers: here, packets leave the network as soon as they arrive.
    pub counters: PeCounters,
}

impl Machine {
    /// A chip without firmware. Of the settings, the length of the receive rings has no meaning: rings
    /// are where firmware sets them up.
    pub fn new(config: Config) -> Self {
        let chip = Chip::new(Config {
            // What the network has delivered is put into the ring in the PE's memory by its registers,
            // which also decide whether it fits.
            ring_words: usize::MAX,
            ..config
        });
        Self {
            chip,
            processors: Vec::new(),
        }
    }

    /// Puts firmware into the memory of a PE, which starts with it when [`run`](Self::run) is called. Takes
    /// the place of what was there.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(
        &mut self,
        pe: PeId,
        image: Rc<Image>,
        options: Options,
    ) -> Result<&mut Processor, LoadError> {
        self.occupy(pe, Rc::clone(&image), options)?;
        self.chip.sram(pe).fill(0);
        for (address, bytes) in image.segments() {
            let written = Address::pe_sram(pe, address).map(|at| self.chip.write(at, bytes));
            debug_assert_eq!(written, Some(Ok(())), "an image lies within the SRAM");
        }
        let place = self.processors.len() - 1;
        Ok(&mut self.processors[place].1)
    }

    /// Gives a PE a processor that executes what its memory holds, in place of the one that it had.
    pub(crate) fn occupy(
        &mut self,
        pe: PeId,
        image: Rc<Image>,
        options: Options,
    ) -> Result<&mut Processor, LoadError> {
        if !pe.exists() {
            return Err(LoadError::NoSuchPe { pe });
        }
        let processor =
            Processor::new(pe, image, options).map_err(|error| LoadError::Engine { error })?;
        self.processors.retain(|(other, _)| *other != pe);
        let place = self.processors.len();
        self.processors.push((pe, processor));
        Ok(&mut self.processors[place].1)
    }

    /// The chip: memories, router, counters, and what the PEs share.
    pub fn chip(&self) -> &Chip {
        &self.chip
    }

    /// The chip, to work on. Code that is written to a PE that has started is executed after its next
    /// reset only.
    pub fn chip_mut(&mut self) -> &mut Chip {
        &mut self.chip
    }

    /// The processor of a PE, if it has firmware.
    pub fn processor(&self, pe: PeId) -> Option<&Processor> {
        let found = self.processors.iter().find(|(id, _)| *id == pe);
        found.map(|(_, processor)| processor)
    }

    /// The processor of a PE, if it has firmware.
    pub fn processor_mut(&mut self, pe: PeId) -> Option<&mut Processor> {
        let found = self.processors.iter_mut().find(|(id, _)| *id == pe);
        found.map(|(_, processor)| processor)
    }

    /// What the program of a PE says of itself, if it keeps a record as the firmware of `bsp` does.
    pub fn record(&self, pe: PeId) -> Option<Record> {
        let address = Address::pe_sram(pe, layout::RECORD.start)?;
        let mut record: Record = bytemuck::Zeroable::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut record);
        self.chip.read(address, bytes).ok()?;
        // Other programs may have anything there.
        record.status()?;
        specification::Image::from_word(record.image)?;
        (record.pe() == Some(pe)).then_some(record)
    }

    /// All processors, in the order of loading.
    pub fn processors(&self) -> impl Iterator<Item = &Processor> {
        self.processors.iter().map(|(_, processor)| processor)
    }

    /// Runs all PEs until each has finished: exited by semihosting, or gone to sleep in a state that
    /// counts as done ([`Processor::set_done`]). Can be called again.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(&mut self) -> Result<RunReport, RunError> {
        self.chip.run(&mut self.processors).map_err(|error| {
            let waiting = |pes: Vec<PeId>| {
                let processors = pes.iter().filter_map(|&pe| self.processor(pe));
                processors
                    .map(|processor| Waiting {
                        pe: processor.id(),
                        program: processor.image().name().to_owned(),
                        state: processor.state(),
                        place: processor.place(),
                    })
                    .collect()
            };
            match error {
                mock::RunError::Fault { fault, .. } => RunError::Fault(Box::new(fault)),
                mock::RunError::Stalled { waiting: pes } => RunError::Standstill {
                    waiting: waiting(pes),
                },
                mock::RunError::TimeLimit {
                    cycles,
                    waiting: pes,
                } => RunError::TimeLimit {
                    cycles,
                    waiting: waiting(pes),
                },
                mock::RunError::NoSuchPe { .. } | mock::RunError::PeTakenTwice { .. } => {
                    unreachable!("`load` takes care of it")
                }
            }
        })
    }

    /// What each PE did so far, in the order of loading.
    pub fn reports(&self) -> Vec<PeReport> {
        let report = |(pe, processor): &(PeId, Processor)| PeReport {
            pe: *pe,
            program: processor.image().name().to_owned(),
            count: processor.count(),
            stack_used: processor.stack_used(),
            counters: self.chip.pe_counters(*pe),
        };
        self.processors.iter().map(report).collect()
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("chip", &self.chip)
            .field("processors", &self.processors.len())
            .finish_non_exhaustive()
    }
}
