//! How the time of a training sample grows with the network, on Yin-Yang with initial weights, one
//! thread: `cargo bench -p host-tools --bench growth`. Criterion says how many samples per second.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use host_tools::backend;
use host_tools::experiment::{BackendKind, Experiment, Scheme};
use host_tools::training::{Plan, State};

const BATCH: usize = 36;

/// One series: what grows, its sizes, and the experiment of each.
fn series(c: &mut Criterion, name: &str, sizes: &[u32], experiment: impl Fn(&mut Experiment, u32)) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(BATCH as u64));
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    for &size in sizes {
        let mut setting = Experiment::default_for(Scheme::Exact);
        setting.backend.kind = BackendKind::Direct;
        setting.backend.threads = Some(1);
        // Weights hardly move at this rate, so every round does the same work.
        setting.optimizer.learning_rate = 1e-6;
        experiment(&mut setting, size);
        let plan = Plan::new(setting).expect("a valid experiment");
        let mut backend = backend::build(plan.setup()).expect("a valid experiment");
        backend
            .set_weights(&State::new(&plan).weights)
            .expect("its own weights");
        let order: Vec<u32> = (0..BATCH as u32).collect();
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| backend.train(black_box(&order), BATCH).expect("training"));
        });
    }
    group.finish();
}

fn growth(c: &mut Criterion) {
    series(c, "neurons", &[10, 40, 120, 400, 1200, 4000], |e, size| {
        e.network.hidden = vec![size as usize];
    });
    series(c, "layers", &[1, 2, 3, 4], |e, size| {
        e.network.hidden = vec![100; size as usize];
    });
    // The same 40 ms in more and shorter steps.
    series(c, "steps", &[20, 40, 80, 160, 320], |e, size| {
        e.network.steps = size;
        e.network.step_ms = 40.0 / f64::from(size);
    });
    // A model of the chip costs the host the same, however many replicas share the samples.
    series(c, "replicas of the mock", &[1, 4, 12, 36], |e, size| {
        e.backend.kind = BackendKind::Mock;
        e.backend.replicas = size;
    });
}

criterion_group!(benches, growth);
criterion_main!(benches);
