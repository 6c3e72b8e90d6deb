//! Resampling along an axis (interpolation) and sliding blocks to columns (`unfold`) and back (`fold`).

use crate::Raw;
use crate::parallel::{SendPtr, for_range};
use crate::room::{self, or_stop};
use rustnn_base::dtype::Real;
use rustnn_base::{Element, Float, Result, runtime_error, with_float};
use rustnn_simd::dispatch;

/// For each output along an axis, the inputs it is made of: output `o` is the sum of `weights[i] * x[places[i]]` for
/// `i` in `starts[o]..starts[o + 1]`.
#[derive(Debug, Clone, Default)]
pub struct Taps {
    /// Inputs along the axis; every place is below it.
    pub inputs: usize,
    pub starts: Vec<usize>,
    pub places: Vec<usize>,
    pub weights: Vec<f64>,
}

impl Taps {
    /// With no outputs yet, and room for `outputs`.
    pub fn new(inputs: usize, outputs: usize) -> Result<Self> {
        let mut starts = room::with_capacity(outputs.saturating_add(1))?;
        starts.push(0);
        Ok(Taps { inputs, starts, places: room::with_capacity(outputs)?, weights: room::with_capacity(outputs)? })
    }
    /// Adds an output made of these.
    pub fn push(&mut self, taps: impl IntoIterator<Item = (usize, f64)>) -> Result<()> {
        for (p, w) in taps {
            room::push(&mut self.places, p.min(self.inputs.saturating_sub(1)))?;
            room::push(&mut self.weights, w)?;
        }
        room::push(&mut self.starts, self.places.len())
    }
    /// Outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.starts.len() - 1
    }
}

/// `out[a, o, b] = sum of weights * x[a, place, b]` over an axis with `inner` values behind it; `back` does the
/// transpose: from a gradient of the outputs to one of the inputs.
pub fn resample(x: Raw, out: Raw, taps: &Taps, inner: usize, back: bool) -> Result<()> {
    let (n, m) = (taps.inputs, taps.outputs());
    let (from, to) = if back { (m, n) } else { (n, m) };
    let outer = if inner * to > 0 { out.numel() / (inner * to) } else { 0 };
    if x.numel() != outer * from * inner || out.numel() != outer * to * inner {
        return Err(runtime_error!("resampling of {:?} into {:?}", x.shape(), out.shape()));
    }
    with_float!(x.dtype(), T => run::<T>(x.slice()?, out.slice_mut()?, taps, outer, inner, back),
        else return Err(runtime_error!("resampling is not implemented for '{}'", x.dtype().torch_name())));
    Ok(())
}

fn run<T: Float>(x: &[T], out: &mut [T], taps: &Taps, outer: usize, inner: usize, back: bool) {
    let (n, m) = (taps.inputs, taps.outputs());
    let (from, to) = if back { (m * inner, n * inner) } else { (n * inner, m * inner) };
    let weights: Vec<T::Acc> = or_stop(room::collected(taps.weights.iter().map(|&w| T::Acc::from_f64(w))));
    let dst = SendPtr(out.as_mut_ptr());
    for_range(outer, (32_768 / (from + to).max(1)).max(1), |r| {
        let mut acc = or_stop(room::filled(if back { to } else { inner }, T::Acc::ZERO));
        for a in r {
            let x = &x[a * from..][..from];
            // SAFETY: parts of `out` for different `a` are disjoint; its length is `outer * to`.
            let y = unsafe { std::slice::from_raw_parts_mut(dst.get().add(a * to), to) };
            dispatch(
                #[inline(always)]
                || {
                    if back {
                        acc.fill(T::Acc::ZERO);
                        for o in 0..m {
                            let g = &x[o * inner..][..inner];
                            for t in taps.starts[o]..taps.starts[o + 1] {
                                let (w, d) = (weights[t], &mut acc[taps.places[t] * inner..][..inner]);
                                for (d, g) in d.iter_mut().zip(g) {
                                    *d += w * g.to_acc();
                                }
                            }
                        }
                        for (y, a) in y.iter_mut().zip(&acc) {
                            *y = T::from_acc(*a);
                        }
                        return;
                    }
                    for o in 0..m {
                        let taps_of = taps.starts[o]..taps.starts[o + 1];
                        // One value: the loops of the general case cost ten times what it takes.
                        if inner == 1 {
                            let mut sum = T::Acc::ZERO;
                            for t in taps_of {
                                sum += weights[t] * x[taps.places[t]].to_acc();
                            }
                            y[o] = T::from_acc(sum);
                            continue;
                        }
                        acc.fill(T::Acc::ZERO);
                        for t in taps_of {
                            let (w, s) = (weights[t], &x[taps.places[t] * inner..][..inner]);
                            for (d, s) in acc.iter_mut().zip(s) {
                                *d += w * s.to_acc();
                            }
                        }
                        for (y, a) in y[o * inner..].iter_mut().zip(&acc) {
                            *y = T::from_acc(*a);
                        }
                    }
                },
            );
        }
    });
}

/// Sizes of sliding blocks: image, kernel, dilation, padding, stride, each (height, width), and blocks along each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    pub image: [usize; 2],
    pub kernel: [usize; 2],
    pub dilation: [usize; 2],
    pub padding: [usize; 2],
    pub stride: [usize; 2],
    pub count: [usize; 2],
}

impl Blocks {
    /// Calls `f(column row, block, place)` for every value of every block that lies inside the image.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let [h, w] = self.image;
        for i in 0..self.kernel[0] {
            for j in 0..self.kernel[1] {
                for a in 0..self.count[0] {
                    let y = (a * self.stride[0] + i * self.dilation[0]).wrapping_sub(self.padding[0]);
                    if y >= h {
                        continue;
                    }
                    for b in 0..self.count[1] {
                        let x = (b * self.stride[1] + j * self.dilation[1]).wrapping_sub(self.padding[1]);
                        if x < w {
                            f(i * self.kernel[1] + j, a * self.count[1] + b, y * w + x);
                        }
                    }
                }
            }
        }
    }
    fn plane(&self) -> usize {
        self.image[0] * self.image[1]
    }
    fn columns(&self) -> (usize, usize) {
        (self.kernel[0] * self.kernel[1], self.count[0] * self.count[1])
    }
}

fn planes(image: &Raw, columns: &Raw, b: &Blocks) -> Result<usize> {
    let (k, l) = b.columns();
    let planes = if b.plane() > 0 { image.numel() / b.plane() } else { 0 };
    if planes * b.plane() != image.numel() || planes * k * l != columns.numel() {
        return Err(runtime_error!("blocks of {:?} in {:?}", image.shape(), columns.shape()));
    }
    Ok(planes)
}

/// Every plane's blocks as columns: `columns[plane, tap, block]`; zeros where a block lies outside.
pub fn unfold(image: Raw, columns: Raw, b: &Blocks) -> Result<()> {
    let n = planes(&image, &columns, b)?;
    let (k, l) = b.columns();
    with_float!(image.dtype(), T => {
        let (x, out) = (image.slice::<T>()?, columns.slice_mut::<T>()?);
        let dst = SendPtr(out.as_mut_ptr());
        for_range(n, (32_768 / (k * l).max(1)).max(1), |r| {
            for p in r {
                let x = &x[p * b.plane()..][..b.plane()];
                // SAFETY: planes write disjoint parts of the columns.
                let out = unsafe { std::slice::from_raw_parts_mut(dst.get().add(p * k * l), k * l) };
                out.fill(T::default());
                b.each(|t, block, place| out[t * l + block] = x[place]);
            }
        });
        Ok(())
    }, else Err(runtime_error!("\"im2col_out_cpu\" not implemented for '{}'", image.dtype().torch_name())))
}

/// The transpose of [`unfold`]: blocks summed where they overlap.
pub fn fold(columns: Raw, image: Raw, b: &Blocks) -> Result<()> {
    let n = planes(&image, &columns, b)?;
    let (k, l) = b.columns();
    with_float!(image.dtype(), T => {
        let (x, out) = (columns.slice::<T>()?, image.slice_mut::<T>()?);
        let dst = SendPtr(out.as_mut_ptr());
        for_range(n, (32_768 / (k * l).max(1)).max(1), |r| {
            let mut acc = or_stop(room::filled(b.plane(), <T as Float>::Acc::ZERO));
            for p in r {
                let x = &x[p * k * l..][..k * l];
                acc.fill(<T as Float>::Acc::ZERO);
                b.each(|t, block, place| acc[place] += x[t * l + block].to_acc());
                // SAFETY: planes write disjoint parts of the image.
                let out = unsafe { std::slice::from_raw_parts_mut(dst.get().add(p * b.plane()), b.plane()) };
                out.iter_mut().zip(&acc).for_each(|(o, a)| *o = T::from_acc(*a));
            }
        });
        Ok(())
    }, else Err(runtime_error!("\"col2im_out_cpu\" not implemented for '{}'", image.dtype().torch_name())))
}
