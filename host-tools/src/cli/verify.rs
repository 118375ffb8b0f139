//! `eventprop verify`: runs reference vectors and compares.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::{Json, print};
use crate::error::{Error, Result};
use crate::reference::compare::{Mismatch, MismatchKind};
use crate::reference::{Comparison, RunOptions, Tolerance};
use crate::vector::{Scheme, Vector};
use crate::verification::{self, Counts, Engine, Judgement, Report};

/// So many missing and extra spikes of a vector are shown.
const MISMATCHES: usize = 10;

/// Run reference vectors and compare spikes, loss and gradients
///
/// A vector is a small network with fixed weights and inputs, and what an independent
/// implementation made of it. The exit status is 1 if a vector is outside its tolerance.
///
/// Every missing or extra spike is shown with the distance of the membrane from the threshold. In `exact`, spikes may be
/// later where their slope is small, but not later than in the f64 model with the same ticks. Where a membrane grazes the
/// threshold, or a gradient hangs on a tick, by more than a tick or the formats resolve, the f64 model decides: the result
/// is held against it if it is outside the tolerance, too. `--backend reference` makes no such exception.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  eventprop verify tests/vectors/*.json
  eventprop verify --backend mock tests/vectors/exact_multi.json
  eventprop verify --max-relative-error 0.02 tests/vectors/exact_*.json")]
pub(super) struct Args {
    /// Reference vectors, schema eventprop-vector/1
    #[arg(value_name = "VECTOR.json", required = true)]
    vectors: Vec<PathBuf>,
    /// What runs the vectors; `reference` is the readable f64 model
    #[arg(long, value_name = "KIND", default_value = "direct",
          value_parser = PossibleValuesParser::new(Engine::NAMES))]
    backend: String,
    #[arg(long, help = tolerance_help("Largest error of a spike's time, in `exact` only where its \
          slope allows no more", |t| t.spike_time_ms),
          value_name = "MS", value_parser = not_negative)]
    max_spike_error_ms: Option<f64>,
    #[arg(long, help = tolerance_help("Largest error of the mean loss; relative to the loss where that is above 1", |t| t.loss),
          value_name = "L", value_parser = not_negative)]
    max_loss_error: Option<f64>,
    #[arg(long, help = tolerance_help("Smallest cosine of a layer's gradient", |t| t.cosine),
          value_name = "C", value_parser = not_negative)]
    min_cosine: Option<f64>,
    #[arg(long, help = tolerance_help("Largest relative error of a layer's gradient", |t| t.relative_error),
          value_name = "E", value_parser = not_negative)]
    max_relative_error: Option<f64>,
    #[arg(long, help = resolution_help(), value_name = "V", value_parser = not_negative)]
    resolution: Option<f64>,
    /// Smallest divisor of the backward pass; the vectors are made without one
    #[arg(long, value_name = "C", default_value_t = 0.0, value_parser = not_negative)]
    slope_floor: f64,
    /// Write all results as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

fn tolerance_help(help: &str, of: fn(&Tolerance) -> f64) -> String {
    let exact = of(&Tolerance::of(Scheme::Exact));
    let sensitive = of(&Tolerance::of_sensitive(Scheme::Exact));
    let grid = of(&Tolerance::of(Scheme::Grid));
    let mut defaults = format!("{exact}");
    if sensitive != exact {
        defaults.push_str(&format!(", {sensitive} where a tick may change more"));
    }
    if grid != exact {
        defaults.push_str(&format!("; grid: {grid}"));
    }
    format!("{help} [default: {defaults}]")
}

fn resolution_help() -> String {
    format!(
        "A spike may be missing or extra where the membrane is this close to the threshold; the \
         vector is then judged by the f64 model [default: {}; grid: {:.1e}]",
        verification::resolution(Scheme::Exact),
        verification::resolution(Scheme::Grid)
    )
}

fn not_negative(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| *value >= 0.0)
        .ok_or_else(|| String::from("a number, not negative, is needed"))
}

impl Args {
    fn tolerance(&self, vector: &Vector, options: &RunOptions) -> Tolerance {
        let default = Tolerance::of_vector(vector, options);
        Tolerance {
            spike_time_ms: self.max_spike_error_ms.unwrap_or(default.spike_time_ms),
            loss: self.max_loss_error.unwrap_or(default.loss),
            cosine: self.min_cosine.unwrap_or(default.cosine),
            relative_error: self.max_relative_error.unwrap_or(default.relative_error),
            ..default
        }
    }
}

/// What `--json` holds.
#[derive(Serialize)]
struct Results<'a> {
    passed: bool,
    vectors: &'a [Report],
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let json = Json::new(args.json.as_deref())?;
    let engine = Engine::from_name(&args.backend)
        .ok_or_else(|| Error::new("unknown backend").at("--backend"))?;
    // All vectors are read before the first one runs: a wrong file is known at once.
    let vectors = args
        .vectors
        .iter()
        .map(|path| Vector::load(path).map_err(|error| Error::new(error.to_string())))
        .collect::<Result<Vec<_>>>()?;
    let options = RunOptions {
        slack_floor: (args.slope_floor > 0.0).then_some(args.slope_floor),
        ..RunOptions::default()
    };
    let show = |text: &str| match json {
        Json::Output => {
            eprint!("{text}");
            Ok(())
        }
        _ => print(text.as_bytes()),
    };

    let width = vectors
        .iter()
        .map(|vector| vector.name.chars().count())
        .max();
    let width = width.unwrap_or(0).max("vector".len());
    show(&format!(
        "{:width$}  {:>9}  {:>7}  {:>5}  {:>10}  {:<26}  result\n",
        "vector", "spike ms", "missing", "extra", "loss", "gradient: cosine, relative"
    ))?;
    let mut reports = Vec::new();
    for (vector, path) in vectors.iter().zip(&args.vectors) {
        let report = verification::verify(
            vector,
            engine,
            &options,
            &args.tolerance(vector, &options),
            (args.resolution).unwrap_or_else(|| verification::resolution(vector.scheme)),
        )
        .map_err(|error| error.at(path.display().to_string()))?;
        show(&rows(vector, &report, width))?;
        reports.push(report);
    }
    let failed = reports
        .iter()
        .filter(|report| !report.violations.is_empty())
        .count();
    show(&format!(
        "{} of {} vectors within the tolerance ({engine})\n",
        reports.len() - failed,
        reports.len(),
        engine = engine.name()
    ))?;
    let results = Results {
        passed: failed == 0,
        vectors: &reports,
    };
    let mut text = serde_json::to_string_pretty(&results)
        .map_err(|error| Error::new(format!("cannot write the results: {error}")))?;
    text.push('\n');
    json.write(&text)?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// A vector's lines of the table: one per layer of weights, then remarks.
fn rows(vector: &Vector, report: &Report, width: usize) -> String {
    let verdict = if report.violations.is_empty() {
        "ok"
    } else {
        "OUTSIDE"
    };
    let mut text = numbers(
        &vector.name,
        &report.comparison,
        width,
        match report.judged_by_reference {
            Some(_) => "rounding",
            None => verdict,
        },
    );
    let remark = |remark: &str| format!("{:width$}  {remark}\n", "");
    let mismatches = &report.comparison.mismatches;
    for mismatch in mismatches.iter().take(MISMATCHES) {
        let Mismatch {
            sample,
            layer,
            neuron,
            time_ms,
            margin,
            ..
        } = mismatch;
        let kind = match mismatch.kind {
            MismatchKind::Missing => "missing",
            MismatchKind::Extra => "extra",
        };
        let side = match (vector.scheme, mismatch.kind) {
            (Scheme::Grid, _) => "from",
            (Scheme::Exact, MismatchKind::Missing) => "above",
            (Scheme::Exact, MismatchKind::Extra) => "below",
        };
        let distance = match margin.is_finite() {
            true => format!("{margin:.1e} {side} the threshold"),
            false => String::from("the f64 model does not know it"),
        };
        text.push_str(&remark(&format!(
            "- {kind}: sample {sample}, layer {layer}, neuron {neuron}, {time_ms:.4} ms; {distance}"
        )));
    }
    if mismatches.len() > MISMATCHES {
        let more = mismatches.len() - MISMATCHES;
        text.push_str(&remark(&format!("- and {more} more (all with --json)")));
    }
    if let Some(Judgement {
        by_ticks,
        comparison,
    }) = &report.judged_by_reference
    {
        let first = report.comparison.first_mismatches();
        let closest = first.iter().map(|mismatch| mismatch.margin);
        let closest = closest.fold(0.0, f64::max);
        let by = match by_ticks {
            true => "the f64 model with the same ticks is as far off; held against that:",
            false => "the f64 model in its place:",
        };
        let why = match mismatches.is_empty() {
            true => String::from("a tick changes this gradient"),
            false => format!("{closest:.1e} from the threshold is rounding"),
        };
        text.push_str(&remark(&format!("{why}; {by}")));
        text.push_str(&numbers("", comparison, width, verdict));
    }
    if let Some(counts) = report.counts.filter(|&counts| counts != Counts::default()) {
        text.push_str(&format!("{:width$}  {counts}\n", ""));
    }
    for violation in &report.violations {
        text.push_str(&remark(&format!("! {violation}")));
    }
    text
}

fn numbers(name: &str, comparison: &Comparison, width: usize, verdict: &str) -> String {
    let mut text = String::new();
    for (index, (layer, gradient)) in comparison
        .layers
        .iter()
        .zip(&comparison.gradients)
        .enumerate()
    {
        let first = index == 0;
        let loss = match comparison.loss_error {
            Some(error) if first => format!("{error:.2e}"),
            None if first => String::from("-"),
            _ => String::new(),
        };
        let line = format!(
            "{:width$}  {:>9.4}  {:>7}  {:>5}  {:>10}  {:>12.6} {:>12.2e}   {}",
            if first { name } else { "" },
            layer.largest_time_error_ms,
            layer.missing,
            layer.extra,
            loss,
            gradient.cosine,
            gradient.relative_error,
            if first { verdict } else { "" }
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
