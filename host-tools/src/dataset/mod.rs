//! Data sets: the generated Yin-Yang set, and samples from files.

pub mod csv;
pub mod encode;
pub mod npz;
pub mod yin_yang;

use std::path::Path;

use crate::error::{Error, Result};
use crate::experiment::{self, DatasetKind};

/// Most classes, and so output neurons, that a data set may have.
pub const MAX_CLASSES: usize = 256;

/// Labelled samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Features, `[sample][feature]`, each from 0 to 1.
    pub features: Vec<f64>,
    /// Features per sample, at least 1.
    pub width: usize,
    /// Class of each sample, below `classes`.
    pub labels: Vec<u8>,
    /// Number of classes.
    pub classes: usize,
    /// Names of the features, one each.
    pub names: Vec<String>,
}

impl Dataset {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The samples: features and class of each.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (&[f64], u8)> {
        self.features
            .chunks_exact(self.width)
            .zip(self.labels.iter().copied())
    }

    /// Writes the set as CSV or as a NumPy archive, by the file's ending.
    ///
    /// The file appears complete or not at all.
    ///
    /// # Errors
    /// Another ending than `.csv`, `.npz` or `.npy`, or a file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match ending(path).as_deref() {
            Some("csv") => csv::to_bytes(self),
            Some("npz") => npz::to_npz(self)?,
            Some("npy") => npz::to_npy(self)?,
            _ => {
                return Err(Error::new("the name must end in .csv, .npz or .npy")
                    .at(path.display().to_string()));
            }
        };
        crate::report::write_file(path, &bytes)
    }
}

/// The three parts of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Sets {
    /// Samples that weights are trained on.
    pub train: Dataset,
    /// Samples that the best epoch is chosen by.
    pub validation: Dataset,
    /// Samples that the result is reported on.
    pub test: Dataset,
}

impl Sets {
    /// Generates or reads what the experiment names.
    ///
    /// # Errors
    /// A file that cannot be read, has a wrong row, or does not fit the training file.
    pub fn load(options: &experiment::Dataset) -> Result<Self> {
        if options.kind == DatasetKind::YinYang {
            return Ok(Self {
                train: yin_yang::generate(options.train_seed, options.train_size),
                validation: yin_yang::generate(options.validation_seed, options.validation_size),
                test: yin_yang::generate(options.test_seed, options.test_size),
            });
        }
        let read = |path: &Path| match options.kind {
            DatasetKind::Csv => csv::read(path),
            _ => npz::read(path),
        };
        let train = read(&options.train)?;
        let others = [&options.validation, &options.test].map(|path| {
            let mut set = read(path)?;
            set.fit(&train)
                .map_err(|error| error.at(path.display().to_string()))?;
            Ok::<_, Error>(set)
        });
        train
            .check_classes()
            .map_err(|error| error.at(options.train.display().to_string()))?;
        let [validation, test] = others;
        Ok(Self {
            train,
            validation: validation?,
            test: test?,
        })
    }
}

impl Dataset {
    /// Every class below the largest must occur: a gap is most likely a wrong label.
    fn check_classes(&self) -> Result<()> {
        let mut counts = vec![0_usize; self.classes];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        if let Some(gap) = counts.iter().position(|&count| count == 0) {
            let largest = self.classes - 1;
            let row = self.labels.iter().position(|&l| usize::from(l) == largest);
            return Err(Error::new(format!(
                "the label {largest} of sample {} is out of range: no sample has the label {gap}",
                row.unwrap_or(0) + 1
            ))
            .hint("labels are whole numbers from 0, and each class has training samples"));
        }
        if self.classes < 2 {
            return Err(
                Error::new("all samples have the label 0").hint("at least two classes are needed")
            );
        }
        Ok(())
    }

    /// Takes over the classes of the training set, which must have the same features.
    fn fit(&mut self, train: &Self) -> Result<()> {
        if self.width != train.width {
            return Err(Error::new(format!(
                "{} features per sample; the training file has {}",
                self.width, train.width
            )));
        }
        if self.classes > train.classes {
            let row = self
                .labels
                .iter()
                .position(|&label| usize::from(label) >= train.classes)
                .unwrap_or(0);
            return Err(Error::new(format!(
                "the label {} of sample {} is out of range; the training file has the labels 0 to {}",
                self.labels[row],
                row + 1,
                train.classes - 1
            )));
        }
        self.classes = train.classes;
        Ok(())
    }
}

/// The file's ending in lower case, without the dot.
pub(crate) fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(width: usize, labels: &[u8]) -> Dataset {
        Dataset {
            features: vec![0.5; width * labels.len()],
            width,
            labels: labels.to_vec(),
            classes: usize::from(labels.iter().copied().max().unwrap_or(0)) + 1,
            names: vec![String::from("a"); width],
        }
    }

    #[test]
    fn sets_that_do_not_fit_together_are_refused() {
        let train = set(2, &[0, 1, 2]);
        set(2, &[1, 0]).fit(&train).unwrap();
        let error = set(3, &[0]).fit(&train).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 features per sample; the training file has 2"
        );
        let error = set(2, &[0, 3]).fit(&train).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the label 3 of sample 2 is out of range; the training file has the labels 0 to 2"
        );
        let error = set(2, &[0, 1, 7, 2]).check_classes().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the label 7 of sample 3 is out of range: no sample has the label 3"),
            "{error}"
        );
    }
}
