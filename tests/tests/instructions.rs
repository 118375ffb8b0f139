//! How many instructions training takes on emulated PEs, against `tests/golden/instructions.txt`, and whether the
//! parts of the measurement agree.

use eventprop_tests::firmware::firmware;
use eventprop_tests::golden::check_counts;
use host_tools::experiment::{BackendKind, Experiment, Routing, Scheme};
use host_tools::profile::{Pe, Profile};
use host_tools::training::{Plan, State};

const REFRESH: &str = "UPDATE_GOLDEN=1 cargo test --release -p eventprop-tests --features emulated --test instructions";
/// Samples of the minibatch that is counted.
const SAMPLES: usize = 4;

/// Two minibatches of the default network, 5-200-3, from the initial weights on.
fn profile() -> Profile {
    let mut experiment = Experiment::default_for(Scheme::Exact);
    experiment.seed = 1;
    experiment.training.batch = SAMPLES;
    experiment.backend.kind = BackendKind::Emulated;
    experiment.backend.routing = Routing::Direct;
    experiment.backend.replicas = 1;
    experiment.backend.firmware = firmware().to_owned();
    let plan = Plan::new(experiment).unwrap();
    assert_eq!(plan.dims, [5, 200, 3]);
    Profile::measure(&plan, &State::new(&plan).weights, 1, true).unwrap()
}

#[test]
fn training_stays_within_its_budget() {
    let profile = profile();
    parts_agree(&profile);
    let mut counts = Vec::new();
    for pe in profile.pes() {
        let phases = [
            ("forward, per sample", pe.forward),
            ("backward, per sample", pe.backward),
            ("update, per minibatch", pe.update),
        ];
        for (phase, work) in phases {
            if work.instructions > 0.0 {
                counts.push((format!("{}, {phase}", pe.program), work.instructions));
            }
        }
    }
    check_counts("instructions.txt", &counts, REFRESH);
}

/// The same instructions, counted by phase, by function and by call path.
fn parts_agree(profile: &Profile) {
    let programs: Vec<_> = profile.pes().map(|pe| pe.program.as_str()).collect();
    assert_eq!(
        programs,
        ["input", "layer 1", "layer 2", "loss", "optimiser"]
    );
    let samples = SAMPLES as f64;
    for pe in profile.pes() {
        let Pe {
            forward,
            backward,
            idle,
            update,
            ..
        } = pe;
        let phases = (*forward + *backward + *idle).instructions + update.instructions / samples;
        let functions: f64 = pe.functions.iter().map(|f| f.per_sample.instructions).sum();
        let paths: f64 = pe
            .folded_stacks
            .lines()
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum();
        let agrees = |other: f64| (other / phases - 1.0).abs() < 1e-3;
        assert!(
            agrees(functions),
            "{}: {phases} by phase, {functions} by function",
            pe.program
        );
        assert!(
            agrees(paths / samples),
            "{}: {phases} by phase, {paths} by path",
            pe.program
        );
        // A cycle at least for an instruction.
        assert!(forward.estimated_cycles >= forward.instructions);
    }
    let [input, layer_1, layer_2, loss] = &profile.replica[..] else {
        panic!("a replica has four PEs");
    };
    // A packet for each spike, one for each step with spikes, one for the end of the sample: nothing for the
    // rest of its 40 steps. The others acknowledge, too.
    let [inputs, hidden, outputs] = profile.spikes_per_sample[..] else {
        panic!("a network of three layers");
    };
    assert!((inputs + 1.0..=2.0 * inputs + 1.0).contains(&input.packets));
    assert!((hidden + 2.0..=2.0 * hidden + 40.0).contains(&layer_1.packets));
    // Every hidden spike is answered, and the first ones of the outputs.
    assert!(layer_2.packets > hidden + outputs && loss.packets > 3.0);
    assert_eq!(input.backward.instructions, 0.0);
}
