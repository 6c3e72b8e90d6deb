//! Pooling over the last one to three dimensions of contiguous tensors, plane by plane.
//!
//! What a window covers along each axis is worked out once ([`Span`]), so fixed, padded, dilated and adaptive pooling
//! share their loops. Planes are independent: any number of threads gives the same bits.

use crate::Raw;
use crate::parallel::{SendPtr, for_range};
use crate::room;
use rustnn_base::dtype::Real;
use rustnn_base::layout::count;
use rustnn_base::{Element, Float, Result, runtime_error, with_float};
use rustnn_simd::dispatch;

mod max;
pub use max::{max_pool, max_pool_grad};

/// The inputs that one output covers along an axis: `start, start + step, ..`, `count` of them; `padded` counts those
/// in the padding too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub count: usize,
    pub step: usize,
    pub padded: usize,
}

/// The windows of a fixed kernel along an axis of `input` values; `output` is the size that the op's rule gave.
pub fn spans(
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Result<Vec<Span>> {
    room::collected((0..output).map(|o| {
        let first = (o * stride) as isize - padding as isize;
        let skip = if first < 0 { ((-first) as usize).div_ceil(dilation) } else { 0 };
        let start = (first + (skip * dilation) as isize) as usize;
        let fits = if start < input { (input - start).div_ceil(dilation) } else { 0 };
        let count = fits.min(kernel.saturating_sub(skip));
        let end = (first + kernel as isize).min((input + padding) as isize);
        Span { start, count, step: dilation, padded: (end - first).max(0) as usize }
    }))
}

/// The windows of adaptive pooling along an axis.
pub fn adaptive_spans(input: usize, output: usize) -> Result<Vec<Span>> {
    room::collected((0..output).map(|o| {
        let start = o * input / output;
        let count = ((o + 1) * input).div_ceil(output) - start;
        Span { start, count, step: 1, padded: count }
    }))
}

/// Windows of the last dimensions, brought to three axes.
#[derive(Debug, Clone)]
pub struct Windows {
    axes: [Vec<Span>; 3],
    input: [usize; 3],
    /// Whether every window is a whole, unpadded 2 x 2 block at even places of one slab.
    pairs: bool,
    /// Outputs along the width whose windows are alike, one stride after the other, and that stride.
    alike: (usize, usize, usize),
}

/// The longest run of windows that begin a stride apart and are otherwise the same.
fn alike(spans: &[Span]) -> (usize, usize, usize) {
    let mut best = (0, 0, 1);
    let mut from = 0;
    while from + 1 < spans.len() {
        let (a, b) = (spans[from], spans[from + 1]);
        let stride = b.start.wrapping_sub(a.start);
        let follows = |i: usize| {
            let (a, b) = (spans[i], spans[i + 1]);
            b.start.wrapping_sub(a.start) == stride && (a.count, a.step) == (b.count, b.step)
        };
        let mut to = from;
        while to + 1 < spans.len() && b.start > a.start && a.count > 0 && follows(to) {
            to += 1;
        }
        if to > from && to + 1 - from > best.1 - best.0 {
            best = (from, to + 1, stride);
        }
        from = to.max(from + 1);
    }
    best
}

impl Windows {
    /// From each pooled dimension's input size and windows (one to three of them).
    #[must_use]
    pub fn new(dims: Vec<(usize, Vec<Span>)>) -> Self {
        let one = || vec![Span { start: 0, count: 1, step: 1, padded: 1 }];
        let mut axes = [one(), one(), one()];
        let mut input = [1; 3];
        let lead = 3usize.saturating_sub(dims.len());
        for (i, (size, spans)) in dims.into_iter().enumerate().take(3) {
            input[lead + i] = size;
            axes[lead + i] = spans;
        }
        let even = |s: &[Span]| {
            !s.is_empty() && s.iter().enumerate().all(|(i, s)| (s.start, s.count, s.step) == (2 * i, 2, 1))
        };
        let pairs = lead == 1 && even(&axes[1]) && even(&axes[2]);
        let alike = alike(&axes[2]);
        Windows { axes, input, pairs, alike }
    }

    fn in_plane(&self) -> usize {
        count(&self.input)
    }
    fn out_plane(&self) -> usize {
        count(&self.axes.each_ref().map(Vec::len))
    }

    /// Calls `f(output, spans)` for each output of a plane in order.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, Span, Span, Span)) {
        let mut o = 0;
        for &d in &self.axes[0] {
            for &h in &self.axes[1] {
                for &w in &self.axes[2] {
                    f(o, d, h, w);
                    o += 1;
                }
            }
        }
    }

    /// Calls `f(place)` for each input place of a window in order.
    #[inline(always)]
    fn inside(&self, d: Span, h: Span, w: Span, mut f: impl FnMut(usize)) {
        for i in 0..d.count {
            for j in 0..h.count {
                let line = ((d.start + i * d.step) * self.input[1] + h.start + j * h.step) * self.input[2];
                for k in 0..w.count {
                    f(line + w.start + k * w.step);
                }
            }
        }
    }

    fn planes(&self, input: &Raw, output: &Raw) -> Result<usize> {
        let (ip, op) = (self.in_plane(), self.out_plane());
        let (ni, no) = (input.numel(), output.numel());
        let planes = if ip > 0 {
            ni / ip
        } else if op > 0 {
            no / op
        } else {
            0
        };
        if planes * ip != ni || planes * op != no {
            return Err(runtime_error!("pooling of {:?} into {:?}", input.shape(), output.shape()));
        }
        Ok(planes)
    }
}

/// Runs `f` on ranges of planes, `per_plane` values each.
fn over_planes(planes: usize, per_plane: usize, f: impl Fn(usize) + Sync) {
    for_range(planes, (32_768 / per_plane.max(1)).max(1), |r| r.for_each(&f));
}

/// What each window's sum is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Divisor {
    /// The values it covers.
    Covered,
    /// As above, with those in the padding.
    Padded,
    /// A given number.
    Fixed(f64),
}

impl Divisor {
    #[inline(always)]
    fn of(self, d: Span, h: Span, w: Span) -> f64 {
        match self {
            Divisor::Covered => (d.count * h.count * w.count) as f64,
            Divisor::Padded => (d.padded * h.padded * w.padded) as f64,
            Divisor::Fixed(v) => v,
        }
    }
}

/// The mean of each window; 0 where a window covers nothing.
pub fn avg_pool(input: Raw, w: &Windows, out: Raw, divisor: Divisor) -> Result<()> {
    let planes = w.planes(&input, &out)?;
    with_float!(input.dtype(), T => avg::<T>(planes, input, w, out, divisor),
        else Err(runtime_error!("avg_pool is not implemented for '{}'", input.dtype().torch_name())))
}

fn avg<T: Float>(planes: usize, input: Raw, w: &Windows, out: Raw, divisor: Divisor) -> Result<()> {
    let (x, y) = (input.slice::<T>()?, out.slice_mut::<T>()?);
    let (ip, op) = (w.in_plane(), w.out_plane());
    if op == 0 {
        return Ok(());
    }
    let y = SendPtr(y.as_mut_ptr());
    over_planes(planes, ip, |p| {
        let x = &x[p * ip..][..ip];
        // SAFETY: planes are disjoint parts of the output, whose size was checked.
        let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(p * op), op) };
        if op == 1 && w.axes.iter().zip(w.input).all(|(a, n)| a[0].count == n && a[0].step == 1) {
            // Global pooling: a fixed number of running sums, so that vectors do not change the order.
            let total = dispatch(
                #[inline(always)]
                || {
                    let mut acc = [T::Acc::ZERO; 16];
                    let mut rest = T::Acc::ZERO;
                    let mut blocks = x.chunks_exact(16);
                    for b in &mut blocks {
                        for l in 0..16 {
                            acc[l] += b[l].to_acc();
                        }
                    }
                    blocks.remainder().iter().for_each(|v| rest += v.to_acc());
                    for n in [8, 4, 2, 1] {
                        for l in 0..n {
                            acc[l] += acc[l + n];
                        }
                    }
                    acc[0] + rest
                },
            );
            let n = divisor.of(w.axes[0][0], w.axes[1][0], w.axes[2][0]);
            y[0] = T::from_acc(total / T::Acc::from_f64(n));
            return;
        }
        if w.pairs {
            let (ow, iw) = (w.axes[2].len(), w.input[2]);
            let n = T::Acc::from_f64(divisor.of(w.axes[0][0], w.axes[1][0], w.axes[2][0]));
            dispatch(
                #[inline(always)]
                || {
                    for (i, out) in y.chunks_mut(ow).enumerate() {
                        let top = &x[2 * i * iw..][..2 * ow];
                        let low = &x[(2 * i + 1) * iw..][..2 * ow];
                        for j in 0..ow {
                            let s = top[2 * j].to_acc() + top[2 * j + 1].to_acc() + low[2 * j].to_acc();
                            out[j] = T::from_acc((s + low[2 * j + 1].to_acc()) / n);
                        }
                    }
                },
            );
            return;
        }
        w.each(|o, d, h, k| {
            let mut s = T::Acc::ZERO;
            w.inside(d, h, k, |i| s += x[i].to_acc());
            let covered = d.count * h.count * k.count > 0;
            y[o] = if covered { T::from_acc(s / T::Acc::from_f64(divisor.of(d, h, k))) } else { T::default() };
        });
    });
    Ok(())
}

/// Spreads each output's gradient evenly over its window: the gradient of [`avg_pool`].
pub fn avg_pool_grad(grad_out: Raw, w: &Windows, grad_in: Raw, divisor: Divisor) -> Result<()> {
    let planes = w.planes(&grad_in, &grad_out)?;
    with_float!(grad_out.dtype(), T => {
        let (g, dx) = (grad_out.slice::<T>()?, grad_in.slice_mut::<T>()?);
        let (ip, op) = (w.in_plane(), w.out_plane());
        let dx = SendPtr(dx.as_mut_ptr());
        over_planes(planes, ip, |p| {
            let g = &g[p * op..][..op];
            // SAFETY: planes are disjoint parts of the gradient, whose size was checked.
            let dx = unsafe { std::slice::from_raw_parts_mut(dx.get().add(p * ip), ip) };
            spread::<T>(g, w, dx, divisor);
        });
        Ok(())
    }, else Err(runtime_error!("avg_pool's gradient is not implemented for '{}'", grad_out.dtype().torch_name())))
}

fn spread<T: Float>(g: &[T], w: &Windows, dx: &mut [T], divisor: Divisor) {
    dx.fill(T::default());
    w.each(|o, d, h, k| {
        let v = g[o].to_acc() / T::Acc::from_f64(divisor.of(d, h, k));
        w.inside(d, h, k, |i| dx[i] = T::from_acc(dx[i].to_acc() + v));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustnn_base::DType;

    fn raw<'a, T: Element>(x: &[T], shape: &'a [usize], strides: &'a [isize]) -> Raw<'a> {
        // SAFETY: shape and strides describe the slice, which outlives the call under test.
        unsafe { Raw::new(x.as_ptr().cast_mut().cast(), T::DTYPE, shape, strides) }
    }

    fn pool(x: &[f32], h: usize, v: usize, w: &Windows, op: usize) -> (Vec<f32>, Vec<i64>) {
        let n = x.len() / (h * v);
        let (y, at) = (vec![0f32; n * op], vec![0i64; n * op]);
        let (shape, strides) = ([n, h, v], [(h * v) as isize, v as isize, 1]);
        let (os, ot) = ([n, op], [op as isize, 1]);
        max_pool(raw(x, &shape, &strides), w, raw(&y, &os, &ot), Some(raw(&at, &os, &ot))).unwrap();
        (y, at)
    }

    #[test]
    fn pairs_and_general_windows_agree() {
        let (h, v) = (7, 9);
        let mut x: Vec<f32> = (0..3 * h * v).map(|i| ((i * 7919) % 31) as f32).collect();
        x[17] = f32::NAN;
        let fast = Windows::new(vec![(h, spans(h, 3, 2, 2, 0, 1).unwrap()), (v, spans(v, 4, 2, 2, 0, 1).unwrap())]);
        assert!(fast.pairs);
        let slow = Windows { pairs: false, ..fast.clone() };
        let ((a, i), (b, j)) = (pool(&x, h, v, &fast, 12), pool(&x, h, v, &slow, 12));
        assert_eq!(i, j);
        assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn windows_clip_to_the_input() {
        let s = spans(5, 3, 3, 2, 1, 1).unwrap();
        assert_eq!(s[0], Span { start: 0, count: 2, step: 1, padded: 3 });
        assert_eq!(s[2], Span { start: 3, count: 2, step: 1, padded: 3 });
        let d = spans(6, 2, 3, 1, 2, 2).unwrap();
        assert_eq!(d[0], Span { start: 0, count: 2, step: 2, padded: 3 });
        assert_eq!(d[1], Span { start: 1, count: 2, step: 2, padded: 3 });
        assert_eq!(adaptive_spans(7, 3).unwrap()[1], Span { start: 2, count: 3, step: 1, padded: 3 });
    }

    #[test]
    fn gradients_return_what_went_in() {
        let (h, v) = (5, 6);
        let x: Vec<f32> = (0..2 * h * v).map(|i| ((i * 7919) % 31) as f32).collect();
        let w = Windows::new(vec![(h, spans(h, 3, 3, 2, 1, 1).unwrap()), (v, spans(v, 3, 3, 2, 1, 1).unwrap())]);
        let (_, at) = pool(&x, h, v, &w, 9);
        let g = vec![1f32; 18];
        let dx = vec![9f32; 60];
        let (is, it, os, ot) = ([2usize, 5, 6], [30isize, 6, 1], [2usize, 9], [9isize, 1]);
        max_pool_grad(raw(&g, &os, &ot), raw(&at, &os, &ot), raw(&dx, &is, &it), 30, 9).unwrap();
        assert_eq!(dx.iter().sum::<f32>(), 18.0);
        let y = vec![0f32; 18];
        avg_pool(raw(&x, &is, &it), &w, raw(&y, &os, &ot), Divisor::Covered).unwrap();
        let want = (x[0] + x[1] + x[6] + x[7]) / 4.0;
        assert_eq!(y[0], want);
        avg_pool_grad(raw(&g, &os, &ot), &w, raw(&dx, &is, &it), Divisor::Covered).unwrap();
        assert!((dx.iter().sum::<f32>() - 18.0).abs() < 1e-4);
        assert_eq!(DType::F32, f32::DTYPE);
    }
}
