//! How much a vector in continuous time hangs on small differences, by the simulator of
//! [`continuous`].
//!
//! - A membrane that only grazes the threshold turns a small difference into a large one. Where its
//!   slope is `c = I - threshold`, a membrane off by `x` spikes `tau_mem x / c` earlier or later;
//!   and where it peaks by less than `x` above the threshold it does not spike at all.
//! - Where a spike arrives at about the time at which its receiver spikes, the order of the two
//!   decides whether the arrival counts in the slope, and whether the spike counts in the arrival's
//!   error. The loss has a kink there, and its derivative jumps.
//!
//! No program that rounds times or membranes can be expected to agree there. [`Sensitivity`]
//! tells these places from the others.

use super::continuous::{self, Firing, State};
use super::{Network, Spike, first_spikes};
use crate::vector::Vector;

/// A membrane is looked at for so long before and behind the time of a spike, in milliseconds.
const NEIGHBOURHOOD_MS: f64 = 0.5;

/// What every neuron of a vector does in continuous time, and how the gradient hangs on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    network: Network,
    /// `[sample][layer]`, layer 0 being the inputs.
    arrivals: Vec<Vec<Vec<Spike>>>,
    /// `[sample][layer]`, layer 0 being the first behind the inputs.
    firings: Vec<Vec<Vec<Firing>>>,
    /// By how much the adjoint of the membrane jumps at each of these.
    jumps: Vec<Vec<Vec<f64>>>,
    tau_syn_ms: f64,
}

impl Sensitivity {
    /// Runs all samples of a vector.
    pub fn of(vector: &Vector) -> Self {
        let network = vector.network();
        let outputs = network.weights.last().map_or(0, Vec::len);
        let (mut arrivals, mut firings, mut jumps) = (Vec::new(), Vec::new(), Vec::new());
        for sample in &vector.samples {
            let layers = continuous::forward(&network, &sample.input_spikes);
            let mut spikes = vec![sample.input_spikes.clone()];
            spikes.extend(layers.iter().map(|layer| {
                let spikes = layer.iter().map(|firing| firing.spike);
                spikes.collect::<Vec<_>>()
            }));
            let output_spikes = spikes.last().map_or(&[][..], Vec::as_slice);
            let first = first_spikes(output_spikes, outputs);
            // Errors do not depend on the end of a sample.
            let evaluation = vector
                .loss
                .evaluate(&first, sample.label, continuous::END_MS);
            let errors = evaluation.errors;
            let errors = continuous::first_spike_errors(output_spikes, errors);
            let backward = continuous::backward(&network, &sample.input_spikes, &layers, &errors);
            arrivals.push(spikes);
            firings.push(layers);
            jumps.push(backward.1);
        }
        Self {
            network,
            arrivals,
            firings,
            jumps,
            tau_syn_ms: vector.tau_syn_ms,
        }
    }

    /// The slope `I - threshold` at the spike of a neuron that is nearest to `spike`; `None` if the
    /// neuron does not spike. Layer 0 is the first behind the inputs.
    pub fn slope(&self, sample: usize, layer: usize, spike: &Spike) -> Option<f64> {
        let firings = self.firings[sample][layer].iter();
        let own = firings.filter(|firing| firing.spike.neuron == spike.neuron);
        let distance = |firing: &Firing| (firing.spike.time_ms - spike.time_ms).abs();
        own.min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .map(|firing| firing.slope)
    }

    /// About how much of a layer's gradient may change where every spike is at a tick of this
    /// length: the largest of all layers.
    ///
    /// The gradient of a layer is made of the jumps of the adjoint at its spikes, so the relative
    /// change is taken as that of the jumps: the root of the sum of the squares of their changes,
    /// over that of the jumps. A jump `J` of a spike with the slope `c` changes
    ///
    /// - by `J tick (1 + c) / (tau_syn c)`, since the slope changes by `tick I / tau_syn` in a tick;
    /// - where an arrival of weight `w` is so near that ticks may change the order (a tick, or a
    ///   tick over `c` if that is longer): by what is left of it with the slope `c - w` or `c + w`;
    ///   and the jump of the neuron that sent the arrival, whose slope is `c'`, by `w J / c'`.
    pub fn tick_effect(&self, tick_ms: f64) -> f64 {
        let weights = &self.network.weights;
        let mut changes = vec![0.0; weights.len()];
        let mut totals = vec![0.0; weights.len()];
        for (sample, layers) in self.firings.iter().enumerate() {
            for (layer, firings) in layers.iter().enumerate() {
                let arrivals = &self.arrivals[sample][layer];
                for (firing, jump) in firings.iter().zip(&self.jumps[sample][layer]) {
                    let (time_ms, c) = (firing.spike.time_ms, firing.slope);
                    totals[layer] += jump * jump;
                    if *jump == 0.0 {
                        continue;
                    }
                    let mut change = |layer: usize, by: f64| changes[layer] += by * by;
                    change(layer, jump * tick_ms * (1.0 + c) / (self.tau_syn_ms * c));
                    let near_ms = tick_ms * f64::max(1.0, 1.0 / c);
                    let first = arrivals.partition_point(|a| a.time_ms < time_ms - near_ms);
                    for (index, arrival) in arrivals.iter().enumerate().skip(first) {
                        if arrival.time_ms > time_ms + near_ms {
                            break;
                        }
                        let w = weights[layer][firing.spike.neuron][arrival.neuron];
                        let other = if arrival.time_ms < time_ms {
                            c - w
                        } else {
                            c + w
                        };
                        // With no slope left, the spike would be another one.
                        let left = if other > 0.0 { c / other } else { 0.0 };
                        change(layer, jump * (1.0 - left));
                        if layer > 0 {
                            let sender = layers[layer - 1][index].slope;
                            change(layer - 1, w * jump / sender);
                        }
                    }
                }
            }
        }
        (changes.iter().zip(&totals))
            .filter(|(change, _)| **change > 0.0)
            .map(|(change, total)| (change / total).sqrt())
            .fold(0.0, f64::max)
    }

    /// How far the membrane of a neuron would rise above the threshold, were it not reset, where it
    /// spikes within half a millisecond of `spike`: its peak before it falls below the threshold
    /// again. `None` if it does not spike there.
    pub fn overshoot(&self, sample: usize, layer: usize, spike: &Spike) -> Option<f64> {
        let neuron = &self.network.neuron;
        let row = &self.network.weights[layer][spike.neuron];
        let arrivals = &self.arrivals[sample][layer];
        let stretches = continuous::trace(neuron, row, arrivals);
        let spikes = stretches.iter().filter_map(|s| Some((s.end_ms, s.slope?)));
        let distance = |time: f64| (time - spike.time_ms).abs();
        let (mut now, slope) = spikes
            .filter(|(time, _)| distance(*time) <= NEIGHBOURHOOD_MS)
            .min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)))?;
        let mut state = State {
            membrane: neuron.threshold,
            current: neuron.threshold + slope,
        };
        let mut peak = neuron.threshold;
        let end = Spike {
            neuron: 0,
            time_ms: f64::INFINITY,
        };
        for arrival in arrivals.iter().chain([&end]) {
            let until = arrival.time_ms - now;
            // An arrival at the time of the spike is behind it.
            if until < 0.0 {
                continue;
            }
            if let Some(h) = state.until_extremum(neuron).filter(|&h| h < until) {
                peak = peak.max(state.after(h, neuron).membrane);
            }
            if until.is_infinite() {
                break;
            }
            state = state.after(until, neuron);
            if state.membrane < neuron.threshold {
                break;
            }
            peak = peak.max(state.membrane);
            state.current += row[arrival.neuron];
            now = arrival.time_ms;
        }
        Some(peak - neuron.threshold)
    }

    /// How far the membrane of a neuron stays below the threshold where somebody else sees `spike`:
    /// at that time, and at those of its peaks within half a millisecond at which it does not spike.
    pub fn shortfall(&self, sample: usize, layer: usize, spike: &Spike) -> f64 {
        let neuron = &self.network.neuron;
        let row = &self.network.weights[layer][spike.neuron];
        let stretches = continuous::trace(neuron, row, &self.arrivals[sample][layer]);
        let time = spike.time_ms;
        let near = |at: f64| (at - time).abs() <= NEIGHBOURHOOD_MS;
        let mut highest = f64::NEG_INFINITY;
        for (index, stretch) in stretches.iter().enumerate() {
            let at = |h: f64| stretch.start.after(h, neuron);
            if (stretch.start_ms..stretch.end_ms).contains(&time) {
                highest = highest.max(at(time - stretch.start_ms).membrane);
            }
            let peak = stretch.start.until_extremum(neuron);
            if let Some(h) =
                peak.filter(|h| stretch.start_ms + h < stretch.end_ms && near(stretch.start_ms + h))
            {
                highest = highest.max(at(h).membrane);
            }
            // An arrival may end the rise.
            if stretch.slope.is_none() && near(stretch.end_ms) {
                let end = at(stretch.end_ms - stretch.start_ms);
                let falls = |next: &continuous::Stretch| next.start.current <= end.membrane;
                if end.current > end.membrane && stretches.get(index + 1).is_some_and(falls) {
                    highest = highest.max(end.membrane);
                }
            }
        }
        (neuron.threshold - highest).max(0.0)
    }
}
