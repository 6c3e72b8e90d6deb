//! Reductions against naive loops in double precision.

use super::*;
use rustnn_base::{B8, bf16, layout::contiguous_strides};

fn raw<'a, E: Element>(data: &'a [E], shape: &'a [usize], strides: &'a [isize]) -> Raw<'a> {
    // SAFETY: the tests' strides stay inside `data`.
    unsafe { Raw::new(data.as_ptr() as *mut u8, E::DTYPE, shape, strides) }
}

fn to<'a, E: Element>(data: &'a mut [E], shape: &'a [usize], strides: &'a [isize]) -> Raw<'a> {
    // SAFETY: as above, and nobody else has the data.
    unsafe { Raw::new(data.as_mut_ptr().cast(), E::DTYPE, shape, strides) }
}

/// Reduces over the dimensions of `mask`; both ways.
fn check(op: Reduce, shape: &[usize], strides: &[isize], mask: u32, naive: impl Fn(&[f64]) -> f64, tolerance: f64) {
    let last: isize = shape.iter().zip(strides).map(|(&d, &s)| (d.max(1) as isize - 1) * s).sum();
    let data: Vec<f32> = (0..=last as usize).map(|i| ((i * 7919 % 1009) as f32) * 0.003 - 1.2).collect();
    let kept: Vec<usize> = (0..shape.len()).map(|d| if mask >> d & 1 == 1 { 1 } else { shape[d] }).collect();
    let ks = contiguous_strides(&kept);
    let outputs: usize = kept.iter().product();
    let mut groups = vec![Vec::new(); outputs];
    for flat in 0..shape.iter().product() {
        let (mut rest, mut off, mut to) = (flat, 0isize, 0isize);
        for d in (0..shape.len()).rev() {
            let i = (rest % shape[d]) as isize;
            rest /= shape[d];
            off += i * strides[d];
            to += if mask >> d & 1 == 1 { 0 } else { i * ks[d] };
        }
        groups[to as usize].push(f64::from(data[off as usize]));
    }
    let mut out = vec![0f32; outputs];
    reduce(op, &to(&mut out, &kept, &ks), &raw(&data, shape, strides)).unwrap();
    for (o, g) in groups.iter().enumerate() {
        let want = naive(g);
        let got = f64::from(out[o]);
        assert!(
            got == want || (got - want).abs() <= tolerance * (1.0 + want.abs()) || (got.is_nan() && want.is_nan()),
            "{op:?} {shape:?} {strides:?} mask {mask:b} at {o}: {got}, not {want}"
        );
    }
    // The same result in double precision from double input.
    let wide: Vec<f64> = data.iter().map(|v| f64::from(*v)).collect();
    let mut out = vec![0f64; outputs];
    reduce(op, &to(&mut out, &kept, &ks), &raw(&wide, shape, strides)).unwrap();
    for (o, g) in groups.iter().enumerate() {
        assert!(
            out[o] == naive(g)
                || (out[o] - naive(g)).abs() <= 1e-11 * (1.0 + naive(g).abs())
                || (out[o].is_nan() && naive(g).is_nan())
        );
    }
}

#[test]
fn every_reduction_over_every_dimension() {
    let shapes: &[&[usize]] =
        &[&[], &[1], &[7], &[5000], &[3, 5], &[40, 700], &[700, 40], &[2, 3, 4, 5], &[0, 3], &[200, 3], &[65, 1, 33]];
    for &shape in shapes {
        let dense = contiguous_strides(shape).to_vec();
        let mut swapped = dense.clone();
        let mut step = 1;
        for d in 0..shape.len() {
            swapped[d] = step;
            step *= shape[d].max(1) as isize;
        }
        let wide: Vec<isize> = dense.iter().map(|s| s * 2).collect();
        for strides in [&dense, &swapped, &wide] {
            for mask in 0..1u32 << shape.len() {
                let n = |g: &[f64]| g.len() as f64;
                let var = |g: &[f64], c: f64| {
                    let m = g.iter().sum::<f64>() / n(g);
                    g.iter().map(|v| (v - m) * (v - m)).sum::<f64>() / (n(g) - c).max(0.0)
                };
                check(Reduce::Sum, shape, strides, mask, |g| g.iter().sum(), 2e-6);
                check(Reduce::Mean, shape, strides, mask, |g| g.iter().sum::<f64>() / n(g), 1e-6);
                check(Reduce::Max, shape, strides, mask, |g| g.iter().copied().fold(f64::NEG_INFINITY, f64::max), 0.0);
                check(Reduce::Min, shape, strides, mask, |g| g.iter().copied().fold(f64::INFINITY, f64::min), 0.0);
                check(Reduce::Norm(2.0), shape, strides, mask, |g| g.iter().map(|v| v * v).sum::<f64>().sqrt(), 1e-6);
                check(
                    Reduce::Norm(3.0),
                    shape,
                    strides,
                    mask,
                    |g| g.iter().map(|v| v.abs().powi(3)).sum::<f64>().cbrt(),
                    1e-6,
                );
                check(Reduce::LogSumExp, shape, strides, mask, |g| g.iter().map(|v| v.exp()).sum::<f64>().ln(), 1e-6);
                check(Reduce::Var(1.0), shape, strides, mask, |g| var(g, 1.0), 2e-6);
            }
        }
    }
}

#[test]
fn sums_of_many_are_accurate_and_specials_come_through() {
    let n = 3_000_000;
    let x = vec![0.1f32; n];
    let mut out = [0f32];
    reduce(Reduce::Sum, &to(&mut out, &[1], &[1]), &raw(&x, &[n], &[1])).unwrap();
    let error = f64::from(out[0]) - n as f64 * f64::from(0.1f32);
    assert!(error.abs() < 0.1, "{error}");
    let y = [1.0f32, f32::NAN, 3.0];
    reduce(Reduce::Max, &to(&mut out, &[1], &[1]), &raw(&y, &[3], &[1])).unwrap();
    assert!(out[0].is_nan());
    reduce(Reduce::NanSum, &to(&mut out, &[1], &[1]), &raw(&y, &[3], &[1])).unwrap();
    assert_eq!(out[0], 4.0);
    let z = [f32::NEG_INFINITY; 3];
    reduce(Reduce::LogSumExp, &to(&mut out, &[1], &[1]), &raw(&z, &[3], &[1])).unwrap();
    assert_eq!(out[0], f32::NEG_INFINITY);
    let far: Vec<f32> = (0..1000).map(|i| 10_000.0 + (i % 2) as f32 * 0.5).collect();
    reduce(Reduce::Var(0.0), &to(&mut out, &[1], &[1]), &raw(&far, &[1000], &[1])).unwrap();
    assert!((out[0] - 0.0625).abs() < 1e-7, "{}", out[0]);
}

#[test]
fn integers_bools_and_halves() {
    let x: Vec<i32> = (0..10_000).map(|i| i - 5).collect();
    let mut s = [0i64];
    reduce(Reduce::Sum, &to(&mut s, &[1], &[1]), &raw(&x, &[10_000], &[1])).unwrap();
    assert_eq!(s[0], 49_995_000 - 50_000);
    let mut b = [B8::from(true)];
    reduce(Reduce::All, &to(&mut b, &[1], &[1]), &raw(&x, &[10_000], &[1])).unwrap();
    assert!(!b[0].get());
    reduce(Reduce::Any, &to(&mut b, &[1], &[1]), &raw(&x, &[10_000], &[1])).unwrap();
    assert!(b[0].get());
    reduce(Reduce::CountNonzero, &to(&mut s, &[1], &[1]), &raw(&x, &[10_000], &[1])).unwrap();
    assert_eq!(s[0], 9999);
    let h: Vec<bf16> = (0..4096).map(|_| bf16::from_f32(1.0)).collect();
    let mut o = [bf16::ZERO];
    reduce(Reduce::Sum, &to(&mut o, &[1], &[1]), &raw(&h, &[4096], &[1])).unwrap();
    assert_eq!(o[0].to_f32(), 4096.0);
}

#[test]
fn places_of_extremes() {
    let x: Vec<f32> = (0..3 * 1500).map(|i| ((i * 7919) % 1499) as f32).collect();
    for (shape, strides, dim) in
        [([3usize, 1500], [1500isize, 1], 1usize), ([1500, 3], [3, 1], 0), ([1500, 3], [1, 1500], 0)]
    {
        let kept = [if dim == 0 { 1 } else { shape[0] }, if dim == 1 { 1 } else { shape[1] }];
        let ks = contiguous_strides(&kept);
        let (mut v, mut p) = (vec![0f32; 3], vec![0i64; 3]);
        arg_reduce(Best::Max, Some(&to(&mut v, &kept, &ks)), &to(&mut p, &kept, &ks), &raw(&x, &shape, &strides), dim)
            .unwrap();
        for o in 0..3 {
            let line: Vec<f32> =
                (0..1500).map(|i| x[(o as isize * strides[1 - dim] + i as isize * strides[dim]) as usize]).collect();
            let want = line.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(v[o], want);
            assert_eq!(p[o], line.iter().position(|&a| a == want).unwrap() as i64);
        }
    }
    let y = [3.0f64, f64::NAN, 9.0, f64::NAN];
    let mut p = [0i64];
    arg_reduce(Best::Min, None, &to(&mut p, &[1], &[1]), &raw(&y, &[4], &[1]), 0).unwrap();
    assert_eq!(p[0], 1);
}

#[test]
fn scans() {
    use crate::scan::{Scan, scan, scan_extreme};
    let x = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let mut d = [0f32; 6];
    scan(Scan::Sum, &to(&mut d, &[2, 3], &[3, 1]), &raw(&x, &[2, 3], &[3, 1]), 0).unwrap();
    assert_eq!(d, [1.0, 2.0, 3.0, 5.0, 7.0, 9.0]);
    scan(Scan::Prod, &to(&mut d, &[2, 3], &[3, 1]), &raw(&x, &[2, 3], &[1, 2]), 1).unwrap();
    assert_eq!(d, [1.0, 3.0, 15.0, 2.0, 8.0, 48.0]);
    let mut p = [0i64; 6];
    let y = [2i32, 1, 2, 5, 5, 3];
    let mut v = [0i32; 6];
    scan_extreme(Best::Max, &to(&mut v, &[6], &[1]), &to(&mut p, &[6], &[1]), &raw(&y, &[6], &[1]), 0).unwrap();
    assert_eq!((v, p), ([2, 2, 2, 5, 5, 5], [0, 0, 2, 3, 4, 4]));
}
