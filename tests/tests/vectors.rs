//! The reference vectors on the fixed-point backends, judged as `eventprop verify` judges them.

use eventprop_tests::random::{self, Drive};
use eventprop_tests::vectors;
use host_tools::backend::mock::Mock;
use host_tools::backend::{
    Backend, EncodedSample, EncodedSets, GRADIENT_FRACTION_BITS, InputEvent, LayerWeights, Setup,
};
use host_tools::experiment::{BackendKind, Experiment, InitialWeights};
use host_tools::reference::{RunOptions, Tolerance, compare, exact_clock, expecting, run_vector};
use host_tools::training::to_raw_weight;
use host_tools::vector::{Scheme, Vector};
use host_tools::verification::{Engine, Report, resolution, run_on_backend, verify};

const DIRECT: Engine = Engine::Backend(BackendKind::Direct);
const MOCK: Engine = Engine::Backend(BackendKind::Mock);

fn judge(vector: &Vector, engine: Engine) -> Report {
    let options = RunOptions::default();
    let tolerance = Tolerance::of_vector(vector, &options);
    verify(
        vector,
        engine,
        &options,
        &tolerance,
        resolution(vector.scheme),
    )
    .unwrap_or_else(|error| panic!("{} on {}: {error}", vector.name, engine.name()))
}

/// Errors shrink on their way back through strongly driven layers, down to a few hundred units of their format: the
/// figures are those of section 9 of `docs/mathematics.md`.
#[test]
fn fixed_point_is_close_to_its_own_scheme_behind_three_strongly_driven_layers() {
    let options = RunOptions::default();
    let mut errors = Vec::new();
    for seed in 0..120 {
        let dims: [&[usize]; 3] = [&[4, 6, 6, 3], &[5, 8, 8, 3], &[3, 5, 5, 5]];
        let dims = dims[seed as usize % dims.len()];
        let vector = random::vector(seed, dims, 20.0, 5.0, Drive::Strong);
        let result = run_on_backend(&vector, BackendKind::Direct, &options).unwrap();
        let model = run_vector(&vector, &options);
        let comparison = compare(&expecting(&vector, &model), &result);
        // A rounding may decide a spike of a network or two.
        if comparison.mismatches.is_empty() {
            errors.push(comparison.gradients[0].relative_error);
        }
    }
    let worst = errors.iter().copied().fold(0.0, f64::max);
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    assert!(errors.len() >= 115, "{}", errors.len());
    assert!(worst < 0.012 && mean < 5e-4, "worst {worst}, mean {mean}");
}

fn all_vectors() -> Vec<Vector> {
    let mut all = vectors(Scheme::Exact);
    all.append(&mut vectors(Scheme::Grid));
    all
}

#[test]
fn tolerances_are_the_promised_ones() {
    let (exact, grid) = (Tolerance::of(Scheme::Exact), Tolerance::of(Scheme::Grid));
    assert_eq!((exact.spike_time_ms, grid.spike_time_ms), (0.1, 0.0));
    assert_eq!((exact.cosine, grid.cosine), (0.9999, 0.999));
    assert_eq!((exact.relative_error, grid.relative_error), (0.01, 0.005));
    let sensitive = Tolerance::of_sensitive(Scheme::Exact);
    assert_eq!((sensitive.cosine, sensitive.relative_error), (0.999, 0.05));
    assert_eq!(Tolerance::of_sensitive(Scheme::Grid), grid);
    // The wider one is for networks that have learned, and for a graze.
    for vector in all_vectors() {
        let tolerance = Tolerance::of_vector(&vector, &RunOptions::default());
        let narrow = tolerance == Tolerance::of(vector.scheme);
        assert!(
            narrow
                || vector.name.starts_with("exact_trained")
                || ["exact_missed_crossing", "exact_no_hidden_layer"].contains(&&*vector.name),
            "{}",
            vector.name
        );
    }
}

#[test]
fn every_vector_is_within_tolerance() {
    for vector in all_vectors() {
        for engine in [DIRECT, MOCK] {
            let what = format!("{} on {}", vector.name, engine.name());
            let report = judge(&vector, engine);
            assert!(report.violations.is_empty(), "{what}: {report:#?}");
            // No spike differs in any of them, not even where a membrane passes the threshold by
            // hardly more than the format resolves.
            assert_eq!(report.judged_by_reference, None, "{what}");
            let comparison = report.comparison;
            assert_eq!(comparison.mismatches, [], "{what}");
            assert_eq!(comparison.silent_mismatches, 0, "{what}");
            let expects_loss = vector.expected_mean_loss.is_some();
            assert_eq!(comparison.loss_error.is_some(), expects_loss, "{what}");
        }
    }
}

/// Runs an `exact` vector on the mock with every layer on two PEs, and holds it against one thread
/// in this process.
#[test]
fn a_vector_on_split_layers_gives_the_same_bits() {
    let vector = vectors(Scheme::Exact)
        .into_iter()
        .find(|vector| vector.name == "exact_multi")
        .unwrap();
    let options = RunOptions::default();
    let expected = DIRECT.run(&vector, &options).unwrap();

    let clock = exact_clock(&vector, &options);
    let mut experiment = Experiment::default_for(host_tools::experiment::Scheme::Exact);
    let network = &mut experiment.network;
    network.hidden = vector.dims[1..vector.dims.len() - 1].to_vec();
    network.tau_membrane_ms = vector.tau_mem_ms;
    network.tau_synapse_ms = vector.tau_syn_ms;
    network.step_ms = clock.step_ms;
    network.steps = clock.steps as u32;
    network.tick_bits = clock.tick_bits;
    network.slope_floor = 0.0;
    let replaced = InitialWeights {
        mean: 0.0,
        std: 0.0,
    };
    network.initial_weights = vec![replaced; vector.weights.len()];
    experiment.loss.tau0_ms = vector.loss.tau0_ms;
    experiment.loss.tau1_ms = vector.loss.tau1_ms;
    experiment.loss.alpha = vector.loss.alpha;
    experiment.backend.replicas = 1;
    experiment.backend.layer_pes = vec![2; vector.weights.len()];

    let samples: Vec<EncodedSample> = (vector.samples.iter())
        .map(|sample| {
            let events = sample.input_spikes.iter().map(|spike| {
                let event = clock.event(spike);
                InputEvent {
                    step: event.step as u16,
                    offset: event.offset as u16,
                    channel: event.neuron as u16,
                }
            });
            let mut events: Vec<_> = events.collect();
            events.sort_unstable();
            EncodedSample {
                label: sample.label as u8,
                events,
            }
        })
        .collect();
    let weights: Vec<LayerWeights> = (vector.weights.iter())
        .map(|layer| {
            let (neurons, inputs) = (layer.len(), layer[0].len());
            let values = (0..inputs)
                .flat_map(|pre| layer.iter().map(move |row| to_raw_weight(row[pre])))
                .collect();
            LayerWeights {
                inputs,
                neurons,
                values,
            }
        })
        .collect();

    let mut mock = Mock::new(Setup {
        experiment,
        dims: vector.dims.clone(),
        sets: EncodedSets {
            train: samples.clone(),
            ..EncodedSets::default()
        },
    })
    .unwrap();
    let pes = [1, 2].map(|layer| mock.mapping().layer(0, layer).count());
    assert_eq!(pes, [2, 2]);
    mock.set_weights(&weights).unwrap();
    for (sample, expected) in samples.iter().zip(&expected.spikes) {
        let record = mock.record(sample).unwrap();
        for (layer, expected) in record.layers[1..].iter().zip(expected) {
            let found: Vec<_> = (layer.iter())
                .map(|spike| {
                    let ticks = f64::from(spike.offset) / clock.ticks() as f64;
                    let time_ms = (f64::from(spike.step) + ticks) * clock.step_ms;
                    (usize::from(spike.neuron), time_ms)
                })
                .collect();
            let expected: Vec<_> = expected.iter().map(|s| (s.neuron, s.time_ms)).collect();
            assert!(!expected.is_empty());
            assert_eq!(found, expected);
        }
    }
    let order: Vec<u32> = (0..samples.len() as u32).collect();
    let tally = mock.train(&order, samples.len()).unwrap();
    assert_eq!(tally.mean_loss(), expected.mean_loss);
    let scale = vector.tau_syn_ms / f64::from(1 << GRADIENT_FRACTION_BITS) / samples.len() as f64;
    for (found, expected) in mock.gradients().unwrap().iter().zip(&expected.gradient) {
        for (post, row) in expected.iter().enumerate() {
            let column = found.values.iter().skip(post).step_by(found.neurons);
            assert!(
                column
                    .map(|&raw| raw as f64 * scale)
                    .eq(row.iter().copied())
            );
        }
    }
}

/// Of a layer's weights, the one that the loss depends on most.
fn most_influential(vector: &Vector, layer: usize) -> (usize, usize) {
    let gradient = &vector.expected_gradient[layer];
    let places =
        (0..gradient.len()).flat_map(|post| (0..gradient[post].len()).map(move |pre| (post, pre)));
    let size = |&(post, pre): &(usize, usize)| gradient[post][pre].abs();
    places.max_by(|a, b| size(a).total_cmp(&size(b))).unwrap()
}

#[test]
fn a_wrong_weight_is_outside_the_tolerance() {
    let mut tried = 0;
    for vector in all_vectors() {
        // Steps of a millisecond hide small changes.
        let change = match vector.scheme {
            Scheme::Exact => 0.1,
            Scheme::Grid => 0.5,
        };
        for layer in 0..vector.weights.len() {
            let (post, pre) = most_influential(&vector, layer);
            if vector.expected_gradient[layer][post][pre] == 0.0 {
                continue;
            }
            let mut wrong = vector.clone();
            wrong.weights[layer][post][pre] += change;
            for engine in [DIRECT, MOCK] {
                let report = judge(&wrong, engine);
                let what = format!("{}, layer {layer}, on {}", vector.name, engine.name());
                assert!(!report.violations.is_empty(), "{what}: not noticed");
            }
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried} weights tried");
}
