//! One loss: what is reported and what is differentiated are the mean over the same samples, silent labels
//! included.

use std::path::Path;

use eventprop_tests::vectors;
use host_tools::backend::{self, GRADIENT_FRACTION_BITS};
use host_tools::experiment::{BackendKind, Experiment};
use host_tools::reference::continuous;
use host_tools::reference::{
    Network, Reduction, RunOptions, RunResult, Sample, SilentLabel, TimeToFirstSpike, exact_clock,
};
use host_tools::report::arrays::read_weights;
use host_tools::training::Plan;
use host_tools::vector::{Scheme, Vector};
use host_tools::verification::Engine;

/// A vector with a sample whose label is silent.
fn silent_label(scheme: Scheme) -> Vector {
    let name = match scheme {
        Scheme::Exact => "exact_silent_label",
        Scheme::Grid => "grid_silent_label",
    };
    let mut vectors = vectors(scheme).into_iter();
    let vector = vectors
        .find(|vector| vector.name == name)
        .expect("it is there");
    let sample = &vector.samples[0];
    assert!(sample.expected_first_spikes[sample.label].is_none());
    vector
}

/// The vector's only sample several times, with the label silent or not.
fn batch(vector: &Vector, silent: &[bool]) -> Vector {
    let quiet = &vector.samples[0];
    let mut loud = quiet.clone();
    let spiked = quiet.expected_first_spikes.iter().position(Option::is_some);
    loud.label = spiked.expect("an output spikes");
    let samples = silent
        .iter()
        .map(|&silent| if silent { quiet } else { &loud });
    Vector {
        samples: samples.cloned().collect(),
        ..vector.clone()
    }
}

/// Both choices of both settings: what silent outputs count as, and what a silent label sends.
fn losses(loss: &TimeToFirstSpike, end_ms: f64) -> Vec<TimeToFirstSpike> {
    let mut losses = Vec::new();
    for silent_output_time_ms in [None, Some(end_ms)] {
        for silent_label in [SilentLabel::Skip, SilentLabel::Send] {
            losses.push(TimeToFirstSpike {
                silent_output_time_ms,
                silent_label,
                ..*loss
            });
        }
    }
    losses
}

fn assert_close(what: &str, found: f64, expected: f64, bound: f64) {
    assert!(
        (found - expected).abs() <= bound,
        "{what}: {found}, {expected}"
    );
}

fn values(result: &RunResult) -> impl Iterator<Item = f64> {
    result.gradient.iter().flatten().flatten().copied()
}

#[test]
fn samples_with_silent_labels_count_alike_in_loss_and_gradient() {
    let options = RunOptions::default();
    for scheme in [Scheme::Exact, Scheme::Grid] {
        let mut vector = silent_label(scheme);
        let end_ms = match vector.step_ms.zip(vector.steps) {
            Some((step_ms, steps)) => step_ms * steps as f64,
            None => {
                let clock = exact_clock(&vector, &options);
                clock.step_ms * clock.steps as f64
            }
        };
        for loss in losses(&vector.loss, end_ms) {
            vector.loss = loss;
            for engine in ["direct", "mock", "reference"] {
                let what = format!("{scheme} on {engine}, {loss:?}");
                let engine = Engine::from_name(engine).expect("a name");
                let run = |silent: &[bool]| engine.run(&batch(&vector, silent), &options).unwrap();
                let mean = |result: &RunResult| result.mean_loss.expect("every sample has a loss");
                let (loud, silent) = (run(&[false]), run(&[true]));
                let both = run(&[false, true]);
                let twice = run(&[true, false, false, true]);
                let expected = (mean(&loud) + mean(&silent)) / 2.0;
                assert_close(&what, mean(&both), expected, 1e-12);
                assert_close(&what, mean(&twice), expected, 1e-12);
                for (((loud, silent), both), twice) in values(&loud)
                    .zip(values(&silent))
                    .zip(values(&both))
                    .zip(values(&twice))
                {
                    assert_close(&what, both, (loud + silent) / 2.0, 1e-12);
                    assert_close(&what, twice, both, 1e-12);
                }
                let sends = loss.silent_label == SilentLabel::Send;
                assert_eq!(values(&silent).any(|g| g != 0.0), sends, "{what}");
                if loss.silent_output_time_ms.is_none() && !sends {
                    // As if all outputs spiked at the end.
                    let outputs = vector.dims[vector.dims.len() - 1] as f64;
                    let late = loss.alpha * ((end_ms / loss.tau1_ms).exp() - 1.0);
                    let bound = 1e-3 * late.max(0.1);
                    assert_close(&what, mean(&silent), outputs.ln() + late, bound);
                }
            }
        }
    }
}

#[test]
fn gradients_of_batches_with_silent_labels_are_differences() {
    let vector = silent_label(Scheme::Exact);
    let samples: Vec<Sample> = batch(&vector, &[true, false, true]).inputs();
    for loss in losses(&vector.loss, continuous::END_MS) {
        if loss.silent_output_time_ms.is_some() && loss.silent_label == SilentLabel::Skip {
            // The loss depends on the other outputs, and their errors are left out on purpose.
            continue;
        }
        let run = |network: &Network| continuous::run(network, &loss, &samples, Reduction::Mean);
        let network = vector.network();
        let result = run(&network);
        let largest = values(&result).fold(0.0, |largest: f64, g| largest.max(g.abs()));
        assert!(largest > 1e-3);
        for (layer, rows) in result.gradient.iter().enumerate() {
            for (post, row) in rows.iter().enumerate() {
                for (pre, &gradient) in row.iter().enumerate() {
                    let moved = |by: f64| {
                        let mut network = network.clone();
                        network.weights[layer][post][pre] += by;
                        run(&network).mean_loss.expect("every sample has a loss")
                    };
                    const BY: f64 = 1e-5;
                    let near = moved(BY) - moved(-BY);
                    let far = moved(2.0 * BY) - moved(-2.0 * BY);
                    let difference = (8.0 * near - far) / (12.0 * BY);
                    let what = format!("{loss:?}, weight {:?}", [layer, post, pre]);
                    assert_close(&what, difference, gradient, 1e-6 * largest);
                }
            }
        }
    }
}

/// A network 1-1-2 whose second output, the label of the first of two equal samples, is silent. The loss of the
/// other, whose label is the only output that spikes, is zero.
#[test]
fn a_silent_label_sends_the_competitor_its_error() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/silent_label_send");
    for (name, sends) in [("send.toml", true), ("skip.toml", false)] {
        for kind in [BackendKind::Direct, BackendKind::Mock] {
            let mut experiment = Experiment::load(Some(&folder.join(name)), &[]).unwrap();
            experiment.backend.kind = kind;
            let plan = Plan::new(experiment).unwrap();
            assert_eq!(plan.dims, [1, 1, 2]);
            let (network, loss) = (&plan.experiment.network, &plan.experiment.loss);
            let mut backend = backend::build(plan.setup()).unwrap();
            let weights = read_weights(&folder.join("w.npz"), &plan.dims).unwrap();
            backend.set_weights(&weights).unwrap();

            let record = backend.record(&plan.setup().sets.train[0]).unwrap();
            let [Some(first), None] = record.first_spikes[..] else {
                panic!("{name}: {:?}", record.first_spikes);
            };
            let tick_ms = network.step_ms / f64::from(1 << network.tick_bits);
            let first_ms = f64::from(first) * tick_ms;
            let tally = backend.train(&[0, 1], 2).unwrap();
            assert_eq!((tally.samples, tally.silent_label), (2, 1));
            let end_ms = f64::from(network.steps) * network.step_ms;
            let expected_loss = match sends {
                true => (end_ms - first_ms) / loss.tau0_ms,
                false => 2_f64.ln(),
            };
            assert_close(name, tally.mean_loss().unwrap(), expected_loss / 2.0, 1e-3);

            // Layer 2, whose inputs are the hidden spikes: by finite differences of the output's first spike,
            // integrated in closed form.
            let hidden: Vec<f64> = (record.layers[1].iter())
                .map(|spike| {
                    let ticks =
                        (u32::from(spike.step) << network.tick_bits) + u32::from(spike.offset);
                    f64::from(ticks) * tick_ms
                })
                .collect();
            let membrane = |weight: f64, t: f64| -> f64 {
                let (tau_m, tau_s) = (network.tau_membrane_ms, network.tau_synapse_ms);
                let kernel =
                    |s: f64| tau_s / (tau_m - tau_s) * ((-s / tau_m).exp() - (-s / tau_s).exp());
                hidden
                    .iter()
                    .filter(|&&h| h < t)
                    .map(|h| weight * kernel(t - h))
                    .sum()
            };
            let crossing = |weight: f64| {
                let (mut below, mut above) = (first_ms - 0.5, first_ms + 0.5);
                while above - below > 1e-12 {
                    let middle = (below + above) / 2.0;
                    match membrane(weight, middle) > 1.0 {
                        true => above = middle,
                        false => below = middle,
                    }
                }
                above
            };
            let weight = f64::from(weights[1].values[0]) / f64::from(1 << 20);
            let slope = (crossing(weight + 1e-4) - crossing(weight - 1e-4)) / 2e-4;
            let error = if sends { -1.0 / loss.tau0_ms } else { 0.0 };
            let scale = network.tau_synapse_ms / f64::from(1 << GRADIENT_FRACTION_BITS) / 2.0;
            let gradients = backend.gradients().unwrap();
            let found = gradients[1].values[0] as f64 * scale;
            let expected = error * slope / 2.0;
            assert_close(name, found, expected, 0.005 * expected.abs());
            assert_eq!(gradients[1].values[1], 0);
            assert_eq!(gradients[0].values[0] != 0, sends);
        }
    }
}
