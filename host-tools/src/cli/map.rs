//! `eventprop map`: shows how a network is placed on the chip, and what memory that takes.

use std::path::PathBuf;
use std::process::ExitCode;

use super::print;
use crate::backend::mock::Mock;
use crate::error::Result;
use crate::experiment::{Experiment, Override};
use crate::mapping::{DATA_BYTES, USABLE_CORES};
use crate::training::Plan;

/// Show where the programs of an experiment are placed on the chip, and what memory they take
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop map
  eventprop map --hidden 300,100 --replicas 8")]
pub(super) struct Args {
    /// Experiment file (TOML) [default: the Yin-Yang experiment]
    #[arg(value_name = "EXPERIMENT.toml")]
    experiment: Option<PathBuf>,
    /// Neurons of each hidden layer, for instance 64,32
    #[arg(long, value_name = "N,N...", value_delimiter = ',')]
    hidden: Option<Vec<u32>>,
    /// Copies of the network that share a minibatch
    #[arg(long, value_name = "R")]
    replicas: Option<u32>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut overrides = Vec::new();
    if let Some(hidden) = &args.hidden {
        let hidden: Vec<_> = hidden.iter().map(|&n| i64::from(n)).collect();
        overrides.push(Override::new("--hidden", "network.hidden", hidden));
    }
    if let Some(replicas) = args.replicas {
        let replicas = i64::from(replicas);
        overrides.push(Override::new("--replicas", "backend.replicas", replicas));
    }
    let experiment = Experiment::load(args.experiment.as_deref(), &overrides)?;
    let located = |error| Experiment::locate(args.experiment.as_deref(), &overrides, error);
    let plan = Plan::new(experiment).map_err(located)?;
    let mock = Mock::new(plan.setup()).map_err(located)?;
    let mapping = mock.mapping();
    let dims: Vec<_> = plan.dims.iter().map(ToString::to_string).collect();
    let pes: Vec<_> = mapping.layer_pes.iter().map(ToString::to_string).collect();
    let text = format!(
        "network          {}\n\
         PEs per layer    {}\n\
         replicas         {}\n\
         PEs              {} of {USABLE_CORES}\n\
         router entries   {}\n\n\
         Bytes of data memory, {DATA_BYTES} per PE (replica 0 and the optimiser):\n\n{}",
        dims.join("-"),
        pes.join(", "),
        mapping.replicas,
        mapping.placements.len(),
        mapping.entries.len(),
        mapping.memory_report(),
    );
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
