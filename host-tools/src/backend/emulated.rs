//! The backend `emulated`: the firmware images, as they are, on emulated PEs.
//!
//! The host does what it would do with a board: it loads the images, writes data specifications, data and
//! commands into memories, wakes the PEs, and reads records and results.

use std::path::Path;
use std::rc::Rc;

use bsp::command::Command;
use bsp::layout;
use bsp::record::{Record, Status};
use bsp::specification::Image;
use eventprop_core::program::Run;
use s2_emu::{Machine, Options, RunError};
use s2_hal::dma::Address;
use s2_hal::mock;
use s2_hal::mock::fault::FaultPlan;
use s2_hal::topology::PeId;

use super::Setup;
use super::chip::{Executor, IMAGE_HINT, OnChip, causes, image_file};
use crate::error::{Error, Result};
use crate::experiment::Routing;
use crate::mapping::{Mapping, Placement};

/// The backend of that name.
pub type Emulated = OnChip<Silicon>;

/// Milliseconds of the chip's time without progress after which a program stops.
const TIME_OUT_MS: u32 = 10_000;

/// Line of the feed-through interrupt that wakes programs.
const START_LINE: usize = 0;

/// Emulated PEs with the firmware on them.
pub struct Silicon {
    machine: Machine,
    /// Commands given so far.
    commands: u32,
}

impl Emulated {
    /// Places the network on an emulated chip, with weights of zero.
    ///
    /// # Errors
    /// What does not fit the chip, with the numbers; an image that is not there or of other formats.
    pub fn new(setup: Setup) -> Result<Self> {
        Self::build(&setup, FaultPlan::default(), &Options::default())
    }

    /// As [`new`](Self::new), on a chip where things go wrong.
    ///
    /// # Errors
    /// As there.
    pub fn with_faults(setup: Setup, faults: FaultPlan) -> Result<Self> {
        Self::build(&setup, faults, &Options::default())
    }

    /// As [`new`](Self::new), with options of the emulator. The phase word is the record's in any case.
    ///
    /// # Errors
    /// As there.
    pub fn with_options(setup: Setup, options: &Options) -> Result<Self> {
        Self::build(&setup, FaultPlan::default(), options)
    }

    fn build(setup: &Setup, faults: FaultPlan, options: &Options) -> Result<Self> {
        let backend = &setup.experiment.backend;
        if backend.routing != Routing::Direct {
            return Err(Error::new(
                "emulated firmware cannot send through the router, whose registers are not public",
            )
            .at("backend.routing")
            .hint("routing = \"direct\""));
        }
        let (seed, folder) = (backend.delivery_seed, &backend.firmware);
        Self::with_executor(setup, |mapping| {
            Silicon::new(mapping, seed, folder, faults, options)
        })
    }

    /// The emulated PEs, for a look at what they have executed.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.executor.machine
    }
}

impl Silicon {
    fn new(
        mapping: &Mapping,
        seed: u64,
        folder: &Path,
        faults: FaultPlan,
        options: &Options,
    ) -> Result<Self> {
        let mut machine = Machine::new(mock::Config {
            seed,
            // A program that waits too long says so itself.
            time_limit: u64::MAX / 2,
            faults,
            ..mock::Config::default()
        });
        let mut images: Vec<(Image, Rc<s2_emu::Image>)> = Vec::new();
        for Placement { pe, role, program } in &mapping.placements {
            let name = program.image();
            let image = match images.iter().find(|(known, _)| *known == name) {
                Some((_, image)) => Rc::clone(image),
                None => {
                    let image = Rc::new(open(folder, name)?);
                    images.push((name, Rc::clone(&image)));
                    image
                }
            };
            let at = |error: &dyn std::fmt::Display| Error::new(format!("{pe}, {role}: {error}"));
            let phase = layout::RECORD.start + Record::PHASE_OFFSET;
            let options = Options {
                phase_word: Some(phase),
                ..options.clone()
            };
            let processor = machine.load(*pe, image, options).map_err(|e| at(&e))?;
            processor.set_done(layout::RECORD.start, |status| {
                Status::from_word(status)
                    .is_some_and(|s| s.is_stopped() || matches!(s, Status::Ready | Status::Done))
            });
            let words = program
                .specification(TIME_OUT_MS)
                .map_err(|error| at(&error))?;
            let place = sram(*pe, layout::SPECIFICATION.start)?;
            let written = machine
                .chip_mut()
                .write(place, bytemuck::cast_slice(&words));
            written.map_err(|error| at(&error))?;
        }
        let mut this = Self {
            machine,
            commands: 0,
        };
        // From reset to the first command.
        this.execute(mapping)?;
        Ok(this)
    }

    fn record(&self, pe: PeId) -> Result<Record> {
        let mut record: Record = bytemuck::Zeroable::zeroed();
        self.read(
            sram(pe, layout::RECORD.start)?,
            bytemuck::bytes_of_mut(&mut record),
        )?;
        Ok(record)
    }

    /// Lets the PEs work until all sleep with nothing left to do.
    fn execute(&mut self, mapping: &Mapping) -> Result<()> {
        let outcome = self.machine.run();
        let records: Vec<_> = mapping
            .placements
            .iter()
            .map(|placement| Ok((placement, self.record(placement.pe)?)))
            .collect::<Result<_>>()?;
        if let Some(error) = causes(mapping, records.into_iter()) {
            return Err(error);
        }
        match outcome {
            Ok(_) => Ok(()),
            Err(RunError::Fault(fault)) => Err(Error::new(fault.to_string()).at("chip")),
            Err(error) => Err(Error::new(error.to_string()).at("chip")),
        }
    }
}

impl Executor for Silicon {
    fn name(&self) -> &'static str {
        "emulated"
    }

    fn read(&self, address: Address, into: &mut [u8]) -> Result<()> {
        let result = self.machine.chip().read(address, into);
        result.map_err(|error| Error::new(error.to_string()))
    }

    fn write(&mut self, address: Address, from: &[u8]) -> Result<()> {
        let result = self.machine.chip_mut().write(address, from);
        result.map_err(|error| Error::new(error.to_string()))
    }

    fn run(&mut self, mapping: &Mapping, run: Run) -> Result<()> {
        self.commands += 1;
        let command = Command::new(self.commands, &run);
        for placement in &mapping.placements {
            // The last run's end must not be taken for this one's.
            let status = (Status::Running as u32).to_le_bytes();
            self.write(sram(placement.pe, layout::RECORD.start)?, &status)?;
            self.write(
                sram(placement.pe, layout::COMMAND.start)?,
                bytemuck::bytes_of(&command),
            )?;
        }
        self.machine.chip_mut().periphery().pulse(START_LINE);
        self.execute(mapping)
    }
}

/// Chip address of a byte of a PE's SRAM.
fn sram(pe: PeId, offset: u32) -> Result<Address> {
    Address::pe_sram(pe, offset).ok_or_else(|| Error::new(format!("the chip has no {pe}")))
}

fn open(folder: &Path, image: Image) -> Result<s2_emu::Image> {
    let path = image_file(folder, image);
    s2_emu::Image::open(&path).map_err(|error| {
        Error::new(error.to_string())
            .at(path.display().to_string())
            .hint(IMAGE_HINT)
    })
}
