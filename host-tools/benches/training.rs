//! Training samples per second of the backends on Yin-Yang, on one thread and on two:
//! `cargo bench -p host-tools --bench training`.
//!
//! The network is trained for an epoch first, so that its activity is that of the better part of a
//! run and not of its start. Every round is another epoch: a processor learns to foresee what a few samples
//! do, and is a fifth faster then than in training.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use host_tools::backend::{self, Backend};
use host_tools::experiment::{BackendKind, Experiment, Scheme};
use host_tools::training::{Plan, State};

const BATCH: usize = 32;
/// Of the training set, in whole minibatches.
const SAMPLES: u32 = 4992;

/// A network that has seen every training sample once.
fn trained(
    scheme: Scheme,
    hidden: usize,
    kind: BackendKind,
    threads: u32,
    replicas: u32,
) -> Box<dyn Backend> {
    let mut experiment = Experiment::default_for(scheme);
    experiment.network.hidden = vec![hidden];
    experiment.backend.kind = BackendKind::Direct;
    experiment.backend.replicas = replicas;
    experiment.backend.threads = Some(threads);
    let plan = Plan::new(experiment.clone()).expect("the default experiment");
    let mut direct = backend::build(plan.setup()).expect("the default experiment");
    direct
        .set_weights(&State::new(&plan).weights)
        .expect("its own weights");
    let order: Vec<u32> = (0..plan.sets.train.len() as u32).collect();
    direct.train(&order, BATCH).expect("training");
    if kind == BackendKind::Direct {
        return direct;
    }
    experiment.backend.kind = kind;
    let plan = Plan::new(experiment).expect("the default experiment");
    let mut other = backend::build(plan.setup()).expect("the default experiment");
    let weights = direct.weights().expect("weights");
    other
        .set_weights(&weights)
        .expect("weights of the same network");
    other
}

fn training(c: &mut Criterion) {
    let mut group = c.benchmark_group("training");
    group.throughput(Throughput::Elements(SAMPLES.into()));
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(5));
    let (exact, grid) = (Scheme::Exact, Scheme::Grid);
    let (direct, mock) = (BackendKind::Direct, BackendKind::Mock);
    let cases = [
        ("direct/exact/5-200-3", exact, 200, direct, 1, 1),
        ("direct/exact/5-200-3, 2 threads", exact, 200, direct, 2, 1),
        ("direct/exact/5-120-3", exact, 120, direct, 1, 1),
        ("direct/grid/5-120-3", grid, 120, direct, 1, 1),
        ("mock/exact/5-200-3, 1 replica", exact, 200, mock, 1, 1),
        ("mock/exact/5-200-3, 36 replicas", exact, 200, mock, 1, 36),
    ];
    for (name, scheme, hidden, kind, threads, replicas) in cases {
        let mut backend = trained(scheme, hidden, kind, threads, replicas);
        // Weights hardly move at this rate, so every round does the same work.
        backend.set_learning_rate(1e-6).expect("a rate");
        let order: Vec<u32> = (0..SAMPLES).collect();
        group.bench_function(name, |b| {
            b.iter(|| backend.train(black_box(&order), BATCH).expect("training"));
        });
    }
    group.finish();
}

criterion_group!(benches, training);
criterion_main!(benches);
