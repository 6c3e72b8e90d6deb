//! Products large enough to pack: blocks of `KC` steps, a panel of one operand in L1, a block of the other in L2.
//!
//! Each element of C is the sum over blocks of `KC` steps, in order, of each block's sum from zero: neither the tile's
//! size nor the cut into chunks changes a bit.

use super::pack::{View, pack_a, pack_b, panel_start};
use crate::parallel::{SendPtr, for_chunks};
use crate::scratch;
use rustnn_base::dtype::Real;
use rustnn_base::{Error, Result};
use rustnn_simd::Isa;
use rustnn_simd::arch::{Add, GemmArgs, Micro, Tiled};
use std::sync::atomic::{AtomicBool, Ordering};

/// Steps per block, the same for every instruction set because it decides the order of the sum.
pub const KC: usize = 256;
/// Rows of a packed block of A: with `KC` values each, well under half of L2.
const MC: usize = 192;
/// Values of B packed at once for all threads (f32: 8 MiB).
const SHARED: usize = 2 << 20;
/// Up to this many columns A is read where it lies: each value is used so few times that packing it, about a cycle per
/// value, would cost more than it gives (at 128 columns a seventh of the product).
const IN_PLACE: usize = 768;
/// Fewer products than this stay on the calling thread.
const SERIAL: usize = 600_000;

/// One product `c = alpha a b (+ add)`; rows of `c` are contiguous.
#[derive(Clone, Copy)]
pub struct Problem<T> {
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
}

// SAFETY: addresses whose use the calling function answers for; chunks write disjoint parts of `c`.
unsafe impl<T> Send for Problem<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Problem<T> {}

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

/// Whether A is read where it lies: rows contiguous, few columns that use them, and rows that do not fall on the same few
/// sets of the cache (neither of which holds for a transposed A, whose steps are a row apart).
fn in_place<T>(p: &Problem<T>) -> bool {
    p.n <= IN_PLACE && p.a.cs == 1 && (p.a.rs.unsigned_abs() * size_of::<T>()) % 4096 != 0
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
    let mut j = 0;
    while j < nb {
        let w = nr.min(nb - j);
        let vecs = w.div_ceil(micro.lanes);
        for q in 0..panels {
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
    if !alone && p.n >= 256 && (p.m < 96 || (p.m <= 256 && p.n >= 2 * p.m)) {
        // SAFETY: passed on.
        return unsafe { wide(p, micro) };
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
    scratch::with(kg.next_multiple_of(KC).min(p.k) * nc, |pb: *mut T| {
        let pb = SendPtr(pb);
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
                                let pb = pb.get().add(k0 * wide);
                                tiles(p, micro, a, pb, i0, rows, panels, j0, nb, kc, g0 + k0 == 0);
                            }
                        }
                    });
                    if done.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                };
                if alone {
                    (0..blocks * runs).for_each(pack);
                    (0..chunks).for_each(multiply);
                } else {
                    for_chunks(blocks * runs, &pack);
                    for_chunks(chunks, &multiply);
                }
                g0 += g;
            }
            j0 += nb;
        }
    })?;
    checked(&failed, p.m)
}

/// An error if a chunk could not have its working memory.
fn checked(failed: &AtomicBool, size: usize) -> Result<()> {
    if failed.load(Ordering::Relaxed) { Err(Error::out_of_memory((size * KC) as u64)) } else { Ok(()) }
}

/// Few rows, many columns: A is packed once for all (or read in place), each chunk packs its own columns of B, so that
/// there is one join, and what a thread packs it finds in its own cache.
///
/// # Safety
/// As [`serial`].
unsafe fn wide<T: Gemm>(p: &Problem<T>, micro: &Micro<T>) -> Result<()> {
    let nr = micro.nr();
    let panels = p.m.div_ceil(micro.mr());
    let chunks = parts(p.n, 128, 512);
    let nb = p.n.div_ceil(chunks).next_multiple_of(nr);
    let direct = in_place(p);
    let failed = AtomicBool::new(false);
    scratch::with(if direct { 0 } else { p.m * p.k }, |pa: *mut T| {
        let mut k0 = 0;
        while k0 < p.k && !direct {
            let kc = KC.min(p.k - k0);
            // SAFETY: block of A at `k0`, packed at `m * k0`.
            unsafe { pack_a(micro, p.a.at(0, k0), p.m, kc, panels, pa.add(p.m * k0)) };
            k0 += kc;
        }
        let pa = SendPtr(pa);
        for_chunks(p.n.div_ceil(nb), &|i| {
            let (j0, cols) = (i * nb, nb.min(p.n - i * nb));
            let done = scratch::with(KC * cols.next_multiple_of(micro.lanes), |pb: *mut T| {
                let mut k0 = 0;
                while k0 < p.k {
                    let kc = KC.min(p.k - k0);
                    // SAFETY: columns of B that exist, room for them, the packed A; this chunk's own columns of C.
                    unsafe {
                        pack_b(micro, p.b.at(k0, j0), kc, cols, pb);
                        let a =
                            if direct { Block::InPlace(p.a.at(0, k0)) } else { Block::Packed(pa.get().add(p.m * k0)) };
                        tiles(p, micro, a, pb, 0, p.m, panels, j0, cols, kc, k0 == 0);
                    }
                    k0 += kc;
                }
            });
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        });
    })?;
    checked(&failed, p.n)
}
