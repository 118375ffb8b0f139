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
                "loss {}  accuracy {:.2} %  {rate:.0} samples/s",
                loss(state.tally.mean_loss()),
                100.0 * state.tally.accuracy()
            ));
            bar.set_position(state.minibatches);
        }
    }

    fn epoch(&mut self, plan: &Plan, record: &EpochRecord) {
        let width = plan.experiment.training.epochs.to_string().len();
        self.line(&format!(
            "epoch {:>width$}/{}  loss {}  accuracy {:.2} %  validation loss {}  accuracy {:.2} %  \
             {:.0} s",
            record.epoch,
            plan.experiment.training.epochs,
            loss(record.train.mean_loss()),
            100.0 * record.train.accuracy(),
            loss(record.validation.mean_loss()),
            100.0 * record.validation.accuracy(),
            self.started.elapsed().as_secs_f64()
        ));
    }
}

fn loss(value: Option<f64>) -> String {
    value.map_or_else(|| String::from("   -  "), |loss| format!("{loss:.4}"))
}
