//! Coefficients of both discretisations.

use core::ops::Range;

use crate::log::Event;
use crate::numeric;
use crate::vector::Vectors;

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

impl Coefficients {
    /// Over this run and another one behind it, in the direction of the variables' time; all with
    /// [`RUN_FRACTION`] fraction bits.
    fn then(&self, next: &Self) -> Self {
        // Decays are -1 to 0, couplings 0 to 1: products are at most 2^62, and the results are within the
        // same bounds.
        let times = |value: i32, factor_less_one: i32| {
            let half = 1i64 << (RUN_FRACTION - 1);
            let product = i64::from(value).wrapping_mul(factor_less_one.into());
            value.wrapping_add((product.wrapping_add(half) >> RUN_FRACTION) as i32)
        };
        Self {
            current_decay: times(self.current_decay, next.current_decay)
                .wrapping_add(next.current_decay),
            membrane_decay: times(self.membrane_decay, next.membrane_decay)
                .wrapping_add(next.membrane_decay),
            current_to_membrane: times(self.current_to_membrane, next.membrane_decay)
                .wrapping_add(times(next.current_to_membrane, self.current_decay)),
            membrane_to_current: times(self.membrane_to_current, next.current_decay)
                .wrapping_add(times(next.membrane_to_current, self.membrane_decay)),
        }
    }
}

/// Largest binary logarithm of the ticks per step.
pub const MAX_TICK_BITS: u32 = 8;

/// Fraction bits of [`Coefficients`] over whole steps, where a decay may be all but complete.
pub const RUN_FRACTION: u32 = 31;

/// Longest run of steps that [`Tables::runs`] holds; the coefficients of longer ones are composed.
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

/// Length of [`Tables::peaks`]: a line for each of three ranges of the ratio of membrane to current, from 0
/// to a quarter, to a half, and to 1; and one for a look back over a step.
pub const PEAKS: usize = 4;

/// A line of a bound of the membrane: `membrane · V + current · I`, both factors with 29 fraction bits.
///
/// The first three bound the highest membrane that a neuron left to itself will reach at any time, the last
/// one the highest that it may have had within the step that it is at the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Peak {
    /// Factor of V.
    pub membrane: i32,
    /// Factor of I.
    pub current: i32,
}

/// Fraction bits of a [`Peak`].
const PEAK_FRACTION: u32 = 29;

/// What a bound of the membrane must stay below for a neuron to be left alone (F17: the upper word of a
/// product of F20 with a factor): the threshold, less more than what the roundings of its state may add up
/// to. (A constant that a Cortex-M4 compares with in one instruction.)
const PEAK_LIMIT: i32 = (numeric::ONE - ROUNDINGS) >> 3;

/// More units in the last place than all roundings may add to a membrane while a neuron is left alone.
pub(crate) const ROUNDINGS: i32 = 1 << 12;

/// One unit in the last place of a coefficient over ticks.
const INVERSE_UNIT: f32 = 1.0 / 4_294_967_296.0;

/// Where an `f32` has no fraction bits left.
const INTEGERS: f32 = 8_388_608.0;

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

/// Bounds of the membrane of a neuron. The numbers are those that [`fill`] has accepted.
///
/// The highest membrane of a neuron left to itself, `max_h em(h) V + kf(h) I`, is a convex function of V/I,
/// times I: between two points it lies below the line through them. It is reached where the current has fallen
/// to the membrane.
///
/// For the look back, with `k(h) = -kf(-h)`: a time h before the end of a step, the membrane was
/// `em(-h) V - k(h) I = (em(-h) - k(h)) V + k(h) (V - I)`, if nothing arrived in between. The first factor
/// falls from 1 as h grows and stays above zero, and k grows, so `V + k (V - I)` with the k of a whole step is a
/// bound where V >= 0 and `V >= I`; a V below zero counts as zero. Where weights arrived, each positive one is
/// to be taken off I: that raises the membrane before by at most k times the weight.
#[must_use]
pub fn peaks(step_ms: f64, tau_membrane_ms: f64, tau_synapse_ms: f64) -> [Peak; PEAKS] {
    let peak = |ratio: f64| {
        // The current falls to the membrane where exp(-h/tau_s + h/tau_m) = 1 - faster (1 - ratio).
        let faster = 1.0 - tau_synapse_ms / tau_membrane_ms;
        let h = if faster == 0.0 {
            tau_synapse_ms * (1.0 - ratio)
        } else {
            -tau_synapse_ms * libm::log1p(-faster * (1.0 - ratio)) / faster
        };
        let (em, _, kf, _) = factors(h, tau_membrane_ms, tau_synapse_ms);
        (em + 1.0) * ratio + kf
    };
    let up = |x: f64| libm::ceil(x * f64::from(1u32 << PEAK_FRACTION)) as i32;
    let line = |left: f64, right: f64| {
        let (low, high) = (peak(left), peak(right));
        let slope = (high - low) / (right - left);
        Peak {
            membrane: up(slope),
            current: up(low - slope * left),
        }
    };
    let (_, _, back, _) = factors(-step_ms, tau_membrane_ms, tau_synapse_ms);
    let look_back = Peak {
        membrane: up(1.0 - back),
        current: up(back),
    };
    [line(0.0, 0.25), line(0.25, 0.5), line(0.5, 1.0), look_back]
}

fn coefficients(h: f64, tau_membrane: f64, tau_synapse: f64, fraction_bits: u32) -> Coefficients {
    let (em, es, kf, kb) = factors(h, tau_membrane, tau_synapse);
    let unit = libm::ldexp(1.0, fraction_bits as i32);
    // A decay by just one half over ticks becomes one unit less, so that its negative fits, too.
    let least = if fraction_bits > RUN_FRACTION {
        -i32::MAX
    } else {
        i32::MIN
    };
    let fraction = |x: f64| (libm::floor(x * unit + 0.5) as i32).max(least);
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

    /// Coefficients over two ticks less, one tick less, so many ticks, and one more; `None` where the table ends.
    #[inline(always)]
    pub(crate) fn around(&self, ticks: usize) -> Option<&'t [Coefficients; 4]> {
        self.tables
            .ticks
            .get(ticks.wrapping_sub(2)..)?
            .first_chunk()
    }

    /// Coefficients over a whole step.
    #[inline(always)]
    pub(crate) fn step(&self) -> &'t Coefficients {
        &self.tables.ticks[self.ticks()]
    }

    /// Coefficients from the arrival of an event to the end of its step.
    #[inline(always)]
    pub(crate) fn left(&self, arrival: &Event) -> &'t Coefficients {
        self.over(self.ticks() - usize::from(arrival.offset))
    }

    /// About the ticks at which the membranes of neurons left to themselves first are above threshold, between
    /// two ticks of a step, with the states there: that of the cubic with the same values and slopes at both
    /// ends, by one step of Newton's method from the straight line. From 2 to the last but one, where a step has
    /// that many.
    ///
    /// In `f32`, one rounding per operation and nothing contracted, so that every machine guesses alike.
    #[inline(always)]
    pub(crate) fn guess<V: Vectors>(
        &self,
        x: V,
        ticks: Range<usize>,
        (v0, i0): (V::Words, V::Words),
        (v1, i1): (V::Words, V::Words),
    ) -> V::Words {
        let last = (self.ticks() as u32 - 1) as f32;
        let half = ticks.start as u32 as f32 + 0.5;
        let ticks = (ticks.end - ticks.start) as u32 as f32;
        // The decay over one tick, in units of the time between both.
        let rate = self.over(1).membrane_decay as f32 * (ticks * -INVERSE_UNIT);
        let all = |number| x.all_floats(number);
        let (ticks, last, rate, half) = (all(ticks), all(last), all(rate), all(half));
        let (one, two, integers) = (all(1.0), all(2.0), all(INTEGERS));
        let add = |a, b| x.add_floats(a, b);
        let sub = |a, b| x.subtract_floats(a, b);
        let mul = |a, b| x.multiply(a, b);
        // All differences are at most 2^30.
        let difference = |a, b| x.floats(x.subtract(a, b));
        let rise = difference(v1, v0);
        let at = x.divide(difference(x.all(numeric::ONE), v0), rise);
        // V(x) = V0 + rise x + x (1 - x) (start (1 - x) + end x)
        let start = sub(mul(difference(i0, v0), rate), rise);
        let end = sub(rise, mul(difference(i1, v1), rate));
        let twist = sub(end, start);
        let bend = add(start, mul(twist, at));
        let between = mul(at, sub(one, at));
        let slope = add(
            add(rise, mul(sub(one, mul(two, at)), bend)),
            mul(between, twist),
        );
        let at = sub(at, x.divide(mul(between, bend), slope));
        let at = add(mul(at, ticks), half);
        // What is not a number becomes 2.
        let at = x.smaller_float(x.larger_float(at, two), last);
        // The unit in the last place of this sum is one.
        x.and(x.bits(add(at, integers)), x.all(0xFFFF))
    }

    /// Coefficients over any number of whole steps. Those of a run that is longer than any in the table are
    /// put into `composed`.
    #[inline(always)]
    pub(crate) fn over_steps<'a>(
        &self,
        steps: usize,
        composed: &'a mut Coefficients,
    ) -> &'a Coefficients
    where
        't: 'a,
    {
        match self.tables.runs.get(steps) {
            Some(over) => over,
            None => {
                *composed = self.over_many_steps(steps);
                composed
            }
        }
    }

    /// Coefficients over more steps than [`Tables::runs`] holds.
    #[cold]
    #[inline(never)]
    fn over_many_steps(&self, steps: usize) -> Coefficients {
        let longest = self.tables.runs.len() - 1;
        let mut over = self.tables.runs[steps % longest];
        for _ in 0..steps / longest {
            over = over.then(&self.tables.runs[longest]);
        }
        over
    }

    /// Whether a neuron that is left to itself may be above threshold at any later time.
    ///
    /// "No" is certain; "yes" is a bound by [`Peak`]s.
    #[inline(always)]
    pub(crate) fn may_rise(&self, membrane: i32, current: i32) -> bool {
        self.peaks().may_rise(membrane, current)
    }

    /// Whether a neuron left to itself that is not above threshold at either end of so many ticks of a step may
    /// be in between: whether it has a maximum there, and two lines meet above the threshold that the membrane
    /// stays below: from the start with `V + (I - V) h/tau_m`, and from the end with `V + (V - I) k h/dt` for the k
    /// of [`peaks`] (which is convex).
    ///
    /// "No" is certain.
    #[inline(always)]
    pub(crate) fn may_peak_above(
        &self,
        (v0, i0): (i32, i32),
        ticks: usize,
        (v1, i1): (i32, i32),
    ) -> bool {
        if i0 <= v0 || i1 >= v1 {
            return false;
        }
        // The states at both ends are rounded, and single precision has 24 bits.
        const LIMIT: i32 = numeric::ONE - (1 << 6);
        const UNIT: f32 = 1.0 / (1u32 << PEAK_FRACTION) as f32;
        let decay = self.over(ticks).membrane_decay as f32 * INVERSE_UNIT;
        let [.., look_back] = self.peaks().0;
        let difference = |a: i32, b: i32| a.wrapping_sub(b) as f32;
        // exp(h/tau_m) - 1 is more than h/tau_m.
        let rise = (i0 as f32 - v0 as f32) * (-decay / (1.0 + decay));
        let fall = (v1 as f32 - i1 as f32) * (look_back.current as f32 * -UNIT);
        // The parts of the ticks after which the lines reach the threshold.
        let from_start = difference(LIMIT, v0) / rise;
        let from_end = difference(LIMIT, v1) / fall * (self.ticks() as f32 / ticks as f32);
        from_start + from_end <= 1.0 + 1.0 / 4096.0
    }

    /// Where a neuron's membrane can get.
    #[inline(always)]
    pub(crate) fn peaks(&self) -> Peaks<'t> {
        // On the time grid nobody asks.
        const NONE: [Peak; PEAKS] = [Peak {
            membrane: 0,
            current: 0,
        }; PEAKS];
        Peaks(self.tables.peaks.first_chunk().unwrap_or(&NONE))
    }
}

/// [`Tables::peaks`].
#[derive(Clone, Copy)]
pub(crate) struct Peaks<'t>(&'t [Peak; PEAKS]);

impl Peaks<'_> {
    /// [`Dynamics::may_rise`].
    #[inline(always)]
    pub(crate) fn may_rise(&self, v: i32, i: i32) -> bool {
        let [first, second, third, _] = self.0;
        // Where it matters, the membrane is at most 2^20.
        let line = if i > v.max(0).wrapping_mul(4) {
            first
        } else if i > v.max(0).wrapping_mul(2) {
            second
        } else {
            third
        };
        // A membrane above the current falls.
        v > numeric::ONE || (i > v && line.exceeds(v, i))
    }

    /// Whether a neuron at the end of a step may have been above threshold within it: `v` is its membrane there,
    /// `i` its current less the positive weights that have arrived since the time in question.
    ///
    /// "No" is certain.
    #[inline(always)]
    pub(crate) fn may_have_been_above(&self, v: i32, i: i32) -> bool {
        let [.., look_back] = self.0;
        v > numeric::ONE || look_back.exceeds(v, i)
    }

    /// [`Dynamics::may_rise`] of many neurons, as a mask: all lines, and a choice.
    #[inline(always)]
    pub(crate) fn may_rise_in<V: Vectors>(
        &self,
        x: V,
        membrane: V::Words,
        current: V::Words,
    ) -> V::Words {
        let [first, second, third, _] = self.0;
        let third = (x.all(third.membrane), x.all(third.current));
        let exceeds = Self::exceeds_in(x, [first, second], third, membrane, current);
        let rises = x.and(x.greater(current, membrane), exceeds);
        x.or(x.greater(membrane, x.all(numeric::ONE)), rises)
    }

    /// [`may_have_been_above`](Self::may_have_been_above) of many neurons that are not above threshold, as a mask.
    #[inline(always)]
    pub(crate) fn may_have_been_above_in<V: Vectors>(
        &self,
        x: V,
        membrane: V::Words,
        current: V::Words,
    ) -> V::Words {
        let [.., look_back] = self.0;
        let bound = x.sum(
            x.product(x.larger(membrane, x.all(0)), x.all(look_back.membrane)),
            x.product(current, x.all(look_back.current)),
        );
        x.greater(x.upper(bound), x.all(PEAK_LIMIT))
    }

    /// [`may_rise_in`](Self::may_rise_in), and of neurons that fall
    /// [`may_have_been_above_in`](Self::may_have_been_above_in): one of both has to be asked of each.
    #[inline(always)]
    pub(crate) fn both_in<V: Vectors>(
        &self,
        x: V,
        membrane: V::Words,
        current: V::Words,
    ) -> (V::Words, V::Words) {
        let [first, second, third, look_back] = self.0;
        let rising = x.greater(current, membrane);
        let pick = |third, look_back| x.choose(rising, x.all(third), x.all(look_back));
        let last = (
            pick(third.membrane, look_back.membrane),
            pick(third.current, look_back.current),
        );
        let exceeds = Self::exceeds_in(x, [first, second], last, membrane, current);
        let rises = x.and(rising, exceeds);
        (
            x.or(x.greater(membrane, x.all(numeric::ONE)), rises),
            x.subtract(exceeds, rises),
        )
    }

    /// Whether the bound is above the limit, by the first line where the membrane is below a quarter of the current,
    /// the second one where it is below half of it, else by the last.
    #[inline(always)]
    fn exceeds_in<V: Vectors>(
        x: V,
        [first, second]: [&Peak; 2],
        last: (V::Words, V::Words),
        membrane: V::Words,
        current: V::Words,
    ) -> V::Words {
        let v = x.larger(membrane, x.all(0));
        let twice = x.add(v, v);
        let above_half = x.greater(current, twice);
        let above_quarter = x.greater(current, x.add(twice, twice));
        let pick = |first, second, last| {
            let later = x.choose(above_half, x.all(second), last);
            x.choose(above_quarter, x.all(first), later)
        };
        let bound = x.sum(
            x.product(v, pick(first.membrane, second.membrane, last.0)),
            x.product(current, pick(first.current, second.current, last.1)),
        );
        x.greater(x.upper(bound), x.all(PEAK_LIMIT))
    }
}

impl Peak {
    /// Whether the bound is above the limit.
    #[inline(always)]
    fn exceeds(&self, membrane: i32, current: i32) -> bool {
        // Membranes are at most 2^29, currents 2^31, factors 2^31: each product is at most 2^62, less a little. A
        // membrane below zero reaches no more than one at zero.
        let product = |state: i32, factor: i32| i64::from(state).wrapping_mul(factor.into());
        let bound = product(membrane.max(0), self.membrane);
        (bound.wrapping_add(product(current, self.current)) >> 32) as i32 > PEAK_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::Arrays;

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

    /// Composed coefficients are those of the whole time.
    #[test]
    fn runs_compose() {
        let mut runs = [Coefficients::default(); run_entries(64)];
        fill_runs(&mut runs, 1.0, 20.0, 5.0);
        let mut ticks = [Coefficients::default(); 257];
        fill(&mut ticks, 1.0, 20.0, 5.0).unwrap();
        let close = |got: Coefficients, want: Coefficients| {
            let pairs = [
                (got.current_decay, want.current_decay),
                (got.membrane_decay, want.membrane_decay),
                (got.current_to_membrane, want.current_to_membrane),
                (got.membrane_to_current, want.membrane_to_current),
            ];
            pairs.iter().all(|(a, b)| a.abs_diff(*b) <= 8)
        };
        for steps in 0..=64 {
            for parts in 0..=steps {
                assert!(close(runs[parts].then(&runs[steps - parts]), runs[steps]));
            }
        }
        let peaks = peaks(1.0, 20.0, 5.0);
        let tables = Tables {
            ticks: &ticks,
            runs: &runs[..8],
            peaks: &peaks,
        };
        let dynamics = Dynamics::new(Scheme::Exact, tables, 4, 0).unwrap();
        for (steps, want) in runs.iter().enumerate() {
            let mut composed = Coefficients::default();
            let over = *dynamics.over_steps(steps, &mut composed);
            assert!(close(over, *want), "{steps} steps");
        }
    }

    proptest::proptest! {
        /// Vectors say of each neuron what is said of it alone: one form decides on a PE, the other on a host.
        #[test]
        fn vectors_agree_with_single_neurons(
            states in proptest::collection::vec((-2 * numeric::ONE..=2 * numeric::ONE, -numeric::ONE..=9 * numeric::ONE), 8),
            tau_m in 1.5..50.0f64,
            tau_s in 1.5..50.0f64,
        ) {
            let lines = peaks(1.0, tau_m, tau_s);
            let peaks = Peaks(&lines);
            let (v, i): (std::vec::Vec<_>, std::vec::Vec<_>) = states.into_iter().unzip();
            let rises = peaks.may_rise_in(Arrays, Arrays.load(&v), Arrays.load(&i));
            for lane in 0..8 {
                let alone = peaks.may_rise(v[lane], i[lane]);
                proptest::prop_assert_eq!(Arrays.signs(rises) >> lane & 1 == 1, alone);
            }
        }

        /// A neuron of which the bound says that it stays below the threshold does, at the end of every
        /// step.
        #[test]
        fn the_bound_holds(
            membrane in -2 * numeric::ONE..=numeric::ONE,
            current in -numeric::ONE..=20 * numeric::ONE,
            tau_m in 1.5..50.0f64,
            tau_s in 1.5..50.0f64,
        ) {
            let lines = peaks(1.0, tau_m, tau_s);
            let peaks = Peaks(&lines);
            let (v, i) = (f64::from(membrane), f64::from(current));
            let highest = (1..200).map(|step| {
                let (em, _, kf, _) = factors(f64::from(step), tau_m, tau_s);
                (em + 1.0) * v + kf * i
            }).fold(f64::MIN, f64::max);
            let threshold = f64::from(numeric::ONE);
            proptest::prop_assert!(highest < threshold || peaks.may_rise(membrane, current));
            // And for a membrane above zero it is not much above the truth.
            let close = highest > 0.95 * threshold || membrane < 0;
            proptest::prop_assert!(close || !peaks.may_rise(membrane, current));
        }
    }
}
