//! Student's t distribution.

/// The 97.5 % quantile for this many degrees of freedom (at least 1); the half-width of a 95 % interval in spreads.
///
/// Exact for 1 and 2, above that the expansion of Fisher and Cornish in powers of 1/ν (Abramowitz and Stegun 26.7.5),
/// whose error is below 0.2 %.
pub(super) fn quantile_975(degrees_of_freedom: usize) -> f64 {
    const NORMAL: f64 = 1.959_963_984_540_054;
    match degrees_of_freedom {
        0 | 1 => 12.706_204_736_174_7,
        2 => 4.302_652_729_749_46,
        freedom => {
            let (x, v) = (NORMAL, freedom as f64);
            let g1 = (x.powi(3) + x) / 4.0;
            let g2 = (5.0 * x.powi(5) + 16.0 * x.powi(3) + 3.0 * x) / 96.0;
            let g3 = (3.0 * x.powi(7) + 19.0 * x.powi(5) + 17.0 * x.powi(3) - 15.0 * x) / 384.0;
            let g4 =
                (79.0 * x.powi(9) + 776.0 * x.powi(7) + 1482.0 * x.powi(5) - 1920.0 * x.powi(3) - 945.0 * x) / 92_160.0;
            x + g1 / v + g2 / v.powi(2) + g3 / v.powi(3) + g4 / v.powi(4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        for (freedom, printed) in
            [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980)]
        {
            let found = quantile_975(freedom);
            assert!((found / printed - 1.0).abs() < 2e-3, "{freedom}: {found} is not {printed}");
        }
    }
}
