//! `eventprop firmware`: builds the images for the chip, and shows what memory they take.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use super::{Json, print};
use crate::error::{Error, Result};
use crate::firmware::build::{self, Image, Options};
use crate::firmware::stack::{self, Chain, Entry, StackReport};
use crate::firmware::{self, Sizes, memory};
use crate::report::write_file;

/// Where the sizes are that a build must have, in the workspace.
const GOLDEN: &str = "bsp/sizes.txt";

/// Build the firmware images, and show what they take of a PE's memory, worst-case stack included
///
/// More than the memory layout has room for is an error. Needs the target thumbv7em-none-eabihf.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop firmware
  eventprop firmware --out images
  eventprop firmware --functions layer
  eventprop firmware --check")]
pub(super) struct Args {
    /// Board that the images are for
    #[arg(long, value_enum, default_value_t = Board::Spinnaker2)]
    board: Board,
    /// Build the examples, too
    #[arg(long)]
    examples: bool,
    /// Compare with the sizes in bsp/sizes.txt
    #[arg(long, conflicts_with_all = ["board", "examples"])]
    check: bool,
    /// Write the sizes to bsp/sizes.txt
    #[arg(long, conflicts_with_all = ["board", "examples", "check"])]
    update: bool,
    /// Folder for the images, as ELF files and as Verilog memory files (.mem)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show the calls that use most of an image's stack
    #[arg(long, value_name = "IMAGE")]
    functions: Option<String>,
    /// Write the sizes as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Board {
    Jib1,
    Spinnaker2,
}

/// An image with what is known of it.
struct Measured {
    image: Image,
    elf: Vec<u8>,
    stack: StackReport,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let json = Json::new(args.json.as_deref())?;
    let root = build::workspace()?;
    let options = Options {
        jib1: args.board == Board::Jib1,
        examples: args.examples,
    };
    let mut measured = Vec::new();
    let mut sizes = Vec::new();
    for image in build::build(&root, options)? {
        let elf = fs::read(&image.path).map_err(|error| Error::io("read", &image.path, &error))?;
        let stack = stack::analyse(&elf).map_err(|error| error.at(&image.name))?;
        sizes.push(firmware::measure(&image.name, &elf, &stack)?);
        measured.push(Measured { image, elf, stack });
    }
    let mut text = firmware::table(&sizes);
    if let Some(name) = &args.functions {
        text.push_str(&calls(name, &measured)?);
    }
    json.write(&to_json(&sizes))?;
    match json {
        Json::Output => eprint!("{text}"),
        _ => print(text.as_bytes())?,
    }
    if let Some(folder) = &args.out {
        write_images(folder, &measured)?;
    }
    let golden = root.join(GOLDEN);
    if args.update {
        write_file(&golden, firmware::golden(&sizes).as_bytes())?;
    }
    let excesses: Vec<_> = sizes.iter().flat_map(Sizes::excesses).collect();
    if !excesses.is_empty() {
        return Err(Error::new(excesses.join("\n       "))
            .hint("--functions IMAGE shows where the stack goes"));
    }
    if args.check {
        check(&golden, &sizes)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(golden: &Path, sizes: &[Sizes]) -> Result<()> {
    const UPDATE: &str = "if this is meant: cargo run --release -- firmware --update";
    let file = fs::read_to_string(golden)
        .map_err(|error| Error::io("read", golden, &error).hint(UPDATE))?;
    let differences = firmware::differences(&file, sizes);
    if differences.is_empty() {
        return Ok(());
    }
    let text = format!("sizes are others:\n  {}", differences.join("\n  "));
    Err(Error::new(text).at(GOLDEN).hint(UPDATE))
}

fn to_json(sizes: &[Sizes]) -> String {
    let mut text = serde_json::to_string_pretty(&json!({ "images": sizes }))
        .expect("numbers and names can be written");
    text.push('\n');
    text
}

fn write_images(folder: &Path, measured: &[Measured]) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, &error))?;
    for Measured { image, elf, .. } in measured {
        write_file(&folder.join(&image.name), elf)?;
        let text = memory::verilog(elf)?;
        write_file(&folder.join(format!("{}.mem", image.name)), text.as_bytes())?;
    }
    Ok(())
}

/// The deepest calls of an image.
fn calls(name: &str, measured: &[Measured]) -> Result<String> {
    let Some(found) = measured.iter().find(|other| other.image.name == name) else {
        let names: Vec<_> = measured
            .iter()
            .map(|other| other.image.name.as_str())
            .collect();
        return Err(Error::new(format!("no image `{name}`"))
            .at("--functions")
            .hint(format!("there are {}", names.join(", "))));
    };
    let mut text = format!("\n{name}, deepest calls:\n{}", chain(&found.stack.program));
    if let Some(fault) = &found.stack.fault {
        text.push_str(&format!("\n{name}, fault handler:\n{}", chain(fault)));
    }
    Ok(text)
}

fn chain(chain: &Chain) -> String {
    let mut text = String::new();
    for frame in &chain.frames {
        let entry = match frame.entry {
            Entry::Direct => "",
            Entry::Pointer => "  [through a pointer]",
            Entry::Writer => "  [writer, at any place below]",
        };
        text.push_str(&format!("{:>7}  {}{entry}\n", frame.bytes, frame.function));
    }
    text.push_str(&format!("{:>7}  in all\n", chain.bytes));
    text
}
