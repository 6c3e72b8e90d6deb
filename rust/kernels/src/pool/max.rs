//! Maximum pooling: values with their places, where a gradient or the caller wants those, or values alone.

use super::{Span, Windows, over_planes};
use crate::Raw;
use crate::parallel::SendPtr;
use crate::room::or_stop;
use crate::scratch;
use rustnn_base::{DType, Element, Float, Result, runtime_error, with_float, with_number};
use rustnn_simd::arch::max_windows;
use rustnn_simd::{Isa, dispatch, isa};

/// Windows that [`max_rows`] takes side by side, and how many must be alike.
const SIDE: usize = 8;
const LEAST: usize = 3;
/// Windows that [`max_values`] takes side by side.
const BLOCK: usize = 16;

/// The largest value of each window; its place in the plane goes to `indices` (int64) if given. NaN wins.
pub fn max_pool(input: Raw, w: &Windows, out: Raw, indices: Option<Raw>) -> Result<()> {
    let planes = w.planes(&input, &out)?;
    let isa = isa();
    with_number!(input.dtype(), T => {
        let (x, y) = (input.slice::<T>()?, out.slice_mut::<T>()?);
        let at = match indices {
            Some(i) if i.numel() == y.len() => Some(SendPtr(i.slice_mut::<i64>()?.as_mut_ptr())),
            Some(i) => return Err(runtime_error!("indices of shape {:?} for {:?}", i.shape(), out.shape())),
            None => None,
        };
        let (ip, op) = (w.in_plane(), w.out_plane());
        let y = SendPtr(y.as_mut_ptr());
        over_planes(planes, ip, |p| {
            let x = &x[p * ip..][..ip];
            // SAFETY: planes are disjoint parts of the outputs, whose sizes were checked.
            let (y, at) = unsafe {
                (
                    std::slice::from_raw_parts_mut(y.get().add(p * op), op),
                    at.map(|a| std::slice::from_raw_parts_mut(a.get().add(p * op), op)),
                )
            };
            let wide = T::DTYPE == DType::F32 && w.alike.1 - w.alike.0 >= LEAST && w.alike.2 <= 2 && isa > Isa::Scalar;
            if w.pairs {
                max_pairs(x, w, y, at);
            } else if at.is_none() {
                or_stop(max_values(x, w, y));
            } else if wide && u32::try_from(ip).is_ok() {
                // SAFETY: values of this type, as was just looked up.
                let (x, y) = unsafe {
                    (
                        std::slice::from_raw_parts(x.as_ptr().cast::<f32>(), ip),
                        std::slice::from_raw_parts_mut(y.as_mut_ptr().cast::<f32>(), op),
                    )
                };
                max_rows(x, w, y, at, isa);
            } else {
                max_plane(x, w, y, at);
            }
        });
        Ok(())
    }, else Err(runtime_error!("max_pool is not implemented for 'Bool'")))
}

/// The largest value of a window and its place.
#[inline(always)]
fn max_window<T: Element>(x: &[T], w: &Windows, d: Span, h: Span, k: Span) -> (T, usize) {
    if d.count * h.count * k.count == 0 {
        // A window of padding alone cannot arise from valid arguments; its value would be minus infinity.
        return (T::from_f64(f64::NEG_INFINITY), 0);
    }
    let mut at = (d.start * w.input[1] + h.start) * w.input[2] + k.start;
    let mut best = x[at];
    for i in 0..d.count {
        for j in 0..h.count {
            let line = ((d.start + i * d.step) * w.input[1] + h.start + j * h.step) * w.input[2] + k.start;
            for t in 0..k.count {
                let v = x[line + t * k.step];
                if v > best || v.is_nan() {
                    (best, at) = (v, line + t * k.step);
                }
            }
        }
    }
    (best, at)
}

fn max_plane<T: Element>(x: &[T], w: &Windows, y: &mut [T], mut at: Option<&mut [i64]>) {
    w.each(|o, d, h, k| {
        let (v, i) = max_window(x, w, d, h, k);
        y[o] = v;
        if let Some(at) = &mut at {
            at[o] = i as i64;
        }
    });
}

/// The larger of two values as a window's walk has it: the earlier of equal ones, the later of NaNs.
#[inline(always)]
fn larger<T: Element>(a: T, b: T) -> T {
    if (b > a) | b.is_nan() { b } else { a }
}

/// `larger`, value by value. Of arrays, so that vectors hold them: in place, the choice becomes a masked store, which takes
/// some CPUs tens of operations.
#[inline(always)]
fn larger_of<T: Element>(a: [T; BLOCK], b: [T; BLOCK]) -> [T; BLOCK] {
    std::array::from_fn(
        #[inline(always)]
        |i| larger(a[i], b[i]),
    )
}

/// Every `S`-th value from the first on.
#[inline(always)]
fn apart<T: Element, const S: usize>(x: &[T]) -> [T; BLOCK] {
    let steps = &x.as_chunks::<S>().0[..BLOCK];
    std::array::from_fn(
        #[inline(always)]
        |i| steps[i][0],
    )
}

/// What `BLOCK` windows, `S` apart, see of a row: `count` values each, `step` apart.
#[inline(always)]
fn seen<T: Element, const S: usize>(x: &[T], count: usize, step: usize) -> [T; BLOCK] {
    let mut m = apart::<T, S>(x);
    for t in 1..count {
        m = larger_of(m, apart::<T, S>(&x[t * step..]));
    }
    m
}

/// The largest values alone: of each row of the input those that windows see of it, then of these rows those of each
/// window. That is the order in which a window is walked, so equal values and NaNs end as they do there.
fn max_values<T: Element>(x: &[T], w: &Windows, y: &mut [T]) -> Result<()> {
    let [depth, height, width] = w.input;
    let cols = w.axes[2].len();
    if w.axes.iter().flatten().any(|s| s.count == 0) {
        max_plane(x, w, y, None);
        return Ok(());
    }
    let (from, to, stride) = w.alike;
    let first = w.axes[2].get(from).copied();
    scratch::with(depth * height * cols, |rows: *mut T| {
        // SAFETY: room for a value per row and window; all are written before they are read.
        let rows = unsafe {
            rows.write_bytes(0, depth * height * cols);
            std::slice::from_raw_parts_mut(rows, depth * height * cols)
        };
        dispatch(
            #[inline(always)]
            || {
                for (line, to_line) in rows.chunks_exact_mut(cols).enumerate() {
                    let x = &x[line * width..];
                    let mut o = 0;
                    while o < cols {
                        if let Some(s) = first
                            && (1..=2).contains(&stride)
                            && (from..to).contains(&o)
                            && to - from >= BLOCK
                        {
                            // The last block again, if the number is not a multiple.
                            let at_once = o.min(to - BLOCK);
                            let x = &x[s.start + (at_once - from) * stride..];
                            // A value behind the last window's may be read: of the next row, but none is behind the last one.
                            if (s.count - 1) * s.step + BLOCK * stride <= x.len() {
                                let m = if stride == 1 {
                                    seen::<T, 1>(x, s.count, s.step)
                                } else {
                                    seen::<T, 2>(x, s.count, s.step)
                                };
                                to_line[at_once..at_once + BLOCK].copy_from_slice(&m);
                                o = at_once + BLOCK;
                                continue;
                            }
                        }
                        let s = &w.axes[2][o];
                        to_line[o] = (1..s.count).fold(x[s.start], |m, t| larger(m, x[s.start + t * s.step]));
                        o += 1;
                    }
                }
                let mut out = y.chunks_exact_mut(cols);
                for d in &w.axes[0] {
                    for h in &w.axes[1] {
                        let Some(out) = out.next() else { return };
                        let row = |i: usize| {
                            let (i, j) = (i / h.count, i % h.count);
                            &rows[((d.start + i * d.step) * height + h.start + j * h.step) * cols..][..cols]
                        };
                        let all = d.count * h.count;
                        let mut o = 0;
                        while o < cols {
                            if cols < BLOCK {
                                out[o] = (1..all).fold(row(0)[o], |m, i| larger(m, row(i)[o]));
                                o += 1;
                                continue;
                            }
                            // The last block again, if the number is not a multiple.
                            let first = o.min(cols - BLOCK);
                            let mut m = apart::<T, 1>(&row(0)[first..]);
                            for i in 1..all {
                                m = larger_of(m, apart::<T, 1>(&row(i)[first..]));
                            }
                            out[first..first + BLOCK].copy_from_slice(&m);
                            o += BLOCK;
                        }
                    }
                }
            },
        );
    })
}

/// Row by row, single-precision windows that are alike eight side by side, the others one by one.
fn max_rows(x: &[f32], w: &Windows, y: &mut [f32], mut at: Option<&mut [i64]>, isa: Isa) {
    let (from, to, stride) = w.alike;
    let cols = w.axes[2].len();
    let mut taps: Vec<u32> = Vec::new();
    let mut line = 0;
    for &d in &w.axes[0] {
        for &h in &w.axes[1] {
            let out = &mut y[line..line + cols];
            let mut places = at.as_deref_mut().map(|at| &mut at[line..line + cols]);
            line += cols;
            taps.clear();
            w.inside(d, h, Span { start: 0, ..w.axes[2][from] }, |i| taps.push(i as u32));
            let reach = taps.iter().max().map_or(usize::MAX, |&t| t as usize + 7 * stride + 1);
            let mut o = 0;
            while o < cols {
                // A block ends with the run at the latest; those that begin earlier are done twice.
                let first = if to - from >= SIDE { o.min(to - SIDE) } else { o };
                let start = w.axes[2][first].start;
                if o >= from && o < to && start.saturating_add(reach) <= x.len() {
                    let (mut best, mut place) = ([0.0; SIDE], [0; SIDE]);
                    // SAFETY: the furthest tap of the furthest window lies within the plane.
                    if unsafe { max_windows(isa, x[start..].as_ptr(), &taps, stride == 2, &mut best, &mut place) } {
                        let n = SIDE.min(to - first);
                        if n == SIDE {
                            out[first..first + SIDE].copy_from_slice(&best);
                        } else {
                            out[first..first + n].copy_from_slice(&best[..n]);
                        }
                        if let Some(places) = &mut places {
                            for (l, p) in places[first..first + n].iter_mut().enumerate() {
                                *p = i64::from(place[l]) + (start + l * stride) as i64;
                            }
                        }
                        o = first + n;
                        continue;
                    }
                }
                let (v, i) = max_window(x, w, d, h, w.axes[2][o]);
                out[o] = v;
                if let Some(places) = &mut places {
                    places[o] = i as i64;
                }
                o += 1;
            }
        }
    }
}

/// The 2 x 2 windows of stride 2 that most networks have.
fn max_pairs<T: Element>(x: &[T], w: &Windows, y: &mut [T], mut at: Option<&mut [i64]>) {
    let (oh, ow, iw) = (w.axes[1].len(), w.axes[2].len(), w.input[2]);
    dispatch(
        #[inline(always)]
        || {
            for i in 0..oh {
                let top = &x[2 * i * iw..][..2 * ow];
                let low = &x[(2 * i + 1) * iw..][..2 * ow];
                let out = &mut y[i * ow..][..ow];
                let line = (2 * i * iw) as i64;
                let below = iw as i64;
                match &mut at {
                    Some(at) => {
                        let at = &mut at[i * ow..][..ow];
                        for j in 0..ow {
                            let (a, b, c, d) = (top[2 * j], top[2 * j + 1], low[2 * j], low[2 * j + 1]);
                            let (mut m, mut k) = (a, 0i32);
                            let take = (b > m) | b.is_nan();
                            (m, k) = (if take { b } else { m }, if take { 1 } else { k });
                            let take = (c > m) | c.is_nan();
                            (m, k) = (if take { c } else { m }, if take { 2 } else { k });
                            let take = (d > m) | d.is_nan();
                            (m, k) = (if take { d } else { m }, if take { 3 } else { k });
                            out[j] = m;
                            at[j] = line + 2 * j as i64 + i64::from(k & 1) + if k & 2 != 0 { below } else { 0 };
                        }
                    }
                    None => {
                        for j in 0..ow {
                            let (a, b, c, d) = (top[2 * j], top[2 * j + 1], low[2 * j], low[2 * j + 1]);
                            let m = if (b > a) | b.is_nan() { b } else { a };
                            let m = if (c > m) | c.is_nan() { c } else { m };
                            out[j] = if (d > m) | d.is_nan() { d } else { m };
                        }
                    }
                }
            }
        },
    );
}

/// Sends each output's gradient to the place that won: `grad_in` is zeroed first. Places outside the plane are an error.
pub fn max_pool_grad(grad_out: Raw, indices: Raw, grad_in: Raw, in_plane: usize, out_plane: usize) -> Result<()> {
    let at = indices.slice::<i64>()?;
    let planes = if out_plane > 0 { at.len() / out_plane } else { 0 };
    if grad_out.numel() != at.len() || (planes > 0 && planes * in_plane != grad_in.numel()) {
        return Err(runtime_error!("gradient of pooling: {:?} into {:?}", grad_out.shape(), grad_in.shape()));
    }
    if let Some(bad) = at.iter().find(|&&i| i < 0 || i as usize >= in_plane) {
        return Err(runtime_error!("found an invalid max index: {bad} (output volumes are of size {in_plane})"));
    }
    with_float!(grad_out.dtype(), T => {
        let (g, dx) = (grad_out.slice::<T>()?, grad_in.slice_mut::<T>()?);
        if planes == 0 {
            dx.fill(T::default());
            return Ok(());
        }
        let dx = SendPtr(dx.as_mut_ptr());
        over_planes(planes, in_plane, |p| {
            // SAFETY: planes are disjoint parts of the gradient.
            let dx = unsafe { std::slice::from_raw_parts_mut(dx.get().add(p * in_plane), in_plane) };
            dx.fill(T::default());
            for (&i, &g) in at[p * out_plane..][..out_plane].iter().zip(&g[p * out_plane..]) {
                let d = &mut dx[i as usize];
                *d = T::from_acc(d.to_acc() + g.to_acc());
            }
        });
        Ok(())
    }, else Err(runtime_error!("max_pool's gradient is not implemented for '{}'", grad_out.dtype().torch_name())))
}

#[cfg(test)]
mod tests {
    use super::super::spans;
    use super::*;

    /// Windows side by side give what one by one gives: ties, NaN and infinities included.
    #[test]
    fn side_by_side_as_one_by_one() {
        for (kernel, stride, padding, dilation) in
            [(3, 1, 1, 1), (3, 2, 1, 1), (2, 2, 0, 2), (5, 1, 2, 1), (3, 2, 0, 1)]
        {
            let (h, w) = (13, 43);
            let axis = |n: usize| {
                let out = (n + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
                (n, spans(n, out, kernel, stride, padding, dilation).unwrap())
            };
            let win = Windows::new(vec![axis(h), axis(w)]);
            assert!(win.alike.1 - win.alike.0 >= SIDE);
            for isa in Isa::available() {
                let x: Vec<f32> = (0..h * w)
                    .map(|i| match i * 7919 % 31 {
                        0 => f32::NAN,
                        1..4 => f32::NEG_INFINITY,
                        v => (v % 5) as f32,
                    })
                    .collect();
                let n = win.out_plane();
                let (mut y, mut at, mut z, mut to) = (vec![0.0f32; n], vec![0i64; n], vec![0.0f32; n], vec![0i64; n]);
                max_rows(&x, &win, &mut y, Some(&mut at), isa);
                max_plane(&x, &win, &mut z, Some(&mut to));
                assert_eq!(at, to, "{kernel} {stride} {padding} {dilation}");
                assert!(y.iter().zip(&z).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }

    /// Values alone are those that come with places, bit for bit, of every dtype and kind of window.
    #[test]
    fn values_alone_as_with_places() {
        fn check<T: Element>(seen: fn(usize) -> T) {
            for (depth, kernel, stride, padding, dilation) in
                [(1, 3, 1, 1, 1), (1, 3, 2, 1, 1), (1, 2, 2, 0, 2), (3, 5, 1, 2, 1), (2, 3, 3, 0, 1), (1, 1, 1, 0, 1)]
            {
                let axis = |n: usize, kernel: usize, padding: usize| {
                    let out = (n + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
                    (n, spans(n, out, kernel, stride, padding, dilation).unwrap())
                };
                for width in [5, 8, 30, 43] {
                    let win =
                        Windows::new(vec![axis(depth, 1, 0), axis(13, kernel, padding), axis(width, kernel, padding)]);
                    let x: Vec<T> = (0..depth * 13 * width).map(seen).collect();
                    let n = win.out_plane();
                    let (mut y, mut z, mut at) = (vec![T::from_f64(9.0); n], vec![T::from_f64(9.0); n], vec![0i64; n]);
                    max_values(&x, &win, &mut y).unwrap();
                    max_plane(&x, &win, &mut z, Some(&mut at));
                    let same = |a: T, b: T| a.to_f64().to_bits() == b.to_f64().to_bits();
                    assert!(
                        y.iter().zip(&z).all(|(&a, &b)| same(a, b)),
                        "{kernel} {stride} {padding} {dilation} {width}"
                    );
                }
            }
        }
        check::<f32>(|i| (if i % 3 == 0 { 0.0 } else { -0.0 }) * (i % 2) as f32);
        check::<f64>(|i| match i * 7919 % 31 {
            0 => f64::NAN,
            1..4 => f64::NEG_INFINITY,
            4..9 => -0.0,
            v => (v % 5) as f64 - 2.0,
        });
        check::<i64>(|i| (i * 7919 % 31) as i64 - 15);
    }
}
