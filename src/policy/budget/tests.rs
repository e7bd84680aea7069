//! Curves add up, and prices follow from them.

use proptest::prelude::*;

use super::curve::{App, prices};
use super::*;

/// Apps of which each is loaded the longer and cold the less often the higher the price.
fn curve(apps: &[(f64, f64)], invocations_per_s: f64) -> Curve {
    let mut curve = Curve::empty(60_000);
    curve.invocations_per_s = invocations_per_s;
    for (idle_mb, begins_cold_at) in apps {
        for point in &mut curve.points {
            let worth = point.price_mb_s / (point.price_mb_s + begins_cold_at);
            let cold_rate = 0.01 + 0.99 * (1.0 - worth);
            let share = invocations_per_s / apps.len() as f64;
            point.add(App { idle_mb: idle_mb * worth, cold_per_s: cold_rate * share, cold_rate }, 1);
        }
    }
    curve
}

fn some() -> Curve {
    curve(&[(100.0, 1e4), (200.0, 1e5), (300.0, 1e6), (50.0, 1e3)], 2.0)
}

fn near(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() < 1e-9
}

/// The price found by going on until it stays.
fn settled(curve: &Curve, target: Target) -> Solution {
    let mut price_mb_s = 1e5;
    for _ in 0..20 {
        price_mb_s = solve(curve, target, price_mb_s).price_mb_s;
    }
    solve(curve, target, price_mb_s)
}

#[test]
fn curves_of_shards_add_up() {
    let (a, b) = (curve(&[(100.0, 1e4), (200.0, 1e5)], 1.0), curve(&[(300.0, 1e6)], 3.0));
    let mut sum = a.clone();
    sum.add(&b).unwrap();
    assert_eq!(sum.invocations_per_s, 4.0);
    for ((sum, a), b) in sum.points.iter().zip(&a.points).zip(&b.points) {
        assert!(near(sum.idle_mb, a.idle_mb + b.idle_mb) && near(sum.cold_per_s, a.cold_per_s + b.cold_per_s));
        assert_eq!(sum.apps_by_cold_percent.iter().sum::<u64>(), 3);
    }
    assert_eq!(sum.add(&Curve::empty(250)), Err(OtherPrices), "of a workload at 240 times the speed");
}

#[test]
fn the_fleet_takes_the_latest_of_each_partition_in_any_order() {
    let record = |partition, position, idle_mb| ShardCurve {
        topic: "t".to_owned(),
        partition,
        position,
        at_ms: position,
        price_mb_s: 1.0,
        curve: curve(&[(idle_mb, 1e4)], 1.0),
    };
    let records = [record(0, 1, 10.0), record(0, 9, 20.0), record(1, 5, 30.0)];
    let sum = |order: [usize; 3]| {
        let mut fleet = Fleet::default();
        order.iter().for_each(|i| fleet.take(records[*i].clone()));
        fleet.sum().unwrap().unwrap()
    };
    let mut expected = records[1].curve.clone();
    expected.add(&records[2].curve).unwrap();
    assert_eq!(sum([0, 1, 2]), expected);
    assert_eq!(sum([2, 1, 0]), expected);
    assert_eq!(Fleet::default().solve(Target::IdleMemory(1.0), 5.0).unwrap(), None);
}

#[test]
fn a_price_stays_while_it_is_about_right_and_never_leaps() {
    let target = Target::IdleMemory(300.0);
    let right = settled(&some(), target).price_mb_s;
    assert_eq!(solve(&some(), target, right * 1.09).price_mb_s, right * 1.09);
    assert_eq!(solve(&some(), target, right / 1.09).price_mb_s, right / 1.09);
    let corrected = solve(&some(), target, right * 1.3).price_mb_s;
    assert!((1.0 / 1.1..1.1).contains(&(corrected / right)), "{corrected} is not about {right}");
    assert!(near(solve(&some(), target, right * 100.0).price_mb_s, right * 25.0), "four times at most");
    let nothing = Curve::empty(60_000);
    assert_eq!(solve(&nothing, target, 7.0), Solution { price_mb_s: 7.0, can_be_met: true });
}

#[test]
fn a_target_that_no_price_meets_takes_the_one_that_comes_nearest() {
    let prices = prices(60_000);
    let table = [
        (Target::IdleMemory(1e-6), prices[0]..=prices[0], false),
        (Target::IdleMemory(1e9), prices[23]..=prices[23], true),
        (Target::ColdRate(1.0), prices[0]..=prices[0], true),
        // 1 % are cold at any price: what comes near to that will do.
        (Target::ColdRate(0.001), 1e6..=prices[23], false),
        (Target::ColdRateP75(0.001), 1e6..=prices[23], false),
    ];
    for (target, price, can_be_met) in table {
        let found = settled(&some(), target);
        assert_eq!(found.can_be_met, can_be_met, "{target}");
        let within = *price.start() / 1.1..=*price.end() * 1.1;
        assert!(within.contains(&found.price_mb_s), "{target}: {found:?}");
    }
}

proptest! {
    #[test]
    fn more_memory_and_fewer_cold_starts_never_lower_the_price(less in 1.0_f64..600.0, more in 1.0_f64..1.5) {
        let price = |target| settled(&some(), target).price_mb_s;
        // Each may be off by the hysteresis.
        let slack = 1.1_f64 * 1.1;
        prop_assert!(price(Target::IdleMemory(less * more)) * slack >= price(Target::IdleMemory(less)));
        let rate = less / 600.0;
        prop_assert!(price(Target::ColdRate(rate)) * slack >= price(Target::ColdRate(rate * more)));
        prop_assert!(price(Target::ColdRateP75(rate)) * slack >= price(Target::ColdRateP75(rate * more)));
    }

    #[test]
    fn the_price_found_meets_the_target(most_mb in 5.0_f64..600.0) {
        let found = settled(&some(), Target::IdleMemory(most_mb));
        let at = |price: f64| -> f64 {
            [(100.0, 1e4), (200.0, 1e5), (300.0, 1e6), (50.0, 1e3)].iter().map(|(mb, at)| mb * price / (price + at)).sum()
        };
        prop_assert!(found.can_be_met && (at(found.price_mb_s) / most_mb - 1.0).abs() < 0.1, "{found:?}");
    }
}
