//! Weights and gradients as NumPy archives, and their digests.
//!
//! An archive holds for each weight layer, from 1, three arrays:
//!
//! | array | content |
//! |---|---|
//! | `layer1` | `float64`, `[post][pre]`: the values in their unit |
//! | `layer1_raw` | whole numbers, `[post][pre]`: the fixed-point values, exact |
//! | `layer1_scale` | `float64`, no dimension: `layer1 = layer1_raw * layer1_scale` |
//!
//! and one array `about` (`uint8`), the text of a JSON object that says what the values are, their unit and
//! format, and their digest. In Python:
//!
//! ```python
//! archive = numpy.load("gradients.npz")
//! archive["layer1"], json.loads(archive["about"].tobytes())
//! ```

use std::io::Cursor;
use std::path::Path;

use ndarray::{Array0, Array1, Array2, ArrayD, Dimension};
use ndarray_npy::{NpzWriter, WritableElement};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::hex;
use crate::backend::{
    GRADIENT_FRACTION_BITS, LayerGradient, LayerWeights, WEIGHT_FRACTION_BITS, WEIGHT_LIMIT,
};
use crate::error::{Error, Result};
use crate::npy;
use crate::training::to_raw_weight;

/// Weights as an archive; the raw values are `int32` with 20 fraction bits.
///
/// # Errors
/// More than the archive format holds.
pub fn weights_npz(layers: &[LayerWeights]) -> Result<Vec<u8>> {
    let scale = 1.0 / f64::from(1_u32 << WEIGHT_FRACTION_BITS);
    let mut archive = Archive::new();
    for (index, layer) in layers.iter().enumerate() {
        let raw = by_post(layer.inputs, layer.neurons, &layer.values)?;
        archive.layer(index, &raw, f64::from, scale)?;
    }
    archive.finish(&json!({
        "content": "weights",
        "axes": ["post", "pre"],
        "unit": "1 (the threshold is 1)",
        "raw": format!("{WEIGHT_FRACTION_BITS} fraction bits"),
        "sha256": weights_sha256(layers),
    }))
}

/// Gradients as an archive: `dL/dw` of the mean loss over a minibatch of `samples`, times in milliseconds.
/// The raw values are `int64` with 18 fraction bits: the sum over the minibatch, before the synaptic time
/// constant.
///
/// # Errors
/// More than the archive format holds.
pub fn gradients_npz(
    layers: &[LayerGradient],
    tau_synapse_ms: f64,
    samples: u64,
) -> Result<Vec<u8>> {
    let scale = tau_synapse_ms / f64::from(1_u32 << GRADIENT_FRACTION_BITS) / samples.max(1) as f64;
    let mut archive = Archive::new();
    for (index, layer) in layers.iter().enumerate() {
        let raw = by_post(layer.inputs, layer.neurons, &layer.values)?;
        archive.layer(index, &raw, |g| g as f64, scale)?;
    }
    archive.finish(&json!({
        "content": "gradients",
        "axes": ["post", "pre"],
        "unit": "dL/dw of the minibatch's mean loss; loss and weights have no unit, times are in milliseconds",
        "raw": format!(
            "{GRADIENT_FRACTION_BITS} fraction bits, summed over the minibatch, before tau_synapse_ms"
        ),
        "samples": samples,
        "loss": "mean over all samples; a silent label counts as spiking when the sample ends",
        "tau_synapse_ms": tau_synapse_ms,
        "sha256": gradients_sha256(layers),
    }))
}

/// Reads weights for a network of these layers (input channels, hidden layers, outputs) from an archive as
/// [`weights_npz`] makes them. `layer1` alone is enough; it is rounded to nearest then.
///
/// # Errors
/// A file that cannot be read, an array that is missing, of another shape than the network's, or with a
/// value that is no weight.
pub fn read_weights(path: &Path, dims: &[usize]) -> Result<Vec<LayerWeights>> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    parse_weights(&bytes, dims).map_err(|error| error.at(path.display().to_string()))
}

fn parse_weights(bytes: &[u8], dims: &[usize]) -> Result<Vec<LayerWeights>> {
    let mut archive = npy::Archive::open(bytes)?;
    let shapes: Vec<_> = dims.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let network = || {
        let dims: Vec<_> = dims.iter().map(ToString::to_string).collect();
        format!("the network is {}", dims.join("-"))
    };
    let mut layers = Vec::new();
    for (index, &(inputs, neurons)) in shapes.iter().enumerate() {
        let name = format!("layer{}", index + 1);
        let raw_name = format!("{name}_raw");
        let raw = if let Some(bytes) = archive.member(&raw_name)? {
            npy::integers(&bytes, &raw_name)?.mapv(|raw| i32::try_from(raw).ok().filter(is_weight))
        } else if let Some(bytes) = archive.member(&name)? {
            let values = npy::floats(&bytes, &name)?;
            values.mapv(|w| (w.abs() <= WEIGHT_LIMIT).then(|| to_raw_weight(w)))
        } else {
            return Err(Error::new(format!("the array `{name}` is missing; {}", network()))
                .hint("for each weight layer an archive of weights holds `layer1` [post][pre], `layer2`, ..."));
        };
        if raw.shape() != [neurons, inputs] {
            return Err(Error::new(format!(
                "`{name}` has the shape {:?}; {}, which takes [{neurons}, {inputs}] ([post][pre])",
                raw.shape(),
                network()
            )));
        }
        layers.push(LayerWeights {
            inputs,
            neurons,
            values: by_pre(&name, raw)?,
        });
    }
    let further = format!("layer{}", layers.len() + 1);
    if archive.member(&further)?.is_some() {
        return Err(Error::new(format!(
            "`{further}` is too many; {}",
            network()
        )));
    }
    Ok(layers)
}

fn is_weight(raw: &i32) -> bool {
    f64::from(raw.unsigned_abs()) <= WEIGHT_LIMIT * f64::from(1_u32 << WEIGHT_FRACTION_BITS)
}

/// Turns `[post][pre]` into `[pre][post]`, if every value is a weight.
fn by_pre(name: &str, raw: ArrayD<Option<i32>>) -> Result<Vec<i32>> {
    let values = raw.reversed_axes();
    let wrong = |at: &[usize]| {
        Error::new(format!(
            "`{name}`, post {}, pre {}: no weight; weights are from -{WEIGHT_LIMIT} to {WEIGHT_LIMIT}",
            at[1], at[0]
        ))
    };
    values
        .indexed_iter()
        .map(|(at, value)| value.ok_or_else(|| wrong(at.slice())))
        .collect()
}

/// SHA-256 of the raw weights: `i32`, little-endian, layer by layer, `[pre][post]`.
pub fn weights_sha256(layers: &[LayerWeights]) -> String {
    let mut hash = Sha256::new();
    for value in layers.iter().flat_map(|layer| &layer.values) {
        hash.update(value.to_le_bytes());
    }
    hex(&hash.finalize())
}

/// SHA-256 of the raw gradients: `i64`, little-endian, layer by layer, `[pre][post]`.
pub fn gradients_sha256(layers: &[LayerGradient]) -> String {
    let mut hash = Sha256::new();
    for value in layers.iter().flat_map(|layer| &layer.values) {
        hash.update(value.to_le_bytes());
    }
    hex(&hash.finalize())
}

/// Turns `[pre][post]` into `[post][pre]`.
fn by_post<T: Copy>(inputs: usize, neurons: usize, values: &[T]) -> Result<Array2<T>> {
    let array = Array2::from_shape_vec((inputs, neurons), values.to_vec())
        .map_err(|error| Error::new(format!("a weight layer has a wrong shape: {error}")))?;
    Ok(array.reversed_axes().as_standard_layout().into_owned())
}

struct Archive {
    writer: NpzWriter<Cursor<Vec<u8>>>,
}

impl Archive {
    fn new() -> Self {
        Self {
            writer: NpzWriter::new_compressed(Cursor::new(Vec::new())),
        }
    }

    /// Adds the arrays of a weight layer, counted from 0.
    fn layer<T: WritableElement + Copy>(
        &mut self,
        index: usize,
        raw: &Array2<T>,
        number: impl Fn(T) -> f64,
        scale: f64,
    ) -> Result<()> {
        let name = format!("layer{}", index + 1);
        let writer = &mut self.writer;
        writer
            .add_array(name.as_str(), &raw.mapv(|value| number(value) * scale))
            .map_err(failed)?;
        writer
            .add_array(format!("{name}_raw"), raw)
            .map_err(failed)?;
        let scale = Array0::from_elem((), scale);
        writer
            .add_array(format!("{name}_scale"), &scale)
            .map_err(failed)
    }

    fn finish(mut self, about: &Value) -> Result<Vec<u8>> {
        let about = Array1::from_vec(about.to_string().into_bytes());
        self.writer.add_array("about", &about).map_err(failed)?;
        Ok(self.writer.finish().map_err(failed)?.into_inner())
    }
}

fn failed(error: ndarray_npy::WriteNpzError) -> Error {
    Error::new(format!("cannot write the archive: {error}"))
}

#[cfg(test)]
mod tests {
    use ndarray::{OwnedRepr, array};
    use ndarray_npy::NpzReader;

    use super::*;

    fn weights() -> Vec<LayerWeights> {
        vec![LayerWeights {
            inputs: 2,
            neurons: 3,
            values: vec![1 << 20, 2 << 20, 3 << 20, -(1 << 19), 0, 1],
        }]
    }

    #[test]
    fn archives_hold_post_by_pre_in_true_units() {
        let bytes = weights_npz(&weights()).unwrap();
        let mut reader = NpzReader::new(Cursor::new(bytes)).unwrap();
        let layer = reader
            .by_name::<OwnedRepr<f64>, ndarray::Ix2>("layer1")
            .unwrap();
        assert_eq!(
            layer,
            array![[1.0, -0.5], [2.0, 0.0], [3.0, 1.0 / 1_048_576.0]]
        );
        let raw = reader
            .by_name::<OwnedRepr<i32>, ndarray::Ix2>("layer1_raw")
            .unwrap();
        assert_eq!(raw[[0, 1]], -(1 << 19));

        let gradient = LayerGradient {
            inputs: 1,
            neurons: 2,
            values: vec![1 << 18, -(1 << 17)],
        };
        let bytes = gradients_npz(&[gradient], 5.0, 4).unwrap();
        let mut reader = NpzReader::new(Cursor::new(bytes)).unwrap();
        let layer = reader
            .by_name::<OwnedRepr<f64>, ndarray::Ix2>("layer1")
            .unwrap();
        assert_eq!(layer, array![[1.25], [-0.625]]);
        let scale = reader
            .by_name::<OwnedRepr<f64>, ndarray::Ix0>("layer1_scale")
            .unwrap();
        assert_eq!(scale.into_scalar() * f64::from(1 << 18), 1.25);
        let about = reader
            .by_name::<OwnedRepr<u8>, ndarray::Ix1>("about")
            .unwrap();
        let about: Value = serde_json::from_slice(&about.to_vec()).unwrap();
        assert_eq!(about["content"], "gradients");
        assert_eq!(about["samples"], 4);
    }

    #[test]
    fn weights_read_back_the_same_bits() {
        let bytes = weights_npz(&weights()).unwrap();
        assert_eq!(parse_weights(&bytes, &[2, 3]).unwrap(), weights());
        // As somebody may write them in Python.
        let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
        let values = array![[1.0, -0.5], [2.0, 0.0], [3.0, 1.0 / 1_048_576.0]];
        writer.add_array("layer1", &values).unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        assert_eq!(parse_weights(&bytes, &[2, 3]).unwrap(), weights());
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let bytes = weights_npz(&weights()).unwrap();
        let refused = |dims: &[usize]| parse_weights(&bytes, dims).unwrap_err().to_string();
        assert_eq!(
            refused(&[3, 2]),
            "`layer1` has the shape [3, 2]; the network is 3-2, which takes [2, 3] ([post][pre])"
        );
        assert!(
            refused(&[2, 3, 4]).starts_with("the array `layer2` is missing; the network is 2-3-4")
        );
        assert_eq!(refused(&[2]), "`layer1` is too many; the network is 2");

        for wrong in [32.5, f64::NAN, f64::INFINITY] {
            let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
            writer.add_array("layer1", &array![[1.0, wrong]]).unwrap();
            let bytes = writer.finish().unwrap().into_inner();
            let error = parse_weights(&bytes, &[2, 1]).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`layer1`, post 0, pre 1: no weight; weights are from -32 to 32"
            );
        }
    }

    #[test]
    fn digests_are_of_little_endian_raw_values() {
        let layer = |values| LayerWeights {
            inputs: 1,
            neurons: 1,
            values,
        };
        let digest = weights_sha256(&[layer(vec![1]), layer(vec![-2])]);
        let expected = Sha256::digest([1, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF]);
        assert_eq!(digest, hex(&expected));
    }
}
