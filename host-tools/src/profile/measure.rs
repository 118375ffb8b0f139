//! The measurement: counts of the emulator before and after training, and their differences.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bsp::layout;
use eventprop_core::program::Phase;
use s2_emu::{Count, FunctionCount, Options, Processor};
use s2_hal::topology::PeId;

use super::{ChipEstimate, Function, Pe, Profile, Work};
use crate::backend::emulated::Emulated;
use crate::backend::{Backend, LayerWeights, Tally};
use crate::error::Result;
use crate::mapping::{Placement, Role, USABLE_CORES};
use crate::training::{Plan, shuffled};

/// Instructions from one look at a program's phase to the next. What is executed between a change and
/// the next look is taken for the phase before.
const SLICE: u64 = 32;

pub(super) fn profile(
    plan: &Plan,
    weights: &[LayerWeights],
    minibatches: usize,
    call_paths: bool,
) -> Result<Profile> {
    let replicas = plan.experiment.backend.replicas as usize;
    let batch = plan.experiment.training.batch;
    let training = Training::new(plan, weights, minibatches, call_paths)?;
    let mapping = training.backend.mapping();
    // The optimiser is the last one.
    let pes = (mapping.placements.len() - 1) / replicas;
    let most_replicas = (USABLE_CORES - 1) / pes;
    let replica: Vec<_> = (0..pes)
        .map(|place| {
            let same: Vec<_> = mapping.placements[..replicas * pes]
                .iter()
                .skip(place)
                .step_by(pes)
                .collect();
            training.pe(&same)
        })
        .collect();
    let optimizer = training.optimizer();
    // What the update takes depends on how many replicas there are.
    let update = if replicas == most_replicas {
        optimizer.update
    } else {
        let mut plan = plan.clone();
        plan.experiment.backend.replicas = most_replicas as u32;
        Training::new(&plan, weights, 1, false)?.optimizer().update
    };
    Ok(Profile {
        scheme: plan.experiment.network.scheme.name(),
        dims: plan.dims.clone(),
        batch,
        minibatches,
        replicas,
        spikes_per_sample: training.tally.spikes_per_sample(),
        stack_bytes: layout::bytes(&layout::STACK) as u32 - layout::STACK_GUARD_BYTES,
        chip: ChipEstimate::new(&replica, update.estimated_cycles, most_replicas, batch),
        replica,
        optimizer,
    })
}

/// What a PE has counted.
#[derive(Clone, Default)]
struct Counts {
    phases: BTreeMap<u32, Count>,
    functions: BTreeMap<String, Count>,
    paths: BTreeMap<String, u64>,
    packets: u64,
}

impl Counts {
    fn read(backend: &Emulated, pe: PeId) -> Self {
        let machine = backend.machine();
        let processor = machine.processor(pe).expect("every PE in use has firmware");
        let mut functions: BTreeMap<_, Count> = BTreeMap::new();
        for FunctionCount {
            name,
            instructions,
            estimated_cycles,
        } in processor.functions()
        {
            let sum = functions.entry(name).or_default();
            sum.instructions += instructions;
            sum.estimated_cycles += estimated_cycles;
        }
        Self {
            phases: processor.phases().clone(),
            functions,
            paths: paths(processor),
            packets: machine.chip().pe_counters(pe).sent,
        }
    }

    /// Adds what was counted from `before` to `after`.
    fn add_difference(&mut self, before: &Self, after: &Self) {
        fn add<K: Ord + Clone>(
            sums: &mut BTreeMap<K, Count>,
            before: &BTreeMap<K, Count>,
            after: &BTreeMap<K, Count>,
        ) {
            for (key, count) in after {
                let before = before.get(key).copied().unwrap_or_default();
                let sum = sums.entry(key.clone()).or_default();
                sum.instructions += count.instructions - before.instructions;
                sum.estimated_cycles += count.estimated_cycles - before.estimated_cycles;
            }
        }
        add(&mut self.phases, &before.phases, &after.phases);
        add(&mut self.functions, &before.functions, &after.functions);
        for (path, count) in &after.paths {
            let before = before.paths.get(path).copied().unwrap_or_default();
            *self.paths.entry(path.clone()).or_default() += count - before;
        }
        self.packets += after.packets - before.packets;
    }
}

/// Instructions by call path, without the PE's name at its head.
fn paths(processor: &Processor) -> BTreeMap<String, u64> {
    let text = processor.folded_stacks();
    let lines = text.lines().filter_map(|line| {
        let (path, count) = line.rsplit_once(' ')?;
        let (_, functions) = path.split_once(';')?;
        Some((functions, count.parse::<u64>().ok()?))
    });
    // Instances of one generic function have the same name, so a path may come more than once.
    let mut paths = BTreeMap::new();
    for (functions, count) in lines {
        *paths.entry(functions.to_owned()).or_default() += count;
    }
    paths
}

fn per(count: Count, number: f64) -> Work {
    Work {
        instructions: count.instructions as f64 / number,
        estimated_cycles: count.estimated_cycles as f64 / number,
    }
}

/// A training that has been done, and the counts from before it.
struct Training {
    backend: Emulated,
    before: BTreeMap<PeId, Counts>,
    tally: Tally,
    minibatches: usize,
}

impl Training {
    fn new(
        plan: &Plan,
        weights: &[LayerWeights],
        minibatches: usize,
        call_paths: bool,
    ) -> Result<Self> {
        let options = Options {
            slice: SLICE,
            call_paths,
            ..Options::default()
        };
        let mut backend = Emulated::with_options(plan.setup(), &options)?;
        backend.set_weights(weights)?;
        let pes = backend.mapping().placements.iter();
        let before = pes
            .map(|placement| (placement.pe, Counts::read(&backend, placement.pe)))
            .collect();
        let mut tally = Tally::default();
        let batch = plan.experiment.training.batch;
        for number in 0..minibatches {
            let epoch = (number / plan.minibatches_per_epoch()) as u32;
            let minibatch = number % plan.minibatches_per_epoch();
            let order = shuffled(plan.experiment.seed, epoch, plan.sets.train.len());
            let samples = order
                .chunks(batch)
                .nth(minibatch)
                .expect("within the epoch");
            backend.set_learning_rate(plan.learning_rate(epoch, minibatch))?;
            tally.add(&backend.train(samples, batch)?);
        }
        Ok(Self {
            backend,
            before,
            tally,
            minibatches,
        })
    }

    fn optimizer(&self) -> Pe {
        let last = self.backend.mapping().placements.last();
        self.pe(&[last.expect("the optimiser is placed last")])
    }

    /// What PEs that do the same did, on the average of samples and minibatches.
    fn pe(&self, same: &[&Placement]) -> Pe {
        let mut counts = Counts::default();
        let mut stack_used = 0;
        for Placement { pe, .. } in same {
            counts.add_difference(&self.before[pe], &Counts::read(&self.backend, *pe));
            let processor = self.backend.machine().processor(*pe);
            stack_used = stack_used.max(processor.map_or(0, Processor::stack_used));
        }
        let samples = self.tally.samples as f64;
        let phase = |phase: Phase| {
            counts
                .phases
                .get(&(phase as u32))
                .copied()
                .unwrap_or_default()
        };
        let all: u64 = counts.phases.values().map(|count| count.instructions).sum();
        let mut functions: Vec<_> = counts
            .functions
            .iter()
            .map(|(name, &count)| Function {
                name: name.clone(),
                per_sample: per(count, samples),
            })
            .filter(|function| function.per_sample.instructions > 0.0)
            .collect();
        functions.sort_by(|a, b| {
            b.per_sample
                .instructions
                .total_cmp(&a.per_sample.instructions)
        });
        let program = match same[0].role {
            Role::Input { .. } => "input".to_owned(),
            Role::Layer {
                layer, parts: 1, ..
            } => format!("layer {layer}"),
            Role::Layer {
                layer, part, parts, ..
            } => format!("layer {layer}, part {} of {parts}", part + 1),
            Role::Loss { .. } => "loss".to_owned(),
            Role::Optimizer => "optimiser".to_owned(),
        };
        let mut folded_stacks = String::new();
        for (path, count) in counts.paths.iter().filter(|(_, count)| **count > 0) {
            let _ = writeln!(folded_stacks, "{program};{path} {count}");
        }
        Pe {
            program,
            forward: per(phase(Phase::Forward), samples),
            backward: per(phase(Phase::Backward), samples),
            idle: per(phase(Phase::Idle), samples),
            update: per(phase(Phase::Update), (self.minibatches * same.len()) as f64),
            idle_share: phase(Phase::Idle).instructions as f64 / all.max(1) as f64,
            packets: counts.packets as f64 / samples,
            array_bytes: same[0].program.memory_bytes(),
            ring_bytes: same[0].program.ring_words() * size_of::<u32>(),
            stack_used,
            functions,
            folded_stacks,
        }
    }
}
