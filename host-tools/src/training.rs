//! The training loop: initial weights, order of samples, learning rate, validation, checkpoints.
//!
//! Everything random follows from the experiment's seed and a counter (layer, epoch), never from
//! how far a generator has run. So a run that goes on from a checkpoint makes the same bits as one
//! that was never interrupted, and both are the same on every platform.

pub mod checkpoint;
mod random;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::backend::{
    Backend, Counters, LayerGradient, LayerWeights, OptimizerState, Setup, Split, Tally,
    WEIGHT_FRACTION_BITS, WEIGHT_LIMIT,
};
use crate::dataset::{Sets, encode};
use crate::error::{Error, Result};
use crate::experiment::{DecayEvery, Experiment, InitialWeights, Select};
use checkpoint::Checkpoint;

pub(crate) use random::rounding_seed;
pub use random::shuffled;

/// An experiment with its data, ready to be given to a backend.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment with everything filled in that depends on the data.
    pub experiment: Experiment,
    /// Neurons per layer: input channels, hidden layers, outputs.
    pub dims: Vec<usize>,
    /// The samples.
    pub sets: Sets,
    /// SHA-256 of the encoded samples.
    pub samples_digest: [u8; 32],
}

impl Plan {
    /// Loads the data that the experiment names and completes the experiment.
    ///
    /// # Errors
    /// Data that cannot be read or do not fit the network.
    pub fn new(mut experiment: Experiment) -> Result<Self> {
        let sets = Sets::load(&experiment.dataset)?;
        let dims = experiment.dims(sets.train.width, sets.train.classes);
        if dims[0] > MAX_INPUTS {
            return Err(Error::new(format!(
                "{} input channels; at most {MAX_INPUTS} are possible",
                dims[0]
            ))
            .at("dataset"));
        }
        experiment.resolve(&dims);
        experiment.check()?;
        let all = |batch: usize| {
            let per_epoch = sets.train.len().div_ceil(batch) as u64;
            per_epoch * u64::from(experiment.training.epochs)
        };
        let training = &experiment.training;
        let minibatches = training.minibatches.unwrap_or(u64::MAX);
        if all(training.batch).min(minibatches) > u64::from(u32::MAX) {
            return Err(Error::new(format!(
                "{} epochs are {} minibatches; an optimiser counts {}",
                training.epochs,
                all(training.batch),
                u32::MAX
            ))
            .at("training.epochs")
            .hint("fewer epochs, or a larger training.batch"));
        }
        let samples_digest = encode::digest(&encode::encode_sets(&sets, &experiment));
        Ok(Self {
            experiment,
            dims,
            sets,
            samples_digest,
        })
    }

    /// What a backend is built from.
    pub fn setup(&self) -> Setup {
        Setup {
            experiment: self.experiment.clone(),
            dims: self.dims.clone(),
            sets: encode::encode_sets(&self.sets, &self.experiment),
        }
    }

    /// Minibatches per epoch; the last one may be smaller.
    pub fn minibatches_per_epoch(&self) -> usize {
        self.sets
            .train
            .len()
            .div_ceil(self.experiment.training.batch)
    }

    /// Minibatches of the whole run.
    pub fn minibatches(&self) -> u64 {
        let training = &self.experiment.training;
        let all = u64::from(training.epochs) * self.minibatches_per_epoch() as u64;
        training.minibatches.map_or(all, |limit| all.min(limit))
    }

    /// Learning rate of a minibatch (both counted from 0).
    ///
    /// Computed in `f64` with a portable power function, then rounded once.
    pub fn learning_rate(&self, epoch: u32, minibatch: usize) -> f32 {
        let optimizer = &self.experiment.optimizer;
        let epochs = match optimizer.decay_every {
            DecayEvery::Epoch => f64::from(epoch),
            DecayEvery::Minibatch => {
                f64::from(epoch) + minibatch as f64 / self.minibatches_per_epoch() as f64
            }
        };
        let factor = libm::pow(optimizer.learning_rate_decay, epochs);
        (optimizer.learning_rate * factor) as f32
    }
}

/// Most input channels, so that each has a key of its own.
const MAX_INPUTS: usize = 4095;

/// What is known of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Learning rate of its last minibatch.
    pub learning_rate: f32,
    /// Counts over the training samples, each taken while it was trained on.
    pub train: Tally,
    /// Counts over the validation samples after the epoch.
    pub validation: Tally,
    /// Values that were cut to their format's limits, training and validating.
    pub saturations: u64,
    /// Spikes beyond the limit of one neuron in one step, training and validating.
    pub suppressed_spikes: u64,
}

/// The weights that were best on the validation samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Counts over the validation samples.
    pub validation: Tally,
    /// The weights.
    pub weights: Vec<LayerWeights>,
}

impl Best {
    /// More correct samples are better; then a smaller loss, then an earlier epoch.
    fn is_beaten_by(&self, validation: &Tally) -> bool {
        let loss = |tally: &Tally| tally.mean_loss().unwrap_or(f64::INFINITY);
        (validation.correct > self.validation.correct)
            || (validation.correct == self.validation.correct
                && loss(validation) < loss(&self.validation))
    }
}

/// Where a run stands. All of it is in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Whole epochs done.
    pub epoch: u32,
    /// Minibatches done of the epoch after those.
    pub minibatch: u32,
    /// Minibatches done in all.
    pub minibatches: u64,
    /// Samples of the last minibatch.
    pub last_batch: u64,
    /// The weights.
    pub weights: Vec<LayerWeights>,
    /// The optimiser's state; `None` before the first minibatch.
    pub optimizer: Option<OptimizerState>,
    /// The summed gradients of the last minibatch.
    pub gradients: Vec<LayerGradient>,
    /// Counts over the minibatches done of the running epoch.
    pub tally: Tally,
    /// The epochs done.
    pub history: Vec<EpochRecord>,
    /// The best weights so far.
    pub best: Option<Best>,
    /// What the backends of this run have counted.
    pub counters: Counters,
    /// What they had counted when the running epoch began.
    pub counters_before_epoch: Counters,
    /// Samples trained on.
    pub samples: u64,
    /// Seconds spent on training minibatches.
    pub train_seconds: f64,
    /// Seconds spent in all.
    pub wall_seconds: f64,
}

impl State {
    /// The start of a run.
    pub fn new(plan: &Plan) -> Self {
        Self {
            weights: initial_weights(
                plan.experiment.seed,
                &plan.dims,
                &plan.experiment.network.initial_weights,
            ),
            ..Self::default()
        }
    }
}

/// Draws the initial weights.
///
/// # Panics
/// If there is not one distribution per weight layer.
pub fn initial_weights(
    seed: u64,
    dims: &[usize],
    distributions: &[InitialWeights],
) -> Vec<LayerWeights> {
    assert_eq!(distributions.len() + 1, dims.len());
    let shapes = dims.windows(2).map(|pair| (pair[0], pair[1]));
    shapes
        .zip(distributions)
        .enumerate()
        .map(|(layer, ((inputs, neurons), distribution))| {
            let mut normal = random::Normal::new(seed, layer as u64);
            let values = (0..inputs * neurons)
                .map(|_| to_raw_weight(distribution.mean + distribution.std * normal.draw()))
                .collect();
            LayerWeights {
                inputs,
                neurons,
                values,
            }
        })
        .collect()
}

/// A weight as a raw value: 20 fraction bits, to nearest, within the limits.
pub fn to_raw_weight(weight: f64) -> i32 {
    let scale = f64::from(1_u32 << WEIGHT_FRACTION_BITS);
    (weight.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT) * scale).round_ties_even() as i32
}

/// Is told how a run goes.
pub trait Observer {
    /// A minibatch is done.
    fn minibatch(&mut self, plan: &Plan, state: &State);

    /// An epoch is done and validated.
    fn epoch(&mut self, plan: &Plan, record: &EpochRecord);
}

/// An observer that looks away.
pub struct Unobserved;

impl Observer for Unobserved {
    fn minibatch(&mut self, _plan: &Plan, _state: &State) {}
    fn epoch(&mut self, _plan: &Plan, _record: &EpochRecord) {}
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where the run stands; its weights are those after the last minibatch.
    pub state: State,
    /// The result's weights: the best or the last, as the experiment asks.
    pub weights: Vec<LayerWeights>,
    /// The epoch that they are from, from 1; `None`: before the first one ended.
    pub epoch: Option<u32>,
    /// The result on the training samples.
    pub train: Tally,
    /// The result on the validation samples.
    pub validation: Tally,
    /// The result on the test samples.
    pub test: Tally,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
}

/// Trains from `state` to the end of the plan, or until `stop` is set; then selects the weights,
/// gives them to the backend, and evaluates them.
///
/// With a `checkpoint` path, the state is written there after each epoch and at the end.
///
/// # Errors
/// A fault of the backend, or a checkpoint that cannot be written.
pub fn run(
    plan: &Plan,
    backend: &mut dyn Backend,
    state: State,
    checkpoint: Option<&Path>,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let mut session = Session {
        plan,
        backend,
        earlier: state.counters,
        earlier_seconds: state.wall_seconds,
        started: Instant::now(),
        state,
        checkpoint,
        trained: false,
    };
    session.backend.set_weights(&session.state.weights)?;
    if let Some(optimizer) = &session.state.optimizer {
        session.backend.set_optimizer_state(optimizer)?;
    }
    let interrupted = session.train(observer, stop)?;
    session.conclude(observer, interrupted)
}

struct Session<'a> {
    plan: &'a Plan,
    backend: &'a mut dyn Backend,
    /// Counts and seconds of the run's earlier stretches.
    earlier: Counters,
    earlier_seconds: f64,
    started: Instant,
    state: State,
    checkpoint: Option<&'a Path>,
    /// Whether this stretch has trained a minibatch.
    trained: bool,
}

impl Session<'_> {
    /// Trains; returns whether it was stopped before the end.
    fn train(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<bool> {
        let plan = self.plan;
        let training = &plan.experiment.training;
        let per_epoch = plan.minibatches_per_epoch();
        let total = plan.minibatches();
        let mut order = Vec::new();
        let mut order_epoch = None;
        while self.state.minibatches < total {
            if stop.load(Ordering::Relaxed) {
                self.save()?;
                return Ok(true);
            }
            let epoch = self.state.epoch;
            if order_epoch != Some(epoch) {
                order = shuffled(plan.experiment.seed, epoch, plan.sets.train.len());
                order_epoch = Some(epoch);
            }
            let minibatch = self.state.minibatch as usize;
            let first = minibatch * training.batch;
            let samples = &order[first..order.len().min(first + training.batch)];

            self.backend
                .set_learning_rate(plan.learning_rate(epoch, minibatch))?;
            let before = Instant::now();
            let tally = self.backend.train(samples, training.batch)?;
            self.trained = true;
            let state = &mut self.state;
            state.train_seconds += before.elapsed().as_secs_f64();
            state.tally.add(&tally);
            state.samples += samples.len() as u64;
            state.last_batch = samples.len() as u64;
            state.minibatch += 1;
            state.minibatches += 1;
            observer.minibatch(plan, state);

            if self.state.minibatch as usize == per_epoch {
                self.end_epoch(observer)?;
                self.save()?;
            }
        }
        if self.state.minibatch > 0 {
            self.save()?;
        }
        Ok(false)
    }

    /// Validates and closes the running epoch.
    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let plan = self.plan;
        let validation = self
            .backend
            .evaluate(Split::Validation, 0..plan.sets.validation.len())?;
        let counters = self.counters()?;
        let state = &mut self.state;
        let before = std::mem::replace(&mut state.counters_before_epoch, counters);
        let last = state.minibatch.saturating_sub(1) as usize;
        let record = EpochRecord {
            epoch: state.epoch + 1,
            learning_rate: plan.learning_rate(state.epoch, last),
            train: std::mem::take(&mut state.tally),
            validation,
            saturations: counters.saturations - before.saturations,
            suppressed_spikes: counters.suppressed_spikes - before.suppressed_spikes,
        };
        state.epoch += 1;
        state.minibatch = 0;
        let beaten = state
            .best
            .as_ref()
            .is_none_or(|best| best.is_beaten_by(&record.validation));
        if beaten {
            state.best = Some(Best {
                epoch: record.epoch,
                validation: record.validation.clone(),
                weights: self.backend.weights()?,
            });
        }
        observer.epoch(plan, &record);
        self.state.history.push(record);
        Ok(())
    }

    /// What the backends of this run have counted so far.
    fn counters(&mut self) -> Result<Counters> {
        let mut counters = self.earlier;
        counters.add(&self.backend.counters()?);
        Ok(counters)
    }

    /// Brings the state up to date with the backend.
    fn collect(&mut self) -> Result<()> {
        self.state.counters = self.counters()?;
        let state = &mut self.state;
        state.weights = self.backend.weights()?;
        state.optimizer = Some(self.backend.optimizer_state()?);
        // A backend that has not trained since the checkpoint does not know the last gradients.
        if self.trained || state.gradients.is_empty() {
            state.gradients = self.backend.gradients()?;
        }
        state.wall_seconds = self.earlier_seconds + self.started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Writes a checkpoint, if one is asked for.
    fn save(&mut self) -> Result<()> {
        self.collect()?;
        match self.checkpoint {
            Some(path) => Checkpoint::write(path, self.plan, &self.state),
            None => Ok(()),
        }
    }

    /// Selects and evaluates the result.
    fn conclude(mut self, observer: &mut dyn Observer, interrupted: bool) -> Result<Outcome> {
        self.collect()?;
        // The checkpoint is written by now; what follows does not belong to the run's state, so
        // that going on from it is the same as never having stopped.
        let checkpointed = self.state.clone();
        if self.state.minibatch > 0 && !interrupted {
            self.end_epoch(observer)?;
        }
        let sets = &self.plan.sets;
        let select = self.plan.experiment.training.select;
        let (epoch, weights) = match self.state.best.take() {
            Some(best) if select == Select::BestValidation => (Some(best.epoch), best.weights),
            _ => {
                let epoch = self.state.history.last().map(|record| record.epoch);
                (epoch, self.state.weights.clone())
            }
        };
        self.backend.set_weights(&weights)?;
        let train = self.backend.evaluate(Split::Train, 0..sets.train.len())?;
        let validation = self
            .backend
            .evaluate(Split::Validation, 0..sets.validation.len())?;
        let test = self.backend.evaluate(Split::Test, 0..sets.test.len())?;
        let state = State {
            history: self.state.history,
            wall_seconds: self.earlier_seconds + self.started.elapsed().as_secs_f64(),
            ..checkpointed
        };
        Ok(Outcome {
            state,
            weights,
            epoch,
            train,
            validation,
            test,
            interrupted,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::backend::{EncodedSample, SpikeRecord};

    /// A backend whose weights are a hash of everything that it was asked for.
    struct Fake {
        weights: Vec<LayerWeights>,
        optimizer: OptimizerState,
        counters: Counters,
        gradient: i64,
    }

    impl Fake {
        fn new() -> Self {
            Self {
                weights: Vec::new(),
                optimizer: OptimizerState::default(),
                counters: Counters::default(),
                gradient: 0,
            }
        }

        fn tally(&mut self, samples: usize, hash: u32) -> Tally {
            self.counters.packets.forward += samples as u64;
            self.counters.spike_digest = self
                .counters
                .spike_digest
                .wrapping_add(u64::from(hash) << 20);
            let slack = f64::from(hash % 1000) + 1.0;
            let smallest = self.counters.min_threshold_slack.unwrap_or(slack);
            self.counters.min_threshold_slack = Some(smallest.min(slack));
            Tally {
                samples: samples as u64,
                correct: u64::from(hash) % samples as u64,
                loss: f64::from(hash % 97),
                ..Tally::default()
            }
        }

        fn hash(&self) -> u32 {
            self.weights[0].values[0] as u32
        }
    }

    impl Backend for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn train(&mut self, order: &[u32], batch: usize) -> Result<Tally> {
            let mut hash = self.hash() ^ self.optimizer.learning_rate.to_bits();
            for &sample in order {
                hash = (hash ^ sample).wrapping_mul(0x9E37_79B1).rotate_left(7);
            }
            self.weights[0].values[0] = hash as i32;
            self.optimizer.step += order.len().div_ceil(batch) as u64;
            self.optimizer.beta1_power += f32::from_bits(0x3F80_0000 | (hash >> 9));
            self.gradient = i64::from(hash) << 3;
            Ok(self.tally(order.len(), hash))
        }

        fn evaluate(&mut self, split: Split, samples: Range<usize>) -> Result<Tally> {
            let hash = self.hash().rotate_left(split as u32 + 3);
            Ok(self.tally(samples.len(), hash))
        }

        fn record(&mut self, _sample: &EncodedSample) -> Result<SpikeRecord> {
            Ok(SpikeRecord::default())
        }

        fn predict(&mut self, samples: &[EncodedSample]) -> Result<Vec<Option<u8>>> {
            Ok(vec![None; samples.len()])
        }

        fn weights(&mut self) -> Result<Vec<LayerWeights>> {
            Ok(self.weights.clone())
        }

        fn set_weights(&mut self, weights: &[LayerWeights]) -> Result<()> {
            self.weights = weights.to_vec();
            Ok(())
        }

        fn gradients(&mut self) -> Result<Vec<LayerGradient>> {
            Ok(vec![LayerGradient {
                inputs: 1,
                neurons: 1,
                values: vec![self.gradient],
            }])
        }

        fn optimizer_state(&mut self) -> Result<OptimizerState> {
            Ok(self.optimizer.clone())
        }

        fn set_optimizer_state(&mut self, state: &OptimizerState) -> Result<()> {
            self.optimizer = state.clone();
            Ok(())
        }

        fn set_learning_rate(&mut self, rate: f32) -> Result<()> {
            self.optimizer.learning_rate = rate;
            Ok(())
        }

        fn counters(&mut self) -> Result<Counters> {
            Ok(self.counters)
        }
    }

    /// Sets the flag once so many minibatches are done.
    struct StopAfter<'a> {
        minibatches: u64,
        stop: &'a AtomicBool,
    }

    impl Observer for StopAfter<'_> {
        fn minibatch(&mut self, _plan: &Plan, state: &State) {
            if state.minibatches == self.minibatches {
                self.stop.store(true, Ordering::Relaxed);
            }
        }

        fn epoch(&mut self, _plan: &Plan, _record: &EpochRecord) {}
    }

    /// Four epochs of five minibatches, the last of which is smaller.
    fn plan(decay_every: DecayEvery) -> Plan {
        let mut experiment = Experiment::default();
        experiment.dataset.train_size = 47;
        experiment.dataset.validation_size = 10;
        experiment.dataset.test_size = 10;
        experiment.network.hidden = vec![2];
        experiment.training.batch = 10;
        experiment.training.epochs = 4;
        experiment.optimizer.decay_every = decay_every;
        Plan::new(experiment).unwrap()
    }

    /// The outcome without what the clock decides.
    fn timeless(mut outcome: Outcome) -> Outcome {
        outcome.state.train_seconds = 0.0;
        outcome.state.wall_seconds = 0.0;
        outcome
    }

    fn uninterrupted(plan: &Plan) -> Outcome {
        let go_on = AtomicBool::new(false);
        let state = State::new(plan);
        run(plan, &mut Fake::new(), state, None, &mut Unobserved, &go_on).unwrap()
    }

    #[test]
    fn a_resumed_run_is_the_uninterrupted_one() {
        for plan in [plan(DecayEvery::Epoch), plan(DecayEvery::Minibatch)] {
            let expected = timeless(uninterrupted(&plan));
            assert_eq!(expected.state.history.len(), 4);
            assert_eq!(expected.state.last_batch, 7);
            for stop_after in 0..=20 {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join(checkpoint::FILE_NAME);
                let stop = AtomicBool::new(stop_after == 0);
                let mut observer = StopAfter {
                    minibatches: stop_after,
                    stop: &stop,
                };
                let mut backend = Fake::new();
                let state = State::new(&plan);
                let first = run(
                    &plan,
                    &mut backend,
                    state,
                    Some(&path),
                    &mut observer,
                    &stop,
                );
                let first = first.unwrap();
                assert_eq!(first.interrupted, stop_after < 20);
                assert_eq!(first.state.minibatches, stop_after);

                let state = Checkpoint::read(&path, &plan).unwrap();
                let go_on = AtomicBool::new(false);
                let mut backend = Fake::new();
                let second = run(&plan, &mut backend, state, None, &mut Unobserved, &go_on);
                let second = timeless(second.unwrap());
                assert_eq!(second.state, expected.state, "after {stop_after}");
                assert_eq!(second.weights, expected.weights);
                assert_eq!(second.epoch, expected.epoch);
                assert_eq!(second.test, expected.test);
            }
        }
    }

    #[test]
    fn a_limit_of_minibatches_ends_within_an_epoch_and_may_be_raised_later() {
        let mut plan = plan(DecayEvery::Epoch);
        let expected = timeless(uninterrupted(&plan));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(checkpoint::FILE_NAME);
        let go_on = AtomicBool::new(false);

        plan.experiment.training.minibatches = Some(7);
        let mut backend = Fake::new();
        let state = State::new(&plan);
        let first = run(
            &plan,
            &mut backend,
            state,
            Some(&path),
            &mut Unobserved,
            &go_on,
        )
        .unwrap();
        assert!(!first.interrupted);
        assert_eq!(first.state.minibatches, 7);
        // The begun epoch is validated too.
        assert_eq!(first.state.history.len(), 2);
        assert_eq!(first.state.history[1].train.samples, 20);

        plan.experiment.training.minibatches = None;
        let state = Checkpoint::read(&path, &plan).unwrap();
        let second = run(
            &plan,
            &mut Fake::new(),
            state,
            None,
            &mut Unobserved,
            &go_on,
        )
        .unwrap();
        assert_eq!(timeless(second).state, expected.state);
    }

    #[test]
    fn a_checkpoint_is_refused_by_another_experiment() {
        let mut plan = plan(DecayEvery::Epoch);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(checkpoint::FILE_NAME);
        Checkpoint::write(&path, &plan, &State::new(&plan)).unwrap();
        plan.experiment.training.epochs = 9;
        Checkpoint::read(&path, &plan).unwrap();
        plan.experiment.network.slope_floor = 0.5;
        let error = Checkpoint::read(&path, &plan).unwrap_err();
        assert!(error.message().contains("other settings"), "{error}");
    }

    #[test]
    fn the_learning_rate_falls_by_the_factor_over_an_epoch() {
        let plan_epoch = plan(DecayEvery::Epoch);
        assert_eq!(plan_epoch.learning_rate(0, 4), 0.005);
        assert_eq!(plan_epoch.learning_rate(2, 3), (0.005 * 0.9 * 0.9) as f32);
        let plan_minibatch = plan(DecayEvery::Minibatch);
        assert_eq!(
            plan_minibatch.learning_rate(1, 0),
            plan_epoch.learning_rate(1, 0)
        );
        let ratio = plan_minibatch.learning_rate(0, 1) / plan_minibatch.learning_rate(0, 0);
        assert!((ratio.powi(5) - 0.9).abs() < 1e-6);
    }
}
