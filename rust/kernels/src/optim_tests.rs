//! Optimizer steps against the textbook formulas in f64.

use super::*;
use crate::testutil::{near, noise};
use rustnn_base::bf16;

fn raw<'a, T: Element>(x: &'a [T], shape: &'a [usize; 1]) -> Raw<'a> {
    // SAFETY: a contiguous vector that outlives the window; written through it only by the job under test.
    unsafe { Raw::new(x.as_ptr().cast_mut().cast(), T::DTYPE, shape, &[1]) }
}

/// Runs `steps` steps of `run` on a parameter of `n` elements and the same of `naive` per element.
fn check<T: Row>(n: usize, tol: f64, run: impl Fn(&[Job<'_, T>]), naive: impl Fn(f64, f64, &mut [f64; 3], f64) -> f64) {
    let shape = [n];
    let mut s: Vec<Vec<T>> = (0..3).map(|_| vec![T::default(); n]).collect();
    let mut p: Vec<T> = noise(n, 1).iter().map(|v| T::from_f64(*v)).collect();
    let mut want: Vec<f64> = p.iter().map(|v| v.to_f64()).collect();
    let mut state = vec![[0.0; 3]; n];
    for step in 1..=4 {
        let g: Vec<T> = noise(n, 10 + step).iter().map(|v| T::from_f64(*v)).collect();
        {
            let st = [Some(raw(&s[0], &shape)), Some(raw(&s[1], &shape)), Some(raw(&s[2], &shape))];
            run(&[Job::new(raw(&p, &shape), raw(&g, &shape), st, step as f64, step == 1).unwrap()]);
        }
        for i in 0..n {
            want[i] = naive(want[i], g[i].to_f64(), &mut state[i], step as f64);
        }
    }
    near(&p, &want, tol);
    p.clear();
    s.clear();
}

#[test]
fn sgd_follows_the_formula() {
    for (momentum, dampening, nesterov, wd, maximize) in [
        (0.0, 0.0, false, 0.0, false),
        (0.9, 0.0, false, 0.0, true),
        (0.9, 0.3, false, 0.1, false),
        (0.8, 0.0, true, 0.1, false),
    ] {
        let h = Sgd { lr: 0.1, momentum, dampening, weight_decay: wd, nesterov, maximize };
        let naive = |p: f64, g: f64, s: &mut [f64; 3], step: f64| {
            let g = if maximize { -g } else { g } + wd * p;
            s[0] = if step == 1.0 { g } else { momentum * s[0] + (1.0 - dampening) * g };
            let d = if momentum == 0.0 {
                g
            } else if nesterov {
                g + momentum * s[0]
            } else {
                s[0]
            };
            p - 0.1 * d
        };
        check::<f64>(40_000, 1e-13, |j| sgd(j, h), naive);
        check::<f32>(37, 1e-5, |j| sgd(j, h), naive);
        check::<bf16>(37, 3e-2, |j| sgd(j, h), naive);
    }
}

#[test]
fn adam_follows_the_formula() {
    for (wd, amsgrad, decoupled, maximize) in
        [(0.0, false, false, false), (0.1, false, false, true), (0.1, true, true, false), (0.0, true, false, false)]
    {
        let h = Adam { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: wd, amsgrad, maximize, decoupled };
        let naive = |p: f64, g: f64, s: &mut [f64; 3], step: f64| {
            let mut g = if maximize { -g } else { g };
            let mut p = p;
            if decoupled {
                p -= 0.1 * wd * p;
            } else {
                g += wd * p;
            }
            s[0] = 0.9 * s[0] + 0.1 * g;
            s[1] = 0.99 * s[1] + 0.01 * g * g;
            s[2] = s[2].max(s[1]);
            let v = if amsgrad { s[2] } else { s[1] } / (1.0 - 0.99f64.powf(step));
            p - 0.1 * s[0] / (1.0 - 0.9f64.powf(step)) / (v.sqrt() + 1e-8)
        };
        check::<f64>(20_000, 1e-12, |j| adam(j, h), naive);
        check::<f32>(37, 1e-4, |j| adam(j, h), naive);
    }
}

#[test]
fn rmsprop_and_adagrad_follow_the_formulas() {
    for (momentum, centered) in [(0.0, false), (0.9, false), (0.5, true), (0.0, true)] {
        let h = RmsProp { lr: 0.01, alpha: 0.9, eps: 1e-3, weight_decay: 0.1, momentum, centered, maximize: false };
        check::<f64>(
            33,
            1e-11,
            |j| rmsprop(j, h),
            |p, g, s, _| {
                let g = g + 0.1 * p;
                s[0] = 0.9 * s[0] + 0.1 * g * g;
                s[2] = 0.9 * s[2] + 0.1 * g;
                let a = if centered { s[0] - s[2] * s[2] } else { s[0] };
                s[1] = momentum * s[1] + g / (a.sqrt() + 1e-3);
                p - 0.01 * if momentum > 0.0 { s[1] } else { g / (a.sqrt() + 1e-3) }
            },
        );
    }
    let h = Adagrad { lr: 0.1, lr_decay: 0.2, eps: 1e-10, weight_decay: 0.1, maximize: false };
    check::<f64>(
        33,
        1e-12,
        |j| adagrad(j, h),
        |p, g, s, step| {
            let g = g + 0.1 * p;
            s[0] += g * g;
            p - 0.1 / (1.0 + (step - 1.0) * 0.2) * g / (s[0].sqrt() + 1e-10)
        },
    );
}

#[test]
fn norms_and_scaling() {
    let mut x = noise(50_000, 3);
    for p in [1.0, 2.0, 3.0, f64::INFINITY] {
        let want = if p.is_infinite() {
            x.iter().fold(0.0f64, |m, v| m.max(v.abs()))
        } else {
            x.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(1.0 / p)
        };
        assert!((norm(&x, p) - want).abs() < 1e-9 * want);
    }
    assert_eq!(combine_norms(&[3.0, 4.0], 2.0, false), 5.0);
    assert!(norm(&[f32::NAN, 1.0], f64::INFINITY).is_nan() && norm(&[f32::NAN], 2.0).is_nan());
    assert_eq!(norm::<f32>(&[], 2.0), 0.0);
    let want: Vec<f64> = x.iter().map(|v| v * 0.5).collect();
    scale(&mut x, 0.5);
    assert_eq!(x, want);
}

#[test]
fn overlap_is_refused() {
    let x = [1.0f32; 8];
    let (a, b) = ([6usize], [6usize]);
    let r = raw(&x[..6], &a);
    assert!(Job::<f32>::new(r, raw(&x[2..], &b), [None; 3], 1.0, true).is_err());
}
