//! Tests at the ends of all legal ranges: what the table at the head of [`crate::numeric`] claims, with plain
//! arithmetic in 128 bits. (What the kernels compute there is checked by [`Fits`](crate::numeric::Fits) in
//! every test; see those of [`crate::adjoint`].)

use std::vec;
use std::vec::Vec;

use s2_hal::math::SoftwareExpLog;

use crate::loss::{LATEST, SILENT, Silence, TimeToFirstSpike};
use crate::numeric::{
    ADJOINT_LIMIT, ONE, STATE_LIMIT, Statistics, WEIGHT_LIMIT, decay, divide_by_slope, scale,
};
use crate::optimizer::{Method, Progress, Rounding, Settings, SilentNeurons, Stretch, Update};
use crate::state::Decay;
use crate::tables::{
    self, Coefficients, Dynamics, PEAKS, Peak, RUN_FRACTION, Scheme, Tables, run_entries,
};
use crate::vector::{Arrays, Single};

/// Time constants at the ends of their range, and between.
const TAUS_MS: [f64; 8] = [0.01, 0.010_000_1, 0.013, 1.0, 5.0, 20.0, 9_999.9, 10_000.0];

/// Time constants with the longest step, a usual one, and a short one.
fn times() -> impl Iterator<Item = (f64, f64, f64)> {
    TAUS_MS.into_iter().flat_map(|tau_m| {
        TAUS_MS.into_iter().flat_map(move |tau_s| {
            let shorter = tau_m.min(tau_s);
            let longest = core::f64::consts::LN_2 * shorter;
            [longest, shorter / 5.0, 0.001]
                .into_iter()
                .filter(move |&step| step <= longest)
                .map(move |step| (step, tau_m, tau_s))
        })
    })
}

/// Values at the ends of a format, and where their products change their sign or their last bit.
fn ends(limit: i32) -> Vec<i32> {
    let magnitudes = [0, 1, 2, 3, limit / 3, limit / 2, limit - 1, limit];
    magnitudes.iter().flat_map(|&m| [-m, m]).collect()
}

/// Coefficients over ticks.
fn ticks(tick_bits: u32, (step, tau_m, tau_s): (f64, f64, f64)) -> Vec<Coefficients> {
    let mut table = vec![Coefficients::default(); (1 << tick_bits) + 1];
    tables::fill(&mut table, step, tau_m, tau_s).unwrap();
    table
}

/// Coefficients over runs of steps up to the longest sample, composed where the table ends.
fn runs(times: (f64, f64, f64)) -> Vec<(usize, Coefficients)> {
    let (step, tau_m, tau_s) = times;
    let ticks = ticks(0, times);
    let mut runs = [Coefficients::default(); run_entries(2047)];
    tables::fill_runs(&mut runs, step, tau_m, tau_s);
    let tables = Tables {
        ticks: &ticks,
        runs: &runs,
        peaks: &[Peak::default(); PEAKS],
    };
    let dynamics = Dynamics::new(Scheme::Exact, tables, 8, 0).unwrap();
    let lengths = (0..=130).chain([1023, 1984, 2046, 2047]);
    lengths
        .map(|steps| {
            (
                steps,
                *dynamics.over_steps(steps, &mut Coefficients::default()),
            )
        })
        .collect()
}

#[test]
fn coefficients_over_ticks_and_their_negatives_fit() {
    let mut least = 0;
    for times in times() {
        for tick_bits in [0, 1, 8] {
            for over in ticks(tick_bits, times) {
                let decays = [over.current_decay, over.membrane_decay];
                let couplings = [over.current_to_membrane, over.membrane_to_current];
                for decay in decays {
                    least = least.min(decay);
                    assert!((-i32::MAX..=0).contains(&decay), "{times:?}: {over:?}");
                }
                assert!(
                    couplings.iter().all(|&c| (0..i32::MAX).contains(&c)),
                    "{times:?}: {over:?}"
                );
                // A factor and its coupling: one, but for the roundings of both.
                for (decay, coupling) in decays.into_iter().rev().zip(couplings) {
                    assert!(
                        i64::from(decay) + i64::from(coupling) <= 1,
                        "{times:?}: {over:?}"
                    );
                }
            }
        }
    }
    assert_eq!(
        least,
        -i32::MAX,
        "a step of ln 2 times the shorter time constant is among them"
    );
}

#[test]
fn coefficients_over_steps_fit_also_when_composed() {
    for times in times() {
        for (steps, over) in runs(times) {
            let decays = [over.current_decay, over.membrane_decay];
            let couplings = [over.current_to_membrane, over.membrane_to_current];
            assert!(
                decays.iter().all(|&d| d <= 0),
                "{times:?}, {steps}: {over:?}"
            );
            assert!(
                couplings
                    .iter()
                    .all(|&c| (-64..i32::MAX - (1 << 14)).contains(&c)),
                "{times:?}, {steps}: {over:?}"
            );
        }
    }
}

/// Both variables after a decay, in 128 bits.
fn plain(decay: &Decay, fraction: u32, driven: i32, driver: i32) -> (i128, i128) {
    let [a, b, c] = [decay.driven, decay.driver, decay.coupling].map(i128::from);
    let (driven, driver) = (i128::from(driven), i128::from(driver));
    let rounded = |sum: i128| (sum + (1 << (fraction - 1))) >> fraction;
    (
        driven + rounded(driven * a + driver * c),
        driver + rounded(driver * b),
    )
}

/// Asserts that states and adjoints at their limits decay as they do in 128 bits, and come out within them.
fn decays_like_plain_numbers<const FRACTION: u32>(over: &Coefficients, beyond: i128) {
    let grid = Decay {
        coupling: -over.current_decay.max(-i32::MAX),
        ..Decay::backward(over)
    };
    for (decay, limit) in [
        (Decay::forward(over), STATE_LIMIT),
        (Decay::backward(over), ADJOINT_LIMIT),
        (grid, ADJOINT_LIMIT),
    ] {
        let values = ends(limit);
        for &driven in &values {
            for &driver in &values {
                let ([x], [y]) = decay.apply::<FRACTION, _>(Single, [driven], [driver]);
                let want = plain(&decay, FRACTION, driven, driver);
                assert_eq!(
                    (x.into(), y.into()),
                    want,
                    "{decay:?} of {driven}, {driver}"
                );
                let lanes = decay.apply::<FRACTION, _>(Arrays, [driven; 8], [driver; 8]);
                assert_eq!(lanes, ([x; 8], [y; 8]));
                let largest = i128::from(driven.abs().max(driver.abs())) + beyond;
                assert!(want.0.abs() <= largest && want.1.abs() <= largest);
            }
        }
    }
}

#[test]
fn decays_of_values_at_their_limits_fit() {
    for times in times() {
        for over in ticks(2, times) {
            decays_like_plain_numbers::<32>(&over, 0);
            for value in ends(STATE_LIMIT).into_iter().chain(ends(i32::MAX)) {
                for coefficient in [over.current_decay, over.membrane_decay] {
                    let product = i128::from(value) * i128::from(coefficient);
                    let rounded = (product + (1 << 31)) >> 32;
                    assert_eq!(i128::from(scale(value, coefficient)), rounded);
                    let want = i128::from(value) + rounded;
                    assert_eq!(i128::from(decay(value, coefficient)), want);
                }
            }
        }
        for (steps, over) in runs(times) {
            if steps % 13 == 0 || steps > 100 {
                // Composed coefficients are off by some units.
                decays_like_plain_numbers::<RUN_FRACTION>(&over, 64);
            }
        }
    }
}

/// The reciprocal begins with the upper half of the divisor's bits: every value of it, with the ends of the lower
/// half, in every place that they can have in a divisor.
#[test]
fn division_is_accurate_for_every_estimate() {
    let numerators = [
        1,
        -1,
        3,
        ADJOINT_LIMIT,
        -ADJOINT_LIMIT,
        9 * ADJOINT_LIMIT,
        -9 * ADJOINT_LIMIT,
    ];
    let limit = i128::from(ADJOINT_LIMIT);
    for upper in 1u32 << 15..1 << 16 {
        for lower in [0, 1, 0x7FFF, 0xFFFF] {
            for zeros in 2..32 {
                let slope = ((upper << 16 | lower) >> zeros).cast_signed();
                // A slope of 2^29 is the largest: of the others with two zeros there is none.
                if slope > STATE_LIMIT {
                    continue;
                }
                let numerator = numerators[(upper as usize + zeros) % numerators.len()];
                let mut saturations = 0;
                let got = i128::from(divide_by_slope(numerator, slope, &mut saturations));
                let exact = (i128::from(numerator) << 20).div_euclid(slope.into());
                let want = exact.clamp(-limit, limit);
                assert!(
                    (got - want).abs() <= 1,
                    "{numerator} / {slope}: {got}, not {want}"
                );
                assert!(saturations == 0 || exact.abs() >= limit);
            }
        }
    }
}

#[test]
fn losses_at_the_ends_of_their_ranges_fit() {
    for tau0_ms in [1.0 / 128.0, 10_000.0, 0.5] {
        for alpha in [0.0, 1.0, 1.0 - f64::EPSILON, 0.999_999_999_9, 0.003] {
            for (tick_ms, end) in [(1.99, 2047), (0.001 / 256.0, 2047 * 256), (1.0 / 256.0, 1)] {
                let shortest = f64::from(end) * tick_ms / LATEST;
                let tau1_ms = shortest.max(alpha / 0.499_999);
                let silence = Silence {
                    outputs_at_end: true,
                    send_for_label: true,
                    last_tick_unheard: false,
                };
                let loss =
                    TimeToFirstSpike::new(tau0_ms, tau1_ms, alpha, tick_ms, end, silence).unwrap();
                // An alpha that nearly is 1 does not become 0.
                assert_eq!(loss.alpha > u32::MAX / 2, alpha > 0.5);
                for first in [
                    [0, end, SILENT],
                    [end, 0, end],
                    [SILENT; 3],
                    [0; 3],
                    [end; 3],
                ] {
                    for label in 0..3 {
                        let (mut errors, mut saturations) = ([0; 3], 0);
                        loss.evaluate(
                            &mut SoftwareExpLog,
                            &first,
                            label,
                            &mut errors,
                            &mut saturations,
                        );
                        assert!(errors.iter().all(|error| error.abs() <= ADJOINT_LIMIT));
                    }
                }
            }
        }
    }
}

/// However large gradients and moments are, or not numbers at all, weights stay within their limits.
#[test]
fn updates_stay_within_the_weights_limits() {
    const BELOW_ONE: f32 = 0.999_999_94;
    let methods =
        [(0.0, 0.0), (BELOW_ONE, BELOW_ONE), (0.9, 0.999)].map(|(beta1, beta2)| Method::Adam {
            beta1,
            beta2,
            epsilon: 1e-12,
        });
    let methods = methods
        .into_iter()
        .chain([0.0, BELOW_ONE].map(|momentum| Method::Sgd { momentum }));
    let gradients = [0, 1, -1, 1 << 60, -(1 << 60), i64::MAX, i64::MIN];
    let moments = [
        0.0,
        1.0,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
    ];
    for method in methods {
        for dropped_bits in 0..=20 {
            for stochastic_seed in [None, Some(7)] {
                let settings = Settings {
                    method,
                    weight_decay: 1.0,
                    tau_synapse_ms: 10_000.0,
                    silent_neurons: SilentNeurons {
                        label_bump: 8 * ONE,
                        hidden_bump: 8 * ONE,
                    },
                    rounding: Rounding {
                        dropped_bits,
                        stochastic_seed,
                    },
                };
                let bump = settings.silent_neurons.for_output(65_535, 65_535);
                assert_eq!(bump, 8 * ONE);
                for weight in [-WEIGHT_LIMIT, WEIGHT_LIMIT, WEIGHT_LIMIT - 1, 0] {
                    for gradient in gradients {
                        let mut weights = [weight; 6];
                        let (mut first, mut second) = (moments, moments);
                        let mut statistics = Statistics::NEW;
                        Update::begin(&settings, &mut Progress::new(10.0), 1).apply(
                            Stretch {
                                layer: 16,
                                first_neuron: 4094,
                                neurons: 1,
                                position: 4089,
                                weights: &mut weights,
                                gradients: &[gradient; 6],
                                first: &mut first,
                                second: &mut second,
                                bumps: &[bump],
                            },
                            &mut statistics,
                        );
                        for weight in weights {
                            assert!(
                                (-WEIGHT_LIMIT..=WEIGHT_LIMIT).contains(&weight),
                                "{settings:?}"
                            );
                            assert_eq!(weight & ((1 << dropped_bits) - 1), 0);
                        }
                    }
                }
            }
        }
    }
}
