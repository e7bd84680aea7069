use super::*;

fn outcome(policy: &str, cold_percents: &[f64], idle_gb_hours: f64) -> Outcome {
    Outcome {
        policy: policy.to_owned(),
        apps: cold_percents.len(),
        invocations: 1_000,
        cold_starts: 100,
        cold_percent_p50: 10.0,
        cold_percent_p75: 20.0,
        cold_percent_p90: 30.0,
        cold_percent_mean: 12.0,
        always_cold_apps: 0,
        idle_app_minutes: 60.0,
        idle_gb_hours,
        price_gb_s: None,
        cold_percents: cold_percents.to_vec(),
    }
}

#[test]
fn every_policy_is_in_both_pictures() {
    let outcomes = [
        outcome("fixed:10m", &[0.0, 50.0, 100.0], 10.0),
        outcome("frontier:price=2GBs", &[1.0], 6.0),
        outcome("frontier:price=9GBs", &[1.0], 8.0),
        outcome("<svg onload=x>", &[], 0.0),
    ];
    let cdf = cold_start_cdf(&outcomes).unwrap().file();
    for text in ["fixed:10m", "frontier:price=2GBs", "&lt;svg onload=x&gt;", "cold starts of an app"] {
        assert!(cdf.contains(text), "{text}");
    }
    let trade_off = trade_off(&outcomes, Measure::ColdPercentP75).unwrap().file();
    for text in ["fixed:10m", ">price=2GBs<", ">price=9GBs<", "frontier, by price", "GB·h"] {
        assert!(trade_off.contains(text), "{text}");
    }
    assert!(!cdf.contains("NaN") && !trade_off.contains("NaN"));
    assert!(matches!(cold_start_cdf(&[]), Err(Error::Nothing)));
}

#[test]
fn the_frontier_is_joined_in_the_order_of_its_idle_memory() {
    let outcomes = [9.0, 1.0, 5.0].map(|idle| outcome(&format!("frontier:price={idle}"), &[], idle));
    let picture = trade_off(&outcomes, Measure::ColdStarts).unwrap().inline();
    let way = picture.split("class=\"published\" d=\"M").nth(1).unwrap().split('"').next().unwrap();
    let across: Vec<f64> = way.split('L').map(|point| point.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(across.len() == 3 && across.is_sorted(), "{way}");
}

#[test]
fn the_ending_says_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let outcomes = [outcome("hybrid:weight=app", &[3.0], 1.0)];
    for (name, begin, end) in [("a.svg", "<svg xmlns", "</svg>\n"), ("b.HTML", "<!doctype html>", "</html>\n")] {
        let path = folder.path().join(name);
        write(&path, &outcomes).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with(begin) && text.ends_with(end), "{name}");
        assert!(text.contains("Cold starts by app") && text.contains("75th-percentile app against idle memory"));
    }
    let error = write(&folder.path().join("c.png"), &outcomes).unwrap_err().to_string();
    assert!(error.contains("ends in '.png': expected .svg"), "{error}");
    let error = write(&folder.path().join("none"), &outcomes).unwrap_err().to_string();
    assert!(error.contains("has no ending: expected .svg"), "{error}");
    let error = write(&folder.path().join("no/d.svg"), &outcomes).unwrap_err().to_string();
    assert!(error.contains("can't be written"), "{error}");
}
