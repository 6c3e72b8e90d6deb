//! The forward pass of one direction of a layer.
//!
//! A step multiplies the hidden states with the recurrent weights, some units at a time, and turns the products into
//! cells while they are in L1: one pass per function, each a plain loop over all values there are, so that constants
//! stay in registers.
//!
//! Units and rows are independent within a step. Where the weights stay in L2, tasks own rows of the batch and walk all
//! steps without meeting. Larger weights are what a step costs, so tasks own units instead, each with its part of the
//! weights, and meet after every step.

use super::{GRAIN, Kind, Layer, Place, apart, cells_len, need};
use crate::mat::{self, Right};
use crate::packs::Keep;
use crate::parallel::{self, SendPtr};
use crate::room::{self, or_stop};
use crate::rowmath::Math;
use crate::scratch;
use rustnn_base::{Result, runtime_error};
use rustnn_simd::arch::{Add, fetch};
use rustnn_simd::dispatch;
use std::ops::Range;

/// Values of a gate that are worked on at a time.
const TILE: usize = 512;
/// Rows that a tile of units is multiplied with at a time.
const MOST_ROWS: usize = 48;
/// Up to so many rows in all steps together do not pay for packed weights.
const FEW: usize = 8;

/// The recurrent weights of each gate.
enum Weights<T: Math> {
    Packed(Vec<Right<T>>),
    AsTheyLie,
}

/// A direction of a layer: what all its tasks share.
struct Walk<'a, T: Math> {
    l: Layer<'a>,
    place: Place,
    weights: Weights<T>,
    w: &'a [T],
    bias: Vec<T>,
    gates: SendPtr<T>,
    /// Whether gates and cells are written for a backward pass.
    keep: bool,
    cells: SendPtr<T>,
    c: SendPtr<T>,
    out: SendPtr<T>,
    /// Twice the hidden states of the batch: what a step reads, and what it writes.
    states: SendPtr<T>,
    /// From one row of `states` to the next.
    ld: usize,
}

/// Runs the layer. `gates` `[rows, G*hidden]` holds the inputs' part (with its bias); `w` is `[G*hidden, hidden]`; `h`
/// and `c` `[batch, hidden]` hold the initial state and receive the last one (`c` for LSTM only, else empty); `out`
/// receives the hidden states. What `keep` belongs to holds `w`, whose packed copies it may keep.
///
/// For a backward pass, `gates` receives the gates after their nonlinearity, and `cells` `[rows, hidden]` the cell states
/// (LSTM) or the recurrent part of the new gate (GRU), else it is empty. Without `cells` neither is written.
pub fn forward<T: Math>(
    l: Layer<'_>,
    gates: &mut [T],
    (w, keep): (&[T], Keep),
    bias: Option<&[T]>,
    h: &mut [T],
    c: &mut [T],
    out: &mut [T],
    place: Place,
    cells: Option<&mut [T]>,
) -> Result<()> {
    let (n, g, rows) = (l.hidden, l.kind.gates(), l.rows());
    l.check()?;
    need("gates", gates.len(), rows * g * n)?;
    need("weight_hh", w.len(), g * n * n)?;
    need("h", h.len(), l.batch * n)?;
    need("c", c.len(), if l.kind == Kind::Lstm { l.batch * n } else { 0 })?;
    if let Some(cells) = &cells {
        need("cells", cells.len(), rows * cells_len(l.kind, n))?;
    }
    need("output", out.len(), rows * place.ld)?;
    if place.at + n > place.ld || bias.is_some_and(|b| b.len() != g * n) {
        return Err(runtime_error!("rnn: the bias or the place of the output does not fit a hidden size of {n}"));
    }
    if n == 0 || rows == 0 {
        return Ok(());
    }
    let weights = if rows <= FEW {
        Weights::AsTheyLie
    } else {
        let mut packed = room::with_capacity(g)?;
        for k in 0..g {
            // SAFETY: the gate's n rows of n weights, transposed.
            packed.push(unsafe { Right::pack(mat::rows(&w[k * n * n..][..n * n], n).t(), n, n, l.batch == 1, keep)? });
        }
        Weights::Packed(packed)
    };
    let ld = apart(n);
    scratch::with(2 * l.batch * ld, |states: *mut T| {
        for (b, row) in h.chunks_exact(n).enumerate() {
            for half in 0..2 {
                // SAFETY: row b of either half of `states`.
                unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), states.add((half * l.batch + b) * ld), n) }
            }
        }
        let keep = cells.is_some();
        Walk {
            l,
            place,
            weights,
            w,
            bias: bias.map_or_else(|| room::filled(g * n, T::ZERO), room::copied)?,
            gates: SendPtr(gates.as_mut_ptr()),
            keep,
            cells: SendPtr(cells.map_or(std::ptr::null_mut(), <[T]>::as_mut_ptr)),
            c: SendPtr(c.as_mut_ptr()),
            out: SendPtr(out.as_mut_ptr()),
            states: SendPtr(states),
            ld,
        }
        .run()
    })??;
    for (b, row) in h.chunks_exact_mut(n).enumerate() {
        if let Some(last) = l.last(b) {
            row.copy_from_slice(&out[last * place.ld + place.at..][..n]);
        }
    }
    Ok(())
}

/// A tile of one step: rows `b..b + rows` of the batch, units `u..u + w`.
struct Tile {
    /// The first row's place in the sequence.
    at: usize,
    b: usize,
    rows: usize,
    u: usize,
    w: usize,
    /// `w` rounded up to whole panels: from one row of the products to the next.
    wide: usize,
    /// Which half of the states is read.
    half: usize,
}

impl<T: Math> Walk<'_, T> {
    fn run(&self) -> Result<()> {
        let (l, n) = (&self.l, self.l.hidden);
        let steps = l.sizes.len();
        let step = l.products();
        let nr = match &self.weights {
            Weights::Packed(p) => p[0].nr(),
            Weights::AsTheyLie => 16,
        };
        let units = l.units(nr, nr);
        if units < n {
            for i in 0..steps {
                parallel::for_chunks(n.div_ceil(units), &|x| {
                    let u = x * units..(x * units + units).min(n);
                    self.with_room(l.batch, u.len(), nr, |pre| self.step(i, 0..l.batch, u, nr, pre));
                });
            }
            return Ok(());
        }
        let block = if steps * step < 4 * GRAIN { l.batch } else { l.block() };
        parallel::for_chunks(l.batch.div_ceil(block), &|x| {
            let b = x * block..(x * block + block).min(l.batch);
            self.with_room(b.len(), n, nr, |pre| {
                for i in 0..steps {
                    self.step(i, b.clone(), 0..n, nr, pre);
                }
            });
        });
        Ok(())
    }

    /// Units of a tile of `rows` rows.
    fn span(rows: usize, nr: usize) -> usize {
        (TILE / rows.max(1)).max(1).next_multiple_of(nr)
    }

    /// Runs `f` with room for the products of the largest tile of so many rows and units.
    fn with_room(&self, rows: usize, units: usize, nr: usize, f: impl FnOnce(&mut [T])) {
        let rows = rows.min(MOST_ROWS);
        // Fewer rows are active towards the ends of sequences: their tiles have more units, but not more values.
        let most = self.l.kind.gates() * (TILE + rows * nr).min(rows * units.next_multiple_of(nr));
        or_stop(scratch::with(most, |pre: *mut T| {
            // SAFETY: that many values, set before they are seen: nobody writes those beside a tile.
            f(unsafe {
                pre.write_bytes(0, most);
                std::slice::from_raw_parts_mut(pre, most)
            });
        }));
    }

    /// Step `i` of rows `b` and units `u`.
    fn step(&self, i: usize, b: Range<usize>, u: Range<usize>, nr: usize, pre: &mut [T]) {
        let l = &self.l;
        let t = l.time(i);
        let end = l.sizes[t].min(b.end);
        if end <= b.start {
            return;
        }
        // Even shares, each few enough rows.
        let blocks = (end - b.start).div_ceil(MOST_ROWS);
        let most = (end - b.start).div_ceil(blocks);
        let span = Self::span(most, nr);
        for u0 in u.clone().step_by(span) {
            let w = span.min(u.end - u0);
            for b0 in (b.start..end).step_by(most) {
                let rows = most.min(end - b0);
                let at = l.offsets[t] + b0;
                let tile = Tile { at, b: b0, rows, u: u0, w, wide: w.next_multiple_of(nr), half: i % 2 };
                let pre = &mut pre[..l.kind.gates() * rows * tile.wide];
                self.ahead(&tile);
                self.products(&tile, pre);
                dispatch(
                    #[inline(always)]
                    || self.cells(&tile, pre),
                );
            }
        }
    }

    /// Has the tile's part of the gates brought near while its products are made: short runs, a row apart, that no
    /// hardware sees coming, and from memory they take as long as the products.
    fn ahead(&self, t: &Tile) {
        for r in 0..t.rows {
            for k in 0..self.l.kind.gates() {
                let x = self.gates.get().wrapping_add(self.gate(t, r, k));
                for u in (0..t.w).step_by(64 / size_of::<T>()) {
                    fetch(x.wrapping_add(u));
                }
                fetch(x.wrapping_add(t.w - 1));
            }
        }
    }

    /// The recurrent part of the tile's gates, to `pre` `[gates, rows, wide]`.
    fn products(&self, t: &Tile, pre: &mut [T]) {
        let n = self.l.hidden;
        let from = self.states.get().wrapping_add((t.half * self.l.batch + t.b) * self.ld);
        let h = mat::Mat { ptr: from.cast_const(), rs: self.ld as isize, cs: 1 };
        for (k, to) in pre.chunks_exact_mut(t.rows * t.wide).enumerate() {
            let bias = &self.bias[k * n..][..n];
            match &self.weights {
                // SAFETY: the states hold the rows, `to` as many of `wide`, the bias n values; nobody writes the half
                // that is read.
                Weights::Packed(p) => unsafe {
                    p[k].times(h, t.rows, t.u, t.w, to.as_mut_ptr(), t.wide, Add::PerColumn, bias.as_ptr());
                },
                Weights::AsTheyLie => {
                    for row in to.chunks_exact_mut(t.wide) {
                        row[..t.w].copy_from_slice(&bias[t.u..][..t.w]);
                    }
                    let w = mat::rows(&self.w[(k * n + t.u) * n..][..t.w * n], n).t();
                    // SAFETY: as above; the gate's rows u..u + w of the weights, transposed.
                    or_stop(unsafe { mat::gemm(t.rows, t.w, n, T::ONE, h, w, true, to.as_mut_ptr(), t.wide) });
                }
            }
        }
    }

    /// The cells of a tile, from the recurrent parts of its gates.
    #[inline(always)]
    fn cells(&self, t: &Tile, pre: &mut [T]) {
        let part = t.rows * t.wide;
        match self.l.kind {
            Kind::Lstm => {
                self.add_inputs(t, pre);
                let (inner, o) = pre.split_at_mut(3 * part);
                let (both, g) = inner.split_at_mut(2 * part);
                map(both, T::sigmoid);
                map(g, T::tanh);
                map(o, T::sigmoid);
                self.keep_gates(t, pre);
                let (i, rest) = pre.split_at_mut(part);
                let (f, rest) = rest.split_at_mut(part);
                let (g, o) = rest.split_at_mut(part);
                for r in 0..t.rows {
                    let row = r * t.wide..r * t.wide + t.w;
                    let (i, f, g) = (&mut i[row.clone()], &f[row.clone()], &g[row]);
                    // SAFETY: this tile's rows and units of the cell states.
                    let c = unsafe { cut(self.c, (t.b + r) * self.l.hidden + t.u, t.w) };
                    each([i, &mut *c], [f, g], |[i, c], [f, g]| f * c + i * g);
                    self.keep_cells(t, r, c);
                }
                map(i, T::tanh);
                for r in 0..t.rows {
                    let row = r * t.wide..r * t.wide + t.w;
                    let (c, o) = (&i[row.clone()], &o[row]);
                    self.put(t, r, [c, o], |[c, o]| o * c);
                }
            }
            Kind::Gru => {
                let (both, new) = pre.split_at_mut(2 * part);
                self.add_inputs(t, both);
                map(both, T::sigmoid);
                let (reset, update) = both.split_at_mut(part);
                for r in 0..t.rows {
                    let row = r * t.wide..r * t.wide + t.w;
                    let (m, reset) = (&mut new[row.clone()], &reset[row]);
                    self.keep_cells(t, r, m);
                    // SAFETY: this tile's part of the gates.
                    let x = unsafe { cut(self.gates, self.gate(t, r, 2), t.w) };
                    each([m], [reset, x], |[m], [reset, x]| reset.mul_add(m, x));
                }
                map(new, T::tanh);
                let from = self.state(t, t.half);
                for r in 0..t.rows {
                    let row = r * t.wide..r * t.wide + t.w;
                    let (m, z) = (&new[row.clone()], &update[row]);
                    // SAFETY: this tile's rows and units of the states that the step reads, which nobody writes now.
                    let old = unsafe { cut(from, r * self.ld, t.w) };
                    if self.keep {
                        // SAFETY: this tile's part of the gates.
                        unsafe { cut(self.gates, self.gate(t, r, 1), t.w) }.copy_from_slice(z);
                    }
                    self.put(t, r, [m, z, old], |[m, z, old]| (old - m).mul_add(z, m));
                }
                if self.keep {
                    for r in 0..t.rows {
                        let row = r * t.wide..r * t.wide + t.w;
                        // SAFETY: this tile's part of the gates.
                        unsafe {
                            cut(self.gates, self.gate(t, r, 0), t.w).copy_from_slice(&reset[row.clone()]);
                            cut(self.gates, self.gate(t, r, 2), t.w).copy_from_slice(&new[row]);
                        }
                    }
                }
            }
            Kind::Tanh | Kind::Relu => {
                self.add_inputs(t, pre);
                if self.l.kind == Kind::Tanh {
                    map(pre, T::tanh);
                } else {
                    // NaN stays: the comparison with it is false.
                    map(pre, |v| if v < T::ZERO { T::ZERO } else { v });
                }
                self.keep_gates(t, pre);
                for r in 0..t.rows {
                    self.put(t, r, [&pre[r * t.wide..][..t.w]], |[v]| v);
                }
            }
        }
    }

    /// Where the tile's part of gate `k` begins in row `r`.
    #[inline(always)]
    fn gate(&self, t: &Tile, r: usize, k: usize) -> usize {
        ((t.at + r) * self.l.kind.gates() + k) * self.l.hidden + t.u
    }

    /// The tile's first place in a half of the states.
    #[inline(always)]
    fn state(&self, t: &Tile, half: usize) -> SendPtr<T> {
        SendPtr(self.states.get().wrapping_add((half * self.l.batch + t.b) * self.ld + t.u))
    }

    /// Adds the inputs' part to the gates that `pre` holds.
    #[inline(always)]
    fn add_inputs(&self, t: &Tile, pre: &mut [T]) {
        for (k, pre) in pre.chunks_exact_mut(t.rows * t.wide).enumerate() {
            for (r, row) in pre.chunks_exact_mut(t.wide).enumerate() {
                // SAFETY: this tile's part of the gates.
                let x = unsafe { cut(self.gates, self.gate(t, r, k), t.w) };
                each([&mut row[..t.w]], [x], |[p], [x]| x + p);
            }
        }
    }

    #[inline(always)]
    fn keep_gates(&self, t: &Tile, pre: &[T]) {
        if !self.keep {
            return;
        }
        for (k, pre) in pre.chunks_exact(t.rows * t.wide).enumerate() {
            for (r, row) in pre.chunks_exact(t.wide).enumerate() {
                // SAFETY: this tile's part of the gates.
                unsafe { cut(self.gates, self.gate(t, r, k), t.w) }.copy_from_slice(&row[..t.w]);
            }
        }
    }

    #[inline(always)]
    fn keep_cells(&self, t: &Tile, r: usize, values: &[T]) {
        if self.keep {
            // SAFETY: this tile's part of the cells.
            unsafe { cut(self.cells, (t.at + r) * self.l.hidden + t.u, t.w) }.copy_from_slice(values);
        }
    }

    /// New hidden states of row `r`.
    #[inline(always)]
    fn put<const N: usize>(&self, t: &Tile, r: usize, from: [&[T]; N], f: impl Fn([T; N]) -> T) {
        // SAFETY: this tile's rows and units of the states that the step writes, and its place in the result
        // (place.at + hidden <= place.ld).
        let (state, out) = unsafe {
            (
                cut(self.state(t, 1 - t.half), r * self.ld, t.w),
                cut(self.out, (t.at + r) * self.place.ld + self.place.at + t.u, t.w),
            )
        };
        each([state, out], from, |_, x| f(x));
    }
}

/// `w` values from place `at` on.
///
/// # Safety
/// They exist, and nobody else uses them while the slice lives.
#[inline(always)]
unsafe fn cut<'a, T>(p: SendPtr<T>, at: usize, w: usize) -> &'a mut [T] {
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts_mut(p.get().add(at), w) }
}

/// Sets the values of `to`, all to the same, from what they were and from others of the same length. By blocks, since
/// runs are short: loops of unknown length spend more on their ends.
#[inline(always)]
fn each<T: Math, const A: usize, const B: usize>(to: [&mut [T]; A], from: [&[T]; B], f: impl Fn([T; A], [T; B]) -> T) {
    const W: usize = 8;
    let n = to[0].len();
    let mut to = to.map(|y| y[..n].as_chunks_mut::<W>());
    let from = from.map(|x| x[..n].as_chunks::<W>());
    for c in 0..n / W {
        let x: [[T; W]; B] = std::array::from_fn(|k| from[k].0[c]);
        let y: [[T; W]; A] = std::array::from_fn(|k| to[k].0[c]);
        let mut v = [T::ZERO; W];
        for j in 0..W {
            v[j] = f(std::array::from_fn(|k| y[k][j]), std::array::from_fn(|k| x[k][j]));
        }
        for (y, _) in &mut to {
            y[c] = v;
        }
    }
    for j in 0..n % W {
        let v = f(std::array::from_fn(|k| to[k].1[j]), std::array::from_fn(|k| from[k].1[j]));
        for (_, y) in &mut to {
            y[j] = v;
        }
    }
}

#[inline(always)]
fn map<T: Math>(x: &mut [T], f: impl Fn(T) -> T) {
    for v in x {
        *v = f(*v);
    }
}
