//! What the row kernels (softmax, norms, losses, attention, RNN cells) share: branch-free exp/tanh/sigmoid for f32 and
//! f64, and sums and maxima in a fixed order of lanes, so that bits depend neither on the ISA nor on threads.

use rustnn_base::{Float, dtype::Real};

/// Transcendental functions that vectorise inside a `dispatch`ed loop.
pub trait Math: Real + Float<Acc = Self> {
    fn exp(self) -> Self;
    /// Natural logarithm (scalar; for one value per row).
    fn ln(self) -> Self;
    fn tanh(self) -> Self;
    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let e = (-self.abs()).exp();
        let r = Self::ONE / (Self::ONE + e);
        if self < Self::ZERO { e * r } else { r }
    }
    const NEG_INFINITY: Self;
    /// A count as a number.
    fn of(n: usize) -> Self;
}

/// A float dtype whose arithmetic type has [`Math`].
pub trait Row: Float<Acc: Math> {}
impl<T: Float<Acc: Math>> Row for T {}

impl Math for f32 {
    const NEG_INFINITY: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn of(n: usize) -> f32 {
        n as f32
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        f32::ln(self)
    }

    /// Two-part reduction by ln 2 and a Taylor sum of degree 7 (remainder below 6e-9); NaN passes through.
    #[inline(always)]
    fn exp(self) -> f32 {
        const MAGIC: f32 = 12_582_912.0;
        let x = if self > 90.0 { 90.0 } else { self };
        let x = if x < -105.0 { -105.0 } else { x };
        let t = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
        let n = t - MAGIC;
        let r = n.mul_add(-0.693_359_375, x);
        let r = n.mul_add(2.121_944_4e-4, r);
        let p = r.mul_add(1.984_127e-4, 1.388_888_9e-3);
        let p = p.mul_add(r, 8.333_334e-3);
        let p = p.mul_add(r, 4.166_666_8e-2);
        let p = p.mul_add(r, 1.666_666_7e-1);
        let p = p.mul_add(r, 0.5);
        let p = (p * r).mul_add(r, r) + 1.0;
        // 2^n in two factors, so that subnormal results and the step to infinity come out right.
        let i = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
        let h = i >> 1;
        let a = f32::from_bits((h.wrapping_add(127) as u32) << 23);
        let b = f32::from_bits((i.wrapping_sub(h).wrapping_add(127) as u32) << 23);
        p * a * b
    }

    #[inline(always)]
    fn tanh(self) -> f32 {
        let z = self * self;
        let p = z.mul_add(-5.704_988_7e-3, 2.063_908_9e-2);
        let p = p.mul_add(z, -5.373_971_6e-2);
        let p = p.mul_add(z, 1.333_144_2e-1);
        let p = p.mul_add(z, -3.333_328_2e-1);
        let small = (p * z).mul_add(self, self);
        let e = (-2.0 * self.abs()).exp();
        let large = ((1.0 - e) / (1.0 + e)).copysign(self);
        if self.abs() < 0.625 { small } else { large }
    }
}

impl Math for f64 {
    const NEG_INFINITY: f64 = f64::NEG_INFINITY;
    #[inline(always)]
    fn of(n: usize) -> f64 {
        n as f64
    }
    #[inline(always)]
    fn ln(self) -> f64 {
        f64::ln(self)
    }

    /// As for f32, with a Taylor sum of degree 13 (remainder below 5e-18).
    #[inline(always)]
    fn exp(self) -> f64 {
        const MAGIC: f64 = 6_755_399_441_055_744.0;
        const C: [f64; 11] = [
            1.0 / 39_916_800.0,
            1.0 / 3_628_800.0,
            1.0 / 362_880.0,
            1.0 / 40_320.0,
            1.0 / 5_040.0,
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
            1.0,
        ];
        let x = if self > 711.0 { 711.0 } else { self };
        let x = if x < -746.0 { -746.0 } else { x };
        let t = x.mul_add(std::f64::consts::LOG2_E, MAGIC);
        let n = t - MAGIC;
        let r = n.mul_add(-0.693_147_180_369_123_8, x);
        let r = n.mul_add(-1.908_214_929_270_587_7e-10, r);
        let mut p = r.mul_add(1.0 / 6_227_020_800.0, 1.0 / 479_001_600.0);
        for c in C {
            p = p.mul_add(r, c);
        }
        let p = p.mul_add(r, 1.0);
        let i = t.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(4096);
        let h = i >> 1;
        let a = f64::from_bits(h.wrapping_sub(2048).wrapping_add(1023) << 52);
        let b = f64::from_bits(i.wrapping_sub(h).wrapping_sub(2048).wrapping_add(1023) << 52);
        p * a * b
    }

    #[inline(always)]
    fn tanh(self) -> f64 {
        let z = self * self;
        let p = z.mul_add(-9.643_991_794_250_522e-1, -9.928_772_310_019_186e1);
        let p = p.mul_add(z, -1.614_687_684_417_084_5e3);
        let q = z + 1.128_116_784_916_329_3e2;
        let q = q.mul_add(z, 2.235_488_390_601_004_5e3);
        let q = q.mul_add(z, 4.844_063_053_251_255e3);
        let small = (z * p / q).mul_add(self, self);
        let e = (-2.0 * self.abs()).exp();
        let large = ((1.0 - e) / (1.0 + e)).copysign(self);
        if self.abs() < 0.625 { small } else { large }
    }
}

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
