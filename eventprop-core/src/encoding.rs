//! From features to input spikes.

/// Fraction bits of a feature.
pub const FEATURE_FRACTION: u32 = 30;
/// Fraction bits of the times that an encoding is built from.
const TIME_FRACTION: u32 = 12;

/// Which end of a feature's range spikes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Latency code: time grows with the value, `t = first + x (last - first)`.
    SmallFirst,
    /// Linear code of the paper's off-chip twin: large values first,
    /// `t = first + min(1 - x, 0.99) (last - first)`.
    LargeFirst,
}

/// Turns a feature in 0 to 1 into the time of one spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    order: Order,
    first: u32,
    span: u32,
}

impl Encoding {
    /// Takes the times of the ends of the range, in ticks.
    ///
    /// Returns `None` unless `0 <= first <= last < 2^20`.
    #[must_use]
    pub fn new(order: Order, first: f64, last: f64) -> Option<Self> {
        let fixed = |t: f64| libm::floor(t * f64::from(1u32 << TIME_FRACTION) + 0.5) as u32;
        (first >= 0.0 && first <= last && last < f64::from(1u32 << 20)).then(|| Self {
            order,
            first: fixed(first),
            span: fixed(last) - fixed(first),
        })
    }

    /// Time of the spike for `feature` ([`FEATURE_FRACTION`] fraction bits, 0 to 1; larger values
    /// count as 1), in ticks, to nearest.
    #[must_use]
    pub fn ticks(&self, feature: u32) -> u32 {
        const ONE: u64 = 1 << FEATURE_FRACTION;
        const LARGEST_DELAY: u64 = ONE * 99 / 100;
        let x = u64::from(feature).min(ONE);
        let delay = match self.order {
            Order::SmallFirst => x,
            Order::LargeFirst => (ONE - x).min(LARGEST_DELAY),
        };
        let time = (u64::from(self.first) << FEATURE_FRACTION) + delay * u64::from(self.span);
        let shift = FEATURE_FRACTION + TIME_FRACTION;
        ((time + (1 << (shift - 1))) >> shift) as u32
    }
}

/// A real feature in the format of [`Encoding::ticks`]. Values outside 0 to 1 and not-a-numbers are
/// limited to that range.
#[must_use]
pub fn feature_from_f64(x: f64) -> u32 {
    libm::floor(x.clamp(0.0, 1.0) * f64::from(1u32 << FEATURE_FRACTION) + 0.5) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_and_linear_codes_follow_their_formulas() {
        let latency = Encoding::new(Order::SmallFirst, 0.0, 7680.0).unwrap();
        let linear = Encoding::new(Order::LargeFirst, 2.0, 26.0).unwrap();
        for n in 0..=1000 {
            let x = f64::from(n) / 1000.0;
            let feature = feature_from_f64(x);
            assert!((f64::from(latency.ticks(feature)) - 7680.0 * x).abs() <= 0.501);
            let t = (24.0 * (1.0 - x)).min(23.76) + 2.0;
            assert!((f64::from(linear.ticks(feature)) - t).abs() <= 0.501);
        }
        assert_eq!(linear.ticks(0), 26);
        assert_eq!(linear.ticks(feature_from_f64(1.0)), 2);
        assert!(Encoding::new(Order::SmallFirst, 3.0, 2.0).is_none());
        assert!(Encoding::new(Order::SmallFirst, f64::NAN, 2.0).is_none());
    }
}
