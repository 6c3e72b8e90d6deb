//! Attention against the definition in f64 and finite differences.

use super::*;
use crate::testutil::{near, noise};

struct Case {
    d: Dims,
    causal: bool,
    mask: Option<Vec<f64>>,
    bool_mask: Option<Vec<B8>>,
}

fn naive(c: &Case, q: &[f64], k: &[f64], v: &[f64], scale: f64) -> Vec<f64> {
    let d = c.d;
    let mut out = vec![0.0; d.b * d.h * d.l * d.ev];
    for bh in 0..d.b * d.h {
        let (b, h) = (bh / d.h, bh % d.h);
        let kv = b * d.hk + h / (d.h / d.hk);
        for i in 0..d.l {
            let mut p: Vec<f64> = (0..d.s)
                .map(|j| {
                    let mut x: f64 =
                        (0..d.e).map(|e| q[(bh * d.l + i) * d.e + e] * k[(kv * d.s + j) * d.e + e]).sum::<f64>()
                            * scale;
                    x += c.mask.as_ref().map_or(0.0, |m| m[i * d.s + j]);
                    let hidden = c.causal && j > i || c.bool_mask.as_ref().is_some_and(|m| !m[i * d.s + j].get());
                    if hidden { 0.0 } else { x.exp() }
                })
                .collect();
            let s: f64 = p.iter().sum();
            p.iter_mut().for_each(|p| *p /= if s == 0.0 { 1.0 } else { s });
            for e in 0..d.ev {
                out[(bh * d.l + i) * d.ev + e] = (0..d.s).map(|j| p[j] * v[(kv * d.s + j) * d.ev + e]).sum();
            }
        }
    }
    out
}

fn strides(s: [usize; 4]) -> [isize; 4] {
    [(s[1] * s[2] * s[3]) as isize, (s[2] * s[3]) as isize, s[3] as isize, 1]
}

fn check<T: Math>(c: &Case, tol: f64, grads: bool) {
    let d = c.d;
    let (sq, sk, sv, so) = ([d.b, d.h, d.l, d.e], [d.b, d.hk, d.s, d.e], [d.b, d.hk, d.s, d.ev], [d.b, d.h, d.l, d.ev]);
    let num = |s: [usize; 4]| s.iter().product::<usize>();
    let data = |s: [usize; 4], seed| noise(num(s), seed);
    let (qd, kd, vd, gd) = (data(sq, 1), data(sk, 2), data(sv, 3), data(so, 4));
    let cast = |x: &[f64]| x.iter().map(|v| T::from_f64(*v)).collect::<Vec<T>>();
    let (q, k, v, g) = (cast(&qd), cast(&kd), cast(&vd), cast(&gd));
    let mask = c.mask.as_ref().map(|m| cast(m));
    let (tq, tk, tv, to) = (strides(sq), strides(sk), strides(sv), strides(so));
    let (ms, mt) = ([d.b, d.h, d.l, d.s], [0, 0, d.s as isize, 1]);
    let raw = |x: &[T], s, t| -> Raw<'_> {
        // SAFETY: row-major vectors of this shape; written only where the kernel's contract says so.
        unsafe { Raw::new(x.as_ptr().cast_mut().cast(), T::DTYPE, s, t) }
    };
    let m = match (&mask, &c.bool_mask) {
        (Some(m), _) => Some(raw(m, &ms, &mt)),
        // SAFETY: as above, a bool matrix broadcast over batch and heads.
        (_, Some(m)) => Some(unsafe { Raw::new(m.as_ptr().cast_mut().cast(), DType::Bool, &ms, &mt) }),
        _ => None,
    };
    let mask = Mask { tensor: m, causal: c.causal };
    let zeros = |s| vec![T::ZERO; num(s)];
    let (out, dq, dk, dv) = (zeros(so), zeros(sq), zeros(sk), zeros(sv));
    let mut lse = vec![T::ZERO; d.b * d.h * d.l];
    let (rq, rk, rv) = (raw(&q, &sq, &tq), raw(&k, &sk, &tk), raw(&v, &sv, &tv));
    attention(rq, rk, rv, mask, 0.4, raw(&out, &so, &to), &mut lse).unwrap();
    near(&out, &naive(c, &qd, &kd, &vd, 0.4), tol);
    if !grads {
        return;
    }
    attention_backward(
        raw(&g, &so, &to),
        rq,
        rk,
        rv,
        raw(&out, &so, &to),
        &lse,
        mask,
        0.4,
        raw(&dq, &sq, &tq),
        raw(&dk, &sk, &tk),
        raw(&dv, &sv, &tv),
    )
    .unwrap();
    let dot = |y: Vec<f64>| y.iter().zip(&gd).map(|(a, b)| a * b).sum::<f64>();
    for (which, got) in [&dq, &dk, &dv].into_iter().enumerate() {
        let base = [&qd, &kd, &vd][which];
        for i in (0..got.len()).step_by(got.len() / 40 + 1) {
            let f = |delta: f64| {
                let mut x = base.clone();
                x[i] += delta;
                dot(match which {
                    0 => naive(c, &x, &kd, &vd, 0.4),
                    1 => naive(c, &qd, &x, &vd, 0.4),
                    _ => naive(c, &qd, &kd, &x, 0.4),
                })
            };
            near(&got[i..=i], &[(f(1e-5) - f(-1e-5)) / 2e-5], tol.max(1e-8));
        }
    }
}

#[test]
fn matches_definition() {
    for (b, h, hk, l, s, e, ev) in [
        (1, 2, 2, 5, 5, 4, 4),
        (2, 4, 2, 7, 9, 8, 3),
        (1, 1, 1, 130, 150, 17, 20),
        (1, 2, 1, 1, 200, 8, 8),
        (1, 1, 1, 3, 0, 4, 4),
    ] {
        let d = Dims { b, h, hk, l, s, e, ev };
        for causal in [false, true] {
            for kind in 0..3 {
                let mask = (kind == 1).then(|| noise(l * s, 7));
                // Every third query sees nothing.
                let bool_mask =
                    (kind == 2).then(|| (0..l * s).map(|i| B8::from((i / s) % 3 != 2 && i % 4 != 1)).collect());
                let c = Case { d, causal, mask, bool_mask };
                let grads = l * s < 2000;
                check::<f64>(&c, 1e-11, grads);
                check::<f32>(&c, 1e-5, grads);
            }
        }
    }
    let c =
        Case { d: Dims { b: 1, h: 2, hk: 1, l: 200, s: 140, e: 5, ev: 6 }, causal: true, mask: None, bool_mask: None };
    check::<f64>(&c, 1e-10, true);
}
