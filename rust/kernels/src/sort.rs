//! Sorting and what follows from order: along rows of contiguous memory, always stable, NaN greater than all numbers.
//!
//! Values become unsigned keys whose order is theirs (so -0 equals 0, every NaN is one value), packed with their
//! place; ties are thereby settled by place, and short rows take a comparison sort, long ones a radix sort.

mod count;
mod unique;

pub use count::{bincount, histc, mode_rows, searchsorted};
pub use unique::{Unique, unique, unique_rows};

use crate::parallel::{SendPtr, for_range};
use crate::room::{self, or_stop};
use rustnn_base::{Element, Kind, Result, runtime_error};

/// The order of a value as an unsigned number; 32 bits are enough for elements of up to 4 bytes.
#[inline(always)]
pub(crate) fn key<T: Element>(v: T) -> u64 {
    match (T::DTYPE.kind(), T::DTYPE.size()) {
        (Kind::Float, 8) => {
            if v.is_nan() {
                return u64::MAX;
            }
            let b = (v.to_f64() + 0.0).to_bits();
            if b >> 63 == 1 { !b } else { b | 1 << 63 }
        }
        (Kind::Float, _) => {
            if v.is_nan() {
                return u64::from(u32::MAX);
            }
            let b = (v.to_f32() + 0.0).to_bits();
            u64::from(if b >> 31 == 1 { !b } else { b | 1 << 31 })
        }
        (_, 8) => v.to_i64() as u64 ^ 1 << 63,
        _ => u64::from(v.to_i64() as i32 as u32 ^ 1 << 31),
    }
}

/// A key with its place: one u64 for narrow elements, a pair for wide ones.
pub(crate) trait Packed: Copy + Ord + Send + Default {
    const BITS: u32;
    fn pack(key: u64, place: u32) -> Self;
    fn key(self) -> u64;
    fn place(self) -> usize;
}

impl Packed for u64 {
    const BITS: u32 = 32;
    #[inline(always)]
    fn pack(key: u64, place: u32) -> Self {
        key << 32 | u64::from(place)
    }
    #[inline(always)]
    fn key(self) -> u64 {
        self >> 32
    }
    #[inline(always)]
    fn place(self) -> usize {
        self as u32 as usize
    }
}

impl Packed for (u64, u32) {
    const BITS: u32 = 64;
    #[inline(always)]
    fn pack(key: u64, place: u32) -> Self {
        (key, place)
    }
    #[inline(always)]
    fn key(self) -> u64 {
        self.0
    }
    #[inline(always)]
    fn place(self) -> usize {
        self.1 as usize
    }
}

/// Runs `$body` with `$P` the packing that fits elements of type `$T`.
macro_rules! with_packed {
    ($T:ty, $P:ident => $body:expr) => {
        if size_of::<$T>() == 8 {
            type $P = (u64, u32);
            $body
        } else {
            type $P = u64;
            $body
        }
    };
}

fn pack_row<T: Element, P: Packed>(row: &[T], descending: bool, out: &mut Vec<P>) {
    let flip = if !descending {
        0
    } else if P::BITS == 32 {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    out.clear();
    out.extend(row.iter().enumerate().map(|(i, &v)| P::pack(key(v) ^ flip, i as u32)));
}

/// Rows from this length on are radix-sorted.
const RADIX_FROM: usize = 1024;

fn sort_packed<P: Packed>(a: &mut Vec<P>, tmp: &mut Vec<P>) {
    if a.len() < RADIX_FROM {
        a.sort_unstable();
        return;
    }
    tmp.clear();
    if tmp.capacity() < a.len() {
        *tmp = or_stop(room::with_capacity(a.len()));
    }
    tmp.resize(a.len(), P::default());
    let digits = (P::BITS / 8) as usize;
    let mut counts = vec![[0u32; 256]; digits];
    for p in a.iter() {
        let k = p.key();
        for (d, c) in counts.iter_mut().enumerate() {
            c[(k >> (8 * d)) as usize & 255] += 1;
        }
    }
    for (d, c) in counts.iter_mut().enumerate() {
        if c.iter().any(|&n| n as usize == a.len()) {
            continue;
        }
        let mut sum = 0;
        for n in c.iter_mut() {
            let here = *n;
            *n = sum;
            sum += here;
        }
        for &p in a.iter() {
            let slot = &mut c[(p.key() >> (8 * d)) as usize & 255];
            tmp[*slot as usize] = p;
            *slot += 1;
        }
        std::mem::swap(a, tmp);
    }
}

fn check_len(n: usize) -> Result<()> {
    if u32::try_from(n).is_ok() {
        return Ok(());
    }
    Err(runtime_error!("sorting is for rows of less than 2^32 elements, got {n}"))
}

/// Runs `f(row number)` for all rows, several to a chunk, with room for packed keys.
fn for_rows<P: Packed>(rows: usize, n: usize, f: impl Fn(usize, &mut Vec<P>, &mut Vec<P>) + Sync) {
    for_range(rows, (8 * 1024 / n.max(1)).max(1), |range| {
        let (mut a, mut tmp) = (or_stop(room::with_capacity(n)), Vec::new());
        for r in range {
            f(r, &mut a, &mut tmp);
        }
    });
}

/// Writes row pieces of results that no other row touches.
#[derive(Clone, Copy)]
struct Rows<T>(SendPtr<T>, usize, usize);

impl<T: Send> Rows<T> {
    fn new(all: &mut [T], width: usize) -> Self {
        Rows(SendPtr(all.as_mut_ptr()), width, all.len())
    }
    /// # Safety
    /// Each row is asked for by one thread at a time, while the slice given to `new` is borrowed.
    #[allow(clippy::mut_from_ref)]
    unsafe fn row(&self, r: usize) -> &mut [T] {
        if (r + 1) * self.1 > self.2 {
            return &mut [];
        }
        // SAFETY: within the slice (just checked), and exclusive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.get().add(r * self.1), self.1) }
    }
}

/// Stable sort of rows of `n`; `indices` says where each value stood.
pub fn sort_rows<T: Element>(
    src: &[T],
    n: usize,
    descending: bool,
    values: &mut [T],
    indices: &mut [i64],
) -> Result<()> {
    topk_rows(src, n, n, descending, values, indices)
}

/// The `k` first elements of each row in sorted order: the largest or smallest, equal ones by place.
pub fn topk_rows<T: Element>(
    src: &[T],
    n: usize,
    k: usize,
    largest: bool,
    values: &mut [T],
    indices: &mut [i64],
) -> Result<()> {
    check_len(n)?;
    if n == 0 || k == 0 {
        return Ok(());
    }
    if k > n || values.len() < src.len() / n * k || indices.len() < src.len() / n * k {
        return Err(runtime_error!("selected index k out of range"));
    }
    let (v, ix) = (Rows::new(values, k), Rows::new(indices, k));
    with_packed!(T, P => for_rows::<P>(src.len() / n, n, |r, a, tmp| {
        let row = &src[r * n..(r + 1) * n];
        pack_row(row, largest, a);
        if k < n {
            a.select_nth_unstable(k - 1);
            a.truncate(k);
            // Selecting mixed the places up, which a radix sort (by key alone) would keep.
            a.sort_unstable();
        } else {
            sort_packed(a, tmp);
        }
        // SAFETY: every row is handled once.
        let (v, ix) = unsafe { (v.row(r), ix.row(r)) };
        for ((p, v), i) in a.iter().zip(v).zip(ix) {
            *v = row[p.place()];
            *i = p.place() as i64;
        }
    }));
    Ok(())
}

/// The `k`-th smallest (from 1) of each row and where it stands.
pub fn kth_rows<T: Element>(src: &[T], n: usize, k: usize, values: &mut [T], indices: &mut [i64]) -> Result<()> {
    check_len(n)?;
    if k == 0 || k > n {
        return Err(runtime_error!("selected number k out of range for dimension"));
    }
    pick_rows(src, n, values, indices, |_| Some(k - 1))
}

/// The lower median of each row. A row with a NaN gives it, unless `skip_nan`.
pub fn median_rows<T: Element>(
    src: &[T],
    n: usize,
    skip_nan: bool,
    values: &mut [T],
    indices: &mut [i64],
) -> Result<()> {
    check_len(n)?;
    pick_rows(src, n, values, indices, |row: &[T]| {
        let nans = row.iter().filter(|v| v.is_nan()).count();
        match (nans, skip_nan) {
            // NaNs are last in order, the first of them by place.
            (1.., false) => Some(row.len() - nans),
            (_, true) if nans == row.len() => Some(0),
            _ => Some((row.len() - nans - 1) / 2),
        }
    })
}

/// One element of each row by its rank.
fn pick_rows<T: Element>(
    src: &[T],
    n: usize,
    values: &mut [T],
    indices: &mut [i64],
    rank: impl Fn(&[T]) -> Option<usize> + Sync,
) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let (v, ix) = (Rows::new(values, 1), Rows::new(indices, 1));
    with_packed!(T, P => for_rows::<P>(src.len() / n, n, |r, a, _| {
        let row = &src[r * n..(r + 1) * n];
        let Some(k) = rank(row) else { return };
        pack_row(row, false, a);
        let p = a.select_nth_unstable(k).1.place();
        // SAFETY: every row is handled once.
        let (v, ix) = unsafe { (v.row(r), ix.row(r)) };
        for (v, i) in v.iter_mut().zip(ix) {
            *v = row[p];
            *i = p as i64;
        }
    }));
    Ok(())
}

#[cfg(test)]
mod tests;
