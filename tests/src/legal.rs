//! Random legal experiments, the ends of all ranges among them, and what they come to on a backend.

use host_tools::backend::mock::Mock;
use host_tools::backend::{self, Backend, EncodedSets, Setup, Split};
use host_tools::dataset::{Dataset, Sets, encode};
use host_tools::error::Result;
use host_tools::experiment::{
    BackendKind, DecayEvery, EncodingKind, Experiment, InitialWeights, OptimizerKind, Routing,
    Scheme, SilentLabel, SilentOutputs, WeightRounding,
};
use host_tools::training::shuffled;
use host_tools::{time, training};
use s2_hal::mock;

/// A random experiment with its data.
#[derive(Clone, Debug)]
pub struct Case {
    /// The experiment, complete and checked.
    pub experiment: Experiment,
    /// Neurons per layer.
    pub dims: Vec<usize>,
    sets: Sets,
}

/// The experiment of that number.
///
/// # Panics
/// If it is not legal.
pub fn case(number: u64) -> Case {
    let mut rng = fastrand::Rng::with_seed(number);
    let rng = &mut rng;
    let scheme = if rng.u32(0..3) > 0 {
        Scheme::Exact
    } else {
        Scheme::Grid
    };
    let mut experiment = Experiment::default_for(scheme);
    experiment.seed = rng.u64(0..1 << 40);
    network(rng, &mut experiment);
    encoding(rng, &mut experiment);
    optimizer(rng, &mut experiment);

    let width = pick(rng, &[1, 2, 4, 4, 4, 9, 40]);
    let classes = pick(rng, &[2, 3, 3, 3, 7, 20]);
    let sets = Sets {
        train: samples(rng, 30, width, classes),
        validation: samples(rng, 9, width, classes),
        test: samples(rng, 5, width, classes),
    };
    let dims = experiment.dims(width, classes);
    initial_weights(rng, &mut experiment);
    experiment.resolve(&dims);
    loss(rng, &mut experiment);
    chip(rng, &mut experiment, &dims);
    experiment
        .check()
        .unwrap_or_else(|error| panic!("experiment {number}: {error}"));
    Case {
        experiment,
        dims,
        sets,
    }
}

fn pick<T: Copy>(rng: &mut fastrand::Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}

fn network(rng: &mut fastrand::Rng, experiment: &mut Experiment) {
    let network = &mut experiment.network;
    network.hidden = (0..pick(rng, &[0, 1, 1, 1, 2, 3]))
        .map(|_| pick(rng, &[1, 2, 7, 8, 9, 20, 33]))
        .collect();
    let scale = pick(rng, &[1.0, 1.0, 1.0, 0.002, 500.0]);
    let mut tau = |usual: f64| match rng.u32(0..8) {
        0 => 0.01,
        1 => 10_000.0,
        2 => (usual * scale * (0.5 + rng.f64())).clamp(0.01, 10_000.0),
        _ => usual * scale,
    };
    (network.tau_membrane_ms, network.tau_synapse_ms) = (tau(20.0), tau(5.0));
    let longest = std::f64::consts::LN_2 * network.tau_membrane_ms.min(network.tau_synapse_ms);
    let part = pick(rng, &[1.0, 0.29, 0.29, 0.1]);
    network.step_ms = (longest * part).clamp(0.001, 1000.0);
    network.steps = pick(rng, &[1, 2, 27, 40, 40, 64, 65, 150]);
    network.tick_bits = match network.scheme {
        Scheme::Exact => pick(rng, &[0, 1, 2, 5, 8, 8, 8]),
        Scheme::Grid => 0,
    };
    network.spikes_per_step = rng.u32(1..=8);
    network.slope_floor = pick(rng, &[0.0, 1e-7, 0.02, 0.02, 1.0]);
    if rng.u32(0..40) == 0 {
        network.steps = 2047;
        network.hidden.truncate(1);
    }
}

fn encoding(rng: &mut fastrand::Rng, experiment: &mut Experiment) {
    let network = &experiment.network;
    let last_step = match network.scheme {
        Scheme::Exact => network.steps,
        Scheme::Grid => network.steps - 1,
    };
    let end = time::multiple_ms(last_step.into(), network.step_ms);
    let mut at = |usual: f64| match rng.u32(0..4) {
        0 => time::multiple_ms(rng.u32(0..=last_step).into(), network.step_ms),
        1 => end,
        2 => end * rng.f64(),
        _ => end * usual,
    };
    let encoding = &mut experiment.encoding;
    let (a, b) = (at(0.0), at(0.7));
    (encoding.first_ms, encoding.last_ms) = (a.min(b), a.max(b));
    encoding.bias_ms = Some(at(0.0));
    if rng.u32(0..3) == 0 {
        encoding.bias_ms = None;
    }
    encoding.kind = pick(rng, &[EncodingKind::Latency, EncodingKind::Linear]);
}

fn initial_weights(rng: &mut fastrand::Rng, experiment: &mut Experiment) {
    let layers = experiment.network.hidden.len() + 1;
    experiment.network.initial_weights = match rng.u32(0..6) {
        0 => (0..rng.usize(1..=layers))
            .map(|_| InitialWeights {
                mean: pick(rng, &[-32.0, 0.0, 1.0, 32.0]),
                std: pick(rng, &[0.0, 1.0, 32.0]),
            })
            .collect(),
        _ => Vec::new(),
    };
}

fn loss(rng: &mut fastrand::Rng, experiment: &mut Experiment) {
    let network = &experiment.network;
    let tick_ms = network.step_ms / f64::from(1_u32 << network.tick_bits);
    let sample_ms = f64::from(network.steps) * network.step_ms;
    let loss = &mut experiment.loss;
    let least = (1.0 / 128.0_f64).max(tick_ms / 255.0 * 1.000_000_1);
    loss.tau0_ms = pick(
        rng,
        &[least, 10_000.0, 0.0125 * sample_ms, 0.0125 * sample_ms],
    );
    loss.tau0_ms = loss.tau0_ms.clamp(least, 10_000.0);
    loss.tau1_ms = pick(
        rng,
        &[
            sample_ms / 20.0,
            100_000.0,
            0.16 * sample_ms,
            2.5 * sample_ms,
        ],
    );
    loss.tau1_ms = loss.tau1_ms.min(100_000.0);
    let alpha: f64 = pick(rng, &[0.0, 1.0, 0.999_999_999_9, 0.003, 0.003]);
    loss.silent_outputs = pick(rng, &[SilentOutputs::Excluded, SilentOutputs::AtEnd]);
    loss.silent_label = pick(rng, &[SilentLabel::Skip, SilentLabel::Send]);
    // Longer than a limit of the early-spike term, whatever that is.
    while experiment.loss.tau1_ms < 50_000.0 {
        let alpha = alpha.min(0.499 * experiment.loss.tau1_ms);
        experiment.loss.alpha = alpha;
        if experiment.check().is_ok() {
            break;
        }
        experiment.loss.tau1_ms *= 1.3;
    }
}

fn optimizer(rng: &mut fastrand::Rng, experiment: &mut Experiment) {
    let optimizer = &mut experiment.optimizer;
    optimizer.kind = pick(
        rng,
        &[OptimizerKind::Adam, OptimizerKind::Adam, OptimizerKind::Sgd],
    );
    optimizer.learning_rate = pick(rng, &[1e-37, 0.005, 0.005, 0.05, 10.0]);
    let mut decay = |usual: f64| pick(rng, &[0.0, usual, usual, 0.999_999_9]);
    (optimizer.beta1, optimizer.beta2) = (decay(0.9), decay(0.999));
    optimizer.momentum = decay(0.9);
    optimizer.epsilon = pick(rng, &[1e-12, 1e-8, 1.0]);
    optimizer.weight_decay = pick(rng, &[0.0, 1e-4, 1.0]);
    optimizer.learning_rate_decay = pick(rng, &[0.001, 0.9, 1.0]);
    optimizer.decay_every = pick(rng, &[DecayEvery::Epoch, DecayEvery::Minibatch]);
    optimizer.weight_fraction_bits = pick(rng, &[20, 20, 18, 10, 1, 0]);
    optimizer.weight_rounding = pick(rng, &[WeightRounding::Nearest, WeightRounding::Stochastic]);
    let silent = &mut experiment.silent_neurons;
    silent.label_bump = pick(rng, &[0.0, 0.02, 0.02, 4.8e-7, 8.0]);
    silent.hidden_bump = pick(rng, &[0.0, 0.02, 0.02, 4.8e-7, 8.0]);
    experiment.training.batch = pick(rng, &[1, 5, 8, 22, 65_535]);
}

fn chip(rng: &mut fastrand::Rng, experiment: &mut Experiment, dims: &[usize]) {
    let backend = &mut experiment.backend;
    backend.threads = Some(pick(rng, &[1, 1, 2, 5]));
    backend.delivery_seed = rng.u64(0..1000);
    backend.routing = pick(rng, &[Routing::Router, Routing::Direct]);
    if rng.u32(0..3) == 0 {
        let mut most = |neurons: usize| neurons.min(pick(&mut *rng, &[2, 3, 14])) as u32;
        let pes: Vec<u32> = dims[1..].iter().map(|&neurons| most(neurons)).collect();
        backend.layer_pes = pes.iter().map(|&most| rng.u32(1..=most)).collect();
    }
    let pes: u32 = match backend.layer_pes.as_slice() {
        [] => dims.len() as u32 - 1,
        pes => pes.iter().sum(),
    };
    let most = 147 / (2 + pes);
    backend.replicas = pick(rng, &[1, 2, 3, 7, 36]).min(most);
}

fn samples(rng: &mut fastrand::Rng, most: usize, width: usize, classes: usize) -> Dataset {
    let count = rng.usize(1..=most);
    // Features at the ends of their range, all alike, or anywhere.
    let kind = rng.u32(0..4);
    let mut feature = || match kind {
        0 => pick(rng, &[0.0, 1.0]),
        1 => 0.5,
        _ => rng.f64(),
    };
    let features = (0..count * width).map(|_| feature()).collect();
    Dataset {
        features,
        width,
        labels: (0..count).map(|_| rng.usize(0..classes) as u8).collect(),
        classes,
        names: (0..width).map(|n| format!("x{n}")).collect(),
    }
}

impl Case {
    /// The case on another backend.
    #[must_use]
    pub fn on(&self, change: impl Fn(&mut host_tools::experiment::Backend)) -> Self {
        let mut case = self.clone();
        change(&mut case.experiment.backend);
        case
    }

    /// The case with no more samples of a kind than that.
    #[must_use]
    pub fn shortened(&self, most: usize) -> Self {
        let mut case = self.clone();
        for set in [
            &mut case.sets.train,
            &mut case.sets.validation,
            &mut case.sets.test,
        ] {
            set.labels.truncate(most);
            set.features.truncate(most * set.width);
        }
        case
    }

    /// Encoded training, validation and test samples.
    fn setup(&self) -> Setup {
        let encode = |set| encode::encode(set, &self.experiment);
        Setup {
            experiment: self.experiment.clone(),
            dims: self.dims.clone(),
            sets: EncodedSets {
                train: encode(&self.sets.train),
                validation: encode(&self.sets.validation),
                test: encode(&self.sets.test),
            },
        }
    }

    /// All that must be the same on every backend, as text: weights, gradients, the optimiser's state, counts,
    /// spikes, predictions, after training, evaluation, and a look at a sample that no data set holds.
    ///
    /// # Errors
    /// What does not fit the backend.
    pub fn outcome(&self) -> Result<String> {
        let setup = self.setup();
        let sets = setup.sets.clone();
        let mut backend: Box<dyn Backend> = match self.experiment.backend.kind {
            // Every packet may be late.
            BackendKind::Mock => Box::new(Mock::with_chip(setup, mock::Config::default())?),
            _ => backend::build(setup)?,
        };
        let backend = backend.as_mut();
        backend.set_weights(&self.initial_weights())?;
        let train = self.sets.train.len();
        let mut tallies = Vec::new();
        for epoch in 0..2 {
            let order = shuffled(self.experiment.seed, epoch, train);
            tallies.push(backend.train(&order, self.experiment.training.batch)?);
        }
        tallies.push(backend.evaluate(Split::Validation, 0..self.sets.validation.len())?);
        // All channels at once, and in the order of time whatever the encoding.
        let everywhere = Dataset {
            features: vec![0.5; self.sets.test.width],
            labels: vec![0],
            ..self.sets.test.clone()
        };
        let everywhere = encode::encode(&everywhere, &self.experiment);
        let records = [
            backend.record(&sets.test[0])?,
            backend.record(&everywhere[0])?,
        ];
        let predictions = backend.predict(&sets.test)?;
        let counters = backend::Counters {
            packets: backend::Packets::default(),
            ..backend.counters()?
        };
        Ok(format!(
            "{counters:?}\n{tallies:?}\n{predictions:?}\n{records:?}\n{:?}\n{:?}\n{:?}",
            backend.gradients()?,
            backend.weights()?,
            // Not a number, which an optimiser at the ends of its ranges may come to, is alike as text.
            backend.optimizer_state()?,
        ))
    }

    fn initial_weights(&self) -> Vec<backend::LayerWeights> {
        let distributions = &self.experiment.network.initial_weights;
        training::initial_weights(self.experiment.seed, &self.dims, distributions)
    }
}

/// Number of experiments: that of the environment variable `RANDOM_EXPERIMENTS`, or the usual one.
///
/// # Panics
/// If the variable is no number.
pub fn count(usual: u64) -> u64 {
    match std::env::var("RANDOM_EXPERIMENTS") {
        Ok(number) => number.parse().expect("RANDOM_EXPERIMENTS is a number"),
        Err(_) => usual,
    }
}

/// Runs cases on this process and on another backend, and compares; cases that do not fit the other backend
/// are left out, if the error names a key to change. Returns how many were compared.
///
/// # Panics
/// If any bit differs, or an error says nothing of what to do.
pub fn compare(cases: impl IntoIterator<Item = u64>, other: impl Fn(&Case) -> Case) -> u64 {
    let mut compared = 0;
    for number in cases {
        let case = case(number);
        let about = |what: &str| {
            format!(
                "experiment {number}, {what}:\n{}",
                case.experiment.to_toml()
            )
        };
        let other = other(&case);
        let direct = other.on(|backend| backend.kind = BackendKind::Direct);
        let want = direct
            .outcome()
            .unwrap_or_else(|error| panic!("{}\n{error}", about("in this process")));
        match other.outcome() {
            Ok(got) => {
                if got != want {
                    let lines = got.lines().zip(want.lines());
                    let names = [
                        "counters",
                        "tallies",
                        "predictions",
                        "spikes",
                        "gradients",
                        "weights",
                        "optimiser",
                    ];
                    let differ: Vec<_> = lines
                        .zip(names)
                        .filter(|((a, b), _)| a != b)
                        .map(|(_, name)| name)
                        .collect();
                    panic!("{} {differ:?}", about("other bits"));
                }
                compared += 1;
            }
            Err(error) => {
                let text = error.to_string();
                let named = ["network.", "backend.", "dataset"]
                    .iter()
                    .any(|key| text.contains(key));
                assert!(named, "{}\n{text}", about("an error without a remedy"));
                eprintln!(
                    "experiment {number} does not fit: {}",
                    text.lines().next().unwrap_or("")
                );
            }
        }
    }
    compared
}
