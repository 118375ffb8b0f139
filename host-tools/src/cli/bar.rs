//! How work with a board shows itself on a terminal: a bar while data go over the line, and what PEs do.

use std::io::IsTerminal;

use bsp::record::Record;
use indicatif::{ProgressBar, ProgressStyle};

use crate::link::Observer;

/// Shows what goes on, on the standard error; notes also when that is no terminal.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    quiet: bool,
    /// Whether to show what PEs do while nothing goes over the line.
    watch: bool,
    expected: u64,
    transferred: u64,
}

impl Bar {
    /// An observer for a client; `quiet` shows nothing at all, `watch` what PEs do.
    pub(super) fn boxed(quiet: bool, watch: bool) -> Box<dyn Observer> {
        Box::new(Self {
            bar: None,
            quiet,
            watch,
            expected: 0,
            transferred: 0,
        })
    }

    fn is_shown(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        (self.expected, self.transferred) = (0, 0);
    }
}

impl Observer for Bar {
    fn expected(&mut self, bytes: usize) {
        if !self.is_shown() {
            return;
        }
        if self.expected == 0 {
            self.clear();
            let style = ProgressStyle::with_template(
                "[{bar:32}] {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {wide_msg}",
            )
            .expect("the template is right")
            .progress_chars("=> ");
            self.bar = Some(ProgressBar::new(0).with_style(style));
        }
        self.expected += bytes as u64;
        if let Some(bar) = &self.bar {
            bar.set_length(self.expected);
        }
    }

    fn transferred(&mut self, bytes: usize) {
        if self.expected == 0 {
            return;
        }
        self.transferred += bytes as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(self.transferred);
        }
        if self.transferred >= self.expected {
            self.clear();
        }
    }

    fn changed(&mut self, record: &Record) {
        if !self.watch || !self.is_shown() {
            return;
        }
        let bar = self.bar.get_or_insert_with(ProgressBar::new_spinner);
        bar.set_message(record.to_string());
        bar.tick();
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
    }
}
