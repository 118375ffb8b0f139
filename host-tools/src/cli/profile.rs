//! `eventprop profile`: trains on emulated PEs and shows what each of them has to do.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use clap::builder::PossibleValuesParser;

use super::{Json, print};
use crate::backend::{self, LayerWeights};
use crate::error::Result;
use crate::experiment::{BackendKind, Experiment, Override, Routing, Scheme};
use crate::profile::Profile;
use crate::report;
use crate::training::{self, Plan, State, Unobserved};

/// Count what training takes on emulated PEs: instructions, packets, memory (Markdown)
///
/// Executes the firmware images, so these must be built before; backend and routing of the experiment
/// are replaced. Counts are of training alone, without start-up. Cycles and speed are estimates: nothing
/// is measured on a chip.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop profile
  eventprop profile experiments/grid-5-120-3.toml --functions 12
  eventprop profile --hidden 120 --minibatches 4 --folded stacks.txt")]
pub(super) struct Args {
    /// Experiment file (TOML) [default: the Yin-Yang experiment]
    #[arg(value_name = "EXPERIMENT.toml")]
    experiment: Option<PathBuf>,
    /// Neurons of each hidden layer, for instance 64,32
    #[arg(long, value_name = "N,N...", value_delimiter = ',')]
    hidden: Option<Vec<u32>>,
    /// Spikes between steps (exact) or at steps (grid); decides the other defaults [default: exact]
    #[arg(long, value_name = "SCHEME", value_parser = PossibleValuesParser::new(Scheme::NAMES))]
    scheme: Option<String>,
    /// Copies of the network that share a minibatch; shown is their mean
    #[arg(long, value_name = "R", default_value_t = 1)]
    replicas: u32,
    /// Passes over the training samples in this process before, so that the network spikes as in a run
    #[arg(long, value_name = "N", default_value_t = 1)]
    epochs: u32,
    /// Minibatches to train on emulated PEs
    #[arg(long, value_name = "M", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    minibatches: u32,
    /// Show the N functions of each PE with most instructions
    #[arg(long, value_name = "N")]
    functions: Option<usize>,
    /// Write the counts as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Write instructions by call path to a file, for flame graphs
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,
}

impl Args {
    fn overrides(&self) -> Vec<Override> {
        let mut overrides = vec![Override::new(
            "--replicas",
            "backend.replicas",
            i64::from(self.replicas),
        )];
        if let Some(hidden) = &self.hidden {
            let hidden: Vec<_> = hidden.iter().map(|&n| i64::from(n)).collect();
            overrides.push(Override::new("--hidden", "network.hidden", hidden));
        }
        if let Some(scheme) = &self.scheme {
            let scheme = scheme.as_str();
            overrides.push(Override::new("--scheme", "network.scheme", scheme));
        }
        overrides
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let json = Json::new(args.json.as_deref())?;
    if let Some(path) = &args.folded {
        report::check_writable(path)?;
    }
    let mut experiment = Experiment::load(args.experiment.as_deref(), &args.overrides())?;
    experiment.backend.kind = BackendKind::Emulated;
    experiment.backend.routing = Routing::Direct;
    let plan = Plan::new(experiment)?;
    let weights = train(&plan, args.epochs)?;
    let minibatches = args.minibatches as usize;
    let profile = Profile::measure(&plan, &weights, minibatches, args.folded.is_some())?;
    json.write(&profile.to_json())?;
    if let Some(path) = &args.folded {
        report::write_file(path, profile.folded_stacks().as_bytes())?;
    }
    let mut text = profile.report();
    if let Some(count) = args.functions {
        text += &profile.functions_report(count);
    }
    match json {
        Json::Output => eprint!("{text}"),
        _ => print(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains in this process, which gives the same bits, and returns the last weights.
fn train(plan: &Plan, epochs: u32) -> Result<Vec<LayerWeights>> {
    let mut plan = plan.clone();
    plan.experiment.backend.kind = BackendKind::Direct;
    plan.experiment.training.epochs = epochs;
    plan.experiment.training.minibatches = None;
    let mut backend = backend::build(plan.setup())?;
    let state = State::new(&plan);
    let never = AtomicBool::new(false);
    let outcome = training::run(
        &plan,
        backend.as_mut(),
        state,
        None,
        &mut Unobserved,
        &never,
    )?;
    Ok(outcome.state.weights)
}
