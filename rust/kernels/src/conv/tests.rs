//! Convolutions against plain f64 loops, on every instruction set and with one and two threads.

use super::*;
use crate::packs::Packs;
use std::ops::Range;

pub(super) fn random<T: Gemm>(n: usize, seed: u64) -> Vec<T> {
    let mut s = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            T::from_f64((s >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
        })
        .collect()
}

/// Calls `f(input index, weight index, output index)` for every product of the convolution.
pub(super) fn each(geo: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let (taps, ip, op) = (geo.taps(), geo.in_plane(), geo.out_plane());
    let a = &geo.axes;
    let split = |i: usize, s: [usize; 3]| [i / (s[1] * s[2]), i / s[2] % s[1], i % s[2]];
    for n in 0..geo.batch {
        for g in 0..geo.groups {
            for m in 0..geo.cout {
                for c in 0..geo.cin {
                    for q in 0..op {
                        let o = split(q, sizes(geo, |a| a.output));
                        for t in 0..taps {
                            let k = split(t, sizes(geo, |a| a.kernel));
                            let x: [isize; 3] = std::array::from_fn(|d| {
                                (o[d] * a[d].stride + k[d] * a[d].dilation) as isize - a[d].padding as isize
                            });
                            if (0..3).all(|d| x[d] >= 0 && (x[d] as usize) < a[d].input) {
                                let at = (x[0] as usize * a[1].input + x[1] as usize) * a[2].input + x[2] as usize;
                                f(
                                    ((n * geo.groups + g) * geo.cin + c) * ip + at,
                                    ((g * geo.cout + m) * geo.cin + c) * taps + t,
                                    ((n * geo.groups + g) * geo.cout + m) * op + q,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn close<T: Gemm>(got: &[T], want: &[f64], size: &[f64], what: &str) {
    for i in 0..got.len() {
        let bound = (size[i] + 1.0) * T::EPS.to_f64() * 8.0;
        assert!((got[i].to_f64() - want[i]).abs() <= bound, "{what} at {i}: {} for {}", got[i].to_f64(), want[i]);
    }
}

/// What [`told_of`] makes of outputs.
fn change<T: Gemm>(v: T, plane: usize) -> T {
    T::from_f64(-2.0) * v + T::from_f64(plane as f64)
}

pub(super) fn changed<T: Gemm>(y: &[T], plane: usize) -> Vec<T> {
    y.iter().enumerate().map(|(i, &v)| change(v, i / plane)).collect()
}

/// The forward pass, its outputs changed in place as soon as they are told of.
pub(super) fn told_of<T: Gemm>(geo: &Geometry, x: &[T], w: (&[T], Keep), bias: &[T], isa: Isa) -> Vec<T> {
    let n = geo.batch * geo.groups * geo.cout * geo.out_plane();
    let mut y = vec![T::from_f64(f64::NAN); n];
    let at = SendPtr(y.as_mut_ptr());
    let told = |planes: Range<usize>, places: Range<usize>| {
        assert!(planes.end <= n / geo.out_plane() && places.end <= geo.out_plane());
        for plane in planes {
            for i in places.clone() {
                // SAFETY: an output, which is this thread's until it returns.
                unsafe {
                    let v = at.get().add(plane * geo.out_plane() + i);
                    *v = change(*v, plane);
                }
            }
        }
    };
    forward_of(*geo, x, w, Some(bias), &mut y, Some(&told), isa).unwrap();
    y
}

fn check<T: Gemm>(input: &[usize], weight: &[usize], stride: usize, padding: usize, dilation: usize, groups: usize) {
    let nd = input.len() - 2;
    let p = ConvParams { stride: vec![stride; nd], padding: vec![padding; nd], dilation: vec![dilation; nd], groups };
    let mut output = vec![input[0], weight[0]];
    for d in 0..nd {
        output.push((input[d + 2] + 2 * padding - dilation * (weight[d + 2] - 1) - 1) / stride + 1);
    }
    let geo = Geometry::new(input, weight, &output, &p).unwrap();
    let numel = |s: &[usize]| s.iter().product::<usize>();
    let x = random::<T>(numel(input), 1);
    let w = random::<T>(numel(weight), 2);
    let dy = random::<T>(numel(&output), 3);
    let (bo, bi) = (random::<T>(geo.groups * geo.cout, 4), random::<T>(geo.groups * geo.cin, 5));
    let zeros = |n: usize| (vec![0.0f64; n], vec![0.0f64; n]);
    let (mut y, mut dx, mut dw) = (zeros(dy.len()), zeros(x.len()), zeros(w.len()));
    each(&geo, |i, j, o| {
        for (t, at, v) in [
            (&mut y, o, x[i].to_f64() * w[j].to_f64()),
            (&mut dx, i, dy[o].to_f64() * w[j].to_f64()),
            (&mut dw, j, dy[o].to_f64() * x[i].to_f64()),
        ] {
            t.0[at] += v;
            t.1[at] += v.abs();
        }
    });
    for (i, v) in y.0.iter_mut().enumerate() {
        *v += bo[i / geo.out_plane() % bo.len()].to_f64();
    }
    for (i, v) in dx.0.iter_mut().enumerate() {
        *v += bi[i / geo.in_plane() % bi.len()].to_f64();
    }
    let mut first: Option<(Vec<T>, Vec<T>, Vec<T>)> = None;
    for isa in Isa::available() {
        for threads in [1, 2] {
            crate::parallel::set_num_threads(threads);
            let nan = T::from_f64(f64::NAN);
            let mut got = (vec![nan; dy.len()], vec![nan; x.len()], vec![nan; w.len()]);
            forward_of(geo, &x, (&w, Keep::NOT), Some(&bo), &mut got.0, None, isa).unwrap();
            let told = told_of(&geo, &x, (&w, Keep::NOT), &bo, isa);
            assert!(
                told == changed(&got.0, geo.out_plane()),
                "not told once of each output: {isa:?} {input:?} {weight:?}"
            );
            grad_input_of(geo, &dy, (&w, Keep::NOT), Some(&bi), &mut got.1, isa).unwrap();
            grad_weight_of(geo, &dy, &x, &mut got.2, isa).unwrap();
            // From copies that are kept the same: noted, kept, used.
            let packs = Packs::default();
            for _ in 0..if threads == 2 { 3 } else { 0 } {
                let mut again = (vec![nan; dy.len()], vec![nan; x.len()]);
                let w = (&w[..], Keep::new(&packs, 0));
                forward_of(geo, &x, w, Some(&bo), &mut again.0, None, isa).unwrap();
                grad_input_of(geo, &dy, w, Some(&bi), &mut again.1, isa).unwrap();
                assert!(again.0 == got.0 && again.1 == got.1, "bits differ with kept weights: {isa:?} {input:?}");
                assert!(told_of(&geo, &x, w, &bo, isa) == told, "not told once, with kept weights: {isa:?} {input:?}");
            }
            let what = format!("{isa:?} {input:?} {weight:?} s{stride} p{padding} d{dilation} g{groups}");
            close(&got.0, &y.0, &y.1, &format!("forward {what}"));
            close(&got.1, &dx.0, &dx.1, &format!("grad input {what}"));
            close(&got.2, &dw.0, &dw.1, &format!("grad weight {what}"));
            match &first {
                None => first = Some(got),
                Some(f) => assert!(*f == got, "bits differ: {what}, {threads} threads"),
            }
        }
    }
}

#[test]
fn agrees_with_plain_loops() {
    type Case = (&'static [usize], &'static [usize], usize, usize, usize, usize);
    let cases: [Case; 73] = [
        // Few outputs.
        (&[1, 40, 2, 2], &[24, 40, 3, 3], 1, 1, 1, 1),
        (&[3, 20, 4, 3], &[18, 10, 3, 2], 2, 1, 1, 2),
        (&[2, 70, 1], &[9, 70, 1], 1, 0, 1, 1),
        // Depthwise: strides, dilation, several channels per group, lines.
        (&[2, 17, 14, 14], &[17, 1, 3, 3], 1, 1, 1, 17),
        (&[2, 5, 13, 12], &[10, 1, 5, 3], 2, 2, 1, 5),
        (&[1, 3, 20, 23], &[3, 1, 3, 3], 3, 2, 2, 3),
        (&[2, 6, 150], &[18, 1, 7], 1, 6, 2, 6),
        (&[4, 3, 1, 2], &[3, 1, 2, 4], 1, 1, 1, 3),
        // One tap: products, with blocks of rows, groups and strides.
        (&[3, 40, 9, 9], &[300, 40, 1, 1], 1, 0, 1, 1),
        (&[2, 48, 10, 13], &[34, 24, 1, 1], 1, 0, 1, 2),
        (&[2, 40, 19, 17], &[24, 40, 1, 1], 2, 0, 1, 1),
        (&[2, 8, 5, 9, 7], &[20, 4, 1, 1, 1], 3, 0, 1, 2),
        // The weight's gradient of one tap: either side packed, lanes and rows cut, one to many groups of runs.
        (&[3, 16, 40, 43], &[50, 16, 1, 1], 1, 0, 1, 1),
        (&[2, 70, 23, 24], &[18, 70, 1, 1], 1, 0, 1, 1),
        (&[1, 137, 8, 8], &[400, 137, 1, 1], 1, 0, 1, 1),
        (&[4, 410, 9, 8], &[150, 410, 1, 1], 1, 0, 1, 1),
        (&[2, 27, 601], &[30, 9, 1], 1, 0, 1, 3),
        (&[1, 8, 70, 71], &[8, 8, 1, 1], 1, 0, 1, 1),
        // Small planes of many images, of more blocks of places than one.
        (&[11, 40, 7, 7], &[230, 40, 1, 1], 1, 0, 1, 1),
        // Weights of many output channels, of rows cut and whole, and of long lines.
        (&[5, 6, 30, 31], &[150, 6, 3, 3], 1, 1, 1, 1),
        (&[9, 34, 12, 11], &[20, 34, 3, 3], 2, 1, 1, 1),
        (&[2, 10, 1500], &[17, 10, 3], 1, 4, 4, 1),
        (&[2, 18, 6, 9, 8], &[24, 9, 3, 2, 3], 1, 1, 1, 2),
        // Where copies are kept, output channels are the lanes: strides, poor rows, groups, borders, bands, few outputs.
        (&[1, 96, 14, 14], &[130, 96, 3, 3], 2, 1, 1, 1),
        (&[2, 34, 45, 37], &[69, 34, 3, 3], 2, 0, 1, 1),
        (&[1, 300, 7, 7], &[200, 300, 1, 1], 1, 0, 1, 1),
        (&[1, 130, 17, 17], &[64, 130, 1, 7], 1, 3, 1, 1),
        (&[2, 70, 9, 11], &[140, 35, 3, 3], 1, 2, 2, 2),
        (&[1, 3, 50, 50], &[64, 3, 7, 7], 2, 3, 1, 1),
        (&[1, 66, 5, 5], &[72, 66, 3, 3], 2, 1, 1, 1),
        (&[1, 40, 700], &[80, 40, 5], 2, 2, 1, 1),
        (&[1, 24, 5, 6, 7], &[65, 24, 3, 2, 3], 2, 1, 1, 1),
        (&[1, 64, 13, 3], &[64, 64, 3, 3], 1, 0, 1, 1),
        // The same where all outputs stand in one row: of several blocks of steps, groups, borders, three dimensions.
        (&[1, 80, 7, 7], &[96, 80, 3, 3], 1, 1, 1, 1),
        (&[1, 144, 5, 5], &[138, 72, 3, 3], 1, 1, 1, 2),
        (&[1, 70, 3, 6], &[66, 70, 1, 1], 1, 0, 1, 1),
        (&[1, 65, 11, 9], &[80, 65, 3, 3], 2, 0, 1, 1),
        (&[1, 64, 4, 5, 5], &[72, 64, 2, 2, 2], 1, 0, 1, 1),
        // Lines that are cut.
        (&[1, 34, 4100], &[40, 34, 2], 1, 64, 64, 1),
        (&[1, 20, 3001], &[30, 20, 5], 3, 7, 2, 1),
        (&[2, 6, 2500], &[10, 3, 3], 2, 300, 9, 2),
        // Small images of many channels, forward and backward.
        (&[6, 40, 4, 4], &[48, 40, 3, 3], 1, 1, 1, 1),
        (&[21, 36, 2, 2], &[130, 36, 3, 3], 1, 1, 1, 1),
        (&[3, 64, 7, 7], &[70, 64, 1, 1], 1, 0, 1, 1),
        (&[5, 33, 7, 7], &[64, 33, 3, 3], 2, 1, 1, 1),
        (&[4, 64, 4, 4], &[66, 32, 3, 3], 1, 1, 1, 2),
        (&[3, 32, 2, 3, 3], &[40, 32, 2, 2, 2], 1, 1, 1, 1),
        (&[2, 32, 6, 6], &[150, 32, 3, 3], 1, 2, 2, 1),
        (&[33, 48, 1, 1], &[48, 48, 1, 1], 1, 0, 1, 1),
        (&[3, 1, 28, 28], &[10, 1, 5, 5], 1, 0, 1, 1),
        (&[2, 16, 16, 16], &[16, 16, 3, 3], 1, 1, 1, 1),
        (&[2, 16, 16, 16], &[32, 16, 3, 3], 2, 1, 1, 1),
        (&[9, 20, 8, 8], &[20, 20, 3, 3], 1, 1, 1, 1),
        (&[2, 5, 9, 7], &[7, 5, 1, 1], 1, 0, 1, 1),
        (&[2, 5, 9, 7], &[7, 5, 1, 1], 2, 0, 1, 1),
        (&[2, 6, 10, 11], &[6, 1, 3, 3], 1, 1, 1, 6),
        (&[2, 6, 10, 11], &[12, 1, 3, 3], 2, 1, 1, 6),
        (&[2, 8, 10, 11], &[4, 4, 3, 3], 1, 2, 2, 2),
        (&[1, 3, 40, 37], &[8, 3, 7, 7], 2, 3, 1, 1),
        (&[2, 4, 33], &[6, 4, 3], 1, 2, 2, 1),
        (&[2, 4, 33], &[6, 4, 4], 3, 1, 2, 1),
        (&[1, 2, 5, 6, 7], &[3, 2, 2, 3, 3], 1, 1, 1, 1),
        (&[2, 2, 6, 7, 5], &[4, 1, 3, 3, 3], 2, 1, 1, 2),
        (&[1, 1, 1, 1], &[1, 1, 1, 1], 1, 0, 1, 1),
        (&[2, 3, 4, 4], &[2, 3, 4, 4], 1, 3, 1, 1),
        (&[0, 3, 4, 4], &[2, 3, 3, 3], 1, 1, 1, 1),
        (&[2, 3, 6, 6], &[5, 3, 2, 2], 3, 0, 1, 1),
        (&[1, 40, 14, 14], &[13, 40, 3, 3], 1, 1, 1, 1),
        // One image of more weights than values: output channels are shared out.
        (&[1, 64, 28, 28], &[128, 64, 3, 3], 2, 1, 1, 1),
        (&[1, 48, 22, 22], &[200, 24, 3, 3], 2, 1, 1, 2),
        (&[40, 2, 3, 3], &[3, 2, 3, 3], 1, 1, 1, 1),
        (&[1, 2, 300, 300], &[2, 2, 3, 3], 1, 1, 1, 1),
        (&[1, 4, 2, 2], &[4, 4, 3, 3], 4, 1, 1, 1),
    ];
    for (i, w, s, p, d, g) in cases {
        check::<f32>(i, w, s, p, d, g);
        check::<f64>(i, w, s, p, d, g);
    }
}

/// What is infinite or NaN stays with the weights that saw it.
#[test]
fn depthwise_weight_gradients_beside_infinities() {
    let p = ConvParams { stride: vec![1, 1], padding: vec![0, 0], dilation: vec![1, 1], groups: 2 };
    let geo = Geometry::new(&[1, 2, 5, 6], &[2, 1, 2, 2], &[1, 2, 4, 5], &p).unwrap();
    let (mut x, mut dy) = (random::<f32>(60, 1), random::<f32>(40, 2));
    let mut want = vec![0.0; 8];
    grad_weight_of(geo, &dy, &x, &mut want, isa()).unwrap();
    // The last column is read by the taps on the right only.
    (x[5], x[11]) = (f32::INFINITY, f32::NAN);
    (dy[4], dy[9]) = (1.0, 1.0);
    let mut got = vec![0.0; 8];
    grad_weight_of(geo, &dy, &x, &mut got, isa()).unwrap();
    assert!(got[0].is_finite() && got[2].is_finite() && !got[1].is_finite() && got[3].is_nan(), "{got:?}");
    assert_eq!(got[4..], want[4..]);
}

#[test]
fn bias_gradient_sums() {
    let dy = random::<f64>(3 * 4 * 37, 7);
    let mut got = [0.0; 4];
    weight::grad_bias(3, 4, 37, &dy, &mut got);
    for c in 0..4 {
        let want: f64 = (0..3).flat_map(|n| &dy[(n * 4 + c) * 37..][..37]).sum();
        assert!((got[c] - want).abs() < 1e-12);
    }
}
