//! Optimizer steps over a list of parameters in one call. Each follows PyTorch's order of operations and roundings
//! (an `add` with alpha is one fused multiply-add there, `lerp` too), so f32 and f64 results agree with it;
//! 16-bit parameters are stepped in f32 and rounded once.

use crate::parallel;
use crate::raw::Raw;
use crate::room::{self, or_stop};
use crate::rowmath::{Row, sum1};
use rustnn_base::{Element, Error, Result, dtype::Real, layout, runtime_error};
use rustnn_simd::dispatch;
use smallvec::SmallVec;
use std::marker::PhantomData;

/// Elements of a chunk of work.
const CHUNK: usize = 16_384;

/// One parameter with its gradient and up to three states, as runs of memory of one dtype.
pub struct Job<'a, T> {
    p: *mut T,
    g: *const T,
    state: [*mut T; 3],
    n: usize,
    /// This parameter's step count after this step.
    pub step: f64,
    /// Whether its states begin with this step (SGD's first momentum is the gradient itself).
    pub fresh: bool,
    _life: PhantomData<&'a T>,
}

// SAFETY: a job is the right to write its parameter and states; `new` makes sure they overlap neither each other nor
// the gradient, and `each` hands disjoint ranges to threads.
unsafe impl<T> Sync for Job<'_, T> {}

impl<'a, T: Element> Job<'a, T> {
    /// Checks that all have the parameter's dtype and shape, fill one run of memory in the same order, and do not overlap.
    pub fn new(p: Raw<'a>, g: Raw<'a>, state: [Option<Raw<'a>>; 3], step: f64, fresh: bool) -> Result<Self> {
        let n = p.numel();
        let row_major = p.is_contiguous();
        if !row_major && !layout::is_dense(p.shape(), p.strides()) {
            return Err(runtime_error!("optimizer: a parameter of strides {:?} leaves gaps", p.strides()));
        }
        let all = [Some(p), Some(g), state[0], state[1], state[2]];
        for (i, r) in all.iter().enumerate() {
            let Some(r) = r else { continue };
            r.check_dtype::<T>()?;
            let alike = r.strides() == p.strides() || (row_major && r.is_contiguous());
            if r.shape() != p.shape() || !alike {
                return Err(runtime_error!(
                    "optimizer: a parameter of shape {:?} and strides {:?} has a gradient or state of shape {:?} and strides {:?}",
                    p.shape(),
                    p.strides(),
                    r.shape(),
                    r.strides()
                ));
            }
            let (start, bytes) = (r.ptr::<T>() as usize, n * size_of::<T>());
            for o in all[..i].iter().flatten() {
                let other = o.ptr::<T>() as usize;
                if start < other + bytes && other < start + bytes {
                    return Err(Error::Runtime(
                        "optimizer: a parameter shares memory with its gradient or state".into(),
                    ));
                }
            }
        }
        let at = |i: usize| state[i].map_or(std::ptr::null_mut(), |r: Raw<'a>| r.ptr());
        Ok(Job { p: p.ptr(), g: g.ptr(), state: [at(0), at(1), at(2)], n, step, fresh, _life: PhantomData })
    }

    /// Elements `start..start + len`.
    ///
    /// # Safety
    /// They exist, and nobody else has a chunk of them.
    unsafe fn chunk(&self, job: usize, start: usize, len: usize) -> Chunk<'_, T> {
        // SAFETY: `new` checked lengths and that nothing overlaps; the rest is this function's contract.
        unsafe {
            let s = |k: usize| -> &mut [T] {
                if self.state[k].is_null() {
                    &mut []
                } else {
                    std::slice::from_raw_parts_mut(self.state[k].add(start), len)
                }
            };
            Chunk {
                p: std::slice::from_raw_parts_mut(self.p.add(start), len),
                g: std::slice::from_raw_parts(self.g.add(start), len),
                s: [s(0), s(1), s(2)],
                job,
                step: self.step,
                fresh: self.fresh,
            }
        }
    }
}

/// What a step sees of a chunk. States that the job lacks are empty.
struct Chunk<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    s: [&'a mut [T]; 3],
    /// The job's number.
    job: usize,
    step: f64,
    fresh: bool,
}

/// Runs `f` on every chunk of every job, large tensors cut, small ones together on one thread.
fn each<T: Element>(jobs: &[Job<'_, T>], f: impl Fn(Chunk<'_, T>) + Sync) {
    if jobs.iter().map(|j| j.n).sum::<usize>() <= CHUNK {
        for (i, j) in jobs.iter().enumerate() {
            // SAFETY: the whole job.
            f(unsafe { j.chunk(i, 0, j.n) });
        }
        return;
    }
    // Pieces (job, start, length) and where each task's pieces begin.
    let mut pieces = or_stop(room::with_capacity(jobs.iter().map(|j| j.n.div_ceil(CHUNK)).sum()));
    let mut tasks = vec![0];
    let mut load = 0;
    for (i, j) in jobs.iter().enumerate() {
        for start in (0..j.n).step_by(CHUNK) {
            let len = CHUNK.min(j.n - start);
            if load + len > CHUNK && load > 0 {
                tasks.push(pieces.len());
                load = 0;
            }
            load += len;
            pieces.push((i, start, len));
        }
    }
    tasks.push(pieces.len());
    parallel::for_chunks(tasks.len() - 1, &|t| {
        for &(i, start, len) in &pieces[tasks[t]..tasks[t + 1]] {
            // SAFETY: pieces are disjoint.
            f(unsafe { jobs[i].chunk(i, start, len) });
        }
    });
}

/// Stochastic gradient descent; the state is the momentum buffer.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    pub lr: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub weight_decay: f64,
    pub nesterov: bool,
    pub maximize: bool,
}

/// The gradient with L2 decay added, where there is any.
#[inline(always)]
fn decayed<A: Real>(p: A, g: A, wd: A, any: bool) -> A {
    if any { p.mul_add(wd, g) } else { g }
}

/// One SGD step of all parameters.
pub fn sgd<T: Row>(jobs: &[Job<'_, T>], h: Sgd) {
    let c = |v: f64| T::Acc::from_f64(v);
    let (lr, mom, keep, wd) = (c(-h.lr), c(h.momentum), c(1.0 - h.dampening), c(h.weight_decay));
    let sign = c(if h.maximize { -1.0 } else { 1.0 });
    each(jobs, |k| {
        let n = k.p.len();
        let (p, g) = (&mut k.p[..n], &k.g[..n]);
        let [buf, ..] = k.s;
        // Copies: what the loop reads through a reference it might also write, for all that the compiler knows.
        let (fresh, nesterov, decays) = (k.fresh, h.nesterov, h.weight_decay != 0.0);
        dispatch(
            #[inline(always)]
            || {
                if h.momentum == 0.0 || buf.len() != n {
                    for (p, g) in p.iter_mut().zip(g) {
                        let x = p.to_acc();
                        *p = T::from_acc(decayed(x, sign * g.to_acc(), wd, decays).mul_add(lr, x));
                    }
                    return;
                }
                for ((p, g), b) in p.iter_mut().zip(g).zip(&mut buf[..n]) {
                    let x = p.to_acc();
                    let g = decayed(x, sign * g.to_acc(), wd, decays);
                    let m = if fresh { g } else { g.mul_add(keep, b.to_acc() * mom) };
                    *b = T::from_acc(m);
                    let g = if nesterov { m.mul_add(mom, g) } else { m };
                    *p = T::from_acc(g.mul_add(lr, x));
                }
            },
        );
    });
}

/// Adam and AdamW (`decoupled`); states: mean, mean of squares, with `amsgrad` its maximum.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub amsgrad: bool,
    pub maximize: bool,
    pub decoupled: bool,
}

/// `start + w (end - start)` as PyTorch's `lerp` rounds it.
#[inline(always)]
fn lerp<A: Real>(start: A, end: A, w: A, near_start: bool) -> A {
    let d = end - start;
    if near_start { w.mul_add(d, start) } else { (w - A::ONE).mul_add(d, end) }
}

/// One Adam step of all parameters.
pub fn adam<T: Row>(jobs: &[Job<'_, T>], h: Adam) {
    let c = |v: f64| T::Acc::from_f64(v);
    let (b2, w1, w2, eps, wd) = (c(h.beta2), c(1.0 - h.beta1), c(1.0 - h.beta2), c(h.eps), c(h.weight_decay));
    let shrink = c(1.0 - h.lr * h.weight_decay);
    let near = (1.0 - h.beta1).abs() < 0.5;
    let sign = c(if h.maximize { -1.0 } else { 1.0 });
    let mut factors: SmallVec<[_; 8]> = SmallVec::with_capacity(jobs.len());
    for (i, j) in jobs.iter().enumerate() {
        // Powers take longer than a small parameter does, and mostly all have made as many steps.
        let known = if i > 0 && jobs[i - 1].step == j.step { factors.last().copied() } else { None };
        factors
            .push(known.unwrap_or_else(|| {
                (c(-(h.lr / (1.0 - h.beta1.powf(j.step)))), c((1.0 - h.beta2.powf(j.step)).sqrt()))
            }));
    }
    each(jobs, |k| {
        let n = k.p.len();
        let (step_size, root) = factors[k.job];
        let [m, v, top] = k.s;
        if m.len() != n || v.len() != n || (h.amsgrad && top.len() != n) {
            return;
        }
        let (p, g, m, v) = (&mut k.p[..n], &k.g[..n], &mut m[..n], &mut v[..n]);
        let step = AdamStep { b2, w1, w2, eps, wd, shrink, near, sign, step_size, root };
        // What does not change over the loop is decided outside of it: with the choices inside it stays scalar, and a
        // scalar root and two divisions an element take five times as long.
        if h.amsgrad {
            let top = &mut top[..n];
            dispatch(
                #[inline(always)]
                || {
                    for i in 0..n {
                        let (x, gi) = step.decayed(p[i].to_acc(), g[i].to_acc(), h.weight_decay != 0.0, h.decoupled);
                        let (mi, vi) = step.moments(m[i].to_acc(), v[i].to_acc(), gi);
                        m[i] = T::from_acc(mi);
                        v[i] = T::from_acc(vi);
                        let t = top[i].to_acc();
                        let s = if t > vi { t } else { vi };
                        top[i] = T::from_acc(s);
                        p[i] = T::from_acc(step.moved(x, mi, s));
                    }
                },
            );
            return;
        }
        macro_rules! walk {
            ($decay:literal, $decoupled:literal) => {
                dispatch(
                    #[inline(always)]
                    || {
                        for (((p, g), m), v) in p.iter_mut().zip(g).zip(&mut *m).zip(&mut *v) {
                            let (x, gi) = step.decayed(p.to_acc(), g.to_acc(), $decay, $decoupled);
                            let (mi, vi) = step.moments(m.to_acc(), v.to_acc(), gi);
                            *m = T::from_acc(mi);
                            *v = T::from_acc(vi);
                            *p = T::from_acc(step.moved(x, mi, vi));
                        }
                    },
                )
            };
        }
        match (h.weight_decay != 0.0, h.decoupled) {
            (false, _) => walk!(false, false),
            (true, false) => walk!(true, false),
            (true, true) => walk!(true, true),
        }
    });
}

/// The numbers of one Adam step of one parameter.
#[derive(Clone, Copy)]
struct AdamStep<A> {
    b2: A,
    w1: A,
    w2: A,
    eps: A,
    wd: A,
    shrink: A,
    near: bool,
    sign: A,
    step_size: A,
    root: A,
}

impl<A: Real> AdamStep<A> {
    /// Parameter and gradient after weight decay.
    #[inline(always)]
    fn decayed(&self, x: A, g: A, decay: bool, decoupled: bool) -> (A, A) {
        let g = self.sign * g;
        match (decay, decoupled) {
            (false, _) => (x, g),
            (true, true) => (x * self.shrink, g),
            (true, false) => (x, x.mul_add(self.wd, g)),
        }
    }
    /// The new mean of gradients and of their squares.
    #[inline(always)]
    fn moments(&self, m: A, v: A, g: A) -> (A, A) {
        (lerp(m, g, self.w1, self.near), (self.w2 * g).mul_add(g, v * self.b2))
    }
    #[inline(always)]
    fn moved(&self, x: A, m: A, s: A) -> A {
        let denom = s.sqrt() / self.root + self.eps;
        x + self.step_size * m / denom
    }
}

/// RMSprop; states: mean of squares, momentum buffer, with `centered` the mean gradient.
#[derive(Debug, Clone, Copy)]
pub struct RmsProp {
    pub lr: f64,
    pub alpha: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub momentum: f64,
    pub centered: bool,
    pub maximize: bool,
}

/// One RMSprop step of all parameters.
pub fn rmsprop<T: Row>(jobs: &[Job<'_, T>], h: RmsProp) {
    let c = |v: f64| T::Acc::from_f64(v);
    let (alpha, w, eps, wd, mom, lr) =
        (c(h.alpha), c(1.0 - h.alpha), c(h.eps), c(h.weight_decay), c(h.momentum), c(-h.lr));
    let near = (1.0 - h.alpha).abs() < 0.5;
    let sign = c(if h.maximize { -1.0 } else { 1.0 });
    each(jobs, |k| {
        let n = k.p.len();
        let [sq, buf, mean] = k.s;
        if sq.len() != n || (h.momentum > 0.0 && buf.len() != n) || (h.centered && mean.len() != n) {
            return;
        }
        let (p, g, sq) = (&mut k.p[..n], &k.g[..n], &mut sq[..n]);
        dispatch(
            #[inline(always)]
            || {
                for i in 0..n {
                    let x = p[i].to_acc();
                    let mut gi = sign * g[i].to_acc();
                    if h.weight_decay != 0.0 {
                        gi = x.mul_add(wd, gi);
                    }
                    let s = (w * gi).mul_add(gi, sq[i].to_acc() * alpha);
                    sq[i] = T::from_acc(s);
                    let mut avg = s;
                    if h.centered {
                        let m = lerp(mean[i].to_acc(), gi, w, near);
                        mean[i] = T::from_acc(m);
                        avg = (-m).mul_add(m, s);
                    }
                    let avg = avg.sqrt() + eps;
                    if h.momentum > 0.0 {
                        let b = buf[i].to_acc() * mom + gi / avg;
                        buf[i] = T::from_acc(b);
                        p[i] = T::from_acc(b.mul_add(lr, x));
                    } else {
                        p[i] = T::from_acc(x + lr * gi / avg);
                    }
                }
            },
        );
    });
}

/// Adagrad; the state is the sum of squares.
#[derive(Debug, Clone, Copy)]
pub struct Adagrad {
    pub lr: f64,
    pub lr_decay: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub maximize: bool,
}

/// One Adagrad step of all parameters.
pub fn adagrad<T: Row>(jobs: &[Job<'_, T>], h: Adagrad) {
    let c = |v: f64| T::Acc::from_f64(v);
    let (eps, wd) = (c(h.eps), c(h.weight_decay));
    let sign = c(if h.maximize { -1.0 } else { 1.0 });
    each(jobs, |k| {
        let n = k.p.len();
        let lr = c(-(h.lr / (1.0 + (k.step - 1.0) * h.lr_decay)));
        let [sum, ..] = k.s;
        if sum.len() != n {
            return;
        }
        let (p, g, sum) = (&mut k.p[..n], &k.g[..n], &mut sum[..n]);
        dispatch(
            #[inline(always)]
            || {
                for i in 0..n {
                    let x = p[i].to_acc();
                    let mut gi = sign * g[i].to_acc();
                    if h.weight_decay != 0.0 {
                        gi = x.mul_add(wd, gi);
                    }
                    let s = gi.mul_add(gi, sum[i].to_acc());
                    sum[i] = T::from_acc(s);
                    p[i] = T::from_acc(x + lr * gi / (s.sqrt() + eps));
                }
            },
        );
    });
}

/// The `p`-norm of a slice (`p` may be infinite), from chunk sums in order.
pub fn norm<T: Row>(x: &[T], p: f64) -> f64 {
    let mut parts = or_stop(room::filled(x.len().div_ceil(CHUNK), 0.0f64));
    parallel::for_slices(&mut parts, 1, |i, out| {
        let x = &x[i * CHUNK..x.len().min((i + 1) * CHUNK)];
        out[0] = dispatch(
            #[inline(always)]
            || {
                if p == 2.0 {
                    sum1(x, |v| {
                        let v = v.to_acc();
                        v * v
                    })
                    .to_f64()
                } else if p == 1.0 {
                    sum1(x, |v| v.to_acc().abs()).to_f64()
                } else if p.is_infinite() {
                    x.iter().fold(if p > 0.0 { 0.0 } else { f64::INFINITY }, |m, v| {
                        let v = v.to_f64().abs();
                        if v.is_nan() || (p > 0.0 && v > m) || (p < 0.0 && v < m) { v } else { m }
                    })
                } else if p == 0.0 {
                    x.iter().filter(|v| v.is_true()).count() as f64
                } else {
                    x.iter().map(|v| v.to_f64().abs().powf(p)).sum()
                }
            },
        );
    });
    combine_norms(&parts, p, true)
}

/// The norm of a whole from norms of its parts (or, `raw`, from sums of powers and extremes).
#[must_use]
pub fn combine_norms(parts: &[f64], p: f64, raw: bool) -> f64 {
    if p.is_infinite() {
        let start = if p > 0.0 { 0.0 } else { f64::INFINITY };
        return parts.iter().fold(start, |m, &v| {
            if m.is_nan() || v.is_nan() {
                f64::NAN
            } else if p > 0.0 {
                m.max(v)
            } else {
                m.min(v)
            }
        });
    }
    let sum: f64 = parts.iter().map(|&v| if raw || p == 0.0 { v } else { v.powf(p) }).sum();
    if p == 0.0 {
        sum
    } else if p == 2.0 {
        sum.sqrt()
    } else {
        sum.powf(1.0 / p)
    }
}

/// Multiplies every element by `factor`, rounded to the dtype's arithmetic first.
pub fn scale<T: Row>(x: &mut [T], factor: f64) {
    let f = T::Acc::from_f64(factor);
    parallel::for_slices(x, CHUNK, |_, x| {
        dispatch(
            #[inline(always)]
            || x.iter_mut().for_each(|v| *v = T::from_acc(v.to_acc() * f)),
        );
    });
}

#[cfg(test)]
#[path = "optim_tests.rs"]
mod tests;
