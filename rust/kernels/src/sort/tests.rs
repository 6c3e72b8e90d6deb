use super::*;
use rustnn_base::bf16;

fn noise(n: usize) -> Vec<u64> {
    let mut x = 88_172_645_463_325_252u64;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        })
        .collect()
}

fn order<T: Element>(a: T, b: T) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Greater,
        (false, true) => std::cmp::Ordering::Less,
        _ => a.partial_cmp(&b).unwrap(),
    }
}

fn check<T: Element>(src: &[T], n: usize) {
    for descending in [false, true] {
        let (mut v, mut i) = (vec![T::from_i64(0); src.len()], vec![0i64; src.len()]);
        sort_rows(src, n, descending, &mut v, &mut i).unwrap();
        for (r, row) in src.chunks(n).enumerate() {
            let mut want: Vec<usize> = (0..n).collect();
            want.sort_by(|&a, &b| if descending { order(row[b], row[a]) } else { order(row[a], row[b]) });
            let got: Vec<usize> = i[r * n..(r + 1) * n].iter().map(|&x| x as usize).collect();
            let bad = (0..n).find(|&p| got[p] != want[p]).map(|p| (p, row[got[p]], row[want[p]], got[p], want[p]));
            assert_eq!(bad, None, "{} of {n}", T::DTYPE);
            for k in [1, n / 2 + 1, n] {
                let (mut kv, mut ki) = (vec![T::from_i64(0); k], vec![0i64; k]);
                topk_rows(row, n, k, descending, &mut kv, &mut ki).unwrap();
                assert!(ki == i[r * n..r * n + k], "top {k} of {n} {}", T::DTYPE);
                if !descending {
                    let (mut kv, mut ki) = ([T::from_i64(0)], [0]);
                    kth_rows(row, n, k, &mut kv, &mut ki).unwrap();
                    assert_eq!(ki[0], want[k - 1] as i64);
                }
            }
        }
    }
}

#[test]
fn sorts_are_stable_with_nan_last() {
    for n in [1usize, 2, 7, 300, 5000] {
        let raw = noise(2 * n);
        check(&raw.iter().map(|&x| x as i64).collect::<Vec<_>>(), n);
        check(&raw.iter().map(|&x| (x % 9) as i64 - 4).collect::<Vec<_>>(), n);
        check(&raw.iter().map(|&x| x as u8).collect::<Vec<_>>(), n);
        check(&raw.iter().map(|&x| x as i32).collect::<Vec<_>>(), n);
        let f = |x: u64| match x % 11 {
            0 => f64::NAN,
            1 => -0.0,
            2 => 0.0,
            3 => f64::INFINITY,
            4 => f64::NEG_INFINITY,
            5 => -f64::NAN,
            _ => (x >> 20) as i64 as f64 / 1e9 - 5000.0,
        };
        check(&raw.iter().map(|&x| f(x)).collect::<Vec<_>>(), n);
        check(&raw.iter().map(|&x| f(x) as f32).collect::<Vec<_>>(), n);
        check(&raw.iter().map(|&x| bf16::from_f64(f(x))).collect::<Vec<_>>(), n);
    }
}

#[test]
fn medians_and_modes() {
    let x = [3f32, 1., 2., 2., f32::NAN, 5., 4., 1., 1., 9.];
    let (mut v, mut i) = ([0f32; 2], [0i64; 2]);
    median_rows(&x, 5, false, &mut v, &mut i).unwrap();
    assert!(v[0].is_nan() && i[0] == 4);
    assert_eq!((v[1], i[1]), (4.0, 1));
    median_rows(&x, 5, true, &mut v, &mut i).unwrap();
    assert_eq!((v[0], i[0]), (2.0, 2));
    mode_rows(&x, 5, &mut v, &mut i).unwrap();
    assert_eq!((v, i), ([2.0, 1.0], [3, 3]));
}

#[test]
fn distinct_values() {
    let u = unique(&[3i64, 1, 3, 2, 1], false).unwrap();
    assert_eq!((u.first, u.inverse, u.counts), (vec![1, 3, 0], vec![2, 0, 2, 1, 0], vec![2, 1, 2]));
    let u = unique(&[1f32, 1., 2., 1.], true).unwrap();
    assert_eq!((u.first, u.inverse, u.counts), (vec![0, 2, 3], vec![0, 0, 1, 2], vec![2, 1, 1]));
    assert_eq!(unique(&[f64::NAN, f64::NAN], false).unwrap().counts, [1, 1]);
    let u = unique_rows(&[1i32, 2, 0, 5, 1, 2], 3, 2, false).unwrap();
    assert_eq!((u.first, u.inverse), (vec![1, 0], vec![1, 0, 1]));
}

#[test]
fn searches_and_counts() {
    let mut d = [0i64; 4];
    searchsorted(&[1f64, 2., 2., 5.], 4, None, &[2., 0., 9., f64::NAN], 4, false, &mut d).unwrap();
    assert_eq!(d, [1, 0, 4, 4]);
    searchsorted(&[1f64, 2., 2., 5.], 4, None, &[2., 0., 9., 5.], 4, true, &mut d).unwrap();
    assert_eq!(d, [3, 0, 4, 4]);
    let mut h = [0f32; 4];
    histc(&mut h, &[1., 2., 1., 3., 5.], 0.0, 3.0);
    assert_eq!(h, [0., 2., 1., 1.]);
    let mut b = [0i64; 3];
    bincount(&mut b, &[0, 2, 2], None).unwrap();
    assert_eq!(b, [1, 0, 2]);
    assert!(bincount(&mut b, &[-1], None).is_err());
}
