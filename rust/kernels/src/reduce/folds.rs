//! What is folded: each reduction as a step over elements and a join of parts.

use super::walk::Fold;
use crate::math::Math;
use rustnn_base::{B8, Element};
use std::marker::PhantomData;

/// f32 and f64 as lanes of a fold.
pub trait Lane: Math {}
impl Lane for f32 {}
impl Lane for f64 {}

macro_rules! real_folds {
    ($($(#[$doc:meta])* $name:ident: $init:expr, |$a:ident, $x:ident, $s:ident| $step:expr, |$p:ident, $q:ident| $join:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name<R>(PhantomData<R>);
        impl<R> $name<R> {
            pub fn new() -> Self {
                $name(PhantomData)
            }
        }
        impl<R: Lane> Fold for $name<R> {
            type X = R;
            type A = R;
            type W = f64;
            #[inline(always)]
            fn init(&self) -> R {
                R::of($init)
            }
            #[inline(always)]
            fn step(&self, $a: R, $x: R, $s: R) -> R {
                $step
            }
            #[inline(always)]
            fn join(&self, a: R, b: R) -> R {
                // The join of parts is the same in both precisions.
                fn both<T: Math>($p: T, $q: T) -> T {
                    $join
                }
                both(a, b)
            }
            #[inline(always)]
            fn widen(&self, a: R) -> f64 {
                a.to_f64()
            }
            #[inline(always)]
            fn join_wide(&self, a: f64, b: f64) -> f64 {
                fn both<T: Math>($p: T, $q: T) -> T {
                    $join
                }
                both(a, b)
            }
        }
    )*};
}

/// The larger, or NaN if either is.
#[inline(always)]
fn larger<T: Math>(a: T, b: T) -> T {
    if (a > b) | a.is_nan() { a } else { b }
}
/// The smaller, or NaN if either is.
#[inline(always)]
fn smaller<T: Math>(a: T, b: T) -> T {
    if (a < b) | a.is_nan() { a } else { b }
}

real_folds! {
    Sum: 0.0, |a, x, _s| a + x, |p, q| p + q;
    NanSum: 0.0, |a, x, _s| a + if x.is_nan() { R::ZERO } else { x }, |p, q| p + q;
    Prod: 1.0, |a, x, _s| a * x, |p, q| p * q;
    Max: f64::NEG_INFINITY, |a, x, _s| larger(a, x), |p, q| larger(p, q);
    Min: f64::INFINITY, |a, x, _s| smaller(a, x), |p, q| smaller(p, q);
    SumAbs: 0.0, |a, x, _s| a + x.abs(), |p, q| p + q;
    MaxAbs: 0.0, |a, x, _s| larger(a, x.abs()), |p, q| larger(p, q);
    MinAbs: f64::INFINITY, |a, x, _s| smaller(a, x.abs()), |p, q| smaller(p, q);
    /// Σ e^(x − shift)
    SumExp: 0.0, |a, x, s| a + (x - s).exp(), |p, q| p + q;
    /// Σ (x − shift)²
    SquaredFrom: 0.0, |a, x, s| { let d = x - s; d.mul_add(d, a) }, |p, q| p + q;
}

/// Σ |x|^p
pub struct SumPow<R>(R);
impl<R: Lane> SumPow<R> {
    pub fn new(p: f64) -> Self {
        SumPow(R::of(p))
    }
}
impl<R: Lane> Fold for SumPow<R> {
    type X = R;
    type A = R;
    type W = f64;
    #[inline(always)]
    fn init(&self) -> R {
        R::ZERO
    }
    #[inline(always)]
    fn step(&self, a: R, x: R, _: R) -> R {
        a + x.abs().pow(self.0)
    }
    #[inline(always)]
    fn join(&self, a: R, b: R) -> R {
        a + b
    }
    #[inline(always)]
    fn widen(&self, a: R) -> f64 {
        a.to_f64()
    }
    #[inline(always)]
    fn join_wide(&self, a: f64, b: f64) -> f64 {
        a + b
    }
}

macro_rules! exact_folds {
    ($($(#[$doc:meta])* $name:ident: $x:ty, $a:ty => $w:ty, $init:expr, |$acc:ident, $v:ident| $step:expr, |$p:ident, $q:ident| $join:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Fold for $name {
            type X = $x;
            type A = $a;
            type W = $w;
            #[inline(always)]
            fn init(&self) -> $a {
                $init
            }
            #[inline(always)]
            fn step(&self, $acc: $a, $v: $x, _: $x) -> $a {
                $step
            }
            #[inline(always)]
            fn join(&self, $p: $a, $q: $a) -> $a {
                $join
            }
            #[inline(always)]
            fn widen(&self, a: $a) -> $w {
                <$w>::from_i64(a as i64)
            }
            #[inline(always)]
            fn join_wide(&self, a: $w, b: $w) -> $w {
                let ($p, $q) = (a.to_i64() as $a, b.to_i64() as $a);
                <$w>::from_i64(($join) as i64)
            }
        }
    )*};
}

exact_folds! {
    IntSum: i64, i64 => i64, 0, |a, x| a.wrapping_add(x), |p, q| p.wrapping_add(q);
    IntProd: i64, i64 => i64, 1, |a, x| a.wrapping_mul(x), |p, q| p.wrapping_mul(q);
    IntMax: i64, i64 => i64, i64::MIN, |a, x| if x > a { x } else { a }, |p, q| if p > q { p } else { q };
    IntMin: i64, i64 => i64, i64::MAX, |a, x| if x < a { x } else { a }, |p, q| if p < q { p } else { q };
    AnyTrue: B8, u8 => B8, 0, |a, x| a | u8::from(x.get()), |p, q| p | q;
    AllTrue: B8, u8 => B8, 1, |a, x| a & u8::from(x.get()), |p, q| p & q;
    /// How many are not zero.
    Count: B8, i64 => i64, 0, |a, x| a + i64::from(x.get()), |p, q| p + q;
}
