//! What must be the same bits on every backend, and how to get it from one.

use host_tools::backend::mock::Mock;
use host_tools::backend::{
    self, Backend, Counters, LayerGradient, LayerWeights, OptimizerState, Split,
};
use host_tools::experiment::{BackendKind, Experiment, Scheme};
use host_tools::training::{Plan, State};
use s2_hal::mock;

/// All that must not differ, after two minibatches of training and a look at other samples.
#[derive(Debug, PartialEq)]
pub struct Bits {
    /// Weights at the end.
    pub weights: Vec<LayerWeights>,
    /// Gradients of the last minibatch.
    pub gradients: Vec<LayerGradient>,
    /// State of the optimiser.
    pub optimizer: OptimizerState,
    /// What training and evaluation came to.
    pub tallies: [backend::Tally; 2],
    /// What was counted, but for packets.
    pub counters: Counters,
    /// Spikes of one sample.
    pub record: backend::SpikeRecord,
    /// Predictions of some samples.
    pub predictions: Vec<Option<u8>>,
}

/// Trains an experiment of [`experiment`]'s size on its backend.
///
/// # Panics
/// If anything fails.
pub fn bits(experiment: &Experiment) -> Bits {
    let plan = Plan::new(experiment.clone()).unwrap();
    let sets = plan.setup().sets;
    let mut backend: Box<dyn Backend> = match experiment.backend.kind {
        // On a network where every packet may be late, not only some.
        BackendKind::Mock => {
            Box::new(Mock::with_chip(plan.setup(), mock::Config::default()).unwrap())
        }
        _ => backend::build(plan.setup()).unwrap(),
    };
    backend.set_weights(&State::new(&plan).weights).unwrap();
    // The last minibatch is a small one, which leaves replicas without samples.
    let order: Vec<u32> = (0..75).map(|n| (n * 37) % 200).collect();
    let train = backend.train(&order, 32).unwrap();
    let evaluate = backend.evaluate(Split::Validation, 5..30).unwrap();
    let record = backend.record(&sets.test[0]).unwrap();
    let predictions = backend.predict(&sets.test[..7]).unwrap();
    Bits {
        weights: backend.weights().unwrap(),
        gradients: backend.gradients().unwrap(),
        optimizer: backend.optimizer_state().unwrap(),
        tallies: [train, evaluate],
        counters: without_packets(backend.as_mut()),
        record,
        predictions,
    }
}

/// The counters of a backend but for packets, which only a chip has.
fn without_packets(backend: &mut dyn Backend) -> Counters {
    Counters {
        packets: Default::default(),
        ..backend.counters().unwrap()
    }
}

/// A small experiment: 200 training samples, hidden layers of these sizes.
pub fn experiment(scheme: Scheme, hidden: &[usize]) -> Experiment {
    let mut experiment = Experiment::default_for(scheme);
    experiment.network.hidden = hidden.to_vec();
    experiment.dataset.train_size = 200;
    experiment.dataset.validation_size = 50;
    experiment.dataset.test_size = 20;
    experiment.backend.threads = Some(1);
    experiment
}

/// The experiment with another backend.
#[must_use]
pub fn on(
    experiment: &Experiment,
    change: impl Fn(&mut host_tools::experiment::Backend),
) -> Experiment {
    let mut experiment = experiment.clone();
    change(&mut experiment.backend);
    experiment
}
