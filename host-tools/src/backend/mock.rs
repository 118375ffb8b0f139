//! The backend `mock`: the four on-chip programs on the host model of the chip.

use bsp::specification::{self, Specified};
use eventprop_core::program::input::Input;
use eventprop_core::program::layer::Layer;
use eventprop_core::program::loss::Loss;
use eventprop_core::program::optimizer::Optimizer;
use eventprop_core::program::{Fault, Program as _, Progress, Run, Waiting};
use s2_hal::dma::Address;
use s2_hal::mock::{self, Chip, RunError};
use s2_hal::router::Router as _;
use s2_hal::topology::PeId;

use super::Setup;
use super::chip::{Executor, OnChip, rank};
use super::model::Vectorised;
use crate::error::{Error, Result};
use crate::mapping::{self, DATA_BYTES, DATA_OFFSET, Mapping, Placement};

/// The backend of that name.
pub type Mock = OnChip<Model>;

/// Packets of which one is late. That many are in their order lets a processor foresee what the model does, and
/// saves a tenth of the time.
const LATE_ONE_IN: u32 = 8;

/// The model of the chip, and the programs on it.
pub struct Model {
    chip: Chip,
    programs: Vec<(PeId, Running)>,
}

/// A program of `eventprop-core` as the model of the chip runs it.
pub struct Running {
    program: AnyProgram,
    kernels: Vectorised,
}

enum AnyProgram {
    Input(Box<Input>),
    Layer(Box<Layer>),
    Loss(Box<Loss>),
    Optimizer(Box<Optimizer>),
}

impl Running {
    fn new(program: &mapping::Program) -> std::result::Result<Self, Fault> {
        Ok(Self {
            program: match *program {
                mapping::Program::Input(config) => AnyProgram::Input(Input::new(config)?.into()),
                mapping::Program::Layer(config) => AnyProgram::Layer(Layer::new(config)?.into()),
                mapping::Program::Loss(config) => AnyProgram::Loss(Loss::new(config)?.into()),
                mapping::Program::Optimizer(config) => {
                    AnyProgram::Optimizer(Optimizer::new(config)?.into())
                }
            },
            kernels: Vectorised::default(),
        })
    }

    /// The program that a data specification is for (the words from
    /// [`SPECIFICATION`](bsp::layout::SPECIFICATION) on), and the words of its receive ring.
    ///
    /// # Errors
    /// What is wrong with the specification.
    pub fn specified(words: &[u32]) -> std::result::Result<(Self, usize), specification::Error> {
        fn read<P: Specified>(
            words: &[u32],
            program: fn(P::Config) -> mapping::Program,
        ) -> std::result::Result<mapping::Program, specification::Error> {
            specification::read::<P>(words).map(|body| program(body.config))
        }
        let program = read::<Input>(words, mapping::Program::Input)
            .or_else(|_| read::<Layer>(words, mapping::Program::Layer))
            .or_else(|_| read::<Loss>(words, mapping::Program::Loss))
            .or_else(|_| read::<Optimizer>(words, mapping::Program::Optimizer))?;
        let ring = program.ring_words();
        let running = Self::new(&program)
            .map_err(|_| specification::Error::Configuration("the program refuses it"))?;
        Ok((running, ring))
    }

    /// Begins a run; `memory` is the PE's whole SRAM.
    ///
    /// # Errors
    /// What the program cannot do.
    pub fn start(&mut self, run: Run, memory: &mut [u64]) -> std::result::Result<(), Fault> {
        let memory = data(memory);
        match &mut self.program {
            AnyProgram::Input(program) => program.start(run, memory),
            AnyProgram::Layer(program) => program.start(run, memory),
            AnyProgram::Loss(program) => program.start(run, memory),
            AnyProgram::Optimizer(program) => program.start(run, memory),
        }
    }

    /// What the program waits for.
    pub fn waiting(&self) -> Waiting {
        match &self.program {
            AnyProgram::Input(program) => program.waiting(),
            AnyProgram::Layer(program) => program.waiting(),
            AnyProgram::Loss(program) => program.waiting(),
            AnyProgram::Optimizer(program) => program.waiting(),
        }
    }
}

/// The part of a PE's SRAM that is its program's.
fn data(sram: &mut [u64]) -> &mut [u64] {
    let start = DATA_OFFSET / size_of::<u64>();
    &mut sram[start..start + DATA_BYTES / size_of::<u64>()]
}

impl mock::Program for Running {
    type Fault = Fault;

    fn poll(
        &mut self,
        memory: &mut [u64],
        pe: &mut mock::Pe<'_>,
    ) -> std::result::Result<mock::Progress, Fault> {
        let memory = data(memory);
        let progress = match &mut self.program {
            AnyProgram::Input(program) => program.poll(&self.kernels, memory, pe)?,
            AnyProgram::Layer(program) => program.poll(&self.kernels, memory, pe)?,
            AnyProgram::Loss(program) => program.poll(&self.kernels, memory, pe)?,
            AnyProgram::Optimizer(program) => program.poll(&self.kernels, memory, pe)?,
        };
        Ok(match progress {
            Progress::Worked => mock::Progress::Worked,
            Progress::Idle => mock::Progress::Idle,
            Progress::Done => mock::Progress::Done,
        })
    }
}

impl Mock {
    /// Places the network on a model of the chip, with weights of zero.
    ///
    /// # Errors
    /// What does not fit the chip, with the numbers.
    pub fn new(setup: Setup) -> Result<Self> {
        let settings = mock::Config {
            late_one_in: LATE_ONE_IN,
            ..mock::Config::default()
        };
        Self::with_chip(setup, settings)
    }

    /// As [`new`](Self::new), on a chip with these settings; seed and time limit are the backend's own.
    ///
    /// # Errors
    /// As there.
    pub fn with_chip(setup: Setup, settings: mock::Config) -> Result<Self> {
        let settings = mock::Config {
            seed: setup.experiment.backend.delivery_seed,
            // A run ends when all programs are done or stand still; time alone is no reason.
            time_limit: u64::MAX / 2,
            ..settings
        };
        Self::with_executor(&setup, |mapping| Model::new(mapping, settings))
    }

    /// The chip, for a look at its counters.
    #[must_use]
    pub fn chip(&self) -> &Chip {
        &self.executor.chip
    }
}

impl Model {
    fn new(mapping: &Mapping, settings: mock::Config) -> Result<Self> {
        let mut chip = Chip::new(settings);
        chip.load(&mapping.entries).map_err(|error| {
            Error::new(format!(
                "the router refused its {} entries: {error}",
                mapping.entries.len()
            ))
        })?;
        let mut programs = Vec::new();
        for Placement { pe, role, program } in &mapping.placements {
            chip.set_ring_words(*pe, program.ring_words());
            let running = Running::new(program)
                .map_err(|fault| Error::new(format!("{pe}, {role}: {fault}")))?;
            programs.push((*pe, running));
        }
        Ok(Self { chip, programs })
    }

    /// Says which PE stopped, what it does, and what it or its neighbours wait for.
    fn explain(&self, mapping: &Mapping, error: RunError<Fault>) -> Error {
        let role = |pe: PeId| mapping.describe(pe.noc_id());
        let named = |source: Option<u8>| {
            source.map_or(String::new(), |n| {
                format!(" (source {n} is {})", mapping.describe(n))
            })
        };
        match error {
            RunError::Fault { pe, fault } => {
                Error::new(format!("{fault}{}", named(fault.source()))).at(role(pe))
            }
            RunError::Stalled { waiting } | RunError::TimeLimit { waiting, .. } => {
                let programs = self.programs.iter().filter(|(pe, _)| waiting.contains(pe));
                let mut causes: Vec<_> = programs
                    .map(|(pe, program)| {
                        let counters = self.chip.pe_counters(*pe);
                        let ignored = counters.delivered - counters.received;
                        let what = program.waiting();
                        let text = if ignored > 0 || what == Waiting::Nothing {
                            format!(
                                "{} does not respond, {ignored} packets wait for it",
                                role(*pe)
                            )
                        } else {
                            format!("{} waits for {what}{}", role(*pe), named(what.source()))
                        };
                        let rank = if ignored > 0 { 0 } else { rank(&what) };
                        (rank, text)
                    })
                    .collect();
                // What stands first is nearest to the cause: the others wait for it.
                causes.sort_by_key(|&(rank, _)| rank);
                let more = causes.len().saturating_sub(8);
                causes.truncate(8);
                let texts: Vec<_> = causes.into_iter().map(|(_, text)| text).collect();
                let mut message = format!("no packet moves any more: {}", texts.join("; "));
                if more > 0 {
                    message += &format!("; and {more} more");
                }
                Error::new(message).at("chip")
            }
            other => Error::new(other.to_string()).at("chip"),
        }
    }
}

impl Executor for Model {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn read(&self, address: Address, into: &mut [u8]) -> Result<()> {
        let result = self.chip.read(address, into);
        result.map_err(|error| Error::new(error.to_string()))
    }

    fn write(&mut self, address: Address, from: &[u8]) -> Result<()> {
        let result = self.chip.write(address, from);
        result.map_err(|error| Error::new(error.to_string()))
    }

    fn run(&mut self, mapping: &Mapping, run: Run) -> Result<()> {
        for (pe, program) in &mut self.programs {
            program
                .start(run, self.chip.sram(*pe))
                .map_err(|fault| Error::new(format!("{pe}: {fault}")))?;
        }
        match self.chip.run(&mut self.programs) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(mapping, error)),
        }
    }
}
