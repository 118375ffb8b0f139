//! Golden output: what a small network does and learns, to the last bit, as text in `tests/golden`.
//!
//! Debug and release builds, and every platform, are held against the same files. If a change is
//! meant to alter numbers, refresh them, and look at the difference before it is committed:
//!
//! ```text
//! UPDATE_GOLDEN=1 cargo test -p eventprop-tests --test golden
//! ```

use std::fmt::Write as _;
use std::path::Path;

use host_tools::backend::{self, Backend, Tally};
use host_tools::experiment::{BackendKind, Experiment, OptimizerKind, Scheme};
use host_tools::report::arrays::{gradients_sha256, weights_sha256};
use host_tools::report::write_file;
use host_tools::training::{Plan, State, shuffled};

const REFRESH: &str = "UPDATE_GOLDEN=1 cargo test -p eventprop-tests --test golden";
const BATCH: usize = 8;
const MINIBATCHES: usize = 3;

/// The default experiment with fewer neurons and samples.
fn experiment(scheme: Scheme, optimizer: OptimizerKind) -> Experiment {
    let mut experiment = Experiment::default_for(scheme);
    experiment.seed = 1;
    experiment.network.hidden = vec![16];
    experiment.dataset.train_size = 100;
    experiment.dataset.validation_size = 10;
    experiment.dataset.test_size = 10;
    experiment.optimizer.kind = optimizer;
    if optimizer == OptimizerKind::Sgd {
        // Large enough that spikes move within three minibatches.
        experiment.optimizer.learning_rate = 0.05;
        experiment.optimizer.weight_decay = 1e-3;
    }
    experiment.backend.kind = BackendKind::Direct;
    experiment.backend.threads = Some(1);
    experiment
}

fn fresh(plan: &Plan) -> Box<dyn Backend> {
    let mut backend = backend::build(plan.setup()).unwrap();
    backend.set_weights(&State::new(plan).weights).unwrap();
    backend
}

/// Everything that the file of a scheme holds.
fn output(scheme: Scheme) -> String {
    let mut text = format!("Scheme {}, network 5-16-3, seed 1.\n", scheme.name());
    let out = &mut text;
    let plan = Plan::new(experiment(scheme, OptimizerKind::Adam)).unwrap();
    assert_eq!(plan.dims, [5, 16, 3]);
    let order = shuffled(plan.experiment.seed, 0, plan.sets.train.len());
    record_samples(out, &plan);

    let mut backend = fresh(&plan);
    let tally = backend.train(&order[..BATCH], BATCH).unwrap();
    writeln!(out, "\nAfter a minibatch of {BATCH}").unwrap();
    write_tally(out, &tally);
    for (number, layer) in backend.gradients().unwrap().iter().enumerate() {
        assert!(layer.values.iter().any(|&g| g != 0), "nothing to learn");
        let row = &layer.values[..layer.neurons];
        writeln!(out, "gradients of layer {}, first row", number + 1).unwrap();
        for (neuron, value) in row.iter().enumerate() {
            writeln!(out, "  neuron {neuron:2} {value}").unwrap();
        }
    }

    for optimizer in [OptimizerKind::Adam, OptimizerKind::Sgd] {
        let plan = Plan::new(experiment(scheme, optimizer)).unwrap();
        let mut backend = fresh(&plan);
        let before = backend.weights().unwrap();
        let tally = backend.train(&order[..MINIBATCHES * BATCH], BATCH).unwrap();
        let weights = backend.weights().unwrap();
        assert_ne!(weights, before);
        let name = optimizer.name();
        writeln!(out, "\nAfter {MINIBATCHES} minibatches with {name}").unwrap();
        write_tally(out, &tally);
        let gradients = backend.gradients().unwrap();
        let counters = backend.counters().unwrap();
        writeln!(out, "weights SHA-256     {}", weights_sha256(&weights)).unwrap();
        writeln!(out, "gradients SHA-256   {}", gradients_sha256(&gradients)).unwrap();
        writeln!(out, "spike digest        {:016x}", counters.spike_digest).unwrap();
        writeln!(out, "saturations         {}", counters.saturations).unwrap();
        writeln!(out, "suppressed spikes   {}", counters.suppressed_spikes).unwrap();
        let slack = counters.min_threshold_slack.expect("there are spikes");
        writeln!(out, "smallest slack      {slack}").unwrap();
    }
    text
}

/// Spikes and losses of the first two test samples, before any training.
fn record_samples(out: &mut String, plan: &Plan) {
    let sets = plan.setup().sets;
    let mut backend = fresh(plan);
    for (number, sample) in sets.test[..2].iter().enumerate() {
        let record = backend.record(sample).unwrap();
        writeln!(out, "\nTest sample {number}, label {}", sample.label).unwrap();
        writeln!(out, "loss {}", record.loss).unwrap();
        for (layer, spikes) in record.layers.iter().enumerate() {
            writeln!(out, "layer {layer}").unwrap();
            for spike in spikes {
                let (step, offset, neuron) = (spike.step, spike.offset, spike.neuron);
                writeln!(out, "  step {step:2} offset {offset:3} neuron {neuron:2}").unwrap();
            }
        }
    }
}

fn write_tally(out: &mut String, tally: &Tally) {
    writeln!(out, "correct             {}", tally.correct).unwrap();
    writeln!(out, "correct with ties   {}", tally.correct_ties).unwrap();
    writeln!(out, "silent labels       {}", tally.silent_label).unwrap();
    // All digits: a loss is a short binary fraction.
    writeln!(out, "sum of losses       {}", tally.loss).unwrap();
    writeln!(out, "spikes by layer     {:?}", tally.spikes).unwrap();
}

fn check(scheme: Scheme) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(format!("{}.txt", scheme.name()));
    let found = output(scheme);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write_file(&path, found.as_bytes()).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; to make it: {REFRESH}", path.display()));
    if let Some(differences) = differences(&expected, &found) {
        panic!(
            "{} holds other numbers:\n{differences}If they are meant to change: {REFRESH}",
            path.display()
        );
    }
}

/// The first lines that differ; `None` if none does.
fn differences(expected: &str, found: &str) -> Option<String> {
    const SHOWN: usize = 5;
    let (mut expected, mut found) = (expected.lines(), found.lines());
    let (mut text, mut count) = (String::new(), 0);
    for line in 1.. {
        let pair = (expected.next(), found.next());
        match pair {
            (None, None) => break,
            (expected, found) if expected != found => {
                count += 1;
                if count <= SHOWN {
                    let show = |line: Option<&str>| line.unwrap_or("(no line)").to_owned();
                    let (expected, found) = (show(expected), show(found));
                    writeln!(
                        text,
                        "line {line}\n  expected {expected}\n  found    {found}"
                    )
                    .unwrap();
                }
            }
            _ => {}
        }
    }
    if count > SHOWN {
        writeln!(text, "and {} further lines", count - SHOWN).unwrap();
    }
    (count > 0).then_some(text)
}

#[test]
fn exact() {
    check(Scheme::Exact);
}

#[test]
fn grid() {
    check(Scheme::Grid);
}

#[test]
fn differing_lines_are_shown() {
    assert_eq!(differences("a\nb\n", "a\nb\n"), None);
    assert_eq!(
        differences("a\nb\n", "a\nc\n").unwrap(),
        "line 2\n  expected b\n  found    c\n"
    );
    let text = differences("1\n2\n3\n4\n5\n6\n", "").unwrap();
    assert!(text.ends_with("line 5\n  expected 5\n  found    (no line)\nand 1 further lines\n"));
}
