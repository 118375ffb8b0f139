//! Samples as NumPy files: an archive (`.npz`) with the arrays `features` (`[sample][feature]`,
//! `f64` or `f32`) and `labels` (`[sample]`, any whole-number type), or one array (`.npy`) whose
//! last column is the label.

use std::io::Cursor;
use std::path::Path;

use ndarray::{Array1, Array2, ArrayD};
use ndarray_npy::{NpzWriter, WriteNpyExt};

use super::{Dataset, MAX_CLASSES, ending};
use crate::error::{Error, Result};
use crate::npy;

/// Reads a file, `.npy` or `.npz` by its ending.
///
/// # Errors
/// A file that cannot be read, arrays that are missing or of another shape, or a wrong value: with
/// sample and feature.
pub fn read(path: &Path) -> Result<Dataset> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    let parsed = if ending(path).as_deref() == Some("npy") {
        parse_npy(&bytes)
    } else {
        parse_npz(&bytes)
    };
    parsed.map_err(|error| error.at(path.display().to_string()))
}

/// Reads the bytes of an archive.
///
/// # Errors
/// As [`read`].
pub fn parse_npz(bytes: &[u8]) -> Result<Dataset> {
    let mut archive = npy::Archive::open(bytes)?;
    let mut member = |name: &str| {
        archive.member(name)?.ok_or_else(|| {
            Error::new(format!("the array `{name}` is missing"))
                .hint("an archive holds `features` [sample][feature] and `labels` [sample]")
        })
    };
    let features = npy::floats(&member("features")?, "features")?;
    let labels = npy::integers(&member("labels")?, "labels")?;
    let &[samples, width] = features.shape() else {
        return Err(wrong_shape("features", 2, &features));
    };
    if labels.ndim() != 1 {
        return Err(wrong_shape("labels", 1, &labels));
    }
    if labels.len() != samples {
        return Err(Error::new(format!(
            "`features` has {samples} samples, `labels` has {}",
            labels.len()
        )));
    }
    collect(
        samples,
        width,
        features.iter().copied(),
        labels.iter().map(|&label| label as f64),
    )
}

/// Reads the bytes of one array whose last column is the label.
///
/// # Errors
/// As [`read`].
pub fn parse_npy(bytes: &[u8]) -> Result<Dataset> {
    let table = npy::floats(bytes, "table")?;
    let &[samples, columns] = table.shape() else {
        return Err(wrong_shape("table", 2, &table));
    };
    let width = columns.saturating_sub(1);
    collect(
        samples,
        width,
        table
            .rows()
            .into_iter()
            .flat_map(|row| row.into_iter().copied().take(width)),
        table
            .rows()
            .into_iter()
            .filter_map(|row| row.last().copied()),
    )
}

fn collect(
    samples: usize,
    width: usize,
    features: impl Iterator<Item = f64>,
    labels: impl Iterator<Item = f64>,
) -> Result<Dataset> {
    if samples == 0 || width == 0 {
        return Err(Error::new(format!(
            "{samples} samples of {width} features; at least one of each is needed"
        )));
    }
    let features: Vec<f64> = features.collect();
    if let Some(index) = features
        .iter()
        .position(|value| !(0.0..=1.0).contains(value))
    {
        return Err(Error::new(format!(
            "sample {}, feature {}: {} is out of range; features are from 0 to 1",
            index / width + 1,
            index % width + 1,
            features[index]
        )));
    }
    let labels = labels
        .enumerate()
        .map(|(sample, label)| {
            if label.fract() == 0.0 && (0.0..MAX_CLASSES as f64).contains(&label) {
                Ok(label as u8)
            } else {
                Err(Error::new(format!(
                    "sample {}: the label {label} is out of range; labels are whole numbers from 0 \
                     to {}",
                    sample + 1,
                    MAX_CLASSES - 1
                )))
            }
        })
        .collect::<Result<Vec<u8>>>()?;
    let classes = labels
        .iter()
        .max()
        .map_or(0, |&largest| usize::from(largest) + 1);
    Ok(Dataset {
        features,
        width,
        labels,
        classes,
        names: (0..width)
            .map(|feature| format!("feature{feature}"))
            .collect(),
    })
}

fn wrong_shape<T>(name: &str, expected: usize, array: &ArrayD<T>) -> Error {
    Error::new(format!(
        "`{name}` has the shape {:?}; {expected} dimensions are needed",
        array.shape()
    ))
}

/// The set as an archive with `features` (`f64`) and `labels` (`u8`).
///
/// # Errors
/// More than the archive format holds.
pub fn to_npz(set: &Dataset) -> Result<Vec<u8>> {
    let failed = |error| Error::new(format!("cannot write the archive: {error}"));
    let mut writer = NpzWriter::new_compressed(Cursor::new(Vec::new()));
    let features = Array2::from_shape_vec((set.len(), set.width), set.features.clone())
        .map_err(|error| Error::new(error.to_string()))?;
    writer.add_array("features", &features).map_err(failed)?;
    let labels = Array1::from_vec(set.labels.clone());
    writer.add_array("labels", &labels).map_err(failed)?;
    Ok(writer.finish().map_err(failed)?.into_inner())
}

/// The set as one array whose last column is the label.
///
/// # Errors
/// None that is known.
pub fn to_npy(set: &Dataset) -> Result<Vec<u8>> {
    let mut table = Vec::with_capacity(set.len() * (set.width + 1));
    for (features, label) in set.samples() {
        table.extend_from_slice(features);
        table.push(f64::from(label));
    }
    let table = Array2::from_shape_vec((set.len(), set.width + 1), table)
        .map_err(|error| Error::new(error.to_string()))?;
    let mut bytes = Vec::new();
    table
        .write_npy(&mut bytes)
        .map_err(|error| Error::new(format!("cannot write the array: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::yin_yang;
    use super::*;

    #[test]
    fn a_written_set_reads_back_the_same() {
        let mut set = yin_yang::generate(7, 20);
        set.names = (0..4).map(|feature| format!("feature{feature}")).collect();
        assert_eq!(parse_npz(&to_npz(&set).unwrap()).unwrap(), set);
        assert_eq!(parse_npy(&to_npy(&set).unwrap()).unwrap(), set);
    }

    fn npz(features: &Array2<f64>, labels: &Array1<i64>) -> Vec<u8> {
        let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
        writer.add_array("features", features).unwrap();
        writer.add_array("labels", labels).unwrap();
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        let good = ndarray::array![[0.1, 0.2], [0.3, 0.4]];
        let bad = ndarray::array![[0.1, 0.2], [0.3, f64::NAN]];
        let cases = [
            (
                npz(&bad, &ndarray::array![0, 1]),
                "sample 2, feature 2: NaN is out of range; features are from 0 to 1",
            ),
            (
                npz(&good, &ndarray::array![0, 256]),
                "sample 2: the label 256 is out of range; labels are whole numbers from 0 to 255",
            ),
            (
                npz(&good, &ndarray::array![0, 1, 2]),
                "`features` has 2 samples, `labels` has 3",
            ),
        ];
        for (bytes, message) in cases {
            assert_eq!(parse_npz(&bytes).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_header_that_asks_for_all_memory_is_refused() {
        let mut bytes = to_npy(&yin_yang::generate(1, 1)).unwrap();
        let at = bytes
            .windows(6)
            .position(|window| window == b"(1, 5)")
            .unwrap();
        // The header is padded with blanks; eight of them make room for more digits.
        let mut header = bytes[..128].to_vec();
        header.splice(at..at + 6, *b"(99999999999999, 5)");
        header.drain(header.len() - 14..header.len() - 1);
        bytes.splice(..128, header);
        let error = parse_npy(&bytes).unwrap_err().to_string();
        assert!(error.contains("40 bytes of data"), "{error}");
    }

    proptest! {
        #[test]
        fn no_damaged_file_makes_the_parser_panic(
            cut in any::<prop::sample::Index>(),
            put in proptest::collection::vec(any::<u8>(), 0..6),
            archive in any::<bool>(),
        ) {
            let set = yin_yang::generate(7, 3);
            let bytes = if archive { to_npz(&set) } else { to_npy(&set) }.unwrap();
            let cut = cut.index(bytes.len());
            let mut damaged = bytes[..cut].to_vec();
            damaged.extend(put);
            let _ = parse_npz(&damaged);
            let _ = parse_npy(&damaged);
            damaged.extend(&bytes[(cut + 2).min(bytes.len())..]);
            let _ = parse_npz(&damaged);
            let _ = parse_npy(&damaged);
        }

        #[test]
        fn no_header_makes_the_parser_panic(text in "[\\x20-\\x7e]{0,120}") {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((text.len() as u16 + 1).to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.push(b'\n');
            let _ = parse_npy(&bytes);
        }
    }
}
