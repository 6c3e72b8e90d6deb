//! The drivers against naive loops over every layout.

use super::*;
use rustnn_base::{Scalar, bf16, layout::contiguous_strides};

/// Owned elements with a shape and strides.
struct T<E> {
    data: Vec<E>,
    shape: Vec<usize>,
    strides: Vec<isize>,
}
impl<E: Element> T<E> {
    fn new(shape: &[usize], strides: Option<&[isize]>, f: impl Fn(usize) -> E) -> Self {
        let strides = strides.map_or_else(|| contiguous_strides(shape).to_vec(), <[isize]>::to_vec);
        let last: isize = shape.iter().zip(&strides).map(|(&d, &s)| (d.max(1) as isize - 1) * s).sum();
        T { data: (0..=last as usize).map(f).collect(), shape: shape.into(), strides }
    }
    fn raw(&self) -> Raw<'_> {
        // SAFETY: `new` made room for every element the strides reach.
        unsafe { Raw::new(self.data.as_ptr() as *mut u8, E::DTYPE, &self.shape, &self.strides) }
    }
    /// The element at row-major position `flat` of a shape this one broadcasts to.
    fn at(&self, flat: usize, shape: &[usize]) -> E {
        let (mut rest, mut off) = (flat, 0isize);
        let lead = shape.len() - self.shape.len();
        for d in (0..shape.len()).rev() {
            let i = rest % shape[d];
            rest /= shape[d];
            if d >= lead && self.shape[d - lead] != 1 {
                off += i as isize * self.strides[d - lead];
            }
        }
        self.data[off as usize]
    }
}

#[test]
fn binary_over_every_layout() {
    let shapes: &[&[usize]] =
        &[&[], &[0], &[1], &[4], &[1000], &[3, 5], &[70, 33], &[33, 70], &[2, 3, 4, 5], &[40000], &[300, 301]];
    for &shape in shapes {
        let dense = contiguous_strides(shape).to_vec();
        let mut swapped = dense.clone();
        let wide: Vec<isize> = dense.iter().map(|s| s * 3).collect();
        if shape.len() >= 2 {
            // Column-major.
            let mut step = 1isize;
            for d in 0..shape.len() {
                swapped[d] = step;
                step *= shape[d] as isize;
            }
        }
        let zero = vec![0isize; shape.len()];
        let mut row = dense.clone();
        if let Some(first) = row.first_mut() {
            *first = 0;
        }
        let mut col = dense.clone();
        if let Some(last) = col.last_mut() {
            *last = 0;
        }
        let all = [&dense, &swapped, &wide, &zero, &row, &col];
        for ds in [&dense, &swapped, &wide] {
            for sa in all {
                for sb in all {
                    let a = T::<f32>::new(shape, Some(sa), |i| i as f32 * 0.5);
                    let b = T::<i32>::new(shape, Some(sb), |i| 7 - i as i32);
                    let d = T::<f32>::new(shape, Some(ds), |_| -1.0);
                    binary(Binary::Sub, &d.raw(), &a.raw(), &b.raw()).unwrap();
                    let n: usize = shape.iter().product();
                    for i in 0..n {
                        assert_eq!(
                            d.at(i, shape),
                            a.at(i, shape) - b.at(i, shape) as f32,
                            "{shape:?} {ds:?} {sa:?} {sb:?} at {i}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn scalars_and_lower_ranks_broadcast() {
    let a = T::<f32>::new(&[5, 6], None, |i| i as f32);
    let b = T::<f32>::new(&[6], None, |i| i as f32 * 10.0);
    let s = T::<f64>::new(&[], None, |_| 0.5);
    let d = T::<f32>::new(&[5, 6], None, |_| 0.0);
    binary(Binary::Add, &d.raw(), &a.raw(), &b.raw()).unwrap();
    assert_eq!(d.data[13], 13.0 + 10.0);
    binary(Binary::Mul, &d.raw(), &a.raw(), &s.raw()).unwrap();
    assert_eq!(d.data[29], 14.5);
    assert!(binary(Binary::Mul, &s.raw(), &a.raw(), &b.raw()).is_err());
}

#[test]
fn in_place_reads_before_it_writes() {
    for n in [4usize, 1000, 100_000] {
        let a = T::<f32>::new(&[n], None, |i| i as f32);
        binary(Binary::Add, &a.raw(), &a.raw(), &a.raw()).unwrap();
        unary(Unary::Neg, &a.raw(), &a.raw()).unwrap();
        assert!((0..n).all(|i| a.data[i] == -2.0 * i as f32));
    }
}

#[test]
fn narrow_types_wrap_and_halves_round_once() {
    let a = T::<i8>::new(&[300], None, |i| i as i8);
    let b = T::<i8>::new(&[300], None, |i| (i * 3) as i8);
    let d = T::<i8>::new(&[300], None, |_| 0);
    binary(Binary::Mul, &d.raw(), &a.raw(), &b.raw()).unwrap();
    assert!((0..300).all(|i| d.data[i] == a.data[i].wrapping_mul(b.data[i])));
    let x = T::<bf16>::new(&[1000], None, |i| bf16::from_f32(i as f32 * 0.01));
    let y = T::<bf16>::new(&[1000], None, |_| bf16::ZERO);
    unary(Unary::Exp, &y.raw(), &x.raw()).unwrap();
    for (x, y) in x.data.iter().zip(&y.data) {
        assert_eq!(*y, bf16::from_f32((f64::from(x.to_f32())).exp() as f32));
    }
}

#[test]
fn integer_division_rounds_and_refuses_zero() {
    let a = T::<i64>::new(&[4], None, |i| [7, -7, 7, -7][i]);
    let b = T::<i64>::new(&[4], None, |i| [2, 2, -2, -2][i]);
    let z = T::<i64>::new(&[4], None, |i| i as i64);
    let d = T::<i64>::new(&[4], None, |_| 0);
    let run = |op| {
        binary(op, &d.raw(), &a.raw(), &b.raw()).unwrap();
        d.data.clone()
    };
    assert_eq!(run(Binary::FloorDiv), [3, -4, -4, 3]);
    assert_eq!(run(Binary::TruncDiv), [3, -3, -3, 3]);
    assert_eq!(run(Binary::Remainder), [1, 1, -1, -1]);
    assert_eq!(run(Binary::Fmod), [1, -1, 1, -1]);
    let e = binary(Binary::FloorDiv, &d.raw(), &a.raw(), &z.raw()).unwrap_err();
    assert_eq!(e.to_string(), "ZeroDivisionError");
}

#[test]
fn floor_division_of_floats_is_pythons() {
    let cases =
        [(7.0, 2.0, 3.0), (-7.0, 2.0, -4.0), (0.3, 0.1, 2.0), (1.0, 0.1, 9.0), (-0.5, 1.0, -1.0), (6.0, -3.0, -2.0)];
    for (x, y, want) in cases {
        let (a, b) = (T::<f64>::new(&[1], None, |_| x), T::<f64>::new(&[1], None, |_| y));
        let d = T::<f64>::new(&[1], None, |_| 0.0);
        binary(Binary::FloorDiv, &d.raw(), &a.raw(), &b.raw()).unwrap();
        assert_eq!(d.data[0], want, "{x} // {y}");
    }
}

#[test]
fn far_arguments_of_sines_are_exact() {
    let x = T::<f32>::new(&[6], None, |i| [1e5, 1e13, 3e38, -1e20, f32::INFINITY, f32::NAN][i]);
    let d = T::<f32>::new(&[6], None, |_| 0.0);
    unary(Unary::Sin, &d.raw(), &x.raw()).unwrap();
    for i in 0..4 {
        assert_eq!(d.data[i], f64::from(x.data[i]).sin() as f32);
    }
    assert!(d.data[4].is_nan() && d.data[5].is_nan());
}

#[test]
fn comparisons_selections_and_limits() {
    let a = T::<f32>::new(&[4], None, |i| [1.0, f32::NAN, 3.0, -0.0][i]);
    let b = T::<i64>::new(&[4], None, |i| [1, 1, 2, 0][i]);
    let c = T::<rustnn_base::B8>::new(&[4], None, |_| false.into());
    compare(Compare::Ge, &c.raw(), &a.raw(), &b.raw(), DType::F32).unwrap();
    assert_eq!(c.data.iter().map(|b| b.get()).collect::<Vec<_>>(), [true, false, true, true]);
    let d = T::<f32>::new(&[4], None, |_| 0.0);
    where_(&d.raw(), &c.raw(), &a.raw(), &b.raw()).unwrap();
    assert_eq!(d.data, [1.0, 1.0, 3.0, -0.0]);
    let (lo, hi) = (T::<f32>::new(&[], None, |_| 0.5), T::<f32>::new(&[], None, |_| 2.0));
    clamp(&d.raw(), &a.raw(), &lo.raw(), &hi.raw()).unwrap();
    assert!(d.data[0] == 1.0 && d.data[1].is_nan() && d.data[2] == 2.0 && d.data[3] == 0.5);
    add_scaled(&d.raw(), &lo.raw(), &hi.raw(), Scalar::Float(3.0)).unwrap();
    assert_eq!(d.data[3], 6.5);
}

#[test]
fn copies_and_casts() {
    for shape in [&[40usize, 70][..], &[3, 4, 5], &[200_000], &[130, 257]] {
        let mut back = vec![0isize; shape.len()];
        let mut step = 1;
        for d in 0..shape.len() {
            back[d] = step;
            step *= shape[d] as isize;
        }
        let a = T::<f64>::new(shape, Some(&back), |i| i as f64 + 0.7);
        let d = T::<f64>::new(shape, None, |_| 0.0);
        let e = T::<u8>::new(shape, None, |_| 0);
        crate::copy::copy(&d.raw(), &a.raw()).unwrap();
        crate::copy::copy(&e.raw(), &a.raw()).unwrap();
        for i in 0..d.data.len() {
            assert_eq!(d.data[i], a.at(i, shape));
            assert_eq!(e.data[i], a.at(i, shape) as i64 as u8);
        }
    }
}

/// `cargo test --release speed -- --ignored --nocapture`
#[test]
#[ignore = "prints timings"]
fn speed() {
    let time = |name: &str, n: usize, f: &dyn Fn()| {
        let reps = (20_000_000 / n.max(200)).max(3);
        let best = (0..7)
            .map(|_| {
                let t = std::time::Instant::now();
                (0..reps).for_each(|_| f());
                t.elapsed().as_secs_f64() / reps as f64
            })
            .fold(f64::MAX, f64::min);
        println!("{name}: {:.1} ns, {:.3} ns an element", best * 1e9, best * 1e9 / n as f64);
    };
    for n in [4usize, 4096, 1 << 20] {
        let x = T::<f32>::new(&[n], None, |i| (i % 1000) as f32 * 0.01 - 5.0);
        let y = T::<f32>::new(&[n], None, |i| i as f32);
        let z = T::<f64>::new(&[n], None, |i| (i % 1000) as f64 * 0.01 - 5.0);
        let d = T::<f32>::new(&[n], None, |_| 0.0);
        let dz = T::<f64>::new(&[n], None, |_| 0.0);
        let s = T::<f32>::new(&[], None, |_| 2.0);
        time(&format!("add {n}"), n, &|| binary(Binary::Add, &d.raw(), &x.raw(), &y.raw()).unwrap());
        time(&format!("add scalar {n}"), n, &|| binary(Binary::Add, &d.raw(), &x.raw(), &s.raw()).unwrap());
        time(&format!("add in place {n}"), n, &|| binary(Binary::Mul, &d.raw(), &d.raw(), &s.raw()).unwrap());
        for op in [
            Unary::Exp,
            Unary::Ln,
            Unary::Tanh,
            Unary::Sigmoid,
            Unary::Gelu,
            Unary::GeluTanh,
            Unary::Silu,
            Unary::Erf,
            Unary::Sin,
            Unary::Log1p,
            Unary::Expm1,
            Unary::Atan,
            Unary::PowScalar(2.5),
            Unary::Softplus(1.0, 20.0),
        ] {
            if n > 4 {
                time(&format!("{op:?} {n}"), n, &|| unary(op, &d.raw(), &x.raw()).unwrap());
            }
        }
        for op in [Unary::Exp, Unary::Tanh, Unary::Sigmoid, Unary::Ln, Unary::Gelu] {
            if n == 4096 {
                time(&format!("f64 {op:?} {n}"), n, &|| unary(op, &dz.raw(), &z.raw()).unwrap());
            }
        }
    }
}
