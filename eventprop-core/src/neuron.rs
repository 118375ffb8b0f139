//! Forward kernels: leaky integrate-and-fire neurons over one time step.
//!
//! Continuous form, per neuron: `tau_m V' = -V + I`, `tau_s I' = -I`; an arriving spike adds its
//! weight to I; at V > 1 the neuron emits a spike and V starts again from V − 1.

use crate::log::{Event, EventLog, LogFull};
use crate::numeric::{
    ARRIVALS_PER_FOLD, HALF, ONE, STATE_LIMIT, Statistics, Wide, decay, saturate,
};
use crate::tables::{Coefficients, Dynamics, Scheme};

/// Upper bound of the spikes that one neuron may be allowed in one step.
pub const MAX_SPIKES_PER_STEP: usize = 8;

/// Neurons that are computed together: a vector register's worth on the host, one on a Cortex-M4,
/// where anything more would only spill registers.
pub(crate) const LANES: usize = if cfg!(target_arch = "arm") { 1 } else { 8 };

/// Neurons that fill whole blocks of `lanes`; the rest is computed one by one.
#[inline(always)]
pub(crate) const fn whole_blocks(neurons: usize, lanes: usize) -> usize {
    neurons - neurons % lanes
}

/// State of a layer's neurons: membrane and current forward, their adjoints backward.
#[derive(Debug)]
pub struct Neurons<'m> {
    /// V, or λV in the backward pass: `[neuron]`.
    pub membrane: &'m mut [i32],
    /// I, or λI in the backward pass: `[neuron]`.
    pub current: &'m mut [i32],
    /// Whether any state may differ from zero. Kernels skip a layer that sleeps; the bits are the
    /// same, since zero decays to zero.
    pub awake: bool,
}

impl<'m> Neurons<'m> {
    /// Takes state memory of `[neuron]` each, and sets it to zero.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn reset(membrane: &'m mut [i32], current: &'m mut [i32]) -> Self {
        assert_eq!(membrane.len(), current.len());
        let mut neurons = Self {
            membrane,
            current,
            awake: true,
        };
        neurons.silence();
        neurons
    }

    /// Sets all state to zero: the start of a sample, or of its backward pass.
    pub fn silence(&mut self) {
        if self.awake {
            self.membrane.fill(0);
            self.current.fill(0);
            self.awake = false;
        }
    }

    /// Number of neurons.
    #[must_use]
    pub fn len(&self) -> usize {
        self.membrane.len()
    }

    /// Whether there are no neurons.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.membrane.is_empty()
    }
}

/// Advances a layer by one step and appends its spikes to `log` (the step is not ended there).
///
/// # Shapes and formats
/// `weights`: `[pre][post]`, F20, `post` = number of neurons. `arrivals`: events of the upstream
/// layer that act in this step, in any order: those of the same step for [`Scheme::Exact`], of the
/// step before for [`Scheme::Grid`] ([`Scheme::delay`]).
///
/// # Errors
/// [`LogFull`] when the log cannot hold the spikes; the layer is then in no defined state.
///
/// # Panics
/// If an arrival names a neuron that has no weights, or an offset beyond the step.
#[inline(always)]
pub fn forward_step(
    dynamics: &Dynamics<'_>,
    weights: &[i32],
    arrivals: &[Event],
    neurons: &mut Neurons<'_>,
    log: &mut EventLog<'_>,
    statistics: &mut Statistics,
) -> Result<(), LogFull> {
    if arrivals.is_empty() && !neurons.awake {
        return Ok(());
    }
    neurons.awake = true;
    let len = neurons.len();
    let blocks = whole_blocks(len, LANES);
    let mut step = Step {
        dynamics,
        weights,
        arrivals,
        neurons,
        log,
        statistics,
    };
    let mut first = 0;
    while first < blocks {
        if arrivals.is_empty() && dynamics.scheme() == Scheme::Exact {
            first += step.run_without_spikes::<LANES>(first, blocks);
            if first == blocks {
                break;
            }
        }
        step.block::<LANES>(first)?;
        first += LANES;
    }
    for first in blocks..len {
        step.block::<1>(first)?;
    }
    Ok(())
}

/// One forward step under way.
struct Step<'a, 't, 'm, 'n> {
    dynamics: &'a Dynamics<'t>,
    weights: &'a [i32],
    arrivals: &'a [Event],
    neurons: &'a mut Neurons<'n>,
    log: &'a mut EventLog<'m>,
    statistics: &'a mut Statistics,
}

impl Step<'_, '_, '_, '_> {
    /// Advances `L` neurons from `first` on.
    #[inline(always)]
    fn block<const L: usize>(&mut self, first: usize) -> Result<(), LogFull> {
        let (mut v1, i1) = match (self.dynamics.scheme(), self.arrivals.is_empty()) {
            (Scheme::Exact, true) => self.exact_without_arrivals::<L>(first),
            (Scheme::Exact, false) => self.exact::<L>(first),
            (Scheme::Grid, _) => self.grid::<L>(first),
        };
        if v1.iter().fold(false, |above, &v| above | (v > ONE)) {
            // By value: the arrays of the usual case, without spikes, then stay in registers.
            v1 = self.emit(first, v1, i1)?;
        }
        *lanes_mut(self.neurons.membrane, first) = v1;
        *lanes_mut(self.neurons.current, first) = i1;
        Ok(())
    }

    /// Advances neurons without arrivals, from `first` up to `end`, block by block until one holds a
    /// neuron that rises above threshold, which is left as it was. Returns how many were advanced.
    #[inline(always)]
    fn run_without_spikes<const L: usize>(&mut self, first: usize, end: usize) -> usize {
        let full = *self.dynamics.step();
        let (v, _) = self.neurons.membrane[first..end].as_chunks_mut::<L>();
        let (i, _) = self.neurons.current[first..end].as_chunks_mut::<L>();
        let mut advanced = 0;
        for (v, i) in v.iter_mut().zip(i) {
            let (v1, i1) = advance(&full, v, i);
            if v1.iter().fold(false, |above, &v| above | (v > ONE)) {
                break;
            }
            (*v, *i) = (v1, i1);
            advanced += L;
        }
        advanced
    }

    /// Emits the spikes of neurons that are above threshold at the end of the step.
    #[cold]
    #[inline(never)]
    fn emit<const L: usize>(
        &mut self,
        first: usize,
        mut v1: [i32; L],
        i1: [i32; L],
    ) -> Result<[i32; L], LogFull> {
        for (lane, (v, i)) in v1.iter_mut().zip(i1).enumerate() {
            if *v > ONE {
                let neuron = first + lane;
                *v = match self.dynamics.scheme() {
                    Scheme::Exact => self.cross(neuron, *v)?,
                    Scheme::Grid => self.spike(neuron, 0, i - *v).map(|()| 0)?,
                };
            }
        }
        Ok(v1)
    }

    /// `I1 = es I0`, `V1 = em V0 + kf I0`.
    #[inline(always)]
    fn exact_without_arrivals<const L: usize>(&self, first: usize) -> ([i32; L], [i32; L]) {
        let (v0, i0) = (
            lanes(self.neurons.membrane, first),
            lanes(self.neurons.current, first),
        );
        advance(self.dynamics.step(), v0, i0)
    }

    /// `I1 = es I0 + Σ w es[Q-f]`, `V1 = em V0 + kf I0 + Σ w kf[Q-f]`.
    #[inline(always)]
    fn exact<const L: usize>(&mut self, first: usize) -> ([i32; L], [i32; L]) {
        if self.arrivals.len() > ARRIVALS_PER_FOLD {
            return self.exact_with_many_arrivals(first);
        }
        let full = self.dynamics.step();
        let v0: &[i32; L] = lanes(self.neurons.membrane, first);
        let i0: &[i32; L] = lanes(self.neurons.current, first);
        let (mut fraction_v, mut fraction_i) = products(full, v0, i0);
        let mut whole_i = *i0;
        self.add_arrivals(
            self.arrivals,
            first,
            &mut whole_i,
            &mut fraction_v,
            &mut fraction_i,
        );
        // |I1| <= |I0| + Σ |w| <= 2^29 + 32 · 2^25 and |V1| <= 2^29 + Σ |w| / 2 fit 32 bits, so it does
        // not matter that a sum on the way may wrap.
        let (mut v1, mut i1) = ([0; L], [0; L]);
        let mut outside = false;
        for lane in 0..L {
            let i = whole_i[lane].wrapping_add(high(fraction_i[lane]));
            let v = v0[lane].wrapping_add(high(fraction_v[lane]));
            i1[lane] = i.clamp(-STATE_LIMIT, STATE_LIMIT);
            v1[lane] = v.clamp(-STATE_LIMIT, STATE_LIMIT);
            outside |= (i1[lane] != i) | (v1[lane] != v);
        }
        if outside {
            // Rare: computed again, to be counted.
            return self.exact_with_many_arrivals(first);
        }
        (v1, i1)
    }

    /// Adds `Σ w`, `Σ w kf[Q-f]` and `Σ w (es[Q-f] - 1)` over at most [`ARRIVALS_PER_FOLD`] arrivals,
    /// the last two with 32 more fraction bits.
    #[inline(always)]
    fn add_arrivals<const L: usize>(
        &self,
        arrivals: &[Event],
        first: usize,
        weights: &mut [i32; L],
        fraction_v: &mut [i64; L],
        fraction_i: &mut [i64; L],
    ) {
        for arrival in arrivals {
            let row: &[i32; L] = self.row(arrival, first);
            let left = self
                .dynamics
                .over(self.dynamics.ticks() - usize::from(arrival.offset));
            let (es, kf) = (
                i64::from(left.current_decay),
                i64::from(left.current_to_membrane),
            );
            // At most 32 products of 2^25 with 2^31 beside those of the state: below 2^62.
            for lane in 0..L {
                let w = i64::from(row[lane]);
                weights[lane] = weights[lane].wrapping_add(row[lane]);
                fraction_i[lane] = fraction_i[lane].wrapping_add(w.wrapping_mul(es));
                fraction_v[lane] = fraction_v[lane].wrapping_add(w.wrapping_mul(kf));
            }
        }
    }

    /// As [`exact`](Self::exact), for any number of arrivals; counts what saturates.
    #[cold]
    #[inline(never)]
    fn exact_with_many_arrivals<const L: usize>(&mut self, first: usize) -> ([i32; L], [i32; L]) {
        let full = self.dynamics.step();
        let v0: &[i32; L] = lanes(self.neurons.membrane, first);
        let i0: &[i32; L] = lanes(self.neurons.current, first);
        let (mut fraction_v, mut fraction_i) = products(full, v0, i0);
        let (mut whole_v, mut whole_i) = (v0.map(i64::from), i0.map(i64::from));
        for arrivals in self.arrivals.chunks(ARRIVALS_PER_FOLD) {
            let mut weights = [0; L];
            self.add_arrivals(
                arrivals,
                first,
                &mut weights,
                &mut fraction_v,
                &mut fraction_i,
            );
            for lane in 0..L {
                let whole = i64::from(weights[lane]).wrapping_add(fraction_i[lane] >> 32);
                whole_i[lane] = whole_i[lane].wrapping_add(whole);
                whole_v[lane] = whole_v[lane].wrapping_add(fraction_v[lane] >> 32);
                fraction_i[lane] &= 0xFFFF_FFFF;
                fraction_v[lane] &= 0xFFFF_FFFF;
            }
        }
        let (mut v1, mut i1) = ([0; L], [0; L]);
        for lane in 0..L {
            let i = whole_i[lane].wrapping_add(fraction_i[lane].wrapping_add(HALF) >> 32);
            let v = whole_v[lane].wrapping_add(fraction_v[lane].wrapping_add(HALF) >> 32);
            i1[lane] = saturate(i, STATE_LIMIT, &mut self.statistics.saturations);
            v1[lane] = saturate(v, STATE_LIMIT, &mut self.statistics.saturations);
        }
        (v1, i1)
    }

    /// `I1 = a I0 + Σ w`, `V1 = b V0 + (1 - b) I1`.
    #[inline(always)]
    fn grid<const L: usize>(&mut self, first: usize) -> ([i32; L], [i32; L]) {
        let full = self.dynamics.step();
        let (a, b) = (
            i64::from(full.current_decay),
            i64::from(full.membrane_decay),
        );
        let v0: &[i32; L] = lanes(self.neurons.membrane, first);
        let i0: &[i32; L] = lanes(self.neurons.current, first);
        let (mut v1, mut i1) = ([0; L], [0; L]);
        for lane in 0..L {
            i1[lane] = i0[lane].wrapping_add(high(i64::from(i0[lane]).wrapping_mul(a)));
        }
        if !self.arrivals.is_empty() {
            let mut whole = i1.map(i64::from);
            for arrival in self.arrivals {
                let row: &[i32; L] = self.row(arrival, first);
                for lane in 0..L {
                    whole[lane] = whole[lane].wrapping_add(i64::from(row[lane]));
                }
            }
            for lane in 0..L {
                i1[lane] = saturate(whole[lane], STATE_LIMIT, &mut self.statistics.saturations);
            }
        }
        for lane in 0..L {
            // V1 lies between V0 and I1.
            let difference = i64::from(v0[lane]).wrapping_sub(i64::from(i1[lane]));
            v1[lane] = v0[lane].wrapping_add(high(difference.wrapping_mul(b)));
        }
        (v1, i1)
    }

    /// Weights of `L` neurons from `first` on, for the source of `arrival`.
    #[inline(always)]
    fn row<const L: usize>(&self, arrival: &Event, first: usize) -> &[i32; L] {
        lanes(
            self.weights,
            usize::from(arrival.neuron) * self.neurons.len() + first,
        )
    }

    /// Finds the ticks at which a neuron that is above threshold at the end of the step has crossed
    /// it, emits its spikes, and returns the membrane at the end of the step.
    fn cross(&mut self, neuron: usize, v1: i32) -> Result<i32, LogFull> {
        let ticks = self.dynamics.ticks();
        let (v0, i0) = (self.neurons.membrane[neuron], self.neurons.current[neuron]);
        let mut crossed = [0usize; MAX_SPIKES_PER_STEP];
        let mut count = 0;
        // The last tick known to be at or below threshold, and V there.
        let (mut behind, mut v_behind) = (0, i64::from(v0));
        let mut v_end = v1;
        // A crossing at the last tick leaves no tick to cross again.
        while v_end > ONE && behind < ticks {
            if count == self.dynamics.spikes_per_step() {
                self.statistics.suppressed_spikes += 1;
                break;
            }
            let at = |tick| self.membrane_at(neuron, v0, i0, tick, &crossed[..count]);
            let (tick, v) = crossing((behind, v_behind), (ticks, i64::from(v_end)), at);
            let slope = self.current_at(neuron, i0, tick) - i64::from(ONE);
            let slope = saturate(slope, STATE_LIMIT, &mut self.statistics.saturations);
            self.spike(neuron, tick, slope)?;
            crossed[count] = tick;
            count += 1;
            (behind, v_behind) = (tick, v - i64::from(ONE));
            v_end -= decay(ONE, self.dynamics.over(ticks - tick).membrane_decay);
        }
        Ok(v_end)
    }

    /// `V(f) = em[f] V0 + kf[f] I0 + Σ w kf[f-f_a] - Σ em[f-f_k]` over arrivals and own spikes
    /// before tick f.
    #[inline(always)]
    fn membrane_at(&self, neuron: usize, v0: i32, i0: i32, tick: usize, crossed: &[usize]) -> i64 {
        let since_start = self.dynamics.over(tick);
        // States are at most 2^29, coefficients 2^31.
        let own = i64::from(v0)
            .wrapping_mul(i64::from(since_start.membrane_decay))
            .wrapping_add(i64::from(i0).wrapping_mul(i64::from(since_start.current_to_membrane)));
        if self.arrivals.is_empty() && crossed.is_empty() {
            return i64::from(v0) + i64::from(high(own));
        }
        let mut v = Wide::new(v0);
        v.add_fraction(own);
        for arrivals in self.arrivals.chunks(ARRIVALS_PER_FOLD) {
            let mut sum = 0i64;
            for arrival in arrivals {
                // Nothing is added by what arrives later: over no ticks the coefficient is zero.
                let ticks = tick.saturating_sub(usize::from(arrival.offset));
                let coefficient = self.dynamics.over(ticks).current_to_membrane;
                let w = i64::from(self.weight(arrival, neuron));
                // At most 32 products of 2^25 with 2^31.
                sum = sum.wrapping_add(w.wrapping_mul(i64::from(coefficient)));
            }
            v.add_fraction(sum);
        }
        crossed.iter().fold(v.rounded(), |v, &at| {
            v - i64::from(decay(ONE, self.dynamics.over(tick - at).membrane_decay))
        })
    }

    /// `I(f) = es[f] I0 + Σ w es[f-f_a]` over arrivals before tick f.
    fn current_at(&self, neuron: usize, i0: i32, tick: usize) -> i64 {
        let mut i = Wide::new(i0);
        i.add_product(i0, self.dynamics.over(tick).current_decay);
        for arrival in self.arrivals {
            let offset = usize::from(arrival.offset);
            if offset < tick {
                let w = self.weight(arrival, neuron);
                i.add_whole(w);
                i.add_product(w, self.dynamics.over(tick - offset).current_decay);
            }
        }
        i.rounded()
    }

    #[inline(always)]
    fn weight(&self, arrival: &Event, neuron: usize) -> i32 {
        self.weights[usize::from(arrival.neuron) * self.neurons.len() + neuron]
    }

    /// Logs a spike.
    fn spike(&mut self, neuron: usize, tick: usize, slope: i32) -> Result<(), LogFull> {
        self.statistics.smallest_slope = self.statistics.smallest_slope.min(slope);
        self.log.push(
            Event {
                neuron: neuron as u16,
                offset: tick as u16,
            },
            slope,
        )
    }
}

/// `em V0 + kf I0 - V0` and `es I0 - I0`, with 32 more fraction bits.
#[inline(always)]
fn products<const L: usize>(
    over: &Coefficients,
    v0: &[i32; L],
    i0: &[i32; L],
) -> ([i64; L], [i64; L]) {
    let (mut v1, mut i1) = ([0; L], [0; L]);
    // States are at most 2^29, coefficients 2^31: each product is at most 2^60.
    for lane in 0..L {
        let (v, i) = (i64::from(v0[lane]), i64::from(i0[lane]));
        i1[lane] = i.wrapping_mul(i64::from(over.current_decay));
        v1[lane] = v
            .wrapping_mul(i64::from(over.membrane_decay))
            .wrapping_add(i.wrapping_mul(i64::from(over.current_to_membrane)));
    }
    (v1, i1)
}

/// A step without arrivals: V and I at its end. em + kf <= 1 and es <= 1, so the results are no larger
/// than the states. The adjoints of a step do the same with the roles of V and I exchanged.
#[inline(always)]
pub(crate) fn advance<const L: usize>(
    over: &Coefficients,
    v0: &[i32; L],
    i0: &[i32; L],
) -> ([i32; L], [i32; L]) {
    let (v, i) = products(over, v0, i0);
    let (mut v1, mut i1) = ([0; L], [0; L]);
    for lane in 0..L {
        v1[lane] = v0[lane].wrapping_add(high(v[lane]));
        i1[lane] = i0[lane].wrapping_add(high(i[lane]));
    }
    (v1, i1)
}

/// The tick after `below` and up to `above` at which V has just risen above threshold, and V there:
/// one tick earlier V is at or below it, or that tick is `below`. Both ends come with their V.
///
/// Guesses by the straight line between the ends: V is so smooth over a step that the first guess is a
/// few ticks off, the second at most one, and a look beside it is the end of the search. Every third
/// guess halves the interval instead, which bounds the search.
#[inline(always)]
fn crossing(
    mut below: (usize, i64),
    mut above: (usize, i64),
    at: impl Fn(usize) -> i64,
) -> (usize, i64) {
    let mut round = 0;
    while above.0 - below.0 > 1 {
        round += 1;
        let tick = if round % 3 == 0 {
            (below.0 + above.0) / 2
        } else {
            guess(below, above)
        };
        let v = at(tick);
        let beside = if v > i64::from(ONE) {
            above = (tick, v);
            tick - 1
        } else {
            below = (tick, v);
            tick + 1
        };
        if round > 1 && below.0 < beside && beside < above.0 {
            let v = at(beside);
            if v > i64::from(ONE) {
                above = (beside, v);
            } else {
                below = (beside, v);
            }
        }
    }
    above
}

/// Where the straight line between two ticks crosses the threshold, to a tick strictly between them.
#[inline(always)]
fn guess(below: (usize, i64), above: (usize, i64)) -> usize {
    let rise = (above.1 - below.1).max(1).cast_unsigned();
    let needed = (i64::from(ONE) - below.1).max(0).cast_unsigned();
    // 24 bits are enough for a guess, and spare a 64-bit division: an interval has at most 2^8 ticks.
    let shift = (64 - rise.leading_zeros()).saturating_sub(24);
    let (rise, needed) = ((rise >> shift) as u32, (needed >> shift) as u32);
    let ticks = (above.0 - below.0) as u32;
    let tick = needed.min(rise) * ticks / rise;
    below.0 + (tick as usize).clamp(1, ticks as usize - 1)
}

/// `L` values from `first` on.
#[inline(always)]
pub(crate) fn lanes<const L: usize>(values: &[i32], first: usize) -> &[i32; L] {
    let lanes = values[first..].first_chunk();
    lanes.expect("the slice holds whole blocks")
}

/// `L` values from `first` on, to be changed.
#[inline(always)]
pub(crate) fn lanes_mut<const L: usize>(values: &mut [i32], first: usize) -> &mut [i32; L] {
    let lanes = values[first..].first_chunk_mut();
    lanes.expect("the slice holds whole blocks")
}

/// The high word of a sum of products (at most 2^62), rounded.
#[inline(always)]
pub(crate) fn high(sum: i64) -> i32 {
    (sum.wrapping_add(HALF) >> 32) as i32
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::numeric::WEIGHT_LIMIT;
    use crate::tables;

    const TICKS: usize = 16;
    /// More than one block of lanes, and a rest.
    const NEURONS: usize = 11;

    fn arrivals() -> impl Strategy<Value = Vec<Event>> {
        let event = (0u16..50, 0u16..=TICKS as u16);
        prop::collection::vec(
            event.prop_map(|(neuron, offset)| Event { neuron, offset }),
            0..100,
        )
    }

    proptest! {
        /// Whatever the number of arrivals, the state after a step is the exact sum, rounded and
        /// limited once. Weights and states are negative, so that nobody spikes.
        #[test]
        fn a_step_is_exact_and_rounded_once(
            arrivals in arrivals(),
            weights in prop::collection::vec(-WEIGHT_LIMIT..=0, 50 * NEURONS),
            states in prop::collection::vec(-STATE_LIMIT..=0, 2 * NEURONS),
        ) {
            let mut table = [Coefficients::default(); TICKS + 1];
            tables::fill(&mut table, 1.0, 20.0, 5.0).unwrap();
            let dynamics = Dynamics::new(Scheme::Exact, &table, 4, 0).unwrap();
            let (mut v, mut i) = (states[..NEURONS].to_vec(), states[NEURONS..].to_vec());
            let mut neurons = Neurons { membrane: &mut v, current: &mut i, awake: true };
            let mut log = EventLog::new(&mut [], &mut [], &mut [], &mut []);
            let mut statistics = Statistics::NEW;
            forward_step(&dynamics, &weights, &arrivals, &mut neurons, &mut log, &mut statistics)
                .unwrap();

            let product = |value: i32, coefficient: i32| i128::from(value) * i128::from(coefficient);
            let mut saturations = 0;
            let mut finish = |sum: i128| {
                let rounded = (sum + i128::from(HALF)) >> 32;
                let limited = rounded.max(-i128::from(STATE_LIMIT));
                saturations += u64::from(limited != rounded);
                limited as i32
            };
            let full = table[TICKS];
            for n in 0..NEURONS {
                let (v0, i0) = (states[n], states[NEURONS + n]);
                let mut current = (i128::from(i0) << 32) + product(i0, full.current_decay);
                let mut membrane = (i128::from(v0) << 32)
                    + product(v0, full.membrane_decay)
                    + product(i0, full.current_to_membrane);
                for arrival in &arrivals {
                    let w = weights[usize::from(arrival.neuron) * NEURONS + n];
                    let left = table[TICKS - usize::from(arrival.offset)];
                    current += (i128::from(w) << 32) + product(w, left.current_decay);
                    membrane += product(w, left.current_to_membrane);
                }
                prop_assert_eq!(i[n], finish(current));
                prop_assert_eq!(v[n], finish(membrane));
            }
            prop_assert_eq!(statistics.saturations, saturations);
        }
    }

    /// The first crossing of a strongly driven neuron, and those behind it, are at the ticks where a
    /// scan of all ticks finds them.
    #[test]
    fn crossings_are_found_at_their_ticks() {
        let mut table = [Coefficients::default(); 257];
        tables::fill(&mut table, 1.0, 20.0, 5.0).unwrap();
        let dynamics = Dynamics::new(Scheme::Exact, &table, MAX_SPIKES_PER_STEP, 0).unwrap();
        for drive in [25, 40, 64, 90, 130] {
            let (mut v, mut i) = (vec![ONE / 2], vec![drive * ONE]);
            let mut neurons = Neurons {
                membrane: &mut v,
                current: &mut i,
                awake: true,
            };
            let (mut events, mut slopes, mut errors, mut ends) =
                ([Event::default(); 8], [0; 8], [0; 8], [0; 1]);
            let mut log = EventLog::new(&mut events, &mut slopes, &mut errors, &mut ends);
            let mut statistics = Statistics::NEW;
            forward_step(&dynamics, &[], &[], &mut neurons, &mut log, &mut statistics).unwrap();

            let (v0, i0) = (f64::from(ONE / 2), f64::from(drive * ONE));
            let decay = |h: f64, tau: f64| libm::exp(-h / tau);
            let mut crossed = Vec::new();
            for tick in 1..=256 {
                let h = f64::from(tick) / 256.0;
                let (em, es) = (decay(h, 20.0), decay(h, 5.0));
                let resets: f64 = crossed
                    .iter()
                    .map(|&at: &i32| decay(h - f64::from(at) / 256.0, 20.0) * f64::from(ONE))
                    .sum();
                if em * v0 + (em - es) / 3.0 * i0 - resets > f64::from(ONE) + 0.5 {
                    crossed.push(tick);
                }
            }
            let found: Vec<_> = log
                .all()
                .iter()
                .map(|event| i32::from(event.offset))
                .collect();
            assert_eq!(found, crossed, "drive {drive}");
            assert!(statistics.suppressed_spikes == 0 && !found.is_empty());
        }
    }
}
