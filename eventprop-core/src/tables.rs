//! Coefficients of both discretisations.

use crate::numeric;

/// Which discretisation of the neuron's equations is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Exact integration over a step; events carry their time within the step.
    ///
    /// Forward as in Morrison et al. 2007, "Exact subthreshold integration with continuous spike
    /// times in discrete-time neural network simulations"; backward the adjoint of the same steps.
    Exact,
    /// The discretisation of Béna et al. 2024 (arXiv:2412.15021): spikes on the time grid, acting one
    /// step later.
    Grid,
}

impl Scheme {
    /// Steps between an event's emission and its arrival downstream: 0 for [`Scheme::Exact`], where
    /// layers run as a pipeline without delay, 1 for [`Scheme::Grid`].
    #[must_use]
    pub const fn delay(self) -> usize {
        match self {
            Self::Exact => 0,
            Self::Grid => 1,
        }
    }
}

/// Decay and coupling over a number of ticks. All are fractions with 32 fraction bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Coefficients {
    /// `exp(-h/tau_s) - 1`, for the synaptic current and its adjoint.
    pub current_decay: i32,
    /// `exp(-h/tau_m) - 1`, for the membrane and its adjoint.
    pub membrane_decay: i32,
    /// What a current adds to the membrane: `tau_s/(tau_m-tau_s) * (exp(-h/tau_m) - exp(-h/tau_s))`.
    pub current_to_membrane: i32,
    /// What the membrane's adjoint adds to the current's:
    /// `tau_m/(tau_m-tau_s) * (exp(-h/tau_m) - exp(-h/tau_s))`.
    pub membrane_to_current: i32,
}

/// Largest binary logarithm of the ticks per step.
pub const MAX_TICK_BITS: u32 = 8;

/// Why a table cannot be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TableError {
    /// A time constant or the step is not a positive finite number.
    NotPositive,
    /// The step is longer than ln 2 times the shorter time constant: a decay over it would leave the
    /// format, and the threshold search would miss spikes. Holds the longest step allowed, in ms.
    StepTooLong(f64),
    /// The slice is not `ticks + 1` long.
    Length,
}

/// Fills `table[d]` with the coefficients over `d` of `ticks` ticks of a step of `step_ms`;
/// `table` has the length `ticks + 1`.
///
/// Computed with the `libm` crate's exponential, whose bits are the same on every machine.
///
/// # Errors
/// See [`TableError`].
pub fn fill(
    table: &mut [Coefficients],
    step_ms: f64,
    tau_membrane_ms: f64,
    tau_synapse_ms: f64,
) -> Result<(), TableError> {
    let positive = |x: f64| x.is_finite() && x > 0.0;
    if !(positive(step_ms) && positive(tau_membrane_ms) && positive(tau_synapse_ms)) {
        return Err(TableError::NotPositive);
    }
    let longest = core::f64::consts::LN_2 * tau_membrane_ms.min(tau_synapse_ms);
    if step_ms > longest {
        return Err(TableError::StepTooLong(longest));
    }
    let ticks = table
        .len()
        .checked_sub(1)
        .filter(|&t| t > 0)
        .ok_or(TableError::Length)?;
    for (d, entry) in table.iter_mut().enumerate() {
        let h = step_ms * d as f64 / ticks as f64;
        let (x_m, x_s) = (h / tau_membrane_ms, h / tau_synapse_ms);
        // (exp(-x_m) - exp(-x_s)) / (x_s - x_m), through expm1 so that nearly equal time constants
        // lose nothing; its limit for equal ones is exp(-x).
        let difference = x_s - x_m;
        let ratio = if difference == 0.0 {
            libm::exp(-x_m)
        } else {
            -libm::exp(-x_m) * libm::expm1(-difference) / difference
        };
        // tau_s/(tau_m-tau_s) = x_m/(x_s-x_m) and tau_m/(tau_m-tau_s) = x_s/(x_s-x_m).
        *entry = Coefficients {
            current_decay: fraction(libm::expm1(-x_s)),
            membrane_decay: fraction(libm::expm1(-x_m)),
            current_to_membrane: fraction(x_m * ratio),
            membrane_to_current: fraction(x_s * ratio),
        };
    }
    Ok(())
}

/// A number of at most one half in magnitude with 32 fraction bits.
fn fraction(x: f64) -> i32 {
    libm::floor(x * 4_294_967_296.0 + 0.5) as i32
}

/// Everything that a layer's kernels need to know of time and threshold.
#[derive(Clone, Copy, Debug)]
pub struct Dynamics<'t> {
    scheme: Scheme,
    table: &'t [Coefficients],
    spikes_per_step: usize,
    slope_floor: i32,
}

impl<'t> Dynamics<'t> {
    /// Takes a table made by [`fill`] (one more entry than ticks per step, a power of two of ticks;
    /// one tick for [`Scheme::Grid`]), the most spikes that one neuron may emit in a step (1 to
    /// [`MAX_SPIKES_PER_STEP`](crate::neuron::MAX_SPIKES_PER_STEP)) and the least divisor c at a
    /// spike (F20; 0 and 1 both mean one unit in the last place, which is "no floor").
    ///
    /// Returns `None` if an argument is out of its range.
    #[must_use]
    pub fn new(
        scheme: Scheme,
        table: &'t [Coefficients],
        spikes_per_step: usize,
        slope_floor: i32,
    ) -> Option<Self> {
        let ticks = table.len().checked_sub(1)?;
        let fits = ticks.is_power_of_two()
            && ticks <= 1 << MAX_TICK_BITS
            && (scheme == Scheme::Exact || ticks == 1)
            && (1..=crate::neuron::MAX_SPIKES_PER_STEP).contains(&spikes_per_step)
            && (0..=numeric::STATE_LIMIT).contains(&slope_floor);
        fits.then_some(Self {
            scheme,
            table,
            spikes_per_step,
            slope_floor: slope_floor.max(1),
        })
    }

    /// The discretisation.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Ticks per step, Q.
    #[must_use]
    pub fn ticks(&self) -> usize {
        self.table.len() - 1
    }

    /// Most spikes of one neuron in one step.
    #[must_use]
    pub fn spikes_per_step(&self) -> usize {
        self.spikes_per_step
    }

    /// Least divisor at a spike, at least one unit in the last place (F20).
    #[must_use]
    pub fn slope_floor(&self) -> i32 {
        self.slope_floor
    }

    /// Coefficients over `ticks` ticks.
    #[inline(always)]
    pub(crate) fn over(&self, ticks: usize) -> &'t Coefficients {
        &self.table[ticks]
    }

    /// Coefficients over a whole step.
    #[inline(always)]
    pub(crate) fn step(&self) -> &'t Coefficients {
        &self.table[self.ticks()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_follows_its_formulas() {
        for (tau_m, tau_s) in [(20.0, 5.0), (5.0, 20.0), (10.0, 10.0), (10.0, 10.000001)] {
            let mut table = [Coefficients::default(); 257];
            fill(&mut table, 1.0, tau_m, tau_s).unwrap();
            assert_eq!(table[0], Coefficients::default());
            for (d, entry) in table.iter().enumerate() {
                let h = d as f64 / 256.0;
                let (em, es) = ((-h / tau_m).exp(), (-h / tau_s).exp());
                let (kf, kb) = if (tau_m - tau_s).abs() < 1e-3 {
                    (h / tau_m * em, h / tau_s * es)
                } else {
                    (
                        tau_s / (tau_m - tau_s) * (em - es),
                        tau_m / (tau_m - tau_s) * (em - es),
                    )
                };
                let pairs = [
                    (entry.current_decay, es - 1.0),
                    (entry.membrane_decay, em - 1.0),
                    (entry.current_to_membrane, kf),
                    (entry.membrane_to_current, kb),
                ];
                for (got, want) in pairs {
                    assert!((f64::from(got) / 4_294_967_296.0 - want).abs() < 1e-8);
                }
            }
        }
    }

    #[test]
    fn impossible_times_are_refused() {
        let mut table = [Coefficients::default(); 2];
        assert_eq!(
            fill(&mut table, 1.0, -20.0, 5.0),
            Err(TableError::NotPositive)
        );
        assert_eq!(
            fill(&mut table, 1.0, 20.0, f64::NAN),
            Err(TableError::NotPositive)
        );
        assert!(
            matches!(fill(&mut table, 4.0, 20.0, 5.0), Err(TableError::StepTooLong(t)) if (t - 3.4657).abs() < 1e-3)
        );
        assert_eq!(fill(&mut [], 1.0, 20.0, 5.0), Err(TableError::Length));
    }
}
