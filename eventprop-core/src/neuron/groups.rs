//! The exact scheme on processors with vector instructions, which look far ahead: a choice of values is
//! cheap there, a choice of ways is dear. What a PE decides neuron by neuron is decided here for a group of
//! neurons, as bits of a word. The results have the same bits.

use core::hint::select_unpredictable;
use core::ops::Range;

use super::{Run, Spiking, Step, Term, high, outside};
use crate::log::{LogFull, bits};
use crate::numeric::{ARRIVALS_PER_FOLD, HALF, ONE, STATE_LIMIT, decay, saturate_short, scale};
use crate::state::{Decay, List, Listed, Neurons, PARKED, split, whole_vectors};
use crate::tables::{Coefficients, Dynamics};
use crate::vector::{MAX_LANES, Single, Vectors, padded};

/// Neurons that have a bit each in a word.
const GROUP: usize = u64::BITS as usize;

/// How many spikes arrive in a step, for a kernel: one.
const ONCE: u8 = 0;
/// No more than [`ARRIVALS_PER_FOLD`].
const FEW: u8 = 1;
/// Any number.
const MANY: u8 = 2;

/// What a kernel leaves of the neurons of a group.
struct Group {
    membrane: [i32; GROUP],
    current: [i32; GROUP],
    /// About the tick at which the threshold is crossed.
    guess: [i32; GROUP],
}

impl Group {
    const NEW: Self = Self {
        membrane: [0; GROUP],
        current: [0; GROUP],
        guess: [0; GROUP],
    };
}

/// Neurons of a group, a bit for each.
#[derive(Clone, Copy, Default)]
struct Found {
    /// Perhaps above threshold in the step, or beyond the limits of a state where that is possible.
    beyond: u64,
    /// May rise above threshold.
    rises: u64,
}

/// There is no such tick.
const NONE: u8 = 3;

/// Of the last three of four ticks around a guess, numbered from 0, the one at which the membrane is above
/// threshold, and at the tick before it is not; the middle one is asked first, as by
/// [`cross`](Spiking::cross). By the ticks at which it is above, the first of the four being bit 0.
const FIRST_ABOVE: [u8; 16] = {
    let mut first = [NONE; 16];
    let mut above = 0;
    while above < first.len() {
        first[above] = match [above & 1, above & 2, above & 4, above & 8] {
            [_, 0, 4, _] => 1,
            [0, 2, 4, _] => 0,
            [_, _, 0, 8] => 2,
            _ => NONE,
        };
        above += 1;
    }
    first
};

impl<V: Vectors> Step<'_, '_, '_, '_, V> {
    /// As [`rise_one_by_one`](Self::rise_one_by_one), for all neurons that rise.
    #[inline(always)]
    pub(super) fn rise_in_groups(&mut self, step: usize) -> Result<(), LogFull> {
        let rising = self.neurons.rising();
        // As far as the list has memory for whole vectors.
        let in_groups = rising.min(whole_vectors::<V>(self.neurons.len()));
        if in_groups < rising {
            self.rise_apart(step, in_groups..rising)?;
        }
        let Self { spiking, neurons } = self;
        let (x, dynamics) = (spiking.vectors, spiking.dynamics);
        let (decay, peaks) = (Decay::forward(dynamics.step()), dynamics.peaks());
        let mut before = Group::NEW;
        let (_, _, mut list) = neurons.with_list();
        for first in (0..in_groups).step_by(GROUP).rev() {
            let places = first..in_groups.min(first + GROUP);
            let (above, mut leaving) = list.advance(x, dynamics, &decay, places, &mut before);
            for lane in bits(above) {
                let after = list.at(first + lane);
                let state = (before.membrane[lane], before.current[lane]);
                let guess = before.guess[lane] as usize;
                let v = spiking.cross_at_guess(&after, state, guess)?;
                list.membrane[first + lane] = v;
                mark(&mut leaving, lane, !peaks.may_rise(v, after.current));
            }
            for lane in bits(leaving & !above) {
                let after = list.at(first + lane);
                let state = (before.membrane[lane], before.current[lane]);
                let end = (after.membrane, after.current);
                if dynamics.may_peak_above(state, dynamics.ticks(), end) {
                    let v = spiking.walk(after.neuron, state, after.membrane)?;
                    list.membrane[first + lane] = v;
                    mark(&mut leaving, lane, !peaks.may_rise(v, after.current));
                }
            }
            while let Some(lane) = leaving.checked_ilog2() {
                leaving ^= 1 << lane;
                list.leave(first + lane as usize, step + 1);
            }
        }
        Ok(())
    }

    /// As [`arrive_one_by_one`](Self::arrive_one_by_one).
    #[inline(always)]
    pub(super) fn arrive_in_groups(
        &mut self,
        step: usize,
        run: &Run,
        terms: &[Term],
    ) -> Result<(), LogFull> {
        let len = self.neurons.len();
        let few_arrivals = self.spiking.arrivals.len() == terms.len();
        let listed = self.neurons.listed();
        let in_groups = whole_vectors::<V>(len);
        let mut group = Group::NEW;
        for first in (0..in_groups).step_by(GROUP) {
            let neurons = first..in_groups.min(first + GROUP);
            let Found { beyond, mut rises } = if !few_arrivals {
                self.arrive_group::<MANY>(&run.to_end, terms, neurons, &mut group)
            } else if terms.len() > 1 {
                self.arrive_group::<FEW>(&run.to_end, terms, neurons, &mut group)
            } else {
                self.arrive_group::<ONCE>(&run.to_end, terms, neurons, &mut group)
            };
            for lane in bits(beyond) {
                let neuron = first + lane;
                let state = (group.membrane[lane], group.current[lane]);
                let (v, i) = if few_arrivals {
                    let (v, i) = (self.neurons.membrane[neuron], self.neurons.current[neuron]);
                    self.spiking
                        .settle(run, neuron, state, (v.into(), i.into()))?
                } else {
                    // Some may be too large for words.
                    self.spiking.settle_at(run, terms, neuron, state)?
                };
                self.neurons.put_among_others(neuron, v, i);
                mark(&mut rises, lane, self.spiking.dynamics.may_rise(v, i));
            }
            self.neurons.list_marked(first, rises);
        }
        for neuron in in_groups..len {
            self.arrive_apart(run, terms, neuron)?;
        }
        if few_arrivals {
            self.arrive_on_list_in_groups(step, terms, listed)
        } else {
            self.arrive_on_list_apart(step, terms, listed)
        }
    }

    /// [`rise_one_by_one`](Self::rise_one_by_one), as a function of its own: has no vectors, and would take
    /// registers from those that have.
    #[inline(never)]
    fn rise_apart(&mut self, step: usize, places: Range<usize>) -> Result<(), LogFull> {
        self.rise_one_by_one(step, places)
    }

    /// [`arrive_at`](Self::arrive_at), as a function of its own.
    #[inline(never)]
    fn arrive_apart(&mut self, run: &Run, terms: &[Term], neuron: usize) -> Result<(), LogFull> {
        self.arrive_at(run, terms, neuron)
    }

    /// [`arrive_on_list`](Self::arrive_on_list), as a function of its own.
    #[inline(never)]
    fn arrive_on_list_apart(
        &mut self,
        step: usize,
        terms: &[Term],
        listed: usize,
    ) -> Result<(), LogFull> {
        self.arrive_on_list(step, terms, listed)
    }

    /// Advances neurons that are not on the list over `run`, with arrivals in its last step; their state before
    /// goes to `before`. `terms` are those of the first arrivals, or, if these are not [`MANY`], of all.
    #[inline(always)]
    fn arrive_group<const ARRIVALS: u8>(
        &mut self,
        run: &Coefficients,
        terms: &[Term],
        neurons: Range<usize>,
        before: &mut Group,
    ) -> Found {
        let x = self.spiking.vectors;
        let (first, len) = (neurons.start, self.neurons.len());
        let dynamics = *self.spiking.dynamics;
        let peaks = dynamics.peaks();
        // Usually it is the only one.
        let [first_term, later_terms @ ..] = terms else {
            return Found::default();
        };
        let row = &self.spiking.weights[first_term.row.wrapping_add(first)..][..neurons.len()];
        let first_term = first_term.in_vectors(x);
        let run = Factors {
            membrane: x.all(run.membrane_decay),
            current: x.all(run.current_decay),
            coupling: x.all(run.current_to_membrane),
        };
        let (v, i) = (
            &mut self.neurons.membrane[neurons.clone()],
            &mut self.neurons.current[neurons],
        );
        let v = x.chunks_mut(v);
        let blocks = v.len();
        let i = &mut x.chunks_mut(i)[..blocks];
        let v_before = &mut x.chunks_mut(&mut before.membrane)[..blocks];
        let i_before = &mut x.chunks_mut(&mut before.current)[..blocks];
        let row = &x.chunks(row)[..blocks];
        let mut found = Found::default();
        for block in 0..blocks {
            let done = block * V::LANES;
            let (v0, i0) = (x.load(v[block].as_ref()), x.load(i[block].as_ref()));
            let weights =
                |term: &Term| x.load(&self.spiking.weights[term.row.wrapping_add(first + done)..]);
            let mut sums = VectorSums::begin(x, &run, v0, i0);
            let mut less = x.all(0);
            let mut too_large = x.all(0);
            if ARRIVALS != MANY {
                let weights_of_first = x.load(row[block].as_ref());
                sums.add(x, &first_term, weights_of_first);
                if ARRIVALS == FEW {
                    less = x.subtract(less, x.larger(weights_of_first, less));
                    for term in later_terms {
                        let weights = weights(term);
                        sums.add(x, &term.in_vectors(x), weights);
                        less = x.subtract(less, x.larger(weights, x.all(0)));
                    }
                }
            } else {
                let mut whole = Whole::zero(x);
                for arrivals in self.spiking.arrivals.chunks(ARRIVALS_PER_FOLD) {
                    for arrival in arrivals {
                        let term = Term::new(&dynamics, arrival, len);
                        let weights = weights(&term);
                        sums.add(x, &term.in_vectors(x), weights);
                        less = x.subtract(less, x.larger(weights, x.all(0)));
                    }
                    whole.fold(x, &mut sums, &mut less);
                }
                too_large = whole.finish(x, &mut sums, &mut less);
            }
            let (v1, i1) = sums.rounded(x);
            x.store(v0, v_before[block].as_mut());
            x.store(i0, i_before[block].as_mut());
            x.store(v1, v[block].as_mut());
            x.store(i1, i[block].as_mut());
            let listed = x.signs(x.greater(x.all(PARKED + 1), v0));
            let (rises, grazes) = if ARRIVALS == ONCE {
                // Before it, none was above threshold that is not on the list.
                peaks.both_in(x, v1, i1)
            } else {
                (
                    peaks.may_rise_in(x, v1, i1),
                    peaks.may_have_been_above_in(x, v1, x.add(i1, less)),
                )
            };
            let beyond = x.or(too_large, beyond_limits(x, v1, i1));
            let beyond = x.signs(x.or(beyond, grazes));
            let rises = x.signs(rises);
            found.beyond |= u64::from(beyond & !listed) << done;
            found.rises |= u64::from(rises & !listed) << done;
        }
        found
    }

    /// As [`arrive_in_groups`](Self::arrive_in_groups), for a layer of fewer neurons than a vector has lanes, and
    /// no more than [`ARRIVALS_PER_FOLD`] arrivals.
    #[inline(always)]
    pub(super) fn arrive_at_few(&mut self, step: usize) -> Result<(), LogFull> {
        let (x, len) = (self.spiking.vectors, self.neurons.len());
        let mut boundaries = [self.neurons.base(); MAX_LANES];
        let (mut v, mut i) = ([0; MAX_LANES], [0; MAX_LANES]);
        v[..len].copy_from_slice(self.neurons.membrane);
        i[..len].copy_from_slice(self.neurons.current);
        for place in 0..self.neurons.listed() {
            let listed = self.neurons.at(place);
            boundaries[listed.neuron] = self.stands_at(place, &listed, step);
            (v[listed.neuron], i[listed.neuron]) = (listed.membrane, listed.current);
        }
        let (mut em, mut es, mut kf) = ([0; MAX_LANES], [0; MAX_LANES], [0; MAX_LANES]);
        for neuron in 0..len {
            let run = Run::new(self.spiking.dynamics, boundaries[neuron], step).to_end;
            em[neuron] = run.membrane_decay;
            es[neuron] = run.current_decay;
            kf[neuron] = run.current_to_membrane;
        }
        let run = Factors {
            membrane: x.load(&em),
            current: x.load(&es),
            coupling: x.load(&kf),
        };
        let mut sums = VectorSums::begin(x, &run, x.load(&v), x.load(&i));
        let mut less = x.all(0);
        for arrival in self.spiking.arrivals {
            let term = self.spiking.term(arrival);
            // What stands behind the row does not matter.
            let weights = x.load(&padded(&self.spiking.weights[term.row..]));
            sums.add(x, &term.in_vectors(x), weights);
            less = x.subtract(less, x.larger(weights, x.all(0)));
        }
        let (v1, i1) = sums.rounded(x);
        let peaks = self.spiking.dynamics.peaks();
        let grazes = peaks.may_have_been_above_in(x, v1, x.add(i1, less));
        let beyond = x.signs(x.or(beyond_limits(x, v1, i1), grazes));
        let rises = x.signs(peaks.may_rise_in(x, v1, i1));
        let (mut v_end, mut i_end) = ([0; MAX_LANES], [0; MAX_LANES]);
        x.store(v1, &mut v_end);
        x.store(i1, &mut i_end);
        self.neurons.empty_list();
        let (membrane, current, mut list) = self.neurons.with_list();
        for neuron in 0..len {
            let (mut v1, mut i1) = (v_end[neuron], i_end[neuron]);
            let mut rises = rises >> neuron & 1 == 1;
            if beyond >> neuron & 1 == 1 {
                let run = Run::new(self.spiking.dynamics, boundaries[neuron], step);
                let state = (v[neuron], i[neuron]);
                let end = (v1.into(), i1.into());
                (v1, i1) = self.spiking.settle(&run, neuron, state, end)?;
                rises = self.spiking.dynamics.may_rise(v1, i1);
            }
            list.push_if(rises, neuron, v1, i1);
            membrane[neuron] = select_unpredictable(rises, PARKED, v1);
            current[neuron] = i1;
        }
        Ok(())
    }

    /// As [`arrive_on_list`](Self::arrive_on_list).
    #[inline(always)]
    fn arrive_on_list_in_groups(
        &mut self,
        step: usize,
        terms: &[Term],
        listed: usize,
    ) -> Result<(), LogFull> {
        let mut kept = 0;
        let mut group = Group::NEW;
        for first in (0..listed).step_by(GROUP) {
            let places = first..listed.min(first + GROUP);
            let Found { beyond, mut rises } =
                self.arrive_group_on_list(step, terms, places.clone(), &mut group);
            for lane in bits(beyond) {
                let listed = self.neurons.at(first + lane);
                let boundary = self.stands_at(first + lane, &listed, step);
                let run = Run::new(self.spiking.dynamics, boundary, step);
                let state = (listed.membrane, listed.current);
                let (v, i) = (group.membrane[lane], group.current[lane]);
                let end = (v.into(), i.into());
                let (v, i) = self.spiking.settle(&run, listed.neuron, state, end)?;
                (group.membrane[lane], group.current[lane]) = (v, i);
                mark(&mut rises, lane, self.spiking.dynamics.may_rise(v, i));
            }
            kept = self.neurons.keep(places, rises, &group, kept);
        }
        self.neurons.close_gap(kept..listed);
        Ok(())
    }

    /// Computes where neurons at places of the list are at the end of a step with arrivals; their states there
    /// go to `after`.
    #[inline(always)]
    fn arrive_group_on_list(
        &mut self,
        step: usize,
        terms: &[Term],
        places: Range<usize>,
        after: &mut Group,
    ) -> Found {
        let (x, dynamics, rising) = (
            self.spiking.vectors,
            self.spiking.dynamics,
            self.neurons.rising(),
        );
        let first = places.start;
        let (v, i, names) = self.neurons.list();
        let (v, i) = (&v[places.clone()], &i[places.clone()]);
        let names = &names[places];
        let count = names.len();
        let product = |value: i32, factor: i32| i64::from(value).wrapping_mul(factor.into());
        let peaks = dynamics.peaks();
        let mut found = Found::default();
        for lane in 0..count {
            let Listed {
                neuron, boundary, ..
            } = Listed::new(names[lane], v[lane], i[lane]);
            let boundary = if first + lane < rising {
                step
            } else {
                boundary
            };
            let run = Run::new(dynamics, boundary, step).to_end;
            let (v0, mut i1) = (v[lane], i[lane]);
            let (twice_v, twice_i) = (v0.wrapping_mul(2), i1.wrapping_mul(2));
            // As in [`VectorSums`].
            let mut dv = product(twice_v, run.membrane_decay)
                .wrapping_add(product(twice_i, run.current_to_membrane));
            let mut di = product(twice_i, run.current_decay);
            let mut positive = 0i32;
            for term in terms {
                let w = self.spiking.weights[term.row.wrapping_add(neuron)];
                dv = dv.wrapping_add(product(w, term.membrane));
                di = di.wrapping_add(product(w, term.current));
                i1 = i1.wrapping_add(w);
                positive = positive.wrapping_add(w.max(0));
            }
            let (v1, i1) = (v0.wrapping_add(high(dv)), i1.wrapping_add(high(di)));
            (after.membrane[lane], after.current[lane]) = (v1, i1);
            let above = peaks.may_have_been_above(v1, i1.wrapping_sub(positive));
            found.beyond |= u64::from(above | outside(v1, i1)) << lane;
        }
        let v = &x.chunks(&after.membrane)[..count.div_ceil(V::LANES)];
        let i = &x.chunks(&after.current)[..v.len()];
        for block in 0..v.len() {
            let (v, i) = (x.load(v[block].as_ref()), x.load(i[block].as_ref()));
            let rises = peaks.may_rise_in(x, v, i);
            found.rises |= u64::from(x.signs(rises)) << (block * V::LANES);
        }
        found
    }
}

impl<V: Vectors> Spiking<'_, '_, '_, V> {
    /// As [`cross`](Self::cross). `after` holds the neuron and its state at the end of the step.
    #[inline(always)]
    fn cross_at_guess(
        &mut self,
        after: &Listed,
        (v0, i0): (i32, i32),
        guess: usize,
    ) -> Result<i32, LogFull> {
        if let Some(tick) = self.beside(self.vectors, guess, (v0, i0)) {
            let left = self.dynamics.over(self.dynamics.ticks() - tick);
            let v_end = after.membrane.wrapping_sub(decay(ONE, left.membrane_decay));
            if v_end <= ONE {
                let i = decay(i0, self.dynamics.over(tick).current_decay);
                self.spike_once(after.neuron, tick, i.wrapping_sub(ONE))?;
                return Ok(v_end);
            }
        }
        let end = (after.membrane, after.current);
        self.cross_far(after.neuron, (v0, i0), end, guess)
    }

    /// As [`cross_at_guess`](Self::cross_at_guess), for a neuron that crosses not beside the guess: from there to
    /// an end of the step, another one is much better.
    #[cold]
    #[inline(never)]
    fn cross_far(
        &mut self,
        neuron: usize,
        before: (i32, i32),
        after: (i32, i32),
        guess: usize,
    ) -> Result<i32, LogFull> {
        let middle = self.state_after(guess, before);
        let guess = if middle.0 > ONE {
            self.guess(0..guess, before, middle)
        } else {
            self.guess(guess..self.dynamics.ticks(), middle, after)
        };
        let crossing = self.only_crossing(guess, (0, before), after);
        self.cross_there(neuron, crossing, before, after)
    }

    /// The tick beside a guess, or that itself, at which a neuron is above threshold, and was not one tick
    /// before. Nothing arrives.
    #[inline(always)]
    fn beside(&self, x: impl Vectors, guess: usize, (v0, i0): (i32, i32)) -> Option<usize> {
        let around = self.dynamics.around(guess)?;
        // As by [`decay_of_membrane`]: `V0 + high(sum) > 1`, asked of the sum. States are at most 2^29.
        let least = i64::from(ONE + 1 - v0) << 32;
        let above = x.sums_above(bytemuck::cast_ref(around), [0, v0, i0, 0], least - HALF - 1);
        let tick = FIRST_ABOVE[above as usize & 15];
        (tick < NONE).then(|| guess - 1 + usize::from(tick))
    }

    /// As [`walk`](Self::walk), where a weight arrives at a tick and nothing else does, for a neuron that is above
    /// threshold at the end of the step: looks first for an easy answer.
    #[cold]
    #[inline(never)]
    pub(super) fn cross_once(
        &mut self,
        neuron: usize,
        arriving: (i32, usize),
        before: (i32, i32),
        after: (i32, i32),
    ) -> Result<i32, LogFull> {
        let crossing = self.only_crossing_of(arriving, before, after);
        self.cross_there(neuron, crossing, before, after)
    }

    /// Emits the spike of a neuron that crosses the threshold once, at a tick, with a slope, if it is known where;
    /// else walks.
    #[inline(always)]
    fn cross_there(
        &mut self,
        neuron: usize,
        crossing: Option<(usize, i32)>,
        before: (i32, i32),
        after: (i32, i32),
    ) -> Result<i32, LogFull> {
        let Some((tick, slope)) = crossing else {
            return self.walk(neuron, before, after.0);
        };
        self.spike_once(neuron, tick, slope)?;
        let left = self.dynamics.over(self.dynamics.ticks() - tick);
        Ok(after.0.wrapping_sub(decay(ONE, left.membrane_decay)))
    }

    /// The tick at which a neuron crosses the threshold in a step, and the slope there, if it is easily seen that
    /// it does so once, and where: a walk can find nothing else then. A weight arrives `offset` ticks from
    /// the start of the step.
    #[inline(always)]
    fn only_crossing_of(
        &self,
        (w, offset): (i32, usize),
        before: (i32, i32),
        after: (i32, i32),
    ) -> Option<(usize, i32)> {
        let (v, i) = self.state_after(offset, before);
        // The membrane does not get above threshold before the arrival if neither it nor the current was there, and
        // does not come back from there if the current stays.
        if !self.keeps_above(i) && before.0.max(before.1) > ONE - 2 {
            return None;
        }
        if v > ONE {
            let guess = self.guess(0..offset, before, (v, i));
            self.only_crossing(guess, (0, before), after)
        } else {
            let arrived = (v, i.wrapping_add(w));
            let guess = self.guess(offset..self.dynamics.ticks(), arrived, after);
            self.only_crossing(guess, (offset, arrived), after)
        }
    }

    /// The tick beside a guess at which a neuron crosses the threshold, and the slope there, if it is easily seen
    /// that it crosses once from a tick on. Its state there and at the end of the step is known.
    #[inline(always)]
    fn only_crossing(
        &self,
        guess: usize,
        (from, before): (usize, (i32, i32)),
        (v1, i1): (i32, i32),
    ) -> Option<(usize, i32)> {
        if !self.keeps_above(i1) {
            return None;
        }
        // (Not by vectors, whose instructions this function is not built for.)
        let passed = self.beside(Single, guess.checked_sub(from)?, before)?;
        let tick = from + passed;
        let left = self.dynamics.over(self.dynamics.ticks() - tick);
        if v1.wrapping_sub(decay(ONE, left.membrane_decay)) > ONE {
            return None;
        }
        let (_, i) = self.state_after(passed, before);
        Some((tick, i.wrapping_sub(ONE)))
    }

    /// Whether a membrane at the threshold moves towards a current by two units in the last place per tick: while
    /// the current is there, the membrane does not come back from above threshold, whatever the roundings.
    #[inline(always)]
    fn keeps_above(&self, i: i32) -> bool {
        scale(ONE.wrapping_sub(i), self.dynamics.over(1).membrane_decay) >= 2
    }

    /// [`Dynamics::guess`] of a neuron.
    #[inline(always)]
    fn guess(&self, ticks: Range<usize>, (v0, i0): (i32, i32), (v1, i1): (i32, i32)) -> usize {
        let [guess] = self
            .dynamics
            .guess(Single, ticks, ([v0], [i0]), ([v1], [i1]));
        guess as usize
    }

    /// Emits the only spike of a neuron in a step; limits its slope.
    #[inline(always)]
    fn spike_once(&mut self, neuron: usize, tick: usize, slope: i32) -> Result<(), LogFull> {
        let slope = saturate_short(slope, STATE_LIMIT, &mut self.statistics.saturations);
        self.spike(neuron, tick, slope)
    }
}

impl List<'_> {
    /// Advances neurons at places of the list; their state before, and about where they cross the threshold, go
    /// to `before`. Returns who is above threshold, and whose membrane is not below its current. The list
    /// has memory for whole vectors.
    #[inline(always)]
    fn advance<V: Vectors>(
        &mut self,
        x: V,
        dynamics: &Dynamics<'_>,
        decay: &Decay,
        places: Range<usize>,
        before: &mut Group,
    ) -> (u64, u64) {
        let count = places.len();
        let len = count.next_multiple_of(V::LANES);
        let v = x.chunks_mut(&mut self.membrane[places.start..][..len]);
        let blocks = v.len();
        let i = &mut x.chunks_mut(&mut self.current[places.start..][..len])[..blocks];
        let v_before = &mut x.chunks_mut(&mut before.membrane)[..blocks];
        let i_before = &mut x.chunks_mut(&mut before.current)[..blocks];
        let guess = &mut x.chunks_mut(&mut before.guess)[..blocks];
        let dynamics = *dynamics;
        let (mut above, mut falling) = (0, 0);
        for block in 0..blocks {
            let done = block * V::LANES;
            let (v0, i0) = (x.load(v[block].as_ref()), x.load(i[block].as_ref()));
            let (v1, i1) = decay.apply::<32, V>(x, v0, i0);
            x.store(v0, v_before[block].as_mut());
            x.store(i0, i_before[block].as_mut());
            let ticks = 0..dynamics.ticks();
            x.store(
                dynamics.guess(x, ticks, (v0, i0), (v1, i1)),
                guess[block].as_mut(),
            );
            // Those behind the last one stay as they are.
            let here = x.greater(x.all((count - done) as i32), x.lanes());
            x.store(x.choose(here, v1, v0), v[block].as_mut());
            x.store(x.choose(here, i1, i0), i[block].as_mut());
            let here = x.signs(here);
            let falls = here & !x.signs(x.greater(i1, v1));
            let is_above = here & x.signs(x.greater(v1, x.all(ONE)));
            above |= u64::from(is_above) << done;
            falling |= u64::from(falls) << done;
        }
        (above, falling)
    }
}

impl Neurons<'_> {
    /// Puts the neurons from `first` on that are marked at the end of the list.
    #[inline(always)]
    fn list_marked(&mut self, first: usize, marks: u64) {
        let (membrane, current, mut list) = self.with_list();
        for lane in bits(marks) {
            let neuron = first + lane;
            list.push(neuron, membrane[neuron], current[neuron]);
            membrane[neuron] = PARKED;
        }
    }

    /// Of neurons at places of the list, with new states in `group`, moves the marked ones behind the `kept`
    /// ones before them, and lets the others stand with those that are not listed. Returns how many are kept
    /// then.
    #[inline(always)]
    fn keep(&mut self, places: Range<usize>, marks: u64, group: &Group, mut kept: usize) -> usize {
        let (membrane, current, names) = split(self.scratch, self.membrane.len());
        for (lane, place) in places.enumerate() {
            let (v, i) = (group.membrane[lane], group.current[lane]);
            let stays = marks >> lane & 1 == 1;
            let Listed { neuron, .. } = Listed::new(names[place], v, i);
            self.membrane[neuron] = if stays { PARKED } else { v };
            self.current[neuron] = i;
            (membrane[kept], current[kept], names[kept]) = (v, i, neuron as i32);
            kept += usize::from(stays);
        }
        kept
    }

    /// Moves neurons from the end of the list to places that were left.
    #[inline(always)]
    fn close_gap(&mut self, gap: Range<usize>) {
        let listed = self.listed();
        let behind = listed - gap.end;
        let (membrane, current, names) = self.list();
        for (place, from) in gap.clone().zip((0..listed).rev()).take(behind) {
            membrane[place] = membrane[from];
            current[place] = current[from];
            names[place] = names[from];
        }
        self.shorten_list(gap.len());
    }
}

/// Says of a neuron of a group whether it is marked.
#[inline(always)]
fn mark(marks: &mut u64, lane: usize, marked: bool) {
    *marks = *marks & !(1 << lane) | u64::from(marked) << lane;
}

/// In the signs: whether a membrane is above threshold, or a state may be beyond its limits.
#[inline(always)]
fn beyond_limits<V: Vectors>(x: V, v: V::Words, i: V::Words) -> V::Words {
    // A sum from 0 to 2^30 - 1 has neither of the two upper bits.
    let above_lower = |state| x.add(state, x.all(STATE_LIMIT));
    let sums = x.or(above_lower(v), above_lower(i));
    let outside = x.or(sums, x.add(sums, sums));
    x.or(outside, x.greater(v, x.all(ONE)))
}

/// What takes neurons over whole steps: decay of membranes and currents, and what currents add to membranes.
struct Factors<V: Vectors> {
    membrane: V::Words,
    current: V::Words,
    coupling: V::Words,
}

/// What an arrival does to neurons, the same in all lanes.
struct VectorTerm<V: Vectors> {
    membrane: V::Words,
    current: V::Words,
}

impl Term {
    /// The same for vectors of neurons.
    #[inline(always)]
    fn in_vectors<V: Vectors>(&self, x: V) -> VectorTerm<V> {
        VectorTerm {
            membrane: x.all(self.membrane),
            current: x.all(self.current),
        }
    }
}

/// Whole numbers of [`VectorSums`] of any number of arrivals, 64 bits each.
struct Whole<V: Vectors> {
    membrane: V::Products,
    current: V::Products,
    less: V::Products,
}

impl<V: Vectors> Whole<V> {
    /// None.
    #[inline(always)]
    fn zero(x: V) -> Self {
        let zero = x.product(x.all(0), x.all(0));
        Self {
            membrane: zero,
            current: zero,
            less: zero,
        }
    }

    /// Takes the whole numbers out of sums, after at most [`ARRIVALS_PER_FOLD`] arrivals.
    #[inline(always)]
    fn fold(&mut self, x: V, sums: &mut VectorSums<V>, less: &mut V::Words) {
        let fractions = (sums.fraction_membrane, sums.fraction_current);
        self.membrane = x.sum(self.membrane, whole(x, sums.membrane, fractions.0));
        self.current = x.sum(self.current, whole(x, sums.current, fractions.1));
        (sums.membrane, sums.current) = (x.all(0), x.all(0));
        self.less = x.sum(self.less, x.product(*less, x.all(1)));
        *less = x.all(0);
        sums.fraction_membrane = x.fraction(fractions.0);
        sums.fraction_current = x.fraction(fractions.1);
    }

    /// Puts the whole numbers back; returns in the signs which are too large for words.
    #[inline(always)]
    fn finish(self, x: V, sums: &mut VectorSums<V>, less: &mut V::Words) -> V::Words {
        sums.membrane = x.lower(self.membrane);
        sums.current = x.lower(self.current);
        *less = x.lower(self.less);
        // Half of it, so that the difference to a current fits, too.
        let twice = x.sum(self.less, self.less);
        let state = x.or(too_large(x, self.membrane), too_large(x, self.current));
        x.or(state, too_large(x, twice))
    }
}

/// A whole number, and that of a sum with a fraction.
#[inline(always)]
fn whole<V: Vectors>(x: V, words: V::Words, fraction: V::Products) -> V::Products {
    let one = x.all(1);
    x.sum(x.product(words, one), x.product(x.upper(fraction), one))
}

/// In the signs: whether whole numbers, to which one may be added, are too large for words.
#[inline(always)]
fn too_large<V: Vectors>(x: V, whole: V::Products) -> V::Words {
    let (lower, upper) = (x.lower(whole), x.upper(whole));
    let sign = x.greater(x.all(0), lower);
    let other = x.or(x.greater(upper, sign), x.greater(sign, upper));
    x.or(other, x.greater(lower, x.all(i32::MAX - 1)))
}

/// As [`Sums`](super::Sums), of no more than [`ARRIVALS_PER_FOLD`] arrivals. Whole numbers fit words then: 32
/// weights of 2^25, what a state of 2^29 may add, and a state.
struct VectorSums<V: Vectors> {
    membrane: V::Words,
    current: V::Words,
    fraction_membrane: V::Products,
    fraction_current: V::Products,
}

const _: () = assert!(ARRIVALS_PER_FOLD == 32);

impl<V: Vectors> VectorSums<V> {
    /// The states over a free run.
    #[inline(always)]
    fn begin(x: V, run: &Factors<V>, membrane: V::Words, current: V::Words) -> Self {
        let (v, i) = (x.add(membrane, membrane), x.add(current, current));
        Self {
            membrane,
            current,
            fraction_membrane: x.sum(x.product(v, run.membrane), x.product(i, run.coupling)),
            fraction_current: x.product(i, run.current),
        }
    }

    /// Adds an arrival.
    #[inline(always)]
    fn add(&mut self, x: V, term: &VectorTerm<V>, weights: V::Words) {
        let to_membrane = x.product(weights, term.membrane);
        let to_current = x.product(weights, term.current);
        self.fraction_membrane = x.sum(self.fraction_membrane, to_membrane);
        self.fraction_current = x.sum(self.fraction_current, to_current);
        self.current = x.add(self.current, weights);
    }

    /// Membranes and currents, rounded.
    #[inline(always)]
    fn rounded(self, x: V) -> (V::Words, V::Words) {
        (
            x.add(self.membrane, x.rounded(self.fraction_membrane)),
            x.add(self.current, x.rounded(self.fraction_current)),
        )
    }
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::super::decay_of_membrane;
    use super::*;
    use crate::log::{Event, EventLog};
    use crate::numeric::Statistics;
    use crate::tables::{self, Scheme, Tables};
    use crate::vector::Arrays;

    /// A membrane is above threshold from the same unit in the last place on, whether it is asked of one tick or of
    /// the four around a guess.
    #[test]
    fn a_membrane_at_the_threshold_is_told_alike() {
        let mut ticks = [Coefficients::default(); 257];
        for over in &mut ticks[100..] {
            // Half a unit in the last place of the membrane is two of the current.
            over.current_to_membrane = 1 << 30;
        }
        let runs = [Coefficients::default(); tables::run_entries(1)];
        let peaks = tables::peaks(1.0, 20.0, 5.0);
        let tables = Tables {
            ticks: &ticks,
            runs: &runs,
            peaks: &peaks,
        };
        let dynamics = Dynamics::new(Scheme::Exact, tables, 8, 0).unwrap();
        let mut log = EventLog::new(&mut [], &mut [], &mut [], &mut []);
        let spiking = Spiking {
            vectors: Arrays,
            dynamics: &dynamics,
            weights: &[],
            arrivals: &[],
            neurons: 1,
            log: &mut log,
            statistics: &mut Statistics::default(),
        };
        for current in 4 * ONE - 4..4 * ONE + 4 {
            let above = high(decay_of_membrane(dynamics.over(100), 0, current)) > ONE;
            assert_eq!(above, current >= 4 * ONE + 2);
            for guess in 99..=101 {
                let found = spiking.beside(Arrays, guess, (0, current));
                assert_eq!(found, above.then_some(100), "{current}, guess {guess}");
            }
            assert_eq!(spiking.beside(Arrays, 98, (0, current)), None);
        }
    }

    proptest! {
        /// Where a crossing is seen without a walk, the walk finds the same one: also where a membrane rises
        /// a few units above threshold, comes back, and is lifted by a spike.
        #[test]
        fn an_easy_crossing_is_the_only_one(
            v0 in prop_oneof![ONE - 100..=ONE, -ONE..=ONE],
            i0 in prop_oneof![ONE..ONE + ONE / 8, -ONE..20 * ONE],
            w in -2 * ONE..8 * ONE,
            offset in 0u16..=256,
            tau_m in 2.0..100.0f64,
        ) {
            let mut ticks = [Coefficients::default(); 257];
            tables::fill(&mut ticks, 1.0, tau_m, 5.0).unwrap();
            let mut runs = [Coefficients::default(); tables::run_entries(1)];
            tables::fill_runs(&mut runs, 1.0, tau_m, 5.0);
            let peaks = tables::peaks(1.0, tau_m, 5.0);
            let tables = Tables { ticks: &ticks, runs: &runs, peaks: &peaks };
            let dynamics = Dynamics::new(Scheme::Exact, tables, 8, 0).unwrap();
            let (mut events, mut slopes, mut errors, mut ends) =
                ([Event::default(); 8], [0; 8], [0; 8], [0; 1]);
            let mut log = EventLog::new(&mut events, &mut slopes, &mut errors, &mut ends);
            let mut spiking = Spiking {
                vectors: Arrays,
                dynamics: &dynamics,
                weights: &[w],
                arrivals: &[Event { neuron: 0, offset }],
                neurons: 1,
                log: &mut log,
                statistics: &mut Statistics::default(),
            };
            let terms = [spiking.term(&spiking.arrivals[0])];
            let run = Run::new(&dynamics, 0, 0);
            let end = spiking.sums(&run, &terms, 0, (v0, i0));
            let (v1, i1) = (end.membrane as i32, end.current as i32);
            if v1 > ONE
                && let Some((tick, slope)) =
                    spiking.only_crossing_of((w, offset.into()), (v0, i0), (v1, i1))
            {
                spiking.walk(0, (v0, i0), v1).unwrap();
                log.end_step().unwrap();
                let found = log.step_mut(0);
                let expected = Event { neuron: 0, offset: tick as u16 };
                prop_assert_eq!((found.events, found.slopes), (&[expected][..], &[slope][..]));
            }
        }
    }
}
