//! The coefficients of an ARMA model: those with the least conditional sum of squares (Box and Jenkins, §7.1).
//!
//! A series `w` (differenced and centred before) is explained as
//! `w[t] = c + φ1 w[t-1] + φ2 w[t-2] + θ1 e[t-1] + θ2 e[t-2] + e[t]`, everything before the series being 0.
//! Without θ that is a linear regression. With θ the residuals `e` of a long autoregression stand in for the unknown
//! ones (Hannan and Rissanen 1982), which makes it linear again; Levenberg and Marquardt's steps go on from there.

/// The coefficients in their order: c, φ1, φ2, θ1, θ2.
pub(super) const COEFFICIENTS: usize = 5;
pub(super) type Coefficients = [f64; COEFFICIENTS];

/// The order of the long autoregression.
const LONG_ORDER: usize = 5;
/// Moving-average roots stay this far from the unit circle: nearer to it, residuals never forget how they began.
const MAX_ROOT: f64 = 0.99;

/// Which coefficients a model has; the others are 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) constant: bool,
    pub(super) p: usize,
    pub(super) q: usize,
}

impl Terms {
    pub(super) fn count(self) -> usize {
        usize::from(self.constant) + self.p + self.q
    }

    fn has(self, coefficient: usize) -> bool {
        match coefficient {
            0 => self.constant,
            1 | 2 => coefficient <= self.p,
            _ => coefficient - 2 <= self.q,
        }
    }

    /// Whether the model is stationary and invertible with these coefficients.
    fn allow(self, [_, phi1, phi2, theta1, theta2]: Coefficients) -> bool {
        // A strict alternation has φ1 = -1 exactly.
        let stationary = roots_outside(phi1, phi2, 1.0 + 1e-9);
        stationary && roots_outside(-theta1, -theta2, MAX_ROOT)
    }
}

/// Whether the roots of `1 - a z - b z²` all lie farther out than `1 / bound`.
fn roots_outside(a: f64, b: f64, bound: f64) -> bool {
    let (a, b) = (a / bound, b / (bound * bound));
    b.abs() <= 1.0 && a + b <= 1.0 && b - a <= 1.0
}

/// Sums of products of the regressors `x` with each other and with the target `y`.
#[derive(Clone, Copy)]
struct Sums<const N: usize> {
    xx: [[f64; N]; N],
    xy: [f64; N],
}

impl<const N: usize> Sums<N> {
    fn zero() -> Self {
        Self { xx: [[0.0; N]; N], xy: [0.0; N] }
    }

    /// Adds an observation; only the upper triangle is kept.
    #[inline]
    fn add(&mut self, x: &[f64; N], y: f64) {
        for i in 0..N {
            for j in i..N {
                self.xx[i][j] += x[i] * x[j];
            }
            self.xy[i] += x[i] * y;
        }
    }

    /// The solution of the normal equations in the regressors that `has` selects, by Cholesky's method, with the
    /// diagonal raised by the share `damping`. `None` where the regressors depend on each other.
    fn solve(&self, has: impl Fn(usize) -> bool, damping: f64) -> Option<[f64; N]> {
        let mut chosen = [0; N];
        let mut n = 0;
        for i in (0..N).filter(|&i| has(i)) {
            chosen[n] = i;
            n += 1;
        }
        let mut lower = [[0.0; N]; N];
        let mut solution = [0.0; N];
        for i in 0..n {
            for j in 0..=i {
                let raised = if i == j { 1.0 + damping } else { 1.0 };
                let mut sum = self.xx[chosen[j]][chosen[i]] * raised;
                sum -= (0..j).map(|k| lower[i][k] * lower[j][k]).sum::<f64>();
                if i == j {
                    let negligible = 1e-10 * self.xx[chosen[i]][chosen[i]];
                    if !(sum > negligible && sum.is_finite()) {
                        return None;
                    }
                    lower[i][i] = sum.sqrt();
                } else {
                    lower[i][j] = sum / lower[j][j];
                }
            }
        }
        let mut forward = [0.0; N];
        for i in 0..n {
            let known: f64 = (0..i).map(|k| lower[i][k] * forward[k]).sum();
            forward[i] = (self.xy[chosen[i]] - known) / lower[i][i];
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|k| lower[k][i] * solution[chosen[k]]).sum();
            solution[chosen[i]] = (forward[i] - known) / lower[i][i];
        }
        Some(solution)
    }
}

/// What the starting coefficients of all models of a series are computed from.
pub(super) struct Start {
    /// Regressors 1, w[t-1], w[t-2], e[t-1], e[t-2] against w[t].
    sums: Sums<COEFFICIENTS>,
}

impl Start {
    pub(super) fn new(w: &[f64], given: usize) -> Self {
        let long = LongAutoregression::fit(w, given);
        let mut sums = Sums::zero();
        let (mut w1, mut w2, mut e1, mut e2) = (0.0, 0.0, 0.0, 0.0);
        for t in 0..w.len() {
            if t >= given {
                sums.add(&[1.0, w1, w2, e1, e2], w[t]);
            }
            let e = long.residual(w, t);
            (w1, w2, e1, e2) = (w[t], w1, e, e1);
        }
        Self { sums }
    }

    /// Coefficients and their sum of squares; the best ones where the model has no moving average. `None` where the
    /// series does not determine them, or they are not stationary.
    pub(super) fn solve(&self, w: &[f64], given: usize, terms: Terms) -> Option<(Coefficients, f64)> {
        let mut start = self.sums.solve(|i| terms.has(i), 0.0)?;
        if terms.q > 0 {
            // Nearer to zero every model is stationary and invertible.
            for _ in 0..16 {
                if terms.allow(start) {
                    break;
                }
                start[1..].iter_mut().for_each(|x| *x *= 0.9);
            }
        }
        if !terms.allow(start) {
            return None;
        }
        let sum_of_squares = sum_of_squares(w, given, terms, &start);
        sum_of_squares.is_finite().then_some((start, sum_of_squares))
    }
}

struct LongAutoregression {
    coefficients: [f64; LONG_ORDER],
}

impl LongAutoregression {
    fn fit(w: &[f64], given: usize) -> Self {
        let order = LONG_ORDER.min(w.len() / 4).max(1);
        let mut sums = Sums::zero();
        for t in given..w.len() {
            sums.add(&Self::lags(w, t), w[t]);
        }
        Self { coefficients: sums.solve(|i| i < order, 0.0).unwrap_or([0.0; LONG_ORDER]) }
    }

    #[inline]
    fn lags(w: &[f64], t: usize) -> [f64; LONG_ORDER] {
        std::array::from_fn(|lag| if lag < t { w[t - lag - 1] } else { 0.0 })
    }

    #[inline]
    fn residual(&self, w: &[f64], t: usize) -> f64 {
        let lags = Self::lags(w, t);
        w[t] - (0..LONG_ORDER).map(|i| self.coefficients[i] * lags[i]).sum::<f64>()
    }
}

/// The last values and residuals: w[t-1], w[t-2], e[t-1], e[t-2].
type Before = [f64; 4];

/// Walks the series with these coefficients, hands each residual that counts to `residual` and returns what the next
/// value depends on.
#[inline]
fn walk(w: &[f64], given: usize, terms: Terms, coefficients: &Coefficients, mut residual: impl FnMut(f64)) -> Before {
    let [c, phi1, phi2, theta1, theta2] = *coefficients;
    let (mut w1, mut w2, mut e1, mut e2) = (0.0, 0.0, 0.0, 0.0);
    for (t, &value) in w.iter().enumerate() {
        // The first p values are given: what came before them is unknown.
        let e =
            if t < terms.p.min(given) { 0.0 } else { (value - c - phi1 * w1 - phi2 * w2) - theta2 * e2 - theta1 * e1 };
        if t >= given {
            residual(e);
        }
        (w1, w2, e1, e2) = (value, w1, e, e1);
    }
    [w1, w2, e1, e2]
}

fn sum_of_squares(w: &[f64], given: usize, terms: Terms, coefficients: &Coefficients) -> f64 {
    let mut sum = 0.0;
    walk(w, given, terms, coefficients, |e| sum += e * e);
    sum
}

/// The value that follows the series.
pub(super) fn next(w: &[f64], given: usize, terms: Terms, coefficients: &Coefficients) -> f64 {
    let [c, phi1, phi2, theta1, theta2] = *coefficients;
    let [w1, w2, e1, e2] = walk(w, given, terms, coefficients, |_| {});
    c + phi1 * w1 + phi2 * w2 + theta1 * e1 + theta2 * e2
}

/// Sum of squares, and sums of products of the derivatives of −e with each other and with e.
fn linearise(w: &[f64], given: usize, terms: Terms, coefficients: &Coefficients) -> (f64, Sums<COEFFICIENTS>) {
    let [c, phi1, phi2, theta1, theta2] = *coefficients;
    let (mut w1, mut w2, mut e1, mut e2) = (0.0, 0.0, 0.0, 0.0);
    // The derivative of −e[t] after a coefficient obeys the recursion of e itself, with the coefficient's own regressor
    // in the place of w[t]. All five run, whatever the terms: that is faster than asking.
    let (mut before1, mut before2): (Coefficients, Coefficients) = ([0.0; COEFFICIENTS], [0.0; COEFFICIENTS]);
    let mut sums = Sums::zero();
    let mut sum_of_squares = 0.0;
    for (t, &value) in w.iter().enumerate() {
        let (mut e, mut slope) = (0.0, [0.0; COEFFICIENTS]);
        if t >= terms.p.min(given) {
            e = (value - c - phi1 * w1 - phi2 * w2) - theta2 * e2 - theta1 * e1;
            let regressors = [1.0, w1, w2, e1, e2];
            for i in 0..COEFFICIENTS {
                slope[i] = regressors[i] - theta2 * before2[i] - theta1 * before1[i];
            }
        }
        if t >= given {
            sum_of_squares += e * e;
            sums.add(&slope, e);
        }
        (w1, w2, e1, e2) = (value, w1, e, e1);
        (before1, before2) = (slope, before1);
    }
    (sum_of_squares, sums)
}

/// Coefficients with a smaller sum of squares than these, which the model must allow, and that sum. A few steps are
/// enough: the start is close, and what the last digits change in the forecast is far below its interval.
pub(super) fn refine(w: &[f64], given: usize, terms: Terms, start: Coefficients) -> (Coefficients, f64) {
    const STEPS: usize = 12;
    const GOOD_ENOUGH: f64 = 1e-5;
    let mut coefficients = start;
    let (mut least, mut sums) = linearise(w, given, terms, &coefficients);
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        let Some(step) = sums.solve(|i| terms.has(i), damping) else { break };
        let tried: Coefficients = std::array::from_fn(|i| coefficients[i] + step[i]);
        let (sum, tried_sums) =
            if terms.allow(tried) { linearise(w, given, terms, &tried) } else { (f64::INFINITY, sums) };
        if sum < least {
            let gain = least - sum;
            (coefficients, least, sums) = (tried, sum, tried_sums);
            damping *= 0.1;
            if gain <= GOOD_ENOUGH * least {
                break;
            }
        } else {
            damping *= 10.0;
            if damping > 1e4 {
                break;
            }
        }
    }
    (coefficients, least)
}
