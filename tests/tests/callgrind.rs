//! How many instructions training takes in this process, as valgrind counts them, against
//! `tests/golden/callgrind-x86_64.txt`.
//!
//! This program runs itself under valgrind, a few times with different amounts of work: the differences are
//! what a sample and an update take, whatever else a run does. The kernels are those for the best vector
//! instructions that valgrind has, AVX2; elsewhere there is nothing to compare with, and the test says so.
//! (A benchmark harness for this, gungraun, wants a runner of its own version to be installed beside it.)

use std::process::Command;

use eventprop_tests::golden::check_counts;
use host_tools::backend::{self, Split};
use host_tools::experiment::{BackendKind, Experiment, Scheme};
use host_tools::training::{Plan, State};

const REFRESH: &str =
    "UPDATE_GOLDEN=1 cargo test --release -p eventprop-tests --features callgrind --test callgrind";
/// Samples of the smaller runs.
const SAMPLES: u32 = 16;

/// What is done under valgrind: so many samples, in minibatches of `batch`, or evaluated if that is 0.
fn work(samples: u32, batch: usize) {
    let mut experiment = Experiment::default_for(Scheme::Exact);
    experiment.seed = 1;
    experiment.dataset.train_size = 64;
    experiment.dataset.validation_size = 64;
    experiment.dataset.test_size = 1;
    experiment.backend.kind = BackendKind::Direct;
    experiment.backend.threads = Some(1);
    // The weights stay as they are, so that more minibatches differ by their updates alone.
    experiment.silent_neurons.label_bump = 0.0;
    experiment.silent_neurons.hidden_bump = 0.0;
    let plan = Plan::new(experiment).unwrap();
    let mut backend = backend::build(plan.setup()).unwrap();
    backend.set_weights(&State::new(&plan).weights).unwrap();
    backend.set_learning_rate(0.0).unwrap();
    if batch == 0 {
        backend
            .evaluate(Split::Validation, 0..samples as usize)
            .unwrap();
    } else {
        let order: Vec<u32> = (0..samples).collect();
        backend.train(&order, batch).unwrap();
    }
}

/// Instructions of [`work`] in a process of its own.
fn count(samples: u32, batch: u32) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["work", &samples.to_string(), &batch.to_string()])
        .output()
        .expect("valgrind can be started");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let collected = log
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    collected
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind gives no count:\n{log}"))
}

fn check() {
    let evaluated = count(2 * SAMPLES, 0) - count(SAMPLES, 0);
    let one_minibatch = count(SAMPLES, SAMPLES);
    let trained = count(2 * SAMPLES, 2 * SAMPLES) - one_minibatch;
    let update = (count(SAMPLES, 1) - one_minibatch) / f64::from(SAMPLES - 1);
    let per_sample = |count: f64| count / f64::from(SAMPLES);
    let counts = [
        ("forward, per sample", per_sample(evaluated)),
        ("backward, per sample", per_sample(trained - evaluated)),
        ("forward and backward, per sample", per_sample(trained)),
        ("update, per minibatch", update),
    ];
    check_counts(
        "callgrind-x86_64.txt",
        &counts.map(|(what, count)| (what.to_owned(), count)),
        REFRESH,
    );
}

#[cfg(target_arch = "x86_64")]
fn comparable() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn comparable() -> bool {
    false
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [mode, samples, batch] if mode == "work" => {
            work(samples.parse().unwrap(), batch.parse().unwrap());
        }
        _ if cfg!(debug_assertions) => println!("not run: counts are those of a release build"),
        _ if !comparable() => println!("not run: counts are those of x86-64 with AVX2"),
        _ => check(),
    }
}
