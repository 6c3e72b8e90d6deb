use super::*;
use rustnn_base::{B8, DType, Scalar};

fn window<'a, T: Element>(v: &'a [T], shape: &'a [usize], strides: &'a [isize]) -> Raw<'a> {
    // SAFETY: the shapes below stay within their vectors.
    unsafe { Raw::new(v.as_ptr().cast_mut().cast(), T::DTYPE, shape, strides) }
}

fn target<'a, T: Element>(v: &'a mut [T], shape: &'static [usize]) -> Raw<'a> {
    let strides: &'static [isize] = Vec::leak(layout::contiguous_strides(shape).to_vec());
    // SAFETY: as in `window`; the reference is exclusive.
    unsafe { Raw::new(v.as_mut_ptr().cast(), T::DTYPE, shape, strides) }
}

fn whole<'a, T: Element>(v: &'a [T], shape: &'static [usize]) -> Raw<'a> {
    let strides: &'static [isize] = Vec::leak(layout::contiguous_strides(shape).to_vec());
    window(v, shape, strides)
}

#[test]
fn gather_and_scatter_along_each_dim() {
    let src: Vec<f32> = (0..24).map(|x| x as f32).collect();
    for dim in 0..3 {
        let sizes = [2usize, 3, 4];
        let ix: Vec<i64> = (0..24).map(|p: usize| ((p * 7 + 3) % sizes[dim]) as i64).collect();
        let mut out = vec![0f32; 24];
        gather(target(&mut out, &[2, 3, 4]), whole(&src, &[2, 3, 4]), dim, whole(&ix, &[2, 3, 4])).unwrap();
        let mut sum = vec![1f32; 24];
        scatter(target(&mut sum, &[2, 3, 4]), dim, whole(&ix, &[2, 3, 4]), whole(&src, &[2, 3, 4]), Reduce::Add)
            .unwrap();
        let mut want = vec![1f32; 24];
        for p in 0..24 {
            let mut c = [p / 12, p / 4 % 3, p % 4];
            c[dim] = ix[p] as usize;
            let q = c[0] * 12 + c[1] * 4 + c[2];
            assert_eq!(out[p], src[q]);
            want[q] += src[p];
        }
        assert_eq!(sum, want);
    }
    // A transposed source and a bad index.
    let mut out = vec![0f32; 4];
    let ix = [0i64, 1, 1, 0];
    gather(target(&mut out, &[2, 2]), window(&src, &[2, 2], &[1, 2]), 0, whole(&ix, &[2, 2])).unwrap();
    assert_eq!(out, [0., 3., 1., 2.]);
    let e = gather(target(&mut out, &[2, 2]), whole(&src, &[3, 2]), 0, whole(&[0i64, 7, 0, 0], &[2, 2])).unwrap_err();
    assert!(e.to_string().starts_with("index 7 is out of bounds for dimension 0 with size 3"), "{e}");
    assert!(e.to_string().contains("[0, 1]"));
}

#[test]
fn big_scatter_is_serial_where_it_must_be() {
    let n = 100_000;
    let ix: Vec<i64> = (0..n).map(|i| (i * 31 % 10) as i64).collect();
    let src = vec![1i32; n as usize];
    let mut dst = vec![0i32; 10];
    scatter(target(&mut dst, &[10]), 0, whole(&ix, &[100_000]), whole(&src, &[100_000]), Reduce::Add).unwrap();
    assert_eq!(dst, [10_000; 10]);
    let mut dst = vec![5i32; 10];
    scatter(target(&mut dst, &[10]), 0, whole(&ix, &[100_000]), whole(&src, &[100_000]), Reduce::Amin).unwrap();
    assert_eq!(dst, [1; 10]);
}

#[test]
fn rows_are_selected_added_copied_filled() {
    let src: Vec<f32> = (0..12).map(|x| x as f32).collect();
    let mut out = vec![0f32; 9];
    index_select(target(&mut out, &[3, 3]), whole(&src, &[4, 3]), 0, &[3, 0, 3], "index_select").unwrap();
    assert_eq!(out, [9., 10., 11., 0., 1., 2., 9., 10., 11.]);
    let mut out = vec![0f32; 8];
    index_select(target(&mut out, &[4, 2]), whole(&src, &[4, 3]), 1, &[2, 0], "index_select").unwrap();
    assert_eq!(out, [2., 0., 5., 3., 8., 6., 11., 9.]);
    let e = index_select(target(&mut out, &[4, 2]), whole(&src, &[4, 3]), 1, &[2, 3], "embedding").unwrap_err();
    assert!(e.to_string().starts_with("index out of range in self"));
    let mut acc = vec![1f32; 6];
    index_add(target(&mut acc, &[2, 3]), 0, &[1, 1, 0, 1], whole(&src, &[4, 3]), Scalar::Int(1), Some(0), "index_add_")
        .unwrap();
    assert_eq!(acc, [1., 1., 1., 13., 16., 19.]);
    index_copy(target(&mut acc, &[2, 3]), 0, &[0], whole(&src[3..6], &[1, 3])).unwrap();
    index_fill(target(&mut acc, &[2, 3]), 1, &[-1], Scalar::Float(7.0)).unwrap();
    assert_eq!(acc, [3., 4., 7., 13., 16., 7.]);
    // Wide enough for several owners.
    let (n, m, inner) = (37usize, 3000usize, 33usize);
    let ix: Vec<i64> = (0..m).map(|i| (i * i % n) as i64).collect();
    let src: Vec<f32> = (0..m * inner).map(|x| (x as f32).sin()).collect();
    let mut acc = vec![0f32; n * inner];
    index_add(target(&mut acc, &[37, 33]), 0, &ix, whole(&src, &[3000, 33]), Scalar::Int(1), None, "index_add_")
        .unwrap();
    let mut want = vec![0f32; n * inner];
    for (k, &i) in ix.iter().enumerate() {
        for j in 0..inner {
            want[i as usize * inner + j] += src[k * inner + j];
        }
    }
    assert_eq!(acc, want);
}

#[test]
fn masks() {
    let m: Vec<B8> = [1u8, 0, 255, 0, 0, 1].map(B8).to_vec();
    let mut x: Vec<i64> = (0..6).collect();
    assert_eq!(count_true(whole(&m, &[6])).unwrap(), 3);
    let mut y = vec![0i64; 3];
    masked_select(target(&mut y, &[3]), whole(&x, &[6]), &m).unwrap();
    assert_eq!(y, [0, 2, 5]);
    masked_fill(target(&mut x, &[6]), &m, Scalar::Int(-1)).unwrap();
    assert_eq!(x, [-1, 1, -1, 3, 4, -1]);
    masked_scatter(target(&mut x, &[6]), &m, whole(&[7i64, 8, 9], &[3])).unwrap();
    assert_eq!(x, [7, 1, 8, 3, 4, 9]);
    assert!(masked_scatter(target(&mut x, &[6]), &m, whole(&[7i64], &[1])).is_err());
    let mut nz = vec![0i64; 6];
    nonzero(&mut nz, whole(&m, &[2, 3])).unwrap();
    assert_eq!(nz, [0, 0, 1, 0, 2, 2]);
}

#[test]
fn places_by_index() {
    let mut x: Vec<f32> = (0..12).map(|v| v as f32).collect();
    let mut y = vec![0f32; 3];
    let both = Picks { dims: &[0, 1], indices: &[&[0, -1, 1], &[3, 0, -4]] };
    take_picks(target(&mut y, &[3]), whole(&x, &[3, 4]), &both).unwrap();
    assert_eq!(y, [3., 8., 4.]);
    let twice = Picks { dims: &[0, 1], indices: &[&[0, 0, 1], &[3, 3, 0]] };
    put_picks(target(&mut x, &[3, 4]), &twice, whole(&[1f32, 1., 1.], &[3]), true).unwrap();
    assert_eq!((x[3], x[4]), (5., 5.));
    let mut y = vec![0f32; 6];
    let cols = Picks { dims: &[1], indices: &[&[3, 0]] };
    take_picks(target(&mut y, &[2, 3]), whole(&x, &[3, 4]), &cols).unwrap();
    assert_eq!(y, [5., 7., 11., 0., 5., 8.]);
    let far = Picks { dims: &[1], indices: &[&[0, 5]] };
    let e = take_picks(target(&mut y, &[2, 3]), whole(&x, &[3, 4]), &far).unwrap_err().to_string();
    assert!(e.starts_with("index 5 is out of bounds for dimension 1 with size 4"));
}

#[test]
fn shifts() {
    let x: Vec<i32> = (0..6).collect();
    let mut y = vec![0i32; 6];
    roll(target(&mut y, &[6]), whole(&x, &[6]), 3, 1, 1).unwrap();
    assert_eq!(y, [2, 0, 1, 5, 3, 4]);
    flip(target(&mut y, &[2, 3]), whole(&x, &[2, 3]), &[0, 1]).unwrap();
    assert_eq!(y, [5, 4, 3, 2, 1, 0]);
    keep_triangle(target(&mut y, &[2, 3]), whole(&x, &[2, 3]), 2, 3, 0, true).unwrap();
    assert_eq!(y, [0, 1, 2, 0, 4, 5]);
    keep_triangle(target(&mut y, &[2, 3]), whole(&x, &[2, 3]), 2, 3, 1, false).unwrap();
    assert_eq!(y, [0, 1, 0, 3, 4, 5]);
    let mut z = vec![9i32; 10];
    copy_block(target(&mut z, &[2, 5]), whole(&x, &[2, 3]), 3, 1, 5).unwrap();
    assert_eq!(z, [9, 0, 1, 2, 9, 9, 3, 4, 5, 9]);
    let mut h = vec![0i64; 6];
    one_hot(&mut h, &[2, 0], 3).unwrap();
    assert_eq!(h, [0, 0, 1, 1, 0, 0]);
    assert!(one_hot(&mut h, &[3, 0], 3).is_err());
    assert_eq!(find_outside(&[0, 1, 5], 0, 5), Some(2));
    assert_eq!(DType::F32.size(), 4);
}
