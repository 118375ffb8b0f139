//! Forward kernels: leaky integrate-and-fire neurons over one time step.
//!
//! Continuous form, per neuron: `tau_m V' = -V + I`, `tau_s I' = -I`; an arriving spike adds its
//! weight to I; at V > 1 the neuron emits a spike and V starts again from V − 1.

use core::ops::Range;

use crate::log::{Event, EventLog, LogFull, bits};
use crate::numeric::{
    ARRIVALS_PER_FOLD, Fits, HALF, ONE, STATE_LIMIT, Statistics, WEIGHT_LIMIT, decay, saturate,
    saturate_short, scale,
};
use crate::state::{Advanced, Decay, Listed, Neurons, PARKED, whole_vectors};
use crate::tables::{self, Coefficients, Dynamics, RUN_FRACTION, Scheme};
use crate::vector::{Single, Vectors};

mod groups;

/// Upper bound of the spikes that one neuron may be allowed in one step.
pub const MAX_SPIKES_PER_STEP: usize = 8;

/// Arrivals of a step that are put into the order of time for one neuron.
const MOST_IN_ORDER: usize = 8 * ARRIVALS_PER_FOLD;

/// Largest magnitude of a current within a step: a state and [`ARRIVALS_PER_FOLD`] weights. More of them may
/// saturate there, which is counted.
const WALK_LIMIT: i32 = STATE_LIMIT + ARRIVALS_PER_FOLD as i32 * WEIGHT_LIMIT;

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
pub fn forward_step<V: Vectors>(
    vectors: V,
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
        spiking: Spiking {
            vectors,
            dynamics,
            weights,
            arrivals,
            neurons: neurons.len(),
            log,
            statistics,
        },
        neurons,
    };
    match (dynamics.scheme(), arrivals.is_empty()) {
        (Scheme::Exact, true) => step.rise(index),
        (Scheme::Exact, false) => step.arrive(index),
        (Scheme::Grid, _) => {
            step.neurons.wake();
            step.all_on_grid()
        }
    }
}

/// One forward step under way.
struct Step<'a, 't, 'm, 'n, V> {
    spiking: Spiking<'a, 't, 'm, V>,
    neurons: &'a mut Neurons<'n>,
}

/// What lets neurons spike in a step, and where their spikes go: all but the neurons.
struct Spiking<'a, 't, 'm, V> {
    vectors: V,
    dynamics: &'a Dynamics<'t>,
    weights: &'a [i32],
    arrivals: &'a [Event],
    /// How many there are.
    neurons: usize,
    log: &'a mut EventLog<'m>,
    statistics: &'a mut Statistics,
}

impl<V: Vectors> Step<'_, '_, '_, '_, V> {
    /// Advances the neurons that may rise above threshold by a step without arrivals; those that no
    /// longer may are left at its end. From the end of the list to its front, so that whoever takes the
    /// place of one that is left has been advanced already.
    #[inline(always)]
    fn rise(&mut self, step: usize) -> Result<(), LogFull> {
        if V::LANES == 1 {
            self.rise_one_by_one(step, 0..self.neurons.rising())
        } else {
            self.rise_in_groups(step)
        }
    }

    /// As [`rise`](Self::rise), for those at some places of the list.
    #[inline(always)]
    fn rise_one_by_one(&mut self, step: usize, places: Range<usize>) -> Result<(), LogFull> {
        let decay = Decay::forward(self.spiking.dynamics.step());
        let mut end = places.end;
        while let Some(advanced) = self.neurons.advance(&decay, places.start..end) {
            let Advanced {
                place,
                before: (v0, i0),
                after: (mut v, i),
            } = advanced;
            end = place;
            let mut falls = i <= v;
            // One that rises was below before.
            if self.spiking.dynamics.peaks().may_have_been_above(v, i) {
                let neuron = self.neurons.at(place).neuron;
                v = self.spiking.cross(neuron, (v0, i0), (v, i))?;
                self.neurons.put_at(place, v, i);
                falls = !self.spiking.dynamics.may_rise(v, i);
            }
            if falls {
                self.neurons.leave_at(place, step + 1);
            }
        }
        Ok(())
    }

    /// Advances all neurons to the end of a step in which spikes arrive, each from where it stands.
    #[inline(always)]
    fn arrive(&mut self, step: usize) -> Result<(), LogFull> {
        if self.neurons.wake_at(step) {
            self.neurons.clear();
        }
        let few_arrivals = self.spiking.arrivals.len() <= ARRIVALS_PER_FOLD;
        if V::LANES > 1 && self.neurons.len() < V::LANES && few_arrivals {
            self.arrive_at_few(step)?;
        } else {
            self.arrive_at_many(step)?;
        }
        self.neurons.stand_at(step + 1);
        self.neurons.all_rise();
        Ok(())
    }

    /// As [`arrive`](Self::arrive), of any number of neurons.
    #[inline(always)]
    fn arrive_at_many(&mut self, step: usize) -> Result<(), LogFull> {
        // What the arrivals do, if they are few: looked up once for all neurons.
        let mut terms = [Term::default(); ARRIVALS_PER_FOLD];
        for (term, arrival) in terms.iter_mut().zip(self.spiking.arrivals) {
            *term = self.spiking.term(arrival);
        }
        let terms = &terms[..self.spiking.arrivals.len().min(ARRIVALS_PER_FOLD)];
        let run = Run::new(self.spiking.dynamics, self.neurons.base(), step);
        if V::LANES == 1 {
            self.arrive_one_by_one(step, &run, terms)
        } else {
            self.arrive_in_groups(step, &run, terms)
        }
    }

    /// As [`arrive`](Self::arrive). `run` takes those that are not on the list to the end of the step.
    #[inline(always)]
    fn arrive_one_by_one(&mut self, step: usize, run: &Run, terms: &[Term]) -> Result<(), LogFull> {
        let (len, listed) = (self.neurons.len(), self.neurons.listed());
        let mut neuron = 0;
        while neuron < len {
            if let [term] = terms {
                neuron += self.run_with_one_arrival(&run.to_end, term, neuron, len);
                if neuron == len {
                    break;
                }
            }
            self.arrive_at(run, terms, neuron)?;
            neuron += 1;
        }
        self.arrive_on_list(step, terms, listed)
    }

    /// Advances the neurons that were on the list to the end of a step in which spikes arrive, and lets stand with
    /// the others who may not rise.
    #[inline(always)]
    fn arrive_on_list(
        &mut self,
        step: usize,
        terms: &[Term],
        listed: usize,
    ) -> Result<(), LogFull> {
        for place in (0..listed).rev() {
            let listed = self.neurons.at(place);
            let run = Run::new(
                self.spiking.dynamics,
                self.stands_at(place, &listed, step),
                step,
            );
            let (neuron, state) = (listed.neuron, (listed.membrane, listed.current));
            let (v, i) = self.spiking.settle_at(&run, terms, neuron, state)?;
            if self.spiking.dynamics.may_rise(v, i) {
                self.neurons.put_again(place, neuron, v, i);
            } else {
                self.neurons.put_back(place, neuron, v, i);
            }
        }
        Ok(())
    }

    /// Boundary at which the state of a neuron on the list stands.
    #[inline(always)]
    fn stands_at(&self, place: usize, listed: &Listed, step: usize) -> usize {
        if place < self.neurons.rising() {
            step
        } else {
            listed.boundary
        }
    }

    /// Advances a neuron that is not on the list, and lists it if it may rise.
    #[inline(always)]
    fn arrive_at(&mut self, run: &Run, terms: &[Term], neuron: usize) -> Result<(), LogFull> {
        let state = (self.neurons.membrane[neuron], self.neurons.current[neuron]);
        if state.0 == PARKED {
            return Ok(());
        }
        let (v, i) = self.spiking.settle_at(run, terms, neuron, state)?;
        if self.spiking.dynamics.may_rise(v, i) {
            self.neurons.put_on_list(neuron, v, i);
        } else {
            self.neurons.put_among_others(neuron, v, i);
        }
        Ok(())
    }

    /// As [`arrive_at`](Self::arrive_at), for the usual case of one arrival: neuron by neuron from
    /// `first` up to `end`, until one may have been above threshold or saturates, which is left as it was.
    /// Returns how many neurons were advanced.
    #[inline(never)]
    fn run_with_one_arrival(
        &mut self,
        run: &Coefficients,
        term: &Term,
        first: usize,
        end: usize,
    ) -> usize {
        let Coefficients {
            current_decay: es,
            membrane_decay: em,
            current_to_membrane: kf,
            ..
        } = *run;
        let Term {
            row,
            current: left_es,
            membrane: left_kf,
        } = *term;
        let peaks = self.spiking.dynamics.peaks();
        let (membrane, current, mut list) = self.neurons.with_list();
        // (As chunks of one, for which the compiler keeps a single index, and no other end in a register.)
        let (w, _) = self.spiking.weights[row + first..row + end].as_chunks::<1>();
        let (v, _) = membrane[first..end].as_chunks_mut::<1>();
        let (i, _) = current[first..end].as_chunks_mut::<1>();
        // As in [`Sums`].
        let product =
            |value: i32, coefficient: i32| i64::from(value).wrapping_mul(coefficient.into());
        let mut neuron = first;
        for (([v], [i]), [w]) in v.iter_mut().zip(i).zip(w) {
            let (v0, i0, w) = (*v, *i, *w);
            let (twice_v, twice_i) = (v0.wrapping_mul(2), i0.wrapping_mul(2));
            let dv = product(twice_v, em)
                .plus(product(twice_i, kf))
                .plus(product(w, left_kf));
            let di = product(twice_i, es).plus(product(w, left_es));
            let v1 = v0.plus(high(dv));
            let i1 = i0.plus(w).plus(high(di));
            // Before the arrival it was not above threshold, or it were on the list.
            if peaks.may_have_been_above(v1, i1) || outside(v1, i1) {
                break;
            }
            (*v, *i) = (v1, i1);
            // (A loop of one round at most: of two conditions, a compiler would ask the cheaper one first, which
            // nearly all meet.)
            for _ in 0..u32::from(peaks.may_rise(v1, i1)) {
                if v0 != PARKED {
                    *v = PARKED;
                    list.push(neuron, v1, i1);
                }
            }
            neuron += 1;
        }
        neuron - first
    }

    /// Advances all neurons on the time grid.
    #[inline(always)]
    fn all_on_grid(&mut self) -> Result<(), LogFull> {
        let len = self.neurons.len();
        let mut whole = 0;
        if self.spiking.arrivals.len() <= ARRIVALS_PER_FOLD {
            whole = whole_vectors::<V>(len);
            for first in (0..whole).step_by(V::LANES) {
                self.vector_on_grid(first)?;
            }
        }
        for neuron in whole..len {
            self.one_on_grid(neuron)?;
        }
        Ok(())
    }

    /// Advances a neuron: `I1 = a I0 + Σ w`, `V1 = b V0 + (1 - b) I1`.
    #[inline(always)]
    fn one_on_grid(&mut self, neuron: usize) -> Result<(), LogFull> {
        let full = self.spiking.dynamics.step();
        let (v0, i0) = (self.neurons.membrane[neuron], self.neurons.current[neuron]);
        let mut i1 = i0.plus(scale(i0, full.current_decay));
        if !self.spiking.arrivals.is_empty() {
            let mut whole = i64::from(i1);
            for arrival in self.spiking.arrivals {
                whole = whole.plus(self.spiking.weight(arrival, neuron).into());
            }
            i1 = saturate(whole, STATE_LIMIT, &mut self.spiking.statistics.saturations);
        }
        // V1 lies between V0 and I1, each at most 2^29.
        let mut v1 = v0.plus(scale(v0.less(i1), full.membrane_decay));
        if v1 > ONE {
            self.spiking.spike(neuron, 0, i1.less(v1))?;
            v1 = 0;
        }
        self.neurons.put_among_others(neuron, v1, i1);
        Ok(())
    }

    /// As [`one_on_grid`](Self::one_on_grid), for a vector of neurons from `first` on, in a step with no more
    /// arrivals than [`ARRIVALS_PER_FOLD`]: 32 weights of 2^25 and a current of 2^29 fit a word.
    #[inline(always)]
    fn vector_on_grid(&mut self, first: usize) -> Result<(), LogFull> {
        let (x, full) = (self.spiking.vectors, self.spiking.dynamics.step());
        let v0 = x.load(&self.neurons.membrane[first..]);
        let i0 = x.load(&self.neurons.current[first..]);
        let scaled = |words, factor| x.rounded(x.product(words, x.all(factor)));
        let mut i1 = x.add(i0, scaled(i0, full.current_decay));
        for arrival in self.spiking.arrivals {
            let row = usize::from(arrival.neuron) * self.neurons.len();
            i1 = x.add(i1, x.load(&self.spiking.weights[row + first..]));
        }
        let too_large = x.greater(i1, x.all(STATE_LIMIT));
        let too_small = x.greater(x.all(-STATE_LIMIT), i1);
        if x.signs(x.or(too_large, too_small)) != 0 {
            return (first..first + V::LANES).try_for_each(|neuron| self.one_on_grid(neuron));
        }
        let v1 = x.add(v0, scaled(x.subtract(v0, i1), full.membrane_decay));
        x.store(v1, &mut self.neurons.membrane[first..]);
        x.store(i1, &mut self.neurons.current[first..]);
        for lane in bits(x.signs(x.greater(v1, x.all(ONE))).into()) {
            let neuron = first + lane;
            let (v, i) = (self.neurons.membrane[neuron], self.neurons.current[neuron]);
            self.spiking.spike(neuron, 0, i.less(v))?;
            self.neurons.membrane[neuron] = 0;
        }
        Ok(())
    }
}

impl<V: Vectors> Spiking<'_, '_, '_, V> {
    /// `em V0 + kf I0 + Σ w kf[Q-f]` and `es I0 + Σ w es[Q-f]`, where `run` takes the state to the end of
    /// the step; each the exact sum, rounded once. `terms` are those of all arrivals, if
    /// they are no more than [`ARRIVALS_PER_FOLD`].
    #[inline(always)]
    fn sums(&self, run: &Run, terms: &[Term], neuron: usize, state: (i32, i32)) -> Arrived {
        let mut sums = Sums::begin(&run.to_end, state);
        let weight = |term: &Term| self.weights[term.row.wrapping_add(neuron)];
        if self.arrivals.len() <= ARRIVALS_PER_FOLD {
            for term in terms {
                sums.add(term, weight(term));
            }
        } else {
            for arrivals in self.arrivals.chunks(ARRIVALS_PER_FOLD) {
                for arrival in arrivals {
                    let term = self.term(arrival);
                    sums.add(&term, weight(&term));
                }
                sums.fold();
            }
        }
        sums.rounded()
    }

    /// What an arrival does.
    #[inline(always)]
    fn term(&self, arrival: &Event) -> Term {
        Term::new(self.dynamics, arrival, self.neurons)
    }

    /// The state of a neuron at the end of a step with arrivals, limited; emits its spikes. `state` is what it is
    /// where `run` starts.
    #[inline(always)]
    fn settle_at(
        &mut self,
        run: &Run,
        terms: &[Term],
        neuron: usize,
        state: (i32, i32),
    ) -> Result<(i32, i32), LogFull> {
        let end = self.sums(run, terms, neuron, state);
        if end.is_settled(self.dynamics) {
            return Ok((end.membrane as i32, end.current as i32));
        }
        self.settle(run, neuron, state, (end.membrane, end.current))
    }

    /// Limits the state of a neuron at the end of a step with arrivals, and emits its spikes; returns the
    /// state. `state` is what it was where `run` starts. For a neuron that may saturate or may have been above
    /// threshold.
    #[cold]
    #[inline(never)]
    fn settle(
        &mut self,
        run: &Run,
        neuron: usize,
        (v0, i0): (i32, i32),
        (v1, i1): (i64, i64),
    ) -> Result<(i32, i32), LogFull> {
        let v1 = saturate(v1, STATE_LIMIT, &mut self.statistics.saturations);
        let i1 = saturate(i1, STATE_LIMIT, &mut self.statistics.saturations);
        let mut composed = Coefficients::default();
        let before = self.dynamics.over_steps(run.steps - 1, &mut composed);
        let ([v0], [i0]) = Decay::forward(before).apply::<RUN_FRACTION, _>(Single, [v0], [i0]);
        if v1 <= ONE && !self.may_cross(neuron, (v0, i0)) {
            return Ok((v1, i1));
        }
        let v_end = match self.arrivals {
            [arrival] if V::LANES > 1 && v1 > ONE => {
                let arriving = (self.weight(arrival, neuron), arrival.offset.into());
                self.cross_once(neuron, arriving, (v0, i0), (v1, i1))?
            }
            _ => self.walk(neuron, (v0, i0), v1)?,
        };
        Ok((v_end, i1))
    }

    /// Whether a neuron may be above threshold within a step with arrivals: whether the sum of all that raises its
    /// membrane up to the end of the step is. (What a current adds to the membrane grows over a step.)
    ///
    /// "No" is certain.
    #[inline(always)]
    fn may_cross(&self, neuron: usize, (v0, i0): (i32, i32)) -> bool {
        // Rounded up, however many arrive.
        let product = |value: i32, over: &Coefficients| {
            let value = i64::from(value.max(0));
            (value.wrapping_mul(over.current_to_membrane.into()) >> 32).plus(1)
        };
        let mut bound = i64::from(v0.max(0)).plus(product(i0, self.dynamics.step()));
        for arrival in self.arrivals {
            let w = self.weight(arrival, neuron);
            bound = bound.plus(product(w, self.dynamics.left(arrival)));
        }
        bound > i64::from(ONE - tables::ROUNDINGS)
    }

    /// Emits the spikes of a neuron in a step without arrivals, in which it may have been above threshold, and
    /// returns the membrane at its end. `before` and `after` are the states at both ends.
    #[inline(always)]
    fn cross(
        &mut self,
        neuron: usize,
        (v0, i0): (i32, i32),
        (v1, i1): (i32, i32),
    ) -> Result<i32, LogFull> {
        let ticks = self.dynamics.ticks();
        let above = |tick| {
            let over = self.dynamics.over(tick);
            v0.plus(high(decay_of_membrane(over, v0, i0))) > ONE
        };
        // Nearly always the guess is at most one tick off, and the neuron spikes once.
        let mut tick = None;
        if v1 > ONE && ticks >= 4 {
            let (before, after) = (([v0], [i0]), ([v1], [i1]));
            let [guess] = self.dynamics.guess(Single, 0..ticks, before, after);
            let guess = guess as usize;
            tick = if !above(guess) {
                above(guess + 1).then_some(guess + 1)
            } else if !above(guess - 1) {
                Some(guess)
            } else {
                (!above(guess - 2)).then_some(guess - 1)
            };
        }
        if let Some(tick) = tick {
            let left = self.dynamics.over(ticks - tick).membrane_decay;
            let v_end = v1.less(decay(ONE, left));
            if v_end <= ONE {
                // A current is at most 2^29.
                let slope = decay(i0, self.dynamics.over(tick).current_decay).less(ONE);
                let slope = saturate_short(slope, STATE_LIMIT, &mut self.statistics.saturations);
                self.spike(neuron, tick, slope)?;
                return Ok(v_end);
            }
        }
        self.walk(neuron, (v0, i0), v1)
    }

    /// Emits the spikes of a neuron in a step: one at each first tick at which its membrane is above threshold.
    /// Returns the membrane at the end of the step. `v1` is what it would be there without a spike.
    ///
    /// Goes from arrival to arrival. Between two of them the membrane has at most one maximum: where the current
    /// has fallen to it.
    #[cold]
    #[inline(never)]
    fn walk(&mut self, neuron: usize, (mut v, i0): (i32, i32), v1: i32) -> Result<i32, LogFull> {
        let ticks = self.dynamics.ticks();
        let (mut at, mut i, mut v_end) = (0, i64::from(i0), v1);
        let mut count = 0;
        // On a PE there is no code memory for it, and few spikes arrive.
        let in_order = V::LANES > 1 && self.arrivals.len() <= MOST_IN_ORDER;
        let (mut few, mut many);
        let mut keys: &[u64] = if !in_order {
            &[]
        } else if self.arrivals.len() <= ARRIVALS_PER_FOLD {
            few = [0; ARRIVALS_PER_FOLD];
            self.in_order(neuron, &mut few)
        } else {
            many = [0; MOST_IN_ORDER];
            self.in_order(neuron, &mut many)
        };
        // A spike at the last tick leaves no tick to spike again.
        while at < ticks {
            let (arrived, until) = if in_order {
                next_in_order(&mut keys, at, ticks)
            } else {
                self.arrivals_at(neuron, at)
            };
            let saturations = &mut self.statistics.saturations;
            let start = (v, saturate(i.plus(arrived), WALK_LIMIT, saturations));
            let length = until - at;
            let (mut v_until, i_until) = self.state_after(length, start);
            if until == ticks {
                v_until = v_end;
            }
            let end = (v_until, i_until);
            // Most only rise to a value below the threshold, or fall.
            let rises = start.1 > start.0;
            let above = if v_until > ONE {
                Some((length, v_until))
            } else if rises && i_until < v_until {
                self.find_above(start, length, end)
            } else {
                None
            };
            let Some(above) = above else {
                (at, v, i) = (until, v_until, i_until.into());
                continue;
            };
            if count == self.dynamics.spikes_per_step() {
                self.statistics.suppressed_spikes += 1;
                break;
            }
            let (tick, v_tick) = crossing((0, v), above, |tick| self.state_after(tick, start).0);
            let (_, i_tick) = self.state_after(tick, start);
            let slope = i64::from(i_tick.less(ONE));
            let slope = saturate(slope, STATE_LIMIT, &mut self.statistics.saturations);
            at += tick;
            self.spike(neuron, at, slope)?;
            count += 1;
            (v, i) = (v_tick.less(ONE), i_tick.into());
            v_end = v_end.less(decay(ONE, self.dynamics.over(ticks - at).membrane_decay));
        }
        Ok(v_end)
    }

    /// A tick between two at which a neuron left to itself rises, and falls, below the threshold, where it is above,
    /// and its membrane there; `None` if there is none. `end` is its state after `length` ticks.
    #[inline(always)]
    fn find_above(
        &self,
        start: (i32, i32),
        length: usize,
        end: (i32, i32),
    ) -> Option<(usize, i32)> {
        if !self.dynamics.may_peak_above(start, length, end) {
            return None;
        }
        // The maximum lies between a tick at which it rises and one at which it falls.
        let (mut rises, mut falls) = (0, length);
        while falls - rises > 1 {
            let middle = usize::midpoint(rises, falls);
            let (v, i) = self.state_after(middle, start);
            if v > ONE {
                return Some((middle, v));
            }
            if i > v {
                rises = middle;
            } else {
                falls = middle;
            }
        }
        None
    }

    /// The state of a neuron left to itself, after so many ticks of a step.
    #[inline(always)]
    fn state_after(&self, ticks: usize, (v, i): (i32, i32)) -> (i32, i32) {
        // Within [`WALK_LIMIT`] the sum of both products is below 2^63, and the membrane stays between itself
        // and the current.
        let over = self.dynamics.over(ticks);
        let v_after = v.plus(high(decay_of_membrane(over, v, i)));
        (v_after, decay(i, over.current_decay))
    }

    /// The arrivals in the order of time: their offsets, and below these their weights.
    #[inline(always)]
    fn in_order<'k>(&self, neuron: usize, keys: &'k mut [u64]) -> &'k [u64] {
        let keys = &mut keys[..self.arrivals.len()];
        for (key, arrival) in keys.iter_mut().zip(self.arrivals) {
            let weight = self.weight(arrival, neuron).cast_unsigned();
            *key = u64::from(arrival.offset) << 32 | u64::from(weight);
        }
        keys.sort_unstable();
        keys
    }

    /// The sum of the weights that arrive at a neuron at a tick, and when the next ones do, or the step ends.
    #[inline(always)]
    fn arrivals_at(&self, neuron: usize, at: usize) -> (i64, usize) {
        let (mut sum, mut next) = (0i64, self.dynamics.ticks());
        for arrival in self.arrivals {
            let offset = usize::from(arrival.offset);
            if offset == at {
                sum = sum.plus(self.weight(arrival, neuron).into());
            } else if offset > at {
                next = next.min(offset);
            }
        }
        (sum, next)
    }

    #[inline(always)]
    fn weight(&self, arrival: &Event, neuron: usize) -> i32 {
        // Both are at most 2^12: nothing wraps.
        let row = usize::from(arrival.neuron).wrapping_mul(self.neurons);
        self.weights[row.wrapping_add(neuron)]
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

/// As [`Spiking::arrivals_at`]; takes them from the front of `keys`.
#[inline(always)]
fn next_in_order(keys: &mut &[u64], at: usize, ticks: usize) -> (i64, usize) {
    let mut sum = 0i64;
    while let [key, later @ ..] = *keys {
        let offset = (key >> 32) as usize;
        if offset > at {
            return (sum, offset);
        }
        sum = sum.plus((*key as i32).into());
        *keys = later;
    }
    (sum, ticks)
}

/// What an arrival does to the neurons of a layer, up to the end of its step.
#[derive(Clone, Copy, Default)]
struct Term {
    /// Where the weights of its source start.
    row: usize,
    /// Decay of the current.
    current: i32,
    /// What the current adds to the membrane.
    membrane: i32,
}

impl Term {
    /// What an arrival does to a layer of so many neurons.
    #[inline(always)]
    fn new(dynamics: &Dynamics<'_>, arrival: &Event, neurons: usize) -> Self {
        let left = dynamics.left(arrival);
        Self {
            // At most 2^12 each.
            row: usize::from(arrival.neuron).wrapping_mul(neurons),
            current: left.current_decay,
            membrane: left.current_to_membrane,
        }
    }
}

/// `em V0 + kf I0 - V0` over ticks, with 32 more fraction bits.
#[inline(always)]
fn decay_of_membrane(over: &Coefficients, v0: i32, i0: i32) -> i64 {
    // States are at most 2^29, coefficients 2^31.
    let membrane = i64::from(v0).wrapping_mul(i64::from(over.membrane_decay));
    membrane.plus(i64::from(i0).wrapping_mul(i64::from(over.current_to_membrane)))
}

/// Sums of products with 32 more fraction bits, and their whole part.
struct Sums {
    membrane: i64,
    current: i64,
    fraction_membrane: i64,
    fraction_current: i64,
    /// All positive weights.
    positive: i64,
}

/// What [`Sums`] come to, rounded: a neuron at the end of a step, before its limits and its spikes.
#[derive(Clone, Copy)]
struct Arrived {
    membrane: i64,
    current: i64,
    /// Sum of the positive weights that have arrived.
    positive: i64,
}

impl Arrived {
    /// Whether the neuron is within the limits of a state, and was not above threshold in the step.
    #[inline(always)]
    fn is_settled(&self, dynamics: &Dynamics<'_>) -> bool {
        let (v, i) = (self.membrane as i32, self.current as i32);
        // Of 32 arrivals at most, it fits where the current does.
        let before = self.current.less(self.positive);
        let fits = (i64::from(v) == self.membrane)
            & (i64::from(i) == self.current)
            & (i64::from(before as i32) == before);
        fits & !outside(v, i) && !dynamics.peaks().may_have_been_above(v, before as i32)
    }
}

impl Sums {
    /// The state over a free run.
    #[inline(always)]
    fn begin(run: &Coefficients, (v0, i0): (i32, i32)) -> Self {
        // States are at most 2^29 (or parked, not much below), coefficients 2^31, with one fraction bit less
        // than 32: a sum of two products is at most 2^62.
        let twice = |value: i32| i64::from(value.wrapping_mul(2));
        let (v, i) = (twice(v0), twice(i0));
        Self {
            membrane: v0.into(),
            current: i0.into(),
            fraction_membrane: v
                .wrapping_mul(run.membrane_decay.into())
                .plus(i.wrapping_mul(run.current_to_membrane.into())),
            fraction_current: i.wrapping_mul(run.current_decay.into()),
            positive: 0,
        }
    }

    /// Adds an arrival: at most [`ARRIVALS_PER_FOLD`] before the next [`fold`](Self::fold).
    #[inline(always)]
    fn add(&mut self, term: &Term, weight: i32) {
        // At most 32 products of 2^25 with 2^31 beside those of the state: below 2^63.
        let w = i64::from(weight);
        let product = |coefficient: i32| w.wrapping_mul(coefficient.into());
        self.fraction_current = self.fraction_current.plus(product(term.current));
        self.fraction_membrane = self.fraction_membrane.plus(product(term.membrane));
        self.current = self.current.plus(w);
        self.positive = self.positive.plus(w.max(0));
    }

    /// Adds the whole part of the products to the whole numbers.
    #[inline(always)]
    fn fold(&mut self) {
        self.current = self.current.plus(self.fraction_current >> 32);
        self.membrane = self.membrane.plus(self.fraction_membrane >> 32);
        self.fraction_current &= 0xFFFF_FFFF;
        self.fraction_membrane &= 0xFFFF_FFFF;
    }

    /// What they come to.
    #[inline(always)]
    fn rounded(self) -> Arrived {
        let round = |fraction: i64| fraction.plus(HALF) >> 32;
        Arrived {
            membrane: self.membrane.plus(round(self.fraction_membrane)),
            current: self.current.plus(round(self.fraction_current)),
            positive: self.positive,
        }
    }
}

/// The way of a neuron's state to the end of a step.
struct Run {
    steps: usize,
    to_end: Coefficients,
}

impl Run {
    /// From a boundary to the end of `step`.
    #[inline(always)]
    fn new(dynamics: &Dynamics<'_>, from: usize, step: usize) -> Self {
        let steps = step + 1 - from;
        let mut composed = Coefficients::default();
        Self {
            steps,
            to_end: *dynamics.over_steps(steps, &mut composed),
        }
    }
}

/// Whether a state may be beyond its limits.
#[inline(always)]
fn outside(v: i32, i: i32) -> bool {
    // A sum from 0 to 2^30 - 1 has neither of the two upper bits.
    let above_lower = |x: i32| x.wrapping_add(STATE_LIMIT).cast_unsigned();
    (above_lower(v) | above_lower(i)) >> 30 != 0
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

/// The high word of a sum of products (below 2^63 by at least [`HALF`]), rounded.
#[inline(always)]
pub(crate) fn high(sum: i64) -> i32 {
    (sum.plus(HALF) >> 32) as i32
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::numeric::WEIGHT_LIMIT;
    use crate::state::{Activity, scratch_len};
    use crate::tables::{Coefficients, PEAKS, Peak, Tables};
    use crate::vector::Arrays;

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
            1..300,
        )
    }

    proptest! {
        /// Whatever the number of arrivals, the state after a step is the exact sum, rounded and
        /// limited once. Weights and states are negative, so that nobody spikes.
        #[test]
        fn a_step_is_exact_and_rounded_once(
            arrivals in arrivals(),
            // Some sums of them go around a word and come back to where a state may be.
            weights in prop_oneof![
                prop::collection::vec(-WEIGHT_LIMIT..=0, 50 * NEURONS),
                prop::collection::vec(Just(-WEIGHT_LIMIT), 50 * NEURONS),
            ],
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
            neurons.wake_at(0);
            let mut log = EventLog::new(&mut [], &mut [], &mut [], &mut []);
            let mut statistics = Statistics::NEW;
            forward_step(Arrays, &dynamics, &weights, &arrivals, &mut neurons, &mut log, &mut statistics)
                .unwrap();

            let product = |value: i32, coefficient: i32| i128::from(value) * i128::from(coefficient);
            let mut saturations = 0;
            let mut finish = |sum: i128| {
                let rounded = (sum + i128::from(HALF)) >> 32;
                let limited = rounded.max(-i128::from(STATE_LIMIT));
                saturations += u64::from(limited != rounded);
                limited as i32
            };
            let full = tables.runs[1];
            for n in 0..NEURONS {
                let (v0, i0) = (states[n], states[NEURONS + n]);
                let mut current = (i128::from(i0) << 32) + 2 * product(i0, full.current_decay);
                let mut membrane = (i128::from(v0) << 32)
                    + 2 * product(v0, full.membrane_decay)
                    + 2 * product(i0, full.current_to_membrane);
                for arrival in &arrivals {
                    let w = weights[usize::from(arrival.neuron) * NEURONS + n];
                    let left = tables.ticks[TICKS - usize::from(arrival.offset)];
                    current += (i128::from(w) << 32) + product(w, left.current_decay);
                    membrane += product(w, left.current_to_membrane);
                }
                prop_assert_eq!(i[n], finish(current));
                prop_assert_eq!(v[n], finish(membrane));
            }
            // More than 32 may leave the range within the step, too.
            let within = arrivals.len() > ARRIVALS_PER_FOLD && statistics.saturations > saturations;
            prop_assert!(within || statistics.saturations == saturations);
        }
    }

    /// The first crossing of a strongly driven neuron, and those behind it, are at the ticks where a
    /// scan of all ticks finds them.
    #[test]
    fn crossings_are_found_at_their_ticks() {
        let tables = OwnTables::new(256, 1);
        let dynamics = tables.dynamics(MAX_SPIKES_PER_STEP);
        for drive in [25, 40, 64, 90, 130] {
            let (mut v, mut i) = ([0], [0]);
            let mut scratch = [0; scratch_len(1)];
            let mut neurons = Neurons {
                membrane: &mut v,
                current: &mut i,
                scratch: &mut scratch,
                activity: Activity::ASLEEP,
            };
            neurons.wake_at(0);
            neurons.put_on_list(0, ONE / 2, drive * ONE);
            neurons.all_rise();
            let (mut events, mut slopes, mut errors, mut ends) =
                ([Event::default(); 8], [0; 8], [0; 8], [0; 1]);
            let mut log = EventLog::new(&mut events, &mut slopes, &mut errors, &mut ends);
            let mut statistics = Statistics::NEW;
            forward_step(
                Arrays,
                &dynamics,
                &[],
                &[],
                &mut neurons,
                &mut log,
                &mut statistics,
            )
            .unwrap();

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

    /// What a layer of [`NEURONS`] spikes over some steps: events by step, sorted. `None` if a neuron would spike
    /// more often in a step than it may.
    fn spikes<V: Vectors>(
        vectors: V,
        dynamics: &Dynamics<'_>,
        weights: &[i32],
        arrivals: &[Vec<Event>],
    ) -> Option<Vec<Vec<(u16, u16)>>> {
        let most = 8 * NEURONS * arrivals.len();
        let (mut v, mut i) = ([0; NEURONS], [0; NEURONS]);
        let mut scratch = [0; scratch_len(NEURONS)];
        let mut neurons = Neurons::reset(&mut v, &mut i, &mut scratch);
        let mut events = vec![Event::default(); most];
        let (mut slopes, mut errors) = (vec![0; most], vec![0; most]);
        let mut ends = vec![0; arrivals.len()];
        let mut log = EventLog::new(&mut events, &mut slopes, &mut errors, &mut ends);
        let mut statistics = Statistics::NEW;
        for now in arrivals {
            let step = (&mut neurons, &mut log, &mut statistics);
            forward_step(vectors, dynamics, weights, now, step.0, step.1, step.2).unwrap();
            log.end_step().unwrap();
        }
        let steps = 0..arrivals.len();
        let sorted = steps.map(|step| {
            let events = log.events(step).iter();
            let mut spikes: Vec<_> = events.map(|event| (event.neuron, event.offset)).collect();
            spikes.sort_unstable();
            spikes
        });
        (statistics.suppressed_spikes == 0).then(|| sorted.collect())
    }

    /// Decay of membrane and current over a time, and what the current adds to the membrane.
    fn factors(h: f64, tau_m: f64, tau_s: f64) -> (f64, f64, f64) {
        let (em, es) = (libm::exp(-h / tau_m), libm::exp(-h / tau_s));
        let apart = (tau_m - tau_s).abs() > 1e-6;
        let coupling = if apart {
            tau_s / (tau_m - tau_s) * (em - es)
        } else {
            h / tau_m * em
        };
        (em, es, coupling)
    }

    /// Runs a layer of [`NEURONS`] with steps of 256 ticks; its spikes must be those at the first ticks at which
    /// membranes are above threshold, as a scan of all ticks in floating point tells, for every kernel.
    fn check_by_scan(
        arrivals: &[Vec<Event>],
        weights: &[i32],
        tau_m: f64,
        tau_s: f64,
    ) -> Result<(), TestCaseError> {
        // The membrane is at the threshold to within what roundings may add up to.
        const CLOSE: f64 = 3e-5;
        let mut ticks = vec![Coefficients::default(); 257];
        tables::fill(&mut ticks, 1.0, tau_m, tau_s).unwrap();
        let mut runs = vec![Coefficients::default(); tables::run_entries(arrivals.len())];
        tables::fill_runs(&mut runs, 1.0, tau_m, tau_s);
        let peaks = tables::peaks(1.0, tau_m, tau_s);
        let tables = Tables {
            ticks: &ticks,
            runs: &runs,
            peaks: &peaks,
        };
        let dynamics = Dynamics::new(Scheme::Exact, tables, 8, 0).unwrap();
        let found = spikes(Arrays, &dynamics, weights, arrivals);
        prop_assert_eq!(&found, &spikes(Single, &dynamics, weights, arrivals));
        let Some(found) = found else { return Ok(()) };

        let (em, es, kf) = factors(1.0 / 256.0, tau_m, tau_s);
        for n in 0..NEURONS {
            let (mut v, mut i) = (0.0, 0.0);
            for (step, now) in arrivals.iter().enumerate() {
                let own = found[step].iter();
                let mut own = own.filter(|spike| usize::from(spike.0) == n).peekable();
                for tick in 0..=256u16 {
                    if tick > 0 {
                        (v, i) = (em * v + kf * i, es * i);
                        let spikes = own.next_if(|spike| spike.1 == tick).is_some();
                        let right = if spikes {
                            v > 1.0 - CLOSE
                        } else {
                            v < 1.0 + CLOSE
                        };
                        prop_assert!(right, "step {step}, neuron {n}, tick {tick}: {v}");
                        v -= f64::from(u8::from(spikes));
                    }
                    for arrival in now.iter().filter(|arrival| arrival.offset == tick) {
                        let w = weights[usize::from(arrival.neuron) * NEURONS + n];
                        i += f64::from(w) / f64::from(ONE);
                    }
                }
                prop_assert!(own.next().is_none());
            }
        }
        Ok(())
    }

    proptest! {
        /// A neuron spikes at the first tick at which its membrane is above threshold, and at no other: between
        /// arrivals, in front of inhibition, behind a reset, in steps that are taken at once.
        #[test]
        fn every_tick_above_threshold_is_a_spike(
            arrivals in prop::collection::vec((0usize..6, 0u16..6, 0u16..=256), 1..24),
            weights in prop::collection::vec(-5 * ONE..6 * ONE, 6 * NEURONS),
            tau_m in 2.0..40.0f64,
            tau_s in 1.5..20.0f64,
        ) {
            // Now and then, several steps apart.
            let by_step: Vec<Vec<Event>> = (0..30).map(|step| {
                let now = arrivals.iter().filter(|arrival| 4 * arrival.0 == step);
                now.map(|&(_, neuron, offset)| Event { neuron, offset }).collect()
            }).collect();
            check_by_scan(&by_step, &weights, tau_m, tau_s)?;
        }

        /// So does one whose membrane comes close to the threshold and falls back, because its current fades or
        /// because it is inhibited: a first spike lifts it, a second one up to the threshold and a little more or
        /// less, and a third one may inhibit it in the same step.
        #[test]
        fn a_graze_is_a_spike(
            first in (0u16..=256, prop::collection::vec(0.0..0.99f64, NEURONS)),
            second in (0usize..8, 0u16..256, prop::collection::vec(-2e-3..8e-3f64, NEURONS)),
            third in (1u16..=256, -20 * ONE..0, any::<bool>()),
            tau_m in 2.0..40.0f64,
            tau_s in 1.5..20.0f64,
        ) {
            let mut by_step = vec![Vec::new(); 30];
            let (step, offset, above) = second;
            let last = third.0.max(offset + 1);
            by_step[0].push(Event { neuron: 0, offset: first.0 });
            by_step[step].push(Event { neuron: 1, offset });
            if third.2 {
                by_step[step].push(Event { neuron: 2, offset: last });
            }
            // One that changes nothing: who does not rise there is taken over several steps at once.
            if step > 1 {
                by_step[step - 1].push(Event { neuron: 3, offset });
            }
            // From the first spike to the second, if they come in this order.
            let between = (256 * step + usize::from(offset)).saturating_sub(first.0.into());
            let highest = (1..20_000).map(|tick| factors(f64::from(tick) / 256.0, tau_m, tau_s).2);
            let lift = highest.fold(0.0, f64::max);
            let mut weights = vec![third.1; 3 * NEURONS];
            weights.extend([0; NEURONS]);
            for n in 0..NEURONS {
                let w = first.1[n] / lift;
                // What is above the threshold by so much, at some time behind the second spike, or at the third.
                let ticks = if third.2 { last - offset..=last - offset } else { 1..=5_000 };
                let enough = ticks.map(|tick| {
                    let since = between as f64 + f64::from(tick);
                    let free = w * factors(since / 256.0, tau_m, tau_s).2;
                    (1.0 + above[n] - free) / factors(f64::from(tick) / 256.0, tau_m, tau_s).2
                }).fold(f64::MAX, f64::min);
                weights[n] = (w * f64::from(ONE)) as i32;
                let limit = f64::from(WEIGHT_LIMIT);
                weights[NEURONS + n] = (enough * f64::from(ONE)).clamp(-limit, limit) as i32;
            }
            check_by_scan(&by_step, &weights, tau_m, tau_s)?;
        }
    }

    proptest! {
        /// Whatever arrives when, a layer spikes as one does whose every neuron is computed in every step
        /// in floating point: a neuron that was left alone would not have spiked.
        #[test]
        fn a_neuron_left_alone_would_not_spike(
            arrivals in prop::collection::vec((0usize..40, 0u16..4, 0u16..256), 1..12),
            mut weights in prop::collection::vec(-2 * ONE..6 * ONE, 4 * NEURONS),
        ) {
            const STEPS: usize = 41;
            // One that changes nothing arrives in the last step: it takes all neurons to its end.
            weights.extend([0; NEURONS]);
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
                let now: Vec<_> = arrivals.iter().copied().chain([(STEPS - 1, 4, 0)]).filter(|a| a.0 == step)
                    .map(|(_, neuron, offset)| Event { neuron, offset }).collect();
                forward_step(Arrays, &dynamics, &weights, &now, &mut neurons, &mut log, &mut statistics).unwrap();
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
            for n in 0..NEURONS {
                let (v, i) = neurons.state_of(n);
                prop_assert!((f64::from(v) / f64::from(ONE) - exact_v[n]).abs() < 1e-4);
                prop_assert!((f64::from(i) / f64::from(ONE) - exact_i[n]).abs() < 1e-4);
            }
        }
    }
}
