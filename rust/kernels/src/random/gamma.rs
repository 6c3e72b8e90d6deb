//! Gamma numbers (Marsaglia and Tsang, 2000), and how a draw of a gamma or beta distribution moves with its parameter
//! while its probability stays: −(∂F/∂a)/f, with the derivative of the series or continued fraction of F carried along.

use super::Generator;
use crate::math::special::digamma;
use rustnn_base::Float;

fn gamma_one<T: Float>(g: &mut Generator, alpha: T) -> f64 {
    let mut a = alpha.to_f64();
    if a == 0.0 {
        return 0.0;
    }
    if a.is_nan() || a < 0.0 {
        return f64::NAN;
    }
    let mut scale = 1.0;
    if a < 1.0 {
        scale = (1.0 - g.uniform()).powf(1.0 / a);
        a = T::from_f64(a + 1.0).to_f64();
    }
    let d = a - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    if !d.is_finite() {
        return a;
    }
    loop {
        let (x, y) = loop {
            let x = super::normal::next(g);
            let y = c.mul_add(x, 1.0);
            if y > 0.0 {
                break (x, y);
            }
        };
        let v = y * y * y;
        let u = 1.0 - g.uniform();
        let xx = x * x;
        if u < 1.0 - 0.0331 * xx * xx || u.ln() < 0.5 * xx + d * (1.0 - v + v.ln()) {
            return scale * d * v;
        }
    }
}

/// Gamma numbers of rate 1 and the given shapes, at least the smallest normal number.
pub fn standard_gamma<T: Float>(g: &mut Generator, dst: &mut [T], shapes: &[T], smallest: f64) {
    for (d, &a) in dst.iter_mut().zip(shapes) {
        let v = gamma_one(g, a);
        *d = T::from_f64(if v < smallest { smallest } else { v });
    }
}

/// The same in double, whatever the dtype of the shapes.
pub fn standard_gamma_wide<T: Float>(g: &mut Generator, dst: &mut [f64], shapes: &[T]) {
    for (d, &a) in dst.iter_mut().zip(shapes) {
        *d = gamma_one(g, a);
    }
}

/// A value and its derivative.
#[derive(Clone, Copy)]
struct Dual(f64, f64);

impl Dual {
    fn times(self, o: Dual) -> Dual {
        Dual(self.0 * o.0, self.0.mul_add(o.1, self.1 * o.0))
    }
    fn over(self, o: Dual) -> Dual {
        let q = self.0 / o.0;
        Dual(q, (self.1 - q * o.1) / o.0)
    }
    fn plus(self, o: Dual) -> Dual {
        Dual(self.0 + o.0, self.1 + o.1)
    }
    fn off_zero(self) -> Dual {
        if self.0.abs() < 1e-300 { Dual(1e-300, self.1) } else { self }
    }
}

/// The continued fraction `1/(b0 + a1/(b1 + a2/(b2 + ...)))` by Lentz's method.
fn fraction(b0: Dual, mut term: impl FnMut(u32) -> (Dual, Dual)) -> Dual {
    let one = Dual(1.0, 0.0);
    let mut value = b0.off_zero();
    let (mut c, mut d) = (value, Dual(0.0, 0.0));
    for i in 1..5000 {
        let (a, b) = term(i);
        d = one.over(b.plus(a.times(d)).off_zero());
        c = b.plus(a.over(c)).off_zero();
        let step = c.times(d);
        value = value.times(step);
        if (step.0 - 1.0).abs() < 1e-15 && step.1.abs() < 1e-15 {
            break;
        }
    }
    one.over(value)
}

/// How a gamma number `x` of shape `a` moves with `a`.
#[must_use]
pub fn gamma_slope(a: f64, x: f64) -> f64 {
    if a.is_nan() || x.is_nan() || a <= 0.0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 0.0;
    }
    if a > 1e5 {
        // x = a + z√a + (z² − 1)/3 + ..., at a fixed z.
        return 1.0 + (x - a) / (2.0 * a);
    }
    if x < a + 1.0 {
        let (mut term, mut sum) = (Dual(1.0, 0.0), Dual(1.0, 0.0));
        let mut n = 1.0;
        while n < 100_000.0 {
            let q = x / (a + n);
            term = term.times(Dual(q, -q / (a + n)));
            sum = sum.plus(term);
            if term.0 < 1e-17 * sum.0 && term.1.abs() < 1e-17 * sum.1.abs() {
                break;
            }
            n += 1.0;
        }
        return -x / a * sum.0.mul_add(x.ln() - digamma(a + 1.0), sum.1);
    }
    let cf = fraction(Dual(x + 1.0 - a, -1.0), |i| {
        let n = f64::from(i);
        (Dual(-n * (n - a), n), Dual(2.0f64.mul_add(n, x + 1.0 - a), -1.0))
    });
    x * cf.0.mul_add(x.ln() - digamma(a), cf.1)
}

/// The continued fraction of the incomplete beta function at `x` for `a` and `b`, which may carry derivatives.
fn beta_fraction(x: f64, a: Dual, b: Dual) -> Dual {
    let number = |v: f64| Dual(v, 0.0);
    fraction(number(1.0), |i| {
        let m = f64::from(i / 2);
        let top = if i % 2 == 1 {
            let up = a.plus(number(m)).times(a.plus(b).plus(number(m))).times(number(-x));
            up.over(a.plus(number(2.0 * m)).times(a.plus(number(2.0f64.mul_add(m, 1.0)))))
        } else {
            let up = number(m * x).times(b.plus(number(-m)));
            up.over(a.plus(number(2.0f64.mul_add(m, -1.0))).times(a.plus(number(2.0 * m))))
        };
        (top, number(1.0))
    })
}

/// How a beta number `x` of parameters `a` and `b` moves with `a`.
#[must_use]
pub fn beta_slope(a: f64, b: f64, x: f64) -> f64 {
    if !(a > 0.0 && b > 0.0) || x.is_nan() {
        return f64::NAN;
    }
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let y = 1.0 - x;
    let psi = digamma(a) - digamma(a + b);
    if x * (a + b + 2.0) < a + 1.0 {
        let cf = beta_fraction(x, Dual(a, 1.0), Dual(b, 0.0));
        return -x * y / a * cf.0.mul_add(x.ln() - psi - 1.0 / a, cf.1);
    }
    let cf = beta_fraction(y, Dual(b, 0.0), Dual(a, 1.0));
    x * y / b * cf.0.mul_add(x.ln() - psi, cf.1)
}
