//! Counting and searching: bincount, histograms, modes, binary search.

use super::{Packed, Rows, check_len, for_rows, pack_row, sort_packed};
use crate::parallel::for_slices;
use crate::room::{self, or_stop};
use rustnn_base::{DType, Element, Result, runtime_error};

/// Adds 1, or a weight, to `dst[src[i]]`; `src` is known to be within `0..dst.len()`.
pub fn bincount<W: Element>(dst: &mut [W], src: &[i64], weights: Option<&[W]>) -> Result<()> {
    for (i, &bin) in src.iter().enumerate() {
        let Some(d) = usize::try_from(bin).ok().and_then(|b| dst.get_mut(b)) else {
            return Err(runtime_error!("bincount only supports 1-d non-negative integral inputs.")
                .hint(format!("element {i} is {bin}")));
        };
        *d = crate::index::add(*d, weights.map_or_else(|| W::from_i64(1), |w| w[i]));
    }
    Ok(())
}

/// Counts of equally wide bins over `low..=high`; what lies outside, and NaN, is left out.
pub fn histc<T: Element>(dst: &mut [T], src: &[T], low: f64, high: f64) {
    let bins = dst.len();
    let mut counts = or_stop(room::filled(bins, 0u64));
    let narrow = T::DTYPE != DType::F64;
    for v in src {
        let x = v.to_f64();
        if !(x >= low && x <= high) {
            continue;
        }
        // In the element type's own precision, so that values on an edge fall as PyTorch's do.
        let at = if narrow {
            ((v.to_f32() - low as f32) * bins as f32 / (high as f32 - low as f32)) as usize
        } else {
            ((x - low) * bins as f64 / (high - low)) as usize
        };
        counts[at.min(bins - 1)] += 1;
    }
    for (d, c) in dst.iter_mut().zip(counts) {
        *d = T::from_i64(c as i64);
    }
}

/// The most frequent value of each row (the smallest of equals) and the last place it stands at.
pub fn mode_rows<T: Element>(src: &[T], n: usize, values: &mut [T], indices: &mut [i64]) -> Result<()> {
    check_len(n)?;
    if n == 0 {
        return Ok(());
    }
    if size_of::<T>() == 8 {
        modes::<T, (u64, u32)>(src, n, values, indices);
    } else {
        modes::<T, u64>(src, n, values, indices);
    }
    Ok(())
}

fn modes<T: Element, P: Packed>(src: &[T], n: usize, values: &mut [T], indices: &mut [i64]) {
    let (v, ix) = (Rows::new(values, 1), Rows::new(indices, 1));
    for_rows::<P>(src.len() / n, n, |r, a, tmp| {
        let row = &src[r * n..(r + 1) * n];
        pack_row(row, false, a);
        sort_packed(a, tmp);
        let (mut best, mut best_len, mut len) = (0, 0, 0);
        for i in 0..n {
            len = if i > 0 && a[i].key() == a[i - 1].key() { len + 1 } else { 1 };
            if len > best_len || (len == best_len && a[i].key() == a[best].key()) {
                (best, best_len) = (i, len);
            }
        }
        // SAFETY: every row is handled once.
        let (v, ix) = unsafe { (v.row(r), ix.row(r)) };
        for (v, i) in v.iter_mut().zip(ix) {
            *i = a[best].place() as i64;
            *v = row[a[best].place()];
        }
    });
}

/// Where each value would go in a sorted sequence of `n`: before equal ones, or after them for `right`. `per_row`
/// values share one sequence (all of them when there is one sequence); `sorter` gives the sequence's order.
pub fn searchsorted<T: Element>(
    seq: &[T],
    n: usize,
    sorter: Option<&[i64]>,
    values: &[T],
    per_row: usize,
    right: bool,
    dst: &mut [i64],
) -> Result<()> {
    if let Some(s) = sorter
        && crate::index::find_outside(s, 0, n as i64).is_some()
    {
        return Err(runtime_error!("torch.searchsorted(): sorter index out of range"));
    }
    for_slices(dst, 4096, |start, piece| {
        for (k, d) in piece.iter_mut().enumerate() {
            let v = values[start + k];
            let base = (start + k) / per_row.max(1) * n;
            let (mut low, mut high) = (0, n);
            while low < high {
                let mid = low + (high - low) / 2;
                let at = sorter.map_or(mid, |s| s[base + mid] as usize);
                let x = seq[base + at];
                // Written so that a NaN value goes behind everything.
                if if right { x > v } else { x >= v } {
                    high = mid;
                } else {
                    low = mid + 1;
                }
            }
            *d = low as i64;
        }
    });
    Ok(())
}
