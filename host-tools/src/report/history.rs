//! The epochs of a run as a table.

use std::fmt::Write;

use crate::training::EpochRecord;

/// The epochs as CSV: epoch (from 1), learning rate, then for the training and the validation
/// samples the mean loss (empty without samples), the accuracy (ties wrong), the fraction of
/// samples with a silent label, for training the mean number of spikes per sample by layer, and over both
/// the values that were cut to their format's limits and the spikes beyond the limit per step.
///
/// Training figures are taken while the weights change. The table has the same bytes on every
/// backend.
pub fn to_csv(history: &[EpochRecord]) -> String {
    let mut text = String::from("epoch,learning_rate");
    for split in ["train", "validation"] {
        for column in ["loss", "accuracy", "accuracy_ties_correct", "silent_label"] {
            write!(text, ",{split}_{column}").expect(FITS);
        }
    }
    let layers = history
        .first()
        .map_or(0, |record| record.train.spikes.len());
    for layer in 0..layers {
        write!(text, ",train_spikes_layer{layer}").expect(FITS);
    }
    text.push_str(",saturations,suppressed_spikes\n");
    for record in history {
        write!(text, "{},{}", record.epoch, record.learning_rate).expect(FITS);
        for tally in [&record.train, &record.validation] {
            text.push(',');
            if let Some(loss) = tally.mean_loss() {
                write!(text, "{loss}").expect(FITS);
            }
            write!(
                text,
                ",{},{},{}",
                tally.accuracy(),
                tally.accuracy_ties_correct(),
                tally.silent_label_fraction()
            )
            .expect(FITS);
        }
        for spikes in record.train.spikes_per_sample() {
            write!(text, ",{spikes}").expect(FITS);
        }
        let (saturations, suppressed) = (record.saturations, record.suppressed_spikes);
        writeln!(text, ",{saturations},{suppressed}").expect(FITS);
    }
    text
}

const FITS: &str = "a string takes everything";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Tally;

    #[test]
    fn a_row_per_epoch() {
        let tally = Tally {
            samples: 4,
            correct: 1,
            correct_ties: 2,
            silent_label: 1,
            loss: 1.5,
            spikes: vec![20, 40, 6],
        };
        let record = EpochRecord {
            epoch: 1,
            learning_rate: 0.005,
            train: tally,
            validation: Tally {
                samples: 2,
                ..Tally::default()
            },
            saturations: 7,
            suppressed_spikes: 9,
        };
        assert_eq!(
            to_csv(&[record]),
            "epoch,learning_rate,train_loss,train_accuracy,train_accuracy_ties_correct,\
             train_silent_label,validation_loss,validation_accuracy,\
             validation_accuracy_ties_correct,validation_silent_label,train_spikes_layer0,\
             train_spikes_layer1,train_spikes_layer2,saturations,suppressed_spikes\n\
             1,0.005,0.375,0.25,0.5,0.25,0,0,0,0,5,10,1.5,7,9\n"
        );
    }
}
