//! How a run shows itself while it goes on: a bar on a terminal, else a line per epoch.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::training::{EpochRecord, Observer, Plan, State};

/// Shows a run on the standard error.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    /// Samples that were trained before this process took over.
    earlier: Option<u64>,
    warnings: Warnings,
}

impl Progress {
    /// Chooses by what the standard error is.
    pub(super) fn new(plan: &Plan, state: &State) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{prefix} [{bar:32}] {percent:>3} %  {msg}  {eta} left",
            )
            .expect("the template is right")
            .progress_chars("=> ");
            let bar = ProgressBar::new(plan.minibatches()).with_style(style);
            bar.set_position(state.minibatches);
            bar.reset_eta();
            bar
        });
        Self {
            bar,
            started: Instant::now(),
            earlier: None,
            warnings: Warnings::new(state.history.last()),
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }
}

impl Observer for Progress {
    fn minibatch(&mut self, plan: &Plan, state: &State) {
        let before = state.samples - state.last_batch;
        let earlier = *self.earlier.get_or_insert(before);
        if let Some(bar) = &self.bar {
            let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
            let rate = (state.samples - earlier) as f64 / seconds;
            bar.set_prefix(format!(
                "epoch {}/{}",
                state.epoch + 1,
                plan.experiment.training.epochs
            ));
            bar.set_message(format!(
                "loss {}  accuracy {:.2} %  silent labels {:.1} %  {rate:.0} samples/s",
                loss(state.tally.mean_loss()),
                100.0 * state.tally.accuracy(),
                100.0 * state.tally.silent_label_fraction()
            ));
            bar.set_position(state.minibatches);
        }
    }

    fn epoch(&mut self, plan: &Plan, record: &EpochRecord) {
        let width = plan.experiment.training.epochs.to_string().len();
        self.line(&format!(
            "epoch {:>width$}/{}  loss {}  accuracy {:.2} %  silent labels {:.1} %  \
             validation loss {}  accuracy {:.2} %  {:.0} s",
            record.epoch,
            plan.experiment.training.epochs,
            loss(record.train.mean_loss()),
            100.0 * record.train.accuracy(),
            100.0 * record.train.silent_label_fraction(),
            loss(record.validation.mean_loss()),
            100.0 * record.validation.accuracy(),
            self.started.elapsed().as_secs_f64()
        ));
        for warning in self.warnings.of(record) {
            self.line(&warning);
        }
    }
}

/// What tells that a run goes astray while its accuracy may not show it yet. Each warning comes once.
#[derive(Default)]
struct Warnings {
    last_silent: Option<f64>,
    last_saturations: u64,
    silent_told: bool,
    saturations_told: bool,
}

impl Warnings {
    /// Goes on behind this epoch.
    fn new(last: Option<&EpochRecord>) -> Self {
        Self {
            last_silent: last.map(|record| record.train.silent_label_fraction()),
            last_saturations: last.map_or(0, |record| record.saturations),
            ..Self::default()
        }
    }

    /// What is to be said of the next epoch.
    ///
    /// A label silent in more than a tenth of the samples, and no less often than an epoch before; and more
    /// saturations than one in a hundred samples, and than an epoch before.
    fn of(&mut self, record: &EpochRecord) -> Vec<String> {
        let mut warnings = Vec::new();
        let silent = record.train.silent_label_fraction();
        if let Some(last) = self.last_silent.replace(silent)
            && silent > 0.1
            && silent >= last
            && !std::mem::replace(&mut self.silent_told, true)
        {
            warnings.push(format!(
                "warning: the label's output is silent in {:.1} % of the training samples of epoch {}, after \
                 {:.1} % in the epoch before; a silent output has no gradient\n  \
                 hint: a smaller optimizer.learning_rate, or a larger silent_neurons.label_bump",
                100.0 * silent,
                record.epoch,
                100.0 * last
            ));
        }
        let last = std::mem::replace(&mut self.last_saturations, record.saturations);
        let samples = record.train.samples + record.validation.samples;
        if record.saturations > last
            && record.saturations > samples / 100
            && !std::mem::replace(&mut self.saturations_told, true)
        {
            warnings.push(format!(
                "warning: {} values of epoch {} were cut to their format's limit, {last} in the epoch before; \
                 gradients are no longer exact\n  \
                 hint: a smaller optimizer.learning_rate, a larger network.slope_floor, or a larger \
                 loss.tau0_ms or loss.tau1_ms",
                record.saturations, record.epoch
            ));
        }
        warnings
    }
}

fn loss(value: Option<f64>) -> String {
    value.map_or_else(|| String::from("   -  "), |loss| format!("{loss:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Tally;

    #[test]
    fn silence_and_saturations_that_grow_are_told_once() {
        let record = |epoch, silent_label, saturations| EpochRecord {
            epoch,
            learning_rate: 0.005,
            train: Tally {
                samples: 1000,
                silent_label,
                ..Tally::default()
            },
            validation: Tally::default(),
            saturations,
            suppressed_spikes: 0,
        };
        // A start in silence that the bumps end is none of them.
        let told = |epochs: &[(u64, u64)], mut warnings: Warnings| {
            let counts = epochs.iter().enumerate();
            let records = counts.map(|(n, &(silent, cut))| record(n as u32 + 1, silent, cut));
            records
                .flat_map(|record| warnings.of(&record))
                .collect::<Vec<_>>()
        };
        let new = || Warnings::new(None);
        assert!(told(&[(600, 0), (300, 10), (120, 9), (90, 10), (95, 3)], new()).is_empty());

        let warnings = told(&[(20, 11), (101, 12), (300, 13), (340, 14)], new());
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].starts_with(
            "warning: 11 values of epoch 1 were cut to their format's limit, 0 in the epoch before"
        ));
        assert!(warnings[1].starts_with(
            "warning: the label's output is silent in 10.1 % of the training samples of epoch 2, after 2.0 % in"
        ));

        // A resumed run knows the epoch before.
        let resumed = Warnings::new(Some(&record(7, 340, 0)));
        assert_eq!(told(&[(340, 0)], resumed).len(), 1);
    }
}
