//! Networks that have learned, on fixed point and in `f64`, judged as `eventprop verify` judges
//! vectors, against the simulator in continuous time.
//!
//! Training takes its time: only in release builds.

use std::sync::OnceLock;

use eventprop_tests::trained::{self, MINIBATCH};
use host_tools::experiment::BackendKind;
use host_tools::reference::compare::TICK_EFFECT;
use host_tools::reference::{RunOptions, Sensitivity, Tolerance};
use host_tools::training::Plan;
use host_tools::vector::Vector;
use host_tools::verification::{Engine, Report, TICK_RESOLUTION, resolution, verify};

/// The vectors of a network: four minibatches with each of two seeds, after 10 and 30 epochs.
fn minibatches(name: &str, plan: impl Fn(u64) -> Plan, at_least_right: f64) -> Vec<Vector> {
    let mut vectors = Vec::new();
    for seed in [1, 2] {
        let plan = plan(seed);
        let (weights, right) = trained::train(&plan, &[10, 30]);
        assert!(right > at_least_right, "{name}, seed {seed}: {right} right");
        for (weights, epochs) in weights.iter().zip([10, 30]) {
            for minibatch in 0..4 {
                let first = 8 * minibatch * MINIBATCH - minibatch;
                let name = format!("{name}, seed {seed}, {epochs} epochs, samples from {first}");
                vectors.push(trained::vector(&plan, weights, &name, first));
            }
        }
    }
    vectors
}

fn yin_yang(hidden: &[usize]) -> Vec<Vector> {
    let name = format!("Yin-Yang with {hidden:?}");
    minibatches(&name, |seed| trained::yin_yang(hidden, seed), 0.96)
}

/// The vectors of all networks.
fn vectors() -> &'static [Vector] {
    static VECTORS: OnceLock<Vec<Vector>> = OnceLock::new();
    VECTORS.get_or_init(|| {
        let mut all = yin_yang(&[200]);
        all.append(&mut yin_yang(&[64, 32]));
        all.append(&mut minibatches("ten classes", trained::ten_classes, 0.95));
        all
    })
}

fn judge(vector: &Vector, engine: Engine) -> Report {
    let options = RunOptions::default();
    let tolerance = Tolerance::of_vector(vector, &options);
    let resolution = resolution(vector.scheme);
    verify(vector, engine, &options, &tolerance, resolution)
        .unwrap_or_else(|error| panic!("{} on {}: {error}", vector.name, engine.name()))
}

/// First spikes are within 0.1 ms of continuous time, but for those behind a spike that rounding
/// decided, and those that graze.
fn assert_first_spikes(vector: &Vector, report: &Report) {
    let comparison = &report.comparison;
    for (sample, expected) in vector.samples.iter().enumerate() {
        if comparison
            .mismatches
            .iter()
            .any(|mismatch| mismatch.sample == sample)
        {
            continue;
        }
        let last = vector.dims.len() - 2;
        let first = expected.expected_first_spikes.iter().enumerate();
        for (neuron, time_ms) in first.filter_map(|(n, time)| Some((n, (*time)?))) {
            let same = comparison.times.iter().find(|time| {
                (time.sample, time.layer) == (sample, last)
                    && (time.expected.neuron, time.expected.time_ms) == (neuron, time_ms)
            });
            let time = same.expect("no spike is missing");
            let slope = time.slope.expect("the scheme is exact");
            assert!(
                time.error_ms.abs() < 0.1 || slope < 0.1,
                "{}, sample {sample}, output {neuron}: {time:?}",
                vector.name
            );
        }
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "trains networks: only in release builds")]
fn in_f64_ticks_decide_what_they_may() {
    let (mut outside, mut mismatches) = (0, 0);
    for vector in vectors() {
        let report = judge(vector, Engine::Reference);
        assert_first_spikes(vector, &report);
        for first in report.comparison.first_mismatches() {
            mismatches += 1;
            assert!(first.margin < TICK_RESOLUTION, "{}: {first:?}", vector.name);
        }
        let effect = Sensitivity::of(vector).tick_effect(RunOptions::default().tick_ms());
        if !report.violations.is_empty() && report.comparison.mismatches.is_empty() {
            outside += 1;
            assert!(
                effect > TICK_EFFECT,
                "{}: {:?}",
                vector.name,
                report.violations
            );
        }
    }
    // So it is seldom.
    let of = vectors().len();
    println!("of {of} minibatches {outside} outside, {mismatches} spikes missing or extra");
    assert!(outside <= of / 8 && mismatches <= of / 3);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "trains networks: only in release builds")]
fn in_fixed_point_they_are_as_in_f64() {
    let mut judged_otherwise = 0;
    for vector in vectors() {
        let report = judge(vector, Engine::Backend(BackendKind::Direct));
        assert!(
            report.violations.is_empty(),
            "{}: {:#?}",
            vector.name,
            report.violations
        );
        assert_first_spikes(vector, &report);
        judged_otherwise += usize::from(report.judged_by_reference.is_some());
    }
    let of = vectors().len();
    println!("of {of} minibatches {judged_otherwise} judged by the f64 model");
    assert!(judged_otherwise <= of / 3);
}
