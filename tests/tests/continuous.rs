//! The continuous-time simulator: its gradients are the derivatives of its loss, and it agrees
//! with the reference vectors in continuous time.

use eventprop_tests::random::{self, Drive, LOSS};
use eventprop_tests::vectors;
use host_tools::reference::{
    Network, Reduction, RunResult, Sample, Tolerance, compare, continuous,
};
use host_tools::vector::Scheme;

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
                if result.mean_loss.is_none() || slope < 0.05 {
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

#[test]
fn reproduces_the_vectors_in_continuous_time() {
    for vector in vectors(Scheme::Exact) {
        let result = continuous::run(
            &vector.network(),
            &vector.loss,
            &vector.inputs(),
            Reduction::Mean,
        );
        assert_eq!(
            result.mean_loss.is_some(),
            vector.expected_mean_loss.is_some()
        );
        let comparison = compare(&vector, &result);
        assert_eq!(comparison.mismatches, [], "{}", vector.name);
        assert_eq!(comparison.silent_mismatches, 0, "{}", vector.name);
        let tight = Tolerance {
            spike_time_ms: 1e-11,
            loss: 1e-12,
            cosine: 1.0 - 1e-12,
            relative_error: 1e-11,
        };
        let violations = comparison.violations(&tight);
        assert!(violations.is_empty(), "{}: {violations:?}", vector.name);
    }
}
