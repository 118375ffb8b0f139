//! Forward kernels: leaky integrate-and-fire neurons over one time step.
//!
//! Continuous form, per neuron: `tau_m V' = -V + I`, `tau_s I' = -I`; an arriving spike adds its
//! weight to I; at V > 1 the neuron emits a spike and V starts again from V − 1.

use crate::log::{Event, EventLog, LogFull};
use crate::numeric::{
    ARRIVALS_PER_FOLD, HALF, ONE, STATE_LIMIT, Statistics, Wide, decay, saturate,
};
use crate::tables::{Dynamics, Scheme};

/// Upper bound of the spikes that one neuron may be allowed in one step.
pub const MAX_SPIKES_PER_STEP: usize = 8;

/// Neurons that are computed together: a vector register's worth on the host, one on a Cortex-M4,
/// where anything more would only spill registers.
pub(crate) const LANES: usize = if cfg!(target_arch = "arm") { 1 } else { 16 };

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
        let mut neurons = Self { membrane, current, awake: true };
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
    let blocks = len - len % LANES;
    let mut step = Step { dynamics, weights, arrivals, neurons, log, statistics };
    for first in (0..blocks).step_by(LANES) {
        step.block::<LANES>(first)?;
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
        let v0: [i32; L] = lanes(self.neurons.membrane, first);
        let i0: [i32; L] = lanes(self.neurons.current, first);
        let (mut v1, mut i1) = ([0; L], [0; L]);
        match self.dynamics.scheme() {
            Scheme::Exact => self.exact(first, &v0, &i0, &mut v1, &mut i1),
            Scheme::Grid => self.grid(first, &v0, &i0, &mut v1, &mut i1),
        }
        let mut above = false;
        for v in v1 {
            above |= v > ONE;
        }
        if above {
            for lane in 0..L {
                if v1[lane] > ONE {
                    let neuron = first + lane;
                    v1[lane] = match self.dynamics.scheme() {
                        Scheme::Exact => self.cross(neuron, v0[lane], i0[lane], v1[lane])?,
                        Scheme::Grid => self.spike(neuron, 0, i1[lane] - v1[lane]).map(|()| 0)?,
                    };
                }
            }
        }
        self.neurons.membrane[first..first + L].copy_from_slice(&v1);
        self.neurons.current[first..first + L].copy_from_slice(&i1);
        Ok(())
    }

    /// `I1 = es I0 + Σ w es[Q-f]`, `V1 = em V0 + kf I0 + Σ w kf[Q-f]`.
    #[inline(always)]
    fn exact<const L: usize>(
        &mut self,
        first: usize,
        v0: &[i32; L],
        i0: &[i32; L],
        v1: &mut [i32; L],
        i1: &mut [i32; L],
    ) {
        let full = self.dynamics.step();
        let (es, em, kf) = (
            i64::from(full.current_decay),
            i64::from(full.membrane_decay),
            i64::from(full.current_to_membrane),
        );
        // States are at most 2^29, coefficients 2^31: each product is at most 2^60.
        let (mut fraction_v, mut fraction_i) = ([0i64; L], [0i64; L]);
        for lane in 0..L {
            let (v, i) = (i64::from(v0[lane]), i64::from(i0[lane]));
            fraction_i[lane] = i.wrapping_mul(es);
            fraction_v[lane] = v.wrapping_mul(em).wrapping_add(i.wrapping_mul(kf));
        }
        if self.arrivals.is_empty() {
            // em + kf <= 1 and es <= 1, so the results are no larger than the states.
            for lane in 0..L {
                i1[lane] = i0[lane].wrapping_add(high(fraction_i[lane]));
                v1[lane] = v0[lane].wrapping_add(high(fraction_v[lane]));
            }
            return;
        }
        let (mut whole_v, mut whole_i) = (v0.map(i64::from), i0.map(i64::from));
        for arrivals in self.arrivals.chunks(ARRIVALS_PER_FOLD) {
            for arrival in arrivals {
                let row: [i32; L] = self.row(arrival, first);
                let left = self.dynamics.over(self.dynamics.ticks() - usize::from(arrival.offset));
                let (es, kf) = (i64::from(left.current_decay), i64::from(left.current_to_membrane));
                // At most 32 products of 2^25 with 2^31 beside those of the state: below 2^62.
                for lane in 0..L {
                    let w = i64::from(row[lane]);
                    whole_i[lane] = whole_i[lane].wrapping_add(w);
                    fraction_i[lane] = fraction_i[lane].wrapping_add(w.wrapping_mul(es));
                    fraction_v[lane] = fraction_v[lane].wrapping_add(w.wrapping_mul(kf));
                }
            }
            for lane in 0..L {
                whole_i[lane] = whole_i[lane].wrapping_add(fraction_i[lane] >> 32);
                whole_v[lane] = whole_v[lane].wrapping_add(fraction_v[lane] >> 32);
                fraction_i[lane] &= 0xFFFF_FFFF;
                fraction_v[lane] &= 0xFFFF_FFFF;
            }
        }
        for lane in 0..L {
            let i = whole_i[lane].wrapping_add((fraction_i[lane] + HALF) >> 32);
            let v = whole_v[lane].wrapping_add((fraction_v[lane] + HALF) >> 32);
            i1[lane] = saturate(i, STATE_LIMIT, &mut self.statistics.saturations);
            v1[lane] = saturate(v, STATE_LIMIT, &mut self.statistics.saturations);
        }
    }

    /// `I1 = a I0 + Σ w`, `V1 = b V0 + (1 - b) I1`.
    #[inline(always)]
    fn grid<const L: usize>(
        &mut self,
        first: usize,
        v0: &[i32; L],
        i0: &[i32; L],
        v1: &mut [i32; L],
        i1: &mut [i32; L],
    ) {
        let full = self.dynamics.step();
        let (a, b) = (i64::from(full.current_decay), i64::from(full.membrane_decay));
        for lane in 0..L {
            i1[lane] = i0[lane].wrapping_add(high(i64::from(i0[lane]).wrapping_mul(a)));
        }
        if !self.arrivals.is_empty() {
            let mut whole = i1.map(i64::from);
            for arrival in self.arrivals {
                let row: [i32; L] = self.row(arrival, first);
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
    }

    /// Weights of `L` neurons from `first` on, for the source of `arrival`.
    #[inline(always)]
    fn row<const L: usize>(&self, arrival: &Event, first: usize) -> [i32; L] {
        lanes(self.weights, usize::from(arrival.neuron) * self.neurons.len() + first)
    }

    /// Finds the ticks at which a neuron that is above threshold at the end of the step has crossed
    /// it, emits its spikes, and returns the membrane at the end of the step.
    #[cold]
    fn cross(&mut self, neuron: usize, v0: i32, i0: i32, v1: i32) -> Result<i32, LogFull> {
        let ticks = self.dynamics.ticks();
        let mut crossed = [0usize; MAX_SPIKES_PER_STEP];
        let mut count = 0;
        let mut behind = 0;
        let mut v_end = v1;
        // A crossing at the last tick leaves no tick to cross again.
        while v_end > ONE && behind < ticks {
            if count == self.dynamics.spikes_per_step() {
                self.statistics.suppressed_spikes += 1;
                break;
            }
            // V(below) <= 1 < V(above) holds by the last reset and by v_end.
            let (mut below, mut above) = (behind, ticks);
            while above - below > 1 {
                let middle = (below + above) / 2;
                if self.membrane_at(neuron, v0, i0, middle, &crossed[..count]) > i64::from(ONE) {
                    above = middle;
                } else {
                    below = middle;
                }
            }
            let slope = self.current_at(neuron, i0, above) - i64::from(ONE);
            let slope = saturate(slope, STATE_LIMIT, &mut self.statistics.saturations);
            self.spike(neuron, above, slope)?;
            crossed[count] = above;
            count += 1;
            behind = above;
            v_end -= decay(ONE, self.dynamics.over(ticks - above).membrane_decay);
        }
        Ok(v_end)
    }

    /// `V(f) = em[f] V0 + kf[f] I0 + Σ w kf[f-f_a] - Σ em[f-f_k]` over arrivals and own spikes
    /// before tick f.
    fn membrane_at(&self, neuron: usize, v0: i32, i0: i32, tick: usize, crossed: &[usize]) -> i64 {
        let since_start = self.dynamics.over(tick);
        let mut v = Wide::new(v0);
        v.add_product(v0, since_start.membrane_decay);
        v.add_product(i0, since_start.current_to_membrane);
        for arrival in self.arrivals {
            let offset = usize::from(arrival.offset);
            if offset < tick {
                let coefficient = self.dynamics.over(tick - offset).current_to_membrane;
                v.add_product(self.weight(arrival, neuron), coefficient);
            }
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

    fn weight(&self, arrival: &Event, neuron: usize) -> i32 {
        self.weights[usize::from(arrival.neuron) * self.neurons.len() + neuron]
    }

    /// Logs a spike.
    fn spike(&mut self, neuron: usize, tick: usize, slope: i32) -> Result<(), LogFull> {
        self.statistics.smallest_slope = self.statistics.smallest_slope.min(slope);
        self.log.push(Event { neuron: neuron as u16, offset: tick as u16 }, slope)
    }
}

/// `L` values from `first` on.
#[inline(always)]
pub(crate) fn lanes<const L: usize>(values: &[i32], first: usize) -> [i32; L] {
    let mut lanes = [0; L];
    lanes.copy_from_slice(&values[first..first + L]);
    lanes
}

/// The high word of a sum of products (at most 2^62), rounded.
#[inline(always)]
pub(crate) fn high(sum: i64) -> i32 {
    (sum.wrapping_add(HALF) >> 32) as i32
}
