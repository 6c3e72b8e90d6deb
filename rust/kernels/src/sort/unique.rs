//! Distinct values of a tensor, and distinct slices along a dimension.

use super::{Packed, key, pack_row, sort_packed};
use crate::room;
use rustnn_base::{Element, Result};
use std::cmp::Ordering;

/// Distinct elements: where each one's first copy stands, which of them every element is, how often each occurs.
pub struct Unique {
    pub first: Vec<usize>,
    pub inverse: Vec<i64>,
    pub counts: Vec<i64>,
}

fn group(order: impl Iterator<Item = usize>, n: usize, same: impl Fn(usize, usize) -> bool) -> Result<Unique> {
    let mut out = Unique { first: Vec::new(), inverse: room::filled(n, 0)?, counts: Vec::new() };
    let mut last: Option<usize> = None;
    for i in order {
        match (last, out.counts.last_mut()) {
            (Some(l), Some(c)) if same(l, i) => *c += 1,
            _ => {
                room::push(&mut out.first, i)?;
                room::push(&mut out.counts, 1)?;
            }
        }
        out.inverse[i] = out.first.len() as i64 - 1;
        last = Some(i);
    }
    Ok(out)
}

/// Distinct values in ascending order, or runs of equal values in place for `consecutive`. NaNs are all distinct.
pub fn unique<T: Element>(src: &[T], consecutive: bool) -> Result<Unique> {
    let n = src.len();
    super::check_len(n)?;
    let same = |a: usize, b: usize| src[a] == src[b];
    if consecutive {
        return group(0..n, n, same);
    }
    if size_of::<T>() == 8 { sorted::<T, (u64, u32)>(src, same) } else { sorted::<T, u64>(src, same) }
}

fn sorted<T: Element, P: Packed>(src: &[T], same: impl Fn(usize, usize) -> bool) -> Result<Unique> {
    let (mut a, mut tmp) = (room::with_capacity::<P>(src.len())?, Vec::new());
    pack_row(src, false, &mut a);
    sort_packed(&mut a, &mut tmp);
    group(a.iter().map(|p| p.place()), src.len(), same)
}

/// As [`unique`] for rows of `width` elements, ordered element by element.
pub fn unique_rows<T: Element>(src: &[T], rows: usize, width: usize, consecutive: bool) -> Result<Unique> {
    let row = |r: usize| &src[r * width..(r + 1) * width];
    let same = |a: usize, b: usize| row(a) == row(b);
    let mut order: Vec<usize> = room::collected(0..rows)?;
    if !consecutive {
        order.sort_by(|&a, &b| {
            row(a)
                .iter()
                .zip(row(b))
                .map(|(&x, &y)| key(x).cmp(&key(y)))
                .find(|o| *o != Ordering::Equal)
                .unwrap_or(Ordering::Equal)
        });
    }
    group(order.into_iter(), rows, same)
}
