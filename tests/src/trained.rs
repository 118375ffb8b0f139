//! Networks that have been trained for a while, and minibatches of test samples for them.
//!
//! In a trained network many membranes come close to the threshold, and the loss hangs on a few
//! spikes: what untrained networks forgive, trained ones do not.

use host_tools::backend::{self, LayerWeights, WEIGHT_FRACTION_BITS};
use host_tools::dataset::{Dataset, Sets};
use host_tools::experiment::{BackendKind, Experiment, InitialWeights, Scheme, SilentOutputs};
use host_tools::reference::{
    Network, Neuron, Reduction, Sample, SilentLabel, Spike, TimeToFirstSpike, continuous,
};
use host_tools::training::{Plan, State, shuffled};
use host_tools::vector::{self, Vector, VectorSample};

/// Samples of a minibatch.
pub const MINIBATCH: usize = 32;

/// The default experiment in the scheme `exact` on the Yin-Yang set, with these hidden layers.
///
/// # Panics
/// If the experiment cannot be run.
pub fn yin_yang(hidden: &[usize], seed: u64) -> Plan {
    let mut experiment = Experiment::default_for(Scheme::Exact);
    experiment.network.hidden = hidden.to_vec();
    experiment.seed = seed;
    experiment.backend.kind = BackendKind::Direct;
    Plan::new(experiment).expect("the experiment can be run")
}

/// The default experiment on ten classes of points around centres in twenty dimensions, with one
/// hidden layer of 100 neurons.
///
/// # Panics
/// If the experiment cannot be run.
pub fn ten_classes(seed: u64) -> Plan {
    const FEATURES: usize = 20;
    const CLASSES: usize = 10;
    let mut rng = fastrand::Rng::with_seed(seed);
    let centres: Vec<f64> = (0..CLASSES * FEATURES).map(|_| rng.f64()).collect();
    let mut samples = |count: usize| {
        let labels: Vec<u8> = (0..count).map(|_| rng.u8(0..CLASSES as u8)).collect();
        let features = labels.iter().flat_map(|&label| {
            let centre = &centres[usize::from(label) * FEATURES..][..FEATURES];
            let noisy = centre.iter().map(|x| x + 0.6 * (rng.f64() - 0.5));
            noisy.map(|x| x.clamp(0.0, 1.0)).collect::<Vec<_>>()
        });
        Dataset {
            features: features.collect(),
            width: FEATURES,
            labels: labels.clone(),
            classes: CLASSES,
            names: (0..FEATURES).map(|n| format!("x{n}")).collect(),
        }
    };
    let sets = Sets {
        train: samples(3000),
        validation: samples(100),
        test: samples(1000),
    };
    let mut experiment = Experiment::default_for(Scheme::Exact);
    experiment.network.hidden = vec![100];
    // As strong a drive as that of 5 channels with weights around 1.5, and of 200 around 0.93.
    experiment.network.initial_weights = vec![
        InitialWeights {
            mean: 0.4,
            std: 0.4,
        },
        InitialWeights {
            mean: 1.2,
            std: 0.3,
        },
    ];
    experiment.seed = seed;
    experiment.backend.kind = BackendKind::Direct;
    let dims = experiment.dims(FEATURES, CLASSES);
    experiment.resolve(&dims);
    experiment.check().expect("the experiment can be run");
    Plan {
        experiment,
        dims,
        sets,
        samples_digest: [0; 32],
    }
}

/// Trains in this process; returns the weights after each of these numbers of epochs, and the share
/// of training samples that were right in the last one.
///
/// # Panics
/// If anything fails.
pub fn train(plan: &Plan, epochs: &[u32]) -> (Vec<Vec<LayerWeights>>, f64) {
    let mut backend = backend::build(plan.setup()).unwrap();
    backend.set_weights(&State::new(plan).weights).unwrap();
    let batch = plan.experiment.training.batch;
    let mut trained = Vec::new();
    let mut accuracy = 0.0;
    for epoch in 0..epochs.iter().copied().max().unwrap_or(0) {
        let mut tally = backend::Tally::default();
        let order = shuffled(plan.experiment.seed, epoch, plan.sets.train.len());
        for (minibatch, samples) in order.chunks(batch).enumerate() {
            let rate = plan.learning_rate(epoch, minibatch);
            backend.set_learning_rate(rate).unwrap();
            tally.add(&backend.train(samples, batch).unwrap());
        }
        if epochs.contains(&(epoch + 1)) {
            trained.push(backend.weights().unwrap());
        }
        accuracy = tally.accuracy();
    }
    (trained, accuracy)
}

/// A vector in continuous time: test samples of a plan, from that index on, on a network with these
/// weights, and what [`continuous`] makes of it.
///
/// # Panics
/// If the plan is not one of this module's, or has fewer test samples.
pub fn vector(plan: &Plan, weights: &[LayerWeights], name: &str, first: usize) -> Vector {
    let (network, loss) = (&plan.experiment.network, &plan.experiment.loss);
    let step_ms = network.step_ms;
    let tick_ms = step_ms / f64::from(1_u32 << network.tick_bits);
    assert_eq!(loss.silent_outputs, SilentOutputs::Excluded);
    let loss = TimeToFirstSpike {
        tau0_ms: loss.tau0_ms,
        tau1_ms: loss.tau1_ms,
        alpha: loss.alpha,
        silent_output_time_ms: None,
        silent_label: SilentLabel::Skip,
    };
    let scale = f64::from(1_u32 << WEIGHT_FRACTION_BITS);
    let weights = weights.iter().map(|layer| {
        let row = |post: usize| {
            let column = layer.values.iter().skip(post).step_by(layer.neurons);
            column.map(|&raw| f64::from(raw) / scale).collect()
        };
        (0..layer.neurons).map(row).collect()
    });
    let network = Network {
        neuron: Neuron {
            tau_mem_ms: network.tau_membrane_ms,
            tau_syn_ms: network.tau_synapse_ms,
            threshold: 1.0,
        },
        weights: weights.collect(),
    };
    let samples = plan.setup().sets.test;
    let samples: Vec<Sample> = (samples[first..first + MINIBATCH].iter())
        .map(|sample| {
            let spikes = sample.events.iter().map(|event| Spike {
                neuron: event.channel.into(),
                time_ms: f64::from(event.step) * step_ms + f64::from(event.offset) * tick_ms,
            });
            Sample {
                label: sample.label.into(),
                input_spikes: spikes.collect(),
            }
        })
        .collect();
    let result = continuous::run(&network, &loss, &samples, Reduction::Mean);
    let labels_spike = (samples.iter().zip(&result.first_spikes))
        .all(|(sample, first)| first[sample.label].is_some());
    let expected = result.spikes.into_iter().zip(result.first_spikes);
    Vector {
        name: name.to_owned(),
        note: String::new(),
        scheme: vector::Scheme::Exact,
        dims: plan.dims.clone(),
        tau_mem_ms: network.neuron.tau_mem_ms,
        tau_syn_ms: network.neuron.tau_syn_ms,
        threshold: network.neuron.threshold,
        step_ms: None,
        steps: None,
        loss,
        weights: network.weights,
        samples: (samples.into_iter().zip(expected))
            .map(
                |(sample, (expected_spikes, expected_first_spikes))| VectorSample {
                    label: sample.label,
                    input_spikes: sample.input_spikes,
                    expected_spikes,
                    expected_first_spikes,
                },
            )
            .collect(),
        // Of a silent label the loss depends on the end of the sample, which continuous time does not know.
        expected_mean_loss: labels_spike.then_some(result.mean_loss).flatten(),
        expected_gradient: result.gradient,
    }
}
