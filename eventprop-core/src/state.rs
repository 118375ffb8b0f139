//! State of a layer's neurons, and which of them need work.
//!
//! Between arriving spikes most neurons of a layer cannot spike, and their state only decays. In
//! [`Scheme::Exact`] it is left as it is, and taken over all the steps at
//! once when spikes arrive: with one rounding, not one per step. So a step costs what happens in it.
//!
//! - *Forward*, the state of a layer stands at one boundary between steps. A neuron that may rise above
//!   threshold is put on a list, which holds its state from then on, and is advanced step by step; once it
//!   no longer may, it stays on the list, at a boundary of its own, until spikes arrive.
//! - *Backward*, only a neuron that has spiked has adjoints: these are kept in the order in which neurons
//!   first are given some. Those of a neuron are taken over a stretch of time when spikes had arrived in it,
//!   or the neuron had spiked.
//!
//! When a state is rounded depends on the neuron and on what arrives, not on what its neighbours do: the bits
//! are the same for a layer in one piece and for one that is divided among PEs.
//!
//! On the host everything is inlined into one function that is built for the vector instructions of the
//! machine; on a PE code memory is short, and a call costs little.

use crate::numeric::{ONE, STATE_LIMIT};
use crate::tables::{Coefficients, Dynamics, RUN_FRACTION, Scheme};
use crate::vector::{MAX_LANES, Single, Vectors};

/// Neurons that fill whole vectors, if these have more than one; the rest is computed one by one.
#[inline(always)]
pub(crate) const fn whole_vectors<V: Vectors>(neurons: usize) -> usize {
    if V::LANES > 1 {
        neurons - neurons % V::LANES
    } else {
        0
    }
}

/// Membrane, among the others, of a neuron that is on the list: below any that a neuron can have. What
/// becomes of it there is not used.
pub(crate) const PARKED: i32 = -STATE_LIMIT - ONE;

/// Place of a neuron that has no adjoints.
const NO_PLACE: i32 = -1;

/// Decay of two variables of which one drives the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decay {
    /// Factor - 1 of the driven variable.
    pub(crate) driven: i32,
    /// Factor - 1 of the driving variable.
    pub(crate) driver: i32,
    /// What the driving variable adds to the driven one.
    pub(crate) coupling: i32,
}

impl Decay {
    /// Forward in time, the current drives the membrane.
    #[inline(always)]
    pub(crate) fn forward(over: &Coefficients) -> Self {
        Self {
            driven: over.membrane_decay,
            driver: over.current_decay,
            coupling: over.current_to_membrane,
        }
    }

    /// Backward, the membrane's adjoint drives the current's.
    #[inline(always)]
    pub(crate) fn backward(over: &Coefficients) -> Self {
        Self {
            driven: over.current_decay,
            driver: over.membrane_decay,
            coupling: over.membrane_to_current,
        }
    }

    /// Both variables after the decay, each rounded once: driven, driver. The coefficients have
    /// `FRACTION` fraction bits.
    #[inline(always)]
    pub(crate) fn apply<const FRACTION: u32, V: Vectors>(
        &self,
        x: V,
        driven: V::Words,
        driver: V::Words,
    ) -> (V::Words, V::Words) {
        let decays = [self.driven, self.driver, self.coupling].map(|factor| x.all(factor));
        apply::<FRACTION, V>(x, decays, driven, driver)
    }
}

/// As [`Decay::apply`], where each lane has a decay of its own: factors - 1 of the driven and of the driving
/// variable, and what the driving one adds to the driven one.
#[inline(always)]
fn apply<const FRACTION: u32, V: Vectors>(
    x: V,
    [driven_decay, driver_decay, coupling]: [V::Words; 3],
    driven: V::Words,
    driver: V::Words,
) -> (V::Words, V::Words) {
    // Values are at most 2^29 and doubled where a fraction bit is missing, coefficients 2^31: a product is
    // at most 2^61. Factors and coupling of a decay add up to no more than one, so the results are no
    // larger than the larger value.
    let all_bits = |words| match FRACTION {
        32 => words,
        _ => x.add(words, words),
    };
    let (of_driven, of_driver) = (all_bits(driven), all_bits(driver));
    let change = x.sum(
        x.product(of_driven, driven_decay),
        x.product(of_driver, coupling),
    );
    let driver_change = x.product(of_driver, driver_decay);
    (
        x.add(driven, x.rounded(change)),
        x.add(driver, x.rounded(driver_change)),
    )
}

/// Length of [`Neurons::scratch`] for a layer of so many neurons.
#[must_use]
pub const fn scratch_len(neurons: usize) -> usize {
    3 * neurons
}

/// State of a layer's neurons: membrane and current forward, their adjoints backward.
#[derive(Debug)]
pub struct Neurons<'m> {
    /// V: `[neuron]`. In the backward pass λV: `[neuron]` on the time grid, `[place]` in the exact scheme.
    pub membrane: &'m mut [i32],
    /// I, or λI in the backward pass, in the same order.
    pub current: &'m mut [i32],
    /// Forward, the list of neurons that may rise, or might since spikes last arrived; backward, the
    /// places of neurons: [`scratch_len`] words in the exact scheme; not used, and may be empty, on the
    /// time grid.
    pub scratch: &'m mut [i32],
    /// What is known of all of them.
    pub activity: Activity,
}

/// What is known of a layer's neurons as a whole. Times are boundaries between steps: step k lies
/// between boundaries k and k + 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Whether any state may differ from zero. Kernels skip a layer that sleeps; the bits are the
    /// same, since zero decays to zero.
    awake: bool,
    /// Boundary at which all state stands that is not on the list.
    base: u16,
    /// Forward, number of neurons on the list; backward, of those that have adjoints.
    listed: u16,
    /// Number of neurons, at the front of the list, that may rise above threshold.
    rising: u16,
}

impl Activity {
    /// All state is zero, whatever stands in memory.
    pub const ASLEEP: Self = Self {
        awake: false,
        base: 0,
        listed: 0,
        rising: 0,
    };
}

/// A neuron on the list.
#[derive(Clone, Copy)]
pub(crate) struct Listed {
    pub(crate) neuron: usize,
    /// Boundary at which its state stands, if it does not rise.
    pub(crate) boundary: usize,
    pub(crate) membrane: i32,
    pub(crate) current: i32,
}

impl Listed {
    /// Takes what the list holds at a place.
    #[inline(always)]
    pub(crate) fn new(name: i32, membrane: i32, current: i32) -> Self {
        let name = name.cast_unsigned();
        Self {
            neuron: (name & 0xFFFF) as usize,
            boundary: (name >> 16) as usize,
            membrane,
            current,
        }
    }
}

impl<'m> Neurons<'m> {
    /// Takes state memory of `[neuron]` each and the scratch memory; the state is zero.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn reset(membrane: &'m mut [i32], current: &'m mut [i32], scratch: &'m mut [i32]) -> Self {
        assert_eq!(membrane.len(), current.len());
        assert!(scratch.is_empty() || scratch.len() == scratch_len(membrane.len()));
        Self {
            membrane,
            current,
            scratch,
            activity: Activity::ASLEEP,
        }
    }

    /// Sets all state to zero: the start of a sample, or of its backward pass.
    pub fn silence(&mut self) {
        self.activity = Activity::ASLEEP;
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

    /// Whether a step without arrivals changes nothing that is on record: no neuron will spike.
    #[must_use]
    #[inline]
    pub fn rest(&self, dynamics: &Dynamics<'_>) -> bool {
        match dynamics.scheme() {
            Scheme::Exact => self.activity.rising == 0,
            Scheme::Grid => !self.activity.awake,
        }
    }

    /// Whether any state may differ from zero.
    #[must_use]
    pub fn awake(&self) -> bool {
        self.activity.awake
    }

    /// Marks the state as no longer zero, on the time grid.
    #[inline(always)]
    pub(crate) fn wake(&mut self) {
        if self.wake_at(0) {
            self.clear();
        }
    }

    /// Puts zeros into memory, where they were only meant.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.membrane.fill(0);
        self.current.fill(0);
    }

    /// Marks the state as no longer zero, and as standing at `boundary`, unless it already is. Says whether
    /// it was not: what stands in memory is then of no meaning yet.
    #[inline(always)]
    pub(crate) fn wake_at(&mut self, boundary: usize) -> bool {
        let slept = !self.activity.awake;
        if slept {
            self.activity = Activity {
                awake: true,
                base: boundary as u16,
                ..Activity::ASLEEP
            };
        }
        slept
    }

    /// Boundary at which all state stands that is not on the list.
    #[inline(always)]
    pub(crate) fn base(&self) -> usize {
        self.activity.base.into()
    }

    /// Says that a kernel has taken it to another boundary.
    #[inline(always)]
    pub(crate) fn stand_at(&mut self, boundary: usize) {
        self.activity.base = boundary as u16;
    }
}

/// The list of the forward pass: `[rising][no longer rising]`.
impl Neurons<'_> {
    /// V and I of a neuron, wherever they are.
    #[cfg(test)]
    pub(crate) fn state_of(&mut self, neuron: usize) -> (i32, i32) {
        let listed = (0..self.listed()).map(|place| self.at(place));
        let found = listed.filter(|at| at.neuron == neuron).last();
        found.map_or((self.membrane[neuron], self.current[neuron]), |at| {
            (at.membrane, at.current)
        })
    }

    /// Number of neurons on the list.
    #[inline(always)]
    pub(crate) fn listed(&self) -> usize {
        self.activity.listed.into()
    }

    /// Number of those that may rise above threshold.
    #[inline(always)]
    pub(crate) fn rising(&self) -> usize {
        self.activity.rising.into()
    }

    /// Membranes, currents, and names (with the boundary in the upper half) of the list.
    #[inline(always)]
    pub(crate) fn list(&mut self) -> (&mut [i32], &mut [i32], &mut [i32]) {
        split(self.scratch, self.membrane.len())
    }

    /// The neuron at a place of the list.
    #[inline(always)]
    pub(crate) fn at(&mut self, place: usize) -> Listed {
        let (membrane, current, names) = self.list();
        Listed::new(names[place], membrane[place], current[place])
    }

    /// Advances the neurons at some places of the list, the last first, up to one that is above threshold or
    /// rises no longer.
    #[inline(always)]
    pub(crate) fn advance(
        &mut self,
        decay: &Decay,
        places: core::ops::Range<usize>,
    ) -> Option<Advanced> {
        let (membrane, current, _) = self.list();
        let states = membrane[places.clone()]
            .iter_mut()
            .zip(&mut current[places.clone()]);
        for (at, (v, i)) in states.enumerate().rev() {
            let before = (*v, *i);
            ([*v], [*i]) = decay.apply::<32, _>(Single, [*v], [*i]);
            if *v > ONE || *i <= *v {
                return Some(Advanced {
                    place: places.start + at,
                    before,
                    after: (*v, *i),
                });
            }
        }
        None
    }

    /// Puts the state of the neuron at a place of the list.
    #[inline(always)]
    pub(crate) fn put_at(&mut self, place: usize, v: i32, i: i32) {
        let (membrane, current, _) = self.list();
        membrane[place] = v;
        current[place] = i;
    }

    /// Lets a neuron stand with the others.
    #[inline(always)]
    pub(crate) fn put_among_others(&mut self, neuron: usize, v: i32, i: i32) {
        self.membrane[neuron] = v;
        self.current[neuron] = i;
    }

    /// Leaves the neuron at a place of the list there, with a new state.
    #[inline(always)]
    pub(crate) fn put_again(&mut self, place: usize, neuron: usize, v: i32, i: i32) {
        self.membrane[neuron] = PARKED;
        self.put_at(place, v, i);
        self.list().2[place] = neuron as i32;
    }

    /// The states among the others, and the list.
    #[inline(always)]
    pub(crate) fn with_list(&mut self) -> (&mut [i32], &mut [i32], List<'_>) {
        let (membrane, current, names) = split(self.scratch, self.membrane.len());
        let list = List {
            membrane,
            current,
            names,
            listed: &mut self.activity.listed,
            rising: &mut self.activity.rising,
        };
        (self.membrane, self.current, list)
    }

    /// Puts a neuron at the end of the list.
    #[inline(always)]
    pub(crate) fn put_on_list(&mut self, neuron: usize, v: i32, i: i32) {
        let (among_others, _, mut list) = self.with_list();
        among_others[neuron] = PARKED;
        list.push(neuron, v, i);
    }

    /// Leaves the neuron at a place of the list, which rises no longer, at a boundary.
    #[inline(always)]
    pub(crate) fn leave_at(&mut self, place: usize, boundary: usize) {
        self.with_list().2.leave(place, boundary);
    }

    /// Lets the neuron at a place of the list stand with the others again.
    #[inline(always)]
    pub(crate) fn put_back(&mut self, place: usize, neuron: usize, v: i32, i: i32) {
        self.put_among_others(neuron, v, i);
        self.activity.listed -= 1;
        let last = self.listed();
        let (membrane, current, names) = self.list();
        membrane[place] = membrane[last];
        current[place] = current[last];
        names[place] = names[last];
    }

    /// Empties the list.
    #[inline(always)]
    pub(crate) fn empty_list(&mut self) {
        self.activity.listed = 0;
    }

    /// Takes so many neurons from the end of the list.
    #[inline(always)]
    pub(crate) fn shorten_list(&mut self, by: usize) {
        self.activity.listed -= by as u16;
    }

    /// Says that the whole list may rise.
    #[inline(always)]
    pub(crate) fn all_rise(&mut self) {
        self.activity.rising = self.activity.listed;
    }
}

/// A neuron of the list that was advanced by a step, and is above threshold then or rises no longer.
pub(crate) struct Advanced {
    pub(crate) place: usize,
    /// V and I at the start of the step.
    pub(crate) before: (i32, i32),
    /// V and I at its end.
    pub(crate) after: (i32, i32),
}

/// The list of the forward pass, in three parts of the same length.
pub(crate) struct List<'a> {
    pub(crate) membrane: &'a mut [i32],
    pub(crate) current: &'a mut [i32],
    names: &'a mut [i32],
    listed: &'a mut u16,
    rising: &'a mut u16,
}

impl List<'_> {
    /// Puts a neuron at its end.
    #[inline(always)]
    pub(crate) fn push(&mut self, neuron: usize, v: i32, i: i32) {
        let place = usize::from(*self.listed);
        self.membrane[place] = v;
        self.current[place] = i;
        self.names[place] = neuron as i32;
        *self.listed += 1;
    }

    /// As [`push`](Self::push), on a condition that no processor foresees. There is room in any case.
    #[inline(always)]
    pub(crate) fn push_if(&mut self, condition: bool, neuron: usize, v: i32, i: i32) {
        self.push(neuron, v, i);
        *self.listed -= u16::from(!condition);
    }

    /// The neuron at a place.
    #[inline(always)]
    pub(crate) fn at(&self, place: usize) -> Listed {
        Listed::new(self.names[place], self.membrane[place], self.current[place])
    }

    /// Leaves the neuron at a place, which rises no longer, at a boundary.
    #[inline(always)]
    pub(crate) fn leave(&mut self, place: usize, boundary: usize) {
        *self.rising -= 1;
        let last = usize::from(*self.rising);
        self.membrane.swap(place, last);
        self.current.swap(place, last);
        self.names.swap(place, last);
        self.names[last] |= (boundary as u32).cast_signed() << 16;
    }
}

/// The adjoints of the backward pass: `[place]`, in the order in which neurons are first given one.
impl Neurons<'_> {
    /// Number of neurons that have adjoints.
    #[inline(always)]
    fn with_adjoints(&self) -> usize {
        self.activity.listed.into()
    }

    /// Forgets the places of all neurons.
    #[inline(always)]
    pub(crate) fn clear_places(&mut self) {
        self.list().0.fill(NO_PLACE);
    }

    /// Places of neurons, whose they are, and the boundary at which the adjoints there stand.
    #[inline(always)]
    fn places(&self) -> (&[i32], &[i32], &[i32]) {
        let len = self.membrane.len();
        let (places, rest) = self.scratch.split_at(len);
        let (owners, boundaries) = rest.split_at(len);
        (places, owners, boundaries)
    }

    /// The adjoints one by one. (All that belongs to them is asked for once, not for each.)
    #[inline(always)]
    pub(crate) fn each_adjoint(&mut self) -> Adjoints<'_> {
        let len = self.membrane.len();
        let (places, owners, boundaries) = split(self.scratch, len);
        Adjoints {
            membrane: &mut self.membrane[..len],
            current: &mut self.current[..len],
            places,
            owners,
            boundaries,
            count: &mut self.activity.listed,
        }
    }

    /// Takes all adjoints to a boundary.
    #[inline(always)]
    pub(crate) fn take_all_to<V: Vectors>(
        &mut self,
        x: V,
        dynamics: &Dynamics<'_>,
        boundary: usize,
    ) {
        let count = self.with_adjoints();
        let (_, _, boundaries) = split(self.scratch, self.membrane.len());
        let (v, i) = (&mut self.membrane[..count], &mut self.current[..count]);
        let boundaries = &mut boundaries[..count];
        let over = |at: i32| {
            let mut composed = Coefficients::default();
            Decay::backward(dynamics.over_steps(at as usize - boundary, &mut composed))
        };
        let whole = whole_vectors::<V>(count);
        for first in (0..whole).step_by(V::LANES) {
            let mut decays = [[0; MAX_LANES]; 3];
            for (lane, &at) in boundaries[first..][..V::LANES].iter().enumerate() {
                let decay = over(at);
                decays[0][lane] = decay.driven;
                decays[1][lane] = decay.driver;
                decays[2][lane] = decay.coupling;
            }
            let decays = decays.map(|of| x.load(&of));
            let (i, v) = (&mut i[first..], &mut v[first..]);
            let (driven, driver) = apply::<RUN_FRACTION, V>(x, decays, x.load(i), x.load(v));
            x.store(driven, i);
            x.store(driver, v);
        }
        let rest = v[whole..]
            .iter_mut()
            .zip(&mut i[whole..])
            .zip(&mut boundaries[whole..]);
        for ((v, i), at) in rest {
            ([*i], [*v]) = over(*at).apply::<RUN_FRACTION, _>(Single, [*i], [*v]);
            *at = boundary as i32;
        }
        boundaries[..whole].fill(boundary as i32);
    }

    /// λV, λI, and whose they are, `[place]`.
    #[inline(always)]
    pub(crate) fn adjoints(&self) -> (&[i32], &[i32], &[i32]) {
        let count = self.with_adjoints();
        let (_, owners, _) = self.places();
        (
            &self.membrane[..count],
            &self.current[..count],
            &owners[..count],
        )
    }
}

/// The adjoints of the backward pass, one by one.
pub(crate) struct Adjoints<'a> {
    membrane: &'a mut [i32],
    current: &'a mut [i32],
    places: &'a mut [i32],
    owners: &'a mut [i32],
    boundaries: &'a mut [i32],
    count: &'a mut u16,
}

impl Adjoints<'_> {
    /// λV of a neuron at a boundary; zero for one that has none.
    #[inline(always)]
    pub(crate) fn membrane_at(
        &self,
        dynamics: &Dynamics<'_>,
        neuron: usize,
        boundary: usize,
    ) -> i32 {
        usize::try_from(self.places[neuron]).map_or(0, |place| {
            let mut composed = Coefficients::default();
            let run = self.boundaries[place] as usize - boundary;
            let over = dynamics.over_steps(run, &mut composed);
            let v = &self.membrane[place];
            let (_, [v]) = Decay::backward(over).apply::<RUN_FRACTION, _>(Single, [0], [*v]);
            v
        })
    }

    /// Takes the adjoints of a neuron to a boundary; returns λV and λI.
    #[inline(always)]
    pub(crate) fn take_to(
        &mut self,
        dynamics: &Dynamics<'_>,
        neuron: usize,
        boundary: usize,
    ) -> (&mut i32, &mut i32) {
        let place = if let Ok(place) = usize::try_from(self.places[neuron]) {
            let (v, i) = (&mut self.membrane[place], &mut self.current[place]);
            let run = self.boundaries[place] as usize - boundary;
            let mut composed = Coefficients::default();
            let decay = Decay::backward(dynamics.over_steps(run, &mut composed));
            ([*i], [*v]) = decay.apply::<RUN_FRACTION, _>(Single, [*i], [*v]);
            place
        } else {
            let place = usize::from(*self.count);
            *self.count += 1;
            self.places[neuron] = place as i32;
            self.owners[place] = neuron as i32;
            (self.membrane[place], self.current[place]) = (0, 0);
            place
        };
        self.boundaries[place] = boundary as i32;
        (&mut self.membrane[place], &mut self.current[place])
    }
}

/// Three parts of `len` each.
#[inline(always)]
pub(crate) fn split(scratch: &mut [i32], len: usize) -> (&mut [i32], &mut [i32], &mut [i32]) {
    let (first, rest) = scratch.split_at_mut(len);
    let (second, third) = rest.split_at_mut(len);
    (first, second, &mut third[..len])
}
