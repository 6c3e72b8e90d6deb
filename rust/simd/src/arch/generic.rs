//! Tile kernels in plain Rust: for arm64 (where the arrays become NEON registers) and the scalar build.

use super::Micro;

/// Vector primitives over arrays of `$L` lanes.
macro_rules! lanes {
    ($name:ident, $T:ty, $L:expr) => {
        mod $name {
            type V = [$T; $L];

            #[inline(always)]
            fn zero() -> V {
                [0.0; $L]
            }
            #[inline(always)]
            fn splat(x: $T) -> V {
                [x; $L]
            }
            #[inline(always)]
            unsafe fn load(p: *const $T) -> V {
                // SAFETY: the caller vouches for `$L` readable values.
                unsafe { p.cast::<V>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn load_n(p: *const $T, n: usize) -> V {
                let mut v = zero();
                for (i, v) in v.iter_mut().enumerate().take(n) {
                    // SAFETY: the caller vouches for `n` readable values.
                    *v = unsafe { *p.add(i) };
                }
                v
            }
            #[inline(always)]
            unsafe fn store(p: *mut $T, v: V) {
                // SAFETY: the caller vouches for room for `$L` values.
                unsafe { p.cast::<V>().write_unaligned(v) }
            }
            #[inline(always)]
            unsafe fn store_n(p: *mut $T, n: usize, v: V) {
                for (i, v) in v.iter().enumerate().take(n) {
                    // SAFETY: the caller vouches for room for `n` values.
                    unsafe { *p.add(i) = *v };
                }
            }
            #[inline(always)]
            fn fma(a: V, b: V, c: V) -> V {
                std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
            }
            #[inline(always)]
            fn mul(a: V, b: V) -> V {
                std::array::from_fn(|i| a[i] * b[i])
            }
            #[inline(always)]
            fn add(a: V, b: V) -> V {
                std::array::from_fn(|i| a[i] + b[i])
            }
            #[inline(always)]
            fn sub(a: V, b: V) -> V {
                std::array::from_fn(|i| a[i] - b[i])
            }
            /// Lanes of two vectors in turn.
            #[inline(always)]
            fn pairs(a: V, b: V) -> (V, V) {
                let at = |i: usize| if i % 2 == 0 { a[i / 2] } else { b[i / 2] };
                (std::array::from_fn(at), std::array::from_fn(|i| at(i + $L)))
            }
            /// Neighbours first, then fours, then the halves.
            #[inline(always)]
            fn sum(mut v: V) -> $T {
                let mut n = $L;
                while n > 1 {
                    n /= 2;
                    for i in 0..n {
                        v[i] = v[2 * i] + v[2 * i + 1];
                    }
                }
                v[0]
            }
            /// Stores the [`sum`]s of four vectors.
            #[inline(always)]
            unsafe fn sums(p: *mut $T, a: V, b: V, c: V, d: V) {
                // SAFETY: the caller vouches for room for four values.
                unsafe { p.cast::<[$T; 4]>().write_unaligned([sum(a), sum(b), sum(c), sum(d)]) }
            }
            tile_kernels!($T, $L);
        }
    };
}
lanes!(f32x8, f32, 8);
lanes!(f64x4, f64, 4);

/// See [`super::TurnFn`].
///
/// # Safety
/// As stated there.
pub unsafe fn turn<T: Copy>(src: *const T, rs: isize, steps: usize, dst: *mut T, width: usize) {
    let mut k = 0;
    while k < steps {
        // SAFETY: by this function's contract, for the eight rows and steps k..k+8.
        unsafe {
            let block: [[T; 8]; 8] =
                std::array::from_fn(|r| src.offset(r as isize * rs).add(k).cast::<[T; 8]>().read_unaligned());
            for i in 0..8 {
                let column: [T; 8] = std::array::from_fn(|r| block[r][i]);
                dst.add((k + i) * width).cast::<[T; 8]>().write_unaligned(column);
            }
        }
        k += 8;
    }
}

pub static F32: Micro<f32> = Micro {
    lanes: 8,
    gemm: gemm_table!(f32x8, true; 1, 2, 3, 4, 5, 6),
    loose: gemm_table!(f32x8, false; 1, 2, 3, 4, 5, 6),
    rows: rows_table!(f32x8; 1, 2, 3, 4, 5, 6),
    taps: taps_table!(f32x8; 1, 2, 3, 4, 5, 6),
    conv_lanes: 8,
    conv: conv_table!(f32x8),
    dot: dot_table!(f32x8),
    dot_lanes: 8,
    turn: turn::<f32>,
    tiles: f32x8::tiles,
    outputs: f32x8::outputs,
};

pub static F64: Micro<f64> = Micro {
    lanes: 4,
    gemm: gemm_table!(f64x4, true; 1, 2, 3, 4, 5, 6),
    loose: gemm_table!(f64x4, false; 1, 2, 3, 4, 5, 6),
    rows: rows_table!(f64x4; 1, 2, 3, 4, 5, 6),
    taps: taps_table!(f64x4; 1, 2, 3, 4, 5, 6),
    conv_lanes: 4,
    conv: conv_table!(f64x4),
    dot: dot_table!(f64x4),
    dot_lanes: 4,
    turn: turn::<f64>,
    tiles: f64x4::tiles,
    outputs: f64x4::outputs,
};
