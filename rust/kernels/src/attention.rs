//! Scaled dot-product attention in blocks of queries and keys, without the matrix of scores: forward keeps one
//! log-sum-exp per query, backward rebuilds the probabilities from it. Each block's sums run over keys in order and
//! gradients of keys are owned by one task, so bits depend on shapes alone.

use crate::gemm::pack::pack_b;
use crate::gemm::parking;
use crate::mat::{self, Mat};
use crate::parallel::{self, SendPtr};
use crate::raw::Raw;
use crate::room::{self, or_stop};
use crate::rowmath::{Math, max1, sum2};
use rustnn_base::{B8, DType, Error, Result, runtime_error};
use rustnn_simd::arch::{Add, GemmArgs, Micro};
use rustnn_simd::{dispatch, isa};

/// Queries per block (a multiple of every tile's rows) and keys per block (of every panel's columns).
const QB: usize = 48;
const KB: usize = 64;
/// Blocks of the backward pass, where panels are packed per product.
const QBB: usize = 64;
const KBB: usize = 64;

/// What is asked of the scores.
#[derive(Clone, Copy)]
pub struct Mask<'a> {
    /// `[batch, heads, queries, keys]`, broadcast by strides of 0: bool (true = attend) or numbers to add.
    pub tensor: Option<Raw<'a>>,
    /// Query i sees keys 0..=i only.
    pub causal: bool,
}

/// `[batch, heads, rows, width]` whose rows are contiguous.
#[derive(Clone, Copy)]
struct Heads<T> {
    ptr: SendPtr<T>,
    strides: [isize; 3],
}

impl<T> Heads<T> {
    fn new(r: &Raw<'_>, shape: [usize; 4], name: &str) -> Result<Self>
    where
        T: Math,
    {
        let s = r.strides();
        if r.dtype() != T::DTYPE || r.shape() != shape || (s[3] != 1 && shape[3] > 1) {
            return Err(Error::Runtime(format!(
                "attention: {name} has shape {:?}, strides {s:?} and dtype {}, expected shape {shape:?} of {} with \
                 contiguous rows",
                r.shape(),
                r.dtype(),
                T::DTYPE
            )));
        }
        Ok(Heads { ptr: SendPtr(r.ptr()), strides: [s[0], s[1], s[2]] })
    }
    /// Row `i` of head `h` of batch entry `b`.
    ///
    /// # Safety
    /// The indices lie inside the shape.
    #[inline(always)]
    unsafe fn row(&self, b: usize, h: usize, i: usize) -> *mut T {
        let s = self.strides;
        // SAFETY: by the contract the offset stays inside the window.
        unsafe { self.ptr.get().offset(b as isize * s[0] + h as isize * s[1] + i as isize * s[2]) }
    }
    #[inline(always)]
    unsafe fn mat(&self, b: usize, h: usize, i: usize) -> Mat<T> {
        // SAFETY: as `row`.
        Mat { ptr: unsafe { self.row(b, h, i) }, rs: self.strides[2], cs: 1 }
    }
}

/// Sizes read off the windows.
#[derive(Clone, Copy)]
struct Dims {
    b: usize,
    h: usize,
    hk: usize,
    l: usize,
    s: usize,
    e: usize,
    ev: usize,
}

fn dims(q: &Raw<'_>, k: &Raw<'_>, v: &Raw<'_>) -> Result<Dims> {
    let (&[b, h, l, e], &[_, hk, s, _], &[_, _, _, ev]) = (q.shape(), k.shape(), v.shape()) else {
        return Err(runtime_error!("attention: query, key and value need four dimensions"));
    };
    if hk == 0 || h % hk != 0 {
        return Err(runtime_error!("attention: {h} query heads are not a multiple of {hk} key heads"));
    }
    Ok(Dims { b, h, hk, l, s, e, ev })
}

impl Mask<'_> {
    /// Adds the mask to a block of scores: rows `i0..i0+m`, keys `j0..j0+n` of head (b, h); `ld` is the row length.
    ///
    /// # Safety
    /// The block lies inside the mask's shape.
    #[inline(always)]
    unsafe fn apply<T: Math>(
        &self,
        x: &mut [T],
        ld: usize,
        b: usize,
        h: usize,
        i0: usize,
        m: usize,
        j0: usize,
        n: usize,
    ) {
        if let Some(t) = &self.tensor {
            let st = t.strides();
            for i in 0..m {
                let at = b as isize * st[0] + h as isize * st[1] + (i0 + i) as isize * st[2] + j0 as isize * st[3];
                let row = &mut x[i * ld..][..n];
                for (j, v) in row.iter_mut().enumerate() {
                    let at = at + j as isize * st[3];
                    // SAFETY: inside the window by the contract; the dtype is matched.
                    unsafe {
                        if t.dtype() == DType::Bool {
                            *v = if (*t.ptr::<B8>().offset(at)).get() { *v } else { T::NEG_INFINITY };
                        } else {
                            *v += *t.ptr::<T>().offset(at);
                        }
                    }
                }
            }
        }
        if self.causal {
            for i in 0..m {
                let seen = (i0 + i + 1).saturating_sub(j0).min(n);
                x[i * ld..][seen..n].fill(T::NEG_INFINITY);
            }
        }
    }
    fn check<T: Math>(&self, d: Dims) -> Result<()> {
        match &self.tensor {
            Some(t) if t.shape() != [d.b, d.h, d.l, d.s] || (t.dtype() != DType::Bool && t.dtype() != T::DTYPE) => {
                Err(runtime_error!("attention: mask of shape {:?} and dtype {}", t.shape(), t.dtype()))
            }
            _ => Ok(()),
        }
    }
    /// Keys that queries before `i1` can see.
    fn keys(&self, i1: usize, s: usize) -> usize {
        if self.causal { s.min(i1) } else { s }
    }
}

/// `out = softmax(scale * q k^T + mask) v` and `lse[batch, heads, queries]`. q `[b,h,l,e]`, k `[b,hk,s,e]`,
/// v `[b,hk,s,ev]`, out `[b,h,l,ev]`, all with contiguous rows; query head i uses key head `i / (h / hk)`.
/// A query that sees nothing gets zeros.
pub fn attention<T: Math>(
    q: Raw<'_>,
    k: Raw<'_>,
    v: Raw<'_>,
    mask: Mask<'_>,
    scale: f64,
    out: Raw<'_>,
    lse: &mut [T],
) -> Result<()> {
    let d = dims(&q, &k, &v)?;
    let (hq, hkk) =
        (Heads::<T>::new(&q, [d.b, d.h, d.l, d.e], "query")?, Heads::<T>::new(&k, [d.b, d.hk, d.s, d.e], "key")?);
    let hv = Heads::<T>::new(&v, [d.b, d.hk, d.s, d.ev], "value")?;
    let ho = Heads::<T>::new(&out, [d.b, d.h, d.l, d.ev], "output")?;
    mask.check::<T>(d)?;
    if lse.len() != d.b * d.h * d.l {
        return Err(runtime_error!("attention: lse of {} elements", lse.len()));
    }
    let scale = T::from_f64(scale);
    let blocks = d.l.div_ceil(QB);
    // A task packs its keys and values once and serves many query blocks; few heads are cut finer to feed threads.
    let per_task = if d.b * d.h >= 16 { blocks } else { blocks.div_ceil(8).max(4) }.max(1);
    let tasks = blocks.div_ceil(per_task);
    let pl = SendPtr(lse.as_mut_ptr());
    parallel::for_chunks(d.b * d.h * tasks, &|t| {
        let (bh, part) = (t / tasks, t % tasks);
        let (b, h) = (bh / d.h, bh % d.h);
        let hk = h / (d.h / d.hk);
        let first = part * per_task;
        let last = ((part + 1) * per_task).min(blocks);
        let keys = mask.keys(last * QB, d.s);
        let mut w = Forward::<T>::new(d, keys);
        // SAFETY: head (b, hk) has at least `keys` rows.
        unsafe { w.pack(hkk.mat(b, hk, 0), hv.mat(b, hk, 0), d) };
        for block in first..last {
            let i0 = block * QB;
            let m = QB.min(d.l - i0);
            // SAFETY: rows i0..i0+m of this head belong to this task alone.
            unsafe {
                let lse = std::slice::from_raw_parts_mut(pl.get().add(bh * d.l + i0), m);
                w.block(hq.mat(b, h, i0), &mask, scale, d, (b, h, i0, m), ho.mat(b, h, i0), lse);
            }
        }
    });
    Ok(())
}

/// Buffers of one forward task.
struct Forward<T: 'static> {
    micro: &'static Micro<T>,
    /// Keys, transposed, and values as `pack_b` leaves them.
    k: Vec<T>,
    v: Vec<T>,
    scores: Vec<T>,
    acc: Vec<T>,
    max: [T; QB],
    sum: [T; QB],
    keys: usize,
}

impl<T: Math> Forward<T> {
    fn new(d: Dims, keys: usize) -> Self {
        let micro = T::micro(isa());
        let z = |n: usize| or_stop(room::filled(n, T::ZERO));
        Forward {
            micro,
            k: z(keys.next_multiple_of(micro.lanes) * d.e),
            v: z(d.ev.next_multiple_of(micro.lanes) * keys),
            scores: z(QB * KB),
            acc: z(QB * d.ev),
            max: [T::ZERO; QB],
            sum: [T::ZERO; QB],
            keys,
        }
    }

    /// # Safety
    /// `k` and `v` have `self.keys` rows of `d.e` and `d.ev` columns.
    unsafe fn pack(&mut self, k: Mat<T>, v: Mat<T>, d: Dims) {
        // SAFETY: by this function's contract; `new` made room for both.
        unsafe {
            pack_b(self.micro, k.t(), d.e, self.keys, self.k.as_mut_ptr());
            pack_b(self.micro, v, self.keys, d.ev, self.v.as_mut_ptr());
        }
    }

    /// # Safety
    /// `q` and `out` have `m` rows for this block.
    unsafe fn block(
        &mut self,
        q: Mat<T>,
        mask: &Mask<'_>,
        scale: T,
        d: Dims,
        at: (usize, usize, usize, usize),
        out: Mat<T>,
        lse: &mut [T],
    ) {
        let (b, h, i0, m) = at;
        self.max.fill(T::NEG_INFINITY);
        self.sum.fill(T::ZERO);
        self.acc.fill(T::ZERO);
        let keys = mask.keys(i0 + m, d.s).min(self.keys);
        for j0 in (0..keys).step_by(KB) {
            let n = KB.min(keys - j0);
            // SAFETY: `q` has `m` rows of `e` values.
            unsafe { self.score(q, m, scale, j0, n, d.e) };
            // SAFETY: rows i0.. and keys j0.. are inside the mask.
            unsafe { mask.apply(&mut self.scores, KB, b, h, i0, m, j0, n) };
            dispatch(
                #[inline(always)]
                || self.soften(m, n, d.ev),
            );
            self.mix(m, j0, n, d.ev);
        }
        dispatch(
            #[inline(always)]
            || {
                for i in 0..m {
                    // SAFETY: row i of the output block.
                    let o = unsafe { std::slice::from_raw_parts_mut(out.at(i, 0).ptr.cast_mut(), d.ev) };
                    let none = self.sum[i] == T::ZERO;
                    let inv = if none { T::ZERO } else { T::ONE / self.sum[i] };
                    for (o, a) in o.iter_mut().zip(&self.acc[i * d.ev..]) {
                        *o = *a * inv;
                    }
                    lse[i] = if none { T::NEG_INFINITY } else { self.max[i] + Math::ln(self.sum[i]) };
                }
            },
        );
    }

    /// Scores of the block's queries with keys j0..j0+n (and with those that share a panel with the last of them).
    ///
    /// # Safety
    /// `q` has `m` rows of `e` values.
    unsafe fn score(&mut self, q: Mat<T>, m: usize, scale: T, j0: usize, n: usize, e: usize) {
        let (mr, nr, lanes) = (self.micro.mr(), self.micro.nr(), self.micro.lanes);
        for j in (0..n).step_by(nr) {
            let width = nr.min(self.keys - (j0 + j));
            let vecs = width.div_ceil(lanes);
            for i in (0..m).step_by(mr) {
                // SAFETY: rows of `q` by the contract; panel and tile lie in their buffers, since blocks are whole
                // numbers of panels.
                unsafe {
                    (self.micro.rows[mr.min(m - i) - 1][vecs - 1])(&GemmArgs {
                        k: e,
                        a: q.at(i, 0).ptr,
                        a_rs: q.rs,
                        a_ks: q.cs,
                        b: self.k.as_ptr().add((j0 + j) * e),
                        b_ks: 0,
                        c: self.scores.as_mut_ptr().add(i * KB + j),
                        ldc: KB,
                        alpha: scale,
                        add: Add::Nothing,
                        bias: std::ptr::null(),
                        last: width - (vecs - 1) * lanes,
                    });
                }
            }
        }
    }

    /// Turns scores into exp(score - running maximum), rescaling what was summed under an older maximum.
    #[inline(always)]
    fn soften(&mut self, m: usize, n: usize, ev: usize) {
        for i in 0..m {
            let row = &mut self.scores[i * KB..][..n];
            let old = self.max[i];
            let new = max1(row, |v| v);
            // NaN scores: the comparison is false and exp carries the NaN on.
            let new = if new > old { new } else { old };
            let shift = if new == T::NEG_INFINITY { T::ZERO } else { new };
            let mut lanes = [T::ZERO; 16];
            for c in row.chunks_mut(16) {
                for (v, l) in c.iter_mut().zip(&mut lanes) {
                    *v = (*v - shift).exp_low();
                    *l += *v;
                }
            }
            for h in [8, 4, 2, 1] {
                for l in 0..h {
                    let v = lanes[l + h];
                    lanes[l] += v;
                }
            }
            if new > old {
                let f = (old - shift).exp_low();
                self.sum[i] *= f;
                if f != T::ZERO {
                    self.acc[i * ev..][..ev].iter_mut().for_each(|a| *a *= f);
                }
                self.max[i] = new;
            }
            self.sum[i] += lanes[0];
        }
    }

    /// Adds the block's probabilities times its values.
    fn mix(&mut self, m: usize, j0: usize, n: usize, ev: usize) {
        let (mr, nr, lanes) = (self.micro.mr(), self.micro.nr(), self.micro.lanes);
        for c in (0..ev).step_by(nr) {
            let width = nr.min(ev - c);
            let vecs = width.div_ceil(lanes);
            for i in (0..m).step_by(mr) {
                // SAFETY: `m` rows of `n` probabilities, the panel's steps j0.., and the tile lie in their buffers.
                unsafe {
                    (self.micro.rows[mr.min(m - i) - 1][vecs - 1])(&GemmArgs {
                        k: n,
                        a: self.scores.as_ptr().add(i * KB),
                        a_rs: KB as isize,
                        a_ks: 1,
                        b: self.v.as_ptr().add(c * self.keys + j0 * vecs * lanes),
                        b_ks: 0,
                        c: self.acc.as_mut_ptr().add(i * ev + c),
                        ldc: ev,
                        alpha: T::ONE,
                        add: Add::Dst,
                        bias: std::ptr::null(),
                        last: width - (vecs - 1) * lanes,
                    });
                }
            }
        }
    }
}

/// Gradients of [`attention`] from the gradient `g` of `out`. `dq`, `dk`, `dv` are shaped like `q`, `k`, `v` and are
/// set entirely. One task per key head walks key blocks, and query blocks inside, in order.
pub fn attention_backward<T: Math>(
    g: Raw<'_>,
    q: Raw<'_>,
    k: Raw<'_>,
    v: Raw<'_>,
    out: Raw<'_>,
    lse: &[T],
    mask: Mask<'_>,
    scale: f64,
    dq: Raw<'_>,
    dk: Raw<'_>,
    dv: Raw<'_>,
) -> Result<()> {
    let d = dims(&q, &k, &v)?;
    let (sq, sk, sv, so) = ([d.b, d.h, d.l, d.e], [d.b, d.hk, d.s, d.e], [d.b, d.hk, d.s, d.ev], [d.b, d.h, d.l, d.ev]);
    let (hq, hk, hv) =
        (Heads::<T>::new(&q, sq, "query")?, Heads::<T>::new(&k, sk, "key")?, Heads::<T>::new(&v, sv, "value")?);
    let (ho, hg) = (Heads::<T>::new(&out, so, "output")?, Heads::<T>::new(&g, so, "gradient")?);
    let hdq = Heads::<T>::new(&dq, sq, "query's gradient")?;
    let (hdk, hdv) = (Heads::<T>::new(&dk, sk, "key's gradient")?, Heads::<T>::new(&dv, sv, "value's gradient")?);
    mask.check::<T>(d)?;
    if lse.len() != d.b * d.h * d.l {
        return Err(runtime_error!("attention: lse of {} elements", lse.len()));
    }
    let scale = T::from_f64(scale);
    let group = d.h / d.hk;
    let failed = parking(d.b * d.hk, 1, |t| {
        let (b, kh) = (t / d.hk, t % d.hk);
        let z = |n: usize| or_stop(room::filled(n, T::ZERO));
        let (mut gq, mut gk, mut gv) = (z(group * d.l * d.e), z(KBB * d.e), z(KBB * d.ev));
        let (mut p, mut dp) = (z(QBB * KBB), z(QBB * KBB));
        let mut delta = z(group * d.l);
        for r in 0..group * d.l {
            let (h, i) = (kh * group + r / d.l, r % d.l);
            // SAFETY: row i of head h of both.
            let (o, g) = unsafe {
                (std::slice::from_raw_parts(ho.row(b, h, i), d.ev), std::slice::from_raw_parts(hg.row(b, h, i), d.ev))
            };
            delta[r] = dispatch(
                #[inline(always)]
                || sum2(o, g, |a, b| a * b),
            );
        }
        for j0 in (0..d.s).step_by(KBB) {
            let n = KBB.min(d.s - j0);
            gk.fill(T::ZERO);
            gv.fill(T::ZERO);
            for gi in 0..group {
                let h = kh * group + gi;
                let from = if mask.causal { j0 / QBB * QBB } else { 0 };
                for i0 in (from..d.l).step_by(QBB) {
                    let m = QBB.min(d.l - i0);
                    let (lse, delta) = (&lse[(b * d.h + h) * d.l + i0..][..m], &delta[gi * d.l + i0..][..m]);
                    // SAFETY: every block lies inside its head; buffers are QBB x KBB; gq holds group * l rows, gk
                    // and gv KBB rows; this task alone uses the buffers.
                    unsafe {
                        let (qm, km) = (hq.mat(b, h, i0), hk.mat(b, kh, j0));
                        let (vm, gm) = (hv.mat(b, kh, j0), hg.mat(b, h, i0));
                        mat::gemm(m, n, d.e, scale, qm, km.t(), false, p.as_mut_ptr(), KBB)?;
                        mask.apply(&mut p, KBB, b, h, i0, m, j0, n);
                        mat::gemm(m, n, d.ev, T::ONE, gm, vm.t(), false, dp.as_mut_ptr(), KBB)?;
                        dispatch(
                            #[inline(always)]
                            || {
                                for i in 0..m {
                                    let (p, dp) = (&mut p[i * KBB..][..n], &mut dp[i * KBB..][..n]);
                                    let l = if lse[i] == T::NEG_INFINITY { T::INFINITY } else { lse[i] };
                                    for (p, dp) in p.iter_mut().zip(dp) {
                                        *p = (*p - l).exp_low();
                                        *dp = *p * (*dp - delta[i]) * scale;
                                    }
                                }
                            },
                        );
                        let (pm, dpm) = (mat::rows(&p, KBB), mat::rows(&dp, KBB));
                        mat::gemm(n, d.ev, m, T::ONE, pm.t(), gm, true, gv.as_mut_ptr(), d.ev)?;
                        mat::gemm(n, d.e, m, T::ONE, dpm.t(), qm, true, gk.as_mut_ptr(), d.e)?;
                        let gq = gq.as_mut_ptr().add((gi * d.l + i0) * d.e);
                        mat::gemm(m, d.e, n, T::ONE, dpm, km, true, gq, d.e)?;
                    }
                }
            }
            for j in 0..n {
                // SAFETY: row j0 + j of key head kh belongs to this task alone.
                unsafe {
                    std::slice::from_raw_parts_mut(hdk.row(b, kh, j0 + j), d.e).copy_from_slice(&gk[j * d.e..][..d.e]);
                    std::slice::from_raw_parts_mut(hdv.row(b, kh, j0 + j), d.ev)
                        .copy_from_slice(&gv[j * d.ev..][..d.ev]);
                }
            }
        }
        for r in 0..group * d.l {
            // SAFETY: the query heads of this group belong to this task alone.
            unsafe {
                std::slice::from_raw_parts_mut(hdq.row(b, kh * group + r / d.l, r % d.l), d.e)
                    .copy_from_slice(&gq[r * d.e..][..d.e]);
            }
        }
        Ok(())
    });
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
