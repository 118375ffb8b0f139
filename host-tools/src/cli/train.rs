//! `eventprop train`: trains a network and leaves its results in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::PossibleValuesParser;

use super::bar::Bar;
use super::choice::BackendFlags;
use super::progress::Progress;
use super::{Json, gradients, print};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::experiment::{DatasetKind, Experiment, Override, Scheme};
use crate::report::summary::Summary;
use crate::report::{self, arrays, history, plots, write_file};
use crate::training::checkpoint::{self, Checkpoint};
use crate::training::{self, Observer, Outcome, Plan, State, Unobserved};

/// Train a network and leave weights, gradients, history, plots and a summary in a folder
///
/// Without arguments: the Yin-Yang set on the model of the chip. Flags override the experiment
/// file. Ctrl-C ends the run after the minibatch, with everything written; `--resume` goes on with
/// the same bits.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop train
  eventprop train --scheme grid --epochs 40 --out runs/grid
  eventprop train my-experiment.toml --backend direct --hidden 64,32 --json -
  eventprop train my-experiment.toml --backend board:/dev/ttyACM0
  eventprop train --resume runs/exact-seed1")]
pub(super) struct Args {
    /// Experiment file (TOML); every key has a default, `experiment.toml` of a run shows them all
    #[arg(value_name = "EXPERIMENT.toml")]
    experiment: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendFlags,
    #[arg(long, help = "Spikes between steps (exact) or at steps (grid); decides the other defaults \
                        [default: exact]",
          value_name = "SCHEME", value_parser = PossibleValuesParser::new(Scheme::NAMES))]
    scheme: Option<String>,
    #[arg(long, help = with_default("Neurons of each hidden layer, for instance 64,32", |e| join(&e.network.hidden)),
          value_name = "N,N...", value_delimiter = ',')]
    hidden: Option<Vec<u32>>,
    #[arg(long, help = with_default("Passes over the training samples", |e| e.training.epochs.to_string()),
          value_name = "N")]
    epochs: Option<u32>,
    /// End after so many minibatches in all [default: no limit]
    #[arg(long, value_name = "N")]
    minibatches: Option<u32>,
    #[arg(long, help = with_default("Seed of initial weights and order of samples", |e| e.seed.to_string()),
          value_name = "S", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    #[arg(long, help = with_default("Copies of the network that share a minibatch", |e| e.backend.replicas.to_string()),
          value_name = "R")]
    replicas: Option<u32>,
    /// Threads of the backend `direct`; the model of the chip runs on one [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    #[arg(long, help = with_default("Seed of the order in which packets are delivered", |e| e.backend.delivery_seed.to_string()),
          value_name = "D", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    delivery_seed: Option<u64>,
    #[arg(long, help = with_default("Samples per minibatch", |e| e.training.batch.to_string()),
          value_name = "B")]
    batch: Option<u32>,
    /// Start with these weights instead of random ones; a copy stays in the folder as start.npz
    #[arg(long, value_name = "FILE.npz", conflicts_with = "resume")]
    weights: Option<PathBuf>,
    /// Folder for the results [default: runs/SCHEME-seedS, with a number if that exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "DIR",
          conflicts_with_all = ["experiment", "scheme", "hidden", "seed", "batch", "out"])]
    resume: Option<PathBuf>,
    /// Write the summary as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Show nothing but errors
    #[arg(long)]
    quiet: bool,
}

/// A flag's help with the defaults of both schemes.
fn with_default(help: &str, of: fn(&Experiment) -> String) -> String {
    let exact = of(&Experiment::default_for(Scheme::Exact));
    let grid = of(&Experiment::default_for(Scheme::Grid));
    if exact == grid {
        format!("{help} [default: {exact}]")
    } else {
        format!("{help} [default: {exact}; grid: {grid}]")
    }
}

fn join(numbers: &[usize]) -> String {
    let numbers: Vec<_> = numbers.iter().map(usize::to_string).collect();
    numbers.join(",")
}

impl Args {
    /// The flags as values in place of the file's.
    fn overrides(&self) -> Vec<Override> {
        let mut overrides = Vec::new();
        let mut put = |flag, key, value: Option<toml::Value>| {
            overrides.extend(value.map(|value| Override::new(flag, key, value)));
        };
        let text = |value: &Option<String>| value.clone().map(toml::Value::from);
        let number = |value: Option<u32>| value.map(|n| toml::Value::from(i64::from(n)));
        // Seeds beyond an i64 are refused by the parser of the flag.
        let seed = |value: Option<u64>| value.map(|n| toml::Value::from(n as i64));
        put("--scheme", "network.scheme", text(&self.scheme));
        put(
            "--hidden",
            "network.hidden",
            self.hidden.clone().map(toml::Value::from),
        );
        put("--epochs", "training.epochs", number(self.epochs));
        put(
            "--minibatches",
            "training.minibatches",
            number(self.minibatches),
        );
        put("--seed", "seed", seed(self.seed));
        put("--replicas", "backend.replicas", number(self.replicas));
        put("--threads", "backend.threads", number(self.threads));
        put(
            "--delivery-seed",
            "backend.delivery_seed",
            seed(self.delivery_seed),
        );
        put("--batch", "training.batch", number(self.batch));
        overrides.extend(self.backend.overrides());
        overrides
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    // Everything that can be wrong is found before the first file is written.
    let json = Json::new(args.json.as_deref())?;
    let file = match &args.resume {
        Some(folder) => Some(folder.join(report::EXPERIMENT)),
        None => args.experiment.clone(),
    };
    let experiment = Experiment::load(file.as_deref(), &args.overrides())?;
    let located = |error| Experiment::locate(file.as_deref(), &args.overrides(), error);
    let plan = Plan::new(experiment).map_err(located)?;
    let mut state = match &args.resume {
        Some(folder) => Checkpoint::read(&folder.join(checkpoint::FILE_NAME), &plan)?,
        None => State::new(&plan),
    };
    let mut start = None;
    if let Some(path) = &args.weights {
        state.weights = arrays::read_weights(path, &plan.dims)?;
        start = Some(arrays::weights_npz(&state.weights)?);
    }
    let mut backend =
        gradients::build(&plan, false, Bar::boxed(args.quiet, false)).map_err(located)?;
    let folder = match (&args.resume, &args.out) {
        (Some(folder), _) => folder.clone(),
        (None, Some(folder)) => prepare_folder(folder)?,
        (None, None) => new_folder(&plan.experiment)?,
    };
    write_file(
        &folder.join(report::EXPERIMENT),
        plan.experiment.to_toml().as_bytes(),
    )?;
    if let Some(start) = start {
        write_file(&folder.join(report::START), &start)?;
    }

    let stop = stop_on_signal()?;
    let checkpoint = folder.join(checkpoint::FILE_NAME);
    let mut progress = (!args.quiet).then(|| Progress::new(&plan, &state));
    let observer: &mut dyn Observer = match &mut progress {
        Some(progress) => progress,
        None => &mut Unobserved,
    };
    let result = training::run(
        &plan,
        backend.as_mut(),
        state,
        Some(&checkpoint),
        observer,
        &stop,
    );
    if let Some(progress) = &progress {
        progress.finish();
    }
    let outcome = result.map_err(|error| {
        if !checkpoint.exists() {
            return error;
        }
        // A chip may have no memory for what trained networks send; this process has.
        error.or_hint(format!(
            "what was trained is kept; `eventprop train --resume {} --backend direct` goes on in this \
             process, with the same bits",
            folder.display()
        ))
    })?;

    let summary = Summary::new(&plan, &outcome, backend.name());
    write_results(&folder, &plan, &outcome, &summary)?;
    json.write(&summary.to_json())?;
    let plots = write_plots(&folder, &plan, &outcome, backend.as_mut());
    if !args.quiet {
        let text = describe(&folder, &summary);
        match json {
            Json::Output => eprint!("{text}"),
            _ => print(text.as_bytes())?,
        }
    }
    if let Err(missing) = plots {
        eprintln!("warning: {missing}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the folder that was asked for, and clears what an earlier run left in it, so that results
/// of two runs never stand side by side.
fn prepare_folder(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, &error))?;
    report::check_writable(&folder.join(report::SUMMARY))?;
    for name in [
        report::HISTORY,
        report::START,
        report::WEIGHTS,
        report::GRADIENTS,
        report::SUMMARY,
        report::LEARNING_CURVE,
        report::DECISION_MAP,
        report::SPIKE_RASTER,
        checkpoint::FILE_NAME,
    ] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("replace", &path, &error));
            }
            _ => {}
        }
    }
    Ok(folder.to_owned())
}

/// Makes a folder of its own for a run that was given none.
fn new_folder(experiment: &Experiment) -> Result<PathBuf> {
    let runs = Path::new("runs");
    fs::create_dir_all(runs).map_err(|error| {
        Error::io("create the folder", runs, &error).hint("--out DIR names another one")
    })?;
    let name = format!("{}-seed{}", experiment.network.scheme, experiment.seed);
    for number in 1_u32.. {
        let folder = match number {
            1 => runs.join(&name),
            _ => runs.join(format!("{name}-{number}")),
        };
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Error::io("create the folder", &folder, &error)
                    .hint("--out DIR names another one"));
            }
        }
    }
    Err(Error::new("no free folder name").at("runs"))
}

/// A flag that the first Ctrl-C sets; the second ends the process at once.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::Relaxed) {
            // Files are written beside their place and renamed, so nothing is left half-written.
            std::process::exit(130);
        }
    })
    .map_err(|error| Error::new(format!("cannot catch Ctrl-C: {error}")))?;
    Ok(stop)
}

fn write_results(folder: &Path, plan: &Plan, outcome: &Outcome, summary: &Summary) -> Result<()> {
    let put = |name: &str, bytes: &[u8]| write_file(&folder.join(name), bytes);
    let experiment = &plan.experiment;
    put(
        report::HISTORY,
        history::to_csv(&outcome.state.history).as_bytes(),
    )?;
    put(report::WEIGHTS, &arrays::weights_npz(&outcome.weights)?)?;
    let gradients = arrays::gradients_npz(
        &outcome.state.gradients,
        experiment.network.tau_synapse_ms,
        outcome.state.last_batch,
    )?;
    put(report::GRADIENTS, &gradients)?;
    // Behind these, so that a summary tells that they are complete; before the plots, which the result does
    // not depend on.
    put(report::SUMMARY, summary.to_json().as_bytes())
}

/// Makes the plots. Those that cannot be made are left out, and named in one error.
fn write_plots(
    folder: &Path,
    plan: &Plan,
    outcome: &Outcome,
    backend: &mut dyn Backend,
) -> Result<()> {
    let put = |name: &str, plot: Result<String>| {
        let written = plot.and_then(|plot| write_file(&folder.join(name), plot.as_bytes()));
        written.map_err(|error| (name.to_owned(), error)).err()
    };
    let mut missing = Vec::new();
    missing.extend(put(
        report::LEARNING_CURVE,
        plots::learning_curve(plan, outcome),
    ));
    if plan.experiment.dataset.kind == DatasetKind::YinYang {
        let map = plots::decision_map(plan, outcome, backend);
        missing.extend(put(report::DECISION_MAP, map));
    }
    missing.extend(put(
        report::SPIKE_RASTER,
        plots::spike_raster(plan, backend),
    ));
    let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(" and ");
    match missing.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(Error::new(format!(
            "{names} could not be made, all other results are complete: {error}"
        ))),
    }
}

/// The result in a few lines.
fn describe(folder: &Path, summary: &Summary) -> String {
    let percent = |fraction: f64| format!("{:.2} %", 100.0 * fraction);
    let mut text = String::new();
    if summary.interrupted {
        text.push_str(&format!(
            "stopped after {} minibatches; go on with: eventprop train --resume {}\n",
            summary.minibatches,
            folder.display()
        ));
    }
    text.push_str(&format!(
        "test accuracy {} ({} with ties correct), validation {}, training {}\n",
        percent(summary.test_accuracy),
        percent(summary.test_accuracy_ties_correct),
        percent(summary.validation_accuracy),
        percent(summary.train_accuracy),
    ));
    text.push_str(&format!(
        "{:.0} training samples per second, {:.1} s in all\n",
        summary.train_samples_per_second, summary.wall_seconds
    ));
    text.push_str(&format!(
        "silent labels: {} of the test samples, {} of the training samples; saturations: {}, \
         suppressed spikes: {}\n",
        percent(summary.silent_label_fraction),
        percent(summary.train_silent_label_fraction),
        summary.saturations,
        summary.suppressed_spikes
    ));
    text.push_str(&format!("results: {}\n", folder.display()));
    text
}
