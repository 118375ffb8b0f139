//! Random numbers that follow from a seed, a purpose and a counter, the same on every platform.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What a stream of numbers is for. The values are part of the format: changing one changes runs.
#[derive(Clone, Copy)]
enum Purpose {
    Weights = 1,
    Order = 2,
    Rounding = 3,
}

fn stream(seed: u64, purpose: Purpose, counter: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&counter.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Draws from the standard normal distribution, by Box and Muller's method.
pub(super) struct Normal {
    random: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normal {
    /// The stream for a weight layer.
    pub(super) fn new(seed: u64, layer: u64) -> Self {
        Self {
            random: stream(seed, Purpose::Weights, layer),
            spare: None,
        }
    }

    pub(super) fn draw(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // The first in (0, 1], so that its logarithm is finite. `libm` rather than the standard
        // library, whose functions differ in their last bits between platforms.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        let angle = 2.0 * std::f64::consts::PI * self.unit();
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }

    /// A number in `[0, 1)` with 53 random bits.
    fn unit(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

/// The seed of the stochastic rounding of weights, whose counter is kept where they are updated.
pub(crate) fn rounding_seed(seed: u64) -> u32 {
    stream(seed, Purpose::Rounding, 0).next_u32()
}

/// The order of `len` samples in an epoch (from 0): a uniform permutation.
///
/// # Panics
/// If `len` exceeds `u32`.
pub fn shuffled(seed: u64, epoch: u32, len: usize) -> Vec<u32> {
    let len = u32::try_from(len).expect("no more samples than an index counts");
    let mut random = stream(seed, Purpose::Order, u64::from(epoch));
    let mut order: Vec<u32> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last as usize, below(&mut random, last + 1) as usize);
    }
    order
}

/// A uniform number below `bound`: the high half of a product, redrawn where that would favour
/// some values (Lemire 2019).
fn below(random: &mut ChaCha8Rng, bound: u32) -> u32 {
    let rejected = bound.wrapping_neg() % bound;
    loop {
        let product = u64::from(random.next_u32()) * u64::from(bound);
        if product as u32 >= rejected {
            return (product >> 32) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_pinned() {
        // If one of these changes, every run changes: then say so in the changelog.
        assert_eq!(shuffled(1, 0, 8), [0, 3, 4, 6, 5, 7, 2, 1]);
        assert_ne!(shuffled(1, 0, 8), shuffled(1, 1, 8));
        assert_ne!(shuffled(1, 0, 8), shuffled(2, 0, 8));
        let mut normal = Normal::new(1, 0);
        let drawn: Vec<u64> = (0..3).map(|_| normal.draw().to_bits()).collect();
        assert_eq!(
            drawn,
            [
                0x3FD6_8614_FAF7_128C,
                0xBFE4_9263_519D_7ADA,
                0xBFE6_2DAE_E1CC_6453
            ]
        );
    }

    #[test]
    fn orders_are_permutations() {
        for len in [0, 1, 2, 5000] {
            let mut order = shuffled(3, 2, len);
            order.sort_unstable();
            assert!(order.iter().copied().eq(0..len as u32));
        }
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut normal = Normal::new(5, 1);
        let numbers: Vec<f64> = (0..100_000).map(|_| normal.draw()).collect();
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let variance = numbers.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
    }
}
