//! The firmware's own machine code gives the same bits: the images on emulated PEs against this process.

use std::path::PathBuf;

use eventprop_tests::firmware::firmware;
use eventprop_tests::identity::{bits, experiment, on};
use eventprop_tests::legal::{compare, count};
use host_tools::backend::Backend as _;
use host_tools::backend::emulated::Emulated;
use host_tools::experiment::{
    BackendKind, Experiment, OptimizerKind, Routing, Scheme, WeightRounding,
};
use host_tools::training::{Plan, State};
use s2_hal::mock::fault::{FaultPlan, PacketFault, PacketRule};

fn emulated(experiment: &Experiment, seed: u64) -> Experiment {
    on(experiment, |backend| {
        backend.kind = BackendKind::Emulated;
        backend.replicas = 2;
        backend.routing = Routing::Direct;
        backend.delivery_seed = seed;
        backend.firmware = firmware().to_owned();
    })
}

/// The same bits as in this process, whatever the order in which PEs and packets take turns.
fn same_bits(experiment: &Experiment, seeds: &[u64]) {
    let reference = bits(&on(experiment, |b| b.kind = BackendKind::Direct));
    assert!(reference.counters.spike_digest != 0);
    for &seed in seeds {
        let bits = bits(&emulated(experiment, seed));
        assert!(
            bits == reference,
            "seed {seed}: other bits than in this process"
        );
    }
}

#[test]
fn exact_with_adam() {
    same_bits(&experiment(Scheme::Exact, &[20]), &[0, 1, 2]);
}

#[test]
fn exact_with_gradient_descent() {
    let mut experiment = experiment(Scheme::Exact, &[20]);
    experiment.optimizer.kind = OptimizerKind::Sgd;
    experiment.optimizer.learning_rate = 0.01;
    same_bits(&experiment, &[3]);
}

#[test]
fn grid_with_adam() {
    same_bits(&experiment(Scheme::Grid, &[20]), &[0, 4]);
}

#[test]
fn grid_with_gradient_descent() {
    let mut experiment = experiment(Scheme::Grid, &[20]);
    experiment.optimizer.kind = OptimizerKind::Sgd;
    experiment.optimizer.learning_rate = 0.01;
    same_bits(&experiment, &[5]);
}

#[test]
fn layers_on_several_pes_with_weights_of_16_bits() {
    let mut experiment = experiment(Scheme::Exact, &[20]);
    experiment.optimizer.weight_fraction_bits = 10;
    experiment.optimizer.weight_rounding = WeightRounding::Stochastic;
    experiment.backend.layer_pes = vec![2, 2];
    let reference = bits(&on(&experiment, |b| b.kind = BackendKind::Direct));
    assert!(bits(&emulated(&experiment, 6)) == reference);
}

/// One minibatch of the default network.
#[test]
fn the_default_network() {
    let mut default = Experiment::default_for(Scheme::Exact);
    default.dataset.train_size = 32;
    default.dataset.validation_size = 1;
    default.dataset.test_size = 1;
    let train = |experiment: Experiment| {
        let plan = Plan::new(experiment).unwrap();
        let mut backend = host_tools::backend::build(plan.setup()).unwrap();
        backend.set_weights(&State::new(&plan).weights).unwrap();
        let order: Vec<u32> = (0..32).collect();
        let tally = backend.train(&order, 32).unwrap();
        (
            tally,
            backend.weights().unwrap(),
            backend.gradients().unwrap(),
        )
    };
    let reference = train(on(&default, |b| b.kind = BackendKind::Direct));
    assert!(train(emulated(&default, 0)) == reference);
}

/// A tenth of the [random experiments](eventprop_tests::legal), with fewer samples.
#[test]
fn random_experiments() {
    let cases = (0..count(400)).step_by(10);
    let number = cases.clone().count() as u64;
    let compared = compare(cases, |case| {
        case.shortened(4).on(|backend| {
            backend.kind = BackendKind::Emulated;
            backend.replicas = backend.replicas.min(2);
            backend.routing = Routing::Direct;
            backend.firmware = firmware().to_owned();
        })
    });
    assert!(compared >= number - number / 5, "{compared} of {number}");
}

/// Packets lost or altered on the way end in the right bits, or in an error that names the PE.
#[test]
fn faults_are_named() {
    let mut small = experiment(Scheme::Exact, &[12]);
    small.dataset.train_size = 12;
    let small = emulated(&small, 0);
    let plan = Plan::new(small).unwrap();
    let run = |faults: FaultPlan| {
        let mut backend = Emulated::with_faults(plan.setup(), faults).unwrap();
        backend.set_weights(&State::new(&plan).weights).unwrap();
        let order: Vec<u32> = (0..12).collect();
        let result = backend.train(&order, 8).map_err(|error| error.to_string());
        result.map(|_| (backend.weights().unwrap(), backend.gradients().unwrap()))
    };
    let right = run(FaultPlan::default()).unwrap();
    let with = |kind: u32, nth: u64, fault| {
        let rule = PacketRule::nth(nth, fault).matching(kind << 28, 7 << 28);
        run(FaultPlan {
            packets: vec![rule],
            ..FaultPlan::default()
        })
    };
    // Spikes, markers, errors, "ready" and "release": what is lost is waited for, by name.
    for (kind, cause) in [
        (0, "waited too long for events of position"),
        (1, "waited too long for"),
        (2, "waited too long for events of position"),
        (6, "waited too long for source"),
        (7, "waited too long for new weights"),
    ] {
        let error = with(kind, 3, PacketFault::Lose).unwrap_err();
        assert!(
            error.contains("PE (") && error.contains(cause),
            "{kind}: {error}"
        );
    }
    // Doubled packets change nothing.
    for kind in [0, 1, 5, 6, 7] {
        let result = with(kind, 2, PacketFault::Duplicate { later: 100 });
        assert!(result == Ok(right.clone()), "{kind}: {:?}", result.err());
    }
    // An altered spike is found.
    let error = with(0, 3, PacketFault::Corrupt { bits: Some(1 << 9) }).unwrap_err();
    assert!(error.contains("PE ("), "{error}");
}

#[test]
fn what_cannot_be_is_refused() {
    let good = emulated(&experiment(Scheme::Exact, &[20]), 0);
    let refused = |experiment: Experiment| {
        let plan = Plan::new(experiment).unwrap();
        match Emulated::new(plan.setup()) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    };
    let error = refused(on(&good, |b| b.routing = Routing::Router));
    assert!(error.contains("routing = \"direct\""), "{error}");
    let error = refused(on(&good, |b| b.firmware = PathBuf::from("/nowhere")));
    assert!(
        error.contains("/nowhere") && error.contains("firmware"),
        "{error}"
    );
}
