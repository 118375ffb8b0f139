//! Adam and stochastic gradient descent on fixed-point weights.
//!
//! Moments and the learning rate are IEEE single-precision numbers. Additions, products, quotients
//! and square roots are correctly rounded on a Cortex-M4F and on a PC alike, and nothing here is
//! contracted into a fused operation, so the weights are the same everywhere.

use crate::numeric::{ADJOINT_FRACTION, STATE_FRACTION, Statistics, WEIGHT_LIMIT, scramble};

/// The rule that turns a gradient into a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Kingma and Ba 2015, with bias correction.
    Adam {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the square root of the second moment.
        epsilon: f32,
    },
    /// Gradient descent with momentum: `m <- momentum m + g`, `w <- w - rate m`.
    Sgd {
        /// Decay of the accumulated gradient; 0 for plain descent.
        momentum: f32,
    },
}

/// What stays the same over a training run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The rule.
    pub method: Method,
    /// Times the weight, added to its gradient.
    pub weight_decay: f32,
    /// Synaptic time constant in ms, which scales a gradient sum to dL/dw.
    pub tau_synapse_ms: f32,
    /// The remedy for silent neurons.
    pub silent_neurons: SilentNeurons,
    /// How an updated weight is rounded.
    pub rounding: Rounding,
}

impl Settings {
    /// No descent.
    pub(crate) const NONE: Self = Self {
        method: Method::Adam {
            beta1: 0.0,
            beta2: 0.0,
            epsilon: 0.0,
        },
        weight_decay: 0.0,
        tau_synapse_ms: 0.0,
        silent_neurons: SilentNeurons {
            label_bump: 0,
            hidden_bump: 0,
        },
        rounding: Rounding::NONE,
    };
}

/// How an updated weight is rounded, so that it can be kept in fewer bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// Fraction bits that are zero afterwards, of [`STATE_FRACTION`]; with none the weight stays as
    /// it is.
    pub dropped_bits: u8,
    /// To nearest, or, with a seed, at random: up with the probability that keeps the mean.
    pub stochastic_seed: Option<u32>,
}

impl Rounding {
    /// Leaves a weight as it is.
    pub const NONE: Self = Self {
        dropped_bits: 0,
        stochastic_seed: None,
    };

    /// Rounds a weight (F20) of at most [`WEIGHT_LIMIT`], which is on every grid, so that the result
    /// is no larger. `random` gives 32 random bits.
    #[inline(always)]
    fn round(self, weight: i32, random: impl FnOnce() -> u32) -> i32 {
        let grid = 1i32.wrapping_shl(self.dropped_bits.into());
        let below = grid.wrapping_sub(1);
        let add = match self.stochastic_seed {
            Some(_) => random() as i32 & below,
            None => grid >> 1,
        };
        // At most 2^25 and 2^20.
        weight.wrapping_add(add) & !below
    }
}

/// What silent neurons get instead of a gradient: neither a silent neuron nor the synapses onto it
/// have one, so that nothing would ever wake them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SilentNeurons {
    /// Added to every weight onto an output neuron, times the share of the minibatch in which it was
    /// the label's and stayed silent (F20).
    pub label_bump: i32,
    /// Added to every weight onto a hidden neuron that was silent over a whole minibatch (F20).
    pub hidden_bump: i32,
}

impl SilentNeurons {
    /// What is added to the weights onto an output neuron that was the silent label of `silent` of
    /// `samples` samples (F20, to nearest).
    ///
    /// # Panics
    /// If `samples` is zero.
    #[must_use]
    pub fn for_output(&self, silent: u32, samples: u32) -> i32 {
        let product = i64::from(self.label_bump) * i64::from(silent);
        let samples = i64::from(samples);
        (product + samples / 2).div_euclid(samples) as i32
    }

    /// What is added to the weights onto a hidden neuron that emitted `spikes` spikes in the
    /// minibatch (F20).
    #[must_use]
    pub fn for_hidden(&self, spikes: u32) -> i32 {
        if spikes == 0 { self.hidden_bump } else { 0 }
    }
}

/// What changes from one minibatch to the next, beside the moments of every weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Minibatches done.
    pub steps: u32,
    /// Learning rate of the next minibatch.
    pub learning_rate: f32,
    /// `beta1` to the power of `steps`.
    pub beta1_power: f32,
    /// `beta2` to the power of `steps`.
    pub beta2_power: f32,
}

impl Progress {
    /// Before the first minibatch.
    #[must_use]
    pub const fn new(learning_rate: f32) -> Self {
        Self {
            steps: 0,
            learning_rate,
            beta1_power: 1.0,
            beta2_power: 1.0,
        }
    }
}

/// Constants of one minibatch's update; made by [`Update::begin`].
#[derive(Clone, Copy, Debug)]
pub struct Update {
    method: Method,
    weight_decay: f32,
    /// Gradient sum (F18) to dL/dw of the mean over the minibatch.
    gradient_scale: f32,
    /// Learning rate, corrected for the bias of the first moment.
    rate: f32,
    /// Correction of the second moment's square root for its bias.
    root_scale: f32,
    rounding: Rounding,
    /// What the random numbers of this minibatch follow from.
    random_key: u32,
}

/// A stretch of the weights of one layer (or of one PE's part of it) with all that belongs to it.
///
/// All slices but `bumps` hold the same stretch of `[pre][post]`.
#[derive(Debug)]
pub struct Stretch<'a> {
    /// Number of the weight layer, from 0.
    pub layer: u8,
    /// First neuron of the PE's part within its layer.
    pub first_neuron: u16,
    /// Neurons of the part: the length of `[post]`.
    pub neurons: usize,
    /// Flat index of the first weight of the stretch within `[pre][post]`.
    pub position: usize,
    /// Weights, F20.
    pub weights: &'a mut [i32],
    /// Gradient sums over the minibatch, F18.
    pub gradients: &'a [i64],
    /// First moments, or velocities.
    pub first: &'a mut [f32],
    /// Second moments; left alone by gradient descent.
    pub second: &'a mut [f32],
    /// What is added to every weight onto a neuron, `[post]`, F20; empty for nothing.
    pub bumps: &'a [i32],
}

impl Update {
    /// Advances `progress` by one minibatch of `samples` samples and prepares its update.
    ///
    /// # Panics
    /// If `samples` is zero.
    // A function of its own: it is called once per minibatch, and its constants would else lie between
    // a jump of the program's loop and the jump's table, which the bound of the stack does not follow.
    #[inline(never)]
    #[must_use]
    pub fn begin(settings: &Settings, progress: &mut Progress, samples: u32) -> Self {
        assert!(samples > 0, "a minibatch has samples");
        progress.steps += 1;
        let (mut rate, mut root_scale) = (progress.learning_rate, 1.0);
        if let Method::Adam { beta1, beta2, .. } = settings.method {
            progress.beta1_power *= beta1;
            progress.beta2_power *= beta2;
            rate = progress.learning_rate / (1.0 - progress.beta1_power);
            root_scale = 1.0 / libm::sqrtf(1.0 - progress.beta2_power);
        }
        let unit = (1u32 << ADJOINT_FRACTION) as f32;
        Self {
            method: settings.method,
            weight_decay: settings.weight_decay,
            gradient_scale: settings.tau_synapse_ms / (unit * samples as f32),
            rate,
            root_scale,
            rounding: settings.rounding,
            random_key: scramble(
                scramble(progress.steps) ^ settings.rounding.stochastic_seed.unwrap_or(0),
            ),
        }
    }

    /// Updates weights in place; counts weights that saturate.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(&self, stretch: Stretch<'_>, statistics: &mut Statistics) {
        self.apply_with(stretch, libm::sqrtf, statistics);
    }

    /// [`apply`](Self::apply) with a square root of the caller, which has to round correctly.
    ///
    /// # Panics
    /// If the lengths differ.
    // Inlined, so that a caller can build it for the vector instructions that it finds. No loop here has
    // a branch or a check that depends on a weight.
    #[inline(always)]
    pub fn apply_with(
        &self,
        stretch: Stretch<'_>,
        square_root: impl Fn(f32) -> f32,
        statistics: &mut Statistics,
    ) {
        let Stretch {
            layer,
            first_neuron,
            neurons,
            position,
            weights,
            gradients,
            first,
            second,
            bumps,
        } = stretch;
        let len = weights.len();
        assert!([gradients.len(), first.len(), second.len()] == [len; 3]);
        let mut saturations = match self.method {
            Method::Adam {
                beta1,
                beta2,
                epsilon,
            } => self.descend(weights, gradients, first, second, |m, v, g| {
                *m = *m * beta1 + g * (1.0 - beta1);
                *v = *v * beta2 + g * g * (1.0 - beta2);
                self.rate * *m / (square_root(*v) * self.root_scale + epsilon)
            }),
            Method::Sgd { momentum } => {
                self.descend(weights, gradients, first, second, |m, _, g| {
                    *m = *m * momentum + g;
                    self.rate * *m
                })
            }
        };
        let bumped = bumps.iter().any(|&bump| bump != 0);
        let rounded = self.rounding.dropped_bits > 0;
        let (mut pre, mut post, mut weights) = (position / neurons, position % neurons, weights);
        while (bumped || rounded) && !weights.is_empty() {
            let (row, rest) = weights.split_at_mut(weights.len().min(neurons - post));
            if bumped {
                for (w, bump) in row.iter_mut().zip(&bumps[post..]) {
                    *w = limit(w.saturating_add(*bump), &mut saturations);
                }
            }
            if rounded {
                // With the neuron, a number that no other weight of the network has, however it is split.
                let key = u32::from(layer) << 24 ^ (pre as u32) << 12 ^ self.random_key;
                let neuron = u32::from(first_neuron) + post as u32;
                for (w, neuron) in row.iter_mut().zip(neuron..u32::MAX) {
                    *w = self.rounding.round(*w, || scramble(key ^ neuron));
                }
            }
            (pre, post, weights) = (pre + 1, 0, rest);
        }
        statistics.saturations += u64::from(saturations);
    }

    /// Takes every weight a step down; `rule` makes it of both moments and the gradient. Returns how many
    /// saturated.
    #[inline(always)]
    fn descend(
        &self,
        weights: &mut [i32],
        gradients: &[i64],
        first: &mut [f32],
        second: &mut [f32],
        rule: impl Fn(&mut f32, &mut f32, f32) -> f32,
    ) -> u32 {
        let mut saturations = 0;
        for (((w, &g), m), v) in weights.iter_mut().zip(gradients).zip(first).zip(second) {
            // A product by a power of two is exact, so this is the weight rounded to single once.
            let weight = *w as f32 * (1.0 / (1u32 << STATE_FRACTION) as f32);
            let g = to_single(g) * self.gradient_scale + weight * self.weight_decay;
            let step = rule(m, v, g) * (1u32 << STATE_FRACTION) as f32;
            // To nearest; the conversion saturates, and so may the difference, far beyond the limit.
            let step = (if step < 0.0 { step - 0.5 } else { step + 0.5 }) as i32;
            *w = limit(w.saturating_sub(step), &mut saturations);
        }
        saturations
    }
}

/// A weight within its limits; counts when that changed it.
#[inline(always)]
fn limit(weight: i32, saturations: &mut u32) -> i32 {
    let limited = weight.clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT);
    // A network has fewer than 2^31 weights.
    *saturations = saturations.wrapping_add(u32::from(limited != weight));
    limited
}

/// The nearest single-precision number: `value as f32`, for which a Cortex-M4 has an instruction only where
/// the value fits 32 bits. Most do.
#[inline(always)]
fn to_single(value: i64) -> f32 {
    if cfg!(target_pointer_width = "64") {
        return value as f32;
    }
    // A function of its own, or the compiler joins both cases.
    #[cold]
    #[inline(never)]
    fn wide(value: i64) -> f32 {
        value as f32
    }
    i32::try_from(value).map_or_else(|_| wide(value), |value| value as f32)
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    /// Adam against its formulas in double precision, over a minimisation of (w - 2)^2.
    #[test]
    fn adam_follows_its_formulas() {
        let settings = Settings {
            method: Method::Adam {
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
            },
            weight_decay: 0.01,
            tau_synapse_ms: 5.0,
            silent_neurons: SilentNeurons::default(),
            rounding: Rounding::NONE,
        };
        let mut progress = Progress::new(0.05);
        let (mut w, mut m, mut v) = ([0i32], [0f32], [0f32]);
        let (mut w64, mut m64, mut v64) = (0f64, 0f64, 0f64);
        for t in 1..=500 {
            let gradient = 2.0 * (f64::from(w[0]) / f64::from(1 << 20) - 2.0);
            let raw = (gradient * 4.0 / 5.0 * f64::from(1 << 18)).round() as i64;
            Update::begin(&settings, &mut progress, 4).apply(
                Stretch {
                    layer: 0,
                    first_neuron: 0,
                    neurons: 1,
                    position: 0,
                    weights: &mut w,
                    gradients: &[raw],
                    first: &mut m,
                    second: &mut v,
                    bumps: &[],
                },
                &mut Statistics::default(),
            );
            let g = raw as f64 * 5.0 / 4.0 / f64::from(1 << 18) + 0.01 * w64;
            m64 = 0.9 * m64 + 0.1 * g;
            v64 = 0.999 * v64 + 0.001 * g * g;
            let corrected = (v64 / (1.0 - 0.999f64.powi(t))).sqrt();
            w64 -= 0.05 * m64 / (1.0 - 0.9f64.powi(t)) / (corrected + 1e-8);
            assert!(
                (f64::from(w[0]) / f64::from(1 << 20) - w64).abs() < 1e-3,
                "step {t}"
            );
        }
        assert!((w64 - 2.0).abs() < 0.1);
    }

    #[test]
    fn momentum_bumps_and_saturation() {
        let settings = Settings {
            method: Method::Sgd { momentum: 0.5 },
            weight_decay: 0.0,
            tau_synapse_ms: 1.0,
            silent_neurons: SilentNeurons {
                label_bump: 1 << 20,
                hidden_bump: 7,
            },
            rounding: Rounding::NONE,
        };
        let mut progress = Progress::new(1.0);
        let mut statistics = Statistics::NEW;
        let (mut w, mut m, mut v) = ([0, 0, WEIGHT_LIMIT], [0f32; 3], [0f32; 3]);
        for _ in 0..2 {
            Update::begin(&settings, &mut progress, 1).apply(
                Stretch {
                    layer: 0,
                    first_neuron: 0,
                    neurons: 3,
                    position: 2,
                    weights: &mut w,
                    gradients: &[1 << 18, 0, 0],
                    first: &mut m,
                    second: &mut v,
                    bumps: &[0, 5, 1],
                },
                &mut statistics,
            );
        }
        // Two steps of 1 and 1.5 down; the bump of neuron 2 twice; the others follow in turn.
        assert_eq!(w, [-(5 << 19) + 2, 0, WEIGHT_LIMIT]);
        assert_eq!(statistics.saturations, 2);
        let remedy = settings.silent_neurons;
        assert_eq!(remedy.for_output(3, 4), 3 << 18);
        assert_eq!((remedy.for_hidden(0), remedy.for_hidden(2)), (7, 0));
    }

    /// Updates the weights `[50][80]` of layer 1, all of which a step takes to a fourth of the grid,
    /// on PEs with so many neurons each, in stretches of up to `chunk` weights.
    fn rounded(rounding: Rounding, minibatch: u32, parts: &[usize], chunk: usize) -> Vec<i32> {
        let settings = Settings {
            method: Method::Sgd { momentum: 0.0 },
            rounding,
            tau_synapse_ms: 1.0,
            ..Settings::NONE
        };
        let mut progress = Progress {
            steps: minibatch,
            ..Progress::new(1.0)
        };
        let update = Update::begin(&settings, &mut progress, 1);
        let mut all = vec![0; 50 * 80];
        let mut first_neuron = 0;
        for &neurons in parts {
            let mut weights = vec![0; 50 * neurons];
            for (number, weights) in weights.chunks_mut(chunk).enumerate() {
                let stretch = Stretch {
                    layer: 1,
                    first_neuron: first_neuron as u16,
                    neurons,
                    position: number * chunk,
                    gradients: &vec![-64; weights.len()],
                    first: &mut vec![0.0; weights.len()],
                    second: &mut vec![0.0; weights.len()],
                    bumps: &[],
                    weights,
                };
                update.apply(stretch, &mut Statistics::default());
            }
            for (row, part) in all.chunks_mut(80).zip(weights.chunks(neurons)) {
                row[first_neuron..first_neuron + neurons].copy_from_slice(part);
            }
            first_neuron += neurons;
        }
        all
    }

    #[test]
    fn stochastic_rounding_keeps_the_mean_and_does_not_depend_on_the_split() {
        let nearest = Rounding {
            dropped_bits: 10,
            stochastic_seed: None,
        };
        assert_eq!(rounded(Rounding::NONE, 0, &[80], 4000), [256; 4000]);
        assert_eq!(rounded(nearest, 0, &[80], 4000), [0; 4000]);
        let stochastic = |seed| Rounding {
            stochastic_seed: Some(seed),
            ..nearest
        };
        let whole = rounded(stochastic(7), 0, &[80], 4000);
        assert_eq!(rounded(stochastic(7), 0, &[31, 49], 256), whole);
        let up = |weights: &[i32]| {
            assert!(weights.iter().all(|w| [0, 1024].contains(w)));
            weights.iter().filter(|&&w| w != 0).count()
        };
        // A fourth of 4000, whose standard deviation is 27; and of those that another seed or
        // minibatch rounds up, a fourth again (14).
        assert!(up(&whole).abs_diff(1000) < 110, "{}", up(&whole));
        for other in [
            rounded(stochastic(8), 0, &[80], 4000),
            rounded(stochastic(7), 1, &[80], 4000),
        ] {
            let both: Vec<_> = whole.iter().zip(&other).map(|(a, b)| a & b).collect();
            assert!(up(&both).abs_diff(250) < 60, "{}", up(&both));
        }
    }

    #[test]
    fn rounding_to_nearest_takes_halves_up_and_keeps_the_limits() {
        let rounding = Rounding {
            dropped_bits: 2,
            stochastic_seed: None,
        };
        let round = |weight| rounding.round(weight, || unreachable!());
        assert_eq!([-7, -6, -5, 1, 2, 3].map(round), [-8, -4, -4, 0, 4, 4]);
        let stochastic = Rounding {
            stochastic_seed: Some(0),
            ..rounding
        };
        for limit in [WEIGHT_LIMIT, -WEIGHT_LIMIT] {
            assert_eq!(round(limit), limit);
            assert_eq!(stochastic.round(limit, || u32::MAX), limit);
        }
        assert_eq!(Rounding::NONE.round(-3, || unreachable!()), -3);
    }
}
