//! What training costs on emulated PEs: instructions, estimated cycles, packets and memory of each PE of a
//! replica and of the optimiser, and what follows for the speed of a chip.
//!
//! Instructions are counted; cycles are estimates, from published timings of a Cortex-M4's instructions with memory that
//! answers at once. Nothing here was measured on a chip.

#[cfg(feature = "emulated")]
mod measure;

use std::fmt::Write as _;

use serde::Serialize;

use crate::backend::LayerWeights;
use crate::error::Result;
use crate::training::Plan;

/// Frequencies of a PE that the speed is estimated for, in MHz.
const FREQUENCIES_MHZ: [u32; 2] = [150, 300];

/// Instructions, and an estimate of the cycles that a Cortex-M4 takes for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Instructions.
    pub instructions: f64,
    /// Estimate of their cycles.
    pub estimated_cycles: f64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            instructions: self.instructions + other.instructions,
            estimated_cycles: self.estimated_cycles + other.estimated_cycles,
        }
    }
}

/// What one function took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What was executed in it, without the functions that it calls.
    pub per_sample: Work,
}

/// What one PE did while training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pe {
    /// What its program is, for instance `layer 1`.
    pub program: String,
    /// Forward passes, per sample.
    pub forward: Work,
    /// Backward passes, per sample.
    pub backward: Work,
    /// Going to sleep, waking, and starting runs, per sample.
    pub idle: Work,
    /// Hand-over of gradients and weights, or their update, per minibatch.
    pub update: Work,
    /// Share of the instructions that was none of the other three.
    pub idle_share: f64,
    /// Packets sent, per sample; one to several QuadPEs counts once for each.
    pub packets: f64,
    /// Bytes of the program's arrays.
    pub array_bytes: usize,
    /// Bytes of its receive ring.
    pub ring_bytes: usize,
    /// Most bytes of stack that it used, from its start on.
    pub stack_used: u32,
    /// Its functions, those with most instructions first.
    pub functions: Vec<Function>,
    /// Instructions by call path, a line for each, `program;outer;inner count`; empty unless asked for.
    #[serde(skip)]
    pub folded_stacks: String,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// `exact` or `grid`.
    pub scheme: &'static str,
    /// Neurons per layer: input channels, hidden layers, outputs.
    pub dims: Vec<usize>,
    /// Samples per minibatch.
    pub batch: usize,
    /// Minibatches trained.
    pub minibatches: usize,
    /// Replicas that shared them.
    pub replicas: usize,
    /// Mean spikes per sample, by layer: input, hidden layers, output.
    pub spikes_per_sample: Vec<f64>,
    /// Bytes of stack that a program may use.
    pub stack_bytes: u32,
    /// The PEs of a replica, in the order of the pipeline, as the mean of all replicas.
    pub replica: Vec<Pe>,
    /// The optimiser.
    pub optimizer: Pe,
    /// What follows for a chip.
    pub chip: ChipEstimate,
}

/// How fast a chip would train. Estimates, between bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChipEstimate {
    /// Replicas that a chip has room for.
    pub replicas: usize,
    /// Estimated cycles per sample if all PEs of a replica worked at the same time: those of the PE that has
    /// most.
    pub least_cycles_per_sample: f64,
    /// Estimated cycles per sample if one PE of a replica worked at a time: their sum, with what they take
    /// for waking.
    pub most_cycles_per_sample: f64,
    /// Estimated cycles of the optimiser per minibatch, counted with all these replicas.
    pub update_cycles: f64,
    /// Estimated cycles of a replica's PEs for their part of the update, if one worked at a time.
    pub hand_over_cycles: f64,
    /// Training samples per second.
    pub speeds: Vec<Speed>,
}

/// Estimated training samples per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Frequency of the PEs.
    pub mhz: u32,
    /// With the most cycles.
    pub least: f64,
    /// With the least cycles.
    pub most: f64,
}

impl ChipEstimate {
    /// Estimates the speed of a chip with so many replicas like this one, whose optimiser takes `update`
    /// cycles, and minibatches of `batch` samples.
    #[must_use]
    pub fn new(replica: &[Pe], update: f64, replicas: usize, batch: usize) -> Self {
        let cycles = |of: fn(&Pe) -> Work| replica.iter().map(move |pe| of(pe).estimated_cycles);
        let least = cycles(|pe| pe.forward + pe.backward).fold(0.0, f64::max);
        let most = cycles(|pe| pe.forward + pe.backward + pe.idle).sum();
        let hand_over = cycles(|pe| pe.update).sum();
        let rounds = batch.div_ceil(replicas) as f64;
        let speed = |mhz: u32, cycles: f64| f64::from(mhz) * 1e6 * batch as f64 / cycles;
        let speeds = FREQUENCIES_MHZ.map(|mhz| Speed {
            mhz,
            least: speed(mhz, rounds * most + update + hand_over),
            most: speed(mhz, rounds * least + update),
        });
        Self {
            replicas,
            least_cycles_per_sample: least,
            most_cycles_per_sample: most,
            update_cycles: update,
            hand_over_cycles: hand_over,
            speeds: speeds.into(),
        }
    }
}

impl Profile {
    /// Trains `minibatches` minibatches on emulated PEs, from these weights on, and counts. Start-up does
    /// not count. With `call_paths`, instructions are also counted by call path.
    ///
    /// The experiment's backend is to be `emulated`, with direct routing.
    ///
    /// # Errors
    /// What does not fit the chip, images that are not there, a fault of a program; and in a build without
    /// the feature `emulated`, how to build with it.
    pub fn measure(
        plan: &Plan,
        weights: &[LayerWeights],
        minibatches: usize,
        call_paths: bool,
    ) -> Result<Self> {
        #[cfg(feature = "emulated")]
        return measure::profile(plan, weights, minibatches, call_paths);
        #[cfg(not(feature = "emulated"))]
        {
            let _ = (plan, weights, minibatches, call_paths);
            Err(crate::backend::no_emulator("profile"))
        }
    }

    /// All PEs: those of a replica, then the optimiser.
    pub fn pes(&self) -> impl Iterator<Item = &Pe> {
        self.replica.iter().chain([&self.optimizer])
    }

    /// As a JSON object on several lines.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("plain numbers and texts are JSON");
        text.push('\n');
        text
    }

    /// Instructions by call path of all PEs, a line for each, as tools for flame graphs read them.
    #[must_use]
    pub fn folded_stacks(&self) -> String {
        self.pes().map(|pe| pe.folded_stacks.as_str()).collect()
    }

    /// The table of PEs and the estimates of speed, in Markdown.
    #[must_use]
    pub fn report(&self) -> String {
        let dims: Vec<_> = self.dims.iter().map(ToString::to_string).collect();
        let spikes: Vec<_> = self
            .spikes_per_sample
            .iter()
            .map(|n| format!("{n:.1}"))
            .collect();
        let mut text = format!(
            "{} {}, minibatches of {} samples, {} trained on {} of a chip's {} replicas; spikes per sample by layer: {}.\n\n",
            self.scheme,
            dims.join("-"),
            self.batch,
            self.minibatches,
            self.replicas,
            self.chip.replicas,
            spikes.join(", "),
        );
        let _ = writeln!(
            text,
            "| program | forward, instructions per sample | backward, instructions per sample | update, instructions per minibatch | idle, of instructions | forward and backward, estimated cycles per sample | packets sent per sample | arrays (bytes) | ring (bytes) | stack used, of {} bytes |\n\
             |---|---|---|---|---|---|---|---|---|---|",
            grouped(f64::from(self.stack_bytes)),
        );
        for pe in self.pes() {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.1} % | {} | {:.1} | {} | {} | {} |",
                pe.program,
                grouped(pe.forward.instructions),
                grouped(pe.backward.instructions),
                grouped(pe.update.instructions),
                100.0 * pe.idle_share,
                grouped((pe.forward + pe.backward).estimated_cycles),
                pe.packets,
                grouped(pe.array_bytes as f64),
                grouped(pe.ring_bytes as f64),
                grouped(f64::from(pe.stack_used)),
            );
        }
        text += &self.chip_report();
        text
    }

    fn chip_report(&self) -> String {
        let chip = &self.chip;
        let mut text = format!(
            "\nEstimated speed of a chip with {} replicas, between two bounds:\n\n\
             | frequency | samples per second, at least | at most |\n|---|---|---|\n",
            chip.replicas
        );
        for speed in &chip.speeds {
            let _ = writeln!(
                text,
                "| {} MHz | {} | {} |",
                speed.mhz,
                grouped(speed.least),
                grouped(speed.most)
            );
        }
        let rounds = self.batch.div_ceil(chip.replicas);
        let _ = writeln!(
            text,
            "\nOf a minibatch of {} samples a replica gets at most {rounds}; the update follows. \
             A sample takes between {} cycles, those of the busiest PE of the replica, and {}, the sum of its PEs with \
             their waking: they work on one sample together, but partly wait for each other. The update takes {} cycles \
             of the optimiser, and at most {} of a replica's PEs. Assumed: cycles as estimated for a Cortex-M4, memory \
             that answers at once, also that of other PEs, and samples that all take the mean. Not counted: latency \
             of network and DRAM, and the host.",
            self.batch,
            grouped(chip.least_cycles_per_sample),
            grouped(chip.most_cycles_per_sample),
            grouped(chip.update_cycles),
            grouped(chip.hand_over_cycles),
        );
        text
    }

    /// The `count` functions with most instructions of each PE, in Markdown.
    #[must_use]
    pub fn functions_report(&self, count: usize) -> String {
        let mut text = String::new();
        for pe in self.pes() {
            let all: f64 = pe.functions.iter().map(|f| f.per_sample.instructions).sum();
            let _ = write!(
                text,
                "\n| function of {} | instructions per sample | share |\n|---|---|---|\n",
                pe.program
            );
            for function in pe.functions.iter().take(count) {
                let instructions = function.per_sample.instructions;
                let _ = writeln!(
                    text,
                    "| `{}` | {} | {:.1} % |",
                    function.name.replace('|', "\\|"),
                    grouped(instructions),
                    100.0 * instructions / all.max(1.0),
                );
            }
        }
        text
    }
}

/// A number without fraction, its digits in groups of three.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(cycles: f64) -> Work {
        Work {
            instructions: cycles / 2.0,
            estimated_cycles: cycles,
        }
    }

    fn pe(program: &str, [forward, backward, idle, update]: [f64; 4]) -> Pe {
        Pe {
            program: program.to_owned(),
            forward: work(forward),
            backward: work(backward),
            idle: work(idle),
            update: work(update),
            idle_share: 0.125,
            packets: 7.25,
            array_bytes: 45_024,
            ring_bytes: 80,
            stack_used: 1000,
            functions: ["first|one", "second"]
                .map(|name| Function {
                    name: name.to_owned(),
                    per_sample: work(1e6),
                })
                .into(),
            folded_stacks: format!("{program};main 3\n"),
        }
    }

    fn profile() -> Profile {
        let replica = vec![
            pe("input", [1e3, 0.0, 100.0, 0.0]),
            pe("layer 1", [1e5, 2e5, 1e3, 4e3]),
        ];
        let chip = ChipEstimate::new(&replica, 1.2e5, 36, 40);
        Profile {
            scheme: "exact",
            dims: vec![5, 120, 3],
            batch: 40,
            minibatches: 1,
            replicas: 1,
            spikes_per_sample: vec![5.0, 30.25, 3.0],
            stack_bytes: 3840,
            replica,
            optimizer: pe("optimiser", [0.0, 0.0, 0.0, 5e4]),
            chip,
        }
    }

    #[test]
    fn bounds_enclose_what_a_pipeline_can_do() {
        let chip = profile().chip;
        // The busiest PE, without waking; and all of them, with it.
        assert_eq!(chip.least_cycles_per_sample, 3e5);
        assert_eq!(chip.most_cycles_per_sample, 302_100.0);
        assert_eq!(chip.hand_over_cycles, 4e3);
        // 40 samples on 36 replicas are two in a row.
        let seconds = |mhz: f64, cycles: f64| cycles / (mhz * 1e6);
        for (speed, mhz) in chip.speeds.iter().zip([150.0, 300.0]) {
            assert_eq!(speed.mhz, mhz as u32);
            let most = 40.0 / seconds(mhz, 2.0 * 3e5 + 1.2e5);
            let least = 40.0 / seconds(mhz, 2.0 * 302_100.0 + 1.24e5);
            assert!((speed.most / most - 1.0).abs() < 1e-12, "{speed:?}");
            assert!((speed.least / least - 1.0).abs() < 1e-12, "{speed:?}");
        }
    }

    #[test]
    fn reports_show_every_pe() {
        let profile = profile();
        let report = profile.report();
        for line in [
            "| input | 500 | 0 | 0 | 12.5 % | 1,000 | 7.2 | 45,024 | 80 | 1,000 |\n",
            "| layer 1 | 50,000 | 100,000 | 2,000 | 12.5 % | 300,000 | 7.2 | 45,024 | 80 | 1,000 |\n",
            "| optimiser | 0 | 0 | 25,000 | 12.5 % | 0 | 7.2 | 45,024 | 80 | 1,000 |\n",
            "| 300 MHz | 16,479 | 16,667 |\n",
        ] {
            assert!(report.contains(line), "{line} is not in\n{report}");
        }
        let functions = profile.functions_report(1);
        assert_eq!(
            functions
                .matches("| `first\\|one` | 500,000 | 50.0 % |\n")
                .count(),
            3
        );
        assert!(!functions.contains("second"));
        assert_eq!(
            profile.folded_stacks(),
            "input;main 3\nlayer 1;main 3\noptimiser;main 3\n"
        );
    }

    #[test]
    fn digits_are_grouped() {
        let text = [0.4, 999.0, 1000.0, 1_234_567.0].map(grouped);
        assert_eq!(text, ["0", "999", "1,000", "1,234,567"]);
    }
}
