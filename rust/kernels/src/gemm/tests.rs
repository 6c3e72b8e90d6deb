//! Every way of multiplying against plain f64 loops, on every instruction set.

use super::*;
use crate::packs::Packs;

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut s = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        })
        .collect()
}

fn check<T: Gemm>(batch: usize, m: usize, n: usize, k: usize, ta: bool, tb: bool, beta: f64, bias: bool) {
    let a: Vec<T> = random(batch * m * k, 1).into_iter().map(T::from_f64).collect();
    let b: Vec<T> = random(batch * k * n, 2).into_iter().map(T::from_f64).collect();
    let c0: Vec<T> = random(batch * m * n, 3).into_iter().map(T::from_f64).collect();
    let v: Vec<T> = random(n, 4).into_iter().map(T::from_f64).collect();
    let alpha = if beta == 0.5 { 2.0 } else { 1.0 };
    let sa = [batch, m, k];
    let sb = [batch, k, n];
    let sc = [batch, m, n];
    let (m_, n_, k_) = (m as isize, n as isize, k as isize);
    let stra = if ta { [m_ * k_, 1, m_] } else { [m_ * k_, k_, 1] };
    let strb = if tb { [n_ * k_, 1, k_] } else { [n_ * k_, n_, 1] };
    let mut first: Option<Vec<T>> = None;
    for isa in Isa::available() {
        for threads in [1, 2] {
            crate::parallel::set_num_threads(threads);
            let packs = Packs::default();
            // Packed each time, then noted, kept and used.
            for round in 0..if threads == 2 && beta == 0.0 { 4 } else { 1 } {
                let keep = if round == 0 { Keep::NOT } else { Keep::new(&packs, 0) };
                let mut c = c0.clone();
                // SAFETY: shapes and strides match the vectors.
                unsafe {
                    let raw = |p: *const T, s, t| Raw::new(p.cast_mut().cast(), T::DTYPE, s, t);
                    let ep =
                        Epilogue { alpha, beta, bias: bias.then(|| raw(v.as_ptr(), std::slice::from_ref(&n), &[1])) };
                    let out = Raw::new(c.as_mut_ptr().cast(), T::DTYPE, &sc, &[1, 1, 1]);
                    let strides = [m_ * n_, n_, 1];
                    let out = Raw::new(out.ptr(), T::DTYPE, &sc, &strides);
                    let (ra, rb) = (raw(a.as_ptr(), &sa, &stra), raw(b.as_ptr(), &sb, &strb));
                    float::<T>(ra.kept(keep), rb.kept(keep), out, &ep, isa).unwrap();
                }
                match &first {
                    None => first = Some(c),
                    Some(f) => {
                        let same = f.iter().zip(&c).all(|(x, y)| x.to_f64().to_bits() == y.to_f64().to_bits());
                        assert!(same, "{isa:?} {threads} {round} differ at {batch}x{m}x{n}x{k} {ta} {tb}");
                    }
                }
            }
        }
    }
    let c = first.unwrap();
    for i in 0..batch {
        for x in 0..m {
            for y in 0..n {
                let (mut want, mut size) = (0.0, 0.0);
                for z in 0..k {
                    let p = a[i * m * k + if ta { z * m + x } else { x * k + z }].to_f64();
                    let q = b[i * k * n + if tb { y * k + z } else { z * n + y }].to_f64();
                    want += p * q;
                    size += (p * q).abs();
                }
                let at = (i * m + x) * n + y;
                want = alpha * want + beta * c0[at].to_f64() + if bias { v[y].to_f64() } else { 0.0 };
                let bound = (alpha * size + 4.0) * T::EPS.to_f64() * 4.0;
                assert!(
                    (c[at].to_f64() - want).abs() <= bound,
                    "{batch}x{m}x{n}x{k} {ta} {tb} {beta} {bias} at {at}: {} {want} {bound}",
                    c[at].to_f64()
                );
            }
        }
    }
}

#[test]
fn agrees_with_plain_loops() {
    let sizes = [
        (1, 1, 1),
        (1, 70, 9),
        (1, 300, 33),
        (7, 5, 3),
        (6, 16, 8),
        (13, 33, 1),
        (4, 3, 100),
        (8, 40, 515),
        (50, 1, 77),
        (65, 63, 64),
        (100, 50, 30),
        (97, 130, 300),
        (200, 17, 520),
        (30, 300, 260),
        (5, 1000, 40),
        (129, 97, 513),
        (3, 5, 0),
        (520, 300, 70),
        // Short sums, one step, long rows, rows far apart.
        (9, 40, 3),
        (40, 9, 15),
        (12, 640, 4),
        (8, 100, 7),
        (4, 9, 15),
        (33, 70, 1),
        (1, 5000, 70),
        (1, 2049, 5),
        (3, 1100, 130),
        (2, 2050, 67),
        (12, 2050, 1101),
    ];
    for (m, n, k) in sizes {
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            check::<f32>(1, m, n, k, ta, tb, 0.0, false);
            check::<f64>(1, m, n, k, ta, tb, 0.0, true);
            check::<f32>(1, m, n, k, ta, tb, 0.0, true);
            check::<f32>(1, m, n, k, ta, tb, 1.0, false);
            check::<f32>(1, m, n, k, ta, tb, 0.5, false);
        }
    }
}

#[test]
fn batches() {
    for (batch, m, n, k) in [(2, 3, 4, 5), (9, 20, 30, 10), (3, 90, 100, 60), (20, 1, 7, 3)] {
        check::<f32>(batch, m, n, k, false, false, 0.0, false);
        check::<f64>(batch, m, n, k, false, true, 1.0, false);
        check::<f32>(batch, m, n, k, true, true, 0.0, true);
    }
}

#[test]
fn integers_and_halves() {
    let a: Vec<i32> = vec![1, 2, 3, 4, 5, 6];
    let mut c = [0i32; 4];
    // SAFETY: shapes and strides match the arrays.
    unsafe {
        let ra = Raw::new(a.as_ptr().cast_mut().cast(), DType::I32, &[2, 3], &[3, 1]);
        let rb = Raw::new(a.as_ptr().cast_mut().cast(), DType::I32, &[3, 2], &[1, 3]);
        matmul(ra, rb, Raw::new(c.as_mut_ptr().cast(), DType::I32, &[2, 2], &[2, 1]), &Epilogue::default()).unwrap();
    }
    assert_eq!(c, [14, 32, 32, 77]);
    let h: Vec<bf16> = (0..6).map(|i| bf16::from_f32(i as f32)).collect();
    let mut o = [bf16::ZERO; 9];
    // SAFETY: as above.
    unsafe {
        let ra = Raw::new(h.as_ptr().cast_mut().cast(), DType::BF16, &[3, 2], &[1, 3]);
        let rb = Raw::new(h.as_ptr().cast_mut().cast(), DType::BF16, &[2, 3], &[3, 1]);
        matmul(ra, rb, Raw::new(o.as_mut_ptr().cast(), DType::BF16, &[3, 3], &[3, 1]), &Epilogue::default()).unwrap();
    }
    assert_eq!(o.map(f32::from), [9., 12., 15., 12., 17., 22., 15., 22., 29.]);
}
