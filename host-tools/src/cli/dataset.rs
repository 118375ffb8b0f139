//! `eventprop dataset`: writes the samples of a generated data set.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use crate::dataset::{csv, yin_yang};
use crate::error::Result;
use crate::experiment::Experiment;

use super::print;

/// Write the samples of a generated data set
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    set: Set,
}

#[derive(Subcommand)]
enum Set {
    YinYang(YinYang),
}

/// The Yin-Yang set: x, y, 1-x, 1-y and the class (0 yin, 1 yang, 2 dot)
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop dataset yin-yang --out train.csv
  eventprop dataset yin-yang --split test --out test.npz
  eventprop dataset yin-yang --size 20000 --seed 7 --out large.csv")]
struct YinYang {
    /// Which canonical part: training (5000 samples, seed 42), validation (1000, 41) or test
    /// (1000, 40)
    #[arg(long, value_enum, default_value_t = Split::Train)]
    split: Split,
    /// Number of samples, instead of the part's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    size: Option<u32>,
    /// Seed of the generator, instead of the part's
    #[arg(long, value_name = "S")]
    seed: Option<u32>,
    /// File to write: .csv, .npz (arrays `features` and `labels`) or .npy (last column is the
    /// label) [default: CSV on the standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Split {
    Train,
    Validation,
    Test,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let Set::YinYang(args) = &args.set;
    let canonical = Experiment::default().dataset;
    let (seed, size) = match args.split {
        Split::Train => (canonical.train_seed, canonical.train_size),
        Split::Validation => (canonical.validation_seed, canonical.validation_size),
        Split::Test => (canonical.test_seed, canonical.test_size),
    };
    let size = args.size.map_or(size, |size| size as usize);
    let set = yin_yang::generate(args.seed.unwrap_or(seed), size);
    match &args.out {
        Some(path) => set.write(path)?,
        None => print(&csv::to_bytes(&set))?,
    }
    Ok(ExitCode::SUCCESS)
}
