//! Gradients of activations in one pass: (incoming gradient, saved value) to gradient.

use super::{lane, pair, pick};
use crate::Raw;
use crate::math::Math;
use rustnn_base::{DType, Result, not_implemented};

macro_rules! backward_table {
    ($($(#[$doc:meta])* $name:ident $(($($p:ident),+))? => |$g:ident, $v:ident| $body:expr;)*) => {
        /// An activation's gradient; `x` is its input, `y` its output.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum Backward {
            $($(#[$doc])* $name $(($(backward_table!(@f64 $p)),+))?,)*
        }
        fn float<R: Math>(op: Backward, dst: &Raw, g: &Raw, v: &Raw) -> Result<()> {
            match op {
                $(Backward::$name $(($($p),+))? => {
                    $($(let $p = R::of($p);)+)?
                    pair::<R, R, R>(dst, g, v, #[inline(always)] move |$g, $v| $body)
                })*
            }
        }
    };
    (@f64 $p:ident) => { f64 };
}

backward_table! {
    Sigmoid => |g, y| g * ((R::ONE - y) * y);
    Tanh => |g, y| g * (-y).mul_add(y, R::ONE);
    /// By x or y.
    Threshold(limit) => |g, x| pick(x <= limit, R::ZERO, g);
    LeakyRelu(slope) => |g, x| pick(x > R::ZERO, g, g * slope);
    Elu(alpha, scale, input) => |g, x| pick(x <= R::ZERO, g * (alpha * scale * input) * (x * input).exp(), g * scale);
    Gelu => |g, x| {
        let (phi, density) = x.phi_density();
        g * x.mul_add(density, phi)
    };
    GeluTanh => |g, x| {
        let (k, c) = (R::of(0.797_884_560_802_865_4), R::of(0.044_715));
        let u = k * (c * x * x).mul_add(x, x);
        let s = (u + u).sigmoid();
        let du = k * (R::of(3.0) * c * x).mul_add(x, R::ONE);
        g * (R::of(2.0) * x * du * s).mul_add(R::ONE - s, s)
    };
    Silu => |g, x| {
        let s = x.sigmoid();
        g * s * x.mul_add(R::ONE - s, R::ONE)
    };
    Mish => |g, x| {
        let e = pick(x > R::of(20.0), R::of(20.0), x).exp();
        let n = e * (e + R::of(2.0));
        let t = n / (n + R::of(2.0));
        let s = e / (e + R::ONE);
        let d = (x * s).mul_add((-t).mul_add(t, R::ONE), t);
        g * pick(x > R::of(20.0), R::ONE, d)
    };
    Softplus(beta, threshold) => |g, x| pick(x * beta > threshold, g, g * (x * beta).sigmoid());
    Hardsigmoid => |g, x| pick((x > R::of(-3.0)) & (x < R::of(3.0)), g / R::of(6.0), R::ZERO);
    Hardswish => |g, x| {
        let mid = g * (x / R::of(3.0) + R::of(0.5));
        pick(x <= R::of(-3.0), R::ZERO, pick(x >= R::of(3.0), g, mid))
    };
    /// Passes inside the open interval.
    Hardtanh(lo, hi) => |g, x| pick((x <= lo) | (x >= hi), R::ZERO, g);
    /// Passes inside the closed interval, NaN bounds being none.
    Clamp(lo, hi) => |g, x| pick((x < lo) | (x > hi), R::ZERO, g);
    /// Passes outside [−lambda, lambda].
    Shrink(lambda) => |g, x| pick((x >= -lambda) & (x <= lambda), R::ZERO, g);
    LogSigmoid => |g, x| g * (-x).sigmoid();
}

/// `dst = g · op'(v)` with `v` the activation's input or output as the op says.
pub fn backward(op: Backward, dst: &Raw, g: &Raw, v: &Raw) -> Result<()> {
    match lane(dst.dtype()) {
        DType::F32 => float::<f32>(op, dst, g, v),
        DType::F64 => float::<f64>(op, dst, g, v),
        _ => Err(not_implemented!("the gradient of {op:?} is not implemented for '{}'", dst.dtype().torch_name())),
    }
}
