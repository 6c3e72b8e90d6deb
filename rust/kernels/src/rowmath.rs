//! What the row kernels (softmax, norms, losses, attention, RNN cells) share: sums and maxima in a fixed order of
//! lanes, so that bits depend neither on the ISA nor on threads, and the functions they need of an arithmetic type.

use crate::gemm::Gemm;
use crate::math::{double, single};
use rustnn_base::{Float, dtype::Real};

/// Transcendental functions that vectorise inside a `dispatch`ed loop.
pub trait Math: Gemm + Float<Acc = Self> {
    fn exp(self) -> Self;
    /// Natural logarithm (scalar; for one value per row).
    fn ln(self) -> Self;
    fn tanh(self) -> Self;
    /// 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
    /// e^x for x that is not above 0 (but for rounding); subnormal results may be 0.
    fn exp_low(self) -> Self;
    const NEG_INFINITY: Self;
    /// A count as a number.
    fn of(n: usize) -> Self;
}

/// A float dtype whose arithmetic type has [`Math`].
pub trait Row: Float<Acc: Math> {}
impl<T: Float<Acc: Math>> Row for T {}

macro_rules! impl_math {
    ($t:ident, $m:ident, $low:ident) => {
        impl Math for $t {
            const NEG_INFINITY: $t = $t::NEG_INFINITY;
            #[inline(always)]
            fn of(n: usize) -> $t {
                n as $t
            }
            #[inline(always)]
            fn ln(self) -> $t {
                $m::ln(self)
            }
            #[inline(always)]
            fn exp(self) -> $t {
                $m::exp(self)
            }
            #[inline(always)]
            fn exp_low(self) -> $t {
                $m::$low(self)
            }
            #[inline(always)]
            fn tanh(self) -> $t {
                $m::tanh(self)
            }
            #[inline(always)]
            fn sigmoid(self) -> $t {
                $m::sigmoid(self)
            }
        }
    };
}
impl_math!(f32, single, exp_to_zero);
impl_math!(f64, double, exp);

/// Accumulators of a sum along a row.
pub const LANES: usize = 32;

#[inline(always)]
fn tree<A: Real>(mut acc: [A; LANES]) -> A {
    let mut w = LANES / 2;
    while w > 0 {
        for l in 0..w {
            acc[l] += acc[l + w];
        }
        w /= 2;
    }
    acc[0]
}

/// Sum of `f` over a row, in a fixed order.
#[inline(always)]
pub fn sum1<T: Copy, A: Real>(x: &[T], f: impl Fn(T) -> A) -> A {
    let mut acc = [A::ZERO; LANES];
    let (head, tail) = x.split_at(x.len() - x.len() % LANES);
    for c in head.chunks_exact(LANES) {
        for l in 0..LANES {
            acc[l] += f(c[l]);
        }
    }
    for (a, &v) in acc.iter_mut().zip(tail) {
        *a += f(v);
    }
    tree(acc)
}

/// Sum of `f` over two rows of one length, in a fixed order.
#[inline(always)]
pub fn sum2<T: Copy, U: Copy, A: Real>(x: &[T], y: &[U], f: impl Fn(T, U) -> A) -> A {
    let n = x.len().min(y.len());
    let cut = n - n % LANES;
    let mut acc = [A::ZERO; LANES];
    for (c, d) in x[..cut].chunks_exact(LANES).zip(y[..cut].chunks_exact(LANES)) {
        for l in 0..LANES {
            acc[l] += f(c[l], d[l]);
        }
    }
    for ((a, &v), &w) in acc.iter_mut().zip(&x[cut..n]).zip(&y[cut..n]) {
        *a += f(v, w);
    }
    tree(acc)
}

/// Two sums over two rows in one pass.
#[inline(always)]
pub fn sum2x2<T: Copy, U: Copy, A: Real>(x: &[T], y: &[U], f: impl Fn(T, U) -> (A, A)) -> (A, A) {
    let n = x.len().min(y.len());
    let cut = n - n % LANES;
    let (mut a, mut b) = ([A::ZERO; LANES], [A::ZERO; LANES]);
    for (c, d) in x[..cut].chunks_exact(LANES).zip(y[..cut].chunks_exact(LANES)) {
        for l in 0..LANES {
            let (u, v) = f(c[l], d[l]);
            a[l] += u;
            b[l] += v;
        }
    }
    for (l, (&v, &w)) in x[cut..n].iter().zip(&y[cut..n]).enumerate() {
        let (u, v) = f(v, w);
        a[l] += u;
        b[l] += v;
    }
    (tree(a), tree(b))
}

/// The largest value of a row (NaN is skipped; -inf for an empty one).
#[inline(always)]
pub fn max1<T: Copy, A: Math>(x: &[T], f: impl Fn(T) -> A) -> A {
    let mut acc = [A::NEG_INFINITY; LANES];
    let (head, tail) = x.split_at(x.len() - x.len() % LANES);
    for c in head.chunks_exact(LANES) {
        for l in 0..LANES {
            let v = f(c[l]);
            acc[l] = if v > acc[l] { v } else { acc[l] };
        }
    }
    let mut m = A::NEG_INFINITY;
    for &v in tail {
        let v = f(v);
        m = if v > m { v } else { m };
    }
    for a in acc {
        m = if a > m { a } else { m };
    }
    m
}

/// How many rows of `n` elements make a chunk of work worth handing to a thread.
#[must_use]
pub fn rows_per_chunk(n: usize) -> usize {
    (16_384 / n.max(1)).max(1)
}

/// Into how many fixed parts a sum over `rows` rows is cut: from the problem alone, at most 16.
#[must_use]
pub fn sum_parts(rows: usize, n: usize) -> usize {
    (rows * n.max(1) / 32_768).clamp(1, 16).min(rows.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tol: f64) -> bool {
        (a - b).abs() <= tol * b.abs() || (a.is_nan() && b.is_nan()) || a == b
    }

    #[test]
    fn exp_and_tanh_are_within_ulps() {
        for i in -20_000..20_000 {
            let x = f64::from(i) * 0.0053;
            let (xf, e32, e64) = (x as f32, 2.5e-7, 4e-16);
            if (-87.0..88.0).contains(&x) {
                assert!(close(f64::from(Math::exp(xf)), f64::from(xf).exp(), e32), "exp {x}");
            }
            assert!(close(Math::exp(x * 7.0), (x * 7.0).exp(), 1e-15) || x * 7.0 < -700.0, "exp64 {x}");
            assert!(close(f64::from(Math::tanh(xf)), f64::from(xf).tanh(), e32), "tanh {x}");
            assert!(close(Math::tanh(x * 0.1), (x * 0.1).tanh(), e64 * 3.0), "tanh64 {x}");
            assert!(close(Math::sigmoid(x * 0.5), 1.0 / (1.0 + (-x * 0.5).exp()), 1e-15), "sigmoid {x}");
        }
        assert!(Math::exp(f32::NAN).is_nan() && Math::exp(f64::NAN).is_nan() && Math::tanh(f32::NAN).is_nan());
        assert_eq!(Math::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Math::exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(Math::exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(Math::exp(f64::INFINITY), f64::INFINITY);
        assert_eq!(Math::exp(0.0f64), 1.0);
        assert!(close(f64::from(Math::exp(-100.0f32)), (-100.0f64).exp(), 0.1));
        assert_eq!((Math::tanh(f32::INFINITY), Math::tanh(-1e9f64)), (1.0, -1.0));
    }

    #[test]
    fn sums_and_maxima() {
        let x: Vec<f64> = (0..77).map(f64::from).collect();
        assert_eq!(sum1(&x, |v| v), 77.0 * 38.0);
        assert_eq!(sum2(&x, &x, |a, b| a * b), (0..77).map(|i| f64::from(i * i)).sum::<f64>());
        assert_eq!(max1(&x, |v| v), 76.0);
        assert_eq!(max1(&[] as &[f64], |v: f64| v), f64::NEG_INFINITY);
        assert_eq!(sum2x2(&x, &x, |a, b| (a, b + 1.0)), (77.0 * 38.0, 77.0 * 39.0));
    }
}
