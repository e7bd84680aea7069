//! What a figure means: the classes and bins of the paper.

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};

use super::of_numbers;

/// Invocations per day up to which a class reaches, and its name, which sorts.
pub(super) const CLASSES: [(f64, &str); 4] = [
    (1.0, "1: up to 1/day"),
    (24.0, "2: up to 1/hour"),
    (1_440.0, "3: up to 1/minute"),
    (86_400.0, "4: up to 1/second"),
];
pub(super) const FASTEST: &str = "5: above 1/second";

pub(super) const MINUTE_MS: f64 = 60_000.0;
/// The bin of idle times that are too long for the others: 4 h in minutes (§4.2).
pub(super) const OUT_OF_BOUNDS: f64 = 240.0;

/// `rate_class(per_day)`: the class of an average rate, as the axes of figure 5 mark them.
pub(super) fn rate_class() -> ScalarUDF {
    let class = |[per_day]: [f64; 1]| {
        let class = CLASSES.iter().find(|(most, _)| per_day <= *most).map_or(FASTEST, |(_, name)| name);
        (per_day >= 0.0).then_some(class)
    };
    create_udf("rate_class", vec![DataType::Float64], DataType::Utf8, Volatility::Immutable, of_numbers(class))
}

/// `idle_bin(ms)`: the bin of an idle time in the paper's histogram of minutes; 240 where it is out of bounds.
pub(super) fn idle_bin() -> ScalarUDF {
    let bin = |[idle_ms]: [f64; 1]| (idle_ms >= 0.0).then(|| (idle_ms / MINUTE_MS).floor().min(OUT_OF_BOUNDS) as i64);
    create_udf("idle_bin", vec![DataType::Float64], DataType::Int64, Volatility::Immutable, of_numbers(bin))
}
