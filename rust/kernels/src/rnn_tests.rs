//! Recurrent layers against plain loops in f64 and finite differences, with full and ragged batches.

use super::*;
use crate::packs::Keep;
use crate::rowmath::Math;
use crate::testutil::{near, noise};

struct Net {
    kind: Kind,
    sizes: Vec<usize>,
    n: usize,
    reverse: bool,
    x: Vec<f64>,
    w: Vec<f64>,
    b: Vec<f64>,
    h0: Vec<f64>,
    c0: Vec<f64>,
}

fn sig(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Net {
    fn offsets(&self) -> Vec<usize> {
        self.sizes
            .iter()
            .scan(0, |a, s| {
                let o = *a;
                *a += s;
                Some(o)
            })
            .collect()
    }

    /// Outputs, last h, last c.
    fn run(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (n, g, off) = (self.n, self.kind.gates(), self.offsets());
        let mut out = vec![0.0; self.sizes.iter().sum::<usize>() * n];
        let (mut h, mut c) = (self.h0.clone(), self.c0.clone());
        let steps = self.sizes.len();
        for i in 0..steps {
            let t = if self.reverse { steps - 1 - i } else { i };
            for b in 0..self.sizes[t] {
                let row = off[t] + b;
                let rec = |k: usize, u: usize, h: &[f64]| {
                    self.b[k * n + u] + (0..n).map(|v| self.w[(k * n + u) * n + v] * h[b * n + v]).sum::<f64>()
                };
                let old = h.clone();
                for u in 0..n {
                    let x = |k: usize| self.x[(row * g + k) * n + u];
                    let v = match self.kind {
                        Kind::Lstm => {
                            let p = |k: usize| x(k) + rec(k, u, &old);
                            c[b * n + u] = sig(p(1)) * c[b * n + u] + sig(p(0)) * p(2).tanh();
                            sig(p(3)) * c[b * n + u].tanh()
                        }
                        Kind::Gru => {
                            let (r, z) = (sig(x(0) + rec(0, u, &old)), sig(x(1) + rec(1, u, &old)));
                            let m = (x(2) + r * rec(2, u, &old)).tanh();
                            (1.0 - z) * m + z * old[b * n + u]
                        }
                        Kind::Tanh => (x(0) + rec(0, u, &old)).tanh(),
                        Kind::Relu => (x(0) + rec(0, u, &old)).max(0.0),
                    };
                    h[b * n + u] = v;
                    out[row * n + u] = v;
                }
            }
        }
        (out, h, c)
    }
}

fn net(kind: Kind, sizes: &[usize], n: usize, reverse: bool) -> Net {
    let (rows, batch, g) = (sizes.iter().sum::<usize>(), sizes[0], kind.gates());
    let c = if kind == Kind::Lstm { batch * n } else { 0 };
    Net {
        kind,
        sizes: sizes.to_vec(),
        n,
        reverse,
        x: noise(rows * g * n, 1),
        w: noise(g * n * n, 2).iter().map(|v| v / (n as f64).sqrt()).collect(),
        b: noise(g * n, 3),
        h0: noise(batch * n, 4),
        c0: noise(c, 5),
    }
}

fn check<T: Math>(m: &Net, tol: f64, grads: bool) {
    let cast = |x: &[f64]| x.iter().map(|v| T::from_f64(*v)).collect::<Vec<T>>();
    let (n, g, off) = (m.n, m.kind.gates(), m.offsets());
    let rows = m.sizes.iter().sum::<usize>();
    let l = Layer { kind: m.kind, batch: m.sizes[0], hidden: n, offsets: &off, sizes: &m.sizes, reverse: m.reverse };
    let (mut gates, w, b, mut h, mut c) = (cast(&m.x), cast(&m.w), cast(&m.b), cast(&m.h0), cast(&m.c0));
    let (h0, c0) = (h.clone(), c.clone());
    let place = Place { ld: 2 * n + 1, at: n };
    let mut out = vec![T::ZERO; rows * place.ld];
    let mut cells = vec![T::ZERO; if g > 1 { rows * n } else { 0 }];
    forward(l, &mut gates, (&w, Keep::NOT), Some(&b), &mut h, &mut c, &mut out, place, Some(&mut cells)).unwrap();
    let (wo, wh, wc) = m.run();
    let pick = |x: &[T]| (0..rows).flat_map(|r| x[r * place.ld + n..][..n].to_vec()).collect::<Vec<T>>();
    near(&pick(&out), &wo, tol);
    near(&h, &wh, tol);
    near(&c, &wc, tol);
    if !grads {
        return;
    }
    let (go, gh, gc) = (noise(rows * n, 6), noise(h.len(), 7), noise(c.len(), 8));
    let mut grad_out = vec![T::ZERO; out.len()];
    for r in 0..rows {
        for u in 0..n {
            grad_out[r * place.ld + n + u] = T::from_f64(go[r * n + u]);
        }
    }
    let (mut dh, mut dc) = (cast(&gh), cast(&gc));
    let (mut dg, mut before) = (vec![T::ZERO; rows * g * n], vec![T::ZERO; rows * n]);
    let mut dr = vec![T::ZERO; if m.kind == Kind::Gru { rows * g * n } else { 0 }];
    let k = Kept { gates: &gates, w: &w, h0: &h0, c0: &c0, cells: &cells, out: &out };
    backward(l, k, &grad_out, place, &mut dh, &mut dc, &mut dg, &mut dr, &mut before).unwrap();
    let rec = if m.kind == Kind::Gru { &dr } else { &dg };
    let mut dw = vec![0.0; g * n * n];
    let mut db = vec![0.0; g * n];
    for r in 0..rows {
        for i in 0..g * n {
            db[i] += rec[r * g * n + i].to_f64();
            for j in 0..n {
                dw[i * n + j] += rec[r * g * n + i].to_f64() * before[r * n + j].to_f64();
            }
        }
    }
    let loss = |m: &Net| {
        let (o, h, c) = m.run();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        dot(&o, &go) + dot(&h, &gh) + dot(&c, &gc)
    };
    let slots: [fn(&mut Net) -> &mut Vec<f64>; 5] =
        [|m| &mut m.x, |m| &mut m.w, |m| &mut m.b, |m| &mut m.h0, |m| &mut m.c0];
    let got: [Vec<f64>; 5] = [
        dg.iter().map(|v| v.to_f64()).collect(),
        dw,
        db,
        dh.iter().map(|v| v.to_f64()).collect(),
        dc.iter().map(|v| v.to_f64()).collect(),
    ];
    for (slot, got) in slots.iter().zip(&got) {
        for i in (0..got.len()).step_by(got.len() / 25 + 1) {
            let f = |d: f64| {
                let mut m = Net {
                    sizes: m.sizes.clone(),
                    x: m.x.clone(),
                    w: m.w.clone(),
                    b: m.b.clone(),
                    h0: m.h0.clone(),
                    c0: m.c0.clone(),
                    ..*m
                };
                slot(&mut m)[i] += d;
                loss(&m)
            };
            near(&got[i..=i], &[(f(1e-5) - f(-1e-5)) / 2e-5], tol.max(1e-7));
        }
    }
}

#[test]
fn matches_plain_loops() {
    for kind in [Kind::Lstm, Kind::Gru, Kind::Tanh, Kind::Relu] {
        for reverse in [false, true] {
            for (sizes, n) in [(vec![2, 2, 2], 3), (vec![7, 5, 5, 1], 17), (vec![1], 16), (vec![14, 13, 2], 5)] {
                let m = net(kind, &sizes, n, reverse);
                check::<f64>(&m, 1e-11, true);
                check::<f32>(&m, 2e-5, false);
            }
            check::<f64>(&net(kind, &[60, 60, 50], 40, reverse), 1e-11, false);
            // Weights so large that tasks own units, for one row, some, and more than a tile's; few rows in all.
            let n = [0, 261, 0, 149, 131][kind.gates()];
            for sizes in [vec![1; 9], vec![4, 3, 2], vec![130, 70, 3], vec![2, 1]] {
                check::<f64>(&net(kind, &sizes, n, reverse), 1e-11, sizes[0] < 5 && !reverse);
                check::<f32>(&net(kind, &sizes, n, reverse), 2e-5, false);
            }
        }
    }
}

/// Everything the forward pass gives, as bits.
fn bits(m: &Net, keep: bool) -> Vec<u32> {
    let cast = |x: &[f64]| x.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let (n, off) = (m.n, m.offsets());
    let rows = m.sizes.iter().sum::<usize>();
    let l =
        Layer { kind: m.kind, batch: m.h0.len() / n, hidden: n, offsets: &off, sizes: &m.sizes, reverse: m.reverse };
    let (mut gates, w, b, mut h, mut c) = (cast(&m.x), cast(&m.w), cast(&m.b), cast(&m.h0), cast(&m.c0));
    let given = gates.clone();
    let mut out = vec![0.0; rows * (n + 3)];
    let mut cells = vec![0.0; rows * cells_len(m.kind, n)];
    let place = Place { ld: n + 3, at: 2 };
    let kept = if keep { Some(&mut cells[..]) } else { None };
    forward(l, &mut gates, (&w, Keep::NOT), Some(&b), &mut h, &mut c, &mut out, place, kept).unwrap();
    assert!(keep || gates == given, "nothing is written that nobody asked for");
    out.iter().chain(&h).chain(&c).map(|v| v.to_bits()).collect()
}

#[test]
fn what_is_kept_and_who_works_changes_no_bit() {
    let threads = crate::parallel::num_threads();
    for kind in [Kind::Lstm, Kind::Gru, Kind::Tanh, Kind::Relu] {
        for reverse in [false, true] {
            for n in [1, 5, 16, 33, 70, 200, 264] {
                for sizes in [vec![1; 12], vec![3; 2], vec![20, 20, 11, 3], vec![60; 3], vec![2, 1, 0]] {
                    let m = net(kind, &sizes, n, reverse);
                    let want = bits(&m, true);
                    for threads in [1, 2] {
                        crate::parallel::set_num_threads(threads);
                        assert_eq!(bits(&m, false), want, "{kind:?} {n} {sizes:?} {reverse}, {threads} threads");
                        assert_eq!(bits(&m, true), want, "{kind:?} {n} {sizes:?} {reverse}, {threads} threads");
                    }
                }
            }
        }
    }
    crate::parallel::set_num_threads(threads);
}

#[test]
fn rows_that_take_part_in_no_step_keep_their_state() {
    for (kind, reverse) in [(Kind::Lstm, false), (Kind::Gru, true)] {
        let mut m = net(kind, &[3, 2], 5, reverse);
        m.h0.extend([0.25; 5]);
        let kept = if kind == Kind::Lstm { 5 } else { 0 };
        m.c0.extend(vec![0.5; kept]);
        let got = bits(&m, false);
        let end = got.len() - m.c0.len();
        assert!(got[end - 5..end].iter().all(|v| *v == 0.25f32.to_bits()));
        assert!(got[got.len() - kept..].iter().all(|v| *v == 0.5f32.to_bits()));
    }
}

#[test]
fn sizes_are_checked() {
    let l = Layer { kind: Kind::Tanh, batch: 2, hidden: 1, offsets: &[0, 1], sizes: &[1, 2], reverse: false };
    let p = Place { ld: 1, at: 0 };
    assert!(
        forward(l, &mut [0.0; 3], (&[0.0], Keep::NOT), None, &mut [0.0; 2], &mut [], &mut [0.0; 3], p, Some(&mut []))
            .is_err()
    );
}
