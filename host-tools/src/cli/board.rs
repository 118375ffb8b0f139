//! `eventprop board`: what a board is, holds and does, over the host link.

mod memory;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bsp::protocol::{HelloResponse, VERSION};
use bsp::specification::LAYOUT_HASH;
use clap::Subcommand;
use s2_hal::dma::{Address, DRAM_RESERVED};
use s2_hal::topology::PeId;
use serde_json::{Value, json};

use super::bar::Bar;
use super::choice::{self, NetworkFlags, PortFlags};
use super::{Json, print};
use crate::backend::Backend as _;
use crate::backend::board::Board;
use crate::error::{Error, Result};
use crate::experiment::{DatasetKind, Override};
use crate::link::Client;
use crate::link::serial::ports;
use crate::report::arrays;
use crate::training::{Plan, State};

/// Look at a board, load it, read and write its memory
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop board list
  eventprop board ping --port /dev/ttyACM0
  eventprop board load experiments/small-firmware.toml --port udp:127.0.0.1:17893
  eventprop board status --watch
  eventprop board read 7,6,3:0xe800 256
  eventprop board write dram:0x1000 1 2 0xcafebabe
  eventprop board log 7,6,3

An address is a number (0x20001000), X,Y,PE:OFFSET in the memory of a processing element, or dram:OFFSET.
A processing element is X,Y,PE or its number (0xf3).")]
pub(super) struct Args {
    #[command(flatten)]
    port: PortFlags,
    /// Write the result as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-", global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the serial ports of this computer
    List,
    /// Ask the board who it is, and measure how long answers take
    Ping,
    /// Show what the processing elements do
    Status(status::Args),
    /// Load the firmware, a network with its weights, and a data set
    ///
    /// `eventprop gradients --backend board:PORT --loaded` then works with them.
    Load(Load),
    /// Write words or a file into the board's memory
    Write(memory::Write),
    /// Read the board's memory
    Read(memory::Read),
    /// Show the record of a processing element: what its program does, why it stopped, what it used
    Log(Log),
    /// Let a processing element start anew; without one, stop all but the monitor's
    Reset(Reset),
}

#[derive(clap::Args)]
struct Load {
    /// Experiment file (.toml), `yin-yang`, or samples (.csv, .npz) to train on
    #[arg(value_name = "DATASET")]
    dataset: Option<String>,
    #[command(flatten)]
    network: NetworkFlags,
    /// Weights to start with [default: the experiment's initial ones]
    #[arg(long, value_name = "FILE.npz")]
    weights: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Log {
    /// The processing element
    #[arg(value_name = "X,Y,PE", value_parser = pe)]
    pe: PeId,
}

#[derive(clap::Args)]
struct Reset {
    /// The processing element
    #[arg(value_name = "X,Y,PE", value_parser = pe)]
    pe: Option<PeId>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let json = Json::new(args.json.as_deref())?;
    let (text, value) = match &args.action {
        Action::List => list(),
        Action::Ping => ping(&mut connect(args)?)?,
        Action::Status(status) => {
            let client = &mut connect(args)?;
            client.check_layout()?;
            let shown = status::overview(client)?;
            if status.watch {
                return status::watch(client, shown, json);
            }
            shown
        }
        Action::Load(load) => self::load(args, load)?,
        Action::Write(write) => memory::write(&mut connect(args)?, write)?,
        Action::Read(read) => memory::read(&mut connect(args)?, read)?,
        Action::Log(log) => {
            let client = &mut connect(args)?;
            client.check_layout()?;
            status::log(client, log.pe)?
        }
        Action::Reset(reset) => self::reset(&mut connect(args)?, reset.pe)?,
    };
    show(&text, &value, json)
}

/// Writes a result: as text, or where `--json` goes.
fn show(text: &str, value: &Value, json: Json<'_>) -> Result<ExitCode> {
    json.write(&format!("{value:#}\n"))?;
    match json {
        Json::Output => {}
        _ => print(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn connect(args: &Args) -> Result<Client> {
    args.port.connect(Bar::boxed(false, false))
}

fn list() -> (String, Value) {
    let ports = ports();
    let mut text: String = ports.iter().map(|port| format!("{port}\n")).collect();
    if ports.is_empty() {
        text.push_str(
            "no serial port; boards may also be reached over UDP: --port udp:HOST:PORT\n",
        );
    }
    (text, json!({ "ports": ports }))
}

/// Requests whose answers are timed.
const PINGS: u32 = 16;

fn ping(client: &mut Client) -> Result<(String, Value)> {
    let hello = *client.hello();
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let before = Instant::now();
        client.read(Address::DRAM_WINDOW + DRAM_RESERVED, &mut [0; 4])?;
        times.push(before.elapsed());
    }
    let milliseconds = |time: Duration| 1e3 * time.as_secs_f64();
    let shortest = milliseconds(times.iter().copied().min().unwrap_or_default());
    let mean = milliseconds(times.iter().sum::<Duration>() / PINGS);
    let [board, build] = [&hello.board, &hello.build].map(HelloResponse::text);
    let pes = hello.numbers().count();
    let monitor = PeId::from_noc_id(hello.monitor).map_or_else(
        || format!("PE number {:#04x}", hello.monitor),
        |pe| pe.to_string(),
    );
    let same = hello.layout_hash() == LAYOUT_HASH;
    let formats = match same {
        true => "those of this program",
        false => "others than this program's: build firmware and host tools from the same sources",
    };
    let text = format!(
        "board            {board}, chip {}\n\
         firmware         version {build}\n\
         protocol         version {}, this program {VERSION}\n\
         memory formats   {:016x}, {formats}\n\
         PEs              {pes}; the monitor runs on {monitor}\n\
         answers          {shortest:.2} ms at best, {mean:.2} ms on average\n",
        hello.chip(),
        hello.version,
        hello.layout_hash(),
    );
    let value = json!({
        "port": client.port(),
        "board": board,
        "chip": hello.chip(),
        "firmware": build,
        "protocol": hello.version,
        "memory_formats": format!("{:016x}", hello.layout_hash()),
        "same_formats": same,
        "pes": pes,
        "monitor": hello.monitor,
        "shortest_ms": shortest,
        "mean_ms": mean,
    });
    Ok((text, value))
}

fn load(args: &Args, load: &Load) -> Result<(String, Value)> {
    let name = load
        .dataset
        .as_deref()
        .filter(|name| *name != DatasetKind::YinYang.name());
    let mut overrides = args.port.overrides()?;
    let mut file = None;
    if let Some(name) = name {
        let kind = match crate::dataset::ending(Path::new(name)).as_deref() {
            Some("toml") => None,
            Some("csv") => Some(DatasetKind::Csv),
            Some("npz" | "npy") => Some(DatasetKind::Npz),
            _ => {
                return Err(Error::new("neither an experiment nor a data set")
                    .at(name)
                    .hint("an experiment file (.toml), `yin-yang`, or samples (.csv, .npz)"));
            }
        };
        match kind {
            None => file = Some(PathBuf::from(name)),
            Some(kind) => {
                overrides.push(Override::new("DATASET", "dataset.kind", kind.name()));
                for key in ["dataset.train", "dataset.validation", "dataset.test"] {
                    overrides.push(Override::new("DATASET", key, name));
                }
            }
        }
    }
    let overrides = [&overrides[..], &load.network.overrides()];
    let plan = Plan::new(choice::experiment(file.as_ref(), &overrides)?)?;
    let weights = match &load.weights {
        Some(path) => arrays::read_weights(path, &plan.dims)?,
        None => State::new(&plan).weights,
    };
    let started = Instant::now();
    let mut board = Board::new(&plan.setup(), Bar::boxed(false, false))?;
    board.set_weights(&weights)?;
    let seconds = started.elapsed().as_secs_f64();
    let mapping = board.mapping();
    let sets = &plan.sets;
    let samples = [sets.train.len(), sets.validation.len(), sets.test.len()];
    let dims: Vec<_> = plan.dims.iter().map(ToString::to_string).collect();
    let text = format!(
        "loaded {} with {} replicas onto {} PEs, and {} + {} + {} samples, in {seconds:.1} s\n",
        dims.join("-"),
        mapping.replicas,
        mapping.placements.len(),
        samples[0],
        samples[1],
        samples[2],
    );
    let pes: Vec<_> = mapping
        .placements
        .iter()
        .map(|placement| json!({ "pe": placement.pe.noc_id(), "role": placement.role.to_string() }))
        .collect();
    let value = json!({
        "dims": plan.dims,
        "replicas": mapping.replicas,
        "samples": samples,
        "weights_sha256": arrays::weights_sha256(&weights),
        "seconds": seconds,
        "pes": pes,
    });
    Ok((text, value))
}

fn reset(client: &mut Client, pe: Option<PeId>) -> Result<(String, Value)> {
    if let Some(pe) = pe {
        client.reset(pe.noc_id())?;
        return Ok((
            format!("{pe} starts anew\n"),
            json!({ "reset": [pe.noc_id()] }),
        ));
    }
    let monitor = client.hello().monitor;
    let others: Vec<_> = client
        .hello()
        .numbers()
        .filter(|&pe| pe != monitor)
        .collect();
    for &pe in &others {
        client.stop(pe)?;
    }
    let text = format!("{} PEs are held; load the board to use it\n", others.len());
    Ok((text, json!({ "stopped": others })))
}

/// A number, decimal or with `0x` hexadecimal.
fn number(text: &str) -> std::result::Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a number is needed, such as 256 or 0x100".into())
}

/// A PE: `X,Y,PE` or its number.
fn pe(text: &str) -> std::result::Result<PeId, String> {
    let place: Vec<_> = text
        .trim_matches(['(', ')'])
        .split(',')
        .map(|part| part.trim().parse::<u8>())
        .collect();
    let pe = match place[..] {
        [Ok(x), Ok(y), Ok(pe)] => PeId::new(x, y, pe),
        _ => number(text)
            .ok()
            .and_then(|number| PeId::from_noc_id(u8::try_from(number).ok()?)),
    };
    pe.ok_or_else(|| {
        "no such processing element; it is X,Y,PE with X 1 to 7, Y 1 to 6, PE 0 to 3, or its number"
            .into()
    })
}

/// An address: a number, `X,Y,PE:OFFSET`, or `dram:OFFSET`.
fn address(text: &str) -> std::result::Result<u32, String> {
    let Some((memory, offset)) = text.split_once(':') else {
        return number(text);
    };
    let offset = number(offset)?;
    let address = match memory {
        "dram" => Address::dram(offset),
        memory => Address::pe_sram(pe(memory)?, offset),
    };
    address
        .map(|address| address.0)
        .ok_or_else(|| format!("{memory} has no byte {offset:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_pes_are_named() {
        assert_eq!(address("0x20001000"), Ok(0x2000_1000));
        assert_eq!(address("dram:4096"), Ok(0x2000_1000));
        assert_eq!(address("1,2,3:0x8000"), Ok(0xf056_8000));
        assert_eq!(address("(1,2,3):0x8000"), Ok(0xf056_8000));
        assert_eq!(pe("0x2b"), Ok(PeId::new(1, 2, 3).unwrap()));
        for wrong in [
            "",
            "x",
            "dram:",
            "9,9,9:0",
            "1,2,3:0x20000",
            "dram:0x80000000",
            "-4",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        assert!(pe("4,3,0").is_err(), "the router is there");
    }
}
