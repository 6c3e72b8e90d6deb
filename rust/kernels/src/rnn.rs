//! LSTM, GRU and plain recurrent layers over a whole sequence, one direction of one layer: the caller multiplies all
//! inputs with the input weights at once; here come the recurrent products, step by step, with the cell as their
//! epilogue. Rows of the batch are independent, so blocks of rows run on different threads without meeting.
//!
//! Sequences may end at different steps: step t holds `sizes[t]` rows (not growing with t), as in PyTorch's packed
//! sequences. A row keeps its state over the steps it does not take part in.

use crate::mat::{self, MR, Mat, NR};
use crate::parallel::{self, SendPtr};
use crate::room::{self, or_stop};
use crate::rowmath::Math;
use rustnn_base::{Result, runtime_error};
use rustnn_simd::dispatch;

/// Which cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Gates input, forget, cell, output.
    Lstm,
    /// Gates reset, update, new.
    Gru,
    Tanh,
    Relu,
}

impl Kind {
    /// Blocks of `hidden` rows in the weights.
    #[must_use]
    pub const fn gates(self) -> usize {
        match self {
            Kind::Lstm => 4,
            Kind::Gru => 3,
            Kind::Tanh | Kind::Relu => 1,
        }
    }
}

/// One direction of one layer: cell, sizes, and how steps lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub kind: Kind,
    pub batch: usize,
    pub hidden: usize,
    /// First row of each step and how many rows it has.
    pub offsets: &'a [usize],
    pub sizes: &'a [usize],
    /// Walk the steps from the last to the first.
    pub reverse: bool,
}

impl Layer<'_> {
    /// Rows of all steps together.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.sizes.iter().sum()
    }
    /// Rows of the batch that a task owns: few enough to feed threads, many enough to use the weights well.
    fn block(&self) -> usize {
        if self.batch <= 8 * MR { 2 * MR } else { 4 * MR }
    }
    /// The step that the state came from, for row `b` of step `t`: its row, if it is not the initial state.
    fn before(&self, t: usize, b: usize) -> Option<usize> {
        let p = if self.reverse { t + 1 } else { t.checked_sub(1)? };
        (p < self.sizes.len() && b < self.sizes[p]).then(|| self.offsets[p] + b)
    }
    fn check(&self) -> Result<()> {
        let mut at = 0;
        for (t, (&o, &s)) in self.offsets.iter().zip(self.sizes).enumerate() {
            if o != at || s > self.batch || (t > 0 && s > self.sizes[t - 1]) {
                return Err(runtime_error!(
                    "rnn: step sizes {:?} of a batch of {} are not packed",
                    self.sizes,
                    self.batch
                ));
            }
            at += s;
        }
        if self.offsets.len() != self.sizes.len() {
            return Err(runtime_error!("rnn: {} offsets for {} steps", self.offsets.len(), self.sizes.len()));
        }
        Ok(())
    }
    pub(crate) fn time(&self, i: usize) -> usize {
        if self.reverse { self.sizes.len() - 1 - i } else { i }
    }
}

fn need(name: &str, got: usize, want: usize) -> Result<()> {
    if got == want { Ok(()) } else { Err(runtime_error!("rnn: {name} has {got} elements, not {want}")) }
}

/// The hidden states' place in a wider result: row length, and the column where this direction begins.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub ld: usize,
    pub at: usize,
}

/// Packs a `[n, k]` row-major matrix (`t`: its transpose `[k, n]`) into panels of NR of the `n` rows: `[k][NR]` each.
fn panels<T: Math>(w: Mat<T>, n: usize, k: usize) -> Result<Vec<T>> {
    let mut out = room::filled(n.div_ceil(NR) * NR * k, T::ZERO)?;
    if k > 0 {
        for (p, dst) in out.chunks_exact_mut(NR * k).enumerate() {
            // SAFETY: the caller's matrix has n rows and k columns.
            unsafe { mat::pack(dst, w.at(p * NR, 0), NR.min(n - p * NR), NR, k, T::ONE) };
        }
    }
    Ok(out)
}

/// Runs the layer. `gates` `[rows, G*hidden]` holds the inputs' part (with its bias) and receives the gates after
/// their nonlinearity; `w` is `[G*hidden, hidden]`; `h` and `c` `[batch, hidden]` hold the initial state and receive
/// the last one (`c` for LSTM only, else empty); `out` receives the hidden states; `cells` `[rows, hidden]` receives
/// the cell states (LSTM) or the recurrent part of the new gate (GRU), else it is empty.
pub fn forward<T: Math>(
    l: Layer<'_>,
    gates: &mut [T],
    w: &[T],
    bias: Option<&[T]>,
    h: &mut [T],
    c: &mut [T],
    out: &mut [T],
    place: Place,
    cells: &mut [T],
) -> Result<()> {
    let (n, g, rows) = (l.hidden, l.kind.gates(), l.rows());
    l.check()?;
    need("gates", gates.len(), rows * g * n)?;
    need("weight_hh", w.len(), g * n * n)?;
    need("h", h.len(), l.batch * n)?;
    need("c", c.len(), if l.kind == Kind::Lstm { l.batch * n } else { 0 })?;
    need("cells", cells.len(), if matches!(l.kind, Kind::Lstm | Kind::Gru) { rows * n } else { 0 })?;
    need("output", out.len(), rows * place.ld)?;
    if place.at + n > place.ld || bias.is_some_and(|b| b.len() != g * n) {
        return Err(runtime_error!("rnn: the bias or the place of the output does not fit a hidden size of {n}"));
    }
    if n == 0 || rows == 0 {
        return Ok(());
    }
    let per_gate = n.div_ceil(NR) * NR * n;
    let mut packed = room::with_capacity(g * per_gate)?;
    for k in 0..g {
        packed.extend(panels(mat::rows(&w[k * n * n..][..n * n], n), n, n)?);
    }
    let bias = bias.map_or_else(|| room::filled(g * n, T::ZERO), room::copied)?;
    let block = l.block();
    let (pg, ph, pc) = (SendPtr(gates.as_mut_ptr()), SendPtr(h.as_mut_ptr()), SendPtr(c.as_mut_ptr()));
    let (po, pk) = (SendPtr(out.as_mut_ptr()), SendPtr(cells.as_mut_ptr()));
    parallel::for_chunks(l.batch.div_ceil(block), &|task| {
        let r0 = task * block;
        let nr = block.min(l.batch - r0);
        let has_cell = l.kind == Kind::Lstm;
        // SAFETY: rows r0..r0+nr of the states belong to this task alone.
        let (h, c) = unsafe {
            (
                std::slice::from_raw_parts_mut(ph.get().add(r0 * n), nr * n),
                std::slice::from_raw_parts_mut(
                    if has_cell { pc.get().add(r0 * n) } else { pc.get() },
                    if has_cell { nr * n } else { 0 },
                ),
            )
        };
        let mut a = or_stop(room::filled(nr.div_ceil(MR) * MR * n, T::ZERO));
        for i in 0..l.sizes.len() {
            let t = l.time(i);
            let active = l.sizes[t].saturating_sub(r0).min(nr);
            if active == 0 {
                continue;
            }
            let first = l.offsets[t] + r0;
            // SAFETY: rows first..first+active of step t belong to this task alone.
            let mut step = unsafe {
                Step {
                    kind: l.kind,
                    n,
                    gates: std::slice::from_raw_parts_mut(pg.get().add(first * g * n), active * g * n),
                    cells: if cells_len(l.kind, n) == 0 {
                        &mut []
                    } else {
                        std::slice::from_raw_parts_mut(pk.get().add(first * n), active * n)
                    },
                    out: po,
                    out_at: first * place.ld + place.at,
                    ld: place.ld,
                }
            };
            dispatch(
                #[inline(always)]
                || step.run(&packed, per_gate, &bias, h, c, &mut a, active),
            );
        }
    });
    Ok(())
}

const fn cells_len(kind: Kind, n: usize) -> usize {
    match kind {
        Kind::Lstm | Kind::Gru => n,
        Kind::Tanh | Kind::Relu => 0,
    }
}

/// One step of one block of rows.
struct Step<'a, T> {
    kind: Kind,
    n: usize,
    gates: &'a mut [T],
    cells: &'a mut [T],
    out: SendPtr<T>,
    out_at: usize,
    ld: usize,
}

#[inline(always)]
fn load<T: Math>(x: &[T]) -> [T; NR] {
    let mut v = [T::ZERO; NR];
    let w = x.len().min(NR);
    v[..w].copy_from_slice(&x[..w]);
    v
}

impl<T: Math> Step<'_, T> {
    #[inline(always)]
    fn run(&mut self, packed: &[T], per_gate: usize, bias: &[T], h: &mut [T], c: &mut [T], a: &mut [T], active: usize) {
        let (n, g) = (self.n, self.kind.gates());
        for (s, dst) in a.chunks_exact_mut(MR * n).take(active.div_ceil(MR)).enumerate() {
            let rows = MR.min(active - s * MR);
            // SAFETY: `h` has at least `active` rows of n.
            unsafe { mat::pack(dst, mat::rows(h, n).at(s * MR, 0), rows, MR, n, T::ONE) };
        }
        for u in (0..n).step_by(NR) {
            let w = NR.min(n - u);
            for s in 0..active.div_ceil(MR) {
                let pa = &a[s * MR * n..][..MR * n];
                let mut tiles = [[[T::ZERO; NR]; MR]; 4];
                for (k, t) in tiles.iter_mut().enumerate().take(g) {
                    *t = mat::tile(pa, &packed[k * per_gate + u * n..][..NR * n]);
                }
                for i in 0..MR.min(active - s * MR) {
                    let row = s * MR + i;
                    let mut pre = [[T::ZERO; NR]; 4];
                    for k in 0..g {
                        let b = load(&bias[k * n + u..][..w]);
                        for j in 0..NR {
                            pre[k][j] = tiles[k][i][j] + b[j];
                        }
                    }
                    self.cell(row, u, w, &pre, &mut h[row * n + u..][..w], c);
                }
            }
        }
    }

    /// The cell of units u..u+w of a row, from the recurrent parts of its gates.
    #[inline(always)]
    fn cell(&mut self, row: usize, u: usize, w: usize, pre: &[[T; NR]; 4], h: &mut [T], c: &mut [T]) {
        let (n, g) = (self.n, self.kind.gates());
        let mut x = [[T::ZERO; NR]; 4];
        for k in 0..g {
            x[k] = load(&self.gates[(row * g + k) * n + u..][..w]);
        }
        let old = load(h);
        let mut new = [T::ZERO; NR];
        match self.kind {
            Kind::Lstm => {
                let mut cell = load(&c[row * n + u..][..w]);
                for j in 0..NR {
                    x[0][j] = (x[0][j] + pre[0][j]).sigmoid();
                    x[1][j] = (x[1][j] + pre[1][j]).sigmoid();
                    x[2][j] = (x[2][j] + pre[2][j]).tanh();
                    x[3][j] = (x[3][j] + pre[3][j]).sigmoid();
                    cell[j] = x[1][j] * cell[j] + x[0][j] * x[2][j];
                    new[j] = x[3][j] * cell[j].tanh();
                }
                c[row * n + u..][..w].copy_from_slice(&cell[..w]);
                self.cells[row * n + u..][..w].copy_from_slice(&cell[..w]);
            }
            Kind::Gru => {
                for j in 0..NR {
                    x[0][j] = (x[0][j] + pre[0][j]).sigmoid();
                    x[1][j] = (x[1][j] + pre[1][j]).sigmoid();
                    x[2][j] = x[0][j].mul_add(pre[2][j], x[2][j]).tanh();
                    new[j] = (old[j] - x[2][j]).mul_add(x[1][j], x[2][j]);
                }
                self.cells[row * n + u..][..w].copy_from_slice(&pre[2][..w]);
            }
            Kind::Tanh => {
                for j in 0..NR {
                    x[0][j] = (x[0][j] + pre[0][j]).tanh();
                    new[j] = x[0][j];
                }
            }
            Kind::Relu => {
                for j in 0..NR {
                    let v = x[0][j] + pre[0][j];
                    // NaN stays: the comparison with it is false.
                    x[0][j] = if v < T::ZERO { T::ZERO } else { v };
                    new[j] = x[0][j];
                }
            }
        }
        for k in 0..g {
            self.gates[(row * g + k) * n + u..][..w].copy_from_slice(&x[k][..w]);
        }
        h.copy_from_slice(&new[..w]);
        // SAFETY: the row's place in the result; this task alone writes it, and place.at + n <= place.ld.
        unsafe {
            std::slice::from_raw_parts_mut(self.out.get().add(self.out_at + row * self.ld + u), w)
                .copy_from_slice(&new[..w]);
        }
    }
}

/// What [`backward`] reads of the forward pass.
#[derive(Clone, Copy)]
pub struct Kept<'a, T> {
    /// After their nonlinearity.
    pub gates: &'a [T],
    pub w: &'a [T],
    pub h0: &'a [T],
    /// LSTM only, else empty.
    pub c0: &'a [T],
    /// As [`forward`] wrote them.
    pub cells: &'a [T],
    pub out: &'a [T],
}

/// Gradients through time. `grad_out` lies like `out`; `dh` and `dc` hold the gradients of the last states and
/// receive those of the initial ones. `dgates` `[rows, G*hidden]` receives the gradients of the inputs' part of the
/// gates; `drec` those of the recurrent part where they differ (GRU), else it is empty; `before` `[rows, hidden]`
/// receives the hidden state each step began with. Weight gradients are products of these.
pub fn backward<T: Math>(
    l: Layer<'_>,
    k: Kept<'_, T>,
    grad_out: &[T],
    place: Place,
    dh: &mut [T],
    dc: &mut [T],
    dgates: &mut [T],
    drec: &mut [T],
    before: &mut [T],
) -> Result<()> {
    let (n, g, rows) = (l.hidden, l.kind.gates(), l.rows());
    l.check()?;
    let lstm = if l.kind == Kind::Lstm { l.batch * n } else { 0 };
    need("gates", k.gates.len(), rows * g * n)?;
    need("gradient of gates", dgates.len(), rows * g * n)?;
    need("gradient of recurrent gates", drec.len(), if l.kind == Kind::Gru { rows * g * n } else { 0 })?;
    need("weight_hh", k.w.len(), g * n * n)?;
    need("h0", k.h0.len(), l.batch * n)?;
    need("c0", k.c0.len(), lstm)?;
    need("gradient of h", dh.len(), l.batch * n)?;
    need("gradient of c", dc.len(), lstm)?;
    need("cells", k.cells.len(), rows * cells_len(l.kind, n))?;
    need("output", k.out.len(), rows * place.ld)?;
    need("gradient of output", grad_out.len(), rows * place.ld)?;
    need("states before", before.len(), rows * n)?;
    if place.at + n > place.ld {
        return Err(runtime_error!("rnn: the place of the output does not fit a hidden size of {n}"));
    }
    if n == 0 || rows == 0 {
        return Ok(());
    }
    let packed = panels(mat::rows(k.w, n).t(), n, g * n)?;
    let block = l.block();
    let (ph, pc) = (SendPtr(dh.as_mut_ptr()), SendPtr(dc.as_mut_ptr()));
    let (pg, pr, pb) = (SendPtr(dgates.as_mut_ptr()), SendPtr(drec.as_mut_ptr()), SendPtr(before.as_mut_ptr()));
    parallel::for_chunks(l.batch.div_ceil(block), &|task| {
        let r0 = task * block;
        let nr = block.min(l.batch - r0);
        let mut a = or_stop(room::filled(MR * g * n, T::ZERO));
        for i in (0..l.sizes.len()).rev() {
            let t = l.time(i);
            let active = l.sizes[t].saturating_sub(r0).min(nr);
            for r in 0..active {
                let b = r0 + r;
                let row = l.offsets[t] + b;
                let prev = l.before(t, b);
                // SAFETY: row `row` of the sequence and row b of the states belong to this task alone.
                let (dg, dr, hb, dh, dc) = unsafe {
                    let cut = |p: SendPtr<T>, at: usize, len: usize, any: bool| -> &mut [T] {
                        if any { std::slice::from_raw_parts_mut(p.get().add(at), len) } else { &mut [] }
                    };
                    (
                        cut(pg, row * g * n, g * n, true),
                        cut(pr, row * g * n, g * n, l.kind == Kind::Gru),
                        cut(pb, row * n, n, true),
                        cut(ph, b * n, n, true),
                        cut(pc, b * n, n, l.kind == Kind::Lstm),
                    )
                };
                hb.copy_from_slice(match prev {
                    Some(p) => &k.out[p * place.ld + place.at..][..n],
                    None => &k.h0[b * n..][..n],
                });
                let cb = match (l.kind, prev) {
                    (Kind::Lstm, Some(p)) => &k.cells[p * n..][..n],
                    (Kind::Lstm, None) => &k.c0[b * n..][..n],
                    _ => &[],
                };
                let go = &grad_out[row * place.ld + place.at..][..n];
                let y = &k.gates[row * g * n..][..g * n];
                let cells = &k.cells[row * cells_len(l.kind, n)..][..cells_len(l.kind, n)];
                dispatch(
                    #[inline(always)]
                    || cell_backward(l.kind, n, y, cells, cb, hb, go, dh, dc, dg, dr),
                );
            }
            // dh += gradient of the gates times the recurrent weights.
            let src = if l.kind == Kind::Gru { pr } else { pg };
            for s in 0..active.div_ceil(MR) {
                let rows = MR.min(active - s * MR);
                let first = r0 + s * MR;
                // SAFETY: these rows were written above by this task.
                unsafe {
                    let m = Mat {
                        ptr: src.get().add((l.offsets[t] + first) * g * n).cast_const(),
                        rs: (g * n) as isize,
                        cs: 1,
                    };
                    mat::pack(&mut a, m, rows, MR, g * n, T::ONE);
                }
                dispatch(
                    #[inline(always)]
                    || {
                        for u in (0..n).step_by(NR) {
                            let tile = mat::tile(&a, &packed[u * g * n..][..NR * g * n]);
                            for i in 0..rows {
                                // SAFETY: row first + i of the state belongs to this task.
                                let d = unsafe {
                                    std::slice::from_raw_parts_mut(ph.get().add((first + i) * n + u), NR.min(n - u))
                                };
                                for (d, v) in d.iter_mut().zip(&tile[i]) {
                                    *d += *v;
                                }
                            }
                        }
                    },
                );
            }
        }
    });
    Ok(())
}

/// Gradients of one row's gates from those of its states. `dh` and `dc` hold what came from the step after and are
/// left holding what goes to the step before, except for the recurrent product.
#[inline(always)]
fn cell_backward<T: Math>(
    kind: Kind,
    n: usize,
    y: &[T],
    cells: &[T],
    cb: &[T],
    hb: &[T],
    go: &[T],
    dh: &mut [T],
    dc: &mut [T],
    dg: &mut [T],
    dr: &mut [T],
) {
    let one = T::ONE;
    let (dh, go) = (&mut dh[..n], &go[..n]);
    match kind {
        Kind::Lstm => {
            let (i, f, g, o) = (&y[..n], &y[n..][..n], &y[2 * n..][..n], &y[3 * n..][..n]);
            let (di, rest) = dg.split_at_mut(n);
            let (df, rest) = rest.split_at_mut(n);
            let (dgg, d_out) = rest.split_at_mut(n);
            let (dgg, d_o, dc, cells, cb) = (&mut dgg[..n], &mut d_out[..n], &mut dc[..n], &cells[..n], &cb[..n]);
            for j in 0..n {
                let h = go[j] + dh[j];
                let tc = cells[j].tanh();
                let c = (h * o[j]).mul_add(one - tc * tc, dc[j]);
                d_o[j] = h * tc * o[j] * (one - o[j]);
                di[j] = c * g[j] * i[j] * (one - i[j]);
                df[j] = c * cb[j] * f[j] * (one - f[j]);
                dgg[j] = c * i[j] * (one - g[j] * g[j]);
                dc[j] = c * f[j];
                dh[j] = T::ZERO;
            }
        }
        Kind::Gru => {
            let (r, z, c) = (&y[..n], &y[n..][..n], &y[2 * n..][..n]);
            let (dr0, rest) = dg.split_at_mut(n);
            let (dz, dn) = rest.split_at_mut(n);
            let (cells, hb, dn, dr) = (&cells[..n], &hb[..n], &mut dn[..n], &mut dr[..3 * n]);
            for j in 0..n {
                let h = go[j] + dh[j];
                let n_pre = h * (one - z[j]) * (one - c[j] * c[j]);
                dr0[j] = n_pre * cells[j] * r[j] * (one - r[j]);
                dz[j] = h * (hb[j] - c[j]) * z[j] * (one - z[j]);
                dn[j] = n_pre;
                dr[2 * n + j] = n_pre * r[j];
                dh[j] = h * z[j];
            }
            dr[..n].copy_from_slice(dr0);
            dr[n..2 * n].copy_from_slice(dz);
        }
        Kind::Tanh => {
            for j in 0..n {
                dg[j] = (go[j] + dh[j]) * (one - y[j] * y[j]);
                dh[j] = T::ZERO;
            }
        }
        Kind::Relu => {
            for j in 0..n {
                dg[j] = if y[j] > T::ZERO { go[j] + dh[j] } else { T::ZERO };
                dh[j] = T::ZERO;
            }
        }
    }
}

#[cfg(test)]
#[path = "rnn_tests.rs"]
mod tests;
