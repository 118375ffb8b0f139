//! A small network that is trained on made-up samples: the same code for a PE and for a PC, so that the
//! bits can be compared.

use eventprop_core::log::{Event, EventLog};
use eventprop_core::loss::{SILENT, Silence, TimeToFirstSpike};
use eventprop_core::network::{self, Layer};
use eventprop_core::numeric::{Statistics, weight_from_f64};
use eventprop_core::optimizer::{
    Method, Progress, Rounding, Settings, SilentNeurons, Stretch, Update,
};
use eventprop_core::program::Portable;
use eventprop_core::state::{Neurons, scratch_len};
use eventprop_core::tables::{
    Coefficients, Dynamics, Scheme, Tables, fill, fill_runs, peaks, run_entries,
};
use s2_hal::math::SoftwareExpLog;

const INPUTS: usize = 5;
const HIDDEN: usize = 20;
const OUTPUTS: usize = 3;
const STEPS: usize = 30;
const TICKS: usize = 16;
const EVENTS: usize = 512;
const MINIBATCHES: u32 = 3;
const SAMPLES: u32 = 4;

/// Hashes (FNV-1a) of what came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Sum of those of all spikes.
    pub spikes: u32,
    /// Of all gradients.
    pub gradients: u32,
    /// Of the weights at the end.
    pub weights: u32,
    /// Spikes of hidden and output neurons.
    pub count: u32,
}

struct Hash(u32);

impl Hash {
    const NEW: Self = Self(0x811c_9dc5);

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

/// Memory of a log.
struct LogMemory {
    events: [Event; EVENTS],
    slopes: [i32; EVENTS],
    errors: [i32; EVENTS],
    ends: [u32; STEPS],
}

impl LogMemory {
    const fn new() -> Self {
        Self {
            events: [Event {
                neuron: 0,
                offset: 0,
            }; EVENTS],
            slopes: [0; EVENTS],
            errors: [0; EVENTS],
            ends: [0; STEPS],
        }
    }

    fn log(&mut self) -> EventLog<'_> {
        EventLog::new(
            &mut self.events,
            &mut self.slopes,
            &mut self.errors,
            &mut self.ends,
        )
    }
}

/// Numbers that look random.
struct Random(u32);

impl Random {
    fn next(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(self.0) * u64::from(below)) >> 32) as u32
    }

    fn weight(&mut self, mean: f64) -> i32 {
        weight_from_f64(mean + f64::from(self.next(1 << 16)) / f64::from(1 << 16) - 0.5)
    }
}

/// Trains with a discretisation and an optimiser.
pub fn train(scheme: Scheme, method: Method) -> Digest {
    let ticks = if scheme == Scheme::Exact { TICKS } else { 1 };
    let mut table = [Coefficients::default(); TICKS + 1];
    let table = &mut table[..=ticks];
    fill(table, 1.0, 20.0, 5.0).expect("the constants are good");
    let mut runs = [Coefficients::default(); run_entries(STEPS)];
    fill_runs(&mut runs, 1.0, 20.0, 5.0);
    let tables = Tables {
        ticks: table,
        runs: &runs,
        peaks: &peaks(1.0, 20.0, 5.0),
    };
    let dynamics = Dynamics::new(scheme, tables, 4, 1 << 10).expect("the constants are good");
    let tick_ms = 1.0 / ticks as f64;
    let silence = Silence {
        send_for_label: true,
        ..Silence::default()
    };
    let loss = TimeToFirstSpike::new(0.5, 6.4, 3e-3, tick_ms, (STEPS * ticks) as u32, silence);
    let loss = loss.expect("the constants are good");
    let settings = Settings {
        method,
        weight_decay: 1e-4,
        tau_synapse_ms: 5.0,
        silent_neurons: SilentNeurons::default(),
        rounding: Rounding::NONE,
    };

    let mut random = Random(7);
    let mut hidden_weights: [i32; INPUTS * HIDDEN] = core::array::from_fn(|_| random.weight(1.5));
    let mut output_weights: [i32; HIDDEN * OUTPUTS] = core::array::from_fn(|_| random.weight(0.6));
    let (mut hidden_first, mut hidden_second) = ([0.0; INPUTS * HIDDEN], [0.0; INPUTS * HIDDEN]);
    let (mut output_first, mut output_second) = ([0.0; HIDDEN * OUTPUTS], [0.0; HIDDEN * OUTPUTS]);
    let mut progress = Progress::new(0.005);
    let mut statistics = Statistics::default();
    let mut memories = [LogMemory::new(), LogMemory::new(), LogMemory::new()];
    let mut state = [[0; HIDDEN]; 4];
    let (mut scratch, mut scratch_o) = ([0; scratch_len(HIDDEN)], [0; scratch_len(OUTPUTS)]);
    let mut sums = [0; EVENTS];
    let [mut gradients, mut weights] = [Hash::NEW, Hash::NEW];
    let (mut spikes, mut count) = (0u32, 0);

    for _ in 0..MINIBATCHES {
        let mut hidden_gradient = [0; INPUTS * HIDDEN];
        let mut output_gradient = [0; HIDDEN * OUTPUTS];
        for sample in 0..SAMPLES {
            let [input, hidden, output] = &mut memories;
            let mut input = input.log();
            for _ in 0..STEPS {
                for neuron in 0..INPUTS as u16 {
                    if random.next(6) == 0 {
                        let offset = random.next(ticks as u32) as u16;
                        input
                            .push(Event { neuron, offset }, 0)
                            .expect("it has room");
                    }
                }
                input.end_step().expect("it has room");
            }
            let [membrane_h, current_h, membrane_o, current_o] = &mut state;
            let mut layers = [
                Layer {
                    neurons: Neurons::reset(membrane_h, current_h, &mut scratch),
                    log: hidden.log(),
                    gradient: &mut hidden_gradient,
                },
                Layer {
                    neurons: Neurons::reset(
                        &mut membrane_o[..OUTPUTS],
                        &mut current_o[..OUTPUTS],
                        &mut scratch_o,
                    ),
                    log: output.log(),
                    gradient: &mut output_gradient,
                },
            ];
            let all = [&hidden_weights[..], &output_weights[..]];
            network::forward(
                &Portable,
                &dynamics,
                &all,
                &input,
                &mut layers,
                &mut statistics,
            )
            .expect("the logs have room");
            for layer in &layers {
                count += layer.log.len() as u32;
                for step in 0..STEPS {
                    for event in layer.log.events(step) {
                        // In a step they stand in any order.
                        let mut hash = Hash::NEW;
                        hash.add(&(step as u32).to_le_bytes());
                        hash.add(&event.neuron.to_le_bytes());
                        hash.add(&event.offset.to_le_bytes());
                        spikes = spikes.wrapping_add(hash.0);
                    }
                }
            }
            // The first spike of each output gets the error.
            let log = &mut layers[1].log;
            let mut first = [SILENT; OUTPUTS];
            let mut place = [usize::MAX; OUTPUTS];
            for step in 0..STEPS {
                for index in log.range(step) {
                    let event = log.all()[index];
                    let neuron = usize::from(event.neuron);
                    if first[neuron] == SILENT {
                        first[neuron] = step as u32 * ticks as u32 + u32::from(event.offset);
                        place[neuron] = index;
                    }
                }
            }
            let label = sample as usize % OUTPUTS;
            let mut errors = [0; OUTPUTS];
            let saturations = &mut statistics.saturations;
            loss.evaluate(&mut SoftwareExpLog, &first, label, &mut errors, saturations);
            let into = log.errors_mut();
            into.fill(0);
            for (place, error) in place.into_iter().zip(errors) {
                if let Some(slot) = into.get_mut(place) {
                    *slot = error;
                }
            }
            network::backward(
                &Portable,
                &dynamics,
                &all,
                &input,
                &mut layers,
                &mut sums,
                &mut statistics,
            );
        }
        let sums = hidden_gradient.iter().chain(&output_gradient);
        sums.for_each(|sum| gradients.add(&sum.to_le_bytes()));
        let update = Update::begin(&settings, &mut progress, SAMPLES);
        update.apply(
            Stretch {
                layer: 0,
                first_neuron: 0,
                neurons: HIDDEN,
                position: 0,
                weights: &mut hidden_weights,
                gradients: &hidden_gradient,
                first: &mut hidden_first,
                second: &mut hidden_second,
                bumps: &[],
            },
            &mut statistics,
        );
        update.apply(
            Stretch {
                layer: 1,
                first_neuron: 0,
                neurons: OUTPUTS,
                position: 0,
                weights: &mut output_weights,
                gradients: &output_gradient,
                first: &mut output_first,
                second: &mut output_second,
                bumps: &[],
            },
            &mut statistics,
        );
    }
    let all = hidden_weights.iter().chain(&output_weights);
    all.for_each(|weight| weights.add(&weight.to_le_bytes()));
    Digest {
        spikes,
        gradients: gradients.0,
        weights: weights.0,
        count,
    }
}

/// Trains in all ways.
pub fn train_all() -> [Digest; 4] {
    let adam = Method::Adam {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
    };
    let descent = Method::Sgd { momentum: 0.9 };
    [
        train(Scheme::Exact, adam),
        train(Scheme::Exact, descent),
        train(Scheme::Grid, adam),
        train(Scheme::Grid, descent),
    ]
}
