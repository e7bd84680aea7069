//! Gains per bin → the windows that maximise their sum.

use smallvec::SmallVec;

use crate::model::{Window, Windows};
use crate::state::Shape;

/// The disjoint runs of bins, in ascending order, with the largest sum of `gains` less `reload` for each run that does
/// not begin at bin 0, as windows. O(bins), and allocates nothing unless there are more than two windows.
///
/// Neighbours of the same sign are taken together first, so that only a few sums remain to choose from.
pub(super) fn best(gains: &[f32], reload: f32, shape: Shape) -> Windows {
    // `loaded` and `unloaded` are the best sums up to here with the app in that state; each state remembers where its
    // last change was, and a chain of changes is kept by index.
    let mut changes: SmallVec<[Change; 32]> = SmallVec::new();
    // Staying loaded from 0 on costs no loading, so a loss at first may be worth it.
    changes.push(Change { bin: 0, before: NONE });
    let (mut loaded, mut unloaded) = (0.0_f32, 0.0_f32);
    let (mut loaded_since, mut unloaded_since) = (changes.len(), NONE);
    let mut bin = 0;
    while bin < gains.len() {
        let begin = bin;
        let positive = gains[bin] > 0.0;
        let mut gain = 0.0;
        // Four at a time: each addition has to wait for the one before.
        while let Some(four) = gains.get(bin..bin + 4)
            && four.iter().all(|gain| (*gain > 0.0) == positive)
        {
            gain += (four[0] + four[1]) + (four[2] + four[3]);
            bin += 4;
        }
        while bin < gains.len() && (gains[bin] > 0.0) == positive {
            gain += gains[bin];
            bin += 1;
        }
        if positive {
            let fresh = unloaded - reload;
            if begin > 0 && fresh > loaded {
                changes.push(Change { bin: begin, before: unloaded_since });
                (loaded, loaded_since) = (fresh, changes.len());
            }
        } else if loaded > unloaded {
            changes.push(Change { bin: begin, before: loaded_since });
            (unloaded, unloaded_since) = (loaded, changes.len());
        }
        loaded += gain;
    }
    if loaded > unloaded {
        changes.push(Change { bin, before: loaded_since });
        unloaded_since = changes.len();
    }
    // The chain ends unloaded: from there, every second change is a beginning.
    let mut windows = Windows::new();
    let mut at = unloaded_since;
    while let Some(until) = at.checked_sub(1).map(|at| changes[at]) {
        let Some(from) = until.before.checked_sub(1).map(|at| changes[at]) else { break };
        windows.push(Window { from_ms: shape.lower_ms(from.bin), until_ms: shape.lower_ms(until.bin) });
        at = from.before;
    }
    windows.reverse();
    windows
}

/// No change yet; other values are an index + 1.
const NONE: usize = 0;

/// Loaded or unloaded from `bin` on; `before` is the change before it.
#[derive(Debug, Clone, Copy)]
struct Change {
    bin: usize,
    before: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape::Linear { bin_ms: 1, bins: 12 };

    fn sum(gains: &[f32], reload: f32, windows: &[Window]) -> f32 {
        let gain: f32 =
            windows.iter().flat_map(|window| &gains[window.from_ms as usize..window.until_ms as usize]).sum();
        gain - reload * windows.iter().filter(|window| window.from_ms > 0).count() as f32
    }

    #[test]
    fn one_window_two_windows_none() {
        type Case = (&'static [f32], &'static [(i64, i64)]);
        let table: [Case; 7] = [
            (&[-1.0, -2.0, -1.0], &[]),
            (&[3.0, -1.0, -1.0], &[(0, 1)]),
            (&[-3.0, 5.0, -1.0, 5.0, -1.0], &[(1, 4)]),
            (&[-3.0, 5.0, -4.0, 5.0], &[(1, 2), (3, 4)]),
            (&[-3.0, 1.0, -1.0], &[]),
            (&[1.0, -9.0, 4.0, -9.0, 0.5], &[(0, 1), (2, 3)]),
            (&[-1.0, 4.0, -9.0], &[(0, 2)]),
        ];
        for (gains, expected) in table {
            let found: Vec<_> =
                best(gains, 2.0, SHAPE).iter().map(|window| (window.from_ms, window.until_ms)).collect();
            assert_eq!(found, expected, "{gains:?}");
        }
    }

    proptest! {
        #[test]
        fn no_choice_of_bins_is_better(gains in prop::collection::vec(-8_i8..8, 0..12), reload in 0_u8..6) {
            let gains: Vec<f32> = gains.into_iter().map(f32::from).collect();
            let reload = f32::from(reload);
            let windows = best(&gains, reload, SHAPE);
            prop_assert!(windows.windows(2).all(|pair| pair[0].until_ms < pair[1].from_ms));
            let mut best_sum = 0.0_f32;
            for choice in 0_u32..1 << gains.len() {
                let loaded = |bin: usize| choice >> bin & 1 == 1;
                let mut total = 0.0;
                for (bin, gain) in gains.iter().enumerate().filter(|(bin, _)| loaded(*bin)) {
                    total += gain - if bin > 0 && !loaded(bin - 1) { reload } else { 0.0 };
                }
                best_sum = best_sum.max(total);
            }
            prop_assert_eq!(sum(&gains, reload, &windows), best_sum);
        }
    }
}
