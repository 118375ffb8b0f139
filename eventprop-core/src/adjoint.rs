//! Backward kernels: the adjoint of one time step.
//!
//! Continuous form in reverse time: `tau_m λV' = -λV`, `tau_s λI' = -λI + λV`. At a spike k of a
//! neuron λV jumps by `J = (λV + err) / c`, `c = I(t_k) - 1`; a spike of input i adds `-λI_j` to the
//! gradient of `w_ji` and sends `err = Σ_j w_ji (λV_j - λI_j)` back (Wunderlich and Pehle 2021).

use crate::log::{Event, LoggedStep};
use crate::neuron::high;
use crate::numeric::{ADJOINT_LIMIT, Statistics, decay, divide_by_slope, saturate_short, scale};
use crate::state::{Decay, Direction, LANES, Neurons};
use crate::tables::{Dynamics, Scheme};

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
pub fn backward_step(
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
            dynamics, weights, gradient, arrivals, own, neurons, error_sums, statistics,
        ),
        Scheme::Grid => {
            neurons.wake();
            grid(
                dynamics, weights, gradient, arrivals, own, neurons, error_sums, statistics,
            );
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn exact(
    dynamics: &Dynamics<'_>,
    weights: &[i32],
    gradient: &mut [i64],
    arrivals: &[Event],
    mut own: LoggedStep<'_>,
    neurons: &mut Neurons<'_>,
    mut error_sums: Option<&mut [i64]>,
    statistics: &mut Statistics,
) {
    let end = own.step + 1;
    neurons.wake_at(end);
    if arrivals.is_empty() {
        let mut last = None;
        for event in own.events {
            if last.replace(event.neuron) != Some(event.neuron) {
                let neuron = usize::from(event.neuron);
                neurons.catch_up_one(dynamics, Direction::Backward, neuron, end);
            }
        }
    } else {
        neurons.catch_up(dynamics, Direction::Backward, end);
    }
    exact_jumps(dynamics, &mut own, neurons, statistics);
    let jumps = &*own.errors;

    let post = neurons.len();
    for (a, arrival) in arrivals.iter().enumerate() {
        let offset = usize::from(arrival.offset);
        let back = dynamics.over(dynamics.ticks() - offset);
        let (es, em, kb) = (
            back.current_decay,
            back.membrane_decay,
            back.membrane_to_current,
        );
        let row = usize::from(arrival.neuron) * post..(usize::from(arrival.neuron) + 1) * post;
        let (weights, gradient) = (&weights[row.clone()], &mut gradient[row]);
        // λI(f) = es λI + kb λV, λV(f) = em λV. Adjoints are at most 2^25: no sum leaves an i64.
        let current_at = |v: i32, i: i32| {
            i.wrapping_add(high(
                i64::from(i)
                    .wrapping_mul(i64::from(es))
                    .wrapping_add(i64::from(v).wrapping_mul(i64::from(kb))),
            ))
        };
        let state = neurons.membrane.iter().zip(neurons.current.iter());
        let mut sum = 0i64;
        if error_sums.is_some() {
            for (((&v, &i), &w), g) in state.zip(weights).zip(gradient.iter_mut()) {
                let i_at = current_at(v, i);
                let v_at = v.wrapping_add(high(i64::from(v).wrapping_mul(i64::from(em))));
                *g = g.wrapping_sub(i64::from(i_at));
                sum =
                    sum.wrapping_add(i64::from(w).wrapping_mul(i64::from(v_at.wrapping_sub(i_at))));
            }
        } else {
            for ((&v, &i), g) in state.zip(gradient.iter_mut()) {
                *g = g.wrapping_sub(i64::from(current_at(v, i)));
            }
        }
        // What the layer's own later spikes of this step did to the adjoints at this arrival.
        for (event, &jump) in own.events.iter().zip(jumps) {
            if event.offset > arrival.offset && jump != 0 {
                let neuron = usize::from(event.neuron);
                let between = dynamics.over(usize::from(event.offset) - offset);
                let current = scale(jump, between.membrane_to_current);
                let membrane = decay(jump, between.membrane_decay);
                gradient[neuron] = gradient[neuron].wrapping_sub(current.into());
                // The product is at most 2^51.
                let product =
                    i64::from(weights[neuron]).wrapping_mul(membrane.wrapping_sub(current).into());
                sum = sum.saturating_add(product);
            }
        }
        if let Some(sums) = &mut error_sums {
            sums[a] = sum;
        }
    }

    // Neurons that have spiked go to the start of the step; all others may stay at its end.
    let decay_step = Direction::Backward.decay(dynamics.step());
    let mut last = None;
    for (event, &jump) in own.events.iter().zip(jumps) {
        let neuron = usize::from(event.neuron);
        if last.replace(neuron) != Some(neuron) {
            let (i, v) = (&mut neurons.current[neuron], &mut neurons.membrane[neuron]);
            ([*i], [*v]) = decay_step.apply::<1, 32>(&[*i], &[*v]);
            neurons.stand_apart(neuron, own.step);
        }
        let back = dynamics.over(usize::from(event.offset));
        // All are at most 2^25.
        let (i, v) = (&mut neurons.current[neuron], &mut neurons.membrane[neuron]);
        let current = i.wrapping_add(scale(jump, back.membrane_to_current));
        let membrane = v.wrapping_add(decay(jump, back.membrane_decay));
        *i = saturate_short(current, ADJOINT_LIMIT, &mut statistics.saturations);
        *v = saturate_short(membrane, ADJOINT_LIMIT, &mut statistics.saturations);
    }
}

/// Replaces the error of each own spike by the jump of λV, the latest spike of a neuron first.
fn exact_jumps(
    dynamics: &Dynamics<'_>,
    own: &mut LoggedStep<'_>,
    neurons: &Neurons<'_>,
    statistics: &mut Statistics,
) {
    for k in (0..own.events.len()).rev() {
        let Event { neuron, offset } = own.events[k];
        let back = dynamics.over(dynamics.ticks() - usize::from(offset));
        let membrane = neurons.membrane[usize::from(neuron)];
        let mut numerator = decay(membrane, back.membrane_decay).wrapping_add(own.errors[k]);
        // Later spikes of the same neuron stand right behind this one; at most seven do, and each
        // jump is at most 2^25.
        for later in k + 1..own.events.len() {
            if own.events[later].neuron != neuron {
                break;
            }
            let between = dynamics.over(usize::from(own.events[later].offset - offset));
            numerator = numerator.wrapping_add(decay(own.errors[later], between.membrane_decay));
        }
        let slope = own.slopes[k].max(dynamics.slope_floor());
        own.errors[k] = divide_by_slope(numerator, slope, &mut statistics.saturations);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn grid(
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
                sum = sum.wrapping_add(i64::from(w).wrapping_mul(i64::from(v.wrapping_sub(i))));
            }
            *to = sum;
        }
    }
    // The jump takes λV from the end of the step, before its decay.
    for ((event, &slope), error) in own.events.iter().zip(own.slopes).zip(own.errors.iter_mut()) {
        // Both are at most 2^25.
        let numerator = neurons.membrane[usize::from(event.neuron)].wrapping_add(*error);
        let slope = slope.max(dynamics.slope_floor());
        *error = divide_by_slope(numerator, slope, &mut statistics.saturations);
    }
    let full = dynamics.step();
    // λI' = a λI + (1 - a) λV, λV' = b λV
    decay_all(
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
            membrane.wrapping_add(jump),
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
            *g = g.wrapping_sub(i64::from(i));
        }
    }
}

/// Takes all adjoints over a step without jumps.
#[inline(always)]
fn decay_all(neurons: &mut Neurons<'_>, decay: &Decay) {
    let (v, v_rest) = neurons.membrane.as_chunks_mut::<LANES>();
    let (i, i_rest) = neurons.current.as_chunks_mut::<LANES>();
    for (v, i) in v.iter_mut().zip(i) {
        (*i, *v) = decay.apply::<LANES, 32>(i, v);
    }
    for (v, i) in v_rest.iter_mut().zip(i_rest) {
        ([*i], [*v]) = decay.apply::<1, 32>(&[*i], &[*v]);
    }
}
