//! Policies as people write them: `fixed:20m`, `hybrid:range=2h,tail=95`, `frontier:price=50GBs`.

use crate::config::{nearest, parse_ms, show_ms};

use super::budget::Target;
use super::{Fixed, Frontier, Hybrid, Policy, Weight};

/// The names that a policy can have.
pub const NAMES: [&str; 3] = ["fixed", "hybrid", "frontier"];

/// Why a text names no policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// No policy of that name.
    #[error("unknown policy '{found}': expected one of {}{}", known.join(", "), nearest_hint(found, known))]
    UnknownPolicy {
        /// The name given.
        found: String,
        /// The names there are.
        known: &'static [&'static str],
    },
    /// No parameter of that name.
    #[error(
        "policy '{policy}' has no parameter '{found}': expected one of {}{}",
        known.join(", "), nearest_hint(found, known)
    )]
    UnknownParameter {
        /// The policy.
        policy: &'static str,
        /// The name given.
        found: String,
        /// The names it has.
        known: &'static [&'static str],
    },
    /// The price is given in two ways.
    #[error(
        "policy 'frontier' has both '{one}' and '{other}': expected one of {}, which each settle the price",
        FRONTIER_PRICES.join(", ")
    )]
    TwoPrices {
        /// The parameter given first.
        one: String,
        /// The other.
        other: String,
    },
    /// A parameter with a value that it can't take.
    #[error("parameter '{parameter}' of policy '{policy}' is '{found}': expected {expected}")]
    BadValue {
        /// The policy.
        policy: &'static str,
        /// The parameter.
        parameter: String,
        /// The value given.
        found: String,
        /// What it can be.
        expected: &'static str,
    },
}

fn nearest_hint(found: &str, known: &[&str]) -> String {
    nearest(found, known.iter().copied()).map_or(String::new(), |name| format!("; did you mean '{name}'?"))
}

/// Reads `text`; parameters that it doesn't name have their defaults, of those named twice the last counts.
pub fn parse(text: &str) -> Result<Policy, SpecError> {
    let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
    let parameters = parameters.split(',').map(str::trim).filter(|parameter| !parameter.is_empty());
    match name.trim() {
        "fixed" => {
            let mut fixed = Fixed::default();
            for parameter in parameters {
                let (key, value) = parameter.split_once('=').unwrap_or(("keep_alive", parameter));
                match key {
                    "keep_alive" => fixed.keep_alive_ms = duration("fixed", key, value)?,
                    _ => return Err(unknown("fixed", key, &["keep_alive"])),
                }
            }
            Ok(Policy::Fixed(fixed))
        }
        "hybrid" => {
            let mut hybrid = Hybrid::default();
            for parameter in parameters {
                let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                match key {
                    "bin" => hybrid.bin_ms = duration("hybrid", key, value)?,
                    "range" => hybrid.range_ms = duration("hybrid", key, value)?,
                    "head" => hybrid.head = percent("hybrid", key, value)?,
                    "tail" => hybrid.tail = percent("hybrid", key, value)?,
                    "margin" => hybrid.margin = percent("hybrid", key, value)?,
                    "max_out_of_bounds" => hybrid.max_out_of_bounds = percent("hybrid", key, value)?,
                    "forecast" => hybrid.forecast = on_or_off("hybrid", key, value)?,
                    "forecast_margin" => hybrid.forecast_margin = percent("hybrid", key, value)?,
                    "lead" if value == "0" || value == "0s" => hybrid.lead_ms = 0,
                    "lead" => hybrid.lead_ms = duration("hybrid", key, value)?,
                    "min_idle_times" => {
                        hybrid.min_idle_times =
                            value.parse().map_err(|_| bad("hybrid", key, value, "a whole number"))?;
                    }
                    "min_cv" => {
                        hybrid.min_cv = value
                            .parse()
                            .ok()
                            .filter(|cv: &f64| cv.is_finite() && *cv >= 0.0)
                            .ok_or_else(|| bad("hybrid", key, value, "a number of at least 0"))?;
                    }
                    _ => return Err(unknown("hybrid", key, &HYBRID_PARAMETERS)),
                }
            }
            check(&hybrid)?;
            Ok(Policy::Hybrid(hybrid))
        }
        "frontier" => {
            let mut frontier = Frontier::default();
            let mut given: Option<&str> = None;
            for parameter in parameters {
                let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                if FRONTIER_PRICES.contains(&key) {
                    if let Some(given) = given.filter(|given| *given != key) {
                        return Err(SpecError::TwoPrices { one: given.to_owned(), other: key.to_owned() });
                    }
                    given = Some(key);
                }
                match key {
                    "price" => frontier.price_mb_s = parse_price_mb_s("frontier", key, value)?,
                    "budget" => {
                        frontier.target = Some(Target::IdleMemory(parse_memory_mb("frontier", key, value)?));
                    }
                    "cold_rate" => frontier.target = Some(Target::ColdRate(percent("frontier", key, value)?)),
                    "cold_rate_p75" => frontier.target = Some(Target::ColdRateP75(percent("frontier", key, value)?)),
                    "weight" => {
                        frontier.weight = match value {
                            "invocation" => Weight::Invocation,
                            "app" => Weight::App,
                            _ => return Err(bad("frontier", key, value, "invocation or app")),
                        }
                    }
                    _ => return Err(unknown("frontier", key, &FRONTIER_PARAMETERS)),
                }
            }
            Ok(Policy::Frontier(frontier))
        }
        other => Err(SpecError::UnknownPolicy { found: other.to_owned(), known: &NAMES }),
    }
}

const HYBRID_PARAMETERS: [&str; 11] = [
    "bin",
    "range",
    "head",
    "tail",
    "margin",
    "max_out_of_bounds",
    "min_idle_times",
    "min_cv",
    "forecast",
    "forecast_margin",
    "lead",
];
const FRONTIER_PARAMETERS: [&str; 5] = ["price", "budget", "cold_rate", "cold_rate_p75", "weight"];
/// Ways to say what a cold start is worth, of which only one can hold: the price, or what to solve it for.
pub(crate) const FRONTIER_PRICES: [&str; 4] = ["price", "budget", "cold_rate", "cold_rate_p75"];

/// Bins per app at most: each costs 4 bytes for every app that uses it.
const MOST_BINS: i64 = 10_000;

fn check(hybrid: &Hybrid) -> Result<(), SpecError> {
    let shape = hybrid.range_ms / hybrid.bin_ms;
    if !(1..=MOST_BINS).contains(&shape) || hybrid.range_ms % hybrid.bin_ms != 0 {
        return Err(bad("hybrid", "range", &show_ms(hybrid.range_ms), "1 to 10,000 times the parameter 'bin'"));
    }
    if hybrid.head > hybrid.tail {
        return Err(bad("hybrid", "head", &(hybrid.head * 100.0).to_string(), "at most the parameter 'tail'"));
    }
    Ok(())
}

fn duration(policy: &'static str, parameter: &str, value: &str) -> Result<i64, SpecError> {
    parse_ms(value)
        .ok()
        .filter(|ms| *ms > 0)
        .ok_or_else(|| bad(policy, parameter, value, "a duration such as 90s, 10m or 4h"))
}

fn percent(policy: &'static str, parameter: &str, value: &str) -> Result<f64, SpecError> {
    let number = value.trim_end_matches('%').trim().parse::<f64>();
    number
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| bad(policy, parameter, value, "a percentage from 0 to 100"))
}

fn on_or_off(policy: &'static str, parameter: &str, value: &str) -> Result<bool, SpecError> {
    match value {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(bad(policy, parameter, value, "on or off")),
    }
}

/// `50GBs` or `51200MBs`: memory × time, in MB·s.
pub(crate) fn parse_price_mb_s(policy: &'static str, parameter: &str, value: &str) -> Result<f64, SpecError> {
    let number = quantity(value, &[("GBs", 1024.0), ("GB·s", 1024.0), ("MBs", 1.0), ("MB·s", 1.0)]);
    number.ok_or_else(|| bad(policy, parameter, value, "memory times seconds, such as 50GBs or 800MBs"))
}

/// `64GB` or `500MB`, in MB.
pub(crate) fn parse_memory_mb(policy: &'static str, parameter: &str, value: &str) -> Result<f64, SpecError> {
    let number = quantity(value, &[("TB", 1024.0 * 1024.0), ("GB", 1024.0), ("MB", 1.0)]);
    number.ok_or_else(|| bad(policy, parameter, value, "memory, such as 64GB or 500MB"))
}

fn quantity(value: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, unit) = units.iter().find_map(|(unit, size)| Some((value.strip_suffix(unit)?, size)))?;
    number.trim().parse::<f64>().ok().map(|number| number * unit).filter(|number| *number > 0.0 && *number <= 1e15)
}

fn unknown(policy: &'static str, found: &str, known: &'static [&'static str]) -> SpecError {
    SpecError::UnknownParameter { policy, found: found.to_owned(), known }
}

fn bad(policy: &'static str, parameter: &str, found: &str, expected: &'static str) -> SpecError {
    SpecError::BadValue { policy, parameter: parameter.to_owned(), found: found.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy, String> {
        parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(read("fixed"), Ok(Policy::Fixed(Fixed { keep_alive_ms: 600_000 })));
        assert_eq!(read("fixed:20m"), Ok(Policy::Fixed(Fixed { keep_alive_ms: 1_200_000 })));
        assert_eq!(read("hybrid"), Ok(Policy::Hybrid(Hybrid::default())));
        let narrow = Hybrid { range_ms: 7_200_000, tail: 0.95, ..Hybrid::default() };
        assert_eq!(read("hybrid:range=2h,tail=95%"), Ok(Policy::Hybrid(narrow)));
        let plain = Hybrid { forecast: false, lead_ms: 90_000, ..Hybrid::default() };
        assert_eq!(read("hybrid:forecast=off,lead=90s"), Ok(Policy::Hybrid(plain)));
        let priced = Frontier { price_mb_s: 51_200.0, weight: Weight::App, ..Frontier::default() };
        assert_eq!(read("frontier:price=50GBs,weight=app"), Ok(Policy::Frontier(priced)));
        assert_eq!(read("frontier:price=102400 MB·s"), read("frontier"));
        let target = |target| Ok(Policy::Frontier(Frontier { target: Some(target), ..Frontier::default() }));
        assert_eq!(read("frontier:budget=64GB"), target(Target::IdleMemory(65_536.0)));
        assert_eq!(read("frontier:cold_rate=2%"), target(Target::ColdRate(0.02)));
        assert_eq!(read("frontier:cold_rate_p75=10%"), target(Target::ColdRateP75(0.1)));
    }

    #[test]
    fn says_what_is_wrong_and_what_was_meant() {
        let table = [
            ("hibrid", "unknown policy 'hibrid': expected one of fixed, hybrid, frontier; did you mean 'hybrid'?"),
            ("", "unknown policy '': expected one of fixed, hybrid, frontier"),
            (
                "fixed:soon",
                "parameter 'keep_alive' of policy 'fixed' is 'soon': expected a duration such as 90s, 10m or 4h",
            ),
            (
                "fixed:0s",
                "parameter 'keep_alive' of policy 'fixed' is '0s': expected a duration such as 90s, 10m or 4h",
            ),
            (
                "hybrid:tial=95",
                "policy 'hybrid' has no parameter 'tial': expected one of bin, range, head, tail, margin, \
                 max_out_of_bounds, min_idle_times, min_cv, forecast, forecast_margin, lead; did you mean 'tail'?",
            ),
            ("hybrid:tail=950", "parameter 'tail' of policy 'hybrid' is '950': expected a percentage from 0 to 100"),
            (
                "frontier:price=50",
                "parameter 'price' of policy 'frontier' is '50': expected memory times seconds, such as 50GBs or 800MBs",
            ),
            (
                "frontier:budget=64GB,cold_rate=2%",
                "policy 'frontier' has both 'budget' and 'cold_rate': expected one of price, budget, cold_rate, \
                 cold_rate_p75, which each settle the price",
            ),
            (
                "frontier:cold_rate=two",
                "parameter 'cold_rate' of policy 'frontier' is 'two': expected a percentage from 0 to 100",
            ),
            (
                "hybrid:range=30d",
                "parameter 'range' of policy 'hybrid' is '30days': expected 1 to 10,000 times the parameter 'bin'",
            ),
        ];
        for (text, message) in table {
            assert_eq!(read(text).unwrap_err(), message);
        }
    }
}
