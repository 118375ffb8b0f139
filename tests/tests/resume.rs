//! What a backend carries from one minibatch to the next is its weights and its optimiser's state,
//! and nothing else: handed to a new backend, training goes on with the same bits. Looking at the
//! network changes nothing.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use host_tools::backend::{
    self, Backend, Counters, LayerGradient, LayerWeights, OptimizerState, Split, Tally,
};
use host_tools::experiment::{BackendKind, Experiment, OptimizerKind, Scheme};
use host_tools::training::checkpoint::Checkpoint;
use host_tools::training::{self, Plan, State, Unobserved};

const BATCH: usize = 8;
/// Where four minibatches, the last of them smaller, are cut into twice two.
const CUT: usize = 2 * BATCH;
const SAMPLES: usize = 30;

fn experiments() -> [Experiment; 3] {
    let base = |scheme| {
        let mut experiment = Experiment::default_for(scheme);
        experiment.network.hidden = vec![16];
        experiment.dataset.train_size = SAMPLES;
        experiment.dataset.validation_size = 10;
        experiment.dataset.test_size = 5;
        experiment.backend.kind = BackendKind::Mock;
        experiment.backend.replicas = 3;
        experiment.backend.layer_pes = vec![2, 1];
        experiment
    };
    let mut momentum = base(Scheme::Exact);
    momentum.optimizer.kind = OptimizerKind::Sgd;
    momentum.optimizer.weight_decay = 1e-3;
    [base(Scheme::Exact), base(Scheme::Grid), momentum]
}

fn build(plan: &Plan, kind: BackendKind) -> Box<dyn Backend> {
    let mut setup = plan.setup();
    setup.experiment.backend.kind = kind;
    backend::build(setup).unwrap()
}

/// A backend at the start of a run, with a learning rate that is not the experiment's.
fn fresh(plan: &Plan) -> Box<dyn Backend> {
    let mut backend = build(plan, BackendKind::Mock);
    backend.set_weights(&State::new(plan).weights).unwrap();
    backend.set_learning_rate(0.0037).unwrap();
    backend
}

fn order() -> Vec<u32> {
    (0..SAMPLES as u32).map(|n| n * 7 % 30).collect()
}

type Learnt = (Vec<LayerWeights>, Vec<LayerGradient>, OptimizerState);

fn learnt(backend: &mut dyn Backend) -> Learnt {
    (
        backend.weights().unwrap(),
        backend.gradients().unwrap(),
        backend.optimizer_state().unwrap(),
    )
}

/// Counters without those that say how the samples were cut into calls: the digest of spikes counts
/// samples from the start of a call, and a call ends with packets of its own.
fn comparable(counters: Counters) -> Counters {
    Counters {
        spike_digest: 0,
        packets: Default::default(),
        ..counters
    }
}

#[test]
fn training_goes_on_with_the_same_bits_on_a_new_backend() {
    let order = order();
    for experiment in experiments() {
        let plan = Plan::new(experiment).unwrap();
        let mut whole = fresh(&plan);
        let tally = whole.train(&order, BATCH).unwrap();
        let counters = comparable(whole.counters().unwrap());
        let whole = learnt(whole.as_mut());
        assert!(tally.samples == SAMPLES as u64 && whole.2.step == 4);
        assert!(whole.1.iter().all(|g| g.values.iter().any(|&g| g != 0)));

        for kind in [BackendKind::Mock, BackendKind::Direct] {
            let mut first = fresh(&plan);
            let mut sum: Tally = first.train(&order[..CUT], BATCH).unwrap();
            let (weights, _, state) = learnt(first.as_mut());
            let mut counted = first.counters().unwrap();
            drop(first);
            assert_ne!(weights, whole.0);
            assert_eq!(state.step, 2);

            let mut second = build(&plan, kind);
            second.set_weights(&weights).unwrap();
            second.set_optimizer_state(&state).unwrap();
            sum.add(&second.train(&order[CUT..], BATCH).unwrap());
            counted.add(&second.counters().unwrap());
            let what = format!("{:?}, going on with {}", plan.dims, kind.name());
            assert!(learnt(second.as_mut()) == whole, "{what}: other bits");
            assert_eq!(sum, tally, "{what}");
            assert_eq!(comparable(counted), counters, "{what}");
        }

        // The state matters: without it the weights come out otherwise.
        let mut forgetful = build(&plan, BackendKind::Mock);
        let mut first = fresh(&plan);
        first.train(&order[..CUT], BATCH).unwrap();
        forgetful.set_weights(&first.weights().unwrap()).unwrap();
        forgetful.set_learning_rate(0.0037).unwrap();
        forgetful.train(&order[CUT..], BATCH).unwrap();
        assert_ne!(forgetful.weights().unwrap(), whole.0);
    }
}

#[test]
fn looking_at_the_network_changes_nothing() {
    let order = order();
    for experiment in experiments() {
        let plan = Plan::new(experiment).unwrap();
        let sets = plan.setup().sets;
        let look = |backend: &mut dyn Backend| {
            let before = learnt(backend);
            let seen = (
                backend.evaluate(Split::Validation, 0..10).unwrap(),
                backend.evaluate(Split::Train, 3..4).unwrap(),
                backend.record(&sets.test[0]).unwrap(),
                backend.predict(&sets.test).unwrap(),
            );
            let again = (
                backend.evaluate(Split::Validation, 0..10).unwrap(),
                backend.evaluate(Split::Train, 3..4).unwrap(),
                backend.record(&sets.test[0]).unwrap(),
                backend.predict(&sets.test).unwrap(),
            );
            assert!(seen == again, "a second look shows something else");
            assert!(learnt(backend) == before, "a look changes what was learnt");
        };

        let mut undisturbed = fresh(&plan);
        let mut watched = fresh(&plan);
        look(watched.as_mut());
        for part in [&order[..CUT], &order[CUT..]] {
            let tally = undisturbed.train(part, BATCH).unwrap();
            assert_eq!(watched.train(part, BATCH).unwrap(), tally);
            look(watched.as_mut());
            assert!(learnt(watched.as_mut()) == learnt(undisturbed.as_mut()));
        }
    }
}

/// Trains from `state` to the end of the plan and returns where it stands then, without what the clock and the
/// packets of a call's end decide.
fn go_on(plan: &Plan, kind: BackendKind, state: State, checkpoint: Option<&Path>) -> State {
    let mut backend = build(plan, kind);
    let never = AtomicBool::new(false);
    let looked_away = &mut Unobserved;
    let run = training::run(
        plan,
        backend.as_mut(),
        state,
        checkpoint,
        looked_away,
        &never,
    );
    let mut state = run.unwrap().state;
    (state.train_seconds, state.wall_seconds) = (0.0, 0.0);
    for counters in [&mut state.counters, &mut state.counters_before_epoch] {
        counters.packets = Default::default();
    }
    state
}

#[test]
fn a_resumed_run_keeps_what_was_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint.bin");
    for mut experiment in experiments() {
        experiment.training.batch = BATCH;
        experiment.training.epochs = 4;
        let whole = Plan::new(experiment.clone()).unwrap();
        let expected = go_on(&whole, BackendKind::Mock, State::new(&whole), None);
        experiment.training.epochs = 2;
        let half = Plan::new(experiment).unwrap();
        let first = go_on(&half, BackendKind::Mock, State::new(&half), Some(&file));
        assert!(
            first
                .counters
                .min_threshold_slack
                .is_some_and(|slack| slack > 0.0)
        );
        assert!(expected.counters.min_threshold_slack <= first.counters.min_threshold_slack);

        for kind in [BackendKind::Mock, BackendKind::Direct] {
            // With nothing left to train, and to the end.
            let again = go_on(&half, kind, Checkpoint::read(&file, &half).unwrap(), None);
            assert_eq!(again, first);
            let rest = go_on(&whole, kind, Checkpoint::read(&file, &whole).unwrap(), None);
            assert_eq!(rest, expected);
        }
    }
}
