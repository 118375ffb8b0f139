//! What the host tells a program for each run.
//!
//! The host writes the words of the run first and the number last, then wakes the PE (feed-through
//! interrupt 0, as public product code starts a simulation; tag N). The program works, writes its
//! [record](crate::record) with that number, and sleeps until the number changes again.

use bytemuck::{Pod, Zeroable};
use eventprop_core::program::{Mode, Run};
use s2_hal::dma::Address;

use crate::layout;

/// The words of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Command {
    /// Counts up with each run, from 1.
    pub number: u32,
    /// 0 to train, 1 to evaluate.
    mode: u32,
    samples: u32,
    batch: u32,
    order: u32,
    data: u32,
    stride: u32,
    results: u32,
}

const _: () = assert!(size_of::<Command>() <= layout::bytes(&layout::COMMAND));

impl Command {
    /// The command to do `run`.
    #[must_use]
    pub const fn new(number: u32, run: &Run) -> Self {
        Self {
            number,
            mode: match run.mode {
                Mode::Train => 0,
                Mode::Evaluate => 1,
            },
            samples: run.samples,
            batch: run.batch,
            order: run.order.0,
            data: run.data.0,
            stride: run.stride,
            results: run.results.0,
        }
    }

    /// What is to be done, or `None` if the words say nothing that a program could do.
    #[must_use]
    pub const fn run(&self) -> Option<Run> {
        let mode = match self.mode {
            0 => Mode::Train,
            1 => Mode::Evaluate,
            _ => return None,
        };
        Some(Run {
            mode,
            samples: self.samples,
            batch: self.batch,
            order: Address(self.order),
            data: Address(self.data),
            stride: self.stride,
            results: Address(self.results),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_round_trip() {
        for mode in [Mode::Train, Mode::Evaluate] {
            let run = Run {
                mode,
                samples: 1,
                batch: 2,
                order: Address(3),
                data: Address(4),
                stride: 5,
                results: Address(6),
            };
            let command = Command::new(7, &run);
            assert_eq!(command.run(), Some(run));
            assert_eq!(command.number, 7);
        }
        let damaged = Command {
            mode: 2,
            ..Command::zeroed()
        };
        assert_eq!(damaged.run(), None);
    }
}
