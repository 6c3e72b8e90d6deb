//! Window functions: Hann, Hamming, Blackman, Bartlett, Kaiser.

use super::leaf;
use crate::args::{Args, Ret};
use crate::registry::{OpDef, TORCH, op};
use rustnn_core::base::{Element, runtime_error, with_float};
use rustnn_core::{Result, Tensor, mode};
use rustnn_kernels::math::special;
use std::f64::consts::PI;

/// The values at `i / (steps)` of the way for i up to `n`: `steps` is n for periodic windows, else n - 1. `first` is the
/// number of the argument `dtype`; `requires_grad` is four behind it.
fn window(name: &str, a: &Args, first: usize, value: impl Fn(f64) -> f64) -> Result<Ret> {
    let (n, periodic) = (a.int(0)?, a.bool(1)?);
    let dtype = a.dtype(first).unwrap_or_else(mode::default_dtype);
    if !dtype.is_float() {
        return Err(runtime_error!("{name} expects floating point dtypes, got: {}", dtype.name()));
    }
    let n = usize::try_from(n)
        .map_err(|_| runtime_error!("{name} requires non-negative window_length, got window_length={n}"))?;
    let out = Tensor::empty(&[n], dtype)?;
    let steps = if periodic { n } else { n.saturating_sub(1) } as f64;
    with_float!(dtype, T => {
        for (i, v) in out.slice_mut::<T>()?.iter_mut().enumerate() {
            *v = T::from_f64(if n == 1 { 1.0 } else { value(i as f64 / steps) });
        }
    }, else ());
    leaf(out, a, first + 4)
}

fn cosine(a: f64, b: f64, at: f64) -> f64 {
    a - b * (2.0 * PI * at).cos()
}

/// I0 scaled down by e^x.
fn bessel(x: f64) -> f64 {
    special::bessel_ie(0, x)
}

fn kaiser(beta: f64, at: f64) -> f64 {
    let x = beta * (1.0 - (2.0 * at - 1.0).powi(2)).max(0.0).sqrt();
    bessel(x) / bessel(beta) * (x.abs() - beta.abs()).exp()
}

macro_rules! windows {
    ($($name:literal $params:literal $first:literal, |$a:ident| $value:expr, $doc:literal, $samples:expr, $oracle:literal;)*) => {
        vec![$(
            op(concat!($name, "_window(int window_length, bool periodic=True, ", $params,
                "*, dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False)"),
                TORCH, |$a| window(concat!($name, "_window"), $a, $first, $value))
            .doc($doc)
            .samples($samples)
            .oracle($oracle)
            .nondiff()
        ),*]
    };
}

pub(super) fn ops() -> Vec<OpDef> {
    const LENGTHS: &[&str] = &["7", "6, False", "1", "0", "2, False, dtype=float64"];
    windows! {
        "hann" "" 2, |a| |t| cosine(0.5, 0.5, t), "Half a cosine's wave, raised; periodic leaves out the last value.",
            LENGTHS, "scipy.signal.get_window('hann', window_length, periodic) if window_length else np.zeros(0)";
        "hamming" "float alpha=0.54, float beta=0.46, " 4, |a| { let (p, q) = (a.float(2)?, a.float(3)?); move |t| cosine(p, q, t) },
            "alpha - beta * cos(2 pi t); periodic leaves out the last value.",
            &["7", "6, False", "1", "0", "5, True, 0.6, 0.4"],
            "np.ones(1) if window_length == 1 else alpha - beta * np.cos(2 * np.pi * np.arange(window_length) / (window_length - (not periodic)))";
        "blackman" "" 2, |a| |t| cosine(0.42, 0.5, t) + 0.08 * (4.0 * PI * t).cos(), "Blackman's sum of cosines; periodic leaves out the last value.",
            LENGTHS, "scipy.signal.get_window('blackman', window_length, periodic) if window_length else np.zeros(0)";
        "bartlett" "" 2, |a| |t| 1.0 - (2.0 * t - 1.0).abs(), "A triangle; periodic leaves out the last value.",
            LENGTHS, "scipy.signal.get_window('bartlett', window_length, periodic) if window_length else np.zeros(0)";
        "kaiser" "float beta=12.0, " 3, |a| { let beta = a.float(2)?; move |t| kaiser(beta, t) },
            "Kaiser's window of shape beta; periodic leaves out the last value.",
            &["7", "6, False", "1", "0", "5, True, 3.0"],
            "scipy.signal.get_window(('kaiser', beta), window_length, periodic) if window_length else np.zeros(0)";
    }
}
