//! LSTM, GRU and plain recurrent layers over a whole sequence, one direction of one layer: the caller multiplies all
//! inputs with the input weights at once; here come the recurrent products, step by step, with the cell as their
//! epilogue. Rows of the batch are independent, so blocks of rows run on different threads without meeting.
//!
//! Sequences may end at different steps: step t holds `sizes[t]` rows (not growing with t), as in PyTorch's packed
//! sequences. A row keeps its state over the steps it does not take part in.

use crate::mat::{self, Right};
use crate::parallel::{self, SendPtr};
use crate::room::{self, or_stop};
use crate::rowmath::Math;
use rustnn_base::{Result, runtime_error};
use rustnn_simd::arch::Add;
use rustnn_simd::dispatch;

/// Units that a cell works on at a time.
const LANES: usize = 16;
/// Rows that a task multiplies with each panel of the weights: two tiles, where there are that many.
const ROWS: usize = 12;
/// Values between the rows of a left operand beyond their own, so that rows do not fall on the same sets of the cache.
const APART: usize = 16;

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
    /// Rows of the batch that a task owns: few enough to feed threads, many enough to use the weights well, and even
    /// shares for two threads.
    fn block(&self) -> usize {
        let most = if self.batch <= 4 * ROWS { ROWS } else { 2 * ROWS };
        let tasks = self.batch.div_ceil(most);
        self.batch.div_ceil(tasks.next_multiple_of(2)).max(1)
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
    let mut packed = room::with_capacity(g)?;
    for k in 0..g {
        // SAFETY: the gate's n rows of n weights, transposed.
        packed.push(unsafe { Right::pack(mat::rows(&w[k * n * n..][..n * n], n).t(), n, n)? });
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
        let mut a = or_stop(room::filled(nr * (n + APART), T::ZERO));
        let mut pre = or_stop(room::filled(g * nr * packed[0].nr(), T::ZERO));
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
                || step.run(&packed, &bias, h, c, &mut a, &mut pre, active),
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
fn load<T: Math>(x: &[T]) -> [T; LANES] {
    let mut v = [T::ZERO; LANES];
    let w = x.len().min(LANES);
    v[..w].copy_from_slice(&x[..w]);
    v
}

impl<T: Math> Step<'_, T> {
    #[inline(always)]
    fn run(
        &mut self,
        packed: &[Right<T>],
        bias: &[T],
        h: &mut [T],
        c: &mut [T],
        a: &mut [T],
        pre: &mut [T],
        active: usize,
    ) {
        let (n, nr) = (self.n, packed[0].nr());
        // A copy, since the cells below replace the states that the next tiles still multiply.
        let ld = n + APART;
        for r in 0..active {
            a[r * ld..][..n].copy_from_slice(&h[r * n..][..n]);
        }
        for u in (0..n).step_by(nr) {
            let w = nr.min(n - u);
            for (k, gate) in packed.iter().enumerate() {
                let (to, b) = (pre[k * active * nr..].as_mut_ptr(), bias[k * n..].as_ptr());
                // SAFETY: `a` holds `active` rows, `pre` as many rows of nr for each gate, and the bias n values.
                unsafe { gate.times(mat::rows(a, ld), active, u, w, to, nr, Add::PerColumn, b) };
            }
            for row in 0..active {
                for v in (0..w).step_by(LANES) {
                    let x = LANES.min(w - v);
                    let mut p = [[T::ZERO; LANES]; 4];
                    for k in 0..packed.len() {
                        p[k] = load(&pre[(k * active + row) * nr + v..][..x]);
                    }
                    self.cell(row, u + v, x, &p, &mut h[row * n + u + v..][..x], c);
                }
            }
        }
    }

    /// The cell of units u..u+w of a row, from the recurrent parts of its gates.
    #[inline(always)]
    fn cell(&mut self, row: usize, u: usize, w: usize, pre: &[[T; LANES]; 4], h: &mut [T], c: &mut [T]) {
        let (n, g) = (self.n, self.kind.gates());
        let mut x = [[T::ZERO; LANES]; 4];
        for k in 0..g {
            x[k] = load(&self.gates[(row * g + k) * n + u..][..w]);
        }
        let old = load(h);
        let mut new = [T::ZERO; LANES];
        match self.kind {
            Kind::Lstm => {
                let mut cell = load(&c[row * n + u..][..w]);
                for j in 0..LANES {
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
                for j in 0..LANES {
                    x[0][j] = (x[0][j] + pre[0][j]).sigmoid();
                    x[1][j] = (x[1][j] + pre[1][j]).sigmoid();
                    x[2][j] = x[0][j].mul_add(pre[2][j], x[2][j]).tanh();
                    new[j] = (old[j] - x[2][j]).mul_add(x[1][j], x[2][j]);
                }
                self.cells[row * n + u..][..w].copy_from_slice(&pre[2][..w]);
            }
            Kind::Tanh => {
                for j in 0..LANES {
                    x[0][j] = (x[0][j] + pre[0][j]).tanh();
                    new[j] = x[0][j];
                }
            }
            Kind::Relu => {
                for j in 0..LANES {
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
    // SAFETY: g * n rows of n weights.
    let packed = unsafe { Right::pack(mat::rows(k.w, n), g * n, n)? };
    let block = l.block();
    let (ph, pc) = (SendPtr(dh.as_mut_ptr()), SendPtr(dc.as_mut_ptr()));
    let (pg, pr, pb) = (SendPtr(dgates.as_mut_ptr()), SendPtr(drec.as_mut_ptr()), SendPtr(before.as_mut_ptr()));
    parallel::for_chunks(l.batch.div_ceil(block), &|task| {
        let r0 = task * block;
        let nr = block.min(l.batch - r0);
        let ld = g * n + APART;
        let mut a = or_stop(room::filled(nr * ld, T::ZERO));
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
            if active == 0 {
                continue;
            }
            // dh += gradient of the gates times the recurrent weights.
            let src = if l.kind == Kind::Gru { pr } else { pg };
            // SAFETY: these rows were written above by this task; its rows of the state are its own.
            unsafe {
                let from = src.get().add((l.offsets[t] + r0) * g * n).cast_const();
                for r in 0..active {
                    let row = std::slice::from_raw_parts(from.add(r * g * n), g * n);
                    a[r * ld..][..g * n].copy_from_slice(row);
                }
                let to = ph.get().add(r0 * n);
                packed.times(mat::rows(&a, ld), active, 0, n, to, n, Add::Dst, std::ptr::null());
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
