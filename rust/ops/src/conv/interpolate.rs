//! `interpolate`: resampling by nearest, linear, cubic or area, one axis at a time.

use crate::args::{Args, IntoRet, Ret};
use crate::registry::{NN, OpDef, PRIVATE, op};
use rustnn_core::base::layout;
use rustnn_core::base::{not_implemented, runtime_error, value_error};
use rustnn_core::{DType, Dims, Result, Tensor, attach, grads};
use rustnn_kernels::resample::{self, Taps};
use std::sync::Arc;

/// How values between inputs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    NearestExact,
    Linear,
    Cubic,
}

/// Which input nearest resampling takes, in single precision as PyTorch computes it.
fn nearest(o: usize, n: usize, m: usize, ratio: f32, exact: bool) -> usize {
    if exact {
        return ((((o as f32 + 0.5) * ratio).floor()) as usize).min(n - 1);
    }
    if n == m {
        return o;
    }
    (((o as f32) * ratio).floor() as usize).min(n - 1)
}

/// Keys' cubic kernel with parameter `a` at distance `x`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// The taps of one axis from `n` to `m` values; `scale` is the factor the caller asked for, if it counts.
fn taps(
    mode: Mode,
    n: usize,
    m: usize,
    align: bool,
    scale: Option<f64>,
    narrow: bool,
    antialias: bool,
) -> Result<Taps> {
    let mut t = Taps::new(n, m)?;
    let ratio = match scale {
        Some(s) => 1.0 / s,
        None if m > 0 => n as f64 / m as f64,
        None => 0.0,
    };
    // f32 tensors are placed in single precision.
    let ratio = if narrow { f64::from(ratio as f32) } else { ratio };
    let last = n - 1;
    for o in 0..m {
        match mode {
            Mode::Nearest | Mode::NearestExact => {
                t.push([(nearest(o, n, m, ratio as f32, mode == Mode::NearestExact), 1.0)])?;
            }
            Mode::Linear | Mode::Cubic if antialias => {
                let (half, a) = if mode == Mode::Linear { (1.0, 0.0) } else { (2.0, -0.5) };
                let ratio = if align { if m > 1 { last as f64 / (m - 1) as f64 } else { 0.0 } } else { ratio };
                let stretch = ratio.max(1.0);
                let support = half * stretch;
                let center = ratio * (o as f64 + 0.5);
                let low = (center - support + 0.5).max(0.0) as usize;
                let high = ((center + support + 0.5) as usize).min(n);
                let weight = |i: usize| {
                    let x = (i as f64 - center + 0.5) / stretch;
                    if mode == Mode::Linear { (1.0 - x.abs()).max(0.0) } else { cubic(x, a) }
                };
                let total: f64 = (low..high).map(weight).sum();
                t.push((low..high).map(|i| (i, if total == 0.0 { 0.0 } else { weight(i) / total })))?;
            }
            Mode::Linear | Mode::Cubic => {
                let at = if align {
                    if m > 1 { o as f64 * (last as f64 / (m - 1) as f64) } else { 0.0 }
                } else {
                    ratio * (o as f64 + 0.5) - 0.5
                };
                let at = if narrow { f64::from(at as f32) } else { at };
                if mode == Mode::Linear {
                    let at = at.max(0.0);
                    let i = (at as usize).min(last);
                    let w = (at - i as f64).clamp(0.0, 1.0);
                    t.push([(i, 1.0 - w), (i + usize::from(i < last), w)])?;
                } else {
                    let i = at.floor();
                    let w = at - i;
                    let place = |d: f64| (i + d).clamp(0.0, last as f64) as usize;
                    let a = -0.75;
                    t.push([
                        (place(-1.0), cubic(w + 1.0, a)),
                        (place(0.0), cubic(w, a)),
                        (place(1.0), cubic(1.0 - w, a)),
                        (place(2.0), cubic(2.0 - w, a)),
                    ])?;
                }
            }
        }
    }
    Ok(t)
}

/// Applies taps along a dimension; `back` their transpose.
fn along(x: &Tensor, dim: usize, taps: &Arc<Taps>, back: bool) -> Result<Tensor> {
    let mut shape: Dims = x.shape().into();
    shape[dim] = if back { taps.inputs } else { taps.outputs() };
    let inner: usize = layout::count(&shape[dim + 1..]);
    let out = Tensor::empty(&shape, x.dtype())?;
    resample::resample(x.to_contiguous()?.raw(), out.raw(), taps, inner, back)?;
    let t = taps.clone();
    let name = if back { "UpsampleBackwardBackward0" } else { "UpsampleBackward0" };
    attach(name, out, &[x], move |_, g| Ok(grads![along(g, dim, &t, !back)?]))
}

fn resampled(
    x: &Tensor,
    mode: Mode,
    size: &[usize],
    align: bool,
    scales: Option<&[f64]>,
    antialias: bool,
) -> Result<Tensor> {
    if !x.dtype().is_float() {
        if x.dtype() == DType::Bool {
            return Err(not_implemented!("\"upsample\" not implemented for 'Bool'"));
        }
        let wide = resampled(&x.copied_as(DType::F64)?, mode, size, align, scales, antialias)?;
        return wide.copied_as(x.dtype());
    }
    let narrow = x.dtype() != DType::F64;
    let mut y = x.clone();
    for (i, &m) in size.iter().enumerate() {
        let n = y.shape()[i + 2];
        let scale = scales.map(|s| s[i]).filter(|&s| s > 0.0);
        let same = n == m && (align || scale.is_none_or(|s| s == 1.0));
        if same && !(antialias && mode == Mode::Cubic) {
            continue;
        }
        let taps = Arc::new(taps(mode, n, m, align, scale, narrow, antialias)?);
        y = along(&y, i + 2, &taps, false)?;
    }
    Ok(y)
}

/// Resamples `[N, C, ...]` to a size or by factors.
pub fn interpolate(
    x: &Tensor,
    size: Option<&[i64]>,
    factors: Option<&[f64]>,
    mode: &str,
    align: Option<bool>,
    recompute: Option<bool>,
    antialias: bool,
) -> Result<Tensor> {
    let dims = x.ndim().saturating_sub(2);
    if matches!(mode, "nearest" | "area" | "nearest-exact") {
        if align.is_some() {
            return Err(value_error!(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
            ));
        }
    }
    if !(1..=3).contains(&dims) {
        return Err(not_implemented!(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got {}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact (got {mode})",
            x.ndim()
        ));
    }
    let (want, scales): (Vec<usize>, Option<Vec<f64>>) = match (size, factors) {
        (Some(_), Some(_)) => return Err(value_error!("only one of size or scale_factor should be defined")),
        (None, None) => return Err(value_error!("either size or scale_factor should be defined")),
        (Some(s), None) => {
            if recompute == Some(true) {
                return Err(value_error!("recompute_scale_factor is not meaningful with an explicit size."));
            }
            let s = if s.len() == 1 { vec![s[0]; dims] } else { s.to_vec() };
            if s.len() != dims {
                return Err(value_error!(
                    "Input and output must have the same number of spatial dimensions, but got input with spatial dimensions of {:?} and output size of {s:?}. Please provide input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) format.",
                    &x.shape()[2..]
                ));
            }
            if s.iter().any(|&v| v <= 0) {
                return Err(runtime_error!(
                    "Input and output sizes should be greater than 0, but got input (H: {:?}) output (H: {s:?})",
                    &x.shape()[2..]
                ));
            }
            (s.iter().map(|&v| v as usize).collect(), None)
        }
        (None, Some(f)) => {
            let f = if f.len() == 1 { vec![f[0]; dims] } else { f.to_vec() };
            if f.len() != dims {
                return Err(value_error!(
                    "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial dimensions of {:?} and scale_factor of shape {f:?}. Please provide input tensor in (N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, ...,sK) format.",
                    &x.shape()[2..]
                ));
            }
            let sizes: Vec<usize> =
                f.iter().zip(&x.shape()[2..]).map(|(f, &n)| (n as f64 * f).floor().max(0.0) as usize).collect();
            if sizes.contains(&0) {
                return Err(runtime_error!(
                    "Input and output sizes should be greater than 0, but got input {:?} output {sizes:?}",
                    &x.shape()[2..]
                ));
            }
            (sizes, if recompute == Some(true) { None } else { Some(f) })
        }
    };
    if x.shape()[2..].contains(&0) {
        return Err(runtime_error!(
            "Input and output sizes should be greater than 0, but got input {:?} output {want:?}",
            &x.shape()[2..]
        ));
    }
    rustnn_core::base::layout::numel(&want)?;
    if antialias && !(matches!(mode, "bilinear" | "bicubic") && dims == 2) {
        return Err(value_error!(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        ));
    }
    let align = align.unwrap_or(false);
    let kind = match (mode, dims) {
        ("nearest", _) => Mode::Nearest,
        ("nearest-exact", _) => Mode::NearestExact,
        ("linear", 1) | ("bilinear", 2) | ("trilinear", 3) => Mode::Linear,
        ("bicubic", 2) => Mode::Cubic,
        ("area", _) => {
            let out: Vec<i64> = want.iter().map(|&v| v as i64).collect();
            return super::pool::adaptive_avg_pool(x, dims, &out);
        }
        ("linear" | "bilinear" | "trilinear", _) => {
            let needs = match mode {
                "linear" => 3,
                "bilinear" => 4,
                _ => 5,
            };
            return Err(not_implemented!("Got {}D input, but {mode} mode needs {needs}D input", x.ndim()));
        }
        _ => {
            return Err(not_implemented!(
                "Input Error: Only 3D, 4D and 5D input Tensors supported (got {}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact (got {mode})",
                x.ndim()
            ));
        }
    };
    resampled(x, kind, &want, align, scales.as_deref(), antialias)
}

fn call(a: &Args) -> Result<Ret> {
    let factors = a.opt_floats(2);
    interpolate(
        a.tensor(0)?,
        a.opt_ints(1),
        factors.as_deref(),
        a.str(3)?,
        a.opt_bool(4),
        a.opt_bool(5),
        a.opt_bool(6).unwrap_or(false),
    )
    .ret()
}

pub(crate) fn ops() -> Vec<OpDef> {
    vec![
        op("interpolate(Tensor input, int|int[]? size=None, float|float[]? scale_factor=None, str mode='nearest', bool? align_corners=None, bool? recompute_scale_factor=None, bool antialias=False)", NN, call)
            .doc("Resamples [N, C, ...] to a size or by factors: nearest, nearest-exact, linear, bilinear, bicubic, trilinear, area.")
            .samples(&[
                "t(2,3,4,5), (8,10)", "t(2,3,4,5), (3,7)", "t(1,2,5), 8, mode='linear'", "t(1,2,4,5), (7,3), mode='bilinear'",
                "t(1,2,4,5), (7,9), mode='bilinear', align_corners=True", "t(1,2,4,5), (7,9), mode='bicubic'", "t(1,2,4,5), (2,3), mode='bicubic', align_corners=True",
                "t(1,1,3,4,2), (5,2,4), mode='trilinear'", "t(2,3,4,5), (9,3), mode='nearest-exact'",
            ])
            .oracle("ref_resample(input, [size] if isinstance(size, int) else list(size), mode, bool(align_corners), None)"),
        op("_interpolate_by(Tensor input, float[] scale_factor, str mode)", PRIVATE, |a| {
            let factors = a.opt_floats(1);
            interpolate(a.tensor(0)?, None, factors.as_deref(), a.str(2)?, None, None, false).ret()
        })
        .doc("interpolate by factors.")
        .samples(&["t(1,2,4,5), [2.,1.5], 'nearest'", "t(1,2,4,5), [1.5,2.2], 'bilinear'", "t(1,2,8,6), [0.5,0.4], 'bicubic'"])
        .oracle("ref_resample(input, [int(np.floor(n * f)) for n, f in zip(input.shape[2:], scale_factor)], mode, False, scale_factor)"),
    ]
}
