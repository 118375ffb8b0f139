//! The experiment: one TOML file that says what is trained, how, and on what.
//!
//! Every key has a default, so that an empty file is an experiment; the defaults of the two schemes
//! differ. [`Experiment::to_toml`] writes all keys with their meaning. A wrong key or value is
//! reported with its line and column.
//!
//! # Examples
//!
//! ```
//! use host_tools::experiment::{Experiment, Scheme};
//!
//! let experiment = Experiment::parse("[network]\nhidden = [64, 32]\n", "example.toml".as_ref(), &[])?;
//! assert_eq!(experiment.network.scheme, Scheme::Exact);
//! assert_eq!(experiment.network.hidden, [64, 32]);
//!
//! let error = Experiment::parse("[network]\nhiden = [64]\n", "example.toml".as_ref(), &[]).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "example.toml:2:1: unknown key `hiden` in [network]\n  hint: did you mean `hidden`?"
//! );
//! # Ok::<(), host_tools::error::Error>(())
//! ```

mod fields;
mod source;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use eventprop_core::loss::{LATEST, LossError, Silence, TimeToFirstSpike};
use eventprop_core::neuron::MAX_SPIKES_PER_STEP;
use eventprop_core::numeric;
use eventprop_core::tables::MAX_TICK_BITS;
use sha2::{Digest, Sha256};

use crate::backend::WEIGHT_FRACTION_BITS;
use crate::error::{Error, Result};
use crate::time;
use fields::{Choice, Visitor, Writer};

pub use source::Override;

/// Declares an enum whose variants have names in the experiment file.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// All names, as in the experiment file.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The name, as in the experiment file.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl Choice for $name {
            const NAMES: &'static [&'static str] = Self::NAMES;

            fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn name(self) -> &'static str {
                self.name()
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

choice! {
    /// How time is made discrete.
    Scheme {
        /// Exact integration over a step; spikes carry their time within the step.
        Exact = "exact",
        /// Spikes only at whole steps, as in the published on-chip implementation.
        Grid = "grid",
    }
}

choice! {
    /// Where samples come from.
    DatasetKind {
        /// The generated Yin-Yang set.
        YinYang = "yin-yang",
        /// Comma-separated text: a header, feature columns, a last column `label`.
        Csv = "csv",
        /// NumPy archives with the arrays `features` and `labels`.
        Npz = "npz",
    }
}

choice! {
    /// How a feature between 0 and 1 becomes the time of a spike.
    EncodingKind {
        /// Small values spike early.
        Latency = "latency",
        /// Large values spike early.
        Linear = "linear",
    }
}

choice! {
    /// What an output that does not spike counts as in the loss.
    SilentOutputs {
        /// It is left out of the softmax.
        Excluded = "excluded",
        /// It counts as spiking when the sample ends.
        AtEnd = "at-end",
    }
}

choice! {
    /// What happens with a sample whose label's output stayed silent.
    SilentLabel {
        /// No error is sent back for the sample.
        Skip = "skip",
        /// Errors are sent to the other outputs.
        Send = "send",
    }
}

choice! {
    /// The rule that turns gradients into weight changes.
    OptimizerKind {
        /// Adaptive moment estimation.
        Adam = "adam",
        /// Stochastic gradient descent with momentum.
        Sgd = "sgd",
    }
}

choice! {
    /// How often the learning rate shrinks.
    DecayEvery {
        /// By the whole factor after each epoch.
        Epoch = "epoch",
        /// By the factor's root after each minibatch, so that an epoch makes the whole factor.
        Minibatch = "minibatch",
    }
}

choice! {
    /// How weights are rounded to the bits that they are kept in.
    WeightRounding {
        /// To the nearest value.
        Nearest = "nearest",
        /// Up or down at random, so that the mean is kept.
        Stochastic = "stochastic",
    }
}

choice! {
    /// Which weights are the result.
    Select {
        /// Those of the epoch with the best validation accuracy.
        BestValidation = "best-validation",
        /// Those after the last minibatch.
        Last = "last",
    }
}

choice! {
    /// What executes the network.
    BackendKind {
        /// This process, without packets.
        Direct = "direct",
        /// The four on-chip programs on a model of the chip.
        Mock = "mock",
        /// Their firmware on emulated processing elements; needs the feature `emulated`.
        Emulated = "emulated",
        /// The same firmware on a board.
        Board = "board",
    }
}

choice! {
    /// How packets find their way on the chip.
    Routing {
        /// Through the routers' tables.
        Router = "router",
        /// By a list of destinations at the sender.
        Direct = "direct",
    }
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Kind of source.
    pub kind: DatasetKind,
    /// Yin-Yang: seed of the training samples.
    pub train_seed: u32,
    /// Yin-Yang: number of training samples.
    pub train_size: usize,
    /// Yin-Yang: seed of the validation samples.
    pub validation_seed: u32,
    /// Yin-Yang: number of validation samples.
    pub validation_size: usize,
    /// Yin-Yang: seed of the test samples.
    pub test_seed: u32,
    /// Yin-Yang: number of test samples.
    pub test_size: usize,
    /// Files: training samples.
    pub train: PathBuf,
    /// Files: validation samples.
    pub validation: PathBuf,
    /// Files: test samples.
    pub test: PathBuf,
}

/// How features become input spikes.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// Kind of encoding.
    pub kind: EncodingKind,
    /// Earliest spike, in milliseconds.
    pub first_ms: f64,
    /// Latest spike, in milliseconds.
    pub last_ms: f64,
    /// Spike of one more channel behind the features', in milliseconds; `None`: no such channel.
    pub bias_ms: Option<f64>,
}

/// Mean and standard deviation of the normal distribution that initial weights are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InitialWeights {
    /// Mean, dimensionless (the threshold is 1).
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

/// The network and its discretisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// How time is made discrete.
    pub scheme: Scheme,
    /// Neurons of each hidden layer.
    pub hidden: Vec<usize>,
    /// Membrane time constant in milliseconds.
    pub tau_membrane_ms: f64,
    /// Synaptic time constant in milliseconds.
    pub tau_synapse_ms: f64,
    /// Length of a step in milliseconds.
    pub step_ms: f64,
    /// Steps per sample.
    pub steps: u32,
    /// A step has `2^tick_bits` ticks; 0 in the `grid` scheme.
    pub tick_bits: u32,
    /// Most spikes that one neuron may emit in one step.
    pub spikes_per_step: u32,
    /// Smallest divisor of the backward pass (current minus threshold at a spike).
    pub slope_floor: f64,
    /// Distribution of the initial weights of each weight layer. May be shorter than the network is
    /// deep until [`Experiment::resolve`] has filled it.
    pub initial_weights: Vec<InitialWeights>,
}

/// Time-to-first-spike cross-entropy.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Time scale of the softmax over first spikes, in milliseconds.
    pub tau0_ms: f64,
    /// Time scale of the term that asks for early spikes, in milliseconds.
    pub tau1_ms: f64,
    /// Weight of that term.
    pub alpha: f64,
    /// What an output that does not spike counts as.
    pub silent_outputs: SilentOutputs,
    /// What happens with a sample whose label's output stayed silent.
    pub silent_label: SilentLabel,
}

/// The optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    /// Kind of optimiser.
    pub kind: OptimizerKind,
    /// Learning rate of the first minibatch.
    pub learning_rate: f64,
    /// Adam: decay of the first moment.
    pub beta1: f64,
    /// Adam: decay of the second moment.
    pub beta2: f64,
    /// Adam: added to the root of the second moment.
    pub epsilon: f64,
    /// SGD: momentum.
    pub momentum: f64,
    /// Times the weight, added to its gradient.
    pub weight_decay: f64,
    /// The learning rate is multiplied by this over an epoch.
    pub learning_rate_decay: f64,
    /// How often the learning rate shrinks.
    pub decay_every: DecayEvery,
    /// Fraction bits that a weight keeps after an update, of [`WEIGHT_FRACTION_BITS`].
    pub weight_fraction_bits: u32,
    /// How weights are rounded to that.
    pub weight_rounding: WeightRounding,
}

/// The remedy for neurons that do not spike, and therefore have no gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct SilentNeurons {
    /// Added to all incoming weights of an output neuron after a minibatch, times the fraction of
    /// the minibatch in which it was the label's output and silent.
    pub label_bump: f64,
    /// Added to all incoming weights of a hidden neuron that was silent in the whole minibatch.
    pub hidden_bump: f64,
}

/// How long, and which weights count.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Passes over the training samples.
    pub epochs: u32,
    /// Samples per minibatch.
    pub batch: usize,
    /// End after so many minibatches in all; `None`: no limit.
    pub minibatches: Option<u64>,
    /// Which weights are the result.
    pub select: Select,
}

/// What executes the network. Nothing here changes a bit of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Kind of backend.
    pub kind: BackendKind,
    /// Copies of the network that share a minibatch.
    pub replicas: u32,
    /// Threads of this process, for the backend `direct`; `None`: one per processor core.
    pub threads: Option<u32>,
    /// Seed of the order in which packets are delivered.
    pub delivery_seed: u64,
    /// Processing elements of each neuron layer (hidden layers, output); empty: as few as fit.
    pub layer_pes: Vec<u32>,
    /// How packets find their way.
    pub routing: Routing,
    /// Folder of the firmware images, for the backends `emulated` and `board`.
    pub firmware: PathBuf,
    /// Where the board is, for the backend `board`: a serial port or `udp:HOST:PORT`.
    pub port: Option<String>,
    /// Bits per second of a serial port.
    pub baud: u32,
}

impl Backend {
    /// Threads that train: as asked for, else one per processor core. The model of the chip and the
    /// emulator run on one thread, whatever was asked for.
    pub fn thread_count(&self) -> usize {
        if self.kind != BackendKind::Direct {
            return 1;
        }
        self.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, usize::from),
            |threads| threads as usize,
        )
    }
}

/// Epochs of the default experiment.
const DEFAULT_EPOCHS: u32 = 30;
/// Replicas of the default experiment: as many as one chip has room for at four PEs each.
const DEFAULT_REPLICAS: u32 = 36;
/// Bits per second of a serial port, if nothing else is said.
pub const DEFAULT_BAUD: u32 = 115_200;

/// One experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Seed of the initial weights and of the order of samples.
    pub seed: u64,
    /// Where samples come from.
    pub dataset: Dataset,
    /// How features become input spikes.
    pub encoding: Encoding,
    /// The network and its discretisation.
    pub network: Network,
    /// The loss.
    pub loss: Loss,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The remedy for silent neurons.
    pub silent_neurons: SilentNeurons,
    /// How long, and which weights count.
    pub training: Training,
    /// What executes the network.
    pub backend: Backend,
}

impl Default for Experiment {
    fn default() -> Self {
        Self::default_for(Scheme::Exact)
    }
}

impl Experiment {
    /// The Yin-Yang experiment with the settings that suit the scheme.
    pub fn default_for(scheme: Scheme) -> Self {
        let exact = Self {
            seed: 1,
            dataset: Dataset {
                kind: DatasetKind::YinYang,
                train_seed: 42,
                train_size: 5000,
                validation_seed: 41,
                validation_size: 1000,
                test_seed: 40,
                test_size: 1000,
                train: PathBuf::new(),
                validation: PathBuf::new(),
                test: PathBuf::new(),
            },
            encoding: Encoding {
                kind: EncodingKind::Latency,
                first_ms: 0.0,
                last_ms: 30.0,
                bias_ms: Some(0.0),
            },
            network: Network {
                scheme,
                hidden: vec![200],
                tau_membrane_ms: 20.0,
                tau_synapse_ms: 5.0,
                step_ms: 1.0,
                steps: 40,
                tick_bits: 8,
                spikes_per_step: 4,
                slope_floor: 0.02,
                initial_weights: Vec::new(),
            },
            loss: Loss {
                tau0_ms: 0.5,
                tau1_ms: 6.4,
                alpha: 0.003,
                silent_outputs: SilentOutputs::Excluded,
                silent_label: SilentLabel::Skip,
            },
            optimizer: Optimizer {
                kind: OptimizerKind::Adam,
                learning_rate: 0.005,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                momentum: 0.9,
                weight_decay: 0.0,
                learning_rate_decay: 0.9,
                decay_every: DecayEvery::Epoch,
                weight_fraction_bits: WEIGHT_FRACTION_BITS,
                weight_rounding: WeightRounding::Nearest,
            },
            silent_neurons: SilentNeurons {
                label_bump: 0.02,
                hidden_bump: 0.02,
            },
            training: Training {
                epochs: DEFAULT_EPOCHS,
                batch: 32,
                minibatches: None,
                select: Select::BestValidation,
            },
            backend: Backend {
                kind: BackendKind::Mock,
                replicas: DEFAULT_REPLICAS,
                threads: None,
                delivery_seed: 0,
                layer_pes: Vec::new(),
                routing: Routing::Router,
                firmware: PathBuf::from("target/thumbv7em-none-eabihf/firmware"),
                port: None,
                baud: DEFAULT_BAUD,
            },
        };
        match scheme {
            Scheme::Exact => exact,
            // The published network. Its authors' gradients are a thousandth of those here (their
            // time constants are in seconds), so the weight decay, which acts at the gradients' scale,
            // is a thousand times theirs. Learning rate, epsilon and initial output weights are those
            // of a study (docs/results.md): with the published ones some seeds end in a bad optimum.
            Scheme::Grid => Self {
                encoding: Encoding {
                    kind: EncodingKind::Linear,
                    first_ms: 2.0,
                    last_ms: 26.0,
                    bias_ms: Some(0.0),
                },
                network: Network {
                    hidden: vec![120],
                    steps: 27,
                    tick_bits: 0,
                    ..exact.network
                },
                loss: Loss {
                    tau0_ms: 1.5,
                    tau1_ms: 100.0,
                    alpha: 0.01,
                    silent_outputs: SilentOutputs::AtEnd,
                    silent_label: SilentLabel::Skip,
                },
                optimizer: Optimizer {
                    weight_decay: 6.5e-4,
                    learning_rate_decay: 0.95,
                    decay_every: DecayEvery::Minibatch,
                    ..exact.optimizer
                },
                // Smaller than in `exact`: the last epochs were better in a small study.
                silent_neurons: SilentNeurons {
                    label_bump: 0.005,
                    hidden_bump: 0.005,
                },
                training: Training {
                    batch: 22,
                    epochs: 40,
                    ..exact.training
                },
                ..exact
            },
        }
    }

    /// Reads the experiment file at `path` (`None`: all defaults), with command-line flags over it.
    ///
    /// Relative paths of data files are taken from the experiment file's folder and made absolute.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML, or holds an unknown key or an impossible value:
    /// with line and column, or with the flag's name.
    pub fn load(path: Option<&Path>, overrides: &[Override]) -> Result<Self> {
        match path {
            None => Self::parse("", Path::new("experiment.toml"), overrides),
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
                let text = String::from_utf8(bytes).map_err(|_| {
                    Error::new("not a text file in UTF-8")
                        .at(path.display().to_string())
                        .hint("an experiment file is TOML; `eventprop train` without a file uses the defaults")
                })?;
                Self::parse(&text, path, overrides)
            }
        }
    }

    /// As [`load`](Self::load), with the file's text given; `path` is for messages and for the
    /// place of data files.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path, overrides: &[Override]) -> Result<Self> {
        let mut reader = source::Reader::new(text, path, overrides)?;
        let mut scheme = Scheme::Exact;
        reader.peek("network.scheme", &mut scheme)?;
        let mut experiment = Self::default_for(scheme);
        experiment.visit(&mut reader)?;
        reader.finish()?;

        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [
            &mut experiment.dataset.train,
            &mut experiment.dataset.validation,
            &mut experiment.dataset.test,
        ] {
            if !file.as_os_str().is_empty() {
                *file = std::path::absolute(folder.join(&*file))
                    .map_err(|error| Error::io("find", file, &error))?;
            }
        }

        experiment.find_problem().map_or(Ok(()), |problem| {
            Err(reader.locate(problem.key, problem.error))
        })?;
        Ok(experiment)
    }

    /// Adds file and line, or the flag, to an error whose place is a key, as those are that come up when
    /// an experiment is placed on a chip. `path` and `overrides` are those that it was
    /// [loaded](Self::load) from.
    #[must_use]
    pub fn locate(path: Option<&Path>, overrides: &[Override], error: Error) -> Error {
        let text = path.map_or(Ok(String::new()), std::fs::read_to_string);
        let name = path.unwrap_or(Path::new(""));
        let reader = text.map(|text| source::Reader::new(&text, name, overrides));
        match (error.place().map(str::to_owned), reader) {
            (Some(key), Ok(Ok(reader))) => match reader.place(&key) {
                Some(place) => error.moved(format!("{place}: {key}")),
                None => error,
            },
            _ => error,
        }
    }

    /// Checks every value against its range, and those that depend on each other.
    ///
    /// # Errors
    /// The first wrong value, with its key and the allowed range.
    pub fn check(&self) -> Result<()> {
        self.find_problem()
            .map_or(Ok(()), |problem| Err(problem.error.at("experiment")))
    }

    /// Neurons per layer (input channels, hidden layers, outputs) for a data set with that many
    /// features and classes.
    pub fn dims(&self, features: usize, classes: usize) -> Vec<usize> {
        let inputs = features + usize::from(self.encoding.bias_ms.is_some());
        let mut dims = vec![inputs];
        dims.extend(&self.network.hidden);
        dims.push(classes);
        dims
    }

    /// Fills in what depends on the data set: the distributions of initial weights that the file
    /// does not give.
    pub fn resolve(&mut self, dims: &[usize]) {
        let given = self.network.initial_weights.len();
        let layers = dims.len().saturating_sub(1);
        let scheme = self.network.scheme;
        let missing = dims.iter().take(layers).enumerate().skip(given);
        self.network.initial_weights.extend(
            missing.map(|(layer, &inputs)| default_initial_weights(scheme, layer, layers, inputs)),
        );
    }

    /// The experiment as a file: every key, its value, and what it means.
    pub fn to_toml(&self) -> String {
        let mut writer = Writer::default();
        self.clone()
            .visit(&mut writer)
            .expect("writing to a string cannot fail");
        writer.finish()
    }

    /// What differs from the scheme's defaults, as `key = value`. Left out are seed, scheme, hidden
    /// layers and epochs, which name a run, and the backend, which changes nothing.
    pub fn settings(&self) -> Vec<String> {
        let mut usual = Self::default_for(self.network.scheme);
        usual.seed = self.seed;
        usual.network.hidden.clone_from(&self.network.hidden);
        usual.training.epochs = self.training.epochs;
        usual.backend.clone_from(&self.backend);
        let usual = usual.to_toml();
        self.to_toml()
            .lines()
            .filter(|line| !usual.lines().any(|usual| usual == *line))
            .filter_map(|line| line.split(" # ").next())
            .map(|setting| setting.trim_end().to_owned())
            .collect()
    }

    /// SHA-256 of all that decides the bits of the weights: everything but the backend, the number
    /// of epochs and minibatches, and which weights are selected.
    pub fn identity(&self) -> [u8; 32] {
        let defaults = Self::default_for(self.network.scheme);
        let normal = Self {
            training: Training {
                batch: self.training.batch,
                ..defaults.training
            },
            backend: defaults.backend,
            ..self.clone()
        };
        Sha256::digest(normal.to_toml().as_bytes()).into()
    }

    /// Shows every key to the visitor, in the order of the file. This is the one list of keys: the
    /// reader and the writer both follow it.
    fn visit(&mut self, v: &mut impl Visitor) -> Result<()> {
        v.field(
            "seed",
            "initial weights and order of samples",
            &mut self.seed,
        )?;

        v.section("dataset", "Where samples come from.")?;
        let d = &mut self.dataset;
        v.field("kind", "\"yin-yang\", \"csv\" or \"npz\"", &mut d.kind)?;
        match d.kind {
            DatasetKind::YinYang => {
                v.field(
                    "train_seed",
                    "42, 41 and 40 make the canonical sets",
                    &mut d.train_seed,
                )?;
                v.field("train_size", "", &mut d.train_size)?;
                v.field("validation_seed", "", &mut d.validation_seed)?;
                v.field("validation_size", "", &mut d.validation_size)?;
                v.field("test_seed", "", &mut d.test_seed)?;
                v.field("test_size", "", &mut d.test_size)?;
            }
            DatasetKind::Csv | DatasetKind::Npz => {
                v.field("train", "path, from this file's folder", &mut d.train)?;
                v.field("validation", "", &mut d.validation)?;
                v.field("test", "", &mut d.test)?;
            }
        }

        v.section(
            "encoding",
            "How a feature x between 0 and 1 becomes the time of a spike.",
        )?;
        let e = &mut self.encoding;
        v.field(
            "kind",
            "\"latency\" (small x early) or \"linear\" (large x early)",
            &mut e.kind,
        )?;
        v.field("first_ms", "earliest spike", &mut e.first_ms)?;
        v.field("last_ms", "latest spike", &mut e.last_ms)?;
        v.field_or(
            "bias_ms",
            "none",
            "spike of one more channel, or \"none\"",
            &mut e.bias_ms,
        )?;

        v.section("network", "The network and its discretisation of time.")?;
        let n = &mut self.network;
        v.field(
            "scheme",
            "\"exact\" (spikes between steps) or \"grid\" (at steps)",
            &mut n.scheme,
        )?;
        v.field("hidden", "neurons of each hidden layer", &mut n.hidden)?;
        v.field(
            "tau_membrane_ms",
            "membrane time constant",
            &mut n.tau_membrane_ms,
        )?;
        v.field(
            "tau_synapse_ms",
            "synaptic time constant",
            &mut n.tau_synapse_ms,
        )?;
        v.field("step_ms", "length of a step", &mut n.step_ms)?;
        v.field("steps", "steps per sample", &mut n.steps)?;
        v.field(
            "tick_bits",
            "2^tick_bits ticks per step; 0 for \"grid\"",
            &mut n.tick_bits,
        )?;
        v.field(
            "spikes_per_step",
            "most spikes of one neuron in one step",
            &mut n.spikes_per_step,
        )?;
        v.field(
            "slope_floor",
            "smallest divisor of the backward pass",
            &mut n.slope_floor,
        )?;
        v.field(
            "initial_weights",
            "normal distribution per weight layer; layers left out follow from their size",
            &mut n.initial_weights,
        )?;

        v.section("loss", "Time-to-first-spike cross-entropy.")?;
        let l = &mut self.loss;
        v.field(
            "tau0_ms",
            "time scale of the softmax over first spikes",
            &mut l.tau0_ms,
        )?;
        v.field(
            "tau1_ms",
            "time scale of the term that asks for early spikes",
            &mut l.tau1_ms,
        )?;
        v.field("alpha", "weight of that term", &mut l.alpha)?;
        v.field(
            "silent_outputs",
            "in the softmax: \"excluded\" or \"at-end\"",
            &mut l.silent_outputs,
        )?;
        v.field(
            "silent_label",
            "errors if the label's output is silent: \"skip\" or \"send\"",
            &mut l.silent_label,
        )?;

        v.section(
            "optimizer",
            "How gradients change weights, once per minibatch.",
        )?;
        let o = &mut self.optimizer;
        v.field("kind", "\"adam\" or \"sgd\"", &mut o.kind)?;
        v.field(
            "learning_rate",
            "of the first minibatch",
            &mut o.learning_rate,
        )?;
        match o.kind {
            OptimizerKind::Adam => {
                v.field("beta1", "decay of the first moment", &mut o.beta1)?;
                v.field("beta2", "decay of the second moment", &mut o.beta2)?;
                v.field(
                    "epsilon",
                    "added to the root of the second moment",
                    &mut o.epsilon,
                )?;
            }
            OptimizerKind::Sgd => {
                v.field("momentum", "", &mut o.momentum)?;
            }
        }
        v.field(
            "weight_decay",
            "times the weight, added to its gradient",
            &mut o.weight_decay,
        )?;
        v.field(
            "learning_rate_decay",
            "factor over one epoch",
            &mut o.learning_rate_decay,
        )?;
        v.field(
            "decay_every",
            "\"epoch\", or \"minibatch\" for the factor's root each time",
            &mut o.decay_every,
        )?;
        v.field(
            "weight_fraction_bits",
            "that a weight keeps after an update; 20: all, 18: weights of 24 bits",
            &mut o.weight_fraction_bits,
        )?;
        v.field(
            "weight_rounding",
            "to fewer bits: \"nearest\" or \"stochastic\"",
            &mut o.weight_rounding,
        )?;

        v.section(
            "silent_neurons",
            "Neurons that do not spike have no gradient; raise their incoming weights.",
        )?;
        let s = &mut self.silent_neurons;
        v.field(
            "label_bump",
            "label's output: times its silent fraction of the minibatch",
            &mut s.label_bump,
        )?;
        v.field(
            "hidden_bump",
            "hidden neuron silent in the whole minibatch",
            &mut s.hidden_bump,
        )?;

        v.section("training", "How long, and which weights are the result.")?;
        let t = &mut self.training;
        v.field("epochs", "passes over the training samples", &mut t.epochs)?;
        v.field("batch", "samples per minibatch", &mut t.batch)?;
        v.field_or(
            "minibatches",
            "all",
            "end after so many minibatches, or \"all\"",
            &mut t.minibatches,
        )?;
        v.field("select", "\"best-validation\" or \"last\"", &mut t.select)?;

        v.section(
            "backend",
            "What executes the network. Nothing here changes a bit of the result.",
        )?;
        let b = &mut self.backend;
        v.field(
            "kind",
            "\"direct\" (this process), \"mock\" (model of the chip), \"emulated\" (firmware) or \"board\"",
            &mut b.kind,
        )?;
        v.field(
            "replicas",
            "copies of the network that share a minibatch",
            &mut b.replicas,
        )?;
        v.field_or(
            "threads",
            "auto",
            "a number, or \"auto\": one per processor core",
            &mut b.threads,
        )?;
        v.field(
            "delivery_seed",
            "order in which packets are delivered",
            &mut b.delivery_seed,
        )?;
        v.field(
            "layer_pes",
            "processing elements per neuron layer; []: as few as fit",
            &mut b.layer_pes,
        )?;
        v.field(
            "routing",
            "\"router\" (tables) or \"direct\" (lists at the sender)",
            &mut b.routing,
        )?;
        v.field(
            "firmware",
            "folder of the images, for \"emulated\" and \"board\"",
            &mut b.firmware,
        )?;
        v.field_or(
            "port",
            "none",
            "of the board: \"/dev/ttyACM0\" or \"udp:127.0.0.1:17893\"",
            &mut b.port,
        )?;
        v.field("baud", "bits per second of a serial port", &mut b.baud)?;
        Ok(())
    }

    /// The loss in fixed point, in ticks of the network.
    ///
    /// # Errors
    /// A constant that its format cannot hold; an experiment that passed its [check](Self::check) has
    /// none.
    pub fn fixed_point_loss(&self) -> Result<TimeToFirstSpike, LossError> {
        let (network, loss) = (&self.network, &self.loss);
        let silence = Silence {
            outputs_at_end: loss.silent_outputs == SilentOutputs::AtEnd,
            send_for_label: loss.silent_label == SilentLabel::Send,
            last_tick_unheard: network.scheme == Scheme::Grid,
        };
        TimeToFirstSpike::new(
            loss.tau0_ms,
            loss.tau1_ms,
            loss.alpha,
            self.tick_ms(),
            network.steps << network.tick_bits,
            silence,
        )
    }

    /// Length of a tick in milliseconds.
    fn tick_ms(&self) -> f64 {
        self.network.step_ms / f64::from(1_u32 << self.network.tick_bits)
    }

    /// Which value of the loss its format cannot hold, and what it can.
    fn loss_problem(&self, error: LossError) -> Problem {
        let loss = &self.loss;
        let (key, message) = match error {
            LossError::Tau0 => {
                // A tick may take less than 255 time scales.
                let least = (1.0 / 128.0_f64).max(self.tick_ms() / 255.0 * (1.0 + f64::EPSILON));
                (
                    "loss.tau0_ms",
                    format!(
                        "loss.tau0_ms is {}; it must be from {} to {MAX_TAU0_MS}, so that the errors \
                         and the times of a tick fit their formats",
                        loss.tau0_ms,
                        rounded_up(least)
                    ),
                )
            }
            LossError::Tau1 => (
                "loss.tau1_ms",
                format!(
                    "loss.tau1_ms is {}; it must be above {}, so that the times of a tick fit their \
                     format",
                    loss.tau1_ms,
                    rounded_up(self.tick_ms() / 255.0)
                ),
            ),
            LossError::Alpha => (
                "loss.alpha",
                format!(
                    "loss.alpha is {}; with tau1_ms = {} it must be below {}, so that alpha / tau1_ms \
                     fits its format",
                    loss.alpha,
                    loss.tau1_ms,
                    0.5 * loss.tau1_ms
                ),
            ),
        };
        Problem::new(key, Error::new(message))
    }

    /// The first value out of its range.
    fn find_problem(&self) -> Option<Problem> {
        self.check_values().err()
    }

    fn check_values(&self) -> Result<(), Problem> {
        let d = &self.dataset;
        match d.kind {
            DatasetKind::YinYang => {
                within("dataset.train_size", d.train_size, 1..=10_000_000)?;
                within("dataset.validation_size", d.validation_size, 1..=10_000_000)?;
                within("dataset.test_size", d.test_size, 1..=10_000_000)?;
            }
            DatasetKind::Csv | DatasetKind::Npz => {
                for (key, path) in [
                    ("dataset.train", &d.train),
                    ("dataset.validation", &d.validation),
                    ("dataset.test", &d.test),
                ] {
                    if path.as_os_str().is_empty() {
                        let message = format!("{key} is missing; kind \"{}\" needs a path", d.kind);
                        return Err(Problem::new(key, Error::new(message)));
                    }
                }
            }
        }

        let n = &self.network;
        within(
            "the number of layers in network.hidden",
            n.hidden.len(),
            0..=16,
        )
        .map_err(|problem| problem.under("network.hidden"))?;
        for &neurons in &n.hidden {
            within("a layer of network.hidden", neurons, 1..=4095)
                .map_err(|problem| problem.under("network.hidden"))?;
        }
        within(
            "network.tau_membrane_ms",
            n.tau_membrane_ms,
            0.01..=10_000.0,
        )?;
        within("network.tau_synapse_ms", n.tau_synapse_ms, 0.01..=10_000.0)?;
        within("network.step_ms", n.step_ms, 0.001..=1000.0)?;
        let (smaller_name, smaller) = if n.tau_synapse_ms <= n.tau_membrane_ms {
            ("tau_synapse_ms", n.tau_synapse_ms)
        } else {
            ("tau_membrane_ms", n.tau_membrane_ms)
        };
        let longest = std::f64::consts::LN_2 * smaller;
        if n.step_ms > longest {
            return Err(Problem::new(
                "network.step_ms",
                Error::new(format!(
                    "network.step_ms is {}; with {smaller_name} = {smaller} at most {} is allowed, so \
                     that nothing decays by more than half in a step",
                    n.step_ms,
                    rounded_down(longest)
                )),
            ));
        }
        within("network.steps", n.steps, 1..=2047)?;
        match n.scheme {
            Scheme::Exact => within("network.tick_bits", n.tick_bits, 0..=MAX_TICK_BITS)?,
            Scheme::Grid if n.tick_bits != 0 => {
                return Err(Problem::new(
                    "network.tick_bits",
                    Error::new(format!(
                        "network.tick_bits is {}; the scheme \"grid\" has no ticks between steps, \
                         so it must be 0",
                        n.tick_bits
                    ))
                    .hint("leave the key out, or take scheme = \"exact\""),
                ));
            }
            Scheme::Grid => {}
        }
        within(
            "network.spikes_per_step",
            n.spikes_per_step,
            1..=MAX_SPIKES_PER_STEP as u32,
        )?;
        within("network.slope_floor", n.slope_floor, 0.0..=1.0)?;
        let weight_layers = n.hidden.len() + 1;
        if n.initial_weights.len() > weight_layers {
            return Err(Problem::new(
                "network.initial_weights",
                Error::new(format!(
                    "network.initial_weights has {} entries; the network has {weight_layers} weight \
                     layers",
                    n.initial_weights.len()
                )),
            ));
        }
        for initial in &n.initial_weights {
            within(
                "a mean of network.initial_weights",
                initial.mean,
                -32.0..=32.0,
            )
            .and_then(|()| within("a std of network.initial_weights", initial.std, 0.0..=32.0))
            .map_err(|problem| problem.under("network.initial_weights"))?;
        }

        let e = &self.encoding;
        // In the grid scheme a spike in the last step has no effect any more, but it is legal.
        let end = f64::from(match n.scheme {
            Scheme::Exact => n.steps,
            Scheme::Grid => n.steps - 1,
        });
        let in_sample = |key, ms: f64, first_ms: f64| {
            // (A NaN is in no range.)
            if ms >= first_ms && time::steps(ms, n.step_ms) <= end {
                return Ok(());
            }
            let end_ms = time::multiple_ms(end, n.step_ms);
            let error = Error::new(format!(
                "{key} is {ms}; it must be from {first_ms} to {end_ms}"
            ));
            let error = if ms > end_ms {
                error.hint("network.steps and network.step_ms decide how long a sample is")
            } else {
                error
            };
            Err(Problem::new(key, error))
        };
        in_sample("encoding.first_ms", e.first_ms, 0.0)?;
        in_sample("encoding.last_ms", e.last_ms, e.first_ms)?;
        if let Some(bias) = e.bias_ms {
            in_sample("encoding.bias_ms", bias, 0.0)?;
        }

        let l = &self.loss;
        let shortest = f64::from(n.steps) * n.step_ms / LATEST;
        within("loss.tau1_ms", l.tau1_ms, shortest..=100_000.0).map_err(|problem| Problem {
            error: problem.error.hint(format!(
                "the term for early spikes is computed up to {LATEST} times tau1_ms: take fewer steps, or a \
                 larger tau1_ms"
            )),
            ..problem
        })?;
        within("loss.alpha", l.alpha, 0.0..=1.0)?;
        within("loss.tau0_ms", l.tau0_ms, 0.0..=MAX_TAU0_MS)?;
        self.fixed_point_loss()
            .map_err(|error| self.loss_problem(error))?;

        let o = &self.optimizer;
        if o.learning_rate > 0.0 && !(o.learning_rate as f32).is_normal() {
            return Err(Problem::new(
                "optimizer.learning_rate",
                Error::new(format!(
                    "optimizer.learning_rate is {:e}; single precision, which it is used in, has nothing \
                     so small; it must be from 1e-37 to 10",
                    o.learning_rate
                )),
            ));
        }
        if !(o.learning_rate > 0.0 && o.learning_rate <= 10.0) {
            return Err(Problem::new(
                "optimizer.learning_rate",
                Error::new(format!(
                    "optimizer.learning_rate is {}; it must be above 0 and at most 10",
                    o.learning_rate
                )),
            ));
        }
        match o.kind {
            OptimizerKind::Adam => {
                below_one("optimizer.beta1", o.beta1)?;
                below_one("optimizer.beta2", o.beta2)?;
                within("optimizer.epsilon", o.epsilon, 1e-12..=1.0)?;
            }
            OptimizerKind::Sgd => below_one("optimizer.momentum", o.momentum)?,
        }
        within("optimizer.weight_decay", o.weight_decay, 0.0..=1.0)?;
        within(
            "optimizer.learning_rate_decay",
            o.learning_rate_decay,
            0.001..=1.0,
        )?;
        within(
            "optimizer.weight_fraction_bits",
            o.weight_fraction_bits,
            0..=WEIGHT_FRACTION_BITS,
        )?;

        let s = &self.silent_neurons;
        within("silent_neurons.label_bump", s.label_bump, 0.0..=8.0)?;
        within("silent_neurons.hidden_bump", s.hidden_bump, 0.0..=8.0)?;
        for (key, bump) in [
            ("silent_neurons.label_bump", s.label_bump),
            ("silent_neurons.hidden_bump", s.hidden_bump),
        ] {
            if bump > 0.0 && numeric::weight_from_f64(bump) == 0 {
                return Err(Problem::new(
                    key,
                    Error::new(format!(
                        "{key} is {bump:e}; a weight has no bits so small: it must be 0, or from 4.8e-7 to 8"
                    )),
                ));
            }
        }

        let t = &self.training;
        within("training.epochs", t.epochs, 1..=1_000_000)?;
        within("training.batch", t.batch, 1..=65_535)?;
        if let Some(minibatches) = t.minibatches {
            within("training.minibatches", minibatches, 1..=u64::from(u32::MAX))?;
        }

        let b = &self.backend;
        within("backend.replicas", b.replicas, 1..=65_535)?;
        if let Some(threads) = b.threads {
            within("backend.threads", threads, 1..=1024)?;
        }
        if !b.layer_pes.is_empty() && b.layer_pes.len() != weight_layers {
            return Err(Problem::new(
                "backend.layer_pes",
                Error::new(format!(
                    "backend.layer_pes has {} entries; the network has {weight_layers} neuron layers \
                     (hidden layers and output)",
                    b.layer_pes.len()
                ))
                .hint("leave the list empty to use as few processing elements as fit"),
            ));
        }
        for &pes in &b.layer_pes {
            within("an entry of backend.layer_pes", pes, 1..=152)
                .map_err(|problem| problem.under("backend.layer_pes"))?;
        }
        if b.kind == BackendKind::Board && b.port.is_none() {
            return Err(Problem::new(
                "backend.port",
                Error::new("backend.port is missing; kind \"board\" needs it").hint(
                    "--backend board:/dev/ttyACM0, or port = \"/dev/ttyACM0\"; `eventprop board list` shows the ports",
                ),
            ));
        }
        within("backend.baud", b.baud, 300..=20_000_000)?;
        Ok(())
    }
}

/// Longest time scale of the softmax, in milliseconds.
const MAX_TAU0_MS: f64 = 10_000.0;

/// The distribution for a weight layer whose file gives none: what works for the usual layer sizes,
/// scaled by the number of inputs so that the drive of a neuron stays about the same.
fn default_initial_weights(
    scheme: Scheme,
    layer: usize,
    layers: usize,
    inputs: usize,
) -> InitialWeights {
    let inputs = inputs.max(1) as f64;
    let (mean, std) = match scheme {
        // Of 5 inputs, each spikes once: N(1.5, 0.78), as published.
        Scheme::Exact if layer == 0 => (7.5 / inputs, 0.78 * (5.0 / inputs).sqrt()),
        // With the published N(0.93, 0.1) for 200 hidden neurons, outputs begin with some 17 spikes
        // each per sample, more than the limit of one step allows in places; see docs/results.md.
        Scheme::Exact if layer + 1 == layers => (50.0 / inputs, 20.0 / inputs),
        // Between hidden layers, about the drive of the first one.
        Scheme::Exact => (20.0 / inputs, 2.64 / inputs.sqrt()),
        Scheme::Grid if layer == 0 => (3.2 / inputs.sqrt(), 3.2 / inputs.sqrt()),
        Scheme::Grid if layer + 1 == layers => (30.0 / inputs, 30.0 / inputs),
        Scheme::Grid => (5.2 / inputs.sqrt(), 2.8 / inputs.sqrt()),
    };
    InitialWeights {
        mean: round(mean.min(8.0)),
        std: round(std.min(4.0)),
    }
}

/// Rounds to what reads well in a file; `sqrt` is exact on every platform, so this is too.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A wrong value and the key that it stands under.
struct Problem {
    key: &'static str,
    error: Error,
}

impl Problem {
    fn new(key: &'static str, error: Error) -> Self {
        Self { key, error }
    }

    /// The same problem, found under another key than its text names.
    fn under(self, key: &'static str) -> Self {
        Self { key, ..self }
    }
}

fn within<T: PartialOrd + Display>(
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), Problem> {
    // A NaN is in no range.
    if range.contains(&value) {
        Ok(())
    } else {
        Err(Problem::new(
            key,
            Error::new(format!(
                "{key} is {value}; it must be from {} to {}",
                range.start(),
                range.end()
            )),
        ))
    }
}

fn below_one(key: &'static str, value: f64) -> Result<(), Problem> {
    if !(0.0..1.0).contains(&value) {
        return Err(Problem::new(
            key,
            Error::new(format!(
                "{key} is {value}; it must be at least 0 and below 1"
            )),
        ));
    }
    // The largest single-precision number below 1 is 0.99999994.
    if value as f32 >= 1.0 {
        return Err(Problem::new(
            key,
            Error::new(format!(
                "{key} is {value}; it must be from 0 to 0.9999999: in single precision, which it is \
                 used in, it is 1, and nothing would ever decay"
            )),
        ));
    }
    Ok(())
}

/// A limit with few digits, none above it.
fn rounded_down(limit: f64) -> f64 {
    let unit = 10.0_f64.powi(limit.log10().floor() as i32 - 6);
    let parse = |units: f64| format!("{:.6e}", units * unit).parse().unwrap_or(limit);
    let near: f64 = parse((limit / unit).floor());
    if near <= limit {
        near
    } else {
        parse((limit / unit).floor() - 1.0)
    }
}

/// A limit with few digits, none below it.
fn rounded_up(limit: f64) -> f64 {
    let unit = 10.0_f64.powi(limit.log10().floor() as i32 - 6);
    let parse = |units: f64| format!("{:.6e}", units * unit).parse().unwrap_or(limit);
    let near: f64 = parse((limit / unit).ceil());
    if near >= limit {
        near
    } else {
        parse((limit / unit).ceil() + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Experiment> {
        Experiment::parse(text, Path::new("/data/e.toml"), &[])
    }

    #[test]
    fn a_written_file_reads_back_as_the_same_experiment() {
        for scheme in [Scheme::Exact, Scheme::Grid] {
            let mut experiment = Experiment::default_for(scheme);
            experiment.network.hidden = vec![64, 32];
            let dims = experiment.dims(4, 3);
            assert_eq!(dims, [5, 64, 32, 3]);
            experiment.resolve(&dims);
            experiment.encoding.bias_ms = None;
            experiment.training.minibatches = Some(7);
            experiment.backend.threads = Some(2);
            experiment.backend.layer_pes = vec![3, 2, 1];
            experiment.backend.kind = BackendKind::Board;
            experiment.backend.port = Some("udp:127.0.0.1:17893".into());
            assert_eq!(parse(&experiment.to_toml()).unwrap(), experiment);

            experiment.dataset.kind = DatasetKind::Csv;
            experiment.optimizer.kind = OptimizerKind::Sgd;
            for path in [
                &mut experiment.dataset.train,
                &mut experiment.dataset.validation,
                &mut experiment.dataset.test,
            ] {
                *path = PathBuf::from("/data/some \"odd\" name.csv");
            }
            assert_eq!(parse(&experiment.to_toml()).unwrap(), experiment);
        }
    }

    #[test]
    fn defaults_pass_their_own_check() {
        for scheme in [Scheme::Exact, Scheme::Grid] {
            let mut experiment = Experiment::default_for(scheme);
            experiment.resolve(&experiment.dims(4, 3));
            experiment.check().unwrap();
        }
    }

    #[test]
    fn the_scheme_decides_the_defaults_also_when_a_flag_sets_it() {
        let flag = Override::new("--scheme", "network.scheme", "grid");
        let given = Experiment::parse("seed = 3\n", Path::new("e.toml"), &[flag]).unwrap();
        let expected = Experiment {
            seed: 3,
            ..Experiment::default_for(Scheme::Grid)
        };
        assert_eq!(given, expected);
    }

    #[test]
    fn data_paths_are_taken_from_the_file_s_folder() {
        let text = "[dataset]\nkind = \"csv\"\ntrain = \"a.csv\"\nvalidation = \"/b.csv\"\ntest = \"c.csv\"\n";
        let dataset = parse(text).unwrap().dataset;
        assert_eq!(dataset.train, Path::new("/data/a.csv"));
        assert_eq!(dataset.validation, Path::new("/b.csv"));
    }

    #[test]
    fn wrong_keys_and_values_are_named_with_their_place() {
        let cases: &[(&str, &str)] = &[
            (
                "[network]\nhiden = [5]",
                "/data/e.toml:2:1: unknown key `hiden` in [network]\n  hint: did you mean `hidden`?",
            ),
            (
                "[netwrok]\nhidden = [5]",
                "/data/e.toml:1:2: unknown section [netwrok]\n  hint: did you mean [network]?",
            ),
            (
                "\n learning_rate = 1.0",
                "/data/e.toml:2:2: unknown key `learning_rate`\n  hint: `learning_rate` belongs in [optimizer]",
            ),
            (
                "[training]\nseed = 3",
                "/data/e.toml:2:1: unknown key `seed` in [training]\n  hint: `seed` belongs at the top, before the first section",
            ),
            (
                "[network]\nscheme = \"gird\"",
                "/data/e.toml:2:10: network.scheme must be one of \"exact\", \"grid\"; found \"gird\"\n  hint: did you mean \"grid\"?",
            ),
            (
                "[dataset]\ntrain_seed = 4294967296",
                "/data/e.toml:2:14: dataset.train_seed must be a whole number of at most 4294967295; found 4294967296",
            ),
            (
                "[network]\nhidden = [20, 0]",
                "/data/e.toml:2:10: a layer of network.hidden is 0; it must be from 1 to 4095",
            ),
            (
                "[network]\nhidden = [-1]",
                "/data/e.toml:2:10: network.hidden must be a list, each entry a whole number, not negative; found [-1]",
            ),
            (
                "[network]\ntau_membrane_ms = -20.0",
                "/data/e.toml:2:19: network.tau_membrane_ms is -20; it must be from 0.01 to 10000",
            ),
            (
                "[network]\ntau_synapse_ms = nan",
                "/data/e.toml:2:18: network.tau_synapse_ms is NaN; it must be from 0.01 to 10000",
            ),
            (
                "[network]\nstep_ms = 4",
                "/data/e.toml:2:11: network.step_ms is 4; with tau_synapse_ms = 5 at most 3.465735 is allowed, so that nothing decays by more than half in a step",
            ),
            (
                "[network]\nsteps = 130\n[loss]\ntau1_ms = 6.4",
                "/data/e.toml:4:11: loss.tau1_ms is 6.4; it must be from 6.5 to 100000\n  hint: the term for early spikes is computed up to 20 times tau1_ms: take fewer steps, or a larger tau1_ms",
            ),
            (
                "[network]\nsteps = 2048",
                "/data/e.toml:2:9: network.steps is 2048; it must be from 1 to 2047",
            ),
            (
                "[network]\nscheme = \"grid\"\ntick_bits = 4",
                "/data/e.toml:3:13: network.tick_bits is 4; the scheme \"grid\" has no ticks between steps, so it must be 0\n  hint: leave the key out, or take scheme = \"exact\"",
            ),
            (
                "[optimizer]\nlearning_rate = 0",
                "/data/e.toml:2:17: optimizer.learning_rate is 0; it must be above 0 and at most 10",
            ),
            (
                "[training]\nbatch = 0",
                "/data/e.toml:2:9: training.batch is 0; it must be from 1 to 65535",
            ),
            (
                "[training]\nminibatches = \"some\"",
                "/data/e.toml:2:15: training.minibatches must be a whole number, not negative, or \"all\"; found \"some\"",
            ),
            (
                "[dataset]\nkind = \"csv\"\ntrain = \"a.csv\"\ntest = \"a.csv\"",
                "/data/e.toml: dataset.validation is missing; kind \"csv\" needs a path",
            ),
            (
                "network = 3",
                "/data/e.toml:1:1: `network` must be a section\n  hint: write `[network]` on a line of its own, its keys below",
            ),
            ("seed = 1\nseed = 2", "/data/e.toml:2:1: duplicate key"),
            (
                "[backend]\nlayer_pes = [1]",
                "/data/e.toml:2:13: backend.layer_pes has 1 entries; the network has 2 neuron layers (hidden layers and output)\n  hint: leave the list empty to use as few processing elements as fit",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(&parse(text).unwrap_err().to_string(), message);
        }
    }

    /// A last spike at the very end of the sample, however many steps it has, at lengths of a step that no binary
    /// number is.
    #[test]
    fn times_at_multiples_of_a_step_are_taken() {
        for step_ms in [0.1, 0.3, 0.7, 1.0 / 3.0] {
            for steps in 1..=2047 {
                for scheme in [Scheme::Exact, Scheme::Grid] {
                    let mut experiment = Experiment::default_for(scheme);
                    experiment.network.step_ms = step_ms;
                    experiment.network.steps = steps;
                    experiment.loss.tau1_ms = 10_000.0;
                    let last = steps - u32::from(scheme == Scheme::Grid);
                    // As people write it: 28.8, not 28.799999999999997.
                    let written = format!("{:.10}", f64::from(last) * step_ms);
                    let last_ms: f64 = written.parse().unwrap();
                    experiment.encoding.first_ms = 0.0;
                    experiment.encoding.last_ms = last_ms;
                    experiment
                        .check()
                        .unwrap_or_else(|error| panic!("{steps}: {error}"));
                    let encoder = crate::dataset::encode::Encoder::new(&experiment);
                    let sample = encoder.sample(&[f64::from(scheme == Scheme::Exact)], 0);
                    let event = sample
                        .events
                        .iter()
                        .find(|event| event.channel == 0)
                        .unwrap();
                    let ticks = u32::from(event.step) << experiment.network.tick_bits;
                    let want = last << experiment.network.tick_bits;
                    let latest = match scheme {
                        Scheme::Exact => want,
                        // At most 0.99 of the range.
                        Scheme::Grid => (f64::from(want) * 0.99).round() as u32,
                    };
                    assert!(
                        (ticks + u32::from(event.offset)).abs_diff(latest) <= 1,
                        "{steps}"
                    );
                    // A hundredth of a step later there is no step.
                    experiment.encoding.last_ms = last_ms + 0.01 * step_ms;
                    assert!(experiment.check().is_err(), "{steps} steps of {step_ms}");
                }
            }
        }
    }

    /// Every number at both ends of its range is taken, and what lies beyond is refused with its place and with
    /// what would be right.
    #[test]
    fn every_range_ends_where_its_message_says() {
        // Section, key, what else has to be set, the ends, and values beyond them.
        type Range<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], &'a [&'a str]);
        let ranges: &[Range<'_>] = &[
            (
                "dataset",
                "train_size",
                "",
                &["1", "10000000"],
                &["0", "10000001"],
            ),
            (
                "dataset",
                "validation_size",
                "",
                &["1", "10000000"],
                &["0", "10000001"],
            ),
            (
                "dataset",
                "test_size",
                "",
                &["1", "10000000"],
                &["0", "10000001"],
            ),
            (
                "encoding",
                "first_ms",
                "",
                &["0", "30"],
                &["-0.001", "40.001", "nan"],
            ),
            (
                "encoding",
                "last_ms",
                "",
                &["0", "40"],
                &["-1", "40.001", "nan", "inf"],
            ),
            (
                "encoding",
                "bias_ms",
                "",
                &["0", "40"],
                &["-0.001", "40.001", "nan"],
            ),
            (
                "network",
                "hidden",
                "",
                &["[]", "[1]", "[4095]"],
                &["[0]", "[4096]"],
            ),
            (
                "network",
                "tau_membrane_ms",
                "step_ms = 0.005\n[encoding]\nlast_ms = 0",
                &["0.01", "10000"],
                &["0.0099", "10001", "nan"],
            ),
            (
                "network",
                "tau_synapse_ms",
                "step_ms = 0.005\n[encoding]\nlast_ms = 0",
                &["0.01", "10000"],
                &["0.0099", "10001", "nan"],
            ),
            (
                "network",
                "step_ms",
                "[encoding]\nlast_ms = 0\n[loss]\ntau1_ms = 1000",
                &["0.001", "3.4657359027997265", "3.465735"],
                &["0.0009", "3.466", "nan"],
            ),
            (
                "network",
                "steps",
                "step_ms = 0.05\n[encoding]\nlast_ms = 0",
                &["1", "2047"],
                &["0", "2048"],
            ),
            ("network", "tick_bits", "", &["0", "8"], &["9"]),
            ("network", "spikes_per_step", "", &["1", "8"], &["0", "9"]),
            (
                "network",
                "slope_floor",
                "",
                &["0", "1"],
                &["-0.1", "1.1", "nan"],
            ),
            (
                "loss",
                "tau0_ms",
                "",
                &["0.0078125", "10000"],
                &["0.007", "0", "10001", "nan"],
            ),
            ("loss", "tau1_ms", "", &["100000"], &["0", "100001", "nan"]),
            (
                "loss",
                "alpha",
                "",
                &["0", "1", "0.9999999999"],
                &["-0.1", "1.0001", "nan"],
            ),
            (
                "optimizer",
                "learning_rate",
                "",
                &["1e-37", "10"],
                &["0", "-1", "1e-50", "10.1", "nan"],
            ),
            (
                "optimizer",
                "beta1",
                "",
                &["0", "0.9999999"],
                &["-0.1", "0.99999999", "1", "nan"],
            ),
            (
                "optimizer",
                "beta2",
                "",
                &["0", "0.9999999"],
                &["-0.1", "0.99999999", "1", "nan"],
            ),
            (
                "optimizer",
                "epsilon",
                "",
                &["1e-12", "1"],
                &["1e-13", "1.1", "nan"],
            ),
            (
                "optimizer",
                "momentum",
                "kind = \"sgd\"",
                &["0", "0.9999999"],
                &["-0.1", "0.99999999", "1"],
            ),
            (
                "optimizer",
                "weight_decay",
                "",
                &["0", "1"],
                &["-0.1", "1.1", "nan"],
            ),
            (
                "optimizer",
                "learning_rate_decay",
                "",
                &["0.001", "1"],
                &["0", "1.1", "nan"],
            ),
            (
                "optimizer",
                "weight_fraction_bits",
                "",
                &["0", "20"],
                &["21"],
            ),
            (
                "silent_neurons",
                "label_bump",
                "",
                &["0", "4.8e-7", "8"],
                &["-0.1", "1e-9", "8.1", "nan"],
            ),
            (
                "silent_neurons",
                "hidden_bump",
                "",
                &["0", "4.8e-7", "8"],
                &["-0.1", "1e-9", "8.1", "nan"],
            ),
            (
                "training",
                "epochs",
                "",
                &["1", "1000000"],
                &["0", "1000001"],
            ),
            ("training", "batch", "", &["1", "65535"], &["0", "65536"]),
            (
                "training",
                "minibatches",
                "",
                &["1", "4294967295"],
                &["0", "4294967296"],
            ),
            ("backend", "replicas", "", &["1", "65535"], &["0", "65536"]),
            ("backend", "threads", "", &["1", "1024"], &["0", "1025"]),
            (
                "backend",
                "layer_pes",
                "",
                &["[1, 152]"],
                &["[0, 1]", "[1, 153]", "[1]"],
            ),
            (
                "backend",
                "baud",
                "",
                &["300", "20000000"],
                &["299", "20000001"],
            ),
        ];
        for (section, key, others, ends, beyond) in ranges {
            let text = |value: &str| {
                let others = match *others {
                    "" => String::new(),
                    others => format!("{others}\n"),
                };
                format!("[{section}]\n{key} = {value}\n{others}")
            };
            for value in *ends {
                let read = parse(&text(value));
                let read = read.and_then(|mut experiment| {
                    experiment.resolve(&experiment.dims(4, 3));
                    experiment.check()
                });
                assert!(read.is_ok(), "{key} = {value}: {}", read.unwrap_err());
            }
            for value in *beyond {
                let error = match parse(&text(value)) {
                    Ok(_) => panic!("{key} = {value} is taken"),
                    Err(error) => error.to_string(),
                };
                assert!(error.starts_with("/data/e.toml:2:"), "{error}");
                let remedy = ["must be", "at most", "has 1 entries"];
                assert!(error.contains(key), "{error}");
                assert!(
                    remedy.iter().any(|remedy| error.contains(remedy)),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn a_limit_is_printed_so_that_it_is_allowed() {
        for limit in [
            std::f64::consts::LN_2 * 5.0,
            1.0 / 3.0,
            2.0,
            1e-5 / 7.0,
            9_999.999_999_9,
            0.007_812_5,
        ] {
            let (down, up) = (rounded_down(limit), rounded_up(limit));
            assert!(down <= limit && up >= limit, "{limit}: {down}, {up}");
            assert!(limit - down <= 1e-6 * limit && up - limit <= 1e-6 * limit);
        }
        let longest = |tau: f64| {
            let text = format!("[network]\ntau_synapse_ms = {tau}\nstep_ms = 999\n");
            let error = parse(&text).unwrap_err().to_string();
            let limit = error.split("at most ").nth(1).unwrap();
            limit.split(' ').next().unwrap().to_owned()
        };
        for tau in [0.01, 0.3, 1.0, 5.0, 7.77, 19.9] {
            let text = format!(
                "[network]\ntau_synapse_ms = {tau}\nstep_ms = {}\nsteps = 2\n",
                longest(tau)
            );
            let parsed = parse(&format!("{text}[encoding]\nlast_ms = 0\n"));
            assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
        }
    }

    #[test]
    fn a_wrong_flag_is_named() {
        let flag = Override::new("--epochs", "training.epochs", 0);
        let error = Experiment::parse("", Path::new("e.toml"), &[flag]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--epochs: training.epochs is 0; it must be from 1 to 1000000"
        );
    }

    #[test]
    fn settings_are_what_differs_from_the_defaults() {
        let text = "seed = 7\n[network]\nscheme = \"grid\"\nhidden = [9]\nslope_floor = 0.02\n\
            initial_weights = [{ mean = 1, std = 0.5 }]\n[optimizer]\nkind = \"sgd\"\n[backend]\nreplicas = 2";
        let expected = [
            "initial_weights = [{ mean = 1.0, std = 0.5 }]",
            "kind = \"sgd\"",
            "momentum = 0.9",
        ];
        assert_eq!(parse(text).unwrap().settings(), expected);
    }

    #[test]
    fn only_what_decides_the_weights_is_in_the_identity() {
        let experiment = Experiment::default();
        let mut other = experiment.clone();
        other.backend.kind = BackendKind::Direct;
        other.backend.replicas = 4;
        other.training.epochs = 7;
        assert_eq!(experiment.identity(), other.identity());
        other.training.batch = 22;
        assert_ne!(experiment.identity(), other.identity());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_damaged_file_makes_the_parser_panic(
            cut in 0usize..4000,
            put in "[\\[\\]{}=\"\\-.0-9a-z_\n,#é]{0,8}",
        ) {
            let text = Experiment::default_for(Scheme::Grid).to_toml();
            let cut = cut % text.len();
            let damaged = format!("{}{put}{}", &text[..cut], &text[cut + 1..]);
            if let Err(error) = parse(&damaged) {
                prop_assert!(error.to_string().starts_with("/data/e.toml"), "{error}");
            }
        }
    }
}
