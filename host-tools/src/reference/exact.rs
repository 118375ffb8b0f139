//! Exact integration over a step, with spikes at ticks within the step.
//!
//! A step has `Q = 2^tick_bits` ticks, and an event is a step and an offset in ticks, 0 to `Q`.
//! The grid of steps only orders the work: state is integrated exactly over a step, and events
//! act at their own time. With `h = d * step / Q` the state decays over `d` ticks by
//!
//! ```text
//! es[d] = exp(-h / tau_syn)        kf[d] = tau_syn / (tau_mem - tau_syn) * ( em[d] - es[d] )
//! em[d] = exp(-h / tau_mem)        kb[d] = tau_mem / (tau_mem - tau_syn) * ( em[d] - es[d] )
//! ```
//!
//! so that after `d` ticks without events `I = es I`, `V = em V + kf I`, and backwards
//! `lambda_V = em lambda_V`, `lambda_I = es lambda_I + kb lambda_V`.
//!
//! # What the discretisation does to a network
//!
//! - Layers are run one behind the other, so that a spike reaches the next layer without delay.
//! - A spike happens at the first tick at which the membrane lies above the threshold, whether or
//!   not it still does at the end of the step: on average half a tick, at most one tick, late. An
//!   arrival at that very tick comes after it.
//! - A membrane that lies above the threshold only between two ticks is not seen.
//! - The reset takes exactly the threshold off the membrane at the tick, which keeps what the membrane
//!   overshot by. It is then lower than that of a neuron that was reset when it crossed by at most
//!   a tick over `tau_mem`, in units of the threshold, for which the reset comes late.

use super::{
    Collector, Network, Neuron, Reduction, RunResult, Sample, Spike, TimeToFirstSpike, Weights,
    first_spikes, presynaptic,
};

/// The steps of a run, and their ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    /// Length of a step in milliseconds.
    pub step_ms: f64,
    /// Base-two logarithm of the number of ticks per step; at most 30.
    pub tick_bits: u32,
    /// Number of steps.
    pub steps: usize,
}

impl Clock {
    /// Number of ticks per step.
    ///
    /// # Panics
    ///
    /// If `tick_bits` is above 30.
    pub fn ticks(&self) -> usize {
        assert!(self.tick_bits <= 30, "tick_bits is at most 30");
        1 << self.tick_bits
    }

    /// End of a sample in milliseconds.
    pub fn end_ms(&self) -> f64 {
        self.steps as f64 * self.step_ms
    }

    /// The time of an event in milliseconds.
    pub fn time_ms(&self, event: &Event) -> f64 {
        (event.step as f64 + event.offset as f64 / self.ticks() as f64) * self.step_ms
    }

    /// The event at the tick that is nearest to a spike's time.
    ///
    /// Its offset is below the number of ticks: a spike between two steps belongs to the later.
    pub fn event(&self, spike: &Spike) -> Event {
        let ticks = self.ticks();
        let tick = (spike.time_ms / self.step_ms * ticks as f64).round() as usize;
        Event {
            neuron: spike.neuron,
            step: tick / ticks,
            offset: tick % ticks,
        }
    }
}

/// A spike at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Index of the neuron or input channel within its layer.
    pub neuron: usize,
    /// The step.
    pub step: usize,
    /// Offset within the step in ticks: 0 to the number of ticks for an input, 1 to the number
    /// of ticks for a neuron's own spike.
    pub offset: usize,
}

/// A spike of a neuron, with what its adjoint needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// The spike.
    pub event: Event,
    /// `I - threshold` at the spike: how fast the membrane crossed the threshold, times the
    /// membrane's time constant.
    pub slack: f64,
}

/// Membrane and current of a neuron.
#[derive(Debug, Clone, Copy)]
struct State {
    membrane: f64,
    current: f64,
}

/// Decay of the state over 0 to `Q` ticks; see the [module](self).
struct Tables {
    es: Vec<f64>,
    em: Vec<f64>,
    kf: Vec<f64>,
    kb: Vec<f64>,
}

impl Tables {
    fn new(neuron: &Neuron, clock: &Clock) -> Self {
        let &Neuron {
            tau_mem_ms: tau_mem,
            tau_syn_ms: tau_syn,
            ..
        } = neuron;
        let ticks = clock.ticks();
        let times = (0..=ticks).map(|d| d as f64 * clock.step_ms / ticks as f64);
        let es: Vec<f64> = times.clone().map(|h| (-h / tau_syn).exp()).collect();
        let em: Vec<f64> = times.clone().map(|h| (-h / tau_mem).exp()).collect();
        let kf: Vec<f64> = times
            .map(|h| current_to_membrane(h, tau_mem, tau_syn))
            .collect();
        let kb = kf.iter().map(|kf| kf * tau_mem / tau_syn).collect();
        Self { es, em, kf, kb }
    }

    /// The state `d` ticks later, without events.
    fn after(&self, state: State, d: usize) -> State {
        State {
            membrane: self.em[d] * state.membrane + self.kf[d] * state.current,
            current: self.es[d] * state.current,
        }
    }

    /// The number of ticks, 1 to `ticks`, after which the membrane first lies above the threshold,
    /// without events.
    fn first_above(&self, state: State, ticks: usize, threshold: f64) -> Option<usize> {
        for d in 1..=ticks {
            let State { membrane, current } = self.after(state, d);
            if membrane > threshold {
                return Some(d);
            }
            // A membrane that falls does not rise to the threshold without another arrival.
            if current <= membrane {
                return None;
            }
        }
        None
    }
}

/// The membrane `h` ms after the current was 1 and the membrane 0:
/// `tau_syn / (tau_mem - tau_syn) * (exp(-h / tau_mem) - exp(-h / tau_syn))`, and its limit where
/// the time constants are equal.
fn current_to_membrane(h: f64, tau_mem: f64, tau_syn: f64) -> f64 {
    // The difference of the exponentials is exp(-h / tau_syn) * (exp(x) - 1). Where x is small,
    // it must not be taken from the exponentials themselves, which are nearly equal.
    let x = h / tau_syn - h / tau_mem;
    if x == 0.0 {
        h / tau_mem * (-h / tau_syn).exp()
    } else if x.abs() < 1.0 {
        h / tau_mem * (-h / tau_syn).exp() * x.exp_m1() / x
    } else {
        tau_syn / (tau_mem - tau_syn) * ((-h / tau_mem).exp() - (-h / tau_syn).exp())
    }
}

/// Runs one sample forward and returns the spikes of every layer, each by step, offset and
/// neuron.
///
/// Inputs at or behind the end of the run have no effect.
///
/// # Panics
///
/// If an input is of a channel that the network does not have, or an offset exceeds the number of
/// ticks.
pub fn forward(network: &Network, clock: &Clock, inputs: &[Event]) -> Vec<Vec<Crossing>> {
    let tables = Tables::new(&network.neuron, clock);
    let mut arrivals = inputs.to_vec();
    let mut layers = Vec::new();
    for weights in &network.weights {
        let crossings = forward_layer(&network.neuron, clock, &tables, weights, &arrivals);
        arrivals = events(&crossings);
        layers.push(crossings);
    }
    layers
}

fn forward_layer(
    neuron: &Neuron,
    clock: &Clock,
    tables: &Tables,
    weights: &[Vec<f64>],
    arrivals: &[Event],
) -> Vec<Crossing> {
    let threshold = neuron.threshold;
    let ticks = clock.ticks();
    let arrivals = by_step(arrivals, clock.steps);
    let mut crossings = Vec::new();
    for (index, row) in weights.iter().enumerate() {
        let mut state = State {
            membrane: 0.0,
            current: 0.0,
        };
        for (step, arrivals) in arrivals.iter().enumerate() {
            // From one arrival to the next, and at last to the end of the step.
            let mut now = 0;
            let ends = arrivals
                .iter()
                .map(|arrival| (arrival.offset, Some(arrival)));
            for (end, arrival) in ends.chain([(ticks, None)]) {
                while let Some(d) = tables.first_above(state, end - now, threshold) {
                    now += d;
                    state = tables.after(state, d);
                    crossings.push(Crossing {
                        event: Event {
                            neuron: index,
                            step,
                            offset: now,
                        },
                        slack: state.current - threshold,
                    });
                    state.membrane -= threshold;
                }
                state = tables.after(state, end - now);
                now = end;
                if let Some(arrival) = arrival {
                    state.current += row[arrival.neuron];
                }
            }
        }
    }
    crossings.sort_by_key(|crossing| {
        let Event {
            neuron,
            step,
            offset,
        } = crossing.event;
        (step, offset, neuron)
    });
    crossings
}

/// How wrong a neuron of `layer` is about its own spikes, given what has arrived at it and when it
/// has spiked before: the most by which its membrane lies above the threshold at a tick at which it
/// does not spike, or below the threshold at one at which it does.
///
/// This is what tells a neuron that has decided wrongly from one that has received other spikes.
///
/// # Panics
///
/// If the network has no such layer or neuron.
pub fn fault(
    network: &Network,
    clock: &Clock,
    (layer, neuron): (usize, usize),
    arrivals: &[Event],
    spikes: &[Event],
) -> f64 {
    let tables = Tables::new(&network.neuron, clock);
    let threshold = network.neuron.threshold;
    let row = &network.weights[layer][neuron];
    let ticks = clock.ticks();
    let tick = |event: &Event| event.step * ticks + event.offset;
    // What arrives at each tick.
    let mut weights = vec![0.0; clock.steps * ticks + 1];
    for arrival in arrivals {
        if let Some(weight) = weights.get_mut(tick(arrival)) {
            *weight += row[arrival.neuron];
        }
    }
    let spikes: Vec<usize> = (spikes.iter())
        .filter(|spike| spike.neuron == neuron)
        .map(tick)
        .collect();
    let mut state = State {
        membrane: 0.0,
        current: weights[0],
    };
    let mut fault = 0.0_f64;
    for (now, weight) in weights.iter().enumerate().skip(1) {
        state = tables.after(state, 1);
        let above = state.membrane - threshold;
        if spikes.contains(&now) {
            fault = fault.max(-above);
            state.membrane -= threshold;
        } else {
            fault = fault.max(above);
        }
        state.current += weight;
    }
    fault
}

/// Runs one sample backward and returns its gradient `[layer][post][pre]`.
///
/// `layers` is what [`forward`] returned for the same `inputs`, and `output_errors` the
/// derivative of the loss by the time of each spike of the last layer, in the same order, per
/// millisecond.
///
/// `slack_floor` is the smallest value that a spike's slack is taken as when the adjoint is
/// divided by it; `None` takes it as it is.
///
/// # Panics
///
/// If `output_errors` has another length than the last layer has spikes, or `layers` and `inputs`
/// do not fit the network.
pub fn backward(
    network: &Network,
    clock: &Clock,
    inputs: &[Event],
    layers: &[Vec<Crossing>],
    output_errors: &[f64],
    slack_floor: Option<f64>,
) -> Weights {
    let tables = Tables::new(&network.neuron, clock);
    let mut gradient = Vec::new();
    let mut errors = output_errors.to_vec();
    for (layer, weights) in network.weights.iter().enumerate().rev() {
        let arrivals = match layer {
            0 => inputs.to_vec(),
            _ => events(&layers[layer - 1]),
        };
        let (layer_gradient, arrival_errors) = backward_layer(
            &network.neuron,
            clock,
            &tables,
            weights,
            &arrivals,
            &layers[layer],
            &errors,
            slack_floor,
        );
        gradient.push(layer_gradient);
        errors = arrival_errors;
    }
    gradient.reverse();
    gradient
}

/// Returns the layer's gradient `[post][pre]` and the error of every arrival.
#[expect(
    clippy::too_many_arguments,
    reason = "the arguments are the quantities of the equations; a structure would only hide them"
)]
fn backward_layer(
    neuron: &Neuron,
    clock: &Clock,
    tables: &Tables,
    weights: &[Vec<f64>],
    arrivals: &[Event],
    crossings: &[Crossing],
    errors: &[f64],
    slack_floor: Option<f64>,
) -> (Vec<Vec<f64>>, Vec<f64>) {
    assert_eq!(crossings.len(), errors.len(), "every spike has one error");
    let Tables { es, em, kb, .. } = tables;
    let ticks = clock.ticks();
    let mut gradient = vec![vec![0.0; presynaptic(weights)]; weights.len()];
    let mut arrival_errors = vec![0.0; arrivals.len()];

    for (index, row) in weights.iter().enumerate() {
        // The adjoints at the end of the step.
        let (mut lv1, mut li1) = (0.0, 0.0);
        for step in (0..clock.steps).rev() {
            // Jumps of the adjoint at the neuron's own spikes of this step: offset and size.
            // An event before a spike sees its jump, an event at the same tick does not.
            let adjoint_v = |f: usize, jumps: &[(usize, f64)]| {
                let mut lv = em[ticks - f] * lv1;
                for &(spike, jump) in jumps.iter().filter(|&&(spike, _)| spike > f) {
                    lv += jump * em[spike - f];
                }
                lv
            };
            let adjoint_i = |f: usize, jumps: &[(usize, f64)]| {
                let mut li = es[ticks - f] * li1 + kb[ticks - f] * lv1;
                for &(spike, jump) in jumps.iter().filter(|&&(spike, _)| spike > f) {
                    li += jump * kb[spike - f];
                }
                li
            };

            let mut jumps: Vec<(usize, f64)> = Vec::new();
            let own = crossings.iter().zip(errors).rev();
            for (crossing, error) in own.filter(|(crossing, _)| {
                crossing.event.neuron == index && crossing.event.step == step
            }) {
                let f = crossing.event.offset;
                let slack = slack_floor.map_or(crossing.slack, |floor| crossing.slack.max(floor));
                let jump = (neuron.threshold * adjoint_v(f, &jumps) + error) / slack;
                jumps.push((f, jump));
            }

            for (arrival, arrival_error) in arrivals.iter().zip(&mut arrival_errors) {
                if arrival.step == step {
                    let lv = adjoint_v(arrival.offset, &jumps);
                    let li = adjoint_i(arrival.offset, &jumps);
                    gradient[index][arrival.neuron] -= neuron.tau_syn_ms * li;
                    *arrival_error += row[arrival.neuron] * (lv - li);
                }
            }
            // No spike of a neuron is at offset 0, so the start of the step sees every jump.
            (lv1, li1) = (adjoint_v(0, &jumps), adjoint_i(0, &jumps));
        }
    }
    (gradient, arrival_errors)
}

/// Runs all samples, forward and backward.
///
/// Input spikes are moved to the nearest tick. The loss only knows the first spike of each
/// output. `slack_floor` is that of [`backward`].
///
/// # Panics
///
/// If a sample has a channel or label that the network does not have.
pub fn run(
    network: &Network,
    clock: &Clock,
    loss: &TimeToFirstSpike,
    samples: &[Sample],
    slack_floor: Option<f64>,
    reduction: Reduction,
) -> RunResult {
    let outputs = network.weights.last().map_or(0, Vec::len);
    let mut collector = Collector::new(network);
    for sample in samples {
        let inputs: Vec<Event> = (sample.input_spikes.iter())
            .map(|spike| clock.event(spike))
            .collect();
        let layers = forward(network, clock, &inputs);
        let spikes: Vec<Vec<Spike>> = layers.iter().map(|layer| times(layer, clock)).collect();
        let output_spikes = spikes.last().map_or(&[][..], Vec::as_slice);
        let first = first_spikes(output_spikes, outputs);
        let evaluation = loss.evaluate(&first, sample.label, clock.end_ms());

        let mut pending = evaluation.errors;
        let output_errors: Vec<f64> = output_spikes
            .iter()
            .map(|spike| std::mem::take(&mut pending[spike.neuron]))
            .collect();
        let gradient = backward(
            network,
            clock,
            &inputs,
            &layers,
            &output_errors,
            slack_floor,
        );
        collector.add(spikes, first, evaluation.loss, &gradient);
    }
    collector.finish(reduction)
}

fn events(crossings: &[Crossing]) -> Vec<Event> {
    crossings.iter().map(|crossing| crossing.event).collect()
}

fn times(crossings: &[Crossing], clock: &Clock) -> Vec<Spike> {
    crossings
        .iter()
        .map(|crossing| Spike {
            neuron: crossing.event.neuron,
            time_ms: clock.time_ms(&crossing.event),
        })
        .collect()
}

/// The events of each step, by offset.
fn by_step(events: &[Event], steps: usize) -> Vec<Vec<Event>> {
    let mut lists = vec![Vec::new(); steps];
    for event in events {
        if let Some(list) = lists.get_mut(event.step) {
            list.push(*event);
        }
    }
    for list in &mut lists {
        list.sort_by_key(|event| event.offset);
    }
    lists
}
