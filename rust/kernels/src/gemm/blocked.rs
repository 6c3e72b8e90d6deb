//! Products large enough to pack: blocks of `KC` steps, a panel of one operand in L1, a block of the other in L2.
//!
//! Each element of C is the sum over blocks of `KC` steps, in order, of each block's sum from zero: neither the tile's
//! size nor the cut into chunks changes a bit.

use super::pack::{SIDE, View, pack_a, pack_b, panel_start};
use crate::packs::{self, Keep, Key, Order};
use crate::parallel::{SendPtr, for_chunks, for_range, num_threads};
use crate::scratch;
use rustnn_base::dtype::Real;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::{Add, GemmArgs, Micro, Tiled, fetch_far};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps per block, the same for every instruction set because it decides the order of the sum.
pub const KC: usize = 256;
/// Rows of a packed block of A: with `KC` values each, well under half of L2.
const MC: usize = 192;
/// Values of B packed at once for all threads (f32: 8 MiB).
const SHARED: usize = 2 << 20;
/// Up to this many columns A is read where it lies: each value is used so few times that packing it, about a cycle per
/// value, would cost more than it gives (at 128 columns up to a seventh of the product). From some 400 on packing costs
/// nothing that could be measured, and gives a tenth where another machine's thread has half of the core's caches.
const IN_PLACE: usize = 256;
/// Rows a multiple of so many bytes apart leave half of the sets of L2 (512 KiB of 8 ways) empty, and more the higher the
/// power of two in it.
const SPREAD: usize = 2048;
/// Panels of this many values together do not stay in L2 from one block of rows to the next: they are fetched ahead (a
/// tenth of a product of 1024 rows and columns and more; below it costs a few hundredths).
const FAR: usize = 256 << 10;
/// Rows in a share of them, at least.
const SHARE: usize = 96;
/// Columns that are a chunk's own where there are few, at least.
const NARROW: usize = 24;
/// Up to this many rows of A are packed at once where B is kept, so that threads share it out by columns.
const KEPT_ROWS: usize = 512;
/// Values worth packing on another thread.
pub(crate) const PACK: usize = 16_384;
/// Fewer products than this stay on the calling thread.
const SERIAL: usize = 600_000;

/// One product `c = alpha a b (+ add)`; rows of `c` are contiguous.
#[derive(Clone, Copy)]
pub struct Problem<'a, T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: View<T>,
    pub b: View<T>,
    pub c: *mut T,
    pub ldc: usize,
    pub alpha: T,
    pub add: Add,
    pub bias: *const T,
    /// Where packed copies of `a` and `b` are kept.
    pub keep: [Keep<'a>; 2],
}

impl<T: Real> Problem<'_, T> {
    /// The plain product of operands that [`tiles`] is given block by block.
    pub(crate) fn of_blocks(m: usize, n: usize, k: usize, c: *mut T, ldc: usize) -> Self {
        let nothing = View { ptr: std::ptr::null(), rs: 0, cs: 0 };
        let (a, b, bias) = (nothing, nothing, std::ptr::null());
        Problem { m, n, k, a, b, c, ldc, alpha: T::ONE, add: Add::Nothing, bias, keep: [Keep::NOT; 2] }
    }
}

// SAFETY: addresses whose use the calling function answers for; chunks write disjoint parts of `c`.
unsafe impl<T> Send for Problem<'_, T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Problem<'_, T> {}

/// Types with tile kernels.
pub trait Gemm: Real + Tiled {}
impl Gemm for f32 {}
impl Gemm for f64 {}

/// A block of the left operand.
#[derive(Clone, Copy)]
pub(crate) enum Block<T> {
    /// In panels of rows, as `pack_a` leaves them.
    Packed(*const T),
    /// As it lies.
    InPlace(View<T>),
}

/// Whether A is read where it lies: rows contiguous, few columns that use them, and rows that do not fall on a part
/// of the sets of the cache (neither of which holds for a transposed A, whose steps are a row apart).
fn in_place<T>(p: &Problem<T>) -> bool {
    p.n <= IN_PLACE && p.a.cs == 1 && (p.a.rs.unsigned_abs() * size_of::<T>()) % SPREAD != 0
}

/// Multiplies one block of A (`mb` rows in panels) with packed panels of B, into C at `(i0, j0)`.
///
/// # Safety
/// `a` shows and `pb` holds the blocks; C (and the bias) reach the block; no other thread touches it.
pub(crate) unsafe fn tiles<T: Gemm>(
    p: &Problem<T>,
    micro: &Micro<T>,
    a: Block<T>,
    pb: *const T,
    i0: usize,
    mb: usize,
    panels: usize,
    j0: usize,
    nb: usize,
    kc: usize,
    first: bool,
) {
    let nr = micro.nr();
    let add = if first { p.add } else { Add::Dst };
    let far = kc * nb >= FAR || p.keep[1].given();
    let line = 64 / size_of::<T>();
    let mut j = 0;
    while j < nb {
        let w = nr.min(nb - j);
        let vecs = w.div_ceil(micro.lanes);
        // The next panel, a part with every tile of this one.
        let next = pb.wrapping_add((j + nr) * kc);
        let lines = if far && j + 2 * nr <= nb { (nr * kc / line).div_ceil(panels) } else { 0 };
        for q in 0..panels {
            for i in q * lines..(q + 1) * lines {
                fetch_far(next.wrapping_add(i * line));
            }
            let (r0, r1) = (panel_start(q, panels, mb), panel_start(q + 1, panels, mb));
            let bias = match add {
                Add::PerRow => p.bias.wrapping_add(i0 + r0),
                Add::PerColumn => p.bias.wrapping_add(j0 + j),
                _ => p.bias,
            };
            // SAFETY: panels hold `kc` steps of `r1 - r0` rows and `vecs` vectors; the tile lies within C.
            unsafe {
                let (table, a, a_rs, a_ks) = match a {
                    Block::Packed(pa) => (micro.gemm, pa.add(r0 * kc), 0, 0),
                    Block::InPlace(v) => (micro.rows, v.at(r0, 0).ptr, v.rs, v.cs),
                };
                (table[r1 - r0 - 1][vecs - 1])(&GemmArgs {
                    k: kc,
                    a,
                    a_rs,
                    a_ks,
                    b: pb.add(j * kc),
                    b_ks: 0,
                    c: p.c.add((i0 + r0) * p.ldc + j0 + j),
                    ldc: p.ldc,
                    alpha: p.alpha,
                    add,
                    bias,
                    last: w - (vecs - 1) * micro.lanes,
                });
            }
        }
        j += nr;
    }
}

/// The number of equal parts to cut `len` into, each at least `low` and, unless that gives more than 16, at most `high`.
fn parts(len: usize, low: usize, high: usize) -> usize {
    let most = (len / low).max(1);
    let pow2 = if most.is_power_of_two() { most } else { most.next_power_of_two() / 2 };
    pow2.min(16).max(len.div_ceil(high))
}

/// One product on the calling thread.
///
/// # Safety
/// The views show `m x k` and `k x n` readable values, C `m x n` writable ones, the bias what `add` reads; the CPU has
/// `isa`.
pub unsafe fn serial<T: Gemm>(p: &Problem<T>, isa: Isa) -> Result<()> {
    // SAFETY: passed on.
    unsafe { run(p, isa, true) }
}

/// One product on all threads, if it is large enough.
///
/// # Safety
/// As [`serial`].
pub unsafe fn parallel<T: Gemm>(p: &Problem<T>, isa: Isa) -> Result<()> {
    // SAFETY: passed on.
    unsafe { run(p, isa, p.m.saturating_mul(p.n).saturating_mul(p.k) < SERIAL) }
}

/// # Safety
/// As [`serial`].
unsafe fn run<T: Gemm>(p: &Problem<T>, isa: Isa, alone: bool) -> Result<()> {
    let micro = T::micro(isa);
    let (mr, nr) = (micro.mr(), micro.nr());
    let kept = !alone && p.keep[1].known(|| right_key(p, micro));
    let p = &Problem { keep: if kept { p.keep } else { [p.keep[0], Keep::NOT] }, ..*p };
    if !alone && p.n >= 256 && (p.m < 96 || (p.m <= 256 && p.n >= 2 * p.m) || (kept && p.m <= KEPT_ROWS)) {
        // SAFETY: passed on.
        return unsafe { wide(p, micro, Items { count: 1, b: 0, c: 0, told: None }, kept) };
    }
    let chunks = if alone { p.m.div_ceil(MC) } else { parts(p.m, 48, MC) };
    let mb = p.m.div_ceil(chunks).next_multiple_of(mr).min(p.m);
    let chunks = p.m.div_ceil(mb);
    let nc = (SHARED / p.k.min(8192)).max(512).next_multiple_of(nr).min(p.n.next_multiple_of(nr));
    // Deep products take their K in groups of blocks, so that the packed part of B stays bounded.
    let kg = (SHARED / nc).max(KC) / KC * KC;
    let kg = kg.min(p.k);
    let direct = in_place(p);
    let failed = AtomicBool::new(false);
    // B is in `pb` a part at a time, or whole at `whole`.
    let sweep = |pb: *mut T, whole: *const T| {
        let (pb, whole) = (SendPtr(pb), SendPtr(whole.cast_mut()));
        let kept = !whole.get().is_null();
        let row = p.n.next_multiple_of(micro.lanes);
        let mut j0 = 0;
        while j0 < p.n {
            let nb = nc.min(p.n - j0);
            let wide = nb.next_multiple_of(micro.lanes);
            let mut g0 = 0;
            while g0 < p.k {
                let g = kg.min(p.k - g0);
                // Pack: one chunk per block of steps and run of columns.
                let (blocks, run) = (g.div_ceil(KC), 16 * nr);
                let runs = nb.div_ceil(run);
                let pack = |i: usize| {
                    let (block, r) = (i / runs, i % runs);
                    let (k0, j) = (block * KC, r * run);
                    let kc = KC.min(g - k0);
                    // SAFETY: a part of B that lies within it, and its own place in the packed buffer.
                    unsafe {
                        let dst = pb.get().add(k0 * wide + j * kc);
                        pack_b(micro, p.b.at(g0 + k0, j0 + j), kc, run.min(nb - j), dst);
                    }
                };
                let multiply = |i: usize| {
                    let (i0, rows) = (i * mb, mb.min(p.m - i * mb));
                    let panels = rows.div_ceil(mr);
                    let done = scratch::with(if direct { 0 } else { rows * KC }, |pa: *mut T| {
                        for block in 0..blocks {
                            let k0 = block * KC;
                            let kc = KC.min(g - k0);
                            // SAFETY: rows of A that exist, room for them, the packed B; this chunk's own rows of C.
                            unsafe {
                                let a = p.a.at(i0, g0 + k0);
                                let a = if direct {
                                    Block::InPlace(a)
                                } else {
                                    pack_a(micro, a, rows, kc, panels, pa);
                                    Block::Packed(pa)
                                };
                                let pb = if kept {
                                    whole.get().add((g0 + k0) * row + j0 * kc)
                                } else {
                                    pb.get().add(k0 * wide)
                                };
                                tiles(p, micro, a, pb, i0, rows, panels, j0, nb, kc, g0 + k0 == 0);
                            }
                        }
                    });
                    if done.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                };
                if alone {
                    (0..if kept { 0 } else { blocks * runs }).for_each(pack);
                    (0..chunks).for_each(multiply);
                } else {
                    for_chunks(if kept { 0 } else { blocks * runs }, &pack);
                    for_chunks(chunks, &multiply);
                }
                g0 += g;
            }
            j0 += nb;
        }
    };
    if kept {
        // SAFETY: passed on.
        unsafe { right(p, micro, |whole| sweep(std::ptr::null_mut(), whole))? };
    } else {
        scratch::with(kg.next_multiple_of(KC).min(p.k) * nc, |pb| sweep(pb, std::ptr::null()))?;
    }
    checked(&failed, p.m)
}

/// Runs `f` with all of B in panels, block of steps after block: that from step `k0` and column `j` on begins at
/// `k0 * n + j * kc`, `n` rounded up to whole vectors. Kept, if copies of B are.
///
/// # Safety
/// B shows `k x n` readable values; the CPU has `micro`'s instruction set.
unsafe fn right<T: Gemm>(p: &Problem<T>, micro: &Micro<T>, f: impl FnOnce(*const T)) -> Result<()> {
    let row = p.n.next_multiple_of(micro.lanes);
    // SAFETY: by this function's contract; room for all panels.
    let pack = |pb: *mut T| unsafe { pack_right(micro, p.b, p.k, p.n, 16 * micro.nr(), pb) };
    packs::with(p.keep[1], right_key(p, micro), p.k * row, pack, f)
}

/// Packs a whole `k x n` right operand on all threads, block of `KC` steps after block, `width` columns (whole panels, or the
/// one vector that a narrower panel is) at a time.
///
/// # Safety
/// `b` shows `k x n` readable values; `dst` has room for `k` times `n` rounded up to whole vectors; the CPU has `micro`'s
/// instruction set.
pub(crate) unsafe fn pack_right<T: Gemm>(micro: &Micro<T>, b: View<T>, k: usize, n: usize, width: usize, dst: *mut T) {
    let row = n.next_multiple_of(micro.lanes);
    let (runs, to) = (n.div_ceil(width), SendPtr(dst));
    for_range(k.div_ceil(KC) * runs, (PACK / (KC.min(k.max(1)) * width)).max(1), |range| {
        for i in range {
            let (k0, j) = (i / runs * KC, i % runs * width);
            let kc = KC.min(k - k0);
            // SAFETY: a part of B that lies within it, and its own place among the panels.
            unsafe { pack_b(micro, b.at(k0, j), kc, width.min(n - j), to.get().add(k0 * row + j * kc)) };
        }
    });
}

fn right_key<T: Gemm>(p: &Problem<T>, micro: &Micro<T>) -> Key {
    key(Order::Right, p.b, [p.k, p.n, micro.nr()])
}

/// What tells a packed copy of an operand from another.
pub(crate) fn key<T>(order: Order, v: View<T>, cut: [usize; 3]) -> Key {
    let form = [v.rs, v.cs].into_iter().chain(cut.map(|c| c as isize)).collect();
    Key { order, first: v.ptr as usize, size: size_of::<T>(), form }
}

/// An error if a chunk could not have its working memory.
fn checked(failed: &AtomicBool, size: usize) -> Result<()> {
    if failed.load(Ordering::Relaxed) { Err(Error::out_of_memory((size * KC) as u64)) } else { Ok(()) }
}

/// Several products `c[i] = a b[i]` of one left operand.
#[derive(Clone, Copy)]
pub(crate) struct Items<'a> {
    pub count: usize,
    /// From one right operand, and from one result, to the next.
    pub b: usize,
    pub c: usize,
    pub told: Option<&'a TellItem<'a>>,
}

/// Who is told of values that are final, in rows and columns of an item's result, by the thread that has just written them.
pub(crate) type TellItem<'a> = dyn Fn(usize, Range<usize>, Range<usize>) + Sync + 'a;

/// Few rows, many columns, of one or more right operands: A is packed once for all (or read in place), each chunk packs
/// its own columns of B, so that there is one join, and what a thread packs it finds in its own cache; with `kept`, B is there
/// already.
///
/// # Safety
/// As [`serial`], for every item; items of C are disjoint; the CPU has `micro`'s instruction set.
pub(crate) unsafe fn wide<T: Gemm>(p: &Problem<T>, micro: &Micro<T>, items: Items, kept: bool) -> Result<()> {
    let (mr, nr) = (micro.mr(), micro.nr());
    // Enough chunks for 16 threads.
    let each = parts(p.n, 128, 512).min(16usize.div_ceil(items.count)).max(p.n.div_ceil(512));
    // Few columns: rows are shared out too, at the price of packing columns once for each share.
    let want = (2 * num_threads()).div_ceil(items.count);
    let shares = want.div_ceil(each).min(p.m / SHARE).max(1);
    // Few rows as well: narrow runs of columns.
    let worth = p.m.saturating_mul(p.k).saturating_mul(p.n) / SERIAL;
    let each = each.max((want / shares).min(worth).min(p.n / NARROW));
    let panels = p.n.div_ceil(nr);
    let nb = panels.div_ceil(each) * nr;
    // Blocks of A stay in L2. With a single one, columns of B are packed a few panels at a time and stay in L1.
    let blocks = p.m.div_ceil(MC + MC / 3).next_multiple_of(shares);
    let mb = p.m.div_ceil(blocks).next_multiple_of(mr);
    let blocks = p.m.div_ceil(mb);
    let shares = shares.min(blocks);
    let step = if blocks == shares { SIDE * nr } else { nb };
    let left = || key(Order::Left, p.a, [p.m, p.k, mb * micro.mr()]);
    let direct = in_place(p) && !p.keep[0].known(left);
    let failed = AtomicBool::new(false);
    let pack_left = |pa: *mut T| {
        let pa = SendPtr(pa);
        if !direct {
            let pack = |i: usize| {
                let (k0, i0) = (i / blocks * KC, i % blocks * mb);
                let (kc, rows) = (KC.min(p.k - k0), mb.min(p.m - i0));
                // SAFETY: a block of A, packed at a place of its own.
                unsafe {
                    let dst = pa.get().add(p.m * k0 + i0 * kc);
                    pack_a(micro, p.a.at(i0, k0), rows, kc, rows.div_ceil(mr), dst);
                }
            };
            for_range(p.k.div_ceil(KC) * blocks, (PACK / (mb * KC)).max(1), |r| r.for_each(pack));
        }
    };
    let row = p.n.next_multiple_of(micro.lanes);
    let multiply = |pa: *const T, whole: *const T| {
        let (pa, whole) = (SendPtr(pa.cast_mut()), SendPtr(whole.cast_mut()));
        for_chunks(items.count * each * shares, &|i| {
            let (share, i) = (i % shares, i / shares);
            let item = i / each;
            let [j0, j1] = [i % each, i % each + 1].map(|c| (panel_start(c, each, panels) * nr).min(p.n));
            let rows =
                (panel_start(share, shares, blocks) * mb, (panel_start(share + 1, shares, blocks) * mb).min(p.m));
            let cols = j1 - j0;
            let p = Problem { c: p.c.wrapping_add(item * items.c), ..*p };
            let b = p.b.at(0, j0);
            let b = View { ptr: b.ptr.wrapping_add(item * items.b), ..b };
            let own = if kept { 0 } else { KC * step.min(cols.next_multiple_of(micro.lanes)) };
            let done = scratch::with(own, |pb: *mut T| {
                for k0 in (0..p.k).step_by(KC) {
                    let kc = KC.min(p.k - k0);
                    for j in (0..cols).step_by(step) {
                        let width = step.min(cols - j);
                        // SAFETY: columns of B that exist, room for them, the packed A; this chunk's own columns of C.
                        unsafe {
                            let pb = if kept {
                                whole.get().add(k0 * row + (j0 + j) * kc).cast_const()
                            } else {
                                pack_b(micro, b.at(k0, j), kc, width, pb);
                                pb.cast_const()
                            };
                            for i0 in (rows.0..rows.1).step_by(mb) {
                                let rows = mb.min(rows.1 - i0);
                                let a = if direct {
                                    Block::InPlace(p.a.at(i0, k0))
                                } else {
                                    Block::Packed(pa.get().add(p.m * k0 + i0 * kc))
                                };
                                // Where somebody waits for the result, a few panels at a time, which are in L2.
                                let told = items.told.filter(|_| k0 + kc == p.k);
                                let run = if told.is_some() { SIDE * nr } else { width };
                                for at in (0..width).step_by(run) {
                                    let (pb, first, n) = (pb.add(at * kc), j0 + j + at, run.min(width - at));
                                    tiles(&p, micro, a, pb, i0, rows, rows.div_ceil(mr), first, n, kc, k0 == 0);
                                    if let Some(told) = told {
                                        told(item, i0..i0 + rows, first..first + n);
                                    }
                                }
                            }
                        }
                    }
                }
            });
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        });
    };
    packs::with(p.keep[0], left(), if direct { 0 } else { p.m * p.k }, pack_left, |pa| {
        if kept {
            // SAFETY: passed on.
            unsafe { right(p, micro, |whole| multiply(pa, whole)) }
        } else {
            multiply(pa, std::ptr::null());
            Ok(())
        }
    })??;
    checked(&failed, p.n)
}
