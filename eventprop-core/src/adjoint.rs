//! Backward kernels: the adjoint of one time step.
//!
//! Continuous form in reverse time: `tau_m λV' = -λV`, `tau_s λI' = -λI + λV`. At a spike k of a
//! neuron λV jumps by `J = (λV + err) / c`, `c = I(t_k) - 1`; a spike of input i adds `-λI_j` to the
//! gradient of `w_ji` and sends `err = Σ_j w_ji (λV_j - λI_j)` back (Wunderlich and Pehle 2021).

use crate::log::{Event, LoggedStep};
use crate::numeric::{
    ADJOINT_LIMIT, Fits, Statistics, decay, divide_by_slope, saturate_short, scale,
};
use crate::state::{Adjoints, Decay, Neurons, whole_vectors};
use crate::tables::{Coefficients, Dynamics, Scheme};
use crate::vector::{MAX_LANES, Single, Vectors, padded};

/// Takes a layer's adjoints from the end of one step to its start.
///
/// # Shapes and formats
/// `weights`: `[pre][post]`, F20. `gradient`: `[pre][post]`, F18, sum of -λI at arrivals, is added
/// to. `arrivals`: the events that were given to [`forward_step`](crate::neuron::forward_step) for
/// this step. `own`: the layer's own spikes of this step; its errors must be complete, and are
/// replaced by the jumps they caused. `error_sums`: `[arrival]`, F38, is set to what goes back to the
/// sender of each arrival; `None` where nobody asks, as for a network's inputs.
///
/// # Panics
/// If `error_sums` is shorter than `arrivals`, or an arrival names a neuron that has no weights.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // one kernel, eight tensors
pub fn backward_step<V: Vectors>(
    vectors: V,
    dynamics: &Dynamics<'_>,
    weights: &[i32],
    gradient: &mut [i64],
    arrivals: &[Event],
    own: LoggedStep<'_>,
    neurons: &mut Neurons<'_>,
    error_sums: Option<&mut [i64]>,
    statistics: &mut Statistics,
) {
    if !neurons.awake() && own.errors.iter().all(|&error| error == 0) {
        if let Some(sums) = error_sums {
            sums[..arrivals.len()].fill(0);
        }
        return;
    }
    match dynamics.scheme() {
        Scheme::Exact => exact(
            vectors, dynamics, weights, gradient, arrivals, own, neurons, error_sums, statistics,
        ),
        Scheme::Grid => {
            neurons.wake();
            grid(
                vectors, dynamics, weights, gradient, arrivals, own, neurons, error_sums,
                statistics,
            );
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn exact<V: Vectors>(
    vectors: V,
    dynamics: &Dynamics<'_>,
    weights: &[i32],
    gradient: &mut [i64],
    arrivals: &[Event],
    mut own: LoggedStep<'_>,
    neurons: &mut Neurons<'_>,
    error_sums: Option<&mut [i64]>,
    statistics: &mut Statistics,
) {
    let end = own.step + 1;
    if neurons.wake_at(end) {
        neurons.clear_places();
    }
    exact_jumps(dynamics, &mut own, &neurons.each_adjoint(), statistics);
    if !arrivals.is_empty() {
        neurons.take_all_to(vectors, dynamics, end);
    }
    if V::LANES > 1 && neurons.len() < V::LANES {
        let few = Few::new(vectors, neurons);
        few.arrive(
            vectors, dynamics, weights, gradient, arrivals, &own, error_sums,
        );
    } else {
        arrive(
            vectors, dynamics, weights, gradient, arrivals, &own, neurons, error_sums,
        );
    }

    // Neurons that have spiked go to the start of the step; all others may stay where they are.
    let mut adjoints = neurons.each_adjoint();
    for (event, &jump) in own.events.iter().zip(&*own.errors) {
        let (v, i) = adjoints.take_to(dynamics, event.neuron.into(), own.step);
        let back = dynamics.over(usize::from(event.offset));
        jump_at(back, jump, v, i, &mut statistics.saturations);
    }
}

/// What a jump does to the adjoints at the start of its step, which is `back` from it.
#[inline(always)]
fn jump_at(back: &Coefficients, jump: i32, v: &mut i32, i: &mut i32, saturations: &mut u64) {
    // All are at most 2^25.
    let current = i.plus(scale(jump, back.membrane_to_current));
    let membrane = v.plus(decay(jump, back.membrane_decay));
    *i = saturate_short(current, ADJOINT_LIMIT, saturations);
    *v = saturate_short(membrane, ADJOINT_LIMIT, saturations);
}

/// What arrivals in a step add to the gradient, and what goes back for each.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn arrive<V: Vectors>(
    vectors: V,
    dynamics: &Dynamics<'_>,
    weights: &[i32],
    gradient: &mut [i64],
    arrivals: &[Event],
    own: &LoggedStep<'_>,
    neurons: &Neurons<'_>,
    mut error_sums: Option<&mut [i64]>,
) {
    let post = neurons.len();
    for (a, arrival) in arrivals.iter().enumerate() {
        let back = dynamics.left(arrival);
        let row = usize::from(arrival.neuron) * post..(usize::from(arrival.neuron) + 1) * post;
        let (weights, gradient) = (&weights[row.clone()], &mut gradient[row]);
        let mut sum = 0i64;
        match &error_sums {
            Some(_) => {
                add_gradient(vectors, back, neurons, gradient, |neuron, v_less_i| {
                    let product = i64::from(weights[neuron]).wrapping_mul(v_less_i.into());
                    // At most 4,095 products of 2^25 and 2^26.
                    sum = sum.plus(product);
                });
            }
            None => add_gradient(vectors, back, neurons, gradient, |_, _| {}),
        }
        let sum = add_jumps(dynamics, arrival, own, weights, gradient, sum);
        if let Some(sums) = &mut error_sums {
            sums[a] = sum;
        }
    }
}

/// What the layer's own later spikes of a step, whose errors are jumps, did to the adjoints at an arrival: adds
/// it to the gradient, and to the sum that goes back, which is returned.
#[inline(always)]
fn add_jumps(
    dynamics: &Dynamics<'_>,
    arrival: &Event,
    own: &LoggedStep<'_>,
    weights: &[i32],
    gradient: &mut [i64],
    mut sum: i64,
) -> i64 {
    for (event, &jump) in own.events.iter().zip(&*own.errors) {
        if event.offset > arrival.offset && jump != 0 {
            let neuron = usize::from(event.neuron);
            let between = dynamics.over(usize::from(event.offset - arrival.offset));
            let current = scale(jump, between.membrane_to_current);
            let membrane = decay(jump, between.membrane_decay);
            gradient[neuron] = gradient[neuron].less(current.into());
            // The product is at most 2^51.
            let product = i64::from(weights[neuron]).wrapping_mul(membrane.less(current).into());
            sum = sum.saturating_add(product);
        }
    }
    sum
}

/// Subtracts λI at an arrival from the gradient, and tells whose λV − λI is how much; `back` takes the
/// adjoints to the arrival.
#[inline(always)]
fn add_gradient<V: Vectors>(
    x: V,
    back: &Coefficients,
    neurons: &Neurons<'_>,
    gradient: &mut [i64],
    mut tell: impl FnMut(usize, i32),
) {
    let decay = Decay::backward(back);
    let (v, i, owners) = neurons.adjoints();
    let mut add = |owner: i32, i: i32, v: i32| {
        let neuron = owner as usize;
        gradient[neuron] = gradient[neuron].less(i.into());
        tell(neuron, v.less(i));
    };
    let whole = whole_vectors::<V>(v.len());
    for first in (0..whole).step_by(V::LANES) {
        let (driven, driver) = (x.load(&i[first..]), x.load(&v[first..]));
        let (driven, driver) = decay.apply::<32, V>(x, driven, driver);
        let (mut i, mut v) = ([0; MAX_LANES], [0; MAX_LANES]);
        x.store(driven, &mut i);
        x.store(driver, &mut v);
        for (lane, &owner) in owners[first..][..V::LANES].iter().enumerate() {
            add(owner, i[lane], v[lane]);
        }
    }
    let rest = v[whole..].iter().zip(&i[whole..]).zip(&owners[whole..]);
    for ((&v, &i), &owner) in rest {
        let ([i], [v]) = decay.apply::<32, _>(Single, [i], [v]);
        add(owner, i, v);
    }
}

/// λV and λI of a layer of fewer neurons than a vector has lanes, in the order of neurons.
struct Few<V: Vectors> {
    len: usize,
    membrane: V::Words,
    current: V::Words,
}

impl<V: Vectors> Few<V> {
    /// Takes them; they are zero where there are none.
    #[inline(always)]
    fn new(x: V, neurons: &Neurons<'_>) -> Self {
        let (mut membrane, mut current) = ([0; MAX_LANES], [0; MAX_LANES]);
        let (v, i, owners) = neurons.adjoints();
        for ((&v, &i), &owner) in v.iter().zip(i).zip(owners) {
            membrane[owner as usize] = v;
            current[owner as usize] = i;
        }
        Self {
            len: neurons.len(),
            membrane: x.load(&membrane),
            current: x.load(&current),
        }
    }

    /// As [`arrive`].
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn arrive(
        &self,
        x: V,
        dynamics: &Dynamics<'_>,
        weights: &[i32],
        gradient: &mut [i64],
        arrivals: &[Event],
        own: &LoggedStep<'_>,
        mut error_sums: Option<&mut [i64]>,
    ) {
        for (a, arrival) in arrivals.iter().enumerate() {
            let decay = Decay::backward(dynamics.left(arrival));
            let (i, v) = decay.apply::<32, V>(x, self.current, self.membrane);
            // At most 2^12 each.
            let start = usize::from(arrival.neuron).wrapping_mul(self.len);
            let weights = &weights[start..];
            let gradient = &mut gradient[start..][..self.len];
            let mut currents = [0; MAX_LANES];
            x.store(i, &mut currents);
            for (gradient, &i) in gradient.iter_mut().zip(&currents) {
                *gradient = gradient.less(i.into());
            }
            // At most seven products of 2^25 and 2^26; what stands behind the row is multiplied by zero.
            let products = x.product(x.load(&padded(weights)), x.subtract(v, i));
            let sum = x.total(products);
            let sum = add_jumps(dynamics, arrival, own, weights, gradient, sum);
            if let Some(sums) = &mut error_sums {
                sums[a] = sum;
            }
        }
    }
}

/// Replaces the error of each own spike by the jump of λV, the latest spike of a neuron first.
#[inline(always)]
fn exact_jumps(
    dynamics: &Dynamics<'_>,
    own: &mut LoggedStep<'_>,
    adjoints: &Adjoints<'_>,
    statistics: &mut Statistics,
) {
    for k in (0..own.events.len()).rev() {
        let Event { neuron, offset } = own.events[k];
        let back = dynamics.over(dynamics.ticks() - usize::from(offset));
        let at_end = adjoints.membrane_at(dynamics, neuron.into(), own.step + 1);
        let mut numerator = decay(at_end, back.membrane_decay).plus(own.errors[k]);
        // Later spikes of the same neuron stand right behind this one; at most seven do, and each
        // jump is at most 2^25.
        for later in k + 1..own.events.len() {
            if own.events[later].neuron != neuron {
                break;
            }
            let between = dynamics.over(usize::from(own.events[later].offset - offset));
            numerator = numerator.plus(decay(own.errors[later], between.membrane_decay));
        }
        let slope = own.slopes[k].max(dynamics.slope_floor());
        own.errors[k] = divide_by_slope(numerator, slope, &mut statistics.saturations);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn grid<V: Vectors>(
    vectors: V,
    dynamics: &Dynamics<'_>,
    weights: &[i32],
    gradient: &mut [i64],
    arrivals: &[Event],
    own: LoggedStep<'_>,
    neurons: &mut Neurons<'_>,
    error_sums: Option<&mut [i64]>,
    statistics: &mut Statistics,
) {
    let post = neurons.len();
    if let Some(sums) = error_sums {
        for (arrival, to) in arrivals.iter().zip(sums) {
            let row = usize::from(arrival.neuron) * post;
            let mut sum = 0i64;
            let state = neurons.membrane.iter().zip(neurons.current.iter());
            for ((&v, &i), &w) in state.zip(&weights[row..row + post]) {
                // At most 4,095 products of 2^25 and 2^26.
                sum = sum.plus(i64::from(w).wrapping_mul(i64::from(v.less(i))));
            }
            *to = sum;
        }
    }
    // The jump takes λV from the end of the step, before its decay.
    for ((event, &slope), error) in own.events.iter().zip(own.slopes).zip(own.errors.iter_mut()) {
        // Both are at most 2^25.
        let numerator = neurons.membrane[usize::from(event.neuron)].plus(*error);
        let slope = slope.max(dynamics.slope_floor());
        *error = divide_by_slope(numerator, slope, &mut statistics.saturations);
    }
    let full = dynamics.step();
    // λI' = a λI + (1 - a) λV, λV' = b λV
    decay_all(
        vectors,
        neurons,
        &Decay {
            driven: full.current_decay,
            driver: full.membrane_decay,
            coupling: -full.current_decay,
        },
    );
    for (event, &jump) in own.events.iter().zip(own.errors.iter()) {
        let membrane = &mut neurons.membrane[usize::from(event.neuron)];
        // Both are at most 2^25.
        *membrane = saturate_short(
            membrane.plus(jump),
            ADJOINT_LIMIT,
            &mut statistics.saturations,
        );
    }
    for arrival in arrivals {
        let row = usize::from(arrival.neuron) * post;
        for (g, &i) in gradient[row..row + post]
            .iter_mut()
            .zip(neurons.current.iter())
        {
            *g = g.less(i64::from(i));
        }
    }
}

/// Takes all adjoints over a step without jumps.
#[inline(always)]
fn decay_all<V: Vectors>(x: V, neurons: &mut Neurons<'_>, decay: &Decay) {
    let (v, i) = (&mut *neurons.membrane, &mut *neurons.current);
    let whole = whole_vectors::<V>(v.len());
    for first in (0..whole).step_by(V::LANES) {
        let (i, v) = (&mut i[first..], &mut v[first..]);
        let (driven, driver) = decay.apply::<32, V>(x, x.load(i), x.load(v));
        x.store(driven, i);
        x.store(driver, v);
    }
    for (v, i) in v[whole..].iter_mut().zip(&mut i[whole..]) {
        ([*i], [*v]) = decay.apply::<32, _>(Single, [*i], [*v]);
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::log::EventLog;
    use crate::neuron::forward_step;
    use crate::numeric::{ONE, WEIGHT_LIMIT};
    use crate::state::scratch_len;
    use crate::tables::{self, Tables};
    use crate::vector::Arrays;

    const STEPS: usize = 40;
    const INPUTS: usize = 4;

    /// What a layer, or a part of one, came to: its spikes and slopes in order, the gradient `[post][pre]`, and
    /// the sums for the layer above `[step][arrival]`.
    #[derive(Debug, PartialEq)]
    struct Outcome {
        spikes: Vec<(usize, Event, i32, i32)>,
        gradient: Vec<Vec<i64>>,
        sums: Vec<Vec<i64>>,
        statistics: Statistics,
    }

    /// What a layer's kernels are set to.
    #[derive(Clone, Copy, Debug)]
    struct Setting {
        scheme: Scheme,
        tick_bits: u32,
        step_ms: f64,
        tau_membrane_ms: f64,
        tau_synapse_ms: f64,
        spikes_per_step: usize,
        slope_floor: i32,
        /// Largest magnitude of an error.
        errors: i32,
    }

    impl Setting {
        const fn new(scheme: Scheme, tick_bits: u32) -> Self {
            Self {
                scheme,
                tick_bits,
                step_ms: 1.0,
                tau_membrane_ms: 20.0,
                tau_synapse_ms: 5.0,
                spikes_per_step: 4,
                slope_floor: ONE >> 5,
                errors: 100_000,
            }
        }
    }

    /// Runs neurons `first..first + neurons` of a layer of `all` neurons forward and backward; the error of
    /// a spike depends on nothing but the spike.
    fn run<V: Vectors>(
        vectors: V,
        setting: Setting,
        weights: &[i32],
        all: usize,
        (first, neurons): (usize, usize),
        arrivals: &[(usize, Event)],
    ) -> Outcome {
        let Setting {
            scheme,
            tick_bits,
            step_ms,
            tau_membrane_ms,
            tau_synapse_ms,
            spikes_per_step,
            slope_floor,
            errors: largest_error,
        } = setting;
        let times = (step_ms, tau_membrane_ms, tau_synapse_ms);
        let mut ticks = vec![Coefficients::default(); (1 << tick_bits) + 1];
        tables::fill(&mut ticks, times.0, times.1, times.2).unwrap();
        let mut runs = [Coefficients::default(); tables::run_entries(STEPS)];
        tables::fill_runs(&mut runs, times.0, times.1, times.2);
        let peaks = tables::peaks(times.0, times.1, times.2);
        let tables = Tables {
            ticks: &ticks,
            runs: &runs,
            peaks: &peaks,
        };
        let dynamics = Dynamics::new(scheme, tables, spikes_per_step, slope_floor).unwrap();
        let weights: Vec<i32> = (0..INPUTS)
            .flat_map(|input| &weights[input * all + first..][..neurons])
            .copied()
            .collect();
        let arrivals = |step: usize| -> Vec<Event> {
            let now = arrivals.iter().filter(|arrival| arrival.0 == step);
            now.map(|&(_, event)| event).collect()
        };

        let (mut v, mut i) = (vec![0; neurons], vec![0; neurons]);
        let mut scratch = vec![0; scratch_len(neurons)];
        let mut neurons_state = Neurons::reset(&mut v, &mut i, &mut scratch);
        let capacity = spikes_per_step * neurons * STEPS;
        let (mut events, mut slopes, mut errors, mut ends) = (
            vec![Event::default(); capacity],
            vec![0; capacity],
            vec![0; capacity],
            [0; STEPS],
        );
        let mut log = EventLog::new(&mut events, &mut slopes, &mut errors, &mut ends);
        let mut statistics = Statistics::NEW;
        for step in 0..STEPS {
            forward_step(
                vectors,
                &dynamics,
                &weights,
                &arrivals(step),
                &mut neurons_state,
                &mut log,
                &mut statistics,
            )
            .unwrap();
            log.end_step().unwrap();
        }
        neurons_state.silence();
        let mut gradient = vec![0; INPUTS * neurons];
        let (mut sums, mut spikes) = (Vec::new(), Vec::new());
        for step in (0..STEPS).rev() {
            let own = log.step_mut(step);
            for (event, error) in own.events.iter().zip(&mut *own.errors) {
                let seed = (first + usize::from(event.neuron)) * 7919 + step * 104_729;
                let within = seed * 7_368_787 % (2 * largest_error as usize + 1);
                *error = within as i32 - largest_error;
            }
            let arrivals = arrivals(step);
            let mut of_step = vec![0; arrivals.len()];
            backward_step(
                vectors,
                &dynamics,
                &weights,
                &mut gradient,
                &arrivals,
                own,
                &mut neurons_state,
                Some(&mut of_step),
                &mut statistics,
            );
            sums.push(of_step);
            let own = log.step_mut(step);
            for ((event, &slope), &jump) in own.events.iter().zip(own.slopes).zip(&*own.errors) {
                let neuron = event.neuron + first as u16;
                spikes.push((step, Event { neuron, ..*event }, slope, jump));
            }
        }
        spikes.sort_by_key(|&(step, event, ..)| (step, event.neuron, event.offset));
        let of_neuron = |neuron| (0..INPUTS).map(move |input| input * neurons + neuron);
        Outcome {
            spikes,
            gradient: (0..neurons)
                .map(|neuron| of_neuron(neuron).map(|at| gradient[at]).collect())
                .collect(),
            sums,
            statistics,
        }
    }

    /// Arrivals from the inputs of a layer, often many in one step.
    fn arrivals(most: usize, tick_bits: u32) -> impl Strategy<Value = Vec<(usize, Event)>> {
        let step = prop_oneof![3 => 0..STEPS, 1 => Just(STEPS / 4)];
        let arrival = (step, 0u16..INPUTS as u16, 0u16..=1 << tick_bits);
        let arrival = arrival.prop_map(|(step, neuron, offset)| (step, Event { neuron, offset }));
        prop::collection::vec(arrival, 1..most)
    }

    /// Settings at the ends of their ranges.
    fn extremes() -> impl Strategy<Value = Setting> {
        let tau = || {
            prop_oneof![
                Just(0.01),
                Just(10_000.0),
                Just(5.0),
                Just(20.0),
                0.01..100.0
            ]
        };
        let scheme = prop_oneof![
            2 => (0u32..=8).prop_map(|tick_bits| (Scheme::Exact, tick_bits)),
            1 => Just((Scheme::Grid, 0)),
        ];
        let step = prop_oneof![2 => Just(1.0), 1 => 0.05..1.0];
        let floor = prop_oneof![Just(0), Just(1), Just(ONE), Just(ONE / 50)];
        (scheme, tau(), tau(), step, 1..=8usize, floor).prop_map(
            |(
                (scheme, tick_bits),
                tau_membrane_ms,
                tau_synapse_ms,
                step,
                spikes_per_step,
                slope_floor,
            )| {
                let longest = core::f64::consts::LN_2 * f64::min(tau_membrane_ms, tau_synapse_ms);
                Setting {
                    scheme,
                    tick_bits,
                    step_ms: longest * step,
                    tau_membrane_ms,
                    tau_synapse_ms,
                    spikes_per_step,
                    slope_floor,
                    errors: ADJOINT_LIMIT,
                }
            },
        )
    }

    proptest! {
        /// A layer that is divided gives the same bits as in one piece, wherever it is cut and however its
        /// neurons fall into blocks.
        #[test]
        fn a_divided_layer_gives_the_same_bits(
            arrivals in arrivals(60, 8),
            weights in prop::collection::vec(-2 * ONE..5 * ONE, INPUTS * 27),
            cut in 1usize..27,
        ) {
            const ALL: usize = 27;
            let run = |neurons| run(Arrays, Setting::new(Scheme::Exact, 8), &weights, ALL, neurons, &arrivals);
            let whole = run((0, ALL));
            let mut parts = run((0, cut));
            let rest = run((cut, ALL - cut));
            parts.statistics.merge(&rest.statistics);
            parts.spikes.extend(rest.spikes);
            parts.spikes.sort_by_key(|&(step, event, ..)| (step, event.neuron, event.offset));
            parts.gradient.extend(rest.gradient);
            for (sums, more) in parts.sums.iter_mut().zip(rest.sums) {
                sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
            prop_assert_eq!(whole, parts);
        }

        /// What is computed neuron by neuron, as on a PE, and in groups, as on a host, has the same bits: for
        /// layers of less than a vector, of more than a group, and with a rest; whatever the ticks of a step,
        /// and however far states are from what training brings about.
        #[test]
        fn groups_give_the_bits_of_single_neurons(
            (tick_bits, arrivals) in (0u32..=8).prop_flat_map(|bits| (Just(bits), arrivals(250, bits))),
            neurons in prop::sample::select(vec![1, 3, 8, 27, 75]),
            weights in prop::collection::vec(
                prop_oneof![20 => -2 * ONE..5 * ONE, 1 => -WEIGHT_LIMIT..=WEIGHT_LIMIT],
                INPUTS * 75,
            ),
        ) {
            let weights = &weights[..INPUTS * neurons];
            let all = (0, neurons);
            let single = run(Single, Setting::new(Scheme::Exact, tick_bits), weights, neurons, all, &arrivals);
            let groups = run(Arrays, Setting::new(Scheme::Exact, tick_bits), weights, neurons, all, &arrivals);
            prop_assert_eq!(single, groups);
        }

        /// At the ends of all ranges nothing wraps, which builds for debugging check, and both kinds of kernels
        /// have the same bits: weights and errors at their limits, steps of ln 2 times the shorter time
        /// constant, time constants far apart, eight spikes in a step, no floor or a large one.
        #[test]
        fn nothing_wraps_at_the_ends_of_the_ranges(
            (setting, arrivals) in extremes().prop_flat_map(|setting| {
                (Just(setting), arrivals(250, setting.tick_bits))
            }),
            neurons in prop::sample::select(vec![1, 8, 27]),
            weights in prop::collection::vec(
                prop_oneof![
                    2 => Just(WEIGHT_LIMIT), 1 => Just(-WEIGHT_LIMIT), 2 => -2 * ONE..5 * ONE,
                    1 => -WEIGHT_LIMIT..=WEIGHT_LIMIT,
                ],
                INPUTS * 27,
            ),
        ) {
            let weights = &weights[..INPUTS * neurons];
            let single = run(Single, setting, weights, neurons, (0, neurons), &arrivals);
            let vectors = run(Arrays, setting, weights, neurons, (0, neurons), &arrivals);
            prop_assert_eq!(single, vectors);
        }

        /// The same on the time grid.
        #[test]
        fn vectors_give_the_bits_of_single_neurons_on_the_grid(
            arrivals in arrivals(250, 0),
            neurons in prop::sample::select(vec![1, 8, 27]),
            weights in prop_oneof![
                prop::collection::vec(-2 * ONE..5 * ONE, INPUTS * 27),
                prop::collection::vec(-WEIGHT_LIMIT..=WEIGHT_LIMIT, INPUTS * 27),
            ],
        ) {
            let weights = &weights[..INPUTS * neurons];
            let single = run(Single, Setting::new(Scheme::Grid, 0), weights, neurons, (0, neurons), &arrivals);
            let vectors = run(Arrays, Setting::new(Scheme::Grid, 0), weights, neurons, (0, neurons), &arrivals);
            prop_assert_eq!(single, vectors);
        }
    }
}
