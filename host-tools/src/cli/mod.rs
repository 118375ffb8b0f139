//! The command line: `eventprop train`, `gradients`, `weights`, `compare`, `verify`, `map`, `profile`, `dataset`,
//! `firmware` and `board`.
//!
//! Exit status: 0 when all went well, 1 when a verification is outside its tolerance, 2 for
//! everything that a person has to put right, with one error message on the standard error.

mod bar;
mod board;
mod choice;
mod compare;
mod dataset;
mod firmware;
mod gradients;
mod map;
mod profile;
mod progress;
mod train;
mod verify;
mod weights;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};
use crate::report;

/// Trains spiking neural networks with EventProp: in this process, on a model of SpiNNaker2, or by its firmware on
/// emulated processing elements or a board.
#[derive(Parser)]
#[command(name = "eventprop", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Gradients(gradients::Args),
    Weights(weights::Args),
    Compare(compare::Args),
    Verify(verify::Args),
    Map(map::Args),
    Profile(profile::Args),
    Dataset(dataset::Args),
    Firmware(firmware::Args),
    Board(board::Args),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Gradients(args) => gradients::run(&args),
        Command::Weights(args) => weights::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Map(args) => map::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Dataset(args) => dataset::run(&args),
        Command::Firmware(args) => firmware::run(&args),
        Command::Board(args) => board::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}

/// Writes to the standard output. A reader that has gone away, as in `eventprop ... | head`, is
/// no error.
fn print(bytes: &[u8]) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::new(format!("cannot write: {error}")).at("standard output"))
        }
        _ => Ok(()),
    }
}

/// Where `--json` goes.
#[derive(Clone, Copy)]
enum Json<'a> {
    Nowhere,
    Output,
    File(&'a Path),
}

impl<'a> Json<'a> {
    /// From the flag's value; makes sure that a file can be written.
    fn new(path: Option<&'a Path>) -> Result<Self> {
        match path {
            None => Ok(Self::Nowhere),
            Some(path) if path == Path::new("-") => Ok(Self::Output),
            Some(path) => {
                report::check_writable(path)?;
                Ok(Self::File(path))
            }
        }
    }

    fn write(self, text: &str) -> Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Output => print(text.as_bytes()),
            Self::File(path) => report::write_file(path, text.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
