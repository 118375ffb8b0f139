//! Reference vectors: small networks with fixed weights and inputs, and the spikes, the loss and
//! the gradient that an independent implementation gave for them.
//!
//! A vector is a JSON file of the schema [`SCHEMA`]. Times are in milliseconds, gradients are of
//! the mean loss over the samples with time in milliseconds, and weights are
//! `[layer][postsynaptic][presynaptic]`, where layer 0 is the first layer of weights.
//!
//! | member | content |
//! |---|---|
//! | `schema` | `"eventprop-vector/1"` |
//! | `name`, `note` | what it is called, what it exercises (optional) |
//! | `scheme` | `"grid"`: spikes at multiples of `dt_ms`; `"exact"`: continuous time |
//! | `dims` | number of neurons per layer, input channels first |
//! | `tau_mem_ms`, `tau_syn_ms`, `threshold` | constants of the neurons |
//! | `dt_ms`, `steps` | length and number of the steps; `grid` only |
//! | `loss` | `kind` = `"ttfs_cross_entropy"`, `tau0_ms`, `tau1_ms`, `alpha`, `silent_output_time_ms` (`null`: a silent output is left out) |
//! | `weights` | `[layer][post][pre]` |
//! | `samples[]` | `label`, `input_spikes` as `[channel, ms]`, `expected_spikes[layer]` as `[neuron, ms]`, `expected_first_spike_ms` per output (`null`: silent) |
//! | `expected_mean_loss` | `null`: not compared |
//! | `expected_gradient` | `[layer][post][pre]` |
//!
//! Everything is checked on loading, so that a [`Vector`] can be run without further checks:
//! shapes agree with `dims`, numbers are finite and within the limits below, and spikes are
//! sorted by time.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::reference::{Network, Neuron, Sample, SilentLabel, Spike, TimeToFirstSpike, Weights};

/// The schema that this module reads.
pub const SCHEMA: &str = "eventprop-vector/1";

/// Longest run, in steps of a `grid` vector.
pub const MAX_STEPS: usize = 100_000;

/// Latest time of a spike, in milliseconds.
pub const MAX_TIME_MS: f64 = 100_000.0;

/// Largest magnitude of a weight.
pub const MAX_WEIGHT: f64 = 1_000.0;

/// Smallest and largest value of a time constant, of a step (both in milliseconds) and of the
/// threshold.
pub const POSITIVE_RANGE: (f64, f64) = (1e-6, 1e6);

/// How time is treated by the implementation that a vector comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Spikes happen at multiples of the step; a spike of one step acts in the next.
    Grid,
    /// Spikes happen at any time, and act at once.
    Exact,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grid => "grid",
            Self::Exact => "exact",
        })
    }
}

/// One sample of a vector, with what the reference implementation made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// Class of the sample: an index of an output neuron.
    pub label: usize,
    /// Spikes of the input channels, by time, then by channel.
    pub input_spikes: Vec<Spike>,
    /// Spikes of every layer behind the inputs, each by time, then by neuron. The last layer is
    /// the output.
    pub expected_spikes: Vec<Vec<Spike>>,
    /// First spike of every output neuron in milliseconds; `None` if it was silent.
    pub expected_first_spikes: Vec<Option<f64>>,
}

/// A reference vector; see the [module](self) for the file that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector {
    /// Name of the vector.
    pub name: String,
    /// What the vector exercises; may be empty.
    pub note: String,
    /// How the reference implementation treats time.
    pub scheme: Scheme,
    /// Number of neurons per layer, input channels first; at least two layers.
    pub dims: Vec<usize>,
    /// Time constant of the membrane in milliseconds.
    pub tau_mem_ms: f64,
    /// Time constant of the synaptic current in milliseconds.
    pub tau_syn_ms: f64,
    /// Threshold of the membrane, in the unit of the weights.
    pub threshold: f64,
    /// Length of a step in milliseconds; always given in the scheme `grid`, never in `exact`.
    pub step_ms: Option<f64>,
    /// Number of steps; always given in the scheme `grid`, never in `exact`.
    pub steps: Option<usize>,
    /// The loss. Where silent outputs are left out of the softmax, a sample with a silent label
    /// sends no errors; where they count, it does.
    pub loss: TimeToFirstSpike,
    /// Weights `[layer][post][pre]`.
    pub weights: Weights,
    /// The samples; at least one.
    pub samples: Vec<VectorSample>,
    /// Mean loss over the samples; `None`: it is not compared.
    pub expected_mean_loss: Option<f64>,
    /// Gradient of the mean loss, `[layer][post][pre]`, time in milliseconds.
    pub expected_gradient: Weights,
}

/// Why a vector could not be loaded: which file, where in it, what is wrong and what would be
/// right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorError {
    file: Option<PathBuf>,
    fault: Fault,
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if !self.fault.place.is_empty() {
            write!(f, "{}: ", self.fault.place)?;
        }
        f.write_str(&self.fault.problem)
    }
}

impl std::error::Error for VectorError {}

impl Vector {
    /// Loads and checks a vector.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no JSON, is of another schema, or holds something that is
    /// missing, misshapen or out of range. The message names the file and the place in it.
    pub fn load(path: &Path) -> Result<Self, VectorError> {
        let in_file = |fault| VectorError {
            file: Some(path.to_owned()),
            fault,
        };
        let bytes = fs::read(path).map_err(|e| in_file(Fault::new(format!("cannot read: {e}"))))?;
        parse(&bytes).map_err(in_file)
    }

    /// Reads and checks a vector that is in memory.
    ///
    /// # Errors
    ///
    /// As [`Vector::load`], without the name of a file.
    pub fn from_json(json: &[u8]) -> Result<Self, VectorError> {
        parse(json).map_err(|fault| VectorError { file: None, fault })
    }

    /// The network that the vector describes.
    pub fn network(&self) -> Network {
        Network {
            neuron: Neuron {
                tau_mem_ms: self.tau_mem_ms,
                tau_syn_ms: self.tau_syn_ms,
                threshold: self.threshold,
            },
            weights: self.weights.clone(),
        }
    }

    /// The inputs and labels of the samples.
    pub fn inputs(&self) -> Vec<Sample> {
        self.samples
            .iter()
            .map(|sample| Sample {
                label: sample.label,
                input_spikes: sample.input_spikes.clone(),
            })
            .collect()
    }

    /// Latest time of an input spike or of an expected spike in milliseconds; 0 without any.
    pub fn last_spike_ms(&self) -> f64 {
        self.samples
            .iter()
            .flat_map(|sample| sample.expected_spikes.iter().chain([&sample.input_spikes]))
            .flatten()
            .map(|spike| spike.time_ms)
            .fold(0.0, f64::max)
    }
}

/// A problem and its place within the file, such as `samples[0].label`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    place: String,
    problem: String,
}

impl Fault {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            place: String::new(),
            problem: problem.into(),
        }
    }

    /// The same problem, seen from the member `name` that holds the place.
    fn in_member(mut self, name: &str) -> Self {
        let separator = if self.place.is_empty() || self.place.starts_with('[') {
            ""
        } else {
            "."
        };
        self.place = format!("{name}{separator}{}", self.place);
        self
    }

    /// The same problem, seen from the array that holds the place at `index`.
    fn at_index(self, index: usize) -> Self {
        self.in_member(&format!("[{index}]"))
    }
}

type Checked<T> = Result<T, Fault>;

fn parse(json: &[u8]) -> Checked<Vector> {
    let root: Value = serde_json::from_slice(json).map_err(|e| {
        let hint = if names_no_number(json, &e) {
            " (a vector holds finite numbers only; write null where a value is absent)"
        } else {
            ""
        };
        Fault::new(format!("no valid JSON: {e}{hint}"))
    })?;
    let root = object(&root)?;

    member(root, "schema", |value| match string(value)? {
        SCHEMA => Ok(()),
        other => Err(Fault::new(format!(
            "the schema is \"{other}\", but only \"{SCHEMA}\" can be read"
        ))),
    })?;
    let name = member(root, "name", |value| string(value).map(str::to_owned))?;
    let note = match root.get("note") {
        None | Some(Value::Null) => String::new(),
        Some(value) => string(value)
            .map_err(|fault| fault.in_member("note"))?
            .to_owned(),
    };
    let scheme = member(root, "scheme", |value| match string(value)? {
        "grid" => Ok(Scheme::Grid),
        "exact" => Ok(Scheme::Exact),
        other => Err(Fault::new(format!(
            "unknown scheme \"{other}\"; it is \"grid\" or \"exact\""
        ))),
    })?;
    let dims = member(root, "dims", |value| {
        let dims = list(value, |value| at_least_one(value, usize::MAX))?;
        if dims.len() < 2 {
            return Err(Fault::new(format!(
                "{} layer(s) given; a network has at least inputs and outputs",
                dims.len()
            )));
        }
        Ok(dims)
    })?;
    let tau_mem_ms = member(root, "tau_mem_ms", positive)?;
    let tau_syn_ms = member(root, "tau_syn_ms", positive)?;
    let threshold = member(root, "threshold", positive)?;
    let (step_ms, steps) = match scheme {
        Scheme::Grid => (
            Some(member(root, "dt_ms", positive)?),
            Some(member(root, "steps", |value| {
                at_least_one(value, MAX_STEPS)
            })?),
        ),
        Scheme::Exact => (None, None),
    };
    let loss = member(root, "loss", loss)?;
    let weights = member(root, "weights", |value| {
        matrices(value, &dims, |value| bounded(value, MAX_WEIGHT))
    })?;
    let samples = member(root, "samples", |value| {
        let samples = list(value, |value| sample(value, &dims))?;
        if samples.is_empty() {
            return Err(Fault::new("there are no samples; at least one is needed"));
        }
        if let (Some(step_ms), Some(steps)) = (step_ms, steps) {
            for (index, sample) in samples.iter().enumerate() {
                on_grid(sample, step_ms, steps).map_err(|fault| fault.at_index(index))?;
            }
        }
        Ok(samples)
    })?;
    let expected_mean_loss = member(root, "expected_mean_loss", |value| optional(value, number))?;
    let expected_gradient = member(root, "expected_gradient", |value| {
        matrices(value, &dims, number)
    })?;

    Ok(Vector {
        name,
        note,
        scheme,
        dims,
        tau_mem_ms,
        tau_syn_ms,
        threshold,
        step_ms,
        steps,
        loss,
        weights,
        samples,
        expected_mean_loss,
        expected_gradient,
    })
}

fn loss(value: &Value) -> Checked<TimeToFirstSpike> {
    let value = object(value)?;
    member(value, "kind", |value| match string(value)? {
        "ttfs_cross_entropy" => Ok(()),
        other => Err(Fault::new(format!(
            "unknown loss \"{other}\"; it is \"ttfs_cross_entropy\""
        ))),
    })?;
    let silent_output_time_ms = member(value, "silent_output_time_ms", |value| {
        optional(value, time)
    })?;
    Ok(TimeToFirstSpike {
        tau0_ms: member(value, "tau0_ms", positive)?,
        tau1_ms: member(value, "tau1_ms", positive)?,
        alpha: member(value, "alpha", number)?,
        silent_output_time_ms,
        // So do the two programs that the vectors come from.
        silent_label: match silent_output_time_ms {
            None => SilentLabel::Skip,
            Some(_) => SilentLabel::Send,
        },
    })
}

fn sample(value: &Value, dims: &[usize]) -> Checked<VectorSample> {
    let value = object(value)?;
    let inputs = dims[0];
    let outputs = dims[dims.len() - 1];
    Ok(VectorSample {
        label: member(value, "label", |value| index(value, outputs, "outputs"))?,
        input_spikes: member(value, "input_spikes", |value| {
            spikes(value, inputs, "input channels")
        })?,
        expected_spikes: member(value, "expected_spikes", |value| {
            let layers = array_of(value, dims.len() - 1, "layers behind the inputs")?;
            let neurons = dims[1..].iter();
            enumerated(layers.iter().zip(neurons), |(layer, &neurons)| {
                spikes(layer, neurons, "neurons")
            })
        })?,
        expected_first_spikes: member(value, "expected_first_spike_ms", |value| {
            let firsts = array_of(value, outputs, "outputs")?;
            enumerated(firsts, |value| optional(value, time))
        })?,
    })
}

fn spikes(value: &Value, neurons: usize, of: &str) -> Checked<Vec<Spike>> {
    let mut spikes = list(value, |value| {
        let pair = array_of(
            value,
            2,
            "numbers in a spike: its neuron and its time in ms",
        )?;
        Ok(Spike {
            neuron: index(&pair[0], neurons, of).map_err(|fault| fault.at_index(0))?,
            time_ms: time(&pair[1]).map_err(|fault| fault.at_index(1))?,
        })
    })?;
    spikes.sort_by(|a, b| (a.time_ms.total_cmp(&b.time_ms)).then_with(|| a.neuron.cmp(&b.neuron)));
    Ok(spikes)
}

/// Checks that every spike of a sample is at a step of the grid.
fn on_grid(sample: &VectorSample, step_ms: f64, steps: usize) -> Checked<()> {
    let check = |spikes: &[Spike]| {
        for spike in spikes {
            let step = spike.time_ms / step_ms;
            if (step - step.round()).abs() > 1e-6 || step.round() >= steps as f64 {
                return Err(Fault::new(format!(
                    "a spike of neuron {} is at {} ms; spikes of a grid vector are at multiples \
                     of {step_ms} ms before step {steps}",
                    spike.neuron, spike.time_ms
                )));
            }
        }
        Ok(())
    };
    check(&sample.input_spikes).map_err(|fault| fault.in_member("input_spikes"))?;
    enumerated(&sample.expected_spikes, |layer| check(layer))
        .map_err(|fault| fault.in_member("expected_spikes"))?;
    Ok(())
}

/// Reads `[layer][post][pre]` numbers in the shape that `dims` asks for.
fn matrices(
    value: &Value,
    dims: &[usize],
    entry: impl Fn(&Value) -> Checked<f64>,
) -> Checked<Weights> {
    let layers = array_of(value, dims.len() - 1, "layers behind the inputs")?;
    enumerated(layers.iter().zip(dims.windows(2)), |(layer, pair)| {
        let rows = array_of(layer, pair[1], "rows, one per postsynaptic neuron")?;
        enumerated(rows, |row| {
            let row = array_of(row, pair[0], "numbers, one per presynaptic neuron")?;
            enumerated(row, &entry)
        })
    })
}

/// Applies `read` to every item; an error names the item's index.
fn enumerated<I: IntoIterator, T>(
    items: I,
    mut read: impl FnMut(I::Item) -> Checked<T>,
) -> Checked<Vec<T>> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| read(item).map_err(|fault| fault.at_index(index)))
        .collect()
}

fn member<T>(
    object: &Map<String, Value>,
    name: &str,
    read: impl FnOnce(&Value) -> Checked<T>,
) -> Checked<T> {
    match object.get(name) {
        Some(value) => read(value),
        None => Err(Fault::new("missing")),
    }
    .map_err(|fault| fault.in_member(name))
}

fn object(value: &Value) -> Checked<&Map<String, Value>> {
    value
        .as_object()
        .ok_or_else(|| unexpected(value, "an object"))
}

fn array(value: &Value) -> Checked<&Vec<Value>> {
    value
        .as_array()
        .ok_or_else(|| unexpected(value, "an array"))
}

fn array_of<'a>(value: &'a Value, length: usize, of: &str) -> Checked<&'a Vec<Value>> {
    let array = array(value)?;
    if array.len() == length {
        Ok(array)
    } else {
        Err(Fault::new(format!(
            "{} item(s) found; there are {length} {of}",
            array.len()
        )))
    }
}

fn list<T>(value: &Value, read: impl FnMut(&Value) -> Checked<T>) -> Checked<Vec<T>> {
    enumerated(array(value)?, read)
}

fn string(value: &Value) -> Checked<&str> {
    value.as_str().ok_or_else(|| unexpected(value, "a string"))
}

fn optional<T>(value: &Value, read: impl FnOnce(&Value) -> Checked<T>) -> Checked<Option<T>> {
    match value {
        Value::Null => Ok(None),
        value => read(value).map(Some),
    }
}

fn number(value: &Value) -> Checked<f64> {
    match value.as_f64() {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(unexpected(value, "a finite number")),
    }
}

fn bounded(value: &Value, limit: f64) -> Checked<f64> {
    let number = number(value)?;
    if number.abs() <= limit {
        Ok(number)
    } else {
        Err(Fault::new(format!(
            "{number} is out of range; it lies between -{limit} and {limit}"
        )))
    }
}

fn positive(value: &Value) -> Checked<f64> {
    let number = number(value)?;
    let (low, high) = POSITIVE_RANGE;
    if (low..=high).contains(&number) {
        Ok(number)
    } else {
        Err(Fault::new(format!(
            "{number} is out of range; it lies between {low} and {high}"
        )))
    }
}

fn time(value: &Value) -> Checked<f64> {
    let number = number(value)?;
    if (0.0..=MAX_TIME_MS).contains(&number) {
        Ok(number)
    } else {
        Err(Fault::new(format!(
            "{number} is out of range; a time lies between 0 and {MAX_TIME_MS} ms"
        )))
    }
}

fn whole(value: &Value) -> Checked<usize> {
    value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| unexpected(value, "a whole number that is not negative"))
}

fn at_least_one(value: &Value, limit: usize) -> Checked<usize> {
    match whole(value)? {
        0 => Err(Fault::new("0 is out of range; at least 1 is needed")),
        number if number > limit => Err(Fault::new(format!(
            "{number} is out of range; at most {limit} is possible"
        ))),
        number => Ok(number),
    }
}

fn index(value: &Value, length: usize, of: &str) -> Checked<usize> {
    let index = whole(value)?;
    if index < length {
        Ok(index)
    } else {
        Err(Fault::new(format!(
            "{index} is out of range; there are {length} {of}, counted from 0"
        )))
    }
}

fn unexpected(value: &Value, wanted: &str) -> Fault {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(value) => {
            let start: String = value.chars().take(24).collect();
            let more = if start.len() < value.len() { "..." } else { "" };
            format!("the string \"{start}{more}\"")
        }
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    Fault::new(format!("{found} found; {wanted} is needed"))
}

/// Whether the text is refused because of `NaN` or `Infinity`, which some programs write though
/// JSON has no such numbers.
fn names_no_number(json: &[u8], error: &serde_json::Error) -> bool {
    let line = error.line().saturating_sub(1);
    let Some(line) = json.split(|&byte| byte == b'\n').nth(line) else {
        return false;
    };
    // The error's column is that of the first byte that cannot be part of a number.
    let column = error.column().saturating_sub(1);
    line.get(column..)
        .is_some_and(|rest| rest.starts_with(b"NaN") || rest.starts_with(b"Infinity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{
        "schema": "eventprop-vector/1", "name": "small", "note": "by hand",
        "scheme": "grid", "dims": [2, 1, 2], "dt_ms": 0.5, "steps": 20,
        "tau_mem_ms": 20.0, "tau_syn_ms": 5, "threshold": 1.0,
        "loss": { "kind": "ttfs_cross_entropy", "tau0_ms": 0.5, "tau1_ms": 6.4, "alpha": 0.003,
                  "silent_output_time_ms": null },
        "weights": [[[1.5, -2]], [[3.0], [4.0]]],
        "samples": [{ "label": 1, "input_spikes": [[1, 3.5], [0, 2.0]],
                      "expected_spikes": [[[0, 4.0]], []],
                      "expected_first_spike_ms": [null, null] }],
        "expected_mean_loss": null,
        "expected_gradient": [[[0.0, 0.0]], [[0.0], [0.0]]]
    }"#;

    #[test]
    fn reads_and_sorts() {
        let vector = Vector::from_json(SMALL.as_bytes()).unwrap();
        assert_eq!(vector.scheme, Scheme::Grid);
        assert_eq!(vector.dims, [2, 1, 2]);
        assert_eq!((vector.step_ms, vector.steps), (Some(0.5), Some(20)));
        assert_eq!(vector.weights[0][0], [1.5, -2.0]);
        assert_eq!(vector.loss.silent_label, SilentLabel::Skip);
        let times: Vec<f64> = (vector.samples[0].input_spikes.iter())
            .map(|spike| spike.time_ms)
            .collect();
        assert_eq!(times, [2.0, 3.5]);
        assert_eq!(vector.last_spike_ms(), 4.0);
    }

    #[test]
    fn errors_name_the_place_and_what_would_be_right() {
        // What is replaced in the vector above, by what, and the message.
        let cases = [
            (
                "eventprop-vector/1",
                "eventprop-vector/2",
                "schema: the schema is \"eventprop-vector/2\", but only \"eventprop-vector/1\" can be read",
            ),
            (
                "\"grid\"",
                "\"euler\"",
                "scheme: unknown scheme \"euler\"; it is \"grid\" or \"exact\"",
            ),
            ("\"steps\": 20,", "", "steps: missing"),
            (
                "\"tau_syn_ms\": 5",
                "\"tau_syn_ms\": -5",
                "tau_syn_ms: -5 is out of range; it lies between 0.000001 and 1000000",
            ),
            (
                "[[[1.5, -2]]",
                "[[[1.5]]",
                "weights[0][0]: 1 item(s) found; there are 2 numbers, one per presynaptic neuron",
            ),
            (
                "[3.0], [4.0]]",
                "[3.0], [\"4\"]]",
                "weights[1][1][0]: the string \"4\" found; a finite number is needed",
            ),
            (
                "\"label\": 1",
                "\"label\": 2",
                "samples[0].label: 2 is out of range; there are 2 outputs, counted from 0",
            ),
            (
                "[0, 2.0]",
                "[0, -2.0]",
                "samples[0].input_spikes[1][1]: -2 is out of range; a time lies between 0 and 100000 ms",
            ),
            (
                "[1, 3.5]",
                "[1, 3.4]",
                "samples[0].input_spikes: a spike of neuron 1 is at 3.4 ms; spikes of a grid vector \
                 are at multiples of 0.5 ms before step 20",
            ),
            (
                "1.5, -2",
                "1.5, NaN",
                "no valid JSON: expected value at line 7 column 28 (a vector holds finite numbers \
                 only; write null where a value is absent)",
            ),
            (
                "1.5, -2",
                "1.5, -Infinity",
                "no valid JSON: invalid number at line 7 column 29 (a vector holds finite numbers \
                 only; write null where a value is absent)",
            ),
        ];
        for (from, to, message) in cases {
            assert!(SMALL.contains(from), "{from}");
            let error = Vector::from_json(SMALL.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn an_absent_file_is_named() {
        let error = Vector::load(Path::new("no/such/vector.json")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no/such/vector.json: cannot read: "),
            "{error}"
        );
    }
}
