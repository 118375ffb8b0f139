//! EventProp in continuous time, in `f64`: event-driven, exact but for rounding.
//!
//! Between events every quantity has a closed form, so that there are no steps at all: the next
//! event is the next arriving spike or the next crossing of the threshold, and the latter is
//! searched to the last digits. The gradients are those of the continuous equations, which
//! central differences of the loss confirm.
//!
//! Written independently of the discretisations beside it, which it judges; only the description
//! of networks and results, and the loss, are shared.

use super::{
    Network, Neuron, Reduction, RunResult, Sample, Spike, TimeToFirstSpike, Tolerance, Weights,
    compare, first_spikes,
};
use crate::vector::Vector;

/// A spike of a neuron and the slope of its membrane there, times `tau_mem`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Firing {
    /// The spike.
    pub spike: Spike,
    /// `I - threshold` at the spike.
    pub slope: f64,
}

/// The state of a neuron between two events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct State {
    pub(super) membrane: f64,
    pub(super) current: f64,
}

impl State {
    /// The state `h` ms later, without events.
    pub(super) fn after(self, h: f64, neuron: &Neuron) -> Self {
        let (fast, slow) = (h / neuron.tau_syn_ms, h / neuron.tau_mem_ms);
        Self {
            membrane: self.membrane * (-slow).exp()
                + self.current * slow * (-slow).exp() * shape(fast - slow),
            current: self.current * (-fast).exp(),
        }
    }

    /// Time in ms until the membrane is at its extremum, if there is one ahead.
    ///
    /// With `r = 1/tau_syn - 1/tau_mem` and `u = (1 - exp(-r h)) / r`, the membrane is
    /// `exp(-h/tau_mem) (V + u I / tau_mem)`. It is at its extremum where it equals the current
    /// `exp(-h/tau_syn) I`, which gives `u = tau_syn (1 - V/I)`.
    pub(super) fn until_extremum(self, neuron: &Neuron) -> Option<f64> {
        if self.current == 0.0 {
            return None;
        }
        let r = 1.0 / neuron.tau_syn_ms - 1.0 / neuron.tau_mem_ms;
        let u = neuron.tau_syn_ms * (1.0 - self.membrane / self.current);
        let h = if r == 0.0 {
            u
        } else if r * u < 1.0 {
            -(-r * u).ln_1p() / r
        } else {
            return None;
        };
        (h > 0.0).then_some(h)
    }

    /// Time in ms until the membrane, now below the threshold, rises above it, if it does within
    /// `horizon`.
    fn until_crossing(self, horizon: f64, neuron: &Neuron) -> Option<f64> {
        let over = |h: f64| self.after(h, neuron).membrane - neuron.threshold;
        // The membrane rises above zero only towards a maximum: without an extremum ahead it
        // falls, or rises towards zero from below, as it does behind a minimum.
        let end = self.until_extremum(neuron)?.min(horizon);
        if over(end) <= 0.0 {
            return None;
        }
        // Newton's method, kept within a bracket that every evaluation narrows.
        let (mut below, mut above) = (0.0, end);
        let mut h = 0.5 * end;
        for _ in 0..200 {
            let state = self.after(h, neuron);
            let over = state.membrane - neuron.threshold;
            if over > 0.0 {
                above = h;
            } else {
                below = h;
            }
            let slope = (state.current - state.membrane) / neuron.tau_mem_ms;
            let newton = h - over / slope;
            let next = if newton > below && newton < above {
                newton
            } else {
                0.5 * (below + above)
            };
            if (next - h).abs() <= 4.0 * f64::EPSILON * end {
                return Some(next);
            }
            h = next;
        }
        Some(h)
    }
}

/// `(1 - exp(-x)) / x`, and its limit at 0.
fn shape(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { -(-x).exp_m1() / x }
}

/// Runs one sample forward until nothing is left to happen, and returns the spikes of every layer
/// by time.
pub fn forward(network: &Network, inputs: &[Spike]) -> Vec<Vec<Firing>> {
    let mut arrivals = inputs.to_vec();
    arrivals.sort_by(|a, b| a.time_ms.total_cmp(&b.time_ms));
    let mut layers = Vec::new();
    for weights in &network.weights {
        let mut firings: Vec<Firing> = Vec::new();
        for (index, row) in weights.iter().enumerate() {
            let stretches = trace(&network.neuron, row, &arrivals);
            firings.extend(stretches.iter().filter_map(|stretch| {
                Some(Firing {
                    spike: Spike {
                        neuron: index,
                        time_ms: stretch.end_ms,
                    },
                    slope: stretch.slope?,
                })
            }));
        }
        firings.sort_by(|a, b| a.spike.time_ms.total_cmp(&b.spike.time_ms));
        arrivals = firings.iter().map(|firing| firing.spike).collect();
        layers.push(firings);
    }
    layers
}

/// What a neuron does from one event to the next: an arrival or its own spike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stretch {
    pub(super) start_ms: f64,
    /// Right behind the event at the start.
    pub(super) start: State,
    /// Infinite behind the last event.
    pub(super) end_ms: f64,
    /// `I - threshold` at the end if it is a spike.
    pub(super) slope: Option<f64>,
}

/// The life of one neuron with the incoming weights `row`.
pub(super) fn trace(neuron: &Neuron, row: &[f64], arrivals: &[Spike]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut state = State {
        membrane: 0.0,
        current: 0.0,
    };
    let mut now = 0.0;
    for next in 0..=arrivals.len() {
        let until = arrivals
            .get(next)
            .map_or(f64::INFINITY, |spike| spike.time_ms);
        while let Some(h) = state.until_crossing(until - now, neuron) {
            let end = state.after(h, neuron);
            stretches.push(Stretch {
                start_ms: now,
                start: state,
                end_ms: now + h,
                slope: Some(end.current - neuron.threshold),
            });
            now += h;
            state = end;
            state.membrane = 0.0;
        }
        stretches.push(Stretch {
            start_ms: now,
            start: state,
            end_ms: until,
            slope: None,
        });
        if let Some(arrival) = arrivals.get(next) {
            state = state.after(until - now, neuron);
            state.current += row[arrival.neuron];
            now = until;
        }
    }
    stretches
}

/// Runs one sample backward and returns its gradient `[layer][post][pre]`, and by how much the
/// adjoint of the membrane jumps at each spike, in the order of `layers`.
///
/// `layers` is what [`forward`] returned for `inputs`, and `output_errors` the derivative of the
/// loss by the time of each spike of the last layer, in the same order.
pub fn backward(
    network: &Network,
    inputs: &[Spike],
    layers: &[Vec<Firing>],
    output_errors: &[f64],
) -> (Weights, Vec<Vec<f64>>) {
    let neuron = &network.neuron;
    let (mut gradient, mut jumps) = (Vec::new(), Vec::new());
    let mut errors = output_errors.to_vec();
    for (layer, weights) in network.weights.iter().enumerate().rev() {
        let arrivals: Vec<Spike> = match layer {
            0 => inputs.to_vec(),
            _ => layers[layer - 1]
                .iter()
                .map(|firing| firing.spike)
                .collect(),
        };
        let mut layer_gradient: Vec<Vec<f64>> =
            weights.iter().map(|row| vec![0.0; row.len()]).collect();
        let mut arrival_errors = vec![0.0; arrivals.len()];
        let mut layer_jumps = vec![0.0; layers[layer].len()];
        for (index, row) in weights.iter().enumerate() {
            // The neuron's own spikes (true) and its arrivals (false), latest first. Of two at
            // the same time the arrival came last.
            let own = (layers[layer].iter().enumerate())
                .filter(|(_, firing)| firing.spike.neuron == index)
                .map(|(which, firing)| (firing.spike.time_ms, true, which));
            let incoming = (arrivals.iter().enumerate())
                .map(|(which, arrival)| (arrival.time_ms, false, which));
            let mut events: Vec<(f64, bool, usize)> = own.chain(incoming).collect();
            events.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));

            let (mut lambda_v, mut lambda_i) = (0.0, 0.0);
            let mut now = events.first().map_or(0.0, |event| event.0);
            for (time, is_own, which) in events {
                let h = now - time;
                let (fast, slow) = (h / neuron.tau_syn_ms, h / neuron.tau_mem_ms);
                lambda_i =
                    lambda_i * (-fast).exp() + lambda_v * fast * (-slow).exp() * shape(fast - slow);
                lambda_v *= (-slow).exp();
                now = time;
                if is_own {
                    let jump =
                        (neuron.threshold * lambda_v + errors[which]) / layers[layer][which].slope;
                    lambda_v += jump;
                    layer_jumps[which] = jump;
                } else {
                    let pre = arrivals[which].neuron;
                    layer_gradient[index][pre] -= neuron.tau_syn_ms * lambda_i;
                    arrival_errors[which] += row[pre] * (lambda_v - lambda_i);
                }
            }
        }
        gradient.push(layer_gradient);
        jumps.push(layer_jumps);
        errors = arrival_errors;
    }
    gradient.reverse();
    jumps.reverse();
    (gradient, jumps)
}

/// The errors of an output layer's spikes. The loss knows the first spike of each output only.
pub(super) fn first_spike_errors(spikes: &[Spike], mut pending: Vec<f64>) -> Vec<f64> {
    (spikes.iter())
        .map(|spike| std::mem::take(&mut pending[spike.neuron]))
        .collect()
}

/// When a sample ends, if its loss does not say it: a silent label counts as spiking then, in milliseconds.
pub const END_MS: f64 = 40.0;

/// Runs all samples, forward and backward; the loss is the mean over all, whatever the reduction.
pub fn run(
    network: &Network,
    loss: &TimeToFirstSpike,
    samples: &[Sample],
    reduction: Reduction,
) -> RunResult {
    let outputs = network.weights.last().map_or(0, Vec::len);
    let scale = match reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean => 1.0 / samples.len() as f64,
    };
    let mut result = RunResult {
        spikes: Vec::new(),
        first_spikes: Vec::new(),
        mean_loss: None,
        gradient: (network.weights.iter())
            .map(|layer| layer.iter().map(|row| vec![0.0; row.len()]).collect())
            .collect(),
    };
    let mut losses = Vec::new();
    let end_ms = loss.silent_output_time_ms.unwrap_or(END_MS);
    for sample in samples {
        let layers = forward(network, &sample.input_spikes);
        let spikes: Vec<Vec<Spike>> = (layers.iter())
            .map(|layer| layer.iter().map(|firing| firing.spike).collect())
            .collect();
        let output_spikes = spikes.last().map_or(&[][..], Vec::as_slice);
        let first = first_spikes(output_spikes, outputs);
        let evaluation = loss.evaluate(&first, sample.label, end_ms);
        losses.push(evaluation.loss);

        let errors = first_spike_errors(output_spikes, evaluation.errors);
        let (gradient, _) = backward(network, &sample.input_spikes, &layers, &errors);
        let sums = result.gradient.iter_mut().flatten().flatten();
        for (sum, term) in sums.zip(gradient.iter().flatten().flatten()) {
            *sum += scale * term;
        }
        result.spikes.push(spikes);
        result.first_spikes.push(first);
    }
    if !losses.is_empty() {
        result.mean_loss = Some(losses.iter().sum::<f64>() / losses.len() as f64);
    }
    result
}

/// Whether this simulator finds what a vector in continuous time expects, to six digits.
pub fn reproduces(vector: &Vector) -> bool {
    let (network, samples) = (vector.network(), vector.inputs());
    let result = run(&network, &vector.loss, &samples, Reduction::Mean);
    let digits = Tolerance {
        spike_time_ms: 1e-6,
        graze_ms: 0.0,
        loss: 1e-6,
        cosine: 1.0 - 1e-9,
        relative_error: 1e-6,
    };
    compare(vector, &result).violations(&digits).is_empty()
}
