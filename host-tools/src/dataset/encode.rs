//! Turns features into the times of input spikes.

use eventprop_core::encoding::{Encoding, Order, feature_from_f64};
use sha2::{Digest, Sha256};

use super::{Dataset, Sets};
use crate::backend::{EncodedSample, EncodedSets, InputEvent};
use crate::experiment::{EncodingKind, Experiment, Scheme};
use crate::time;

/// Encodes all three parts of a data set.
///
/// # Panics
/// As [`Encoder::new`].
pub fn encode_sets(sets: &Sets, experiment: &Experiment) -> EncodedSets {
    EncodedSets {
        train: encode(&sets.train, experiment),
        validation: encode(&sets.validation, experiment),
        test: encode(&sets.test, experiment),
    }
}

/// Encodes every sample of a set.
///
/// # Panics
/// As [`Encoder::new`].
pub fn encode(set: &Dataset, experiment: &Experiment) -> Vec<EncodedSample> {
    let encoder = Encoder::new(experiment);
    set.samples()
        .map(|(features, label)| encoder.sample(features, label))
        .collect()
}

/// Turns features into spikes as an experiment asks: one spike per feature, and one of the bias
/// channel behind them, each at the nearest tick.
#[derive(Clone, Debug)]
pub struct Encoder {
    features: Encoding,
    bias_ticks: Option<u32>,
    ticks_per_step: u32,
    steps: u32,
}

impl Encoder {
    /// Takes the times from an experiment.
    ///
    /// # Panics
    /// If the experiment does not pass [`Experiment::check`].
    pub fn new(experiment: &Experiment) -> Self {
        let (encoding, network) = (&experiment.encoding, &experiment.network);
        let ticks_per_step = match network.scheme {
            Scheme::Exact => 1_u32 << network.tick_bits,
            Scheme::Grid => 1,
        };
        let ticks = |ms: f64| time::steps(ms, network.step_ms) * f64::from(ticks_per_step);
        let order = match encoding.kind {
            EncodingKind::Latency => Order::SmallFirst,
            EncodingKind::Linear => Order::LargeFirst,
        };
        Self {
            features: Encoding::new(order, ticks(encoding.first_ms), ticks(encoding.last_ms))
                .expect("an experiment's times lie within a sample"),
            bias_ticks: encoding.bias_ms.map(|ms| ticks(ms).round() as u32),
            ticks_per_step,
            steps: network.steps,
        }
    }

    /// Encodes one sample.
    ///
    /// # Panics
    /// If there are more than 65,535 features.
    pub fn sample(&self, features: &[f64], label: u8) -> EncodedSample {
        let times = features
            .iter()
            .map(|&feature| self.features.ticks(feature_from_f64(feature)));
        let mut events: Vec<InputEvent> = times
            .chain(self.bias_ticks)
            .enumerate()
            .map(|(channel, ticks)| {
                // The very end of the last step is still within it.
                let step = (ticks / self.ticks_per_step).min(self.steps - 1);
                let offset = (ticks - step * self.ticks_per_step).min(self.ticks_per_step);
                InputEvent {
                    step: u16::try_from(step).expect("at most 2047 steps"),
                    offset: u16::try_from(offset).expect("at most 256 ticks"),
                    channel: u16::try_from(channel).expect("at most 65535 features"),
                }
            })
            .collect();
        events.sort_unstable();
        EncodedSample { label, events }
    }
}

/// SHA-256 of encoded samples.
pub fn digest(sets: &EncodedSets) -> [u8; 32] {
    let mut hash = Sha256::new();
    for set in [&sets.train, &sets.validation, &sets.test] {
        hash.update((set.len() as u64).to_le_bytes());
        for EncodedSample { label, events } in set {
            hash.update([*label]);
            hash.update((events.len() as u64).to_le_bytes());
            for event in events {
                hash.update(event.step.to_le_bytes());
                hash.update(event.offset.to_le_bytes());
                hash.update(event.channel.to_le_bytes());
            }
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel_times(features: &[f64], experiment: &Experiment) -> Vec<(u16, u16, u16)> {
        Encoder::new(experiment)
            .sample(features, 0)
            .events
            .iter()
            .map(|event| (event.channel, event.step, event.offset))
            .collect()
    }

    #[test]
    fn latency_spikes_fall_between_steps() {
        let experiment = Experiment::default();
        assert_eq!(
            channel_times(&[0.0, 1.0, 0.25, 0.123], &experiment),
            [(0, 0, 0), (4, 0, 0), (3, 3, 177), (2, 7, 128), (1, 30, 0)]
        );
    }

    #[test]
    fn the_last_tick_of_a_sample_is_in_its_last_step() {
        let mut experiment = Experiment::default();
        experiment.encoding.last_ms = 40.0;
        experiment.check().unwrap();
        assert_eq!(
            channel_times(&[1.0], &experiment),
            [(1, 0, 0), (0, 39, 256)]
        );
    }

    #[test]
    fn linear_spikes_follow_the_published_steps() {
        let experiment = Experiment::default_for(Scheme::Grid);
        let published = |x: f64| ((24.0 * (1.0 - x)).min(23.76) + 2.0).round_ties_even() as u16;
        for x in (0..=100).map(|percent| f64::from(percent) / 100.0) {
            assert_eq!(channel_times(&[x], &experiment)[1], (0, published(x), 0));
        }
        // The sample of the reference vector `grid_single`.
        assert_eq!(
            channel_times(&[0.3, 0.8, 0.7, 0.2], &experiment),
            [(4, 0, 0), (1, 7, 0), (2, 9, 0), (0, 19, 0), (3, 21, 0)]
        );
    }
}
