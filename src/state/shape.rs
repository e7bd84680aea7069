//! Which idle times a histogram counts as alike.

/// Bins to an octave of a log-linear shape: a bin is 3 to 6 % as wide as the idle times in it are long.
const SUB: i64 = 16;

/// The bins of a histogram, from 0 on. Longer idle times are counted out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Bins of the same width.
    Linear {
        /// Width of a bin, ms.
        bin_ms: i64,
        /// Number of bins.
        bins: usize,
    },
    /// Fine bins for short idle times, coarser ones for long: 32 bins of `unit_ms`, then 16 to each doubling.
    LogLinear {
        /// Width of the first bins, ms.
        unit_ms: i64,
        /// Number of bins.
        bins: usize,
    },
}

impl Shape {
    /// Number of bins.
    pub const fn bins(&self) -> usize {
        match self {
            Shape::Linear { bins, .. } | Shape::LogLinear { bins, .. } => *bins,
        }
    }

    /// The end of the last bin, ms.
    pub const fn range_ms(&self) -> i64 {
        self.lower_ms(self.bins())
    }

    /// The bin of an idle time of `idle_ms`; [`Shape::bins`] where it is out of bounds.
    pub fn bin(&self, idle_ms: i64) -> usize {
        // Most idle times are of busy apps, and a division takes long.
        let bin = match self {
            Shape::Linear { bin_ms: first_ms, .. } | Shape::LogLinear { unit_ms: first_ms, .. }
                if idle_ms < *first_ms =>
            {
                0
            }
            Shape::Linear { bin_ms, .. } => idle_ms.max(0) / bin_ms,
            Shape::LogLinear { unit_ms, .. } => {
                let units = idle_ms.max(0) / unit_ms;
                if units < 2 * SUB {
                    units
                } else {
                    let shift = i64::from(units.ilog2() - SUB.ilog2());
                    shift * SUB + (units >> shift)
                }
            }
        };
        (bin as usize).min(self.bins())
    }

    /// Where a bin begins, ms.
    pub const fn lower_ms(&self, bin: usize) -> i64 {
        let bin = bin as i64;
        match self {
            Shape::Linear { bin_ms, .. } => bin * *bin_ms,
            Shape::LogLinear { unit_ms, .. } => {
                let shift = bin / SUB - 1;
                if shift < 1 { bin * *unit_ms } else { ((bin % SUB + SUB) << shift) * *unit_ms }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINE: Shape = Shape::LogLinear { unit_ms: 1000, bins: 230 };

    #[test]
    fn log_linear_bins_widen_with_their_distance() {
        assert_eq!(
            (FINE.lower_ms(1), FINE.lower_ms(32), FINE.lower_ms(33), FINE.lower_ms(48)),
            (1000, 32_000, 34_000, 64_000)
        );
        assert_eq!(FINE.range_ms(), 180_224_000, "50 hours");
        assert_eq!([0, 999, 1000, 31_999, 32_000, 33_999, 34_000].map(|ms| FINE.bin(ms)), [0, 0, 1, 31, 32, 32, 33]);
        assert_eq!(FINE.bin(FINE.range_ms()), 230, "out of bounds");
    }

    proptest! {
        #[test]
        fn an_idle_time_lies_in_its_bin(idle_ms in 0_i64..400_000_000, linear: bool) {
            let shape = if linear { Shape::Linear { bin_ms: 60_000, bins: 240 } } else { FINE };
            let bin = shape.bin(idle_ms);
            if bin < shape.bins() {
                prop_assert!(shape.lower_ms(bin) <= idle_ms && idle_ms < shape.lower_ms(bin + 1));
            } else {
                prop_assert!(idle_ms >= shape.range_ms());
            }
        }
    }
}
