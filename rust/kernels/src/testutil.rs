//! Helpers of the kernels' tests: numbers that look random, comparison with a float64 reference.

use rustnn_base::Element;

/// `n` numbers in (-1, 1), the same for the same seed.
pub fn noise(n: usize, seed: u64) -> Vec<f64> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// Asserts that each element is within `tol` (relative to `1 + |want|`).
pub fn near<T: Element>(got: &[T], want: &[f64], tol: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let g = g.to_f64();
        assert!(
            (g - w).abs() <= tol * (1.0 + w.abs()) || g == *w || (g.is_nan() && w.is_nan()),
            "element {i}: {g} instead of {w}"
        );
    }
}
