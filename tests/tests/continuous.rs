//! The continuous-time simulator: its gradients are the derivatives of its loss, and it agrees
//! with the reference vectors in continuous time.

use eventprop_tests::random::{self, Drive, LOSS};
use eventprop_tests::vectors;
use host_tools::reference::{
    Network, Neuron, Reduction, RunResult, Sample, Spike, Tolerance, compare, continuous,
};
use host_tools::vector::{Scheme, Vector};

fn run(network: &Network, sample: &Sample) -> RunResult {
    continuous::run(network, &LOSS, std::slice::from_ref(sample), Reduction::Sum)
}

/// All events of a run, in order: layer (0 for the inputs) and neuron.
///
/// The loss has a derivative only where a change of a weight does not change this. Where a spike
/// comes or goes, the loss jumps; where a spike overtakes one that arrives at its neuron, the
/// loss has a kink.
fn order(sample: &Sample, result: &RunResult) -> Vec<(usize, usize)> {
    let layers = [&sample.input_spikes].into_iter().chain(&result.spikes[0]);
    let mut events: Vec<(f64, usize, usize)> = layers
        .enumerate()
        .flat_map(|(layer, spikes)| {
            spikes
                .iter()
                .map(move |spike| (spike.time_ms, layer, spike.neuron))
        })
        .collect();
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    events
        .into_iter()
        .map(|(_, layer, neuron)| (layer, neuron))
        .collect()
}

/// The derivative of the loss by one weight from a five-point difference; `None` where the
/// spikes change their number on the way, and the loss has no derivative there.
fn difference(network: &Network, sample: &Sample, at: [usize; 3], step: f64) -> Option<f64> {
    let [layer, post, pre] = at;
    let expected = order(sample, &run(network, sample));
    let moved = |by: f64| {
        let mut network = network.clone();
        network.weights[layer][post][pre] += by;
        let result = run(&network, sample);
        (order(sample, &result) == expected).then_some(result.mean_loss?)
    };
    let near = moved(step)? - moved(-step)?;
    let far = moved(2.0 * step)? - moved(-2.0 * step)?;
    Some((8.0 * near - far) / (12.0 * step))
}

/// The smallest slope with which a membrane crosses the threshold. The loss bends the more the
/// smaller it is.
fn smallest_slope(network: &Network, sample: &Sample) -> f64 {
    let layers = continuous::forward(network, &sample.input_spikes);
    (layers.iter().flatten()).fold(1.0, |smallest, firing| firing.slope.min(smallest))
}

#[test]
fn gradients_are_central_differences() {
    let taus = [(20.0, 5.0), (10.0, 10.0), (5.0, 12.0)];
    for dims in [&[4, 6, 3][..], &[4, 5, 5, 3]] {
        for drive in [Drive::Weak, Drive::Strong] {
            let (mut checked, mut skipped) = (0, 0);
            for seed in 0..24 {
                let (tau_mem, tau_syn) = taus[seed as usize % 3];
                let (network, sample) = random::network(seed, dims, tau_mem, tau_syn, drive);
                let result = run(&network, &sample);
                let slope = smallest_slope(&network, &sample);
                let label = result.first_spikes[0][sample.label];
                if label.is_none() || slope < 0.05 {
                    continue;
                }
                let step = f64::min(1e-4, 1e-3 * slope * slope);
                let all = result.gradient.iter().flatten().flatten();
                let largest = all.fold(0.0, |largest: f64, g| largest.max(g.abs()));
                for (layer, rows) in result.gradient.iter().enumerate() {
                    for (post, row) in rows.iter().enumerate() {
                        for (pre, gradient) in row.iter().enumerate() {
                            let at = [layer, post, pre];
                            let Some(difference) = difference(&network, &sample, at, step) else {
                                skipped += 1;
                                continue;
                            };
                            checked += 1;
                            let error = (gradient - difference).abs();
                            assert!(
                                error < 1e-8 * largest,
                                "{dims:?}, {drive:?}, seed {seed}, weight {at:?}: gradient \
                                 {gradient}, difference {difference}"
                            );
                        }
                    }
                }
            }
            assert!(
                checked > 300,
                "{dims:?}, {drive:?}: {checked} weights checked"
            );
            assert!(
                skipped < checked / 5,
                "{dims:?}, {drive:?}: {skipped} weights skipped"
            );
        }
    }
}

/// The spikes of a neuron with one input spike at 0 of this weight; time constants of 20 and 5 ms.
fn spikes_after_one(weight: f64) -> Vec<continuous::Firing> {
    let network = Network {
        neuron: Neuron {
            tau_mem_ms: 20.0,
            tau_syn_ms: 5.0,
            threshold: 1.0,
        },
        weights: vec![vec![vec![weight]]],
    };
    let input = Spike {
        neuron: 0,
        time_ms: 0.0,
    };
    continuous::forward(&network, &[input]).concat()
}

/// What a current of 1 lifts a membrane to: `(tau_syn / tau_mem) ^ (tau_mem / (tau_mem - tau_syn))`.
fn lift() -> f64 {
    (5.0_f64 / 20.0).powf(20.0 / 15.0)
}

#[test]
fn a_membrane_that_rises_above_the_threshold_and_falls_back_spikes() {
    // Above the threshold by one part in 10^13, for less than a microsecond.
    for (by, spikes) in [(1e-3, 1), (1e-8, 1), (1e-13, 1), (-1e-13, 0), (-1e-8, 0)] {
        let found = spikes_after_one((1.0 + by) / lift());
        assert_eq!(found.len(), spikes, "{by}");
        // The peak is at tau_mem tau_syn / (tau_mem - tau_syn) ln(tau_mem / tau_syn).
        let peak_ms = 100.0 / 15.0 * 4.0_f64.ln();
        // Near its peak the membrane is a parabola, the second derivative -I / (tau_mem tau_syn).
        let before_ms = (2.0 * 100.0 * f64::max(by, 0.0)).sqrt();
        for firing in found {
            let off = firing.spike.time_ms - (peak_ms - before_ms);
            assert!(off.abs() < 0.1 * before_ms + 1e-6, "{by}: {off}");
        }
    }
}

#[test]
fn so_it_does_behind_a_reset() {
    // The weight from which on there is a second spike.
    let (mut once, mut twice) = (8.0, 40.0);
    assert_eq!(spikes_after_one(once).len(), 1);
    while twice - once > 1e-14 * once {
        let middle = 0.5 * (once + twice);
        if middle == once || middle == twice {
            break;
        }
        match spikes_after_one(middle).len() {
            1 => once = middle,
            _ => twice = middle,
        }
    }
    // Behind the first spike, the current lifts the membrane just to the threshold again.
    let [first, second] = spikes_after_one(twice)[..] else {
        panic!("two spikes at {twice}");
    };
    assert!(((first.slope + 1.0) * lift() - 1.0).abs() < 1e-12);
    assert!(second.slope < 1e-5, "{second:?}");
}

#[test]
fn reproduces_the_vectors_in_continuous_time() {
    let all = vectors(Scheme::Exact);
    for name in [
        "trained_a",
        "trained_c",
        "trained_g",
        "missed_crossing",
        "no_hidden_layer",
    ] {
        let named = |vector: &Vector| vector.name == format!("exact_{name}");
        assert!(all.iter().any(named), "{name}");
    }
    for vector in all {
        let result = continuous::run(
            &vector.network(),
            &vector.loss,
            &vector.inputs(),
            Reduction::Mean,
        );
        let comparison = compare(&vector, &result);
        assert_eq!(comparison.mismatches, [], "{}", vector.name);
        assert_eq!(comparison.silent_mismatches, 0, "{}", vector.name);
        let tight = Tolerance {
            spike_time_ms: 1e-11,
            graze_ms: 0.0,
            loss: 1e-12,
            cosine: 1.0 - 1e-12,
            relative_error: 1e-11,
        };
        let violations = comparison.violations(&tight);
        assert!(violations.is_empty(), "{}: {violations:?}", vector.name);
    }
}
