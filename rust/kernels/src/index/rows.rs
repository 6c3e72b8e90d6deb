//! Whole rows by index: tensors seen as outer x n x inner, contiguous.

use super::{add, bits, bits_mut, find_outside, out_of_bounds, same_dtype, with_bits};
use crate::Raw;
use crate::parallel::{SendPtr, for_range, for_slices};
use crate::room;
use rustnn_base::dtype::Real;
use rustnn_base::layout::around;
use rustnn_base::{Element, Kind, Result, Scalar, index_error, runtime_error, with_dtype};
use rustnn_simd::arch::fetch;
use rustnn_simd::dispatch;

/// Indices ahead of the one that is done.
const AHEAD: usize = 8;
/// Elements one thread takes at a time.
const GRAIN: usize = 16 * 1024;

fn check(index: &[i64], dim: usize, size: usize, op: &str) -> Result<()> {
    match find_outside(index, 0, size as i64) {
        None => Ok(()),
        Some(p) if op == "embedding" => Err(index_error!("index out of range in self").hint(format!(
            "index {} stands at place {p} of the flattened input, and num_embeddings is {size}",
            index[p]
        ))),
        Some(p) if op == "index_select" => {
            Err(index_error!("index out of range in self").hint(out_of_bounds(index[p], dim, size).to_string()))
        }
        Some(p) => {
            Err(runtime_error!("{}", out_of_bounds(index[p], dim, size))
                .hint(format!("in {op}, place {p} of the index")))
        }
    }
}

/// `dst[:, i, :] = src[:, index[i], :]`; `op` (`index_select` or `embedding`) chooses the words of the error.
pub fn index_select(dst: Raw<'_>, src: Raw<'_>, dim: usize, index: &[i64], op: &str) -> Result<()> {
    same_dtype(&dst, &src)?;
    let (outer, n, inner) = around(src.shape(), dim);
    check(index, dim, n, op)?;
    with_bits!(dst.dtype(), T => {
        let (to, from) = (bits_mut::<T>(&dst)?, bits::<T>(&src)?);
        let m = index.len();
        if to.len() != outer * m * inner {
            return Err(runtime_error!("index_select: result has {} elements, {} needed", to.len(), outer * m * inner));
        }
        if inner == 0 {
            return Ok(());
        }
        if inner == 1 {
            for_slices(to, (GRAIN / m.max(1)).max(1) * m.max(1), |start, piece| {
                for (o, row) in piece.chunks_mut(m.max(1)).enumerate() {
                    let base = &from[(start / m.max(1) + o) * n..][..n];
                    for (r, &i) in row.iter_mut().zip(index) {
                        *r = base[i as usize];
                    }
                }
            });
            return Ok(());
        }
        for_slices(to, (GRAIN / inner).max(1) * inner, |start, piece| {
            let (mut base, mut i) = (start / inner / m * n, start / inner % m);
            for row in piece.chunks_exact_mut(inner) {
                // Rows lie anywhere: those of the indices to come are on their way while this one is copied.
                if let Some(&later) = index.get(i + AHEAD) {
                    let later = from.as_ptr().wrapping_add((base + later as usize) * inner);
                    fetch(later);
                    fetch(later.wrapping_add(inner - 1));
                }
                let at = (base + index[i] as usize) * inner;
                row.copy_from_slice(&from[at..at + inner]);
                i += 1;
                if i == m {
                    (base, i) = (base + n, 0);
                }
            }
        });
    });
    Ok(())
}

/// `dst[:, index[i], :] = src[:, i, :]`, later ones over earlier ones.
pub fn index_copy(dst: Raw<'_>, dim: usize, index: &[i64], src: Raw<'_>) -> Result<()> {
    same_dtype(&dst, &src)?;
    let (outer, n, inner) = around(dst.shape(), dim);
    check(index, dim, n, "index_copy_")?;
    with_bits!(dst.dtype(), T => {
        let (to, from) = (bits_mut::<T>(&dst)?, bits::<T>(&src)?);
        if from.len() != outer * index.len() * inner {
            return Err(runtime_error!("index_copy: source has {} elements, {} needed", from.len(), outer * index.len() * inner));
        }
        for o in 0..outer {
            for (k, &i) in index.iter().enumerate() {
                let (a, b) = ((o * n + i as usize) * inner, (o * index.len() + k) * inner);
                to[a..a + inner].copy_from_slice(&from[b..b + inner]);
            }
        }
    });
    Ok(())
}

/// `dst[:, index[i], :] = value` (indices may be negative).
pub fn index_fill(dst: Raw<'_>, dim: usize, index: &[i64], value: Scalar) -> Result<()> {
    let (outer, n, inner) = around(dst.shape(), dim);
    if let Some(p) = find_outside(index, -(n as i64), n as i64) {
        return Err(out_of_bounds(index[p], dim, n).hint(format!("in index_fill_, place {p} of the index")));
    }
    with_dtype!(dst.dtype(), T => {
        let to = dst.slice_mut::<T>()?;
        let v = T::from_scalar(value);
        for o in 0..outer {
            for &i in index {
                let i = if i < 0 { i + n as i64 } else { i } as usize;
                to[(o * n + i) * inner..][..inner].fill(v);
            }
        }
    });
    Ok(())
}

/// `dst[:, index[i], :] += alpha * src[:, i, :]`, in the order of the indices; indices equal to `skip` are left out.
pub fn index_add(
    dst: Raw<'_>,
    dim: usize,
    index: &[i64],
    src: Raw<'_>,
    alpha: Scalar,
    skip: Option<i64>,
    op: &str,
) -> Result<()> {
    same_dtype(&dst, &src)?;
    let (outer, n, inner) = around(dst.shape(), dim);
    check(index, dim, n, op)?;
    with_dtype!(dst.dtype(), T => {
        let (to, from) = (dst.slice_mut::<T>()?, src.slice::<T>()?);
        let m = index.len();
        if from.len() != outer * m * inner {
            return Err(runtime_error!("index_add: source has {} elements, {} needed", from.len(), outer * m * inner));
        }
        let one = matches!(alpha, Scalar::Int(1) | Scalar::Bool(true)) || alpha == Scalar::Float(1.0);
        let a = T::from_scalar(alpha);
        // Threads own ranges of target rows, so each row gets its terms in order whoever works.
        let owners = if m * inner < 4 * GRAIN { 1 } else { 16.min(n.max(1)) };
        let rows = n.div_ceil(owners).max(1);
        let place = SendPtr(to.as_mut_ptr());
        for_range(outer * owners, 1, |range| {
            for job in range {
                let (o, own) = (job / owners, job % owners);
                let (low, high) = ((own * rows) as i64, ((own + 1) * rows).min(n) as i64);
                for (k, &i) in index.iter().enumerate() {
                    if i < low || i >= high || Some(i) == skip {
                        continue;
                    }
                    let b = (o * m + k) * inner;
                    // SAFETY: row i of block o lies within `to`; only this job writes rows low..high of block o.
                    let row = unsafe {
                        std::slice::from_raw_parts_mut(place.get().add((o * n + i as usize) * inner), inner)
                    };
                    add_row(row, &from[b..b + inner], a, one);
                }
            }
        });
    });
    Ok(())
}

fn add_row<T: Element>(dst: &mut [T], src: &[T], alpha: T, one: bool) {
    dispatch(
        #[inline(always)]
        || {
            if one {
                for (d, &s) in dst.iter_mut().zip(src) {
                    *d = add(*d, s);
                }
                return;
            }
            for (d, &s) in dst.iter_mut().zip(src) {
                *d = match T::DTYPE.kind() {
                    Kind::Float if T::DTYPE.size() == 8 => T::from_f64(alpha.to_f64() * s.to_f64() + d.to_f64()),
                    Kind::Float => T::from_f32(alpha.to_f32() * s.to_f32() + d.to_f32()),
                    _ => T::from_i64(alpha.to_i64().wrapping_mul(s.to_i64()).wrapping_add(d.to_i64())),
                };
            }
        },
    );
}

/// How often each of `0..n` occurs.
pub fn count_rows(index: &[i64], n: usize) -> Result<Vec<i64>> {
    check(index, 0, n, "embedding")?;
    let mut counts = room::filled(n, 0i64)?;
    for &i in index {
        counts[i as usize] += 1;
    }
    Ok(counts)
}

/// Ones at `dst[p, index[p]]` of a zeroed `dst` with rows of `classes`.
pub fn one_hot(dst: &mut [i64], index: &[i64], classes: usize) -> Result<()> {
    if index.iter().any(|&i| i < 0) {
        return Err(runtime_error!("Class values must be non-negative."));
    }
    if let Some(p) = find_outside(index, 0, classes as i64) {
        return Err(runtime_error!("Class values must be smaller than num_classes.")
            .hint(format!("class {} stands at place {p}, and num_classes is {classes}", index[p])));
    }
    for (row, &i) in dst.chunks_mut(classes.max(1)).zip(index) {
        row[i as usize] = 1;
    }
    Ok(())
}

/// Divides rows by how often they were used: `scale_grad_by_freq` of embeddings.
pub fn divide_rows<T: rustnn_base::Float>(rows: &mut [T], counts: &[i64], inner: usize) {
    for (row, &c) in rows.chunks_mut(inner.max(1)).zip(counts) {
        if c > 1 {
            let k = T::Acc::ONE / T::Acc::from_i64(c);
            for v in row {
                *v = T::from_acc(v.to_acc() * k);
            }
        }
    }
}
