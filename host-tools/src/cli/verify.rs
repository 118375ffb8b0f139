//! `eventprop verify`: runs reference vectors and compares.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::{Json, print};
use crate::error::{Error, Result};
use crate::reference::{Comparison, RunOptions, Tolerance};
use crate::vector::{Scheme, Vector};
use crate::verification::{self, Counts, Engine, Report};

/// Run reference vectors and compare spikes, loss and gradients
///
/// A vector is a small network with fixed weights and inputs, and what an independent
/// implementation made of it. The exit status is 1 if a vector is outside its tolerance.
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
    #[arg(long, help = tolerance_help("Largest error of a spike's time", |t| t.spike_time_ms),
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
    /// In `grid`, a spike may differ where the reference's membrane is this close to the threshold;
    /// the vector is then judged by the f64 model
    #[arg(long, value_name = "V", default_value_t = verification::RESOLUTION, value_parser = not_negative)]
    resolution: f64,
    /// Smallest divisor of the backward pass; the vectors are made without one
    #[arg(long, value_name = "C", default_value_t = 0.0, value_parser = not_negative)]
    slope_floor: f64,
    /// Write all results as JSON to a file, or to the standard output (-)
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

fn tolerance_help(help: &str, of: fn(&Tolerance) -> f64) -> String {
    let exact = of(&Tolerance::of(Scheme::Exact));
    let grid = of(&Tolerance::of(Scheme::Grid));
    if exact == grid {
        format!("{help} [default: {exact}]")
    } else {
        format!("{help} [default: {exact}; grid: {grid}]")
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| *value >= 0.0)
        .ok_or_else(|| String::from("a number, not negative, is needed"))
}

impl Args {
    fn tolerance(&self, scheme: Scheme) -> Tolerance {
        let default = Tolerance::of(scheme);
        Tolerance {
            spike_time_ms: self.max_spike_error_ms.unwrap_or(default.spike_time_ms),
            loss: self.max_loss_error.unwrap_or(default.loss),
            cosine: self.min_cosine.unwrap_or(default.cosine),
            relative_error: self.max_relative_error.unwrap_or(default.relative_error),
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
            &args.tolerance(vector.scheme),
            args.resolution,
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
    if let Some(comparison) = &report.judged_by_reference {
        let closest = report
            .comparison
            .first_mismatches()
            .iter()
            .filter_map(|mismatch| mismatch.margin)
            .fold(0.0, f64::max);
        text.push_str(&format!(
            "{:width$}  a spike differs where the reference is {closest:.1e} from the threshold; by \
             the f64 model:\n",
            ""
        ));
        text.push_str(&numbers("", comparison, width, verdict));
    }
    if let Some(counts) = report.counts.filter(|&counts| counts != Counts::default()) {
        text.push_str(&format!("{:width$}  {counts}\n", ""));
    }
    for violation in &report.violations {
        text.push_str(&format!("{:width$}  ! {violation}\n", ""));
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
