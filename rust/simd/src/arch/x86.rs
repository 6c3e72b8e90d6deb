//! Tile kernels for AVX2 with FMA and for AVX-512.

use super::Micro;

/// Vector primitives from intrinsics. `$mask` makes the mask of the first `n` lanes.
macro_rules! intrinsics {
    ($name:ident, $feat:literal, $T:ty, $L:expr, $V:ident, $M:ident, $zero:ident, $splat:ident, $load:ident, $store:ident,
     $fma:ident, $mul:ident, $add:ident, $sub:ident, $pairs:path,
     |$mn:ident| $mask:expr, |$lp:ident, $lm:ident| $loadm:expr, |$sp:ident, $sn:ident, $sv:ident| $storem:expr,
     |$hv:ident| $sum:expr, |$fp:ident, $fa:ident, $fb:ident, $fc:ident, $fd:ident| $four:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use std::arch::x86_64::*;

            type V = $V;

            #[inline]
            #[target_feature(enable = $feat)]
            fn zero() -> V {
                $zero()
            }
            #[inline]
            #[target_feature(enable = $feat)]
            fn splat(x: $T) -> V {
                $splat(x)
            }
            #[inline]
            #[target_feature(enable = $feat)]
            unsafe fn load(p: *const $T) -> V {
                // SAFETY: the caller vouches for a readable vector.
                unsafe { $load(p) }
            }
            #[inline]
            #[target_feature(enable = $feat)]
            unsafe fn store(p: *mut $T, v: V) {
                // SAFETY: the caller vouches for room for a vector.
                unsafe { $store(p, v) }
            }
            #[inline]
            #[target_feature(enable = $feat)]
            fn mask($mn: usize) -> $M {
                $mask
            }
            #[inline]
            #[target_feature(enable = $feat)]
            unsafe fn load_n($lp: *const $T, n: usize) -> V {
                let $lm = mask(n);
                // SAFETY: the caller vouches for `n` readable values; masked lanes are not touched.
                unsafe { $loadm }
            }
            #[inline]
            #[target_feature(enable = $feat)]
            unsafe fn store_n($sp: *mut $T, $sn: usize, $sv: V) {
                // SAFETY: the caller vouches for room for `n` values; other lanes are not touched.
                unsafe { $storem }
            }
            #[inline]
            #[target_feature(enable = $feat)]
            fn fma(a: V, b: V, c: V) -> V {
                $fma(a, b, c)
            }
            #[inline]
            #[target_feature(enable = $feat)]
            fn mul(a: V, b: V) -> V {
                $mul(a, b)
            }
            #[inline]
            #[target_feature(enable = $feat)]
            fn add(a: V, b: V) -> V {
                $add(a, b)
            }
            #[inline]
            #[target_feature(enable = $feat)]
            #[allow(dead_code)]
            fn sub(a: V, b: V) -> V {
                $sub(a, b)
            }
            /// Lanes of two vectors in turn.
            #[inline]
            #[target_feature(enable = $feat)]
            #[allow(dead_code)]
            fn pairs(a: V, b: V) -> (V, V) {
                $pairs(a, b)
            }
            /// Neighbours first, then fours, then the halves.
            #[inline]
            #[target_feature(enable = $feat)]
            #[allow(dead_code)]
            fn sum($hv: V) -> $T {
                $sum
            }
            /// Stores the [`sum`]s of four vectors, which are made side by side.
            #[inline]
            #[target_feature(enable = $feat)]
            #[allow(dead_code)]
            unsafe fn sums($fp: *mut $T, $fa: V, $fb: V, $fc: V, $fd: V) {
                // SAFETY: the caller vouches for room for four values.
                unsafe { $four }
            }
            tile_kernels!(
                #[target_feature(enable = $feat)]
                $T,
                $L
            );
        }
    };
}

intrinsics!(
    avx2_f32,
    "avx2,fma",
    f32,
    8,
    __m256,
    __m256i,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    _mm256_mul_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    super::pairs_256_f32,
    |n| _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
    |p, m| _mm256_maskload_ps(p, m),
    |p, n, v| super::halves_f32(p, n, v),
    |v| {
        let h = _mm256_hadd_ps(v, v);
        let h = _mm256_hadd_ps(h, h);
        _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(h), _mm256_extractf128_ps::<1>(h)))
    },
    |p, a, b, c, d| {
        let h = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps::<1>(h)))
    }
);
intrinsics!(
    avx2_f64,
    "avx2,fma",
    f64,
    4,
    __m256d,
    __m256i,
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_fmadd_pd,
    _mm256_mul_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    super::pairs_256_f64,
    |n| _mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), _mm256_setr_epi64x(0, 1, 2, 3)),
    |p, m| _mm256_maskload_pd(p, m),
    |p, n, v| super::halves_f64(p, n, v),
    |v| {
        let h = _mm256_hadd_pd(v, v);
        _mm_cvtsd_f64(_mm_add_sd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd::<1>(h)))
    },
    |p, a, b, c, d| {
        let (h, k) = (_mm256_hadd_pd(a, b), _mm256_hadd_pd(c, d));
        let (low, high) = (_mm256_permute2f128_pd::<0x20>(h, k), _mm256_permute2f128_pd::<0x31>(h, k));
        _mm256_storeu_pd(p, _mm256_add_pd(low, high))
    }
);
intrinsics!(
    avx512_f32,
    "avx512f,avx512vl,avx2,fma",
    f32,
    16,
    __m512,
    u16,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps,
    _mm512_mul_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    super::pairs_512_f32,
    |n| ((1u32 << n) - 1) as u16,
    |p, m| _mm512_maskz_loadu_ps(m, p),
    |p, n, v| _mm512_mask_storeu_ps(p, mask(n), v),
    |v| _mm512_reduce_add_ps(v),
    |p, a, b, c, d| p.cast::<[f32; 4]>().write_unaligned([a, b, c, d].map(|v| _mm512_reduce_add_ps(v)))
);
intrinsics!(
    avx512_f64,
    "avx512f,avx512vl,avx2,fma",
    f64,
    8,
    __m512d,
    u8,
    _mm512_setzero_pd,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_fmadd_pd,
    _mm512_mul_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    super::pairs_512_f64,
    |n| ((1u32 << n) - 1) as u8,
    |p, m| _mm512_maskz_loadu_pd(m, p),
    |p, n, v| _mm512_mask_storeu_pd(p, mask(n), v),
    |v| _mm512_reduce_add_pd(v),
    |p, a, b, c, d| p.cast::<[f64; 4]>().write_unaligned([a, b, c, d].map(|v| _mm512_reduce_add_pd(v)))
);

/// The largest values of eight windows side by side, and where they are: see [`super::max_windows`].
///
/// # Safety
/// As there; the CPU has AVX2.
#[target_feature(enable = "avx2")]
pub unsafe fn max_windows(x: *const f32, taps: &[u32], two: bool, best: &mut [f32; 8], place: &mut [u32; 8]) {
    use std::arch::x86_64::*;
    // SAFETY: by this function's contract, for each tap.
    let at = |tap: u32| unsafe {
        let x = x.add(tap as usize);
        let a = _mm256_loadu_ps(x);
        if two {
            // Of 15 values in a row those at even places; the last vector begins one early.
            let b = _mm256_loadu_ps(x.add(7));
            let b = _mm256_permutevar8x32_ps(b, _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7));
            let a = _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
            _mm256_blend_ps::<0xF0>(a, b)
        } else {
            a
        }
    };
    let Some((&first, rest)) = taps.split_first() else { return };
    let mut most = at(first);
    let mut which = _mm256_castsi256_ps(_mm256_set1_epi32(first as i32));
    for &tap in rest {
        let v = at(tap);
        let take = _mm256_or_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(v, most), _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        most = _mm256_blendv_ps(most, v, take);
        which = _mm256_blendv_ps(which, _mm256_castsi256_ps(_mm256_set1_epi32(tap as i32)), take);
    }
    // SAFETY: eight values each.
    unsafe {
        _mm256_storeu_ps(best.as_mut_ptr(), most);
        _mm256_storeu_ps(place.as_mut_ptr().cast(), which);
    }
}

/// Lanes of two vectors in turn.
macro_rules! pairs {
    ($name:ident, $feat:literal, $V:ident, $lo:ident, $hi:ident, |$a:ident, $b:ident| $halves:expr) => {
        #[inline]
        #[target_feature(enable = $feat)]
        fn $name(a: std::arch::x86_64::$V, b: std::arch::x86_64::$V) -> (std::arch::x86_64::$V, std::arch::x86_64::$V) {
            use std::arch::x86_64::*;
            // Within each 128 bits first.
            let ($a, $b) = ($lo(a, b), $hi(a, b));
            $halves
        }
    };
}
pairs!(pairs_256_f32, "avx2", __m256, _mm256_unpacklo_ps, _mm256_unpackhi_ps, |a, b| {
    (_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
});
pairs!(pairs_256_f64, "avx2", __m256d, _mm256_unpacklo_pd, _mm256_unpackhi_pd, |a, b| {
    (_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b))
});
pairs!(pairs_512_f32, "avx512f", __m512, _mm512_unpacklo_ps, _mm512_unpackhi_ps, |a, b| {
    let (low, high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b));
    (_mm512_shuffle_f32x4::<0xD8>(low, low), _mm512_shuffle_f32x4::<0xD8>(high, high))
});
pairs!(pairs_512_f64, "avx512f", __m512d, _mm512_unpacklo_pd, _mm512_unpackhi_pd, |a, b| {
    let (low, high) = (_mm512_shuffle_f64x2::<0x44>(a, b), _mm512_shuffle_f64x2::<0xEE>(a, b));
    (_mm512_shuffle_f64x2::<0xD8>(low, low), _mm512_shuffle_f64x2::<0xD8>(high, high))
});

/// Stores the first `n` lanes, fewer than all, by halves: AVX2's masked store is tens of operations on AMD's CPUs.
///
/// # Safety
/// There is room for `n` values; the CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn halves_f32(mut p: *mut f32, n: usize, v: std::arch::x86_64::__m256) {
    use std::arch::x86_64::*;
    let mut x = _mm256_castps256_ps128(v);
    // SAFETY: by this function's contract.
    unsafe {
        if n & 4 != 0 {
            _mm_storeu_ps(p, x);
            x = _mm256_extractf128_ps::<1>(v);
            p = p.add(4);
        }
        if n & 2 != 0 {
            _mm_storel_pd(p.cast(), _mm_castps_pd(x));
            x = _mm_movehl_ps(x, x);
            p = p.add(2);
        }
        if n & 1 != 0 {
            _mm_store_ss(p, x);
        }
    }
}

/// As [`halves_f32`].
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn halves_f64(mut p: *mut f64, n: usize, v: std::arch::x86_64::__m256d) {
    use std::arch::x86_64::*;
    let mut x = _mm256_castpd256_pd128(v);
    // SAFETY: by this function's contract.
    unsafe {
        if n & 2 != 0 {
            _mm_storeu_pd(p, x);
            x = _mm256_extractf128_pd::<1>(v);
            p = p.add(2);
        }
        if n & 1 != 0 {
            _mm_store_sd(p, x);
        }
    }
}

/// See [`super::TurnFn`]: 8×8 blocks by shuffles, a quarter of the time of moving values one by one.
///
/// # Safety
/// As stated there; the CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn turn_f32(src: *const f32, rs: isize, steps: usize, dst: *mut f32, width: usize) {
    use std::arch::x86_64::*;
    let mut k = 0;
    while k < steps {
        // SAFETY: by this function's contract, for the eight rows and steps k..k+8.
        let row = |r: isize| unsafe { _mm256_loadu_ps(src.offset(r * rs).add(k)) };
        // SAFETY: as above, for eight values of column i.
        let put = |i: usize, v: __m256| unsafe { _mm256_storeu_ps(dst.add((k + i) * width), v) };
        let (r0, r1, r2, r3, r4, r5, r6, r7) = (row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7));
        let (a0, a1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
        let (a2, a3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
        let (a4, a5) = (_mm256_unpacklo_ps(r4, r5), _mm256_unpackhi_ps(r4, r5));
        let (a6, a7) = (_mm256_unpacklo_ps(r6, r7), _mm256_unpackhi_ps(r6, r7));
        let (b0, b1) = (_mm256_shuffle_ps::<0x44>(a0, a2), _mm256_shuffle_ps::<0xEE>(a0, a2));
        let (b2, b3) = (_mm256_shuffle_ps::<0x44>(a1, a3), _mm256_shuffle_ps::<0xEE>(a1, a3));
        let (b4, b5) = (_mm256_shuffle_ps::<0x44>(a4, a6), _mm256_shuffle_ps::<0xEE>(a4, a6));
        let (b6, b7) = (_mm256_shuffle_ps::<0x44>(a5, a7), _mm256_shuffle_ps::<0xEE>(a5, a7));
        put(0, _mm256_permute2f128_ps::<0x20>(b0, b4));
        put(1, _mm256_permute2f128_ps::<0x20>(b1, b5));
        put(2, _mm256_permute2f128_ps::<0x20>(b2, b6));
        put(3, _mm256_permute2f128_ps::<0x20>(b3, b7));
        put(4, _mm256_permute2f128_ps::<0x31>(b0, b4));
        put(5, _mm256_permute2f128_ps::<0x31>(b1, b5));
        put(6, _mm256_permute2f128_ps::<0x31>(b2, b6));
        put(7, _mm256_permute2f128_ps::<0x31>(b3, b7));
        k += 8;
    }
}

pub static AVX2_F32: Micro<f32> = Micro {
    lanes: 8,
    gemm: gemm_table!(avx2_f32, true; 1, 2, 3, 4, 5, 6),
    loose: gemm_table!(avx2_f32, false; 1, 2, 3, 4, 5, 6),
    rows: rows_table!(avx2_f32; 1, 2, 3, 4, 5, 6),
    taps: taps_table!(avx2_f32; 1, 2, 3, 4, 5, 6),
    conv_lanes: 8,
    conv: conv_table!(avx2_f32),
    dot: dot_table!(avx2_f32),
    dot_lanes: 8,
    turn: turn_f32,
    tiles: avx2_f32::tiles,
    outputs: avx2_f32::outputs,
};

pub static AVX2_F64: Micro<f64> = Micro {
    lanes: 4,
    gemm: gemm_table!(avx2_f64, true; 1, 2, 3, 4, 5, 6),
    loose: gemm_table!(avx2_f64, false; 1, 2, 3, 4, 5, 6),
    rows: rows_table!(avx2_f64; 1, 2, 3, 4, 5, 6),
    taps: taps_table!(avx2_f64; 1, 2, 3, 4, 5, 6),
    conv_lanes: 4,
    conv: conv_table!(avx2_f64),
    dot: dot_table!(avx2_f64),
    dot_lanes: 4,
    turn: super::generic::turn::<f64>,
    tiles: avx2_f64::tiles,
    outputs: avx2_f64::outputs,
};

// Convolution rows are often shorter than 16 outputs, and dot products keep one number of lanes everywhere: both use
// the 256-bit kernels.
pub static AVX512_F32: Micro<f32> = Micro {
    lanes: 16,
    gemm: gemm_table!(avx512_f32, true; 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    loose: gemm_table!(avx512_f32, false; 1, 2, 3, 4, 5, 6),
    rows: rows_table!(avx512_f32; 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    taps: taps_table!(avx512_f32; 1, 2, 3, 4, 5, 6),
    conv_lanes: 8,
    conv: conv_table!(avx2_f32),
    dot: dot_table!(avx2_f32),
    dot_lanes: 8,
    turn: turn_f32,
    tiles: avx2_f32::tiles,
    outputs: avx2_f32::outputs,
};

pub static AVX512_F64: Micro<f64> = Micro {
    lanes: 8,
    gemm: gemm_table!(avx512_f64, true; 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    loose: gemm_table!(avx512_f64, false; 1, 2, 3, 4, 5, 6),
    rows: rows_table!(avx512_f64; 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    taps: taps_table!(avx512_f64; 1, 2, 3, 4, 5, 6),
    conv_lanes: 4,
    conv: conv_table!(avx2_f64),
    dot: dot_table!(avx2_f64),
    dot_lanes: 4,
    turn: super::generic::turn::<f64>,
    tiles: avx2_f64::tiles,
    outputs: avx2_f64::outputs,
};
