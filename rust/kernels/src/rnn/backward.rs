//! Gradients through time of one direction of a layer: steps in the other order, each the cells' gradients and then
//! their product with the recurrent weights; tasks as in the forward pass.

use super::{GRAIN, Kind, Layer, Place, apart, cells_len, need};
use crate::mat::{self, Right};
use crate::packs::Keep;
use crate::parallel::{self, SendPtr};
use crate::rowmath::Math;
use crate::scratch;
use rustnn_base::{Result, runtime_error};
use rustnn_simd::arch::{Add, fetch};
use rustnn_simd::dispatch;
use std::ops::Range;

/// Fewest units of a task: each reads the gradients of all gates.
const UNITS: usize = 96;
/// Units that are worked on at a time.
const W: usize = 8;

/// What [`backward`] reads of the forward pass.
#[derive(Clone, Copy)]
pub struct Kept<'a, T> {
    /// After their nonlinearity.
    pub gates: &'a [T],
    pub w: &'a [T],
    pub h0: &'a [T],
    /// LSTM only, else empty.
    pub c0: &'a [T],
    /// As [`super::forward`] wrote them.
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
    let packed = unsafe { Right::pack(mat::rows(k.w, n), g * n, n, l.batch == 1, Keep::NOT)? };
    let ld = apart(g * n);
    scratch::with(2 * l.batch * ld, |rec: *mut T| {
        Walk {
            l,
            k,
            grad_out,
            place,
            packed,
            dh: SendPtr(dh.as_mut_ptr()),
            dc: SendPtr(dc.as_mut_ptr()),
            dgates: SendPtr(dgates.as_mut_ptr()),
            drec: SendPtr(drec.as_mut_ptr()),
            before: SendPtr(before.as_mut_ptr()),
            rec: SendPtr(rec),
            ld,
        }
        .run();
    })
}

/// What all tasks share.
struct Walk<'a, T: Math> {
    l: Layer<'a>,
    k: Kept<'a, T>,
    grad_out: &'a [T],
    place: Place,
    packed: Right<T>,
    dh: SendPtr<T>,
    dc: SendPtr<T>,
    dgates: SendPtr<T>,
    drec: SendPtr<T>,
    before: SendPtr<T>,
    /// Twice the gradients of a step's recurrent gates, rows apart: what the step after wrote, and what this one writes.
    rec: SendPtr<T>,
    ld: usize,
}

impl<T: Math> Walk<'_, T> {
    fn run(&self) {
        let (l, n) = (&self.l, self.l.hidden);
        let steps = l.sizes.len();
        let units = l.units(self.packed.nr(), UNITS);
        if units < n {
            for i in (0..=steps).rev() {
                parallel::for_chunks(n.div_ceil(units), &|x| {
                    self.step(i, 0..l.batch, x * units..(x * units + units).min(n));
                });
            }
            return;
        }
        let block = if steps * l.products() < 4 * GRAIN { l.batch } else { l.block() };
        parallel::for_chunks(l.batch.div_ceil(block), &|x| {
            for i in (0..=steps).rev() {
                self.step(i, x * block..(x * block + block).min(l.batch), 0..n);
            }
        });
    }

    /// Rows of `b` that step `i` has.
    fn active(&self, i: usize, b: &Range<usize>) -> Range<usize> {
        b.start..self.l.sizes[self.l.time(i)].clamp(b.start, b.end)
    }

    /// The recurrent product of step `i`, then the cells of the step before it, which need those units of the product
    /// alone. (The first call, for what comes after the last step, has no product, the last one no cells.)
    fn step(&self, i: usize, b: Range<usize>, u: Range<usize>) {
        let n = self.l.hidden;
        if let Some(i) = i.checked_sub(1)
            && u.len() < n
        {
            self.ahead(i, self.active(i, &b), &u);
        }
        if i < self.l.sizes.len() {
            let rows = self.active(i, &b);
            if !rows.is_empty() {
                let from = self.rec.get().wrapping_add((i % 2 * self.l.batch + b.start) * self.ld);
                let a = mat::Mat { ptr: from.cast_const(), rs: self.ld as isize, cs: 1 };
                // dh += gradient of the gates times the recurrent weights.
                // SAFETY: the rows that step i wrote; this task's rows and units of the state.
                unsafe {
                    let to = self.dh.get().add(b.start * n + u.start);
                    self.packed.times(a, rows.len(), u.start, u.len(), to, n, Add::Dst, std::ptr::null());
                }
            }
        }
        let Some(i) = i.checked_sub(1) else { return };
        dispatch(
            #[inline(always)]
            || {
                for b in self.active(i, &b) {
                    let row = self.row(i, b);
                    let whole = u.start + u.len() / W * W;
                    for at in (u.start..whole).step_by(W) {
                        self.cell::<true>(&row, at, W);
                    }
                    if whole < u.end {
                        self.cell::<false>(&row, whole, u.end - whole);
                    }
                }
            },
        );
    }

    /// Has what the cells of step `i` read, parts of rows, brought near while the product before them is made.
    fn ahead(&self, i: usize, rows: Range<usize>, u: &Range<usize>) {
        for b in rows {
            let row = self.row(i, b);
            for u in u.clone().step_by(64 / size_of::<T>()) {
                for k in 0..self.l.kind.gates() {
                    fetch(self.k.gates.as_ptr().wrapping_add(row.gates + k * self.l.hidden + u));
                }
                fetch(self.grad_out.as_ptr().wrapping_add(row.out + u));
                fetch(self.k.cells.as_ptr().wrapping_add(row.state + u));
            }
        }
    }

    /// Where row `b` of step `i` lies.
    #[inline(always)]
    fn row(&self, i: usize, b: usize) -> Row {
        let (n, g) = (self.l.hidden, self.l.kind.gates());
        let t = self.l.time(i);
        let at = self.l.offsets[t] + b;
        Row {
            gates: at * g * n,
            out: at * self.place.ld + self.place.at,
            state: at * n,
            batch: b * n,
            rec: (i % 2 * self.l.batch + b) * self.ld,
            before: self.l.before(t, b),
        }
    }

    /// Gradients of the gates of units `u..u + w`, `w` at most `W` (equal to it if `FULL`), from those of their states.
    /// `dh` and `dc` hold what came from the step after and are left holding what goes to the step before, except for the
    /// recurrent product.
    #[inline(always)]
    fn cell<const FULL: bool>(&self, row: &Row, u: usize, w: usize) {
        let (n, place) = (self.l.hidden, self.place);
        let w = if FULL { W } else { w };
        let one = T::ONE;
        let gate = |k: usize| get(self.k.gates, row.gates + k * n + u, w);
        let hb = match row.before {
            Some(p) => get(self.k.out, p * place.ld + place.at + u, w),
            None => get(self.k.h0, row.batch + u, w),
        };
        let go = get(self.grad_out, row.out + u, w);
        // SAFETY: this task's rows and units of the state.
        let mut dh = unsafe { held(self.dh, row.batch + u, w) };
        for j in 0..W {
            dh[j] = go[j] + dh[j];
        }
        let mut d = [[T::ZERO; W]; 4];
        match self.l.kind {
            Kind::Lstm => {
                let (i, f, g, o) = (gate(0), gate(1), gate(2), gate(3));
                let cells = get(self.k.cells, row.state + u, w);
                // SAFETY: this task's rows and units of the state.
                let mut dc = unsafe { held(self.dc, row.batch + u, w) };
                let cb = match row.before {
                    Some(p) => get(self.k.cells, p * n + u, w),
                    None => get(self.k.c0, row.batch + u, w),
                };
                for j in 0..W {
                    let tc = cells[j].tanh();
                    let c = (dh[j] * o[j]).mul_add(one - tc * tc, dc[j]);
                    d[3][j] = dh[j] * tc * o[j] * (one - o[j]);
                    d[0][j] = c * g[j] * i[j] * (one - i[j]);
                    d[1][j] = c * cb[j] * f[j] * (one - f[j]);
                    d[2][j] = c * i[j] * (one - g[j] * g[j]);
                    dc[j] = c * f[j];
                }
                // SAFETY: as above.
                unsafe { put(self.dc, row.batch + u, w, &dc) };
                dh = [T::ZERO; W];
            }
            Kind::Gru => {
                let (r, z, c, cells) = (gate(0), gate(1), gate(2), get(self.k.cells, row.state + u, w));
                for j in 0..W {
                    let new = dh[j] * (one - z[j]) * (one - c[j] * c[j]);
                    d[0][j] = new * cells[j] * r[j] * (one - r[j]);
                    d[1][j] = dh[j] * (hb[j] - c[j]) * z[j] * (one - z[j]);
                    d[2][j] = new;
                    d[3][j] = new * r[j];
                    dh[j] *= z[j];
                }
            }
            Kind::Tanh | Kind::Relu => {
                let y = gate(0);
                for j in 0..W {
                    d[0][j] = if self.l.kind == Kind::Tanh {
                        dh[j] * (one - y[j] * y[j])
                    } else if y[j] > T::ZERO {
                        dh[j]
                    } else {
                        T::ZERO
                    };
                }
                dh = [T::ZERO; W];
            }
        }
        // SAFETY: this task's rows and units of the state, of the gradients, and of what goes to the product.
        unsafe {
            put(self.before, row.state + u, w, &hb);
            put(self.dh, row.batch + u, w, &dh);
            for k in 0..self.l.kind.gates() {
                put(self.dgates, row.gates + k * n + u, w, &d[k]);
                // The new gate's recurrent part has a gradient of its own.
                let gru = self.l.kind == Kind::Gru;
                let rec = if gru && k == 2 { &d[3] } else { &d[k] };
                put(self.rec, row.rec + k * n + u, w, rec);
                if gru {
                    put(self.drec, row.gates + k * n + u, w, rec);
                }
            }
        }
    }
}

/// Where a row of a step begins in the gates, in the result, in `[rows, hidden]`, in the states of the batch and in what
/// goes to the product; and the row of the step that the state came from, if it is not the initial state.
struct Row {
    gates: usize,
    out: usize,
    state: usize,
    batch: usize,
    rec: usize,
    before: Option<usize>,
}

#[inline(always)]
fn get<T: Math>(x: &[T], at: usize, w: usize) -> [T; W] {
    let mut v = [T::ZERO; W];
    v[..w].copy_from_slice(&x[at..][..w]);
    v
}

/// As [`get`], from what the task itself writes.
///
/// # Safety
/// The values exist, and nobody else uses them meanwhile.
#[inline(always)]
unsafe fn held<T: Math>(p: SendPtr<T>, at: usize, w: usize) -> [T; W] {
    // SAFETY: by this function's contract.
    get(unsafe { std::slice::from_raw_parts(p.get().add(at), w) }, 0, w)
}

/// Writes the first `w` values from place `at` on.
///
/// # Safety
/// As [`held`].
#[inline(always)]
unsafe fn put<T: Math>(p: SendPtr<T>, at: usize, w: usize, v: &[T; W]) {
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts_mut(p.get().add(at), w) }.copy_from_slice(&v[..w]);
}
