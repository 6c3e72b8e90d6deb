//! How a fold walks its input: along rows when the fastest dimension is reduced, across columns when it is kept.

use crate::convert::{Convert, convert};
use crate::map::{GRAIN, gather};
use crate::parallel::SendPtr;
use crate::room;
use crate::{Raw, parallel};
use rustnn_base::{DType, Element, Result, runtime_error};
use rustnn_simd::dispatch;
use smallvec::SmallVec;
use std::mem::MaybeUninit;

/// Elements folded before lanes are joined.
const PIECE: usize = 1024;
const LANES: usize = 32;
/// Rows summed across columns before the columns are widened.
const ROWS: usize = 32;
/// Columns folded at a time.
const TILE: usize = 512;
/// Fewer columns than this are folded one by one.
const NARROW: usize = 8;

/// A fold: lanes of `A` step over elements `X`; parts are joined in `W`. `shift` is a value per output.
pub trait Fold: Sync {
    type X: Element;
    type A: Copy + Send + Sync;
    type W: Element;
    fn init(&self) -> Self::A;
    fn step(&self, a: Self::A, x: Self::X, shift: Self::X) -> Self::A;
    fn join(&self, a: Self::A, b: Self::A) -> Self::A;
    fn widen(&self, a: Self::A) -> Self::W;
    fn join_wide(&self, a: Self::W, b: Self::W) -> Self::W;
}

#[derive(Debug, Clone, Copy)]
struct Axis {
    size: usize,
    /// In bytes.
    step: isize,
}

/// The kept and the reduced dimensions of an input, merged where they can be.
pub struct Space {
    src: SendPtr<u8>,
    dtype: DType,
    /// In the order of the result, last fastest.
    kept: SmallVec<[Axis; 6]>,
    /// Fastest first.
    reduced: SmallVec<[Axis; 6]>,
    /// Results.
    pub outputs: usize,
    /// Elements behind each result.
    pub length: usize,
}

impl Space {
    /// `dst` has `src`'s rank, and size 1 where it is reduced.
    pub fn new(dst: &Raw, src: &Raw) -> Result<Self> {
        let (d, s) = (dst.shape(), src.shape());
        if d.len() != s.len() || d.iter().zip(s).any(|(&a, &b)| a != b && a != 1) {
            return Err(runtime_error!("a reduction of shape {s:?} cannot give shape {d:?}"));
        }
        let size = src.dtype().size() as isize;
        let (mut kept, mut reduced): (SmallVec<[Axis; 6]>, SmallVec<[Axis; 6]>) = Default::default();
        let (mut outputs, mut length) = (1, 1);
        for i in 0..s.len() {
            let axis = Axis { size: s[i], step: src.strides()[i] * size };
            if s[i] != d[i] {
                length *= s[i];
                reduced.push(axis);
            } else if s[i] != 1 {
                outputs *= s[i];
                match kept.last_mut() {
                    Some(k) if k.step == axis.step * axis.size as isize => {
                        *k = Axis { size: k.size * axis.size, ..axis }
                    }
                    _ => kept.push(axis),
                }
            }
        }
        reduced.sort_by_key(|a| a.step.unsigned_abs());
        let mut merged: SmallVec<[Axis; 6]> = SmallVec::new();
        for a in reduced {
            match merged.last_mut() {
                Some(m) if a.step == m.step * m.size as isize => m.size *= a.size,
                _ => merged.push(a),
            }
        }
        if merged.is_empty() {
            merged.push(Axis { size: 1, step: size });
        }
        Ok(Space { src: SendPtr(src.ptr::<u8>()), dtype: src.dtype(), kept, reduced: merged, outputs, length })
    }

    /// Address of the first element behind result `o`.
    fn origin(&self, o: usize) -> *mut u8 {
        let (mut p, mut rest) = (self.src.get(), o);
        for a in self.kept.iter().rev() {
            p = p.wrapping_offset((rest % a.size) as isize * a.step);
            rest /= a.size;
        }
        p
    }

    /// Calls `f(address, n)` for the pieces of rows that make up elements `start..end` of the reduction at `origin`.
    fn rows(&self, origin: *mut u8, start: usize, end: usize, mut f: impl FnMut(*mut u8, usize)) {
        let inner = self.reduced[0];
        let mut at = start;
        while at < end {
            let i = at % inner.size;
            let mut rest = at / inner.size;
            let mut p = origin.wrapping_offset(i as isize * inner.step);
            for a in &self.reduced[1..] {
                p = p.wrapping_offset((rest % a.size) as isize * a.step);
                rest /= a.size;
            }
            let n = (end - at).min(inner.size - i);
            f(p, n);
            at += n;
        }
    }
}

/// Folds a piece of at most [`PIECE`] elements.
#[inline(always)]
fn piece<F: Fold>(f: &F, x: &[F::X], shift: F::X) -> F::A {
    let mut lanes = [f.init(); LANES];
    let mut chunks = x.chunks_exact(LANES);
    for c in &mut chunks {
        for (a, x) in lanes.iter_mut().zip(c) {
            *a = f.step(*a, *x, shift);
        }
    }
    for (a, x) in lanes.iter_mut().zip(chunks.remainder()) {
        *a = f.step(*a, *x, shift);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f.join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Folds each result's elements; `shifts` holds a value per result.
pub fn run<F: Fold>(space: &Space, f: &F, shifts: Option<&[f64]>) -> Result<Vec<F::W>> {
    let start = f.widen(f.init());
    let mut out = room::filled(space.outputs, start)?;
    if space.length == 0 || space.outputs == 0 {
        return Ok(out);
    }
    let size = space.dtype.size() as isize;
    let columns =
        space.kept.last().is_some_and(|k| k.size >= NARROW && k.step == size && space.reduced[0].step.abs() > size);
    let job = Job { space, f, shifts, cast: (space.dtype != F::X::DTYPE).then(|| convert(space.dtype, F::X::DTYPE)) };
    let short =
        space.reduced.len() == 1 && space.reduced[0].step == size && space.length <= PIECE && job.cast.is_none();
    // How many elements of the reduction make a chunk, how many chunks there are, and how many results at a time.
    let width = if columns { space.kept[space.kept.len() - 1].size.min(TILE) } else { 1 };
    let per = (GRAIN / width).max(ROWS).next_multiple_of(ROWS);
    let chunks = if space.length >= 2 * per { space.length.div_ceil(per) } else { 1 };
    let per = if chunks == 1 { space.length } else { per };
    let mut parts = room::filled(if chunks == 1 { 0 } else { space.outputs.saturating_mul(chunks) }, start)?;
    {
        let to = SendPtr(if chunks == 1 { out.as_mut_ptr() } else { parts.as_mut_ptr() });
        let write = |o: usize, c: usize, v: F::W| {
            // SAFETY: each (result, chunk) is written once, within the vector.
            unsafe { to.get().add(c * space.outputs + o).write(v) }
        };
        let task = |c: usize, first: usize, last: usize| {
            let end = ((c + 1) * per).min(space.length);
            if columns {
                job.columns(first, last, c * per, end, &|o, v| write(o, c, v));
            } else if short {
                job.short_rows(first, last, &|o, v| write(o, c, v));
            } else {
                for o in first..last {
                    write(o, c, job.row(o, c * per, end));
                }
            }
        };
        if space.outputs * space.length <= GRAIN {
            task(0, 0, space.outputs);
        } else {
            // Results per task: tiles never cross the end of the fastest kept dimension.
            let group = if columns { TILE } else { (GRAIN / per.max(1)).max(1) };
            let inner = if columns { space.kept[space.kept.len() - 1].size } else { space.outputs };
            let tiles = inner.div_ceil(group);
            let outer = space.outputs / inner;
            parallel::for_chunks(chunks * outer * tiles, &|i| {
                let (c, rest) = (i / (outer * tiles), i % (outer * tiles));
                let base = rest / tiles * inner;
                let first = base + rest % tiles * group;
                task(c, first, (first + group).min(base + inner));
            });
        }
    }
    if chunks > 1 {
        for c in 0..chunks {
            for o in 0..space.outputs {
                out[o] = if c == 0 { parts[o] } else { f.join_wide(out[o], parts[c * space.outputs + o]) };
            }
        }
    }
    Ok(out)
}

struct Job<'a, F: Fold> {
    space: &'a Space,
    f: &'a F,
    shifts: Option<&'a [f64]>,
    cast: Option<Convert>,
}

type Block = MaybeUninit<[u64; PIECE]>;

impl<F: Fold> Job<'_, F> {
    fn shift(&self, o: usize) -> F::X {
        self.shifts.map_or_else(F::X::default, |s| F::X::from_f64(s[o]))
    }

    /// Results `first..last`, each of one row that lies in place and is a piece: nothing to gather or to join.
    fn short_rows(&self, first: usize, last: usize, write: &dyn Fn(usize, F::W)) {
        let (f, n) = (self.f, self.space.length);
        dispatch(
            #[inline(always)]
            || {
                for o in first..last {
                    // SAFETY: the walk stays inside the input, whose elements are the fold's.
                    let x = unsafe { std::slice::from_raw_parts(self.space.origin(o).cast::<F::X>().cast_const(), n) };
                    write(o, f.widen(piece(f, x, self.shift(o))));
                }
            },
        );
    }

    /// Elements `start..end` behind result `o`.
    fn row(&self, o: usize, start: usize, end: usize) -> F::W {
        let (mut block, mut raw) = (Block::uninit(), Block::uninit());
        let (block, raw) = (block.as_mut_ptr().cast::<u8>(), raw.as_mut_ptr().cast::<u8>());
        let size = self.space.dtype.size();
        let step = self.space.reduced[0].step;
        let direct = step == size as isize && self.cast.is_none();
        let shift = self.shift(o);
        let mut total: Option<F::W> = None;
        let mut add = |x: *const u8, n: usize| {
            // SAFETY: n elements of the fold's type lie there, in the input or in `block`.
            let x = unsafe { std::slice::from_raw_parts(x.cast::<F::X>(), n) };
            let f = self.f;
            let a = dispatch(
                #[inline(always)]
                || piece(f, x, shift),
            );
            let w = f.widen(a);
            total = Some(total.map_or(w, |t| f.join_wide(t, w)));
        };
        // Short rows are gathered until a piece is full.
        let mut filled = 0;
        self.space.rows(self.space.origin(o), start, end, |p, n| {
            let mut at = 0;
            while at < n {
                let here = p.wrapping_offset(at as isize * step);
                if direct && filled == 0 && n - at >= PIECE {
                    add(here, PIECE);
                    at += PIECE;
                    continue;
                }
                if direct && filled == 0 && n == end - start {
                    // The tail of the only row.
                    add(here, n - at);
                    return;
                }
                let m = (n - at).min(PIECE - filled);
                let into = if self.cast.is_some() { raw } else { block };
                // SAFETY: the walk stays inside the input; filled + m ≤ PIECE.
                unsafe { gather(into.add(filled * size), here, step, m, size) };
                filled += m;
                at += m;
                if filled == PIECE {
                    self.convert(block, raw, filled);
                    add(block, filled);
                    filled = 0;
                }
            }
        });
        if filled > 0 {
            self.convert(block, raw, filled);
            add(block, filled);
        }
        total.unwrap_or_else(|| self.f.widen(self.f.init()))
    }

    fn convert(&self, block: *mut u8, raw: *const u8, n: usize) {
        if let Some(cast) = self.cast {
            // SAFETY: `raw` holds n ≤ PIECE elements, `block` has room for as many lanes of at most 8 bytes.
            unsafe { cast(block, raw, n) };
        }
    }

    /// Elements `start..end` behind results `first..last`, which lie side by side in the input.
    fn columns(&self, first: usize, last: usize, start: usize, end: usize, write: &dyn Fn(usize, F::W)) {
        let mut at = first;
        let inner = self.space.kept[self.space.kept.len() - 1].size;
        while at < last {
            let n = (last - at).min(TILE).min(inner - at % inner);
            // Room for many columns takes longer to set up than few take to fold.
            if n <= TILE / 16 {
                self.tile::<{ TILE / 16 }>(at, n, start, end, write);
            } else {
                self.tile::<TILE>(at, n, start, end, write);
            }
            at += n;
        }
    }

    fn tile<const W: usize>(&self, first: usize, n: usize, start: usize, end: usize, write: &dyn Fn(usize, F::W)) {
        let f = self.f;
        let mut lanes = [f.init(); W];
        let mut wide = [f.widen(f.init()); W];
        let mut shifts = [F::X::default(); W];
        if self.shifts.is_some() {
            for (j, s) in shifts[..n].iter_mut().enumerate() {
                *s = self.shift(first + j);
            }
        }
        let mut block = Block::uninit();
        let block = block.as_mut_ptr().cast::<u8>();
        let origin = self.space.origin(first);
        let mut rows = 0;
        let mut begun = false;
        let mut flush = |lanes: &mut [F::A; W]| {
            for (w, a) in wide[..n].iter_mut().zip(&lanes[..n]) {
                let v = f.widen(*a);
                *w = if begun { f.join_wide(*w, v) } else { v };
            }
            begun = true;
            lanes[..n].fill(f.init());
        };
        let step = self.space.reduced[0].step;
        self.space.rows(origin, start, end, |p, count| {
            for i in 0..count {
                let mut here = p.wrapping_offset(i as isize * step).cast_const();
                if let Some(cast) = self.cast {
                    // SAFETY: n contiguous elements lie here; the block has room for W lanes.
                    unsafe { cast(block, here, n) };
                    here = block;
                }
                // SAFETY: n elements of the fold's type lie there.
                let x = unsafe { std::slice::from_raw_parts(here.cast::<F::X>(), n) };
                let (lanes_n, shifts_n) = (&mut lanes[..n], &shifts[..n]);
                dispatch(
                    #[inline(always)]
                    || {
                        for ((a, x), s) in lanes_n.iter_mut().zip(x).zip(shifts_n) {
                            *a = f.step(*a, *x, *s);
                        }
                    },
                );
                rows += 1;
                if rows == ROWS {
                    flush(&mut lanes);
                    rows = 0;
                }
            }
        });
        if rows > 0 || start == end {
            flush(&mut lanes);
        }
        for (j, w) in wide[..n].iter().enumerate() {
            write(first + j, *w);
        }
    }
}
