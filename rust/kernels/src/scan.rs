//! Running sums, products, extremes and log-sums along one dimension.

use crate::convert::convert;
use crate::elementwise::lane;
use crate::map::{GRAIN, gather, scatter};
use crate::math::special::log_add_exp;
use crate::parallel::SendPtr;
use crate::room::{self, or_stop};
use crate::{Raw, parallel};
use rustnn_base::{DType, Element, Result, runtime_error};

/// What a scan accumulates. Floats accumulate in double precision, integers in i64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    Sum,
    Prod,
    LogSumExp,
}

/// Which extreme a running maximum or minimum keeps.
pub use crate::reduce::Best;

/// Elements of a line at a time: they stay in L1.
const PIECE: usize = 1024;

/// A line of elements along a dimension: where it starts and how far apart its elements lie.
struct Lines<'a> {
    raw: &'a Raw<'a>,
    base: SendPtr<u8>,
    dim: usize,
    step: isize,
    size: usize,
}

impl<'a> Lines<'a> {
    fn new(raw: &'a Raw<'a>, dim: usize) -> Self {
        let size = raw.dtype().size();
        let step = raw.strides().get(dim).map_or(size as isize, |s| s * size as isize);
        Lines { raw, base: SendPtr(raw.ptr()), dim, step, size }
    }
    fn origin(&self, line: usize) -> *mut u8 {
        let (mut p, mut rest) = (self.base.get(), line);
        for d in (0..self.raw.shape().len()).rev().filter(|&d| d != self.dim) {
            let k = self.raw.shape()[d];
            p = p.wrapping_offset((rest % k) as isize * self.raw.strides()[d] * self.size as isize);
            rest /= k;
        }
        p
    }
    /// Where element `first` of a line lies.
    fn at(&self, line: usize, first: usize) -> *mut u8 {
        self.origin(line).wrapping_offset(first as isize * self.step)
    }
    /// Reads a line of `X`s from element `first` on.
    fn load<X: Element>(&self, line: usize, first: usize, out: &mut [X], raw: &mut [u64]) {
        let (p, n) = (self.at(line, first), out.len());
        // SAFETY: the line lies inside the window; `raw` has room for n elements of at most 8 bytes.
        unsafe {
            gather(raw.as_mut_ptr().cast(), p, self.step, n, self.size);
            convert(self.raw.dtype(), X::DTYPE)(out.as_mut_ptr().cast(), raw.as_ptr().cast(), n);
        }
    }
    /// Writes a line of `X`s from element `first` on.
    fn store<X: Element>(&self, line: usize, first: usize, from: &[X], raw: &mut [u64]) {
        let (p, n) = (self.at(line, first), from.len());
        // SAFETY: as in `load`; each line is written by one thread.
        unsafe {
            convert(X::DTYPE, self.raw.dtype())(raw.as_mut_ptr().cast(), from.as_ptr().cast(), n);
            scatter(p, self.step, raw.as_ptr().cast(), n, self.size);
        }
    }
}

fn check(dst: &Raw, src: &Raw) -> Result<()> {
    if dst.shape() == src.shape() {
        return Ok(());
    }
    Err(runtime_error!("a scan of shape {:?} cannot give shape {:?}", src.shape(), dst.shape()))
}

fn lines(src: &Raw, dim: usize, f: impl Fn(std::ops::Range<usize>, usize) + Sync) {
    let n = src.shape().get(dim).copied().unwrap_or(1);
    let total = src.numel();
    if total > 0 {
        parallel::for_range(total / n, (GRAIN / n).max(1), |r| f(r, n));
    }
}

/// `dst[..i..] = src[..0..] op … op src[..i..]` along `dim`; same shapes, any dtypes and strides.
pub fn scan(op: Scan, dst: &Raw, src: &Raw, dim: usize) -> Result<()> {
    check(dst, src)?;
    let (from, to) = (Lines::new(src, dim), Lines::new(dst, dim));
    let float = dst.dtype().is_float();
    lines(src, dim, |range, n| {
        let mut raw = or_stop(room::filled(n.min(PIECE), 0u64));
        if float {
            let mut x = or_stop(room::filled(n.min(PIECE), 0f64));
            for line in range {
                let mut sum = None;
                for first in (0..n).step_by(PIECE) {
                    let x = &mut x[..PIECE.min(n - first)];
                    from.load(line, first, x, &mut raw);
                    sum = match op {
                        Scan::Sum => running(x, sum, |a, v| a + v),
                        Scan::Prod => running(x, sum, |a, v| a * v),
                        Scan::LogSumExp => running(x, sum, log_add_exp),
                    };
                    to.store(line, first, x, &mut raw);
                }
            }
        } else {
            let mut x = or_stop(room::filled(n.min(PIECE), 0i64));
            for line in range {
                let mut sum = None;
                for first in (0..n).step_by(PIECE) {
                    let x = &mut x[..PIECE.min(n - first)];
                    from.load(line, first, x, &mut raw);
                    sum = match op {
                        Scan::Prod => running(x, sum, i64::wrapping_mul),
                        _ => running(x, sum, i64::wrapping_add),
                    };
                    to.store(line, first, x, &mut raw);
                }
            }
        }
    });
    Ok(())
}

/// Continues from the `last` value of the piece before, if there is one; the last of this one.
#[inline(always)]
fn running<X: Copy>(x: &mut [X], last: Option<X>, f: impl Fn(X, X) -> X) -> Option<X> {
    let (mut sum, rest) = match last {
        Some(last) => (last, x),
        None => {
            let (&mut first, rest) = x.split_first_mut()?;
            (first, rest)
        }
    };
    for v in rest {
        sum = f(sum, *v);
        *v = sum;
    }
    Some(sum)
}

/// Running extremes and where they stand; of equals the last, and a NaN stays from where it appears.
pub fn scan_extreme(best: Best, values: &Raw, index: &Raw, src: &Raw, dim: usize) -> Result<()> {
    check(values, src)?;
    check(index, src)?;
    match lane(src.dtype()) {
        DType::F32 | DType::F64 => extreme::<f64>(best, values, index, src, dim),
        _ => extreme::<i64>(best, values, index, src, dim),
    }
}

fn extreme<X: Element>(best: Best, values: &Raw, index: &Raw, src: &Raw, dim: usize) -> Result<()> {
    let (from, to, at) = (Lines::new(src, dim), Lines::new(values, dim), Lines::new(index, dim));
    lines(src, dim, |range, n| {
        let most = n.min(PIECE);
        let mut raw = or_stop(room::filled(most, 0u64));
        let (mut x, mut places) = (or_stop(room::filled(most, X::default())), or_stop(room::filled(most, 0i64)));
        for line in range {
            let mut last = None;
            for first in (0..n).step_by(PIECE) {
                let x = &mut x[..PIECE.min(n - first)];
                from.load(line, first, x, &mut raw);
                let (mut top, mut place) = last.unwrap_or((x[0], 0));
                for (i, (x, to)) in x.iter_mut().zip(&mut places).enumerate() {
                    let better = x.is_nan() || (!top.is_nan() && if best == Best::Max { *x >= top } else { *x <= top });
                    if better {
                        (top, place) = (*x, (first + i) as i64);
                    }
                    (*x, *to) = (top, place);
                }
                last = Some((top, place));
                to.store(line, first, x, &mut raw);
                at.store(line, first, &places[..x.len()], &mut raw);
            }
        }
    });
    Ok(())
}
