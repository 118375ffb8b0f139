//! `eventprop compare`: trains experiments over several seeds and prints a table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::print;
use crate::backend;
use crate::error::{Error, Result};
use crate::experiment::{BackendKind, Experiment};
use crate::report::{hex, write_file};
use crate::training::{self, Plan, State, Unobserved};

/// Train experiments with several seeds and print a table of their test accuracies (Markdown)
///
/// Runs in this process, one seed per thread; the bits, and so the figures, are those of every other
/// backend. The weights of a run are chosen by its validation accuracy.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop compare experiments/*.toml --seeds 1-10
  eventprop compare experiments/study/*.toml --keep runs/study
  eventprop compare a.toml b.toml --seeds 1,5,7 --epochs 5")]
pub(super) struct Args {
    /// Experiment files (TOML)
    #[arg(value_name = "EXPERIMENT.toml", required = true)]
    experiments: Vec<PathBuf>,
    /// Seeds, for instance 1-10 or 1,5,7
    #[arg(long, value_name = "S-S|S,S...", default_value = "1-10", value_parser = parse_seeds)]
    seeds: Seeds,
    /// Passes over the training samples, instead of the experiments' own
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Threads [default: one per processor core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Keep every finished run in this folder; runs that the same build of this program has left
    /// there are not trained again
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Seeds(Vec<u64>);

fn parse_seeds(text: &str) -> std::result::Result<Seeds, String> {
    let number = |text: &str| {
        let seed = text
            .trim()
            .parse::<u64>()
            .ok()
            .filter(|&seed| seed <= i64::MAX as u64);
        seed.ok_or_else(|| format!("`{text}` is no seed; write for instance 1-10 or 1,5,7"))
    };
    let mut seeds = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => seeds.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first || last - first >= 1000 {
                    return Err(format!("`{part}` is no range of up to 1000 seeds"));
                }
                seeds.extend(first..=last);
            }
        }
    }
    Ok(Seeds(seeds))
}

/// What a run came to.
#[derive(Serialize, Deserialize)]
struct Run {
    validation: f64,
    test: f64,
    ties: f64,
    silent: f64,
    saturations: u64,
    suppressed: u64,
}

/// An experiment and how it is named in the table.
struct Row {
    name: String,
    settings: Vec<String>,
    plan: Plan,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut rows = Vec::new();
    for path in &args.experiments {
        let mut experiment = Experiment::load(Some(path), &[])?;
        experiment.backend.kind = BackendKind::Direct;
        experiment.backend.threads = Some(1);
        if let Some(epochs) = args.epochs {
            experiment.training.epochs = epochs;
        }
        experiment
            .check()
            .map_err(|error| error.at(path.display().to_string()))?;
        rows.push(Row {
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into(),
            settings: experiment.settings(),
            plan: Plan::new(experiment)?,
        });
    }
    let seeds = &args.seeds.0;
    let jobs: Vec<_> = rows
        .iter()
        .flat_map(|row| seeds.iter().map(move |&seed| (row, seed)))
        .collect();
    let archive = args.keep.as_deref().map(Archive::new).transpose()?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.unwrap_or(0))
        .build()
        .map_err(|error| Error::new(format!("cannot start threads: {error}")))?;
    let done = AtomicUsize::new(0);
    let runs: Vec<Run> = pool.install(|| {
        jobs.par_iter()
            .map(|&(Row { name, plan, .. }, seed)| {
                let mut plan = plan.clone();
                plan.experiment.seed = seed;
                let run = match &archive {
                    Some(archive) => archive.run(&plan),
                    None => train(&plan),
                }?;
                eprintln!(
                    "{}/{} {name} seed {seed}: validation {:.2} %, test {:.2} %",
                    done.fetch_add(1, Ordering::Relaxed) + 1,
                    jobs.len(),
                    run.validation,
                    run.test
                );
                Ok(run)
            })
            .collect::<Result<_>>()
    })?;
    print(table(&rows, runs.chunks(seeds.len())).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn train(plan: &Plan) -> Result<Run> {
    let mut backend = backend::build(plan.setup())?;
    let never = AtomicBool::new(false);
    let state = State::new(plan);
    let outcome = training::run(plan, backend.as_mut(), state, None, &mut Unobserved, &never)?;
    let counters = backend.counters()?;
    Ok(Run {
        validation: 100.0 * outcome.validation.accuracy(),
        test: 100.0 * outcome.test.accuracy(),
        ties: 100.0 * outcome.test.accuracy_ties_correct(),
        silent: 100.0 * outcome.test.silent_label_fraction(),
        saturations: counters.saturations,
        suppressed: counters.suppressed_spikes,
    })
}

/// A folder of finished runs.
struct Archive<'a> {
    folder: &'a Path,
    /// Of the running program: another build may train to other bits.
    program: [u8; 32],
}

impl<'a> Archive<'a> {
    fn new(folder: &'a Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
        let program = std::env::current_exe()
            .and_then(std::fs::read)
            .map_err(|error| Error::new(format!("cannot read this program's own file: {error}")))?;
        Ok(Self {
            folder,
            program: Sha256::digest(program).into(),
        })
    }

    /// Takes the run from the folder, or trains and puts it there.
    fn run(&self, plan: &Plan) -> Result<Run> {
        let key = Sha256::new()
            .chain_update(self.program)
            .chain_update(plan.samples_digest)
            .chain_update(plan.experiment.to_toml())
            .finalize();
        let path = self.folder.join(format!("{}.json", hex(&key[..16])));
        let kept = std::fs::read(&path).ok();
        if let Some(run) = kept.and_then(|text| serde_json::from_slice(&text).ok()) {
            return Ok(run);
        }
        let run = train(plan)?;
        let text = serde_json::to_string(&run).expect("plain numbers are JSON");
        write_file(&path, text.as_bytes())?;
        Ok(run)
    }
}

/// The table, a row per experiment, seeds in their order.
fn table<'r>(rows: &[Row], runs: impl Iterator<Item = &'r [Run]>) -> String {
    let mut text = String::from(
        "| experiment | network | epochs | what differs from the scheme's defaults | validation % | test %, mean ± sd | lowest | ties correct | silent label % | saturations | suppressed spikes | by seed |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (row, runs) in rows.iter().zip(runs) {
        let mean = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let average = mean(|run| run.test);
        // Of the population that the seeds are a sample of.
        let squares: f64 = runs.iter().map(|run| (run.test - average).powi(2)).sum();
        let deviation = (squares / (runs.len().max(2) - 1) as f64).sqrt();
        let lowest = runs
            .iter()
            .map(|run| run.test)
            .fold(f64::INFINITY, f64::min);
        let saturations: u64 = runs.iter().map(|run| run.saturations).sum();
        let suppressed: u64 = runs.iter().map(|run| run.suppressed).sum();
        let dims: Vec<_> = row.plan.dims.iter().map(ToString::to_string).collect();
        let by_seed: Vec<_> = runs.iter().map(|run| format!("{:.1}", run.test)).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} | {average:.2} ± {deviation:.2} | {lowest:.1} | {:.2} | {:.2} | {saturations} | {suppressed} | {} |",
            row.name,
            dims.join("-"),
            row.plan.experiment.training.epochs,
            row.settings.join(", "),
            mean(|run| run.validation),
            mean(|run| run.ties),
            mean(|run| run.silent),
            by_seed.join(" "),
        );
    }
    text
}
