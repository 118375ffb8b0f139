//! The backend `board`: the firmware images on a board, over the host link.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use bsp::command::Command;
use bsp::layout;
use bsp::protocol::{MAX_FILL, Processor, Request};
use bsp::record::Status;
use bsp::specification::Image;
use eventprop_core::program::Run;
use s2_hal::dma::{Address, DRAM_RESERVED};
use s2_hal::topology::PeId;
use sha2::{Digest as _, Sha256};

use super::Setup;
use super::chip::{Executor, IMAGE_HINT, OnChip, causes, image_file};
use crate::dataset::encode;
use crate::error::{Error, Result};
use crate::experiment::Routing;
use crate::firmware::memory::{Segment, segments};
use crate::link::client::{Summary, Timing};
use crate::link::{Client, Observer, Port};
use crate::mapping::{Mapping, Placement};

/// The backend of that name.
pub type Board = OnChip<Remote>;

/// Milliseconds of the chip's time without progress after which a program stops.
const TIME_OUT_MS: u32 = 10_000;

/// Line of the feed-through interrupt that wakes programs.
const START_LINE: u8 = 0;

/// How long programs may take from reset to their first command.
const LAUNCH_TIME: Duration = Duration::from_secs(60);

/// Pauses between two looks at what the PEs do: they start short and double.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];

/// How long nothing may change after a program has stopped before that is reported: until then, others may
/// stop that are nearer to the cause.
const GRACE: Duration = Duration::from_secs(2);

/// Pieces of so many bytes and more are announced to the observer.
const LONG_BYTES: usize = 32 * 1024;

/// Where the board keeps what it was loaded with: its [`signature`].
const SIGNATURE: u32 = Address::DRAM_WINDOW + DRAM_RESERVED;

/// A board with the firmware on it.
pub struct Remote {
    client: RefCell<Client>,
    /// The images that the mapping needs, as bytes and where they go.
    images: Vec<(Image, Vec<Segment>)>,
    signature: [u8; 32],
    /// Commands given so far.
    commands: u32,
}

impl Board {
    /// Loads programs and data of a network onto the board that the experiment names, with weights of zero.
    ///
    /// # Errors
    /// What does not fit the chip, with the numbers; an image that is not there; whatever is wrong with port or
    /// board.
    pub fn new(setup: &Setup, observer: Box<dyn Observer>) -> Result<Self> {
        let mut this = Self::with_executor(setup, |mapping| {
            let mut remote = Remote::connect(setup, mapping, observer)?;
            remote.clear(mapping)?;
            Ok(remote)
        })?;
        // Last, so that a board that was loaded in part is not taken for a whole one.
        this.executor.sign()?;
        Ok(this)
    }

    /// Takes the board as it is: with the network, the data and the weights that it was loaded with. What it
    /// has counted before is counted on.
    ///
    /// # Errors
    /// A board that holds something else; and as for [`new`](Self::new).
    pub fn attach(setup: &Setup, observer: Box<dyn Observer>) -> Result<Self> {
        let mut this = Self::on_loaded(setup, |mapping| {
            let mut remote = Remote::connect(setup, mapping, observer)?;
            remote.check_loaded(mapping)?;
            Ok(remote)
        })?;
        // What was counted before is not this one's.
        this.take_spikes()?;
        Ok(this)
    }
}

/// What tells whether a board holds this: a hash of programs, their specifications, and data.
fn signature(setup: &Setup, mapping: &Mapping, images: &[Vec<u8>]) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(encode::digest(&setup.sets));
    for image in images {
        hash.update(Sha256::digest(image));
    }
    for placement in &mapping.placements {
        hash.update([placement.pe.noc_id()]);
        hash.update(bytemuck::cast_slice(&specification(placement)?));
    }
    Ok(hash.finalize().into())
}

fn specification(placement: &Placement) -> Result<Vec<u32>> {
    let Placement { pe, role, program } = placement;
    program
        .specification(TIME_OUT_MS)
        .map_err(|error| Error::new(format!("{pe}, {role}: {error}")))
}

fn open(folder: &Path, image: Image) -> Result<Vec<u8>> {
    let path = image_file(folder, image);
    std::fs::read(&path).map_err(|error| Error::io("read", &path, &error).hint(IMAGE_HINT))
}

/// Chip address of a byte of a PE's SRAM.
fn sram(pe: PeId, offset: u32) -> Result<u32> {
    let address = Address::pe_sram(pe, offset);
    address.map_or_else(
        || Err(Error::new(format!("{pe} has no memory at {offset:#x}"))),
        |address| Ok(address.0),
    )
}

impl Remote {
    fn connect(setup: &Setup, mapping: &Mapping, observer: Box<dyn Observer>) -> Result<Self> {
        let backend = &setup.experiment.backend;
        if backend.routing != Routing::Direct {
            return Err(Error::new(
                "a board cannot send through the router, whose registers are not public",
            )
            .at("backend.routing")
            .hint("routing = \"direct\""));
        }
        let mut needed: Vec<_> = mapping
            .placements
            .iter()
            .map(|placement| placement.program.image())
            .collect();
        needed.sort_unstable_by_key(|&image| image as u32);
        needed.dedup();
        let files = needed
            .iter()
            .map(|&image| open(&backend.firmware, image))
            .collect::<Result<Vec<_>>>()?;
        let mut images = Vec::new();
        for (&image, file) in needed.iter().zip(&files) {
            let place = image_file(&backend.firmware, image).display().to_string();
            let mut segments = segments(file).map_err(|error| error.at(place).hint(IMAGE_HINT))?;
            for Segment { bytes, .. } in &mut segments {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            images.push((image, segments));
        }
        let signature = signature(setup, mapping, &files)?;
        let port = backend.port.as_deref().unwrap_or_default();
        let transport = Port::new(port, backend.baud).open()?;
        let client = Client::connect(transport, observer, Timing::default())?;
        client.check_layout()?;
        let hello = client.hello();
        for Placement { pe, role, .. } in &mapping.placements {
            if !hello.has(pe.noc_id()) || hello.monitor == pe.noc_id() {
                return Err(Error::new(format!(
                    "the board has no {pe} for the {role}, or its monitor runs there"
                ))
                .at(client.port())
                .hint("a smaller network, or less replicas: `eventprop map` shows what is where"));
            }
        }
        Ok(Self {
            client: RefCell::new(client),
            images,
            signature,
            commands: 0,
        })
    }

    fn client(&mut self) -> &mut Client {
        self.client.get_mut()
    }

    /// The bytes of a program, and where they go.
    fn image(&self, placement: &Placement) -> &[Segment] {
        let image = placement.program.image();
        let found = self.images.iter().find(|(name, _)| *name == image);
        &found.expect("all images were read").1
    }

    /// Stops all programs, so that none writes into what is loaded, and makes the board nobody's.
    fn clear(&mut self, mapping: &Mapping) -> Result<()> {
        let segments = mapping
            .placements
            .iter()
            .flat_map(|placement| self.image(placement));
        let bytes = segments.map(|segment| segment.bytes.len()).sum();
        let client = self.client();
        client.announce(bytes);
        client.fill(SIGNATURE, 32, 0)?;
        let stops = mapping.placements.iter().map(|placement| Request::Stop {
            pe: placement.pe.noc_id(),
        });
        Ok(client.order_all(&stops.collect::<Vec<_>>())?)
    }

    fn sign(&mut self) -> Result<()> {
        let signature = self.signature;
        Ok(self.client().write(SIGNATURE, &signature)?)
    }

    fn check_loaded(&mut self, mapping: &Mapping) -> Result<()> {
        let mut found = [0; 32];
        self.client().read(SIGNATURE, &mut found)?;
        let ready = self.summaries(mapping)?.iter().all(|(_, summary)| {
            summary.processor == Processor::Running
                && matches!(summary.status, Some(Status::Ready | Status::Done))
        });
        if found != self.signature || !ready {
            return Err(Error::new(
                "the board does not hold this network with these data, ready to work",
            )
            .at(self.client().port())
            .hint("eventprop board load EXPERIMENT.toml, with the same settings"));
        }
        let mut command: Command = bytemuck::Zeroable::zeroed();
        let (first, _) = mapping
            .placements
            .split_first()
            .expect("there are programs");
        let place = sram(first.pe, layout::COMMAND.start)?;
        let bytes = bytemuck::bytes_of_mut(&mut command);
        self.client().read(place, bytes)?;
        self.commands = command.number;
        Ok(())
    }

    /// What the PEs do that have programs.
    fn summaries<'m>(&mut self, mapping: &'m Mapping) -> Result<Vec<(&'m Placement, Summary)>> {
        let overview = self.client().overview()?;
        let find = |placement: &'m Placement| {
            let pe = placement.pe.noc_id();
            let summary = overview.iter().find(|summary| summary.pe == pe)?;
            Some((placement, *summary))
        };
        Ok(mapping.placements.iter().filter_map(find).collect())
    }

    /// Waits until all programs have `status`; `starting` says whether they may still be on their way to their
    /// first one.
    fn wait(&mut self, mapping: &Mapping, status: Status, starting: bool) -> Result<()> {
        let started = Instant::now();
        let [mut pause, longest] = PAUSES;
        let mut before = Vec::new();
        let mut changed = started;
        loop {
            let now = self.summaries(mapping)?;
            if now.iter().all(|(_, one)| one.status == Some(status)) {
                return Ok(());
            }
            let states: Vec<_> = now
                .iter()
                .map(|(_, one)| (one.processor, one.status))
                .collect();
            if states != before {
                (before, changed) = (states, Instant::now());
            }
            let lost = |one: &Summary| {
                one.processor == Processor::Held
                    || (!starting && matches!(one.status, None | Some(Status::NotStarted)))
            };
            let stopped = |one: &Summary| one.status.is_some_and(Status::is_stopped);
            let ended = now.iter().filter(|(_, one)| stopped(one) || lost(one));
            let ended: Vec<_> = ended.collect();
            let late = starting && started.elapsed() > LAUNCH_TIME;
            if late || ended.len() == now.len() || (!ended.is_empty() && changed.elapsed() > GRACE)
            {
                return Err(self.explain(mapping, &now));
            }
            self.client().listen(pause)?;
            pause = (2 * pause).min(longest);
        }
    }

    /// Why programs do not work on.
    fn explain(&mut self, mapping: &Mapping, now: &[(&Placement, Summary)]) -> Error {
        let mut records = Vec::new();
        for (placement, _) in now {
            match self.client().state(placement.pe.noc_id()) {
                Ok((_, record)) => records.push((*placement, record)),
                Err(error) => return error.into(),
            }
        }
        let states = records
            .iter()
            .zip(now)
            .map(|((placement, record), (_, one))| {
                let held = match one.processor {
                    Processor::Held => " (held: somebody has stopped it)",
                    Processor::Running => "",
                };
                format!("{record}, {}{held}", placement.role)
            });
        let states: Vec<_> = states.take(8).collect();
        causes(mapping, records.into_iter()).unwrap_or_else(|| {
            Error::new(format!("programs do not work on: {}", states.join("; "))).at("chip")
        })
    }
}

impl Executor for Remote {
    fn name(&self) -> &'static str {
        "board"
    }

    fn read(&self, address: Address, into: &mut [u8]) -> Result<()> {
        let mut client = self.client.borrow_mut();
        if into.len() >= LONG_BYTES {
            client.announce(into.len());
        }
        Ok(client.read(address.0, into)?)
    }

    fn write(&mut self, address: Address, from: &[u8]) -> Result<()> {
        let client = self.client();
        if from.len() >= LONG_BYTES {
            client.announce(from.len());
        }
        Ok(client.write(address.0, from)?)
    }

    fn launch(&mut self, mapping: &Mapping) -> Result<()> {
        for placement in &mapping.placements {
            let pe = placement.pe;
            let mut client = self.client.borrow_mut();
            for segment in self.image(placement) {
                client.write(sram(pe, segment.address)?, &segment.bytes)?;
            }
            // Whatever ran there before, or memory after power-up.
            let mut fills = Vec::new();
            for part in [layout::RECORD, layout::COMMAND, layout::ARRAYS] {
                for offset in part.clone().step_by(MAX_FILL as usize) {
                    fills.push(Request::Fill {
                        address: sram(pe, offset)?,
                        length: (part.end - offset).min(MAX_FILL),
                        word: 0,
                    });
                }
            }
            client.order_all(&fills)?;
            let words = specification(placement)?;
            let place = sram(pe, layout::SPECIFICATION.start)?;
            client.write(place, bytemuck::cast_slice(&words))?;
        }
        let client = self.client();
        let starts = mapping.placements.iter().map(|placement| Request::Start {
            pe: placement.pe.noc_id(),
        });
        client.order_all(&starts.collect::<Vec<_>>())?;
        client.subscribe(true)?;
        self.wait(mapping, Status::Ready, true)
    }

    fn run(&mut self, mapping: &Mapping, run: Run) -> Result<()> {
        self.commands = self.commands.wrapping_add(1);
        let command = Command::new(self.commands, &run);
        let (number, rest) = bytemuck::bytes_of(&command).split_at(size_of::<u32>());
        let running = (Status::Running as u32).to_le_bytes();
        let mut words = Vec::new();
        let mut numbers = Vec::new();
        let write = |address, data| Request::Write { address, data };
        for placement in &mapping.placements {
            // The last run's end must not be taken for this one's.
            let record = sram(placement.pe, layout::RECORD.start)?;
            words.push(write(record, &running[..]));
            let place = sram(placement.pe, layout::COMMAND.start)?;
            words.push(write(place + number.len() as u32, rest));
            numbers.push(write(place, number));
        }
        let client = self.client();
        client.order_all(&words)?;
        // The number last: it tells a program that the rest is there.
        client.order_all(&numbers)?;
        client.signal(START_LINE)?;
        self.wait(mapping, Status::Done, false)
    }
}
