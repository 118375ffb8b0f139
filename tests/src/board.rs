//! A board on a UDP port of this computer: the server of real boards before the model of the chip.
//!
//! It does with images what a board does not: it takes a program of `eventprop-core` in place of the machine code,
//! by the data specification. What executes machine code is the emulator.

use std::path::Path;

use bsp::board::{Board, SPINNAKER2};
use bsp::command::Command;
use bsp::layout;
use bsp::protocol::{Chip, Processor};
use bsp::record::{Cause, Record, Status};
use bsp::specification::Image;
use host_tools::backend::mock::Running;
use host_tools::link::double::Served;
use s2_hal::dma::Address;
use s2_hal::mock::fault::FaultPlan;
use s2_hal::mock::{self, Config, RunError};
use s2_hal::topology::PeId;

/// The model of the chip, with programs where a host has started some.
struct Model {
    chip: mock::Chip,
    programs: Vec<(PeId, Running)>,
}

impl Model {
    fn get<T: bytemuck::Pod>(&self, pe: PeId, offset: u32) -> T {
        let mut value = T::zeroed();
        let address = Address::pe_sram(pe, offset).expect("the PE has it");
        let read = self.chip.read(address, bytemuck::bytes_of_mut(&mut value));
        read.expect("it is memory");
        value
    }

    fn put<T: bytemuck::Pod>(&mut self, pe: PeId, offset: u32, value: &T) {
        let address = Address::pe_sram(pe, offset).expect("the PE has it");
        let written = self.chip.write(address, bytemuck::bytes_of(value));
        written.expect("it is memory");
    }
}

impl Chip for Model {
    fn board(&self) -> Board {
        SPINNAKER2
    }

    fn number(&self) -> u16 {
        0
    }

    fn monitor(&self) -> PeId {
        PeId::from_core(152).expect("it is the last one")
    }

    fn load(&mut self, address: u32) -> Option<u32> {
        let mut word = [0; 4];
        self.chip.read(Address(address), &mut word).ok()?;
        Some(u32::from_le_bytes(word))
    }

    fn store(&mut self, address: u32, word: u32) -> Option<()> {
        self.chip.write(Address(address), &word.to_le_bytes()).ok()
    }

    fn processor(&mut self, pe: PeId) -> Processor {
        match self.programs.iter().any(|(id, _)| *id == pe) {
            true => Processor::Running,
            false => Processor::Held,
        }
    }

    fn hold(&mut self, pe: PeId) {
        self.programs.retain(|(id, _)| *id != pe);
    }

    fn release(&mut self, pe: PeId) {
        let words: [u32; layout::bytes(&layout::SPECIFICATION) / 4] =
            self.get(pe, layout::SPECIFICATION.start);
        let mut record = Record::starting(Image::Other, pe.noc_id().into());
        record.image = words[4];
        match Running::specified(&words) {
            Ok((running, ring)) => {
                self.chip.set_ring_words(pe, ring);
                self.programs.push((pe, running));
                record.status = Status::Ready as u32;
            }
            Err(error) => record.stop(Cause::Specification(error)),
        }
        self.put(pe, layout::RECORD.start, &record);
    }

    fn signal(&mut self) {
        let pes: Vec<_> = self.programs.iter().map(|(pe, _)| *pe).collect();
        for (pe, running) in &mut self.programs {
            let place = layout::COMMAND.start as usize;
            let sram = self.chip.sram(*pe);
            let bytes = &bytemuck::cast_slice::<_, u8>(sram)[place..][..size_of::<Command>()];
            let command: Command = bytemuck::pod_read_unaligned(bytes);
            let run = command.run().expect("the host writes whole commands");
            running.start(run, sram).expect("the program can do it");
        }
        let result = self.chip.run(&mut self.programs);
        for pe in pes {
            let mut record: Record = self.get(pe, layout::RECORD.start);
            match &result {
                Ok(_) => record.status = Status::Done as u32,
                Err(RunError::Fault { pe: at, fault }) if *at == pe => {
                    record.stop(Cause::Fault(*fault));
                }
                Err(_) => {
                    let program = self.programs.iter().find(|(id, _)| *id == pe);
                    let (_, running) = program.expect("it has run");
                    record.stop(Cause::TimeOut(running.waiting()));
                }
            }
            self.put(pe, layout::RECORD.start, &record);
        }
    }
}

/// Starts a board with nothing on it, and with faults of the chip. Of so many datagrams one is lost, in both
/// directions; 0 loses none.
///
/// # Panics
/// If no UDP port can be had.
#[must_use]
pub fn model_board(faults: FaultPlan, lose_one_in: u32) -> Served {
    let model = || Model {
        chip: mock::Chip::new(Config {
            time_limit: u64::MAX / 2,
            faults,
            ..Config::default()
        }),
        programs: Vec::new(),
    };
    Served::start(model, lose_one_in).expect("a port is free")
}

/// Writes files that look like the images, so that there is something to load.
///
/// # Panics
/// If the folder cannot be written to.
pub fn write_images(folder: &Path) {
    // An ELF file for a 32-bit ARM with one segment of eight bytes at address 0.
    let header: [u16; 26] = [
        0x457f, 0x464c, 0x0101, 0x0001, 0, 0, 0, 0, // identification
        2, 40, 1, 0, 0, 0, 52, 0, 0, 0, 0, 0x0500, 52, 32, 1, 40, 0, 0,
    ];
    let segment: [u32; 8] = [1, 84, 0, 0, 8, 8, 5, 4];
    let mut bytes: Vec<u8> = header.iter().flat_map(|half| half.to_le_bytes()).collect();
    bytes.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    for image in Image::ALL {
        let bytes = [&bytes[..], &[image as u8; 8]].concat();
        std::fs::write(folder.join(image.name()), bytes).expect("the folder is writable");
    }
}
