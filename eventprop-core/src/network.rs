//! A whole network in one process: the same kernels as on the chip, without packets.

use crate::log::{EventLog, LogFull, LoggedStep, STEPS_PER_WORD};
use crate::numeric::{Statistics, round_error};
use crate::program::Kernels;
use crate::state::Neurons;
use crate::tables::{Dynamics, Scheme};

/// Memory of one layer of neurons over one sample, and its gradient over many.
#[derive(Debug)]
pub struct Layer<'m> {
    /// State of the neurons.
    pub neurons: Neurons<'m>,
    /// The layer's spikes.
    pub log: EventLog<'m>,
    /// Sum of -λI at arrivals, `[pre][post]`, F18; only ever added to.
    pub gradient: &'m mut [i64],
}

/// Runs a sample forward through all layers.
///
/// # Shapes and formats
/// `input`: the sample's spikes, `steps` finished steps. `layers`: in order; `weights[layer]` is
/// `[pre][post]`, F20. Leaves each layer's spikes in its log.
///
/// # Errors
/// [`LogFull`] when a layer's log cannot hold its spikes.
///
/// # Panics
/// If `weights` and `layers` differ in length, or shapes do not fit together.
#[inline(always)]
pub fn forward(
    kernels: &impl Kernels,
    dynamics: &Dynamics<'_>,
    weights: &[&[i32]],
    input: &EventLog<'_>,
    layers: &mut [Layer<'_>],
    statistics: &mut Statistics,
) -> Result<(), LogFull> {
    assert_eq!(weights.len(), layers.len());
    let exact = dynamics.scheme() == Scheme::Exact;
    let steps = input.steps();
    let mut done: &mut [Layer<'_>] = &mut [];
    let mut rest = layers;
    for weights in weights {
        let Some((layer, later)) = rest.split_first_mut() else {
            break;
        };
        let upstream = done.last().map_or(input, |below| &below.log);
        layer.neurons.silence();
        layer.log.clear();
        for first in (0..steps).step_by(STEPS_PER_WORD) {
            let end = steps.min(first + STEPS_PER_WORD);
            let busy = if exact {
                upstream.busy(first)
            } else {
                u64::MAX
            };
            let mut step = first;
            while step < end {
                let quiet = (busy >> (step - first)).trailing_zeros() as usize;
                if quiet > 0 && layer.neurons.rest(dynamics) {
                    let quiet = quiet.min(end - step);
                    layer.log.end_quiet_steps(quiet)?;
                    step += quiet;
                    continue;
                }
                let arrivals = match step.checked_sub(dynamics.scheme().delay()) {
                    Some(emitted) => upstream.events(emitted),
                    None => &[],
                };
                kernels.forward_step(
                    dynamics,
                    weights,
                    arrivals,
                    &mut layer.neurons,
                    &mut layer.log,
                    statistics,
                )?;
                layer.log.end_step()?;
                step += 1;
            }
        }
        done = core::slice::from_mut(layer);
        rest = later;
    }
    Ok(())
}

/// Runs a sample backward: adds to every layer's gradient.
///
/// The errors of the last layer's spikes must stand in its log ([`EventLog::errors_mut`]). `sums` is
/// scratch memory for the error sums of one step: as long as the most events of a hidden layer in one
/// step.
///
/// # Panics
/// If shapes do not fit together, or [`forward`] was not run before.
#[inline(always)]
pub fn backward(
    kernels: &impl Kernels,
    dynamics: &Dynamics<'_>,
    weights: &[&[i32]],
    input: &EventLog<'_>,
    layers: &mut [Layer<'_>],
    sums: &mut [i64],
    statistics: &mut Statistics,
) {
    // Nothing happens in an empty step, but on the grid.
    let exact = dynamics.scheme() == Scheme::Exact;
    for index in (0..layers.len()).rev() {
        let (below, from_here) = layers.split_at_mut(index);
        let layer = &mut from_here[0];
        let mut upstream = below.last_mut().map(|layer| &mut layer.log);
        layer.neurons.silence();
        let steps = input.steps();
        for first in (0..steps).step_by(STEPS_PER_WORD).rev() {
            let above = upstream.as_deref().unwrap_or(input);
            let mut busy = if exact {
                above.busy(first) | layer.log.busy(first)
            } else {
                u64::MAX >> (STEPS_PER_WORD - STEPS_PER_WORD.min(steps - first))
            };
            while let Some(last) = busy.checked_ilog2() {
                busy ^= 1 << last;
                let step = first + last as usize;
                let emitted = step.checked_sub(dynamics.scheme().delay());
                match (&mut upstream, emitted) {
                    (Some(upstream), Some(emitted)) => {
                        let LoggedStep { events, errors, .. } = upstream.step_mut(emitted);
                        let sums = &mut sums[..events.len()];
                        kernels.backward_step(
                            dynamics,
                            weights[index],
                            layer.gradient,
                            events,
                            layer.log.step_mut(step),
                            &mut layer.neurons,
                            Some(sums),
                            statistics,
                        );
                        for (error, &sum) in errors.iter_mut().zip(sums.iter()) {
                            *error = round_error(sum, &mut statistics.saturations);
                        }
                    }
                    (_, emitted) => kernels.backward_step(
                        dynamics,
                        weights[index],
                        layer.gradient,
                        emitted.map_or(&[], |emitted| input.events(emitted)),
                        layer.log.step_mut(step),
                        &mut layer.neurons,
                        None,
                        statistics,
                    ),
                }
            }
        }
    }
}
