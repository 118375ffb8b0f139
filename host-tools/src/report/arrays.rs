//! Weights and gradients as NumPy archives, and their digests.

use std::io::Cursor;

use ndarray::Array2;
use ndarray_npy::{NpzWriter, WritableElement};
use sha2::{Digest, Sha256};

use super::hex;
use crate::backend::{GRADIENT_FRACTION_BITS, LayerGradient, LayerWeights, WEIGHT_FRACTION_BITS};
use crate::error::{Error, Result};

/// Weights as an archive: for each weight layer, from 1, `layer1` (`f64`) and `layer1_raw` (`i32`,
/// 20 fraction bits), both `[post][pre]`.
///
/// # Errors
/// More than the archive format holds.
pub fn weights_npz(layers: &[LayerWeights]) -> Result<Vec<u8>> {
    let scale = f64::from(1_u32 << WEIGHT_FRACTION_BITS);
    let mut archive = Archive::new();
    for (index, layer) in layers.iter().enumerate() {
        let raw = by_post(layer.inputs, layer.neurons, &layer.values)?;
        archive.add(
            format!("layer{}", index + 1),
            &raw.mapv(|w| f64::from(w) / scale),
        )?;
        archive.add(format!("layer{}_raw", index + 1), &raw)?;
    }
    archive.finish()
}

/// Gradients as an archive: for each weight layer, from 1, `layer1` (`f64`: `dL/dw` of the mean
/// loss over a minibatch of `samples`, times in milliseconds) and `layer1_raw` (`i64`, 18 fraction
/// bits: the sum over the minibatch, before the synaptic time constant), both `[post][pre]`.
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
        archive.add(
            format!("layer{}", index + 1),
            &raw.mapv(|g| g as f64 * scale),
        )?;
        archive.add(format!("layer{}_raw", index + 1), &raw)?;
    }
    archive.finish()
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

    fn add<T: WritableElement>(&mut self, name: String, array: &Array2<T>) -> Result<()> {
        self.writer.add_array(name, array).map_err(failed)
    }

    fn finish(self) -> Result<Vec<u8>> {
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

    #[test]
    fn archives_hold_post_by_pre_in_true_units() {
        let weights = LayerWeights {
            inputs: 2,
            neurons: 3,
            values: vec![1 << 20, 2 << 20, 3 << 20, -(1 << 19), 0, 1],
        };
        let bytes = weights_npz(&[weights]).unwrap();
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
