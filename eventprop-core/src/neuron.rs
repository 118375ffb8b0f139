//! Forward kernels: leaky integrate-and-fire neurons over one time step.
//!
//! Continuous form, per neuron: `tau_m V' = -V + I`, `tau_s I' = -I`; an arriving spike adds its
//! weight to I; at V > 1 the neuron emits a spike and V starts again from V − 1.

use crate::log::{Event, EventLog, LogFull};
use crate::numeric::{
    ARRIVALS_PER_FOLD, HALF, ONE, STATE_LIMIT, Statistics, Wide, decay, saturate,
};
use crate::state::{Direction, LANES, Neurons, whole_blocks};
use crate::tables::{Dynamics, Scheme};

/// Upper bound of the spikes that one neuron may be allowed in one step.
pub const MAX_SPIKES_PER_STEP: usize = 8;

/// Advances a layer by one step and appends its spikes to `log` (the step is not ended there). Which step
/// it is follows from the steps that the log has ended: neurons may stand at an earlier one
/// ([`crate::state`]).
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
    if arrivals.is_empty() && !neurons.awake() {
        return Ok(());
    }
    let index = log.steps();
    let mut step = Step {
        dynamics,
        weights,
        arrivals,
        neurons,
        log,
        statistics,
    };
    match (dynamics.scheme(), arrivals.is_empty()) {
        (Scheme::Exact, true) => {
            step.neurons.list_rising(dynamics);
            step.rise(index)
        }
        (Scheme::Exact, false) => {
            step.neurons.wake_at(index);
            step.neurons.catch_up(dynamics, Direction::Forward, index);
            step.neurons.stand_at(index + 1);
            step.all()
        }
        (Scheme::Grid, _) => {
            step.neurons.wake();
            step.all()
        }
    }
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
    /// Advances all neurons.
    #[inline(always)]
    fn all(&mut self) -> Result<(), LogFull> {
        let len = self.neurons.len();
        let blocks = whole_blocks(len, LANES);
        let mut first = 0;
        while first < blocks {
            if let (Scheme::Exact, &[arrival]) = (self.dynamics.scheme(), self.arrivals) {
                first += self.run_with_one_arrival::<LANES>(arrival, first, blocks);
                if first == blocks {
                    break;
                }
            }
            self.block::<LANES>(first)?;
            first += LANES;
        }
        for first in blocks..len {
            self.block::<1>(first)?;
        }
        Ok(())
    }

    /// Advances `L` neurons from `first` on.
    #[inline(always)]
    fn block<const L: usize>(&mut self, first: usize) -> Result<(), LogFull> {
        let (mut v1, i1) = match self.dynamics.scheme() {
            Scheme::Exact => self.exact::<L>(first),
            Scheme::Grid => self.grid::<L>(first),
        };
        if v1.iter().fold(false, |above, &v| above | (v > ONE)) {
            // By value: the arrays of the usual case, without spikes, then stay in registers.
            v1 = self.emit(first, v1, i1)?;
        }
        *lanes_mut(self.neurons.membrane, first) = v1;
        *lanes_mut(self.neurons.current, first) = i1;
        Ok(())
    }

    /// As [`exact`](Self::exact), for the usual case of one arrival: block by block from `first` up to
    /// `end`, until one holds a neuron that rises above threshold or saturates, which is left as it was.
    /// Returns how many neurons were advanced.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline(always))]
    fn run_with_one_arrival<const L: usize>(
        &mut self,
        arrival: Event,
        first: usize,
        end: usize,
    ) -> usize {
        let full = *self.dynamics.step();
        let ticks = self.dynamics.ticks();
        let left = *self.dynamics.over(ticks - usize::from(arrival.offset));
        let row = usize::from(arrival.neuron) * self.neurons.len();
        let (w, _) = self.weights[row + first..row + end].as_chunks::<L>();
        let (v, _) = self.neurons.membrane[first..end].as_chunks_mut::<L>();
        let (i, _) = self.neurons.current[first..end].as_chunks_mut::<L>();
        let product =
            |value: i32, coefficient: i32| i64::from(value).wrapping_mul(coefficient.into());
        let mut advanced = 0;
        for ((v, i), w) in v.iter_mut().zip(i).zip(w) {
            let (mut v1, mut i1) = ([0; L], [0; L]);
            let mut stop = false;
            for lane in 0..L {
                let (v0, i0, w) = (v[lane], i[lane], w[lane]);
                let dv = product(v0, full.membrane_decay)
                    .wrapping_add(product(i0, full.current_to_membrane))
                    .wrapping_add(product(w, left.current_to_membrane));
                let di =
                    product(i0, full.current_decay).wrapping_add(product(w, left.current_decay));
                v1[lane] = v0.wrapping_add(high(dv));
                i1[lane] = i0.wrapping_add(w).wrapping_add(high(di));
                stop |= (v1[lane] > ONE)
                    | (v1[lane] < -STATE_LIMIT)
                    | (i1[lane].wrapping_abs() > STATE_LIMIT);
            }
            if stop {
                break;
            }
            (*v, *i) = (v1, i1);
            advanced += L;
        }
        advanced
    }

    /// Advances the neurons that may rise above threshold by a step without arrivals; those that no
    /// longer may are left at its end.
    #[inline(always)]
    fn rise(&mut self, step: usize) -> Result<(), LogFull> {
        let decay = Direction::Forward.decay(self.dynamics.step());
        let mut kept = 0;
        for place in 0..self.neurons.rising() {
            let neuron = self.neurons.rising_at(place);
            let (v0, i0) = (self.neurons.membrane[neuron], self.neurons.current[neuron]);
            let ([v1], [i1]) = decay.apply::<1, 32>(&[v0], &[i0]);
            let (v1, rises) = if v1 > ONE {
                let v1 = self.cross(neuron, v1)?;
                (v1, self.dynamics.may_rise(v1, i1))
            } else {
                (v1, i1 > v1)
            };
            self.neurons.membrane[neuron] = v1;
            self.neurons.current[neuron] = i1;
            if rises {
                self.neurons.keep_rising(kept, neuron);
                kept += 1;
            } else {
                self.neurons.stand_apart(neuron, step + 1);
            }
        }
        self.neurons.set_rising(kept);
        Ok(())
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

    /// `I1 = es I0 + Σ w es[Q-f]`, `V1 = em V0 + kf I0 + Σ w kf[Q-f]`.
    #[inline(always)]
    fn exact<const L: usize>(&mut self, first: usize) -> ([i32; L], [i32; L]) {
        if self.arrivals.len() > ARRIVALS_PER_FOLD {
            return self.exact_with_many_arrivals(first);
        }
        let v0: &[i32; L] = lanes(self.neurons.membrane, first);
        let i0: &[i32; L] = lanes(self.neurons.current, first);
        let (mut fraction_v, mut fraction_i) = products(self.dynamics, v0, i0);
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
        let v0: &[i32; L] = lanes(self.neurons.membrane, first);
        let i0: &[i32; L] = lanes(self.neurons.current, first);
        let (mut fraction_v, mut fraction_i) = products(self.dynamics, v0, i0);
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
        let mut behind = (0, v0);
        let mut v_end = v1;
        // A crossing at the last tick leaves no tick to cross again.
        while v_end > ONE && behind.0 < ticks {
            if count == self.dynamics.spikes_per_step() {
                self.statistics.suppressed_spikes += 1;
                break;
            }
            let above = (ticks, v_end);
            let (tick, v) = if self.arrivals.is_empty() && count == 0 {
                crossing(behind, above, |tick| {
                    v0.wrapping_add(high(self.decay_of_membrane(v0, i0, tick)))
                })
            } else {
                self.crossing_among(neuron, (v0, i0), &crossed[..count], behind, above)
            };
            let slope = self.current_at(neuron, i0, tick) - i64::from(ONE);
            let slope = saturate(slope, STATE_LIMIT, &mut self.statistics.saturations);
            self.spike(neuron, tick, slope)?;
            crossed[count] = tick;
            count += 1;
            behind = (tick, v.wrapping_sub(ONE));
            v_end -= decay(ONE, self.dynamics.over(ticks - tick).membrane_decay);
        }
        Ok(v_end)
    }

    /// A crossing in a step in which the neuron has already spiked, or in which spikes arrive.
    #[cold]
    #[inline(never)]
    fn crossing_among(
        &self,
        neuron: usize,
        (v0, i0): (i32, i32),
        crossed: &[usize],
        behind: (usize, i32),
        above: (usize, i32),
    ) -> (usize, i32) {
        crossing(behind, above, |tick| {
            let v = self.membrane_at(neuron, v0, i0, tick, crossed);
            // Within a step V may pass the limit of the state.
            v.clamp(i64::from(-2 * STATE_LIMIT), i64::from(2 * STATE_LIMIT - 1)) as i32
        })
    }

    /// `em[f] V0 + kf[f] I0 - V0`, with 32 more fraction bits.
    #[inline(always)]
    fn decay_of_membrane(&self, v0: i32, i0: i32, tick: usize) -> i64 {
        let over = self.dynamics.over(tick);
        // States are at most 2^29, coefficients 2^31.
        let membrane = i64::from(v0).wrapping_mul(i64::from(over.membrane_decay));
        membrane.wrapping_add(i64::from(i0).wrapping_mul(i64::from(over.current_to_membrane)))
    }

    /// `V(f) = em[f] V0 + kf[f] I0 + Σ w kf[f-f_a] - Σ em[f-f_k]` over arrivals and own spikes
    /// before tick f.
    #[inline(always)]
    fn membrane_at(&self, neuron: usize, v0: i32, i0: i32, tick: usize, crossed: &[usize]) -> i64 {
        let mut v = Wide::new(v0);
        v.add_fraction(self.decay_of_membrane(v0, i0, tick));
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
        let es = self.dynamics.over(tick).current_decay;
        if self.arrivals.is_empty() {
            return decay(i0, es).into();
        }
        let mut i = Wide::new(i0);
        i.add_product(i0, es);
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

/// `em V0 + kf I0 - V0` and `es I0 - I0` over a step, with 32 more fraction bits.
#[inline(always)]
fn products<const L: usize>(
    dynamics: &Dynamics<'_>,
    v0: &[i32; L],
    i0: &[i32; L],
) -> ([i64; L], [i64; L]) {
    let over = dynamics.step();
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

/// The tick after `below` and up to `above` at which V has just risen above threshold, and V there:
/// one tick earlier V is at or below it, or that tick is `below`. Both ends come with their V.
///
/// Guesses by the straight line between the ends: V is so smooth over a step that the first guess is a
/// few ticks off, the second at most one, and a look beside it is the end of the search. Every third
/// guess halves the interval instead, which bounds the search.
#[inline(always)]
fn crossing(
    mut below: (usize, i32),
    mut above: (usize, i32),
    at: impl Fn(usize) -> i32,
) -> (usize, i32) {
    let mut round = 0;
    let mut beside = None;
    while above.0 - below.0 > 1 {
        let looks_beside = beside.filter(|&tick| round > 1 && below.0 < tick && tick < above.0);
        let tick = looks_beside.unwrap_or_else(|| {
            round += 1;
            if round % 3 == 0 {
                usize::midpoint(below.0, above.0)
            } else {
                guess(below, above)
            }
        });
        let v = at(tick);
        let next = if v > ONE {
            above = (tick, v);
            tick - 1
        } else {
            below = (tick, v);
            tick + 1
        };
        beside = looks_beside.is_none().then_some(next);
    }
    above
}

/// Where the straight line between two ticks crosses the threshold, to a tick strictly between them.
#[inline(always)]
fn guess(below: (usize, i32), above: (usize, i32)) -> usize {
    let rise = above.1.wrapping_sub(below.1).cast_unsigned().max(1);
    let needed = ONE.wrapping_sub(below.1).cast_unsigned();
    // 24 bits are enough for a guess: an interval has at most 2^8 ticks.
    let shift = (32 - rise.leading_zeros()).saturating_sub(24);
    let (rise, needed) = (rise >> shift, needed >> shift);
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
    use crate::state::{Activity, scratch_len};
    use crate::tables::{self, Coefficients, PEAKS, Peak, Tables};

    const TICKS: usize = 16;
    /// More than one block of lanes, and a rest.
    const NEURONS: usize = 11;

    /// The tables of a time step of 1 ms and time constants of 20 and 5 ms.
    struct OwnTables {
        ticks: Vec<Coefficients>,
        runs: Vec<Coefficients>,
        peaks: [Peak; PEAKS],
    }

    impl OwnTables {
        fn new(ticks: usize, steps: usize) -> Self {
            let mut table = vec![Coefficients::default(); ticks + 1];
            tables::fill(&mut table, 1.0, 20.0, 5.0).unwrap();
            let mut runs = vec![Coefficients::default(); tables::run_entries(steps)];
            tables::fill_runs(&mut runs, 1.0, 20.0, 5.0);
            Self {
                ticks: table,
                runs,
                peaks: tables::peaks(1.0, 20.0, 5.0),
            }
        }

        fn dynamics(&self, spikes_per_step: usize) -> Dynamics<'_> {
            let tables = Tables {
                ticks: &self.ticks,
                runs: &self.runs,
                peaks: &self.peaks,
            };
            Dynamics::new(Scheme::Exact, tables, spikes_per_step, 0).unwrap()
        }
    }

    fn arrivals() -> impl Strategy<Value = Vec<Event>> {
        let event = (0u16..50, 0u16..=TICKS as u16);
        prop::collection::vec(
            event.prop_map(|(neuron, offset)| Event { neuron, offset }),
            1..100,
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
            let tables = OwnTables::new(TICKS, 1);
            let dynamics = tables.dynamics(4);
            let (mut v, mut i) = (states[..NEURONS].to_vec(), states[NEURONS..].to_vec());
            let mut scratch = [0; scratch_len(NEURONS)];
            let mut neurons = Neurons {
                membrane: &mut v,
                current: &mut i,
                scratch: &mut scratch,
                activity: Activity::ASLEEP,
            };
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
            let full = tables.ticks[TICKS];
            for n in 0..NEURONS {
                let (v0, i0) = (states[n], states[NEURONS + n]);
                let mut current = (i128::from(i0) << 32) + product(i0, full.current_decay);
                let mut membrane = (i128::from(v0) << 32)
                    + product(v0, full.membrane_decay)
                    + product(i0, full.current_to_membrane);
                for arrival in &arrivals {
                    let w = weights[usize::from(arrival.neuron) * NEURONS + n];
                    let left = tables.ticks[TICKS - usize::from(arrival.offset)];
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
        let tables = OwnTables::new(256, 1);
        let dynamics = tables.dynamics(MAX_SPIKES_PER_STEP);
        for drive in [25, 40, 64, 90, 130] {
            let (mut v, mut i) = (vec![ONE / 2], vec![drive * ONE]);
            let mut scratch = [0; scratch_len(1)];
            let mut neurons = Neurons {
                membrane: &mut v,
                current: &mut i,
                scratch: &mut scratch,
                activity: Activity::ASLEEP,
            };
            neurons.wake_at(0);
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

    proptest! {
        /// Whatever arrives when, a layer spikes as one does whose every neuron is computed in every step
        /// in floating point: a neuron that was left alone would not have spiked.
        #[test]
        fn a_neuron_left_alone_would_not_spike(
            arrivals in prop::collection::vec((0usize..40, 0u16..4, 0u16..256), 1..12),
            weights in prop::collection::vec(-2 * ONE..6 * ONE, 4 * NEURONS),
        ) {
            const STEPS: usize = 40;
            let tables = OwnTables::new(256, STEPS);
            let dynamics = tables.dynamics(4);
            let (mut v, mut i) = ([0; NEURONS], [0; NEURONS]);
            let mut scratch = [0; scratch_len(NEURONS)];
            let mut neurons = Neurons::reset(&mut v, &mut i, &mut scratch);
            let (mut events, mut slopes, mut errors, mut ends) =
                (vec![Event::default(); 4 * NEURONS * STEPS], vec![0; 4 * NEURONS * STEPS], vec![0; 4 * NEURONS * STEPS], [0; STEPS]);
            let mut log = EventLog::new(&mut events, &mut slopes, &mut errors, &mut ends);
            let mut statistics = Statistics::NEW;
            // Per neuron V and I at the end of each step, from the spikes that the kernel has found.
            let (mut exact_v, mut exact_i) = ([0.0f64; NEURONS], [0.0f64; NEURONS]);
            for step in 0..STEPS {
                let now: Vec<_> = arrivals.iter().filter(|a| a.0 == step)
                    .map(|&(_, neuron, offset)| Event { neuron, offset }).collect();
                forward_step(&dynamics, &weights, &now, &mut neurons, &mut log, &mut statistics).unwrap();
                log.end_step().unwrap();
                let (em, es) = (libm::exp(-1.0 / 20.0), libm::exp(-1.0 / 5.0));
                for n in 0..NEURONS {
                    let (v0, i0) = (exact_v[n], exact_i[n]);
                    exact_v[n] = em * v0 + (em - es) / 3.0 * i0;
                    exact_i[n] = es * i0;
                    for arrival in &now {
                        let left = 1.0 - f64::from(arrival.offset) / 256.0;
                        let (em, es) = (libm::exp(-left / 20.0), libm::exp(-left / 5.0));
                        let w = f64::from(weights[usize::from(arrival.neuron) * NEURONS + n]) / f64::from(ONE);
                        exact_v[n] += (em - es) / 3.0 * w;
                        exact_i[n] += es * w;
                    }
                    for event in log.events(step).iter().filter(|event| usize::from(event.neuron) == n) {
                        let left = 1.0 - f64::from(event.offset) / 256.0;
                        exact_v[n] -= libm::exp(-left / 20.0);
                    }
                    let suppressed = statistics.suppressed_spikes > 0;
                    prop_assert!(suppressed || exact_v[n] < 1.0 + 1e-4, "step {}, neuron {}: {}", step, n, exact_v[n]);
                }
            }
            // What was left alone is where the sum of all that happened to it is.
            neurons.catch_up(&dynamics, Direction::Forward, STEPS);
            for n in 0..NEURONS {
                prop_assert!((f64::from(neurons.membrane[n]) / f64::from(ONE) - exact_v[n]).abs() < 1e-4);
                prop_assert!((f64::from(neurons.current[n]) / f64::from(ONE) - exact_i[n]).abs() < 1e-4);
            }
        }
    }
}
