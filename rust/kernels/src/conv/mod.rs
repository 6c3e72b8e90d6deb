//! Convolutions of one to three dimensions, any stride, padding, dilation and groups, on contiguous `[N, C, ..]`.
//!
//! [`forward`], [`grad_input`] (which is also the transposed convolution) and [`grad_weight`] choose their way by the shape
//! alone; no matrix of patches is built and no layout is changed. Most read a small padded copy of the rows they need
//! ([`window`]): [`direct`] the first two, [`outer`] the weight's gradient, [`weight`] that of few output channels. One tap
//! is a product as it stands ([`points`] for the weight's gradient), few outputs are dot products with the weight
//! ([`product`]); depthwise planes are done one by one ([`planes`]); of images so small that their rows would not fill
//! vectors the outputs stand side by side ([`pixels`]); 3×3 in steps of one goes by fewer multiplications where there are
//! channels to pay for transforms ([`winograd`]); where a packed copy of the weight is kept, strided ones and those of poor
//! rows have output channels in their lanes ([`turned`]).

mod direct;
mod geometry;
mod outer;
mod pixels;
mod planes;
mod points;
mod product;
pub mod steps;
#[cfg(test)]
mod tests;
mod turned;
mod weight;
mod window;
mod winograd;
#[cfg(test)]
mod winograd_tests;
mod woven;

use crate::gemm::blocked::{Gemm, KC};
use crate::packs::Keep;
use crate::parallel::SendPtr;
use crate::room::{self, or_stop};
use crate::{Raw, scratch};
use direct::{Pass, Told, Weights};
pub use geometry::{Axis, ConvParams, Geometry};
use product::{thin_lines, thinned, with_thin};
use rustnn_base::{DType, Float, Result, bf16, f16, layout, not_implemented, runtime_error};
use rustnn_simd::{Isa, isa};
use window::AxisRun;

/// Which outputs along one axis a forward pass computes: all of them.
fn whole_axis(a: &Axis) -> AxisRun {
    AxisRun {
        n: a.output,
        step: a.stride,
        taps: or_stop(room::collected((0..a.kernel).map(|t| (t, (t * a.dilation) as isize - a.padding as isize)))),
    }
}

/// The inputs along one axis that are `phase` modulo the stride, as outputs of a pass over the gradient.
fn phase_axis(a: &Axis, phase: usize) -> AxisRun {
    let s = a.stride as isize;
    let taps = or_stop(room::collected((0..a.kernel).filter_map(|t| {
        let e = (phase + a.padding) as isize - (t * a.dilation) as isize;
        (e.rem_euclid(s) == 0).then(|| (t, e.div_euclid(s)))
    })));
    AxisRun { n: a.input.saturating_sub(phase).div_ceil(a.stride), step: 1, taps }
}

/// A convolution with one tap, no stride and no padding needs no rows: its plane is one long line.
fn flatten(mut geo: Geometry) -> Geometry {
    if geo.pointwise() && geo.axes.iter().all(|a| a.input == a.output) {
        let plane = geo.in_plane();
        geo.axes[0] = Axis { input: 1, output: 1, ..geo.axes[0] };
        geo.axes[1] = geo.axes[0];
        geo.axes[2] = Axis { input: plane, output: plane, ..geo.axes[2] };
    }
    geo
}

fn sizes(geo: &Geometry, f: impl Fn(&Axis) -> usize) -> [usize; 3] {
    std::array::from_fn(|d| f(&geo.axes[d]))
}

/// Runs a pass the way that suits its shape.
///
/// # Safety
/// As [`direct::run`].
unsafe fn run<T: Gemm>(pass: &Pass<T>, isa: Isa) -> Result<()> {
    // SAFETY: passed on.
    unsafe {
        if planes::suits(pass) {
            planes::run(pass)
        } else if winograd::suits(pass) {
            winograd::run(pass, isa)
        } else if product::suits(pass) || pixels::suits(pass) {
            if turned::suits_planes(pass, isa) {
                turned::run(pass, KC, true, isa)
            } else if product::suits(pass) {
                product::run(pass, isa)
            } else {
                pixels::run(pass, isa)
            }
        } else if product::suits_few(pass) {
            product::run_few(pass, isa)
        } else if turned::suits_rows(pass, isa) {
            turned::run(pass, direct::block(pass.taps()), pass.axes[2].step > 1, isa)
        } else {
            direct::run(pass, isa)
        }
    }
}

/// The forward pass.
fn forward_pass<'a, T>(
    geo: &Geometry,
    x: &[T],
    w: (&'a [T], Keep<'a>),
    bias: Option<&[T]>,
    out: &mut [T],
    told: Told<'a>,
) -> Pass<'a, T> {
    let (cin, cout, taps) = (geo.cin, geo.cout, geo.taps());
    let kernel = sizes(geo, |a| a.kernel);
    Pass {
        batch: geo.batch,
        groups: geo.groups,
        cin,
        cout,
        src: x.as_ptr(),
        source: sizes(geo, |a| a.input),
        dst: out.as_mut_ptr(),
        target: sizes(geo, |a| a.output),
        axes: std::array::from_fn(|d| whole_axis(&geo.axes[d])),
        weights: Weights { values: w.0, group: cout * cin * taps, out: cin * taps, input: taps, kernel, keep: w.1 },
        bias: bias.map_or(std::ptr::null(), <[T]>::as_ptr),
        told,
    }
}

/// The pass that makes the input gradient at places that are `phase` modulo the strides, as planes of their own.
fn gradient_pass<'a, T>(
    geo: &Geometry,
    dy: &[T],
    w: (&'a [T], Keep<'a>),
    bias: Option<&[T]>,
    dx: *mut T,
    phase: [usize; 3],
) -> Pass<'a, T> {
    let (cin, cout, taps) = (geo.cin, geo.cout, geo.taps());
    let kernel = sizes(geo, |a| a.kernel);
    let axes: [AxisRun; 3] = std::array::from_fn(|d| phase_axis(&geo.axes[d], phase[d]));
    Pass {
        batch: geo.batch,
        groups: geo.groups,
        cin: cout,
        cout: cin,
        src: dy.as_ptr(),
        source: sizes(geo, |a| a.output),
        dst: dx,
        target: axes.each_ref().map(|a| a.n),
        axes,
        weights: Weights { values: w.0, group: cout * cin * taps, out: taps, input: cin * taps, kernel, keep: w.1 },
        bias: bias.map_or(std::ptr::null(), <[T]>::as_ptr),
        told: None,
    }
}

fn forward_of<T: Gemm>(
    geo: Geometry,
    x: &[T],
    w: (&[T], Keep),
    bias: Option<&[T]>,
    out: &mut [T],
    told: Told,
    isa: Isa,
) -> Result<()> {
    if let Some(thinned) = thinned(&geo) {
        return with_thin(&geo, x, |x| forward_of(thinned, x, w, bias, out, told, isa));
    }
    let geo = flatten(geo);
    // SAFETY: `Geometry::new` checked the sizes against the shapes the slices came with.
    unsafe { run(&forward_pass(&geo, x, w, bias, out, told), isa) }
}

fn grad_input_of<T: Gemm>(
    geo: Geometry,
    dy: &[T],
    w: (&[T], Keep),
    bias: Option<&[T]>,
    dx: &mut [T],
    isa: Isa,
) -> Result<()> {
    if let (Some(thinned), None) = (thinned(&geo), bias) {
        let len = geo.batch * geo.groups * geo.cin * geo.out_plane();
        return scratch::with(len, |thin_dx: *mut T| {
            // SAFETY: `len` values, set before they are read.
            let thin_dx = unsafe {
                thin_dx.write_bytes(0, len);
                std::slice::from_raw_parts_mut(thin_dx, len)
            };
            grad_input_of(thinned, dy, w, None, thin_dx, isa)?;
            crate::parallel::for_slices(dx, 65_536, |_, piece| piece.fill(T::ZERO));
            let (dx, step) = (SendPtr(dx.as_mut_ptr()), geo.axes[2].stride);
            thin_lines(&geo, geo.batch * geo.groups * geo.cin, |line, to| {
                for (i, v) in thin_dx[line].iter().enumerate() {
                    // SAFETY: places of the input that lines of its own read.
                    unsafe { *dx.get().add(to + i * step) = *v };
                }
            });
            Ok(())
        })?;
    }
    let geo = flatten(geo);
    // SAFETY: as in `forward_of`.
    unsafe {
        if geo.axes.iter().all(|a| a.stride == 1) {
            run(&gradient_pass(&geo, dy, w, bias, dx.as_mut_ptr(), [0; 3]), isa)
        } else {
            woven::grad_input(&geo, dy, w, bias, dx, |pass| run(pass, isa))
        }
    }
}

fn grad_weight_of<T: Gemm>(geo: Geometry, dy: &[T], x: &[T], dw: &mut [T], isa: Isa) -> Result<()> {
    if let Some(thinned) = thinned(&geo) {
        return with_thin(&geo, x, |x| grad_weight_of(thinned, dy, x, dw, isa));
    }
    let geo = flatten(geo);
    let axes = std::array::from_fn(|d| whole_axis(&geo.axes[d]));
    let (dy, x, dw) = (dy.as_ptr(), x.as_ptr(), dw.as_mut_ptr());
    // SAFETY: as in `forward_of`.
    unsafe {
        if planes::suits_weight(&geo, &axes) {
            planes::grad_weight(&geo, &axes, dy, x, dw)
        } else if pixels::suits_weight(&geo) {
            pixels::grad_weight(&geo, &axes, dy, x, dw, isa)
        } else if points::suits(&geo) {
            points::grad_weight(&geo, dy, x, dw, isa)
        } else if outer::suits(&geo) {
            outer::grad_weight(&geo, &axes, dy, x, dw, isa)
        } else {
            weight::grad_weight(&geo, axes, dy, x, dw, isa)
        }
    }
}

/// Runs `$body` with the operands as f32 or f64 slices; 16-bit ones are widened first and the result rounded once.
macro_rules! by_dtype {
    ($dst:ident, [$($src:ident),*], $bias:expr, |$d:ident, $b:ident| $body:expr) => {
        match $dst.dtype() {
            DType::F32 => {
                $(let $src = $src.slice::<f32>()?;)*
                let $b: Option<&[f32]> = match $bias { Some(b) => Some(b.slice::<f32>()?), None => None };
                let $d = $dst.slice_mut::<f32>()?;
                $body
            }
            DType::F64 => {
                $(let $src = $src.slice::<f64>()?;)*
                let $b: Option<&[f64]> = match $bias { Some(b) => Some(b.slice::<f64>()?), None => None };
                let $d = $dst.slice_mut::<f64>()?;
                $body
            }
            DType::BF16 => {
                $(let $src = widen($src.slice::<bf16>()?)?; let $src = &$src[..];)*
                let wide = match $bias { Some(b) => Some(widen(b.slice::<bf16>()?)?), None => None };
                let $b: Option<&[f32]> = wide.as_deref();
                rounded($dst.slice_mut::<bf16>()?, |$d: &mut [f32]| $body)
            }
            DType::F16 => {
                $(let $src = widen($src.slice::<f16>()?)?; let $src = &$src[..];)*
                let wide = match $bias { Some(b) => Some(widen(b.slice::<f16>()?)?), None => None };
                let $b: Option<&[f32]> = wide.as_deref();
                rounded($dst.slice_mut::<f16>()?, |$d: &mut [f32]| $body)
            }
            other => Err(not_implemented!("convolution is not implemented for '{}'", other.torch_name())),
        }
    };
}

fn widen<T: Float>(x: &[T]) -> Result<Vec<f32>> {
    room::collected(x.iter().map(|v| v.to_f32()))
}

fn rounded<T: Float>(dst: &mut [T], f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    scratch::with(dst.len(), |wide: *mut f32| {
        // SAFETY: the scratch block has that many values; they are set to zero before they are read.
        let wide = unsafe {
            std::ptr::write_bytes(wide, 0, dst.len());
            std::slice::from_raw_parts_mut(wide, dst.len())
        };
        f(wide)?;
        dst.iter_mut().zip(wide.iter()).for_each(|(d, &v)| *d = T::from_f32(v));
        Ok(())
    })?
}

/// Where packed copies of a weight are kept: not of one that is widened first.
fn keep_of<'a>(weight: &Raw<'a>) -> Keep<'a> {
    if matches!(weight.dtype(), DType::F32 | DType::F64) { weight.keep() } else { Keep::NOT }
}

fn bias_fits(bias: Option<Raw>, channels: usize) -> Result<()> {
    match bias {
        Some(b) if b.numel() != channels => {
            Err(runtime_error!("a bias of {} values for {channels} channels", b.numel()))
        }
        _ => Ok(()),
    }
}

/// `out = conv(input, weight) + bias`; all contiguous, shapes as [`Geometry::new`] wants them.
pub fn forward(input: Raw, weight: Raw, bias: Option<Raw>, out: Raw, p: &ConvParams) -> Result<()> {
    forward_told(input, weight, bias, out, p, None)
}

/// As [`forward`], in f32 or f64; `told` may go on with the outputs it is told of. It is told of none where `out` is empty.
fn forward_told(input: Raw, weight: Raw, bias: Option<Raw>, out: Raw, p: &ConvParams, told: Told) -> Result<()> {
    let geo = Geometry::new(input.shape(), weight.shape(), out.shape(), p)?;
    bias_fits(bias, geo.groups * geo.cout)?;
    let keep = keep_of(&weight);
    by_dtype!(out, [input, weight], bias, |d, b| forward_of(geo, input, (weight, keep), b, d, told, isa()))
}

/// The gradient of [`forward`]'s input for the gradient of its output (plus a bias per input channel): the transposed
/// convolution.
pub fn grad_input(grad_out: Raw, weight: Raw, bias: Option<Raw>, grad_in: Raw, p: &ConvParams) -> Result<()> {
    let geo = Geometry::new(grad_in.shape(), weight.shape(), grad_out.shape(), p)?;
    bias_fits(bias, geo.groups * geo.cin)?;
    let keep = keep_of(&weight);
    by_dtype!(grad_in, [grad_out, weight], bias, |d, b| grad_input_of(geo, grad_out, (weight, keep), b, d, isa()))
}

/// The gradient of [`forward`]'s weight.
pub fn grad_weight(grad_out: Raw, input: Raw, grad_w: Raw, p: &ConvParams) -> Result<()> {
    let geo = Geometry::new(input.shape(), grad_w.shape(), grad_out.shape(), p)?;
    let none: Option<Raw> = None;
    by_dtype!(grad_w, [grad_out, input], none, |d, _b| grad_weight_of(geo, grad_out, input, d, isa()))
}

/// The gradient of [`forward`]'s bias: the sum over images and places.
pub fn grad_bias(grad_out: Raw, bias: Raw) -> Result<()> {
    let s = grad_out.shape();
    if s.len() < 2 || bias.numel() != s[1] {
        return Err(runtime_error!("bias gradient of {:?} into {:?}", s, bias.shape()));
    }
    let (batch, channels, plane) = (s[0], s[1], layout::count(&s[2..]));
    let none: Option<Raw> = None;
    by_dtype!(bias, [grad_out], none, |d, _b| {
        weight::grad_bias(batch, channels, plane, grad_out, d);
        Ok(())
    })
}
