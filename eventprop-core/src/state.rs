//! State of a layer's neurons, and the free run of neurons that nothing happens to.
//!
//! Between arriving spikes most neurons of a layer cannot spike, and their state only decays. In
//! [`Scheme::Exact`](crate::tables::Scheme::Exact) it is left as it is, and taken over all the steps
//! at once when it is needed: with one rounding, not one per step. So a step costs what happens in it.
//!
//! On the host everything is inlined into one function that is built for the vector instructions of the
//! machine; on a PE code memory is short, and a call costs little.

use crate::tables::{Coefficients, Dynamics, RUN_FRACTION};

/// Neurons that are computed together: a vector register's worth on the host, one on a Cortex-M4,
/// where anything more would only spill registers.
pub(crate) const LANES: usize = if cfg!(target_arch = "arm") { 1 } else { 8 };

/// Neurons that fill whole blocks of `lanes`; the rest is computed one by one.
#[inline(always)]
pub(crate) const fn whole_blocks(neurons: usize, lanes: usize) -> usize {
    neurons - neurons % lanes
}

/// Mark of a neuron whose state stands where that of most others does.
const WITH_OTHERS: u16 = u16::MAX;
/// Mark of a neuron that is advanced step by step, since it may rise above threshold.
const RISING: u16 = u16::MAX - 1;

/// Which way time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The current drives the membrane.
    Forward,
    /// The membrane's adjoint drives the current's.
    Backward,
}

impl Direction {
    /// The decay of the two variables.
    #[inline(always)]
    pub(crate) fn decay(self, over: &Coefficients) -> Decay {
        match self {
            Self::Forward => Decay {
                driven: over.membrane_decay,
                driver: over.current_decay,
                coupling: over.current_to_membrane,
            },
            Self::Backward => Decay {
                driven: over.current_decay,
                driver: over.membrane_decay,
                coupling: over.membrane_to_current,
            },
        }
    }

    /// The driven and the driving variable.
    #[inline(always)]
    fn roles<T>(self, membrane: T, current: T) -> (T, T) {
        match self {
            Self::Forward => (membrane, current),
            Self::Backward => (current, membrane),
        }
    }
}

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
    /// Both variables after the decay, each rounded once: driven, driver. The coefficients have
    /// `FRACTION` fraction bits.
    #[inline(always)]
    pub(crate) fn apply<const L: usize, const FRACTION: u32>(
        &self,
        driven: &[i32; L],
        driver: &[i32; L],
    ) -> ([i32; L], [i32; L]) {
        let half = 1i64 << (FRACTION - 1);
        let (mut driven_1, mut driver_1) = ([0; L], [0; L]);
        // Values are at most 2^29, coefficients 2^31: a product is at most 2^60. Factors and coupling of
        // a decay add up to no more than one, so the results are no larger than the larger value.
        for lane in 0..L {
            let (x, y) = (i64::from(driven[lane]), i64::from(driver[lane]));
            let dx = x
                .wrapping_mul(i64::from(self.driven))
                .wrapping_add(y.wrapping_mul(i64::from(self.coupling)));
            let dy = y.wrapping_mul(i64::from(self.driver));
            driven_1[lane] = driven[lane].wrapping_add((dx.wrapping_add(half) >> FRACTION) as i32);
            driver_1[lane] = driver[lane].wrapping_add((dy.wrapping_add(half) >> FRACTION) as i32);
        }
        (driven_1, driver_1)
    }
}

/// Length of [`Neurons::scratch`] for a layer of so many neurons.
#[must_use]
pub const fn scratch_len(neurons: usize) -> usize {
    3 * neurons
}

/// State of a layer's neurons: membrane and current forward, their adjoints backward.
#[derive(Debug)]
pub struct Neurons<'m> {
    /// V, or λV in the backward pass: `[neuron]`.
    pub membrane: &'m mut [i32],
    /// I, or λI in the backward pass: `[neuron]`.
    pub current: &'m mut [i32],
    /// Where each neuron's state stands, and lists of those that are not with the others:
    /// [`scratch_len`] words in the exact scheme; not used, and may be empty, on the time grid.
    pub scratch: &'m mut [u16],
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
    /// Whether the neurons that may rise above threshold have been listed since the last arrivals.
    listed: bool,
    /// Boundary at which the state of most neurons stands.
    base: u16,
    /// Number of neurons in the list of those that may rise.
    rising: u16,
    /// Number of neurons in the list of those whose state stands at a boundary of their own.
    apart: u16,
}

impl Activity {
    /// Nothing is known of the memory.
    pub const UNKNOWN: Self = Self {
        awake: true,
        ..Self::ASLEEP
    };

    /// All state is zero.
    pub const ASLEEP: Self = Self {
        awake: false,
        listed: false,
        base: 0,
        rising: 0,
        apart: 0,
    };

    /// Whether a forward step without arrivals changes nothing.
    pub(crate) fn rests(&self) -> bool {
        !self.awake || (self.listed && self.rising == 0)
    }
}

impl<'m> Neurons<'m> {
    /// Takes state memory of `[neuron]` each and the scratch memory, and sets the state to zero.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn reset(membrane: &'m mut [i32], current: &'m mut [i32], scratch: &'m mut [u16]) -> Self {
        assert_eq!(membrane.len(), current.len());
        assert!(scratch.is_empty() || scratch.len() == scratch_len(membrane.len()));
        let mut neurons = Self {
            membrane,
            current,
            scratch,
            activity: Activity::UNKNOWN,
        };
        neurons.silence();
        neurons
    }

    /// Sets all state to zero: the start of a sample, or of its backward pass.
    pub fn silence(&mut self) {
        if self.activity.awake {
            self.membrane.fill(0);
            self.current.fill(0);
            self.activity = Activity::ASLEEP;
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

    /// Whether any state may differ from zero.
    #[must_use]
    pub fn awake(&self) -> bool {
        self.activity.awake
    }

    /// Marks the state as no longer zero, on the time grid.
    #[inline(always)]
    pub(crate) fn wake(&mut self) {
        self.activity.awake = true;
    }

    /// Marks the state as no longer zero, and as standing at `boundary`, unless it already is.
    #[inline(always)]
    pub(crate) fn wake_at(&mut self, boundary: usize) {
        if !self.activity.awake {
            self.activity = Activity {
                awake: true,
                base: boundary as u16,
                ..Activity::ASLEEP
            };
            self.parts().0.fill(WITH_OTHERS);
        }
    }

    /// Where each neuron's state stands; the list of those that may rise; the list of those apart.
    #[inline(always)]
    fn parts(&mut self) -> (&mut [u16], &mut [u16], &mut [u16]) {
        let len = self.membrane.len();
        let (marks, lists) = self.scratch.split_at_mut(len);
        let (rising, apart) = lists.split_at_mut(len);
        (marks, rising, apart)
    }

    /// Says that every state stands at `boundary`, where a kernel has taken it from the boundary
    /// before.
    #[inline(always)]
    pub(crate) fn stand_at(&mut self, boundary: usize) {
        self.activity.base = boundary as u16;
        self.activity.listed = false;
    }

    /// Takes every state to `boundary`.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline(always))]
    pub(crate) fn catch_up(
        &mut self,
        dynamics: &Dynamics<'_>,
        direction: Direction,
        boundary: usize,
    ) {
        let Activity {
            base,
            rising,
            apart,
            ..
        } = self.activity;
        for at in 0..usize::from(apart) {
            let neuron = usize::from(self.parts().2[at]);
            self.catch_up_one(dynamics, direction, neuron, boundary);
        }
        let mut steps = usize::from(base).abs_diff(boundary);
        while steps > 0 {
            let run = steps.min(dynamics.longest_run());
            self.run_others(&direction.decay(dynamics.over_steps(run)), direction);
            steps -= run;
        }
        let (marks, list_rising, list_apart) = self.parts();
        let rising = list_rising[..usize::from(rising)].iter();
        for &neuron in rising.chain(&list_apart[..usize::from(apart)]) {
            marks[usize::from(neuron)] = WITH_OTHERS;
        }
        self.activity = Activity {
            awake: true,
            base: boundary as u16,
            ..Activity::ASLEEP
        };
    }

    /// Takes the state of one neuron to `boundary`. It is on record as standing where it did until
    /// [`stand_apart`](Self::stand_apart) says otherwise.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline(always))]
    pub(crate) fn catch_up_one(
        &mut self,
        dynamics: &Dynamics<'_>,
        direction: Direction,
        neuron: usize,
        boundary: usize,
    ) {
        let mark = self.scratch[neuron];
        let stands = if mark == WITH_OTHERS {
            self.activity.base
        } else {
            mark
        };
        let mut steps = usize::from(stands).abs_diff(boundary);
        let (v, i) = (&mut self.membrane[neuron], &mut self.current[neuron]);
        let (driven, driver) = direction.roles(v, i);
        while steps > 0 {
            let run = steps.min(dynamics.longest_run());
            let decay = direction.decay(dynamics.over_steps(run));
            ([*driven], [*driver]) = decay.apply::<1, RUN_FRACTION>(&[*driven], &[*driver]);
            steps -= run;
        }
    }

    /// Says that the state of a neuron stands at `boundary`, whatever the others do.
    #[inline(always)]
    pub(crate) fn stand_apart(&mut self, neuron: usize, boundary: usize) {
        let before = core::mem::replace(&mut self.scratch[neuron], boundary as u16);
        if before == WITH_OTHERS || before == RISING {
            let at = usize::from(self.activity.apart);
            self.parts().2[at] = neuron as u16;
            self.activity.apart += 1;
        }
    }

    /// Takes all neurons that stand with the others over a free run.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline(always))]
    fn run_others(&mut self, decay: &Decay, direction: Direction) {
        let len = self.membrane.len();
        let marks = &self.scratch[..len];
        let (driven, driver) = direction.roles(&mut *self.membrane, &mut *self.current);
        let (marks, marks_rest) = marks.as_chunks::<LANES>();
        let (driven, driven_rest) = driven.as_chunks_mut::<LANES>();
        let (driver, driver_rest) = driver.as_chunks_mut::<LANES>();
        run_blocks(decay, driven, driver, marks);
        if LANES == 1 {
            return;
        }
        run_blocks(
            decay,
            driven_rest.as_chunks_mut::<1>().0,
            driver_rest.as_chunks_mut::<1>().0,
            marks_rest.as_chunks::<1>().0,
        );
    }

    /// Lists the neurons that may rise above threshold without further arrivals, unless that was done
    /// since the last ones. All states stand together then.
    #[cfg_attr(target_arch = "arm", inline(never))]
    #[cfg_attr(not(target_arch = "arm"), inline(always))]
    pub(crate) fn list_rising(&mut self, dynamics: &Dynamics<'_>) {
        if self.activity.listed {
            return;
        }
        self.activity.listed = true;
        let len = self.membrane.len();
        let (marks, lists) = self.scratch.split_at_mut(len);
        let mut rising = 0;
        let blocks = whole_blocks(len, LANES);
        let (v, v_rest) = self.membrane.as_chunks::<LANES>();
        let (i, i_rest) = self.current.as_chunks::<LANES>();
        let mut list = |neuron: usize| {
            marks[neuron] = RISING;
            lists[rising] = neuron as u16;
            rising += 1;
        };
        let peaks = dynamics.peaks();
        for (block, (v, i)) in v.iter().zip(i).enumerate() {
            // Most blocks hold no such neuron, and this is fast to see.
            if LANES == 1 && peaks.stays_below(v[0], i[0]) {
                continue;
            }
            let mut rises = [0u32; LANES];
            for lane in 0..LANES {
                rises[lane] = u32::from(peaks.may_rise(v[lane], i[lane])) << lane;
            }
            let mut some = rises.iter().fold(0, |some, rises| some | rises);
            while some != 0 {
                list(block * LANES + some.trailing_zeros() as usize);
                some &= some - 1;
            }
        }
        for (rest, (&v, &i)) in v_rest.iter().zip(i_rest).enumerate() {
            if peaks.may_rise(v, i) {
                list(blocks + rest);
            }
        }
        self.activity.rising = rising as u16;
    }

    /// Number of neurons that may rise above threshold.
    #[inline(always)]
    pub(crate) fn rising(&self) -> usize {
        usize::from(self.activity.rising)
    }

    /// The neuron at a place of the list of those that may rise.
    #[inline(always)]
    pub(crate) fn rising_at(&self, place: usize) -> usize {
        usize::from(self.scratch[self.membrane.len() + place])
    }

    /// Puts a neuron that goes on rising to a place of the list.
    #[inline(always)]
    pub(crate) fn keep_rising(&mut self, place: usize, neuron: usize) {
        let len = self.membrane.len();
        self.scratch[len + place] = neuron as u16;
    }

    /// Says how many neurons of the list go on rising.
    #[inline(always)]
    pub(crate) fn set_rising(&mut self, count: usize) {
        self.activity.rising = count as u16;
    }
}

/// Takes the neurons that stand with the others over a free run, block by block.
#[inline(always)]
fn run_blocks<const L: usize>(
    decay: &Decay,
    driven: &mut [[i32; L]],
    driver: &mut [[i32; L]],
    marks: &[[u16; L]],
) {
    for ((driven, driver), marks) in driven.iter_mut().zip(driver).zip(marks) {
        if L == 1 && marks[0] != WITH_OTHERS {
            continue;
        }
        let (driven_1, driver_1) = decay.apply::<L, RUN_FRACTION>(driven, driver);
        for lane in 0..L {
            let moves = marks[lane] == WITH_OTHERS;
            driven[lane] = if moves { driven_1[lane] } else { driven[lane] };
            driver[lane] = if moves { driver_1[lane] } else { driver[lane] };
        }
    }
}
