//! `eventprop gradients`: trains one minibatch and writes its gradients.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use super::bar::Bar;
use super::choice::{self, BackendFlags, NetworkFlags};
use super::{Json, print};
use crate::backend::board::Board;
use crate::backend::{self, Backend};
use crate::error::{Error, Result};
use crate::experiment::{BackendKind, Override};
use crate::link::Observer;
use crate::report::{self, arrays, write_file};
use crate::training::{Plan, State, shuffled};

/// Train one minibatch and write its gradients to a NumPy archive
///
/// The minibatch is the first one that `train` would take, with the same initial weights. The gradients are
/// summed over it; all backends give the same bits.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop gradients --backend direct --out gradients.npz
  eventprop gradients my-experiment.toml --weights weights.npz --out gradients.npz
  eventprop gradients experiments/small-firmware.toml --backend board:/dev/ttyACM0 --out gradients.npz
  eventprop gradients experiments/small-firmware.toml --backend board:/dev/ttyACM0 --loaded --out gradients.npz

In Python:
  archive = numpy.load('gradients.npz')
  archive['layer1']                            # dL/dw, [post][pre]
  json.loads(archive['about'].tobytes())       # unit, format, SHA-256")]
pub(super) struct Args {
    /// Experiment file (TOML) [default: the Yin-Yang experiment]
    #[arg(value_name = "EXPERIMENT.toml")]
    experiment: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendFlags,
    #[command(flatten)]
    network: NetworkFlags,
    /// Seed of initial weights and order of samples [default: the experiment's]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Samples of the minibatch [default: the experiment's]
    #[arg(long, value_name = "B")]
    batch: Option<u32>,
    /// Take these weights instead of the initial ones
    #[arg(long, value_name = "FILE.npz", conflicts_with = "loaded")]
    weights: Option<PathBuf>,
    /// Take the board as it is: with the network, data and weights that it holds
    #[arg(long)]
    loaded: bool,
    /// Archive to write
    #[arg(long, value_name = "FILE.npz", default_value = report::GRADIENTS)]
    out: PathBuf,
    /// Write loss and digests as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Show nothing but errors
    #[arg(long)]
    quiet: bool,
}

impl Args {
    fn overrides(&self) -> Vec<Override> {
        let seed = self
            .seed
            .map(|seed| Override::new("--seed", "seed", seed as i64));
        let batch = self.batch.map(i64::from);
        let batch = batch.map(|batch| Override::new("--batch", "training.batch", batch));
        seed.into_iter().chain(batch).collect()
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let json = Json::new(args.json.as_deref())?;
    report::check_writable(&args.out)?;
    let experiment = choice::experiment(
        args.experiment.as_ref(),
        &[
            &args.backend.overrides(),
            &args.network.overrides(),
            &args.overrides(),
        ],
    )?;
    let plan = Plan::new(experiment)?;
    let weights = match &args.weights {
        Some(path) => arrays::read_weights(path, &plan.dims)?,
        None => State::new(&plan).weights,
    };
    let mut backend = build(&plan, args.loaded, Bar::boxed(args.quiet, true))?;
    if !args.loaded {
        backend.set_weights(&weights)?;
    }
    let order = shuffled(plan.experiment.seed, 0, plan.sets.train.len());
    let batch = plan.experiment.training.batch.min(order.len());
    backend.set_learning_rate(plan.learning_rate(0, 0))?;
    let started = Instant::now();
    let tally = backend.train(&order[..batch], batch)?;
    let seconds = started.elapsed().as_secs_f64();
    let counters = backend.counters()?;
    let gradients = backend.gradients()?;
    let weights = backend.weights()?;
    let name = backend.name();
    // What it shows ends with it.
    drop(backend);
    let tau = plan.experiment.network.tau_synapse_ms;
    write_file(
        &args.out,
        &arrays::gradients_npz(&gradients, tau, batch as u64)?,
    )?;
    let digest = arrays::gradients_sha256(&gradients);
    let summary = json!({
        "backend": name,
        "dims": plan.dims,
        "samples": batch,
        "loss": tally.mean_loss(),
        "accuracy": tally.accuracy(),
        "silent_labels": tally.silent_label,
        "saturations": counters.saturations,
        "suppressed_spikes": counters.suppressed_spikes,
        "min_threshold_slack": counters.min_threshold_slack,
        "gradients_sha256": digest,
        "weights_sha256": arrays::weights_sha256(&weights),
        "train_seconds": seconds,
        "file": args.out,
    });
    json.write(&format!("{summary:#}\n"))?;
    if !args.quiet {
        let dims: Vec<_> = plan.dims.iter().map(ToString::to_string).collect();
        let text = format!(
            "{batch} samples through {} on {}: loss {}, accuracy {:.2} %, {seconds:.2} s\n\
             silent labels: {}, saturations: {}, suppressed spikes: {}\n\
             gradients: {}, SHA-256 {digest}\n",
            dims.join("-"),
            name,
            tally
                .mean_loss()
                .map_or("-".into(), |loss| format!("{loss:.4}")),
            100.0 * tally.accuracy(),
            tally.silent_label,
            counters.saturations,
            counters.suppressed_spikes,
            args.out.display(),
        );
        match json {
            Json::Output => eprint!("{text}"),
            _ => print(text.as_bytes())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The backend that the experiment names; a board tells the observer how it is loaded.
pub(super) fn build(
    plan: &Plan,
    loaded: bool,
    observer: Box<dyn Observer>,
) -> Result<Box<dyn Backend>> {
    let is_board = plan.experiment.backend.kind == BackendKind::Board;
    Ok(match (is_board, loaded) {
        (true, false) => Box::new(Board::new(&plan.setup(), observer)?),
        (true, true) => Box::new(Board::attach(&plan.setup(), observer)?),
        (false, false) => backend::build(plan.setup())?,
        (false, true) => {
            return Err(Error::new("only a board keeps what it was loaded with")
                .at("--loaded")
                .hint("--backend board:PORT"));
        }
    })
}
