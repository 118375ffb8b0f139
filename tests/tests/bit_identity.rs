//! The project's main test: one experiment gives the same bits on every backend, with any number of
//! threads, replicas and PEs per layer, and in whatever order packets arrive.

use eventprop_tests::identity::{bits, experiment, on};
use host_tools::experiment::{
    BackendKind, Experiment, OptimizerKind, Routing, Scheme, WeightRounding,
};

/// Every variant of the mock, and both numbers of threads, against one thread in this process.
fn matrix(experiment: &Experiment, splits: &[&[u32]]) {
    let reference = bits(&on(experiment, |b| b.kind = BackendKind::Direct));
    assert!(reference.tallies[0].samples == 75 && reference.counters.spike_digest != 0);
    assert!(
        reference
            .gradients
            .iter()
            .all(|layer| layer.values.iter().any(|&g| g != 0))
    );
    let check = |what: &str, variant: &Experiment| {
        assert!(
            bits(variant) == reference,
            "{what}: other bits than one thread in this process"
        );
    };
    check(
        "two threads",
        &on(experiment, |b| {
            b.kind = BackendKind::Direct;
            b.threads = Some(2);
        }),
    );
    for replicas in [1, 4, 22, 36] {
        check(
            &format!("{replicas} replicas"),
            &on(experiment, |b| {
                b.kind = BackendKind::Mock;
                b.replicas = replicas;
            }),
        );
    }
    for seed in 1..6 {
        check(
            &format!("delivery seed {seed}"),
            &on(experiment, |b| {
                b.kind = BackendKind::Mock;
                b.replicas = 3;
                b.delivery_seed = seed;
                b.routing = if seed % 2 == 0 {
                    Routing::Router
                } else {
                    Routing::Direct
                };
            }),
        );
    }
    for split in splits {
        check(
            &format!("layers on {split:?} PEs"),
            &on(experiment, |b| {
                b.kind = BackendKind::Mock;
                b.replicas = 2;
                b.layer_pes = split.to_vec();
            }),
        );
    }
}

#[test]
fn exact_two_layers() {
    matrix(
        &experiment(Scheme::Exact, &[40]),
        &[&[2, 1], &[3, 1], &[1, 3], &[3, 2]],
    );
}

#[test]
fn grid_two_layers() {
    matrix(
        &experiment(Scheme::Grid, &[40]),
        &[&[2, 1], &[3, 1], &[1, 3], &[3, 2]],
    );
}

#[test]
fn exact_three_layers_with_momentum() {
    let mut experiment = experiment(Scheme::Exact, &[24, 17]);
    experiment.optimizer.kind = OptimizerKind::Sgd;
    experiment.optimizer.learning_rate = 0.05;
    experiment.optimizer.weight_decay = 1e-4;
    // 36 replicas of five PEs do not fit a chip.
    experiment.backend.replicas = 20;
    let reference = bits(&on(&experiment, |b| b.kind = BackendKind::Direct));
    for split in [&[][..], &[2, 3, 1], &[3, 2, 2]] {
        let variant = on(&experiment, |b| {
            b.kind = BackendKind::Mock;
            b.replicas = 5;
            b.layer_pes = split.to_vec();
        });
        assert!(bits(&variant) == reference, "layers on {split:?} PEs");
    }
}

#[test]
fn grid_three_layers_with_weights_of_16_bits() {
    let mut experiment = experiment(Scheme::Grid, &[24, 17]);
    experiment.optimizer.weight_fraction_bits = 10;
    experiment.optimizer.weight_rounding = WeightRounding::Stochastic;
    let reference = bits(&on(&experiment, |b| b.kind = BackendKind::Direct));
    for split in [&[][..], &[2, 3, 1]] {
        let variant = on(&experiment, |b| {
            b.kind = BackendKind::Mock;
            b.replicas = 5;
            b.layer_pes = split.to_vec();
        });
        assert!(bits(&variant) == reference, "layers on {split:?} PEs");
    }
}

/// More steps than a word has bits, in which steps are looked up that have events.
#[test]
fn samples_of_many_steps() {
    for scheme in [Scheme::Exact, Scheme::Grid] {
        let mut experiment = experiment(scheme, &[40]);
        experiment.network.steps = 150;
        experiment.network.step_ms = 0.25;
        let reference = bits(&on(&experiment, |b| b.kind = BackendKind::Direct));
        assert!(
            reference
                .gradients
                .iter()
                .all(|layer| layer.values.iter().any(|&g| g != 0))
        );
        let variant = on(&experiment, |b| {
            b.kind = BackendKind::Mock;
            b.replicas = 5;
        });
        assert!(bits(&variant) == reference, "{scheme:?}");
    }
}

/// More than one piece of weights is updated at a time, and a minibatch has fewer samples than there are threads.
#[test]
fn any_number_of_threads() {
    let mut experiment = experiment(Scheme::Exact, &[70, 70]);
    experiment.optimizer.weight_fraction_bits = 10;
    experiment.optimizer.weight_rounding = WeightRounding::Stochastic;
    let threads = |threads| {
        bits(&on(&experiment, |b| {
            b.kind = BackendKind::Direct;
            b.threads = Some(threads);
        }))
    };
    let reference = threads(1);
    for number in [2, 3, 5, 16] {
        assert!(threads(number) == reference, "{number} threads");
    }
}
