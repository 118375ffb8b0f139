//! Coefficients of both discretisations.

use crate::numeric;

/// Which discretisation of the neuron's equations is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Exact integration over a step; events carry their time within the step.
    ///
    /// Forward as in Morrison et al. 2007, "Exact subthreshold integration with continuous spike
    /// times in discrete-time neural network simulations"; backward the adjoint of the same steps.
    Exact,
    /// The discretisation of Béna et al. 2024 (arXiv:2412.15021): spikes on the time grid, acting one
    /// step later.
    Grid,
}

impl Scheme {
    /// Steps between an event's emission and its arrival downstream: 0 for [`Scheme::Exact`], where
    /// layers run as a pipeline without delay, 1 for [`Scheme::Grid`].
    #[must_use]
    pub const fn delay(self) -> usize {
        match self {
            Self::Exact => 0,
            Self::Grid => 1,
        }
    }
}

/// Decay and coupling over a stretch of time: over ticks of a step, with 32 fraction bits, or over
/// whole steps, with [`RUN_FRACTION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Coefficients {
    /// `exp(-h/tau_s) - 1`, for the synaptic current and its adjoint.
    pub current_decay: i32,
    /// `exp(-h/tau_m) - 1`, for the membrane and its adjoint.
    pub membrane_decay: i32,
    /// What a current adds to the membrane: `tau_s/(tau_m-tau_s) * (exp(-h/tau_m) - exp(-h/tau_s))`.
    pub current_to_membrane: i32,
    /// What the membrane's adjoint adds to the current's:
    /// `tau_m/(tau_m-tau_s) * (exp(-h/tau_m) - exp(-h/tau_s))`.
    pub membrane_to_current: i32,
}

/// Largest binary logarithm of the ticks per step.
pub const MAX_TICK_BITS: u32 = 8;

/// Fraction bits of [`Coefficients`] over whole steps, where a decay may be all but complete.
pub const RUN_FRACTION: u32 = 31;

/// Longest run of steps that is taken at once; longer ones are taken in parts.
pub const MAX_RUN: usize = 64;

/// Length of [`Tables::runs`] for samples of so many steps: an entry for each number of steps, from
/// none on.
#[must_use]
pub const fn run_entries(steps: usize) -> usize {
    if steps < MAX_RUN {
        steps + 1
    } else {
        MAX_RUN + 1
    }
}

/// Parts into which the ratio of membrane to current, 0 to 1, is divided by [`Tables::peaks`].
pub const PEAKS: usize = 4;

/// A bound of the highest membrane that a neuron left to itself reaches at the end of a step:
/// `membrane · V + current · I`, both factors with 15 fraction bits, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Peak {
    /// Factor of V.
    pub membrane: i32,
    /// Factor of I.
    pub current: i32,
}

/// Fraction bits of a [`Peak`].
const PEAK_FRACTION: u32 = 15;

/// What a bound of the membrane must stay below for a neuron to be left alone: the threshold, less
/// more than what the roundings of its state may add up to (F27: 12 bits of V, 15 of a factor).
const PEAK_LIMIT: i32 = ((numeric::ONE >> 8) - 2) << PEAK_FRACTION;

/// A current that is as good as any larger one to make a neuron spike (F20).
const LARGE_CURRENT: i32 = (1 << 23) - 1;

/// All that a layer needs to know of time.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'t> {
    /// Coefficients over 0 to Q ticks of a step ([`fill`]).
    pub ticks: &'t [Coefficients],
    /// Coefficients over whole steps ([`fill_runs`]); not used on the time grid.
    pub runs: &'t [Coefficients],
    /// Where a neuron's membrane can get ([`peaks`]); not used on the time grid.
    pub peaks: &'t [Peak],
}

/// Why a table cannot be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TableError {
    /// A time constant or the step is not a positive finite number.
    NotPositive,
    /// The step is longer than ln 2 times the shorter time constant: a decay over it would leave the
    /// format, and the threshold search would miss spikes. Holds the longest step allowed, in ms.
    StepTooLong(f64),
    /// The slice is not `ticks + 1` long.
    Length,
}

/// Fills `table[d]` with the coefficients over `d` of `ticks` ticks of a step of `step_ms`;
/// `table` has the length `ticks + 1`.
///
/// Computed with the `libm` crate's exponential, whose bits are the same on every machine.
///
/// # Errors
/// See [`TableError`].
pub fn fill(
    table: &mut [Coefficients],
    step_ms: f64,
    tau_membrane_ms: f64,
    tau_synapse_ms: f64,
) -> Result<(), TableError> {
    let positive = |x: f64| x.is_finite() && x > 0.0;
    if !(positive(step_ms) && positive(tau_membrane_ms) && positive(tau_synapse_ms)) {
        return Err(TableError::NotPositive);
    }
    let longest = core::f64::consts::LN_2 * tau_membrane_ms.min(tau_synapse_ms);
    if step_ms > longest {
        return Err(TableError::StepTooLong(longest));
    }
    let ticks = table
        .len()
        .checked_sub(1)
        .filter(|&t| t > 0)
        .ok_or(TableError::Length)?;
    for (d, entry) in table.iter_mut().enumerate() {
        let h = step_ms * d as f64 / ticks as f64;
        *entry = coefficients(h, tau_membrane_ms, tau_synapse_ms, 32);
    }
    Ok(())
}

/// Fills `table[d]` with the coefficients over d steps of `step_ms`, with [`RUN_FRACTION`] fraction
/// bits; `table` is [`run_entries`] long. The numbers are those that [`fill`] has accepted.
pub fn fill_runs(
    table: &mut [Coefficients],
    step_ms: f64,
    tau_membrane_ms: f64,
    tau_synapse_ms: f64,
) {
    for (d, entry) in table.iter_mut().enumerate() {
        let h = step_ms * d as f64;
        *entry = coefficients(h, tau_membrane_ms, tau_synapse_ms, RUN_FRACTION);
    }
}

/// Bounds of the membrane of a neuron left to itself. The numbers are those that [`fill`] has
/// accepted.
///
/// The highest membrane at the end of a step, `max_d em(d) V + kf(d) I`, is a convex function of V/I,
/// times I: between two points it lies below the line through them.
#[must_use]
pub fn peaks(step_ms: f64, tau_membrane_ms: f64, tau_synapse_ms: f64) -> [Peak; PEAKS] {
    let peak = |ratio: f64| {
        let mut highest = 0.0;
        // Rises to its only maximum, and falls behind it.
        for d in 1.. {
            let h = step_ms * f64::from(d);
            let (em, _, kf, _) = factors(h, tau_membrane_ms, tau_synapse_ms);
            let membrane = (em + 1.0) * ratio + kf;
            if membrane <= highest {
                break;
            }
            highest = membrane;
        }
        highest
    };
    let up = |x: f64| libm::ceil(x * f64::from(1u32 << PEAK_FRACTION)) as i32;
    core::array::from_fn(|part| {
        let (left, right) = (part as f64 / PEAKS as f64, (part + 1) as f64 / PEAKS as f64);
        let (low, high) = (peak(left), peak(right));
        let slope = (high - low) / (right - left);
        Peak {
            membrane: up(slope),
            current: up(low - slope * left),
        }
    })
}

fn coefficients(h: f64, tau_membrane: f64, tau_synapse: f64, fraction_bits: u32) -> Coefficients {
    let (em, es, kf, kb) = factors(h, tau_membrane, tau_synapse);
    let unit = libm::ldexp(1.0, fraction_bits as i32);
    let fraction = |x: f64| libm::floor(x * unit + 0.5) as i32;
    Coefficients {
        current_decay: fraction(es),
        membrane_decay: fraction(em),
        current_to_membrane: fraction(kf),
        membrane_to_current: fraction(kb),
    }
}

/// Decay of the membrane - 1, of the current - 1, and both couplings over a time of h.
fn factors(h: f64, tau_membrane: f64, tau_synapse: f64) -> (f64, f64, f64, f64) {
    let (x_m, x_s) = (h / tau_membrane, h / tau_synapse);
    // (exp(-x_m) - exp(-x_s)) / (x_s - x_m), through expm1 so that nearly equal time constants
    // lose nothing; its limit for equal ones is exp(-x).
    let difference = x_s - x_m;
    let ratio = if difference == 0.0 {
        libm::exp(-x_m)
    } else {
        -libm::exp(-x_m) * libm::expm1(-difference) / difference
    };
    // tau_s/(tau_m-tau_s) = x_m/(x_s-x_m) and tau_m/(tau_m-tau_s) = x_s/(x_s-x_m).
    let (em, es) = (libm::expm1(-x_m), libm::expm1(-x_s));
    (em, es, x_m * ratio, x_s * ratio)
}

/// Everything that a layer's kernels need to know of time and threshold.
#[derive(Clone, Copy, Debug)]
pub struct Dynamics<'t> {
    scheme: Scheme,
    tables: Tables<'t>,
    spikes_per_step: usize,
    slope_floor: i32,
}

impl<'t> Dynamics<'t> {
    /// Takes tables (of ticks one more entry than ticks per step, a power of two of ticks; one tick for
    /// [`Scheme::Grid`], which needs no other table), the most spikes that one neuron may emit in a step (1 to
    /// [`MAX_SPIKES_PER_STEP`](crate::neuron::MAX_SPIKES_PER_STEP)) and the least divisor c at a
    /// spike (F20; 0 and 1 both mean one unit in the last place, which is "no floor").
    ///
    /// Returns `None` if an argument is out of its range.
    #[must_use]
    pub fn new(
        scheme: Scheme,
        tables: Tables<'t>,
        spikes_per_step: usize,
        slope_floor: i32,
    ) -> Option<Self> {
        let ticks = tables.ticks.len().checked_sub(1)?;
        let fits = ticks.is_power_of_two()
            && ticks <= 1 << MAX_TICK_BITS
            && match scheme {
                Scheme::Exact => tables.runs.len() > 1 && tables.peaks.len() == PEAKS,
                Scheme::Grid => ticks == 1,
            }
            && (1..=crate::neuron::MAX_SPIKES_PER_STEP).contains(&spikes_per_step)
            && (0..=numeric::STATE_LIMIT).contains(&slope_floor);
        fits.then_some(Self {
            scheme,
            tables,
            spikes_per_step,
            slope_floor: slope_floor.max(1),
        })
    }

    /// The discretisation.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Ticks per step, Q.
    #[must_use]
    pub fn ticks(&self) -> usize {
        self.tables.ticks.len() - 1
    }

    /// Most spikes of one neuron in one step.
    #[must_use]
    pub fn spikes_per_step(&self) -> usize {
        self.spikes_per_step
    }

    /// Least divisor at a spike, at least one unit in the last place (F20).
    #[must_use]
    pub fn slope_floor(&self) -> i32 {
        self.slope_floor
    }

    /// Coefficients over `ticks` ticks.
    #[inline(always)]
    pub(crate) fn over(&self, ticks: usize) -> &'t Coefficients {
        &self.tables.ticks[ticks]
    }

    /// Coefficients over a whole step.
    #[inline(always)]
    pub(crate) fn step(&self) -> &'t Coefficients {
        &self.tables.ticks[self.ticks()]
    }

    /// Coefficients over whole steps, at most [`longest_run`](Self::longest_run).
    #[inline(always)]
    pub(crate) fn over_steps(&self, steps: usize) -> &'t Coefficients {
        &self.tables.runs[steps]
    }

    /// Most steps that [`over_steps`](Self::over_steps) knows.
    #[inline(always)]
    pub(crate) fn longest_run(&self) -> usize {
        self.tables.runs.len() - 1
    }

    /// Whether a neuron that is left to itself may be above threshold at the end of a later step.
    ///
    /// "No" is certain; "yes" is a bound by [`Peak`]s.
    #[inline(always)]
    pub(crate) fn may_rise(&self, membrane: i32, current: i32) -> bool {
        self.peaks().may_rise(membrane, current)
    }

    /// Where a neuron's membrane can get.
    #[inline(always)]
    pub(crate) fn peaks(&self) -> Peaks {
        match self.tables.peaks {
            &[a, b, c, d] => Peaks([a, b, c, d]),
            // On the time grid nobody asks.
            _ => Peaks([Peak::default(); PEAKS]),
        }
    }
}

/// [`Tables::peaks`], by value.
#[derive(Clone, Copy)]
pub(crate) struct Peaks([Peak; PEAKS]);

impl Peaks {
    /// Whether a neuron certainly does not rise above threshold, as most do not: faster than
    /// [`may_rise`](Self::may_rise), which says no for each of them, too.
    #[inline(always)]
    pub(crate) fn stays_below(&self, membrane: i32, current: i32) -> bool {
        // No bound of a part is above that of the first one with a whole V.
        let bound = (membrane.max(0) >> 8)
            .wrapping_add(1)
            .wrapping_shl(PEAK_FRACTION)
            .wrapping_add(
                (current >> 8)
                    .wrapping_add(1)
                    .wrapping_mul(self.0[0].current),
            );
        membrane <= numeric::ONE
            && current <= LARGE_CURRENT
            && (current <= membrane || bound <= PEAK_LIMIT)
    }

    /// [`Dynamics::may_rise`], without branches. (On a PE it has its registers to itself.)
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline(always))]
    pub(crate) fn may_rise(&self, membrane: i32, current: i32) -> bool {
        let [first, second, third, fourth] = self.0;
        // A membrane above the current falls, and one below zero reaches no more than one at zero.
        // Sixteen bits of each are enough for a bound; with one more of the last that counts they are
        // not too small.
        let v = (membrane.max(0) >> 8).wrapping_add(1);
        let i = (current.clamp(0, LARGE_CURRENT) >> 8).wrapping_add(1);
        let parts = [
            v.wrapping_mul(4) > i,
            v.wrapping_mul(2) > i,
            v.wrapping_mul(4) > i.wrapping_mul(3),
        ];
        let select = |a: i32, b: i32, c: i32, d: i32| {
            let upper = if parts[2] { d } else { c };
            let upper = if parts[1] { upper } else { b };
            if parts[0] { upper } else { a }
        };
        let of_v = select(
            first.membrane,
            second.membrane,
            third.membrane,
            fourth.membrane,
        );
        let of_i = select(first.current, second.current, third.current, fourth.current);
        // Where it matters, V is at most 2^12 and I at most 2^15 here, and the factors at most 2^15.
        let bound = v.wrapping_mul(of_v).wrapping_add(i.wrapping_mul(of_i));
        (membrane > numeric::ONE)
            | ((current > membrane) & ((bound > PEAK_LIMIT) | (current > LARGE_CURRENT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_follows_its_formulas() {
        for (tau_m, tau_s) in [(20.0, 5.0), (5.0, 20.0), (10.0, 10.0), (10.0, 10.000001)] {
            let mut table = [Coefficients::default(); 257];
            fill(&mut table, 1.0, tau_m, tau_s).unwrap();
            assert_eq!(table[0], Coefficients::default());
            for (d, entry) in table.iter().enumerate() {
                let h = d as f64 / 256.0;
                let (em, es) = ((-h / tau_m).exp(), (-h / tau_s).exp());
                let (kf, kb) = if (tau_m - tau_s).abs() < 1e-3 {
                    (h / tau_m * em, h / tau_s * es)
                } else {
                    (
                        tau_s / (tau_m - tau_s) * (em - es),
                        tau_m / (tau_m - tau_s) * (em - es),
                    )
                };
                let pairs = [
                    (entry.current_decay, es - 1.0),
                    (entry.membrane_decay, em - 1.0),
                    (entry.current_to_membrane, kf),
                    (entry.membrane_to_current, kb),
                ];
                for (got, want) in pairs {
                    assert!((f64::from(got) / 4_294_967_296.0 - want).abs() < 1e-8);
                }
            }
        }
    }

    #[test]
    fn impossible_times_are_refused() {
        let mut table = [Coefficients::default(); 2];
        assert_eq!(
            fill(&mut table, 1.0, -20.0, 5.0),
            Err(TableError::NotPositive)
        );
        assert_eq!(
            fill(&mut table, 1.0, 20.0, f64::NAN),
            Err(TableError::NotPositive)
        );
        assert!(
            matches!(fill(&mut table, 4.0, 20.0, 5.0), Err(TableError::StepTooLong(t)) if (t - 3.4657).abs() < 1e-3)
        );
        assert_eq!(fill(&mut [], 1.0, 20.0, 5.0), Err(TableError::Length));
    }

    proptest::proptest! {
        /// The quick look says of nobody that he stays below who the bounds say may rise: they decide
        /// on different machines.
        #[test]
        fn the_quick_look_agrees(
            membrane in -numeric::STATE_LIMIT..=2 * numeric::ONE,
            current in -numeric::STATE_LIMIT..=numeric::STATE_LIMIT,
            scale in 0u32..24,
            tau_m in 1.0..50.0f64,
            tau_s in 1.5..50.0f64,
        ) {
            let peaks = Peaks(peaks(1.0, tau_m, tau_s));
            for (v, i) in [(membrane, current), (membrane >> scale, current >> scale), (membrane, current >> 8)] {
                proptest::prop_assert!(!(peaks.stays_below(v, i) && peaks.may_rise(v, i)));
            }
        }
    }
}
