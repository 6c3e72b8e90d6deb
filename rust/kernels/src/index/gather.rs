//! gather, scatter, and advanced indexing by precomputed offsets; any strides.

use super::{Walk, combine, find_outside, out_of_bounds, same_dtype, with_bits};
use crate::parallel::{SendPtr, for_range};
use crate::room;
use crate::{Raw, index::add};
use rustnn_base::{Element, Result, layout, runtime_error, with_dtype};

/// What scatter does where it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    Assign,
    Add,
    Mul,
    Amax,
    Amin,
}

/// Elements one thread takes at a time.
const GRAIN: usize = 16 * 1024;

/// Every index of a window is in `0..size`, or an error that says which is not and where it stands.
fn check_index(index: &Raw<'_>, dim: usize, size: usize) -> Result<()> {
    let report = |bad: i64, place: usize| {
        let mut at = Vec::new();
        let mut rest = place;
        for &d in index.shape().iter().rev() {
            at.insert(0, rest % d.max(1));
            rest /= d.max(1);
        }
        runtime_error!("{}", out_of_bounds(bad, dim, size)).hint(format!("it stands at {at:?} of the index tensor"))
    };
    if let Ok(flat) = index.slice::<i64>() {
        return match find_outside(flat, 0, size as i64) {
            Some(p) => Err(report(flat[p], p)),
            None => Ok(()),
        };
    }
    let mut walk = Walk::new(index.shape(), [index.strides()], 0);
    for place in 0..index.numel() {
        // SAFETY: the walk stays on the window's elements, which are i64 (checked by the callers).
        let i = unsafe { *index.ptr::<i64>().offset(walk.offset[0]) };
        if i < 0 || i >= size as i64 {
            return Err(report(i, place));
        }
        walk.step();
    }
    Ok(())
}

/// The ranks agree, `index` is i64 and fits into `small` except along `dim` (and into `same` everywhere).
fn check_shapes(op: &str, index: &Raw<'_>, small: &Raw<'_>, dim: usize) -> Result<()> {
    if index.dtype() != rustnn_base::DType::I64 {
        return Err(runtime_error!("{op}(): Expected dtype int64 for index"));
    }
    let (i, s) = (index.shape(), small.shape());
    let fits = i.len() == s.len() && (0..i.len()).all(|d| d == dim || i[d] <= s[d]);
    if !fits || (dim >= i.len() && !i.is_empty()) {
        return Err(runtime_error!("{op}(): index of shape {i:?} does not fit {s:?} apart from dimension {dim}"));
    }
    Ok(())
}

/// Shape and strides of the walk with `dim`'s stride set to zero, split into outer dimensions and the last one.
fn without(strides: &[isize], dim: usize) -> rustnn_base::Strides {
    strides.iter().enumerate().map(|(d, &s)| if d == dim { 0 } else { s }).collect()
}

/// `dst[i][j][k] = src[i][index[i][j][k]][k]` (for `dim` 1). `dst` has the shape of `index`.
pub fn gather(dst: Raw<'_>, src: Raw<'_>, dim: usize, index: Raw<'_>) -> Result<()> {
    same_dtype(&dst, &src)?;
    check_shapes("gather", &index, &src, dim)?;
    if dst.shape() != index.shape() {
        return Err(runtime_error!("gather(): result of shape {:?} for an index of {:?}", dst.shape(), index.shape()));
    }
    if dst.numel() == 0 {
        return Ok(());
    }
    check_index(&index, dim, src.shape().get(dim).copied().unwrap_or(1))?;
    with_bits!(dst.dtype(), T => gather_bits::<T>(dst, src, dim, index));
    Ok(())
}

fn gather_bits<T: Copy + Send>(dst: Raw<'_>, src: Raw<'_>, dim: usize, index: Raw<'_>) {
    let shape = index.shape();
    let step = src.strides().get(dim).copied().unwrap_or(0);
    let fixed = without(src.strides(), dim);
    let Some((&last, outer)) = shape.split_last() else {
        // SAFETY: zero-dimensional windows have one element each; the index was checked to be 0.
        unsafe { *dst.ptr::<T>() = *src.ptr::<T>() };
        return;
    };
    let n = outer.len();
    let rows = layout::count(outer);
    let (is, ds, ss) = (index.strides()[n], dst.strides()[n], fixed[n]);
    let (to, from, at) = (SendPtr(dst.ptr::<T>()), SendPtr(src.ptr::<T>()), SendPtr(index.ptr::<i64>()));
    for_range(rows, (GRAIN / last.max(1)).max(1), |range| {
        let mut w = Walk::new(outer, [&index.strides()[..n], &dst.strides()[..n], &fixed[..n]], range.start);
        for _ in range {
            for j in 0..last as isize {
                // SAFETY: the walk stays on the three windows; each index was checked to be within `dim`.
                unsafe {
                    let i = *at.get().offset(w.offset[0] + j * is);
                    *to.get().offset(w.offset[1] + j * ds) =
                        *from.get().offset(w.offset[2] + j * ss + i as isize * step);
                }
            }
            w.step();
        }
    });
}

/// `dst[i][index[i][j][k]][k] = how(that, src[i][j][k])` (for `dim` 1), in the order of the indices.
pub fn scatter(dst: Raw<'_>, dim: usize, index: Raw<'_>, src: Raw<'_>, how: Reduce) -> Result<()> {
    same_dtype(&dst, &src)?;
    check_shapes("scatter", &index, &dst, dim)?;
    if index.shape().iter().zip(src.shape()).any(|(i, s)| i > s) || src.shape().len() != index.shape().len() {
        return Err(runtime_error!("scatter(): index of {:?} is larger than src of {:?}", index.shape(), src.shape()));
    }
    if index.numel() == 0 {
        return Ok(());
    }
    check_index(&index, dim, dst.shape().get(dim).copied().unwrap_or(1))?;
    with_dtype!(dst.dtype(), T => match how {
        Reduce::Assign => scatter_by::<T>(dst, dim, index, src, |_, b| b),
        Reduce::Add => scatter_by::<T>(dst, dim, index, src, add),
        _ => scatter_by::<T>(dst, dim, index, src, |a, b| combine(a, b, how)),
    });
    Ok(())
}

fn scatter_by<T: Element>(dst: Raw<'_>, dim: usize, index: Raw<'_>, src: Raw<'_>, f: impl Fn(T, T) -> T + Sync) {
    let shape = index.shape();
    let step = dst.strides().get(dim).copied().unwrap_or(0);
    let fixed = without(dst.strides(), dim);
    let Some((&last, outer)) = shape.split_last() else {
        // SAFETY: zero-dimensional windows have one element each.
        unsafe { *dst.ptr::<T>() = f(*dst.ptr::<T>(), *src.ptr::<T>()) };
        return;
    };
    let n = outer.len();
    let rows = layout::count(outer);
    let (is, ss, ds) = (index.strides()[n], src.strides()[n], fixed[n]);
    let (to, from, at) = (SendPtr(dst.ptr::<T>()), SendPtr(src.ptr::<T>()), SendPtr(index.ptr::<i64>()));
    // Rows write to disjoint places unless `dim` is among the outer dimensions; then only whole blocks do.
    let block: usize = if dim < n { layout::count(&outer[dim..]) } else { 1 };
    let block = block.max(1);
    // Windows that show a place twice (expanded ones) can not be shared out.
    let overlaps = dst.shape().iter().zip(dst.strides()).any(|(&d, &s)| d > 1 && s == 0);
    let grain = if overlaps { rows } else { (GRAIN / (last * block).max(1)).max(1) * block };
    for_range(rows, grain, |range| {
        let mut w = Walk::new(outer, [&index.strides()[..n], &src.strides()[..n], &fixed[..n]], range.start);
        for _ in range {
            for j in 0..last as isize {
                // SAFETY: the walk stays on the windows, each index was checked; ranges are whole blocks, which
                // differ in a dimension other than `dim`, so no two threads meet in one place.
                unsafe {
                    let i = *at.get().offset(w.offset[0] + j * is) as isize;
                    let place = to.get().offset(w.offset[2] + j * ds + i * step);
                    *place = f(*place, *from.get().offset(w.offset[1] + j * ss));
                }
            }
            w.step();
        }
    });
}

/// Advanced indexing: dimension `dims[i]` of a window is indexed by `indices[i]`, all of one length, together.
/// Negative indices count from the end.
pub struct Picks<'a> {
    pub dims: &'a [usize],
    pub indices: &'a [&'a [i64]],
}

impl Picks<'_> {
    /// Element offsets of the picked places of `window`, all checked, and shape and strides of what lies at each.
    fn resolve(&self, window: &Raw<'_>) -> Result<(Vec<isize>, rustnn_base::Dims, rustnn_base::Strides)> {
        let n = self.indices.first().map_or(0, |i| i.len());
        let mut out = room::filled(n, 0isize)?;
        for (&dim, index) in self.dims.iter().zip(self.indices) {
            let (size, stride) = (window.shape()[dim] as i64, window.strides()[dim]);
            if index.len() != n {
                return Err(runtime_error!("indexing: index tensors of {n} and {} elements", index.len()));
            }
            if let Some(p) = find_outside(index, -size, size) {
                return Err(out_of_bounds(index[p], dim, size as usize)
                    .hint(format!("it is element {p} of the (broadcast) index tensor")));
            }
            for (o, &i) in out.iter_mut().zip(index.iter()) {
                *o += (if i < 0 { i + size } else { i }) as isize * stride;
            }
        }
        let rest = || (0..window.shape().len()).filter(|d| !self.dims.contains(d));
        Ok((out, rest().map(|d| window.shape()[d]).collect(), rest().map(|d| window.strides()[d]).collect()))
    }
}

/// What `picks` show of `src`, one place after the other, each with the dimensions that are not indexed.
pub fn take_picks(dst: Raw<'_>, src: Raw<'_>, picks: &Picks<'_>) -> Result<()> {
    same_dtype(&dst, &src)?;
    let (offsets, inner, steps) = picks.resolve(&src)?;
    let len = layout::count(&inner);
    if dst.numel() != len * offsets.len() {
        return Err(runtime_error!("indexing: {} elements for {} places", len * offsets.len(), dst.numel()));
    }
    if dst.numel() == 0 {
        return Ok(());
    }
    let dense = steps[..] == layout::contiguous_strides(&inner)[..];
    with_bits!(dst.dtype(), T => {
        let out = super::bits_mut::<T>(&dst)?;
        let from = SendPtr(src.ptr::<T>());
        crate::parallel::for_slices(out, (GRAIN / len).max(1) * len, |start, piece| {
            for (row, &o) in piece.chunks_exact_mut(len).zip(&offsets[start / len..]) {
                // SAFETY: every index was checked against the window, and `inner` are its other dimensions.
                unsafe {
                    let base = from.get().offset(o);
                    if len == 1 {
                        row[0] = *base;
                    } else if dense {
                        std::ptr::copy_nonoverlapping(base, row.as_mut_ptr(), len);
                    } else {
                        let mut w = Walk::new(&inner, [&steps], 0);
                        for r in row {
                            *r = *base.offset(w.offset[0]);
                            w.step();
                        }
                    }
                }
            }
        });
    });
    Ok(())
}

/// Writes `src` (or, in order, adds it) to the places that [`take_picks`] would read.
pub fn put_picks(dst: Raw<'_>, picks: &Picks<'_>, src: Raw<'_>, accumulate: bool) -> Result<()> {
    same_dtype(&dst, &src)?;
    let (offsets, inner, steps) = picks.resolve(&dst)?;
    let len = layout::count(&inner);
    with_dtype!(dst.dtype(), T => {
        let from = src.slice::<T>()?;
        if from.len() != len * offsets.len() {
            return Err(runtime_error!("indexing: {} values for {} places", from.len(), len * offsets.len()));
        }
        let base = dst.ptr::<T>();
        for (row, &o) in from.chunks(len.max(1)).zip(&offsets) {
            let mut w = Walk::new(&inner, [&steps], 0);
            for &v in row {
                // SAFETY: as in `take_picks`, for the window `dst`.
                unsafe {
                    let place = base.offset(o + w.offset[0]);
                    *place = if accumulate { add(*place, v) } else { v };
                }
                w.step();
            }
        }
    });
    Ok(())
}
