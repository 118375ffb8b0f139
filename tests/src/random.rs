//! Random networks and samples, the same for the same seed.

use host_tools::reference::{
    Network, Neuron, Reduction, Sample, SilentLabel, Spike, TimeToFirstSpike, continuous,
};
use host_tools::vector::{Scheme, Vector, VectorSample};

/// How much a random network is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// About one spike per neuron; some neurons are silent.
    Weak,
    /// Several spikes per neuron.
    Strong,
}

/// A network with the given layers, and a sample for it.
///
/// Input channels spike one to three times within 10 ms. Weights are drawn such that the drive
/// does not depend on the number of neurons; about one in five is negative.
pub fn network(
    seed: u64,
    dims: &[usize],
    tau_mem_ms: f64,
    tau_syn_ms: f64,
    drive: Drive,
) -> (Network, Sample) {
    let mut rng = fastrand::Rng::with_seed(seed);
    // A current of 1 lifts the membrane to about tau_syn / (tau_mem + tau_syn).
    let lift = tau_syn_ms / (tau_mem_ms + tau_syn_ms);
    // The drive, and the number of spikes of a neuron that it makes for.
    let (drive, spikes) = match drive {
        Drive::Weak => (2.0, 1.0),
        Drive::Strong => (3.5, 5.0),
    };
    let weights = (dims.windows(2).enumerate())
        .map(|(layer, pair)| {
            // Input channels spike twice on average.
            let spikes = if layer == 0 { 2.0 } else { spikes };
            let scale = drive / (lift * spikes * pair[0] as f64);
            (0..pair[1])
                .map(|_| {
                    (0..pair[0])
                        .map(|_| scale * (3.0 * rng.f64() - 0.6))
                        .collect()
                })
                .collect()
        })
        .collect();
    let mut input_spikes = Vec::new();
    for neuron in 0..dims[0] {
        for _ in 0..rng.usize(1..=3) {
            input_spikes.push(Spike {
                neuron,
                time_ms: 10.0 * rng.f64(),
            });
        }
    }
    let network = Network {
        neuron: Neuron {
            tau_mem_ms,
            tau_syn_ms,
            threshold: 1.0,
        },
        weights,
    };
    let sample = Sample {
        label: rng.usize(0..dims[dims.len() - 1]),
        input_spikes,
    };
    (network, sample)
}

/// A loss whose scale suits the networks above; silent outputs are left out.
pub const LOSS: TimeToFirstSpike = TimeToFirstSpike {
    tau0_ms: 2.0,
    tau1_ms: 6.4,
    alpha: 0.003,
    silent_output_time_ms: None,
    silent_label: SilentLabel::Skip,
};

/// A vector in continuous time: [`network`], and what [`continuous`] makes of it with [`LOSS`].
pub fn vector(seed: u64, dims: &[usize], tau_mem_ms: f64, tau_syn_ms: f64, drive: Drive) -> Vector {
    let (network, sample) = network(seed, dims, tau_mem_ms, tau_syn_ms, drive);
    Vector {
        name: format!("random {seed}, {drive:?}, {dims:?}"),
        ..expect(network, sample)
    }
}

/// A vector in continuous time: what [`continuous`] makes of a network and a sample with
/// [`LOSS`].
pub fn expect(network: Network, sample: Sample) -> Vector {
    let result = continuous::run(
        &network,
        &LOSS,
        std::slice::from_ref(&sample),
        Reduction::Mean,
    );
    let label_spiked = result.first_spikes[0][sample.label].is_some();
    let inputs = network.weights.first().and_then(|layer| layer.first());
    let dims = [inputs.map_or(0, Vec::len)]
        .into_iter()
        .chain(network.weights.iter().map(Vec::len))
        .collect();
    Vector {
        name: String::new(),
        note: String::new(),
        scheme: Scheme::Exact,
        dims,
        tau_mem_ms: network.neuron.tau_mem_ms,
        tau_syn_ms: network.neuron.tau_syn_ms,
        threshold: network.neuron.threshold,
        step_ms: None,
        steps: None,
        loss: LOSS,
        weights: network.weights,
        samples: vec![VectorSample {
            label: sample.label,
            input_spikes: sample.input_spikes,
            expected_spikes: result.spikes.concat(),
            expected_first_spikes: result.first_spikes.concat(),
        }],
        // Of a silent label the loss depends on the end of the sample, which continuous time does not know.
        expected_mean_loss: label_spiked.then_some(result.mean_loss).flatten(),
        expected_gradient: result.gradient,
    }
}
