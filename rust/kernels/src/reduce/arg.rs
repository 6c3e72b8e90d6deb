//! The place (and value) of the largest or smallest element along one dimension: the first of equals, the first NaN.

use crate::convert::convert;
use crate::elementwise::lane;
use crate::map::{GRAIN, gather};
use crate::parallel::{SendPtr, Watch};
use crate::room::{self, or_stop};
use crate::{Raw, parallel};
use rustnn_base::{DType, Element, Result, runtime_error};
use rustnn_simd::dispatch;
use std::mem::MaybeUninit;

/// Which element is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Best {
    Max,
    Min,
}

const BLOCK: usize = 512;
/// Blocks between two looks whether the user wants to stop.
const BLOCKS: usize = 128;
/// Only a tensor that shows one element again and again has more, and nobody waits for the end of looking at them.
const MOST: usize = 1 << 50;

/// `index = argbest(src, dim)`, and `value` the element there. Both outputs have `src`'s rank with size 1 at `dim`;
/// `index` is int64, `value` has `src`'s dtype. The dimension must not be empty (unless there are no results).
pub fn arg_reduce(best: Best, value: Option<&Raw>, index: &Raw, src: &Raw, dim: usize) -> Result<()> {
    let outputs = index.numel();
    if outputs == 0 {
        return Ok(());
    }
    let (n, step) = match (src.shape().get(dim), src.strides().get(dim)) {
        (Some(&n), Some(&s)) => (n, s),
        _ => (1, 1),
    };
    if n == 0 {
        return Err(runtime_error!(
            "the largest or smallest of no elements does not exist (dimension {dim} has size 0)"
        ));
    }
    if n > MOST {
        return Err(runtime_error!("the largest or smallest of {n} elements would take years to find"));
    }
    match lane(src.dtype()) {
        DType::F32 => find::<f32>(best, value, index, src, dim, n, step),
        DType::F64 => find::<f64>(best, value, index, src, dim, n, step),
        _ => find::<i64>(best, value, index, src, dim, n, step),
    }
}

fn find<X: Element>(
    best: Best,
    value: Option<&Raw>,
    index: &Raw,
    src: &Raw,
    dim: usize,
    n: usize,
    step: isize,
) -> Result<()> {
    let outputs = index.numel();
    let mut places = room::filled(outputs, 0i64)?;
    let size = src.dtype().size();
    let cast = (src.dtype() != X::DTYPE).then(|| convert(src.dtype(), X::DTYPE));
    let base = SendPtr(src.ptr::<u8>());
    let origin = |o: usize| {
        let (mut p, mut rest) = (base.get(), o);
        for d in (0..src.shape().len()).rev().filter(|&d| d != dim) {
            let k = src.shape()[d];
            p = p.wrapping_offset((rest % k) as isize * src.strides()[d] * size as isize);
            rest /= k;
        }
        p
    };
    let byte_step = step * size as isize;
    parallel::for_slices(&mut places, (GRAIN / n).max(1), |start, piece| {
        let (mut block, mut raw) = (MaybeUninit::<[u64; BLOCK]>::uninit(), MaybeUninit::<[u64; BLOCK]>::uninit());
        let (block, raw) = (block.as_mut_ptr().cast::<u8>(), raw.as_mut_ptr().cast::<u8>());
        let mut watch = Watch::default();
        for (i, place) in piece.iter_mut().enumerate() {
            let p = origin(start + i);
            let mut top: Option<X> = None;
            let mut at = 0;
            while at < n {
                if at % (BLOCKS * BLOCK) == 0 && at > 0 {
                    or_stop(watch.tick());
                }
                let m = (n - at).min(BLOCK);
                let mut here = p.wrapping_offset(at as isize * byte_step).cast_const();
                // SAFETY: the walk stays inside the input; blocks hold BLOCK lanes of at most 8 bytes.
                unsafe {
                    if byte_step != size as isize {
                        gather(if cast.is_some() { raw } else { block }, here, byte_step, m, size);
                        here = if cast.is_some() { raw } else { block };
                    }
                    if let Some(cast) = cast {
                        cast(block, here, m);
                        here = block;
                    }
                }
                // SAFETY: m elements of X lie there.
                let x = unsafe { std::slice::from_raw_parts(here.cast::<X>(), m) };
                let b = match best {
                    Best::Max => extreme(
                        x,
                        #[inline(always)]
                        |a, b| a > b,
                    ),
                    Best::Min => extreme(
                        x,
                        #[inline(always)]
                        |a, b| a < b,
                    ),
                };
                let better = match top {
                    None => true,
                    Some(t) if t.is_nan() => false,
                    Some(t) => b.is_nan() || if best == Best::Max { b > t } else { b < t },
                };
                if better {
                    top = Some(b);
                    let at_block = x.iter().position(|v| *v == b || (b.is_nan() && v.is_nan()));
                    *place = (at + at_block.unwrap_or(0)) as i64;
                }
                if b.is_nan() {
                    break;
                }
                at += m;
            }
        }
    });
    let strides = rustnn_base::layout::contiguous_strides(index.shape());
    // SAFETY: `places` holds one int64 per result, row-major, and is only read.
    let from = unsafe { Raw::new(places.as_mut_ptr().cast(), DType::I64, index.shape(), &strides) };
    crate::copy::copy(index, &from)?;
    if let Some(value) = value {
        let mut bytes = room::filled((outputs * size).div_ceil(8), 0u64)?;
        let to = bytes.as_mut_ptr().cast::<u8>();
        for (o, &place) in places.iter().enumerate() {
            // SAFETY: the element is inside the input, its copy inside the vector.
            unsafe {
                let from = origin(o).wrapping_offset(place as isize * byte_step);
                std::ptr::copy_nonoverlapping(from, to.add(o * size), size);
            }
        }
        // SAFETY: as for `places`, with elements of the input's dtype.
        let from = unsafe { Raw::new(to, src.dtype(), value.shape(), &strides) };
        crate::copy::copy(value, &from)?;
    }
    Ok(())
}

/// The best of a block, NaN if there is one.
#[inline(always)]
fn extreme<X: Element>(x: &[X], better: impl Fn(X, X) -> bool) -> X {
    dispatch(
        #[inline(always)]
        || {
            let mut lanes = [x[0]; 16];
            let mut chunks = x.chunks_exact(16);
            for c in &mut chunks {
                for (a, v) in lanes.iter_mut().zip(c) {
                    *a = if better(*v, *a) | v.is_nan() { *v } else { *a };
                }
            }
            let mut top = x[0];
            for v in lanes.iter().chain(chunks.remainder()) {
                if better(*v, top) | v.is_nan() {
                    top = *v;
                }
            }
            top
        },
    )
}
